//! Offsets of partitions, asked of their leaders (`Admin.listOffsets`).

use std::collections::BTreeMap;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, TopicName};

use super::cluster_client::{ClusterClient, Deadline, Destination};
use super::error::ClientError;
use crate::types::TopicPartition;
use crate::wire::str_bytes;

/// Asks for the end of a log.
pub const LATEST_TIMESTAMP: i64 = -1;
/// Asks for the start of a log.
pub const EARLIEST_TIMESTAMP: i64 = -2;
/// Asks for the record with the largest timestamp.
pub const MAX_TIMESTAMP: i64 = -3;
/// Asks for the start of what is on the broker's own disk.
pub const EARLIEST_LOCAL_TIMESTAMP: i64 = -4;
/// Asks for the end of what is in remote storage.
pub const LATEST_TIERED_TIMESTAMP: i64 = -5;
/// Asks for the start of what still has to go to remote storage.
pub const EARLIEST_PENDING_UPLOAD_TIMESTAMP: i64 = -6;

/// `UNKNOWN_TOPIC_OR_PARTITION`.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// `LEADER_NOT_AVAILABLE`.
const LEADER_NOT_AVAILABLE: i16 = 5;

/// The isolation level of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationLevel {
    /// Everything below the high watermark.
    #[default]
    ReadUncommitted,
    /// What is below the first open transaction, without aborted ones.
    ReadCommitted,
}

impl IsolationLevel {
    /// The number on the wire.
    pub fn id(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The offset; -1 for none.
    pub offset: i64,
    /// The leader's epoch of what stands before it, where it is known.
    pub leader_epoch: Option<i32>,
}

impl PartitionOffset {
    /// An offset, and an epoch where it is not negative.
    pub fn new(offset: i64, leader_epoch: i32) -> Self {
        Self { offset, leader_epoch: Some(leader_epoch).filter(|epoch| *epoch >= 0) }
    }
}

/// Offsets by partition, or why there is none.
pub type ListedOffsets = BTreeMap<TopicPartition, Result<PartitionOffset, ClientError>>;

/// The offset of each partition at a timestamp, or at one of the special ones; -1 where no record is as late. Partitions without
/// a leader are asked again until `default.api.timeout.ms`.
///
/// # Errors
/// As [`ClusterClient::call`]; what concerns one partition stands with it.
pub async fn list_offsets(
    cluster: &mut ClusterClient,
    wanted: &BTreeMap<TopicPartition, i64>,
    isolation_level: IsolationLevel,
) -> Result<ListedOffsets, ClientError> {
    let clock = cluster.clock().clone();
    let deadline = Deadline::after(&*clock, cluster.config().api_timeout);
    let mut listed = ListedOffsets::new();
    let mut left = wanted.clone();
    while !left.is_empty() {
        let by_leader = leaders(cluster, &left, &mut listed).await?;
        for (leader, partitions) in by_leader {
            ask_leader(cluster, leader, &partitions, isolation_level, &mut listed).await?;
        }
        left.retain(|partition, _| match listed.get(partition) {
            Some(Ok(_)) => false,
            Some(Err(error)) => error.is_retriable(),
            None => true,
        });
        let backoff = cluster.config().retry_backoff;
        if deadline.remaining(&*clock) <= backoff {
            break;
        }
        if !left.is_empty() {
            clock.sleep_until(clock.monotonic() + backoff).await;
        }
    }
    Ok(listed)
}

/// The partitions by their leaders; those without one get their error.
async fn leaders(
    cluster: &mut ClusterClient,
    wanted: &BTreeMap<TopicPartition, i64>,
    listed: &mut ListedOffsets,
) -> Result<BTreeMap<i32, BTreeMap<TopicPartition, i64>>, ClientError> {
    let mut topics: Vec<&str> = wanted.keys().map(|partition| &*partition.topic).collect();
    topics.dedup();
    let metadata = cluster.metadata(Some(&topics), false).await?;
    let mut by_leader: BTreeMap<i32, BTreeMap<TopicPartition, i64>> = BTreeMap::new();
    for (partition, timestamp) in wanted {
        match metadata.leader_of(&partition.topic, partition.partition) {
            Some(leader) => {
                by_leader.entry(leader).or_default().insert(partition.clone(), *timestamp);
            }
            None => {
                let topic = metadata.topic(&partition.topic);
                let code = match topic {
                    Some(topic) if topic.error_code != 0 => topic.error_code,
                    Some(topic) if topic.partitions.iter().any(|known| known.index == partition.partition) => {
                        LEADER_NOT_AVAILABLE
                    }
                    _ => UNKNOWN_TOPIC_OR_PARTITION,
                };
                listed.insert(partition.clone(), Err(ClientError::Answer { code, message: None }));
            }
        }
    }
    Ok(by_leader)
}

async fn ask_leader(
    cluster: &mut ClusterClient,
    leader: i32,
    partitions: &BTreeMap<TopicPartition, i64>,
    isolation_level: IsolationLevel,
    listed: &mut ListedOffsets,
) -> Result<(), ClientError> {
    let build = |_: i16| {
        let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for (partition, timestamp) in partitions {
            let wanted =
                ListOffsetsPartition::default().with_partition_index(partition.partition).with_timestamp(*timestamp);
            topics.entry(&partition.topic).or_default().push(wanted);
        }
        let topic = |(name, partitions): (&str, Vec<ListOffsetsPartition>)| {
            ListOffsetsTopic::default().with_name(TopicName(str_bytes(name))).with_partitions(partitions)
        };
        ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_isolation_level(isolation_level.id())
            .with_topics(topics.into_iter().map(topic).collect())
    };
    let response: Result<ListOffsetsResponse, ClientError> =
        cluster.call("listOffsets", &Destination::Node(leader), None, build).await;
    let response = match response {
        Ok(response) => response,
        Err(ClientError::Unsupported(text)) => {
            for partition in partitions.keys() {
                listed.insert(partition.clone(), Err(ClientError::Unsupported(text.clone())));
            }
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for topic in &response.topics {
        for answer in &topic.partitions {
            let partition = TopicPartition::new(topic.name.as_str(), answer.partition_index);
            let found = PartitionOffset::new(answer.offset, answer.leader_epoch);
            let offset = ClientError::answer(answer.error_code, None).map(|()| found);
            listed.insert(partition, offset);
        }
    }
    Ok(())
}
