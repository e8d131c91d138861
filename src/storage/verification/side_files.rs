//! The files beside a log's segments: epochs, producers, the topic's id, and what was left over.

use std::io;
use std::path::{Path, PathBuf};

use super::log::{LogExpectations, VerifiedLog};
use super::{Problems, Severity};
use crate::env::Disk;
use crate::storage::checkpoint::{MAX_CHECKPOINT_BYTES, parse_epochs};
use crate::storage::file_names::{LEADER_EPOCH_CHECKPOINT, PARTITION_METADATA, SNAPSHOT_SUFFIX, parse_offset_file};
use crate::storage::leader_epoch_cache::LeaderEpochCache;
use crate::storage::producer_snapshot::{self, MAX_SNAPSHOT_BYTES};
use crate::storage::property_files::{MAX_PROPERTY_FILE_BYTES, encode_uuid, parse_partition_metadata};

/// Names that a start removes or takes up again.
const LEFTOVERS: [&str; 4] = [".cleaned", ".swap", ".deleted", ".tmp"];

/// The epochs of a log; `None` when the file is missing or cannot be read.
pub(super) fn read_epochs(disk: &dyn Disk, log: &Path, problems: &mut Problems) -> Option<LeaderEpochCache> {
    let path = log.join(LEADER_EPOCH_CHECKPOINT);
    let bytes = match disk.read(&path, MAX_CHECKPOINT_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            problems.add(Severity::Cache, &path, None, format!("cannot be read: {error}"));
            return None;
        }
    };
    let Some(entries) = parse_epochs(&bytes) else {
        problems.add(Severity::Cache, &path, None, "is malformed; a start reads the epochs out of the log");
        return None;
    };
    let ascends =
        entries.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].start_offset < pair[1].start_offset);
    if !ascends || entries.iter().any(|entry| entry.epoch < 0 || entry.start_offset < 0) {
        problems.add(Severity::Cache, &path, None, "epochs or offsets do not ascend");
        return None;
    }
    Some(LeaderEpochCache::new(entries))
}

/// Epochs that begin behind the log's end.
pub(super) fn verify_epochs(path: &Path, epochs: &Option<LeaderEpochCache>, log: &mut VerifiedLog) {
    let Some(last) = epochs.as_ref().and_then(|epochs| epochs.entries().last()) else { return };
    if last.start_offset > log.log_end_offset {
        let what = format!("epoch {} begins at {}, behind the log's end", last.epoch, last.start_offset);
        log.problems.add(Severity::Cache, &path.join(LEADER_EPOCH_CHECKPOINT), None, what);
    }
}

pub(super) fn verify_producer_snapshots(disk: &dyn Disk, _path: &Path, entries: &[PathBuf], log: &mut VerifiedLog) {
    for path in entries {
        let Some(offset) = parse_offset_file(path, SNAPSHOT_SUFFIX) else { continue };
        let outcome = disk.read(path, MAX_SNAPSHOT_BYTES).map_err(|error| error.to_string());
        let outcome = outcome.and_then(|bytes| producer_snapshot::read_entries(&bytes));
        match outcome {
            Err(reason) => {
                log.problems.add(Severity::Cache, path, None, format!("is no snapshot of producers: {reason}"))
            }
            Ok(producers) => {
                for producer in producers.iter().filter(|producer| producer.last_offset >= offset) {
                    let what = format!("producer {} has offset {}", producer.producer_id, producer.last_offset);
                    log.problems.add(Severity::Cache, path, None, what);
                }
                if offset > log.log_end_offset {
                    log.problems.add(Severity::Cache, path, None, "it was taken behind the log's end");
                }
            }
        }
    }
}

pub(super) fn verify_partition_metadata(
    disk: &dyn Disk,
    log_path: &Path,
    expectations: &LogExpectations,
    log: &mut VerifiedLog,
) {
    let path = log_path.join(PARTITION_METADATA);
    match disk.read(&path, MAX_PROPERTY_FILE_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !expectations.is_metadata && expectations.topic_id.is_some() {
                log.problems.add(Severity::Cache, &path, None, "is missing; the metadata has the topic's id");
            }
        }
        Err(error) => log.problems.add(Severity::Damage, &path, None, format!("cannot be read: {error}")),
        Ok(bytes) => match (parse_partition_metadata(&bytes), expectations.topic_id) {
            (None, _) => log.problems.add(Severity::Damage, &path, None, "names no topic id"),
            (Some(found), Some(expected)) if found != expected => {
                let what = format!("names topic id {}, and the metadata {}", encode_uuid(found), encode_uuid(expected));
                log.problems.add(Severity::Damage, &path, None, what);
            }
            _ => {}
        },
    }
}

/// Files of a rename or a cleaning that was not finished.
pub(super) fn verify_leftovers(entries: &[PathBuf], log: &mut VerifiedLog) {
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if LEFTOVERS.iter().any(|suffix| name.ends_with(suffix)) {
            log.problems.add(
                Severity::Unfinished,
                path,
                None,
                "was not finished; the next start removes or completes it",
            );
        }
    }
}

/// The offsets in the directory's checkpoints against the log itself.
pub(super) fn verify_checkpoints(path: &Path, expectations: &LogExpectations, log: &mut VerifiedLog) {
    let end = log.log_end_offset;
    if expectations.is_metadata {
        return;
    }
    if let Some(point) = expectations.recovery_point
        && (point > end || expectations.is_clean && point != end)
    {
        let what = format!(
            "the recovery point is {point} and the log ends at {end}{}",
            if point > end { ": synced records are missing" } else { " after a clean stop" }
        );
        log.problems.add(Severity::Damage, path, None, what);
    }
    let start = expectations.log_start_offset.unwrap_or(log.first_offset);
    if start > end {
        log.problems.add(Severity::Damage, path, None, format!("the log starts at {start} and ends at {end}"));
    }
    if let Some(high_watermark) = expectations.high_watermark.filter(|offset| *offset > end) {
        let what = format!("the high watermark is {high_watermark} and the log ends at {end}");
        log.problems.add(Severity::Damage, path, None, what);
    }
}
