//! Seed files: JSON lines, each a topic or a record.
//!
//! A topic: `{"topic":"orders","partitions":12,"configs":{"cleanup.policy":"compact"}}`; a line with nothing but `topic` is one too.
//! A record: `{"topic":"orders","key":"k","value":{"any":"JSON"},"headers":{"h":"v"},"partition":0,"timestamp":1700000000000}`.
//! Of a record only `topic` and `value` (or `valueBase64`) are needed. A text stands for its UTF-8 bytes, `null` for no key, no
//! value or no header value; any other JSON value for itself as it is written in the line. `keyBase64` and `valueBase64` are for
//! bytes. Headers that repeat, or are bytes, are written as `[{"key":"h","value":"v"},{"key":"h","valueBase64":"AA=="}]`.
//! Empty lines, and those that begin with `#` or `//`, are passed over.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::topics::DeclaredTopic;
use crate::config::ConfigError;

/// A seed file larger than this is refused: it is held in memory while it is read.
pub const SEED_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A record that a topic begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedRecord {
    /// Its topic.
    pub topic: String,
    /// Its partition; without one the key decides, as in Java's producer, and records without a key go round.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Names and values of its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970; the moment of the start without.
    pub timestamp: Option<i64>,
    file: Arc<str>,
    line: usize,
}

impl SeedRecord {
    /// Where it is written.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// The file that it is written in.
    pub fn file(&self) -> &str {
        &self.file
    }
}

/// One line.
#[derive(Debug)]
pub(super) enum Line {
    Topic(DeclaredTopic),
    Record(SeedRecord),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct JsonLine<'a> {
    topic: String,
    partitions: Option<i32>,
    #[serde(borrow)]
    configs: Option<BTreeMap<String, &'a RawValue>>,
    partition: Option<i32>,
    timestamp: Option<i64>,
    #[serde(borrow, default, deserialize_with = "given")]
    key: Option<&'a RawValue>,
    key_base64: Option<String>,
    #[serde(borrow, default, deserialize_with = "given")]
    value: Option<&'a RawValue>,
    value_base64: Option<String>,
    #[serde(borrow)]
    headers: Option<Headers<'a>>,
}

/// Tells `null` from a field that is not there.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct JsonHeader<'a> {
    key: String,
    #[serde(borrow, default, deserialize_with = "given")]
    value: Option<&'a RawValue>,
    value_base64: Option<String>,
}

/// Headers in their order, which a map of Rust's would lose.
struct Headers<'a>(Vec<JsonHeader<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Headers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Vec<JsonHeader<'de>>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of names and values, or a list of {\"key\", \"value\"} objects")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut headers = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    headers.push(JsonHeader { key, value: Some(value), value_base64: None });
                }
                Ok(headers)
            }

            fn visit_seq<S: serde::de::SeqAccess<'de>>(self, mut items: S) -> Result<Self::Value, S::Error> {
                let mut headers = Vec::new();
                while let Some(header) = items.next_element()? {
                    headers.push(header);
                }
                Ok(headers)
            }
        }
        deserializer.deserialize_any(Either).map(Headers)
    }
}

/// The lines of a file that say something.
pub(super) fn parse<'a>(file: &'a str, text: &'a str) -> impl Iterator<Item = Result<Line, ConfigError>> + 'a {
    let name: Arc<str> = Arc::from(file);
    text.trim_start_matches('\u{feff}').lines().enumerate().filter_map(move |(index, line)| {
        let line_text = line.trim();
        if line_text.is_empty() || line_text.starts_with('#') || line_text.starts_with("//") {
            return None;
        }
        let failed = |reason| ConfigError::Syntax { file: file.to_owned(), line: index + 1, reason };
        Some(read_line(&name, index + 1, line_text).map_err(failed))
    })
}

fn read_line(file: &Arc<str>, line: usize, text: &str) -> Result<Line, String> {
    let parsed: JsonLine<'_> = serde_json::from_str(text).map_err(|error| reason_of(&error))?;
    let is_record = parsed.value.is_some() || parsed.value_base64.is_some();
    if !is_record {
        let has_part = parsed.key.is_some() || parsed.key_base64.is_some() || parsed.headers.is_some();
        if has_part || parsed.partition.is_some() || parsed.timestamp.is_some() {
            return Err("a record needs \"value\" or \"valueBase64\"; \"value\":null is a tombstone".to_owned());
        }
        return read_topic(file, line, parsed).map(Line::Topic);
    }
    if parsed.partitions.is_some() || parsed.configs.is_some() {
        return Err("\"partitions\" and \"configs\" declare a topic: they need a line without a value".to_owned());
    }
    let headers = parsed.headers.map_or_else(Vec::new, |headers| headers.0);
    let headers = headers.into_iter().map(|header| {
        let value = bytes(header.value, header.value_base64, "value")?;
        Ok((header.key, value))
    });
    Ok(Line::Record(SeedRecord {
        topic: parsed.topic,
        partition: parsed.partition,
        key: bytes(parsed.key, parsed.key_base64, "key")?,
        value: bytes(parsed.value, parsed.value_base64, "value")?,
        headers: headers.collect::<Result<_, String>>()?,
        timestamp: match parsed.timestamp {
            Some(time) if time < 0 => return Err(format!("{time} is no timestamp: milliseconds since 1970")),
            time => time,
        },
        file: Arc::clone(file),
        line,
    }))
}

/// serde_json's words; it counts lines, of which there is one.
fn reason_of(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

fn read_topic(file: &str, line: usize, parsed: JsonLine<'_>) -> Result<DeclaredTopic, String> {
    if let Some(count) = parsed.partitions.filter(|count| *count < 1) {
        return Err(format!("{count} is no number of partitions"));
    }
    let place = format!("{file}:{line}");
    let mut topic = DeclaredTopic::new(&parsed.topic, parsed.partitions, place.as_str())
        .map_err(|error| error.to_string().replace(&format!("{place}: "), ""))?;
    for (key, value) in parsed.configs.into_iter().flatten() {
        let text = match value.get().as_bytes().first() {
            Some(b'"') => serde_json::from_str(value.get()).map_err(|error| reason_of(&error))?,
            Some(b'{' | b'[' | b'n') | None => {
                return Err(format!("{key}: a value is a text, a number, true or false"));
            }
            Some(_) => value.get().to_owned(),
        };
        topic.configs.insert(key, text);
    }
    Ok(topic)
}

/// The bytes that a field stands for.
fn bytes(plain: Option<&RawValue>, base64: Option<String>, name: &str) -> Result<Option<Vec<u8>>, String> {
    match (plain, base64) {
        (Some(_), Some(_)) => Err(format!("\"{name}\" and \"{name}Base64\" exclude each other")),
        (None, None) => Ok(None),
        (None, Some(text)) => match STANDARD.decode(text.as_bytes()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => Err(format!("\"{name}Base64\" is no base64: {error}")),
        },
        (Some(raw), None) => match raw.get() {
            "null" => Ok(None),
            text if text.starts_with('"') => {
                let text: String = serde_json::from_str(text).map_err(|error| reason_of(&error))?;
                Ok(Some(text.into_bytes()))
            }
            text => Ok(Some(text.as_bytes().to_vec())),
        },
    }
}
