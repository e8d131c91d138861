//! The files of a segment and the bounded set of open handles. A handle that was given out stays valid by its reference count
//! whatever happens to the file's name.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::StorageError;
use super::directory::LogDirectory;
use super::file_names::{INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, offset_file};
use crate::env::{DiskFile, OpenMode};

/// Which file of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentFileKind {
    Log = 0,
    OffsetIndex = 1,
    TimeIndex = 2,
}

impl SegmentFileKind {
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Log => LOG_SUFFIX,
            Self::OffsetIndex => INDEX_SUFFIX,
            Self::TimeIndex => TIME_INDEX_SUFFIX,
        }
    }
}

/// The directory of a log; it changes when the log is deleted.
pub(super) struct LogPath {
    path: RwLock<PathBuf>,
}

impl LogPath {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path: RwLock::new(path) }
    }

    pub(super) fn get(&self) -> PathBuf {
        self.path.read().clone()
    }

    pub(super) fn set(&self, path: PathBuf) {
        *self.path.write() = path;
    }
}

#[derive(Default)]
struct Slot {
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    used: AtomicBool,
}

/// The files of one segment, opened when needed.
pub(super) struct SegmentFiles {
    directory: Arc<LogDirectory>,
    path: Arc<LogPath>,
    base_offset: i64,
    slots: [Slot; 3],
}

impl SegmentFiles {
    pub(super) fn new(directory: Arc<LogDirectory>, path: Arc<LogPath>, base_offset: i64) -> Arc<Self> {
        Arc::new(Self { directory, path, base_offset, slots: Default::default() })
    }

    pub(super) fn base_offset(&self) -> i64 {
        self.base_offset
    }

    pub(super) fn path_of(&self, kind: SegmentFileKind) -> PathBuf {
        offset_file(&self.path.path.read(), self.base_offset, kind.suffix())
    }

    /// The handle of a file, opened (and created, when missing) if it is not open.
    pub(super) fn handle(self: &Arc<Self>, kind: SegmentFileKind) -> io::Result<Arc<dyn DiskFile>> {
        self.handle_with(kind, OpenMode::CreateReadWrite)
    }

    /// The handle of a file that must exist.
    pub(super) fn existing(self: &Arc<Self>, kind: SegmentFileKind) -> io::Result<Arc<dyn DiskFile>> {
        self.handle_with(kind, OpenMode::ReadWrite)
    }

    fn handle_with(self: &Arc<Self>, kind: SegmentFileKind, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let slot = &self.slots[kind as usize];
        let opened = {
            let mut file = slot.file.lock();
            if let Some(file) = &*file {
                slot.used.store(true, Ordering::Relaxed);
                return Ok(file.clone());
            }
            let opened = self.directory.env.disk.open(&self.path_of(kind), mode)?;
            *file = Some(opened.clone());
            opened
        };
        self.directory.open_files.opened(self, kind);
        Ok(opened)
    }

    /// Closes the handles kept here; those given out stay open.
    pub(super) fn close(&self) {
        for slot in &self.slots {
            *slot.file.lock() = None;
        }
    }

    /// The error of a failed read.
    pub(super) fn read_error(&self, kind: SegmentFileKind, error: &io::Error) -> StorageError {
        StorageError::io("reading", &self.path_of(kind), error)
    }

    /// Takes the directory offline after a failed write.
    pub(super) fn write_error(&self, kind: SegmentFileKind, error: &io::Error) -> StorageError {
        self.directory.fail("writing", &self.path_of(kind), error)
    }
}

/// The files kept open in a log directory, with a second chance for those in use (the clock algorithm).
pub(super) struct OpenFiles {
    capacity: usize,
    queue: Mutex<VecDeque<(Weak<SegmentFiles>, SegmentFileKind)>>,
}

impl OpenFiles {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(8), queue: Mutex::new(VecDeque::new()) }
    }

    fn opened(&self, files: &Arc<SegmentFiles>, kind: SegmentFileKind) {
        let mut closed: Vec<Arc<dyn DiskFile>> = Vec::new();
        {
            let mut queue = self.queue.lock();
            queue.push_back((Arc::downgrade(files), kind));
            let mut chances = queue.len() * 2;
            while queue.len() > self.capacity && chances > 0 {
                chances -= 1;
                let Some((entry, kind)) = queue.pop_front() else { break };
                let Some(files) = entry.upgrade() else { continue };
                let slot = &files.slots[kind as usize];
                if slot.used.swap(false, Ordering::Relaxed) {
                    queue.push_back((entry, kind));
                } else if let Some(mut file) = slot.file.try_lock() {
                    closed.extend(file.take());
                } else {
                    queue.push_back((entry, kind));
                }
            }
        }
        // The system calls of closing run outside the lock.
        drop(closed);
    }
}

/// Whether the name is gone: a file that was removed by another hand.
pub(super) fn is_not_found(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Renames a file to its name with `suffix` appended; a missing file is fine.
pub(super) fn add_suffix(directory: &LogDirectory, path: &Path, suffix: &str) -> io::Result<()> {
    let mut target = path.as_os_str().to_owned();
    target.push(suffix);
    match directory.env.disk.rename(path, Path::new(&target)) {
        Err(error) if !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}
