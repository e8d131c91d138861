//! Leader epochs and producers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::transactions::FoundTransactions;
use super::{Listing, Loader};
use crate::env::{DiskFile, OpenMode};
use crate::mutant;
use crate::record::BatchHeader;
use crate::storage::batch_scan::{BatchScanner, Scanned};
use crate::storage::checkpoint::{EpochEntry, MAX_CHECKPOINT_BYTES, encode_epochs, parse_epochs};
use crate::storage::directory::LogDirectory;
use crate::storage::file_names::{LEADER_EPOCH_CHECKPOINT, SNAPSHOT_SUFFIX, offset_file};
use crate::storage::leader_epoch_cache::LeaderEpochCache;
use crate::storage::log::{AppendOrigin, AppendTerms, LogState, parse_marker};
use crate::storage::producer_snapshot::{self, MAX_SNAPSHOT_BYTES};
use crate::storage::producer_state::ProducerState;
use crate::storage::segment::read_header;
use crate::storage::segment_files::{SegmentFileKind, is_not_found};
use crate::storage::sparse_index::{Floor, OffsetEntry, floor_on_disk};
use crate::storage::{StorageError, StorageResult};

/// Replaces `leader-epoch-checkpoint` without syncing it.
pub(in crate::storage) fn write_epochs(
    directory: &LogDirectory,
    at: &Path,
    entries: &[EpochEntry],
) -> StorageResult<()> {
    let path = at.join(LEADER_EPOCH_CHECKPOINT);
    let temporary = at.join("leader-epoch-checkpoint.tmp");
    let disk = &directory.env.disk;
    let written = disk
        .open(&temporary, OpenMode::Truncate)
        .and_then(|file| file.write_all_at(encode_epochs(entries).as_bytes(), 0))
        .and_then(|()| disk.rename(&temporary, &path));
    written.map_err(|error| directory.fail("writing", &path, &error))
}

impl Loader<'_> {
    pub(super) fn load_epochs(&mut self, state: &mut LogState, is_new: bool) -> StorageResult<()> {
        if is_new {
            return Ok(());
        }
        let path = self.at.join(LEADER_EPOCH_CHECKPOINT);
        let on_disk = match self.directory.env.disk.read(&path, MAX_CHECKPOINT_BYTES) {
            Ok(bytes) => parse_epochs(&bytes),
            Err(error) if is_not_found(&error) => None,
            Err(error) => return Err(StorageError::io("reading", &path, &error)),
        };
        let was_read = on_disk.clone();
        match on_disk {
            Some(entries) => state.epochs = LeaderEpochCache::new(entries),
            None if state.log_end_offset > state.first_base_offset() => {
                // The file is a cache of the log: read the epochs out of all batches.
                self.found_epochs.clear();
                let start = state.first_base_offset();
                let mut found = Vec::new();
                self.scan_headers(state, start, i64::MAX, |header, _, _| {
                    if header.partition_leader_epoch > found.last().map_or(-1, |entry: &EpochEntry| entry.epoch) {
                        found.push(EpochEntry {
                            epoch: header.partition_leader_epoch,
                            start_offset: header.base_offset,
                        });
                    }
                    Ok(())
                })?;
                self.found_epochs = found;
            }
            None => {}
        }
        // First what begins behind the end: it must not hide the same epoch found in the log. Of an empty log the last epoch stays.
        let is_empty = state.log_end_offset == state.log_start_offset;
        state.epochs.truncate_from_end(state.log_end_offset + i64::from(is_empty));
        // The file is synced before the recovery point moves: below it a new epoch in a header is damage.
        let known_to = if was_read.is_some() { self.options.recovery_point } else { 0 };
        let found = std::mem::take(&mut self.found_epochs).into_iter();
        for entry in found.filter(|entry| entry.start_offset >= known_to) {
            if state.epochs.latest_epoch().is_none_or(|latest| entry.epoch > latest) {
                state.epochs.assign(entry.epoch, entry.start_offset);
            }
        }
        state.epochs.truncate_from_start(state.log_start_offset);
        if was_read.as_deref().unwrap_or_default() != state.epochs.entries() {
            state.epochs_unsynced = true;
            write_epochs(self.directory, &self.at, state.epochs.entries())?;
        }
        Ok(())
    }

    /// Calls `visit` with header, file and position of every batch that ends behind `from`, up to the segment that begins at or behind
    /// `before`.
    fn scan_headers(
        &self,
        state: &LogState,
        from: i64,
        before: i64,
        mut visit: impl FnMut(&BatchHeader, &Arc<dyn DiskFile>, u64) -> StorageResult<()>,
    ) -> StorageResult<()> {
        let first = state.sealed_index_for(from).unwrap_or(state.sealed.len());
        let first = if from < state.first_base_offset() { 0 } else { first };
        let sealed =
            (first..state.sealed.len()).map(|index| Ok((state.sealed_files(index), state.sealed_size(index)?)));
        for segment in sealed.chain([Ok((state.active.files.clone(), state.active.size))]) {
            let (files, size) = segment?;
            if files.base_offset() >= before {
                break;
            }
            if size == 0 {
                continue;
            }
            let failure = |error: io::Error| files.read_error(SegmentFileKind::Log, &error);
            let log = files.existing(SegmentFileKind::Log).map_err(failure)?;
            let is_active = files.base_offset() == state.active.base_offset();
            let start = if is_active { self.position_before(state, &log, from)? } else { 0 };
            let mut scanner = BatchScanner::new(log.clone(), start, size);
            loop {
                match scanner.next().map_err(failure)? {
                    Scanned::Batch { position, header } if header.last_offset() >= from => {
                        visit(&header, &log, position)?
                    }
                    Scanned::Batch { .. } => {}
                    Scanned::End => break,
                    Scanned::Broken { position, reason } => {
                        return Err(StorageError::Corrupt {
                            topic_partition: self.options.topic_partition.clone(),
                            message: format!(
                                "{} at {position}: {reason}",
                                files.path_of(SegmentFileKind::Log).display()
                            ),
                        });
                    }
                }
            }
            files.close();
        }
        Ok(())
    }

    /// The position of a batch in the active segment that ends at or before an offset, as the index has it; 0 if it has none.
    fn position_before(&self, state: &LogState, log: &Arc<dyn DiskFile>, offset: i64) -> StorageResult<u64> {
        let active = &state.active;
        let key = offset - active.base_offset();
        if key <= 0 {
            return Ok(0);
        }
        let kind = SegmentFileKind::OffsetIndex;
        let entry = match active.offset_index.floor(key) {
            Floor::Known(entry) => entry,
            Floor::OnDisk(count) => (active.files.existing(kind))
                .and_then(|index| floor_on_disk::<OffsetEntry>(&index, count, key))
                .map_err(|error| active.files.read_error(kind, &error))?,
        };
        let Some(entry) = entry else { return Ok(0) };
        let position = u64::from(entry.position);
        let header = read_header(&**log, position).map_err(|error| active.files.read_error(kind, &error))?;
        let last_offset = active.base_offset() + i64::from(entry.relative_offset);
        Ok(if header.is_some_and(|header| header.last_offset() == last_offset) { position } else { 0 })
    }

    /// Loads the newest usable snapshot and replays what follows (`rebuildProducerState`).
    pub(super) fn load_producers(&mut self, state: &mut LogState, listing: &Listing) -> StorageResult<()> {
        let mut loaded = None;
        let mut is_stale = false;
        // What transactions there were is to be seen from before the first segment whose index is built again.
        let newest = self.transactions_from.unwrap_or(i64::MAX);
        for offset in listing.snapshots.iter().rev().copied() {
            let path = offset_file(&self.at, offset, SNAPSHOT_SUFFIX);
            // Behind a hole a snapshot knows of batches that a power cut took.
            let trusted = self.first_hole.is_none_or(|hole| offset <= hole)
                || mutant::is_active("believe-snapshots-behind-a-hole");
            let usable = trusted && offset <= state.log_end_offset && offset >= state.log_start_offset;
            if loaded.is_none() && usable && offset <= newest {
                match self.directory.env.disk.read(&path, MAX_SNAPSHOT_BYTES) {
                    Ok(bytes) => match producer_snapshot::decode(&bytes) {
                        Ok(producers) => {
                            state.producers = producers;
                            loaded = Some(offset);
                            continue;
                        }
                        Err(reason) => tracing::warn!("{}: {reason}; removing it", path.display()),
                    },
                    Err(error) => return Err(StorageError::io("reading", &path, &error)),
                }
                self.remove(&path)?;
            } else if !usable || !state.begins_segment(offset) {
                // Kafka keeps those of segment boundaries and the newest.
                self.remove(&path)?;
                is_stale |= offset > state.log_end_offset || !trusted;
            }
        }
        if is_stale {
            // It must not come back when the log has grown past it with other batches.
            self.sync_names()?;
        }
        let replay_from = loaded.unwrap_or(state.log_start_offset);
        state.snapshot_offset = loaded.unwrap_or(state.log_start_offset);
        let mut found = FoundTransactions::default();
        if replay_from < state.log_end_offset {
            let mut producers = std::mem::take(&mut state.producers);
            found = self.replay_producers(state, &mut producers, replay_from, i64::MAX)?;
            state.producers = producers;
        }
        if let Some(from) = self.transactions_from.take() {
            self.write_transaction_indexes(state, from, &found)?;
            self.changed = true;
        }
        let expiration_ms = (self.options.producer_state)().expiration_ms;
        state.producers.remove_expired(self.now_ms, expiration_ms);
        state.producers.on_high_watermark(state.high_watermark.offset);
        Ok(())
    }

    /// Takes over the producers of all batches from an offset on; gives the transactions that were aborted.
    pub(super) fn replay_producers(
        &self,
        state: &LogState,
        producers: &mut ProducerState,
        from: i64,
        before: i64,
    ) -> StorageResult<FoundTransactions> {
        let topic_partition = &self.options.topic_partition;
        let terms = AppendTerms::new(0, AppendOrigin::Replication, self.now_ms);
        let mut found = FoundTransactions::default();
        self.scan_headers(state, from, before, |header, log, position| {
            if !header.has_producer_id() {
                return Ok(());
            }
            let marker = if header.is_control() {
                let mut batch = vec![0; header.size_in_bytes()];
                log.read_exact_at(&mut batch, position)
                    .map_err(|error| StorageError::io("reading", &self.at, &error))?;
                parse_marker(&batch).unwrap_or_else(|reason| {
                    tracing::warn!("{}: control batch at {position}: {reason}", self.at.display());
                    None
                })
            } else {
                None
            };
            let update = producers.check(topic_partition, header, marker, &terms, &self.options.producer_state)?;
            if let Some(completed) = producers.apply(header, update) {
                found.note(&completed, producers);
            }
            Ok(())
        })?;
        Ok(found)
    }
}
