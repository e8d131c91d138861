//! From records to batches and back.

use bytes::Bytes;

use super::decision::{KeyValue, StateMachine};
use crate::coordinator::CoordinatorError;
use crate::record::{BatchBuilder, BatchIterator, BatchProperties, DEFAULT_DECOMPRESSED_LIMIT, RecordError, records};

/// Lengths and deltas of a record, at most (`DefaultRecord.MAX_RECORD_OVERHEAD`, and the lengths of key and value).
const RECORD_OVERHEAD: usize = 31;

/// Encodes records as batches of at most `limit` bytes: as one, or `RecordsTooLarge`; as several when they are divisible.
pub fn encode<S: StateMachine>(
    written: &[S::Record],
    divisible: bool,
    limit: usize,
    now_ms: i64,
) -> Result<Vec<Bytes>, CoordinatorError> {
    let mut batches = Vec::with_capacity(1);
    let mut builder = BatchBuilder::new(BatchProperties::default());
    for record in written {
        let KeyValue { key, value } = S::encode(record)?;
        let added = RECORD_OVERHEAD + key.len() + value.as_ref().map_or(0, Bytes::len);
        if divisible && !builder.is_empty() && builder.uncompressed_size() + added > limit {
            let full = std::mem::replace(&mut builder, BatchBuilder::new(BatchProperties::default()));
            batches.push(full.build());
        }
        builder
            .append(now_ms, Some(&key), value.as_deref(), &[])
            .map_err(|error| CoordinatorError::Unexpected(error.to_string()))?;
    }
    let size = builder.uncompressed_size();
    if size > limit {
        return Err(CoordinatorError::RecordsTooLarge { size, limit });
    }
    if !builder.is_empty() {
        batches.push(builder.build());
    }
    Ok(batches)
}

/// Replays whole batches; gives the offset after the last one, `None` when there are none. Control batches are skipped:
/// they end transactions, which no coordinator of this release writes.
pub fn replay<S: StateMachine>(state: &mut S, bytes: &[u8]) -> Result<Option<i64>, CoordinatorError> {
    let mut next_offset = None;
    for batch in BatchIterator::new(bytes) {
        let (header, batch) = batch.map_err(corrupt)?;
        next_offset = Some(header.next_offset());
        if header.is_control() {
            continue;
        }
        for record in &records(batch, DEFAULT_DECOMPRESSED_LIMIT).map_err(corrupt)? {
            let record = record.map_err(corrupt)?;
            let Some(key) = record.key else {
                tracing::warn!(offset = record.offset, "skipping a record without a key in a coordinator's log");
                continue;
            };
            let value = record.value.map(Bytes::copy_from_slice);
            match S::decode(&Bytes::copy_from_slice(key), value.as_ref())? {
                Some(decoded) => state.replay(record.offset, decoded),
                None => tracing::warn!(offset = record.offset, "skipping a record of an unknown type"),
            }
        }
    }
    Ok(next_offset)
}

fn corrupt(error: RecordError) -> CoordinatorError {
    CoordinatorError::CorruptRecord(error.to_string())
}
