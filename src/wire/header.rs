//! Request and response headers (`RequestHeader.json`, `ResponseHeader.json`).

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::WireError;
use super::api_keys;
use super::message::{skip, take_unsigned_varint};

/// What stands in front of a request's body. Owns its client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API.
    pub api_key: i16,
    /// The version of the body.
    pub api_version: i16,
    /// Returned unchanged in the answer.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<Arc<str>>,
}

/// The API key and version that a frame starts with, from its first four bytes: enough to find the limit for the rest.
pub fn peek_api(start: [u8; 4]) -> (i16, i16) {
    let [key_high, key_low, version_high, version_low] = start;
    (i16::from_be_bytes([key_high, key_low]), i16::from_be_bytes([version_high, version_low]))
}

impl RequestHeader {
    /// Takes the header off a frame, whose rest is then the body. A key that Kafka does not have is an error (Kafka
    /// closes the connection); versions are not looked at but to tell header v1 from v2.
    pub fn decode(frame: &mut Bytes) -> Result<Self, WireError> {
        Self::decode_reusing(frame, None)
    }

    /// As [`RequestHeader::decode`]; `known`, the client id of the request before, is used again when it is the same,
    /// which it is on nearly every connection.
    pub fn decode_reusing(frame: &mut Bytes, known: Option<&Arc<str>>) -> Result<Self, WireError> {
        let short = |_| WireError::Header("shorter than a header".to_owned());
        let api_key = frame.try_get_i16().map_err(short)?;
        let api_version = frame.try_get_i16().map_err(short)?;
        let correlation_id = frame.try_get_i32().map_err(short)?;
        let header_version = api_keys::request_header_version(api_key, api_version)?;
        // The client id keeps its two byte length in v2, so that any broker can read it.
        let client_id = match frame.try_get_i16().map_err(short)? {
            -1 => None,
            length => Some(take_client_id(frame, length, known)?),
        };
        if header_version >= 2 {
            skip_tagged_fields(frame).map_err(|error| WireError::Header(error.to_string()))?;
        }
        Ok(Self { api_key, api_version, correlation_id, client_id })
    }
}

fn take_client_id(frame: &mut Bytes, length: i16, known: Option<&Arc<str>>) -> Result<Arc<str>, WireError> {
    let length = usize::try_from(length).map_err(|_| WireError::Header(format!("client id of {length} bytes")))?;
    if length > frame.remaining() {
        return Err(WireError::Header(format!("client id of {length} bytes, {} remaining", frame.remaining())));
    }
    let client_id = match known {
        Some(known) if known.as_bytes() == &frame[..length] => known.clone(),
        // Kafka replaces what is not UTF-8; the name is only shown and compared.
        _ => String::from_utf8_lossy(&frame[..length]).into(),
    };
    frame.advance(length);
    Ok(client_id)
}

fn skip_tagged_fields(frame: &mut Bytes) -> anyhow::Result<()> {
    for _ in 0..take_unsigned_varint(frame)? {
        take_unsigned_varint(frame)?;
        let size = take_unsigned_varint(frame)?;
        skip(frame, size)?;
    }
    Ok(())
}
