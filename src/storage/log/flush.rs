//! Durability with group commit: tickets wait, one sync answers all of them.
//!
//! Who was answered comes back about the same time. A sync that began with the first of them would let the others wait for two: its own
//! and the next. So the flusher gathers: it waits until as many wait as it has just answered, at most half as long as that sync took and
//! never longer than [`GATHER_MAX`]. A producer that is alone is never waited for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Log, LogState, StateGuard};
use crate::env::DiskFile;
use crate::mutant;
use crate::storage::directory::LogDirectory;
use crate::storage::dirty_logs::CHECKPOINT_BYTES;
use crate::storage::file_names::{LEADER_EPOCH_CHECKPOINT, PARTITION_METADATA, SNAPSHOT_SUFFIX, offset_file};
use crate::storage::segment_files::SegmentFileKind;
use crate::storage::{StorageError, StorageResult};

type Waiter = (i64, oneshot::Sender<StorageResult<()>>);

/// What the flusher of a log knows; guarded by the log's lock.
#[derive(Default)]
pub(in crate::storage) struct FlushState {
    waiters: Vec<Waiter>,
    /// Whether a thread is at work; it takes everything that comes in meanwhile.
    running: bool,
    /// How many waiters that thread waits for before it syncs again; 0 while it does not.
    gathers: usize,
    /// A file was created, renamed or removed since the log's directory was synced.
    pub(in crate::storage) directory_unsynced: bool,
    /// The log's directory itself is new.
    pub(in crate::storage) parent_unsynced: bool,
    /// `partition.metadata` was written and not synced; then `directory_unsynced` is set too.
    pub(in crate::storage) topic_id_unsynced: bool,
    pub(in crate::storage) last_flush: Duration,
    /// Bytes appended that no finished sync covers.
    unflushed_bytes: u64,
    /// Bytes synced since the recovery point was written down.
    bytes_since_checkpoint: u64,
    /// The end of the log after it was cut within a batch, and the end of the last batch: a start finds no more than that.
    pub(in crate::storage) truncated: Option<(i64, i64)>,
    /// The recovery point that is written down, durably.
    pub(in crate::storage) checkpointed: i64,
    /// Whether the directory's list of dirty logs has this one.
    listed: bool,
}

/// The longest that a flusher waits for those it answered last.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// Dirty logs from which on one sync of the file system is cheaper than one of each.
const SYNC_TOGETHER_MIN: usize = 16;

/// Completes once everything before an offset is durable, or with the error that made that impossible.
#[derive(Debug)]
pub struct FlushTicket {
    inner: TicketInner,
}

#[derive(Debug)]
enum TicketInner {
    Ready(Option<StorageError>),
    Waiting(oneshot::Receiver<StorageResult<()>>),
}

impl FlushTicket {
    fn ready(result: StorageResult<()>) -> Self {
        Self { inner: TicketInner::Ready(result.err()) }
    }

    /// Whether nothing has to be waited for.
    pub fn is_ready(&self) -> bool {
        matches!(self.inner, TicketInner::Ready(_))
    }
}

impl Future for FlushTicket {
    type Output = StorageResult<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.inner {
            TicketInner::Ready(error) => Poll::Ready(error.take().map_or(Ok(()), Err)),
            TicketInner::Waiting(receiver) => Pin::new(receiver).poll(context).map(|answer| {
                answer.unwrap_or_else(|_| {
                    let reason = "the flusher stopped".into();
                    Err(StorageError::Io { action: "flushing", path: "a closed log".into(), reason })
                })
            }),
        }
    }
}

/// What one sync has to do, taken under the lock.
struct FlushWork {
    end_offset: i64,
    bytes: u64,
    files: Vec<Arc<dyn DiskFile>>,
    epochs: bool,
    directory: bool,
    parent: bool,
    topic_id: bool,
}

impl Log {
    /// A ticket for everything before `offset`, or before the end of the log if that comes first: it completes when that survives
    /// a power cut.
    pub fn flush_ticket(self: &Arc<Self>, offset: i64) -> FlushTicket {
        let (receiver, start) = {
            let mut state = self.lock();
            if let Err(error) = self.check_usable(&state) {
                return FlushTicket::ready(Err(error));
            }
            let offset = offset.min(state.log_end_offset);
            if offset <= state.recovery_point || mutant::is_active("acknowledge-before-the-flush") {
                return FlushTicket::ready(Ok(()));
            }
            let (sender, receiver) = oneshot::channel();
            state.flush.waiters.push((offset, sender));
            if state.flush.gathers > 0 && state.flush.waiters.len() >= state.flush.gathers {
                self.gathered.notify_one();
            }
            (receiver, !std::mem::replace(&mut state.flush.running, true))
        };
        if start {
            self.start_flusher();
        }
        FlushTicket { inner: TicketInner::Waiting(receiver) }
    }

    /// Makes the log durable in the background, for nobody in particular: after a roll, or because of `flush.ms`.
    pub fn flush_in_background(self: &Arc<Self>) {
        let start = {
            let mut state = self.lock();
            state.recovery_point < state.log_end_offset && !std::mem::replace(&mut state.flush.running, true)
        };
        if start {
            self.start_flusher();
        }
    }

    /// Starts a flush if the last one is `flush.ms` ago.
    pub(in crate::storage) fn flush_if_due(self: &Arc<Self>, now: Duration) {
        let due = {
            let state = self.lock();
            let waited_ms = now.saturating_sub(state.flush.last_flush).as_millis();
            state.recovery_point < state.log_end_offset
                && u128::try_from(state.config.flush_ms).is_ok_and(|flush_ms| waited_ms >= flush_ms)
        };
        if due {
            self.flush_in_background();
        }
    }

    fn start_flusher(self: &Arc<Self>) {
        let log = self.clone();
        self.directory.env.spawn.spawn_blocking("log-flush", Box::new(move || log.run_flusher()));
    }

    fn run_flusher(&self) {
        let clock = self.directory.env.clock.clone();
        loop {
            let began = clock.monotonic();
            let result = self.flush();
            let took = clock.monotonic().saturating_sub(began);
            let mut answered = Vec::new();
            let recovery_point = {
                let mut state = self.lock();
                let (recovery_point, end) = (state.recovery_point, state.log_end_offset);
                // Offsets behind the end were cut off the log: nobody can make them durable any more.
                let is_over = |offset: i64| result.is_err() || offset <= recovery_point || offset > end;
                answered.extend(state.flush.waiters.extract_if(.., |(offset, _)| is_over(*offset)));
                recovery_point
            };
            let count = answered.len();
            for (offset, waiter) in answered {
                let answer =
                    if offset <= recovery_point { Ok(()) } else { result.clone().and_then(|()| Err(self.closed())) };
                // Whoever gave up waiting needs no answer.
                let _ = waiter.send(answer);
            }
            let mut state = self.lock();
            if result.is_ok() {
                self.gather(&mut state, count, took);
            }
            if state.flush.waiters.is_empty() {
                state.flush.running = false;
                state.flush.waiters = Vec::new();
                return;
            }
        }
    }

    /// Waits for the `answered` of a sync that took so long to come back, unless many others wait already.
    fn gather(&self, state: &mut StateGuard<'_>, answered: usize, took: Duration) {
        if answered < 2 || state.flush.waiters.len() >= answered.div_ceil(4) {
            return;
        }
        state.flush.gathers = answered;
        let started = self.directory.env.clock.monotonic();
        let patience = (took / 2).min(GATHER_MAX);
        let mut left = patience;
        while state.flush.waiters.len() < answered && !left.is_zero() {
            // Real time, not the clock's: a simulated sync takes none, and then nothing is waited for.
            if self.gathered.wait_for(&mut state.state, left).timed_out() {
                break;
            }
            left = patience.saturating_sub(self.directory.env.clock.monotonic().saturating_sub(started));
        }
        state.flush.gathers = 0;
    }

    /// Counts appended bytes and has the background flush look at this log; whether a flush should begin at once.
    pub(super) fn note_unflushed(self: &Arc<Self>, state: &mut LogState, bytes: u64) -> UnflushedBytes {
        let flush = &mut state.flush;
        flush.unflushed_bytes += bytes;
        if !std::mem::replace(&mut flush.listed, true) {
            self.directory.dirty.add(Arc::downgrade(self));
        }
        let limit = self.directory.flush_limits().max_unflushed_bytes;
        match flush.unflushed_bytes {
            bytes if bytes > limit => UnflushedBytes::TooMany,
            bytes if bytes > limit / 2 && !flush.running => UnflushedBytes::Many,
            _ => UnflushedBytes::Few,
        }
    }

    /// Has the background flush look at a log whose end is not known to be durable, as after a recovery.
    pub(in crate::storage) fn list_if_dirty(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.recovery_point < state.log_end_offset && !std::mem::replace(&mut state.flush.listed, true) {
            // So that the next recovery need not read the same again.
            state.flush.bytes_since_checkpoint = CHECKPOINT_BYTES;
            self.directory.dirty.add(Arc::downgrade(self));
        }
    }

    /// Bytes that a power cut would take.
    pub fn unflushed_bytes(&self) -> u64 {
        self.lock().flush.unflushed_bytes
    }

    /// The recovery point is being written down.
    pub(super) fn note_checkpoint(state: &mut LogState) {
        state.flush.bytes_since_checkpoint = 0;
    }

    /// The recovery point was written down, durably.
    pub(in crate::storage) fn note_checkpointed(&self, offset: i64) {
        self.lock().flush.checkpointed = offset;
    }

    /// Makes everything before `offset` durable and has the recovery point written down, so that a recovery misses nothing when
    /// segments before it are deleted or replaced: it looks for gaps behind the recovery point only.
    pub(in crate::storage) fn checkpoint_through(&self, offset: i64) -> StorageResult<()> {
        let (recovery_point, checkpointed) = {
            let state = self.lock();
            (state.recovery_point, state.flush.checkpointed)
        };
        if checkpointed >= offset {
            return Ok(());
        }
        if recovery_point < offset {
            self.flush()?;
        }
        self.directory.checkpoint()
    }

    /// Writes what a recovery begins with instead of the segment's first byte: index entries, and the producers as they are now.
    fn shorten_recovery(&self, state: &mut LogState) -> StorageResult<()> {
        let written = state.active.write_indexes().and_then(|()| {
            // A recovery asks for both.
            state.active.files.handle(SegmentFileKind::OffsetIndex)?;
            state.active.files.handle(SegmentFileKind::TimeIndex).map(drop)
        });
        written.map_err(|error| state.active.files.write_error(SegmentFileKind::OffsetIndex, &error))?;
        let before = state.snapshot_offset;
        self.take_producer_snapshot(state)?;
        if before < state.snapshot_offset && !state.begins_segment(before) {
            // Kafka, too, keeps those of segments and the newest.
            let path = offset_file(&self.path.get(), before, SNAPSHOT_SUFFIX);
            match self.directory.env.disk.remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(self.directory.fail("removing", &path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes everything appended so far durable, on this thread, and moves the recovery point. A failure takes the log
    /// directory offline; the sync is never tried again.
    pub fn flush(&self) -> StorageResult<()> {
        {
            // One at a time: what another flush took out to sync is not durable before that flush ends.
            let _flushing = self.flushing.lock();
            let Some(work) = self.begin_flush(true)? else { return Ok(()) };
            let synced = self.sync(&work);
            self.end_flush(work, synced)?;
        }
        self.directory.checkpoint_if_due()
    }

    /// What there is to sync; `None`: nothing. The caller holds `flushing`, or has the log to itself.
    fn begin_flush(&self, open_files: bool) -> StorageResult<Option<FlushWork>> {
        let mut state = self.lock();
        self.check_usable(&state)?;
        if state.recovery_point >= state.log_end_offset && !state.flush.directory_unsynced && !state.epochs_unsynced {
            return Ok(None);
        }
        let files = if open_files { self.unsynced_files(&state)? } else { Vec::new() };
        Ok(Some(FlushWork {
            end_offset: state.log_end_offset,
            bytes: state.flush.unflushed_bytes,
            files,
            epochs: std::mem::take(&mut state.epochs_unsynced),
            directory: std::mem::take(&mut state.flush.directory_unsynced),
            parent: std::mem::take(&mut state.flush.parent_unsynced),
            topic_id: std::mem::take(&mut state.flush.topic_id_unsynced),
        }))
    }

    /// Takes over what a sync achieved.
    fn end_flush(&self, work: FlushWork, synced: StorageResult<()>) -> StorageResult<()> {
        let mut state = self.lock();
        // A sync that was under way while another call failed may say that it succeeded when the file system is gone already.
        let synced = synced.and_then(|()| self.directory.check_online());
        if synced.is_err() {
            state.epochs_unsynced |= work.epochs;
            state.flush.directory_unsynced |= work.directory;
            state.flush.parent_unsynced |= work.parent;
            state.flush.topic_id_unsynced |= work.topic_id;
            return synced;
        }
        state.recovery_point = state.recovery_point.max(work.end_offset.min(state.log_end_offset));
        let flush = &mut state.flush;
        flush.last_flush = self.directory.env.clock.monotonic();
        flush.unflushed_bytes = flush.unflushed_bytes.saturating_sub(work.bytes);
        flush.bytes_since_checkpoint += work.bytes;
        let is_far = flush.bytes_since_checkpoint >= CHECKPOINT_BYTES;
        self.directory.note_change();
        if is_far {
            self.directory.ask_for_checkpoint();
            if let Err(error) = self.shorten_recovery(&mut state) {
                // Nothing but the next recovery misses it, unless the disk is broken.
                tracing::warn!("{}: {error}", self.topic_partition);
                self.directory.check_online()?;
            }
        }
        Ok(())
    }

    fn unsynced_files(&self, state: &LogState) -> StorageResult<Vec<Arc<dyn DiskFile>>> {
        let mut files = Vec::new();
        let first = state.sealed_index_for(state.recovery_point.max(state.first_base_offset()));
        let unsynced = first.map_or(&[][..], |first| &state.sealed[first..]);
        let active = (state.active.files.clone(), state.active.aborted_entries > 0);
        let sealed = unsynced.iter().map(|segment| (active.0.sibling(segment.base_offset()), segment.has_aborted()));
        for (segment, has_aborted) in sealed.chain([active.clone()]) {
            let mut open = |kind| -> StorageResult<()> {
                files.push(segment.handle(kind).map_err(|error| segment.write_error(kind, &error))?);
                Ok(())
            };
            open(SegmentFileKind::Log)?;
            if has_aborted {
                // Recovery builds it again from the recovery point on, and believes what is before.
                open(SegmentFileKind::TransactionIndex)?;
            }
        }
        Ok(files)
    }

    fn sync(&self, work: &FlushWork) -> StorageResult<()> {
        let disk = &self.directory.env.disk;
        let path = self.path.get();
        let fail = |error: std::io::Error| self.directory.fail_sync(&path, &error);
        for file in &work.files {
            file.sync_data()
                .or_else(|error| if mutant::is_active("swallow-sync-errors") { Ok(()) } else { Err(error) })
                .map_err(fail)?;
        }
        if work.epochs {
            // The recovery point must not pass an epoch that is not durable: recovery would not find it again.
            let checkpoint = path.join(LEADER_EPOCH_CHECKPOINT);
            match disk.open(&checkpoint, crate::env::OpenMode::ReadWrite) {
                Ok(file) => file.sync_data().map_err(fail)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(fail(error)),
            }
        }
        if work.topic_id {
            match disk.open(&path.join(PARTITION_METADATA), crate::env::OpenMode::ReadWrite) {
                Ok(file) => file.sync_data().map_err(fail)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(fail(error)),
            }
        }
        if (work.directory || work.epochs) && !mutant::is_active("skip-directory-sync") {
            disk.sync_dir(&path).map_err(fail)?;
        }
        if work.parent {
            disk.sync_dir(self.directory.path()).map_err(fail)?;
        }
        Ok(())
    }
}

/// How much of a log a power cut would take, measured by `ottla.flush.max.unflushed.bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnflushedBytes {
    /// Nothing to do.
    Few,
    /// A flush should begin.
    Many,
    /// As much as there may be: whoever adds to it waits for the disk.
    TooMany,
}

/// Takes the dirty logs of a directory off its list and makes them durable (see [`flush_all`]).
pub(in crate::storage) fn flush_dirty(directory: &LogDirectory) -> StorageResult<()> {
    let mut logs = directory.dirty.take();
    logs.retain(|log| {
        let mut state = log.lock();
        state.flush.listed = false;
        state.recovery_point < state.log_end_offset
    });
    flush_all(directory, &logs)
}

/// Makes logs of one directory durable: few of them one after the other, many with one sync of the file system. Logs that are
/// closed or offline are left out. The first failure takes the directory offline and is returned.
pub(in crate::storage) fn flush_all(directory: &LogDirectory, logs: &[Arc<Log>]) -> StorageResult<()> {
    let file_system = directory.file_system().filter(|_| logs.len() >= SYNC_TOGETHER_MIN);
    let Some(file_system) = file_system else {
        for log in logs {
            match log.flush() {
                Ok(()) | Err(StorageError::LogClosed { .. } | StorageError::PartitionOffline { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        return Ok(());
    };
    {
        // Who holds many of these locks is alone in that; all others hold one and wait for none.
        let _together = directory.flushing_together.lock();
        let _flushing: Vec<_> = logs.iter().map(|log| log.flushing.lock()).collect();
        let mut works = Vec::new();
        for log in logs {
            match log.begin_flush(false) {
                Ok(work) => works.extend(work.map(|work| (log, work))),
                Err(StorageError::LogClosed { .. } | StorageError::PartitionOffline { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let synced = match works.is_empty() {
            true => Ok(()),
            false => file_system.sync().map_err(|error| directory.fail_sync(directory.path(), &error)),
        };
        for (log, work) in works {
            // One error for all: the directory is offline.
            let _ = log.end_flush(work, synced.clone());
        }
        synced?;
    }
    directory.checkpoint_if_due()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::storage::StorageError;
    use crate::storage::log::log_tests::{World, fill};

    #[test]
    fn a_sync_that_ends_after_its_directory_failed_vouches_for_nothing() {
        let world = World::new();
        let log = world.open();
        fill(&log, 1);
        let work = log.begin_flush(true).unwrap().unwrap();
        world.directory.take_offline("another file could not be written".to_owned());
        assert!(matches!(log.end_flush(work, Ok(())), Err(StorageError::LogDirOffline { .. })));
        assert_eq!(log.recovery_point(), 0);
    }

    #[test]
    fn the_flusher_gathers_those_it_answered_and_waits_for_nobody_else() {
        let world = World::new();
        let log = world.open();
        fill(&log, 2);
        log.lock().flush.running = true;
        let long = Duration::from_secs(3600);
        log.gather(&mut log.lock(), 1, long);
        let first = log.flush_ticket(1);
        log.gather(&mut log.lock(), 4, long);
        log.gather(&mut log.lock(), 5, Duration::ZERO);
        std::thread::scope(|scope| {
            scope.spawn(|| drop(log.flush_ticket(2)));
            log.gather(&mut log.lock(), 5, long);
        });
        let state = log.lock();
        assert_eq!((state.flush.waiters.len(), state.flush.gathers), (2, 0));
        assert!(!first.is_ready());
    }

    #[test]
    fn a_log_is_not_renamed_while_it_is_synced() {
        let world = World::new();
        let log = world.open();
        fill(&log, 1);
        let syncing = log.flushing.lock();
        let work = log.begin_flush(true).unwrap().unwrap();
        log.mark_closed();
        let (renamed, done) = std::sync::mpsc::sync_channel(1);
        std::thread::scope(|scope| {
            let log = &log;
            scope.spawn(move || {
                log.rename_directory("/data/gone-delete".into()).unwrap();
                renamed.send(()).unwrap();
            });
            log.sync(&work).unwrap();
            assert!(done.try_recv().is_err());
            drop(syncing);
        });
        assert!(!world.directory.is_offline());
        assert!(matches!(log.flush(), Err(StorageError::LogClosed { .. })));
    }
}
