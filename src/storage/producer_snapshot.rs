//! `.snapshot` files: the producers of a log before the offset in the file's name, version 1, with a CRC-32C
//! (`ProducerStateManager.writeSnapshot`).
//!
//! The format has one batch an entry, and Kafka writes the last batch of each producer only: what a producer repeats after a crash
//! that follows a roll may then be older than all that is known, and is refused as out of order. Ottla writes an entry for each of the
//! remembered batches, the oldest first. Kafka's reader keeps the last entry of a producer, which is the one it would have written.

use std::collections::HashMap;

use super::producer_state::{NO_SEQUENCE, ProducerBatch, ProducerEntry, ProducerState};

/// Snapshots read back are cut off here: about a million producers.
pub const MAX_SNAPSHOT_BYTES: usize = 256 << 20;

const VERSION: i16 = 1;
const HEADER_BYTES: usize = 10;
const CRC_COVERS_FROM: usize = 6;
const ENTRY_BYTES: usize = 46;

/// Writes a snapshot; producers are sorted, so that equal states give equal bytes.
pub(super) fn encode(state: &ProducerState) -> Vec<u8> {
    let mut entries: Vec<&ProducerEntry> = state.entries().collect();
    entries.sort_by_key(|entry| entry.producer_id);
    let count: usize = entries.iter().map(|entry| entry.batches().len().max(1)).sum();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + count * ENTRY_BYTES);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(count as i32).to_be_bytes());
    for entry in entries {
        let (last, earlier) = match entry.batches().split_last() {
            Some((last, earlier)) => (Some(last), earlier),
            None => (None, &[][..]),
        };
        for batch in earlier {
            // An open transaction is told once, by the last entry.
            put(&mut bytes, entry, Some(batch), batch.timestamp, None);
        }
        put(&mut bytes, entry, last, entry.last_timestamp, entry.transaction_first_offset);
    }
    let crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn put(
    bytes: &mut Vec<u8>,
    entry: &ProducerEntry,
    batch: Option<&ProducerBatch>,
    timestamp: i64,
    transaction_first_offset: Option<i64>,
) {
    bytes.extend_from_slice(&entry.producer_id.to_be_bytes());
    bytes.extend_from_slice(&entry.epoch.to_be_bytes());
    bytes.extend_from_slice(&batch.map_or(NO_SEQUENCE, |batch| batch.last_sequence).to_be_bytes());
    bytes.extend_from_slice(&batch.map_or(-1, |batch| batch.last_offset).to_be_bytes());
    bytes.extend_from_slice(&batch.map_or(0, |batch| batch.offset_delta).to_be_bytes());
    bytes.extend_from_slice(&timestamp.to_be_bytes());
    bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
    bytes.extend_from_slice(&transaction_first_offset.unwrap_or(-1).to_be_bytes());
}

/// A producer in a snapshot, as it stands there (`ProducerStateEntry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ProducerSnapshotEntry {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Of its last batch, or -1.
    pub last_sequence: i32,
    /// Of its last batch, or -1.
    pub last_offset: i64,
    /// Offsets of its last batch less one.
    pub offset_delta: i32,
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    pub current_transaction_first_offset: Option<i64>,
}

impl ProducerSnapshotEntry {
    /// The sequence of the first record of the last batch; sequences wrap from `i32::MAX` to 0 (`decrementSequence`).
    pub fn first_sequence(&self) -> i32 {
        if self.last_sequence < self.offset_delta {
            i32::MAX.wrapping_sub(self.offset_delta.wrapping_sub(self.last_sequence)).wrapping_add(1)
        } else {
            self.last_sequence.wrapping_sub(self.offset_delta)
        }
    }

    fn decode(bytes: &[u8]) -> Self {
        let transaction_first_offset = take_i64(bytes, 38);
        Self {
            producer_id: take_i64(bytes, 0),
            producer_epoch: i16::from_be_bytes([bytes[8], bytes[9]]),
            last_sequence: take_i32(bytes, 10),
            last_offset: take_i64(bytes, 14),
            offset_delta: take_i32(bytes, 22),
            last_timestamp: take_i64(bytes, 26),
            coordinator_epoch: take_i32(bytes, 34),
            current_transaction_first_offset: (transaction_first_offset >= 0).then_some(transaction_first_offset),
        }
    }
}

/// Reads the producers in a snapshot, in the file's order; an error says why the file cannot be used.
pub fn read_entries(bytes: &[u8]) -> Result<Vec<ProducerSnapshotEntry>, String> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or("the file is too short")?;
    let version = i16::from_be_bytes([header[0], header[1]]);
    if version != VERSION {
        return Err(format!("version {version} is unknown"));
    }
    let crc = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
    if crc32c::crc32c(&bytes[CRC_COVERS_FROM..]) != crc {
        return Err("the checksum does not match".to_owned());
    }
    let count = i32::from_be_bytes([header[6], header[7], header[8], header[9]]);
    if usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY_BYTES)) != Some(body.len()) {
        return Err(format!("{count} producers do not fit the {} bytes", body.len()));
    }
    Ok(body.chunks_exact(ENTRY_BYTES).map(ProducerSnapshotEntry::decode).collect())
}

/// Reads a snapshot; an error says why the file cannot be used.
pub(super) fn decode(bytes: &[u8]) -> Result<ProducerState, String> {
    let mut producers: HashMap<i64, ProducerEntry> = HashMap::new();
    for read in read_entries(bytes)? {
        add(producers.entry(read.producer_id).or_insert_with(|| ProducerEntry::new(read.producer_id)), read);
    }
    let mut state = ProducerState::default();
    producers.into_values().for_each(|entry| state.load(entry));
    Ok(state)
}

/// Takes over one more entry of a producer.
fn add(entry: &mut ProducerEntry, read: ProducerSnapshotEntry) {
    let ProducerSnapshotEntry { last_sequence, last_offset, offset_delta, last_timestamp: timestamp, .. } = read;
    entry.set_epoch(read.producer_epoch);
    if last_offset >= 0 && last_sequence != NO_SEQUENCE {
        entry.add_batch(ProducerBatch { last_sequence, last_offset, offset_delta, timestamp });
    }
    entry.last_timestamp = timestamp;
    entry.coordinator_epoch = read.coordinator_epoch;
    entry.transaction_first_offset = read.current_transaction_first_offset;
}

fn take_i64(bytes: &[u8], offset: usize) -> i64 {
    let mut array = [0; 8];
    array.copy_from_slice(&bytes[offset..offset + 8]);
    i64::from_be_bytes(array)
}

fn take_i32(bytes: &[u8], offset: usize) -> i32 {
    let mut array = [0; 4];
    array.copy_from_slice(&bytes[offset..offset + 4]);
    i32::from_be_bytes(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_round_trip() {
        let mut state = ProducerState::default();
        for id in [9, 3] {
            let mut entry = ProducerEntry::new(id);
            entry.set_epoch(2);
            entry.add_batch(ProducerBatch { last_sequence: 3, last_offset: 90, offset_delta: 1, timestamp: 54 });
            entry.add_batch(ProducerBatch { last_sequence: 7, last_offset: 100 + id, offset_delta: 3, timestamp: 55 });
            entry.transaction_first_offset = (id == 3).then_some(98);
            state.load(entry);
        }
        let bytes = encode(&state);
        assert_eq!(bytes.len(), HEADER_BYTES + 4 * ENTRY_BYTES);
        let entries = read_entries(&bytes).unwrap();
        // The last entry of a producer, which Kafka keeps, has its last batch and the transaction.
        let of = |id| entries.iter().rfind(|entry| entry.producer_id == id).unwrap();
        assert_eq!((of(3).last_sequence, of(3).current_transaction_first_offset), (7, Some(98)));
        assert_eq!((of(9).last_offset, of(9).last_timestamp), (109, 55));
        assert_eq!(entries.iter().filter_map(|entry| entry.current_transaction_first_offset).count(), 1);
        let read = decode(&bytes).unwrap();
        assert_eq!(encode(&read), bytes);
        assert_eq!(read.active_producers(), state.active_producers());
        assert_eq!(read.first_unstable_offset(), Some(98));
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let mut state = ProducerState::default();
        state.load(ProducerEntry::new(1));
        let bytes = encode(&state);
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x40;
            assert!(decode(&damaged).is_err(), "{index}");
            assert!(decode(&bytes[..index]).is_err(), "{index}");
        }
    }
}
