//! TxnOffsetCommit (key 28): a transaction takes along how far its consumer group has read
//! (`KafkaApis.handleTxnOffsetCommitRequest`, KIP-98, KIP-447, KIP-890).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::by_topic::ByTopic;
use super::error_mapping::of_transaction_coordinator;
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::coordinator::group::TransactionalOffsetCommit;
use crate::env::{BoxFuture, ready};
use crate::metadata::MetadataImage;
use crate::mutant;
use crate::types::{GROUP_METADATA_TOPIC_NAME, TopicPartition, TransactionVersion, Uuid};

/// First version whose clients survive COORDINATOR_LOAD_IN_PROGRESS (KAFKA-7296).
const LOAD_IN_PROGRESS_VERSION: i16 = 2;
/// First version whose clients know TRANSACTION_ABORTABLE.
const TRANSACTION_ABORTABLE_VERSION: i16 = 4;
/// First version that adds the group's partition of `__consumer_offsets` to the transaction by itself.
const IMPLICIT_ADD_VERSION: i16 = 5;

/// Refuses partitions that do not exist, makes sure that the offsets belong to the transaction, and writes the rest.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    mut request: TxnOffsetCommitRequest,
) -> Answer<TxnOffsetCommitResponse> {
    let version = context.api_version;
    let image = services.replicas.image();
    let mut answers = ByTopic::new();
    let mut topic_ids = Vec::with_capacity(request.topics.len());
    let topics = std::mem::take(&mut request.topics);
    for topic in topics {
        if let Some((topic, topic_id)) = existing(&image, topic, &mut answers) {
            request.topics.push(topic);
            topic_ids.push(topic_id);
        }
    }
    if request.topics.is_empty() {
        return Answer::Now(response(answers, version));
    }
    let committed = commit(services, &image, version, TransactionalOffsetCommit { request, topic_ids });
    Answer::Later(Box::pin(async move {
        for topic in committed.await.topics {
            answers.add(topic.name, topic.partitions);
        }
        response(answers, version)
    }))
}

fn response(answers: ByTopic<TxnOffsetCommitResponsePartition>, version: i16) -> TxnOffsetCommitResponse {
    let topic = |name, mut partitions: Vec<TxnOffsetCommitResponsePartition>| {
        for partition in &mut partitions {
            partition.error_code = loading_for_old_clients(partition.error_code, version);
        }
        TxnOffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions)
    };
    TxnOffsetCommitResponse::default().with_topics(answers.into_topics(topic))
}

/// The first offsets of a transaction in this partition of `__consumer_offsets` are written once the transaction's coordinator
/// knows the partition: asked before version 5, told from then on.
fn commit(
    services: &Arc<Services>,
    image: &MetadataImage,
    version: i16,
    commit: TransactionalOffsetCommit,
) -> BoxFuture<'static, TxnOffsetCommitResponse> {
    let started = match image.topics.topic(GROUP_METADATA_TOPIC_NAME) {
        None => Err(ResponseError::CoordinatorNotAvailable),
        Some(_) => commit.start(&services.groups, version >= IMPLICIT_ADD_VERSION),
    };
    let (partition, guard) = match started {
        Ok(started) => started,
        Err(error) => return ready(commit.refuse(error)),
    };
    if guard.is_none() {
        return services.groups.commit_transactional_offsets(commit, guard);
    }
    let verified = verify_or_add(services, version, &commit.request, partition);
    let groups = services.groups.clone();
    Box::pin(async move {
        match verified.await {
            Ok(()) => groups.commit_transactional_offsets(commit, guard).await,
            Err(error) => commit.refuse(refusal(error, version)),
        }
    })
}

fn verify_or_add(
    services: &Services,
    version: i16,
    request: &TxnOffsetCommitRequest,
    partition: TopicPartition,
) -> BoxFuture<'static, Result<(), ResponseError>> {
    let (transactional_id, producer_epoch) = (request.transactional_id.as_str(), request.producer_epoch);
    let producer_id = *request.producer_id;
    let transactions = &services.transactions;
    if version >= IMPLICIT_ADD_VERSION {
        let version = TransactionVersion::Tv2;
        return transactions.add_partitions(transactional_id, producer_id, producer_epoch, &[partition], version);
    }
    if !services.config.transaction_partition_verification_enable() || mutant::is_active("no-verification-of-offsets") {
        return ready(Ok(()));
    }
    let verified = transactions.verify_partitions(transactional_id, producer_id, producer_epoch, vec![partition]);
    Box::pin(async move { verified.await.into_iter().try_for_each(|(_, outcome)| outcome) })
}

/// What the transaction's coordinator said, in words that clients of this version expect here (`AddPartitionsToTxnManager`,
/// `CoordinatorOperationExceptionHelper`).
fn refusal(error: ResponseError, version: i16) -> ResponseError {
    match of_transaction_coordinator(error, version >= TRANSACTION_ABORTABLE_VERSION) {
        ResponseError::UnknownTopicOrPartition | ResponseError::NotEnoughReplicas | ResponseError::RequestTimedOut => {
            ResponseError::CoordinatorNotAvailable
        }
        ResponseError::NotLeaderOrFollower | ResponseError::KafkaStorageError => ResponseError::NotCoordinator,
        error => error,
    }
}

/// Clients before version 2 may crash when the coordinator loads.
fn loading_for_old_clients(error_code: i16, version: i16) -> i16 {
    if version < LOAD_IN_PROGRESS_VERSION && error_code == ResponseError::CoordinatorLoadInProgress.code() {
        ResponseError::CoordinatorNotAvailable.code()
    } else {
        error_code
    }
}

/// The topic with those of its partitions that exist, and its id; the others are refused in the answer.
fn existing(
    image: &MetadataImage,
    mut topic: TxnOffsetCommitRequestTopic,
    answers: &mut ByTopic<TxnOffsetCommitResponsePartition>,
) -> Option<(TxnOffsetCommitRequestTopic, Uuid)> {
    let found = image.topics.topic(&topic.name);
    let (existing, missing): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions)
        .into_iter()
        .partition(|partition| found.is_some_and(|found| found.partition(partition.partition_index).is_some()));
    if !missing.is_empty() || found.is_none() {
        let partitions = missing.iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(ResponseError::UnknownTopicOrPartition.code())
        });
        answers.add(topic.name.clone(), partitions);
    }
    topic.partitions = existing;
    let topic_id = found.map(|found| found.id)?;
    (!topic.partitions.is_empty()).then_some((topic, topic_id))
}

#[cfg(test)]
#[path = "txn_offset_commit_tests.rs"]
mod tests;
