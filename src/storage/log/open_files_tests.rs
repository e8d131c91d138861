//! Logs that share few file handles, and a process that has none left.
#![allow(clippy::disallowed_methods)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use uuid::Uuid;

use super::log_tests::{append, batch, fill, read_all};
use crate::config::LogConfig;
use crate::env::{Disk, DiskFile, Env, FileMetadata, ManualClock, MemoryDisk, OpenMode};
use crate::record::BatchProperties;
use crate::storage::*;
use crate::types::TopicPartition;

/// A disk that refuses to open files while `crowded`, and counts what it is asked.
#[derive(Clone)]
pub(super) struct CrowdedDisk {
    pub(super) inner: MemoryDisk,
    pub(super) crowded: Arc<AtomicBool>,
    pub(super) opened: Arc<AtomicUsize>,
    pub(super) looked: Arc<AtomicUsize>,
    pub(super) listed: Arc<AtomicUsize>,
}

impl CrowdedDisk {
    pub(super) fn new(inner: MemoryDisk) -> Self {
        Self { inner, crowded: Arc::default(), opened: Arc::default(), looked: Arc::default(), listed: Arc::default() }
    }
}

impl Disk for CrowdedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if self.crowded.load(Ordering::Relaxed) {
            return Err(rustix::io::Errno::MFILE.into());
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.inner.open(path, mode)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMetadata> {
        self.looked.fetch_add(1, Ordering::Relaxed);
        self.inner.metadata(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.listed.fetch_add(1, Ordering::Relaxed);
        self.inner.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.inner.lock(path)
    }
}

fn logs(count: i32) -> (Vec<Arc<Log>>, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let clock = ManualClock::new(1_000_000);
    let inner = MemoryDisk::new(Arc::new(clock.clone()));
    inner.create_dir_all(Path::new("/data")).unwrap();
    let disk = CrowdedDisk::new(inner);
    let (crowded, opened) = (disk.crowded.clone(), disk.opened.clone());
    let env = Env { disk: Arc::new(disk), ..Env::simulated(clock, 1) };
    let directory = LogDirectory::new(env, "/data", Uuid::nil(), 10);
    let config = Arc::new(LogConfig { segment_bytes: 2048, index_interval_bytes: 100, ..LogConfig::default() });
    let open = |number| {
        Log::open(LogOptions::new(directory.clone(), TopicPartition::new("t", number), config.clone())).unwrap()
    };
    ((0..count).map(open).collect(), crowded, opened)
}

#[test]
fn many_logs_share_few_handles() {
    let (logs, _, opened) = logs(30);
    for _ in 0..3 {
        logs.iter().for_each(|log| fill(log, 20));
    }
    for log in &logs {
        assert_eq!(read_all(log, 0).len(), 60);
    }
    assert!(opened.load(Ordering::Relaxed) > 100, "handles were closed and opened again");
    // One log in use keeps its handle.
    let log = &logs[0];
    append(log, batch(BatchProperties::default(), 1, 1));
    let before = opened.load(Ordering::Relaxed);
    for _ in 0..5 {
        append(log, batch(BatchProperties::default(), 1, 1));
    }
    assert_eq!(opened.load(Ordering::Relaxed), before);
}

#[test]
fn too_many_open_files_is_no_failure_of_the_disk() {
    let (logs, crowded, _) = logs(30);
    logs.iter().for_each(|log| fill(log, 16));
    crowded.store(true, Ordering::Relaxed);
    let (mut refused, mut written) = (0, vec![48; logs.len()]);
    for round in 0..40 {
        for (number, log) in logs.iter().enumerate() {
            let batch = batch(BatchProperties::default(), 1, 1);
            match log.append_records(batch, round, AppendOrigin::Client, 0) {
                Ok(info) => written[number] = info.log_end_offset,
                Err(StorageError::Io { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        let _ = logs[0].flush();
    }
    assert!(refused > 0 && !logs[0].log_directory().is_offline());
    crowded.store(false, Ordering::Relaxed);
    for (log, written) in logs.iter().zip(written) {
        assert_eq!(append(log, batch(BatchProperties::default(), 1, 1)).first_offset, written);
        log.flush().unwrap();
        let batches = read_all(log, 0);
        assert_eq!(batches.last().unwrap().0.next_offset(), written + 1);
        let epochs: Vec<i32> = log.epoch_entries().iter().map(|entry| entry.epoch).collect();
        assert!(batches.iter().all(|(header, _)| epochs.contains(&header.partition_leader_epoch)));
    }
}
