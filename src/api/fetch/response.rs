//! The body of a Fetch response as chunks: headers by hand, records as ranges of files, so that the server can send them
//! from the page cache. A test compares the bytes with the codec's for every version.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::protocol::StrBytes;
use smallvec::{SmallVec, smallvec};

use crate::api::handler::{Chunk, Response};
use crate::storage::{AbortedTransaction, FileSlice};
use crate::types::Uuid;

/// First version with compact types and tagged fields.
const FLEXIBLE_VERSION: i16 = 12;
/// First version that names topics by id alone (KIP-516).
pub const TOPIC_ID_VERSION: i16 = 13;
/// First version with the leaders' endpoints (KIP-951).
pub const NODE_ENDPOINTS_VERSION: i16 = 16;

/// The aborted transactions of a partition: a list for read_committed, which may be empty, and none at all for read_uncommitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AbortedTransactions {
    /// No list.
    #[default]
    Null,
    /// The transactions that the records touch.
    List(Vec<AbortedTransaction>),
}

/// One partition of the answer.
#[derive(Clone, Debug)]
pub struct PartitionAnswer {
    /// Number of the partition.
    pub index: i32,
    /// Kafka's error code.
    pub error_code: i16,
    /// The high watermark; -1 when unknown.
    pub high_watermark: i64,
    /// The last stable offset; -1 when unknown.
    pub last_stable_offset: i64,
    /// The log's first offset; -1 when unknown (v5 and later).
    pub log_start_offset: i64,
    /// Epoch and end offset where the reader's log leaves ours (v12 and later).
    pub diverging_epoch: Option<(i32, i64)>,
    /// Id and epoch of the leader, for a reader that asked the wrong broker (v12 and later).
    pub current_leader: Option<(i32, i32)>,
    /// The aborted transactions.
    pub aborted_transactions: AbortedTransactions,
    /// Whole batches; `None` or length 0 when there is nothing to read.
    pub records: Option<FileSlice>,
}

impl PartitionAnswer {
    /// An answer that says no more than the error (`FetchResponse.partitionResponse`).
    pub fn error(index: i32, error_code: i16) -> Self {
        Self {
            index,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            aborted_transactions: AbortedTransactions::List(Vec::new()),
            records: None,
        }
    }

    /// Bytes of records.
    pub fn records_len(&self) -> usize {
        self.records.as_ref().map_or(0, |records| records.length)
    }
}

/// A run of partitions of one topic.
#[derive(Debug)]
pub struct TopicAnswer {
    /// The name; unused from v13.
    pub name: Arc<str>,
    /// The id; unused before v13.
    pub id: Uuid,
    /// The partitions in the order of the request or session.
    pub partitions: SmallVec<[PartitionAnswer; 1]>,
}

/// Where a leader is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// The broker's id.
    pub id: i32,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: i32,
    /// Rack.
    pub rack: Option<String>,
}

/// The answer to one Fetch request.
#[derive(Debug, Default)]
pub struct FetchAnswer {
    /// The error of the session, v7 and later.
    pub error_code: i16,
    /// The session; 0 when there is none (v7 and later).
    pub session_id: i32,
    /// Topics; one may come more than once, because the order of partitions is kept.
    pub topics: SmallVec<[TopicAnswer; 1]>,
    /// Where the current leaders are (v16 and later).
    pub node_endpoints: Vec<NodeEndpoint>,
}

impl FetchAnswer {
    /// Appends a partition, in the last topic when it is the same.
    pub fn push(&mut self, name: &Arc<str>, id: Uuid, partition: PartitionAnswer) {
        match self.topics.last_mut() {
            Some(topic) if topic.id == id && topic.name == *name => topic.partitions.push(partition),
            _ => self.topics.push(TopicAnswer { name: name.clone(), id, partitions: smallvec![partition] }),
        }
    }

    /// Bytes of records.
    pub fn records_len(&self) -> usize {
        self.topics.iter().flat_map(|topic| &topic.partitions).map(PartitionAnswer::records_len).sum()
    }

    /// Encodes the body for one version (4 to 18).
    pub fn encode(self, version: i16) -> Response {
        let mut writer =
            Writer { buffer: BytesMut::with_capacity(self.header_len()), response: Response::default(), version };
        writer.answer(self);
        writer.finish()
    }

    /// Room for everything but the records: a little more than needed, so that the buffer is allocated once.
    fn header_len(&self) -> usize {
        let topics: usize =
            self.topics.iter().map(|topic| 32 + topic.name.len() + topic.partitions.len() * PARTITION_LEN_MAX).sum();
        32 + topics + self.node_endpoints.len() * 300
    }
}

/// Refuses a whole request (`FetchRequest.getErrorResponse`); before v13 each of its partitions says so too.
pub(super) fn refusal(request: &FetchRequest, error: ResponseError, version: i16) -> Response {
    let mut answer = FetchAnswer { error_code: error.code(), session_id: request.session_id, ..FetchAnswer::default() };
    if version < TOPIC_ID_VERSION {
        for topic in &request.topics {
            let partitions = topic.partitions.iter();
            let partitions = partitions.map(|partition| PartitionAnswer::error(partition.partition, error.code()));
            let name = owned_name(&topic.topic.0);
            answer.topics.push(TopicAnswer { name, id: Uuid::nil(), partitions: partitions.collect() });
        }
    }
    answer.encode(version)
}

/// Bytes of one partition without records, all tagged fields present.
const PARTITION_LEN_MAX: usize = 80;

struct Writer {
    buffer: BytesMut,
    response: Response,
    version: i16,
}

impl Writer {
    fn is_flexible(&self) -> bool {
        self.version >= FLEXIBLE_VERSION
    }

    fn answer(&mut self, answer: FetchAnswer) {
        // The throttle time: quotas are not enforced yet.
        self.buffer.put_i32(0);
        if self.version >= 7 {
            self.buffer.put_i16(answer.error_code);
            self.buffer.put_i32(answer.session_id);
        }
        self.array_len(answer.topics.len());
        for topic in answer.topics {
            self.topic(topic);
        }
        if self.is_flexible() {
            if self.version >= NODE_ENDPOINTS_VERSION && !answer.node_endpoints.is_empty() {
                self.node_endpoints(&answer.node_endpoints);
            } else {
                self.varint(0);
            }
        }
    }

    fn topic(&mut self, topic: TopicAnswer) {
        if self.version >= TOPIC_ID_VERSION {
            self.buffer.put_slice(topic.id.as_bytes());
        } else {
            self.string(&topic.name);
        }
        self.array_len(topic.partitions.len());
        for partition in topic.partitions {
            self.partition(partition);
        }
        if self.is_flexible() {
            self.varint(0);
        }
    }

    fn partition(&mut self, partition: PartitionAnswer) {
        self.buffer.put_i32(partition.index);
        self.buffer.put_i16(partition.error_code);
        self.buffer.put_i64(partition.high_watermark);
        self.buffer.put_i64(partition.last_stable_offset);
        if self.version >= 5 {
            self.buffer.put_i64(partition.log_start_offset);
        }
        match (&partition.aborted_transactions, self.is_flexible()) {
            (AbortedTransactions::Null, true) => self.varint(0),
            (AbortedTransactions::Null, false) => self.buffer.put_i32(-1),
            (AbortedTransactions::List(transactions), _) => self.aborted_transactions(transactions),
        }
        if self.version >= 11 {
            // The preferred read replica: there are no followers.
            self.buffer.put_i32(-1);
        }
        self.records(partition.records);
        if self.is_flexible() {
            self.partition_tags(partition.diverging_epoch, partition.current_leader);
        }
    }

    fn aborted_transactions(&mut self, transactions: &[AbortedTransaction]) {
        self.array_len(transactions.len());
        for transaction in transactions {
            self.buffer.put_i64(transaction.producer_id);
            self.buffer.put_i64(transaction.first_offset);
            if self.is_flexible() {
                self.varint(0);
            }
        }
    }

    /// Records are never null: some clients fail on it (KAFKA-12410).
    fn records(&mut self, records: Option<FileSlice>) {
        let length = records.as_ref().map_or(0, |records| records.length);
        if self.is_flexible() {
            self.varint(length as u32 + 1);
        } else {
            self.buffer.put_i32(length as i32);
        }
        if let Some(FileSlice { file, position, length }) = records.filter(|records| records.length > 0) {
            self.flush();
            self.response.chunks.push(Chunk::File { file, position, length });
        }
    }

    fn partition_tags(&mut self, diverging_epoch: Option<(i32, i64)>, current_leader: Option<(i32, i32)>) {
        self.varint(u32::from(diverging_epoch.is_some()) + u32::from(current_leader.is_some()));
        if let Some((epoch, end_offset)) = diverging_epoch {
            self.varint(0);
            self.varint(4 + 8 + 1);
            self.buffer.put_i32(epoch);
            self.buffer.put_i64(end_offset);
            self.varint(0);
        }
        if let Some((leader_id, leader_epoch)) = current_leader {
            self.varint(1);
            self.varint(4 + 4 + 1);
            self.buffer.put_i32(leader_id);
            self.buffer.put_i32(leader_epoch);
            self.varint(0);
        }
    }

    fn node_endpoints(&mut self, endpoints: &[NodeEndpoint]) {
        let mut field = Writer { buffer: BytesMut::new(), response: Response::default(), version: self.version };
        field.array_len(endpoints.len());
        for endpoint in endpoints {
            field.buffer.put_i32(endpoint.id);
            field.string(&endpoint.host);
            field.buffer.put_i32(endpoint.port);
            match &endpoint.rack {
                Some(rack) => field.string(rack),
                None => field.varint(0),
            }
            field.varint(0);
        }
        self.varint(1);
        self.varint(0);
        self.varint(field.buffer.len() as u32);
        self.buffer.put_slice(&field.buffer);
    }

    fn array_len(&mut self, len: usize) {
        if self.is_flexible() {
            self.varint(len as u32 + 1);
        } else {
            self.buffer.put_i32(len as i32);
        }
    }

    fn string(&mut self, text: &str) {
        if self.is_flexible() {
            self.varint(text.len() as u32 + 1);
        } else {
            self.buffer.put_i16(text.len() as i16);
        }
        self.buffer.put_slice(text.as_bytes());
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    fn flush(&mut self) {
        if !self.buffer.is_empty() {
            self.response.chunks.push(Chunk::Bytes(self.buffer.split().freeze()));
        }
    }

    fn finish(mut self) -> Response {
        self.flush();
        self.response
    }
}

/// The name of a topic that a request names; owned, so that it does not pin the request's buffer.
pub(super) fn owned_name(name: &StrBytes) -> Arc<str> {
    Arc::from(name.as_str())
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
