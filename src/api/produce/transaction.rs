//! What a transactional Produce settles with the transaction coordinator before it appends (`ReplicaManager.handleProduceAppend`,
//! `AddPartitionsToTxnManager`, KIP-890): up to version 11 the producer has announced its partitions, and they are verified; from 12 on
//! writing to a partition announces it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ProduceRequest;

use super::{Refusal, TOPIC_ID_VERSION};
use crate::api::error_mapping::{ToErrorCode, of_transaction_coordinator};
use crate::api::services::Services;
use crate::metadata::MetadataImage;
use crate::record::{BatchHeader, check_produce_format};
use crate::replica::{Partition, ReplicaError};
use crate::types::{TopicPartition, TransactionVersion, VerificationGuard};

/// First version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE_VERSION: i16 = 11;
/// First version that adds the partitions that it writes to to the transaction.
const ADDS_PARTITIONS_VERSION: i16 = 12;

/// Topic and partition of a batch, by their places in the request.
pub(super) type Place = (usize, usize);

/// What was settled of the transactional batches of a request.
#[derive(Default)]
pub(super) struct Admission(HashMap<Place, Result<VerificationGuard, Refusal>>);

impl Admission {
    /// The guard to append a batch with; none for a batch that needs none.
    pub(super) fn take(&mut self, place: Place) -> Result<VerificationGuard, Refusal> {
        self.0.remove(&place).unwrap_or(Ok(VerificationGuard::NONE))
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
        request: &ProduceRequest,
    ) -> Result<Option<Self>, (ResponseError, Option<String>)> {
        let Some(transactional_id) = &request.transactional_id else { return Ok(None) };
        let mut producers = HashSet::new();
        let mut candidates = Vec::new();
        for (topic_index, topic) in request.topic_data.iter().enumerate() {
            let named = if version >= TOPIC_ID_VERSION {
                image.topics.topic_by_id(topic.topic_id)
            } else {
                image.topics.topic(topic.name.as_str())
            };
            let Some(named) = named else { continue };
            for (partition_index, data) in topic.partition_data.iter().enumerate() {
                let records = data.records.as_deref().unwrap_or_default();
                if named.partition(data.index).is_none() || check_produce_format(records, version).is_err() {
                    continue;
                }
                let Ok(header) = BatchHeader::parse(records) else { continue };
                if !header.is_transactional() || !header.has_producer_id() {
                    continue;
                }
                producers.insert((header.producer_id, header.producer_epoch));
                candidates.push(Candidate {
                    place: (topic_index, partition_index),
                    name: TopicPartition::new(named.name.clone(), data.index),
                    partition: services.replicas.partition_by_name(&named.name, data.index),
                    base_sequence: header.base_sequence,
                });
            }
        }
        if producers.len() > 1 {
            let message = "Transactional records contained more than one producer ID".to_owned();
            return Err((ResponseError::InvalidProducerIdMapping, Some(message)));
        }
        let Some((producer_id, producer_epoch)) = producers.into_iter().next() else { return Ok(None) };
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
            let must_wait = results.values().any(|result| *result == Err(ResponseError::ConcurrentTransactions));
            if !must_wait || !self.adds_partitions() || clock.monotonic().saturating_sub(started) >= patience {
                let refuse = |error| refusal(error, self.adds_partitions());
                return Admission(results.into_iter().map(|(place, result)| (place, result.map_err(refuse))).collect());
            }
            clock.sleep_until(clock.monotonic() + backoff).await;
        }
    }

    /// Guards of the partitions that the transaction has not reached yet, if the coordinator agrees
    /// (`maybeSendPartitionsToTransactionCoordinator`).
    async fn attempt(&self, services: &Services) -> HashMap<Place, Result<VerificationGuard, ResponseError>> {
        let mut results = HashMap::new();
        if !self.adds_partitions() && !services.config.transaction_partition_verification_enable() {
            return results;
        }
        let mut unverified = Vec::new();
        for candidate in &self.candidates {
            let guard = self.start_verification(candidate).map_err(|error| error.response_error());
            if guard.is_ok_and(|guard| !guard.is_none()) {
                unverified.push(candidate);
            }
            results.insert(candidate.place, guard);
        }
        if unverified.is_empty() {
            return results;
        }
        let names = unverified.iter().map(|candidate| candidate.name.clone()).collect();
        let answers = self.ask_coordinator(services, names).await;
        for (candidate, answer) in unverified.into_iter().zip(answers) {
            if let Err(error) = answer {
                results.insert(candidate.place, Err(error));
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
