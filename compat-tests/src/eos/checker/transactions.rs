//! Transactions: aborted ones are never read, the others with all of their records.

use super::Found;
use super::index::Index;
use crate::eos::history::{Function, Outcome};

pub(super) fn check(index: &Index, found: &mut Found) {
    for operation in &index.operations {
        for (key, offset, value, committed) in operation.reads() {
            let Some(writer) = index.writer(value) else { continue };
            let aborted = writer.outcome == Outcome::Fail && (committed || writer.function == Function::Send);
            if aborted {
                found.add("G1a", [writer.op, operation.op], || {
                    format!("{key} offset {offset}: {value} was read, and its writer failed")
                });
            }
            if committed && writer.op == operation.op {
                found.add("precommitted-read", [operation.op], || {
                    format!("{key} offset {offset}: a transaction read its own {value}")
                });
            }
        }
    }
    for operation in index.transactions() {
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        for (key, value, _) in operation.sends() {
            if index.visible.contains(&value) { &mut there } else { &mut missing }.push((key, value));
        }
        if !there.is_empty() && !missing.is_empty() {
            found.add("half-visible", [operation.op], || {
                format!("of one transaction ({:?}) {there:?} are visible, {missing:?} are not", operation.outcome)
            });
        }
    }
}
