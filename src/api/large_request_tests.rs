//! Requests that name very much, or the same over and over: handling them takes time that grows with their length only, and their
//! answers stay within what the cluster has. A handler whose time grows with the square does not come to the end of these tests.

use futures_util::FutureExt;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeGroupsRequest, DescribeProducersRequest, DescribeTransactionsRequest,
    FindCoordinatorRequest, GroupId, IncrementalAlterConfigsRequest, JoinGroupRequest, ListOffsetsRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, TransactionalId, TxnOffsetCommitRequest,
    UpdateFeaturesRequest,
};

use super::test_services::{TestBroker, context, now, text, topic_name};
use super::*;

const MANY: i32 = 200_000;
const INVALID_REQUEST: i16 = 42;

fn answer<R>(answer: Answer<R>) -> R {
    match answer {
        Answer::Now(response) => response,
        Answer::Later(future) => future.now_or_never().expect("answered at once"),
        _ => panic!("another kind of answer"),
    }
}

/// A broker whose coordinators are there.
fn broker() -> TestBroker {
    let broker = TestBroker::new();
    for key_type in [0, 1] {
        let request = FindCoordinatorRequest::default().with_key(text("x")).with_key_type(key_type);
        assert_eq!(answer(find_coordinator::handle(&broker.services, &context(10, 3), request)).error_code, 0);
    }
    broker
}

fn name(number: i32) -> String {
    format!("name-{number}")
}

#[test]
fn offsets_of_very_many_topics_are_answered() {
    let broker = broker();
    let committed = |number| {
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(&name(number)))
            .with_partitions(vec![OffsetCommitRequestPartition::default()])
    };
    let request = OffsetCommitRequest::default().with_topics((0..MANY).map(committed).collect());
    let response = answer(offset_commit::handle(&broker.services, &context(8, 8), request));
    assert_eq!(response.topics.len(), MANY as usize);
    assert!(response.topics.iter().all(|topic| topic.partitions[0].error_code == 3));

    let taken_along = |number| {
        TxnOffsetCommitRequestTopic::default()
            .with_name(topic_name(&name(number)))
            .with_partitions(vec![TxnOffsetCommitRequestPartition::default()])
    };
    let request = TxnOffsetCommitRequest::default().with_topics((0..MANY).map(taken_along).collect());
    let response = answer(txn_offset_commit::handle(&broker.services, &context(28, 3), request));
    assert_eq!(response.topics.len(), MANY as usize);

    let forgotten = |number| {
        OffsetDeleteRequestTopic::default()
            .with_name(topic_name(&name(number)))
            .with_partitions(vec![OffsetDeleteRequestPartition::default()])
    };
    let request = OffsetDeleteRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_topics((0..MANY).map(forgotten).collect());
    let response = answer(offset_delete::handle(&broker.services, &context(47, 0), request));
    assert_eq!(response.error_code, ResponseError::GroupIdNotFound.code());
}

#[test]
fn very_many_partitions_that_are_named_twice_are_each_answered_once() {
    let broker = TestBroker::new();
    let partition = |index| ListOffsetsPartition::default().with_partition_index(index).with_timestamp(-1);
    let partitions: Vec<_> = (0..MANY).chain(0..MANY).map(partition).collect();
    let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(partitions);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let response = now(list_offsets::handle(&broker.services, &context(2, 4), request));
    assert_eq!(response.topics[0].partitions.len(), MANY as usize);
    assert!(response.topics[0].partitions.iter().all(|partition| partition.error_code == INVALID_REQUEST));
}

#[test]
fn very_many_loggers_features_and_protocols_are_answered() {
    let broker = broker();
    let loggers =
        |number: i32| AlterConfigsResource::default().with_resource_type(8).with_resource_name(text(&name(number)));
    let resources = (0..MANY).chain(0..1).map(loggers).collect();
    let request = IncrementalAlterConfigsRequest::default().with_resources(resources).with_validate_only(true);
    let response = now(incremental_alter_configs::handle(&broker.services, &context(44, 1), request));
    let message = |index: usize| response.responses[index].error_message.as_deref().unwrap_or_default();
    assert!(message(0).contains("at most once") && message(MANY as usize).contains("at most once"));
    assert!(message(1).contains("must be an integer"));

    let feature = |number| FeatureUpdateKey::default().with_feature(text(&name(number)));
    let request = UpdateFeaturesRequest::default().with_feature_updates((0..MANY).map(feature).collect());
    let response = broker.services.controller.update_features(&request, 2).expect("metadata");
    assert!(response.error_code != 0);

    let protocol = |number| JoinGroupRequestProtocol::default().with_name(text(&name(number)));
    let request = JoinGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(text("x"))
        .with_protocols((0..MANY).map(protocol).collect());
    let response = answer(join_group::handle(&broker.services, &context(11, 2), request));
    assert_eq!(response.error_code, INVALID_REQUEST);
}

#[test]
fn a_resource_is_not_described_as_often_as_somebody_likes() {
    let broker = TestBroker::new();
    // A number has many spellings.
    let resource = |zeros: usize| {
        DescribeConfigsResource::default()
            .with_resource_type(4)
            .with_resource_name(text(&format!("{}1", "0".repeat(zeros))))
            .with_configuration_keys(None)
    };
    let request = DescribeConfigsRequest::default().with_resources((0..300).map(resource).collect());
    let response = now(describe_configs::handle(&broker.services, &context(32, 4), request));
    assert_eq!(response.results.iter().filter(|result| !result.configs.is_empty()).count(), 101);
    assert_eq!(response.results.iter().filter(|result| result.error_code == INVALID_REQUEST).count(), 199);
}

#[test]
fn a_group_a_transaction_or_a_partition_is_not_described_as_often_as_somebody_likes() {
    let broker = broker();
    broker.create_topic("t", 1, &[]);
    let refused = |codes: Vec<i16>| {
        assert_eq!(codes.len(), 300);
        codes.into_iter().filter(|code| *code == INVALID_REQUEST).count()
    };
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text("g")); 300]);
    let groups = answer(describe_groups::handle(&broker.services, &context(15, 5), request)).groups;
    assert_eq!(refused(groups.iter().map(|group| group.error_code).collect()), 199);

    let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g"))).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![group; 300]);
    let groups = answer(offset_fetch::handle(&broker.services, &context(9, 8), request)).groups;
    assert_eq!(refused(groups.iter().map(|group| group.error_code).collect()), 199);

    let ids = vec![TransactionalId(text("x")); 300];
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    let states = answer(describe_transactions::handle(&broker.services, &context(65, 0), request)).transaction_states;
    assert_eq!(refused(states.iter().map(|state| state.error_code).collect()), 199);

    let topic = TopicRequest::default().with_name(topic_name("t")).with_partition_indexes(vec![0; 300]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let topics = now(describe_producers::handle(&broker.services, &context(61, 0), request)).topics;
    assert_eq!(refused(topics[0].partitions.iter().map(|partition| partition.error_code).collect()), 199);
}
