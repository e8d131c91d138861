//! Opening and recovering segments.

use std::io;

use super::{Listing, Loader};
use crate::record::BatchHeader;
use crate::storage::batch_scan::{BatchScanner, Scanned, WholeBatchScanner};
use crate::storage::checkpoint::EpochEntry;
use crate::storage::log::{index_interval_bytes, preallocated_bytes};
use crate::storage::segment::{ActiveSegment, SealedSegment, TimestampOffset, read_header};
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles, is_not_found};
use crate::storage::sparse_index::{OffsetEntry, SparseIndex, TimeEntry, partition_on_disk, read_entry};
use crate::storage::transaction_index::read_entries;
use crate::storage::{StorageError, StorageResult};
use crate::types::NO_TIMESTAMP;

/// Where the recovery of a segment begins: behind what the recovery point vouches for.
pub(super) struct RecoveryStart {
    offset_entries: usize,
    offset_entry: OffsetEntry,
    time_entries: usize,
    time_entry: Option<TimeEntry>,
}

impl Loader<'_> {
    /// Opens all segments, recovering those at and behind the recovery point; gives them and the log end offset.
    pub(super) fn load_segments(
        &mut self,
        listing: &mut Listing,
    ) -> StorageResult<(Vec<SealedSegment>, ActiveSegment, i64)> {
        let Some(last) = listing.segments.last().copied() else {
            return self.first_segment(self.options.log_start_offset.max(0));
        };
        let recover_from = if self.options.clean_shutdown {
            listing.segments.len()
        } else {
            let above = listing.segments.partition_point(|base| *base <= self.options.recovery_point);
            above.saturating_sub(1)
        };
        let mut sealed = Vec::new();
        for (index, base_offset) in listing.segments.iter().copied().enumerate() {
            let next = listing.segments.get(index + 1).copied();
            if index < recover_from && next.is_some() {
                // Trusted; its size and its indexes are looked at when they are first used.
                sealed.push(SealedSegment::listed(
                    base_offset,
                    listing.transaction_indexes.binary_search(&base_offset).is_ok(),
                ));
                continue;
            }
            let files = self.files(base_offset);
            if index < recover_from
                && let Some((active, end_offset)) = self.open_active(&files, listing)?
            {
                return Ok((sealed, active, end_offset));
            }
            let start = if index == recover_from { self.recovery_start(&files, listing)? } else { None };
            if listing.transaction_indexes.binary_search(&base_offset).is_ok() {
                self.transactions_from.get_or_insert(base_offset);
            }
            let (mut active, end_offset, cut) = self.recover_segment(files, start)?;
            self.changed |= next.is_some();
            if next.is_some_and(|next| next != end_offset) {
                self.first_hole.get_or_insert(end_offset);
            }
            if !cut && next.is_some() {
                let segment = active.seal();
                sealed.push(segment.map_err(|error| active.files.write_error(SegmentFileKind::OffsetIndex, &error))?);
                continue;
            }
            for later in &listing.segments[index + 1..] {
                tracing::warn!("{}: removing segment {later} behind a damaged one", self.at.display());
                self.remove_segment(*later)?;
            }
            return Ok((sealed, active, end_offset));
        }
        // Not reached: the last segment always returns.
        self.first_segment(last)
    }

    pub(super) fn first_segment(&mut self, offset: i64) -> StorageResult<(Vec<SealedSegment>, ActiveSegment, i64)> {
        let files = self.files(offset);
        let active = ActiveSegment::create(files.clone(), self.now_ms, preallocated_bytes(&self.options.config));
        files.close();
        let active = active.map_err(|error| files.write_error(SegmentFileKind::Log, &error))?;
        Ok((Vec::new(), active, offset))
    }

    fn size_of(&self, files: &SegmentFiles, kind: SegmentFileKind) -> StorageResult<u64> {
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
        let mut scanner = BatchScanner::new(log, start, size);
        let mut end_offset = base_offset;
        loop {
            match scanner.next().map_err(read_failure)? {
                Scanned::Batch { header, .. } => {
                    end_offset = header.next_offset();
                    if header.max_timestamp > active.largest_timestamp.timestamp {
                        active.largest_timestamp =
                            TimestampOffset { timestamp: header.max_timestamp, offset: header.last_offset() };
                    }
                }
                Scanned::End => break,
                Scanned::Broken { .. } => return Ok(None),
            }
        }
        active.size = size;
        if listing.transaction_indexes.binary_search(&base_offset).is_ok() {
            match self.transaction_entries(files, end_offset)? {
                Some(entries) => active.aborted_entries = entries,
                None => self.transactions_from = Some(base_offset),
            }
        }
        files.close();
        Ok(Some((active, end_offset)))
    }

    /// The number of entries of the active segment's transaction index; `None` if it cannot be right.
    fn transaction_entries(&self, files: &SegmentFiles, end_offset: i64) -> StorageResult<Option<usize>> {
        let kind = SegmentFileKind::TransactionIndex;
        let entries = files.existing(kind).and_then(|file| read_entries(&file, files.base_offset(), end_offset));
        Ok(entries.map_err(|error| files.read_error(kind, &error))?.map(|entries| entries.len()))
    }

    /// Reads a segment with checksums from the recovery point on, rebuilds its indexes from there and cuts it at the first invalid
    /// batch. Gives the segment, the offset after it, and whether it is damaged.
    pub(super) fn recover_segment(
        &mut self,
        files: SegmentFiles,
        recovery_start: Option<RecoveryStart>,
    ) -> StorageResult<(ActiveSegment, i64, bool)> {
        let kind = SegmentFileKind::Log;
        let size = self.size_of(&files, kind)?;
        let interval = index_interval_bytes(&self.options.config);
        let log = files.existing(kind).map_err(|error| files.read_error(kind, &error))?;
        let mut active = ActiveSegment::empty(files.clone(), self.now_ms);
        if let Some(start) = &recovery_start {
            active.size = u64::from(start.offset_entry.position);
            active.offset_index = SparseIndex::reopened(start.offset_entries, Some(start.offset_entry));
            active.time_index = SparseIndex::reopened(start.time_entries, start.time_entry);
            active.largest_timestamp = largest_timestamp(files.base_offset(), start.time_entry);
        }
        let mut end_offset = files.base_offset();
        let mut scanner = WholeBatchScanner::new(log.clone(), active.size, size);
        let broken = loop {
            match scanner.next().map_err(|error| files.read_error(kind, &error))? {
                Ok(None) => break None,
                Ok(Some((_, header, _)))
                    if header.base_offset < end_offset || !active.can_hold(header.last_offset()) =>
                {
                    break Some(format!("offset {} after offset {}", header.base_offset, end_offset - 1));
                }
                Ok(Some((position, header, _))) => {
                    if header.is_control() && header.has_producer_id() {
                        self.transactions_from.get_or_insert(files.base_offset());
                    }
                    active.note(&header, position, interval);
                    active.size = position + header.size_in_bytes() as u64;
                    end_offset = header.next_offset();
                    self.note_epoch(&header);
                }
                Err(reason) => break Some(reason),
            }
        };
        if let Some(reason) = &broken {
            let path = files.path_of(kind);
            tracing::warn!("{}: {reason}; cutting {} of {size} bytes", path.display(), size - active.size);
            log.set_len(active.size).map_err(|error| files.write_error(kind, &error))?;
            self.changed = true;
        }
        let kept = recovery_start.map_or((0, 0), |start| (start.offset_entries, start.time_entries));
        cut_index(&files, SegmentFileKind::OffsetIndex, kept.0 * 8)?;
        cut_index(&files, SegmentFileKind::TimeIndex, kept.1 * 12)?;
        files.close();
        Ok((active, end_offset, broken.is_some()))
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

    fn note_epoch(&mut self, header: &BatchHeader) {
        let epoch = header.partition_leader_epoch;
        if epoch > self.found_epochs.last().map_or(-1, |entry| entry.epoch) {
            self.found_epochs.push(EpochEntry { epoch, start_offset: header.base_offset });
        }
    }
}

fn largest_timestamp(base_offset: i64, entry: Option<TimeEntry>) -> TimestampOffset {
    entry.map_or(TimestampOffset { timestamp: NO_TIMESTAMP, offset: base_offset }, |entry| TimestampOffset {
        timestamp: entry.timestamp,
        offset: base_offset + i64::from(entry.relative_offset),
    })
}

/// Cuts an index file to what is known to be right.
fn cut_index(files: &SegmentFiles, kind: SegmentFileKind, bytes: usize) -> StorageResult<()> {
    let index = match files.existing(kind) {
        Ok(index) => index,
        Err(error) if is_not_found(&error) => return Ok(()),
        Err(error) => return Err(files.read_error(kind, &error)),
    };
    if index.size().map_err(|error| files.read_error(kind, &error))? != bytes as u64 {
        index.set_len(bytes as u64).map_err(|error| files.write_error(kind, &error))?;
    }
    Ok(())
}
