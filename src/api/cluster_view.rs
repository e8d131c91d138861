//! Brokers and partitions as one client sees them: through the listener that it came in on (`KRaftMetadataCache`).

use std::sync::Arc;

use kafka_protocol::messages::BrokerId;

use super::handler::RequestContext;
use super::services::{Endpoint, Services};
use crate::metadata::{BrokerRegistration, MetadataImage, PartitionRegistration};

/// One image, one listener.
pub struct ClusterView<'a> {
    services: &'a Services,
    context: &'a RequestContext,
    node_id: i32,
    /// Whether to look for partitions of this broker that are offline.
    looks_for_offline: bool,
    /// The metadata of the whole request.
    pub image: Arc<MetadataImage>,
}

impl<'a> ClusterView<'a> {
    /// The view of a request, of the metadata as it is now.
    pub fn new(services: &'a Services, context: &'a RequestContext) -> Self {
        Self {
            services,
            context,
            node_id: services.config.node_id(),
            looks_for_offline: services.replicas.has_anything_offline(),
            image: services.controller.image(),
        }
    }

    /// Where the client reaches a broker; `None` when the broker has not this listener.
    pub fn endpoint(&self, broker: &BrokerRegistration) -> Option<Endpoint> {
        if broker.id == self.node_id {
            return Some(self.services.advertised_endpoint(self.context));
        }
        let endpoint = broker.endpoint(&self.context.listener)?;
        Some(Endpoint { host: endpoint.host.to_string(), port: endpoint.port })
    }

    /// The brokers that the client can reach, in order of id; fenced ones only when asked for.
    pub fn brokers(&self, include_fenced: bool) -> Vec<(&BrokerRegistration, Endpoint)> {
        let brokers = self.image.cluster.brokers().values().filter(|broker| include_fenced || !broker.fenced);
        brokers.filter_map(|broker| Some((&**broker, self.endpoint(broker)?))).collect()
    }

    /// As `endpoint`, without making one: this is asked for every replica of every partition.
    fn has_listener(&self, broker: &BrokerRegistration) -> bool {
        broker.id == self.node_id || broker.endpoint(&self.context.listener).is_some()
    }

    fn is_reachable(&self, id: i32) -> bool {
        let broker = self.image.cluster.broker(id);
        broker.is_some_and(|broker| !broker.fenced && self.has_listener(broker))
    }

    /// The leader, when the client can reach it and it serves the partition.
    pub fn leader(&self, topic: &str, partition: i32, registration: &PartitionRegistration) -> Option<BrokerId> {
        // Kafka looks at the listener only: a fenced leader is still named until the controller has elected another.
        let broker = self.image.cluster.broker(registration.leader)?;
        let serves = self.has_listener(broker) && !self.is_offline(topic, partition, registration.leader);
        serves.then_some(BrokerId(registration.leader))
    }

    /// Whether this broker's replica is in a log directory that failed, or damaged. With nobody else to lead the partition, Kafka's
    /// controller leaves it without a leader.
    pub fn is_offline(&self, topic: &str, partition: i32, replica: i32) -> bool {
        self.looks_for_offline && replica == self.node_id && self.services.replicas.is_offline(topic, partition)
    }

    /// Of these brokers, those that the client can reach.
    pub fn reachable(&self, brokers: &[i32]) -> Vec<BrokerId> {
        brokers.iter().copied().filter(|id| self.is_reachable(*id)).map(BrokerId).collect()
    }

    /// The replicas that the client cannot reach, and those that are offline.
    pub fn offline_replicas(&self, topic: &str, partition: i32, registration: &PartitionRegistration) -> Vec<BrokerId> {
        let is_offline = |id: &i32| !self.is_reachable(*id) || self.is_offline(topic, partition, *id);
        registration.replicas.iter().copied().filter(is_offline).map(BrokerId).collect()
    }
}

/// Broker ids as the codec wants them.
pub fn broker_ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}
