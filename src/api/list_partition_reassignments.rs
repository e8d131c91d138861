//! ListPartitionReassignments (key 46): what is being moved; nothing, as long as nothing can be (KIP-455).

use std::sync::Arc;

use kafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::handler::{Answer, RequestContext};
use super::services::Services;

/// Answers from the image.
pub fn handle(
    services: &Arc<Services>,
    _context: &RequestContext,
    request: ListPartitionReassignmentsRequest,
) -> Answer<ListPartitionReassignmentsResponse> {
    Answer::Now(services.controller.list_partition_reassignments(&request))
}
