//! The names of a segment's files, and how they are opened. A handle that was given out stays valid by its reference count whatever
//! happens to the file's name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::directory::LogDirectory;
use super::file_names::{
    INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX, TRANSACTION_SEAL_SUFFIX, offset_file,
};
use super::open_files::SegmentKey;
use super::{StorageError, StorageResult};
use crate::env::{DiskFile, FileMetadata, OpenMode};

/// Which file of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SegmentFileKind {
    Log,
    OffsetIndex,
    TimeIndex,
    TransactionIndex,
    /// The checksum of the transaction index, of which Kafka knows nothing.
    TransactionSeal,
}

impl SegmentFileKind {
    /// What belongs to a log file and can be built again from it.
    const CACHES: [Self; 4] = [Self::OffsetIndex, Self::TimeIndex, Self::TransactionIndex, Self::TransactionSeal];
    pub(super) const ALL: [Self; 5] =
        [Self::Log, Self::OffsetIndex, Self::TimeIndex, Self::TransactionIndex, Self::TransactionSeal];

    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Log => LOG_SUFFIX,
            Self::OffsetIndex => INDEX_SUFFIX,
            Self::TimeIndex => TIME_INDEX_SUFFIX,
            Self::TransactionIndex => TRANSACTION_INDEX_SUFFIX,
            Self::TransactionSeal => TRANSACTION_SEAL_SUFFIX,
        }
    }
}

/// Numbers logs, so that the handles of a deleted log are never taken for those of a new one of the same name.
static NEXT_LOG: AtomicU64 = AtomicU64::new(0);

/// The directory of a log; it changes when the log is deleted.
pub(super) struct LogPath {
    number: u64,
    path: RwLock<PathBuf>,
}

impl LogPath {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { number: NEXT_LOG.fetch_add(1, Ordering::Relaxed), path: RwLock::new(path) }
    }

    pub(super) fn get(&self) -> PathBuf {
        self.path.read().clone()
    }

    pub(super) fn set(&self, path: PathBuf) {
        *self.path.write() = path;
    }
}

/// The files of one segment, opened when needed. This is a name: the handles are the directory's.
#[derive(Clone)]
pub(super) struct SegmentFiles {
    directory: Arc<LogDirectory>,
    path: Arc<LogPath>,
    base_offset: i64,
}

impl SegmentFiles {
    pub(super) fn new(directory: Arc<LogDirectory>, path: Arc<LogPath>, base_offset: i64) -> Self {
        Self { directory, path, base_offset }
    }

    /// The files of another segment of the same log.
    pub(super) fn sibling(&self, base_offset: i64) -> Self {
        Self { base_offset, ..self.clone() }
    }

    pub(super) fn base_offset(&self) -> i64 {
        self.base_offset
    }

    fn key(&self) -> SegmentKey {
        (self.path.number, self.base_offset)
    }

    pub(super) fn path_of(&self, kind: SegmentFileKind) -> PathBuf {
        offset_file(&self.path.path.read(), self.base_offset, kind.suffix())
    }

    /// The handle of a file, opened (and created, when missing) if it is not open. Like [`SegmentFiles::existing`] for whoever holds
    /// the log's lock, or has the log for itself.
    pub(super) fn handle(&self, kind: SegmentFileKind) -> io::Result<Arc<dyn DiskFile>> {
        self.handle_with(kind, OpenMode::CreateReadWrite)
    }

    /// The handle of a file that must exist.
    pub(super) fn existing(&self, kind: SegmentFileKind) -> io::Result<Arc<dyn DiskFile>> {
        self.handle_with(kind, OpenMode::ReadWrite)
    }

    fn handle_with(&self, kind: SegmentFileKind, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(open) = self.directory.open_files.get(self.key(), kind) {
            return Ok(open);
        }
        let opened = self.directory.env.disk.open(&self.path_of(kind), mode)?;
        Ok(self.directory.open_files.put(self.key(), kind, opened))
    }

    /// Creates the log file of a new segment, `preallocated` bytes long; what may lie there under the names of its files is no part of
    /// the log (KAFKA-6388).
    pub(super) fn create(&self, preallocated: u64) -> io::Result<()> {
        self.close();
        for kind in SegmentFileKind::CACHES {
            match self.directory.env.disk.remove_file(&self.path_of(kind)) {
                Err(error) if !is_not_found(&error) => return Err(error),
                _ => {}
            }
        }
        self.create_in_new_directory(preallocated)
    }

    /// As [`SegmentFiles::create`], where nothing can lie.
    pub(super) fn create_in_new_directory(&self, preallocated: u64) -> io::Result<()> {
        let log = self.handle_with(SegmentFileKind::Log, OpenMode::Truncate)?;
        if preallocated > 0 { log.set_len(preallocated) } else { Ok(()) }
    }

    /// A handle of a file that must exist, for reading and for the caller alone: needs no lock, and takes no place from readers.
    pub(super) fn open_apart(&self, kind: SegmentFileKind) -> io::Result<Arc<dyn DiskFile>> {
        self.directory.env.disk.open(&self.path_of(kind), OpenMode::Read)
    }

    /// The size of a file and when it was changed.
    pub(super) fn metadata(&self, kind: SegmentFileKind) -> StorageResult<FileMetadata> {
        let path = self.path_of(kind);
        self.directory.env.disk.metadata(&path).map_err(|error| StorageError::io("opening", &path, &error))
    }

    /// Closes the handles kept for this segment; those given out stay open.
    pub(super) fn close(&self) {
        self.directory.open_files.close(self.key());
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
