//! What Apache Kafka's coordinators left in their topics: groups that are not classic, transactions in a state that its release
//! 4.3 does not know.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use super::cluster::listed;
use crate::env::Disk;
use crate::record::{BatchHeader, DEFAULT_DECOMPRESSED_LIMIT, records as records_of};
use crate::storage::{ClaimedDirectory, DirectoryRefusal, partitions_of, scan_partition};
use crate::types::{GROUP_METADATA_TOPIC_NAME, TRANSACTION_STATE_TOPIC_NAME, TransactionVersion};
use crate::wire::records::transaction::{TransactionLogValue, decode_transaction_key, decode_value};

/// The highest type of a key that classic groups have: old and new offset commits, group metadata.
const LAST_CLASSIC_KEY_TYPE: i16 = 2;
/// From Empty to PrepareEpochFence (`TransactionState.id`).
const TRANSACTION_STATES: std::ops::RangeInclusive<i8> = 0..=7;

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

/// Groups that live records of `__consumer_offsets` show to be of another kind than classic.
fn groups(disk: &dyn Disk, directory: &Path) -> io::Result<Option<String>> {
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

/// Transactional ids whose state cannot be read: their coordinator could not go on.
fn transactions(disk: &dyn Disk, directory: &Path) -> io::Result<Option<String>> {
    let mut unknown: BTreeMap<String, ()> = BTreeMap::new();
    each_record(disk, directory, &mut |key, value| {
        let Some(key) = decode_transaction_key(key).map_err(io::Error::other)? else { return Ok(()) };
        match value.is_none_or(is_known) {
            true => unknown.remove(&key.transactional_id),
            false => unknown.insert(key.transactional_id, ()),
        };
        Ok(())
    })?;
    Ok(listed(unknown.into_keys()).map(|ids| {
        format!(
            "holds transactions in a state that Apache Kafka 4.3 does not know, of the transactional ids {ids}. Open it with \
             the release that wrote it, and let the transactions end there"
        )
    }))
}

fn is_known(value: &[u8]) -> bool {
    decode_value::<TransactionLogValue>(value).is_ok_and(|(value, _)| {
        TRANSACTION_STATES.contains(&value.transaction_status)
            && TransactionVersion::from_level(value.client_transaction_version).is_some()
    })
}
