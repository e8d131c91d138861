//! ListConfigResources (key 74): what has configurations (KIP-1142; version 0 was ListClientMetricsResources).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use kafka_protocol::protocol::StrBytes;

use super::cluster_view::ClusterView;
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::metadata::{ConfigResourceType, MetadataImage};

/// The types that a version knows, in the order of the answer.
fn supported(version: i16) -> &'static [ConfigResourceType] {
    use ConfigResourceType::{Broker, BrokerLogger, ClientMetrics, Group, Topic};
    if version == 0 { &[ClientMetrics] } else { &[Group, ClientMetrics, BrokerLogger, Broker, Topic] }
}

/// Answers from the image.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: ListConfigResourcesRequest,
) -> Answer<ListConfigResourcesResponse> {
    let supported = supported(context.api_version);
    let is_supported = |id: &i8| supported.iter().any(|kind| kind.id() == *id);
    if !request.resource_types.iter().all(is_supported) {
        let code = ResponseError::UnsupportedVersion.code();
        return Answer::Now(ListConfigResourcesResponse::default().with_error_code(code));
    }
    let view = ClusterView::new(services, context);
    let is_wanted =
        |kind: &&ConfigResourceType| request.resource_types.is_empty() || request.resource_types.contains(&kind.id());
    let mut resources = Vec::new();
    for kind in supported.iter().filter(is_wanted) {
        let names: Vec<String> = match kind {
            ConfigResourceType::Topic => view.image.topics.by_name().keys().map(ToString::to_string).collect(),
            ConfigResourceType::Broker | ConfigResourceType::BrokerLogger => {
                view.brokers(true).into_iter().map(|(broker, _)| broker.id.to_string()).collect()
            }
            ConfigResourceType::Group | ConfigResourceType::ClientMetrics => configured(&view.image, *kind),
        };
        resources.extend(names.into_iter().map(|name| {
            ConfigResource::default().with_resource_type(kind.id()).with_resource_name(StrBytes::from_string(name))
        }));
    }
    Answer::Now(ListConfigResourcesResponse::default().with_config_resources(resources))
}

fn configured(image: &MetadataImage, kind: ConfigResourceType) -> Vec<String> {
    let resources = image.configs.resources().keys().filter(|resource| resource.kind == kind);
    resources.map(|resource| resource.name.to_string()).collect()
}
