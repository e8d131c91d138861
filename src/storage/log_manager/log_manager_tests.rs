//! Tests of the log manager on the simulated disk.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use uuid::Uuid;

use crate::config::LogConfig;
use crate::env::{Disk, Env, Fault, InlineSpawn, ManualClock, MemoryDisk, NamedFuture};
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

/// Polls background tasks once.
fn poll(tasks: &mut Vec<NamedFuture>) {
    tasks.retain_mut(|(_, task)| task.as_mut().now_or_never().is_none());
}

#[test]
fn background_tasks_delete_and_checkpoint() {
    let clock = ManualClock::new(10_000_000);
    let spawn = InlineSpawn::default();
    let env = Env { spawn: Arc::new(spawn.clone()), ..Env::simulated(clock.clone(), 3) };
    let manager = LogManager::open(env.clone(), options()).unwrap();
    manager.start();
    let mut tasks = spawn.take();
    let name = TopicPartition::new("t", 0);
    let config = Arc::new(LogConfig { retention_ms: 1000, ..LogConfig::default() });
    let log = manager.get_or_create(&name, Uuid::from_u128(1), config).unwrap();
    append(&log, 4);
    log.update_high_watermark(4);
    poll(&mut tasks);
    let high_watermarks = || env.disk.read(Path::new("/data/logs/replication-offset-checkpoint"), 1000);
    assert!(high_watermarks().is_err());
    clock.advance(Duration::from_secs(5));
    poll(&mut tasks);
    assert_eq!(high_watermarks().unwrap().trim_ascii_end(), b"0\n1\nt 0 4");
    clock.advance(Duration::from_secs(25));
    poll(&mut tasks);
    assert_eq!((log.log_start_offset(), log.size()), (4, 0), "everything is older than a second");
    assert!(env.disk.metadata(Path::new("/data/logs/recovery-point-offset-checkpoint")).is_ok());
    manager.shutdown(1).unwrap();
    clock.advance(Duration::from_secs(4000));
    poll(&mut tasks);
    assert!(tasks.is_empty(), "the tasks end with the manager");
}

#[test]
fn a_lost_directory_leaves_the_others() {
    let clock = ManualClock::new(1_000_000);
    let disk = MemoryDisk::new(Arc::new(clock.clone()));
    let env = Env { disk: Arc::new(disk.clone()), ..Env::simulated(clock, 3) };
    let two = || LogManagerOptions::new(vec!["/a".into(), "/b".into()], 1);
    let manager = LogManager::open(env.clone(), two()).unwrap();
    let names: Vec<TopicPartition> = (0..4).map(|number| TopicPartition::new("t", number)).collect();
    let logs: Vec<Arc<Log>> = names.iter().map(|name| create(&manager, name, 1)).collect();
    assert_eq!(manager.log_dirs().iter().map(|dir| dir.logs.len()).collect::<Vec<_>>(), [2, 2]);
    disk.set_fault(Some(Fault::Write));
    let batch = batch(BatchProperties::default(), 1, 1);
    let error = logs[0].append_records(batch, 0, AppendOrigin::Client, 0).unwrap_err();
    assert!(matches!(error, StorageError::LogDirOffline { .. }));
    disk.set_fault(None);
    let lost = logs[0].log_directory().path().to_owned();
    let dirs = manager.log_dirs();
    assert_eq!(dirs.iter().filter(|dir| dir.is_offline && dir.logs.is_empty() && dir.path == lost).count(), 1);
    for log in logs.iter().filter(|log| log.log_directory().path() != lost) {
        append(log, 3);
    }
    let new = create(&manager, &TopicPartition::new("t", 9), 1);
    assert_ne!(new.log_directory().path(), lost);
    assert!(manager.shutdown(1).is_err());
    assert!(disk.metadata(&lost.join(".kafka_cleanshutdown")).is_err(), "no marker where something failed");
    drop((manager, logs, new));
    let manager = LogManager::open(env, two()).unwrap();
    assert_eq!(manager.logs().len(), 5);
    assert_eq!(manager.previous_broker_epoch(), -1);
}

/// `PartitionsWithLateTransactionsCount` and `ProducerIdCount`: what an operator sees of a transaction that nobody ends.
#[test]
fn late_transactions_and_producers_are_counted() {
    let metrics = Arc::new(crate::telemetry::Metrics::default());
    let options = LogManagerOptions { metrics: metrics.clone(), ..options() };
    let clock = ManualClock::new(1_000_000);
    let manager = LogManager::open(Env::simulated(clock.clone(), 7), options).unwrap();
    for (number, is_transactional) in [(0, true), (1, false)] {
        let log = create(&manager, &TopicPartition::new("t", number), 9);
        let producer = BatchProperties {
            producer_id: 5,
            producer_epoch: 0,
            base_sequence: 0,
            is_transactional,
            ..BatchProperties::default()
        };
        log.append_verified(batch(producer, 1, 1_000_000), 0, 0).unwrap();
    }
    let seen = || {
        manager.delete_expired();
        (metrics.producer_ids.get(), metrics.partitions_with_late_transactions.get())
    };
    assert_eq!(seen(), (2, 0));
    clock.advance(Duration::from_millis(1_200_000));
    assert_eq!(seen(), (2, 0));
    clock.advance(Duration::from_millis(1));
    assert_eq!(seen(), (2, 1));
}
