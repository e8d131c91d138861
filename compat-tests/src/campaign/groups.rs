//! Consumer groups that commit offsets while the broker is killed: a committed offset never goes back after its commit was answered.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::findings::Findings;
use super::random::Random;
use crate::clients::consumer_config;

const GROUPS: usize = 4;
const ASKED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Committed {
    answered: AtomicI64,
    attempted: AtomicI64,
    count: AtomicU64,
    /// The answered commits with their moments.
    history: Mutex<Vec<(i64, Instant)>>,
}

/// Threads that commit ever larger offsets, each for a group of its own.
pub struct Committers {
    topic: String,
    stop: Arc<AtomicBool>,
    groups: Vec<(String, Arc<Committed>)>,
    threads: Vec<JoinHandle<()>>,
    findings: Findings,
}

impl Committers {
    /// Starts to commit for partition 0 of a topic, from an offset on.
    pub fn start(bootstrap: &str, topic: &str, first: i64, findings: &Findings, random: &mut Random) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut groups, mut threads) = (Vec::new(), Vec::new());
        for number in 0..GROUPS {
            let group = format!("committer-{number}");
            let committed = Arc::new(Committed::default());
            committed.attempted.store(first, Ordering::SeqCst);
            let consumer = consumer(bootstrap, &group)?;
            let (stop, topic, mut random) = (Arc::clone(&stop), topic.to_owned(), random.fork());
            groups.push((group, Arc::clone(&committed)));
            threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let offset = committed.attempted.load(Ordering::SeqCst) + 1;
                    committed.attempted.store(offset, Ordering::SeqCst);
                    if commit(&consumer, &topic, offset).is_ok() {
                        committed.answered.store(offset, Ordering::SeqCst);
                        committed.count.fetch_add(1, Ordering::SeqCst);
                        committed.history.lock().expect("not poisoned").push((offset, Instant::now()));
                    }
                    std::thread::sleep(Duration::from_millis(random.below(20)));
                }
            }));
        }
        Ok(Self { topic: topic.to_owned(), stop, groups, threads, findings: findings.clone() })
    }

    /// Reads every group's offset back.
    pub fn check(&self, bootstrap: &str) -> Result<()> {
        for (group, committed) in &self.groups {
            let answered = committed.answered.load(Ordering::SeqCst);
            let found = committed_offset(bootstrap, group, &self.topic)?.unwrap_or(0);
            let attempted = committed.attempted.load(Ordering::SeqCst);
            if found < answered || found > attempted {
                self.findings.add(format!(
                    "{group} committed {answered} (answered) to {attempted} (attempted); {found} was found"
                ));
            }
        }
        Ok(())
    }

    /// Stops; the number of commits that were answered.
    pub fn stop(&mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // A panic has been printed.
            let _ = thread.join();
        }
        self.groups.iter().map(|(_, committed)| committed.count.load(Ordering::SeqCst)).sum()
    }

    /// Each group with its last commit that was answered before a moment, and its last attempt.
    pub fn before(&self, moment: Option<Instant>) -> Vec<(String, i64, i64)> {
        let of = |(group, committed): &(String, Arc<Committed>)| {
            let history = committed.history.lock().expect("not poisoned");
            let last = history
                .iter()
                .take_while(|(_, at)| moment.is_some_and(|moment| *at < moment))
                .last()
                .map_or(0, |(offset, _)| *offset);
            (group.clone(), last, committed.attempted.load(Ordering::SeqCst))
        };
        self.groups.iter().map(of).collect()
    }
}

impl Drop for Committers {
    fn drop(&mut self) {
        // Not joined: a commit waits until a broker answers, and after a finding there may be none.
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn consumer(bootstrap: &str, group: &str) -> Result<BaseConsumer> {
    let mut config = consumer_config(bootstrap, group);
    config.set("socket.timeout.ms", "3000");
    config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    Ok(config.create()?)
}

fn commit(consumer: &BaseConsumer, topic: &str, offset: i64) -> Result<()> {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, Offset::Offset(offset))?;
    Ok(consumer.commit(&offsets, CommitMode::Sync)?)
}

/// The offset that a group has committed for partition 0 of a topic, once the broker gives it.
pub fn committed_offset(bootstrap: &str, group: &str, topic: &str) -> Result<Option<i64>> {
    let consumer = consumer(bootstrap, group)?;
    let started = Instant::now();
    loop {
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition(topic, 0);
        match consumer.committed_offsets(partitions, Duration::from_secs(5)) {
            Ok(found) => {
                let element = found.find_partition(topic, 0).context("no answer about the partition")?;
                return Ok(match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                });
            }
            Err(error) if started.elapsed() > ASKED_WITHIN => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
