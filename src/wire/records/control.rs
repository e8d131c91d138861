//! Values of control records: what the metadata log and its snapshots say about themselves (`ControlRecordUtils`).
//!
//! Tables of Kafka's `clients/src/main/resources/common/message/*.json`, release 4.3. Each starts with its own version.

use kafka_protocol::protocol::Decodable;
use uuid::Uuid;

use crate::wire::WireError;
use crate::wire::message::message;

message! {
    /// A voter of the metadata quorum.
    LeaderChangeVoter, versions 0..=1, flexible from 0 {
        /// Its node id.
        voter_id: i32 = 0, 0;
        /// The id of its metadata log directory.
        voter_directory_id: Uuid = Uuid::nil(), 1 as ignorable;
    }
}

message! {
    /// A leader of the metadata quorum took over.
    LeaderChangeMessage, versions 0..=1, flexible from 0 {
        /// Version of this message.
        version: i16 = 0, 0;
        /// The leader.
        leader_id: i32 = 0, 0;
        /// All voters.
        voters: Vec<LeaderChangeVoter> = Vec::new(), 0;
        /// Those who voted for it.
        granting_voters: Vec<LeaderChangeVoter> = Vec::new(), 0;
    }
}

message! {
    /// The first record of a snapshot.
    SnapshotHeaderRecord, versions 0..=0, flexible from 0 {
        /// Version of this message.
        version: i16 = 0, 0;
        /// Timestamp of the last record that the snapshot stands for.
        last_contained_log_timestamp: i64 = 0, 0;
    }
}

message! {
    /// The last record of a snapshot.
    SnapshotFooterRecord, versions 0..=0, flexible from 0 {
        /// Version of this message.
        version: i16 = 0, 0;
    }
}

message! {
    /// The feature `kraft.version` (KIP-853).
    KRaftVersionRecord, versions 0..=0, flexible from 0 {
        /// Version of this message.
        version: i16 = 0, 0;
        /// The feature's level.
        k_raft_version: i16 = 0, 0;
    }
}

message! {
    /// Where a voter is reached.
    VoterEndpoint, versions 0..=0, flexible from 0 {
        /// Name of the listener.
        name: String = String::new(), 0;
        /// Host.
        host: String = String::new(), 0;
        /// Port.
        port: u16 = 0, 0;
    }
}

message! {
    /// Levels of `kraft.version` that a voter supports.
    KRaftVersionFeature, versions 0..=0, flexible from 0 {
        /// Lowest level.
        min_supported_version: i16 = 0, 0;
        /// Highest level.
        max_supported_version: i16 = 0, 0;
    }
}

message! {
    /// A voter in [`VotersRecord`].
    Voter, versions 0..=0, flexible from 0 {
        /// Its node id.
        voter_id: i32 = 0, 0;
        /// The id of its metadata log directory.
        voter_directory_id: Uuid = Uuid::nil(), 0;
        /// Where it is reached.
        endpoints: Vec<VoterEndpoint> = Vec::new(), 0;
        /// The levels of `kraft.version` that it supports.
        k_raft_version_feature: KRaftVersionFeature = KRaftVersionFeature::default(), 0;
    }
}

message! {
    /// The voters of the metadata quorum (KIP-853).
    VotersRecord, versions 0..=0, flexible from 0 {
        /// Version of this message.
        version: i16 = 0, 0;
        /// The voters.
        voters: Vec<Voter> = Vec::new(), 0;
    }
}

/// Reads the value of a control record. The version is its first field; fails on one that Kafka 4.3 does not have.
pub fn decode_control_value<V: Decodable>(value: &[u8]) -> Result<(V, i16), WireError> {
    let version = value.first_chunk::<2>().map(|bytes| i16::from_be_bytes(*bytes));
    let version = version.ok_or_else(|| WireError::Undecodable("no version of a control record".to_owned()))?;
    let message = V::decode(&mut &*value, version).map_err(|error| WireError::Undecodable(error.to_string()))?;
    Ok((message, version))
}
