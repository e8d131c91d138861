//! The controller's only mutable state: the log, its epoch, who listens, and when the next snapshot is due.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::super::batches::{decode_batch, encode_batch};
use super::super::delta::MetadataDelta;
use super::super::error::MetadataError;
use super::super::image::{MetadataImage, Provenance};
use super::super::log::MetadataLog;
use super::super::publisher::MetadataPublisher;
use super::super::records::MetadataRecord;
use super::super::snapshot;
use super::ControllerOptions;
use crate::env::{Disk, Env};
use crate::record::leader_change_batch;

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
    snapshot_bytes: u64,
    log: Box<dyn MetadataLog>,
    /// The epoch of this life: one more than that of the last batch.
    leader_epoch: i32,
    publishers: Vec<Arc<dyn MetadataPublisher>>,
    /// Bytes of batches since the last snapshot, and the size of that snapshot.
    bytes_since_snapshot: u64,
    last_snapshot_bytes: u64,
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
        let mut state = Self {
            disk: env.disk.clone(),
            directory: options.directory.clone(),
            snapshot_bytes: options.snapshot_bytes,
            log,
            leader_epoch: 0,
            publishers: Vec::new(),
            bytes_since_snapshot: 0,
            last_snapshot_bytes: 0,
            is_consistent: true,
        };
        let image = state.read_newest_snapshot()?;
        let image = state.replay_log(Arc::new(image))?;
        state.leader_epoch = state.leader_epoch.max(image.provenance.last_contained_epoch) + 1;
        Ok((state, image))
    }

    fn read_newest_snapshot(&mut self) -> Result<MetadataImage, MetadataError> {
        for (id, path) in snapshot::list(&*self.disk, &self.directory)? {
            match snapshot::read(&*self.disk, id, &path) {
                Ok(image) => {
                    self.last_snapshot_bytes = self.disk.metadata(&path).map_or(0, |metadata| metadata.len);
                    self.leader_epoch = id.epoch;
                    return Ok(image);
                }
                Err(error) => warn!("Skipping an unreadable metadata snapshot: {error}"),
            }
        }
        Ok(MetadataImage::default())
    }

    fn replay_log(&mut self, image: Arc<MetadataImage>) -> Result<MetadataImage, MetadataError> {
        let next_offset = image.provenance.last_contained_offset + 1;
        let directory = self.directory.clone();
        let corrupt = move |offset: i64, reason: String| MetadataError::Corrupt {
            path: directory.clone(),
            position: u64::try_from(offset).unwrap_or(0),
            reason,
        };
        let (start, end) = (self.log.start_offset(), self.log.end_offset());
        if start > next_offset || end < next_offset {
            let reason = format!(
                "the log holds the offsets {start} to {end}, but the newest readable snapshot ends at {next_offset}"
            );
            return Err(corrupt(next_offset, reason));
        }
        let mut provenance = image.provenance;
        let mut delta = MetadataDelta::new(image);
        let (mut bytes, mut epoch) = (0, self.leader_epoch);
        self.log.read_from(next_offset, &mut |header, batch| {
            bytes += batch.len() as u64;
            epoch = epoch.max(header.partition_leader_epoch);
            let records = decode_batch(header, batch).map_err(|reason| corrupt(header.base_offset, reason))?;
            for (offset, record) in records {
                if offset >= next_offset {
                    delta.replay(&record).map_err(|reason| corrupt(offset, reason))?;
                }
            }
            provenance = Provenance {
                last_contained_offset: header.last_offset(),
                last_contained_epoch: header.partition_leader_epoch,
                last_contained_timestamp: header.max_timestamp,
            };
            Ok(())
        })?;
        self.bytes_since_snapshot = bytes;
        self.leader_epoch = epoch;
        Ok(delta.apply(provenance))
    }

    pub(super) fn end_offset(&self) -> i64 {
        self.log.end_offset()
    }

    pub(super) fn subscribe(&mut self, publisher: Arc<dyn MetadataPublisher>, image: &Arc<MetadataImage>) {
        publisher.on_metadata_update(&MetadataDelta::from_nothing(image), image);
        self.publishers.push(publisher);
    }

    /// The control batch with which every leader of a metadata log begins its epoch.
    pub(super) fn append_leader_change(&mut self, now: i64, node_id: i32) -> Result<(), MetadataError> {
        let voters = [node_id];
        let batch = leader_change_batch(self.log.end_offset(), self.leader_epoch, now, node_id, &voters, &voters);
        self.append(batch, Durability::WithNext)
    }

    fn append(&mut self, batch: bytes::Bytes, durability: Durability) -> Result<(), MetadataError> {
        if !self.is_consistent {
            return Err(MetadataError::Offline);
        }
        self.is_consistent = false;
        let length = batch.len() as u64;
        let mut outcome = self.log.append(batch, self.leader_epoch);
        // Nothing was written then, and the log is as it was.
        self.is_consistent = matches!(outcome, Err(MetadataError::DiskFull(_)));
        if outcome.is_ok() && durability == Durability::Flushed {
            outcome = self.log.flush();
        }
        if let Err(error) = outcome {
            match self.is_consistent {
                true => warn!("A change of the metadata was refused: {error}"),
                false => error!("The metadata log failed, no further change is possible: {error}"),
            }
            return Err(error);
        }
        self.bytes_since_snapshot += length;
        self.is_consistent = true;
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
        self.append(batch, durability)?;
        self.is_consistent = false;
        for publisher in &self.publishers {
            publisher.on_metadata_update(&delta, &next);
        }
        self.is_consistent = true;
        Ok(next)
    }

    /// Writes a snapshot when the log has grown enough. A snapshot that fails is no more than a longer next start.
    pub(super) fn snapshot_if_due(&mut self, image: &MetadataImage, now: i64) {
        if self.bytes_since_snapshot >= self.snapshot_bytes.max(self.last_snapshot_bytes)
            && let Err(error) = self.write_snapshot(image, now)
        {
            warn!("Cannot write a metadata snapshot: {error}");
        }
    }

    fn write_snapshot(&mut self, image: &MetadataImage, now: i64) -> Result<(), MetadataError> {
        // Whatever comes of it: the next attempt waits for as much again.
        self.bytes_since_snapshot = 0;
        let (id, bytes) = snapshot::write(&*self.disk, &self.directory, image, now)?;
        self.last_snapshot_bytes = bytes;
        info!("Wrote the metadata snapshot at offset {} ({bytes} bytes)", id.end_offset);
        let needed_from = snapshot::remove_old(&*self.disk, &self.directory)?;
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
