//! What entities are configured with.

use kafka_protocol::messages::{ListConfigResourcesRequest, ListGroupsRequest};

use super::super::config_resources::{
    BROKER, BROKER_LOGGER, CLIENT_METRICS, ConfigEntry, DYNAMIC_BROKER_CONFIG, DYNAMIC_BROKER_LOGGER_CONFIG,
    DYNAMIC_CLIENT_METRICS_CONFIG, DYNAMIC_DEFAULT_BROKER_CONFIG, DYNAMIC_GROUP_CONFIG, DYNAMIC_TOPIC_CONFIG, GROUP,
    TOPIC, describe_configs, source_name,
};
use super::super::{CommandError, Console};
use super::command_line::Request;
use super::quotas;
use crate::client::{ClientError, ClusterClient, Destination};
use crate::metadata::validate_topic_name;

/// The number of a type of resource; `None` for quotas and credentials.
pub(super) fn resource_type(entity_type: &str) -> Option<i8> {
    match entity_type {
        "topics" => Some(TOPIC),
        "brokers" => Some(BROKER),
        "broker-loggers" => Some(BROKER_LOGGER),
        "client-metrics" => Some(CLIENT_METRICS),
        "groups" => Some(GROUP),
        _ => None,
    }
}

/// Who tells of a resource, and changes it: a broker tells of itself.
pub(super) fn destination(resource_type: i8, name: &str) -> Destination {
    match (resource_type, name.parse()) {
        (BROKER | BROKER_LOGGER, Ok(id)) => Destination::Node(id),
        _ => Destination::Any,
    }
}

pub(super) async fn describe(
    client: &mut ClusterClient,
    request: &Request,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let Some(resource_type) = resource_type(&request.types[0]) else {
        return quotas::describe(client, request, console).await;
    };
    let describes_all = request.options.has("all");
    let name = request.names.first();
    if let (false, Some(name)) = (describes_all, name)
        && !exists(client, resource_type, name).await?
    {
        let singular = request.singular();
        writeln!(console.out, "The {singular} '{name}' doesn't exist and doesn't have dynamic config.")?;
        return Ok(());
    }
    let entities = match name {
        Some(name) => vec![name.clone()],
        None => all_entities(client, resource_type).await?,
    };
    for entity in &entities {
        if resource_type == TOPIC && !entity.is_empty() {
            validate_topic_name(entity).map_err(CommandError::Message)?;
        }
        match entity.is_empty() {
            true => writeln!(console.out, "Default configs for {} in the cluster are:", request.types[0])?,
            false => {
                let which = if describes_all { "All" } else { "Dynamic" };
                writeln!(console.out, "{which} configs for {} {entity} are:", request.singular())?;
            }
        }
        let filter = (!describes_all).then(|| dynamic_source(resource_type, entity));
        for entry in entries(client, resource_type, entity, filter).await? {
            print_entry(&entry, console)?;
        }
    }
    Ok(())
}

/// The configurations of one entity, of one source or of all, sorted by name.
pub(super) async fn entries(
    client: &mut ClusterClient,
    resource_type: i8,
    name: &str,
    source: Option<i8>,
) -> Result<Vec<ConfigEntry>, CommandError> {
    let to = destination(resource_type, name);
    let described = describe_configs(client, &to, resource_type, &[name], true).await?;
    let Some(resource) = described.into_iter().next() else { return Ok(Vec::new()) };
    let mut entries = resource.entries?;
    entries.retain(|entry| source.is_none_or(|source| entry.source == source));
    entries.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(entries)
}

pub(super) fn dynamic_source(resource_type: i8, name: &str) -> i8 {
    match resource_type {
        TOPIC => DYNAMIC_TOPIC_CONFIG,
        BROKER if name.is_empty() => DYNAMIC_DEFAULT_BROKER_CONFIG,
        BROKER => DYNAMIC_BROKER_CONFIG,
        BROKER_LOGGER => DYNAMIC_BROKER_LOGGER_CONFIG,
        CLIENT_METRICS => DYNAMIC_CLIENT_METRICS_CONFIG,
        _ => DYNAMIC_GROUP_CONFIG,
    }
}

async fn exists(client: &mut ClusterClient, resource_type: i8, name: &str) -> Result<bool, CommandError> {
    Ok(match resource_type {
        TOPIC => {
            validate_topic_name(name).map_err(CommandError::Message)?;
            client.metadata(None, false).await?.topics.iter().any(|topic| topic.name == name)
        }
        BROKER | BROKER_LOGGER if name.is_empty() => true,
        BROKER | BROKER_LOGGER => {
            let nodes = client.metadata(Some(&[]), false).await?.nodes;
            nodes.iter().any(|node| node.id.to_string() == name)
        }
        CLIENT_METRICS => listed_resources(client, CLIENT_METRICS).await?.iter().any(|listed| listed == name),
        _ => groups(client).await?.iter().any(|group| group == name),
    })
}

async fn all_entities(client: &mut ClusterClient, resource_type: i8) -> Result<Vec<String>, CommandError> {
    match resource_type {
        TOPIC => Ok(client.metadata(None, false).await?.topics.into_iter().map(|topic| topic.name).collect()),
        BROKER | BROKER_LOGGER => {
            let nodes = client.metadata(Some(&[]), false).await?.nodes;
            Ok(nodes.iter().map(|node| node.id.to_string()).chain([String::new()]).collect())
        }
        CLIENT_METRICS => listed_resources(client, CLIENT_METRICS).await,
        _ => groups(client).await,
    }
}

/// Groups that exist, and those that are configured.
async fn groups(client: &mut ClusterClient) -> Result<Vec<String>, CommandError> {
    let mut groups: Vec<String> = Vec::new();
    for node in client.metadata(Some(&[]), false).await?.nodes {
        let to = Destination::Node(node.id);
        let response = client.call("listGroups", &to, None, |_| ListGroupsRequest::default()).await?;
        ClientError::answer(response.error_code, None)?;
        groups.extend(response.groups.iter().map(|group| group.group_id.0.to_string()));
    }
    let configured = match listed_resources(client, GROUP).await {
        Err(CommandError::Client(ClientError::Unsupported(_))) => Vec::new(),
        listed => listed?,
    };
    for group in configured {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    Ok(groups)
}

async fn listed_resources(client: &mut ClusterClient, resource_type: i8) -> Result<Vec<String>, CommandError> {
    let build = |version: i16| match version {
        // Version 0 is about client metrics alone.
        0 => ListConfigResourcesRequest::default(),
        _ => ListConfigResourcesRequest::default().with_resource_types(vec![resource_type]),
    };
    let response = client.call("listConfigResources", &Destination::Any, None, build).await?;
    ClientError::answer(response.error_code, None)?;
    Ok(response.config_resources.iter().map(|resource| resource.resource_name.to_string()).collect())
}

fn print_entry(entry: &ConfigEntry, console: &mut Console<'_>) -> Result<(), CommandError> {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let synonym = |(name, value, source): &(String, Option<String>, i8)| {
        format!("{}:{name}={}", source_name(*source), shown(value))
    };
    let synonyms: Vec<String> = entry.synonyms.iter().map(synonym).collect();
    let (value, synonyms) = (shown(&entry.value), synonyms.join(", "));
    writeln!(console.out, "  {}={value} sensitive={} synonyms={{{synonyms}}}", entry.name, entry.is_sensitive)?;
    Ok(())
}
