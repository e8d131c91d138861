//! Offsets by timestamp (ListOffsets).

use super::continuity::Readable;
use super::indexes::{Lookups, Unready};
use super::read::{Located, SearchPlan, TimestampAndOffset};
use super::{Log, LogState, decompressed_limit};
use crate::record::{BatchHeader, CompressionType, check_crc, decompressed_estimate, records};
use crate::storage::StorageResult;
use crate::storage::batch_scan::{BatchScanner, Scanned};
use crate::storage::segment::{IndexState, read_header};
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles};
use crate::storage::sparse_index::{Floor, TimeEntry, floor_on_disk};

impl Log {
    /// The first record whose timestamp is not below `timestamp` (`fetchOffsetByTimestamp`); `None` if there is none. What it reads
    /// grows with the logarithm of the log's segments and of a segment's index entries.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> StorageResult<Option<TimestampAndOffset>> {
        let mut from_offset = i64::MIN;
        loop {
            let found = self.with_indexes(|state| {
                if state.log_end_offset == state.log_start_offset {
                    return Ok(Ok(None));
                }
                // What ends before the start of the log is no part of it, though its files may be there still.
                let index = match self.segment_reaching(state, timestamp, state.log_start_offset.max(from_offset))? {
                    Ok(Some(index)) => index,
                    Ok(None) => return Ok(Ok(None)),
                    Err(unready) => return Ok(Err(unready)),
                };
                let (indexed, newest) = self.time_index_floor(state, index, timestamp)?;
                let plan = self.plan_search(state, indexed.max(state.log_start_offset))?;
                // Where the search begins if the entry is wrong.
                let base_offset =
                    state.sealed.get(index).map_or(state.active.base_offset(), |sealed| sealed.base_offset());
                let whole = self.plan_search(state, base_offset.max(state.log_start_offset))?;
                Ok(Ok(Some((plan, newest, whole, state.log_start_offset))))
            })?;
            let Some((plan, newest, whole, log_start_offset)) = found else { return Ok(None) };
            let (plan, begin) = match begin_behind(&plan, newest)? {
                Some(begin) => (plan, begin),
                None => {
                    let begin = Begin::at(&whole)?;
                    (whole, begin)
                }
            };
            let wanted = |record_timestamp, offset| record_timestamp >= timestamp && offset >= log_start_offset;
            if let Some(begin) = begin
                && let Some(found) = self.first_record(&plan, begin, timestamp, wanted)?
            {
                return Ok(Some(found));
            }
            // Its newest records lie below the start of the log: later segments may still have what is looked for.
            let Some(next) = plan.next_base_offset else { return Ok(None) };
            from_offset = next;
        }
    }

    /// The number of the first segment that ends behind `start` and has a record of this time or a later one.
    fn segment_reaching(
        &self,
        state: &mut LogState,
        timestamp: i64,
        start: i64,
    ) -> StorageResult<Result<Option<usize>, Unready>> {
        let count = state.sealed.len();
        let first =
            if start >= state.active.base_offset() { count } else { state.sealed_index_for(start).unwrap_or(0) };
        let first_offset = state.sealed.get(first).map_or(state.active.base_offset(), |segment| segment.base_offset());
        let of = (first_offset, state.replacements);
        if state.largest_up_to.of != of {
            state.largest_up_to = LargestUpTo { of, timestamps: Vec::new() };
        }
        let mut lookups = Lookups::default();
        loop {
            let LargestUpTo { timestamps, .. } = &state.largest_up_to;
            let before = timestamps.last().copied();
            if before >= Some(timestamp) {
                return Ok(Ok(Some(first + timestamps.partition_point(|largest| *largest < timestamp))));
            }
            let index = first + timestamps.len();
            let largest = match self.largest_timestamp(state, index, &mut lookups)? {
                Ok(largest) => largest.timestamp,
                Err(unready) => return Ok(Err(unready)),
            };
            if index >= count {
                return Ok(Ok((largest >= timestamp).then_some(count)));
            }
            state.largest_up_to.timestamps.push(before.map_or(largest, |before| before.max(largest)));
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
        let Some(begin) = Begin::at(&plan)? else { return Ok(None) };
        self.first_record(&plan, begin, timestamp, |record_timestamp, offset| {
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

    /// The offset in a segment's time index that a search for `timestamp` may start from, and the entry that says so: its timestamp
    /// and offset.
    fn time_index_floor(
        &self,
        state: &LogState,
        index: usize,
        timestamp: i64,
    ) -> StorageResult<(i64, Option<(i64, i64)>)> {
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
        let base_offset = files.base_offset();
        let entry = entry.map(|entry| (entry.timestamp, base_offset + i64::from(entry.relative_offset)));
        Ok((entry.map_or(base_offset, |(_, offset)| offset), entry))
    }

    /// The first record that is `wanted`, looking only into batches that reach `timestamp`.
    fn first_record(
        &self,
        plan: &SearchPlan,
        Begin { start, position }: Begin,
        timestamp: i64,
        wanted: impl Fn(i64, i64) -> bool,
    ) -> StorageResult<Option<TimestampAndOffset>> {
        let failure = |error: std::io::Error| plan.files.read_error(SegmentFileKind::Log, &error);
        let mut scanner = BatchScanner::new(plan.log.clone(), position, plan.size);
        loop {
            match scanner.next().map_err(failure)? {
                Scanned::Batch { position, header } if header.max_timestamp >= timestamp => {
                    if let Some(found) = self.first_record_in(plan, position, &header, &wanted)? {
                        self.check_found(plan, start, position, position + header.size_in_bytes() as u64)?;
                        return Ok(Some(found));
                    }
                }
                // The timestamp by which it is passed over is covered by the checksum.
                Scanned::Batch { position, header } if position < plan.inherited => {
                    self.whole_batch(plan, position, &header)?;
                }
                Scanned::Batch { .. } => {}
                Scanned::End => {
                    self.check_found(plan, start, plan.size, plan.size)?;
                    return Ok(None);
                }
                Scanned::Broken { position, reason } => {
                    return Err(self.corrupt(format!("no batch at position {position}: {reason}")));
                }
            }
        }
    }

    /// Fails if the headers from `start` up to a batch that was found, or up to the end, are not right.
    fn check_found(&self, plan: &SearchPlan, start: u64, position: u64, end: u64) -> StorageResult<()> {
        let found = Readable { position, batch_size: 0, end, is_damaged: false };
        let checked = self.check_headers(plan, plan.search_offset, start, found)?;
        if checked.position == position {
            Ok(())
        } else {
            Err(self.corrupt("damaged batches stand before it".to_owned()))
        }
    }

    fn whole_batch(&self, plan: &SearchPlan, position: u64, header: &BatchHeader) -> StorageResult<Vec<u8>> {
        let mut batch = vec![0; header.size_in_bytes()];
        plan.log
            .read_exact_at(&mut batch, position)
            .map_err(|error| plan.files.read_error(SegmentFileKind::Log, &error))?;
        check_crc(&batch).map_err(|error| self.corrupt(format!("position {position}: {error}")))?;
        Ok(batch)
    }

    fn first_record_in(
        &self,
        plan: &SearchPlan,
        position: u64,
        header: &BatchHeader,
        wanted: impl Fn(i64, i64) -> bool,
    ) -> StorageResult<Option<TimestampAndOffset>> {
        let batch = self.whole_batch(plan, position, header)?;
        let limit = decompressed_limit(&self.config());
        let is_compressed = header.compression().is_ok_and(|codec| codec != CompressionType::None);
        let memory = self.directory.memory();
        let _held = is_compressed.then(|| memory.hold_work(decompressed_estimate(batch.len(), limit)));
        let records = records(&batch, limit).map_err(|error| self.corrupt(error.to_string()))?;
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

/// The largest timestamp of the sealed segments up to each, from one of them on, as far as anybody asked: it never falls, so that it
/// can be searched, where the timestamps themselves may go back and forth.
#[derive(Default)]
pub(in crate::storage) struct LargestUpTo {
    /// The first segment's base offset and [`LogState::replacements`]; where they differ the rest is of no use.
    of: (i64, u64),
    timestamps: Vec<i64>,
}

/// Where batches are looked into: at `position`, and it was found by way of the header at `start`.
struct Begin {
    start: u64,
    position: u64,
}

impl Begin {
    /// At the batch with the plan's offset; `None` if the segment ends before.
    fn at(plan: &SearchPlan) -> StorageResult<Option<Self>> {
        let located = plan.locate_with_header(plan.search_offset)?;
        Ok(located.map(|Located { start, position, .. }| Self { start, position }))
    }
}

/// Where a search goes on behind a time index entry, by its timestamp and offset; the outer `None` if the entry is wrong: the batch at its
/// offset must have its timestamp. Batches below the start of the log are not asked.
fn begin_behind(plan: &SearchPlan, newest: Option<(i64, i64)>) -> StorageResult<Option<Option<Begin>>> {
    let Some((timestamp, offset)) = newest.filter(|(_, offset)| *offset == plan.search_offset) else {
        return Begin::at(plan).map(Some);
    };
    let Some(Located { start, position, batch_size, header, .. }) = plan.locate_with_header(offset)? else {
        return Ok(None);
    };
    let header = match header {
        None => {
            read_header(&*plan.log, position).map_err(|error| plan.files.read_error(SegmentFileKind::Log, &error))?
        }
        known => known,
    };
    let holds = header.is_some_and(|header| header.max_timestamp == timestamp && header.last_offset() == offset);
    // Index and header agree that this batch is older than what is looked for: its checksum need not be read.
    Ok(holds.then_some(Some(Begin { start, position: position + batch_size as u64 })))
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
