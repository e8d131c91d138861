//! DescribeLogDirs (key 35): the log directories, what is in them and how full their volumes are
//! (`ReplicaManager.describeLogDirs`).

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::storage::LogDirDescription;

/// First version with the size of the volume (KIP-827).
const VOLUME_VERSION: i16 = 4;
/// A size that is not known.
const UNKNOWN: i64 = -1;

/// Describes every log directory with the partitions that are asked for.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: DescribeLogDirsRequest,
) -> Answer<DescribeLogDirsResponse> {
    let wanted = request.topics.as_deref().map(wanted_partitions);
    let results = services.replicas.logs().log_dirs().into_iter().map(|directory| {
        let mut result = describe(&directory, wanted.as_ref());
        (result.total_bytes, result.usable_bytes) = (UNKNOWN, UNKNOWN);
        if context.api_version >= VOLUME_VERSION
            && !directory.is_offline
            && let Ok(Some(space)) = services.env.disk.space(&directory.path)
        {
            result.total_bytes = i64::try_from(space.total).unwrap_or(i64::MAX);
            result.usable_bytes = i64::try_from(space.usable).unwrap_or(i64::MAX);
        }
        result
    });
    Answer::Now(DescribeLogDirsResponse::default().with_results(results.collect()))
}

fn wanted_partitions(topics: &[DescribableLogDirTopic]) -> HashSet<(&str, i32)> {
    topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic.as_str(), *index))).collect()
}

fn describe(directory: &LogDirDescription, wanted: Option<&HashSet<(&str, i32)>>) -> DescribeLogDirsResult {
    let path = std::path::absolute(&directory.path).unwrap_or_else(|_| directory.path.clone());
    let mut result =
        DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(path.to_string_lossy().into_owned()));
    if directory.is_offline {
        return result.with_error_code(ResponseError::KafkaStorageError.code());
    }
    for (topic_partition, size) in &directory.logs {
        let (name, index) = (&*topic_partition.topic, topic_partition.partition);
        if wanted.is_some_and(|wanted| !wanted.contains(&(name, index))) {
            continue;
        }
        let partition = DescribeLogDirsPartition::default()
            .with_partition_index(index)
            .with_partition_size(i64::try_from(*size).unwrap_or(i64::MAX));
        match result.topics.last_mut() {
            Some(topic) if topic.name.as_str() == name => topic.partitions.push(partition),
            _ => {
                let topic =
                    DescribeLogDirsTopic::default().with_name(TopicName(StrBytes::from_string(name.to_owned())));
                result.topics.push(topic.with_partitions(vec![partition]));
            }
        }
    }
    result
}
