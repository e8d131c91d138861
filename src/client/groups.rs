//! What administrators ask of groups, with the answers' errors as Java's admin client tells them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kafka_protocol::messages::consumer_group_describe_response::Assignment;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DeleteGroupsRequest, DescribeGroupsRequest,
    DescribeGroupsResponse, FindCoordinatorRequest, GroupId, ListGroupsRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};

use super::cluster_client::{ClusterClient, Deadline, Destination};
use super::cluster_metadata::Node;
use super::error::ClientError;
use super::offsets::PartitionOffset;
use crate::types::TopicPartition;
use crate::wire::consumer_protocol::{PROTOCOL_TYPE, decode_assignment};
use crate::wire::str_bytes;

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const REBALANCE_IN_PROGRESS: i16 = 27;
const UNSUPPORTED_VERSION: i16 = 35;
const GROUP_ID_NOT_FOUND: i16 = 69;

/// Newest versions that name topics instead of giving their ids.
pub(super) const OFFSET_COMMIT_BY_NAME: Option<i16> = Some(9);
const OFFSET_FETCH_BY_NAME: Option<i16> = Some(9);

/// A group of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its name.
    pub group_id: String,
    /// `Classic`, `Consumer` …; empty where the broker does not say.
    pub group_type: String,
    /// `Stable`, `Empty` …; empty where the broker does not say.
    pub state: String,
}

/// A group and its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Who coordinates it.
    pub coordinator: Node,
    /// `Stable`, `Empty` …
    pub state: String,
    /// How partitions are dealt out; empty where there are no members.
    pub assignor: String,
    /// Of a group of KIP-848.
    pub group_epoch: Option<i32>,
    /// Of a group of KIP-848.
    pub target_assignment_epoch: Option<i32>,
    /// In the order of the answer.
    pub members: Vec<MemberDescription>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// The id that the coordinator gave it.
    pub consumer_id: String,
    /// The name of a static member.
    pub group_instance_id: Option<String>,
    /// How its client calls itself.
    pub client_id: String,
    /// Where it is, with a slash in front.
    pub host: String,
    /// The partitions that it has.
    pub assignment: BTreeSet<TopicPartition>,
    /// The partitions that it should have, in a group of KIP-848.
    pub target_assignment: BTreeSet<TopicPartition>,
    /// In a group of KIP-848.
    pub member_epoch: Option<i32>,
    /// Whether it speaks KIP-848, where that is known.
    pub upgraded: Option<bool>,
}

/// Why a group cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The broker, or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A group of something else than consumers (`IllegalArgumentException`).
    #[error("GroupId {group_id} is not a consumer group ({protocol_type}).")]
    NotConsumers {
        /// Its name.
        group_id: String,
        /// What its members speak: `connect`.
        protocol_type: String,
    },
}

/// The group's type and protocol in a request or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupType {
    /// Members that send their subscriptions to a leader among them.
    Classic,
    /// Members whose assignment the broker computes (KIP-848).
    Consumer,
}

impl fmt::Display for GroupType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Classic => "Classic",
            Self::Consumer => "Consumer",
        })
    }
}

/// Asks the coordinator of a group, again while it moves or loads; `code_of` tells the error of an answer.
pub(super) async fn call_coordinator<T: Request>(
    cluster: &mut ClusterClient,
    name: &str,
    group: &str,
    max: Option<i16>,
    build: impl Fn(i16) -> T,
    code_of: impl Fn(&T::Response) -> i16,
) -> Result<T::Response, ClientError> {
    let clock = cluster.clock().clone();
    let deadline = Deadline::after(&*clock, cluster.config().api_timeout);
    let destination = Destination::Group(group.to_owned());
    loop {
        let response = cluster.call(name, &destination, max, &build).await?;
        let code = code_of(&response);
        match code {
            COORDINATOR_LOAD_IN_PROGRESS => {}
            COORDINATOR_NOT_AVAILABLE | NOT_COORDINATOR => cluster.forget(&destination),
            _ => return Ok(response),
        }
        let backoff = cluster.config().retry_backoff;
        if deadline.remaining(&*clock) <= backoff {
            ClientError::answer(code, None)?;
        }
        clock.sleep_until(clock.monotonic() + backoff).await;
    }
}

/// The consumer groups of every broker, by name. No types or states are all of them.
///
/// # Errors
/// As [`ClusterClient::call`].
pub async fn list_consumer_groups(
    cluster: &mut ClusterClient,
    types: &[GroupType],
    states: &[String],
) -> Result<Vec<GroupListing>, ClientError> {
    let types = if types.is_empty() { &[GroupType::Classic, GroupType::Consumer][..] } else { types };
    let nodes = cluster.metadata(Some(&[]), false).await?.nodes;
    let mut groups = Vec::new();
    for node in nodes {
        let build = |version: i16| {
            let mut request = ListGroupsRequest::default();
            if version >= 4 {
                request.states_filter = states.iter().map(|state| str_bytes(state)).collect();
            }
            if version >= 5 {
                request.types_filter = types.iter().map(|kind| str_bytes(&kind.to_string())).collect();
            }
            request
        };
        let response = cluster.call("listGroups", &Destination::Node(node.id), None, build).await?;
        ClientError::answer(response.error_code, None)?;
        for group in &response.groups {
            if group.protocol_type.is_empty() || group.protocol_type.as_str() == PROTOCOL_TYPE {
                groups.push(GroupListing {
                    group_id: group.group_id.to_string(),
                    group_type: group.group_type.to_string(),
                    state: group.group_state.to_string(),
                });
            }
        }
    }
    groups.sort_by(|one, other| one.group_id.cmp(&other.group_id));
    Ok(groups)
}

/// A group and its members: of KIP-848 if the broker knows it as such, else as a classic one.
///
/// # Errors
/// A group that is not there, one of something else than consumers, and as [`ClusterClient::call`].
pub async fn describe_consumer_group(cluster: &mut ClusterClient, group: &str) -> Result<GroupDescription, GroupError> {
    let coordinator = find_coordinator(cluster, group).await?;
    let mut not_found = None;
    match describe_new_group(cluster, group).await {
        Ok(response) => {
            let described = response.groups.into_iter().next().unwrap_or_default();
            match described.error_code {
                0 => return Ok(new_group(coordinator, described)),
                UNSUPPORTED_VERSION => {}
                // Its words are better than those of the older API.
                GROUP_ID_NOT_FOUND => not_found = described.error_message.map(|text| text.to_string()),
                code => ClientError::answer(code, described.error_message.as_deref())?,
            }
        }
        Err(ClientError::Unsupported(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let described = describe_classic_group(cluster, group).await?.groups.into_iter().next().unwrap_or_default();
    if described.error_code == GROUP_ID_NOT_FOUND && not_found.is_some() {
        ClientError::answer(GROUP_ID_NOT_FOUND, not_found.as_deref())?;
    }
    ClientError::answer(described.error_code, described.error_message.as_deref())?;
    let protocol_type = described.protocol_type.to_string();
    if !protocol_type.is_empty() && protocol_type != PROTOCOL_TYPE {
        return Err(GroupError::NotConsumers { group_id: group.to_owned(), protocol_type });
    }
    Ok(classic_group(coordinator, described))
}

async fn describe_new_group(
    cluster: &mut ClusterClient,
    group: &str,
) -> Result<ConsumerGroupDescribeResponse, ClientError> {
    let build = |_: i16| ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(str_bytes(group))]);
    let code = |response: &ConsumerGroupDescribeResponse| response.groups.first().map_or(0, |group| group.error_code);
    call_coordinator(cluster, "describeConsumerGroups", group, None, build, code).await
}

async fn describe_classic_group(
    cluster: &mut ClusterClient,
    group: &str,
) -> Result<DescribeGroupsResponse, ClientError> {
    let build = |_: i16| DescribeGroupsRequest::default().with_groups(vec![GroupId(str_bytes(group))]);
    let code = |response: &DescribeGroupsResponse| response.groups.first().map_or(0, |group| group.error_code);
    call_coordinator(cluster, "describeConsumerGroups", group, None, build, code).await
}

async fn find_coordinator(cluster: &mut ClusterClient, group: &str) -> Result<Node, ClientError> {
    let clock = cluster.clock().clone();
    let deadline = Deadline::after(&*clock, cluster.config().api_timeout);
    loop {
        let build = |version: i16| match version {
            0..=3 => FindCoordinatorRequest::default().with_key(str_bytes(group)),
            _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![str_bytes(group)]),
        };
        let response = cluster.call("findCoordinator", &Destination::Any, None, build).await?;
        let (code, message, node) = match response.coordinators.first() {
            Some(found) => {
                (found.error_code, found.error_message.clone(), (found.node_id.0, found.host.to_string(), found.port))
            }
            None => {
                let node = (response.node_id.0, response.host.to_string(), response.port);
                (response.error_code, response.error_message.clone(), node)
            }
        };
        let answer = ClientError::answer(code, message.as_deref());
        match answer {
            Ok(()) => return Ok(Node { id: node.0, host: node.1, port: node.2, rack: None }),
            Err(error) if error.is_retriable() && deadline.remaining(&*clock) > cluster.config().retry_backoff => {}
            Err(error) => return Err(error),
        }
        clock.sleep_until(clock.monotonic() + cluster.config().retry_backoff).await;
    }
}

fn text_of(text: Option<StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}

fn new_group(
    coordinator: Node,
    group: kafka_protocol::messages::consumer_group_describe_response::DescribedGroup,
) -> GroupDescription {
    let members = group.members.into_iter().map(|member| MemberDescription {
        consumer_id: member.member_id.to_string(),
        group_instance_id: text_of(member.instance_id),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assignment: partitions_of(&member.assignment),
        target_assignment: partitions_of(&member.target_assignment),
        member_epoch: Some(member.member_epoch),
        upgraded: (member.member_type != -1).then_some(member.member_type == 1),
    });
    GroupDescription {
        coordinator,
        state: group.group_state.to_string(),
        assignor: group.assignor_name.to_string(),
        group_epoch: Some(group.group_epoch),
        target_assignment_epoch: Some(group.assignment_epoch),
        members: members.collect(),
    }
}

fn partitions_of(assignment: &Assignment) -> BTreeSet<TopicPartition> {
    let partitions = assignment.topic_partitions.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| TopicPartition::new(topic.topic_name.as_str(), *partition))
    });
    partitions.collect()
}

fn classic_group(
    coordinator: Node,
    group: kafka_protocol::messages::describe_groups_response::DescribedGroup,
) -> GroupDescription {
    let members = group.members.into_iter().map(|member| {
        let assignment = decode_assignment(&member.member_assignment).unwrap_or_default();
        let assignment = assignment.assigned_partitions.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| TopicPartition::new(topic.topic.as_str(), *partition))
        });
        MemberDescription {
            consumer_id: member.member_id.to_string(),
            group_instance_id: text_of(member.group_instance_id),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assignment: assignment.collect(),
            target_assignment: BTreeSet::new(),
            member_epoch: None,
            upgraded: None,
        }
    });
    GroupDescription {
        coordinator,
        state: group.group_state.to_string(),
        assignor: group.protocol_data.to_string(),
        group_epoch: None,
        target_assignment_epoch: None,
        members: members.collect(),
    }
}

/// What a group has committed: for these partitions, or for all that it has. Partitions without an offset are left out.
/// With `require_stable` offsets of open transactions are waited for (`UNSTABLE_OFFSET_COMMIT`).
///
/// # Errors
/// Those of the group, and as [`ClusterClient::call`].
pub async fn committed_offsets(
    cluster: &mut ClusterClient,
    group: &str,
    partitions: Option<&BTreeSet<TopicPartition>>,
    require_stable: bool,
) -> Result<BTreeMap<TopicPartition, PartitionOffset>, ClientError> {
    let build = |version: i16| offset_fetch_request(version, group, partitions, require_stable);
    let code = |response: &OffsetFetchResponse| {
        response.groups.first().map_or(response.error_code, |answer| answer.error_code)
    };
    let name = "listConsumerGroupOffsets";
    let response = call_coordinator(cluster, name, group, OFFSET_FETCH_BY_NAME, build, code).await?;
    ClientError::answer(code(&response), None)?;
    let mut offsets = BTreeMap::new();
    let mut keep = |topic: &TopicName, partition: i32, code: i16, offset: i64, epoch: i32| {
        ClientError::answer(code, None)?;
        if offset >= 0 {
            offsets.insert(TopicPartition::new(topic.as_str(), partition), PartitionOffset::new(offset, epoch));
        }
        Ok::<_, ClientError>(())
    };
    for topic in &response.topics {
        for answer in &topic.partitions {
            let (offset, epoch) = (answer.committed_offset, answer.committed_leader_epoch);
            keep(&topic.name, answer.partition_index, answer.error_code, offset, epoch)?;
        }
    }
    for topic in response.groups.iter().flat_map(|group| &group.topics) {
        for answer in &topic.partitions {
            let (offset, epoch) = (answer.committed_offset, answer.committed_leader_epoch);
            keep(&topic.name, answer.partition_index, answer.error_code, offset, epoch)?;
        }
    }
    Ok(offsets)
}

fn by_topic<'a>(partitions: impl Iterator<Item = &'a TopicPartition>) -> BTreeMap<&'a str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    topics
}

fn offset_fetch_request(
    version: i16,
    group: &str,
    partitions: Option<&BTreeSet<TopicPartition>>,
    require_stable: bool,
) -> OffsetFetchRequest {
    let topics = partitions.map(|partitions| by_topic(partitions.iter()));
    let group_id = GroupId(str_bytes(group));
    let mut request = OffsetFetchRequest::default();
    if version >= 7 {
        request.require_stable = require_stable;
    }
    if version < 8 {
        let topic = |(name, indexes): (&str, Vec<i32>)| {
            let name = TopicName(str_bytes(name));
            OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(indexes)
        };
        let topics = topics.map(|topics| topics.into_iter().map(topic).collect());
        return request.with_group_id(group_id).with_topics(topics);
    }
    let topic = |(name, indexes): (&str, Vec<i32>)| {
        let name = TopicName(str_bytes(name));
        OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(indexes)
    };
    let topics = topics.map(|topics| topics.into_iter().map(topic).collect());
    request.with_groups(vec![OffsetFetchRequestGroup::default().with_group_id(group_id).with_topics(topics)])
}

/// Sets offsets of a group that has no members. Answers the error of each partition that has one.
///
/// # Errors
/// As [`ClusterClient::call`].
pub async fn alter_group_offsets(
    cluster: &mut ClusterClient,
    group: &str,
    offsets: &BTreeMap<TopicPartition, PartitionOffset>,
) -> Result<BTreeMap<TopicPartition, i16>, ClientError> {
    let build = |version: i16| {
        let topics = commit_topics(version, offsets);
        OffsetCommitRequest::default().with_group_id(GroupId(str_bytes(group))).with_topics(topics)
    };
    let code = |response: &kafka_protocol::messages::OffsetCommitResponse| {
        let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        let waits = [COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, REBALANCE_IN_PROGRESS];
        codes.into_iter().find(|code| waits.contains(code)).unwrap_or(0)
    };
    let name = "alterConsumerGroupOffsets";
    let response = call_coordinator(cluster, name, group, OFFSET_COMMIT_BY_NAME, build, code).await?;
    let mut failed = BTreeMap::new();
    for topic in &response.topics {
        for partition in topic.partitions.iter().filter(|partition| partition.error_code != 0) {
            failed.insert(TopicPartition::new(topic.name.as_str(), partition.partition_index), partition.error_code);
        }
    }
    Ok(failed)
}

/// Offsets as a commit carries them.
pub(super) fn commit_topics(
    version: i16,
    offsets: &BTreeMap<TopicPartition, PartitionOffset>,
) -> Vec<OffsetCommitRequestTopic> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (partition, offset) in offsets {
        let mut committed = OffsetCommitRequestPartition::default()
            .with_partition_index(partition.partition)
            .with_committed_offset(offset.offset)
            .with_committed_metadata(Some(StrBytes::default()));
        if let Some(epoch) = offset.leader_epoch.filter(|_| version >= 6) {
            committed.committed_leader_epoch = epoch;
        }
        topics.entry(&partition.topic).or_default().push(committed);
    }
    let topic = |(name, partitions): (&str, Vec<OffsetCommitRequestPartition>)| {
        OffsetCommitRequestTopic::default().with_name(TopicName(str_bytes(name))).with_partitions(partitions)
    };
    topics.into_iter().map(topic).collect()
}

/// Deletes a group.
///
/// # Errors
/// Those of the group, and as [`ClusterClient::call`].
pub async fn delete_group(cluster: &mut ClusterClient, group: &str) -> Result<(), ClientError> {
    let build = |_: i16| DeleteGroupsRequest::default().with_groups_names(vec![GroupId(str_bytes(group))]);
    let code = |response: &kafka_protocol::messages::DeleteGroupsResponse| {
        response.results.first().map_or(0, |result| result.error_code)
    };
    let response = call_coordinator(cluster, "deleteConsumerGroups", group, None, build, code).await?;
    ClientError::answer(code(&response), None)
}

/// Deletes what a group has committed for partitions. Answers the error of each, 0 for none.
///
/// # Errors
/// Those of the group, and as [`ClusterClient::call`].
pub async fn delete_group_offsets(
    cluster: &mut ClusterClient,
    group: &str,
    partitions: &BTreeSet<TopicPartition>,
) -> Result<BTreeMap<TopicPartition, i16>, ClientError> {
    let build = |_: i16| {
        let topic = |(name, indexes): (&str, Vec<i32>)| {
            let partition = |index| OffsetDeleteRequestPartition::default().with_partition_index(index);
            OffsetDeleteRequestTopic::default()
                .with_name(TopicName(str_bytes(name)))
                .with_partitions(indexes.into_iter().map(partition).collect())
        };
        OffsetDeleteRequest::default()
            .with_group_id(GroupId(str_bytes(group)))
            .with_topics(by_topic(partitions.iter()).into_iter().map(topic).collect())
    };
    let code = |response: &kafka_protocol::messages::OffsetDeleteResponse| response.error_code;
    let response = call_coordinator(cluster, "deleteConsumerGroupOffsets", group, None, build, code).await?;
    ClientError::answer(response.error_code, None)?;
    let answers = response.topics.iter().flat_map(|topic| {
        topic
            .partitions
            .iter()
            .map(|answer| (TopicPartition::new(topic.name.as_str(), answer.partition_index), answer.error_code))
    });
    Ok(answers.collect())
}
