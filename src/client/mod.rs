//! Kafka clients: a raw one, and one that finds its way in a cluster.
//!
//! Contract:
//! - [`Client`] is one connection, frames in and out: it does what it is told, wrong things too (any bytes as a frame, any
//!   version); nothing is retried. For tests.
//! - [`NodeConnection`] speaks the versions that its broker has. Every wait has an end.
//! - [`ClusterClient`] knows the nodes of a cluster, its controller and its coordinators, and tries again until
//!   `default.api.timeout.ms`. Errors say what Java's client says.
//! - [`Consumer`] and [`Producer`] are for tools: one task each, what is buffered is bounded by one answer and one batch a partition.

mod assignor;
mod client_config;
mod cluster_client;
mod cluster_metadata;
mod connection;
mod consumer;
mod consumer_group;
mod consumer_settings;
mod error;
mod fetched_partition;
mod groups;
mod http;
mod kafka_error;
mod node_connection;
mod offsets;
mod producer;

pub use assignor::{Assignor, GroupMember};
pub use client_config::ClientConfig;
pub use cluster_client::{ClusterClient, Deadline, Destination};
pub use cluster_metadata::{ClusterMetadata, Node, PartitionMetadata, TopicMetadata};
pub use connection::Client;
pub use consumer::{Consumer, StartAt, Subscription};
pub use consumer_settings::{ConsumerSettings, OffsetReset};
pub use error::ClientError;
pub use fetched_partition::ConsumerRecord;
pub use groups::{
    GroupDescription, GroupError, GroupListing, GroupType, MemberDescription, alter_group_offsets, committed_offsets,
    delete_group, delete_group_offsets, describe_consumer_group, list_consumer_groups,
};
pub use http::http_get;
pub use kafka_error::{KafkaError, kafka_error};
pub use node_connection::NodeConnection;
pub use offsets::{
    EARLIEST_LOCAL_TIMESTAMP, EARLIEST_PENDING_UPLOAD_TIMESTAMP, EARLIEST_TIMESTAMP, IsolationLevel,
    LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, ListedOffsets, MAX_TIMESTAMP, PartitionOffset, list_offsets,
};
pub use producer::{Headers, Producer, ProducerRecord, ProducerSettings, Undelivered};
