//! One partition of one attempt of a fetch: found, read, turned into what the answer says of it.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;

use super::Fetch;
use super::response::{AbortedTransactions, FetchAnswer, NODE_ENDPOINTS_VERSION, NodeEndpoint, PartitionAnswer};
use super::session::{PartitionKey, PartitionRequest, TopicKey};
use crate::api::current_leader::current_leader;
use crate::api::error_mapping::ToErrorCode;
use crate::metadata::MetadataImage;
use crate::mutant;
use crate::replica::{Partition, ReadRequest, ReadResult, ReplicaError, ReplicaManager};
use crate::storage::FetchIsolation;
use crate::types::Uuid;

/// What may still be read for one answer.
pub(super) struct Budget {
    remaining: usize,
    /// As long as nothing was read, the first batch comes whole, whatever its size (KIP-74).
    min_one_message: bool,
}

impl Budget {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { remaining: max_bytes, min_one_message: true }
    }

    /// Whether no further read can give anything.
    pub(super) fn is_spent(&self) -> bool {
        self.remaining == 0 && !self.min_one_message
    }

    fn take(&mut self, bytes: usize) {
        if bytes > 0 {
            self.min_one_message = false;
        }
        self.remaining = self.remaining.saturating_sub(bytes);
    }
}

/// How a read went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadKind {
    /// There may be records.
    Read,
    /// The partition could not be read: the client is told at once.
    Failed,
    /// The topic or partition does not exist: it does not keep the others from waiting (`KafkaApis`: erroneous).
    Refused,
}

/// A partition as it was read.
pub(super) struct PartitionRead {
    pub(super) token: u32,
    pub(super) name: Arc<str>,
    pub(super) topic_id: Uuid,
    pub(super) kind: ReadKind,
    pub(super) answer: PartitionAnswer,
    /// Name and number, when the leader has to be told (KIP-951).
    wrong_leader: bool,
    /// Something can be read from the offset that was asked for.
    readable: bool,
    /// The answer must not wait for more (`DelayedFetch.tryComplete`, cases B to G).
    pub(super) is_final: bool,
    /// The partition, where there is one.
    partition: Option<Arc<Partition>>,
}

impl PartitionRead {
    /// Counts what the answer takes from the partition's topic.
    pub(super) fn count_sent(&self) {
        if let (Some(partition), Some(records)) = (&self.partition, &self.answer.records) {
            partition.traffic().bytes_out.add(records.length as u64);
        }
    }

    /// Whether the next fetch of the session has to look at the partition again even without news.
    pub(super) fn has_more(&self) -> bool {
        self.readable || self.kind != ReadKind::Read || self.answer.diverging_epoch.is_some()
    }
}

/// Why a partition is not here.
pub(super) enum NotFound {
    /// The id names no topic.
    UnknownTopicId,
    /// There is no such topic or partition.
    UnknownTopicOrPartition,
    /// It exists, but not here, or it failed.
    Failed(ReplicaError),
}

/// Finds the partition that a request names.
pub(super) fn find_partition(
    replicas: &ReplicaManager,
    image: &MetadataImage,
    key: &PartitionKey,
    name: Option<&Arc<str>>,
) -> Result<Arc<Partition>, NotFound> {
    let Some(name) = name else { return Err(NotFound::UnknownTopicId) };
    if image.topics.partition(name, key.partition).is_none() {
        return Err(NotFound::UnknownTopicOrPartition);
    }
    let partition = replicas.partition_by_name(name, key.partition).map_err(NotFound::Failed)?;
    match key.topic {
        TopicKey::Id(id) if id != partition.topic_id() => {
            Err(NotFound::Failed(ReplicaError::InconsistentTopicId(partition.topic_partition().clone())))
        }
        _ => Ok(partition),
    }
}

/// Refused partitions come last (`KafkaApis.handleFetchRequest`).
pub(super) fn put_in_answer_order(reads: &mut [PartitionRead]) {
    reads.sort_by_key(|read| read.kind == ReadKind::Refused);
}

impl Fetch {
    pub(super) fn read(
        &self,
        token: u32,
        name: Arc<str>,
        key: &PartitionKey,
        request: &PartitionRequest,
        partition: Result<Arc<Partition>, NotFound>,
        budget: &mut Budget,
    ) -> PartitionRead {
        let topic_id = match key.topic {
            TopicKey::Id(id) => id,
            TopicKey::Name(_) => Uuid::nil(),
        };
        let refused = |error: ResponseError| PartitionAnswer::error(key.partition, error.code());
        let mut read = None;
        let (kind, answer) = match &partition {
            Err(NotFound::UnknownTopicId) => (ReadKind::Refused, refused(ResponseError::UnknownTopicId)),
            Err(NotFound::UnknownTopicOrPartition) => {
                (ReadKind::Refused, refused(ResponseError::UnknownTopicOrPartition))
            }
            Err(NotFound::Failed(error)) => (ReadKind::Failed, self.failed(key.partition, error)),
            Ok(partition) => match self.read_partition(partition, request, budget) {
                Ok(result) => {
                    let result = read.insert(result);
                    (ReadKind::Read, self.answer(key.partition, result))
                }
                Err(error) => (ReadKind::Failed, self.failed(key.partition, &error)),
            },
        };
        let wrong_leader = kind == ReadKind::Failed
            && [ResponseError::NotLeaderOrFollower.code(), ResponseError::FencedLeaderEpoch.code()]
                .contains(&answer.error_code);
        let readable = read.as_ref().is_some_and(|read| request.fetch_offset < self.end(read));
        let is_final = kind == ReadKind::Failed
            || read.as_ref().is_some_and(|read| read.diverging_epoch.is_some() || read.on_older_segment);
        let partition = partition.ok();
        self.count_read(partition.as_deref(), kind);
        PartitionRead { token, name, topic_id, kind, answer, wrong_leader, readable, is_final, partition }
    }

    fn count_read(&self, partition: Option<&Partition>, kind: ReadKind) {
        let metrics = &self.services.metrics;
        metrics.fetched_partitions_total.increment();
        let has_failed = kind != ReadKind::Read;
        if has_failed {
            metrics.fetch_errors_total.increment();
        }
        if let Some(partition) = partition {
            partition.traffic().fetch_requests.increment();
            if has_failed {
                partition.traffic().failed_fetch_requests.increment();
            }
        }
    }

    fn read_partition(
        &self,
        partition: &Partition,
        request: &PartitionRequest,
        budget: &mut Budget,
    ) -> Result<ReadResult, ReplicaError> {
        if self.is_follower {
            // No partition has followers yet.
            return Err(partition.follower_refusal(request.current_leader_epoch));
        }
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(budget.remaining);
        let read = partition.read(&ReadRequest {
            fetch_offset: request.fetch_offset,
            current_leader_epoch: request.current_leader_epoch,
            last_fetched_epoch: request.last_fetched_epoch,
            max_bytes,
            isolation: self.isolation,
            min_one_message: budget.min_one_message,
        })?;
        budget.take(read.records.as_ref().map_or(0, |records| records.length));
        Ok(read)
    }

    fn is_committed(&self) -> bool {
        self.isolation == FetchIsolation::TransactionCommitted
    }

    /// Where this reader has to stop.
    fn end(&self, read: &ReadResult) -> i64 {
        if self.is_committed() { read.last_stable_offset } else { read.high_watermark }
    }

    fn answer(&self, index: i32, read: &mut ReadResult) -> PartitionAnswer {
        PartitionAnswer {
            index,
            error_code: 0,
            high_watermark: read.high_watermark,
            last_stable_offset: read.last_stable_offset,
            log_start_offset: read.log_start_offset,
            diverging_epoch: read.diverging_epoch,
            current_leader: None,
            aborted_transactions: match self.is_committed() {
                true if !self.watches.is_empty() && mutant::is_active("no-aborted-list-after-waiting") => {
                    AbortedTransactions::List(Vec::new())
                }
                true => AbortedTransactions::List(std::mem::take(&mut read.aborted_transactions)),
                false => AbortedTransactions::Null,
            },
            records: read.records.take(),
        }
    }

    fn failed(&self, index: i32, error: &ReplicaError) -> PartitionAnswer {
        let mut code = error.response_error();
        if code == ResponseError::KafkaStorageError && self.version() <= 5 {
            // Clients of these versions do not know the error; this one makes them refresh their metadata.
            code = ResponseError::NotLeaderOrFollower;
        }
        PartitionAnswer {
            aborted_transactions: AbortedTransactions::Null,
            ..PartitionAnswer::error(index, code.code())
        }
    }

    /// Tells a client that asked the wrong broker, or with an old epoch, who leads and where (KIP-951).
    pub(super) fn add_node_endpoints(
        &self,
        image: &MetadataImage,
        reads: &mut [PartitionRead],
        answer: &mut FetchAnswer,
    ) {
        if self.version() < NODE_ENDPOINTS_VERSION {
            return;
        }
        for read in reads.iter_mut().filter(|read| read.wrong_leader) {
            let leader = current_leader(&self.services, image, &self.request, &read.name, read.answer.index);
            let Some(leader) = leader else { continue };
            read.answer.current_leader = Some((leader.id, leader.epoch));
            if self.is_follower {
                // Brokers know where the others are.
                continue;
            }
            let Some(endpoint) = leader.endpoint else { continue };
            if answer.node_endpoints.iter().all(|node| node.id != leader.id) {
                answer.node_endpoints.push(NodeEndpoint {
                    id: leader.id,
                    host: endpoint.host,
                    port: i32::from(endpoint.port),
                    rack: leader.rack,
                });
            }
        }
    }
}
