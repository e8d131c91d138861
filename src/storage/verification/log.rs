//! A log's directory: its segments in order, and what stands beside them.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::indexes::{IndexUnderTest, LargestTimestamp};
use super::segment::{Chain, SegmentBounds, SegmentTotals, SegmentVisitor, verify_segment};
use super::side_files::{self, read_epochs};
use super::transactions::Transactions;
use super::walk::WINDOW_BYTES;
use super::{Problems, Severity};
use crate::env::{Disk, OpenMode};
use crate::record::BatchHeader;
use crate::storage::file_names::{
    INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX, offset_file, parse_offset_file,
};
use crate::storage::leader_epoch_cache::LeaderEpochCache;
use crate::storage::sparse_index::{OffsetEntry, TimeEntry};

/// Index files larger than this are no index of a segment (`segment.index.bytes` is 10 MiB).
const INDEX_FILE_BYTES_MAX: usize = 64 << 20;
/// A sealed segment of this size has index entries.
const INDEXED_FROM_BYTES: u64 = 1 << 20;

/// What else is known of a log.
#[derive(Clone, Debug, Default)]
pub struct LogExpectations {
    /// The directory was stopped cleanly.
    pub is_clean: bool,
    /// As checkpointed: everything before was on disk for sure.
    pub recovery_point: Option<i64>,
    /// As checkpointed.
    pub log_start_offset: Option<i64>,
    /// As checkpointed.
    pub high_watermark: Option<i64>,
    /// The topic's id in the metadata.
    pub topic_id: Option<Uuid>,
    /// The metadata log, which has no `partition.metadata` and whose checkpoints Kafka keeps elsewhere.
    pub is_metadata: bool,
}

/// What was seen of a log.
#[derive(Clone, Debug, Default)]
pub struct VerifiedLog {
    /// Its directory.
    pub path: PathBuf,
    /// Number of segments.
    pub segments: u64,
    /// Good batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of the log files.
    pub bytes: u64,
    /// Offsets that compaction or damage left without a batch.
    pub missing_offsets: u64,
    /// The first segment's base offset.
    pub first_offset: i64,
    /// Behind the last good batch.
    pub log_end_offset: i64,
    /// What is wrong.
    pub problems: Problems,
}

/// Reads and compares everything in a log's directory.
///
/// # Errors
/// The directory cannot be listed. A file that cannot be read is a problem.
pub fn verify_log(disk: &dyn Disk, path: &Path, expectations: &LogExpectations) -> io::Result<VerifiedLog> {
    let entries = disk.read_dir(path)?;
    let mut bases: Vec<i64> = entries.iter().filter_map(|entry| parse_offset_file(entry, LOG_SUFFIX)).collect();
    bases.sort_unstable();
    let mut log = VerifiedLog { path: path.to_owned(), ..VerifiedLog::default() };
    let epochs = read_epochs(disk, path, &mut log.problems);
    let mut test = LogTest { disk, expectations, epochs, transactions: Transactions::default() };
    log.first_offset = bases.first().copied().unwrap_or(expectations.log_start_offset.unwrap_or(0));
    let mut chain = Chain { next_offset: log.first_offset, epoch: -1 };
    for (number, base) in bases.iter().copied().enumerate() {
        chain.next_offset = chain.next_offset.max(base);
        let next_base = bases.get(number + 1).copied();
        if let Err(error) = test.segment(&mut log, base, next_base, &mut chain) {
            let file = offset_file(path, base, LOG_SUFFIX);
            log.problems.add(Severity::Damage, &file, None, format!("the segment cannot be read: {error}"));
        }
    }
    log.segments = bases.len() as u64;
    log.log_end_offset = chain.next_offset;
    side_files::verify_epochs(path, &test.epochs, &mut log);
    side_files::verify_producer_snapshots(disk, path, &entries, &mut log);
    side_files::verify_partition_metadata(disk, path, expectations, &mut log);
    side_files::verify_leftovers(&entries, &mut log);
    side_files::verify_checkpoints(path, expectations, &mut log);
    Ok(log)
}

struct LogTest<'a> {
    disk: &'a dyn Disk,
    expectations: &'a LogExpectations,
    epochs: Option<LeaderEpochCache>,
    transactions: Transactions,
}

impl LogTest<'_> {
    fn segment(
        &mut self,
        log: &mut VerifiedLog,
        base: i64,
        next_base: Option<i64>,
        chain: &mut Chain,
    ) -> io::Result<()> {
        let path = offset_file(&log.path, base, LOG_SUFFIX);
        let file = self.disk.open(&path, OpenMode::Read)?;
        let size = file.size()?;
        log.bytes += size;
        let is_sealed = next_base.is_some();
        let offset_index = self.index::<OffsetEntry>(log, base, INDEX_SUFFIX, is_sealed, size)?;
        let time_index = self.index::<TimeEntry>(log, base, TIME_INDEX_SUFFIX, is_sealed, size)?;
        let mut visitor = Visitor {
            base,
            path: &path,
            offset_index,
            time_index,
            largest: LargestTimestamp::default(),
            transactions: &mut self.transactions,
            problems: &mut log.problems,
            damaged: Vec::new(),
        };
        let bounds = SegmentBounds { next_base_offset: next_base, epochs: self.epochs.as_ref() };
        let totals = verify_segment(&*file, size, WINDOW_BYTES, chain, bounds, &mut visitor, &mut |_| {})?;
        let Visitor { offset_index, time_index, largest, damaged, .. } = visitor;
        if damaged.is_empty() {
            offset_index.iter().for_each(|index| index.end(size, &mut log.problems));
            time_index.iter().for_each(|index| index.end(largest, is_sealed, &mut log.problems));
        }
        self.tell_damage(log, &path, is_sealed, size, chain.next_offset, &totals, damaged);
        log.batches += totals.batches;
        log.records += totals.records;
        log.missing_offsets += totals.missing_offsets;
        let transaction_index = offset_file(&log.path, base, TRANSACTION_INDEX_SUFFIX);
        let bytes = self.read(log, &transaction_index);
        let may_lack = !self.expectations.is_clean && !is_sealed;
        let severity = if may_lack { Severity::Unfinished } else { Severity::Damage };
        let bytes = bytes.unwrap_or_default();
        self.transactions.end_segment(&transaction_index, &bytes, severity, &mut log.problems);
        Ok(())
    }

    /// A torn end of an unclean stop is no damage, as long as it is not below what was synced.
    #[expect(clippy::too_many_arguments, reason = "one step of one function, split for its length")]
    fn tell_damage(
        &self,
        log: &mut VerifiedLog,
        path: &Path,
        is_sealed: bool,
        size: u64,
        end_offset: i64,
        totals: &SegmentTotals,
        damaged: Vec<(u64, String)>,
    ) {
        let is_synced = self.expectations.is_clean || end_offset < self.expectations.recovery_point.unwrap_or(0);
        for (position, what) in damaged {
            if is_sealed || is_synced || position < totals.good_end {
                log.problems.add(Severity::Damage, path, Some(position), what);
            } else {
                let what = format!("{what}: the next start cuts the last {} bytes", size - position);
                log.problems.add(Severity::Unfinished, path, Some(position), what);
            }
        }
    }

    fn index<E: crate::storage::sparse_index::IndexEntry>(
        &self,
        log: &mut VerifiedLog,
        base: i64,
        suffix: &str,
        is_sealed: bool,
        log_size: u64,
    ) -> io::Result<Option<IndexUnderTest<E>>> {
        let path = offset_file(&log.path, base, suffix);
        let Some(bytes) = self.read(log, &path) else {
            if is_sealed && log_size >= INDEXED_FROM_BYTES {
                log.problems.add(Severity::Cache, &path, None, "the index is missing");
            }
            return Ok(None);
        };
        Ok(Some(IndexUnderTest::new(path, &bytes, &mut log.problems)))
    }

    fn read(&self, log: &mut VerifiedLog, path: &Path) -> Option<Vec<u8>> {
        match self.disk.read(path, INDEX_FILE_BYTES_MAX) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                log.problems.add(Severity::Cache, path, None, format!("cannot be read: {error}"));
                None
            }
        }
    }
}

struct Visitor<'a> {
    base: i64,
    path: &'a Path,
    offset_index: Option<IndexUnderTest<OffsetEntry>>,
    time_index: Option<IndexUnderTest<TimeEntry>>,
    largest: LargestTimestamp,
    transactions: &'a mut Transactions,
    problems: &'a mut Problems,
    damaged: Vec<(u64, String)>,
}

impl SegmentVisitor for Visitor<'_> {
    fn batch(&mut self, position: u64, header: &BatchHeader, whole: Option<&[u8]>) {
        let counts = i64::from(header.record_count);
        if !(0..=i64::from(header.last_offset_delta) + 1).contains(&counts) || header.compression().is_err() {
            let what = format!("a batch with {counts} records has attributes {:#x}", header.attributes);
            self.problems.add(Severity::Damage, self.path, Some(position), what);
        }
        if let Some(index) = &mut self.offset_index {
            index.batch(self.base, position, header, self.problems);
        }
        if let Some(index) = &mut self.time_index {
            index.batch(self.base, header, &mut self.largest, self.problems);
        }
        self.transactions.batch(header, whole);
    }

    fn damage(&mut self, position: u64, what: String) {
        self.damaged.push((position, what));
    }

    fn resume_after(&self, position: u64) -> Option<u64> {
        self.offset_index.as_ref()?.position_after(position)
    }
}
