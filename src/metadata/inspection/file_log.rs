//! The metadata log as its files are, before recovery.

use std::io;
use std::path::{Path, PathBuf};

use super::super::error::MetadataError;
use super::super::log::{BatchVisitor, MetadataLogReader};
use super::torn_end::is_torn_end;
use crate::env::Disk;
use crate::record::BatchHeader;
use crate::storage::scan_partition;

/// A log whose end recovery may still have to cut.
pub(super) struct FileMetadataLog<'a> {
    disk: &'a dyn Disk,
    directory: PathBuf,
    start_offset: i64,
    end_offset: i64,
}

impl<'a> FileMetadataLog<'a> {
    /// Scans the log. Fails when it is damaged where it was known to be on the disk: anywhere after an end in order
    /// (`clean`), and before anything that was written after a sync.
    pub(super) fn open(disk: &'a dyn Disk, directory: &Path, clean: bool) -> Result<Self, MetadataError> {
        let mut shown: Vec<(BatchHeader, Vec<u8>)> = Vec::new();
        let scan = scan_partition(disk, directory, &mut |header, batch| {
            // Of the batches before, only those of the last epoch say where its start ends.
            shown.retain(|(before, _)| before.partition_leader_epoch == header.partition_leader_epoch);
            if shown.len() < START_BATCHES_MAX {
                shown.push((*header, batch.to_vec()));
            }
            Ok(())
        })
        .map_err(|error| MetadataError::disk("scan", directory, error))?;
        if let Some(damage) = &scan.damage
            && (clean || !is_torn_end(&shown, &damage.behind))
        {
            return Err(MetadataError::Corrupt {
                path: damage.path.clone(),
                position: damage.position,
                reason: damage.reason.clone(),
            });
        }
        Ok(Self { disk, directory: directory.to_owned(), start_offset: scan.start_offset, end_offset: scan.end_offset })
    }
}

/// The most batches with which an epoch begins that are looked at.
const START_BATCHES_MAX: usize = 64;

impl MetadataLogReader for FileMetadataLog<'_> {
    fn start_offset(&self) -> i64 {
        self.start_offset
    }

    fn end_offset(&self) -> i64 {
        self.end_offset
    }

    fn read_from(&self, offset: i64, visit: &mut BatchVisitor<'_>) -> Result<(), MetadataError> {
        let mut failed = None;
        let outcome = scan_partition(self.disk, &self.directory, &mut |header, batch| {
            if header.last_offset() >= offset
                && let Err(error) = visit(header, batch)
            {
                failed = Some(error);
                return Err(io::Error::other("stopped"));
            }
            Ok(())
        });
        match (failed, outcome) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(MetadataError::disk("scan", &self.directory, error)),
            (None, Ok(_)) => Ok(()),
        }
    }
}
