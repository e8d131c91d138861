//! The shards of one coordinator: those of the partitions of its internal topic that this broker leads.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use parking_lot::RwLock;

use super::decision::StateMachine;
use super::java_hash::partition_for;
use super::log::CoordinatorLog;
use super::partition_log::PartitionLog;
use super::shard::Shard;
use crate::coordinator::CoordinatorError;
use crate::env::Clock;
use crate::metadata::MetadataImage;
use crate::replica::Partition;
use crate::types::TopicPartition;

type Handle<S> = Arc<Shard<S>>;

/// Who of this broker coordinates what, from election to resignation.
pub struct Shards<S: StateMachine> {
    topic: &'static str,
    partitions: AtomicI32,
    is_active: AtomicBool,
    shards: RwLock<HashMap<i32, Handle<S>>>,
}

impl<S: StateMachine> Shards<S> {
    /// None yet, of the partitions of `topic`. Until the metadata tell, it is taken to have `partitions`.
    pub fn new(topic: &'static str, partitions: i32) -> Self {
        Self {
            topic,
            partitions: AtomicI32::new(partitions),
            is_active: AtomicBool::new(true),
            shards: RwLock::default(),
        }
    }

    /// The topic exists with this many partitions, at least one.
    pub fn set_partition_count(&self, partitions: i32) {
        self.partitions.store(partitions.max(1), Ordering::Release);
    }

    /// Takes the number of partitions from the metadata, if the topic is there.
    pub fn follow(&self, image: &MetadataImage) {
        if let Some(topic) = image.topics.topic(self.topic) {
            self.set_partition_count(i32::try_from(topic.partitions().count()).unwrap_or(i32::MAX));
        }
    }

    /// The partition of the topic that a key belongs to.
    pub fn partition_for(&self, key: &str) -> i32 {
        partition_for(key, self.partitions.load(Ordering::Acquire))
    }

    /// The log behind a partition, if it is one of the topic's.
    pub fn log_of(&self, partition: &Arc<Partition>, clock: &Arc<dyn Clock>) -> Option<Arc<dyn CoordinatorLog>> {
        let is_ours = self.is_of_topic(partition.topic_partition());
        is_ours.then(|| Arc::new(PartitionLog::new(partition.clone(), clock.clone())) as Arc<dyn CoordinatorLog>)
    }

    /// Whether a partition is one of the topic's.
    pub fn is_of_topic(&self, partition: &TopicPartition) -> bool {
        &*partition.topic == self.topic
    }

    /// This broker leads the partition in this epoch: `start` makes the shard. For the same or an older epoch, and after the
    /// shutdown, nothing happens.
    pub fn on_elected(&self, partition: i32, leader_epoch: i32, start: impl FnOnce(TopicPartition) -> Handle<S>) {
        let mut shards = self.shards.write();
        let is_known = shards.get(&partition).is_some_and(|shard| shard.leader_epoch() >= leader_epoch);
        if is_known || !self.is_active() {
            return;
        }
        // First: what an earlier shard wrote after the log was read, the new one would not know.
        if let Some(previous) = shards.remove(&partition) {
            previous.close();
        }
        shards.insert(partition, start(TopicPartition::new(self.topic, partition)));
    }

    /// This broker leads the partition no more, since `leader_epoch` (`None`: the partition is deleted). Whoever waits is told
    /// NOT_COORDINATOR.
    pub fn on_resigned(&self, partition: i32, leader_epoch: Option<i32>) {
        let resigned = {
            let mut shards = self.shards.write();
            match (shards.get(&partition), leader_epoch) {
                (Some(shard), Some(epoch)) if shard.leader_epoch() > epoch => None,
                _ => shards.remove(&partition),
            }
        };
        if let Some(shard) = resigned {
            shard.close();
        }
    }

    /// Whether the coordinator was not shut down.
    pub fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Acquire)
    }

    /// Gives all shards up, for good.
    pub fn shutdown(&self) {
        self.is_active.store(false, Ordering::Release);
        let shards = std::mem::take(&mut *self.shards.write());
        for shard in shards.into_values() {
            shard.close();
        }
    }

    /// The shard of a key; `NotCoordinator` when another broker has it.
    pub fn of_key(&self, key: &str) -> Result<Handle<S>, CoordinatorError> {
        self.of_partition(self.partition_for(key))
    }

    /// The shard of a partition; `NotCoordinator` when another broker has it.
    pub fn of_partition(&self, partition: i32) -> Result<Handle<S>, CoordinatorError> {
        self.shards.read().get(&partition).cloned().ok_or(CoordinatorError::NotCoordinator)
    }

    /// All shards, by partition, so that answers come in the same order every time.
    pub fn all(&self) -> Vec<Handle<S>> {
        let mut shards: Vec<_> = self.shards.read().iter().map(|(number, shard)| (*number, shard.clone())).collect();
        shards.sort_unstable_by_key(|(number, _)| *number);
        shards.into_iter().map(|(_, shard)| shard).collect()
    }

    /// Runs the timers that are due now, in all shards; for tests with a clock moved by hand.
    pub fn run_due_timers(&self) {
        for shard in self.all() {
            shard.run_due_timers();
        }
    }
}
