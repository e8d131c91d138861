//! What a request that waits holds on to, and how many may wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::high_watermark_waiters::{Outcome, WaiterKey};
use super::{Partition, ReplicaError};

/// Most fetches that wait at one time; a fetch beyond it is answered at once with what there is.
pub const MAX_DELAYED_FETCHES: usize = 100_000;

/// Counts operations that wait.
pub struct DelayedOperations {
    limit: usize,
    waiting: Arc<AtomicUsize>,
}

impl DelayedOperations {
    /// At most `limit` operations.
    pub fn new(limit: usize) -> Self {
        Self { limit, waiting: Arc::default() }
    }

    /// Lets one more operation wait, until the guard is dropped; `None` at the limit.
    pub fn start(&self) -> Option<DelayedOperation> {
        let started = self
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| (waiting < self.limit).then_some(waiting + 1));
        started.ok().map(|_| DelayedOperation { waiting: self.waiting.clone() })
    }

    /// Operations that wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }
}

/// One operation that waits.
pub struct DelayedOperation {
    waiting: Arc<AtomicUsize>,
}

impl Drop for DelayedOperation {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Completes when the high watermark has reached an offset, or with an error when leadership ends first. Dropping it takes
/// the waiter back.
pub struct HighWatermarkWait {
    state: WaitState,
}

enum WaitState {
    Done(Option<Outcome>),
    Waiting { partition: Arc<Partition>, key: WaiterKey, receiver: oneshot::Receiver<Outcome> },
}

impl HighWatermarkWait {
    pub(super) fn done(outcome: Outcome) -> Self {
        Self { state: WaitState::Done(Some(outcome)) }
    }

    pub(super) fn new(partition: Arc<Partition>, key: WaiterKey, receiver: oneshot::Receiver<Outcome>) -> Self {
        Self { state: WaitState::Waiting { partition, key, receiver } }
    }

    /// A wait that is over.
    pub fn reached() -> Self {
        Self::done(Ok(()))
    }

    /// The outcome, if nothing has to be waited for.
    pub fn now(&mut self) -> Option<Outcome> {
        match &mut self.state {
            WaitState::Done(outcome) => outcome.take(),
            WaitState::Waiting { receiver, .. } => receiver.try_recv().ok(),
        }
    }
}

impl Future for HighWatermarkWait {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.state {
            // Polled again after the end: nothing has changed since.
            WaitState::Done(outcome) => Poll::Ready(outcome.take().unwrap_or(Ok(()))),
            WaitState::Waiting { partition, receiver, .. } => Pin::new(receiver).poll(context).map(|outcome| {
                outcome.unwrap_or_else(|_| Err(ReplicaError::NotLeaderOrFollower(partition.topic_partition().clone())))
            }),
        }
    }
}

impl Drop for HighWatermarkWait {
    fn drop(&mut self) {
        if let WaitState::Waiting { partition, key, .. } = &self.state {
            partition.remove_produce_waiter(*key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_guards_give_back() {
        let operations = DelayedOperations::new(2);
        let first = operations.start();
        let second = operations.start();
        assert!(first.is_some() && second.is_some());
        assert!(operations.start().is_none());
        drop(first);
        assert_eq!(operations.waiting(), 1);
        assert!(operations.start().is_some());
    }
}
