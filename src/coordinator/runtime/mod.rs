//! The runtime of a sharded coordinator (Kafka's `CoordinatorRuntime`).
//!
//! Contract: one `Shard` per partition of the internal topic, one mutex per shard. A write is
//! `decide(state, request, now) -> Decision { response, records, effects }`; the records are appended as one batch,
//! replayed, and only then do the response and the answers to parked requests leave, each waiting until everything
//! its state was computed from is committed. `StateMachine::replay` is the only way to a durable change, live or
//! while loading. A state machine may change what Kafka does not log (members of a running rebalance, parked
//! requests) inside `decide`; when an append fails the whole state is dropped and loaded again.
//! What has to happen elsewhere leaves by `Effect::Emit` through the shard's outlet, once it is committed.
//! Transactions of producers reach a shard by `write_transactional` and `complete_transaction`: the records in a batch of the
//! producer, and in time the marker that decides them, both appended and replayed under the shard's lock.
//! Timers live in one ordered set per shard, driven by one task per active shard. `Shards` are those that a broker leads, by key.

mod batch;
mod decision;
mod java_hash;
mod loader;
mod log;
mod partition_log;
mod shard;
mod shards;
mod timer;

pub use decision::{Decision, Effect, KeyValue, Producer, StateMachine, Ticket};
pub use java_hash::partition_for;
pub use log::CoordinatorLog;
pub use partition_log::PartitionLog;
pub use shard::{Answered, Outlet, Shard, Waiting, committed};
pub use shards::Shards;
pub use timer::Timers;

#[cfg(test)]
pub(crate) mod memory_log_tests;
