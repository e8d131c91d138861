//! Disks that fail and disks that are full: what is refused, what goes on, and what a start makes of it.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use uuid::Uuid;

use crate::config::LogConfig;
use crate::env::{
    Call, Disk, Env, Failure, Fault, InlineSpawn, ManualClock, MemoryDisk, NamedFuture, OpenMode, PlannedFault,
};
use crate::record::BatchProperties;
use crate::storage::log::log_tests::{batch, read_all};
use crate::storage::*;
use crate::types::TopicPartition;

struct World {
    clock: ManualClock,
    disk: MemoryDisk,
    spawn: InlineSpawn,
    env: Env,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new(1_000_000);
        Self::on(clock.clone(), MemoryDisk::new(Arc::new(clock)))
    }

    fn on(clock: ManualClock, disk: MemoryDisk) -> Self {
        let spawn = InlineSpawn::default();
        let env =
            Env { disk: Arc::new(disk.clone()), spawn: Arc::new(spawn.clone()), ..Env::simulated(clock.clone(), 5) };
        Self { clock, disk, spawn, env }
    }

    fn killed(&self) -> Self {
        Self::on(self.clock.clone(), self.disk.process_crash())
    }

    fn open(&self, directories: &[&str]) -> StorageResult<Arc<LogManager>> {
        let directories = directories.iter().map(Into::into).collect();
        LogManager::open(self.env.clone(), LogManagerOptions::new(directories, 1))
    }

    /// Lets the clock run and the tasks that wait for it.
    fn pass(&self, tasks: &mut Vec<NamedFuture>, time: Duration) {
        tasks.extend(self.spawn.take());
        tasks.retain_mut(|(_, task)| task.as_mut().now_or_never().is_none());
        self.clock.advance(time);
        tasks.retain_mut(|(_, task)| task.as_mut().now_or_never().is_none());
    }

    fn has_marker(&self, directory: &str) -> bool {
        self.disk.metadata(&Path::new(directory).join(".kafka_cleanshutdown")).is_ok()
    }
}

fn name(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn log_of(manager: &LogManager, partition: i32) -> Arc<Log> {
    let config = LogConfig { segment_bytes: 600, index_interval_bytes: 100, ..LogConfig::default() };
    manager.get_or_create(&name(partition), Uuid::from_u128(9), Arc::new(config)).unwrap()
}

fn append_as(log: &Arc<Log>, origin: AppendOrigin) -> StorageResult<LogAppendInfo> {
    log.append_records(batch(BatchProperties::default(), 2, 7), 0, origin, 7)
}

fn once(calls: &'static [Call], failure: Failure) -> PlannedFault {
    PlannedFault { calls, nth: 1, times: 1, failure }
}

/// KAFKA-10778: nothing is appended between the error and the directory's going offline, and nobody who waits is told that all is
/// well.
#[test]
fn kafka_10778_a_failed_sync_ends_all_appends_at_once() {
    let world = World::new();
    let manager = world.open(&["/data"]).unwrap();
    let (log, other) = (log_of(&manager, 0), log_of(&manager, 1));
    append_as(&log, AppendOrigin::Client).unwrap();
    append_as(&other, AppendOrigin::Client).unwrap();
    log.flush().unwrap();
    append_as(&log, AppendOrigin::Client).unwrap();
    world.disk.fail(once(&[Call::Sync], Failure::Io));
    let answer = log.flush_ticket(4).now_or_never().expect("inline");
    assert!(matches!(answer, Err(StorageError::LogDirOffline { .. })), "{answer:?}");
    // The disk would take it now.
    for log in [&log, &other] {
        let refused = append_as(log, AppendOrigin::Coordinator);
        assert!(matches!(refused, Err(StorageError::LogDirOffline { .. })), "{refused:?}");
        assert!(matches!(log.flush(), Err(StorageError::LogDirOffline { .. })), "a sync is never repeated");
    }
    assert_eq!(log.recovery_point(), 2);
    assert!(manager.fatal_failure().is_some_and(|reason| reason.contains("all log dirs in /data have failed")));
    assert!(manager.shutdown(1).is_err());
    assert!(!world.has_marker("/data"));
}

/// A write that ends after another thread has taken the directory offline is no success (KAFKA-10778).
#[test]
fn kafka_10778_an_append_that_a_failure_overtakes_is_not_acknowledged() {
    let world = World::new();
    let manager = world.open(&["/data"]).unwrap();
    let log = log_of(&manager, 0);
    append_as(&log, AppendOrigin::Client).unwrap();
    let state = log.lock();
    let appending = std::thread::spawn({
        let log = log.clone();
        move || append_as(&log, AppendOrigin::Client)
    });
    manager.directories[0].directory.take_offline("another thread's sync failed".to_owned());
    drop(state);
    assert!(matches!(appending.join().unwrap(), Err(StorageError::LogDirOffline { .. })));
}

/// Redpanda 13611: a full disk is no dead disk. What was half written is taken back, clients are refused, everything else goes on.
#[test]
fn redpanda_13611_a_full_disk_refuses_clients_and_serves_the_rest() {
    let world = World::new();
    let manager = world.open(&["/data"]).unwrap();
    let (log, doomed) = (log_of(&manager, 0), log_of(&manager, 1));
    append_as(&log, AppendOrigin::Client).unwrap();
    append_as(&doomed, AppendOrigin::Client).unwrap();
    let size = log.size();
    world.disk.fail(once(&[Call::Write], Failure::Full));
    let refused = append_as(&log, AppendOrigin::Client);
    assert!(matches!(refused, Err(StorageError::DiskFull { .. })), "{refused:?}");
    let file = Path::new("/data/t-0/00000000000000000000.log");
    assert_eq!((log.size(), world.disk.metadata(file).unwrap().len), (size, size), "half a batch was left");
    // The disk has room again, and nobody has looked yet.
    let refused = append_as(&doomed, AppendOrigin::Client);
    assert!(matches!(refused, Err(StorageError::DiskFull { .. })), "{refused:?}");
    assert!(!manager.log_dirs()[0].is_offline);
    append_as(&log, AppendOrigin::Coordinator).expect("offsets can be committed");
    log.update_high_watermark(4);
    assert_eq!(read_all(&log, 0).len(), 2);
    assert_eq!(log.delete_records_before(1).unwrap(), 1);
    manager.delete_async(&name(1)).unwrap();
    log.flush().unwrap();
    let mut tasks = Vec::new();
    world.pass(&mut tasks, Duration::from_secs(1));
    assert_eq!(append_as(&log, AppendOrigin::Client).expect("there is room").first_offset, 4);
    manager.shutdown(3).unwrap();
    assert!(world.has_marker("/data"));
}

/// Every write that a log makes may be the one for which there is no room: of batches, indexes, snapshots, epochs, checkpoints.
#[test]
fn redpanda_13611_whatever_finds_the_disk_full_can_be_repeated() {
    const WRITES: &[Call] = &[Call::Write, Call::Create, Call::Rename];
    let mut refused = 0;
    for nth in 1..60 {
        let world = World::new();
        let manager = world.open(&["/data"]).unwrap();
        let log = log_of(&manager, 0);
        let times = 1 + nth % 2;
        world.disk.fail(PlannedFault { calls: WRITES, nth, times, failure: Failure::Full });
        let mut tasks = Vec::new();
        let mut end = 0;
        while end < 30 {
            if end % 8 == 0 {
                refused += i32::from(log.assign_epoch_start_offset(end as i32, end).is_err());
            }
            match append_as(&log, AppendOrigin::Client) {
                Ok(info) => {
                    assert_eq!(info.first_offset, end, "write {nth}");
                    end += 2;
                }
                Err(StorageError::DiskFull { .. }) => refused += 1,
                Err(error) => panic!("write {nth}: {error}"),
            }
            if end % 10 == 0 {
                let _ = manager.directories[0].directory.checkpoint();
            }
            world.pass(&mut tasks, Duration::from_secs(1));
        }
        assert!(!manager.log_dirs()[0].is_offline, "write {nth}");
        log.flush().unwrap();
        for world in [world.killed(), World::on(world.clock.clone(), world.disk.power_cut())] {
            let manager = world.open(&["/data"]).unwrap();
            let log = log_of(&manager, 0);
            let offsets: Vec<i64> = read_all(&log, 0).iter().map(|(header, _)| header.base_offset).collect();
            assert_eq!(offsets, (0..30).step_by(2).collect::<Vec<i64>>(), "write {nth}");
        }
        match manager.shutdown(1) {
            // Giving up the ballast makes room once.
            Err(StorageError::DiskFull { .. }) if times > 1 => {}
            stopped => stopped.unwrap_or_else(|error| panic!("write {nth}: {error}")),
        }
    }
    assert!(refused > 30, "{refused}");
}

/// A sync that has no room for what was written has lost it.
#[test]
fn a_sync_without_room_is_a_failed_sync() {
    let world = World::new();
    let manager = world.open(&["/data"]).unwrap();
    let log = log_of(&manager, 0);
    append_as(&log, AppendOrigin::Client).unwrap();
    world.disk.fail(once(&[Call::Sync], Failure::Full));
    assert!(matches!(log.flush(), Err(StorageError::LogDirOffline { .. })));
}

/// KAFKA-10471, KAFKA-15375: the marker is gone, durably, before anything else happens; a start that dies leaves none.
#[test]
fn kafka_10471_a_crash_in_a_start_leaves_no_marker() {
    let world = World::new();
    let manager = world.open(&["/data"]).unwrap();
    append_as(&log_of(&manager, 0), AppendOrigin::Client).unwrap();
    manager.shutdown(1).unwrap();
    drop(manager);
    assert!(world.has_marker("/data"));
    world.disk.watch();
    let manager = world.open(&["/data"]).unwrap();
    append_as(&log_of(&manager, 0), AppendOrigin::Client).unwrap();
    let moments = world.disk.moments();
    let removed = moments.iter().position(|moment| moment.what.contains(".kafka_cleanshutdown"));
    let removed = removed.expect("the marker is removed");
    for (number, moment) in moments.iter().enumerate() {
        let after = World::on(world.clock.clone(), moment.disk.power_cut());
        // The sync of its directory follows its removal at once.
        assert_eq!(after.has_marker("/data"), number <= removed, "{number}: {}", moment.what);
        let log = log_of(&after.open(&["/data"]).unwrap(), 0);
        assert!(log.log_end_offset() >= 2, "{number}: {}", moment.what);
    }
}

/// KAFKA-10101 and what goes with it: a start that fails gives the marker back where it was, and to nobody else.
#[test]
fn kafka_10101_only_a_clean_directory_gets_the_marker_of_a_failed_start() {
    let world = World::new();
    let manager = world.open(&["/a", "/b"]).unwrap();
    for partition in 0..4 {
        append_as(&log_of(&manager, partition), AppendOrigin::Client).unwrap();
    }
    manager.shutdown(77).unwrap();
    drop(manager);
    world.disk.remove_file(Path::new("/b/.kafka_cleanshutdown")).unwrap();
    let manager = world.open(&["/a", "/b"]).unwrap();
    assert_eq!(manager.previous_broker_epoch(), -1);
    manager.abandon().unwrap();
    drop(manager);
    assert_eq!((world.has_marker("/a"), world.has_marker("/b")), (true, false));
    let manager = world.open(&["/a", "/b"]).unwrap();
    assert!(manager.logs().iter().all(|log| log.log_end_offset() == 2));
    manager.shutdown(78).unwrap();
    drop(manager);
    assert!(world.has_marker("/b"), "recovered and stopped in order");
    // The epoch of the last clean stop is not lost either.
    let manager = world.open(&["/a", "/b"]).unwrap();
    manager.abandon().unwrap();
    drop(manager);
    assert_eq!(world.open(&["/a", "/b"]).unwrap().previous_broker_epoch(), 78);
}

#[test]
fn a_directory_that_cannot_be_used_leaves_the_others_and_nothing_is_made_anew() {
    let world = World::new();
    let manager = world.open(&["/a", "/b"]).unwrap();
    let logs: Vec<_> = (0..4).map(|partition| log_of(&manager, partition)).collect();
    logs.iter().for_each(|log| drop(append_as(log, AppendOrigin::Client).unwrap()));
    let lost: Vec<i32> = (0..4).filter(|index| logs[*index as usize].path().starts_with("/b")).collect();
    assert_eq!(lost.len(), 2);
    manager.shutdown(1).unwrap();
    drop((manager, logs));

    // The meta.properties of the second directory cannot be read.
    world.disk.fail(PlannedFault { calls: &[Call::Open], nth: 2, times: 1, failure: Failure::Io });
    let manager = world.open(&["/a", "/b"]).unwrap();
    let offline: Vec<bool> = manager.log_dirs().iter().map(|directory| directory.is_offline).collect();
    assert_eq!(offline, [false, true]);
    assert_eq!(manager.fatal_failure(), None);
    for partition in 0..4 {
        let elsewhere = manager.check_no_log_elsewhere(&name(partition));
        assert_eq!(elsewhere.is_err(), lost.contains(&partition), "{elsewhere:?}");
    }
    append_as(&log_of(&manager, 9), AppendOrigin::Client).expect("new partitions go to the directory that is left");
    manager.shutdown(2).unwrap();
    drop(manager);
    assert!(world.has_marker("/a"));

    let manager = world.open(&["/a", "/b"]).unwrap();
    assert_eq!(manager.logs().len(), 5, "nothing was lost");
    assert!(manager.logs().iter().all(|log| log.log_end_offset() == 2));
}

#[test]
fn a_new_directory_in_place_of_a_lost_one_is_noticed() {
    let world = World::new();
    let manager = world.open(&["/a", "/b"]).unwrap();
    (0..4).for_each(|partition| drop(log_of(&manager, partition)));
    let gone = manager.logs().iter().find(|log| log.path().starts_with("/b")).unwrap().topic_partition().clone();
    manager.shutdown(1).unwrap();
    drop(manager);
    let manager = world.open(&["/a", "/empty"]).unwrap();
    let error = manager.check_no_log_elsewhere(&gone).unwrap_err().to_string();
    assert!(error.contains("one of them is new"), "{error}");
}

#[test]
fn the_metadata_s_directory_must_be_usable() {
    let world = World::new();
    world.open(&["/a", "/b"]).unwrap().shutdown(1).unwrap();
    world.disk.fail(once(&[Call::Open], Failure::Io));
    let error = world.open(&["/a", "/b"]).err().expect("a failure").to_string();
    assert!(error.starts_with("/a: meta.properties cannot be read"), "{error}");
}

#[test]
fn whoever_listens_hears_of_a_failure_that_was_before() {
    let world = World::new();
    let manager = world.open(&["/a"]).unwrap();
    let log = log_of(&manager, 0);
    world.disk.set_fault(Some(Fault::Write));
    assert!(append_as(&log, AppendOrigin::Client).is_err());
    let heard = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let into = heard.clone();
    manager.directories[0].directory.on_failure(Arc::new(move |path| into.lock().push(path.to_owned())));
    world.pass(&mut Vec::new(), Duration::ZERO);
    assert_eq!(*heard.lock(), [Path::new("/a")]);
}

/// The names of new directories, and of their new parents, are durable before anything is in them.
#[test]
fn a_power_cut_at_any_moment_of_the_first_start_leaves_a_directory_that_starts() {
    let world = World::new();
    world.disk.watch();
    let manager = world.open(&["/srv/ottla/data"]).unwrap();
    let log = log_of(&manager, 0);
    append_as(&log, AppendOrigin::Client).unwrap();
    log.flush().unwrap();
    let flushed = world.disk.moments();
    manager.shutdown(1).unwrap();
    let all: Vec<_> = flushed.iter().chain(world.disk.moments().iter()).map(|moment| moment.disk.clone()).collect();
    assert!(all.len() > 15);
    for (number, disk) in all.iter().enumerate() {
        for cut in disk.power_cuts().take(50, 11) {
            let after = World::on(world.clock.clone(), cut.disk);
            let manager = after.open(&["/srv/ottla/data"]).unwrap_or_else(|error| panic!("{number}: {error}"));
            let log = log_of(&manager, 0);
            assert!(number + 1 < flushed.len() || log.log_end_offset() == 2, "{number}: the flushed record is lost");
        }
    }
}

/// Damage of what was on the disk costs one partition, and nothing is done to it.
#[test]
fn a_damaged_partition_is_offline_alone() {
    let world = World::new();
    let manager = world.open(&["/data"]).unwrap();
    for partition in 0..3 {
        let log = log_of(&manager, partition);
        (0..9).for_each(|_| drop(append_as(&log, AppendOrigin::Client).unwrap()));
        log.flush().unwrap();
    }
    manager.directories[0].directory.checkpoint().unwrap();
    let world = world.killed();
    let path = Path::new("/data/t-1/00000000000000000000.log");
    let segments = world.disk.read_dir(Path::new("/data/t-1")).unwrap();
    let last = segments.iter().rfind(|path| path.extension().is_some_and(|extension| extension == "log")).unwrap();
    let whole = world.disk.read(last, 10_000).unwrap();
    world.disk.open(last, OpenMode::ReadWrite).unwrap().write_all_at(&[0], whole.len() as u64 - 5).unwrap();
    for _ in 0..2 {
        let manager = world.open(&["/data"]).unwrap();
        let reason = manager.offline_reason(&name(1)).expect("it is offline").to_string();
        assert!(reason.contains(&last.display().to_string()) && reason.contains("damage at byte"), "{reason}");
        assert!(manager.log(&name(1)).is_none() && manager.has_anything_offline());
        let config = Arc::new(LogConfig::default());
        let again = manager.get_or_create(&name(1), Uuid::from_u128(9), config);
        assert!(matches!(again, Err(StorageError::PartitionOffline { .. })));
        append_as(&log_of(&manager, 0), AppendOrigin::Client).unwrap();
        let described = &manager.log_dirs()[0];
        assert_eq!((described.is_offline, described.logs.len()), (false, 3));
        assert!(described.logs[1].1 > whole.len() as u64);
        manager.shutdown(1).unwrap();
        assert!(!world.has_marker("/data"), "the next start must not trust it");
    }
    world.disk.open(last, OpenMode::ReadWrite).unwrap().write_all_at(&whole, 0).unwrap();
    let repaired = world.killed();
    assert_eq!(log_of(&repaired.open(&["/data"]).unwrap(), 1).log_end_offset(), 18);
    world.disk.remove_file(path).unwrap();
    world.disk.remove_file(last).unwrap();
    let manager = world.open(&["/data"]).unwrap();
    assert!(manager.offline_reason(&name(1)).is_some());
    manager.delete_async(&name(1)).unwrap();
    assert_eq!(log_of(&manager, 1).log_end_offset(), 0, "its topic was deleted, another one may have its name");
    drop(manager);
    let manager = world.open(&["/data"]).unwrap();
    assert_eq!((log_of(&manager, 1).log_end_offset(), log_of(&manager, 0).log_end_offset()), (0, 22));
}

/// What is marked while it is served is refused from then on, and no marker is written.
#[test]
fn a_partition_can_be_taken_offline_while_the_rest_serves() {
    let world = World::new();
    let manager = world.open(&["/data"]).unwrap();
    let (log, other) = (log_of(&manager, 0), log_of(&manager, 1));
    append_as(&log, AppendOrigin::Client).unwrap();
    log.mark_offline("a sealed segment has rotted");
    log.mark_offline("a second reason");
    let refused = append_as(&log, AppendOrigin::Client).unwrap_err().to_string();
    assert_eq!(refused, "t-0 is offline: a sealed segment has rotted");
    assert!(matches!(log.read(0, 1, FetchIsolation::LogEnd, true), Err(StorageError::PartitionOffline { .. })));
    append_as(&other, AppendOrigin::Client).unwrap();
    manager.flush_dirty_logs_in(0);
    assert_eq!((log.recovery_point(), other.recovery_point()), (0, 2));
    assert!(manager.shutdown(1).is_err());
    assert!(!world.has_marker("/data"));
}

/// What is cut off an open log is not missed by the recovery after a crash in the middle of it.
#[test]
fn a_crash_while_a_log_is_cut_is_no_damage() {
    for offset in [0, 5, 9, 17, 1000] {
        let world = World::new();
        let manager = world.open(&["/data"]).unwrap();
        let log = log_of(&manager, 0);
        (0..9).for_each(|_| drop(append_as(&log, AppendOrigin::Client).unwrap()));
        log.flush().unwrap();
        manager.directories[0].directory.checkpoint().unwrap();
        world.disk.watch();
        match offset > 18 {
            true => log.truncate_fully_and_start_at(offset).unwrap(),
            false => assert!(log.truncate_to(offset).unwrap()),
        }
        log.flush().unwrap();
        manager.directories[0].directory.checkpoint().unwrap();
        for moment in world.disk.moments() {
            for disk in moment.disk.power_cuts().take(40, 2).map(|cut| cut.disk).chain([moment.disk.process_crash()]) {
                let after = World::on(world.clock.clone(), disk);
                let manager = after.open(&["/data"]).unwrap();
                assert!(manager.offline_reason(&name(0)).is_none(), "{offset}: {}", moment.what);
                let end = log_of(&manager, 0).log_end_offset();
                assert!((0..=18).contains(&end) || end == offset, "{offset}: {}: {end}", moment.what);
            }
        }
    }
}

/// A deleted log that comes back half removed, under its old name, would pass for one that has lost what was durable.
#[test]
fn a_power_cut_after_a_deletion_leaves_no_damaged_log() {
    let world = World::new();
    let manager = world.open(&["/data"]).unwrap();
    let log = log_of(&manager, 0);
    (0..9).for_each(|_| drop(append_as(&log, AppendOrigin::Client).unwrap()));
    log.flush().unwrap();
    manager.directories[0].directory.checkpoint().unwrap();
    world.disk.watch();
    manager.delete_async(&name(0)).unwrap();
    world.pass(&mut Vec::new(), Duration::from_secs(60));
    let moments = world.disk.moments();
    assert!(moments.iter().any(|moment| moment.what.contains("-delete")), "its directory is removed");
    for moment in moments {
        for cut in moment.disk.power_cuts().take(100, 4) {
            let manager = World::on(world.clock.clone(), cut.disk).open(&["/data"]).unwrap();
            assert!(manager.offline_reason(&name(0)).is_none(), "{}", moment.what);
        }
    }
}

/// An offline log whose topic is gone is put aside, and the directory can have its marker again.
#[test]
fn an_offline_log_can_be_put_aside() {
    let world = World::new();
    let manager = world.open(&["/data"]).unwrap();
    let log = log_of(&manager, 0);
    append_as(&log, AppendOrigin::Client).unwrap();
    log.flush().unwrap();
    manager.directories[0].directory.checkpoint().unwrap();
    let world = world.killed();
    world.disk.open(Path::new("/data/t-0/00000000000000000000.log"), OpenMode::ReadWrite).unwrap().set_len(9).unwrap();
    let manager = world.open(&["/data"]).unwrap();
    assert_eq!(manager.offline_logs(), [(name(0), Some(Uuid::from_u128(9)))]);
    manager.mark_stray(&name(0)).unwrap();
    assert!(!manager.has_anything_offline());
    manager.shutdown(1).unwrap();
    assert!(world.has_marker("/data"));
    let names = world.disk.read_dir(Path::new("/data")).unwrap();
    assert_eq!(names.iter().filter(|name| name.to_string_lossy().ends_with("-stray")).count(), 1);
}

/// A log whose directory could not be renamed when its topic was deleted met the next topic of that name, until a restart.
#[test]
fn a_deletion_that_found_no_room_is_made_up_for() {
    for makes_up in [(|_| {}) as fn(&Arc<LogManager>), |manager| manager.delete_expired()] {
        let world = World::new();
        let manager = world.open(&["/data"]).unwrap();
        append_as(&log_of(&manager, 0), AppendOrigin::Client).unwrap();
        world.disk.fail(PlannedFault { calls: &[Call::Rename], nth: 1, times: 2, failure: Failure::Full });
        let refused = manager.delete_async(&name(0));
        assert!(matches!(refused, Err(StorageError::DiskFull { .. })), "{refused:?}");
        assert!(world.disk.metadata(Path::new("/data/t-0")).is_ok());
        makes_up(&manager);
        let another = manager.get_or_create(&name(0), Uuid::from_u128(10), Arc::new(LogConfig::default())).unwrap();
        assert_eq!((another.topic_id(), another.log_end_offset()), (Uuid::from_u128(10), 0));
        world.pass(&mut Vec::new(), Duration::from_secs(60));
        let names = world.disk.read_dir(Path::new("/data")).unwrap();
        assert!(!names.iter().any(|name| name.to_string_lossy().ends_with("-delete")), "{names:?}");
    }
}

/// What was made of a log that could not be created met the next topic of that name, until a restart.
#[test]
fn nothing_is_left_of_a_log_that_found_no_room() {
    const CHANGES: &[Call] = &[Call::Create, Call::CreateDirectory, Call::Write, Call::SetLen];
    let mut refused = 0;
    for nth in 1..20 {
        let world = World::new();
        let manager = world.open(&["/data"]).unwrap();
        world.disk.fail(PlannedFault { calls: CHANGES, nth, times: 1, failure: Failure::Full });
        let config = Arc::new(LogConfig::default());
        match manager.get_or_create(&name(0), Uuid::from_u128(9), config.clone()) {
            Ok(_) => break,
            Err(StorageError::DiskFull { .. }) => refused += 1,
            Err(error) => panic!("{nth}: {error}"),
        }
        let another = manager.get_or_create(&name(0), Uuid::from_u128(10), config).unwrap();
        assert_eq!(append_as(&another, AppendOrigin::Coordinator).unwrap().first_offset, 0, "{nth}");
    }
    assert!(refused > 1, "{refused}");
}

/// What makes room goes on: the epochs that retention cuts are written later.
#[test]
fn retention_needs_no_room() {
    let world = World::new();
    let manager = world.open(&["/data"]).unwrap();
    let log = log_of(&manager, 0);
    for epoch in 0..30 {
        log.append_records(batch(BatchProperties::default(), 2, 7), epoch, AppendOrigin::Client, 7).unwrap();
    }
    log.update_high_watermark(60);
    log.flush().unwrap();
    manager.directories[0].directory.checkpoint().unwrap();
    let before = log.segment_count();
    world.disk.fail(once(&[Call::Write], Failure::Full));
    assert_eq!(log.delete_records_before(50).unwrap(), 50);
    assert!(manager.directories[0].directory.is_full(), "the epochs were not written");
    assert!(log.delete_old_segments(8).unwrap() > 2 && before > 3);
    let known = log.epoch_entries();
    log.append_records(batch(BatchProperties::default(), 2, 7), 29, AppendOrigin::Coordinator, 7).unwrap();
    let after = world.killed().open(&["/data"]).unwrap().log(&name(0)).unwrap();
    assert_eq!((known[0].start_offset, after.epoch_entries()), (50, known));
}
