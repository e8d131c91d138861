//! What a partition or the replica manager refuses, in Kafka's words.

use crate::record::ValidationError;
use crate::storage::StorageError;
use crate::types::TopicPartition;

/// Errors of this room; `api/error_mapping.rs` gives each Kafka's code.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReplicaError {
    /// No topic of that name or no such partition (`UnknownTopicOrPartitionException`).
    #[error("This server does not host {0}")]
    UnknownTopicOrPartition(TopicPartition),
    /// The topic exists, but this broker does not lead the partition (`NotLeaderOrFollowerException`).
    #[error("this broker is not the leader of {0}")]
    NotLeaderOrFollower(TopicPartition),
    /// The id names no topic, or not the one that the partition belongs to (`UnknownTopicIdException`).
    #[error("the topic id of {0} is unknown")]
    UnknownTopicId(TopicPartition),
    /// The reader's topic id is not that of the log (`InconsistentTopicIdException`).
    #[error("the topic id does not match that of the log of {0}")]
    InconsistentTopicId(TopicPartition),
    /// The request is from before the current leader (`FencedLeaderEpochException`, KIP-320).
    #[error("the leader epoch {requested} is older than the current epoch {current}")]
    FencedLeaderEpoch {
        /// What the request said.
        requested: i32,
        /// What holds.
        current: i32,
    },
    /// The request knows a later leader than this broker (`UnknownLeaderEpochException`, KIP-320).
    #[error("the leader epoch {requested} is newer than the current epoch {current}")]
    UnknownLeaderEpoch {
        /// What the request said.
        requested: i32,
        /// What holds.
        current: i32,
    },
    /// `OffsetOutOfRangeException` for reasons that the log does not know of.
    #[error("{0}")]
    OffsetOutOfRange(String),
    /// The new leader does not yet know what is committed (`OffsetNotAvailableException`, KIP-207).
    #[error("the high watermark of {0} is behind the start of the leader's epoch")]
    OffsetNotAvailable(TopicPartition),
    /// Fewer in-sync replicas than acks=all needs; nothing was appended (`NotEnoughReplicasException`).
    #[error(
        "The size of the current ISR : {in_sync} is insufficient to satisfy the min.isr requirement of {required} for \
         partition {topic_partition}"
    )]
    NotEnoughReplicas {
        /// Which partition.
        topic_partition: TopicPartition,
        /// Replicas in sync.
        in_sync: usize,
        /// Replicas needed.
        required: usize,
    },
    /// As above, found after the append: the records stay (`NotEnoughReplicasAfterAppendException`).
    #[error("fewer in-sync replicas than required after the append to {0}")]
    NotEnoughReplicasAfterAppend(TopicPartition),
    /// `PolicyViolationException`.
    #[error("Records of partition {0} can not be deleted due to the configured policy")]
    PolicyViolation(TopicPartition),
    /// The batch breaks a rule (`InvalidRecordException`, `CorruptRecordException`, `RecordTooLargeException` …).
    #[error(transparent)]
    Validation(#[from] ValidationError),
    /// The log refused or failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
