//! A history, joined and numbered: operations, keys, who wrote which value, what the final polls saw.

use std::collections::{HashMap, HashSet};

use super::Counts;
use crate::eos::history::{Event, Function, Mop, Outcome};

/// An operation: its invocation and its completion in one.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Number in the history.
    pub op: u64,
    /// Client.
    pub process: String,
    /// What it is.
    pub function: Function,
    /// How it ended; `Info` if it never did.
    pub outcome: Outcome,
    /// Its parts.
    pub mops: Vec<Mop>,
    /// Event number of the invocation, or of the completion if there is no invocation.
    pub invoked: u64,
    /// Event number of the completion.
    pub completed: u64,
}

impl Operation {
    /// Key, value and offset of what it wrote.
    pub fn sends(&self) -> impl Iterator<Item = (&str, u64, Option<i64>)> {
        self.mops.iter().filter_map(|mop| match mop {
            Mop::Send { key, value, offset } => Some((key.as_str(), *value, *offset)),
            _ => None,
        })
    }

    /// Key, offset, value and isolation of what it read.
    pub fn reads(&self) -> impl Iterator<Item = (&str, i64, u64, bool)> {
        self.mops.iter().flat_map(|mop| match mop {
            Mop::Poll { committed, records } => {
                records.iter().map(|(key, offset, value)| (key.as_str(), *offset, *value, *committed)).collect()
            }
            _ => Vec::new(),
        })
    }

    /// Group, key and offset that it commits.
    pub fn commits(&self) -> impl Iterator<Item = (&str, &str, i64)> {
        self.mops.iter().filter_map(|mop| match mop {
            Mop::Commit { group, key, offset } => Some((group.as_str(), key.as_str(), *offset)),
            _ => None,
        })
    }
}

/// What the checks share.
pub(super) struct Index {
    pub(super) operations: Vec<Operation>,
    /// Value → number of the operation in `operations`.
    pub(super) writers: HashMap<u64, usize>,
    /// What final polls returned at read_committed, by key: offset and value in order of offsets.
    pub(super) committed: HashMap<String, Vec<(i64, u64)>>,
    /// The same at read_uncommitted.
    pub(super) uncommitted: HashMap<String, Vec<(i64, u64)>>,
    /// Values in `committed`.
    pub(super) visible: HashSet<u64>,
    /// Values in `uncommitted` or `committed`.
    pub(super) present: HashSet<u64>,
    /// Values that a poll at read_committed returned, final or not.
    pub(super) seen_committed: HashSet<u64>,
    /// Values that any poll returned.
    pub(super) seen: HashSet<u64>,
}

impl Index {
    pub(super) fn new(events: &[Event]) -> Self {
        let mut index = Self {
            operations: join(events),
            writers: HashMap::new(),
            committed: HashMap::new(),
            uncommitted: HashMap::new(),
            visible: HashSet::new(),
            present: HashSet::new(),
            seen_committed: HashSet::new(),
            seen: HashSet::new(),
        };
        for (number, operation) in index.operations.iter().enumerate() {
            for (_, value, _) in operation.sends() {
                index.writers.insert(value, number);
            }
            let is_final = operation.function == Function::FinalPoll;
            for (key, offset, value, committed) in operation.reads() {
                index.seen.insert(value);
                if committed {
                    index.seen_committed.insert(value);
                }
                if is_final {
                    let view = if committed { &mut index.committed } else { &mut index.uncommitted };
                    match view.get_mut(key) {
                        Some(records) => records.push((offset, value)),
                        None => drop(view.insert(key.to_owned(), vec![(offset, value)])),
                    }
                    index.present.insert(value);
                    if committed {
                        index.visible.insert(value);
                    }
                }
            }
        }
        for records in index.committed.values_mut().chain(index.uncommitted.values_mut()) {
            records.sort_unstable();
            records.dedup();
        }
        index
    }

    pub(super) fn writer(&self, value: u64) -> Option<&Operation> {
        self.writers.get(&value).map(|number| &self.operations[*number])
    }

    /// Jepsen's `committed(op)`: it said so, or nobody knows and somebody has seen what it wrote.
    pub(super) fn is_committed(&self, operation: &Operation) -> bool {
        match operation.outcome {
            Outcome::Ok => true,
            Outcome::Info if operation.function == Function::Txn => {
                operation.sends().any(|(_, value, _)| self.seen_committed.contains(&value))
            }
            Outcome::Info => operation.sends().any(|(_, value, _)| self.seen.contains(&value)),
            Outcome::Fail | Outcome::Invoke => false,
        }
    }

    pub(super) fn transactions(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(|operation| operation.function == Function::Txn)
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for operation in &self.operations {
            let writes = operation.sends().next().is_some() || operation.commits().next().is_some();
            match (operation.function, operation.outcome) {
                (Function::Txn, _) if !writes => {}
                (Function::Txn, Outcome::Info) => counts.indeterminate += 1,
                (Function::Txn, Outcome::Ok) => counts.committed += 1,
                (Function::Txn, _) => counts.aborted += 1,
                (Function::Send, Outcome::Ok) => counts.sent += operation.sends().count() as u64,
                _ => {}
            }
            if operation.function != Function::FinalPoll {
                counts.read += operation.reads().count() as u64;
            }
            if self.is_committed(operation) && operation.commits().next().is_some() {
                counts.consumed += operation.reads().count() as u64;
            }
        }
        counts
    }
}

fn join(events: &[Event]) -> Vec<Operation> {
    let mut numbers: HashMap<u64, usize> = HashMap::new();
    let mut operations: Vec<Operation> = Vec::new();
    for event in events {
        let number = *numbers.entry(event.op).or_insert_with(|| {
            operations.push(Operation {
                op: event.op,
                process: event.process.clone(),
                function: event.function,
                outcome: Outcome::Info,
                mops: Vec::new(),
                invoked: event.i,
                completed: u64::MAX,
            });
            operations.len() - 1
        });
        let operation = &mut operations[number];
        if event.outcome == Outcome::Invoke {
            operation.mops.clone_from(&event.mops);
        } else {
            operation.outcome = event.outcome;
            operation.completed = event.i;
            // A completion that says nothing about its parts leaves those of the invocation.
            if !event.mops.is_empty() {
                operation.mops.clone_from(&event.mops);
            }
        }
    }
    operations
}
