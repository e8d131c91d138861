//! Whether dynamic values of brokers may be set (`DynamicBrokerConfig.validateConfigs`). Those of topics are checked by
//! `LogConfig::from_overrides`.

use std::collections::BTreeMap;

use super::broker_config::check_times;
use super::definition::UpdateMode;
use super::known::kafka_configs;
use super::state::Layers;
use super::{BrokerConfig, ConfigError, table};

/// Checks all dynamic values that a broker, or the whole cluster, would have.
///
/// A name that Kafka does not know is taken, as Kafka does; so is a name that Kafka could change and Ottla does not
/// implement: it is kept and has no effect.
///
/// # Errors
/// [`ConfigError::InvalidRequest`] in Kafka's words.
pub fn check_broker_overrides(
    config: &BrokerConfig,
    is_cluster_default: bool,
    overrides: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    refuse_names("Cannot update these configs dynamically", overrides, UpdateMode::ReadOnly)?;
    for (name, text) in overrides {
        if let Some(definition) = table::broker_config(name) {
            definition.parse(text).map_err(request_error)?;
        }
    }
    if is_cluster_default {
        let message = "Cannot update these configs at default cluster level, broker id must be specified";
        refuse_names(message, overrides, UpdateMode::PerBroker)?;
    }
    let state = config.state();
    let mut layers = Layers { fixed: state.layers.fixed.clone(), ..Layers::default() };
    layers.broker.clone_from(overrides);
    check_times(&layers).map_err(|error| ConfigError::InvalidRequest(format!("requirement failed: {error}")))
}

fn request_error(error: ConfigError) -> ConfigError {
    ConfigError::InvalidRequest(error.to_string())
}

fn refuse_names(message: &str, overrides: &BTreeMap<String, String>, mode: UpdateMode) -> Result<(), ConfigError> {
    let names: Vec<&str> =
        overrides.keys().map(String::as_str).filter(|name| update_mode(name) == Some(mode.name())).collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(ConfigError::InvalidRequest(format!("{message}: [{}]", names.join(", ")))),
    }
}

fn update_mode(name: &str) -> Option<&'static str> {
    if let Some(definition) = table::broker_config(name) {
        return Some(definition.update_mode.name());
    }
    kafka_configs().find(|key| key.scope == "broker" && key.name == name).map(|key| key.update_mode)
}

/// Whether a running broker can use a dynamic value.
pub(super) fn check_dynamic(name: &str, text: &str) -> Result<(), ConfigError> {
    let Some(definition) = table::broker_config(name) else {
        return Err(ConfigError::Invalid("Ottla does not implement it; it is kept and has no effect".to_owned()));
    };
    if definition.update_mode == UpdateMode::ReadOnly {
        return Err(ConfigError::Invalid("it cannot change while the broker runs; it is ignored".to_owned()));
    }
    definition.parse(text).map(drop)
}
