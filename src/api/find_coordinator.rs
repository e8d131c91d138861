//! FindCoordinator (key 10): which broker coordinates a group (`KafkaApis.getCoordinator`).
//!
//! The topic of the coordinator is created when it is missing, and the answer waits for it: topics serve when their
//! creation is answered, so that nobody has to ask again, as Kafka's clients must.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::cluster_view::ClusterView;
use super::handler::{Answer, RequestContext};
use super::services::{Endpoint, Services};
use crate::coordinator::transaction::TRANSACTIONS_REFUSED;
use crate::types::GROUP_METADATA_TOPIC_NAME;

/// First version with several keys (KIP-699).
const BATCH_VERSION: i16 = 4;
/// Key types (`CoordinatorType`).
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// Kafka's text of INVALID_REQUEST.
const INVALID_REQUEST: &str = "This most likely occurs because of a request being malformed by the client library or the \
                               message was sent to an incompatible broker. See the broker logs for more details.";

/// Why there is no coordinator.
#[derive(Clone, Copy)]
struct Refusal {
    error: ResponseError,
    message: &'static str,
    /// The message by key of version 4 and later; Kafka leaves it empty where it does not fail as a whole.
    batch_message: &'static str,
}

/// What is found for a key.
type Found = Result<(i32, Endpoint), Refusal>;

/// Finds the coordinators, after creating their topic if need be.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: FindCoordinatorRequest,
) -> Answer<FindCoordinatorResponse> {
    let has_topic = services.controller.image().topics.topic(GROUP_METADATA_TOPIC_NAME).is_some();
    if has_topic || request.key_type != GROUP {
        return Answer::Now(answer(services, context, &request));
    }
    let (services, context) = (services.clone(), context.clone());
    let created =
        services.controller.submit(None, |controller| controller.auto_create_topics(&[GROUP_METADATA_TOPIC_NAME]));
    Answer::Later(Box::pin(async move {
        if let Err(error) = created.await {
            tracing::warn!(%error, "could not create {GROUP_METADATA_TOPIC_NAME}");
        }
        answer(&services, &context, &request)
    }))
}

fn answer(services: &Services, context: &RequestContext, request: &FindCoordinatorRequest) -> FindCoordinatorResponse {
    let view = ClusterView::new(services, context);
    let find = |key: &StrBytes| find(services, &view, request.key_type, key);
    if context.api_version >= BATCH_VERSION {
        let coordinators = request.coordinator_keys.iter().map(|key| coordinator(key, find(key)));
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    match find(&request.key) {
        Ok((node_id, endpoint)) => FindCoordinatorResponse::default()
            // Kafka's text of no error.
            .with_error_message(Some(StrBytes::from_static_str("NONE")))
            .with_node_id(BrokerId(node_id))
            .with_host(StrBytes::from_string(endpoint.host))
            .with_port(i32::from(endpoint.port)),
        Err(refusal) => FindCoordinatorResponse::default()
            .with_error_code(refusal.error.code())
            .with_error_message(Some(StrBytes::from_static_str(refusal.message)))
            .with_node_id(BrokerId(-1))
            .with_port(-1),
    }
}

fn coordinator(key: &StrBytes, found: Found) -> Coordinator {
    let answer = Coordinator::default().with_key(key.clone());
    match found {
        Ok((node_id, endpoint)) => answer
            .with_node_id(BrokerId(node_id))
            .with_host(StrBytes::from_string(endpoint.host))
            .with_port(i32::from(endpoint.port)),
        Err(refusal) => answer
            .with_error_code(refusal.error.code())
            .with_error_message(Some(StrBytes::from_static_str(refusal.batch_message)))
            .with_node_id(BrokerId(-1))
            .with_port(-1),
    }
}

fn find(services: &Services, view: &ClusterView<'_>, key_type: i8, key: &str) -> Found {
    let unavailable = Refusal {
        error: ResponseError::CoordinatorNotAvailable,
        message: "The coordinator is not available.",
        batch_message: "",
    };
    match key_type {
        GROUP => {}
        TRANSACTION => {
            let message = "Transactions are not supported by this broker.";
            return Err(Refusal { error: TRANSACTIONS_REFUSED, message, batch_message: message });
        }
        SHARE => {
            let error = ResponseError::InvalidRequest;
            return Err(Refusal { error, message: INVALID_REQUEST, batch_message: "" });
        }
        _ => {
            let error = ResponseError::InvalidRequest;
            return Err(Refusal { error, message: INVALID_REQUEST, batch_message: INVALID_REQUEST });
        }
    }
    let partition = services.groups.partition_for(key);
    let registration = view.image.topics.partition(GROUP_METADATA_TOPIC_NAME, partition).ok_or(unavailable)?;
    let broker = view.image.cluster.broker(registration.leader).filter(|broker| !broker.fenced).ok_or(unavailable)?;
    Ok((broker.id, view.endpoint(broker).ok_or(unavailable)?))
}
