//! The records of `__transaction_state` (Kafka's `TransactionLog`).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::metadata::{NO_PRODUCER_EPOCH, TransactionMetadata};
use super::state::TransactionState;
use crate::coordinator::CoordinatorError;
use crate::coordinator::runtime::KeyValue;
use crate::types::{TopicPartition, TransactionVersion};
use crate::wire::WireError;
use crate::wire::records::transaction as schema;

/// First version of the value that has all producer ids and the client's version.
const TAGGED_FIELDS_VERSION: i16 = 1;
/// Versions of the value that can be read.
const VALUE_VERSIONS: std::ops::RangeInclusive<i16> = 0..=1;

/// One change of a transactional id.
#[derive(Clone, Debug, PartialEq)]
pub struct TransactionRecord {
    /// Whose.
    pub transactional_id: Arc<str>,
    /// The state from now on; `None` when the id has expired.
    pub value: Option<TransactionValue>,
}

/// What a transactional id has become.
#[derive(Clone, Debug, PartialEq)]
pub struct TransactionValue {
    /// The state.
    pub metadata: TransactionMetadata,
    /// The version of the bytes in the log (`TransactionVersion.transactionLogValueVersion`).
    pub value_version: i16,
    /// Names the work of writing the markers of a prepared transaction; not in the log, 0 when read from it.
    pub completion: u64,
}

/// Encodes a record.
pub fn encode(record: &TransactionRecord) -> Result<KeyValue, CoordinatorError> {
    let unexpected = |error: WireError| CoordinatorError::Unexpected(error.to_string());
    let key = schema::TransactionLogKey { transactional_id: record.transactional_id.to_string() };
    let value = record.value.as_ref().map(|value| {
        let message = message(&value.metadata, value.value_version);
        schema::encode_value(&message, value.value_version).map_err(unexpected)
    });
    Ok(KeyValue { key: schema::encode_key(&key).map_err(unexpected)?, value: value.transpose()? })
}

fn message(metadata: &TransactionMetadata, version: i16) -> schema::TransactionLogValue {
    let mut topics: Vec<schema::PartitionsSchema> = Vec::new();
    for partition in metadata.partitions.iter() {
        match topics.last_mut() {
            Some(topic) if *topic.topic == *partition.topic => topic.partition_ids.push(partition.partition),
            _ => topics.push(schema::PartitionsSchema {
                topic: partition.topic.to_string(),
                partition_ids: vec![partition.partition],
            }),
        }
    }
    let message = schema::TransactionLogValue {
        producer_id: metadata.producer_id,
        producer_epoch: metadata.producer_epoch,
        transaction_timeout_ms: metadata.timeout_ms,
        transaction_status: metadata.state.id(),
        transaction_partitions: (metadata.state != TransactionState::Empty).then_some(topics),
        transaction_last_update_timestamp_ms: metadata.last_update_ms,
        transaction_start_timestamp_ms: metadata.start_ms,
        ..schema::TransactionLogValue::default()
    };
    if version < TAGGED_FIELDS_VERSION {
        return message;
    }
    schema::TransactionLogValue {
        previous_producer_id: metadata.previous_producer_id,
        next_producer_id: metadata.next_producer_id,
        client_transaction_version: metadata.client_version.level(),
        ..message
    }
}

/// Decodes a record; `None` for keys and values of later releases, which Kafka skips too.
pub fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<TransactionRecord>, CoordinatorError> {
    let Some(key) = schema::decode_transaction_key(key).map_err(corrupt)? else { return Ok(None) };
    let transactional_id = Arc::from(key.transactional_id);
    let Some(value) = value else { return Ok(Some(TransactionRecord { transactional_id, value: None })) };
    let version = value.first_chunk().map(|bytes| i16::from_be_bytes(*bytes));
    if version.is_some_and(|version| !VALUE_VERSIONS.contains(&version)) {
        return Ok(None);
    }
    let (message, value_version) = schema::decode_value(value).map_err(corrupt)?;
    let metadata = metadata(message)?;
    Ok(Some(TransactionRecord {
        transactional_id,
        value: Some(TransactionValue { metadata, value_version, completion: 0 }),
    }))
}

fn metadata(message: schema::TransactionLogValue) -> Result<TransactionMetadata, CoordinatorError> {
    let state = TransactionState::from_id(message.transaction_status).ok_or_else(|| {
        CoordinatorError::CorruptRecord(format!("unknown state {} of a transaction", message.transaction_status))
    })?;
    let client_version = TransactionVersion::from_level(message.client_transaction_version).ok_or_else(|| {
        CoordinatorError::CorruptRecord(format!("unknown transaction version {}", message.client_transaction_version))
    })?;
    let mut partitions = BTreeSet::new();
    if state != TransactionState::Empty {
        for topic in message.transaction_partitions.unwrap_or_default() {
            let name: Arc<str> = Arc::from(topic.topic);
            partitions.extend(topic.partition_ids.into_iter().map(|number| TopicPartition::new(name.clone(), number)));
        }
    }
    Ok(TransactionMetadata {
        producer_id: message.producer_id,
        previous_producer_id: message.previous_producer_id,
        next_producer_id: message.next_producer_id,
        producer_epoch: message.producer_epoch,
        last_producer_epoch: NO_PRODUCER_EPOCH,
        timeout_ms: message.transaction_timeout_ms,
        state,
        partitions: Arc::new(partitions),
        start_ms: message.transaction_start_timestamp_ms,
        last_update_ms: message.transaction_last_update_timestamp_ms,
        client_version,
    })
}

fn corrupt(error: WireError) -> CoordinatorError {
    CoordinatorError::CorruptRecord(error.to_string())
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
