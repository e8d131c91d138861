//! DescribeCluster (key 60): the brokers, and who may change things (`AuthHelper.computeDescribeClusterResponse`).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

use super::authorized_operations;
use super::cluster_view::ClusterView;
use super::handler::{Answer, RequestContext};
use super::services::Services;

/// `EndpointType`.
const BROKER: i8 = 1;
const CONTROLLER: i8 = 2;

/// Answers from the image.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: DescribeClusterRequest,
) -> Answer<DescribeClusterResponse> {
    Answer::Now(match request.endpoint_type {
        BROKER => describe(services, context, &request),
        CONTROLLER => refuse(
            context,
            ResponseError::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER".into(),
        ),
        other => refuse(context, ResponseError::UnsupportedEndpointType, format!("Unsupported endpoint type {other}")),
    })
}

fn refuse(context: &RequestContext, error: ResponseError, message: String) -> DescribeClusterResponse {
    let error = if context.api_version == 0 { ResponseError::InvalidRequest } else { error };
    DescribeClusterResponse::default()
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_string(message)))
}

fn describe(
    services: &Services,
    context: &RequestContext,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    let view = ClusterView::new(services, context);
    let brokers = view.brokers(request.include_fenced_brokers);
    // Every broker takes what a controller takes; Kafka names a random live one.
    let controller_id = brokers.iter().find(|(broker, _)| !broker.fenced).map_or(-1, |(broker, _)| broker.id);
    let broker = |(broker, endpoint): (&crate::metadata::BrokerRegistration, super::Endpoint)| {
        DescribeClusterBroker::default()
            .with_broker_id(BrokerId(broker.id))
            .with_host(StrBytes::from_string(endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(broker.rack.as_ref().map(|rack| StrBytes::from_string(rack.to_string())))
            .with_is_fenced(broker.fenced)
    };
    let mut response = DescribeClusterResponse::default()
        .with_endpoint_type(BROKER)
        .with_cluster_id(StrBytes::from_string(services.replicas.logs().cluster_id().to_owned()))
        .with_controller_id(BrokerId(controller_id))
        .with_brokers(brokers.into_iter().map(broker).collect());
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = authorized_operations::CLUSTER;
    }
    response
}
