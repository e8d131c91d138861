//! What a consumer reads follows what it read before: no skip, no step back, unless it was assigned anew.

use std::collections::HashMap;

use super::Found;
use super::index::{Index, Operation};
use crate::eos::history::{Function, Mop};

/// A consumer's position in a key: dense index of the last record, -1 before the first, and the operation that read it.
type Positions<'a> = HashMap<(&'a str, &'a str, bool), (i64, u64)>;

pub(super) fn check(index: &Index, found: &mut Found) {
    let committed = dense(&index.committed);
    let all = dense(&index.uncommitted);
    let mut positions = Positions::new();
    // A consumer does one thing after the other: what it did inside an operation is told when that is over.
    let mut operations: Vec<&Operation> = index.operations.iter().collect();
    operations.sort_by_key(|operation| operation.completed);
    for operation in operations {
        if operation.function == Function::FinalPoll {
            continue;
        }
        let process = operation.process.as_str();
        for mop in &operation.mops {
            match mop {
                Mop::Assign { keys, beginning } => {
                    for key in keys {
                        for isolation in [false, true] {
                            if *beginning {
                                positions.insert((process, key, isolation), (-1, operation.op));
                            } else {
                                positions.remove(&(process, key.as_str(), isolation));
                            }
                        }
                    }
                }
                Mop::Poll { committed: isolation, records } => {
                    let view = if *isolation { &committed } else { &all };
                    for (key, offset, value) in records {
                        // What is not there at the end is a finding of its own.
                        let Some(now) = view.get(&(key.as_str(), *value)).copied() else { continue };
                        let last = positions.insert((process, key, *isolation), (now, operation.op));
                        let Some((before, by)) = last else { continue };
                        if now != before + 1 {
                            found.add(kind(now < before + 1, by == operation.op), [by, operation.op], || {
                                format!("{process} read {key} offset {offset}, record {now}, after record {before}")
                            });
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn kind(backwards: bool, internal: bool) -> &'static str {
    match (backwards, internal) {
        (false, false) => "poll-skip",
        (false, true) => "int-poll-skip",
        (true, false) => "nonmonotonic-poll",
        (true, true) => "int-nonmonotonic-poll",
    }
}

/// Value in its key → its number there: offsets without their gaps.
fn dense(view: &HashMap<String, Vec<(i64, u64)>>) -> HashMap<(&str, u64), i64> {
    let mut numbers = HashMap::new();
    for (key, records) in view {
        for (number, (_, value)) in records.iter().enumerate() {
            numbers.entry((key.as_str(), *value)).or_insert(number as i64);
        }
    }
    numbers
}
