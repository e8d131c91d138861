//! Kafka clients: a raw one, and one that finds its way in a cluster.
//!
//! Contract:
//! - [`Client`] is one connection, frames in and out: it does what it is told, wrong things too (any bytes as a frame, any
//!   version); nothing is retried. For tests.
//! - [`NodeConnection`] speaks the versions that its broker has. Every wait has an end.
//! - [`ClusterClient`] knows the nodes of a cluster, its controller and its coordinators, and tries again until
//!   `default.api.timeout.ms`. Errors say what Java's client says.

mod client_config;
mod cluster_client;
mod cluster_metadata;
mod connection;
mod error;
mod http;
mod kafka_error;
mod node_connection;

pub use client_config::ClientConfig;
pub use cluster_client::{ClusterClient, Deadline, Destination};
pub use cluster_metadata::{ClusterMetadata, Node, PartitionMetadata, TopicMetadata};
pub use connection::Client;
pub use error::ClientError;
pub use http::http_get;
pub use kafka_error::{KafkaError, kafka_error};
pub use node_connection::NodeConnection;
