//! Whether damage in the metadata log can be what a crash leaves of an unfinished write, or must be a disk's doing.
//!
//! Every command is one batch, synced before the next one is appended. Only the batches with which a life begins share a
//! sync: the leader change, the end of a transaction that the last life left open, a new cluster's first records, the
//! registration, and the batches that unfence the broker and give its partitions their new epochs. So a valid batch behind
//! the damage is allowed only when both can be of one such beginning, and then nothing may follow it.

use super::super::batches::decode_batch;
use super::super::records::MetadataRecord;
use crate::record::BatchHeader;

/// `before`: the batches of the last epoch before the damage. `behind`: the valid batches behind it.
pub(super) fn is_torn_end(before: &[(BatchHeader, Vec<u8>)], behind: &[(BatchHeader, Vec<u8>)]) -> bool {
    let Some((first, _)) = behind.first() else { return true };
    let epoch = first.partition_leader_epoch;
    let began_before =
        before.iter().any(|(header, batch)| header.partition_leader_epoch == epoch && unfences(header, batch));
    if began_before || behind.iter().any(|(header, _)| header.is_control() || header.partition_leader_epoch != epoch) {
        // A control batch begins an epoch: everything before it was synced by the recovery or the close before.
        return false;
    }
    let mut unfenced = false;
    behind.iter().all(|(header, batch)| {
        let follows = unfenced;
        unfenced |= unfences(header, batch);
        belongs_to_start(header, batch, follows)
    })
}

fn records(header: &BatchHeader, batch: &[u8]) -> Vec<MetadataRecord> {
    decode_batch(header, batch).unwrap_or_default().into_iter().map(|(_, record)| record).collect()
}

fn unfences(header: &BatchHeader, batch: &[u8]) -> bool {
    let is_unfencing = |record: &MetadataRecord| matches!(record, MetadataRecord::BrokerRegistrationChange(change) if change.fenced == -1);
    records(header, batch).iter().any(is_unfencing)
}

/// Behind the unfencing, only more partitions of the same command may come.
fn belongs_to_start(header: &BatchHeader, batch: &[u8], follows_unfencing: bool) -> bool {
    let records = records(header, batch);
    if follows_unfencing {
        return records.iter().all(|record| matches!(record, MetadataRecord::PartitionChange(_)));
    }
    let is_bootstrap = matches!(records.first(), Some(MetadataRecord::FeatureLevel(_)));
    !records.is_empty()
        && records.iter().all(|record| match record {
            MetadataRecord::FeatureLevel(_) | MetadataRecord::Config(_) => is_bootstrap,
            MetadataRecord::RegisterBroker(_)
            | MetadataRecord::BrokerRegistrationChange(_)
            | MetadataRecord::PartitionChange(_)
            | MetadataRecord::AbortTransaction(_) => true,
            _ => false,
        })
}
