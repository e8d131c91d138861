//! What an offset for a time costs, counted: little more in a long log than in a short one.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use uuid::Uuid;

use super::log_tests::{World, append, batch};
use crate::config::LogConfig;
use crate::env::{Disk, DiskFile, Env, FileMetadata, MemoryDisk, OpenMode};
use crate::record::BatchProperties;
use crate::storage::*;

/// What a disk was asked for.
#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    looked: AtomicUsize,
    reads: AtomicUsize,
    bytes: AtomicUsize,
}

impl Counts {
    fn take(&self) -> [usize; 4] {
        [&self.opened, &self.looked, &self.reads, &self.bytes].map(|counter| counter.swap(0, Ordering::Relaxed))
    }
}

/// A disk that counts.
#[derive(Clone)]
struct CountedDisk(MemoryDisk, Arc<Counts>);

struct CountedFile(Arc<dyn DiskFile>, Arc<Counts>);

impl DiskFile for CountedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.reads.fetch_add(1, Ordering::Relaxed);
        let count = self.0.read_at(buffer, offset)?;
        self.1.bytes.fetch_add(count, Ordering::Relaxed);
        Ok(count)
    }

    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.0.write_all_vectored_at(slices, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        self.1.looked.fetch_add(1, Ordering::Relaxed);
        self.0.size()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.descriptor()
    }
}

impl Disk for CountedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.1.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(CountedFile(self.0.open(path, mode)?, self.1.clone())))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMetadata> {
        self.1.looked.fetch_add(1, Ordering::Relaxed);
        self.0.metadata(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.0.lock(path)
    }
}

/// A log of this world on a disk that counts.
fn counted(world: &World) -> (Arc<Log>, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let disk = CountedDisk(world.disk.clone(), counts.clone());
    let env = Env { disk: Arc::new(disk), ..Env::simulated(world.clock.clone(), 1) };
    let directory = LogDirectory::new(env, "/data", Uuid::nil(), 1_000);
    (Log::open(LogOptions { directory, clean_shutdown: true, ..world.options() }).unwrap(), counts)
}

const FIRST_TIME: i64 = 1000;

/// The most that a look-up takes, once each segment has been asked for: opened files, sizes, reads and bytes.
fn dearest(log: &Log, counts: &Counts, batches: i64) -> [usize; 4] {
    let mut dearest = [0; 4];
    for is_counted in [false, true] {
        counts.take();
        for number in (0..batches).step_by(7) {
            let found = log.offset_for_timestamp(FIRST_TIME + number).unwrap().unwrap();
            assert_eq!((found.offset, found.timestamp), (number, FIRST_TIME + number));
            let taken = counts.take();
            if is_counted {
                dearest.iter_mut().zip(taken).for_each(|(most, count)| *most = count.max(*most));
            }
        }
    }
    dearest
}

#[test]
fn an_offset_for_a_time_costs_little_more_in_a_long_log() {
    let cost = |batches: i64, is_opened_anew: bool| {
        let mut world = World::new();
        world.config = LogConfig { segment_bytes: 128 << 10, index_interval_bytes: 100, ..world.config };
        let (mut log, mut counts) = counted(&world);
        for number in 0..batches {
            append(&log, batch(BatchProperties::default(), 1, FIRST_TIME + number));
        }
        if is_opened_anew {
            log.close().unwrap();
            (log, counts) = counted(&world);
        }
        (log.segment_count(), dearest(&log, &counts, batches))
    };
    // While it is written the indexes of the only segment are in memory: the batch of the time index entry, the next one, its records.
    let (segments, short) = cost(300, false);
    assert!(segments == 1 && short[..3] == [0, 0, 3] && short[3] <= 9_000, "{short:?}");
    for is_opened_anew in [false, true] {
        for (batches, segments_min) in [(4_000, 3), (20_000, 12)] {
            let (segments, long) = cost(batches, is_opened_anew);
            assert!(segments >= segments_min, "{segments}");
            // The sizes of two index files and two blocks of each, or three, beside what the short log reads.
            let [opened, looked, reads, bytes] = long;
            assert!(opened == 0 && looked <= 2 && reads <= 6 + 4 && bytes <= 6 * 4096 + 9_000, "{segments}: {long:?}");
        }
    }
}

#[test]
fn times_that_go_back_and_forth_are_found_in_the_first_segment_that_has_them() {
    let world = World::new();
    let (log, _) = counted(&world);
    // Each hundred batches begin again, a little later.
    let times: Vec<i64> = (0..600).map(|number| FIRST_TIME + (number % 100) + number / 100 * 30).collect();
    for time in &times {
        append(&log, batch(BatchProperties::default(), 1, *time));
    }
    assert!(log.segment_count() > 20);
    log.update_high_watermark(600);
    for start in [0, 0, 90, 350, 351, 599] {
        log.delete_records_before(start).unwrap();
        for asked in (FIRST_TIME - 1..FIRST_TIME + 260).rev().chain(FIRST_TIME..FIRST_TIME + 260) {
            let expected = (start..600).find(|number| times[*number as usize] >= asked);
            let found = log.offset_for_timestamp(asked).unwrap().map(|found| found.offset);
            assert_eq!(found, expected, "{asked} from {start}");
        }
    }
}
