//! Every configuration that Apache Kafka 4.3 has, so that a key which Ottla does not implement can be told from a mistake.
//!
//! `kafka_configs.tsv` was printed by Kafka's own classes (`KafkaConfig.configDef`, `LogConfig.configDefCopy`,
//! `DynamicBrokerConfig.dynamicConfigUpdateModes`): scope, name, type, update mode, internal or public, default.

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
}

/// Every configuration that Apache Kafka 4.3 has.
pub fn kafka_configs() -> impl Iterator<Item = KafkaConfigKey> {
    KAFKA_CONFIGS.lines().filter_map(|line| {
        let mut columns = line.split('\t');
        let (scope, name, kind) = (columns.next()?, columns.next()?, columns.next()?);
        let (update_mode, audience, default) = (columns.next()?, columns.next()?, columns.next().unwrap_or_default());
        let internal = audience == "internal";
        Some(KafkaConfigKey { scope, name, kind, update_mode, internal, default })
    })
}

/// Whether Apache Kafka has a broker configuration of this name, by itself or with a listener's prefix.
pub fn is_known_to_kafka(name: &str) -> bool {
    let is_name = |name: &str| kafka_configs().any(|config| config.scope == "broker" && config.name == name);
    if is_name(name) {
        return true;
    }
    // listener.name.<listener>.[<mechanism>.]<key> (KIP-103, KIP-226).
    let Some(rest) = name.strip_prefix("listener.name.") else { return false };
    rest.match_indices('.').take(2).any(|(position, _)| is_name(&rest[position + 1..]))
}
