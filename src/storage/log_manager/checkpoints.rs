//! The checkpoint files of a log directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{LogManager, ManagedDirectory};
use crate::storage::StorageResult;
use crate::storage::checkpoint::{MAX_CHECKPOINT_BYTES, OffsetMap, encode_offsets, parse_offsets};
use crate::storage::directory::LogDirectory;
use crate::storage::log::{CheckpointedOffsets, Log};
use crate::types::{CLUSTER_METADATA_TOPIC_NAME, TopicPartition};

pub(in crate::storage) const RECOVERY_POINT: &str = "recovery-point-offset-checkpoint";
pub(in crate::storage) const LOG_START_OFFSET: &str = "log-start-offset-checkpoint";
pub(in crate::storage) const HIGH_WATERMARK: &str = "replication-offset-checkpoint";
const CLEANED: &str = "cleaner-offset-checkpoint";

/// What the checkpoint files of a directory hold, as read or as last written.
#[derive(Clone, Debug, Default)]
pub(in crate::storage) struct DirectoryCheckpoints {
    pub(super) recovery_points: OffsetMap,
    pub(super) log_start_offsets: OffsetMap,
    pub(super) high_watermarks: OffsetMap,
    /// The cleaner's, as it was at the start.
    pub(super) cleaned: OffsetMap,
    /// [`LogDirectory::changes`] when the high watermarks, and all three, were written last.
    high_watermarks_at: Option<u64>,
    all_at: Option<u64>,
}

impl DirectoryCheckpoints {
    /// Reads the files; a missing or malformed one counts as empty, which costs a longer recovery and loses nothing.
    pub(super) fn read(directory: &LogDirectory) -> Self {
        let read = |name: &str| {
            let path = directory.path().join(name);
            let Ok(bytes) = directory.env.disk.read(&path, MAX_CHECKPOINT_BYTES) else { return OffsetMap::new() };
            parse_offsets(&bytes).unwrap_or_else(|| {
                tracing::error!("{} is malformed and not used", path.display());
                // Where the log starts nothing else tells. The copy is written before the file itself.
                let copy = directory.env.disk.read(&copy_of(&path), MAX_CHECKPOINT_BYTES);
                copy.ok().and_then(|bytes| parse_offsets(&bytes)).unwrap_or_default()
            })
        };
        Self {
            recovery_points: read(RECOVERY_POINT),
            log_start_offsets: read(LOG_START_OFFSET),
            high_watermarks: read(HIGH_WATERMARK),
            cleaned: read(CLEANED),
            high_watermarks_at: None,
            all_at: None,
        }
    }
}

impl LogManager {
    /// Writes all checkpoint files of a directory, if anything changed.
    pub(super) fn write_checkpoints(&self, managed: &ManagedDirectory) -> StorageResult<()> {
        let changes = managed.directory.changes();
        let mut checkpoints = managed.checkpoints.lock();
        if checkpoints.all_at == Some(changes) {
            return Ok(());
        }
        let (mut recovery_points, mut log_start_offsets) = (OffsetMap::new(), OffsetMap::new());
        let mut high_watermarks = OffsetMap::new();
        for (name, offsets) in self.offsets_in(managed) {
            recovery_points.insert(name.clone(), offsets.recovery_point);
            if &*name.topic != CLUSTER_METADATA_TOPIC_NAME {
                high_watermarks.insert(name.clone(), offsets.high_watermark);
            }
            log_start_offsets.extend(offsets.log_start_offset.map(|offset| (name, offset)));
        }
        self.write_points(managed, &mut checkpoints, recovery_points)?;
        write(&managed.directory, LOG_START_OFFSET, &mut checkpoints.log_start_offsets, log_start_offsets)?;
        write(&managed.directory, HIGH_WATERMARK, &mut checkpoints.high_watermarks, high_watermarks)?;
        checkpoints.all_at = Some(changes);
        checkpoints.high_watermarks_at = Some(changes);
        Ok(())
    }

    /// Writes `recovery-point-offset-checkpoint` of a directory.
    pub(super) fn write_recovery_points(&self, managed: &ManagedDirectory) -> StorageResult<()> {
        let mut checkpoints = managed.checkpoints.lock();
        let offsets = self.offsets_in(managed).into_iter();
        let recovery_points = offsets.map(|(name, offsets)| (name, offsets.recovery_point)).collect();
        self.write_points(managed, &mut checkpoints, recovery_points)
    }

    fn write_points(
        &self,
        managed: &ManagedDirectory,
        checkpoints: &mut DirectoryCheckpoints,
        points: OffsetMap,
    ) -> StorageResult<()> {
        write(&managed.directory, RECOVERY_POINT, &mut checkpoints.recovery_points, points)?;
        for log in self.logs_in(managed).into_iter().chain(managed.directory.metadata_log()) {
            if let Some(point) = checkpoints.recovery_points.get(log.topic_partition()) {
                log.note_checkpointed(*point);
            }
        }
        Ok(())
    }

    /// Writes `replication-offset-checkpoint` of a directory, if anything changed.
    pub(super) fn write_high_watermarks(&self, managed: &ManagedDirectory) -> StorageResult<()> {
        let changes = managed.directory.changes();
        let mut checkpoints = managed.checkpoints.lock();
        if checkpoints.high_watermarks_at == Some(changes) {
            return Ok(());
        }
        let high_watermarks: OffsetMap = (self.logs_in(managed).into_iter())
            .map(|log| (log.topic_partition().clone(), log.high_watermark()))
            .chain(self.offline_offsets_in(managed).into_iter().map(|(name, offsets)| (name, offsets.high_watermark)))
            .collect();
        write(&managed.directory, HIGH_WATERMARK, &mut checkpoints.high_watermarks, high_watermarks)?;
        checkpoints.high_watermarks_at = Some(changes);
        Ok(())
    }

    /// Writes all checkpoints of a directory if one of them holds offsets of a log that is no more.
    pub(super) fn forget_checkpoints(&self, managed: &ManagedDirectory, name: &TopicPartition) -> StorageResult<()> {
        let is_known = {
            let known = managed.checkpoints.lock();
            let maps = [&known.recovery_points, &known.log_start_offsets, &known.high_watermarks];
            maps.iter().any(|map| map.contains_key(name))
        };
        if !is_known {
            return Ok(());
        }
        managed.directory.note_change();
        self.write_checkpoints(managed)
    }

    /// What is to be written down of every log in a directory, the offline ones among them.
    fn offsets_in(&self, managed: &ManagedDirectory) -> Vec<(TopicPartition, CheckpointedOffsets)> {
        let logs = self.logs_in(managed).into_iter().chain(managed.directory.metadata_log());
        let served = logs.map(|log| (log.topic_partition().clone(), log.checkpointed_offsets()));
        served.chain(self.offline_offsets_in(managed)).collect()
    }

    pub(super) fn logs_in(&self, managed: &ManagedDirectory) -> Vec<Arc<Log>> {
        let logs = self.logs.read();
        logs.values().filter(|log| Arc::ptr_eq(log.log_directory(), &managed.directory)).cloned().collect()
    }
}

impl ManagedDirectory {
    pub(super) fn new(
        directory: Arc<LogDirectory>,
        checkpoints: DirectoryCheckpoints,
        was_clean: bool,
        lock: Option<Box<dyn Send + Sync>>,
    ) -> Self {
        Self { directory, checkpoints: Mutex::new(checkpoints), fully_loaded: false, was_clean, lock: Mutex::new(lock) }
    }
}

fn write(directory: &LogDirectory, name: &str, last: &mut OffsetMap, offsets: OffsetMap) -> StorageResult<()> {
    let path = directory.path().join(name);
    if *last == offsets && !offsets.is_empty() {
        return Ok(());
    }
    directory.check_online()?;
    let (disk, text) = (&directory.env.disk, encode_offsets(&offsets));
    let mut written = Ok(());
    if name == LOG_START_OFFSET {
        written = disk.write_atomically(&copy_of(&path), text.as_bytes());
    }
    let written = written.and_then(|()| disk.write_atomically(&path, text.as_bytes()));
    written.map_err(|error| directory.fail("writing", &path, &error))?;
    *last = offsets;
    Ok(())
}

/// The name of the second copy of a checkpoint, used when the first is damaged. Kafka passes over files that it does not know.
fn copy_of(path: &Path) -> PathBuf {
    path.with_extension("ottla")
}
