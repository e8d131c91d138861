//! Reading: which bytes of which file answer a fetch, and which offset has a timestamp.

use std::io;
use std::sync::Arc;

use super::continuity::{CheckedRange, Readable};
use super::{Log, LogState};
use crate::env::DiskFile;
use crate::record::BatchHeader;
use crate::storage::batch_scan::{BatchScanner, Scanned};
use crate::storage::log::state::OffsetPosition;
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles};
use crate::storage::sparse_index::{Floor, OffsetEntry, floor_on_disk};
use crate::storage::{StorageError, StorageResult};

/// How far a fetch may read (`FetchIsolation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchIsolation {
    /// To the end: followers.
    LogEnd,
    /// To the high watermark: consumers.
    HighWatermark,
    /// To the last stable offset: `read_committed` consumers.
    TransactionCommitted,
}

impl FetchIsolation {
    /// What a consumer's isolation level on the wire stands for; `None` for a level that there is not
    /// (`IsolationLevel.forId`).
    pub fn from_level(level: i8) -> Option<Self> {
        match level {
            0 => Some(Self::HighWatermark),
            1 => Some(Self::TransactionCommitted),
            _ => None,
        }
    }
}

/// A range of a file; the handle keeps it readable whatever happens to the log.
#[derive(Clone)]
pub struct FileSlice {
    /// The file.
    pub file: Arc<dyn DiskFile>,
    /// Where the range begins.
    pub position: u64,
    /// Its length in bytes.
    pub length: usize,
}

impl FileSlice {
    /// Reads the whole range into memory.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        self.file.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes)
    }
}

impl std::fmt::Debug for FileSlice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "FileSlice({}+{})", self.position, self.length)
    }
}

/// An aborted transaction in a fetched range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: i64,
    /// The transaction's first offset.
    pub first_offset: i64,
}

/// The answer to a read.
#[derive(Clone, Debug)]
pub struct FetchDataInfo {
    /// Batches, the first of which holds the fetch offset (and perhaps records before it); the last may be cut by `max_bytes`.
    /// `None`: nothing to send.
    pub records: Option<FileSlice>,
    /// There is a batch, but it is larger than `max_bytes` and at least one was not asked for.
    pub first_entry_incomplete: bool,
    /// The records are not in the last segment: the log goes on behind them, whatever their number.
    pub on_older_segment: bool,
    /// Aborted transactions that the range touches, for `TransactionCommitted`.
    pub aborted_transactions: Vec<AbortedTransaction>,
    /// The log's first offset at the time of the read.
    pub log_start_offset: i64,
    /// The high watermark at the time of the read.
    pub high_watermark: i64,
    /// The last stable offset at the time of the read.
    pub last_stable_offset: i64,
    /// The log's next offset at the time of the read.
    pub log_end_offset: i64,
}

/// A timestamp, the offset of the record that has it, and that record's leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampAndOffset {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The record's offset.
    pub offset: i64,
    /// The leader epoch of its batch; -1 if unknown.
    pub leader_epoch: i32,
}

/// Where to look for an offset in one segment; taken under the lock, used outside.
pub(in crate::storage) struct SearchPlan {
    /// What to look for.
    pub(super) search_offset: i64,
    pub(in crate::storage) files: SegmentFiles,
    pub(in crate::storage) log: Arc<dyn DiskFile>,
    /// A batch starts here, at or before the offset.
    start: SearchStart,
    /// Bytes of the segment.
    pub(in crate::storage) size: u64,
    /// First offset behind the segment; `None` for the active one.
    pub(super) next_base_offset: Option<i64>,
    /// [`LogState::replacements`] when the plan was made.
    pub(super) replacements: u64,
    /// The base offset of the segment, if its indexes are missing or wrong. The plan works without them, slowly.
    needs_indexes: Option<i64>,
    /// No batch of the segment ends behind this offset.
    pub(super) end_offset: i64,
    /// Bytes that another process wrote, or this one before it started anew.
    pub(super) inherited: u64,
    /// Those of them whose headers were looked at.
    pub(super) checked: CheckedRange,
}

/// What a search found.
pub(in crate::storage) struct Located {
    /// Where it began to read headers; the batch itself if it is one that this process appended.
    pub(super) start: u64,
    pub(in crate::storage) position: u64,
    pub(in crate::storage) batch_size: usize,
    /// The batch's header, if it had to be read.
    pub(super) header: Option<BatchHeader>,
    /// The index pointed elsewhere.
    index_is_wrong: bool,
}

enum SearchStart {
    /// The batch itself, by position and size: one of the newest.
    Found(u64, usize),
    /// An index entry; `None`: the segment's first batch.
    Entry(Option<OffsetEntry>),
    /// Among the first so many entries of the index file.
    Index(Option<(Arc<dyn DiskFile>, usize)>),
}

impl Log {
    /// Finds the batches from `fetch_offset` on, at most `max_bytes` of one segment, but at least one whole batch if
    /// `min_one_message`. Fails with `OffsetOutOfRange` before the log's start and behind its end; between the bound of
    /// `isolation` and the end the answer is empty.
    pub fn read(
        &self,
        fetch_offset: i64,
        max_bytes: usize,
        isolation: FetchIsolation,
        min_one_message: bool,
    ) -> StorageResult<FetchDataInfo> {
        let mut search_from = fetch_offset;
        loop {
            let (mut info, bound, plan) = {
                let state = self.lock();
                self.check_usable(&state)?;
                let info = snapshot(&state);
                if fetch_offset < state.log_start_offset || fetch_offset > state.log_end_offset {
                    return Err(self.out_of_range(&state, fetch_offset));
                }
                let bound = bound_of(&state, isolation);
                if search_from >= bound.offset || max_bytes == 0 && !min_one_message {
                    return Ok(info);
                }
                (info, bound, self.plan_search(&state, search_from)?)
            };
            if let Some(base_offset) = plan.needs_indexes {
                self.rebuild_indexes(base_offset)?;
                continue;
            }
            let Some(found) = self.find(&plan, search_from, max_bytes, bound, min_one_message)? else {
                // The rest of the segment is gone (compaction leaves such gaps): the next one has the offset.
                match plan.next_base_offset {
                    Some(next) => search_from = next,
                    None => return Ok(info),
                }
                continue;
            };
            let wanted = if min_one_message { max_bytes.max(found.batch_size) } else { max_bytes };
            info.first_entry_incomplete = wanted < found.batch_size;
            info.on_older_segment = plan.next_base_offset.is_some();
            let length = found.end.saturating_sub(found.position).min(wanted as u64) as usize;
            if length > 0 && !info.first_entry_incomplete {
                if isolation == FetchIsolation::TransactionCommitted {
                    match self.aborted_transactions(&plan, fetch_offset, found.position + length as u64)? {
                        Some(aborted) => info.aborted_transactions = aborted,
                        // The segment is another one by now.
                        None => continue,
                    }
                }
                info.records = Some(FileSlice { file: plan.log, position: found.position, length });
            }
            return Ok(info);
        }
    }

    /// The batch with an offset, and how far what follows it may be sent; `None` if the segment ends before.
    fn find(
        &self,
        plan: &SearchPlan,
        offset: i64,
        max_bytes: usize,
        bound: OffsetPosition,
        min_one_message: bool,
    ) -> StorageResult<Option<Readable>> {
        let limit = |position: u64, batch_size: usize| -> StorageResult<u64> {
            let end = self.bound_position(bound, plan)?.map_or(plan.size, |end| end.min(plan.size));
            let wanted = if min_one_message { max_bytes.max(batch_size) } else { max_bytes };
            Ok(end.min(position.saturating_add(wanted as u64)))
        };
        let located = match plan.search(offset)? {
            Ok(located) => located,
            // No header where one must be.
            Err(_) => return self.around_damage(plan, offset, limit(0, plan.size as usize)?).map(Some),
        };
        let Some(Located { start, position, batch_size, index_is_wrong, .. }) = located else {
            let start = plan.search_start(offset)?.map_or(0, |(start, _)| start);
            let nothing = Readable { position: plan.size, batch_size: 0, end: plan.size, is_damaged: false };
            let found = self.check_headers(plan, offset, start, nothing)?;
            return Ok((found.position < plan.size).then_some(found));
        };
        let wanted = Readable { position, batch_size, end: limit(position, batch_size)?, is_damaged: false };
        let found = self.check_headers(plan, offset, start, wanted)?;
        if index_is_wrong && !found.is_damaged && plan.next_base_offset.is_some() {
            self.rebuild_indexes(plan.files.base_offset())?;
        }
        Ok(Some(found))
    }

    /// Where the bound stands in the segment of `plan`; `None`: behind it.
    fn bound_position(&self, bound: OffsetPosition, plan: &SearchPlan) -> StorageResult<Option<u64>> {
        if let Some((segment, position)) = bound.position {
            return Ok((segment == plan.files.base_offset()).then_some(position));
        }
        if plan.next_base_offset.is_some_and(|next| next <= bound.offset) {
            return Ok(None);
        }
        let again = {
            let state = self.lock();
            self.plan_search(&state, bound.offset)?
        };
        if again.files.base_offset() != plan.files.base_offset() {
            return Ok(None);
        }
        Ok(again.locate(bound.offset)?.map(|(position, _)| position))
    }

    fn out_of_range(&self, state: &LogState, offset: i64) -> StorageError {
        StorageError::OffsetOutOfRange {
            topic_partition: self.topic_partition.clone(),
            offset,
            log_start_offset: state.log_start_offset,
            log_end_offset: state.log_end_offset,
        }
    }

    /// How to find the batch with `offset`, which is below the end of the log.
    pub(in crate::storage) fn plan_search(&self, state: &LogState, offset: i64) -> StorageResult<SearchPlan> {
        let Some(index) = state.sealed_index_for(offset) else {
            return plan_active(state, offset);
        };
        let files = state.sealed_files(index);
        let (usable, needs_indexes) = match self.use_indexes(state, index)? {
            Ok(usable) => (usable, None),
            Err(_) => (false, Some(files.base_offset())),
        };
        Ok(SearchPlan {
            search_offset: offset,
            log: open(&files, SegmentFileKind::Log)?,
            start: SearchStart::Index(if usable { open_index(&files, usize::MAX)? } else { None }),
            files,
            size: state.sealed_size(index)?,
            next_base_offset: Some(state.next_base_offset(index)),
            replacements: state.replacements,
            needs_indexes,
            end_offset: state.next_base_offset(index),
            inherited: state.sealed[index].inherited(),
            checked: state.sealed[index].checked().get(),
        })
    }
}

fn plan_active(state: &LogState, offset: i64) -> StorageResult<SearchPlan> {
    let active = &state.active;
    let log = open(&active.files, SegmentFileKind::Log)?;
    let start = match active.recent_batch(offset) {
        Some((position, size)) => SearchStart::Found(position, size),
        None => match active.offset_index.floor(offset - active.base_offset()) {
            Floor::Known(entry) => SearchStart::Entry(entry),
            Floor::OnDisk(count) => SearchStart::Index(open_index(&active.files, count)?),
        },
    };
    Ok(SearchPlan {
        search_offset: offset,
        files: active.files.clone(),
        log,
        start,
        size: active.size,
        next_base_offset: None,
        replacements: state.replacements,
        needs_indexes: None,
        end_offset: state.log_end_offset,
        inherited: active.inherited,
        checked: active.checked.get(),
    })
}

fn open(files: &SegmentFiles, kind: SegmentFileKind) -> StorageResult<Arc<dyn DiskFile>> {
    files.existing(kind).map_err(|error| files.read_error(kind, &error))
}

/// The index file and how many of its entries count; `None` if it is missing, which makes a search slow and not wrong.
fn open_index(files: &SegmentFiles, limit: usize) -> StorageResult<Option<(Arc<dyn DiskFile>, usize)>> {
    match files.existing(SegmentFileKind::OffsetIndex) {
        Ok(file) => Ok(Some((file, limit))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(files.read_error(SegmentFileKind::OffsetIndex, &error)),
    }
}

impl SearchPlan {
    /// Position and size of the first batch whose last offset is not below `offset`; `None` if the segment ends before.
    pub(in crate::storage) fn locate(&self, offset: i64) -> StorageResult<Option<(u64, usize)>> {
        Ok(self.locate_with_header(offset)?.map(|located| (located.position, located.batch_size)))
    }

    /// As [`SearchPlan::locate`], with what was learnt on the way.
    pub(super) fn locate_with_header(&self, offset: i64) -> StorageResult<Option<Located>> {
        self.search(offset)?.map_err(|reason| self.broken(&reason))
    }

    /// As [`SearchPlan::locate`]; the inner error says why there is no batch where one must be.
    fn search(&self, offset: i64) -> StorageResult<Result<Option<Located>, String>> {
        if let SearchStart::Found(position, batch_size) = self.start {
            let (start, header) = (position, None);
            return Ok(Ok(Some(Located { start, position, batch_size, header, index_is_wrong: false })));
        }
        let located = |start, found: Option<(u64, BatchHeader)>, index_is_wrong| {
            found.map(|(position, header)| {
                let batch_size = header.size_in_bytes();
                Located { start, position, batch_size, header: Some(header), index_is_wrong }
            })
        };
        let Some((start, indexed)) = self.search_start(offset)? else {
            return Ok(self.scan(0, None, offset)?.map(|found| located(0, found, false)));
        };
        match self.scan(start, Some(indexed), offset)? {
            Ok(found) => Ok(Ok(located(start, found, false))),
            // The index led astray, or what it points to is damaged: it is a cache, the log is the truth.
            Err(reason) => {
                let path = self.files.path_of(SegmentFileKind::OffsetIndex);
                tracing::warn!("{}: {reason}; scanning the segment", path.display());
                Ok(self.scan(0, None, offset)?.map(|found| located(0, found, true)))
            }
        }
    }

    /// The position that the index names for an offset, and the last offset of the batch there; `None`: the first batch.
    pub(super) fn search_start(&self, offset: i64) -> StorageResult<Option<(u64, i64)>> {
        let entry = match &self.start {
            SearchStart::Found(..) | SearchStart::Index(None) => None,
            SearchStart::Entry(entry) => *entry,
            SearchStart::Index(Some((index, limit))) => self.search_index(index, *limit, offset)?,
        };
        let base_offset = self.files.base_offset();
        let start = entry.map(|entry| (u64::from(entry.position), base_offset + i64::from(entry.relative_offset)));
        Ok(start.filter(|(position, _)| *position > 0))
    }

    fn broken(&self, reason: &str) -> StorageError {
        self.files.read_error(SegmentFileKind::Log, &io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    fn search_index(&self, index: &Arc<dyn DiskFile>, limit: usize, offset: i64) -> StorageResult<Option<OffsetEntry>> {
        let fail = |error: io::Error| self.files.read_error(SegmentFileKind::OffsetIndex, &error);
        let count = limit.min(index.size().map_err(fail)? as usize / 8);
        let relative = offset - self.files.base_offset();
        floor_on_disk::<OffsetEntry>(index, count, relative).map_err(fail)
    }

    /// Walks from `start`, where a batch must end at `indexed`; the inner error says why no batch could be read.
    fn scan(
        &self,
        start: u64,
        indexed: Option<i64>,
        offset: i64,
    ) -> StorageResult<Result<Option<(u64, BatchHeader)>, String>> {
        let mut scanner = BatchScanner::new(self.log.clone(), start, self.size);
        let mut expected = indexed;
        loop {
            match scanner.next().map_err(|error| self.files.read_error(SegmentFileKind::Log, &error))? {
                Scanned::Batch { position, header } => {
                    if let Some(expected) = expected.take()
                        && (header.last_offset() != expected || header.base_offset > offset)
                    {
                        let found = header.last_offset();
                        return Ok(Err(format!("offset {expected} points to offset {found} at position {start}")));
                    }
                    if header.last_offset() >= offset {
                        return Ok(Ok(Some((position, header))));
                    }
                }
                Scanned::End if expected.is_some() => {
                    return Ok(Err(format!("position {start} is behind the end")));
                }
                Scanned::End => return Ok(Ok(None)),
                Scanned::Broken { position, reason } => return Ok(Err(format!("no batch at {position}: {reason}"))),
            }
        }
    }
}

fn snapshot(state: &LogState) -> FetchDataInfo {
    FetchDataInfo {
        records: None,
        first_entry_incomplete: false,
        on_older_segment: false,
        aborted_transactions: Vec::new(),
        log_start_offset: state.log_start_offset,
        high_watermark: state.high_watermark.offset,
        last_stable_offset: state.last_stable_offset(),
        log_end_offset: state.log_end_offset,
    }
}

fn bound_of(state: &LogState, isolation: FetchIsolation) -> OffsetPosition {
    match isolation {
        FetchIsolation::LogEnd => state.end_position(),
        FetchIsolation::HighWatermark => state.high_watermark,
        FetchIsolation::TransactionCommitted => state.locate(state.last_stable_offset()),
    }
}
