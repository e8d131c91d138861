//! Batches of metadata records: how records are framed in the log and in snapshots, and read back
//! (`MetadataRecordSerde`, `RecordsBatchReader`).

use bytes::Bytes;

use super::error::MetadataError;
use super::records::{self, MetadataRecord};
use crate::record::{BatchBuilder, BatchHeader, BatchProperties, records as records_of};

/// The most bytes that one batch of metadata records may have when it is read: ten thousand partitions of one command
/// are under two MiB, and nothing here is compressed.
const MAX_BATCH_BYTES: usize = 256 * 1024 * 1024;

/// One batch of the records.
pub(super) fn encode_batch(
    records: &[MetadataRecord],
    base_offset: i64,
    leader_epoch: i32,
    now: i64,
) -> Result<Bytes, MetadataError> {
    let properties =
        BatchProperties { base_offset, partition_leader_epoch: leader_epoch, ..BatchProperties::default() };
    let mut builder = BatchBuilder::new(properties);
    for record in records {
        let value = records::encode(record)?;
        builder.append(now, None, Some(&value), &[]).map_err(|error| MetadataError::Unencodable(error.to_string()))?;
    }
    Ok(builder.build())
}

/// The records of a batch with their offsets. A control batch holds none.
pub(super) fn decode_batch(header: &BatchHeader, batch: &[u8]) -> Result<Vec<(i64, MetadataRecord)>, String> {
    if header.is_control() {
        return Ok(Vec::new());
    }
    let batch_records = records_of(batch, MAX_BATCH_BYTES).map_err(|error| error.to_string())?;
    let mut decoded = Vec::with_capacity(usize::try_from(header.record_count).unwrap_or(0).min(batch.len() / 8));
    for record in batch_records.iter() {
        let record = record.map_err(|error| error.to_string())?;
        let value = record.value.ok_or_else(|| format!("the record at offset {} has no value", record.offset))?;
        let value = records::decode(value).map_err(|error| format!("offset {}: {error}", record.offset))?;
        decoded.push((record.offset, value));
    }
    Ok(decoded)
}
