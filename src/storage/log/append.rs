//! Appending, and rolling to a new segment.

use std::sync::Arc;

use bytes::Bytes;

use super::flush::UnflushedBytes;
use super::{FlushTicket, Log, LogState};
use crate::config::LogConfig;
use crate::record::{BatchHeader, TimestampType, ValidatedBatch, control_record_type};
use crate::record::{ControlRecordType, end_transaction_marker_coordinator_epoch, records};
use crate::storage::file_names::{SNAPSHOT_SUFFIX, offset_file};
use crate::storage::producer_state::{CompletedTransaction, MarkerRecord};
use crate::storage::segment::ActiveSegment;
use crate::storage::segment_files::SegmentFileKind;
use crate::storage::transaction_index::AbortedEntry;
use crate::storage::{StorageError, StorageResult, producer_snapshot};
use crate::types::{NO_TIMESTAMP, TransactionVersion, VerificationGuard};

/// Markers are tiny; a control batch that unpacks to more is not one.
const CONTROL_BATCH_LIMIT: usize = 64 << 10;

/// Who appends (`AppendOrigin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A client: everything is checked.
    Client,
    /// A coordinator or another part of this broker: producers' sequences are not checked.
    Coordinator,
    /// The leader: what it accepted is taken.
    Replication,
}

/// What beside the batch itself decides how it is appended.
#[derive(Clone, Copy, Debug)]
pub struct AppendTerms {
    /// The epoch of the leader that appends.
    pub leader_epoch: i32,
    /// Who appends.
    pub origin: AppendOrigin,
    /// The wall clock in milliseconds.
    pub now_ms: i64,
    /// What [`Log::maybe_start_transaction_verification`] gave for this write, once it was verified.
    pub guard: VerificationGuard,
    /// Of a marker: which epochs it may have. It is not written down, so that replicas cannot check it again.
    pub transaction_version: TransactionVersion,
    /// No other replica is in sync: what is written is committed, and the high watermark moves with the log's end.
    pub commits: bool,
}

impl AppendTerms {
    /// Those of a batch that is no part of a transaction's protocol.
    pub fn new(leader_epoch: i32, origin: AppendOrigin, now_ms: i64) -> Self {
        let (guard, transaction_version) = (VerificationGuard::NONE, TransactionVersion::Tv0);
        Self { leader_epoch, origin, now_ms, guard, transaction_version, commits: false }
    }
}

/// What an append did.
#[derive(Debug)]
pub struct LogAppendInfo {
    /// Offset of the first record; of a repeated batch, the one it got the first time.
    pub first_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The broker's time, if the topic uses LogAppendTime (or the repeated batch's timestamp); otherwise -1.
    pub log_append_time: i64,
    /// The log's first offset.
    pub log_start_offset: i64,
    /// The log's next offset.
    pub log_end_offset: i64,
    /// What is committed.
    pub high_watermark: i64,
    /// The batch was there already and was not appended again.
    pub duplicate: bool,
    /// Set when `flush.messages` or `ottla.flush.max.unflushed.bytes` ask for a sync now: the answer must wait for it.
    pub flush: Option<FlushTicket>,
}

impl Log {
    /// Appends one validated batch at the end of the log; base offset and leader epoch are put into its header.
    ///
    /// Fails for sequences and epochs that producers may not use, batches larger than a segment, a closed log, and when the log
    /// directory is offline or goes offline by this write.
    pub fn append_as_leader(
        self: &Arc<Self>,
        batch: ValidatedBatch,
        terms: &AppendTerms,
    ) -> StorageResult<LogAppendInfo> {
        let AppendTerms { leader_epoch, origin, .. } = *terms;
        let ValidatedBatch { mut header, body } = batch;
        let marker = self.marker_of(&header, &body)?;
        let (rolled, flush_due, unflushed_bytes);
        let mut info = {
            let mut state = self.lock();
            self.check_usable(&state)?;
            if origin == AppendOrigin::Client
                && header.has_producer_id()
                && let Some(duplicate) = state.producers.find_duplicate(&header)
            {
                self.commit(&mut state, terms);
                return Ok(LogAppendInfo {
                    first_offset: duplicate.first_offset(),
                    last_offset: duplicate.last_offset,
                    log_append_time: duplicate.timestamp,
                    log_start_offset: state.log_start_offset,
                    log_end_offset: state.log_end_offset,
                    high_watermark: state.high_watermark.offset,
                    duplicate: true,
                    flush: None,
                });
            }
            if origin == AppendOrigin::Client {
                self.directory.check_room(header.size_in_bytes() as u64)?;
            }
            header.base_offset = state.log_end_offset;
            header.partition_leader_epoch = leader_epoch;
            rolled = self.append_locked(&mut state, &header, &body, marker, terms)?;
            let unflushed = state.log_end_offset - state.recovery_point;
            flush_due = unflushed >= state.config.flush_messages;
            unflushed_bytes = self.note_unflushed(&mut state, header.size_in_bytes() as u64);
            // A write that another thread's failure has overtaken is no success (KAFKA-10778).
            self.directory.check_online()?;
            self.commit(&mut state, terms);
            LogAppendInfo {
                first_offset: header.base_offset,
                last_offset: header.last_offset(),
                log_append_time: log_append_time(&header),
                log_start_offset: state.log_start_offset,
                log_end_offset: state.log_end_offset,
                high_watermark: state.high_watermark.offset,
                duplicate: false,
                flush: None,
            }
        };
        if flush_due || unflushed_bytes == UnflushedBytes::TooMany {
            info.flush = Some(self.flush_ticket(info.log_end_offset));
        } else if rolled || unflushed_bytes == UnflushedBytes::Many {
            self.flush_in_background();
        }
        Ok(info)
    }

    /// Moves the high watermark to the log's end where nobody else has to have it.
    fn commit(&self, state: &mut LogState, terms: &AppendTerms) {
        if terms.commits && state.high_watermark.offset < state.log_end_offset {
            state.set_high_watermark(state.log_end_offset);
            self.directory.note_change();
        }
    }

    /// Appends one whole batch that this broker built (`record::BatchBuilder`), as [`Log::append_as_leader`].
    pub fn append_records(
        self: &Arc<Self>,
        batch: Bytes,
        leader_epoch: i32,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> StorageResult<LogAppendInfo> {
        let batch = ValidatedBatch::from_trusted(batch).map_err(|error| self.corrupt(error.to_string()))?;
        self.append_as_leader(batch, &AppendTerms::new(leader_epoch, origin, now_ms))
    }

    /// Begins the verification of a transaction's first write here (`maybeStartTransactionVerification`, KIP-890): the guard that the
    /// write must bring once the coordinator has said that the partition belongs to the transaction. None when the transaction of
    /// this epoch has begun here already. Fails for an epoch that is older than the last one seen.
    pub fn maybe_start_transaction_verification(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        supports_epoch_bump: bool,
    ) -> StorageResult<VerificationGuard> {
        let now_ms = self.directory.env.clock.wall_millis();
        let mut state = self.lock();
        self.check_usable(&state)?;
        let producers = &mut state.producers;
        producers.maybe_start_verification(producer_id, producer_epoch, base_sequence, supports_epoch_bump, now_ms)
    }

    /// As a client does whose transaction the coordinator knows to have this partition.
    #[cfg(test)]
    pub(crate) fn append_verified(
        self: &Arc<Self>,
        batch: Bytes,
        leader_epoch: i32,
        now_ms: i64,
    ) -> StorageResult<LogAppendInfo> {
        let batch = ValidatedBatch::from_trusted(batch).map_err(|error| self.corrupt(error.to_string()))?;
        let BatchHeader { producer_id, producer_epoch, base_sequence, .. } = batch.header;
        let mut terms = AppendTerms::new(leader_epoch, AppendOrigin::Client, now_ms);
        if batch.header.is_transactional() {
            terms.guard =
                self.maybe_start_transaction_verification(producer_id, producer_epoch, base_sequence, false)?;
        }
        self.append_as_leader(batch, &terms)
    }

    /// Returns whether a new segment was begun.
    fn append_locked(
        &self,
        state: &mut LogState,
        header: &BatchHeader,
        body: &[u8],
        marker: Option<MarkerRecord>,
        terms: &AppendTerms,
    ) -> StorageResult<bool> {
        let size = header.size_in_bytes();
        let segment_bytes = segment_bytes(&state.config);
        if size as u64 > segment_bytes {
            return Err(StorageError::RecordBatchTooLarge { size, segment_bytes });
        }
        let update = state.producers.check(&self.topic_partition, header, marker, terms, &self.producer_state)?;
        let rolls = self.should_roll(state, header, terms.now_ms)?;
        if rolls {
            self.roll_locked(state, terms.now_ms)?;
        }
        self.assign_epoch(state, header.partition_leader_epoch, header.base_offset)?;
        let index_interval_bytes = index_interval_bytes(&state.config);
        // Before the marker: of a transaction whose end is in the log, readers are told how it ended, whatever the disk has room for.
        let aborted = aborted_entry(state, header, marker);
        if let Some(entry) = aborted {
            self.append_aborted(state, entry)?;
        }
        if let Err(error) = state.active.append(header, body, index_interval_bytes) {
            if aborted.is_some() {
                state.active.take_back_aborted().map_err(|error| {
                    let path = state.active.files.path_of(SegmentFileKind::TransactionIndex);
                    self.directory.take_offline(format!("cutting {}: {error}", path.display()))
                })?;
            }
            return Err(state.active.files.write_error(SegmentFileKind::Log, &error));
        }
        state.log_end_offset = header.next_offset();
        state.producers.apply(header, update);
        self.directory.note_change();
        if state.active.offset_index.wants_write()
            && let Err(error) = state.active.write_indexes()
        {
            // The batch is written; a cache that cannot be, because no more files can be opened, is written later.
            self.directory.fail("writing", &state.active.files.path_of(SegmentFileKind::OffsetIndex), &error);
            self.directory.check_online()?;
        }
        Ok(rolls)
    }

    /// Writes an entry of the transaction index, creating that with the first abort.
    fn append_aborted(&self, state: &mut LogState, entry: AbortedEntry) -> StorageResult<()> {
        let active = &mut state.active;
        let is_first = active.aborted_entries == 0;
        let written = active.append_aborted(entry);
        written.map_err(|error| active.files.write_error(SegmentFileKind::TransactionIndex, &error))?;
        state.flush.directory_unsynced |= is_first;
        Ok(())
    }

    /// `LogSegment.shouldRoll`.
    fn should_roll(&self, state: &mut LogState, header: &BatchHeader, now_ms: i64) -> StorageResult<bool> {
        let active = &mut state.active;
        let config = &state.config;
        if active.size + header.size_in_bytes() as u64 > segment_bytes(config)
            || !active.can_hold(header.last_offset())
            || active.offset_index.len() >= max_entries(config, 8)
            // The last place is for the entry that ends the segment.
            || active.time_index.len() + 1 >= max_entries(config, 12)
        {
            return Ok(true);
        }
        if active.size == 0 {
            return Ok(false);
        }
        let first = active
            .first_timestamp()
            .map_err(|error| active.files.read_error(SegmentFileKind::Log, &error))?
            .unwrap_or(NO_TIMESTAMP);
        // Measured between timestamps of records; by the clock only if the segment has none.
        let waited_ms = if first >= 0 {
            header.max_timestamp.saturating_sub(first)
        } else {
            now_ms.saturating_sub(active.created_ms)
        };
        Ok(waited_ms > config.segment_ms.saturating_sub(jitter_ms(config, active.base_offset())))
    }

    /// Ends the active segment: producer snapshot, indexes; the next segment begins at the end of the log.
    pub(in crate::storage) fn roll_locked(&self, state: &mut LogState, now_ms: i64) -> StorageResult<()> {
        let offset = state.log_end_offset;
        if state.active.size == 0 && state.active.base_offset() == offset {
            // An empty segment may be full by its settings; a new one of the same name would be no other.
            return Ok(());
        }
        self.take_producer_snapshot(state)?;
        let files = state.active.files.sibling(offset);
        let next = ActiveSegment::create(files.clone(), now_ms, preallocated_bytes(&state.config));
        if let Err(error) = next.and_then(|next| state.roll(next)) {
            // The segment goes on beyond that offset: no start may find another one there.
            files.close();
            let _ = self.directory.env.disk.remove_file(&files.path_of(SegmentFileKind::Log));
            return Err(files.write_error(SegmentFileKind::Log, &error));
        }
        state.flush.directory_unsynced = true;
        tracing::info!("[UnifiedLog partition={}] Rolled new log segment at offset {offset}", self.topic_partition);
        Ok(())
    }

    /// Writes the producers' state as of the end of the log, unless that snapshot is there already.
    pub(in crate::storage) fn take_producer_snapshot(&self, state: &mut LogState) -> StorageResult<()> {
        let offset = state.log_end_offset;
        if offset <= state.snapshot_offset {
            return Ok(());
        }
        let path = offset_file(&self.path.get(), offset, SNAPSHOT_SUFFIX);
        let bytes = producer_snapshot::encode(&state.producers);
        let disk = &self.directory.env.disk;
        // Not synced: it carries a checksum, and the log rebuilds it.
        let written = disk.open(&path, crate::env::OpenMode::Truncate).and_then(|file| file.write_all_at(&bytes, 0));
        if let Err(error) = written {
            let _ = disk.remove_file(&path);
            return Err(self.directory.fail("writing", &path, &error));
        }
        state.snapshot_offset = offset;
        Ok(())
    }

    fn marker_of(&self, header: &BatchHeader, body: &[u8]) -> StorageResult<Option<MarkerRecord>> {
        if !header.is_control() || !header.has_producer_id() {
            return Ok(None);
        }
        let mut batch = header.encode().to_vec();
        batch.extend_from_slice(body);
        parse_marker(&batch).map_err(|message| self.corrupt(message))
    }

    pub(in crate::storage) fn corrupt(&self, message: String) -> StorageError {
        StorageError::Corrupt { topic_partition: self.topic_partition.clone(), message }
    }
}

/// The entry that a marker adds to the transaction index: what its producer has open here is aborted.
fn aborted_entry(state: &LogState, header: &BatchHeader, marker: Option<MarkerRecord>) -> Option<AbortedEntry> {
    marker.filter(|marker| !marker.committed)?;
    let (producer_id, last_offset) = (header.producer_id, header.last_offset());
    let first_offset = state.producers.open_transaction(producer_id)?;
    let completed = CompletedTransaction { producer_id, first_offset, last_offset, aborted: true };
    let last_stable_offset = state.producers.last_stable_offset_after(&completed);
    Some(AbortedEntry::new(producer_id, first_offset, last_offset, last_stable_offset))
}

/// The marker in a control batch; `None` for control batches that end no transaction.
pub(in crate::storage) fn parse_marker(batch: &[u8]) -> Result<Option<MarkerRecord>, String> {
    let records = records(batch, CONTROL_BATCH_LIMIT).map_err(|error| error.to_string())?;
    let Some(record) = records.iter().next() else { return Ok(None) };
    let record = record.map_err(|error| error.to_string())?;
    let Some(coordinator_epoch) = end_transaction_marker_coordinator_epoch(&record) else { return Ok(None) };
    let committed = record.key.and_then(control_record_type) == Some(ControlRecordType::Commit);
    Ok(Some(MarkerRecord { committed, coordinator_epoch }))
}

fn log_append_time(header: &BatchHeader) -> i64 {
    match header.timestamp_type() {
        TimestampType::LogAppendTime => header.max_timestamp,
        TimestampType::CreateTime => NO_TIMESTAMP,
    }
}

fn segment_bytes(config: &LogConfig) -> u64 {
    u64::try_from(config.segment_bytes).unwrap_or(0)
}

/// How long the file of a new segment is made; 0 without `preallocate`.
pub(in crate::storage) fn preallocated_bytes(config: &LogConfig) -> u64 {
    if config.preallocate { segment_bytes(config) } else { 0 }
}

pub(in crate::storage) fn index_interval_bytes(config: &LogConfig) -> u64 {
    u64::try_from(config.index_interval_bytes).unwrap_or(0)
}

fn max_entries(config: &LogConfig, entry_bytes: usize) -> usize {
    (usize::try_from(config.segment_index_bytes).unwrap_or(0) / entry_bytes).max(1)
}

/// A part of `segment.jitter.ms` that is the same for a segment whenever it is asked for.
fn jitter_ms(config: &LogConfig, base_offset: i64) -> i64 {
    let bound = config.segment_jitter_ms.min(config.segment_ms);
    if bound <= 0 {
        return 0;
    }
    ((base_offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1) as i64 % bound
}
