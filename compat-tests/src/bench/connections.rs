//! W11: many connections that say nothing, beside some that do.

use std::time::Duration;

use anyhow::{Result, ensure};
use kafka_protocol::messages::MetadataRequest;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use super::connection::{Connection, api_versions, encode};
use super::lanes::{Load, Plan, Schedule, Spread, noise_templates};
use super::meter::{Meter, Usage};
use super::options::Options;
use super::report::Report;
use super::topics;

/// So many connect at once: fewer than the 50 of `socket.listen.backlog.size`, behind which a connection comes back after a second.
const CONNECTING: usize = 32;
const IDLE_SECONDS: f64 = 3.0;

/// W11. The figures of the report are those of the active connections beside the idle ones.
pub fn run(options: &Options) -> Result<Report> {
    raise_file_limit()?;
    let mut report = Report::of(options);
    let idle = report.parameter("idle", options.idle.unwrap_or(10_000));
    let active = report.parameter("connections", options.connections.unwrap_or(100));
    let rate = report.parameter("rate", options.rate.unwrap_or(1_000.0));
    let seconds = report.parameter("seconds", options.seconds.unwrap_or(5.0));
    let partitions = report.parameter("partitions", options.partitions.unwrap_or(6));
    let record_bytes = report.parameter("record_bytes", options.record_bytes.unwrap_or(100));
    let plan = Plan { lanes: active, in_flight: 1, acks: 1, idempotent: false, spread: Spread::RoundRobin };
    let mut control = Connection::open(&options.bootstrap)?;
    let topic = topics::create_serving(&mut control, &report.workload, partitions, &options.configs)?;
    let mut load =
        Load::open(&options.bootstrap, &topic, plan, |producer| noise_templates(producer, 1, record_bytes, 1))?;
    load.run_paced(Schedule::soon(rate, options.warmup_seconds.unwrap_or(1.0)))?;
    let mut run = |report: Option<&mut Report>| -> Result<Value> {
        let meter = Meter::start(options.broker_pid)?;
        let schedule = Schedule::soon(rate, seconds);
        let paced = load.run_paced(schedule)?;
        let usage = meter.read()?;
        if let Some(report) = report {
            report.usage(&usage);
            report.latency(&paced.acknowledged);
            (report.requests, report.records) = (schedule.count, schedule.count);
            report.bytes = schedule.count * record_bytes as u64;
        }
        Ok(json!({
            "latency_us": paced.acknowledged.latency(),
            "client_late_us": paced.late.latency(),
            "broker_cpu_us_per_request": usage.broker_cpu.map(|cpu| cpu * 1e6 / schedule.count as f64),
        }))
    };
    report.measure("alone", run(None)?);
    let before = Meter::start(options.broker_pid)?.read()?;
    let meter = Meter::start(options.broker_pid)?;
    let kept = connect(&options.bootstrap, idle)?;
    connected(&mut report, &before, &meter.read()?, idle);
    let meter = Meter::start(options.broker_pid)?;
    std::thread::sleep(Duration::from_secs_f64(IDLE_SECONDS));
    let silent = meter.read()?;
    report.measure("idle_cpu_ms_per_second", silent.broker_cpu.map(|cpu| cpu * 1e3 / silent.wall.as_secs_f64()));
    let beside = run(Some(&mut report))?;
    report.measure("beside", beside);
    // They are still there: the last of each dozen answers.
    let mut asked = 0;
    for mut connection in kept.into_iter().step_by(12) {
        ensure!(connection.call(12, &metadata())?.brokers.len() == 1, "an idle connection answers wrongly");
        asked += 1;
    }
    report.check("idle_connections_that_answered", asked);
    if !options.no_read_back {
        load.verify(&mut report)?;
    }
    Ok(report)
}

fn connected(report: &mut Report, before: &Usage, after: &Usage, idle: usize) {
    report.measure("connects_per_second", idle as f64 / after.wall.as_secs_f64());
    report.measure("connect_cpu_us", after.broker_cpu.map(|cpu| cpu * 1e6 / idle as f64));
    let grown = after.rss.zip(before.rss).map(|(after, before)| (after as f64 - before as f64) / idle as f64);
    report.measure("rss_bytes_per_idle_connection", grown);
}

fn metadata() -> MetadataRequest {
    MetadataRequest::default().with_topics(Some(Vec::new()))
}

/// Connects so many; each asks for versions and for the brokers, and then says nothing.
fn connect(address: &str, count: usize) -> Result<Vec<Connection>> {
    let (versions, metadata) = (api_versions(1)?, encode(12, 2, &metadata())?);
    let mut kept: Vec<Connection> = Vec::with_capacity(count);
    while kept.len() < count {
        let from = kept.len();
        for _ in from..count.min(from + CONNECTING) {
            let mut connection = Connection::connect(address)?;
            connection.send(&versions)?;
            kept.push(connection);
        }
        for frame in [Some(&metadata), None] {
            for connection in &mut kept[from..] {
                connection.receive()?;
                frame.map_or(Ok(()), |frame| connection.send(frame))?;
            }
        }
        kept[from..].iter_mut().for_each(Connection::rest);
    }
    Ok(kept)
}

fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}
