//! Coordinators: who owns a consumer group and its offsets, a transaction, and the identity of producers.
//!
//! Contract:
//! - A coordinator is sharded by the partitions of its internal topic. `runtime` owns a shard's life: load it from the
//!   log, decide, append, replay, answer; forget it and load it again when an append fails or leadership goes. Memory
//!   never holds a durable fact that the log does not.
//! - What a request changes is changed before the method returns; only the answer is a future. So pipelined requests
//!   keep their order.
//! - Lock order: shard, then whatever the log takes. Nothing is awaited under a shard's lock, and answers are handed
//!   over after it is released.
//! - `group` speaks Kafka's classic group protocol (`GroupMetadataManager`, `OffsetMetadataManager` of Kafka 4.3);
//!   `transaction` decides transactions (`TransactionCoordinator`), writes their markers and hands out producer ids.

mod error;
pub mod group;
pub mod runtime;
pub mod transaction;

pub use error::CoordinatorError;
pub use group::{GroupCoordinator, GroupCoordinatorConfig, GroupMetadataPublisher, GroupRequestContext};
pub use runtime::CoordinatorLog;
pub use transaction::{TransactionConfig, TransactionCoordinator, TransactionMetadataPublisher};
