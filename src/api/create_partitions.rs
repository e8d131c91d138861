//! CreatePartitions (key 37) (`ControllerApis.createPartitions`).

use std::sync::Arc;

use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::controller_error::{api_error, timeout};
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::metadata::create_partitions_failure;

/// Runs the command in its turn.
pub fn handle(
    services: &Arc<Services>,
    _context: &RequestContext,
    request: CreatePartitionsRequest,
) -> Answer<CreatePartitionsResponse> {
    let request = Arc::new(request);
    let wanted = request.clone();
    let created = services
        .controller
        .submit(timeout(request.timeout_ms), move |controller| controller.create_partitions(&wanted));
    Answer::Later(Box::pin(async move {
        created.await.unwrap_or_else(|error| create_partitions_failure(&request, &api_error(&error)))
    }))
}
