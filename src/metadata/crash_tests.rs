//! The metadata through crashes: after every call that changes the disk, by kill and by power cut in many ways, the next
//! start has every change that was answered, and of the one in flight all or nothing.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kafka_protocol::messages::DeleteTopicsRequest;

use super::controller_tests::{alter, create, name, new_topic, registration};
use super::*;
use crate::config::BrokerConfig;
use crate::env::{Env, ManualClock, MemoryDisk};
use crate::storage::{LogManager, LogManagerOptions};

const DIRECTORY: &str = "/data";

/// What a client can see: partitions and configurations of each topic.
type Seen = BTreeMap<String, (usize, BTreeMap<String, String>)>;

fn world(disk: &MemoryDisk, clock: &ManualClock, seed: u64) -> Env {
    Env { disk: Arc::new(disk.clone()), ..Env::simulated(clock.clone(), seed) }
}

struct Life {
    logs: Arc<LogManager>,
    controller: Arc<Controller>,
    broker_epoch: i64,
}

impl Life {
    /// As the broker starts.
    fn begin(env: &Env) -> Result<Self, String> {
        let disk = env.disk.clone();
        let mut options = LogManagerOptions::new(vec![DIRECTORY.into()], 1);
        options.ballast_bytes = 0;
        options.inspection =
            Some(Arc::new(move |directories| inspect(&*disk, Path::new(DIRECTORY), directories, 1).map(|_| ())));
        let logs = LogManager::open(env.clone(), options).map_err(|error| error.to_string())?;
        let log = logs.metadata_log_options(Arc::new(StorageMetadataLog::config())).ok_or("no directory")?;
        let mut options = ControllerOptions::new(1, Path::new(DIRECTORY).join("__cluster_metadata-0"));
        // Few records are enough for a snapshot, and the oldest goes at once.
        options.snapshots.bytes = 700;
        options.snapshots.retention = SnapshotRetention { bytes: 0, milliseconds: -1 };
        let failed = |error: MetadataError| error.to_string();
        let log = Box::new(StorageMetadataLog::open(log, env.clock.clone()).map_err(failed)?);
        let config = Arc::new(BrokerConfig::default());
        let controller = Controller::open(env.clone(), options, log, config).map_err(failed)?;
        let epoch = controller.register_broker(&registration(env, 1)).map_err(failed)?.map_err(|e| format!("{e:?}"))?;
        controller.unfence_broker(1, epoch).map_err(failed)?.map_err(|e| format!("{e:?}"))?;
        Ok(Self { logs, controller, broker_epoch: epoch })
    }

    fn end(self) {
        self.controller.shutdown().expect("closes");
        self.logs.shutdown(self.broker_epoch).expect("closes");
    }

    fn seen(&self) -> Seen {
        let image = self.controller.image();
        let seen = |topic: &TopicImage| (topic.partitions.len(), image.configs.topic(&topic.name).as_ref().clone());
        image.topics.by_name().iter().map(|(name, topic)| (name.to_string(), seen(topic))).collect()
    }
}

type Command = Box<dyn Fn(&Controller)>;

/// What is done in one life, one command after the other.
fn commands() -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for topic in ["a", "b", "c", "d", "e", "f"] {
        commands.push(Box::new(move |controller| {
            let response = controller.create_topics(&create(vec![new_topic(topic, 2, 1)])).expect("durable");
            assert_eq!(response.topics[0].error_code, 0);
        }));
    }
    commands.push(Box::new(|controller| {
        let change = alter(2, "b", &[("retention.ms", 0, Some("5")), ("segment.ms", 0, Some("6"))]);
        controller.incremental_alter_configs(&change).expect("durable");
    }));
    commands.push(Box::new(|controller| {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![name("a")]);
        controller.delete_topics(&request, 5).expect("durable");
    }));
    commands
}

/// Three lives: two that end in order, one that does not. Gives what was seen after each mark.
fn tell(disk: &MemoryDisk, clock: &ManualClock) -> Vec<Seen> {
    let mut promised = vec![Seen::default()];
    for seed in 0..3 {
        let life = Life::begin(&world(disk, clock, seed)).expect("starts");
        assert_eq!(life.seen(), *promised.last().expect("something"));
        for (number, command) in commands().iter().enumerate() {
            if (number % 3) as u64 != seed {
                continue;
            }
            command(&life.controller);
            promised.push(life.seen());
            disk.mark(promised.len() as u64 - 1);
        }
        if seed < 2 {
            life.end();
        }
    }
    promised
}

fn check(disk: &MemoryDisk, clock: &ManualClock, promised: &[Seen], mark: usize) {
    let allowed = [&promised[mark], promised.get(mark + 1).unwrap_or(&promised[mark])];
    let life = Life::begin(&world(disk, clock, 77)).expect("starts");
    let seen = life.seen();
    assert!(allowed.contains(&&seen), "{seen:?} instead of {allowed:?}");
    let epoch = life.controller.image().provenance.last_contained_epoch;
    drop(life);
    // Killed and started again: nothing else is found, in an epoch of its own.
    let again = Life::begin(&world(&disk.process_crash(), clock, 78)).expect("starts again");
    assert_eq!(again.seen(), seen);
    assert!(again.controller.image().provenance.last_contained_epoch > epoch);
}

/// `metadata.snapshots`, `quorum-state`, `bootstrap.checkpoint`, the clean marker, the log: a crash between each two calls.
/// (reliability.md 2.B K-9892, K-16541, and Kafka's own: `bootstrap.checkpoint` is never synced there.)
#[test]
fn a_crash_after_any_call_loses_no_answered_command() {
    let clock = ManualClock::new(1_000_000);
    let disk = MemoryDisk::new(Arc::new(clock.clone()));
    disk.watch();
    let promised = tell(&disk, &clock);
    assert_eq!(promised.len(), 9);
    let moments = disk.moments();
    assert!(moments.len() > 100, "{}", moments.len());
    let mut seen = std::collections::HashSet::new();
    let mut disks = 0;
    for (number, moment) in moments.iter().enumerate() {
        let mark = moment.mark as usize;
        let killed = moment.disk.process_crash();
        let cuts: Vec<MemoryDisk> = moment.disk.power_cuts().take(8, number as u64).map(|cut| cut.disk).collect();
        for after in std::iter::once(killed).chain(cuts) {
            if seen.insert((after.fingerprint(), mark)) {
                disks += 1;
                check(&after, &clock, &promised, mark);
            }
        }
    }
    assert!(disks > 200, "{disks}");
}
