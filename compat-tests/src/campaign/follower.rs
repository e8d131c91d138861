//! A consumer that reads along, through every restart, and holds each record against what must be: offsets without gaps and in order,
//! checksums right, idempotent writers gapless and once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::findings::Findings;
use super::ledger::Ledger;
use super::load::{IDEMPOTENT_WRITERS, WRITERS, Written};
use super::tag::Tag;
use super::topics::{Place, Topic};
use crate::clients::consumer_config;

const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(60);
const ASKED_WITHIN: Duration = Duration::from_secs(30);
const RESETS_KEPT: usize = 10;

/// Who wrote the record at an offset: 12 bytes each, as millions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    writer: u32,
    sequence: u32,
    millis: u32,
}

impl Seen {
    fn of(tag: &Tag) -> Self {
        Self { writer: tag.writer, sequence: tag.sequence as u32, millis: tag.millis as u32 }
    }
}

#[derive(Default)]
struct Partition {
    /// By offset.
    seen: Vec<Seen>,
    /// The next number of each idempotent writer.
    next: BTreeMap<u32, u64>,
    high_watermark: i64,
}

type Partitions = Arc<Mutex<BTreeMap<Place, Partition>>>;

/// A consumer that reads along.
pub struct Follower {
    topics: Vec<Topic>,
    partitions: Partitions,
    findings: Findings,
    probe: BaseConsumer,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts to read topics that lose no records by design, from their beginning.
    pub fn start(bootstrap: &str, topics: &[Topic], findings: &Findings) -> Result<Self> {
        let partitions: Partitions = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let consumer = reader(bootstrap, topics)?;
        let thread = {
            let (topics, partitions, findings) = (topics.to_vec(), Arc::clone(&partitions), findings.clone());
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    match consumer.poll(Duration::from_millis(100)) {
                        Some(Ok(message)) => note(&topics, &partitions, &findings, &message),
                        Some(Err(error)) => judge_error(&findings, &error, consumer.context()),
                        None => {}
                    }
                }
            })
        };
        let probe = consumer_config(bootstrap, "probe").create()?;
        Ok(Self { topics: topics.to_vec(), partitions, findings: findings.clone(), probe, stop, thread: Some(thread) })
    }

    /// Compares every acknowledgement so far with the log: below the high watermark, and the record that was meant.
    pub fn check(&self, ledger: &Ledger) -> Result<u64> {
        let all = ledger.take();
        let known: BTreeSet<u32> = self.topics.iter().map(|topic| topic.id).collect();
        let (acks, others) = all.into_iter().partition(|ack| known.contains(&ack.tag.topic));
        ledger.put_back(others);
        let acks: Vec<super::ledger::Ack> = acks;
        let highs = self.high_watermarks()?;
        self.catch_up(&highs)?;
        let partitions = self.partitions.lock().expect("not poisoned");
        for ack in &acks {
            let place = (ack.tag.topic, ack.tag.partition);
            let seen = partitions.get(&place).and_then(|partition| partition.seen.get(ack.offset as usize));
            if ack.offset >= highs[&place] {
                self.findings.add(format!(
                    "{:?} was acknowledged at {}, the high watermark is {}",
                    ack.tag, ack.offset, highs[&place]
                ));
            } else if seen != Some(&Seen::of(&ack.tag)) {
                self.findings.add(format!("{:?} was acknowledged at {}, where {seen:?} is", ack.tag, ack.offset));
            }
        }
        Ok(acks.len() as u64)
    }

    /// Records read so far.
    pub fn records(&self) -> u64 {
        self.partitions.lock().expect("not poisoned").values().map(|partition| partition.seen.len() as u64).sum()
    }

    /// The last check, when nobody writes: every record that was written is there, and a fresh reader reads the same again.
    pub fn finish(mut self, bootstrap: &str, ledger: &Ledger, written: &Written) -> Result<()> {
        self.check(ledger)?;
        self.join();
        let partitions = self.partitions.lock().expect("not poisoned");
        for (&(writer, place), &count) in written {
            if !self.topics.iter().any(|topic| topic.id == place.0) {
                continue;
            }
            let empty = Partition::default();
            let partition = partitions.get(&place).unwrap_or(&empty);
            let mut there = vec![false; count as usize];
            for seen in partition.seen.iter().filter(|seen| seen.writer == writer) {
                match there.get_mut(seen.sequence as usize) {
                    Some(slot) => *slot = true,
                    None => self.findings.add(format!("{seen:?} in {place:?} was never written")),
                }
            }
            if let Some(missing) = there.iter().position(|there| !there) {
                self.findings.add(format!("record {missing} of writer {writer} is missing in {place:?}"));
            }
        }
        let again = reread(bootstrap, &self.topics)?;
        for (place, partition) in partitions.iter() {
            let read: Vec<Seen> = again.get(place).into_iter().flatten().map(|(_, tag)| Seen::of(tag)).collect();
            let offsets = again.get(place).into_iter().flatten().map(|(offset, _)| *offset);
            if !offsets.eq(0..partition.seen.len() as i64) || read != partition.seen {
                let differs = read.iter().zip(&partition.seen).position(|(left, right)| left != right);
                self.findings.add(format!(
                    "{place:?} reads differently from the beginning: {} records, then {}, first difference {differs:?}",
                    partition.seen.len(),
                    read.len()
                ));
            }
        }
        Ok(())
    }

    /// The high watermarks; none may have moved back.
    fn high_watermarks(&self) -> Result<BTreeMap<Place, i64>> {
        let mut highs = BTreeMap::new();
        for topic in &self.topics {
            for partition in 0..topic.partitions {
                let (low, high) = watermarks(&self.probe, &topic.name, partition)?;
                if low != 0 {
                    self.findings.add(format!("{}-{partition} starts at {low}", topic.name));
                }
                highs.insert((topic.id, partition), high);
            }
        }
        let mut partitions = self.partitions.lock().expect("not poisoned");
        for (place, high) in &highs {
            let partition = partitions.entry(*place).or_default();
            if *high < partition.high_watermark {
                let before = partition.high_watermark;
                self.findings.add(format!("the high watermark of {place:?} went back from {before} to {high}"));
            }
            partition.high_watermark = *high;
        }
        Ok(highs)
    }

    fn catch_up(&self, highs: &BTreeMap<Place, i64>) -> Result<()> {
        let started = Instant::now();
        loop {
            let behind = {
                let partitions = self.partitions.lock().expect("not poisoned");
                highs.iter().find_map(|(place, high)| {
                    let read = partitions.get(place).map_or(0, |partition| partition.seen.len() as i64);
                    (read < *high).then_some((*place, read, *high))
                })
            };
            let Some((place, read, high)) = behind else { return Ok(()) };
            ensure!(self.findings.is_empty(), "no use in waiting after a finding");
            ensure!(
                started.elapsed() < CAUGHT_UP_WITHIN,
                "{place:?} could be read to {read} only, its high watermark is {high}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed; the check that follows misses the records.
            let _ = thread.join();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.join();
    }
}

fn note(topics: &[Topic], partitions: &Partitions, findings: &Findings, message: &BorrowedMessage<'_>) {
    let (name, partition, offset) = (message.topic(), message.partition(), message.offset());
    let tag = match Tag::of(message) {
        Ok(tag) => tag,
        Err(error) => return findings.add(format!("{name}-{partition} at {offset}: {error}")),
    };
    if !topics.iter().any(|topic| topic.id == tag.topic && topic.name == name) {
        return findings.add(format!("{name}-{partition} at {offset}: {tag:?} belongs to another topic"));
    }
    let mut partitions = partitions.lock().expect("not poisoned");
    let state = partitions.entry((tag.topic, partition)).or_default();
    if offset != state.seen.len() as i64 {
        findings.add(format!("{name}-{partition}: offset {offset} follows {}", state.seen.len() as i64 - 1));
    }
    if tag.writer % WRITERS < IDEMPOTENT_WRITERS {
        let next = state.next.entry(tag.writer).or_default();
        if tag.sequence != *next {
            findings.add(format!(
                "{name}-{partition} at {offset}: idempotent writer {} wrote {}, expected {next}",
                tag.writer, tag.sequence
            ));
        }
        *next = tag.sequence + 1;
    }
    state.seen.push(Seen::of(&tag));
}

/// Keeps what librdkafka says about offsets that it gives up: its errors do not tell why.
#[derive(Clone, Default)]
struct Resets {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl ClientContext for Resets {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "OFFSET" && message.contains("reset") {
            let mut lines = self.lines.lock().expect("not poisoned");
            lines.push_back(message.to_owned());
            if lines.len() > RESETS_KEPT {
                lines.pop_front();
            }
        }
    }
}

impl ConsumerContext for Resets {}

fn judge_error(findings: &Findings, error: &KafkaError, resets: &Resets) {
    // A broker that is away is what this is about; a log that ends before what was read is not.
    if let Some(
        code @ (RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::BadMessage),
    ) = error.rdkafka_error_code()
    {
        let lines = std::mem::take(&mut *resets.lines.lock().expect("not poisoned"));
        findings.add(format!("the follower: {code:?}: {error}; {lines:?}"));
    }
}

fn reader(bootstrap: &str, topics: &[Topic]) -> Result<BaseConsumer<Resets>> {
    let mut config = consumer_config(bootstrap, "follower");
    config.set("auto.offset.reset", "error").set("check.crcs", "true").set("enable.partition.eof", "true");
    config.set("queued.max.messages.kbytes", "16384");
    config.set("debug", "topic").set_log_level(RDKafkaLogLevel::Debug);
    let consumer: BaseConsumer<Resets> = config.create_with_context(Resets::default())?;
    let mut assignment = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..topic.partitions {
            let start = if topic.kind.keeps_all() { Offset::Offset(0) } else { Offset::Beginning };
            assignment.add_partition_offset(&topic.name, partition, start)?;
        }
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}

/// Log start and high watermark, once the broker gives them.
pub fn watermarks(probe: &BaseConsumer, topic: &str, partition: i32) -> Result<(i64, i64)> {
    let started = Instant::now();
    loop {
        match probe.fetch_watermarks(topic, partition, Duration::from_secs(5)) {
            Ok(watermarks) => return Ok(watermarks),
            Err(error) if started.elapsed() > ASKED_WITHIN => {
                return Err(error).with_context(|| format!("the watermarks of {topic}-{partition}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Reads everything from the beginning to the end with fresh consumers: offsets and tags by partition.
pub fn reread(bootstrap: &str, topics: &[Topic]) -> Result<BTreeMap<Place, Vec<(i64, Tag)>>> {
    let mut records = BTreeMap::new();
    for topic in topics {
        let consumer = reader(bootstrap, std::slice::from_ref(topic))?;
        let mut open: BTreeSet<i32> = (0..topic.partitions).collect();
        let mut last = Instant::now();
        while !open.is_empty() {
            ensure!(last.elapsed() < CAUGHT_UP_WITHIN, "no end of {} {open:?} after {CAUGHT_UP_WITHIN:?}", topic.name);
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let tag = Tag::of(&message)
                        .map_err(|error| anyhow::anyhow!("{}-{partition} at {offset}: {error}", topic.name))?;
                    ensure!(
                        tag.topic == topic.id,
                        "{}-{partition} at {offset}: {tag:?} is of another topic",
                        topic.name
                    );
                    records.entry((topic.id, partition)).or_insert_with(Vec::new).push((offset, tag));
                    last = Instant::now();
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(error)) => judge_read(&error)?,
                None => {}
            }
        }
    }
    Ok(records)
}

fn judge_read(error: &KafkaError) -> Result<()> {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut,
        ) => Ok(()),
        _ => Err(error.clone().into()),
    }
}
