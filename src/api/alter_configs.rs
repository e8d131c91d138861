//! AlterConfigs (key 33): replaces all configurations of a resource; clients of today use IncrementalAlterConfigs.

use std::sync::Arc;

use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::controller_error::api_error;
use super::handler::{Answer, RequestContext};
use super::services::Services;

/// Runs the command in its turn.
pub fn handle(
    services: &Arc<Services>,
    _context: &RequestContext,
    request: AlterConfigsRequest,
) -> Answer<AlterConfigsResponse> {
    let request = Arc::new(request);
    let wanted = request.clone();
    let altered = services.controller.submit(None, move |controller| controller.alter_configs(&wanted));
    Answer::Later(Box::pin(async move {
        altered.await.unwrap_or_else(|error| {
            let error = api_error(&error);
            let results = request.resources.iter().map(|resource| {
                AlterConfigsResourceResponse::default()
                    .with_error_code(error.code())
                    .with_error_message(error.message_bytes())
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name.clone())
            });
            AlterConfigsResponse::default().with_responses(results.collect())
        })
    }))
}
