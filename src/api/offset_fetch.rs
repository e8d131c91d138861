//! OffsetFetch (key 9): where groups are (`KafkaApis.handleOffsetFetchRequest`).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};

use super::handler::{Answer, CloseReason, RequestContext};
use super::repeats::Repeats;
use super::services::Services;

/// First version in which null topics are all topics.
const NULLABLE_TOPICS_VERSION: i16 = 2;
/// First version with several groups (KIP-709).
const BATCH_VERSION: i16 = 8;

/// Answers for every group.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    mut request: OffsetFetchRequest,
) -> Answer<OffsetFetchResponse> {
    let version = context.api_version;
    if version < NULLABLE_TOPICS_VERSION && request.topics.is_none() {
        // Kafka's decoder refuses it.
        return Answer::Close(CloseReason::Refused(format!("OffsetFetch v{version} with null topics")));
    }
    if version < BATCH_VERSION {
        request.groups = vec![single_group(&request)];
    }
    let require_stable = request.require_stable;
    let mut repeats = Repeats::new();
    let (admitted, refused): (Vec<_>, Vec<_>) =
        request.groups.into_iter().partition(|group| repeats.admit(group.group_id.clone()));
    let fetched: Vec<_> =
        admitted.into_iter().map(|group| services.groups.fetch_offsets(version, group, require_stable)).collect();
    Answer::Later(Box::pin(async move {
        let mut groups = Vec::with_capacity(fetched.len());
        for group in fetched {
            groups.push(group.await);
        }
        if version < BATCH_VERSION {
            return groups.pop().map(single_response).unwrap_or_default();
        }
        let code = ResponseError::InvalidRequest.code();
        groups.extend(
            refused
                .into_iter()
                .map(|group| OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_error_code(code)),
        );
        OffsetFetchResponse::default().with_groups(groups)
    }))
}

fn single_group(request: &OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = request.topics.as_ref().map(|topics| {
        let topics = topics.iter().map(|topic| {
            OffsetFetchRequestTopics::default()
                .with_name(topic.name.clone())
                .with_partition_indexes(topic.partition_indexes.clone())
        });
        topics.collect()
    });
    OffsetFetchRequestGroup::default().with_group_id(request.group_id.clone()).with_topics(topics)
}

fn single_response(group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(partition.committed_leader_epoch)
                .with_metadata(partition.metadata)
                .with_error_code(partition.error_code)
        });
        OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_error_code(group.error_code).with_topics(topics.collect())
}
