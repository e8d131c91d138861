//! A small Kafka client: one connection, frames in and out.
//!
//! Contract: it does what it is told, wrong things too (any bytes as a frame, any version); nothing is retried. For tests
//! and tools; brokers that talk to brokers build on it later.

mod connection;
mod error;
mod http;

pub use connection::Client;
pub use error::ClientError;
pub use http::http_get;
