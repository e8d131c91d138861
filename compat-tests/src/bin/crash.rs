//! The kill -9 campaign: a broker under load is killed at random moments, restarted at once on the same port and directory, and read.
//!
//! `crash [--lane NAME]... [--cycles N | --hours H] [--round N] [--seed S] [--port P] [--sabotage]`; see `compat-tests/crash/run`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the ban is the broker's")]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ottla_compat_tests::campaign::compacted::Checker;
use ottla_compat_tests::campaign::{
    Committers, Findings, Follower, Kind, Ledger, Load, LoadPlan, Process, Random, Topic, TopicTurnover,
};

const SHORTEST_LIFE: Duration = Duration::from_millis(200);
const LONGEST_LIFE: Duration = Duration::from_secs(3);
/// The log is read and compared after so many cycles; a follower reads along all the time.
const CHECK_EVERY: u64 = 5;
const DELETE_RETENTION: Duration = Duration::from_secs(8);

struct Lane {
    name: &'static str,
    rate: u64,
    committers: bool,
    turnover: bool,
    topics: fn() -> Vec<Topic>,
}

const LANES: [Lane; 4] = [
    Lane { name: "log", rate: 400, committers: true, turnover: false, topics: plain_topics },
    Lane { name: "compaction", rate: 300, committers: false, turnover: false, topics: cleaned_topics },
    Lane { name: "partitions", rate: 300, committers: false, turnover: false, topics: many_partitions },
    Lane { name: "metadata", rate: 40, committers: true, turnover: true, topics: few_topics },
];

fn plain_topics() -> Vec<Topic> {
    vec![
        Topic::new(1, "log", 3, Kind::All, &[("segment.bytes", "1048576")]),
        Topic::new(2, "flushed", 1, Kind::All, &[("segment.ms", "700"), ("flush.messages", "100")]),
    ]
}

fn cleaned_topics() -> Vec<Topic> {
    let delete_retention = DELETE_RETENTION.as_millis().to_string();
    let common = [
        ("segment.bytes", "1048576"),
        ("segment.ms", "1200"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", delete_retention.as_str()),
        ("file.delete.delay.ms", "500"),
    ];
    let with = |id, name, kind, more: &[(&'static str, &str)]| {
        Topic::new(id, name, 2, kind, &[common.as_slice(), more].concat())
    };
    vec![
        with(1, "compacted", Kind::Compacted, &[("cleanup.policy", "compact")]),
        with(2, "retained", Kind::Retained, &[("cleanup.policy", "delete"), ("retention.bytes", "2000000")]),
        with(
            3,
            "both",
            Kind::CompactedAndRetained,
            &[("cleanup.policy", "compact,delete"), ("retention.bytes", "300000")],
        ),
        Topic::new(4, "log", 1, Kind::All, &[("segment.ms", "900")]),
    ]
}

fn many_partitions() -> Vec<Topic> {
    vec![Topic::new(1, "many", 200, Kind::All, &[("segment.ms", "2000")])]
}

fn few_topics() -> Vec<Topic> {
    vec![Topic::new(1, "log", 2, Kind::All, &[])]
}

#[derive(Default)]
struct Totals {
    cycles: u64,
    kills: u64,
    acked: u64,
    commits: u64,
    turned: (u64, u64, u64),
    removed: u64,
    slowest_start: Duration,
}

struct Options {
    lanes: Vec<String>,
    cycles: Option<u64>,
    hours: Option<f64>,
    round: u64,
    seed: u64,
    port: Option<u16>,
    /// Damage the log after each kill: the campaign must fail.
    sabotage: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = options()?;
    println!("seed {}", options.seed);
    let mut failed = 0;
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for (index, lane) in LANES.iter().enumerate() {
            if options.lanes.is_empty() || options.lanes.iter().any(|name| name == lane.name) {
                let options = &options;
                running.push((lane.name, scope.spawn(move || campaign(lane, index as u64, options))));
            }
        }
        for (name, lane) in running {
            match lane.join() {
                Ok(Ok(totals)) => println!("lane {name}: kept every promise: {}", totals.text()),
                Ok(Err(error)) => {
                    failed += 1;
                    println!("lane {name}: FAILED: {error:#}");
                }
                Err(_) => {
                    failed += 1;
                    println!("lane {name}: the campaign itself panicked");
                }
            }
        }
    });
    ensure!(failed == 0, "{failed} lanes failed; seed {}", options.seed);
    Ok(())
}

fn options() -> Result<Options> {
    let seed = Random::any_seed();
    let mut options =
        Options { lanes: Vec::new(), cycles: None, hours: None, round: 60, seed, port: None, sabotage: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{name} needs a value"));
        match name.as_str() {
            "--lane" => options.lanes.push(value()?),
            "--cycles" => options.cycles = Some(value()?.parse()?),
            "--hours" => options.hours = Some(value()?.parse()?),
            "--round" => options.round = value()?.parse()?,
            "--seed" => options.seed = value()?.parse()?,
            "--sabotage" => options.sabotage = true,
            "--port" => options.port = Some(value()?.parse()?),
            _ => bail!("unknown option {name}"),
        }
    }
    for name in &options.lanes {
        ensure!(LANES.iter().any(|lane| lane.name == name), "unknown lane {name}");
    }
    Ok(options)
}

/// Rounds, each with a fresh directory, until the cycles are counted or the time is up.
fn campaign(lane: &Lane, index: u64, options: &Options) -> Result<Totals> {
    let ends = options.hours.map(|hours| Instant::now() + Duration::from_secs_f64(hours * 3600.0));
    let wanted = options.cycles.unwrap_or(if ends.is_some() { u64::MAX } else { 30 });
    let mut random = Random::new(options.seed.wrapping_mul(31).wrapping_add(index));
    let port = Process::free_port(options.port.map(|port| port + 10 * index as u16))?;
    let mut totals = Totals::default();
    while totals.cycles < wanted && ends.is_none_or(|ends| Instant::now() < ends) {
        let cycles = options.round.min(wanted - totals.cycles);
        let directory = tempfile::Builder::new().prefix(&format!("ottla-crash-{}-", lane.name)).tempdir()?;
        let findings = Findings::default();
        let mut round = Round::start(lane, directory.path(), port, &findings, random.fork())?;
        round.sabotage = options.sabotage;
        let result = round.run(cycles, ends, &mut totals);
        drop(round);
        if result.is_err() || !findings.is_empty() {
            let kept = directory.keep();
            result.with_context(|| format!("kept {}", kept.display()))?;
            bail!("{} findings, kept {}: {:#?}", findings.count(), kept.display(), findings.first());
        }
        println!("lane {}: {}", lane.name, totals.text());
    }
    Ok(totals)
}

struct Round<'a> {
    lane: &'a Lane,
    topics: Vec<Topic>,
    broker: Process,
    bootstrap: String,
    ledger: Ledger,
    findings: Findings,
    random: Random,
    load: Option<Load>,
    follower: Option<Follower>,
    checker: Checker,
    committers: Option<Committers>,
    turnover: Option<TopicTurnover>,
    sabotage: bool,
    cycles: u64,
}

impl<'a> Round<'a> {
    fn start(lane: &'a Lane, directory: &Path, port: u16, findings: &Findings, mut random: Random) -> Result<Self> {
        let overrides = [
            "log.retention.check.interval.ms=400",
            "log.cleaner.backoff.ms=300",
            "log.flush.offset.checkpoint.interval.ms=1000",
            "auto.create.topics.enable=false",
            "group.initial.rebalance.delay.ms=0",
        ]
        .map(str::to_owned);
        let mut broker = Process::new(&directory.join("data"), &directory.join("log"), port, &overrides);
        broker.start()?;
        let bootstrap = broker.bootstrap();
        let topics = (lane.topics)();
        for topic in &topics {
            topic.create(&bootstrap)?;
        }
        let ledger = Ledger::default();
        let plan = LoadPlan {
            topics: topics.clone(),
            rate: lane.rate,
            failures_are_findings: true,
            patience: Duration::from_secs(300),
            began: Instant::now(),
            first_writer: 0,
        };
        let load = Some(Load::start(&bootstrap, &plan, &ledger, findings, &mut random)?);
        let kept: Vec<Topic> = topics.iter().filter(|topic| topic.kind.keeps_all()).cloned().collect();
        let follower = Some(Follower::start(&bootstrap, &kept, findings)?);
        let checker = Checker::new(&topics, DELETE_RETENTION, findings);
        let first = &topics[0].name;
        let committers =
            lane.committers.then(|| Committers::start(&bootstrap, first, 0, findings, &mut random)).transpose()?;
        let turnover = lane.turnover.then(|| TopicTurnover::start(&bootstrap, findings, random.fork())).transpose()?;
        let findings = findings.clone();
        Ok(Self {
            lane,
            topics,
            broker,
            bootstrap,
            ledger,
            findings,
            random,
            load,
            follower,
            checker,
            committers,
            turnover,
            sabotage: false,
            cycles: 0,
        })
    }

    fn run(&mut self, cycles: u64, ends: Option<Instant>, totals: &mut Totals) -> Result<()> {
        for cycle in 1..=cycles {
            std::thread::sleep(self.random.between(SHORTEST_LIFE, LONGEST_LIFE));
            totals.kills += self.end_broker()?;
            if self.sabotage {
                self.damage()?;
            }
            self.broker.spawn()?;
            // Now and then it is killed again while it recovers.
            while self.random.percent(20) {
                std::thread::sleep(self.random.between(Duration::ZERO, Duration::from_millis(60)));
                self.broker.kill();
                totals.kills += 1;
                self.broker.spawn()?;
            }
            totals.slowest_start = totals.slowest_start.max(self.broker.ready()?);
            totals.cycles += 1;
            self.cycles += 1;
            if cycle % CHECK_EVERY == 0 {
                self.check()?;
            }
            if !self.findings.is_empty() {
                return Ok(());
            }
            if ends.is_some_and(|ends| Instant::now() > ends) {
                break;
            }
        }
        self.finish(totals)
    }

    /// Ends the broker: mostly with `kill -9`, sometimes in the middle of its own stop, sometimes in order. The number of kills.
    fn end_broker(&mut self) -> Result<u64> {
        if self.random.percent(5) {
            self.broker.stop()?;
            return Ok(0);
        }
        if self.random.percent(10) {
            self.broker.terminate()?;
            std::thread::sleep(self.random.between(Duration::ZERO, Duration::from_millis(80)));
        }
        self.broker.kill();
        Ok(1)
    }

    /// Takes the last record from a log that has any.
    fn damage(&mut self) -> Result<()> {
        let name = format!("{}-0", self.topics[0].name);
        let mut segments: Vec<_> = std::fs::read_dir(self.broker.data().join(name))?
            .filter_map(|entry| entry.map(|entry| entry.path()).ok())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        segments.sort();
        let segment = std::fs::OpenOptions::new().write(true).open(segments.last().context("no segment")?)?;
        Ok(segment.set_len(segment.metadata()?.len().saturating_sub(1))?)
    }

    fn check(&mut self) -> Result<()> {
        self.check_all()?;
        if let Some(turnover) = &mut self.turnover {
            let random = self.random.fork();
            turnover.pause(&self.bootstrap, random, |turnover| turnover.check(&self.bootstrap))?;
        }
        Ok(())
    }

    fn check_all(&mut self) -> Result<()> {
        let output = self.broker.new_output()?;
        ensure!(!output.contains("panicked"), "the broker panicked: {output}");
        if let Some(follower) = &self.follower {
            follower.check(&self.ledger)?;
        }
        self.checker.check(&self.bootstrap, &self.ledger)?;
        if let Some(committers) = &self.committers {
            committers.check(&self.bootstrap)?;
        }
        Ok(())
    }

    fn finish(&mut self, totals: &mut Totals) -> Result<()> {
        let load = self.load.take().context("a round ends once")?;
        let written = load.finish()?;
        totals.commits += self.committers.as_mut().map_or(0, Committers::stop);
        if let Some(turnover) = &mut self.turnover {
            let (creates, deletes, alters) = turnover.stop();
            let (c, d, a) = totals.turned;
            totals.turned = (c + creates, d + deletes, a + alters);
            turnover.check(&self.bootstrap)?;
        }
        self.check_all()?;
        let follower = self.follower.take().context("a round ends once")?;
        follower.finish(&self.bootstrap, &self.ledger, &written)?;
        totals.acked += self.ledger.count();
        if self.topics.iter().any(|topic| topic.kind == Kind::Compacted) {
            let removed = self.checker.removed(Kind::Compacted);
            ensure!(removed > 0 || self.cycles < 10, "nothing was compacted in {} cycles", self.cycles);
            totals.removed += removed;
        }
        self.broker.stop().with_context(|| format!("the end of a round of {}", self.lane.name))
    }
}

impl Totals {
    fn text(&self) -> String {
        let Self { cycles, kills, acked, commits, turned: (creates, deletes, alters), removed, slowest_start } = self;
        let mut text = format!(
            "{cycles} cycles, {kills} kills, {acked} acknowledged records, slowest start {} ms",
            slowest_start.as_millis()
        );
        for (count, what) in [
            (commits, "commits"),
            (creates, "topics created"),
            (deletes, "topics deleted"),
            (alters, "topics altered"),
            (removed, "records compacted away"),
        ] {
            if *count > 0 {
                text += &format!(", {count} {what}");
            }
        }
        text
    }
}
