//! ListOffsets (key 2): offsets by timestamp, first and last offsets (`ReplicaManager.fetchOffset`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::error_mapping::ToErrorCode;
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::replica::{
    EARLIEST_LOCAL_TIMESTAMP, EARLIEST_TIMESTAMP, LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, ListedOffset,
    MAX_TIMESTAMP, ReplicaError,
};
use crate::storage::FetchIsolation;

/// The replica id of a consumer; others may see what is not committed (`ListOffsetsRequest.CONSUMER_REPLICA_ID`).
const CONSUMER_REPLICA_ID: i32 = -1;
/// First version that tells leader epochs.
const LEADER_EPOCH_VERSION: i16 = 4;
/// First version whose clients know OFFSET_NOT_AVAILABLE (KIP-207).
const OFFSET_NOT_AVAILABLE_VERSION: i16 = 5;

/// Looks every partition up.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: ListOffsetsRequest,
) -> Answer<ListOffsetsResponse> {
    let Some(isolation) = FetchIsolation::from_level(request.isolation_level) else {
        // Kafka's handler fails with it.
        return Answer::Now(refusal(&request, ResponseError::UnknownServerError, context.api_version));
    };
    let isolation = (request.replica_id.0 == CONSUMER_REPLICA_ID).then_some(isolation);
    let duplicates = duplicates(&request.topics);
    let mut answered_duplicates = HashSet::new();
    let mut topics: IndexMap<&str, Vec<ListOffsetsPartitionResponse>> = IndexMap::new();
    for topic in &request.topics {
        let name = topic.name.as_str();
        let answers = topics.entry(name).or_default();
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let is_duplicate = duplicates.contains(&(name, index));
            if is_duplicate && !answered_duplicates.insert((name, index)) {
                // However often it is named, it is answered once.
                continue;
            }
            let result = if is_duplicate {
                Err(ResponseError::InvalidRequest)
            } else if !is_supported(partition.timestamp, context.api_version) {
                Err(ResponseError::UnsupportedVersion)
            } else {
                look_up(services, name, partition, isolation).map_err(|error| error_of(&error, context.api_version))
            };
            answers.push(answer(index, context.api_version, result));
        }
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        let name = TopicName(StrBytes::from_string(name.to_owned()));
        ListOffsetsTopicResponse::default().with_name(name).with_partitions(partitions)
    });
    Answer::Now(ListOffsetsResponse::default().with_topics(topics.collect()))
}

/// Refuses a whole request (`ListOffsetsRequest.getErrorResponse`).
fn refusal(request: &ListOffsetsRequest, error: ResponseError, version: i16) -> ListOffsetsResponse {
    let topics = request.topics.iter().map(|topic| {
        let refused = topic.partitions.iter().map(|partition| answer(partition.partition_index, version, Err(error)));
        ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(refused.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn look_up(
    services: &Services,
    topic: &str,
    partition: &ListOffsetsPartition,
    isolation: Option<FetchIsolation>,
) -> Result<Option<ListedOffset>, ReplicaError> {
    let found = services.replicas.partition_by_name(topic, partition.partition_index)?;
    found.list_offset(partition.timestamp, isolation, partition.current_leader_epoch)
}

/// Whether this version knows the special timestamp (`ReplicaManager.isListOffsetsTimestampUnsupported`).
fn is_supported(timestamp: i64, version: i16) -> bool {
    match timestamp {
        0.. | LATEST_TIMESTAMP | EARLIEST_TIMESTAMP => true,
        MAX_TIMESTAMP => version >= 7,
        EARLIEST_LOCAL_TIMESTAMP => version >= 8,
        LATEST_TIERED_TIMESTAMP => version >= 9,
        _ => false,
    }
}

fn error_of(error: &ReplicaError, version: i16) -> ResponseError {
    match error.response_error() {
        ResponseError::OffsetNotAvailable if version < OFFSET_NOT_AVAILABLE_VERSION => {
            ResponseError::LeaderNotAvailable
        }
        code => code,
    }
}

fn answer(
    index: i32,
    version: i16,
    result: Result<Option<ListedOffset>, ResponseError>,
) -> ListOffsetsPartitionResponse {
    let mut answer = ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_timestamp(-1)
        .with_offset(-1)
        .with_leader_epoch(-1);
    match result {
        Ok(Some(found)) => {
            answer.timestamp = found.timestamp;
            answer.offset = found.offset;
            if version >= LEADER_EPOCH_VERSION {
                answer.leader_epoch = found.leader_epoch.unwrap_or(-1);
            }
        }
        Ok(None) => {}
        Err(error) => answer.error_code = error.code(),
    }
    answer
}

/// Partitions that the request names more than once.
fn duplicates(topics: &[ListOffsetsTopic]) -> HashSet<(&str, i32)> {
    let mut seen = HashMap::new();
    for topic in topics {
        for partition in &topic.partitions {
            *seen.entry((topic.name.as_str(), partition.partition_index)).or_insert(0) += 1;
        }
    }
    seen.into_iter().filter(|(_, count)| *count > 1).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_come_with_their_versions() {
        for (timestamp, version) in [(-1, 1), (-2, 1), (-3, 7), (-4, 8), (-5, 9), (0, 1), (1_700_000_000_000, 1)] {
            assert!(is_supported(timestamp, version), "{timestamp} v{version}");
            assert!(timestamp > -3 || !is_supported(timestamp, version - 1), "{timestamp} v{version}");
        }
        assert!(!is_supported(-6, 10));
    }
}
