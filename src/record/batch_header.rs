//! The 61 bytes in front of the records of a magic 2 batch (`DefaultRecordBatch`).

use super::{CompressionType, RecordError};
use crate::types::NO_PRODUCER_ID;

/// Size of the header of a magic 2 batch in bytes (`RECORD_BATCH_OVERHEAD`).
pub const BATCH_HEADER_SIZE: usize = 61;
/// Bytes in front of what `batch_length` counts: base offset and the length itself (`Records.LOG_OVERHEAD`).
pub const LOG_OVERHEAD: usize = 12;
/// Position of the magic byte, the same in every message format.
pub const MAGIC_OFFSET: usize = 16;
/// Position of the checksum; it covers everything after itself.
pub const CRC_OFFSET: usize = 17;
/// Position of the last offset delta.
pub const LAST_OFFSET_DELTA_OFFSET: usize = 23;

pub(super) const ATTRIBUTES_OFFSET: usize = 21;
pub(super) const COMPRESSION_MASK: i16 = 0x07;
pub(super) const TIMESTAMP_TYPE_BIT: i16 = 0x08;
pub(super) const TRANSACTIONAL_BIT: i16 = 0x10;
pub(super) const CONTROL_BIT: i16 = 0x20;
pub(super) const DELETE_HORIZON_BIT: i16 = 0x40;

/// What the timestamps of a batch mean (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's clock.
    CreateTime,
    /// The broker's clock when the batch was appended; it is the batch's maximum timestamp and holds for every record.
    LogAppendTime,
}

/// A copy of the header of a magic 2 batch. Field names and meanings are those of Kafka's protocol guide; times are milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct BatchHeader {
    pub base_offset: i64,
    pub batch_length: i32,
    pub partition_leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; the records need not be there.
    /// Fails as `CorruptRecordException` if there are fewer than 61 bytes, or the length or the magic is not that of a magic 2 batch.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let Some(header) = bytes.first_chunk::<BATCH_HEADER_SIZE>() else {
            return Err(RecordError::Corrupt(format!(
                "{} bytes are less than the header of a record batch ({BATCH_HEADER_SIZE})",
                bytes.len()
            )));
        };
        let parsed = Self::parse_fields(header);
        if parsed.magic != 2 {
            return Err(RecordError::Corrupt(format!("Invalid magic found in record: {}", parsed.magic)));
        }
        if parsed.batch_length < (BATCH_HEADER_SIZE - LOG_OVERHEAD) as i32 {
            return Err(RecordError::Corrupt(format!(
                "Record batch length {} is less than the minimum of a record batch ({})",
                parsed.batch_length,
                BATCH_HEADER_SIZE - LOG_OVERHEAD
            )));
        }
        Ok(parsed)
    }

    fn parse_fields(header: &[u8; BATCH_HEADER_SIZE]) -> Self {
        Self {
            base_offset: i64::from_be_bytes(field(header, 0)),
            batch_length: i32::from_be_bytes(field(header, 8)),
            partition_leader_epoch: i32::from_be_bytes(field(header, 12)),
            magic: header[MAGIC_OFFSET] as i8,
            crc: u32::from_be_bytes(field(header, CRC_OFFSET)),
            attributes: i16::from_be_bytes(field(header, ATTRIBUTES_OFFSET)),
            last_offset_delta: i32::from_be_bytes(field(header, LAST_OFFSET_DELTA_OFFSET)),
            base_timestamp: i64::from_be_bytes(field(header, 27)),
            max_timestamp: i64::from_be_bytes(field(header, 35)),
            producer_id: i64::from_be_bytes(field(header, 43)),
            producer_epoch: i16::from_be_bytes(field(header, 51)),
            base_sequence: i32::from_be_bytes(field(header, 53)),
            record_count: i32::from_be_bytes(field(header, 57)),
        }
    }

    /// The header as the 61 bytes on disk and on the wire; the checksum is written as it stands.
    pub fn encode(&self) -> [u8; BATCH_HEADER_SIZE] {
        let mut bytes = [0; BATCH_HEADER_SIZE];
        bytes[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        bytes[MAGIC_OFFSET] = self.magic as u8;
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        bytes
    }

    /// The offset of the last record the batch was written with; compaction keeps it.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// The sequence number of the last record, wrapping from `i32::MAX` to 0; -1 if the batch has no sequence.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 { -1 } else { increment_sequence(self.base_sequence, self.last_offset_delta) }
    }

    /// The sequence number of the record at `offset`; -1 if the batch has no sequence.
    pub fn sequence_of(&self, offset: i64) -> i32 {
        let delta = offset.wrapping_sub(self.base_offset) as i32;
        if self.base_sequence < 0 { -1 } else { increment_sequence(self.base_sequence, delta) }
    }

    /// The size of the whole batch in bytes, header included.
    pub fn size_in_bytes(&self) -> usize {
        LOG_OVERHEAD + self.batch_length.max(0) as usize
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds control records, which consumers skip.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether a producer id is set.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// The codec of the records; fails for the ids 5 to 7, which no codec has.
    pub fn compression(&self) -> Result<CompressionType, RecordError> {
        CompressionType::from_id(self.attributes & COMPRESSION_MASK)
    }

    /// What the timestamps mean.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE_BIT != 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }

    /// Whether `base_timestamp` holds the delete horizon instead of a timestamp (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// The time after which the cleaner may drop the batch's tombstones and markers, if it was set (KIP-534).
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.has_delete_horizon().then_some(self.base_timestamp)
    }

    pub(super) fn set_timestamp_type(&mut self, timestamp_type: TimestampType) {
        match timestamp_type {
            TimestampType::CreateTime => self.attributes &= !TIMESTAMP_TYPE_BIT,
            TimestampType::LogAppendTime => self.attributes |= TIMESTAMP_TYPE_BIT,
        }
    }
}

/// The sequence `increment` records after `sequence`; sequences wrap from `i32::MAX` to 0 (`DefaultRecordBatch.incrementSequence`).
fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    if sequence > i32::MAX.wrapping_sub(increment) {
        increment.wrapping_sub(i32::MAX.wrapping_sub(sequence)).wrapping_sub(1)
    } else {
        sequence.wrapping_add(increment)
    }
}

fn field<const SIZE: usize>(header: &[u8; BATCH_HEADER_SIZE], offset: usize) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes.copy_from_slice(&header[offset..offset + SIZE]);
    bytes
}

/// Compares the stored checksum (CRC-32C of everything from the attributes on) with the bytes of one whole batch.
pub fn check_crc(batch: &[u8]) -> Result<(), RecordError> {
    let header = BatchHeader::parse(batch)?;
    if header.size_in_bytes() != batch.len() {
        return Err(RecordError::Corrupt(format!(
            "the record batch has {} bytes and its header says {}",
            batch.len(),
            header.size_in_bytes()
        )));
    }
    if crc32c::crc32c(&batch[ATTRIBUTES_OFFSET..]) != header.crc {
        return Err(RecordError::Corrupt(format!("Record is corrupt (stored crc = {})", header.crc)));
    }
    Ok(())
}

/// Writes base offset and partition leader epoch into the header of an encoded batch; the checksum covers neither.
/// Does nothing if `batch` is shorter than a header.
pub fn patch_offset_and_epoch(batch: &mut [u8], base_offset: i64, partition_leader_epoch: i32) {
    if batch.len() >= BATCH_HEADER_SIZE {
        batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
        batch[12..16].copy_from_slice(&partition_leader_epoch.to_be_bytes());
    }
}
