//! Whether dynamic values of brokers may be set (`DynamicBrokerConfig.validateConfigs`). Those of topics are checked by
//! `LogConfig::from_overrides`.

use std::collections::BTreeMap;

use super::broker_config::{check_times, parse_connection_overrides};
use super::definition::{ConfigValue, UpdateMode};
use super::known::{broker_definition, broker_key, prefixed_definition, without_listener};
use super::state::Layers;
use super::support::Support;
use super::{BrokerConfig, ConfigError};

/// Checks all dynamic values that a broker, or the whole cluster, would have.
///
/// A name that Kafka does not know is taken, as Kafka does; so is a name that Kafka could change and Ottla does not
/// implement: it is kept, shown and has no effect.
///
/// # Errors
/// [`ConfigError::InvalidRequest`] in Kafka's words.
pub fn check_broker_overrides(
    config: &BrokerConfig,
    is_cluster_default: bool,
    overrides: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    refuse_names("Cannot update these configs dynamically", overrides, |name| {
        update_mode(name) == Some(UpdateMode::ReadOnly)
    })?;
    let message = "These security configs can be dynamically updated only per-listener using the listener prefix";
    refuse_names(message, overrides, |name| SECURITY.contains(&name))?;
    for (name, text) in overrides {
        if let Some(definition) = prefixed_definition(name) {
            definition.parse(text).map_err(request_error)?;
        }
    }
    if is_cluster_default {
        let message = "Cannot update these configs at default cluster level, broker id must be specified";
        refuse_names(message, overrides, is_per_broker)?;
    }
    let state = config.state();
    check_threads(&state.layers, overrides)?;
    if let Some(text) = overrides.get("max.connections.per.ip.overrides") {
        parse_connection_overrides(text).map_err(request_error)?;
    }
    let mut layers = Layers { fixed: state.layers.fixed.clone(), ..Layers::default() };
    layers.broker.clone_from(overrides);
    check_times(&layers).map_err(|error| ConfigError::InvalidRequest(format!("requirement failed: {error}")))
}

/// `SslConfigs.RECONFIGURABLE_CONFIGS`.
const SECURITY: &[&str] = &[
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// `DynamicThreadPool.validateReconfiguration`: a number of threads at most halves or doubles at a time.
fn check_threads(now: &Layers, overrides: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for name in ["background.threads", "num.io.threads", "num.replica.fetchers"] {
        let number = |value: ConfigValue| match value {
            ConfigValue::Integer(number) => number,
            _ => 0,
        };
        let given = overrides.get(name).and_then(|text| broker_definition(name)?.parse(text).ok());
        let (Some(new), old) = (given.map(number), number(now.value(name))) else { continue };
        let reason = match new {
            _ if new == old => continue,
            _ if new <= 0 => "value should be at least 1".to_owned(),
            _ if new < old / 2 => format!("value should be at least half the current value {old}"),
            _ if new > old * 2 => format!("value should not be greater than double the current value {old}"),
            _ => continue,
        };
        // Kafka puts its exception into another one.
        let error = format!(
            "Invalid value org.apache.kafka.common.config.ConfigException: Dynamic thread count update validation failed for \
             {name}={new}, {reason} for configuration Invalid dynamic configuration"
        );
        return Err(ConfigError::InvalidRequest(error));
    }
    Ok(())
}

fn request_error(error: ConfigError) -> ConfigError {
    ConfigError::InvalidRequest(error.to_string())
}

fn refuse_names(
    message: &str,
    overrides: &BTreeMap<String, String>,
    is_refused: impl Fn(&str) -> bool,
) -> Result<(), ConfigError> {
    let names: Vec<&str> = overrides.keys().map(String::as_str).filter(|name| is_refused(name)).collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(ConfigError::InvalidRequest(format!("{message}: [{}]", names.join(", ")))),
    }
}

fn update_mode(name: &str) -> Option<UpdateMode> {
    broker_definition(name).map(|definition| definition.update_mode)
}

/// Listeners are a broker's own, but for limits that all brokers may share (`DynamicBrokerConfig.perBrokerConfigs`).
fn is_per_broker(name: &str) -> bool {
    const SHARED: [&str; 3] = ["max.connections", "max.connection.creation.rate", "num.network.threads"];
    let is_of_listener = name.starts_with("listener.name.") && !without_listener(name).any(|key| SHARED.contains(&key));
    is_of_listener || update_mode(name) == Some(UpdateMode::PerBroker)
}

/// What becomes of a dynamic value in a running broker.
pub(super) enum DynamicValue {
    /// It is in force.
    InForce,
    /// It has no effect and is shown; why.
    Kept(String),
    /// It is left out; why.
    Ignored(String),
}

/// What becomes of a dynamic value.
pub(super) fn dynamic_value(name: &str, text: &str) -> DynamicValue {
    let Some(key) = broker_key(name) else {
        return DynamicValue::Kept("Ottla does not know it; it is kept and has no effect".to_owned());
    };
    if key.definition.update_mode == UpdateMode::ReadOnly {
        return DynamicValue::Ignored("it cannot change while the broker runs; it is ignored".to_owned());
    }
    match (key.definition.parse(text), key.support) {
        (Err(error), _) => DynamicValue::Ignored(error.to_string()),
        (Ok(_), Support::NotYet(what)) => {
            DynamicValue::Kept(format!("not implemented yet ({what}); it is kept and has no effect"))
        }
        (Ok(_), Support::Implemented | Support::Accepted(_)) => DynamicValue::InForce,
    }
}
