//! CreateTopics and CreatePartitions (`ReplicationControlManager.createTopics`, `createPartitions`).

use std::collections::{BTreeMap, HashMap, HashSet};

use indexmap::IndexSet;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::super::api_error::ApiError;
use super::super::image::{BrokerIds, ClusterImage, ConfigResource, PartitionRegistration, TopicsImage};
use super::super::records::{self, MetadataRecord};
use super::super::topic_name::{has_collision_characters, unify_collision_characters, validate_topic_name};
use super::configuration_schema::validate_topic;
use super::control::{ControlContext, ControlResult};
use super::placement::{has_uncordoned_directory, place};
use crate::config::describe_topic;
use crate::types::{CLUSTER_METADATA_TOPIC_NAME, Uuid};

/// The most partitions that one request may create (`MAX_PARTITIONS_PER_BATCH`).
const MAX_PARTITIONS_PER_BATCH: usize = 10_000;

/// Creates topics. All that can be created are, in one batch of records.
pub fn create_topics(
    context: &ControlContext<'_>,
    request: &CreateTopicsRequest,
) -> ControlResult<CreateTopicsResponse> {
    let names = NamesOfRequest::new(request.topics.iter().map(|topic| topic.name.as_str()));
    let wanted: Vec<&CreatableTopic> = request
        .topics
        .iter()
        .filter(|topic| names.is_single(&topic.name) && topic.name.as_str() != CLUSTER_METADATA_TOPIC_NAME)
        .collect();
    if let Err(error) = check_total(context, &wanted) {
        return ControlResult::unchanged(create_topics_failure(request, &error));
    }
    let mut records = Vec::new();
    let mut response = CreateTopicsResponse::default();
    let collisions = Collisions::new(&context.image.topics, &wanted);
    for topic in wanted {
        let result = match create_topic(context, topic, &collisions) {
            Ok((result, topic_records)) => {
                records.extend(topic_records);
                result
            }
            Err(error) => failed(&topic.name, &error),
        };
        response.topics.push(result);
    }
    for name in &names.duplicates {
        let error = ApiError::new(ResponseError::InvalidRequest, "Duplicate topic name.");
        response.topics.push(failed(name, &error));
    }
    if names.singles.contains(CLUSTER_METADATA_TOPIC_NAME) {
        let message = format!("Creation of internal topic {CLUSTER_METADATA_TOPIC_NAME} is prohibited.");
        let error = ApiError::new(ResponseError::InvalidRequest, message);
        response.topics.push(failed(CLUSTER_METADATA_TOPIC_NAME, &error));
    }
    ControlResult { response, records }.without_records_if(request.validate_only)
}

/// The answer when the whole request fails (`CreateTopicsRequest.getErrorResponse`).
pub fn create_topics_failure(request: &CreateTopicsRequest, error: &ApiError) -> CreateTopicsResponse {
    CreateTopicsResponse::default().with_topics(request.topics.iter().map(|topic| failed(&topic.name, error)).collect())
}

/// The names of a request, apart by whether they are there once.
struct NamesOfRequest<'a> {
    singles: HashSet<&'a str>,
    duplicates: IndexSet<&'a str>,
}

impl<'a> NamesOfRequest<'a> {
    fn new(names: impl Iterator<Item = &'a str>) -> Self {
        let mut singles = HashSet::new();
        let mut duplicates = IndexSet::new();
        for name in names {
            if !singles.insert(name) {
                duplicates.insert(name);
            }
        }
        for name in &duplicates {
            singles.remove(name);
        }
        Self { singles, duplicates }
    }

    fn is_single(&self, name: &str) -> bool {
        self.singles.contains(name)
    }
}

fn check_total(context: &ControlContext<'_>, topics: &[&CreatableTopic]) -> Result<(), ApiError> {
    let total = topics.iter().fold(0_usize, |total, topic| {
        let count = match (topic.assignments.len(), topic.num_partitions) {
            (0, -1) => usize::try_from(context.config.num_partitions()).unwrap_or(0),
            (0, count) => usize::try_from(count).unwrap_or(0),
            (assignments, _) => assignments,
        };
        total.saturating_add(count)
    });
    if total > MAX_PARTITIONS_PER_BATCH {
        let message = "Excessively large number of partitions per request.";
        return Err(ApiError::new(ResponseError::PolicyViolation, message));
    }
    Ok(())
}

fn failed(name: &str, error: &ApiError) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(StrBytes::from_string(name.to_owned()).into())
        .with_error_code(error.code())
        .with_error_message(error.message_bytes())
}

fn create_topic(
    context: &ControlContext<'_>,
    topic: &CreatableTopic,
    collisions: &Collisions<'_>,
) -> Result<(CreatableTopicResult, Vec<MetadataRecord>), ApiError> {
    let name = topic.name.as_str();
    check_new_name(context, name, collisions)?;
    let overrides = overrides_of(topic)?;
    validate_topic(context.config, &overrides)?;
    let partitions = if topic.assignments.is_empty() {
        automatic_partitions(context, topic)?
    } else {
        manual_partitions(context, topic)?
    };
    let topic_id = context.random.uuid();
    let mut records = vec![records::topic(name, topic_id)];
    let resource = ConfigResource::topic(name);
    records.extend(overrides.iter().map(|(key, value)| records::config(&resource, key, Some(value))));
    for (partition, registration) in (0..).zip(&partitions) {
        records.push(records::partition(topic_id, partition, registration));
    }
    let replication_factor = partitions.first().map_or(0, |partition| partition.replicas.len());
    let result = CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic_id)
        .with_error_message(None)
        .with_num_partitions(i32::try_from(partitions.len()).unwrap_or(i32::MAX))
        .with_replication_factor(i16::try_from(replication_factor).unwrap_or(i16::MAX))
        .with_configs(Some(effective_configs(context, &overrides)));
    Ok((result, records))
}

/// The existing topics whose names metrics confuse with others: they do not tell '.' from '_'.
struct Collisions<'a> {
    by_unified_name: HashMap<String, &'a str>,
}

impl<'a> Collisions<'a> {
    /// Looks through the existing topics only when a new one needs it.
    fn new(topics: &'a TopicsImage, wanted: &[&CreatableTopic]) -> Self {
        let mut by_unified_name = HashMap::new();
        if wanted.iter().any(|topic| has_collision_characters(&topic.name)) {
            for name in topics.by_name().keys().filter(|name| has_collision_characters(name)) {
                by_unified_name.entry(unify_collision_characters(name)).or_insert(&**name);
            }
        }
        Self { by_unified_name }
    }

    fn existing(&self, name: &str) -> Option<&'a str> {
        self.by_unified_name.get(&unify_collision_characters(name)).copied()
    }
}

fn check_new_name(context: &ControlContext<'_>, name: &str, collisions: &Collisions<'_>) -> Result<(), ApiError> {
    if context.image.topics.topic(name).is_some() {
        let message = format!("Topic '{name}' already exists.");
        return Err(ApiError::new(ResponseError::TopicAlreadyExists, message));
    }
    if let Some(existing) = collisions.existing(name) {
        let message = format!("Topic '{name}' collides with existing topic: {existing}");
        return Err(ApiError::new(ResponseError::InvalidTopicException, message));
    }
    validate_topic_name(name).map_err(|message| ApiError::new(ResponseError::InvalidTopicException, message))
}

fn overrides_of(topic: &CreatableTopic) -> Result<BTreeMap<String, String>, ApiError> {
    let nulls: Vec<&str> =
        topic.configs.iter().filter(|config| config.value.is_none()).map(|config| config.name.as_str()).collect();
    if !nulls.is_empty() {
        let message = format!("Null value not supported for topic configs: {}", nulls.join(","));
        return Err(ApiError::new(ResponseError::InvalidConfig, message));
    }
    let entry = |config: &kafka_protocol::messages::create_topics_request::CreatableTopicConfig| {
        Some((config.name.to_string(), config.value.as_ref()?.to_string()))
    };
    Ok(topic.configs.iter().filter_map(entry).collect())
}

fn effective_configs(context: &ControlContext<'_>, overrides: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let mut configs = describe_topic(context.config, overrides);
    configs.sort_by(|left, right| left.name.cmp(&right.name));
    configs
        .into_iter()
        .map(|config| {
            CreatableTopicConfigs::default()
                .with_name(StrBytes::from_string(config.name))
                .with_value(config.value.filter(|_| !config.sensitive).map(StrBytes::from_string))
                .with_read_only(config.read_only)
                .with_config_source(config.source.id())
                .with_is_sensitive(config.sensitive)
        })
        .collect()
}

fn automatic_partitions(
    context: &ControlContext<'_>,
    topic: &CreatableTopic,
) -> Result<Vec<PartitionRegistration>, ApiError> {
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(ApiError::new(ResponseError::InvalidReplicationFactor, message));
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        let message = "Number of partitions was set to an invalid non-positive value.";
        return Err(ApiError::new(ResponseError::InvalidPartitions, message));
    }
    let count = match topic.num_partitions {
        -1 => context.config.num_partitions(),
        count => count,
    };
    let replication_factor = match topic.replication_factor {
        -1 => i16::try_from(context.config.default_replication_factor()).unwrap_or(i16::MAX),
        replication_factor => replication_factor,
    };
    let cluster = &context.image.cluster;
    let prefix = format!("Unable to replicate the partition {replication_factor} time(s): ");
    let placements = place(cluster, usize::try_from(count).unwrap_or(0), replication_factor, context.random)
        .map_err(|error| ApiError { message: error.message.map(|message| prefix.clone() + &message), ..error })?;
    placements.into_iter().map(|replicas| new_partition(cluster, replicas, &prefix)).collect()
}

/// A new partition; refused when none of its brokers is alive.
fn new_partition(cluster: &ClusterImage, replicas: BrokerIds, prefix: &str) -> Result<PartitionRegistration, ApiError> {
    let isr = alive(cluster, &replicas);
    if isr.is_empty() {
        let message = format!("{prefix}All brokers are currently fenced or in controlled shutdown.");
        return Err(ApiError::new(ResponseError::InvalidReplicationFactor, message));
    }
    Ok(partition_registration(cluster, replicas, isr))
}

fn alive(cluster: &ClusterImage, replicas: &[i32]) -> BrokerIds {
    let is_alive =
        |id: &i32| cluster.broker(*id).is_some_and(|broker| !broker.fenced && !broker.in_controlled_shutdown);
    replicas.iter().copied().filter(is_alive).collect()
}

fn partition_registration(cluster: &ClusterImage, replicas: BrokerIds, isr: BrokerIds) -> PartitionRegistration {
    let directories = replicas.iter().map(|id| default_directory(cluster, *id)).collect();
    let leader = isr.first().copied().unwrap_or(super::super::image::NO_LEADER);
    PartitionRegistration { replicas, directories, isr, leader, ..PartitionRegistration::default() }
}

/// The directory of a new replica: the broker's only one, or the reserved id 0 (`DirectoryId.UNASSIGNED`) when the
/// broker chooses among several.
fn default_directory(cluster: &ClusterImage, broker_id: i32) -> Uuid {
    match cluster.broker(broker_id).map(|broker| broker.directories.as_slice()) {
        Some([directory]) => *directory,
        _ => Uuid::nil(),
    }
}

fn manual_partitions(
    context: &ControlContext<'_>,
    topic: &CreatableTopic,
) -> Result<Vec<PartitionRegistration>, ApiError> {
    let both = |what: &str| {
        let message = format!("A manual partition assignment was specified, but {what} was not set to -1.");
        Err(ApiError::new(ResponseError::InvalidRequest, message))
    };
    if topic.replication_factor != -1 {
        return both("replication factor");
    }
    if topic.num_partitions != -1 {
        return both("numPartitions");
    }
    let cluster = &context.image.cluster;
    let mut partitions = BTreeMap::new();
    let mut replication_factor = None;
    for assignment in &topic.assignments {
        let partition = assignment.partition_index;
        if partitions.contains_key(&partition) {
            let message = format!("Found multiple manual partition assignments for partition {partition}");
            return Err(invalid_assignment(message));
        }
        let registration = manual_partition(cluster, partition, &assignment.broker_ids, replication_factor)?;
        replication_factor = Some(assignment.broker_ids.len());
        partitions.insert(partition, registration);
    }
    if !partitions.keys().copied().eq((0..).take(partitions.len())) {
        return Err(invalid_assignment("partitions should be a consecutive 0-based integer sequence".into()));
    }
    Ok(partitions.into_values().collect())
}

fn invalid_assignment(message: String) -> ApiError {
    ApiError::new(ResponseError::InvalidReplicaAssignment, message)
}

fn manual_partition(
    cluster: &ClusterImage,
    partition: i32,
    brokers: &[BrokerId],
    replication_factor: Option<usize>,
) -> Result<PartitionRegistration, ApiError> {
    let replicas: BrokerIds = brokers.iter().map(|broker| broker.0).collect();
    validate_assignment(cluster, &replicas, replication_factor).map_err(invalid_assignment)?;
    let isr = alive(cluster, &replicas);
    if isr.is_empty() {
        return Err(invalid_assignment(format!(
            "All brokers specified in the manual partition assignment for partition {partition} are fenced or in \
             controlled shutdown."
        )));
    }
    Ok(partition_registration(cluster, replicas, isr))
}

/// `validateManualPartitionAssignment`.
fn validate_assignment(
    cluster: &ClusterImage,
    replicas: &[i32],
    replication_factor: Option<usize>,
) -> Result<(), String> {
    if replicas.is_empty() {
        return Err("The manual partition assignment includes an empty replica list.".into());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    let mut previous = None;
    for id in sorted {
        let Some(broker) = cluster.broker(id) else {
            return Err(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            ));
        };
        if !has_uncordoned_directory(broker) {
            return Err(format!(
                "The manual partition assignment includes broker {id}, but all its log directories are cordoned."
            ));
        }
        if previous == Some(id) {
            return Err(format!("The manual partition assignment includes the broker {id} more than once."));
        }
        previous = Some(id);
    }
    match replication_factor {
        Some(expected) if expected != replicas.len() => Err(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with \
             previous partitions, which have {expected} replica(s).",
            replicas.len()
        )),
        _ => Ok(()),
    }
}

/// Adds partitions to topics.
pub fn create_partitions(
    context: &ControlContext<'_>,
    request: &CreatePartitionsRequest,
) -> ControlResult<CreatePartitionsResponse> {
    let names = NamesOfRequest::new(request.topics.iter().map(|topic| topic.name.as_str()));
    let mut response = CreatePartitionsResponse::default();
    let mut records = Vec::new();
    let result = |name: &str, error: Option<&ApiError>| {
        CreatePartitionsTopicResult::default()
            .with_name(StrBytes::from_string(name.to_owned()).into())
            .with_error_code(super::super::api_error::code_of(error))
            .with_error_message(error.and_then(ApiError::message_bytes))
    };
    for name in &names.duplicates {
        let error = ApiError::new(ResponseError::InvalidRequest, "Duplicate topic name.");
        response.results.push(result(name, Some(&error)));
    }
    for topic in request.topics.iter().filter(|topic| names.is_single(&topic.name)) {
        match create_partitions_of_topic(context, topic) {
            Ok(topic_records) => {
                records.extend(topic_records);
                response.results.push(result(&topic.name, None));
            }
            Err(error) => response.results.push(result(&topic.name, Some(&error))),
        }
    }
    ControlResult { response, records }.without_records_if(request.validate_only)
}

/// The answer when the whole request fails (`CreatePartitionsRequest.getErrorResponse`).
pub fn create_partitions_failure(request: &CreatePartitionsRequest, error: &ApiError) -> CreatePartitionsResponse {
    let result = |topic: &CreatePartitionsTopic| {
        CreatePartitionsTopicResult::default()
            .with_name(topic.name.clone())
            .with_error_code(error.code())
            .with_error_message(error.message_bytes())
    };
    CreatePartitionsResponse::default().with_results(request.topics.iter().map(result).collect())
}

fn create_partitions_of_topic(
    context: &ControlContext<'_>,
    request: &CreatePartitionsTopic,
) -> Result<Vec<MetadataRecord>, ApiError> {
    let Some(topic) = context.image.topics.topic(&request.name) else {
        return Err(ApiError::bare(ResponseError::UnknownTopicOrPartition));
    };
    let existing = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let invalid = |message: String| Err(ApiError::new(ResponseError::InvalidPartitions, message));
    if request.count == existing {
        return invalid(format!("Topic already has {existing} partition(s)."));
    }
    if request.count < existing {
        return invalid(format!(
            "The topic {} currently has {existing} partition(s); {} would not be an increase.",
            topic.name, request.count
        ));
    }
    let additional = request.count - existing;
    if usize::try_from(additional).unwrap_or(usize::MAX) > MAX_PARTITIONS_PER_BATCH {
        // Kafka fails with UNKNOWN_SERVER_ERROR when its list of records overflows.
        let message = "Excessively large number of partitions per request.";
        return Err(ApiError::new(ResponseError::PolicyViolation, message));
    }
    let cluster = &context.image.cluster;
    let replication_factor = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
    let partitions = match &request.assignments {
        Some(assignments) => assigned_partitions(cluster, assignments, existing, additional, replication_factor)?,
        None => {
            let factor = i16::try_from(replication_factor).unwrap_or(i16::MAX);
            let prefix = format!("Unable to replicate the partition {factor} time(s): ");
            place(cluster, usize::try_from(additional).unwrap_or(0), factor, context.random)?
                .into_iter()
                .map(|replicas| new_partition(cluster, replicas, &prefix))
                .collect::<Result<_, _>>()?
        }
    };
    let record = |(partition, registration): (i32, &PartitionRegistration)| {
        records::partition(topic.id, partition, registration)
    };
    Ok((existing..).zip(&partitions).map(record).collect())
}

fn assigned_partitions(
    cluster: &ClusterImage,
    assignments: &[CreatePartitionsAssignment],
    existing: i32,
    additional: i32,
    replication_factor: usize,
) -> Result<Vec<PartitionRegistration>, ApiError> {
    if i32::try_from(assignments.len()) != Ok(additional) {
        return Err(invalid_assignment(format!(
            "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
            assignments.len()
        )));
    }
    (existing..)
        .zip(assignments)
        .map(|(partition, assignment)| {
            manual_partition(cluster, partition, &assignment.broker_ids, Some(replication_factor))
        })
        .collect()
}
