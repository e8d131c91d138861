//! Configuration: one table of every broker and topic configuration that is implemented, and everything driven by it.
//!
//! Contract: a key is in the table when the broker honours it, with Kafka's name, type, default, validator and update mode
//! (`KafkaConfig`, `LogConfig`, `DynamicBrokerConfig`). Every other key of Apache Kafka 4.3 is known too (`known.rs`): checked,
//! described and kept as Kafka does, and either accepted with a reason or named as missing (`support.rs`). The rooms read typed values: [`BrokerConfig`] (what was given at the
//! start, and over it the dynamic values of the metadata image, swapped atomically) and [`LogConfig`] (one topic). The room
//! does no input or output: texts come in, values and texts go out.

mod alter;
mod broker_config;
mod broker_values;
mod declared;
mod definition;
mod describe;
mod documentation;
#[cfg(test)]
mod dynamic_tests;
mod environment;
mod error;
mod known;
mod listeners;
mod log_config;
mod nearest;
mod properties;
mod row_order;
mod start_options;
mod state;
mod support;
pub mod table;
#[cfg(test)]
mod table_tests;

pub use alter::check_broker_overrides;
pub use broker_config::BrokerConfig;
pub use declared::{Declarations, DeclaredTopic, SEED_FILE_BYTES_MAX, SeedRecord};
pub use definition::{BrokerSynonym, ConfigDefinition, ConfigType, ConfigValue, SynonymUnit, UpdateMode, Validator};
pub use describe::{
    ConfigSource, ConfigSynonym, DescribedConfig, describe_broker, describe_cluster_defaults, describe_topic,
};
pub use documentation::render_markdown;
pub use environment::{FileVariable, property_of_variable, variables_in_files};
pub use error::ConfigError;
pub use known::{BrokerKey, KafkaConfigKey, broker_key, broker_keys, is_known_to_kafka, kafka_configs};
pub use listeners::{HttpListener, ListenerEndpoint, SecurityProtocol};
pub use log_config::LogConfig;
pub use properties::{Property, parse_properties, render_properties};
pub use start_options::{StartInput, StartOptions};
pub use support::Support;
