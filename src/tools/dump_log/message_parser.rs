//! Keys and values of records as text, by what they are said to be.

use crate::record::Record;
use crate::wire::records::group::{
    GroupMetadataValue, GroupRecordKey, LegacyOffsetCommitValue, OffsetCommitValue, decode_value,
};
use crate::wire::records::metadata::MetadataRecord;
use crate::wire::records::transaction::{TransactionLogValue, decode_transaction_key};
use crate::wire::{WireError, put_json_text};

/// What keys and values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageParser {
    /// Somebody's text.
    Text,
    /// Records of `__consumer_offsets`.
    Offsets,
    /// Records of `__transaction_state`.
    TransactionLog,
    /// Records of `__cluster_metadata`.
    ClusterMetadata,
}

/// Key and payload; `None` is not printed.
pub(super) type Parsed = (Option<String>, Option<String>);

impl MessageParser {
    /// Reads a record. What cannot be read is said in place of the key or the payload; an error is a record that has no key where one
    /// must be, which ends the dump.
    pub(super) fn parse(self, record: &Record<'_>) -> Result<Parsed, String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Text => Ok((record.key.map(text), record.value.map(text))),
            Self::ClusterMetadata => Ok((None, Some(metadata(record)))),
            Self::Offsets => coordinator(record, group_record),
            Self::TransactionLog => coordinator(record, transaction_record),
        }
    }
}

fn metadata(record: &Record<'_>) -> String {
    match MetadataRecord::decode(record.value.unwrap_or_default()) {
        Err(error) => format!("Error at {}, skipping. {error}", record.offset),
        Ok((message, version)) => {
            let kind = screaming_snake_case(message.name());
            format!("{{\"type\":\"{kind}\",\"version\":{version},\"data\":{}}}", message.to_json(version))
        }
    }
}

fn screaming_snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

/// A coordinator's record: the key's type, the key, and the value with its version.
enum Coordinated {
    Known { kind: i16, key: String, value: Option<(String, i16)> },
    Unknown(i16),
}

fn coordinator(
    record: &Record<'_>,
    read: impl Fn(&[u8], Option<&[u8]>) -> Result<Coordinated, WireError>,
) -> Result<Parsed, String> {
    let Some(key) = record.key else {
        return Err(format!(
            "Failed to decode message at offset {} using the specified decoder (message had a missing key)",
            record.offset
        ));
    };
    Ok(match read(key, record.value) {
        Ok(Coordinated::Known { kind, key, value }) => {
            let key = format!("{{\"type\":{},\"data\":{key}}}", quoted(kind));
            let value = match value {
                None => "<DELETE>".to_owned(),
                Some((value, version)) => format!("{{\"version\":{},\"data\":{value}}}", quoted(version)),
            };
            (Some(key), Some(value))
        }
        Ok(Coordinated::Unknown(kind)) => {
            (Some(format!("Unknown record type {kind} at offset {}, skipping.", record.offset)), None)
        }
        Err(error) => (Some(format!("Error at offset {}, skipping. {error}", record.offset)), None),
    })
}

fn quoted(number: i16) -> String {
    let mut out = String::new();
    put_json_text(&mut out, &number.to_string());
    out
}

fn group_record(key: &[u8], value: Option<&[u8]>) -> Result<Coordinated, WireError> {
    let known = |kind, key: String, value| Ok(Coordinated::Known { kind, key, value });
    match GroupRecordKey::decode(key)? {
        GroupRecordKey::Unknown(kind) => Ok(Coordinated::Unknown(kind)),
        GroupRecordKey::LegacyOffsetCommit(key) => {
            let value = value.map(decode_value::<LegacyOffsetCommitValue>).transpose()?;
            known(0, key.to_json(0), value.map(|(value, version)| (value.to_json(version), version)))
        }
        GroupRecordKey::OffsetCommit(key) => {
            let value = value.map(decode_value::<OffsetCommitValue>).transpose()?;
            known(1, key.to_json(0), value.map(|(value, version)| (value.to_json(version), version)))
        }
        GroupRecordKey::GroupMetadata(key) => {
            let value = value.map(decode_value::<GroupMetadataValue>).transpose()?;
            known(2, key.to_json(0), value.map(|(value, version)| (value.to_readable_json(version), version)))
        }
    }
}

fn transaction_record(key: &[u8], value: Option<&[u8]>) -> Result<Coordinated, WireError> {
    let Some(read_key) = decode_transaction_key(key)? else {
        let kind = key.first_chunk::<2>().map_or(-1, |kind| i16::from_be_bytes(*kind));
        return Ok(Coordinated::Unknown(kind));
    };
    let value = value.map(decode_value::<TransactionLogValue>).transpose()?;
    let value = value.map(|(value, version)| (value.to_json(version), version));
    Ok(Coordinated::Known { kind: 0, key: read_key.to_json(0), value })
}
