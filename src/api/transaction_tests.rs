//! The APIs of transactions through their handlers, over real partitions: whole transactions, and every version.

use bytes::BytesMut;
use futures_util::FutureExt;
use kafka_protocol::error::ResponseError as E;
use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, DescribeTransactionsRequest,
    EndTxnRequest, GroupId, InitProducerIdRequest, ListTransactionsRequest, OffsetFetchRequest, ProduceRequest,
    ProducerId, TransactionalId, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::handler::{Answer, RequestContext};
use super::test_services::{TestBroker, batch, context, text, topic_name};
use super::*;
use crate::record::BatchProperties;
use crate::types::{GROUP_METADATA_TOPIC_NAME, TRANSACTION_STATE_TOPIC_NAME, TransactionVersion};

/// A producer's id and epoch.
type Identity = (i64, i16);

/// Calls a handler, and sends the answer through the codec and back, as a client would see it.
fn call<Request, R: Encodable + Decodable>(
    broker: &TestBroker,
    version: i16,
    handle: fn(&std::sync::Arc<Services>, &RequestContext, Request) -> Answer<R>,
    request: Request,
) -> R {
    let response = match handle(&broker.services, &context(0, version), request) {
        Answer::Now(response) => response,
        Answer::Later(mut future) => match (&mut future).now_or_never() {
            Some(response) => response,
            None => {
                // The first producer id.
                broker.run_tasks();
                future.now_or_never().expect("answered")
            }
        },
        _ => panic!("another kind of answer"),
    };
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, version).unwrap_or_else(|error| panic!("version {version}: {error}"));
    R::decode(&mut bytes.freeze(), version).expect("decodes")
}

/// A broker with topic `t` of two partitions, and the topics of the coordinators.
fn broker() -> TestBroker {
    let broker = TestBroker::new();
    broker.create_topic("t", 2, &[]);
    let internal = [TRANSACTION_STATE_TOPIC_NAME, GROUP_METADATA_TOPIC_NAME];
    let created = broker.services.controller.submit(None, move |controller| controller.auto_create_topics(&internal));
    created.now_or_never().expect("answered at once").expect("created");
    broker
}

fn id(name: &str) -> TransactionalId {
    TransactionalId(text(name))
}

fn init_request(name: &str) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(id(name)))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

fn init(broker: &TestBroker, version: i16) -> Identity {
    let response = call(broker, version, init_producer_id::handle, init_request("app"));
    assert_eq!(response.error_code, 0);
    (*response.producer_id, response.producer_epoch)
}

fn topics(names: &[(&str, i32)]) -> Vec<AddPartitionsToTxnTopic> {
    let topics = names.iter().map(|(name, partition)| {
        AddPartitionsToTxnTopic::default().with_name(topic_name(name)).with_partitions(vec![*partition])
    });
    topics.collect()
}

fn add_request((producer_id, epoch): Identity, names: &[(&str, i32)]) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id("app"))
        .with_v3_and_below_producer_id(ProducerId(producer_id))
        .with_v3_and_below_producer_epoch(epoch)
        .with_v3_and_below_topics(topics(names))
}

/// Codes by topic and partition.
fn codes(response: &AddPartitionsToTxnResponse) -> Vec<(String, i32, i16)> {
    let of_transactions = response.results_by_transaction.iter().flat_map(|result| &result.topic_results);
    let topics = response.results_by_topic_v3_and_below.iter().chain(of_transactions);
    let codes = topics.flat_map(|topic| {
        let partitions = topic.results_by_partition.iter();
        partitions.map(|result| (topic.name.to_string(), result.partition_index, result.partition_error_code))
    });
    codes.collect()
}

fn end_request((producer_id, epoch): Identity, committed: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(id("app"))
        .with_producer_id(ProducerId(producer_id))
        .with_producer_epoch(epoch)
        .with_committed(committed)
}

fn offsets_request((producer_id, epoch): Identity) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest::default()
        .with_transactional_id(id("app"))
        .with_producer_id(ProducerId(producer_id))
        .with_producer_epoch(epoch)
        .with_group_id(GroupId(text("g")))
}

fn end_offset(broker: &TestBroker, topic: &str, partition: i32) -> i64 {
    broker.services.replicas.partition_by_name(topic, partition).expect("there").log_end_offset()
}

fn state(broker: &TestBroker) -> String {
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![id("app")]);
    let described = call(broker, 0, describe_transactions::handle, request);
    described.transaction_states[0].transaction_state.to_string()
}

/// A producer that reads and writes in one transaction, by the protocol of its requests' versions.
struct Application {
    broker: TestBroker,
    topic_id: crate::types::Uuid,
    identity: Identity,
    /// Of Produce, TxnOffsetCommit and EndTxn.
    versions: (i16, i16, i16),
    sequence: i32,
}

impl Application {
    /// Whether partitions and groups have to be added before they are written to.
    fn announces(&self) -> bool {
        self.versions.2 < 5
    }

    fn produce(&self, partition: i32) {
        let (producer_id, producer_epoch) = self.identity;
        let properties = BatchProperties {
            producer_id,
            producer_epoch,
            base_sequence: self.sequence,
            is_transactional: true,
            ..BatchProperties::default()
        };
        let records = batch(properties, 1_700_000_000_000, &["written"]);
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
        let topic = TopicProduceData::default()
            .with_name(topic_name("t"))
            .with_topic_id(self.topic_id)
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(id("app")))
            .with_acks(-1)
            .with_timeout_ms(1_000)
            .with_topic_data(vec![topic]);
        let response = call(&self.broker, self.versions.0, produce::handle, request);
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }

    fn commit_offset(&self, offset: i64) {
        let partition =
            TxnOffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(offset);
        let topic = TxnOffsetCommitRequestTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(id("app"))
            .with_group_id(GroupId(text("g")))
            .with_producer_id(ProducerId(self.identity.0))
            .with_producer_epoch(self.identity.1)
            .with_generation_id(-1)
            .with_topics(vec![topic]);
        let response = call(&self.broker, self.versions.1, txn_offset_commit::handle, request);
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
    }

    /// Offset and error of the group, as a consumer that wants stable ones sees them.
    fn committed_offset(&self) -> (i64, i16) {
        let topic = OffsetFetchRequestTopics::default().with_name(topic_name("t")).with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g"))).with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(true);
        let response = call(&self.broker, 9, offset_fetch::handle, request);
        let partition = &response.groups[0].topics[0].partitions[0];
        (partition.committed_offset, partition.error_code)
    }

    fn end(&mut self, committed: bool) {
        let ended = call(&self.broker, self.versions.2, end_txn::handle, end_request(self.identity, committed));
        assert_eq!(ended.error_code, 0);
        if self.announces() {
            self.sequence += 1;
        } else {
            self.identity = (*ended.producer_id, ended.producer_epoch);
        }
    }

    fn last_stable_offsets(&self) -> [i64; 2] {
        [0, 1].map(|partition| {
            let partition = self.broker.services.replicas.partition_by_name("t", partition).expect("there");
            partition.log().last_stable_offset()
        })
    }
}

/// RP#6018, RP#9571: a coordinator that came back knew nothing of the open transaction, and offsets of one that was decided
/// were not there yet.
#[test]
fn records_and_offsets_are_committed_together_whatever_the_coordinators_forget() {
    for (versions, level) in [((11, 4, 4), 0), ((11, 3, 3), 1), ((13, 5, 5), 2)] {
        let broker = broker();
        broker.services.transactions.set_transaction_version(TransactionVersion::from_level(level).expect("a level"));
        let topic_id = broker.services.controller.image().topics.topic("t").expect("there").id;
        let identity = init(&broker, 5);
        let mut app = Application { broker, topic_id, identity, versions, sequence: 0 };
        let mut visible = (-1, 0);
        for (offset, committed) in [(10, true), (20, false), (30, true)] {
            let begin = app.last_stable_offsets();
            app.broker.reload_coordinators();
            if app.announces() {
                let added = add_request(app.identity, &[("t", 0), ("t", 1)]);
                call(&app.broker, 3, add_partitions_to_txn::handle, added);
                call(&app.broker, 3, add_offsets_to_txn::handle, offsets_request(app.identity));
            }
            app.produce(0);
            app.broker.reload_coordinators();
            app.produce(1);
            app.commit_offset(offset);
            app.broker.reload_coordinators();
            assert_eq!(state(&app.broker), "Ongoing");
            assert_eq!(app.committed_offset(), (-1, E::UnstableOffsetCommit.code()));
            assert_eq!(app.last_stable_offsets(), begin, "readers of what is committed wait");
            app.end(committed);
            visible = if committed { (offset, 0) } else { visible };
            for _ in 0..2 {
                assert_eq!(app.committed_offset(), visible, "{versions:?}");
                assert_eq!(app.last_stable_offsets(), begin.map(|offset| offset + 2));
                assert_eq!(state(&app.broker), if committed { "CompleteCommit" } else { "CompleteAbort" });
                app.broker.reload_coordinators();
            }
        }
    }
}

/// KIP-890: what is late reaches the next transaction. Since transaction.version 2 every transaction has an epoch of its own.
#[test]
fn late_requests_do_not_reach_the_next_transaction() {
    let broker = broker();
    let first = init(&broker, 5);
    let transaction = |(producer_id, epoch): Identity| {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(id("app"))
            .with_producer_id(ProducerId(producer_id))
            .with_producer_epoch(epoch)
            .with_topics(topics(&[("t", 0)]));
        AddPartitionsToTxnRequest::default().with_transactions(vec![transaction])
    };
    call(&broker, 5, add_partitions_to_txn::handle, transaction(first));
    let ended = call(&broker, 5, end_txn::handle, end_request(first, true));
    let second = (*ended.producer_id, ended.producer_epoch);
    call(&broker, 5, add_partitions_to_txn::handle, transaction(second));
    for committed in [true, false] {
        let late = call(&broker, 5, end_txn::handle, end_request(first, committed));
        assert_eq!(late.error_code, E::ProducerFenced.code());
    }
    let late = call(&broker, 5, add_partitions_to_txn::handle, transaction(first));
    assert_eq!(codes(&late), [("t".to_owned(), 0, E::ProducerFenced.code())]);
    assert_eq!(state(&broker), "Ongoing");
}

#[test]
fn markers_are_in_every_partition_when_the_end_is_answered() {
    let broker = broker();
    let offsets = broker.services.groups.partition_for("g");
    for (version, committed) in [(0, true), (4, false), (3, true)] {
        let identity = init(&broker, 5);
        let before = [end_offset(&broker, "t", 0), end_offset(&broker, "t", 1)];
        let offsets_before = end_offset(&broker, GROUP_METADATA_TOPIC_NAME, offsets);
        let added = call(&broker, 3, add_partitions_to_txn::handle, add_request(identity, &[("t", 0), ("t", 1)]));
        assert_eq!(codes(&added), [("t".to_owned(), 0, 0), ("t".to_owned(), 1, 0)]);
        let added = call(&broker, 4, add_offsets_to_txn::handle, offsets_request(identity));
        assert_eq!(added.error_code, 0);
        assert_eq!(state(&broker), "Ongoing");
        let ended = call(&broker, version, end_txn::handle, end_request(identity, committed));
        assert_eq!(ended.error_code, 0);
        assert_eq!(state(&broker), if committed { "CompleteCommit" } else { "CompleteAbort" });
        assert_eq!([end_offset(&broker, "t", 0), end_offset(&broker, "t", 1)], before.map(|offset| offset + 1));
        assert_eq!(end_offset(&broker, GROUP_METADATA_TOPIC_NAME, offsets), offsets_before + 1);
    }
}

#[test]
fn since_version_5_every_end_gives_a_new_epoch() {
    let broker = broker();
    let mut identity = init(&broker, 5);
    for committed in [true, false, true] {
        let added = call(&broker, 3, add_partitions_to_txn::handle, add_request(identity, &[("t", 0)]));
        assert_eq!(codes(&added), [("t".to_owned(), 0, 0)]);
        for _ in 0..2 {
            // The second one is the repetition of who did not get the answer.
            let ended = call(&broker, 5, end_txn::handle, end_request(identity, committed));
            let next = (*ended.producer_id, ended.producer_epoch);
            assert_eq!((ended.error_code, next), (0, (identity.0, identity.1 + 1)));
        }
        identity.1 += 1;
    }
    assert_eq!(end_offset(&broker, "t", 0), 3);
}

#[test]
fn old_versions_do_not_know_fenced_producers() {
    let broker = broker();
    let zombie = init(&broker, 5);
    init(&broker, 5);
    let expected = |version, since| if version < since { E::InvalidProducerEpoch } else { E::ProducerFenced }.code();
    for version in 0..=3 {
        let added = call(&broker, version, add_partitions_to_txn::handle, add_request(zombie, &[("t", 0)]));
        assert_eq!(codes(&added), [("t".to_owned(), 0, expected(version, 2))]);
    }
    for version in 0..=4 {
        let added = call(&broker, version, add_offsets_to_txn::handle, offsets_request(zombie));
        assert_eq!(added.error_code, expected(version, 2));
    }
    for version in 0..=5 {
        let ended = call(&broker, version, end_txn::handle, end_request((zombie.0, 7), true));
        assert_eq!((ended.error_code, *ended.producer_id), (expected(version, 2), -1));
    }
    for version in 3..=5 {
        let request = init_request("app").with_producer_id(ProducerId(zombie.0)).with_producer_epoch(7);
        let response = call(&broker, version, init_producer_id::handle, request);
        assert_eq!((response.error_code, response.producer_epoch), (expected(version, 4), -1));
    }
}

#[test]
fn all_partitions_come_in_or_none() {
    let broker = broker();
    let identity = init(&broker, 5);
    let names = [("t", 0), ("t", 2), ("nowhere", 0), (TRANSACTION_STATE_TOPIC_NAME, 0)];
    let added = call(&broker, 3, add_partitions_to_txn::handle, add_request(identity, &names));
    let internal = E::TopicAuthorizationFailed.code();
    let (not_attempted, unknown) = (E::OperationNotAttempted.code(), E::UnknownTopicOrPartition.code());
    assert_eq!(
        codes(&added),
        [
            (TRANSACTION_STATE_TOPIC_NAME.to_owned(), 0, internal),
            ("nowhere".to_owned(), 0, unknown),
            ("t".to_owned(), 0, not_attempted),
            ("t".to_owned(), 2, unknown),
        ]
    );
    assert_eq!(state(&broker), "Empty");
}

#[test]
fn brokers_add_and_verify_many_transactions_at_once() {
    let broker = broker();
    let (producer_id, epoch) = init(&broker, 5);
    let transaction = |name: &str, partition: i32, verify_only: bool| {
        AddPartitionsToTxnTransaction::default()
            .with_transactional_id(id(name))
            .with_producer_id(ProducerId(producer_id))
            .with_producer_epoch(epoch)
            .with_verify_only(verify_only)
            .with_topics(topics(&[("t", partition)]))
    };
    for version in [4, 5] {
        let transactions =
            vec![transaction("app", 0, false), transaction("nobody", 0, false), transaction("nobody", 0, true)];
        let request = AddPartitionsToTxnRequest::default().with_transactions(transactions);
        let added = call(&broker, version, add_partitions_to_txn::handle, request);
        let names: Vec<_> =
            added.results_by_transaction.iter().map(|result| result.transactional_id.to_string()).collect();
        assert_eq!(names, ["app", "nobody", "nobody"]);
        let unknown = E::InvalidProducerIdMapping.code();
        assert_eq!(codes(&added).iter().map(|(.., code)| *code).collect::<Vec<_>>(), [0, unknown, unknown]);
        let transactions = vec![transaction("app", 0, true), transaction("app", 1, true)];
        let request = AddPartitionsToTxnRequest::default().with_transactions(transactions);
        let verified = call(&broker, version, add_partitions_to_txn::handle, request);
        let abortable = E::TransactionAbortable.code();
        assert_eq!(codes(&verified).iter().map(|(.., code)| *code).collect::<Vec<_>>(), [0, abortable]);
    }
}

#[test]
fn every_version_of_what_tools_ask() {
    let broker = broker();
    let (producer_id, epoch) = init(&broker, 5);
    call(&broker, 3, add_partitions_to_txn::handle, add_request((producer_id, epoch), &[("t", 1), ("t", 0)]));
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![id("app"), id("nobody"), id("")]);
    let described = call(&broker, 0, describe_transactions::handle, request).transaction_states;
    let app = &described[0];
    assert_eq!((app.error_code, app.transaction_state.as_str(), app.transaction_timeout_ms), (0, "Ongoing", 60_000));
    assert_eq!((*app.producer_id, app.producer_epoch), (producer_id, epoch));
    assert_eq!(app.transaction_start_time_ms, 1_700_000_000_000);
    assert_eq!((app.topics[0].topic.as_str(), &app.topics[0].partitions[..]), ("t", &[0, 1][..]));
    let errors: Vec<_> = described.iter().map(|state| state.error_code).collect();
    assert_eq!(errors, [0, E::TransactionalIdNotFound.code(), E::InvalidRequest.code()]);
    for version in 0..=2 {
        let request = ListTransactionsRequest::default().with_duration_filter(-1);
        let listed = call(&broker, version, list_transactions::handle, request).transaction_states;
        let found: Vec<_> = listed.iter().map(|state| (state.transactional_id.as_str(), *state.producer_id)).collect();
        assert_eq!(found, [("app", producer_id)]);
        assert_eq!(listed[0].transaction_state.as_str(), "Ongoing");
    }
}
