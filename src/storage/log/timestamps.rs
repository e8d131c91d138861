//! Offsets by timestamp (ListOffsets).

use std::sync::Arc;

use super::read::{SearchPlan, TimestampAndOffset};
use super::{Log, LogState};
use crate::record::{BatchHeader, DEFAULT_DECOMPRESSED_LIMIT, records};
use crate::storage::StorageResult;
use crate::storage::batch_scan::{BatchScanner, Scanned};
use crate::storage::segment::SealedSegment;
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles};
use crate::storage::sparse_index::{Floor, TimeEntry, floor_on_disk};

impl Log {
    /// The first record whose timestamp is not below `timestamp` (`fetchOffsetByTimestamp`); `None` if there is none.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> StorageResult<Option<TimestampAndOffset>> {
        let (plan, log_start_offset) = {
            let mut state = self.lock();
            self.check_usable(&state)?;
            let mut index = 0;
            while index <= state.sealed.len() && self.largest_timestamp(&mut state, index)?.timestamp < timestamp {
                index += 1;
            }
            if index > state.sealed.len() || state.log_end_offset == state.log_start_offset {
                return Ok(None);
            }
            let from = self.time_index_floor(&state, index, timestamp)?.max(state.log_start_offset);
            (self.plan_search(&state, from)?, state.log_start_offset)
        };
        let from = plan.search_offset;
        let Some((position, _)) = plan.locate(from)? else { return Ok(None) };
        self.first_record(&plan, position, timestamp, |record_timestamp, offset| {
            record_timestamp >= timestamp && offset >= log_start_offset
        })
    }

    /// The first record that has the largest timestamp of the log; `None` if no record has a timestamp.
    pub fn max_timestamp_offset(&self) -> StorageResult<Option<TimestampAndOffset>> {
        let (plan, timestamp) = {
            let mut state = self.lock();
            self.check_usable(&state)?;
            let mut largest = None;
            for index in 0..=state.sealed.len() {
                let candidate = self.largest_timestamp(&mut state, index)?;
                let is_known = candidate.offset >= state.log_start_offset && candidate.timestamp >= 0;
                if is_known && largest.is_none_or(|(timestamp, _)| candidate.timestamp > timestamp) {
                    largest = Some((candidate.timestamp, candidate.offset));
                }
            }
            let Some((timestamp, offset)) = largest else { return Ok(None) };
            if offset >= state.log_end_offset {
                return Ok(None);
            }
            (self.plan_search(&state, offset)?, timestamp)
        };
        let Some((position, _)) = plan.locate(plan.search_offset)? else { return Ok(None) };
        self.first_record(&plan, position, timestamp, |record_timestamp, _| record_timestamp == timestamp)
    }

    /// The offset in a segment's time index that a search for `timestamp` may start from.
    fn time_index_floor(&self, state: &LogState, index: usize, timestamp: i64) -> StorageResult<i64> {
        // Entries say "up to this offset nothing is newer": the wanted record stands behind entries below the timestamp.
        let key = timestamp.saturating_sub(1);
        let (files, entry) = match state.sealed.get(index) {
            Some(SealedSegment { files, .. }) => (files, time_floor_on_disk(files, usize::MAX, key)?),
            None => {
                let files = &state.active.files;
                match state.active.time_index.floor(key) {
                    Floor::Known(entry) => (files, entry),
                    Floor::OnDisk(count) => (files, time_floor_on_disk(files, count, key)?),
                }
            }
        };
        Ok(files.base_offset() + entry.map_or(0, |entry| i64::from(entry.relative_offset)))
    }

    /// The first record from a position on that is `wanted`, looking only into batches that reach `timestamp`.
    fn first_record(
        &self,
        plan: &SearchPlan,
        position: u64,
        timestamp: i64,
        wanted: impl Fn(i64, i64) -> bool,
    ) -> StorageResult<Option<TimestampAndOffset>> {
        let failure = |error: std::io::Error| plan.files.read_error(SegmentFileKind::Log, &error);
        let mut scanner = BatchScanner::new(plan.log.clone(), position, plan.size);
        loop {
            match scanner.next().map_err(failure)? {
                Scanned::Batch { position, header } if header.max_timestamp >= timestamp => {
                    if let Some(found) = self.first_record_in(plan, position, &header, &wanted)? {
                        return Ok(Some(found));
                    }
                }
                Scanned::Batch { .. } => {}
                Scanned::End => return Ok(None),
                Scanned::Broken { position, reason } => {
                    return Err(self.corrupt(format!("no batch at position {position}: {reason}")));
                }
            }
        }
    }

    fn first_record_in(
        &self,
        plan: &SearchPlan,
        position: u64,
        header: &BatchHeader,
        wanted: impl Fn(i64, i64) -> bool,
    ) -> StorageResult<Option<TimestampAndOffset>> {
        let mut batch = vec![0; header.size_in_bytes()];
        plan.log
            .read_exact_at(&mut batch, position)
            .map_err(|error| plan.files.read_error(SegmentFileKind::Log, &error))?;
        let records = records(&batch, DEFAULT_DECOMPRESSED_LIMIT).map_err(|error| self.corrupt(error.to_string()))?;
        for record in records.iter() {
            let record = record.map_err(|error| self.corrupt(error.to_string()))?;
            if wanted(record.timestamp, record.offset) {
                return Ok(Some(TimestampAndOffset {
                    timestamp: record.timestamp,
                    offset: record.offset,
                    leader_epoch: header.partition_leader_epoch,
                }));
            }
        }
        Ok(None)
    }
}

fn time_floor_on_disk(files: &Arc<SegmentFiles>, limit: usize, key: i64) -> StorageResult<Option<TimeEntry>> {
    let kind = SegmentFileKind::TimeIndex;
    let entry = match files.existing(kind) {
        Ok(file) => file.size().and_then(|size| floor_on_disk(&file, limit.min(size as usize / 12), key)),
        // Without an index the search starts at the first batch.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    entry.map_err(|error| files.read_error(kind, &error))
}
