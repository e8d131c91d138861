//! Feature levels (`FeatureControlManager`, `ActivationRecordsGenerator`): what this release supports, what a new
//! cluster starts with, and UpdateFeatures.

use std::collections::HashSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use kafka_protocol::protocol::StrBytes;

use super::super::api_error::ApiError;
use super::super::image::{ConfigResource, SupportedFeature};
use super::super::records::{self, MetadataRecord};
use super::control::{ControlContext, ControlResult};
use crate::config::BrokerConfig;
use crate::types::TransactionVersion;

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// The feature that names the schemas of the metadata log.
pub const METADATA_VERSION: &str = "metadata.version";
/// The level of Kafka 4.3 (`MetadataVersion.IBP_4_3_IV0`).
pub const METADATA_VERSION_LEVEL: i16 = 30;
/// The lowest level that Kafka 4 reads (`MetadataVersion.MINIMUM_VERSION`, 3.3-IV3).
pub const METADATA_VERSION_MINIMUM: i16 = 7;

/// The levels from [`METADATA_VERSION_MINIMUM`] on that let the log hold what the level before did not
/// (`MetadataVersion.didMetadataChange`): nobody goes back over one of them.
const METADATA_CHANGES: [i16; 9] = [7, 8, 11, 13, 14, 15, 17, 23, 30];

/// The feature that says how transactions work (KIP-890, KIP-1022): 1 lets `__transaction_state` hold flexible records, 2
/// raises the producer's epoch with every transaction and adds partitions when they are first written.
pub const TRANSACTION_VERSION: &str = "transaction.version";
/// The features that this broker supports. A feature appears when all that it stands for is there: `group.version`
/// with KIP-848, `eligible.leader.replicas.version` with KIP-966.
pub fn supported_features() -> Vec<SupportedFeature> {
    let feature = |name: &str, min, max| SupportedFeature { name: name.to_owned(), min, max };
    vec![
        feature(METADATA_VERSION, METADATA_VERSION_MINIMUM, METADATA_VERSION_LEVEL),
        feature(TRANSACTION_VERSION, 0, TransactionVersion::LATEST.level()),
    ]
}

/// Features of Apache Kafka 4.3 that this broker does not offer, and the levels at which it carries them: the metadata
/// keeps the level, clients are not told of it. What such a level lets Kafka write elsewhere is looked for at the start
/// (`super::super::inspection`).
const CARRIED_FEATURES: [(&str, i16); 4] =
    [("eligible.leader.replicas.version", 1), ("group.version", 1), ("share.version", 1), ("streams.version", 1)];

/// Why metadata with this finalized level cannot be opened; `None` when it can.
pub fn refused_feature(name: &str, level: i16) -> Option<String> {
    if name == METADATA_VERSION {
        return (!(METADATA_VERSION_MINIMUM..=METADATA_VERSION_LEVEL).contains(&level)).then(|| {
            format!("{name} is {level}; levels from {METADATA_VERSION_MINIMUM} to {METADATA_VERSION_LEVEL} are known")
        });
    }
    let known = CARRIED_FEATURES.into_iter().chain([(TRANSACTION_VERSION, TransactionVersion::LATEST.level())]);
    match known.into_iter().find(|(known, _)| *known == name) {
        Some((_, highest)) if (0..=highest).contains(&level) => None,
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

/// What may become of a level (`FeatureUpdate.UpgradeType`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum UpgradeType {
    /// It may rise.
    Upgrade,
    /// It may fall where nothing is lost.
    SafeDowngrade,
    /// It may fall.
    UnsafeDowngrade,
}

impl UpgradeType {
    fn from_code(code: i8) -> Option<Self> {
        match code {
            1 => Some(Self::Upgrade),
            2 => Some(Self::SafeDowngrade),
            3 => Some(Self::UnsafeDowngrade),
            _ => None,
        }
    }
}

/// The last version whose answer has a result for each feature.
const LAST_VERSION_WITH_RESULTS: i16 = 1;

/// UpdateFeatures: all of the changes, or none (KIP-584, KIP-1022). As in Kafka 4.3, a level that is there already is
/// written again, the last update of a feature counts, and `AllowDowngrade` of version 0 is not looked at.
pub fn update_features(
    context: &ControlContext<'_>,
    request: &UpdateFeaturesRequest,
    api_version: i16,
) -> ControlResult<UpdateFeaturesResponse> {
    let mut seen = HashSet::new();
    // The last mention of a feature counts.
    let mut updates: Vec<&FeatureUpdateKey> =
        request.feature_updates.iter().rev().filter(|update| seen.insert(update.feature.as_str())).collect();
    updates.reverse();
    let mut changes = Vec::new();
    for update in updates {
        let upgrade_type = UpgradeType::from_code(update.upgrade_type);
        match update_feature(context, &update.feature, update.max_version_level, upgrade_type) {
            Ok(record) => changes.push(record),
            Err(message) => {
                let prefix = "The update failed for all features since the following feature had an error:";
                let error = ApiError::new(ResponseError::InvalidUpdateVersion, format!("{prefix} {message}"));
                return ControlResult::unchanged(update_features_failure(&error));
            }
        }
    }
    let mut response = UpdateFeaturesResponse::default().with_error_message(None);
    if api_version <= LAST_VERSION_WITH_RESULTS {
        let result = |update: &FeatureUpdateKey| {
            UpdatableFeatureResult::default()
                .with_feature(update.feature.clone())
                // Kafka's text of no error.
                .with_error_message(Some(StrBytes::from_static_str("NONE")))
        };
        response.results = request.feature_updates.iter().map(result).collect();
    }
    ControlResult { response, records: changes }.without_records_if(request.validate_only)
}

/// The answer when the whole request fails.
pub fn update_features_failure(error: &ApiError) -> UpdateFeaturesResponse {
    UpdateFeaturesResponse::default().with_error_code(error.code()).with_error_message(error.message_bytes())
}

/// The record of a new level; the error says why it must not be. Broker and controller are one process, so what the
/// controller supports is what all of the cluster does.
fn update_feature(
    context: &ControlContext<'_>,
    name: &str,
    level: i16,
    upgrade_type: Option<UpgradeType>,
) -> Result<MetadataRecord, String> {
    let refused = |reason: String| Err(format!("Invalid update version {level} for feature {name}. {reason}"));
    let Some(upgrade_type) = upgrade_type else {
        return refused("The controller does not support the given upgrade type.".to_owned());
    };
    if level < 0 {
        return refused("A feature version cannot be less than 0.".to_owned());
    }
    let supported = supported_features().into_iter().find(|feature| feature.name == name);
    let (min, max) = supported.map_or((0, 0), |feature| (feature.min, feature.max));
    if !(min..=max).contains(&level) {
        return refused(match max {
            0 => format!("Local controller {} does not support this feature.", context.node_id),
            _ => format!("Local controller {} only supports versions {min}-{max}", context.node_id),
        });
    }
    let current = context.image.features.level(name);
    if level < current && upgrade_type == UpgradeType::Upgrade {
        return refused(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe \
             downgrade."
                .to_owned(),
        );
    }
    if level > current && upgrade_type != UpgradeType::Upgrade {
        return refused("Can't downgrade to a newer version.".to_owned());
    }
    if name == METADATA_VERSION {
        check_metadata_downgrade(current, level, upgrade_type)?;
    } else if max == 0 && !CARRIED_FEATURES.iter().any(|(carried, _)| *carried == name) {
        return refused(format!("Feature {name} not found."));
    }
    Ok(records::feature_level(name, level))
}

/// Kafka 4.3 goes back only where the log can hold the same; it can lose nothing yet, whatever was asked for.
fn check_metadata_downgrade(current: i16, level: i16, upgrade_type: UpgradeType) -> Result<(), String> {
    if !METADATA_CHANGES.iter().any(|change| (level + 1..=current).contains(change)) {
        return Ok(());
    }
    let reason = match upgrade_type {
        UpgradeType::UnsafeDowngrade => "Unsafe metadata downgrade is not supported in this version.",
        _ => "Refusing to perform the requested downgrade because it might delete metadata information.",
    };
    Err(format!("Unsupported metadata.version downgrade from {current} to {level}. {reason}"))
}
