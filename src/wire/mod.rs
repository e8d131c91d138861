//! Bytes to messages and back: frames, headers, bodies, and the record schemas that the codec crate lacks.
//!
//! Contract:
//! - Nothing read from the network reaches the codec crate's decoders but through `guard`: a length that lies must never
//!   make them reserve memory. A request whose shape is known is walked instead of decoded twice (design 3.6 asks for two
//!   decodes): nothing is allocated for a lie, the honest request is decoded once, and elements can be counted. Produce and
//!   Fetch as they usually are need no walk: their reader trusts no length.
//! - What a decoded request holds are slices of its frame: whoever keeps a string longer than the request keeps `owned` ones.
//! - Answers are encoded into buffers of exactly their size.
//! - Records of internal topics are Kafka's to the byte (golden tests against Kafka's own classes).

pub mod api_keys;
#[cfg(test)]
mod codec_tests;
pub mod consumer_protocol;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod every_request;
mod frame;
mod guard;
#[cfg(test)]
mod guard_tests;
mod header;
mod json;
mod message;
pub mod records;
mod response;
mod shape;
#[cfg(any(test, feature = "testing"))]
mod shape_writer;
mod text;
mod usual_requests;
mod usual_responses;

pub use error::WireError;
pub use frame::{FRAME_LENGTH_MIN, FRAME_LENGTH_SIZE, FrameLimits};
pub use guard::{decode_guarded, decode_request};
pub use header::{RequestHeader, peek_api};
pub use json::{put_json_bytes, put_json_text};
pub use response::{encode_message, encode_response, put_response_header, response_header_size, start_response};
pub use text::{owned, owned_option, str_bytes};
