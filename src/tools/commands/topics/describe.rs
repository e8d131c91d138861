//! What topics are like: one line a topic, one a partition.

use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, ListPartitionReassignmentsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::super::config_resources::{ConfigEntry, DEFAULT_CONFIG, TOPIC, describe_configs};
use super::super::{CommandError, Console, request_timeout_ms};
use super::list::{all_topics, check_existence, topic_names};
use crate::client::{ClientError, ClusterClient, ClusterMetadata, Destination, TopicMetadata};
use crate::tools::options::Options;
use crate::types::Uuid;
use crate::types::java_map::sort_like_hash_map;

/// Partitions in one answer where the command line does not say (`--partition-size-limit-per-response`).
const PARTITIONS_PER_RESPONSE: i32 = 2_000;

/// A topic with what to print of it.
struct Described {
    name: String,
    topic_id: Uuid,
    partitions: Vec<Partition>,
}

struct Partition {
    index: i32,
    leader: Option<i32>,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    /// `None` where the broker does not tell.
    eligible: Option<Vec<i32>>,
    last_known_eligible: Option<Vec<i32>>,
}

/// Replicas on their way: all, added, removed.
struct Reassignment {
    replicas: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
}

type Reassignments = BTreeMap<(String, i32), Reassignment>;

pub(super) async fn describe(
    client: &mut ClusterClient,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let Some(mut topics) = wanted_topics(client, options).await? else { return Ok(()) };
    let count = topics.len();
    sort_like_hash_map(&mut topics, Some(count), |topic| &topic.name);
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    let described = match names.is_empty() {
        true => Vec::new(),
        false => describe_configs(client, &Destination::Any, TOPIC, &names, false).await?,
    };
    let mut configs = BTreeMap::new();
    for resource in described {
        configs.insert(resource.name.clone(), resource.entries);
    }
    let live: HashSet<i32> = client.metadata(Some(&[]), false).await?.nodes.iter().map(|node| node.id).collect();
    let reassignments = reassignments(client, &topics).await?;
    for topic in &topics {
        let mut entries = configs.remove(&topic.name).unwrap_or_else(|| Ok(Vec::new()))?;
        sort_like_hash_map(&mut entries, None, |entry| &entry.name);
        print_topic(topic, &entries, &reassignments, &live, options, console)?;
    }
    Ok(())
}

/// The topics of `--topic` or `--topic-id`; `None` where there are none to tell of.
async fn wanted_topics(client: &mut ClusterClient, options: &Options) -> Result<Option<Vec<Described>>, CommandError> {
    let id = options.value("topic-id")?.map(parse_uuid).transpose()?.filter(|id| !id.is_nil());
    if let Some(id) = id {
        let all = all_topics(client, options.has("exclude-internal")).await?;
        if !all.iter().any(|topic| topic.topic_id == id) {
            return match options.has("if-exists") {
                true => Ok(None),
                false => Err(CommandError::Message(format!("TopicId '{}' does not exist as expected", shown_id(id)))),
            };
        }
        return Ok(Some(vec![describe_by_id(client, id).await?]));
    }
    let names = topic_names(client, options).await?;
    check_existence(&names, options)?;
    let limit = options.number("partition-size-limit-per-response")?.unwrap_or(PARTITIONS_PER_RESPONSE);
    if names.is_empty() {
        return Ok(Some(Vec::new()));
    }
    match describe_by_name(client, &names, limit).await {
        // A broker before 3.8.
        Err(ClientError::Unsupported(_)) => {
            let listed: Vec<&str> = names.iter().map(String::as_str).collect();
            let metadata = client.metadata(Some(&listed), false).await?;
            let topics: Result<Vec<Described>, ClientError> = metadata.topics.into_iter().map(of_metadata).collect();
            Ok(Some(topics?))
        }
        topics => Ok(Some(topics?)),
    }
}

async fn describe_by_id(client: &mut ClusterClient, id: Uuid) -> Result<Described, CommandError> {
    let response = client
        .call("describeTopicsWithIds", &Destination::Any, None, |_| {
            let topic = MetadataRequestTopic::default().with_topic_id(id).with_name(None);
            MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false)
        })
        .await?;
    match ClusterMetadata::from(response).topics.into_iter().next() {
        Some(topic) => Ok(of_metadata(topic)?),
        None => Err(CommandError::Message(format!("TopicId '{}' does not exist as expected", shown_id(id)))),
    }
}

fn of_metadata(topic: TopicMetadata) -> Result<Described, ClientError> {
    ClientError::answer(topic.error_code, None)?;
    let partition = |partition: crate::client::PartitionMetadata| Partition {
        index: partition.index,
        leader: Some(partition.leader).filter(|leader| *leader >= 0),
        replicas: partition.replicas,
        isr: partition.isr,
        eligible: None,
        last_known_eligible: None,
    };
    let partitions = topic.partitions.into_iter().map(partition).collect();
    Ok(Described { name: topic.name, topic_id: topic.topic_id, partitions })
}

async fn describe_by_name(
    client: &mut ClusterClient,
    names: &[String],
    limit: i32,
) -> Result<Vec<Described>, ClientError> {
    let mut topics: Vec<Described> = Vec::new();
    let mut cursor: Option<(TopicName, i32)> = None;
    loop {
        let begin = cursor.as_ref().map(|(name, _)| name.0.to_string());
        // What stands before the cursor is described already.
        let rest = names.iter().filter(|name| begin.as_ref().is_none_or(|begin| *name >= begin));
        let request = |name: &String| TopicRequest::default().with_name(TopicName(StrBytes::from_string(name.clone())));
        let requested: Vec<TopicRequest> = rest.map(request).collect();
        let response = client
            .call("describeTopicPartitions", &Destination::Any, None, |_| {
                let at = cursor
                    .clone()
                    .map(|(name, partition)| Cursor::default().with_topic_name(name).with_partition_index(partition));
                DescribeTopicPartitionsRequest::default()
                    .with_topics(requested.clone())
                    .with_response_partition_limit(limit)
                    .with_cursor(at)
            })
            .await?;
        for topic in response.topics {
            let topic = of_description(topic)?;
            match topics.iter_mut().find(|known| known.name == topic.name) {
                Some(known) => known.partitions.extend(topic.partitions),
                None => topics.push(topic),
            }
        }
        let next = response.next_cursor.map(|next| (next.topic_name, next.partition_index));
        // An answer that does not go on would never end.
        if next.is_none() || next == cursor {
            return Ok(topics);
        }
        cursor = next;
    }
}

fn ids(nodes: &[BrokerId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

fn of_description(topic: DescribeTopicPartitionsResponseTopic) -> Result<Described, ClientError> {
    ClientError::answer(topic.error_code, None)?;
    let mut partitions: Vec<Partition> = topic
        .partitions
        .iter()
        .map(|partition| Partition {
            index: partition.partition_index,
            leader: Some(partition.leader_id.0).filter(|leader| *leader >= 0),
            replicas: ids(&partition.replica_nodes),
            isr: ids(&partition.isr_nodes),
            eligible: Some(partition.eligible_leader_replicas.as_deref().map(ids).unwrap_or_default()),
            last_known_eligible: Some(partition.last_known_elr.as_deref().map(ids).unwrap_or_default()),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    let name = topic.name.map(|name| name.0.to_string()).unwrap_or_default();
    Ok(Described { name, topic_id: topic.topic_id, partitions })
}

async fn reassignments(client: &mut ClusterClient, topics: &[Described]) -> Result<Reassignments, CommandError> {
    let request = |topic: &Described| {
        ListPartitionReassignmentsTopics::default()
            .with_name(TopicName(StrBytes::from_string(topic.name.clone())))
            .with_partition_indexes(topic.partitions.iter().map(|partition| partition.index).collect())
    };
    let requested: Vec<_> = topics.iter().map(request).collect();
    let timeout_ms = request_timeout_ms(client);
    let response = client
        .call("listPartitionReassignments", &Destination::Controller, None, |_| {
            ListPartitionReassignmentsRequest::default()
                .with_topics(Some(requested.clone()))
                .with_timeout_ms(timeout_ms)
        })
        .await;
    let response = match response {
        Err(ClientError::Unsupported(_)) => return Ok(Reassignments::new()),
        response => response?,
    };
    ClientError::answer(response.error_code, response.error_message.as_deref())?;
    let mut reassignments = Reassignments::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            let reassignment = Reassignment {
                replicas: ids(&partition.replicas),
                adding: ids(&partition.adding_replicas),
                removing: ids(&partition.removing_replicas),
            };
            reassignments.insert((topic.name.0.to_string(), partition.partition_index), reassignment);
        }
    }
    Ok(reassignments)
}

fn replication_factor(partition: &Partition, reassignment: Option<&Reassignment>) -> usize {
    match reassignment {
        Some(reassignment)
            if reassignment
                .adding
                .iter()
                .chain(&reassignment.removing)
                .any(|broker| partition.replicas.contains(broker)) =>
        {
            reassignment.replicas.len().saturating_sub(reassignment.adding.len())
        }
        _ => partition.replicas.len(),
    }
}

fn print_topic(
    topic: &Described,
    entries: &[ConfigEntry],
    reassignments: &Reassignments,
    live: &HashSet<i32>,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let find = |partition: &Partition| reassignments.get(&(topic.name.clone(), partition.index));
    let min_isr = entries.iter().find(|entry| entry.name == "min.insync.replicas");
    let min_isr = min_isr.and_then(|entry| entry.value.as_deref()?.parse().ok()).unwrap_or(1);
    let reports = Reports::read(options);
    let set: Vec<&ConfigEntry> = entries.iter().filter(|entry| entry.source != DEFAULT_CONFIG).collect();
    if !reports.is_any() && (!options.has("topics-with-overrides") || !set.is_empty()) {
        let shown = |entry: &&ConfigEntry| format!("{}={}", entry.name, entry.value.as_deref().unwrap_or("null"));
        let factor = topic.partitions.first().map_or(0, |first| replication_factor(first, find(first)));
        write!(console.out, "Topic: {}", topic.name)?;
        if !topic.topic_id.is_nil() {
            write!(console.out, "\tTopicId: {}", shown_id(topic.topic_id))?;
        }
        let configs = set.iter().map(shown).collect::<Vec<_>>().join(",");
        let count = topic.partitions.len();
        writeln!(console.out, "\tPartitionCount: {count}\tReplicationFactor: {factor}\tConfigs: {configs}")?;
    }
    if options.has("topics-with-overrides") {
        return Ok(());
    }
    for partition in &topic.partitions {
        let reassignment = find(partition);
        if !reports.is_any() || reports.wants(partition, reassignment, min_isr, live) {
            print_partition(&topic.name, partition, reassignment, console)?;
        }
    }
    Ok(())
}

fn print_partition(
    topic: &str,
    partition: &Partition,
    reassignment: Option<&Reassignment>,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let list = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let leader = partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
    let (replicas, isr) = (list(&partition.replicas), list(&partition.isr));
    write!(console.out, "\tTopic: {topic}\tPartition: {}\tLeader: {leader}", partition.index)?;
    write!(console.out, "\tReplicas: {replicas}\tIsr: {isr}")?;
    if let Some(reassignment) = reassignment {
        let (adding, removing) = (list(&reassignment.adding), list(&reassignment.removing));
        write!(console.out, "\tAdding Replicas: {adding}\tRemoving Replicas: {removing}")?;
    }
    let told = |ids: &Option<Vec<i32>>| ids.as_ref().map_or_else(|| "N/A".to_owned(), |ids| list(ids));
    let (eligible, last_known) = (told(&partition.eligible), told(&partition.last_known_eligible));
    writeln!(console.out, "\tElr: {eligible}\tLastKnownElr: {last_known}")?;
    Ok(())
}

/// Which partitions are asked for.
struct Reports {
    under_replicated: bool,
    unavailable: bool,
    under_min_isr: bool,
    at_min_isr: bool,
}

impl Reports {
    fn read(options: &Options) -> Self {
        Self {
            under_replicated: options.has("under-replicated-partitions"),
            unavailable: options.has("unavailable-partitions"),
            under_min_isr: options.has("under-min-isr-partitions"),
            at_min_isr: options.has("at-min-isr-partitions"),
        }
    }

    fn is_any(&self) -> bool {
        self.under_replicated || self.unavailable || self.under_min_isr || self.at_min_isr
    }

    fn wants(
        &self,
        partition: &Partition,
        reassignment: Option<&Reassignment>,
        min_isr: usize,
        live: &HashSet<i32>,
    ) -> bool {
        let isr = partition.isr.len();
        (self.under_replicated && replication_factor(partition, reassignment) > isr)
            || (self.unavailable && partition.leader.is_none_or(|leader| !live.contains(&leader)))
            || (self.under_min_isr && (partition.leader.is_none() || isr < min_isr))
            || (self.at_min_isr && isr == min_isr)
    }
}

/// As Kafka writes ids: URL-safe base64 without padding.
fn shown_id(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

fn parse_uuid(text: &str) -> Result<Uuid, CommandError> {
    let refused = |message: String| CommandError::Message(message);
    if text.chars().count() > 24 {
        let prefix: String = text.chars().take(24).collect();
        return Err(refused(format!("Input string with prefix `{prefix}` is too long to be decoded as a base64 UUID")));
    }
    let decoded = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    let bytes = decoded.map_err(|error| refused(format!("Input string `{text}` is no base64: {error}")))?;
    let count = bytes.len();
    Uuid::from_slice(&bytes).map_err(|_| {
        refused(format!(
            "Input string `{text}` decoded as {count} bytes, which is not equal to the expected 16 bytes of a \
             base64-encoded UUID"
        ))
    })
}
