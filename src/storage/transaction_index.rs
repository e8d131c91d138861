//! The aborted transactions of a segment, in the order of their markers (`TransactionIndex`, `AbortedTxn`). The file is created with the
//! first abort. Unlike the other indexes it decides what `read_committed` consumers are told: entries before the recovery point are
//! synced with the log, those behind it are built again by recovery.

use std::io;
use std::sync::Arc;

use super::segment_files::{SegmentFileKind, SegmentFiles};
use super::sparse_index::{IndexEntry, partition_on_disk};
use crate::env::DiskFile;

/// `AbortedTxn.CURRENT_VERSION`.
const VERSION: i16 = 0;
/// Entries read at once.
const READ_ENTRIES: usize = 128;

/// One aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AbortedEntry {
    version: i16,
    pub(super) producer_id: i64,
    /// The transaction's first offset.
    pub(super) first_offset: i64,
    /// The offset of the marker.
    pub(super) last_offset: i64,
    /// The last stable offset once the marker is replicated: a read that ends there or before needs no later entry.
    pub(super) last_stable_offset: i64,
}

impl AbortedEntry {
    pub(super) fn new(producer_id: i64, first_offset: i64, last_offset: i64, last_stable_offset: i64) -> Self {
        Self { version: VERSION, producer_id, first_offset, last_offset, last_stable_offset }
    }

    /// Whether the entry can be one of a segment with offsets from `base_offset` to before `end_offset`.
    fn is_sane(&self, base_offset: i64, end_offset: i64) -> bool {
        self.version == VERSION
            && self.producer_id >= 0
            && self.first_offset <= self.last_offset
            && (base_offset..end_offset).contains(&self.last_offset)
            && (0..=self.last_offset + 1).contains(&self.last_stable_offset)
    }
}

impl IndexEntry for AbortedEntry {
    const SIZE: usize = 34;

    fn key(&self) -> i64 {
        self.last_offset
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.version.to_be_bytes());
        for number in [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Self {
        let number = |index: usize| {
            let mut array = [0; 8];
            array.copy_from_slice(&bytes[2 + 8 * index..10 + 8 * index]);
            i64::from_be_bytes(array)
        };
        Self {
            version: i16::from_be_bytes([bytes[0], bytes[1]]),
            producer_id: number(0),
            first_offset: number(1),
            last_offset: number(2),
            last_stable_offset: number(3),
        }
    }
}

/// The bytes of entries.
pub(super) fn encode_entries(entries: &[AbortedEntry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * AbortedEntry::SIZE);
    entries.iter().for_each(|entry| entry.encode(&mut bytes));
    bytes
}

/// Writes the checksum of a segment's transaction index beside it: the number of entries, and the CRC-32C of that number and of their bytes.
/// A flipped bit in an entry would show `read_committed` readers what was aborted, and Kafka's format has nothing against it.
pub(super) fn write_seal(files: &SegmentFiles, entries: usize) -> io::Result<()> {
    let index = files.handle(SegmentFileKind::TransactionIndex)?;
    let number = (entries as u32).to_be_bytes();
    let Some(crc) = crc_of(&*index, number)? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    let seal = files.handle(SegmentFileKind::TransactionSeal)?;
    let mut bytes = number.to_vec();
    bytes.extend_from_slice(&crc.to_be_bytes());
    seal.write_all_at(&bytes, 0)
}

/// Whether the entries that a seal covers are as they were when it was written; entries behind them are newer. Without a seal (Apache
/// Kafka wrote the segment) there is nothing to compare.
pub(super) fn seal_fits(files: &SegmentFiles) -> io::Result<bool> {
    let seal = match files.existing(SegmentFileKind::TransactionSeal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        seal => seal?,
    };
    let mut bytes = [0; 8];
    if seal.size()? != bytes.len() as u64 {
        return Ok(false);
    }
    seal.read_exact_at(&mut bytes, 0)?;
    let [a, b, c, d, crc @ ..] = bytes;
    let index = files.existing(SegmentFileKind::TransactionIndex)?;
    Ok(crc_of(&*index, [a, b, c, d])? == Some(u32::from_be_bytes(crc)))
}

fn crc_of(index: &dyn DiskFile, number: [u8; 4]) -> io::Result<Option<u32>> {
    let end = u64::from(u32::from_be_bytes(number)) * AbortedEntry::SIZE as u64;
    if end > index.size()? {
        return Ok(None);
    }
    let mut crc = crc32c::crc32c(&number);
    let mut bytes = [0; READ_ENTRIES * AbortedEntry::SIZE];
    let mut position = 0;
    while position < end {
        let part = &mut bytes[..((end - position) as usize).min(READ_ENTRIES * AbortedEntry::SIZE)];
        index.read_exact_at(part, position)?;
        crc = crc32c::crc32c_append(crc, part);
        position += part.len() as u64;
    }
    Ok(Some(crc))
}

/// All entries of a file; `None` if it is not made of entries of a segment with these offsets (`TransactionIndex.sanityCheck`).
pub(super) fn read_entries(
    file: &Arc<dyn DiskFile>,
    base_offset: i64,
    end_offset: i64,
) -> io::Result<Option<Vec<AbortedEntry>>> {
    let size = file.size()? as usize;
    if !size.is_multiple_of(AbortedEntry::SIZE) {
        return Ok(None);
    }
    let mut entries: Vec<AbortedEntry> = Vec::new();
    let mut bytes = vec![0; READ_ENTRIES.min(size / AbortedEntry::SIZE) * AbortedEntry::SIZE];
    let mut position = 0;
    while position < size {
        let part = &mut bytes[..(READ_ENTRIES * AbortedEntry::SIZE).min(size - position)];
        file.read_exact_at(part, position as u64)?;
        for entry in part.chunks_exact(AbortedEntry::SIZE).map(AbortedEntry::decode) {
            let ascends = entries.last().is_none_or(|last| last.last_offset < entry.last_offset);
            if !ascends || !entry.is_sane(base_offset, end_offset) {
                return Ok(None);
            }
            entries.push(entry);
        }
        position += part.len();
    }
    Ok(Some(entries))
}

/// Puts the transactions that touch `fetch_offset..upper_bound` into `found`. Returns whether later segments need not be asked
/// (`TransactionIndex.collectAbortedTxns`).
pub(super) fn collect(
    file: &Arc<dyn DiskFile>,
    fetch_offset: i64,
    upper_bound: i64,
    found: &mut Vec<AbortedEntry>,
) -> io::Result<bool> {
    let count = file.size()? as usize / AbortedEntry::SIZE;
    // Markers stand in the order of their offsets: those before the fetched range are passed over.
    let mut number = partition_on_disk::<AbortedEntry>(file, count, |entry| entry.last_offset < fetch_offset)?;
    let mut bytes = vec![0; READ_ENTRIES.min(count - number) * AbortedEntry::SIZE];
    while number < count {
        let part = &mut bytes[..READ_ENTRIES.min(count - number) * AbortedEntry::SIZE];
        file.read_exact_at(part, (number * AbortedEntry::SIZE) as u64)?;
        for entry in part.chunks_exact(AbortedEntry::SIZE).map(AbortedEntry::decode) {
            if entry.first_offset < upper_bound {
                found.push(entry);
            }
            if entry.last_stable_offset >= upper_bound {
                return Ok(true);
            }
            number += 1;
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::env::{Disk, ManualClock, MemoryDisk, OpenMode};

    fn file(entries: &[AbortedEntry]) -> Arc<dyn DiskFile> {
        let disk = MemoryDisk::new(Arc::new(ManualClock::new(0)));
        disk.create_dir_all(Path::new("/d")).unwrap();
        let file = disk.open(Path::new("/d/txnindex"), OpenMode::CreateReadWrite).unwrap();
        file.write_all_at(&encode_entries(entries), 0).unwrap();
        file
    }

    #[test]
    fn entries_have_kafkas_bytes() {
        let bytes = encode_entries(&[AbortedEntry::new(1, 2, 3, 4)]);
        let mut expected = vec![0, 0];
        for number in 1..=4 {
            expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, number]);
        }
        assert_eq!(bytes, expected);
        assert_eq!(AbortedEntry::decode(&bytes), AbortedEntry::new(1, 2, 3, 4));
    }

    #[test]
    fn collects_what_touches_the_range_as_a_walk_over_all_entries_does() {
        let entries: Vec<AbortedEntry> = (0..500)
            .map(|number| AbortedEntry::new(number % 7, 10 * number, 10 * number + 25, 10 * number + 8))
            .collect();
        let file = file(&entries);
        for fetch_offset in (0..5100).step_by(37) {
            for length in [1, 9, 300, 9000] {
                let upper_bound = fetch_offset + length;
                let (mut expected, mut complete) = (Vec::new(), false);
                for entry in &entries {
                    if entry.last_offset >= fetch_offset && entry.first_offset < upper_bound {
                        expected.push(*entry);
                    }
                    if entry.last_stable_offset >= upper_bound {
                        complete = true;
                        break;
                    }
                }
                let mut found = Vec::new();
                assert_eq!(collect(&file, fetch_offset, upper_bound, &mut found).unwrap(), complete);
                assert_eq!(found, expected, "{fetch_offset} {length}");
            }
        }
    }

    #[test]
    fn wrong_files_are_known() {
        let good = [AbortedEntry::new(1, 10, 12, 13), AbortedEntry::new(2, 11, 14, 15)];
        assert_eq!(read_entries(&file(&good), 10, 15).unwrap().unwrap(), good);
        assert_eq!(read_entries(&file(&[]), 10, 15).unwrap().unwrap(), []);
        assert!(read_entries(&file(&good), 10, 14).unwrap().is_none(), "behind the end");
        assert!(read_entries(&file(&good), 13, 15).unwrap().is_none(), "before the base offset");
        assert!(read_entries(&file(&[good[1], good[0]]), 10, 15).unwrap().is_none());
        let torn = file(&good);
        torn.set_len(40).unwrap();
        assert!(read_entries(&torn, 10, 15).unwrap().is_none());
    }
}
