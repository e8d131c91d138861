//! The controller as a state machine: request in, response and records out; and what a restart finds.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    AlterConfigsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    ElectLeadersRequest, IncrementalAlterConfigsRequest, ListPartitionReassignmentsRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;

use super::batches::decode_batch;
use super::records::MetadataRecord;
use super::*;
use crate::config::BrokerConfig;
use crate::env::{Env, ManualClock};
use crate::record::{BatchHeader, BatchIterator};
use crate::types::Uuid;

/// A log whose bytes outlive the controller.
#[derive(Clone, Default)]
pub(super) struct SharedLog {
    pub(super) batches: Arc<Mutex<Vec<Bytes>>>,
    pub(super) fails: Arc<Mutex<bool>>,
}

impl MetadataLogReader for SharedLog {
    fn start_offset(&self) -> i64 {
        self.batches.lock().first().map_or(0, |batch| BatchHeader::parse(batch).expect("a batch").base_offset)
    }

    fn end_offset(&self) -> i64 {
        self.batches.lock().last().map_or(0, |batch| BatchHeader::parse(batch).expect("a batch").next_offset())
    }

    fn read_from(&self, offset: i64, visit: &mut BatchVisitor<'_>) -> Result<(), MetadataError> {
        for batch in self.batches.lock().iter() {
            let header = BatchHeader::parse(batch).expect("a batch");
            if header.last_offset() >= offset {
                visit(&header, batch)?;
            }
        }
        Ok(())
    }
}

impl MetadataLog for SharedLog {
    fn append(&mut self, batch: Bytes, leader_epoch: i32) -> Result<(), MetadataError> {
        if *self.fails.lock() {
            return Err(MetadataError::Log("the disk is full".into()));
        }
        let header = BatchHeader::parse(&batch).expect("a batch");
        assert_eq!(header.base_offset, self.end_offset());
        assert_eq!(header.partition_leader_epoch, leader_epoch);
        self.batches.lock().push(batch);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MetadataError> {
        Ok(())
    }

    fn size_in_bytes(&self) -> u64 {
        self.batches.lock().iter().map(|batch| batch.len() as u64).sum()
    }

    fn trim_before(&mut self, offset: i64) -> Result<(), MetadataError> {
        self.batches.lock().retain(|batch| BatchHeader::parse(batch).expect("a batch").last_offset() >= offset);
        Ok(())
    }

    fn close(&mut self) -> Result<(), MetadataError> {
        Ok(())
    }
}

/// What a broker of ours says of itself, as a new process each time.
pub(super) fn registration(env: &Env, broker_id: i32) -> BrokerRegistrationData {
    BrokerRegistrationData {
        broker_id,
        incarnation_id: env.random.uuid(),
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".into(),
            host: "localhost".into(),
            port: 9092,
            security_protocol: 0,
        }],
        features: supported_features(),
        rack: None,
        directories: vec![Uuid::from_u128(1000 + broker_id as u128)],
    }
}

/// A controller on a log and an env that outlive it.
pub(super) struct Cluster {
    pub(super) env: Env,
    pub(super) log: SharedLog,
    pub(super) snapshot_bytes: u64,
    pub(super) snapshot_interval_ms: i64,
    pub(super) retention: SnapshotRetention,
    pub(super) clock: ManualClock,
    pub(super) properties: BTreeMap<String, String>,
}

impl Cluster {
    pub(super) fn new() -> Self {
        let clock = ManualClock::new(1_700_000_000_000);
        Self {
            env: Env::simulated(clock.clone(), 7),
            log: SharedLog::default(),
            snapshot_bytes: u64::MAX,
            snapshot_interval_ms: 0,
            retention: SnapshotRetention { bytes: 0, milliseconds: -1 },
            clock,
            properties: BTreeMap::new(),
        }
    }

    pub(super) fn open(&self) -> Result<Arc<Controller>, MetadataError> {
        let mut options = ControllerOptions::new(1, PathBuf::from("/data/__cluster_metadata-0"));
        options.snapshots.bytes = self.snapshot_bytes;
        options.snapshots.interval_millis = self.snapshot_interval_ms;
        options.snapshots.retention = self.retention;
        self.env.disk.create_dir_all(&options.directory).expect("a directory");
        let config = Arc::new(BrokerConfig::new(self.properties.clone()).expect("a configuration"));
        Controller::open(self.env.clone(), options, Box::new(self.log.clone()), config)
    }

    /// Opens the controller and makes broker 1 live.
    pub(super) fn start(&self) -> Arc<Controller> {
        let controller = self.open().expect("opens");
        let epoch = controller.register_broker(&self.registration(1)).expect("durable").expect("registered");
        controller.unfence_broker(1, epoch).expect("durable").expect("unfenced");
        controller
    }

    pub(super) fn registration(&self, broker_id: i32) -> BrokerRegistrationData {
        registration(&self.env, broker_id)
    }

    /// All records of the log in order.
    pub(super) fn records(&self) -> Vec<MetadataRecord> {
        let mut all = Vec::new();
        for batch in self.log.batches.lock().iter() {
            let header = BatchHeader::parse(batch).expect("a batch");
            all.extend(decode_batch(&header, batch).expect("decodes").into_iter().map(|(_, record)| record));
        }
        all
    }

    /// The records that `command` adds.
    pub(super) fn new_records(&self, command: impl FnOnce()) -> Vec<MetadataRecord> {
        let before = self.records().len();
        command();
        self.records().split_off(before)
    }
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn name(name: &str) -> TopicName {
    text(name).into()
}

pub(super) fn new_topic(topic: &str, partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(replication_factor)
}

fn with_config(topic: CreatableTopic, key: &str, value: Option<&str>) -> CreatableTopic {
    let mut configs = topic.configs.clone();
    configs.push(CreatableTopicConfig::default().with_name(text(key)).with_value(value.map(text)));
    topic.with_configs(configs)
}

pub(super) fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics)
}

/// Code and message of the only topic of the answer.
fn outcome(controller: &Controller, topic: CreatableTopic) -> (i16, Option<String>) {
    let response = controller.create_topics(&create(vec![topic])).expect("durable");
    assert_eq!(response.topics.len(), 1);
    let result = &response.topics[0];
    (result.error_code, result.error_message.as_ref().map(ToString::to_string))
}

fn refused(error: ResponseError, message: &str) -> (i16, Option<String>) {
    (error.code(), Some(message.to_owned()))
}

#[test]
fn a_new_cluster_starts_with_kafka_s_records() {
    let cluster = Cluster::new();
    cluster.start();
    let records = cluster.records();
    let names: Vec<&str> = records.iter().map(MetadataRecord::name).collect();
    let (feature, change) = ("FeatureLevelRecord", "BrokerRegistrationChangeRecord");
    assert_eq!(names, [feature, feature, "ConfigRecord", "RegisterBrokerRecord", change]);
    let MetadataRecord::FeatureLevel(feature) = &records[0] else { panic!("a feature") };
    assert_eq!((feature.name.as_str(), feature.feature_level), (METADATA_VERSION, METADATA_VERSION_LEVEL));
    let MetadataRecord::RegisterBroker(broker) = &records[3] else { panic!("a broker") };
    assert!(broker.fenced);
    // The epoch is the record's offset: behind the control batch and the first three records.
    assert_eq!(broker.broker_epoch, 4);
}

#[test]
fn a_topic_is_topic_record_configs_partitions() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let topic = with_config(new_topic("foo", 2, 1), "retention.ms", Some("1000"));
    let mut response = None;
    let records = cluster.new_records(|| response = Some(controller.create_topics(&create(vec![topic]))));
    let response = response.expect("an answer").expect("durable");
    let result = &response.topics[0];
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 2, 1));
    assert!(!result.topic_id.is_nil());
    let names: Vec<&str> = records.iter().map(MetadataRecord::name).collect();
    assert_eq!(names, ["TopicRecord", "ConfigRecord", "PartitionRecord", "PartitionRecord"]);
    let MetadataRecord::Partition(partition) = &records[3] else { panic!("a partition") };
    assert_eq!((partition.partition_id, partition.leader), (1, 1));
    assert_eq!((partition.leader_epoch, partition.partition_epoch), (0, 0));
    assert_eq!((&partition.replicas, &partition.isr), (&vec![1], &vec![1]));
    assert_eq!(partition.directories, vec![Uuid::from_u128(1001)]);
    let image = controller.image();
    assert_eq!(image.topics.topic("foo").expect("it exists").id, result.topic_id);
    assert_eq!(image.topics.topic_by_id(result.topic_id).expect("it exists").partitions.len(), 2);
    assert_eq!(image.configs.topic("foo").get("retention.ms").map(String::as_str), Some("1000"));
}

#[test]
fn refused_topics_have_kafka_s_codes_and_messages() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    assert_eq!(outcome(&controller, new_topic("a.b", 1, 1)).0, 0);
    let cases: Vec<(CreatableTopic, (i16, Option<String>))> = vec![
        (new_topic("a.b", 1, 1), refused(ResponseError::TopicAlreadyExists, "Topic 'a.b' already exists.")),
        (
            new_topic("a_b", 1, 1),
            refused(ResponseError::InvalidTopicException, "Topic 'a_b' collides with existing topic: a.b"),
        ),
        (
            new_topic("", 1, 1),
            refused(ResponseError::InvalidTopicException, "Topic name is invalid: the empty string is not allowed"),
        ),
        (
            new_topic("c", 0, 1),
            refused(ResponseError::InvalidPartitions, "Number of partitions was set to an invalid non-positive value."),
        ),
        (
            new_topic("c", 1, 0),
            refused(
                ResponseError::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ),
        ),
        (
            new_topic("c", 1, 3),
            refused(
                ResponseError::InvalidReplicationFactor,
                "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached \
                 because only 1 broker(s) are registered or some brokers have all their log directories cordoned.",
            ),
        ),
        (
            with_config(new_topic("c", 1, 1), "retention.ms", None),
            refused(ResponseError::InvalidConfig, "Null value not supported for topic configs: retention.ms"),
        ),
        (
            with_config(new_topic("c", 1, 1), "nonsense", Some("1")),
            refused(ResponseError::InvalidConfig, "Unknown topic config name: nonsense"),
        ),
        (
            new_topic("__cluster_metadata", 1, 1),
            refused(ResponseError::InvalidRequest, "Creation of internal topic __cluster_metadata is prohibited."),
        ),
    ];
    let records = cluster.new_records(|| {
        for (topic, expected) in cases {
            assert_eq!(outcome(&controller, topic), expected);
        }
    });
    assert_eq!(records, []);
}

fn assigned(assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(partition, brokers): &(i32, &[i32])| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*partition)
            .with_broker_ids(brokers.iter().copied().map(BrokerId).collect())
    };
    new_topic("m", -1, -1).with_assignments(assignments.iter().map(assignment).collect())
}

#[test]
fn manual_assignments_are_checked() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let invalid = |message: &str| refused(ResponseError::InvalidReplicaAssignment, message);
    let cases = [
        (
            assigned(&[(0, &[1])]).with_replication_factor(1),
            refused(
                ResponseError::InvalidRequest,
                "A manual partition assignment was specified, but replication factor was not set to -1.",
            ),
        ),
        (
            assigned(&[(0, &[1])]).with_num_partitions(1),
            refused(
                ResponseError::InvalidRequest,
                "A manual partition assignment was specified, but numPartitions was not set to -1.",
            ),
        ),
        (assigned(&[(0, &[1]), (0, &[1])]), invalid("Found multiple manual partition assignments for partition 0")),
        (assigned(&[(1, &[1])]), invalid("partitions should be a consecutive 0-based integer sequence")),
        (assigned(&[(0, &[])]), invalid("The manual partition assignment includes an empty replica list.")),
        (
            assigned(&[(0, &[7])]),
            invalid("The manual partition assignment includes broker 7, but no such broker is registered."),
        ),
        (assigned(&[(0, &[1, 1])]), invalid("The manual partition assignment includes the broker 1 more than once.")),
    ];
    for (topic, expected) in cases {
        assert_eq!(outcome(&controller, topic), expected);
    }
    assert_eq!(outcome(&controller, assigned(&[(1, &[1]), (0, &[1])])).0, 0);
    assert_eq!(controller.image().topics.topic("m").expect("it exists").partitions.len(), 2);
}

#[test]
fn one_bad_topic_does_not_hold_up_the_others_and_duplicates_are_refused() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let request = create(vec![new_topic("a", 1, 1), new_topic("d", 1, 1), new_topic("b", 0, 1), new_topic("d", 1, 1)]);
    let response = controller.create_topics(&request).expect("durable");
    let codes: Vec<(String, i16)> =
        response.topics.iter().map(|topic| (topic.name.to_string(), topic.error_code)).collect();
    assert_eq!(codes, [("a".to_owned(), 0), ("b".to_owned(), 37), ("d".to_owned(), 42)]);
    assert_eq!(response.topics[2].error_message.as_deref(), Some("Duplicate topic name."));
}

#[test]
fn validate_only_checks_and_writes_nothing() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let request = create(vec![new_topic("a", 1, 1), new_topic("b", 0, 1)]).with_validate_only(true);
    let records = cluster.new_records(|| {
        let response = controller.create_topics(&request).expect("durable");
        assert_eq!(response.topics.iter().map(|topic| topic.error_code).collect::<Vec<_>>(), [0, 37]);
    });
    assert_eq!(records, []);
    assert!(controller.image().topics.by_name().is_empty());
}

#[test]
fn too_many_partitions_fail_the_whole_request() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let request = create(vec![new_topic("a", 10_000, 1), new_topic("b", 1, 1)]);
    let response = controller.create_topics(&request).expect("durable");
    for topic in &response.topics {
        assert_eq!(topic.error_code, ResponseError::PolicyViolation.code());
        assert_eq!(topic.error_message.as_deref(), Some("Excessively large number of partitions per request."));
    }
    assert_eq!(response.topics.len(), 2);
}

#[test]
fn topics_are_deleted_by_name_and_by_id() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let topic = with_config(new_topic("a", 1, 1), "retention.ms", Some("1"));
    controller.create_topics(&create(vec![topic, new_topic("b", 1, 1)])).expect("durable");
    let id_of_b = controller.image().topics.topic("b").expect("it exists").id;
    let by_name = DeleteTopicsRequest::default().with_topic_names(vec![name("a"), name("x"), name("y"), name("y")]);
    let response = controller.delete_topics(&by_name, 5).expect("durable");
    let results: Vec<_> = response
        .responses
        .iter()
        .map(|result| {
            (result.name.as_ref().map(|name| name.to_string()), result.error_code, result.error_message.clone())
        })
        .collect();
    let unknown = text("This server does not host this topic-partition.");
    assert_eq!(
        results,
        [
            (Some("y".to_owned()), 42, Some(text("Duplicate topic name."))),
            (Some("x".to_owned()), 3, Some(unknown)),
            (Some("a".to_owned()), 0, None)
        ]
    );
    let by_id =
        |id: Uuid| DeleteTopicsRequest::default().with_topics(vec![DeleteTopicState::default().with_topic_id(id)]);
    let response = controller.delete_topics(&by_id(id_of_b), 6).expect("durable");
    assert_eq!(response.responses[0].name, Some(name("b")));
    assert_eq!((response.responses[0].topic_id, response.responses[0].error_code), (id_of_b, 0));
    let response = controller.delete_topics(&by_id(id_of_b), 6).expect("durable");
    assert_eq!((response.responses[0].error_code, response.responses[0].name.clone()), (100, None));
    let image = controller.image();
    assert!(image.topics.by_name().is_empty() && image.topics.by_id().is_empty());
    assert!(image.configs.topic("a").is_empty());
}

#[test]
fn a_recreated_topic_has_another_id_and_no_old_configuration() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let topic = with_config(new_topic("a", 1, 1), "retention.ms", Some("1"));
    let first = controller.create_topics(&create(vec![topic])).expect("durable").topics[0].topic_id;
    controller.delete_topics(&DeleteTopicsRequest::default().with_topic_names(vec![name("a")]), 5).expect("durable");
    let second = controller.create_topics(&create(vec![new_topic("a", 1, 1)])).expect("durable").topics[0].topic_id;
    assert_ne!(first, second);
    assert!(controller.image().configs.topic("a").is_empty());
    assert!(controller.image().topics.topic_by_id(first).is_none());
}

#[test]
fn partitions_are_added_behind_the_last() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    controller.create_topics(&create(vec![new_topic("a", 2, 1)])).expect("durable");
    let add = |count: i32, assignments: Option<Vec<Vec<i32>>>| {
        let assignments = assignments.map(|all| {
            let brokers = |ids: Vec<i32>| ids.into_iter().map(BrokerId).collect();
            all.into_iter().map(|ids| CreatePartitionsAssignment::default().with_broker_ids(brokers(ids))).collect()
        });
        let topic =
            CreatePartitionsTopic::default().with_name(name("a")).with_count(count).with_assignments(assignments);
        let response = controller
            .create_partitions(&CreatePartitionsRequest::default().with_topics(vec![topic]))
            .expect("durable");
        let result = &response.results[0];
        (result.error_code, result.error_message.as_ref().map(ToString::to_string))
    };
    let invalid = |message: &str| refused(ResponseError::InvalidPartitions, message);
    assert_eq!(add(2, None), invalid("Topic already has 2 partition(s)."));
    assert_eq!(add(1, None), invalid("The topic a currently has 2 partition(s); 1 would not be an increase."));
    assert_eq!(
        add(4, Some(vec![vec![1]])),
        refused(
            ResponseError::InvalidReplicaAssignment,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."
        )
    );
    assert_eq!(add(3, Some(vec![vec![1]])), (0, None));
    assert_eq!(add(5, None), (0, None));
    assert_eq!(controller.image().topics.topic("a").expect("it exists").partitions.len(), 5);
    let missing = CreatePartitionsTopic::default().with_name(name("x")).with_count(2);
    let response =
        controller.create_partitions(&CreatePartitionsRequest::default().with_topics(vec![missing])).expect("durable");
    assert_eq!((response.results[0].error_code, response.results[0].error_message.clone()), (3, None));
}

pub(super) fn alter(kind: i8, resource: &str, changes: &[(&str, i8, Option<&str>)]) -> IncrementalAlterConfigsRequest {
    let config = |(key, operation, value): &(&str, i8, Option<&str>)| {
        AlterableConfig::default().with_name(text(key)).with_config_operation(*operation).with_value(value.map(text))
    };
    IncrementalAlterConfigsRequest::default().with_resources(vec![
        AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(resource))
            .with_configs(changes.iter().map(config).collect()),
    ])
}

fn alter_outcome(controller: &Controller, request: &IncrementalAlterConfigsRequest) -> (i16, Option<String>) {
    let response = controller.incremental_alter_configs(request).expect("durable");
    let result = &response.responses[0];
    (result.error_code, result.error_message.as_ref().map(ToString::to_string))
}

#[test]
fn configurations_are_set_deleted_appended_and_subtracted() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    controller.create_topics(&create(vec![new_topic("a", 1, 1)])).expect("durable");
    let value = |key: &str| controller.image().configs.topic("a").get(key).cloned();
    assert_eq!(alter_outcome(&controller, &alter(2, "a", &[("retention.ms", 0, Some("5"))])), (0, None));
    assert_eq!(value("retention.ms").as_deref(), Some("5"));
    // The same value again is no change.
    let same = alter(2, "a", &[("retention.ms", 0, Some("5"))]);
    assert_eq!(cluster.new_records(|| assert_eq!(alter_outcome(&controller, &same).0, 0)), []);
    assert_eq!(alter_outcome(&controller, &alter(2, "a", &[("cleanup.policy", 2, Some("compact"))])), (0, None));
    assert_eq!(value("cleanup.policy").as_deref(), Some("delete,compact"));
    assert_eq!(alter_outcome(&controller, &alter(2, "a", &[("cleanup.policy", 3, Some("delete"))])), (0, None));
    assert_eq!(value("cleanup.policy").as_deref(), Some("compact"));
    assert_eq!(alter_outcome(&controller, &alter(2, "a", &[("retention.ms", 1, None)])), (0, None));
    assert_eq!(value("retention.ms"), None);
    assert_eq!(
        alter_outcome(&controller, &alter(2, "a", &[("retention.ms", 2, Some("1"))])),
        refused(ResponseError::InvalidConfig, "Can't APPEND to key retention.ms because its type is not LIST.")
    );
    assert_eq!(
        alter_outcome(&controller, &alter(2, "a", &[("retention.ms", 0, None)])),
        refused(ResponseError::InvalidRequest, "Null value not supported for : retention.ms")
    );
    assert_eq!(
        alter_outcome(&controller, &alter(2, "x", &[("retention.ms", 0, Some("1"))])),
        refused(ResponseError::UnknownTopicOrPartition, "The topic 'x' does not exist.")
    );
    assert_eq!(
        alter_outcome(&controller, &alter(99, "x", &[])),
        refused(ResponseError::InvalidRequest, "Unknown resource type 99")
    );
    assert_eq!(
        alter_outcome(&controller, &alter(4, "2", &[("log.cleaner.threads", 0, Some("2"))])),
        refused(ResponseError::InvalidRequest, "Unexpected broker id, expected 1, but received 2")
    );
}

#[test]
fn alter_configs_replaces_everything() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let topic = with_config(new_topic("a", 1, 1), "retention.ms", Some("1"));
    controller.create_topics(&create(vec![topic])).expect("durable");
    let resource = kafka_protocol::messages::alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("a"))
        .with_configs(vec![
            kafka_protocol::messages::alter_configs_request::AlterableConfig::default()
                .with_name(text("segment.ms"))
                .with_value(Some(text("7"))),
        ]);
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let response = controller.alter_configs(&request).expect("durable");
    assert_eq!(response.responses[0].error_code, 0);
    let configs = controller.image().configs.topic("a");
    assert_eq!(configs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(), ["segment.ms=7"]);
}

#[test]
fn elections_that_change_nothing_say_so() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    controller.create_topics(&create(vec![new_topic("a", 1, 1)])).expect("durable");
    let topics = |topic: &str, partition: i32| {
        let topic = kafka_protocol::messages::elect_leaders_request::TopicPartitions::default()
            .with_topic(name(topic))
            .with_partitions(vec![partition]);
        ElectLeadersRequest::default().with_topic_partitions(Some(vec![topic]))
    };
    let result = |request: &ElectLeadersRequest| {
        let response = controller.elect_leaders(request).expect("durable");
        let result = &response.replica_election_results[0].partition_result[0];
        (result.error_code, result.error_message.as_ref().map(ToString::to_string))
    };
    assert_eq!(
        result(&topics("a", 0)),
        refused(ResponseError::ElectionNotNeeded, "Leader election not needed for topic partition.")
    );
    assert_eq!(result(&topics("a", 1)), refused(ResponseError::UnknownTopicOrPartition, "No such partition as a-1"));
    assert_eq!(result(&topics("x", 0)), refused(ResponseError::UnknownTopicOrPartition, "No such topic as x"));
    let all = ElectLeadersRequest::default().with_topic_partitions(None);
    let response = controller.elect_leaders(&all).expect("durable");
    assert!(response.replica_election_results[0].partition_result.is_empty());
    let listed = controller.list_partition_reassignments(&ListPartitionReassignmentsRequest::default());
    assert!(listed.topics.is_empty());
}

#[test]
fn producer_id_blocks_follow_each_other_across_restarts() {
    let cluster = Cluster::new();
    let block = |controller: &Controller| {
        let epoch = controller.image().cluster.broker(1).expect("registered").epoch;
        controller.allocate_producer_ids(1, epoch).expect("durable").expect("a block").first_producer_id
    };
    let controller = cluster.start();
    assert_eq!(block(&controller), 0);
    assert_eq!(block(&controller), 1000);
    assert!(controller.allocate_producer_ids(1, 12345).expect("durable").is_err());
    drop(controller);
    assert_eq!(block(&cluster.start()), 2000);
}

#[test]
fn the_offsets_topic_is_created_with_its_own_configuration() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let response = controller.auto_create_topics(&["__consumer_offsets", "plain"]).expect("durable");
    assert!(response.topics.iter().all(|topic| topic.error_code == 0), "{response:?}");
    let image = controller.image();
    let offsets = image.topics.topic("__consumer_offsets").expect("it exists");
    assert_eq!(offsets.partitions.len(), 50);
    // Three replicas are the default; one broker can have one.
    assert_eq!(offsets.partitions[0].replicas.len(), 1);
    let configs = image.configs.topic("__consumer_offsets");
    assert_eq!(configs.get("cleanup.policy").map(String::as_str), Some("compact"));
    assert_eq!(configs.get("segment.bytes").map(String::as_str), Some("104857600"));
    assert_eq!(configs.get("compression.type").map(String::as_str), Some("producer"));
    assert_eq!(image.topics.topic("plain").expect("it exists").partitions.len(), 1);
    assert!(controller.auto_create_topics(&["plain"]).expect("durable").topics.is_empty());
}

#[test]
fn a_restart_finds_everything_and_raises_epochs() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let topic = with_config(new_topic("a", 3, 1), "retention.ms", Some("1"));
    controller.create_topics(&create(vec![topic])).expect("durable");
    let before = controller.image();
    drop(controller);
    let after = cluster.start().image();
    let (old, new) = (before.topics.topic("a").expect("it exists"), after.topics.topic("a").expect("it exists"));
    assert_eq!(old.id, new.id);
    for (old, new) in old.partitions.iter().zip(&new.partitions) {
        assert_eq!((old.leader_epoch + 1, old.partition_epoch + 1), (new.leader_epoch, new.partition_epoch));
        assert_eq!((old.leader, &old.isr), (new.leader, &new.isr));
    }
    assert_eq!(before.configs, after.configs);
    assert_eq!(before.features, after.features);
    assert!(after.cluster.broker(1).expect("registered").epoch > before.cluster.broker(1).expect("registered").epoch);
    assert!(after.provenance.last_contained_epoch > before.provenance.last_contained_epoch);
}

#[test]
fn a_failed_append_ends_all_changes_and_shows_none() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    *cluster.log.fails.lock() = true;
    assert!(controller.create_topics(&create(vec![new_topic("a", 1, 1)])).is_err());
    assert!(controller.image().topics.by_name().is_empty());
    *cluster.log.fails.lock() = false;
    let again = controller.create_topics(&create(vec![new_topic("a", 1, 1)]));
    assert!(matches!(again, Err(MetadataError::Offline)), "{again:?}");
}

#[test]
fn records_that_cannot_be_kept_stop_the_start() {
    let cluster = Cluster::new();
    drop(cluster.start());
    let record = crate::wire::records::metadata::EndTransactionRecord::default().into();
    let end = cluster.log.end_offset();
    let batch = super::batches::encode_batch(&[record], end, 5, 0).expect("encodes");
    cluster.log.batches.lock().push(batch);
    let Err(MetadataError::Corrupt { position, reason, .. }) = cluster.open() else { panic!("refused") };
    assert_eq!((position, reason.as_str()), (end as u64, "a EndTransactionRecord where none can be"));
}

/// What publishers see: the partitions to lead, those to delete, the last offset.
type Seen = (Vec<String>, Vec<String>, i64);

#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<Seen>>,
}

impl MetadataPublisher for Recorder {
    fn on_metadata_update(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        let changes = delta.local_changes(1);
        let leaders = changes.leaders.iter().map(|leader| leader.topic_partition.to_string()).collect();
        let deletes = changes.deletes.iter().map(ToString::to_string).collect();
        self.seen.lock().push((leaders, deletes, image.provenance.last_contained_offset));
    }
}

#[test]
fn publishers_see_each_image_before_the_command_answers() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    controller.create_topics(&create(vec![new_topic("a", 2, 1)])).expect("durable");
    let recorder = Arc::new(Recorder::default());
    controller.subscribe(recorder.clone());
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let seen = || recorder.seen.lock().last().cloned().expect("an image");
    assert_eq!((seen().0, seen().1), (texts(&["a-0", "a-1"]), texts(&[])));
    controller.create_topics(&create(vec![new_topic("b", 1, 1)])).expect("durable");
    assert_eq!((seen().0, seen().1), (texts(&["b-0"]), texts(&[])));
    assert_eq!(seen().2, controller.image().provenance.last_contained_offset);
    controller.delete_topics(&DeleteTopicsRequest::default().with_topic_names(vec![name("a")]), 5).expect("durable");
    assert_eq!((seen().0, seen().1), (texts(&[]), texts(&["a-0", "a-1"])));
    assert_eq!(recorder.seen.lock().len(), 3);
}

/// Bytes of a log that ends in the middle of a batch: what comes before it is all there.
#[test]
fn batches_are_whole_or_not_there() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let before = controller.image().provenance.last_contained_offset;
    controller.create_topics(&create(vec![new_topic("a", 5, 1)])).expect("durable");
    drop(controller);
    let torn: Vec<u8> = cluster.log.batches.lock().iter().flat_map(|batch| batch.to_vec()).collect();
    let torn = &torn[..torn.len() - 1];
    let whole = BatchIterator::new(torn).filter_map(Result::ok).count();
    cluster.log.batches.lock().truncate(whole);
    let controller = cluster.open().expect("opens");
    assert!(controller.image().topics.topic("a").is_none());
    assert_eq!(controller.image().provenance.last_contained_offset, before);
}

#[test]
fn a_command_of_too_many_records_is_refused_and_the_next_one_runs() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let topics = (0..4000).map(|number| with_config(new_topic(&format!("t{number}"), 1, 1), "retention.ms", Some("1")));
    let outcome = controller.create_topics(&create(topics.collect()));
    assert!(matches!(outcome, Err(MetadataError::TooLarge)), "{outcome:?}");
    assert!(controller.image().topics.by_name().is_empty());
    assert_eq!(super::controller_tests::outcome(&controller, new_topic("a", 1, 1)).0, 0);
}

#[test]
fn a_command_of_too_many_bytes_is_refused_and_the_next_one_runs() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    controller.create_topics(&create(vec![new_topic("a", 1, 1)])).expect("durable");
    let long = vec!["1:1"; 8000].join(",");
    let mut resources = Vec::new();
    for number in 0..300 {
        let topic = format!("long-{number}");
        controller.create_topics(&create(vec![new_topic(&topic, 1, 1)])).expect("durable");
        let change = alter(2, &topic, &[("leader.replication.throttled.replicas", 0, Some(&long))]);
        resources.extend(change.resources);
    }
    let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
    let outcome = controller.incremental_alter_configs(&request);
    assert!(matches!(outcome, Err(MetadataError::TooLarge)), "{outcome:?}");
    assert_eq!(alter_outcome(&controller, &alter(2, "a", &[("retention.ms", 0, Some("5"))])), (0, None));
}

#[test]
fn a_start_with_more_partitions_than_one_batch_takes_several() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    for topic in ["a", "b"] {
        assert_eq!(outcome(&controller, new_topic(topic, 9_000, 1)).0, 0);
    }
    drop(controller);
    let batches = cluster.log.batches.lock().len();
    let controller = cluster.start();
    // The control batch, the registration, two batches of leader changes.
    assert_eq!(cluster.log.batches.lock().len(), batches + 4);
    let image = controller.image();
    assert!(image.topics.by_name().values().flat_map(|topic| &topic.partitions).all(|part| part.leader_epoch == 1));
}
