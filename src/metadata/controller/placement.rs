//! Which brokers get the replicas of new partitions (`StripedReplicaPlacer`): the first replica on a live broker,
//! leaders and replicas spread evenly, racks taken in turn, fenced brokers only when live ones do not suffice.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;

use super::super::api_error::ApiError;
use super::super::image::{BrokerIds, BrokerRegistration, ClusterImage};
use crate::env::Random;

/// The replicas of `partitions` new partitions.
pub fn place(
    cluster: &ClusterImage,
    partitions: usize,
    replication_factor: i16,
    random: &dyn Random,
) -> Result<Vec<BrokerIds>, ApiError> {
    let usable = |broker: &&Arc<BrokerRegistration>| has_uncordoned_directory(broker);
    let live: Vec<_> = cluster.brokers().values().filter(usable).filter(|broker| !broker.fenced).collect();
    let fenced: Vec<_> = cluster.brokers().values().filter(usable).filter(|broker| broker.fenced).collect();
    let wanted = match usize::try_from(replication_factor) {
        Ok(wanted) if wanted > 0 => wanted,
        _ => {
            return Err(refused(format!(
                "Invalid replication factor {replication_factor}: the replication factor must be positive."
            )));
        }
    };
    if live.is_empty() {
        return Err(refused("All brokers are currently fenced, or have all their log directories cordoned.".into()));
    }
    let total = live.len() + fenced.len();
    if wanted > total {
        return Err(refused(format!(
            "The target replication factor of {replication_factor} cannot be reached because only {total} broker(s) \
             are registered or some brokers have all their log directories cordoned."
        )));
    }
    let (live, fenced) = (striped_by_rack(&live), striped_by_rack(&fenced));
    // A random start, then one step on for every partition: leaders and replicas are spread evenly.
    let start = usize::try_from(random.next_u64() % live.len() as u64).unwrap_or(0);
    Ok((0..partitions)
        .map(|partition| {
            let first = start + partition;
            let live_replicas = (0..live.len()).map(|step| live[(first + step) % live.len()]);
            let fenced_replicas = (0..fenced.len()).map(|step| fenced[(first + step) % fenced.len()]);
            live_replicas.chain(fenced_replicas).take(wanted).collect()
        })
        .collect())
}

/// Whether new replicas may be put on the broker (KIP-1066).
pub fn has_uncordoned_directory(broker: &BrokerRegistration) -> bool {
    match &broker.cordoned_directories {
        Some(cordoned) => broker.directories.iter().any(|directory| !cordoned.contains(directory)),
        None => true,
    }
}

fn refused(message: String) -> ApiError {
    ApiError::new(ResponseError::InvalidReplicationFactor, message)
}

/// The broker ids with the racks in turn: neighbours are in different racks as long as there are several.
fn striped_by_rack(brokers: &[&Arc<BrokerRegistration>]) -> Vec<i32> {
    let mut racks: BTreeMap<Option<&str>, Vec<i32>> = BTreeMap::new();
    for broker in brokers {
        racks.entry(broker.rack.as_deref()).or_default().push(broker.id);
    }
    let longest = racks.values().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|row| racks.values().filter_map(move |rack| rack.get(row).copied())).collect()
}
