//! Produce (key 0): appends what clients send (`KafkaApis.handleProduceRequest`, `ReplicaManager.handleProduceAppend`).
//!
//! Everything is appended before `handle` returns, so that pipelined requests keep their order; what may be waited for is
//! the high watermark (acks=all) and the disk (`flush.messages`). A transaction whose coordinator cannot say at once whether it has the
//! partition is appended later, and nothing of the connection before it (`Answer::First`).

mod transaction;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_request::TopicProduceData;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use smallvec::SmallVec;

use self::transaction::{Admission, Transaction};
use crate::api::current_leader::current_leader;
use crate::api::error_mapping::{NONE, ToErrorCode};
use crate::api::handler::{Answer, CloseReason, RequestContext};
use crate::api::services::Services;
use crate::env::BoxFuture;
use crate::metadata::{MetadataImage, TopicImage};
use crate::record::{BatchHeader, ProduceBatch, ValidationError};
use crate::replica::{ACKS_ALL, HighWatermarkWait, Partition, ReplicaError};
use crate::storage::{AppendOrigin, FlushTicket};
use crate::types::{Uuid, is_internal_topic};

/// First version that names topics by id (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;
/// First version that tells the current leader (KIP-951).
const CURRENT_LEADER_VERSION: i16 = 10;
/// First version with errors of single records (KIP-467).
const RECORD_ERRORS_VERSION: i16 = 8;
/// The client id that may write to internal topics (`AdminUtils`).
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// Which batch of a request: they are counted from 0, in the order of its topics and partitions.
type Place = usize;

/// Appends every partition's batch and answers, or waits for the acknowledgements that the producer wants.
pub fn handle(services: &Arc<Services>, context: &RequestContext, request: ProduceRequest) -> Answer<ProduceResponse> {
    let image = services.replicas.image();
    let received = Received::new(request, context.api_version);
    let refused = match received.scan() {
        Scan::Refused(error, message) => Some((error, message)),
        Scan::Plain => None,
        Scan::Transactional => match Transaction::of(services, context.api_version, &image, &received) {
            Err(refused) => Some(refused),
            Ok(None) => None,
            Ok(Some(transaction)) => return in_transaction(services, context, &image, received, transaction),
        },
    };
    append(services, context, &image, received, refused, Admission::none())
}

/// Asks the transaction coordinator first. On this broker it answers at once; if not, nothing that this client sends later may be
/// appended before.
fn in_transaction(
    services: &Arc<Services>,
    context: &RequestContext,
    image: &MetadataImage,
    received: Received,
    transaction: Transaction,
) -> Answer<ProduceResponse> {
    let mut admission: BoxFuture<'static, Admission> = Box::pin(transaction.admit(services.clone()));
    if let Some(admission) = (&mut admission).now_or_never() {
        return append(services, context, image, received, None, admission);
    }
    let (services, context) = (services.clone(), context.clone());
    Answer::First(Box::pin(async move {
        let admission = admission.await;
        append(&services, &context, &services.replicas.image(), received, None, admission)
    }))
}

fn append(
    services: &Arc<Services>,
    context: &RequestContext,
    image: &MetadataImage,
    received: Received,
    refused: Option<(ResponseError, Option<String>)>,
    admission: Admission,
) -> Answer<ProduceResponse> {
    let Received { request, batches } = received;
    let acks = request.acks;
    let mut produce = Produce::new(services, context, image, acks, refused, admission);
    produce.response.responses.reserve_exact(request.topic_data.len());
    let mut batches = batches.into_iter().enumerate();
    for topic in request.topic_data {
        produce.topic(topic, &mut batches);
    }
    let Produce { mut response, pending, .. } = produce;
    if acks == 0 {
        // The producer expects no answer: a closed connection is the only way to tell it of an error.
        return match first_error(&response) {
            Some(error) => Answer::Close(CloseReason::Refused(format!("Produce with acks=0 failed: error {error}"))),
            None => Answer::Nothing,
        };
    }
    if pending.is_empty() {
        tell_leaders(services, context, &mut response);
        return Answer::Now(response);
    }
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = services.env.clock.monotonic().saturating_add(timeout);
    for topic in &mut response.responses {
        // Owned, so that the answer does not pin the request's buffer while it waits.
        topic.name = TopicName(StrBytes::from_string(topic.name.to_string()));
    }
    let (services, context) = (services.clone(), context.clone());
    Answer::Later(Box::pin(async move {
        let _waiting = services.metrics.produces_waiting.hold();
        wait(&services, pending, deadline, &mut response).await;
        tell_leaders(&services, &context, &mut response);
        response
    }))
}

/// A request whose batches are framed and parsed, once for all who look at them.
struct Received {
    request: ProduceRequest,
    /// In the order of [`Place`].
    batches: SmallVec<[ReceivedBatch; 1]>,
}

struct ReceivedBatch {
    parsed: Result<ProduceBatch, ValidationError>,
    /// Of the first header, also where the rest is not as it should be.
    is_transactional: bool,
}

impl Received {
    fn new(request: ProduceRequest, version: i16) -> Self {
        let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
        let batches = partitions.map(|partition| {
            let none = bytes::Bytes::new();
            let records = partition.records.as_ref().unwrap_or(&none);
            let parsed = ProduceBatch::parse(records, version);
            let is_transactional = match &parsed {
                Ok(batch) => batch.header().is_some_and(BatchHeader::is_transactional),
                Err(_) => BatchHeader::parse(records).is_ok_and(|header| header.is_transactional()),
            };
            ReceivedBatch { parsed, is_transactional }
        });
        Self { batches: batches.collect(), request }
    }

    /// What Kafka finds out while it looks for transactional batches, before it looks at any partition
    /// (`RequestUtils.hasTransactionalRecords`): bytes that are no batch, or a transaction without a transactional id.
    fn scan(&self) -> Scan {
        for batch in &self.batches {
            if let Err(ValidationError::CorruptFraming(message)) = &batch.parsed {
                return Scan::Refused(ResponseError::CorruptMessage, Some(message.clone()));
            }
            if batch.is_transactional {
                return match self.request.transactional_id {
                    None => Scan::Refused(ResponseError::TransactionalIdAuthorizationFailed, None),
                    Some(_) => Scan::Transactional,
                };
            }
        }
        Scan::Plain
    }
}

/// What the batches of a request are.
enum Scan {
    /// None is part of a transaction.
    Plain,
    /// Some are.
    Transactional,
    /// The whole request is refused.
    Refused(ResponseError, Option<String>),
}

/// An acknowledgement that is still missing, and where in the answer it belongs.
struct Pending {
    topic: usize,
    partition: usize,
    committed: HighWatermarkWait,
    flush: Option<FlushTicket>,
}

/// One request while it is worked on.
struct Produce<'a> {
    services: &'a Services,
    image: &'a MetadataImage,
    version: i16,
    acks: i16,
    /// Why the whole request is refused.
    refused: Option<(ResponseError, Option<String>)>,
    /// What was settled of transactional batches.
    admission: Admission,
    may_write_internal_topics: bool,
    now: i64,
    response: ProduceResponse,
    pending: Vec<Pending>,
}

impl<'a> Produce<'a> {
    fn new(
        services: &'a Services,
        context: &RequestContext,
        image: &'a MetadataImage,
        acks: i16,
        refused: Option<(ResponseError, Option<String>)>,
        admission: Admission,
    ) -> Self {
        Self {
            services,
            image,
            version: context.api_version,
            acks,
            refused,
            admission,
            may_write_internal_topics: context.client_id.as_deref() == Some(ADMIN_CLIENT_ID),
            now: services.env.clock.wall_millis(),
            response: ProduceResponse::default(),
            pending: Vec::new(),
        }
    }

    /// Appends the batches of one topic, which are the next ones, and puts its part of the answer in place.
    fn topic(&mut self, topic: TopicProduceData, batches: &mut impl Iterator<Item = (Place, ReceivedBatch)>) {
        let topics = &self.image.topics;
        let named = if self.version >= TOPIC_ID_VERSION {
            topics.topic_by_id(topic.topic_id)
        } else {
            topics.topic(topic.name.as_str())
        };
        let mut answer = TopicProduceResponse::default().with_topic_id(topic.topic_id);
        if self.version < TOPIC_ID_VERSION {
            answer.name = topic.name;
        }
        answer.partition_responses.reserve_exact(topic.partition_data.len());
        for (partition, batch) in topic.partition_data.into_iter().zip(batches) {
            let index = partition.index;
            let result = match named {
                Some(named) => self.partition(named, topic.topic_id, index, batch),
                None => Err(self.unknown_topic()),
            };
            self.services.metrics.produced_partitions_total.increment();
            answer.partition_responses.push(match result {
                Ok((partition_answer, None)) => partition_answer,
                Ok((partition_answer, Some((committed, flush)))) => {
                    let (topic, partition) = (self.response.responses.len(), answer.partition_responses.len());
                    self.pending.push(Pending { topic, partition, committed, flush });
                    partition_answer
                }
                Err(refusal) => {
                    self.services.metrics.produce_errors_total.increment();
                    refusal.answer(index, self.version)
                }
            });
        }
        self.response.responses.push(answer);
    }

    fn unknown_topic(&self) -> Refusal {
        match &self.refused {
            _ if self.version >= TOPIC_ID_VERSION => Refusal::bare(ResponseError::UnknownTopicId),
            Some((error, message)) => Refusal { message: message.clone(), ..Refusal::bare(*error) },
            None => Refusal::bare(ResponseError::UnknownTopicOrPartition),
        }
    }

    #[expect(clippy::type_complexity, reason = "an answer, and what it still waits for")]
    fn partition(
        &mut self,
        topic: &TopicImage,
        topic_id: Uuid,
        index: i32,
        (place, batch): (Place, ReceivedBatch),
    ) -> Result<(PartitionProduceResponse, Option<(HighWatermarkWait, Option<FlushTicket>)>), Refusal> {
        if let Some((error, message)) = &self.refused {
            return Err(Refusal { message: message.clone(), ..Refusal::bare(*error) });
        }
        if topic.partition(index).is_none() {
            return Err(Refusal::bare(ResponseError::UnknownTopicOrPartition));
        }
        let batch = batch.parsed.map_err(|error| Refusal::bare(error.response_error()))?;
        let guard = self.admission.take(place)?;
        if !(ACKS_ALL..=1).contains(&self.acks) {
            return Err(Refusal::bare(ResponseError::InvalidRequiredAcks));
        }
        if is_internal_topic(&topic.name) && !self.may_write_internal_topics {
            return Err(Refusal::bare(ResponseError::InvalidTopicException));
        }
        let partition = self.services.replicas.partition_by_name(&topic.name, index);
        let partition = partition.map_err(|error| Refusal::bare(error.response_error()))?;
        if self.version >= TOPIC_ID_VERSION && partition.topic_id() != topic_id {
            return Err(Refusal::bare(ResponseError::UnknownTopicId));
        }
        let bytes = batch.size_in_bytes() as u64;
        let records = batch.header().map_or(0, |header| header.record_count);
        partition.traffic().produce_requests.increment();
        let appended = partition
            .append_batch_to_leader(batch, self.acks, AppendOrigin::Client, guard, self.now)
            .map_err(|error| {
                partition.traffic().failed_produce_requests.increment();
                Refusal::of_append(&partition, &error)
            })?;
        self.count_appended(&partition, bytes, u64::try_from(records).unwrap_or(0));
        let answer = PartitionProduceResponse::default()
            .with_index(index)
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(appended.log_append_time)
            .with_log_start_offset(appended.log_start_offset);
        let flush = appended.flush.filter(|flush| self.acks != 0 && !flush.is_ready());
        let mut committed = match self.acks {
            ACKS_ALL if appended.last_offset >= appended.high_watermark => {
                partition.committed(appended.last_offset + 1)
            }
            _ => HighWatermarkWait::reached(),
        };
        let pending = match committed.now() {
            Some(Err(error)) => return Err(Refusal::of_append(&partition, &error)),
            Some(Ok(())) if flush.is_none() => None,
            Some(Ok(())) => Some((HighWatermarkWait::reached(), flush)),
            None => Some((committed, flush)),
        };
        Ok((answer, pending))
    }

    fn count_appended(&self, partition: &Partition, bytes: u64, records: u64) {
        let (metrics, traffic) = (&self.services.metrics, partition.traffic());
        metrics.record_batches_in_total.increment();
        metrics.record_bytes_in_total.add(bytes);
        metrics.records_in_total.add(records);
        traffic.bytes_in.add(bytes);
        traffic.messages_in.add(records);
    }
}

/// Why a partition's batch was not appended.
struct Refusal {
    error: ResponseError,
    log_start_offset: i64,
    message: Option<String>,
    records: Vec<BatchIndexAndErrorMessage>,
}

impl Refusal {
    /// Just the error.
    fn bare(error: ResponseError) -> Self {
        Self { error, log_start_offset: -1, message: None, records: Vec::new() }
    }

    /// What the partition said; for some errors Kafka also tells the log's first offset
    /// (`ReplicaManager.appendRecordsToLeader`).
    fn of_append(partition: &Partition, error: &ReplicaError) -> Self {
        let code = error.response_error();
        let is_bare = matches!(
            code,
            ResponseError::UnknownTopicOrPartition
                | ResponseError::NotLeaderOrFollower
                | ResponseError::MessageTooLarge
                | ResponseError::RecordListTooLarge
                | ResponseError::CorruptMessage
                | ResponseError::KafkaStorageError
                | ResponseError::UnknownTopicId
        );
        if is_bare {
            return Self::bare(code);
        }
        let ReplicaError::Validation(validation) = error else {
            return Self { log_start_offset: partition.log().log_start_offset(), ..Self::bare(code) };
        };
        let records = validation.record_errors().iter().map(|problem| {
            BatchIndexAndErrorMessage::default()
                .with_batch_index(problem.batch_index)
                .with_batch_index_error_message(Some(StrBytes::from_string(problem.message.clone())))
        });
        Self {
            error: code,
            log_start_offset: partition.log().log_start_offset(),
            message: validation.client_message().map(str::to_owned),
            records: records.collect(),
        }
    }

    fn answer(self, index: i32, version: i16) -> PartitionProduceResponse {
        let mut answer = PartitionProduceResponse::default()
            .with_index(index)
            .with_error_code(self.error.code())
            .with_base_offset(-1)
            .with_log_append_time_ms(-1)
            .with_log_start_offset(self.log_start_offset);
        if version >= RECORD_ERRORS_VERSION {
            answer.record_errors = self.records;
            answer.error_message = self.message.map(StrBytes::from_string);
        }
        answer
    }
}

/// Waits for everything that is pending: one waiter after the other, because all of them have to come.
async fn wait(services: &Services, pending: Vec<Pending>, deadline: Duration, response: &mut ProduceResponse) {
    let mut timeout = services.env.clock.sleep_until(deadline);
    let mut is_over = false;
    for Pending { topic, partition, mut committed, flush } in pending {
        let outcome = if is_over {
            committed.now()
        } else {
            tokio::select! {
                biased;
                outcome = &mut committed => Some(outcome),
                () = &mut timeout => {
                    is_over = true;
                    None
                }
            }
        };
        let error_code = match outcome {
            Some(Ok(())) => NONE,
            Some(Err(error)) => error.error_code(),
            None => ResponseError::RequestTimedOut.code(),
        };
        let answer = &mut response.responses[topic].partition_responses[partition];
        answer.error_code = error_code;
        // Kafka syncs inside the append, so that no timeout applies.
        if let Some(flush) = flush
            && let Err(error) = flush.await
        {
            let error = ReplicaError::Storage(error);
            *answer = Refusal::bare(error.response_error()).answer(answer.index, RECORD_ERRORS_VERSION);
        }
    }
}

/// Tells a producer that asked the wrong broker who leads (KIP-951).
fn tell_leaders(services: &Services, context: &RequestContext, response: &mut ProduceResponse) {
    if context.api_version < CURRENT_LEADER_VERSION {
        return;
    }
    let wrong_leader = ResponseError::NotLeaderOrFollower.code();
    let by_id = context.api_version >= TOPIC_ID_VERSION;
    for topic in &mut response.responses {
        for partition in topic.partition_responses.iter_mut().filter(|answer| answer.error_code == wrong_leader) {
            let image = services.replicas.image();
            let named = if by_id { image.topics.topic_by_id(topic.topic_id) } else { image.topics.topic(&topic.name) };
            let Some(named) = named else { continue };
            let Some(leader) = current_leader(services, &image, context, &named.name, partition.index) else {
                continue;
            };
            partition.current_leader =
                LeaderIdAndEpoch::default().with_leader_id(leader.id.into()).with_leader_epoch(leader.epoch);
            let Some(endpoint) = leader.endpoint else { continue };
            if response.node_endpoints.iter().all(|node| node.node_id.0 != leader.id) {
                response.node_endpoints.push(
                    NodeEndpoint::default()
                        .with_node_id(leader.id.into())
                        .with_host(StrBytes::from_string(endpoint.host))
                        .with_port(i32::from(endpoint.port))
                        .with_rack(leader.rack.map(StrBytes::from_string)),
                );
            }
        }
    }
}

fn first_error(response: &ProduceResponse) -> Option<i16> {
    let answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    answers.map(|answer| answer.error_code).find(|code| *code != NONE)
}

#[cfg(test)]
mod transaction_tests;
