//! Blocks on demand, ids never twice.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::*;
use crate::coordinator::transaction::{MarkerOutcome, MarkerWriter, TransactionConfig, TransactionCoordinator};
use crate::env::{InlineSpawn, ManualClock};
use crate::types::{EndTransactionMarker, TopicPartition};

#[derive(Default)]
struct Source {
    blocks: Mutex<i64>,
    fails: Mutex<bool>,
}

impl ProducerIdSource for Source {
    fn allocate(&self) -> BoxFuture<'static, Result<ProducerIdBlock, CoordinatorError>> {
        if *self.fails.lock() {
            return Box::pin(std::future::ready(Err(CoordinatorError::NotAvailable)));
        }
        let mut blocks = self.blocks.lock();
        let first = *blocks * 1000;
        *blocks += 1;
        Box::pin(std::future::ready(Ok(ProducerIdBlock { first, size: 1000 })))
    }
}

struct NoMarkers;

impl MarkerWriter for NoMarkers {
    fn write(&self, _: &TopicPartition, _: &EndTransactionMarker) -> BoxFuture<'static, MarkerOutcome> {
        panic!("nobody has a transaction");
    }
}

struct World {
    spawn: InlineSpawn,
    source: Arc<Source>,
    coordinator: Arc<TransactionCoordinator>,
}

fn world() -> World {
    let spawn = InlineSpawn::default();
    let env = Env { spawn: Arc::new(spawn.clone()), ..Env::simulated(ManualClock::new(0), 1) };
    let source = Arc::new(Source::default());
    let coordinator =
        TransactionCoordinator::new(env, TransactionConfig::default(), source.clone(), Arc::new(NoMarkers));
    World { spawn, source, coordinator }
}

impl World {
    fn run_tasks(&self) -> usize {
        let tasks = self.spawn.take();
        let count = tasks.len();
        for (_, task) in tasks {
            task.now_or_never().expect("the source answers at once");
        }
        count
    }

    fn init(&self) -> BoxFuture<'static, InitProducerIdResponse> {
        self.coordinator.init_producer_id(&request(), 5)
    }
}

fn request() -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

fn now(answer: BoxFuture<'static, InitProducerIdResponse>) -> InitProducerIdResponse {
    answer.now_or_never().expect("answered")
}

#[test]
fn ids_rise_and_blocks_come_before_they_are_needed() {
    let world = world();
    let first = world.init();
    assert_eq!(world.run_tasks(), 1);
    let first = now(first);
    assert_eq!((first.error_code, *first.producer_id, first.producer_epoch), (0, 0, 0));
    for id in 1..2500 {
        let answer = world.init();
        assert_eq!(*now(answer).producer_id, id, "nobody waits");
        world.run_tasks();
    }
    assert_eq!(*world.source.blocks.lock(), 3);
}

#[test]
fn many_that_come_at_once_get_different_ids() {
    let world = world();
    let answers: Vec<_> = (0..2345).map(|_| world.init()).collect();
    assert_eq!(world.run_tasks(), 1, "one request to the controller at a time");
    let ids: BTreeSet<i64> = answers.into_iter().map(|answer| *now(answer).producer_id).collect();
    assert_eq!(ids.len(), 2345);
}

#[test]
fn without_the_controller_clients_are_told_to_retry() {
    let world = world();
    *world.source.fails.lock() = true;
    let answer = world.init();
    world.run_tasks();
    let answer = now(answer);
    assert_eq!((answer.error_code, *answer.producer_id), (E::CoordinatorLoadInProgress.code(), -1));
    *world.source.fails.lock() = false;
    let answer = world.init();
    world.run_tasks();
    assert_eq!(now(answer).error_code, 0);
}

#[test]
fn a_producer_that_names_its_old_id_gets_a_new_one() {
    let world = world();
    let answer =
        world.coordinator.init_producer_id(&request().with_producer_id(ProducerId(77)).with_producer_epoch(3), 5);
    world.run_tasks();
    let answer = now(answer);
    assert_eq!((answer.error_code, *answer.producer_id, answer.producer_epoch), (0, 0, 0));
    let half = world.coordinator.init_producer_id(&request().with_producer_id(ProducerId(77)), 5);
    assert_eq!(now(half).error_code, E::InvalidRequest.code());
    let half = world.coordinator.init_producer_id(&request().with_producer_epoch(3), 5);
    assert_eq!(now(half).error_code, E::InvalidRequest.code());
}
