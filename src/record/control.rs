//! Control records: what the log says to brokers and clients in the middle of the data (`ControlRecordType`,
//! `EndTransactionMarker`, `ControlRecordUtils`).

use bytes::Bytes;

use super::{BatchBuilder, BatchProperties, Record, TimestampType};
use crate::types::{EndTransactionMarker, TransactionResult, TransactionVersion};

/// What a control record says; the numbers are those in its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlRecordType {
    /// A transaction was aborted.
    Abort,
    /// A transaction was committed.
    Commit,
    /// A leader of the metadata quorum took over.
    LeaderChange,
    /// The first record of a snapshot.
    SnapshotHeader,
    /// The last record of a snapshot.
    SnapshotFooter,
    /// The `kraft.version` feature.
    KRaftVersion,
    /// The voters of the metadata quorum.
    KRaftVoters,
    /// A type of a later release; skipped.
    Unknown,
}

impl ControlRecordType {
    fn id(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::LeaderChange => 2,
            Self::SnapshotHeader => 3,
            Self::SnapshotFooter => 4,
            Self::KRaftVersion => 5,
            Self::KRaftVoters => 6,
            Self::Unknown => -1,
        }
    }

    fn key(self) -> [u8; 4] {
        let id = self.id().to_be_bytes();
        [0, 0, id[0], id[1]]
    }
}

/// The type in a control record's key, or nothing if the key is not one.
pub fn control_record_type(key: &[u8]) -> Option<ControlRecordType> {
    let (version, rest) = key.split_first_chunk::<2>()?;
    let id = i16::from_be_bytes(*rest.first_chunk::<2>()?);
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    Some(match id {
        0 => ControlRecordType::Abort,
        1 => ControlRecordType::Commit,
        2 => ControlRecordType::LeaderChange,
        3 => ControlRecordType::SnapshotHeader,
        4 => ControlRecordType::SnapshotFooter,
        5 => ControlRecordType::KRaftVersion,
        6 => ControlRecordType::KRaftVoters,
        _ => ControlRecordType::Unknown,
    })
}

/// The coordinator epoch in the value of an Abort or Commit record, if the record is one.
pub fn end_transaction_marker_coordinator_epoch(record: &Record<'_>) -> Option<i32> {
    let kind = control_record_type(record.key?)?;
    if !matches!(kind, ControlRecordType::Abort | ControlRecordType::Commit) {
        return None;
    }
    let (version, rest) = record.value?.split_first_chunk::<2>()?;
    let epoch = rest.first_chunk::<4>()?;
    (i16::from_be_bytes(*version) >= 0).then_some(i32::from_be_bytes(*epoch))
}

/// A batch with the marker that ends a producer's transaction; the offset and leader epoch are the appender's to set.
pub fn end_transaction_marker(
    commit: bool,
    timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    coordinator_epoch: i32,
) -> Bytes {
    let marker = EndTransactionMarker {
        producer_id,
        producer_epoch,
        coordinator_epoch,
        result: TransactionResult::from_committed(commit),
        transaction_version: TransactionVersion::Tv0,
    };
    marker_batch(&marker, timestamp, TimestampType::CreateTime)
}

/// As [`end_transaction_marker`], with the topic's kind of timestamps (`MemoryRecords.withEndTransactionMarker`, as `LogValidator` leaves
/// it).
pub fn marker_batch(marker: &EndTransactionMarker, timestamp: i64, timestamp_type: TimestampType) -> Bytes {
    let kind = if marker.result.is_commit() { ControlRecordType::Commit } else { ControlRecordType::Abort };
    let mut value = vec![0, 0];
    value.extend_from_slice(&marker.coordinator_epoch.to_be_bytes());
    let properties = BatchProperties {
        producer_id: marker.producer_id,
        producer_epoch: marker.producer_epoch,
        is_transactional: true,
        timestamp_type,
        log_append_time: timestamp,
        ..BatchProperties::default()
    };
    control_batch(properties, timestamp, kind, &value)
}

/// A batch that announces a leader of the metadata quorum: all voters and those who voted for it, by node id
/// (`LeaderChangeMessage` version 0, which is what Kafka writes).
pub fn leader_change_batch(
    base_offset: i64,
    leader_epoch: i32,
    timestamp: i64,
    leader_id: i32,
    voters: &[i32],
    granting_voters: &[i32],
) -> Bytes {
    let mut value = 0i16.to_be_bytes().to_vec();
    value.extend_from_slice(&leader_id.to_be_bytes());
    for list in [voters, granting_voters] {
        write_compact_length(&mut value, list.len());
        for id in list {
            value.extend_from_slice(&id.to_be_bytes());
            value.push(0);
        }
    }
    value.push(0);
    let properties =
        BatchProperties { base_offset, partition_leader_epoch: leader_epoch, ..BatchProperties::default() };
    control_batch(properties, timestamp, ControlRecordType::LeaderChange, &value)
}

/// The batch that starts a metadata snapshot; `last_contained_log_timestamp` is that of the last record the snapshot stands for
/// (`SnapshotHeaderRecord` version 0). `more` follows in the same batch: the quorum's version and voters (KIP-853).
pub fn snapshot_header_batch(
    base_offset: i64,
    leader_epoch: i32,
    timestamp: i64,
    last_contained_log_timestamp: i64,
    more: &[(ControlRecordType, Bytes)],
) -> Bytes {
    let mut value = 0i16.to_be_bytes().to_vec();
    value.extend_from_slice(&last_contained_log_timestamp.to_be_bytes());
    value.push(0);
    let properties = BatchProperties {
        base_offset,
        partition_leader_epoch: leader_epoch,
        is_control: true,
        ..BatchProperties::default()
    };
    let mut builder = BatchBuilder::new(properties);
    let header = (ControlRecordType::SnapshotHeader, Bytes::from(value));
    for (kind, value) in std::iter::once(&header).chain(more) {
        // A few small records: nothing that append refuses.
        let appended = builder.append(timestamp, Some(&kind.key()), Some(value), &[]);
        debug_assert!(appended.is_ok());
    }
    builder.build()
}

/// The batch that ends a metadata snapshot (`SnapshotFooterRecord` version 0).
pub fn snapshot_footer_batch(base_offset: i64, leader_epoch: i32, timestamp: i64) -> Bytes {
    let properties =
        BatchProperties { base_offset, partition_leader_epoch: leader_epoch, ..BatchProperties::default() };
    control_batch(properties, timestamp, ControlRecordType::SnapshotFooter, &[0, 0, 0])
}

fn control_batch(mut properties: BatchProperties, timestamp: i64, kind: ControlRecordType, value: &[u8]) -> Bytes {
    properties.is_control = true;
    let mut builder = BatchBuilder::new(properties);
    // One small record at the base offset: nothing that append refuses.
    let appended = builder.append(timestamp, Some(&kind.key()), Some(value), &[]);
    debug_assert!(appended.is_ok());
    builder.build()
}

/// The unsigned varint in front of a compact array.
fn write_compact_length(buffer: &mut Vec<u8>, length: usize) {
    let mut rest = length + 1;
    while rest >= 0x80 {
        buffer.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    buffer.push(rest as u8);
}
