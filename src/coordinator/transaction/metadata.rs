//! What is known of one transactional id, and how it changes (Kafka's `TransactionMetadata`). Every change makes a new value,
//! which becomes the state only by being written and replayed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::state::TransactionState;
use crate::mutant;
use crate::types::{NO_PRODUCER_ID, TopicPartition, TransactionResult, TransactionVersion};

/// The epoch of who has none.
pub const NO_PRODUCER_EPOCH: i16 = -1;

/// No producer is ever given a higher epoch: one more must be left to fence it (`TransactionMetadata.isEpochExhausted`).
pub const LAST_USABLE_EPOCH: i16 = i16::MAX - 1;

/// The timeout of transactions that a coordinator outside of Kafka decides (KIP-939); they have none.
const NO_TIMEOUT_MS: i32 = i32::MAX;

/// The state of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionMetadata {
    /// The producer id in use.
    pub producer_id: i64,
    /// The producer id before the last change; other than `producer_id` only when that change was a rotation.
    pub previous_producer_id: i64,
    /// The producer id that takes over when the transaction is complete, because the epochs of this one are used up; or -1.
    pub next_producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The epoch with which a producer may repeat the request that led to `producer_epoch`, or -1. Kafka does not write it
    /// down: after loading it is -1.
    pub last_producer_epoch: i16,
    /// Milliseconds after which an open transaction is aborted.
    pub timeout_ms: i32,
    /// Where it is.
    pub state: TransactionState,
    /// The partitions of the transaction.
    pub partitions: Arc<BTreeSet<TopicPartition>>,
    /// When the transaction began, milliseconds since the epoch, or -1.
    pub start_ms: i64,
    /// When this changed last, milliseconds since the epoch.
    pub last_update_ms: i64,
    /// The protocol by which the transaction is ended.
    pub client_version: TransactionVersion,
}

/// What InitProducerId asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initialization {
    /// The transaction timeout, milliseconds.
    pub timeout_ms: i32,
    /// The identity that the producer has and means to continue (KIP-360).
    pub expected: Option<(i64, i16)>,
}

/// What can be done for a request with the producer ids at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt<T> {
    /// It is done.
    Done(T),
    /// Ask again with a new producer id.
    NeedsProducerId,
}

/// The producer's identity is not, or no longer, the valid one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced;

impl TransactionMetadata {
    /// Of a transactional id that was never seen: before its first change.
    pub fn new(producer_id: i64, timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            producer_id,
            previous_producer_id: NO_PRODUCER_ID,
            next_producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            last_producer_epoch: NO_PRODUCER_EPOCH,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: Arc::default(),
            start_ms: -1,
            last_update_ms: now_ms,
            client_version: TransactionVersion::Tv0,
        }
    }

    /// No further epoch may be given to a producer.
    pub fn is_epoch_exhausted(&self) -> bool {
        self.producer_epoch >= LAST_USABLE_EPOCH && !mutant::is_active("epochs-without-end")
    }

    /// Whether the open transaction has been so for longer than it may.
    pub fn is_timed_out(&self, now_ms: i64) -> bool {
        self.state == TransactionState::Ongoing
            && self.timeout_ms != NO_TIMEOUT_MS
            && self.start_ms.saturating_add(i64::from(self.timeout_ms)) < now_ms
    }

    fn becomes(&self, state: TransactionState, now_ms: i64) -> Self {
        debug_assert!(state.may_follow(self.state), "{:?} to {state:?}", self.state);
        Self { previous_producer_id: self.producer_id, state, last_update_ms: now_ms, ..self.clone() }
    }

    /// InitProducerId while no transaction is open or undecided: a higher epoch, so that an older producer is fenced, or a
    /// new producer id when the epochs are used up.
    pub fn initialize(
        &self,
        request: &Initialization,
        new_producer_id: Option<i64>,
        now_ms: i64,
    ) -> Result<Attempt<Self>, Fenced> {
        if !self.may_continue(request.expected) {
            return Err(Fenced);
        }
        let emptied = Self {
            timeout_ms: request.timeout_ms,
            partitions: Arc::default(),
            start_ms: -1,
            ..self.becomes(TransactionState::Empty, now_ms)
        };
        let is_current = |epoch: i16| epoch == self.producer_epoch || self.producer_epoch == NO_PRODUCER_EPOCH;
        let last_producer_epoch = match request.expected {
            // Nobody else's retry may be taken for one of the new producer's.
            None => NO_PRODUCER_EPOCH,
            Some((_, epoch)) if is_current(epoch) => self.producer_epoch,
            // The answer to the same request was lost. No producer has come since: that would have set it to -1.
            Some((_, epoch)) if epoch == self.last_producer_epoch => {
                return Ok(Attempt::Done(Self { previous_producer_id: self.previous_producer_id, ..emptied }));
            }
            Some(_) => return Err(Fenced),
        };
        if !self.is_epoch_exhausted() {
            let producer_epoch = self.producer_epoch + 1;
            return Ok(Attempt::Done(Self { producer_epoch, last_producer_epoch, ..emptied }));
        }
        Ok(match new_producer_id {
            None => Attempt::NeedsProducerId,
            Some(producer_id) => Attempt::Done(Self { producer_id, producer_epoch: 0, last_producer_epoch, ..emptied }),
        })
    }

    /// Whether the producer is the one that has this transactional id; of the epoch that is said when it is raised.
    pub fn may_continue(&self, expected: Option<(i64, i16)>) -> bool {
        let Some((producer_id, epoch)) = expected else { return true };
        self.producer_epoch == NO_PRODUCER_EPOCH
            || producer_id == self.producer_id
            // The answer that told it of its new producer id was lost.
            || (producer_id == self.previous_producer_id && epoch >= LAST_USABLE_EPOCH)
    }

    /// Partitions come into the transaction; the first ones open it.
    pub fn add_partitions(&self, added: &[TopicPartition], version: TransactionVersion, now_ms: i64) -> Self {
        let mut next = self.becomes(TransactionState::Ongoing, now_ms);
        if self.state.is_idle() {
            next.start_ms = now_ms;
        }
        Arc::make_mut(&mut next.partitions).extend(added.iter().cloned());
        next.client_version = version;
        next
    }

    /// The transaction is decided. Since transaction.version 2 that raises the epoch, so that nothing late can get into the
    /// next transaction (KIP-890); markers carry the raised epoch, and it may be the one that no producer is given.
    pub fn prepare(
        &self,
        result: TransactionResult,
        version: TransactionVersion,
        new_producer_id: Option<i64>,
        now_ms: i64,
    ) -> Attempt<Self> {
        let state = match result {
            TransactionResult::Commit => TransactionState::PrepareCommit,
            TransactionResult::Abort => TransactionState::PrepareAbort,
        };
        let mut next = self.becomes(state, now_ms);
        next.client_version = version;
        next.next_producer_id = NO_PRODUCER_ID;
        if self.state.is_idle() {
            // An abort of nothing; it needs some start.
            next.start_ms = now_ms;
        }
        if version.supports_epoch_bump() && !mutant::is_active("end-without-a-higher-epoch") {
            if self.is_epoch_exhausted() {
                let Some(producer_id) = new_producer_id else { return Attempt::NeedsProducerId };
                next.next_producer_id = producer_id;
            }
            next.producer_epoch = self.producer_epoch.saturating_add(1);
            next.last_producer_epoch = self.producer_epoch;
        }
        Attempt::Done(next)
    }

    /// The coordinator itself aborts the open transaction, and makes its producer a stranger. `version` is the cluster's.
    pub fn fence_and_abort(
        &self,
        version: TransactionVersion,
        new_producer_id: Option<i64>,
        now_ms: i64,
    ) -> Attempt<Self> {
        let fences = !mutant::is_active("abort-without-fencing");
        if version.supports_epoch_bump() && fences {
            return self.prepare(TransactionResult::Abort, version, new_producer_id, now_ms);
        }
        let fenced = Self {
            producer_epoch: self.producer_epoch.saturating_add(i16::from(fences)),
            last_producer_epoch: NO_PRODUCER_EPOCH,
            ..self.clone()
        };
        fenced.prepare(TransactionResult::Abort, TransactionVersion::Tv0, None, now_ms)
    }

    /// All markers are written.
    pub fn complete(&self, now_ms: i64) -> Self {
        let state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            _ => TransactionState::CompleteAbort,
        };
        let mut next = self.becomes(state, now_ms);
        if self.client_version.supports_epoch_bump() && self.next_producer_id != NO_PRODUCER_ID {
            next.producer_id = self.next_producer_id;
            next.producer_epoch = 0;
        }
        next.next_producer_id = NO_PRODUCER_ID;
        next.partitions = Arc::default();
        next
    }

    /// The identity that the producer has once the transaction is complete; what EndTxn answers.
    pub fn identity_after(&self) -> (i64, i16) {
        if self.next_producer_id == NO_PRODUCER_ID {
            (self.producer_id, self.producer_epoch)
        } else {
            (self.next_producer_id, 0)
        }
    }
}
