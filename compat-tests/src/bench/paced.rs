//! W7 and W16: single messages at a fixed rate, measured from the moment they were meant to be sent, by an open loop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::bulk;
use super::catch_up;
use super::connection::Connection;
use super::fan_out::Tail;
use super::histogram::Histogram;
use super::lanes::{Load, Paced, Plan, Schedule, Spread, noise_templates};
use super::meter::{Meter, Usage};
use super::options::Options;
use super::report::Report;
use super::topics;

/// A producer and a consumer at a fixed rate.
struct EndToEnd {
    load: Load,
    tail: Tail,
    rate: f64,
    broker: Option<u32>,
}

struct Measured {
    usage: Usage,
    messages: u64,
    end_to_end: Histogram,
    paced: Paced,
}

/// W7.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let mut pair = EndToEnd::open(options, &mut report)?;
    let seconds = report.parameter("seconds", options.seconds.unwrap_or(10.0));
    pair.measure(report.parameters["warmup_seconds"].as_f64().unwrap_or(1.0))?;
    let measured = pair.measure(seconds)?;
    report.usage(&measured.usage);
    headline(&mut report, &measured);
    if !options.no_read_back {
        pair.load.verify(&mut report)?;
    }
    Ok(report)
}

/// W16: W7 alone, then beside a reader of what is not in the page cache.
pub fn run_isolation(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let mut pair = EndToEnd::open(options, &mut report)?;
    let seconds = report.parameter("seconds", options.seconds.unwrap_or(10.0));
    let records = report.parameter("cold_records", options.records.unwrap_or(2_000_000));
    let mut filling = Report::of(options);
    let filler = Options { record_bytes: None, batch_records: None, ..options.clone() };
    let cold = bulk::fill(&filler, &mut filling, records, 1)?;
    pair.measure(report.parameters["warmup_seconds"].as_f64().unwrap_or(1.0))?;
    let alone = pair.measure(seconds)?;
    // Once, before it is timed: a sync beside the load would be what is measured.
    catch_up::drop_page_cache()?;
    let done = AtomicBool::new(false);
    let (beside, read) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut read = 0;
            while !done.load(Ordering::Relaxed) {
                catch_up::drop_clean_pages()?;
                read += catch_up::read_until(&options.bootstrap, &cold, || done.load(Ordering::Relaxed))?;
            }
            anyhow::Ok(read)
        });
        let beside = pair.measure(seconds);
        done.store(true, Ordering::Relaxed);
        let read = reader.join().map_err(|_| anyhow::anyhow!("the cold reader ended badly"))??;
        anyhow::Ok((beside?, read))
    })?;
    ensure!(read > 0, "nothing cold was read");
    report.usage(&beside.usage);
    headline(&mut report, &beside);
    report.measure("alone", figures(&alone)?);
    report.measure("beside", figures(&beside)?);
    report.measure("cold_mb_per_second", read as f64 / 1e6 / seconds);
    if !options.no_read_back {
        pair.load.verify(&mut report)?;
    }
    Ok(report)
}

fn headline(report: &mut Report, measured: &Measured) {
    report.requests = measured.messages;
    report.records = measured.messages;
    report.bytes = measured.messages * report.parameters["record_bytes"].as_u64().unwrap_or(0);
    report.latency(&measured.end_to_end);
    report.measure("acknowledged_us", json!(measured.paced.acknowledged.latency()));
    report.measure("client_late_us", json!(measured.paced.late.latency()));
}

fn figures(measured: &Measured) -> Result<Value> {
    Ok(json!({
        "latency_us": measured.end_to_end.latency(),
        "acknowledged_us": measured.paced.acknowledged.latency(),
        "client_late_us": measured.paced.late.latency(),
        "broker_cpu_us_per_message": measured.usage.broker_cpu.map(|cpu| cpu * 1e6 / measured.messages as f64),
    }))
}

impl EndToEnd {
    fn open(options: &Options, report: &mut Report) -> Result<Self> {
        let record_bytes = report.parameter("record_bytes", options.record_bytes.unwrap_or(1024));
        let partitions = report.parameter("partitions", options.partitions.unwrap_or(16));
        let rate = report.parameter("rate", options.rate.unwrap_or(1000.0));
        report.parameter("warmup_seconds", options.warmup_seconds.unwrap_or(1.0));
        let acks = report.parameter("acks", options.acks.unwrap_or(-1));
        let plan = Plan { lanes: 1, in_flight: 1, acks, idempotent: false, spread: Spread::RoundRobin };
        let mut control = Connection::open(&options.bootstrap)?;
        let topic = topics::create_serving(&mut control, &report.workload, partitions, &options.configs)?;
        let load =
            Load::open(&options.bootstrap, &topic, plan, |producer| noise_templates(producer, 1, record_bytes, 8))?;
        Ok(Self { load, tail: Tail::open(&options.bootstrap, &topic)?, rate, broker: options.broker_pid })
    }

    fn measure(&mut self, seconds: f64) -> Result<Measured> {
        let meter = Meter::start(self.broker)?;
        let (first_stamp, schedule) = (self.load.next_stamp(), Schedule::soon(self.rate, seconds));
        let (load, tail) = (&mut self.load, &mut self.tail);
        let (end_to_end, paced) = std::thread::scope(|scope| {
            let producer = scope.spawn(|| load.run_paced(schedule));
            let end_to_end = tail.follow(schedule, first_stamp)?;
            let paced = producer.join().map_err(|_| anyhow::anyhow!("the producer ended badly"))??;
            anyhow::Ok((end_to_end, paced))
        })?;
        let usage = meter.read()?;
        ensure!(usage.wall >= Duration::from_secs_f64(seconds), "the schedule was not kept");
        Ok(Measured { usage, messages: schedule.count, end_to_end, paced })
    }
}
