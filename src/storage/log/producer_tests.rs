//! The rules for idempotent producers, through the log.
#![allow(clippy::disallowed_methods)]

use super::log_tests::{World, append, batch, fill, sequenced};
use crate::record::{BatchProperties, end_transaction_marker};
use crate::storage::*;

fn refused(log: &std::sync::Arc<Log>, batch: bytes::Bytes) -> StorageError {
    log.append_records(batch, 0, AppendOrigin::Client, 0).unwrap_err()
}

#[test]
fn a_repeated_batch_gets_its_first_answer() {
    let log = World::new().open();
    for number in 0..7 {
        append(&log, sequenced(1, 0, number * 2, 2));
    }
    for number in 2..7 {
        let info = append(&log, sequenced(1, 0, number * 2, 2));
        assert!(info.duplicate);
        assert_eq!((info.first_offset, info.last_offset), (i64::from(number) * 2, i64::from(number) * 2 + 1));
        assert_eq!(info.log_append_time, 100);
    }
    assert_eq!(log.log_end_offset(), 14);
    for number in 0..2 {
        let error = refused(&log, sequenced(1, 0, number * 2, 2));
        assert!(matches!(error, StorageError::OutOfOrderSequence(_)), "older than five batches");
    }
    // Another range than the one that was written is no repetition.
    assert!(matches!(refused(&log, sequenced(1, 0, 12, 1)), StorageError::OutOfOrderSequence(_)));
}

#[test]
fn sequences_and_epochs_are_checked() {
    let log = World::new().open();
    append(&log, sequenced(1, 3, 40, 1));
    assert!(matches!(refused(&log, sequenced(1, 3, 42, 1)), StorageError::OutOfOrderSequence(_)));
    assert!(matches!(refused(&log, sequenced(1, 2, 41, 1)), StorageError::InvalidProducerEpoch(_)));
    assert!(matches!(refused(&log, sequenced(1, 4, 41, 1)), StorageError::OutOfOrderSequence(_)));
    append(&log, sequenced(1, 4, 0, 1));
    assert!(matches!(refused(&log, sequenced(1, 3, 41, 1)), StorageError::InvalidProducerEpoch(_)));
    // The window is the new epoch's.
    assert!(append(&log, sequenced(1, 4, 0, 1)).duplicate);
    append(&log, sequenced(2, 0, i32::MAX, 1));
    append(&log, sequenced(2, 0, 0, 1));
    append(&log, sequenced(3, 0, i32::MAX - 1, 4));
    assert!(append(&log, sequenced(3, 0, i32::MAX - 1, 4)).duplicate);
    append(&log, sequenced(3, 0, 2, 1));
}

#[test]
fn producers_survive_roll_restart_and_crash() {
    let world = World::new();
    let log = world.open();
    for number in 0..60 {
        append(&log, sequenced(7, 1, number, 1));
        fill(&log, 1);
    }
    assert!(!world.files(".snapshot").is_empty());
    let check = |log: &std::sync::Arc<Log>| {
        assert!(append(log, sequenced(7, 1, 59, 1)).duplicate);
        assert!(matches!(refused(log, sequenced(7, 1, 61, 1)), StorageError::OutOfOrderSequence(_)));
    };
    check(&log);
    check(&world.killed().open());
    // Without snapshots, and with damaged ones, the log is replayed.
    let other = world.killed();
    for (index, path) in other.files(".snapshot").iter().enumerate() {
        if index % 2 == 0 {
            other.disk_remove(path);
        } else {
            other.overwrite(path, b"rubbish");
        }
    }
    check(&other.open());
    log.close().unwrap();
    let reopened = world.open_clean();
    check(&reopened);
    assert_eq!(reopened.active_producers()[0].producer_epoch, 1);
}

/// Found by the kill campaign: librdkafka repeats all batches without an answer, and the last one alone was in the snapshot of the roll.
#[test]
fn a_retry_of_the_last_five_batches_is_a_duplicate_after_roll_and_crash() {
    let world = World::new();
    let log = world.open();
    let rolls = world.files(".snapshot").len();
    let mut number = 0;
    while world.files(".snapshot").len() == rolls {
        append(&log, sequenced(7, 0, number, 1));
        number += 1;
    }
    // The batch that made the log roll is in the new segment; six before it are not.
    let end = log.log_end_offset();
    let check = |log: &std::sync::Arc<Log>| {
        for retried in number - 5..number {
            let info = append(log, sequenced(7, 0, retried, 1));
            assert!(info.duplicate, "{retried} of {number}");
            assert_eq!(info.first_offset, i64::from(retried));
        }
        assert!(matches!(refused(log, sequenced(7, 0, number - 6, 1)), StorageError::OutOfOrderSequence(_)));
        assert_eq!(log.log_end_offset(), end);
    };
    check(&log);
    check(&world.killed().open());
    log.close().unwrap();
    check(&world.open_clean());
}

#[test]
fn idle_producers_are_forgotten() {
    let world = World::new();
    let log = world.open();
    append(&log, sequenced(1, 0, 0, 1));
    assert_eq!(log.remove_expired_producers(100 + 86_399_999), 0);
    assert_eq!(log.remove_expired_producers(100 + 86_400_000), 1);
    append(&log, sequenced(1, 0, 77, 1));
}

#[test]
fn transactions_hold_the_last_stable_offset() {
    let world = World::new();
    let log = world.open();
    fill(&log, 1);
    let transactional = |sequence: i32| {
        let properties = BatchProperties {
            producer_id: 9,
            producer_epoch: 0,
            base_sequence: sequence,
            is_transactional: true,
            ..BatchProperties::default()
        };
        batch(properties, 2, 100)
    };
    append(&log, transactional(0));
    append(&log, transactional(2));
    log.update_high_watermark(7);
    assert_eq!(log.last_stable_offset(), 3);
    assert_eq!(log.active_producers()[0].current_transaction_start_offset, 3);
    assert!(matches!(refused(&log, sequenced(9, 0, 4, 1)), StorageError::InvalidTransactionState(_)));
    for open in [log.clone(), world.killed().open()] {
        let marker = end_transaction_marker(true, 200, 9, 0, 5);
        open.append_records(marker, 0, AppendOrigin::Coordinator, 0).unwrap();
        open.update_high_watermark(7);
        assert_eq!(open.last_stable_offset(), 3, "until the marker is replicated");
        open.update_high_watermark(8);
        assert_eq!(open.last_stable_offset(), 8);
        let zombie = end_transaction_marker(false, 200, 9, 0, 4);
        let error = open.append_records(zombie, 0, AppendOrigin::Coordinator, 0).unwrap_err();
        assert!(matches!(error, StorageError::TransactionCoordinatorFenced(_)));
        assert_eq!(open.active_producers()[0].coordinator_epoch, 5);
    }
}
