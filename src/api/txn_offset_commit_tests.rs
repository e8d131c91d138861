//! TxnOffsetCommit through its handler, in every version, over real partitions and both coordinators.

use futures_util::FutureExt;
use kafka_protocol::error::ResponseError as E;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestPartition;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, EndTxnRequest, GroupId, InitProducerIdRequest, OffsetFetchRequest, ProducerId,
    TransactionalId,
};

use super::super::test_services::{TestBroker, context, text, topic_name};
use super::super::{add_offsets_to_txn, end_txn, init_producer_id, offset_fetch};
use super::*;
use crate::types::TRANSACTION_STATE_TOPIC_NAME;

const UNSTABLE: (i64, i16) = (-1, 88);
const NOTHING: (i64, i16) = (-1, 0);

struct World {
    broker: TestBroker,
    producer: (i64, i16),
}

impl World {
    /// A broker with topic `t` of two partitions, and a producer.
    fn new() -> Self {
        let broker = TestBroker::new();
        broker.create_topic("t", 2, &[]);
        let internal = [TRANSACTION_STATE_TOPIC_NAME, GROUP_METADATA_TOPIC_NAME];
        let created =
            broker.services.controller.submit(None, move |controller| controller.auto_create_topics(&internal));
        created.now_or_never().expect("answered at once").expect("created");
        let mut world = Self { broker, producer: (-1, -1) };
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id("app")))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let response = world.call(5, init_producer_id::handle, request);
        assert_eq!(response.error_code, 0);
        world.producer = (*response.producer_id, response.producer_epoch);
        world
    }

    fn call<Request, R>(
        &self,
        version: i16,
        handle: fn(&Arc<Services>, &RequestContext, Request) -> Answer<R>,
        request: Request,
    ) -> R {
        match handle(&self.broker.services, &context(0, version), request) {
            Answer::Now(response) => response,
            Answer::Later(mut future) => (&mut future).now_or_never().unwrap_or_else(|| {
                // The first producer id.
                self.broker.run_tasks();
                future.now_or_never().expect("answered")
            }),
            _ => panic!("another kind of answer"),
        }
    }

    fn request(&self, offset: i64) -> TxnOffsetCommitRequest {
        self.request_for(&[("t", &[0])], offset)
    }

    fn request_for(&self, topics: &[(&str, &[i32])], offset: i64) -> TxnOffsetCommitRequest {
        let topics = topics.iter().map(|(name, partitions)| {
            let partitions = partitions.iter().map(|number| {
                TxnOffsetCommitRequestPartition::default().with_partition_index(*number).with_committed_offset(offset)
            });
            TxnOffsetCommitRequestTopic::default().with_name(topic_name(name)).with_partitions(partitions.collect())
        });
        TxnOffsetCommitRequest::default()
            .with_transactional_id(id("app"))
            .with_group_id(GroupId(text("g")))
            .with_producer_id(ProducerId(self.producer.0))
            .with_producer_epoch(self.producer.1)
            .with_generation_id(-1)
            .with_topics(topics.collect())
    }

    fn commit(&self, version: i16, request: TxnOffsetCommitRequest) -> i16 {
        self.call(version, handle, request).topics[0].partitions[0].error_code
    }

    fn add_group(&self) {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(id("app"))
            .with_producer_id(ProducerId(self.producer.0))
            .with_producer_epoch(self.producer.1)
            .with_group_id(GroupId(text("g")));
        assert_eq!(self.call(4, add_offsets_to_txn::handle, request).error_code, 0);
    }

    fn end(&mut self, version: i16, committed: bool) {
        let request = EndTxnRequest::default()
            .with_transactional_id(id("app"))
            .with_producer_id(ProducerId(self.producer.0))
            .with_producer_epoch(self.producer.1)
            .with_committed(committed);
        let response = self.call(version, end_txn::handle, request);
        assert_eq!(response.error_code, 0);
        if version >= 5 {
            self.producer = (*response.producer_id, response.producer_epoch);
        }
    }

    /// Offset and error of partition 0.
    fn fetched(&self, require_stable: bool) -> (i64, i16) {
        let topic = OffsetFetchRequestTopics::default().with_name(topic_name("t")).with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g"))).with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(require_stable);
        let response = self.call(9, offset_fetch::handle, request);
        let partition = &response.groups[0].topics[0].partitions[0];
        (partition.committed_offset, partition.error_code)
    }
}

fn id(name: &str) -> TransactionalId {
    TransactionalId(text(name))
}

#[test]
fn offsets_become_visible_with_the_transaction_in_every_version() {
    let mut world = World::new();
    let mut visible = NOTHING;
    for version in 0..=5 {
        let offset = 10 + i64::from(version);
        if version < IMPLICIT_ADD_VERSION {
            world.add_group();
        }
        assert_eq!(world.commit(version, world.request(offset)), 0, "version {version}");
        assert_eq!((world.fetched(false), world.fetched(true)), (visible, UNSTABLE), "version {version}");
        assert_eq!(world.commit(version, world.request(offset + 10)), 0, "once more, version {version}");
        world.end(if version < 5 { 4 } else { 5 }, true);
        visible = (offset + 10, 0);
        assert_eq!(world.fetched(true), visible, "version {version}");
    }
}

#[test]
fn offsets_go_with_an_abort_in_every_version() {
    let mut world = World::new();
    for version in 0..=5 {
        if version < IMPLICIT_ADD_VERSION {
            world.add_group();
        }
        assert_eq!(world.commit(version, world.request(1)), 0);
        world.end(if version < 5 { 4 } else { 5 }, false);
        assert_eq!((world.fetched(false), world.fetched(true)), (NOTHING, NOTHING), "version {version}");
    }
}

/// KIP-890: offsets of a transaction that the coordinator knows nothing of would stay pending for ever.
#[test]
fn offsets_outside_the_transaction_are_refused() {
    let mut world = World::new();
    for version in 0..=4 {
        let expected = if version < 4 { E::InvalidTxnState } else { E::TransactionAbortable };
        assert_eq!(world.commit(version, world.request(1)), expected.code(), "version {version}");
    }
    world.add_group();
    assert_eq!(world.commit(3, world.request(1)), 0);
    world.end(4, true);
    // The transaction before this one had the group.
    assert_eq!(world.commit(3, world.request(2)), E::InvalidTxnState.code());
    assert_eq!(world.fetched(true), (1, 0));
}

#[test]
fn zombies_are_refused() {
    let mut world = World::new();
    let zombie = world.request(1);
    world.end(5, false);
    for version in 0..=5 {
        let code = world.commit(version, zombie.clone());
        assert_eq!(code, E::InvalidProducerEpoch.code(), "never PRODUCER_FENCED, version {version}");
        let stranger = zombie.clone().with_producer_id(ProducerId(999));
        assert_eq!(world.commit(version, stranger), E::InvalidProducerIdMapping.code());
        let nameless = zombie.clone().with_transactional_id(id(""));
        assert_eq!(world.commit(version, nameless), E::InvalidRequest.code());
        let unknown = zombie.clone().with_transactional_id(id("nobody"));
        assert_eq!(world.commit(version, unknown), E::InvalidProducerIdMapping.code());
    }
    assert_eq!(world.fetched(true), NOTHING);
}

#[test]
fn what_does_not_exist_is_not_committed() {
    let world = World::new();
    let missing = E::UnknownTopicOrPartition.code();
    let response = world.call(5, handle, world.request_for(&[("nowhere", &[0]), ("t", &[0, 7])], 1));
    let codes = response.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|found| (topic.name.as_str(), found.partition_index, found.error_code))
    });
    assert_eq!(codes.collect::<Vec<_>>(), [("nowhere", 0, missing), ("t", 7, missing), ("t", 0, 0)]);
    let response = world.call(5, handle, world.request_for(&[("nowhere", &[0])], 1));
    assert_eq!(response.topics[0].partitions[0].error_code, missing);
}

#[test]
fn without_the_coordinator_clients_come_again() {
    let world = World::new();
    let nameless = world.request(1).with_group_id(GroupId(text("")));
    assert_eq!(world.commit(5, nameless), E::InvalidGroupId.code());
    let groups = &world.broker.services.groups;
    groups.on_resigned(groups.partition_for("g"), None);
    assert_eq!(world.commit(5, world.request(1)), E::NotCoordinator.code());
    let loading = E::CoordinatorLoadInProgress.code();
    let for_versions: Vec<i16> = (0..=2).map(|version| loading_for_old_clients(loading, version)).collect();
    assert_eq!(for_versions, [E::CoordinatorNotAvailable.code(), E::CoordinatorNotAvailable.code(), loading]);
}
