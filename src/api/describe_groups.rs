//! DescribeGroups (key 15): members of classic groups (`KafkaApis.handleDescribeGroupsRequest`).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::authorized_operations;
use super::handler::{Answer, RequestContext};
use super::repeats::Repeats;
use super::services::Services;

/// Describes every group.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: DescribeGroupsRequest,
) -> Answer<DescribeGroupsResponse> {
    let mut repeats = Repeats::new();
    let (admitted, refused): (Vec<_>, Vec<_>) =
        request.groups.into_iter().partition(|group| repeats.admit(group.clone()));
    let described = services.groups.describe_groups(context.api_version, admitted);
    Answer::Later(Box::pin(async move {
        let mut groups = described.await;
        if request.include_authorized_operations {
            for group in groups.iter_mut().filter(|group| group.error_code == 0) {
                group.authorized_operations = authorized_operations::GROUP;
            }
        }
        let code = ResponseError::InvalidRequest.code();
        groups.extend(
            refused.into_iter().map(|group| DescribedGroup::default().with_group_id(group).with_error_code(code)),
        );
        DescribeGroupsResponse::default().with_groups(groups)
    }))
}
