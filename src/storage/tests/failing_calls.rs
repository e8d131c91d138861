//! Failing calls: whatever fails, and whenever, what was acknowledged is there, and what was refused is not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::crash_points::{End, Tally, check, crash_from, whole_life};
use super::setting;
use super::story::{Step, Step::*, World};
use crate::env::{Call, Failure, ManualClock, MemoryDisk, PlannedFault};

/// Tells a story in which a call fails, until the log directory is offline; then kills the process and cuts the power. Gives
/// whether the call failed before the story was over.
fn tell_with(steps: &[Step], fault: PlannedFault) -> bool {
    let clock = ManualClock::new(1_000_000);
    let mut world = World::begin(MemoryDisk::new(Arc::new(clock.clone())), clock.clone()).unwrap();
    world.disk.fail(fault);
    let (mut before, mut last) = (world.ledgers.clone(), steps[0]);
    let mut error = None;
    for step in steps {
        (before, last) = (world.ledgers.clone(), *step);
        error = world.step(*step).err();
        let is_append =
            matches!(step, Append { .. } | AppendSequenced { .. } | AppendTransactional { .. } | EndTransaction { .. });
        if error.is_some() && (world.is_offline() || matches!(step, CleanRestart | KillAndRestart)) {
            world.attempt(*step);
            break;
        }
        if error.is_some() && !is_append {
            world.attempt(*step);
        }
    }
    if world.is_offline() {
        for log in world.manager.logs() {
            assert!(log.flush().is_err(), "an offline directory flushes");
        }
    }
    let compared = catch_unwind(AssertUnwindSafe(|| {
        check(&world.disk.process_crash(), &clock, &before, &world.ledgers, End::Kill);
        for cut in world.disk.power_cuts().take(6, 1) {
            check(&cut.disk, &clock, &before, &world.ledgers, End::PowerCut);
        }
    }));
    if let Err(panic) = compared {
        eprintln!("{fault:?} up to {last:?}: {error:?}");
        std::panic::resume_unwind(panic);
    }
    world.disk.failures() > 0
}

fn fail_each_call(calls: &'static [Call], failure: Failure) {
    let every = setting("OTTLA_EVERY", 8);
    let mut told = 0;
    for nth in (1..).step_by(every as usize) {
        if !tell_with(&whole_life(), PlannedFault { calls, nth, times: 1, failure }) {
            break;
        }
        told += 1;
    }
    println!("{failure:?} of {calls:?}: {told} stories");
    assert!(told > 0);
}

#[test]
fn any_write_may_fail() {
    fail_each_call(&[Call::Write], Failure::Io);
    fail_each_call(&[Call::Write], Failure::Full);
}

#[test]
fn any_sync_may_fail() {
    fail_each_call(&[Call::Sync, Call::SyncDirectory], Failure::Io);
}

#[test]
fn any_change_of_names_may_fail() {
    const NAMES: &[Call] = &[Call::Create, Call::Rename, Call::Remove, Call::SetLen, Call::CreateDirectory];
    fail_each_call(NAMES, Failure::Io);
    fail_each_call(&[Call::Create, Call::CreateDirectory, Call::Rename], Failure::Full);
}

#[test]
fn files_may_run_out_at_any_time() {
    fail_each_call(&[Call::Open, Call::Create], Failure::TooManyFiles);
}

#[test]
fn any_read_may_fail() {
    fail_each_call(&[Call::Read, Call::Look], Failure::Io);
}

/// K-4576: a short read was taken for a full one. Here every read is short, and every one is interrupted once.
#[test]
fn reads_may_be_short_or_interrupted() {
    for (failure, nth) in [(Failure::Short, 1), (Failure::Interrupted, 1), (Failure::Interrupted, 7)] {
        for first in 1..=nth {
            let times = if failure == Failure::Short { u64::MAX } else { 1 };
            assert!(tell_with(&whole_life(), PlannedFault { calls: &[Call::Read], nth: first, times, failure }));
        }
    }
}

/// K-9892, K-16541: an epoch checkpoint and producer snapshots that were not synced before they were renamed were garbage after a
/// power cut. The power is cut between any two calls while both are larger than a sector.
#[test]
fn side_files_survive_a_power_cut_between_any_two_calls() {
    let mut steps = vec![Create(0)];
    for producer in 0..60 {
        steps.push(NewEpoch(0));
        steps.push(AppendSequenced { log: 0, producer, records: 1 });
    }
    let first = steps.len();
    steps.extend([Flush(0), NewEpoch(0), AppendSequenced { log: 0, producer: 1, records: 3 }]);
    steps.extend([AppendSequenced { log: 0, producer: 2, records: 3 }, NewEpoch(0), Flush(0), CleanRestart]);
    let mut tally = Tally::default();
    crash_from(first, 1, &steps, setting("OTTLA_DISKS", 16) as usize, &mut tally);
    println!("{tally:?}");
    assert!(tally.disks > 300, "{tally:?}");
}
