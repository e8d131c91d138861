//! What stays of batches.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::record::{CompressionType, Header, check_crc, end_transaction_marker};

const LIMIT: usize = 1 << 20;

fn rules(retention: BatchRetention) -> RetentionRules {
    RetentionRules {
        retention,
        marker_of_empty_transaction: false,
        new_delete_horizon_ms: 9_000,
        decompressed_limit: LIMIT,
    }
}

fn batch(codec: CompressionType, values: &[Option<&str>]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchProperties {
        base_offset: 100,
        partition_leader_epoch: 7,
        compression: codec.into(),
        producer_id: 5,
        producer_epoch: 2,
        base_sequence: 40,
        ..BatchProperties::default()
    });
    for (index, value) in values.iter().enumerate() {
        let key = format!("k{index}");
        let headers = [Header { key: b"h", value: None }];
        builder.append(1_000 + index as i64, Some(key.as_bytes()), value.map(str::as_bytes), &headers).unwrap();
    }
    builder.build()
}

fn filter(batch: &[u8], rules: &RetentionRules, keep: impl Fn(i64) -> bool) -> (Retained, Vec<u8>) {
    let mut output = Vec::new();
    let retained = retain(batch, rules, |record| keep(record.offset), &mut output).unwrap();
    if !output.is_empty() {
        check_crc(&output).unwrap();
    }
    (retained, output)
}

fn offsets_and_times(batch: &[u8]) -> Vec<(i64, i64)> {
    records(batch, LIMIT).unwrap().iter().map(|record| record.map(|r| (r.offset, r.timestamp)).unwrap()).collect()
}

#[test]
fn a_batch_that_keeps_everything_keeps_its_bytes() {
    for codec in [CompressionType::None, CompressionType::Gzip, CompressionType::Zstd] {
        let batch = batch(codec, &[Some("a"), Some("b")]);
        let (retained, output) = filter(&batch, &rules(BatchRetention::DeleteEmpty), |_| true);
        assert_eq!(output, batch);
        assert_eq!((retained.records_read, retained.records_retained), (2, 2));
    }
}

#[test]
fn what_is_left_keeps_the_frame_of_the_batch() {
    for codec in [CompressionType::None, CompressionType::Snappy, CompressionType::Lz4] {
        let batch = batch(codec, &[Some("a"), Some("b"), Some("c"), Some("d")]);
        let (retained, output) = filter(&batch, &rules(BatchRetention::DeleteEmpty), |offset| offset % 2 == 1);
        let (before, after) = (BatchHeader::parse(&batch).unwrap(), BatchHeader::parse(&output).unwrap());
        assert_eq!(retained.header, Some(after));
        assert_eq!((after.base_offset, after.last_offset()), (100, 103));
        assert_eq!(after.last_sequence(), before.last_sequence());
        assert_eq!((after.producer_id, after.producer_epoch, after.partition_leader_epoch), (5, 2, 7));
        assert_eq!(after.compression(), Ok(codec));
        assert_eq!((after.base_timestamp, after.max_timestamp, after.record_count), (1_001, 1_003, 2));
        assert_eq!(offsets_and_times(&output), [(101, 1_001), (103, 1_003)]);
    }
}

#[test]
fn the_last_offset_stays_when_the_last_records_go() {
    let batch = batch(CompressionType::None, &[Some("a"), Some("b"), Some("c")]);
    let (_, output) = filter(&batch, &rules(BatchRetention::DeleteEmpty), |offset| offset == 100);
    let header = BatchHeader::parse(&output).unwrap();
    assert_eq!((header.last_offset(), header.record_count, header.max_timestamp), (102, 1, 1_000));
    assert_eq!(offsets_and_times(&output), [(100, 1_000)]);
}

/// KAFKA-5490, KAFKA-8335: what tells a producer's last sequence stays when the records go.
#[test]
fn k_5490_an_empty_frame_stays_for_a_live_producer() {
    let batch = batch(CompressionType::Gzip, &[Some("a"), Some("b")]);
    let (retained, output) = filter(&batch, &rules(BatchRetention::RetainEmpty), |_| false);
    let header = retained.header.unwrap();
    assert_eq!(output.len(), BATCH_HEADER_SIZE);
    assert_eq!((header.record_count, header.base_offset, header.last_offset()), (0, 100, 101));
    assert_eq!((header.base_sequence, header.last_sequence(), header.max_timestamp), (40, 41, 1_001));
    assert_eq!((header.base_timestamp, header.compression()), (NO_TIMESTAMP, Ok(CompressionType::None)));
    // Once more: an empty frame stays an empty frame.
    let (again, same) = filter(&output, &rules(BatchRetention::RetainEmpty), |_| true);
    assert_eq!((same, again.records_read), (output.clone(), 0));
    let (gone, nothing) = filter(&output, &rules(BatchRetention::DeleteEmpty), |_| true);
    assert_eq!((nothing.len(), gone.header), (0, None));
}

#[test]
fn a_deleted_batch_is_not_read() {
    let mut broken = batch(CompressionType::Gzip, &[Some("a")]).to_vec();
    broken.truncate(BATCH_HEADER_SIZE + 2);
    let mut output = Vec::new();
    let retained = retain(&broken, &rules(BatchRetention::Delete), |_| true, &mut output).unwrap();
    assert_eq!((retained, output.len()), (Retained::default(), 0));
    assert!(retain(&broken, &rules(BatchRetention::DeleteEmpty), |_| true, &mut output).is_err());
    assert!(output.is_empty());
}

/// KAFKA-8522, KAFKA-4529 (KIP-534): the horizon is set by the first cleaning that sees a tombstone, and stays as it is.
#[test]
fn k_8522_the_first_cleaning_of_a_tombstone_sets_the_delete_horizon() {
    for codec in [CompressionType::None, CompressionType::Zstd] {
        let batch = batch(codec, &[Some("a"), None, Some("c")]);
        let (retained, output) = filter(&batch, &rules(BatchRetention::DeleteEmpty), |_| true);
        let header = retained.header.unwrap();
        assert_eq!((header.delete_horizon_ms(), header.base_timestamp), (Some(9_000), 9_000));
        assert_eq!(header.max_timestamp, 1_002);
        assert_eq!(offsets_and_times(&output), [(100, 1_000), (101, 1_001), (102, 1_002)]);
        let later = RetentionRules { new_delete_horizon_ms: 20_000, ..rules(BatchRetention::DeleteEmpty) };
        assert_eq!(filter(&output, &later, |_| true).1, output);
        // Filtered again it keeps the first horizon; without tombstones, too.
        let (smaller, bytes) = filter(&output, &later, |offset| offset != 101);
        assert_eq!(smaller.header.unwrap().delete_horizon_ms(), Some(9_000));
        assert_eq!(offsets_and_times(&bytes), [(100, 1_000), (102, 1_002)]);
    }
}

#[test]
fn a_tombstone_that_goes_sets_no_horizon() {
    let batch = batch(CompressionType::None, &[Some("a"), None]);
    let (retained, _) = filter(&batch, &rules(BatchRetention::DeleteEmpty), |offset| offset == 100);
    assert!(!retained.header.unwrap().has_delete_horizon());
}

#[test]
fn a_marker_gets_its_horizon_once_its_transaction_is_empty() {
    let marker = end_transaction_marker(true, 500, 5, 2, 1);
    assert_eq!(filter(&marker, &rules(BatchRetention::DeleteEmpty), |_| true).1, marker);
    let empty = RetentionRules { marker_of_empty_transaction: true, ..rules(BatchRetention::DeleteEmpty) };
    let (retained, output) = filter(&marker, &empty, |_| true);
    let header = retained.header.unwrap();
    assert!(header.is_control() && header.is_transactional());
    assert_eq!((header.delete_horizon_ms(), header.max_timestamp), (Some(9_000), 500));
    assert_eq!(filter(&output, &empty, |_| true).1, output);
}

#[test]
fn log_append_time_stays() {
    let mut builder = BatchBuilder::new(BatchProperties {
        timestamp_type: TimestampType::LogAppendTime,
        log_append_time: 777,
        ..BatchProperties::default()
    });
    for key in [b"a", b"b"] {
        builder.append(5, Some(key), None, &[]).unwrap();
    }
    let batch = builder.build();
    let (retained, output) = filter(&batch, &rules(BatchRetention::DeleteEmpty), |offset| offset == 1);
    let header = retained.header.unwrap();
    assert_eq!((header.timestamp_type(), header.max_timestamp), (TimestampType::LogAppendTime, 777));
    assert_eq!(offsets_and_times(&output), [(1, 777)]);
}

proptest! {
    /// Whatever is dropped: what stays is what was there, and the frame covers the same offsets.
    #[test]
    fn survivors_are_unchanged(
        codec in prop::sample::select(vec![
            CompressionType::None, CompressionType::Gzip, CompressionType::Snappy, CompressionType::Lz4, CompressionType::Zstd,
        ]),
        content in prop::collection::vec((any::<i64>(), prop::option::of(".{0,20}"), any::<bool>(), 1i64..9), 1..30),
        base_offset in 0i64..1_000_000,
    ) {
        let mut builder = BatchBuilder::new(BatchProperties {
            base_offset, compression: codec.into(), ..BatchProperties::default()
        });
        let mut offset = base_offset;
        let mut expected = Vec::new();
        for (timestamp, value, keeps, gap) in &content {
            let value = value.as_ref().map(String::as_bytes);
            let headers = [Header { key: b"x", value }];
            builder.append_with_offset(offset, *timestamp, Some(b"key"), value, &headers).unwrap();
            if *keeps {
                expected.push((offset, *timestamp, value.map(<[u8]>::to_vec)));
            }
            offset += gap;
        }
        let batch = builder.build();
        let keeps = |wanted: i64| expected.iter().any(|(offset, _, _)| *offset == wanted);
        let (retained, output) = filter(&batch, &rules(BatchRetention::RetainEmpty), keeps);
        let (before, after) = (BatchHeader::parse(&batch).unwrap(), retained.header.unwrap());
        prop_assert_eq!((after.base_offset, after.last_offset_delta), (before.base_offset, before.last_offset_delta));
        prop_assert_eq!(after.has_delete_horizon(), expected.iter().any(|(_, _, value)| value.is_none()));
        let opened = records(&output, LIMIT).unwrap();
        let found: Vec<_> = opened.iter()
            .map(|record| record.map(|record| {
                prop_assert_eq!(record.headers[0].value, record.value);
                Ok((record.offset, record.timestamp, record.value.map(<[u8]>::to_vec)))
            }).unwrap().unwrap())
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn damaged_batches_do_no_harm(at in 0usize..200, bit in 0u8..8, keeps: bool) {
        let mut damaged = batch(CompressionType::None, &[Some("a"), None, Some("c")]).to_vec();
        let at = at % damaged.len();
        damaged[at] ^= 1 << bit;
        let mut output = Vec::new();
        if retain(&damaged, &rules(BatchRetention::RetainEmpty), |_| keeps, &mut output).is_err() {
            prop_assert!(output.is_empty());
        }
    }
}
