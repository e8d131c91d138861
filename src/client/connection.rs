//! One connection to a broker.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error::ClientError;
use crate::wire::decode_guarded;

/// Longest answer that is read.
const MAX_RESPONSE_BYTES: i32 = 256 * 1024 * 1024;

/// One connection to a broker.
pub struct Client {
    stream: TcpStream,
    client_id: Option<StrBytes>,
    next_correlation_id: i32,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Result<Self, ClientError> {
        Self::from_stream(TcpStream::connect(address).await?)
    }

    /// Takes a connection that is there already.
    pub fn from_stream(stream: TcpStream) -> Result<Self, ClientError> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, client_id: None, next_correlation_id: 0 })
    }

    /// The name that goes with every request from now on.
    pub fn set_client_id(&mut self, client_id: Option<&str>) {
        self.client_id = client_id.map(|text| StrBytes::from_string(text.to_owned()));
    }

    /// The socket, for what a well-behaved client does not do.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends a request and waits for its answer.
    pub async fn call<T: Request>(&mut self, version: i16, request: &T) -> Result<T::Response, ClientError> {
        let correlation_id = self.send(version, request).await?;
        self.receive::<T>(version, correlation_id).await
    }

    /// Sends a request; returns the correlation id that its answer will have.
    pub async fn send<T: Request>(&mut self, version: i16, request: &T) -> Result<i32, ClientError> {
        let mut frame = BytesMut::new();
        let correlation_id = self.put_header(&mut frame, T::KEY, version, T::header_version(version))?;
        request.encode(&mut frame, version).map_err(|error| ClientError::Codec(error.to_string()))?;
        self.send_frame(&frame).await?;
        Ok(correlation_id)
    }

    /// Sends a request whose body is given as bytes.
    pub async fn send_raw(
        &mut self,
        key: i16,
        version: i16,
        header_version: i16,
        body: &[u8],
    ) -> Result<i32, ClientError> {
        let mut frame = BytesMut::new();
        let correlation_id = self.put_header(&mut frame, key, version, header_version)?;
        frame.extend_from_slice(body);
        self.send_frame(&frame).await?;
        Ok(correlation_id)
    }

    /// Sends any bytes as a frame.
    pub async fn send_frame(&mut self, frame: &[u8]) -> Result<(), ClientError> {
        let length = i32::try_from(frame.len()).map_err(|error| ClientError::Codec(error.to_string()))?;
        let bytes = [&length.to_be_bytes(), frame].concat();
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// The next answer, which must be that of the request `correlation_id`.
    pub async fn receive<T: Request>(&mut self, version: i16, correlation_id: i32) -> Result<T::Response, ClientError> {
        let mut frame = self.receive_frame().await?;
        let codec = |error: &dyn std::fmt::Display| ClientError::Codec(error.to_string());
        let header = ResponseHeader::decode(&mut frame, T::Response::header_version(version));
        let header = header.map_err(|error| codec(&error))?;
        if header.correlation_id != correlation_id {
            return Err(ClientError::CorrelationId { expected: correlation_id, actual: header.correlation_id });
        }
        // First without trusting its lengths.
        decode_guarded::<T::Response>(frame.clone(), version).map_err(|error| codec(&error))?;
        let response = T::Response::decode(&mut frame, version).map_err(|error| codec(&error))?;
        if frame.has_remaining() {
            return Err(ClientError::Codec(format!("{} bytes behind the answer", frame.remaining())));
        }
        Ok(response)
    }

    /// The next frame, without its length.
    pub async fn receive_frame(&mut self) -> Result<Bytes, ClientError> {
        let announced = self.stream.read_i32().await?;
        let length = usize::try_from(announced).ok().filter(|_| announced <= MAX_RESPONSE_BYTES);
        let mut frame = vec![0; length.ok_or(ClientError::TooLong(announced))?];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame.into())
    }

    fn put_header(
        &mut self,
        frame: &mut BytesMut,
        key: i16,
        version: i16,
        header_version: i16,
    ) -> Result<i32, ClientError> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(self.client_id.clone());
        header.encode(frame, header_version).map_err(|error| ClientError::Codec(error.to_string()))?;
        Ok(correlation_id)
    }
}
