//! Replaying records: the only way metadata changes, live and at start (`MetadataDelta.replay`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::controller::PartitionChange;
use super::delta::{MetadataDelta, TopicDelta};
use super::image::{
    BrokerIds, BrokerRegistration, CarriedKind, ConfigResource, ConfigResourceType, Endpoint, LeaderRecoveryState,
    MetadataImage, PartitionRegistration, ProducerIdsImage, SupportedFeature, TopicImage,
};
use super::records::MetadataRecord;
use crate::types::Uuid;
use crate::wire::records::metadata::{
    BrokerRegistrationChangeRecord, ConfigRecord, EntityData, PartitionChangeRecord, PartitionRecord,
    RegisterBrokerRecord, TopicRecord,
};

impl MetadataDelta {
    /// Everything in an image, as changes of nothing: what a new subscriber is shown.
    pub(super) fn from_nothing(image: &Arc<MetadataImage>) -> Self {
        let mut delta = Self::new(Arc::default());
        delta.features = Some(MetadataImage::clone(image).features.as_ref().clone());
        delta.brokers = image.cluster.brokers().iter().map(|(id, broker)| (*id, Some(broker.clone()))).collect();
        for topic in image.topics.by_name().values() {
            let changed = topic.partitions().map(|(partition, _)| partition).collect();
            delta.topics.insert(topic.id, TopicDelta { topic: TopicImage::clone(topic), created: true, changed });
        }
        delta.changed_configs = image.configs.resources().keys().cloned().collect();
        delta.configs = Some(image.configs.as_ref().clone());
        delta.producer_ids = Some(image.producer_ids.as_ref().clone());
        delta.controllers = image.cluster.controllers().clone();
        delta.carried = Some(image.carried.as_ref().clone());
        delta
    }

    /// Applies one record; the error says why no controller can have written it here.
    pub(super) fn replay(&mut self, record: &MetadataRecord) -> Result<(), String> {
        match record {
            MetadataRecord::RegisterBroker(record) => self.replay_register_broker(record),
            MetadataRecord::UnregisterBroker(record) => {
                self.broker(record.broker_id, record.broker_epoch)?;
                self.brokers.insert(record.broker_id, None);
            }
            MetadataRecord::BrokerRegistrationChange(record) => self.replay_broker_change(record)?,
            MetadataRecord::FenceBroker(record) => {
                let broker = self.broker(record.id, record.epoch)?;
                self.put_broker(BrokerRegistration { fenced: true, ..broker });
            }
            MetadataRecord::UnfenceBroker(record) => {
                let broker = self.broker(record.id, record.epoch)?;
                self.put_broker(BrokerRegistration { fenced: false, ..broker });
            }
            MetadataRecord::Topic(record) => self.replay_topic(record)?,
            MetadataRecord::Partition(record) => self.replay_partition(record)?,
            MetadataRecord::PartitionChange(record) => self.replay_partition_change(record)?,
            MetadataRecord::RemoveTopic(record) => self.replay_remove_topic(record.topic_id)?,
            MetadataRecord::Config(record) => self.replay_config(record)?,
            MetadataRecord::FeatureLevel(record) => {
                let features = self.features.get_or_insert_with(|| self.image.features.as_ref().clone());
                features.set(record.name.clone(), record.feature_level);
            }
            MetadataRecord::ProducerIds(record) => {
                self.producer_ids = Some(ProducerIdsImage {
                    next_producer_id: record.next_producer_id,
                    broker_id: record.broker_id,
                    broker_epoch: record.broker_epoch,
                });
            }
            MetadataRecord::RegisterController(record) => {
                self.controllers.insert(record.controller_id, Arc::new(record.clone()));
            }
            MetadataRecord::ClearElr(record) => self.replay_clear_elr(&record.topic_name)?,
            MetadataRecord::AccessControlEntry(_)
            | MetadataRecord::RemoveAccessControlEntry(_)
            | MetadataRecord::UserScramCredential(_)
            | MetadataRecord::RemoveUserScramCredential(_)
            | MetadataRecord::DelegationToken(_)
            | MetadataRecord::RemoveDelegationToken(_)
            | MetadataRecord::ClientQuota(_) => self.carry(record),
            // They say nothing that the image keeps; Kafka 4 skips the migration's state too.
            MetadataRecord::NoOp(_) | MetadataRecord::ZkMigrationState(_) => {}
            // Whoever reads a log keeps the records of a transaction back until its end (`load.rs`).
            MetadataRecord::BeginTransaction(_)
            | MetadataRecord::EndTransaction(_)
            | MetadataRecord::AbortTransaction(_) => {
                return Err(format!("a {} where none can be", record.name()));
            }
        }
        Ok(())
    }

    /// Skipping such a record and then writing a snapshot would lose it.
    fn carry(&mut self, record: &MetadataRecord) {
        let kept = Some(record.clone());
        let (kind, name, value) = match record {
            MetadataRecord::AccessControlEntry(acl) => (CarriedKind::AccessControlEntry, acl.id.to_string(), kept),
            MetadataRecord::RemoveAccessControlEntry(acl) => {
                (CarriedKind::AccessControlEntry, acl.id.to_string(), None)
            }
            MetadataRecord::UserScramCredential(user) => {
                (CarriedKind::ScramCredential, format!("{} {}", user.name, user.mechanism), kept)
            }
            MetadataRecord::RemoveUserScramCredential(user) => {
                (CarriedKind::ScramCredential, format!("{} {}", user.name, user.mechanism), None)
            }
            MetadataRecord::DelegationToken(token) => (CarriedKind::DelegationToken, token.token_id.clone(), kept),
            MetadataRecord::RemoveDelegationToken(token) => {
                (CarriedKind::DelegationToken, token.token_id.clone(), None)
            }
            MetadataRecord::ClientQuota(quota) => {
                let part = |part: &EntityData| {
                    format!("{}={}", part.entity_type, part.entity_name.as_deref().unwrap_or("<default>"))
                };
                let entity: Vec<String> = quota.entity.iter().map(part).collect();
                let name = format!("{} of {}", quota.key, entity.join(", "));
                (CarriedKind::ClientQuota, name, kept.filter(|_| !quota.remove))
            }
            _ => return,
        };
        let carried = self.carried.get_or_insert_with(|| self.image.carried.as_ref().clone());
        carried.set(kind, name, value);
    }

    /// The eligible leader replicas of one topic, or of all when the name is empty, are forgotten; no epoch rises
    /// (`TopicsDelta.replay(ClearElrRecord)`).
    fn replay_clear_elr(&mut self, name: &str) -> Result<(), String> {
        let of_image = self.image.topics.by_name().values().map(|topic| topic.id);
        let ids: BTreeSet<Uuid> = of_image.chain(self.topics.keys().copied()).collect();
        for id in ids {
            if self.deleted_topics.contains_key(&id) {
                continue;
            }
            let topic = self.topic(id)?;
            if !name.is_empty() && &*topic.topic.name != name {
                continue;
            }
            for (number, partition) in (0..).zip(topic.topic.partitions.iter_mut()) {
                if !partition.elr.is_empty() || !partition.last_known_elr.is_empty() {
                    let mut cleared = PartitionRegistration::clone(partition);
                    cleared.elr.clear();
                    cleared.last_known_elr.clear();
                    *partition = Arc::new(cleared);
                    topic.changed.insert(number);
                }
            }
        }
        Ok(())
    }

    fn replay_register_broker(&mut self, record: &RegisterBrokerRecord) {
        let endpoint = |endpoint: &crate::wire::records::metadata::BrokerEndpoint| Endpoint {
            listener: endpoint.name.as_str().into(),
            host: endpoint.host.as_str().into(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        };
        let feature = |feature: &crate::wire::records::metadata::BrokerFeature| SupportedFeature {
            name: feature.name.clone(),
            min: feature.min_supported_version,
            max: feature.max_supported_version,
        };
        self.put_broker(BrokerRegistration {
            id: record.broker_id,
            epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            endpoints: record.end_points.iter().map(endpoint).collect(),
            features: record.features.iter().map(feature).collect(),
            rack: record.rack.as_deref().map(Into::into),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            directories: record.log_dirs.clone(),
            cordoned_directories: record.cordoned_log_dirs.clone(),
        });
    }

    fn put_broker(&mut self, broker: BrokerRegistration) {
        self.brokers.insert(broker.id, Some(Arc::new(broker)));
    }

    fn broker(&self, id: i32, epoch: i64) -> Result<BrokerRegistration, String> {
        let broker = match self.brokers.get(&id) {
            Some(changed) => changed.as_ref(),
            None => self.image.cluster.broker(id),
        };
        match broker {
            Some(broker) if broker.epoch == epoch => Ok(BrokerRegistration::clone(broker)),
            Some(broker) => Err(format!("a change of broker {id} at epoch {epoch}, which is at {}", broker.epoch)),
            None => Err(format!("a change of broker {id}, which is not registered")),
        }
    }

    fn replay_broker_change(&mut self, record: &BrokerRegistrationChangeRecord) -> Result<(), String> {
        let mut broker = self.broker(record.broker_id, record.broker_epoch)?;
        match record.fenced {
            -1 => broker.fenced = false,
            0 => {}
            1 => broker.fenced = true,
            other => return Err(format!("a change of broker {} with fencing {other}", record.broker_id)),
        }
        if record.in_controlled_shutdown == 1 {
            broker.in_controlled_shutdown = true;
        }
        if !record.log_dirs.is_empty() {
            broker.directories.clone_from(&record.log_dirs);
        }
        if let Some(cordoned) = &record.cordoned_log_dirs {
            broker.cordoned_directories = Some(cordoned.clone());
        }
        self.put_broker(broker);
        Ok(())
    }

    fn replay_topic(&mut self, record: &TopicRecord) -> Result<(), String> {
        if self.has_topic_named(&record.name) {
            return Err(format!("the topic {} is created twice", record.name));
        }
        let topic = TopicImage { name: record.name.as_str().into(), id: record.topic_id, partitions: Vec::new() };
        self.created_names.insert(topic.name.clone());
        self.topics.insert(record.topic_id, TopicDelta { topic, created: true, changed: BTreeSet::new() });
        Ok(())
    }

    fn has_topic_named(&self, name: &str) -> bool {
        self.image.topics.topic(name).is_some_and(|topic| !self.deleted_topics.contains_key(&topic.id))
            || self.created_names.contains(name)
    }

    /// The topic as changed so far.
    fn topic(&mut self, id: Uuid) -> Result<&mut TopicDelta, String> {
        if !self.topics.contains_key(&id) {
            let topic = match self.image.topics.topic_by_id(id) {
                Some(topic) if !self.deleted_topics.contains_key(&id) => TopicImage::clone(topic),
                _ => return Err(format!("a change of the topic {id}, which does not exist")),
            };
            self.topics.insert(id, TopicDelta { topic, created: false, changed: BTreeSet::new() });
        }
        self.topics.get_mut(&id).ok_or_else(|| format!("the topic {id} does not exist"))
    }

    fn replay_partition(&mut self, record: &PartitionRecord) -> Result<(), String> {
        let registration = PartitionRegistration {
            replicas: ids(&record.replicas),
            directories: directories(&record.directories, record.replicas.len()),
            isr: ids(&record.isr),
            removing_replicas: ids(&record.removing_replicas),
            adding_replicas: ids(&record.adding_replicas),
            elr: ids(record.eligible_leader_replicas.as_deref().unwrap_or_default()),
            last_known_elr: ids(record.last_known_elr.as_deref().unwrap_or_default()),
            leader: record.leader,
            leader_recovery_state: recovery_state(record.leader_recovery_state)?,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        };
        let topic = self.topic(record.topic_id)?;
        let (count, partition) = (topic.topic.partitions.len(), record.partition_id);
        match usize::try_from(partition) {
            Ok(position) if position < count => topic.topic.partitions[position] = Arc::new(registration),
            Ok(position) if position == count => topic.topic.partitions.push(Arc::new(registration)),
            _ => return Err(format!("partition {partition} of {} behind {count} partitions", topic.topic.name)),
        }
        topic.changed.insert(partition);
        Ok(())
    }

    fn replay_partition_change(&mut self, record: &PartitionChangeRecord) -> Result<(), String> {
        let unchanged = PartitionChangeRecord::default();
        let optional = |list: &Option<Vec<i32>>| list.as_deref().map(ids);
        let change = PartitionChange {
            isr: optional(&record.isr),
            leader: (record.leader != unchanged.leader).then_some(record.leader),
            replicas: optional(&record.replicas),
            removing_replicas: optional(&record.removing_replicas),
            adding_replicas: optional(&record.adding_replicas),
            leader_recovery_state: match record.leader_recovery_state {
                state if state == unchanged.leader_recovery_state => None,
                state => Some(recovery_state(state)?),
            },
            directories: record.directories.clone(),
            elr: optional(&record.eligible_leader_replicas),
            last_known_elr: optional(&record.last_known_elr),
        };
        let topic = self.topic(record.topic_id)?;
        let position = usize::try_from(record.partition_id).unwrap_or(usize::MAX);
        let Some(partition) = topic.topic.partitions.get_mut(position) else {
            return Err(format!("a change of {}-{}, which does not exist", topic.topic.name, record.partition_id));
        };
        *partition = Arc::new(change.merge(partition));
        topic.changed.insert(record.partition_id);
        Ok(())
    }

    fn replay_remove_topic(&mut self, id: Uuid) -> Result<(), String> {
        let name = self.topic(id)?.topic.name.clone();
        if self.topics.remove(&id).is_some_and(|delta| delta.created) {
            self.created_names.remove(&name);
        }
        if let Some(topic) = self.image.topics.topic_by_id(id) {
            self.deleted_topics.insert(id, topic.clone());
        }
        let resource = ConfigResource::topic(name);
        let configs = self.configs.get_or_insert_with(|| self.image.configs.as_ref().clone());
        configs.remove(&resource);
        self.changed_configs.insert(resource);
        Ok(())
    }

    fn replay_config(&mut self, record: &ConfigRecord) -> Result<(), String> {
        let Some(kind) = ConfigResourceType::from_id(record.resource_type) else {
            return Err(format!("a configuration of a resource of type {}", record.resource_type));
        };
        let resource = ConfigResource { kind, name: record.resource_name.as_str().into() };
        let configs = self.configs.get_or_insert_with(|| self.image.configs.as_ref().clone());
        configs.set(&resource, &record.name, record.value.as_deref());
        self.changed_configs.insert(resource);
        Ok(())
    }
}

fn ids(ids: &[i32]) -> BrokerIds {
    ids.iter().copied().collect()
}

/// Records before KIP-858 name no directories: Kafka then reads the reserved id `MIGRATING`, all zero.
fn directories(directories: &[Uuid], replicas: usize) -> smallvec::SmallVec<[Uuid; 1]> {
    if directories.is_empty() {
        std::iter::repeat_n(Uuid::nil(), replicas).collect()
    } else {
        directories.iter().copied().collect()
    }
}

fn recovery_state(state: i8) -> Result<LeaderRecoveryState, String> {
    match state {
        0 => Ok(LeaderRecoveryState::Recovered),
        1 => Ok(LeaderRecoveryState::Recovering),
        other => Err(format!("the leader recovery state {other}")),
    }
}
