//! The facade (Kafka's `TransactionCoordinator`).

use std::sync::Arc;

use futures_util::FutureExt;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_transactions_response::TransactionState as DescribedTransaction;
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ListTransactionsRequest, ListTransactionsResponse, ProducerId,
    TransactionalId,
};

use super::config::TransactionConfig;
use super::markers::{self, MarkerWriter};
use super::metadata::{Attempt, Initialization, NO_PRODUCER_EPOCH};
use super::producer_ids::{ProducerIdSource, ProducerIds};
use super::queries::{self, ListFilter};
use super::shard::{
    AttemptDecision, Outcome, ProducerIdentity, ProducerRequest, Shared, TransactionOutput, TransactionShard,
};
use crate::coordinator::CoordinatorError;
use crate::coordinator::runtime::{CoordinatorLog, Shard, Shards, committed};
use crate::env::{BoxFuture, Env, ready};
use crate::metadata::{MetadataDelta, MetadataImage, MetadataPublisher};
use crate::replica::{LeadershipListener, Partition};
use crate::types::{
    NO_PRODUCER_ID, TRANSACTION_STATE_TOPIC_NAME, TopicPartition, TransactionResult, TransactionVersion,
};

/// First version of InitProducerId whose clients know PRODUCER_FENCED.
const INIT_PRODUCER_FENCED_VERSION: i16 = 4;

type TransactionShardHandle = Arc<Shard<TransactionShard>>;

/// Coordinates the transactional ids of the partitions of `__transaction_state` that this broker leads, and gives producers
/// their identity.
pub struct TransactionCoordinator {
    env: Env,
    shared: Arc<Shared>,
    producer_ids: Arc<ProducerIds>,
    markers: Arc<dyn MarkerWriter>,
    shards: Shards<TransactionShard>,
}

impl TransactionCoordinator {
    /// A coordinator that leads nothing yet; takes ids from `source`, and gives markers to `markers`.
    pub fn new(
        env: Env,
        config: TransactionConfig,
        source: Arc<dyn ProducerIdSource>,
        markers: Arc<dyn MarkerWriter>,
    ) -> Arc<Self> {
        Arc::new(Self {
            producer_ids: ProducerIds::new(env.clone(), source),
            env,
            shards: Shards::new(TRANSACTION_STATE_TOPIC_NAME, config.state_topic_partitions),
            shared: Arc::new(Shared::new(config)),
            markers,
        })
    }

    /// `__transaction_state` exists with this many partitions, at least one; until told, the configured number is assumed.
    pub fn set_partition_count(&self, partitions: i32) {
        self.shards.set_partition_count(partitions);
    }

    /// The cluster has finalized this level of `transaction.version`; until told, the lowest.
    pub fn set_transaction_version(&self, version: TransactionVersion) {
        self.shared.set_transaction_version(version);
    }

    /// The generation of the protocol that the cluster has finalized.
    pub fn transaction_version(&self) -> TransactionVersion {
        self.shared.transaction_version()
    }

    /// The partition of `__transaction_state` that a transactional id belongs to.
    pub fn partition_for(&self, transactional_id: &str) -> i32 {
        self.shards.partition_for(transactional_id)
    }

    /// This broker leads the partition in this epoch: loads its transactional ids in the background, and goes on with the
    /// transactions that are decided and not complete. Called again for the same or an older epoch it does nothing.
    pub fn on_elected(&self, partition: i32, leader_epoch: i32, log: Arc<dyn CoordinatorLog>) {
        self.shards.on_elected(partition, leader_epoch, |name| {
            let shared = self.shared.clone();
            let empty = move || TransactionShard::new(shared.clone(), leader_epoch);
            let (env, markers, ids) = (self.env.clone(), self.markers.clone(), self.producer_ids.clone());
            let outlet = Arc::new(move |shard: &TransactionShardHandle, output: TransactionOutput| match output {
                TransactionOutput::WriteMarkers(work) => markers::write_markers(&env, &markers, shard.clone(), work),
                TransactionOutput::AbortTimedOut { transactional_id, producer } => {
                    let abort = abort_timed_out(shard.clone(), ids.clone(), transactional_id, producer);
                    env.spawn.spawn("transaction-abort", Box::pin(abort));
                }
            });
            Shard::start(self.env.clone(), name, leader_epoch, log, empty, outlet)
        });
    }

    /// This broker leads the partition no more, since `leader_epoch` (`None`: the partition is deleted).
    pub fn on_resigned(&self, partition: i32, leader_epoch: Option<i32>) {
        self.shards.on_resigned(partition, leader_epoch);
    }

    /// Stops: every later request is NOT_COORDINATOR, or COORDINATOR_NOT_AVAILABLE where nobody is named.
    pub fn shutdown(&self) {
        self.shards.shutdown();
    }

    /// Runs the timers that are due now, in all shards; for tests with a clock moved by hand.
    pub fn run_due_timers(&self) {
        self.shards.run_due_timers();
    }

    /// InitProducerId.
    pub fn init_producer_id(
        self: &Arc<Self>,
        request: &InitProducerIdRequest,
        api_version: i16,
    ) -> BoxFuture<'static, InitProducerIdResponse> {
        let identity = match (*request.producer_id, request.producer_epoch) {
            (NO_PRODUCER_ID, NO_PRODUCER_EPOCH) => None,
            (NO_PRODUCER_ID, _) | (_, NO_PRODUCER_EPOCH) => {
                return ready(init_response(Err(ResponseError::InvalidRequest), api_version));
            }
            identity => Some(identity),
        };
        let initialized = match &request.transactional_id {
            // Only transactional producers have an epoch that a coordinator raises.
            None => {
                let generated = self.producer_ids.generate();
                eager(async move { generated.await.map(|producer_id| (producer_id, 0)).map_err(no_producer_id) })
            }
            Some(transactional_id) => {
                let timeout_ms = request.transaction_timeout_ms;
                self.initialize(transactional_id, Initialization { timeout_ms, expected: identity })
            }
        };
        eager(async move { init_response(initialized.await, api_version) })
    }

    /// Gives the producer with this transactional id an identity that fences those before it. An open transaction is aborted,
    /// and the client told CONCURRENT_TRANSACTIONS, so that it comes again.
    fn initialize(
        self: &Arc<Self>,
        transactional_id: &str,
        request: Initialization,
    ) -> BoxFuture<'static, Outcome<ProducerIdentity>> {
        if transactional_id.is_empty() {
            return ready(Err(ResponseError::InvalidRequest));
        }
        if !(1..=self.shared.config.max_timeout_ms).contains(&request.timeout_ms) {
            return ready(Err(ResponseError::InvalidTransactionTimeout));
        }
        self.attempt(transactional_id, move |state, transactional_id, new_producer_id, now| {
            state.init_producer_id(transactional_id, &request, new_producer_id, now)
        })
    }

    /// AddPartitionsToTxn, AddOffsetsToTxn, and what writing adds by itself since transaction.version 2.
    pub fn add_partitions(
        &self,
        transactional_id: &str,
        producer_id: i64,
        producer_epoch: i16,
        partitions: &[TopicPartition],
        client_version: TransactionVersion,
    ) -> BoxFuture<'static, Outcome<()>> {
        if transactional_id.is_empty() {
            return ready(Err(ResponseError::InvalidRequest));
        }
        let request = ProducerRequest { transactional_id, producer_id, producer_epoch };
        let answered = self
            .shards
            .of_key(transactional_id)
            .and_then(|shard| shard.write(|state, now| state.add_partitions(request, partitions, client_version, now)));
        eager(async move { committed(answered).await.map_err(|error| error.response_error())? })
    }

    /// AddPartitionsToTxn that only asks: for each partition whether it is in the producer's transaction, TRANSACTION_ABORTABLE
    /// when it is not.
    pub fn verify_partitions(
        &self,
        transactional_id: &str,
        producer_id: i64,
        producer_epoch: i16,
        partitions: Vec<TopicPartition>,
    ) -> BoxFuture<'static, Vec<(TopicPartition, Outcome<()>)>> {
        if transactional_id.is_empty() {
            return ready(partitions.into_iter().map(|name| (name, Err(ResponseError::InvalidRequest))).collect());
        }
        let request = ProducerRequest { transactional_id, producer_id, producer_epoch };
        let answered = self
            .shards
            .of_key(transactional_id)
            .and_then(|shard| shard.read(|state| state.verify_partitions(request, &partitions)));
        eager(async move {
            match committed(answered).await.map_err(|error| error.response_error()).flatten() {
                Ok(outcomes) => partitions.into_iter().zip(outcomes).collect(),
                Err(error) => partitions.into_iter().map(|partition| (partition, Err(error))).collect(),
            }
        })
    }

    /// EndTxn; gives the identity that the producer goes on with (-1 and -1 before transaction.version 2). The answer is
    /// there when the decision is committed; on one broker its markers are written by then too.
    pub fn end_transaction(
        self: &Arc<Self>,
        transactional_id: &str,
        producer_id: i64,
        producer_epoch: i16,
        result: TransactionResult,
        client_version: TransactionVersion,
    ) -> BoxFuture<'static, Outcome<ProducerIdentity>> {
        if transactional_id.is_empty() {
            return ready(Err(ResponseError::InvalidRequest));
        }
        self.attempt(transactional_id, move |state, transactional_id, new_producer_id, now| {
            let request = ProducerRequest { transactional_id, producer_id, producer_epoch };
            state.end_transaction(request, result, client_version, new_producer_id, now)
        })
    }

    /// DescribeTransactions, of one id.
    pub fn describe(&self, transactional_id: TransactionalId) -> BoxFuture<'static, DescribedTransaction> {
        let refuse = |transactional_id: TransactionalId, error: ResponseError| {
            DescribedTransaction::default().with_transactional_id(transactional_id).with_error_code(error.code())
        };
        if !self.shards.is_active() {
            return ready(refuse(transactional_id, ResponseError::CoordinatorNotAvailable));
        }
        if transactional_id.is_empty() {
            return ready(refuse(transactional_id, ResponseError::InvalidRequest));
        }
        let answered = self
            .shards
            .of_key(&transactional_id)
            .and_then(|shard| shard.read(|state| queries::describe(state, &transactional_id)));
        eager(async move {
            match committed(answered).await {
                Ok(Some(described)) => described.with_transactional_id(transactional_id),
                Ok(None) => refuse(transactional_id, ResponseError::TransactionalIdNotFound),
                Err(error) => refuse(transactional_id, error.response_error()),
            }
        })
    }

    /// ListTransactions, of all shards; one that is loading fails the whole.
    pub fn list(&self, request: &ListTransactionsRequest) -> BoxFuture<'static, ListTransactionsResponse> {
        let refuse = |error: ResponseError| ListTransactionsResponse::default().with_error_code(error.code());
        if !self.shards.is_active() {
            return ready(refuse(ResponseError::CoordinatorNotAvailable));
        }
        let filter = match ListFilter::new(request, self.env.clock.wall_millis()) {
            Ok(filter) => filter,
            Err(error) => return ready(refuse(error)),
        };
        let answers: Vec<_> =
            self.shards.all().into_iter().map(|shard| shard.read(|state| filter.select(state))).collect();
        let unknown = filter.into_unknown_states();
        eager(async move {
            let mut listed = Vec::new();
            for answered in answers {
                match committed(answered).await {
                    Ok(transactions) => listed.extend(transactions),
                    Err(CoordinatorError::NotCoordinator) => {}
                    Err(error) => return refuse(error.response_error()),
                }
            }
            ListTransactionsResponse::default().with_transaction_states(listed).with_unknown_state_filters(unknown)
        })
    }

    /// Decides; and once more with a new producer id, if it turns out that one is needed.
    fn attempt<T: Send + 'static>(
        self: &Arc<Self>,
        transactional_id: &str,
        decide: impl Fn(&mut TransactionShard, &str, Option<i64>, i64) -> AttemptDecision<T> + Send + 'static,
    ) -> BoxFuture<'static, Outcome<T>> {
        let coordinator = self.clone();
        let transactional_id: Arc<str> = Arc::from(transactional_id);
        eager(async move {
            let mut new_producer_id = None;
            loop {
                let answered = coordinator
                    .shards
                    .of_key(&transactional_id)
                    .and_then(|shard| shard.write(|state, now| decide(state, &transactional_id, new_producer_id, now)));
                match committed(answered).await.map_err(|error| error.response_error())? {
                    Attempt::Done(outcome) => return outcome,
                    Attempt::NeedsProducerId => {
                        new_producer_id = Some(coordinator.producer_ids.generate().await.map_err(no_producer_id)?);
                    }
                }
            }
        })
    }
}

impl LeadershipListener for TransactionCoordinator {
    fn on_elected(&self, partition: &Arc<Partition>, leader_epoch: i32) {
        if let Some(log) = self.shards.log_of(partition, &self.env.clock) {
            self.on_elected(partition.topic_partition().partition, leader_epoch, log);
        }
    }

    fn on_resigned(&self, topic_partition: &TopicPartition) {
        if self.shards.is_of_topic(topic_partition) {
            self.on_resigned(topic_partition.partition, None);
        }
    }
}

/// What the coordinator wants to know of the metadata: how many partitions its topic has, and the level of
/// `transaction.version`.
pub struct TransactionMetadataPublisher(pub Arc<TransactionCoordinator>);

impl MetadataPublisher for TransactionMetadataPublisher {
    fn on_metadata_update(&self, _: &MetadataDelta, image: &Arc<MetadataImage>) {
        self.0.shards.follow(image);
        self.0.set_transaction_version(image.features.transaction_version());
    }
}

/// The abort of a transaction whose producer has used up its epochs.
async fn abort_timed_out(
    shard: TransactionShardHandle,
    producer_ids: Arc<ProducerIds>,
    transactional_id: Arc<str>,
    producer: ProducerIdentity,
) {
    let aborted = producer_ids.generate().await.and_then(|producer_id| {
        shard.write(|state, now| state.abort_timed_out(&transactional_id, producer, Some(producer_id), now))
    });
    if let Err(error) = aborted {
        // The next look finds it again.
        tracing::warn!(%transactional_id, %error, "could not abort a transaction that timed out");
    }
}

fn init_response(outcome: Outcome<ProducerIdentity>, api_version: i16) -> InitProducerIdResponse {
    let (producer_id, producer_epoch) = outcome.unwrap_or((NO_PRODUCER_ID, NO_PRODUCER_EPOCH));
    let error = outcome.err().map(|error| match error {
        ResponseError::ProducerFenced if api_version < INIT_PRODUCER_FENCED_VERSION => {
            ResponseError::InvalidProducerEpoch
        }
        error => error,
    });
    InitProducerIdResponse::default()
        .with_error_code(error.map_or(0, |error| error.code()))
        .with_producer_id(ProducerId(producer_id))
        .with_producer_epoch(producer_epoch)
}

/// Clients retry it; the block may come yet (`ProducerIdManager.generateProducerId`).
fn no_producer_id(error: CoordinatorError) -> ResponseError {
    tracing::warn!(%error, "no producer id");
    ResponseError::CoordinatorLoadInProgress
}

/// Runs as far as it gets before it returns: what must happen in order has happened then.
fn eager<R: Send + 'static>(future: impl Future<Output = R> + Send + 'static) -> BoxFuture<'static, R> {
    let mut future: BoxFuture<'static, R> = Box::pin(future);
    match (&mut future).now_or_never() {
        Some(response) => ready(response),
        None => future,
    }
}

#[cfg(test)]
#[path = "coordinator_tests.rs"]
mod tests;
