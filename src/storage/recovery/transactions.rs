//! Building transaction indexes again from the log.

use super::Loader;
use super::truncation::options_of;
use crate::env::OpenMode;
use crate::storage::StorageResult;
use crate::storage::file_names::{SNAPSHOT_SUFFIX, offset_file, parse_offset_file};
use crate::storage::log::{Log, LogState};
use crate::storage::producer_snapshot::{self, MAX_SNAPSHOT_BYTES};
use crate::storage::producer_state::{CompletedTransaction, ProducerState};
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles, is_not_found};
use crate::storage::transaction_index::{AbortedEntry, encode_entries, write_seal};

/// Aborted transactions, ascending by their markers' offsets.
#[derive(Default)]
pub(super) struct FoundTransactions(Vec<AbortedEntry>);

impl FoundTransactions {
    pub(super) fn note(&mut self, completed: &CompletedTransaction, producers: &ProducerState) {
        if completed.aborted {
            let CompletedTransaction { producer_id, first_offset, last_offset, .. } = *completed;
            let last_stable_offset = producers.last_stable_offset_after(completed);
            self.0.push(AbortedEntry::new(producer_id, first_offset, last_offset, last_stable_offset));
        }
    }
}

impl Loader<'_> {
    /// Replaces the transaction indexes of the segments from a base offset on.
    pub(super) fn write_transaction_indexes(
        &mut self,
        state: &mut LogState,
        from: i64,
        found: &FoundTransactions,
    ) -> StorageResult<()> {
        for index in 0..state.sealed.len() {
            if state.sealed[index].base_offset() >= from {
                self.write_transaction_index(state, index, found)?;
            }
        }
        let entries = self.replace_transaction_index(&state.active.files, i64::MAX, found)?;
        state.active.aborted_entries = entries;
        Ok(())
    }

    fn write_transaction_index(
        &mut self,
        state: &mut LogState,
        index: usize,
        found: &FoundTransactions,
    ) -> StorageResult<()> {
        let entries =
            self.replace_transaction_index(&state.sealed_files(index), state.next_base_offset(index), found)?;
        state.sealed[index].set_has_aborted(entries > 0);
        state.sealed[index].set_transactions_checked();
        Ok(())
    }

    /// Replaces or removes one index; gives the number of its entries.
    fn replace_transaction_index(
        &mut self,
        files: &SegmentFiles,
        end_offset: i64,
        found: &FoundTransactions,
    ) -> StorageResult<usize> {
        let start = found.0.partition_point(|entry| entry.last_offset < files.base_offset());
        let end = found.0.partition_point(|entry| entry.last_offset < end_offset);
        let entries = &found.0[start..end.max(start)];
        let path = files.path_of(SegmentFileKind::TransactionIndex);
        files.close();
        if entries.is_empty() {
            self.remove(&path)?;
            return Ok(0);
        }
        let mut temporary = path.clone().into_os_string();
        temporary.push(".tmp");
        let disk = &self.directory.env.disk;
        let written = disk
            .open(temporary.as_ref(), OpenMode::Truncate)
            .and_then(|file| {
                file.write_all_at(&encode_entries(entries), 0)?;
                file.sync_data()
            })
            .and_then(|()| disk.rename(temporary.as_ref(), &path));
        self.write_failure(written, &path)?;
        let sealed = write_seal(files, entries.len());
        sealed.map_err(|error| files.write_error(SegmentFileKind::TransactionSeal, &error))?;
        files.close();
        Ok(entries.len())
    }
}

/// Builds the transaction index of one sealed segment again, by its number.
pub(in crate::storage) fn rebuild_transaction_index(
    log: &Log,
    state: &mut LogState,
    index: usize,
) -> StorageResult<()> {
    let options = options_of(log, state);
    let mut loader = Loader::new(&options, log.path.clone());
    let base_offset = state.sealed[index].base_offset();
    let end_offset = state.next_base_offset(index);
    let disk = &log.directory.env.disk;
    let mut producers = ProducerState::default();
    let mut from = state.log_start_offset.min(base_offset);
    let names = disk.read_dir(&loader.at).unwrap_or_default();
    let snapshots = names.iter().filter_map(|path| parse_offset_file(path, SNAPSHOT_SUFFIX));
    if let Some(snapshot) = snapshots.filter(|offset| *offset <= base_offset).max() {
        let path = offset_file(&loader.at, snapshot, SNAPSHOT_SUFFIX);
        match disk.read(&path, MAX_SNAPSHOT_BYTES).map(|bytes| producer_snapshot::decode(&bytes)) {
            Ok(Ok(loaded)) => (producers, from) = (loaded, snapshot),
            Ok(Err(reason)) => tracing::warn!("{}: {reason}", path.display()),
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(crate::storage::StorageError::io("reading", &path, &error)),
        }
    }
    let found = loader.replay_producers(state, &mut producers, from, end_offset)?;
    loader.write_transaction_index(state, index, &found)?;
    state.flush.directory_unsynced = true;
    Ok(())
}
