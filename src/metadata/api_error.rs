//! The error of one topic, partition or resource inside a response (`org.apache.kafka.common.requests.ApiError`).

use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::StrBytes;

/// A Kafka error with the message that the client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Kafka's error.
    pub error: ResponseError,
    /// What to tell the client; null where Kafka sends null.
    pub message: Option<String>,
}

impl ApiError {
    /// An error with its own message.
    pub fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self { error, message: Some(message.into()) }
    }

    /// An error without a message, as Kafka answers for an exception whose message is the generic one.
    pub fn bare(error: ResponseError) -> Self {
        Self { error, message: None }
    }

    /// Kafka's number.
    pub fn code(&self) -> i16 {
        self.error.code()
    }

    /// The message for a response.
    pub fn message_bytes(&self) -> Option<StrBytes> {
        self.message.clone().map(StrBytes::from_string)
    }
}

/// The code of a result: 0 without an error.
pub fn code_of(error: Option<&ApiError>) -> i16 {
    error.map_or(0, ApiError::code)
}
