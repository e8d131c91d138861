//! The two phases of a rebalance and what ends them (Kafka's `GroupMetadataManager.prepareRebalance`,
//! `completeClassicGroupJoin`, `expirePendingSync`).

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::group::{ClassicGroup, ClassicGroupState, InitialRebalance, sync_error};
use crate::coordinator::group::step::{GroupTimer, Step};

impl ClassicGroup {
    pub(super) fn prepare_rebalance_or_complete_join(&mut self, reason: impl Display, step: &mut Step<'_>) {
        if self.state == ClassicGroupState::PreparingRebalance {
            self.complete_join_if_ready(step);
        } else {
            self.prepare_rebalance(reason, step);
        }
    }

    /// Starts a rebalance. The reason is for the log.
    pub fn prepare_rebalance(&mut self, reason: impl Display, step: &mut Step<'_>) {
        if self.state == ClassicGroupState::CompletingRebalance {
            self.refuse_syncs(ResponseError::RebalanceInProgress, step);
        }
        self.pending_sync.clear();
        step.cancel(GroupTimer::Sync(self.group_id.clone()));
        let is_initial = self.is_empty();
        self.transition_to(ClassicGroupState::PreparingRebalance, step);
        tracing::info!(
            "Preparing to rebalance group {} in state {} with old generation {} (reason: {reason}).",
            self.group_id,
            self.state.name(),
            self.generation
        );
        if is_initial {
            let delay_ms = i64::from(step.config.initial_rebalance_delay_ms);
            let remaining_ms = (self.rebalance_timeout_ms() - delay_ms).max(0);
            self.initial_rebalance = Some(InitialRebalance { delay_ms, remaining_ms, new_member_added: false });
            step.schedule(GroupTimer::Join(self.group_id.clone()), delay_ms);
        } else {
            self.initial_rebalance = None;
            if self.has_all_members_joined() {
                self.complete_join(step);
            } else {
                step.schedule(GroupTimer::Join(self.group_id.clone()), self.rebalance_timeout_ms());
            }
        }
    }

    /// Ends the join phase once everybody is there; the first rebalance always waits its delay.
    pub(super) fn complete_join_if_ready(&mut self, step: &mut Step<'_>) {
        if self.state == ClassicGroupState::PreparingRebalance
            && self.initial_rebalance.is_none()
            && self.has_all_members_joined()
        {
            self.complete_join(step);
        }
    }

    /// The timer of the join phase fired.
    pub fn join_timer_expired(&mut self, step: &mut Step<'_>) {
        if self.state != ClassicGroupState::PreparingRebalance {
            return;
        }
        match &mut self.initial_rebalance {
            Some(initial) if initial.new_member_added && initial.remaining_ms != 0 => {
                let delay_ms = i64::from(step.config.initial_rebalance_delay_ms).min(initial.remaining_ms);
                *initial = InitialRebalance {
                    delay_ms,
                    remaining_ms: (initial.remaining_ms - initial.delay_ms).max(0),
                    new_member_added: false,
                };
                step.schedule(GroupTimer::Join(self.group_id.clone()), delay_ms);
            }
            _ => self.complete_join(step),
        }
    }

    /// Ends the join phase with whoever is there.
    fn complete_join(&mut self, step: &mut Step<'_>) {
        step.cancel(GroupTimer::Join(self.group_id.clone()));
        let late: Vec<Arc<str>> = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && !member.is_static())
            .map(|member| member.member_id.clone())
            .collect();
        for member_id in late {
            self.remove(&member_id, step);
            step.cancel(self.session_timer(&member_id));
        }
        if self.members.is_empty() {
            return self.become_empty(step);
        }
        if !self.elect_joined_leader() {
            // Only static members are left and none came: their sessions decide.
            step.schedule(GroupTimer::Join(self.group_id.clone()), self.rebalance_timeout_ms());
            return;
        }
        self.start_generation(step);
    }

    /// The leader stays if it came back; otherwise the first member that did. `false` when nobody did.
    fn elect_joined_leader(&mut self) -> bool {
        let is_there =
            |member_id: &Arc<str>| self.members.get(member_id).is_some_and(|member| member.awaiting_join.is_some());
        if self.leader.as_ref().is_some_and(is_there) {
            return true;
        }
        let joined = self.members.values().find(|member| member.awaiting_join.is_some());
        match joined.map(|member| member.member_id.clone()) {
            Some(member_id) => {
                self.leader = Some(member_id);
                true
            }
            None => false,
        }
    }

    fn become_empty(&mut self, step: &mut Step<'_>) {
        tracing::info!("Group {} with generation {} is now empty.", self.group_id, self.generation.wrapping_add(1));
        let mut value = self.metadata(|_| Bytes::new());
        value.generation = self.generation.wrapping_add(1);
        value.protocol = None;
        value.state_timestamp_ms = Some(step.now_ms);
        step.records.push(self.record(value));
    }

    fn start_generation(&mut self, step: &mut Step<'_>) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol = self.select_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        self.initial_rebalance = None;
        self.transition_to(ClassicGroupState::CompletingRebalance, step);
        tracing::info!(
            "Stabilized group {} generation {} with {} members.",
            self.group_id,
            self.generation,
            self.members.len()
        );
        self.pending_sync = self.members.keys().cloned().collect();
        for index in 0..self.members.len() {
            let Some((member_id, member)) = self.members.get_index_mut(index) else { break };
            let member_id = member_id.clone();
            member.is_new = false;
            if let Some(ticket) = member.awaiting_join.take() {
                step.answer_join(ticket, self.join_response(&member_id, false));
            }
            if let Some(member) = self.members.get(&member_id) {
                self.schedule_session(member, step);
            }
        }
        step.schedule(GroupTimer::Sync(self.group_id.clone()), self.rebalance_timeout_ms());
    }

    /// The time for SyncGroup is over: who did not send it is expelled.
    pub fn sync_timer_expired(&mut self, step: &mut Step<'_>) {
        let is_syncing = matches!(self.state, ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable);
        if !is_syncing || self.pending_sync.is_empty() {
            return;
        }
        let late = std::mem::take(&mut self.pending_sync);
        let number = late.len();
        for member_id in late {
            self.remove(&member_id, step);
            step.cancel(self.session_timer(&member_id));
        }
        self.prepare_rebalance(format_args!("Removing {number} members on pending sync request expiration"), step);
    }

    /// A session ended: a pending id was not used, or a member was silent.
    pub fn session_expired(&mut self, member_id: &str, step: &mut Step<'_>) {
        if self.pending_join.contains(member_id) {
            self.remove(member_id, step);
            self.complete_join_after_removal(step);
        } else if self.members.get(member_id).is_some_and(|member| !member.has_satisfied_heartbeat()) {
            tracing::info!("Member {member_id} in group {} has failed, removing it from the group.", self.group_id);
            self.remove(member_id, step);
            match self.state {
                ClassicGroupState::Stable | ClassicGroupState::CompletingRebalance => {
                    self.prepare_rebalance(format_args!("removing member {member_id} on heartbeat expiration"), step);
                }
                ClassicGroupState::Empty | ClassicGroupState::PreparingRebalance => {
                    self.complete_join_after_removal(step);
                }
            }
        }
    }

    /// Unlike a join, a removal may end even the first rebalance before its delay.
    fn complete_join_after_removal(&mut self, step: &mut Step<'_>) {
        if self.state == ClassicGroupState::PreparingRebalance && self.has_all_members_joined() {
            self.complete_join(step);
        }
    }

    /// The group was read from the log: its members' sessions begin, and one that is too large now rebalances.
    pub fn loaded(&mut self, step: &mut Step<'_>) {
        for member in self.members.values() {
            self.schedule_session(member, step);
        }
        if self.members.len() > step.config.max_size {
            self.prepare_rebalance("the freshly loaded group is over capacity", step);
        }
    }

    /// Takes all assignments back and answers the parked SyncGroups with an error.
    pub(super) fn refuse_syncs(&mut self, error: ResponseError, step: &mut Step<'_>) {
        for index in 0..self.members.len() {
            let Some((_, member)) = self.members.get_index_mut(index) else { break };
            member.assignment = Bytes::new();
            if let Some(ticket) = member.awaiting_sync.take() {
                step.answer_sync(ticket, sync_error(error));
                let member_id = member.member_id.clone();
                if let Some(member) = self.members.get(&member_id) {
                    self.schedule_session(member, step);
                }
            }
        }
    }
}
