//! WriteTxnMarkers (key 27): ends transactions on partitions, for a transaction coordinator elsewhere or an operator (KIP-98, KIP-664).

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::write_txn_markers_request::WritableTxnMarker;
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{TopicName, WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use kafka_protocol::protocol::StrBytes;

use super::error_mapping::{NONE, ToErrorCode};
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::coordinator::transaction::{MarkerError, append_marker};
use crate::env::{BoxFuture, ready};
use crate::types::{EndTransactionMarker, NO_PRODUCER_ID, TransactionResult, TransactionVersion};

/// Stands for no producer epoch.
const NO_PRODUCER_EPOCH: i16 = -1;

/// What became of one marker on one partition.
struct Written {
    producer_id: i64,
    topic: Arc<str>,
    partition: i32,
    /// Resolves when the marker is committed.
    outcome: BoxFuture<'static, Result<(), ResponseError>>,
}

/// Appends every marker, and answers when they are committed.
pub fn handle(
    services: &Arc<Services>,
    _: &RequestContext,
    request: WriteTxnMarkersRequest,
) -> Answer<WriteTxnMarkersResponse> {
    let timeout = Duration::from_millis(u64::try_from(services.config.request_timeout_ms()).unwrap_or(0));
    let deadline = services.env.clock.monotonic().saturating_add(timeout);
    let written: Vec<Written> = request.markers.iter().flat_map(|marker| write_marker(services, marker)).collect();
    if written.is_empty() {
        return Answer::Now(WriteTxnMarkersResponse::default());
    }
    let timeout = services.env.clock.sleep_until(deadline);
    Answer::Later(Box::pin(respond(written, timeout)))
}

/// Appends one marker to each of its partitions; all that must happen in order has happened when this returns.
fn write_marker(services: &Services, marker: &WritableTxnMarker) -> Vec<Written> {
    let end = EndTransactionMarker {
        producer_id: marker.producer_id.0,
        producer_epoch: marker.producer_epoch,
        coordinator_epoch: marker.coordinator_epoch,
        result: TransactionResult::from_committed(marker.transaction_result),
        // Version 1 does not say: the rules of the first generation hold (KIP-1228).
        transaction_version: TransactionVersion::Tv0,
    };
    let mut seen = HashSet::new();
    let mut written = Vec::new();
    for topic in &marker.topics {
        let name: Arc<str> = Arc::from(topic.name.as_str());
        for partition in &topic.partition_indexes {
            if !seen.insert((name.clone(), *partition)) {
                continue;
            }
            let outcome = write(services, &name, *partition, &end);
            let outcome = outcome.unwrap_or_else(|error| ready(Err(error)));
            written.push(Written { producer_id: end.producer_id, topic: name.clone(), partition: *partition, outcome });
        }
    }
    written
}

fn write(
    services: &Services,
    topic: &str,
    partition: i32,
    marker: &EndTransactionMarker,
) -> Result<BoxFuture<'static, Result<(), ResponseError>>, ResponseError> {
    // Kafka asks no more of a partition than that it is here and online.
    let found = services.replicas.partition_by_name(topic, partition);
    let found = found.map_err(|_| ResponseError::UnknownTopicOrPartition)?;
    if marker.producer_id == NO_PRODUCER_ID || marker.producer_epoch == NO_PRODUCER_EPOCH {
        // Kafka cannot build such a batch (`MemoryRecordsBuilder`).
        return Err(ResponseError::UnknownServerError);
    }
    let appended = append_marker(&found, &services.groups, marker, services.env.clock.wall_millis());
    let committed = appended.map_err(|error| response_error(&error))?;
    Ok(Box::pin(async move { committed.await.map_err(|error| response_error(&error)) }))
}

/// A transaction coordinator does not expect what says that a group coordinator is not here: it asks again for
/// NOT_LEADER_OR_FOLLOWER.
fn response_error(error: &MarkerError) -> ResponseError {
    let group = match error {
        MarkerError::Partition(error) => return error.response_error(),
        MarkerError::Group(error) => error.response_error(),
    };
    match group {
        ResponseError::CoordinatorNotAvailable
        | ResponseError::CoordinatorLoadInProgress
        | ResponseError::NotCoordinator => ResponseError::NotLeaderOrFollower,
        other => other,
    }
}

async fn respond(written: Vec<Written>, timeout: impl Future<Output = ()> + Unpin) -> WriteTxnMarkersResponse {
    let mut timeout = timeout;
    let mut is_over = false;
    let mut results: IndexMap<i64, IndexMap<Arc<str>, IndexMap<i32, i16>>> = IndexMap::new();
    for Written { producer_id, topic, partition, mut outcome } in written {
        let result = tokio::select! {
            biased;
            result = &mut outcome => result,
            () = &mut timeout, if !is_over => {
                is_over = true;
                Err(ResponseError::RequestTimedOut)
            }
            () = std::future::ready(()), if is_over => Err(ResponseError::RequestTimedOut),
        };
        let code = result.map_or_else(|error| error.code(), |()| NONE);
        results.entry(producer_id).or_default().entry(topic).or_default().insert(partition, code);
    }
    let markers = results.into_iter().map(|(producer_id, topics)| {
        let topics = topics.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, error_code)| {
                WritableTxnMarkerPartitionResult::default().with_partition_index(index).with_error_code(error_code)
            });
            WritableTxnMarkerTopicResult::default()
                .with_name(TopicName(StrBytes::from_string(name.to_string())))
                .with_partitions(partitions.collect())
        });
        WritableTxnMarkerResult::default().with_producer_id(producer_id.into()).with_topics(topics.collect())
    });
    WriteTxnMarkersResponse::default().with_markers(markers.collect())
}

#[cfg(test)]
#[path = "write_txn_markers_tests.rs"]
mod tests;
