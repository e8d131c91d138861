//! The state of one classic group (Kafka's `ClassicGroup`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use indexmap::{IndexMap, IndexSet};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::member::{Member, ProtocolSupport};
use crate::coordinator::group::record::{GroupMetadata, GroupRecord, OffsetAndMetadata};
use crate::coordinator::group::step::{GroupTimer, Step};
use crate::coordinator::group::subscription::subscribed_topics;
use crate::wire::consumer_protocol::PROTOCOL_TYPE;
use crate::wire::str_bytes;

/// Where a classic group stands (Kafka's enum of the same name; `Dead` is a group that is not there).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassicGroupState {
    /// No members; perhaps offsets.
    Empty,
    /// Waiting for the members to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// Every member has its assignment.
    Stable,
}

impl ClassicGroupState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Empty, Self::PreparingRebalance, Self::CompletingRebalance, Self::Stable];

    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A classic group.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassicGroup {
    pub(super) group_id: Arc<str>,
    pub(super) state: ClassicGroupState,
    /// Since when it is in its state.
    pub(super) state_timestamp_ms: Option<i64>,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol: Option<Arc<str>>,
    pub(super) generation: i32,
    pub(super) leader: Option<Arc<str>>,
    /// By member id, in the order in which they joined.
    pub(super) members: IndexMap<Arc<str>, Member>,
    /// What the members support.
    pub(super) support: ProtocolSupport,
    /// Member id by instance id.
    pub(super) static_members: HashMap<Arc<str>, Arc<str>>,
    /// Ids that were given out with MEMBER_ID_REQUIRED and have not come back.
    pub(super) pending_join: IndexSet<Arc<str>>,
    /// Members of the generation that have not sent SyncGroup.
    pub(super) pending_sync: IndexSet<Arc<str>>,
    /// Topics of all members; `None` when not known (not consumers, or not readable).
    pub(super) subscribed_topics: Option<BTreeSet<Arc<str>>>,
    /// In PreparingRebalance: how the wait for the first members goes on; `None` in later rebalances.
    pub(super) initial_rebalance: Option<InitialRebalance>,
}

/// The wait of the first rebalance after Empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitialRebalance {
    /// The wait that is running, milliseconds.
    pub delay_ms: i64,
    /// What may still be waited after `delay_ms` counted from the last extension, milliseconds.
    pub remaining_ms: i64,
    /// A member came while waiting.
    pub new_member_added: bool,
}

impl ClassicGroup {
    /// An empty group without a protocol type: what an offset commit without membership creates.
    pub fn new(group_id: Arc<str>) -> Self {
        Self {
            group_id,
            state: ClassicGroupState::Empty,
            state_timestamp_ms: None,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: IndexMap::new(),
            support: ProtocolSupport::default(),
            static_members: HashMap::new(),
            pending_join: IndexSet::new(),
            pending_sync: IndexSet::new(),
            subscribed_topics: None,
            initial_rebalance: None,
        }
    }

    /// Its state.
    pub fn state(&self) -> ClassicGroupState {
        self.state
    }

    /// Its protocol type.
    pub fn protocol_type(&self) -> Option<&Arc<str>> {
        self.protocol_type.as_ref()
    }

    /// The chosen protocol.
    pub fn protocol(&self) -> Option<&Arc<str>> {
        self.protocol.as_ref()
    }

    /// Its members, in the order in which they joined.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// Whether there are no members and no rebalance.
    pub fn is_empty(&self) -> bool {
        self.state == ClassicGroupState::Empty
    }

    /// Whether ids were given out that have not come back.
    pub fn has_pending_members(&self) -> bool {
        !self.pending_join.is_empty()
    }

    /// What is durable of it; two states with the same durable part differ only in what a load cannot bring back.
    pub fn durable(&self) -> GroupMetadata {
        self.metadata(|member| member.assignment.clone())
    }

    /// The requests that are parked in it.
    #[cfg(test)]
    pub fn tickets(&self) -> impl Iterator<Item = crate::coordinator::runtime::Ticket> + '_ {
        self.members.values().flat_map(|member| member.awaiting_join.into_iter().chain(member.awaiting_sync))
    }

    /// Panics when its parts contradict each other.
    #[cfg(test)]
    pub fn check_invariants(&self) {
        use ClassicGroupState::{CompletingRebalance, Empty, PreparingRebalance, Stable};
        assert!(self.state != Empty || self.members.is_empty());
        assert!(!matches!(self.state, Stable | CompletingRebalance) || !self.members.is_empty());
        assert_eq!(self.leader.is_some(), !self.members.is_empty(), "{self:?}");
        assert!(self.leader.iter().all(|leader| self.members.contains_key(leader)));
        assert!(self.pending_sync.iter().all(|member_id| self.members.contains_key(member_id)), "{self:?}");
        assert!(self.pending_join.iter().all(|member_id| !self.members.contains_key(member_id)));
        assert!(self.initial_rebalance.is_none() || self.state == PreparingRebalance);
        assert_eq!(self.static_members.len(), self.members.values().filter(|member| member.is_static()).count());
        let mut support = ProtocolSupport::default();
        self.members.values().for_each(|member| support.add(&member.protocols));
        assert_eq!(support, self.support);
        for (member_id, member) in &self.members {
            assert_eq!(member_id, &member.member_id);
            assert!(member.awaiting_join.is_none() || self.state == PreparingRebalance, "{self:?}");
            assert!(member.awaiting_sync.is_none() || self.state == CompletingRebalance, "{self:?}");
            assert!(member.group_instance_id.as_ref().is_none_or(|name| self.static_members[name] == *member_id));
        }
    }

    pub(super) fn metadata(&self, assignment: impl Fn(&Member) -> Bytes) -> GroupMetadata {
        let protocol = self.protocol.as_ref();
        GroupMetadata {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_timestamp_ms: self.state_timestamp_ms,
            members: self.members.values().map(|member| member.to_record(protocol, assignment(member))).collect(),
        }
    }

    pub(super) fn record(&self, value: GroupMetadata) -> GroupRecord {
        GroupRecord::Group { group_id: self.group_id.clone(), value: Some(value) }
    }

    /// Makes a written record the truth: the group is as the record says, and members that were here before keep their
    /// parked requests and their other protocols. Loading and live writes are the same.
    pub fn replay(&mut self, value: GroupMetadata) {
        let mut previous = std::mem::take(&mut self.members);
        self.protocol_type = value.protocol_type.filter(|name| !name.is_empty());
        self.protocol = value.protocol;
        self.generation = value.generation;
        self.leader = value.leader;
        self.state_timestamp_ms = value.state_timestamp_ms;
        self.static_members.clear();
        self.support = ProtocolSupport::default();
        for record in value.members {
            let live = previous.swap_remove(&record.member_id);
            let mut member = Member::from_record(record, self.protocol.as_ref());
            if let Some(live) = live {
                member.inherit(live);
            }
            if let Some(instance_id) = &member.group_instance_id {
                self.static_members.insert(instance_id.clone(), member.member_id.clone());
            }
            self.support.add(&member.protocols);
            self.members.insert(member.member_id.clone(), member);
        }
        let members = &self.members;
        self.pending_sync.retain(|member_id| members.contains_key(member_id));
        self.state = if self.members.is_empty() { ClassicGroupState::Empty } else { ClassicGroupState::Stable };
        self.initial_rebalance = None;
        self.subscribed_topics = self.compute_subscribed_topics();
    }

    pub(super) fn transition_to(&mut self, state: ClassicGroupState, step: &Step<'_>) {
        self.state = state;
        self.state_timestamp_ms = Some(step.now_ms);
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn session_timer(&self, member_id: &Arc<str>) -> GroupTimer {
        GroupTimer::Session { group_id: self.group_id.clone(), member_id: member_id.clone() }
    }

    pub(super) fn schedule_session(&self, member: &Member, step: &mut Step<'_>) {
        step.schedule(self.session_timer(&member.member_id), i64::from(member.session_timeout_ms));
    }

    /// The longest rebalance timeout of the members, milliseconds.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|member| i64::from(member.rebalance_timeout_ms)).max().unwrap_or(0).max(0)
    }

    pub(super) fn awaiting_join(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    pub(super) fn has_all_members_joined(&self) -> bool {
        self.pending_join.is_empty() && self.members.values().all(|member| member.awaiting_join.is_some())
    }

    pub(super) fn insert(&mut self, member: Member, protocol_type: &str) {
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members.insert(instance_id.clone(), member.member_id.clone());
        }
        if self.members.is_empty() && self.protocol_type.as_deref() != Some(protocol_type) {
            self.protocol_type = Some(Arc::from(protocol_type));
        }
        if self.leader.is_none() {
            self.leader = Some(member.member_id.clone());
        }
        self.pending_join.swap_remove(&member.member_id);
        self.support.add(&member.protocols);
        self.members.insert(member.member_id.clone(), member);
    }

    /// Forgets a member. Its parked JoinGroup is answered UNKNOWN_MEMBER_ID, so that a client that is alive joins anew;
    /// its parked SyncGroup likewise.
    pub(super) fn remove(&mut self, member_id: &str, step: &mut Step<'_>) {
        if let Some(member) = self.members.shift_remove(member_id) {
            self.support.remove(&member.protocols);
            if let Some(ticket) = member.awaiting_join {
                step.answer_join(ticket, join_error("", ResponseError::UnknownMemberId));
            }
            if let Some(ticket) = member.awaiting_sync {
                step.answer_sync(ticket, sync_error(ResponseError::UnknownMemberId));
            }
            if let Some(instance_id) = &member.group_instance_id {
                self.static_members.remove(instance_id);
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_join.swap_remove(member_id);
        self.pending_sync.swap_remove(member_id);
    }

    /// Whether the request comes from the member that it names (`ClassicGroup.validateMember`).
    pub(super) fn validate_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ResponseError> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(current) if &**current != member_id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ResponseError::UnknownMemberId) }
    }

    /// Whether a member with these protocols fits the group.
    pub(super) fn supports_protocols<'p>(
        &self,
        protocol_type: &str,
        mut names: impl ExactSizeIterator<Item = &'p str>,
    ) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && names.len() > 0;
        }
        self.protocol_type.as_deref() == Some(protocol_type) && names.any(|name| self.is_candidate(name))
    }

    fn is_candidate(&self, protocol: &str) -> bool {
        self.support.count(protocol) == self.members.len()
    }

    /// The protocol with the most votes among those that all members support; at a tie the one that was voted first.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: IndexMap<&Arc<str>, usize> = IndexMap::new();
        let first = self.members.values().next()?;
        let candidates: BTreeSet<&str> =
            first.protocols.iter().map(|(name, _)| &**name).filter(|name| self.is_candidate(name)).collect();
        for member in self.members.values() {
            *votes.entry(member.vote(|name| candidates.contains(name))?).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }

    pub(super) fn compute_subscribed_topics(&self) -> Option<BTreeSet<Arc<str>>> {
        if self.protocol_type.as_deref() != Some(PROTOCOL_TYPE) {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_ref()?;
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            all.extend(subscribed_topics(&member.metadata(protocol))?);
        }
        Some(all)
    }

    /// Whether a member reads the topic; a consumer group whose subscriptions cannot be read is taken to read all.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.protocol_type.as_deref() == Some(PROTOCOL_TYPE),
        }
    }

    /// May these offsets be committed now (`ClassicGroup.validateOffsetCommit`)?
    pub fn validate_offset_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        if generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.validate_member(member_id, instance_id)?;
            if generation != self.generation {
                return Err(ResponseError::IllegalGeneration);
            }
        } else if !self.is_empty() {
            return Err(ResponseError::UnknownMemberId);
        }
        if self.state == ClassicGroupState::CompletingRebalance {
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// May a transaction commit these offsets now? Clients before TxnOffsetCommit 3 do not say who they are, and the group may be
    /// between join and sync: the transaction, not the group, decides what becomes of them (KIP-447).
    pub fn validate_transactional_offset_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        if generation < 0 && (self.is_empty() || (member_id.is_empty() && instance_id.is_none())) {
            return Ok(());
        }
        self.validate_member(member_id, instance_id)?;
        if generation == self.generation { Ok(()) } else { Err(ResponseError::IllegalGeneration) }
    }

    /// A commit keeps the member's session alive, except between join and sync.
    pub fn refresh_session(&self, member_id: &str, step: &mut Step<'_>) {
        if matches!(self.state, ClassicGroupState::Stable | ClassicGroupState::PreparingRebalance)
            && let Some(member) = self.members.get(member_id)
        {
            self.schedule_session(member, step);
        }
    }

    /// May offsets be deleted one by one? Only consumers say which topics they read.
    pub fn validate_offset_delete(&self) -> Result<(), ResponseError> {
        if self.is_empty() || self.protocol_type.as_deref() == Some(PROTOCOL_TYPE) {
            Ok(())
        } else {
            Err(ResponseError::NonEmptyGroup)
        }
    }

    /// When the offset expires, milliseconds since the epoch; `None` when it does not while the group is as it is
    /// (`ClassicGroup.offsetExpirationCondition`).
    pub fn expires_at(&self, offset: &OffsetAndMetadata, retention_ms: i64) -> Option<i64> {
        let base = match &self.protocol_type {
            None => offset.commit_timestamp_ms,
            Some(_) if self.is_empty() => self.state_timestamp_ms.unwrap_or(offset.commit_timestamp_ms),
            Some(kind)
                if &**kind == PROTOCOL_TYPE
                    && self.subscribed_topics.is_some()
                    && self.state == ClassicGroupState::Stable =>
            {
                offset.commit_timestamp_ms
            }
            Some(_) => return None,
        };
        Some(offset.expire_timestamp_ms.unwrap_or_else(|| base.saturating_add(retention_ms)))
    }

    /// What a JoinGroup of the current generation is answered.
    pub(super) fn join_response(&self, member_id: &str, skip_assignment: bool) -> JoinGroupResponse {
        let members = if self.is_leader(member_id) { self.join_response_members() } else { Vec::new() };
        JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_type(self.protocol_type.as_deref().map(str_bytes))
            .with_protocol_name(self.protocol.as_deref().map(str_bytes))
            .with_leader(self.leader.as_deref().map(str_bytes).unwrap_or_default())
            .with_skip_assignment(skip_assignment)
            .with_member_id(str_bytes(member_id))
            .with_members(members)
    }

    fn join_response_members(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        self.members
            .values()
            .map(|member| {
                JoinGroupResponseMember::default()
                    .with_member_id(str_bytes(&member.member_id))
                    .with_group_instance_id(member.group_instance_id.as_deref().map(str_bytes))
                    .with_metadata(member.metadata(protocol))
            })
            .collect()
    }
}

/// A refused JoinGroup.
pub fn join_error(member_id: &str, error: ResponseError) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(error.code())
        .with_generation_id(-1)
        .with_protocol_name(None)
        .with_leader(StrBytes::new())
        .with_member_id(str_bytes(member_id))
}

/// A refused SyncGroup.
pub fn sync_error(error: ResponseError) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error.code())
}
