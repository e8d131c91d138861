//! From each room's errors to Kafka's codes: one exhaustive `match` per room, so that a new error cannot be forgotten.

use kafka_protocol::error::ResponseError;

/// An error of a room that has a code on the wire (Kafka: `Errors`).
pub trait ToErrorCode {
    /// Kafka's error.
    fn response_error(&self) -> ResponseError;

    /// Its number.
    fn error_code(&self) -> i16 {
        self.response_error().code()
    }
}

/// No error.
pub const NONE: i16 = 0;
