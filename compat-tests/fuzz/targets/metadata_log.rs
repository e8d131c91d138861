//! The metadata log and its snapshots. First byte 0: the input is records, each behind its length in one byte, that are replayed;
//! otherwise one file of a healthy metadata directory is damaged: which, where, with what.
#![no_main]

mod memory;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use libfuzzer_sys::fuzz_target;
use ottla::config::BrokerConfig;
use ottla::env::{Env, FileKind, ManualClock, OpenMode};
use ottla::metadata::{Controller, ControllerOptions, MetadataError, StorageMetadataLog};
use ottla::record::{BatchBuilder, BatchProperties};
use ottla::storage::{AppendOrigin, Log, LogManager, LogManagerOptions};

const ROOT: &str = "/data";
const DIRECTORY: &str = "/data/__cluster_metadata-0";
const NOW: i64 = 1_000_000;

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    let env = Env::simulated(ManualClock::new(NOW), 7);
    if *choice == 0 {
        write_records(&env, rest);
    } else {
        let [position, bytes @ ..] = rest else { return };
        use_metadata(&env).expect("a new cluster");
        damage(&env, usize::from(*choice), usize::from(*position), bytes);
    }
    let (first, second) = (use_metadata(&env), use_metadata(&env));
    // Damage that the first start had no need to look at may be found by the second.
    if *choice == 0 && first.is_ok() {
        second.expect("what was read once can be read again");
    }
});

fn manager(env: &Env) -> Arc<LogManager> {
    LogManager::open(env.clone(), LogManagerOptions::new(vec![ROOT.into()], 1)).expect("opens")
}

fn write_records(env: &Env, mut input: &[u8]) {
    let manager = manager(env);
    let options = manager.metadata_log_options(Arc::new(StorageMetadataLog::config())).expect("options");
    let log = Log::open(options).expect("a log");
    let mut offset = 0;
    while let [length, rest @ ..] = input {
        let (value, after) = rest.split_at(usize::from(*length).min(rest.len()));
        input = after;
        let properties = BatchProperties { base_offset: offset, partition_leader_epoch: 1, ..Default::default() };
        let mut batch = BatchBuilder::new(properties);
        batch.append(NOW, None, Some(value), &[]).expect("a record");
        log.append_records(batch.build(), 1, AppendOrigin::Coordinator, NOW).expect("appends");
        offset += 1;
    }
    log.flush().expect("flushes");
}

/// Opens the metadata, changes something, writes a snapshot, closes.
fn use_metadata(env: &Env) -> Result<(), MetadataError> {
    let manager = manager(env);
    let log = manager.metadata_log_options(Arc::new(StorageMetadataLog::config())).expect("options");
    let mut options = ControllerOptions::new(1, DIRECTORY.into());
    options.snapshots.bytes = 1;
    let log = Box::new(StorageMetadataLog::open(log, env.clock.clone())?);
    let config = Arc::new(BrokerConfig::new(BTreeMap::new()).expect("a configuration"));
    let controller = Controller::open(env.clone(), options, log, config)?;
    let topic = CreatableTopic::default().with_name(kafka_name("t")).with_num_partitions(2).with_replication_factor(1);
    controller.create_topics(&CreateTopicsRequest::default().with_topics(vec![topic]))?;
    controller.shutdown()?;
    drop(controller);
    let _ = manager.shutdown(1);
    Ok(())
}

fn kafka_name(name: &'static str) -> kafka_protocol::messages::TopicName {
    kafka_protocol::messages::TopicName(name.into())
}

fn damage(env: &Env, choice: usize, position: usize, bytes: &[u8]) {
    let files: Vec<_> = (env.disk.read_dir(Path::new(DIRECTORY)).expect("a directory").into_iter())
        .filter(|path| env.disk.metadata(path).is_ok_and(|metadata| metadata.kind == FileKind::File))
        .collect();
    let path = &files[choice % files.len()];
    let mut contents = env.disk.read(path, usize::MAX).expect("readable");
    let position = position.min(contents.len());
    if bytes.is_empty() {
        contents.truncate(position);
    } else {
        let end = (position + bytes.len()).min(contents.len());
        contents[position..end].copy_from_slice(&bytes[..end - position]);
    }
    let file = env.disk.open(path, OpenMode::Truncate).expect("opens");
    file.write_all_at(&contents, 0).expect("writes");
}
