//! UpdateFeatures (key 57): the levels that the cluster has agreed on (KIP-584, KIP-1022)
//! (`ControllerApis.handleUpdateFeatures`).

use std::sync::Arc;

use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::controller_error::api_error;
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::metadata::update_features_failure;

/// Runs the command in its turn. As in Kafka, the request's timeout is not looked at.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: UpdateFeaturesRequest,
) -> Answer<UpdateFeaturesResponse> {
    let version = context.api_version;
    let updated = services.controller.submit(None, move |controller| controller.update_features(&request, version));
    Answer::Later(Box::pin(
        async move { updated.await.unwrap_or_else(|error| update_features_failure(&api_error(&error))) },
    ))
}
