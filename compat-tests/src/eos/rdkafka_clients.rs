//! Threads of librdkafka: idempotent senders, transactions, read-process-write in a group, readers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::history::{Function, Mop, Outcome, Recorder};
use super::workload::{Place, Setting};
use crate::campaign::Random;

const PAUSE_MILLIS: u64 = 120;
/// How long one call of the transaction API may take.
const CALL: Duration = Duration::from_secs(6);
/// A consumer's poll collects this many records at most.
const POLLED_MAX: usize = 40;

fn config(setting: &Setting, process: &str) -> ClientConfig {
    let mut config = crate::clients::client_config(&setting.address);
    config.set("client.id", process).set("socket.timeout.ms", "10000");
    config.set("allow.auto.create.topics", "false");
    // Faults are the point; librdkafka's own words about them are noise.
    config.set_log_level(RDKafkaLogLevel::Emerg);
    config
}

/// Where delivery reports go: of a record outside transactions into the history, of one inside to its transaction.
#[derive(Clone, Default)]
struct Reports {
    offsets: Arc<Mutex<HashMap<u64, i64>>>,
    recorder: Option<(Recorder, String)>,
}

/// What a delivery report is about.
struct Sent {
    op: u64,
    place: Place,
    value: u64,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let Sent { op, place, value } = *sent;
        let offset = result.as_ref().ok().map(Message::offset).filter(|offset| *offset >= 0);
        if let Some(offset) = offset {
            self.offsets.lock().expect("not poisoned").insert(value, offset);
        }
        if let Some((recorder, process)) = &self.recorder {
            let mops = vec![Mop::Send { key: place.key(), value, offset }];
            // What librdkafka gave up may have arrived.
            let (outcome, text) = match result {
                Ok(_) => (Outcome::Ok, String::new()),
                Err((error, _)) => (Outcome::Info, error.to_string()),
            };
            recorder.complete(process, op, Function::Send, outcome, mops, text);
        }
    }
}

fn record<'a>(place: Place, payload: &'a str, sent: Box<Sent>) -> BaseRecord<'a, (), str, Box<Sent>> {
    BaseRecord::with_opaque_to(place.topic, sent).partition(place.partition).payload(payload)
}

/// Idempotent records outside transactions, to `plain` and to `in`.
pub fn sender(setting: &Arc<Setting>, name: &str, mut random: Random) {
    let mut life = 0;
    while !setting.stopped() {
        life += 1;
        let process = format!("{name}.{life}");
        let reports = Reports { recorder: Some((setting.recorder.clone(), process.clone())), ..Reports::default() };
        let mut config = config(setting, &process);
        config.set("enable.idempotence", "true").set("linger.ms", "2").set("message.timeout.ms", "30000");
        let producer: ThreadedProducer<Reports> = config.create_with_context(reports).expect("a producer");
        let until = Instant::now() + random.between(Duration::from_secs(4), Duration::from_secs(16));
        while !setting.stopped() && Instant::now() < until {
            setting.pause(&mut random, PAUSE_MILLIS);
            for _ in 0..1 + random.below(4) {
                let place = Place::any_of(["plain", "in"][random.below(2) as usize], &mut random);
                let value = setting.recorder.value();
                let mop = Mop::Send { key: place.key(), value, offset: None };
                let op = setting.recorder.invoke(&process, Function::Send, vec![mop.clone()]);
                let payload = value.to_string();
                if producer.send(record(place, &payload, Box::new(Sent { op, place, value }))).is_err() {
                    setting.recorder.complete(&process, op, Function::Send, Outcome::Fail, vec![mop], "not queued");
                }
            }
        }
        // At the end of a run everything is healed and every record gets its answer; a crash before asks for none.
        if setting.stopped() {
            let _ = producer.flush(Duration::from_secs(15));
        } else {
            producer.purge(PurgeConfig::default().queue().inflight());
        }
    }
}

/// Transactions over librdkafka: sends to `txn`, polls of it, commits and aborts. Two of them may have one transactional id:
/// each start of one fences the other.
pub fn mixer(setting: &Arc<Setting>, name: &str, transactional_id: &str, mut random: Random) {
    let mut life = 0;
    while !setting.stopped() {
        life += 1;
        let process = format!("{name}.{life}");
        let Some(producer) = Transactional::start(setting, transactional_id, &process) else { continue };
        let consumer = assigned(setting, &process, &Place::all_of("txn"), true);
        for _ in 0..10 + random.below(60) {
            if setting.stopped() {
                break;
            }
            setting.pause(&mut random, PAUSE_MILLIS);
            let op = setting.recorder.invoke(&process, Function::Txn, Vec::new());
            if producer.producer.begin_transaction().is_err() {
                setting.recorder.complete(&process, op, Function::Txn, Outcome::Fail, Vec::new(), "not begun");
                break;
            }
            let mut mops = Vec::new();
            for _ in 0..1 + random.below(4) {
                if random.percent(30) {
                    let records = poll(&consumer, Duration::from_millis(30));
                    mops.push(Mop::Poll { committed: true, records });
                } else {
                    producer.send(setting, op, Place::any_of("txn", &mut random), &mut mops);
                }
            }
            if !producer.finish(setting, op, mops, random.percent(82)) {
                break;
            }
        }
    }
}

struct Transactional {
    producer: ThreadedProducer<Reports>,
    reports: Reports,
    process: String,
}

impl Transactional {
    fn start(setting: &Setting, name: &str, process: &str) -> Option<Self> {
        let mut config = config(setting, process);
        config.set("transactional.id", name).set("transaction.timeout.ms", "6000").set("linger.ms", "1");
        config.set("message.timeout.ms", "6000").set("socket.timeout.ms", "6000");
        let reports = Reports::default();
        let producer: ThreadedProducer<Reports> = config.create_with_context(reports.clone()).expect("a producer");
        let began = Instant::now();
        loop {
            match producer.init_transactions(CALL) {
                Ok(()) => return Some(Self { producer, reports, process: process.to_owned() }),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && began.elapsed() < 2 * CALL => {}
                Err(_) => {
                    std::thread::sleep(Duration::from_millis(50));
                    return None;
                }
            }
        }
    }

    fn send(&self, setting: &Setting, op: u64, place: Place, mops: &mut Vec<Mop>) {
        let value = setting.recorder.value();
        let payload = value.to_string();
        // A record that is not queued is not there, and its transaction will not commit.
        let _ = self.producer.send(record(place, &payload, Box::new(Sent { op, place, value })));
        mops.push(Mop::Send { key: place.key(), value, offset: None });
    }

    /// Commits or aborts; whether the producer is still good.
    fn finish(&self, setting: &Setting, op: u64, mut mops: Vec<Mop>, commit: bool) -> bool {
        let began = Instant::now();
        let (mut outcome, mut text, mut good) = (Outcome::Fail, String::new(), true);
        if commit {
            let result = loop {
                match self.producer.commit_transaction(CALL) {
                    Err(KafkaError::Transaction(error)) if error.is_retriable() && began.elapsed() < 2 * CALL => {}
                    result => break result,
                }
            };
            match result {
                Ok(()) => outcome = Outcome::Ok,
                Err(error) => {
                    // librdkafka does not say whether it had asked the coordinator.
                    (outcome, text) = (Outcome::Info, error.to_string());
                    good = matches!(&error, KafkaError::Transaction(error) if error.txn_requires_abort());
                }
            }
        }
        if outcome != Outcome::Ok && good {
            // An abort purges what waits for a retry and gives its sequence numbers to the next records, though the first try
            // may have been written (librdkafka 2.12, `rd_kafka_toppar_purge_queues`): those would pass for duplicates of it,
            // with any broker. So nothing may be outstanding.
            good = self.producer.flush(CALL).is_ok() && self.producer.abort_transaction(CALL).is_ok();
        }
        let offsets = self.reports.offsets.lock().expect("not poisoned");
        for mop in &mut mops {
            if let Mop::Send { value, offset, .. } = mop {
                *offset = offsets.get(value).copied();
            }
        }
        drop(offsets);
        setting.recorder.complete(&self.process, op, Function::Txn, outcome, mops, text);
        good
    }
}

/// Follows what a consumer is given by its group.
struct Member {
    recorder: Recorder,
    process: String,
    /// Rebalances so far.
    rebalances: Arc<Mutex<u64>>,
}

impl ClientContext for Member {}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        *self.rebalances.lock().expect("not poisoned") += 1;
        let (Rebalance::Assign(list) | Rebalance::Revoke(list)) = rebalance else { return };
        let keys = list.elements().iter().map(|part| format!("{}-{}", part.topic(), part.partition())).collect();
        let mop = Mop::Assign { keys, beginning: false };
        self.recorder.note(&self.process, Function::Assign, Outcome::Ok, vec![mop], "rebalance");
    }
}

fn consumer_config(setting: &Setting, process: &str, group: &str, committed: bool) -> ClientConfig {
    let mut config = config(setting, process);
    config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    config.set("isolation.level", if committed { "read_committed" } else { "read_uncommitted" });
    config.set("fetch.wait.max.ms", "100").set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "500");
    config
}

fn assigned(setting: &Setting, process: &str, places: &[Place], committed: bool) -> BaseConsumer {
    let consumer: BaseConsumer = consumer_config(setting, process, process, committed).create().expect("a consumer");
    assign(setting, process, &consumer, places);
    consumer
}

fn assign(setting: &Setting, process: &str, consumer: &BaseConsumer, places: &[Place]) {
    let mut list = TopicPartitionList::new();
    for place in places {
        list.add_partition_offset(place.topic, place.partition, Offset::Beginning).expect("a place");
    }
    let mop = Mop::Assign { keys: places.iter().map(Place::key).collect(), beginning: true };
    setting.recorder.note(process, Function::Assign, Outcome::Ok, vec![mop], "");
    consumer.assign(&list).expect("assigned");
}

/// Records that are there within the time.
fn poll<C: ConsumerContext>(consumer: &BaseConsumer<C>, time: Duration) -> Vec<(String, i64, u64)> {
    let began = Instant::now();
    let mut records = Vec::new();
    while records.len() < POLLED_MAX && began.elapsed() < time {
        let Some(Ok(message)) = consumer.poll(time.saturating_sub(began.elapsed())) else { continue };
        let value = message.payload().and_then(|payload| std::str::from_utf8(payload).ok()?.parse().ok());
        let key = format!("{}-{}", message.topic(), message.partition());
        // A record that nobody can have written is a finding: no value is 0.
        records.push((key, message.offset(), value.unwrap_or(0)));
    }
    records
}

/// Reads all topics, assigned by hand, at one isolation level; assigned anew now and then, and crashed.
pub fn reader(setting: &Arc<Setting>, name: &str, committed: bool, mut random: Random) {
    let mut life = 0;
    while !setting.stopped() {
        life += 1;
        let process = format!("{name}.{life}");
        let mut consumer = assigned(setting, &process, &Place::all(), committed);
        while !setting.stopped() && !random.percent(1) {
            let records = poll(&consumer, Duration::from_millis(100));
            if !records.is_empty() {
                let mop = Mop::Poll { committed, records };
                setting.recorder.note(&process, Function::Poll, Outcome::Ok, vec![mop], "");
            }
            setting.pause(&mut random, PAUSE_MILLIS);
            if random.below(64) == 0 {
                let places: Vec<Place> = Place::all().into_iter().filter(|_| random.percent(70)).collect();
                // A consumer of its own: what the old one had fetched belongs to the old assignment.
                consumer = assigned(setting, &process, &places, committed);
            }
        }
    }
}

/// Reads all topics as a member of a group that commits nothing.
pub fn member(setting: &Arc<Setting>, name: &str, mut random: Random) {
    let mut life = 0;
    while !setting.stopped() {
        life += 1;
        let process = format!("{name}.{life}");
        let consumer = subscribed(setting, &process, "readers", &["plain", "txn", "out"]);
        let until = Instant::now() + random.between(Duration::from_secs(4), Duration::from_secs(14));
        while !setting.stopped() && Instant::now() < until {
            let before = rebalances(&consumer);
            let records = poll(&consumer, Duration::from_millis(100));
            let after = rebalances(&consumer);
            if after != before {
                // Records of two assignments: each stands for itself.
                for (number, record) in records.into_iter().enumerate() {
                    let mop = Mop::Poll { committed: true, records: vec![record] };
                    let process = format!("{process}-{after}-{number}");
                    setting.recorder.note(&process, Function::Poll, Outcome::Ok, vec![mop], "");
                }
            } else if !records.is_empty() {
                let mop = Mop::Poll { committed: true, records };
                setting.recorder.note(&process, Function::Poll, Outcome::Ok, vec![mop], "");
            }
            setting.pause(&mut random, PAUSE_MILLIS);
        }
    }
}

fn rebalances(consumer: &BaseConsumer<Member>) -> u64 {
    *consumer.context().rebalances.lock().expect("not poisoned")
}

fn subscribed(setting: &Setting, process: &str, group: &str, topics: &[&str]) -> BaseConsumer<Member> {
    let member = Member { recorder: setting.recorder.clone(), process: process.to_owned(), rebalances: Arc::default() };
    let config = consumer_config(setting, process, group, true);
    let consumer: BaseConsumer<Member> = config.create_with_context(member).expect("a consumer");
    consumer.subscribe(topics).expect("subscribed");
    consumer
}

/// Read-process-write as a member of the group `rdkafka`, with offsets sent to the transaction (KIP-447): exactly once.
pub fn pipeline(setting: &Arc<Setting>, name: &str, mut random: Random) {
    let mut life = 0;
    while !setting.stopped() {
        life += 1;
        let process = format!("{name}.{life}");
        let Some(producer) = Transactional::start(setting, name, &process) else { continue };
        let consumer = subscribed(setting, &process, "rdkafka", &["in"]);
        let until = Instant::now() + random.between(Duration::from_secs(5), Duration::from_secs(18));
        while !setting.stopped() && Instant::now() < until {
            setting.pause(&mut random, PAUSE_MILLIS);
            if !process_once(setting, &process, &producer, &consumer, &mut random) {
                break;
            }
        }
        // Dropped as it is: the group notices, and the transaction's successor fences it.
    }
}

/// One round; whether this life can go on. After an abort it ends: the next one starts from the committed offsets.
fn process_once(
    setting: &Setting,
    process: &str,
    producer: &Transactional,
    consumer: &BaseConsumer<Member>,
    random: &mut Random,
) -> bool {
    let before = rebalances(consumer);
    let records = poll(consumer, Duration::from_millis(100));
    if records.is_empty() {
        return true;
    }
    if rebalances(consumer) != before {
        // Records of two assignments in one batch: what was given away in between is not ours.
        return false;
    }
    let op = setting.recorder.invoke(process, Function::Txn, Vec::new());
    if producer.producer.begin_transaction().is_err() {
        setting.recorder.complete(process, op, Function::Txn, Outcome::Fail, Vec::new(), "not begun");
        return false;
    }
    let mut offsets = TopicPartitionList::new();
    let mut ends: HashMap<&str, i64> = HashMap::new();
    for (key, offset, _) in &records {
        ends.insert(key, offset + 1);
    }
    let mut mops = vec![Mop::Poll { committed: true, records: records.clone() }];
    for place in Place::all_of("in") {
        let key = place.key();
        if let Some(offset) = ends.get(key.as_str()).copied() {
            offsets.add_partition_offset(place.topic, place.partition, Offset::Offset(offset)).expect("a place");
            mops.push(Mop::Commit { group: "rdkafka".into(), key, offset });
            producer.send(setting, op, Place { topic: "out", partition: place.partition }, &mut mops);
        }
    }
    let sent = consumer
        .group_metadata()
        .is_some_and(|metadata| producer.producer.send_offsets_to_transaction(&offsets, &metadata, CALL).is_ok());
    let commit = sent && random.percent(90);
    producer.finish(setting, op, mops, commit) && commit
}
