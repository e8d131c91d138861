//! One partition on the broker that leads it (`kafka.cluster.Partition`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::fetch_watcher::WatcherList;
use super::high_watermark_waiters::HighWatermarkWaiters;
use super::offset_lookup::{ListedOffset, lookup};
use super::{FetchWatcher, HighWatermarkWait, ReplicaError, WatchToken};
use crate::config::LogConfig;
use crate::env::BoxFuture;
use crate::record::{ProduceBatch, ValidatedBatch, ValidationError, ValidationRules, marker_batch, validate_batch};
use crate::storage::{
    AbortedTransaction, ActiveProducer, AppendOrigin, AppendTerms, FetchIsolation, FileSlice, FlushTicket, Log,
    LogAppendInfo,
};
use crate::telemetry::TopicTraffic;
use crate::types::{EndTransactionMarker, NO_LEADER_EPOCH, TopicPartition, Uuid, VerificationGuard};

/// `acks` of a producer that waits for all in-sync replicas.
pub const ACKS_ALL: i16 = -1;

/// Who leads the partition, as the metadata say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Whether it is this broker.
    pub is_leader: bool,
    /// Rises with every change of leader.
    pub leader_epoch: i32,
    /// Number of replicas.
    pub replicas: usize,
    /// Number of replicas in sync, this one among them.
    pub in_sync_replicas: usize,
    /// The log's end when this broker became leader in this epoch.
    pub epoch_start_offset: i64,
}

/// What an append did.
pub struct AppendResult {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The time that the log gave the records; -1 with CreateTime.
    pub log_append_time: i64,
    /// The log's first offset.
    pub log_start_offset: i64,
    /// What was committed then.
    pub high_watermark: i64,
    /// Whether the batch was there already (idempotent producers): nothing was appended.
    pub duplicate: bool,
    /// Set when the topic's configuration makes acknowledgements wait for the disk.
    pub flush: Option<FlushTicket>,
}

/// What a reader asks of a partition.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    /// First offset wanted.
    pub fetch_offset: i64,
    /// The leader epoch that the reader knows; -1 when it does not say.
    pub current_leader_epoch: i32,
    /// The epoch of the last record that the reader has; -1 when it does not say.
    pub last_fetched_epoch: i32,
    /// Most bytes wanted.
    pub max_bytes: usize,
    /// How far it may read.
    pub isolation: FetchIsolation,
    /// Whether the first batch comes whole even when it is larger than `max_bytes` (KIP-74).
    pub min_one_message: bool,
}

/// Records and the watermarks of the same moment (`LogReadInfo`).
pub struct ReadResult {
    /// Whole batches; `None` when there is nothing to read.
    pub records: Option<FileSlice>,
    /// The aborted transactions that the records touch, for `TransactionCommitted`.
    pub aborted_transactions: Vec<AbortedTransaction>,
    /// What is committed.
    pub high_watermark: i64,
    /// What a read_committed reader may see.
    pub last_stable_offset: i64,
    /// The log's first offset.
    pub log_start_offset: i64,
    /// The log's end.
    pub log_end_offset: i64,
    /// Where the reader's log leaves this one (KIP-595), when it does.
    pub diverging_epoch: Option<(i32, i64)>,
    /// The log goes on in the next segment: there is more than these records, so that nothing is gained by waiting.
    pub on_older_segment: bool,
}

/// One partition that this broker has a replica of.
pub struct Partition {
    topic_partition: TopicPartition,
    topic_id: Uuid,
    log: Arc<Log>,
    leadership: RwLock<Leadership>,
    rules: ArcSwap<ValidationRules>,
    fetch_watchers: Mutex<WatcherList>,
    produce_waiters: Mutex<HighWatermarkWaiters>,
    stopped: AtomicBool,
    traffic: Arc<TopicTraffic>,
}

impl Partition {
    pub(super) fn new(
        topic_partition: TopicPartition,
        topic_id: Uuid,
        log: Arc<Log>,
        traffic: Arc<TopicTraffic>,
    ) -> Arc<Self> {
        let memory = log.log_directory().memory().limit();
        let rules = ArcSwap::from_pointee(validation_rules(&topic_partition, &log.config(), memory));
        let leadership = Leadership {
            is_leader: false,
            leader_epoch: NO_LEADER_EPOCH,
            replicas: 0,
            in_sync_replicas: 0,
            epoch_start_offset: -1,
        };
        Arc::new(Self {
            topic_partition,
            topic_id,
            log,
            leadership: RwLock::new(leadership),
            rules,
            fetch_watchers: Mutex::default(),
            produce_waiters: Mutex::default(),
            stopped: AtomicBool::new(false),
            traffic,
        })
    }

    /// Name and number.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The topic's id.
    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// The log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Who leads.
    pub fn leadership(&self) -> Leadership {
        *self.leadership.read()
    }

    /// The current leader epoch; -1 before the first.
    pub fn leader_epoch(&self) -> i32 {
        self.leadership.read().leader_epoch
    }

    /// Whether this broker leads the partition.
    pub fn is_leader(&self) -> bool {
        self.leadership.read().is_leader
    }

    /// Whether the partition was removed from this broker: who holds it looks it up again.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// What is committed: the offset after the last record that all in-sync replicas have.
    pub fn high_watermark(&self) -> i64 {
        self.log.high_watermark()
    }

    /// The log's end.
    pub fn log_end_offset(&self) -> i64 {
        self.log.log_end_offset()
    }

    /// What clients write to and read from the topic, all its partitions together.
    pub fn traffic(&self) -> &Arc<TopicTraffic> {
        &self.traffic
    }

    /// Requests waiting here, fetches and produces, for metrics and tests.
    pub fn waiting(&self) -> (usize, usize) {
        (self.fetch_watchers.lock().len(), self.produce_waiters.lock().len())
    }

    /// Replicas that acks=all needs: never more than there are (`Partition.effectiveMinIsr`).
    pub fn effective_min_in_sync_replicas(&self) -> usize {
        effective_min_isr(&self.log.config(), self.leadership.read().replicas)
    }

    /// Makes this broker the leader (`Partition.makeLeader`).
    pub(super) fn make_leader(
        &self,
        leader_epoch: i32,
        replicas: usize,
        in_sync_replicas: usize,
    ) -> Result<(), ReplicaError> {
        let mut leadership = self.leadership.write();
        let is_new_epoch = leadership.leader_epoch != leader_epoch || !leadership.is_leader;
        if is_new_epoch {
            let start_offset = self.log.log_end_offset();
            self.log.assign_epoch_start_offset(leader_epoch, start_offset)?;
            leadership.epoch_start_offset = start_offset;
        }
        *leadership = Leadership { is_leader: true, leader_epoch, replicas, in_sync_replicas, ..*leadership };
        let before = self.log.high_watermark();
        let high_watermark = self.advance_high_watermark(&leadership);
        drop(leadership);
        self.after_high_watermark(high_watermark);
        if is_new_epoch || high_watermark != before {
            self.fetch_watchers.lock().on_change();
        }
        Ok(())
    }

    /// As if the metadata had said so, for tests of requests that wait.
    #[cfg(test)]
    pub(crate) fn pretend_in_sync(&self, replicas: usize, in_sync_replicas: usize) {
        self.make_leader(self.leader_epoch(), replicas, in_sync_replicas).expect("an epoch that is known");
    }

    /// Ends leadership and tells everyone who waits (`Partition.delete`, `makeFollower`).
    pub(super) fn resign(&self) {
        self.leadership.write().is_leader = false;
        let waiters = self.produce_waiters.lock().take_all();
        for waiter in waiters {
            // Who gave up needs no answer.
            let _ = waiter.send(Err(ReplicaError::NotLeaderOrFollower(self.topic_partition.clone())));
        }
        self.fetch_watchers.lock().on_change();
    }

    /// Ends the partition's life on this broker.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.resign();
    }

    /// Takes over a changed configuration.
    pub(super) fn update_config(&self, config: Arc<LogConfig>) {
        let memory = self.log.log_directory().memory().limit();
        self.rules.store(Arc::new(validation_rules(&self.topic_partition, &config, memory)));
        self.log.update_config(config);
    }

    /// Appends what a client produced (`Partition.appendRecordsToLeader`). `now` is the wall clock in milliseconds.
    ///
    /// With acks=all the caller then waits for [`Partition::committed`] and for the flush ticket. `guard`: of the first write of a
    /// transaction ([`Partition::maybe_start_transaction_verification`]).
    pub fn append_records_to_leader(
        &self,
        records: Bytes,
        required_acks: i16,
        origin: AppendOrigin,
        guard: VerificationGuard,
        now: i64,
    ) -> Result<AppendResult, ReplicaError> {
        let batch = ProduceBatch::parse(&records, i16::MAX)?;
        self.append_batch_to_leader(batch, required_acks, origin, guard, now)
    }

    /// As [`Partition::append_records_to_leader`], of a batch that is parsed already.
    pub fn append_batch_to_leader(
        &self,
        batch: ProduceBatch,
        required_acks: i16,
        origin: AppendOrigin,
        guard: VerificationGuard,
        now: i64,
    ) -> Result<AppendResult, ReplicaError> {
        // Once before the work, and again under the lock that the append needs.
        self.check_append(&self.leadership.read(), required_acks)?;
        let batch = {
            let rules = self.rules.load();
            let decompressed = rules.decompressed_bytes(&batch, now);
            let _held = (decompressed > 0).then(|| self.log.log_directory().memory().hold_work(decompressed));
            validate_batch(batch, &rules, now)?
        };
        self.append(batch, required_acks, AppendTerms { guard, ..AppendTerms::new(NO_LEADER_EPOCH, origin, now) })
    }

    /// Appends a batch that a coordinator of this broker built; returns the offset after it, which is committed when
    /// [`Partition::committed`] says so (`PartitionWriter.append`). `guard` is for batches of a transaction
    /// ([`Partition::maybe_start_transaction_verification`]).
    pub fn append_coordinator_records(
        &self,
        batch: Bytes,
        guard: VerificationGuard,
        now: i64,
    ) -> Result<i64, ReplicaError> {
        let batch = ValidatedBatch::from_trusted(batch).map_err(ValidationError::from)?;
        let terms = AppendTerms { guard, ..AppendTerms::new(NO_LEADER_EPOCH, AppendOrigin::Coordinator, now) };
        let appended = self.append(batch, ACKS_ALL, terms)?;
        Ok(appended.last_offset + 1)
    }

    /// Ends a producer's transaction here: appends the control batch that says how. `now` is the wall clock in milliseconds.
    ///
    /// Fails for epochs that the producer, or its coordinator, has left behind (`ProducerAppendInfo.appendEndTxnMarker`). Readers see the
    /// end once [`Partition::committed`] says so.
    pub fn append_end_transaction_marker(
        &self,
        marker: &EndTransactionMarker,
        now: i64,
    ) -> Result<AppendResult, ReplicaError> {
        let batch = marker_batch(marker, now, self.rules.load().timestamp_type);
        let batch = ValidatedBatch::from_trusted(batch).map_err(ValidationError::from)?;
        let terms = AppendTerms {
            transaction_version: marker.transaction_version,
            ..AppendTerms::new(NO_LEADER_EPOCH, AppendOrigin::Coordinator, now)
        };
        self.append(batch, ACKS_ALL, terms)
    }

    /// Begins the verification of a transaction's first write here; the guard is none when there is nothing to verify
    /// ([`Log::maybe_start_transaction_verification`]).
    pub fn maybe_start_transaction_verification(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        supports_epoch_bump: bool,
    ) -> Result<VerificationGuard, ReplicaError> {
        if !self.is_leader() {
            return Err(ReplicaError::NotLeaderOrFollower(self.topic_partition.clone()));
        }
        let log = &self.log;
        Ok(log.maybe_start_transaction_verification(producer_id, producer_epoch, base_sequence, supports_epoch_bump)?)
    }

    fn append(
        &self,
        batch: ValidatedBatch,
        required_acks: i16,
        terms: AppendTerms,
    ) -> Result<AppendResult, ReplicaError> {
        let (bytes, is_control) = (batch.size_in_bytes() as u64, batch.header.is_control());
        let leadership = self.leadership.read();
        self.check_append(&leadership, required_acks)?;
        let commits = leadership.in_sync_replicas <= 1;
        let terms = AppendTerms { leader_epoch: leadership.leader_epoch, commits, ..terms };
        let LogAppendInfo {
            first_offset,
            last_offset,
            log_append_time,
            log_start_offset,
            high_watermark,
            duplicate,
            mut flush,
            ..
        } = self.log.append_as_leader(batch, &terms)?;
        if duplicate && self.flushes_every_append() {
            // The first try may still be waiting for the disk: so does its repetition.
            flush = Some(self.log.flush_ticket(last_offset + 1));
        }
        drop(leadership);
        self.after_high_watermark(high_watermark);
        if is_control {
            // Few bytes that may let readers of what is committed see many.
            self.fetch_watchers.lock().on_change();
        } else if !duplicate {
            self.fetch_watchers.lock().on_bytes(bytes);
        }
        Ok(AppendResult {
            base_offset: first_offset,
            last_offset,
            log_append_time,
            log_start_offset,
            high_watermark,
            duplicate,
            flush,
        })
    }

    fn check_append(&self, leadership: &Leadership, required_acks: i16) -> Result<(), ReplicaError> {
        if !leadership.is_leader {
            return Err(ReplicaError::NotLeaderOrFollower(self.topic_partition.clone()));
        }
        // With every replica in sync there are always enough.
        if required_acks != ACKS_ALL || leadership.in_sync_replicas >= leadership.replicas {
            return Ok(());
        }
        let required = effective_min_isr(&self.log.config(), leadership.replicas);
        if leadership.in_sync_replicas < required {
            let (topic_partition, in_sync) = (self.topic_partition.clone(), leadership.in_sync_replicas);
            return Err(ReplicaError::NotEnoughReplicas { topic_partition, in_sync, required });
        }
        Ok(())
    }

    /// Moves the high watermark to what all in-sync replicas have (`Partition.maybeIncrementLeaderHW`). While the
    /// in-sync set is this broker alone, that is the log's end.
    fn advance_high_watermark(&self, leadership: &Leadership) -> i64 {
        if leadership.in_sync_replicas <= 1 {
            self.log.maybe_increment_high_watermark(self.log.log_end_offset());
        }
        self.log.high_watermark()
    }

    fn after_high_watermark(&self, high_watermark: i64) {
        let reached = self.produce_waiters.lock().take_reached(high_watermark);
        for waiter in reached {
            // Who gave up needs no answer.
            let _ = waiter.send(Ok(()));
        }
    }

    /// Waits until everything before `offset` is committed (`DelayedProduce`).
    pub fn committed(self: &Arc<Self>, offset: i64) -> HighWatermarkWait {
        if self.high_watermark() >= offset {
            return HighWatermarkWait::done(Ok(()));
        }
        let (key, receiver) = self.produce_waiters.lock().add(offset);
        // The high watermark may have come by between the look and the list.
        self.after_high_watermark(self.high_watermark());
        if !self.is_leader() {
            self.remove_produce_waiter(key);
            return HighWatermarkWait::done(Err(ReplicaError::NotLeaderOrFollower(self.topic_partition.clone())));
        }
        HighWatermarkWait::new(self.clone(), key, receiver)
    }

    /// As [`Partition::committed`], and on disk where the topic's configuration makes every acknowledgement wait for that
    /// (`flush.messages=1`): for writers of this broker, which keep no flush ticket.
    pub fn acknowledged(self: &Arc<Self>, offset: i64) -> BoxFuture<'static, Result<(), ReplicaError>> {
        let committed = self.committed(offset);
        let flush = self.flushes_every_append().then(|| self.log.flush_ticket(offset));
        Box::pin(async move {
            committed.await?;
            match flush {
                Some(flush) => Ok(flush.await?),
                None => Ok(()),
            }
        })
    }

    /// Whether every acknowledgement waits for the disk (`flush.messages=1`).
    pub fn flushes_every_append(&self) -> bool {
        self.log.config().flush_messages <= 1
    }

    pub(super) fn remove_produce_waiter(&self, key: (i64, u64)) {
        self.produce_waiters.lock().remove(key);
    }

    /// Puts a fetch into the list of those that hear of news here, until the guard is dropped.
    pub fn watch(self: &Arc<Self>, watcher: &Arc<FetchWatcher>, token: WatchToken) -> PartitionWatch {
        let id = self.fetch_watchers.lock().add(watcher.clone(), token);
        PartitionWatch { partition: self.clone(), id }
    }

    /// Reads records, with the watermarks of the same moment (`Partition.fetchRecords`).
    pub fn read(&self, request: &ReadRequest) -> Result<ReadResult, ReplicaError> {
        let leadership = self.leadership.read();
        self.check_leader_and_epoch(&leadership, request.current_leader_epoch)?;
        if request.last_fetched_epoch >= 0
            && let Some(result) = self.find_divergence(request)?
        {
            return Ok(result);
        }
        let data =
            self.log.read(request.fetch_offset, request.max_bytes, request.isolation, request.min_one_message)?;
        // A reader that cannot take the first batch whole gets nothing, rather than a piece.
        let records = data.records.filter(|_| !data.first_entry_incomplete);
        Ok(ReadResult {
            records,
            aborted_transactions: data.aborted_transactions,
            high_watermark: data.high_watermark,
            last_stable_offset: data.last_stable_offset,
            log_start_offset: data.log_start_offset,
            log_end_offset: data.log_end_offset,
            diverging_epoch: None,
            on_older_segment: data.on_older_segment,
        })
    }

    fn find_divergence(&self, request: &ReadRequest) -> Result<Option<ReadResult>, ReplicaError> {
        let (epoch, end_offset) = self.log.end_offset_for_epoch(request.last_fetched_epoch);
        if epoch < 0 || end_offset < 0 {
            return Err(ReplicaError::OffsetOutOfRange(format!(
                "Could not determine the end offset of the last fetched epoch {} from the request",
                request.last_fetched_epoch
            )));
        }
        let log_start_offset = self.log.log_start_offset();
        if request.fetch_offset < log_start_offset {
            return Err(ReplicaError::OffsetOutOfRange(format!(
                "Received request for offset {} for partition {}, but we only have log segments in the range \
                 {log_start_offset} to {}.",
                request.fetch_offset,
                self.topic_partition,
                self.log_end_offset()
            )));
        }
        let diverges = epoch < request.last_fetched_epoch || end_offset < request.fetch_offset;
        Ok(diverges.then(|| ReadResult {
            records: None,
            aborted_transactions: Vec::new(),
            high_watermark: self.log.high_watermark(),
            last_stable_offset: self.log.last_stable_offset(),
            log_start_offset,
            log_end_offset: self.log.log_end_offset(),
            diverging_epoch: Some((epoch, end_offset)),
            on_older_segment: false,
        }))
    }

    /// The offset for one of ListOffsets' timestamps (`Partition.fetchOffsetForTimestamp`). `isolation` is `None` for a
    /// reader that may see what is not committed. `Ok(None)`: there is no such record.
    pub fn list_offset(
        &self,
        timestamp: i64,
        isolation: Option<FetchIsolation>,
        current_leader_epoch: i32,
    ) -> Result<Option<ListedOffset>, ReplicaError> {
        let leadership = self.leadership.read();
        self.check_leader_and_epoch(&leadership, current_leader_epoch)?;
        lookup(self, &leadership, timestamp, isolation)
    }

    /// The largest epoch up to `epoch` and where it ends (`Partition.lastOffsetForLeaderEpoch`); (-1, -1) when
    /// unknown.
    pub fn last_offset_for_leader_epoch(
        &self,
        current_leader_epoch: i32,
        epoch: i32,
    ) -> Result<(i32, i64), ReplicaError> {
        let leadership = self.leadership.read();
        self.check_leader_and_epoch(&leadership, current_leader_epoch)?;
        Ok(self.log.end_offset_for_epoch(epoch))
    }

    /// Why no follower is served: an epoch that is not the leader's comes before not being one of its replicas
    /// (`Partition.followerReplicaOrThrow`).
    pub fn follower_refusal(&self, current_leader_epoch: i32) -> ReplicaError {
        let leadership = self.leadership.read();
        match self.check_leader_and_epoch(&leadership, current_leader_epoch) {
            Err(error) => error,
            Ok(()) if current_leader_epoch == NO_LEADER_EPOCH => {
                ReplicaError::NotLeaderOrFollower(self.topic_partition.clone())
            }
            Ok(()) => {
                ReplicaError::UnknownLeaderEpoch { requested: current_leader_epoch, current: leadership.leader_epoch }
            }
        }
    }

    /// Moves the log's start to `offset`, or to the high watermark for -1; returns the new low watermark
    /// (`Partition.deleteRecordsOnLeader`).
    pub fn delete_records(&self, offset: i64) -> Result<i64, ReplicaError> {
        let leadership = self.leadership.read();
        if !leadership.is_leader {
            return Err(ReplicaError::NotLeaderOrFollower(self.topic_partition.clone()));
        }
        let config = self.log.config();
        if config.compact && !config.delete {
            return Err(ReplicaError::PolicyViolation(self.topic_partition.clone()));
        }
        let high_watermark = self.log.high_watermark();
        let wanted = if offset == -1 { high_watermark } else { offset };
        if wanted < 0 || wanted > high_watermark {
            return Err(ReplicaError::OffsetOutOfRange(format!(
                "The offset {wanted} for partition {} is not valid: the high watermark is {high_watermark}",
                self.topic_partition
            )));
        }
        self.log.delete_records_before(wanted)?;
        drop(leadership);
        self.fetch_watchers.lock().on_change();
        Ok(self.log.log_start_offset())
    }

    /// The producers that the log knows (`Partition.activeProducerState`).
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.log.active_producers()
    }

    fn check_leader_and_epoch(&self, leadership: &Leadership, requested: i32) -> Result<(), ReplicaError> {
        let current = leadership.leader_epoch;
        if requested != NO_LEADER_EPOCH && requested < current {
            return Err(ReplicaError::FencedLeaderEpoch { requested, current });
        }
        if requested != NO_LEADER_EPOCH && requested > current {
            return Err(ReplicaError::UnknownLeaderEpoch { requested, current });
        }
        if !leadership.is_leader {
            return Err(ReplicaError::NotLeaderOrFollower(self.topic_partition.clone()));
        }
        Ok(())
    }
}

/// A fetch's place in a partition's list of watchers; gives it up when dropped.
pub struct PartitionWatch {
    partition: Arc<Partition>,
    id: u64,
}

impl PartitionWatch {
    /// The partition.
    pub fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }
}

impl Drop for PartitionWatch {
    fn drop(&mut self) {
        self.partition.fetch_watchers.lock().remove(self.id);
    }
}

fn effective_min_isr(config: &LogConfig, replicas: usize) -> usize {
    usize::try_from(config.min_insync_replicas).unwrap_or(1).min(replicas)
}

/// `memory`: bytes that everything together may take; one batch may become half of it.
fn validation_rules(topic_partition: &TopicPartition, config: &LogConfig, memory: usize) -> ValidationRules {
    let rules = ValidationRules {
        compression: config.compression,
        compacted: config.compact,
        timestamp_type: config.message_timestamp_type,
        before_max_ms: config.message_timestamp_before_max_ms,
        after_max_ms: config.message_timestamp_after_max_ms,
        strict: config.validate_compressed_batches,
        ..ValidationRules::new(topic_partition.clone())
    }
    .with_max_message_bytes(usize::try_from(config.max_message_bytes).unwrap_or(0));
    ValidationRules { decompressed_limit: rules.decompressed_limit.min(memory / 2), ..rules }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
