//! Feature levels (`FeatureControlManager`, `ActivationRecordsGenerator`): what this release supports, and what a new
//! cluster starts with.

use super::super::image::{ConfigResource, SupportedFeature};
use super::super::records::{self, MetadataRecord};
use crate::config::BrokerConfig;

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// The feature that names the schemas of the metadata log.
pub const METADATA_VERSION: &str = "metadata.version";
/// The level of Kafka 4.3 (`MetadataVersion.IBP_4_3_IV0`).
pub const METADATA_VERSION_LEVEL: i16 = 30;
/// The lowest level that Kafka 4 reads (`MetadataVersion.MINIMUM_VERSION`, 3.3-IV3).
pub const METADATA_VERSION_MINIMUM: i16 = 7;

/// The features that this broker supports. A feature appears when all that it stands for is there: `group.version`
/// with KIP-848, `transaction.version` with transactions, `eligible.leader.replicas.version` with KIP-966.
pub fn supported_features() -> Vec<SupportedFeature> {
    vec![SupportedFeature {
        name: METADATA_VERSION.to_owned(),
        min: METADATA_VERSION_MINIMUM,
        max: METADATA_VERSION_LEVEL,
    }]
}

/// The first records of a new cluster. The level of the metadata comes first, as in every Kafka log: a reader must know
/// it before it reads on. As in Kafka 4.3, `min.insync.replicas` becomes a dynamic configuration of the cluster with the
/// value of the first start, so that brokers that were given different ones agree on it (`maybeGenerateElrSafetyRecords`).
pub fn bootstrap_records(config: &BrokerConfig) -> Vec<MetadataRecord> {
    let features = supported_features();
    let mut bootstrap: Vec<MetadataRecord> =
        features.iter().map(|feature| records::feature_level(&feature.name, feature.max)).collect();
    if let Some(value) = config.text(MIN_INSYNC_REPLICAS) {
        bootstrap.push(records::config(&ConfigResource::default_broker(), MIN_INSYNC_REPLICAS, Some(&value)));
    }
    bootstrap
}
