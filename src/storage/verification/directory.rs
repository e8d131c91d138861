//! A whole log directory: its own files, and which logs it holds.

use std::io;
use std::path::{Path, PathBuf};

use super::log::LogExpectations;
use super::{Problems, Severity};
use crate::env::{Disk, FileKind};
use crate::storage::checkpoint::{MAX_CHECKPOINT_BYTES, OffsetMap, parse_offsets};
use crate::storage::file_names::{LogDirectoryEntry, classify_directory};
use crate::storage::log_manager::{HIGH_WATERMARK, LOG_START_OFFSET, RECOVERY_POINT};
use crate::storage::property_files::{
    CLEAN_SHUTDOWN_FILE, MAX_PROPERTY_FILE_BYTES, META_PROPERTIES, MetaProperties, parse_clean_shutdown,
};
use crate::types::{CLUSTER_METADATA_TOPIC_NAME, TopicPartition};

/// What a log directory says of itself.
#[derive(Clone, Debug, Default)]
pub struct VerifiedDirectory {
    /// Its `meta.properties`.
    pub properties: Option<MetaProperties>,
    /// Whether it was stopped cleanly.
    pub is_clean: bool,
    /// The logs in it, by name, with what the checkpoints say of each.
    pub logs: Vec<(TopicPartition, PathBuf, LogExpectations)>,
    /// Directories that wait for their removal, or that no metadata knows.
    pub set_aside: u64,
    /// What is wrong.
    pub problems: Problems,
}

/// Reads what stands at the top of a log directory.
///
/// # Errors
/// The directory cannot be listed.
pub fn verify_directory(disk: &dyn Disk, path: &Path) -> io::Result<VerifiedDirectory> {
    let mut directory = VerifiedDirectory::default();
    let entries = disk.read_dir(path)?;
    read_properties(disk, path, &mut directory);
    read_marker(disk, path, &mut directory);
    let recovery_points = read_checkpoint(disk, path, RECOVERY_POINT, &mut directory.problems);
    let log_start_offsets = read_checkpoint(disk, path, LOG_START_OFFSET, &mut directory.problems);
    let high_watermarks = read_checkpoint(disk, path, HIGH_WATERMARK, &mut directory.problems);
    for entry in entries {
        if !disk.metadata(&entry).is_ok_and(|metadata| metadata.kind == FileKind::Directory) {
            continue;
        }
        match classify_directory(&entry) {
            LogDirectoryEntry::Partition(name) => {
                let expectations = LogExpectations {
                    is_clean: directory.is_clean,
                    recovery_point: recovery_points.get(&name).copied(),
                    log_start_offset: log_start_offsets.get(&name).copied(),
                    high_watermark: high_watermarks.get(&name).copied(),
                    topic_id: None,
                    is_metadata: &*name.topic == CLUSTER_METADATA_TOPIC_NAME,
                };
                directory.logs.push((name, entry, expectations));
            }
            LogDirectoryEntry::Other => {}
            LogDirectoryEntry::Deleted | LogDirectoryEntry::Stray | LogDirectoryEntry::Future => {
                directory.set_aside += 1
            }
        }
    }
    Ok(directory)
}

fn read_properties(disk: &dyn Disk, path: &Path, directory: &mut VerifiedDirectory) {
    let file = path.join(META_PROPERTIES);
    let outcome = match disk.read(&file, MAX_PROPERTY_FILE_BYTES) {
        Err(error) => Err(error.to_string()),
        Ok(bytes) => MetaProperties::parse(path, &bytes).map_err(|error| error.to_string()),
    };
    match outcome {
        Ok(properties) => directory.properties = Some(properties),
        Err(reason) => directory.problems.add(Severity::Damage, &file, None, reason),
    }
}

fn read_marker(disk: &dyn Disk, path: &Path, directory: &mut VerifiedDirectory) {
    let file = path.join(CLEAN_SHUTDOWN_FILE);
    match disk.read(&file, MAX_PROPERTY_FILE_BYTES) {
        Ok(bytes) => {
            directory.is_clean = true;
            if parse_clean_shutdown(&bytes) < 0 {
                directory.problems.add(Severity::Cache, &file, None, "names no broker epoch");
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => directory.problems.add(Severity::Damage, &file, None, error.to_string()),
    }
}

fn read_checkpoint(disk: &dyn Disk, path: &Path, name: &str, problems: &mut Problems) -> OffsetMap {
    let file = path.join(name);
    match disk.read(&file, MAX_CHECKPOINT_BYTES) {
        Ok(bytes) => parse_offsets(&bytes).unwrap_or_else(|| {
            problems.add(Severity::Damage, &file, None, "is malformed");
            OffsetMap::new()
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => OffsetMap::new(),
        Err(error) => {
            problems.add(Severity::Damage, &file, None, error.to_string());
            OffsetMap::new()
        }
    }
}
