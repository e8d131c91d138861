//! Logs that are cleaned, on the simulated disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;

use super::*;
use crate::config::LogConfig;
use crate::env::{Call, Disk, Failure, PlannedFault};
use crate::record::{
    BatchBuilder, BatchHeader, BatchIterator, BatchProperties, CompressionType, end_transaction_marker, records,
};
use crate::storage::log::log_tests::{World, append, read_all};
use crate::storage::transaction_index::AbortedEntry;
use crate::storage::{AppendOrigin, FetchIsolation, Log, StorageError};
use crate::telemetry::Metrics;

/// What a consumer sees of a record: offset, timestamp, key, value.
pub(in crate::storage) type Seen = (i64, i64, String, Option<String>);

/// A log and a cleaner.
pub(in crate::storage) struct Room {
    pub(in crate::storage) world: World,
    pub(in crate::storage) log: Arc<Log>,
    cleaner: LogCleaner,
    settings: Arc<Mutex<CleanerConfig>>,
    metrics: Arc<Metrics>,
}

pub(in crate::storage) fn compacted() -> LogConfig {
    LogConfig {
        compact: true,
        delete: false,
        min_cleanable_dirty_ratio: 0.0,
        segment_bytes: 1_000,
        index_interval_bytes: 100,
        delete_retention_ms: 1_000,
        ..LogConfig::default()
    }
}

impl Room {
    pub(in crate::storage) fn new(config: LogConfig) -> Self {
        let mut world = World::new();
        world.config = config;
        let log = world.open();
        Self::of(world, log)
    }

    pub(in crate::storage) fn of(world: World, log: Arc<Log>) -> Self {
        let settings = Arc::new(Mutex::new(CleanerConfig::default()));
        let source = settings.clone();
        let metrics = Arc::new(Metrics::default());
        let source: CleanerConfigSource = Arc::new(move || source.lock().clone());
        let cleaner = LogCleaner::new(world.directory.env.clone(), source, metrics.clone());
        cleaner.load_checkpoint(&world.directory);
        Self { world, log, cleaner, settings, metrics }
    }

    pub(in crate::storage) fn put(&self, records: &[(&str, Option<&str>)]) -> i64 {
        self.put_with(BatchProperties::default(), records)
    }

    fn put_with(&self, properties: BatchProperties, records: &[(&str, Option<&str>)]) -> i64 {
        let mut builder = BatchBuilder::new(properties);
        for (key, value) in records {
            builder.append(500, Some(key.as_bytes()), value.map(str::as_bytes), &[]).unwrap();
        }
        self.append(&builder.build())
    }

    fn append(&self, batch: &[u8]) -> i64 {
        let info = append(&self.log, bytes::Bytes::copy_from_slice(batch));
        self.log.update_high_watermark(info.log_end_offset);
        info.first_offset
    }

    /// Ends the active segment.
    pub(in crate::storage) fn roll(&self) {
        let mut state = self.log.lock();
        self.log.roll_locked(&mut state, 0).unwrap();
    }

    pub(in crate::storage) fn clean(&self) -> bool {
        self.cleaner.run_once(0, std::slice::from_ref(&self.log), &|| false)
    }

    fn seal_and_clean(&self) -> bool {
        self.roll();
        self.clean()
    }

    pub(in crate::storage) fn pass(&self, milliseconds: u64) {
        self.world.clock.advance(Duration::from_millis(milliseconds));
    }

    /// Bounds the bytes of the map of keys.
    pub(in crate::storage) fn limit_map(&self, bytes: usize) {
        self.settings.lock().dedupe_buffer_bytes = bytes;
    }

    pub(in crate::storage) fn checkpoint(&self) -> Option<i64> {
        self.cleaner.checkpoint_of(&self.log)
    }

    fn headers(&self) -> Vec<BatchHeader> {
        read_all(&self.log, self.log.log_start_offset()).into_iter().map(|(header, _)| header).collect()
    }

    pub(in crate::storage) fn seen(&self) -> Vec<Seen> {
        seen(&self.log)
    }

    fn keys(&self) -> Vec<(i64, String)> {
        self.seen().into_iter().map(|(offset, _, key, _)| (offset, key)).collect()
    }
}

/// Every record that a consumer gets from a log.
pub(in crate::storage) fn seen(log: &Arc<Log>) -> Vec<Seen> {
    seen_from(log, log.log_start_offset())
}

fn seen_from(log: &Arc<Log>, from: i64) -> Vec<Seen> {
    let mut next = from;
    let mut found = Vec::new();
    loop {
        let info = log.read(next, 100, FetchIsolation::LogEnd, true).unwrap();
        let Some(slice) = info.records else { return found };
        let bytes = slice.read().unwrap();
        for item in BatchIterator::new(&bytes) {
            let (header, batch) = item.unwrap();
            next = header.next_offset();
            if header.is_control() {
                continue;
            }
            for record in &records(batch, 1 << 20).unwrap() {
                let record = record.unwrap();
                if record.offset >= from {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    found.push((record.offset, record.timestamp, text(record.key.unwrap()), record.value.map(text)));
                }
            }
        }
    }
}

fn by_key(pairs: &[(i64, &str)]) -> Vec<(i64, String)> {
    pairs.iter().map(|(offset, key)| (*offset, (*key).to_owned())).collect()
}

#[test]
fn the_newest_record_of_each_key_stays() {
    for codec in [CompressionType::None, CompressionType::Gzip, CompressionType::Lz4] {
        let room = Room::new(compacted());
        let properties = || BatchProperties { compression: codec.into(), ..BatchProperties::default() };
        room.put_with(properties(), &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]);
        room.put_with(properties(), &[("b", Some("2")), ("a", Some("2"))]);
        room.roll();
        room.put(&[("a", Some("3"))]);
        assert!(room.clean());
        assert_eq!(
            room.keys(),
            by_key(&[(2, "c"), (3, "b"), (4, "a"), (5, "a")]),
            "the active segment is not looked at"
        );
        assert_eq!(room.checkpoint(), Some(5));
        assert!(!room.clean(), "nothing is dirty any more");
        assert!(room.seal_and_clean());
        assert_eq!(room.keys(), by_key(&[(2, "c"), (3, "b"), (5, "a")]));
        assert_eq!(room.log.log_end_offset(), 6);
        assert_eq!(room.metrics.log_cleaner_cleanings_total.get(), 2);
    }
}

#[test]
fn epochs_and_the_frames_of_batches_stay() {
    let room = Room::new(compacted());
    for epoch in 0..3 {
        let mut builder = BatchBuilder::new(BatchProperties::default());
        builder.append(7, Some(b"k"), Some(b"v"), &[]).unwrap();
        builder.append(7, Some(format!("{epoch}").as_bytes()), Some(b"v"), &[]).unwrap();
        let info = room.log.append_records(builder.build(), epoch, AppendOrigin::Client, 7).unwrap();
        room.log.update_high_watermark(info.log_end_offset);
    }
    room.seal_and_clean();
    let frames: Vec<_> =
        room.headers().iter().map(|h| (h.base_offset, h.last_offset(), h.partition_leader_epoch)).collect();
    assert_eq!(frames, [(0, 1, 0), (2, 3, 1), (4, 5, 2)]);
    assert_eq!(room.keys(), by_key(&[(1, "0"), (3, "1"), (4, "k"), (5, "2")]));
    assert_eq!(room.log.epoch_entries().len(), 3);
}

/// KAFKA-4529, KAFKA-8522: a tombstone stays for `delete.retention.ms` after the first cleaning that sees it, and no longer.
#[test]
fn k_4529_tombstones_stay_their_time_and_k_8522_no_longer() {
    let room = Room::new(compacted());
    room.put(&[("a", Some("1")), ("b", Some("1"))]);
    room.put(&[("a", None)]);
    room.seal_and_clean();
    assert_eq!(room.keys(), by_key(&[(1, "b"), (2, "a")]));
    room.pass(999);
    room.put(&[("x", Some("1"))]);
    room.seal_and_clean();
    assert_eq!(room.keys(), by_key(&[(1, "b"), (2, "a"), (3, "x")]), "one millisecond early");
    room.pass(1);
    room.put(&[("y", Some("1"))]);
    room.seal_and_clean();
    assert_eq!(room.keys(), by_key(&[(1, "b"), (3, "x"), (4, "y")]));
}

#[test]
fn a_key_that_was_deleted_can_come_back() {
    let room = Room::new(LogConfig { delete_retention_ms: 0, ..compacted() });
    room.put(&[("a", Some("1")), ("a", None)]);
    room.seal_and_clean();
    room.put(&[("a", Some("2")), ("b", None)]);
    room.seal_and_clean();
    assert_eq!(room.keys(), by_key(&[(2, "a"), (3, "b")]));
    room.put(&[("c", Some("2"))]);
    room.seal_and_clean();
    assert_eq!(room.keys(), by_key(&[(2, "a"), (4, "c")]));
}

/// KAFKA-5490, KAFKA-8335: the last batch of a live producer stays, empty if need be, and goes when the producer wrote more.
#[test]
fn k_5490_the_last_batch_of_a_live_producer_stays() {
    let room = Room::new(compacted());
    let producer = |sequence| BatchProperties {
        producer_id: 9,
        producer_epoch: 0,
        base_sequence: sequence,
        ..BatchProperties::default()
    };
    room.put_with(producer(0), &[("a", Some("1"))]);
    room.put_with(producer(1), &[("a", Some("2"))]);
    room.put(&[("a", Some("3"))]);
    room.seal_and_clean();
    assert_eq!(room.keys(), by_key(&[(2, "a")]));
    let frames = |room: &Room| room.headers().iter().map(|h| (h.base_offset, h.record_count)).collect::<Vec<_>>();
    assert_eq!(frames(&room), [(1, 0), (2, 1)]);
    // After a crash without snapshots the producer is known by that batch.
    for path in room.world.files(".snapshot") {
        room.world.disk.remove_file(&path).unwrap();
    }
    let again = room.world.killed();
    let log = again.open();
    let room = Room::of(again, log);
    room.log.update_high_watermark(3);
    let repeated = BatchBuilder::new(producer(1));
    let mut repeated = repeated;
    repeated.append(500, Some(b"a"), Some(b"2"), &[]).unwrap();
    assert!(append(&room.log, repeated.build()).duplicate);
    room.put_with(producer(2), &[("b", Some("1"))]);
    room.put(&[("c", Some("1"))]);
    room.seal_and_clean();
    assert_eq!(frames(&room), [(2, 1), (3, 1), (4, 1)]);
}

/// The batch with the last offset of what is cleaned stays, so that the offset is not lost.
#[test]
fn the_last_batch_of_a_cleaning_stays() {
    let room = Room::new(LogConfig { delete_retention_ms: 0, ..compacted() });
    room.put(&[("a", Some("1"))]);
    room.put(&[("a", None)]);
    room.seal_and_clean();
    room.pass(1);
    room.put(&[("b", None)]);
    room.seal_and_clean();
    let frames: Vec<_> = room.headers().iter().map(|h| (h.base_offset, h.record_count)).collect();
    assert_eq!(frames, [(2, 1)]);
    assert_eq!(room.log.log_end_offset(), 3);
}

#[test]
fn the_ratio_and_the_lags_decide_when() {
    let lazy = Room::new(LogConfig { min_cleanable_dirty_ratio: 0.5, ..compacted() });
    lazy.put(&[("a", Some("1"))]);
    assert!(lazy.seal_and_clean());
    lazy.put(&[("b", Some("1"))]);
    assert!(!lazy.seal_and_clean(), "half is not more than half");
    assert_eq!(lazy.metrics.log_cleaner_max_dirty_percent.get(), 50);
    lazy.put(&[("b", Some("2"))]);
    assert!(lazy.seal_and_clean());

    // The clock stands at 1,000,000; the records are of 500.
    let held = Room::new(LogConfig { min_compaction_lag_ms: 999_501, ..compacted() });
    held.put(&[("a", Some("1")), ("a", Some("2"))]);
    assert!(!held.seal_and_clean());
    held.pass(1);
    assert!(held.clean());

    let config = LogConfig { min_cleanable_dirty_ratio: 1.0, max_compaction_lag_ms: 999_500, ..compacted() };
    let waiting = Room::new(config);
    waiting.put(&[("a", Some("1")), ("a", Some("2"))]);
    assert!(!waiting.seal_and_clean());
    waiting.pass(2_000);
    assert!(waiting.clean());
    assert_eq!(waiting.metrics.log_cleaner_max_compaction_delay_seconds.get(), 2);
}

/// KAFKA-13194: nothing beyond the high watermark is cleaned.
#[test]
fn k_13194_not_beyond_the_high_watermark() {
    let room = Room::new(compacted());
    room.put(&[("a", Some("1"))]);
    room.roll();
    append(&room.log, {
        let mut b = BatchBuilder::new(BatchProperties::default());
        b.append(1, Some(b"a"), Some(b"2"), &[]).unwrap();
        b.build()
    });
    room.roll();
    assert_eq!(room.log.high_watermark(), 1);
    room.clean();
    assert_eq!(room.checkpoint(), Some(1));
    assert_eq!(room.keys(), by_key(&[(0, "a"), (1, "a")]), "a leader that lost the second record would miss the first");
    room.log.update_high_watermark(2);
    assert!(room.clean());
    assert_eq!(room.keys(), by_key(&[(1, "a")]));
}

/// KAFKA-3587, KAFKA-4019: the map need not hold the whole dirty part; it is cleaned in rounds.
#[test]
fn k_3587_a_dirty_part_that_does_not_fit_is_cleaned_in_rounds() {
    let room = Room::new(LogConfig { segment_bytes: 400, ..compacted() });
    // Room for nine keys, and the last slot is never filled.
    *room.settings.lock() = CleanerConfig { dedupe_buffer_bytes: 240, ..CleanerConfig::default() };
    for number in 0..30 {
        let key = format!("{}", number % 10);
        room.put(&[(&key, Some("v")), ("same", Some("v"))]);
    }
    room.roll();
    let mut rounds = 0;
    while room.clean() {
        rounds += 1;
        assert!(rounds < 50);
    }
    assert!(rounds > 3, "{rounds}");
    assert_eq!(room.checkpoint(), Some(60));
    let mut newest = BTreeMap::new();
    for (offset, key) in room.keys() {
        assert!(newest.insert(key.clone(), offset).is_none_or(|before| before < offset));
    }
    assert_eq!(newest.len(), 11);
    assert_eq!((newest["same"], newest["9"]), (59, 58));
    assert!(room.metrics.log_cleaner_max_buffer_utilization_percent.get() <= 90);
}

#[test]
fn a_batch_with_more_keys_than_the_map_holds_is_the_partitions_trouble() {
    let room = Room::new(compacted());
    *room.settings.lock() = CleanerConfig { dedupe_buffer_bytes: 72, ..CleanerConfig::default() };
    room.put(&[("a", None), ("b", None), ("c", None), ("d", None)]);
    room.seal_and_clean();
    assert!(room.cleaner.is_uncleanable(&room.log));
    assert_eq!(room.metrics.log_cleaner_uncleanable_partitions.get(), 1);
    assert!(room.metrics.log_cleaner_uncleanable_bytes.get() > 60);
    assert!(!room.clean(), "it is left alone");
    assert_eq!(room.keys().len(), 4);
}

/// KAFKA-4019, KAFKA-7215: a batch larger than the buffers is read and written.
#[test]
fn k_4019_batches_larger_than_the_buffer() {
    let room = Room::new(LogConfig { segment_bytes: 1 << 20, ..compacted() });
    *room.settings.lock() = CleanerConfig { io_buffer_bytes: 1, ..CleanerConfig::default() };
    let large = "x".repeat(50_000);
    for key in ["a", "b", "a", "c"] {
        room.put(&[(key, Some(&large)), ("small", Some("v"))]);
    }
    room.seal_and_clean();
    assert_eq!(room.keys(), by_key(&[(2, "b"), (4, "a"), (6, "c"), (7, "small")]));
    assert_eq!(room.seen()[0].3.as_ref().map(String::len), Some(50_000));
}

/// KAFKA-7215: damage stops the cleaning of one partition, and of no other; nothing damaged is copied.
#[test]
fn k_7215_a_damaged_partition_is_left_alone_and_the_others_go_on() {
    let room = Room::new(compacted());
    room.put(&[("a", Some("1")), ("b", Some("2"))]);
    room.put(&[("a", Some("2"))]);
    room.roll();
    let path = Path::new("/data/t-0/00000000000000000000.log");
    let mut bytes = room.world.bytes(path);
    bytes[70] ^= 1;
    room.world.disk.open(path, crate::env::OpenMode::ReadWrite).unwrap().write_all_at(&bytes, 0).unwrap();
    let mut options = room.world.options();
    options.topic_partition = crate::types::TopicPartition::new("other", 0);
    let other = Room { log: Log::open(options).unwrap(), ..Room::new(compacted()) };
    other.put(&[("a", Some("1")), ("a", Some("2"))]);
    other.roll();
    let logs = [room.log.clone(), other.log.clone()];
    let mut rounds = 0;
    while room.cleaner.run_once(0, &logs, &|| false) {
        rounds += 1;
    }
    assert_eq!(rounds, 2);
    assert!(room.cleaner.is_uncleanable(&room.log) && !room.cleaner.is_uncleanable(&other.log));
    assert_eq!(seen(&other.log).len(), 1);
    assert_eq!(room.world.bytes(path), bytes, "the damaged segment is as it was");
    assert!(!room.world.directory.is_offline());
    assert!(room.world.files(".cleaned").is_empty());
    // A log of the same name that is another one is not left alone.
    room.log.mark_closed();
    room.cleaner.run_once(0, &[], &|| false);
    assert!(!room.cleaner.is_uncleanable(&room.log));
}

/// KAFKA-12840: whoever changes the policy, truncates or deletes need not wait, and finds nothing cleaned behind his back.
#[test]
fn k_12840_a_change_of_the_log_ends_its_cleaning() {
    type Change = fn(&Room);
    let changes: [(&str, Change); 4] = [
        ("policy", |room| room.log.update_config(Arc::new(LogConfig { compact: false, ..compacted() }))),
        ("truncation", |room| assert!(room.log.truncate_to(3).unwrap())),
        ("closing", |room| room.log.mark_closed()),
        ("restart", |room| room.log.truncate_fully_and_start_at(2).unwrap()),
    ];
    for (what, change) in changes {
        let room = Room::new(compacted());
        for _ in 0..3 {
            room.put(&[("a", Some("1")), ("b", Some("1"))]);
            room.roll();
        }
        let before = room.log.segment_count();
        let changed = std::cell::Cell::new(false);
        // The first look at whether the broker stops comes when the cleaning is under way.
        let looks = || {
            if !changed.replace(true) {
                change(&room);
            }
            false
        };
        *room.settings.lock() = CleanerConfig { io_buffer_bytes: 1, ..CleanerConfig::default() };
        let cleaner = &room.cleaner;
        cleaner.run_once(0, std::slice::from_ref(&room.log), &looks);
        assert!(changed.get(), "{what}");
        assert_eq!(room.checkpoint().filter(|offset| *offset > 3), None, "{what}");
        assert!(!cleaner.is_uncleanable(&room.log), "{what}");
        assert!(!room.world.directory.is_offline(), "{what}");
        if what == "policy" {
            assert_eq!((room.log.segment_count(), room.seen().len()), (before, 6));
        }
    }
}

#[test]
fn a_truncated_log_is_dirty_from_there() {
    let room = Room::new(compacted());
    room.put(&[("a", Some("1")), ("b", Some("1"))]);
    room.put(&[("a", Some("2"))]);
    room.seal_and_clean();
    assert_eq!(room.checkpoint(), Some(3));
    room.log.truncate_to(2).unwrap();
    room.put(&[("b", Some("2")), ("c", Some("2"))]);
    room.seal_and_clean();
    assert_eq!(room.keys(), by_key(&[(2, "b"), (3, "c")]));
}

#[test]
fn policies_can_change_while_the_log_is_there() {
    let room = Room::new(LogConfig { compact: false, delete: false, ..compacted() });
    for _ in 0..3 {
        room.put(&[("a", Some("1"))]);
    }
    assert!(!room.seal_and_clean(), "no policy: everything stays");
    assert_eq!(room.log.delete_old_segments(i64::MAX / 2).unwrap(), 0);
    room.log.update_config(Arc::new(compacted()));
    assert!(room.clean());
    assert_eq!(room.keys(), by_key(&[(2, "a")]));
    room.put(&[("b", Some("1"))]);
    room.roll();
    room.put(&[("c", Some("1"))]);
    // Both: compacted, and deleted when it is old; the clock stands at 1,000,000 and the records are of 500.
    room.log.update_config(Arc::new(LogConfig { delete: true, retention_ms: 1_000_000, ..compacted() }));
    assert!(room.clean());
    assert_eq!(room.keys().len(), 3);
    room.pass(501);
    room.clean();
    assert_eq!((room.keys().len(), room.log.log_start_offset()), (0, 5));
}

/// KAFKA-14055: control batches are not in the map, whatever a record's key looks like; KAFKA-8335: markers go when nothing of their
/// transaction is left and their time has passed.
#[test]
fn k_14055_markers_are_outside_the_map() {
    let room = Room::new(compacted());
    let transactional = |producer_id, base_sequence| BatchProperties {
        producer_id,
        producer_epoch: 0,
        base_sequence,
        is_transactional: true,
        ..BatchProperties::default()
    };
    let marker = |commit, producer_id| {
        let marker = end_transaction_marker(commit, 600, producer_id, 0, 0);
        let info = room.log.append_records(marker, 0, AppendOrigin::Coordinator, 7).unwrap();
        room.log.update_high_watermark(info.log_end_offset);
        info.first_offset
    };
    room.put_with(transactional(1, 0), &[("a", Some("1"))]);
    let first = marker(true, 1);
    // The bytes of a commit marker's key: a data record's.
    room.put(&[("\0\0\0\u{1}", Some("data"))]);
    room.put_with(transactional(2, 0), &[("b", Some("1"))]);
    let second = marker(true, 2);
    room.put(&[("a", Some("2"))]);
    room.seal_and_clean();
    let offsets = |room: &Room| room.headers().iter().map(|h| (h.base_offset, h.record_count)).collect::<Vec<_>>();
    assert_eq!(
        offsets(&room),
        [(0, 0), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)],
        "the last of producer 1 is an empty frame"
    );
    assert_eq!((first, second), (1, 4));
    // Both producers write on: the data of the first transaction is gone, and the time of its marker begins.
    room.put_with(transactional(1, 1), &[("c", Some("1"))]);
    marker(true, 1);
    room.seal_and_clean();
    let horizon = |room: &Room, offset| {
        room.headers().iter().find(|header| header.base_offset == offset).and_then(BatchHeader::delete_horizon_ms)
    };
    assert_eq!((horizon(&room, 1), horizon(&room, 4)), (None, None), "the empty frame was still there to be seen");
    room.put(&[("d", Some("1"))]);
    room.seal_and_clean();
    assert_eq!((horizon(&room, 1), horizon(&room, 4)), (Some(1_001_000), None));
    room.pass(1_000);
    room.put(&[("e", Some("1"))]);
    room.seal_and_clean();
    let left: Vec<i64> = room.headers().iter().map(|header| header.base_offset).collect();
    assert!(!left.contains(&0) && !left.contains(&1) && left.contains(&3) && left.contains(&4), "{left:?}");
}

/// KAFKA-8351: aborted records go at once, over several segments; the marker stays until they are gone, with its index entry.
#[test]
fn k_8351_aborted_records_go_and_their_marker_stays() {
    let room = Room::new(compacted());
    let transactional = |producer_id, base_sequence| BatchProperties {
        producer_id,
        producer_epoch: 0,
        base_sequence,
        is_transactional: true,
        ..BatchProperties::default()
    };
    room.put(&[("a", Some("kept"))]);
    room.put_with(transactional(1, 0), &[("a", Some("aborted")), ("b", Some("aborted"))]);
    room.roll();
    room.put_with(transactional(1, 2), &[("c", Some("aborted"))]);
    room.roll();
    let info =
        room.log.append_records(end_transaction_marker(false, 600, 1, 0, 0), 0, AppendOrigin::Coordinator, 7).unwrap();
    room.log.update_high_watermark(info.log_end_offset);
    room.roll();
    let aborted = AbortedEntry::new(1, 1, 4, 5);
    room.clean();
    assert_eq!(room.keys(), by_key(&[(0, "a")]));
    assert_eq!(room.log.all_aborted_transactions().unwrap(), [aborted]);
    let frames = |room: &Room| room.headers().iter().map(|h| (h.base_offset, h.record_count)).collect::<Vec<_>>();
    assert_eq!(frames(&room), [(0, 1), (3, 0), (4, 1)], "the producer's last batch, empty, and its marker");
    // Another writer, and then another transaction of the producer: nothing is left of the first.
    room.put_with(transactional(1, 3), &[("d", Some("1"))]);
    let info =
        room.log.append_records(end_transaction_marker(true, 600, 1, 0, 0), 0, AppendOrigin::Coordinator, 7).unwrap();
    room.log.update_high_watermark(info.log_end_offset);
    room.seal_and_clean();
    assert_eq!(room.log.all_aborted_transactions().unwrap(), [aborted], "the empty frame was still seen");
    for _ in 0..2 {
        room.pass(1_000);
        room.put(&[("e", Some("1"))]);
        room.seal_and_clean();
    }
    assert_eq!(room.log.all_aborted_transactions().unwrap(), []);
    assert!(frames(&room).iter().all(|(offset, _)| ![3, 4].contains(offset)), "{:?}", frames(&room));
}

#[test]
fn segments_are_put_together_and_files_go_after_their_delay() {
    let room = Room::new(compacted());
    for number in 0..20 {
        room.put(&[("a", Some(&format!("{number:0200}")))]);
    }
    assert!(room.log.segment_count() > 4);
    room.seal_and_clean();
    let apart = room.log.segment_count();
    room.put(&[("b", Some("1"))]);
    room.seal_and_clean();
    assert!(room.log.segment_count() < apart && room.log.segment_count() <= 3, "{apart}");
    let old = room.world.files(".deleted").len();
    assert!(old > 10, "{old}");
    assert!(room.world.files(".cleaned").is_empty() && room.world.files(".swap").is_empty());
    let waiting = room.world.spawn.take();
    room.pass(60_000);
    for (_, future) in waiting {
        crate::env::block_on(future);
    }
    assert!(room.world.files(".deleted").is_empty());
}

/// Every way to look into a log with gaps, before and after a restart.
#[test]
fn logs_with_gaps_are_read_as_others() {
    let room = Room::new(LogConfig { segment_bytes: 700, ..compacted() });
    for number in 0..60i64 {
        let mut builder = BatchBuilder::new(BatchProperties::default());
        for part in 0..3 {
            let key = format!("{}", if number % 7 == 0 { number } else { part });
            builder.append(10_000 + number * 10 + part, Some(key.as_bytes()), Some(b"value"), &[]).unwrap();
        }
        room.append(&builder.build());
    }
    room.roll();
    room.put(&[("tail", Some("v"))]);
    room.clean();
    let all = room.seen();
    assert!(all.len() < 40, "{}", all.len());
    let check = |log: &Arc<Log>| {
        assert_eq!(seen(log), all);
        for from in 0..log.log_end_offset() {
            let expected: Vec<Seen> = all.iter().filter(|record| record.0 >= from).cloned().collect();
            assert_eq!(seen_from(log, from), expected, "from {from}");
        }
        for timestamp in (9_990..10_610).step_by(1) {
            let expected = all.iter().find(|record| record.1 >= timestamp).map(|record| (record.0, record.1));
            let found = log.offset_for_timestamp(timestamp).unwrap().map(|found| (found.offset, found.timestamp));
            assert_eq!(found, expected, "{timestamp}");
        }
        assert_eq!(log.log_end_offset(), 181);
    };
    check(&room.log);
    check(&room.world.killed().open());
    for path in room.world.files("index") {
        room.world.disk.remove_file(&path).unwrap();
    }
    check(&room.world.killed().open());
    room.log.close().unwrap();
    check(&room.world.killed().open_clean());
}

/// KAFKA-2024 and its family: offsets far apart are indexed within their segment, and segments too far apart stay apart.
#[test]
fn k_2024_sparse_offsets_stay_indexable() {
    let room = Room::new(LogConfig { segment_bytes: 1 << 20, ..compacted() });
    room.put(&[("a", Some("1"))]);
    let far = i64::from(i32::MAX);
    for (offset, key) in [(far - 5, "b"), (far + 10, "a"), (3 * far, "c")] {
        // As a follower, or what compaction left, would have it.
        let mut state = room.log.lock();
        state.log_end_offset = offset;
        drop(state);
        room.put(&[(key, Some("2"))]);
    }
    room.seal_and_clean();
    assert_eq!(room.keys(), by_key(&[(far - 5, "b"), (far + 10, "a"), (3 * far, "c")]));
    let bases = |log: &Log| -> Vec<i64> {
        log.cleaner_snapshot().unwrap().view.sealed.iter().map(|segment| segment.base_offset).collect()
    };
    assert_eq!(bases(&room.log), [0, far + 10, 3 * far], "none can join another");
    let again = room.world.killed().open();
    assert_eq!(seen(&again), room.seen());
    assert_eq!(seen_from(&again, far + 11).len(), 1);
}

#[test]
fn deleted_logs_leave_no_checkpoint() {
    let room = Room::new(compacted());
    room.put(&[("a", Some("1"))]);
    room.seal_and_clean();
    let path = Path::new("/data/cleaner-offset-checkpoint");
    assert_eq!(room.world.bytes(path).trim_ascii_end(), b"0\n1\nt 0 1");
    let again = room.world.without_power();
    let log = again.open();
    let room = Room::of(again, log);
    assert_eq!(room.checkpoint(), Some(1), "it is durable");
    room.cleaner.forget(&room.log).unwrap();
    assert_eq!(room.world.bytes(path), b"0\n0\n");
}

/// What a full disk or a dead one does to a cleaning: the log is as it was.
#[test]
fn a_failed_write_leaves_the_old_segments() {
    let room = Room::new(compacted());
    room.put(&[("a", Some("1")), ("a", Some("2"))]);
    room.roll();
    room.world.disk.set_fault(Some(crate::env::Fault::Write));
    room.clean();
    room.world.disk.set_fault(None);
    assert!(room.world.directory.is_offline());
    assert!(matches!(room.log.cleaner_snapshot().map(drop), Err(StorageError::LogDirOffline { .. })));
    let again = room.world.killed().open();
    assert_eq!(seen(&again).len(), 2);
}

/// A checkpoint that found no room had the partition left alone until the next start.
#[test]
fn a_full_disk_is_no_reason_to_leave_a_partition_alone() {
    let room = Room::new(compacted());
    room.put(&[("a", Some("1"))]);
    room.seal_and_clean();
    room.put(&[("b", Some("1")), ("b", Some("2"))]);
    room.roll();
    room.log.delete_records_before(2).unwrap();
    room.world.disk.fail(PlannedFault { calls: &[Call::Write], nth: 1, times: 1, failure: Failure::Full });
    room.clean();
    assert!(room.world.directory.is_full() && !room.cleaner.is_uncleanable(&room.log));
    let mut tasks = room.world.spawn.take();
    tasks.retain_mut(|(_, task)| task.as_mut().now_or_never().is_none());
    room.pass(1_000);
    tasks.retain_mut(|(_, task)| task.as_mut().now_or_never().is_none());
    assert!(!room.world.directory.is_full(), "nothing is cleaned before");
    assert!(room.clean());
    assert_eq!((room.checkpoint(), room.keys()), (Some(3), by_key(&[(2, "b")])));
}
