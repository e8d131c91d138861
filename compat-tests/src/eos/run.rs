//! One run: a broker, its proxy, clients, harm; then everything heals, fresh clients read all there is, and the checker speaks.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::batches::committed_by_markers;
use super::checker::{self, Anomaly, Counts};
use super::history::{self, Function, Mop, Outcome, Recorder};
use super::lies::Lie;
use super::nemesis::{self, Harm, Strength};
use super::proxy::Proxy;
use super::raw::Raw;
use super::raw_clients;
use super::raw_reader::{Mark, fetch, list_offset};
use super::rdkafka_clients;
use super::target::Target;
use super::workload::{Place, Setting, TOPICS};
use crate::campaign::Random;

/// After the healing everything comes to rest within this time.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
const GROUPS: [&str; 2] = ["raw", "rdkafka"];

/// What a run is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything but the times.
    pub seed: u64,
    /// How long clients and nemesis work.
    pub time: Duration,
    /// Apache Kafka instead of Ottla.
    pub apache: bool,
    /// Of the broker; the next three are Apache Kafka's controller, the proxy, and Apache Kafka's own.
    pub port: u16,
    /// The proxy lies: the checker must find something.
    pub lie: Option<Lie>,
    /// Of 100 rounds of the nemesis so many have a kill.
    pub kill_percent: u64,
    /// No faults of the proxy, no pauses, no kills.
    pub calm: bool,
}

/// What came of it.
pub struct Report {
    /// Which run.
    pub seed: u64,
    /// Broken promises.
    pub anomalies: Vec<Anomaly>,
    /// From the history.
    pub counts: Counts,
    /// What the nemesis did.
    pub harm: Harm,
    /// Answers dropped, requests delayed, sent twice, connections cut by single faults, lies.
    pub faults: [u64; 5],
    /// Excerpts, one for each anomaly.
    pub excerpts: Vec<Vec<String>>,
    /// The directory, if it was kept.
    pub kept: Option<PathBuf>,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { committed, aborted, indeterminate, sent, read, consumed } = self.counts;
        let Harm { kills, restarts, pauses, cuts } = self.harm;
        let [dropped, delayed, repeated, single, _] = self.faults;
        write!(
            out,
            "seed {}: {} anomalies; transactions {committed} committed, {aborted} aborted, {indeterminate} indeterminate; \
             {sent} plain records, {read} read, {consumed} consumed; {kills} kills, {restarts} restarts, {pauses} pauses, \
             {cuts} cuts of all, {single} of one; {dropped} answers dropped, {delayed} delayed, {repeated} requests repeated",
            self.seed,
            self.anomalies.len(),
        )
    }
}

/// Does a run.
pub fn run(plan: &Plan) -> Result<Report> {
    let directory = tempfile::Builder::new().prefix("ottla-eos-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let advertised = plan.port + 2;
    let broker: SocketAddr = format!("127.0.0.1:{}", plan.port).parse()?;
    let proxy = runtime.block_on(Proxy::start(advertised, broker))?;
    let mut target = Target::start(plan.apache, directory.path(), plan.port, advertised)?;
    let address = format!("127.0.0.1:{advertised}");
    for (name, partitions) in TOPICS {
        // A slow broker is asked twice, by librdkafka.
        if let Err(error) = crate::clients::create_topic(&address, name, partitions, &[])
            && !error.to_string().contains("AlreadyExists")
        {
            return Err(error);
        }
    }
    let setting = Arc::new(Setting::new(&address, Recorder::default())?);
    let mut random = Random::new(plan.seed);
    let clients = clients(&setting, &mut random);
    let every = if plan.lie.is_some() { (50, 250) } else { (300, 2500) };
    let strength = Strength { every, kill_percent: plan.kill_percent, lie: plan.lie, calm: plan.calm };
    let harm = nemesis::harm(&setting, &mut target, &proxy, strength, random.fork(), plan.time);
    proxy.heal();
    let harm = harm?;
    setting.stop.store(true, Ordering::SeqCst);
    let mut panicked = 0;
    for client in clients {
        panicked += u64::from(client.join().is_err());
    }
    settle(&setting, &mut random);
    if panicked > 0 {
        fail(&setting, format!("{panicked} clients panicked"));
    }
    if let Some(complaint) = target.complaint()? {
        fail(&setting, format!("the broker complains: {complaint}"));
    }
    finish(plan, &setting, &proxy, harm, directory)
}

fn finish(plan: &Plan, setting: &Setting, proxy: &Proxy, harm: Harm, directory: tempfile::TempDir) -> Result<Report> {
    let events = setting.recorder.events();
    let (anomalies, counts) = checker::check(&events);
    let excerpts = anomalies.iter().map(|anomaly| checker::excerpt(&events, anomaly)).collect();
    let tally = proxy.tally();
    let faults = [&tally.dropped, &tally.delayed, &tally.repeated, &tally.cuts, &tally.lies]
        .map(|counter| counter.load(Ordering::Relaxed));
    let mut kept = None;
    if !anomalies.is_empty() && plan.lie.is_none() {
        history::write(&directory.path().join("history.jsonl"), &events)?;
        kept = Some(directory.keep());
    }
    Ok(Report { seed: plan.seed, anomalies, counts, harm, faults, excerpts, kept })
}

fn fail(setting: &Setting, text: String) {
    setting.recorder.note("run", Function::Settle, Outcome::Fail, Vec::new(), text);
}

/// What a client does until the end: with the setting, its name and its random numbers.
type Work = Box<dyn FnOnce(&Arc<Setting>, &str, Random) + Send>;

/// Starts the clients of this seed: always some of each sort, never all.
fn clients(setting: &Arc<Setting>, random: &mut Random) -> Vec<std::thread::JoinHandle<()>> {
    let mut clients = Vec::new();
    let mut start = |name: String, random: &mut Random, work: Work| {
        let (setting, random) = (Arc::clone(setting), random.fork());
        clients.push(std::thread::spawn(move || work(&setting, &name, random)));
    };
    for n in 0..1 + random.below(2) {
        start(format!("sender-{n}"), random, Box::new(rdkafka_clients::sender));
    }
    for n in 0..random.below(3) {
        let work = |setting: &Arc<Setting>, name: &str, random| rdkafka_clients::mixer(setting, name, name, random);
        start(format!("mixer-{n}"), random, Box::new(work));
    }
    if random.percent(30) {
        for n in 0..2 {
            let work = |setting: &Arc<Setting>, name: &str, random| {
                rdkafka_clients::mixer(setting, name, "twins", random);
            };
            start(format!("twin-{n}"), random, Box::new(work));
        }
    }
    for n in 0..2 + random.below(3) {
        start(format!("raw-{n}"), random, Box::new(raw_clients::mixer));
    }
    for n in 0..random.below(3) {
        start(format!("pipe-{n}"), random, Box::new(rdkafka_clients::pipeline));
    }
    for place in Place::all_of("in") {
        let work = move |setting: &Arc<Setting>, name: &str, random| {
            raw_clients::pipeline(setting, name, place, random);
        };
        start(format!("raw-pipe-{}", place.partition), random, Box::new(work));
    }
    for n in 0..random.below(2) {
        let work = |setting: &Arc<Setting>, name: &str, random| rdkafka_clients::reader(setting, name, true, random);
        start(format!("reader-{n}"), random, Box::new(work));
    }
    for n in 0..random.below(2) {
        let work = |setting: &Arc<Setting>, name: &str, random| rdkafka_clients::reader(setting, name, false, random);
        start(format!("dirty-{n}"), random, Box::new(work));
    }
    for n in 0..random.below(3) {
        start(format!("member-{n}"), random, Box::new(rdkafka_clients::member));
    }
    let watch = |setting: &Arc<Setting>, name: &str, random| raw_clients::watcher(setting, name, &GROUPS, random);
    start("watcher".into(), random, Box::new(watch));
    clients
}

/// Waits until no transaction is open, then reads everything with fresh clients.
fn settle(setting: &Setting, random: &mut Random) {
    for place in Place::all() {
        if let Err(error) = at_rest(setting, place) {
            fail(setting, format!("{}: {error:#}", place.key()));
        }
    }
    let events = [("by librdkafka", read_with_librdkafka(setting)), ("raw", read_raw(setting, random))];
    for (how, result) in events {
        if let Err(error) = result {
            fail(setting, format!("the final read {how}: {error:#}"));
        }
    }
    for group in GROUPS {
        for place in Place::all_of("in") {
            if !raw_clients::final_offset(setting, group, place, random) {
                fail(setting, format!("{group} has no stable offset for {}", place.key()));
            }
        }
    }
}

/// Last stable offset = high watermark: a transaction that hangs is a finding.
fn at_rest(setting: &Setting, place: Place) -> Result<()> {
    let mut raw = Raw::new(&setting.address, "settle");
    let began = Instant::now();
    loop {
        let marks = list_offset(&mut raw, place, Mark::Stable)
            .and_then(|stable| Ok((stable, list_offset(&mut raw, place, Mark::High)?)));
        match marks {
            Ok((stable, high)) if stable == high => return Ok(()),
            Ok((stable, high)) if began.elapsed() > SETTLED_WITHIN => {
                anyhow::bail!("a transaction hangs: last stable offset {stable}, high watermark {high}");
            }
            Err(error) if began.elapsed() > SETTLED_WITHIN => return Err(error),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn read_with_librdkafka(setting: &Setting) -> Result<()> {
    let mut config = crate::clients::consumer_config(&setting.address, "final");
    config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
    config.set_log_level(RDKafkaLogLevel::Emerg);
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for place in Place::all() {
        list.add_partition_offset(place.topic, place.partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let (began, mut ended) = (Instant::now(), 0);
    let mut records = Vec::new();
    while ended < Place::all().len() {
        anyhow::ensure!(began.elapsed() < SETTLED_WITHIN, "only {ended} partitions come to their end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let payload = message.payload().context("no value")?;
                let value = std::str::from_utf8(payload)?.parse()?;
                records.push((format!("{}-{}", message.topic(), message.partition()), message.offset(), value));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            _ => {}
        }
    }
    let mop = Mop::Poll { committed: true, records };
    setting.recorder.note("final", Function::FinalPoll, Outcome::Ok, vec![mop], "");
    Ok(())
}

/// Reads all batches, and compares what the lists of aborted transactions leave with what the markers say.
fn read_raw(setting: &Setting, random: &mut Random) -> Result<()> {
    let mut raw = Raw::new(&setting.address, "final-raw");
    for place in Place::all() {
        let high = list_offset(&mut raw, place, Mark::High)?;
        let mut all = Vec::new();
        for committed in [false, true] {
            let (mut position, mut listed) = (0, Vec::new());
            let mut batches = Vec::new();
            let began = Instant::now();
            while position < high {
                anyhow::ensure!(began.elapsed() < SETTLED_WITHIN, "{}: stuck at {position}", place.key());
                let fetched = fetch(&mut raw, setting, place, position, committed, random)?;
                listed.extend(&fetched.committed);
                batches.extend(fetched.batches);
                position = fetched.next;
            }
            let marked = committed_by_markers(&batches);
            if committed && marked != listed {
                let different =
                    marked.iter().chain(&listed).find(|one| !(marked.contains(one) && listed.contains(one)));
                fail(setting, format!("{}: markers and aborted lists differ at {different:?}", place.key()));
            }
            if !committed {
                all = batches.iter().flat_map(|batch| &batch.records).copied().collect();
            }
        }
        let records = all.into_iter().map(|(offset, value)| (place.key(), offset, value)).collect();
        let mop = Mop::Poll { committed: false, records };
        setting.recorder.note("final-raw", Function::FinalPoll, Outcome::Ok, vec![mop], "");
    }
    Ok(())
}

/// Reads a history that was kept and checks it again.
pub fn recheck(path: &Path) -> Result<Vec<Anomaly>> {
    Ok(checker::check(&history::read(path)?).0)
}
