//! The records of one partition of a Produce request. The first byte chooses the topic's configuration; bit 0 makes length
//! and checksum right, so that what is behind them is reached.
#![no_main]

mod memory;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla::record::{
    BATCH_HEADER_SIZE, BatchHeader, CRC_OFFSET, Compression, CompressionType, TimestampType, ValidationRules,
    check_crc, records, validate_produce,
};
use ottla::types::TopicPartition;

const NOW: i64 = 1_700_000_000_000;
const DECOMPRESSED_LIMIT: usize = 1024 * 1024;

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    let mut batch = rest.to_vec();
    if choice & 1 != 0 && batch.len() >= BATCH_HEADER_SIZE {
        let length = (batch.len() - 12) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&batch[CRC_OFFSET + 4..]);
        batch[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_be_bytes());
    }
    let mut rules = ValidationRules::new(TopicPartition::new("fuzz", 0)).with_max_message_bytes(64 * 1024);
    rules.compacted = choice & 2 != 0;
    rules.strict = choice & 4 != 0;
    rules.decompressed_limit = DECOMPRESSED_LIMIT;
    if choice & 8 != 0 {
        rules.timestamp_type = TimestampType::LogAppendTime;
    }
    rules.compression = match choice >> 4 {
        0..=7 => None,
        codec => [
            CompressionType::None,
            CompressionType::Gzip,
            CompressionType::Snappy,
            CompressionType::Lz4,
            CompressionType::Zstd,
        ]
        .get(usize::from(codec - 8))
        .map(|codec| Compression::from(*codec)),
    };
    if let Ok(validated) = validate_produce(Bytes::from(batch), &rules, NOW) {
        // What may be appended is a true batch.
        let bytes = validated.to_bytes();
        let header = BatchHeader::parse(&bytes).expect("a header");
        assert_eq!(header.size_in_bytes() as usize, bytes.len());
        assert!(check_crc(&bytes).is_ok());
        if let Ok(records) = records(&bytes, DECOMPRESSED_LIMIT) {
            records.iter().for_each(drop);
        }
    }
});
