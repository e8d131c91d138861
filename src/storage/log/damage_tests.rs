//! Damage before the recovery point and behind it: the one is never cut away, the other always.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;

use super::log_tests::{World, append, fill, read_all, sequenced};
use crate::env::{Disk, OpenMode};
use crate::record::BatchProperties;
use crate::storage::*;

/// Opens the log of a killed world, of which everything before `recovery_point` was on the disk.
fn open_with(world: &World, recovery_point: i64, compacted: bool) -> StorageResult<Arc<Log>> {
    Log::open(LogOptions { recovery_point, compacted, ..world.options() })
}

/// Positions and end offsets of the batches of a log.
fn ends(log: &Arc<Log>) -> Vec<(u64, i64)> {
    let mut position = 0;
    let batches = read_all(log, 0).into_iter().map(|(header, _)| {
        position += header.size_in_bytes() as u64;
        (position, header.next_offset())
    });
    batches.collect()
}

fn set_len(world: &World, path: &Path, len: u64) {
    world.disk.open(path, OpenMode::ReadWrite).unwrap().set_len(len).unwrap();
}

/// The reason why the log is not opened; nothing may have been changed.
fn refusal(world: &World, recovery_point: i64, compacted: bool) -> String {
    let before = world.disk.fingerprint();
    let refused = open_with(world, recovery_point, compacted);
    assert_eq!(world.disk.fingerprint(), before, "the files were touched");
    match refused {
        Err(StorageError::PartitionOffline { reason, .. }) => reason.to_string(),
        Err(other) => panic!("{other}"),
        Ok(log) => panic!("the log was opened, and ends at {}", log.log_end_offset()),
    }
}

#[test]
fn a_file_is_cut_behind_the_recovery_point_only() {
    let world = World::new();
    let log = world.open();
    fill(&log, 8);
    let path = world.files(".log").pop().unwrap();
    let ends = ends(&log);
    let size = ends.last().unwrap().0;
    for recovery_point in [0, 3, 9, 12, 24] {
        let synced = ends.iter().find(|(_, offset)| *offset >= recovery_point && recovery_point > 0);
        let synced = synced.map_or(0, |(position, _)| *position);
        for len in (0..=size).step_by(7).chain(ends.iter().map(|(position, _)| *position)) {
            let torn = world.killed();
            set_len(&torn, &path, len);
            if len < synced {
                let reason = refusal(&torn, recovery_point, false);
                let whole = ends.iter().map(|(position, _)| *position).filter(|position| *position <= len).max();
                assert!(reason.contains("00000000000000000000.log"), "{reason}");
                assert!(reason.contains(&format!("byte {}:", whole.unwrap_or(0))), "{len}: {reason}");
                continue;
            }
            let log = open_with(&torn, recovery_point, false).unwrap_or_else(|error| panic!("{len}: {error}"));
            let whole = ends.iter().filter(|(position, _)| *position <= len).map(|(_, offset)| *offset).max();
            assert_eq!(log.log_end_offset(), whole.unwrap_or(0), "{len} of {size}, recovery point {recovery_point}");
        }
    }
}

#[test]
fn a_changed_byte_before_the_recovery_point_is_refused_and_behind_it_cut() {
    let world = World::new();
    let log = world.open();
    fill(&log, 8);
    let path = world.files(".log").pop().unwrap();
    let ends = ends(&log);
    let whole = world.bytes(&path);
    for (index, (end, _)) in ends.iter().enumerate() {
        // A byte of the records, which the checksum covers.
        let damaged = world.killed();
        let mut bytes = whole.clone();
        bytes[*end as usize - 3] ^= 0x10;
        damaged.overwrite(&path, &bytes);
        let good = ends[..index].last().map_or(0, |(_, offset)| *offset);
        for recovery_point in [0, 3, 12, 24] {
            let damaged = damaged.killed();
            match good < recovery_point {
                true => assert!(refusal(&damaged, recovery_point, true).contains("damage at byte")),
                false => assert_eq!(open_with(&damaged, recovery_point, true).unwrap().log_end_offset(), good),
            }
        }
    }
}

#[test]
fn lost_files_are_missed_if_they_were_on_the_disk() {
    let world = World::new();
    let log = world.open();
    fill(&log, 100);
    let logs = world.files(".log");
    assert!(logs.len() > 3);
    let bases: Vec<i64> = log.segments().unwrap().iter().map(|segment| segment.base_offset).collect();

    // All of them.
    let empty = world.killed();
    logs.iter().for_each(|path| empty.disk_remove(path));
    assert!(refusal(&empty, 300, false).contains("no segment is left; the offsets 0 to 299 were on the disk"));
    let log = Log::open(LogOptions { recovery_point: 300, log_start_offset: 300, ..empty.options() }).unwrap();
    assert_eq!(log.log_end_offset(), 300, "nothing was there to lose");

    // The last one.
    let shorter = world.killed();
    shorter.disk_remove(logs.last().unwrap());
    assert!(refusal(&shorter, 300, true).contains("the file ends"));
    assert_eq!(open_with(&shorter, bases[2], false).unwrap().log_end_offset(), *bases.last().unwrap());

    // One in the middle: what follows it is no continuation, unless the cleaner was there.
    let torn = world.killed();
    torn.disk_remove(&logs[2]);
    assert!(refusal(&torn, bases[2] + 1, false).contains("the file ends"), "its first offset was on the disk");
    let compacted = torn.killed();
    assert_eq!(open_with(&compacted, 0, true).unwrap().log_end_offset(), 300);
    let log = open_with(&torn, bases[1], false).unwrap();
    assert_eq!((log.log_end_offset(), log.segment_count()), (bases[2], 2));
    fill(&log, 40);
    assert_eq!(read_all(&log, 0).last().unwrap().0.next_offset(), log.log_end_offset());
}

#[test]
fn a_segment_into_which_the_one_before_reaches_is_a_leftover() {
    let world = World::new();
    let log = world.open();
    fill(&log, 5);
    let bytes = world.bytes(&world.files(".log")[0]);
    world.disk.open(Path::new("/data/t-0/00000000000000000009.log"), OpenMode::CreateReadWrite).unwrap();
    world.overwrite(Path::new("/data/t-0/00000000000000000012.log"), &bytes);
    let log = world.killed().open();
    assert_eq!((log.log_end_offset(), log.segment_count()), (15, 1));
}

#[test]
fn a_start_that_cannot_be_costs_no_records() {
    let world = World::new();
    let log = world.open();
    fill(&log, 5);
    let options = |high_watermark| LogOptions { log_start_offset: 1 << 40, high_watermark, ..world.killed().options() };
    let log = Log::open(options(15)).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, 15), "a damaged checkpoint");
    let log = Log::open(options(1 << 40)).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (1 << 40, 1 << 40), "deleted, then lost");
}

#[test]
fn after_a_clean_stop_too_the_end_is_looked_at() {
    let world = World::new();
    let log = world.open();
    fill(&log, 8);
    log.close().unwrap();
    let ends = ends(&world.killed().open_clean());
    let path = world.files(".log").pop().unwrap();
    for len in [ends[6].0, ends[6].0 + 9, ends[0].0, 0] {
        let torn = world.killed();
        set_len(&torn, &path, len);
        let options = LogOptions { recovery_point: 24, clean_shutdown: true, ..torn.options() };
        let refused = Log::open(options);
        assert!(matches!(refused, Err(StorageError::PartitionOffline { .. })), "{len}");
        assert_eq!(torn.bytes(&path).len() as u64, len);
    }
}

/// What a recovery does must be the same whenever it is cut short itself.
#[test]
fn a_crash_at_any_moment_of_a_recovery_changes_nothing() {
    let world = World::new();
    let log = world.open();
    fill(&log, 30);
    log.flush().unwrap();
    let recovery_point = log.recovery_point();
    fill(&log, 60);
    for number in 0..20 {
        append(&log, sequenced(3, 0, number * 2, 2));
    }
    let written = read_all(&log, 0);
    let logs = world.files(".log");
    let bases: Vec<i64> = log.segments().unwrap().iter().map(|segment| segment.base_offset).collect();
    let torn_in = bases.iter().position(|base| *base > recovery_point).unwrap() + 1;
    let len = world.bytes(&logs[torn_in]).len() as u64;
    set_len(&world, &logs[torn_in], len / 2);
    world.disk_remove(&world.files(".index")[torn_in]);
    let outcome = |world: &World| {
        let log = open_with(world, recovery_point, false).unwrap();
        (log.log_end_offset(), read_all(&log, 0), log.epoch_entries(), log.active_producers().len())
    };
    let expected = outcome(&world.killed());
    assert!(expected.0 > bases[torn_in] && expected.0 < bases[torn_in + 1]);
    let recovering = world.killed();
    recovering.disk.watch();
    let log = open_with(&recovering, recovery_point, false).unwrap();
    log.flush().unwrap();
    let moments = recovering.disk.moments();
    assert!(moments.len() > 8, "{}", moments.len());
    for (number, moment) in moments.iter().enumerate() {
        let killed = World { disk: moment.disk.process_crash(), ..world.killed() }.killed();
        assert_eq!(outcome(&killed), expected, "killed after {number}: {}", moment.what);
        for cut in moment.disk.power_cuts().take(40, 9) {
            let world = World { disk: cut.disk, ..world.killed() }.killed();
            let (end, batches, ..) = outcome(&world);
            assert!(end >= recovery_point, "{number}: {}: {end}", moment.what);
            assert_eq!(batches[..], written[..batches.len()], "{number}: {}", moment.what);
        }
    }
}

/// Files deleted by retention vanish in any order when the power goes; that is no damage and no tear.
#[test]
fn what_retention_deleted_is_not_missed() {
    let mut world = World::new();
    world.config.retention_bytes = 5000;
    let log = world.open();
    fill(&log, 150);
    log.flush().unwrap();
    log.update_high_watermark(450);
    world.disk.watch();
    assert!(log.delete_old_segments(1_000_000).unwrap() > 3);
    let start = log.log_start_offset();
    for moment in world.disk.moments() {
        for cut in moment.disk.power_cuts().take(60, 3) {
            let world = World { disk: cut.disk, config: world.config.clone(), ..world.killed() }.killed();
            let log = open_with(&world, 450, false).unwrap_or_else(|error| panic!("{}: {error}", moment.what));
            assert_eq!(log.log_end_offset(), 450);
            assert_eq!(read_all(&log, start).last().unwrap().0.next_offset(), 450);
        }
    }
}

#[test]
fn a_recovery_begins_near_the_recovery_point() {
    let mut world = World::new();
    world.config.segment_bytes = 1 << 30;
    let log = world.open();
    let large = |number| {
        let mut builder = crate::record::BatchBuilder::new(BatchProperties {
            producer_id: 3,
            producer_epoch: 0,
            base_sequence: number,
            ..BatchProperties::default()
        });
        builder.append(7, None, Some(&vec![b'x'; 1 << 20]), &[]).unwrap();
        builder.build()
    };
    for number in 0..30 {
        append(&log, large(number));
    }
    log.flush().unwrap();
    append(&log, large(30));
    // What is not read cannot be found: the first batch is damaged, and so is the length of the second.
    let damaged = world.killed();
    let file = damaged.disk.open(Path::new("/data/t-0/00000000000000000000.log"), OpenMode::ReadWrite).unwrap();
    file.write_all_at(&[0xff; 64], 1000).unwrap();
    file.write_all_at(&[0xff; 64], (1 << 20) + 70).unwrap();
    let log = open_with(&damaged, 30, false).unwrap();
    assert_eq!((log.log_end_offset(), log.active_producers()[0].last_sequence), (31, 30));
    assert_eq!(damaged.files(".snapshot").len(), 1, "one snapshot in the middle of a segment is enough");
    let refused = open_with(&damaged, 0, false).map(|log| log.log_end_offset());
    assert_eq!(refused.unwrap(), 0, "from the first byte on it is found");
}
