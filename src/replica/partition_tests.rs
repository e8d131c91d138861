//! Tests of one partition: acknowledgements, wake-ups, reads, epochs.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use futures_util::FutureExt;

use super::*;
use crate::config::BrokerConfig;
use crate::env::{Env, ManualClock};
use crate::record::{BATCH_HEADER_SIZE, BatchBuilder, BatchProperties, CRC_OFFSET, CompressionType};
use crate::replica::{EARLIEST_TIMESTAMP, LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, MAX_TIMESTAMP};
use crate::storage::{LogDirectory, LogOptions, StorageError};
use crate::types::{TransactionResult, TransactionVersion};

fn batch(records: i32, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new(BatchProperties::default());
    for number in 0..records {
        builder.append(timestamp + i64::from(number), Some(b"key"), Some(b"value"), &[]).unwrap();
    }
    builder.build()
}

/// A batch whose header and checksum are right and whose compressed records are garbage.
fn garbage() -> Bytes {
    let properties = BatchProperties { compression: CompressionType::Zstd.into(), ..BatchProperties::default() };
    let mut builder = BatchBuilder::new(properties);
    builder.append(1_000, None, Some(&[b'v'; 100]), &[]).unwrap();
    let mut bytes = builder.build().to_vec();
    bytes[BATCH_HEADER_SIZE..].fill(b'g');
    let crc = crc32c::crc32c(&bytes[CRC_OFFSET + 4..]);
    bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

#[test]
fn compressed_records_are_looked_at_where_the_broker_is_told_to() {
    let partition = leader();
    let append = || {
        let (origin, guard) = (AppendOrigin::Client, VerificationGuard::NONE);
        partition.append_records_to_leader(garbage(), ACKS_ALL, origin, guard, 1_000_000).map(|done| done.base_offset)
    };
    assert_eq!(append().unwrap(), 0);
    let properties = BTreeMap::from([("ottla.validate.compressed.batches".to_owned(), "true".to_owned())]);
    let strict = LogConfig::from_overrides(&BrokerConfig::new(properties).unwrap(), &BTreeMap::new()).unwrap();
    partition.update_config(Arc::new(strict));
    assert!(matches!(append(), Err(ReplicaError::Validation(_))));
    partition.update_config(Arc::new(LogConfig::default()));
    assert_eq!(append().unwrap(), 1);
}

/// What a batch becomes is bound by the memory that there is.
#[test]
fn a_batch_may_become_half_of_the_memory() {
    let value = vec![b'v'; 600_000];
    let properties = BatchProperties { compression: CompressionType::Zstd.into(), ..BatchProperties::default() };
    let mut builder = BatchBuilder::new(properties);
    builder.append(1_000_000, Some(b"key"), Some(&value), &[]).unwrap();
    let batch = builder.build();
    let partition = partition_with(&[("cleanup.policy", "compact")]);
    partition.make_leader(5, 1, 1).unwrap();
    let append = || {
        let (origin, guard) = (AppendOrigin::Client, VerificationGuard::NONE);
        partition.append_records_to_leader(batch.clone(), ACKS_ALL, origin, guard, 1_000_000)
    };
    assert_eq!(append().unwrap().base_offset, 0);
    let memory = partition.log().log_directory().memory();
    memory.set_process_bytes(1 << 20);
    partition.update_config(partition.log().config());
    let refused = append().map(|done| done.base_offset);
    assert!(
        matches!(refused, Err(ReplicaError::Validation(crate::record::ValidationError::MessageTooLarge(_)))),
        "{refused:?}"
    );
    assert_eq!(memory.work(), 0);
}

fn partition_with(overrides: &[(&str, &str)]) -> Arc<Partition> {
    let env = Env::simulated(ManualClock::new(1_000_000), 1);
    env.disk.create_dir_all("/data".as_ref()).unwrap();
    let directory = LogDirectory::new(env, "/data", Uuid::nil(), 100);
    let broker = BrokerConfig::new(BTreeMap::new()).unwrap();
    let overrides = overrides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config = LogConfig::from_overrides(&broker, &overrides).unwrap();
    let topic_partition = TopicPartition::new("t", 0);
    let log = Log::open(LogOptions::new(directory, topic_partition.clone(), Arc::new(config))).unwrap();
    Partition::new(topic_partition, Uuid::from_u128(7), log, Arc::default())
}

fn leader() -> Arc<Partition> {
    let partition = partition_with(&[]);
    partition.make_leader(5, 1, 1).unwrap();
    partition
}

fn append(partition: &Partition, records: i32) -> AppendResult {
    partition
        .append_records_to_leader(
            batch(records, 1_000),
            ACKS_ALL,
            AppendOrigin::Client,
            VerificationGuard::NONE,
            1_000_000,
        )
        .unwrap()
}

fn read_request(fetch_offset: i64) -> ReadRequest {
    ReadRequest {
        fetch_offset,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        max_bytes: 1 << 20,
        isolation: FetchIsolation::HighWatermark,
        min_one_message: true,
    }
}

#[test]
fn an_append_is_committed_at_once_while_the_in_sync_set_is_this_broker() {
    let partition = leader();
    let appended = append(&partition, 3);
    assert_eq!((appended.base_offset, appended.last_offset, appended.log_append_time), (0, 2, -1));
    assert_eq!(partition.high_watermark(), 3);
    assert!(matches!(partition.committed(3).now(), Some(Ok(()))));
    assert_eq!(partition.waiting(), (0, 0));
    assert_eq!(partition.append_coordinator_records(batch(2, 5), VerificationGuard::NONE, 9).unwrap(), 5);
}

#[test]
fn only_the_leader_appends() {
    let partition = partition_with(&[]);
    let refused = partition.append_records_to_leader(batch(1, 1), 1, AppendOrigin::Client, VerificationGuard::NONE, 1);
    assert!(matches!(refused, Err(ReplicaError::NotLeaderOrFollower(_))));
    partition.make_leader(0, 1, 1).unwrap();
    append(&partition, 1);
    partition.resign();
    assert!(matches!(
        partition.append_coordinator_records(batch(1, 1), VerificationGuard::NONE, 1),
        Err(ReplicaError::NotLeaderOrFollower(_))
    ));
    assert!(matches!(partition.read(&read_request(0)), Err(ReplicaError::NotLeaderOrFollower(_))));
}

#[test]
fn min_insync_replicas_counts_for_acks_all_only_and_never_above_the_replicas() {
    let partition = partition_with(&[("min.insync.replicas", "2")]);
    partition.make_leader(0, 1, 1).unwrap();
    assert_eq!(partition.effective_min_in_sync_replicas(), 1);
    append(&partition, 1);
    partition.make_leader(0, 3, 1).unwrap();
    assert_eq!(partition.effective_min_in_sync_replicas(), 2);
    let refused =
        partition.append_records_to_leader(batch(1, 1), ACKS_ALL, AppendOrigin::Client, VerificationGuard::NONE, 1);
    assert!(matches!(refused, Err(ReplicaError::NotEnoughReplicas { in_sync: 1, required: 2, .. })));
    partition.append_records_to_leader(batch(1, 1), 1, AppendOrigin::Client, VerificationGuard::NONE, 1).unwrap();
}

#[tokio::test]
async fn a_waiter_for_the_high_watermark_completes_when_it_comes_by() {
    let partition = leader();
    // Two replicas in sync: the high watermark waits for the other one, which a test may play.
    partition.make_leader(5, 2, 2).unwrap();
    append(&partition, 2);
    assert_eq!(partition.high_watermark(), 0);
    let mut first = partition.committed(2);
    let mut given_up = partition.committed(2);
    assert!((&mut first).now_or_never().is_none() && (&mut given_up).now_or_never().is_none());
    assert_eq!(partition.waiting(), (0, 2));
    drop(given_up);
    assert_eq!(partition.waiting(), (0, 1));
    partition.make_leader(5, 2, 1).unwrap();
    first.await.unwrap();
    assert_eq!(partition.waiting(), (0, 0));
}

#[tokio::test]
async fn a_waiter_hears_that_leadership_is_gone() {
    let partition = leader();
    partition.make_leader(5, 2, 2).unwrap();
    append(&partition, 1);
    let mut waiting = partition.committed(1);
    assert!((&mut waiting).now_or_never().is_none());
    partition.stop();
    assert!(matches!(waiting.await, Err(ReplicaError::NotLeaderOrFollower(_))));
    assert!(matches!(partition.committed(1).now(), Some(Err(ReplicaError::NotLeaderOrFollower(_)))));
}

#[tokio::test]
async fn an_append_wakes_the_fetches_of_its_partition_when_there_is_enough() {
    let (partition, other) = (leader(), leader());
    let watcher = FetchWatcher::new();
    let watches = [partition.watch(&watcher, 0), other.watch(&watcher, 1)];
    let size = batch(1, 1_000).len() as u64;
    assert!(watcher.arm(2 * size));
    let mut ready = Box::pin(watcher.ready());
    append(&partition, 1);
    assert!((&mut ready).now_or_never().is_none());
    append(&other, 1);
    assert!((&mut ready).now_or_never().is_some());
    assert_eq!((partition.waiting().0, other.waiting().0), (1, 1));
    drop(watches);
    assert_eq!((partition.waiting().0, other.waiting().0), (0, 0));
}

#[tokio::test]
async fn a_removed_partition_wakes_its_fetches() {
    let partition = leader();
    let watcher = FetchWatcher::new();
    let _watch = partition.watch(&watcher, 0);
    assert!(watcher.arm(1_000_000));
    partition.stop();
    watcher.ready().await;
    assert!(partition.is_stopped());
}

#[test]
fn a_repeated_idempotent_batch_gets_its_first_offsets_and_wakes_nobody() {
    let partition = leader();
    let mut properties = BatchProperties::default();
    (properties.producer_id, properties.producer_epoch, properties.base_sequence) = (9, 0, 0);
    let mut builder = BatchBuilder::new(properties);
    builder.append(1, None, Some(b"x"), &[]).unwrap();
    let records = builder.build();
    let append = || {
        partition
            .append_records_to_leader(records.clone(), ACKS_ALL, AppendOrigin::Client, VerificationGuard::NONE, 5)
            .unwrap()
    };
    assert!(!append().duplicate);
    let again = append();
    assert!(again.duplicate);
    assert_eq!((again.base_offset, partition.log_end_offset()), (0, 1));
    assert_eq!(partition.active_producers().len(), 1);
}

#[test]
fn reads_are_fenced_by_leader_epoch() {
    let partition = leader();
    append(&partition, 1);
    let read = |current_leader_epoch| partition.read(&ReadRequest { current_leader_epoch, ..read_request(0) });
    assert!(matches!(read(4), Err(ReplicaError::FencedLeaderEpoch { requested: 4, current: 5 })));
    assert!(matches!(read(6), Err(ReplicaError::UnknownLeaderEpoch { requested: 6, current: 5 })));
    assert!(read(5).unwrap().records.is_some());
}

#[test]
fn reads_outside_the_log_are_out_of_range_and_the_end_is_empty() {
    let partition = leader();
    append(&partition, 2);
    let at_end = partition.read(&read_request(2)).unwrap();
    assert!(at_end.records.is_none());
    assert_eq!((at_end.high_watermark, at_end.log_start_offset, at_end.last_stable_offset), (2, 0, 2));
    for offset in [-1, 3] {
        let refused = partition.read(&read_request(offset));
        assert!(matches!(refused, Err(ReplicaError::Storage(StorageError::OffsetOutOfRange { .. }))));
    }
}

#[test]
fn a_reader_from_another_history_is_told_where_it_left_this_one() {
    let partition = leader();
    append(&partition, 2);
    let result = partition.read(&ReadRequest { last_fetched_epoch: 5, ..read_request(2) }).unwrap();
    assert_eq!(result.diverging_epoch, None);
    partition.make_leader(8, 1, 1).unwrap();
    append(&partition, 1);
    let result = partition.read(&ReadRequest { last_fetched_epoch: 6, ..read_request(3) }).unwrap();
    assert_eq!(result.diverging_epoch, Some((5, 2)));
    assert_eq!(partition.last_offset_for_leader_epoch(8, 5).unwrap(), (5, 2));
    assert_eq!(partition.last_offset_for_leader_epoch(-1, 8).unwrap(), (8, 3));
    assert_eq!(partition.last_offset_for_leader_epoch(-1, 9).unwrap(), (-1, -1));
}

#[test]
fn special_timestamps() {
    let partition = leader();
    append(&partition, 3);
    let list = |timestamp| partition.list_offset(timestamp, Some(FetchIsolation::HighWatermark), -1).unwrap();
    let listed = |timestamp, offset, leader_epoch| Some(ListedOffset { timestamp, offset, leader_epoch });
    assert_eq!(list(LATEST_TIMESTAMP), listed(-1, 3, Some(5)));
    assert_eq!(list(EARLIEST_TIMESTAMP), listed(-1, 0, Some(5)));
    assert_eq!(list(LATEST_TIERED_TIMESTAMP), listed(-1, -1, Some(-1)));
    assert_eq!(list(MAX_TIMESTAMP), listed(1_002, 2, Some(5)));
    assert_eq!(list(1_001), listed(1_001, 1, Some(5)));
    assert_eq!(list(1_003), None);
}

#[test]
fn delete_records_moves_the_start() {
    let partition = leader();
    append(&partition, 4);
    assert_eq!(partition.delete_records(2).unwrap(), 2);
    assert_eq!(partition.delete_records(1).unwrap(), 2, "the start never goes back");
    assert!(matches!(partition.delete_records(5), Err(ReplicaError::OffsetOutOfRange(_))));
    assert!(matches!(partition.delete_records(-2), Err(ReplicaError::OffsetOutOfRange(_))));
    assert_eq!(partition.delete_records(-1).unwrap(), 4);
    let compacted = partition_with(&[("cleanup.policy", "compact")]);
    compacted.make_leader(0, 1, 1).unwrap();
    assert!(matches!(compacted.delete_records(-1), Err(ReplicaError::PolicyViolation(_))));
}

#[test]
fn validation_follows_the_topic_s_configuration() {
    let partition = partition_with(&[("cleanup.policy", "compact"), ("compression.type", "lz4")]);
    let rules = partition.rules.load();
    assert!(rules.compacted);
    assert_eq!(rules.compression.map(|compression| compression.codec), Some(CompressionType::Lz4));
    partition.make_leader(0, 1, 1).unwrap();
    let mut builder = BatchBuilder::new(BatchProperties::default());
    builder.append(1, None, Some(b"no key"), &[]).unwrap();
    let refused =
        partition.append_records_to_leader(builder.build(), 1, AppendOrigin::Client, VerificationGuard::NONE, 1);
    assert!(matches!(refused, Err(ReplicaError::Validation(ValidationError::InvalidRecords { .. }))));
}

#[test]
fn a_transaction_begins_verified_and_ends_with_a_marker() {
    let partition = leader();
    let transactional = |base_sequence| {
        let properties = BatchProperties {
            producer_id: 9,
            producer_epoch: 2,
            base_sequence,
            is_transactional: true,
            ..BatchProperties::default()
        };
        let mut builder = BatchBuilder::new(properties);
        builder.append(1_000, None, Some(b"v"), &[]).unwrap();
        builder.build()
    };
    let write = |sequence, guard| {
        partition.append_records_to_leader(transactional(sequence), ACKS_ALL, AppendOrigin::Client, guard, 1_000_000)
    };
    let unverified = write(0, VerificationGuard::NONE);
    assert!(matches!(unverified, Err(ReplicaError::Storage(StorageError::InvalidTransactionState(_)))));
    let guard = partition.maybe_start_transaction_verification(9, 2, 0, false).unwrap();
    write(0, guard).unwrap();
    assert!(partition.maybe_start_transaction_verification(9, 2, 1, false).unwrap().is_none());
    assert_eq!(partition.append_coordinator_records(transactional(1), VerificationGuard::NONE, 9).unwrap(), 2);
    assert_eq!((partition.high_watermark(), partition.log().last_stable_offset()), (2, 0));
    let marker = EndTransactionMarker {
        producer_id: 9,
        producer_epoch: 3,
        coordinator_epoch: 1,
        result: TransactionResult::Commit,
        transaction_version: TransactionVersion::Tv2,
    };
    let ended = partition.append_end_transaction_marker(&marker, 1_000_000).unwrap();
    assert_eq!((ended.base_offset, partition.log().last_stable_offset()), (2, 3));
    // The next transaction, as yet empty.
    let first = partition.maybe_start_transaction_verification(9, 3, 0, true).unwrap();
    assert!(!first.is_none());
    partition.resign();
    assert!(matches!(partition.append_end_transaction_marker(&marker, 1), Err(ReplicaError::NotLeaderOrFollower(_))));
    let refused = partition.maybe_start_transaction_verification(9, 3, 0, true);
    assert!(matches!(refused, Err(ReplicaError::NotLeaderOrFollower(_))));
}
