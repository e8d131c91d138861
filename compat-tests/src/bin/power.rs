//! The power cut campaign: the file system under a broker under load stops at a random moment, and what is on the disk is recovered.
//!
//! `power [--cuts N | --hours H] [--seed S] [--port P] [--disk DIR] [--only ext4|xfs|copies|first]`; see `compat-tests/crash/power`.
//! Ends with status 77 where no file system can be mounted.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the ban is the broker's")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ottla_compat_tests::campaign::{
    Ack, Committers, FileSystem, Findings, IDEMPOTENT_WRITERS, Kind, Ledger, Load, LoadPlan, LoopDisk, Place, Process,
    Random, Tag, Topic, TopicCreator, WRITERS, committed_offset, existing_topics, reread, watermarks,
};
use rdkafka::consumer::BaseConsumer;

const CUTS_PER_DISK: u64 = 8;
const DISK_MEBIBYTES: u64 = 320;
const STORE_MEBIBYTES: u64 = 4096;
const SKIPPED: u8 = 77;
/// A late timer of a busy machine, on top of `ottla.flush.max.unflushed.ms`.
const LATE: Duration = Duration::from_secs(1);

/// What a power cut may take of topics that do not ask for a flush, by configuration.
#[derive(Clone, Copy)]
struct Bound {
    bytes: u64,
    millis: Option<u64>,
}

/// The defaults, then tighter ones.
const BOUNDS: [Bound; 3] = [
    Bound { bytes: 16 << 20, millis: Some(1000) },
    Bound { bytes: 16 << 20, millis: Some(150) },
    Bound { bytes: 48 << 10, millis: None },
];

#[derive(Default)]
struct Totals {
    cuts: BTreeMap<&'static str, u64>,
    acked: u64,
    lost: u64,
    /// Acknowledged after the cut in a topic that flushes, and gone.
    lost_after: u64,
    lost_age: Duration,
    lost_bytes: u64,
    lost_commits: u64,
    topics: u64,
    slowest_start: Duration,
}

struct Options {
    cuts: Option<u64>,
    hours: Option<f64>,
    seed: u64,
    port: Option<u16>,
    disk: PathBuf,
    only: Option<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            println!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let options = options()?;
    println!("seed {}", options.seed);
    if let Some(why) = LoopDisk::missing(FileSystem::Ext4) {
        println!("SKIPPED: no file system can be mounted here: {why}");
        return Ok(ExitCode::from(SKIPPED));
    }
    let mut ways = vec!["first", "ext4"];
    match LoopDisk::missing(FileSystem::Xfs) {
        None => ways.extend(["xfs", "copies"]),
        Some(why) => println!("SKIPPED: xfs and copies of the live disk: {why}"),
    }
    if let Some(only) = &options.only {
        ways.retain(|way| way == only);
        ensure!(!ways.is_empty(), "{only} cannot be done here");
    }
    campaign(&options, &ways)?;
    Ok(ExitCode::SUCCESS)
}

fn options() -> Result<Options> {
    let memory = Path::new("/dev/shm");
    let disk = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let mut options = Options { cuts: None, hours: None, seed: Random::any_seed(), port: None, disk, only: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{name} needs a value"));
        match name.as_str() {
            "--cuts" => options.cuts = Some(value()?.parse()?),
            "--hours" => options.hours = Some(value()?.parse()?),
            "--seed" => options.seed = value()?.parse()?,
            "--port" => options.port = Some(value()?.parse()?),
            "--disk" => options.disk = value()?.into(),
            "--only" => options.only = Some(value()?),
            _ => bail!("unknown option {name}"),
        }
    }
    Ok(options)
}

fn campaign(options: &Options, ways: &[&'static str]) -> Result<()> {
    let ends = options.hours.map(|hours| Instant::now() + Duration::from_secs_f64(hours * 3600.0));
    let wanted = options.cuts.unwrap_or(if ends.is_some() { u64::MAX } else { 12 });
    let mut random = Random::new(options.seed);
    let mut totals = Totals::default();
    for number in 0.. {
        let done: u64 = totals.cuts.values().sum();
        if done >= wanted || ends.is_some_and(|ends| Instant::now() >= ends) {
            break;
        }
        let way = ways[number % ways.len()];
        let cuts = CUTS_PER_DISK.min((wanted / ways.len() as u64).max(1)).min(wanted - done);
        let bound = BOUNDS[number / ways.len() % BOUNDS.len()];
        let directory = tempfile::Builder::new().prefix("ottla-power-").tempdir_in(&options.disk)?;
        let findings = Findings::default();
        let round = Round { directory: directory.path(), port: options.port, bound, findings: findings.clone() };
        let result = match way {
            "first" => round.first_starts(cuts, &mut random, &mut totals),
            "ext4" => round.cuts(FileSystem::Ext4, way, cuts, &mut random, &mut totals),
            "xfs" => round.cuts(FileSystem::Xfs, way, cuts, &mut random, &mut totals),
            _ => round.copies(cuts, &mut random, &mut totals),
        };
        if result.is_err() || !findings.is_empty() {
            let kept = directory.keep();
            result.with_context(|| format!("{way}, seed {}; kept {}", options.seed, kept.display()))?;
            bail!("{way}: {} findings, seed {}; kept {}", findings.count(), options.seed, kept.display());
        }
        println!("{way}: {}", totals.text());
    }
    println!("kept every promise: {}", totals.text());
    Ok(())
}

/// One disk, or one running broker.
struct Round<'a> {
    directory: &'a Path,
    port: Option<u16>,
    bound: Bound,
    findings: Findings,
}

/// What runs against a broker.
struct Clients {
    load: Load,
    committers: Committers,
    creator: TopicCreator,
}

/// What must be found after a cut.
#[derive(Default)]
struct Expected {
    acks: Vec<Ack>,
    topics: BTreeSet<String>,
    /// What earlier recoveries found; it is on the disk.
    survivors: BTreeMap<Place, Vec<Tag>>,
    commits: BTreeMap<String, i64>,
}

fn topics() -> Vec<Topic> {
    let flushed = ("flush.messages", "1");
    vec![
        Topic::new(1, "flushed", 2, Kind::All, &[flushed]),
        Topic::new(2, "flushed-rolling", 1, Kind::All, &[flushed, ("segment.ms", "300")]),
        Topic::new(3, "default", 2, Kind::All, &[]),
        Topic::new(4, "default-rolling", 1, Kind::All, &[("segment.ms", "300")]),
    ]
}

fn is_flushed(topic: &Topic) -> bool {
    topic.settings.iter().any(|(key, _)| *key == "flush.messages")
}

impl Round<'_> {
    fn broker(&self, data: &Path, name: &str) -> Result<Process> {
        let millis = self.bound.millis.map_or(i64::MAX, |millis| millis as i64);
        let overrides = [
            format!("ottla.flush.max.unflushed.bytes={}", self.bound.bytes),
            format!("ottla.flush.max.unflushed.ms={millis}"),
            "auto.create.topics.enable=false".into(),
            "group.initial.rebalance.delay.ms=0".into(),
        ];
        let port = Process::free_port(self.port)?;
        Ok(Process::new(&data.join("data"), &self.directory.join(name), port, &overrides))
    }

    /// The power goes while a broker starts for the first time: it must start afterwards.
    fn first_starts(&self, cuts: u64, random: &mut Random, totals: &mut Totals) -> Result<()> {
        for number in 0..cuts {
            let kind = if random.percent(50) { FileSystem::Ext4 } else { FileSystem::Xfs };
            let kind = if LoopDisk::missing(kind).is_some() { FileSystem::Ext4 } else { kind };
            let mut disk = LoopDisk::create(kind, self.directory, &format!("first-{number}"), DISK_MEBIBYTES)?;
            let mut broker = self.broker(disk.path(), "first.log")?;
            broker.spawn()?;
            let longest = if random.percent(50) { 60 } else { 1500 };
            std::thread::sleep(random.between(Duration::ZERO, Duration::from_millis(longest)));
            self.cut_and_mount(&mut disk, &mut broker)?;
            broker.start().context("after a power cut during the first start")?;
            Topic::new(1, "after", 1, Kind::All, &[]).create(&broker.bootstrap())?;
            broker.stop()?;
            *totals.cuts.entry("first").or_default() += 1;
        }
        Ok(())
    }

    /// Cut, recovered, checked, and on with the same disk.
    fn cuts(
        &self,
        kind: FileSystem,
        way: &'static str,
        cuts: u64,
        random: &mut Random,
        totals: &mut Totals,
    ) -> Result<()> {
        let mut disk = LoopDisk::create(kind, self.directory, way, DISK_MEBIBYTES)?;
        let mut broker = self.broker(disk.path(), &format!("{way}.log"))?;
        let mut expected = Expected::default();
        broker.start()?;
        for number in 0..cuts {
            let bootstrap = broker.bootstrap();
            let ledger = Ledger::default();
            let mut clients = self.clients(&bootstrap, number, &ledger, random)?;
            if number == 0 {
                expected.topics.extend(topics().into_iter().map(|topic| topic.name));
            }
            std::thread::sleep(random.between(Duration::from_millis(300), Duration::from_millis(2500)));
            let cut = disk.cut()?;
            // Answers may still come, and are looked at apart: see `check_acks`.
            std::thread::sleep(random.between(Duration::ZERO, Duration::from_millis(150)));
            broker.kill();
            clients.creator.stop();
            clients.load.finish()?;
            disk.unmount()?;
            disk.mount()?;
            broker.spawn()?;
            while random.percent(25) {
                std::thread::sleep(random.between(Duration::ZERO, Duration::from_millis(80)));
                self.cut_and_mount(&mut disk, &mut broker)?;
                broker.spawn()?;
            }
            totals.slowest_start = totals.slowest_start.max(broker.ready().context("after a power cut")?);
            // The last commit of each group is still on its way: librdkafka tries until a broker answers.
            clients.committers.stop();
            expected.acks = ledger.take();
            totals.acked += expected.acks.len() as u64;
            expected.topics.extend(clients.creator.created());
            self.check(&bootstrap, &mut expected, cut, totals)?;
            self.check_commits(&bootstrap, &clients.committers.before(self.safe(cut)), &mut expected, totals)?;
            totals.topics += clients.creator.created().len() as u64;
            *totals.cuts.entry(way).or_default() += 1;
            if !self.findings.is_empty() {
                return Ok(());
            }
        }
        broker.stop()
    }

    /// A broker runs on while copies of its disk are mounted and recovered by another one.
    fn copies(&self, cuts: u64, random: &mut Random, totals: &mut Totals) -> Result<()> {
        let store = LoopDisk::create(FileSystem::Xfs, self.directory, "store", STORE_MEBIBYTES)?;
        let kind = if random.percent(50) { FileSystem::Ext4 } else { FileSystem::Xfs };
        let disk = LoopDisk::create(kind, store.path(), "live", DISK_MEBIBYTES)?;
        let mut live = self.broker(disk.path(), "live.log")?;
        live.start()?;
        let bootstrap = live.bootstrap();
        let ledger = Ledger::default();
        let mut clients = self.clients(&bootstrap, 0, &ledger, random)?;
        let mut acks: Vec<Ack> = Vec::new();
        for number in 0..cuts {
            std::thread::sleep(random.between(Duration::from_millis(100), Duration::from_millis(1200)));
            acks.extend(ledger.take());
            let names: BTreeSet<String> = clients.creator.created().into_iter().collect();
            // An answer that comes while the copy is made may be on it or not.
            let before = Instant::now();
            let image = store.path().join(format!("copy-{number}.img"));
            disk.copy(&image)?;
            let cut = Instant::now();
            let copy = LoopDisk::of_image(kind, &image, &self.directory.join("copy"))?;
            let mut broker = self.broker(copy.path(), "copies.log")?;
            let ready = broker.start().context("on a copy of the live disk")?;
            totals.slowest_start = totals.slowest_start.max(ready);
            let mut expected = Expected { acks: acks.clone(), topics: names, ..Expected::default() };
            expected.topics.extend(topics().into_iter().map(|topic| topic.name));
            let safe = self.safe(before);
            self.check(&broker.bootstrap(), &mut expected, cut, totals)?;
            let commits = clients.committers.before(safe);
            self.check_commits(&broker.bootstrap(), &commits, &mut expected, totals)?;
            broker.kill();
            *totals.cuts.entry("copies").or_default() += 1;
            if !self.findings.is_empty() {
                std::fs::rename(&image, self.directory.join("finding.img"))
                    .or_else(|_| std::fs::copy(&image, self.directory.join("finding.img")).map(drop))?;
                return Ok(());
            }
            drop(copy);
            std::fs::remove_file(&image)?;
        }
        clients.creator.stop();
        clients.committers.stop();
        clients.load.finish()?;
        totals.acked += ledger.count();
        totals.topics += clients.creator.created().len() as u64;
        live.stop()
    }

    fn clients(&self, bootstrap: &str, number: u64, ledger: &Ledger, random: &mut Random) -> Result<Clients> {
        let topics = topics();
        if number == 0 {
            for topic in &topics {
                topic.create(bootstrap)?;
            }
        }
        let plan = LoadPlan {
            topics,
            rate: 150,
            failures_are_findings: false,
            patience: Duration::from_secs(60),
            began: Instant::now(),
            first_writer: number as u32 * WRITERS,
        };
        let load = Load::start(bootstrap, &plan, ledger, &self.findings, random)?;
        let first = number as i64 * 1_000_000;
        let committers = Committers::start(bootstrap, "default", first, &self.findings, random)?;
        let creator = TopicCreator::start(bootstrap, format!("created-{number}"), random.fork())?;
        Ok(Clients { load, committers, creator })
    }

    fn cut_and_mount(&self, disk: &mut LoopDisk, broker: &mut Process) -> Result<()> {
        disk.cut()?;
        broker.kill();
        disk.unmount()?;
        disk.mount()
    }

    /// What was answered before this moment is beyond the reach of a cut; none is, where flushes go by bytes only.
    fn safe(&self, cut: Instant) -> Option<Instant> {
        cut.checked_sub(Duration::from_millis(self.bound.millis?) + LATE)
    }

    fn check(&self, bootstrap: &str, expected: &mut Expected, cut: Instant, totals: &mut Totals) -> Result<()> {
        let there = existing_topics(bootstrap)?;
        for name in expected.topics.iter().filter(|name| !there.contains_key(*name)) {
            self.findings.add(format!("topic {name}, whose creation was answered, is gone"));
        }
        let topics: Vec<Topic> = topics().into_iter().filter(|topic| there.contains_key(&topic.name)).collect();
        let probe: BaseConsumer = ottla_compat_tests::consumer_config(bootstrap, "probe").create()?;
        let mut read = reread(bootstrap, &topics)?;
        let mut survivors = BTreeMap::new();
        for topic in &topics {
            for number in 0..topic.partitions {
                let place = (topic.id, number);
                let records = read.remove(&place).unwrap_or_default();
                let (low, high) = watermarks(&probe, &topic.name, number)?;
                if (low, high) != (0, records.len() as i64) {
                    self.findings.add(format!("{place:?} is {low} to {high}, {} were read", records.len()));
                }
                let tags = self.check_order(place, &records);
                let before = expected.survivors.get(&place).map(Vec::as_slice).unwrap_or_default();
                if !tags.starts_with(before) {
                    self.findings.add(format!("{place:?} lost records that were recovered before"));
                }
                self.check_acks(topic, place, &tags, expected, cut, totals);
                survivors.insert(place, tags);
            }
        }
        expected.survivors = survivors;
        Ok(())
    }

    fn check_order(&self, place: Place, records: &[(i64, Tag)]) -> Vec<Tag> {
        let mut next: BTreeMap<u32, u64> = BTreeMap::new();
        for (index, (offset, tag)) in records.iter().enumerate() {
            if *offset != index as i64 {
                self.findings.add(format!("{place:?}: offset {offset} is number {index}"));
            }
            if tag.writer % WRITERS < IDEMPOTENT_WRITERS {
                let next = next.entry(tag.writer).or_default();
                if tag.sequence != *next {
                    self.findings.add(format!("{place:?} at {offset}: {tag:?}, expected {next}"));
                }
                *next = tag.sequence + 1;
            }
        }
        records.iter().map(|(_, tag)| *tag).collect()
    }

    fn check_acks(
        &self,
        topic: &Topic,
        place: Place,
        tags: &[Tag],
        expected: &Expected,
        cut: Instant,
        totals: &mut Totals,
    ) {
        let mut lost_bytes = 0;
        for ack in expected.acks.iter().filter(|ack| (ack.tag.topic, ack.tag.partition) == place) {
            match tags.get(ack.offset as usize) {
                Some(tag) if *tag == ack.tag => {}
                Some(tag) => {
                    self.findings.add(format!("{:?} was acknowledged at {}, where {tag:?} is", ack.tag, ack.offset));
                }
                // A disk without power answers nothing. This one does: the kernel's fdatasync has been seen to return 0 after the
                // ioctl for what is gone, when it had begun before.
                None if ack.at > cut => totals.lost_after += u64::from(is_flushed(topic)),
                None if is_flushed(topic) => {
                    self.findings.add(format!(
                        "{:?}, acknowledged at {} of the flushed {}, is lost: the log ends at {} (cut {:?} after the answer)",
                        ack.tag, ack.offset, topic.name, tags.len(), cut.saturating_duration_since(ack.at)
                    ));
                }
                None => {
                    let age = cut.saturating_duration_since(ack.at);
                    lost_bytes += ack.bytes as u64;
                    totals.lost += 1;
                    totals.lost_age = totals.lost_age.max(age);
                    if self.bound.millis.is_some_and(|millis| age > Duration::from_millis(millis) + LATE) {
                        self.findings.add(format!("{:?}, acknowledged {age:?} before the cut, is lost", ack.tag));
                    }
                }
            }
        }
        totals.lost_bytes = totals.lost_bytes.max(lost_bytes);
        if lost_bytes > self.bound.bytes {
            self.findings.add(format!("{place:?} lost {lost_bytes} bytes, {} may be", self.bound.bytes));
        }
    }

    fn check_commits(
        &self,
        bootstrap: &str,
        committed: &[(String, i64, i64)],
        expected: &mut Expected,
        totals: &mut Totals,
    ) -> Result<()> {
        for (group, safe, attempted) in committed {
            let found = committed_offset(bootstrap, group, "default")?.unwrap_or(0);
            let survived = expected.commits.insert(group.clone(), found).unwrap_or(0);
            if found < (*safe).max(survived) || found > *attempted {
                self.findings.add(format!(
                    "{group}: {found} was found; {safe} was out of reach of the cut, {survived} had survived one before, \
                     {attempted} was attempted"
                ));
            }
            totals.lost_commits += u64::from(found < *attempted);
        }
        Ok(())
    }
}

impl Totals {
    fn text(&self) -> String {
        format!(
            "{} cuts {:?}, {} acknowledged records; of unflushed topics {} lost, the oldest {} ms before the cut, at most {} \
             bytes of a partition; {} commits behind the last attempt; {} lost of what was \
             acknowledged in flushed topics after the file system had stopped; {} topics created; slowest start {} ms",
            self.cuts.values().sum::<u64>(),
            self.cuts,
            self.acked,
            self.lost,
            self.lost_age.as_millis(),
            self.lost_bytes,
            self.lost_commits,
            self.lost_after,
            self.topics,
            self.slowest_start.as_millis()
        )
    }
}
