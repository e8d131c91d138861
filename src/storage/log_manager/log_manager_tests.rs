//! Tests of the log manager on the simulated disk.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use crate::config::LogConfig;
use crate::env::{Env, ManualClock};
use crate::record::BatchProperties;
use crate::storage::log::log_tests::batch;
use crate::storage::*;
use crate::types::TopicPartition;

fn options() -> LogManagerOptions {
    LogManagerOptions::new(vec!["/data/logs".into()], 1)
}

fn env() -> Env {
    Env::simulated(ManualClock::new(1_000_000), 7)
}

fn create(manager: &LogManager, name: &TopicPartition, id: u128) -> Arc<Log> {
    manager.get_or_create(name, Uuid::from_u128(id), Arc::new(LogConfig::default())).unwrap()
}

fn append(log: &Arc<Log>, records: i32) {
    log.append_records(batch(BatchProperties::default(), records, 500), 0, AppendOrigin::Coordinator, 500).unwrap();
}

#[test]
fn logs_survive_a_clean_stop() {
    let env = env();
    let manager = LogManager::open(env.clone(), options()).unwrap();
    let cluster_id = manager.cluster_id().to_owned();
    let name = TopicPartition::new("t", 3);
    let log = create(&manager, &name, 9);
    append(&log, 5);
    log.update_high_watermark(5);
    log.delete_records_before(2).unwrap();
    manager.shutdown(44).unwrap();
    let marker = env.disk.read(Path::new("/data/logs/.kafka_cleanshutdown"), 100).unwrap();
    assert_eq!(marker, br#"{"version":0,"brokerEpoch":44}"#);
    drop((manager, log));

    let manager = LogManager::open(env.clone(), options()).unwrap();
    assert_eq!((manager.cluster_id(), manager.previous_broker_epoch()), (&*cluster_id, 44));
    assert!(env.disk.metadata(Path::new("/data/logs/.kafka_cleanshutdown")).is_err(), "the marker is used up");
    let log = manager.log(&name).unwrap();
    assert_eq!((log.log_start_offset(), log.high_watermark(), log.log_end_offset()), (2, 5, 5));
    assert_eq!((log.recovery_point(), log.topic_id()), (5, Uuid::from_u128(9)));
    assert_eq!(manager.log_dirs()[0].logs, [(name, log.size())]);
}

#[test]
fn a_second_manager_and_foreign_directories_are_refused() {
    let env = env();
    let manager = LogManager::open(env.clone(), options()).unwrap();
    let refused = |options| LogManager::open(env.clone(), options).err().unwrap().to_string();
    assert!(refused(options()).contains("another broker process"));
    drop(manager);
    let other_node = LogManagerOptions { node_id: 2, ..options() };
    assert!(refused(other_node).contains("belongs to node.id 1"));
    let other_cluster = LogManagerOptions { cluster_id: Some("x".to_owned()), ..options() };
    assert!(refused(other_cluster).contains("belongs to cluster"));
    env.disk.create_dir_all(Path::new("/photos/summer")).unwrap();
    assert!(refused(LogManagerOptions::new(vec!["/photos".into()], 1)).contains("is no data directory"));
}

#[test]
fn a_deleted_topic_leaves_nothing_for_its_successor() {
    let env = env();
    let manager = LogManager::open(env.clone(), options()).unwrap();
    let name = TopicPartition::new("t", 0);
    let log = create(&manager, &name, 1);
    append(&log, 100);
    log.update_high_watermark(100);
    log.delete_records_before(60).unwrap();
    manager.shutdown(1).unwrap();
    drop((manager, log));

    let manager = LogManager::open(env.clone(), options()).unwrap();
    let old = manager.log(&name).unwrap();
    let error = manager.get_or_create(&name, Uuid::from_u128(2), old.config()).err().unwrap();
    assert!(matches!(error, StorageError::InconsistentTopicId { .. }));
    manager.delete_async(&name).unwrap();
    assert!(matches!(manager.delete_async(&name), Err(StorageError::UnknownLog { .. })));
    assert!(matches!(old.read(60, 1, FetchIsolation::LogEnd, true), Err(StorageError::LogClosed { .. })));
    assert!(old.path().to_string_lossy().ends_with("-delete"));
    let log = create(&manager, &name, 2);
    append(&log, 10);
    drop((manager, log));
    // Killed here. The checkpoint of the old log (start offset 60) must not hit the new one.
    let manager = LogManager::open(env.clone(), options()).unwrap();
    let log = manager.log(&name).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.topic_id()), (0, 10, Uuid::from_u128(2)));
}
