//! Heartbeat (Kafka's `GroupMetadataManager.classicGroupHeartbeatToClassicGroup`).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::HeartbeatRequest;

use super::group::{ClassicGroup, ClassicGroupState};
use crate::coordinator::group::step::Step;

impl ClassicGroup {
    /// Handles Heartbeat: keeps the session alive, and says whether the member must join again.
    pub fn heartbeat(&self, request: &HeartbeatRequest, step: &mut Step<'_>) -> Result<(), ResponseError> {
        let member_id = request.member_id.as_str();
        self.validate_member(member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if self.is_empty() {
            return Err(ResponseError::UnknownMemberId);
        }
        if let Some(member) = self.members.get(member_id) {
            self.schedule_session(member, step);
        }
        match self.state {
            ClassicGroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }
}
