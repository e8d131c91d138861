//! Heartbeat (key 12): a member is alive (`KafkaApis.handleHeartbeatRequest`).

use std::sync::Arc;

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::handler::{Answer, RequestContext};
use super::services::Services;

/// Keeps the session alive.
pub fn handle(services: &Arc<Services>, _: &RequestContext, request: HeartbeatRequest) -> Answer<HeartbeatResponse> {
    Answer::Later(services.groups.heartbeat(request))
}
