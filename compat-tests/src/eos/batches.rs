//! Record batches, written and read by the raw client.

use std::collections::HashSet;

use anyhow::{Context, Result};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::AbortedTransaction;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
};

/// Who writes a batch.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// -1: nobody.
    pub producer_id: i64,
    /// -1 without a producer id.
    pub producer_epoch: i16,
    /// Sequence of the first record.
    pub sequence: i32,
    /// Part of a transaction.
    pub transactional: bool,
}

/// A batch of records that hold these values, as decimal text.
pub fn batch(writer: Writer, values: &[u64], timestamp: i64) -> Result<Bytes> {
    let records: Vec<Record> = values
        .iter()
        .zip(0..)
        .map(|(value, number)| Record {
            transactional: writer.transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: writer.producer_id,
            producer_epoch: writer.producer_epoch,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(number),
            sequence: if writer.sequence < 0 { writer.sequence } else { writer.sequence + number },
            timestamp,
            key: None,
            value: Some(value.to_string().into()),
            headers: Default::default(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options)?;
    Ok(bytes.freeze())
}

/// A batch that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset behind its last one.
    pub next_offset: i64,
    /// Its producer, or -1.
    pub producer_id: i64,
    /// Part of a transaction.
    pub transactional: bool,
    /// The result, if it is a marker: whether committed.
    pub marker: Option<bool>,
    /// Offset and value of each record.
    pub records: Vec<(i64, u64)>,
}

/// Whole batches at the front of what a fetch returned; the last one may be cut off.
pub fn decode(mut bytes: Bytes) -> Result<Vec<Batch>> {
    const OVERHEAD: usize = 12;
    let mut batches = Vec::new();
    while bytes.len() >= 61 {
        let length = (&bytes[8..12]).get_i32() as usize + OVERHEAD;
        if bytes.len() < length {
            break;
        }
        let mut one = bytes.split_to(length);
        let base_offset = (&one[..8]).get_i64();
        let next_offset = base_offset + i64::from((&one[23..27]).get_i32()) + 1;
        let attributes = (&one[21..23]).get_i16();
        let producer_id = (&one[43..51]).get_i64();
        let (transactional, control) = (attributes & 16 != 0, attributes & 32 != 0);
        let decoded = RecordBatchDecoder::decode(&mut one)?.records;
        let mut batch =
            Batch { base_offset, next_offset, producer_id, transactional, marker: None, records: Vec::new() };
        for record in decoded {
            if control {
                let key = record.key.context("a marker without a key")?;
                batch.marker = Some(key.get(3) == Some(&1));
                continue;
            }
            let value = record.value.context("a record without a value")?;
            batch.records.push((record.offset, std::str::from_utf8(&value)?.parse()?));
        }
        batches.push(batch);
    }
    Ok(batches)
}

/// What a consumer at read_committed makes of batches and the list of aborted transactions that came with them.
pub fn committed(batches: &[Batch], aborted: &[AbortedTransaction]) -> Vec<(i64, u64)> {
    let mut aborted: Vec<(i64, i64)> =
        aborted.iter().map(|entry| (entry.first_offset, i64::from(entry.producer_id))).collect();
    aborted.sort_unstable_by(|left, right| right.cmp(left));
    let mut open = HashSet::new();
    let mut records = Vec::new();
    for batch in batches {
        while let Some((first, producer_id)) = aborted.last().copied().filter(|(first, _)| *first < batch.next_offset) {
            let _ = first;
            open.insert(producer_id);
            aborted.pop();
        }
        match batch.marker {
            Some(false) => drop(open.remove(&batch.producer_id)),
            Some(true) => {}
            None if batch.transactional && open.contains(&batch.producer_id) => {}
            None => records.extend(&batch.records),
        }
    }
    records
}

/// The same by the markers alone, for a whole log without open transactions.
pub fn committed_by_markers(batches: &[Batch]) -> Vec<(i64, u64)> {
    let mut open: std::collections::HashMap<i64, Vec<(i64, u64)>> = Default::default();
    let mut records = Vec::new();
    for batch in batches {
        match batch.marker {
            Some(commit) => {
                let of_producer = open.remove(&batch.producer_id).unwrap_or_default();
                if commit {
                    records.extend(of_producer);
                }
            }
            None if batch.transactional => open.entry(batch.producer_id).or_default().extend(&batch.records),
            None => records.extend(&batch.records),
        }
    }
    records.sort_unstable();
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_read_as_they_were_written() {
        let writer = Writer { producer_id: 7, producer_epoch: 2, sequence: 5, transactional: true };
        let one = batch(writer, &[10, 11, 12], 1).expect("a batch");
        let two = batch(Writer { sequence: 8, ..writer }, &[13], 1).expect("a batch");
        let bytes = Bytes::from([&one[..], &two[..]].concat());
        let batches = decode(bytes.slice(..bytes.len() - 1)).expect("whole batches");
        assert_eq!(batches.len(), 1, "the second is cut off");
        assert_eq!(batches[0].records, [(0, 10), (1, 11), (2, 12)]);
        assert_eq!((batches[0].producer_id, batches[0].next_offset, batches[0].transactional), (7, 3, true));
        assert_eq!(decode(bytes).expect("both").len(), 2);
    }

    #[test]
    fn aborted_records_are_left_out_by_the_list_and_by_the_markers() {
        let batch = |base_offset, producer_id, marker, values: &[u64]| Batch {
            base_offset,
            next_offset: base_offset + values.len().max(1) as i64,
            producer_id,
            transactional: true,
            marker,
            records: values.iter().zip(base_offset..).map(|(value, offset)| (offset, *value)).collect(),
        };
        let log = [
            batch(0, 1, None, &[10, 11]),
            batch(2, 2, None, &[20]),
            batch(3, 1, Some(false), &[]),
            batch(4, 1, None, &[12]),
            batch(5, 2, Some(true), &[]),
            batch(6, 1, Some(true), &[]),
        ];
        let aborted = [AbortedTransaction::default().with_producer_id(1.into()).with_first_offset(0)];
        assert_eq!(committed(&log, &aborted), [(2, 20), (4, 12)]);
        assert_eq!(committed_by_markers(&log), [(2, 20), (4, 12)]);
    }
}
