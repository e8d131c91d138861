//! The files that a log directory keeps open: a bounded cache of handles, keyed by log, base offset and kind of file, with a second
//! chance for those in use (the clock algorithm). A segment that nobody reads has nothing here, and no descriptor.
//!
//! Handles are put here and taken out under the lock of their log: what is closed when a file gets another name, or another file gets
//! this name, cannot come back by a racing reader.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;

use super::segment_files::SegmentFileKind;
use crate::env::DiskFile;

/// Handles that a shard holds at least; a directory with room for few has one shard.
const SHARD_FILES_MIN: usize = 64;
const SHARDS_MAX: usize = 16;

/// A segment of a log: the log's number in its directory, and the segment's base offset.
pub(super) type SegmentKey = (u64, i64);

type FileKey = (SegmentKey, SegmentFileKind);

/// Mixes the numbers of a key. They are this process's own, the offset but for its digits, and a shard holds few: nobody gains by
/// making them collide, and every append and read looks one up.
#[derive(Default)]
struct FileKeyHasher(u64);

impl Hasher for FileKeyHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}

struct OpenFile {
    file: Arc<dyn DiskFile>,
    used: bool,
    /// Tells this entry's place in the queue from those of handles that were closed.
    stamp: u64,
}

#[derive(Default)]
struct Shard {
    files: HashMap<FileKey, OpenFile, BuildHasherDefault<FileKeyHasher>>,
    queue: VecDeque<(FileKey, u64)>,
    next_stamp: u64,
}

/// The open files of a log directory.
pub(super) struct OpenFiles {
    capacity_of_shard: usize,
    shards: Box<[Mutex<Shard>]>,
}

impl OpenFiles {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(8);
        let shards = (capacity / SHARD_FILES_MIN).clamp(1, SHARDS_MAX);
        Self {
            capacity_of_shard: capacity / shards,
            shards: (0..shards).map(|_| Mutex::new(Shard::default())).collect(),
        }
    }

    fn shard(&self, (log, base_offset): SegmentKey) -> &Mutex<Shard> {
        // All files of a segment are in one shard; neighbours are in different ones.
        let mixed = (log ^ (base_offset as u64).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.shards[(mixed >> 32) as usize % self.shards.len()]
    }

    /// The handle of a file, if it is open.
    pub(super) fn get(&self, segment: SegmentKey, kind: SegmentFileKind) -> Option<Arc<dyn DiskFile>> {
        let mut shard = self.shard(segment).lock();
        let open = shard.files.get_mut(&(segment, kind))?;
        open.used = true;
        Some(open.file.clone())
    }

    /// Keeps a handle that was just opened; returns the one to use, which is another if two were opened at once. Those that made way
    /// for it stay valid for whoever has them.
    pub(super) fn put(&self, segment: SegmentKey, kind: SegmentFileKind, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let mut closed = Vec::new();
        let mut shard = self.shard(segment).lock();
        if let Some(open) = shard.files.get(&(segment, kind)) {
            return open.file.clone();
        }
        let stamp = shard.next_stamp;
        shard.next_stamp += 1;
        shard.files.insert((segment, kind), OpenFile { file: file.clone(), used: false, stamp });
        shard.queue.push_back(((segment, kind), stamp));
        shard.make_room(self.capacity_of_shard, &mut closed);
        drop(shard);
        // The system calls of closing run outside the lock.
        drop(closed);
        file
    }

    /// Closes the handles of a segment that are kept here; those given out stay open.
    pub(super) fn close(&self, segment: SegmentKey) {
        let mut shard = self.shard(segment).lock();
        if shard.files.is_empty() {
            return;
        }
        let closed = SegmentFileKind::ALL.map(|kind| shard.files.remove(&(segment, kind)));
        drop(shard);
        drop(closed);
    }

    /// How many handles are kept.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().files.len()).sum()
    }
}

impl Shard {
    fn make_room(&mut self, capacity: usize, closed: &mut Vec<OpenFile>) {
        let mut chances = self.queue.len() * 2;
        while self.files.len() > capacity && chances > 0 {
            chances -= 1;
            let Some((key, stamp)) = self.queue.pop_front() else { break };
            match self.files.get_mut(&key) {
                Some(open) if open.stamp == stamp && open.used => {
                    open.used = false;
                    self.queue.push_back((key, stamp));
                }
                Some(open) if open.stamp == stamp => closed.extend(self.files.remove(&key)),
                // Closed meanwhile.
                _ => {}
            }
        }
        if self.queue.len() > 2 * capacity {
            let files = &self.files;
            self.queue.retain(|(key, stamp)| files.get(key).is_some_and(|open| open.stamp == *stamp));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::env::{Disk, ManualClock, MemoryDisk, OpenMode};

    fn file() -> Arc<dyn DiskFile> {
        let disk = MemoryDisk::new(Arc::new(ManualClock::new(0)));
        disk.create_dir_all(Path::new("/d")).unwrap();
        disk.open(Path::new("/d/f"), OpenMode::CreateReadWrite).unwrap()
    }

    #[test]
    fn handles_are_bounded_and_those_in_use_stay() {
        let file = file();
        let open = OpenFiles::new(10);
        for base_offset in 0..100 {
            open.put((1, base_offset), SegmentFileKind::Log, file.clone());
            assert!(open.count() <= 10);
            // The first is asked for all the time.
            assert!(open.get((1, 0), SegmentFileKind::Log).is_some());
        }
        assert_eq!(open.count(), 10);
        assert!(open.get((1, 50), SegmentFileKind::Log).is_none());
        assert!(open.get((1, 0), SegmentFileKind::TimeIndex).is_none());
        open.close((1, 0));
        assert!(open.get((1, 0), SegmentFileKind::Log).is_none());
    }

    #[test]
    fn opening_and_closing_leaves_nothing_behind() {
        let file = file();
        let open = OpenFiles::new(200);
        for round in 0..10_000 {
            open.put((round % 7, 5), SegmentFileKind::Log, file.clone());
            open.close((round % 7, 5));
        }
        assert_eq!(open.count(), 0);
        assert!(open.shards.iter().all(|shard| shard.lock().queue.len() <= 2 * open.capacity_of_shard));
        for base_offset in 0..1000 {
            open.put((1, base_offset), SegmentFileKind::OffsetIndex, file.clone());
        }
        assert!(open.count() <= 200);
    }
}
