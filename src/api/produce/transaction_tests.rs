//! Transactional Produce through the handler, with the coordinator of the same broker.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use kafka_protocol::error::ResponseError as E;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProducerId, TransactionalId,
};

use super::*;
use crate::api::test_services::{TestBroker, batch, context, text, topic_name};
use crate::api::{add_partitions_to_txn, end_txn, init_producer_id};
use crate::record::BatchProperties;
use crate::types::{GROUP_METADATA_TOPIC_NAME, TRANSACTION_STATE_TOPIC_NAME};

/// A producer of the transactional id `app`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Producer {
    id: i64,
    epoch: i16,
}

struct World {
    broker: TestBroker,
    topic_id: Uuid,
}

impl World {
    /// A broker with topic `t` of three partitions, and the coordinators' topics.
    fn new() -> Self {
        let world = Self::without_coordinator();
        let internal = [TRANSACTION_STATE_TOPIC_NAME, GROUP_METADATA_TOPIC_NAME];
        let controller = &world.broker.services.controller;
        let created = controller.submit(None, move |controller| controller.auto_create_topics(&internal));
        created.now_or_never().expect("answered at once").expect("created");
        world
    }

    fn without_coordinator() -> Self {
        let broker = TestBroker::new();
        let topic_id = broker.create_topic("t", 3, &[]);
        Self { broker, topic_id }
    }

    fn wait<R>(&self, answer: Answer<R>) -> R {
        match answer {
            Answer::Now(response) => response,
            Answer::Later(mut future) => (&mut future).now_or_never().unwrap_or_else(|| {
                self.broker.run_tasks();
                future.now_or_never().expect("answered")
            }),
            _ => panic!("another kind of answer"),
        }
    }

    fn init(&self) -> Producer {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(app()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = self.wait(init_producer_id::handle(&self.broker.services, &context(22, 5), request));
        assert_eq!(answer.error_code, 0);
        Producer { id: answer.producer_id.0, epoch: answer.producer_epoch }
    }

    fn announce(&self, producer: Producer, partition: i32) {
        let topic = AddPartitionsToTxnTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(app())
            .with_v3_and_below_producer_id(ProducerId(producer.id))
            .with_v3_and_below_producer_epoch(producer.epoch)
            .with_v3_and_below_topics(vec![topic]);
        let answer = self.wait(add_partitions_to_txn::handle(&self.broker.services, &context(24, 3), request));
        assert_eq!(answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code, 0);
    }

    /// EndTxn; version 5 gives the producer of the next transaction.
    fn end(&self, producer: Producer, version: i16, committed: bool) -> Producer {
        let request = EndTxnRequest::default()
            .with_transactional_id(app())
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_committed(committed);
        let answer = self.wait(end_txn::handle(&self.broker.services, &context(26, version), request));
        assert_eq!(answer.error_code, 0);
        if version < 5 { producer } else { Producer { id: answer.producer_id.0, epoch: answer.producer_epoch } }
    }

    fn produce(&self, version: i16, partitions: Vec<PartitionProduceData>) -> Answer<ProduceResponse> {
        self.produce_with_acks(version, partitions, -1)
    }

    fn produce_with_acks(
        &self,
        version: i16,
        partitions: Vec<PartitionProduceData>,
        acks: i16,
    ) -> Answer<ProduceResponse> {
        let topic = TopicProduceData::default()
            .with_name(topic_name("t"))
            .with_topic_id(self.topic_id)
            .with_partition_data(partitions);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(app()))
            .with_acks(acks)
            .with_timeout_ms(1_000)
            .with_topic_data(vec![topic]);
        handle(&self.broker.services, &context(0, version), request)
    }

    /// Error codes and offsets, by partition.
    fn produced(&self, version: i16, partitions: Vec<PartitionProduceData>) -> Vec<(i16, i64)> {
        let answers = answers(self.wait(self.produce(version, partitions)));
        answers.into_iter().map(|answer| (answer.error_code, answer.base_offset)).collect()
    }

    fn partition(&self, index: i32) -> Arc<Partition> {
        self.broker.services.replicas.partition_by_name("t", index).unwrap()
    }

    fn open_transaction(&self, index: i32) -> i64 {
        self.partition(index).active_producers()[0].current_transaction_start_offset
    }
}

fn app() -> TransactionalId {
    TransactionalId(text("app"))
}

fn answers(response: ProduceResponse) -> Vec<PartitionProduceResponse> {
    response.responses.into_iter().flat_map(|topic| topic.partition_responses).collect()
}

fn records(producer: Producer, base_sequence: i32) -> Bytes {
    let properties = BatchProperties {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        base_sequence,
        is_transactional: true,
        ..BatchProperties::default()
    };
    batch(properties, 1_700_000_000_000, &["x"])
}

fn to(partition: i32, records: Bytes) -> PartitionProduceData {
    PartitionProduceData::default().with_index(partition).with_records(Some(records))
}

/// The part of a Produce that could not be done at once.
fn first(answer: Answer<ProduceResponse>) -> BoxFuture<'static, Answer<ProduceResponse>> {
    match answer {
        Answer::First(future) => future,
        _ => panic!("handled at once"),
    }
}

#[test]
fn up_to_version_11_a_partition_has_to_be_announced() {
    for version in [3, 9, 10, 11] {
        let world = World::new();
        let producer = world.init();
        world.announce(producer, 0);
        let refused = if version < 11 { E::InvalidTxnState } else { E::TransactionAbortable };
        let answers =
            answers(world.wait(world.produce(version, vec![to(0, records(producer, 0)), to(1, records(producer, 0))])));
        let codes: Vec<_> = answers.iter().map(|answer| (answer.error_code, answer.base_offset)).collect();
        assert_eq!(codes, [(0, 0), (refused.code(), -1)], "v{version}");
        let message = answers[1].error_message.as_ref().map(|message| message.as_str());
        let told = (8..11).contains(&version).then_some("Partition was not added to the transaction");
        assert_eq!(message, told, "v{version}");
        assert_eq!(world.broker.services.metrics.transaction_verification_failures_total.get(), 1);
        // What has begun is not asked for again.
        assert_eq!(world.produced(version, vec![to(0, records(producer, 1))]), [(0, 1)]);
        world.end(producer, 4, true);
        assert_eq!((world.open_transaction(0), world.partition(0).log_end_offset()), (-1, 3));
    }
}

#[test]
fn from_version_12_writing_to_a_partition_announces_it() {
    for version in [12, 13] {
        let world = World::new();
        let mut producer = world.init();
        for (round, committed) in [(0, true), (1, false), (2, true)] {
            let begin = world.partition(0).log_end_offset();
            let both = vec![to(0, records(producer, 0)), to(2, records(producer, 0))];
            assert_eq!(world.produced(version, both), [(0, begin), (0, begin)]);
            assert_eq!(world.produced(version, vec![to(2, records(producer, 1))]), [(0, begin + 1)]);
            assert_eq!((world.open_transaction(0), world.open_transaction(2)), (begin, begin));
            let next = world.end(producer, 5, committed);
            assert_eq!(next, Producer { epoch: producer.epoch + 1, ..producer });
            producer = next;
            assert_eq!((world.open_transaction(0), world.open_transaction(2)), (-1, -1), "round {round}");
            world
                .partition(2)
                .append_records_to_leader(
                    batch(BatchProperties::default(), 1, &["plain"]),
                    ACKS_ALL,
                    AppendOrigin::Client,
                    crate::types::VerificationGuard::NONE,
                    1_700_000_000_000,
                )
                .unwrap();
            world
                .partition(0)
                .append_records_to_leader(
                    batch(BatchProperties::default(), 1, &["plain", "plain"]),
                    ACKS_ALL,
                    AppendOrigin::Client,
                    crate::types::VerificationGuard::NONE,
                    1_700_000_000_000,
                )
                .unwrap();
        }
    }
}

#[test]
fn what_is_wrong_with_one_partition_does_not_keep_the_others_out() {
    let world = World::new();
    let producer = world.init();
    let mut corrupt = records(producer, 0).to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    let partitions = vec![to(0, records(producer, 0)), to(7, records(producer, 0)), to(1, corrupt.into())];
    let codes: Vec<_> = world.produced(12, partitions).into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, [0, E::UnknownTopicOrPartition.code(), E::CorruptMessage.code()]);
    // The partition was announced, and its marker is harmless.
    world.end(producer, 5, true);
    assert_eq!((world.partition(0).log_end_offset(), world.partition(1).log_end_offset()), (2, 1));
}

#[test]
fn a_coordinator_that_is_not_there_is_asked_again() {
    let world = World::without_coordinator();
    let producer = Producer { id: 5, epoch: 0 };
    for version in [3, 9, 11, 12, 13] {
        let answer = &answers(world.wait(world.produce(version, vec![to(0, records(producer, 0))])))[0];
        assert_eq!(answer.error_code, E::NotEnoughReplicas.code(), "v{version}");
        let message = answer.error_message.as_ref().map(|message| message.as_str()).unwrap_or_default();
        let told = if version < 8 {
            ""
        } else {
            "Unable to verify the partition has been added to the transaction. Underlying error: NOT_COORDINATOR"
        };
        assert_eq!(message, told);
    }
    assert_eq!(world.partition(0).log_end_offset(), 0);
}

#[test]
fn zombies_and_unknown_producers_are_told_so() {
    let world = World::new();
    let zombie = world.init();
    let producer = world.init();
    assert_eq!(producer, Producer { epoch: zombie.epoch + 1, ..zombie });
    for version in [9, 11, 12] {
        let codes = |producer| world.produced(version, vec![to(0, records(producer, 0))])[0].0;
        assert_eq!(codes(zombie), E::InvalidProducerEpoch.code(), "v{version}");
        let unknown = Producer { id: 999, epoch: 0 };
        assert_eq!(codes(unknown), E::InvalidProducerIdMapping.code(), "v{version}");
    }
    assert_eq!(world.partition(0).log_end_offset(), 0);
    let two = vec![to(0, records(producer, 0)), to(1, records(zombie, 0)), to(9, records(producer, 0))];
    let answers = answers(world.wait(world.produce(12, two)));
    for answer in answers {
        assert_eq!(answer.error_code, E::InvalidProducerIdMapping.code());
        let message = answer.error_message.unwrap();
        assert_eq!(message.as_str(), "Transactional records contained more than one producer ID");
    }
}

/// KAFKA-14402 end to end: the transaction is aborted while its last Produce is on the way.
#[test]
fn k_14402_a_late_produce_does_not_open_a_hanging_transaction() {
    for version in [9, 11] {
        let world = World::new();
        let producer = world.init();
        world.announce(producer, 0);
        assert_eq!(world.produced(version, vec![to(0, records(producer, 0))]), [(0, 0)]);
        world.end(producer, 4, false);
        let late = world.produced(version, vec![to(0, records(producer, 1))])[0].0;
        assert_eq!(late, if version < 11 { E::InvalidTxnState } else { E::TransactionAbortable }.code());
        assert_eq!((world.open_transaction(0), world.partition(0).log().last_stable_offset()), (-1, 2));
    }
    let world = World::new();
    let producer = world.init();
    assert_eq!(world.produced(12, vec![to(0, records(producer, 0))]), [(0, 0)]);
    world.end(producer, 5, false);
    assert_eq!(world.produced(12, vec![to(0, records(producer, 1))])[0].0, E::InvalidProducerEpoch.code());
    assert_eq!((world.open_transaction(0), world.partition(0).log().last_stable_offset()), (-1, 2));
}

/// A transaction whose markers are not committed yet.
fn ending(world: &World) -> Producer {
    let producer = world.init();
    assert_eq!(world.produced(12, vec![to(1, records(producer, 0))]), [(0, 0)]);
    world.partition(1).pretend_in_sync(2, 2);
    world.end(producer, 5, true)
}

#[test]
fn a_write_waits_for_the_end_of_the_last_transaction() {
    let world = World::new();
    let producer = ending(&world);
    let mut waiting = first(world.produce(12, vec![to(0, records(producer, 0))]));
    assert!((&mut waiting).now_or_never().is_none());
    world.broker.clock.advance(Duration::from_millis(20));
    assert!((&mut waiting).now_or_never().is_none());
    world.partition(1).pretend_in_sync(1, 1);
    world.broker.run_tasks();
    world.broker.clock.advance(Duration::from_millis(20));
    let answer = waiting.now_or_never().expect("the markers are written");
    assert_eq!(answers(world.wait(answer))[0].error_code, 0);
    assert_eq!(world.open_transaction(0), 0);
}

#[test]
fn a_write_does_not_wait_for_ever_for_the_end_of_the_last_transaction() {
    let world = World::new();
    let producer = ending(&world);
    let mut waiting = first(world.produce(13, vec![to(0, records(producer, 0))]));
    for _ in 0..5 {
        assert!((&mut waiting).now_or_never().is_none());
        world.broker.clock.advance(Duration::from_millis(20));
    }
    let answer = &answers(world.wait(waiting.now_or_never().expect("patience has an end")))[0];
    assert_eq!((answer.error_code, answer.error_message.is_none()), (E::ConcurrentTransactions.code(), true));
    assert_eq!(world.partition(0).log_end_offset(), 0);
}

#[test]
fn without_an_answer_too_a_write_waits_and_is_told_by_the_connections_end() {
    let world = World::new();
    let producer = ending(&world);
    let mut waiting = first(world.produce_with_acks(12, vec![to(0, records(producer, 0))], 0));
    assert!((&mut waiting).now_or_never().is_none());
    world.partition(1).pretend_in_sync(1, 1);
    world.broker.run_tasks();
    world.broker.clock.advance(Duration::from_millis(20));
    assert!(matches!(waiting.now_or_never(), Some(Answer::Nothing)));
    assert_eq!(world.partition(0).log_end_offset(), 1);
    let fenced = Producer { epoch: producer.epoch - 1, ..producer };
    assert!(matches!(world.produce_with_acks(12, vec![to(2, records(fenced, 0))], 0), Answer::Close(_)));
}

#[test]
fn up_to_version_11_the_client_repeats_it() {
    let world = World::new();
    let producer = ending(&world);
    for version in [9, 11] {
        let answer = &answers(world.wait(world.produce(version, vec![to(0, records(producer, 0))])))[0];
        assert_eq!(answer.error_code, E::NotEnoughReplicas.code());
        assert!(answer.error_message.as_ref().unwrap().as_str().ends_with("Underlying error: CONCURRENT_TRANSACTIONS"));
    }
}
