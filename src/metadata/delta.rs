//! What one command or one start changed (`org.apache.kafka.image.MetadataDelta`): the image before, and what differs.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::image::{
    BrokerRegistration, CarriedImage, ConfigResource, ConfigurationsImage, FeaturesImage, MetadataImage,
    PartitionRegistration, ProducerIdsImage, Provenance, TopicImage,
};
use crate::types::{TopicPartition, Uuid};
use crate::wire::records::metadata::RegisterControllerRecord;

/// Changes on top of an image; [`MetadataDelta::apply`] makes the next image.
#[derive(Clone, Debug)]
pub struct MetadataDelta {
    pub(super) image: Arc<MetadataImage>,
    pub(super) features: Option<FeaturesImage>,
    pub(super) brokers: BTreeMap<i32, Option<Arc<BrokerRegistration>>>,
    pub(super) topics: BTreeMap<Uuid, TopicDelta>,
    pub(super) deleted_topics: BTreeMap<Uuid, Arc<TopicImage>>,
    /// The names of the new topics among `topics`.
    pub(super) created_names: HashSet<Arc<str>>,
    pub(super) configs: Option<ConfigurationsImage>,
    pub(super) changed_configs: BTreeSet<ConfigResource>,
    pub(super) producer_ids: Option<ProducerIdsImage>,
    pub(super) controllers: BTreeMap<i32, Arc<RegisterControllerRecord>>,
    pub(super) carried: Option<CarriedImage>,
}

/// The changes of one topic (`TopicDelta`).
#[derive(Clone, Debug)]
pub struct TopicDelta {
    pub(super) topic: TopicImage,
    pub(super) created: bool,
    pub(super) changed: BTreeSet<i32>,
}

impl TopicDelta {
    /// The topic after the change.
    pub fn topic(&self) -> &TopicImage {
        &self.topic
    }

    /// Whether the topic is new.
    pub fn is_created(&self) -> bool {
        self.created
    }

    /// The new and changed partitions.
    pub fn changed_partitions(&self) -> impl Iterator<Item = (i32, &Arc<PartitionRegistration>)> {
        self.changed.iter().filter_map(|partition| Some((*partition, self.topic.partition(*partition)?)))
    }
}

/// A partition that a broker has to lead or follow (`LocalReplicaChanges.PartitionInfo`).
#[derive(Clone, Debug)]
pub struct LocalPartition {
    /// Name and number.
    pub topic_partition: TopicPartition,
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition.
    pub registration: Arc<PartitionRegistration>,
    /// Whether the partition was new to this broker.
    pub is_new: bool,
}

/// What a delta means for one broker's replicas (`LocalReplicaChanges`).
#[derive(Clone, Debug, Default)]
pub struct LocalReplicaChanges {
    /// Replicas that this broker has no longer.
    pub deletes: BTreeSet<TopicPartition>,
    /// Partitions that this broker leads; only those whose partition epoch changed.
    pub leaders: Vec<LocalPartition>,
    /// Partitions that this broker follows.
    pub followers: Vec<LocalPartition>,
}

impl MetadataDelta {
    /// No changes yet.
    pub fn new(image: Arc<MetadataImage>) -> Self {
        Self {
            image,
            features: None,
            brokers: BTreeMap::new(),
            topics: BTreeMap::new(),
            deleted_topics: BTreeMap::new(),
            created_names: HashSet::new(),
            configs: None,
            changed_configs: BTreeSet::new(),
            producer_ids: None,
            controllers: BTreeMap::new(),
            carried: None,
        }
    }

    /// The image before.
    pub fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    /// The finalized features after the change, when they changed.
    pub fn features(&self) -> Option<&FeaturesImage> {
        self.features.as_ref()
    }

    /// Brokers that were registered, changed or (`None`) removed.
    pub fn brokers(&self) -> &BTreeMap<i32, Option<Arc<BrokerRegistration>>> {
        &self.brokers
    }

    /// New and changed topics by id.
    pub fn topics(&self) -> &BTreeMap<Uuid, TopicDelta> {
        &self.topics
    }

    /// Topics of the image before that are gone.
    pub fn deleted_topics(&self) -> &BTreeMap<Uuid, Arc<TopicImage>> {
        &self.deleted_topics
    }

    /// Resources whose configuration changed.
    pub fn changed_configs(&self) -> &BTreeSet<ConfigResource> {
        &self.changed_configs
    }

    /// The producer ids after the change, when they changed.
    pub fn producer_ids(&self) -> Option<&ProducerIdsImage> {
        self.producer_ids.as_ref()
    }

    /// What a broker has to do with its replicas (`TopicsDelta.localChanges`).
    pub fn local_changes(&self, broker_id: i32) -> LocalReplicaChanges {
        let mut changes = LocalReplicaChanges::default();
        for topic in self.deleted_topics.values() {
            for (partition, registration) in topic.partitions() {
                if registration.replicas.contains(&broker_id) {
                    changes.deletes.insert(TopicPartition::new(topic.name.clone(), partition));
                }
            }
        }
        for (topic_id, topic_delta) in &self.topics {
            let before = self.image.topics.topic_by_id(*topic_id);
            for (partition, registration) in topic_delta.changed_partitions() {
                let previous = before.and_then(|topic| topic.partition(partition));
                let topic_partition = TopicPartition::new(topic_delta.topic.name.clone(), partition);
                let was_here = previous.is_some_and(|previous| previous.replicas.contains(&broker_id));
                if !registration.replicas.contains(&broker_id) {
                    if was_here {
                        changes.deletes.insert(topic_partition);
                    }
                    continue;
                }
                let local = LocalPartition {
                    topic_partition,
                    topic_id: *topic_id,
                    registration: registration.clone(),
                    is_new: !was_here,
                };
                if previous.is_some_and(|previous| previous.partition_epoch == registration.partition_epoch) {
                    continue;
                }
                if registration.leader == broker_id {
                    changes.leaders.push(local);
                } else {
                    changes.followers.push(local);
                }
            }
        }
        changes
    }

    /// The next image; unchanged parts are shared with the image before.
    pub fn apply(&self, provenance: Provenance) -> MetadataImage {
        let mut next = MetadataImage::clone(&self.image);
        next.provenance = provenance;
        if let Some(features) = &self.features {
            next.features = Arc::new(features.clone());
        }
        if !self.brokers.is_empty() || !self.controllers.is_empty() {
            let cluster = Arc::make_mut(&mut next.cluster);
            for controller in self.controllers.values() {
                cluster.insert_controller(controller.clone());
            }
            for (id, broker) in &self.brokers {
                match broker {
                    Some(broker) => cluster.insert(broker.clone()),
                    None => cluster.remove(*id),
                }
            }
        }
        if !self.topics.is_empty() || !self.deleted_topics.is_empty() {
            let topics = Arc::make_mut(&mut next.topics);
            for id in self.deleted_topics.keys() {
                topics.remove(*id);
            }
            for topic in self.topics.values() {
                topics.insert(Arc::new(topic.topic.clone()));
            }
        }
        if let Some(configs) = &self.configs {
            next.configs = Arc::new(configs.clone());
        }
        if let Some(producer_ids) = &self.producer_ids {
            next.producer_ids = Arc::new(producer_ids.clone());
        }
        if let Some(carried) = &self.carried {
            next.carried = Arc::new(carried.clone());
        }
        next
    }
}
