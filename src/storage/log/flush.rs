//! Durability with group commit: tickets wait, one sync answers all of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Log, LogState};
use crate::env::DiskFile;
use crate::storage::file_names::{LEADER_EPOCH_CHECKPOINT, PARTITION_METADATA};
use crate::storage::segment_files::SegmentFileKind;
use crate::storage::{StorageError, StorageResult};

type Waiter = (i64, oneshot::Sender<StorageResult<()>>);

/// What the flusher of a log knows; guarded by the log's lock.
#[derive(Default)]
pub(in crate::storage) struct FlushState {
    waiters: Vec<Waiter>,
    /// Whether a thread is at work; it takes everything that comes in meanwhile.
    running: bool,
    /// A file was created, renamed or removed since the log's directory was synced.
    pub(in crate::storage) directory_unsynced: bool,
    /// The log's directory itself is new.
    pub(in crate::storage) parent_unsynced: bool,
    pub(in crate::storage) last_flush: Duration,
}

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
    files: Vec<Arc<dyn DiskFile>>,
    epochs: bool,
    directory: bool,
    parent: bool,
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
            if offset <= state.recovery_point {
                return FlushTicket::ready(Ok(()));
            }
            let (sender, receiver) = oneshot::channel();
            state.flush.waiters.push((offset, sender));
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
        loop {
            let result = self.flush();
            let mut answered = Vec::new();
            let (finished, recovery_point) = {
                let mut state = self.lock();
                let (recovery_point, end) = (state.recovery_point, state.log_end_offset);
                // Offsets behind the end were cut off the log: nobody can make them durable any more.
                let is_over = |offset: i64| result.is_err() || offset <= recovery_point || offset > end;
                answered.extend(state.flush.waiters.extract_if(.., |(offset, _)| is_over(*offset)));
                let finished = state.flush.waiters.is_empty();
                if finished {
                    state.flush.running = false;
                    state.flush.waiters = Vec::new();
                }
                (finished, recovery_point)
            };
            for (offset, waiter) in answered {
                let answer =
                    if offset <= recovery_point { Ok(()) } else { result.clone().and_then(|()| Err(self.closed())) };
                // Whoever gave up waiting needs no answer.
                let _ = waiter.send(answer);
            }
            if finished {
                return;
            }
        }
    }

    /// Makes everything appended so far durable, on this thread, and moves the recovery point. A failure takes the log
    /// directory offline; the sync is never tried again.
    pub fn flush(&self) -> StorageResult<()> {
        // One at a time: what another flush took out to sync is not durable before that flush ends.
        let _flushing = self.flushing.lock();
        let work = {
            let mut state = self.lock();
            self.check_usable(&state)?;
            if state.recovery_point >= state.log_end_offset && !state.flush.directory_unsynced && !state.epochs_unsynced
            {
                return Ok(());
            }
            self.take_flush_work(&mut state)?
        };
        let synced = self.sync(&work);
        let mut state = self.lock();
        if synced.is_err() {
            state.epochs_unsynced |= work.epochs;
            state.flush.directory_unsynced |= work.directory;
            state.flush.parent_unsynced |= work.parent;
            return synced;
        }
        state.recovery_point = state.recovery_point.max(work.end_offset.min(state.log_end_offset));
        state.flush.last_flush = self.directory.env.clock.monotonic();
        self.directory.note_change();
        Ok(())
    }

    fn take_flush_work(&self, state: &mut LogState) -> StorageResult<FlushWork> {
        let mut files = Vec::new();
        let first = state.sealed_index_for(state.recovery_point.max(state.first_base_offset()));
        let unsynced = first.map_or(&[][..], |first| &state.sealed[first..]);
        for segment in unsynced.iter().map(|segment| &segment.files).chain([&state.active.files]) {
            files.push(
                segment
                    .handle(SegmentFileKind::Log)
                    .map_err(|error| segment.write_error(SegmentFileKind::Log, &error))?,
            );
        }
        Ok(FlushWork {
            end_offset: state.log_end_offset,
            files,
            epochs: std::mem::take(&mut state.epochs_unsynced),
            directory: std::mem::take(&mut state.flush.directory_unsynced),
            parent: std::mem::take(&mut state.flush.parent_unsynced),
        })
    }

    fn sync(&self, work: &FlushWork) -> StorageResult<()> {
        let disk = &self.directory.env.disk;
        let path = self.path.get();
        let fail = |error: std::io::Error| self.directory.fail("syncing", &path, &error);
        for file in &work.files {
            file.sync_data().map_err(fail)?;
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
        if work.parent {
            match disk.open(&path.join(PARTITION_METADATA), crate::env::OpenMode::ReadWrite) {
                Ok(file) => file.sync_data().map_err(fail)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(fail(error)),
            }
        }
        if work.directory || work.epochs {
            disk.sync_dir(&path).map_err(fail)?;
        }
        if work.parent {
            disk.sync_dir(self.directory.path()).map_err(fail)?;
        }
        Ok(())
    }
}
