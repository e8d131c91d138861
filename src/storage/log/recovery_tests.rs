//! What a log is after kills, power cuts and damage.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::log_tests::{World, append, batch, fill, read_all, sequenced};
use crate::env::{Disk, Fault};
use crate::record::BatchProperties;
use crate::storage::*;

impl World {
    pub(super) fn disk_remove(&self, path: &std::path::Path) {
        self.disk.remove_file(path).unwrap();
    }
}

#[test]
fn a_torn_last_batch_is_cut_at_every_byte() {
    let world = World::new();
    let log = world.open();
    fill(&log, 30);
    let path = world.files(".log").pop().unwrap();
    let whole = world.bytes(&path);
    let last = batch(BatchProperties::default(), 3, 0).len();
    for cut in 0..last {
        let torn = world.killed();
        torn.overwrite(&path, &whole[..whole.len() - last + cut]);
        let log = torn.open();
        assert_eq!(log.log_end_offset(), 87, "{cut}");
        assert_eq!(read_all(&log, 0).len(), 29);
        assert_eq!(append(&log, batch(BatchProperties::default(), 1, 0)).first_offset, 87);
        assert_eq!(read_all(&torn.killed().open(), 0).len(), 30);
    }
}

#[test]
fn a_flipped_byte_ends_the_log_there() {
    let world = World::new();
    let log = world.open();
    fill(&log, 10);
    let path = world.files(".log").pop().unwrap();
    let whole = world.bytes(&path);
    let size = whole.len() / 10;
    for index in (5 * size)..(6 * size) {
        // The leader epoch is not covered by the checksum.
        if (12..16).contains(&(index % size)) {
            continue;
        }
        let damaged = world.killed();
        let mut bytes = whole.clone();
        bytes[index] ^= 0x20;
        damaged.overwrite(&path, &bytes);
        let log = damaged.open();
        // The base offset is not covered either; what makes offsets go back or jump beyond the segment is noticed.
        assert!(log.log_end_offset() == 15 || index % size < 8, "{index}: {}", log.log_end_offset());
        assert!(read_all(&log, 0).len() >= 5);
    }
}

#[test]
fn damage_behind_segments_drops_what_follows() {
    let world = World::new();
    let log = world.open();
    fill(&log, 100);
    let logs = world.files(".log");
    assert!(logs.len() > 3);
    let damaged = world.killed();
    let mut bytes = damaged.bytes(&logs[1]);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    damaged.overwrite(&logs[1], &bytes);
    let log = damaged.open();
    assert_eq!(log.segment_count(), 2);
    assert_eq!(read_all(&log, 0).last().unwrap().0.next_offset(), log.log_end_offset());
    assert_eq!(damaged.files(".log").len(), 2);

    // The same damage before the recovery point is not cut away: it was durable, and what follows is good.
    let rotten = world.killed();
    rotten.overwrite(&logs[1], &bytes);
    rotten.disk_remove(&rotten.files(".index")[1]);
    let log = Log::open(LogOptions { recovery_point: 300, ..rotten.options() }).unwrap();
    assert_eq!(log.log_end_offset(), 300);
    let error = (0..300).find_map(|offset| log.read(offset, 1, FetchIsolation::LogEnd, true).err());
    assert!(matches!(error, None | Some(StorageError::Corrupt { .. })), "{error:?}");
    assert!(log.read(299, 1, FetchIsolation::LogEnd, true).unwrap().records.is_some());
}

#[test]
fn missing_and_garbled_indexes_are_rebuilt_or_passed_over() {
    let world = World::new();
    let log = world.open();
    fill(&log, 150);
    log.close().unwrap();
    let whole = read_all(&world.open_clean(), 0);
    type Damage = fn(&World, &std::path::Path);
    let damages: [Damage; 5] = [
        |world, path| world.disk_remove(path),
        |world, path| world.overwrite(path, b""),
        |world, path| world.overwrite(path, b"abc"),
        |world, path| world.overwrite(path, &[0; 240]),
        |world, path| {
            let reversed: Vec<u8> = world.bytes(path).into_iter().rev().collect();
            world.overwrite(path, &reversed);
        },
    ];
    for suffix in [".index", ".timeindex"] {
        for (number, damage) in damages.iter().enumerate() {
            for clean in [true, false] {
                let damaged = world.killed();
                damaged.files(suffix).iter().for_each(|path| damage(&damaged, path));
                let log = if clean { damaged.open_clean() } else { damaged.open() };
                assert_eq!(read_all(&log, 0), whole, "{suffix} {number} {clean}");
                for offset in (0..450).step_by(7) {
                    let info = log.read(offset, 1, FetchIsolation::LogEnd, true).unwrap();
                    assert!(info.records.is_some(), "{suffix} {number} {clean} {offset}");
                }
                fill(&log, 20);
                assert_eq!(log.log_end_offset(), 510);
            }
        }
    }
}

#[test]
fn lost_epochs_are_found_in_the_log() {
    let world = World::new();
    let log = world.open();
    for number in 0..60 {
        let batch = batch(BatchProperties::default(), 1, 0);
        log.append_records(batch, number / 20, AppendOrigin::Coordinator, 0).unwrap();
    }
    log.close().unwrap();
    let entries = log.epoch_entries();
    assert_eq!(entries.len(), 3);
    for text in [None, Some("0\n1\n"), Some("")] {
        let damaged = world.killed();
        let path = std::path::Path::new("/data/t-0/leader-epoch-checkpoint");
        match text {
            None => damaged.disk_remove(path),
            Some(text) => damaged.overwrite(path, text.as_bytes()),
        }
        assert_eq!(damaged.open_clean().epoch_entries(), entries);
    }
}

#[test]
fn a_ticket_is_durability() {
    let world = World::new();
    let log = world.open();
    fill(&log, 50);
    let ticket = log.flush_ticket(150);
    ticket.now_or_never().expect("blocking work runs inline").unwrap();
    assert!(log.flush_ticket(150).is_ready());
    fill(&log, 3);
    assert!(!log.flush_ticket(151).is_ready());
    let after = world.without_power().open();
    assert!(after.log_end_offset() >= 150, "{}", after.log_end_offset());
    assert_eq!(read_all(&after, 0).last().unwrap().0.next_offset(), after.log_end_offset());
    assert_eq!(after.epoch_entries(), [EpochEntry { epoch: 0, start_offset: 0 }]);
}

#[test]
fn flush_messages_asks_for_a_sync() {
    let mut world = World::new();
    world.config.flush_messages = 5;
    let log = world.open();
    assert!(append(&log, batch(BatchProperties::default(), 3, 0)).flush.is_none());
    let info = append(&log, batch(BatchProperties::default(), 3, 0));
    info.flush.expect("a ticket").now_or_never().expect("done").unwrap();
    assert_eq!(world.without_power().open().log_end_offset(), 6);
}

#[test]
fn the_first_failure_takes_the_directory_offline() {
    let world = World::new();
    let log = world.open();
    fill(&log, 5);
    world.disk.set_fault(Some(Fault::Write));
    let batch = batch(BatchProperties::default(), 1, 0);
    let append = || log.append_records(batch.clone(), 0, AppendOrigin::Client, 0);
    assert!(matches!(append(), Err(StorageError::LogDirOffline { .. })));
    world.disk.set_fault(None);
    assert!(matches!(append(), Err(StorageError::LogDirOffline { .. })), "for good");
    assert!(matches!(log.read(0, 1, FetchIsolation::LogEnd, true), Err(StorageError::LogDirOffline { .. })));
    assert_eq!(world.killed().open().log_end_offset(), 15);
    let world = World::new();
    let log = world.open();
    fill(&log, 5);
    world.disk.set_fault(Some(Fault::Sync));
    let answer = log.flush_ticket(15).now_or_never().expect("blocking work runs inline");
    assert!(matches!(answer, Err(StorageError::LogDirOffline { .. })));
    world.disk.set_fault(None);
    let answer = log.flush_ticket(15).now_or_never().expect("at once");
    assert!(matches!(answer, Err(StorageError::LogDirOffline { .. })), "a sync is never repeated");
    assert!(log.directory.is_offline());
}

/// What a history does to a log.
#[derive(Clone, Debug)]
enum Step {
    Append { records: i32, timestamp: i64 },
    AppendSequenced { producer: i64, records: i32 },
    Flush,
    Kill,
    PowerCut,
    CleanStop,
    DeleteRecords(i64),
    Retention,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..20, 0..5000i64).prop_map(|(records, timestamp)| Step::Append { records, timestamp }),
        4 => (0..3i64, 1..5).prop_map(|(producer, records)| Step::AppendSequenced { producer, records }),
        2 => Just(Step::Flush),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerCut),
        1 => Just(Step::CleanStop),
        1 => (0..40i64).prop_map(Step::DeleteRecords),
        1 => Just(Step::Retention),
    ]
}

/// What a log should hold.
#[derive(Clone, Default)]
struct Model {
    batches: Vec<(i64, Vec<u8>)>,
    start: i64,
    end: i64,
    flushed: i64,
    /// Last offset, producer and its next sequence, of every sequenced batch that was not lost.
    sequences: Vec<(i64, i64, i32)>,
}

impl Model {
    fn note(&mut self, info: &LogAppendInfo, batch: &[u8]) {
        assert_eq!(info.first_offset, self.end);
        self.end = info.last_offset + 1;
        self.batches.push((info.last_offset, batch[21..].to_vec()));
    }

    fn check(&self, log: &Log) {
        assert_eq!((log.log_end_offset(), log.log_start_offset()), (self.end, self.start));
        let expected: Vec<&[u8]> =
            self.batches.iter().filter(|(last, _)| *last >= self.start).map(|(_, body)| &**body).collect();
        let found = read_all(log, self.start);
        let found: Vec<&[u8]> = found.iter().map(|(_, batch)| &batch[21..]).collect();
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_its_batches(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        world.config.segment_bytes = 1500;
        let mut log = world.open();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Append { records, timestamp } => {
                    let batch = batch(BatchProperties::default(), records, timestamp);
                    let info = append(&log, batch.clone());
                    model.note(&info, &batch);
                }
                Step::AppendSequenced { producer, records } => {
                    let last = model.sequences.iter().rev().find(|(_, id, _)| *id == producer);
                    let sequence = last.map_or(0, |(_, _, next)| *next);
                    let batch = sequenced(producer, 0, sequence, records);
                    let info = append(&log, batch.clone());
                    model.note(&info, &batch);
                    model.sequences.push((info.last_offset, producer, sequence + records));
                    prop_assert!(append(&log, batch).duplicate);
                }
                Step::Flush => {
                    log.flush().unwrap();
                    model.flushed = model.end;
                }
                Step::Kill => {
                    let options = LogOptions {
                        log_start_offset: model.start,
                        recovery_point: log.recovery_point(),
                        ..world.options()
                    };
                    world = world.killed();
                    log = Log::open(LogOptions { directory: world.directory.clone(), ..options }).unwrap();
                }
                Step::PowerCut => {
                    world = world.without_power();
                    let options =
                        LogOptions { log_start_offset: model.start, high_watermark: model.start, ..world.options() };
                    log = Log::open(options).unwrap();
                    let end = log.log_end_offset();
                    prop_assert!(end >= model.flushed.max(model.start).min(model.end), "{end} {}", model.flushed);
                    model.batches.retain(|(last, _)| *last < end);
                    model.end = end;
                    // What was lost is for the producers to send again.
                    model.sequences.retain(|(last, _, _)| *last < end);
                }
                Step::CleanStop => {
                    log.close().unwrap();
                    // As the manager does it with the marker of the clean stop.
                    world.disk.sync_dir(std::path::Path::new("/data")).unwrap();
                    let options = LogOptions { log_start_offset: model.start, clean_shutdown: true, ..world.options() };
                    log = Log::open(options).unwrap();
                    model.flushed = model.end;
                }
                Step::DeleteRecords(count) => {
                    log.update_high_watermark(model.end);
                    let offset = (model.start + count).min(model.end);
                    model.start = log.delete_records_before(offset).unwrap();
                }
                Step::Retention => {
                    log.update_high_watermark(model.end);
                    log.delete_old_segments(0).unwrap();
                    model.start = log.log_start_offset();
                }
            }
            model.check(&log);
        }
        let _ = Arc::strong_count(&log);
    }
}
