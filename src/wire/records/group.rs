//! The records of `__consumer_offsets` for classic groups: committed offsets and group metadata.
//!
//! Tables of Kafka's `group-coordinator/src/main/resources/common/message/*.json`, release 4.3. What Kafka 4.3 writes:
//! offsets in value version 4, or 1 when the commit names its own expiry; groups in value version 3
//! (`GroupCoordinatorRecordHelpers`).

use bytes::Bytes;
use kafka_protocol::protocol::Decodable;
use uuid::Uuid;

use super::consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
pub use super::coordinator::{CoordinatorKey, decode_value, encode_key, encode_value};
use super::coordinator::{take_key, take_record_type};
use crate::wire::message::{Field, message};
use crate::wire::{WireError, put_json_bytes};

message! {
    /// Key of a committed offset, as brokers before 0.9 wrote it.
    LegacyOffsetCommitKey, versions 0..=0, flexible from 1 {
        /// The group.
        group: String = String::new(), 0;
        /// Name of the topic.
        topic: String = String::new(), 0;
        /// Number of the partition.
        partition: i32 = 0, 0;
    }
}

message! {
    /// Value of [`LegacyOffsetCommitKey`].
    LegacyOffsetCommitValue, versions 0..=0, flexible from 1 {
        /// The offset of the record to be read next.
        offset: i64 = 0, 0;
        /// The client's remark.
        metadata: String = String::new(), 0;
        /// When it was committed.
        commit_timestamp: i64 = 0, 0;
    }
}

message! {
    /// Key of a committed offset.
    OffsetCommitKey, versions 0..=0, flexible from 1 {
        /// The group.
        group: String = String::new(), 0;
        /// Name of the topic.
        topic: String = String::new(), 0;
        /// Number of the partition.
        partition: i32 = 0, 0;
    }
}

message! {
    /// Value of [`OffsetCommitKey`]: a committed offset.
    OffsetCommitValue, versions 0..=4, flexible from 4 {
        /// The offset of the record to be read next.
        offset: i64 = 0, 0;
        /// Leader epoch of the last record that was read, or -1.
        leader_epoch: i32 = -1, 3 as ignorable;
        /// The client's remark.
        metadata: String = String::new(), 0;
        /// When it was committed.
        commit_timestamp: i64 = 0, 0;
        /// When it expires, or -1 when the broker decides.
        expire_timestamp: i64 = -1, 1..=1 as ignorable;
        /// The topic's id; all zero when it was not known.
        topic_id: Uuid = Uuid::nil(), 4 as ignorable, tag 0;
    }
}

message! {
    /// Key of a classic group.
    GroupMetadataKey, versions 0..=0, flexible from 1 {
        /// The group.
        group: String = String::new(), 0;
    }
}

message! {
    /// A member of a classic group.
    MemberMetadata, versions 0..=4, flexible from 4 {
        /// The member's id.
        member_id: String = String::new(), 0;
        /// The static member's own name (KIP-345).
        group_instance_id: Option<String> = None, 3 as ignorable;
        /// The client's name for itself.
        client_id: String = String::new(), 0;
        /// Where it connected from.
        client_host: String = String::new(), 0;
        /// Milliseconds that a rebalance waits for it, or -1.
        rebalance_timeout: i32 = -1, 1 as ignorable;
        /// Milliseconds of silence after which it is gone.
        session_timeout: i32 = 0, 0;
        /// What it subscribes to, in its protocol's words.
        subscription: Bytes = Bytes::new(), 0;
        /// What the leader assigned to it.
        assignment: Bytes = Bytes::new(), 0;
    }
}

message! {
    /// Value of [`GroupMetadataKey`]: a classic group after a rebalance, or empty.
    GroupMetadataValue, versions 0..=4, flexible from 4 {
        /// `consumer`, `connect`, …; empty when only offsets are kept.
        protocol_type: String = String::new(), 0;
        /// Number of the rebalance.
        generation: i32 = 0, 0;
        /// The protocol chosen.
        protocol: Option<String> = None, 0;
        /// The member that assigns.
        leader: Option<String> = None, 0;
        /// When the group came into its state, or -1.
        current_state_timestamp: i64 = -1, 2 as ignorable;
        /// The members.
        members: Vec<MemberMetadata> = Vec::new(), 0;
    }
}

impl CoordinatorKey for LegacyOffsetCommitKey {
    const RECORD_TYPE: i16 = 0;
}

impl CoordinatorKey for OffsetCommitKey {
    const RECORD_TYPE: i16 = 1;
}

impl CoordinatorKey for GroupMetadataKey {
    const RECORD_TYPE: i16 = 2;
}

/// The key of a record of `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupRecordKey {
    /// The value is a [`LegacyOffsetCommitValue`], or nothing.
    LegacyOffsetCommit(LegacyOffsetCommitKey),
    /// The value is an [`OffsetCommitValue`], or nothing.
    OffsetCommit(OffsetCommitKey),
    /// The value is a [`GroupMetadataValue`], or nothing.
    GroupMetadata(GroupMetadataKey),
    /// Of a kind that we do not know; Kafka skips it with a warning.
    Unknown(i16),
}

impl GroupRecordKey {
    /// Reads a key.
    pub fn decode(key: &[u8]) -> Result<Self, WireError> {
        let buffer = &mut &*key;
        Ok(match take_record_type(buffer)? {
            LegacyOffsetCommitKey::RECORD_TYPE => Self::LegacyOffsetCommit(take_key(buffer)?),
            OffsetCommitKey::RECORD_TYPE => Self::OffsetCommit(take_key(buffer)?),
            GroupMetadataKey::RECORD_TYPE => Self::GroupMetadata(take_key(buffer)?),
            record_type => Self::Unknown(record_type),
        })
    }
}

impl GroupMetadataValue {
    /// As `kafka-dump-log.sh` prints it: what members of protocol type `consumer` say of themselves is decoded where it can be.
    pub fn to_readable_json(&self, version: i16) -> String {
        if self.protocol_type != crate::wire::consumer_protocol::PROTOCOL_TYPE {
            return self.to_json(version);
        }
        // Members stand last in the group, and these two fields last in a member.
        let mut out = Self { members: Vec::new(), ..self.clone() }.to_json(version);
        out.truncate(out.len() - "[]}".len());
        for (number, member) in self.members.iter().enumerate() {
            out.push(if number == 0 { '[' } else { ',' });
            let bare = MemberMetadata { subscription: Bytes::new(), assignment: Bytes::new(), ..member.clone() };
            let bare = bare.to_json(version);
            out.push_str(bare.strip_suffix("\"subscription\":\"\",\"assignment\":\"\"}").unwrap_or(&bare));
            out.push_str("\"subscription\":");
            put_decoded::<ConsumerProtocolSubscription>(&mut out, &member.subscription);
            out.push_str(",\"assignment\":");
            put_decoded::<ConsumerProtocolAssignment>(&mut out, &member.assignment);
            out.push('}');
        }
        out.push_str(if self.members.is_empty() { "[]}" } else { "]}" });
        out
    }
}

fn put_decoded<V: Field + Decodable>(out: &mut String, bytes: &Bytes) {
    match decode_value::<V>(bytes) {
        Ok((value, version)) => value.json(out, version),
        Err(_) => put_json_bytes(out, bytes),
    }
}
