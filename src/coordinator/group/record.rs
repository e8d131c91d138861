//! What is durable of groups, in this room's words; `records` turns it into Kafka's bytes.

use std::sync::Arc;

use bytes::Bytes;

use crate::types::Uuid;

/// One record of `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    /// A committed offset (`OffsetCommitKey` v1), or its tombstone.
    Offset {
        /// The group.
        group_id: Arc<str>,
        /// The topic's name.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// What was committed; `None` removes it.
        value: Option<OffsetAndMetadata>,
    },
    /// A classic group (`GroupMetadataKey` v2), or its tombstone.
    Group {
        /// The group.
        group_id: Arc<str>,
        /// The group as a whole; `None` removes it.
        value: Option<GroupMetadata>,
    },
}

/// A committed offset (Kafka's class of the same name).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The next offset that the group wants to read.
    pub offset: i64,
    /// Leader epoch of the last record read; -1 when not given.
    pub leader_epoch: i32,
    /// Whatever the client wants to remember.
    pub metadata: Box<str>,
    /// When it was committed, milliseconds since the epoch.
    pub commit_timestamp_ms: i64,
    /// When it expires, if the client asked for a retention time of its own (OffsetCommit 2–4).
    pub expire_timestamp_ms: Option<i64>,
    /// The topic's id; nil when not known.
    pub topic_id: Uuid,
}

/// The durable part of a classic group (`GroupMetadataValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// `consumer`, `connect` …; `None` for a group that only commits offsets.
    pub protocol_type: Option<Arc<str>>,
    /// Rises with every completed rebalance.
    pub generation: i32,
    /// The chosen protocol; `None` while there are no members.
    pub protocol: Option<Arc<str>>,
    /// Member id of the leader.
    pub leader: Option<Arc<str>>,
    /// Since when the group is in its state; `None` in records of old brokers.
    pub state_timestamp_ms: Option<i64>,
    /// The members, in the order in which they joined.
    pub members: Vec<MemberMetadata>,
}

/// The durable part of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its name, for a static member.
    pub group_instance_id: Option<Arc<str>>,
    /// What the client calls itself.
    pub client_id: Arc<str>,
    /// Where the client connects from, as Java prints an address: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// How long a rebalance waits for it.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// Its metadata for the chosen protocol.
    pub subscription: Bytes,
    /// What the leader assigned to it.
    pub assignment: Bytes,
}
