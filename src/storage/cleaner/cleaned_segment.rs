//! The segment that a cleaning writes: `.cleaned` files, until the log takes them over.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{DiskFile, OpenMode};
use crate::record::BatchHeader;
use crate::storage::directory::LogDirectory;
use crate::storage::file_names::CLEANED_SUFFIX;
use crate::storage::segment::{ActiveSegment, TimestampOffset};
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles, is_not_found};
use crate::storage::transaction_index::{AbortedEntry, encode_entries};
use crate::storage::{StorageError, StorageResult};

/// A segment on its way.
pub(super) struct CleanedSegment {
    directory: Arc<LogDirectory>,
    files: SegmentFiles,
    log: Arc<dyn DiskFile>,
    offset_index: Arc<dyn DiskFile>,
    time_index: Arc<dyn DiskFile>,
    /// Keeps the indexes; nothing is written through it.
    built: ActiveSegment,
    /// Batches that wait for one write.
    buffer: Vec<u8>,
    buffer_bytes: usize,
    written: u64,
    index_interval_bytes: u64,
    aborted: Vec<AbortedEntry>,
}

/// A finished segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct FinishedSegment {
    pub(super) size: u64,
    pub(super) largest_timestamp: Option<TimestampOffset>,
    pub(super) has_aborted: bool,
}

impl CleanedSegment {
    /// Creates the files, over what an interrupted cleaning may have left.
    pub(super) fn create(
        directory: &Arc<LogDirectory>,
        files: SegmentFiles,
        buffer_bytes: usize,
        index_interval_bytes: u64,
    ) -> StorageResult<Self> {
        remove_cleaned(directory, &files)?;
        let create = |kind| {
            let path = cleaned_path(&files, kind);
            directory.env.disk.open(&path, OpenMode::Truncate).map_err(|error| failure(directory, &path, &error))
        };
        Ok(Self {
            log: create(SegmentFileKind::Log)?,
            offset_index: create(SegmentFileKind::OffsetIndex)?,
            time_index: create(SegmentFileKind::TimeIndex)?,
            directory: directory.clone(),
            built: ActiveSegment::empty(files.clone(), 0),
            files,
            buffer: Vec::new(),
            buffer_bytes,
            written: 0,
            index_interval_bytes,
            aborted: Vec::new(),
        })
    }

    /// Where batches are appended before [`CleanedSegment::note`] takes them over.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Takes over the batch at the end of the buffer. Fails if the segment cannot hold it.
    pub(super) fn note(&mut self, header: &BatchHeader) -> StorageResult<()> {
        let size = header.size_in_bytes() as u64;
        let end = self.written + self.buffer.len() as u64;
        if !self.built.can_hold(header.last_offset()) || end > u64::from(i32::MAX as u32) {
            // The groups are such that this does not happen, unless recompression makes a segment larger than 2 GiB.
            let message = format!("offset {} does not fit into the cleaned segment", header.last_offset());
            return Err(StorageError::io(
                "cleaning into",
                &self.path(SegmentFileKind::Log),
                &io::Error::other(message),
            ));
        }
        self.built.note(header, end - size, self.index_interval_bytes);
        if self.buffer.len() >= self.buffer_bytes {
            self.write_buffer()?;
        }
        Ok(())
    }

    /// Adds an aborted transaction of which something is left.
    pub(super) fn add_aborted(&mut self, transactions: Vec<AbortedEntry>) {
        self.aborted.extend(transactions);
    }

    fn write_buffer(&mut self) -> StorageResult<()> {
        // What is left of a full volume is for those who cannot wait.
        self.directory.check_room(self.buffer.len() as u64)?;
        let written = self.log.write_all_at(&self.buffer, self.written);
        written.map_err(|error| self.write_error(SegmentFileKind::Log, &error))?;
        self.written += self.buffer.len() as u64;
        // A batch larger than the buffer has grown it.
        self.buffer.clear();
        self.buffer.shrink_to(self.buffer_bytes);
        self.write_indexes()
    }

    fn write_indexes(&mut self) -> StorageResult<()> {
        let offsets = self.built.offset_index.write(&*self.offset_index);
        offsets.map_err(|error| self.write_error(SegmentFileKind::OffsetIndex, &error))?;
        let times = self.built.time_index.write(&*self.time_index);
        times.map_err(|error| self.write_error(SegmentFileKind::TimeIndex, &error))
    }

    /// Writes what is left and makes all files durable; their names are the log's to sync. `modified_ms` is when the newest of the old
    /// segments was changed: the age of a segment without timestamps.
    pub(super) fn finish(mut self, modified_ms: Option<i64>) -> StorageResult<FinishedSegment> {
        self.built.note_largest_timestamp();
        self.write_buffer()?;
        if let Some(modified_ms) = modified_ms
            && let Err(error) = self.log.set_modified(modified_ms)
        {
            tracing::debug!("{}: {error}", self.path(SegmentFileKind::Log).display());
        }
        let sync = |kind, file: &Arc<dyn DiskFile>| {
            let path = cleaned_path(&self.files, kind);
            file.sync_data().map_err(|error| self.directory.fail_sync(&path, &error))
        };
        sync(SegmentFileKind::Log, &self.log)?;
        sync(SegmentFileKind::OffsetIndex, &self.offset_index)?;
        sync(SegmentFileKind::TimeIndex, &self.time_index)?;
        // An empty one takes the place of an old one, so that a start after a crash can tell them apart.
        if !self.aborted.is_empty() || self.files.metadata(SegmentFileKind::TransactionIndex).is_ok() {
            self.write_transaction_index()?;
        }
        let largest_timestamp = (self.written > 0).then_some(self.built.largest_timestamp);
        Ok(FinishedSegment { size: self.written, largest_timestamp, has_aborted: !self.aborted.is_empty() })
    }

    fn write_transaction_index(&self) -> StorageResult<()> {
        let kind = SegmentFileKind::TransactionIndex;
        let bytes = encode_entries(&self.aborted);
        let disk = &self.directory.env.disk;
        let path = self.path(kind);
        let file = disk.open(&path, OpenMode::Truncate).and_then(|file| file.write_all_at(&bytes, 0).map(|()| file));
        let file = file.map_err(|error| failure(&self.directory, &path, &error))?;
        file.sync_data().map_err(|error| self.directory.fail_sync(&path, &error))
    }

    fn path(&self, kind: SegmentFileKind) -> PathBuf {
        cleaned_path(&self.files, kind)
    }

    fn write_error(&self, kind: SegmentFileKind, error: &io::Error) -> StorageError {
        failure(&self.directory, &self.path(kind), error)
    }
}

/// A failed write takes the directory offline. That the name is not there does not: the log was deleted while it was cleaned.
fn failure(directory: &LogDirectory, path: &Path, error: &io::Error) -> StorageError {
    if is_not_found(error) { StorageError::io("creating", path, error) } else { directory.fail("writing", path, error) }
}

fn cleaned_path(files: &SegmentFiles, kind: SegmentFileKind) -> PathBuf {
    let mut path = files.path_of(kind).into_os_string();
    path.push(CLEANED_SUFFIX);
    path.into()
}

/// Removes the `.cleaned` files of a segment.
pub(super) fn remove_cleaned(directory: &LogDirectory, files: &SegmentFiles) -> StorageResult<()> {
    for kind in SegmentFileKind::ALL {
        let path = cleaned_path(files, kind);
        match directory.env.disk.remove_file(&path) {
            Err(error) if !is_not_found(&error) => return Err(directory.fail("removing", &path, &error)),
            _ => {}
        }
    }
    Ok(())
}
