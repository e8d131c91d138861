//! What can be wrong with bytes from the network or a log, in this room's words.

/// Why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The length in front of a frame is negative or above the limit (Kafka: `InvalidReceiveException`).
    #[error("frame of {length} bytes: the limit here is {limit}")]
    FrameTooLarge {
        /// As announced.
        length: i64,
        /// Largest length that is read.
        limit: usize,
    },
    /// The request header does not decode.
    #[error("request header: {0}")]
    Header(String),
    /// No API has this key.
    #[error("unknown API key {0}")]
    UnknownApiKey(i16),
    /// A message does not decode.
    #[error("cannot decode: {0}")]
    Undecodable(String),
    /// A message cannot be written in the version asked for: a defect of ours.
    #[error("cannot encode: {0}")]
    Unencodable(String),
    /// A log holds a record of a kind that we do not know.
    #[error("unknown record type {0}")]
    UnknownRecordType(i16),
    /// Bytes are left after a record that must fill its place.
    #[error("{0} bytes after the record")]
    TrailingBytes(usize),
}
