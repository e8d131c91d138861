//! Markers through the handler: codes, epochs, and what readers see.
#![allow(clippy::disallowed_methods)]

use futures_util::FutureExt;
use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::write_txn_markers_request::WritableTxnMarkerTopic;

use super::*;
use crate::api::describe_producers;
use crate::api::test_services::{TestBroker, batch, context, later, now, topic_name, waits};
use crate::record::BatchProperties;
use crate::replica::{ACKS_ALL, Partition};
use crate::storage::AppendOrigin;
use crate::types::GROUP_METADATA_TOPIC_NAME;

const PRODUCER: i64 = 77;

fn marker(epoch: i16, coordinator_epoch: i32, commit: bool, topics: &[(&str, &[i32])]) -> WritableTxnMarker {
    let topics = topics.iter().map(|(name, partitions)| {
        WritableTxnMarkerTopic::default().with_name(topic_name(name)).with_partition_indexes(partitions.to_vec())
    });
    WritableTxnMarker::default()
        .with_producer_id(PRODUCER.into())
        .with_producer_epoch(epoch)
        .with_coordinator_epoch(coordinator_epoch)
        .with_transaction_result(commit)
        .with_topics(topics.collect())
}

fn ask(broker: &TestBroker, markers: Vec<WritableTxnMarker>) -> Answer<WriteTxnMarkersResponse> {
    let request = WriteTxnMarkersRequest::default().with_markers(markers);
    handle(&broker.services, &context(27, 1), request)
}

/// Topic, partition, error code.
fn codes(response: &WriteTxnMarkersResponse) -> Vec<(String, i32, i16)> {
    let topics = response.markers.iter().flat_map(|marker| &marker.topics);
    let partitions = topics.flat_map(|topic| {
        let name = topic.name.as_str().to_owned();
        topic.partitions.iter().map(move |partition| (name.clone(), partition.partition_index, partition.error_code))
    });
    partitions.collect()
}

fn written(broker: &TestBroker, markers: Vec<WritableTxnMarker>) -> Vec<(String, i32, i16)> {
    codes(&later(ask(broker, markers)).now_or_never().expect("committed at once"))
}

fn code_of(broker: &TestBroker, marker: WritableTxnMarker) -> i16 {
    written(broker, vec![marker])[0].2
}

fn partition(broker: &TestBroker, index: i32) -> Arc<Partition> {
    broker.services.replicas.partition_by_name("t", index).unwrap()
}

/// Writes a batch of a transaction.
fn write(broker: &TestBroker, index: i32, epoch: i16, sequence: i32) {
    let partition = partition(broker, index);
    let properties = BatchProperties {
        producer_id: PRODUCER,
        producer_epoch: epoch,
        base_sequence: sequence,
        is_transactional: true,
        ..BatchProperties::default()
    };
    let guard = partition.maybe_start_transaction_verification(PRODUCER, epoch, sequence, false).unwrap();
    let records = batch(properties, 1_700_000_000_000, &["x"]);
    partition.append_records_to_leader(records, ACKS_ALL, AppendOrigin::Client, guard, 1_700_000_000_000).unwrap();
}

#[test]
fn markers_end_transactions_on_every_partition_that_is_here() {
    let broker = TestBroker::new();
    broker.create_topic("t", 2, &[]);
    write(&broker, 0, 3, 0);
    write(&broker, 1, 3, 0);
    assert_eq!(partition(&broker, 1).log().last_stable_offset(), 0);
    // A partition is written to once, however often it is named.
    let answer = written(&broker, vec![marker(3, 5, false, &[("t", &[0, 1, 0, 9]), ("nowhere", &[0])])]);
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let name = |name: &str| name.to_owned();
    assert_eq!(answer, [(name("t"), 0, 0), (name("t"), 1, 0), (name("t"), 9, unknown), (name("nowhere"), 0, unknown)]);
    for index in [0, 1] {
        assert_eq!(
            (partition(&broker, index).log_end_offset(), partition(&broker, index).log().last_stable_offset()),
            (2, 2)
        );
    }
    assert!(now(ask(&broker, Vec::new())).markers.is_empty());
}

#[test]
fn old_epochs_of_producer_and_coordinator_are_refused() {
    let broker = TestBroker::new();
    broker.create_topic("t", 1, &[]);
    write(&broker, 0, 3, 0);
    let one = [("t", &[0][..])];
    assert_eq!(code_of(&broker, marker(2, 5, true, &one)), ResponseError::InvalidProducerEpoch.code());
    assert_eq!(code_of(&broker, marker(3, 5, true, &one)), 0);
    assert_eq!(code_of(&broker, marker(3, 4, true, &one)), ResponseError::TransactionCoordinatorFenced.code());
    // The same again is what a coordinator does that was restarted.
    assert_eq!(code_of(&broker, marker(3, 5, true, &one)), 0);
    assert_eq!(partition(&broker, 0).log_end_offset(), 3);
}

/// Found by the state table against Apache Kafka: a batch of a producer without an epoch must not get into the log.
#[test]
fn a_marker_without_an_identity_is_refused() {
    let broker = TestBroker::new();
    broker.create_topic("t", 1, &[]);
    let one = [("t", &[0][..])];
    let unknown = ResponseError::UnknownServerError.code();
    assert_eq!(code_of(&broker, marker(-1, 0, false, &one)), unknown);
    assert_eq!(code_of(&broker, marker(0, 0, false, &one).with_producer_id((-1).into())), unknown);
    assert_eq!(partition(&broker, 0).log_end_offset(), 0);
}

#[test]
fn results_of_one_producer_come_together() {
    let broker = TestBroker::new();
    broker.create_topic("t", 2, &[]);
    let request = vec![marker(0, 1, true, &[("t", &[0])]), marker(0, 1, true, &[("t", &[1])])];
    let response = later(ask(&broker, request)).now_or_never().unwrap();
    assert_eq!(response.markers.len(), 1);
    assert_eq!(codes(&response).len(), 2);
}

#[test]
fn the_answer_waits_for_the_commit_and_not_for_ever() {
    let broker = TestBroker::new();
    broker.create_topic("t", 1, &[]);
    partition(&broker, 0).pretend_in_sync(2, 2);
    let mut answer = later(ask(&broker, vec![marker(0, 1, true, &[("t", &[0])])]));
    assert!(waits(&mut answer));
    broker.clock.advance(Duration::from_millis(30_000));
    let response = answer.now_or_never().expect("request.timeout.ms is over");
    assert_eq!(codes(&response)[0].2, ResponseError::RequestTimedOut.code());
}

/// Also without a broker's own coordinator: the group shard is asked, and says when it is not there.
#[test]
fn markers_of_offsets_go_through_the_group_coordinator() {
    let broker = TestBroker::new();
    broker.create_topic(GROUP_METADATA_TOPIC_NAME, 1, &[]);
    let offsets = broker.services.replicas.partition_by_name(GROUP_METADATA_TOPIC_NAME, 0).unwrap();
    let before = offsets.log_end_offset();
    assert_eq!(code_of(&broker, marker(0, 1, true, &[(GROUP_METADATA_TOPIC_NAME, &[0])])), 0);
    assert_eq!(offsets.log_end_offset(), before + 1);
    assert_eq!(
        code_of(&broker, marker(1, 0, true, &[(GROUP_METADATA_TOPIC_NAME, &[0])])),
        ResponseError::TransactionCoordinatorFenced.code()
    );
    broker.services.groups.shutdown();
    assert_eq!(
        code_of(&broker, marker(1, 1, true, &[(GROUP_METADATA_TOPIC_NAME, &[0])])),
        ResponseError::NotLeaderOrFollower.code()
    );
}

#[test]
fn describe_producers_shows_open_transactions_and_their_end() {
    let broker = TestBroker::new();
    broker.create_topic("t", 1, &[]);
    write(&broker, 0, 3, 0);
    write(&broker, 0, 3, 1);
    let producer = || {
        let topic = TopicRequest::default().with_name(topic_name("t")).with_partition_indexes(vec![0]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic]);
        let response = now(describe_producers::handle(&broker.services, &context(61, 0), request));
        let producer = &response.topics[0].partitions[0].active_producers[0];
        let seen = (producer.producer_epoch, producer.last_sequence, producer.coordinator_epoch);
        (seen, producer.current_txn_start_offset, producer.last_timestamp)
    };
    assert_eq!(producer(), ((3, 1, -1), 0, 1_700_000_000_000));
    broker.clock.advance(Duration::from_millis(7));
    assert_eq!(code_of(&broker, marker(3, 5, true, &[("t", &[0])])), 0);
    assert_eq!(producer(), ((3, 1, 5), -1, 1_700_000_000_007));
}
