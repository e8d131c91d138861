//! `bootstrap.checkpoint` in the first log directory: the records that a cluster starts with (`BootstrapDirectory`). Apache
//! Kafka's format command writes it and does not sync it; a power cut then leaves a directory that Kafka does not start from.

use std::path::Path;

use super::error::MetadataError;
use super::kraft::KRaftState;
use super::records::MetadataRecord;
use super::snapshot;
use crate::env::Disk;

/// The file's name, in the log directory that holds the metadata log.
pub(super) const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";
/// The longest such file that is read.
const MAX_BYTES: usize = 16 << 20;

/// The records of the file; `None` when there is none. The error says why it cannot be used.
pub(super) fn read(disk: &dyn Disk, log_directory: &Path) -> Result<Option<Vec<MetadataRecord>>, MetadataError> {
    let path = log_directory.join(BOOTSTRAP_CHECKPOINT);
    let bytes = match disk.read(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(MetadataError::disk("read", &path, error)),
    };
    let mut records = Vec::new();
    snapshot::visit(&path, &bytes, &mut |record| {
        records.push(record);
        Ok(())
    })?;
    Ok(Some(records))
}

/// Writes the file durably.
pub(super) fn write(
    disk: &dyn Disk,
    log_directory: &Path,
    records: &[MetadataRecord],
    now: i64,
) -> Result<(), MetadataError> {
    let path = log_directory.join(BOOTSTRAP_CHECKPOINT);
    let bytes = snapshot::encode(records, 0, now, 0, &KRaftState::default())?;
    disk.write_atomically(&path, &bytes).map_err(|error| MetadataError::disk("write", &path, error))
}
