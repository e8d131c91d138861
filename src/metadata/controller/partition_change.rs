//! A change of one partition, and who leads after it (`PartitionChangeBuilder`; eligible leader replicas are
//! read from Kafka's logs and emptied when their broker leads again, never filled).

use super::super::image::{BrokerIds, ClusterImage, LeaderRecoveryState, NO_LEADER, PartitionRegistration};
use crate::types::Uuid;

/// What changes; `None` stays as it is (`PartitionChangeRecord`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionChange {
    /// The in-sync replicas.
    pub isr: Option<BrokerIds>,
    /// The leader; the same one again raises the leader epoch all the same.
    pub leader: Option<i32>,
    /// The replicas.
    pub replicas: Option<BrokerIds>,
    /// The replicas being removed.
    pub removing_replicas: Option<BrokerIds>,
    /// The replicas being added.
    pub adding_replicas: Option<BrokerIds>,
    /// How the leader was found.
    pub leader_recovery_state: Option<LeaderRecoveryState>,
    /// The log directories of the replicas.
    pub directories: Option<Vec<Uuid>>,
    /// The eligible leader replicas (KIP-966).
    pub elr: Option<BrokerIds>,
    /// The last known eligible leader replicas (as `elr`).
    pub last_known_elr: Option<BrokerIds>,
}

impl PartitionChange {
    /// The partition after the change (`PartitionRegistration.merge`).
    pub fn merge(&self, before: &PartitionRegistration) -> PartitionRegistration {
        let mut after = before.clone();
        let set = |target: &mut BrokerIds, value: &Option<BrokerIds>| {
            if let Some(value) = value {
                target.clone_from(value);
            }
        };
        set(&mut after.isr, &self.isr);
        set(&mut after.replicas, &self.replicas);
        set(&mut after.removing_replicas, &self.removing_replicas);
        set(&mut after.adding_replicas, &self.adding_replicas);
        set(&mut after.elr, &self.elr);
        set(&mut after.last_known_elr, &self.last_known_elr);
        if let Some(directories) = &self.directories {
            after.directories = directories.iter().copied().collect();
        }
        if let Some(state) = self.leader_recovery_state {
            after.leader_recovery_state = state;
        }
        if let Some(leader) = self.leader {
            after.leader = leader;
            after.leader_epoch = after.leader_epoch.saturating_add(1);
        }
        after.partition_epoch = after.partition_epoch.saturating_add(1);
        after
    }
}

/// How a leader may be chosen (`PartitionChangeBuilder.Election`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The first replica if it can, else the present leader, else any replica in sync.
    Preferred,
    /// The present leader or any replica in sync; when there is none, any live replica: records may be lost.
    Unclean,
}

/// The change that an election brings about; `None` when the leader stays.
pub fn elect(cluster: &ClusterImage, partition: &PartitionRegistration, election: Election) -> Option<PartitionChange> {
    let alive = |id: &i32| cluster.broker(*id).is_some_and(|broker| !broker.fenced && !broker.in_controlled_shutdown);
    let valid = |id: &i32| partition.isr.contains(id) && alive(id);
    let present = Some(partition.leader).filter(&valid);
    let in_sync = || partition.replicas.iter().copied().find(&valid);
    let clean = match election {
        Election::Preferred => Some(partition.preferred_replica()).filter(&valid).or(present).or_else(in_sync),
        Election::Unclean => present.or_else(in_sync),
    };
    let mut change = PartitionChange::default();
    let leader = match clean {
        Some(leader) => leader,
        None if election == Election::Unclean => match partition.replicas.iter().copied().find(alive) {
            Some(leader) => {
                change.isr = Some([leader].into_iter().collect());
                change.leader_recovery_state = Some(LeaderRecoveryState::Recovering);
                leader
            }
            None => NO_LEADER,
        },
        None => NO_LEADER,
    };
    if leader == partition.leader {
        return None;
    }
    change.leader = Some(leader);
    Some(change)
}
