//! DescribeGroups (key 15): members of classic groups (`KafkaApis.handleDescribeGroupsRequest`).

use std::sync::Arc;

use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::authorized_operations;
use super::handler::{Answer, RequestContext};
use super::services::Services;

/// Describes every group.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: DescribeGroupsRequest,
) -> Answer<DescribeGroupsResponse> {
    let described = services.groups.describe_groups(context.api_version, request.groups);
    Answer::Later(Box::pin(async move {
        let mut groups = described.await;
        if request.include_authorized_operations {
            for group in groups.iter_mut().filter(|group| group.error_code == 0) {
                group.authorized_operations = authorized_operations::GROUP;
            }
        }
        DescribeGroupsResponse::default().with_groups(groups)
    }))
}
