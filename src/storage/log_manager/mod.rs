//! All logs of the broker (`LogManager`).

mod background;
mod checkpoints;
mod cleaning;
#[cfg(test)]
mod failure_tests;
#[cfg(test)]
mod flush_tests;
mod load;
#[cfg(test)]
mod log_manager_tests;
mod offline;
mod parallel;
mod scrub;

pub(in crate::storage) use checkpoints::{HIGH_WATERMARK, LOG_START_OFFSET, RECOVERY_POINT};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::cleaner::{CleanerConfig, CleanerConfigSource, LogCleaner};
use super::directory::LogDirectory;
use super::file_names::{DELETE_DIR_SUFFIX, STRAY_DIR_SUFFIX, renamed_directory};
use super::log::{Log, LogOptions, flush_all, remove_directory_later};
use super::producer_state::{ProducerStateConfig, ProducerStateConfigSource};
use super::property_files::{CLEAN_SHUTDOWN_FILE, encode_clean_shutdown};
use super::{FlushLimits, StorageError, StorageResult};
use crate::config::LogConfig;
use crate::env::Env;
use crate::telemetry::Metrics;
use crate::types::{CLUSTER_METADATA_TOPIC_NAME, TopicPartition};
use checkpoints::DirectoryCheckpoints;
use offline::OfflineLog;

/// The id of the metadata log's topic (`Uuid.METADATA_TOPIC_ID`).
const METADATA_TOPIC_ID: Uuid = Uuid::from_u128(1);

/// Threads that close logs: they wait for the disk, and those who wait together share a commit of its journal.
const CLOSING_THREADS: usize = 32;

/// What the log manager is started with; the comments name Kafka's configurations. Times are milliseconds.
#[derive(Clone)]
pub struct LogManagerOptions {
    /// `log.dirs`; created when missing.
    pub log_dirs: Vec<PathBuf>,
    /// `node.id`; `meta.properties` must agree.
    pub node_id: i32,
    /// The cluster's id, if it is known; `meta.properties` must agree. Without one, a fresh directory invents it.
    pub cluster_id: Option<String>,
    /// The settings of logs until [`Log::update_config`] brings their own.
    pub default_config: Arc<LogConfig>,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads: usize,
    /// File handles kept open for each log directory.
    pub max_open_files: usize,
    /// `log.initial.task.delay.ms`.
    pub initial_task_delay_ms: i64,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval_ms: i64,
    /// `log.flush.scheduler.interval.ms`; `i64::MAX`: never.
    pub flush_scheduler_interval_ms: i64,
    /// `log.flush.offset.checkpoint.interval.ms` and `log.flush.start.offset.checkpoint.interval.ms`.
    pub flush_offset_checkpoint_interval_ms: i64,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub high_watermark_checkpoint_interval_ms: i64,
    /// How producers are kept, asked whenever it is needed.
    pub producer_state: ProducerStateConfigSource,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_id_expiration_check_interval_ms: i64,
    /// What a power cut may take of a log.
    pub flush_limits: FlushLimits,
    /// `ottla.ballast.bytes`.
    pub ballast_bytes: u64,
    /// The settings of the cleaner, asked whenever they are needed.
    pub cleaner: CleanerConfigSource,
    /// `ottla.scrub.interval.ms`; `i64::MAX`: no scrub.
    pub scrub_interval_ms: i64,
    /// `ottla.scrub.max.bytes.per.second`; 0: no scrub.
    pub scrub_max_bytes_per_second: u64,
    /// Where the cleaner and the scrub count.
    pub metrics: Arc<Metrics>,
    /// Looks at the directories when they are locked and known to be this node's, before anything in them is changed.
    pub inspection: Option<Inspection>,
}

/// May refuse to open directories, which are then left as they are.
pub type Inspection = Arc<dyn Fn(&[ClaimedDirectory]) -> Result<(), DirectoryRefusal> + Send + Sync>;

/// A log directory that is locked and has a `meta.properties` of this node.
#[derive(Clone, Debug)]
pub struct ClaimedDirectory {
    /// Its path.
    pub path: PathBuf,
    /// Its `directory.id`.
    pub id: Option<Uuid>,
}

/// Why directories are not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryRefusal {
    /// The file or directory.
    pub path: PathBuf,
    /// What is there, and what to do.
    pub message: String,
}

impl LogManagerOptions {
    /// Kafka's defaults.
    pub fn new(log_dirs: Vec<PathBuf>, node_id: i32) -> Self {
        Self {
            log_dirs,
            node_id,
            cluster_id: None,
            default_config: Arc::new(LogConfig::default()),
            recovery_threads: 2,
            max_open_files: 4096,
            initial_task_delay_ms: 30_000,
            retention_check_interval_ms: 300_000,
            flush_scheduler_interval_ms: i64::MAX,
            flush_offset_checkpoint_interval_ms: 60_000,
            high_watermark_checkpoint_interval_ms: 5_000,
            producer_state: Arc::new(ProducerStateConfig::default),
            producer_id_expiration_check_interval_ms: 600_000,
            flush_limits: FlushLimits::default(),
            ballast_bytes: 16 << 20,
            scrub_interval_ms: 604_800_000,
            scrub_max_bytes_per_second: 10 << 20,
            cleaner: Arc::new(CleanerConfig::default),
            metrics: Arc::default(),
            inspection: None,
        }
    }
}

/// One log directory as DescribeLogDirs shows it.
#[derive(Clone, Debug)]
pub struct LogDirDescription {
    /// Its path.
    pub path: PathBuf,
    /// Its id in `meta.properties`.
    pub directory_id: Uuid,
    /// Whether a write or a sync failed in it; then `logs` is empty.
    pub is_offline: bool,
    /// The logs in it and their sizes in bytes, sorted.
    pub logs: Vec<(TopicPartition, u64)>,
}

pub(super) struct ManagedDirectory {
    pub(super) directory: Arc<LogDirectory>,
    pub(super) checkpoints: Mutex<DirectoryCheckpoints>,
    /// Every log in it was opened; only then may the clean marker be written.
    pub(super) fully_loaded: bool,
    /// Whether the last stop was clean.
    pub(super) was_clean: bool,
    /// Keeps other processes out until the logs are closed, or the manager is gone; `None` where the directory could not be used.
    lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

/// All logs of the broker.
pub struct LogManager {
    env: Env,
    options: LogManagerOptions,
    cluster_id: String,
    previous_broker_epoch: i64,
    directories: Vec<ManagedDirectory>,
    logs: RwLock<HashMap<TopicPartition, Arc<Log>>>,
    /// Logs that are on disk and cannot be served.
    offline: RwLock<HashMap<TopicPartition, OfflineLog>>,
    /// A log directory is missing, or new beside others: a partition without a log may have one elsewhere.
    incomplete: bool,
    /// Held while a log is created, so that one name is created once.
    creating: Mutex<()>,
    /// Closed logs whose directories could not be renamed for want of room, and the suffix of the new name. It is tried again before
    /// their names are used, and with retention.
    half_detached: Mutex<HashMap<TopicPartition, (Arc<Log>, &'static str)>>,
    stopping: AtomicBool,
    pub(super) cleaner: LogCleaner,
    /// Numbers of the cleaner's threads.
    cleaner_threads: Mutex<HashSet<usize>>,
}

impl LogManager {
    /// Locks the log directories, formats fresh ones, refuses foreign ones, finds and recovers all logs.
    ///
    /// Blocks the thread. Fails if a directory is locked by another process or not this broker's, and if no directory can be used.
    pub fn open(env: Env, options: LogManagerOptions) -> StorageResult<Arc<Self>> {
        let manager = Arc::new(load::open(env, options)?);
        for (index, managed) in manager.directories.iter().enumerate() {
            let manager = Arc::downgrade(&manager);
            managed.directory.set_checkpointer(Arc::new(move || match manager.upgrade() {
                Some(manager) => manager.write_recovery_points(&manager.directories[index]),
                None => Ok(()),
            }));
        }
        Ok(manager)
    }

    /// Where the cleaner counts, and whoever else has no other.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.options.metrics
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// This broker's number.
    pub fn node_id(&self) -> i32 {
        self.options.node_id
    }

    /// The broker epoch of the last clean stop; -1 if the last stop was not clean (KIP-966).
    pub fn previous_broker_epoch(&self) -> i64 {
        self.previous_broker_epoch
    }

    /// The log directories, in the order of `log.dirs`, those that are offline among them.
    pub fn directories(&self) -> impl Iterator<Item = &Arc<LogDirectory>> {
        self.directories.iter().map(|managed| &managed.directory)
    }

    /// The id of the first log directory, where the metadata log lives.
    pub fn directory_id(&self) -> Uuid {
        self.directories.first().map_or(Uuid::nil(), |managed| managed.directory.id())
    }

    /// The log of a partition.
    pub fn log(&self, topic_partition: &TopicPartition) -> Option<Arc<Log>> {
        self.logs.read().get(topic_partition).cloned()
    }

    /// All logs.
    pub fn logs(&self) -> Vec<Arc<Log>> {
        self.logs.read().values().cloned().collect()
    }

    /// The log of a partition, created in the emptiest online directory if there is none. Fails with `InconsistentTopicId` if
    /// the log on disk is that of another topic of the same name: the caller deletes it or marks it stray first.
    pub fn get_or_create(
        &self,
        topic_partition: &TopicPartition,
        topic_id: Uuid,
        config: Arc<LogConfig>,
    ) -> StorageResult<Arc<Log>> {
        let _creating = self.creating.lock();
        if let Some(log) = self.log(topic_partition) {
            log.adopt_topic_id(topic_id)?;
            log.update_config(config);
            return Ok(log);
        }
        self.check_not_offline(topic_partition)?;
        self.finish_detaching(topic_partition)?;
        let managed = self.emptiest_directory()?;
        // What is written down of a deleted log of that name must not meet the new one.
        self.forget_checkpoints(managed, topic_partition)?;
        let options = LogOptions {
            topic_id,
            producer_state: self.options.producer_state.clone(),
            ..LogOptions::new(managed.directory.clone(), topic_partition.clone(), config)
        };
        let log = Log::open(options)?;
        self.logs.write().insert(topic_partition.clone(), log.clone());
        managed.directory.note_change();
        tracing::info!(
            "Created log for partition {topic_partition} in {} with properties {{{}}}",
            log.path().display(),
            overrides_of(&log)
        );
        Ok(log)
    }

    /// How to open the metadata log, which is not among [`LogManager::logs`]: it is its owner's to flush and to close, before
    /// [`LogManager::shutdown`].
    pub fn metadata_log_options(&self, config: Arc<LogConfig>) -> Option<LogOptions> {
        let managed = self.directories.first()?;
        let name = TopicPartition::new(CLUSTER_METADATA_TOPIC_NAME, 0);
        let recovery_point = managed.checkpoints.lock().recovery_points.get(&name).copied().unwrap_or(0);
        Some(LogOptions {
            topic_id: METADATA_TOPIC_ID,
            clean_shutdown: managed.was_clean,
            recovery_point,
            ..LogOptions::new(managed.directory.clone(), name, config)
        })
    }

    fn emptiest_directory(&self) -> StorageResult<&ManagedDirectory> {
        let mut online = self.directories.iter().filter(|managed| !managed.directory.is_offline());
        let Some(first) = online.next() else {
            self.directories.first().map_or(Ok(()), |managed| managed.directory.check_online())?;
            return Err(StorageError::ForeignDirectory {
                directory: PathBuf::new(),
                message: "there is no log directory".to_owned(),
            });
        };
        let rest: Vec<&ManagedDirectory> = online.collect();
        if rest.is_empty() {
            return Ok(first);
        }
        let logs = self.logs.read();
        let count = |managed: &ManagedDirectory| {
            logs.values().filter(|log| Arc::ptr_eq(log.log_directory(), &managed.directory)).count()
        };
        Ok([first].into_iter().chain(rest).min_by_key(|managed| count(managed)).unwrap_or(first))
    }

    /// Deletes a partition: its log is closed and its directory renamed at once, and removed after `file.delete.delay.ms`.
    pub fn delete_async(&self, topic_partition: &TopicPartition) -> StorageResult<()> {
        let (directory, path, delay_ms) = self.detach(topic_partition, DELETE_DIR_SUFFIX)?;
        tracing::info!(
            "Log for partition {topic_partition} is renamed to {} and is scheduled for deletion",
            path.display()
        );
        remove_directory_later(&directory, path, delay_ms);
        Ok(())
    }

    /// Puts a partition aside that is on disk but not in the metadata: its directory is renamed and kept.
    pub fn mark_stray(&self, topic_partition: &TopicPartition) -> StorageResult<()> {
        let (_, path, _) = self.detach(topic_partition, STRAY_DIR_SUFFIX)?;
        tracing::warn!("Log for partition {topic_partition} is not in the metadata; it is kept as {}", path.display());
        Ok(())
    }

    fn detach(
        &self,
        topic_partition: &TopicPartition,
        suffix: &'static str,
    ) -> StorageResult<(Arc<LogDirectory>, PathBuf, i64)> {
        let _creating = self.creating.lock();
        let log = self.logs.write().remove(topic_partition);
        let Some(log) = log else { return self.detach_offline(topic_partition, suffix) };
        log.mark_closed();
        self.rename_detached(topic_partition, log, suffix)
    }

    /// Gives the directory of a closed log another name.
    fn rename_detached(
        &self,
        topic_partition: &TopicPartition,
        log: Arc<Log>,
        suffix: &'static str,
    ) -> StorageResult<(Arc<LogDirectory>, PathBuf, i64)> {
        let directory = log.log_directory().clone();
        directory.check_online()?;
        let from = log.path();
        let to = directory.path().join(renamed_directory(topic_partition, self.env.random.uuid(), suffix));
        let renamed = again_if_full(|| {
            self.cleaner.forget(&log)?;
            log.rename_directory(to.clone()).map_err(|error| directory.fail("renaming", &from, &error))
        });
        if let Err(error) = renamed {
            self.half_detached.lock().insert(topic_partition.clone(), (log, suffix));
            return Err(error);
        }
        directory.note_change();
        Ok((directory, to, log.config().file_delete_delay_ms))
    }

    /// Makes up for a deletion that found no room. The caller holds `creating`.
    fn finish_detaching(&self, topic_partition: &TopicPartition) -> StorageResult<()> {
        let Some((log, suffix)) = self.half_detached.lock().remove(topic_partition) else { return Ok(()) };
        let (directory, path, delay_ms) = self.rename_detached(topic_partition, log, suffix)?;
        if suffix == DELETE_DIR_SUFFIX {
            remove_directory_later(&directory, path, delay_ms);
        }
        Ok(())
    }

    /// Makes up for all deletions that found no room.
    fn finish_all_detaching(&self) {
        let names: Vec<TopicPartition> = self.half_detached.lock().keys().cloned().collect();
        for topic_partition in names {
            let _creating = self.creating.lock();
            if let Err(error) = self.finish_detaching(&topic_partition) {
                tracing::warn!("the directory of {topic_partition}, which is deleted, still has its name: {error}");
            }
        }
    }

    /// What DescribeLogDirs shows.
    pub fn log_dirs(&self) -> Vec<LogDirDescription> {
        let logs = self.logs.read();
        let describe = |managed: &ManagedDirectory| {
            let directory = &managed.directory;
            let is_offline = directory.is_offline();
            let mut own: Vec<(TopicPartition, u64)> = (logs.values())
                .filter(|log| !is_offline && Arc::ptr_eq(log.log_directory(), directory))
                .map(|log| (log.topic_partition().clone(), log.size()))
                .collect();
            own.extend(self.offline_logs_in(directory));
            own.sort();
            LogDirDescription { path: directory.path().to_owned(), directory_id: directory.id(), is_offline, logs: own }
        };
        self.directories.iter().map(describe).collect()
    }

    /// Stops the background tasks, closes all logs, writes the checkpoints and the marker of a clean stop. Blocks the thread.
    /// Directories that are offline, hold a partition that is, or were not loaded completely, get no marker and are recovered at
    /// the next start.
    pub fn shutdown(&self, broker_epoch: i64) -> StorageResult<()> {
        self.stop(broker_epoch, |_| true)
    }

    /// Ends a start that failed later on, as [`LogManager::shutdown`] does, but gives the marker of a clean stop only to those
    /// directories that had it (KAFKA-10471, KAFKA-15375, KAFKA-10101).
    pub fn abandon(&self) -> StorageResult<()> {
        self.stop(self.previous_broker_epoch, |managed| managed.was_clean)
    }

    fn stop(&self, broker_epoch: i64, may_mark: impl Fn(&ManagedDirectory) -> bool) -> StorageResult<()> {
        self.stopping.store(true, Ordering::Release);
        self.cleaner.await_idle();
        let mut failed = self.close_logs();
        for managed in &self.directories {
            let directory = &managed.directory;
            let complete = managed.fully_loaded
                && !directory.has_partition_offline()
                && !failed.iter().any(|(failed, _)| failed == directory.path());
            if directory.is_offline() {
                continue;
            }
            let written = again_if_full(|| self.write_checkpoints(managed)).and_then(|()| {
                let marker = directory.path().join(CLEAN_SHUTDOWN_FILE);
                if !complete || !may_mark(managed) {
                    return Ok(());
                }
                let text = encode_clean_shutdown(broker_epoch);
                again_if_full(|| {
                    let written = self.env.disk.write_atomically(&marker, text.as_bytes());
                    written.map_err(|error| directory.fail("writing", &marker, &error))
                })
            });
            failed.extend(written.err().map(|error| (directory.path().to_owned(), error)));
        }
        // Not when the manager is dropped: one of its tasks may look at it just now.
        self.directories.iter().for_each(|managed| drop(managed.lock.lock().take()));
        match failed.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Closes all logs; gives the directories of those that could not be, and why.
    fn close_logs(&self) -> Vec<(PathBuf, StorageError)> {
        let failed: Arc<Mutex<Vec<(PathBuf, StorageError)>>> = Arc::default();
        let failures = failed.clone();
        parallel::for_each(
            &self.env,
            CLOSING_THREADS,
            parallel::ITEMS_PER_THREAD_MIN,
            self.logs(),
            move |log: Arc<Log>| {
                if let Err(error) = again_if_full(|| log.prepare_close()) {
                    tracing::error!("closing the log of {}: {error}", log.topic_partition());
                    failures.lock().push((log.log_directory().path().to_owned(), error));
                }
            },
        );
        let mut failed = std::mem::take(&mut *failed.lock());
        for managed in &self.directories {
            let logs = self.logs_in(managed);
            if !managed.directory.is_offline()
                && let Err(error) = flush_all(&managed.directory, &logs)
            {
                tracing::error!("closing the logs in {}: {error}", managed.directory.path().display());
                failed.push((managed.directory.path().to_owned(), error));
            }
            logs.iter().for_each(|log| log.mark_closed());
            // Its task ends.
            managed.directory.dirty.wake.notify_one();
        }
        failed
    }
}

/// The topic's configurations as Kafka logs them.
fn overrides_of(log: &Log) -> String {
    let overrides: Vec<String> = log.config().overrides.iter().map(|(key, value)| format!("{key}={value}")).collect();
    overrides.join(", ")
}

/// Does something again if the disk was full: that has given up the ballast.
fn again_if_full<T>(work: impl Fn() -> StorageResult<T>) -> StorageResult<T> {
    match work() {
        Err(StorageError::DiskFull { .. }) => work(),
        done => done,
    }
}
