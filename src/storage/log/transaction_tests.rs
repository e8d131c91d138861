//! The transaction index: what read_committed readers are told to leave out, whatever happened to the process and to the files.
#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::log_tests::{World, append, batch, fill};
use crate::env::{Call, Disk, Failure, PlannedFault};
use crate::record::{BatchProperties, end_transaction_marker};
use crate::storage::transaction_index::{AbortedEntry, encode_entries};
use crate::storage::*;

fn write(log: &Arc<Log>, producer_id: i64, sequence: i32) -> i64 {
    let properties = BatchProperties {
        producer_id,
        producer_epoch: 0,
        base_sequence: sequence,
        is_transactional: true,
        ..BatchProperties::default()
    };
    append(log, batch(properties, 2, 100)).first_offset
}

fn end(log: &Arc<Log>, producer_id: i64, commit: bool) -> i64 {
    try_to_end(log, producer_id, commit).unwrap().first_offset
}

fn try_to_end(log: &Arc<Log>, producer_id: i64, commit: bool) -> StorageResult<LogAppendInfo> {
    let marker = end_transaction_marker(commit, 200, producer_id, 0, 5);
    log.append_records(marker, 0, AppendOrigin::Coordinator, 0)
}

/// Producer, first offset, marker's offset.
type Aborted = (i64, i64, i64);

/// Three producers whose transactions overlap, every third of them aborted, over many segments.
fn transactions(log: &Arc<Log>, rounds: i32) -> Vec<Aborted> {
    let mut aborted = Vec::new();
    let mut open: Vec<(i64, i64)> = Vec::new();
    for round in 0..rounds {
        let producer_id = i64::from(round % 3);
        open.push((producer_id, write(log, producer_id, 4 * (round / 3))));
        fill(log, 1);
        write(log, producer_id, 4 * (round / 3) + 2);
        if open.len() == 3 {
            let (producer_id, first) = open.remove(0);
            let commit = round % 3 != 2;
            let marker = end(log, producer_id, commit);
            if !commit {
                aborted.push((producer_id, first, marker));
            }
        }
    }
    for (producer_id, _) in open {
        end(log, producer_id, true);
    }
    log.update_high_watermark(log.log_end_offset());
    aborted
}

/// Every read is told of the aborted transactions that it touches.
fn check(log: &Log, aborted: &[Aborted]) {
    for offset in (0..log.last_stable_offset()).step_by(5) {
        for max_bytes in [1, 700, 1 << 20] {
            let info = log.read(offset, max_bytes, FetchIsolation::TransactionCommitted, true).unwrap();
            let bytes = info.records.unwrap().read().unwrap();
            let last = crate::record::BatchIterator::new(&bytes)
                .filter_map(|batch| batch.ok())
                .last()
                .map(|(header, _)| header.last_offset())
                .unwrap();
            let told: Vec<(i64, i64)> =
                info.aborted_transactions.iter().map(|one| (one.producer_id, one.first_offset)).collect();
            for (producer_id, first, marker) in aborted {
                let touches = *marker >= offset && *first <= last;
                assert!(!touches || told.contains(&(*producer_id, *first)), "{offset} {max_bytes} {first} {told:?}");
            }
            for (producer_id, first) in told {
                let known = aborted.iter().find(|one| (one.0, one.1) == (producer_id, first));
                assert!(known.is_some_and(|one| one.2 >= offset), "{offset} {max_bytes} {first}");
            }
        }
    }
    let uncommitted = log.read(log.log_start_offset(), 1 << 20, FetchIsolation::HighWatermark, true).unwrap();
    assert!(uncommitted.aborted_transactions.is_empty());
}

fn indexes(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    world.files(".txnindex").into_iter().map(|path| (path.clone(), world.bytes(&path))).collect()
}

#[test]
fn the_index_comes_with_the_first_abort() {
    let world = World::new();
    let log = world.open();
    write(&log, 1, 0);
    write(&log, 2, 0);
    end(&log, 1, true);
    end(&log, 7, false);
    assert!(world.files(".txnindex").is_empty(), "nothing was aborted");
    assert_eq!(end(&log, 2, false), 6);
    write(&log, 1, 2);
    write(&log, 2, 2);
    end(&log, 2, false);
    let expected = [AbortedEntry::new(2, 2, 6, 7), AbortedEntry::new(2, 9, 11, 7)];
    assert_eq!(world.bytes(Path::new("/data/t-0/00000000000000000000.txnindex")), encode_entries(&expected));
}

#[test]
fn read_committed_is_told_of_aborted_transactions() {
    let world = World::new();
    let log = world.open();
    let aborted = transactions(&log, 90);
    assert!(aborted.len() > 20 && log.segment_count() > 10);
    check(&log, &aborted);
    log.close().unwrap();
    let reopened = world.open_clean();
    reopened.update_high_watermark(reopened.log_end_offset());
    check(&reopened, &aborted);
}

#[test]
fn indexes_are_the_same_after_a_crash() {
    let world = World::new();
    let log = world.open();
    let aborted = transactions(&log, 60);
    let whole = indexes(&world);
    let damages: [fn(&World, &Path); 4] = [
        |_, _| {},
        |world, path| world.disk_remove(path),
        |world, path| world.overwrite(path, b"torn"),
        |world, path| world.overwrite(path, &[7; 68]),
    ];
    for (number, damage) in damages.iter().enumerate() {
        for recovery_point in [0, 150, 290, 480] {
            let killed = world.killed();
            for (path, _) in &whole {
                // What is before the recovery point was synced.
                let base: i64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                if base > recovery_point {
                    damage(&killed, path);
                }
            }
            let log = Log::open(LogOptions { recovery_point, ..killed.options() }).unwrap();
            assert_eq!(indexes(&killed), whole, "{number} {recovery_point}");
            log.update_high_watermark(log.log_end_offset());
            check(&log, &aborted);
        }
    }
}

#[test]
fn wrong_transaction_indexes_are_rebuilt_after_a_clean_stop() {
    let world = World::new();
    let log = world.open();
    let aborted = transactions(&log, 60);
    log.close().unwrap();
    let whole = indexes(&world);
    for bytes in [&b"torn"[..], &[7; 68]] {
        let damaged = world.killed();
        whole.iter().for_each(|(path, _)| damaged.overwrite(path, bytes));
        let log = damaged.open_clean();
        log.update_high_watermark(log.log_end_offset());
        check(&log, &aborted);
        assert_eq!(indexes(&damaged), whole);
    }
}

#[test]
fn a_power_cut_keeps_the_entries_that_were_flushed() {
    let world = World::new();
    let log = world.open();
    let aborted = transactions(&log, 30);
    log.flush().unwrap();
    let end = log.log_end_offset();
    write(&log, 9, 0);
    let after = world.without_power();
    let log = Log::open(LogOptions { recovery_point: end, ..after.options() }).unwrap();
    log.update_high_watermark(log.log_end_offset());
    check(&log, &aborted);
}

#[test]
fn truncation_takes_entries_away() {
    let world = World::new();
    let log = world.open();
    let mut aborted = transactions(&log, 60);
    while let Some((_, first, marker)) = aborted.pop() {
        log.truncate_to(marker).unwrap();
        log.update_high_watermark(log.log_end_offset());
        check(&log, &aborted);
        assert!(log.last_stable_offset() <= first);
        if aborted.len().is_multiple_of(4) {
            let killed = world.killed().open();
            killed.update_high_watermark(killed.log_end_offset());
            check(&killed, &aborted);
        }
    }
    assert!(world.files(".txnindex").is_empty());
}

/// Found by the crash points of a life in transactions: the segments of a deletion came back after a power cut, with their logs but
/// without their transaction indexes, and showed what was aborted.
#[test]
fn a_segment_that_a_power_cut_brings_back_without_its_transaction_index_gets_it_again() {
    let world = World::new();
    let log = world.open();
    let aborted = transactions(&log, 60);
    log.flush().unwrap();
    let whole = indexes(&world);
    assert!(whole.len() > 5);
    for clean in [false, true] {
        if clean {
            log.close().unwrap();
        }
        let after = world.killed();
        for (path, _) in &whole {
            let mut deleted = path.clone().into_os_string();
            deleted.push(".deleted");
            after.disk.rename(path, Path::new(&deleted)).unwrap();
        }
        let options = LogOptions { recovery_point: log.recovery_point(), clean_shutdown: clean, ..after.options() };
        let reopened = Log::open(options).unwrap();
        reopened.update_high_watermark(reopened.log_end_offset());
        check(&reopened, &aborted);
        assert_eq!(indexes(&after), whole);
    }
}

/// The seals of deleted segments stayed for ever.
#[test]
fn nothing_of_deleted_segments_is_left() {
    let world = World::new();
    let log = world.open();
    transactions(&log, 60);
    assert!(world.files(".txnindex-ottla").len() > 5);
    log.delete_records_before(log.log_end_offset()).unwrap();
    log.delete_old_segments(0).unwrap();
    let mut tasks = world.spawn.take();
    world.clock.advance(std::time::Duration::from_secs(120));
    for (_, task) in &mut tasks {
        let waker = std::task::Waker::noop();
        assert!(task.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready());
    }
    let active = log.segments().unwrap().last().unwrap().base_offset;
    for suffix in [".txnindex-ottla", ".txnindex", ".deleted", ".log"] {
        let mut left = world.files(suffix);
        left.retain(|path| !path.to_string_lossy().contains(&format!("{active:020}")));
        assert!(left.is_empty(), "{left:?}");
    }
    // What a crash leaves of them goes with the next start, and what belongs to a new segment of the name does not pass for the old one's.
    world.overwrite(Path::new("/data/t-0/00000000000000000007.txnindex-ottla"), b"12345678");
    assert_eq!(world.killed().open().log_end_offset(), log.log_end_offset());
    let after = world.killed();
    after.open();
    assert!(after.files("07.txnindex-ottla").is_empty());
}

/// The marker was written first: on a full disk a transaction had ended and its index did not say how, so that read_committed readers saw
/// what was aborted.
#[test]
fn an_abort_that_finds_no_room_is_not_half_there() {
    for (nth, commit) in [(1, false), (2, false), (2, true)] {
        let world = World::new();
        let log = world.open();
        let first = write(&log, 1, 0);
        world.disk.fail(PlannedFault { calls: &[Call::Write], nth, times: 1, failure: Failure::Full });
        let refused = try_to_end(&log, 1, false);
        assert!(matches!(refused, Err(StorageError::DiskFull { .. })), "{nth}: {refused:?}");
        assert_eq!((log.log_end_offset(), log.last_stable_offset()), (first + 2, 0), "{nth}: it is open still");
        let marker = end(&log, 1, commit);
        let aborted: &[Aborted] = if commit { &[] } else { &[(1, first, marker)] };
        log.update_high_watermark(log.log_end_offset());
        check(&log, aborted);
        log.close().unwrap();
        for after in [world.killed().open(), world.open_clean()] {
            after.update_high_watermark(after.log_end_offset());
            check(&after, aborted);
        }
    }
}
