//! DescribeConfigs (key 32): every configuration of topics and of this broker, with where each value comes from
//! (`ConfigHelper`).

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::handler::{Answer, RequestContext};
use super::repeats::Repeats;
use super::services::Services;
use crate::config::{ConfigSynonym, DescribedConfig, describe_broker, describe_cluster_defaults, describe_topic};
use crate::metadata::{ApiError, ConfigResourceType, MetadataImage, validate_topic_name};
use crate::telemetry::log_levels;

/// Answers from the image and the broker's configuration.
pub fn handle(
    services: &Arc<Services>,
    _context: &RequestContext,
    request: DescribeConfigsRequest,
) -> Answer<DescribeConfigsResponse> {
    let is_known = |resource: &DescribeConfigsResource| ConfigResourceType::from_id(resource.resource_type).is_some();
    if !request.resources.iter().all(is_known) {
        return Answer::Now(failure(&request));
    }
    let image = services.controller.image();
    let mut repeats = Repeats::new();
    let results = request.resources.iter().map(|resource| {
        let described = match repeats.admit(identity(resource)) {
            true => describe(services, &image, resource),
            false => Err(invalid_request("The request names too many resources more than once.".to_owned())),
        };
        let result = match described {
            Ok(configs) => DescribeConfigsResult::default().with_configs(selected(configs, resource, &request)),
            Err(error) => {
                DescribeConfigsResult::default().with_error_code(error.code()).with_error_message(error.message_bytes())
            }
        };
        result.with_resource_type(resource.resource_type).with_resource_name(resource.resource_name.clone())
    });
    Answer::Now(DescribeConfigsResponse::default().with_results(results.collect()))
}

/// What a resource is: a broker has as many names as its number has spellings.
fn identity(resource: &DescribeConfigsResource) -> (i8, Result<i32, &str>) {
    let name = resource.resource_name.as_str();
    match ConfigResourceType::from_id(resource.resource_type) {
        Some(ConfigResourceType::Topic) => (resource.resource_type, Err(name)),
        _ => (resource.resource_type, name.parse().map_err(|_| name)),
    }
}

/// One resource of an unknown type refuses the whole request (`DescribeConfigsRequest.getErrorResponse`).
fn failure(request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let message = "This most likely occurs because of a request being malformed by the client library or the message \
                   was sent to an incompatible broker. See the broker logs for more details.";
    let results = request.resources.iter().map(|resource| {
        DescribeConfigsResult::default()
            .with_error_code(ResponseError::InvalidRequest.code())
            .with_error_message(Some(StrBytes::from_static_str(message)))
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe(
    services: &Services,
    image: &MetadataImage,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribedConfig>, ApiError> {
    let name = resource.resource_name.as_str();
    match ConfigResourceType::from_id(resource.resource_type) {
        Some(ConfigResourceType::Topic) => topic(services, image, name),
        Some(ConfigResourceType::Broker) if name.is_empty() => Ok(describe_cluster_defaults(&services.config)),
        Some(ConfigResourceType::Broker) => {
            check_broker(services, name, " or empty string,")?;
            Ok(describe_broker(&services.config, &keys(resource)))
        }
        Some(ConfigResourceType::BrokerLogger) if name.is_empty() => {
            Err(invalid_request("Broker id must not be empty".into()))
        }
        Some(ConfigResourceType::BrokerLogger) => {
            check_broker(services, name, "")?;
            Ok(log_levels()
                .loggers()
                .into_iter()
                .map(|(logger, level)| DescribedConfig::logger(logger, level))
                .collect())
        }
        Some(ConfigResourceType::ClientMetrics) if name.is_empty() => {
            Err(invalid_request("Client metrics subscription name must not be empty".into()))
        }
        Some(ConfigResourceType::Group) if name.is_empty() => {
            Err(invalid_request("Group name must not be empty".into()))
        }
        // Configurations of groups belong to KIP-848, those of client metrics to KIP-714.
        Some(ConfigResourceType::ClientMetrics | ConfigResourceType::Group) | None => Ok(Vec::new()),
    }
}

fn invalid_request(message: String) -> ApiError {
    ApiError::new(ResponseError::InvalidRequest, message)
}

fn topic(services: &Services, image: &MetadataImage, name: &str) -> Result<Vec<DescribedConfig>, ApiError> {
    validate_topic_name(name).map_err(|message| ApiError::new(ResponseError::InvalidTopicException, message))?;
    if image.topics.topic(name).is_none() {
        return Err(ApiError::new(ResponseError::UnknownTopicOrPartition, ""));
    }
    Ok(describe_topic(&services.config, &image.configs.topic(name)))
}

fn check_broker(services: &Services, name: &str, alternative: &str) -> Result<(), ApiError> {
    let node_id = services.config.node_id();
    let Ok(id) = name.parse::<i32>() else {
        return Err(invalid_request(format!("Broker id must be an integer, but it is: {name}")));
    };
    if id != node_id {
        let message = format!("Unexpected broker id, expected {node_id}{alternative} but received {name}");
        return Err(invalid_request(message));
    }
    Ok(())
}

/// The names of the configurations that the client asked for; none for all.
fn keys(resource: &DescribeConfigsResource) -> HashSet<&str> {
    resource.configuration_keys.iter().flatten().map(|key| key.as_str()).collect()
}

/// The configurations that the client asked for: by name, or all.
fn selected(
    configs: Vec<DescribedConfig>,
    resource: &DescribeConfigsResource,
    request: &DescribeConfigsRequest,
) -> Vec<DescribeConfigsResourceResult> {
    let keys = keys(resource);
    let wanted = |config: &DescribedConfig| keys.is_empty() || keys.contains(config.name.as_str());
    configs.into_iter().filter(wanted).map(|config| result(config, request)).collect()
}

fn result(config: DescribedConfig, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let kind = config.kind_id();
    let synonym = |synonym: ConfigSynonym| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_string(synonym.name))
            .with_value(synonym.value.map(StrBytes::from_string))
            .with_source(synonym.source.id())
    };
    let synonyms = if request.include_synonyms { config.synonyms } else { Vec::new() };
    let documentation = config.documentation.filter(|_| request.include_documentation);
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_string(config.name))
        .with_value(config.value.map(StrBytes::from_string))
        .with_read_only(config.read_only)
        .with_config_source(config.source.id())
        .with_is_sensitive(config.sensitive)
        .with_synonyms(synonyms.into_iter().map(synonym).collect())
        .with_config_type(kind)
        .with_documentation(documentation.map(StrBytes::from_static_str))
}
