//! What the cleaner asks of a log: what there is to clean, and cleaned segments in the place of old ones
//! (`LocalLog.replaceSegments`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::indexes::Lookups;
use super::{Log, LogState};
use crate::config::LogConfig;
use crate::record::BatchHeader;
use crate::storage::StorageResult;
use crate::storage::cleaner::{LogView, SegmentRange};
use crate::storage::file_names::{
    CLEANED_SUFFIX, DELETED_SUFFIX, SNAPSHOT_SUFFIX, SWAP_EXTENT_SUFFIX, SWAP_SUFFIX, offset_file,
};
use crate::storage::segment::{SealedSegment, TimestampOffset};
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles, add_suffix, is_not_found};

/// A log at one moment, as the cleaner sees it.
#[derive(Clone)]
pub(in crate::storage) struct CleanerSnapshot {
    pub(in crate::storage) view: LogView,
    pub(in crate::storage) config: Arc<LogConfig>,
    /// Changes when segments get other contents.
    pub(in crate::storage) replacements: u64,
}

/// The last thing that a live producer wrote (`LastRecord`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct LastRecord {
    /// `None`: a marker only.
    last_data_offset: Option<i64>,
    producer_epoch: i16,
}

impl LastRecord {
    /// Whether a batch of that producer is the one that tells it.
    pub(in crate::storage) fn is_in(&self, header: &BatchHeader) -> bool {
        match self.last_data_offset {
            Some(offset) => header.last_offset() == offset,
            None => header.is_control() && header.producer_epoch == self.producer_epoch,
        }
    }
}

/// A cleaned segment, complete and synced under its `.cleaned` names, and what it stands for.
pub(in crate::storage) struct Replacement {
    pub(in crate::storage) base_offset: i64,
    pub(in crate::storage) size: u64,
    pub(in crate::storage) largest_timestamp: Option<TimestampOffset>,
    pub(in crate::storage) has_aborted: bool,
    /// Base offsets and sizes of the old segments, neighbours, the first with the same base offset.
    pub(in crate::storage) old: Vec<(i64, u64)>,
    /// Where the segment behind them begins.
    pub(in crate::storage) end_offset: i64,
}

/// The order of renames: a swap counts from the moment when its log file is named so, until the log file has its final name.
const RENAMES: [SegmentFileKind; 4] =
    [SegmentFileKind::OffsetIndex, SegmentFileKind::TimeIndex, SegmentFileKind::TransactionIndex, SegmentFileKind::Log];

impl Log {
    /// What there is to clean.
    pub(in crate::storage) fn cleaner_snapshot(&self) -> StorageResult<CleanerSnapshot> {
        let state = self.lock();
        self.check_usable(&state)?;
        let sealed = (0..state.sealed.len()).map(|index| {
            Ok(SegmentRange {
                base_offset: state.sealed[index].base_offset(),
                next_base_offset: state.next_base_offset(index),
                size: state.sealed_size(index)?,
            })
        });
        let view = LogView {
            sealed: sealed.collect::<StorageResult<_>>()?,
            active_base_offset: state.active.base_offset(),
            log_start_offset: state.log_start_offset,
            log_end_offset: state.log_end_offset,
            last_stable_offset: state.last_stable_offset(),
        };
        Ok(CleanerSnapshot { view, config: state.config.clone(), replacements: state.replacements })
    }

    /// The base offset of the first sealed segment from the one with `from` on that has a record newer than `timestamp`.
    pub(in crate::storage) fn first_segment_newer_than(&self, from: i64, timestamp: i64) -> StorageResult<Option<i64>> {
        self.with_indexes(|state| {
            let first = if from >= state.active.base_offset() {
                state.sealed.len()
            } else {
                state.sealed_index_for(from).unwrap_or(0)
            };
            let mut lookups = Lookups::default();
            for index in first..state.sealed.len() {
                match self.largest_timestamp_of_sealed(state, index, &mut lookups)? {
                    Ok(largest) if largest.timestamp > timestamp => {
                        return Ok(Ok(Some(state.sealed[index].base_offset())));
                    }
                    Ok(_) => {}
                    Err(unready) => return Ok(Err(unready)),
                }
            }
            Ok(Ok(None))
        })
    }

    /// Whether a cleaning that began with `replacements` is still of use.
    pub(in crate::storage) fn is_cleaning_wanted(&self, replacements: u64) -> bool {
        let state = self.lock();
        self.check_usable(&state).is_ok() && state.config.compact && state.replacements == replacements
    }

    /// The lowest offset that the log was truncated to since this was asked last.
    pub(in crate::storage) fn take_truncated_to(&self) -> Option<i64> {
        self.lock().truncated_to.take()
    }

    /// Each live producer's last record (`lastRecordsOfActiveProducers`).
    pub(in crate::storage) fn last_records_of_active_producers(&self) -> HashMap<i64, LastRecord> {
        let state = self.lock();
        let last_record = |entry: &crate::storage::producer_state::ProducerEntry| LastRecord {
            last_data_offset: Some(entry.last_offset()).filter(|offset| *offset >= 0),
            producer_epoch: entry.epoch,
        };
        state.producers.entries().map(|entry| (entry.producer_id, last_record(entry))).collect()
    }

    /// The names of a segment's files.
    pub(in crate::storage) fn segment_files(&self, base_offset: i64) -> SegmentFiles {
        SegmentFiles::new(self.directory.clone(), self.path.clone(), base_offset)
    }

    /// Puts a cleaned segment in the place of old ones. Nothing is done, and `None` is the answer, if the log has changed since
    /// `replacements`, or one of the old segments is gone. Otherwise the new count of replacements.
    ///
    /// What is durable at any moment, and what a start makes of it (`recovery/swap.rs`):
    /// 1. `.cleaned` files: dropped, the old segments are there.
    /// 2. `.swap` files with the log among them, and the offset where they end: completed, the old segments are removed.
    /// 3. Final names.
    pub(in crate::storage) fn replace_segments(
        self: &Arc<Self>,
        replacement: &Replacement,
        replacements: u64,
    ) -> StorageResult<Option<u64>> {
        // A recovery takes gaps behind the recovery point for a torn tail: what the cleaner leaves out is before it, durably.
        self.checkpoint_through(replacement.end_offset)?;
        // Nobody truncates the log or syncs its files while they get other names.
        let _flushing = self.flushing.lock();
        {
            let state = self.lock();
            self.check_usable(&state)?;
            if find(&state, replacement, replacements)?.is_none() {
                return Ok(None);
            }
        }
        let at = self.path();
        let extent = offset_file(&at, replacement.base_offset, SWAP_EXTENT_SUFFIX);
        self.write_extent(&extent, replacement.end_offset)?;
        self.sync_directory(&at)?;
        rename_segment(&self.directory, &at, replacement.base_offset, CLEANED_SUFFIX, SWAP_SUFFIX)?;
        self.sync_directory(&at)?;
        let (removed, now) = {
            let mut state = self.lock();
            self.check_usable(&state)?;
            let Some(first) = find(&state, replacement, replacements)? else {
                drop(state);
                self.drop_swap(&at, replacement.base_offset, &extent)?;
                return Ok(None);
            };
            let removed = self.swap_locked(&mut state, replacement, first, &at)?;
            state.replacements += 1;
            (removed, state.replacements)
        };
        self.sync_directory(&at)?;
        self.remove(&extent)?;
        self.remove_later(&removed);
        Ok(Some(now))
    }

    /// The part under the lock; gives the old segments.
    fn swap_locked(
        &self,
        state: &mut LogState,
        replacement: &Replacement,
        first: usize,
        at: &Path,
    ) -> StorageResult<Vec<SealedSegment>> {
        let base_offset = replacement.base_offset;
        for (old, _) in &replacement.old {
            let files = state.active.files.sibling(*old);
            files.close();
            let mut paths: Vec<PathBuf> = SegmentFileKind::ALL.iter().map(|kind| files.path_of(*kind)).collect();
            if *old != base_offset {
                // The producers as of the first segment's beginning are still as they were.
                paths.push(offset_file(at, *old, SNAPSHOT_SUFFIX));
            }
            for path in paths {
                let renamed = add_suffix(&self.directory, &path, DELETED_SUFFIX);
                // Whatever the error: half of it is done.
                renamed
                    .map_err(|error| self.directory.take_offline(format!("renaming {}: {error}", path.display())))?;
            }
        }
        // Before the swap ends: an old segment that came back would repeat what the new one has.
        self.sync_directory(at)?;
        rename_segment(&self.directory, at, base_offset, SWAP_SUFFIX, "")?;
        let segment = SealedSegment::complete(
            base_offset,
            replacement.size,
            replacement.largest_timestamp,
            replacement.has_aborted,
        );
        let removed = state.sealed.splice(first..first + replacement.old.len(), [segment]).collect();
        if state
            .high_watermark
            .position
            .is_some_and(|(segment, _)| (base_offset..replacement.end_offset).contains(&segment))
        {
            state.high_watermark.position = None;
        }
        Ok(removed)
    }

    /// Gives up a swap whose old segments have changed: its log file first, which ends it.
    fn drop_swap(&self, at: &Path, base_offset: i64, extent: &Path) -> StorageResult<()> {
        self.remove(&swap_file(at, base_offset, SegmentFileKind::Log))?;
        self.sync_directory(at)?;
        for kind in RENAMES {
            self.remove(&swap_file(at, base_offset, kind))?;
        }
        self.remove(extent)
    }

    fn write_extent(&self, path: &Path, end_offset: i64) -> StorageResult<()> {
        let file = self.directory.env.disk.open(path, crate::env::OpenMode::Truncate);
        let written = file.and_then(|file| file.write_all_at(format!("{end_offset}\n").as_bytes(), 0).map(|()| file));
        let file = written.map_err(|error| self.directory.fail("writing", path, &error))?;
        file.sync_data().map_err(|error| self.directory.fail_sync(path, &error))
    }

    fn remove(&self, path: &Path) -> StorageResult<()> {
        match self.directory.env.disk.remove_file(path) {
            Err(error) if !is_not_found(&error) => Err(self.directory.fail("removing", path, &error)),
            _ => Ok(()),
        }
    }

    fn sync_directory(&self, at: &Path) -> StorageResult<()> {
        let synced = self.directory.env.disk.sync_dir(at);
        synced.map_err(|error| self.directory.fail_sync(at, &error))
    }
}

/// The number of the first old segment, if all are there, side by side, as the cleaner has read them.
fn find(state: &LogState, replacement: &Replacement, replacements: u64) -> StorageResult<Option<usize>> {
    let Some(first) = state.sealed_at(replacement.base_offset) else { return Ok(None) };
    if state.replacements != replacements || first + replacement.old.len() > state.sealed.len() {
        return Ok(None);
    }
    for (index, (base_offset, size)) in (first..).zip(&replacement.old) {
        if state.sealed[index].base_offset() != *base_offset || state.sealed_size(index)? != *size {
            return Ok(None);
        }
    }
    let last = first + replacement.old.len() - 1;
    Ok((state.next_base_offset(last) == replacement.end_offset).then_some(first))
}

/// The `.swap` name of a file.
pub(in crate::storage) fn swap_file(at: &Path, base_offset: i64, kind: SegmentFileKind) -> PathBuf {
    offset_file(at, base_offset, &format!("{}{SWAP_SUFFIX}", kind.suffix()))
}

/// Renames the files of a segment from one suffix to another, the log last; those that are missing were never there, or were renamed
/// before.
pub(in crate::storage) fn rename_segment(
    directory: &crate::storage::LogDirectory,
    at: &Path,
    base_offset: i64,
    from: &str,
    to: &str,
) -> StorageResult<()> {
    for kind in RENAMES {
        let path = |suffix: &str| offset_file(at, base_offset, &format!("{}{suffix}", kind.suffix()));
        match directory.env.disk.rename(&path(from), &path(to)) {
            // Whatever the error: half of it is done.
            Err(error) if !is_not_found(&error) => {
                return Err(directory.take_offline(format!("renaming {}: {error}", path(from).display())));
            }
            _ => {}
        }
    }
    Ok(())
}
