//! Schemas of the records in Kafka's internal topics, which the codec crate does not have.

mod coordinator;
pub mod group;
pub mod metadata;
pub mod transaction;

#[cfg(test)]
mod golden_tests;
