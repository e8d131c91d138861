//! A file system in memory: what `--ephemeral` runs on, and what tests cut the power of.
//!
//! It keeps apart what was written and what was synced. `power_cut` throws away every byte that no `sync_data` covered
//! and every creation, rename or removal whose directory was not synced, as an unforgiving disk would.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::clock::Clock;
use super::disk::{Disk, DiskFile, FileKind, FileMetadata, FileSystem, OpenMode};

/// A file is a list of chunks of this size, the last one shorter; a growing file moves at most its last chunk.
const CHUNK_SIZE: usize = 64 * 1024;

/// A file system in memory. Cheap to clone; clones are one disk.
#[derive(Clone)]
pub struct MemoryDisk {
    device: Arc<Device>,
    state: Arc<Mutex<DiskState>>,
}

/// What files know of their disk. Not the disk itself, which knows its files: neither would ever be freed.
struct Device {
    clock: Arc<dyn Clock>,
    fault: Mutex<Option<Fault>>,
    /// Whether durable contents are kept beside the written ones; off for `--ephemeral`.
    tracks_durability: bool,
}

#[derive(Default)]
struct DiskState {
    files: BTreeMap<PathBuf, Arc<MemoryFile>>,
    directories: BTreeSet<PathBuf>,
    durable_files: BTreeMap<PathBuf, Arc<MemoryFile>>,
    durable_directories: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
}

/// A failure that a test plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every write fails with EIO.
    Write,
    /// Every sync fails with EIO.
    Sync,
    /// Every write fails with ENOSPC.
    Full,
}

struct MemoryFile {
    contents: RwLock<Contents>,
    durable: Mutex<Vec<u8>>,
    device: Arc<Device>,
}

#[derive(Default)]
struct Contents {
    chunks: Vec<Vec<u8>>,
    len: usize,
    modified_millis: i64,
}

impl MemoryDisk {
    /// An empty disk that remembers what was synced.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_durability(clock, true)
    }

    /// An empty disk without the memory of what was synced: half the cost, and no power cuts.
    pub fn ephemeral(clock: Arc<dyn Clock>) -> Self {
        Self::with_durability(clock, false)
    }

    fn with_durability(clock: Arc<dyn Clock>, tracks_durability: bool) -> Self {
        let device = Device { clock, fault: Mutex::new(None), tracks_durability };
        Self { device: Arc::new(device), state: Arc::default() }
    }

    /// Plans a failure of every later write or sync, or ends it.
    pub fn set_fault(&self, fault: Option<Fault>) {
        *self.device.fault.lock() = fault;
    }

    /// The disk as it is after the power was cut now: only what was synced. Open handles keep the old disk.
    pub fn power_cut(&self) -> Self {
        assert!(self.device.tracks_durability, "an ephemeral disk has no durable state");
        let after = Self::new(self.device.clock.clone());
        let before = self.state.lock();
        let mut state = after.state.lock();
        state.directories = before.durable_directories.clone();
        state.durable_directories = before.durable_directories.clone();
        for (path, file) in &before.durable_files {
            let bytes = file.durable.lock().clone();
            let copy = MemoryFile::new(&after);
            copy.contents.write().write(&bytes, 0);
            *copy.durable.lock() = bytes;
            let copy = Arc::new(copy);
            state.files.insert(path.clone(), copy.clone());
            state.durable_files.insert(path.clone(), copy);
        }
        drop(state);
        after
    }

    /// The disk as a process crash leaves it: every written byte, no lock. Open handles keep the old disk.
    pub fn process_crash(&self) -> Self {
        let after = Self::with_durability(self.device.clock.clone(), self.device.tracks_durability);
        let before = self.state.lock();
        let mut state = after.state.lock();
        state.directories = before.directories.clone();
        state.durable_directories = before.durable_directories.clone();
        for (path, file) in &before.files {
            let copy = MemoryFile::new(&after);
            copy.contents.write().write(&file.contents.read().to_vec(), 0);
            *copy.durable.lock() = file.durable.lock().clone();
            let copy = Arc::new(copy);
            if before.durable_files.get(path).is_some_and(|durable| Arc::ptr_eq(durable, file)) {
                state.durable_files.insert(path.clone(), copy.clone());
            }
            state.files.insert(path.clone(), copy);
        }
        drop(state);
        after
    }
}

impl Contents {
    fn read(&self, buffer: &mut [u8], offset: usize) -> usize {
        let count = buffer.len().min(self.len.saturating_sub(offset));
        let mut done = 0;
        while done < count {
            let position = offset + done;
            let chunk = &self.chunks[position / CHUNK_SIZE][position % CHUNK_SIZE..];
            let part = chunk.len().min(count - done);
            buffer[done..done + part].copy_from_slice(&chunk[..part]);
            done += part;
        }
        count
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        self.set_len(self.len.max(offset + bytes.len()));
        let mut done = 0;
        while done < bytes.len() {
            let position = offset + done;
            let chunk = &mut self.chunks[position / CHUNK_SIZE][position % CHUNK_SIZE..];
            let part = chunk.len().min(bytes.len() - done);
            chunk[..part].copy_from_slice(&bytes[done..done + part]);
            done += part;
        }
    }

    fn set_len(&mut self, len: usize) {
        let full = len / CHUNK_SIZE;
        self.chunks.truncate(len.div_ceil(CHUNK_SIZE));
        for index in self.chunks.len().saturating_sub(1)..len.div_ceil(CHUNK_SIZE) {
            if index == self.chunks.len() {
                self.chunks.push(Vec::new());
            }
            self.chunks[index].resize(if index < full { CHUNK_SIZE } else { len % CHUNK_SIZE }, 0);
        }
        self.len = len;
    }

    fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.read(&mut bytes, 0);
        bytes
    }
}

impl MemoryFile {
    fn new(disk: &MemoryDisk) -> Self {
        let contents = Contents { modified_millis: disk.device.clock.wall_millis(), ..Contents::default() };
        Self { contents: RwLock::new(contents), durable: Mutex::default(), device: disk.device.clone() }
    }

    fn check(&self, failing: &[Fault]) -> io::Result<()> {
        match *self.device.fault.lock() {
            Some(Fault::Full) if failing.contains(&Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(fault) if failing.contains(&fault) => Err(rustix::io::Errno::IO.into()),
            _ => Ok(()),
        }
    }
}

fn to_position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.contents.read().read(buffer, to_position(offset)?))
    }

    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.check(&[Fault::Write, Fault::Full])?;
        let mut position = to_position(offset)?;
        let mut contents = self.contents.write();
        for slice in slices {
            contents.write(slice, position);
            position += slice.len();
        }
        contents.modified_millis = self.device.clock.wall_millis();
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check(&[Fault::Sync])?;
        if self.device.tracks_durability {
            *self.durable.lock() = self.contents.read().to_vec();
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.contents.read().len as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(&[Fault::Write])?;
        self.contents.write().set_len(to_position(len)?);
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{}: no such file or directory", path.display()))
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        if let Some(file) = state.files.get(path) {
            if mode == OpenMode::Truncate {
                file.contents.write().set_len(0);
            }
            return Ok(file.clone());
        }
        let parent_exists = path.parent().is_none_or(|parent| state.directories.contains(parent));
        if matches!(mode, OpenMode::Read | OpenMode::ReadWrite) || !parent_exists {
            return Err(not_found(path));
        }
        let file = Arc::new(MemoryFile::new(self));
        state.files.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.directories.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMetadata> {
        let state = self.state.lock();
        if let Some(file) = state.files.get(path) {
            let contents = file.contents.read();
            let (len, modified_millis) = (contents.len as u64, contents.modified_millis);
            return Ok(FileMetadata { kind: FileKind::File, len, modified_millis });
        }
        if state.directories.contains(path) {
            return Ok(FileMetadata { kind: FileKind::Directory, len: 0, modified_millis: 0 });
        }
        Err(not_found(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state.lock();
        if !state.directories.contains(path) {
            return Err(not_found(path));
        }
        let mut entries: Vec<PathBuf> = state.files.keys().chain(&state.directories).cloned().collect();
        entries.retain(|entry| entry.parent() == Some(path));
        entries.sort();
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Some(file) = state.files.remove(from) {
            state.files.insert(to.to_owned(), file);
            return Ok(());
        }
        if !state.directories.contains(from) {
            return Err(not_found(from));
        }
        let moved = |path: &Path| path.strip_prefix(from).ok().map(|rest| join(to, rest));
        state.files = std::mem::take(&mut state.files)
            .into_iter()
            .map(|(path, file)| (moved(&path).unwrap_or(path), file))
            .collect();
        state.directories =
            std::mem::take(&mut state.directories).into_iter().map(|path| moved(&path).unwrap_or(path)).collect();
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state.lock().files.remove(path).map(drop).ok_or_else(|| not_found(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.directories.contains(path) {
            return Err(not_found(path));
        }
        state.files.retain(|file, _| !file.starts_with(path));
        state.directories.retain(|directory| !directory.starts_with(path));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if *self.device.fault.lock() == Some(Fault::Sync) {
            return Err(rustix::io::Errno::IO.into());
        }
        if !self.device.tracks_durability {
            return Ok(());
        }
        let state = &mut *state;
        // A directory that is gone takes what it held with it.
        let gone: Vec<PathBuf> = (state.durable_directories.iter())
            .filter(|entry| entry.parent() == Some(path) && !state.directories.contains(*entry))
            .cloned()
            .collect();
        let is_gone = |entry: &Path| gone.iter().any(|directory| entry.starts_with(directory));
        let is_child = |entry: &Path| entry.parent() == Some(path);
        state.durable_files.retain(|entry, _| !is_child(entry) && !is_gone(entry));
        state.durable_directories.retain(|entry| !is_gone(entry));
        let children = state.files.iter().filter(|(entry, _)| is_child(entry));
        state.durable_files.extend(children.map(|(entry, file)| (entry.clone(), file.clone())));
        state.durable_directories.extend(path.ancestors().map(Path::to_owned));
        let children: Vec<PathBuf> = state.directories.iter().filter(|entry| is_child(entry)).cloned().collect();
        for directory in children {
            // A renamed directory brings the files that were durable under its old name.
            if state.durable_directories.insert(directory.clone()) {
                let files = state.files.iter().filter(|(entry, _)| entry.starts_with(&directory));
                let files = files.filter(|(_, file)| !file.durable.lock().is_empty());
                state.durable_files.extend(files.map(|(entry, file)| (entry.clone(), file.clone())));
            }
        }
        Ok(())
    }

    fn file_system(&self, _path: &Path) -> io::Result<Option<Arc<dyn FileSystem>>> {
        Ok(Some(Arc::new(self.clone())))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        if !self.state.lock().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(LockGuard { state: self.state.clone(), path: path.to_owned() }))
    }
}

impl FileSystem for MemoryDisk {
    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        for file in state.files.values() {
            file.sync_data()?;
        }
        if self.device.tracks_durability {
            state.durable_files = state.files.clone();
            state.durable_directories = state.directories.clone();
        }
        Ok(())
    }
}

struct LockGuard {
    state: Arc<Mutex<DiskState>>,
    path: PathBuf,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.state.lock().locks.remove(&self.path);
    }
}

fn join(base: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { base.to_owned() } else { base.join(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::ManualClock;

    fn disk() -> MemoryDisk {
        let disk = MemoryDisk::new(Arc::new(ManualClock::new(5)));
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk
    }

    #[test]
    fn reads_what_was_written_across_chunks() {
        let disk = disk();
        let file = disk.open(Path::new("/data/a"), OpenMode::CreateReadWrite).unwrap();
        let bytes: Vec<u8> = (0..3 * CHUNK_SIZE + 7).map(|index| (index % 251) as u8).collect();
        for (index, part) in bytes.chunks(10_007).enumerate() {
            file.write_all_at(part, index as u64 * 10_007).unwrap();
        }
        assert_eq!(disk.read(Path::new("/data/a"), usize::MAX).unwrap(), bytes);
        file.set_len(CHUNK_SIZE as u64 + 1).unwrap();
        file.set_len(2 * CHUNK_SIZE as u64).unwrap();
        let cut = disk.read(Path::new("/data/a"), usize::MAX).unwrap();
        assert_eq!(cut[..=CHUNK_SIZE], bytes[..=CHUNK_SIZE]);
        assert!(cut[CHUNK_SIZE + 1..].iter().all(|byte| *byte == 0));
        assert_eq!(disk.metadata(Path::new("/data/a")).unwrap().modified_millis, 5);
    }

    #[test]
    fn a_power_cut_takes_what_was_not_synced() {
        let disk = disk();
        let synced = disk.open(Path::new("/data/synced"), OpenMode::CreateReadWrite).unwrap();
        synced.write_all_at(b"kept", 0).unwrap();
        synced.sync_data().unwrap();
        disk.sync_dir(Path::new("/data")).unwrap();
        synced.write_all_at(b"lost", 4).unwrap();
        let orphan = disk.open(Path::new("/data/orphan"), OpenMode::CreateReadWrite).unwrap();
        orphan.sync_data().unwrap();
        let after = disk.power_cut();
        assert_eq!(after.read(Path::new("/data/synced"), 100).unwrap(), b"kept");
        assert_eq!(after.read_dir(Path::new("/data")).unwrap(), [Path::new("/data/synced")]);
        let crashed = disk.process_crash();
        assert_eq!(crashed.read(Path::new("/data/synced"), 100).unwrap(), b"keptlost");
        assert_eq!(crashed.read_dir(Path::new("/data")).unwrap().len(), 2);
    }

    #[test]
    fn a_rename_is_durable_only_with_its_directory() {
        let disk = disk();
        let path = Path::new("/data/a");
        disk.write_atomically(path, b"one").unwrap();
        let file = disk.open(Path::new("/data/b"), OpenMode::CreateReadWrite).unwrap();
        file.write_all_at(b"two", 0).unwrap();
        file.sync_data().unwrap();
        disk.rename(Path::new("/data/b"), path).unwrap();
        assert_eq!(disk.power_cut().read(path, 100).unwrap(), b"one");
        disk.sync_dir(Path::new("/data")).unwrap();
        assert_eq!(disk.power_cut().read(path, 100).unwrap(), b"two");
    }

    #[test]
    fn syncing_the_file_system_keeps_everything_as_it_is() {
        let disk = disk();
        disk.write_atomically(Path::new("/data/gone"), b"x").unwrap();
        disk.create_dir_all(Path::new("/data/t-0")).unwrap();
        let file = disk.open(Path::new("/data/t-0/a"), OpenMode::CreateReadWrite).unwrap();
        file.write_all_at(b"one", 0).unwrap();
        disk.remove_file(Path::new("/data/gone")).unwrap();
        disk.file_system(Path::new("/data")).unwrap().expect("there is one").sync().unwrap();
        file.write_all_at(b"two", 3).unwrap();
        let after = disk.power_cut();
        assert_eq!(after.read(Path::new("/data/t-0/a"), 100).unwrap(), b"one");
        assert!(after.metadata(Path::new("/data/gone")).is_err());
        disk.set_fault(Some(Fault::Sync));
        assert!(disk.file_system(Path::new("/data")).unwrap().expect("there is one").sync().is_err());
    }

    #[test]
    fn planned_faults_strike_writes_and_syncs() {
        let disk = disk();
        let file = disk.open(Path::new("/data/a"), OpenMode::CreateReadWrite).unwrap();
        disk.set_fault(Some(Fault::Full));
        assert_eq!(file.write_all_at(b"x", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.set_fault(Some(Fault::Sync));
        file.write_all_at(b"x", 0).unwrap();
        assert!(file.sync_data().is_err());
        disk.set_fault(None);
        file.sync_data().unwrap();
    }

    #[test]
    fn a_lock_is_held_once() {
        let disk = disk();
        let guard = disk.lock(Path::new("/data/.lock")).unwrap();
        assert!(disk.lock(Path::new("/data/.lock")).is_err());
        drop(guard);
        disk.lock(Path::new("/data/.lock")).unwrap();
    }

    #[test]
    fn a_disk_is_freed_with_its_files() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
        let disk = MemoryDisk::new(clock.clone());
        disk.create_dir_all(Path::new("/d")).unwrap();
        let file = disk.open(Path::new("/d/f"), OpenMode::CreateReadWrite).unwrap();
        drop((disk, file));
        assert_eq!(Arc::strong_count(&clock), 1);
    }
}
