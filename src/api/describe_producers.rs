//! DescribeProducers (key 61): the producers that wrote to a partition (KIP-664).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use kafka_protocol::protocol::StrBytes;

use super::error_mapping::ToErrorCode;
use super::handler::{Answer, RequestContext};
use super::repeats::Repeats;
use super::services::Services;
use crate::metadata::validate_topic_name;
use crate::replica::Partition;

/// Lists each partition's active producers (`Partition.activeProducerState`).
pub fn handle(
    services: &Arc<Services>,
    _: &RequestContext,
    request: DescribeProducersRequest,
) -> Answer<DescribeProducersResponse> {
    let image = services.replicas.image();
    let mut repeats = Repeats::new();
    let topics = request.topics.iter().map(|topic| {
        let name = topic.name.as_str();
        let topic_error = match validate_topic_name(name) {
            Err(message) => Some((ResponseError::InvalidTopicException, message)),
            Ok(()) if image.topics.topic(name).is_none() => {
                let message = "This server does not host this topic-partition.".to_owned();
                Some((ResponseError::UnknownTopicOrPartition, message))
            }
            Ok(()) => None,
        };
        let partitions = topic.partition_indexes.iter().map(|index| {
            let answer = PartitionResponse::default().with_partition_index(*index);
            if let Some((error, message)) = &topic_error {
                let message = StrBytes::from_string(message.clone());
                return answer.with_error_code(error.code()).with_error_message(Some(message));
            }
            if !repeats.admit((name, *index)) {
                return answer.with_error_code(ResponseError::InvalidRequest.code());
            }
            match services.replicas.partition_by_name(name, *index) {
                Ok(partition) => answer.with_active_producers(active_producers(&partition)),
                Err(error) => answer.with_error_code(error.error_code()),
            }
        });
        TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    Answer::Now(DescribeProducersResponse::default().with_topics(topics.collect()))
}

fn active_producers(partition: &Partition) -> Vec<ProducerState> {
    let producers = partition.active_producers().into_iter().map(|producer| {
        ProducerState::default()
            .with_producer_id(producer.producer_id.into())
            .with_producer_epoch(producer.producer_epoch)
            .with_last_sequence(producer.last_sequence)
            .with_last_timestamp(producer.last_timestamp)
            .with_coordinator_epoch(producer.coordinator_epoch)
            .with_current_txn_start_offset(producer.current_transaction_start_offset)
    });
    producers.collect()
}
