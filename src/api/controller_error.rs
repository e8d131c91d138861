//! What a client is told when the controller could not run its command, and how long the command may wait.

use std::time::Duration;

use super::error_mapping::ToErrorCode;
use crate::metadata::{ApiError, MetadataError};

/// The error for everything that the request named.
pub fn api_error(error: &MetadataError) -> ApiError {
    match error {
        MetadataError::TooLarge => ApiError::new(error.response_error(), error.to_string()),
        // What is wrong with the disk is the operator's business.
        _ => ApiError::bare(error.response_error()),
    }
}

/// `timeout.ms` of a request: how long it may wait for its turn. As in Kafka, a request without time is not run.
pub fn timeout(timeout_ms: i32) -> Option<Duration> {
    Some(Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)))
}
