//! SyncGroup (key 14): the leader assigns, the others fetch (`KafkaApis.handleSyncGroupRequest`).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::handler::{Answer, RequestContext};
use super::services::Services;

/// First version that must name protocol type and protocol (KIP-559).
const PROTOCOL_VERSION: i16 = 5;

/// Answers when the leader's assignment is written.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: SyncGroupRequest,
) -> Answer<SyncGroupResponse> {
    let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if context.api_version >= PROTOCOL_VERSION && !names_protocol {
        let code = ResponseError::InconsistentGroupProtocol.code();
        return Answer::Now(SyncGroupResponse::default().with_error_code(code));
    }
    Answer::Later(services.groups.sync_group(request))
}
