//! JoinGroup (Kafka's `GroupMetadataManager.classicGroupJoinToClassicGroup` and below).

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::JoinGroupRequest;

use super::group::{ClassicGroup, ClassicGroupState, join_error, sync_error};
use super::member::{Member, Protocol};
use crate::coordinator::group::context::GroupRequestContext;
use crate::coordinator::group::step::Step;
use crate::coordinator::runtime::Ticket;
use crate::wire::str_bytes;

/// First version whose members must come back with the id that they are given (KIP-394).
const MEMBER_ID_REQUIRED_VERSION: i16 = 4;
/// First version that knows `skip_assignment` (KIP-814).
const SKIP_ASSIGNMENT_VERSION: i16 = 9;

/// One JoinGroup on its way through the group.
#[derive(Clone, Copy)]
pub struct Join<'a> {
    /// Who asks, and in which version.
    pub context: &'a GroupRequestContext,
    /// What is asked.
    pub request: &'a JoinGroupRequest,
    /// Copies of the request's protocols, the member's own.
    pub protocols: &'a [Protocol],
    /// Random part of the member id, should one be needed.
    pub member_suffix: &'a str,
    /// The parked request.
    pub ticket: Ticket,
}

impl Join<'_> {
    fn instance_id(&self) -> Option<&str> {
        self.request.group_instance_id.as_deref()
    }

    fn refuse(&self, member_id: &str, error: ResponseError, step: &mut Step<'_>) {
        step.answer_join(self.ticket, join_error(member_id, error));
    }

    /// `ClassicGroup.generateMemberId`: instance or client id, then a random part.
    fn new_member_id(&self) -> Arc<str> {
        let name = self.instance_id().unwrap_or(&self.context.client_id);
        Arc::from(format!("{name}-{}", self.member_suffix))
    }
}

impl ClassicGroup {
    /// Handles JoinGroup.
    pub fn join(&mut self, join: Join<'_>, step: &mut Step<'_>) {
        let member_id = join.request.member_id.as_str();
        if !self.accepts(member_id, step.config.max_size) {
            self.remove(member_id, step);
            join.refuse("", ResponseError::GroupMaxSizeReached, step);
        } else if !self.supports_protocols(
            &join.request.protocol_type,
            join.request.protocols.iter().map(|protocol| protocol.name.as_str()),
        ) {
            join.refuse(member_id, ResponseError::InconsistentGroupProtocol, step);
        } else if member_id.is_empty() {
            self.join_new(join, step);
        } else {
            self.join_existing(join, member_id, step);
        }
    }

    /// Is there room (`acceptJoiningMember`)? While members come back to a rebalance only those count that are there.
    fn accepts(&self, member_id: &str, max_size: usize) -> bool {
        let member = self.members.get(member_id);
        match self.state {
            ClassicGroupState::Empty => true,
            ClassicGroupState::PreparingRebalance => {
                self.members.len() < max_size
                    || member.is_some_and(|member| member.awaiting_join.is_some())
                    || self.awaiting_join() < max_size
            }
            ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable => {
                member.is_some() || self.members.len() < max_size
            }
        }
    }

    fn join_new(&mut self, join: Join<'_>, step: &mut Step<'_>) {
        let new_member_id = join.new_member_id();
        if let Some(instance_id) = join.instance_id() {
            match self.static_members.get(instance_id).cloned() {
                Some(old_member_id) => self.replace_static_member(join, &old_member_id, new_member_id, step),
                None => self.add_member(join, new_member_id, step),
            }
        } else if join.context.api_version >= MEMBER_ID_REQUIRED_VERSION {
            self.pending_join.insert(new_member_id.clone());
            step.schedule(self.session_timer(&new_member_id), i64::from(join.request.session_timeout_ms));
            join.refuse(&new_member_id, ResponseError::MemberIdRequired, step);
        } else {
            self.add_member(join, new_member_id, step);
        }
    }

    fn join_existing(&mut self, join: Join<'_>, member_id: &str, step: &mut Step<'_>) {
        if self.pending_join.contains(member_id) && join.instance_id().is_none() {
            return self.add_member(join, Arc::from(member_id), step);
        }
        if let Err(error) = self.validate_member(member_id, join.instance_id()) {
            return join.refuse(member_id, error, step);
        }
        let is_unchanged = self.members.get(member_id).is_some_and(|member| member.matches(&join.request.protocols));
        let answer_at_once = match self.state {
            // Members are only there in the other states; a load between two requests can still bring this about.
            ClassicGroupState::Empty => return join.refuse(member_id, ResponseError::UnknownMemberId, step),
            ClassicGroupState::PreparingRebalance => false,
            // The answer to its join may have been lost.
            ClassicGroupState::CompletingRebalance => is_unchanged,
            // The leader rejoins to have partitions assigned anew, also when its own metadata is the same.
            ClassicGroupState::Stable => is_unchanged && !self.is_leader(member_id),
        };
        if answer_at_once {
            step.answer_join(join.ticket, self.join_response(member_id, false));
        } else {
            self.update_member(member_id, join, Some(join.ticket), step);
            let state = self.state.name();
            let reason = format_args!("Member {member_id} is joining group during {state}");
            self.prepare_rebalance_or_complete_join(reason, step);
        }
    }

    fn add_member(&mut self, join: Join<'_>, member_id: Arc<str>, step: &mut Step<'_>) {
        let request = join.request;
        let member = Member {
            member_id: member_id.clone(),
            group_instance_id: join.instance_id().map(Arc::from),
            client_id: join.context.client_id.clone(),
            client_host: join.context.client_host.clone(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            assignment: Bytes::new(),
            protocols: join.protocols.to_vec(),
            awaiting_join: Some(join.ticket),
            awaiting_sync: None,
            is_new: true,
        };
        if let Some(initial) = &mut self.initial_rebalance {
            initial.new_member_added = true;
        }
        self.insert(member, &request.protocol_type);
        // A new member knows no id to send heartbeats with, and a parked request shows no disconnect: it gets five
        // minutes, and should come again if it is still there.
        step.schedule(self.session_timer(&member_id), i64::from(step.config.new_member_join_timeout_ms));
        self.prepare_rebalance_or_complete_join(format_args!("Adding new member {member_id}"), step);
    }

    /// Takes over what the request says. A join that is parked already was given up by the client: it is answered, so
    /// that nothing waits for ever.
    fn update_member(&mut self, member_id: &str, join: Join<'_>, ticket: Option<Ticket>, step: &mut Step<'_>) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        self.support.remove(&member.protocols);
        member.protocols = join.protocols.to_vec();
        self.support.add(&member.protocols);
        member.rebalance_timeout_ms = join.request.rebalance_timeout_ms;
        member.session_timeout_ms = join.request.session_timeout_ms;
        if let Some(abandoned) = std::mem::replace(&mut member.awaiting_join, ticket) {
            step.answer_join(abandoned, join_error(member_id, ResponseError::RebalanceInProgress));
        }
    }

    /// A static member comes back without its member id, or a second process uses its instance id (KIP-345): the new id
    /// takes the place, whoever waits under the old one is fenced.
    fn replace_static_member(&mut self, join: Join<'_>, old_id: &Arc<str>, new_id: Arc<str>, step: &mut Step<'_>) {
        let leader_before = self.leader.clone();
        let Some(index) = self.members.get_index_of(old_id) else { return };
        let Some(old) = self.members.shift_remove(old_id) else { return };
        if let Some(ticket) = old.awaiting_join {
            step.answer_join(ticket, join_error(old_id, ResponseError::FencedInstanceId));
        }
        if let Some(ticket) = old.awaiting_sync {
            step.answer_sync(ticket, sync_error(ResponseError::FencedInstanceId));
        }
        step.cancel(self.session_timer(old_id));
        if self.pending_sync.swap_remove(old_id) {
            self.pending_sync.insert(new_id.clone());
        }
        let member =
            Member { member_id: new_id.clone(), awaiting_join: None, awaiting_sync: None, is_new: false, ..old };
        self.schedule_session(&member, step);
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members.insert(instance_id.clone(), new_id.clone());
        }
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        self.members.shift_insert(index, new_id.clone(), member);
        self.update_member(&new_id, join, None, step);
        self.after_static_replacement(join, &new_id, leader_before, step);
    }

    fn after_static_replacement(
        &mut self,
        join: Join<'_>,
        member_id: &Arc<str>,
        leader_before: Option<Arc<str>>,
        step: &mut Step<'_>,
    ) {
        if self.state == ClassicGroupState::Stable && self.select_protocol() == self.protocol {
            // Nothing changes for the others: the new id inherits the assignment, and only the log has to know.
            let mut response = self.join_response(member_id, false);
            if join.context.api_version >= SKIP_ASSIGNMENT_VERSION {
                response.skip_assignment = self.is_leader(member_id);
            } else {
                // Before KIP-814 a leader that thinks it is one would assign anew, and be refused: it is not told.
                response.leader = leader_before.as_deref().map(str_bytes).unwrap_or_default();
                response.members = Vec::new();
            }
            step.records.push(self.record(self.durable()));
            step.answer_join(join.ticket, response);
            return;
        }
        if let Some(member) = self.members.get_mut(member_id) {
            member.awaiting_join = Some(join.ticket);
        }
        match self.state {
            // Between join and sync the leader may be assigning to the old id already.
            ClassicGroupState::Stable | ClassicGroupState::CompletingRebalance => {
                self.prepare_rebalance(format_args!("Updating metadata for static member {member_id}"), step);
            }
            ClassicGroupState::Empty | ClassicGroupState::PreparingRebalance => self.complete_join_if_ready(step),
        }
    }
}
