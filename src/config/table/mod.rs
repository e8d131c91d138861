//! The table of every configuration that Ottla implements; everything else in the room is driven by it.

mod broker_log;
mod broker_server;
mod topic;

pub use topic::TOPIC_CONFIGS;

use super::definition::{BrokerSynonym, ConfigDefinition, ConfigType, SynonymUnit, UpdateMode, Validator};

/// Every broker configuration that Ottla implements: those of the server, then those of the logs, each by name.
pub static BROKER_CONFIGS: &[ConfigDefinition] = &BROKER_ROWS;

const SERVER_ROWS: usize = broker_server::ROWS.len();
const BROKER_ROWS: [ConfigDefinition; SERVER_ROWS + broker_log::ROWS.len()] = {
    let mut rows = [broker_server::ROWS[0]; SERVER_ROWS + broker_log::ROWS.len()];
    let mut position = 0;
    while position < rows.len() {
        rows[position] = if position < SERVER_ROWS {
            broker_server::ROWS[position]
        } else {
            broker_log::ROWS[position - SERVER_ROWS]
        };
        position += 1;
    }
    rows
};

/// The definition of a broker configuration.
pub fn broker_config(name: &str) -> Option<&'static ConfigDefinition> {
    BROKER_CONFIGS.iter().find(|definition| definition.name == name)
}

/// The definition of a topic configuration.
pub fn topic_config(name: &str) -> Option<&'static ConfigDefinition> {
    TOPIC_CONFIGS.iter().find(|definition| definition.name == name)
}

/// The other names under which a broker configuration can be given, itself first, the first that has a value wins
/// (`DynamicBrokerConfig.brokerConfigSynonyms`).
pub fn broker_synonyms(name: &'static str) -> &'static [BrokerSynonym] {
    TOPIC_CONFIGS
        .iter()
        .map(|topic| topic.synonyms)
        .find(|synonyms| synonyms.len() > 1 && synonyms.iter().any(|synonym| synonym.name == name))
        .unwrap_or_default()
}

const fn same(name: &'static str) -> BrokerSynonym {
    BrokerSynonym { name, unit: SynonymUnit::Same }
}

const fn minutes(name: &'static str) -> BrokerSynonym {
    BrokerSynonym { name, unit: SynonymUnit::Minutes }
}

const fn hours(name: &'static str) -> BrokerSynonym {
    BrokerSynonym { name, unit: SynonymUnit::Hours }
}

const fn row(
    name: &'static str,
    kind: ConfigType,
    default: Option<&'static str>,
    validator: Validator,
    update_mode: UpdateMode,
    documentation: &'static str,
) -> ConfigDefinition {
    ConfigDefinition { name, kind, default, validator, update_mode, documentation, synonyms: &[] }
}

const COMPRESSION_TYPES: Validator = Validator::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);
const TIMESTAMP_TYPES: Validator = Validator::OneOf(&["CreateTime", "LogAppendTime"]);
const CLEANUP_POLICIES: Validator = Validator::ListOf(&["compact", "delete"], true);
/// `Long.MAX_VALUE`: never, or no limit.
const LONG_MAX: Option<&str> = Some("9223372036854775807");
/// `Integer.MAX_VALUE`: no limit.
const INT_MAX: Option<&str> = Some("2147483647");

/// Configurations that are defaults of topic configurations without effect yet: a topic may be created with them, because
/// clients do (Kafka Streams, Connect), and they are kept and shown.
pub const WITHOUT_EFFECT: &[&str] = &["log.preallocate"];
