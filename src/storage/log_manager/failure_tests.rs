//! Disks that fail and disks that are full: what is refused, what goes on, and what a start makes of it.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use uuid::Uuid;

use crate::config::LogConfig;
use crate::env::{Call, Disk, Env, Failure, Fault, InlineSpawn, ManualClock, MemoryDisk, NamedFuture, PlannedFault};
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
