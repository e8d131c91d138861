//! Reports on healthy and damaged directories.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;

use super::*;
use crate::config::LogConfig;
use crate::env::{ManualClock, OpenMode};
use crate::record::{BatchBuilder, BatchProperties};
use crate::storage::{AppendOrigin, LogManager, LogManagerOptions};
use crate::types::Uuid;

const TOPIC_LOG: &str = "/data/t-0/00000000000000000000.log";

fn batch(records: i64) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(BatchProperties::default());
    for number in 0..records {
        builder.append(500 + number, Some(b"k"), Some(b"value"), &[]).unwrap();
    }
    builder.build()
}

/// A directory with one topic of three segments.
fn env(clean: bool) -> Env {
    let env = Env::simulated(ManualClock::new(1_000_000), 7);
    let manager = LogManager::open(env.clone(), LogManagerOptions::new(vec!["/data".into()], 1)).unwrap();
    let config = LogConfig { segment_bytes: 4000, index_interval_bytes: 200, ..LogConfig::default() };
    let name = TopicPartition::new("t", 0);
    let log = manager.get_or_create(&name, Uuid::from_u128(9), Arc::new(config)).unwrap();
    for _ in 0..100 {
        log.append_records(batch(2), 3, AppendOrigin::Coordinator, 500).unwrap();
    }
    if clean {
        log.update_high_watermark(200);
        manager.shutdown(1).unwrap();
    } else {
        log.flush().unwrap();
    }
    env
}

fn report(env: &Env) -> (bool, String) {
    let mut out = Vec::new();
    let options = VerifyOptions { directories: vec!["/data".into()] };
    let good = verify(env, &options, &mut out).expect("a report");
    // What stands here belongs to no topic.
    let text: String = String::from_utf8(out).unwrap();
    let lines = text.lines().filter(|line| !line.contains("__cluster_metadata") && !line.contains("no such partition"));
    (good, lines.collect::<Vec<_>>().join("\n"))
}

fn flip(env: &Env, path: &str, position: u64, bit: u8) {
    let file = env.disk.open(Path::new(path), OpenMode::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ bit], position).unwrap();
}

#[test]
fn a_healthy_log_has_no_problems_and_nothing_changes() {
    let env = env(true);
    let before = env.disk.read_dir(Path::new("/data/t-0")).unwrap();
    let (_, text) = report(&env);
    assert!(text.contains("batches    100 with 200 records"), "{text}");
    assert!(!text.contains("  /data/t-0"), "{text}");
    assert_eq!(env.disk.read_dir(Path::new("/data/t-0")).unwrap(), before);
}

#[test]
fn every_kind_of_damage_is_named_with_its_byte() {
    for (path, position, expected) in [
        (TOPIC_LOG, 70, "the checksum of the batch with offsets 0 to 1 is wrong"),
        (TOPIC_LOG, 7, "base offset 2 is below 3"),
        (TOPIC_LOG, 16, "Invalid magic"),
        (TOPIC_LOG, 15, "leader epoch 2 is not 3"),
        ("/data/t-0/00000000000000000000.index", 7, "is not where a batch begins"),
        ("/data/t-0/00000000000000000000.timeindex", 7, "timestamp"),
        ("/data/t-0/partition.metadata", 11, "names no topic id"),
        ("/data/t-0/leader-epoch-checkpoint", 0, "is malformed"),
        ("/data/meta.properties", 0, "meta.properties"),
        ("/data/recovery-point-offset-checkpoint", 8, "is malformed"),
    ] {
        let env = env(true);
        flip(&env, path, position, 1);
        let (good, text) = report(&env);
        assert!(!good && text.contains(expected), "{path} {position}: {text}");
        if path == TOPIC_LOG {
            // A base offset that is too high collides with the batch behind it.
            let at = if position == 7 { 87 } else { 0 };
            assert!(text.contains(&format!("{TOPIC_LOG} at byte {at}: ")), "{text}");
        }
    }
}

#[test]
fn a_recovery_point_behind_the_end_of_the_log_is_damage() {
    let env = env(true);
    // As Kafka writes it: without a seal.
    env.disk.write_atomically(Path::new("/data/recovery-point-offset-checkpoint"), b"0\n1\nt 0 999\n").unwrap();
    let (good, text) = report(&env);
    assert!(!good && text.contains("the recovery point is"), "{text}");
}

#[test]
fn a_torn_end_after_an_unclean_stop_is_no_damage() {
    let env = env(false);
    let last = env.disk.read_dir(Path::new("/data/t-0")).unwrap();
    let last = last.iter().rfind(|path| path.extension().is_some_and(|extension| extension == "log")).unwrap();
    let file = env.disk.open(last, OpenMode::ReadWrite).unwrap();
    file.set_len(file.size().unwrap() - 3).unwrap();
    let (_, text) = report(&env);
    assert!(text.contains("the next start cuts the last"), "{text}");
    // The one damage is that this directory has no metadata.
    assert!(text.contains("NOT GOOD: 1 damaged, 0 wrong caches, 1 unfinished"), "{text}");
}

#[test]
fn a_running_broker_is_not_disturbed() {
    let env = Env::simulated(ManualClock::new(1_000_000), 7);
    let _manager = LogManager::open(env.clone(), LogManagerOptions::new(vec!["/data".into()], 1)).unwrap();
    // The simulated disk locks a name without making the file.
    env.disk.open(Path::new("/data/.lock"), OpenMode::CreateReadWrite).unwrap();
    let options = VerifyOptions { directories: vec!["/data".into()] };
    assert!(matches!(verify(&env, &options, &mut Vec::new()), Err(VerifyError::Running(_))));
    env.disk.create_dir_all(Path::new("/other")).unwrap();
    let options = VerifyOptions { directories: vec!["/other".into()] };
    assert!(matches!(verify(&env, &options, &mut Vec::new()), Err(VerifyError::NoData(_))));
}
