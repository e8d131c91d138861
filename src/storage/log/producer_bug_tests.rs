//! What went wrong with producers and transactions in other brokers' logs: one test for each lesson.
#![allow(clippy::disallowed_methods)]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::log_tests::{World, append, batch, sequenced};
use crate::env::Clock;
use crate::record::{
    BatchHeader, BatchIterator, BatchProperties, ControlRecordType, TimestampType, ValidatedBatch, control_record_type,
    marker_batch, records,
};
use crate::storage::producer_state::{ProducerEntry, ProducerState, ProducerUpdate};
use crate::storage::*;
use crate::types::{EndTransactionMarker, TransactionResult, TransactionVersion};

const DAY_MS: i64 = 86_400_000;

fn transactional(producer_id: i64, producer_epoch: i16, base_sequence: i32, records: i32) -> Bytes {
    let properties = BatchProperties {
        producer_id,
        producer_epoch,
        base_sequence,
        is_transactional: true,
        ..BatchProperties::default()
    };
    batch(properties, records, 100)
}

fn try_end(
    log: &Arc<Log>,
    producer_id: i64,
    producer_epoch: i16,
    commit: bool,
    transaction_version: TransactionVersion,
) -> StorageResult<LogAppendInfo> {
    let marker = EndTransactionMarker {
        producer_id,
        producer_epoch,
        coordinator_epoch: 0,
        result: TransactionResult::from_committed(commit),
        transaction_version,
    };
    let now_ms = log.directory.env.clock.wall_millis();
    let batch = ValidatedBatch::from_trusted(marker_batch(&marker, now_ms, TimestampType::CreateTime)).unwrap();
    let terms = AppendTerms { transaction_version, ..AppendTerms::new(0, AppendOrigin::Coordinator, now_ms) };
    log.append_as_leader(batch, &terms)
}

fn end(log: &Arc<Log>, producer_id: i64, producer_epoch: i16, commit: bool) -> i64 {
    try_end(log, producer_id, producer_epoch, commit, TransactionVersion::Tv1).unwrap().first_offset
}

fn knows(log: &Log, producer_id: i64) -> bool {
    log.active_producers().iter().any(|known| known.producer_id == producer_id)
}

/// KAFKA-9144: a producer was forgotten although its marker had just been written, because only the timestamps of its records counted; a
/// zombie of the old epoch could then begin a transaction that nobody ended. Nor is one forgotten whose transaction is open, however the
/// clock jumps, live or over a restart.
#[test]
fn k_9144_markers_count_and_open_transactions_are_not_forgotten() {
    for clean in [false, true] {
        let world = World::new();
        let log = world.open();
        world.clock.advance(Duration::from_millis(10 * DAY_MS as u64));
        let now = world.clock.wall_millis();
        // Records of long ago, a marker of today.
        append(&log, transactional(1, 3, 0, 1));
        append(&log, transactional(2, 3, 0, 1));
        append(&log, sequenced(3, 3, 0, 1));
        end(&log, 1, 4, false);
        log.update_high_watermark(log.log_end_offset());
        let check = |log: &Arc<Log>| {
            assert_eq!((knows(log, 1), knows(log, 2), knows(log, 3)), (true, true, false));
            assert_eq!(log.last_stable_offset(), 1, "the transaction of producer 2 is still open");
            let zombie = log.append_verified(transactional(1, 3, 1, 1), 0, 0);
            assert!(matches!(zombie, Err(StorageError::InvalidProducerEpoch(_))));
        };
        // The clock jumps back, and on again.
        for now in [now + DAY_MS - 1, 0, i64::MIN, now] {
            log.remove_expired_producers(now);
            check(&log);
        }
        if clean {
            log.close().unwrap();
        }
        let reopen = |world: &World| if clean { world.open_clean() } else { world.open() };
        let again = reopen(&world.killed());
        again.update_high_watermark(again.log_end_offset());
        check(&again);
        // It jumps while the broker is down.
        world.clock.advance(Duration::from_millis(3 * DAY_MS as u64));
        let log = reopen(&world.killed());
        log.update_high_watermark(log.log_end_offset());
        assert_eq!((knows(&log, 1), knows(&log, 2), log.last_stable_offset()), (false, true, 1));
        // The coordinator can still end what is open, and old epochs still cannot.
        assert!(try_end(&log, 2, 2, false, TransactionVersion::Tv1).is_err());
        end(&log, 2, 3, false);
        log.update_high_watermark(log.log_end_offset());
        assert_eq!(log.last_stable_offset(), log.log_end_offset());
        log.remove_expired_producers(world.clock.wall_millis() + DAY_MS);
        assert!(!knows(&log, 2));
    }
}

/// A transaction that its coordinator has forgotten is seen in a metric, five minutes after the longest timeout there is (KIP-664).
#[test]
fn late_transactions_are_noticed() {
    let world = World::new();
    let log = world.open();
    append(&log, transactional(1, 0, 0, 1));
    let limit = 100 + 900_000 + 300_000;
    assert_eq!(log.producer_health(limit), (1, false));
    assert_eq!(log.producer_health(limit + 1), (1, true));
    end(&log, 1, 0, true);
    assert_eq!(log.producer_health(i64::MAX), (1, false));
}

/// KAFKA-5283, KAFKA-7692: sequences wrap from 2^31 - 1 to 0, within a batch and between two, in duplicates, in snapshots and in a replay.
#[test]
fn k_7692_sequences_wrap_two_before_their_end() {
    for first in [i32::MAX - 2, i32::MAX - 1, i32::MAX] {
        for records in [1, 2, 3, 4] {
            let world = World::new();
            let log = world.open();
            let mut sent = Vec::new();
            let mut sequence = first;
            for _ in 0..6 {
                let info = append(&log, sequenced(1, 0, sequence, records));
                sent.push((sequence, info.first_offset));
                sequence = ((i64::from(sequence) + i64::from(records)) % (i64::from(i32::MAX) + 1)) as i32;
            }
            let check = |log: &Arc<Log>| {
                for (sequence, offset) in &sent[1..] {
                    let again = append(log, sequenced(1, 0, *sequence, records));
                    assert_eq!((again.duplicate, again.first_offset), (true, *offset), "{first} {sequence}");
                }
                let gap = log.append_verified(sequenced(1, 0, sequence + 1, 1), 0, 0);
                assert!(matches!(gap, Err(StorageError::OutOfOrderSequence(_))));
                let known = log.active_producers()[0].last_sequence;
                assert_eq!((i64::from(known) + 1) % (i64::from(i32::MAX) + 1), i64::from(sequence));
            };
            check(&log);
            check(&world.killed().open());
            log.close().unwrap();
            let reopened = world.open_clean();
            check(&reopened);
            append(&reopened, sequenced(1, 0, sequence, 1));
        }
    }
}

/// The first batches of a transaction whose sequences wrap: that behind the wrap must not keep out the one before it.
#[test]
fn a_verification_knows_that_sequences_wrap() {
    let log = World::new().open();
    let start = |sequence| log.maybe_start_transaction_verification(1, 0, sequence, false).unwrap();
    let guard = start(i32::MAX);
    assert_eq!(start(0), guard);
    let write = |sequence| {
        let terms = AppendTerms { guard, ..AppendTerms::new(0, AppendOrigin::Client, 7) };
        log.append_as_leader(ValidatedBatch::from_trusted(transactional(1, 0, sequence, 1)).unwrap(), &terms)
    };
    assert!(matches!(write(0), Err(StorageError::OutOfOrderSequence(_))), "a lower one was tried");
    write(i32::MAX).unwrap();
    write(0).unwrap();
}

/// KAFKA-18660, KAFKA-19367: epochs at the end of their range, two before it, with both generations' markers, over a restart.
#[test]
fn k_18660_epochs_end_at_32767() {
    for version in [TransactionVersion::Tv1, TransactionVersion::Tv2] {
        let world = World::new();
        let mut log = world.open();
        let bump = i16::from(version.supports_epoch_bump());
        let mut epoch = i16::MAX - 2;
        let mut sequence = 0;
        for round in 0..3 {
            append(&log, transactional(1, epoch, sequence, 1));
            assert_eq!(log.active_producers()[0].producer_epoch, i32::from(epoch));
            let next = epoch.checked_add(bump).unwrap_or(i16::MAX);
            try_end(&log, 1, next, false, version).unwrap();
            assert_eq!(log.active_producers()[0].current_transaction_start_offset, -1, "{version:?} {round}");
            let older = log.append_verified(transactional(1, epoch - 1, 0, 1), 0, 0);
            assert!(matches!(older, Err(StorageError::InvalidProducerEpoch(_))));
            sequence = if next == epoch { sequence + 1 } else { 0 };
            epoch = next;
            log = world.killed().open();
            log = if round == 1 { world.killed().open() } else { log };
            let known = log.active_producers()[0];
            assert_eq!((known.producer_epoch, known.current_transaction_start_offset), (i32::from(epoch), -1));
            // The world of the test goes on with the log that it has on its own disk.
            log = world.open();
        }
    }
}

/// KAFKA-9807, KAFKA-12153, redpanda#7438: a reader that learned the last stable offset twice, or before it was known, saw what was
/// aborted. Writers, markers, the high watermark and readers on real threads: whatever a read finds ends before the last stable
/// offset of the same read, and no aborted record passes the filter of a client.
#[test]
fn k_9807_readers_never_see_what_is_aborted() {
    const ROUNDS: i32 = 150;
    let world = World::new();
    let log = world.open();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=3)
            .map(|producer| {
                let log = log.clone();
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        // The parity of a producer's epoch says how its transaction ends.
                        let epoch = round as i16;
                        append(&log, transactional(producer, epoch, 0, 2));
                        log.maybe_increment_high_watermark(log.log_end_offset());
                        append(&log, transactional(producer, epoch, 2, 1));
                        try_end(&log, producer, epoch + 1, round % 2 == 0, TransactionVersion::Tv2).unwrap();
                        log.maybe_increment_high_watermark(log.log_end_offset());
                    }
                })
            })
            .collect();
        let readers: Vec<_> = [100, 700, 5000]
            .map(|max_bytes| {
                let (log, done) = (&log, &done);
                scope.spawn(move || read_committed(log, max_bytes, done))
            })
            .into();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Release);
        for reader in readers {
            let seen = reader.join().unwrap();
            assert_eq!(seen.values().sum::<usize>(), 3 * 3 * (ROUNDS as usize).div_ceil(2));
            assert!(seen.keys().all(|epoch| epoch % 2 == 0), "aborted data was seen: {seen:?}");
        }
    });
    // A log that is just being opened knows its open transactions before anyone can read.
    append(&log, transactional(1, 1000, 0, 1));
    let first = log.log_end_offset() - 1;
    append(&log, sequenced(9, 0, 0, 1));
    for clean in [false, true] {
        if clean {
            log.close().unwrap();
        }
        let options =
            LogOptions { high_watermark: log.log_end_offset(), clean_shutdown: clean, ..world.killed().options() };
        assert_eq!(Log::open(options).unwrap().last_stable_offset(), first);
    }
}

/// Follows the log as a read_committed consumer; gives the records of each epoch.
fn read_committed(log: &Log, max_bytes: usize, done: &AtomicBool) -> BTreeMap<i16, usize> {
    let (mut offset, mut seen) = (0, BTreeMap::new());
    let (mut skipped, mut stable) = (HashSet::new(), 0);
    loop {
        let finished = done.load(Ordering::Acquire);
        let info = log.read(offset, max_bytes, FetchIsolation::TransactionCommitted, true).unwrap();
        assert!(info.last_stable_offset >= stable && info.last_stable_offset <= info.high_watermark);
        stable = info.last_stable_offset;
        let Some(slice) = info.records else {
            if finished && offset == log.log_end_offset() {
                return seen;
            }
            std::thread::yield_now();
            continue;
        };
        let mut aborted: Vec<_> =
            info.aborted_transactions.iter().map(|one| (one.first_offset, one.producer_id)).collect();
        aborted.sort_unstable();
        let mut aborted = aborted.into_iter().peekable();
        // Each answer stands for itself, as for a client that has just begun.
        skipped.clear();
        for (header, batch) in BatchIterator::new(&slice.read().unwrap()).map_while(Result::ok) {
            assert!(header.last_offset() < stable);
            offset = header.next_offset();
            while let Some((_, producer)) = aborted.next_if(|(first, _)| *first <= header.last_offset()) {
                skipped.insert(producer);
            }
            if header.is_control() {
                let records = records(batch, 1 << 10).unwrap();
                let marker = records.iter().next().unwrap().unwrap().key.and_then(control_record_type);
                if marker == Some(ControlRecordType::Abort) {
                    skipped.remove(&header.producer_id);
                }
            } else if !skipped.contains(&header.producer_id) {
                *seen.entry(header.producer_epoch).or_default() += header.record_count as usize;
            }
        }
    }
}

/// KAFKA-10702: markers of transactions that wrote nothing here were put into the index, which grew without end.
#[test]
fn k_10702_empty_transactions_are_not_in_the_index() {
    let world = World::new();
    let log = world.open();
    append(&log, transactional(1, 0, 0, 1));
    end(&log, 1, 0, false);
    for epoch in 0..200 {
        end(&log, 1, epoch, false);
        end(&log, 2, epoch, false);
    }
    log.update_high_watermark(log.log_end_offset());
    assert_eq!(log.all_aborted_transactions().unwrap().len(), 1);
    assert_eq!(log.last_stable_offset(), log.log_end_offset());
    assert_eq!(world.killed().open().all_aborted_transactions().unwrap().len(), 1);
}

/// redpanda#3039, redpanda#3038: a batch whose answer was lost was appended twice after a crash, or was answered with another offset. Every
/// n-th answer is lost here, the producer repeats its last five batches, and the broker is stopped or killed again and again.
#[test]
fn rp_3039_every_nth_answer_is_lost_and_nothing_is_written_twice() {
    for nth in 1..=7 {
        let mut world = World::new();
        let mut log = world.open();
        let mut sent: Vec<(Bytes, i64)> = Vec::new();
        let (mut lost, mut answers) = (Vec::new(), 0);
        for number in 0..120 {
            let batch = sequenced(7, 0, number * 2, 2);
            let info = append(&log, batch.clone());
            assert_eq!((info.duplicate, info.first_offset), (false, i64::from(number) * 2), "lost every {nth}");
            sent.push((batch, info.first_offset));
            answers += 1;
            if answers % nth == 0 {
                lost.push(number as usize);
            }
            match number % 23 {
                11 => {
                    world = world.killed();
                    log = world.open();
                }
                22 => {
                    log.close().unwrap();
                    log = world.open_clean();
                }
                _ => {}
            }
            // Five in flight at most: when the oldest has no answer, all are sent again.
            if lost.first().is_some_and(|first| number as usize - first >= 4) {
                for number in std::mem::take(&mut lost) {
                    let (batch, offset) = &sent[number];
                    let again = append(&log, batch.clone());
                    assert_eq!((again.duplicate, again.first_offset, again.last_offset), (true, *offset, offset + 1));
                }
            }
        }
        assert_eq!(log.log_end_offset(), 240);
    }
}

/// KAFKA-6003: a follower stopped when it was given a batch of a producer that it did not know, or not so. It takes what the leader took.
#[test]
fn k_6003_a_follower_takes_what_its_leader_has_taken() {
    let log = World::new().open();
    let replicate = |batch: Bytes| {
        let terms = AppendTerms::new(3, AppendOrigin::Replication, 7);
        log.append_as_leader(ValidatedBatch::from_trusted(batch).unwrap(), &terms)
    };
    replicate(sequenced(1, 4, 40, 2)).unwrap();
    replicate(sequenced(1, 4, 90, 2)).unwrap();
    replicate(sequenced(1, 3, 7, 1)).unwrap();
    replicate(transactional(2, 0, 55, 1)).unwrap();
    let marker = EndTransactionMarker {
        producer_id: 1,
        producer_epoch: 2,
        coordinator_epoch: -5,
        result: TransactionResult::Abort,
        transaction_version: TransactionVersion::Tv2,
    };
    replicate(marker_batch(&marker, 7, TimestampType::CreateTime)).unwrap();
    let known = log.active_producers();
    assert_eq!((known[0].producer_epoch, known[0].coordinator_epoch, known[0].last_sequence), (2, -5, -1));
    assert_eq!((known[1].last_sequence, known[1].current_transaction_start_offset), (55, 5));
}

/// KAFKA-16229, redpanda#18198: expiry that looked at every producer for every producer, and memory without end. A producer costs a fixed
/// number of bytes, and all that are due go in one pass.
#[test]
fn k_16229_a_million_producers_expire_in_one_pass() {
    const PRODUCERS: i64 = 1_000_000;
    assert!(size_of::<ProducerEntry>() <= 168, "{} bytes a producer", size_of::<ProducerEntry>());
    let mut state = ProducerState::default();
    let mut header = BatchHeader::parse(&sequenced(0, 0, 0, 1)).unwrap();
    for producer_id in 0..PRODUCERS {
        header.producer_id = producer_id;
        header.base_offset = producer_id;
        header.max_timestamp = producer_id % 2;
        state.apply(&header, ProducerUpdate::Data { transactional: producer_id == 1 });
    }
    let started = std::time::Instant::now();
    assert_eq!(state.remove_expired(DAY_MS, DAY_MS), PRODUCERS as usize / 2);
    assert_eq!(state.remove_expired(DAY_MS + 1, DAY_MS), PRODUCERS as usize / 2 - 1, "one has an open transaction");
    println!("{PRODUCERS} producers expire in {:?}", started.elapsed());
    assert_eq!(state.len(), 1);
}
