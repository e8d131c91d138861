//! The groups and offsets of one partition of `__consumer_offsets` (Kafka's `GroupCoordinatorShard`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, LeaveGroupRequest, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest,
    OffsetDeleteResponse, SyncGroupRequest, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

use super::classic::{ClassicGroup, ClassicGroupState, Join, join_error, sync_error};
use super::config::GroupCoordinatorConfig;
use super::offsets::{self, Offsets};
use super::record::{GroupMetadata, GroupRecord};
use super::records;
use super::step::{GroupTimer, Parked, Step};
use crate::coordinator::CoordinatorError;
use crate::coordinator::runtime::{Decision, KeyValue, StateMachine, Ticket};
use crate::types::{TransactionResult, Uuid};
use crate::wire::str_bytes;

/// First version of OffsetCommit that says that a group is missing.
const OFFSET_COMMIT_GROUP_ID_NOT_FOUND_VERSION: i16 = 9;
/// First version of DescribeGroups that says that a group is missing (KIP-1043).
const DESCRIBE_GROUP_ID_NOT_FOUND_VERSION: i16 = 6;

/// The state machine of a shard.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupShard {
    config: Arc<GroupCoordinatorConfig>,
    /// What fits in one batch.
    max_record_bytes: usize,
    groups: BTreeMap<Arc<str>, ClassicGroup>,
    offsets: Offsets,
}

impl GroupShard {
    /// A shard without groups.
    pub fn new(config: Arc<GroupCoordinatorConfig>, max_record_bytes: usize) -> Self {
        Self { config, max_record_bytes, groups: BTreeMap::new(), offsets: Offsets::default() }
    }

    /// A group.
    pub fn group(&self, group_id: &str) -> Option<&ClassicGroup> {
        self.groups.get(group_id)
    }

    /// All groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&Arc<str>, &ClassicGroup)> {
        self.groups.iter()
    }

    /// All offsets.
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// JoinGroup. A group that is not there is written first, and the join decided once more.
    pub fn join_group(&mut self, join: Join<'_>, now_ms: i64) -> Decision<Self, ()> {
        let mut step = Step::new(now_ms, &self.config);
        let group_id = join.request.group_id.as_str();
        let member_id = join.request.member_id.as_str();
        match self.groups.get_mut(group_id) {
            Some(group) => group.join(join, &mut step),
            None if member_id.is_empty() => {
                let value = GroupMetadata {
                    protocol_type: None,
                    generation: 0,
                    protocol: None,
                    leader: None,
                    state_timestamp_ms: Some(now_ms),
                    members: Vec::new(),
                };
                step.records.push(GroupRecord::Group { group_id: Arc::from(group_id), value: Some(value) });
                return Decision { again: true, ..step.decide(()) };
            }
            None => step.answer_join(join.ticket, join_error(member_id, ResponseError::UnknownMemberId)),
        }
        step.decide(())
    }

    /// SyncGroup.
    pub fn sync_group(&mut self, request: &SyncGroupRequest, ticket: Ticket, now_ms: i64) -> Decision<Self, ()> {
        let mut step = Step::new(now_ms, &self.config);
        match self.groups.get_mut(request.group_id.as_str()) {
            Some(group) if !group.is_empty() => group.sync(request, ticket, self.max_record_bytes, &mut step),
            _ => step.answer_sync(ticket, sync_error(ResponseError::UnknownMemberId)),
        }
        step.decide(())
    }

    /// Heartbeat.
    pub fn heartbeat(&mut self, request: &HeartbeatRequest, now_ms: i64) -> Decision<Self, Result<(), ResponseError>> {
        let mut step = Step::new(now_ms, &self.config);
        let result = match self.groups.get(request.group_id.as_str()) {
            Some(group) => group.heartbeat(request, &mut step),
            None => Err(ResponseError::UnknownMemberId),
        };
        step.decide(result)
    }

    /// LeaveGroup: an answer for each member.
    pub fn leave_group(&mut self, request: &LeaveGroupRequest, now_ms: i64) -> Decision<Self, Vec<MemberResponse>> {
        let mut step = Step::new(now_ms, &self.config);
        let responses = match self.groups.get_mut(request.group_id.as_str()) {
            Some(group) => group.leave(&request.members, &mut step),
            None => request.members.iter().map(unknown_member).collect(),
        };
        step.decide(responses)
    }

    /// OffsetCommit. A group that is not there is made by the records, if the commit names no generation.
    pub fn commit_offsets(
        &mut self,
        api_version: i16,
        request: &OffsetCommitRequest,
        now_ms: i64,
    ) -> Decision<Self, Result<OffsetCommitResponse, ResponseError>> {
        let mut step = Step::new(now_ms, &self.config);
        let generation = request.generation_id_or_member_epoch;
        let member_id = request.member_id.as_str();
        let valid = match self.groups.get(request.group_id.as_str()) {
            Some(group) => group
                .validate_offset_commit(member_id, request.group_instance_id.as_deref(), generation)
                .map(|()| group.refresh_session(member_id, &mut step)),
            None if generation < 0 => Ok(()),
            None if api_version >= OFFSET_COMMIT_GROUP_ID_NOT_FOUND_VERSION => Err(ResponseError::GroupIdNotFound),
            None => Err(ResponseError::IllegalGeneration),
        };
        let response = valid.map(|()| offsets::commit(request, &mut step));
        step.decide(response)
    }

    /// TxnOffsetCommit, of partitions that exist and have these topic ids: what the producer's transaction would commit.
    pub fn commit_transactional_offsets(
        &mut self,
        request: &TxnOffsetCommitRequest,
        topic_ids: &[Uuid],
        now_ms: i64,
    ) -> Decision<Self, Result<TxnOffsetCommitResponse, ResponseError>> {
        let mut step = Step::new(now_ms, &self.config);
        let generation = request.generation_id;
        let valid = match self.groups.get(request.group_id.as_str()) {
            Some(group) => group.validate_transactional_offset_commit(
                &request.member_id,
                request.group_instance_id.as_deref(),
                generation,
            ),
            None if generation < 0 => Ok(()),
            // GROUP_ID_NOT_FOUND only from version 6 on.
            None => Err(ResponseError::IllegalGeneration),
        };
        let response = valid.map(|()| offsets::commit_transactional(request, topic_ids, &mut step));
        step.decide(response)
    }

    /// OffsetFetch of one group.
    pub fn fetch_offsets(&self, request: &OffsetFetchRequestGroup, require_stable: bool) -> OffsetFetchResponseGroup {
        self.offsets.fetch(request, self.groups.contains_key(request.group_id.as_str()), require_stable)
    }

    /// OffsetDelete.
    pub fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
        now_ms: i64,
    ) -> Decision<Self, Result<OffsetDeleteResponse, ResponseError>> {
        let mut step = Step::new(now_ms, &self.config);
        let group = self.groups.get(request.group_id.as_str()).ok_or(ResponseError::GroupIdNotFound);
        let response = group.and_then(|group| {
            group.validate_offset_delete()?;
            let topics = offsets::delete(&self.offsets, request, group, &mut step);
            Ok(OffsetDeleteResponse::default().with_topics(topics))
        });
        step.decide(response)
    }

    /// DeleteGroups, of the groups of this shard: an answer for each.
    pub fn delete_groups(&mut self, ids: &[GroupId], now_ms: i64) -> Decision<Self, Vec<Result<(), ResponseError>>> {
        let mut step = Step::new(now_ms, &self.config);
        let mut results = Vec::with_capacity(ids.len());
        for id in ids {
            results.push(match self.groups.get_key_value(id.as_str()) {
                None => Err(ResponseError::GroupIdNotFound),
                Some((_, group)) if !group.is_empty() => Err(ResponseError::NonEmptyGroup),
                Some((group_id, _)) => {
                    self.offsets.delete_all(group_id, &mut step.records);
                    step.records.push(GroupRecord::Group { group_id: group_id.clone(), value: None });
                    Ok(())
                }
            });
        }
        // A group that is half deleted can be deleted again.
        Decision { divisible: true, ..step.decide(results) }
    }

    /// Topics were deleted: their offsets go (`GroupCoordinatorShard.onTopicsDeleted`).
    pub fn topics_deleted(&mut self, topics: &[(Uuid, Arc<str>)], now_ms: i64) -> Decision<Self, ()> {
        let mut step = Step::new(now_ms, &self.config);
        for (topic_id, name) in topics {
            self.offsets.delete_topic(*topic_id, name, &mut step.records);
        }
        Decision { divisible: true, ..step.decide(()) }
    }

    /// ListGroups. States and types are compared without regard to case, states also without blanks around them; empty filters
    /// let everything through.
    pub fn list_groups(&self, states: &[String], types: &[String]) -> Vec<ListedGroup> {
        let is_type_wanted = types.is_empty() || types.iter().any(|name| name.eq_ignore_ascii_case("classic"));
        // Once, and not for every group: a filter may be long.
        let is_wanted = |state: &ClassicGroupState| {
            states.is_empty() || states.iter().any(|name| name.trim().eq_ignore_ascii_case(state.name()))
        };
        let wanted: Vec<ClassicGroupState> = ClassicGroupState::ALL.into_iter().filter(is_wanted).collect();
        self.groups
            .iter()
            .filter(|(_, group)| is_type_wanted && wanted.contains(&group.state()))
            .map(|(group_id, group)| {
                ListedGroup::default()
                    .with_group_id(GroupId(str_bytes(group_id)))
                    .with_protocol_type(group.protocol_type().map(|name| str_bytes(name)).unwrap_or_default())
                    .with_group_state(str_bytes(group.state().name()))
                    .with_group_type(str_bytes("classic"))
            })
            .collect()
    }

    /// DescribeGroups, of one group.
    pub fn describe_group(&self, group_id: &GroupId, api_version: i16) -> DescribedGroup {
        let described = DescribedGroup::default().with_group_id(group_id.clone());
        let Some(group) = self.groups.get(group_id.as_str()) else {
            let described = described.with_group_state(str_bytes("Dead"));
            if api_version < DESCRIBE_GROUP_ID_NOT_FOUND_VERSION {
                return described;
            }
            return described
                .with_error_code(ResponseError::GroupIdNotFound.code())
                .with_error_message(Some(str_bytes(&format!("Group {} not found.", group_id.as_str()))));
        };
        // Only a stable group has metadata and assignments that belong together.
        let protocol = group.protocol().filter(|_| group.state() == ClassicGroupState::Stable);
        let members = group.members().map(|member| {
            DescribedGroupMember::default()
                .with_member_id(str_bytes(&member.member_id))
                .with_group_instance_id(member.group_instance_id.as_deref().map(str_bytes))
                .with_client_id(str_bytes(&member.client_id))
                .with_client_host(str_bytes(&member.client_host))
                .with_member_metadata(protocol.map(|name| member.metadata(name)).unwrap_or_default())
                .with_member_assignment(member.assignment.clone())
        });
        described
            .with_group_state(str_bytes(group.state().name()))
            .with_protocol_type(group.protocol_type().map(|name| str_bytes(name)).unwrap_or_default())
            .with_protocol_data(protocol.map(|name| str_bytes(name)).unwrap_or_default())
            .with_members(members.collect())
    }

    /// Who commits offsets without being a member makes a group that has none.
    fn create_if_missing(&mut self, group_id: &Arc<str>) {
        if !self.groups.contains_key(group_id) {
            self.groups.insert(group_id.clone(), ClassicGroup::new(group_id.clone()));
        }
    }

    /// Tombstones for expired offsets, and for groups that have neither members nor offsets.
    fn cleanup(&self, step: &mut Step<'_>) {
        for (group_id, group) in &self.groups {
            let has_no_offsets = self.offsets.expire(group_id, group, step);
            if has_no_offsets && group.is_empty() && !group.has_pending_members() {
                step.records.push(GroupRecord::Group { group_id: group_id.clone(), value: None });
            }
        }
        step.schedule(GroupTimer::Expiration, step.config.offsets_retention_check_interval_ms);
    }
}

fn unknown_member(identity: &MemberIdentity) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(identity.member_id.clone())
        .with_group_instance_id(identity.group_instance_id.clone())
        .with_error_code(ResponseError::UnknownMemberId.code())
}

impl StateMachine for GroupShard {
    type Record = GroupRecord;
    type TimerKey = GroupTimer;
    type Parked = Parked;
    type Output = std::convert::Infallible;

    fn encode(record: &GroupRecord) -> Result<KeyValue, CoordinatorError> {
        records::encode(record)
    }

    fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<GroupRecord>, CoordinatorError> {
        records::decode(key, value)
    }

    fn replay(&mut self, offset: i64, record: GroupRecord) {
        match record {
            GroupRecord::Offset { group_id, topic, partition, value } => {
                if value.is_some() {
                    self.create_if_missing(&group_id);
                }
                self.offsets.replay(offset, group_id, topic, partition, value);
            }
            GroupRecord::Group { group_id, value: Some(value) } => {
                let group = self.groups.entry(group_id.clone()).or_insert_with(|| ClassicGroup::new(group_id));
                group.replay(value);
            }
            GroupRecord::Group { group_id, value: None } => {
                self.groups.remove(&group_id);
            }
        }
    }

    fn replay_transactional(&mut self, offset: i64, producer_id: i64, record: GroupRecord) {
        match record {
            GroupRecord::Offset { group_id, topic, partition, value: Some(value) } => {
                self.create_if_missing(&group_id);
                self.offsets.replay_pending(offset, producer_id, group_id, topic, partition, value);
            }
            // Tombstones and groups are not subject to transactions (`OffsetMetadataManager.replay`).
            other => self.replay(offset, other),
        }
    }

    fn replay_end_transaction_marker(&mut self, producer_id: i64, result: TransactionResult) {
        for group_id in self.offsets.end_transaction(producer_id, result) {
            self.create_if_missing(&group_id);
        }
    }

    fn loaded(&mut self, now_ms: i64) -> Decision<Self, ()> {
        let mut step = Step::new(now_ms, &self.config);
        for group in self.groups.values_mut() {
            group.loaded(&mut step);
        }
        step.schedule(GroupTimer::Expiration, self.config.offsets_retention_check_interval_ms);
        step.decide(())
    }

    fn expired(&mut self, timer: GroupTimer, now_ms: i64) -> Decision<Self, ()> {
        let mut step = Step::new(now_ms, &self.config);
        match timer {
            GroupTimer::Session { group_id, member_id } => {
                if let Some(group) = self.groups.get_mut(&group_id) {
                    group.session_expired(&member_id, &mut step);
                }
            }
            GroupTimer::Join(group_id) => {
                if let Some(group) = self.groups.get_mut(&group_id) {
                    group.join_timer_expired(&mut step);
                }
            }
            GroupTimer::Sync(group_id) => {
                if let Some(group) = self.groups.get_mut(&group_id) {
                    group.sync_timer_expired(&mut step);
                }
            }
            GroupTimer::Expiration => {
                self.cleanup(&mut step);
                return Decision { divisible: true, ..step.decide(()) };
            }
        }
        step.decide(())
    }
}
