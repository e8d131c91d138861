//! Configuration: one table of every broker and topic configuration that is implemented, and everything driven by it.
//!
//! Contract: a key is in the table when the broker honours it, with Kafka's name, type, default, validator and update mode
//! (`KafkaConfig`, `LogConfig`, `DynamicBrokerConfig`). The rooms read typed values: [`BrokerConfig`] (what was given at the
//! start, and over it the dynamic values of the metadata image, swapped atomically) and [`LogConfig`] (one topic). The room
//! does no input or output: texts come in, values and texts go out.

mod alter;
mod broker_config;
mod broker_values;
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
mod start_options;
mod state;
pub mod table;
#[cfg(test)]
mod table_tests;

pub use alter::check_broker_overrides;
pub use broker_config::BrokerConfig;
pub use definition::{BrokerSynonym, ConfigDefinition, ConfigType, ConfigValue, SynonymUnit, UpdateMode, Validator};
pub use describe::{
    ConfigSource, ConfigSynonym, DescribedConfig, describe_broker, describe_cluster_defaults, describe_topic,
};
pub use documentation::render_markdown;
pub use environment::property_of_variable;
pub use error::ConfigError;
pub use known::{KafkaConfigKey, is_known_to_kafka, kafka_configs};
pub use listeners::{ListenerEndpoint, SecurityProtocol};
pub use log_config::LogConfig;
pub use properties::{Property, parse_properties};
pub use start_options::{DeclaredTopic, StartInput, StartOptions};
