//! From records to batches and back.

use bytes::Bytes;

use super::decision::{KeyValue, Producer, StateMachine};
use crate::coordinator::CoordinatorError;
use crate::record::{
    BatchBuilder, BatchIterator, BatchProperties, ControlRecordType, DEFAULT_DECOMPRESSED_LIMIT, Record, RecordError,
    control_record_type, records,
};
use crate::types::{NO_PRODUCER_ID, TransactionResult};

/// Lengths and deltas of a record, at most (`DefaultRecord.MAX_RECORD_OVERHEAD`, and the lengths of key and value).
const RECORD_OVERHEAD: usize = 31;

/// Encodes records as batches of at most `limit` bytes: as one, or `RecordsTooLarge`; as several when they are divisible.
/// With a `producer` they belong to its transaction; such batches have no sequence numbers.
pub fn encode<S: StateMachine>(
    written: &[S::Record],
    producer: Option<Producer>,
    divisible: bool,
    limit: usize,
    now_ms: i64,
) -> Result<Vec<Bytes>, CoordinatorError> {
    let properties = match producer {
        None => BatchProperties::default(),
        Some(Producer { id: producer_id, epoch: producer_epoch }) => {
            BatchProperties { producer_id, producer_epoch, is_transactional: true, ..BatchProperties::default() }
        }
    };
    let mut batches = Vec::with_capacity(1);
    let mut builder = BatchBuilder::new(properties.clone());
    for record in written {
        let KeyValue { key, value } = S::encode(record)?;
        let added = RECORD_OVERHEAD + key.len() + value.as_ref().map_or(0, Bytes::len);
        if divisible && !builder.is_empty() && builder.uncompressed_size() + added > limit {
            let full = std::mem::replace(&mut builder, BatchBuilder::new(properties.clone()));
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

/// Replays whole batches; gives the offset after the last one, `None` when there are none. Records of a batch with a producer id
/// belong to that producer's transaction, which its marker ends.
pub fn replay<S: StateMachine>(state: &mut S, bytes: &[u8]) -> Result<Option<i64>, CoordinatorError> {
    let mut next_offset = None;
    for batch in BatchIterator::new(bytes) {
        let (header, batch) = batch.map_err(corrupt)?;
        next_offset = Some(header.next_offset());
        for record in &records(batch, DEFAULT_DECOMPRESSED_LIMIT).map_err(corrupt)? {
            let record = record.map_err(corrupt)?;
            if header.is_control() {
                replay_marker(state, header.producer_id, &record);
                continue;
            }
            let Some(key) = record.key else {
                tracing::warn!(offset = record.offset, "skipping a record without a key in a coordinator's log");
                continue;
            };
            let value = record.value.map(Bytes::copy_from_slice);
            match S::decode(&Bytes::copy_from_slice(key), value.as_ref())? {
                Some(decoded) if header.producer_id == NO_PRODUCER_ID => state.replay(record.offset, decoded),
                Some(decoded) => state.replay_transactional(record.offset, header.producer_id, decoded),
                None => tracing::warn!(offset = record.offset, "skipping a record of an unknown type"),
            }
        }
    }
    Ok(next_offset)
}

/// Control records that end no transaction mean nothing to a coordinator.
fn replay_marker<S: StateMachine>(state: &mut S, producer_id: i64, record: &Record<'_>) {
    let result = match record.key.and_then(control_record_type) {
        Some(ControlRecordType::Commit) => TransactionResult::Commit,
        Some(ControlRecordType::Abort) => TransactionResult::Abort,
        _ => return,
    };
    state.replay_end_transaction_marker(producer_id, result);
}

fn corrupt(error: RecordError) -> CoordinatorError {
    CoordinatorError::CorruptRecord(error.to_string())
}
