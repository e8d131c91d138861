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

/// Features of Apache Kafka 4.3 that this broker does not offer, and the levels at which it carries them: the metadata
/// keeps the level, clients are not told of it. What such a level lets Kafka write elsewhere is looked for at the start
/// (`super::super::inspection`).
const CARRIED_FEATURES: [(&str, i16); 5] = [
    ("eligible.leader.replicas.version", 1),
    ("group.version", 1),
    ("share.version", 1),
    ("streams.version", 1),
    ("transaction.version", 2),
];

/// Why metadata with this finalized level cannot be opened; `None` when it can.
pub fn refused_feature(name: &str, level: i16) -> Option<String> {
    if name == METADATA_VERSION {
        return (!(METADATA_VERSION_MINIMUM..=METADATA_VERSION_LEVEL).contains(&level)).then(|| {
            format!("{name} is {level}; levels from {METADATA_VERSION_MINIMUM} to {METADATA_VERSION_LEVEL} are known")
        });
    }
    match CARRIED_FEATURES.iter().find(|(known, _)| *known == name) {
        Some((_, highest)) if (0..=*highest).contains(&level) => None,
        Some((_, highest)) => Some(format!("{name} is {level}; levels up to {highest} are known")),
        None => Some(format!("the feature {name} (at level {level}) is not known")),
    }
}

/// The feature levels that a new cluster starts with, the metadata's first, as in every Kafka log: a reader must know it
/// before it reads on.
pub fn feature_records() -> Vec<MetadataRecord> {
    let features = supported_features();
    features.iter().map(|feature| records::feature_level(&feature.name, feature.max)).collect()
}

/// The first records of a new cluster, from those it was formatted with. As in Kafka 4.3, `min.insync.replicas` becomes a
/// dynamic configuration of the cluster with the value of the first start, so that brokers that were given different ones
/// agree on it (`maybeGenerateElrSafetyRecords`).
pub fn bootstrap_records(mut formatted: Vec<MetadataRecord>, config: &BrokerConfig) -> Vec<MetadataRecord> {
    if let Some(value) = config.text(MIN_INSYNC_REPLICAS) {
        formatted.push(records::config(&ConfigResource::default_broker(), MIN_INSYNC_REPLICAS, Some(&value)));
    }
    formatted
}
