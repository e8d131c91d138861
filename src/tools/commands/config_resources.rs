//! Configurations of topics, brokers and others, as brokers describe them.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::client::{ClientError, ClusterClient, Destination};

/// `ConfigResource.Type.TOPIC`.
pub(super) const TOPIC: i8 = 2;
/// `ConfigResource.Type.BROKER`.
pub(super) const BROKER: i8 = 4;
/// `ConfigResource.Type.BROKER_LOGGER`.
pub(super) const BROKER_LOGGER: i8 = 8;
/// `ConfigResource.Type.CLIENT_METRICS`.
pub(super) const CLIENT_METRICS: i8 = 16;
/// `ConfigResource.Type.GROUP`.
pub(super) const GROUP: i8 = 32;

/// `ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG`.
pub(super) const DYNAMIC_TOPIC_CONFIG: i8 = 1;
/// `ConfigEntry.ConfigSource.DYNAMIC_BROKER_CONFIG`.
pub(super) const DYNAMIC_BROKER_CONFIG: i8 = 2;
/// `ConfigEntry.ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG`.
pub(super) const DYNAMIC_DEFAULT_BROKER_CONFIG: i8 = 3;
/// `ConfigEntry.ConfigSource.DEFAULT_CONFIG`.
pub(super) const DEFAULT_CONFIG: i8 = 5;
/// `ConfigEntry.ConfigSource.DYNAMIC_BROKER_LOGGER_CONFIG`.
pub(super) const DYNAMIC_BROKER_LOGGER_CONFIG: i8 = 6;
/// `ConfigEntry.ConfigSource.DYNAMIC_CLIENT_METRICS_CONFIG`.
pub(super) const DYNAMIC_CLIENT_METRICS_CONFIG: i8 = 7;
/// `ConfigEntry.ConfigSource.DYNAMIC_GROUP_CONFIG`.
pub(super) const DYNAMIC_GROUP_CONFIG: i8 = 8;

/// Where a value comes from, by number (`ConfigEntry.ConfigSource`).
const SOURCES: [&str; 9] = [
    "UNKNOWN",
    "DYNAMIC_TOPIC_CONFIG",
    "DYNAMIC_BROKER_CONFIG",
    "DYNAMIC_DEFAULT_BROKER_CONFIG",
    "STATIC_BROKER_CONFIG",
    "DEFAULT_CONFIG",
    "DYNAMIC_BROKER_LOGGER_CONFIG",
    "DYNAMIC_CLIENT_METRICS_CONFIG",
    "DYNAMIC_GROUP_CONFIG",
];

/// Java's name of a source.
pub(super) fn source_name(source: i8) -> &'static str {
    usize::try_from(source).ok().and_then(|index| SOURCES.get(index)).unwrap_or(&SOURCES[0])
}

/// One configuration.
#[derive(Clone, Debug)]
pub(super) struct ConfigEntry {
    pub name: String,
    /// Not told of sensitive ones.
    pub value: Option<String>,
    pub source: i8,
    pub is_sensitive: bool,
    /// Name, value and source, the strongest first.
    pub synonyms: Vec<(String, Option<String>, i8)>,
}

impl ConfigEntry {
    fn read(result: DescribeConfigsResourceResult) -> Self {
        let text = |value: Option<StrBytes>| value.map(|value| value.to_string());
        let synonym = |synonym: kafka_protocol::messages::describe_configs_response::DescribeConfigsSynonym| {
            (synonym.name.to_string(), text(synonym.value), synonym.source)
        };
        Self {
            name: result.name.to_string(),
            value: text(result.value),
            source: result.config_source,
            is_sensitive: result.is_sensitive,
            synonyms: result.synonyms.into_iter().map(synonym).collect(),
        }
    }
}

/// The configurations of one resource, as the broker lists them, or why it does not tell.
pub(super) struct DescribedResource {
    pub name: String,
    pub entries: Result<Vec<ConfigEntry>, ClientError>,
}

impl From<DescribeConfigsResult> for DescribedResource {
    fn from(result: DescribeConfigsResult) -> Self {
        let entries = ClientError::answer(result.error_code, result.error_message.as_deref());
        Self {
            name: result.resource_name.to_string(),
            entries: entries.map(|()| result.configs.into_iter().map(ConfigEntry::read).collect()),
        }
    }
}

/// Asks for the configurations of resources of one type (`Admin.describeConfigs`).
///
/// # Errors
/// As [`ClusterClient::call`]; errors of a resource stand with it.
pub(super) async fn describe_configs(
    client: &mut ClusterClient,
    to: &Destination,
    resource_type: i8,
    names: &[&str],
    include_synonyms: bool,
) -> Result<Vec<DescribedResource>, ClientError> {
    let resource = |name: &&str| {
        DescribeConfigsResource::default()
            .with_resource_type(resource_type)
            .with_resource_name(StrBytes::from_string((*name).to_owned()))
            .with_configuration_keys(None)
    };
    let response: DescribeConfigsResponse = client
        .call("describeConfigs", to, None, |_| {
            DescribeConfigsRequest::default()
                .with_resources(names.iter().map(resource).collect())
                .with_include_synonyms(include_synonyms)
        })
        .await?;
    Ok(response.results.into_iter().map(DescribedResource::from).collect())
}
