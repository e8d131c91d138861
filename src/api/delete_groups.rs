//! DeleteGroups (key 42): forgets groups without members (`KafkaApis.handleDeleteGroupsRequest`).

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::handler::{Answer, RequestContext};
use super::services::Services;

/// Deletes every group that is named, once.
pub fn handle(
    services: &Arc<Services>,
    _: &RequestContext,
    request: DeleteGroupsRequest,
) -> Answer<DeleteGroupsResponse> {
    let mut seen = HashSet::new();
    let names = request.groups_names.into_iter().filter(|name| seen.insert(name.clone())).collect();
    let deleted = services.groups.delete_groups(names);
    Answer::Later(Box::pin(async move { DeleteGroupsResponse::default().with_results(deleted.await) }))
}
