//! Who may begin and who may end a transaction: the guard of KIP-890 and the rules for markers.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;

use bytes::Bytes;

use super::log_tests::{World, append, batch, sequenced};
use crate::record::{BatchProperties, TimestampType, ValidatedBatch, end_transaction_marker, marker_batch};
use crate::storage::*;
use crate::types::{EndTransactionMarker, TransactionResult, TransactionVersion, VerificationGuard};

const PRODUCER: i64 = 9;

fn transactional(producer_epoch: i16, base_sequence: i32) -> Bytes {
    let properties = BatchProperties {
        producer_id: PRODUCER,
        producer_epoch,
        base_sequence,
        is_transactional: true,
        ..BatchProperties::default()
    };
    batch(properties, 1, 100)
}

fn start(log: &Log, epoch: i16, sequence: i32) -> VerificationGuard {
    log.maybe_start_transaction_verification(PRODUCER, epoch, sequence, false).unwrap()
}

fn start_v2(log: &Log, epoch: i16, sequence: i32) -> VerificationGuard {
    log.maybe_start_transaction_verification(PRODUCER, epoch, sequence, true).unwrap()
}

fn write_as(
    log: &Arc<Log>,
    batch: Bytes,
    origin: AppendOrigin,
    guard: VerificationGuard,
) -> StorageResult<LogAppendInfo> {
    let terms = AppendTerms { guard, ..AppendTerms::new(0, origin, 7) };
    log.append_as_leader(ValidatedBatch::from_trusted(batch).unwrap(), &terms)
}

fn write(log: &Arc<Log>, batch: Bytes, guard: VerificationGuard) -> StorageResult<LogAppendInfo> {
    write_as(log, batch, AppendOrigin::Client, guard)
}

fn marker(epoch: i16, coordinator_epoch: i32, version: TransactionVersion) -> EndTransactionMarker {
    EndTransactionMarker {
        producer_id: PRODUCER,
        producer_epoch: epoch,
        coordinator_epoch,
        result: TransactionResult::Abort,
        transaction_version: version,
    }
}

fn end(log: &Arc<Log>, marker: EndTransactionMarker) -> StorageResult<LogAppendInfo> {
    let batch = marker_batch(&marker, 200, TimestampType::CreateTime);
    let transaction_version = marker.transaction_version;
    let terms = AppendTerms { transaction_version, ..AppendTerms::new(0, AppendOrigin::Coordinator, 7) };
    log.append_as_leader(ValidatedBatch::from_trusted(batch).unwrap(), &terms)
}

fn is_unverified<T>(result: StorageResult<T>) -> bool {
    matches!(result, Err(StorageError::InvalidTransactionState(_)))
}

fn is_out_of_order<T>(result: StorageResult<T>) -> bool {
    matches!(result, Err(StorageError::OutOfOrderSequence(_)))
}

fn is_fenced<T>(result: StorageResult<T>) -> bool {
    matches!(result, Err(StorageError::InvalidProducerEpoch(_)))
}

fn aborted(log: &Log) -> usize {
    log.all_aborted_transactions().unwrap().len()
}

use TransactionVersion::{Tv0, Tv1, Tv2};

#[test]
fn the_first_write_of_a_transaction_needs_its_guard() {
    let log = World::new().open();
    for origin in [AppendOrigin::Client, AppendOrigin::Coordinator] {
        assert!(is_unverified(write_as(&log, transactional(0, 0), origin, VerificationGuard::NONE)));
    }
    let guard = start(&log, 0, 0);
    assert!(is_unverified(write(&log, transactional(0, 0), VerificationGuard::NONE)));
    write(&log, transactional(0, 0), guard).unwrap();
    // The transaction has begun here: nothing is asked any more.
    assert!(start(&log, 0, 1).is_none());
    write(&log, transactional(0, 1), VerificationGuard::NONE).unwrap();
    // Plain batches and replication never need one.
    append(&log, sequenced(1, 0, 0, 1));
    let replicated = AppendTerms::new(0, AppendOrigin::Replication, 7);
    log.append_as_leader(ValidatedBatch::from_trusted(transactional(4, 0)).unwrap(), &replicated).unwrap();
}

#[test]
fn without_verification_any_transaction_may_begin() {
    let world = World::new();
    let config = ProducerStateConfig { transaction_verification: false, ..ProducerStateConfig::default() };
    let options = LogOptions { producer_state: Arc::new(move || config), ..world.options() };
    let log = Log::open(options).unwrap();
    write(&log, transactional(0, 0), VerificationGuard::NONE).unwrap();
    assert_eq!(log.active_producers()[0].current_transaction_start_offset, 0);
}

/// KAFKA-14402, KAFKA-14561: a produce that was on its way while its transaction was aborted opens no new one.
#[test]
fn k_14402_a_produce_that_comes_after_the_abort_is_refused() {
    let log = World::new().open();
    let guard = start(&log, 0, 0);
    write(&log, transactional(0, 0), guard).unwrap();
    end(&log, marker(0, 1, Tv1)).unwrap();
    for late in [VerificationGuard::NONE, guard] {
        assert!(is_unverified(write(&log, transactional(0, 1), late)));
    }
    assert_eq!(log.active_producers()[0].current_transaction_start_offset, -1);
}

/// KAFKA-14884: the answer to a question from before the abort does not admit the next transaction, whose own question is still open.
#[test]
fn k_14884_an_old_answer_admits_no_later_transaction() {
    let log = World::new().open();
    let old = start(&log, 0, 0);
    end(&log, marker(0, 1, Tv1)).unwrap();
    assert!(is_unverified(write(&log, transactional(0, 0), old)));
    let new = start(&log, 0, 0);
    assert_ne!(old, new);
    assert!(is_unverified(write(&log, transactional(0, 0), old)));
    write(&log, transactional(0, 0), new).unwrap();
}

#[test]
fn a_stale_epoch_is_told_before_anything_else() {
    let log = World::new().open();
    end(&log, marker(5, 1, Tv1)).unwrap();
    assert!(is_fenced(log.maybe_start_transaction_verification(PRODUCER, 4, 0, false)));
    assert!(is_fenced(write(&log, transactional(4, 0), VerificationGuard::NONE)));
    assert!(is_fenced(write_as(&log, transactional(4, 0), AppendOrigin::Coordinator, VerificationGuard::NONE)));
    // Also of what is no transaction.
    assert!(is_fenced(write_as(
        &log,
        sequenced(PRODUCER, 4, 0, 1),
        AppendOrigin::Coordinator,
        VerificationGuard::NONE
    )));
}

/// A higher sequence must not get in while a lower one is being verified: the lower one would be refused for ever.
#[test]
fn no_batch_gets_in_before_the_lowest_that_was_tried() {
    let log = World::new().open();
    let guard = start(&log, 0, 3);
    assert_eq!(start(&log, 0, 1), guard);
    assert_eq!(start(&log, 0, 2), guard);
    assert!(is_out_of_order(write(&log, transactional(0, 3), guard)));
    assert!(is_out_of_order(write(&log, transactional(0, 2), guard)));
    // The state of the producer is unknown here: any sequence may be the first.
    write(&log, transactional(0, 1), guard).unwrap();
    write(&log, transactional(0, 2), VerificationGuard::NONE).unwrap();
}

#[test]
fn second_generation_producers_begin_with_sequence_0() {
    let log = World::new().open();
    let guard = start_v2(&log, 0, 4);
    assert!(is_out_of_order(write(&log, transactional(0, 4), guard)));
    assert_eq!(start_v2(&log, 0, 0), guard);
    write(&log, transactional(0, 0), guard).unwrap();
    end(&log, marker(1, 1, Tv2)).unwrap();
    // Every transaction has its own epoch and begins at 0 again.
    let guard = start_v2(&log, 1, 1);
    assert!(is_out_of_order(write(&log, transactional(1, 1), guard)));
    let guard = start_v2(&log, 1, 0);
    write(&log, transactional(1, 0), guard).unwrap();
}

/// The marker of a transaction comes while the producer's next one, in the marker's own epoch, is being verified.
#[test]
fn a_late_marker_does_not_end_the_verification_of_the_next_transaction() {
    let log = World::new().open();
    let first = start_v2(&log, 0, 0);
    write(&log, transactional(0, 0), first).unwrap();
    let next = start_v2(&log, 1, 0);
    assert!(!next.is_none());
    end(&log, marker(1, 1, Tv2)).unwrap();
    write(&log, transactional(1, 0), next).unwrap();
    // Of the first generation it would have been the same transaction.
    end(&log, marker(2, 1, Tv2)).unwrap();
    let old = start(&log, 2, 0);
    end(&log, marker(2, 1, Tv1)).unwrap();
    assert!(is_unverified(write(&log, transactional(2, 0), old)));
}

#[test]
fn markers_of_the_first_generation_may_have_the_same_epoch() {
    for version in [Tv0, Tv1] {
        let log = World::new().open();
        write(&log, transactional(3, 0), start(&log, 3, 0)).unwrap();
        assert!(is_fenced(end(&log, marker(2, 1, version))));
        end(&log, marker(3, 1, version)).unwrap();
        assert_eq!(aborted(&log), 1);
        end(&log, marker(3, 1, version)).unwrap();
        end(&log, marker(4, 1, version)).unwrap();
        assert!(is_fenced(end(&log, marker(3, 1, version))));
        assert_eq!(aborted(&log), 1);
    }
}

/// KAFKA-19999: with the second generation a marker of the epoch of an open transaction belongs to the one before, whose marker is
/// repeated; without an open transaction it is the repetition of the last marker, and harmless.
#[test]
fn k_19999_markers_of_the_second_generation_have_a_higher_epoch() {
    let log = World::new().open();
    write(&log, transactional(3, 0), start_v2(&log, 3, 0)).unwrap();
    for epoch in [2, 3] {
        assert!(is_fenced(end(&log, marker(epoch, 1, Tv2))), "{epoch}");
    }
    end(&log, marker(4, 1, Tv2)).unwrap();
    assert_eq!(aborted(&log), 1);
    // The coordinator restarts and writes it again.
    end(&log, marker(4, 2, Tv2)).unwrap();
    assert!(is_fenced(end(&log, marker(3, 2, Tv2))));
    write(&log, transactional(4, 0), start_v2(&log, 4, 0)).unwrap();
    assert!(is_fenced(end(&log, marker(4, 2, Tv2))), "the next transaction is open by now");
    assert_eq!(log.active_producers()[0].current_transaction_start_offset, log.log_end_offset() - 1);
    assert_eq!(aborted(&log), 1);
}

/// The highest epoch cannot be raised: a transaction that was begun with it can still be ended.
#[test]
fn a_transaction_of_the_highest_epoch_can_be_ended() {
    let log = World::new().open();
    write(&log, transactional(i16::MAX, 0), start_v2(&log, i16::MAX, 0)).unwrap();
    assert!(is_fenced(end(&log, marker(i16::MAX - 1, 1, Tv2))));
    end(&log, marker(i16::MAX, 1, Tv2)).unwrap();
    assert_eq!(log.active_producers()[0].current_transaction_start_offset, -1);
}

#[test]
fn markers_of_an_older_coordinator_are_refused() {
    let log = World::new().open();
    write(&log, transactional(0, 0), start(&log, 0, 0)).unwrap();
    end(&log, marker(0, 5, Tv1)).unwrap();
    let end_offset = log.log_end_offset();
    for version in [Tv0, Tv1, Tv2] {
        let refused = end(&log, marker(1, 4, version));
        assert!(matches!(refused, Err(StorageError::TransactionCoordinatorFenced(_))), "{version:?}");
    }
    assert_eq!(log.log_end_offset(), end_offset);
    end(&log, marker(1, 5, Tv2)).unwrap();
}

#[test]
fn the_marker_of_an_empty_transaction_changes_the_epoch_and_nothing_else() {
    let world = World::new();
    let log = world.open();
    append(&log, sequenced(PRODUCER, 0, 0, 1));
    end(&log, marker(1, 3, Tv2)).unwrap();
    log.update_high_watermark(1);
    assert_eq!(log.last_stable_offset(), 1, "a marker that ends nothing holds nobody back");
    assert!(world.files(".txnindex").is_empty());
    let producer = log.active_producers()[0];
    assert_eq!((producer.producer_epoch, producer.last_sequence, producer.coordinator_epoch), (1, -1, 3));
    assert_eq!(producer.last_timestamp, 200);
    assert!(is_fenced(write(&log, sequenced(PRODUCER, 0, 1, 1), VerificationGuard::NONE)));
}

/// A verification that nothing came of is forgotten with the producers.
#[test]
fn verifications_expire() {
    let world = World::new();
    let log = world.open();
    let guard = start(&log, 0, 0);
    log.remove_expired_producers(1_000_000 + 86_400_000);
    assert!(is_unverified(write(&log, transactional(0, 0), guard)));
}

#[test]
fn markers_have_the_topics_kind_of_timestamp() {
    let marker = marker(0, 1, Tv1);
    let created = marker_batch(&marker, 200, TimestampType::CreateTime);
    assert_eq!(created, end_transaction_marker(false, 200, PRODUCER, 0, 1));
    let appended = marker_batch(&marker, 200, TimestampType::LogAppendTime);
    let header = crate::record::BatchHeader::parse(&appended).unwrap();
    assert_eq!((header.timestamp_type(), header.max_timestamp), (TimestampType::LogAppendTime, 200));
}
