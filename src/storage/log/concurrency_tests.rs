//! Writers, readers, flushes, retention and truncation of the start, all at once on real threads.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::log_tests::{World, append, sequenced};
use crate::record::{BatchIterator, check_crc};
use crate::storage::*;

const WRITERS: i64 = 3;
const BATCHES: i32 = 400;

fn write(log: &Arc<Log>, producer: i64) {
    for number in 0..BATCHES {
        let info = append(log, sequenced(producer, 0, number * 2, 2));
        assert!(!info.duplicate);
        log.maybe_increment_high_watermark(info.log_end_offset);
        if number % 16 == 0 {
            assert!(append(log, sequenced(producer, 0, number * 2, 2)).duplicate);
            log.flush().unwrap();
        }
    }
}

/// Follows the log as a consumer does; every batch is whole, and offsets have no gaps.
fn follow(log: &Log, done: &AtomicBool) -> i64 {
    let (mut offset, mut seen) = (0, 0);
    loop {
        let finished = done.load(Ordering::Acquire);
        match log.read(offset, 700, FetchIsolation::HighWatermark, true) {
            Ok(FetchDataInfo { records: Some(slice), high_watermark, .. }) => {
                let bytes = slice.read().unwrap();
                for (header, batch) in BatchIterator::new(&bytes).map_while(Result::ok) {
                    check_crc(batch).unwrap();
                    assert!(header.base_offset <= offset && header.last_offset() < high_watermark);
                    offset = header.next_offset();
                    seen += 1;
                }
            }
            Ok(_) if finished && offset == log.high_watermark() => return seen,
            Ok(_) => std::thread::yield_now(),
            // Retention was faster.
            Err(StorageError::OffsetOutOfRange { log_start_offset, .. }) => offset = offset.max(log_start_offset),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn all_at_once() {
    let mut world = World::new();
    world.config.retention_bytes = 20_000;
    let log = world.open();
    let done = AtomicBool::new(false);
    let deleted = AtomicI64::new(0);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=WRITERS)
            .map(|producer| {
                let log = log.clone();
                scope.spawn(move || write(&log, producer))
            })
            .collect();
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| follow(&log, &done))).collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                deleted.fetch_add(log.delete_old_segments(1_000_000).unwrap() as i64, Ordering::Relaxed);
                let _ = log.offset_for_timestamp(50).unwrap();
                std::thread::yield_now();
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert_eq!(log.log_end_offset(), WRITERS * i64::from(BATCHES) * 2);
    assert!(deleted.load(Ordering::Relaxed) > 0);
    let (recovery_point, log_start_offset) = (log.recovery_point(), log.log_start_offset());
    let options = LogOptions { recovery_point, log_start_offset, ..world.killed().options() };
    let reopened = Log::open(options).unwrap();
    assert_eq!(reopened.log_end_offset(), log.log_end_offset());
    assert_eq!(reopened.active_producers().len() as i64, WRITERS);
}
