//! What can go wrong below the partition.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::types::TopicPartition;

/// Errors of the storage room; `api/error_mapping.rs` gives them Kafka's codes.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// A write or a sync failed before; nothing more is written to this directory (`KafkaStorageException`).
    #[error("log directory {} is offline: {reason}", directory.display())]
    LogDirOffline {
        /// The log directory.
        directory: Arc<Path>,
        /// The failure that took it offline.
        reason: Arc<str>,
    },
    /// The volume has no room for records of clients, or had none for this write; nothing was written, and trying again later is right
    /// (`KafkaStorageException`, which clients repeat).
    #[error("log directory {} is full: {reason}", directory.display())]
    DiskFull {
        /// The log directory.
        directory: Arc<Path>,
        /// What showed it.
        reason: Arc<str>,
    },
    /// The partition cannot be served, while the rest of its directory is: what was known to be on the disk is damaged
    /// (`KafkaStorageException`).
    #[error("{topic_partition} is offline: {reason}")]
    PartitionOffline {
        /// Which partition.
        topic_partition: TopicPartition,
        /// File, byte, and what is wrong there.
        reason: Arc<str>,
    },
    /// A read failed, or a file could not be opened; the directory stays online (`KafkaStorageException`).
    #[error("{action} {}: {reason}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's message.
        reason: Arc<str>,
    },
    /// The log was closed or deleted (`NotLeaderOrFollowerException` to clients).
    #[error("the log of {topic_partition} is closed")]
    LogClosed {
        /// Whose log.
        topic_partition: TopicPartition,
    },
    /// `OffsetOutOfRangeException`.
    #[error(
        "offset {offset} of {topic_partition} is out of range: the log has offsets {log_start_offset} to {log_end_offset}"
    )]
    OffsetOutOfRange {
        /// Whose log.
        topic_partition: TopicPartition,
        /// The offset asked for.
        offset: i64,
        /// The first offset of the log.
        log_start_offset: i64,
        /// The offset after the last one that was allowed.
        log_end_offset: i64,
    },
    /// `OutOfOrderSequenceException`.
    #[error("{0}")]
    OutOfOrderSequence(String),
    /// `InvalidProducerEpochException`.
    #[error("{0}")]
    InvalidProducerEpoch(String),
    /// `InvalidTxnStateException`.
    #[error("{0}")]
    InvalidTransactionState(String),
    /// `TransactionCoordinatorFencedException`.
    #[error("{0}")]
    TransactionCoordinatorFenced(String),
    /// The batch is larger than a segment may be (`RecordBatchTooLargeException`).
    #[error("message batch size is {size} bytes, which exceeds the maximum configured segment size of {segment_bytes}")]
    RecordBatchTooLarge {
        /// Bytes of the batch.
        size: usize,
        /// `segment.bytes`.
        segment_bytes: u64,
    },
    /// Bytes that are no valid batch (`CorruptRecordException`).
    #[error("corrupt records in {topic_partition}: {message}")]
    Corrupt {
        /// Whose log.
        topic_partition: TopicPartition,
        /// What is wrong.
        message: String,
    },
    /// The directory of a partition belongs to another topic of the same name (`InconsistentTopicIdException`).
    #[error("{topic_partition} on disk has topic id {on_disk}, not {requested}")]
    InconsistentTopicId {
        /// Which partition.
        topic_partition: TopicPartition,
        /// The id in `partition.metadata`.
        on_disk: uuid::Uuid,
        /// The id asked for.
        requested: uuid::Uuid,
    },
    /// Another process uses the data directory.
    #[error(
        "{} is locked: another broker process uses this data directory. Stop it first, or start with another directory",
        directory.display()
    )]
    Locked {
        /// The log directory.
        directory: PathBuf,
    },
    /// The data directory is not this broker's, or not usable.
    #[error("{}: {message}", directory.display())]
    ForeignDirectory {
        /// The log directory.
        directory: PathBuf,
        /// What does not fit, and what to do.
        message: String,
    },
    /// No log of that name.
    #[error("no log of {topic_partition}")]
    UnknownLog {
        /// Which partition.
        topic_partition: TopicPartition,
    },
}

impl StorageError {
    pub(super) fn io(action: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), reason: error.to_string().into() }
    }
}

/// Results of this room.
pub type StorageResult<T> = Result<T, StorageError>;
