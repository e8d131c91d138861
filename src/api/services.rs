//! The rooms below, as the handlers see them. A room adds its field when its first API needs it.

use std::sync::Arc;

use super::advertised::AdvertisedListeners;
use super::fetch::FetchSessionCache;
use super::handler::RequestContext;
use crate::config::BrokerConfig;
use crate::coordinator::{GroupCoordinator, TransactionCoordinator};
use crate::env::Env;
use crate::metadata::{self, Controller};
use crate::replica::ReplicaManager;
use crate::telemetry::Metrics;

/// A host and a port that a client connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A range of levels of a feature (KIP-584).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureRange {
    /// Kafka's name, such as `metadata.version`.
    pub name: String,
    /// Lowest level.
    pub min: i16,
    /// Highest level.
    pub max: i16,
}

/// What the cluster can do and what it has agreed on, as ApiVersions tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Levels that this broker could work with.
    pub supported: Vec<FeatureRange>,
    /// Levels in force.
    pub finalized: Vec<FeatureRange>,
    /// Rises with every change of the finalized levels; -1 when unknown.
    pub finalized_epoch: i64,
}

/// Everything a handler may use.
pub struct Services {
    /// The world.
    pub env: Env,
    /// The broker's configuration.
    pub config: Arc<BrokerConfig>,
    /// Where clients are told to connect.
    pub advertised: AdvertisedListeners,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The metadata: reads through its image, changes by its commands.
    pub controller: Arc<Controller>,
    /// The partitions of this broker.
    pub replicas: Arc<ReplicaManager>,
    /// Incremental fetch sessions (KIP-227).
    pub fetch_sessions: FetchSessionCache,
    /// Consumer groups and their offsets.
    pub groups: Arc<GroupCoordinator>,
    /// Transactions and producer ids.
    pub transactions: Arc<TransactionCoordinator>,
}

impl Services {
    /// The endpoint that Metadata, DescribeCluster and FindCoordinator give for this broker to the client that asks.
    pub fn advertised_endpoint(&self, context: &RequestContext) -> Endpoint {
        self.advertised.endpoint(&context.listener, context.local, context.peer)
    }

    /// Supported and finalized features.
    pub fn features(&self) -> Features {
        let image = self.controller.image();
        let range = |name: &str, min, max| FeatureRange { name: name.to_owned(), min, max };
        Features {
            supported: metadata::supported_features()
                .into_iter()
                .map(|feature| range(&feature.name, feature.min, feature.max))
                .collect(),
            // Levels that Apache Kafka finalized and that mean nothing here are no client's business.
            finalized: (image.features.finalized().iter())
                .filter(|(name, _)| metadata::supported_features().iter().any(|supported| supported.name == **name))
                .map(|(name, level)| range(name, *level, *level))
                .collect(),
            // Kafka's choice too (`FinalizedFeatures`): it rises with every change.
            finalized_epoch: image.provenance.last_contained_offset,
        }
    }
}
