//! start ≤ last stable offset ≤ high watermark ≤ end, and none of them goes back.

use std::collections::HashMap;

use super::Found;
use super::index::Index;
use crate::eos::history::{Mop, Outcome};

pub(super) fn check(index: &Index, found: &mut Found) {
    let mut last: HashMap<(&str, &str), ([i64; 4], u64)> = HashMap::new();
    for operation in index.operations.iter().filter(|operation| operation.outcome == Outcome::Ok) {
        for mop in &operation.mops {
            let Mop::Watermarks { key, start, stable, high, end } = mop else { continue };
            let now = [*start, *stable, *high, *end];
            if !now.is_sorted() {
                found.add("watermark-order", [operation.op], || {
                    format!("{key}: start {start}, stable {stable}, high watermark {high}, end {end}")
                });
            }
            if let Some((before, by)) = last.insert((&operation.process, key), (now, operation.op))
                && before.iter().zip(now).any(|(before, now)| *before > now)
            {
                found.add("watermark-back", [by, operation.op], || format!("{key}: {before:?}, then {now:?}"));
            }
        }
    }
}
