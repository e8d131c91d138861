//! The partition behind a shard, as the shard sees it.

use bytes::Bytes;

use super::decision::Producer;
use crate::coordinator::CoordinatorError;
use crate::env::BoxFuture;
use crate::types::{EndTransactionMarker, VerificationGuard};

/// A partition of a coordinator's internal topic (Kafka's `PartitionWriter` and `CoordinatorLoader` in one).
/// Implemented for `replica::Partition`; in memory in tests.
pub trait CoordinatorLog: Send + Sync {
    /// Appends one record batch as leader; the log sets base offset and leader epoch. Gives the offset after the batch.
    /// A batch of a producer that has no transaction here yet brings the guard of its verification, any other `NONE`.
    /// Errors: `NotCoordinator` when this broker does not lead the partition (any more), `NotEnoughReplicas`,
    /// `RecordsTooLarge`, `Refused`, `Storage`. After any other than `RecordsTooLarge` and `Refused` the shard forgets its state.
    /// Called under the shard's lock: it must not call back into the coordinator.
    fn append(&self, batch: Bytes, guard: VerificationGuard) -> Result<i64, CoordinatorError>;

    /// As `append`, the marker that ends a producer's transaction.
    fn append_end_transaction_marker(&self, marker: &EndTransactionMarker) -> Result<i64, CoordinatorError>;

    /// Asks the log for the guard that the producer's next batch must bring: `NONE` when it has a transaction here already
    /// (`PartitionWriter.maybeStartTransactionVerification`). Errors: `NotCoordinator`, `Refused`.
    fn start_transaction_verification(
        &self,
        producer: Producer,
        supports_epoch_bump: bool,
    ) -> Result<VerificationGuard, CoordinatorError>;

    /// Whole batches from `offset` on, about `max_bytes` of them but at least one; empty at the end of the log.
    fn read(&self, offset: i64, max_bytes: usize) -> Result<Bytes, CoordinatorError>;

    /// The first offset that can be read.
    fn start_offset(&self) -> i64;

    /// The offset after the last batch.
    fn end_offset(&self) -> i64;

    /// Whether everything before `offset` is committed, and on disk where the topic's configuration demands that.
    fn is_committed(&self, offset: i64) -> bool;

    /// Completes with `true` once `offset` is committed as above, with `false` when leadership goes first.
    fn wait_committed(&self, offset: i64) -> BoxFuture<'static, bool>;

    /// The largest batch that `append` takes, bytes (`max.message.bytes` of the topic).
    fn max_batch_bytes(&self) -> usize;
}
