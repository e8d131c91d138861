//! The timers of one shard.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// Named timers in the order of their deadlines; a key has at most one. Setting, moving and removing cost O(log n),
/// and nothing runs on its own: the owner asks for what is due.
#[derive(Debug)]
pub struct Timers<K> {
    deadlines: BTreeMap<(Duration, u64), K>,
    keys: HashMap<K, (Duration, u64)>,
    sequence: u64,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { deadlines: BTreeMap::new(), keys: HashMap::new(), sequence: 0 }
    }
}

impl<K: Clone + Eq + Hash> Timers<K> {
    /// Sets the timer to fire at `deadline` (`Clock::monotonic`), replacing an earlier one of the same key.
    pub fn schedule(&mut self, key: K, deadline: Duration) {
        let position = (deadline, self.sequence);
        self.sequence += 1;
        if let Some(previous) = self.keys.insert(key.clone(), position) {
            self.deadlines.remove(&previous);
        }
        self.deadlines.insert(position, key);
    }

    /// Removes the timer; `false` when there is none.
    pub fn cancel(&mut self, key: &K) -> bool {
        match self.keys.remove(key) {
            Some(position) => self.deadlines.remove(&position).is_some(),
            None => false,
        }
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Takes out the earliest timer whose deadline is not after `now`.
    pub fn pop_due(&mut self, now: Duration) -> Option<K> {
        let entry = self.deadlines.first_entry().filter(|entry| entry.key().0 <= now)?;
        let key = entry.remove();
        self.keys.remove(&key);
        Some(key)
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_in_order_of_deadlines_and_then_of_setting() {
        let mut timers = Timers::default();
        timers.schedule("b", Duration::from_millis(20));
        timers.schedule("a", Duration::from_millis(10));
        timers.schedule("c", Duration::from_millis(20));
        assert_eq!(timers.next_deadline(), Some(Duration::from_millis(10)));
        assert_eq!(timers.pop_due(Duration::from_millis(9)), None);
        assert_eq!(timers.pop_due(Duration::from_millis(20)), Some("a"));
        assert_eq!(timers.pop_due(Duration::from_millis(20)), Some("b"));
        assert_eq!(timers.pop_due(Duration::from_millis(20)), Some("c"));
        assert!(timers.is_empty());
    }

    #[test]
    fn a_key_has_one_timer() {
        let mut timers = Timers::default();
        timers.schedule("a", Duration::from_millis(10));
        timers.schedule("a", Duration::from_millis(30));
        assert_eq!((timers.len(), timers.next_deadline()), (1, Some(Duration::from_millis(30))));
        assert!(timers.cancel(&"a"));
        assert!(!timers.cancel(&"a"));
        assert_eq!(timers.pop_due(Duration::from_secs(1)), None);
    }
}
