//! The partitions of this broker, as the metadata want them (`kafka.server.ReplicaManager`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::delayed_operations::{DelayedOperations, MAX_DELAYED_FETCHES};
use super::{Partition, ReplicaError};
use crate::config::{BrokerConfig, LogConfig};
use crate::metadata::{ConfigResourceType, LocalPartition, MetadataDelta, MetadataImage, MetadataPublisher};
use crate::storage::{Log, LogManager, StorageError};
use crate::telemetry::TopicTraffic;
use crate::types::{TopicPartition, Uuid};

/// One topic's partitions on this broker.
#[derive(Clone, Default)]
struct HostedTopic {
    id: Uuid,
    partitions: BTreeMap<i32, Hosted>,
    traffic: Arc<TopicTraffic>,
}

/// A partition that should be here.
#[derive(Clone)]
enum Hosted {
    /// And is.
    Online(Arc<Partition>),
    /// And could not be opened (`HostedPartition.Offline`).
    Offline(ReplicaError),
}

type PartitionMap = HashMap<Arc<str>, Arc<HostedTopic>>;

/// All partitions of this broker. Looking one up takes no lock.
pub struct ReplicaManager {
    node_id: i32,
    logs: Arc<LogManager>,
    config: Arc<BrokerConfig>,
    partitions: ArcSwap<PartitionMap>,
    image: ArcSwap<MetadataImage>,
    /// One metadata change at a time.
    changing: Mutex<()>,
    delayed_fetches: DelayedOperations,
    /// Some partition could not be opened.
    has_refused: AtomicBool,
    listeners: Mutex<Vec<Arc<dyn LeadershipListener>>>,
}

/// Who wants to know which partitions this broker leads: the coordinators, for their internal topics.
pub trait LeadershipListener: Send + Sync {
    /// This broker leads the partition now, in this epoch.
    fn on_elected(&self, partition: &Arc<Partition>, leader_epoch: i32);
    /// It does so no longer.
    fn on_resigned(&self, topic_partition: &TopicPartition);
}

impl ReplicaManager {
    /// A manager without partitions; metadata bring them.
    pub fn new(node_id: i32, logs: Arc<LogManager>, config: Arc<BrokerConfig>) -> Arc<Self> {
        let manager = Arc::new(Self {
            node_id,
            logs,
            config,
            partitions: ArcSwap::default(),
            image: ArcSwap::default(),
            changing: Mutex::default(),
            delayed_fetches: DelayedOperations::new(MAX_DELAYED_FETCHES),
            has_refused: AtomicBool::new(false),
            listeners: Mutex::default(),
        });
        for directory in manager.logs.directories() {
            let manager = Arc::downgrade(&manager);
            directory.on_room(Arc::new(move || {
                if let Some(manager) = manager.upgrade() {
                    manager.open_those_without_room();
                }
            }));
        }
        manager
    }

    /// This broker's id.
    pub fn node_id(&self) -> i32 {
        self.node_id
    }

    /// The metadata that this broker works with (`MetadataCache`). Take it once per request.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.image.load_full()
    }

    /// Shows these metadata without following them.
    #[cfg(test)]
    pub(crate) fn image_for_tests(&self, image: Arc<MetadataImage>) {
        self.image.store(image);
    }

    /// The logs.
    pub fn logs(&self) -> &Arc<LogManager> {
        &self.logs
    }

    /// The fetches that wait.
    pub fn delayed_fetches(&self) -> &DelayedOperations {
        &self.delayed_fetches
    }

    /// Calls `listener` for every change of leadership from now on.
    pub fn add_listener(&self, listener: Arc<dyn LeadershipListener>) {
        self.listeners.lock().push(listener);
    }

    /// A partition (`getPartitionOrException`).
    pub fn partition(&self, topic_partition: &TopicPartition) -> Result<Arc<Partition>, ReplicaError> {
        self.partition_by_name(&topic_partition.topic, topic_partition.partition)
    }

    /// A partition by topic name.
    pub fn partition_by_name(&self, topic: &str, partition: i32) -> Result<Arc<Partition>, ReplicaError> {
        let partitions = self.partitions.load();
        match partitions.get(topic).and_then(|topic| topic.partitions.get(&partition)) {
            Some(Hosted::Online(partition)) => Ok(partition.clone()),
            Some(Hosted::Offline(error)) => Err(error.clone()),
            None => {
                let topic_partition = TopicPartition::new(topic, partition);
                let exists = self.image.load().topics.partition(topic, partition).is_some();
                Err(if exists {
                    ReplicaError::NotLeaderOrFollower(topic_partition)
                } else {
                    ReplicaError::UnknownTopicOrPartition(topic_partition)
                })
            }
        }
    }

    /// A partition by topic id.
    pub fn partition_by_id(&self, topic_id: Uuid, partition: i32) -> Result<Arc<Partition>, ReplicaError> {
        let image = self.image.load();
        let Some(topic) = image.topics.topic_by_id(topic_id) else {
            return Err(ReplicaError::UnknownTopicId(TopicPartition::new("", partition)));
        };
        let found = self.partition_by_name(&topic.name, partition)?;
        if found.topic_id() == topic_id {
            Ok(found)
        } else {
            Err(ReplicaError::InconsistentTopicId(found.topic_partition().clone()))
        }
    }

    /// Whether a partition is here and cannot be served, because of its log or its log directory.
    pub fn is_offline(&self, topic: &str, partition: i32) -> bool {
        match self.partitions.load().get(topic).and_then(|topic| topic.partitions.get(&partition)) {
            Some(Hosted::Online(partition)) => partition.log().is_offline(),
            Some(Hosted::Offline(_)) => true,
            None => false,
        }
    }

    /// Whether any partition may be offline: asked before each is.
    pub fn has_anything_offline(&self) -> bool {
        self.logs.has_anything_offline() || self.has_refused.load(Ordering::Acquire)
    }

    /// All partitions that are open here, by topic.
    pub fn online_partitions(&self) -> Vec<Arc<Partition>> {
        let partitions = self.partitions.load();
        let hosted = partitions.values().flat_map(|topic| topic.partitions.values());
        hosted
            .filter_map(|hosted| match hosted {
                Hosted::Online(partition) => Some(partition.clone()),
                Hosted::Offline(_) => None,
            })
            .collect()
    }
}

impl MetadataPublisher for ReplicaManager {
    /// Opens, leads, reconfigures and removes partitions (`ReplicaManager.applyDelta`). When it returns, the new leaders
    /// serve.
    fn on_metadata_update(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        let _changing = self.changing.lock();
        if self.image.load().topics.by_id().is_empty() && self.partitions.load().is_empty() {
            self.retire_strays(image);
        }
        let changes = delta.local_changes(self.node_id);
        let removed = self.remove(changes.deletes.iter());
        let elected = self.lead(&changes.leaders, image);
        let resigned = self.follow(&changes.followers);
        self.image.store(image.clone());
        // Only now, so that whoever is woken sees the metadata that say why.
        for partition in &removed {
            partition.stop();
        }
        self.reconfigure(delta, image);
        self.tell_listeners(&elected, removed.iter().chain(&resigned));
    }
}

impl ReplicaManager {
    /// Puts aside the logs that no partition of the first image owns: their topics were deleted, perhaps created again,
    /// while their directories could not be renamed (`LogManager.isStrayKafkaLog`).
    fn retire_strays(&self, image: &MetadataImage) {
        // A power cut may leave the directory of a log that was never written to, and nothing in it: no id, and no record that could
        // be another topic's. Such a log is its partition's.
        let is_blank = |log: &Log| log.topic_id().is_nil() && log.log_end_offset() == 0;
        let served = (self.logs.logs().into_iter())
            .map(|log| (log.topic_partition().clone(), Some(log.topic_id()).filter(|_| !is_blank(&log))));
        for (topic_partition, topic_id) in served.chain(self.logs.offline_logs()) {
            let owner = image.topics.topic(&topic_partition.topic);
            let owner = owner.filter(|topic| topic_id.is_none_or(|topic_id| topic.id == topic_id));
            let registration = owner.and_then(|topic| topic.partition(topic_partition.partition));
            if registration.is_some_and(|registration| registration.replicas.contains(&self.node_id)) {
                continue;
            }
            if let Err(error) = self.logs.mark_stray(&topic_partition) {
                tracing::error!(%topic_partition, %error, "a stray log could not be put aside");
            }
        }
    }

    fn remove<'a>(&self, topic_partitions: impl Iterator<Item = &'a TopicPartition>) -> Vec<Arc<Partition>> {
        let mut map = PartitionMap::clone(&self.partitions.load());
        let mut removed = Vec::new();
        let mut names = Vec::new();
        for topic_partition in topic_partitions {
            if let Some(topic) = map.get_mut(&topic_partition.topic) {
                if let Some(Hosted::Online(partition)) =
                    Arc::make_mut(topic).partitions.remove(&topic_partition.partition)
                {
                    removed.push(partition);
                }
                if topic.partitions.is_empty() {
                    map.remove(&topic_partition.topic);
                }
            }
            names.push(topic_partition);
        }
        if names.is_empty() {
            return removed;
        }
        self.partitions.store(Arc::new(map));
        for topic_partition in names {
            if let Err(error) = self.logs.delete_async(topic_partition) {
                tracing::error!(%topic_partition, %error, "the log of a removed partition could not be deleted");
            }
        }
        removed
    }

    fn lead(&self, leaders: &[LocalPartition], image: &MetadataImage) -> Vec<(Arc<Partition>, i32)> {
        if leaders.is_empty() {
            return Vec::new();
        }
        let mut map = PartitionMap::clone(&self.partitions.load());
        let mut elected = Vec::new();
        let mut configs: HashMap<Arc<str>, Arc<LogConfig>> = HashMap::new();
        for local in leaders {
            let name = &local.topic_partition.topic;
            let topic = Arc::make_mut(map.entry(name.clone()).or_default());
            let config = configs.entry(name.clone()).or_insert_with(|| self.log_config(image, name)).clone();
            let hosted = match self.make_leader(topic, local, config) {
                Ok((partition, is_new_epoch)) => {
                    if is_new_epoch {
                        elected.push((partition.clone(), local.registration.leader_epoch));
                    }
                    Hosted::Online(partition)
                }
                Err(error) => {
                    tracing::error!(topic_partition = %local.topic_partition, %error, "the partition is offline");
                    self.has_refused.store(true, Ordering::Release);
                    Hosted::Offline(error)
                }
            };
            topic.id = local.topic_id;
            topic.partitions.insert(local.topic_partition.partition, hosted);
        }
        self.partitions.store(Arc::new(map));
        elected
    }

    fn make_leader(
        &self,
        topic: &HostedTopic,
        local: &LocalPartition,
        config: Arc<LogConfig>,
    ) -> Result<(Arc<Partition>, bool), ReplicaError> {
        let registration = &local.registration;
        let partition = match topic.partitions.get(&local.topic_partition.partition) {
            Some(Hosted::Online(partition)) if partition.topic_id() == local.topic_id => partition.clone(),
            _ => {
                if self.image.load().topics.by_id().is_empty() {
                    // The first image: what is in it was there before this process.
                    self.logs.check_no_log_elsewhere(&local.topic_partition)?;
                }
                let log = self.logs.get_or_create(&local.topic_partition, local.topic_id, config)?;
                Partition::new(local.topic_partition.clone(), local.topic_id, log, Arc::clone(&topic.traffic))
            }
        };
        let before = partition.leadership();
        partition.make_leader(registration.leader_epoch, registration.replicas.len(), registration.isr.len())?;
        let is_new_epoch = !before.is_leader || before.leader_epoch != registration.leader_epoch;
        Ok((partition, is_new_epoch))
    }

    /// Opens the partitions whose logs found no room when they were created.
    fn open_those_without_room(&self) {
        let _changing = self.changing.lock();
        let (image, partitions) = (self.image.load_full(), self.partitions.load_full());
        let mut leaders = Vec::new();
        for (name, topic) in partitions.iter() {
            let registered = image.topics.topic_by_id(topic.id);
            for (number, hosted) in &topic.partitions {
                let Hosted::Offline(ReplicaError::Storage(StorageError::DiskFull { .. })) = hosted else { continue };
                let registration = registered.and_then(|topic| topic.partition(*number));
                leaders.extend(registration.filter(|registration| registration.leader == self.node_id).map(
                    |registration| LocalPartition {
                        topic_partition: TopicPartition::new(name.clone(), *number),
                        topic_id: topic.id,
                        registration: registration.clone(),
                        is_new: false,
                    },
                ));
            }
        }
        let elected = self.lead(&leaders, &image);
        let partitions = self.partitions.load();
        let mut hosted = partitions.values().flat_map(|topic| topic.partitions.values());
        self.has_refused.store(hosted.any(|hosted| matches!(hosted, Hosted::Offline(_))), Ordering::Release);
        self.tell_listeners(&elected, std::iter::empty());
    }

    /// Partitions that another broker leads: nothing is fetched from it yet, but nothing is served either.
    fn follow(&self, followers: &[LocalPartition]) -> Vec<Arc<Partition>> {
        let partitions = self.partitions.load();
        let mut resigned = Vec::new();
        for local in followers {
            let topic = partitions.get(&local.topic_partition.topic);
            if let Some(Hosted::Online(partition)) =
                topic.and_then(|topic| topic.partitions.get(&local.topic_partition.partition))
            {
                partition.resign();
                resigned.push(partition.clone());
            }
        }
        resigned
    }

    fn reconfigure(&self, delta: &MetadataDelta, image: &MetadataImage) {
        let changed = delta.changed_configs();
        let all_topics = changed.iter().any(|resource| resource.kind == ConfigResourceType::Broker);
        if changed.is_empty() {
            return;
        }
        for (name, topic) in self.partitions.load().iter() {
            let is_changed =
                changed.iter().any(|resource| resource.kind == ConfigResourceType::Topic && *resource.name == **name);
            if !(all_topics || is_changed) {
                continue;
            }
            let config = self.log_config(image, name);
            for hosted in topic.partitions.values() {
                if let Hosted::Online(partition) = hosted {
                    partition.update_config(config.clone());
                }
            }
        }
    }

    fn log_config(&self, image: &MetadataImage, topic: &str) -> Arc<LogConfig> {
        Arc::new(LogConfig::from_stored_overrides(&self.config, &image.configs.topic(topic)))
    }

    fn tell_listeners<'a>(
        &self,
        elected: &[(Arc<Partition>, i32)],
        resigned: impl Iterator<Item = &'a Arc<Partition>>,
    ) {
        let listeners = self.listeners.lock().clone();
        for partition in resigned {
            listeners.iter().for_each(|listener| listener.on_resigned(partition.topic_partition()));
        }
        for (partition, leader_epoch) in elected {
            listeners.iter().for_each(|listener| listener.on_elected(partition, *leader_epoch));
        }
    }
}

#[cfg(test)]
#[path = "replica_manager_tests.rs"]
mod tests;
