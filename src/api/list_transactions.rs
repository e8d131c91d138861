//! ListTransactions (key 66): the transactional ids that this broker coordinates (`KafkaApis.handleListTransactionsRequest`,
//! KIP-664; by duration: KIP-994; by pattern: KIP-1152).

use std::sync::Arc;

use kafka_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};

use super::handler::{Answer, RequestContext};
use super::services::Services;

/// Lists what passes the filters.
pub fn handle(
    services: &Arc<Services>,
    _: &RequestContext,
    request: ListTransactionsRequest,
) -> Answer<ListTransactionsResponse> {
    Answer::Later(services.transactions.list(&request))
}
