//! A partition as a coordinator's log (Kafka's `CoordinatorPartitionWriter`).

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::decision::Producer;
use super::log::CoordinatorLog;
use crate::coordinator::CoordinatorError;
use crate::env::{BoxFuture, Clock};
use crate::replica::{Partition, ReplicaError};
use crate::storage::{FetchIsolation, StorageError};
use crate::types::{EndTransactionMarker, VerificationGuard};

/// Batches of coordinators have no sequence numbers.
const NO_SEQUENCE: i32 = -1;

/// A partition of an internal topic that this broker leads.
pub struct PartitionLog {
    partition: Arc<Partition>,
    clock: Arc<dyn Clock>,
}

impl PartitionLog {
    /// Writes to and reads from `partition`.
    pub fn new(partition: Arc<Partition>, clock: Arc<dyn Clock>) -> Self {
        Self { partition, clock }
    }
}

impl CoordinatorLog for PartitionLog {
    fn append(&self, batch: Bytes, guard: VerificationGuard) -> Result<i64, CoordinatorError> {
        Ok(self.partition.append_coordinator_records(batch, guard, self.clock.wall_millis())?)
    }

    fn append_end_transaction_marker(&self, marker: &EndTransactionMarker) -> Result<i64, CoordinatorError> {
        let appended = self.partition.append_end_transaction_marker(marker, self.clock.wall_millis())?;
        Ok(appended.last_offset + 1)
    }

    fn start_transaction_verification(
        &self,
        producer: Producer,
        supports_epoch_bump: bool,
    ) -> Result<VerificationGuard, CoordinatorError> {
        let Producer { id, epoch } = producer;
        Ok(self.partition.maybe_start_transaction_verification(id, epoch, NO_SEQUENCE, supports_epoch_bump)?)
    }

    fn read(&self, offset: i64, max_bytes: usize) -> Result<Bytes, CoordinatorError> {
        let data = self.partition.log().read(offset, max_bytes, FetchIsolation::LogEnd, true)?;
        match data.records {
            None => Ok(Bytes::new()),
            Some(slice) => slice.read().map(Bytes::from).map_err(|error| CoordinatorError::Storage(error.to_string())),
        }
    }

    fn start_offset(&self) -> i64 {
        self.partition.log().log_start_offset()
    }

    fn end_offset(&self) -> i64 {
        self.partition.log_end_offset()
    }

    fn is_committed(&self, offset: i64) -> bool {
        self.partition.high_watermark() >= offset && !self.partition.flushes_every_append()
    }

    fn wait_committed(&self, offset: i64) -> BoxFuture<'static, bool> {
        let committed = self.partition.acknowledged(offset);
        Box::pin(async move { committed.await.is_ok() })
    }

    fn max_batch_bytes(&self) -> usize {
        usize::try_from(self.partition.log().config().max_message_bytes).unwrap_or(usize::MAX)
    }
}

impl From<ReplicaError> for CoordinatorError {
    fn from(error: ReplicaError) -> Self {
        match error {
            ReplicaError::NotLeaderOrFollower(_) => Self::NotCoordinator,
            ReplicaError::NotEnoughReplicas { .. }
            | ReplicaError::NotEnoughReplicasAfterAppend(_)
            | ReplicaError::UnknownTopicOrPartition(_) => Self::NotEnoughReplicas,
            ReplicaError::Storage(error) => error.into(),
            other => Self::Unexpected(other.to_string()),
        }
    }
}

impl From<StorageError> for CoordinatorError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::LogClosed { .. } | StorageError::UnknownLog { .. } => Self::NotCoordinator,
            StorageError::InvalidProducerEpoch(_) => Self::Refused(ResponseError::InvalidProducerEpoch),
            StorageError::InvalidTransactionState(_) => Self::Refused(ResponseError::InvalidTxnState),
            StorageError::OutOfOrderSequence(_) => Self::Refused(ResponseError::OutOfOrderSequenceNumber),
            StorageError::TransactionCoordinatorFenced(_) => Self::Refused(ResponseError::TransactionCoordinatorFenced),
            other => Self::Storage(other.to_string()),
        }
    }
}
