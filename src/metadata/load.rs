//! What a start finds: the newest valid snapshot, and the log behind it replayed.

use std::path::Path;
use std::sync::Arc;

use tracing::warn;

use super::batches::decode_batch;
use super::delta::MetadataDelta;
use super::error::MetadataError;
use super::image::{MetadataImage, Provenance};
use super::kraft::KRaftState;
use super::log::MetadataLogReader;
use super::records::MetadataRecord;
use super::snapshot;
use crate::env::Disk;

/// The metadata as the disk has it.
#[derive(Debug)]
pub(super) struct LoadedMetadata {
    pub(super) image: MetadataImage,
    pub(super) kraft: KRaftState,
    /// The highest leader epoch of any batch; 0 when there is none.
    pub(super) leader_epoch: i32,
    /// Bytes of batches behind the snapshot, and the size of the snapshot.
    pub(super) bytes_since_snapshot: u64,
    pub(super) snapshot_bytes: u64,
    /// Whether the log ends inside a transaction, whose records have no effect.
    pub(super) ends_in_transaction: bool,
}

/// Reads everything; changes nothing.
pub(super) fn load(
    disk: &dyn Disk,
    directory: &Path,
    log: &dyn MetadataLogReader,
) -> Result<LoadedMetadata, MetadataError> {
    let mut loaded = newest_snapshot(disk, directory)?;
    let image = Arc::new(std::mem::take(&mut loaded.image));
    let next_offset = image.provenance.last_contained_offset + 1;
    let corrupt = |offset: i64, reason: String| MetadataError::Corrupt {
        path: directory.to_owned(),
        position: u64::try_from(offset).unwrap_or(0),
        reason,
    };
    let (start, end) = (log.start_offset(), log.end_offset());
    if start > next_offset || end < next_offset {
        let reason = format!(
            "the log holds the offsets {start} to {end}, but the newest readable snapshot ends at {next_offset}"
        );
        return Err(corrupt(next_offset, reason));
    }
    let mut provenance = image.provenance;
    let mut delta = MetadataDelta::new(image);
    let mut transaction = None;
    log.read_from(next_offset, &mut |header, batch| {
        loaded.bytes_since_snapshot += batch.len() as u64;
        loaded.leader_epoch = loaded.leader_epoch.max(header.partition_leader_epoch);
        loaded.kraft.observe(header, batch).map_err(|reason| corrupt(header.base_offset, reason))?;
        let records = decode_batch(header, batch).map_err(|reason| corrupt(header.base_offset, reason))?;
        for (offset, record) in records.into_iter().filter(|(offset, _)| *offset >= next_offset) {
            replay(&mut delta, &mut transaction, record).map_err(|reason| corrupt(offset, reason))?;
        }
        provenance = Provenance {
            last_contained_offset: header.last_offset(),
            last_contained_epoch: header.partition_leader_epoch,
            last_contained_timestamp: header.max_timestamp,
        };
        Ok(())
    })?;
    loaded.ends_in_transaction = transaction.is_some();
    loaded.image = delta.apply(provenance);
    Ok(loaded)
}

/// Records between the begin and the end of a transaction take effect together at its end, or never (KIP-868).
pub(super) fn replay(
    delta: &mut MetadataDelta,
    transaction: &mut Option<Vec<MetadataRecord>>,
    record: MetadataRecord,
) -> Result<(), String> {
    match (record, transaction.as_mut()) {
        (MetadataRecord::BeginTransaction(_), None) => *transaction = Some(Vec::new()),
        (MetadataRecord::AbortTransaction(_), Some(_)) => *transaction = None,
        (MetadataRecord::EndTransaction(_), Some(_)) => {
            for record in transaction.take().unwrap_or_default() {
                delta.replay(&record)?;
            }
        }
        (MetadataRecord::BeginTransaction(_), Some(_)) => return Err("a transaction inside a transaction".into()),
        (record, Some(records)) => records.push(record),
        (record, None) => delta.replay(&record)?,
    }
    Ok(())
}

fn newest_snapshot(disk: &dyn Disk, directory: &Path) -> Result<LoadedMetadata, MetadataError> {
    let mut loaded = LoadedMetadata {
        image: MetadataImage::default(),
        kraft: KRaftState::default(),
        leader_epoch: 0,
        bytes_since_snapshot: 0,
        snapshot_bytes: 0,
        ends_in_transaction: false,
    };
    for (id, path) in snapshot::list(disk, directory)? {
        match snapshot::read(disk, id, &path) {
            Ok((image, kraft)) => {
                (loaded.image, loaded.kraft, loaded.leader_epoch) = (image, kraft, id.epoch);
                loaded.snapshot_bytes = disk.metadata(&path).map_or(0, |metadata| metadata.len);
                break;
            }
            Err(error) => warn!("Skipping an unreadable metadata snapshot: {error}"),
        }
    }
    Ok(loaded)
}
