//! What the rdkafka tests share: messages that can be compared, a producer that keeps its delivery reports, reading to the end.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(30);

/// The headers of a record in order; keys may repeat.
pub type MessageHeaders = Vec<(String, Option<Vec<u8>>)>;
/// What became of a record: as delivered, or why not.
pub type Report = Result<Message, RDKafkaErrorCode>;

/// A record as a test sees it, before and after the broker. A partition, offset or timestamp of -1 leaves the choice to client or broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Key, or null.
    pub key: Option<Vec<u8>>,
    /// Value, or null.
    pub value: Option<Vec<u8>>,
    /// Headers in order; keys may repeat.
    pub headers: MessageHeaders,
}

impl Message {
    /// A record with a key and a value, for any partition.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            partition: -1,
            offset: -1,
            timestamp: -1,
            key: Some(key.into()),
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    /// The same for a certain partition.
    pub fn to_partition(mut self, partition: i32) -> Self {
        self.partition = partition;
        self
    }

    /// The same with a timestamp.
    pub fn at(mut self, timestamp: i64) -> Self {
        self.timestamp = timestamp;
        self
    }

    /// A copy of what rdkafka hands out.
    pub fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map(|headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
        });
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        }
    }

    /// What a producer decides: everything but partition, offset and timestamp.
    pub fn content(&self) -> (Option<&[u8]>, Option<&[u8]>, &MessageHeaders) {
        (self.key.as_deref(), self.value.as_deref(), &self.headers)
    }
}

/// The settings that every client of a test shares.
pub fn client_config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    // Soon back after a restart.
    config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// A consumer that starts at the beginning and commits nothing unless told to.
pub fn consumer_config(bootstrap: &str, group: &str) -> ClientConfig {
    let mut config = client_config(bootstrap);
    config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "false").set("fetch.wait.max.ms", "50");
    config
}

/// Keeps every delivery report, in the order they come.
#[derive(Clone, Default)]
pub struct Collector {
    reports: Arc<Mutex<Vec<Report>>>,
}

impl ClientContext for Collector {}

impl ProducerContext for Collector {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let report = match result {
            Ok(message) => Ok(Message::of(message)),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        self.reports.lock().expect("no test panics here").push(report);
    }
}

/// A producer with its delivery reports.
pub struct Producing {
    producer: ThreadedProducer<Collector>,
    collector: Collector,
}

impl Producing {
    /// Starts a producer with settings on top of [`client_config`].
    pub fn new(bootstrap: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let mut config = client_config(bootstrap);
        config.set("linger.ms", "5");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        let collector = Collector::default();
        let producer = config.create_with_context(collector.clone())?;
        Ok(Self { producer, collector })
    }

    /// Queues a record; waits while the client's queue is full. The offset of `message` is not used.
    pub fn send(&self, topic: &str, message: &Message) -> Result<()> {
        let started = Instant::now();
        loop {
            let mut record = BaseRecord::<'_, [u8], [u8]>::to(topic);
            if message.partition >= 0 {
                record = record.partition(message.partition);
            }
            if message.timestamp >= 0 {
                record = record.timestamp(message.timestamp);
            }
            if let Some(key) = &message.key {
                record = record.key(key);
            }
            if let Some(value) = &message.value {
                record = record.payload(value);
            }
            if !message.headers.is_empty() {
                let headers = message.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(Header { key, value: value.as_ref() })
                });
                record = record.headers(headers);
            }
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _))
                    if started.elapsed() < PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Waits until every record is answered and takes the reports.
    pub fn flush(&self) -> Result<Vec<Report>> {
        self.producer.flush(PATIENCE)?;
        Ok(std::mem::take(&mut *self.collector.reports.lock().expect("no test panics here")))
    }

    /// The reports so far, without waiting.
    pub fn reports(&self) -> Vec<Report> {
        self.collector.reports.lock().expect("no test panics here").clone()
    }
}

/// Sends all records and expects every one to be accepted; returns them as delivered, by partition and offset.
pub fn produce(bootstrap: &str, settings: &[(&str, &str)], topic: &str, messages: &[Message]) -> Result<Vec<Message>> {
    let producing = Producing::new(bootstrap, settings)?;
    for message in messages {
        producing.send(topic, message)?;
    }
    let mut delivered =
        producing.flush()?.into_iter().collect::<Result<Vec<_>, _>>().context("a record was refused")?;
    ensure!(delivered.len() == messages.len(), "{} of {} reports", delivered.len(), messages.len());
    delivered.sort_by_key(|message| (message.partition, message.offset));
    Ok(delivered)
}

/// Reads `count` records of partitions `0..partitions` from the beginning, then makes sure that none follow; by partition and offset.
pub fn consume(
    bootstrap: &str,
    settings: &[(&str, &str)],
    topic: &str,
    partitions: i32,
    count: usize,
) -> Result<Vec<Message>> {
    let mut config = consumer_config(bootstrap, "reader");
    config.set("enable.partition.eof", "true");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut messages = Vec::new();
    let mut ended = std::collections::BTreeSet::new();
    let started = Instant::now();
    while messages.len() < count || ended.len() < partitions as usize {
        ensure!(started.elapsed() < PATIENCE, "only {} of {count} records", messages.len());
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                ended.remove(&message.partition());
                messages.push(Message::of(&message));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
    ensure!(messages.len() == count, "{} records instead of {count}", messages.len());
    messages.sort_by_key(|message| (message.partition, message.offset));
    Ok(messages)
}

/// Polls a consumer until it has given `count` records.
pub fn drain<C: ConsumerContext>(consumer: &BaseConsumer<C>, count: usize) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    let started = Instant::now();
    while messages.len() < count {
        ensure!(started.elapsed() < PATIENCE, "only {} of {count} records", messages.len());
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => messages.push(Message::of(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Ok(messages)
}

/// An admin client and its default options.
pub fn admin(bootstrap: &str) -> Result<(AdminClient<DefaultClientContext>, AdminOptions)> {
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    Ok((client_config(bootstrap).create()?, options))
}

/// Waits for a future of the admin client.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Creates a topic and waits until it has leaders: Apache Kafka answers before.
pub fn create_topic(bootstrap: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
    let (admin, options) = admin(bootstrap)?;
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    for result in block_on(admin.create_topics([&topic], &options))? {
        if let Err((name, code)) = result {
            bail!("{name}: {code}");
        }
    }
    wait_for("leaders", || {
        let metadata = admin.inner().fetch_metadata(Some(name), PATIENCE)?;
        let found = metadata.topics().first().context("no such topic")?;
        Ok(found.partitions().len() == partitions as usize
            && found.partitions().iter().all(|partition| partition.leader() >= 0 && partition.error().is_none()))
    })
}

/// Asks again and again until the answer is yes.
pub fn wait_for(what: &str, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !ready()? {
        ensure!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
