//! What the metadata ask for, and what is there afterwards.
#![allow(clippy::disallowed_methods)]

use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::{AlterConfigsRequest, CreatePartitionsRequest, DeleteTopicsRequest};
use parking_lot::Mutex;

use super::*;
use crate::api::test_services::{TestBroker, batch, text, topic_name};
use crate::env::{Call, Failure, PlannedFault};
use crate::record::BatchProperties;
use crate::replica::ACKS_ALL;
use crate::storage::AppendOrigin;
use crate::types::VerificationGuard;

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl LeadershipListener for Heard {
    fn on_elected(&self, partition: &Arc<Partition>, leader_epoch: i32) {
        self.0.lock().push(format!("+{} {leader_epoch}", partition.topic_partition()));
    }

    fn on_resigned(&self, topic_partition: &TopicPartition) {
        self.0.lock().push(format!("-{topic_partition}"));
    }
}

fn append(partition: &Partition) -> i64 {
    append_as(partition, AppendOrigin::Client)
}

fn append_as(partition: &Partition, origin: AppendOrigin) -> i64 {
    let records = batch(BatchProperties::default(), 1_700_000_000_000, &["x"]);
    let appended =
        partition.append_records_to_leader(records, ACKS_ALL, origin, VerificationGuard::NONE, 1_700_000_000_000);
    appended.unwrap().base_offset
}

#[test]
fn created_partitions_serve_and_deleted_ones_are_gone() {
    let broker = TestBroker::new();
    let replicas = &broker.services.replicas;
    let heard = Arc::new(Heard::default());
    replicas.add_listener(heard.clone());
    let id = broker.create_topic("t", 2, &[]);
    let partition = replicas.partition(&TopicPartition::new("t", 1)).unwrap();
    assert!(partition.is_leader());
    assert_eq!(append(&partition), 0);
    assert!(Arc::ptr_eq(&replicas.partition_by_id(id, 1).unwrap(), &partition));
    assert_eq!(replicas.online_partitions().len(), 2);
    let more = CreatePartitionsTopic::default().with_name(topic_name("t")).with_count(3).with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![more]).with_timeout_ms(1_000);
    broker.services.controller.create_partitions(&request).unwrap();
    append(&replicas.partition_by_name("t", 2).unwrap());
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
    broker.services.controller.delete_topics(&delete, 5).unwrap();
    assert!(matches!(replicas.partition_by_name("t", 1), Err(ReplicaError::UnknownTopicOrPartition(_))));
    assert!(matches!(replicas.partition_by_id(id, 1), Err(ReplicaError::UnknownTopicId(_))));
    assert!(partition.is_stopped() && !partition.is_leader());
    assert_eq!(replicas.logs().logs().len(), 0);
    // The name may be used again at once, for another topic.
    let other = broker.create_topic("t", 1, &[]);
    assert_ne!(other, id);
    assert_eq!(append(&replicas.partition_by_name("t", 0).unwrap()), 0);
    assert_eq!(*heard.0.lock(), ["+t-0 0", "+t-1 0", "+t-2 0", "-t-0", "-t-1", "-t-2", "+t-0 0"]);
}

#[test]
fn a_topic_s_configuration_reaches_its_partitions() {
    let broker = TestBroker::new();
    broker.create_topic("t", 1, &[("max.message.bytes", "2000")]);
    let partition = broker.services.replicas.partition_by_name("t", 0).unwrap();
    assert_eq!(partition.log().config().max_message_bytes, 2_000);
    let config = AlterableConfig::default().with_name(text("max.message.bytes")).with_value(Some(text("80")));
    let resource =
        AlterConfigsResource::default().with_resource_type(2).with_resource_name(text("t")).with_configs(vec![config]);
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let response = broker.services.controller.alter_configs(&request).unwrap();
    assert_eq!(response.responses[0].error_code, 0);
    assert_eq!(partition.log().config().max_message_bytes, 80);
    let records = batch(BatchProperties::default(), 1, &["a longer value than fits"]);
    let refused = partition.append_records_to_leader(records, 1, AppendOrigin::Client, VerificationGuard::NONE, 1);
    assert!(matches!(refused, Err(ReplicaError::Validation(_))));
}

#[test]
fn logs_that_nobody_owns_are_put_aside_at_the_start() {
    let broker = TestBroker::new();
    let logs = broker.services.replicas.logs();
    let config = Arc::new(LogConfig::default());
    let orphan = TopicPartition::new("orphan", 0);
    logs.get_or_create(&orphan, Uuid::from_u128(5), config.clone()).unwrap();
    let id = broker.services.env.random.uuid();
    logs.get_or_create(&TopicPartition::new("kept", 0), id, config).unwrap();
    // A second manager over the same logs, as after a restart.
    let topic = broker.create_topic("owned", 1, &[]);
    append(&broker.services.replicas.partition_by_id(topic, 0).unwrap());
    let restarted = ReplicaManager::new(1, logs.clone(), broker.services.config.clone());
    broker.services.controller.subscribe(restarted.clone());
    assert!(logs.log(&orphan).is_none());
    let partition = restarted.partition_by_name("owned", 0).unwrap();
    assert_eq!((partition.high_watermark(), append(&partition)), (1, 1));
    let names: Vec<_> = broker.services.env.disk.read_dir("/data".as_ref()).unwrap();
    assert_eq!(names.iter().filter(|name| name.to_string_lossy().ends_with("-stray")).count(), 2);
}

#[test]
fn an_empty_log_without_its_id_after_a_power_cut_is_no_stray() {
    let broker = TestBroker::new();
    let logs = broker.services.replicas.logs();
    let topic = broker.create_topic("t", 1, &[]);
    let name = TopicPartition::new("t", 0);
    logs.delete_async(&name).unwrap();
    logs.get_or_create(&name, Uuid::nil(), Arc::new(LogConfig::default())).unwrap();
    let restarted = ReplicaManager::new(1, logs.clone(), broker.services.config.clone());
    broker.services.controller.subscribe(restarted.clone());
    assert_eq!(logs.log(&name).unwrap().topic_id(), topic);
    assert_eq!(append(&restarted.partition_by_name("t", 0).unwrap()), 0);
    let names: Vec<_> = broker.services.env.disk.read_dir("/data".as_ref()).unwrap();
    assert!(!names.iter().any(|name| name.to_string_lossy().ends_with("-stray")));
}

#[test]
fn a_partition_that_cannot_be_opened_is_offline_and_the_others_serve() {
    let broker = TestBroker::new();
    let logs = broker.services.replicas.logs();
    // In the way of the new topic: a log of another topic with its name.
    broker.create_topic("first", 1, &[]);
    logs.get_or_create(&TopicPartition::new("t", 0), Uuid::from_u128(5), Arc::new(LogConfig::default())).unwrap();
    broker.create_topic("t", 2, &[]);
    let replicas = &broker.services.replicas;
    assert!(matches!(replicas.partition_by_name("t", 0), Err(ReplicaError::Storage(_))));
    append(&replicas.partition_by_name("t", 1).unwrap());
}

#[test]
fn a_partition_that_found_no_room_serves_when_there_is_some() {
    let broker = TestBroker::new();
    let replicas = &broker.services.replicas;
    let heard = Arc::new(Heard::default());
    replicas.add_listener(heard.clone());
    broker.disk.fail(PlannedFault { calls: &[Call::Write], nth: 1, times: 1, failure: Failure::Full });
    broker.create_topic("t", 2, &[]);
    let refused = replicas.partition_by_name("t", 0).map(|_| ());
    assert!(matches!(refused, Err(ReplicaError::Storage(StorageError::DiskFull { .. }))), "{refused:?}");
    assert!(replicas.is_offline("t", 0) && replicas.has_anything_offline());
    append_as(&replicas.partition_by_name("t", 1).unwrap(), AppendOrigin::Coordinator);
    broker.run_tasks();
    broker.clock.advance(std::time::Duration::from_secs(1));
    broker.run_tasks();
    assert!(!replicas.is_offline("t", 0) && !replicas.has_anything_offline());
    assert_eq!(append(&replicas.partition_by_name("t", 0).unwrap()), 0);
    assert_eq!(*heard.0.lock(), ["+t-1 0", "+t-0 0"]);
}
