//! One blocking connection: whole frames out, whole frames in.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// Who does not answer for so long will not.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);
const FIRST_BUFFER: usize = 64 * 1024;
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// The name in every request.
pub const CLIENT_ID: &str = "bench";

/// A connection and what was read from it but not looked at.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: Range<usize>,
    correlation_id: i32,
}

impl Connection {
    /// Connects and asks for versions, as every client does first: behind that the broker has accepted the connection.
    pub fn open(address: &str) -> Result<Self> {
        let mut connection = Self::connect(address)?;
        let versions = api_versions(connection.correlate())?;
        connection.send(&versions)?;
        connection.receive().context("the broker does not say its versions")?;
        connection.rest();
        Ok(connection)
    }

    /// Connects, with `TCP_NODELAY`.
    pub fn connect(address: &str) -> Result<Self> {
        let address = address.to_socket_addrs()?.next().with_context(|| format!("no address: {address}"))?;
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWERED_WITHIN))?;
        stream.set_write_timeout(Some(ANSWERED_WITHIN))?;
        Ok(Self { stream, buffer: Vec::new(), filled: 0..0, correlation_id: 0 })
    }

    /// The next correlation id.
    pub fn correlate(&mut self) -> i32 {
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        self.correlation_id
    }

    /// Sends a frame whose first four bytes are its length.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.stream.write_all(frame).context("cannot send")
    }

    /// The next whole answer, without its length.
    pub fn receive(&mut self) -> Result<&[u8]> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(&self.buffer[frame]);
            }
            self.fill()?;
        }
    }

    /// The place of an answer in what was read, if there is a whole one; it stays valid until the next `fill`.
    pub fn buffered(&mut self) -> Result<Option<Range<usize>>> {
        let Some(length) = self.length_of_next()? else { return Ok(None) };
        let start = self.filled.start + 4;
        if self.filled.end < start + length {
            return Ok(None);
        }
        self.filled.start = start + length;
        Ok(Some(start..start + length))
    }

    /// The bytes of an answer that `buffered` found.
    pub fn bytes(&self, frame: Range<usize>) -> &[u8] {
        &self.buffer[frame]
    }

    /// Reads once; blocks if there is nothing.
    pub fn fill(&mut self) -> Result<()> {
        let wanted = self.length_of_next()?.map_or(FIRST_BUFFER, |length| (length + 4).max(FIRST_BUFFER));
        if self.filled.is_empty() {
            self.filled = 0..0;
        } else if self.buffer.len() - self.filled.start < wanted {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let read = self.stream.read(&mut self.buffer[self.filled.end..]).context("no answer")?;
        ensure!(read > 0, "the broker closed the connection");
        self.filled.end += read;
        Ok(())
    }

    /// Sends a request by the codec and waits for its answer: for what is not timed by itself.
    pub fn call<T: Request>(&mut self, version: i16, request: &T) -> Result<T::Response> {
        let id = self.correlate();
        let frame = encode(version, id, request)?;
        self.send(&frame)?;
        let (found, response) = decode::<T>(version, self.receive()?)?;
        ensure!(found == id, "the answer to another request");
        Ok(response)
    }

    /// Gives its buffer back until it is needed again.
    pub fn rest(&mut self) {
        self.buffer.truncate(self.filled.end);
        self.buffer.shrink_to_fit();
    }

    fn length_of_next(&self) -> Result<Option<usize>> {
        let Some(length) = self.buffer[self.filled.clone()].first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
        Ok(Some(length))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A request for the versions of all requests.
pub fn api_versions(correlation_id: i32) -> Result<Vec<u8>> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str(CLIENT_ID))
        .with_client_software_version(StrBytes::from_static_str("1"));
    encode(3, correlation_id, &request)
}

/// A whole frame, with its length. The correlation id is at byte 8.
pub fn encode<T: Request>(version: i16, correlation_id: i32, request: &T) -> Result<Vec<u8>> {
    let mut frame = BytesMut::from(&[0; 4][..]);
    let header = RequestHeader::default()
        .with_request_api_key(T::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    header.encode(&mut frame, T::header_version(version))?;
    request.encode(&mut frame, version)?;
    let length = frame.len() as u32 - 4;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.to_vec())
}

/// Correlation id and body of an answer to such a request.
pub fn decode<T: Request>(version: i16, answer: &[u8]) -> Result<(i32, T::Response)> {
    let mut answer = Bytes::copy_from_slice(answer);
    let header = ResponseHeader::decode(&mut answer, T::Response::header_version(version))?;
    let response = T::Response::decode(&mut answer, version)?;
    if answer.has_remaining() {
        bail!("{} bytes behind the answer to request {}", answer.remaining(), T::KEY);
    }
    Ok((header.correlation_id, response))
}
