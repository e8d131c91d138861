//! What a broker says of its cluster: nodes, topics, partitions.

use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};

use crate::types::Uuid;

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: i32,
    /// Where it says that it is.
    pub host: String,
    /// The port there.
    pub port: i32,
    /// Its rack.
    pub rack: Option<String>,
}

/// A partition; ids are brokers'.
#[derive(Clone, Debug)]
pub struct PartitionMetadata {
    /// Of this partition: `LEADER_NOT_AVAILABLE`, say.
    pub error_code: i16,
    /// From 0.
    pub index: i32,
    /// -1 where there is none.
    pub leader: i32,
    /// -1 where it is not known.
    pub leader_epoch: i32,
    /// Where it should be.
    pub replicas: Vec<i32>,
    /// Who is in sync.
    pub isr: Vec<i32>,
    /// Who is away.
    pub offline: Vec<i32>,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct TopicMetadata {
    /// Of the topic: `UNKNOWN_TOPIC_OR_PARTITION`, say.
    pub error_code: i16,
    /// Empty where only the id was given and nobody knows it.
    pub name: String,
    /// All zero where it is not known.
    pub topic_id: Uuid,
    /// Whether Kafka keeps its own state in it.
    pub is_internal: bool,
    /// By index.
    pub partitions: Vec<PartitionMetadata>,
}

/// A cluster at one moment.
#[derive(Clone, Debug)]
pub struct ClusterMetadata {
    /// Its id.
    pub cluster_id: Option<String>,
    /// Who takes requests to the controller; -1 where nobody does.
    pub controller_id: i32,
    /// By id.
    pub nodes: Vec<Node>,
    /// By name.
    pub topics: Vec<TopicMetadata>,
}

impl ClusterMetadata {
    /// A topic, with or without an error.
    pub fn topic(&self, name: &str) -> Option<&TopicMetadata> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// The broker that leads a partition.
    pub fn leader_of(&self, topic: &str, partition: i32) -> Option<i32> {
        let partition = self.topic(topic)?.partitions.iter().find(|candidate| candidate.index == partition)?;
        Some(partition.leader).filter(|leader| *leader >= 0)
    }
}

impl From<MetadataResponse> for ClusterMetadata {
    fn from(response: MetadataResponse) -> Self {
        let mut nodes: Vec<Node> = response
            .brokers
            .iter()
            .map(|broker| Node {
                id: broker.node_id.0,
                host: broker.host.to_string(),
                port: broker.port,
                rack: broker.rack.as_ref().map(ToString::to_string),
            })
            .collect();
        nodes.sort_by_key(|node| node.id);
        let mut topics: Vec<TopicMetadata> = response.topics.iter().map(topic).collect();
        topics.sort_by(|left, right| left.name.cmp(&right.name));
        let cluster_id = response.cluster_id.map(|id| id.to_string());
        Self { cluster_id, controller_id: response.controller_id.0, nodes, topics }
    }
}

fn topic(topic: &MetadataResponseTopic) -> TopicMetadata {
    let mut partitions: Vec<PartitionMetadata> = topic.partitions.iter().map(partition).collect();
    partitions.sort_by_key(|partition| partition.index);
    TopicMetadata {
        error_code: topic.error_code,
        name: topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default(),
        topic_id: topic.topic_id,
        is_internal: topic.is_internal,
        partitions,
    }
}

fn partition(partition: &MetadataResponsePartition) -> PartitionMetadata {
    let ids = |nodes: &[kafka_protocol::messages::BrokerId]| nodes.iter().map(|node| node.0).collect();
    PartitionMetadata {
        error_code: partition.error_code,
        index: partition.partition_index,
        leader: partition.leader_id.0,
        leader_epoch: partition.leader_epoch,
        replicas: ids(&partition.replica_nodes),
        isr: ids(&partition.isr_nodes),
        offline: ids(&partition.offline_replicas),
    }
}
