//! Schemas of the records in Kafka's internal topics, which the codec crate does not have.

pub mod consumer_protocol;
pub mod control;
mod coordinator;
pub mod group;
pub mod metadata;
pub mod transaction;

#[cfg(test)]
mod golden_tests;
