//! SyncGroup (Kafka's `GroupMetadataManager.classicGroupSyncToClassicGroup`).

use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::group::{ClassicGroup, ClassicGroupState, sync_error};
use crate::coordinator::group::records::encoded_size;
use crate::coordinator::group::step::{GroupTimer, Step};
use crate::coordinator::runtime::Ticket;
use crate::wire::str_bytes;

impl ClassicGroup {
    /// Handles SyncGroup. `max_record_bytes` is what fits in one batch.
    pub fn sync(&mut self, request: &SyncGroupRequest, ticket: Ticket, max_record_bytes: usize, step: &mut Step<'_>) {
        if let Err(error) = self.validate_sync(request) {
            return step.answer_sync(ticket, sync_error(error));
        }
        let member_id = request.member_id.as_str();
        match self.state {
            ClassicGroupState::Empty => step.answer_sync(ticket, sync_error(ResponseError::UnknownMemberId)),
            ClassicGroupState::PreparingRebalance => {
                step.answer_sync(ticket, sync_error(ResponseError::RebalanceInProgress));
            }
            ClassicGroupState::CompletingRebalance => {
                if let Some(member) = self.members.get_mut(member_id)
                    && let Some(abandoned) = member.awaiting_sync.replace(ticket)
                {
                    step.answer_sync(abandoned, sync_error(ResponseError::RebalanceInProgress));
                }
                self.sync_received(member_id, step);
                if self.is_leader(member_id) {
                    self.assign(request, max_record_bytes, step);
                }
            }
            ClassicGroupState::Stable => {
                self.sync_received(member_id, step);
                let assignment = self.members.get(member_id).map(|member| member.assignment.clone());
                step.answer_sync(ticket, self.sync_response(assignment.unwrap_or_default()));
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ResponseError> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if is_inconsistent(request.protocol_type.as_deref(), self.protocol_type.as_deref())
            || is_inconsistent(request.protocol_name.as_deref(), self.protocol.as_deref())
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn sync_received(&mut self, member_id: &str, step: &mut Step<'_>) {
        self.pending_sync.swap_remove(member_id);
        if self.pending_sync.is_empty() {
            step.cancel(GroupTimer::Sync(self.group_id.clone()));
        }
    }

    /// The leader's SyncGroup: what it assigns is written, and then everybody who waits is told. Who is not in it gets
    /// nothing.
    fn assign(&mut self, request: &SyncGroupRequest, max_record_bytes: usize, step: &mut Step<'_>) {
        let assignments: HashMap<&str, &Bytes> = request
            .assignments
            .iter()
            .map(|assignment| (assignment.member_id.as_str(), &assignment.assignment))
            .collect();
        let value = self.metadata(|member| {
            assignments.get(&*member.member_id).map(|bytes| Bytes::copy_from_slice(bytes)).unwrap_or_default()
        });
        let record = self.record(value);
        // Checked here, because what follows from the refusal is the group's business and not the runtime's.
        if encoded_size(&record) > max_record_bytes {
            self.refuse_syncs(ResponseError::UnknownServerError, step);
            return self.prepare_rebalance("the assignment of the group is too large", step);
        }
        step.records.push(record);
        for index in 0..self.members.len() {
            let Some((member_id, member)) = self.members.get_index_mut(index) else { break };
            let Some(waiting) = member.awaiting_sync.take() else { continue };
            let assignment = assignments.get(&**member_id).map(|bytes| Bytes::copy_from_slice(bytes));
            let member_id = member_id.clone();
            step.answer_sync(waiting, self.sync_response(assignment.unwrap_or_default()));
            if let Some(member) = self.members.get(&member_id) {
                self.schedule_session(member, step);
            }
        }
    }

    fn sync_response(&self, assignment: Bytes) -> SyncGroupResponse {
        SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.as_deref().map(str_bytes))
            .with_protocol_name(self.protocol.as_deref().map(str_bytes))
            .with_assignment(assignment)
    }
}

/// A name that the member gives must be the group's (KIP-559).
fn is_inconsistent(asked: Option<&str>, ours: Option<&str>) -> bool {
    asked.is_some() && asked != ours
}
