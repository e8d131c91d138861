//! Encodes answers into buffers of exactly their size.

use std::cell::RefCell;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, HeaderVersion};

use super::WireError;
use super::frame::FRAME_LENGTH_SIZE;
use super::usual_responses::encode_usual;

/// Memory for encoding that a thread keeps, in bytes.
const SCRATCH_KEPT: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(4096));
}

/// Bytes of a response header: v0 is the correlation id, v1 adds tagged fields, of which there are none.
pub fn response_header_size(header_version: i16) -> usize {
    if header_version >= 1 { 5 } else { 4 }
}

/// Puts a response header. The version is `R::header_version(api_version)`: 1 for flexible versions, but always 0 for
/// ApiVersions, which a client must be able to read before it knows the broker.
pub fn put_response_header(buffer: &mut BytesMut, header_version: i16, correlation_id: i32) {
    buffer.put_i32(correlation_id);
    if header_version >= 1 {
        buffer.put_u8(0);
    }
}

/// A whole frame: length, header, body. It is written once, into memory that the thread keeps, and copied: a pass of the codec
/// for the size alone costs more.
pub fn encode_response<R: Encodable + HeaderVersion + 'static>(
    response: &R,
    version: i16,
    correlation_id: i32,
) -> Result<Bytes, WireError> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        scratch.put_i32(0);
        put_response_header(scratch, R::header_version(version), correlation_id);
        if !encode_usual(response, scratch, version) {
            response.encode(scratch, version).map_err(|error| WireError::Unencodable(error.to_string()))?;
        }
        let size = scratch.len() - FRAME_LENGTH_SIZE;
        let length = i32::try_from(size).map_err(|_| WireError::Unencodable(format!("an answer of {size} bytes")))?;
        scratch[..FRAME_LENGTH_SIZE].copy_from_slice(&length.to_be_bytes());
        let frame = Bytes::copy_from_slice(scratch);
        if scratch.capacity() > SCRATCH_KEPT {
            *scratch = BytesMut::new();
        }
        Ok(frame)
    })
}

/// Length and header of an answer whose body of `body_size` bytes is written elsewhere, in a buffer with room for
/// `capacity` bytes of it.
pub fn start_response<R: HeaderVersion>(
    version: i16,
    correlation_id: i32,
    body_size: usize,
    capacity: usize,
) -> Result<BytesMut, WireError> {
    let header_version = R::header_version(version);
    let header_size = response_header_size(header_version);
    let length = i32::try_from(header_size + body_size)
        .map_err(|_| WireError::Unencodable(format!("an answer of {body_size} bytes")))?;
    let mut buffer = BytesMut::with_capacity(FRAME_LENGTH_SIZE + header_size + capacity);
    buffer.put_i32(length);
    put_response_header(&mut buffer, header_version, correlation_id);
    Ok(buffer)
}

/// The body of a message alone.
pub fn encode_message<M: Encodable>(message: &M, version: i16) -> Result<Bytes, WireError> {
    let unencodable = |error: anyhow::Error| WireError::Unencodable(error.to_string());
    let mut buffer = BytesMut::with_capacity(message.compute_size(version).map_err(unencodable)?);
    message.encode(&mut buffer, version).map_err(unencodable)?;
    Ok(buffer.freeze())
}
