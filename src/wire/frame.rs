//! Frames: a four byte length and that many bytes; and how long a frame may be, which is known before it is read.

use super::WireError;

/// Bytes of the length in front of a frame.
pub const FRAME_LENGTH_SIZE: usize = 4;
/// Shortest frame that can hold a request header: key, version, correlation id, null client id.
pub const FRAME_LENGTH_MIN: usize = 10;

const PRODUCE_KEY: i16 = 0;

/// Largest frames that are read, in bytes without the length itself.
///
/// Kafka has one limit for all (`socket.request.max.bytes`). Only Produce carries data; a client that cannot prove who it
/// is, or a request that holds names and numbers, has no need for 100 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// For Produce: `socket.request.max.bytes`.
    pub produce: usize,
    /// For every other API; never above `produce`.
    pub other: usize,
    /// On a connection that still has to authenticate: Kafka's own limit there
    /// (`sasl.server.max.receive.size`).
    pub unauthenticated: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self::with_request_max(100 * 1024 * 1024)
    }
}

impl FrameLimits {
    /// The limits for a value of `socket.request.max.bytes`.
    pub fn with_request_max(socket_request_max_bytes: usize) -> Self {
        Self {
            produce: socket_request_max_bytes,
            other: socket_request_max_bytes.min(16 * 1024 * 1024),
            unauthenticated: socket_request_max_bytes.min(512 * 1024),
        }
    }

    /// The limit for an API, once its key is known.
    pub fn for_api(&self, api_key: i16, authenticated: bool) -> usize {
        match api_key {
            _ if !authenticated => self.unauthenticated,
            PRODUCE_KEY => self.produce,
            _ => self.other,
        }
    }

    /// The length of a frame, from the four bytes in front of it; checked against the widest limit that can still apply.
    /// To be checked again with [`FrameLimits::check`] when the API is known, before memory is reserved.
    pub fn length(&self, prefix: [u8; FRAME_LENGTH_SIZE], authenticated: bool) -> Result<usize, WireError> {
        let limit = if authenticated { self.produce } else { self.unauthenticated };
        check(i64::from(i32::from_be_bytes(prefix)), limit)
    }

    /// Checks a frame's length against the limit for its API.
    pub fn check(&self, length: usize, api_key: i16, authenticated: bool) -> Result<usize, WireError> {
        check(i64::try_from(length).unwrap_or(i64::MAX), self.for_api(api_key, authenticated))
    }
}

fn check(length: i64, limit: usize) -> Result<usize, WireError> {
    match usize::try_from(length) {
        Ok(size) if size <= limit => Ok(size),
        _ => Err(WireError::FrameTooLarge { length, limit }),
    }
}
