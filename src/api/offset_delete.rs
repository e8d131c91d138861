//! OffsetDelete (key 47): forgets single offsets of a group (`KafkaApis.handleOffsetDeleteRequest`, KIP-496).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::by_topic::ByTopic;
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::metadata::MetadataImage;

/// Refuses partitions that do not exist, and deletes the offsets of the rest.
pub fn handle(
    services: &Arc<Services>,
    _: &RequestContext,
    mut request: OffsetDeleteRequest,
) -> Answer<OffsetDeleteResponse> {
    let image = services.replicas.image();
    let mut answers = ByTopic::new();
    let topics = std::mem::take(&mut request.topics);
    request.topics = topics.into_iter().filter_map(|topic| existing(&image, topic, &mut answers)).collect();
    // The group is asked even for nothing: it may not exist.
    let deleted = services.groups.delete_offsets(request);
    Answer::Later(Box::pin(async move {
        let deleted = deleted.await;
        if deleted.error_code != 0 {
            return deleted;
        }
        for topic in deleted.topics {
            answers.add(topic.name, topic.partitions);
        }
        let topic = |name, partitions| OffsetDeleteResponseTopic::default().with_name(name).with_partitions(partitions);
        OffsetDeleteResponse::default().with_topics(answers.into_topics(topic))
    }))
}

/// The topic with those of its partitions that exist; the others are refused in the answer.
fn existing(
    image: &MetadataImage,
    mut topic: OffsetDeleteRequestTopic,
    answers: &mut ByTopic<OffsetDeleteResponsePartition>,
) -> Option<OffsetDeleteRequestTopic> {
    let found = image.topics.topic(&topic.name);
    let (existing, missing): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions)
        .into_iter()
        .partition(|partition| found.is_some_and(|found| found.partition(partition.partition_index).is_some()));
    if !missing.is_empty() || found.is_none() {
        let partitions = missing.iter().map(|partition| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(ResponseError::UnknownTopicOrPartition.code())
        });
        answers.add(topic.name.clone(), partitions);
    }
    topic.partitions = existing;
    (!topic.partitions.is_empty()).then_some(topic)
}
