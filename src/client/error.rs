//! What can go wrong on a client's connection.

/// Errors of the client room.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket failed, or was closed: `UnexpectedEof`.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A message does not encode or decode.
    #[error("{0}")]
    Codec(String),
    /// The answer belongs to another request.
    #[error("answer to request {actual} where {expected} was next")]
    CorrelationId {
        /// Of the oldest request without an answer.
        expected: i32,
        /// Of the answer.
        actual: i32,
    },
    /// The broker announces an answer that is too long.
    #[error("an answer of {0} bytes")]
    TooLong(i32),
}
