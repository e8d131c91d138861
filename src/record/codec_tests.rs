//! Codecs and iterators against arbitrary, lying and hostile bytes.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

const CODECS: [CompressionType; 5] = [
    CompressionType::None,
    CompressionType::Gzip,
    CompressionType::Snappy,
    CompressionType::Lz4,
    CompressionType::Zstd,
];

type OwnedHeader = (Vec<u8>, Option<Vec<u8>>);
type OwnedRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<OwnedHeader>);

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), (any::<u8>(), 0..3000usize).prop_map(|(byte, count)| vec![byte; count])]
}

fn any_record() -> impl Strategy<Value = OwnedRecord> {
    let timestamp =
        prop_oneof![any::<i64>(), Just(-1), Just(i64::MAX), Just(i64::MIN), 1_700_000_000_000..1_800_000_000_000i64];
    // Few header keys, so that they repeat; arbitrary bytes, so that they are not UTF-8.
    let header = (vec(prop_oneof![Just(0xffu8), Just(b'a')], 0..3), option::of(any_bytes()));
    (timestamp, option::of(any_bytes()), option::of(any_bytes()), vec(header, 0..5))
}

fn build(records: &[OwnedRecord], properties: BatchProperties) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(properties);
    for (timestamp, key, value, headers) in records {
        let headers: Vec<Header<'_>> =
            headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        builder.append(*timestamp, key.as_deref(), value.as_deref(), &headers).expect("fits");
    }
    builder.build()
}

fn owned(record: &Record<'_>) -> OwnedRecord {
    (
        record.timestamp,
        record.key.map(<[u8]>::to_vec),
        record.value.map(<[u8]>::to_vec),
        record.headers.iter().map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec))).collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_built_is_read(records in vec(any_record(), 1..12), base_offset in 0..i64::MAX / 2) {
        for codec in CODECS {
            let batch = build(&records, BatchProperties {
                base_offset, compression: codec.into(), ..BatchProperties::default()
            });
            check_crc(&batch).expect("checksum");
            let opened = super::records(&batch, 1 << 20).expect("opens");
            prop_assert_eq!(opened.header().compression(), Ok(codec));
            let mut read = Vec::new();
            for (offset, record) in (base_offset..).zip(&opened) {
                let record = record.expect("reads");
                prop_assert_eq!(record.offset, offset);
                read.push(owned(&record));
            }
            prop_assert_eq!(&read, &records);
        }
    }

    #[test]
    fn a_changed_byte_is_noticed_and_nothing_panics(
        records in vec(any_record(), 1..6), position: prop::sample::Index, mask in 1..=255u8, now: i64,
    ) {
        for codec in CODECS {
            let mut batch = build(&records, BatchProperties { compression: codec.into(), ..BatchProperties::default() }).to_vec();
            let position = position.index(batch.len());
            batch[position] ^= mask;
            if position >= CRC_OFFSET {
                prop_assert!(check_crc(&batch).is_err());
            }
            for (header, bytes) in BatchIterator::new(&batch).map_while(Result::ok) {
                prop_assert_eq!(header.size_in_bytes(), bytes.len());
                read_all(bytes);
            }
            // With a checksum that agrees, as a hostile client sends it.
            if batch.len() >= BATCH_HEADER_SIZE {
                let crc = crc32c::crc32c(&batch[21..]);
                batch[CRC_OFFSET..21].copy_from_slice(&crc.to_be_bytes());
            }
            let mut rules = ValidationRules::new(crate::types::TopicPartition::new("t", 0));
            rules.strict = true;
            rules.decompressed_limit = 1 << 20;
            let _ = validate_produce(batch.into(), &rules, now);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400), limit in 0..5000usize) {
        for codec in CODECS {
            if let Ok(output) = decompress(codec, &bytes, limit) {
                prop_assert!(output.len() <= limit);
            }
        }
        let _ = BatchIterator::new(&bytes).count();
        let _ = check_crc(&bytes);
        let header = BatchHeader::parse(&build(&[(0, None, None, vec![])], BatchProperties::default())).expect("a header");
        for count in [-1, 0, 1, 7, i32::MAX] {
            let header = BatchHeader { record_count: count, ..header };
            let _ = RecordIterator::new(&header, &bytes).count();
        }
    }
}

fn read_all(batch: &[u8]) {
    if let Ok(opened) = records(batch, 1 << 20) {
        let _ = opened.iter().count();
    }
}

#[test]
fn the_limit_is_exact() {
    let data = [b"some text, ".repeat(20_000), (0..=255).collect()].concat();
    for codec in CODECS {
        let mut compressed = Vec::new();
        compress(codec.into(), &data, &mut compressed).expect("compresses");
        assert_eq!(decompress(codec, &compressed, data.len()).as_ref(), Ok(&data), "{codec:?}");
        let refused = decompress(codec, &compressed, data.len() - 1);
        assert_eq!(refused, Err(RecordError::DecompressedTooLarge { limit: data.len() - 1 }), "{codec:?}");
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    const LIMIT: usize = 1 << 20;
    let zeros = vec![0; 16 * LIMIT];
    for codec in CODECS {
        let mut bomb = Vec::new();
        compress(codec.into(), &zeros, &mut bomb).expect("compresses");
        let refused = decompress(codec, &bomb, LIMIT);
        assert_eq!(refused, Err(RecordError::DecompressedTooLarge { limit: LIMIT }), "{codec:?}");
    }
}

#[test]
fn levels_are_taken_and_clamped() {
    let data = b"level level level ".repeat(1000);
    for codec in [CompressionType::Gzip, CompressionType::Lz4, CompressionType::Zstd] {
        for level in [i32::MIN, -5, -1, 0, 1, 9, 17, 22, i32::MAX] {
            let mut compressed = Vec::new();
            compress(Compression { codec, level }, &data, &mut compressed).expect("compresses");
            assert_eq!(decompress(codec, &compressed, data.len()).as_ref(), Ok(&data), "{codec:?} {level}");
        }
    }
}

#[test]
fn frames_may_follow_each_other() {
    for codec in [CompressionType::Gzip, CompressionType::Snappy, CompressionType::Lz4, CompressionType::Zstd] {
        let mut compressed = Vec::new();
        compress(codec.into(), b"first, ", &mut compressed).expect("compresses");
        compress(codec.into(), b"second", &mut compressed).expect("compresses");
        assert_eq!(decompress(codec, &compressed, 100).as_deref(), Ok(b"first, second".as_slice()), "{codec:?}");
    }
}

#[test]
fn raw_snappy_is_read() {
    let data = b"librdkafka frames nothing ".repeat(4000);
    let raw = snap::raw::Encoder::new().compress_vec(&data).expect("compresses");
    assert_eq!(decompress(CompressionType::Snappy, &raw, data.len()).as_ref(), Ok(&data));
}

#[test]
fn lying_sizes_are_not_believed() {
    // A raw snappy block that claims 2 GiB, and 60 KiB out of two bytes.
    for claim in [&[0xff, 0xff, 0xff, 0xff, 0x07, 0][..], &[0xe0, 0xd4, 0x03, 0]] {
        let refused = decompress(CompressionType::Snappy, claim, 1 << 30);
        assert!(matches!(refused, Err(RecordError::Decompression { .. })), "{refused:?}");
    }
    // A xerial block longer than the stream.
    let xerial = [b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".as_slice(), &[0x7f, 0xff, 0xff, 0xff, 1]].concat();
    assert!(decompress(CompressionType::Snappy, &xerial, 1 << 30).is_err());
    // A zstd frame whose header promises 2^62 bytes.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x01, 0, 0];
    assert!(decompress(CompressionType::Zstd, &zstd, 1 << 20).is_err());
    // Garbage after an lz4 frame, and an lz4 frame of the old format.
    let mut lz4 = Vec::new();
    compress(CompressionType::Lz4.into(), b"x", &mut lz4).expect("compresses");
    lz4.push(1);
    assert!(decompress(CompressionType::Lz4, &lz4, 100).is_err());
    assert!(decompress(CompressionType::Lz4, &[0x02, 0x21, 0x4c, 0x18, 0, 0, 0, 0], 100).is_err());
}

/// One record's bytes behind a header that counts `count` of them.
fn iterate(count: i32, payload: &[u8]) -> Result<usize, RecordError> {
    let batch = build(&[(0, None, None, vec![])], BatchProperties::default());
    let header = BatchHeader { record_count: count, ..BatchHeader::parse(&batch).expect("a header") };
    RecordIterator::new(&header, payload).try_fold(0, |read, record| record.map(|_| read + 1))
}

#[test]
fn broken_records_are_refused_in_kafka_s_words() {
    let cases: [(i32, &[u8], &str); 12] = [
        (-1, &[], "Found invalid record count -1 in magic v2 batch"),
        (1, &[], "Incorrect declared batch size, premature EOF reached"),
        (
            1,
            &[0x7f],
            "Invalid record size: expected -64 bytes in record payload, but instead the buffer has only 0 remaining bytes.",
        ),
        (
            1,
            &[20, 0],
            "Invalid record size: expected 10 bytes in record payload, but instead the buffer has only 1 remaining bytes.",
        ),
        (1, &[0], "Found invalid record structure"),
        (1, &[12, 0, 0, 0, 60, 1, 0], "Found invalid record structure"),
        (1, &[12, 0, 0, 0, 1, 60, 0], "Found invalid record structure"),
        (1, &[12, 0, 0, 0, 1, 1, 1], "Found invalid number of record headers -1"),
        (
            1,
            &[12, 0, 0, 0, 1, 1, 60],
            "Found invalid number of record headers. 30 is larger than the remaining size of the buffer",
        ),
        (1, &[16, 0, 0, 0, 1, 1, 2, 1, 0], "Invalid negative header key size -1"),
        (
            1,
            &[14, 0, 0, 0, 1, 1, 0, 9],
            "Invalid record size: expected to read 7 bytes in record payload, but instead read 6",
        ),
        (1, &[12, 0, 0, 0, 1, 1, 0, 9], "Incorrect declared batch size, records still remaining in file"),
    ];
    for (count, payload, message) in cases {
        assert_eq!(iterate(count, payload), Err(RecordError::Invalid(message.to_owned())), "{payload:?}");
    }
    assert_eq!(iterate(2, &[12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 2, 1, 1, 0]), Ok(2));
    assert_eq!(iterate(0, &[]), Ok(0));
}

#[test]
fn batches_are_found_one_after_the_other() {
    let one = build(&[(0, None, None, vec![])], BatchProperties::default());
    let two = build(
        &[(0, None, Some(vec![7; 100]), vec![])],
        BatchProperties { base_offset: 1, ..BatchProperties::default() },
    );
    let mut bytes = [&one[..], &two[..], &one[..20]].concat();
    let mut batches = BatchIterator::new(&bytes);
    assert_eq!(batches.next().expect("one").expect("framed").1, &one[..]);
    assert_eq!(batches.next().expect("two").expect("framed").0.base_offset, 1);
    assert!(batches.next().is_none());
    assert_eq!(batches.remaining(), 20);
    for (position, byte) in [(16, 3), (16, 1), (8, 0xff), (11, 13)] {
        let before = bytes[position];
        bytes[position] = byte;
        if position == 11 {
            bytes[10] = 0;
        }
        let mut batches = BatchIterator::new(&bytes);
        assert!(matches!(batches.next(), Some(Err(RecordError::Corrupt(_)))), "{position}");
        assert!(batches.next().is_none());
        bytes[position] = before;
    }
}

#[test]
fn offsets_of_a_batch_only_grow() {
    let mut builder = BatchBuilder::new(BatchProperties { base_offset: 10, ..BatchProperties::default() });
    assert!(builder.is_empty());
    assert_eq!(builder.append_with_offset(12, 0, None, None, &[]), Ok(12));
    assert!(builder.append_with_offset(12, 0, None, None, &[]).is_err());
    assert!(builder.append_with_offset(i64::from(i32::MAX) + 11, 0, None, None, &[]).is_err());
    assert_eq!(builder.append_with_offset(i64::from(i32::MAX) + 10, 0, None, None, &[]), Ok(i64::from(i32::MAX) + 10));
    assert!(builder.append(0, None, None, &[]).is_err());
    assert_eq!((builder.record_count(), builder.last_offset()), (2, i64::from(i32::MAX) + 10));
    let batch = builder.build();
    let offsets: Vec<i64> =
        records(&batch, 0).expect("opens").iter().map(|record| record.expect("reads").offset).collect();
    assert_eq!(offsets, [12, i64::from(i32::MAX) + 10]);
    assert!(BatchBuilder::new(BatchProperties::default()).build().is_empty());
}
