//! Reading a segment with checksums: what of it is whole, what may be cut off, and what is damage.

use std::path::PathBuf;

use super::segments::{RecoveryStart, largest_timestamp};
use super::{Listing, Loader};
use crate::mutant;
use crate::record::BatchHeader;
use crate::storage::batch_scan::WholeBatchScanner;
use crate::storage::checkpoint::EpochEntry;
use crate::storage::file_names::TRANSACTION_SEAL_SUFFIX;
use crate::storage::log::index_interval_bytes;
use crate::storage::segment::ActiveSegment;
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles, is_not_found};
use crate::storage::sparse_index::SparseIndex;
use crate::storage::{StorageError, StorageResult};

/// A segment that was read; nothing was written.
pub(super) struct Scan {
    /// Its whole batches, with index entries for those that were read.
    active: ActiveSegment,
    /// The offset after the last whole batch.
    end_offset: i64,
    /// Bytes of the file.
    size: u64,
    /// Why the batches end before the file does.
    pub(super) broken: Option<String>,
    /// Entries of both indexes that stay.
    kept: (usize, usize),
    /// The first batch that does not begin where the one before it ends: its position, that end, and where it begins.
    gap: Option<(u64, i64, i64)>,
}

impl Loader<'_> {
    /// Reads a segment with checksums, from where the recovery point vouches for it.
    pub(super) fn scan_segment(&mut self, files: SegmentFiles, start: Option<RecoveryStart>) -> StorageResult<Scan> {
        let kind = SegmentFileKind::Log;
        let size = self.size_of(&files, kind)?;
        let interval = index_interval_bytes(&self.options.config);
        let log = files.existing(kind).map_err(|error| files.read_error(kind, &error))?;
        let mut active = ActiveSegment::empty(files.clone(), self.now_ms);
        if let Some(start) = &start {
            active.size = u64::from(start.offset_entry.position);
            active.inherited = active.size;
            active.offset_index = SparseIndex::reopened(start.offset_entries, Some(start.offset_entry));
            active.time_index = SparseIndex::reopened(start.time_entries, start.time_entry);
            active.largest_timestamp = largest_timestamp(files.base_offset(), start.time_entry);
        }
        let mut end_offset = files.base_offset();
        let (mut gap, mut is_first) = (None, start.is_some());
        let mut scanner = WholeBatchScanner::new(log, active.size, size);
        let broken = loop {
            match scanner.next().map_err(|error| files.read_error(kind, &error))? {
                Ok(None) => break None,
                Ok(Some((_, header, _)))
                    if mutant::is_active("truncate-to-high-watermark")
                        && header.next_offset() > self.options.high_watermark =>
                {
                    break Some("above the high watermark".to_owned());
                }
                Ok(Some((_, header, _)))
                    if header.base_offset < end_offset || !active.can_hold(header.last_offset()) =>
                {
                    break Some(format!("offset {} after offset {}", header.base_offset, end_offset - 1));
                }
                Ok(Some((position, header, _))) => {
                    if header.is_control() && header.has_producer_id() {
                        self.transactions_from.get_or_insert(files.base_offset());
                    }
                    if header.base_offset != end_offset && !is_first {
                        gap.get_or_insert((position, end_offset, header.base_offset));
                    }
                    is_first = false;
                    active.note(&header, position, interval);
                    active.size = position + header.size_in_bytes() as u64;
                    end_offset = header.next_offset();
                    self.note_epoch(&header);
                }
                Err(reason) => break Some(reason),
            }
        };
        let kept = start.map_or((0, 0), |start| (start.offset_entries, start.time_entries));
        Ok(Scan { active, end_offset, size, broken, kept, gap })
    }

    /// Cuts off what is not whole, and the index entries that are not known to be right. Gives the segment and the offset after it.
    pub(super) fn finish_segment(&mut self, scan: Scan) -> StorageResult<(ActiveSegment, i64)> {
        let Scan { active, end_offset, size, broken, kept, gap: _ } = scan;
        let files = active.files.clone();
        if let Some(reason) = &broken {
            let kind = SegmentFileKind::Log;
            tracing::warn!(
                "{}: {reason}; cutting {} of {size} bytes",
                files.path_of(kind).display(),
                size - active.size
            );
            let log = files.existing(kind).map_err(|error| files.read_error(kind, &error))?;
            log.set_len(active.size).map_err(|error| files.write_error(kind, &error))?;
            self.changed = true;
        }
        cut_index(&files, SegmentFileKind::OffsetIndex, kept.0 * 8)?;
        cut_index(&files, SegmentFileKind::TimeIndex, kept.1 * 12)?;
        files.close();
        Ok((active, end_offset))
    }

    /// Refuses a log of which something is missing that was on the disk. `has_next`: there is a segment behind this one.
    pub(super) fn check_scan(&self, scan: &Scan, has_next: bool) -> StorageResult<()> {
        match &scan.broken {
            // All of it was on the disk, whatever is left of the checkpoint that says so.
            Some(reason) if self.options.clean_shutdown => {
                let path = scan.active.files.path_of(SegmentFileKind::Log);
                scan.active.files.close();
                Err(self.damaged(&format!(
                    "{}: damage at byte {}: {reason}; the log was stopped cleanly, nothing of it may be cut",
                    path.display(),
                    scan.active.size
                )))
            }
            Some(reason) => self.check_end(&scan.active.files, scan.end_offset, scan.active.size, reason),
            // The cleaner takes batches from the end of a segment, never from the last one.
            None if has_next && self.options.compacted => Ok(()),
            None => self.check_end(&scan.active.files, scan.end_offset, scan.active.size, "the file ends"),
        }
    }

    /// Refuses a log whose newest segment, which is never cleaned, lacks offsets in the middle of what was on the disk: a base offset is
    /// wrong there, and what is appended next would get wrong ones too.
    pub(super) fn check_gap(&self, scan: &Scan) -> StorageResult<()> {
        let Some((position, end_offset, base_offset)) = scan.gap else { return Ok(()) };
        if self.options.compacted || end_offset >= self.options.recovery_point {
            return Ok(());
        }
        let files = &scan.active.files;
        files.close();
        Err(self.damaged(&format!(
            "{}: damage at byte {position}: the batch there begins at offset {base_offset}, and the one before it ends at {end_offset}",
            files.path_of(SegmentFileKind::Log).display()
        )))
    }

    /// Refuses a log whose whole batches end before the recovery point.
    pub(super) fn check_end(
        &self,
        files: &SegmentFiles,
        end_offset: i64,
        position: u64,
        reason: &str,
    ) -> StorageResult<()> {
        let recovery_point = self.options.recovery_point;
        let is_behind = end_offset >= recovery_point || files.base_offset() >= recovery_point;
        if is_behind || mutant::is_active("cut-below-the-recovery-point") {
            return Ok(());
        }
        let path = files.path_of(SegmentFileKind::Log);
        files.close();
        Err(self.damaged(&format!(
            "{}: damage at byte {position}: {reason}; the offsets {end_offset} to {} follow there, and were on the disk",
            path.display(),
            recovery_point - 1
        )))
    }

    /// Refuses a log that has no file left although there were records on the disk.
    pub(super) fn check_lost_segments(&self) -> StorageResult<()> {
        let (start, recovery_point) = (self.options.log_start_offset.max(0), self.options.recovery_point);
        if recovery_point <= start {
            return Ok(());
        }
        Err(self.damaged(&format!(
            "{}: no segment is left; the offsets {start} to {} were on the disk",
            self.at.display(),
            recovery_point - 1
        )))
    }

    fn damaged(&self, what: &str) -> StorageError {
        let name = &self.options.topic_partition;
        let reason = format!(
            "{what}. Nothing was changed. Put the file right and start again, or give up what follows the damage by taking the line of \
             {} {} out of recovery-point-offset-checkpoint",
            name.topic, name.partition
        );
        StorageError::PartitionOffline { topic_partition: name.clone(), reason: reason.into() }
    }

    /// Why a segment is not the continuation of one that ends at an offset. A gap is one that the cleaner has left, or the mark of a
    /// tail that was never written: nothing is deleted or cleaned behind the recovery point.
    pub(super) fn misfit(&self, end_offset: i64, base_offset: i64) -> Option<String> {
        match base_offset.cmp(&end_offset) {
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater if self.options.compacted => None,
            std::cmp::Ordering::Greater => {
                Some(format!("it ends at offset {end_offset}, and the next segment begins at {base_offset}"))
            }
            std::cmp::Ordering::Less => {
                Some(format!("it reaches to offset {end_offset}, into the segment that begins at {base_offset}"))
            }
        }
    }

    /// Removes the newest segments, durably, the last one first: whenever that ends, what is left is a log with a worse tail.
    pub(super) fn remove_segments(&mut self, bases: &[i64]) -> StorageResult<()> {
        for base_offset in bases.iter().rev() {
            self.remove_segment(*base_offset)?;
        }
        self.sync_names()
    }

    /// Removes what an interrupted deletion, cleaning or replacement left.
    pub(super) fn remove_leftovers(&self, listing: &mut Listing) -> StorageResult<()> {
        let is_seal =
            |path: &PathBuf| path.as_os_str().as_encoded_bytes().ends_with(TRANSACTION_SEAL_SUFFIX.as_bytes());
        if listing.leftovers.iter().any(is_seal) {
            // What a killed process renamed may still be undone: a segment that comes back needs its seal.
            self.sync_names()?;
        }
        listing.leftovers.drain(..).try_for_each(|path| self.remove(&path))
    }

    fn note_epoch(&mut self, header: &BatchHeader) {
        let epoch = header.partition_leader_epoch;
        if epoch > self.found_epochs.last().map_or(-1, |entry| entry.epoch) {
            self.found_epochs.push(EpochEntry { epoch, start_offset: header.base_offset });
        }
    }
}

/// Cuts an index file to what is known to be right.
fn cut_index(files: &SegmentFiles, kind: SegmentFileKind, bytes: usize) -> StorageResult<()> {
    let index = match files.existing(kind) {
        Ok(index) => index,
        Err(error) if is_not_found(&error) => return Ok(()),
        Err(error) => return Err(files.read_error(kind, &error)),
    };
    if index.size().map_err(|error| files.read_error(kind, &error))? != bytes as u64 {
        index.set_len(bytes as u64).map_err(|error| files.write_error(kind, &error))?;
    }
    Ok(())
}
