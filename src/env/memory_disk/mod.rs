//! A file system in memory: what `--ephemeral` runs on, and what tests cut the power of.
//!
//! A simulated disk keeps apart what was written and what was synced: of each file the changes since its last sync, of each
//! directory the names that changed since its last sync. [`MemoryDisk::power_cuts`] gives every disk that POSIX allows after
//! a power cut, [`MemoryDisk::power_cut`] the one that lost everything unsynced, [`MemoryDisk::process_crash`] what a kill leaves.
//! Failures of chosen calls are planned with [`MemoryDisk::fail`], a machine that stops at a chosen call with
//! [`MemoryDisk::halt_at`]; a watched disk keeps a copy of itself after every change ([`MemoryDisk::watch`]).

mod contents;
mod faults;
mod file;
mod names;
mod power_cut;
#[cfg(test)]
mod tests;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::clock::Clock;
use super::disk::{Disk, DiskFile, FileKind, FileMetadata, FileSystem, OpenMode};
use super::random::SeededRandom;
use contents::{Contents, FileState};
pub use faults::{Call, Failure, Fault, Moment, PlannedFault};
use faults::{Device, Simulation, Watch};
use file::MemoryFile;
use names::{DirectoryId, Entry, NameChange, Names, Node, ROOTS};
pub use power_cut::{PowerCut, PowerCuts};

/// A file system in memory. Cheap to clone; clones are one disk.
#[derive(Clone)]
pub struct MemoryDisk {
    device: Arc<Device>,
    state: Arc<Mutex<DiskState>>,
}

struct DiskState {
    files: BTreeMap<PathBuf, Arc<MemoryFile>>,
    directories: BTreeMap<PathBuf, DirectoryId>,
    next_directory: DirectoryId,
    /// `None` on an ephemeral disk.
    names: Option<Names>,
    locks: BTreeSet<PathBuf>,
}

impl MemoryDisk {
    /// An empty disk that remembers what was synced.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with(Device::simulated(clock))
    }

    /// An empty disk without the memory of what was synced: half the cost, no power cuts, no planned failures.
    pub fn ephemeral(clock: Arc<dyn Clock>) -> Self {
        Self::with(Device { clock, simulation: None })
    }

    fn with(device: Device) -> Self {
        let names = device.simulation.is_some().then(Names::default);
        let directories: BTreeMap<_, _> = ROOTS.iter().map(|(root, id)| (PathBuf::from(root), *id)).collect();
        let next_directory = directories.len() as DirectoryId;
        let state = DiskState { files: BTreeMap::new(), directories, next_directory, names, locks: BTreeSet::new() };
        Self { device: Arc::new(device), state: Arc::new(Mutex::new(state)) }
    }

    /// A disk on which everything is durable. Directories come before what they hold.
    fn of_durable(clock: Arc<dyn Clock>, paths: Vec<(PathBuf, Option<Contents>)>) -> Self {
        let disk = Self::new(clock);
        {
            let mut state = disk.state.lock();
            for (path, contents) in paths {
                let Some(at) = state.entry_of(&path) else { continue };
                let node = match contents {
                    Some(contents) => {
                        let file = MemoryFile::new(FileState::durable(contents), &disk.device);
                        state.files.insert(path, file.clone());
                        Node::File(file)
                    }
                    None => Node::Directory(state.add_directory(path)),
                };
                state.names.get_or_insert_default().insert_durable(at, node);
            }
        }
        disk
    }

    fn simulation<T>(&self, with: impl FnOnce(&mut Simulation) -> T) -> T {
        let simulation = self.device.simulation.as_ref();
        with(&mut simulation.expect("an ephemeral disk is not simulated").lock())
    }

    /// Plans a failure of every later write or sync, or ends it.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.simulation(|simulation| simulation.fault = fault);
    }

    /// Plans a failure of chosen calls.
    pub fn fail(&self, fault: PlannedFault) {
        self.simulation(|simulation| simulation.planned.push((fault, 0)));
    }

    /// How many calls the disk has had, of all kinds.
    pub fn calls(&self) -> u64 {
        self.simulation(|simulation| simulation.calls)
    }

    /// How many calls failed, or were cut short, as planned by [`MemoryDisk::fail`].
    pub fn failures(&self) -> u64 {
        self.simulation(|simulation| simulation.failures)
    }

    /// Stops the machine at the `nth` call from now, counted from 1: that call and all later ones fail and do nothing. What is left
    /// behind is [`MemoryDisk::process_crash`] or one of [`MemoryDisk::power_cuts`].
    pub fn halt_at(&self, nth: u64) {
        self.simulation(|simulation| simulation.halt_at = simulation.calls.saturating_add(nth));
    }

    /// Keeps a copy of the disk after every call that may have changed it, and of every write half done.
    pub fn watch(&self) {
        let disk = Arc::downgrade(&self.state);
        self.simulation(|simulation| simulation.watch = Some(Watch { disk, mark: 0, moments: Vec::new() }));
    }

    /// Gives the moments from now on a number: how far the test is.
    pub fn mark(&self, mark: u64) {
        self.simulation(|simulation| simulation.watch.iter_mut().for_each(|watch| watch.mark = mark));
    }

    /// The moments since the last call.
    pub fn moments(&self) -> Vec<Moment> {
        self.simulation(|simulation| {
            simulation.watch.as_mut().map(|watch| std::mem::take(&mut watch.moments)).unwrap_or_default()
        })
    }

    /// The disk as it is after the power was cut now and nothing was lucky: only what was synced. Open handles keep the old disk.
    pub fn power_cut(&self) -> Self {
        self.power_cuts().nothing_survives()
    }

    /// Every disk that may be left after the power was cut now.
    pub fn power_cuts(&self) -> PowerCuts {
        PowerCuts::new(self.fork())
    }

    /// The disk as a process crash leaves it: every written byte, no lock, no planned failure; what was not synced is not synced.
    /// Open handles keep the old disk.
    pub fn process_crash(&self) -> Self {
        self.fork()
    }

    fn fork(&self) -> Self {
        let clock = self.device.clock.clone();
        let fork = match &self.device.simulation {
            Some(_) => Self::new(clock),
            None => Self::ephemeral(clock),
        };
        let before = self.state.lock();
        let mut copies: HashMap<*const MemoryFile, Arc<MemoryFile>> = HashMap::new();
        let durable = before.names.iter().flat_map(Names::files);
        for file in before.files.values().chain(durable) {
            let copy = || MemoryFile::new(file.state.read().clone(), &fork.device);
            copies.entry(Arc::as_ptr(file)).or_insert_with(copy);
        }
        let copy_of = |file: &Arc<MemoryFile>| copies[&Arc::as_ptr(file)].clone();
        {
            let mut state = fork.state.lock();
            state.files = before.files.iter().map(|(path, file)| (path.clone(), copy_of(file))).collect();
            state.directories = before.directories.clone();
            state.next_directory = before.next_directory;
            state.names = before.names.as_ref().map(|names| names.map_files(copy_of));
        }
        fork
    }

    /// A number that is the same for disks with the same names and bytes.
    pub fn fingerprint(&self) -> u64 {
        let state = self.state.lock();
        let mut hasher = DefaultHasher::new();
        state.directories.keys().for_each(|path| path.hash(&mut hasher));
        for (path, file) in &state.files {
            path.hash(&mut hasher);
            file.state.read().contents.to_vec().hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Remembers the disk if it is watched.
    fn note(device: &Arc<Device>, call: Call, file: Option<&MemoryFile>, what: &str) {
        Self::note_as(device, |disk| {
            let path = file.and_then(|file| disk.path_of(file)).unwrap_or_default();
            (format!("{call:?} {what} {}", path.display()), disk.fork())
        });
    }

    /// Remembers the disk as it is when a write is half done.
    fn note_torn_write<'a>(device: &Arc<Device>, file: &MemoryFile, half: impl Fn() -> Vec<&'a [u8]>, offset: usize) {
        Self::note_as(device, |disk| {
            let path = disk.path_of(file).unwrap_or_default();
            let fork = disk.fork();
            if let Some(file) = fork.state.lock().files.get(&path) {
                file.state.write().write(&half(), offset);
            }
            (format!("half of Write {}", path.display()), fork)
        });
    }

    fn note_as(device: &Arc<Device>, moment: impl FnOnce(&Self) -> (String, Self)) {
        let Some(simulation) = &device.simulation else { return };
        let watch = simulation.lock().watch.as_ref().map(|watch| (watch.disk.clone(), watch.mark));
        let Some((state, mark)) = watch.and_then(|(disk, mark)| Some((disk.upgrade()?, mark))) else { return };
        let (what, disk) = moment(&Self { device: device.clone(), state });
        if let Some(watch) = &mut simulation.lock().watch {
            watch.moments.push(Moment { what, mark, disk });
        }
    }

    fn path_of(&self, file: &MemoryFile) -> Option<PathBuf> {
        let state = self.state.lock();
        let found = state.files.iter().find(|(_, candidate)| std::ptr::eq(&***candidate, file));
        found.map(|(path, _)| path.clone())
    }

    /// Does a change of names, and remembers the disk if it is watched.
    fn change(&self, call: Call, path: &Path, change: impl FnOnce(&mut DiskState) -> io::Result<()>) -> io::Result<()> {
        self.device.begin(call)?;
        change(&mut self.state.lock())?;
        Self::note_as(&self.device, |disk| (format!("{call:?} {}", path.display()), disk.fork()));
        Ok(())
    }
}

impl DiskState {
    /// Where a path stands; `None` when the directory that would hold it does not exist.
    fn entry_of(&self, path: &Path) -> Option<Entry> {
        let parent = self.directories.get(path.parent()?)?;
        Some((*parent, path.file_name()?.to_owned()))
    }

    fn existing_entry(&self, path: &Path) -> io::Result<Entry> {
        self.entry_of(path).ok_or_else(|| not_found(path))
    }

    fn add_directory(&mut self, path: PathBuf) -> DirectoryId {
        let id = self.next_directory;
        self.next_directory += 1;
        self.directories.insert(path, id);
        id
    }

    fn note_change(&mut self, change: impl FnOnce() -> NameChange) {
        if let Some(names) = &mut self.names {
            names.change(change());
        }
    }

    fn rename_directory(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = *self.directories.get(from).ok_or_else(|| not_found(from))?;
        let (from_entry, to_entry) = (self.existing_entry(from)?, self.existing_entry(to)?);
        let is_below = |path: &PathBuf| path != to && path.starts_with(to);
        if self.files.keys().any(is_below) || self.directories.keys().any(is_below) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let moved = |path: PathBuf| match path.strip_prefix(from) {
            Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
            Ok(rest) => to.join(rest),
            Err(_) => path,
        };
        self.files = std::mem::take(&mut self.files).into_iter().map(|(path, file)| (moved(path), file)).collect();
        let directories = std::mem::take(&mut self.directories);
        self.directories = directories.into_iter().map(|(path, id)| (moved(path), id)).collect();
        self.note_change(|| NameChange::Move { from: from_entry, to: to_entry, node: Node::Directory(id) });
        Ok(())
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{}: no such file or directory", path.display()))
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let existing = self.state.lock().files.get(path).cloned();
        if let Some(file) = existing {
            self.device.begin(Call::Open)?;
            if mode == OpenMode::Truncate {
                file.set_len(0)?;
            }
            return Ok(file);
        }
        if matches!(mode, OpenMode::Read | OpenMode::ReadWrite) {
            self.device.begin(Call::Open)?;
            return Err(not_found(path));
        }
        let file = MemoryFile::empty(&self.device);
        let created = file.clone();
        self.change(Call::Create, path, move |state| {
            let at = state.existing_entry(path)?;
            state.files.insert(path.to_owned(), created.clone());
            state.note_change(|| NameChange::Link { at, node: Node::File(created) });
            Ok(())
        })?;
        Ok(file)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<PathBuf> = {
            let state = self.state.lock();
            path.ancestors().take_while(|path| !state.directories.contains_key(*path)).map(Path::to_owned).collect()
        };
        for path in missing.into_iter().rev() {
            self.change(Call::CreateDirectory, &path, |state| {
                let at = state.existing_entry(&path)?;
                let node = Node::Directory(state.add_directory(path.clone()));
                state.note_change(|| NameChange::Link { at, node });
                Ok(())
            })?;
        }
        Ok(())
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMetadata> {
        self.device.begin(Call::Look)?;
        let state = self.state.lock();
        if let Some(file) = state.files.get(path) {
            let file = file.state.read();
            let (len, modified_millis) = (file.contents.len() as u64, file.contents.modified_millis);
            return Ok(FileMetadata { kind: FileKind::File, len, modified_millis });
        }
        if state.directories.contains_key(path) {
            return Ok(FileMetadata { kind: FileKind::Directory, len: 0, modified_millis: 0 });
        }
        Err(not_found(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.device.begin(Call::Look)?;
        let state = self.state.lock();
        if !state.directories.contains_key(path) {
            return Err(not_found(path));
        }
        let mut entries: Vec<PathBuf> = state.files.keys().chain(state.directories.keys()).cloned().collect();
        entries.retain(|entry| entry.parent() == Some(path));
        entries.sort();
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Call::Rename, from, |state| {
            let Some(file) = state.files.get(from).cloned() else { return state.rename_directory(from, to) };
            let (from_entry, to_entry) = (state.existing_entry(from)?, state.existing_entry(to)?);
            state.files.remove(from);
            state.files.insert(to.to_owned(), file.clone());
            state.note_change(|| NameChange::Move { from: from_entry, to: to_entry, node: Node::File(file) });
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(Call::Remove, path, |state| {
            state.files.remove(path).ok_or_else(|| not_found(path))?;
            let at = state.existing_entry(path)?;
            state.note_change(|| NameChange::Unlink { at });
            Ok(())
        })
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        if !self.state.lock().directories.contains_key(path) {
            return Err(not_found(path));
        }
        loop {
            // One entry a call, the deepest first, as the system's call does it.
            let next = {
                let state = self.state.lock();
                let file = state.files.keys().find(|file| file.starts_with(path));
                let directory = state.directories.keys().rev().find(|directory| directory.starts_with(path));
                file.map(|file| (file.clone(), true)).or(directory.map(|directory| (directory.clone(), false)))
            };
            match next {
                Some((file, true)) => self.remove_file(&file)?,
                Some((directory, false)) => self.change(Call::Remove, &directory, |state| {
                    let at = state.existing_entry(&directory)?;
                    state.directories.remove(&directory);
                    state.note_change(|| NameChange::Unlink { at });
                    Ok(())
                })?,
                None => return Ok(()),
            }
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(Call::SyncDirectory, path, |state| {
            let id = *state.directories.get(path).ok_or_else(|| not_found(path))?;
            if let Some(names) = &mut state.names {
                names.sync(id);
            }
            Ok(())
        })
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
        self.change(Call::Sync, Path::new("the whole disk"), |state| {
            if let Some(names) = &mut state.names {
                names.sync_all();
                state.files.values().for_each(|file| file.state.write().sync());
            }
            Ok(())
        })
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
