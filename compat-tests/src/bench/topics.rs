//! Topics and producer ids, by the codec: nothing here is on a timed path but what a workload times as a whole.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, FindCoordinatorRequest, GroupId,
    HeartbeatRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::batch::Producer;
use super::connection::Connection;

/// Apache Kafka needs ten seconds for 2 000 partitions; nobody should need longer than this for any number.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// An operation of Apache Kafka's controller makes at most 10 000 records.
const PARTITIONS_AT_ONCE: i32 = 5_000;
const LATEST: i64 = -1;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;

/// A topic of the broker.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: [u8; 16],
    /// How many partitions it has.
    pub partitions: i32,
}

/// Milliseconds since 1970.
pub fn wall_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A name that no other run has.
pub fn fresh_name(workload: &str) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("bench-{workload}-{nanos:x}-{}", std::process::id())
}

/// Creates a topic, without waiting until it serves.
pub fn create(connection: &mut Connection, name: &str, partitions: i32, configs: &[String]) -> Result<Topic> {
    let mut pairs = Vec::new();
    for config in configs {
        let (key, value) = config.split_once('=').with_context(|| format!("not NAME=VALUE: {config}"))?;
        let pair = CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(key.to_owned()))
            .with_value(Some(StrBytes::from_string(value.to_owned())));
        pairs.push(pair);
    }
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions.min(PARTITIONS_AT_ONCE))
        .with_replication_factor(1)
        .with_configs(pairs);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(120_000);
    let response = connection.call(7, &request)?;
    let result = response.topics.first().context("no topic was created")?;
    ensure!(result.error_code == 0, "cannot create {name}: error {} {:?}", result.error_code, result.error_message);
    let mut made = partitions.min(PARTITIONS_AT_ONCE);
    while made < partitions {
        made = partitions.min(made + PARTITIONS_AT_ONCE);
        let topic = CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(made);
        let topic = topic.with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(120_000);
        let response = connection.call(3, &request)?;
        let result = response.results.first().context("no partitions were made")?;
        ensure!(result.error_code == 0, "cannot grow {name} to {made}: error {}", result.error_code);
    }
    Ok(Topic { name: name.to_owned(), id: result.topic_id.into_bytes(), partitions })
}

/// Waits until every partition serves; how long that took.
pub fn wait_until_serving(connection: &mut Connection, topic: &Topic) -> Result<Duration> {
    let started = Instant::now();
    loop {
        let offsets = list_offsets(connection, topic, LATEST)?;
        if offsets.iter().all(|(error, _)| *error == 0) {
            return Ok(started.elapsed());
        }
        ensure!(started.elapsed() < READY_WITHIN, "{} does not serve: {:?}", topic.name, offsets.iter().max());
        // Often enough for the figure, not so often that asking is the load.
        std::thread::sleep((started.elapsed() / 20).max(Duration::from_micros(500)));
    }
}

/// Creates a topic that serves.
pub fn create_serving(
    connection: &mut Connection,
    workload: &str,
    partitions: i32,
    configs: &[String],
) -> Result<Topic> {
    let topic = create(connection, &fresh_name(workload), partitions, configs)?;
    wait_until_serving(connection, &topic)?;
    Ok(topic)
}

/// Finds a topic by name.
pub fn find(connection: &mut Connection, name: &str) -> Result<Topic> {
    let asked = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
    let response = connection.call(12, &request)?;
    let topic = response.topics.first().with_context(|| format!("no topic {name}"))?;
    ensure!(topic.error_code == 0, "topic {name}: error {}", topic.error_code);
    Ok(Topic { name: name.to_owned(), id: topic.topic_id.into_bytes(), partitions: topic.partitions.len() as i32 })
}

/// The offset behind the last record of every partition.
pub fn ends(connection: &mut Connection, topic: &Topic) -> Result<Vec<i64>> {
    let offsets = list_offsets(connection, topic, LATEST)?;
    if let Some((error, _)) = offsets.iter().find(|(error, _)| *error != 0) {
        bail!("ListOffsets of {}: error {error}", topic.name);
    }
    Ok(offsets.into_iter().map(|(_, offset)| offset).collect())
}

/// Error code and offset of every partition at a timestamp.
fn list_offsets(connection: &mut Connection, topic: &Topic, timestamp: i64) -> Result<Vec<(i16, i64)>> {
    let partitions = (0..topic.partitions).map(|partition| {
        ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp)
    });
    let asked = ListOffsetsTopic::default().with_name(topic_name(&topic.name)).with_partitions(partitions.collect());
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
    let response = connection.call(7, &request)?;
    let mut offsets = vec![(-1, -1); topic.partitions as usize];
    for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
        let place =
            offsets.get_mut(partition.partition_index as usize).context("a partition that was not asked for")?;
        *place = (partition.error_code, partition.offset);
    }
    Ok(offsets)
}

/// A new producer id.
pub fn producer_id(connection: &mut Connection) -> Result<Producer> {
    let started = Instant::now();
    loop {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        let response = connection.call(4, &request)?;
        if response.error_code == 0 {
            return Ok(Producer { id: response.producer_id.0, epoch: response.producer_epoch });
        }
        ensure!(started.elapsed() < READY_WITHIN, "no producer id: error {}", response.error_code);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the broker coordinates a group.
pub fn wait_for_coordinator(connection: &mut Connection, group: &str) -> Result<()> {
    let started = Instant::now();
    let group = StrBytes::from_string(group.to_owned());
    loop {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![group.clone()]);
        let response = connection.call(4, &request)?;
        let found = response.coordinators.first().context("no coordinator in the answer")?;
        if found.error_code == 0 {
            // It may still be loading: a heartbeat of nobody says so.
            let request = HeartbeatRequest::default()
                .with_group_id(GroupId(group.clone()))
                .with_member_id(StrBytes::from_static_str("nobody"));
            let error = connection.call(4, &request)?.error_code;
            if ![COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR].contains(&error) {
                return Ok(());
            }
        }
        ensure!(started.elapsed() < READY_WITHIN, "no coordinator: error {}", found.error_code);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Offset of the first record of a partition that is not older; -1 if there is none.
pub fn offset_for_time(connection: &mut Connection, topic: &Topic, partition: i32, timestamp: i64) -> Result<i64> {
    let asked = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    let asked = ListOffsetsTopic::default().with_name(topic_name(&topic.name)).with_partitions(vec![asked]);
    let response =
        connection.call(7, &ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]))?;
    let found = response.topics.iter().flat_map(|topic| &topic.partitions).next().context("no offset")?;
    ensure!(found.error_code == 0, "ListOffsets by time: error {}", found.error_code);
    Ok(found.offset)
}

/// Deletes topics, in one request.
pub fn delete(connection: &mut Connection, names: &[String]) -> Result<()> {
    let named = names.iter().map(|name| DeleteTopicState::default().with_name(Some(topic_name(name))));
    let request = DeleteTopicsRequest::default().with_topics(named.collect()).with_timeout_ms(60_000);
    for result in connection.call(6, &request)?.responses {
        ensure!(result.error_code == 0, "cannot delete {:?}: error {}", result.name, result.error_code);
    }
    Ok(())
}

/// How many topics the broker says it has.
pub fn count(connection: &mut Connection) -> Result<usize> {
    Ok(connection.call(12, &MetadataRequest::default().with_topics(None))?.topics.len())
}

/// A name as the codec wants it.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
