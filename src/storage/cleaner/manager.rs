//! Which log is cleaned next, how far each one is, and which are left alone (`LogCleanerManager`, `LogCleaner.CleanerThread`).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::clean::{Cleaning, CleaningLimits, CleaningStats, MAP_BYTES_MIN, Outcome};
use super::selection::{Cleanable, SegmentRange, compaction_delay_ms, first_dirty_offset};
use super::throttle::Throttle;
use crate::env::Env;
use crate::storage::checkpoint::{MAX_CHECKPOINT_BYTES, OffsetMap, encode_offsets, parse_offsets};
use crate::storage::directory::LogDirectory;
use crate::storage::log::{CleanerSnapshot, Log};
use crate::storage::segment::read_header;
use crate::storage::segment_files::{SegmentFileKind, is_not_found};
use crate::storage::{StorageError, StorageResult};
use crate::telemetry::Metrics;
use crate::types::TopicPartition;

const CLEANER_OFFSET_CHECKPOINT: &str = "cleaner-offset-checkpoint";
/// A thread's share of the buffers is never less.
const IO_BUFFER_BYTES_MIN: usize = 4096;
/// Longest wait of a stop for cleanings to notice it.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// The settings of the cleaner; the comments name Kafka's configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`.
    pub enabled: bool,
    /// `log.cleaner.threads`.
    pub threads: usize,
    /// `log.cleaner.dedupe.buffer.size`, of all threads.
    pub dedupe_buffer_bytes: usize,
    /// `log.cleaner.io.buffer.size`, of all threads.
    pub io_buffer_bytes: usize,
    /// `log.cleaner.io.buffer.load.factor`: how full the map of keys may be.
    pub load_factor: f64,
    /// `log.cleaner.io.max.bytes.per.second`.
    pub max_bytes_per_second: f64,
    /// `log.cleaner.backoff.ms`: how long to wait when there is nothing to clean.
    pub backoff_ms: i64,
}

impl Default for CleanerConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            enabled: true,
            threads: 1,
            dedupe_buffer_bytes: 128 << 20,
            io_buffer_bytes: 512 << 10,
            load_factor: 0.9,
            max_bytes_per_second: f64::MAX,
            backoff_ms: 15_000,
        }
    }
}

impl CleanerConfig {
    fn limits(&self) -> CleaningLimits {
        let threads = self.threads.max(1);
        CleaningLimits {
            map_bytes: (self.dedupe_buffer_bytes / threads).clamp(MAP_BYTES_MIN, i32::MAX as usize),
            map_load_factor: self.load_factor,
            io_buffer_bytes: (self.io_buffer_bytes / threads / 2).max(IO_BUFFER_BYTES_MIN),
            bytes_per_second: self.max_bytes_per_second,
        }
    }
}

/// Where the settings in force come from.
pub type CleanerConfigSource = Arc<dyn Fn() -> CleanerConfig + Send + Sync>;

/// What a thread did last, for the metrics.
#[derive(Clone, Copy, Debug, Default)]
struct LastCleaning {
    stats: CleaningStats,
    seconds: i64,
    compaction_delay_ms: i64,
}

#[derive(Default)]
struct State {
    /// Logs that a thread cleans or deletes from.
    in_progress: HashSet<TopicPartition>,
    /// Logs whose cleaning failed.
    uncleanable: HashMap<TopicPartition, Weak<Log>>,
    /// Where each log is clean up to, by log directory.
    checkpoints: HashMap<Arc<std::path::Path>, OffsetMap>,
    last: HashMap<usize, LastCleaning>,
}

/// The cleaner of all logs.
pub(in crate::storage) struct LogCleaner {
    env: Env,
    config: CleanerConfigSource,
    metrics: Arc<Metrics>,
    throttle: Throttle,
    state: Mutex<State>,
    /// A log is not in progress any more.
    done: Condvar,
    started: AtomicBool,
}

/// A log to clean and what of it.
struct LogToClean {
    log: Arc<Log>,
    snapshot: CleanerSnapshot,
    cleanable: Cleanable,
}

impl LogCleaner {
    pub(in crate::storage) fn new(env: Env, config: CleanerConfigSource, metrics: Arc<Metrics>) -> Self {
        Self {
            env,
            config,
            metrics,
            throttle: Throttle::default(),
            state: Mutex::default(),
            done: Condvar::new(),
            started: AtomicBool::new(false),
        }
    }

    /// The settings in force.
    pub(in crate::storage) fn config(&self) -> CleanerConfig {
        (self.config)()
    }

    /// Notes that threads run, which also delete what retention no longer holds in the logs they clean.
    pub(in crate::storage) fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Whether the deletion of old segments of compacted logs is the cleaner's.
    pub(in crate::storage) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Reads `cleaner-offset-checkpoint`; a missing or malformed one means that all is dirty, which costs a cleaning.
    pub(in crate::storage) fn load_checkpoint(&self, directory: &LogDirectory) {
        let path = directory.path().join(CLEANER_OFFSET_CHECKPOINT);
        let offsets = match self.env.disk.read(&path, MAX_CHECKPOINT_BYTES) {
            Ok(bytes) => parse_offsets(&bytes).unwrap_or_else(|| {
                tracing::warn!("{} is malformed and not used", path.display());
                OffsetMap::new()
            }),
            Err(_) => OffsetMap::new(),
        };
        self.state.lock().checkpoints.insert(directory.path().into(), offsets);
    }

    /// Forgets a log that is deleted, or put aside: a new one of the same name begins dirty. Waits for nothing: a cleaning under way
    /// notices that its log is closed.
    pub(in crate::storage) fn forget(&self, log: &Log) -> StorageResult<()> {
        let mut state = self.state.lock();
        state.uncleanable.remove(log.topic_partition());
        let directory = log.log_directory();
        let Some(offsets) = state.checkpoints.get_mut(directory.path()) else { return Ok(()) };
        if !offsets.contains_key(log.topic_partition()) {
            return Ok(());
        }
        let mut rest = offsets.clone();
        rest.remove(log.topic_partition());
        write_checkpoint(directory, &rest)?;
        *offsets = rest;
        Ok(())
    }

    /// Waits until no log is being cleaned; whoever calls it has made cleanings stop.
    pub(in crate::storage) fn await_idle(&self) {
        let mut state = self.state.lock();
        while !state.in_progress.is_empty() {
            if self.done.wait_for(&mut state, STOP_WAIT).timed_out() {
                tracing::warn!("cleanings did not stop: {:?}", state.in_progress);
                return;
            }
        }
    }

    /// Cleans the dirtiest log, and deletes old segments of compacted logs. False if there was nothing to clean.
    pub(in crate::storage) fn run_once(
        &self,
        thread: usize,
        logs: &[Arc<Log>],
        is_stopping: &dyn Fn() -> bool,
    ) -> bool {
        self.metrics.log_cleaner_last_run_ms.set(self.env.clock.wall_millis());
        let cleaned = match self.grab_filthiest(logs) {
            Some(to_clean) => {
                let hold = InProgress { cleaner: self, log: &to_clean.log, finished: false };
                self.clean_log(thread, &to_clean, logs, is_stopping);
                hold.finish();
                true
            }
            None => false,
        };
        if !is_stopping() {
            self.delete_old_segments(logs);
        }
        self.maintain_uncleanable(logs);
        cleaned
    }

    /// Chooses the dirtiest log that is due, and marks it as in progress (`grabFilthiestCompactedLog`).
    fn grab_filthiest(&self, logs: &[Arc<Log>]) -> Option<LogToClean> {
        let now_ms = self.env.clock.wall_millis();
        let mut found = Vec::new();
        let mut dirtiest = 0.0_f64;
        for log in logs.iter().filter(|log| log.config().compact && self.may_touch(log)) {
            match self.measure(log, now_ms) {
                Ok(Some(candidate)) => {
                    dirtiest = dirtiest.max(candidate.cleanable.cleanable_ratio());
                    if candidate.cleanable.is_due(candidate.snapshot.config.min_cleanable_dirty_ratio) {
                        found.push(candidate);
                    }
                }
                Ok(None) => {}
                // Another look may find room.
                Err(StorageError::DiskFull { .. }) => {}
                Err(error) => self.mark_uncleanable(log, &error),
            }
        }
        self.metrics.log_cleaner_max_dirty_percent.set((dirtiest * 100.0) as i64);
        found.sort_by(|one, other| other.cleanable.cleanable_ratio().total_cmp(&one.cleanable.cleanable_ratio()));
        let mut state = self.state.lock();
        found.into_iter().find(|candidate| state.in_progress.insert(candidate.log.topic_partition().clone()))
    }

    fn may_touch(&self, log: &Arc<Log>) -> bool {
        let state = self.state.lock();
        let name = log.topic_partition();
        !log.log_directory().is_offline()
            && !state.in_progress.contains(name)
            && !state.uncleanable.get(name).is_some_and(|quarantined| std::ptr::eq(quarantined.as_ptr(), &**log))
    }

    /// What of a log can be cleaned; `None` if it is empty, closed, or has nothing sealed.
    fn measure(&self, log: &Arc<Log>, now_ms: i64) -> StorageResult<Option<LogToClean>> {
        let snapshot = match log.cleaner_snapshot() {
            Err(StorageError::LogClosed { .. } | StorageError::PartitionOffline { .. }) => return Ok(None),
            snapshot => snapshot?,
        };
        if snapshot.view.sealed.is_empty() {
            return Ok(None);
        }
        let (name, directory) = (log.topic_partition(), log.log_directory());
        let truncated_to = log.take_truncated_to();
        let checkpoint = {
            let mut state = self.state.lock();
            let offsets = state.checkpoints.entry(directory.path().into()).or_default();
            if let (Some(offset), Some(truncated_to)) = (offsets.get_mut(name), truncated_to)
                && *offset > truncated_to
            {
                // What was clean behind it is gone, and other records will have these offsets.
                *offset = truncated_to;
                write_checkpoint(directory, offsets)?;
            }
            offsets.get(name).copied()
        };
        let first_dirty = first_dirty_offset(&snapshot.view, checkpoint);
        if first_dirty.checkpoint_is_invalid {
            let start = first_dirty.offset;
            if !snapshot.config.delete {
                tracing::warn!(
                    "{name}: the first dirty offset {checkpoint:?} is not in the log; resetting it to {start}"
                );
            }
            self.checkpoint(log, start)?;
        }
        let config = &snapshot.config;
        let min_lag_bound = match config.min_compaction_lag_ms {
            lag if lag > 0 => log.first_segment_newer_than(first_dirty.offset, now_ms.saturating_sub(lag))?,
            _ => None,
        };
        let delay_ms = match config.max_compaction_lag_ms {
            i64::MAX => 0,
            lag => {
                let dirty = snapshot.view.sealed_from(first_dirty.offset);
                compaction_delay_ms(first_timestamps(log, dirty)?.into_iter(), lag, now_ms)
            }
        };
        let cleanable = Cleanable::new(&snapshot.view, first_dirty.offset, min_lag_bound, delay_ms);
        Ok((cleanable.total_bytes() > 0).then(|| LogToClean { log: log.clone(), snapshot, cleanable }))
    }

    fn clean_log(&self, thread: usize, to_clean: &LogToClean, logs: &[Arc<Log>], is_stopping: &dyn Fn() -> bool) {
        let LogToClean { log, snapshot, cleanable } = to_clean;
        let begun = self.env.clock.monotonic();
        let limits = self.config().limits();
        let mut cleaning = Cleaning::new(log, snapshot.clone(), *cleanable, limits, &self.throttle, is_stopping);
        let outcome = cleaning.run();
        let stats = cleaning.stats;
        let elapsed = self.env.clock.monotonic().saturating_sub(begun);
        self.metrics.log_cleaner_bytes_read_total.add(stats.map_bytes_read + stats.bytes_read);
        self.metrics.log_cleaner_bytes_written_total.add(stats.bytes_written);
        let last = LastCleaning {
            stats,
            seconds: elapsed.as_secs() as i64,
            compaction_delay_ms: cleanable.compaction_delay_ms,
        };
        self.note_last(thread, last);
        let name = log.topic_partition();
        match outcome {
            Ok(Outcome::Cleaned(end_offset)) => {
                self.metrics.log_cleaner_cleanings_total.increment();
                tracing::info!(
                    "[LogCleaner] {name}: cleaned {} to {end_offset} in {elapsed:?}: {} of {} bytes, {} of {} records stay; \
                     map {} % full",
                    cleanable.first_dirty_offset,
                    stats.bytes_written,
                    stats.bytes_read,
                    stats.records_written,
                    stats.records_read,
                    stats.map_utilization_percent
                );
                if stats.invalid_records > 0 {
                    tracing::warn!("[LogCleaner] {name}: dropped {} records without a key", stats.invalid_records);
                }
                let is_current = logs.iter().any(|current| Arc::ptr_eq(current, log)) && log.cleaner_snapshot().is_ok();
                if is_current && let Err(error) = self.checkpoint(log, end_offset) {
                    tracing::error!("[LogCleaner] {name}: {error}");
                }
            }
            Ok(Outcome::Aborted) => tracing::info!("[LogCleaner] {name}: cleaning given up, the log has changed"),
            Err(StorageError::LogDirOffline { .. }) => {}
            Err(error) => self.mark_uncleanable(log, &error),
        }
    }

    /// Writes down up to where a log is clean.
    fn checkpoint(&self, log: &Log, offset: i64) -> StorageResult<()> {
        let directory = log.log_directory();
        let mut state = self.state.lock();
        let offsets = state.checkpoints.entry(directory.path().into()).or_default();
        if offsets.insert(log.topic_partition().clone(), offset) == Some(offset) {
            return Ok(());
        }
        write_checkpoint(directory, offsets)
    }

    /// One partition's trouble never stops the cleaner: it is left alone until the next start.
    fn mark_uncleanable(&self, log: &Arc<Log>, error: &StorageError) {
        let name = log.topic_partition();
        tracing::warn!("[LogCleaner] {name} cannot be cleaned and is left alone until the next start: {error}");
        self.state.lock().uncleanable.insert(name.clone(), Arc::downgrade(log));
    }

    /// Deletes what retention no longer holds, and what lies before the log's start, in compacted logs (`deletableLogs`).
    fn delete_old_segments(&self, logs: &[Arc<Log>]) {
        let now_ms = self.env.clock.wall_millis();
        for log in logs.iter().filter(|log| log.config().compact && self.may_touch(log)) {
            if !self.state.lock().in_progress.insert(log.topic_partition().clone()) {
                continue;
            }
            let hold = InProgress { cleaner: self, log, finished: false };
            match log.delete_old_segments(now_ms) {
                Ok(_)
                | Err(
                    StorageError::LogClosed { .. }
                    | StorageError::LogDirOffline { .. }
                    | StorageError::PartitionOffline { .. },
                ) => {}
                Err(error) => tracing::warn!("retention of {}: {error}", log.topic_partition()),
            }
            hold.finish();
        }
    }

    /// Drops deleted logs from those left alone, and counts the others.
    fn maintain_uncleanable(&self, logs: &[Arc<Log>]) {
        let quarantined: Vec<Arc<Log>> = {
            let mut state = self.state.lock();
            state.uncleanable.retain(|name, log| {
                logs.iter().any(|current| current.topic_partition() == name && std::ptr::eq(log.as_ptr(), &**current))
            });
            state.uncleanable.values().filter_map(Weak::upgrade).collect()
        };
        let now_ms = self.env.clock.wall_millis();
        let bytes = |log: &Arc<Log>| match self.measure(log, now_ms) {
            Ok(Some(measured)) => measured.cleanable.cleanable_bytes as i64,
            _ => 0,
        };
        self.metrics.log_cleaner_uncleanable_partitions.set(quarantined.len() as i64);
        self.metrics.log_cleaner_uncleanable_bytes.set(quarantined.iter().map(bytes).sum());
    }

    /// A thread ended for good.
    pub(in crate::storage) fn note_dead_thread(&self) {
        self.metrics.log_cleaner_dead_threads.add(1);
    }

    fn note_last(&self, thread: usize, last: LastCleaning) {
        let mut state = self.state.lock();
        state.last.insert(thread, last);
        let all = || state.last.values();
        let read: u64 = all().map(|last| last.stats.bytes_read).sum();
        let written: u64 = all().map(|last| last.stats.bytes_written).sum();
        let metrics = &self.metrics;
        metrics.log_cleaner_recopy_percent.set((written as i64).saturating_mul(100) / (read as i64).max(1));
        metrics.log_cleaner_max_clean_time_seconds.set(all().map(|last| last.seconds).max().unwrap_or(0));
        let delay_ms = all().map(|last| last.compaction_delay_ms).max().unwrap_or(0);
        metrics.log_cleaner_max_compaction_delay_seconds.set(delay_ms / 1000);
        let utilization = all().map(|last| last.stats.map_utilization_percent).max().unwrap_or(0);
        metrics.log_cleaner_max_buffer_utilization_percent.set(utilization as i64);
    }
}

/// A log that is in progress. One whose thread panics is left alone.
struct InProgress<'a> {
    cleaner: &'a LogCleaner,
    log: &'a Arc<Log>,
    finished: bool,
}

impl InProgress<'_> {
    fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        let name = self.log.topic_partition();
        if !self.finished {
            let error =
                StorageError::Corrupt { topic_partition: name.clone(), message: "the cleaner panicked".to_owned() };
            self.cleaner.mark_uncleanable(self.log, &error);
        }
        self.cleaner.state.lock().in_progress.remove(name);
        self.cleaner.done.notify_all();
    }
}

fn write_checkpoint(directory: &LogDirectory, offsets: &OffsetMap) -> StorageResult<()> {
    directory.check_online()?;
    let path = directory.path().join(CLEANER_OFFSET_CHECKPOINT);
    let written = directory.env.disk.write_atomically(&path, encode_offsets(offsets).as_bytes());
    written.map_err(|error| directory.fail("writing", &path, &error))
}

/// The timestamps of the first batches (`getFirstBatchTimestampForSegments`).
fn first_timestamps(log: &Log, segments: &[SegmentRange]) -> StorageResult<Vec<i64>> {
    let mut timestamps = Vec::new();
    for segment in segments.iter().filter(|segment| segment.size > 0) {
        let files = log.segment_files(segment.base_offset);
        let header = files.open_apart(SegmentFileKind::Log).and_then(|file| read_header(&*file, 0));
        match header {
            Ok(header) => timestamps.extend(header.map(|header| header.max_timestamp)),
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(files.read_error(SegmentFileKind::Log, &error)),
        }
    }
    Ok(timestamps)
}

#[cfg(test)]
impl LogCleaner {
    /// Up to where a log is clean.
    pub(in crate::storage) fn checkpoint_of(&self, log: &Log) -> Option<i64> {
        let state = self.state.lock();
        state.checkpoints.get(log.log_directory().path())?.get(log.topic_partition()).copied()
    }

    pub(in crate::storage) fn is_uncleanable(&self, log: &Log) -> bool {
        self.state.lock().uncleanable.contains_key(log.topic_partition())
    }
}
