//! Topics that exist: deletion, leader election, reassignments (`ReplicationControlManager`, `ControllerApis`).

use std::collections::{BTreeSet, HashSet};

use indexmap::{IndexMap, IndexSet};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    BrokerId, DeleteTopicsRequest, DeleteTopicsResponse, ElectLeadersRequest, ElectLeadersResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::super::api_error::{ApiError, code_of};
use super::super::image::{MetadataImage, PartitionRegistration, TopicImage};
use super::super::records::{self, MetadataRecord};
use super::control::{ControlContext, ControlResult};
use super::partition_change::{Election, elect};
use crate::types::Uuid;

/// Deletes topics by name or by id. Kafka answers in random order; here errors of the request come first.
pub fn delete_topics(
    context: &ControlContext<'_>,
    request: &DeleteTopicsRequest,
    api_version: i16,
) -> ControlResult<DeleteTopicsResponse> {
    if !context.config.delete_topic_enable() {
        let error = match api_version {
            ..3 => ResponseError::InvalidRequest,
            _ => ResponseError::TopicDeletionDisabled,
        };
        return ControlResult::unchanged(delete_topics_failure(request, &ApiError::bare(error)));
    }
    let mut deletion = Deletion { image: context.image, responses: Vec::new(), topics: Vec::new() };
    deletion.collect(request);
    let mut records = Vec::new();
    for (topic, by_name) in std::mem::take(&mut deletion.topics) {
        records.push(records::remove_topic(topic.id));
        let name = by_name.unwrap_or_else(|| StrBytes::from_string(topic.name.to_string()).into());
        deletion.answer(Some(name), topic.id, None);
    }
    ControlResult { response: DeleteTopicsResponse::default().with_responses(deletion.responses), records }
}

/// The answer when the whole request fails (`DeleteTopicsRequest.getErrorResponse`).
pub fn delete_topics_failure(request: &DeleteTopicsRequest, error: &ApiError) -> DeleteTopicsResponse {
    let names = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::nil()));
    let topics = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
    let result = |(name, id): (Option<TopicName>, Uuid)| {
        DeletableTopicResult::default().with_name(name).with_topic_id(id).with_error_code(error.code())
    };
    DeleteTopicsResponse::default().with_responses(names.chain(topics).map(result).collect())
}

struct Deletion<'a> {
    image: &'a MetadataImage,
    responses: Vec<DeletableTopicResult>,
    topics: Vec<(&'a TopicImage, Option<TopicName>)>,
}

impl Deletion<'_> {
    fn answer(&mut self, name: Option<TopicName>, topic_id: Uuid, error: Option<&ApiError>) {
        let result = DeletableTopicResult::default()
            .with_name(name)
            .with_topic_id(topic_id)
            .with_error_code(code_of(error))
            .with_error_message(error.and_then(ApiError::message_bytes));
        self.responses.push(result);
    }

    fn invalid(&mut self, name: Option<TopicName>, topic_id: Uuid, message: &str) {
        self.answer(name, topic_id, Some(&ApiError::new(ResponseError::InvalidRequest, message)));
    }

    /// Sorts the topics of the request into those to delete and answers for the others.
    fn collect(&mut self, request: &DeleteTopicsRequest) {
        let mut names: Vec<TopicName> = request.topic_names.clone();
        let mut ids = Vec::new();
        for topic in &request.topics {
            match (&topic.name, topic.topic_id.is_nil()) {
                (None, true) => self.invalid(None, Uuid::nil(), "Neither topic name nor id were specified."),
                (None, false) => ids.push(topic.topic_id),
                (Some(name), true) => names.push(name.clone()),
                (Some(name), false) => {
                    let message = "You may not specify both topic name and topic id.";
                    self.invalid(Some(name.clone()), topic.topic_id, message);
                }
            }
        }
        let (names, duplicate_names) = split_duplicates(names);
        let (ids, mut duplicate_ids) = split_duplicates(ids);
        for name in duplicate_names {
            self.invalid(Some(name), Uuid::nil(), "Duplicate topic name.");
        }
        for id in &duplicate_ids {
            self.invalid(None, *id, "Duplicate topic id.");
        }
        let mut chosen: IndexMap<Uuid, Option<TopicName>> = IndexMap::new();
        for id in ids {
            if self.image.topics.topic_by_id(id).is_some() {
                chosen.insert(id, None);
            } else {
                let error = ApiError::new(ResponseError::UnknownTopicId, "This server does not host this topic ID.");
                self.answer(None, id, Some(&error));
            }
        }
        for name in names {
            let Some(topic) = self.image.topics.topic(&name) else {
                let message = "This server does not host this topic-partition.";
                let error = ApiError::new(ResponseError::UnknownTopicOrPartition, message);
                self.answer(Some(name), Uuid::nil(), Some(&error));
                continue;
            };
            let id = topic.id;
            if duplicate_ids.contains(&id) || chosen.contains_key(&id) {
                chosen.shift_remove(&id);
                duplicate_ids.insert(id);
                self.invalid(Some(name), id, "The provided topic name maps to an ID that was already supplied.");
            } else {
                chosen.insert(id, Some(name));
            }
        }
        let found = |(id, name): (Uuid, Option<TopicName>)| Some((&**self.image.topics.topic_by_id(id)?, name));
        self.topics = chosen.into_iter().filter_map(found).collect();
    }
}

/// The values that are there once, in order, and those that are there more often, each once.
fn split_duplicates<T: Clone + Eq + std::hash::Hash>(values: Vec<T>) -> (Vec<T>, IndexSet<T>) {
    let mut seen = HashSet::new();
    let mut duplicates = IndexSet::new();
    for value in &values {
        if !seen.insert(value.clone()) {
            duplicates.insert(value.clone());
        }
    }
    (values.into_iter().filter(|value| !duplicates.contains(value)).collect(), duplicates)
}

/// Elects leaders: the preferred ones (type 0) or, for partitions without a leader, any live replica (type 1).
pub fn elect_leaders(
    context: &ControlContext<'_>,
    request: &ElectLeadersRequest,
) -> ControlResult<ElectLeadersResponse> {
    let election = match request.election_type {
        0 => Election::Preferred,
        1 => Election::Unclean,
        other => {
            let message = format!("Unknown election type {other}");
            let error = ApiError::new(ResponseError::InvalidRequest, message);
            return ControlResult::unchanged(elect_leaders_failure(request, &error));
        }
    };
    let mut records = Vec::new();
    let mut response = ElectLeadersResponse::default();
    match &request.topic_partitions {
        None => {
            for topic in context.image.topics.by_name().values() {
                let mut result =
                    ReplicaElectionResult::default().with_topic(StrBytes::from_string(topic.name.to_string()).into());
                for (partition, _) in topic.partitions() {
                    let outcome = elect_leader(context, &topic.name, partition, election, &mut records);
                    // Of all partitions, those that have the leader already are left out.
                    if outcome.as_ref().is_none_or(|error| error.error != ResponseError::ElectionNotNeeded) {
                        result.partition_result.push(partition_result(partition, outcome.as_ref()));
                    }
                }
                response.replica_election_results.push(result);
            }
        }
        Some(topics) => {
            for topic in topics {
                let mut result = ReplicaElectionResult::default().with_topic(topic.topic.clone());
                for partition in &topic.partitions {
                    let outcome = elect_leader(context, &topic.topic, *partition, election, &mut records);
                    result.partition_result.push(partition_result(*partition, outcome.as_ref()));
                }
                response.replica_election_results.push(result);
            }
        }
    }
    ControlResult { response, records }
}

/// The answer when the whole request fails (`ElectLeadersRequest.getErrorResponse`).
pub fn elect_leaders_failure(request: &ElectLeadersRequest, error: &ApiError) -> ElectLeadersResponse {
    let topics = request.topic_partitions.iter().flatten();
    let results = topics
        .map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| partition_result(*partition, Some(error)));
            ReplicaElectionResult::default().with_topic(topic.topic.clone()).with_partition_result(partitions.collect())
        })
        .collect();
    ElectLeadersResponse::default().with_error_code(error.code()).with_replica_election_results(results)
}

fn partition_result(partition: i32, error: Option<&ApiError>) -> PartitionResult {
    PartitionResult::default()
        .with_partition_id(partition)
        .with_error_code(code_of(error))
        .with_error_message(error.and_then(ApiError::message_bytes))
}

/// Elects one leader; `None` when it was elected.
fn elect_leader(
    context: &ControlContext<'_>,
    name: &str,
    partition: i32,
    election: Election,
    records: &mut Vec<MetadataRecord>,
) -> Option<ApiError> {
    let unknown = |message: String| Some(ApiError::new(ResponseError::UnknownTopicOrPartition, message));
    let Some(topic) = context.image.topics.topic(name) else {
        return unknown(format!("No such topic as {name}"));
    };
    let Some(registration) = topic.partition(partition) else {
        return unknown(format!("No such partition as {name}-{partition}"));
    };
    let not_needed = match election {
        Election::Preferred => registration.leader == registration.preferred_replica(),
        Election::Unclean => registration.has_leader(),
    };
    if not_needed {
        let message = "Leader election not needed for topic partition.";
        return Some(ApiError::new(ResponseError::ElectionNotNeeded, message));
    }
    match elect(&context.image.cluster, registration, election) {
        Some(change) => {
            records.push(records::partition_change(topic.id, partition, &change));
            None
        }
        None if election == Election::Preferred => {
            let message = "The preferred leader was not available.";
            Some(ApiError::new(ResponseError::PreferredLeaderNotAvailable, message))
        }
        None => {
            let message = "Eligible topic partition leaders are not available.";
            Some(ApiError::new(ResponseError::EligibleLeadersNotAvailable, message))
        }
    }
}

/// The reassignments in progress.
pub fn list_partition_reassignments(
    image: &MetadataImage,
    request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let mut response = ListPartitionReassignmentsResponse::default().with_error_message(None);
    let mut list = |topic: &TopicImage, wanted: Option<&BTreeSet<i32>>| {
        let partitions: Vec<_> = topic
            .partitions()
            .filter(|(partition, _)| wanted.is_none_or(|wanted| wanted.contains(partition)))
            .filter(|(_, registration)| is_reassigning(registration))
            .map(|(partition, registration)| ongoing(partition, registration))
            .collect();
        if !partitions.is_empty() {
            let name = StrBytes::from_string(topic.name.to_string()).into();
            response.topics.push(OngoingTopicReassignment::default().with_name(name).with_partitions(partitions));
        }
    };
    match &request.topics {
        None => image.topics.by_name().values().for_each(|topic| list(topic, None)),
        Some(topics) => {
            for wanted in topics {
                if let Some(topic) = image.topics.topic(&wanted.name) {
                    list(topic, Some(&wanted.partition_indexes.iter().copied().collect()));
                }
            }
        }
    }
    response
}

fn is_reassigning(registration: &PartitionRegistration) -> bool {
    !registration.removing_replicas.is_empty() || !registration.adding_replicas.is_empty()
}

fn ongoing(partition: i32, registration: &PartitionRegistration) -> OngoingPartitionReassignment {
    let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
    OngoingPartitionReassignment::default()
        .with_partition_index(partition)
        .with_replicas(ids(&registration.replicas))
        .with_adding_replicas(ids(&registration.adding_replicas))
        .with_removing_replicas(ids(&registration.removing_replicas))
}
