//! InitProducerId (key 22): a producer's identity, which fences those that had its transactional id before
//! (`KafkaApis.handleInitProducerIdRequest`, KIP-98, KIP-360).

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::handler::{Answer, RequestContext};
use super::services::Services;

/// Gives the producer an id and an epoch.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: InitProducerIdRequest,
) -> Answer<InitProducerIdResponse> {
    Answer::Later(services.transactions.init_producer_id(&request, context.api_version))
}
