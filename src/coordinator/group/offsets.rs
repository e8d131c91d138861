//! Committed offsets (Kafka's `OffsetMetadataManager`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::classic::ClassicGroup;
use super::config::GroupCoordinatorConfig;
use super::record::{GroupRecord, OffsetAndMetadata};
use super::step::Step;
use crate::types::Uuid;
use crate::wire::str_bytes;

/// `retention_time_ms` of a client that leaves it to the broker.
const DEFAULT_RETENTION_TIME: i64 = -1;

/// Offsets by partition.
type PartitionOffsets = BTreeMap<i32, OffsetAndMetadata>;
/// Offsets by topic.
type TopicOffsets = BTreeMap<Arc<str>, PartitionOffsets>;

/// The committed offsets of a shard's groups, in the order in which OffsetFetch lists them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offsets {
    groups: HashMap<Arc<str>, TopicOffsets>,
}

impl Offsets {
    /// Makes a written record part of the state.
    pub fn replay(&mut self, group_id: Arc<str>, topic: Arc<str>, partition: i32, value: Option<OffsetAndMetadata>) {
        if let Some(value) = value {
            self.groups.entry(group_id).or_default().entry(topic).or_default().insert(partition, value);
            return;
        }
        let Some(topics) = self.groups.get_mut(&group_id) else { return };
        if let Some(partitions) = topics.get_mut(&topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                topics.remove(&topic);
            }
        }
        if topics.is_empty() {
            self.groups.remove(&group_id);
        }
    }

    /// The offset of a partition.
    pub fn get(&self, group_id: &str, topic: &str, partition: i32) -> Option<&OffsetAndMetadata> {
        self.groups.get(group_id)?.get(topic)?.get(&partition)
    }

    /// Every offset of a group as (topic, partition, offset).
    pub fn of_group(&self, group_id: &str) -> impl Iterator<Item = (&Arc<str>, i32, &OffsetAndMetadata)> {
        let topics = self.groups.get(group_id).into_iter().flatten();
        topics.flat_map(|(topic, partitions)| partitions.iter().map(move |(number, value)| (topic, *number, value)))
    }

    /// Tombstones for all offsets of a group.
    pub fn delete_all(&self, group_id: &Arc<str>, records: &mut Vec<GroupRecord>) {
        records.extend(self.of_group(group_id).map(|(topic, partition, _)| tombstone(group_id, topic, partition)));
    }

    /// Tombstones for the offsets of a deleted topic, in all groups. Offsets of a topic of the same name with another
    /// id stay; offsets without an id go.
    pub fn delete_topic(&self, topic_id: Uuid, name: &str, records: &mut Vec<GroupRecord>) {
        for (group_id, topics) in &self.groups {
            let Some((topic, partitions)) = topics.get_key_value(name) else { continue };
            let gone = partitions.iter().filter(|(_, value)| value.topic_id.is_nil() || value.topic_id == topic_id);
            records.extend(gone.map(|(partition, _)| tombstone(group_id, topic, *partition)));
        }
    }

    /// Tombstones for the expired offsets of a group; `true` when nothing else is left.
    pub fn expire(&self, group_id: &Arc<str>, group: &ClassicGroup, step: &mut Step<'_>) -> bool {
        let mut all_expired = true;
        for (topic, partition, value) in self.of_group(group_id) {
            let is_expired = !group.is_subscribed_to(topic)
                && group
                    .expires_at(value, step.config.offsets_retention_ms)
                    .is_some_and(|expires_at| step.now_ms >= expires_at);
            if is_expired {
                step.records.push(tombstone(group_id, topic, partition));
            } else {
                all_expired = false;
            }
        }
        all_expired
    }

    /// Answers OffsetFetch for one group that is there (`false`: it is not, and has no offsets).
    pub fn fetch(&self, request: &OffsetFetchRequestGroup, exists: bool) -> OffsetFetchResponseGroup {
        let group_id = request.group_id.as_str();
        let topics = match &request.topics {
            Some(topics) => topics
                .iter()
                .map(|topic| {
                    let partitions = topic.partition_indexes.iter().map(|partition| {
                        let found = self.get(group_id, &topic.name, *partition).filter(|offset| {
                            exists
                                && (topic.topic_id.is_nil()
                                    || offset.topic_id.is_nil()
                                    || offset.topic_id == topic.topic_id)
                        });
                        fetched(*partition, found)
                    });
                    OffsetFetchResponseTopics::default()
                        .with_name(topic.name.clone())
                        .with_topic_id(topic.topic_id)
                        .with_partitions(partitions.collect())
                })
                .collect(),
            None => self.fetch_all(group_id),
        };
        OffsetFetchResponseGroup::default().with_group_id(request.group_id.clone()).with_topics(topics)
    }

    fn fetch_all(&self, group_id: &str) -> Vec<OffsetFetchResponseTopics> {
        let topics = self.groups.get(group_id).into_iter().flatten();
        topics
            .map(|(topic, partitions)| {
                OffsetFetchResponseTopics::default()
                    .with_name(TopicName(str_bytes(topic)))
                    .with_partitions(partitions.iter().map(|(number, value)| fetched(*number, Some(value))).collect())
            })
            .collect()
    }
}

fn fetched(partition: i32, value: Option<&OffsetAndMetadata>) -> OffsetFetchResponsePartitions {
    let response = OffsetFetchResponsePartitions::default().with_partition_index(partition);
    match value {
        None => response.with_committed_offset(-1).with_committed_leader_epoch(-1).with_metadata(Some(StrBytes::new())),
        Some(value) => response
            .with_committed_offset(value.offset)
            .with_committed_leader_epoch(value.leader_epoch)
            .with_metadata(Some(str_bytes(&value.metadata))),
    }
}

fn tombstone(group_id: &Arc<str>, topic: &Arc<str>, partition: i32) -> GroupRecord {
    GroupRecord::Offset { group_id: group_id.clone(), topic: topic.clone(), partition, value: None }
}

/// The offsets of a commit that was found valid: metadata that is too long is refused by partition, the rest written.
pub fn commit(request: &OffsetCommitRequest, step: &mut Step<'_>) -> OffsetCommitResponse {
    let group_id: Arc<str> = Arc::from(request.group_id.as_str());
    let retention = request.retention_time_ms;
    let expire_timestamp_ms = (retention != DEFAULT_RETENTION_TIME).then(|| step.now_ms.saturating_add(retention));
    // Value v1 has no place for epoch and topic id; memory must not know more than the log.
    let has_own_expiry = expire_timestamp_ms.is_some();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let name: Arc<str> = Arc::from(topic.name.as_str());
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let response = OffsetCommitResponsePartition::default().with_partition_index(partition.partition_index);
            let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
            if is_too_long(metadata, step.config) {
                partitions.push(response.with_error_code(ResponseError::OffsetMetadataTooLarge.code()));
                continue;
            }
            partitions.push(response);
            let value = OffsetAndMetadata {
                offset: partition.committed_offset,
                leader_epoch: if has_own_expiry { -1 } else { partition.committed_leader_epoch },
                metadata: Box::from(metadata),
                commit_timestamp_ms: step.now_ms,
                expire_timestamp_ms,
                topic_id: if has_own_expiry { Uuid::nil() } else { topic.topic_id },
            };
            step.records.push(GroupRecord::Offset {
                group_id: group_id.clone(),
                topic: name.clone(),
                partition: partition.partition_index,
                value: Some(value),
            });
        }
        topics.push(
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions),
        );
    }
    OffsetCommitResponse::default().with_topics(topics)
}

/// Counted as Java counts a string.
fn is_too_long(metadata: &str, config: &GroupCoordinatorConfig) -> bool {
    let limit = config.offset_metadata_max_bytes;
    metadata.len() > limit && metadata.encode_utf16().count() > limit
}

/// OffsetDelete for a group that allows it: topics that a member reads are refused, the rest deleted.
pub fn delete(
    offsets: &Offsets,
    request: &OffsetDeleteRequest,
    group: &ClassicGroup,
    step: &mut Step<'_>,
) -> Vec<OffsetDeleteResponseTopic> {
    let group_id: Arc<str> = Arc::from(request.group_id.as_str());
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let name: Arc<str> = Arc::from(topic.name.as_str());
        let error_code = if group.is_subscribed_to(&name) { ResponseError::GroupSubscribedToTopic.code() } else { 0 };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let number = partition.partition_index;
            partitions.push(
                OffsetDeleteResponsePartition::default().with_partition_index(number).with_error_code(error_code),
            );
            if error_code == 0 && offsets.get(&group_id, &name, number).is_some() {
                step.records.push(tombstone(&group_id, &name, number));
            }
        }
        topics.push(OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    topics
}
