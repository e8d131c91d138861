//! Tests of one log on the simulated disk.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::config::LogConfig;
use crate::env::{Env, ManualClock};
use crate::record::{BatchBuilder, BatchIterator, BatchProperties};
use crate::storage::*;
use crate::types::TopicPartition;

pub(in crate::storage) fn batch(properties: BatchProperties, records: i32, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new(properties);
    for number in 0..records {
        builder.append(timestamp, Some(b"key"), Some(format!("value {number}").as_bytes()), &[]).unwrap();
    }
    builder.build()
}

pub(in crate::storage) fn environment() -> (Env, Arc<LogDirectory>) {
    let env = Env::simulated(ManualClock::new(1_000_000), 1);
    env.disk.create_dir_all("/data".as_ref()).unwrap();
    let directory = LogDirectory::new(env.clone(), "/data", Uuid::nil(), 100);
    (env, directory)
}

pub(in crate::storage) fn options(directory: &Arc<LogDirectory>) -> LogOptions {
    LogOptions::new(directory.clone(), TopicPartition::new("t", 0), Arc::new(LogConfig::default()))
}

#[test]
fn appends_reads_and_reopens() {
    let (_, directory) = environment();
    let log = Log::open(options(&directory)).unwrap();
    for number in 0..10 {
        let info = log
            .append_records(batch(BatchProperties::default(), 3, 100 + number), 4, AppendOrigin::Coordinator, 7)
            .unwrap();
        assert_eq!((info.first_offset, info.last_offset), (number * 3, number * 3 + 2));
    }
    assert!(log.read(30, 100, FetchIsolation::HighWatermark, true).unwrap().records.is_none());
    log.update_high_watermark(30);
    for log in [log.clone(), Log::open(options(&directory)).unwrap()] {
        assert_eq!(log.log_end_offset(), 30);
        let info = log.read(4, 1 << 20, FetchIsolation::LogEnd, true).unwrap();
        let bytes = info.records.unwrap().read().unwrap();
        let headers: Vec<_> = BatchIterator::new(&bytes).map(|batch| batch.unwrap().0).collect();
        assert_eq!(headers.len(), 9);
        assert_eq!((headers[0].base_offset, headers[0].partition_leader_epoch), (3, 4));
        assert_eq!(log.end_offset_for_epoch(4), (4, 30));
    }
}
