//! Reading a partition's segments as they are: nothing is recovered, indexed or locked, nothing is written. For those who
//! must judge a directory before it is opened.

use std::io;
use std::path::{Path, PathBuf};

use super::batch_scan::WholeBatchScanner;
use super::file_names::{LOG_SUFFIX, LogDirectoryEntry, classify_directory, parse_offset_file};
use super::property_files::CLEAN_SHUTDOWN_FILE;
use crate::env::{Disk, FileKind, OpenMode};
use crate::record::{BATCH_HEADER_SIZE, BatchHeader, check_crc};
use crate::types::TopicPartition;

/// The most bytes behind a damaged place that are searched for whole batches.
const MAX_SEARCHED_BYTES: u64 = 256 * 1024 * 1024;

/// What a scan found besides the batches it showed.
#[derive(Debug, Default)]
pub struct PartitionScan {
    /// The base offset of the first segment; 0 when there is none.
    pub start_offset: i64,
    /// The offset behind the last whole batch.
    pub end_offset: i64,
    /// The first place that is no valid batch; nothing behind it was shown.
    pub damage: Option<Damage>,
}

/// A place in a segment that is no valid batch.
#[derive(Debug)]
pub struct Damage {
    /// The segment's file.
    pub path: PathBuf,
    /// The byte in it.
    pub position: u64,
    /// What is wrong.
    pub reason: String,
    /// The valid batches behind it, which a torn end would not have.
    pub behind: Vec<(BatchHeader, Vec<u8>)>,
}

/// Sees one whole, valid batch.
pub type ScanVisitor<'a> = dyn FnMut(&BatchHeader, &[u8]) -> io::Result<()> + 'a;

/// Shows every batch of a partition's directory in order, up to the first that is not valid. The error is the disk's, or
/// the visitor's.
pub fn scan_partition(disk: &dyn Disk, directory: &Path, visit: &mut ScanVisitor<'_>) -> io::Result<PartitionScan> {
    let segments = segments(disk, directory)?;
    let mut scan = PartitionScan::default();
    if let Some((offset, _)) = segments.first() {
        (scan.start_offset, scan.end_offset) = (*offset, *offset);
    }
    for (number, (_, path)) in segments.iter().enumerate() {
        let file = disk.open(path, OpenMode::Read)?;
        let size = file.size()?;
        let mut scanner = WholeBatchScanner::new(file, 0, size);
        let mut position = 0;
        let reason = loop {
            match scanner.next()? {
                Ok(None) => break None,
                Ok(Some((at, header, batch))) if header.base_offset >= scan.end_offset => {
                    visit(&header, batch)?;
                    scan.end_offset = header.next_offset();
                    position = at + batch.len() as u64;
                }
                Ok(Some((_, header, _))) => {
                    break Some(format!("the offset {} stands behind {}", header.base_offset, scan.end_offset - 1));
                }
                Err(reason) => break Some(reason),
            }
        };
        if let Some(reason) = reason {
            let mut behind = Vec::new();
            for (later, (_, path)) in segments.iter().enumerate().skip(number) {
                search(disk, path, if later == number { position + 1 } else { 0 }, &mut behind)?;
            }
            scan.damage = Some(Damage { path: path.clone(), position, reason, behind });
            break;
        }
    }
    Ok(scan)
}

/// Finds whole, valid batches at any byte from `from` on.
fn search(disk: &dyn Disk, path: &Path, from: u64, found: &mut Vec<(BatchHeader, Vec<u8>)>) -> io::Result<()> {
    let file = disk.open(path, OpenMode::Read)?;
    let length = file.size()?.saturating_sub(from).min(MAX_SEARCHED_BYTES);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    let mut position = 0;
    while position + BATCH_HEADER_SIZE <= bytes.len() {
        let rest = &bytes[position..];
        let whole = BatchHeader::parse(rest).ok().filter(|header| {
            header.size_in_bytes() <= rest.len() && check_crc(&rest[..header.size_in_bytes()]).is_ok()
        });
        match whole {
            Some(header) => {
                let size = header.size_in_bytes();
                found.push((header, rest[..size].to_vec()));
                position += size;
            }
            None => position += 1,
        }
    }
    Ok(())
}

fn segments(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let entries = match disk.read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut segments: Vec<_> =
        entries.into_iter().filter_map(|path| Some((parse_offset_file(&path, LOG_SUFFIX)?, path))).collect();
    segments.sort();
    Ok(segments)
}

/// The partitions of a log directory with their directories, sorted; none that waits for its removal or was put aside.
pub fn partitions_of(disk: &dyn Disk, log_directory: &Path) -> io::Result<Vec<(TopicPartition, PathBuf)>> {
    let mut partitions = Vec::new();
    for path in disk.read_dir(log_directory)? {
        if let LogDirectoryEntry::Partition(name) = classify_directory(&path)
            && disk.metadata(&path)?.kind == FileKind::Directory
        {
            partitions.push((name, path));
        }
    }
    partitions.sort();
    Ok(partitions)
}

/// Whether the log directory was closed in order.
pub fn was_closed_cleanly(disk: &dyn Disk, log_directory: &Path) -> io::Result<bool> {
    match disk.metadata(&log_directory.join(CLEAN_SHUTDOWN_FILE)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
