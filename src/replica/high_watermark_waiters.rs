//! Requests that wait until the high watermark reaches an offset: Kafka's `DelayedProduce` without its purgatory.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::ReplicaError;

/// What a waiter is told: the offset is committed, or this broker can no longer say.
pub(super) type Outcome = Result<(), ReplicaError>;

/// The waiters of one partition, ordered by the offset they wait for: an advance touches those it completes only.
#[derive(Default)]
pub(super) struct HighWatermarkWaiters {
    waiting: BTreeMap<(i64, u64), oneshot::Sender<Outcome>>,
    next_id: u64,
}

/// Names one waiter, to take it back.
pub(super) type WaiterKey = (i64, u64);

impl HighWatermarkWaiters {
    /// Waits for the high watermark to reach `offset`.
    pub(super) fn add(&mut self, offset: i64) -> (WaiterKey, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        let key = (offset, self.next_id);
        self.next_id += 1;
        self.waiting.insert(key, sender);
        (key, receiver)
    }

    /// Forgets a waiter that gave up.
    pub(super) fn remove(&mut self, key: WaiterKey) {
        self.waiting.remove(&key);
    }

    /// Takes out the waiters that `high_watermark` satisfies, for the caller to complete outside its lock.
    pub(super) fn take_reached(&mut self, high_watermark: i64) -> Vec<oneshot::Sender<Outcome>> {
        if self.waiting.first_key_value().is_none_or(|((offset, _), _)| *offset > high_watermark) {
            return Vec::new();
        }
        let later = self.waiting.split_off(&(high_watermark.saturating_add(1), 0));
        std::mem::replace(&mut self.waiting, later).into_values().collect()
    }

    /// Takes out everyone: leadership is gone.
    pub(super) fn take_all(&mut self) -> Vec<oneshot::Sender<Outcome>> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advance_takes_exactly_those_it_reaches() {
        let mut waiters = HighWatermarkWaiters::default();
        let mut receivers: Vec<_> = [5, 10, 10, 11].into_iter().map(|offset| waiters.add(offset)).collect();
        assert!(waiters.take_reached(4).is_empty());
        for sender in waiters.take_reached(10) {
            sender.send(Ok(())).unwrap();
        }
        let done: Vec<bool> = receivers.iter_mut().map(|(_, receiver)| receiver.try_recv().is_ok()).collect();
        assert_eq!(done, [true, true, true, false]);
        waiters.remove(receivers[3].0);
        assert_eq!(waiters.len(), 0);
    }
}
