//! The APIs of transactions through their handlers, over real partitions: whole transactions, and every version.

use bytes::BytesMut;
use futures_util::FutureExt;
use kafka_protocol::error::ResponseError as E;
use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, DescribeTransactionsRequest,
    EndTxnRequest, GroupId, InitProducerIdRequest, ListTransactionsRequest, ProducerId, TransactionalId,
};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::handler::{Answer, RequestContext};
use super::test_services::{TestBroker, context, text, topic_name};
use super::*;
use crate::types::{GROUP_METADATA_TOPIC_NAME, TRANSACTION_STATE_TOPIC_NAME};

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
