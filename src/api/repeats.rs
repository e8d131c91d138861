//! A request may name a thing as often as it likes, and Kafka describes it each time. What is described is large and its name is short:
//! 160 KB of the broker's name became an answer of 566 MB, and 3.5 GB of memory on the way. So repetitions are limited.

use std::collections::HashSet;
use std::hash::Hash;

/// Repetitions that one request may have; those beyond are refused with INVALID_REQUEST.
const MAX_REPEATS: usize = 100;

/// What a request has named so far.
pub(super) struct Repeats<K> {
    seen: HashSet<K>,
    left: usize,
}

impl<K: Eq + Hash> Repeats<K> {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self { seen: HashSet::new(), left: MAX_REPEATS }
    }

    /// Whether this is to be described: it is new, or one of the repetitions that are allowed.
    pub(super) fn admit(&mut self, key: K) -> bool {
        if self.seen.insert(key) {
            return true;
        }
        let is_admitted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_new_and_some_repetitions_are_admitted() {
        let mut repeats = Repeats::new();
        assert!((0..100_000).all(|key| repeats.admit(key)));
        assert_eq!((0..100_000).filter(|key| repeats.admit(*key)).count(), MAX_REPEATS);
        assert!(repeats.admit(100_000) && !repeats.admit(100_000));
    }
}
