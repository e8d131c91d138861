//! Between the codec's strings, which are slices of a frame, and our own.

use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;

/// A string that does not pin the frame it came in. Takes `&StrBytes`, `&TopicName`, `&GroupId` and so on.
pub fn owned(text: &str) -> Arc<str> {
    Arc::from(text)
}

/// As [`owned`], for a string that may be null.
pub fn owned_option(text: Option<&StrBytes>) -> Option<Arc<str>> {
    text.map(|text| owned(text))
}

/// A copy for an answer that outlives the text.
pub fn str_bytes(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
