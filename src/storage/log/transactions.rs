//! What `read_committed` readers must leave out: the aborted transactions of a range (`UnifiedLog.collectAbortedTransactions`).

use std::io;
use std::sync::Arc;

use super::read::{AbortedTransaction, SearchPlan};
use super::{Log, LogState};
use crate::env::DiskFile;
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles, is_not_found};
use crate::storage::sparse_index::{IndexEntry, OffsetEntry, partition_on_disk, read_entry};
use crate::storage::transaction_index::{AbortedEntry, collect, read_entries, seal_fits};
use crate::storage::{StorageResult, recovery};

impl Log {
    /// The aborted transactions that touch what a read found: from `fetch_offset` to `end_position` in the segment of `plan`. `None`: the
    /// segment is gone, or another one, since the plan was made.
    pub(super) fn aborted_transactions(
        &self,
        plan: &SearchPlan,
        fetch_offset: i64,
        end_position: u64,
    ) -> StorageResult<Option<Vec<AbortedTransaction>>> {
        let base_offset = plan.files.base_offset();
        let mut state = self.lock();
        self.check_usable(&state)?;
        let first = match state.sealed_at(base_offset) {
            Some(index) => index,
            None if base_offset == state.active.base_offset() => state.sealed.len(),
            None => return Ok(None),
        };
        if state.replacements != plan.replacements {
            return Ok(None);
        }
        let (mut found, mut upper_bound) = (Vec::new(), None);
        for index in first..=state.sealed.len() {
            let Some(file) = self.transaction_index(&mut state, index)? else { continue };
            let upper_bound = match upper_bound {
                Some(known) => known,
                None => *upper_bound.insert(upper_bound_of(&state, first, &plan.files, end_position)?),
            };
            let files = files_of(&state, index);
            let complete = collect(&file, fetch_offset, upper_bound, &mut found);
            if complete.map_err(|error| files.read_error(SegmentFileKind::TransactionIndex, &error))? {
                break;
            }
        }
        let transaction = |entry: AbortedEntry| AbortedTransaction {
            producer_id: entry.producer_id,
            first_offset: entry.first_offset,
        };
        Ok(Some(found.into_iter().map(transaction).collect()))
    }

    /// Every aborted transaction that the log knows of, in the order of their markers. Reads without the lock.
    pub(in crate::storage) fn all_aborted_transactions(&self) -> StorageResult<Vec<AbortedEntry>> {
        let mut indexes = Vec::new();
        {
            let mut state = self.lock();
            self.check_usable(&state)?;
            for index in 0..=state.sealed.len() {
                if let Some(file) = self.transaction_index(&mut state, index)? {
                    indexes.push((files_of(&state, index), file));
                }
            }
        }
        let mut found = Vec::new();
        for (files, file) in indexes {
            let collected = collect(&file, 0, i64::MAX, &mut found);
            collected.map_err(|error| files.read_error(SegmentFileKind::TransactionIndex, &error))?;
        }
        Ok(found)
    }

    /// The transaction index of a segment, by its number, if it has one. One that cannot be right is built again; that is rare, and done
    /// under the lock.
    fn transaction_index(&self, state: &mut LogState, index: usize) -> StorageResult<Option<Arc<dyn DiskFile>>> {
        let kind = SegmentFileKind::TransactionIndex;
        let has_aborted = match state.sealed.get(index) {
            Some(segment) => segment.has_aborted(),
            None => state.active.aborted_entries > 0,
        };
        if !has_aborted {
            return Ok(None);
        }
        let files = files_of(state, index);
        let open = |files: &SegmentFiles| files.existing(kind).map_err(|error| files.read_error(kind, &error));
        let Some(segment) = state.sealed.get(index).filter(|segment| !segment.transactions_checked()) else {
            return open(&files).map(Some);
        };
        let is_sane = || match files.existing(kind) {
            Err(error) if is_not_found(&error) => Ok(false),
            file => {
                let entries = read_entries(&file?, segment.base_offset(), state.next_base_offset(index))?;
                Ok(entries.is_some() && seal_fits(&files)?)
            }
        };
        if !is_sane().map_err(|error: io::Error| files.read_error(kind, &error))? {
            tracing::warn!("{}: building this index again", files.path_of(kind).display());
            recovery::rebuild_transaction_index(self, state, index)?;
        }
        state.sealed[index].set_transactions_checked();
        if state.sealed[index].has_aborted() { open(&files).map(Some) } else { Ok(None) }
    }
}

fn files_of(state: &LogState, index: usize) -> SegmentFiles {
    if index < state.sealed.len() { state.sealed_files(index) } else { state.active.files.clone() }
}

/// An offset that no record before `end_position` of a segment reaches (`LogSegment.fetchUpperBoundOffset`).
fn upper_bound_of(state: &LogState, index: usize, files: &SegmentFiles, end_position: u64) -> StorageResult<i64> {
    let behind = |entry: &OffsetEntry| u64::from(entry.position) >= end_position;
    let entry = match state.sealed.get(index) {
        None => state.active.offset_index.first(behind),
        Some(_) => None,
    };
    let entry = match entry {
        Some(known) => known,
        None => first_on_disk(files, behind)?,
    };
    let next = if index < state.sealed.len() { state.next_base_offset(index) } else { state.log_end_offset };
    Ok(entry.map_or(next, |entry| files.base_offset() + i64::from(entry.relative_offset)))
}

/// The first entry of the offset index on disk that is wanted; `None` also if there is no such file.
fn first_on_disk(files: &SegmentFiles, wanted: impl Fn(&OffsetEntry) -> bool) -> StorageResult<Option<OffsetEntry>> {
    let kind = SegmentFileKind::OffsetIndex;
    let search = |file: Arc<dyn DiskFile>| {
        let count = file.size()? as usize / OffsetEntry::SIZE;
        let first = partition_on_disk::<OffsetEntry>(&file, count, |entry| !wanted(entry))?;
        (first < count).then(|| read_entry(&*file, first)).transpose()
    };
    match files.existing(kind).and_then(search) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        entry => entry.map_err(|error| files.read_error(kind, &error)),
    }
}
