//! Creates, alters and deletes topics.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::super::{CommandError, Console, request_timeout_ms};
use super::list::{check_existence, topic_names};
use crate::client::{ClientError, ClusterClient, Destination};
use crate::tools::options::Options;

/// `TOPIC_ALREADY_EXISTS`.
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// `INVALID_TOPIC_EXCEPTION`.
const INVALID_TOPIC: i16 = 17;

/// What `--create` and `--alter` say of a topic.
struct Wanted {
    partitions: Option<i32>,
    replication_factor: Option<i32>,
    assignment: Vec<Vec<i32>>,
    configs: BTreeMap<String, String>,
}

impl Wanted {
    fn read(options: &Options) -> Result<Self, CommandError> {
        let assignment = options.value("replica-assignment")?.filter(|text| !text.is_empty());
        Ok(Self {
            partitions: options.number("partitions")?,
            replication_factor: options.number("replication-factor")?,
            assignment: assignment.map(parse_assignment).transpose()?.unwrap_or_default(),
            configs: parse_configs(&options.values("config"))?,
        })
    }

    fn check(&self) -> Result<(), CommandError> {
        let refuse = |text: &str| Err(CommandError::Message(text.to_owned()));
        if self.replication_factor.is_some_and(|factor| factor < 1 || factor > i32::from(i16::MAX)) {
            return refuse("The replication factor must be between 1 and 32767 inclusive");
        }
        if self.partitions.is_some_and(|partitions| partitions < 1) {
            return refuse("The partitions must be greater than 0");
        }
        Ok(())
    }

    fn request(&self, name: &str, timeout_ms: i32) -> CreateTopicsRequest {
        let config = |(key, value): (&String, &String)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string(key.clone()))
                .with_value(Some(StrBytes::from_string(value.clone())))
        };
        let assigned = |(partition, replicas): (i32, &Vec<i32>)| {
            CreatableReplicaAssignment::default()
                .with_partition_index(partition)
                .with_broker_ids(replicas.iter().copied().map(BrokerId).collect())
        };
        let factor = self.replication_factor.and_then(|factor| i16::try_from(factor).ok());
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_num_partitions(self.partitions.unwrap_or(-1))
            .with_replication_factor(factor.unwrap_or(-1))
            .with_assignments((0..).zip(&self.assignment).map(assigned).collect())
            .with_configs(self.configs.iter().map(config).collect());
        CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms)
    }
}

pub(super) async fn create(
    client: &mut ClusterClient,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let name = options.value("topic")?.unwrap_or_default();
    let wanted = Wanted::read(options)?;
    if name.contains(['.', '_']) {
        writeln!(
            console.out,
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could \
             collide. To avoid issues it is best to use either, but not both."
        )?;
    }
    wanted.check()?;
    if name.is_empty() {
        let text = "The given topic name '' cannot be represented in a request.";
        ClientError::answer(INVALID_TOPIC, Some(text))?;
    }
    let timeout_ms = request_timeout_ms(client);
    let response =
        client.call("createTopics", &Destination::Controller, None, |_| wanted.request(name, timeout_ms)).await?;
    for topic in &response.topics {
        if topic.error_code == TOPIC_ALREADY_EXISTS && options.has("if-not-exists") {
            return Ok(());
        }
        ClientError::answer(topic.error_code, topic.error_message.as_deref())?;
    }
    writeln!(console.out, "Created topic {name}.")?;
    Ok(())
}

pub(super) async fn alter(client: &mut ClusterClient, options: &Options) -> Result<(), CommandError> {
    let wanted = Wanted::read(options)?;
    let names = topic_names(client, options).await?;
    check_existence(&names, options)?;
    if names.is_empty() {
        return Ok(());
    }
    let listed: Vec<&str> = names.iter().map(String::as_str).collect();
    let metadata = client.metadata(Some(&listed), false).await?;
    let count = wanted.partitions.unwrap_or_default();
    let mut topics = Vec::new();
    for name in &names {
        let existing = metadata.topic(name).map_or(0, |topic| topic.partitions.len());
        let assignments = (!wanted.assignment.is_empty()).then(|| {
            let added = wanted.assignment.iter().skip(existing);
            let ids = |replicas: &Vec<i32>| replicas.iter().copied().map(BrokerId).collect();
            added.map(|replicas| CreatePartitionsAssignment::default().with_broker_ids(ids(replicas))).collect()
        });
        topics.push(
            CreatePartitionsTopic::default()
                .with_name(TopicName(StrBytes::from_string(name.clone())))
                .with_count(count)
                .with_assignments(assignments),
        );
    }
    let timeout_ms = request_timeout_ms(client);
    let build = |_: i16| CreatePartitionsRequest::default().with_topics(topics.clone()).with_timeout_ms(timeout_ms);
    let response = client.call("createPartitions", &Destination::Controller, None, build).await?;
    for result in &response.results {
        ClientError::answer(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

pub(super) async fn delete(client: &mut ClusterClient, options: &Options) -> Result<(), CommandError> {
    let names = topic_names(client, options).await?;
    check_existence(&names, options)?;
    if names.is_empty() {
        return Ok(());
    }
    let timeout_ms = request_timeout_ms(client);
    let names: Vec<TopicName> = names.into_iter().map(|name| TopicName(StrBytes::from_string(name))).collect();
    let build = |version: i16| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms);
        match version {
            0..=5 => request.with_topic_names(names.clone()),
            _ => {
                let state = |name: &TopicName| DeleteTopicState::default().with_name(Some(name.clone()));
                request.with_topics(names.iter().map(state).collect())
            }
        }
    };
    let response = client.call("deleteTopics", &Destination::Controller, None, build).await?;
    for result in &response.responses {
        ClientError::answer(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

/// `key=value` each; neither may be missing or hold another `=`.
fn parse_configs(values: &[&str]) -> Result<BTreeMap<String, String>, CommandError> {
    let mut configs = BTreeMap::new();
    for text in values {
        match text.split('=').map(str::trim).collect::<Vec<_>>().as_slice() {
            [key, value] if !value.is_empty() => configs.insert((*key).to_owned(), (*value).to_owned()),
            _ => {
                return Err(CommandError::Message(
                    "requirement failed: Invalid topic config: all configs to be added must be in the format \
                     \"key=val\"."
                        .to_owned(),
                ));
            }
        };
    }
    Ok(configs)
}

/// Brokers of a partition with `:` between them, partitions with `,`.
fn parse_assignment(text: &str) -> Result<Vec<Vec<i32>>, CommandError> {
    let mut partitions: Vec<Vec<i32>> = Vec::new();
    for (index, brokers) in text.split(',').enumerate() {
        let mut replicas: Vec<i32> = Vec::new();
        let mut duplicates: Vec<String> = Vec::new();
        for broker in brokers.split(':').map(str::trim) {
            let id = broker.parse();
            let id: i32 = id.map_err(|_| CommandError::Message(format!("For input string: \"{broker}\"")))?;
            if replicas.contains(&id) && !duplicates.contains(&id.to_string()) {
                duplicates.push(id.to_string());
            }
            replicas.push(id);
        }
        if !duplicates.is_empty() {
            let duplicates = duplicates.join(",");
            let text = format!("Partition replica lists may not contain duplicate entries: {duplicates}");
            return Err(CommandError::Message(text));
        }
        if partitions.first().is_some_and(|first| first.len() != replicas.len()) {
            let text = format!("Partition {index} has different replication factor: {replicas:?}");
            return Err(CommandError::Message(text));
        }
        partitions.push(replicas);
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_and_configs_are_read_as_kafka_reads_them() {
        assert_eq!(parse_assignment("1:2, 2:1").expect("an assignment"), [[1, 2], [2, 1]]);
        for (text, message) in [
            ("1:1", "Partition replica lists may not contain duplicate entries: 1"),
            ("1:2,1", "Partition 1 has different replication factor: [1]"),
            ("a", "For input string: \"a\""),
        ] {
            assert_eq!(parse_assignment(text).expect_err("none").to_string(), message);
        }
        let configs = parse_configs(&["a = b", "c=d"]).expect("configurations");
        assert_eq!((configs["a"].as_str(), configs["c"].as_str()), ("b", "d"));
        assert!(
            parse_configs(&["a"]).is_err() && parse_configs(&["a=b=c"]).is_err() && parse_configs(&["a="]).is_err()
        );
    }
}
