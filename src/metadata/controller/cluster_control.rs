//! Brokers: registration, fencing, and what follows for their partitions (`ClusterControlManager`,
//! `ReplicationControlManager.handleBrokerUnfenced` and its kin).

use kafka_protocol::error::ResponseError;

use super::super::api_error::ApiError;
use super::super::image::{
    BrokerIds, BrokerRegistration, ClusterImage, Endpoint, PartitionRegistration, SupportedFeature,
};
use super::super::records;
use super::control::{ControlContext, ControlResult};
use super::partition_change::PartitionChange;
use crate::types::Uuid;

/// What a broker says of itself when it starts (`BrokerRegistrationRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistrationData {
    /// The broker's id.
    pub broker_id: i32,
    /// Chosen anew by every process.
    pub incarnation_id: Uuid,
    /// Where it is reached.
    pub endpoints: Vec<Endpoint>,
    /// What it supports.
    pub features: Vec<SupportedFeature>,
    /// Its rack.
    pub rack: Option<String>,
    /// The ids of its log directories.
    pub directories: Vec<Uuid>,
}

/// Registers a broker, fenced; the answer is its new epoch, which is the offset of its record.
pub fn register_broker(
    context: &ControlContext<'_>,
    registration: &BrokerRegistrationData,
    next_offset: i64,
) -> ControlResult<Result<i64, ApiError>> {
    if let Err(error) = validate(&context.image.cluster, registration) {
        return ControlResult::unchanged(Err(error));
    }
    let existing = context.image.cluster.broker(registration.broker_id);
    if let Some(existing) = existing
        && existing.incarnation_id == registration.incarnation_id
    {
        // The same process again: its epoch and its fencing stay (`registerBroker`, "Amending registration").
        let record = records::register_broker(registration, existing.epoch, existing.fenced);
        return ControlResult { response: Ok(existing.epoch), records: vec![record] };
    }
    ControlResult {
        response: Ok(next_offset),
        records: vec![records::register_broker(registration, next_offset, true)],
    }
}

fn validate(cluster: &ClusterImage, registration: &BrokerRegistrationData) -> Result<(), ApiError> {
    let refused = |message: String| Err(ApiError::new(ResponseError::InvalidRegistration, message));
    if registration.directories.is_empty() {
        return refused("No directories specified in request".into());
    }
    for (position, directory) in registration.directories.iter().enumerate() {
        if registration.directories[..position].contains(directory) {
            return refused("Duplicate directory ID in request".into());
        }
        let owner = cluster.brokers().values().find(|broker| broker.directories.contains(directory));
        if let Some(owner) = owner
            && owner.id != registration.broker_id
        {
            return refused(format!("Broker {} is already registered with directory {directory}", owner.id));
        }
    }
    Ok(())
}

/// Lets a broker lead and be seen. Every partition that has a replica there and no leader elsewhere gets a new leader
/// epoch: the process is a new one, and what an earlier one had not yet synced may be gone, so that a consumer must be
/// able to tell the two apart (KIP-320). Apache Kafka raises the epoch twice, for the old process's end and the new
/// one's start.
pub fn unfence_broker(
    context: &ControlContext<'_>,
    broker_id: i32,
    broker_epoch: i64,
) -> ControlResult<Result<(), ApiError>> {
    let image = context.image;
    let broker = match check_broker_epoch(&image.cluster, broker_id, broker_epoch) {
        Ok(broker) => broker,
        Err(error) => return ControlResult::unchanged(Err(error)),
    };
    if !broker.fenced {
        return ControlResult::unchanged(Ok(()));
    }
    let mut changes = vec![records::fence_broker(broker_id, broker_epoch, false)];
    for topic in image.topics.by_name().values() {
        for (partition, registration) in topic.partitions() {
            if let Some(change) = lead_again(registration, broker_id) {
                changes.push(records::partition_change(topic.id, partition, &change));
            }
        }
    }
    ControlResult { response: Ok(()), records: changes }
}

/// The change that makes an unfenced broker lead a partition that nobody else leads: one in sync can, and one that Apache
/// Kafka has put among the eligible leader replicas, where a controlled shutdown of the last replica puts it; when there
/// are none of either, the last one that led (`PartitionChangeBuilder.canElectLastKnownLeader`).
fn lead_again(registration: &PartitionRegistration, broker_id: i32) -> Option<PartitionChange> {
    if registration.has_leader() && registration.leader != broker_id {
        return None;
    }
    let (is_in_sync, is_eligible) = (registration.isr.contains(&broker_id), registration.elr.contains(&broker_id));
    let was_last = registration.isr.is_empty()
        && registration.elr.is_empty()
        && registration.last_known_elr.as_slice() == [broker_id];
    if !is_in_sync && !is_eligible && !was_last {
        return None;
    }
    let mut change = PartitionChange { leader: Some(broker_id), ..PartitionChange::default() };
    if !is_in_sync {
        change.isr = Some(registration.isr.iter().copied().chain([broker_id]).collect());
    }
    if is_eligible {
        change.elr = Some(registration.elr.iter().copied().filter(|id| *id != broker_id).collect());
    }
    if !registration.last_known_elr.is_empty() {
        change.last_known_elr = Some(BrokerIds::new());
    }
    Some(change)
}

/// The broker, when it is registered with this epoch (`ClusterControlManager.checkBrokerEpoch`).
pub fn check_broker_epoch(
    cluster: &ClusterImage,
    broker_id: i32,
    broker_epoch: i64,
) -> Result<&BrokerRegistration, ApiError> {
    let Some(broker) = cluster.broker(broker_id) else {
        let message = format!("No broker registration found for broker id {broker_id}");
        return Err(ApiError::new(ResponseError::StaleBrokerEpoch, message));
    };
    if broker.epoch != broker_epoch {
        let message = format!("Expected broker epoch {broker_epoch}, but got broker epoch {}", broker.epoch);
        return Err(ApiError::new(ResponseError::StaleBrokerEpoch, message));
    }
    Ok(broker)
}
