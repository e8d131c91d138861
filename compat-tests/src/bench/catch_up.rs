//! W5: a consumer reads a topic from its beginning to its end.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::batch::Seen;
use super::bulk::{RECORD_BYTES, fill};
use super::connection::Connection;
use super::fetch::{Fetcher, Limits};
use super::histogram::Histogram;
use super::meter::Meter;
use super::options::Options;
use super::poll::Poll;
use super::report::Report;
use super::topics::{self, Topic};

/// Answers in a row without a record after which the rest will not come.
const EMPTY_ANSWERS_MAX: u32 = 20;

/// One consumer.
struct Reader {
    connection: Connection,
    fetcher: Fetcher,
    asked: Instant,
    /// Records that it has not read.
    left: i64,
    empty: u32,
}

/// W5.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let topic = match &options.topic {
        Some(name) => {
            report.parameter("record_bytes", options.record_bytes.unwrap_or(RECORD_BYTES));
            topics::find(&mut Connection::open(&options.bootstrap)?, name)?
        }
        None => {
            let records = options.records.unwrap_or(1_000_000);
            fill(options, &mut report, records, options.partitions.unwrap_or(6))?
        }
    };
    report.parameter("topic", topic.name.clone());
    report.parameter("partitions", topic.partitions);
    let record_bytes = options.record_bytes.unwrap_or(RECORD_BYTES) as u64;
    let connections = report.parameter("connections", options.connections.unwrap_or(1));
    let rounds = report.parameter("rounds", options.rounds);
    let session = report.parameter("session", options.session);
    let check_crcs = report.parameter("check_crcs", options.check_crcs);
    let limits = Limits {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: report.parameter("max_bytes", options.max_bytes.unwrap_or(50 * 1024 * 1024)),
        partition_max_bytes: report.parameter("partition_max_bytes", options.partition_max_bytes.unwrap_or(1 << 20)),
    };
    let ends = topics::ends(&mut Connection::open(&options.bootstrap)?, &topic)?;
    if report.parameter("cold", options.cold) {
        drop_page_cache()?;
    }
    let mut histogram = Histogram::default();
    let meter = Meter::start(options.broker_pid)?;
    for _ in 0..rounds {
        let mut readers = Vec::new();
        for number in 0..connections {
            let mine = || (0..topic.partitions).filter(|partition| *partition as usize % connections == number);
            let fetcher = Fetcher::new(topic.id, mine(), limits, session);
            let left = mine().map(|partition| ends[partition as usize]).sum();
            let connection = Connection::open(&options.bootstrap)?;
            readers.push(Reader { connection, fetcher, asked: Instant::now(), left, empty: 0 });
        }
        report.records += readers.iter().map(|reader| reader.left as u64).sum::<u64>();
        report.requests += read_all(&mut readers, check_crcs, &mut histogram)?;
    }
    report.usage(&meter.read()?);
    report.bytes = report.records * record_bytes;
    report.latency(&histogram);
    report.check("records_read_in_order", report.records);
    report.check("checksums", if check_crcs { "intact" } else { "not looked at" });
    Ok(report)
}

/// Reads until nobody has anything left; how many answers that took.
fn read_all(readers: &mut [Reader], check_crcs: bool, histogram: &mut Histogram) -> Result<u64> {
    let mut poll = Poll::new()?;
    for (number, reader) in readers.iter_mut().enumerate() {
        poll.add(number, &reader.connection)?;
        reader.ask()?;
    }
    let (mut answers, mut ready) = (0, Vec::new());
    while readers.iter().any(|reader| reader.left > 0) {
        if readers.len() == 1 {
            ready.push(0);
        } else {
            ready.extend(poll.wait(None)?);
        }
        for number in ready.drain(..) {
            let reader = &mut readers[number];
            reader.connection.fill()?;
            if let Some(frame) = reader.connection.buffered()? {
                histogram.record(reader.asked.elapsed());
                answers += 1;
                reader.take(frame, check_crcs)?;
                if reader.left > 0 {
                    reader.ask()?;
                }
            }
        }
    }
    Ok(answers)
}

impl Reader {
    fn ask(&mut self) -> Result<()> {
        let id = self.connection.correlate();
        self.asked = Instant::now();
        self.connection.send(self.fetcher.request(id))
    }

    fn take(&mut self, frame: std::ops::Range<usize>, check_crcs: bool) -> Result<()> {
        let before = self.left;
        let left = &mut self.left;
        self.fetcher.answer(self.connection.bytes(frame), |fetcher, fetched| {
            let mut next = fetcher.position(fetched.partition).context("a partition that was not asked for")?;
            let started_at = next;
            for batch in Seen::all(fetched.records) {
                ensure!(
                    batch.base_offset() == next,
                    "partition {}: {} is not {next}",
                    fetched.partition,
                    batch.base_offset()
                );
                ensure!(!check_crcs || batch.intact(), "partition {} offset {next} is damaged", fetched.partition);
                next = batch.next_offset();
                *left -= i64::from(batch.records());
            }
            if next > started_at {
                fetcher.advance(fetched.partition, next);
            }
            Ok(())
        })?;
        self.empty = if self.left == before { self.empty + 1 } else { 0 };
        ensure!(self.empty < EMPTY_ANSWERS_MAX, "{} records do not come", self.left);
        Ok(())
    }
}

/// Reads a topic from its beginning until its end or until told to stop; bytes of the answers.
pub fn read_until(address: &str, topic: &Topic, stop: impl Fn() -> bool) -> Result<u64> {
    let limits = Limits { max_wait_ms: 500, min_bytes: 1, max_bytes: 50 * 1024 * 1024, partition_max_bytes: 1 << 20 };
    let mut connection = Connection::open(address)?;
    let left = topics::ends(&mut connection, topic)?.iter().sum();
    let fetcher = Fetcher::new(topic.id, 0..topic.partitions, limits, false);
    let mut reader = Reader { connection, fetcher, asked: Instant::now(), left, empty: 0 };
    let mut bytes = 0;
    while reader.left > 0 && !stop() {
        reader.ask()?;
        let frame = loop {
            reader.connection.fill()?;
            if let Some(frame) = reader.connection.buffered()? {
                break frame;
            }
        };
        bytes += frame.len() as u64;
        reader.take(frame, false)?;
    }
    Ok(bytes)
}

/// Writes everything back and forgets it.
pub fn drop_page_cache() -> Result<()> {
    rustix::fs::sync();
    drop_clean_pages()
}

/// Forgets what is written back already.
pub fn drop_clean_pages() -> Result<()> {
    std::fs::write("/proc/sys/vm/drop_caches", "1").context("only root can drop the page cache")
}
