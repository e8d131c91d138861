//! Swaps that were interrupted: by a kill or a power cut after every change of the disk, and again while they are completed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::LogConfig;
use crate::env::{Disk, MemoryDisk, OpenMode};
use crate::storage::Log;
use crate::storage::cleaner::cleaner_tests::{Room, Seen, compacted, seen};
use crate::storage::log::log_tests::World;

/// Power cuts looked at for each moment.
const POWER_CUTS_MAX: usize = 6;

/// A log with several segments, of which cleaning leaves little, durable as it is.
fn dirty(config: LogConfig) -> Room {
    let room = Room::new(config);
    for round in 0..4 {
        for key in ["a", "b", "c"] {
            room.put(&[(key, Some("value")), ("same", Some(&format!("{round}")))]);
        }
        room.roll();
    }
    // Nothing of these segments stays but their last batch.
    for _ in 0..3 {
        room.put(&[("same", Some("later"))]);
        room.roll();
    }
    room.put(&[("same", None), ("tail", Some("v"))]);
    room.roll();
    room.log.flush().unwrap();
    room
}

fn world(room: &Room, disk: MemoryDisk) -> World {
    World::on(room.world.clock.clone(), disk, room.world.config.clone())
}

fn leftovers(world: &World) -> Vec<PathBuf> {
    [".swap", ".cleaned", ".deleted"].iter().flat_map(|suffix| world.files(suffix)).collect()
}

/// Opens what a crash left. Every record of `before` that is in `after` is there, and none twice; the cleaner can go on.
fn check(room: &Room, disk: MemoryDisk, before: &[Seen], after: &[Seen], what: &str) -> Vec<Seen> {
    let world = world(room, disk);
    let log = world.open();
    let found = seen(&log);
    assert!(found.is_sorted_by(|one, other| one.0 < other.0), "{what}: {found:?}");
    assert!(found.iter().all(|record| before.contains(record)), "{what}: {found:?}");
    assert!(after.iter().all(|record| found.contains(record)), "{what}: {found:?}");
    assert_eq!(log.log_end_offset(), room.log.log_end_offset(), "{what}");
    assert_eq!(leftovers(&world), [] as [PathBuf; 0], "{what}");
    log.update_high_watermark(log.log_end_offset());
    let again = Room::of(world, log);
    again.put(&[("more", Some("v"))]);
    again.roll();
    while again.clean() {}
    let newest: Vec<Seen> = again.seen().into_iter().filter(|record| record.2 != "more").collect();
    assert_eq!(newest, after, "{what}");
    found
}

fn crash_everywhere(config: LogConfig, is_one_group: bool) {
    let room = dirty(config);
    let before = room.seen();
    let before_is_safe = room.world.disk.power_cut();
    room.world.disk.watch();
    assert!(room.clean());
    let after = room.seen();
    assert!(after.len() * 3 < before.len());
    check(&room, before_is_safe, &before, &after, "before");
    let moments = room.world.disk.moments();
    assert!(moments.len() > 20, "{}", moments.len());
    let mut both = [false; 2];
    let mut see = |found: Vec<Seen>, what: &str| {
        both[usize::from(found == after)] = true;
        assert!(!is_one_group || found == before || found == after, "{what}: half a swap");
    };
    for (number, moment) in moments.iter().enumerate() {
        let what = format!("kill after {number}: {}", moment.what);
        see(check(&room, moment.disk.process_crash(), &before, &after, &what), &what);
        for cut in moment.disk.power_cuts().take(POWER_CUTS_MAX, number as u64) {
            let what = format!("power cut after {number}: {}, {:?}", moment.what, cut.choice);
            see(check(&room, cut.disk, &before, &after, &what), &what);
        }
    }
    assert_eq!(both, [true; 2]);
}

#[test]
fn a_crash_at_any_moment_leaves_the_old_segments_or_the_new_one() {
    crash_everywhere(LogConfig { segment_bytes: 100_000, ..compacted() }, true);
}

#[test]
fn a_crash_between_groups_of_segments() {
    crash_everywhere(LogConfig { segment_bytes: 800, ..compacted() }, false);
}

/// A crash while an interrupted swap is completed, at every change, and again in that start, changes nothing about the outcome.
#[test]
fn a_crash_while_a_swap_is_completed() {
    let room = dirty(LogConfig { segment_bytes: 100_000, ..compacted() });
    let before = room.seen();
    room.world.disk.watch();
    room.clean();
    let after = room.seen();
    let swapping: Vec<MemoryDisk> = (room.world.disk.moments().into_iter())
        .map(|moment| moment.disk.process_crash())
        .filter(|disk| !leftovers(&world(&room, disk.clone())).is_empty())
        .collect();
    assert!(swapping.len() > 15);
    for (number, disk) in swapping.iter().enumerate() {
        let once = disk.process_crash();
        let expected = check(&room, once.process_crash(), &before, &after, "once");
        once.watch();
        drop(world(&room, once.clone()).open());
        for moment in once.moments() {
            let what = format!("{number}, then {}", moment.what);
            assert_eq!(check(&room, moment.disk.process_crash(), &before, &after, &what), expected, "{what}");
            // What the killed process had renamed may not be durable yet: then it is as before.
            for cut in moment.disk.power_cuts().take(2, number as u64) {
                let found = check(&room, cut.disk, &before, &after, &what);
                assert!(found == before || found == after, "{what}: {:?}", cut.choice);
            }
        }
    }
}

/// KAFKA-12520: an interrupted swap is completed by renames; neither indexes nor the producers' state are built again.
#[test]
fn k_12520_a_leftover_swap_forces_no_rebuild() {
    let room = dirty(LogConfig { segment_bytes: 100_000, index_interval_bytes: 1, ..compacted() });
    let snapshots = room.world.files(".snapshot");
    room.world.disk.watch();
    room.clean();
    let path = Path::new("/data/t-0/00000000000000000000.log");
    let (log_bytes, index_bytes) = (room.world.bytes(path), room.world.bytes(&path.with_extension("index")));
    assert!(!index_bytes.is_empty());
    let mut completed = 0;
    for moment in room.world.disk.moments() {
        let world = world(&room, moment.disk.process_crash());
        let has_swap = world.files(".log.swap").len() == 1;
        let log = world.open_clean();
        if !has_swap {
            continue;
        }
        completed += 1;
        assert_eq!(
            (world.bytes(path), world.bytes(&path.with_extension("index"))),
            (log_bytes.clone(), index_bytes.clone())
        );
        assert_eq!(seen(&log), room.seen());
        assert_eq!(world.bytes(&path.with_extension("index")), index_bytes, "{}", moment.what);
        let last = snapshots.last().unwrap();
        assert!(world.files(".snapshot").contains(last), "the newest snapshot is used: {}", moment.what);
    }
    assert!(completed > 8, "{completed}");
}

fn open_of(world: &World) -> Arc<Log> {
    world.open_clean()
}

/// What Apache Kafka's order of renames leaves, which does the log first and notes no end.
#[test]
fn swaps_of_apache_kafka_are_completed() {
    let room = dirty(LogConfig { segment_bytes: 100_000, ..compacted() });
    let before = room.seen();
    let untouched = room.world.disk.process_crash();
    room.clean();
    let after = room.seen();
    let cleaned = |suffix: &str| room.world.bytes(&PathBuf::from(format!("/data/t-0/{:020}{suffix}", 0)));
    let files = [".log", ".index", ".timeindex"].map(|suffix| (suffix, cleaned(suffix)));
    let with = |named: [&str; 3]| {
        let disk = untouched.process_crash();
        for ((suffix, bytes), name) in files.iter().zip(named) {
            let path = format!("/data/t-0/{:020}{suffix}{name}", 0);
            disk.open(Path::new(&path), OpenMode::Truncate).unwrap().write_all_at(bytes, 0).unwrap();
        }
        world(&room, disk)
    };
    assert_eq!(seen(&open_of(&with([".cleaned", ".cleaned", ".cleaned"]))), before);
    assert_eq!(seen(&open_of(&with([".swap", ".cleaned", ".cleaned"]))), before, "an unfinished rename is dropped");
    assert_eq!(seen(&open_of(&with([".swap", ".swap", ".swap"]))), after);
    // The old segments are gone, the log has its name, the indexes have not.
    let world = with(["", ".swap", ".swap"]);
    for path in world.files("") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let offset: i64 = name[..20.min(name.len())].parse().unwrap_or(-1);
        let is_old = (1..room.log.log_end_offset()).contains(&offset) && !name.ends_with(".snapshot");
        if is_old || (offset == 0 && name.ends_with("index")) {
            world.disk.remove_file(&path).unwrap();
        }
    }
    let log = open_of(&world);
    assert_eq!(seen(&log), after);
    assert_eq!(leftovers(&world), [] as [PathBuf; 0]);
    assert_eq!(world.bytes(Path::new("/data/t-0/00000000000000000000.index")), files[1].1);
}
