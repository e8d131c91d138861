//! Threads of the raw client: transactions of both generations, read-process-write, a watcher.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::history::{Function, Mop, Outcome};
use super::raw::Raw;
use super::raw_reader::{Mark, committed_offset, fetch, list_offset};
use super::session::{Ended, Generation, Session};
use super::workload::{Place, Setting};
use crate::campaign::Random;

/// Longest time between two transactions of a client.
const PAUSE_MILLIS: u64 = 120;

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plan {
    Commit,
    Abort,
    /// The producer goes away; nobody ends it but its time-out or its successor.
    Abandon,
    /// Committed when it is too old.
    Late,
    /// Somebody takes over the transactional id first; then the old producer goes on.
    Zombie,
}

impl Plan {
    fn any(random: &mut Random) -> Self {
        match random.below(100) {
            0..75 => Self::Commit,
            75..90 => Self::Abort,
            90..94 => Self::Abandon,
            94..96 => Self::Late,
            _ => Self::Zombie,
        }
    }
}

/// A transaction in the making: its operation and its parts.
struct Transaction {
    op: u64,
    mops: Vec<Mop>,
}

impl Transaction {
    fn begin(setting: &Setting, session: &mut Session) -> Self {
        session.begin();
        Self { op: setting.recorder.invoke(&session.process, Function::Txn, Vec::new()), mops: Vec::new() }
    }

    fn end(self, setting: &Setting, process: &str, outcome: Outcome, text: impl Into<String>) {
        setting.recorder.complete(process, self.op, Function::Txn, outcome, self.mops, text);
    }

    /// Writes one to three records.
    fn send(&mut self, setting: &Setting, session: &mut Session, place: Place, count: u64) -> Result<(), Ended> {
        let values: Vec<u64> = (0..count).map(|_| setting.recorder.value()).collect();
        let result = session.produce(place, &values);
        let first = result.as_ref().ok().copied().filter(|offset| *offset >= 0);
        for (number, value) in (0..).zip(values) {
            let offset = first.map(|first| first + number);
            self.mops.push(Mop::Send { key: place.key(), value, offset });
        }
        result.map(drop)
    }
}

/// What became of a transaction whose end was asked for.
fn outcome_of(commit: bool, result: &Result<(), Ended>) -> Outcome {
    match result {
        Ok(()) if commit => Outcome::Ok,
        _ if !commit => Outcome::Fail,
        Err(Ended::Refused { uncertain: false, .. }) => Outcome::Fail,
        _ => Outcome::Info,
    }
}

/// Transactions that write to `txn` and read from it, one life of a producer after the other.
pub fn mixer(setting: &Arc<Setting>, name: &str, mut random: Random) {
    let mut life = 0;
    while !setting.stopped() {
        life += 1;
        let process = format!("{name}.{life}");
        let mut session = Session::new(setting, process.clone(), name, random.fork());
        let mut reader = Reader::new(setting, &process, random.fork());
        if session.initialize().is_err() {
            continue;
        }
        for _ in 0..5 + random.below(40) {
            if setting.stopped() {
                break;
            }
            setting.pause(&mut random, PAUSE_MILLIS);
            if mix(setting, name, &mut session, &mut reader, &mut random).is_err() {
                break;
            }
        }
    }
}

/// One transaction. An error ends the life of the producer.
fn mix(
    setting: &Arc<Setting>,
    name: &str,
    session: &mut Session,
    reader: &mut Reader,
    random: &mut Random,
) -> Result<(), Ended> {
    let mut transaction = Transaction::begin(setting, session);
    let epoch = session.epoch();
    let mut places = Vec::new();
    let mut written = Ok(());
    for _ in 0..1 + random.below(4) {
        if random.percent(30) {
            transaction.mops.extend(reader.poll(setting));
            continue;
        }
        let place = Place::any_of("txn", random);
        if random.percent(8) {
            written = session.verify(place);
        }
        if written.is_ok() {
            written = transaction.send(setting, session, place, 1 + random.below(3));
            places.push(place);
        }
        if written.is_err() {
            break;
        }
    }
    let process = session.process.clone();
    if let Err(ended) = written {
        // It was never asked to commit.
        let _ = session.end(false);
        transaction.end(setting, &process, Outcome::Fail, format!("{ended:?}"));
        return Err(ended);
    }
    let Some(place) = places.first().copied() else {
        transaction.end(setting, &process, Outcome::Ok, "reads only");
        return between(session, random);
    };
    let offset = transaction.mops.iter().find_map(|mop| match mop {
        Mop::Send { key, offset, .. } if *key == place.key() => *offset,
        _ => None,
    });
    if session.generation == Generation::Two && random.percent(15) {
        session.late_end(random.percent(70));
    }
    let result = match Plan::any(random) {
        Plan::Commit => finish(setting, session, transaction, true),
        Plan::Abort => finish(setting, session, transaction, false),
        Plan::Abandon => {
            transaction.end(setting, &process, Outcome::Fail, "abandoned");
            return Err(Ended::Lost);
        }
        Plan::Late => {
            session.sleep_past_timeout();
            finish(setting, session, transaction, true)
        }
        Plan::Zombie => return zombie(setting, name, session, transaction, place, random),
    };
    result?;
    if random.percent(15) {
        match session.generation {
            Generation::One => late(setting, session, place, epoch, None),
            Generation::Two if session.epoch() > epoch => late(setting, session, place, epoch, offset),
            Generation::Two => {}
        }
    }
    between(session, random)
}

fn finish(setting: &Setting, session: &mut Session, transaction: Transaction, commit: bool) -> Result<(), Ended> {
    let result = session.end(commit);
    let text = match &result {
        Ok(()) if commit => String::new(),
        Ok(()) => "aborted".into(),
        Err(ended) => format!("{ended:?}"),
    };
    transaction.end(setting, &session.process, outcome_of(commit, &result), text);
    result
}

/// Between two transactions: nothing, a bump of the epoch, or the end of a transaction that has not begun.
fn between(session: &mut Session, random: &mut Random) -> Result<(), Ended> {
    match random.below(20) {
        0 => session.raise_epoch(),
        1 if session.generation == Generation::Two => session.end_empty(),
        _ => Ok(()),
    }
}

/// A record that comes after the end of its transaction: written down as one that must never be seen.
fn late(setting: &Setting, session: &mut Session, place: Place, epoch: i16, offset: Option<i64>) {
    let value = setting.recorder.value();
    let process = format!("{}-late", session.process);
    let op = setting.recorder.invoke(&process, Function::Txn, Vec::new());
    session.late_produce(place, value, epoch, offset);
    let mops = vec![Mop::Send { key: place.key(), value, offset: None }];
    setting.recorder.complete(&process, op, Function::Txn, Outcome::Fail, mops, "late");
}

/// A successor takes the transactional id over; the old producer must be refused, whatever it tries.
fn zombie(
    setting: &Arc<Setting>,
    name: &str,
    session: &mut Session,
    mut transaction: Transaction,
    place: Place,
    random: &mut Random,
) -> Result<(), Ended> {
    let process = format!("{}-heir", session.process);
    let mut heir = Session::new(setting, process, name, random.fork());
    if heir.initialize().is_err() {
        transaction.end(setting, &session.process.clone(), Outcome::Fail, "abandoned");
        return Err(Ended::Lost);
    }
    session.fenced = true;
    if random.percent(60) && transaction.send(setting, session, place, 1).is_ok() {
        session.unexpected("a zombie writes");
    }
    if session.end(true).is_ok() {
        session.unexpected("a zombie commits");
    }
    transaction.end(setting, &session.process.clone(), Outcome::Fail, "fenced");
    // The heir works.
    let mut transaction = Transaction::begin(setting, &mut heir);
    let written = transaction.send(setting, &mut heir, place, 1);
    if written.is_ok() {
        let _ = finish(setting, &mut heir, transaction, true);
    } else {
        transaction.end(setting, &heir.process.clone(), Outcome::Fail, "not written");
    }
    Err(Ended::Lost)
}

/// Reads `txn` at read_committed with its own list of aborted transactions, from the beginning.
struct Reader {
    process: String,
    raw: Raw,
    random: Random,
    positions: HashMap<Place, i64>,
}

impl Reader {
    fn new(setting: &Setting, process: &str, random: Random) -> Self {
        Self {
            process: process.to_owned(),
            raw: Raw::new(&setting.address, process),
            random,
            positions: HashMap::new(),
        }
    }

    fn poll(&mut self, setting: &Setting) -> Option<Mop> {
        let place = Place::any_of("txn", &mut self.random);
        let position = match self.positions.get(&place) {
            Some(position) => *position,
            None => {
                let assign = Mop::Assign { keys: vec![place.key()], beginning: true };
                setting.recorder.note(&self.process, Function::Assign, Outcome::Ok, vec![assign], "");
                0
            }
        };
        let fetched = fetch(&mut self.raw, setting, place, position, true, &mut self.random).ok()?;
        self.positions.insert(place, fetched.next);
        let records = fetched.committed.iter().map(|(offset, value)| (place.key(), *offset, *value)).collect();
        watermark_order(setting, &self.process, place, &fetched);
        Some(Mop::Poll { committed: true, records })
    }
}

/// Every fetch answer has its watermarks in order.
fn watermark_order(setting: &Setting, process: &str, place: Place, fetched: &super::raw_reader::Fetched) {
    let (start, stable, high) = (fetched.start.max(0), fetched.stable, fetched.high);
    let beyond = !fetched.batches.is_empty() && fetched.next > stable;
    if !(start <= stable && stable <= high) || beyond {
        let next = fetched.next;
        let text = format!("{}: a fetch up to {next} with start {start}, stable {stable}, high {high}", place.key());
        setting.recorder.note(process, Function::Answer, Outcome::Fail, Vec::new(), text);
    }
}

/// Reads `in`, writes `out`, commits the offset: exactly once, partition `place` for group `raw`.
pub fn pipeline(setting: &Arc<Setting>, name: &str, place: Place, mut random: Random) {
    let mut life = 0;
    let mut old: Option<Session> = None;
    while !setting.stopped() {
        life += 1;
        let process = format!("{name}.{life}");
        let mut session = Session::new(setting, process.clone(), name, random.fork());
        if session.initialize().is_err() {
            continue;
        }
        if let Some(mut zombie) = old.take() {
            zombie.fenced = true;
            if zombie.end(true).is_ok() {
                zombie.unexpected("a zombie commits");
            }
        }
        let mut raw = Raw::new(&setting.address, &process);
        let Some(mut position) = start_position(setting, &process, &mut raw, place, &mut random) else { continue };
        let assign = Mop::Assign { keys: vec![place.key()], beginning: false };
        setting.recorder.note(&process, Function::Assign, Outcome::Ok, vec![assign], "");
        loop {
            if setting.stopped() {
                return;
            }
            setting.pause(&mut random, PAUSE_MILLIS);
            match process_once(setting, &mut session, &mut raw, place, position, &mut random) {
                Ok(next) => position = next,
                Err(open) => {
                    old = open.then_some(session);
                    break;
                }
            }
        }
    }
}

fn start_position(setting: &Setting, process: &str, raw: &mut Raw, place: Place, random: &mut Random) -> Option<i64> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if let Some(offset) = read_offset(setting, process, raw, "raw", place, random) {
            return Some(offset.unwrap_or(0));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

fn read_offset(
    setting: &Setting,
    process: &str,
    raw: &mut Raw,
    group: &str,
    place: Place,
    random: &mut Random,
) -> Option<Option<i64>> {
    let op = setting.recorder.invoke(process, Function::Offsets, Vec::new());
    let result = committed_offset(raw, group, place, random);
    let (outcome, mops, text) = match &result {
        Ok(offset) => {
            let mop = Mop::Committed { group: group.into(), key: place.key(), offset: *offset };
            (Outcome::Ok, vec![mop], String::new())
        }
        Err(error) => (Outcome::Info, Vec::new(), error.to_string()),
    };
    setting.recorder.complete(process, op, Function::Offsets, outcome, mops, text);
    result.ok()
}

/// One round; the next position. An error ends this life; whether its transaction is open.
fn process_once(
    setting: &Arc<Setting>,
    session: &mut Session,
    raw: &mut Raw,
    place: Place,
    position: i64,
    random: &mut Random,
) -> Result<i64, bool> {
    let Ok(fetched) = fetch(raw, setting, place, position, true, random) else { return Ok(position) };
    if fetched.committed.is_empty() {
        return Ok(fetched.next);
    }
    let mut transaction = Transaction::begin(setting, session);
    let records = fetched.committed.iter().map(|(offset, value)| (place.key(), *offset, *value)).collect();
    transaction.mops.push(Mop::Poll { committed: true, records });
    let next = fetched.next;
    let mut steps = [true, false];
    if session.generation == Generation::Two && random.percent(50) {
        steps.reverse();
    }
    let mut written = Ok(());
    for send in steps {
        written = written.and_then(|()| {
            if send {
                let out = Place { topic: "out", partition: place.partition };
                transaction.send(setting, session, out, 1 + random.below(2))
            } else {
                transaction.mops.push(Mop::Commit { group: "raw".into(), key: place.key(), offset: next });
                session.commit_offset("raw", place, next)
            }
        });
    }
    let process = session.process.clone();
    match (written, Plan::any(random)) {
        (Err(ended), _) => {
            transaction.end(setting, &process, Outcome::Fail, format!("{ended:?}"));
            Err(false)
        }
        (Ok(()), Plan::Abort) => {
            let result = finish(setting, session, transaction, false);
            let assign = Mop::Assign { keys: vec![place.key()], beginning: false };
            setting.recorder.note(&process, Function::Assign, Outcome::Ok, vec![assign], "");
            result.map(|()| position).map_err(|_| false)
        }
        (Ok(()), Plan::Abandon | Plan::Zombie) => {
            // It comes back when its heir has taken over, and must be refused.
            transaction.end(setting, &process, Outcome::Fail, "abandoned");
            Err(true)
        }
        (Ok(()), plan) => {
            if plan == Plan::Late {
                session.sleep_past_timeout();
            }
            finish(setting, session, transaction, true).map(|()| next).map_err(|_| false)
        }
    }
}

/// Reads watermarks and committed offsets all the time.
pub fn watcher(setting: &Arc<Setting>, name: &str, groups: &[&str], mut random: Random) {
    let mut raw = Raw::new(&setting.address, name);
    while !setting.stopped() {
        setting.pause(&mut random, 150);
        let place = Place::all()[random.below(Place::all().len() as u64) as usize];
        if let Ok(mop) = watermarks(&mut raw, place) {
            setting.recorder.note(name, Function::Watermarks, Outcome::Ok, vec![mop], "");
        }
        let group = groups[random.below(groups.len() as u64) as usize];
        let place = Place::any_of("in", &mut random);
        let _ = read_offset(setting, name, &mut raw, group, place, &mut random);
    }
}

fn watermarks(raw: &mut Raw, place: Place) -> Result<Mop> {
    let start = list_offset(raw, place, Mark::Start)?;
    let stable = list_offset(raw, place, Mark::Stable)?;
    let high = list_offset(raw, place, Mark::High)?;
    let end = list_offset(raw, place, Mark::End)?;
    Ok(Mop::Watermarks { key: place.key(), start, stable, high, end })
}

/// The last word on a group's offset: asked until it is stable.
pub fn final_offset(setting: &Setting, group: &str, place: Place, random: &mut Random) -> bool {
    let mut raw = Raw::new(&setting.address, "final");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        if read_offset(setting, "final", &mut raw, group, place, random).is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}
