//! Offset and time indexes, compared with the batches as a walk over the log meets them.

use std::path::PathBuf;

use super::{Problems, Severity};
use crate::record::BatchHeader;
use crate::storage::sparse_index::{IndexEntry, OffsetEntry, TimeEntry};
use crate::types::NO_TIMESTAMP;

/// The entries of one index file, and the next one that no batch answered yet.
pub(super) struct IndexUnderTest<E> {
    pub(super) path: PathBuf,
    pub(super) entries: Vec<E>,
    next: usize,
}

impl<E: IndexEntry> IndexUnderTest<E> {
    /// Takes a file's bytes. Zeros behind the entries are room that a running broker reserved.
    pub(super) fn new(path: PathBuf, bytes: &[u8], problems: &mut Problems) -> Self {
        let odd = bytes.len() % E::SIZE;
        if odd != 0 {
            let at = (bytes.len() - odd) as u64;
            problems.add(Severity::Cache, &path, Some(at), format!("{odd} bytes are no whole entry"));
        }
        let mut entries: Vec<E> = bytes.chunks_exact(E::SIZE).map(E::decode).collect();
        let is_zero = |index: usize| bytes[index * E::SIZE..(index + 1) * E::SIZE].iter().all(|byte| *byte == 0);
        while entries.len() > 1 && is_zero(entries.len() - 1) {
            entries.pop();
        }
        for (number, pair) in entries.windows(2).enumerate() {
            if pair[0].key() >= pair[1].key() {
                let at = ((number + 1) * E::SIZE) as u64;
                problems.add(Severity::Cache, &path, Some(at), "the entry is not above the one before");
            }
        }
        Self { path, entries, next: 0 }
    }

    fn at(&self, number: usize) -> Option<u64> {
        Some((number * E::SIZE) as u64)
    }
}

impl IndexUnderTest<OffsetEntry> {
    /// Compares the entries that point to a batch, or into it.
    pub(super) fn batch(&mut self, base: i64, position: u64, header: &BatchHeader, problems: &mut Problems) {
        let end = position + header.size_in_bytes() as u64;
        while let Some(entry) = self.entries.get(self.next).filter(|entry| u64::from(entry.position) < end) {
            let offset = base + i64::from(entry.relative_offset);
            if u64::from(entry.position) != position {
                let what = format!("position {} of offset {offset} is not where a batch begins", entry.position);
                problems.add(Severity::Cache, &self.path, self.at(self.next), what);
            } else if offset != header.last_offset() {
                let what = format!("offset {offset} points to the batch with last offset {}", header.last_offset());
                problems.add(Severity::Cache, &self.path, self.at(self.next), what);
            }
            self.next += 1;
        }
    }

    /// Tells the entries that point behind the last batch.
    pub(super) fn end(&self, log_size: u64, problems: &mut Problems) {
        for number in self.next..self.entries.len() {
            let position = u64::from(self.entries[number].position);
            if position >= log_size {
                let what = format!("position {position} is behind the log's end {log_size}");
                problems.add(Severity::Cache, &self.path, self.at(number), what);
            }
        }
    }

    /// The first entry behind a position.
    pub(super) fn position_after(&self, position: u64) -> Option<u64> {
        let index = self.entries.partition_point(|entry| u64::from(entry.position) <= position);
        self.entries.get(index).map(|entry| u64::from(entry.position))
    }
}

/// The largest timestamp of the batches so far, for the time index.
#[derive(Clone, Copy)]
pub(super) struct LargestTimestamp(i64);

impl Default for LargestTimestamp {
    fn default() -> Self {
        Self(NO_TIMESTAMP)
    }
}

impl IndexUnderTest<TimeEntry> {
    /// Compares the entries whose offset is in the batch: no batch up to there has a larger timestamp.
    pub(super) fn batch(
        &mut self,
        base: i64,
        header: &BatchHeader,
        largest: &mut LargestTimestamp,
        problems: &mut Problems,
    ) {
        largest.0 = largest.0.max(header.max_timestamp);
        while let Some(entry) = self.entries.get(self.next) {
            let offset = base + i64::from(entry.relative_offset);
            if offset > header.last_offset() {
                return;
            }
            // Kafka before 3.7 named the record's own offset, and so may point before the batch's last one.
            if entry.timestamp != largest.0 && offset >= header.base_offset {
                let what =
                    format!("timestamp {} for offset {offset}, up to which it is {}", entry.timestamp, largest.0);
                problems.add(Severity::Cache, &self.path, self.at(self.next), what);
            }
            self.next += 1;
        }
    }

    /// Tells the entries behind the last batch and, of a sealed segment, a largest timestamp that is not there.
    pub(super) fn end(&self, largest: LargestTimestamp, is_sealed: bool, problems: &mut Problems) {
        for number in self.next..self.entries.len() {
            problems.add(Severity::Cache, &self.path, self.at(number), "the offset is behind the log's end");
        }
        let last = self.entries.last().map_or(NO_TIMESTAMP, |entry| entry.timestamp);
        if is_sealed && last < largest.0 {
            let what = format!("the last timestamp is {last} and the segment's largest is {}", largest.0);
            problems.add(Severity::Cache, &self.path, None, what);
        }
    }
}
