//! EndTxn (key 26): commits or aborts a transaction (`KafkaApis.handleEndTxnRequest`, KIP-98, KIP-890).

use std::sync::Arc;

use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse, ProducerId};

use super::error_mapping::fenced_producer;
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::types::{NO_PRODUCER_ID, TransactionResult, TransactionVersion};

/// First version whose clients know PRODUCER_FENCED.
const PRODUCER_FENCED_VERSION: i16 = 2;
/// First version of the protocol in which every transaction ends with a higher epoch (KIP-890).
const EPOCH_BUMP_VERSION: i16 = 5;

/// Decides the transaction; the answer has the identity that the producer goes on with.
pub fn handle(services: &Arc<Services>, context: &RequestContext, request: EndTxnRequest) -> Answer<EndTxnResponse> {
    let api_version = context.api_version;
    let version = if api_version >= EPOCH_BUMP_VERSION { TransactionVersion::Tv2 } else { TransactionVersion::Tv0 };
    let ended = services.transactions.end_transaction(
        &request.transactional_id,
        *request.producer_id,
        request.producer_epoch,
        TransactionResult::from_committed(request.committed),
        version,
    );
    Answer::Later(Box::pin(async move {
        let (error_code, (producer_id, producer_epoch)) = match ended.await {
            Ok(identity) => (0, identity),
            Err(error) => (fenced_producer(error, api_version >= PRODUCER_FENCED_VERSION).code(), (NO_PRODUCER_ID, -1)),
        };
        EndTxnResponse::default()
            .with_error_code(error_code)
            .with_producer_id(ProducerId(producer_id))
            .with_producer_epoch(producer_epoch)
    }))
}
