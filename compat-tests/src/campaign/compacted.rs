//! Logs that lose records by design: the last value of a key is never lost, nothing that was removed comes back, the log start and the
//! high watermark only move forward, and what retention leaves has no gaps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::consumer::BaseConsumer;

use super::findings::Findings;
use super::follower::{reread, watermarks};
use super::ledger::{Ack, Ledger};
use super::load::{IDEMPOTENT_WRITERS, WRITERS};
use super::tag::Tag;
use super::topics::{Kind, Place, Topic};
use crate::clients::consumer_config;

#[derive(Default)]
struct Partition {
    /// What the last reading found, by offset.
    present: BTreeMap<i64, Tag>,
    /// Where the last reading ended.
    end: i64,
    log_start: i64,
    high_watermark: i64,
    acked: BTreeMap<i64, Ack>,
    /// The last acknowledged record of each key.
    last: BTreeMap<u32, Ack>,
    removed: u64,
}

/// Reads whole topics again and again and compares.
pub struct Checker {
    topics: Vec<Topic>,
    partitions: BTreeMap<Place, Partition>,
    findings: Findings,
    delete_retention: Duration,
}

impl Checker {
    /// Nothing is read yet. `delete_retention` is `delete.retention.ms` of the topics.
    pub fn new(topics: &[Topic], delete_retention: Duration, findings: &Findings) -> Self {
        let topics = topics.iter().filter(|topic| !topic.kind.keeps_all()).cloned().collect();
        Self { topics, partitions: BTreeMap::new(), findings: findings.clone(), delete_retention }
    }

    /// Reads everything and compares it with what was acknowledged and with what was read before.
    pub fn check(&mut self, bootstrap: &str, ledger: &Ledger) -> Result<()> {
        if self.topics.is_empty() {
            return Ok(());
        }
        self.take(ledger);
        let probe: BaseConsumer = consumer_config(bootstrap, "probe").create()?;
        self.check_watermarks(&probe)?;
        let asked = Instant::now();
        let read = reread(bootstrap, &self.topics)?;
        // Tombstones may vanish under a slow reader, as Kafka's documentation says.
        let fast_enough = asked.elapsed() < self.delete_retention;
        for topic in self.topics.clone() {
            for number in 0..topic.partitions {
                let place = (topic.id, number);
                let (log_start, _) = watermarks(&probe, &topic.name, number)?;
                let records = read.get(&place).map(Vec::as_slice).unwrap_or_default();
                self.compare(&topic, place, log_start, records);
                if topic.kind.has_keys() && fast_enough {
                    self.compare_keys(place, log_start, records);
                }
            }
        }
        Ok(())
    }

    /// Records that were there at one reading and not at the next: zero means that nothing was cleaned.
    pub fn removed(&self, kind: Kind) -> u64 {
        let of_kind = |id: u32| self.topics.iter().any(|topic| topic.id == id && topic.kind == kind);
        self.partitions.iter().filter(|(place, _)| of_kind(place.0)).map(|(_, partition)| partition.removed).sum()
    }

    fn take(&mut self, ledger: &Ledger) {
        let known: BTreeSet<u32> = self.topics.iter().map(|topic| topic.id).collect();
        let (mine, others) = ledger.take().into_iter().partition(|ack| known.contains(&ack.tag.topic));
        ledger.put_back(others);
        let mine: Vec<Ack> = mine;
        for ack in mine {
            let partition = self.partitions.entry((ack.tag.topic, ack.tag.partition)).or_default();
            partition.acked.insert(ack.offset, ack);
            if let Some(key) = ack.tag.key {
                let last = partition.last.entry(key).or_insert(ack);
                if ack.tag.sequence > last.tag.sequence {
                    *last = ack;
                }
            }
        }
    }

    fn check_watermarks(&mut self, probe: &BaseConsumer) -> Result<()> {
        for topic in &self.topics {
            for number in 0..topic.partitions {
                let (low, high) = watermarks(probe, &topic.name, number)?;
                let name = format!("{}-{number}", topic.name);
                let partition = self.partitions.entry((topic.id, number)).or_default();
                if low < partition.log_start {
                    self.findings.add(format!("{name}: the log start went back from {} to {low}", partition.log_start));
                }
                if high < partition.high_watermark {
                    let before = partition.high_watermark;
                    self.findings.add(format!("{name}: the high watermark went back from {before} to {high}"));
                }
                if let Some((last, ack)) = partition.acked.last_key_value()
                    && *last >= high
                {
                    self.findings.add(format!("{name}: {:?} was acknowledged at {last}, the end is {high}", ack.tag));
                }
                if topic.kind == Kind::Compacted && low != 0 {
                    self.findings.add(format!("{name}: a compacted log starts at {low}"));
                }
                (partition.log_start, partition.high_watermark) = (low, high);
            }
        }
        Ok(())
    }

    fn compare(&mut self, topic: &Topic, place: Place, log_start: i64, records: &[(i64, Tag)]) {
        let name = format!("{}-{}", topic.name, place.1);
        let partition = self.partitions.entry(place).or_default();
        let mut once = BTreeSet::new();
        for window in records.windows(2) {
            let (before, after) = (window[0].0, window[1].0);
            if after <= before || (!topic.kind.has_keys() && after != before + 1 && after > log_start) {
                self.findings.add(format!("{name}: offset {after} follows {before}"));
            }
        }
        for (offset, tag) in records {
            if *offset < partition.end && partition.present.get(offset) != Some(tag) {
                let before = partition.present.get(offset);
                self.findings.add(format!("{name}: {tag:?} is at {offset}, where {before:?} was"));
            }
            if let Some(ack) = partition.acked.get(offset)
                && ack.tag != *tag
            {
                self.findings.add(format!("{name}: {tag:?} is at {offset}, {:?} was acknowledged", ack.tag));
            }
            if tag.writer % WRITERS < IDEMPOTENT_WRITERS && !once.insert((tag.writer, tag.sequence)) {
                self.findings.add(format!("{name}: {tag:?} of an idempotent writer is there twice"));
            }
        }
        let present: BTreeMap<i64, Tag> = records.iter().copied().collect();
        if !topic.kind.has_keys() {
            for (offset, ack) in partition.acked.range(log_start..partition.high_watermark) {
                if !present.contains_key(offset) {
                    self.findings.add(format!("{name}: {:?}, acknowledged at {offset}, is missing", ack.tag));
                }
            }
        }
        partition.removed += partition.present.keys().filter(|offset| !present.contains_key(offset)).count() as u64;
        partition.end = present.last_key_value().map_or(partition.end, |(last, _)| last + 1);
        partition.present = present;
        // What lies below the log start is judged no more.
        partition.acked = partition.acked.split_off(&log_start);
    }

    fn compare_keys(&mut self, place: Place, log_start: i64, records: &[(i64, Tag)]) {
        let partition = self.partitions.entry(place).or_default();
        let mut visible: BTreeMap<u32, (i64, Tag)> = BTreeMap::new();
        for (offset, tag) in records {
            if let Some(key) = tag.key {
                visible.insert(key, (*offset, *tag));
            }
        }
        for (key, last) in &partition.last {
            match visible.get(key) {
                Some((offset, tag)) if tag.sequence < last.tag.sequence => {
                    self.findings.add(format!(
                        "{place:?}: key {key} has {tag:?} at {offset}, after {:?} (null: {}) was acknowledged at {}",
                        last.tag, last.tombstone, last.offset
                    ));
                }
                None if last.offset >= log_start && !last.tombstone => {
                    self.findings.add(format!(
                        "{place:?}: key {key} is gone, {:?} was acknowledged at {}",
                        last.tag, last.offset
                    ));
                }
                None if last.offset >= log_start && last.at.elapsed() < self.delete_retention => {
                    self.findings.add(format!(
                        "{place:?}: the tombstone of key {key} at {} was removed {:?} after it was written",
                        last.offset,
                        last.at.elapsed()
                    ));
                }
                _ => {}
            }
        }
    }
}
