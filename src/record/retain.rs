//! What compaction leaves of a batch (`MemoryRecords.filterTo`, KIP-534): the frame stays, records go.

use super::batch_builder::seal;
use super::batch_header::{BATCH_HEADER_SIZE, CONTROL_BIT, LOG_OVERHEAD, TIMESTAMP_TYPE_BIT, TRANSACTIONAL_BIT};
use super::{
    BatchBuilder, BatchHeader, BatchProperties, Compression, MAGIC_V2, Record, RecordError, Records, TimestampType,
    records,
};
use crate::types::NO_TIMESTAMP;

/// What becomes of a batch (`RecordFilter.BatchRetention`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchRetention {
    /// It goes, without a look at its records.
    Delete,
    /// It stays, as an empty frame if no record does: its last sequence number or its last offset is still needed.
    RetainEmpty,
    /// It goes when no record stays.
    DeleteEmpty,
}

/// How one batch is filtered.
#[derive(Clone, Copy, Debug)]
pub struct RetentionRules {
    /// What becomes of it when nothing is left.
    pub retention: BatchRetention,
    /// It is a marker, and nothing of its transaction is left: its own time begins to run.
    pub marker_of_empty_transaction: bool,
    /// Until when its tombstones and markers stay (milliseconds since 1970), if that is decided now.
    pub new_delete_horizon_ms: i64,
    /// Bound on its decompressed records in bytes.
    pub decompressed_limit: usize,
}

/// What a batch became.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// The header of what was written; nothing if the batch is gone.
    pub header: Option<BatchHeader>,
    /// Records looked at.
    pub records_read: usize,
    /// Records that stay.
    pub records_retained: usize,
}

/// Appends what stays of one whole batch to `output`: the batch as it was, a smaller one, an empty frame, or nothing. The checksum is not
/// looked at, and a rewritten batch gets a fresh one: check it first.
///
/// Fails if the records cannot be read, or are larger than the limit; `output` is as it was then.
pub fn retain(
    batch: &[u8],
    rules: &RetentionRules,
    mut keep: impl FnMut(&Record<'_>) -> bool,
    output: &mut Vec<u8>,
) -> Result<Retained, RecordError> {
    let header = BatchHeader::parse(batch)?;
    if rules.retention == BatchRetention::Delete {
        return Ok(Retained::default());
    }
    let records = records(batch, rules.decompressed_limit)?;
    let mut kept = Vec::with_capacity(header.record_count.clamp(0, batch.len() as i32) as usize);
    let mut has_tombstone = false;
    for record in &records {
        let record = record?;
        let keeps = keep(&record);
        has_tombstone |= keeps && record.value.is_none();
        kept.push(keeps);
    }
    let mut retained = Retained {
        header: None,
        records_read: kept.len(),
        records_retained: kept.iter().filter(|keeps| **keeps).count(),
    };
    if retained.records_retained == 0 {
        if rules.retention == BatchRetention::RetainEmpty {
            retained.header = Some(write_empty(&header, output));
        }
        return Ok(retained);
    }
    // The horizon is set once, by the first cleaning that sees the tombstone or the marker without data.
    let sets_horizon = (has_tombstone || rules.marker_of_empty_transaction) && !header.has_delete_horizon();
    if retained.records_retained == retained.records_read && !sets_horizon {
        output.extend_from_slice(batch);
        retained.header = Some(header);
        return Ok(retained);
    }
    let horizon = if sets_horizon { Some(rules.new_delete_horizon_ms) } else { header.delete_horizon_ms() };
    retained.header = Some(rewrite(&records, &kept, horizon, output)?);
    Ok(retained)
}

/// Writes the kept records as a batch with the frame of the old one.
fn rewrite(
    records: &Records<'_>,
    kept: &[bool],
    delete_horizon_ms: Option<i64>,
    output: &mut Vec<u8>,
) -> Result<BatchHeader, RecordError> {
    let header = records.header();
    let mut builder = BatchBuilder::new(BatchProperties {
        base_offset: header.base_offset,
        partition_leader_epoch: header.partition_leader_epoch,
        compression: Compression::from(header.compression()?),
        timestamp_type: header.timestamp_type(),
        log_append_time: header.max_timestamp,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        is_transactional: header.is_transactional(),
        is_control: header.is_control(),
        // Kafka writes no horizon before 1970.
        delete_horizon_ms: delete_horizon_ms.filter(|horizon| *horizon >= 0),
    });
    for (record, _) in records.iter().zip(kept).filter(|(_, keeps)| **keeps) {
        let record = record?;
        builder.append_with_offset(record.offset, record.timestamp, record.key, record.value, &record.headers)?;
    }
    builder.override_last_offset(header.last_offset());
    let batch = builder.build();
    output.extend_from_slice(&batch);
    BatchHeader::parse(&batch)
}

/// Writes a batch without records (`DefaultRecordBatch.writeEmptyHeader`).
fn write_empty(header: &BatchHeader, output: &mut Vec<u8>) -> BatchHeader {
    let mut attributes = 0;
    attributes |= if header.timestamp_type() == TimestampType::LogAppendTime { TIMESTAMP_TYPE_BIT } else { 0 };
    attributes |= if header.is_transactional() { TRANSACTIONAL_BIT } else { 0 };
    attributes |= if header.is_control() { CONTROL_BIT } else { 0 };
    let empty = BatchHeader {
        batch_length: (BATCH_HEADER_SIZE - LOG_OVERHEAD) as i32,
        magic: MAGIC_V2,
        crc: 0,
        attributes,
        base_timestamp: NO_TIMESTAMP,
        record_count: 0,
        ..*header
    };
    let bytes = seal(&empty, vec![0; BATCH_HEADER_SIZE]);
    output.extend_from_slice(&bytes);
    // What was just sealed parses; without its checksum it is the same header.
    BatchHeader::parse(&bytes).unwrap_or(empty)
}

#[cfg(test)]
#[path = "retain_tests.rs"]
mod tests;
