//! Committed offsets (Kafka's `OffsetMetadataManager`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, TopicName, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::classic::ClassicGroup;
use super::config::GroupCoordinatorConfig;
use super::pending_offsets::PendingOffsets;
use super::record::{GroupRecord, OffsetAndMetadata};
use super::step::Step;
use crate::mutant;
use crate::types::{TransactionResult, Uuid};
use crate::wire::str_bytes;

/// `retention_time_ms` of a client that leaves it to the broker.
const DEFAULT_RETENTION_TIME: i64 = -1;

/// An offset and where in the log it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset of its record in `__consumer_offsets`: of two commits the one that was written later counts, whenever its
    /// transaction ended.
    pub record_offset: i64,
    /// What was committed.
    pub value: OffsetAndMetadata,
}

/// Offsets by partition.
type PartitionOffsets = BTreeMap<i32, Committed>;
/// Offsets by topic.
type TopicOffsets = BTreeMap<Arc<str>, PartitionOffsets>;

/// The committed offsets of a shard's groups, in the order in which OffsetFetch lists them, and those of open transactions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offsets {
    groups: HashMap<Arc<str>, TopicOffsets>,
    pending: PendingOffsets,
}

impl Offsets {
    /// Makes a written record part of the state. A tombstone takes along what transactions have pending for the partition.
    pub fn replay(
        &mut self,
        record_offset: i64,
        group_id: Arc<str>,
        topic: Arc<str>,
        partition: i32,
        value: Option<OffsetAndMetadata>,
    ) {
        if let Some(value) = value {
            return self.insert(group_id, topic, partition, Committed { record_offset, value });
        }
        self.pending.forget(&group_id, &topic, partition);
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

    /// An offset that the transaction of this producer commits: invisible until [`Offsets::end_transaction`].
    pub fn replay_pending(
        &mut self,
        record_offset: i64,
        producer_id: i64,
        group_id: Arc<str>,
        topic: Arc<str>,
        partition: i32,
        value: OffsetAndMetadata,
    ) {
        let committed = Committed { record_offset, value };
        if mutant::is_active("pending-offsets-visible-early") {
            self.insert(group_id.clone(), topic.clone(), partition, committed.clone());
        }
        self.pending.insert(producer_id, group_id, topic, partition, committed);
    }

    /// The producer's transaction is decided: its offsets become visible, where nothing was committed after them, or go.
    /// Gives the groups that have a new offset.
    pub fn end_transaction(&mut self, producer_id: i64, result: TransactionResult) -> Vec<Arc<str>> {
        let mut groups = Vec::new();
        let is_commit = result.is_commit() || mutant::is_active("pending-offsets-kept-after-abort");
        for ((group_id, topic, partition), committed) in self.pending.take(producer_id) {
            let is_latest = self
                .committed(&group_id, &topic, partition)
                .is_none_or(|existing| existing.record_offset < committed.record_offset);
            if is_commit && is_latest {
                groups.push(group_id.clone());
                self.insert(group_id, topic, partition, committed);
            }
        }
        groups.dedup();
        groups
    }

    fn insert(&mut self, group_id: Arc<str>, topic: Arc<str>, partition: i32, committed: Committed) {
        self.groups.entry(group_id).or_default().entry(topic).or_default().insert(partition, committed);
    }

    fn committed(&self, group_id: &str, topic: &str, partition: i32) -> Option<&Committed> {
        self.groups.get(group_id)?.get(topic)?.get(&partition)
    }

    /// The offset of a partition.
    pub fn get(&self, group_id: &str, topic: &str, partition: i32) -> Option<&OffsetAndMetadata> {
        self.committed(group_id, topic, partition).map(|committed| &committed.value)
    }

    /// What transactions have pending.
    #[cfg(test)]
    pub fn pending(&self) -> &PendingOffsets {
        &self.pending
    }

    /// Every offset of a group as (topic, partition, offset).
    pub fn of_group(&self, group_id: &str) -> impl Iterator<Item = (&Arc<str>, i32, &OffsetAndMetadata)> {
        let topics = self.groups.get(group_id).into_iter().flatten();
        topics.flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(number, committed)| (topic, *number, &committed.value))
        })
    }

    /// Tombstones for all offsets of a group, also those of open transactions.
    pub fn delete_all(&self, group_id: &Arc<str>, records: &mut Vec<GroupRecord>) {
        records.extend(self.of_group(group_id).map(|(topic, partition, _)| tombstone(group_id, topic, partition)));
        let pending = self.pending.of_group(group_id);
        // One tombstone is enough for both.
        let pending = pending.filter(|(topic, partition)| self.get(group_id, topic, *partition).is_none());
        records.extend(pending.map(|(topic, partition)| tombstone(group_id, topic, partition)));
    }

    /// Tombstones for the offsets of a deleted topic, in all groups, also for those of open transactions. Offsets of a topic
    /// of the same name with another id stay; offsets without an id go.
    pub fn delete_topic(&self, topic_id: Uuid, name: &str, records: &mut Vec<GroupRecord>) {
        let is_gone = |value: &OffsetAndMetadata| value.topic_id.is_nil() || value.topic_id == topic_id;
        let topic: Arc<str> = Arc::from(name);
        let mut places = BTreeSet::new();
        for (group_id, topics) in &self.groups {
            let gone = topics.get(name).into_iter().flatten().filter(|(_, committed)| is_gone(&committed.value));
            places.extend(gone.map(|(partition, _)| (group_id, *partition)));
        }
        let pending = self.pending.of_topic(name).filter(|(_, _, committed)| is_gone(&committed.value));
        places.extend(pending.map(|(group_id, partition, _)| (group_id, partition)));
        records.extend(places.into_iter().map(|(group_id, partition)| tombstone(group_id, &topic, partition)));
    }

    /// Tombstones for the expired offsets of a group; `true` when nothing else is left. What a transaction is about to replace
    /// does not expire.
    pub fn expire(&self, group_id: &Arc<str>, group: &ClassicGroup, step: &mut Step<'_>) -> bool {
        let mut all_expired = !self.pending.has_group(group_id);
        for (topic, partition, value) in self.of_group(group_id) {
            let is_expired = !group.is_subscribed_to(topic)
                && group
                    .expires_at(value, step.config.offsets_retention_ms)
                    .is_some_and(|expires_at| step.now_ms >= expires_at)
                && !self.pending.contains(group_id, topic, partition);
            if is_expired {
                step.records.push(tombstone(group_id, topic, partition));
            } else {
                all_expired = false;
            }
        }
        all_expired
    }

    /// Whether a client that asks for stable offsets is told to come again: a transaction is about to decide.
    fn is_unstable(&self, group_id: &str, topic: &str, partition: i32, require_stable: bool) -> bool {
        require_stable
            && self.pending.contains(group_id, topic, partition)
            && !mutant::is_active("unstable-offsets-served")
    }

    /// Answers OffsetFetch for one group that is there (`false`: it is not, and has no offsets). With `require_stable` a
    /// partition whose offset an open transaction may replace is UNSTABLE_OFFSET_COMMIT (KIP-447).
    pub fn fetch(
        &self,
        request: &OffsetFetchRequestGroup,
        exists: bool,
        require_stable: bool,
    ) -> OffsetFetchResponseGroup {
        let group_id = request.group_id.as_str();
        let topics = match &request.topics {
            Some(topics) => topics
                .iter()
                .map(|topic| {
                    let partitions = topic.partition_indexes.iter().map(|partition| {
                        if self.is_unstable(group_id, &topic.name, *partition, require_stable) {
                            return unstable(*partition);
                        }
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
            None => self.fetch_all(group_id, require_stable),
        };
        OffsetFetchResponseGroup::default().with_group_id(request.group_id.clone()).with_topics(topics)
    }

    fn fetch_all(&self, group_id: &str, require_stable: bool) -> Vec<OffsetFetchResponseTopics> {
        let topics = self.groups.get(group_id).into_iter().flatten();
        topics
            .map(|(topic, partitions)| {
                let partitions = partitions.iter().map(|(number, committed)| {
                    if self.is_unstable(group_id, topic, *number, require_stable) {
                        unstable(*number)
                    } else {
                        fetched(*number, Some(&committed.value))
                    }
                });
                OffsetFetchResponseTopics::default()
                    .with_name(TopicName(str_bytes(topic)))
                    .with_partitions(partitions.collect())
            })
            .collect()
    }
}

fn unstable(partition: i32) -> OffsetFetchResponsePartitions {
    fetched(partition, None).with_error_code(ResponseError::UnstableOffsetCommit.code())
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
            let place = (&group_id, &name, partition.partition_index);
            let error_code =
                write(place, partition.committed_metadata.as_ref(), step, |metadata, now_ms| OffsetAndMetadata {
                    offset: partition.committed_offset,
                    leader_epoch: if has_own_expiry { -1 } else { partition.committed_leader_epoch },
                    metadata,
                    commit_timestamp_ms: now_ms,
                    expire_timestamp_ms,
                    topic_id: if has_own_expiry { Uuid::nil() } else { topic.topic_id },
                });
            let response = OffsetCommitResponsePartition::default().with_partition_index(partition.partition_index);
            partitions.push(response.with_error_code(error_code));
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

/// The offsets of a transaction's commit that was found valid, pending once they are written. They never have an expiry of
/// their own.
pub fn commit_transactional(
    request: &TxnOffsetCommitRequest,
    topic_ids: &[Uuid],
    step: &mut Step<'_>,
) -> TxnOffsetCommitResponse {
    let group_id: Arc<str> = Arc::from(request.group_id.as_str());
    let mut topics = Vec::with_capacity(request.topics.len());
    for (topic, topic_id) in request.topics.iter().zip(topic_ids) {
        let name: Arc<str> = Arc::from(topic.name.as_str());
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let place = (&group_id, &name, partition.partition_index);
            let error_code =
                write(place, partition.committed_metadata.as_ref(), step, |metadata, now_ms| OffsetAndMetadata {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata,
                    commit_timestamp_ms: now_ms,
                    expire_timestamp_ms: None,
                    topic_id: *topic_id,
                });
            let response = TxnOffsetCommitResponsePartition::default().with_partition_index(partition.partition_index);
            partitions.push(response.with_error_code(error_code));
        }
        topics.push(TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    TxnOffsetCommitResponse::default().with_topics(topics)
}

/// Has the offset of a partition written; the error code for the client when its metadata is too long.
fn write(
    (group_id, topic, partition): (&Arc<str>, &Arc<str>, i32),
    metadata: Option<&StrBytes>,
    step: &mut Step<'_>,
    value: impl FnOnce(Box<str>, i64) -> OffsetAndMetadata,
) -> i16 {
    let metadata = metadata.map(StrBytes::as_str).unwrap_or_default();
    if is_too_long(metadata, step.config) {
        return ResponseError::OffsetMetadataTooLarge.code();
    }
    let value = Some(value(Box::from(metadata), step.now_ms));
    step.records.push(GroupRecord::Offset { group_id: group_id.clone(), topic: topic.clone(), partition, value });
    0
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
            let is_there =
                offsets.get(&group_id, &name, number).is_some() || offsets.pending.contains(&group_id, &name, number);
            if error_code == 0 && is_there {
                step.records.push(tombstone(&group_id, &name, number));
            }
        }
        topics.push(OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    topics
}
