//! Opening and recovering segments.

use std::io;

use super::{Listing, Loader};
use crate::storage::batch_scan::WholeBatchScanner;
use crate::storage::log::preallocated_bytes;
use crate::storage::segment::{ActiveSegment, SealedSegment, TimestampOffset, read_header};
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles};
use crate::storage::sparse_index::{OffsetEntry, SparseIndex, TimeEntry, partition_on_disk, read_entry};
use crate::storage::transaction_index::{read_entries, seal_fits};
use crate::storage::{StorageError, StorageResult};
use crate::types::NO_TIMESTAMP;

/// Where the recovery of a segment begins: behind what the recovery point vouches for.
pub(super) struct RecoveryStart {
    pub(super) offset_entries: usize,
    pub(super) offset_entry: OffsetEntry,
    pub(super) time_entries: usize,
    pub(super) time_entry: Option<TimeEntry>,
}

impl Loader<'_> {
    /// Opens all segments, recovering the one that holds the recovery point and those behind it; gives them and the log end offset.
    ///
    /// What is behind the recovery point ends with the first batch that is not whole, or where a segment does not begin where the one
    /// before it ends. What is before it was on the disk: it is never cut, and without it the log is not opened
    /// ([`StorageError::PartitionOffline`]); nothing has been changed then.
    pub(super) fn load_segments(
        &mut self,
        listing: &mut Listing,
    ) -> StorageResult<(Vec<SealedSegment>, ActiveSegment, i64)> {
        let segments = std::mem::take(&mut listing.segments);
        let Some(last) = segments.len().checked_sub(1) else {
            self.check_lost_segments()?;
            self.remove_leftovers(listing)?;
            return self.first_segment(self.options.log_start_offset.max(0));
        };
        let first = match self.options.clean_shutdown {
            true => last,
            false => segments.partition_point(|base| *base <= self.options.recovery_point).saturating_sub(1),
        };
        // Trusted; their sizes and their indexes are looked at when they are first used.
        let listed = |base: &i64| SealedSegment::listed(*base, listing.has_aborted(*base));
        let mut sealed: Vec<SealedSegment> = segments[..first].iter().map(listed).collect();
        if self.options.clean_shutdown
            && let Some((active, end_offset)) = self.open_active(&self.files(segments[last]), listing)?
        {
            self.check_end(&active.files, end_offset, active.size, "the file ends")?;
            self.remove_leftovers(listing)?;
            return Ok((sealed, active, end_offset));
        }
        let mut newest: Option<(ActiveSegment, i64)> = None;
        for (index, base_offset) in segments.iter().copied().enumerate().skip(first) {
            if let Some((active, end_offset)) = &newest
                && let Some(reason) = self.misfit(*end_offset, base_offset)
            {
                tracing::warn!(
                    "{}: {reason}; removing what follows",
                    active.files.path_of(SegmentFileKind::Log).display()
                );
                self.remove_segments(&segments[index..])?;
                break;
            }
            if let Some((_, end_offset)) = &newest
                && *end_offset < base_offset
            {
                self.first_hole.get_or_insert(*end_offset);
            }
            let files = self.files(base_offset);
            let start = if index == first { self.recovery_start(&files, listing)? } else { None };
            let scan = self.scan_segment(files, start)?;
            if index == last {
                self.check_gap(&scan)?;
            }
            if index == first {
                self.check_scan(&scan, index < last)?;
                self.remove_leftovers(listing)?;
            }
            if listing.has_aborted(base_offset) {
                self.transactions_from.get_or_insert(base_offset);
            }
            if let Some((mut active, _)) = newest.take() {
                let segment = active.seal();
                sealed.push(segment.map_err(|error| active.files.write_error(SegmentFileKind::OffsetIndex, &error))?);
                self.changed = true;
            }
            if scan.broken.is_some() && index < last {
                tracing::warn!("{}: removing the segments behind a damaged one", self.at.display());
                self.remove_segments(&segments[index + 1..])?;
                newest = Some(self.finish_segment(scan)?);
                break;
            }
            newest = Some(self.finish_segment(scan)?);
        }
        let Some((active, end_offset)) = newest else { return self.first_segment(segments[last]) };
        Ok((sealed, active, end_offset))
    }

    pub(super) fn first_segment(&mut self, offset: i64) -> StorageResult<(Vec<SealedSegment>, ActiveSegment, i64)> {
        let files = self.files(offset);
        let create = if self.is_new { ActiveSegment::create_in_new_directory } else { ActiveSegment::create };
        let active = create(files.clone(), self.now_ms, preallocated_bytes(&self.options.config));
        files.close();
        let active = active.map_err(|error| files.write_error(SegmentFileKind::Log, &error))?;
        Ok((Vec::new(), active, offset))
    }

    pub(super) fn size_of(&self, files: &SegmentFiles, kind: SegmentFileKind) -> StorageResult<u64> {
        let path = files.path_of(kind);
        match self.directory.env.disk.metadata(&path) {
            Ok(metadata) => Ok(metadata.len),
            Err(error) => Err(StorageError::io("opening", &path, &error)),
        }
    }

    /// The numbers of entries of both indexes, unless one is missing or cannot be right (`OffsetIndex.sanityCheck`).
    fn indexes_are_sane(
        &self,
        files: &SegmentFiles,
        size: u64,
        listing: &Listing,
    ) -> StorageResult<Option<(usize, usize)>> {
        let base_offset = files.base_offset();
        let has_both = listing.offset_indexes.binary_search(&base_offset).is_ok()
            && listing.time_indexes.binary_search(&base_offset).is_ok();
        if !has_both {
            return Ok((size == 0).then_some((0, 0)));
        }
        let offset_bytes = self.size_of(files, SegmentFileKind::OffsetIndex)?;
        let time_bytes = self.size_of(files, SegmentFileKind::TimeIndex)?;
        if offset_bytes % 8 != 0 || time_bytes % 12 != 0 {
            return Ok(None);
        }
        let counts = ((offset_bytes / 8) as usize, (time_bytes / 12) as usize);
        let sane = self.last_offset_entry(files, counts.0)?.is_none_or(|entry| {
            entry.relative_offset >= 0 && u64::from(entry.position) < size && (entry.position > 0 || counts.0 == 1)
        }) && self
            .last_time_entry(files, counts.1)?
            .is_none_or(|entry| entry.timestamp >= 0 && entry.relative_offset >= 0);
        Ok(sane.then_some(counts))
    }

    fn last_offset_entry(&self, files: &SegmentFiles, count: usize) -> StorageResult<Option<OffsetEntry>> {
        let Some(last) = count.checked_sub(1) else { return Ok(None) };
        let kind = SegmentFileKind::OffsetIndex;
        let entry = files.existing(kind).and_then(|file| read_entry(&*file, last));
        entry.map(Some).map_err(|error| files.read_error(kind, &error))
    }

    fn last_time_entry(&self, files: &SegmentFiles, count: usize) -> StorageResult<Option<TimeEntry>> {
        let Some(last) = count.checked_sub(1) else { return Ok(None) };
        let kind = SegmentFileKind::TimeIndex;
        let entry = files.existing(kind).and_then(|file| read_entry(&*file, last));
        entry.map(Some).map_err(|error| files.read_error(kind, &error))
    }

    /// The last segment after a clean stop: only what stands behind its last index entry is read. `None`: it needs recovery.
    fn open_active(&mut self, files: &SegmentFiles, listing: &Listing) -> StorageResult<Option<(ActiveSegment, i64)>> {
        let size = self.size_of(files, SegmentFileKind::Log)?;
        let base_offset = files.base_offset();
        let mut active = ActiveSegment::empty(files.clone(), self.now_ms);
        if size == 0 {
            return Ok(Some((active, base_offset)));
        }
        let Some((offset_entries, time_entries)) = self.indexes_are_sane(files, size, listing)? else {
            return Ok(None);
        };
        let last_offset = self.last_offset_entry(files, offset_entries)?;
        let last_time = self.last_time_entry(files, time_entries)?;
        active.offset_index = SparseIndex::reopened(offset_entries, last_offset);
        active.time_index = SparseIndex::reopened(time_entries, last_time);
        active.largest_timestamp = largest_timestamp(base_offset, last_time);
        let read_failure = |error: io::Error| files.read_error(SegmentFileKind::Log, &error);
        let log = files.existing(SegmentFileKind::Log).map_err(read_failure)?;
        let start = last_offset.map_or(0, |entry| u64::from(entry.position));
        // With checksums: where the log ends and what the next record's offset is, only these headers say.
        let mut scanner = WholeBatchScanner::new(log, start, size);
        let mut end_offset = base_offset;
        let mut indexed = last_offset.map(|entry| base_offset + i64::from(entry.relative_offset));
        loop {
            match scanner.next().map_err(read_failure)? {
                Ok(Some((_, header, _))) => {
                    let fits = match indexed.take() {
                        Some(indexed) => header.last_offset() == indexed,
                        None => {
                            header.base_offset == end_offset
                                || header.base_offset > end_offset && self.options.compacted
                        }
                    };
                    if !fits {
                        return Ok(None);
                    }
                    end_offset = header.next_offset();
                    if header.max_timestamp > active.largest_timestamp.timestamp {
                        active.largest_timestamp =
                            TimestampOffset { timestamp: header.max_timestamp, offset: header.last_offset() };
                    }
                }
                Ok(None) => break,
                Err(_) => return Ok(None),
            }
        }
        active.size = size;
        if listing.transaction_indexes.binary_search(&base_offset).is_ok() {
            match self.transaction_entries(files, end_offset)? {
                Some(entries) => active.aborted_entries = entries,
                None => self.transactions_from = Some(base_offset),
            }
        } else if listing.has_aborted(base_offset) {
            self.transactions_from = Some(base_offset);
        }
        active.inherited = size;
        files.close();
        Ok(Some((active, end_offset)))
    }

    /// The number of entries of the active segment's transaction index; `None` if it cannot be right.
    fn transaction_entries(&self, files: &SegmentFiles, end_offset: i64) -> StorageResult<Option<usize>> {
        let kind = SegmentFileKind::TransactionIndex;
        let entries = files.existing(kind).and_then(|file| {
            let entries = read_entries(&file, files.base_offset(), end_offset)?;
            Ok(entries.zip(seal_fits(files)?.then_some(())))
        });
        Ok(entries.map_err(|error| files.read_error(kind, &error))?.map(|(entries, ())| entries.len()))
    }

    /// The last index entry before the recovery point, if both indexes can be trusted up to there.
    fn recovery_start(&self, files: &SegmentFiles, listing: &Listing) -> StorageResult<Option<RecoveryStart>> {
        let base_offset = files.base_offset();
        let size = self.size_of(files, SegmentFileKind::Log)?;
        let Some((offset_entries, time_entries)) = self.indexes_are_sane(files, size, listing)? else {
            return Ok(None);
        };
        if offset_entries == 0 {
            return Ok(None);
        }
        let read_failure = |error: io::Error| StorageError::io("reading", &self.at, &error);
        let index = files.existing(SegmentFileKind::OffsetIndex).map_err(read_failure)?;
        let before = self.options.recovery_point - base_offset;
        let below = |entry: &OffsetEntry| i64::from(entry.relative_offset) < before;
        let offset_entries = partition_on_disk(&index, offset_entries, below).map_err(read_failure)?;
        let Some(last) = offset_entries.checked_sub(1) else { return Ok(None) };
        let offset_entry: OffsetEntry = read_entry(&*index, last).map_err(read_failure)?;
        let log = files.existing(SegmentFileKind::Log).map_err(read_failure)?;
        let header = read_header(&*log, u64::from(offset_entry.position)).map_err(read_failure)?;
        let entry_offset = base_offset + i64::from(offset_entry.relative_offset);
        if header.is_none_or(|header| header.last_offset() != entry_offset) {
            return Ok(None);
        }
        let index = files.existing(SegmentFileKind::TimeIndex).map_err(read_failure)?;
        let below = |entry: &TimeEntry| entry.relative_offset <= offset_entry.relative_offset;
        let time_entries = partition_on_disk(&index, time_entries, below).map_err(read_failure)?;
        let time_entry = self.last_time_entry(files, time_entries)?;
        Ok(Some(RecoveryStart { offset_entries, offset_entry, time_entries, time_entry }))
    }
}

pub(super) fn largest_timestamp(base_offset: i64, entry: Option<TimeEntry>) -> TimestampOffset {
    entry.map_or(TimestampOffset { timestamp: NO_TIMESTAMP, offset: base_offset }, |entry| TimestampOffset {
        timestamp: entry.timestamp,
        offset: base_offset + i64::from(entry.relative_offset),
    })
}
