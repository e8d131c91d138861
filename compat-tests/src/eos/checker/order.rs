//! One value at one offset, offsets in the order of sends, nothing lost, nothing read that was not written.

use std::collections::HashMap;

use super::Found;
use super::index::{Index, Operation};
use crate::eos::history::{Function, Outcome};

pub(super) fn check(index: &Index, found: &mut Found) {
    versions(index, found);
    lost(index, found);
    acknowledged_order(index, found);
    read_order(index, found);
}

/// inconsistent-offsets, duplicate, ack-offset, phantom: from all polls whatever their outcome, and from what was acknowledged.
fn versions(index: &Index, found: &mut Found) {
    // Offset → value and who says so; value → place and who says so.
    let mut values: HashMap<(&str, i64), (u64, u64)> = HashMap::new();
    let mut places: HashMap<u64, (&str, i64, u64)> = HashMap::new();
    for operation in &index.operations {
        for (key, offset, value, _) in operation.reads() {
            let (other, by) = *values.entry((key, offset)).or_insert((value, operation.op));
            if other != value {
                found.add("inconsistent-offsets", [by, operation.op], || {
                    format!("{key} offset {offset} holds {other} and {value}")
                });
            }
            let place = *places.entry(value).or_insert((key, offset, operation.op));
            if (place.0, place.1) != (key, offset) {
                found.add("duplicate", writer_and(index, value, [place.2, operation.op]), || {
                    format!("{value} is at {} offset {} and at {key} offset {offset}", place.0, place.1)
                });
            }
            let Some(writer) = index.writer(value) else {
                found.add("phantom", [operation.op], || format!("{key} offset {offset}: nobody wrote {value}"));
                continue;
            };
            if !writer.sends().any(|(wanted, sent, _)| sent == value && wanted == key) {
                found.add("phantom", [writer.op, operation.op], || format!("{value} was not written to {key}"));
            }
        }
    }
    for operation in index.operations.iter().filter(|operation| operation.outcome != Outcome::Fail) {
        for (key, value, offset) in operation.sends() {
            let Some(offset) = offset else { continue };
            match places.get(&value) {
                Some((read_key, read, by)) if (*read_key, *read) != (key, offset) => {
                    found.add("ack-offset", [operation.op, *by], || {
                        format!(
                            "{value} was acknowledged at {key} offset {offset} and read at {read_key} offset {read}"
                        )
                    });
                }
                Some(_) => {}
                None => {
                    if let Some((other, by)) = values.get(&(key, offset)) {
                        found.add("inconsistent-offsets", [operation.op, *by], || {
                            format!("{value} was acknowledged at {key} offset {offset}, where {other} was read")
                        });
                    }
                }
            }
        }
    }
}

fn writer_and(index: &Index, value: u64, ops: [u64; 2]) -> Vec<u64> {
    index.writer(value).map(|writer| writer.op).into_iter().chain(ops).collect()
}

/// lost-write: committed, below what was read, and not there. unseen: acknowledged, and not there.
fn lost(index: &Index, found: &mut Found) {
    for operation in &index.operations {
        if !matches!(operation.function, Function::Send | Function::Txn) || !index.is_committed(operation) {
            continue;
        }
        let of_a_transaction = operation.function == Function::Txn;
        let (view, there) =
            if of_a_transaction { (&index.committed, &index.visible) } else { (&index.uncommitted, &index.present) };
        for (key, value, offset) in operation.sends() {
            if there.contains(&value) {
                continue;
            }
            if operation.outcome != Outcome::Ok && !index.seen.contains(&value) {
                // Part of a transaction that is half visible, which `transactions` says; or a record nobody knows.
                continue;
            }
            let last = view.get(key).and_then(|records| records.last()).map_or(-1, |(offset, _)| *offset);
            let kind = match offset {
                Some(offset) if offset > last && !index.seen.contains(&value) => "unseen",
                None if !index.seen.contains(&value) => "unseen",
                _ => "lost-write",
            };
            found.add(kind, [operation.op], || {
                format!("{key}: {value} (offset {offset:?}) of a committed operation is not there; last read is offset {last}")
            });
        }
    }
    // What a reader has seen stays.
    for operation in index.operations.iter().filter(|operation| operation.function != Function::FinalPoll) {
        for (key, offset, value, committed) in operation.reads() {
            let there = if committed { &index.visible } else { &index.present };
            if !there.contains(&value) {
                found.add("lost-write", writer_and(index, value, [operation.op, operation.op]), || {
                    format!("{key} offset {offset}: {value} was read and is gone at the end")
                });
            }
        }
    }
}

/// nonmonotonic-send, int-nonmonotonic-send: a later send of a producer has a lower offset, by the acknowledgements.
fn acknowledged_order(index: &Index, found: &mut Found) {
    let mut last: HashMap<(&str, &str), (i64, u64)> = HashMap::new();
    for operation in writes_in_order(index) {
        for (key, value, offset) in operation.sends() {
            let Some(offset) = offset else { continue };
            let (before, by) = last.insert((&operation.process, key), (offset, operation.op)).unwrap_or((-1, 0));
            if before >= offset {
                let kind = if by == operation.op { "int-nonmonotonic-send" } else { "nonmonotonic-send" };
                found.add(kind, [by, operation.op], || {
                    format!("{} wrote {value} to {key} at offset {offset}, after offset {before}", operation.process)
                });
            }
        }
    }
}

/// reordered: the same by what is in the log at the end.
fn read_order(index: &Index, found: &mut Found) {
    let mut offsets: HashMap<u64, i64> = HashMap::new();
    for (offset, value) in index.uncommitted.values().flatten() {
        offsets.insert(*value, *offset);
    }
    let mut last: HashMap<(&str, &str), (i64, u64, u64)> = HashMap::new();
    for operation in writes_in_order(index) {
        for (key, value, _) in operation.sends() {
            let Some(offset) = offsets.get(&value).copied() else { continue };
            let place = (operation.process.as_str(), key);
            let (before, earlier, by) = last.insert(place, (offset, value, operation.op)).unwrap_or((-1, 0, 0));
            if before >= offset {
                found.add("reordered", [by, operation.op], || {
                    format!("{} wrote {earlier}, then {value} to {key}: offsets {before}, {offset}", operation.process)
                });
            }
        }
    }
}

/// Operations are numbered in the order of their invocations, and a producer does one after the other.
fn writes_in_order(index: &Index) -> impl Iterator<Item = &Operation> {
    index.operations.iter().filter(|operation| matches!(operation.function, Function::Send | Function::Txn))
}
