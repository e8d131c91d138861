//! The records of `__transaction_state`.
//!
//! Tables of Kafka's `transaction-coordinator/src/main/resources/common/message/*.json`, release 4.3.

pub use super::coordinator::{CoordinatorKey, decode_value, encode_key, encode_value};
use super::coordinator::{take_key, take_record_type};
use crate::wire::WireError;
use crate::wire::message::message;

message! {
    /// Key of a transactional id.
    TransactionLogKey, versions 0..=0, flexible from 1 {
        /// The transactional id.
        transactional_id: String = String::new(), 0;
    }
}

message! {
    /// Partitions of a topic in a transaction.
    PartitionsSchema, versions 0..=1, flexible from 1 {
        /// Name of the topic.
        topic: String = String::new(), 0;
        /// Numbers of the partitions.
        partition_ids: Vec<i32> = Vec::new(), 0;
    }
}

message! {
    /// Value of [`TransactionLogKey`]: the state of a transactional id.
    TransactionLogValue, versions 0..=1, flexible from 1 {
        /// The producer id in use.
        producer_id: i64 = 0, 0;
        /// The producer id of the transaction before, or -1.
        previous_producer_id: i64 = -1, 1, tag 0;
        /// The producer id that the client was told to go on with, or -1.
        next_producer_id: i64 = -1, 1, tag 1;
        /// Its epoch.
        producer_epoch: i16 = 0, 0;
        /// Milliseconds after which a transaction is aborted.
        transaction_timeout_ms: i32 = 0, 0;
        /// Code of the state.
        transaction_status: i8 = 0, 0;
        /// The partitions of the transaction; null in states that have none.
        transaction_partitions: Option<Vec<PartitionsSchema>> = None, 0;
        /// When the state changed.
        transaction_last_update_timestamp_ms: i64 = 0, 0;
        /// When the transaction began, or -1.
        transaction_start_timestamp_ms: i64 = 0, 0;
        /// Version of the transaction protocol that the client uses.
        client_transaction_version: i16 = 0, 1, tag 2;
        /// Epoch of the next producer id, or -1.
        next_producer_epoch: i16 = -1, 1, tag 3;
    }
}

impl CoordinatorKey for TransactionLogKey {
    const RECORD_TYPE: i16 = 0;
}

/// Reads the key of a record of `__transaction_state`; `None` when it is of a kind that we do not know.
pub fn decode_transaction_key(key: &[u8]) -> Result<Option<TransactionLogKey>, WireError> {
    let buffer = &mut &*key;
    match take_record_type(buffer)? {
        TransactionLogKey::RECORD_TYPE => take_key(buffer).map(Some),
        _ => Ok(None),
    }
}
