//! How the coordinators' records stand in a log: the key is its type and the message, the value its version and the
//! message (`CoordinatorRecordSerde`).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::wire::WireError;

/// Keys exist in one version.
const KEY_VERSION: i16 = 0;

/// A message that is the key of a record.
pub trait CoordinatorKey: Encodable + Decodable {
    /// The number that stands for the record's type in the log (`CoordinatorRecordType.id`).
    const RECORD_TYPE: i16;
}

/// The key of a record: type, then message.
pub fn encode_key<K: CoordinatorKey>(key: &K) -> Result<Bytes, WireError> {
    encode(K::RECORD_TYPE, key, KEY_VERSION)
}

/// The value of a record: version, then message.
pub fn encode_value<V: Encodable>(value: &V, version: i16) -> Result<Bytes, WireError> {
    encode(version, value, version)
}

/// Reads the value of a record: the message and the version it was written in. A version that Kafka 4.3 does not have is
/// an error; bytes after the message are ignored, as Kafka does.
pub fn decode_value<V: Decodable>(value: &[u8]) -> Result<(V, i16), WireError> {
    let buffer = &mut &*value;
    let version = take_number(buffer, "version of a coordinator record")?;
    V::decode(buffer, version).map(|message| (message, version)).map_err(undecodable)
}

/// Reads the number that a key starts with.
pub(super) fn take_record_type(key: &mut &[u8]) -> Result<i16, WireError> {
    take_number(key, "type of a coordinator record")
}

/// Reads the message of a key.
pub(super) fn take_key<K: CoordinatorKey>(key: &mut &[u8]) -> Result<K, WireError> {
    K::decode(key, KEY_VERSION).map_err(undecodable)
}

fn encode<M: Encodable>(number: i16, message: &M, version: i16) -> Result<Bytes, WireError> {
    let unencodable = |error: anyhow::Error| WireError::Unencodable(error.to_string());
    let mut buffer = BytesMut::with_capacity(2 + message.compute_size(version).map_err(unencodable)?);
    buffer.put_i16(number);
    message.encode(&mut buffer, version).map_err(unencodable)?;
    Ok(buffer.freeze())
}

fn take_number(buffer: &mut &[u8], what: &str) -> Result<i16, WireError> {
    buffer.try_get_i16().map_err(|_| WireError::Undecodable(format!("no {what}")))
}

fn undecodable(error: anyhow::Error) -> WireError {
    WireError::Undecodable(error.to_string())
}
