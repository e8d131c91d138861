//! OffsetCommit (key 8): a group remembers where it is (`KafkaApis.handleOffsetCommitRequest`).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::by_topic::ByTopic;
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::metadata::MetadataImage;

/// Refuses partitions that do not exist, and commits the rest.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    mut request: OffsetCommitRequest,
) -> Answer<OffsetCommitResponse> {
    let image = services.replicas.image();
    let mut answers = ByTopic::new();
    let topics = std::mem::take(&mut request.topics);
    request.topics = topics.into_iter().filter_map(|topic| existing(&image, topic, &mut answers)).collect();
    if request.topics.is_empty() {
        return Answer::Now(response(answers));
    }
    let committed = services.groups.commit_offsets(context.api_version, request);
    if answers.is_empty() {
        return Answer::Later(committed); // As it is, also where a topic comes twice (`OffsetCommitResponse.Builder.merge`).
    }
    Answer::Later(Box::pin(async move {
        for topic in committed.await.topics {
            answers.add(topic.name, topic.partitions);
        }
        response(answers)
    }))
}

fn response(answers: ByTopic<OffsetCommitResponsePartition>) -> OffsetCommitResponse {
    let topic = |name, partitions| OffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions);
    OffsetCommitResponse::default().with_topics(answers.into_topics(topic))
}

/// The topic with its id and those of its partitions that exist; the others are refused in the answer.
fn existing(
    image: &MetadataImage,
    mut topic: OffsetCommitRequestTopic,
    answers: &mut ByTopic<OffsetCommitResponsePartition>,
) -> Option<OffsetCommitRequestTopic> {
    let found = image.topics.topic(&topic.name);
    topic.topic_id = found.map(|found| found.id).unwrap_or_default();
    let (existing, missing): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions)
        .into_iter()
        .partition(|partition| found.is_some_and(|found| found.partition(partition.partition_index).is_some()));
    if !missing.is_empty() || found.is_none() {
        let partitions = missing.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(ResponseError::UnknownTopicOrPartition.code())
        });
        answers.add(topic.name.clone(), partitions);
    }
    topic.partitions = existing;
    (!topic.partitions.is_empty()).then_some(topic)
}
