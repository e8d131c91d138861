//! Everything that someone who starts the broker can say, in one value.

use std::collections::BTreeMap;

use super::declared::Declarations;
use super::environment::{EnvironmentSettings, read_environment, topics_of_environment};
use super::known::{broker_key, prefixed_definition, without_listener};
use super::properties::parse_properties;
use super::support::{Support, is_retired};
use super::{BrokerConfig, ConfigError, nearest, table};

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
    /// `--seed`, each a file or a directory.
    pub seed_files: Vec<String>,
}

/// What the broker is to do.
pub struct StartOptions {
    /// The configuration.
    pub config: BrokerConfig,
    /// Keep nothing on the disk.
    pub ephemeral: bool,
    /// Topics to create, and records to begin with.
    pub declared: Declarations,
    /// Files, and directories of files, whose content [`Self::add_seeds`] takes.
    pub seed_files: Vec<String>,
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
        let topics_place = given.get("ottla.topics").map(|given| given.place.clone()).unwrap_or_default();
        let config = BrokerConfig::new(given.into_iter().map(|(name, given)| (name, given.value)).collect())?;
        let mut declared = Declarations::default();
        for topic in topics_of_environment(&input.environment)? {
            declared.add_topic(topic, &config)?;
        }
        declared.add_topic_list(&config.text("ottla.topics").unwrap_or_default(), &topics_place, &config)?;
        for topic in &input.topics {
            declared.add_topic_option(topic, &config)?;
        }
        let files = config.text("ottla.seed.files").unwrap_or_default();
        let files = files.split(',').map(str::trim).filter(|file| !file.is_empty()).map(str::to_owned);
        let seed_files = files.chain(input.seed_files.iter().cloned()).collect();
        Ok(Self { config, ephemeral: input.ephemeral, declared, seed_files, cluster_id, log_levels, warnings })
    }

    /// Takes the content of seed files, each with its name.
    ///
    /// # Errors
    /// The first line that cannot be understood or used.
    pub fn add_seeds(&mut self, files: &[(String, String)]) -> Result<(), ConfigError> {
        for (file, text) in files {
            self.declared.add_seed_file(file, text, &self.config)?;
        }
        self.declared.check(&self.config)
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

#[cfg(test)]
#[path = "start_options_tests.rs"]
mod tests;
