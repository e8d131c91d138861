//! What leaves the log at its end: a follower that has more than its leader (`truncateTo`, `truncateFullyAndStartAt`).

use std::sync::Arc;

use super::Log;
use crate::mutant;
use crate::storage::StorageResult;
use crate::storage::recovery;

impl Log {
    /// Removes everything from `offset` on; batches are not split, so that a batch around it goes too. Returns whether
    /// anything was removed.
    pub fn truncate_to(self: &Arc<Self>, offset: i64) -> StorageResult<bool> {
        let offset = offset.max(0);
        let _flushing = self.flushing.lock();
        self.lower_recovery_point(offset)?;
        let mut state = self.lock();
        self.check_usable(&state)?;
        if offset >= state.log_end_offset {
            return Ok(false);
        }
        if offset <= state.first_base_offset() {
            recovery::restart(self, &mut state, offset)?;
            return Ok(true);
        }
        recovery::truncate(self, &mut state, offset)?;
        Ok(true)
    }

    /// Empties the log; it goes on at `offset`.
    pub fn truncate_fully_and_start_at(self: &Arc<Self>, offset: i64) -> StorageResult<()> {
        let _flushing = self.flushing.lock();
        self.lower_recovery_point(0)?;
        let mut state = self.lock();
        self.check_usable(&state)?;
        recovery::restart(self, &mut state, offset)
    }

    /// Writes down, before anything is cut, that nothing from `offset` on is known to be durable: what is appended there later
    /// must not pass for synced after a crash, and what is cut must not be missed. The caller holds `flushing`.
    fn lower_recovery_point(&self, offset: i64) -> StorageResult<()> {
        {
            let mut state = self.lock();
            self.check_usable(&state)?;
            if offset >= state.log_end_offset {
                return Ok(());
            }
            // A batch around the offset goes as a whole: where that begins, the segment does at the latest.
            let base_offset = match state.sealed_index_for(offset) {
                Some(index) => state.sealed[index].base_offset(),
                None => state.active.base_offset(),
            };
            let offset = offset.min(base_offset);
            let is_below = state.recovery_point <= offset && state.flush.checkpointed <= offset;
            if is_below || mutant::is_active("keep-the-recovery-point-at-a-truncation") {
                return Ok(());
            }
            state.recovery_point = state.recovery_point.min(offset);
        }
        self.directory.checkpoint()
    }
}
