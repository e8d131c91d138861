//! What a fetch brought of one partition, opened batch by batch (`CompletedFetch`).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::error::ClientError;
use super::offsets::IsolationLevel;
use crate::record::{
    BatchHeader, BatchIterator, ControlRecordType, RecordError, TimestampType, check_crc, control_record_type, records,
};
use crate::types::TopicPartition;

/// Most bytes that the records of one compressed batch may have.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// Where it stands in the partition.
    pub offset: i64,
    /// The epoch of the leader that appended it, or -1.
    pub leader_epoch: i32,
    /// Milliseconds since 1970, or -1.
    pub timestamp: i64,
    /// What the timestamp means.
    pub timestamp_type: TimestampType,
    /// The key, or null.
    pub key: Option<Bytes>,
    /// The value, or null.
    pub value: Option<Bytes>,
    /// Names and values, in the order in which they were written.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// The records of one batch that are to be read, and where the next batch begins.
#[derive(Debug, Default)]
pub(super) struct ReadBatch {
    pub(super) records: Vec<ConsumerRecord>,
    pub(super) next_offset: i64,
}

/// The bytes of a fetch for one partition.
#[derive(Debug)]
pub(super) struct FetchedPartition {
    pub(super) partition: TopicPartition,
    bytes: Bytes,
    /// Aborted transactions that begin later, by first offset: offset and producer.
    aborted: VecDeque<(i64, i64)>,
    /// Producers whose transaction is open here and was aborted.
    aborting: BTreeSet<i64>,
    isolation_level: IsolationLevel,
    check_crcs: bool,
}

impl FetchedPartition {
    pub(super) fn new(
        partition: TopicPartition,
        bytes: Bytes,
        mut aborted: Vec<(i64, i64)>,
        isolation_level: IsolationLevel,
        check_crcs: bool,
    ) -> Self {
        aborted.sort_unstable();
        Self { partition, bytes, aborted: aborted.into(), aborting: BTreeSet::new(), isolation_level, check_crcs }
    }

    /// The records of the next batch from an offset on: none of a control batch or of an aborted transaction. `None` at the
    /// end, where a cut batch may stand.
    ///
    /// # Errors
    /// Bytes that are no batch, wrong checksums.
    pub(super) fn next_batch(&mut self, from: i64) -> Result<Option<ReadBatch>, ClientError> {
        let bytes = std::mem::take(&mut self.bytes);
        let mut batches = BatchIterator::new(&bytes);
        let Some(next) = batches.next() else { return Ok(None) };
        let (header, batch) = next.map_err(|error| self.failed(from, &error))?;
        self.bytes = bytes.slice(batch.len()..);
        if self.check_crcs {
            check_crc(batch).map_err(|error| self.failed(header.base_offset, &error))?;
        }
        let mut read = ReadBatch { records: Vec::new(), next_offset: header.next_offset() };
        if self.is_to_be_read(&header, batch)? {
            let batch = bytes.slice_ref(batch);
            self.read_records(&batch, from, &mut read.records)
                .map_err(|error| self.failed(header.base_offset, &error))?;
        }
        Ok(Some(read))
    }

    fn failed(&self, offset: i64, error: &RecordError) -> ClientError {
        ClientError::Codec(format!(
            "Received exception when fetching the next record from {} at offset {offset}: {error}",
            self.partition
        ))
    }

    /// Follows transactions; whether the batch's records are for the reader.
    fn is_to_be_read(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<bool, ClientError> {
        if self.isolation_level == IsolationLevel::ReadCommitted && header.has_producer_id() {
            while self.aborted.front().is_some_and(|(first, _)| *first <= header.last_offset()) {
                self.aborting.extend(self.aborted.pop_front().map(|(_, producer)| producer));
            }
            if header.is_control() {
                let control = records(batch, DECOMPRESSED_BYTES_MAX);
                let control = control.map_err(|error| self.failed(header.base_offset, &error))?;
                let first = control.iter().next().and_then(Result::ok);
                let kind = first.and_then(|record| record.key).and_then(control_record_type);
                if kind == Some(ControlRecordType::Abort) {
                    self.aborting.remove(&header.producer_id);
                }
            } else if header.is_transactional() && self.aborting.contains(&header.producer_id) {
                return Ok(false);
            }
        }
        Ok(!header.is_control())
    }

    fn read_records(&self, batch: &Bytes, from: i64, out: &mut Vec<ConsumerRecord>) -> Result<(), RecordError> {
        let opened = records(batch, DECOMPRESSED_BYTES_MAX)?;
        let timestamp_type = opened.header().timestamp_type();
        for record in &opened {
            let record = record?;
            if record.offset < from {
                continue;
            }
            let owned = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
            let header = |header: &crate::record::Header<'_>| (owned(header.key), header.value.map(owned));
            out.push(ConsumerRecord {
                topic: self.partition.topic.clone(),
                partition: self.partition.partition,
                offset: record.offset,
                leader_epoch: opened.header().partition_leader_epoch,
                timestamp: record.timestamp,
                timestamp_type,
                key: record.key.map(owned),
                value: record.value.map(owned),
                headers: record.headers.iter().map(header).collect(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BatchProperties, end_transaction_marker, patch_offset_and_epoch};

    fn batch(base_offset: i64, producer_id: i64, values: &[&str]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchProperties {
            base_offset,
            producer_id,
            producer_epoch: 0,
            base_sequence: 0,
            is_transactional: producer_id >= 0,
            ..BatchProperties::default()
        });
        for value in values {
            builder.append(5, None, Some(value.as_bytes()), &[]).expect("a record");
        }
        builder.build().to_vec()
    }

    fn marker(offset: i64, producer_id: i64, commit: bool) -> Vec<u8> {
        let mut bytes = end_transaction_marker(commit, 5, producer_id, 0, 0).to_vec();
        patch_offset_and_epoch(&mut bytes, offset, 0);
        bytes
    }

    fn read(bytes: Vec<u8>, aborted: &[(i64, i64)], isolation_level: IsolationLevel, from: i64) -> String {
        let partition = TopicPartition::new("t", 0);
        let mut fetched = FetchedPartition::new(partition, bytes.into(), aborted.to_vec(), isolation_level, true);
        let mut out = Vec::new();
        while let Some(batch) = fetched.next_batch(from).expect("a batch") {
            let value = |record: &ConsumerRecord| {
                let value = record.value.as_ref().expect("a value");
                format!("{}={}", record.offset, String::from_utf8_lossy(value))
            };
            out.extend(batch.records.iter().map(value));
            out.push(format!("({})", batch.next_offset));
        }
        out.join(" ")
    }

    #[test]
    fn aborted_transactions_are_left_out() {
        // Producer 1 aborts what it wrote at 0, commits what it writes at 5; producer 2 is committed.
        let bytes = [
            batch(0, 1, &["a", "b"]),
            batch(2, 2, &["c"]),
            marker(3, 1, false),
            marker(4, 2, true),
            batch(5, 1, &["d"]),
            marker(6, 1, true),
            batch(7, -1, &["e"]),
        ]
        .concat();
        let committed = read(bytes.clone(), &[(0, 1)], IsolationLevel::ReadCommitted, 0);
        assert_eq!(committed, "(2) 2=c (3) (4) (5) 5=d (6) (7) 7=e (8)");
        let everything = read(bytes, &[(0, 1)], IsolationLevel::ReadUncommitted, 0);
        assert_eq!(everything, "0=a 1=b (2) 2=c (3) (4) (5) 5=d (6) (7) 7=e (8)");
    }

    #[test]
    fn reading_begins_within_a_batch_and_ends_before_a_cut_one() {
        let mut bytes = batch(0, -1, &["a", "b", "c"]);
        let next = batch(3, -1, &["d"]);
        bytes.extend_from_slice(&next[..next.len() - 1]);
        assert_eq!(read(bytes, &[], IsolationLevel::ReadUncommitted, 2), "2=c (3)");
    }

    #[test]
    fn a_flipped_bit_is_an_error() {
        let mut bytes = batch(0, -1, &["a"]);
        // The value; behind it stands the number of headers.
        let value = bytes.len() - 2;
        bytes[value] ^= 1;
        let partition = TopicPartition::new("t", 0);
        let fetched = |check| {
            let isolation = IsolationLevel::ReadUncommitted;
            FetchedPartition::new(partition.clone(), bytes.clone().into(), Vec::new(), isolation, check)
        };
        let error = fetched(true).next_batch(0).expect_err("corrupt").to_string();
        assert!(error.contains("from t-0 at offset 0: Record is corrupt"), "{error}");
        assert!(fetched(false).next_batch(0).is_ok(), "unless nobody looks");
    }
}
