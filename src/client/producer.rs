//! A producer (`KafkaProducer`) for one topic: batches by partition, one request at a time, in order and once.
//!
//! A batch is sent before the next one of its partition, so that sequence numbers and order need no further care. Records that wait
//! are bounded by the caller, who is told when a batch is full.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse, TopicName};

use super::client_config::ClientConfig;
use super::cluster_client::{ClusterClient, Deadline, Destination};
use super::error::ClientError;
use super::node_connection::NodeConnection;
use crate::env::Random;
use crate::record::{
    BATCH_HEADER_SIZE, BatchBuilder, BatchProperties, Compression, CompressionType, GZIP_DEFAULT_LEVEL, Header,
    LZ4_DEFAULT_LEVEL, ZSTD_DEFAULT_LEVEL, partition_for_key,
};
use crate::wire::str_bytes;

/// Newest version of Produce that names topics instead of giving their ids.
const PRODUCE_BY_NAME: Option<i16> = Some(12);
/// Most that stands before the key of a record: its length, attributes, timestamp and offset (`MAX_RECORD_OVERHEAD`).
const RECORD_OVERHEAD_MAX: usize = 21;
/// Most bytes of a length in a record.
const VARINT_BYTES_MAX: usize = 5;

const MESSAGE_TOO_LARGE: i16 = 10;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
const UNKNOWN_PRODUCER_ID: i16 = 59;

/// Names and values.
pub type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A record to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerRecord {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key, or null.
    pub key: Option<Vec<u8>>,
    /// The value, or null.
    pub value: Option<Vec<u8>>,
    /// In their order; names may repeat.
    pub headers: Headers,
}

impl ProducerRecord {
    /// Most bytes that the record may take in a batch.
    fn size_max(&self) -> usize {
        let of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len) + VARINT_BYTES_MAX;
        let headers = self.headers.iter().map(|(name, value)| name.len() + VARINT_BYTES_MAX + of(value));
        RECORD_OVERHEAD_MAX + of(&self.key) + of(&self.value) + headers.sum::<usize>()
    }
}

/// A record that was not written, and why.
#[derive(Debug)]
pub struct Undelivered {
    /// The record.
    pub record: ProducerRecord,
    /// Why.
    pub error: ClientError,
}

/// The producer's configurations, by Kafka's names and defaults (`ProducerConfig`).
#[derive(Clone, Debug)]
pub struct ProducerSettings {
    /// `acks`: -1, 0 or 1.
    pub acks: i16,
    /// `batch.size`.
    pub batch_size: usize,
    /// `linger.ms`.
    pub linger: Duration,
    /// `compression.type`.
    pub compression: Compression,
    /// `max.request.size`.
    pub max_request_size: usize,
    /// `retries`.
    pub retries: u32,
    /// `delivery.timeout.ms`.
    pub delivery_timeout: Duration,
    /// `max.block.ms`.
    pub max_block: Duration,
    /// `enable.idempotence`.
    pub is_idempotent: bool,
}

impl ProducerSettings {
    /// Reads the properties of a client.
    ///
    /// # Errors
    /// Values that cannot be used, and transactions, which need somebody who ends them.
    pub fn read(config: &ClientConfig) -> Result<Self, ClientError> {
        let invalid = |key: &str, value: &str, reason: &str| {
            ClientError::Config(format!("Invalid value {value} for configuration {key}: {reason}"))
        };
        if config.properties.contains_key("transactional.id") {
            let text =
                "Cannot perform a 'send' before completing a call to initTransactions when transactions are enabled.";
            return Err(ClientError::Config(text.to_owned()));
        }
        let acks = match config.text("acks", "all") {
            "all" | "-1" => -1,
            "0" => 0,
            "1" => 1,
            value => return Err(invalid("acks", value, "String must be one of: all, -1, 0, 1")),
        };
        let retries = config.number("retries", i32::MAX)?;
        let is_idempotent = match config.text("enable.idempotence", "") {
            "" => acks == -1 && retries > 0,
            "true" if acks != -1 => {
                let text = "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence.";
                return Err(ClientError::Config(text.to_owned()));
            }
            "true" => true,
            "false" => false,
            value => return Err(invalid("enable.idempotence", value, "Expected value to be either true or false")),
        };
        let millis = |key: &str, default: i64| {
            let value: i64 = config.number(key, default)?;
            u64::try_from(value)
                .map(Duration::from_millis)
                .map_err(|_| invalid(key, &value.to_string(), "Value must be at least 0"))
        };
        Ok(Self {
            acks,
            batch_size: config.number::<u32>("batch.size", 16_384)? as usize,
            linger: millis("linger.ms", 5)?,
            compression: compression(config)?,
            max_request_size: config.number::<u32>("max.request.size", 1_048_576)? as usize,
            retries: u32::try_from(retries).unwrap_or(0),
            delivery_timeout: millis("delivery.timeout.ms", 120_000)?,
            max_block: millis("max.block.ms", 60_000)?,
            is_idempotent,
        })
    }
}

fn compression(config: &ClientConfig) -> Result<Compression, ClientError> {
    let name = config.text("compression.type", "none");
    let codec = CompressionType::from_name(name).filter(|_| name != "uncompressed");
    let codec = codec.ok_or_else(|| {
        ClientError::Config(format!(
            "Invalid value {name} for configuration compression.type: String must be one of: none, gzip, snappy, lz4, zstd"
        ))
    })?;
    let level = match codec {
        CompressionType::Gzip => config.number("compression.gzip.level", GZIP_DEFAULT_LEVEL)?,
        CompressionType::Lz4 => config.number("compression.lz4.level", LZ4_DEFAULT_LEVEL)?,
        CompressionType::Zstd => config.number("compression.zstd.level", ZSTD_DEFAULT_LEVEL)?,
        CompressionType::None | CompressionType::Snappy => 0,
    };
    Ok(Compression { codec, level })
}

/// What waits for a partition.
#[derive(Debug, Default)]
struct Waiting {
    records: Vec<ProducerRecord>,
    bytes: usize,
    /// Of the next record that is sent.
    sequence: i32,
}

/// Writes records of one topic.
pub struct Producer {
    cluster: ClusterClient,
    settings: ProducerSettings,
    topic: String,
    /// Leaders by partition; empty until the first record.
    leaders: Vec<Option<i32>>,
    /// Where records without a key go until their batch is full.
    sticky: Option<i32>,
    producer: Option<(i64, i16)>,
    waiting: BTreeMap<i32, Waiting>,
    /// Connections of requests without an answer.
    unanswered: BTreeMap<i32, NodeConnection>,
}

impl Producer {
    /// A producer that has not begun yet.
    pub fn new(cluster: ClusterClient, settings: ProducerSettings, topic: &str) -> Self {
        Self {
            cluster,
            settings,
            topic: topic.to_owned(),
            leaders: Vec::new(),
            sticky: None,
            producer: None,
            waiting: BTreeMap::new(),
            unanswered: BTreeMap::new(),
        }
    }

    /// How it was configured.
    pub fn settings(&self) -> &ProducerSettings {
        &self.settings
    }

    /// Puts a record to those that wait; whether a batch is full now, so that [`Producer::flush`] should come next.
    ///
    /// # Errors
    /// A topic that is not there, a record that is too large.
    pub async fn append(&mut self, record: ProducerRecord, random: &dyn Random) -> Result<bool, Undelivered> {
        let size = record.size_max();
        let limit = self.settings.max_request_size;
        if size + BATCH_HEADER_SIZE > limit {
            let text = format!(
                "The message is {} bytes when serialized which is larger than {limit}, which is the value of the max.request.size configuration.",
                size + BATCH_HEADER_SIZE
            );
            return Err(Undelivered {
                record,
                error: ClientError::Answer { code: MESSAGE_TOO_LARGE, message: Some(text) },
            });
        }
        if self.leaders.is_empty()
            && let Err(error) = self.find_topic().await
        {
            return Err(Undelivered { record, error });
        }
        let partition = match (&record.key, self.sticky) {
            (Some(key), _) => partition_for_key(key, self.leaders.len() as u32) as i32,
            (None, Some(partition)) => partition,
            (None, None) => *self.sticky.insert((random.next_u64() % self.leaders.len() as u64) as i32),
        };
        let waiting = self.waiting.entry(partition).or_default();
        waiting.bytes += size;
        waiting.records.push(record);
        Ok(waiting.bytes + BATCH_HEADER_SIZE >= self.settings.batch_size)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.values().all(|waiting| waiting.records.is_empty())
    }

    /// Waits until the topic is there and has leaders (`waitOnMetadata`).
    async fn find_topic(&mut self) -> Result<(), ClientError> {
        let clock = self.cluster.clock().clone();
        let deadline = Deadline::after(&*clock, self.settings.max_block);
        let mut is_warned = false;
        loop {
            let metadata = self.cluster.metadata(Some(&[&self.topic]), true).await?;
            let topic = metadata.topic(&self.topic);
            let code = topic.map_or(0, |topic| topic.error_code);
            let error = ClientError::Answer { code, message: None };
            match topic {
                Some(topic) if code == 0 && !topic.partitions.is_empty() => {
                    let leader = |partition: &super::PartitionMetadata| Some(partition.leader).filter(|id| *id >= 0);
                    self.leaders = topic.partitions.iter().map(leader).collect();
                    return Ok(());
                }
                _ if code == 17 => {
                    let message = Some(format!("Invalid topics: [{}]", self.topic));
                    return Err(ClientError::Answer { code, message });
                }
                _ if code != 0 && !error.is_retriable() => return Err(error),
                _ => {}
            }
            if !is_warned {
                is_warned = true;
                let (client, kind) = (&self.cluster.config().client_id, super::kafka_error(code).name);
                tracing::warn!(
                    "[Producer clientId={client}] The metadata response from the cluster reported a recoverable issue: {{{}={kind}}}",
                    self.topic
                );
            }
            if deadline.remaining(&*clock) <= self.cluster.config().retry_backoff {
                let wait = self.settings.max_block.as_millis();
                let topic = &self.topic;
                return Err(ClientError::Timeout(format!("Topic {topic} not present in metadata after {wait} ms.")));
            }
            clock.sleep_until(clock.monotonic() + self.cluster.config().retry_backoff).await;
        }
    }

    /// Sends everything that waits; what could not be written, and why.
    pub async fn flush(&mut self) -> Vec<Undelivered> {
        let mut failed = Vec::new();
        self.sticky = None;
        let partitions: Vec<i32> = self.waiting.keys().copied().collect();
        for partition in partitions {
            let Some(waiting) = self.waiting.get_mut(&partition) else { continue };
            waiting.bytes = 0;
            let mut batches = vec![std::mem::take(&mut waiting.records)];
            while let Some(mut batch) = batches.pop().filter(|batch| !batch.is_empty()) {
                match self.deliver(partition, &batch).await {
                    Ok(()) => {}
                    // Smaller ones may fit; the first half goes first.
                    Err(error) if error.code() == Some(MESSAGE_TOO_LARGE) && batch.len() > 1 => {
                        batches.push(batch.split_off(batch.len() / 2));
                        batches.push(batch);
                    }
                    Err(error) => {
                        let (code, text) = (error.code(), error.to_string());
                        let again = |_: &ProducerRecord| match code {
                            Some(code) => ClientError::Answer { code, message: Some(text.clone()) },
                            None => ClientError::Timeout(text.clone()),
                        };
                        failed.extend(batch.into_iter().map(|record| Undelivered { error: again(&record), record }));
                    }
                }
            }
        }
        failed
    }

    /// Sends one batch until it is written, or nothing more can be done.
    async fn deliver(&mut self, partition: i32, records: &[ProducerRecord]) -> Result<(), ClientError> {
        let clock = self.cluster.clock().clone();
        let deadline = Deadline::after(&*clock, self.settings.delivery_timeout);
        let mut retries = 0;
        loop {
            let error = match self.try_deliver(partition, records).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error.code() {
                // The broker does not know what came before: begin anew.
                Some(OUT_OF_ORDER_SEQUENCE_NUMBER | UNKNOWN_PRODUCER_ID) if self.settings.is_idempotent => {
                    self.producer = None;
                }
                Some(_) if !error.is_retriable() => return Err(error),
                _ => {}
            }
            let is_over = deadline.remaining(&*clock) <= self.cluster.config().retry_backoff;
            if retries >= self.settings.retries || is_over {
                // Whether it was written is not known: its sequence numbers must not be used again.
                self.producer = None;
                return Err(error);
            }
            retries += 1;
            clock.sleep_until(clock.monotonic() + self.cluster.config().retry_backoff).await;
            if self.find_topic().await.is_err() {
                return Err(error);
            }
        }
    }

    async fn try_deliver(&mut self, partition: i32, records: &[ProducerRecord]) -> Result<(), ClientError> {
        if self.settings.is_idempotent && self.producer.is_none() {
            self.init_producer_id().await?;
        }
        let leader = self.leaders.get(usize::try_from(partition).unwrap_or(usize::MAX)).copied().flatten();
        // LEADER_NOT_AVAILABLE.
        let leader = leader.ok_or(ClientError::Answer { code: 5, message: None })?;
        let batch = self.encode(partition, records)?;
        let timeout_ms = i32::try_from(self.cluster.config().request_timeout.as_millis()).unwrap_or(i32::MAX);
        let build = |_: i16| {
            let data = PartitionProduceData::default().with_index(partition).with_records(Some(Bytes::clone(&batch)));
            let topic = TopicProduceData::default()
                .with_name(TopicName(str_bytes(&self.topic)))
                .with_partition_data(vec![data]);
            ProduceRequest::default()
                .with_transactional_id(None)
                .with_acks(self.settings.acks)
                .with_timeout_ms(timeout_ms)
                .with_topic_data(vec![topic])
        };
        if self.settings.acks == 0 {
            let request = build(0);
            return self.send_unanswered(leader, &request).await;
        }
        let response = self.cluster.call("produce", &Destination::Node(leader), PRODUCE_BY_NAME, build).await?;
        match answer_of(&response) {
            Ok(()) => {}
            Err(error) if error.code() == Some(DUPLICATE_SEQUENCE_NUMBER) => {}
            Err(error) => return Err(error),
        }
        if let Some(waiting) = self.waiting.get_mut(&partition) {
            // From the largest number the next is 0.
            let count = records.len() as u32;
            waiting.sequence = ((waiting.sequence as u32).wrapping_add(count) & 0x7fff_ffff) as i32;
        }
        Ok(())
    }

    fn encode(&self, partition: i32, records: &[ProducerRecord]) -> Result<Bytes, ClientError> {
        let mut properties = BatchProperties { compression: self.settings.compression, ..BatchProperties::default() };
        if let Some((id, epoch)) = self.producer {
            properties.producer_id = id;
            properties.producer_epoch = epoch;
            properties.base_sequence = self.waiting.get(&partition).map_or(0, |waiting| waiting.sequence);
        }
        let mut builder = BatchBuilder::new(properties);
        for record in records {
            let headers: Vec<Header<'_>> =
                record.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
            let appended = builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
            appended.map_err(|error| ClientError::Codec(error.to_string()))?;
        }
        Ok(builder.build())
    }

    async fn init_producer_id(&mut self) -> Result<(), ClientError> {
        let build = |_: i16| {
            InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(i32::MAX)
                .with_producer_id((-1).into())
                .with_producer_epoch(-1)
        };
        let response = self.cluster.call("initProducerId", &Destination::Any, None, build).await?;
        ClientError::answer(response.error_code, None)?;
        self.producer = Some((response.producer_id.0, response.producer_epoch));
        for waiting in self.waiting.values_mut() {
            waiting.sequence = 0;
        }
        Ok(())
    }

    /// A request with `acks=0`: nobody answers, and what is lost is lost.
    async fn send_unanswered(&mut self, leader: i32, request: &ProduceRequest) -> Result<(), ClientError> {
        let mut connection = match self.unanswered.remove(&leader) {
            Some(connection) => connection,
            None => self.cluster.dedicated(&Destination::Node(leader)).await?,
        };
        let version = connection.version_of::<ProduceRequest>(PRODUCE_BY_NAME)?;
        connection.client().send(version, request).await?;
        self.unanswered.insert(leader, connection);
        Ok(())
    }

    /// Waits until brokers have read what was sent without an answer.
    pub async fn close(mut self) {
        let timeout = self.cluster.config().request_timeout;
        for connection in self.unanswered.values_mut() {
            // Requests are taken in order: when this one is answered, those before it were read.
            let build = |_: i16| kafka_protocol::messages::ApiVersionsRequest::default();
            if let Err(error) = connection.call(Some(2), timeout, build).await {
                tracing::debug!("closing the producer: {error}");
            }
        }
    }
}

/// What the broker says of the one partition in a request.
fn answer_of(response: &ProduceResponse) -> Result<(), ClientError> {
    let answer = response.responses.first().and_then(|topic| topic.partition_responses.first());
    let answer = answer.ok_or_else(|| ClientError::Codec("the answer says nothing of the partition".to_owned()))?;
    let of_record = answer.record_errors.first().and_then(|error| error.batch_index_error_message.as_deref());
    ClientError::answer(answer.error_code, of_record.or(answer.error_message.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(properties: &[(&str, &str)]) -> Result<ProducerSettings, ClientError> {
        let mut all = BTreeMap::from([("bootstrap.servers".to_owned(), "localhost:1".to_owned())]);
        all.extend(properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        ProducerSettings::read(&ClientConfig::from_properties(all, "test")?)
    }

    #[test]
    fn idempotence_goes_with_all_acks() {
        assert!(settings(&[]).expect("settings").is_idempotent);
        assert!(!settings(&[("acks", "1")]).expect("settings").is_idempotent);
        assert!(!settings(&[("retries", "0")]).expect("settings").is_idempotent);
        assert!(!settings(&[("enable.idempotence", "false")]).expect("settings").is_idempotent);
        let error = settings(&[("acks", "0"), ("enable.idempotence", "true")]).expect_err("refused").to_string();
        assert!(error.starts_with("Must set acks to all"), "{error}");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (key, value) in [("acks", "2"), ("compression.type", "zip"), ("batch.size", "x"), ("linger.ms", "-1")] {
            let error = settings(&[(key, value)]).expect_err("refused").to_string();
            assert!(error.contains(key), "{error}");
        }
        assert!(settings(&[("transactional.id", "t")]).is_err());
        let read = settings(&[("compression.type", "zstd"), ("compression.zstd.level", "7")]).expect("settings");
        assert_eq!(read.compression, Compression { codec: CompressionType::Zstd, level: 7 });
    }

    #[test]
    fn sizes_are_not_too_small() {
        let record = ProducerRecord {
            timestamp: i64::MAX,
            key: Some(vec![1; 300]),
            value: None,
            headers: vec![(vec![2; 200], Some(vec![3; 100]))],
        };
        let mut builder = BatchBuilder::new(BatchProperties::default());
        let headers = [Header { key: &record.headers[0].0, value: record.headers[0].1.as_deref() }];
        builder.append(record.timestamp, record.key.as_deref(), None, &headers).expect("a record");
        assert!(builder.uncompressed_size() <= BATCH_HEADER_SIZE + record.size_max());
    }
}
