//! OffsetForLeaderEpoch (key 23): where an epoch ends, for clients that check for truncation (KIP-320).

use std::sync::Arc;

use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::error_mapping::ToErrorCode;
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::replica::ReplicaError;

/// Answers from each partition's leader epochs (`ReplicaManager.lastOffsetForLeaderEpoch`).
pub fn handle(
    services: &Arc<Services>,
    _: &RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> Answer<OffsetForLeaderEpochResponse> {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer = EpochEndOffset::default().with_partition(partition.partition);
            match look_up(services, topic.topic.as_str(), partition) {
                Ok((epoch, end_offset)) => answer.with_leader_epoch(epoch).with_end_offset(end_offset),
                Err(error) => answer.with_error_code(error.error_code()).with_leader_epoch(-1).with_end_offset(-1),
            }
        });
        OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
    });
    Answer::Now(OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
}

fn look_up(services: &Services, topic: &str, partition: &OffsetForLeaderPartition) -> Result<(i32, i64), ReplicaError> {
    let found = services.replicas.partition_by_name(topic, partition.partition)?;
    found.last_offset_for_leader_epoch(partition.current_leader_epoch, partition.leader_epoch)
}
