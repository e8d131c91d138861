//! FindCoordinator (key 10): which broker coordinates a group or a transactional id
//! (`KafkaApis.getCoordinator`).
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
use crate::coordinator::runtime::partition_for;
use crate::types::{GROUP_METADATA_TOPIC_NAME, TRANSACTION_STATE_TOPIC_NAME};

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

/// The topic that the coordinators of a key type keep their state in.
fn topic_of(key_type: i8) -> Option<&'static str> {
    match key_type {
        GROUP => Some(GROUP_METADATA_TOPIC_NAME),
        TRANSACTION => Some(TRANSACTION_STATE_TOPIC_NAME),
        _ => None,
    }
}

/// Finds the coordinators, after creating their topic if need be.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: FindCoordinatorRequest,
) -> Answer<FindCoordinatorResponse> {
    let is_missing = |topic: &&str| services.controller.image().topics.topic(topic).is_none();
    let Some(topic) = topic_of(request.key_type).filter(is_missing) else {
        return Answer::Now(answer(services, context, &request));
    };
    let (services, context) = (services.clone(), context.clone());
    let created = services.controller.submit(None, move |controller| controller.auto_create_topics(&[topic]));
    Answer::Later(Box::pin(async move {
        if let Err(error) = created.await {
            tracing::warn!(%error, "could not create {topic}");
        }
        answer(&services, &context, &request)
    }))
}

fn answer(services: &Services, context: &RequestContext, request: &FindCoordinatorRequest) -> FindCoordinatorResponse {
    let view = ClusterView::new(services, context);
    let find = |key: &StrBytes| find(&view, request.key_type, key);
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

fn find(view: &ClusterView<'_>, key_type: i8, key: &str) -> Found {
    let unavailable = Refusal {
        error: ResponseError::CoordinatorNotAvailable,
        message: "The coordinator is not available.",
        batch_message: "",
    };
    let Some(topic) = topic_of(key_type) else {
        let batch_message = if key_type == SHARE { "" } else { INVALID_REQUEST };
        return Err(Refusal { error: ResponseError::InvalidRequest, message: INVALID_REQUEST, batch_message });
    };
    let partitions = view.image.topics.topic(topic).ok_or(unavailable)?.partitions().count();
    let partition = partition_for(key, i32::try_from(partitions).unwrap_or(i32::MAX));
    let registration = view.image.topics.partition(topic, partition).ok_or(unavailable)?;
    let broker = view.image.cluster.broker(registration.leader).filter(|broker| !broker.fenced).ok_or(unavailable)?;
    Ok((broker.id, view.endpoint(broker).ok_or(unavailable)?))
}
