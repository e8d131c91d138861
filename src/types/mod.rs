//! Words that every room shares: ids, names, offsets, words of transactions; what of Java several rooms follow. No input or output.

pub mod java_map;
pub mod java_pattern;
mod topic_partition;
mod transaction;

pub use topic_partition::{TopicIdPartition, TopicPartition};
pub use transaction::{EndTransactionMarker, TransactionResult, TransactionVersion, VerificationGuard};
pub use uuid::Uuid;

/// The leader epoch of a log or a request that names none.
pub const NO_LEADER_EPOCH: i32 = -1;
/// The producer id of a batch that no idempotent producer wrote.
pub const NO_PRODUCER_ID: i64 = -1;
/// The timestamp of a batch or an answer that has none.
pub const NO_TIMESTAMP: i64 = -1;
/// The topic of committed offsets and group metadata.
pub const GROUP_METADATA_TOPIC_NAME: &str = "__consumer_offsets";
/// The topic of transaction state.
pub const TRANSACTION_STATE_TOPIC_NAME: &str = "__transaction_state";
/// The topic of the metadata log; never visible to clients.
pub const CLUSTER_METADATA_TOPIC_NAME: &str = "__cluster_metadata";

/// Whether Kafka calls the topic internal (`Topic.isInternal`).
pub fn is_internal_topic(name: &str) -> bool {
    name == GROUP_METADATA_TOPIC_NAME || name == TRANSACTION_STATE_TOPIC_NAME || name == "__share_group_state"
}
