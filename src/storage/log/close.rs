//! The clean end of a log.

use super::{Log, LogState};
use crate::mutant;
use crate::storage::segment_files::SegmentFileKind;
use crate::storage::{StorageError, StorageResult};

/// Entries of both indexes that fit into one page.
const SAFE_INDEX_ENTRIES: usize = 4096 / 12;

/// Offsets of a log that the checkpoint files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct CheckpointedOffsets {
    pub(in crate::storage) recovery_point: i64,
    /// `None` while the log starts with its first segment.
    pub(in crate::storage) log_start_offset: Option<i64>,
    pub(in crate::storage) high_watermark: i64,
}

impl Log {
    /// Makes everything durable, index files and producers included, and ends all use of the log.
    pub fn close(&self) -> StorageResult<()> {
        match self.prepare_close() {
            Ok(()) => {}
            Err(StorageError::LogClosed { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.flush()?;
        self.mark_closed();
        Ok(())
    }

    /// Writes what a clean start reads instead of the log; a flush and [`Log::mark_closed`] end it.
    pub(in crate::storage) fn prepare_close(&self) -> StorageResult<()> {
        let mut state = self.lock();
        self.check_usable(&state)?;
        self.write_caches(&mut state)?;
        // Whoever writes the marker of a clean stop syncs the log directory; of an empty log nothing else is worth a sync.
        state.flush.parent_unsynced = false;
        if state.log_end_offset == state.recovery_point && state.log_end_offset == state.log_start_offset {
            state.flush.directory_unsynced = false;
            state.epochs_unsynced = false;
        }
        Ok(())
    }

    /// Writes what a clean start reads instead of the log.
    fn write_caches(&self, state: &mut LogState) -> StorageResult<()> {
        self.take_producer_snapshot(state)?;
        let active = &mut state.active;
        active.trim().map_err(|error| active.files.write_error(SegmentFileKind::Log, &error))?;
        if active.size == 0 {
            return Ok(());
        }
        active
            .seal_transactions()
            .map_err(|error| active.files.write_error(SegmentFileKind::TransactionSeal, &error))?;
        active.note_largest_timestamp();
        if !active.offset_index.has_unwritten() && !active.time_index.has_unwritten() {
            return Ok(());
        }
        // A start looks at the last entry of each index, which vouches for its page; what is longer is synced.
        let is_long = active.offset_index.len() > SAFE_INDEX_ENTRIES;
        let kinds = [SegmentFileKind::OffsetIndex, SegmentFileKind::TimeIndex];
        let written = active.write_indexes().and_then(|()| {
            // Both files exist, also when they are empty: a missing one means recovery.
            kinds.into_iter().try_for_each(|kind| {
                let index = active.files.handle(kind)?;
                if is_long { index.sync_data() } else { Ok(()) }
            })
        });
        state.flush.directory_unsynced = true;
        written.map_err(|error| state.active.files.write_error(SegmentFileKind::OffsetIndex, &error))
    }

    /// What the periodic checkpoints write down.
    pub(in crate::storage) fn checkpointed_offsets(&self) -> CheckpointedOffsets {
        let mut state = self.lock();
        Log::note_checkpoint(&mut state);
        let recovery_point = match state.flush.truncated {
            Some((end, last_batch_end)) if end == state.log_end_offset => state.recovery_point.min(last_batch_end),
            _ if mutant::is_active("recovery-point-too-far") => state.log_end_offset,
            _ => state.recovery_point,
        };
        // A start behind the recovery point could be behind the end of the log when the power is back.
        let start = state.log_start_offset.min(recovery_point);
        CheckpointedOffsets {
            recovery_point,
            log_start_offset: (start > state.first_base_offset()).then_some(start),
            high_watermark: state.high_watermark.offset,
        }
    }
}
