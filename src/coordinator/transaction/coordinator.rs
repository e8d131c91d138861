//! The facade (Kafka's `TransactionCoordinator`).

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::producer_ids::{ProducerIdSource, ProducerIds};
use crate::env::{BoxFuture, Env};
use crate::types::NO_PRODUCER_ID;

/// The epoch of a request that names none.
const NO_PRODUCER_EPOCH: i16 = -1;

/// What refuses everything that needs transactions; why it is this code is in the room's contract.
pub const TRANSACTIONS_REFUSED: ResponseError = ResponseError::TransactionalIdAuthorizationFailed;

/// Gives producers their identity.
pub struct TransactionCoordinator {
    producer_ids: Arc<ProducerIds>,
}

impl TransactionCoordinator {
    /// Takes ids from `source`.
    pub fn new(env: Env, source: Arc<dyn ProducerIdSource>) -> Arc<Self> {
        Arc::new(Self { producer_ids: ProducerIds::new(env, source) })
    }

    /// InitProducerId.
    pub fn init_producer_id(&self, request: &InitProducerIdRequest) -> BoxFuture<'static, InitProducerIdResponse> {
        let has_id = *request.producer_id != NO_PRODUCER_ID;
        let has_epoch = request.producer_epoch != NO_PRODUCER_EPOCH;
        if has_id != has_epoch {
            return refused(ResponseError::InvalidRequest);
        }
        if let Some(transactional_id) = &request.transactional_id {
            if transactional_id.is_empty() {
                return refused(ResponseError::InvalidRequest);
            }
            tracing::warn!(
                transactional_id = transactional_id.as_str(),
                "refused a transactional producer: transactions are not implemented yet"
            );
            return refused(TRANSACTIONS_REFUSED);
        }
        let generated = self.producer_ids.generate();
        Box::pin(async move {
            match generated.await {
                Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
                // Clients retry it; the block may come yet (`ProducerIdManager.generateProducerId`).
                Err(error) => {
                    tracing::warn!(%error, "no producer id");
                    refusal(ResponseError::CoordinatorLoadInProgress)
                }
            }
        })
    }
}

fn refusal(error: ResponseError) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(error.code())
        .with_producer_id(ProducerId(NO_PRODUCER_ID))
        .with_producer_epoch(NO_PRODUCER_EPOCH)
}

fn refused(error: ResponseError) -> BoxFuture<'static, InitProducerIdResponse> {
    Box::pin(std::future::ready(refusal(error)))
}
