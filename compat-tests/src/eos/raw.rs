//! A client that sends what it is told, loses answers on purpose and repeats requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::campaign::Random;

/// An answer that does not come within this time is lost.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Once, and the answer is read.
    Once,
    /// Once without reading the answer, then again on a new connection.
    LoseAndRepeat,
    /// Twice, one after the other, on two connections; both answers are read.
    Twice,
}

impl Manner {
    /// Mostly once.
    pub fn any(random: &mut Random) -> Self {
        match random.below(10) {
            0 => Self::LoseAndRepeat,
            1 => Self::Twice,
            _ => Self::Once,
        }
    }
}

/// One connection at a time, made when it is needed.
pub struct Raw {
    address: String,
    name: StrBytes,
    stream: Option<TcpStream>,
    correlation_id: i32,
}

impl Raw {
    /// Connects later.
    pub fn new(address: &str, name: &str) -> Self {
        let name = StrBytes::from_string(name.to_owned());
        Self { address: address.to_owned(), name, stream: None, correlation_id: 0 }
    }

    /// Sends a request and reads its answer. After an error the connection is gone, and nobody knows what the broker did.
    pub fn call<T: Request>(&mut self, version: i16, request: &T) -> Result<T::Response> {
        let result = self.send(version, request).and_then(|id| self.receive::<T>(version, id));
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    /// Sends a request and closes the connection.
    pub fn lose<T: Request>(&mut self, version: i16, request: &T, random: &mut Random) -> Result<()> {
        let sent = self.send(version, request);
        // Closed at once, before, while and after the broker does it.
        std::thread::sleep(random.between(Duration::ZERO, Duration::from_millis(15)));
        self.stream = None;
        sent.map(drop)
    }

    /// Closes the connection.
    pub fn disconnect(&mut self) {
        self.stream = None;
    }

    fn stream(&mut self) -> Result<&mut TcpStream> {
        if self.stream.is_none() {
            let address = self.address.parse().context("an address")?;
            let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWERED_WITHIN))?;
            stream.set_write_timeout(Some(ANSWERED_WITHIN))?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().context("just connected")
    }

    fn send<T: Request>(&mut self, version: i16, request: &T) -> Result<i32> {
        self.correlation_id += 1;
        let correlation_id = self.correlation_id;
        let mut frame = BytesMut::from(&[0; 4][..]);
        let header = RequestHeader::default()
            .with_request_api_key(T::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(self.name.clone()));
        header.encode(&mut frame, T::header_version(version))?;
        request.encode(&mut frame, version)?;
        let length = frame.len() as u32 - 4;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream()?.write_all(&frame)?;
        Ok(correlation_id)
    }

    fn receive<T: Request>(&mut self, version: i16, correlation_id: i32) -> Result<T::Response> {
        let stream = self.stream.as_mut().context("not connected")?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length < ANSWER_BYTES_MAX, "an answer of {length} bytes");
        let mut frame = vec![0; length];
        stream.read_exact(&mut frame)?;
        let mut frame = Bytes::from(frame);
        let header = ResponseHeader::decode(&mut frame, T::Response::header_version(version))?;
        ensure!(header.correlation_id == correlation_id, "the answer to another request");
        let response = T::Response::decode(&mut frame, version)?;
        if frame.has_remaining() {
            bail!("{} bytes behind the answer", frame.remaining());
        }
        Ok(response)
    }
}
