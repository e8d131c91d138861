//! Room `replica` (floor 3): the partitions that this broker has, who leads them, what is committed, and who waits for it.
//!
//! What holds:
//! - A partition has a leader epoch, a log end offset, a high watermark and in-sync replicas from day one, although the
//!   in-sync set is this broker alone for now. acks=all completes when the high watermark has passed the batch and, where
//!   the topic's configuration demands a flush, when the log's flush ticket is done.
//! - Whoever waits is one entry in a list: a produce in its partition's, ordered by offset ([`Partition::committed`]); a fetch
//!   in those of the partitions it reads ([`Partition::watch`], [`FetchWatcher`]). The append and the high watermark wake
//!   them; nothing polls, and an append looks at its own partition's waiters only. Waiters leave on completion, on
//!   timeout and when their connection goes (all three are a drop).
//! - Lock order: leadership (a partition's) → log → waiter lists → a watcher. Nothing is awaited under any of them, and
//!   waiters are woken after the log's lock is released.
//! - Metadata come in as deltas, one at a time; a partition that the metadata give to this broker serves when
//!   `on_metadata_update` returns.

mod delayed_operations;
mod error;
mod fetch_watcher;
mod high_watermark_waiters;
mod offset_lookup;
mod partition;
mod replica_manager;

pub use delayed_operations::{DelayedOperation, DelayedOperations, HighWatermarkWait, MAX_DELAYED_FETCHES};
pub use error::ReplicaError;
pub use fetch_watcher::{FetchWatcher, WatchToken};
pub use offset_lookup::{
    EARLIEST_LOCAL_TIMESTAMP, EARLIEST_TIMESTAMP, LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, ListedOffset,
    MAX_TIMESTAMP,
};
pub use partition::{ACKS_ALL, AppendResult, Leadership, Partition, PartitionWatch, ReadRequest, ReadResult};
pub use replica_manager::{LeadershipListener, ReplicaManager};
