//! read_committed through Fetch and ListOffsets: what is told at once and what after a wait is the same.
#![allow(clippy::disallowed_methods)]

use futures_util::FutureExt;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{FetchRequest, ListOffsetsRequest};

use super::*;
use crate::api::list_offsets;
use crate::api::test_services::{TestBroker, batch, context, decode, now, raw_later, topic_name, waits};
use crate::env::BoxFuture;
use crate::record::BatchProperties;
use crate::replica::{ACKS_ALL, LATEST_TIMESTAMP, Partition};
use crate::storage::AppendOrigin;
use crate::types::{EndTransactionMarker, TransactionResult, TransactionVersion};

const VERSIONS: [i16; 8] = [4, 5, 7, 11, 12, 13, 16, 18];
/// More bytes than a marker has.
const MANY: i32 = 150;

struct World {
    broker: TestBroker,
    topic_id: Uuid,
}

impl World {
    fn new() -> Self {
        let broker = TestBroker::new();
        let topic_id = broker.create_topic("t", 1, &[]);
        Self { broker, topic_id }
    }

    fn partition(&self) -> Arc<Partition> {
        self.broker.services.replicas.partition_by_name("t", 0).unwrap()
    }

    fn write(&self, producer_id: i64, sequence: i32) {
        let properties = BatchProperties {
            producer_id,
            producer_epoch: 0,
            base_sequence: sequence,
            is_transactional: true,
            ..BatchProperties::default()
        };
        let partition = self.partition();
        let guard = partition.maybe_start_transaction_verification(producer_id, 0, sequence, false).unwrap();
        let records = batch(properties, 1_700_000_000_000, &["one", "two"]);
        partition.append_records_to_leader(records, ACKS_ALL, AppendOrigin::Client, guard, 1_700_000_000_000).unwrap();
    }

    fn end(&self, producer_id: i64, result: TransactionResult) {
        let marker = EndTransactionMarker {
            producer_id,
            producer_epoch: 0,
            coordinator_epoch: 0,
            result,
            transaction_version: TransactionVersion::Tv1,
        };
        self.partition().append_end_transaction_marker(&marker, 1_700_000_000_000).unwrap();
    }

    fn request(&self, version: i16, offset: i64, min_bytes: i32, committed: bool) -> FetchRequest {
        let partition =
            FetchPartition::default().with_partition(0).with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic(topic_name("t"))
            .with_topic_id(if version >= TOPIC_ID_VERSION { self.topic_id } else { Uuid::nil() })
            .with_partitions(vec![partition]);
        FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(60_000)
            .with_min_bytes(min_bytes)
            .with_max_bytes(1 << 20)
            .with_isolation_level(i8::from(committed))
            .with_session_epoch(-1)
            .with_topics(vec![topic])
    }

    fn fetch(&self, version: i16, request: FetchRequest) -> Answer<FetchResponse> {
        handle(&self.broker.services, &context(1, version), request)
    }

    /// A read_committed fetch from the beginning that waits.
    fn waiting(&self, version: i16, min_bytes: i32) -> BoxFuture<'static, Response> {
        let mut waiting = raw_later(self.fetch(version, self.request(version, 0, min_bytes, true)));
        assert!(waits(&mut waiting));
        waiting
    }

    fn at_once(&self, version: i16, offset: i64, committed: bool) -> PartitionData {
        match self.fetch(version, self.request(version, offset, 1, committed)) {
            Answer::Raw(response) => data(&response, version),
            _ => panic!("the fetch waits"),
        }
    }

    fn latest(&self, version: i16, isolation_level: i8) -> i64 {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(0)
            .with_timestamp(LATEST_TIMESTAMP)
            .with_current_leader_epoch(-1);
        let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_isolation_level(isolation_level)
            .with_topics(vec![topic]);
        let response = now(list_offsets::handle(&self.broker.services, &context(2, version), request));
        response.topics[0].partitions[0].offset
    }
}

fn data(response: &Response, version: i16) -> PartitionData {
    let response: FetchResponse = decode(response, version);
    response.responses[0].partitions[0].clone()
}

/// Producer and first offset of what a consumer has to leave out; `None`: nothing was said of it.
fn aborted(data: &PartitionData) -> Option<Vec<(i64, i64)>> {
    let aborted = data.aborted_transactions.as_ref()?;
    Some(aborted.iter().map(|one| (one.producer_id.0, one.first_offset)).collect())
}

use TransactionResult::{Abort, Commit};

/// KAFKA-5376: fetches that had waited were answered without the aborted transactions. One path reads for both.
#[test]
fn k_5376_delayed_fetches_tell_of_aborted_transactions() {
    for version in VERSIONS {
        for min_bytes in [1, MANY] {
            let world = World::new();
            let mut waiting = world.waiting(version, min_bytes);
            world.write(1, 0);
            world.write(2, 0);
            assert!(waits(&mut waiting), "nothing is decided");
            world.end(2, Abort);
            assert!(waits(&mut waiting), "the older transaction is open");
            world.write(1, 2);
            assert!(waits(&mut waiting));
            world.end(1, Commit);
            let late = data(&waiting.now_or_never().expect("woken by the marker"), version);
            assert_eq!(aborted(&late), Some(vec![(2, 2)]), "v{version} {min_bytes}");
            assert_eq!((late.high_watermark, late.last_stable_offset), (8, 8));
            // The same as for who comes now.
            assert_eq!(late, world.at_once(version, 0, true));
            assert_eq!(aborted(&world.at_once(version, 0, false)), None);
            assert_eq!(aborted(&world.at_once(version, 5, true)), Some(Vec::new()));
        }
    }
}

/// A session's fetch is woken by the marker, too, and hears of a partition that only a marker has changed.
#[test]
fn sessions_see_what_a_marker_has_decided() {
    let world = World::new();
    let open = world.request(13, 0, 1, true).with_session_epoch(0).with_max_wait_ms(0);
    let Answer::Raw(opened) = world.fetch(13, open) else { panic!("waits") };
    let opened: FetchResponse = decode(&opened, 13);
    world.write(1, 0);
    let next = |epoch| {
        let request = world.request(13, 0, MANY, true).with_topics(Vec::new());
        world.fetch(13, request.with_session_id(opened.session_id).with_session_epoch(epoch))
    };
    let mut waiting = raw_later(next(1));
    assert!(waits(&mut waiting));
    world.end(1, Abort);
    let late = data(&waiting.now_or_never().expect("woken by the marker"), 13);
    assert_eq!((aborted(&late), late.last_stable_offset), (Some(vec![(1, 0)]), 3));
}

/// A transaction is over for readers when its marker is committed, and not when it is written.
#[test]
fn a_marker_above_the_high_watermark_decides_nothing() {
    let world = World::new();
    world.write(1, 0);
    let mut waiting = world.waiting(13, 1);
    world.partition().pretend_in_sync(2, 2);
    world.end(1, Commit);
    assert!(waits(&mut waiting));
    let log = world.partition().log().clone();
    assert_eq!((log.high_watermark(), log.last_stable_offset(), log.log_end_offset()), (2, 0, 3));
    assert_eq!((world.latest(7, 1), world.latest(7, 0)), (0, 2));
    world.partition().pretend_in_sync(1, 1);
    let late = data(&waiting.now_or_never().expect("woken by the high watermark"), 13);
    assert_eq!((late.last_stable_offset, late.high_watermark), (3, 3));
    assert_eq!((world.latest(7, 1), world.latest(7, 0)), (3, 3));
}

#[test]
fn the_latest_offset_is_the_last_stable_one_for_who_reads_what_is_committed() {
    let world = World::new();
    world.write(1, 0);
    world.write(2, 0);
    for version in [2, 5, 10] {
        assert_eq!((world.latest(version, 1), world.latest(version, 0)), (0, 4), "v{version}");
    }
    world.end(1, Commit);
    assert_eq!((world.latest(10, 1), world.latest(10, 0)), (2, 5));
    let stopped = world.at_once(13, 0, true);
    assert_eq!((stopped.last_stable_offset, stopped.high_watermark), (2, 5));
    world.end(2, Abort);
    assert_eq!(world.latest(10, 1), 6);
}
