//! The topics of a campaign, and topics that come and go while the broker is killed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;

use super::findings::Findings;
use super::follower::watermarks;
use super::random::Random;
use crate::clients::{block_on, client_config};

/// A partition: the number of its topic, and its own.
pub type Place = (u32, i32);

/// What a topic keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything.
    All,
    /// The last value of each key.
    Compacted,
    /// The last bytes.
    Retained,
    /// The last value of each key, among the last bytes.
    CompactedAndRetained,
}

impl Kind {
    /// Whether nothing is ever removed.
    pub fn keeps_all(self) -> bool {
        self == Self::All
    }

    /// Whether records have keys.
    pub fn has_keys(self) -> bool {
        matches!(self, Self::Compacted | Self::CompactedAndRetained)
    }

    /// Whether the log start moves.
    pub fn has_retention(self) -> bool {
        matches!(self, Self::Retained | Self::CompactedAndRetained)
    }
}

/// A topic of a campaign.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its number in tags.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// What it keeps.
    pub kind: Kind,
    /// Configuration.
    pub settings: Vec<(&'static str, String)>,
}

impl Topic {
    /// A topic with settings.
    pub fn new(id: u32, name: &str, partitions: i32, kind: Kind, settings: &[(&'static str, &str)]) -> Self {
        let settings = settings.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Self { id, name: name.to_owned(), partitions, kind, settings }
    }

    /// Creates it.
    pub fn create(&self, bootstrap: &str) -> Result<()> {
        let settings: Vec<(&str, &str)> = self.settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        crate::clients::create_topic(bootstrap, &self.name, self.partitions, &settings)
    }
}

/// What is known about a topic that comes and goes. A request without an answer leaves both possibilities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Partitions and `retention.ms`, if it exists for sure.
    there: Option<(i32, i64)>,
    /// A request was sent whose outcome nobody told: what would hold had it been done.
    perhaps: Option<Option<(i32, i64)>>,
}

#[derive(Default)]
struct Register {
    known: BTreeMap<String, Known>,
    creates: u64,
    deletes: u64,
    alters: u64,
}

/// A thread that creates topics, changes their configuration and deletes them, again and again under few names.
pub struct TopicTurnover {
    stop: Arc<AtomicBool>,
    register: Arc<Mutex<Register>>,
    thread: Option<JoinHandle<()>>,
    findings: Findings,
}

const NAMES: u64 = 24;
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

impl TopicTurnover {
    /// Starts the thread.
    pub fn start(bootstrap: &str, findings: &Findings, mut random: Random) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let register: Arc<Mutex<Register>> = Arc::default();
        let (admin, options) = admin(bootstrap)?;
        let thread = {
            let (stop, register) = (Arc::clone(&stop), Arc::clone(&register));
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let name = format!("turnover-{}", random.below(NAMES));
                    // Its state must be certain before the next request about it; `check` makes it so.
                    let known = register.lock().expect("not poisoned").known.entry(name.clone()).or_default().clone();
                    if known.perhaps.is_none() {
                        turn(&admin, &options, &register, &name, known, &mut random);
                    }
                    std::thread::sleep(Duration::from_millis(random.below(20)));
                }
            })
        };
        Ok(Self { stop, register, thread: Some(thread), findings: findings.clone() })
    }

    /// Compares what was answered with what is there. Call it while no request can be under way: see [`Self::pause`].
    pub fn check(&self, bootstrap: &str) -> Result<()> {
        let (admin, options) = admin(bootstrap)?;
        let there = existing(&admin)?;
        let probe: BaseConsumer = client_config(bootstrap).set("group.id", "probe").create()?;
        let mut register = self.register.lock().expect("not poisoned");
        for (name, known) in &mut register.known {
            let mut found = there.get(name).map(|partitions| (*partitions, 0));
            if let Some((_, retention)) = &mut found {
                *retention = retention_of(&admin, &options, name)?;
            }
            if found != known.there && known.perhaps != Some(found) {
                self.findings.add(format!("topic {name}: {found:?} was found, {known:?} was known"));
            }
            *known = Known { there: found, perhaps: None };
            if let Some((partitions, _)) = found {
                // Nothing is ever written to these: a record would be of a topic that was deleted.
                for partition in 0..partitions {
                    let range = watermarks(&probe, name, partition)?;
                    if range != (0, 0) {
                        self.findings.add(format!("the new topic {name}-{partition} has the records {range:?}"));
                    }
                }
            }
        }
        for name in there.keys().filter(|name| name.starts_with("turnover-")) {
            if !register.known.contains_key(name) {
                self.findings.add(format!("topic {name} was never created"));
            }
        }
        Ok(())
    }

    /// Stops the thread; creates, deletes and changes that were answered.
    pub fn stop(&mut self) -> (u64, u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed.
            let _ = thread.join();
        }
        let register = self.register.lock().expect("not poisoned");
        (register.creates, register.deletes, register.alters)
    }

    /// Stops the thread and starts it again with the same knowledge after `between`.
    pub fn pause<T>(&mut self, bootstrap: &str, random: Random, between: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        self.stop();
        let result = between(self)?;
        let next = Self::start(bootstrap, &self.findings, random)?;
        std::mem::swap(
            &mut *next.register.lock().expect("not poisoned"),
            &mut self.register.lock().expect("not poisoned"),
        );
        *self = next;
        Ok(result)
    }
}

impl Drop for TopicTurnover {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A thread that creates one topic after the other and remembers which creations were answered.
pub struct TopicCreator {
    stop: Arc<AtomicBool>,
    created: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl TopicCreator {
    /// Starts to create `prefix-0`, `prefix-1` and so on.
    pub fn start(bootstrap: &str, prefix: String, mut random: Random) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let created: Arc<Mutex<Vec<String>>> = Arc::default();
        let (admin, options) = admin(bootstrap)?;
        let options = options.request_timeout(Some(Duration::from_secs(1)));
        let thread = {
            let (stop, created) = (Arc::clone(&stop), Arc::clone(&created));
            std::thread::spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let name = format!("{prefix}-{number}");
                    let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
                    if answered(block_on(admin.create_topics([&topic], &options))) {
                        created.lock().expect("not poisoned").push(name);
                    }
                    std::thread::sleep(Duration::from_millis(50 + random.below(300)));
                }
            })
        };
        Ok(Self { stop, created, thread: Some(thread) })
    }

    /// The topics whose creation was answered.
    pub fn created(&self) -> Vec<String> {
        self.created.lock().expect("not poisoned").clone()
    }

    /// Stops the thread.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed.
            let _ = thread.join();
        }
    }
}

impl Drop for TopicCreator {
    fn drop(&mut self) {
        self.stop();
    }
}

fn admin(bootstrap: &str) -> Result<(AdminClient<DefaultClientContext>, AdminOptions)> {
    let options = AdminOptions::new().request_timeout(Some(ANSWERED_WITHIN)).operation_timeout(Some(ANSWERED_WITHIN));
    let mut config = client_config(bootstrap);
    config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    Ok((config.create()?, options))
}

/// One request about a topic, and what its answer taught.
fn turn(
    admin: &AdminClient<DefaultClientContext>,
    options: &AdminOptions,
    register: &Mutex<Register>,
    name: &str,
    known: Known,
    random: &mut Random,
) {
    let set = |known: Known| register.lock().expect("not poisoned").known.insert(name.to_owned(), known);
    let (wanted, done) = match known.there {
        None => {
            let wanted = (1 + random.below(3) as i32, 1_000_000 + random.below(1_000_000) as i64);
            set(Known { there: None, perhaps: Some(Some(wanted)) });
            let retention = wanted.1.to_string();
            let topic = NewTopic::new(name, wanted.0, TopicReplication::Fixed(1)).set("retention.ms", &retention);
            (Some(wanted), answered(block_on(admin.create_topics([&topic], options))))
        }
        Some((partitions, _)) if random.percent(30) => {
            let wanted = (partitions, 1_000_000 + random.below(1_000_000) as i64);
            set(Known { there: known.there, perhaps: Some(Some(wanted)) });
            let retention = wanted.1.to_string();
            let change = AlterConfig::new(ResourceSpecifier::Topic(name)).set("retention.ms", &retention);
            let result = block_on(admin.alter_configs([&change], options));
            (Some(wanted), matches!(result.as_deref(), Ok([Ok(_)])))
        }
        Some(_) => {
            set(Known { there: known.there, perhaps: Some(None) });
            (None, answered(block_on(admin.delete_topics(&[name], options))))
        }
    };
    if done {
        let mut register = register.lock().expect("not poisoned");
        match (known.there.is_some(), wanted.is_some()) {
            (false, _) => register.creates += 1,
            (true, false) => register.deletes += 1,
            (true, true) => register.alters += 1,
        }
        register.known.insert(name.to_owned(), Known { there: wanted, perhaps: None });
    }
}

fn answered(result: rdkafka::error::KafkaResult<Vec<rdkafka::admin::TopicResult>>) -> bool {
    matches!(result.as_deref(), Ok([Ok(_)]))
}

/// The topics there are, with their partitions.
pub fn existing_topics(bootstrap: &str) -> Result<BTreeMap<String, i32>> {
    existing(&admin(bootstrap)?.0)
}

fn existing(admin: &AdminClient<DefaultClientContext>) -> Result<BTreeMap<String, i32>> {
    let started = Instant::now();
    loop {
        match admin.inner().fetch_metadata(None, ANSWERED_WITHIN) {
            Ok(metadata) => {
                let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
                return Ok(topics.map(|topic| (topic.name().to_owned(), topic.partitions().len() as i32)).collect());
            }
            Err(error) if started.elapsed() > SETTLED_WITHIN => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn retention_of(admin: &AdminClient<DefaultClientContext>, options: &AdminOptions, name: &str) -> Result<i64> {
    let started = Instant::now();
    loop {
        let result = block_on(admin.describe_configs([&ResourceSpecifier::Topic(name)], options));
        if let Ok([Ok(resource)]) = result.as_deref() {
            let Some(value) = resource.get("retention.ms").and_then(|entry| entry.value.clone()) else {
                bail!("topic {name} has no retention.ms");
            };
            return Ok(value.parse()?);
        }
        ensure!(started.elapsed() < SETTLED_WITHIN, "the configuration of {name}: {result:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
