//! The state machine: the transactional ids of one partition of `__transaction_state`, and what may happen to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI16, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::config::TransactionConfig;
use super::end;
use super::metadata::{Attempt, Initialization, TransactionMetadata};
use super::record::{self, TransactionRecord, TransactionValue};
use super::state::TransactionState;
use crate::coordinator::CoordinatorError;
use crate::coordinator::runtime::{Decision, Effect, KeyValue, StateMachine};
use crate::mutant;
use crate::types::{EndTransactionMarker, TopicPartition, TransactionResult, TransactionVersion};

/// Says which identity a producer has: id and epoch.
pub type ProducerIdentity = (i64, i16);

/// The answer to a request: what was done, or Kafka's error.
pub type Outcome<T> = Result<T, ResponseError>;

/// What is decided on a request that may need a producer id.
pub type AttemptDecision<T> = Decision<TransactionShard, Attempt<Outcome<T>>>;

/// What all shards of a coordinator share.
#[derive(Debug)]
pub struct Shared {
    /// Limits and intervals.
    pub config: TransactionConfig,
    /// The level of the version in force.
    transaction_version: AtomicI16,
    /// The number of the last completion.
    completions: AtomicU64,
}

impl Shared {
    /// With `transaction.version` 0, until told.
    pub fn new(config: TransactionConfig) -> Self {
        Self { config, transaction_version: AtomicI16::new(0), completions: AtomicU64::new(0) }
    }

    /// The metadata finalized another level of `transaction.version`.
    pub fn set_transaction_version(&self, version: TransactionVersion) {
        self.transaction_version.store(version.level(), Ordering::Release);
    }

    /// The version in force.
    pub fn transaction_version(&self) -> TransactionVersion {
        TransactionVersion::from_level(self.transaction_version.load(Ordering::Acquire)).unwrap_or_default()
    }

    /// A number that no other completion of this process has.
    fn next_completion(&self) -> u64 {
        self.completions.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Names a timer of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransactionTimer {
    /// The next look for transactions that have timed out.
    AbortTimedOut,
    /// The next look for transactional ids that have expired.
    RemoveExpired,
}

/// What a shard wants done outside of it, once what led to it is committed.
#[derive(Clone, Debug, PartialEq)]
pub enum TransactionOutput {
    /// Write markers, and tell [`TransactionShard::markers_written`].
    WriteMarkers(MarkerWork),
    /// Call [`TransactionShard::abort_timed_out`] with a new producer id.
    AbortTimedOut {
        /// Whose transaction.
        transactional_id: Arc<str>,
        /// Its producer at the time.
        producer: ProducerIdentity,
    },
}

/// The markers of one decided transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct MarkerWork {
    /// Whose transaction.
    pub transactional_id: Arc<str>,
    /// Names the work: a later transaction of the same producer has another number (KAFKA-16352).
    pub completion: u64,
    /// Where to.
    pub partitions: Vec<TopicPartition>,
    /// What.
    pub marker: EndTransactionMarker,
}

/// How far the markers of a transaction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The transaction is complete.
    Complete,
    /// Some partitions have no marker yet.
    Remaining,
    /// Others write them, or did.
    NotWanted,
}

/// Markers that are being written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Completion {
    id: u64,
    remaining: BTreeSet<TopicPartition>,
}

/// The transactional ids of one partition of `__transaction_state`.
#[derive(Debug)]
pub struct TransactionShard {
    shared: Arc<Shared>,
    coordinator_epoch: i32,
    transactions: BTreeMap<Arc<str>, TransactionMetadata>,
    /// One for each prepared transaction once the shard serves.
    completions: BTreeMap<Arc<str>, Completion>,
}

/// A request of the producer that has, or had, a transactional id.
#[derive(Clone, Copy, Debug)]
pub struct ProducerRequest<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// The producer id that it believes to have.
    pub producer_id: i64,
    /// And the epoch.
    pub producer_epoch: i16,
}

impl TransactionShard {
    /// Without any id. `coordinator_epoch` is the leader epoch of the partition, which goes into every marker.
    pub fn new(shared: Arc<Shared>, coordinator_epoch: i32) -> Self {
        Self { shared, coordinator_epoch, transactions: BTreeMap::new(), completions: BTreeMap::new() }
    }

    /// The state of a transactional id.
    pub fn transaction(&self, transactional_id: &str) -> Option<&TransactionMetadata> {
        self.transactions.get(transactional_id)
    }

    /// All of them, by name.
    pub fn transactions(&self) -> impl Iterator<Item = (&Arc<str>, &TransactionMetadata)> {
        self.transactions.iter()
    }

    /// The partitions that still have to be marked, or that are in the open transaction.
    pub fn partitions(&self, transactional_id: &str) -> BTreeSet<TopicPartition> {
        match (self.completions.get(transactional_id), self.transactions.get(transactional_id)) {
            (Some(completion), _) => completion.remaining.clone(),
            (None, Some(metadata)) => BTreeSet::clone(&metadata.partitions),
            (None, None) => BTreeSet::new(),
        }
    }

    /// InitProducerId with a transactional id; gives the producer's identity. An open transaction of an earlier producer is
    /// aborted first, and the client told to come again.
    pub fn init_producer_id(
        &mut self,
        transactional_id: &str,
        request: &Initialization,
        new_producer_id: Option<i64>,
        now_ms: i64,
    ) -> AttemptDecision<ProducerIdentity> {
        let created;
        let metadata = match (self.transactions.get(transactional_id), new_producer_id) {
            (Some(metadata), _) => metadata,
            (None, None) => return Decision::respond(Attempt::NeedsProducerId),
            (None, Some(producer_id)) => {
                created = TransactionMetadata::new(producer_id, request.timeout_ms, now_ms);
                &created
            }
        };
        if metadata.state.is_prepared() {
            return refuse(ResponseError::ConcurrentTransactions);
        }
        if metadata.state == TransactionState::Ongoing {
            if !metadata.may_continue(request.expected) {
                return refuse(ResponseError::ProducerFenced);
            }
            let version = self.shared.transaction_version();
            let Attempt::Done(next) = metadata.fence_and_abort(version, new_producer_id, now_ms) else {
                return Decision::respond(Attempt::NeedsProducerId);
            };
            let mut decision = refuse(ResponseError::ConcurrentTransactions);
            self.prepare(&mut decision, transactional_id, next);
            return decision;
        }
        match metadata.initialize(request, new_producer_id, now_ms) {
            Err(_) => refuse(ResponseError::ProducerFenced),
            Ok(Attempt::NeedsProducerId) => Decision::respond(Attempt::NeedsProducerId),
            Ok(Attempt::Done(next)) => {
                let identity = (next.producer_id, next.producer_epoch);
                Decision::write(Attempt::Done(Ok(identity)), vec![self.record(transactional_id, next)])
            }
        }
    }

    /// AddPartitionsToTxn and AddOffsetsToTxn: partitions come into the transaction.
    pub fn add_partitions(
        &mut self,
        request: ProducerRequest<'_>,
        partitions: &[TopicPartition],
        version: TransactionVersion,
        now_ms: i64,
    ) -> Decision<Self, Outcome<()>> {
        let metadata = match self.transactions.get(request.transactional_id) {
            None => return Decision::respond(Err(ResponseError::InvalidProducerIdMapping)),
            // Before the producer's identity: it may have one that is to be only when the markers are written.
            Some(metadata) if metadata.state.is_prepared() => {
                return Decision::respond(Err(ResponseError::ConcurrentTransactions));
            }
            Some(metadata) => metadata,
        };
        if let Err(error) = check_identity(metadata, request) {
            return Decision::respond(Err(error));
        }
        let is_ongoing = metadata.state == TransactionState::Ongoing;
        if is_ongoing && partitions.iter().all(|partition| metadata.partitions.contains(partition)) {
            return Decision::respond(Ok(()));
        }
        if let Err(error) = self.check_records_hold(version) {
            return Decision::respond(Err(error));
        }
        let next = metadata.add_partitions(partitions, version, now_ms);
        Decision::write(Ok(()), vec![self.record(request.transactional_id, next)])
    }

    /// AddPartitionsToTxn that only asks: whether each partition is in the transaction.
    pub fn verify_partitions(
        &self,
        request: ProducerRequest<'_>,
        partitions: &[TopicPartition],
    ) -> Outcome<Vec<Outcome<()>>> {
        let metadata =
            self.transactions.get(request.transactional_id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        check_identity(metadata, request)?;
        if metadata.state.is_prepared() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        let verify = |partition| match metadata.partitions.contains(partition) {
            true => Ok(()),
            false => Err(ResponseError::TransactionAbortable),
        };
        Ok(partitions.iter().map(verify).collect())
    }

    /// EndTxn; gives the identity that the producer goes on with, -1 and -1 before transaction.version 2.
    pub fn end_transaction(
        &mut self,
        request: ProducerRequest<'_>,
        result: TransactionResult,
        version: TransactionVersion,
        new_producer_id: Option<i64>,
        now_ms: i64,
    ) -> AttemptDecision<ProducerIdentity> {
        let Some(metadata) = self.transactions.get(request.transactional_id) else {
            return refuse(ResponseError::InvalidProducerIdMapping);
        };
        let judged = match version.supports_epoch_bump() {
            true => end::judge(metadata, request, result),
            false => end::judge_without_epoch_bump(metadata, request, result),
        };
        let judged = match judged {
            Ok(end::Verdict::End) => self.check_records_hold(version).map(|()| end::Verdict::End),
            other => other,
        };
        let repeated = match version.supports_epoch_bump() {
            true => (metadata.producer_id, metadata.producer_epoch),
            false => end::NO_IDENTITY,
        };
        match judged {
            Err(error) => refuse(error),
            Ok(end::Verdict::Repeated) if !mutant::is_active("repeated-end-executed-twice") => {
                Decision::respond(Attempt::Done(Ok(repeated)))
            }
            Ok(_) => match metadata.prepare(result, version, new_producer_id, now_ms) {
                Attempt::NeedsProducerId => Decision::respond(Attempt::NeedsProducerId),
                Attempt::Done(next) => {
                    let identity = match version.supports_epoch_bump() {
                        true => next.identity_after(),
                        false => end::NO_IDENTITY,
                    };
                    let mut decision = Decision::respond(Attempt::Done(Ok(identity)));
                    self.prepare(&mut decision, request.transactional_id, next);
                    decision
                }
            },
        }
    }

    /// Markers were written, or their partitions are gone: with the last of them the transaction is complete.
    pub fn markers_written(
        &mut self,
        transactional_id: &str,
        completion: u64,
        written: &[TopicPartition],
        now_ms: i64,
    ) -> Decision<Self, Progress> {
        let is_any_taken = mutant::is_active("completion-of-an-earlier-transaction");
        let current = self.completions.get_mut(transactional_id);
        let Some(current) = current.filter(|current| current.id == completion || is_any_taken) else {
            return Decision::respond(Progress::NotWanted);
        };
        for partition in written {
            current.remaining.remove(partition);
        }
        let is_done = current.remaining.is_empty() || mutant::is_active("complete-with-markers-missing");
        match self.transactions.get(transactional_id).filter(|metadata| metadata.state.is_prepared()) {
            None => Decision::respond(Progress::NotWanted),
            Some(_) if !is_done => Decision::respond(Progress::Remaining),
            Some(metadata) => {
                let next = metadata.complete(now_ms);
                Decision::write(Progress::Complete, vec![self.record(transactional_id, next)])
            }
        }
    }

    /// Aborts the transaction of `producer` if it has timed out and is still open.
    pub fn abort_timed_out(
        &mut self,
        transactional_id: &str,
        producer: ProducerIdentity,
        new_producer_id: Option<i64>,
        now_ms: i64,
    ) -> Decision<Self, ()> {
        let mut decision = Decision::respond(());
        let version = self.shared.transaction_version();
        let timed_out = self.transactions.get(transactional_id).filter(|metadata| {
            metadata.is_timed_out(now_ms) && (metadata.producer_id, metadata.producer_epoch) == producer
        });
        match timed_out.map(|metadata| metadata.fence_and_abort(version, new_producer_id, now_ms)) {
            Some(Attempt::Done(next)) => {
                tracing::info!(transactional_id, producer_id = producer.0, "aborting a transaction that timed out");
                self.prepare(&mut decision, transactional_id, next);
            }
            Some(Attempt::NeedsProducerId) => decision.effects.push(Effect::Emit(TransactionOutput::AbortTimedOut {
                transactional_id: Arc::from(transactional_id),
                producer,
            })),
            None => {}
        }
        decision
    }

    fn abort_all_timed_out(&mut self, now_ms: i64) -> Decision<Self, ()> {
        let timed_out: Vec<_> = (self.transactions.iter())
            .filter(|(_, metadata)| metadata.is_timed_out(now_ms))
            .map(|(id, metadata)| (id.clone(), (metadata.producer_id, metadata.producer_epoch)))
            .collect();
        let mut all = Decision { divisible: true, ..Decision::respond(()) };
        for (transactional_id, producer) in timed_out {
            let one = self.abort_timed_out(&transactional_id, producer, None, now_ms);
            all.records.extend(one.records);
            all.effects.extend(one.effects);
        }
        all
    }

    fn remove_all_expired(&self, now_ms: i64) -> Decision<Self, ()> {
        let oldest = now_ms - self.shared.config.transactional_id_expiration_ms;
        let expired = (self.transactions.iter())
            .filter(|(_, metadata)| metadata.state.is_idle() || mutant::is_active("expiry-of-an-open-transaction"))
            .filter(|(_, metadata)| metadata.last_update_ms <= oldest)
            .map(|(id, _)| TransactionRecord { transactional_id: id.clone(), value: None });
        Decision { divisible: true, ..Decision::write((), expired.collect()) }
    }

    /// The transaction is decided: that is written, and then its markers are.
    fn prepare<R>(&self, decision: &mut Decision<Self, R>, transactional_id: &str, next: TransactionMetadata) {
        let record = self.record(transactional_id, next);
        if let Some(value) = &record.value {
            let work = self.marker_work(&record.transactional_id, value.completion, &value.metadata);
            decision.effects.push(Effect::Emit(TransactionOutput::WriteMarkers(work)));
        }
        decision.records.push(record);
    }

    fn marker_work(&self, transactional_id: &Arc<str>, completion: u64, metadata: &TransactionMetadata) -> MarkerWork {
        let result = match metadata.state {
            TransactionState::PrepareCommit => TransactionResult::Commit,
            _ => TransactionResult::Abort,
        };
        MarkerWork {
            transactional_id: transactional_id.clone(),
            completion,
            partitions: metadata.partitions.iter().cloned().collect(),
            marker: EndTransactionMarker {
                producer_id: metadata.producer_id,
                producer_epoch: metadata.producer_epoch,
                coordinator_epoch: self.coordinator_epoch,
                result,
                transaction_version: metadata.client_version,
            },
        }
    }

    /// The records of level 0 have no room for what a client of the second generation needs after a restart: its version, and the
    /// identity that comes with the markers. Kafka fails to build them (`TransactionLog.valueToBytes`).
    fn check_records_hold(&self, client_version: TransactionVersion) -> Outcome<()> {
        let holds = self.shared.transaction_version().uses_flexible_records() || !client_version.supports_epoch_bump();
        if holds { Ok(()) } else { Err(ResponseError::UnsupportedVersion) }
    }

    fn record(&self, transactional_id: &str, metadata: TransactionMetadata) -> TransactionRecord {
        let known = self.transactions.get_key_value(transactional_id);
        let transactional_id = known.map_or_else(|| Arc::from(transactional_id), |(id, _)| id.clone());
        let completion = if metadata.state.is_prepared() { self.shared.next_completion() } else { 0 };
        let value_version = i16::from(self.shared.transaction_version().uses_flexible_records());
        TransactionRecord { transactional_id, value: Some(TransactionValue { metadata, value_version, completion }) }
    }

    fn schedule(decision: &mut Decision<Self, ()>, timer: TransactionTimer, delay_ms: i64) {
        let delay = Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0));
        decision.effects.push(Effect::Schedule(timer, delay));
    }
}

fn refuse<T>(error: ResponseError) -> AttemptDecision<T> {
    Decision::respond(Attempt::Done(Err(error)))
}

fn check_identity(metadata: &TransactionMetadata, request: ProducerRequest<'_>) -> Outcome<()> {
    if metadata.producer_id != request.producer_id {
        return Err(ResponseError::InvalidProducerIdMapping);
    }
    if metadata.producer_epoch != request.producer_epoch && !mutant::is_active("zombie-in-the-transaction") {
        return Err(ResponseError::ProducerFenced);
    }
    Ok(())
}

impl StateMachine for TransactionShard {
    type Record = TransactionRecord;
    type TimerKey = TransactionTimer;
    type Parked = ();
    type Output = TransactionOutput;

    fn encode(record: &TransactionRecord) -> Result<KeyValue, CoordinatorError> {
        record::encode(record)
    }

    fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<TransactionRecord>, CoordinatorError> {
        record::decode(key, value)
    }

    fn replay(&mut self, _offset: i64, record: TransactionRecord) {
        let TransactionRecord { transactional_id, value } = record;
        let Some(TransactionValue { metadata, completion, .. }) = value else {
            self.transactions.remove(&transactional_id);
            self.completions.remove(&transactional_id);
            return;
        };
        if metadata.state.is_prepared() {
            let remaining = BTreeSet::clone(&metadata.partitions);
            self.completions.insert(transactional_id.clone(), Completion { id: completion, remaining });
        } else {
            self.completions.remove(&transactional_id);
        }
        self.transactions.insert(transactional_id, metadata);
    }

    fn loaded(&mut self, _now_ms: i64) -> Decision<Self, ()> {
        let mut decision = Decision::respond(());
        for completion in self.completions.values_mut() {
            completion.id = self.shared.next_completion();
        }
        for (transactional_id, completion) in &self.completions {
            if mutant::is_active("decided-transactions-forgotten") {
                break;
            }
            if let Some(metadata) = self.transactions.get(transactional_id) {
                let work = self.marker_work(transactional_id, completion.id, metadata);
                decision.effects.push(Effect::Emit(TransactionOutput::WriteMarkers(work)));
            }
        }
        let config = &self.shared.config;
        Self::schedule(&mut decision, TransactionTimer::AbortTimedOut, config.abort_timed_out_interval_ms);
        Self::schedule(&mut decision, TransactionTimer::RemoveExpired, config.remove_expired_interval_ms);
        decision
    }

    fn expired(&mut self, timer: TransactionTimer, now_ms: i64) -> Decision<Self, ()> {
        let config = &self.shared.config;
        let (abort_interval_ms, remove_interval_ms) =
            (config.abort_timed_out_interval_ms, config.remove_expired_interval_ms);
        match timer {
            TransactionTimer::AbortTimedOut => {
                let mut decision = self.abort_all_timed_out(now_ms);
                Self::schedule(&mut decision, timer, abort_interval_ms);
                decision
            }
            TransactionTimer::RemoveExpired => {
                let mut decision = self.remove_all_expired(now_ms);
                Self::schedule(&mut decision, timer, remove_interval_ms);
                decision
            }
        }
    }
}
