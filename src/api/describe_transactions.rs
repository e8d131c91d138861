//! DescribeTransactions (key 65): what a transactional id is doing (`KafkaApis.handleDescribeTransactionsRequest`, KIP-664).

use std::sync::Arc;

use kafka_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};

use super::handler::{Answer, RequestContext};
use super::services::Services;

/// Describes each id.
pub fn handle(
    services: &Arc<Services>,
    _: &RequestContext,
    request: DescribeTransactionsRequest,
) -> Answer<DescribeTransactionsResponse> {
    let described: Vec<_> =
        request.transactional_ids.into_iter().map(|id| services.transactions.describe(id)).collect();
    Answer::Later(Box::pin(async move {
        let mut states = Vec::with_capacity(described.len());
        for state in described {
            states.push(state.await);
        }
        DescribeTransactionsResponse::default().with_transaction_states(states)
    }))
}
