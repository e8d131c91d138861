//! A crash after every single call of a story: by kill, and by a power cut in every way that POSIX allows.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use uuid::Uuid;

use super::ledger::{Found, Ledger};
use super::setting;
use super::story::{LOGS, Step, World, found, has_clean_marker, open};
use crate::env::{InlineSpawn, ManualClock, MemoryDisk, Moment};
use crate::record::BatchProperties;
use crate::storage::{AppendOrigin, LogManager};

/// What was looked at.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) stories: usize,
    pub(super) moments: usize,
    pub(super) exhausted: usize,
    pub(super) disks: usize,
}

/// A told story: its moments, and what was promised before each step and after the last.
pub(super) struct Told {
    pub(super) moments: Vec<Moment>,
    pub(super) promises: Vec<Vec<Option<Ledger>>>,
    pub(super) clock: ManualClock,
}

pub(super) fn tell(steps: &[Step]) -> Told {
    let clock = ManualClock::new(1_000_000);
    let disk = MemoryDisk::new(Arc::new(clock.clone()));
    disk.watch();
    let mut world = World::begin(disk, clock.clone()).unwrap();
    let mut promises = vec![vec![None; LOGS], world.ledgers.clone()];
    for (number, step) in steps.iter().enumerate() {
        world.disk.mark(number as u64 + 1);
        world.step(*step).unwrap_or_else(|error| panic!("{step:?}: {error}"));
        promises.push(world.ledgers.clone());
    }
    Told { moments: world.disk.moments(), promises, clock }
}

/// How a story was cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Kill,
    PowerCut,
}

/// Starts on a disk, compares, starts again, and goes on.
pub(super) fn check(
    disk: &MemoryDisk,
    clock: &ManualClock,
    before: &[Option<Ledger>],
    after: &[Option<Ledger>],
    end: End,
) {
    let clean = has_clean_marker(disk);
    let manager = open(disk, clock, &InlineSpawn::default()).unwrap();
    let first = found(&manager);
    compare(&first, before, after, end, clean);
    drop(manager);
    // Nothing that recovery did may depend on when it happens again.
    let again = open(&disk.process_crash(), clock, &InlineSpawn::default()).unwrap();
    let second = found(&again);
    assert!(are_alike(&first, &second), "a second start finds something else:\n{first:?}\n{second:?}");
    compare(&second, before, after, end, clean);
    go_on(&again);
}

/// A log that was found, with its id.
type FoundLog = Option<(Uuid, Found)>;

/// Whether two starts found the same logs.
pub(super) fn are_alike(first: &[FoundLog], second: &[FoundLog]) -> bool {
    let alike = |pair: (&FoundLog, &FoundLog)| match pair {
        (Some((id, one)), Some((other_id, other))) => id == other_id && one.is_like(other),
        (one, other) => one.is_none() && other.is_none(),
    };
    first.len() == second.len() && first.iter().zip(second).all(alike)
}

fn compare(found: &[FoundLog], before: &[Option<Ledger>], after: &[Option<Ledger>], end: End, clean: bool) {
    for (number, found) in found.iter().enumerate() {
        let (before, after) = (&before[number], &after[number]);
        let is_certain = |ledger: &Ledger| !ledger.deleted && (ledger.durable || end == End::Kill);
        let certain = before.as_ref().is_some_and(is_certain) && after.as_ref().is_some_and(is_certain);
        let Some((topic_id, found)) = found else {
            assert!(!certain, "log {number} is lost");
            continue;
        };
        let ledgers = [before, after];
        let mut own = ledgers.into_iter().flatten().filter(|ledger| ledger.topic_id == *topic_id);
        let Some(one) = own.next() else {
            // An older log of the name, or one whose id did not reach the disk: only until the new one is durable.
            assert!(!certain, "{topic_id} is another log");
            let may_be_another = end == End::PowerCut || after.as_ref().is_some_and(|ledger| ledger.maybe);
            assert!(may_be_another || (topic_id.is_nil() && found.end == 0), "{topic_id} {found:?}");
            continue;
        };
        let other = own.next().unwrap_or(one);
        let clean = clean && !other.deleted;
        found.check(one, other, end == End::Kill || clean);
    }
}

/// The log is a log: it takes records, keeps them durably, and stops cleanly.
fn go_on(manager: &LogManager) {
    for log in manager.logs() {
        let batch = crate::storage::log::log_tests::batch(BatchProperties::default(), 2, 5);
        let epoch = log.latest_epoch().unwrap_or(0);
        let info = log.append_records(batch, epoch, AppendOrigin::Client, 0).unwrap();
        log.flush().unwrap();
        assert_eq!(log.log_end_offset(), info.log_end_offset);
    }
}

/// Looks at every moment of a story and, for each, at up to `limit` disks.
pub(super) fn crash_everywhere(seed: u64, steps: &[Step], limit: usize, tally: &mut Tally) {
    crash_from(0, seed, steps, limit, tally);
}

/// The same from a step on.
pub(super) fn crash_from(first: usize, seed: u64, steps: &[Step], limit: usize, tally: &mut Tally) {
    let told = tell(steps);
    let mut seen: HashSet<(u64, u64, bool)> = HashSet::new();
    tally.stories += 1;
    let moments = told.moments.iter().enumerate().filter(|(_, moment)| moment.mark as usize >= first);
    for (number, moment) in moments {
        let mark = moment.mark as usize;
        let (before, after) = (&told.promises[mark], &told.promises[mark + 1]);
        tally.moments += 1;
        let mut look = |disk: MemoryDisk, end: End, choice: Option<&[u32]>| {
            if !seen.insert((disk.fingerprint(), moment.mark, end == End::Kill)) {
                return;
            }
            tally.disks += 1;
            let result = catch_unwind(AssertUnwindSafe(|| check(&disk, &told.clock, before, after, end)));
            if let Err(panic) = result {
                let step = mark.checked_sub(1).map(|step| steps[step]);
                let how = choice.map_or("killed".to_owned(), |choice| moment.disk.power_cuts().describe(choice));
                eprintln!("seed {seed}, moment {number} ({}) in step {mark} {step:?}: {how}", moment.what);
                eprintln!("story: {steps:?}");
                std::panic::resume_unwind(panic);
            }
        };
        look(moment.disk.process_crash(), End::Kill, None);
        let cuts = moment.disk.power_cuts();
        tally.exhausted += usize::from(cuts.count() <= limit as u128);
        for cut in cuts.take(limit, seed ^ (number as u64) << 32) {
            look(cut.disk, End::PowerCut, Some(&cut.choice));
        }
    }
}

/// Everything that a log does, once.
pub(super) fn whole_life() -> Vec<Step> {
    use Step::*;
    vec![
        Create(0),
        AppendSequenced { log: 0, producer: 1, records: 2 },
        Append { log: 0, records: 3 },
        Flush(0),
        AppendSequenced { log: 0, producer: 1, records: 1 },
        NewEpoch(0),
        AppendSequenced { log: 0, producer: 0, records: 2 },
        Append { log: 0, records: 1 },
        Create(1),
        Append { log: 1, records: 2 },
        AppendSequenced { log: 0, producer: 1, records: 2 },
        Truncate { log: 0, batches: 2 },
        Append { log: 0, records: 2 },
        Flush(0),
        DeleteRecords { log: 0, records: 4 },
        Append { log: 0, records: 3 },
        Wait { ms: 5000 },
        CleanRestart,
        AppendSequenced { log: 0, producer: 1, records: 1 },
        Delete(1),
        Create(1),
        Append { log: 1, records: 1 },
        Flush(1),
        KillAndRestart,
        Append { log: 0, records: 2 },
        Wait { ms: 70_000 },
        Append { log: 0, records: 2 },
    ]
}

/// Transactions of both generations: open over rolls, restarts and truncations, ended in the segment they began in and in others.
pub(super) fn life_in_transactions() -> Vec<Step> {
    use Step::*;
    let write = |producer, records| AppendTransactional { log: 0, producer, records };
    let end = |producer, commit| EndTransaction { log: 0, producer, commit };
    vec![
        Create(0),
        write(5, 2),
        write(6, 1),
        Flush(0),
        end(5, false),
        write(5, 1),
        Append { log: 0, records: 3 },
        write(6, 2),
        KillAndRestart,
        end(6, false),
        write(6, 2),
        Append { log: 0, records: 3 },
        end(5, true),
        CleanRestart,
        write(5, 1),
        end(5, false),
        Truncate { log: 0, batches: 1 },
        Append { log: 0, records: 2 },
        end(5, false),
        Flush(0),
        write(5, 1),
        end(6, false),
        DeleteRecords { log: 0, records: 9 },
        Wait { ms: 5000 },
        KillAndRestart,
        write(6, 1),
        Wait { ms: 70_000 },
        end(6, true),
        end(5, false),
    ]
}

#[test]
fn a_crash_after_any_call_of_a_whole_life_loses_nothing_that_was_promised() {
    let mut tally = Tally::default();
    crash_everywhere(1, &whole_life(), setting("OTTLA_DISKS", 24) as usize, &mut tally);
    println!("{tally:?}");
    assert!(tally.disks > 500, "{tally:?}");
}

/// Producer state, transaction indexes and the last stable offset after a crash are what the batches that are left say.
#[test]
fn a_crash_after_any_call_of_a_life_in_transactions_leaves_them_as_the_batches_say() {
    let mut tally = Tally::default();
    crash_everywhere(1, &life_in_transactions(), setting("OTTLA_DISKS", 24) as usize, &mut tally);
    println!("{tally:?}");
    assert!(tally.disks > 500, "{tally:?}");
}

#[test]
fn a_crash_after_any_call_of_random_stories_loses_nothing_that_was_promised() {
    let (first, disks) = (setting("OTTLA_SEED", 1), setting("OTTLA_DISKS", 8) as usize);
    let mut tally = Tally::default();
    for seed in first..first + setting("OTTLA_STORIES", 4) {
        crash_everywhere(seed, &Step::story(seed, 30), disks, &mut tally);
    }
    println!("{tally:?}");
    assert!(tally.disks > 500, "{tally:?}");
}
