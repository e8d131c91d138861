//! Quotas of users, clients and addresses.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};
use kafka_protocol::protocol::StrBytes;

use super::super::{CommandError, Console};
use super::command_line::Request;
use crate::client::{ClientError, ClusterClient, Destination};

const QUOTAS: [&str; 4] =
    ["consumer_byte_rate", "controller_mutation_rate", "producer_byte_rate", "request_percentage"];
const IP_QUOTA: &str = "connection_creation_rate";

/// How a name of the filter is to be compared (`ClientQuotaFilterComponent`).
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

/// An entity by types and names (`None` is the default), with its quotas.
type Quotas = (BTreeMap<String, Option<String>>, Vec<(String, f64)>);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// `user` of `users`.
fn quota_type(entity_type: &str) -> &'static str {
    match entity_type {
        "users" => "user",
        "clients" => "client-id",
        _ => "ip",
    }
}

async fn all(client: &mut ClusterClient, request: &Request) -> Result<Vec<Quotas>, ClientError> {
    let component = |(index, entity_type): (usize, &String)| {
        let component = ComponentData::default().with_entity_type(text(quota_type(entity_type)));
        match request.names.get(index).map(String::as_str) {
            None => component.with_match_type(ANY).with_match(None),
            Some("") => component.with_match_type(DEFAULT).with_match(None),
            Some(name) => component.with_match_type(EXACT).with_match(Some(text(name))),
        }
    };
    let components: Vec<ComponentData> = request.types.iter().enumerate().map(component).collect();
    let build = |_: i16| DescribeClientQuotasRequest::default().with_components(components.clone()).with_strict(true);
    let response = client.call("describeClientQuotas", &Destination::Any, None, build).await?;
    ClientError::answer(response.error_code, response.error_message.as_deref())?;
    let mut all = Vec::new();
    for entry in response.entries.unwrap_or_default() {
        let name = |name: &Option<StrBytes>| name.as_ref().map(ToString::to_string);
        let entity = entry.entity.iter().map(|entity| (entity.entity_type.to_string(), name(&entity.entity_name)));
        let values = entry.values.iter().map(|value| (value.key.to_string(), value.value)).collect();
        all.push((entity.collect(), values));
    }
    Ok(all)
}

pub(super) async fn describe(
    client: &mut ClusterClient,
    request: &Request,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    for (entity, quotas) in all(client, request).await? {
        let mut names = Vec::new();
        for (key, word) in [("user", "user-principal"), ("client-id", "client-id"), ("ip", "ip")] {
            match entity.get(key) {
                None => {}
                Some(Some(name)) if !name.is_empty() => names.push(format!("{word} '{name}'")),
                Some(_) => names.push(format!("the default {word}")),
            }
        }
        let quotas: Vec<String> = quotas.iter().map(|(key, value)| format!("{key}={}", java_double(*value))).collect();
        writeln!(console.out, "Quota configs for {} are {}", names.join(", "), quotas.join(", "))?;
    }
    Ok(())
}

pub(super) async fn alter(
    client: &mut ClusterClient,
    request: &Request,
    added: &BTreeMap<String, String>,
    removed: &[String],
) -> Result<(), CommandError> {
    check_names(request, added, removed)?;
    let known = all(client, request).await?.into_iter().next().map(|(_, quotas)| quotas).unwrap_or_default();
    let is_unknown = |name: &&String| !known.iter().any(|(key, _)| key == *name);
    let unknown: Vec<&str> = removed.iter().filter(is_unknown).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(CommandError::Message(format!("Invalid config(s): {}", unknown.join(","))));
    }
    let mut operations = Vec::new();
    for (key, value) in added {
        let value: f64 = value
            .parse()
            .map_err(|_| CommandError::Message(format!("Cannot parse quota configuration value for {key}: {value}")))?;
        operations.push(OpData::default().with_key(text(key)).with_value(value));
    }
    operations.extend(removed.iter().map(|key| OpData::default().with_key(text(key)).with_remove(true)));
    let entity = |(entity_type, name): (&String, &String)| {
        let name = Some(name).filter(|name| !name.is_empty()).map(|name| text(name));
        EntityData::default().with_entity_type(text(quota_type(entity_type))).with_entity_name(name)
    };
    let entity = request.types.iter().zip(&request.names).map(entity).collect();
    let entry = EntryData::default().with_entity(entity).with_ops(operations);
    let build = |_: i16| AlterClientQuotasRequest::default().with_entries(vec![entry.clone()]);
    let response = client.call("alterClientQuotas", &Destination::Any, None, build).await?;
    for entry in &response.entries {
        ClientError::answer(entry.error_code, entry.error_message.as_deref())?;
    }
    Ok(())
}

/// Only quotas; credentials are not written by this tool.
fn check_names(request: &Request, added: &BTreeMap<String, String>, removed: &[String]) -> Result<(), CommandError> {
    let entity_type = request.types[0].as_str();
    let is_scram = |name: &str| name.starts_with("SCRAM-SHA-");
    let is_user = request.types.len() == 1 && entity_type == "users";
    let is_known = |name: &str| match entity_type {
        "ips" => name == IP_QUOTA,
        _ => QUOTAS.contains(&name),
    };
    for (names, done) in [(added.keys().collect::<Vec<_>>(), "added"), (removed.iter().collect(), "deleted")] {
        let names: Vec<&str> = names.into_iter().map(String::as_str).filter(|name| !is_known(name)).collect();
        if is_user && names.iter().any(|name| is_scram(name)) {
            let text = "SCRAM credentials are not implemented by this tool yet";
            return Err(CommandError::Message(text.to_owned()));
        }
        if names.is_empty() {
            continue;
        }
        let (kind, word, joined) = match entity_type {
            "ips" => ("connection quota", "ips", names.join(", ")),
            _ if is_user => ("quota and SCRAM credential", "users", names.join(",")),
            _ => ("quota", "clients", names.join(",")),
        };
        let done = if entity_type == "ips" { "added" } else { done };
        return Err(CommandError::Message(format!(
            "Only {kind} configs can be {done} for '{word}' using --bootstrap-server. Unexpected config names: {joined}"
        )));
    }
    Ok(())
}

/// A number as Java writes a `Double` of everyday size.
fn java_double(value: f64) -> String {
    match value.abs() >= 1e7 {
        true => {
            let text = format!("{value:E}");
            match text.split_once('E') {
                Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
                _ => text,
            }
        }
        false => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_java_s() {
        assert_eq!([1024.0, 0.5, 1e7, 12_345_678.0].map(java_double), ["1024.0", "0.5", "1.0E7", "1.2345678E7"]);
    }
}
