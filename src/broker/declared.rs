//! Brings what was declared into being, before clients are served.
//!
//! Contract: a topic that is not there is created and gets its seed records, which are on the disk when this returns. A topic that is
//! there is left alone: where it differs from its declaration, one warning names both. Topics whose records cannot be written are
//! removed again, so that the next start, with the mistake mended, begins anew.

use std::collections::{BTreeMap, HashMap, HashSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest};

use super::configuration::create_topics_request;
use super::error::BrokerError;
use crate::config::{BrokerConfig, Declarations, DeclaredTopic, SeedRecord};
use crate::env::Env;
use crate::metadata::{Controller, MetadataImage, TopicImage};
use crate::record::{BatchBuilder, BatchProperties, Header, partition_for_key};
use crate::replica::{ACKS_ALL, Partition, ReplicaManager};
use crate::storage::AppendOrigin;
use crate::types::VerificationGuard;
use crate::wire::str_bytes;

/// Metadata records that one request for new topics is planned to need; the controller takes 10,000.
const RECORDS_OF_REQUEST: usize = 5_000;
/// Bytes of a batch of seed records, unless one record is larger or the topic wants smaller batches.
const BATCH_BYTES: usize = 256 * 1024;
/// The first version of DeleteTopics that names topics in a list of their own.
const DELETE_TOPICS_VERSION: i16 = 6;

/// What works on the declarations.
pub(super) struct Declarer<'a> {
    pub(super) env: &'a Env,
    pub(super) config: &'a BrokerConfig,
    pub(super) controller: &'a Controller,
    pub(super) replicas: &'a ReplicaManager,
}

impl Declarer<'_> {
    /// Makes the declared topics be there.
    pub(super) fn declare(&self, declared: &Declarations) -> Result<(), BrokerError> {
        if declared.topics.is_empty() {
            return Ok(());
        }
        let image = self.controller.image();
        let is_there = |topic: &&DeclaredTopic| image.topics.topic(&topic.name).is_some();
        let (old, new): (Vec<&DeclaredTopic>, Vec<&DeclaredTopic>) = declared.topics.iter().partition(is_there);
        for topic in old {
            self.report_difference(topic, &image, &declared.seeds);
        }
        if new.is_empty() {
            return Ok(());
        }
        for request in requests(&new, self.config.num_partitions()) {
            self.create(&request)?;
        }
        let names: HashSet<&str> = new.iter().map(|topic| topic.name.as_str()).collect();
        let seeds: Vec<&SeedRecord> =
            declared.seeds.iter().filter(|record| names.contains(record.topic.as_str())).collect();
        if let Err(error) = self.seed(&seeds) {
            self.remove(seeds.iter().map(|record| record.topic.as_str()).collect());
            return Err(error);
        }
        tracing::info!("Created {} declared topics with {} seed records", new.len(), seeds.len());
        Ok(())
    }

    fn create(&self, request: &CreateTopicsRequest) -> Result<(), BrokerError> {
        for topic in self.controller.create_topics(request)?.topics {
            if topic.error_code == 0 || topic.error_code == ResponseError::TopicAlreadyExists.code() {
                continue;
            }
            let reason =
                topic.error_message.map_or_else(|| format!("error {}", topic.error_code), |text| text.to_string());
            return Err(BrokerError::Topic { name: topic.name.to_string(), reason });
        }
        Ok(())
    }

    /// Writes the records to their new topics, and to the disk.
    fn seed(&self, seeds: &[&SeedRecord]) -> Result<(), BrokerError> {
        let now = self.env.clock.wall_millis();
        let image = self.controller.image();
        let mut without_key: HashMap<&str, u32> = HashMap::new();
        let mut by_partition: BTreeMap<(&str, i32), Vec<&SeedRecord>> = BTreeMap::new();
        for record in seeds {
            let partitions = image.topics.topic(&record.topic).map_or(1, |topic| topic.partitions.len().max(1));
            let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
            let number = |partition: u32| i32::try_from(partition).unwrap_or(0);
            let partition = match (record.partition, &record.key) {
                (Some(partition), _) => partition,
                (None, Some(key)) => number(partition_for_key(key, partitions)),
                (None, None) => {
                    let next = without_key.entry(&record.topic).or_default();
                    let partition = *next;
                    *next = (partition + 1) % partitions;
                    number(partition)
                }
            };
            by_partition.entry((&record.topic, partition)).or_default().push(record);
        }
        for ((topic, partition), records) in by_partition {
            let failed = |record: &SeedRecord, reason: String| BrokerError::Seed { place: record.place(), reason };
            let Some(first) = records.first() else { continue };
            let partition = self.replicas.partition_by_name(topic, partition);
            let partition = partition.map_err(|error| failed(first, error.to_string()))?;
            write(&partition, &records, now).map_err(|(record, reason)| failed(record, reason))?;
            partition.log().flush().map_err(|error| failed(first, error.to_string()))?;
        }
        Ok(())
    }

    /// Takes topics away that were created a moment ago.
    fn remove(&self, names: HashSet<&str>) {
        let topics = names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(str_bytes(name).into())));
        let request = DeleteTopicsRequest::default().with_topics(topics.collect());
        let removed = self.controller.delete_topics(&request, DELETE_TOPICS_VERSION);
        let failures: Vec<String> = match removed {
            Ok(response) => (response.responses.iter().filter(|topic| topic.error_code != 0))
                .filter_map(|topic| topic.name.as_ref().map(|name| name.as_str().to_owned()))
                .collect(),
            Err(error) => vec![error.to_string()],
        };
        if !failures.is_empty() {
            tracing::error!("Topics that could not be seeded cannot be removed again: {}", failures.join(", "));
        }
    }

    /// One line for a topic that is not what was declared.
    fn report_difference(&self, topic: &DeclaredTopic, image: &MetadataImage, seeds: &[SeedRecord]) {
        let Some(existing) = image.topics.topic(&topic.name) else { return };
        let mut differences = differences(topic, existing, &image.configs.topic(&topic.name));
        let seeded = seeds.iter().filter(|record| record.topic == topic.name).count();
        if let Some(first) = seeds.iter().find(|record| record.topic == topic.name).filter(|_| self.is_blank(existing))
        {
            differences.push(format!("it never had a record, declared are {seeded} from {} on", first.place()));
        }
        if !differences.is_empty() {
            tracing::warn!(
                "Topic {} differs from its declaration ({}) and is left as it is: {}. Change the declaration, or the topic \
                 with kafka-configs and kafka-topics; a topic that is deleted is created as declared at the next start",
                topic.name,
                topic.place,
                differences.join("; ")
            );
        }
    }

    /// Whether nothing was ever written to the topic.
    fn is_blank(&self, topic: &TopicImage) -> bool {
        topic.partitions().all(|(partition, _)| {
            self.replicas.partition_by_name(&topic.name, partition).is_ok_and(|found| found.log_end_offset() == 0)
        })
    }
}

/// The topics in requests that the controller can take; `num_partitions` have those that do not say how many.
fn requests(topics: &[&DeclaredTopic], num_partitions: i32) -> Vec<CreateTopicsRequest> {
    let mut requests = Vec::new();
    let mut some: Vec<DeclaredTopic> = Vec::new();
    let mut planned = 0;
    for topic in topics {
        let partitions = topic.partitions.unwrap_or(num_partitions).unsigned_abs() as usize;
        let records = 1 + topic.configs.len() + partitions;
        if planned + records > RECORDS_OF_REQUEST && !some.is_empty() {
            requests.push(create_topics_request(&std::mem::take(&mut some)));
            planned = 0;
        }
        planned += records;
        some.push((*topic).clone());
    }
    requests.push(create_topics_request(&some));
    requests
}

/// What a topic has and what was declared, in words.
fn differences(declared: &DeclaredTopic, topic: &TopicImage, configs: &BTreeMap<String, String>) -> Vec<String> {
    let mut differences = Vec::new();
    let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    if let Some(partitions) = declared.partitions.filter(|partitions| *partitions != count) {
        differences.push(format!("it has {count} partitions, declared are {partitions}"));
    }
    if declared.is_implied {
        return differences;
    }
    for (key, value) in &declared.configs {
        match configs.get(key) {
            Some(has) if has == value => {}
            Some(has) => differences.push(format!("{key} is {has}, declared is {value}")),
            None => differences.push(format!("{key} is not set, declared is {value}")),
        }
    }
    let undeclared = configs.iter().filter(|(key, _)| !declared.configs.contains_key(*key));
    differences.extend(undeclared.map(|(key, value)| format!("{key} is {value}, declared is nothing")));
    differences
}

/// Appends records to one partition, in batches. The error comes with a record of the batch that was refused.
fn write<'a>(partition: &Partition, records: &[&'a SeedRecord], now: i64) -> Result<(), (&'a SeedRecord, String)> {
    let limit = BATCH_BYTES.min(usize::try_from(partition.log().config().max_message_bytes).unwrap_or(0));
    let mut builder = BatchBuilder::new(BatchProperties::default());
    let mut first = None;
    for record in records {
        if builder.uncompressed_size() + most_bytes(record) > limit && !builder.is_empty() {
            let full = std::mem::replace(&mut builder, BatchBuilder::new(BatchProperties::default()));
            append(partition, full, now).map_err(|reason| (first.unwrap_or(*record), reason))?;
        }
        if builder.is_empty() {
            first = Some(*record);
        }
        let headers: Vec<Header<'_>> = (record.headers.iter())
            .map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() })
            .collect();
        builder
            .append(record.timestamp.unwrap_or(now), record.key.as_deref(), record.value.as_deref(), &headers)
            .map_err(|error| (*record, error.to_string()))?;
    }
    match first {
        Some(first) => append(partition, builder, now).map_err(|reason| (first, reason)),
        None => Ok(()),
    }
}

/// More than a record takes in a batch.
fn most_bytes(record: &SeedRecord) -> usize {
    let field = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len) + 5;
    let headers: usize = record.headers.iter().map(|(key, value)| key.len() + 5 + field(value)).sum();
    field(&record.key) + field(&record.value) + headers + 32
}

fn append(partition: &Partition, builder: BatchBuilder, now: i64) -> Result<(), String> {
    let guard = VerificationGuard::NONE;
    let appended = partition.append_records_to_leader(builder.build(), ACKS_ALL, AppendOrigin::Client, guard, now);
    appended.map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
#[path = "declared_tests.rs"]
mod tests;
