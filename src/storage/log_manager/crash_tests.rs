//! A crash after every single change of the disk, by kill and by power cut: the next start finds what was promised.
#![allow(clippy::disallowed_methods)]

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::config::LogConfig;
use crate::env::{Disk, DiskFile, Env, FileMetadata, ManualClock, MemoryDisk, OpenMode};
use crate::storage::log::log_tests::{append, read_all, sequenced};
use crate::storage::*;
use crate::types::TopicPartition;

/// What has been promised so far.
#[derive(Clone, Copy, Debug, Default)]
struct Promises {
    /// Appends up to here were answered.
    appended: i64,
    /// Flushes up to here were answered.
    flushed: i64,
}

/// The disk at one moment.
struct Moment {
    what: String,
    killed: MemoryDisk,
    without_power: MemoryDisk,
    promises: Promises,
}

#[derive(Default)]
struct History {
    moments: Vec<Moment>,
    promises: Promises,
}

/// A disk that remembers itself after every change.
#[derive(Clone)]
struct WatchedDisk {
    inner: MemoryDisk,
    history: Arc<Mutex<History>>,
}

struct WatchedFile {
    inner: Arc<dyn DiskFile>,
    path: PathBuf,
    disk: WatchedDisk,
}

impl WatchedDisk {
    fn changed<T>(&self, what: &str, path: &Path, result: io::Result<T>) -> io::Result<T> {
        let mut history = self.history.lock();
        let promises = history.promises;
        history.moments.push(Moment {
            what: format!("{what} {}", path.display()),
            killed: self.inner.process_crash(),
            without_power: self.inner.power_cut(),
            promises,
        });
        result
    }
}

impl DiskFile for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        // A write may be torn: half of it first.
        if let Some(first) = slices.first() {
            self.inner.write_all_at(&first[..first.len() / 2], offset)?;
            self.disk.changed("torn write", &self.path, Ok(()))?;
        }
        self.disk.changed("write", &self.path, self.inner.write_all_vectored_at(slices, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.changed("sync", &self.path, self.inner.sync_data())
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.changed("cut", &self.path, self.inner.set_len(len))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Disk for WatchedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(path, mode)?;
        if matches!(mode, OpenMode::CreateReadWrite | OpenMode::Truncate) {
            self.changed("create", path, Ok(()))?;
        }
        Ok(Arc::new(WatchedFile { inner, path: path.to_owned(), disk: self.clone() }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.changed("create directory", path, self.inner.create_dir_all(path))
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMetadata> {
        self.inner.metadata(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changed("rename", from, self.inner.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.changed("remove", path, self.inner.remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.changed("remove", path, self.inner.remove_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.changed("sync directory", path, self.inner.sync_dir(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.inner.lock(path)
    }
}

fn env(disk: Arc<dyn Disk>) -> Env {
    Env { disk, ..Env::simulated(ManualClock::new(1_000_000), 3) }
}

fn open(disk: Arc<dyn Disk>) -> Arc<LogManager> {
    LogManager::open(env(disk), LogManagerOptions::new(vec!["/data".into()], 1)).unwrap()
}

fn log_of(manager: &LogManager) -> Arc<Log> {
    let config =
        LogConfig { segment_bytes: 600, index_interval_bytes: 100, retention_bytes: 1500, ..LogConfig::default() };
    manager.get_or_create(&TopicPartition::new("t", 0), Uuid::from_u128(9), Arc::new(config)).unwrap()
}

/// Two lives of a broker, the first stopped cleanly: appends, flushes, deletes, retention.
fn live(disk: &WatchedDisk) {
    let mut sequence = 0;
    for life in 0..2 {
        let manager = open(Arc::new(disk.clone()));
        let log = log_of(&manager);
        log.assign_epoch_start_offset(life, log.log_end_offset()).unwrap();
        for round in 0..12 {
            let batch = sequenced(4, 0, sequence, 2);
            sequence += 2;
            let info = log.append_records(batch, life, AppendOrigin::Client, 0).unwrap();
            log.update_high_watermark(info.log_end_offset);
            disk.history.lock().promises.appended = info.log_end_offset;
            if round % 3 == 2 {
                log.flush_ticket(info.log_end_offset).now_or_never().expect("inline").unwrap();
                disk.history.lock().promises.flushed = info.log_end_offset;
            }
            if round == 7 {
                log.delete_records_before(log.log_start_offset() + 3).unwrap();
                log.delete_old_segments(1_000_000).unwrap();
            }
        }
        manager.shutdown(life.into()).unwrap();
    }
}

fn check(disk: &MemoryDisk, promised: i64, appended: i64, what: &str) {
    let manager = open(Arc::new(disk.clone()));
    let log = log_of(&manager);
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    assert!(end >= promised, "{what}: {promised} was promised, the log ends at {end}");
    assert!(end <= appended + 2, "{what}: {end}");
    let mut next = start - start % 2;
    for (header, _) in read_all(&log, start) {
        assert_eq!((header.base_offset, i64::from(header.base_sequence)), (next, next), "{what}");
        let epochs = log.epoch_entries();
        let known = epochs.iter().any(|entry| entry.epoch == header.partition_leader_epoch);
        assert!(known, "{what}: epoch {} is not in {epochs:?}", header.partition_leader_epoch);
        next = header.next_offset();
    }
    assert_eq!(next, end.max(start - start % 2), "{what}");
    if end > start {
        let sequence = i32::try_from(end).unwrap();
        assert!(append(&log, sequenced(4, 0, sequence - 2, 2)).duplicate, "{what}: the producer is known");
        assert!(!append(&log, sequenced(4, 0, sequence, 2)).duplicate, "{what}");
    }
    manager.shutdown(7).unwrap();
    drop((manager, log));
    assert_eq!(
        log_of(&open(Arc::new(disk.clone()))).log_end_offset(),
        if end > start { end + 2 } else { end },
        "{what}"
    );
}

#[test]
fn a_crash_after_any_change_loses_nothing_that_was_promised() {
    let inner = MemoryDisk::new(Arc::new(ManualClock::new(1_000_000)));
    let disk = WatchedDisk { inner, history: Arc::default() };
    live(&disk);
    let moments = std::mem::take(&mut disk.history.lock().moments);
    assert!(moments.len() > 150, "{}", moments.len());
    for (number, Moment { what, killed, without_power, promises }) in moments.iter().enumerate() {
        check(killed, promises.appended, promises.appended, &format!("kill after {number}: {what}"));
        check(without_power, promises.flushed, promises.appended, &format!("power cut after {number}: {what}"));
    }
}
