//! What a handler is given and what it gives back, and the generic wrapper that decodes, calls and encodes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request};
use smallvec::SmallVec;

use super::services::Services;
use crate::env::{BoxFuture, DiskFile};
use crate::security::Principal;
use crate::wire::{self, WireError};

/// What is known of a request besides its body (Kafka: `RequestContext`). Owns everything: it pins no receive buffer.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The API.
    pub api_key: i16,
    /// The version that the body has and the answer must have.
    pub api_version: i16,
    /// Returned unchanged in the answer.
    pub correlation_id: i32,
    /// The client's name for itself; null is allowed.
    pub client_id: Option<Arc<str>>,
    /// Name of the listener that accepted the connection.
    pub listener: Arc<str>,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Our end of the connection: an address that this client can reach.
    pub local: SocketAddr,
    /// Unique for the life of the process.
    pub connection_id: u64,
    /// Who is asking.
    pub principal: Principal,
}

/// A piece of an encoded answer.
#[derive(Clone)]
pub enum Chunk {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A range of a file, sent from the page cache. A file that turns out shorter closes the connection.
    File {
        /// The open file; stays valid while it is held, whatever happens to its name.
        file: Arc<dyn DiskFile>,
        /// Offset of the first byte.
        position: u64,
        /// Number of bytes.
        length: usize,
    },
}

impl Chunk {
    /// Number of bytes this chunk puts on the wire.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File { length, .. } => *length,
        }
    }

    /// Whether this chunk puts nothing on the wire.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An encoded answer: the body alone from a handler (`Answer::Raw`), the whole frame from the wrapper (`Outcome`).
#[derive(Clone, Default)]
pub struct Response {
    /// In the order in which they are sent.
    pub chunks: SmallVec<[Chunk; 2]>,
}

impl Response {
    /// An answer of one piece of memory.
    pub fn from_bytes(bytes: Bytes) -> Self {
        let mut response = Self::default();
        response.chunks.push(Chunk::Bytes(bytes));
        response
    }

    /// Number of bytes on the wire.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Chunk::len).sum()
    }

    /// Whether nothing would be sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    /// The body does not decode.
    #[error("request of {api} v{version} cannot be decoded: {message}")]
    Undecodable {
        /// Name of the API.
        api: &'static str,
        /// Its version.
        version: i16,
        /// The decoder's words.
        message: String,
    },
    /// The answer does not encode: a defect of ours.
    #[error("answer of {api} v{version} cannot be encoded: {message}")]
    Unencodable {
        /// Name of the API.
        api: &'static str,
        /// Its version.
        version: i16,
        /// The encoder's words.
        message: String,
    },
    /// What Kafka answers by closing too, or a handler that cannot go on.
    #[error("{0}")]
    Refused(String),
}

/// What a handler gives back.
pub enum Answer<R> {
    /// The answer is ready.
    Now(R),
    /// Everything that must happen in order has happened; the answer comes when the future is done.
    Later(BoxFuture<'static, R>),
    /// Nothing has happened yet: the future does it all, and gives the answer. No later request of the connection starts before.
    First(BoxFuture<'static, Answer<R>>),
    /// No answer is sent (Produce with acks=0).
    Nothing,
    /// A body encoded by the handler itself (Fetch).
    Raw(Response),
    /// As `Raw`, later.
    RawLater(BoxFuture<'static, Response>),
    /// Closes the connection after the answers before it.
    Close(CloseReason),
}

/// What the wrapper gives to the connection: a whole frame with its length in front, or no frame.
pub enum Outcome {
    /// Ready to be sent.
    Now(Response),
    /// Ready to be sent when the future is done.
    Later(BoxFuture<'static, Result<Response, CloseReason>>),
    /// What has to be done before the next request starts; gives the outcome of the request.
    First(BoxFuture<'static, Outcome>),
    /// Nothing is sent.
    Nothing,
    /// Closes the connection after the answers before it.
    Close(CloseReason),
}

impl From<Result<Response, CloseReason>> for Outcome {
    fn from(result: Result<Response, CloseReason>) -> Self {
        match result {
            Ok(frame) => Self::Now(frame),
            Err(reason) => Self::Close(reason),
        }
    }
}

/// The handler of a row of the registry: guard-decodes, handles, encodes.
pub type HandlerFunction = fn(&'static str, &Arc<Services>, &RequestContext, Bytes) -> Outcome;

/// Decodes `body`, calls `handle` and turns its answer into frames. The registry's rows are made of this.
pub fn run<T: Request + Send + 'static>(
    api: &'static str,
    services: &Arc<Services>,
    context: &RequestContext,
    body: Bytes,
    handle: fn(&Arc<Services>, &RequestContext, T) -> Answer<T::Response>,
) -> Outcome {
    let version = context.api_version;
    let request = match wire::decode_request::<T>(body, version) {
        Ok(request) => request,
        Err(error) => return Outcome::Close(CloseReason::Undecodable { api, version, message: error.to_string() }),
    };
    outcome_of::<T::Response>(api, version, context.correlation_id, handle(services, context, request))
}

fn outcome_of<R: Encodable + HeaderVersion + 'static>(
    api: &'static str,
    version: i16,
    correlation_id: i32,
    answer: Answer<R>,
) -> Outcome {
    match answer {
        Answer::Now(response) => Outcome::from(encode::<R>(api, version, correlation_id, &response)),
        Answer::Later(future) => Outcome::Later(Box::pin(async move {
            let response = future.await;
            encode::<R>(api, version, correlation_id, &response)
        })),
        Answer::First(future) => {
            Outcome::First(Box::pin(async move { outcome_of(api, version, correlation_id, future.await) }))
        }
        Answer::Nothing => Outcome::Nothing,
        Answer::Raw(body) => Outcome::from(frame::<R>(api, version, correlation_id, body)),
        Answer::RawLater(future) => Outcome::Later(Box::pin(async move {
            let body = future.await;
            frame::<R>(api, version, correlation_id, body)
        })),
        Answer::Close(reason) => Outcome::Close(reason),
    }
}

/// Encodes a whole frame: length, response header, body.
pub fn encode<R: Encodable + HeaderVersion + 'static>(
    api: &'static str,
    version: i16,
    correlation_id: i32,
    response: &R,
) -> Result<Response, CloseReason> {
    match wire::encode_response(response, version, correlation_id) {
        Ok(frame) => Ok(Response::from_bytes(frame)),
        Err(error) => Err(unencodable(api, version, &error)),
    }
}

fn unencodable(api: &'static str, version: i16, error: &WireError) -> CloseReason {
    CloseReason::Unencodable { api, version, message: error.to_string() }
}

/// Puts length and response header in front of a body that the handler encoded.
fn frame<R: HeaderVersion>(
    api: &'static str,
    version: i16,
    correlation_id: i32,
    body: Response,
) -> Result<Response, CloseReason> {
    let head = wire::start_response::<R>(version, correlation_id, body.len(), 0);
    let mut response = Response::from_bytes(head.map_err(|error| unencodable(api, version, &error))?.freeze());
    response.chunks.extend(body.chunks);
    Ok(response)
}
