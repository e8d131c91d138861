//! Records as the console consumer writes them (`MessageFormatter` and the classes that Kafka brings).

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::deserializer::Deserializer;
use crate::client::ConsumerRecord;
use crate::record::TimestampType;
use crate::wire::WireError;
use crate::wire::records::group::{
    GroupMetadataValue, GroupRecordKey, LegacyOffsetCommitValue, OffsetCommitValue, decode_value,
};
use crate::wire::records::transaction::{TransactionLogValue, decode_transaction_key};

const PACKAGE: &str = "org.apache.kafka.tools.consumer.";

/// How records are written.
#[derive(Debug)]
pub enum Formatter {
    /// What `print.*` asks for.
    Default(Box<DefaultFormatter>),
    /// Nothing.
    NoOp,
    /// Commits of `__consumer_offsets`, as JSON.
    Offsets,
    /// Groups of `__consumer_offsets`, as JSON.
    GroupMetadata,
    /// Transactions of `__transaction_state`, as JSON.
    TransactionLog,
}

/// A record that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The output is gone.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The record is not of the form that the formatter reads.
    #[error("{0}")]
    Record(String),
}

impl Formatter {
    /// The formatter of a Java class; `None` for a class that is not Kafka's. The warnings name what could not be made.
    pub fn by_class(class: &str, properties: &BTreeMap<String, String>) -> Option<(Self, Vec<String>)> {
        let plain = |formatter| Some((formatter, Vec::new()));
        match class.strip_prefix(PACKAGE)? {
            // What it logs besides goes to a log that Kafka's tools do not show.
            "DefaultMessageFormatter" | "LoggingMessageFormatter" => {
                let (formatter, warnings) = DefaultFormatter::new(properties);
                Some((Self::Default(Box::new(formatter)), warnings))
            }
            "NoOpMessageFormatter" => plain(Self::NoOp),
            "OffsetsMessageFormatter" => plain(Self::Offsets),
            "GroupMetadataMessageFormatter" => plain(Self::GroupMetadata),
            "TransactionLogMessageFormatter" => plain(Self::TransactionLog),
            _ => None,
        }
    }

    /// Writes one record.
    pub fn write(&self, record: &ConsumerRecord, out: &mut dyn Write) -> Result<(), FormatError> {
        let json = match self {
            Self::Default(formatter) => return formatter.write(record, out),
            Self::NoOp => return Ok(()),
            Self::Offsets => coordinator_json(record, offsets_json),
            Self::GroupMetadata => coordinator_json(record, group_json),
            Self::TransactionLog => coordinator_json(record, transaction_json),
        };
        // Without an end of line, as Kafka writes them.
        Ok(out.write_all(json?.unwrap_or_default().as_bytes())?)
    }
}

/// `DefaultMessageFormatter`.
#[derive(Debug)]
pub struct DefaultFormatter {
    timestamp: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null_literal: Vec<u8>,
    key_deserializer: Option<Deserializer>,
    value_deserializer: Option<Deserializer>,
    headers_deserializer: Option<Deserializer>,
}

impl DefaultFormatter {
    fn new(properties: &BTreeMap<String, String>) -> (Self, Vec<String>) {
        let flag = |name: &str, default: bool| {
            properties.get(name).map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
        };
        let bytes =
            |name: &str, default: &str| properties.get(name).map_or(default, String::as_str).as_bytes().to_vec();
        let mut warnings = Vec::new();
        let mut deserializer = |name: &str| {
            let class = properties.get(name)?;
            // Bytes as they are is what happens without one.
            let found = Deserializer::by_class(class);
            if found.is_none() {
                warnings.push(format!("Unable to instantiate a deserializer from {class}"));
            }
            found
        };
        let formatter = Self {
            key_deserializer: deserializer("key.deserializer"),
            value_deserializer: deserializer("value.deserializer"),
            headers_deserializer: deserializer("headers.deserializer"),
            timestamp: flag("print.timestamp", false),
            partition: flag("print.partition", false),
            offset: flag("print.offset", false),
            delivery: flag("print.delivery", false),
            epoch: flag("print.epoch", false),
            headers: flag("print.headers", false),
            key: flag("print.key", false),
            value: flag("print.value", true),
            key_separator: bytes("key.separator", "\t"),
            line_separator: bytes("line.separator", "\n"),
            headers_separator: bytes("headers.separator", ","),
            null_literal: bytes("null.literal", "null"),
        };
        (formatter, warnings)
    }

    fn write(&self, record: &ConsumerRecord, out: &mut dyn Write) -> Result<(), FormatError> {
        let columns = [
            self.timestamp,
            self.partition,
            self.offset,
            self.delivery,
            self.epoch,
            self.headers,
            self.key,
            self.value,
        ];
        for (column, _) in columns.iter().enumerate().filter(|(_, is_printed)| **is_printed) {
            match column {
                0 => {
                    let kind = match record.timestamp_type {
                        TimestampType::CreateTime => "CreateTime",
                        TimestampType::LogAppendTime => "LogAppendTime",
                    };
                    write!(out, "{kind}:{}", record.timestamp)?;
                }
                1 => write!(out, "Partition:{}", record.partition)?,
                2 => write!(out, "Offset:{}", record.offset)?,
                // Kafka's console consumer drops both on the way to its formatter.
                3 => write!(out, "Delivery:NOT_PRESENT")?,
                4 => write!(out, "Epoch:NOT_PRESENT")?,
                5 => self.write_headers(record, out)?,
                6 => self.write_bytes(self.key_deserializer, record.key.as_deref(), out)?,
                _ => self.write_bytes(self.value_deserializer, record.value.as_deref(), out)?,
            }
            let is_last = !columns[column + 1..].contains(&true);
            out.write_all(if is_last { &self.line_separator } else { &self.key_separator })?;
        }
        Ok(())
    }

    fn write_headers(&self, record: &ConsumerRecord, out: &mut dyn Write) -> Result<(), FormatError> {
        if record.headers.is_empty() {
            write!(out, "NO_HEADERS")?;
        }
        for (number, (name, value)) in record.headers.iter().enumerate() {
            if number > 0 {
                out.write_all(&self.headers_separator)?;
            }
            write!(out, "{}:", String::from_utf8_lossy(name))?;
            self.write_bytes(self.headers_deserializer, value.as_deref(), out)?;
        }
        Ok(())
    }

    fn write_bytes(
        &self,
        deserializer: Option<Deserializer>,
        bytes: Option<&[u8]>,
        out: &mut dyn Write,
    ) -> Result<(), FormatError> {
        let bytes = bytes.unwrap_or(&self.null_literal);
        match deserializer {
            None => out.write_all(bytes)?,
            Some(deserializer) => out.write_all(deserializer.text(bytes).map_err(FormatError::Record)?.as_bytes())?,
        }
        Ok(())
    }
}

/// The type of a record's key, the key, and the value with its version; `None` for a record that the formatter leaves out.
type Decoded = Option<(i16, String, Option<(i16, String)>)>;

fn coordinator_json(
    record: &ConsumerRecord,
    decode: impl Fn(&[u8], Option<&[u8]>) -> Result<Decoded, WireError>,
) -> Result<Option<String>, FormatError> {
    let Some(key) = &record.key else { return Ok(None) };
    let decoded = decode(key, record.value.as_deref()).map_err(|error| {
        FormatError::Record(format!("Could not read record at offset {} due to: {error}", record.offset))
    })?;
    Ok(decoded.map(|(kind, key, value)| {
        let value = match value {
            Some((version, value)) => format!("{{\"version\":{version},\"data\":{value}}}"),
            None => "null".to_owned(),
        };
        format!("{{\"key\":{{\"type\":{kind},\"data\":{key}}},\"value\":{value}}}")
    }))
}

fn offsets_json(key: &[u8], value: Option<&[u8]>) -> Result<Decoded, WireError> {
    Ok(match GroupRecordKey::decode(key)? {
        GroupRecordKey::LegacyOffsetCommit(key) => {
            let value = value.map(decode_value::<LegacyOffsetCommitValue>).transpose()?;
            Some((0, key.to_json(0), value.map(|(value, version)| (version, value.to_json(version)))))
        }
        GroupRecordKey::OffsetCommit(key) => {
            let value = value.map(decode_value::<OffsetCommitValue>).transpose()?;
            Some((1, key.to_json(0), value.map(|(value, version)| (version, value.to_json(version)))))
        }
        GroupRecordKey::GroupMetadata(_) | GroupRecordKey::Unknown(_) => None,
    })
}

fn group_json(key: &[u8], value: Option<&[u8]>) -> Result<Decoded, WireError> {
    Ok(match GroupRecordKey::decode(key)? {
        GroupRecordKey::GroupMetadata(key) => {
            let value = value.map(decode_value::<GroupMetadataValue>).transpose()?;
            Some((2, key.to_json(0), value.map(|(value, version)| (version, value.to_json(version)))))
        }
        _ => None,
    })
}

fn transaction_json(key: &[u8], value: Option<&[u8]>) -> Result<Decoded, WireError> {
    let Some(key) = decode_transaction_key(key)? else { return Ok(None) };
    let value = value.map(decode_value::<TransactionLogValue>).transpose()?;
    Ok(Some((0, key.to_json(0), value.map(|(value, version)| (version, value.to_json(version))))))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const DEFAULT: &str = "org.apache.kafka.tools.consumer.DefaultMessageFormatter";

    fn record() -> ConsumerRecord {
        ConsumerRecord {
            topic: "t".into(),
            partition: 3,
            offset: 7,
            leader_epoch: 0,
            timestamp: 1_000,
            timestamp_type: TimestampType::CreateTime,
            key: Some(Bytes::from_static(b"k")),
            value: None,
            headers: vec![(Bytes::from_static(b"a"), Some(Bytes::from_static(b"1"))), (Bytes::from_static(b"b"), None)],
        }
    }

    fn written(class: &str, properties: &[(&str, &str)], record: &ConsumerRecord) -> Result<String, FormatError> {
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (formatter, _) = Formatter::by_class(class, &properties).expect("a formatter");
        let mut out = Vec::new();
        formatter.write(record, &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn columns_are_printed_as_asked() {
        let all = [
            ("print.timestamp", "true"),
            ("print.partition", "TRUE "),
            ("print.offset", "true"),
            ("print.delivery", "true"),
            ("print.epoch", "true"),
            ("print.headers", "true"),
            ("print.key", "true"),
        ];
        let expected =
            "CreateTime:1000\tPartition:3\tOffset:7\tDelivery:NOT_PRESENT\tEpoch:NOT_PRESENT\ta:1,b:null\tk\tnull\n";
        assert_eq!(written(DEFAULT, &all, &record()).expect("text"), expected);
        assert_eq!(written(DEFAULT, &[], &record()).expect("text"), "null\n");
        let some = [
            ("print.value", "no"),
            ("print.key", "true"),
            ("print.headers", "true"),
            ("key.separator", " => "),
            ("line.separator", ";"),
            ("headers.separator", "|"),
            ("null.literal", "-"),
        ];
        assert_eq!(written(DEFAULT, &some, &record()).expect("text"), "a:1|b:- => k;");
        let bare = ConsumerRecord { headers: Vec::new(), ..record() };
        assert_eq!(written(DEFAULT, &some, &bare).expect("text"), "NO_HEADERS => k;");
        assert_eq!(written(DEFAULT, &[("print.value", "false")], &bare).expect("text"), "");
    }

    #[test]
    fn deserializers_are_used_for_nulls_too() {
        let class = "org.apache.kafka.common.serialization.IntegerDeserializer";
        let written_null = written(DEFAULT, &[("value.deserializer", class)], &record());
        assert_eq!(written_null.expect("text"), "1853189228\n");
        let error = written(DEFAULT, &[("print.key", "true"), ("key.deserializer", class)], &record());
        let error = error.expect_err("refused").to_string();
        assert_eq!(error, "Size of data received by IntegerDeserializer is not 4");
        let unknown = BTreeMap::from([("value.deserializer".to_owned(), "my.Own".to_owned())]);
        let (_, warnings) = Formatter::by_class(DEFAULT, &unknown).expect("a formatter");
        assert_eq!(warnings, ["Unable to instantiate a deserializer from my.Own"]);
        assert!(Formatter::by_class("my.Formatter", &unknown).is_none());
    }

    #[test]
    fn records_of_the_coordinator_are_json() {
        // An offset commit of group g, topic t, partition 0: version 1 of the key; no value, which deletes it.
        let key = Bytes::from_static(b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x00");
        let offsets = "org.apache.kafka.tools.consumer.OffsetsMessageFormatter";
        let groups = "org.apache.kafka.tools.consumer.GroupMetadataMessageFormatter";
        let deleted = ConsumerRecord { key: Some(key), value: None, ..record() };
        let expected =
            "{\"key\":{\"type\":1,\"data\":{\"group\":\"g\",\"topic\":\"t\",\"partition\":0}},\"value\":null}";
        assert_eq!(written(offsets, &[], &deleted).expect("text"), expected);
        assert_eq!(written(groups, &[], &deleted).expect("text"), "");
        let broken = ConsumerRecord { key: Some(Bytes::from_static(b"\x00\x01\x00")), ..record() };
        let error = written(offsets, &[], &broken).expect_err("refused").to_string();
        assert!(error.starts_with("Could not read record at offset 7 due to: "), "{error}");
        let keyless = ConsumerRecord { key: None, ..record() };
        assert_eq!(written(offsets, &[], &keyless).expect("text"), "");
    }
}
