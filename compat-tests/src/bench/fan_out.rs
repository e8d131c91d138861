//! W6: a producer at a fixed rate and groups that tail it, each with all partitions in a session.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::batch::Seen;
use super::connection::Connection;
use super::fetch::{Fetcher, Limits};
use super::histogram::Histogram;
use super::lanes::{Load, Plan, Schedule, Spread, noise_templates};
use super::meter::Meter;
use super::options::Options;
use super::poll::Poll;
use super::report::Report;
use super::topics::{self, Topic};

/// Long-poll limits of a consumer with its defaults.
pub const TAILING: Limits =
    Limits { max_wait_ms: 500, min_bytes: 1, max_bytes: 50 * 1024 * 1024, partition_max_bytes: 1 << 20 };
/// Behind the last record that was sent, a consumer that has not read it is lost.
const READ_WITHIN: Duration = Duration::from_secs(20);

/// W6.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let record_bytes = report.parameter("record_bytes", options.record_bytes.unwrap_or(1024));
    let batch_records = report.parameter("batch_records", options.batch_records.unwrap_or(16));
    let partitions = report.parameter("partitions", options.partitions.unwrap_or(6));
    let groups = report.parameter("groups", options.groups.unwrap_or(8));
    let seconds = report.parameter("seconds", options.seconds.unwrap_or(8.0));
    // 20 MB/s.
    let rate = options.rate.unwrap_or(20e6 / (record_bytes * batch_records) as f64);
    report.parameter("batches_per_second", rate);
    let plan = Plan { lanes: 1, in_flight: 5, acks: -1, idempotent: false, spread: Spread::RoundRobin };
    let mut control = Connection::open(&options.bootstrap)?;
    let topic = topics::create_serving(&mut control, &report.workload, partitions, &options.configs)?;
    let mut load = Load::open(&options.bootstrap, &topic, plan, |producer| {
        noise_templates(producer, batch_records, record_bytes, 8)
    })?;
    let mut tails: Vec<Tail> = (0..groups).map(|_| Tail::open(&options.bootstrap, &topic)).collect::<Result<_>>()?;
    // A second untimed: sessions exist, and a JVM has compiled most of it.
    both(&mut load, &mut tails, Schedule::soon(rate, options.warmup_seconds.unwrap_or(1.0)))?;
    let before: u64 = tails.iter().map(|tail| tail.answers).sum();
    let meter = Meter::start(options.broker_pid)?;
    let schedule = Schedule::soon(rate, seconds);
    let (late, histogram) = both(&mut load, &mut tails, schedule)?;
    report.usage(&meter.read()?);
    let answers = tails.iter().map(|tail| tail.answers).sum::<u64>() - before;
    report.records = schedule.count * (batch_records * groups) as u64;
    report.bytes = report.records * record_bytes as u64;
    report.requests = answers;
    report.latency(&histogram);
    report.measure("fetch_responses", answers);
    report.measure("produce_requests", schedule.count);
    report.measure("client_late_us", serde_json::to_value(late.latency())?);
    report.check("every_group_read_in_order", load.ledger().records());
    if !options.no_read_back {
        load.verify(&mut report)?;
    }
    Ok(report)
}

/// The producer in a thread of its own, the consumers in this one; how late the producer was, and from the intended moment to reading.
fn both(load: &mut Load, tails: &mut [Tail], schedule: Schedule) -> Result<(Histogram, Histogram)> {
    let first_stamp = load.next_stamp();
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| load.run_paced(schedule));
        let histogram = tail_all(tails, schedule, first_stamp)?;
        let paced = producer.join().map_err(|_| anyhow::anyhow!("the producer ended badly"))??;
        Ok((paced.late, histogram))
    })
}

fn tail_all(tails: &mut [Tail], schedule: Schedule, first_stamp: i64) -> Result<Histogram> {
    let (mut histogram, mut poll) = (Histogram::default(), Poll::new()?);
    let wanted = schedule.count;
    for (number, tail) in tails.iter_mut().enumerate() {
        poll.add(number, &tail.connection)?;
        tail.batches = 0;
        // What was asked at the end of the warm-up is still asked.
        if !tail.asked {
            tail.ask()?;
        }
    }
    let give_up = schedule.moment(schedule.count) + READ_WITHIN;
    let mut ready = Vec::new();
    while tails.iter().any(|tail| tail.batches < wanted) {
        ensure!(Instant::now() < give_up, "a consumer does not get everything");
        ready.extend(poll.wait(Some(Duration::from_secs(1)))?);
        for number in ready.drain(..) {
            tails[number].take(&mut histogram, schedule, first_stamp)?;
        }
    }
    Ok(histogram)
}

/// A consumer of all partitions that waits for what comes.
pub struct Tail {
    connection: Connection,
    fetcher: Fetcher,
    batches: u64,
    answers: u64,
    asked: bool,
}

impl Tail {
    /// At the beginning of the topic.
    pub fn open(address: &str, topic: &Topic) -> Result<Self> {
        let fetcher = Fetcher::new(topic.id, 0..topic.partitions, TAILING, true);
        Ok(Self { connection: Connection::open(address)?, fetcher, batches: 0, answers: 0, asked: false })
    }

    /// Reads until it has every batch of the schedule, in this thread.
    pub fn follow(&mut self, schedule: Schedule, first_stamp: i64) -> Result<Histogram> {
        tail_all(std::slice::from_mut(self), schedule, first_stamp)
    }

    fn ask(&mut self) -> Result<()> {
        let id = self.connection.correlate();
        self.asked = true;
        self.connection.send(self.fetcher.request(id))
    }

    fn take(&mut self, histogram: &mut Histogram, schedule: Schedule, first_stamp: i64) -> Result<()> {
        self.connection.fill()?;
        let Some(frame) = self.connection.buffered()? else { return Ok(()) };
        let now = Instant::now();
        let batches = &mut self.batches;
        self.fetcher.answer(self.connection.bytes(frame), |fetcher, fetched| {
            let started_at = fetcher.position(fetched.partition).context("a partition that was not asked for")?;
            let mut next = started_at;
            for batch in Seen::all(fetched.records) {
                ensure!(
                    batch.base_offset() == next,
                    "partition {}: {} is not {next}",
                    fetched.partition,
                    batch.base_offset()
                );
                next = batch.next_offset();
                // Those before it are of the warm-up.
                if let Ok(number) = u64::try_from(batch.base_timestamp() - first_stamp) {
                    *batches += 1;
                    histogram.record(now.saturating_duration_since(schedule.moment(number)));
                }
            }
            if next > started_at {
                fetcher.advance(fetched.partition, next);
            }
            Ok(())
        })?;
        self.answers += 1;
        self.ask()
    }
}
