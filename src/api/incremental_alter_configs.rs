//! IncrementalAlterConfigs (key 44): sets, deletes, appends and subtracts single configurations (KIP-339).

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::broker_loggers;
use super::controller_error::api_error;
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::env::BoxFuture;
use crate::metadata::ApiError;
use crate::telemetry::log_levels;

/// Changes the loggers of this broker at once, everything else in its turn.
pub fn handle(
    services: &Arc<Services>,
    _context: &RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> Answer<IncrementalAlterConfigsResponse> {
    let is_loggers = |resource: &AlterConfigsResource| broker_loggers::is_loggers(resource.resource_type);
    if !request.resources.iter().any(is_loggers) {
        return Answer::Later(change_metadata(services, request));
    }
    let loggers = change_loggers(services, &request);
    let order: Vec<bool> = request.resources.iter().map(is_loggers).collect();
    let mut rest = request;
    rest.resources.retain(|resource| !is_loggers(resource));
    if rest.resources.is_empty() {
        return Answer::Now(IncrementalAlterConfigsResponse::default().with_responses(loggers));
    }
    let rest = change_metadata(services, rest);
    Answer::Later(Box::pin(async move {
        let mut rest = rest.await.responses.into_iter();
        let mut loggers = loggers.into_iter();
        let in_order = order.into_iter().filter_map(|is_loggers| if is_loggers { loggers.next() } else { rest.next() });
        IncrementalAlterConfigsResponse::default().with_responses(in_order.collect())
    }))
}

/// The answers for the resources that are loggers.
fn change_loggers(services: &Services, request: &IncrementalAlterConfigsRequest) -> Vec<AlterConfigsResourceResponse> {
    let loggers = request.resources.iter().filter(|resource| broker_loggers::is_loggers(resource.resource_type));
    let loggers: Vec<&AlterConfigsResource> = loggers.collect();
    let mut seen = HashSet::new();
    let repeated = loggers.iter().map(|resource| resource.resource_name.as_str()).filter(|name| !seen.insert(*name));
    let repeated: HashSet<&str> = repeated.collect();
    let change = |resource: &AlterConfigsResource| {
        if repeated.contains(resource.resource_name.as_str()) {
            let message = "Each resource must appear at most once.";
            return Err(ApiError::new(ResponseError::InvalidRequest, message));
        }
        broker_loggers::alter(log_levels(), services.config.node_id(), resource, request.validate_only)
    };
    loggers.iter().map(|resource| answer(resource, change(resource).err().as_ref())).collect()
}

fn change_metadata(
    services: &Services,
    request: IncrementalAlterConfigsRequest,
) -> BoxFuture<'static, IncrementalAlterConfigsResponse> {
    let request = Arc::new(request);
    let wanted = request.clone();
    let altered = services.controller.submit(None, move |controller| controller.incremental_alter_configs(&wanted));
    Box::pin(async move {
        altered.await.unwrap_or_else(|error| {
            let error = api_error(&error);
            let results = request.resources.iter().map(|resource| answer(resource, Some(&error)));
            IncrementalAlterConfigsResponse::default().with_responses(results.collect())
        })
    })
}

fn answer(resource: &AlterConfigsResource, error: Option<&ApiError>) -> AlterConfigsResourceResponse {
    AlterConfigsResourceResponse::default()
        .with_error_code(error.map_or(0, ApiError::code))
        .with_error_message(error.and_then(ApiError::message_bytes))
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
}
