//! The environment: variables as the official image, Confluent's, Bitnami's and wurstmeister's map them, and Ottla's own.
//!
//! Contract: one variable changes one thing and leaves every other default alone. From the weakest to the strongest:
//! `KAFKA_ADVERTISED_HOST_NAME` and `KAFKA_ADVERTISED_PORT`, `KAFKA_…`, `KAFKA_CFG_…`, `OTTLA_…`. What belongs to scripts of images
//! and to orchestrators is left alone.

use std::collections::BTreeMap;

use super::declared::DeclaredTopic;
use super::known::{broker_key, is_known_to_kafka};
use super::{ConfigError, nearest};

/// A configuration that a variable gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VariableProperty {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) variable: String,
}

/// What the environment says, apart from topics.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EnvironmentSettings {
    /// The later the stronger.
    pub(super) properties: Vec<VariableProperty>,
    /// `CLUSTER_ID`, or Bitnami's `KAFKA_KRAFT_CLUSTER_ID`.
    pub(super) cluster_id: Option<String>,
    /// Loggers and their levels; `root` is every other.
    pub(super) log_levels: Vec<(String, String)>,
    /// What has no effect.
    pub(super) warnings: Vec<String>,
}

/// A variable whose value stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileVariable {
    /// The variable that names the file.
    pub variable: String,
    /// The variable that the file's content is for.
    pub stands_for: String,
    /// The file.
    pub path: String,
}

/// Where the official images look for what the `KAFKA_SSL_…` variables name.
const SECRETS: &str = "/etc/kafka/secrets";

/// Variables of the images' scripts and of orchestrators that are no configuration of the broker.
const IGNORED: &[&str] = &[
    "KAFKA_BASE_DIR",
    "KAFKA_BROKER_ID_COMMAND",
    "KAFKA_CERTIFICATE_PASSWORD",
    "KAFKA_CERTS_DIR",
    "KAFKA_CLIENT_LISTENER_NAME",
    "KAFKA_CLUSTER_ID",
    "KAFKA_CONF_DIR",
    "KAFKA_CONF_FILE",
    "KAFKA_CREATE_TOPICS",
    "KAFKA_CREATE_TOPICS_SEPARATOR",
    "KAFKA_DAEMON_GROUP",
    "KAFKA_DAEMON_USER",
    "KAFKA_DATA_DIR",
    "KAFKA_ENABLE_KRAFT",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_HOME",
    "KAFKA_INITIAL_CONTROLLERS",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_KRAFT_CLUSTER_ID",
    "KAFKA_MOUNTED_CONF_DIR",
    "KAFKA_OPTS",
    "KAFKA_RACK_COMMAND",
    "KAFKA_SKIP_KRAFT_STORAGE_INIT",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_VERSION",
    "KAFKA_VOLUME_DIR",
];
/// Beginnings of such variables.
const IGNORED_PREFIXES: [&str; 5] = ["KAFKA_LOG4J", "KAFKA_PORT", "KAFKA_REST_", "KAFKA_SERVICE_", "KAFKA_TLS_"];
/// Bitnami's variables for SASL, which Ottla does not have.
const SASL_VARIABLES: [&str; 6] = [
    "KAFKA_CLIENT_USERS",
    "KAFKA_CLIENT_PASSWORDS",
    "KAFKA_CLIENT_SASL_MECHANISMS",
    "KAFKA_CONTROLLER_PASSWORD",
    "KAFKA_INTER_BROKER_PASSWORD",
    "KAFKA_INTER_BROKER_USER",
];

/// The configuration that a variable stands for: without its beginning, in lower case, `___` for `-`, `__` for `_`, `_` for `.`.
pub fn property_of_variable(variable: &str) -> Option<String> {
    let is_ignored = |prefix: &&str| variable.starts_with(*prefix);
    if IGNORED.contains(&variable) || SASL_VARIABLES.contains(&variable) || IGNORED_PREFIXES.iter().any(is_ignored) {
        return None;
    }
    if let Some(name) = variable.strip_prefix("OTTLA_") {
        let key = format!("ottla.{}", dotted(name));
        return broker_key(&key).map(|_| key);
    }
    let name = variable.strip_prefix("KAFKA_CFG_").or_else(|| variable.strip_prefix("KAFKA_"))?;
    (!name.is_empty()).then(|| dotted(name))
}

fn dotted(name: &str) -> String {
    name.to_lowercase().replace("___", "-").replace("__", "\u{0}").replace('_', ".").replace('\u{0}', "_")
}

/// The variables whose values stand in files: `…_FILE` for a variable that is one, and the credentials of `KAFKA_SSL_…`.
pub fn variables_in_files(environment: &[(String, String)]) -> Vec<FileVariable> {
    let mut found = Vec::new();
    for (variable, path) in environment.iter().filter(|(_, path)| !path.is_empty()) {
        let credentials = match variable.as_str() {
            "KAFKA_SSL_KEY_CREDENTIALS" => Some("KAFKA_SSL_KEY_PASSWORD"),
            "KAFKA_SSL_KEYSTORE_CREDENTIALS" => Some("KAFKA_SSL_KEYSTORE_PASSWORD"),
            "KAFKA_SSL_TRUSTSTORE_CREDENTIALS" => Some("KAFKA_SSL_TRUSTSTORE_PASSWORD"),
            _ => None,
        };
        let file = |stands_for: &str, path: String| FileVariable {
            variable: variable.clone(),
            stands_for: stands_for.to_owned(),
            path,
        };
        if let Some(stands_for) = credentials {
            found.push(file(stands_for, format!("{SECRETS}/{path}")));
            continue;
        }
        let Some(stands_for) = variable.strip_suffix("_FILE") else { continue };
        let is_key = |variable: &str| property_of_variable(variable).is_some_and(|key| is_known(&key));
        let is_setting = ["CLUSTER_ID", "KAFKA_KRAFT_CLUSTER_ID", "KAFKA_CREATE_TOPICS"].contains(&stands_for);
        // Some configurations end in `.file` themselves.
        if !is_key(variable) && (is_setting || is_key(stands_for)) {
            found.push(file(stands_for, path.clone()));
        }
    }
    found
}

fn is_known(key: &str) -> bool {
    broker_key(key).is_some() || is_known_to_kafka(key)
}

/// Reads the environment.
pub(super) fn read_environment(environment: &[(String, String)]) -> EnvironmentSettings {
    let value = |name: &str| {
        let found = environment.iter().rev().find(|(variable, _)| variable == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    let mut settings = EnvironmentSettings {
        cluster_id: value("CLUSTER_ID").or_else(|| value("KAFKA_KRAFT_CLUSTER_ID")).map(str::to_owned),
        ..EnvironmentSettings::default()
    };
    settings.properties.extend(advertised_host(value));
    for prefix in ["KAFKA_", "KAFKA_CFG_", "OTTLA_"] {
        for (variable, value) in environment.iter().filter(|(variable, value)| !is_of_orchestrator(variable, value)) {
            let is_of_this = match prefix {
                "KAFKA_" => variable.starts_with(prefix) && !variable.starts_with("KAFKA_CFG_"),
                _ => variable.starts_with(prefix),
            };
            if is_of_this {
                settings.read(variable, value);
            }
        }
    }
    if let Some(level) = value("KAFKA_LOG4J_ROOT_LOGLEVEL") {
        settings.add_level("KAFKA_LOG4J_ROOT_LOGLEVEL", "root", level);
    }
    for entry in value("KAFKA_LOG4J_LOGGERS").into_iter().flat_map(|text| text.split(',')) {
        // What has no level is an appender of log4j.
        if let Some((logger, level)) = entry.split_once('=') {
            settings.add_level("KAFKA_LOG4J_LOGGERS", logger.trim(), level.trim());
        }
    }
    let sasl: Vec<&str> = SASL_VARIABLES.into_iter().filter(|name| value(name).is_some()).collect();
    if !sasl.is_empty() {
        settings
            .warnings
            .push(format!("SASL is not implemented yet, these variables have no effect: {}", sasl.join(", ")));
    }
    settings
}

impl EnvironmentSettings {
    fn read(&mut self, variable: &str, value: &str) {
        let mut add = |key: &str, value: String| {
            self.properties.push(VariableProperty { key: key.to_owned(), value, variable: variable.to_owned() });
        };
        match variable {
            "KAFKA_SSL_KEYSTORE_FILENAME" => return add("ssl.keystore.location", format!("{SECRETS}/{value}")),
            "KAFKA_SSL_TRUSTSTORE_FILENAME" => return add("ssl.truststore.location", format!("{SECRETS}/{value}")),
            "KAFKA_SSL_KEY_CREDENTIALS"
            | "KAFKA_SSL_KEYSTORE_CREDENTIALS"
            | "KAFKA_SSL_TRUSTSTORE_CREDENTIALS"
            | "KAFKA_ADVERTISED_HOST_NAME"
            | "KAFKA_ADVERTISED_PORT" => return,
            _ => {}
        }
        let stands_for = variable.strip_suffix("_FILE").and_then(property_of_variable);
        match property_of_variable(variable) {
            // Its file has been read, or there is nothing to read.
            Some(key) if !is_known(&key) && stands_for.is_some_and(|key| is_known(&key)) => {}
            Some(key) => add(&key, value.to_owned()),
            None => self.warn_of_mistake(variable),
        }
    }

    /// A variable that begins like Ottla's and is not: told when another was probably meant.
    fn warn_of_mistake(&mut self, variable: &str) {
        let Some(name) = variable.strip_prefix("OTTLA_") else { return };
        if let Some(hint) = nearest::hint(&format!("ottla.{}", dotted(name))) {
            self.warnings.push(format!("environment variable {variable} is ignored; {hint}"));
        }
    }

    fn add_level(&mut self, variable: &str, logger: &str, level: &str) {
        const LEVELS: [&str; 8] = ["ALL", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "OFF"];
        let level = level.to_ascii_uppercase();
        if LEVELS.contains(&level.as_str()) {
            self.log_levels.push((logger.to_owned(), level));
        } else {
            let levels = LEVELS.join(", ");
            self.warnings.push(format!(
                "environment variable {variable}: {level} is no level and is ignored for {logger}; levels are {levels}"
            ));
        }
    }
}

/// Set by Docker's links and by Kubernetes for services whose name begins with kafka.
fn is_of_orchestrator(variable: &str, value: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let has_port = || {
        let mut parts = variable.split("_PORT_").skip(1);
        parts.any(|part| {
            part.split_once('_').is_some_and(|(port, rest)| is_number(port) && rest.starts_with(['T', 'U']))
        })
    };
    variable.ends_with("_SERVICE_HOST")
        || variable.contains("_SERVICE_PORT")
        || variable.starts_with("KAFKA_ENV_")
        || value.starts_with("tcp://")
        || has_port()
}

/// What was given before `advertised.listeners`.
fn advertised_host<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Option<VariableProperty> {
    let variable = "KAFKA_ADVERTISED_HOST_NAME".to_owned();
    let host = value(&variable)?;
    let port = value("KAFKA_ADVERTISED_PORT").unwrap_or("9092");
    let value = format!("PLAINTEXT://{host}:{port}");
    Some(VariableProperty { key: "advertised.listeners".to_owned(), value, variable })
}

/// `KAFKA_CREATE_TOPICS`: `name:partitions:replicas[:cleanup.policy]`, between commas, lines or what
/// `KAFKA_CREATE_TOPICS_SEPARATOR` says.
///
/// # Errors
/// An entry that is not of this form.
pub(super) fn topics_of_environment(environment: &[(String, String)]) -> Result<Vec<DeclaredTopic>, ConfigError> {
    let value = |name: &str| environment.iter().rev().find(|(variable, _)| variable == name).map(|(_, value)| value);
    let Some(text) = value("KAFKA_CREATE_TOPICS") else { return Ok(Vec::new()) };
    let separator = value("KAFKA_CREATE_TOPICS_SEPARATOR").map(String::as_str).unwrap_or(",");
    // As compose files write a line break for the shell.
    let separator = match separator.trim_matches('$') {
        "" | "\\n" | "'\\n'" => "\n",
        separator => separator,
    };
    let entries = text.split(separator).flat_map(|part| part.split('\n')).map(|entry| entry.trim().trim_matches('"'));
    entries.filter(|entry| !entry.is_empty()).map(created_topic).collect()
}

fn created_topic(entry: &str) -> Result<DeclaredTopic, ConfigError> {
    let refuse = |reason: &str| {
        let form = "expected name:partitions:replicas[:cleanup.policy], such as orders:3:1:compact";
        ConfigError::Invalid(format!("environment variable KAFKA_CREATE_TOPICS: {entry}: {reason}; {form}"))
    };
    let mut parts = entry.splitn(4, ':').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let partitions = match parts.next() {
        None | Some("") => None,
        Some(count) => match count.parse::<i32>() {
            Ok(count) if count > 0 => Some(count),
            _ => return Err(refuse("there must be one partition or more")),
        },
    };
    // One broker keeps one copy, whatever was asked for.
    if !parts.next().is_none_or(|count| count.is_empty() || count.parse::<i16>().is_ok_and(|count| count > 0)) {
        return Err(refuse("there must be one replica or more"));
    }
    let mut configs = BTreeMap::new();
    if let Some(policy) = parts.next().filter(|policy| !policy.is_empty()) {
        configs.insert("cleanup.policy".to_owned(), policy.to_owned());
    }
    let place = format!("environment variable KAFKA_CREATE_TOPICS: {entry}");
    Ok(DeclaredTopic { configs, ..DeclaredTopic::new(name, partitions, place)? })
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
