//! Every configuration that Apache Kafka 4.3 has, so that a key which Ottla does not implement can be told from a mistake,
//! checked, described and kept as Kafka does.
//!
//! `kafka_configs.tsv` was printed by Kafka's own classes (`compat-tests/differential/KafkaConfigKeys.java`): scope, name, type,
//! update mode, internal or public, default, validator.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::definition::{ConfigDefinition, ConfigType, UpdateMode, Validator};
use super::support::{Support, support_of};
use super::table;

const KAFKA_CONFIGS: &str = include_str!("kafka_configs.tsv");

/// A configuration of Apache Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KafkaConfigKey {
    /// `broker` or `topic`.
    pub scope: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The name of its type.
    pub kind: &'static str,
    /// The name of its update mode.
    pub update_mode: &'static str,
    /// Kafka hides it from DescribeConfigs.
    pub internal: bool,
    /// The default; `-null-` for no value, `-none-` where one must be given.
    pub default: &'static str,
    /// What a value must satisfy, as Kafka's documentation prints it; empty for nothing.
    pub validator: &'static str,
}

/// Every configuration that Apache Kafka 4.3 has.
pub fn kafka_configs() -> impl Iterator<Item = KafkaConfigKey> {
    KAFKA_CONFIGS.lines().filter_map(|line| {
        let mut columns = line.split('\t');
        let (scope, name, kind) = (columns.next()?, columns.next()?, columns.next()?);
        let (update_mode, audience, default) = (columns.next()?, columns.next()?, columns.next().unwrap_or_default());
        let validator = columns.next().unwrap_or_default();
        let internal = audience == "internal";
        Some(KafkaConfigKey { scope, name, kind, update_mode, internal, default, validator })
    })
}

/// A broker configuration, implemented or not.
#[derive(Clone, Debug)]
pub struct BrokerKey {
    /// Name, type, default, validator.
    pub definition: ConfigDefinition,
    /// What Ottla makes of it.
    pub support: Support,
    /// DescribeConfigs shows it only where it was given: it is internal in Kafka, or Kafka does not have it.
    pub hidden: bool,
}

struct BrokerKeys {
    keys: Vec<BrokerKey>,
    by_name: HashMap<&'static str, usize>,
}

/// Read once: the rows of the table, then what only Kafka has; by name.
static BROKER_KEYS: LazyLock<BrokerKeys> = LazyLock::new(|| {
    let kafka: Vec<KafkaConfigKey> = kafka_configs().filter(|key| key.scope == "broker").collect();
    let mut keys: Vec<BrokerKey> = Vec::with_capacity(kafka.len() + 16);
    for definition in table::BROKER_CONFIGS {
        let of_kafka = kafka.iter().find(|key| key.name == definition.name);
        // What throttles replication is dynamic only and in no list of Kafka's.
        let hidden = of_kafka.is_none_or(|key| key.internal);
        keys.push(BrokerKey { definition: *definition, support: Support::Implemented, hidden });
    }
    for key in kafka.iter().filter(|key| table::broker_config(key.name).is_none()) {
        let support = support_of(key.name);
        let hidden = key.internal || key.update_mode == DYNAMIC_ONLY;
        keys.push(BrokerKey { definition: definition_of(key, support), support, hidden });
    }
    keys.sort_by_key(|key| key.definition.name);
    let by_name = keys.iter().enumerate().map(|(position, key)| (key.definition.name, position)).collect();
    BrokerKeys { keys, by_name }
});

/// The update mode, in the list, of what cannot be given at the start (`QuotaConfig.brokerQuotaConfigs`).
pub(super) const DYNAMIC_ONLY: &str = "dynamic-only";

/// Every broker configuration that Ottla or Kafka has, by name.
pub fn broker_keys() -> &'static [BrokerKey] {
    &BROKER_KEYS.keys
}

/// A broker configuration that Ottla or Kafka has.
pub fn broker_key(name: &str) -> Option<&'static BrokerKey> {
    BROKER_KEYS.by_name.get(name).map(|position| &BROKER_KEYS.keys[*position])
}

/// Its definition.
pub(super) fn broker_definition(name: &str) -> Option<&'static ConfigDefinition> {
    broker_key(name).map(|key| &key.definition)
}

/// As [`broker_definition`], also for a name with a listener's prefix.
pub(super) fn prefixed_definition(name: &str) -> Option<&'static ConfigDefinition> {
    broker_definition(name).or_else(|| without_listener(name).find_map(broker_definition))
}

/// Whether Apache Kafka has a broker configuration of this name, by itself or with a listener's prefix.
pub fn is_known_to_kafka(name: &str) -> bool {
    let is_kafkas = |name: &str| broker_key(name).is_some_and(|key| !key.definition.name.starts_with("ottla."));
    is_kafkas(name) || without_listener(name).any(is_kafkas)
}

/// The keys that `listener.name.<listener>.[<mechanism>.]<key>` may stand for (KIP-103, KIP-226).
pub(super) fn without_listener(name: &str) -> impl Iterator<Item = &str> {
    let rest = name.strip_prefix("listener.name.").unwrap_or_default();
    rest.match_indices('.').take(2).map(|(position, _)| &rest[position + 1..])
}

fn definition_of(key: &KafkaConfigKey, support: Support) -> ConfigDefinition {
    let kind = ConfigType::from_name(key.kind).unwrap_or(ConfigType::String);
    let update_mode = match key.update_mode {
        "per-broker" => UpdateMode::PerBroker,
        "cluster-wide" | DYNAMIC_ONLY => UpdateMode::ClusterWide,
        _ => UpdateMode::ReadOnly,
    };
    ConfigDefinition {
        name: key.name,
        kind,
        default: (key.default != "-null-" && key.default != "-none-" && key.update_mode != DYNAMIC_ONLY)
            .then_some(key.default),
        validator: parse_validator(kind, key.validator),
        update_mode,
        // Once for each key, for the life of the process.
        documentation: Box::leak(support.documentation().into_boxed_str()),
        synonyms: &[],
    }
}

/// What Kafka's documentation prints of a validator (`Range`, `ValidString`, `ValidList`); what it does not print is not checked.
fn parse_validator(kind: ConfigType, text: &'static str) -> Validator {
    let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else { return Validator::Any };
    if let Some((least, most)) = inner.split_once(",...") {
        let most = most.strip_prefix(',').unwrap_or_default();
        if kind == ConfigType::Double {
            let most = most.parse().unwrap_or(f64::MAX);
            return least.parse().map_or(Validator::Any, |least| Validator::DoubleBetween(least, most));
        }
        return match (least.parse(), most.parse()) {
            (Ok(least), Ok(most)) => Validator::Between(least, most),
            (Ok(least), Err(_)) => Validator::AtLeast(least),
            _ => Validator::Any,
        };
    }
    let words: &'static [&'static str] = Box::leak(inner.split(", ").collect::<Vec<_>>().into_boxed_slice());
    match kind {
        ConfigType::String => Validator::OneOf(words),
        ConfigType::List => Validator::ListOf(words, true),
        _ => Validator::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validators_are_read() {
        assert_eq!(parse_validator(ConfigType::Int, "[1,...]"), Validator::AtLeast(1));
        assert_eq!(parse_validator(ConfigType::Int, "[-1,...,9]"), Validator::Between(-1, 9));
        assert_eq!(parse_validator(ConfigType::Double, "[0.5,...,1.0]"), Validator::DoubleBetween(0.5, 1.0));
        assert_eq!(parse_validator(ConfigType::String, "[a, b]"), Validator::OneOf(&["a", "b"]));
        assert_eq!(parse_validator(ConfigType::String, "non-empty string"), Validator::Any);
    }

    #[test]
    fn listeners_have_keys_of_their_own() {
        for name in
            ["listener.name.x.max.connections", "listener.name.x.scram-sha-256.sasl.jaas.config", "ssl.keystore.type"]
        {
            assert!(is_known_to_kafka(name), "{name}");
        }
        for name in ["listener.name.x.foo", "ottla.memory.bytes", "foo", "listener.name."] {
            assert!(!is_known_to_kafka(name), "{name}");
        }
        let jaas = prefixed_definition("listener.name.x.plain.sasl.jaas.config").expect("a key");
        assert_eq!(jaas.kind, ConfigType::Password);
    }

    #[test]
    fn what_is_not_implemented_can_be_checked() {
        for key in broker_keys().iter().filter(|key| key.support != Support::Implemented) {
            if let Some(default) = key.definition.default {
                key.definition.parse(default).unwrap_or_else(|error| panic!("{}: {error}", key.definition.name));
            }
        }
        let threads = broker_definition("num.io.threads").expect("a key");
        assert!(threads.parse("x").is_err() && threads.parse("9").is_ok());
    }
}
