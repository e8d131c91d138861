//! `.snapshot` files of producers and `.txnindex` files.

use std::path::Path;

use super::{DumpLogError, Output, corrupt, open};
use crate::env::Disk;
use crate::storage::{MAX_PRODUCER_SNAPSHOT_BYTES, ProducerSnapshotEntry, read_producer_snapshot};

const TRANSACTION_ENTRY_BYTES: u64 = 34;

pub(super) fn dump_producer_snapshot(
    disk: &dyn Disk,
    path: &Path,
    output: &mut Output<'_>,
) -> Result<(), DumpLogError> {
    let bytes = disk.read(path, MAX_PRODUCER_SNAPSHOT_BYTES);
    let bytes = bytes.map_err(|error| DumpLogError::Read { path: path.to_owned(), error })?;
    match read_producer_snapshot(&bytes) {
        Ok(entries) => entries.iter().try_for_each(|entry| print_producer(entry, output)),
        Err(reason) => {
            output.mismatches.push(format!("Snapshot file '{}' is corrupted: {reason}", path.display()));
            Ok(())
        }
    }
}

fn print_producer(entry: &ProducerSnapshotEntry, output: &mut Output<'_>) -> Result<(), DumpLogError> {
    // Kafka prints what it holds as Java's `OptionalLong`.
    let first_offset = match entry.current_transaction_first_offset {
        None => "OptionalLong.empty".to_owned(),
        Some(offset) => format!("OptionalLong[{offset}]"),
    };
    write!(
        output.out,
        "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {first_offset} lastTimestamp: {}",
        entry.producer_id, entry.producer_epoch, entry.coordinator_epoch, entry.last_timestamp
    )?;
    if entry.last_offset >= 0 {
        write!(
            output.out,
            " firstSequence: {} lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: {}",
            entry.first_sequence(),
            entry.last_sequence,
            entry.last_offset,
            entry.offset_delta,
            entry.last_timestamp
        )?;
    }
    writeln!(output.out)?;
    Ok(())
}

pub(super) fn dump_transaction_index(
    disk: &dyn Disk,
    path: &Path,
    output: &mut Output<'_>,
) -> Result<(), DumpLogError> {
    let file = open(disk, path)?;
    let failed = |error| DumpLogError::Read { path: path.to_owned(), error };
    let size = file.size().map_err(failed)?;
    let mut position = 0;
    while position < size {
        if size - position < TRANSACTION_ENTRY_BYTES {
            return Err(corrupt(path, format!("{} bytes at {position} are no entry", size - position)));
        }
        let mut entry = [0; TRANSACTION_ENTRY_BYTES as usize];
        file.read_exact_at(&mut entry, position).map_err(failed)?;
        let version = i16::from_be_bytes([entry[0], entry[1]]);
        if version > 0 {
            return Err(corrupt(path, format!("Unexpected aborted transaction version {version} at {position}")));
        }
        let number = |index: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&entry[2 + index * 8..10 + index * 8]);
            i64::from_be_bytes(bytes)
        };
        writeln!(
            output.out,
            "version: {version} producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
            number(0),
            number(1),
            number(2),
            number(3)
        )?;
        position += TRANSACTION_ENTRY_BYTES;
    }
    Ok(())
}
