//! Closed-loop produce: every lane is a connection with so many requests in flight. W3 and all that is built like it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::batch::{NOBODY, Noise, Template};
use super::connection::Connection;
use super::histogram::Histogram;
use super::meter::Meter;
use super::options::Options;
use super::poll::Poll;
use super::produce::ProduceFrame;
use super::read_back::Ledger;
use super::report::Report;
use super::topics::{self, Topic};

/// Stamps start this long ago, so that millions of them, a millisecond apart, are not in the future.
const STAMPS_START_AGO_MS: i64 = 6 * 3600 * 1000;

/// An open loop gives up behind so many unanswered requests on a connection.
const PACED_IN_FLIGHT_MAX: usize = 100_000;

/// Which partition a lane writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each batch to the next one.
    RoundRobin,
    /// Always the one with the lane's number.
    Sticky,
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Connections.
    pub lanes: usize,
    /// Requests in flight on each.
    pub in_flight: usize,
    /// 1 or -1.
    pub acks: i16,
    /// Whether each lane is an idempotent producer.
    pub idempotent: bool,
    /// Which partition gets what.
    pub spread: Spread,
}

/// When to stop sending; what is in flight is waited for.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// So many batches were sent.
    Batches(u64),
    /// It is this late.
    Time(Instant),
}

/// Moments at equal distances.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The first.
    pub start: Instant,
    /// From one to the next.
    pub interval: Duration,
    /// How many.
    pub count: u64,
}

impl Schedule {
    /// So many a second for so many seconds, soon.
    pub fn soon(per_second: f64, seconds: f64) -> Self {
        let start = Instant::now() + Duration::from_millis(50);
        Self { start, interval: Duration::from_secs_f64(1.0 / per_second), count: (per_second * seconds).ceil() as u64 }
    }

    /// When the batch with this number is meant to leave.
    pub fn moment(&self, number: u64) -> Instant {
        self.start + Duration::from_nanos((self.interval.as_nanos() * u128::from(number)) as u64)
    }
}

/// What an open loop saw.
#[derive(Clone, Default)]
pub struct Paced {
    /// From the intended moment to the acknowledgement.
    pub acknowledged: Histogram,
    /// From the intended moment to the sending: the driver's own fault.
    pub late: Histogram,
}

/// Lanes to one topic, and what was acknowledged.
pub struct Load {
    plan: Plan,
    topic: Topic,
    lanes: Vec<Lane>,
    poll: Poll,
    next_stamp: i64,
    sent: u64,
    requests: u64,
    value_bytes: u64,
    ledger: Ledger,
}

struct Lane {
    connection: Connection,
    frames: Vec<ProduceFrame>,
    sequences: Vec<i32>,
    in_flight: VecDeque<Sent>,
    next_frame: usize,
    next_partition: usize,
}

struct Sent {
    at: Instant,
    correlation_id: i32,
    timestamp: i64,
    partition: i32,
    records: i32,
    value_bytes: u64,
}

impl Load {
    /// Connects. `templates` makes the batches of a producer; they are sent in turn.
    pub fn open(
        address: &str,
        topic: &Topic,
        plan: Plan,
        templates: impl Fn(super::batch::Producer) -> Result<Vec<Template>>,
    ) -> Result<Self> {
        let mut ledger = Ledger::new(topic.partitions);
        let poll = Poll::new()?;
        let mut lanes = Vec::new();
        for number in 0..plan.lanes {
            let mut connection = Connection::open(address)?;
            let producer = if plan.idempotent { topics::producer_id(&mut connection)? } else { NOBODY };
            let templates = templates(producer)?;
            templates.iter().for_each(|template| ledger.expect(template));
            let frames: Result<_> =
                templates.into_iter().map(|template| ProduceFrame::new(&topic.name, plan.acks, template)).collect();
            poll.add(number, &connection)?;
            lanes.push(Lane {
                connection,
                frames: frames?,
                sequences: vec![0; topic.partitions as usize],
                in_flight: VecDeque::with_capacity(plan.in_flight),
                next_frame: 0,
                next_partition: number % topic.partitions as usize,
            });
        }
        let next_stamp = topics::wall_millis() - STAMPS_START_AGO_MS;
        Ok(Self { plan, topic: topic.clone(), lanes, poll, next_stamp, sent: 0, requests: 0, value_bytes: 0, ledger })
    }

    /// Sends until then and waits for every answer; how long each took.
    pub fn run(&mut self, until: Until) -> Result<Histogram> {
        let mut histogram = Histogram::default();
        let until = match until {
            Until::Batches(batches) => Until::Batches(self.sent + batches),
            time => time,
        };
        for lane in 0..self.lanes.len() {
            self.top_up(lane, until)?;
        }
        if self.lanes.len() == 1 {
            while !self.lanes[0].in_flight.is_empty() {
                self.lanes[0].connection.fill()?;
                self.answers(0, until, &mut histogram)?;
            }
            return Ok(histogram);
        }
        let mut ready = Vec::with_capacity(self.lanes.len());
        while self.lanes.iter().any(|lane| !lane.in_flight.is_empty()) {
            ready.extend(self.poll.wait(None)?);
            for lane in ready.drain(..) {
                self.lanes[lane].connection.fill()?;
                self.answers(lane, until, &mut histogram)?;
            }
        }
        Ok(histogram)
    }

    /// Sends one batch at each moment of the schedule, the lanes in turn, whatever the answers do, and waits for all of them.
    pub fn run_paced(&mut self, schedule: Schedule) -> Result<Paced> {
        let mut paced = Paced::default();
        let (first_stamp, mut ready) = (self.next_stamp, Vec::with_capacity(self.lanes.len()));
        let mut number = 0;
        while number < schedule.count || self.lanes.iter().any(|lane| !lane.in_flight.is_empty()) {
            let due = schedule.moment(number);
            let now = Instant::now();
            if number < schedule.count && now >= due {
                let lane = number as usize % self.lanes.len();
                ensure!(self.lanes[lane].in_flight.len() < PACED_IN_FLIGHT_MAX, "the broker does not keep up");
                self.lanes[lane].send(due, self.next_stamp, self.plan.spread)?;
                paced.late.record(now - due);
                self.next_stamp += 1;
                self.sent += 1;
                number += 1;
                continue;
            }
            let at_most = (number < schedule.count).then(|| due - now);
            ready.extend(self.poll.wait(at_most)?);
            for lane in ready.drain(..) {
                self.lanes[lane].connection.fill()?;
                self.answers(lane, Until::Batches(0), &mut paced.acknowledged)?;
            }
        }
        ensure!(self.next_stamp - first_stamp == schedule.count as i64, "the stamps do not tell the moments");
        Ok(paced)
    }

    /// The stamp of the next batch: those of a schedule are this and the numbers behind it.
    pub fn next_stamp(&self) -> i64 {
        self.next_stamp
    }

    /// Which partitions the next batches go to; `Sticky` stays where the lanes are.
    pub fn spread(&mut self, spread: Spread) {
        self.plan.spread = spread;
    }

    /// Requests in flight on each lane from now on.
    pub fn in_flight(&mut self, in_flight: usize) {
        self.plan.in_flight = in_flight;
    }

    /// Everything that was acknowledged.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Requests answered.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Bytes of the values that were acknowledged, before compression.
    pub fn value_bytes(&self) -> u64 {
        self.value_bytes
    }

    /// Bytes of the different batches of a lane, and of the values in them.
    pub fn template_bytes(&self) -> (u64, u64) {
        let frames = self.lanes.first().map_or(&[][..], |lane| &lane.frames);
        let templates = || frames.iter().map(ProduceFrame::template);
        (templates().map(|template| template.bytes().len() as u64).sum(), templates().map(Template::value_bytes).sum())
    }

    /// Reads back what was acknowledged.
    pub fn verify(&mut self, report: &mut Report) -> Result<()> {
        let in_order = self.lanes.len() == 1
            || (self.plan.spread == Spread::Sticky && self.lanes.len() <= self.topic.partitions as usize);
        let lane = self.lanes.first_mut().context("no lanes")?;
        self.ledger.verify(&mut lane.connection, &self.topic, in_order, report)
    }

    /// Takes the answers that were read, and sends as many requests.
    fn answers(&mut self, number: usize, until: Until, histogram: &mut Histogram) -> Result<()> {
        loop {
            let lane = &mut self.lanes[number];
            let Some(frame) = lane.connection.buffered()? else { return Ok(()) };
            let shape = lane.frames.first().context("no batches")?.answer();
            let answer = shape.read(lane.connection.bytes(frame))?;
            let sent = lane.in_flight.pop_front().context("an answer to nothing")?;
            ensure!(
                (answer.correlation_id, answer.partition) == (sent.correlation_id, sent.partition),
                "answer {answer:?} to request {} for partition {}",
                sent.correlation_id,
                sent.partition
            );
            histogram.record(sent.at.elapsed());
            self.requests += 1;
            self.value_bytes += sent.value_bytes;
            self.ledger.acknowledged(sent.partition, answer.base_offset, sent.timestamp, sent.records);
            self.top_up(number, until)?;
        }
    }

    fn top_up(&mut self, number: usize, until: Until) -> Result<()> {
        while self.lanes[number].in_flight.len() < self.plan.in_flight {
            let now = Instant::now();
            let more = match until {
                Until::Batches(batches) => self.sent < batches,
                Until::Time(end) => now < end,
            };
            if !more {
                return Ok(());
            }
            self.lanes[number].send(now, self.next_stamp, self.plan.spread)?;
            self.next_stamp += 1;
            self.sent += 1;
        }
        Ok(())
    }
}

impl Lane {
    fn send(&mut self, now: Instant, timestamp: i64, spread: Spread) -> Result<()> {
        let frame = &mut self.frames[self.next_frame];
        let partition = self.next_partition;
        let (records, value_bytes) = (frame.template().records(), frame.template().value_bytes());
        let sequence = self.sequences[partition];
        let correlation_id = self.connection.correlate();
        self.connection.send(frame.stamp(correlation_id, partition as i32, timestamp, sequence))?;
        // Sequences wrap to 0 behind the largest.
        self.sequences[partition] = ((i64::from(sequence) + i64::from(records)) & i64::from(i32::MAX)) as i32;
        self.next_frame = (self.next_frame + 1) % self.frames.len();
        if spread == Spread::RoundRobin {
            self.next_partition = (partition + 1) % self.sequences.len();
        }
        self.in_flight.push_back(Sent {
            at: now,
            correlation_id,
            timestamp,
            partition: partition as i32,
            records,
            value_bytes,
        });
        Ok(())
    }
}

/// Batches of records without a pattern: eight different ones.
pub fn noise_templates(
    producer: super::batch::Producer,
    records: usize,
    record_bytes: usize,
    different: u64,
) -> Result<Vec<Template>> {
    let template = |seed| {
        let mut noise = Noise::new(seed);
        let values: Vec<Vec<u8>> = (0..records).map(|_| noise.bytes(record_bytes)).collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        Template::new(producer, &values)
    };
    (1..=different).map(template).collect()
}

/// W3: one small record a request.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let record_bytes = report.parameter("record_bytes", options.record_bytes.unwrap_or(100));
    let partitions = report.parameter("partitions", options.partitions.unwrap_or(6));
    let batch_records = report.parameter("batch_records", options.batch_records.unwrap_or(1));
    let plan = Plan {
        lanes: report.parameter("connections", options.connections.unwrap_or(1)),
        in_flight: report.parameter("in_flight", options.in_flight.unwrap_or(1)),
        acks: report.parameter("acks", options.acks.unwrap_or(1)),
        idempotent: report.parameter("idempotent", options.idempotent.unwrap_or(false)),
        spread: Spread::RoundRobin,
    };
    let mut control = Connection::open(&options.bootstrap)?;
    let topic = topics::create_serving(&mut control, &report.workload, partitions, &options.configs)?;
    report.parameter("topic", topic.name.clone());
    let mut load = Load::open(&options.bootstrap, &topic, plan, |producer| {
        noise_templates(producer, batch_records, record_bytes, 8)
    })?;
    timed(options, &mut report, &mut load, 5.0)?;
    Ok(report)
}

/// W8: one record a request, each made durable before it is acknowledged.
pub fn run_durable(options: &Options) -> Result<Report> {
    const EVERY_MESSAGE: &str = "flush.messages=1";
    let mut options = options.clone();
    if !options.configs.iter().any(|config| config.starts_with("flush.messages=")) {
        options.configs.push(EVERY_MESSAGE.to_owned());
    }
    let mut report = Report::of(&options);
    let record_bytes = report.parameter("record_bytes", options.record_bytes.unwrap_or(1024));
    let partitions = report.parameter("partitions", options.partitions.unwrap_or(1));
    let plan = Plan {
        lanes: report.parameter("connections", options.connections.unwrap_or(64)),
        in_flight: report.parameter("in_flight", options.in_flight.unwrap_or(1)),
        acks: report.parameter("acks", options.acks.unwrap_or(-1)),
        idempotent: report.parameter("idempotent", options.idempotent.unwrap_or(false)),
        spread: Spread::Sticky,
    };
    let mut control = Connection::open(&options.bootstrap)?;
    let topic = topics::create_serving(&mut control, &report.workload, partitions, &options.configs)?;
    let mut load =
        Load::open(&options.bootstrap, &topic, plan, |producer| noise_templates(producer, 1, record_bytes, 8))?;
    timed(&options, &mut report, &mut load, 5.0)?;
    Ok(report)
}

/// Warms up, measures for the time that the options or the workload want, and reads back.
pub fn timed(options: &Options, report: &mut Report, load: &mut Load, seconds: f64) -> Result<()> {
    let seconds = report.parameter("seconds", options.seconds.unwrap_or(seconds));
    let warmup = report.parameter("warmup_seconds", options.warmup_seconds.unwrap_or(0.5));
    load.run(Until::Time(Instant::now() + Duration::from_secs_f64(warmup)))?;
    let (requests, records, bytes) = (load.requests(), load.ledger().records(), load.value_bytes());
    let meter = Meter::start(options.broker_pid)?;
    let histogram = load.run(Until::Time(Instant::now() + Duration::from_secs_f64(seconds)))?;
    report.usage(&meter.read()?);
    report.requests = load.requests() - requests;
    report.records = load.ledger().records() - records;
    report.bytes = load.value_bytes() - bytes;
    report.latency(&histogram);
    if !options.no_read_back {
        load.verify(report)?;
    }
    Ok(())
}
