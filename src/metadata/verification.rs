//! Reading metadata without using it: every snapshot, and what the log adds to the newest (`ottla verify`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batches::decode_batch;
use super::delta::MetadataDelta;
use super::image::{MetadataImage, Provenance};
use super::load::replay;
use super::records::MetadataRecord;
use super::snapshot;
use crate::env::{Disk, OpenMode};
use crate::record::{BATCH_HEADER_SIZE, BatchHeader, check_crc};

/// A batch of metadata larger than this is not one.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// What snapshots and log say together.
#[derive(Clone, Debug, Default)]
pub struct VerifiedMetadata {
    /// The metadata as a start would have it, as far as it can be read.
    pub image: MetadataImage,
    /// Snapshots that can be read.
    pub snapshots: u64,
    /// Records replayed on top of the newest.
    pub records: u64,
    /// File, position and reason of everything that cannot be used.
    pub problems: Vec<(PathBuf, Option<u64>, String)>,
}

/// Reads the snapshots in the directory of the metadata log and replays the log behind the newest one.
pub fn verify_metadata(disk: &dyn Disk, directory: &Path) -> VerifiedMetadata {
    let mut verified = VerifiedMetadata::default();
    let mut start = None;
    match snapshot::list(disk, directory) {
        Err(error) => verified.problems.push((directory.to_owned(), None, error.to_string())),
        Ok(snapshots) => {
            for (id, path) in snapshots {
                match snapshot::read(disk, id, &path) {
                    Err(error) => verified.problems.push((path, None, error.to_string())),
                    Ok((image, _)) => {
                        verified.snapshots += 1;
                        start.get_or_insert((id.end_offset, image));
                    }
                }
            }
        }
    }
    let (end_offset, image) = start.unwrap_or_default();
    let mut replay =
        Replay { delta: MetadataDelta::new(Arc::new(image)), transaction: None, next_offset: end_offset, records: 0 };
    for path in log_files(disk, directory) {
        if let Err((position, reason)) = replay.file(disk, &path) {
            verified.problems.push((path, Some(position), format!("{reason}; nothing behind it was replayed")));
            break;
        }
    }
    verified.records = replay.records;
    let provenance = Provenance {
        last_contained_offset: replay.next_offset - 1,
        last_contained_epoch: -1,
        last_contained_timestamp: -1,
    };
    verified.image = replay.delta.apply(provenance);
    verified
}

fn log_files(disk: &dyn Disk, directory: &Path) -> Vec<PathBuf> {
    let entries = disk.read_dir(directory).unwrap_or_default();
    entries.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect()
}

struct Replay {
    delta: MetadataDelta,
    /// The records of a transaction that has not ended.
    transaction: Option<Vec<MetadataRecord>>,
    next_offset: i64,
    records: u64,
}

impl Replay {
    fn file(&mut self, disk: &dyn Disk, path: &Path) -> Result<(), (u64, String)> {
        let failed = |position: u64| move |error: io::Error| (position, error.to_string());
        let file = disk.open(path, OpenMode::Read).map_err(failed(0))?;
        let size = file.size().map_err(failed(0))?;
        let mut position = 0;
        while size - position >= BATCH_HEADER_SIZE as u64 {
            let mut header = [0; BATCH_HEADER_SIZE];
            file.read_exact_at(&mut header, position).map_err(failed(position))?;
            let header = BatchHeader::parse(&header).map_err(|error| (position, error.to_string()))?;
            let bytes = header.size_in_bytes();
            if bytes as u64 > size - position || bytes > BATCH_BYTES_MAX {
                return Err((position, format!("a batch of {bytes} bytes does not fit")));
            }
            if header.next_offset() > self.next_offset {
                let mut batch = vec![0; bytes];
                file.read_exact_at(&mut batch, position).map_err(failed(position))?;
                self.batch(&header, &batch).map_err(|reason| (position, reason))?;
                self.next_offset = header.next_offset();
            }
            position += bytes as u64;
        }
        Ok(())
    }

    fn batch(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), String> {
        check_crc(batch).map_err(|error| error.to_string())?;
        for (offset, record) in decode_batch(header, batch)? {
            if offset >= self.next_offset {
                replay(&mut self.delta, &mut self.transaction, record)
                    .map_err(|reason| format!("offset {offset}: {reason}"))?;
                self.records += 1;
            }
        }
        Ok(())
    }
}
