//! Consumer groups: Kafka's classic protocol, and the offsets that groups commit.
//!
//! Contract:
//! - `GroupCoordinator` is the facade: one method per API, request in, future of the response out. The state has changed
//!   when the method returns; the future waits for other members and for the commit.
//! - A group lives in the shard of partition `abs(hash(group id)) % partitions` of `__consumer_offsets`, where `hash` is
//!   Java's `String.hashCode`.
//! - `shard` is the state machine: groups (`classic`) and `offsets`. Its durable changes are Kafka's records (`records`):
//!   OffsetCommitKey v1 with value v4 (v1 with an expiry of its own), GroupMetadataKey v2 with value v3.
//! - Offsets in a batch of a producer are `pending_offsets` until the marker of its transaction stands in the log of the
//!   same partition (`complete_transaction`), live as well as while loading: memory is a fold over the log.
//! - Differences to Kafka 4.3, on purpose: a JoinGroup or SyncGroup that is superseded by a newer one of the same member
//!   is answered REBALANCE_IN_PROGRESS (Kafka never answers it); a failed append drops the shard's memory and loads it
//!   again, where Kafka reverts; a group that has only pending members is not deleted by the periodic cleanup; a tie of
//!   protocol votes goes to the protocol that was voted for first (in Kafka to the order of a hash map); the members of an
//!   answer come in the order in which they joined.

mod classic;
mod config;
mod context;
mod coordinator;
mod offsets;
mod pending_offsets;
mod positions;
mod record;
mod records;
mod shard;
mod step;
mod subscription;
mod transactional;

pub use config::GroupCoordinatorConfig;
pub use context::GroupRequestContext;
pub use coordinator::{GroupCoordinator, GroupMetadataPublisher, commit_error, fetch_error};
pub use positions::GroupPosition;
pub use transactional::TransactionalOffsetCommit;

#[cfg(test)]
mod harness_tests;
#[cfg(test)]
mod membership_tests;
#[cfg(test)]
mod offsets_tests;
#[cfg(test)]
mod properties_tests;
