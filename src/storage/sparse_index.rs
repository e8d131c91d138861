//! A sorted file of fixed-size entries, of which the newest stay in memory while the segment is written
//! (`AbstractIndex`, without the memory map and its preallocation).

use std::io;
use std::sync::Arc;

use crate::env::DiskFile;

/// Entries kept in memory at most; older ones are read from the file.
const MEMORY_ENTRIES_MAX: usize = 8192;
/// Entries that wait for one write to the file.
const PENDING_ENTRIES_MAX: usize = 512;
const SEARCH_BLOCK_BYTES: usize = 4096;
/// Blocks that a search chooses by the keys it has read; from then on it halves what is left.
const GUESSES_MAX: usize = 3;

/// One entry of an index file.
pub(super) trait IndexEntry: Copy {
    /// Bytes of an entry.
    const SIZE: usize;
    /// What entries are sorted by.
    fn key(&self) -> i64;
    /// Appends the entry's bytes, big endian.
    fn encode(&self, bytes: &mut Vec<u8>);
    /// Reads an entry from exactly `SIZE` bytes.
    fn decode(bytes: &[u8]) -> Self;
}

/// The index of the segment that is written.
#[derive(Debug)]
pub(super) struct SparseIndex<E> {
    /// Number of the first entry in memory.
    start: usize,
    /// Entries already in the file.
    written: usize,
    entries: Vec<E>,
}

/// Where the largest entry not above a key is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Floor<E> {
    /// Here it is; `None`: every entry is above the key.
    Known(Option<E>),
    /// Among the first so many entries of the file.
    OnDisk(usize),
}

impl<E> Default for SparseIndex<E> {
    fn default() -> Self {
        Self { start: 0, written: 0, entries: Vec::new() }
    }
}

impl<E: IndexEntry> SparseIndex<E> {
    /// An index whose first `written` entries are in its file; `last` is the last of them.
    pub(super) fn reopened(written: usize, last: Option<E>) -> Self {
        let entries: Vec<E> = last.into_iter().collect();
        Self { start: written - entries.len(), written, entries }
    }

    pub(super) fn len(&self) -> usize {
        self.start + self.entries.len()
    }

    pub(super) fn last(&self) -> Option<E> {
        self.entries.last().copied()
    }

    pub(super) fn push(&mut self, entry: E) {
        self.entries.push(entry);
    }

    /// Whether enough entries wait to be worth a write.
    pub(super) fn wants_write(&self) -> bool {
        self.len() - self.written >= PENDING_ENTRIES_MAX
    }

    pub(super) fn has_unwritten(&self) -> bool {
        self.len() > self.written
    }

    /// Writes the entries that the file lacks.
    pub(super) fn write(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        let pending = &self.entries[self.written - self.start..];
        if !pending.is_empty() {
            let mut bytes = Vec::with_capacity(pending.len() * E::SIZE);
            pending.iter().for_each(|entry| entry.encode(&mut bytes));
            file.write_all_at(&bytes, (self.written * E::SIZE) as u64)?;
            self.written = self.len();
        }
        if self.entries.len() > MEMORY_ENTRIES_MAX {
            let dropped = self.entries.len() - MEMORY_ENTRIES_MAX / 2;
            self.entries.drain(..dropped);
            self.start += dropped;
        }
        Ok(())
    }

    /// The first entry that is `wanted`, which must hold for all entries behind one for which it holds; the outer `None`: the file
    /// must be asked.
    pub(super) fn first(&self, wanted: impl Fn(&E) -> bool) -> Option<Option<E>> {
        let index = self.entries.partition_point(|entry| !wanted(entry));
        (index > 0 || self.start == 0).then(|| self.entries.get(index).copied())
    }

    /// The largest entry whose key is not above `key`.
    pub(super) fn floor(&self, key: i64) -> Floor<E> {
        let above = self.entries.partition_point(|entry| entry.key() <= key);
        match above.checked_sub(1) {
            Some(index) => Floor::Known(Some(self.entries[index])),
            None if self.start == 0 => Floor::Known(None),
            None => Floor::OnDisk(self.start),
        }
    }
}

/// Reads one entry by its number.
pub(super) fn read_entry<E: IndexEntry>(file: &dyn DiskFile, number: usize) -> io::Result<E> {
    // Room for the largest entry, that of the transaction index.
    let mut bytes = [0; 40];
    file.read_exact_at(&mut bytes[..E::SIZE], (number * E::SIZE) as u64)?;
    Ok(E::decode(&bytes[..E::SIZE]))
}

/// How many of the first `count` entries of a file are `below`, which must hold for all entries before one for which it holds: a
/// binary search over blocks, then one in a block.
pub(super) fn partition_on_disk<E: IndexEntry>(
    file: &Arc<dyn DiskFile>,
    count: usize,
    below: impl Fn(&E) -> bool,
) -> io::Result<usize> {
    let per_block = SEARCH_BLOCK_BYTES / E::SIZE;
    let (mut low, mut high) = (0, count.div_ceil(per_block));
    // Invariant: the first entries of blocks before `low` are below, those of blocks from `high` on are not.
    while low < high {
        let middle = low + (high - low) / 2;
        if below(&read_entry::<E>(&**file, middle * per_block)?) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let Some(block) = low.checked_sub(1) else { return Ok(0) };
    let first = block * per_block;
    let mut bytes = vec![0; per_block.min(count - first) * E::SIZE];
    file.read_exact_at(&mut bytes, (first * E::SIZE) as u64)?;
    Ok(first + bytes.chunks_exact(E::SIZE).map(E::decode).take_while(below).count())
}

/// The largest entry not above `key` among the first `count` of a file. Reads whole blocks: the keys of one tell where in the file the
/// key should be, and offsets and times grow evenly, mostly. Where they do not it is a binary search over blocks.
pub(super) fn floor_on_disk<E: IndexEntry>(file: &Arc<dyn DiskFile>, count: usize, key: i64) -> io::Result<Option<E>> {
    let per_block = SEARCH_BLOCK_BYTES / E::SIZE;
    let (mut low, mut high) = (0, count.div_ceil(per_block));
    let (mut floor, mut guess, mut guesses) = (None, None, 0);
    let mut bytes = vec![0; per_block.min(count) * E::SIZE];
    // Invariant: the entries of blocks before `low` are not above the key, `floor` the last of them; those from `high` on are above.
    while low < high {
        let block = guess.filter(|_| guesses <= GUESSES_MAX).unwrap_or(low + (high - low) / 2).clamp(low, high - 1);
        let first = block * per_block;
        let bytes = &mut bytes[..per_block.min(count - first) * E::SIZE];
        file.read_exact_at(bytes, (first * E::SIZE) as u64)?;
        let entries = bytes.chunks_exact(E::SIZE).map(E::decode);
        let (Some(head), Some(tail)) = (entries.clone().next(), entries.clone().next_back()) else { break };
        if key < head.key() {
            high = block;
        } else if key >= tail.key() {
            floor = Some(tail);
            low = block + 1;
        } else {
            return Ok(entries.take_while(|entry| entry.key() <= key).last());
        }
        guess = extrapolate(head.key(), tail.key(), entries.len(), key).map(|behind| {
            let wanted = first as i128 + behind;
            usize::try_from(wanted.max(0)).unwrap_or(usize::MAX) / per_block
        });
        guesses += 1;
    }
    Ok(floor)
}

/// How many entries behind the first of `entries` a key should stand, if the keys from `head` to `tail` tell.
fn extrapolate(head: i64, tail: i64, entries: usize, key: i64) -> Option<i128> {
    let (span, distance) = (i128::from(tail) - i128::from(head), i128::from(key) - i128::from(head));
    (span > 0).then(|| distance * (entries as i128 - 1) / span)
}

/// An entry of `.index` (`OffsetIndex`): 4 bytes offset relative to the base offset, 4 bytes position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetEntry {
    pub(super) relative_offset: i32,
    pub(super) position: u32,
}

impl IndexEntry for OffsetEntry {
    const SIZE: usize = 8;

    fn key(&self) -> i64 {
        i64::from(self.relative_offset)
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.relative_offset.to_be_bytes());
        bytes.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self { relative_offset: read_i32(&bytes[0..4]), position: read_i32(&bytes[4..8]) as u32 }
    }
}

/// An entry of `.timeindex` (`TimeIndex`): 8 bytes timestamp, 4 bytes relative offset. No record up to that offset has a larger
/// timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeEntry {
    pub(super) timestamp: i64,
    pub(super) relative_offset: i32,
}

impl IndexEntry for TimeEntry {
    const SIZE: usize = 12;

    fn key(&self) -> i64 {
        self.timestamp
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        let timestamp = (i64::from(read_i32(&bytes[0..4])) << 32) | i64::from(read_i32(&bytes[4..8]) as u32);
        Self { timestamp, relative_offset: read_i32(&bytes[8..12]) }
    }
}

fn read_i32(bytes: &[u8]) -> i32 {
    let mut array = [0; 4];
    array.copy_from_slice(bytes);
    i32::from_be_bytes(array)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::env::{Disk, ManualClock, MemoryDisk, OpenMode};

    fn file() -> Arc<dyn DiskFile> {
        let disk = MemoryDisk::new(Arc::new(ManualClock::new(0)));
        disk.create_dir_all(Path::new("/d")).unwrap();
        disk.open(Path::new("/d/index"), OpenMode::CreateReadWrite).unwrap()
    }

    #[test]
    fn entries_have_kafkas_bytes() {
        let mut bytes = Vec::new();
        OffsetEntry { relative_offset: 1, position: 0x0102_0304 }.encode(&mut bytes);
        TimeEntry { timestamp: -2, relative_offset: 9 }.encode(&mut bytes);
        assert_eq!(bytes, [0, 0, 0, 1, 1, 2, 3, 4, 255, 255, 255, 255, 255, 255, 255, 254, 0, 0, 0, 9]);
        assert_eq!(TimeEntry::decode(&bytes[8..]).timestamp, -2);
    }

    #[test]
    fn finds_the_floor_in_memory_and_on_disk() {
        let file = file();
        let mut index = SparseIndex::default();
        let count = MEMORY_ENTRIES_MAX + 3 * PENDING_ENTRIES_MAX;
        for number in 0..count {
            index.push(OffsetEntry { relative_offset: (number * 3) as i32, position: number as u32 });
            if index.wants_write() {
                index.write(&*file).unwrap();
            }
        }
        index.write(&*file).unwrap();
        assert_eq!(index.len(), count);
        assert!(index.start > 0, "old entries leave the memory");
        for key in [-1, 0, 1, 3, 1534, 1535, 1536, 3 * count as i64 - 1, i64::from(i32::MAX)] {
            let expected = (key >= 0).then(|| (key / 3).min(count as i64 - 1) as u32);
            let on_disk = floor_on_disk::<OffsetEntry>(&file, count, key).unwrap();
            assert_eq!(on_disk.map(|entry| entry.position), expected, "{key}");
            if let Floor::Known(known) = index.floor(key) {
                assert_eq!(known.map(|entry| entry.position), expected, "{key}");
            }
        }
        assert_eq!(index.floor(0), Floor::OnDisk(index.start));
        assert_eq!(floor_on_disk::<OffsetEntry>(&file, 0, 5).unwrap(), None);
    }

    #[test]
    fn finds_the_floor_however_uneven_the_keys_are() {
        let times: [fn(i64) -> i64; 6] = [
            |number| number,
            |number| number * number * number,
            |number| if number < 5_000 { number } else { i64::MAX - 20_000 + number },
            |number| if number % 700 == 0 { number << 30 } else { ((number / 700 * 700) << 30) + number % 700 },
            |number| i64::MIN + number,
            // Sorted, and many alike.
            |number| number / 900,
        ];
        for time in times {
            let (file, mut index) = (file(), SparseIndex::default());
            for number in 0..10_000 {
                index.push(TimeEntry { timestamp: time(number), relative_offset: number as i32 });
            }
            index.write(&*file).unwrap();
            for count in [0, 1, 341, 342, 5_001, 10_000] {
                for asked in
                    (0..10_000).step_by(97).flat_map(|number| [-1, 0, 1].map(|by| time(number).saturating_add(by)))
                {
                    let not_above = (0..count as i64).rev().find(|number| time(*number) <= asked);
                    let found = floor_on_disk::<TimeEntry>(&file, count, asked).unwrap();
                    assert_eq!(found.map(|entry| i64::from(entry.relative_offset)), not_above, "{asked} of {count}");
                }
            }
        }
    }
}
