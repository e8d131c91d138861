//! Dynamic configurations (`ConfigurationControlManager`, and the broker's part of it, `ConfigAdminManager`).

use std::collections::{BTreeMap, HashMap, HashSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as LegacyResult;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::super::api_error::{ApiError, code_of};
use super::super::image::{ConfigResource, ConfigResourceType};
use super::super::records::{self, MetadataRecord};
use super::super::topic_name::validate_topic_name;
use super::configuration_schema::{default_value, is_known, is_list, validate_broker, validate_topic};
use super::control::{ControlContext, ControlResult};

/// What is done to one configuration (`AlterConfigOp.OpType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    fn from_id(id: i8) -> Option<Self> {
        match id {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        }
    }
}

/// One configuration of a request.
struct Change<'a> {
    name: &'a str,
    value: Option<&'a str>,
    operation: i8,
}

/// One resource of a request.
struct Resource<'a> {
    kind: i8,
    name: &'a str,
    changes: Vec<Change<'a>>,
}

type Outcome = Result<Vec<MetadataRecord>, ApiError>;

/// IncrementalAlterConfigs: sets, deletes, appends and subtracts single configurations.
pub fn incremental_alter_configs(
    context: &ControlContext<'_>,
    request: &IncrementalAlterConfigsRequest,
) -> ControlResult<IncrementalAlterConfigsResponse> {
    let resources: Vec<Resource<'_>> = request
        .resources
        .iter()
        .map(|resource| Resource {
            kind: resource.resource_type,
            name: &resource.resource_name,
            changes: resource.configs.iter().map(incremental_change).collect(),
        })
        .collect();
    let (outcomes, records) = alter(&resources, |resource| incremental(context, resource));
    let responses = resources.iter().zip(outcomes).map(|(resource, error)| {
        AlterConfigsResourceResponse::default()
            .with_error_code(code_of(error.as_ref()))
            .with_error_message(error.as_ref().and_then(ApiError::message_bytes))
            .with_resource_type(resource.kind)
            .with_resource_name(StrBytes::from_string(resource.name.to_owned()))
    });
    let response = IncrementalAlterConfigsResponse::default().with_responses(responses.collect());
    ControlResult { response, records }.without_records_if(request.validate_only)
}

fn incremental_change(
    config: &kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig,
) -> Change<'_> {
    Change { name: &config.name, value: config.value.as_deref(), operation: config.config_operation }
}

/// AlterConfigs: replaces all configurations of a resource.
pub fn alter_configs(
    context: &ControlContext<'_>,
    request: &AlterConfigsRequest,
) -> ControlResult<AlterConfigsResponse> {
    let resources: Vec<Resource<'_>> = request
        .resources
        .iter()
        .map(|resource| Resource {
            kind: resource.resource_type,
            name: &resource.resource_name,
            changes: resource
                .configs
                .iter()
                .map(|config| Change { name: &config.name, value: config.value.as_deref(), operation: 0 })
                .collect(),
        })
        .collect();
    let (outcomes, records) = alter(&resources, |resource| replace(context, resource));
    let responses = resources.iter().zip(outcomes).map(|(resource, error)| {
        LegacyResult::default()
            .with_error_code(code_of(error.as_ref()))
            .with_error_message(error.as_ref().and_then(ApiError::message_bytes))
            .with_resource_type(resource.kind)
            .with_resource_name(StrBytes::from_string(resource.name.to_owned()))
    });
    let response = AlterConfigsResponse::default().with_responses(responses.collect());
    ControlResult { response, records }.without_records_if(request.validate_only)
}

/// Runs `decide` for every resource that is well-formed and named once.
fn alter(
    resources: &[Resource<'_>],
    decide: impl Fn(&Resource<'_>) -> Outcome,
) -> (Vec<Option<ApiError>>, Vec<MetadataRecord>) {
    let mut records = Vec::new();
    let mut counts: HashMap<(i8, &str), usize> = HashMap::new();
    for resource in resources {
        *counts.entry((resource.kind, resource.name)).or_default() += 1;
    }
    let outcomes = resources
        .iter()
        .map(|resource| {
            if counts.get(&(resource.kind, resource.name)).is_some_and(|count| *count > 1) {
                return Some(invalid_request("Each resource must appear at most once."));
            }
            match decide(resource) {
                Ok(new) => {
                    records.extend(new);
                    None
                }
                Err(error) => Some(error),
            }
        })
        .collect();
    (outcomes, records)
}

fn invalid_request(message: impl Into<String>) -> ApiError {
    ApiError::new(ResponseError::InvalidRequest, message)
}

/// Checks what needs no state (`ConfigAdminManager.preprocess`).
fn preprocess(context: &ControlContext<'_>, resource: &Resource<'_>) -> Result<ConfigResource, ApiError> {
    let mut seen = HashSet::new();
    if !resource.changes.iter().all(|change| seen.insert(change.name)) {
        return Err(invalid_request("Error due to duplicate config keys"));
    }
    let is_null = |change: &&Change<'_>| {
        Operation::from_id(change.operation) != Some(Operation::Delete) && change.value.is_none()
    };
    let nulls: Vec<&str> = resource.changes.iter().filter(is_null).map(|change| change.name).collect();
    if !nulls.is_empty() {
        return Err(invalid_request(format!("Null value not supported for : {}", nulls.join(", "))));
    }
    let unknown = || invalid_request(format!("Unknown resource type {}", resource.kind));
    let kind = ConfigResourceType::from_id(resource.kind).ok_or_else(unknown)?;
    match kind {
        ConfigResourceType::Broker if !resource.name.is_empty() => {
            check_own_node_id(context.node_id, resource.name)?;
        }
        ConfigResourceType::Broker | ConfigResourceType::Topic => {}
        // The broker that takes the request changes its loggers itself; AlterConfigs knows of none.
        ConfigResourceType::BrokerLogger => return Err(unknown()),
        // Configurations of groups belong to KIP-848, those of client metrics to KIP-714.
        ConfigResourceType::ClientMetrics | ConfigResourceType::Group => {
            return Err(invalid_request(format!("Configurations of {} are not supported", kind.name())));
        }
    }
    Ok(ConfigResource { kind, name: resource.name.into() })
}

/// A broker takes changes of itself only (`validateResourceNameIsCurrentNodeId`).
pub fn check_own_node_id(node_id: i32, name: &str) -> Result<(), ApiError> {
    let Ok(id) = name.parse::<i32>() else {
        return Err(invalid_request(format!("Node id must be an integer, but it is: {name}")));
    };
    if id != node_id {
        return Err(invalid_request(format!("Unexpected broker id, expected {node_id}, but received {name}")));
    }
    Ok(())
}

fn incremental(context: &ControlContext<'_>, request: &Resource<'_>) -> Outcome {
    let resource = preprocess(context, request)?;
    let current = context.image.configs.resource(resource.kind, &resource.name);
    let mut after = BTreeMap::clone(&current);
    let mut altered = BTreeMap::new();
    for change in &request.changes {
        let Some(operation) = Operation::from_id(change.operation) else {
            return Err(invalid_request(format!("Unknown operations type {}", change.operation)));
        };
        let value = changed_value(&resource, current.get(change.name), change, operation)?;
        // A broker reloads a file that a value names even when the value stays (KAFKA-14136).
        if value.as_ref() != current.get(change.name) || resource.kind == ConfigResourceType::Broker {
            altered.insert(change.name.to_owned(), value.clone());
        }
        match value {
            Some(value) => after.insert(change.name.to_owned(), value),
            None => after.remove(change.name),
        };
    }
    finish(context, &resource, &after, altered)
}

fn changed_value(
    resource: &ConfigResource,
    current: Option<&String>,
    change: &Change<'_>,
    operation: Operation,
) -> Result<Option<String>, ApiError> {
    let given = change.value.unwrap_or_default();
    match operation {
        Operation::Set => return Ok(Some(given.to_owned())),
        Operation::Delete => return Ok(None),
        Operation::Append | Operation::Subtract => {}
    }
    if resource.kind == ConfigResourceType::Broker {
        // The broker that takes the request looks first, in its own words (`prepareIncrementalConfigs`).
        if !is_known(resource.kind, change.name) {
            let message = format!("Unknown config name: {}", change.name);
            return Err(ApiError::new(ResponseError::InvalidConfig, message));
        }
        if !is_list(resource.kind, change.name) {
            let operation = if operation == Operation::Append { "append" } else { "subtract" };
            let message = format!("Config value {operation} is not allowed for config key: {}", change.name);
            return Err(ApiError::new(ResponseError::InvalidConfig, message));
        }
    }
    if !is_list(resource.kind, change.name) {
        let message = format!("Can't {} to key {} because its type is not LIST.", operation.name(), change.name);
        return Err(ApiError::new(ResponseError::InvalidConfig, message));
    }
    let before = current.cloned().or_else(|| default_value(resource.kind, change.name));
    let before = before.unwrap_or_default();
    let mut parts: Vec<&str> = before.split(',').filter(|part| !part.is_empty()).collect();
    for part in given.split(',') {
        let position = parts.iter().position(|present| *present == part);
        match (operation, position) {
            (Operation::Append, None) => parts.push(part),
            (Operation::Subtract, Some(position)) => {
                parts.remove(position);
            }
            _ => {}
        }
    }
    Ok(Some(parts.join(",")))
}

fn replace(context: &ControlContext<'_>, request: &Resource<'_>) -> Outcome {
    let resource = preprocess(context, request)?;
    let current = context.image.configs.resource(resource.kind, &resource.name);
    let after: BTreeMap<String, String> = request
        .changes
        .iter()
        .map(|change| (change.name.to_owned(), change.value.unwrap_or_default().to_owned()))
        .collect();
    let mut altered = BTreeMap::new();
    for (name, value) in &after {
        if current.get(name) != Some(value) || resource.kind == ConfigResourceType::Broker {
            altered.insert(name.clone(), Some(value.clone()));
        }
    }
    for name in current.keys().filter(|name| !after.contains_key(*name)) {
        altered.insert(name.clone(), None);
    }
    finish(context, &resource, &after, altered)
}

/// Validates the whole configuration that the resource would have, and makes the records.
fn finish(
    context: &ControlContext<'_>,
    resource: &ConfigResource,
    after: &BTreeMap<String, String>,
    altered: BTreeMap<String, Option<String>>,
) -> Outcome {
    if altered.values().flatten().any(|value| value.len() > i16::MAX as usize) {
        let message = format!(
            "The configuration value cannot be added because it exceeds the maximum value size of {} bytes.",
            i16::MAX
        );
        return Err(ApiError::new(ResponseError::InvalidConfig, message));
    }
    check_name(resource)?;
    match resource.kind {
        ConfigResourceType::Topic => validate_topic(context.config, after)?,
        ConfigResourceType::Broker => validate_broker(context.config, &resource.name, after)?,
        _ => {}
    }
    check_existence(context, resource)?;
    Ok(altered.iter().map(|(name, value)| records::config(resource, name, value.as_deref())).collect())
}

fn check_name(resource: &ConfigResource) -> Result<(), ApiError> {
    match resource.kind {
        ConfigResourceType::Topic if resource.name.is_empty() => {
            Err(invalid_request("Default topic resources are not allowed."))
        }
        ConfigResourceType::Topic => validate_topic_name(&resource.name)
            .map_err(|message| ApiError::new(ResponseError::InvalidTopicException, message)),
        ConfigResourceType::Group if resource.name.is_empty() => {
            Err(invalid_request("Default group resources are not allowed."))
        }
        _ => Ok(()),
    }
}

/// `ConfigResourceExistenceChecker`.
fn check_existence(context: &ControlContext<'_>, resource: &ConfigResource) -> Result<(), ApiError> {
    if resource.kind == ConfigResourceType::Topic && context.image.topics.topic(&resource.name).is_none() {
        let message = format!("The topic '{}' does not exist.", resource.name);
        return Err(ApiError::new(ResponseError::UnknownTopicOrPartition, message));
    }
    Ok(())
}
