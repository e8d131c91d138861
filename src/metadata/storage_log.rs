//! The metadata log of one node: a log like any partition's, in the first log directory.

use std::sync::Arc;

use bytes::Bytes;

use super::error::MetadataError;
use super::log::{BatchVisitor, MetadataLog, MetadataLogReader};
use crate::config::LogConfig;
use crate::env::Clock;
use crate::record::{BatchIterator, check_crc};
use crate::storage::{AppendOrigin, FetchIsolation, Log, LogOptions, StorageError};

/// Segments are small, so that those before the older snapshot can go (`metadata.log.segment.bytes` is 1 GiB in Kafka,
/// which then keeps that much).
const SEGMENT_BYTES: i32 = 32 * 1024 * 1024;
/// Bytes read at a time when the log is replayed; one whole batch is always read.
const READ_BYTES: usize = 1024 * 1024;

/// The log `__cluster_metadata-0`.
pub struct StorageMetadataLog {
    log: Arc<Log>,
    clock: Arc<dyn Clock>,
}

impl StorageMetadataLog {
    /// The configuration to open it with: nothing is deleted but what a snapshot has made unneeded.
    pub fn config() -> LogConfig {
        LogConfig { segment_bytes: SEGMENT_BYTES, delete: false, compact: false, ..LogConfig::default() }
    }

    /// Opens the log, recovering it unless it was closed cleanly. `options`: from `LogManager::metadata_log_options`.
    pub fn open(options: LogOptions, clock: Arc<dyn Clock>) -> Result<Self, MetadataError> {
        let log = Log::open(options).map_err(failed)?;
        // One node: what is on disk is committed.
        log.update_high_watermark(log.log_end_offset());
        Ok(Self { log, clock })
    }
}

fn failed(error: StorageError) -> MetadataError {
    match error {
        StorageError::DiskFull { .. } => MetadataError::DiskFull(error.to_string()),
        error => MetadataError::Log(error.to_string()),
    }
}

impl MetadataLogReader for StorageMetadataLog {
    fn start_offset(&self) -> i64 {
        self.log.log_start_offset()
    }

    fn end_offset(&self) -> i64 {
        self.log.log_end_offset()
    }

    fn read_from(&self, offset: i64, visit: &mut BatchVisitor<'_>) -> Result<(), MetadataError> {
        let end = self.log.log_end_offset();
        let mut next = offset;
        while next < end {
            let before = next;
            let corrupt = |reason: String| MetadataError::Corrupt {
                path: self.log.path(),
                position: u64::try_from(before).unwrap_or(0),
                reason,
            };
            let info = self.log.read(next, READ_BYTES, FetchIsolation::LogEnd, true).map_err(failed)?;
            let Some(slice) = info.records else { return Err(corrupt("there are records missing".into())) };
            let bytes = slice.read().map_err(|error| MetadataError::disk("read", &self.log.path(), error))?;
            // The last batch may be cut by the limit; it comes with the next read.
            for (header, batch) in BatchIterator::new(&bytes).map_while(Result::ok) {
                if header.next_offset() > next {
                    // A recovery does not look at a log that was closed cleanly; metadata that a disk has changed since
                    // must not be believed (Kafka: `RecordsIterator` validates every batch).
                    check_crc(batch).map_err(|error| corrupt(error.to_string()))?;
                    visit(&header, batch)?;
                    next = header.next_offset();
                }
            }
            if next == before {
                return Err(corrupt("there is no whole batch".into()));
            }
        }
        Ok(())
    }
}

impl MetadataLog for StorageMetadataLog {
    fn append(&mut self, batch: Bytes, leader_epoch: i32) -> Result<(), MetadataError> {
        let now = self.clock.wall_millis();
        self.log.append_records(batch, leader_epoch, AppendOrigin::Coordinator, now).map_err(failed)?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MetadataError> {
        self.log.flush().map_err(failed)?;
        self.log.update_high_watermark(self.log.log_end_offset());
        Ok(())
    }

    fn size_in_bytes(&self) -> u64 {
        self.log.size()
    }

    fn trim_before(&mut self, offset: i64) -> Result<(), MetadataError> {
        if offset > self.log.log_start_offset() {
            self.log.delete_records_before(offset).map_err(failed)?;
            self.log.delete_old_segments(self.clock.wall_millis()).map_err(failed)?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), MetadataError> {
        self.log.close().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::controller_tests::{create, new_topic};
    use super::super::{Controller, ControllerOptions, supported_features};
    use super::*;
    use crate::config::BrokerConfig;
    use crate::env::{Call, Env, Failure, ManualClock, MemoryDisk, OpenMode, PlannedFault};
    use crate::metadata::BrokerRegistrationData;
    use crate::storage::LogDirectory;
    use crate::types::{CLUSTER_METADATA_TOPIC_NAME, TopicPartition, Uuid};

    fn open(env: &Env, directory: &Path, clean: bool, snapshot_bytes: u64) -> Arc<Controller> {
        env.disk.create_dir_all(directory).expect("a directory");
        let log_directory = LogDirectory::new(env.clone(), directory, Uuid::from_u128(9), 100);
        let name = TopicPartition::new(CLUSTER_METADATA_TOPIC_NAME, 0);
        let mut options = LogOptions::new(log_directory, name, Arc::new(StorageMetadataLog::config()));
        options.topic_id = Uuid::from_u128(1);
        options.clean_shutdown = clean;
        let log = StorageMetadataLog::open(options, env.clock.clone()).expect("opens");
        let mut options = ControllerOptions::new(1, directory.join("__cluster_metadata-0"));
        options.snapshots.bytes = snapshot_bytes;
        let config = Arc::new(BrokerConfig::default());
        let controller = Controller::open(env.clone(), options, Box::new(log), config).expect("opens");
        let registration = BrokerRegistrationData {
            broker_id: 1,
            incarnation_id: env.random.uuid(),
            endpoints: Vec::new(),
            features: supported_features(),
            rack: None,
            directories: vec![Uuid::from_u128(9)],
        };
        let epoch = controller.register_broker(&registration).expect("durable").expect("registered");
        controller.unfence_broker(1, epoch).expect("durable").expect("unfenced");
        controller
    }

    fn topics(controller: &Controller) -> Vec<String> {
        controller.image().topics.by_name().keys().map(ToString::to_string).collect()
    }

    fn create_topic(controller: &Controller, topic: &str) {
        let response = controller.create_topics(&create(vec![new_topic(topic, 3, 1)])).expect("durable");
        assert_eq!(response.topics[0].error_code, 0);
    }

    #[test]
    fn a_start_finds_the_log_of_a_clean_and_of_a_broken_end() {
        let env = Env::simulated(ManualClock::new(1_000_000), 1);
        let directory = Path::new("/data");
        let controller = open(&env, directory, false, u64::MAX);
        create_topic(&controller, "a");
        let epoch = controller.image().topics.partition("a", 0).expect("it exists").leader_epoch;
        controller.shutdown().expect("closes");
        let controller = open(&env, directory, true, u64::MAX);
        create_topic(&controller, "b");
        assert!(controller.image().topics.partition("a", 0).expect("it exists").leader_epoch > epoch);
        drop(controller);
        assert_eq!(topics(&open(&env, directory, false, u64::MAX)), ["a", "b"]);
    }

    #[test]
    fn a_change_for_which_there_is_no_room_can_be_made_later() {
        let clock = ManualClock::new(1_000_000);
        let disk = MemoryDisk::new(Arc::new(clock.clone()));
        let env = Env { disk: Arc::new(disk.clone()), ..Env::simulated(clock, 1) };
        let directory = Path::new("/data");
        let controller = open(&env, directory, false, u64::MAX);
        create_topic(&controller, "a");
        disk.fail(PlannedFault { calls: &[Call::Write], nth: 1, times: 1, failure: Failure::Full });
        let refused = controller.create_topics(&create(vec![new_topic("b", 1, 1)]));
        assert!(matches!(refused, Err(MetadataError::DiskFull(_))), "{refused:?}");
        assert_eq!(topics(&controller), ["a"]);
        create_topic(&controller, "c");
        drop(controller);
        assert_eq!(topics(&open(&env, directory, false, u64::MAX)), ["a", "c"]);
    }

    #[test]
    fn a_byte_that_changed_after_a_clean_end_is_found() {
        let env = Env::simulated(ManualClock::new(1_000_000), 1);
        let directory = Path::new("/data");
        let controller = open(&env, directory, false, u64::MAX);
        create_topic(&controller, "a");
        controller.shutdown().expect("closes");
        let path = directory.join("__cluster_metadata-0/00000000000000000000.log");
        let file = env.disk.open(&path, OpenMode::ReadWrite).expect("opens");
        // In the records of the first batch.
        file.write_all_at(b"x", 75).expect("writes");

        let name = TopicPartition::new(CLUSTER_METADATA_TOPIC_NAME, 0);
        let log_directory = LogDirectory::new(env.clone(), directory, Uuid::from_u128(9), 100);
        let mut options = LogOptions::new(log_directory, name, Arc::new(StorageMetadataLog::config()));
        options.topic_id = Uuid::from_u128(1);
        options.clean_shutdown = true;
        let opened = StorageMetadataLog::open(options, env.clock.clone()).map(|_| ());
        let error = opened.expect_err("is not believed").to_string();
        assert!(error.contains("00000000000000000000.log: damage at byte 0: "), "{error}");
    }

    #[test]
    fn a_torn_tail_is_cut_and_what_was_answered_is_there() {
        let env = Env::simulated(ManualClock::new(1_000_000), 1);
        let directory = Path::new("/data");
        let controller = open(&env, directory, false, u64::MAX);
        create_topic(&controller, "a");
        drop(controller);
        let path = directory.join("__cluster_metadata-0/00000000000000000000.log");
        let file = env.disk.open(&path, OpenMode::ReadWrite).expect("opens");
        let whole = file.size().expect("a size");
        let controller = open(&env, directory, false, u64::MAX);
        create_topic(&controller, "b");
        drop(controller);
        // Half of what came after: the start's batches and topic b are gone or torn, topic a stays.
        let torn = (whole + file.size().expect("a size")) / 2;
        file.set_len(torn).expect("cuts");
        assert_eq!(topics(&open(&env, directory, false, u64::MAX)), ["a"]);
    }

    #[test]
    fn with_snapshots_a_start_still_finds_everything() {
        let env = Env::simulated(ManualClock::new(1_000_000), 1);
        let directory = Path::new("/data");
        let controller = open(&env, directory, false, 2000);
        for topic in 0..50 {
            create_topic(&controller, &format!("t{topic:02}"));
        }
        let live = topics(&controller);
        assert_eq!(live.len(), 50);
        drop(controller);
        let controller = open(&env, directory, false, 2000);
        assert_eq!(topics(&controller), live);
        controller.shutdown().expect("closes");
        assert_eq!(topics(&open(&env, directory, true, 2000)), live);
    }
}
