//! Offsets by timestamp (ListOffsets).

use super::indexes::Lookups;
use super::read::{SearchPlan, TimestampAndOffset};
use super::{Log, LogState};
use crate::record::{BatchHeader, DEFAULT_DECOMPRESSED_LIMIT, records};
use crate::storage::StorageResult;
use crate::storage::batch_scan::{BatchScanner, Scanned};
use crate::storage::segment::IndexState;
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles};
use crate::storage::sparse_index::{Floor, TimeEntry, floor_on_disk};

impl Log {
    /// The first record whose timestamp is not below `timestamp` (`fetchOffsetByTimestamp`); `None` if there is none.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> StorageResult<Option<TimestampAndOffset>> {
        let mut from_offset = i64::MIN;
        loop {
            let found = self.with_indexes(|state| {
                let (mut index, mut lookups) = (0, Lookups::default());
                while index <= state.sealed.len() {
                    let end = if index < state.sealed.len() { state.next_base_offset(index) } else { i64::MAX };
                    // What ends before the start of the log is no part of it, though its files may be there still.
                    if end > state.log_start_offset.max(from_offset) {
                        match self.largest_timestamp(state, index, &mut lookups)? {
                            Err(unready) => return Ok(Err(unready)),
                            Ok(largest) if largest.timestamp >= timestamp => break,
                            Ok(_) => {}
                        }
                    }
                    index += 1;
                }
                if index > state.sealed.len() || state.log_end_offset == state.log_start_offset {
                    return Ok(Ok(None));
                }
                let from = self.time_index_floor(state, index, timestamp)?.max(state.log_start_offset);
                Ok(Ok(Some((self.plan_search(state, from)?, state.log_start_offset))))
            })?;
            let Some((plan, log_start_offset)) = found else { return Ok(None) };
            let wanted = |record_timestamp, offset| record_timestamp >= timestamp && offset >= log_start_offset;
            if let Some((position, _)) = plan.locate(plan.search_offset)?
                && let Some(found) = self.first_record(&plan, position, timestamp, wanted)?
            {
                return Ok(Some(found));
            }
            // Its newest records lie below the start of the log: later segments may still have what is looked for.
            let Some(next) = plan.next_base_offset else { return Ok(None) };
            from_offset = next;
        }
    }

    /// The first record that has the largest timestamp of the log; `None` if no record has a timestamp.
    pub fn max_timestamp_offset(&self) -> StorageResult<Option<TimestampAndOffset>> {
        let (mut largest, first_segment, log_start_offset) = self.with_indexes(|state| {
            let (mut largest, mut lookups) = (None, Lookups::default());
            let mut first_segment = None;
            for index in 0..=state.sealed.len() {
                let candidate = match self.largest_timestamp(state, index, &mut lookups)? {
                    Ok(candidate) => candidate,
                    Err(unready) => return Ok(Err(unready)),
                };
                if candidate.timestamp < 0 || candidate.offset < 0 || candidate.offset >= state.log_end_offset {
                    continue;
                }
                let end = if index < state.sealed.len() { state.next_base_offset(index) } else { state.log_end_offset };
                if candidate.offset < state.log_start_offset {
                    // The record is below the start of the log, others of its segment may not be.
                    if end > state.log_start_offset {
                        first_segment = Some(self.plan_search(state, state.log_start_offset)?);
                    }
                } else if largest.is_none_or(|(timestamp, _)| candidate.timestamp > timestamp) {
                    largest = Some((candidate.timestamp, candidate.offset));
                }
            }
            let plan = largest.map(|(timestamp, offset)| Ok((self.plan_search(state, offset)?, timestamp)));
            Ok(Ok((plan.transpose()?, first_segment, state.log_start_offset)))
        })?;
        if let Some(plan) = first_segment
            && let Some(timestamp) = self.largest_timestamp_from(&plan)?
            && largest.as_ref().is_none_or(|(_, known)| timestamp >= *known)
        {
            largest = Some((plan, timestamp));
        }
        let Some((plan, timestamp)) = largest else { return Ok(None) };
        let Some((position, _)) = plan.locate(plan.search_offset)? else { return Ok(None) };
        self.first_record(&plan, position, timestamp, |record_timestamp, offset| {
            record_timestamp == timestamp && offset >= log_start_offset
        })
    }

    /// The largest timestamp of the batches from a plan's offset to the end of its segment.
    fn largest_timestamp_from(&self, plan: &SearchPlan) -> StorageResult<Option<i64>> {
        let Some((position, _)) = plan.locate(plan.search_offset)? else { return Ok(None) };
        let failure = |error: std::io::Error| plan.files.read_error(SegmentFileKind::Log, &error);
        let mut scanner = BatchScanner::new(plan.log.clone(), position, plan.size);
        let mut largest = None;
        while let Scanned::Batch { header, .. } = scanner.next().map_err(failure)? {
            largest = largest.max(Some(header.max_timestamp).filter(|timestamp| *timestamp >= 0));
        }
        Ok(largest)
    }

    /// The offset in a segment's time index that a search for `timestamp` may start from.
    fn time_index_floor(&self, state: &LogState, index: usize, timestamp: i64) -> StorageResult<i64> {
        // Entries say "up to this offset nothing is newer": the wanted record stands behind entries below the timestamp.
        let key = timestamp.saturating_sub(1);
        let (files, entry) = match state.sealed.get(index) {
            Some(segment) if segment.indexes() == IndexState::Unusable => (state.sealed_files(index), None),
            Some(_) => {
                let files = state.sealed_files(index);
                let entry = time_floor_on_disk(&files, usize::MAX, key)?;
                (files, entry)
            }
            None => {
                let files = state.active.files.clone();
                match state.active.time_index.floor(key) {
                    Floor::Known(entry) => (files, entry),
                    Floor::OnDisk(count) => {
                        let entry = time_floor_on_disk(&files, count, key)?;
                        (files, entry)
                    }
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

fn time_floor_on_disk(files: &SegmentFiles, limit: usize, key: i64) -> StorageResult<Option<TimeEntry>> {
    let kind = SegmentFileKind::TimeIndex;
    let entry = match files.existing(kind) {
        Ok(file) => file.size().and_then(|size| floor_on_disk(&file, limit.min(size as usize / 12), key)),
        // Without an index the search starts at the first batch.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    entry.map_err(|error| files.read_error(kind, &error))
}
