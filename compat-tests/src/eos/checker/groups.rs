//! Read, process, write: each input record once; group offsets commit together with the records, and are never those of an
//! aborted transaction; what was committed is what is read, and it never goes back.

use std::collections::{BTreeMap, HashMap};

use super::Found;
use super::index::{Index, Operation};
use crate::eos::history::{Function, Mop, Outcome};

type Place<'a> = (&'a str, &'a str);

pub(super) fn check(index: &Index, found: &mut Found) {
    reads_of_offsets(index, found);
    consumption(index, found);
}

/// The last committed offset of each group and key, as read at the end.
fn last_read(index: &Index) -> BTreeMap<Place<'_>, (i64, u64)> {
    let mut last = BTreeMap::new();
    for operation in &index.operations {
        if operation.function == Function::Offsets && operation.outcome == Outcome::Ok {
            for mop in &operation.mops {
                if let Mop::Committed { group, key, offset } = mop {
                    last.insert((group.as_str(), key.as_str()), (offset.unwrap_or(0), operation.op));
                }
            }
        }
    }
    last
}

fn consumption(index: &Index, found: &mut Found) {
    let mut consumed: HashMap<(&str, u64), u64> = HashMap::new();
    let mut ends: BTreeMap<Place<'_>, (i64, u64)> = BTreeMap::new();
    let last = last_read(index);
    for operation in index.transactions().filter(|operation| index.is_committed(operation)) {
        for (group, key, offset) in operation.commits() {
            let end = ends.entry((group, key)).or_insert((offset, operation.op));
            *end = (*end).max((offset, operation.op));
            for (_, at, value, _) in operation.reads().filter(|(read, ..)| *read == key) {
                if let Some(by) = consumed.insert((group, value), operation.op) {
                    found.add("consume-count", [by, operation.op], || {
                        format!("{group} consumed {value} of {key} offset {at} in two committed transactions")
                    });
                }
            }
        }
    }
    for (place, (read, read_by)) in &last {
        let (group, key) = *place;
        let (end, by) = ends.get(place).copied().unwrap_or((0, *read_by));
        if *read < end {
            found.add("records-without-offsets", [by, *read_by], || {
                format!("{group} has committed {read} of {key}; a committed transaction consumed up to {end}")
            });
        }
        if *read > end {
            found.add("offsets-without-records", [by, *read_by], || {
                format!("{group} has committed {read} of {key}; committed transactions consumed up to {end}")
            });
        }
        for (offset, value) in index.committed.get(key).into_iter().flatten().filter(|(offset, _)| offset < read) {
            if !consumed.contains_key(&(group, *value)) {
                let writer = index.writer(*value).map(|writer| writer.op);
                found.add("offsets-without-records", writer.into_iter().chain([*read_by]), || {
                    format!("{group} has committed {read} of {key} and never consumed {value} at offset {offset}")
                });
            }
        }
    }
}

/// aborted-offsets, read-your-commit, nonmonotonic-offsets.
fn reads_of_offsets(index: &Index, found: &mut Found) {
    let mut offered: HashMap<(&str, &str, i64), Vec<&Operation>> = HashMap::new();
    let mut acknowledged: HashMap<Place<'_>, Vec<(u64, i64, u64)>> = HashMap::new();
    for operation in index.transactions() {
        for (group, key, offset) in operation.commits() {
            offered.entry((group, key, offset)).or_default().push(operation);
            if operation.outcome == Outcome::Ok {
                acknowledged.entry((group, key)).or_default().push((operation.completed, offset, operation.op));
            }
        }
    }
    for commits in acknowledged.values_mut() {
        running_maximum(commits);
    }
    let mut reads: HashMap<Place<'_>, Vec<(u64, i64, u64)>> = HashMap::new();
    for operation in &index.operations {
        if operation.function != Function::Offsets || operation.outcome != Outcome::Ok {
            continue;
        }
        for mop in &operation.mops {
            let Mop::Committed { group, key, offset } = mop else { continue };
            let place = (group.as_str(), key.as_str());
            if let Some(offset) = offset {
                let by = offered.get(&(place.0, place.1, *offset)).map_or(&[][..], Vec::as_slice);
                if by.iter().all(|by| by.outcome == Outcome::Fail) {
                    found.add("aborted-offsets", by.iter().map(|by| by.op).chain([operation.op]), || {
                        format!("{group} has {offset} of {key}, which no transaction that may be committed wrote")
                    });
                }
            }
            let read = offset.unwrap_or(0);
            let before = |list: Option<&Vec<(u64, i64, u64)>>| latest_before(list, operation.invoked);
            if let Some((wanted, by)) = before(acknowledged.get(&place)).filter(|(wanted, _)| read < *wanted) {
                found.add("read-your-commit", [by, operation.op], || {
                    format!("{group} has {read} of {key} after {wanted} was acknowledged")
                });
            }
            if let Some((wanted, by)) = before(reads.get(&place)).filter(|(wanted, _)| read < *wanted) {
                found.add("nonmonotonic-offsets", [by, operation.op], || {
                    format!("{group} has {read} of {key} after {wanted} was read")
                });
            }
            // Operations come in the order of their invocations; completions of readers may not.
            let list = reads.entry(place).or_default();
            let position = list.partition_point(|(completed, ..)| *completed < operation.completed);
            let highest = position.checked_sub(1).map_or((i64::MIN, 0), |at| (list[at].1, list[at].2));
            let (offset, op) = highest.max((read, operation.op));
            list.insert(position, (operation.completed, offset, op));
            for later in &mut list[position + 1..] {
                (later.1, later.2) = (later.1, later.2).max((offset, op));
            }
        }
    }
}

/// Sorts by completion, and gives each entry the largest offset up to it.
fn running_maximum(list: &mut [(u64, i64, u64)]) {
    list.sort_unstable();
    let mut highest = (i64::MIN, 0);
    for (_, offset, op) in list {
        highest = highest.max((*offset, *op));
        (*offset, *op) = highest;
    }
}

fn latest_before(list: Option<&Vec<(u64, i64, u64)>>, event: u64) -> Option<(i64, u64)> {
    let list = list?;
    let at = list.partition_point(|(completed, ..)| *completed < event).checked_sub(1)?;
    Some((list[at].1, list[at].2))
}
