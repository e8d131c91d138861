//! CreateTopics (key 19). Answers when the new topics' leaders serve (`ControllerApis.createTopics`).

use std::sync::Arc;

use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::controller_error::{api_error, timeout};
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::metadata::create_topics_failure;

/// Runs the command in its turn.
pub fn handle(
    services: &Arc<Services>,
    _context: &RequestContext,
    request: CreateTopicsRequest,
) -> Answer<CreateTopicsResponse> {
    let request = Arc::new(request);
    let wanted = request.clone();
    let created =
        services.controller.submit(timeout(request.timeout_ms), move |controller| controller.create_topics(&wanted));
    Answer::Later(Box::pin(async move {
        created.await.unwrap_or_else(|error| create_topics_failure(&request, &api_error(&error)))
    }))
}
