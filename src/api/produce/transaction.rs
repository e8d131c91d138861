//! What a transactional Produce settles with the transaction coordinator before it appends (`ReplicaManager.handleProduceAppend`,
//! `AddPartitionsToTxnManager`, KIP-890): up to version 11 the producer has announced its partitions, and they are verified; from 12 on
//! writing to a partition announces it.

use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;

use super::{Place, Received, Refusal, TOPIC_ID_VERSION};
use crate::api::error_mapping::{ToErrorCode, of_transaction_coordinator};
use crate::api::services::Services;
use crate::metadata::MetadataImage;
use crate::replica::{Partition, ReplicaError};
use crate::types::{TopicPartition, TransactionVersion, VerificationGuard};

/// First version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE_VERSION: i16 = 11;
/// First version that adds the partitions that it writes to to the transaction.
const ADDS_PARTITIONS_VERSION: i16 = 12;

/// What was settled of the transactional batches of a request, in the order of their places.
pub(super) struct Admission(Peekable<std::vec::IntoIter<(Place, Result<VerificationGuard, Refusal>)>>);

impl Admission {
    /// Of a request that is in no transaction.
    pub(super) fn none() -> Self {
        Self::of(Vec::new())
    }

    fn of(settled: Vec<(Place, Result<VerificationGuard, Refusal>)>) -> Self {
        Self(settled.into_iter().peekable())
    }

    /// The guard to append a batch with; none for a batch that needs none. Batches are asked for in their order.
    pub(super) fn take(&mut self, place: Place) -> Result<VerificationGuard, Refusal> {
        while self.0.next_if(|(settled, _)| *settled < place).is_some() {}
        self.0.next_if(|(settled, _)| *settled == place).map_or(Ok(VerificationGuard::NONE), |(_, guard)| guard)
    }
}

/// A transactional batch that could be appended.
struct Candidate {
    place: Place,
    name: TopicPartition,
    partition: Result<Arc<Partition>, ReplicaError>,
    base_sequence: i32,
}

/// The transactional batches of one request.
pub(super) struct Transaction {
    transactional_id: String,
    producer_id: i64,
    producer_epoch: i16,
    version: i16,
    candidates: Vec<Candidate>,
}

impl Transaction {
    /// The transaction that a request writes to, if it does; an error refuses the whole request.
    pub(super) fn of(
        services: &Services,
        version: i16,
        image: &MetadataImage,
        received: &Received,
    ) -> Result<Option<Self>, (ResponseError, Option<String>)> {
        let Some(transactional_id) = &received.request.transactional_id else { return Ok(None) };
        let mut producer = None;
        let mut candidates = Vec::new();
        let mut batches = received.batches.iter().enumerate();
        for topic in &received.request.topic_data {
            let named = if version >= TOPIC_ID_VERSION {
                image.topics.topic_by_id(topic.topic_id)
            } else {
                image.topics.topic(topic.name.as_str())
            };
            for (data, (place, batch)) in topic.partition_data.iter().zip(&mut batches) {
                let Some(named) = named.filter(|named| named.partition(data.index).is_some()) else { continue };
                let Some(header) = batch.parsed.as_ref().ok().and_then(|batch| batch.header()) else { continue };
                if !header.is_transactional() || !header.has_producer_id() {
                    continue;
                }
                if *producer.get_or_insert((header.producer_id, header.producer_epoch))
                    != (header.producer_id, header.producer_epoch)
                {
                    let message = "Transactional records contained more than one producer ID".to_owned();
                    return Err((ResponseError::InvalidProducerIdMapping, Some(message)));
                }
                candidates.push(Candidate {
                    place,
                    name: TopicPartition::new(named.name.clone(), data.index),
                    partition: services.replicas.partition_by_name(&named.name, data.index),
                    base_sequence: header.base_sequence,
                });
            }
        }
        let Some((producer_id, producer_epoch)) = producer else { return Ok(None) };
        let transactional_id = transactional_id.as_str().to_owned();
        Ok(Some(Self { transactional_id, producer_id, producer_epoch, version, candidates }))
    }

    fn adds_partitions(&self) -> bool {
        self.version >= ADDS_PARTITIONS_VERSION
    }

    /// Asks for what has to be asked. While the producer's last transaction is still being ended, a version that adds partitions tries
    /// again for a while: for the client to send its records again would cost more.
    pub(super) async fn admit(self, services: Arc<Services>) -> Admission {
        let millis = |value: i32| Duration::from_millis(u64::try_from(value).unwrap_or(0));
        let config = &services.config;
        let patience = millis(config.add_partitions_to_txn_retry_backoff_max_ms().min(config.request_timeout_ms()));
        let backoff = millis(config.add_partitions_to_txn_retry_backoff_ms());
        let clock = &services.env.clock;
        let started = clock.monotonic();
        loop {
            let results = self.attempt(&services).await;
            let must_wait = results.contains(&Err(ResponseError::ConcurrentTransactions));
            if !must_wait || !self.adds_partitions() || clock.monotonic().saturating_sub(started) >= patience {
                let refuse = |error| refusal(error, self.adds_partitions());
                let places = self.candidates.iter().map(|candidate| candidate.place);
                return Admission::of(
                    places.zip(results).map(|(place, result)| (place, result.map_err(refuse))).collect(),
                );
            }
            clock.sleep_until(clock.monotonic() + backoff).await;
        }
    }

    /// Guards of the partitions that the transaction has not reached yet, if the coordinator agrees: one result for each candidate
    /// (`maybeSendPartitionsToTransactionCoordinator`).
    async fn attempt(&self, services: &Services) -> Vec<Result<VerificationGuard, ResponseError>> {
        if !self.adds_partitions() && !services.config.transaction_partition_verification_enable() {
            return vec![Ok(VerificationGuard::NONE); self.candidates.len()];
        }
        let mut results: Vec<_> = (self.candidates.iter())
            .map(|candidate| self.start_verification(candidate).map_err(|error| error.response_error()))
            .collect();
        let is_unverified =
            |result: &Result<VerificationGuard, ResponseError>| result.is_ok_and(|guard| !guard.is_none());
        let names: Vec<TopicPartition> = (self.candidates.iter().zip(&results))
            .filter(|(_, result)| is_unverified(result))
            .map(|(candidate, _)| candidate.name.clone())
            .collect();
        if names.is_empty() {
            return results;
        }
        let answers = self.ask_coordinator(services, names).await;
        for (result, answer) in results.iter_mut().filter(|result| is_unverified(result)).zip(answers) {
            if let Err(error) = answer {
                *result = Err(error);
            }
        }
        results
    }

    fn start_verification(&self, candidate: &Candidate) -> Result<VerificationGuard, ReplicaError> {
        candidate.partition.as_ref().map_err(ReplicaError::clone)?.maybe_start_transaction_verification(
            self.producer_id,
            self.producer_epoch,
            candidate.base_sequence,
            self.adds_partitions(),
        )
    }

    /// What the coordinator says of each partition, in words that producers expect (`AddPartitionsToTxnHandler`).
    async fn ask_coordinator(
        &self,
        services: &Services,
        partitions: Vec<TopicPartition>,
    ) -> Vec<Result<(), ResponseError>> {
        let (id, producer_id, epoch) = (self.transactional_id.as_str(), self.producer_id, self.producer_epoch);
        let transactions = &services.transactions;
        let answers = if self.adds_partitions() {
            let added = transactions.add_partitions(id, producer_id, epoch, &partitions, TransactionVersion::Tv2).await;
            vec![added; partitions.len()]
        } else {
            let verified = transactions.verify_partitions(id, producer_id, epoch, partitions).await;
            verified.into_iter().map(|(_, answer)| answer).collect()
        };
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        services.metrics.transaction_verification_failures_total.add(failed as u64);
        let translate = |error| of_transaction_coordinator(error, self.version >= ABORTABLE_VERSION);
        answers.into_iter().map(|answer| answer.map_err(translate)).collect()
    }
}

/// How a Produce is refused for what the coordinator said. What will pass by becomes NOT_ENOUGH_REPLICAS, which every client repeats
/// without asking for metadata.
fn refusal(error: ResponseError, adds_partitions: bool) -> Refusal {
    let unable = |name: &str| {
        let message =
            format!("Unable to verify the partition has been added to the transaction. Underlying error: {name}");
        Refusal { message: Some(message), ..Refusal::bare(ResponseError::NotEnoughReplicas) }
    };
    match error {
        ResponseError::InvalidTxnState => {
            Refusal { message: Some("Partition was not added to the transaction".to_owned()), ..Refusal::bare(error) }
        }
        ResponseError::NetworkException => unable("NETWORK_EXCEPTION"),
        ResponseError::CoordinatorLoadInProgress => unable("COORDINATOR_LOAD_IN_PROGRESS"),
        ResponseError::CoordinatorNotAvailable => unable("COORDINATOR_NOT_AVAILABLE"),
        ResponseError::NotCoordinator => unable("NOT_COORDINATOR"),
        ResponseError::ConcurrentTransactions if !adds_partitions => unable("CONCURRENT_TRANSACTIONS"),
        other => Refusal::bare(other),
    }
}
