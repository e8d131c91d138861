//! A member of a classic group (Kafka's `ClassicGroupMember`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;

use crate::coordinator::group::record::MemberMetadata;
use crate::coordinator::runtime::Ticket;

/// A protocol that a member supports, and the member's metadata for it.
pub type Protocol = (Arc<str>, Bytes);

/// A member. The first part is durable, the rest lives only while this broker coordinates the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its name, for a static member.
    pub group_instance_id: Option<Arc<str>>,
    /// What the client calls itself.
    pub client_id: Arc<str>,
    /// Where it connects from.
    pub client_host: Arc<str>,
    /// How long a rebalance waits for it.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// What the leader assigned to it.
    pub assignment: Bytes,
    /// In the member's order of preference; after loading only the chosen one.
    pub protocols: Vec<Protocol>,
    /// Its JoinGroup, parked until the rebalance completes.
    pub awaiting_join: Option<Ticket>,
    /// Its SyncGroup, parked until the leader's arrives.
    pub awaiting_sync: Option<Ticket>,
    /// It has never been in a completed generation: it cannot send heartbeats yet, and may expire while it waits.
    pub is_new: bool,
}

impl Member {
    /// A member read from a record.
    pub fn from_record(record: MemberMetadata, protocol: Option<&Arc<str>>) -> Self {
        Self {
            member_id: record.member_id,
            group_instance_id: record.group_instance_id,
            client_id: record.client_id,
            client_host: record.client_host,
            rebalance_timeout_ms: record.rebalance_timeout_ms,
            session_timeout_ms: record.session_timeout_ms,
            assignment: record.assignment,
            protocols: protocol.map(|name| (name.clone(), record.subscription)).into_iter().collect(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        }
    }

    /// Takes over from the same member what its record does not say: parked requests, and its other protocols if they
    /// are of the same join.
    pub fn inherit(&mut self, live: Self) {
        self.awaiting_join = live.awaiting_join;
        self.awaiting_sync = live.awaiting_sync;
        self.is_new = live.is_new;
        if self.protocols.iter().all(|chosen| live.protocols.contains(chosen)) {
            self.protocols = live.protocols;
        }
    }

    /// The durable part, with another assignment.
    pub fn to_record(&self, protocol: Option<&Arc<str>>, assignment: Bytes) -> MemberMetadata {
        MemberMetadata {
            member_id: self.member_id.clone(),
            group_instance_id: self.group_instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: protocol.map(|name| self.metadata(name)).unwrap_or_default(),
            assignment,
        }
    }

    /// Whether it has a `group.instance.id` (KIP-345).
    pub fn is_static(&self) -> bool {
        self.group_instance_id.is_some()
    }

    /// Its metadata for a protocol; empty when it does not support it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|(name, _)| &**name == protocol).map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    /// The first of its protocols that `is_candidate` admits.
    pub fn vote(&self, is_candidate: impl Fn(&str) -> bool) -> Option<&Arc<str>> {
        self.protocols.iter().map(|(name, _)| name).find(|name| is_candidate(name))
    }

    /// Whether a request names the same protocols in the same order with the same metadata.
    pub fn matches(&self, protocols: &[JoinGroupRequestProtocol]) -> bool {
        self.protocols.len() == protocols.len()
            && self
                .protocols
                .iter()
                .zip(protocols)
                .all(|((name, metadata), other)| **name == *other.name.as_str() && *metadata == other.metadata)
    }

    /// A parked request is as good as a heartbeat, except a new member's.
    pub fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

/// How many members support each protocol, so that a join need not ask all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolSupport(HashMap<Arc<str>, usize>);

impl ProtocolSupport {
    /// A member came, with these.
    pub fn add(&mut self, protocols: &[Protocol]) {
        for name in distinct_names(protocols) {
            *self.0.entry(name.clone()).or_default() += 1;
        }
    }

    /// A member with these went.
    pub fn remove(&mut self, protocols: &[Protocol]) {
        for name in distinct_names(protocols) {
            if let Some(count) = self.0.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(name);
                }
            }
        }
    }

    /// How many members support it.
    pub fn count(&self, protocol: &str) -> usize {
        self.0.get(protocol).copied().unwrap_or(0)
    }
}

/// A client may name a protocol twice.
fn distinct_names(protocols: &[Protocol]) -> impl Iterator<Item = &Arc<str>> {
    let mut seen = HashSet::with_capacity(protocols.len());
    protocols.iter().map(|(name, _)| name).filter(move |name| seen.insert(*name))
}
