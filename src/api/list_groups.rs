//! ListGroups (key 16): the groups that this broker coordinates (`KafkaApis.handleListGroupsRequest`).

use std::sync::Arc;

use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::handler::{Answer, RequestContext};
use super::services::Services;

/// Lists the groups that pass the filters.
pub fn handle(services: &Arc<Services>, _: &RequestContext, request: ListGroupsRequest) -> Answer<ListGroupsResponse> {
    Answer::Later(services.groups.list_groups(request))
}
