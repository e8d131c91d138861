//! Changes what entities are configured with.

use std::collections::BTreeMap;

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::protocol::StrBytes;

use super::super::config_resources::{BROKER, BROKER_LOGGER};
use super::super::{CommandError, Console, load_properties};
use super::command_line::Request;
use super::describe::{destination, dynamic_source, entries, resource_type};
use super::quotas;
use crate::client::{ClientError, ClusterClient};

/// `AlterConfigOp.OpType.SET`.
const SET: i8 = 0;
/// `AlterConfigOp.OpType.DELETE`.
const DELETE: i8 = 1;
/// What keeps a text from being split: it stands in brackets.
const NOT_TWO: &str = "requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \
                       \"key=[val1,val2]\" to group values which contain commas.";

pub(super) async fn alter(
    client: &mut ClusterClient,
    request: &Request,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let added = configs_to_add(request, console)?;
    let removed: Vec<String> =
        request.options.values("delete-config").iter().map(|name| name.trim().to_owned()).collect();
    let (entity_type, name) = (request.types[0].as_str(), request.names[0].as_str());
    match resource_type(entity_type) {
        None => quotas::alter(client, request, &added, &removed).await?,
        Some(resource_type) => {
            if resource_type == BROKER && !name.is_empty() && name.parse::<i32>().is_err() {
                return Err(CommandError::Message(format!(
                    "The entity name for {entity_type} must be a valid integer broker id, found: {name}"
                )));
            }
            if resource_type == BROKER_LOGGER {
                check_loggers(client, name, &added, &removed).await?;
            }
            alter_resource(client, resource_type, name, &added, &removed).await?;
        }
    }
    match name.is_empty() {
        true => writeln!(console.out, "Completed updating default config for {entity_type} in the cluster.")?,
        false => writeln!(console.out, "Completed updating config for {} {name}.", request.singular())?,
    }
    Ok(())
}

async fn check_loggers(
    client: &mut ClusterClient,
    broker: &str,
    added: &BTreeMap<String, String>,
    removed: &[String],
) -> Result<(), CommandError> {
    let known = entries(client, BROKER_LOGGER, broker, Some(dynamic_source(BROKER_LOGGER, broker))).await?;
    let is_unknown = |name: &&String| !known.iter().any(|entry| entry.name == **name);
    let unknown: Vec<&str> = removed.iter().chain(added.keys()).filter(is_unknown).map(String::as_str).collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(CommandError::Message(format!("Invalid broker logger(s): {}", unknown.join(",")))),
    }
}

async fn alter_resource(
    client: &mut ClusterClient,
    resource_type: i8,
    name: &str,
    added: &BTreeMap<String, String>,
    removed: &[String],
) -> Result<(), CommandError> {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let operation = |name: &str, operation: i8, value: &str| {
        AlterableConfig::default().with_name(text(name)).with_config_operation(operation).with_value(Some(text(value)))
    };
    let deletions = removed.iter().map(|name| operation(name, DELETE, ""));
    let additions = added.iter().map(|(name, value)| operation(name, SET, value));
    let resource = AlterConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configs(deletions.chain(additions).collect());
    let build = |_: i16| IncrementalAlterConfigsRequest::default().with_resources(vec![resource.clone()]);
    let response = client.call("incrementalAlterConfigs", &destination(resource_type, name), None, build).await?;
    for result in &response.responses {
        ClientError::answer(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

/// What `--add-config` and `--add-config-file` say.
fn configs_to_add(request: &Request, console: &Console<'_>) -> Result<BTreeMap<String, String>, CommandError> {
    let mut configs = match request.options.value("add-config-file")? {
        Some(file) => load_properties(&*console.env.disk, file)?,
        None => BTreeMap::new(),
    };
    if let Some(text) = request.options.value("add-config")? {
        for item in split_outside_brackets(text, ',') {
            let [key, value] = split_outside_brackets(item, '=')[..] else {
                return Err(CommandError::Message(NOT_TWO.to_owned()));
            };
            configs.insert(key.trim().to_owned(), value.replace(['[', ']'], "").trim().to_owned());
        }
    }
    let is_legal = |character: char| character.is_ascii_alphanumeric() || "$._-".contains(character);
    match configs.keys().find(|key| !key.chars().all(is_legal)) {
        Some(key) => Err(CommandError::Message(format!("Invalid character found for config key: {key}"))),
        None => Ok(configs),
    }
}

/// Pieces between separators behind which no `]` comes without a `[` before it.
fn split_outside_brackets(text: &str, separator: char) -> Vec<&str> {
    let is_outside = |rest: &str| rest.find(']').is_none_or(|end| rest[..end].contains('['));
    let mut pieces = Vec::new();
    let mut start = 0;
    for (position, _) in text.match_indices(separator) {
        let after = position + separator.len_utf8();
        if is_outside(&text[after..]) {
            pieces.push(&text[start..position]);
            start = after;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_brackets_do_not_separate() {
        assert_eq!(split_outside_brackets("a=1,b=[x,y],c=", ','), ["a=1", "b=[x,y]", "c="]);
        assert_eq!(split_outside_brackets("b=[x=1,y=2]", '='), ["b", "[x=1,y=2]"]);
        assert_eq!(split_outside_brackets("a", '='), ["a"]);
    }
}
