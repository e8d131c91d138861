//! What a power cut may take, and how much a recovery reads again, when no topic asks for anything.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use uuid::Uuid;

use crate::config::LogConfig;
use crate::env::{
    Call, Disk, Env, Failure, Fault, InlineSpawn, ManualClock, MemoryDisk, NamedFuture, PlannedFault, Spawn,
};
use crate::record::{BatchBuilder, BatchProperties};
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
        let disk = MemoryDisk::new(Arc::new(clock.clone()));
        let spawn = InlineSpawn::default();
        let env =
            Env { disk: Arc::new(disk.clone()), spawn: Arc::new(spawn.clone()), ..Env::simulated(clock.clone(), 5) };
        Self { clock, disk, spawn, env }
    }

    fn open(&self, disk: &MemoryDisk, limits: FlushLimits) -> Arc<LogManager> {
        let env = Env { disk: Arc::new(disk.clone()), ..self.env.clone() };
        let options = LogManagerOptions { flush_limits: limits, ..LogManagerOptions::new(vec!["/data".into()], 1) };
        LogManager::open(env, options).unwrap()
    }

    /// The end of a log after a power cut now.
    fn end_after_power_cut(&self, partition: i32) -> i64 {
        let manager = self.open(&self.disk.power_cut(), FlushLimits::default());
        manager.log(&TopicPartition::new("t", partition)).map_or(0, |log| log.log_end_offset())
    }
}

fn limits(max_unflushed_bytes: u64, max_unflushed_ms: i64) -> FlushLimits {
    FlushLimits { max_unflushed_bytes, max_unflushed_ms }
}

fn log_of(manager: &LogManager, partition: i32) -> Arc<Log> {
    let name = TopicPartition::new("t", partition);
    manager.get_or_create(&name, Uuid::from_u128(9), Arc::new(LogConfig::default())).unwrap()
}

fn record(bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchProperties::default());
    builder.append(7, None, Some(&vec![b'x'; bytes]), &[]).unwrap();
    builder.build()
}

fn append(log: &Arc<Log>, bytes: usize) -> LogAppendInfo {
    log.append_records(record(bytes), 0, AppendOrigin::Coordinator, 7).unwrap()
}

fn run_until_asleep(tasks: &mut [NamedFuture]) {
    for (_, task) in tasks {
        assert!(task.now_or_never().is_none(), "the task goes on");
    }
}

#[test]
fn what_is_older_than_the_limit_survives_a_power_cut() {
    let world = World::new();
    let manager = world.open(&world.disk, limits(1 << 20, 1000));
    manager.start();
    let mut tasks = world.spawn.take();
    tasks.retain(|(name, _)| *name == "background-flush");
    run_until_asleep(&mut tasks);
    let sleepers = world.clock.sleepers();
    let log = log_of(&manager, 0);
    for round in 1..4 {
        append(&log, 100);
        run_until_asleep(&mut tasks);
        assert_eq!(world.clock.sleepers(), sleepers + 1, "one timer, while something is dirty");
        world.clock.advance(Duration::from_millis(999));
        run_until_asleep(&mut tasks);
        append(&log, 100);
        assert_eq!(world.end_after_power_cut(0), 2 * round - 2);
        world.clock.advance(Duration::from_millis(1));
        run_until_asleep(&mut tasks);
        assert_eq!(world.end_after_power_cut(0), 2 * round);
        assert_eq!(world.clock.sleepers(), sleepers, "no timer, while nothing is");
    }
}

/// Runs blocking work when the test says so: a disk that takes its time.
#[derive(Clone, Default)]
struct LateSpawn(Arc<parking_lot::Mutex<Vec<Work>>>);

type Work = Box<dyn FnOnce() + Send>;

impl Spawn for LateSpawn {
    fn spawn(&self, _name: &'static str, _future: crate::env::BoxFuture<'static, ()>) {}

    fn spawn_blocking(&self, _name: &'static str, work: Box<dyn FnOnce() + Send>) {
        self.0.lock().push(work);
    }
}

#[test]
fn no_more_than_the_limit_is_acknowledged_from_memory() {
    let world = World::new();
    let late = LateSpawn::default();
    let env = Env { spawn: Arc::new(late.clone()), ..world.env.clone() };
    let options =
        LogManagerOptions { flush_limits: limits(2000, i64::MAX), ..LogManagerOptions::new(vec!["/data".into()], 1) };
    let manager = LogManager::open(env, options).unwrap();
    let log = log_of(&manager, 0);
    let mut waiting = Vec::new();
    let mut acknowledged = 0;
    for _ in 0..50 {
        let info = append(&log, 100);
        match info.flush {
            Some(ticket) => waiting.push(ticket),
            None => acknowledged += 1,
        }
    }
    // 169 bytes each.
    assert!((10..=11).contains(&acknowledged), "{acknowledged}");
    assert_eq!(late.0.lock().len(), 1, "one flush for all");
    assert!(waiting.iter_mut().all(|ticket| ticket.now_or_never().is_none()));
    let flush = late.0.lock().pop().expect("a flush was begun");
    flush();
    assert!(waiting.iter_mut().all(|ticket| ticket.now_or_never().is_some_and(|answer| answer.is_ok())));
    assert_eq!((log.recovery_point(), log.unflushed_bytes()), (50, 0));
    assert_eq!(world.end_after_power_cut(0), 50);
    assert!(append(&log, 100).flush.is_none());
}

#[test]
fn many_dirty_logs_are_flushed_with_one_sync() {
    let world = World::new();
    let manager = world.open(&world.disk, limits(1 << 20, 1000));
    let logs: Vec<_> = (0..40).map(|partition| log_of(&manager, partition)).collect();
    for log in &logs {
        append(log, 100);
    }
    logs[7].flush().unwrap();
    manager.delete_async(&TopicPartition::new("t", 8)).unwrap();
    manager.flush_dirty_logs_in(0);
    for partition in (0..40).filter(|partition| *partition != 8) {
        assert_eq!(logs[partition as usize].recovery_point(), 1);
        assert_eq!(world.end_after_power_cut(partition), 1, "partition {partition}");
    }
    // The next round has nothing to do, and a failing disk is not touched.
    world.disk.set_fault(Some(Fault::Sync));
    manager.flush_dirty_logs_in(0);
    assert!(!manager.log_dirs()[0].is_offline);
    logs.iter().enumerate().filter(|(index, _)| *index != 8).for_each(|(_, log)| drop(append(log, 100)));
    manager.flush_dirty_logs_in(0);
    assert!(manager.log_dirs()[0].is_offline);
    assert!(logs.iter().all(|log| log.recovery_point() <= 1), "no recovery point moved past a failed sync");
}

#[test]
fn a_recovery_point_is_written_after_so_many_bytes() {
    let world = World::new();
    let manager = world.open(&world.disk, FlushLimits::default());
    let log = log_of(&manager, 0);
    let mut seen = 0;
    for number in 1..=200 {
        append(&log, 1 << 20);
        let text = world.disk.read(Path::new("/data/recovery-point-offset-checkpoint"), 1000).unwrap_or_default();
        let text = String::from_utf8(text).unwrap();
        let written = text
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("t 0 "))
            .map_or(0, |end| end.trim_end().parse().unwrap());
        assert!(number - written <= 60, "{written} of {number} MiB");
        assert!(written <= log.recovery_point());
        seen = seen.max(written);
    }
    assert!(seen > 140, "{seen}");
}

#[test]
fn a_stop_makes_many_logs_durable() {
    let world = World::new();
    let manager = world.open(&world.disk, FlushLimits::default());
    for partition in 0..40 {
        append(&log_of(&manager, partition), 100);
    }
    manager.shutdown(1).unwrap();
    let manager = world.open(&world.disk.power_cut(), FlushLimits::default());
    assert_eq!(manager.previous_broker_epoch(), 1);
    assert!(manager.logs().iter().all(|log| (log.log_end_offset(), log.recovery_point()) == (1, 1)));
    assert_eq!(manager.logs().len(), 40);
}

/// The sync had succeeded, and was told to have failed: the metadata's controller refused all further changes for it.
#[test]
fn a_checkpoint_that_finds_no_room_is_no_failed_flush() {
    let world = World::new();
    let manager = world.open(&world.disk, FlushLimits::default());
    let log = log_of(&manager, 0);
    append(&log, 100);
    manager.directories[0].directory.ask_for_checkpoint();
    world.disk.fail(PlannedFault { calls: &[Call::Write], nth: 1, times: 1, failure: Failure::Full });
    log.flush().unwrap();
    assert_eq!((log.recovery_point(), manager.directories[0].directory.is_full()), (1, true));
    append(&log, 100);
    log.flush().unwrap();
    let text = world.disk.read(Path::new("/data/recovery-point-offset-checkpoint"), 1000).unwrap();
    assert!(String::from_utf8(text).unwrap().contains("t 0 2"), "it is written with the next flush");
}
