//! Snapshots of the metadata: files `<offset>-<epoch>.checkpoint` beside the log, written as a whole, so that a start
//! need not replay everything since the first (`org.apache.kafka.snapshot`, KIP-630).
//!
//! A snapshot holds a SnapshotHeader control batch, batches of records that make the image from nothing, and a
//! SnapshotFooter. `offset` is the first one that it does not contain.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batches::{decode_batch, encode_batch};
use super::delta::MetadataDelta;
use super::error::MetadataError;
use super::image::{MetadataImage, Provenance};
use super::kraft::KRaftState;
use super::records::{self, MetadataRecord};
use crate::env::Disk;
use crate::record::{
    BatchIterator, ControlRecordType, check_crc, control_record_type, records as records_of, snapshot_footer_batch,
    snapshot_header_batch,
};
use crate::types::NO_TIMESTAMP;

/// The most bytes of a snapshot that is read: a million partitions are about 100 MiB.
const MAX_SNAPSHOT_BYTES: usize = 1 << 30;
/// Records of one batch of a snapshot.
const RECORDS_PER_BATCH: usize = 4096;
const SUFFIX: &str = ".checkpoint";
/// So many snapshots stay whatever retention says.
const SNAPSHOTS_MIN: usize = 2;

/// Names a snapshot (`OffsetAndEpoch`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SnapshotId {
    /// The first offset that the snapshot does not contain.
    pub(super) end_offset: i64,
    /// The epoch of the last record that it contains.
    pub(super) epoch: i32,
}

impl SnapshotId {
    fn file_name(self) -> String {
        format!("{:020}-{:010}{SUFFIX}", self.end_offset, self.epoch)
    }

    fn parse(path: &Path) -> Option<Self> {
        let (end_offset, epoch) = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.split_once('-')?;
        if end_offset.len() != 20 || epoch.len() != 10 {
            return None;
        }
        Some(Self { end_offset: end_offset.parse().ok()?, epoch: epoch.parse().ok()? })
    }
}

/// The snapshots of a directory, newest first.
pub(super) fn list(disk: &dyn Disk, directory: &Path) -> Result<Vec<(SnapshotId, PathBuf)>, MetadataError> {
    let entries = match disk.read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(MetadataError::disk("list", directory, error)),
    };
    let mut snapshots: Vec<_> =
        entries.into_iter().filter_map(|path| Some((SnapshotId::parse(&path)?, path))).collect();
    snapshots.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    Ok(snapshots)
}

/// Writes the image as a snapshot and returns its size in bytes.
pub(super) fn write(
    disk: &dyn Disk,
    directory: &Path,
    image: &MetadataImage,
    kraft: &KRaftState,
    now: i64,
) -> Result<(SnapshotId, u64), MetadataError> {
    let provenance = image.provenance;
    let id =
        SnapshotId { end_offset: provenance.last_contained_offset + 1, epoch: provenance.last_contained_epoch.max(0) };
    let bytes = encode(&records::of_image(image), id.epoch, now, provenance.last_contained_timestamp, kraft)?;
    let path = directory.join(id.file_name());
    disk.write_atomically(&path, &bytes).map_err(|error| MetadataError::disk("write", &path, error))?;
    Ok((id, bytes.len() as u64))
}

/// The bytes of a snapshot of these records.
pub(super) fn encode(
    records: &[MetadataRecord],
    epoch: i32,
    now: i64,
    last_contained_timestamp: i64,
    kraft: &KRaftState,
) -> Result<Vec<u8>, MetadataError> {
    let quorum = kraft.snapshot_records();
    let mut bytes = snapshot_header_batch(0, epoch, now, last_contained_timestamp, &quorum).to_vec();
    let mut offset = 1 + quorum.len() as i64;
    for chunk in records.chunks(RECORDS_PER_BATCH) {
        bytes.extend_from_slice(&encode_batch(chunk, offset, epoch, now)?);
        offset += chunk.len() as i64;
    }
    bytes.extend_from_slice(&snapshot_footer_batch(offset, epoch, now));
    Ok(bytes)
}

/// Reads a snapshot; the error says why it is not valid.
pub(super) fn read(disk: &dyn Disk, id: SnapshotId, path: &Path) -> Result<(MetadataImage, KRaftState), MetadataError> {
    let bytes = disk.read(path, MAX_SNAPSHOT_BYTES).map_err(|error| MetadataError::disk("read", path, error))?;
    let mut delta = MetadataDelta::new(Arc::default());
    let (last_contained_timestamp, kraft) = visit(path, &bytes, &mut |record| delta.replay(&record))?;
    let provenance = Provenance {
        last_contained_offset: id.end_offset - 1,
        last_contained_epoch: id.epoch,
        last_contained_timestamp,
    };
    Ok((delta.apply(provenance), kraft))
}

/// Shows every record of a snapshot's bytes; the error says where it is not valid. Gives the timestamp in its header and
/// what its control records say.
pub(super) fn visit(
    path: &Path,
    bytes: &[u8],
    visitor: &mut dyn FnMut(MetadataRecord) -> Result<(), String>,
) -> Result<(i64, KRaftState), MetadataError> {
    let corrupt = |position: u64, reason: String| MetadataError::Corrupt { path: path.to_owned(), position, reason };
    let (mut position, mut last_control) = (0_u64, None);
    let (mut timestamp, mut kraft) = (NO_TIMESTAMP, KRaftState::default());
    for batch in BatchIterator::new(bytes) {
        let (header, batch) = batch.map_err(|error| corrupt(position, error.to_string()))?;
        check_crc(batch).map_err(|error| corrupt(position, error.to_string()))?;
        last_control = None;
        if header.is_control() {
            let control = control_of(batch).map_err(|reason| corrupt(position, reason))?;
            if let Some((ControlRecordType::SnapshotHeader, contained)) = control {
                timestamp = contained;
            }
            last_control = control.map(|(kind, _)| kind);
            kraft.observe(&header, batch).map_err(|reason| corrupt(position, reason))?;
        }
        if position == 0 && last_control != Some(ControlRecordType::SnapshotHeader) {
            return Err(corrupt(0, "the snapshot has no header".into()));
        }
        for (_, record) in decode_batch(&header, batch).map_err(|reason| corrupt(position, reason))? {
            visitor(record).map_err(|reason| corrupt(position, reason))?;
        }
        position += batch.len() as u64;
    }
    if last_control != Some(ControlRecordType::SnapshotFooter) || position != bytes.len() as u64 {
        return Err(corrupt(position, "the snapshot has no footer".into()));
    }
    Ok((timestamp, kraft))
}

/// The type of a control batch's first record, and the timestamp that a snapshot's header carries.
fn control_of(batch: &[u8]) -> Result<Option<(ControlRecordType, i64)>, String> {
    let records = records_of(batch, MAX_SNAPSHOT_BYTES).map_err(|error| error.to_string())?;
    let Some(record) = records.iter().next() else { return Ok(None) };
    let record = record.map_err(|error| error.to_string())?;
    let kind = record.key.and_then(control_record_type);
    let timestamp = record.value.and_then(|value| value.get(2..10)).and_then(|bytes| bytes.try_into().ok());
    Ok(kind.map(|kind| (kind, timestamp.map_or(-1, i64::from_be_bytes))))
}

/// When old snapshots go; the comments name Kafka's configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRetention {
    /// Bytes of log and snapshots above which the oldest snapshot goes (`metadata.max.retention.bytes`); -1 without limit.
    pub bytes: i64,
    /// Age in milliseconds above which a snapshot goes (`metadata.max.retention.ms`); -1 without limit.
    pub milliseconds: i64,
}

impl Default for SnapshotRetention {
    fn default() -> Self {
        Self { bytes: 100 * 1024 * 1024, milliseconds: 7 * 24 * 60 * 60 * 1000 }
    }
}

/// Removes the snapshots that retention no longer holds, oldest first, as `KafkaRaftLog.maybeClean` does, but never one
/// of the newest two: should the newest turn out unreadable, the one before still is a start. Returns the end offset of
/// the oldest that is kept; what the log holds before it is no longer needed.
pub(super) fn remove_old(
    disk: &dyn Disk,
    directory: &Path,
    retention: SnapshotRetention,
    log_bytes: u64,
    now: i64,
) -> Result<i64, MetadataError> {
    let mut snapshots = Vec::new();
    for (id, path) in list(disk, directory)? {
        let metadata = disk.metadata(&path).map_err(|error| MetadataError::disk("inspect", &path, error))?;
        snapshots.push((id, path, metadata));
    }
    let mut total = log_bytes + snapshots.iter().map(|(_, _, metadata)| metadata.len).sum::<u64>();
    while snapshots.len() > SNAPSHOTS_MIN {
        let Some((_, path, metadata)) = snapshots.last() else { break };
        let too_much = u64::try_from(retention.bytes).is_ok_and(|limit| total > limit);
        let too_old =
            retention.milliseconds >= 0 && now.saturating_sub(metadata.modified_millis) > retention.milliseconds;
        if !too_much && !too_old {
            break;
        }
        disk.remove_file(path).map_err(|error| MetadataError::disk("remove", path, error))?;
        total -= metadata.len;
        snapshots.pop();
    }
    Ok(if snapshots.len() < SNAPSHOTS_MIN { 0 } else { snapshots.last().map_or(0, |(id, _, _)| id.end_offset) })
}
