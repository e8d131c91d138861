//! The immutable metadata image that brokers read (`org.apache.kafka.image.MetadataImage`). A request takes one image
//! and keeps it; changes make a new image that shares every unchanged part.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::types::{NO_TIMESTAMP, TransactionVersion, Uuid};
use crate::wire::records::metadata::{MetadataRecord, RegisterControllerRecord};

/// The leader of a partition that has none (`LeaderConstants.NO_LEADER`).
pub const NO_LEADER: i32 = -1;
/// How many ids a block of producer ids has (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
pub const PRODUCER_ID_BLOCK_SIZE: i32 = 1000;

/// Broker ids of one partition; inline up to four.
pub type BrokerIds = SmallVec<[i32; 4]>;

/// Where an image came from (`MetadataProvenance`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The offset of the last record that the image contains; -1 when none.
    pub last_contained_offset: i64,
    /// The epoch of that record; -1 when none.
    pub last_contained_epoch: i32,
    /// The append time of that record's batch, in milliseconds since the Unix epoch; -1 when none.
    pub last_contained_timestamp: i64,
}

impl Default for Provenance {
    fn default() -> Self {
        Self { last_contained_offset: -1, last_contained_epoch: -1, last_contained_timestamp: NO_TIMESTAMP }
    }
}

/// All metadata of the cluster after one record of the metadata log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataImage {
    /// The last record contained.
    pub provenance: Provenance,
    /// Finalized features.
    pub features: Arc<FeaturesImage>,
    /// Brokers and controllers.
    pub cluster: Arc<ClusterImage>,
    /// Topics and partitions.
    pub topics: Arc<TopicsImage>,
    /// Dynamic configurations.
    pub configs: Arc<ConfigurationsImage>,
    /// The next producer ids.
    pub producer_ids: Arc<ProducerIdsImage>,
    /// What this release keeps for another without acting on it.
    pub carried: Arc<CarriedImage>,
}

/// Finalized feature levels (`FeaturesImage`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeaturesImage {
    finalized: BTreeMap<String, i16>,
}

impl FeaturesImage {
    /// Every finalized level above 0 by feature name, `metadata.version` included.
    pub fn finalized(&self) -> &BTreeMap<String, i16> {
        &self.finalized
    }

    /// The finalized level of a feature; 0 when it is not finalized.
    pub fn level(&self, name: &str) -> i16 {
        self.finalized.get(name).copied().unwrap_or(0)
    }

    /// The level of `transaction.version` in force; the first one where the cluster has not agreed on any.
    pub fn transaction_version(&self) -> TransactionVersion {
        TransactionVersion::from_level(self.level(super::TRANSACTION_VERSION)).unwrap_or_default()
    }

    pub(super) fn set(&mut self, name: String, level: i16) {
        if level == 0 {
            self.finalized.remove(&name);
        } else {
            self.finalized.insert(name, level);
        }
    }
}

/// An address at which a broker or controller is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The host name or address as advertised.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
    /// Kafka's id of the security protocol: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// The versions of a feature that a node supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportedFeature {
    /// The feature's name.
    pub name: String,
    /// The lowest level.
    pub min: i16,
    /// The highest level.
    pub max: i16,
}

/// One registered broker (`BrokerRegistration`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistration {
    /// The broker's id.
    pub id: i32,
    /// The registration's epoch: the offset of its record, so it rises with every registration.
    pub epoch: i64,
    /// The id that the process chose at its start.
    pub incarnation_id: Uuid,
    /// Where clients and brokers reach it.
    pub endpoints: Vec<Endpoint>,
    /// What it supports.
    pub features: Vec<SupportedFeature>,
    /// The rack.
    pub rack: Option<Arc<str>>,
    /// A fenced broker leads nothing and is not shown to clients.
    pub fenced: bool,
    /// Whether it is shutting down in order.
    pub in_controlled_shutdown: bool,
    /// The ids of its log directories.
    pub directories: Vec<Uuid>,
    /// The ids of the log directories that take no new replicas; `None` when unknown (KIP-1066).
    pub cordoned_directories: Option<Vec<Uuid>>,
}

impl BrokerRegistration {
    /// The endpoint of a listener.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| &*endpoint.listener == listener)
    }
}

/// Registered brokers and controllers (`ClusterImage`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterImage {
    brokers: BTreeMap<i32, Arc<BrokerRegistration>>,
    controllers: BTreeMap<i32, Arc<RegisterControllerRecord>>,
}

impl ClusterImage {
    /// All brokers by id, fenced ones included.
    pub fn brokers(&self) -> &BTreeMap<i32, Arc<BrokerRegistration>> {
        &self.brokers
    }

    /// One broker.
    pub fn broker(&self, id: i32) -> Option<&Arc<BrokerRegistration>> {
        self.brokers.get(&id)
    }

    /// The brokers that are not fenced, in order of id.
    pub fn unfenced_brokers(&self) -> impl Iterator<Item = &Arc<BrokerRegistration>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// The registrations of Apache Kafka's controllers, as they wrote them.
    pub fn controllers(&self) -> &BTreeMap<i32, Arc<RegisterControllerRecord>> {
        &self.controllers
    }

    pub(super) fn insert_controller(&mut self, controller: Arc<RegisterControllerRecord>) {
        self.controllers.insert(controller.controller_id, controller);
    }

    pub(super) fn insert(&mut self, broker: Arc<BrokerRegistration>) {
        self.brokers.insert(broker.id, broker);
    }

    pub(super) fn remove(&mut self, id: i32) {
        self.brokers.remove(&id);
    }
}

/// How a leader was found (`LeaderRecoveryState`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaderRecoveryState {
    /// The leader came from the in-sync replicas.
    #[default]
    Recovered,
    /// The leader was elected uncleanly and has not recovered yet.
    Recovering,
}

/// One partition (`PartitionRegistration`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PartitionRegistration {
    /// The replicas in preference order.
    pub replicas: BrokerIds,
    /// The log directory of each replica.
    pub directories: SmallVec<[Uuid; 1]>,
    /// The replicas that are in sync.
    pub isr: BrokerIds,
    /// Replicas that a reassignment removes.
    pub removing_replicas: BrokerIds,
    /// Replicas that a reassignment adds.
    pub adding_replicas: BrokerIds,
    /// Eligible leader replicas (KIP-966).
    pub elr: BrokerIds,
    /// The last known eligible leader replicas (KIP-966).
    pub last_known_elr: BrokerIds,
    /// The leader, or [`NO_LEADER`].
    pub leader: i32,
    /// Whether the leader was elected cleanly.
    pub leader_recovery_state: LeaderRecoveryState,
    /// Rises with every change of leader; never goes back.
    pub leader_epoch: i32,
    /// Rises with every change of the partition.
    pub partition_epoch: i32,
}

impl PartitionRegistration {
    /// Whether the partition has a leader.
    pub fn has_leader(&self) -> bool {
        self.leader != NO_LEADER
    }

    /// The preferred leader: the first replica; [`NO_LEADER`] when there are none.
    pub fn preferred_replica(&self) -> i32 {
        self.replicas.first().copied().unwrap_or(NO_LEADER)
    }

    /// The log directory of a replica.
    pub fn directory(&self, broker_id: i32) -> Option<Uuid> {
        let position = self.replicas.iter().position(|id| *id == broker_id)?;
        self.directories.get(position).copied()
    }
}

/// One topic (`TopicImage`).
#[derive(Clone, Debug, PartialEq)]
pub struct TopicImage {
    /// The topic's name.
    pub name: Arc<str>,
    /// The topic's id: stable while the topic lives, another one after deletion and creation.
    pub id: Uuid,
    /// The partitions, in order of their number, which starts at 0 and has no gaps.
    pub partitions: Vec<Arc<PartitionRegistration>>,
}

impl TopicImage {
    /// One partition.
    pub fn partition(&self, partition: i32) -> Option<&Arc<PartitionRegistration>> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    /// The partitions with their numbers.
    pub fn partitions(&self) -> impl Iterator<Item = (i32, &Arc<PartitionRegistration>)> {
        (0..).zip(self.partitions.iter())
    }
}

/// Topics by name and by id (`TopicsImage`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicsImage {
    by_name: BTreeMap<Arc<str>, Arc<TopicImage>>,
    by_id: HashMap<Uuid, Arc<TopicImage>>,
}

impl TopicsImage {
    /// Topics in order of name.
    pub fn by_name(&self) -> &BTreeMap<Arc<str>, Arc<TopicImage>> {
        &self.by_name
    }

    /// Topics by id.
    pub fn by_id(&self) -> &HashMap<Uuid, Arc<TopicImage>> {
        &self.by_id
    }

    /// A topic by name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.by_name.get(name)
    }

    /// A topic by id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.by_id.get(&id)
    }

    /// A partition by topic name.
    pub fn partition(&self, name: &str, partition: i32) -> Option<&Arc<PartitionRegistration>> {
        self.topic(name)?.partition(partition)
    }

    pub(super) fn insert(&mut self, topic: Arc<TopicImage>) {
        self.by_id.insert(topic.id, topic.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }

    pub(super) fn remove(&mut self, id: Uuid) {
        if let Some(topic) = self.by_id.remove(&id) {
            self.by_name.remove(&topic.name);
        }
    }
}

/// The kind of a configured resource, with Kafka's ids (`ConfigResource.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigResourceType {
    /// A topic.
    Topic,
    /// A broker, or all brokers when the name is empty.
    Broker,
    /// The log level of a broker's loggers.
    BrokerLogger,
    /// Metrics that clients push (KIP-714).
    ClientMetrics,
    /// A group.
    Group,
}

impl ConfigResourceType {
    /// Kafka's id.
    pub fn id(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::BrokerLogger => 8,
            Self::ClientMetrics => 16,
            Self::Group => 32,
        }
    }

    /// The type with Kafka's id.
    pub fn from_id(id: i8) -> Option<Self> {
        [Self::Topic, Self::Broker, Self::BrokerLogger, Self::ClientMetrics, Self::Group]
            .into_iter()
            .find(|kind| kind.id() == id)
    }

    /// Kafka's name, as it appears in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Topic => "TOPIC",
            Self::Broker => "BROKER",
            Self::BrokerLogger => "BROKER_LOGGER",
            Self::ClientMetrics => "CLIENT_METRICS",
            Self::Group => "GROUP",
        }
    }
}

/// A configured resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    /// Its kind.
    pub kind: ConfigResourceType,
    /// Its name; empty for the default of its kind.
    pub name: Arc<str>,
}

impl ConfigResource {
    /// A topic's configuration.
    pub fn topic(name: impl Into<Arc<str>>) -> Self {
        Self { kind: ConfigResourceType::Topic, name: name.into() }
    }

    /// A broker's dynamic configuration.
    pub fn broker(id: i32) -> Self {
        Self { kind: ConfigResourceType::Broker, name: id.to_string().into() }
    }

    /// The dynamic configuration of all brokers.
    pub fn default_broker() -> Self {
        Self { kind: ConfigResourceType::Broker, name: "".into() }
    }
}

/// Dynamic configurations by resource (`ConfigurationsImage`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigurationsImage {
    resources: BTreeMap<ConfigResource, Arc<BTreeMap<String, String>>>,
}

impl ConfigurationsImage {
    /// The overrides of every resource that has any.
    pub fn resources(&self) -> &BTreeMap<ConfigResource, Arc<BTreeMap<String, String>>> {
        &self.resources
    }

    /// The overrides of one resource; empty when it has none.
    pub fn resource(&self, kind: ConfigResourceType, name: &str) -> Arc<BTreeMap<String, String>> {
        let key = ConfigResource { kind, name: name.into() };
        self.resources.get(&key).cloned().unwrap_or_default()
    }

    /// The overrides of a topic.
    pub fn topic(&self, name: &str) -> Arc<BTreeMap<String, String>> {
        self.resource(ConfigResourceType::Topic, name)
    }

    pub(super) fn set(&mut self, resource: &ConfigResource, name: &str, value: Option<&str>) {
        let entry = self.resources.entry(resource.clone()).or_default();
        let entries = Arc::make_mut(entry);
        match value {
            Some(value) => entries.insert(name.to_owned(), value.to_owned()),
            None => entries.remove(name),
        };
        if entries.is_empty() {
            self.resources.remove(resource);
        }
    }

    pub(super) fn remove(&mut self, resource: &ConfigResource) {
        self.resources.remove(resource);
    }
}

/// The producer ids that were given out (`ProducerIdsImage`).
#[derive(Clone, Debug, PartialEq)]
pub struct ProducerIdsImage {
    /// The first producer id of the next block.
    pub next_producer_id: i64,
    /// The broker that got the last block; -1 when none was given out.
    pub broker_id: i32,
    /// That broker's epoch.
    pub broker_epoch: i64,
}

impl Default for ProducerIdsImage {
    fn default() -> Self {
        Self { next_producer_id: 0, broker_id: -1, broker_epoch: -1 }
    }
}

/// What a carried record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CarriedKind {
    /// An ACL.
    AccessControlEntry,
    /// A SCRAM credential of a user.
    ScramCredential,
    /// A delegation token.
    DelegationToken,
    /// A quota of a user, a client id or an address.
    ClientQuota,
}

impl CarriedKind {
    /// The name for people, in the plural.
    pub fn plural(self) -> &'static str {
        match self {
            Self::AccessControlEntry => "ACLs",
            Self::ScramCredential => "SCRAM credentials",
            Self::DelegationToken => "delegation tokens",
            Self::ClientQuota => "client quotas",
        }
    }
}

/// What Apache Kafka wrote and this release has no use for: the last record of each thing, which every snapshot holds
/// again. A start refuses metadata that has any (see [`super::inspect`]); what was removed again leaves nothing here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CarriedImage {
    records: BTreeMap<(CarriedKind, String), MetadataRecord>,
}

impl CarriedImage {
    /// The last record of each thing, by its kind and name.
    pub fn records(&self) -> &BTreeMap<(CarriedKind, String), MetadataRecord> {
        &self.records
    }

    pub(super) fn set(&mut self, kind: CarriedKind, name: String, record: Option<MetadataRecord>) {
        match record {
            Some(record) => self.records.insert((kind, name), record),
            None => self.records.remove(&(kind, name)),
        };
    }
}
