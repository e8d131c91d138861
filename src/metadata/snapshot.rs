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
use super::records;
use crate::env::Disk;
use crate::record::{
    BatchHeader, BatchIterator, ControlRecordType, check_crc, control_record_type, records as records_of,
    snapshot_footer_batch, snapshot_header_batch,
};

/// The most bytes of a snapshot that is read: a million partitions are about 100 MiB.
const MAX_SNAPSHOT_BYTES: usize = 1 << 30;
/// Records of one batch of a snapshot.
const RECORDS_PER_BATCH: usize = 4096;
const SUFFIX: &str = ".checkpoint";

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
    now: i64,
) -> Result<(SnapshotId, u64), MetadataError> {
    let provenance = image.provenance;
    let id =
        SnapshotId { end_offset: provenance.last_contained_offset + 1, epoch: provenance.last_contained_epoch.max(0) };
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&snapshot_header_batch(0, id.epoch, now, provenance.last_contained_timestamp));
    let mut offset = 1;
    for chunk in records::of_image(image).chunks(RECORDS_PER_BATCH) {
        bytes.extend_from_slice(&encode_batch(chunk, offset, id.epoch, now)?);
        offset += chunk.len() as i64;
    }
    bytes.extend_from_slice(&snapshot_footer_batch(offset, id.epoch, now));
    let path = directory.join(id.file_name());
    disk.write_atomically(&path, &bytes).map_err(|error| MetadataError::disk("write", &path, error))?;
    Ok((id, bytes.len() as u64))
}

/// Reads a snapshot; the error says why it is not valid.
pub(super) fn read(disk: &dyn Disk, id: SnapshotId, path: &Path) -> Result<MetadataImage, MetadataError> {
    let bytes = disk.read(path, MAX_SNAPSHOT_BYTES).map_err(|error| MetadataError::disk("read", path, error))?;
    let mut position = 0_u64;
    let corrupt = |position: u64, reason: String| MetadataError::Corrupt { path: path.to_owned(), position, reason };
    let mut delta = MetadataDelta::new(Arc::default());
    let mut provenance = Provenance {
        last_contained_offset: id.end_offset - 1,
        last_contained_epoch: id.epoch,
        last_contained_timestamp: -1,
    };
    let mut last_control = None;
    for batch in BatchIterator::new(&bytes) {
        let (header, batch) = batch.map_err(|error| corrupt(position, error.to_string()))?;
        check_crc(batch).map_err(|error| corrupt(position, error.to_string()))?;
        if header.is_control() {
            let control = control_of(batch).map_err(|reason| corrupt(position, reason))?;
            if let Some((ControlRecordType::SnapshotHeader, timestamp)) = control {
                provenance.last_contained_timestamp = timestamp;
            }
            last_control = control.map(|(kind, _)| kind);
        } else {
            last_control = None;
        }
        if position == 0 && last_control != Some(ControlRecordType::SnapshotHeader) {
            return Err(corrupt(0, "the snapshot has no header".into()));
        }
        replay(&mut delta, &header, batch).map_err(|reason| corrupt(position, reason))?;
        position += batch.len() as u64;
    }
    if last_control != Some(ControlRecordType::SnapshotFooter) || position != bytes.len() as u64 {
        return Err(corrupt(position, "the snapshot has no footer".into()));
    }
    Ok(delta.apply(provenance))
}

fn replay(delta: &mut MetadataDelta, header: &BatchHeader, batch: &[u8]) -> Result<(), String> {
    for (_, record) in decode_batch(header, batch)? {
        delta.replay(&record)?;
    }
    Ok(())
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

/// Removes all snapshots but the newest two: should the newest turn out unreadable, the one before still is a start.
/// Returns the end offset of the oldest that is kept; what the log holds before it is no longer needed.
pub(super) fn remove_old(disk: &dyn Disk, directory: &Path) -> Result<i64, MetadataError> {
    let snapshots = list(disk, directory)?;
    for (_, path) in snapshots.iter().skip(2) {
        disk.remove_file(path).map_err(|error| MetadataError::disk("remove", path, error))?;
    }
    Ok(snapshots.get(1).map_or(0, |(id, _)| id.end_offset))
}
