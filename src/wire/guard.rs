//! Decodes what the network sent without trusting its lengths (design 3.6).
//!
//! The codec crate reserves memory for as many elements as a length says, before it has seen one. Every message is
//! therefore read twice: once to see whether its lengths are true, then for real.
//!
//! Requests are walked by their [`super::shape`], which allocates nothing and bounds what the decoded form may take; the two
//! that carry data have a reader of their own, [`super::usual_requests`], that does both in one pass.
//! Everything else that others wrote (answers, members' subscriptions, requests without a shape) is first decoded through
//! [`Guard`], a buffer that hands out no length which the remaining bytes cannot satisfy:
//! - A 32-bit integer above the number of remaining bytes is handed out as -2. Where it is a length the decode fails,
//!   since only -1 (null) is a negative length; where it is a value nobody looks at it in the first pass.
//! - A variable length integer of more than one byte above the number of remaining bytes ends the decode. These are only
//!   lengths, and numbers and sizes of tagged fields; no message has a tag of two bytes. One of one byte is at most 127
//!   and may pass: what it reserves is little, and the decode fails for want of bytes.
//!
//! Bytes after the message are ignored, as Kafka does.

use std::ops::Range;

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::buf::{ByteBuf, NotEnoughBytesError};
use kafka_protocol::protocol::{Decodable, Request};

use super::WireError;
use super::shape::request_shape;
use super::usual_requests::decode_usual;

/// A length that no decoder accepts.
const IMPOSSIBLE_LENGTH: i32 = -2;

/// Decodes the body of a request. What is decoded are slices of `body`. Fails on a length that the body cannot satisfy,
/// and on more elements than 16 MiB and ten times the body have room for.
pub fn decode_request<T: Request + 'static>(mut body: Bytes, version: i16) -> Result<T, WireError> {
    if let Some(request) = decode_usual(&body, version) {
        return Ok(request);
    }
    let Some(shape) = request_shape(T::KEY) else {
        return decode_guarded(body, version);
    };
    shape.walk(&body, version)?;
    T::decode(&mut body, version).map_err(undecodable)
}

/// Decodes any message of the codec crate that somebody else wrote.
pub fn decode_guarded<T: Decodable>(mut bytes: Bytes, version: i16) -> Result<T, WireError> {
    T::decode(&mut Guard(bytes.clone()), version).map_err(undecodable)?;
    T::decode(&mut bytes, version).map_err(undecodable)
}

fn undecodable(error: anyhow::Error) -> WireError {
    WireError::Undecodable(error.to_string())
}

/// The buffer of the first pass.
pub(super) struct Guard(pub(super) Bytes);

impl Guard {
    /// Whether the variable length integer that starts at the next byte, if one does, may be handed out. Asked at each of
    /// its bytes, so that it does not matter where a decoder takes it to start.
    fn varint_is_plausible(&self) -> bool {
        let mut value = 0_u32;
        for (index, byte) in self.0.iter().take(5).enumerate() {
            value |= u32::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                // A compact length is one more than the length.
                return index == 0 || value as usize <= self.0.len() - index;
            }
        }
        false
    }

    fn is_plausible(&self, value: i64) -> bool {
        value <= self.0.len() as i64
    }
}

impl Buf for Guard {
    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.0
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        if !self.0.is_empty() && !self.varint_is_plausible() {
            return Err(TryGetError { requested: 1, available: 0 });
        }
        self.0.try_get_u8()
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let value = self.0.try_get_i32()?;
        Ok(if self.is_plausible(value.into()) { value } else { IMPOSSIBLE_LENGTH })
    }

    fn try_get_u32(&mut self) -> Result<u32, TryGetError> {
        let value = self.0.try_get_u32()?;
        Ok(if self.is_plausible(value.into()) { value } else { 0 })
    }
}

impl ByteBuf for Guard {
    fn peek_bytes(&mut self, range: Range<usize>) -> Bytes {
        self.0.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.0.split_to(size)
    }

    fn try_get_bytes(&mut self, size: usize) -> Result<Bytes, NotEnoughBytesError> {
        self.0.try_get_bytes(size)
    }
}
