//! The checker: a history in, anomalies out. Pure, and O(n log n) in the number of records read and written.
//!
//! The rules are those of Jepsen's Kafka workload (reliability 1.3), plus what only we can ask: acknowledged offsets are the
//! offsets read, a transaction is visible with all of its records and its group offsets or with none, an input record is
//! consumed once, committed offsets are never those of an aborted transaction and never go back, watermarks are in order,
//! answers to repeated requests are the ones that are right, and everything comes to rest.
//!
//! A run ends with *final polls*: fresh consumers have read every key from its beginning to its high watermark, at both
//! isolation levels. What they did not return is not there. Values are unique, which makes the rest simple.

mod cycles;
mod groups;
mod index;
mod order;
mod polls;
#[cfg(test)]
mod tests;
mod transactions;
mod watermarks;

use super::history::Event;
use index::Index;
pub use index::Operation;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anomaly {
    /// Its name, as in reliability 1.3.
    pub kind: &'static str,
    /// What is wrong.
    pub text: String,
    /// The operations that show it.
    pub ops: Vec<u64>,
}

/// What a history says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions that were committed: the client was told, or somebody has seen it.
    pub committed: u64,
    /// Transactions that were aborted.
    pub aborted: u64,
    /// Transactions of which the client does not know the end.
    pub indeterminate: u64,
    /// Records acknowledged outside transactions.
    pub sent: u64,
    /// Records read, final polls not counted.
    pub read: u64,
    /// Input records that were consumed by committed transactions.
    pub consumed: u64,
}

/// Checks a history that ends with its final polls.
pub fn check(events: &[Event]) -> (Vec<Anomaly>, Counts) {
    let index = Index::new(events);
    let mut found = Found::default();
    order::check(&index, &mut found);
    polls::check(&index, &mut found);
    transactions::check(&index, &mut found);
    cycles::check(&index, &mut found);
    groups::check(&index, &mut found);
    watermarks::check(&index, &mut found);
    answers(events, &mut found);
    (found.anomalies, index.counts())
}

/// Anomalies so far; of each kind the first ones.
#[derive(Default)]
struct Found {
    anomalies: Vec<Anomaly>,
}

impl Found {
    const OF_A_KIND_MAX: usize = 5;

    fn add(&mut self, kind: &'static str, ops: impl IntoIterator<Item = u64>, text: impl FnOnce() -> String) {
        if self.anomalies.iter().filter(|anomaly| anomaly.kind == kind).count() < Self::OF_A_KIND_MAX {
            self.anomalies.push(Anomaly { kind, text: text(), ops: ops.into_iter().collect() });
        }
    }
}

fn answers(events: &[Event], found: &mut Found) {
    use super::history::{Function, Outcome};
    for event in events.iter().filter(|event| event.outcome == Outcome::Fail) {
        match event.function {
            Function::Answer => found.add("unexpected-answer", [event.op], || event.text.clone()),
            Function::Settle => found.add("unsettled", [event.op], || event.text.clone()),
            _ => {}
        }
    }
}

/// The part of a history that shows an anomaly: its operations, what the nemesis did near them, and who else touched the
/// values, one event a line.
pub fn excerpt(events: &[Event], anomaly: &Anomaly) -> Vec<String> {
    use super::history::{Function, Mop};
    use std::collections::HashSet;
    let own = |event: &Event| anomaly.ops.contains(&event.op);
    let times: Vec<u64> = events.iter().filter(|event| own(event)).map(|event| event.t_ns).collect();
    let values: HashSet<u64> = events
        .iter()
        .filter(|event| own(event))
        .flat_map(|event| &event.mops)
        .filter_map(|mop| if let Mop::Send { value, .. } = mop { Some(*value) } else { None })
        .collect();
    let near = |t: u64| times.iter().any(|time| time.abs_diff(t) < 1_500_000_000);
    let touches = |event: &Event| {
        event.mops.iter().any(|mop| match mop {
            Mop::Poll { records, .. } => records.iter().any(|(_, _, value)| values.contains(value)),
            _ => false,
        })
    };
    let mut lines = Vec::new();
    for event in events {
        let shown = own(event) || (event.function == Function::Nemesis && near(event.t_ns)) || touches(event);
        if !shown {
            continue;
        }
        let mut event = event.clone();
        for mop in &mut event.mops {
            if let Mop::Poll { records, .. } = mop
                && records.len() > 12
            {
                records.retain(|(_, _, value)| values.contains(value));
            }
        }
        lines.push(serde_json::to_string(&event).unwrap_or_default());
        if lines.len() == 60 {
            lines.push("...".into());
            break;
        }
    }
    lines
}
