//! The table against itself and against what Apache Kafka 4.3.0 says of its own configurations.

use std::collections::BTreeSet;

use super::broker_values::BrokerValues;
use super::known::{KafkaConfigKey, kafka_configs};
use super::table::{BROKER_CONFIGS, TOPIC_CONFIGS, broker_config};
use super::{BrokerConfig, ConfigDefinition, ConfigValue, LogConfig, UpdateMode};

/// Broker configurations whose default or update mode is not Kafka's, and why.
const DEVIATIONS: &[(&str, &str)] = &[
    ("log.dir", "the default is a directory beside the working directory, not one that a reboot empties"),
    ("node.id", "no configuration is needed: the node is 1"),
    ("process.roles", "no configuration is needed: the process is both"),
    ("controller.listener.names", "no configuration is needed: the controller is in the process"),
    ("listeners", "listeners are opened at the start only"),
    ("listener.security.protocol.map", "listeners are opened at the start only"),
    ("num.recovery.threads.per.data.dir", "recovery is over before dynamic values are known"),
];

fn all() -> impl Iterator<Item = (&'static str, &'static ConfigDefinition)> {
    let broker = BROKER_CONFIGS.iter().map(|definition| ("broker", definition));
    broker.chain(TOPIC_CONFIGS.iter().map(|definition| ("topic", definition)))
}

fn is_ours(name: &str) -> bool {
    name.starts_with("ottla.")
}

fn reference(scope: &str, name: &str) -> KafkaConfigKey {
    kafka_configs()
        .find(|key| key.scope == scope && key.name == name)
        .unwrap_or_else(|| panic!("Apache Kafka has no {scope} configuration {name}"))
}

#[test]
fn names_are_unique_and_documented() {
    let mut seen = BTreeSet::new();
    for (scope, definition) in all() {
        assert!(seen.insert((scope, definition.name)), "{} twice", definition.name);
        assert!(definition.documentation.len() > 15, "{} says nothing", definition.name);
        assert!(definition.documentation.ends_with('.'), "{}: no full stop", definition.name);
    }
    assert!(seen.len() > 100, "the table is not whole");
}

#[test]
fn defaults_pass_their_own_validators() {
    for (_, definition) in all() {
        if let Some(default) = definition.default {
            let value = definition.parse(default).unwrap_or_else(|error| panic!("{}: {error}", definition.name));
            assert_eq!(value.text().as_deref(), Some(default), "{}", definition.name);
        }
    }
}

#[test]
fn rows_are_those_of_kafka() {
    for (scope, definition) in all().filter(|(_, definition)| !is_ours(definition.name)) {
        let kafka = reference(scope, definition.name);
        assert_eq!(definition.kind.name(), kafka.kind, "{}", definition.name);
        if DEVIATIONS.iter().any(|(name, _)| scope == "broker" && *name == definition.name) {
            continue;
        }
        assert_eq!(definition.default.unwrap_or("-null-"), kafka.default, "{}", definition.name);
        assert_eq!(definition.update_mode.name(), kafka.update_mode, "{}", definition.name);
    }
}

#[test]
fn deviations_deviate() {
    for (name, reason) in DEVIATIONS {
        let (definition, kafka) = (broker_config(name).expect("in the table"), reference("broker", name));
        let same = definition.default.unwrap_or("-null-") == kafka.default
            && definition.update_mode.name() == kafka.update_mode;
        assert!(!same, "{name} is Kafka's: {reason}");
    }
}

#[test]
fn every_topic_configuration_of_kafka_is_there() {
    for kafka in kafka_configs().filter(|key| key.scope == "topic" && !key.name.starts_with("internal.")) {
        assert!(TOPIC_CONFIGS.iter().any(|definition| definition.name == kafka.name), "{}", kafka.name);
    }
}

#[test]
fn topic_configurations_have_broker_configurations() {
    let without = ["replication.throttled.replicas", "remote."];
    for definition in TOPIC_CONFIGS {
        if without.iter().any(|part| definition.name.contains(part)) {
            assert!(definition.synonyms.is_empty(), "{}", definition.name);
            continue;
        }
        assert!(!definition.synonyms.is_empty(), "{}", definition.name);
        for synonym in definition.synonyms {
            let broker = broker_config(synonym.name).unwrap_or_else(|| panic!("{} is no broker key", synonym.name));
            let is_number = matches!(broker.default_value(), ConfigValue::Integer(_) | ConfigValue::Null);
            assert!(is_number || broker.kind == definition.kind, "{}", synonym.name);
        }
    }
}

#[test]
fn every_broker_configuration_is_read() {
    // These are read by a getter of their own in `BrokerConfig`, or with another row.
    const BY_HAND: &[&str] = &[
        "advertised.listeners",
        "broker.id",
        "controller.listener.names",
        "controller.quorum.bootstrap.servers",
        "controller.quorum.voters",
        "inter.broker.listener.name",
        "listener.security.protocol.map",
        "listeners",
        "log.dir",
        "log.dirs",
        "max.connections.per.ip.overrides",
        "offsets.retention.minutes",
        "ottla.http.listeners",
        "ottla.memory.bytes",
        "ottla.seed.files",
        "ottla.topics",
        "ottla.validate.compressed.batches",
        "process.roles",
        "queued.max.request.bytes",
        "security.inter.broker.protocol",
        "transaction.two.phase.commit.enable",
    ];
    for definition in BROKER_CONFIGS {
        let is_default_of_a_topic =
            TOPIC_CONFIGS.iter().flat_map(|topic| topic.synonyms).any(|synonym| synonym.name == definition.name);
        let readers = [
            is_default_of_a_topic && definition.name != "log.flush.scheduler.interval.ms",
            BrokerValues::NAMES.contains(&definition.name),
            BY_HAND.contains(&definition.name),
        ];
        assert_eq!(readers.iter().filter(|reads| **reads).count(), 1, "{}: {readers:?}", definition.name);
    }
}

#[test]
fn typed_values_are_the_defaults() {
    let config = BrokerConfig::default();
    assert_eq!(config.node_id(), 1);
    assert_eq!(config.num_partitions(), 1);
    assert_eq!(config.socket_request_max_bytes(), 100 * 1024 * 1024);
    assert_eq!(config.offsets_retention_ms(), 7 * 24 * 60 * 60 * 1000);
    assert_eq!(config.broker_rack(), None);
    assert!(config.auto_create_topics_enable());
    let log = LogConfig::default();
    assert_eq!((log.segment_bytes, log.segment_ms), (1024 * 1024 * 1024, 7 * 24 * 60 * 60 * 1000));
    assert_eq!((log.retention_ms, log.retention_bytes), (7 * 24 * 60 * 60 * 1000, -1));
    assert!(log.delete && !log.compact && log.compression.is_none());
    assert_eq!((log.flush_messages, log.flush_ms), (i64::MAX, i64::MAX));
}

#[test]
fn update_modes_follow_the_topics() {
    for topic in TOPIC_CONFIGS {
        if let Some(synonym) = topic.synonyms.first() {
            let broker = broker_config(synonym.name).expect("a broker key");
            assert_eq!(broker.update_mode, UpdateMode::ClusterWide, "{}", broker.name);
        }
    }
}

/// The sources outside this room, without their tests.
#[expect(clippy::disallowed_methods, reason = "reads the sources, not the broker's data")]
fn other_rooms() -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut directories = vec![root.clone()];
    let mut text = String::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("src is readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && path != root.join("config") {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.to_string_lossy().ends_with("tests.rs")
            {
                text.push_str(&std::fs::read_to_string(&path).expect("a source"));
            }
        }
    }
    text
}

#[test]
fn every_value_is_used_by_a_room() {
    // Topic configurations that are kept for a later release; their broker defaults are `WITHOUT_EFFECT`.
    const KEPT: &[&str] = &["unclean_leader_election_enable"];
    let text = other_rooms();
    let by_getter = BrokerValues::NAMES.iter().map(|name| format!(".{}()", name.replace('.', "_")));
    let unused: Vec<String> = by_getter.filter(|getter| !text.contains(getter.as_str())).collect();
    assert!(unused.is_empty(), "in the table and not honoured: {unused:?}");
    let debug = format!("{:?}", LogConfig::default());
    let fields = debug.trim_start_matches("LogConfig { ").split(", ").filter_map(|field| field.split_once(": "));
    for (field, _) in fields.filter(|(field, _)| field.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
        let is_used = text.contains(&format!(".{field}"));
        assert_ne!(is_used, KEPT.contains(&field), "{field}: used {is_used}");
    }
}
