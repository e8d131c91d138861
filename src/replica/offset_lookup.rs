//! ListOffsets' special timestamps (`UnifiedLog.fetchOffsetByTimestamp`, `Partition.fetchOffsetForTimestamp`).

use super::partition::Leadership;
use super::{Partition, ReplicaError};
use crate::storage::{FetchIsolation, TimestampAndOffset};
use crate::types::{NO_LEADER_EPOCH, NO_TIMESTAMP};

/// The end of what the reader may see.
pub const LATEST_TIMESTAMP: i64 = -1;
/// The log's first offset.
pub const EARLIEST_TIMESTAMP: i64 = -2;
/// The record with the largest timestamp (KIP-734).
pub const MAX_TIMESTAMP: i64 = -3;
/// The first offset that is not only in tiered storage (KIP-405).
pub const EARLIEST_LOCAL_TIMESTAMP: i64 = -4;
/// The last offset in tiered storage (KIP-1005).
pub const LATEST_TIERED_TIMESTAMP: i64 = -5;

/// An offset that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The record's timestamp; -1 for the special timestamps that Kafka answers without one.
    pub timestamp: i64,
    /// The offset; -1 without tiered storage for `LATEST_TIERED_TIMESTAMP`.
    pub offset: i64,
    /// The leader epoch of the offset, when known.
    pub leader_epoch: Option<i32>,
}

/// Finds the offset, with the partition's leadership held.
pub(super) fn lookup(
    partition: &Partition,
    leadership: &Leadership,
    timestamp: i64,
    isolation: Option<FetchIsolation>,
) -> Result<Option<ListedOffset>, ReplicaError> {
    let log = partition.log();
    let last_fetchable = match isolation {
        Some(FetchIsolation::TransactionCommitted) => log.last_stable_offset(),
        Some(FetchIsolation::HighWatermark) => log.high_watermark(),
        Some(FetchIsolation::LogEnd) | None => log.log_end_offset(),
    };
    // A new leader may not know yet what was committed before it (KIP-207).
    let is_behind = isolation.is_some() && leadership.epoch_start_offset > log.high_watermark();
    let not_available = || Err(ReplicaError::OffsetNotAvailable(partition.topic_partition().clone()));
    let found = match timestamp {
        LATEST_TIMESTAMP if is_behind => return not_available(),
        LATEST_TIMESTAMP => {
            let leader_epoch = Some(leadership.leader_epoch);
            return Ok(Some(ListedOffset { timestamp: NO_TIMESTAMP, offset: last_fetchable, leader_epoch }));
        }
        EARLIEST_TIMESTAMP | EARLIEST_LOCAL_TIMESTAMP => {
            let offset = log.log_start_offset();
            let leader_epoch = log.leader_epoch_for(offset);
            return Ok(Some(ListedOffset { timestamp: NO_TIMESTAMP, offset, leader_epoch }));
        }
        LATEST_TIERED_TIMESTAMP => {
            Some(ListedOffset { timestamp: NO_TIMESTAMP, offset: -1, leader_epoch: Some(NO_LEADER_EPOCH) })
        }
        MAX_TIMESTAMP => log.max_timestamp_offset()?.map(listed),
        timestamp => log.offset_for_timestamp(timestamp)?.map(listed),
    };
    match found {
        Some(found) if found.offset < last_fetchable => Ok(Some(found)),
        _ if is_behind => not_available(),
        _ => Ok(None),
    }
}

fn listed(found: TimestampAndOffset) -> ListedOffset {
    let leader_epoch = (found.leader_epoch >= 0).then_some(found.leader_epoch);
    ListedOffset { timestamp: found.timestamp, offset: found.offset, leader_epoch }
}
