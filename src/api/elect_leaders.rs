//! ElectLeaders (key 43): preferred leaders, or any live replica for partitions without a leader (KIP-460).

use std::sync::Arc;

use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::controller_error::{api_error, timeout};
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::metadata::elect_leaders_failure;

/// Runs the command in its turn.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: ElectLeadersRequest,
) -> Answer<ElectLeadersResponse> {
    let version = context.api_version;
    let request = Arc::new(request);
    let wanted = request.clone();
    let elected =
        services.controller.submit(timeout(request.timeout_ms), move |controller| controller.elect_leaders(&wanted));
    Answer::Later(Box::pin(async move {
        let mut response = elected.await.unwrap_or_else(|error| elect_leaders_failure(&request, &api_error(&error)));
        if version == 0 {
            // It has errors of partitions only.
            response.error_code = 0;
        }
        response
    }))
}
