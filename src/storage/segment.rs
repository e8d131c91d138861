//! One segment of a log: the sealed ones, which cost a few bytes each, and the one that is written (`LogSegment`).

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};

use super::StorageResult;
use super::log::CheckedRange;
use super::segment_files::{SegmentFileKind, SegmentFiles};
use super::sparse_index::{IndexEntry, OffsetEntry, SparseIndex, TimeEntry};
use super::transaction_index::{AbortedEntry, encode_entries, write_seal};
use crate::env::DiskFile;
use crate::mutant;
use crate::record::BatchHeader;
use crate::types::NO_TIMESTAMP;

/// Newest batches whose positions are remembered, so that readers at the tail need no search.
const RECENT_BATCHES_MAX: usize = 32;

/// The largest timestamp of a segment and the last offset of the batch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimestampOffset {
    pub(super) timestamp: i64,
    pub(super) offset: i64,
}

const UNKNOWN_SIZE: u64 = u64::MAX;

/// What is known of the indexes of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexState {
    /// Nobody has looked yet.
    Unknown,
    /// They can be used.
    Sound,
    /// They are missing or wrong, and could not be rebuilt: the log is read without them.
    Unusable,
}

/// A segment that is written no more. It costs these few bytes; what its files say is learnt when it is first needed, and its handles
/// are among the open files of the log directory.
pub(super) struct SealedSegment {
    base_offset: i64,
    size: Cell<u64>,
    indexes: Cell<IndexState>,
    /// Whether it has a transaction index.
    has_aborted: bool,
    transactions_checked: Cell<bool>,
    /// Read from the time index when first asked for.
    largest_timestamp: Cell<Option<TimestampOffset>>,
    /// The part whose headers may be sent without looking at them.
    checked: Cell<CheckedRange>,
    /// As [`ActiveSegment::inherited`]; `u32::MAX`: all of it.
    inherited: u32,
}

impl SealedSegment {
    /// A segment of which the name is known.
    pub(super) fn listed(base_offset: i64, has_aborted: bool) -> Self {
        Self {
            base_offset,
            has_aborted,
            transactions_checked: Cell::new(false),
            size: Cell::new(UNKNOWN_SIZE),
            indexes: Cell::new(IndexState::Unknown),
            largest_timestamp: Cell::new(None),
            checked: Cell::default(),
            inherited: u32::MAX,
        }
    }

    /// A segment whose indexes were just written.
    pub(super) fn complete(
        base_offset: i64,
        size: u64,
        largest_timestamp: Option<TimestampOffset>,
        has_aborted: bool,
    ) -> Self {
        Self {
            base_offset,
            has_aborted,
            transactions_checked: Cell::new(true),
            size: Cell::new(size),
            indexes: Cell::new(IndexState::Sound),
            largest_timestamp: Cell::new(largest_timestamp),
            checked: Cell::new(CheckedRange::up_to(size)),
            inherited: u32::MAX,
        }
    }

    pub(super) fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// What was checked of its headers since the start.
    pub(super) fn checked(&self) -> &Cell<CheckedRange> {
        &self.checked
    }

    /// Bytes at its beginning that this process neither wrote nor read with their checksums.
    pub(super) fn inherited(&self) -> u64 {
        if self.inherited == u32::MAX { u64::MAX } else { u64::from(self.inherited) }
    }

    /// Bytes of the segment; `None` before anybody asked the disk.
    pub(super) fn known_size(&self) -> Option<u64> {
        Some(self.size.get()).filter(|size| *size != UNKNOWN_SIZE)
    }

    /// Bytes of the segment, whose files are `files`.
    pub(super) fn size(&self, files: &SegmentFiles) -> StorageResult<u64> {
        if let Some(size) = self.known_size() {
            return Ok(size);
        }
        let size = files.metadata(SegmentFileKind::Log)?.len;
        self.size.set(size);
        Ok(size)
    }

    /// Whether transactions were aborted in it.
    pub(super) fn has_aborted(&self) -> bool {
        self.has_aborted
    }

    pub(super) fn set_has_aborted(&mut self, has_aborted: bool) {
        self.has_aborted = has_aborted;
    }

    /// Whether its transaction index was looked at, or written, since the start.
    pub(super) fn transactions_checked(&self) -> bool {
        self.transactions_checked.get()
    }

    pub(super) fn set_transactions_checked(&self) {
        self.transactions_checked.set(true);
    }

    pub(super) fn indexes(&self) -> IndexState {
        self.indexes.get()
    }

    pub(super) fn set_indexes(&self, indexes: IndexState) {
        self.indexes.set(indexes);
    }

    pub(super) fn largest_timestamp(&self) -> Option<TimestampOffset> {
        self.largest_timestamp.get()
    }

    pub(super) fn set_largest_timestamp(&self, largest: Option<TimestampOffset>) {
        self.largest_timestamp.set(largest);
    }
}

#[derive(Clone, Copy, Debug)]
struct RecentBatch {
    base_offset: i64,
    last_offset: i64,
    position: u64,
}

/// The segment that is written.
pub(super) struct ActiveSegment {
    pub(super) files: SegmentFiles,
    pub(super) size: u64,
    pub(super) offset_index: SparseIndex<OffsetEntry>,
    pub(super) time_index: SparseIndex<TimeEntry>,
    pub(super) bytes_since_index_entry: u64,
    pub(super) largest_timestamp: TimestampOffset,
    /// Of the first batch: what rolling by time counts from. Read from the file when first needed after a start.
    first_timestamp: Option<i64>,
    pub(super) created_ms: i64,
    /// Entries of the transaction index.
    pub(super) aborted_entries: usize,
    /// The file is longer than what was written (`preallocate`).
    preallocated: bool,
    recent: VecDeque<RecentBatch>,
    /// Bytes that this process neither wrote nor read with their checksums.
    pub(super) inherited: u64,
    /// The part of them whose headers were looked at.
    pub(super) checked: Cell<CheckedRange>,
}

impl ActiveSegment {
    /// An empty segment; its files are created when first written.
    pub(super) fn empty(files: SegmentFiles, created_ms: i64) -> Self {
        let largest_timestamp = TimestampOffset { timestamp: NO_TIMESTAMP, offset: files.base_offset() };
        Self {
            files,
            size: 0,
            offset_index: SparseIndex::default(),
            time_index: SparseIndex::default(),
            bytes_since_index_entry: 0,
            largest_timestamp,
            first_timestamp: None,
            created_ms,
            aborted_entries: 0,
            preallocated: false,
            recent: VecDeque::new(),
            inherited: 0,
            checked: Cell::default(),
        }
    }

    /// Creates the log file and gives the segment; with `preallocated` bytes if that is not 0.
    pub(super) fn create(files: SegmentFiles, created_ms: i64, preallocated: u64) -> io::Result<Self> {
        files.create(preallocated)?;
        Ok(Self { preallocated: preallocated > 0, ..Self::empty(files, created_ms) })
    }

    /// As [`ActiveSegment::create`], in a directory that has just been made.
    pub(super) fn create_in_new_directory(files: SegmentFiles, created_ms: i64, preallocated: u64) -> io::Result<Self> {
        files.create_in_new_directory(preallocated)?;
        Ok(Self { preallocated: preallocated > 0, ..Self::empty(files, created_ms) })
    }

    /// Gives back what was preallocated and not used (`FileRecords.trim`).
    pub(super) fn trim(&mut self) -> io::Result<()> {
        if self.preallocated {
            self.files.existing(SegmentFileKind::Log)?.set_len(self.size)?;
            self.preallocated = false;
        }
        Ok(())
    }

    pub(super) fn base_offset(&self) -> i64 {
        self.files.base_offset()
    }

    /// Offsets and index entries are stored as differences of 32 bits.
    pub(super) fn can_hold(&self, offset: i64) -> bool {
        (0..=i64::from(i32::MAX)).contains(&(offset - self.base_offset()))
    }

    /// Writes a batch at the end, header and body in one call. On an error nothing counts as written.
    pub(super) fn append(&mut self, header: &BatchHeader, body: &[u8], index_interval_bytes: u64) -> io::Result<()> {
        let file = self.files.handle(SegmentFileKind::Log)?;
        let encoded = header.encode();
        let body = if mutant::is_active("acknowledge-before-the-append") { &[] } else { body };
        if let Err(error) = file.write_all_vectored_at(&[IoSlice::new(&encoded), IoSlice::new(body)], self.size) {
            // A part of it may be there, on a full disk: no later start should have to wonder.
            if !mutant::is_active("leave-half-an-append") {
                file.set_len(self.size)
                    .map_err(|cut| io::Error::other(format!("{error}; cutting it off again: {cut}")))?;
            }
            return Err(error);
        }
        self.note(header, self.size, index_interval_bytes);
        self.size += (encoded.len() + body.len()) as u64;
        Ok(())
    }

    /// Takes a batch that stands at `position` into indexes and memory.
    pub(super) fn note(&mut self, header: &BatchHeader, position: u64, index_interval_bytes: u64) {
        let last_offset = header.last_offset();
        if header.max_timestamp > self.largest_timestamp.timestamp {
            self.largest_timestamp = TimestampOffset { timestamp: header.max_timestamp, offset: last_offset };
        }
        if self.first_timestamp.is_none() {
            self.first_timestamp = Some(header.max_timestamp);
        }
        if self.bytes_since_index_entry > index_interval_bytes {
            let relative_offset = (last_offset - self.base_offset()) as i32;
            let position = position as u32 + u32::from(mutant::is_active("index-off-by-one"));
            self.offset_index.push(OffsetEntry { relative_offset, position });
            self.note_largest_timestamp();
            self.bytes_since_index_entry = 0;
        }
        self.bytes_since_index_entry += header.size_in_bytes() as u64;
        if self.recent.len() == RECENT_BATCHES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(RecentBatch { base_offset: header.base_offset, last_offset, position });
    }

    /// Adds an aborted transaction to the transaction index, creating it with the first one. On an error nothing counts as written.
    pub(super) fn append_aborted(&mut self, entry: AbortedEntry) -> io::Result<()> {
        let file = self.files.handle(SegmentFileKind::TransactionIndex)?;
        file.write_all_at(&encode_entries(&[entry]), self.aborted_bytes())?;
        self.aborted_entries += 1;
        Ok(())
    }

    /// Takes the newest entry out of the transaction index again: its marker could not be written.
    pub(super) fn take_back_aborted(&mut self) -> io::Result<()> {
        self.aborted_entries -= 1;
        self.files.handle(SegmentFileKind::TransactionIndex)?.set_len(self.aborted_bytes())
    }

    fn aborted_bytes(&self) -> u64 {
        (self.aborted_entries * AbortedEntry::SIZE) as u64
    }

    /// Adds a time index entry if the largest timestamp grew since the last one.
    pub(super) fn note_largest_timestamp(&mut self) {
        let last = self.time_index.last().map_or(NO_TIMESTAMP, |entry| entry.timestamp);
        if self.largest_timestamp.timestamp > last {
            let relative_offset = (self.largest_timestamp.offset - self.base_offset()) as i32;
            self.time_index.push(TimeEntry { timestamp: self.largest_timestamp.timestamp, relative_offset });
        }
    }

    /// Writes the index entries that the files lack.
    pub(super) fn write_indexes(&mut self) -> io::Result<()> {
        if self.offset_index.has_unwritten() {
            self.offset_index.write(&*self.files.handle(SegmentFileKind::OffsetIndex)?)?;
        }
        if self.time_index.has_unwritten() {
            self.time_index.write(&*self.files.handle(SegmentFileKind::TimeIndex)?)?;
        }
        Ok(())
    }

    /// Writes the checksum of the transaction index, if there is one.
    pub(super) fn seal_transactions(&self) -> io::Result<()> {
        if self.aborted_entries > 0 { write_seal(&self.files, self.aborted_entries) } else { Ok(()) }
    }

    /// Ends the segment: the last time index entry, both index files complete.
    pub(super) fn seal(&mut self) -> io::Result<SealedSegment> {
        self.trim()?;
        self.note_largest_timestamp();
        self.write_indexes()?;
        // Kafka's tools expect both files, also when they are empty.
        self.files.handle(SegmentFileKind::OffsetIndex)?;
        self.files.handle(SegmentFileKind::TimeIndex)?;
        self.seal_transactions()?;
        let largest_timestamp = (self.size > 0).then_some(self.largest_timestamp);
        let mut sealed =
            SealedSegment::complete(self.base_offset(), self.size, largest_timestamp, self.aborted_entries > 0);
        sealed.inherited = u32::try_from(self.inherited).unwrap_or(u32::MAX);
        sealed.checked.set(self.checked.get().and(CheckedRange::between(self.inherited, self.size)));
        Ok(sealed)
    }

    /// Position and size of the batch with this offset, if it is one of the newest.
    pub(super) fn recent_batch(&self, offset: i64) -> Option<(u64, usize)> {
        if self.recent.front().is_none_or(|batch| offset < batch.base_offset) {
            return None;
        }
        let index = self.recent.partition_point(|batch| batch.last_offset < offset);
        let position = self.recent.get(index)?.position;
        let end = self.recent.get(index + 1).map_or(self.size, |next| next.position);
        Some((position, (end - position) as usize))
    }

    /// The timestamp that rolling by time counts from; `None` while the segment is empty.
    pub(super) fn first_timestamp(&mut self) -> io::Result<Option<i64>> {
        if self.first_timestamp.is_none() && self.size > 0 {
            let file = self.files.existing(SegmentFileKind::Log)?;
            self.first_timestamp = Some(read_header(&*file, 0)?.map_or(NO_TIMESTAMP, |header| header.max_timestamp));
        }
        Ok(self.first_timestamp)
    }
}

/// The batch header at a position; `None` if there is none.
pub(super) fn read_header(file: &dyn DiskFile, position: u64) -> io::Result<Option<BatchHeader>> {
    let mut bytes = [0; crate::record::BATCH_HEADER_SIZE];
    match file.read_exact_at(&mut bytes, position) {
        Ok(()) => Ok(BatchHeader::parse(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_sealed_segment_costs_few_bytes() {
        assert!(size_of::<SealedSegment>() <= 64, "{}", size_of::<SealedSegment>());
    }
}
