//! Logs and directories that are there and cannot be served.

use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use super::{LogManager, ManagedDirectory, again_if_full};
use crate::storage::directory::LogDirectory;
use crate::storage::file_names::{PARTITION_METADATA, renamed_directory};
use crate::storage::log::{CheckpointedOffsets, LogOptions};
use crate::storage::property_files::{MAX_PROPERTY_FILE_BYTES, parse_partition_metadata};
use crate::storage::{StorageError, StorageResult};
use crate::types::TopicPartition;

/// A log that could not be opened. Its directory is not touched, and no other log is created in its place.
#[derive(Clone)]
pub(super) struct OfflineLog {
    pub(super) directory: Arc<LogDirectory>,
    /// What was written down of it, and is written down again: the next start must know what had been durable.
    pub(super) offsets: CheckpointedOffsets,
    pub(super) reason: Arc<str>,
    /// Bytes of its files.
    size: u64,
    /// What `partition.metadata` says, if it can be read.
    topic_id: Option<Uuid>,
}

impl OfflineLog {
    /// A log that could not be opened with these options.
    pub(super) fn new(options: &LogOptions, error: &StorageError) -> Self {
        let directory = options.directory.clone();
        let at = directory.path().join(options.topic_partition.to_string());
        let disk = &directory.env.disk;
        let files = disk.read_dir(&at).unwrap_or_default();
        let size = files.iter().filter_map(|file| disk.metadata(file).ok()).map(|metadata| metadata.len).sum();
        let reason = match error {
            StorageError::PartitionOffline { reason, .. } => reason.clone(),
            other => other.to_string().into(),
        };
        let offsets = CheckpointedOffsets {
            recovery_point: options.recovery_point,
            log_start_offset: (options.log_start_offset > 0).then_some(options.log_start_offset),
            high_watermark: options.high_watermark,
        };
        let topic_id = disk.read(&at.join(PARTITION_METADATA), MAX_PROPERTY_FILE_BYTES).ok();
        let topic_id = topic_id.as_deref().and_then(parse_partition_metadata);
        Self { directory, offsets, reason, size, topic_id }
    }

    fn error(&self, topic_partition: &TopicPartition) -> StorageError {
        StorageError::PartitionOffline { topic_partition: topic_partition.clone(), reason: self.reason.clone() }
    }
}

impl LogManager {
    /// Why a partition cannot be served, if that is so.
    pub fn offline_reason(&self, topic_partition: &TopicPartition) -> Option<StorageError> {
        self.check_not_offline(topic_partition).err()
    }

    /// The logs that cannot be served, with the ids of their topics where these are known.
    pub fn offline_logs(&self) -> Vec<(TopicPartition, Option<Uuid>)> {
        self.offline.read().iter().map(|(name, log)| (name.clone(), log.topic_id)).collect()
    }

    pub(super) fn check_not_offline(&self, topic_partition: &TopicPartition) -> StorageResult<()> {
        let offline = self.offline.read();
        offline.get(topic_partition).map_or(Ok(()), |log| Err(log.error(topic_partition)))
    }

    /// Fails if a partition that the metadata know from before has no log here but may have one in a log directory that is missing:
    /// an empty one in its place would pass for the whole (Kafka: `ReplicaManager` refuses partitions of offline directories).
    pub fn check_no_log_elsewhere(&self, topic_partition: &TopicPartition) -> StorageResult<()> {
        if !self.incomplete || self.log(topic_partition).is_some() {
            return Ok(());
        }
        let unusable: Vec<String> = (self.directories.iter().filter(|managed| managed.directory.is_offline()))
            .map(|managed| managed.directory.path().display().to_string())
            .collect();
        let reason = match unusable.is_empty() {
            true => {
                "none of the log directories has its log, and one of them is new; the log may be in one that is missing"
                    .to_owned()
            }
            false => format!(
                "none of the log directories that can be used has its log; it may be in {}",
                unusable.join(", ")
            ),
        };
        Err(StorageError::PartitionOffline { topic_partition: topic_partition.clone(), reason: reason.into() })
    }

    /// Whether anything is offline: a directory, or a partition of one.
    pub fn has_anything_offline(&self) -> bool {
        self.incomplete
            || self
                .directories
                .iter()
                .map(|managed| &managed.directory)
                .any(|directory| directory.is_offline() || directory.has_partition_offline())
    }

    /// Why the process cannot go on: the metadata's log directory is offline, or all are (`ReplicaManager.handleLogDirFailure`,
    /// `LogManager.handleLogDirFailure`).
    pub fn fatal_failure(&self) -> Option<String> {
        let paths: Vec<String> = self.directories().map(|directory| directory.path().display().to_string()).collect();
        if self.directories().all(|directory| directory.is_offline()) {
            return Some(format!("Shutdown broker because all log dirs in {} have failed", paths.join(", ")));
        }
        let first = self.directories().next().filter(|first| first.is_offline())?;
        Some(format!("Shutdown broker because the metadata log dir {} has failed", first.path().display()))
    }

    pub(super) fn offline_logs_in(&self, directory: &Arc<LogDirectory>) -> Vec<(TopicPartition, u64)> {
        if directory.is_offline() {
            return Vec::new();
        }
        let offline = self.offline.read();
        let own = offline.iter().filter(|(_, log)| Arc::ptr_eq(&log.directory, directory));
        own.map(|(name, log)| (name.clone(), log.size)).collect()
    }

    /// What was written down of the offline logs of a directory.
    pub(super) fn offline_offsets_in(&self, managed: &ManagedDirectory) -> Vec<(TopicPartition, CheckpointedOffsets)> {
        let offline = self.offline.read();
        let own = offline.iter().filter(|(_, log)| Arc::ptr_eq(&log.directory, &managed.directory));
        own.map(|(name, log)| (name.clone(), log.offsets)).collect()
    }

    /// Renames the directory of an offline log because its topic is deleted.
    pub(super) fn detach_offline(
        &self,
        topic_partition: &TopicPartition,
        suffix: &str,
    ) -> StorageResult<(Arc<LogDirectory>, PathBuf, i64)> {
        let log = self.offline.read().get(topic_partition).cloned();
        let Some(OfflineLog { directory, .. }) = log else {
            return Err(StorageError::UnknownLog { topic_partition: topic_partition.clone() });
        };
        directory.check_online()?;
        let from = directory.path().join(topic_partition.to_string());
        let to = directory.path().join(renamed_directory(topic_partition, self.env.random.uuid(), suffix));
        again_if_full(|| self.env.disk.rename(&from, &to).map_err(|error| directory.fail("renaming", &from, &error)))?;
        self.offline.write().remove(topic_partition);
        directory.note_partition_gone();
        directory.note_change();
        Ok((directory, to, self.options.default_config.file_delete_delay_ms))
    }
}
