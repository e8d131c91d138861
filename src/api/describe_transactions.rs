//! DescribeTransactions (key 65): what a transactional id is doing (`KafkaApis.handleDescribeTransactionsRequest`, KIP-664).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};

use super::handler::{Answer, RequestContext};
use super::repeats::Repeats;
use super::services::Services;

/// Describes each id.
pub fn handle(
    services: &Arc<Services>,
    _: &RequestContext,
    request: DescribeTransactionsRequest,
) -> Answer<DescribeTransactionsResponse> {
    let mut repeats = Repeats::new();
    let (admitted, refused): (Vec<_>, Vec<_>) =
        request.transactional_ids.into_iter().partition(|id| repeats.admit(id.clone()));
    let described: Vec<_> = admitted.into_iter().map(|id| services.transactions.describe(id)).collect();
    Answer::Later(Box::pin(async move {
        let mut states = Vec::with_capacity(described.len());
        for state in described {
            states.push(state.await);
        }
        let code = ResponseError::InvalidRequest.code();
        states.extend(
            refused.into_iter().map(|id| TransactionState::default().with_transactional_id(id).with_error_code(code)),
        );
        DescribeTransactionsResponse::default().with_transaction_states(states)
    }))
}
