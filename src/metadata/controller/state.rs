//! The controller's only mutable state: the log, its epoch, who listens, and when the next snapshot is due.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::super::batches::encode_batch;
use super::super::bootstrap;
use super::super::delta::MetadataDelta;
use super::super::error::MetadataError;
use super::super::image::{MetadataImage, Provenance};
use super::super::kraft::KRaftState;
use super::super::load::load;
use super::super::log::MetadataLog;
use super::super::publisher::MetadataPublisher;
use super::super::quorum_state;
use super::super::records::MetadataRecord;
use super::super::snapshot;
use super::{ControllerOptions, SnapshotOptions};
use crate::env::{Disk, Env};
use crate::record::leader_change_batch;
use crate::wire::records::metadata::AbortTransactionRecord;

/// The most bytes of one batch of records (`KafkaRaftClient.MAX_BATCH_SIZE_BYTES`).
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// A log that has grown by less since the last snapshot is replayed faster than a snapshot is worth.
const CLOSING_SNAPSHOT_BYTES: u64 = 64 * 1024;

/// Whether a change must be durable before the command goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// It is: someone is told of it.
    Flushed,
    /// It becomes durable with the next change that is flushed, before anyone hears of either.
    WithNext,
}

pub(super) struct State {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    snapshots: SnapshotOptions,
    log: Box<dyn MetadataLog>,
    /// The epoch of this life: one more than that of the last batch and of the last election.
    leader_epoch: i32,
    kraft: KRaftState,
    ends_in_transaction: bool,
    publishers: Vec<Arc<dyn MetadataPublisher>>,
    /// Bytes of batches since the last snapshot, and the size of that snapshot.
    bytes_since_snapshot: u64,
    last_snapshot_bytes: u64,
    /// Batches were appended since the last flush.
    has_unflushed: bool,
    /// When the first record since the last snapshot was written or found, in milliseconds; -1 when there is none.
    changed_since_millis: i64,
    /// False from before a write until after it is published, so that neither an error nor a panic in between leaves a
    /// controller that goes on from half a change.
    is_consistent: bool,
}

impl State {
    /// Reads the newest valid snapshot, then the log behind it.
    pub(super) fn load(
        env: &Env,
        options: &ControllerOptions,
        log: Box<dyn MetadataLog>,
    ) -> Result<(Self, MetadataImage), MetadataError> {
        let loaded = load(&*env.disk, &options.directory, &*log)?;
        let elected = quorum_state::read(&*env.disk, &options.directory).unwrap_or_else(|reason| {
            warn!("The epoch of the metadata log's leader is taken from the log alone: {reason}");
            None
        });
        let last_epoch = loaded
            .leader_epoch
            .max(loaded.image.provenance.last_contained_epoch)
            .max(elected.map_or(0, |elected| elected.leader_epoch));
        let leader_epoch = last_epoch.checked_add(1).ok_or_else(|| MetadataError::Corrupt {
            path: options.directory.clone(),
            position: 0,
            reason: format!("there is no leader epoch behind {last_epoch}"),
        })?;
        let state = Self {
            disk: env.disk.clone(),
            directory: options.directory.clone(),
            snapshots: options.snapshots,
            log,
            leader_epoch,
            kraft: loaded.kraft,
            ends_in_transaction: loaded.ends_in_transaction,
            publishers: Vec::new(),
            bytes_since_snapshot: loaded.bytes_since_snapshot,
            last_snapshot_bytes: loaded.snapshot_bytes,
            has_unflushed: false,
            changed_since_millis: if loaded.bytes_since_snapshot > 0 { env.clock.wall_millis() } else { -1 },
            is_consistent: true,
        };
        Ok((state, loaded.image))
    }

    /// Begins this life's epoch: on disk before any batch carries it, so that no later life can take it again
    /// (`LeaderState.appendStartOfEpochControlRecords`).
    pub(super) fn begin_epoch(&mut self, now: i64, node_id: i32) -> Result<(), MetadataError> {
        quorum_state::write(&*self.disk, &self.directory, node_id, self.leader_epoch, self.kraft.version())?;
        let voters = [node_id];
        let batch = leader_change_batch(self.log.end_offset(), self.leader_epoch, now, node_id, &voters, &voters);
        self.append(batch, now, Durability::WithNext)?;
        if std::mem::take(&mut self.ends_in_transaction) {
            let aborted = AbortTransactionRecord { reason: Some("failover".into()) };
            let batch = encode_batch(&[aborted.into()], self.log.end_offset(), self.leader_epoch, now)?;
            self.append(batch, now, Durability::WithNext)?;
        }
        Ok(())
    }

    /// The records that `bootstrap.checkpoint` gives a new cluster; without such a file, or with one that a power cut
    /// left empty or torn, it is written with `ours`.
    pub(super) fn bootstrap_records(
        &self,
        ours: Vec<MetadataRecord>,
        now: i64,
    ) -> Result<Vec<MetadataRecord>, MetadataError> {
        let log_directory = self.directory.parent().unwrap_or(&self.directory);
        match bootstrap::read(&*self.disk, log_directory) {
            Ok(Some(records)) => return Ok(records),
            Ok(None) => {}
            Err(MetadataError::Corrupt { path, reason, .. }) => {
                warn!("{} is written anew: {reason}", path.display());
            }
            Err(error) => return Err(error),
        }
        bootstrap::write(&*self.disk, log_directory, &ours, now)?;
        Ok(ours)
    }

    pub(super) fn end_offset(&self) -> i64 {
        self.log.end_offset()
    }

    pub(super) fn subscribe(&mut self, publisher: Arc<dyn MetadataPublisher>, image: &Arc<MetadataImage>) {
        publisher.on_metadata_update(&MetadataDelta::from_nothing(image), image);
        self.publishers.push(publisher);
    }

    fn append(&mut self, batch: bytes::Bytes, now: i64, durability: Durability) -> Result<(), MetadataError> {
        if !self.is_consistent {
            return Err(MetadataError::Offline);
        }
        self.is_consistent = false;
        let length = batch.len() as u64;
        let mut outcome = self.log.append(batch, self.leader_epoch);
        // Nothing was written then, and the log is as it was.
        self.is_consistent = matches!(outcome, Err(MetadataError::DiskFull(_)));
        self.has_unflushed |= !self.is_consistent;
        if outcome.is_ok() && durability == Durability::Flushed {
            outcome = self.flush();
        }
        if let Err(error) = outcome {
            match self.is_consistent {
                true => warn!("A change of the metadata was refused: {error}"),
                false => error!("The metadata log failed, no further change is possible: {error}"),
            }
            return Err(error);
        }
        self.bytes_since_snapshot += length;
        if self.changed_since_millis < 0 {
            self.changed_since_millis = now;
        }
        self.is_consistent = true;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MetadataError> {
        self.log.flush()?;
        self.has_unflushed = false;
        Ok(())
    }

    /// Appends the records as one batch, replays them and shows the next image to the publishers.
    pub(super) fn commit(
        &mut self,
        image: &Arc<MetadataImage>,
        records: &[MetadataRecord],
        now: i64,
        durability: Durability,
    ) -> Result<Arc<MetadataImage>, MetadataError> {
        let base_offset = self.log.end_offset();
        let batch = encode_batch(records, base_offset, self.leader_epoch, now)?;
        if batch.len() > MAX_BATCH_BYTES {
            return Err(MetadataError::TooLarge);
        }
        // Replaying before writing: what cannot be replayed must not get into the log, where no start would get past it.
        let mut delta = MetadataDelta::new(image.clone());
        for record in records {
            delta.replay(record).map_err(MetadataError::Unencodable)?;
        }
        let next = Arc::new(delta.apply(Provenance {
            last_contained_offset: base_offset + records.len() as i64 - 1,
            last_contained_epoch: self.leader_epoch,
            last_contained_timestamp: now,
        }));
        self.append(batch, now, durability)?;
        self.is_consistent = false;
        for publisher in &self.publishers {
            publisher.on_metadata_update(&delta, &next);
        }
        self.is_consistent = true;
        Ok(next)
    }

    /// From now on nobody hears of changes.
    pub(super) fn forget_publishers(&mut self) {
        self.publishers.clear();
    }

    /// Writes a snapshot when the log has grown enough, or has held something new for long enough. A snapshot that fails
    /// is no more than a longer next start.
    pub(super) fn snapshot_if_due(&mut self, image: &MetadataImage, now: i64) {
        let by_bytes = self.bytes_since_snapshot >= self.snapshots.bytes.max(self.last_snapshot_bytes);
        let by_time = self.snapshots.interval_millis > 0
            && self.changed_since_millis >= 0
            && now.saturating_sub(self.changed_since_millis) >= self.snapshots.interval_millis;
        if self.is_consistent
            && (by_bytes || by_time)
            && let Err(error) = self.write_snapshot(image, now)
        {
            warn!("Cannot write a metadata snapshot: {error}");
        }
    }

    fn write_snapshot(&mut self, image: &MetadataImage, now: i64) -> Result<(), MetadataError> {
        // Never ahead of the log: after a power cut, no start would know what to do with a snapshot of more than there is.
        if self.has_unflushed {
            let was_consistent = std::mem::replace(&mut self.is_consistent, false);
            self.flush()?;
            self.is_consistent = was_consistent;
        }
        // Whatever comes of it: the next attempt waits for as much again.
        self.bytes_since_snapshot = 0;
        self.changed_since_millis = -1;
        let (id, bytes) = snapshot::write(&*self.disk, &self.directory, image, &self.kraft, now)?;
        self.last_snapshot_bytes = bytes;
        info!("Wrote the metadata snapshot at offset {} ({bytes} bytes)", id.end_offset);
        let (retention, log_bytes) = (self.snapshots.retention, self.log.size_in_bytes());
        let needed_from = snapshot::remove_old(&*self.disk, &self.directory, retention, log_bytes, now)?;
        self.log.trim_before(needed_from)
    }

    /// Ends in order. When what a start would replay is more than what a snapshot would hold, it gets a snapshot.
    pub(super) fn close(&mut self, image: &MetadataImage, now: i64) -> Result<(), MetadataError> {
        let was_consistent = std::mem::replace(&mut self.is_consistent, false);
        if !was_consistent {
            return Ok(());
        }
        if self.bytes_since_snapshot >= CLOSING_SNAPSHOT_BYTES.max(self.last_snapshot_bytes)
            && let Err(error) = self.write_snapshot(image, now)
        {
            warn!("Cannot write a metadata snapshot: {error}");
        }
        self.log.close()
    }
}
