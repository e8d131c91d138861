//! The gate: what was acknowledged is there, at its offset, once, in order and intact.

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};
use crc32c::crc32c;

use super::batch::{Seen, Template};
use super::connection::Connection;
use super::fetch::{Fetcher, Limits};
use super::report::Report;
use super::topics::Topic;

const LIMITS: Limits =
    Limits { max_wait_ms: 500, min_bytes: 1, max_bytes: 16 * 1024 * 1024, partition_max_bytes: 4 * 1024 * 1024 };
/// Fetches in a row without a byte after which the rest is lost.
const EMPTY_FETCHES_MAX: u32 = 20;

/// What the broker acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    batches: u64,
    records: u64,
    /// A sum of what identifies each batch, whatever the order of the acknowledgements.
    sum: u64,
    ends: Vec<i64>,
    bodies: HashSet<u32>,
}

impl Ledger {
    /// Nothing yet.
    pub fn new(partitions: i32) -> Self {
        Self { batches: 0, records: 0, sum: 0, ends: vec![0; partitions as usize], bodies: HashSet::new() }
    }

    /// These are the batches that may be written.
    pub fn expect(&mut self, template: &Template) {
        self.bodies.insert(crc32c(&template.bytes()[super::batch::HEADER..]));
    }

    /// A batch was acknowledged.
    pub fn acknowledged(&mut self, partition: i32, base_offset: i64, timestamp: i64, records: i32) {
        self.add(partition, base_offset, timestamp, records);
        if let Some(end) = self.ends.get_mut(partition as usize) {
            *end = (*end).max(base_offset + i64::from(records));
        }
    }

    /// Records acknowledged.
    pub fn records(&self) -> u64 {
        self.records
    }

    fn add(&mut self, partition: i32, base_offset: i64, timestamp: i64, records: i32) {
        self.batches += 1;
        self.records += records as u64;
        let mut mixed = (partition as u64) << 48 ^ base_offset as u64;
        for word in [timestamp as u64, records as u64] {
            mixed = (mixed ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
        self.sum = self.sum.wrapping_add(mixed);
    }

    /// Reads everything and compares. `in_order`: each partition had one producer, so that its timestamps rise.
    ///
    /// # Errors
    /// Something is missing, twice, somewhere else, in another order or damaged.
    pub fn verify(
        &self,
        connection: &mut Connection,
        topic: &Topic,
        in_order: bool,
        report: &mut Report,
    ) -> Result<()> {
        let mut found = Self::new(topic.partitions);
        let mut last_stamps = vec![i64::MIN; topic.partitions as usize];
        let mut fetcher = Fetcher::new(topic.id, 0..topic.partitions, LIMITS, false);
        let mut empty = 0;
        while found.ends != self.ends {
            let id = connection.correlate();
            connection.send(fetcher.request(id))?;
            let before = found.batches;
            fetcher.answer(connection.receive()?, |fetcher, fetched| {
                let partition = fetched.partition;
                for batch in Seen::all(fetched.records) {
                    let place = format_args!("partition {partition} offset {}", batch.base_offset());
                    let end = found.ends.get_mut(partition as usize).context("a partition that was not asked for")?;
                    ensure!(batch.base_offset() == *end, "{place}: expected offset {end}");
                    *end = batch.next_offset();
                    ensure!(batch.intact(), "{place}: the checksum does not fit");
                    ensure!(self.bodies.contains(&crc32c(batch.body())), "{place}: nobody wrote these bytes");
                    let last = &mut last_stamps[partition as usize];
                    ensure!(!in_order || batch.base_timestamp() > *last, "{place}: out of order");
                    *last = batch.base_timestamp();
                    fetcher.advance(partition, batch.next_offset());
                    found.add(partition, batch.base_offset(), batch.base_timestamp(), batch.records());
                }
                Ok(())
            })?;
            empty = if found.batches == before { empty + 1 } else { 0 };
            if empty > EMPTY_FETCHES_MAX {
                let missing = self.ends.iter().zip(&found.ends).position(|(wanted, found)| wanted != found);
                bail!("{} of {} records read, then nothing; partition {missing:?}", found.records, self.records);
            }
        }
        found.bodies.clone_from(&self.bodies);
        ensure!(found == *self, "{} batches are not those of {}", found.batches, self.batches);
        report.check("acknowledged_records", self.records);
        report.check("read_back_records", found.records);
        report.check("batches_at_their_acknowledged_offsets", found.batches);
        report.check("checksums", "intact");
        report.check("order", if in_order { "as sent" } else { "several producers a partition: each batch once" });
        Ok(())
    }
}
