//! The log of one partition (`UnifiedLog`, `LocalLog`).

mod append;
mod close;
#[cfg(test)]
mod concurrency_tests;
mod continuity;
#[cfg(test)]
mod damage_tests;
mod flush;
#[cfg(test)]
mod hostile_tests;
mod indexes;
#[cfg(test)]
mod lazy_tests;
#[cfg(test)]
pub(super) mod log_tests;
#[cfg(test)]
mod open_files_tests;
#[cfg(test)]
mod producer_bug_tests;
#[cfg(test)]
mod producer_tests;
mod read;
#[cfg(test)]
mod recovery_tests;
mod replace;
mod retention;
#[cfg(test)]
mod retention_tests;
#[cfg(test)]
mod rolling_tests;
mod segments;
mod state;
mod timestamps;
#[cfg(test)]
mod timestamps_tests;
#[cfg(test)]
mod transaction_tests;
mod transactions;
mod truncate;
#[cfg(test)]
mod verification_tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex, MutexGuard};
use uuid::Uuid;

use super::checkpoint::EpochEntry;
use super::directory::LogDirectory;
use super::producer_state::{ActiveProducer, ProducerStateConfig, ProducerStateConfigSource};
use super::recovery;
use super::segment::SealedSegment;
use super::segment_files::LogPath;
use super::{StorageError, StorageResult};
use crate::config::LogConfig;
use crate::record;
use crate::types::{CLUSTER_METADATA_TOPIC_NAME, TopicPartition};
pub use append::{AppendOrigin, AppendTerms, LogAppendInfo};
pub(super) use append::{index_interval_bytes, parse_marker, preallocated_bytes};
pub(super) use close::CheckpointedOffsets;
pub(super) use continuity::CheckedRange;
pub use flush::FlushTicket;
pub(super) use flush::{flush_all, flush_dirty};
pub(super) use read::SearchPlan;
pub use read::{AbortedTransaction, FetchDataInfo, FetchIsolation, FileSlice, TimestampAndOffset};
pub(super) use replace::{CleanerSnapshot, LastRecord, Replacement, rename_segment, swap_file};
pub(super) use retention::{remove_directory_later, run_later};
pub(super) use segments::SegmentView;
pub(super) use state::{LogState, OffsetPosition};

/// A stored batch may unpack to so many times what a batch may that is unpacked before it is stored: most are stored as they come.
const DECOMPRESSED_LIMIT_FACTOR: usize = 8;

/// How a log is opened.
#[derive(Clone)]
pub struct LogOptions {
    /// The log directory it lives in; the log's own directory is `<topic>-<partition>` below.
    pub directory: Arc<LogDirectory>,
    /// Its name.
    pub topic_partition: TopicPartition,
    /// The topic's id; nil when the topic has none. Written to `partition.metadata`, or compared with it.
    pub topic_id: Uuid,
    /// Its settings.
    pub config: Arc<LogConfig>,
    /// Everything before this offset is on disk for sure; recovery starts here. 0 when unknown.
    pub recovery_point: i64,
    /// The first offset of the log as last checkpointed; 0 when unknown.
    pub log_start_offset: i64,
    /// The high watermark as last checkpointed; 0 when unknown.
    pub high_watermark: i64,
    /// Whether the directory was stopped cleanly, so that nothing needs recovery.
    pub clean_shutdown: bool,
    /// Whether the cleaner has been at it, so that offsets may be missing.
    pub compacted: bool,
    /// How producers are kept.
    pub producer_state: ProducerStateConfigSource,
}

impl LogOptions {
    /// Options of a log about which nothing is known.
    pub fn new(directory: Arc<LogDirectory>, topic_partition: TopicPartition, config: Arc<LogConfig>) -> Self {
        Self {
            directory,
            topic_partition,
            topic_id: Uuid::nil(),
            config,
            recovery_point: 0,
            log_start_offset: 0,
            high_watermark: 0,
            clean_shutdown: false,
            compacted: false,
            producer_state: Arc::new(ProducerStateConfig::default),
        }
    }
}

/// The log of one partition. All methods may be called from any thread; none waits for a sync unless it says so.
pub struct Log {
    pub(super) directory: Arc<LogDirectory>,
    pub(super) path: Arc<LogPath>,
    topic_partition: TopicPartition,
    pub(super) state: Mutex<LogState>,
    /// Held while files are synced; taken before `state`.
    flushing: Mutex<()>,
    /// Tells the flusher that as many wait for the next sync as it waits for (see [`flush`]).
    gathered: Condvar,
    /// Base offset and position of damage that was told; bounded where it grows.
    told_damage: Mutex<BTreeSet<(i64, u64)>>,
    pub(super) producer_state: ProducerStateConfigSource,
    /// Why the log is not served, while its directory is.
    offline: OnceLock<Arc<str>>,
}

impl Log {
    /// Opens the log, creating its directory if there is none; recovers it unless it was stopped cleanly.
    pub fn open(options: LogOptions) -> StorageResult<Arc<Self>> {
        let log = Arc::new(recovery::open(options)?);
        log.list_if_dirty();
        if &*log.topic_partition.topic == CLUSTER_METADATA_TOPIC_NAME {
            log.directory.set_metadata_log(Arc::downgrade(&log));
        }
        Ok(log)
    }

    pub(super) fn from_parts(options: &LogOptions, path: Arc<LogPath>, state: LogState) -> Self {
        Self {
            directory: options.directory.clone(),
            path,
            topic_partition: options.topic_partition.clone(),
            state: Mutex::new(state),
            flushing: Mutex::new(()),
            gathered: Condvar::new(),
            told_damage: Mutex::default(),
            producer_state: options.producer_state.clone(),
            offline: OnceLock::new(),
        }
    }

    pub(super) fn lock(&self) -> StateGuard<'_> {
        StateGuard { state: self.state.lock(), log: self }
    }

    /// Its name.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The topic's id; nil when the topic has none.
    pub fn topic_id(&self) -> Uuid {
        self.lock().topic_id
    }

    /// Gives a log without topic id its id; fails if it has another one.
    pub(super) fn adopt_topic_id(&self, topic_id: Uuid) -> StorageResult<()> {
        let mut state = self.lock();
        if topic_id.is_nil() || state.topic_id == topic_id {
            return Ok(());
        }
        if !state.topic_id.is_nil() {
            return Err(StorageError::InconsistentTopicId {
                topic_partition: self.topic_partition.clone(),
                on_disk: state.topic_id,
                requested: topic_id,
            });
        }
        recovery::write_topic_id(&self.directory, &self.path.get(), topic_id)?;
        state.topic_id = topic_id;
        state.flush.directory_unsynced = true;
        state.flush.topic_id_unsynced = true;
        Ok(())
    }

    /// The log directory it lives in.
    pub fn log_directory(&self) -> &Arc<LogDirectory> {
        &self.directory
    }

    /// Its own directory.
    pub fn path(&self) -> PathBuf {
        self.path.get()
    }

    /// The first offset that may be read.
    pub fn log_start_offset(&self) -> i64 {
        self.lock().log_start_offset
    }

    /// The offset of the next record.
    pub fn log_end_offset(&self) -> i64 {
        self.lock().log_end_offset
    }

    /// The offset up to which every in-sync replica has the log.
    pub fn high_watermark(&self) -> i64 {
        self.lock().high_watermark.offset
    }

    /// The offset up to which `read_committed` consumers may read: the first offset of an open transaction, at most the high
    /// watermark.
    pub fn last_stable_offset(&self) -> i64 {
        self.lock().last_stable_offset()
    }

    /// Moves the high watermark, forward or back, within the log; returns where it is now (`updateHighWatermark`).
    pub fn update_high_watermark(&self, offset: i64) -> i64 {
        let mut state = self.lock();
        let before = state.high_watermark.offset;
        state.set_high_watermark(offset);
        let now = state.high_watermark.offset;
        if now != before {
            self.directory.note_change();
        }
        now
    }

    /// Moves the high watermark forward only; returns its old value if it moved (`maybeIncrementHighWatermark`).
    pub fn maybe_increment_high_watermark(&self, offset: i64) -> Option<i64> {
        let mut state = self.lock();
        let before = state.high_watermark.offset;
        if offset <= before {
            return None;
        }
        state.set_high_watermark(offset);
        self.directory.note_change();
        (state.high_watermark.offset > before).then_some(before)
    }

    /// Bytes of all segments; those of segments whose file cannot be looked at do not count.
    pub fn size(&self) -> u64 {
        let state = self.lock();
        state.size().unwrap_or_else(|error| {
            tracing::warn!("size of {}: {error}", self.topic_partition);
            state.sealed.iter().filter_map(SealedSegment::known_size).sum::<u64>() + state.active.size
        })
    }

    /// Number of segments.
    pub fn segment_count(&self) -> usize {
        self.lock().sealed.len() + 1
    }

    /// Its settings.
    pub fn config(&self) -> Arc<LogConfig> {
        self.lock().config.clone()
    }

    /// Replaces its settings; they hold from the next append on.
    pub fn update_config(&self, config: Arc<LogConfig>) {
        self.lock().config = config;
    }

    /// The newest leader epoch in the log.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.lock().epochs.latest_epoch()
    }

    /// The leader epoch of the record at an offset.
    pub fn leader_epoch_for(&self, offset: i64) -> Option<i32> {
        self.lock().epochs.epoch_for_offset(offset)
    }

    /// The known epochs, ascending.
    pub fn epoch_entries(&self) -> Vec<EpochEntry> {
        self.lock().epochs.entries().to_vec()
    }

    /// The largest epoch not above `epoch` and the offset after its last record; (-1, -1) if unknown
    /// (`endOffsetForEpoch`, OffsetForLeaderEpoch).
    pub fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64) {
        let state = self.lock();
        state.epochs.end_offset_for(epoch, state.log_end_offset)
    }

    /// Notes that a leader epoch begins at an offset (`assignEpochStartOffset`). It is written down with its first record: an epoch
    /// without records is forgotten by the next one that begins at the same offset, so that a start of many logs writes nothing.
    pub fn assign_epoch_start_offset(&self, epoch: i32, offset: i64) -> StorageResult<()> {
        let mut state = self.lock();
        self.check_usable(&state)?;
        state.epochs_unwritten |= state.epochs.assign(epoch, offset);
        Ok(())
    }

    /// Notes an epoch in the file, then in memory.
    fn assign_epoch(&self, state: &mut LogState, epoch: i32, offset: i64) -> StorageResult<()> {
        if state.epochs_unwritten {
            recovery::write_epochs(&self.directory, &self.path.get(), state.epochs.entries())?;
            state.epochs_unsynced = true;
            state.epochs_unwritten = false;
        }
        if state.epochs.latest_epoch() == Some(epoch)
            && state.epochs.entries().last().is_some_and(|last| last.start_offset <= offset)
        {
            return Ok(());
        }
        let mut epochs = state.epochs.clone();
        if epochs.assign(epoch, offset) {
            recovery::write_epochs(&self.directory, &self.path.get(), epochs.entries())?;
            state.epochs = epochs;
            state.epochs_unsynced = true;
        }
        Ok(())
    }

    /// The producers that wrote to the log not too long ago (DescribeProducers).
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.lock().producers.active_producers()
    }

    /// Forgets producers that wrote nothing for `producer.id.expiration.ms`; returns how many.
    pub fn remove_expired_producers(&self, now_ms: i64) -> usize {
        let expiration_ms = (self.producer_state)().expiration_ms;
        self.lock().producers.remove_expired(now_ms, expiration_ms)
    }

    /// How many producers the log remembers, and whether it has a transaction that should have ended long ago: its coordinator does not
    /// know of it, and `kafka-transactions.sh find-hanging` will.
    pub(super) fn producer_health(&self, now_ms: i64) -> (usize, bool) {
        let max_timeout_ms = (self.producer_state)().max_transaction_timeout_ms;
        let state = self.lock();
        (state.producers.len(), state.producers.has_late_transaction(now_ms, max_timeout_ms))
    }

    /// The offset up to which the log is known to be durable.
    pub fn recovery_point(&self) -> i64 {
        self.lock().recovery_point
    }

    /// Takes this log offline because something that was known to be on the disk is damaged: nothing more is read from it or
    /// written to it, and its directory gets no marker of a clean stop. The first reason stays.
    pub fn mark_offline(&self, reason: &str) {
        if self.offline.set(reason.into()).is_ok() {
            tracing::error!(
                "{} is offline, the rest of {} is served: {reason}",
                self.topic_partition,
                self.directory.path().display()
            );
            self.directory.note_partition_offline();
        }
    }

    /// Whether it cannot be served, because of itself or of its directory.
    pub fn is_offline(&self) -> bool {
        self.directory.is_offline() || self.offline.get().is_some()
    }

    pub(super) fn check_usable(&self, state: &LogState) -> StorageResult<()> {
        self.directory.check_online()?;
        if let Some(reason) = self.offline.get() {
            let topic_partition = self.topic_partition.clone();
            return Err(StorageError::PartitionOffline { topic_partition, reason: reason.clone() });
        }
        if state.closed { Err(self.closed()) } else { Ok(()) }
    }

    fn closed(&self) -> StorageError {
        StorageError::LogClosed { topic_partition: self.topic_partition.clone() }
    }

    /// Writes `leader-epoch-checkpoint`; it is synced with the next flush.
    pub(super) fn write_epochs(&self, state: &mut LogState) -> StorageResult<()> {
        state.epochs_unsynced = true;
        recovery::write_epochs(&self.directory, &self.path.get(), state.epochs.entries())?;
        state.epochs_unwritten = false;
        Ok(())
    }
}

/// The bound on the decompressed records of a batch that is in a log, in bytes.
pub(super) fn decompressed_limit(config: &LogConfig) -> usize {
    let max_message_bytes = usize::try_from(config.max_message_bytes).unwrap_or(0);
    record::decompressed_limit(max_message_bytes).saturating_mul(DECOMPRESSED_LIMIT_FACTOR)
}

/// The lock of a log. A panic under it takes the log directory offline: state that may be half changed is never served.
pub(super) struct StateGuard<'a> {
    state: MutexGuard<'a, LogState>,
    log: &'a Log,
}

impl std::ops::Deref for StateGuard<'_> {
    type Target = LogState;

    fn deref(&self) -> &LogState {
        &self.state
    }
}

impl std::ops::DerefMut for StateGuard<'_> {
    fn deref_mut(&mut self) -> &mut LogState {
        &mut self.state
    }
}

impl Drop for StateGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.log.directory.take_offline(format!("panic while the log of {} was locked", self.log.topic_partition));
        }
    }
}
