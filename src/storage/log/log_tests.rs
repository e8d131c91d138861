//! Tests of one log on the simulated disk.
#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::config::LogConfig;
use crate::env::{Disk, Env, InlineSpawn, ManualClock, MemoryBudget, MemoryDisk, SeededRandom};
use crate::record::{
    BatchBuilder, BatchHeader, BatchIterator, BatchProperties, Compression, CompressionType, check_crc,
};
use crate::storage::*;
use crate::types::TopicPartition;

/// One batch of records with the same timestamp.
pub(in crate::storage) fn batch(properties: BatchProperties, records: i32, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new(properties);
    for number in 0..records {
        builder.append(timestamp, Some(b"key"), Some(format!("value {number}").as_bytes()), &[]).unwrap();
    }
    builder.build()
}

/// A batch of an idempotent producer.
pub(in crate::storage) fn sequenced(producer_id: i64, producer_epoch: i16, base_sequence: i32, records: i32) -> Bytes {
    let properties = BatchProperties { producer_id, producer_epoch, base_sequence, ..BatchProperties::default() };
    batch(properties, records, 100)
}

/// A world for one log.
pub(in crate::storage) struct World {
    pub(in crate::storage) clock: ManualClock,
    pub(in crate::storage) disk: MemoryDisk,
    pub(in crate::storage) spawn: InlineSpawn,
    pub(in crate::storage) directory: Arc<LogDirectory>,
    pub(in crate::storage) config: LogConfig,
}

impl World {
    pub(in crate::storage) fn new() -> Self {
        let clock = ManualClock::new(1_000_000);
        let disk = MemoryDisk::new(Arc::new(clock.clone()));
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        Self::on(clock, disk, LogConfig { segment_bytes: 2048, index_interval_bytes: 256, ..LogConfig::default() })
    }

    pub(in crate::storage) fn on(clock: ManualClock, disk: MemoryDisk, config: LogConfig) -> Self {
        let spawn = InlineSpawn::default();
        let env = Env {
            clock: Arc::new(clock.clone()),
            random: Arc::new(SeededRandom::new(1)),
            disk: Arc::new(disk.clone()),
            spawn: Arc::new(spawn.clone()),
            memory: MemoryBudget::unlimited(),
        };
        let directory = LogDirectory::new(env, "/data", Uuid::nil(), 20);
        Self { clock, disk, spawn, directory, config }
    }

    /// The world after the process was killed.
    pub(in crate::storage) fn killed(&self) -> Self {
        Self::on(self.clock.clone(), self.disk.process_crash(), self.config.clone())
    }

    /// The world after a power cut.
    pub(in crate::storage) fn without_power(&self) -> Self {
        Self::on(self.clock.clone(), self.disk.power_cut(), self.config.clone())
    }

    pub(in crate::storage) fn options(&self) -> LogOptions {
        let config = Arc::new(self.config.clone());
        let compacted = config.compact;
        LogOptions { compacted, ..LogOptions::new(self.directory.clone(), TopicPartition::new("t", 0), config) }
    }

    /// Opens the log as after a crash.
    pub(in crate::storage) fn open(&self) -> Arc<Log> {
        Log::open(self.options()).unwrap()
    }

    /// Opens the log as after a clean stop.
    pub(in crate::storage) fn open_clean(&self) -> Arc<Log> {
        Log::open(LogOptions { clean_shutdown: true, ..self.options() }).unwrap()
    }

    pub(in crate::storage) fn files(&self, suffix: &str) -> Vec<PathBuf> {
        let mut files = self.disk.read_dir(Path::new("/data/t-0")).unwrap();
        files.retain(|path| path.to_string_lossy().ends_with(suffix));
        files
    }

    pub(in crate::storage) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.disk.read(path, usize::MAX).unwrap()
    }

    pub(in crate::storage) fn overwrite(&self, path: &Path, bytes: &[u8]) {
        let file = self.disk.open(path, crate::env::OpenMode::Truncate).unwrap();
        file.write_all_at(bytes, 0).unwrap();
    }
}

pub(in crate::storage) fn append(log: &Arc<Log>, batch: Bytes) -> LogAppendInfo {
    log.append_verified(batch, 0, 7).unwrap()
}

/// Appends plain batches of three records, 200 bytes or so each.
pub(in crate::storage) fn fill(log: &Arc<Log>, batches: i64) {
    for number in 0..batches {
        append(log, batch(BatchProperties::default(), 3, 1000 + number));
    }
}

/// All batches from an offset on, read segment by segment.
pub(in crate::storage) fn read_all(log: &Log, mut offset: i64) -> Vec<(BatchHeader, Vec<u8>)> {
    let mut batches: Vec<(BatchHeader, Vec<u8>)> = Vec::new();
    while offset < log.log_end_offset() {
        let info = log.read(offset, 1 << 20, FetchIsolation::LogEnd, true).unwrap();
        // A log that was cut inside a batch ends with a gap.
        let Some(records) = info.records else { return batches };
        let bytes = records.read().unwrap();
        for batch in BatchIterator::new(&bytes) {
            let (header, batch) = batch.unwrap();
            check_crc(batch).unwrap();
            offset = header.next_offset();
            batches.push((header, batch.to_vec()));
        }
    }
    batches
}

#[test]
fn appends_reads_and_reopens() {
    let world = World::new();
    let log = world.open();
    for number in 0..10 {
        let batch = batch(BatchProperties::default(), 3, 100 + number);
        let info = log.append_records(batch, 4, AppendOrigin::Coordinator, 7).unwrap();
        assert_eq!((info.first_offset, info.last_offset), (number * 3, number * 3 + 2));
        assert_eq!((info.log_append_time, info.duplicate), (-1, false));
    }
    assert!(log.read(30, 100, FetchIsolation::HighWatermark, true).unwrap().records.is_none());
    log.update_high_watermark(30);
    for log in [log.clone(), world.open()] {
        assert_eq!(log.log_end_offset(), 30);
        let info = log.read(4, 1 << 20, FetchIsolation::LogEnd, true).unwrap();
        let bytes = info.records.unwrap().read().unwrap();
        let headers: Vec<_> = BatchIterator::new(&bytes).map(|batch| batch.unwrap().0).collect();
        assert_eq!(headers.len(), 9);
        assert_eq!((headers[0].base_offset, headers[0].partition_leader_epoch), (3, 4));
        assert_eq!(log.end_offset_for_epoch(4), (4, 30));
    }
}

#[test]
fn reads_stop_where_kafka_stops() {
    let world = World::new();
    let log = world.open();
    fill(&log, 100);
    let size = batch(BatchProperties::default(), 3, 0).len();
    let read = |offset, max_bytes, isolation, min_one| log.read(offset, max_bytes, isolation, min_one).unwrap();
    let length = |info: FetchDataInfo| info.records.map_or(0, |slice| slice.length);
    // Nothing is committed yet.
    assert_eq!(length(read(0, 1000, FetchIsolation::HighWatermark, true)), 0);
    assert_eq!(length(read(0, 1000, FetchIsolation::LogEnd, true)), 1000, "the last batch may be cut");
    assert_eq!(length(read(0, 10, FetchIsolation::LogEnd, true)), size, "at least one batch");
    let cut = read(0, 10, FetchIsolation::LogEnd, false);
    assert!(cut.first_entry_incomplete && cut.records.is_none());
    log.update_high_watermark(6);
    assert_eq!(length(read(0, 1 << 20, FetchIsolation::HighWatermark, true)), 2 * size);
    assert_eq!(length(read(5, 1 << 20, FetchIsolation::TransactionCommitted, true)), size);
    assert_eq!(length(read(6, 1 << 20, FetchIsolation::HighWatermark, true)), 0);
    assert_eq!(length(read(300, 1 << 20, FetchIsolation::LogEnd, true)), 0);
    for offset in [-1, 301] {
        let error = log.read(offset, 1, FetchIsolation::HighWatermark, true).unwrap_err();
        assert!(matches!(error, StorageError::OffsetOutOfRange { .. }));
    }
    // One read never crosses a segment.
    assert!(log.segment_count() > 3);
    assert!(length(read(0, 1 << 20, FetchIsolation::LogEnd, true)) <= 2048);
    // A watermark in the middle of an old segment, where no position is remembered.
    log.update_high_watermark(9);
    assert_eq!(length(read(3, 1 << 20, FetchIsolation::HighWatermark, true)), 2 * size);
}

#[test]
fn every_offset_is_found_in_every_kind_of_segment() {
    let world = World::new();
    let log = world.open();
    fill(&log, 200);
    log.close().unwrap();
    let reopened = world.open_clean();
    for offset in 0..600 {
        let info = reopened.read(offset, 1, FetchIsolation::LogEnd, true).unwrap();
        let bytes = info.records.unwrap().read().unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        assert!(header.base_offset <= offset && offset <= header.last_offset());
    }
}

#[test]
fn rolls_by_size_time_and_index() {
    let mut world = World::new();
    world.config.segment_ms = 1000;
    let log = world.open();
    append(&log, batch(BatchProperties::default(), 1, 5_000));
    append(&log, batch(BatchProperties::default(), 1, 6_000));
    assert_eq!(log.segment_count(), 1);
    append(&log, batch(BatchProperties::default(), 1, 6_001));
    assert_eq!(log.segment_count(), 2, "measured between timestamps of records");
    log.update_config(Arc::new(LogConfig { segment_index_bytes: 24, index_interval_bytes: 0, ..LogConfig::default() }));
    fill(&log, 20);
    assert!(log.segment_count() > 5, "an index of three entries fills up");
    let error = LogConfig { segment_bytes: 50, ..LogConfig::default() };
    log.update_config(Arc::new(error));
    let result = log.append_records(batch(BatchProperties::default(), 1, 0), 0, AppendOrigin::Client, 0);
    assert!(matches!(result, Err(StorageError::RecordBatchTooLarge { .. })));
}

/// A batch is stored as it comes, and may unpack to more than what is unpacked when it comes.
#[test]
fn finds_offsets_by_timestamp_in_batches_that_unpack_to_much() {
    let world = World::new();
    let log = world.open();
    log.update_config(Arc::new(LogConfig::default()));
    let compression = Compression::from(CompressionType::Zstd);
    let mut builder = BatchBuilder::new(BatchProperties { compression, ..BatchProperties::default() });
    for number in 0..22 {
        builder.append(1000 + number, None, Some(&vec![0; 1 << 20]), &[]).unwrap();
    }
    let batch = builder.build();
    assert!(batch.len() < 1 << 20, "a client may send it: {}", batch.len());
    append(&log, batch);
    assert_eq!(log.offset_for_timestamp(1021).unwrap().unwrap().offset, 21);
}

#[test]
fn finds_offsets_by_timestamp() {
    let world = World::new();
    let log = world.open();
    assert_eq!(log.offset_for_timestamp(0).unwrap(), None);
    assert_eq!(log.max_timestamp_offset().unwrap(), None);
    fill(&log, 100);
    append(&log, batch(BatchProperties::default(), 3, 50));
    for log in [log.clone(), world.killed().open()] {
        for number in [0, 1, 7, 50, 99] {
            let found = log.offset_for_timestamp(1000 + number).unwrap().unwrap();
            assert_eq!((found.timestamp, found.offset, found.leader_epoch), (1000 + number, number * 3, 0));
        }
        assert_eq!(log.offset_for_timestamp(3).unwrap().unwrap().offset, 0);
        assert_eq!(log.offset_for_timestamp(1100).unwrap(), None);
        let largest = log.max_timestamp_offset().unwrap().unwrap();
        assert_eq!((largest.timestamp, largest.offset), (1099, 297));
    }
    log.update_high_watermark(303);
    log.delete_records_before(10).unwrap();
    assert_eq!(log.offset_for_timestamp(1000).unwrap().unwrap().offset, 10);
}

#[test]
fn retention_deletes_whole_segments_from_the_start() {
    let mut world = World::new();
    world.config.retention_ms = -1;
    let log = world.open();
    fill(&log, 200);
    let segments = log.segment_count();
    assert_eq!(log.delete_old_segments(i64::MAX).unwrap(), 0, "no limit is set");
    let limit = |config: LogConfig| log.update_config(Arc::new(config));
    limit(LogConfig { retention_bytes: 10_000, retention_ms: -1, ..world.config.clone() });
    assert_eq!(log.delete_old_segments(0).unwrap(), 0, "never past the high watermark");
    log.update_high_watermark(600);
    let deleted = log.delete_old_segments(0).unwrap();
    assert!(deleted > 0 && log.size() >= 10_000 && log.size() < 10_000 + 2048);
    assert_eq!(log.segment_count(), segments - deleted);
    let start = log.log_start_offset();
    assert_eq!(read_all(&log, start)[0].0.base_offset, start);
    assert!(matches!(log.read(start - 1, 1, FetchIsolation::LogEnd, true), Err(StorageError::OffsetOutOfRange { .. })));
    assert_eq!(world.files(".log.deleted").len(), deleted);

    limit(LogConfig { retention_ms: 50, ..world.config.clone() });
    log.delete_old_segments(1199).unwrap();
    let first = &read_all(&log, log.log_start_offset())[0].0;
    assert!(first.max_timestamp < 1199 - 50 && log.size() > 0, "stops at the first survivor");
    // Everything is expired: the active segment too.
    log.delete_old_segments(10_000).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.size()), (600, 600, 0));
    append(&log, batch(BatchProperties::default(), 1, 1));
    assert_eq!(read_all(&log, 600).len(), 1);

    // The files go after their delay.
    let tasks = world.spawn.take();
    world.clock.advance(Duration::from_secs(60));
    for (_, task) in tasks {
        futures_util::FutureExt::now_or_never(task).expect("the delay has passed");
    }
    assert!(world.files(".deleted").is_empty());
    let reopened = world.killed().open();
    assert_eq!((reopened.log_start_offset(), reopened.log_end_offset()), (600, 601));
}

#[test]
fn delete_records_moves_the_start_at_once() {
    let world = World::new();
    let log = world.open();
    fill(&log, 100);
    log.update_high_watermark(200);
    for offset in [-1, 201] {
        assert!(matches!(log.delete_records_before(offset), Err(StorageError::OffsetOutOfRange { .. })));
    }
    assert_eq!(log.delete_records_before(100).unwrap(), 100);
    assert_eq!(log.delete_records_before(50).unwrap(), 100, "never back");
    assert_eq!(log.epoch_entries(), [EpochEntry { epoch: 0, start_offset: 100 }]);
    let segments = log.segment_count();
    assert!(log.delete_old_segments(0).unwrap() > 0, "whole segments before the start go, whatever retention says");
    assert!(log.segment_count() < segments);
    assert_eq!(log.log_start_offset(), 100);
}

#[test]
fn truncates_and_restarts() {
    let world = World::new();
    let log = world.open();
    for number in 0..100 {
        let batch = sequenced(5, 0, number * 3, 3);
        log.append_records(batch, number / 10, AppendOrigin::Client, 0).unwrap();
    }
    assert!(!log.truncate_to(300).unwrap());
    assert!(log.truncate_to(151).unwrap());
    assert_eq!((log.log_end_offset(), log.latest_epoch()), (151, Some(5)));
    let batches = read_all(&log, 0);
    // The batch around the offset is gone; the log goes on at the offset.
    assert_eq!(batches.len(), 50);
    assert_eq!(log.active_producers()[0].last_sequence, 149);
    let info = log.append_records(sequenced(5, 0, 150, 3), 9, AppendOrigin::Client, 0).unwrap();
    assert_eq!(info.first_offset, 151);
    log.truncate_fully_and_start_at(1000).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.size()), (1000, 1000, 0));
    assert!(log.active_producers().is_empty() && log.epoch_entries().is_empty());
    fill(&log, 5);
    let reopened = world.killed().open();
    assert_eq!((reopened.log_start_offset(), reopened.log_end_offset()), (1000, 1015));
}

#[test]
fn an_idle_log_keeps_no_files_open_and_little_memory() {
    assert!(std::mem::size_of::<Log>() < 1024, "{}", std::mem::size_of::<Log>());
}
