//! What DescribeConfigs says (`ConfigHelper`): every value with where it comes from and what it hides.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::definition::{ConfigDefinition, ConfigType, UpdateMode};
use super::known::{broker_definition, broker_keys, prefixed_definition};
use super::log_config::topic_value;
use super::row_order::sort_as_kafka;
use super::state::Layers;
use super::{BrokerConfig, table};

/// Where a value was given (`DescribeConfigsResponse.ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// For the topic.
    DynamicTopic,
    /// For the broker, while it runs.
    DynamicBroker,
    /// For all brokers, while they run.
    DynamicDefaultBroker,
    /// At the start.
    StaticBroker,
    /// Nowhere.
    Default,
    /// The level of a logger.
    DynamicBrokerLogger,
}

impl ConfigSource {
    /// Kafka's number of the source in responses.
    pub fn id(self) -> i8 {
        match self {
            Self::DynamicTopic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
            Self::DynamicBrokerLogger => 6,
        }
    }
}

/// A place that gives the configuration a value, maybe under another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The name in that place.
    pub name: String,
    /// The value as it was given; hidden for what may be a secret.
    pub value: Option<String>,
    /// The place.
    pub source: ConfigSource,
}

/// One row of a DescribeConfigs response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    /// Kafka's name.
    pub name: String,
    /// The value in force.
    pub value: Option<String>,
    /// The strongest place that gives it.
    pub source: ConfigSource,
    /// Whether only a restart changes it.
    pub read_only: bool,
    /// Whether the value may be a secret, and is hidden.
    pub sensitive: bool,
    /// Every place that gives it a value, the strongest first.
    pub synonyms: Vec<ConfigSynonym>,
    /// Its type; nothing for a name that Ottla does not know.
    pub kind: Option<ConfigType>,
    /// What it does.
    pub documentation: Option<&'static str>,
}

impl DescribedConfig {
    /// A logger with its level.
    pub fn logger(name: String, level: &str) -> Self {
        Self {
            name,
            value: Some(level.to_owned()),
            source: ConfigSource::DynamicBrokerLogger,
            read_only: false,
            sensitive: false,
            synonyms: Vec::new(),
            kind: None,
            documentation: None,
        }
    }

    /// The number of the type in responses; 0 for unknown.
    pub fn kind_id(&self) -> i8 {
        self.kind.map_or(0, ConfigType::id)
    }
}

/// Every configuration of a topic with these values of its own, in Kafka's order.
pub fn describe_topic(config: &BrokerConfig, overrides: &BTreeMap<String, String>) -> Vec<DescribedConfig> {
    let state = config.state();
    let describe = |definition: &'static ConfigDefinition| {
        let value = topic_value(&state.layers, overrides, definition).text();
        let mut synonyms = Vec::new();
        if overrides.contains_key(definition.name) {
            let (name, value) = (definition.name.to_owned(), value.clone());
            synonyms.push(ConfigSynonym { name, value, source: ConfigSource::DynamicTopic });
        }
        if let Some(synonym) = definition.synonyms.first() {
            synonyms.extend(broker_places(&state.layers, synonym.name));
        }
        row(definition, value, synonyms, false)
    };
    let mut rows: Vec<DescribedConfig> = table::TOPIC_CONFIGS.iter().map(describe).collect();
    sort_as_kafka("topic", &mut rows);
    rows
}

/// Every configuration of this broker, in Kafka's order: what Kafka would show, and what else was given. `wanted` names what is asked
/// for; without names everything is.
pub fn describe_broker(config: &BrokerConfig, wanted: &HashSet<&str>) -> Vec<DescribedConfig> {
    let state = config.state();
    let layers = &state.layers;
    let given =
        |name: &str| [&layers.broker, &layers.cluster, &*layers.fixed].iter().any(|layer| layer.contains_key(name));
    let shown = broker_keys().iter().filter(|key| {
        let name = key.definition.name;
        !key.hidden || given(name) || (name.starts_with("ottla.") && wanted.contains(name))
    });
    let mut rows: Vec<DescribedConfig> = shown.map(|key| describe_key(layers, &key.definition)).collect();
    let others: BTreeSet<&String> =
        layers.broker.keys().chain(layers.cluster.keys()).chain(layers.fixed.keys()).collect();
    let others = others.into_iter().filter(|name| broker_definition(name).is_none());
    rows.extend(others.map(|name| describe_other(layers, name)));
    // The order is that of all rows, whichever are wanted.
    sort_as_kafka("broker", &mut rows);
    rows.retain(|row| wanted.is_empty() || wanted.contains(row.name.as_str()));
    rows
}

/// The dynamic values of the whole cluster, by name: what DescribeConfigs says of the broker with the empty name.
pub fn describe_cluster_defaults(config: &BrokerConfig) -> Vec<DescribedConfig> {
    let state = config.state();
    let only_cluster = Layers { cluster: state.layers.cluster.clone(), ..Layers::default() };
    let describe = |name: &String| {
        let mut row = match broker_definition(name) {
            Some(definition) => describe_key(&only_cluster, definition),
            None => describe_other(&only_cluster, name),
        };
        row.synonyms.retain(|synonym| synonym.source == ConfigSource::DynamicDefaultBroker);
        row.source = row.synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source);
        row
    };
    only_cluster.cluster.keys().map(describe).collect()
}

/// A configuration that Ottla or Kafka has.
fn describe_key(layers: &Layers, definition: &'static ConfigDefinition) -> DescribedConfig {
    let value = layers.value(definition.name).text();
    row(definition, value, broker_places(layers, definition.name), definition.update_mode == UpdateMode::ReadOnly)
}

fn row(
    definition: &'static ConfigDefinition,
    value: Option<String>,
    synonyms: Vec<ConfigSynonym>,
    read_only: bool,
) -> DescribedConfig {
    let row = DescribedConfig {
        name: definition.name.to_owned(),
        value,
        source: synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source),
        read_only,
        sensitive: false,
        synonyms,
        kind: Some(definition.kind),
        documentation: Some(definition.documentation),
    };
    if definition.is_sensitive() { hidden(row) } else { row }
}

/// A row whose values nobody is shown.
fn hidden(mut row: DescribedConfig) -> DescribedConfig {
    row.sensitive = true;
    row.value = None;
    row.synonyms.iter_mut().for_each(|synonym| synonym.value = None);
    row
}

/// A name that was given and that Kafka does not have, unless it is one of a listener's own.
fn describe_other(layers: &Layers, name: &str) -> DescribedConfig {
    let definition = prefixed_definition(name);
    let base = definition.map(|definition| definition.name);
    let names: Vec<&str> = std::iter::once(name).chain(base).collect();
    let synonyms: Vec<ConfigSynonym> =
        place(layers, &names).into_iter().skip_while(|synonym| synonym.name != name).collect();
    let row = DescribedConfig {
        name: name.to_owned(),
        value: synonyms.first().and_then(|synonym| synonym.value.clone()),
        source: synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source),
        read_only: true,
        sensitive: false,
        synonyms,
        kind: definition.map(|definition| definition.kind),
        documentation: None,
    };
    // What Kafka does not know may be a secret.
    if definition.is_none_or(ConfigDefinition::is_sensitive) { hidden(row) } else { row }
}

/// The places of a broker configuration. What stands before the configuration's own name is dropped, as Kafka does: so a
/// `log.retention.hours` does not count as the source of `retention.ms`, although it gives the value.
fn broker_places(layers: &Layers, name: &'static str) -> Vec<ConfigSynonym> {
    let names: Vec<&str> = match table::broker_synonyms(name) {
        [] => vec![name],
        synonyms => synonyms.iter().map(|synonym| synonym.name).collect(),
    };
    place(layers, &names).into_iter().skip_while(|synonym| synonym.name != name).collect()
}

/// Where these names have values: place by place, and in each name by name.
fn place(layers: &Layers, names: &[&str]) -> Vec<ConfigSynonym> {
    let given = [
        (ConfigSource::DynamicBroker, &layers.broker),
        (ConfigSource::DynamicDefaultBroker, &layers.cluster),
        (ConfigSource::StaticBroker, &*layers.fixed),
    ];
    let mut synonyms = Vec::new();
    for (source, values) in given {
        for name in names {
            if let Some(value) = values.get(*name) {
                synonyms.push(ConfigSynonym { name: (*name).to_owned(), value: Some(value.clone()), source });
            }
        }
    }
    for name in names {
        if let Some(default) = broker_definition(name).and_then(|definition| definition.default) {
            let (name, value) = ((*name).to_owned(), Some(default.to_owned()));
            synonyms.push(ConfigSynonym { name, value, source: ConfigSource::Default });
        }
    }
    synonyms
}
