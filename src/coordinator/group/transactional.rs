//! What transactions want of groups: offsets that are committed with them, and the markers that decide those.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::coordinator::{GroupCoordinator, check_group_id, later};
use crate::coordinator::CoordinatorError;
use crate::coordinator::runtime::{Answered, Producer};
use crate::env::{BoxFuture, ready};
use crate::types::{EndTransactionMarker, GROUP_METADATA_TOPIC_NAME, TopicPartition, Uuid, VerificationGuard};

/// TxnOffsetCommit of partitions that exist.
#[derive(Clone, Debug)]
pub struct TransactionalOffsetCommit {
    /// As the client sent it, less the partitions that do not exist.
    pub request: TxnOffsetCommitRequest,
    /// The ids of the request's topics, in its order.
    pub topic_ids: Vec<Uuid>,
}

impl TransactionalOffsetCommit {
    fn producer(&self) -> Producer {
        Producer { id: *self.request.producer_id, epoch: self.request.producer_epoch }
    }

    /// The group's partition of `__consumer_offsets`, which has to be part of the producer's transaction, and the guard that
    /// proves it once that was asked; without a guard it was asked already, earlier in the same transaction.
    pub fn start(
        &self,
        groups: &GroupCoordinator,
        supports_epoch_bump: bool,
    ) -> Result<(TopicPartition, VerificationGuard), ResponseError> {
        groups.check_active()?;
        let group_id = &self.request.group_id;
        check_group_id(group_id)?;
        let shard = groups.shard(group_id).map_err(|error| error.response_error())?;
        let guard = shard.start_transaction_verification(self.producer(), supports_epoch_bump);
        let partition = TopicPartition::new(GROUP_METADATA_TOPIC_NAME, groups.partition_for(group_id.as_str()));
        Ok((partition, guard.map_err(|error| error.response_error())?))
    }

    /// Every partition with the same error.
    pub fn refuse(&self, error: ResponseError) -> TxnOffsetCommitResponse {
        let topics = self.request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(error.code())
            });
            TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        TxnOffsetCommitResponse::default().with_topics(topics.collect())
    }
}

impl GroupCoordinator {
    /// TxnOffsetCommit, with the guard of its verification: the offsets are pending when the method returns.
    pub fn commit_transactional_offsets(
        &self,
        commit: TransactionalOffsetCommit,
        guard: VerificationGuard,
    ) -> BoxFuture<'static, TxnOffsetCommitResponse> {
        if let Err(error) = self.check_active().and_then(|()| check_group_id(&commit.request.group_id)) {
            return ready(commit.refuse(error));
        }
        let answered = self.shard(&commit.request.group_id).and_then(|shard| {
            shard.write_transactional(commit.producer(), guard, |state, now| {
                state.commit_transactional_offsets(&commit.request, &commit.topic_ids, now)
            })
        });
        later(answered, move |outcome| match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => commit.refuse(error),
            Err(error) => commit.refuse(error.response_error()),
        })
    }

    /// The producer's transaction is decided: writes its marker to this partition of `__consumer_offsets`. When the method
    /// returns, what the producer had pending there is visible or gone; the answer waits for the marker's commit.
    ///
    /// # Errors
    /// `Refused` for an old epoch of producer or coordinator; `LoadInProgress`, `NotCoordinator` and the errors of the log, after
    /// which the marker has to be written again.
    pub fn complete_transaction(
        &self,
        partition: i32,
        marker: &EndTransactionMarker,
    ) -> Result<Answered<()>, CoordinatorError> {
        self.check_active().map_err(|_| CoordinatorError::NotAvailable)?;
        self.shard_of_partition(partition)?.complete_transaction(marker)
    }
}

#[cfg(test)]
#[path = "transactional_tests.rs"]
mod tests;
