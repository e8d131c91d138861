//! The loggers of this broker as a resource whose configurations are their levels (KIP-412; `RuntimeLoggerManager`,
//! `LoggingController`). They are the process's and are not kept: a start begins with what it is told.

use std::collections::HashSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};

use crate::metadata::{ApiError, ConfigResourceType};
use crate::telemetry::{LOG_LEVELS, LogLevels, ROOT_LOGGER};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Whether a resource is the loggers of a broker.
pub(super) fn is_loggers(resource_type: i8) -> bool {
    ConfigResourceType::from_id(resource_type) == Some(ConfigResourceType::BrokerLogger)
}

/// Checks all changes of one resource, then makes them.
pub(super) fn alter(
    levels: &LogLevels,
    node_id: i32,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), ApiError> {
    let mut seen = HashSet::new();
    if !resource.configs.iter().all(|change| seen.insert(change.name.as_str())) {
        return Err(invalid_request("Error due to duplicate config keys"));
    }
    let is_null = |change: &&AlterableConfig| change.config_operation != DELETE && change.value.is_none();
    let nulls: Vec<&str> = resource.configs.iter().filter(is_null).map(|change| change.name.as_str()).collect();
    if !nulls.is_empty() {
        return Err(invalid_request(format!("Null value not supported for : {}", nulls.join(", "))));
    }
    let name = resource.resource_name.as_str();
    match name.parse::<i32>() {
        Err(_) => return Err(invalid_request(format!("Node id must be an integer, but it is: {name}"))),
        Ok(id) if id != node_id => {
            return Err(invalid_request(format!("Unexpected node id. Expected {node_id}, but received {id}")));
        }
        Ok(_) => {}
    }
    resource.configs.iter().try_for_each(|change| check(levels, change))?;
    if !validate_only {
        resource.configs.iter().for_each(|change| apply(levels, change));
    }
    Ok(())
}

fn check(levels: &LogLevels, change: &AlterableConfig) -> Result<(), ApiError> {
    let logger = change.name.as_str();
    let exists = || match levels.exists(logger) {
        true => Ok(()),
        false => Err(invalid_config(format!("Logger {logger} does not exist!"))),
    };
    match change.config_operation {
        SET => {
            exists()?;
            let level = change.value.as_deref().unwrap_or_default();
            if LOG_LEVELS.contains(&level) {
                return Ok(());
            }
            Err(invalid_config(format!(
                "Cannot set the log level of {logger} to {level} as it is not a supported log level. Valid log levels are {}",
                LOG_LEVELS.join(", ")
            )))
        }
        DELETE => {
            exists()?;
            match logger {
                ROOT_LOGGER => {
                    Err(invalid_request(format!("Removing the log level of the {ROOT_LOGGER} logger is not allowed")))
                }
                _ => Ok(()),
            }
        }
        APPEND => Err(invalid_request("APPEND operation is not allowed for the BROKER_LOGGER resource")),
        SUBTRACT => Err(invalid_request("SUBTRACT operation is not allowed for the BROKER_LOGGER resource")),
        other => Err(invalid_request(format!(
            "Unknown operation type {other} is not allowed for the BROKER_LOGGER resource"
        ))),
    }
}

fn apply(levels: &LogLevels, change: &AlterableConfig) {
    let logger = change.name.as_str();
    match (change.config_operation, change.value.as_deref()) {
        (SET, Some(level)) => {
            levels.configure(logger, level);
            tracing::warn!("Updated the log level of {logger} to {level}");
        }
        _ => {
            levels.unset(logger);
            tracing::warn!("Unset the log level of {logger}");
        }
    }
}

fn invalid_request(message: impl Into<String>) -> ApiError {
    ApiError::new(ResponseError::InvalidRequest, message)
}

fn invalid_config(message: String) -> ApiError {
    ApiError::new(ResponseError::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn resource(name: &'static str, changes: &[(&'static str, i8, Option<&'static str>)]) -> AlterConfigsResource {
        let change = |(logger, operation, value): &(&'static str, i8, Option<&'static str>)| {
            AlterableConfig::default()
                .with_name(StrBytes::from_static_str(logger))
                .with_config_operation(*operation)
                .with_value(value.map(StrBytes::from_static_str))
        };
        AlterConfigsResource::default()
            .with_resource_type(8)
            .with_resource_name(StrBytes::from_static_str(name))
            .with_configs(changes.iter().map(change).collect())
    }

    #[test]
    fn levels_change_and_go_back() {
        const APIS: &str = "kafka.server.KafkaApis";
        let levels = LogLevels::default();
        let level = || levels.loggers().get(APIS).copied();
        assert!(alter(&levels, 1, &resource("1", &[(APIS, SET, Some("DEBUG"))]), true).is_ok());
        assert_eq!(level(), Some("INFO"));
        assert!(alter(&levels, 1, &resource("1", &[(APIS, SET, Some("DEBUG"))]), false).is_ok());
        assert_eq!(level(), Some("DEBUG"));
        assert!(alter(&levels, 1, &resource("1", &[(ROOT_LOGGER, SET, Some("WARN"))]), false).is_ok());
        assert!(alter(&levels, 1, &resource("1", &[(APIS, DELETE, None)]), false).is_ok());
        assert_eq!(level(), Some("WARN"));
    }

    #[test]
    fn mistakes_are_refused_in_kafkas_words() {
        let levels = LogLevels::default();
        let refused = |name, changes: &[(&'static str, i8, Option<&'static str>)]| {
            alter(&levels, 1, &resource(name, changes), false).expect_err("refused").message.unwrap_or_default()
        };
        assert_eq!(refused("x", &[]), "Node id must be an integer, but it is: x");
        assert_eq!(refused("2", &[]), "Unexpected node id. Expected 1, but received 2");
        assert_eq!(refused("1", &[("nobody", SET, Some("INFO"))]), "Logger nobody does not exist!");
        assert_eq!(refused("1", &[("nobody", DELETE, None)]), "Logger nobody does not exist!");
        assert!(refused("1", &[("root", SET, Some("LOUD"))]).ends_with("DEBUG, ERROR, FATAL, INFO, TRACE, WARN"));
        assert_eq!(refused("1", &[("root", DELETE, None)]), "Removing the log level of the root logger is not allowed");
        assert!(refused("1", &[("root", APPEND, Some("x"))]).starts_with("APPEND operation"));
        assert_eq!(refused("1", &[("root", SET, None)]), "Null value not supported for : root");
        let twice = [("root", SET, Some("INFO")), ("root", SET, Some("WARN"))];
        assert_eq!(refused("1", &twice), "Error due to duplicate config keys");
        // One mistake, and nothing is changed.
        let half = [("kafka", SET, Some("WARN")), ("nobody", SET, Some("WARN"))];
        refused("1", &half);
        assert_eq!(levels.loggers().get("kafka"), Some(&"INFO"));
    }
}
