//! A read_committed fetch that waited says the same as one that did not: records, and which of them were aborted.

use futures_util::FutureExt;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};

use super::*;
use crate::api::test_services::{TestBroker, batch, context, decode, raw_later, waits};
use crate::record::{BatchHeader, BatchProperties};
use crate::replica::{ACKS_ALL, Partition};
use crate::storage::AppendOrigin;
use crate::types::{EndTransactionMarker, TransactionResult, TransactionVersion};

const PRODUCER_ID: i64 = 7;

/// A batch of the producer's transaction.
fn write(broker: &TestBroker, partition: &Partition, sequence: i32) {
    let guard = partition.maybe_start_transaction_verification(PRODUCER_ID, 0, sequence, false).expect("leads");
    let properties = BatchProperties {
        producer_id: PRODUCER_ID,
        producer_epoch: 0,
        base_sequence: sequence,
        is_transactional: true,
        ..BatchProperties::default()
    };
    let now = broker.services.env.clock.wall_millis();
    let (batch, origin) = (batch(properties, now, &["a", "b"]), AppendOrigin::Client);
    partition.append_records_to_leader(batch, ACKS_ALL, origin, guard, now).expect("appended");
}

fn end(broker: &TestBroker, partition: &Partition, result: TransactionResult) {
    let marker = EndTransactionMarker {
        producer_id: PRODUCER_ID,
        producer_epoch: 0,
        coordinator_epoch: 0,
        result,
        transaction_version: TransactionVersion::Tv1,
    };
    partition.append_end_transaction_marker(&marker, broker.services.env.clock.wall_millis()).expect("appended");
}

/// From offset 0, read_committed; opens a session unless it has one.
fn request(topic_id: Uuid, session: Option<(i32, i32)>) -> FetchRequest {
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic_id(topic_id).with_partitions(vec![partition]);
    let (session_id, epoch) = session.unwrap_or((0, -1));
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(1)
        .with_max_wait_ms(3_600_000)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_id(session_id)
        .with_session_epoch(epoch)
        .with_topics(vec![topic])
}

fn ask(broker: &TestBroker, request: FetchRequest) -> Answer<FetchResponse> {
    handle(&broker.services, &context(1, 13), request)
}

/// Records after the header of the first batch, and the aborted transactions as (producer, first offset).
fn content(response: &FetchResponse) -> (i32, Vec<(i64, i64)>) {
    let data = &response.responses[0].partitions[0];
    let header = BatchHeader::parse(data.records.as_deref().unwrap_or_default()).expect("a batch");
    let aborted = data.aborted_transactions.as_deref().unwrap_or_default();
    (header.record_count, aborted.iter().map(|found| (*found.producer_id, found.first_offset)).collect())
}

#[test]
fn kafka_5376_a_fetch_that_waited_knows_what_was_aborted() {
    let broker = TestBroker::new();
    let topic_id = broker.create_topic("t", 1, &[]);
    let partition = broker.services.replicas.partition_by_name("t", 0).expect("here");
    write(&broker, &partition, 0);
    let mut waiting = raw_later(ask(&broker, request(topic_id, None)));
    assert!(waits(&mut waiting), "everything is undecided");
    end(&broker, &partition, TransactionResult::Abort);
    let waited: FetchResponse = decode(&waiting.now_or_never().expect("woken by the marker"), 13);
    assert_eq!(content(&waited), (2, vec![(PRODUCER_ID, 0)]));
    let Answer::Raw(direct) = ask(&broker, request(topic_id, None)) else { panic!("there is something to read") };
    let direct: FetchResponse = decode(&direct, 13);
    assert_eq!(direct.responses, waited.responses);
}

#[test]
fn a_session_that_waited_knows_what_was_aborted() {
    let broker = TestBroker::new();
    let topic_id = broker.create_topic("t", 1, &[]);
    let partition = broker.services.replicas.partition_by_name("t", 0).expect("here");
    write(&broker, &partition, 0);
    let opening = request(topic_id, Some((0, 0))).with_max_wait_ms(0);
    let Answer::Raw(opened) = ask(&broker, opening) else { panic!("does not wait") };
    let opened: FetchResponse = decode(&opened, 13);
    let going_on = request(topic_id, Some((opened.session_id, 1))).with_topics(Vec::new());
    let mut waiting = raw_later(ask(&broker, going_on));
    assert!(waits(&mut waiting), "everything is undecided");
    end(&broker, &partition, TransactionResult::Abort);
    let waited: FetchResponse = decode(&waiting.now_or_never().expect("woken by the marker"), 13);
    assert_eq!(content(&waited), (2, vec![(PRODUCER_ID, 0)]));
}
