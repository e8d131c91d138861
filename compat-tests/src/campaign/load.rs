//! Eight librdkafka producers, four idempotent and four plain, acks=all, which write until they are told to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};

use super::findings::Findings;
use super::ledger::{Ack, Ledger};
use super::random::Random;
use super::tag::{HEADER, Tag};
use super::topics::{Place, Topic};
use crate::clients::client_config;

/// Producers of a load.
pub const WRITERS: u32 = 8;
/// The first so many writers are idempotent.
pub const IDEMPOTENT_WRITERS: u32 = 4;
/// Keys of a writer in a partition of a topic with keys.
const KEYS: u64 = 24;
const FLUSHED_WITHIN: Duration = Duration::from_secs(90);

/// What a load does.
#[derive(Clone)]
pub struct LoadPlan {
    /// Where to.
    pub topics: Vec<Topic>,
    /// Records a second and writer, about.
    pub rate: u64,
    /// Whether a record that cannot be delivered is a finding. Not so where the disk is taken away.
    pub failures_are_findings: bool,
    /// How long a record may wait for the broker.
    pub patience: Duration,
    /// The zero of the tags' clock.
    pub began: Instant,
    /// Number of the first writer: loads that follow each other have writers of their own.
    pub first_writer: u32,
}

/// What was written: how many records each writer has in each partition.
pub type Written = BTreeMap<(u32, Place), u64>;

/// Running producers.
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Written>>>,
}

struct Reports {
    ledger: Ledger,
    findings: Option<Findings>,
    began: Instant,
}

struct Sent {
    tag: Tag,
    tombstone: bool,
    bytes: usize,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let Sent { tag, tombstone, bytes } = *sent;
        match result {
            Ok(message) => {
                let at = Instant::now();
                self.ledger.add(Ack { tag, offset: message.offset(), tombstone, bytes, at });
            }
            Err((error, _)) => {
                if let Some(findings) = &self.findings {
                    findings
                        .add(format!("{tag:?} was not delivered: {error} ({:?} after start)", self.began.elapsed()));
                }
            }
        }
    }
}

impl Load {
    /// Starts the producers.
    pub fn start(
        bootstrap: &str,
        plan: &LoadPlan,
        ledger: &Ledger,
        findings: &Findings,
        random: &mut Random,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for number in 0..WRITERS {
            let findings = plan.failures_are_findings.then(|| findings.clone());
            let reports = Reports { ledger: ledger.clone(), findings, began: plan.began };
            let producer = producer(bootstrap, plan, number < IDEMPOTENT_WRITERS, reports)?;
            let mut writer = Writer {
                number: plan.first_writer + number,
                producer,
                plan: plan.clone(),
                random: random.fork(),
                written: Written::new(),
            };
            let stop = Arc::clone(&stop);
            threads.push(std::thread::spawn(move || writer.run(&stop)));
        }
        Ok(Self { stop, threads })
    }

    /// Stops writing, waits until every record has its answer, and says what was written.
    pub fn finish(mut self) -> Result<Written> {
        self.stop.store(true, Ordering::SeqCst);
        let mut written = Written::new();
        for thread in self.threads.drain(..) {
            written.extend(thread.join().map_err(|_| anyhow::anyhow!("a producer panicked"))??);
        }
        Ok(written)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // After a finding nobody waits for answers that may never come.
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn producer(bootstrap: &str, plan: &LoadPlan, idempotent: bool, reports: Reports) -> Result<ThreadedProducer<Reports>> {
    let mut config = client_config(bootstrap);
    config.set("acks", "all").set("linger.ms", "2").set("retry.backoff.ms", "20");
    config.set("message.timeout.ms", plan.patience.as_millis().to_string());
    config.set("queue.buffering.max.messages", "2000").set("socket.timeout.ms", "20000");
    config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    if idempotent {
        config.set("enable.idempotence", "true");
    } else {
        config.set("enable.idempotence", "false").set("retries", "2147483647");
        if plan.topics.iter().any(|topic| topic.kind.has_keys()) {
            // A later value of a key must not be overtaken by the retry of an earlier one.
            config.set("max.in.flight.requests.per.connection", "1");
        }
    }
    Ok(config.create_with_context(reports)?)
}

struct Writer {
    number: u32,
    producer: ThreadedProducer<Reports>,
    plan: LoadPlan,
    random: Random,
    written: Written,
}

impl Writer {
    fn run(&mut self, stop: &AtomicBool) -> Result<Written> {
        while !stop.load(Ordering::SeqCst) {
            let burst = 1 + self.random.below(40);
            for _ in 0..burst {
                self.write(stop)?;
            }
            // Uneven on purpose: full batches, single records and silence.
            let pause = burst * 1_000_000 / self.plan.rate.max(1);
            std::thread::sleep(Duration::from_micros(self.random.below(2 * pause + 1)));
        }
        if !self.plan.failures_are_findings {
            // Nobody will answer any more.
            self.producer.purge(PurgeConfig::default().queue().inflight());
        }
        match self.producer.flush(FLUSHED_WITHIN) {
            Err(error) if self.plan.failures_are_findings => Err(error).context("records without an answer"),
            _ => Ok(std::mem::take(&mut self.written)),
        }
    }

    fn write(&mut self, stop: &AtomicBool) -> Result<()> {
        let topic = &self.plan.topics[self.random.below(self.plan.topics.len() as u64) as usize];
        let partition = self.random.below(topic.partitions as u64) as i32;
        let sequence = self.written.entry((self.number, (topic.id, partition))).or_default();
        let millis = self.plan.began.elapsed().as_millis() as u64;
        let key = topic.kind.has_keys().then(|| (u64::from(self.number) * KEYS + self.random.below(KEYS)) as u32);
        let tag = Tag { writer: self.number, topic: topic.id, partition, sequence: *sequence, millis, key };
        let key_bytes = key.map(u32::to_be_bytes);
        let tombstone = key.is_some() && self.random.percent(15);
        let longest = if self.random.percent(2) { 8_000 } else { 400 };
        let value = (!tombstone).then(|| {
            let fill = self.random.next().to_be_bytes();
            fill.iter().copied().cycle().take(self.random.below(longest) as usize).collect::<Vec<u8>>()
        });
        let header = tag.encode(key_bytes.as_ref().map(<[u8; 4]>::as_slice), value.as_deref());
        let bytes = value.as_ref().map_or(0, Vec::len) + 4 * usize::from(key.is_some());
        let mut sent = Box::new(Sent { tag, tombstone, bytes });
        loop {
            let headers = OwnedHeaders::new().insert(Header { key: HEADER, value: Some(&header[..]) });
            let mut record = BaseRecord::<'_, [u8; 4], Vec<u8>, Box<Sent>>::with_opaque_to(&topic.name, sent);
            record = record.partition(partition).headers(headers);
            record.key = key_bytes.as_ref();
            record.payload = value.as_ref();
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                    if stop.load(Ordering::SeqCst) {
                        return Ok(());
                    }
                    sent = record.delivery_opaque;
                    std::thread::sleep(Duration::from_millis(2));
                }
                // After a fatal error an idempotent producer takes nothing more; the report has said why.
                Err((error, _)) if !self.plan.failures_are_findings => {
                    let _ = error;
                    return Ok(());
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        *sequence += 1;
        Ok(())
    }
}
