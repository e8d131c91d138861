//! AddPartitionsToTxn (key 24): partitions that a transaction is going to write to
//! (`KafkaApis.handleAddPartitionsToTxnRequest`, KIP-98). From version 4 on it comes from brokers: for many transactions at
//! once, and perhaps only to ask whether the partitions are in them (KIP-890).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::error_mapping::fenced_producer;
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::env::{BoxFuture, ready};
use crate::metadata::MetadataImage;
use crate::types::{TopicPartition, TransactionVersion, is_internal_topic};

/// First version whose clients know PRODUCER_FENCED.
const PRODUCER_FENCED_VERSION: i16 = 2;
/// First version with many transactions, which brokers send.
const BATCH_VERSION: i16 = 4;

type Outcome = Result<(), ResponseError>;

/// Adds or verifies, transaction by transaction; all partitions of a transaction or none.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: AddPartitionsToTxnRequest,
) -> Answer<AddPartitionsToTxnResponse> {
    let api_version = context.api_version;
    let image = services.replicas.image();
    if api_version < BATCH_VERSION {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(request.v3_and_below_transactional_id)
            .with_producer_id(request.v3_and_below_producer_id)
            .with_producer_epoch(request.v3_and_below_producer_epoch)
            .with_topics(request.v3_and_below_topics);
        let added = add_or_verify(services, &image, transaction, api_version);
        return Answer::Later(Box::pin(async move {
            AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(added.await.topic_results)
        }));
    }
    let added: Vec<_> = (request.transactions.into_iter())
        .map(|transaction| add_or_verify(services, &image, transaction, api_version))
        .collect();
    Answer::Later(Box::pin(async move {
        let mut results = Vec::with_capacity(added.len());
        for result in added {
            results.push(result.await);
        }
        let topics = results.iter().flat_map(|result| &result.topic_results);
        let unsupported = ResponseError::UnsupportedVersion.code();
        if topics.flat_map(|topic| &topic.results_by_partition).any(|result| result.partition_error_code == unsupported)
        {
            // The one error that Kafka has for the whole.
            return AddPartitionsToTxnResponse::default().with_error_code(unsupported);
        }
        AddPartitionsToTxnResponse::default().with_results_by_transaction(results)
    }))
}

fn add_or_verify(
    services: &Services,
    image: &MetadataImage,
    transaction: AddPartitionsToTxnTransaction,
    api_version: i16,
) -> BoxFuture<'static, AddPartitionsToTxnResult> {
    let AddPartitionsToTxnTransaction { transactional_id, producer_epoch, verify_only, topics, .. } = transaction;
    let producer_id = *transaction.producer_id;
    let result = AddPartitionsToTxnResult::default().with_transactional_id(transactional_id.clone());
    let mut partitions = partitions(topics);
    if verify_only {
        partitions.dedup();
    }
    let check = |name: &TopicPartition| {
        if api_version < BATCH_VERSION && is_internal_topic(&name.topic) {
            return Err(ResponseError::TopicAuthorizationFailed);
        }
        image.topics.partition(&name.topic, name.partition).map(|_| ()).ok_or(ResponseError::UnknownTopicOrPartition)
    };
    if !partitions.iter().all(|partition| check(partition).is_ok()) {
        let outcomes = partitions.into_iter().map(|partition| {
            let error = check(&partition).err().unwrap_or(ResponseError::OperationNotAttempted);
            (partition, Err(error))
        });
        return ready(result.with_topic_results(topic_results(outcomes)));
    }
    if verify_only {
        let verified =
            services.transactions.verify_partitions(&transactional_id, producer_id, producer_epoch, partitions);
        return Box::pin(async move { result.with_topic_results(topic_results(verified.await.into_iter())) });
    }
    let version = if api_version >= BATCH_VERSION { TransactionVersion::Tv2 } else { TransactionVersion::Tv0 };
    let added =
        services.transactions.add_partitions(&transactional_id, producer_id, producer_epoch, &partitions, version);
    Box::pin(async move {
        let outcome = added.await.map_err(|error| fenced_producer(error, api_version >= PRODUCER_FENCED_VERSION));
        result.with_topic_results(topic_results(partitions.into_iter().map(|partition| (partition, outcome))))
    })
}

/// In order, as often as they were named: so often each is answered.
fn partitions(topics: Vec<AddPartitionsToTxnTopic>) -> Vec<TopicPartition> {
    let mut partitions: Vec<TopicPartition> = Vec::new();
    for topic in topics {
        let name: Arc<str> = Arc::from(topic.name.as_str());
        partitions.extend(topic.partitions.into_iter().map(|number| TopicPartition::new(name.clone(), number)));
    }
    partitions.sort_unstable();
    partitions
}

fn topic_results(outcomes: impl Iterator<Item = (TopicPartition, Outcome)>) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut topics: Vec<AddPartitionsToTxnTopicResult> = Vec::new();
    for (partition, outcome) in outcomes {
        let result = AddPartitionsToTxnPartitionResult::default()
            .with_partition_index(partition.partition)
            .with_partition_error_code(outcome.err().map_or(0, |error| error.code()));
        match topics.last_mut() {
            Some(topic) if topic.name.as_str() == &*partition.topic => topic.results_by_partition.push(result),
            _ => topics.push(
                AddPartitionsToTxnTopicResult::default()
                    .with_name(TopicName(StrBytes::from_string(partition.topic.to_string())))
                    .with_results_by_partition(vec![result]),
            ),
        }
    }
    topics
}
