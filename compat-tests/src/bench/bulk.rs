//! W1: one producer, batches of some 120 KiB, five in flight.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::connection::Connection;
use super::lanes::{Load, Plan, Schedule, Spread, Until, noise_templates};
use super::meter::Meter;
use super::options::Options;
use super::report::Report;
use super::topics::{self, Topic};

/// `batch.size` of 131072 holds so many records of 1 KiB.
pub const BATCH_RECORDS: usize = 120;
/// Bytes of a record's value.
pub const RECORD_BYTES: usize = 1024;
/// Different batches, so that the driver's cache is not all that is measured.
const TEMPLATES: u64 = 8;

/// W1.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let records = options.records.unwrap_or(1_000_000);
    let record_bytes = report.parameter("record_bytes", options.record_bytes.unwrap_or(RECORD_BYTES));
    let batch_records = report.parameter("batch_records", options.batch_records.unwrap_or(BATCH_RECORDS));
    let partitions = report.parameter("partitions", options.partitions.unwrap_or(6));
    let plan = Plan {
        lanes: report.parameter("connections", options.connections.unwrap_or(1)),
        in_flight: report.parameter("in_flight", options.in_flight.unwrap_or(5)),
        acks: report.parameter("acks", options.acks.unwrap_or(-1)),
        idempotent: report.parameter("idempotent", options.idempotent.unwrap_or(true)),
        spread: Spread::RoundRobin,
    };
    let mut control = Connection::open(&options.bootstrap)?;
    let topic = topics::create_serving(&mut control, &report.workload, partitions, &options.configs)?;
    report.parameter("topic", topic.name.clone());
    let mut load = Load::open(&options.bootstrap, &topic, plan, |producer| {
        noise_templates(producer, batch_records, record_bytes, TEMPLATES)
    })?;
    count(options, &mut report, &mut load, records.div_ceil(batch_records as u64))?;
    Ok(report)
}

/// Measures so many batches and reads them back.
pub fn count(options: &Options, report: &mut Report, load: &mut Load, batches: u64) -> Result<()> {
    let meter = Meter::start(options.broker_pid)?;
    let histogram = match options.rate {
        None => load.run(Until::Batches(batches))?,
        Some(rate) => {
            let start = Instant::now() + Duration::from_millis(10);
            let interval = Duration::from_secs_f64(1.0 / report.parameter("rate", rate));
            load.run_paced(Schedule { start, interval, count: batches })?.acknowledged
        }
    };
    report.usage(&meter.read()?);
    report.parameter("records", load.ledger().records());
    report.requests = load.requests();
    report.records = load.ledger().records();
    report.bytes = load.value_bytes();
    report.latency(&histogram);
    if !options.no_read_back {
        load.verify(report)?;
    }
    Ok(())
}

/// Writes so many records of this size to a new topic, without timing it.
pub fn fill(options: &Options, report: &mut Report, records: u64, partitions: i32) -> Result<Topic> {
    let record_bytes = report.parameter("record_bytes", options.record_bytes.unwrap_or(RECORD_BYTES));
    let batch_records = report.parameter("batch_records", options.batch_records.unwrap_or(BATCH_RECORDS));
    let plan = Plan { lanes: 1, in_flight: 5, acks: -1, idempotent: true, spread: Spread::RoundRobin };
    let mut control = Connection::open(&options.bootstrap)?;
    let topic = topics::create_serving(&mut control, &report.workload, partitions, &options.configs)?;
    let mut load = Load::open(&options.bootstrap, &topic, plan, |producer| {
        noise_templates(producer, batch_records, record_bytes, TEMPLATES)
    })?;
    load.run(Until::Batches(records.div_ceil(batch_records as u64)))?;
    Ok(topic)
}
