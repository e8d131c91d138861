//! What Apache Kafka's coordinators left in their topics: groups that are not classic, transactions that are not over.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

use super::cluster::listed;
use crate::env::Disk;
use crate::record::{
    BatchHeader, ControlRecordType, DEFAULT_DECOMPRESSED_LIMIT, control_record_type, records as records_of,
};
use crate::storage::{ClaimedDirectory, DirectoryRefusal, partitions_of, scan_partition};
use crate::types::{GROUP_METADATA_TOPIC_NAME, TRANSACTION_STATE_TOPIC_NAME};
use crate::wire::records::transaction::{TransactionLogValue, decode_transaction_key, decode_value};

/// The highest type of a key that classic groups have: old and new offset commits, group metadata.
const LAST_CLASSIC_KEY_TYPE: i16 = 2;
/// Ongoing, PrepareCommit, PrepareAbort, PrepareEpochFence (`TransactionState.id`).
const OPEN_STATES: [i8; 4] = [1, 2, 3, 7];

/// Looks at every partition of the coordinators' topics.
pub(super) fn check(disk: &dyn Disk, directories: &[ClaimedDirectory]) -> Result<(), DirectoryRefusal> {
    for directory in directories {
        let unreadable = |path: &Path, error: io::Error| DirectoryRefusal {
            path: path.to_owned(),
            message: format!("cannot be read: {error}"),
        };
        let partitions = partitions_of(disk, &directory.path).map_err(|error| unreadable(&directory.path, error))?;
        for (name, path) in partitions {
            let found = match &*name.topic {
                GROUP_METADATA_TOPIC_NAME => groups(disk, &path),
                TRANSACTION_STATE_TOPIC_NAME => transactions(disk, &path),
                _ => Ok(None),
            };
            if let Some(message) = found.map_err(|error| unreadable(&path, error))? {
                return Err(DirectoryRefusal { path, message });
            }
        }
    }
    Ok(())
}

/// Sees a record's key and value.
type RecordVisitor<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> io::Result<()> + 'a;

/// Shows the key and value of every record.
fn each_record(disk: &dyn Disk, directory: &Path, visit: &mut RecordVisitor<'_>) -> io::Result<()> {
    scan_partition(disk, directory, &mut |header: &BatchHeader, batch: &[u8]| {
        if header.is_control() {
            return Ok(());
        }
        let records = records_of(batch, DEFAULT_DECOMPRESSED_LIMIT).map_err(io::Error::other)?;
        for record in records.iter() {
            let record = record.map_err(io::Error::other)?;
            visit(record.key.unwrap_or_default(), record.value)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Groups that live records of `__consumer_offsets` show to be of another kind than classic, and offsets that were
/// committed in transactions that were aborted.
fn groups(disk: &dyn Disk, directory: &Path) -> io::Result<Option<String>> {
    if has_aborted_records(disk, directory)? {
        return Ok(Some(
            "holds offsets that were committed in transactions that were aborted; Ottla would take them for committed. \
             Run Apache Kafka until compaction has removed them, and stop it in order"
                .to_owned(),
        ));
    }
    let mut live: HashMap<Vec<u8>, ()> = HashMap::new();
    each_record(disk, directory, &mut |key, value| {
        if key_type(key).is_some_and(|key_type| key_type > LAST_CLASSIC_KEY_TYPE) {
            match value {
                Some(_) => live.insert(key.to_vec(), ()),
                None => live.remove(key),
            };
        }
        Ok(())
    })?;
    let mut found = BTreeMap::new();
    for key in live.keys() {
        let kind = match key_type(key).unwrap_or(-1) {
            3..=8 | 16 => "consumer",
            9..=15 => "share",
            17..=23 => "streams",
            _ => "unknown",
        };
        found.insert(format!("{} ({kind})", group_id(key)), ());
    }
    Ok(listed(found.into_keys()).map(|groups| {
        format!(
            "holds groups that are not classic: {groups}. Ottla knows classic groups only; delete these with Apache Kafka \
             (kafka-consumer-groups.sh, kafka-share-groups.sh or kafka-streams-groups.sh --delete), or let their \
             consumers join once with group.protocol=classic and leave"
        )
    }))
}

/// Whether there are records of a transaction that was aborted. The transaction index would say so too, but after a stop
/// that was not in order it need not be there.
fn has_aborted_records(disk: &dyn Disk, directory: &Path) -> io::Result<bool> {
    let (mut writing, mut aborted) = (HashSet::new(), false);
    scan_partition(disk, directory, &mut |header: &BatchHeader, batch: &[u8]| {
        if !header.is_transactional() {
            return Ok(());
        }
        if !header.is_control() {
            writing.insert(header.producer_id);
            return Ok(());
        }
        let records = records_of(batch, DEFAULT_DECOMPRESSED_LIMIT).map_err(io::Error::other)?;
        for record in records.iter() {
            let kind = record.map_err(io::Error::other)?.key.and_then(control_record_type);
            let had_records = writing.remove(&header.producer_id);
            aborted |= had_records && kind == Some(ControlRecordType::Abort);
        }
        Ok(())
    })?;
    Ok(aborted)
}

fn key_type(key: &[u8]) -> Option<i16> {
    key.first_chunk::<2>().map(|bytes| i16::from_be_bytes(*bytes))
}

/// All these keys begin with the group's id.
fn group_id(key: &[u8]) -> String {
    let id = key.get(2..4).and_then(|length| {
        let length = usize::from(u16::from_be_bytes(length.try_into().ok()?));
        key.get(4..4 + length)
    });
    id.map_or_else(|| "?".to_owned(), |id| String::from_utf8_lossy(id).into_owned())
}

/// Transactional ids whose transaction is not over.
fn transactions(disk: &dyn Disk, directory: &Path) -> io::Result<Option<String>> {
    let mut states: BTreeMap<String, i8> = BTreeMap::new();
    each_record(disk, directory, &mut |key, value| {
        let Some(key) = decode_transaction_key(key).map_err(io::Error::other)? else { return Ok(()) };
        match value {
            Some(value) => {
                let (value, _) = decode_value::<TransactionLogValue>(value).map_err(io::Error::other)?;
                states.insert(key.transactional_id, value.transaction_status);
            }
            None => _ = states.remove(&key.transactional_id),
        }
        Ok(())
    })?;
    let open = states.into_iter().filter(|(_, state)| OPEN_STATES.contains(state)).map(|(id, _)| id);
    Ok(listed(open).map(|ids| {
        format!(
            "holds transactions that are not over, of the transactional ids {ids}. Ottla cannot end them; let the producers \
             commit or abort, or Apache Kafka time them out (transaction.timeout.ms), before it stops"
        )
    }))
}
