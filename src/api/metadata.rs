//! Metadata (key 3): brokers, topics, leaders; creates topics that a client names and that do not exist
//! (`KafkaApis.handleTopicMetadataRequest`).

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, CreateTopicsResponse, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tracing::warn;

use super::authorized_operations;
use super::cluster_view::{ClusterView, broker_ids};
use super::error_mapping::NONE;
use super::handler::{Answer, CloseReason, RequestContext};
use super::services::Services;
use crate::metadata::{PartitionRegistration, TopicImage, validate_topic_name};
use crate::types::{Uuid, is_internal_topic};

/// First version in which an empty list means no topic, not all.
const EMPTY_IS_NONE_VERSION: i16 = 1;
/// First version whose clients know LISTENER_NOT_FOUND.
const LISTENER_NOT_FOUND_VERSION: i16 = 6;
/// Topics of one request whose failed creation is told one by one in the log.
const LOGGED_FAILURES_MAX: usize = 10;
/// The versions in which the cluster's authorized operations can be asked for.
const CLUSTER_OPERATIONS_VERSIONS: std::ops::RangeInclusive<i16> = 8..=10;
/// First version in which topics can be asked for by id.
const TOPIC_ID_VERSION: i16 = 12;

/// Answers from the image, after creating what is missing if the client and the configuration allow that. Apache Kafka
/// answers UNKNOWN_TOPIC_OR_PARTITION at once and creates the topic behind the client's back; here the answer comes when
/// the new topic's leaders serve.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: MetadataRequest,
) -> Answer<MetadataResponse> {
    let version = context.api_version;
    if version < EMPTY_IS_NONE_VERSION && request.topics.is_none() {
        // Null is not a value of this version; Kafka's decoder refuses it.
        return Answer::Close(CloseReason::Refused("Metadata v0 with null topics".to_owned()));
    }
    let wanted = match Wanted::of(&request, version) {
        Ok(wanted) => wanted,
        Err(error) => return Answer::Now(failure(&request, error)),
    };
    let missing = missing_topics(services, &wanted);
    let may_create = request.allow_auto_topic_creation && services.config.auto_create_topics_enable();
    if missing.is_empty() || !may_create {
        return Answer::Now(describe(services, context, &request, &wanted));
    }
    let (services, context) = (services.clone(), context.clone());
    Answer::Later(Box::pin(async move {
        let created = services.controller.submit(None, move |controller| {
            let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
            controller.auto_create_topics(&missing)
        });
        match created.await {
            Ok(response) => log_failures(&response),
            Err(error) => warn!("Auto topic creation failed: {error}"),
        }
        describe(&services, &context, &request, &wanted)
    }))
}

fn log_failures(created: &CreateTopicsResponse) {
    let failed = || created.topics.iter().filter(|topic| topic.error_code != NONE);
    for topic in failed().take(LOGGED_FAILURES_MAX) {
        let message = topic.error_message.as_deref().unwrap_or_default();
        warn!("Auto topic creation failed for {}: {message}", topic.name.as_str());
    }
    let others = failed().skip(LOGGED_FAILURES_MAX).count();
    if others > 0 {
        warn!("Auto topic creation failed for {others} other topics of the same request");
    }
}

/// The topics that a request is about.
enum Wanted {
    All,
    Ids(Vec<Uuid>),
    Names(Vec<TopicName>),
}

impl Wanted {
    fn of(request: &MetadataRequest, version: i16) -> Result<Self, ResponseError> {
        let Some(topics) = &request.topics else { return Ok(Self::All) };
        if topics.is_empty() && version < EMPTY_IS_NONE_VERSION {
            return Ok(Self::All);
        }
        let bad = |topic: &MetadataRequestTopic| topic.name.is_none() || !topic.topic_id.is_nil();
        if version < TOPIC_ID_VERSION && topics.iter().any(bad) {
            return Err(ResponseError::InvalidRequest);
        }
        let mut seen = HashSet::new();
        let ids = topics.iter().map(|topic| topic.topic_id).filter(|id| !id.is_nil());
        let ids: Vec<Uuid> = ids.filter(|id| seen.insert(*id)).collect();
        if !ids.is_empty() {
            return Ok(Self::Ids(ids));
        }
        if topics.iter().any(|topic| topic.name.is_none()) {
            // Neither name nor id; Kafka fails with a null pointer.
            return Err(ResponseError::InvalidRequest);
        }
        let mut seen = HashSet::new();
        let names = topics.iter().filter_map(|topic| topic.name.clone());
        Ok(Self::Names(names.filter(|name| seen.insert(name.clone())).collect()))
    }
}

/// The answer when the whole request is refused (`MetadataRequest.getErrorResponse`).
fn failure(request: &MetadataRequest, error: ResponseError) -> MetadataResponse {
    let topic = |topic: &MetadataRequestTopic| {
        MetadataResponseTopic::default()
            .with_name(Some(topic.name.clone().unwrap_or_default()))
            .with_topic_id(topic.topic_id)
            .with_error_code(error.code())
    };
    MetadataResponse::default()
        .with_controller_id(BrokerId(-1))
        .with_topics(request.topics.iter().flatten().map(topic).collect())
        .with_error_code(error.code())
}

/// The names that could be created. Internal topics that this release does not write are not: they would get the wrong
/// configuration.
fn missing_topics(services: &Services, wanted: &Wanted) -> Vec<String> {
    let Wanted::Names(names) = wanted else { return Vec::new() };
    let image = services.controller.image();
    let is_missing = |name: &&TopicName| {
        image.topics.topic(name).is_none()
            && validate_topic_name(name).is_ok()
            && services.controller.can_auto_create(name)
    };
    names.iter().filter(is_missing).map(|name| name.to_string()).collect()
}

fn describe(
    services: &Services,
    context: &RequestContext,
    request: &MetadataRequest,
    wanted: &Wanted,
) -> MetadataResponse {
    let view = ClusterView::new(services, context);
    let version = context.api_version;
    let mut topics = match wanted {
        Wanted::All => view.image.topics.by_name().values().map(|topic| existing(&view, topic, version)).collect(),
        Wanted::Ids(ids) => by_id(&view, ids, version),
        Wanted::Names(names) => by_name(&view, names, version),
    };
    if request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code != ResponseError::UnknownTopicId.code()) {
            topic.topic_authorized_operations = authorized_operations::TOPIC;
        }
    }
    let brokers = view.brokers(false);
    let controller_id = brokers.first().map_or(-1, |(broker, _)| broker.id);
    let broker = |(broker, endpoint): (&crate::metadata::BrokerRegistration, super::Endpoint)| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(broker.id))
            .with_host(StrBytes::from_string(endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(broker.rack.as_ref().map(|rack| StrBytes::from_string(rack.to_string())))
    };
    let mut response = MetadataResponse::default()
        .with_brokers(brokers.into_iter().map(broker).collect())
        .with_cluster_id(Some(StrBytes::from_string(services.replicas.logs().cluster_id().to_owned())))
        .with_controller_id(BrokerId(controller_id))
        .with_topics(topics);
    if request.include_cluster_authorized_operations && CLUSTER_OPERATIONS_VERSIONS.contains(&version) {
        response.cluster_authorized_operations = authorized_operations::CLUSTER;
    }
    response
}

fn by_id(view: &ClusterView<'_>, ids: &[Uuid], version: i16) -> Vec<MetadataResponseTopic> {
    let unknown = |id: &Uuid| {
        MetadataResponseTopic::default()
            .with_error_code(ResponseError::UnknownTopicId.code())
            .with_name(None)
            .with_topic_id(*id)
    };
    let (known, missing): (BTreeSet<_>, Vec<_>) = {
        let is_known = |id: &&Uuid| view.image.topics.topic_by_id(**id).is_some();
        (ids.iter().filter(is_known).collect(), ids.iter().filter(|id| !is_known(id)).collect())
    };
    let known = ids.iter().filter(|id| known.contains(id)).filter_map(|id| view.image.topics.topic_by_id(*id));
    missing.into_iter().map(unknown).chain(known.map(|topic| existing(view, topic, version))).collect()
}

fn by_name(view: &ClusterView<'_>, names: &[TopicName], version: i16) -> Vec<MetadataResponseTopic> {
    let missing = |name: &TopicName| {
        let error = match validate_topic_name(name) {
            Ok(()) => ResponseError::UnknownTopicOrPartition,
            Err(_) => ResponseError::InvalidTopicException,
        };
        MetadataResponseTopic::default()
            .with_error_code(error.code())
            .with_name(Some(name.clone()))
            .with_is_internal(is_internal_topic(name))
    };
    let known = names.iter().filter_map(|name| view.image.topics.topic(name));
    let unknown = names.iter().filter(|name| view.image.topics.topic(name).is_none());
    known.map(|topic| existing(view, topic, version)).chain(unknown.map(missing)).collect()
}

fn existing(view: &ClusterView<'_>, topic: &TopicImage, version: i16) -> MetadataResponseTopic {
    let partitions = topic
        .partitions()
        .map(|(partition, registration)| describe_partition(view, &topic.name, partition, registration, version));
    MetadataResponseTopic::default()
        .with_name(Some(StrBytes::from_string(topic.name.to_string()).into()))
        .with_topic_id(topic.id)
        .with_is_internal(is_internal_topic(&topic.name))
        .with_partitions(partitions.collect())
}

fn describe_partition(
    view: &ClusterView<'_>,
    topic: &str,
    partition: i32,
    registration: &PartitionRegistration,
    version: i16,
) -> MetadataResponsePartition {
    // Version 0 leaves out brokers that cannot be reached, and says that it did.
    let filters = version == 0;
    let ids = |ids: &[i32]| if filters { view.reachable(ids) } else { broker_ids(ids) };
    let (replicas, isr) = (ids(&registration.replicas), ids(&registration.isr));
    let leader = view.leader(topic, partition, registration);
    let is_unknown_listener = || {
        version >= LISTENER_NOT_FOUND_VERSION
            && view.image.cluster.broker(registration.leader).is_some()
            && !view.is_offline(topic, partition, registration.leader)
    };
    let error = match leader {
        None if is_unknown_listener() => ResponseError::ListenerNotFound.code(),
        None => ResponseError::LeaderNotAvailable.code(),
        Some(_) if replicas.len() < registration.replicas.len() || isr.len() < registration.isr.len() => {
            ResponseError::ReplicaNotAvailable.code()
        }
        Some(_) => NONE,
    };
    MetadataResponsePartition::default()
        .with_error_code(error)
        .with_partition_index(partition)
        .with_leader_id(leader.unwrap_or(BrokerId(-1)))
        .with_leader_epoch(registration.leader_epoch)
        .with_replica_nodes(replicas)
        .with_isr_nodes(isr)
        .with_offline_replicas(view.offline_replicas(topic, partition, registration))
}
