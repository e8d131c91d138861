//! One cleaning of one log (`Cleaner.doClean`): keys into the map, then segments through the filter.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::cleaned_segment::{CleanedSegment, FinishedSegment, remove_cleaned};
use super::key_hash::KeyHasher;
use super::offset_map::{ENTRY_BYTES, OffsetMap};
use super::selection::{Cleanable, SegmentRange, SegmentSizes, group_segments};
use super::throttle::{Throttle, WAIT_SLICE};
use super::transactions::TransactionTracker;
use crate::env::block_on;
use crate::mutant;
use crate::record::{BatchHeader, BatchRetention, Record, RecordError, RetentionRules, records, retain};
use crate::storage::batch_scan::WholeBatchScanner;
use crate::storage::log::{CleanerSnapshot, LastRecord, Log, Replacement, decompressed_limit, index_interval_bytes};
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles, is_not_found};
use crate::storage::transaction_index::AbortedEntry;
use crate::storage::{StorageError, StorageResult};

/// Bytes read between two looks at whether the cleaning is still wanted.
const CHECK_EVERY_BYTES: u64 = 256 << 10;

/// How a cleaning ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Everything before this offset is clean.
    Cleaned(i64),
    /// The log was truncated, closed or reconfigured, or the broker stops: nothing is wrong, and nothing more was changed.
    Aborted,
}

/// Why a cleaning stopped.
#[derive(Debug)]
pub(super) enum Stop {
    Aborted,
    Failed(StorageError),
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        match error {
            // The next cleaning may find room.
            StorageError::LogClosed { .. } | StorageError::DiskFull { .. } => Self::Aborted,
            error => Self::Failed(error),
        }
    }
}

/// What a thread may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct CleaningLimits {
    pub(super) map_bytes: usize,
    pub(super) map_load_factor: f64,
    /// Of each of the two buffers.
    pub(super) io_buffer_bytes: usize,
    pub(super) bytes_per_second: f64,
}

/// What a cleaning did (`CleanerStats`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CleaningStats {
    pub(super) map_bytes_read: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    pub(super) records_read: u64,
    pub(super) records_written: u64,
    /// Records without a key, which a compacted log should not have; they are dropped.
    pub(super) invalid_records: u64,
    pub(super) map_utilization_percent: u64,
}

/// A cleaning under way.
pub(super) struct Cleaning<'a> {
    pub(super) log: &'a Arc<Log>,
    pub(super) snapshot: CleanerSnapshot,
    pub(super) cleanable: Cleanable,
    pub(super) limits: CleaningLimits,
    pub(super) throttle: &'a Throttle,
    /// Whether the broker stops.
    pub(super) is_stopping: &'a dyn Fn() -> bool,
    pub(super) now_ms: i64,
    pub(super) stats: CleaningStats,
    unchecked_bytes: u64,
}

impl<'a> Cleaning<'a> {
    pub(super) fn new(
        log: &'a Arc<Log>,
        snapshot: CleanerSnapshot,
        cleanable: Cleanable,
        limits: CleaningLimits,
        throttle: &'a Throttle,
        is_stopping: &'a dyn Fn() -> bool,
    ) -> Self {
        let now_ms = log.log_directory().env.clock.wall_millis();
        let stats = CleaningStats::default();
        Self { log, snapshot, cleanable, limits, throttle, is_stopping, now_ms, stats, unchecked_bytes: 0 }
    }

    /// Cleans what there is; blocks the thread. An error is the partition's trouble.
    pub(super) fn run(&mut self) -> StorageResult<Outcome> {
        match self.clean() {
            Ok(end_offset) => Ok(Outcome::Cleaned(end_offset)),
            Err(Stop::Aborted) => Ok(Outcome::Aborted),
            // What fails because the log is going away is no trouble.
            Err(Stop::Failed(_)) if !self.is_wanted() => Ok(Outcome::Aborted),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn clean(&mut self) -> Result<i64, Stop> {
        let aborted = self.log.all_aborted_transactions()?;
        let map = self.build_map(&aborted)?;
        self.stats.map_utilization_percent = map.utilization_percent();
        let end_offset = map.latest_offset() + 1;
        if end_offset <= self.cleanable.first_dirty_offset {
            let message = format!(
                "the batch at offset {} has more keys than fit into {} bytes of log.cleaner.dedupe.buffer.size",
                self.cleanable.first_dirty_offset, self.limits.map_bytes
            );
            return Err(Stop::Failed(self.log.corrupt(message)));
        }
        let mut tracker = TransactionTracker::default();
        let segments = self.snapshot.view.segments(0, end_offset).to_vec();
        let sizes = segments.iter().map(|segment| self.sizes_of(*segment)).collect::<StorageResult<Vec<_>>>()?;
        let config = &self.snapshot.config;
        let groups = group_segments(
            &sizes,
            u64::try_from(config.segment_bytes).unwrap_or(0),
            u64::try_from(config.segment_index_bytes).unwrap_or(0),
            self.cleanable.first_uncleanable_offset,
        );
        let mut rest = &segments[..];
        for count in groups {
            let (group, others) = rest.split_at(count);
            rest = others;
            self.clean_group(group, &map, &mut tracker, &aborted)?;
        }
        Ok(end_offset)
    }

    fn sizes_of(&self, segment: SegmentRange) -> StorageResult<SegmentSizes> {
        let files = self.log.segment_files(segment.base_offset);
        let size = |kind| match files.metadata(kind) {
            Ok(metadata) => metadata.len,
            // A missing index is rebuilt when it is needed, and takes no room in the cleaned one that its log does not.
            Err(_) => 0,
        };
        let (offset_index, time_index) = (size(SegmentFileKind::OffsetIndex), size(SegmentFileKind::TimeIndex));
        Ok(SegmentSizes { segment, offset_index, time_index })
    }

    /// Reads the keys of the dirty part, as much of it as fits (`buildOffsetMap`).
    fn build_map(&mut self, aborted: &[AbortedEntry]) -> Result<OffsetMap, Stop> {
        let (start, end) = (self.cleanable.first_dirty_offset, self.cleanable.first_uncleanable_offset);
        let random = &self.log.log_directory().env.random;
        let hasher = KeyHasher::new(random.next_u64(), random.next_u64());
        let dirty = self.snapshot.view.segments(start, end).to_vec();
        // No more keys than offsets, and none smaller than a record of a batch.
        let bytes: u64 = dirty.iter().map(|segment| segment.size).sum();
        let records = u64::try_from(end.saturating_sub(start)).unwrap_or(0);
        tracing::debug!("building the offset map of {}: {records} offsets, {bytes} bytes", self.log.topic_partition());
        let mut map = OffsetMap::new(hasher, records, self.limits.map_bytes, self.limits.map_load_factor);
        let mut tracker = TransactionTracker::default();
        tracker.add_aborted(touching(aborted, start, end));
        for (index, segment) in dirty.iter().enumerate() {
            let next_base_offset = dirty.get(index + 1).map_or(end, |next| next.base_offset);
            if !self.map_segment(segment, next_base_offset, &mut map, &mut tracker)? {
                break;
            }
        }
        Ok(map)
    }

    /// Reads the keys of one segment; false if the map is full.
    fn map_segment(
        &mut self,
        segment: &SegmentRange,
        next_base_offset: i64,
        map: &mut OffsetMap,
        tracker: &mut TransactionTracker,
    ) -> Result<bool, Stop> {
        let start = self.cleanable.first_dirty_offset;
        let limit = self.decompressed_limit();
        let (files, mut scanner) = self.scan(segment)?;
        while let Some((header, batch)) = next_batch(&files, &mut scanner)? {
            self.stats.map_bytes_read += batch.len() as u64;
            let discards = tracker.can_discard(&header, batch).map_err(|error| self.unreadable(&files, &error))?;
            if !discards && !header.is_control() && header.last_offset() >= start {
                let records = records(batch, limit).map_err(|error| self.unreadable(&files, &error))?;
                for record in &records {
                    let record = record.map_err(|error| self.unreadable(&files, &error))?;
                    if let Some(key) = record.key.filter(|_| record.offset >= start)
                        && !map.put(key, record.offset)
                    {
                        return Ok(false);
                    }
                }
            }
            if header.last_offset() >= start {
                map.update_latest_offset(header.last_offset());
            }
            self.account(batch.len() as u64)?;
        }
        // Offsets up to the next segment may be gone; they are clean too.
        map.update_latest_offset(next_base_offset - 1);
        Ok(true)
    }

    /// Copies what stays of neighbouring segments into one, and puts it in their place (`cleanSegments`).
    fn clean_group(
        &mut self,
        group: &[SegmentRange],
        map: &OffsetMap,
        tracker: &mut TransactionTracker,
        aborted: &[AbortedEntry],
    ) -> Result<(), Stop> {
        let Some(base_offset) = group.first().map(|segment| segment.base_offset) else { return Ok(()) };
        let directory = self.log.log_directory().clone();
        let files = self.log.segment_files(base_offset);
        let interval = index_interval_bytes(&self.snapshot.config);
        let written = CleanedSegment::create(&directory, files.clone(), self.limits.io_buffer_bytes, interval)
            .map_err(Stop::from)
            .and_then(|cleaned| self.fill(cleaned, group, map, tracker, aborted));
        let replaced = written.and_then(|finished| {
            let replacement = Replacement {
                base_offset,
                size: finished.size,
                largest_timestamp: finished.largest_timestamp,
                has_aborted: finished.has_aborted,
                old: group.iter().map(|segment| (segment.base_offset, segment.size)).collect(),
                end_offset: group.last().map_or(base_offset, |segment| segment.next_base_offset),
            };
            Ok(self.log.replace_segments(&replacement, self.snapshot.replacements)?)
        });
        match replaced {
            Ok(Some(replacements)) => {
                self.snapshot.replacements = replacements;
                Ok(())
            }
            other => {
                // Nobody looks at these files; the next cleaning or the next start removes what cannot be removed now.
                if !directory.is_offline() && self.is_wanted() {
                    remove_cleaned(&directory, &files)?;
                }
                other.map(|_| ()).and(Err(Stop::Aborted))
            }
        }
    }

    fn fill(
        &mut self,
        mut cleaned: CleanedSegment,
        group: &[SegmentRange],
        map: &OffsetMap,
        tracker: &mut TransactionTracker,
        aborted: &[AbortedEntry],
    ) -> Result<FinishedSegment, Stop> {
        let last_records = self.log.last_records_of_active_producers();
        for segment in group {
            tracker.add_aborted(touching(aborted, segment.base_offset, segment.next_base_offset));
            let (files, mut scanner) = self.scan(segment)?;
            while let Some((header, batch)) = next_batch(&files, &mut scanner)? {
                let read = batch.len() as u64;
                let discards = tracker.can_discard(&header, batch).map_err(|error| self.unreadable(&files, &error))?;
                let retained = self.retain(&header, batch, discards, &last_records, map, cleaned.buffer());
                let retained = retained.map_err(|error| self.unreadable(&files, &error))?;
                let written = retained.map_or(0, |header| header.size_in_bytes() as u64);
                if let Some(header) = retained {
                    cleaned.note(&header)?;
                }
                self.stats.bytes_read += read;
                self.stats.bytes_written += written;
                self.account(read + written)?;
            }
            cleaned.add_aborted(tracker.take_retained());
        }
        let last = group.last().map(|segment| self.log.segment_files(segment.base_offset));
        let modified = last.and_then(|files| files.metadata(SegmentFileKind::Log).ok());
        Ok(cleaned.finish(modified.map(|metadata| metadata.modified_millis))?)
    }

    /// Appends to `output` what stays of a batch (`cleanInto`); the header of it.
    fn retain(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        discards: bool,
        last_records: &HashMap<i64, LastRecord>,
        map: &OffsetMap,
        output: &mut Vec<u8>,
    ) -> Result<Option<BatchHeader>, RecordError> {
        let horizon = header.delete_horizon_ms();
        let horizon_passed = horizon.is_some_and(|horizon| horizon <= self.now_ms);
        let discards_records = discards && (!header.is_control() || horizon_passed);
        let is_needed_by_producer =
            header.has_producer_id() && last_records.get(&header.producer_id).is_some_and(|last| last.is_in(header));
        let is_needed_by_producer = is_needed_by_producer && !mutant::is_active("forget-the-last-batch-of-a-producer");
        let retention = if is_needed_by_producer || header.next_offset() == self.cleanable.first_uncleanable_offset {
            // The last sequence number of a live producer, its epoch, or the last offset of what is cleaned.
            BatchRetention::RetainEmpty
        } else if discards_records {
            BatchRetention::Delete
        } else {
            BatchRetention::DeleteEmpty
        };
        let rules = RetentionRules {
            retention,
            marker_of_empty_transaction: discards && header.is_control(),
            new_delete_horizon_ms: self.now_ms.saturating_add(self.snapshot.config.delete_retention_ms),
            decompressed_limit: self.decompressed_limit(),
        };
        let mut invalid = 0;
        let keep = |record: &Record<'_>| {
            if discards_records {
                return false;
            }
            if header.is_control() || record.offset > map.latest_offset() {
                return true;
            }
            let Some(key) = record.key else {
                invalid += 1;
                return false;
            };
            let is_newest = map.get(key).is_none_or(|newest| record.offset >= newest);
            let is_forgotten = (horizon_passed || mutant::is_active("drop-tombstones-at-once"))
                && !mutant::is_active("keep-tombstones-for-ever");
            is_newest && (record.value.is_some() || !is_forgotten)
        };
        let retained = retain(batch, &rules, keep, output)?;
        self.stats.invalid_records += invalid;
        self.stats.records_read += retained.records_read as u64;
        self.stats.records_written += retained.records_retained as u64;
        Ok(retained.header)
    }

    fn decompressed_limit(&self) -> usize {
        decompressed_limit(&self.snapshot.config)
    }

    /// The batches of a segment, from its beginning. It is read apart from the handles that readers share.
    fn scan(&self, segment: &SegmentRange) -> Result<(SegmentFiles, WholeBatchScanner), Stop> {
        if !self.is_wanted() {
            return Err(Stop::Aborted);
        }
        let files = self.log.segment_files(segment.base_offset);
        let log = match files.open_apart(SegmentFileKind::Log) {
            // Retention took it, or the log is gone.
            Err(error) if is_not_found(&error) => return Err(Stop::Aborted),
            log => log.map_err(|error| files.read_error(SegmentFileKind::Log, &error))?,
        };
        let scanner = WholeBatchScanner::with_buffer(log, 0, segment.size, self.limits.io_buffer_bytes as u64);
        Ok((files, scanner))
    }

    fn unreadable(&self, files: &SegmentFiles, error: &RecordError) -> Stop {
        Stop::Failed(corrupt_segment(files, &error.to_string()))
    }

    /// Counts bytes, waits if there were too many, and looks now and then whether the cleaning is still wanted.
    fn account(&mut self, bytes: u64) -> Result<(), Stop> {
        self.unchecked_bytes += bytes;
        if self.unchecked_bytes < CHECK_EVERY_BYTES.min(self.limits.io_buffer_bytes as u64) {
            return Ok(());
        }
        let spent = std::mem::take(&mut self.unchecked_bytes);
        let clock = self.log.log_directory().env.clock.clone();
        let mut wait = self.throttle.spend(spent, self.limits.bytes_per_second, clock.monotonic());
        loop {
            if !self.is_wanted() {
                return Err(Stop::Aborted);
            }
            // Less than what the operating system can wait for is carried on.
            if wait < Duration::from_millis(1) {
                return Ok(());
            }
            let slice = wait.min(WAIT_SLICE);
            block_on(clock.sleep_until(clock.monotonic() + slice));
            wait -= slice;
        }
    }

    fn is_wanted(&self) -> bool {
        !(self.is_stopping)() && self.log.is_cleaning_wanted(self.snapshot.replacements)
    }
}

/// The next batch, whole and with the right checksum.
fn next_batch<'a>(
    files: &SegmentFiles,
    scanner: &'a mut WholeBatchScanner,
) -> Result<Option<(BatchHeader, &'a [u8])>, Stop> {
    match scanner.next().map_err(|error| files.read_error(SegmentFileKind::Log, &error))? {
        Ok(next) => Ok(next.map(|(_, header, batch)| (header, batch))),
        Err(reason) => Err(Stop::Failed(corrupt_segment(files, &reason))),
    }
}

fn corrupt_segment(files: &SegmentFiles, reason: &str) -> StorageError {
    files.read_error(SegmentFileKind::Log, &io::Error::new(io::ErrorKind::InvalidData, reason))
}

/// The aborted transactions of which something may lie in `from..to` (`collectAbortedTransactions`).
fn touching(aborted: &[AbortedEntry], from: i64, to: i64) -> impl Iterator<Item = AbortedEntry> {
    aborted.iter().filter(move |one| one.last_offset >= from && one.first_offset < to).copied()
}

/// A map for at least one key and an empty slot.
pub(super) const MAP_BYTES_MIN: usize = 2 * ENTRY_BYTES;
