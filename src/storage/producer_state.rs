//! What the log knows of idempotent and transactional producers (`ProducerStateManager`, `ProducerStateEntry`,
//! `ProducerAppendInfo`). It is decided under the log's lock and changed only by batches that were written.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::log::AppendTerms;
use super::transaction_verification::{Verification, Verifications, comes_before};
use super::{AppendOrigin, StorageError, StorageResult};
use crate::mutant;
use crate::record::BatchHeader;
use crate::types::{TopicPartition, TransactionVersion, VerificationGuard};

/// Batches remembered of each producer (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub(super) const BATCHES_RETAINED: usize = 5;
/// How much later than its timeout a transaction may end before it counts as late (`LATE_TRANSACTION_BUFFER_MS`).
const LATE_TRANSACTION_BUFFER_MS: i64 = 5 * 60 * 1000;
pub(super) const NO_SEQUENCE: i32 = -1;
pub(super) const NO_EPOCH: i16 = -1;

/// One remembered batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProducerBatch {
    pub(super) last_sequence: i32,
    pub(super) last_offset: i64,
    pub(super) offset_delta: i32,
    pub(super) timestamp: i64,
}

impl ProducerBatch {
    pub(super) fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }

    /// Sequences wrap from `i32::MAX` to 0 (`DefaultRecordBatch.decrementSequence`).
    fn first_sequence(&self) -> i32 {
        let first = i64::from(self.last_sequence) - i64::from(self.offset_delta);
        if first < 0 { (first + i64::from(i32::MAX) + 1) as i32 } else { first as i32 }
    }
}

/// The state of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProducerEntry {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) coordinator_epoch: i32,
    pub(super) last_timestamp: i64,
    pub(super) transaction_first_offset: Option<i64>,
    batches: [ProducerBatch; BATCHES_RETAINED],
    batch_count: u8,
}

impl ProducerEntry {
    pub(super) fn new(producer_id: i64) -> Self {
        Self {
            producer_id,
            epoch: NO_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: -1,
            transaction_first_offset: None,
            batches: [ProducerBatch::default(); BATCHES_RETAINED],
            batch_count: 0,
        }
    }

    pub(super) fn batches(&self) -> &[ProducerBatch] {
        &self.batches[..usize::from(self.batch_count)]
    }

    pub(super) fn last_sequence(&self) -> i32 {
        self.batches().last().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    pub(super) fn last_offset(&self) -> i64 {
        self.batches().last().map_or(-1, |batch| batch.last_offset)
    }

    /// Whether a transaction of this epoch has begun and not ended (`hasOngoingTransaction`).
    fn is_in_transaction(&self, epoch: i16) -> bool {
        self.transaction_first_offset.is_some() && self.epoch == epoch
    }

    /// A new epoch empties the window.
    pub(super) fn set_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.batch_count = 0;
            self.epoch = epoch;
        }
    }

    pub(super) fn add_batch(&mut self, batch: ProducerBatch) {
        if usize::from(self.batch_count) == BATCHES_RETAINED {
            self.batches.rotate_left(1);
            self.batch_count -= 1;
        }
        self.batches[usize::from(self.batch_count)] = batch;
        self.batch_count += 1;
        self.last_timestamp = batch.timestamp;
    }

    fn find_duplicate(&self, header: &BatchHeader) -> Option<ProducerBatch> {
        if self.epoch != header.producer_epoch {
            return None;
        }
        let (first, last) = (header.base_sequence, header.last_sequence());
        let known = if mutant::is_active("drop-the-five-batch-window") { 1 } else { BATCHES_RETAINED };
        let mut newest = self.batches().iter().rev().take(known);
        newest.find(|batch| batch.first_sequence() == first && batch.last_sequence == last).copied()
    }
}

/// How the producers of a log are kept (`ProducerStateManagerConfig`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStateConfig {
    /// After so many milliseconds without a write a producer is forgotten (`producer.id.expiration.ms`).
    pub expiration_ms: i64,
    /// Whether the first write of a transaction needs the guard of its verification (`transaction.partition.verification.enable`).
    pub transaction_verification: bool,
    /// The longest that a transaction may stay open (`transaction.max.timeout.ms`).
    pub max_transaction_timeout_ms: i64,
}

impl Default for ProducerStateConfig {
    fn default() -> Self {
        Self { expiration_ms: 86_400_000, transaction_verification: true, max_transaction_timeout_ms: 900_000 }
    }
}

/// Where a log asks for it, whenever it needs it: both values may be changed at run time.
pub type ProducerStateConfigSource = Arc<dyn Fn() -> ProducerStateConfig + Send + Sync>;

/// What DescribeProducers tells of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// The sequence number of its last record; -1 if none.
    pub last_sequence: i32,
    /// The timestamp of its last batch in milliseconds since 1970.
    pub last_timestamp: i64,
    /// The epoch of the transaction coordinator that wrote its last marker; -1 if none.
    pub coordinator_epoch: i32,
    /// The first offset of its open transaction; -1 if none.
    pub current_transaction_start_offset: i64,
}

/// What the control record of a transaction's end says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MarkerRecord {
    pub(super) committed: bool,
    pub(super) coordinator_epoch: i32,
}

/// A transaction that ended, for the transaction index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CompletedTransaction {
    pub(super) producer_id: i64,
    pub(super) first_offset: i64,
    pub(super) last_offset: i64,
    pub(super) aborted: bool,
}

/// What a batch changes once it is written.
#[derive(Debug)]
pub(super) enum ProducerUpdate {
    /// The batch names no producer.
    None,
    /// The producer's state after the batch; offsets are filled in by [`ProducerState::apply`].
    Data { transactional: bool },
    /// The batch ends a transaction.
    Marker(MarkerRecord),
}

/// The producers of one log.
#[derive(Debug, Default)]
pub(super) struct ProducerState {
    producers: HashMap<i64, ProducerEntry>,
    /// First offset → producer id, of open transactions.
    ongoing: BTreeMap<i64, i64>,
    /// First offset → last offset, of ended transactions whose marker is not below the high watermark.
    unreplicated: BTreeMap<i64, i64>,
    verifications: Verifications,
}

impl ProducerState {
    pub(super) fn entries(&self) -> impl Iterator<Item = &ProducerEntry> {
        self.producers.values()
    }

    pub(super) fn load(&mut self, entry: ProducerEntry) {
        if let Some(first_offset) = entry.transaction_first_offset {
            self.ongoing.insert(first_offset, entry.producer_id);
        }
        self.producers.insert(entry.producer_id, entry);
    }

    /// The remembered batch that this one repeats.
    pub(super) fn find_duplicate(&self, header: &BatchHeader) -> Option<ProducerBatch> {
        self.producers.get(&header.producer_id)?.find_duplicate(header)
    }

    /// Whether the batch may be appended; changes nothing. `config` is asked only when it matters.
    pub(super) fn check(
        &self,
        topic_partition: &TopicPartition,
        header: &BatchHeader,
        marker: Option<MarkerRecord>,
        terms: &AppendTerms,
        config: &ProducerStateConfigSource,
    ) -> StorageResult<ProducerUpdate> {
        if !header.has_producer_id() {
            return Ok(ProducerUpdate::None);
        }
        let fresh = ProducerEntry::new(header.producer_id);
        let entry = self.producers.get(&header.producer_id).unwrap_or(&fresh);
        let is_replicated = terms.origin == AppendOrigin::Replication;
        if header.is_control() {
            let Some(marker) = marker else { return Ok(ProducerUpdate::None) };
            if !is_replicated {
                check_marker(topic_partition, entry, header, marker, terms.transaction_version)?;
            }
            return Ok(ProducerUpdate::Marker(marker));
        }
        let transactional = header.is_transactional();
        if is_replicated {
            return Ok(ProducerUpdate::Data { transactional });
        }
        let verification = self.verifications.get(header.producer_id);
        if transactional && !entry.is_in_transaction(header.producer_epoch) {
            // A stale epoch is told as such: its producer may recover from it.
            check_epoch(topic_partition, entry, header)?;
            let expected = verification.map_or(VerificationGuard::NONE, Verification::guard);
            let is_verified = terms.guard.verifies(expected)
                || mutant::is_active("no-verification-of-the-first-write")
                || (mutant::is_active("guard-of-an-earlier-transaction") && !terms.guard.is_none());
            if !is_verified && config().transaction_verification {
                return Err(StorageError::InvalidTransactionState(
                    "Record was not part of an ongoing transaction".to_owned(),
                ));
            }
        }
        check_epoch(topic_partition, entry, header)?;
        if terms.origin == AppendOrigin::Client {
            check_verified_sequence(topic_partition, entry, verification, header)?;
            check_sequence(topic_partition, entry, header)?;
        }
        if entry.transaction_first_offset.is_some() && !transactional {
            return Err(StorageError::InvalidTransactionState(format!(
                "Expected transactional write from producer {} in {topic_partition}",
                header.producer_id
            )));
        }
        Ok(ProducerUpdate::Data { transactional })
    }

    /// The guard that the first write of a transaction must bring, once the coordinator knows that the partition belongs to it; none
    /// for a write into a transaction that has begun here (`UnifiedLog.maybeStartTransactionVerification`).
    pub(super) fn maybe_start_verification(
        &mut self,
        producer_id: i64,
        epoch: i16,
        sequence: i32,
        supports_epoch_bump: bool,
        now_ms: i64,
    ) -> StorageResult<VerificationGuard> {
        if let Some(entry) = self.producers.get(&producer_id) {
            if epoch < entry.epoch {
                return Err(StorageError::InvalidProducerEpoch(format!(
                    "Epoch of producer {producer_id} is {epoch}, which is smaller than the last seen epoch {}",
                    entry.epoch
                )));
            }
            if entry.is_in_transaction(epoch) {
                return Ok(VerificationGuard::NONE);
            }
        }
        Ok(self.verifications.start(producer_id, epoch, sequence, supports_epoch_bump, now_ms))
    }

    /// Takes over a written batch; `header` has its final offsets. Returns the transaction that it ended.
    pub(super) fn apply(&mut self, header: &BatchHeader, update: ProducerUpdate) -> Option<CompletedTransaction> {
        let id = header.producer_id;
        self.verifications.on_append(header);
        match update {
            ProducerUpdate::None => None,
            ProducerUpdate::Data { transactional } => {
                let entry = self.producers.entry(id).or_insert_with(|| ProducerEntry::new(id));
                entry.set_epoch(header.producer_epoch);
                entry.add_batch(ProducerBatch {
                    last_sequence: header.last_sequence(),
                    last_offset: header.last_offset(),
                    offset_delta: header.last_offset_delta,
                    timestamp: header.max_timestamp,
                });
                if transactional && entry.transaction_first_offset.is_none() {
                    entry.transaction_first_offset = Some(header.base_offset);
                    self.ongoing.insert(header.base_offset, id);
                }
                None
            }
            ProducerUpdate::Marker(marker) => {
                let entry = self.producers.entry(id).or_insert_with(|| ProducerEntry::new(id));
                entry.set_epoch(header.producer_epoch);
                entry.coordinator_epoch = marker.coordinator_epoch;
                entry.last_timestamp = header.max_timestamp;
                let first_offset = entry.transaction_first_offset.take()?;
                self.ongoing.remove(&first_offset);
                self.unreplicated.insert(first_offset, header.last_offset());
                Some(CompletedTransaction {
                    producer_id: id,
                    first_offset,
                    last_offset: header.last_offset(),
                    aborted: !marker.committed,
                })
            }
        }
    }

    /// The first offset of a producer's open transaction.
    pub(super) fn open_transaction(&self, producer_id: i64) -> Option<i64> {
        self.producers.get(&producer_id)?.transaction_first_offset
    }

    /// The last stable offset once the marker of a transaction is replicated (`ProducerStateManager.lastStableOffset`).
    pub(super) fn last_stable_offset_after(&self, completed: &CompletedTransaction) -> i64 {
        let mut others = self.ongoing.iter().filter(|(_, producer_id)| **producer_id != completed.producer_id);
        others.next().map_or(completed.last_offset + 1, |(first, _)| *first)
    }

    /// The first offset of a transaction that is open, or whose marker is not replicated (`firstUnstableOffset`).
    pub(super) fn first_unstable_offset(&self) -> Option<i64> {
        let ongoing = self.ongoing.first_key_value().map(|(first, _)| *first);
        let unreplicated = self.unreplicated.first_key_value().map(|(first, _)| *first);
        match (ongoing, unreplicated) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, right) => left.or(right),
        }
    }

    pub(super) fn on_high_watermark(&mut self, high_watermark: i64) {
        if !self.unreplicated.is_empty() {
            self.unreplicated.retain(|_, last_offset| *last_offset >= high_watermark);
        }
    }

    /// Forgets ended transactions below the start of the log (`onLogStartOffsetIncremented`).
    pub(super) fn on_log_start_offset(&mut self, log_start_offset: i64) {
        if !self.unreplicated.is_empty() {
            self.unreplicated.retain(|_, last_offset| *last_offset >= log_start_offset);
        }
    }

    /// Whether the oldest open transaction was last written to so long ago that its coordinator should have ended it
    /// (`ProducerStateManager.hasLateTransaction`).
    pub(super) fn has_late_transaction(&self, now_ms: i64, max_transaction_timeout_ms: i64) -> bool {
        let oldest = self.ongoing.first_key_value().and_then(|(_, producer_id)| self.producers.get(producer_id));
        let limit_ms = max_transaction_timeout_ms.saturating_add(LATE_TRANSACTION_BUFFER_MS);
        oldest.is_some_and(|entry| entry.last_timestamp > 0 && now_ms.saturating_sub(entry.last_timestamp) > limit_ms)
    }

    pub(super) fn len(&self) -> usize {
        self.producers.len()
    }

    /// Forgets producers without open transaction that wrote nothing for so long (`producer.id.expiration.ms`).
    pub(super) fn remove_expired(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|_, entry| {
            entry.transaction_first_offset.is_some() || now_ms.saturating_sub(entry.last_timestamp) < expiration_ms
        });
        if self.producers.is_empty() {
            self.producers = HashMap::new();
        }
        self.verifications.remove_expired(now_ms, expiration_ms);
        before - self.producers.len()
    }

    pub(super) fn active_producers(&self) -> Vec<ActiveProducer> {
        let mut producers: Vec<ActiveProducer> = (self.producers.values())
            .map(|entry| ActiveProducer {
                producer_id: entry.producer_id,
                producer_epoch: i32::from(entry.epoch),
                last_sequence: entry.last_sequence(),
                last_timestamp: entry.last_timestamp,
                coordinator_epoch: entry.coordinator_epoch,
                current_transaction_start_offset: entry.transaction_first_offset.unwrap_or(-1),
            })
            .collect();
        producers.sort_by_key(|producer| producer.producer_id);
        producers
    }
}

fn check_epoch(topic_partition: &TopicPartition, entry: &ProducerEntry, header: &BatchHeader) -> StorageResult<()> {
    if header.producer_epoch < entry.epoch {
        return Err(StorageError::InvalidProducerEpoch(format!(
            "Epoch of producer {} at offset {} in {topic_partition} is {}, which is smaller than the last seen epoch {}",
            header.producer_id, header.base_offset, header.producer_epoch, entry.epoch
        )));
    }
    Ok(())
}

/// The rules for markers (`ProducerAppendInfo.appendEndTxnMarker`). A marker of KIP-890's second generation has a higher epoch than the
/// records that it ends. One of the same epoch is a repetition of it, if nothing is open; else it belongs to another transaction
/// (KAFKA-19999). The highest epoch there is cannot be raised: Kafka lets a marker have it.
fn check_marker(
    topic_partition: &TopicPartition,
    entry: &ProducerEntry,
    header: &BatchHeader,
    marker: MarkerRecord,
    version: TransactionVersion,
) -> StorageResult<()> {
    let is_repetition = header.producer_epoch == entry.epoch
        && (entry.transaction_first_offset.is_none() || header.producer_epoch == i16::MAX);
    let is_stale = header.producer_epoch <= entry.epoch && !is_repetition;
    if version.supports_epoch_bump() && is_stale && !mutant::is_active("marker-with-the-epoch-of-its-records") {
        return Err(StorageError::InvalidProducerEpoch(format!(
            "Epoch of producer {} in {topic_partition} is {}, which is <= the last seen epoch {} (TV{})",
            header.producer_id,
            header.producer_epoch,
            entry.epoch,
            version.level()
        )));
    }
    if !mutant::is_active("marker-with-an-old-epoch") {
        check_epoch(topic_partition, entry, header)?;
    }
    if entry.coordinator_epoch > marker.coordinator_epoch && !mutant::is_active("marker-of-an-old-coordinator") {
        return Err(StorageError::TransactionCoordinatorFenced(format!(
            "Invalid coordinator epoch for producerId {} in {topic_partition}: {} (zombie), {} (current)",
            header.producer_id, marker.coordinator_epoch, entry.coordinator_epoch
        )));
    }
    Ok(())
}

/// What a verification under way demands of a batch's sequence: nothing may come before the lowest that was tried, and a producer of
/// the second generation whose state is unknown here begins with 0.
fn check_verified_sequence(
    topic_partition: &TopicPartition,
    entry: &ProducerEntry,
    verification: Option<&Verification>,
    header: &BatchHeader,
) -> StorageResult<()> {
    let Some(verification) = verification else { return Ok(()) };
    let (producer_id, sequence) = (header.producer_id, header.base_sequence);
    if verification.supports_epoch_bump && sequence != 0 && entry.batches().is_empty() {
        return Err(StorageError::OutOfOrderSequence(format!(
            "Invalid sequence number for producer {producer_id} in partition {topic_partition}: {sequence} (incoming seq. number). \
             Expected sequence 0 for transactions v2 idempotent producer with no existing state."
        )));
    }
    if comes_before(verification.lowest_sequence, sequence) {
        return Err(StorageError::OutOfOrderSequence(format!(
            "Out of order sequence number for producer {producer_id} in partition {topic_partition}: {sequence} (incoming seq. \
             number), {} (earliest seen sequence)",
            verification.lowest_sequence
        )));
    }
    Ok(())
}

fn check_sequence(topic_partition: &TopicPartition, entry: &ProducerEntry, header: &BatchHeader) -> StorageResult<()> {
    let sequence = header.base_sequence;
    if header.producer_epoch != entry.epoch {
        if sequence != 0 && entry.epoch != NO_EPOCH {
            return Err(StorageError::OutOfOrderSequence(format!(
                "Invalid sequence number for new epoch of producer {} at offset {} in partition {topic_partition}: {} \
                 (request epoch), {sequence} (seq. number), {} (current producer epoch)",
                header.producer_id, header.base_offset, header.producer_epoch, entry.epoch
            )));
        }
        return Ok(());
    }
    let last = entry.last_sequence();
    let in_sequence = i64::from(sequence) == i64::from(last) + 1 || (sequence == 0 && last == i32::MAX);
    if !in_sequence {
        return Err(StorageError::OutOfOrderSequence(format!(
            "Out of order sequence number for producer {} at offset {} in partition {topic_partition}: {sequence} \
             (incoming seq. number), {last} (current end sequence number)",
            header.producer_id, header.base_offset
        )));
    }
    Ok(())
}
