//! LeaveGroup (Kafka's `GroupMetadataManager.classicGroupLeaveToClassicGroup`).

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;

use super::group::{ClassicGroup, ClassicGroupState};
use crate::coordinator::group::step::Step;

impl ClassicGroup {
    /// Handles LeaveGroup for all members of the request, and rebalances once.
    pub fn leave(&mut self, identities: &[MemberIdentity], step: &mut Step<'_>) -> Vec<MemberResponse> {
        let mut has_left = false;
        let mut responses = Vec::with_capacity(identities.len());
        for identity in identities {
            let result = self.leave_one(identity, step);
            has_left |= result.is_ok();
            responses.push(
                MemberResponse::default()
                    .with_member_id(identity.member_id.clone())
                    .with_group_instance_id(identity.group_instance_id.clone())
                    .with_error_code(result.map_or_else(|error| error.code(), |()| 0)),
            );
        }
        if has_left {
            match self.state {
                ClassicGroupState::Stable | ClassicGroupState::CompletingRebalance => {
                    self.prepare_rebalance("explicit `LeaveGroup` request", step);
                }
                ClassicGroupState::PreparingRebalance => self.complete_join_if_ready(step),
                ClassicGroupState::Empty => {}
            }
        }
        responses
    }

    fn leave_one(&mut self, identity: &MemberIdentity, step: &mut Step<'_>) -> Result<(), ResponseError> {
        let instance_id = identity.group_instance_id.as_deref();
        let member_id: Arc<str> = if identity.member_id.is_empty() {
            // An administrator removes a static member by its name alone.
            let current = instance_id.and_then(|instance_id| self.static_members.get(instance_id));
            current.cloned().ok_or(ResponseError::UnknownMemberId)?
        } else {
            let member_id = identity.member_id.as_str();
            if !self.pending_join.contains(member_id) {
                self.validate_member(member_id, instance_id)?;
            }
            Arc::from(member_id)
        };
        step.cancel(self.session_timer(&member_id));
        self.remove(&member_id, step);
        tracing::info!(
            "[Group {}] Member {member_id} has left group through explicit `LeaveGroup` request; client reason: {}",
            self.group_id,
            identity.reason.as_deref().unwrap_or("not provided")
        );
        Ok(())
    }
}
