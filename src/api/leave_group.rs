//! LeaveGroup (key 13): members go for good (`KafkaApis.handleLeaveGroupRequest`).

use std::sync::Arc;

use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::handler::{Answer, RequestContext};
use super::services::Services;

/// First version with several members (KIP-345).
const BATCH_VERSION: i16 = 3;

/// Removes the members and starts one rebalance.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    mut request: LeaveGroupRequest,
) -> Answer<LeaveGroupResponse> {
    if context.api_version >= BATCH_VERSION {
        return Answer::Later(services.groups.leave_group(request));
    }
    request.members = vec![MemberIdentity::default().with_member_id(request.member_id.clone())];
    let left = services.groups.leave_group(request);
    Answer::Later(Box::pin(async move {
        let mut response = left.await;
        // The one member's error is the answer's.
        if let Some(member) = response.members.pop().filter(|_| response.error_code == 0) {
            response.error_code = member.error_code;
        }
        response
    }))
}
