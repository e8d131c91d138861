//! Transactions, and the identity of producers (Kafka's `TransactionCoordinator`, `TransactionStateManager`,
//! `TransactionMarkerChannelManager` and `ProducerIdManager`).
//!
//! Contract:
//! - `TransactionCoordinator` is the facade: one method per API, request in, future of the answer out. What must happen in
//!   order has happened when the method returns; only the first request after a start may have to wait for a producer id.
//! - A transactional id lives in the shard of partition `abs(hash(id)) % partitions` of `__transaction_state`. `shard` is the
//!   state machine: `metadata` has the transitions, `end` the rules of EndTxn, `record` Kafka's bytes (value v0 under
//!   transaction.version 0, else v1). Nothing is remembered that is not in the log, but for which markers are still to be
//!   written, the epoch with which InitProducerId may be repeated (Kafka does not write that down either) and, under
//!   transaction.version 0, what value v0 has no room for.
//! - `markers`: once the decision to commit or abort is committed, the markers are written, on the same thread; then the
//!   record that the transaction is complete. A crash in between leaves a prepared transaction, and loading goes on with its
//!   markers. A marker that fails is tried again every 100 ms for as long as the shard lives; a deleted partition needs none.
//! - The client's protocol follows the version of its request; what the coordinator does by itself (time-outs, fencing)
//!   follows the finalized level of `transaction.version`.
//! - Bounds: a transaction has as many partitions as fit in one record (`max.message.bytes` of `__transaction_state`), a shard
//!   as many ids as have been used within `transactional.id.expiration.ms`. There is one task at most for each prepared
//!   transaction whose markers wait.
//! - Idempotent producers get an id that nobody else ever had, epoch 0. Ids come in blocks of 1000 that the controller
//!   writes down before it hands them out; what a crash leaves of a block is lost, never given twice. The next block is
//!   asked for when a tenth of the present one is left, so that nobody waits for the metadata log.
//! - Differences to Kafka 4.3, on purpose: a commit that comes after the coordinator has aborted is PRODUCER_FENCED, not
//!   INVALID_TXN_STATE (KAFKA-20785, fixed in Kafka after 4.3); InitProducerId of a producer whose epochs are used up is
//!   fenced or repeated like any other (Kafka: UNKNOWN_SERVER_ERROR), and may be repeated more than once; a failed append
//!   drops the shard's memory and loads it again, so no epoch is ever bumped in memory only.

mod config;
mod coordinator;
mod end;
mod markers;
mod metadata;
mod producer_ids;
mod queries;
mod record;
mod shard;
mod state;

pub use config::TransactionConfig;
pub use coordinator::{TransactionCoordinator, TransactionMetadataPublisher};
pub use markers::{LocalMarkers, MARKER_RETRY_BACKOFF, MarkerError, MarkerOutcome, MarkerWriter, append_marker};
pub use producer_ids::{ControllerProducerIds, ProducerIdBlock, ProducerIdSource};

#[cfg(test)]
mod epochs_tests;
#[cfg(test)]
mod harness_tests;
#[cfg(test)]
mod lifecycle_tests;
#[cfg(test)]
mod properties_tests;
#[cfg(test)]
mod rules_tests;
