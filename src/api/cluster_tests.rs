//! Metadata, DescribeTopicPartitions, DescribeCluster and the controller's APIs through their handlers.

use bytes::BytesMut;
use futures_util::FutureExt;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, ListConfigResourcesRequest, MetadataRequest, MetadataResponse,
};
use kafka_protocol::protocol::Encodable;

use super::handler::Answer;
use super::test_services::{TestBroker, context, later, now, topic_name};
use super::*;
use crate::types::Uuid;

const METADATA: i16 = 3;

fn named(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    MetadataRequest::default().with_topics(Some(names.iter().map(topic).collect()))
}

/// The answer of a handler whose work the simulated world does at once.
fn done<R>(answer: Answer<R>) -> R {
    later(answer).now_or_never().expect("the command has run")
}

fn ask(broker: &TestBroker, version: i16, request: MetadataRequest) -> MetadataResponse {
    now(metadata::handle(&broker.services, &context(METADATA, version), request))
}

fn codes(response: &MetadataResponse) -> Vec<(String, i16)> {
    let name = |topic: &kafka_protocol::messages::metadata_response::MetadataResponseTopic| {
        topic.name.as_ref().map_or_else(String::new, |name| name.to_string())
    };
    response.topics.iter().map(|topic| (name(topic), topic.error_code)).collect()
}

#[test]
fn a_topic_that_metadata_creates_is_served_when_the_answer_comes() {
    let broker = TestBroker::new();
    let answer = metadata::handle(&broker.services, &context(METADATA, 12), named(&["new", "bad name"]));
    let response = done(answer);
    assert_eq!(codes(&response), [("new".to_owned(), 0), ("bad name".to_owned(), 17)]);
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.error_code, partition.leader_id.0, partition.leader_epoch), (0, 1, 0));
    assert!(!response.topics[0].topic_id.is_nil());
    assert!(broker.services.replicas.partition_by_name("new", 0).is_ok());
}

#[test]
fn internal_topics_get_their_own_shape_or_are_not_created() {
    let broker = TestBroker::new();
    let names = ["__consumer_offsets", "__transaction_state", "__share_group_state"];
    let response = done(metadata::handle(&broker.services, &context(METADATA, 12), named(&names)));
    let wanted = [("__consumer_offsets", 0), ("__transaction_state", 0), ("__share_group_state", 3)];
    assert_eq!(codes(&response), wanted.map(|(name, code)| (name.to_owned(), code)));
    assert!(response.topics.iter().all(|topic| topic.is_internal));
    assert_eq!(response.topics[0].partitions.len(), 50);
    assert_eq!(response.topics[1].partitions.len(), 50);
}

#[test]
fn without_leave_nothing_is_created() {
    let broker = TestBroker::new();
    let response = ask(&broker, 12, named(&["new"]).with_allow_auto_topic_creation(false));
    assert_eq!(codes(&response), [("new".to_owned(), ResponseError::UnknownTopicOrPartition.code())]);
    assert!(broker.services.controller.image().topics.by_name().is_empty());
}

#[test]
fn metadata_names_topics_once_and_finds_them_by_id() {
    let broker = TestBroker::new();
    let id = broker.create_topic("a", 2, &[]);
    let twice = named(&["a", "x", "a"]).with_allow_auto_topic_creation(false);
    assert_eq!(codes(&ask(&broker, 9, twice)), [("a".to_owned(), 0), ("x".to_owned(), 3)]);
    let by_id = |id: Uuid| MetadataRequestTopic::default().with_topic_id(id).with_name(None);
    let unknown = Uuid::from_u128(77);
    let request = MetadataRequest::default().with_topics(Some(vec![by_id(id), by_id(unknown), by_id(id)]));
    let response = ask(&broker, 12, request.clone());
    assert_eq!(codes(&response), [(String::new(), 100), ("a".to_owned(), 0)]);
    assert_eq!(response.topics[0].topic_id, unknown);
    // Version 11 does not know ids: everything is refused.
    let response = ask(&broker, 11, request);
    assert!(response.topics.iter().all(|topic| topic.error_code == ResponseError::InvalidRequest.code()));
    assert!(response.brokers.is_empty());
}

#[test]
fn empty_and_null_lists_mean_what_the_version_says() {
    let broker = TestBroker::new();
    broker.create_topic("a", 1, &[]);
    assert_eq!(ask(&broker, 0, named(&[])).topics.len(), 1);
    assert!(ask(&broker, 1, named(&[])).topics.is_empty());
    assert_eq!(ask(&broker, 1, MetadataRequest::default().with_topics(None)).topics.len(), 1);
    let answer =
        metadata::handle(&broker.services, &context(METADATA, 0), MetadataRequest::default().with_topics(None));
    assert!(matches!(answer, Answer::Close(_)));
}

#[test]
fn every_version_of_the_reading_apis_encodes() {
    let broker = TestBroker::new();
    broker.create_topic("a", 2, &[("retention.ms", "5")]);
    for version in 0..=13 {
        let mut request = MetadataRequest::default().with_topics(Some(Vec::new()));
        request.include_topic_authorized_operations = version >= 8;
        request.include_cluster_authorized_operations = true;
        ask(&broker, version, request).encode(&mut BytesMut::new(), version).expect("encodes");
        let request = named(&["a", "x"]).with_allow_auto_topic_creation(false);
        ask(&broker, version, request).encode(&mut BytesMut::new(), version).expect("encodes");
    }
    for version in 0..=2 {
        for endpoint_type in 0..=3 {
            let request = DescribeClusterRequest::default().with_endpoint_type(endpoint_type);
            let response = now(describe_cluster::handle(&broker.services, &context(60, version), request));
            response.encode(&mut BytesMut::new(), version).expect("encodes");
        }
    }
    for version in 1..=4 {
        let resource = kafka_protocol::messages::describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(topic_name("a").0)
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
        let response = now(describe_configs::handle(&broker.services, &context(32, version), request));
        assert!(response.results[0].configs.len() > 20);
        response.encode(&mut BytesMut::new(), version).expect("encodes");
    }
    for version in 0..=1 {
        let request = ListConfigResourcesRequest::default();
        let response = now(list_config_resources::handle(&broker.services, &context(74, version), request));
        assert_eq!(response.config_resources.len(), if version == 0 { 0 } else { 3 });
        response.encode(&mut BytesMut::new(), version).expect("encodes");
    }
}

#[test]
fn pages_of_topic_partitions_come_to_everything_once() {
    let broker = TestBroker::new();
    for (name, partitions) in [("a", 3), ("b", 1), ("c", 4), ("d", 2)] {
        broker.create_topic(name, partitions, &[]);
    }
    for limit in 1..=11 {
        let mut seen = Vec::new();
        let mut cursor: Option<Cursor> = None;
        loop {
            let request =
                DescribeTopicPartitionsRequest::default().with_response_partition_limit(limit).with_cursor(cursor);
            let page = now(describe_topic_partitions::handle(&broker.services, &context(75, 0), request));
            assert!(page.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() <= limit as usize);
            for topic in &page.topics {
                let name = topic.name.as_ref().expect("a name");
                seen.extend(topic.partitions.iter().map(|part| format!("{}-{}", name.as_str(), part.partition_index)));
            }
            match page.next_cursor {
                None => break,
                Some(next) => {
                    cursor = Some(
                        Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index),
                    );
                }
            }
        }
        assert_eq!(seen, ["a-0", "a-1", "a-2", "b-0", "c-0", "c-1", "c-2", "c-3", "d-0", "d-1"], "limit {limit}");
    }
}

#[test]
fn a_cursor_must_be_among_the_topics() {
    let broker = TestBroker::new();
    broker.create_topic("a", 1, &[]);
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![TopicRequest::default().with_name(topic_name("a"))])
        .with_cursor(Some(Cursor::default().with_topic_name(topic_name("0"))));
    let response = now(describe_topic_partitions::handle(&broker.services, &context(75, 0), request));
    assert_eq!(response.topics[0].error_code, ResponseError::InvalidRequest.code());
}

fn create(broker: &TestBroker, name: &str, timeout_ms: i32) -> CreateTopicsResponse {
    let topic = CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(1).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms);
    done(create_topics::handle(&broker.services, &context(19, 7), request))
}

#[test]
fn a_request_without_time_is_not_run() {
    let broker = TestBroker::new();
    for timeout_ms in [0, -1] {
        let response = create(&broker, "a", timeout_ms);
        assert_eq!(response.topics[0].error_code, ResponseError::RequestTimedOut.code());
        assert_eq!(response.topics[0].error_message, None);
    }
    assert_eq!(create(&broker, "a", 1).topics[0].error_code, 0);
    let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("a")]).with_timeout_ms(0);
    let response = done(delete_topics::handle(&broker.services, &context(20, 5), request));
    assert_eq!(response.responses[0].error_code, ResponseError::RequestTimedOut.code());
    assert!(broker.services.controller.image().topics.topic("a").is_some());
}
