//! Ottla: a Kafka wire-protocol-compatible broker. `src/README.md` is the map of the rooms.
#![warn(missing_docs)]

pub mod api;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod coordinator;
pub mod env;
pub mod metadata;
pub mod mutant;
pub mod quota;
pub mod record;
pub mod replica;
pub mod security;
pub mod server;
pub mod storage;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod tools;
pub mod types;
pub mod wire;

pub use broker::{Broker, BrokerError};
pub use config::{StartInput, StartOptions};
