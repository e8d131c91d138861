//! Crashes during the recovery from a crash, five deep: whatever is interrupted, the outcome is that of one recovery.

use uuid::Uuid;

use super::crash_points::{are_alike, life_in_transactions, tell, whole_life};
use super::ledger::Found;
use super::setting;
use super::story::{self, Step, open};
use crate::env::{InlineSpawn, ManualClock, MemoryDisk, Moment, Random, SeededRandom};

const DEPTH: usize = 5;

/// What the logs show. The epochs of a log without records are nowhere but in a file that is not synced at once.
fn found(disk: &MemoryDisk, clock: &ManualClock) -> Vec<Option<(Uuid, Found)>> {
    let manager = open(&disk.process_crash(), clock, &InlineSpawn::default()).unwrap();
    let mut found = story::found(&manager);
    for (_, log) in found.iter_mut().flatten().filter(|(_, log)| log.start == log.end) {
        log.epochs.clear();
    }
    found
}

/// Starts on a copy of a disk; gives the moments of that start.
fn moments_of_start(disk: &MemoryDisk, clock: &ManualClock) -> Vec<Moment> {
    let disk = disk.process_crash();
    disk.watch();
    drop(open(&disk, clock, &InlineSpawn::default()).unwrap());
    disk.moments()
}

/// One of the disks that a crash at a moment may leave.
fn crashed(moment: &Moment, random: &SeededRandom) -> MemoryDisk {
    if random.next_u64().is_multiple_of(3) { moment.disk.process_crash() } else { without_power(moment, random) }
}

fn without_power(moment: &Moment, random: &SeededRandom) -> MemoryDisk {
    let samples = 1 + (random.next_u64() % 8) as usize;
    let cut = moment.disk.power_cuts().take(samples, random.next_u64()).last();
    cut.expect("at least one").disk
}

/// Descends from every moment of the recovery of `disk`; gives how many disks were started on.
fn interrupt(disk: &MemoryDisk, clock: &ManualClock, seed: u64) -> usize {
    let expected = found(disk, clock);
    let random = SeededRandom::new(seed);
    let mut started = 0;
    for (number, first) in moments_of_start(disk, clock).iter().enumerate() {
        let mut interrupted = crashed(first, &random);
        for depth in 1..=DEPTH {
            started += 1;
            let moments = moments_of_start(&interrupted, clock);
            let after = found(&interrupted, clock);
            assert!(
                are_alike(&after, &expected),
                "seed {seed}, moment {number} ({}), depth {depth}:\n{expected:?}\n{after:?}",
                first.what
            );
            let Some(next) = moments.get((random.next_u64() as usize) % moments.len().max(1)) else { break };
            interrupted = crashed(next, &random);
        }
    }
    started
}

fn interrupt_recoveries_of(steps: &[Step], seed: u64, every: usize) -> usize {
    let told = tell(steps);
    let random = SeededRandom::new(seed);
    let mut started = 0;
    for moment in told.moments.iter().skip(seed as usize % every).step_by(every) {
        let disk = without_power(moment, &random);
        started += interrupt(&disk, &told.clock, random.next_u64());
    }
    started
}

#[test]
fn crashes_during_recovery_five_deep_change_nothing() {
    let every = setting("OTTLA_EVERY", 16) as usize;
    let mut started = interrupt_recoveries_of(&whole_life(), 1, every);
    started += interrupt_recoveries_of(&life_in_transactions(), 1, every);
    let first = setting("OTTLA_SEED", 1);
    for seed in first..first + setting("OTTLA_STORIES", 2) {
        started += interrupt_recoveries_of(&Step::story(seed, 30), seed, every);
    }
    println!("{started} interrupted starts");
    assert!(started > 100, "{started}");
}
