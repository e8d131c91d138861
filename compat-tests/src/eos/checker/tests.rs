//! Bad histories: each kind is found, and only where it is. Good ones pass.

use super::*;
use crate::eos::history::{Function, Mop, Outcome, Recorder};
use Function::{FinalPoll, Offsets, Poll, Send, Txn};
use Outcome::{Fail, Info, Ok};

struct Book(Recorder);

fn send(key: &str, value: u64, offset: impl Into<Option<i64>>) -> Mop {
    Mop::Send { key: key.into(), value, offset: offset.into() }
}

fn poll(committed: bool, key: &str, records: &[(i64, u64)]) -> Mop {
    let records = records.iter().map(|(offset, value)| (key.to_owned(), *offset, *value)).collect();
    Mop::Poll { committed, records }
}

fn commit(key: &str, offset: i64) -> Mop {
    Mop::Commit { group: "g".into(), key: key.into(), offset }
}

fn fetched(key: &str, offset: impl Into<Option<i64>>) -> Mop {
    Mop::Committed { group: "g".into(), key: key.into(), offset: offset.into() }
}

impl Book {
    fn new() -> Self {
        Self(Recorder::default())
    }

    fn add(&self, process: &str, function: Function, outcome: Outcome, mops: &[Mop]) -> u64 {
        let op = self.0.invoke(process, function, Vec::new());
        self.0.complete(process, op, function, outcome, mops.to_vec(), "");
        op
    }

    /// Final polls of one key that agree with each other.
    fn last(&self, key: &str, records: &[(i64, u64)]) {
        self.last_of(key, records, records);
    }

    fn last_of(&self, key: &str, committed: &[(i64, u64)], all: &[(i64, u64)]) {
        self.add("final", FinalPoll, Ok, &[poll(true, key, committed), poll(false, key, all)]);
    }

    fn kinds(&self) -> Vec<&'static str> {
        let mut kinds: Vec<_> = check(&self.0.events()).0.into_iter().map(|anomaly| anomaly.kind).collect();
        kinds.dedup();
        kinds
    }
}

#[test]
fn nothing_wrong_is_found_in_a_good_history() {
    let book = Book::new();
    book.add("a", Send, Ok, &[send("in-0", 1, 0)]);
    book.add("t", Txn, Ok, &[send("x-0", 2, 0), send("y-0", 3, 0)]);
    book.add("t", Txn, Fail, &[send("x-0", 4, 2), send("y-0", 5, None)]);
    book.add("t", Txn, Info, &[send("x-0", 6, 4), send("y-0", 7, None)]); // happened
    book.add("t", Txn, Info, &[send("x-0", 8, 6)]); // did not
    book.add("a", Send, Info, &[send("in-0", 9, None)]); // never arrived
    book.add("p", Txn, Ok, &[poll(true, "in-0", &[(0, 1)]), send("out-0", 10, 0), commit("in-0", 1)]);
    book.add("r", Poll, Ok, &[poll(true, "x-0", &[(0, 2)])]);
    book.add("r", Poll, Ok, &[poll(true, "x-0", &[(4, 6)])]);
    book.add("u", Poll, Ok, &[poll(false, "x-0", &[(2, 4), (4, 6)])]);
    book.add("w", Offsets, Ok, &[fetched("in-0", 1)]);
    book.last("in-0", &[(0, 1)]);
    book.last("out-0", &[(0, 10)]);
    book.last_of("x-0", &[(0, 2), (4, 6)], &[(0, 2), (2, 4), (4, 6), (6, 8)]);
    book.last_of("y-0", &[(0, 3), (4, 7)], &[(0, 3), (2, 5), (4, 7)]);
    let (anomalies, counts) = check(&book.0.events());
    assert_eq!(anomalies, []);
    let expected = Counts { committed: 2, aborted: 1, indeterminate: 2, sent: 1, read: 5, consumed: 1 };
    assert_eq!(counts, expected);
}

#[test]
fn two_values_at_one_offset() {
    let book = Book::new();
    book.add("a", Send, Ok, &[send("x-0", 1, 0)]);
    book.add("b", Send, Info, &[send("x-0", 2, None)]);
    book.add("r", Poll, Ok, &[poll(false, "x-0", &[(0, 2)])]);
    book.last("x-0", &[(0, 1)]);
    assert!(book.kinds().contains(&"inconsistent-offsets"), "{:?}", book.kinds());
}

#[test]
fn an_offset_that_was_acknowledged_for_another_value() {
    let book = Book::new();
    book.add("a", Send, Ok, &[send("x-0", 1, 0)]);
    book.add("b", Send, Ok, &[send("x-0", 2, 0)]);
    book.last("x-0", &[(0, 1)]);
    assert!(book.kinds().contains(&"inconsistent-offsets"), "{:?}", book.kinds());
}

#[test]
fn one_value_at_two_offsets() {
    let book = Book::new();
    book.add("a", Send, Ok, &[send("x-0", 1, 0)]);
    book.last("x-0", &[(0, 1), (1, 1)]);
    assert!(book.kinds().contains(&"duplicate"), "{:?}", book.kinds());
}

#[test]
fn a_value_in_the_wrong_partition_or_from_nobody() {
    let book = Book::new();
    book.add("a", Send, Info, &[send("x-0", 1, None)]);
    book.last("x-1", &[(0, 1), (1, 99)]);
    assert_eq!(book.kinds(), ["phantom"]);
}

#[test]
fn an_acknowledged_offset_is_the_offset_read() {
    let book = Book::new();
    book.add("a", Send, Ok, &[send("x-0", 1, 5)]);
    book.last("x-0", &[(4, 1)]);
    assert_eq!(book.kinds(), ["ack-offset"]);
}

#[test]
fn an_aborted_read() {
    let book = Book::new();
    book.add("t", Txn, Fail, &[send("x-0", 1, 0)]);
    book.add("r", Poll, Ok, &[poll(true, "x-0", &[(0, 1)])]);
    book.last_of("x-0", &[(0, 1)], &[(0, 1)]);
    assert_eq!(book.kinds(), ["G1a"]);
    let plain = Book::new();
    plain.add("a", Send, Fail, &[send("x-0", 1, None)]);
    plain.last("x-0", &[(0, 1)]);
    assert_eq!(plain.kinds(), ["G1a"]);
}

#[test]
fn an_aborted_read_in_the_middle_is_found_though_the_end_is_right() {
    let book = Book::new();
    book.add("t", Txn, Fail, &[send("x-0", 1, 0)]);
    book.add("r", Poll, Ok, &[poll(true, "x-0", &[(0, 1)])]);
    book.last_of("x-0", &[], &[(0, 1)]);
    assert!(book.kinds().contains(&"G1a"));
}

#[test]
fn an_acknowledged_record_that_is_gone() {
    let book = Book::new();
    book.add("a", Send, Ok, &[send("x-0", 1, 0)]);
    book.add("a", Send, Ok, &[send("x-0", 2, 1)]);
    book.last("x-0", &[(1, 2)]);
    assert_eq!(book.kinds(), ["lost-write"]);
    let tail = Book::new();
    tail.add("a", Send, Ok, &[send("x-0", 1, 0)]);
    tail.add("a", Send, Ok, &[send("x-0", 2, 1)]);
    tail.last("x-0", &[(0, 1)]);
    assert_eq!(tail.kinds(), ["unseen"]);
}

#[test]
fn a_committed_transaction_that_nobody_sees() {
    let book = Book::new();
    book.add("t", Txn, Ok, &[send("x-0", 1, 0)]);
    book.add("t", Txn, Ok, &[send("x-0", 2, 2)]);
    book.last_of("x-0", &[(2, 2)], &[(0, 1), (2, 2)]);
    assert_eq!(book.kinds(), ["lost-write"]);
}

#[test]
fn a_record_that_was_read_and_is_gone() {
    let book = Book::new();
    book.add("a", Send, Info, &[send("x-0", 1, None)]);
    book.add("r", Poll, Ok, &[poll(false, "x-0", &[(0, 1)])]);
    book.last("x-0", &[]);
    assert!(book.kinds().contains(&"lost-write"), "{:?}", book.kinds());
}

#[test]
fn polls_that_skip_or_go_back() {
    let values: Vec<(i64, u64)> = (0..6).map(|n| (n * 2, n as u64 + 1)).collect();
    let with = |polls: &[&[(i64, u64)]]| {
        let book = Book::new();
        for (offset, value) in &values {
            book.add("a", Send, Ok, &[send("x-0", *value, *offset)]);
        }
        for records in polls {
            book.add("r", Poll, Ok, &[poll(true, "x-0", records)]);
        }
        book.last("x-0", &values);
        book.kinds()
    };
    assert_eq!(with(&[&values[..3], &values[3..]]), [""; 0]);
    assert_eq!(with(&[&values[1..3], &values[4..]]), ["poll-skip"]);
    assert_eq!(with(&[&values[..3], &values[2..]]), ["nonmonotonic-poll"]);
    assert_eq!(with(&[&[values[0], values[2]]]), ["int-poll-skip"]);
    assert_eq!(with(&[&[values[1], values[0]]]), ["int-nonmonotonic-poll"]);
    let book = Book::new();
    for (offset, value) in &values {
        book.add("a", Send, Ok, &[send("x-0", *value, *offset)]);
    }
    let anywhere = Mop::Assign { keys: vec!["x-0".into()], beginning: false };
    let beginning = Mop::Assign { keys: vec!["x-0".into()], beginning: true };
    book.add("r", Poll, Ok, &[poll(true, "x-0", &values[4..])]);
    book.add("r", Function::Assign, Ok, &[anywhere]);
    book.add("r", Poll, Ok, &[poll(true, "x-0", &values[1..2])]);
    book.last("x-0", &values);
    assert_eq!(book.kinds(), [""; 0]);
    book.add("r", Function::Assign, Ok, &[beginning]);
    book.add("r", Poll, Ok, &[poll(true, "x-0", &values[1..2])]);
    assert_eq!(book.kinds(), ["poll-skip"]);
}

#[test]
fn records_of_aborted_transactions_are_no_gap() {
    let book = Book::new();
    book.add("t", Txn, Ok, &[send("x-0", 1, 0)]);
    book.add("t", Txn, Fail, &[send("x-0", 2, 2)]);
    book.add("t", Txn, Ok, &[send("x-0", 3, 4)]);
    book.add("r", Poll, Ok, &[poll(true, "x-0", &[(0, 1), (4, 3)])]);
    book.last_of("x-0", &[(0, 1), (4, 3)], &[(0, 1), (2, 2), (4, 3)]);
    assert_eq!(book.kinds(), [""; 0]);
    book.add("u", Poll, Ok, &[poll(false, "x-0", &[(0, 1), (4, 3)])]);
    assert_eq!(book.kinds(), ["int-poll-skip"]);
}

#[test]
fn sends_out_of_order() {
    let book = Book::new();
    book.add("a", Send, Ok, &[send("x-0", 1, 1)]);
    book.add("a", Send, Ok, &[send("x-0", 2, 0)]);
    book.last("x-0", &[(0, 2), (1, 1)]);
    assert_eq!(book.kinds(), ["nonmonotonic-send", "reordered"]);
    let inside = Book::new();
    inside.add("a", Txn, Ok, &[send("x-0", 1, 1), send("x-0", 2, 0)]);
    inside.last("x-0", &[(0, 2), (1, 1)]);
    assert_eq!(inside.kinds(), ["int-nonmonotonic-send", "reordered"]);
    let unknown = Book::new();
    unknown.add("a", Send, Info, &[send("x-0", 1, None)]);
    unknown.add("a", Send, Info, &[send("x-0", 2, None)]);
    unknown.last("x-0", &[(0, 2), (1, 1)]);
    assert_eq!(unknown.kinds(), ["reordered"]);
}

#[test]
fn a_transaction_of_which_a_part_is_visible() {
    for outcome in [Ok, Info] {
        let book = Book::new();
        book.add("t", Txn, outcome, &[send("x-0", 1, 0), send("y-0", 2, None)]);
        book.last("x-0", &[(0, 1)]);
        book.last_of("y-0", &[], &[(0, 2)]);
        assert!(book.kinds().contains(&"half-visible"), "{:?}", book.kinds());
    }
}

#[test]
fn a_transaction_that_reads_its_own_write() {
    let book = Book::new();
    book.add("t", Txn, Ok, &[send("x-0", 1, 0), poll(true, "x-0", &[(0, 1)])]);
    book.last("x-0", &[(0, 1)]);
    assert_eq!(book.kinds(), ["precommitted-read"]);
}

#[test]
fn transactions_that_read_each_other_in_a_circle() {
    let book = Book::new();
    let ring = 4;
    for n in 0..ring {
        let key = format!("x-{n}");
        let before = (n + ring - 1) % ring;
        let mops = [send(&key, n + 1, 0), poll(true, &format!("x-{before}"), &[(0, before + 1)])];
        book.add(&format!("t{n}"), Txn, Ok, &mops);
        book.last(&key, &[(0, n + 1)]);
    }
    // A tail that hangs on the ring is no part of it.
    book.add("tail", Txn, Ok, &[send("x-9", 50, 0), poll(true, "x-0", &[(0, 1)])]);
    book.last("x-9", &[(0, 50)]);
    let (anomalies, _) = check(&book.0.events());
    assert_eq!(anomalies.len(), 1);
    assert_eq!(anomalies[0].kind, "G1c");
    assert_eq!(anomalies[0].ops.len(), 4);
}

#[test]
fn the_shortest_circle_is_printed() {
    let book = Book::new();
    // 1 → 2 → 3 → 1 and 1 → 2 → 1.
    book.add("a", Txn, Ok, &[send("x-0", 1, 0), poll(true, "x-1", &[(0, 2)]), poll(true, "x-2", &[(0, 3)])]);
    book.add("b", Txn, Ok, &[send("x-1", 2, 0), poll(true, "x-0", &[(0, 1)])]);
    book.add("c", Txn, Ok, &[send("x-2", 3, 0), poll(true, "x-1", &[(0, 2)])]);
    for n in 0..3 {
        book.last(&format!("x-{n}"), &[(0, n + 1)]);
    }
    let (anomalies, _) = check(&book.0.events());
    assert_eq!((anomalies[0].kind, anomalies[0].ops.len()), ("G1c", 2));
}

/// A read-process-write transaction of input records 1, 2, …, each at its offset.
fn piped(from: i64, to: i64, out: u64) -> Vec<Mop> {
    let records: Vec<_> = (from..to).map(|offset| (offset, offset as u64 + 1)).collect();
    vec![poll(true, "in-0", &records), send("out-0", out, None), commit("in-0", to)]
}

fn input(book: &Book, count: i64) {
    let records: Vec<_> = (0..count).map(|offset| (offset, offset as u64 + 1)).collect();
    for (offset, value) in &records {
        book.add("w", Send, Ok, &[send("in-0", *value, *offset)]);
    }
    book.last("in-0", &records);
}

#[test]
fn an_input_record_that_is_consumed_twice() {
    let book = Book::new();
    input(&book, 4);
    book.add("p1", Txn, Ok, &piped(0, 2, 100));
    book.add("p2", Txn, Ok, &piped(1, 4, 101));
    book.last("out-0", &[(0, 100), (1, 101)]);
    book.add("w", Offsets, Ok, &[fetched("in-0", 4)]);
    assert_eq!(book.kinds(), ["consume-count"]);
}

#[test]
fn records_without_their_offsets() {
    let book = Book::new();
    input(&book, 4);
    book.add("p1", Txn, Ok, &piped(0, 2, 100));
    book.add("p1", Txn, Info, &piped(2, 4, 101));
    book.last("out-0", &[(0, 100), (1, 101)]);
    book.add("w", Offsets, Ok, &[fetched("in-0", 2)]);
    assert_eq!(book.kinds(), ["records-without-offsets"]);
}

#[test]
fn offsets_without_their_records() {
    let book = Book::new();
    input(&book, 4);
    book.add("p1", Txn, Ok, &piped(0, 2, 100));
    book.add("p1", Txn, Info, &piped(2, 4, 101));
    book.last("out-0", &[(0, 100)]);
    book.add("w", Offsets, Ok, &[fetched("in-0", 4)]);
    assert_eq!(book.kinds(), ["offsets-without-records"]);
    let skipped = Book::new();
    input(&skipped, 4);
    skipped.add("p1", Txn, Ok, &piped(0, 2, 100));
    skipped.add("p2", Txn, Ok, &piped(3, 4, 101));
    skipped.last("out-0", &[(0, 100), (1, 101)]);
    skipped.add("w", Offsets, Ok, &[fetched("in-0", 4)]);
    assert_eq!(skipped.kinds(), ["offsets-without-records"]);
}

#[test]
fn committed_offsets_of_an_aborted_transaction_and_offsets_that_go_back() {
    let book = Book::new();
    input(&book, 4);
    book.add("p1", Txn, Ok, &piped(0, 2, 100));
    book.add("p1", Txn, Fail, &piped(2, 4, 101));
    book.add("w", Offsets, Ok, &[fetched("in-0", 4)]);
    book.add("w", Offsets, Ok, &[fetched("in-0", 2)]);
    book.last_of("out-0", &[(0, 100)], &[(0, 100), (2, 101)]);
    assert_eq!(book.kinds(), ["aborted-offsets", "nonmonotonic-offsets"]);
}

#[test]
fn an_offset_that_was_acknowledged_is_read() {
    let book = Book::new();
    input(&book, 4);
    book.add("p1", Txn, Ok, &piped(0, 2, 100));
    book.add("w", Offsets, Ok, &[fetched("in-0", None)]);
    book.add("p1", Txn, Ok, &piped(2, 4, 101));
    book.add("w", Offsets, Ok, &[fetched("in-0", 4)]);
    book.last("out-0", &[(0, 100), (1, 101)]);
    assert_eq!(book.kinds(), ["read-your-commit"]);
}

#[test]
fn a_read_of_offsets_that_began_before_the_commit_may_miss_it() {
    let book = Book::new();
    input(&book, 2);
    let read = book.0.invoke("w", Offsets, Vec::new());
    book.add("p1", Txn, Ok, &piped(0, 2, 100));
    book.0.complete("w", read, Offsets, Ok, vec![fetched("in-0", None)], "");
    book.add("w", Offsets, Ok, &[fetched("in-0", 2)]);
    book.last("out-0", &[(0, 100)]);
    assert_eq!(book.kinds(), [""; 0]);
}

#[test]
fn watermarks_out_of_order() {
    let marks = |stable, high| Mop::Watermarks { key: "x-0".into(), start: 0, stable, high, end: 9 };
    let book = Book::new();
    book.add("w", Function::Watermarks, Ok, &[marks(5, 6)]);
    book.add("w", Function::Watermarks, Ok, &[marks(7, 6)]);
    assert_eq!(book.kinds(), ["watermark-order"]);
    let back = Book::new();
    back.add("w", Function::Watermarks, Ok, &[marks(5, 6)]);
    back.add("w", Function::Watermarks, Ok, &[marks(4, 6)]);
    assert_eq!(back.kinds(), ["watermark-back"]);
}

#[test]
fn answers_that_are_wrong_and_ends_that_never_come() {
    let book = Book::new();
    book.0.note("raw", Function::Answer, Fail, Vec::new(), "EndTxn: NONE for a zombie");
    book.0.note("run", Function::Settle, Fail, Vec::new(), "x-0: a transaction hangs");
    assert_eq!(book.kinds(), ["unexpected-answer", "unsettled"]);
}

#[test]
fn an_excerpt_shows_the_writer_the_reader_and_the_nemesis() {
    let book = Book::new();
    book.add("t", Txn, Fail, &[send("x-0", 1, 0)]);
    book.0.note("nemesis", Function::Nemesis, Ok, Vec::new(), "kill -9");
    book.add("r", Poll, Ok, &[poll(true, "x-0", &[(0, 1)])]);
    book.add("t", Txn, Fail, &[send("x-0", 2, 2)]);
    book.last_of("x-0", &[], &[(0, 1), (2, 2)]);
    let events = book.0.events();
    let (anomalies, _) = check(&events);
    let text = excerpt(&events, &anomalies[0]).join("\n");
    assert!(text.contains("kill -9") && text.contains(r#""proc":"r""#) && text.contains(r#""value":1"#), "{text}");
    assert!(!text.contains(r#""value":2"#), "{text}");
}

#[test]
fn a_history_survives_its_file() {
    let book = Book::new();
    input(&book, 3);
    book.add("p1", Txn, Ok, &piped(0, 2, 100));
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("history.jsonl");
    let events = book.0.events();
    crate::eos::history::write(&path, &events).expect("written");
    assert_eq!(crate::eos::history::read(&path).expect("read"), events);
}

/// A broker that keeps its promises, in memory: random histories of it are good, and each damage to one is found.
mod model {
    use super::*;
    use crate::campaign::Random;

    const KEYS: [&str; 3] = ["x-0", "x-1", "x-2"];

    /// A history of `ops` operations on a log that is right; `damage` spoils the final read of one committed transaction.
    fn history(seed: u64, ops: u64, damage: bool) -> Book {
        let mut random = Random::new(seed);
        let book = Book::new();
        let mut logs: [Vec<(u64, bool)>; 3] = Default::default();
        let mut positions = [0; 3];
        let mut value = 0;
        for n in 0..ops {
            let process = format!("t{}", random.below(4));
            let outcome = [Ok, Ok, Fail, Info][random.below(4) as usize];
            let happens = outcome == Ok || (outcome == Info && random.percent(50));
            let mut mops = Vec::new();
            for _ in 0..1 + random.below(4) {
                let key = random.below(3) as usize;
                value += 1;
                let offset = (outcome == Ok || random.percent(50)).then_some(logs[key].len() as i64);
                mops.push(send(KEYS[key], value, offset));
                logs[key].push((value, happens));
            }
            book.add(&process, Txn, outcome, &mops);
            if n % 3 == 0 {
                let key = random.below(3) as usize;
                let from = positions[key];
                positions[key] = logs[key].len();
                let records: Vec<_> = committed(&logs[key]).into_iter().filter(|(at, _)| *at >= from as i64).collect();
                book.add("r", Poll, Ok, &[poll(true, KEYS[key], &records)]);
            }
        }
        for (log, key) in logs.iter().zip(KEYS) {
            let mut records = committed(log);
            if damage && key == "x-1" {
                let at = random.below(records.len() as u64) as usize;
                records.remove(at);
            }
            let all: Vec<_> = log.iter().enumerate().map(|(at, (value, _))| (at as i64, *value)).collect();
            book.last_of(key, &records, &all);
        }
        book
    }

    fn committed(log: &[(u64, bool)]) -> Vec<(i64, u64)> {
        let all = log.iter().enumerate().filter(|(_, (_, committed))| *committed);
        all.map(|(offset, (value, _))| (offset as i64, *value)).collect()
    }

    #[test]
    fn random_good_histories_pass_and_damaged_ones_do_not() {
        for seed in 0..100 {
            assert_eq!(history(seed, 60, false).kinds(), [""; 0], "seed {seed}");
            assert_ne!(history(seed, 60, true).kinds(), [""; 0], "seed {seed}");
        }
    }
}
