//! From each room's errors to Kafka's codes: one exhaustive `match` per room, so that a new error cannot be forgotten.

use kafka_protocol::error::ResponseError;

use crate::metadata::MetadataError;
use crate::record::ValidationError;
use crate::replica::ReplicaError;
use crate::storage::StorageError;

/// An error of a room that has a code on the wire (Kafka: `Errors`).
pub trait ToErrorCode {
    /// Kafka's error.
    fn response_error(&self) -> ResponseError;

    /// Its number.
    fn error_code(&self) -> i16 {
        self.response_error().code()
    }
}

/// No error.
pub const NONE: i16 = 0;

/// PRODUCER_FENCED is INVALID_PRODUCER_EPOCH for versions of an API whose clients do not know it.
pub fn fenced_producer(error: ResponseError, is_known: bool) -> ResponseError {
    match error {
        ResponseError::ProducerFenced if !is_known => ResponseError::InvalidProducerEpoch,
        error => error,
    }
}

/// What a transaction's coordinator says when asked about a partition, in words that producers of this version expect
/// (`AddPartitionsToTxnManager`).
pub fn of_transaction_coordinator(error: ResponseError, knows_transaction_abortable: bool) -> ResponseError {
    match error {
        ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
        ResponseError::TransactionAbortable if !knows_transaction_abortable => ResponseError::InvalidTxnState,
        error => error,
    }
}

impl ToErrorCode for ValidationError {
    fn response_error(&self) -> ResponseError {
        match self {
            Self::CorruptMessage(_) | Self::CorruptFraming(_) => ResponseError::CorruptMessage,
            Self::InvalidRecord(_) | Self::InvalidRecords { .. } => ResponseError::InvalidRecord,
            Self::MessageTooLarge(_) => ResponseError::MessageTooLarge,
            Self::UnsupportedCompression(_) => ResponseError::UnsupportedCompressionType,
            Self::Unexpected(_) => ResponseError::UnknownServerError,
            Self::InvalidTimestamps { .. } => ResponseError::InvalidTimestamp,
        }
    }
}

impl ToErrorCode for StorageError {
    fn response_error(&self) -> ResponseError {
        match self {
            Self::LogDirOffline { .. } | Self::Io { .. } | Self::DiskFull { .. } | Self::PartitionOffline { .. } => {
                ResponseError::KafkaStorageError
            }
            Self::LogClosed { .. } | Self::UnknownLog { .. } => ResponseError::NotLeaderOrFollower,
            Self::OffsetOutOfRange { .. } => ResponseError::OffsetOutOfRange,
            Self::OutOfOrderSequence(_) => ResponseError::OutOfOrderSequenceNumber,
            Self::InvalidProducerEpoch(_) => ResponseError::InvalidProducerEpoch,
            Self::InvalidTransactionState(_) => ResponseError::InvalidTxnState,
            Self::TransactionCoordinatorFenced(_) => ResponseError::TransactionCoordinatorFenced,
            Self::RecordBatchTooLarge { .. } => ResponseError::RecordListTooLarge,
            Self::Corrupt { .. } => ResponseError::CorruptMessage,
            Self::InconsistentTopicId { .. } => ResponseError::InconsistentTopicId,
            // These stop the broker from starting; no client ever sees them.
            Self::Locked { .. } | Self::ForeignDirectory { .. } => ResponseError::UnknownServerError,
        }
    }
}

impl ToErrorCode for MetadataError {
    fn response_error(&self) -> ResponseError {
        match self {
            Self::TimedOut | Self::Busy => ResponseError::RequestTimedOut,
            Self::Disk { .. } | Self::Log(_) | Self::Corrupt { .. } | Self::DiskFull(_) | Self::Offline => {
                ResponseError::KafkaStorageError
            }
            Self::TooLarge => ResponseError::PolicyViolation,
            Self::Unencodable(_) => ResponseError::UnknownServerError,
        }
    }
}

impl ToErrorCode for ReplicaError {
    fn response_error(&self) -> ResponseError {
        match self {
            Self::UnknownTopicOrPartition(_) => ResponseError::UnknownTopicOrPartition,
            Self::NotLeaderOrFollower(_) => ResponseError::NotLeaderOrFollower,
            Self::UnknownTopicId(_) => ResponseError::UnknownTopicId,
            Self::InconsistentTopicId(_) => ResponseError::InconsistentTopicId,
            Self::FencedLeaderEpoch { .. } => ResponseError::FencedLeaderEpoch,
            Self::UnknownLeaderEpoch { .. } => ResponseError::UnknownLeaderEpoch,
            Self::OffsetOutOfRange(_) => ResponseError::OffsetOutOfRange,
            Self::OffsetNotAvailable(_) => ResponseError::OffsetNotAvailable,
            Self::NotEnoughReplicas { .. } => ResponseError::NotEnoughReplicas,
            Self::NotEnoughReplicasAfterAppend(_) => ResponseError::NotEnoughReplicasAfterAppend,
            Self::PolicyViolation(_) => ResponseError::PolicyViolation,
            Self::Validation(error) => error.response_error(),
            Self::Storage(error) => error.response_error(),
        }
    }
}
