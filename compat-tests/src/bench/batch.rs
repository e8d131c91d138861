//! Record batches that are encoded once and then only stamped.
//!
//! The stamp is the batch's number in base and maximum timestamp (so that a reader can tell order, loss and repetition without looking
//! into records), and the base sequence. CRC-32C is linear: what a bit of the stamp adds to the checksum is worked out once, so a
//! stamp costs some sixty exclusive-ors, not a pass over the payload.

use anyhow::Result;
use crc32c::crc32c;

/// Bytes before the records.
pub const HEADER: usize = 61;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const BASE_SEQUENCE: usize = 53;

/// Who writes: -1 and -1 for nobody.
#[derive(Clone, Copy, Debug)]
pub struct Producer {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// No producer id.
pub const NOBODY: Producer = Producer { id: -1, epoch: -1 };

/// An encoded batch with zeros where the stamp goes.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    records: i32,
    value_bytes: u64,
    crc: u32,
    timestamp_bits: [u32; 64],
    sequence_bits: [u32; 32],
    idempotent: bool,
}

impl Template {
    /// A batch of these values, uncompressed.
    pub fn new(producer: Producer, values: &[&[u8]]) -> Result<Self> {
        let mut records = Vec::with_capacity(values.iter().map(|value| value.len() + 16).sum());
        for (number, value) in values.iter().enumerate() {
            record(&mut records, number as i64, value);
        }
        let value_bytes = values.iter().map(|value| value.len() as u64).sum();
        Ok(Self::of_records(producer, 0, values.len() as i32, value_bytes, &records))
    }

    /// A batch around the bytes of its records, compressed or not.
    pub fn of_records(producer: Producer, codec: i16, count: i32, value_bytes: u64, records: &[u8]) -> Self {
        let idempotent = producer.id >= 0;
        let mut bytes = Vec::with_capacity(HEADER + records.len());
        bytes.extend(0i64.to_be_bytes());
        bytes.extend(((HEADER - 12 + records.len()) as i32).to_be_bytes());
        bytes.extend((-1i32).to_be_bytes());
        bytes.push(2);
        bytes.extend([0; 4]);
        bytes.extend(codec.to_be_bytes());
        bytes.extend((count - 1).to_be_bytes());
        bytes.extend([0; 16]);
        bytes.extend(producer.id.to_be_bytes());
        bytes.extend(producer.epoch.to_be_bytes());
        bytes.extend(if idempotent { 0i32 } else { -1 }.to_be_bytes());
        bytes.extend(count.to_be_bytes());
        bytes.extend(records);
        let mut zeros = vec![0u8; bytes.len() - ATTRIBUTES];
        let nothing = crc32c(&zeros);
        let mut bit = |at: usize, width: usize, bit: usize| {
            let (byte, mask) = (at - ATTRIBUTES + (width - 1 - bit) / 8, 1 << (bit % 8));
            zeros[byte] = mask;
            let adds = crc32c(&zeros) ^ nothing;
            zeros[byte] = 0;
            adds
        };
        let timestamp_bits = std::array::from_fn(|at| bit(BASE_TIMESTAMP, 64, at) ^ bit(MAX_TIMESTAMP, 64, at));
        let sequence_bits = std::array::from_fn(|at| bit(BASE_SEQUENCE, 32, at));
        let crc = crc32c(&bytes[ATTRIBUTES..]);
        Self { bytes, records: count, value_bytes, crc, timestamp_bits, sequence_bits, idempotent }
    }

    /// The batch without a stamp.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Records in it.
    pub fn records(&self) -> i32 {
        self.records
    }

    /// Bytes of their values, before compression.
    pub fn value_bytes(&self) -> u64 {
        self.value_bytes
    }

    /// Stamps a copy of this batch: its timestamp and, of an idempotent producer, its base sequence.
    pub fn stamp(&self, copy: &mut [u8], timestamp: i64, sequence: i32) {
        let mut crc = self.crc ^ sum(&self.timestamp_bits, timestamp as u64);
        copy[BASE_TIMESTAMP..BASE_TIMESTAMP + 8].copy_from_slice(&timestamp.to_be_bytes());
        copy[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&timestamp.to_be_bytes());
        if self.idempotent {
            crc ^= sum(&self.sequence_bits, u64::from(sequence as u32));
            copy[BASE_SEQUENCE..BASE_SEQUENCE + 4].copy_from_slice(&sequence.to_be_bytes());
        }
        copy[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    }
}

fn sum(bits: &[u32], mut value: u64) -> u32 {
    let mut sum = 0;
    while value != 0 {
        sum ^= bits[value.trailing_zeros() as usize];
        value &= value - 1;
    }
    sum
}

/// Appends one record without key and headers.
pub fn record(out: &mut Vec<u8>, offset_delta: i64, value: &[u8]) {
    let mut body = Vec::with_capacity(24);
    body.push(0);
    varint(&mut body, 0);
    varint(&mut body, offset_delta);
    varint(&mut body, -1);
    varint(&mut body, value.len() as i64);
    varint(out, (body.len() + value.len() + 1) as i64);
    out.extend(body);
    out.extend(value);
    out.push(0);
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Bytes without a pattern, the same in every run.
pub struct Noise(u64);

impl Noise {
    /// Starts anew.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// So many bytes, letters and digits.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..count).map(|_| LETTERS[(self.next() >> 32) as usize % 64]).collect()
    }
}

/// A batch as a reader sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    bytes: &'a [u8],
}

impl<'a> Seen<'a> {
    /// The whole batches at the front; what is cut off at the end is left out.
    pub fn all(mut bytes: &'a [u8]) -> impl Iterator<Item = Seen<'a>> {
        std::iter::from_fn(move || {
            let length = u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?) as usize + 12;
            let one = bytes.get(..length.max(HEADER))?;
            bytes = &bytes[one.len()..];
            Some(Seen { bytes: one })
        })
    }

    /// Offset of its first record.
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.field(0))
    }

    /// Offset behind its last record.
    pub fn next_offset(&self) -> i64 {
        self.base_offset() + i64::from(i32::from_be_bytes(self.field(23))) + 1
    }

    /// Records in it.
    pub fn records(&self) -> i32 {
        i32::from_be_bytes(self.field(57))
    }

    /// Its base timestamp: the driver's number of it.
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(BASE_TIMESTAMP))
    }

    /// The records, compressed or not.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER..]
    }

    /// Whether the checksum fits.
    pub fn intact(&self) -> bool {
        crc32c(&self.bytes[ATTRIBUTES..]) == u32::from_be_bytes(self.field(CRC))
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[at..at + N]);
        field
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::records::RecordBatchDecoder;

    use super::*;

    #[test]
    fn stamped_batches_are_intact_and_another_decoder_reads_them() {
        let value = Noise::new(3).bytes(300);
        for producer in [NOBODY, Producer { id: 77, epoch: 3 }] {
            let template = Template::new(producer, &[&value, b"", &value[..100]]).expect("a batch");
            for (timestamp, sequence) in [(1, 0), (1_790_000_000_123, i32::MAX), (0x0102_0304_0506_0708, 0x0a0b_0c0d)] {
                let mut copy = template.bytes().to_vec();
                template.stamp(&mut copy, timestamp, sequence);
                let seen = Seen::all(&copy).next().expect("whole");
                assert!(seen.intact(), "{timestamp}");
                assert_eq!((seen.base_timestamp(), seen.records(), seen.next_offset()), (timestamp, 3, 3));
                let decoded = RecordBatchDecoder::decode(&mut Bytes::from(copy)).expect("a batch").records;
                assert_eq!(decoded.len(), 3);
                assert_eq!(decoded[2].value.as_deref(), Some(&value[..100]));
                assert_eq!((decoded[0].timestamp, decoded[0].producer_id), (timestamp, producer.id));
                assert_eq!(decoded[0].sequence, if producer.id < 0 { -1 } else { sequence });
            }
        }
    }

    #[test]
    fn a_batch_that_is_cut_off_is_left_out() {
        let template = Template::new(NOBODY, &[b"abc"]).expect("a batch");
        let two = [template.bytes(), template.bytes()].concat();
        assert_eq!(Seen::all(&two[..two.len() - 1]).count(), 1);
        assert_eq!(Seen::all(&two).count(), 2);
        assert_eq!(Seen::all(&two[..5]).count(), 0);
    }
}
