//! DeleteTopics (key 20): by name, from version 6 also by id (`ControllerApis.deleteTopics`).

use std::sync::Arc;

use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::controller_error::{api_error, timeout};
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::metadata::delete_topics_failure;

/// Runs the command in its turn.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: DeleteTopicsRequest,
) -> Answer<DeleteTopicsResponse> {
    let request = Arc::new(request);
    let (wanted, version) = (request.clone(), context.api_version);
    let deleted = services
        .controller
        .submit(timeout(request.timeout_ms), move |controller| controller.delete_topics(&wanted, version));
    Answer::Later(Box::pin(async move {
        deleted.await.unwrap_or_else(|error| delete_topics_failure(&request, &api_error(&error)))
    }))
}
