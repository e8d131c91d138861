//! Bytes that Apache Kafka 4.3.0 wrote (`MemoryRecordsBuilder`, `MemoryRecords.with…`), one `name hex` a line in `golden_batches.txt`.

use super::*;

const KEY: Option<&[u8]> = Some(b"key");

fn golden(name: &str) -> Vec<u8> {
    let line = include_str!("golden_batches.txt")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .expect("a golden batch of that name");
    line.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex"))
        .collect()
}

fn long_text() -> Vec<u8> {
    let mut text = b"text ".to_vec();
    text.extend(b"abcdefgh".repeat(40));
    text
}

/// The four records that every golden data batch holds.
fn fill(properties: BatchProperties) -> bytes::Bytes {
    let headers = [
        Header { key: b"h", value: Some(b"1") },
        Header { key: b"h", value: None },
        Header { key: "é".as_bytes(), value: Some(b"") },
    ];
    let mut builder = BatchBuilder::new(properties);
    let mut append = |timestamp, key, value, headers: &[Header<'_>]| {
        builder.append(timestamp, key, value, headers).expect("a small record fits");
    };
    append(1_700_000_000_000, KEY, Some(b"value"), &headers);
    append(1_700_000_000_500, None, Some(b"no key"), &[]);
    append(1_699_999_999_000, Some(b"tombstone"), None, &[]);
    append(1_700_000_000_100, Some(b""), Some(&long_text()), &[]);
    builder.build()
}

#[test]
fn uncompressed_batches_are_built_byte_for_byte() {
    assert_eq!(fill(BatchProperties::default()), golden("none"));
    let transactional = BatchProperties {
        base_offset: 1_234_567_890_123,
        partition_leader_epoch: 9,
        producer_id: 4000,
        producer_epoch: 7,
        base_sequence: 2_147_483_646,
        is_transactional: true,
        ..BatchProperties::default()
    };
    assert_eq!(fill(transactional), golden("transactional"));
    let append_time = BatchProperties {
        base_offset: 5,
        partition_leader_epoch: 3,
        timestamp_type: TimestampType::LogAppendTime,
        log_append_time: 1_800_000_000_000,
        ..BatchProperties::default()
    };
    assert_eq!(fill(append_time), golden("log_append_time"));
}

#[test]
fn control_batches_are_built_byte_for_byte() {
    let now = 1_700_000_000_000;
    assert_eq!(end_transaction_marker(true, now, 4000, 7, 12), golden("commit"));
    assert_eq!(end_transaction_marker(false, now, 4000, 7, 12), golden("abort"));
    assert_eq!(leader_change_batch(10, 2, now, 1, &[1], &[1]), golden("leader_change"));
    assert_eq!(snapshot_header_batch(0, 2, now, 1_699_999_999_999, &[]), golden("snapshot_header"));
    assert_eq!(snapshot_footer_batch(6, 2, now), golden("snapshot_footer"));
}

#[test]
fn every_codec_of_java_is_read() {
    for name in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let batch = golden(name);
        check_crc(&batch).expect("Java's checksum");
        let header = BatchHeader::parse(&batch).expect("a header");
        assert_eq!(header.compression(), Ok(CompressionType::from_name(name).expect("a codec")));
        assert_eq!((header.record_count, header.last_offset_delta, header.max_timestamp), (4, 3, 1_700_000_000_500));
        let opened = records(&batch, 4096).expect("decompresses");
        let read: Vec<Record<'_>> = opened.iter().map(|record| record.expect("a record")).collect();
        assert_eq!(read.len(), 4, "{name}");
        assert_eq!((read[0].key, read[0].value), (KEY, Some(b"value".as_slice())));
        assert_eq!(read[0].headers.len(), 3);
        assert_eq!(read[0].headers[1], Header { key: b"h", value: None });
        assert_eq!((read[1].offset, read[1].timestamp, read[1].key), (1, 1_700_000_000_500, None));
        assert_eq!((read[2].value, read[2].timestamp), (None, 1_699_999_999_000));
        assert_eq!(read[3].value, Some(long_text().as_slice()), "{name}");
    }
}

#[test]
fn header_fields_survive_and_wrap() {
    let batch = golden("transactional");
    let header = BatchHeader::parse(&batch).expect("a header");
    assert_eq!(header.encode(), batch[..BATCH_HEADER_SIZE]);
    assert_eq!(header.last_offset(), 1_234_567_890_126);
    assert_eq!((header.base_sequence, header.last_sequence()), (i32::MAX - 1, 1));
    assert!(header.is_transactional() && !header.is_control() && header.has_producer_id());
    let commit = golden("commit");
    let opened = records(&commit, 0).expect("uncompressed");
    let marker = opened.iter().next().expect("one record").expect("readable");
    assert_eq!(control_record_type(marker.key.expect("a key")), Some(ControlRecordType::Commit));
    assert_eq!(end_transaction_marker_coordinator_epoch(&marker), Some(12));
}

#[test]
fn append_time_is_every_record_s_time() {
    let batch = golden("log_append_time");
    let opened = records(&batch, 0).expect("uncompressed");
    for record in &opened {
        assert_eq!(record.expect("a record").timestamp, 1_800_000_000_000);
    }
}

#[test]
fn patching_leaves_the_checksum_right() {
    let mut batch = golden("gzip");
    patch_offset_and_epoch(&mut batch, 77, 5);
    check_crc(&batch).expect("neither field is covered");
    let header = BatchHeader::parse(&batch).expect("a header");
    assert_eq!((header.base_offset, header.partition_leader_epoch, header.next_offset()), (77, 5, 81));
}
