//! The records that the controller writes, in the versions of [`super::METADATA_VERSION_LEVEL`], and those that make an
//! image from nothing (`ImageWriter`). Everything that knows the schemas' fields is here and in `replay.rs`.

use super::controller::{BrokerRegistrationData, PartitionChange};
use super::error::MetadataError;
use super::image::{
    BrokerRegistration, ConfigResource, Endpoint, LeaderRecoveryState, MetadataImage, PartitionRegistration,
    SupportedFeature,
};
use crate::types::Uuid;
use crate::wire::records::metadata::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, ConfigRecord, FeatureLevelRecord,
    PartitionChangeRecord, PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord, RemoveTopicRecord, TopicRecord,
};

pub use crate::wire::records::metadata::MetadataRecord;

/// A record as the value of a record batch, in the version that Kafka writes at our metadata version.
pub(super) fn encode(record: &MetadataRecord) -> Result<bytes::Bytes, MetadataError> {
    let version = match record {
        // Kafka picks the lowest version that has what changed.
        MetadataRecord::BrokerRegistrationChange(change) if change.cordoned_log_dirs.is_none() => {
            if !change.log_dirs.is_empty() { 2 } else { i16::from(change.in_controlled_shutdown != 0) }
        }
        record => record.highest_version(),
    };
    record.encode(version).map_err(|error| MetadataError::Unencodable(error.to_string()))
}

/// Reads a record; the error says why it cannot be.
pub(super) fn decode(value: &[u8]) -> Result<MetadataRecord, String> {
    MetadataRecord::decode(value).map(|(record, _)| record).map_err(|error| error.to_string())
}

/// A finalized feature level.
pub(super) fn feature_level(name: &str, level: i16) -> MetadataRecord {
    FeatureLevelRecord { name: name.to_owned(), feature_level: level }.into()
}

/// A broker's registration.
pub(super) fn register_broker(registration: &BrokerRegistrationData, epoch: i64, fenced: bool) -> MetadataRecord {
    RegisterBrokerRecord {
        broker_id: registration.broker_id,
        incarnation_id: registration.incarnation_id,
        broker_epoch: epoch,
        end_points: endpoints(&registration.endpoints),
        features: features(&registration.features),
        rack: registration.rack.clone(),
        fenced,
        log_dirs: registration.directories.clone(),
        ..RegisterBrokerRecord::default()
    }
    .into()
}

fn endpoints(endpoints: &[Endpoint]) -> Vec<BrokerEndpoint> {
    let endpoint = |endpoint: &Endpoint| BrokerEndpoint {
        name: endpoint.listener.to_string(),
        host: endpoint.host.to_string(),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
    };
    endpoints.iter().map(endpoint).collect()
}

fn features(features: &[SupportedFeature]) -> Vec<BrokerFeature> {
    let feature = |feature: &SupportedFeature| BrokerFeature {
        name: feature.name.clone(),
        min_supported_version: feature.min,
        max_supported_version: feature.max,
    };
    features.iter().map(feature).collect()
}

/// A broker becomes fenced or unfenced.
pub(super) fn fence_broker(broker_id: i32, broker_epoch: i64, fenced: bool) -> MetadataRecord {
    let fenced = if fenced { 1 } else { -1 };
    BrokerRegistrationChangeRecord { broker_id, broker_epoch, fenced, ..BrokerRegistrationChangeRecord::default() }
        .into()
}

/// A new topic.
pub(super) fn topic(name: &str, topic_id: Uuid) -> MetadataRecord {
    TopicRecord { name: name.to_owned(), topic_id }.into()
}

/// A topic's end.
pub(super) fn remove_topic(topic_id: Uuid) -> MetadataRecord {
    RemoveTopicRecord { topic_id }.into()
}

/// A new partition, or one in a snapshot.
pub(super) fn partition(topic_id: Uuid, partition_id: i32, partition: &PartitionRegistration) -> MetadataRecord {
    let unless_empty = |ids: &[i32]| (!ids.is_empty()).then(|| ids.to_vec());
    PartitionRecord {
        partition_id,
        topic_id,
        replicas: partition.replicas.to_vec(),
        isr: partition.isr.to_vec(),
        removing_replicas: partition.removing_replicas.to_vec(),
        adding_replicas: partition.adding_replicas.to_vec(),
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        directories: partition.directories.to_vec(),
        leader_recovery_state: recovery_state(partition.leader_recovery_state),
        eligible_leader_replicas: unless_empty(&partition.elr),
        last_known_elr: unless_empty(&partition.last_known_elr),
    }
    .into()
}

fn recovery_state(state: LeaderRecoveryState) -> i8 {
    match state {
        LeaderRecoveryState::Recovered => 0,
        LeaderRecoveryState::Recovering => 1,
    }
}

/// A change of a partition.
pub(super) fn partition_change(topic_id: Uuid, partition_id: i32, change: &PartitionChange) -> MetadataRecord {
    let ids = |ids: &Option<super::image::BrokerIds>| ids.as_ref().map(|ids| ids.to_vec());
    let unchanged = PartitionChangeRecord::default();
    PartitionChangeRecord {
        partition_id,
        topic_id,
        isr: ids(&change.isr),
        leader: change.leader.unwrap_or(unchanged.leader),
        replicas: ids(&change.replicas),
        removing_replicas: ids(&change.removing_replicas),
        adding_replicas: ids(&change.adding_replicas),
        leader_recovery_state: change.leader_recovery_state.map_or(unchanged.leader_recovery_state, recovery_state),
        eligible_leader_replicas: ids(&change.elr),
        last_known_elr: ids(&change.last_known_elr),
        directories: change.directories.clone(),
    }
    .into()
}

/// A configuration that is set, or removed with `None`.
pub(super) fn config(resource: &ConfigResource, name: &str, value: Option<&str>) -> MetadataRecord {
    ConfigRecord {
        resource_type: resource.kind.id(),
        resource_name: resource.name.to_string(),
        name: name.to_owned(),
        value: value.map(str::to_owned),
    }
    .into()
}

/// A block of producer ids was given out.
pub(super) fn producer_ids(broker_id: i32, broker_epoch: i64, next_producer_id: i64) -> MetadataRecord {
    ProducerIdsRecord { broker_id, broker_epoch, next_producer_id }.into()
}

/// The records that make the image from nothing, the metadata version first.
pub(super) fn of_image(image: &MetadataImage) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    let features = image.features.finalized();
    let version_first = |name: &&String| *name != super::METADATA_VERSION;
    let mut names: Vec<&String> = features.keys().collect();
    names.sort_by_key(version_first);
    records.extend(names.into_iter().map(|name| feature_level(name, image.features.level(name))));
    records.extend(image.cluster.brokers().values().map(|broker| registered_broker(broker)));
    let controllers = image.cluster.controllers().values();
    records.extend(controllers.map(|controller| MetadataRecord::from(controller.as_ref().clone())));
    for topic_image in image.topics.by_name().values() {
        records.push(topic(&topic_image.name, topic_image.id));
        let partitions = topic_image.partitions();
        records.extend(partitions.map(|(number, registration)| partition(topic_image.id, number, registration)));
    }
    for (resource, values) in image.configs.resources() {
        records.extend(values.iter().map(|(name, value)| config(resource, name, Some(value))));
    }
    if image.producer_ids.next_producer_id != 0 {
        let producer_ids = &image.producer_ids;
        records.push(self::producer_ids(
            producer_ids.broker_id,
            producer_ids.broker_epoch,
            producer_ids.next_producer_id,
        ));
    }
    records.extend(image.carried.records().values().cloned());
    records
}

fn registered_broker(broker: &BrokerRegistration) -> MetadataRecord {
    RegisterBrokerRecord {
        broker_id: broker.id,
        is_migrating_zk_broker: false,
        incarnation_id: broker.incarnation_id,
        broker_epoch: broker.epoch,
        end_points: endpoints(&broker.endpoints),
        features: features(&broker.features),
        rack: broker.rack.as_ref().map(|rack| rack.to_string()),
        fenced: broker.fenced,
        in_controlled_shutdown: broker.in_controlled_shutdown,
        log_dirs: broker.directories.clone(),
        cordoned_log_dirs: broker.cordoned_directories.clone(),
    }
    .into()
}
