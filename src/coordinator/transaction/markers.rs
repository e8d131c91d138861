//! Markers: how a decided transaction becomes a complete one (Kafka's `TransactionMarkerChannelManager` and
//! `TransactionMarkerRequestCompletionHandler`).
//!
//! All markers of a transaction are written at once, on the thread that decided it. When everything is committed at once,
//! as on one broker, the transaction is complete before the answer to EndTxn leaves, and nobody is told
//! CONCURRENT_TRANSACTIONS; otherwise a task goes on. There is at most one task a prepared transaction.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;

use super::shard::{MarkerWork, Progress, TransactionShard};
use crate::coordinator::runtime::Shard;
use crate::coordinator::{CoordinatorError, GroupCoordinator};
use crate::env::{BoxFuture, Env, ready};
use crate::replica::{Partition, ReplicaError, ReplicaManager};
use crate::storage::StorageError;
use crate::types::{EndTransactionMarker, GROUP_METADATA_TOPIC_NAME, TopicPartition};

/// How long after a failure a marker is tried again.
pub const MARKER_RETRY_BACKOFF: Duration = Duration::from_millis(100);

/// What became of a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkerOutcome {
    /// It is written and committed.
    Written,
    /// The partition exists no more: there is nothing to mark.
    Gone,
    /// It could not be written now.
    Retry(String),
    /// It must not be written: the partition has seen a later producer or coordinator.
    Fenced(String),
}

/// Who writes markers to partitions.
pub trait MarkerWriter: Send + Sync {
    /// Appends the marker before it returns; the future waits for the commit. Called without any lock of a coordinator.
    fn write(&self, partition: &TopicPartition, marker: &EndTransactionMarker) -> BoxFuture<'static, MarkerOutcome>;
}

/// Writes the markers of a decided transaction, as far as possible before it returns.
pub(super) fn write_markers(
    env: &Env,
    writer: &Arc<dyn MarkerWriter>,
    shard: Arc<Shard<TransactionShard>>,
    work: MarkerWork,
) {
    let mut task: BoxFuture<'static, ()> = Box::pin(complete(env.clone(), writer.clone(), shard, work));
    if (&mut task).now_or_never().is_none() {
        env.spawn.spawn("transaction-markers", task);
    }
}

async fn complete(env: Env, writer: Arc<dyn MarkerWriter>, shard: Arc<Shard<TransactionShard>>, work: MarkerWork) {
    let MarkerWork { transactional_id, completion, mut partitions, marker } = work;
    let mut is_first_try = true;
    loop {
        // All appends first, then all waits.
        let writes: Vec<_> = partitions.iter().map(|partition| writer.write(partition, &marker)).collect();
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for (partition, write) in std::mem::take(&mut partitions).into_iter().zip(writes) {
            match write.await {
                MarkerOutcome::Written => done.push(partition),
                MarkerOutcome::Gone => {
                    tracing::info!(%transactional_id, %partition, "no marker for a partition that is deleted");
                    done.push(partition);
                }
                MarkerOutcome::Retry(reason) => {
                    // Said once: a log directory may be offline for days.
                    if is_first_try {
                        tracing::warn!(%transactional_id, %partition, reason, "cannot write a marker, will try again");
                    }
                    failed.push(partition);
                }
                // As in Kafka: whoever fenced it decides; this transaction stays prepared.
                MarkerOutcome::Fenced(reason) => {
                    tracing::error!(%transactional_id, %partition, reason, "a marker was refused, giving up");
                    return;
                }
            }
        }
        partitions = failed;
        is_first_try = false;
        let progress = match shard.write(|state, now| state.markers_written(&transactional_id, completion, &done, now))
        {
            // Nobody has to wait for the commit: what is lost of it is written again by who loads the shard.
            Ok(answered) => *answered.uncommitted(),
            // It is still prepared.
            Err(error @ CoordinatorError::RecordsTooLarge { .. }) => {
                tracing::error!(%transactional_id, %error, "cannot write that a transaction is complete");
                Progress::Remaining
            }
            // The shard was given up, or is read from its log again: who loads it writes the markers.
            Err(error) => {
                tracing::info!(%transactional_id, %error, "a transaction is completed elsewhere or later");
                Progress::NotWanted
            }
        };
        if progress != Progress::Remaining {
            return;
        }
        env.clock.sleep_until(env.clock.monotonic() + MARKER_RETRY_BACKOFF).await;
    }
}

/// Writes to the partitions of this broker.
pub struct LocalMarkers {
    env: Env,
    // The replica manager holds the coordinator as a listener.
    replicas: Weak<ReplicaManager>,
    groups: Arc<GroupCoordinator>,
}

impl LocalMarkers {
    /// To the partitions of `replicas`; those of `__consumer_offsets` by way of `groups`, which replay them.
    pub fn new(env: Env, replicas: &Arc<ReplicaManager>, groups: Arc<GroupCoordinator>) -> Arc<Self> {
        Arc::new(Self { env, replicas: Arc::downgrade(replicas), groups })
    }
}

impl MarkerWriter for LocalMarkers {
    fn write(&self, partition: &TopicPartition, marker: &EndTransactionMarker) -> BoxFuture<'static, MarkerOutcome> {
        let Some(replicas) = self.replicas.upgrade() else {
            return ready(MarkerOutcome::Retry("the broker is stopping".to_owned()));
        };
        if replicas.image().topics.partition(&partition.topic, partition.partition).is_none() {
            return ready(MarkerOutcome::Gone);
        }
        let appended = replicas
            .partition(partition)
            .map_err(MarkerError::from)
            .and_then(|found| append_marker(&found, &self.groups, marker, self.env.clock.wall_millis()));
        match appended {
            Err(error) => ready(outcome_of(&error)),
            Ok(committed) => Box::pin(async move {
                match committed.await {
                    Ok(()) => MarkerOutcome::Written,
                    Err(error) => outcome_of(&error),
                }
            }),
        }
    }
}

/// Why a marker is not in a partition.
#[derive(Debug, thiserror::Error)]
pub enum MarkerError {
    /// The partition said so.
    #[error(transparent)]
    Partition(#[from] ReplicaError),
    /// The group coordinator said so, for a partition of `__consumer_offsets`.
    #[error(transparent)]
    Group(#[from] CoordinatorError),
}

/// Appends a marker before it returns: to a partition of `__consumer_offsets` by way of the groups, which replay it. The
/// future waits for the commit. `now` is wall time in milliseconds.
pub fn append_marker(
    partition: &Arc<Partition>,
    groups: &GroupCoordinator,
    marker: &EndTransactionMarker,
    now: i64,
) -> Result<BoxFuture<'static, Result<(), MarkerError>>, MarkerError> {
    let place = partition.topic_partition();
    if &*place.topic == GROUP_METADATA_TOPIC_NAME {
        let completed = groups.complete_transaction(place.partition, marker)?;
        return Ok(Box::pin(async move { Ok(completed.committed().await?) }));
    }
    let appended = partition.append_end_transaction_marker(marker, now)?;
    let acknowledged = partition.acknowledged(appended.last_offset + 1);
    Ok(Box::pin(async move { Ok(acknowledged.await?) }))
}

fn outcome_of(error: &MarkerError) -> MarkerOutcome {
    match error {
        MarkerError::Group(CoordinatorError::Refused(_))
        | MarkerError::Partition(ReplicaError::Storage(
            StorageError::InvalidProducerEpoch(_) | StorageError::TransactionCoordinatorFenced(_),
        )) => MarkerOutcome::Fenced(error.to_string()),
        _ => MarkerOutcome::Retry(error.to_string()),
    }
}
