//! The exactly-once campaign: runs of clients, faults and a checker, several side by side; see `compat-tests/eos/run`.
//!
//! `eos [--runs N | --hours H] [--parallel N] [--seconds S] [--seed S] [--port P] [--apache] [--calm] [--kills PERCENT]
//! [--lie result|isolation|group] [--recheck FILE]`
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the ban is the broker's")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ottla_compat_tests::campaign::{Process, Random};
use ottla_compat_tests::eos::lies::Lie;
use ottla_compat_tests::eos::run::{Plan, Report, recheck, run};

/// The first findings are printed with their history, the others counted.
const PRINTED: u64 = 10;

struct Options {
    runs: Option<u64>,
    hours: Option<f64>,
    parallel: u64,
    seconds: u64,
    seed: u64,
    port: Option<u16>,
    apache: bool,
    calm: bool,
    kills: u64,
    lie: Option<Lie>,
    recheck: Option<PathBuf>,
}

#[derive(Default)]
struct Totals {
    started: u64,
    done: u64,
    failed: u64,
    committed: u64,
    aborted: u64,
    indeterminate: u64,
    read: u64,
    consumed: u64,
    kills: u64,
    pauses: u64,
    cuts: u64,
    dropped: u64,
    repeated: u64,
}

fn main() -> ExitCode {
    match campaign() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        runs: None,
        hours: None,
        parallel: 6,
        seconds: 20,
        seed: Random::any_seed(),
        port: None,
        apache: false,
        calm: false,
        kills: 25,
        lie: None,
        recheck: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{name} needs a value"));
        match name.as_str() {
            "--runs" => options.runs = Some(value()?.parse()?),
            "--hours" => options.hours = Some(value()?.parse()?),
            "--parallel" => options.parallel = value()?.parse()?,
            "--seconds" => options.seconds = value()?.parse()?,
            "--seed" => options.seed = value()?.parse()?,
            "--port" => options.port = Some(value()?.parse()?),
            "--apache" => options.apache = true,
            "--calm" => options.calm = true,
            "--kills" => options.kills = value()?.parse()?,
            "--recheck" => options.recheck = Some(value()?.into()),
            "--lie" => {
                options.lie = Some(match value()?.as_str() {
                    "result" => Lie::OtherResult,
                    "isolation" => Lie::Uncommitted,
                    "group" => Lie::OtherGroup,
                    other => bail!("unknown lie {other}"),
                });
            }
            _ => bail!("unknown option {name}"),
        }
    }
    Ok(options)
}

fn campaign() -> Result<()> {
    let options = options()?;
    if let Some(path) = &options.recheck {
        let anomalies = recheck(path)?;
        anomalies
            .iter()
            .for_each(|anomaly| println!("{}: {} (operations {:?})", anomaly.kind, anomaly.text, anomaly.ops));
        ensure!(anomalies.is_empty(), "{} anomalies", anomalies.len());
        return Ok(());
    }
    println!("seed {}", options.seed);
    let ends = options.hours.map(|hours| Instant::now() + Duration::from_secs_f64(hours * 3600.0));
    let wanted = options.runs.unwrap_or(if ends.is_some() { u64::MAX } else { 6 });
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for lane in 0..options.parallel.min(wanted) {
            let (options, totals) = (&options, &totals);
            scope.spawn(move || {
                // A lane keeps its ports: nobody else may take one while its broker is down.
                let mut port = match options.port {
                    Some(port) => Ok(port + 4 * lane as u16),
                    None => Process::free_port(None),
                };
                while ends.is_none_or(|ends| Instant::now() < ends) {
                    let number = {
                        let mut totals = totals.lock().expect("not poisoned");
                        totals.started += 1;
                        totals.started - 1
                    };
                    if number >= wanted {
                        break;
                    }
                    one(options, options.seed + number, &mut port, totals);
                }
            });
        }
    });
    let totals = totals.into_inner().expect("not poisoned");
    println!("{}", totals.text(options.seconds));
    ensure!(totals.failed == 0, "{} of {} runs failed", totals.failed, totals.done);
    ensure!(totals.committed > 0, "no transaction was committed");
    Ok(())
}

fn one(options: &Options, seed: u64, port: &mut Result<u16>, totals: &Mutex<Totals>) {
    let attempt = |port: &Result<u16>| {
        let port = *port.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        run(&Plan {
            seed,
            time: Duration::from_secs(options.seconds),
            apache: options.apache,
            port,
            lie: options.lie,
            kill_percent: options.kills,
            calm: options.calm,
        })
    };
    let mut result = attempt(port);
    if let Err(error) = &result {
        // Somebody took a port, say.
        println!("seed {seed}: again, on other ports: {error:#}");
        *port = Process::free_port(None);
        result = attempt(port);
    }
    let mut totals = totals.lock().expect("not poisoned");
    totals.done += 1;
    match result {
        Ok(report) => {
            println!("{report}");
            totals.add(&report);
            if !report.anomalies.is_empty() {
                totals.failed += 1;
                if totals.failed <= PRINTED {
                    print(&report);
                }
            }
        }
        Err(error) => {
            totals.failed += 1;
            println!("seed {seed}: FAILED: {error:#}");
        }
    }
}

fn print(report: &Report) {
    for (anomaly, excerpt) in report.anomalies.iter().zip(&report.excerpts) {
        println!("  ANOMALY {}: {}", anomaly.kind, anomaly.text);
        for line in excerpt {
            println!("    {line}");
        }
    }
    if let Some(kept) = &report.kept {
        println!("  kept {}: run `eos --recheck {}/history.jsonl`", kept.display(), kept.display());
    }
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.committed += report.counts.committed;
        self.aborted += report.counts.aborted;
        self.indeterminate += report.counts.indeterminate;
        self.read += report.counts.read;
        self.consumed += report.counts.consumed;
        self.kills += report.harm.kills;
        self.pauses += report.harm.pauses;
        self.cuts += report.harm.cuts + report.faults[3];
        self.dropped += report.faults[0];
        self.repeated += report.faults[2];
    }

    fn text(&self, seconds: u64) -> String {
        let Self { done, failed, committed, aborted, indeterminate, read, consumed, kills, pauses, cuts, .. } = self;
        let Self { dropped, repeated, .. } = self;
        format!(
            "{done} runs of {seconds} s, {failed} with anomalies; transactions {committed} committed, {aborted} aborted, \
             {indeterminate} indeterminate; {read} records read, {consumed} consumed; {kills} kills, {pauses} pauses, \
             {cuts} cuts, {dropped} answers dropped, {repeated} requests repeated"
        )
    }
}
