//! What the controller has to know of configurations, from room `config` (`KafkaConfigSchema`,
//! `ControllerConfigurationValidator`, and `DefaultAutoTopicCreationManager` for internal topics).

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;

use super::super::api_error::ApiError;
use super::super::image::ConfigResourceType;
use crate::config::{
    BrokerConfig, ConfigError, ConfigType, LogConfig, broker_key, check_broker_overrides, is_known_to_kafka, table,
};
use crate::types::{GROUP_METADATA_TOPIC_NAME, TRANSACTION_STATE_TOPIC_NAME};

/// How an internal topic is created.
pub(super) struct InternalTopic {
    pub(super) partitions: i32,
    pub(super) replication_factor: i16,
    pub(super) configs: Vec<(&'static str, String)>,
}

/// Partitions, replication factor and overrides of an internal topic; `None` when the name is not one that this release
/// writes.
pub(super) fn internal_topic(config: &BrokerConfig, name: &str) -> Option<InternalTopic> {
    match name {
        GROUP_METADATA_TOPIC_NAME => Some(InternalTopic {
            partitions: config.offsets_topic_num_partitions(),
            replication_factor: config.offsets_topic_replication_factor(),
            configs: vec![
                ("cleanup.policy", "compact".to_owned()),
                ("compression.type", "producer".to_owned()),
                ("segment.bytes", config.offsets_topic_segment_bytes().to_string()),
            ],
        }),
        TRANSACTION_STATE_TOPIC_NAME => Some(InternalTopic {
            partitions: config.transaction_state_log_num_partitions(),
            replication_factor: config.transaction_state_log_replication_factor(),
            configs: vec![
                ("cleanup.policy", "compact".to_owned()),
                ("compression.type", "uncompressed".to_owned()),
                // More than there are replicas is no hindrance: partitions cap it (`Partition.effectiveMinIsr`).
                ("min.insync.replicas", config.transaction_state_log_min_isr().to_string()),
                ("segment.bytes", config.transaction_state_log_segment_bytes().to_string()),
                ("unclean.leader.election.enable", "false".to_owned()),
            ],
        }),
        _ => None,
    }
}

fn definition(kind: ConfigResourceType, name: &str) -> Option<&'static crate::config::ConfigDefinition> {
    match kind {
        ConfigResourceType::Topic => table::topic_config(name),
        ConfigResourceType::Broker => broker_key(name).map(|key| &key.definition),
        _ => None,
    }
}

/// Whether Kafka has a configuration of this name.
pub(super) fn is_known(kind: ConfigResourceType, name: &str) -> bool {
    definition(kind, name).is_some() || is_known_to_kafka(name)
}

/// Whether values can be appended to the configuration and subtracted from it.
pub(super) fn is_list(kind: ConfigResourceType, name: &str) -> bool {
    definition(kind, name).is_some_and(|definition| definition.kind == ConfigType::List)
}

/// The default that values are appended to when the resource has none of its own (`KafkaConfigSchema.getDefault`).
pub(super) fn default_value(kind: ConfigResourceType, name: &str) -> Option<String> {
    definition(kind, name)?.default_value().text()
}

/// Checks all overrides that a topic would have.
pub(super) fn validate_topic(config: &BrokerConfig, overrides: &BTreeMap<String, String>) -> Result<(), ApiError> {
    LogConfig::from_overrides(config, overrides).map(drop).map_err(|error| refused(&error))
}

/// Kafka's answer to a configuration that cannot be used.
pub(super) fn refused(error: &ConfigError) -> ApiError {
    let code = match error {
        ConfigError::InvalidRequest(_) => ResponseError::InvalidRequest,
        _ => ResponseError::InvalidConfig,
    };
    ApiError::new(code, error.to_string())
}

/// Checks all dynamic values that a broker, or the whole cluster with an empty name, would have.
pub(super) fn validate_broker(
    config: &BrokerConfig,
    name: &str,
    overrides: &BTreeMap<String, String>,
) -> Result<(), ApiError> {
    check_broker_overrides(config, name.is_empty(), overrides).map_err(|error| refused(&error))
}
