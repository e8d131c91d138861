//! Starting: locks, `meta.properties`, the clean marker, discovery and opening of logs.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::checkpoints::DirectoryCheckpoints;
use super::{LogManager, LogManagerOptions, ManagedDirectory, parallel};
use crate::env::{Env, FileKind};
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

type Loaded = Arc<Mutex<HashMap<TopicPartition, Arc<Log>>>>;

/// Opens all log directories (see [`LogManager::open`]).
pub(super) fn open(env: Env, options: LogManagerOptions) -> StorageResult<LogManager> {
    let claimed = claim_all(&env, &options)?;
    let cluster_id = claimed.first().map(|first| first.properties.cluster_id.clone()).unwrap_or_default();
    let logs: Loaded = Loaded::default();
    let mut directories = Vec::new();
    let mut previous_broker_epoch = i64::MAX;
    for Claimed { path, properties, lock } in claimed {
        let id = properties.directory_id.unwrap_or_default();
        let directory =
            LogDirectory::with_flush_limits(env.clone(), path, id, options.max_open_files, options.flush_limits);
        let checkpoints = DirectoryCheckpoints::read(&directory);
        let clean = take_clean_marker(&directory)?;
        previous_broker_epoch = previous_broker_epoch.min(clean.unwrap_or(-1));
        let fully_loaded = load_directory(&env, &options, &directory, &checkpoints, clean.is_some(), &logs)?;
        directories.push(ManagedDirectory::new(directory, checkpoints, fully_loaded, clean.is_some(), lock));
    }
    if let Some(first) = directories.first()
        && directories.iter().all(|managed| managed.directory.is_offline())
    {
        first.directory.check_online()?;
    }
    let logs = std::mem::take(&mut *logs.lock());
    Ok(LogManager {
        env,
        options,
        cluster_id,
        previous_broker_epoch: if previous_broker_epoch == i64::MAX { -1 } else { previous_broker_epoch },
        directories,
        logs: RwLock::new(logs),
        departed: Mutex::new(HashSet::new()),
        stopping: AtomicBool::new(false),
    })
}

/// Locks every directory and reads or writes its `meta.properties`; all must belong to the same node of the same cluster.
fn claim_all(env: &Env, options: &LogManagerOptions) -> StorageResult<Vec<Claimed>> {
    let mut claimed: Vec<Claimed> = Vec::new();
    let mut fresh = Vec::new();
    for path in &options.log_dirs {
        let foreign = |message: String| StorageError::ForeignDirectory { directory: path.clone(), message };
        let create = env.disk.create_dir_all(path);
        create.map_err(|error| foreign(format!("cannot be created: {error}. Choose another data directory")))?;
        let lock = lock(env, path)?;
        match read_properties(env, path)? {
            Some(properties) => {
                check_properties(options, claimed.first(), path, &properties)?;
                if claimed.iter().any(|other| other.properties.directory_id == properties.directory_id) {
                    return Err(foreign("has the same directory.id as another log directory: it is a copy".to_owned()));
                }
                claimed.push(Claimed { path: path.clone(), properties, lock });
            }
            None => fresh.push((path, lock)),
        }
    }
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
    Ok(claimed)
}

fn lock(env: &Env, path: &Path) -> StorageResult<Box<dyn Send + Sync>> {
    env.disk.lock(&path.join(LOCK_FILE)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StorageError::Locked { directory: path.to_owned() },
        _ => StorageError::ForeignDirectory {
            directory: path.to_owned(),
            message: format!("is not writable: {error}. Change its permissions or choose another data directory"),
        },
    })
}

fn write_properties(env: &Env, path: &Path, properties: &MetaProperties) -> StorageResult<()> {
    let file = path.join(META_PROPERTIES);
    env.disk.write_atomically(&file, properties.encode().as_bytes()).map_err(|error| {
        StorageError::ForeignDirectory {
            directory: path.to_owned(),
            message: format!("meta.properties cannot be written: {error}"),
        }
    })?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // The directory's own name; a parent that cannot be synced was there before.
        let _ = env.disk.sync_dir(parent);
    }
    Ok(())
}

/// `meta.properties`, or `None` for a directory that is empty. Anything else is somebody's data.
fn read_properties(env: &Env, path: &Path) -> StorageResult<Option<MetaProperties>> {
    let foreign = |message: String| StorageError::ForeignDirectory { directory: path.to_owned(), message };
    match env.disk.read(&path.join(META_PROPERTIES), MAX_PROPERTY_FILE_BYTES) {
        Ok(bytes) => return MetaProperties::parse(path, &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(foreign(format!("meta.properties cannot be read: {error}"))),
    }
    let entries = env.disk.read_dir(path).map_err(|error| foreign(format!("cannot be listed: {error}")))?;
    let is_ours = |entry: &Path| {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with('.') || name == "lost+found" || name == "meta.properties.tmp"
    };
    match entries.iter().find(|entry| !is_ours(entry)) {
        None => Ok(None),
        Some(entry) => Err(foreign(format!(
            "is no data directory: it holds {} but no meta.properties. Choose an empty directory",
            entry.file_name().unwrap_or_default().to_string_lossy()
        ))),
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
    let removed = disk.remove_file(&path).and_then(|()| disk.sync_dir(directory.path()));
    removed.map_err(|error| directory.fail("removing", &path, &error))?;
    Ok(Some(broker_epoch))
}

/// Opens all logs of a directory; false if that failed and the directory is offline now.
fn load_directory(
    env: &Env,
    options: &LogManagerOptions,
    directory: &Arc<LogDirectory>,
    checkpoints: &DirectoryCheckpoints,
    clean: bool,
    logs: &Loaded,
) -> StorageResult<bool> {
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
    let (into, owner) = (logs.clone(), directory.clone());
    parallel::for_each(env, options.recovery_threads, found, move |options: LogOptions| {
        let name = options.topic_partition.clone();
        if owner.is_offline() {
            return;
        }
        match Log::open(options) {
            Ok(log) => {
                if into.lock().insert(name.clone(), log).is_some() {
                    owner.take_offline(format!("{name} is in another log directory too"));
                }
            }
            Err(error) => {
                owner.take_offline(format!("opening the log of {name}: {error}"));
            }
        }
    });
    let online = !directory.is_offline();
    if !online {
        logs.lock().retain(|_, log| !Arc::ptr_eq(log.log_directory(), directory));
    }
    Ok(online)
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
        producer_id_expiration_ms: options.producer_id_expiration_ms,
        topic_partition,
    }
}
