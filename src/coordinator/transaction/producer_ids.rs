//! Producer ids, block by block (Kafka's `RPCProducerIdManager`).

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::coordinator::CoordinatorError;
use crate::env::{BoxFuture, Env, ready};
use crate::metadata::{Controller, PRODUCER_ID_BLOCK_SIZE};

/// The next block is asked for when this many ids of the present one are left: a tenth of a block.
const PREFETCH_AT: i64 = PRODUCER_ID_BLOCK_SIZE as i64 / 10;

/// A block of producer ids that belong to this broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first id.
    pub first: i64,
    /// How many.
    pub size: i64,
}

/// Who gives out blocks: the controller.
pub trait ProducerIdSource: Send + Sync {
    /// The next block; written down before the future completes.
    fn allocate(&self) -> BoxFuture<'static, Result<ProducerIdBlock, CoordinatorError>>;
}

/// The controller of this process.
pub struct ControllerProducerIds {
    controller: Arc<Controller>,
    node_id: i32,
}

impl ControllerProducerIds {
    /// Asks `controller` in the name of this broker.
    pub fn new(controller: Arc<Controller>, node_id: i32) -> Self {
        Self { controller, node_id }
    }
}

impl ProducerIdSource for ControllerProducerIds {
    fn allocate(&self) -> BoxFuture<'static, Result<ProducerIdBlock, CoordinatorError>> {
        let node_id = self.node_id;
        let answer = self.controller.submit(None, move |controller| {
            let epoch = controller.image().cluster.broker(node_id).map_or(-1, |broker| broker.epoch);
            controller.allocate_producer_ids(node_id, epoch)
        });
        Box::pin(async move {
            match answer.await {
                Ok(Ok(block)) => Ok(ProducerIdBlock { first: block.first_producer_id, size: i64::from(block.size) }),
                Ok(Err(error)) => Err(CoordinatorError::Unexpected(format!("{error:?}"))),
                Err(error) => Err(CoordinatorError::Storage(error.to_string())),
            }
        })
    }
}

type Outcome = Result<i64, CoordinatorError>;

#[derive(Default)]
struct Ids {
    current: Option<ProducerIdBlock>,
    next: Option<ProducerIdBlock>,
    is_asking: bool,
    waiting: VecDeque<oneshot::Sender<Outcome>>,
}

impl Ids {
    fn take(&mut self) -> Option<i64> {
        if self.current.is_none_or(|block| block.size == 0) {
            self.current = self.next.take();
        }
        let block = self.current.as_mut().filter(|block| block.size > 0)?;
        let id = block.first;
        block.first += 1;
        block.size -= 1;
        Some(id)
    }
}

/// Hands out ids.
pub(super) struct ProducerIds {
    env: Env,
    source: Arc<dyn ProducerIdSource>,
    ids: Mutex<Ids>,
}

impl ProducerIds {
    pub(super) fn new(env: Env, source: Arc<dyn ProducerIdSource>) -> Arc<Self> {
        Arc::new(Self { env, source, ids: Mutex::default() })
    }

    /// An id that nobody else has.
    pub(super) fn generate(self: &Arc<Self>) -> BoxFuture<'static, Outcome> {
        let (taken, must_ask) = {
            let mut ids = self.ids.lock();
            let taken = ids.take().ok_or_else(|| {
                let (sender, receiver) = oneshot::channel();
                ids.waiting.push_back(sender);
                receiver
            });
            let left = ids.current.map_or(0, |block| block.size);
            let must_ask = !ids.is_asking && ids.next.is_none() && left < PREFETCH_AT;
            ids.is_asking |= must_ask;
            (taken, must_ask)
        };
        if must_ask {
            let asking = self.clone().ask();
            self.env.spawn.spawn("producer-ids", Box::pin(asking));
        }
        match taken {
            Ok(id) => ready(Ok(id)),
            Err(receiver) => Box::pin(async move {
                receiver.await.unwrap_or_else(|_| Err(CoordinatorError::Unexpected("no producer id".to_owned())))
            }),
        }
    }

    /// Asks for a block, and again while more requests wait than it has ids.
    async fn ask(self: Arc<Self>) {
        loop {
            let answer = self.source.allocate().await;
            let (deliveries, is_done) = self.accept(answer);
            for (sender, outcome) in deliveries {
                // Who gave up wastes an id, as a crash would.
                let _ = sender.send(outcome);
            }
            if is_done {
                return;
            }
        }
    }

    fn accept(
        &self,
        answer: Result<ProducerIdBlock, CoordinatorError>,
    ) -> (Vec<(oneshot::Sender<Outcome>, Outcome)>, bool) {
        let mut ids = self.ids.lock();
        let mut deliveries = Vec::new();
        match answer {
            Ok(block) => {
                ids.next = Some(block);
                while !ids.waiting.is_empty() {
                    let Some(id) = ids.take() else { return (deliveries, false) };
                    deliveries.extend(ids.waiting.pop_front().map(|sender| (sender, Ok(id))));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the controller gave no producer ids");
                deliveries.extend(ids.waiting.drain(..).map(|sender| (sender, Err(error.clone()))));
            }
        }
        ids.is_asking = false;
        (deliveries, true)
    }
}

#[cfg(test)]
#[path = "producer_ids_tests.rs"]
mod tests;
