//! The identity of producers (Kafka's `TransactionCoordinator` and `ProducerIdManager`), in its first form.
//!
//! Contract:
//! - Idempotent producers get an id that nobody else ever had, epoch 0. Ids come in blocks of 1000 that the controller
//!   writes down before it hands them out; what a crash leaves of a block is lost, never given twice. The next block is
//!   asked for when a tenth of the present one is left, so that nobody waits for the metadata log.
//! - A request without transactional id that names a producer id and epoch (KIP-360) gets a new id too: only
//!   transactional producers have an epoch that a coordinator bumps. Naming one of the two is INVALID_REQUEST.
//! - There are no transactions yet. InitProducerId with a transactional id, and FindCoordinator for one, are refused with
//!   TRANSACTIONAL_ID_AUTHORIZATION_FAILED. Of all codes it is the one that every client takes as final at once: the Java
//!   producer fails `initTransactions` with it and stops, librdkafka raises a fatal error (it retries all other codes
//!   until the caller's timeout, UNSUPPORTED_VERSION and INVALID_REQUEST among them), franz-go, sarama and kafkajs return
//!   it. Kafka itself refuses a feature that is switched off in this way (two-phase commit). The message of
//!   FindCoordinator (version 4 and later carry one by key) and the broker's log say what it means here. An empty
//!   transactional id is INVALID_REQUEST, as in Kafka.

mod coordinator;
mod producer_ids;

pub use coordinator::{TRANSACTIONS_REFUSED, TransactionCoordinator};
pub use producer_ids::{ControllerProducerIds, ProducerIdBlock, ProducerIdSource};
