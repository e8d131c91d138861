//! Building one batch (`MemoryRecordsBuilder`), for internal topics, the metadata log, recompression and tests.

use bytes::Bytes;

use super::batch_header::{
    ATTRIBUTES_OFFSET, BATCH_HEADER_SIZE, CONTROL_BIT, CRC_OFFSET, DELETE_HORIZON_BIT, LOG_OVERHEAD,
    TIMESTAMP_TYPE_BIT, TRANSACTIONAL_BIT,
};
use super::compression::compress;
use super::record_iterator::encoded_size;
use super::varint::{size_of_varint, size_of_varlong, write_varint, write_varlong};
use super::{BatchHeader, Compression, CompressionType, Header, MAGIC_V2, RecordError, TimestampType};
use crate::types::{NO_LEADER_EPOCH, NO_PRODUCER_ID, NO_TIMESTAMP};

/// What a batch says about itself. The default is what a plain producer sends: offset 0, no leader epoch, no producer id,
/// CreateTime, no compression.
#[derive(Clone, Debug)]
pub struct BatchProperties {
    /// The offset of the first record.
    pub base_offset: i64,
    /// The epoch of the leader that appends it, or -1.
    pub partition_leader_epoch: i32,
    /// The codec and level.
    pub compression: Compression,
    /// What the timestamps mean.
    pub timestamp_type: TimestampType,
    /// The time of the append in milliseconds; written as the maximum timestamp if `timestamp_type` is LogAppendTime.
    pub log_append_time: i64,
    /// The producer, or -1.
    pub producer_id: i64,
    /// The producer's epoch, or -1.
    pub producer_epoch: i16,
    /// The sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Whether the batch belongs to a transaction.
    pub is_transactional: bool,
    /// Whether the records are control records.
    pub is_control: bool,
    /// The time after which tombstones and markers in the batch may be dropped; it takes the place of the base timestamp (KIP-534).
    pub delete_horizon_ms: Option<i64>,
}

impl Default for BatchProperties {
    fn default() -> Self {
        Self {
            base_offset: 0,
            partition_leader_epoch: NO_LEADER_EPOCH,
            compression: Compression::NONE,
            timestamp_type: TimestampType::CreateTime,
            log_append_time: NO_TIMESTAMP,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: -1,
            base_sequence: -1,
            is_transactional: false,
            is_control: false,
            delete_horizon_ms: None,
        }
    }
}

/// Collects records and makes one batch of them.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    properties: BatchProperties,
    /// Room for the header, then the uncompressed records.
    buffer: Vec<u8>,
    base_timestamp: i64,
    max_timestamp: i64,
    last_offset: i64,
    record_count: i32,
}

impl BatchBuilder {
    /// Starts an empty batch.
    pub fn new(properties: BatchProperties) -> Self {
        Self {
            last_offset: properties.base_offset.wrapping_sub(1),
            properties,
            buffer: vec![0; BATCH_HEADER_SIZE],
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            record_count: 0,
        }
    }

    /// Adds a record at the next offset and returns that offset. `timestamp` is in milliseconds, or -1.
    /// Fails if a record of a batch cannot have that size or offset (`i32::MAX` bytes or records).
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<i64, RecordError> {
        self.append_with_offset(self.last_offset.wrapping_add(1), timestamp, key, value, headers)
    }

    /// Adds a record at an offset of the caller's choice, which must be greater than the last one; gaps are what compaction leaves.
    pub fn append_with_offset(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<i64, RecordError> {
        let offset_delta = offset
            .checked_sub(self.properties.base_offset)
            .and_then(|delta| i32::try_from(delta).ok())
            .filter(|delta| *delta >= 0 && (offset > self.last_offset || self.record_count == 0))
            .ok_or_else(|| {
                RecordError::Invalid(format!(
                    "Offset {offset} cannot follow {} in a batch with base offset {}",
                    self.last_offset, self.properties.base_offset
                ))
            })?;
        if self.record_count == 0 {
            self.base_timestamp = self.properties.delete_horizon_ms.unwrap_or(timestamp);
        }
        // Wraps for timestamps at opposite ends of the range, and wraps back when it is read.
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let body_size = body_size(offset_delta, timestamp_delta, key, value, headers)
            .filter(|size| self.buffer.len() + encoded_size(*size) <= i32::MAX as usize)
            .ok_or_else(|| RecordError::Invalid("a record batch cannot be larger than 2 GiB".to_owned()))?;
        self.buffer.reserve(encoded_size(body_size));
        write_varint(&mut self.buffer, body_size as i32);
        self.buffer.push(0);
        write_varlong(&mut self.buffer, timestamp_delta);
        write_varint(&mut self.buffer, offset_delta);
        write_nullable(&mut self.buffer, key);
        write_nullable(&mut self.buffer, value);
        write_varint(&mut self.buffer, headers.len() as i32);
        for header in headers {
            write_nullable(&mut self.buffer, Some(header.key));
            write_nullable(&mut self.buffer, header.value);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.last_offset = offset;
        self.record_count += 1;
        Ok(offset)
    }

    /// The records so far.
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// The size in bytes that the batch would have without compression.
    pub fn uncompressed_size(&self) -> usize {
        self.buffer.len()
    }

    /// The offset of the last record added, or the one before the base offset.
    pub fn last_offset(&self) -> i64 {
        self.last_offset
    }

    /// Makes the batch end at a later offset than its last record: what compaction leaves keeps the last offset, and with it the
    /// last sequence number, of the batch it was (`overrideLastOffset`). Nothing can be added any more.
    pub fn override_last_offset(&mut self, last_offset: i64) {
        self.last_offset = self.last_offset.max(last_offset);
    }

    /// Encodes the batch. Without records there is no batch, and the result is empty. Should the codec fail, the records
    /// stay uncompressed, which says the same.
    pub fn build(self) -> Bytes {
        if self.record_count == 0 {
            return Bytes::new();
        }
        let mut codec = CompressionType::None;
        let mut buffer = self.buffer;
        if self.properties.compression.codec != CompressionType::None {
            let mut compressed = vec![0; BATCH_HEADER_SIZE];
            if compress(self.properties.compression, &buffer[BATCH_HEADER_SIZE..], &mut compressed).is_ok() {
                codec = self.properties.compression.codec;
                buffer = compressed;
            }
        }
        let properties = self.properties;
        let mut attributes = codec.id();
        let mut max_timestamp = self.max_timestamp;
        if properties.timestamp_type == TimestampType::LogAppendTime {
            attributes |= TIMESTAMP_TYPE_BIT;
            max_timestamp = properties.log_append_time;
        }
        attributes |= if properties.is_transactional { TRANSACTIONAL_BIT } else { 0 };
        attributes |= if properties.is_control { CONTROL_BIT } else { 0 };
        attributes |= if properties.delete_horizon_ms.is_some() { DELETE_HORIZON_BIT } else { 0 };
        let header = BatchHeader {
            base_offset: properties.base_offset,
            batch_length: (buffer.len() - LOG_OVERHEAD) as i32,
            partition_leader_epoch: properties.partition_leader_epoch,
            magic: MAGIC_V2,
            crc: 0,
            attributes,
            last_offset_delta: self.last_offset.wrapping_sub(properties.base_offset) as i32,
            base_timestamp: self.base_timestamp,
            max_timestamp,
            producer_id: properties.producer_id,
            producer_epoch: properties.producer_epoch,
            base_sequence: properties.base_sequence,
            record_count: self.record_count,
        };
        seal(&header, buffer)
    }
}

/// Writes the header in front of the records that `buffer` holds behind room for it, and the checksum over both.
pub(super) fn seal(header: &BatchHeader, mut buffer: Vec<u8>) -> Bytes {
    buffer[..BATCH_HEADER_SIZE].copy_from_slice(&header.encode());
    let crc = crc32c::crc32c(&buffer[ATTRIBUTES_OFFSET..]);
    buffer[CRC_OFFSET..ATTRIBUTES_OFFSET].copy_from_slice(&crc.to_be_bytes());
    buffer.into()
}

fn body_size(
    offset_delta: i32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header<'_>],
) -> Option<usize> {
    let mut size = 1 + size_of_varlong(timestamp_delta) + size_of_varint(offset_delta);
    size += size_of_nullable(key)? + size_of_nullable(value)?;
    size += size_of_varint(i32::try_from(headers.len()).ok()?);
    for header in headers {
        size += size_of_nullable(Some(header.key))? + size_of_nullable(header.value)?;
    }
    i32::try_from(size).is_ok().then_some(size)
}

fn size_of_nullable(bytes: Option<&[u8]>) -> Option<usize> {
    match bytes {
        Some(bytes) => Some(size_of_varint(i32::try_from(bytes.len()).ok()?) + bytes.len()),
        None => Some(1),
    }
}

fn write_nullable(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            write_varint(buffer, bytes.len() as i32);
            buffer.extend_from_slice(bytes);
        }
        None => write_varint(buffer, -1),
    }
}
