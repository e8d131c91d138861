//! Offsets of transactions that are not decided yet (Kafka's `OffsetMetadataManager.pendingTransactionalOffsets` and
//! `openTransactions`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::offsets::Committed;

/// Pending offsets of one partition by producer id; never empty.
type PartitionPending = BTreeMap<i64, Committed>;
/// Pending offsets of one group by topic and partition; never empty on any level.
type GroupPending = BTreeMap<Arc<str>, BTreeMap<i32, PartitionPending>>;
/// Group, topic and partition.
type Place = (Arc<str>, Arc<str>, i32);

/// What transactions have committed and no marker has decided. Several may be open for one partition: each waits for its own marker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PendingOffsets {
    groups: HashMap<Arc<str>, GroupPending>,
    /// Where each producer has something pending: the other direction of `groups`.
    places: HashMap<i64, BTreeSet<Place>>,
}

impl PendingOffsets {
    /// A transaction commits an offset; a later one of the same producer takes the place of an earlier one.
    pub fn insert(
        &mut self,
        producer_id: i64,
        group_id: Arc<str>,
        topic: Arc<str>,
        partition: i32,
        committed: Committed,
    ) {
        let group = self.groups.entry(group_id.clone()).or_default();
        group.entry(topic.clone()).or_default().entry(partition).or_default().insert(producer_id, committed);
        self.places.entry(producer_id).or_default().insert((group_id, topic, partition));
    }

    /// The producer's transaction is decided: takes out what it has pending.
    pub fn take(&mut self, producer_id: i64) -> Vec<(Place, Committed)> {
        let places = self.places.remove(&producer_id).unwrap_or_default();
        let taken = places.into_iter().filter_map(|place| {
            let committed = self.remove_from_group(&place, |pending| pending.remove(&producer_id))?;
            Some((place, committed))
        });
        taken.collect()
    }

    /// The partition's offset is deleted: what is pending for it goes too, whosever it is.
    pub fn forget(&mut self, group_id: &Arc<str>, topic: &Arc<str>, partition: i32) {
        let place = (group_id.clone(), topic.clone(), partition);
        let Some(forgotten) = self.remove_from_group(&place, |pending| Some(std::mem::take(pending))) else { return };
        for producer_id in forgotten.into_keys() {
            let Some(places) = self.places.get_mut(&producer_id) else { continue };
            places.remove(&place);
            if places.is_empty() {
                self.places.remove(&producer_id);
            }
        }
    }

    /// Whether anything is pending in the group.
    pub fn has_group(&self, group_id: &str) -> bool {
        self.groups.contains_key(group_id)
    }

    /// Whether anything is pending for the partition.
    pub fn contains(&self, group_id: &str, topic: &str, partition: i32) -> bool {
        let pending = self.groups.get(group_id).and_then(|topics| topics.get(topic));
        pending.is_some_and(|partitions| partitions.contains_key(&partition))
    }

    /// Every partition of the group for which something is pending.
    pub fn of_group(&self, group_id: &str) -> impl Iterator<Item = (&Arc<str>, i32)> {
        let topics = self.groups.get(group_id).into_iter().flatten();
        topics.flat_map(|(topic, partitions)| partitions.keys().map(move |partition| (topic, *partition)))
    }

    /// Every pending offset of a topic, in all groups.
    pub fn of_topic(&self, topic: &str) -> impl Iterator<Item = (&Arc<str>, i32, &Committed)> {
        self.groups.iter().flat_map(move |(group_id, topics)| {
            let partitions = topics.get(topic).into_iter().flatten();
            partitions.flat_map(move |(partition, pending)| {
                pending.values().map(move |committed| (group_id, *partition, committed))
            })
        })
    }

    /// Every producer that has something pending.
    #[cfg(test)]
    pub fn producers(&self) -> impl Iterator<Item = i64> {
        self.places.keys().copied()
    }

    /// Takes something out of the pending offsets of a place, and what is empty then.
    fn remove_from_group<R>(
        &mut self,
        (group_id, topic, partition): &Place,
        take: impl FnOnce(&mut PartitionPending) -> Option<R>,
    ) -> Option<R> {
        let topics = self.groups.get_mut(group_id)?;
        let partitions = topics.get_mut(topic)?;
        let pending = partitions.get_mut(partition)?;
        let taken = take(pending);
        if pending.is_empty() {
            partitions.remove(partition);
        }
        if partitions.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.groups.remove(group_id);
        }
        taken
    }
}
