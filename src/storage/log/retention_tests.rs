//! What retention may delete, and when.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;

use proptest::prelude::*;

use super::log_tests::{World, append, batch, fill, read_all};
use crate::config::LogConfig;
use crate::record::BatchProperties;
use crate::storage::*;

fn limited(world: &World, log: &Log, change: impl FnOnce(&mut LogConfig)) {
    let mut config = world.config.clone();
    change(&mut config);
    log.update_config(Arc::new(config));
}

/// KAFKA-5634, KAFKA-17415: retention passed the high watermark; arithmetic on times overflowed.
#[test]
fn retention_stops_at_the_high_watermark_whatever_the_clock_says() {
    let world = World::new();
    let log = world.open();
    fill(&log, 100);
    for (now_ms, retention_ms) in
        [(i64::MAX, 0), (i64::MAX, 1), (i64::MIN, 0), (i64::MIN, i64::MAX), (i64::MAX, i64::MAX), (0, i64::MAX)]
    {
        limited(&world, &log, |config| config.retention_ms = retention_ms);
        assert_eq!(log.delete_old_segments(now_ms).unwrap(), 0, "nothing is replicated");
    }
    log.update_high_watermark(100);
    limited(&world, &log, |config| config.retention_ms = 0);
    assert_eq!(log.delete_old_segments(i64::MIN).unwrap(), 0);
    assert!(log.delete_old_segments(i64::MAX).unwrap() > 0);
    assert!(log.log_start_offset() <= 100 && log.log_start_offset() > 0, "{}", log.log_start_offset());
    // The segment with the high watermark in it stays, and so does all behind it.
    assert_eq!(read_all(&log, log.log_start_offset()).last().unwrap().0.next_offset(), 300);
    limited(&world, &log, |config| (config.retention_ms, config.retention_bytes) = (-1, 0));
    assert_eq!(log.delete_old_segments(0).unwrap(), 0);
    assert!(log.log_start_offset() <= log.high_watermark());
}

/// KIP-937, KAFKA-3716: a timestamp in the far future holds its segment, as Apache Kafka 4.3 does, and all behind it; size still counts,
/// and what a client says of the time does not matter with LogAppendTime (`record/validator.rs` refuses more than an hour).
#[test]
fn a_far_future_timestamp_holds_its_segment_and_no_more_space_than_allowed() {
    let year_2262 = 9_223_372_036_854;
    for future in [year_2262, i64::MAX] {
        let world = World::new();
        let log = world.open();
        fill(&log, 30);
        append(&log, batch(BatchProperties::default(), 1, future));
        fill(&log, 60);
        log.update_high_watermark(log.log_end_offset());
        limited(&world, &log, |config| config.retention_ms = 1000);
        log.delete_old_segments(1_000_000).unwrap();
        let start = log.log_start_offset();
        assert!((60..=90).contains(&start), "all before it is expired: {start}");
        assert_eq!(log.delete_old_segments(year_2262 - 1).unwrap(), 0);
        assert_eq!(log.offset_for_timestamp(year_2262).unwrap().unwrap().offset, 90);
        limited(&world, &log, |config| (config.retention_ms, config.retention_bytes) = (1000, 2048));
        assert!(log.delete_old_segments(1_000_000).unwrap() > 0);
        assert!(log.log_start_offset() > 90 && log.size() <= 2 * 2048);
    }
    // 1970, and before.
    for past in [0, 1] {
        let world = World::new();
        let log = world.open();
        (0..30).for_each(|_| drop(append(&log, batch(BatchProperties::default(), 1, past))));
        log.update_high_watermark(30);
        assert!(log.delete_old_segments(1_700_000_000_000).unwrap() > 0);
        assert_eq!((log.log_start_offset(), log.size()), (30, 0));
    }
}

#[test]
fn records_without_timestamps_are_as_old_as_their_file() {
    let world = World::new();
    let log = world.open();
    (0..40).for_each(|_| drop(append(&log, batch(BatchProperties::default(), 1, -1))));
    log.update_high_watermark(40);
    log.close().unwrap();
    let log = world.open_clean();
    log.update_high_watermark(40);
    limited(&world, &log, |config| config.retention_ms = 1000);
    // The clock of this world stands at 1,000,000.
    assert_eq!(log.delete_old_segments(1_001_000).unwrap(), 0);
    assert!(log.delete_old_segments(1_001_001).unwrap() > 0);
    assert_eq!(log.size(), 0);
}

#[test]
fn cleanup_policies_decide_what_limits_mean() {
    for (delete, compact) in [(true, false), (false, true), (true, true), (false, false)] {
        let world = World::new();
        let log = world.open();
        fill(&log, 100);
        log.update_high_watermark(300);
        limited(&world, &log, |config| {
            (config.delete, config.compact) = (delete, compact);
            (config.retention_ms, config.retention_bytes) = (1, 1);
        });
        log.delete_records_before(70).unwrap();
        assert!(log.delete_old_segments(i64::MAX).unwrap() > 0, "what lies below the start of the log goes always");
        let start = log.log_start_offset();
        assert_eq!(start, if delete { 300 } else { 70 }, "{delete} {compact}");
    }
}

#[test]
fn size_counts_as_in_kafka() {
    let mut world = World::new();
    world.config.retention_ms = -1;
    let log = world.open();
    fill(&log, 100);
    log.update_high_watermark(300);
    let views = log.segments().unwrap();
    let total = log.size();
    // As long as the log without the segment is not smaller than the limit.
    let two = views[0].size + views[1].size;
    for (limit, gone) in [(total + 1, 0), (total, 0), (total - views[0].size + 1, 0), (total - two + 1, 1)] {
        limited(&world, &log, |config| config.retention_bytes = limit as i64);
        assert_eq!(log.delete_old_segments(0).unwrap(), gone, "{limit}");
    }
    limited(&world, &log, |config| config.retention_bytes = (total - two) as i64);
    assert_eq!(log.delete_old_segments(0).unwrap(), 1);
    limited(&world, &log, |config| config.retention_bytes = 0);
    log.delete_old_segments(0).unwrap();
    assert_eq!((log.log_start_offset(), log.size()), (300, 0));
}

/// KAFKA-6324: a file that somebody else removed stops nothing.
#[test]
fn deleting_a_segment_whose_files_are_gone_is_no_failure() {
    let world = World::new();
    let log = world.open();
    fill(&log, 100);
    log.update_high_watermark(300);
    for path in world.files("index").iter().take(6).chain(world.files(".log").iter().take(1)) {
        world.disk_remove(path);
    }
    log.delete_records_before(299).unwrap();
    assert!(log.delete_old_segments(0).unwrap() > 3);
    assert!(!log.log_directory().is_offline());
    assert_eq!(read_all(&log, 299).last().unwrap().0.next_offset(), 300);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Redpanda PR 18112: a look-up by time answered an offset below the start of the log.
    #[test]
    fn times_never_lead_below_the_start_of_the_log(
        timestamps in prop::collection::vec(0..50i64, 1..80),
        start in 0..160i64,
        deletes in any::<bool>(),
        asked in 0..60i64,
    ) {
        let mut world = World::new();
        world.config.segment_bytes = 700;
        world.config.index_interval_bytes = 100;
        let log = world.open();
        for timestamp in &timestamps {
            append(&log, batch(BatchProperties::default(), 2, *timestamp));
        }
        let end = 2 * timestamps.len() as i64;
        log.update_high_watermark(end);
        let start = start.min(end);
        log.delete_records_before(start).unwrap();
        if deletes {
            limited(&world, &log, |config| config.retention_ms = -1);
            log.delete_old_segments(0).unwrap();
        }
        let records = || (start..end).map(|offset| (timestamps[offset as usize / 2], offset));
        let found = log.offset_for_timestamp(asked).unwrap().map(|found| (found.timestamp, found.offset));
        prop_assert_eq!(found, records().find(|(timestamp, _)| *timestamp >= asked));
        let largest = log.max_timestamp_offset().unwrap().map(|found| (found.timestamp, found.offset));
        let expected = records().max_by_key(|(timestamp, offset)| (*timestamp, -offset));
        prop_assert_eq!(largest, expected);
    }
}
