//! Whether a transaction may be ended: EndTxn's rules, of both generations (`TransactionCoordinator.endTransaction`).

use kafka_protocol::ResponseError;

use super::metadata::{LAST_USABLE_EPOCH, NO_PRODUCER_EPOCH, TransactionMetadata};
use super::shard::{Outcome, ProducerIdentity, ProducerRequest};
use super::state::TransactionState;
use crate::mutant;
use crate::types::{NO_PRODUCER_ID, TransactionResult};

/// What EndTxn answers before transaction.version 2, where a transaction's end changes no identity.
pub const NO_IDENTITY: ProducerIdentity = (NO_PRODUCER_ID, NO_PRODUCER_EPOCH);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The transaction is decided now.
    End,
    /// It was decided so before, and the answer was lost: answer again.
    Repeated,
}

/// EndTxn 0 to 4: the epoch stays from transaction to transaction.
pub fn judge_without_epoch_bump(
    metadata: &TransactionMetadata,
    request: ProducerRequest<'_>,
    result: TransactionResult,
) -> Outcome<Verdict> {
    if metadata.producer_id != request.producer_id {
        return Err(ResponseError::InvalidProducerIdMapping);
    }
    if metadata.producer_epoch != request.producer_epoch {
        return Err(ResponseError::ProducerFenced);
    }
    match metadata.state {
        TransactionState::Ongoing => Ok(Verdict::End),
        state if state.is_prepared() => Err(ResponseError::ConcurrentTransactions),
        state if is_completed_with(state, result) => Ok(Verdict::Repeated),
        state => Err(invalid(state, request, result)),
    }
}

/// EndTxn 5: every end raises the epoch, so a repeated request has the epoch before the current one (KIP-890).
pub fn judge(
    metadata: &TransactionMetadata,
    request: ProducerRequest<'_>,
    result: TransactionResult,
) -> Outcome<Verdict> {
    // First, as the producer may have the identity that is to be only when the markers are written (KAFKA-18464).
    if metadata.state.is_prepared() {
        return Err(ResponseError::ConcurrentTransactions);
    }
    let is_retry_of_rotation = metadata.previous_producer_id == request.producer_id
        && request.producer_epoch == LAST_USABLE_EPOCH
        && metadata.producer_epoch == 0;
    if metadata.producer_id != request.producer_id && !is_retry_of_rotation {
        return Err(ResponseError::InvalidProducerIdMapping);
    }
    let is_current = metadata.producer_epoch == request.producer_epoch;
    let is_retry = is_retry_of_rotation || request.producer_epoch.checked_add(1) == Some(metadata.producer_epoch);
    let is_complete = matches!(metadata.state, TransactionState::CompleteCommit | TransactionState::CompleteAbort);
    let is_late_taken = mutant::is_active("late-end-of-the-next-transaction");
    let is_valid = is_current || (is_retry && (is_complete || is_late_taken));
    if !is_valid {
        return Err(ResponseError::ProducerFenced);
    }
    match (metadata.state, result) {
        (TransactionState::Ongoing, _) => Ok(Verdict::End),
        (state, _) if is_retry && is_completed_with(state, result) => Ok(Verdict::Repeated),
        // A producer repeats what it did. This one never aborted: the coordinator did, when the time was up
        // (KAFKA-20785; 4.3 says INVALID_TXN_STATE, which kills the application of a producer that is merely fenced).
        (TransactionState::CompleteAbort, TransactionResult::Commit) if is_retry => Err(ResponseError::ProducerFenced),
        // An abort of nothing: the producer does not know whether anything of its transaction ever got here.
        (_, TransactionResult::Abort) if !is_retry => Ok(Verdict::End),
        (state, _) => Err(invalid(state, request, result)),
    }
}

fn is_completed_with(state: TransactionState, result: TransactionResult) -> bool {
    match result {
        TransactionResult::Commit => state == TransactionState::CompleteCommit,
        TransactionResult::Abort => state == TransactionState::CompleteAbort,
    }
}

fn invalid(state: TransactionState, request: ProducerRequest<'_>, result: TransactionResult) -> ResponseError {
    let (transactional_id, state) = (request.transactional_id, state.name());
    tracing::warn!(transactional_id, state, ?result, "refused to end a transaction in a state that does not allow it");
    ResponseError::InvalidTxnState
}
