//! Produce to Fetch through the handlers, without sockets.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    DeleteRecordsRequest, DescribeLogDirsRequest, DescribeProducersRequest, FetchRequest, FetchResponse,
    ListOffsetsRequest, ProduceRequest, ProduceResponse, TransactionalId, fetch_response,
};

use super::handler::Answer;
use super::test_services::{TestBroker, batch, context, decode, later, now, raw_later, text, topic_name, waits};
use super::{delete_records, describe_log_dirs, describe_producers, fetch, list_offsets, produce};
use crate::record::{BatchIterator, BatchProperties};
use crate::types::Uuid;

fn produce_request(topic: &str, id: Uuid, partition: i32, records: Bytes, acks: i16) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic =
        TopicProduceData::default().with_name(topic_name(topic)).with_topic_id(id).with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1_000).with_topic_data(vec![topic])
}

fn values(values: &[&str]) -> Bytes {
    batch(BatchProperties::default(), 1_700_000_000_000, values)
}

fn produce(broker: &TestBroker, version: i16, request: ProduceRequest) -> Answer<ProduceResponse> {
    produce::handle(&broker.services, &context(0, version), request)
}

fn produced(broker: &TestBroker, version: i16, request: ProduceRequest) -> PartitionProduceResponse {
    let response = now(produce(broker, version, request));
    response.responses[0].partition_responses[0].clone()
}

fn append(broker: &TestBroker, partition: i32, records: &[&str]) -> i64 {
    let answer = produced(broker, 9, produce_request("t", Uuid::nil(), partition, values(records), -1));
    assert_eq!(answer.error_code, 0);
    answer.base_offset
}

fn fetch_partition(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition::default().with_partition(partition).with_fetch_offset(offset).with_partition_max_bytes(1 << 20)
}

fn fetch_request(topic: &str, id: Uuid, partitions: Vec<FetchPartition>) -> FetchRequest {
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_topic_id(id).with_partitions(partitions);
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

fn in_session(mut request: FetchRequest, session_id: i32, epoch: i32) -> FetchRequest {
    request.topics.retain(|topic| !topic.partitions.is_empty());
    request.with_session_id(session_id).with_session_epoch(epoch)
}

fn fetch(broker: &TestBroker, version: i16, request: FetchRequest) -> Answer<FetchResponse> {
    fetch::handle(&broker.services, &context(1, version), request)
}

fn fetched(broker: &TestBroker, version: i16, request: FetchRequest) -> FetchResponse {
    match fetch(broker, version, request) {
        Answer::Raw(response) => decode(&response, version),
        _ => panic!("the fetch waits"),
    }
}

fn partitions(response: &FetchResponse) -> Vec<(i32, i16, usize)> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let count = |data: &fetch_response::PartitionData| {
        BatchIterator::new(data.records.as_deref().unwrap_or_default())
            .map(|batch| batch.expect("whole batches").0.record_count as usize)
            .sum()
    };
    partitions.map(|data| (data.partition_index, data.error_code, count(data))).collect()
}

#[test]
fn every_version_of_produce_and_fetch_carries_the_same_bytes() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 1, &[]);
    for (number, version) in (3..=13).enumerate() {
        let records = values(&["one", "two"]);
        let answer = produced(&broker, version, produce_request("t", id, 0, records.clone(), -1));
        assert_eq!((answer.error_code, answer.base_offset), (0, number as i64 * 2), "v{version}");
        assert_eq!((answer.log_append_time_ms, answer.log_start_offset), (-1, 0));
        for fetch_version in [4, 6, 7, 11, 12, 13, 18] {
            let request = fetch_request("t", id, vec![fetch_partition(0, answer.base_offset)]);
            let response = fetched(&broker, fetch_version, request);
            let data = &response.responses[0].partitions[0];
            assert_eq!((data.error_code, data.high_watermark), (0, answer.base_offset + 2));
            let bytes = data.records.as_ref().unwrap();
            // All but base offset and leader epoch, which the log patches, is what was sent.
            assert_eq!((&bytes[8..12], &bytes[16..]), (&records[8..12], &records[16..]), "v{fetch_version}");
        }
    }
}

#[test]
fn acks_0_has_no_answer_and_closes_on_error() {
    let broker = TestBroker::new();
    broker.create_topic("t", 1, &[]);
    let request = |partition| produce_request("t", Uuid::nil(), partition, values(&["x"]), 0);
    assert!(matches!(produce(&broker, 9, request(0)), Answer::Nothing));
    assert!(matches!(produce(&broker, 9, request(1)), Answer::Close(_)));
    assert_eq!(append(&broker, 0, &["y"]), 1);
}

#[test]
fn what_cannot_be_appended_is_refused_with_kafka_s_codes() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 1, &[]);
    let code = |version, request| produced(&broker, version, request).error_code;
    let nil = Uuid::nil();
    let unknown_topic = ResponseError::UnknownTopicOrPartition.code();
    assert_eq!(code(9, produce_request("nope", nil, 0, values(&["x"]), -1)), unknown_topic);
    assert_eq!(code(9, produce_request("t", nil, 1, values(&["x"]), -1)), unknown_topic);
    assert_eq!(code(13, produce_request("", nil, 0, values(&["x"]), -1)), ResponseError::UnknownTopicId.code());
    assert_eq!(code(13, produce_request("", id, 0, values(&["x"]), -1)), 0);
    assert_eq!(code(9, produce_request("t", nil, 0, values(&["x"]), 2)), ResponseError::InvalidRequiredAcks.code());
    let two = [values(&["x"]), values(&["y"])].concat();
    assert_eq!(code(9, produce_request("t", nil, 0, two.into(), -1)), ResponseError::InvalidRecord.code());
    let mut corrupt = values(&["x"]).to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    assert_eq!(code(9, produce_request("t", nil, 0, corrupt.into(), -1)), ResponseError::CorruptMessage.code());
    let mut properties = BatchProperties::default();
    (properties.producer_id, properties.producer_epoch, properties.base_sequence) = (5, 0, 0);
    properties.is_transactional = true;
    let transactional = produce_request("t", nil, 0, batch(properties, 1, &["x"]), -1);
    let refused = ResponseError::TransactionalIdAuthorizationFailed.code();
    assert_eq!(code(9, transactional.clone()), refused);
    let with_id = transactional.with_transactional_id(Some(TransactionalId(text("tx"))));
    // There is no coordinator yet that could be asked.
    assert_eq!(code(9, with_id), ResponseError::NotEnoughReplicas.code());
}

#[test]
fn refused_records_are_named_from_version_8() {
    let broker = TestBroker::new();
    broker.create_topic("t", 1, &[("cleanup.policy", "compact")]);
    let mut builder = crate::record::BatchBuilder::new(BatchProperties::default());
    builder.append(1, None, Some(b"no key"), &[]).unwrap();
    let records = builder.build();
    let answer = produced(&broker, 8, produce_request("t", Uuid::nil(), 0, records.clone(), -1));
    assert_eq!(answer.error_code, ResponseError::InvalidRecord.code());
    assert_eq!((answer.base_offset, answer.log_start_offset), (-1, 0));
    assert_eq!(answer.record_errors.len(), 1);
    assert!(answer.error_message.is_some());
    assert!(produced(&broker, 7, produce_request("t", Uuid::nil(), 0, records, -1)).record_errors.is_empty());
}

#[test]
fn fetches_outside_the_log_and_of_unknown_topics_are_refused() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 2, &[]);
    append(&broker, 0, &["a"]);
    let out_of_range = ResponseError::OffsetOutOfRange.code();
    let request = fetch_request("t", id, vec![fetch_partition(0, 5), fetch_partition(1, 0)]);
    assert_eq!(partitions(&fetched(&broker, 11, request)), [(0, out_of_range, 0), (1, 0, 0)]);
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let request = fetch_request("t", id, vec![fetch_partition(9, 0), fetch_partition(0, 0)]);
    assert_eq!(partitions(&fetched(&broker, 11, request)), [(0, 0, 1), (9, unknown, 0)], "refused ones come last");
    let request = fetch_request("", Uuid::from_u128(1), vec![fetch_partition(0, 0)]);
    assert_eq!(partitions(&fetched(&broker, 13, request)), [(0, ResponseError::UnknownTopicId.code(), 0)]);
    let fenced = fetch_partition(0, 0).with_current_leader_epoch(99);
    let request = fetch_request("t", id, vec![fenced]);
    assert_eq!(partitions(&fetched(&broker, 12, request)), [(0, ResponseError::UnknownLeaderEpoch.code(), 0)]);
}

#[test]
fn limits_leave_the_first_batch_whole_and_stop_after_it() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 2, &[]);
    append(&broker, 0, &["a"]);
    append(&broker, 1, &["b"]);
    let request = fetch_request("t", id, vec![fetch_partition(0, 0), fetch_partition(1, 0)]).with_max_bytes(1);
    assert_eq!(partitions(&fetched(&broker, 11, request)), [(0, 0, 1), (1, 0, 0)]);
    let small = fetch_partition(0, 0).with_partition_max_bytes(1);
    let request = fetch_request("t", id, vec![fetch_partition(1, 0), small]);
    assert_eq!(partitions(&fetched(&broker, 11, request)), [(1, 0, 1), (0, 0, 0)]);
}

#[tokio::test]
async fn a_fetch_waits_for_the_append_and_no_longer_than_it_said() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 2, &[]);
    let request = || fetch_request("t", id, vec![fetch_partition(0, 0), fetch_partition(1, 0)]);
    let mut waiting = raw_later(fetch(&broker, 11, request()));
    assert!(waits(&mut waiting));
    append(&broker, 1, &["news"]);
    assert_eq!(partitions(&decode(&waiting.await, 11)), [(0, 0, 0), (1, 0, 1)]);
    let patient = fetch_request("t", id, vec![fetch_partition(0, 0)]).with_min_bytes(100_000);
    let mut waiting = raw_later(fetch(&broker, 11, patient));
    assert!(waits(&mut waiting));
    append(&broker, 0, &["too little"]);
    broker.clock.advance(Duration::from_millis(499));
    assert!(waits(&mut waiting));
    broker.clock.advance(Duration::from_millis(1));
    assert_eq!(partitions(&decode(&waiting.await, 11)), [(0, 0, 1)]);
    for index in 0..2 {
        let partition = broker.services.replicas.partition_by_name("t", index).unwrap();
        assert_eq!(partition.waiting(), (0, 0), "waiters are gone with their fetch");
    }
    assert_eq!(broker.services.replicas.delayed_fetches().waiting(), 0);
}

#[test]
fn a_fetch_at_the_end_of_a_segment_does_not_wait_for_more_than_the_segment_has() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 1, &[("segment.bytes", "1048576")]);
    let large = "x".repeat(600_000);
    append(&broker, 0, &[&large]);
    append(&broker, 0, &[&large]);
    let request = fetch_request("t", id, vec![fetch_partition(0, 0)]).with_min_bytes(1_000_000);
    assert_eq!(partitions(&fetched(&broker, 11, request)), [(0, 0, 1)]);
}

#[tokio::test]
async fn a_waiting_fetch_that_is_dropped_leaves_nothing_behind() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 1, &[]);
    let mut waiting = raw_later(fetch(&broker, 11, fetch_request("t", id, vec![fetch_partition(0, 0)])));
    assert!(waits(&mut waiting));
    let partition = broker.services.replicas.partition_by_name("t", 0).unwrap();
    assert_eq!(partition.waiting(), (1, 0));
    drop(waiting);
    assert_eq!(partition.waiting(), (0, 0));
    assert_eq!(broker.services.replicas.delayed_fetches().waiting(), 0);
}

#[tokio::test]
async fn a_session_answers_with_what_is_new() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 3, &[]);
    append(&broker, 0, &["a"]);
    let all = (0..3).map(|partition| fetch_partition(partition, 0)).collect();
    let response = fetched(&broker, 13, in_session(fetch_request("", id, all), 0, 0));
    let session = response.session_id;
    assert!(session > 0);
    assert_eq!(partitions(&response), [(0, 0, 1), (1, 0, 0), (2, 0, 0)]);
    // The client goes on in partition 0; nothing is new: the fetch waits, and answers with nothing.
    let next = in_session(fetch_request("", id, vec![fetch_partition(0, 1)]), session, 1);
    let mut waiting = raw_later(fetch(&broker, 13, next));
    assert!(waits(&mut waiting));
    broker.clock.advance(Duration::from_millis(500));
    let response: FetchResponse = decode(&waiting.await, 13);
    assert_eq!((response.session_id, partitions(&response)), (session, vec![]));
    // Only partition 2 has news, and the request names none.
    let idle = |epoch| in_session(fetch_request("", id, vec![]), session, epoch);
    let mut waiting = raw_later(fetch(&broker, 13, idle(2)));
    assert!(waits(&mut waiting));
    append(&broker, 2, &["b", "c"]);
    assert_eq!(partitions(&decode(&waiting.await, 13)), [(2, 0, 2)]);
    // The client did not move on in partition 2, so it gets the records again.
    assert_eq!(partitions(&fetched(&broker, 13, idle(3))), [(2, 0, 2)]);
    // A repeated request is refused; the session goes on.
    let response = fetched(&broker, 13, idle(3));
    assert_eq!(response.error_code, ResponseError::InvalidFetchSessionEpoch.code());
    let forgotten = ForgottenTopic::default().with_topic_id(id).with_partitions(vec![2]);
    let forget = idle(4).with_forgotten_topics_data(vec![forgotten]).with_max_wait_ms(0);
    assert_eq!(partitions(&fetched(&broker, 13, forget)), []);
    assert_eq!(partitions(&fetched(&broker, 13, idle(5).with_max_wait_ms(0))), []);
}

#[tokio::test]
async fn a_session_shares_small_answers_among_its_partitions() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 3, &[]);
    (0..3).for_each(|partition| _ = append(&broker, partition, &["x"]));
    let all = (0..3).map(|partition| fetch_partition(partition, 0)).collect();
    let full = in_session(fetch_request("", id, all), 0, 0).with_max_bytes(1);
    let response = fetched(&broker, 13, full);
    assert_eq!(partitions(&response), [(0, 0, 1), (1, 0, 0), (2, 0, 0)]);
    let mut served = Vec::new();
    for epoch in 1..=6 {
        let request = in_session(fetch_request("", id, vec![]), response.session_id, epoch).with_max_bytes(1);
        let answer = partitions(&fetched(&broker, 13, request));
        assert_eq!(answer.iter().filter(|(_, _, records)| *records > 0).count(), 1);
        served.extend(answer.iter().filter(|(_, _, records)| *records > 0).map(|(partition, ..)| *partition));
    }
    assert_eq!(served, [0, 1, 2, 0, 1, 2]);
}

#[tokio::test]
async fn a_session_hears_of_a_deleted_topic() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 1, &[]);
    let open = in_session(fetch_request("", id, vec![fetch_partition(0, 0)]), 0, 0).with_max_wait_ms(0);
    let session = fetched(&broker, 13, open).session_id;
    let idle = |epoch| in_session(fetch_request("", id, vec![]), session, epoch);
    let mut waiting = raw_later(fetch(&broker, 13, idle(1)));
    assert!(waits(&mut waiting));
    let delete = kafka_protocol::messages::DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
    broker.services.controller.delete_topics(&delete, 5).unwrap();
    let response: FetchResponse = decode(&waiting.await, 13);
    // The name is known to the session; the topic is not there any more.
    assert_eq!(partitions(&response), [(0, ResponseError::UnknownTopicOrPartition.code(), 0)]);
}

#[tokio::test]
async fn a_topic_with_flush_messages_1_is_answered_after_the_disk() {
    let broker = TestBroker::new();
    broker.create_topic("t", 1, &[("flush.messages", "1")]);
    for acks in [1, -1] {
        let answer = match produce(&broker, 9, produce_request("t", Uuid::nil(), 0, values(&["x"]), acks)) {
            Answer::Now(response) => response,
            answer => later(answer).await,
        };
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    let partition = broker.services.replicas.partition_by_name("t", 0).unwrap();
    assert_eq!(partition.log().recovery_point(), 2);
}

#[tokio::test]
async fn acks_all_waits_for_the_high_watermark_or_times_out() {
    let broker = TestBroker::new();
    broker.create_topic("t", 1, &[]);
    let partition = broker.services.replicas.partition_by_name("t", 0).unwrap();
    // A second replica is in sync and slow.
    partition.pretend_in_sync(2, 2);
    let request = |acks| produce_request("t", Uuid::nil(), 0, values(&["x"]), acks);
    assert_eq!(produced(&broker, 9, request(1)).error_code, 0, "acks=1 does not wait");
    let mut acknowledged = later(produce(&broker, 9, request(-1)));
    let mut late = later(produce(&broker, 9, request(-1)));
    assert!(waits(&mut acknowledged) && waits(&mut late));
    assert_eq!(partition.waiting(), (0, 2));
    broker.clock.advance(Duration::from_millis(1_000));
    let answer = late.await.responses[0].partition_responses[0].clone();
    assert_eq!((answer.error_code, answer.base_offset), (ResponseError::RequestTimedOut.code(), 2));
    assert_eq!(partition.waiting(), (0, 1));
    // It has caught up in the same instant: who is in time is answered well.
    partition.pretend_in_sync(2, 1);
    assert_eq!(acknowledged.await.responses[0].partition_responses[0].error_code, 0);
    assert_eq!((partition.waiting(), partition.high_watermark()), ((0, 0), 3));
}

#[test]
fn clients_of_the_wrong_broker_are_told_the_right_one() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 1, &[]);
    let services = broker.services_of_another_broker();
    let wrong = ResponseError::NotLeaderOrFollower.code();
    for version in [9, 10, 13] {
        let request = produce_request("t", id, 0, values(&["x"]), -1);
        let response = now(produce::handle(&services, &context(0, version), request));
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, wrong);
        let is_told = version >= 10;
        assert_eq!(answer.current_leader.leader_id.0, if is_told { 1 } else { -1 }, "v{version}");
        assert_eq!(response.node_endpoints.len(), usize::from(is_told));
    }
    for version in [11, 15, 16] {
        let request = fetch_request("t", id, vec![fetch_partition(0, 0)]);
        let Answer::Raw(response) = fetch::handle(&services, &context(1, version), request) else { panic!("it waits") };
        let response: FetchResponse = decode(&response, version);
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.error_code, wrong);
        assert_eq!(data.current_leader.leader_id.0, if version >= 16 { 1 } else { -1 }, "v{version}");
        let hosts: Vec<_> = response.node_endpoints.iter().map(|node| (node.host.as_str(), node.port)).collect();
        assert_eq!(hosts, if version >= 16 { vec![("broker-1", 9092)] } else { vec![] });
    }
}

fn list(broker: &TestBroker, version: i16, partition: i32, timestamp: i64) -> (i16, i64, i64) {
    let partition = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let response = now(list_offsets::handle(&broker.services, &context(2, version), request));
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.offset, answer.timestamp)
}

#[test]
fn offsets_are_listed_by_time_and_by_name() {
    let broker = TestBroker::new();
    broker.create_topic("t", 1, &[]);
    assert_eq!(list(&broker, 1, 0, -1), (0, 0, -1));
    append(&broker, 0, &["a", "b", "c"]);
    assert_eq!(list(&broker, 1, 0, -1), (0, 3, -1));
    assert_eq!(list(&broker, 1, 0, -2), (0, 0, -1));
    assert_eq!(list(&broker, 7, 0, -3), (0, 2, 1_700_000_000_002));
    assert_eq!(list(&broker, 6, 0, -3), (ResponseError::UnsupportedVersion.code(), -1, -1));
    assert_eq!(list(&broker, 1, 0, 1_700_000_000_001), (0, 1, 1_700_000_000_001));
    assert_eq!(list(&broker, 1, 0, 1_700_000_000_003), (0, -1, -1));
    let twice = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![twice]);
    let request = ListOffsetsRequest::default().with_topics(vec![topic.clone(), topic]);
    let response = now(list_offsets::handle(&broker.services, &context(2, 4), request));
    assert_eq!((response.topics.len(), response.topics[0].partitions.len()), (1, 1), "answered once");
    assert_eq!(response.topics[0].partitions[0].error_code, ResponseError::InvalidRequest.code());
    assert_eq!(list(&broker, 1, 7, -1), (ResponseError::UnknownTopicOrPartition.code(), -1, -1));
}

#[test]
fn records_are_deleted_and_the_rest_is_still_read() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 1, &[]);
    append(&broker, 0, &["a", "b"]);
    append(&broker, 0, &["c"]);
    let delete = |offset| {
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]);
        let response = now(delete_records::handle(&broker.services, &context(21, 2), request));
        let answer = &response.topics[0].partitions[0];
        (answer.error_code, answer.low_watermark)
    };
    assert_eq!(delete(2), (0, 2));
    assert_eq!(delete(9), (ResponseError::OffsetOutOfRange.code(), -1));
    let response = fetched(&broker, 11, fetch_request("t", id, vec![fetch_partition(0, 2)]));
    assert_eq!(partitions(&response), [(0, 0, 1)]);
    assert_eq!(response.responses[0].partitions[0].log_start_offset, 2);
    let response = fetched(&broker, 11, fetch_request("t", id, vec![fetch_partition(0, 1)]));
    assert_eq!(partitions(&response), [(0, ResponseError::OffsetOutOfRange.code(), 0)]);
}

#[test]
fn producers_and_log_directories_are_described() {
    let broker = TestBroker::new();
    broker.create_topic("t", 2, &[]);
    let mut properties = BatchProperties::default();
    (properties.producer_id, properties.producer_epoch, properties.base_sequence) = (77, 3, 0);
    let records = batch(properties, 1, &["x", "y"]);
    let size = records.len() as i64;
    assert_eq!(produced(&broker, 9, produce_request("t", Uuid::nil(), 1, records, -1)).error_code, 0);
    let topic = TopicRequest::default().with_name(topic_name("t")).with_partition_indexes(vec![0, 1]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let response = now(describe_producers::handle(&broker.services, &context(61, 0), request));
    let partitions = &response.topics[0].partitions;
    assert!(partitions[0].active_producers.is_empty());
    let producer = &partitions[1].active_producers[0];
    assert_eq!((producer.producer_id.0, producer.producer_epoch, producer.last_sequence), (77, 3, 1));
    assert_eq!(producer.current_txn_start_offset, -1);
    for (name, error) in [("u", ResponseError::UnknownTopicOrPartition), ("a b", ResponseError::InvalidTopicException)]
    {
        let topic = TopicRequest::default().with_name(topic_name(name)).with_partition_indexes(vec![0]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic]);
        let response = now(describe_producers::handle(&broker.services, &context(61, 0), request));
        let answer = &response.topics[0].partitions[0];
        assert_eq!((answer.error_code, answer.error_message.is_some()), (error.code(), true), "{name}");
    }
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let response = now(describe_log_dirs::handle(&broker.services, &context(35, 4), request));
    let directory = &response.results[0];
    assert_eq!((directory.error_code, directory.log_dir.as_str()), (0, "/data"));
    let sizes: Vec<_> = directory.topics[0].partitions.iter().map(|partition| partition.partition_size).collect();
    assert_eq!(sizes, [0, size]);
}

#[test]
fn a_large_session_answers_with_the_partition_that_has_news() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 300, &[]);
    let all = (0..300).map(|partition| fetch_partition(partition, 0)).collect();
    let open = in_session(fetch_request("", id, all), 0, 0).with_max_wait_ms(0);
    let session = fetched(&broker, 13, open).session_id;
    let idle = |epoch| in_session(fetch_request("", id, vec![]), session, epoch).with_max_wait_ms(0);
    fetched(&broker, 13, idle(1));
    append(&broker, 123, &["x"]);
    assert_eq!(partitions(&fetched(&broker, 13, idle(2))), [(123, 0, 1)]);
    let watched = (0..300).filter(|partition| {
        let partition = broker.services.replicas.partition_by_name("t", *partition).unwrap();
        partition.waiting().0 == 1
    });
    assert_eq!(watched.count(), 300);
    // Closing the session takes its watches out.
    fetched(&broker, 13, in_session(fetch_request("", id, vec![]), session, -1));
    let partition: Arc<_> = broker.services.replicas.partition_by_name("t", 5).unwrap();
    assert_eq!(partition.waiting().0, 0);
}

#[test]
fn an_unknown_isolation_level_is_refused_and_not_read_as_another() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 1, &[]);
    append(&broker, 0, &["one"]);
    let unknown = ResponseError::UnknownServerError.code();
    for level in [-1, 2] {
        for version in [4, 7, 12] {
            let request = fetch_request("t", Uuid::nil(), vec![fetch_partition(0, 0)]).with_isolation_level(level);
            let response = fetched(&broker, version, request);
            assert_eq!(partitions(&response), [(0, unknown, 0)], "v{version}");
            assert_eq!(response.error_code, if version >= 7 { unknown } else { 0 });
        }
        let response =
            fetched(&broker, 17, fetch_request("t", id, vec![fetch_partition(0, 0)]).with_isolation_level(level));
        assert_eq!((response.error_code, response.responses.len()), (unknown, 0));
        let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(-1);
        let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let answer = list_offsets::handle(&broker.services, &context(2, 7), request.with_isolation_level(level));
        let listed = now(answer).topics[0].partitions[0].clone();
        assert_eq!((listed.error_code, listed.offset), (unknown, -1));
    }
}

#[test]
fn a_follower_is_refused_by_its_epoch_and_is_told_no_endpoints() {
    let broker = TestBroker::new();
    let id = broker.create_topic("t", 1, &[]);
    append(&broker, 0, &["one"]);
    let epoch = broker.services.replicas.partition_by_name("t", 0).unwrap().leader_epoch();
    let asked = |replica: i32, epoch: i32| {
        let partition = fetch_partition(0, 0).with_current_leader_epoch(epoch);
        let mut request = fetch_request("t", id, vec![partition]);
        request.replica_state.replica_id = replica.into();
        fetched(&broker, 17, request)
    };
    let code = |response: &FetchResponse| response.responses[0].partitions[0].error_code;
    let without_epoch = asked(7, -1);
    assert_eq!(code(&without_epoch), ResponseError::NotLeaderOrFollower.code());
    assert!(without_epoch.node_endpoints.is_empty());
    assert_eq!(without_epoch.responses[0].partitions[0].current_leader.leader_epoch, epoch);
    assert_eq!(code(&asked(7, epoch)), ResponseError::UnknownLeaderEpoch.code());
    assert_eq!(code(&asked(7, epoch + 1)), ResponseError::UnknownLeaderEpoch.code());
    // Whatever is below zero is no epoch.
    assert_eq!(code(&asked(7, -2)), ResponseError::NotLeaderOrFollower.code());
    assert_eq!(code(&asked(-1, -2)), 0);
}
