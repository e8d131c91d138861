//! W10: a topic of many partitions, of which one has news.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::batch::Seen;
use super::connection::Connection;
use super::fan_out::TAILING;
use super::fetch::{Fetcher, Limits};
use super::histogram::Histogram;
use super::lanes::{Load, Plan, Spread, Until, noise_templates};
use super::meter::{Meter, Usage};
use super::options::Options;
use super::report::Report;
use super::topics;

/// The partition with news.
const ACTIVE: i32 = 0;
/// Batches in it: read one a fetch, again and again.
const NEWS: u64 = 10_000;
/// How long a fetch is given to be parked before something is produced for it.
const PARKED_WITHIN: Duration = Duration::from_micros(500);

/// A consumer of all partitions in a session.
struct Consumer {
    connection: Connection,
    fetcher: Fetcher,
    /// Behind this offset it begins again at the first.
    again_behind: Option<i64>,
}

/// W10. The figures of the report are those of the fetches; creation, wake-ups and produce over all partitions are measures.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let partitions = report.parameter("partitions", options.partitions.unwrap_or(2_000));
    let record_bytes = report.parameter("record_bytes", options.record_bytes.unwrap_or(100));
    let seconds = report.parameter("seconds", options.seconds.unwrap_or(3.0));
    let mut control = Connection::open(&options.bootstrap)?;
    let meter = Meter::start(options.broker_pid)?;
    let topic = topics::create(&mut control, &topics::fresh_name(&report.workload), partitions, &options.configs)?;
    let answered = meter.read()?;
    topics::wait_until_serving(&mut control, &topic)?;
    let created = meter.read()?;
    report.measure("create_answer_seconds", answered.wall.as_secs_f64());
    report.measure("create_seconds", created.wall.as_secs_f64());
    report.measure("create_cpu_seconds", created.broker_cpu);

    let plan = Plan { lanes: 1, in_flight: 5, acks: 1, idempotent: false, spread: Spread::Sticky };
    let mut load =
        Load::open(&options.bootstrap, &topic, plan, |producer| noise_templates(producer, 1, record_bytes, 8))?;
    load.run(Until::Batches(NEWS))?;
    let one = Limits { max_bytes: 1, partition_max_bytes: 1, ..TAILING };
    let mut consumer = Consumer::open(options, &topic, one)?;
    let first = Instant::now();
    ensure!(consumer.fetch()? == 1, "the first fetch of a session has no news");
    report.measure("first_fetch_us", first.elapsed().as_secs_f64() * 1e6);
    consumer.again_behind = Some(NEWS as i64);
    consumer.fetch_for(seconds / 6.0)?;
    let meter = Meter::start(options.broker_pid)?;
    let fetches = consumer.fetch_for(seconds)?;
    let usage = meter.read()?;
    report.usage(&usage);
    report.latency(&fetches);
    report.requests = fetches.latency().map_or(0, |latency| latency.samples);
    report.records = report.requests;
    report.bytes = report.records * record_bytes as u64;
    report.measure("fetch_cpu_us", per(&usage, report.requests));

    let (usage, wakes) = wake(options, &topic, &mut load, seconds)?;
    report.measure("wake_cpu_us", per(&usage, wakes.latency().map_or(0, |latency| latency.samples)));
    report.measure("wake_us", json!(wakes.latency()));

    load.spread(Spread::RoundRobin);
    load.in_flight(5);
    load.run(Until::Batches(partitions as u64))?;
    let before = load.requests();
    let meter = Meter::start(options.broker_pid)?;
    load.run(Until::Time(Instant::now() + Duration::from_secs_f64(seconds)))?;
    let usage = meter.read()?;
    report.measure("spread_cpu_us", per(&usage, load.requests() - before));
    report.measure("spread_requests", load.requests() - before);
    report.measure("rss_bytes_at_the_end", usage.rss);
    if !options.no_read_back {
        load.verify(&mut report)?;
    }
    Ok(report)
}

/// Microseconds of the broker for one of so many.
fn per(usage: &Usage, count: u64) -> Option<f64> {
    usage.broker_cpu.map(|cpu| cpu * 1e6 / count as f64)
}

/// A parked fetch over all partitions is woken by one record: from sending the record to the fetch's answer.
fn wake(options: &Options, topic: &topics::Topic, load: &mut Load, seconds: f64) -> Result<(Usage, Histogram)> {
    let mut consumer = Consumer::open(options, topic, TAILING)?;
    let end = load.ledger().records() as i64;
    consumer.fetcher.advance(ACTIVE, end);
    load.in_flight(1);
    // The session begins with a fetch that has nothing to give and waits its whole time.
    ensure!(consumer.fetch()? == 0, "news where there is none");
    let mut histogram = Histogram::default();
    let meter = Meter::start(options.broker_pid)?;
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < until {
        consumer.ask()?;
        std::thread::sleep(PARKED_WITHIN);
        let sent = Instant::now();
        load.run(Until::Batches(1))?;
        let read = consumer.answer()?;
        histogram.record(sent.elapsed());
        ensure!(read == 1, "{read} batches for one");
    }
    Ok((meter.read()?, histogram))
}

impl Consumer {
    fn open(options: &Options, topic: &topics::Topic, limits: Limits) -> Result<Self> {
        let fetcher = Fetcher::new(topic.id, 0..topic.partitions, limits, true);
        Ok(Self { connection: Connection::open(&options.bootstrap)?, fetcher, again_behind: None })
    }

    fn fetch_for(&mut self, seconds: f64) -> Result<Histogram> {
        let mut histogram = Histogram::default();
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < until {
            let asked = Instant::now();
            let batches = self.fetch()?;
            let took = asked.elapsed();
            histogram.record(took);
            let offset = self.fetcher.position(ACTIVE);
            ensure!(batches == 1, "{batches} batches in a fetch that may return one, at {offset:?} after {took:?}");
        }
        Ok(histogram)
    }

    fn fetch(&mut self) -> Result<u64> {
        self.ask()?;
        self.answer()
    }

    fn ask(&mut self) -> Result<()> {
        let id = self.connection.correlate();
        self.connection.send(self.fetcher.request(id))
    }

    /// Batches in the answer.
    fn answer(&mut self) -> Result<u64> {
        let (mut batches, again_behind) = (0, self.again_behind);
        self.fetcher.answer(self.connection.receive()?, |fetcher, fetched| {
            let mut next = fetcher.position(fetched.partition).context("a partition that was not asked for")?;
            for batch in Seen::all(fetched.records) {
                ensure!(fetched.partition == ACTIVE, "news in partition {}", fetched.partition);
                ensure!(batch.base_offset() == next, "offset {} is not {next}", batch.base_offset());
                next = batch.next_offset();
                batches += 1;
                fetcher.advance(fetched.partition, if Some(next) == again_behind { 0 } else { next });
            }
            Ok(())
        })?;
        Ok(batches)
    }
}
