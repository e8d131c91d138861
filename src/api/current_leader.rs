//! Who leads a partition now and where, for a client that asked the wrong broker (KIP-951; `KafkaApis.getCurrentLeader`).

use super::handler::RequestContext;
use super::services::{Endpoint, Services};
use crate::metadata::MetadataImage;

/// The leader of a partition.
pub struct CurrentLeader {
    /// The broker's id; -1 when there is no leader.
    pub id: i32,
    /// The leader epoch.
    pub epoch: i32,
    /// Where the client reaches it; `None` when it has no address on the client's listener.
    pub endpoint: Option<Endpoint>,
    /// The broker's rack.
    pub rack: Option<String>,
}

/// The leader of a partition; `None` when the partition does not exist.
pub fn current_leader(
    services: &Services,
    image: &MetadataImage,
    context: &RequestContext,
    topic: &str,
    partition: i32,
) -> Option<CurrentLeader> {
    let registration = image.topics.partition(topic, partition)?;
    let broker = image.cluster.broker(registration.leader).filter(|broker| !broker.fenced);
    let endpoint = if registration.leader == services.replicas.node_id() {
        Some(services.advertised_endpoint(context))
    } else {
        broker
            .and_then(|broker| broker.endpoint(&context.listener))
            .map(|endpoint| Endpoint { host: endpoint.host.to_string(), port: endpoint.port })
    };
    Some(CurrentLeader {
        id: registration.leader,
        epoch: registration.leader_epoch,
        endpoint,
        rack: broker.and_then(|broker| broker.rack.as_deref().map(str::to_owned)),
    })
}
