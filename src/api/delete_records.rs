//! DeleteRecords (key 21): moves the first offset of partitions (KIP-107; `ReplicaManager.deleteRecords`).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::error_mapping::ToErrorCode;
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::types::is_internal_topic;

/// Deletes at once: with one replica the low watermark is the new first offset.
pub fn handle(
    services: &Arc<Services>,
    _: &RequestContext,
    request: DeleteRecordsRequest,
) -> Answer<DeleteRecordsResponse> {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(partition.partition_index);
            match delete(services, topic.name.as_str(), partition) {
                Ok(low_watermark) => answer.with_low_watermark(low_watermark),
                Err(error) => answer.with_low_watermark(-1).with_error_code(error.code()),
            }
        });
        DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    Answer::Now(DeleteRecordsResponse::default().with_topics(topics.collect()))
}

fn delete(services: &Services, topic: &str, partition: &DeleteRecordsPartition) -> Result<i64, ResponseError> {
    let found = services
        .replicas
        .partition_by_name(topic, partition.partition_index)
        .map_err(|error| error.response_error())?;
    if is_internal_topic(topic) {
        return Err(ResponseError::InvalidTopicException);
    }
    found.delete_records(partition.offset).map_err(|error| error.response_error())
}
