//! What leaves the log at its start: retention, DeleteRecords, and the delayed removal of files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::indexes::{Lookups, Unready};
use super::{Log, LogState};
use crate::env::Env;
use crate::mutant;
use crate::storage::directory::LogDirectory;
use crate::storage::file_names::{
    DELETED_SUFFIX, INDEX_SUFFIX, LOG_SUFFIX, SNAPSHOT_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX,
    TRANSACTION_SEAL_SUFFIX, offset_file,
};
use crate::storage::segment::{SealedSegment, TimestampOffset};
use crate::storage::segment_files::{SegmentFileKind, add_suffix};
use crate::storage::{StorageError, StorageResult};

impl Log {
    /// Deletes the segments that retention no longer holds, oldest first, never beyond the high watermark; returns how many
    /// (`deleteOldSegments`). If all are expired, a new segment is begun first.
    pub fn delete_old_segments(self: &Arc<Self>, now_ms: i64) -> StorageResult<usize> {
        let end = self.with_indexes(|state| {
            let count = self.deletable_segments(state, now_ms)?;
            Ok(count.map(|count| match count.checked_sub(1) {
                None => None,
                Some(last) if last < state.sealed.len() => Some(state.next_base_offset(last)),
                Some(_) => Some(state.log_end_offset),
            }))
        })?;
        let Some(end) = end else { return Ok(0) };
        // The names of several files change: after a power cut some may have, which must not look like a torn log.
        self.checkpoint_through(end)?;
        let removed = self.with_indexes(|state| {
            let count = match self.deletable_segments(state, now_ms)? {
                Ok(count) => count,
                Err(unready) => return Ok(Err(unready)),
            };
            if count > state.sealed.len() {
                self.roll_locked(state, now_ms)?;
            }
            let count = count.min(state.sealed.len());
            let removed: Vec<SealedSegment> = state.sealed.drain(..count).collect();
            let start = state.first_base_offset();
            if !removed.is_empty() && start > state.log_start_offset {
                self.set_log_start_offset(state, start)?;
            }
            self.mark_deleted(state, &removed)?;
            Ok(Ok(removed))
        })?;
        if removed.is_empty() {
            return Ok(0);
        }
        tracing::info!("[UnifiedLog partition={}] Deleted {} segments", self.topic_partition(), removed.len());
        self.remove_later(&removed);
        Ok(removed.len())
    }

    /// How many segments from the oldest on may go; one more than there are sealed ones means the active one too.
    fn deletable_segments(&self, state: &LogState, now_ms: i64) -> StorageResult<Result<usize, Unready>> {
        let config = state.config.clone();
        let size = match u64::try_from(config.retention_bytes) {
            Ok(retention) if config.delete => state.size()?.checked_sub(retention),
            _ => None,
        };
        let (mut excess, mut by_size) = (size.unwrap_or(0), size.is_some());
        let mut count = 0;
        let mut lookups = Lookups::default();
        while count <= state.sealed.len() {
            let is_active = count == state.sealed.len();
            let end = if is_active { state.log_end_offset } else { state.next_base_offset(count) };
            let is_replicated =
                end <= state.high_watermark.offset || mutant::is_active("retain-past-the-high-watermark");
            if !is_replicated || (is_active && state.active.size == 0) {
                break;
            }
            // Sizes of segments are looked up only where they decide.
            let size = match by_size {
                false => 0,
                true if is_active => state.active.size,
                true => state.sealed_size(count)?,
            };
            by_size = by_size && excess >= size;
            // The active segment never lies before the start of the log.
            let below_start = !is_active && end <= state.log_start_offset;
            if !below_start && !by_size {
                if !config.delete || config.retention_ms < 0 {
                    break;
                }
                let largest = match self.largest_timestamp(state, count, &mut lookups)? {
                    Ok(largest) => largest.timestamp,
                    Err(unready) => return Ok(Err(unready)),
                };
                if now_ms.saturating_sub(largest) <= config.retention_ms {
                    break;
                }
            }
            excess = excess.saturating_sub(size);
            count += 1;
        }
        Ok(Ok(count))
    }

    /// The largest timestamp of a segment, by its number; the time of the file's last change if no record has one
    /// (`LogSegment.largestTimestamp`).
    pub(super) fn largest_timestamp(
        &self,
        state: &LogState,
        index: usize,
        lookups: &mut Lookups,
    ) -> StorageResult<Result<TimestampOffset, Unready>> {
        if index < state.sealed.len() {
            return self.largest_timestamp_of_sealed(state, index, lookups);
        }
        let active = &state.active;
        if active.largest_timestamp.timestamp >= 0 {
            return Ok(Ok(active.largest_timestamp));
        }
        let modified = active.files.metadata(SegmentFileKind::Log)?.modified_millis;
        Ok(Ok(TimestampOffset { timestamp: modified, offset: -1 }))
    }

    /// Moves the start of the log to `offset` at once; whole segments before it are deleted by the next retention run. Returns
    /// where the log starts now. Fails above the high watermark (`deleteRecordsOnLeader`, `maybeIncrementLogStartOffset`).
    pub fn delete_records_before(&self, offset: i64) -> StorageResult<i64> {
        let mut state = self.lock();
        self.check_usable(&state)?;
        if offset < 0 || offset > state.high_watermark.offset {
            return Err(StorageError::OffsetOutOfRange {
                topic_partition: self.topic_partition().clone(),
                offset,
                log_start_offset: state.log_start_offset,
                log_end_offset: state.high_watermark.offset,
            });
        }
        if offset > state.log_start_offset {
            self.set_log_start_offset(&mut state, offset)?;
        }
        Ok(state.log_start_offset)
    }

    pub(super) fn set_log_start_offset(&self, state: &mut LogState, offset: i64) -> StorageResult<()> {
        state.log_start_offset = offset;
        if state.high_watermark.offset < offset {
            state.set_high_watermark(offset);
        }
        state.producers.on_log_start_offset(offset);
        if state.epochs.truncate_from_start(offset)
            && let Err(error) = self.write_epochs(state)
        {
            // What makes room must not fail for want of it: the file is written with the next record.
            self.directory.check_online()?;
            tracing::warn!("{}: {error}", self.topic_partition());
            state.epochs_unwritten = true;
        }
        self.directory.note_change();
        Ok(())
    }

    /// Gives the files of segments their `.deleted` names, but for the seals of their transaction indexes; handles in use stay valid.
    pub(super) fn mark_deleted(&self, state: &mut LogState, segments: &[SealedSegment]) -> StorageResult<()> {
        state.flush.directory_unsynced |= !segments.is_empty();
        for segment in segments {
            state.active.files.sibling(segment.base_offset()).close();
            for path in self.paths_of(segment.base_offset()) {
                let renamed = add_suffix(&self.directory, &path, DELETED_SUFFIX);
                renamed.map_err(|error| self.directory.fail("renaming", &path, &error))?;
            }
        }
        Ok(())
    }

    fn paths_of(&self, base_offset: i64) -> [PathBuf; 5] {
        let at = self.path();
        [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX, SNAPSHOT_SUFFIX]
            .map(|suffix| offset_file(&at, base_offset, suffix))
    }

    /// Removes the `.deleted` files after `file.delete.delay.ms`. A stop before that leaves them to the next start.
    pub(super) fn remove_later(self: &Arc<Self>, segments: &[SealedSegment]) {
        let delay_ms = self.config().file_delete_delay_ms;
        let bases: Vec<i64> = segments.iter().map(SealedSegment::base_offset).collect();
        let log = self.clone();
        let work = move || {
            let disk = &log.directory.env.disk;
            for base_offset in &bases {
                let seal = offset_file(&log.path(), *base_offset, TRANSACTION_SEAL_SUFFIX);
                for path in log.paths_of(*base_offset).into_iter().chain([seal]) {
                    let mut path = path.into_os_string();
                    path.push(DELETED_SUFFIX);
                    // The names may be gone: the whole log was deleted meanwhile, or never had this file.
                    let _ = disk.remove_file(path.as_ref());
                }
            }
            log.remove_seals(&bases);
        };
        run_later(&self.directory.env, "delete-segment", delay_ms, Box::new(work));
    }

    /// Removes the seals of segments that are gone, once their logs' new names are durable: a log that came back without its transaction
    /// index would show what was aborted, and the seal says that there was one.
    fn remove_seals(&self, bases: &[i64]) {
        let (disk, at) = (&self.directory.env.disk, self.path());
        let is_there = |base_offset: i64, suffix: &str| disk.metadata(&offset_file(&at, base_offset, suffix)).is_ok();
        let seals = bases.iter().copied().filter(|base| is_there(*base, TRANSACTION_SEAL_SUFFIX));
        let gone: Vec<i64> = seals.filter(|base| !is_there(*base, LOG_SUFFIX)).collect();
        if gone.is_empty() || self.directory.is_offline() {
            return;
        }
        if let Err(error) = disk.sync_dir(&at) {
            // The directory of a deleted log has another name by now, and goes as a whole.
            if error.kind() != std::io::ErrorKind::NotFound {
                self.directory.fail_sync(&at, &error);
            }
            return;
        }
        for base_offset in gone {
            let _ = disk.remove_file(&offset_file(&at, base_offset, TRANSACTION_SEAL_SUFFIX));
        }
    }

    /// Gives the closed log's directory another name. A sync or a swap of segments under way ends first: it works by path, and would
    /// take a directory that is not there any more for a failed disk.
    pub(in crate::storage) fn rename_directory(&self, to: PathBuf) -> std::io::Result<()> {
        let _flushing = self.flushing.lock();
        self.directory.env.disk.rename(&self.path(), &to)?;
        self.path.set(to);
        Ok(())
    }

    /// Ends all use of the log: no appends, no reads, handles closed. Part of deletion and of shutdown.
    pub(in crate::storage) fn mark_closed(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.active.files.close();
        for segment in &state.sealed {
            state.active.files.sibling(segment.base_offset()).close();
        }
    }
}

/// Runs blocking work after a delay.
pub(in crate::storage) fn run_later(env: &Env, name: &'static str, delay_ms: i64, work: Box<dyn FnOnce() + Send>) {
    let deadline = env.clock.monotonic() + Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0));
    let env = env.clone();
    let sleep = env.clock.sleep_until(deadline);
    env.spawn.clone().spawn(
        name,
        Box::pin(async move {
            sleep.await;
            env.spawn.spawn_blocking(name, work);
        }),
    );
}

/// Removes the directory of a deleted log after a delay.
pub(in crate::storage) fn remove_directory_later(directory: &Arc<LogDirectory>, path: PathBuf, delay_ms: i64) {
    let owner = directory.clone();
    let work = move || {
        let disk = &owner.env.disk;
        // Its new name first: under the old one, half removed, a power cut would leave a log that has lost what was durable.
        if let Err(error) = disk.sync_dir(owner.path()) {
            owner.fail_sync(owner.path(), &error);
            return;
        }
        match disk.remove_dir_all(&path) {
            Ok(()) => {
                // `name-partition.id-delete`
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let partition = name.rsplit_once('.').map_or(&*name, |(partition, _)| partition);
                tracing::info!("Deleted log for partition {partition} in {}.", path.display());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!("removing {}: {error}", path.display()),
        }
    };
    run_later(&directory.env, "delete-log", delay_ms, Box::new(work));
}
