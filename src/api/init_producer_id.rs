//! InitProducerId (key 22): a producer's identity (`KafkaApis.handleInitProducerIdRequest`). Transactional producers are
//! refused, see room `coordinator/transaction`.

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::handler::{Answer, RequestContext};
use super::services::Services;

/// Gives the producer an id.
pub fn handle(
    services: &Arc<Services>,
    _: &RequestContext,
    request: InitProducerIdRequest,
) -> Answer<InitProducerIdResponse> {
    Answer::Later(services.transactions.init_producer_id(&request))
}
