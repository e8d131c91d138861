//! What can go wrong before a state machine is asked, or when its records are written.

use kafka_protocol::ResponseError;

/// Why a coordinator could not carry out a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorError {
    /// The coordinator is not started, or is stopping.
    #[error("the coordinator is not available")]
    NotAvailable,
    /// The shard is being read from its log.
    #[error("the coordinator is loading")]
    LoadInProgress,
    /// Another broker leads the shard's partition, or the shard was given up while the request waited.
    #[error("this broker does not coordinate the key")]
    NotCoordinator,
    /// The partition has too few in-sync replicas for the write.
    #[error("not enough in-sync replicas to write the coordinator's records")]
    NotEnoughReplicas,
    /// The records of one request do not fit in one batch.
    #[error("the coordinator's records take {size} bytes, more than the {limit} bytes of a batch")]
    RecordsTooLarge {
        /// Encoded size of the batch, bytes.
        size: usize,
        /// The partition's `max.message.bytes`.
        limit: usize,
    },
    /// The log refused what a producer or a transaction coordinator wrote, before it wrote anything: an old epoch, no
    /// transaction, an unknown verification.
    #[error("the log refused the batch of a transaction: {0}")]
    Refused(ResponseError),
    /// The disk failed; the log directory is going offline.
    #[error("the coordinator's log failed: {0}")]
    Storage(String),
    /// A record in the log cannot be read.
    #[error("a record of the coordinator's log cannot be read: {0}")]
    CorruptRecord(String),
    /// A defect of this broker.
    #[error("unexpected: {0}")]
    Unexpected(String),
}

impl CoordinatorError {
    /// Kafka's code for the error, as `CoordinatorOperationExceptionHelper` maps it.
    pub fn response_error(&self) -> ResponseError {
        match self {
            Self::NotAvailable | Self::NotEnoughReplicas => ResponseError::CoordinatorNotAvailable,
            Self::LoadInProgress => ResponseError::CoordinatorLoadInProgress,
            Self::NotCoordinator | Self::Storage(_) | Self::CorruptRecord(_) => ResponseError::NotCoordinator,
            Self::Refused(error) => *error,
            Self::RecordsTooLarge { .. } | Self::Unexpected(_) => ResponseError::UnknownServerError,
        }
    }

    /// The code as it stands in a response.
    pub fn code(&self) -> i16 {
        self.response_error().code()
    }
}
