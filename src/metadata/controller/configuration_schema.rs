//! What the controller has to know of configurations; room `config` knows the rest (`KafkaConfigSchema`,
//! `ConfigurationValidator`).

use std::collections::BTreeMap;

use super::super::api_error::ApiError;
use super::super::image::{ConfigResourceType, ConfigurationsImage};

/// The effective value of one configuration of a new topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveConfig {
    /// Kafka's name.
    pub name: String,
    /// The value as text; `None` when it is sensitive or null.
    pub value: Option<String>,
    /// Whether it cannot be changed.
    pub read_only: bool,
    /// Kafka's id of where the value comes from (`DescribeConfigsResponse.ConfigSource`).
    pub source: i8,
    /// Whether the value is secret.
    pub sensitive: bool,
}

/// How an internal topic is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalTopic {
    /// Its number of partitions.
    pub partitions: i32,
    /// Its replication factor as configured.
    pub replication_factor: i16,
    /// Its overrides.
    pub configs: Vec<(String, String)>,
}

/// The configurations that exist, their defaults and their rules.
pub trait ConfigurationSchema: Send + Sync {
    /// `num.partitions`.
    fn default_partitions(&self) -> i32;
    /// `default.replication.factor`.
    fn default_replication_factor(&self) -> i16;
    /// `delete.topic.enable`.
    fn delete_topic_enable(&self) -> bool;
    /// Partitions, replication factor and overrides of an internal topic; `None` when the name is not internal.
    fn internal_topic(&self, name: &str) -> Option<InternalTopic>;
    /// Whether the configuration is a list, so that values can be appended and subtracted.
    fn is_list(&self, kind: ConfigResourceType, name: &str) -> bool;
    /// The value of a configuration that is not set on the resource itself.
    fn default_value(&self, kind: ConfigResourceType, name: &str) -> Option<String>;
    /// Checks all overrides that a resource would have; `altered` are those that the request changed.
    fn validate(
        &self,
        kind: ConfigResourceType,
        resource_name: &str,
        overrides: &BTreeMap<String, String>,
        altered: &BTreeMap<String, Option<String>>,
    ) -> Result<(), ApiError>;
    /// All configurations of a topic with these overrides, in order of name.
    fn effective_topic_configs(
        &self,
        overrides: &BTreeMap<String, String>,
        configs: &ConfigurationsImage,
        node_id: i32,
    ) -> Vec<EffectiveConfig>;
}
