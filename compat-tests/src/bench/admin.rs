//! W15: topics made one by one and many partitions at once, described, looked up by time, deleted.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::batch::Noise;
use super::bulk::BATCH_RECORDS;
use super::connection::Connection;
use super::histogram::Histogram;
use super::lanes::{Load, Plan, Spread, Until, noise_templates};
use super::meter::Meter;
use super::options::Options;
use super::report::Report;
use super::topics;

/// Topics deleted in one request.
const DELETED_AT_ONCE: usize = 100;
const DESCRIBED: usize = 100;
const LOOK_UPS: usize = 2_000;
/// What was answered may still be on its way to those that describe topics.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);

/// W15. The figures of the report are those of making topics of one partition, one after the other.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let count = report.parameter("topics", options.topics.unwrap_or(500));
    let partitions = report.parameter("partitions", options.partitions.unwrap_or(1_000));
    let records = report.parameter("records", options.records.unwrap_or(500_000));
    let mut control = Connection::open(&options.bootstrap)?;
    let prefix = topics::fresh_name(&report.workload);
    let names: Vec<String> = (0..count).map(|number| format!("{prefix}-{number}")).collect();
    let before = topics::count(&mut control)?;

    let (meter, mut histogram) = (Meter::start(options.broker_pid)?, Histogram::default());
    for name in &names {
        let started = Instant::now();
        topics::create(&mut control, name, 1, &options.configs)?;
        histogram.record(started.elapsed());
    }
    report.usage(&meter.read()?);
    report.latency(&histogram);
    (report.requests, report.records) = (count as u64, count as u64);
    wait_for(&mut control, before + count)?;
    report.check("topics_made", count);

    let meter = Meter::start(options.broker_pid)?;
    let large = topics::create_serving(&mut control, "w15-large", partitions, &options.configs)?;
    let usage = meter.read()?;
    report.measure(
        "create_many_partitions",
        json!({ "seconds": usage.wall.as_secs_f64(), "broker_cpu_seconds": usage.broker_cpu }),
    );
    wait_for(&mut control, before + count + 1)?;
    let described = repeated(options, DESCRIBED, |_| {
        ensure!(topics::count(&mut control)? == before + count + 1, "a topic is missing");
        Ok(())
    })?;
    report.measure("describe_all_topics", described);
    let looked_up = look_up(options, records, &mut report)?;
    report.measure("offset_for_time", looked_up);

    let (meter, started) = (Meter::start(options.broker_pid)?, Instant::now());
    for names in names.chunks(DELETED_AT_ONCE) {
        topics::delete(&mut control, names)?;
    }
    topics::delete(&mut control, &[large.name])?;
    let answered = started.elapsed();
    // The time look-ups made one more.
    wait_for(&mut control, before + 1)?;
    let usage = meter.read()?;
    report.measure(
        "delete_all",
        json!({ "seconds": answered.as_secs_f64(), "gone_seconds": usage.wall.as_secs_f64(), "broker_cpu_seconds": usage.broker_cpu }),
    );
    report.check("topics_gone", count + 1);
    Ok(report)
}

/// Until the broker says that it has so many topics.
fn wait_for(control: &mut Connection, count: usize) -> Result<()> {
    let started = Instant::now();
    loop {
        let found = topics::count(control)?;
        if found == count {
            return Ok(());
        }
        ensure!(started.elapsed() < KNOWN_WITHIN, "{found} topics, not {count}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn repeated(options: &Options, count: usize, mut once: impl FnMut(usize) -> Result<()>) -> Result<Value> {
    let (meter, mut histogram) = (Meter::start(options.broker_pid)?, Histogram::default());
    for number in 0..count {
        let started = Instant::now();
        once(number)?;
        histogram.record(started.elapsed());
    }
    let cpu = meter.read()?.broker_cpu;
    Ok(json!({ "latency_us": histogram.latency(), "broker_cpu_us": cpu.map(|cpu| cpu * 1e6 / count as f64) }))
}

/// Every batch has a timestamp of its own, so the answer is known.
fn look_up(options: &Options, records: u64, report: &mut Report) -> Result<Value> {
    let mut control = Connection::open(&options.bootstrap)?;
    let topic = topics::create_serving(&mut control, "w15-time", 1, &options.configs)?;
    let plan = Plan { lanes: 1, in_flight: 5, acks: -1, idempotent: true, spread: Spread::Sticky };
    let mut load =
        Load::open(&options.bootstrap, &topic, plan, |producer| noise_templates(producer, BATCH_RECORDS, 1024, 4))?;
    let first_stamp = load.next_stamp();
    let batches = records.div_ceil(BATCH_RECORDS as u64);
    load.run(Until::Batches(batches))?;
    let mut noise = Noise::new(15);
    let figures = repeated(options, LOOK_UPS, |_| {
        let batch = (noise.next() % batches) as i64;
        let found = topics::offset_for_time(&mut control, &topic, 0, first_stamp + batch)?;
        let wanted = batch * BATCH_RECORDS as i64;
        ensure!(found == wanted, "the offset for the time of batch {batch} is {found}, not {wanted}");
        Ok(())
    })?;
    report.check("offsets_for_times", LOOK_UPS);
    Ok(figures)
}
