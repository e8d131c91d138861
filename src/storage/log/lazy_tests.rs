//! What a sealed segment costs: nothing at the start, a few bytes in memory, a descriptor only while it is read.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::log_tests::{World, batch, fill, read_all};
use super::open_files_tests::CrowdedDisk;
use crate::env::Env;
use crate::record::BatchProperties;
use crate::storage::segment_files::SegmentFileKind;
use crate::storage::*;

/// The log of a world, opened on a disk that counts; and that disk.
fn reopen(world: &World, max_open_files: usize, clean_shutdown: bool) -> (Arc<Log>, CrowdedDisk) {
    let disk = CrowdedDisk::new(world.disk.clone());
    let env = Env { disk: Arc::new(disk.clone()), ..Env::simulated(world.clock.clone(), 1) };
    let directory = LogDirectory::new(env, "/data", Uuid::nil(), max_open_files);
    let recovery_point = world.killed().open_clean().log_end_offset();
    let options = LogOptions { clean_shutdown, recovery_point, directory, ..world.options() };
    (Log::open(options).unwrap(), disk)
}

fn counts(disk: &CrowdedDisk) -> (usize, usize, usize) {
    let count = |counter: &std::sync::atomic::AtomicUsize| counter.swap(0, Ordering::Relaxed);
    (count(&disk.listed), count(&disk.looked), count(&disk.opened))
}

fn stopped(batches: i64) -> (World, usize) {
    let mut world = World::new();
    world.config.segment_bytes = 1024;
    let log = world.open();
    fill(&log, batches);
    log.close().unwrap();
    (world, log.segment_count())
}

#[test]
fn opening_costs_the_same_for_one_segment_and_for_many() {
    let costs: Vec<_> = [2, 60, 1200]
        .map(|batches| {
            let (world, segments) = stopped(batches);
            let (log, disk) = reopen(&world, 100, true);
            assert_eq!((log.segment_count(), log.log_end_offset()), (segments, 3 * batches));
            (segments, counts(&disk))
        })
        .into();
    assert!(costs[0].0 == 1 && costs[2].0 > 100, "{costs:?}");
    assert!(
        costs.iter().all(|(_, (listed, looked, opened))| *listed == 1 && *looked <= 6 && *opened <= 8),
        "{costs:?}"
    );
    // A stop that was not clean reads what is behind the recovery point, and no more.
    let (world, _) = stopped(1200);
    let (_, disk) = reopen(&world, 100, false);
    let (listed, looked, opened) = counts(&disk);
    assert!(listed == 1 && looked <= 6 && opened <= 8, "{listed} {looked} {opened}");
}

#[test]
fn becoming_leader_of_an_idle_log_writes_nothing() {
    let (world, _) = stopped(20);
    let (log, disk) = reopen(&world, 16, true);
    counts(&disk);
    let before = world.bytes(std::path::Path::new("/data/t-0/leader-epoch-checkpoint"));
    for epoch in 5..8 {
        log.assign_epoch_start_offset(epoch, 60).unwrap();
        assert_eq!(log.end_offset_for_epoch(epoch), (epoch, 60));
    }
    log.flush().unwrap();
    assert_eq!((counts(&disk), log.epoch_entries().len()), ((0, 0, 0), 2));
    assert_eq!(world.bytes(std::path::Path::new("/data/t-0/leader-epoch-checkpoint")), before);
    // The first record of the epoch brings it to the file.
    log.append_records(batch(BatchProperties::default(), 1, 1), 7, AppendOrigin::Client, 0).unwrap();
    let after = Log::open(LogOptions { recovery_point: 60, ..world.killed().options() }).unwrap();
    assert_eq!(after.epoch_entries(), log.epoch_entries());
    assert_eq!(after.epoch_entries()[1], EpochEntry { epoch: 7, start_offset: 60 });
}

#[test]
fn idle_segments_hold_no_descriptor() {
    let (world, segments) = stopped(1200);
    let (log, disk) = reopen(&world, 16, true);
    let open_files = &log.log_directory().open_files;
    assert!(open_files.count() <= 3, "{}", open_files.count());
    assert_eq!(read_all(&log, 0).len(), 1200);
    assert!(open_files.count() <= 16 && counts(&disk).2 > segments);
    // Closing leaves nothing open.
    log.close().unwrap();
    assert_eq!(open_files.count(), 0);
}

#[test]
fn sizes_and_timestamps_are_learnt_once() {
    let (world, segments) = stopped(300);
    let (log, disk) = reopen(&world, 16, true);
    counts(&disk);
    let size: usize = world.files(".log").iter().map(|path| world.bytes(path).len()).sum();
    assert_eq!(log.size(), size as u64);
    assert_eq!(counts(&disk), (0, segments - 1, 0));
    assert_eq!(log.size(), size as u64);
    let found = log.offset_for_timestamp(1000 + 299).unwrap().unwrap();
    assert_eq!(found.offset, 3 * 299);
    counts(&disk);
    assert_eq!(log.offset_for_timestamp(i64::MAX).unwrap(), None);
    assert_eq!(counts(&disk), (0, 0, 0));
}

#[test]
fn wrong_indexes_are_rebuilt_when_they_are_first_used() {
    let (world, _) = stopped(300);
    let (log, _) = reopen(&world, 16, true);
    let whole = read_all(&log, 0);
    let indexes = || -> Vec<Vec<u8>> {
        [".index", ".timeindex"].iter().flat_map(|suffix| world.files(suffix)).map(|path| world.bytes(&path)).collect()
    };
    let sound = indexes();
    let damages: [fn(&World, &std::path::Path); 4] = [
        |world, path| world.disk_remove(path),
        |world, path| world.overwrite(path, b""),
        |world, path| world.overwrite(path, &[0; 4096]),
        |world, path| {
            let mut bytes = world.bytes(path);
            bytes.iter_mut().rev().take(12).for_each(|byte| *byte ^= 0x5a);
            world.overwrite(path, &bytes);
        },
    ];
    for damage in damages {
        let sealed =
            |suffix| world.files(suffix).into_iter().rev().skip(1).filter(|path| !world.bytes(path).is_empty());
        for path in sealed(".index").chain(sealed(".timeindex")).collect::<Vec<_>>() {
            damage(&world, &path);
        }
        let (log, disk) = reopen(&world, 16, true);
        assert!(counts(&disk).2 <= 8);
        assert_eq!(log.offset_for_timestamp(1000 + 150).unwrap().map(|found| found.offset), Some(450));
        assert_eq!(read_all(&log, 0), whole);
        assert_eq!(indexes(), sound);
        assert!(world.files(".tmp").is_empty());
    }
}

#[test]
fn segments_are_told_with_their_sizes_and_neighbours() {
    let (world, segments) = stopped(100);
    let (log, _) = reopen(&world, 16, true);
    let views = log.segments().unwrap();
    assert_eq!(views.len(), segments);
    for (view, next) in views.iter().zip(&views[1..]) {
        assert_eq!(view.next_base_offset, next.base_offset);
        let file = view.open(SegmentFileKind::Log).unwrap();
        assert_eq!(file.size().unwrap(), view.size);
        assert!(!view.is_active && world.files(".log").contains(&view.path(SegmentFileKind::Log)));
    }
    let last = views.last().unwrap();
    assert_eq!((last.is_active, last.next_base_offset), (true, 300));
    assert_eq!(views.iter().map(|view| view.size).sum::<u64>(), log.size());
}
