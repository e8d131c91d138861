//! Starting: locks, `meta.properties`, the clean marker, discovery and opening of logs.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::checkpoints::DirectoryCheckpoints;
use super::offline::OfflineLog;
use super::parallel::{self, ITEMS_PER_THREAD_MIN};
use super::{ClaimedDirectory, LogManager, LogManagerOptions, ManagedDirectory};
use crate::env::{Env, FileKind};
use crate::mutant;
use crate::storage::cleaner::LogCleaner;
use crate::storage::directory::LogDirectory;
use crate::storage::file_names::{LogDirectoryEntry, classify_directory};
use crate::storage::log::{Log, LogOptions, remove_directory_later};
use crate::storage::property_files::{
    CLEAN_SHUTDOWN_FILE, MAX_PROPERTY_FILE_BYTES, META_PROPERTIES, MetaProperties, encode_uuid, parse_clean_shutdown,
};
use crate::storage::{StorageError, StorageResult};
use crate::types::{CLUSTER_METADATA_TOPIC_NAME, TopicPartition};

const LOCK_FILE: &str = ".lock";

/// A log directory that is locked and known to be ours.
struct Claimed {
    path: PathBuf,
    properties: MetaProperties,
    lock: Box<dyn Send + Sync>,
}

/// What `log.dirs` turned out to be.
struct Claims {
    usable: Vec<Claimed>,
    /// Directories that cannot be used, and why.
    unusable: Vec<(PathBuf, String)>,
    /// Some directories are new, others are not.
    has_new_ones: bool,
}

/// Why a directory was not claimed.
enum Refusal {
    /// The start fails: it is somebody else's.
    Foreign(StorageError),
    /// The directory is offline: it cannot be read or written.
    Unusable(String),
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        Self::Foreign(error)
    }
}

/// The logs that were found.
#[derive(Default)]
struct Found {
    logs: HashMap<TopicPartition, Arc<Log>>,
    offline: HashMap<TopicPartition, OfflineLog>,
}

/// Opens all log directories (see [`LogManager::open`]).
pub(super) fn open(env: Env, options: LogManagerOptions) -> StorageResult<LogManager> {
    let claims = claim_all(&env, &options)?;
    let incomplete = claims.has_new_ones || !claims.unusable.is_empty();
    let cluster_id = claims.usable.first().map(|first| first.properties.cluster_id.clone()).unwrap_or_default();
    let mut found = Vec::new();
    let mut directories = Vec::new();
    let mut previous_broker_epoch = i64::MAX;
    for Claimed { path, properties, lock } in claims.usable {
        let id = properties.directory_id.unwrap_or_default();
        let directory =
            LogDirectory::with_flush_limits(env.clone(), path, id, options.max_open_files, options.flush_limits);
        directory.set_ballast_max(options.ballast_bytes);
        directory.check_room_at_start();
        let checkpoints = DirectoryCheckpoints::read(&directory);
        let clean = take_clean_marker(&directory)?;
        previous_broker_epoch = previous_broker_epoch.min(clean.unwrap_or(-1));
        found.extend(find_logs(&env, &options, &directory, &checkpoints, clean.is_some())?);
        directories.push(ManagedDirectory::new(directory, checkpoints, clean.is_some(), Some(lock)));
    }
    let threads = options.recovery_threads.saturating_mul(directories.len());
    let began = env.clock.monotonic();
    let Found { logs, offline } = open_logs(&env, threads, found);
    tracing::info!("Loaded {} logs in {}ms", logs.len(), (env.clock.monotonic() - began).as_millis());
    for managed in &mut directories {
        managed.fully_loaded = !managed.directory.is_offline();
    }
    for (path, reason) in claims.unusable {
        previous_broker_epoch = -1;
        let directory = LogDirectory::new(env.clone(), path, Uuid::nil(), options.max_open_files);
        directory.take_offline(reason);
        directories.push(ManagedDirectory::new(directory, DirectoryCheckpoints::default(), false, None));
    }
    let position =
        |managed: &ManagedDirectory| options.log_dirs.iter().position(|path| path == managed.directory.path());
    directories.sort_by_key(position);
    if let Some(first) = directories.first()
        && directories.iter().all(|managed| managed.directory.is_offline())
    {
        first.directory.check_online()?;
    }
    let cleaner = LogCleaner::new(env.clone(), options.cleaner.clone(), options.metrics.clone());
    directories.iter().for_each(|managed| cleaner.load_checkpoint(&managed.directory));
    Ok(LogManager {
        env,
        options,
        cluster_id,
        previous_broker_epoch: if previous_broker_epoch == i64::MAX { -1 } else { previous_broker_epoch },
        directories,
        logs: RwLock::new(logs),
        offline: RwLock::new(offline),
        incomplete,
        creating: Mutex::new(()),
        half_detached: Mutex::default(),
        stopping: AtomicBool::new(false),
        cleaner,
        cleaner_threads: Mutex::default(),
    })
}

/// Locks every directory and reads or writes its `meta.properties`; all must belong to the same node of the same cluster. The first
/// directory, the metadata's, must be usable (`MetaPropertiesEnsemble.verify`).
fn claim_all(env: &Env, options: &LogManagerOptions) -> StorageResult<Claims> {
    let mut claimed: Vec<Claimed> = Vec::new();
    let mut fresh = Vec::new();
    let mut unusable = Vec::new();
    for (index, path) in options.log_dirs.iter().enumerate() {
        match claim(env, path) {
            Ok((Some(properties), lock)) => {
                check_properties(options, claimed.first(), path, &properties)?;
                if claimed.iter().any(|other| other.properties.directory_id == properties.directory_id) {
                    let message = "has the same directory.id as another log directory: it is a copy".to_owned();
                    return Err(StorageError::ForeignDirectory { directory: path.clone(), message });
                }
                claimed.push(Claimed { path: path.clone(), properties, lock });
            }
            Ok((None, lock)) => fresh.push((path, lock)),
            Err(Refusal::Foreign(error)) => return Err(error),
            Err(Refusal::Unusable(message)) if index == 0 => {
                return Err(StorageError::ForeignDirectory { directory: path.clone(), message });
            }
            Err(Refusal::Unusable(message)) => unusable.push((path.clone(), message)),
        }
    }
    if let Some(inspect) = &options.inspection {
        let directory = |one: &Claimed| ClaimedDirectory { path: one.path.clone(), id: one.properties.directory_id };
        inspect(&claimed.iter().map(directory).collect::<Vec<_>>())
            .map_err(|refusal| StorageError::ForeignDirectory { directory: refusal.path, message: refusal.message })?;
    }
    let has_new_ones = !claimed.is_empty() && !fresh.is_empty();
    for (path, lock) in fresh {
        let known = claimed.first().map(|first| first.properties.cluster_id.clone());
        let cluster_id = known.or_else(|| options.cluster_id.clone()).unwrap_or_else(|| encode_uuid(env.random.uuid()));
        let properties = MetaProperties { cluster_id, node_id: options.node_id, directory_id: Some(env.random.uuid()) };
        write_properties(env, path, &properties)?;
        claimed.push(Claimed { path: path.clone(), properties, lock });
    }
    claimed.sort_by_key(|claimed| options.log_dirs.iter().position(|path| *path == claimed.path));
    for one in claimed.iter_mut().filter(|one| one.properties.directory_id.is_none()) {
        // Written by a release that had no directory ids.
        one.properties.directory_id = Some(env.random.uuid());
        write_properties(env, &one.path, &one.properties)?;
    }
    Ok(Claims { usable: claimed, unusable, has_new_ones })
}

/// Creates a directory if it is missing, locks it and reads its `meta.properties`.
fn claim(env: &Env, path: &Path) -> Result<(Option<MetaProperties>, Box<dyn Send + Sync>), Refusal> {
    let created = create_directory(env, path);
    created.map_err(|error| Refusal::Unusable(format!("cannot be created: {error}. Choose another data directory")))?;
    let lock = env.disk.lock(&path.join(LOCK_FILE)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Refusal::Foreign(StorageError::Locked { directory: path.to_owned() }),
        _ => Refusal::Unusable(format!(
            "is not writable: {error}. Change its permissions or choose another data directory"
        )),
    })?;
    Ok((read_properties(env, path)?, lock))
}

/// Creates a directory and makes its name durable, with those of its new parents: what is written into it later must not be lost
/// with them.
fn create_directory(env: &Env, path: &Path) -> io::Result<()> {
    let is_new = |path: &&Path| !path.as_os_str().is_empty() && env.disk.metadata(path).is_err();
    let new: Vec<&Path> = path.ancestors().take_while(is_new).collect();
    env.disk.create_dir_all(path)?;
    for created in new {
        let parent = created.parent().filter(|parent| !parent.as_os_str().is_empty());
        env.disk.sync_dir(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

fn write_properties(env: &Env, path: &Path, properties: &MetaProperties) -> StorageResult<()> {
    properties.write(&*env.disk, path).map_err(|error| StorageError::ForeignDirectory {
        directory: path.to_owned(),
        message: format!("meta.properties cannot be written: {error}"),
    })
}

/// `meta.properties`, or `None` for a directory that is empty. Anything else is somebody's data.
fn read_properties(env: &Env, path: &Path) -> Result<Option<MetaProperties>, Refusal> {
    match env.disk.read(&path.join(META_PROPERTIES), MAX_PROPERTY_FILE_BYTES) {
        Ok(bytes) => return Ok(Some(MetaProperties::parse(path, &bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Refusal::Unusable(format!("meta.properties cannot be read: {error}"))),
    }
    let entries = env.disk.read_dir(path);
    let entries = entries.map_err(|error| Refusal::Unusable(format!("cannot be listed: {error}")))?;
    let is_ours = |entry: &Path| {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with('.') || name == "lost+found" || name == "meta.properties.tmp"
    };
    match entries.iter().find(|entry| !is_ours(entry)) {
        None => Ok(None),
        Some(entry) => {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            let message =
                format!("is no data directory: it holds {name} but no meta.properties. Choose an empty directory");
            Err(StorageError::ForeignDirectory { directory: path.to_owned(), message }.into())
        }
    }
}

fn check_properties(
    options: &LogManagerOptions,
    first: Option<&Claimed>,
    path: &Path,
    properties: &MetaProperties,
) -> StorageResult<()> {
    let foreign = |message: String| Err(StorageError::ForeignDirectory { directory: path.to_owned(), message });
    if properties.node_id != options.node_id {
        return foreign(format!(
            "belongs to node.id {}, and this broker is node.id {}. Set node.id={} or choose another data directory",
            properties.node_id, options.node_id, properties.node_id
        ));
    }
    let expected = first.map(|first| &first.properties.cluster_id).or(options.cluster_id.as_ref());
    match expected {
        Some(expected) if *expected != properties.cluster_id => foreign(format!(
            "belongs to cluster {}, and this broker is of cluster {expected}. Choose another data directory",
            properties.cluster_id
        )),
        _ => Ok(()),
    }
}

/// Reads and removes the marker of a clean stop: from now on a stop without a new one is not clean. Gives the broker epoch in it.
fn take_clean_marker(directory: &LogDirectory) -> StorageResult<Option<i64>> {
    let disk = &directory.env.disk;
    let path = directory.path().join(CLEAN_SHUTDOWN_FILE);
    let broker_epoch = match disk.read(&path, MAX_PROPERTY_FILE_BYTES) {
        Ok(bytes) => parse_clean_shutdown(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("reading", &path, &error)),
    };
    if mutant::is_active("leave-the-clean-marker") {
        return Ok(Some(broker_epoch));
    }
    let removed = disk.remove_file(&path).and_then(|()| disk.sync_dir(directory.path()));
    removed.map_err(|error| directory.fail("removing", &path, &error))?;
    Ok(Some(broker_epoch))
}

/// The logs in a directory, and how to open them.
fn find_logs(
    env: &Env,
    options: &LogManagerOptions,
    directory: &Arc<LogDirectory>,
    checkpoints: &DirectoryCheckpoints,
    clean: bool,
) -> StorageResult<Vec<LogOptions>> {
    let entries = env.disk.read_dir(directory.path());
    let entries = entries.map_err(|error| StorageError::io("listing", directory.path(), &error))?;
    let mut found = Vec::new();
    for entry in entries {
        match classify_directory(&entry) {
            LogDirectoryEntry::Partition(name) if &*name.topic != CLUSTER_METADATA_TOPIC_NAME => {
                if env.disk.metadata(&entry).is_ok_and(|metadata| metadata.kind == FileKind::Directory) {
                    found.push(options_of(options, directory, checkpoints, clean, name));
                }
            }
            LogDirectoryEntry::Deleted => {
                remove_directory_later(directory, entry, options.default_config.file_delete_delay_ms);
            }
            LogDirectoryEntry::Stray => tracing::warn!("{} is stray and kept", entry.display()),
            LogDirectoryEntry::Partition(_) | LogDirectoryEntry::Future | LogDirectoryEntry::Other => {}
        }
    }
    if !clean && !found.is_empty() {
        tracing::info!(
            "Recovering {} logs from {}: no clean shutdown file was found",
            found.len(),
            directory.path().display()
        );
    }
    Ok(found)
}

/// Opens logs on several threads. Those that cannot be opened are offline; if their directory is, all others in it are left out.
fn open_logs(env: &Env, threads: usize, found: Vec<LogOptions>) -> Found {
    let loaded: Arc<Mutex<Found>> = Arc::default();
    let into = loaded.clone();
    // A recovery is worth a thread, a log that was stopped cleanly is not.
    let items_per_thread = if found.iter().all(|options| options.clean_shutdown) { ITEMS_PER_THREAD_MIN } else { 1 };
    parallel::for_each(env, threads, items_per_thread, found, move |options: LogOptions| {
        let (name, owner) = (options.topic_partition.clone(), options.directory.clone());
        if owner.is_offline() {
            return;
        }
        match Log::open(options.clone()) {
            Ok(log) => {
                if into.lock().logs.insert(name.clone(), log).is_some() {
                    owner.take_offline(format!("{name} is in another log directory too"));
                }
            }
            Err(StorageError::LogDirOffline { .. }) => {}
            Err(error) => {
                tracing::error!("{name} is offline, the rest of {} is served: {error}", owner.path().display());
                owner.note_partition_offline();
                into.lock().offline.insert(name, OfflineLog::new(&options, &error));
            }
        }
    });
    let mut found = std::mem::take(&mut *loaded.lock());
    found.logs.retain(|_, log| !log.log_directory().is_offline());
    found.offline.retain(|_, log| !log.directory.is_offline());
    found
}

fn options_of(
    options: &LogManagerOptions,
    directory: &Arc<LogDirectory>,
    checkpoints: &DirectoryCheckpoints,
    clean_shutdown: bool,
    topic_partition: TopicPartition,
) -> LogOptions {
    let offset = |offsets: &crate::storage::checkpoint::OffsetMap| offsets.get(&topic_partition).copied().unwrap_or(0);
    LogOptions {
        directory: directory.clone(),
        topic_id: Uuid::nil(),
        config: options.default_config.clone(),
        recovery_point: offset(&checkpoints.recovery_points),
        log_start_offset: offset(&checkpoints.log_start_offsets),
        high_watermark: offset(&checkpoints.high_watermarks),
        clean_shutdown,
        compacted: checkpoints.cleaned.contains_key(&topic_partition),
        producer_state: options.producer_state.clone(),
        topic_partition,
    }
}
