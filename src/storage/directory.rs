//! One entry of `log.dirs`: its path, its health, its open files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::io::Errno;
use uuid::Uuid;

use super::dirty_logs::{DirtyLogs, FlushLimits};
use super::disk_full::{Room, is_full};
use super::log::Log;
use super::open_files::OpenFiles;
use super::{StorageError, StorageResult};
use crate::env::{Env, FileSystem, MemoryBudget};

/// Called with the path of a log directory that went offline, once or, if that happens while it is set, twice; no lock of this room
/// is needed to run it.
pub type FailureListener = Arc<dyn Fn(&Path) + Send + Sync>;

/// Called when a log directory that was full has room again, on a thread that may block, without a lock of this room.
pub type RoomListener = Arc<dyn Fn() + Send + Sync>;

/// Writes the recovery points of a log directory down.
pub(super) type Checkpointer = Arc<dyn Fn() -> StorageResult<()> + Send + Sync>;

/// A log directory. The first failed write or sync takes it offline for the rest of the process's life.
pub struct LogDirectory {
    pub(super) env: Env,
    path: Arc<Path>,
    id: Uuid,
    offline: AtomicBool,
    failure: Mutex<Option<Arc<str>>>,
    listener: Mutex<Option<FailureListener>>,
    pub(super) open_files: OpenFiles,
    /// Counts what the periodic checkpoints hold: appended batches, moved watermarks, moved start offsets.
    changes: AtomicU64,
    flush_limits: FlushLimits,
    pub(super) dirty: DirtyLogs,
    /// Held by whoever syncs many logs with one call; taken before their own locks.
    pub(super) flushing_together: Mutex<()>,
    file_system: Option<Arc<dyn FileSystem>>,
    checkpointer: Mutex<Option<Checkpointer>>,
    checkpoint_due: AtomicBool,
    pub(super) room: Room,
    pub(super) room_listener: Mutex<Option<RoomListener>>,
    /// Partitions in it that are offline while it is not.
    partitions_offline: AtomicU64,
    /// The metadata log, which is not the manager's: its offsets are written down with those of the others.
    metadata_log: Mutex<Weak<Log>>,
    /// Itself, for its tasks.
    this: Weak<LogDirectory>,
}

impl LogDirectory {
    /// A directory that exists already; `max_open_files` bounds the handles kept open for it.
    pub fn new(env: Env, path: impl Into<PathBuf>, id: Uuid, max_open_files: usize) -> Arc<Self> {
        Self::with_flush_limits(env, path, id, max_open_files, FlushLimits::default())
    }

    /// As [`LogDirectory::new`], with other limits for what a power cut may take of its logs.
    pub fn with_flush_limits(
        env: Env,
        path: impl Into<PathBuf>,
        id: Uuid,
        max_open_files: usize,
        flush_limits: FlushLimits,
    ) -> Arc<Self> {
        let path: Arc<Path> = path.into().into();
        // Kept open: it reports what failed since.
        let file_system = env.disk.file_system(&path).ok().flatten();
        Arc::new_cyclic(|this| Self {
            env,
            path,
            id,
            offline: AtomicBool::new(false),
            failure: Mutex::new(None),
            listener: Mutex::new(None),
            open_files: OpenFiles::new(max_open_files),
            changes: AtomicU64::new(0),
            flush_limits,
            dirty: DirtyLogs::default(),
            flushing_together: Mutex::new(()),
            file_system,
            checkpointer: Mutex::new(None),
            checkpoint_due: AtomicBool::new(false),
            room: Room::default(),
            room_listener: Mutex::new(None),
            partitions_offline: AtomicU64::new(0),
            metadata_log: Mutex::default(),
            this: this.clone(),
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `directory.id` in its `meta.properties`.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The memory that work for it draws from.
    pub fn memory(&self) -> &Arc<MemoryBudget> {
        &self.env.memory
    }

    /// Whether a write or a sync in it failed.
    pub fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Acquire)
    }

    /// Sets who is told when the directory goes offline, or is so already.
    pub fn on_failure(&self, listener: FailureListener) {
        *self.listener.lock() = Some(listener.clone());
        if self.is_offline() {
            self.tell(listener);
        }
    }

    /// Sets who is told when the directory has room again.
    pub fn on_room(&self, listener: RoomListener) {
        *self.room_listener.lock() = Some(listener);
    }

    fn tell(&self, listener: FailureListener) {
        // Never on this thread: the caller may hold the lock of a log.
        let path = self.path.clone();
        self.env.spawn.spawn("log-dir-failure", Box::pin(async move { listener(&path) }));
    }

    pub(super) fn check_online(&self) -> StorageResult<()> {
        if self.is_offline() { Err(self.offline_error()) } else { Ok(()) }
    }

    fn offline_error(&self) -> StorageError {
        let reason = self.failure.lock().clone().unwrap_or_else(|| "unknown".into());
        StorageError::LogDirOffline { directory: self.path.clone(), reason }
    }

    /// Takes the directory offline because of a failed write. Two failures of opening and writing do not: too many open files, and a
    /// volume without room. Nothing is lost by them, and trying again later is right; whoever calls this has changed nothing by then.
    pub(super) fn fail(&self, action: &'static str, path: &Path, error: &io::Error) -> StorageError {
        if matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE)) {
            return StorageError::io(action, path, error);
        }
        if is_full(error) && !self.is_offline() {
            let reason = format!("{action} {}: {error}", path.display());
            self.enter_full(&reason);
            return self.full_error(&reason);
        }
        self.take_offline(format!("{action} {}: {error}", path.display()))
    }

    /// Takes the directory offline because of a failed sync, whatever the error: what it should have made durable may be gone.
    pub(super) fn fail_sync(&self, path: &Path, error: &io::Error) -> StorageError {
        self.take_offline(format!("syncing {}: {error}", path.display()))
    }

    pub(super) fn full_error(&self, reason: &str) -> StorageError {
        StorageError::DiskFull { directory: self.path.clone(), reason: reason.into() }
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    /// Takes the directory offline; the first reason stays.
    pub(super) fn take_offline(&self, reason: String) -> StorageError {
        {
            let mut failure = self.failure.lock();
            if failure.is_none() {
                tracing::error!("Stopping serving logs in dir {}: {reason}", self.path.display());
                *failure = Some(reason.into());
            }
        }
        if !self.offline.swap(true, Ordering::AcqRel) {
            let listener = self.listener.lock().clone();
            if let Some(listener) = listener {
                self.tell(listener);
            }
        }
        self.offline_error()
    }

    pub(super) fn set_metadata_log(&self, log: Weak<Log>) {
        *self.metadata_log.lock() = log;
    }

    pub(super) fn metadata_log(&self) -> Option<Arc<Log>> {
        self.metadata_log.lock().upgrade()
    }

    pub(super) fn note_partition_offline(&self) {
        self.partitions_offline.fetch_add(1, Ordering::Release);
    }

    /// An offline partition is deleted or put aside.
    pub(super) fn note_partition_gone(&self) {
        self.partitions_offline.fetch_sub(1, Ordering::Release);
    }

    /// Whether a partition in it is offline while the directory is not.
    pub(super) fn has_partition_offline(&self) -> bool {
        self.partitions_offline.load(Ordering::Acquire) > 0
    }

    pub(super) fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(super) fn flush_limits(&self) -> FlushLimits {
        self.flush_limits
    }

    /// The file system, where it can be synced as a whole.
    pub(super) fn file_system(&self) -> Option<&Arc<dyn FileSystem>> {
        self.file_system.as_ref()
    }

    /// Sets what writes the recovery points.
    pub(super) fn set_checkpointer(&self, checkpointer: Checkpointer) {
        *self.checkpointer.lock() = Some(checkpointer);
    }

    /// A recovery point has moved far since it was written down.
    pub(super) fn ask_for_checkpoint(&self) {
        self.checkpoint_due.store(true, Ordering::Release);
    }

    /// Writes the recovery points if a log asked for it. No lock of a log may be held. What finds no room is written another time: only
    /// the next recovery misses it, and whoever waits for a sync must not take it for a failed one.
    pub(super) fn checkpoint_if_due(&self) -> StorageResult<()> {
        if !self.checkpoint_due.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        if let Err(error) = self.checkpoint() {
            self.check_online()?;
            tracing::warn!("the recovery points of {} were not written: {error}", self.path.display());
            self.ask_for_checkpoint();
        }
        Ok(())
    }

    /// Writes the recovery points of all logs now, durably; nothing if this directory belongs to no manager. No lock of a log
    /// may be held.
    pub(super) fn checkpoint(&self) -> StorageResult<()> {
        let checkpointer = self.checkpointer.lock().clone();
        checkpointer.map_or(Ok(()), |checkpointer| checkpointer())
    }
}
