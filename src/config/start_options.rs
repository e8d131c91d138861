//! Everything that someone who starts the broker can say, in one value.

use std::collections::BTreeMap;

use super::environment::{EnvironmentSettings, read_environment, topics_of_environment};
use super::known::{broker_key, prefixed_definition, without_listener};
use super::properties::parse_properties;
use super::support::{Support, is_retired};
use super::{BrokerConfig, ConfigError, LogConfig, nearest, table};

/// A topic that exists when the port opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredTopic {
    /// Its name.
    pub name: String,
    /// Its partitions; `None` for `num.partitions`.
    pub partitions: Option<i32>,
    /// Its own configurations.
    pub configs: BTreeMap<String, String>,
}

/// What was given, as text.
#[derive(Clone, Debug, Default)]
pub struct StartInput {
    /// Name and content of the properties file.
    pub file: Option<(String, String)>,
    /// The environment; variables that do not begin with `KAFKA_` or `OTTLA_` are left alone, but `CLUSTER_ID`. What stands in
    /// files ([`super::variables_in_files`]) is in it already.
    pub environment: Vec<(String, String)>,
    /// `--data`.
    pub data: Option<String>,
    /// `--ephemeral`.
    pub ephemeral: bool,
    /// `--override`, each `key=value`.
    pub overrides: Vec<String>,
    /// `--topic`, each `name[:partitions[:key=value,…]]`.
    pub topics: Vec<String>,
}

/// What the broker is to do.
pub struct StartOptions {
    /// The configuration.
    pub config: BrokerConfig,
    /// Keep nothing on the disk.
    pub ephemeral: bool,
    /// Topics to create.
    pub topics: Vec<DeclaredTopic>,
    /// The cluster id of a data directory that is formatted now (`CLUSTER_ID`); a random one without.
    pub cluster_id: Option<String>,
    /// Loggers by Kafka's names with their levels (`KAFKA_LOG4J_LOGGERS`); `root` is every other.
    pub log_levels: Vec<(String, String)>,
    /// What was given and has no effect, one text each.
    pub warnings: Vec<String>,
}

/// A value and where it was given.
struct Given {
    value: String,
    place: String,
}

/// Configurations that are not implemented and must not be ignored: the broker would be more open than it was told to be.
const REFUSED: [&str; 1] = ["authorizer.class.name"];

impl StartOptions {
    /// Reads what was given. A later place wins: file, environment, `--data`, `--override`.
    ///
    /// # Errors
    /// The first thing that cannot be understood or used, with the place where it was given.
    pub fn read(input: &StartInput) -> Result<Self, ConfigError> {
        let mut given = BTreeMap::new();
        if let Some((file, text)) = &input.file {
            for property in parse_properties(file, text)? {
                let place = format!("{file}:{}", property.line);
                given.insert(property.key, Given { value: property.value, place });
            }
        }
        let EnvironmentSettings { properties, cluster_id, log_levels, mut warnings } =
            read_environment(&input.environment);
        for property in properties {
            let place = format!("environment variable {}", property.variable);
            given.insert(property.key, Given { value: property.value, place });
        }
        listen_where_advertised(&mut given);
        if let Some(data) = &input.data {
            given.insert("log.dirs".to_owned(), Given { value: data.clone(), place: "--data".to_owned() });
        }
        for option in &input.overrides {
            let (name, value) = option.split_once('=').ok_or_else(|| {
                ConfigError::Invalid(format!("--override {option}: expected key=value, such as num.partitions=3"))
            })?;
            let place = format!("--override {option}");
            given.insert(name.trim().to_owned(), Given { value: value.to_owned(), place });
        }
        warnings.extend(check_keys(&given)?);
        let config = BrokerConfig::new(given.into_iter().map(|(name, given)| (name, given.value)).collect())?;
        let mut topics = topics_of_environment(&input.environment)?;
        for topic in &topics {
            check_topic(topic, &config).map_err(|error| error.at("environment variable KAFKA_CREATE_TOPICS"))?;
        }
        for text in &input.topics {
            topics.push(parse_topic(text, &config)?);
        }
        Ok(Self { config, ephemeral: input.ephemeral, topics, cluster_id, log_levels, warnings })
    }
}

/// Variables that advertise listeners and name none to open open those ports on every address, as the official image does.
fn listen_where_advertised(given: &mut BTreeMap<String, Given>) {
    let Some(advertised) = given.get("advertised.listeners") else { return };
    if given.contains_key("listeners") || !advertised.place.starts_with("environment") {
        return;
    }
    let open = |entry: &str| match entry.split_once("://").map(|(name, address)| (name, address.rsplit_once(':'))) {
        Some((name, Some((_, port)))) => format!("{name}://:{port}"),
        _ => entry.to_owned(),
    };
    let value = advertised.value.split(',').map(open).collect::<Vec<_>>().join(",");
    let place = advertised.place.clone();
    given.insert("listeners".to_owned(), Given { value, place });
}

/// Names that a check of the keys collects, to be told in one line each.
#[derive(Default)]
struct WithoutEffect<'a> {
    not_implemented: Vec<&'a str>,
    retired: Vec<&'a str>,
}

/// Checks every value by itself, and says which keys have no effect.
fn check_keys(given: &BTreeMap<String, Given>) -> Result<Vec<String>, ConfigError> {
    let mut warnings = Vec::new();
    let mut without_effect = WithoutEffect::default();
    for (name, Given { value, place }) in given {
        if REFUSED.contains(&name.as_str()) && !value.trim().is_empty() {
            let reason = "not implemented yet: Ottla would let everyone do everything; remove it to accept that";
            return Err(ConfigError::invalid_value(name, value, reason).at(place));
        }
        let definition = prefixed_definition(name);
        if let Some(definition) = definition {
            definition.parse(value).map_err(|error| error.at(place))?;
        }
        let support = broker_key(name).map(|key| key.support);
        let is_default = || definition.is_some_and(|definition| definition.default == Some(value.trim()));
        match support {
            Some(Support::Implemented) if table::WITHOUT_EFFECT.contains(&name.as_str()) => {
                without_effect.not_implemented.push(name);
            }
            Some(Support::Implemented | Support::Accepted(_)) => {}
            Some(Support::NotYet(_)) if is_default() => {}
            Some(Support::NotYet(_)) => without_effect.not_implemented.push(name),
            // A listener has no values of its own yet.
            None if definition.is_some() && without_listener(name).next().is_some() => {
                without_effect.not_implemented.push(name);
            }
            None if OF_AUTHORIZERS.contains(&name.as_str()) => without_effect.not_implemented.push(name),
            None if is_retired(name) => without_effect.retired.push(name),
            None => {
                let hint = nearest::hint(name).map(|hint| format!("; {hint}")).unwrap_or_default();
                warnings.push(format!("{place}: unknown configuration {name} is ignored{hint}"));
            }
        }
    }
    let WithoutEffect { not_implemented, retired } = without_effect;
    if !not_implemented.is_empty() {
        let names = not_implemented.join(", ");
        warnings.push(format!("these Kafka configurations are not implemented yet and have no effect: {names}"));
    }
    if !retired.is_empty() {
        let names = retired.join(", ");
        warnings
            .push(format!("these configurations are of older releases or other distributions and not needed: {names}"));
    }
    Ok(warnings)
}

/// What Kafka's authorizer reads by itself, so that Kafka's own table does not have it.
const OF_AUTHORIZERS: [&str; 2] = ["allow.everyone.if.no.acl.found", "super.users"];

/// Whether a topic of this name can exist and have these configurations.
fn check_topic(topic: &DeclaredTopic, config: &BrokerConfig) -> Result<(), ConfigError> {
    let name = topic.name.as_str();
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.bytes().all(is_legal) {
        return Err(ConfigError::Invalid(format!(
            "'{name}' is no topic name: 1 to 249 ASCII letters, digits, '.', '_' and '-' (not '.' or '..')"
        )));
    }
    LogConfig::from_overrides(config, &topic.configs).map(drop)
}

fn parse_topic(text: &str, config: &BrokerConfig) -> Result<DeclaredTopic, ConfigError> {
    let refuse = |reason: String| ConfigError::Invalid(format!("--topic {text}: {reason}"));
    let mut parts = text.splitn(3, ':');
    let name = parts.next().unwrap_or_default();
    let partitions = match parts.next().filter(|count| !count.is_empty()) {
        None => None,
        Some(count) => match count.parse::<i32>() {
            Ok(count) if count > 0 => Some(count),
            _ => {
                return Err(refuse(format!(
                    "'{count}' is no number of partitions; expected name:partitions[:key=value,…]"
                )));
            }
        },
    };
    let mut configs: BTreeMap<String, String> = BTreeMap::new();
    let mut last: Option<String> = None;
    for item in parts.next().filter(|items| !items.is_empty()).map(|items| items.split(',')).into_iter().flatten() {
        // A comma may also stand within a value: cleanup.policy=compact,delete.
        match (item.split_once('='), &last) {
            (Some((key, value)), _) => {
                configs.insert(key.trim().to_owned(), value.to_owned());
                last = Some(key.trim().to_owned());
            }
            (None, Some(key)) => {
                if let Some(value) = configs.get_mut(key) {
                    value.push(',');
                    value.push_str(item);
                }
            }
            (None, None) => return Err(refuse(format!("'{item}' is no configuration; expected key=value"))),
        }
    }
    let topic = DeclaredTopic { name: name.to_owned(), partitions, configs };
    check_topic(&topic, config).map_err(|error| error.at(format!("--topic {text}")))?;
    Ok(topic)
}

#[cfg(test)]
#[path = "start_options_tests.rs"]
mod tests;
