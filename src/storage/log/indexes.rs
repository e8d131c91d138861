//! The indexes of sealed segments: looked at when they are first used, rebuilt when they are missing or wrong. They are caches; the
//! log is the truth.

use std::io;
use std::sync::Arc;

use super::append::index_interval_bytes;
use super::timestamps::LargestUpTo;
use super::{Log, LogState};
use crate::env::{DiskFile, OpenMode};
use crate::storage::StorageResult;
use crate::storage::batch_scan::{BatchScanner, Scanned, WholeBatchScanner};
use crate::storage::segment::{ActiveSegment, IndexState, TimestampOffset};
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles, is_not_found};
use crate::storage::sparse_index::{IndexEntry, OffsetEntry, SparseIndex, TimeEntry, floor_on_disk, read_entry};
use crate::types::NO_TIMESTAMP;

/// Segments whose files are read under one lock.
const LOOKUPS_MAX: usize = 64;

/// Counts the segments whose files an attempt read.
#[derive(Default)]
pub(in crate::storage) struct Lookups(usize);

impl Lookups {
    fn may_read(&mut self) -> bool {
        self.0 += 1;
        self.0 <= LOOKUPS_MAX
    }
}

/// An index that ends so many intervals before its segment lacks entries.
const MISSING_INTERVALS: u64 = 4;

/// What the time index of a sealed segment says.
enum LastTime {
    /// The largest timestamp.
    Known(TimestampOffset),
    /// No record has a timestamp.
    NoTimestamps,
    /// The index cannot be used.
    Wrong,
}

impl Log {
    /// Runs `attempt` under the lock. If it asks for the indexes of a segment, or has read much, that is rebuilt, or others have their
    /// turn, without the lock; then it is tried again.
    pub(in crate::storage) fn with_indexes<T>(
        &self,
        mut attempt: impl FnMut(&mut LogState) -> StorageResult<Result<T, Unready>>,
    ) -> StorageResult<T> {
        loop {
            let unready = {
                let mut state = self.lock();
                self.check_usable(&state)?;
                match attempt(&mut state)? {
                    Ok(value) => return Ok(value),
                    Err(unready) => unready,
                }
            };
            if let Unready::Indexes(base_offset) = unready {
                self.rebuild_indexes(base_offset)?;
            }
        }
    }

    /// Whether the offset index of a sealed segment can be used; looks at it if nobody has.
    pub(in crate::storage) fn use_indexes(
        &self,
        state: &LogState,
        index: usize,
    ) -> StorageResult<Result<bool, Unready>> {
        let segment = &state.sealed[index];
        match segment.indexes() {
            IndexState::Sound => return Ok(Ok(true)),
            IndexState::Unusable => return Ok(Ok(false)),
            IndexState::Unknown => {}
        }
        let files = state.sealed_files(index);
        let size = state.sealed_size(index)?;
        let sound = offset_index_is_sound(&files, size, index_interval_bytes(&state.config))?
            && !matches!(last_time(&files, size)?, LastTime::Wrong);
        if !sound {
            return Ok(Err(Unready::Indexes(segment.base_offset())));
        }
        segment.set_indexes(IndexState::Sound);
        Ok(Ok(true))
    }

    /// The largest timestamp of a sealed segment and the last offset of the batch that has it; the time of the file's last change if
    /// no record has one (`LogSegment.largestTimestamp`).
    pub(in crate::storage) fn largest_timestamp_of_sealed(
        &self,
        state: &LogState,
        index: usize,
        lookups: &mut Lookups,
    ) -> StorageResult<Result<TimestampOffset, Unready>> {
        let segment = &state.sealed[index];
        if let Some(known) = segment.largest_timestamp() {
            return Ok(Ok(known));
        }
        if !lookups.may_read() {
            return Ok(Err(Unready::Pause));
        }
        let files = state.sealed_files(index);
        let largest = match last_time(&files, state.sealed_size(index)?)? {
            LastTime::Known(largest) => largest,
            LastTime::Wrong if segment.indexes() != IndexState::Unusable => {
                return Ok(Err(Unready::Indexes(segment.base_offset())));
            }
            LastTime::NoTimestamps | LastTime::Wrong => {
                TimestampOffset { timestamp: files.metadata(SegmentFileKind::Log)?.modified_millis, offset: -1 }
            }
        };
        segment.set_largest_timestamp(Some(largest));
        Ok(Ok(largest))
    }

    /// Builds both indexes of a sealed segment from its log, without the lock, and puts them in place under it.
    pub(super) fn rebuild_indexes(&self, base_offset: i64) -> StorageResult<()> {
        let (files, size, interval, replacements) = {
            let state = self.lock();
            let Some(index) = state.sealed_at(base_offset) else { return Ok(()) };
            let interval = index_interval_bytes(&state.config);
            (state.sealed_files(index), state.sealed_size(index)?, interval, state.replacements)
        };
        tracing::warn!("{}: rebuilding the indexes of this segment", files.path_of(SegmentFileKind::Log).display());
        let log = files.open_apart(SegmentFileKind::Log);
        let log = match log {
            // Deleted meanwhile.
            Err(error) if is_not_found(&error) => return Ok(()),
            log => log.map_err(|error| files.read_error(SegmentFileKind::Log, &error))?,
        };
        let built = build(&files, log, size, interval)?;
        let mut state = self.lock();
        self.check_usable(&state)?;
        state.largest_up_to = LargestUpTo::default();
        // The same segment, or another one by now?
        let Some(index) = state.sealed_at(base_offset).filter(|_| state.replacements == replacements) else {
            return Ok(());
        };
        let segment = &state.sealed[index];
        let Some(mut built) = built else {
            segment.set_indexes(IndexState::Unusable);
            return Ok(());
        };
        // First for the case that it fails: then the log is read without indexes.
        segment.set_indexes(IndexState::Unusable);
        segment.set_largest_timestamp(None);
        built.note_largest_timestamp();
        self.replace_index(&files, SegmentFileKind::OffsetIndex, &mut built.offset_index)?;
        self.replace_index(&files, SegmentFileKind::TimeIndex, &mut built.time_index)?;
        files.close();
        // What was just built and still does not hold is the log's fault.
        if !matches!(last_time(&files, size)?, LastTime::Wrong) {
            segment.set_indexes(IndexState::Sound);
        }
        Ok(())
    }

    /// Replaces an index file at once, so that nobody who reads the old one sees half of the new one.
    fn replace_index<E: IndexEntry>(
        &self,
        files: &SegmentFiles,
        kind: SegmentFileKind,
        index: &mut SparseIndex<E>,
    ) -> StorageResult<()> {
        let path = files.path_of(kind);
        let mut temporary = path.clone().into_os_string();
        temporary.push(".tmp");
        let disk = &self.directory.env.disk;
        let written = disk
            .open(temporary.as_ref(), OpenMode::Truncate)
            .and_then(|file| index.write(&*file))
            .and_then(|()| disk.rename(temporary.as_ref(), &path));
        written.map_err(|error| files.write_error(kind, &error))
    }
}

/// What must happen without the log's lock before something is tried again.
#[derive(Debug)]
pub(in crate::storage) enum Unready {
    /// The indexes of the segment with this base offset must be rebuilt.
    Indexes(i64),
    /// Enough files were read under one lock.
    Pause,
}

/// The indexes that a log file should have; `None` if it cannot be read to its end.
fn build(
    files: &SegmentFiles,
    log: Arc<dyn DiskFile>,
    size: u64,
    interval: u64,
) -> StorageResult<Option<ActiveSegment>> {
    let mut built = ActiveSegment::empty(files.clone(), 0);
    // With checksums: an index that is built of a damaged header would vouch for it ever after.
    let mut scanner = WholeBatchScanner::new(log, 0, size);
    let mut next_offset = files.base_offset();
    loop {
        let reason = match scanner.next().map_err(|error| files.read_error(SegmentFileKind::Log, &error))? {
            Ok(None) => return Ok(Some(built)),
            Ok(Some((_, header, _))) if header.base_offset < next_offset || !built.can_hold(header.last_offset()) => {
                format!("offset {} does not follow {}", header.base_offset, next_offset - 1)
            }
            Ok(Some((position, header, _))) => {
                built.note(&header, position, interval);
                next_offset = header.next_offset();
                continue;
            }
            Err(reason) => reason,
        };
        tracing::error!("{}: {reason}; its indexes cannot be built", log_path(files));
        return Ok(None);
    }
}

fn log_path(files: &SegmentFiles) -> String {
    files.path_of(SegmentFileKind::Log).display().to_string()
}

/// Number of entries and the last one of an index file; the outer `None`: the file is missing or not made of entries.
fn last_entry<E: IndexEntry>(files: &SegmentFiles, kind: SegmentFileKind) -> StorageResult<Option<(u64, Option<E>)>> {
    let read = |file: Arc<dyn DiskFile>| -> io::Result<Option<(u64, Option<E>)>> {
        let bytes = file.size()?;
        if bytes % E::SIZE as u64 != 0 {
            return Ok(None);
        }
        let count = bytes / E::SIZE as u64;
        let last = count.checked_sub(1).map(|last| read_entry(&*file, last as usize)).transpose()?;
        Ok(Some((count, last)))
    };
    match files.existing(kind).and_then(read) {
        Err(error) if is_not_found(&error) => Ok(None),
        entry => entry.map_err(|error| files.read_error(kind, &error)),
    }
}

/// Whether the last entry names a batch, and what follows it is not worth more entries (`OffsetIndex.sanityCheck`, and more).
fn offset_index_is_sound(files: &SegmentFiles, size: u64, interval: u64) -> StorageResult<bool> {
    let Some((count, last)) = last_entry::<OffsetEntry>(files, SegmentFileKind::OffsetIndex)? else {
        return Ok(size == 0);
    };
    let position = last.map_or(0, |entry| u64::from(entry.position));
    if position >= size && size > 0 || position == 0 && count > 1 || size == 0 && count > 0 {
        return Ok(false);
    }
    let failure = |error: io::Error| files.read_error(SegmentFileKind::Log, &error);
    let log = files.existing(SegmentFileKind::Log).map_err(failure)?;
    let mut scanner = BatchScanner::new(log, position, size);
    let mut seen = 0;
    loop {
        match scanner.next().map_err(failure)? {
            Scanned::Batch { position: at, header } => {
                let relative = header.last_offset().saturating_sub(files.base_offset());
                if at == position && last.is_some_and(|entry| i64::from(entry.relative_offset) != relative) {
                    return Ok(false);
                }
                if seen > MISSING_INTERVALS * interval.max(1024) {
                    return Ok(false);
                }
                seen += header.size_in_bytes() as u64;
                if at == position {
                    seen = 0;
                }
            }
            Scanned::End => return Ok(true),
            // A batch that cannot be read is the log's trouble. An entry that leads nowhere is the index's.
            Scanned::Broken { position: at, .. } => return Ok(at != position || count == 0),
        }
    }
}

/// The last entry of the time index (`TimeIndex.sanityCheck`, `TimeIndex.lastEntry`).
fn last_time(files: &SegmentFiles, size: u64) -> StorageResult<LastTime> {
    let Some((_, last)) = last_entry::<TimeEntry>(files, SegmentFileKind::TimeIndex)? else {
        return Ok(if size == 0 { LastTime::NoTimestamps } else { LastTime::Wrong });
    };
    match last {
        Some(TimeEntry { timestamp, relative_offset }) if timestamp >= 0 && relative_offset >= 0 => {
            if max_timestamp_at(files, size, relative_offset)? != Some(timestamp) {
                return Ok(LastTime::Wrong);
            }
            let offset = files.base_offset() + i64::from(relative_offset);
            Ok(LastTime::Known(TimestampOffset { timestamp, offset }))
        }
        Some(_) => Ok(LastTime::Wrong),
        None if size == 0 => Ok(LastTime::NoTimestamps),
        None => {
            let failure = |error: io::Error| files.read_error(SegmentFileKind::Log, &error);
            let log = files.existing(SegmentFileKind::Log).map_err(failure)?;
            let first = crate::storage::segment::read_header(&*log, 0).map_err(failure)?;
            let has_timestamps = first.is_some_and(|header| header.max_timestamp > NO_TIMESTAMP);
            Ok(if has_timestamps { LastTime::Wrong } else { LastTime::NoTimestamps })
        }
    }
}

/// The largest timestamp of the batch that holds an offset; `None` if no such batch is found by way of the offset index.
fn max_timestamp_at(files: &SegmentFiles, size: u64, relative_offset: i32) -> StorageResult<Option<i64>> {
    let kind = SegmentFileKind::OffsetIndex;
    let floor = |file: Arc<dyn DiskFile>| {
        floor_on_disk::<OffsetEntry>(&file, file.size()? as usize / OffsetEntry::SIZE, i64::from(relative_offset))
    };
    let start = match files.existing(kind).and_then(floor) {
        Err(error) if is_not_found(&error) => return Ok(None),
        entry => entry.map_err(|error| files.read_error(kind, &error))?.map_or(0, |entry| u64::from(entry.position)),
    };
    let failure = |error: io::Error| files.read_error(SegmentFileKind::Log, &error);
    let log = files.existing(SegmentFileKind::Log).map_err(failure)?;
    let offset = files.base_offset() + i64::from(relative_offset);
    let mut scanner = BatchScanner::new(log, start, size);
    loop {
        match scanner.next().map_err(failure)? {
            Scanned::Batch { header, .. } if header.last_offset() < offset => {}
            Scanned::Batch { header, .. } => {
                return Ok((header.base_offset <= offset).then_some(header.max_timestamp));
            }
            Scanned::End | Scanned::Broken { .. } => return Ok(None),
        }
    }
}
