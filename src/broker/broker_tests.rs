//! A whole broker within the process.
#![allow(clippy::disallowed_methods, reason = "tests of real sockets wait in real time")]

use bytes::Bytes;
use futures_util::FutureExt;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest};

use super::*;
use crate::api::registry::{API_VERSIONS_KEY, APIS};
use crate::client::Client;
use crate::config::StartInput;
use crate::record::{BatchBuilder, BatchIterator, BatchProperties};
use crate::wire::str_bytes;

const UNSUPPORTED_VERSION: i16 = 35;

fn options(data: Option<&std::path::Path>, topics: &[&str], overrides: &[&str]) -> StartOptions {
    let listeners = "listeners=PLAINTEXT://127.0.0.1:0";
    let input = StartInput {
        ephemeral: data.is_none(),
        data: data.map(|path| path.display().to_string()),
        overrides: [listeners].iter().chain(overrides).map(|text| (*text).to_owned()).collect(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..StartInput::default()
    };
    StartOptions::read(&input).expect("options")
}

async fn start(data: Option<&std::path::Path>, topics: &[&str]) -> Broker {
    Broker::start(options(data, topics, &[])).await.expect("started")
}

async fn connect(broker: &Broker) -> Client {
    Client::connect(broker.address()).await.expect("connected")
}

fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchProperties::default());
    for value in values {
        builder.append(1_700_000_000_000, None, Some(value.as_bytes()), &[]).expect("a record");
    }
    builder.build()
}

async fn produce(client: &mut Client, topic: &str, values: &[&str]) -> (i16, i64) {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(batch(values)));
    let data = TopicProduceData::default().with_name(str_bytes(topic).into()).with_partition_data(vec![partition]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![data]);
    let response = client.call(9, &request).await.expect("an answer");
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

/// Error code, high watermark and the base offsets of the batches from `offset` on.
async fn fetch(client: &mut Client, topic: &str, offset: i64) -> (i16, i64, Vec<i64>) {
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1_000_000);
    let topic = FetchTopic::default().with_topic(str_bytes(topic).into()).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_wait_ms(0)
        .with_max_bytes(1_000_000)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let response = client.call(12, &request).await.expect("an answer");
    let partition = &response.responses[0].partitions[0];
    let records = partition.records.clone().unwrap_or_default();
    let offsets = BatchIterator::new(&records).map(|batch| batch.expect("a batch").0.base_offset).collect();
    (partition.error_code, partition.high_watermark, offsets)
}

#[tokio::test]
async fn api_versions_is_the_registry_in_every_version() {
    let broker = start(None, &[]).await;
    let mut client = connect(&broker).await;
    let request = ApiVersionsRequest::default()
        .with_client_software_name(str_bytes("test"))
        .with_client_software_version(str_bytes("1.0"));
    for version in 0..=4 {
        let response = client.call(version, &request).await.expect("an answer");
        assert_eq!((response.error_code, response.api_keys.len()), (0, APIS.len()), "v{version}");
        let features = response.finalized_features.iter().map(|feature| feature.name.as_str()).collect::<Vec<_>>();
        assert_eq!(features, if version >= 3 { &["metadata.version", "transaction.version"][..] } else { &[] });
        // KAFKA-17011: what may be 0 is hidden from clients that cannot read it.
        let supported =
            response.supported_features.iter().any(|feature| feature.name.as_str() == "transaction.version");
        assert_eq!(supported, version >= 4, "v{version}");
    }
    let id = client.send_raw(API_VERSIONS_KEY, 99, 2, &[]).await.expect("sent");
    let response = client.receive::<ApiVersionsRequest>(0, id).await.expect("an answer");
    assert_eq!((response.error_code, response.api_keys.len()), (UNSUPPORTED_VERSION, 1));
    broker.shutdown().await.expect("stopped");
}

#[tokio::test]
async fn declared_topics_take_records_and_keep_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let broker = start(Some(&data), &["t:2:max.message.bytes=1000"]).await;
    let mut client = connect(&broker).await;
    assert_eq!(produce(&mut client, "t", &["a", "b"]).await, (0, 0));
    assert_eq!(produce(&mut client, "t", &["c"]).await, (0, 2));
    assert_eq!(produce(&mut client, "t", &[&"x".repeat(2000)]).await.0, ResponseError::MessageTooLarge.code());
    assert_eq!(fetch(&mut client, "t", 0).await, (0, 3, vec![0, 2]));
    let cluster_id = broker.cluster_id().to_owned();
    broker.shutdown().await.expect("stopped");

    let broker = start(Some(&data), &["t", "u"]).await;
    assert_eq!(broker.cluster_id(), cluster_id);
    let mut client = connect(&broker).await;
    assert_eq!(fetch(&mut client, "t", 1).await, (0, 3, vec![0, 2]));
    assert_eq!(produce(&mut client, "t", &["d"]).await, (0, 3));
    assert_eq!(produce(&mut client, "u", &["d"]).await, (0, 0));
    assert_eq!(produce(&mut client, "nothing", &["d"]).await.0, ResponseError::UnknownTopicOrPartition.code());
    broker.shutdown().await.expect("stopped");
}

#[tokio::test]
async fn what_a_user_can_do_wrong_is_said_in_one_message() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = start(Some(directory.path()), &[]).await;
    let error = Broker::start(options(Some(directory.path()), &[], &[])).await.err().expect("refused");
    assert!(matches!(error, BrokerError::Storage(_)), "{error}");
    let listeners = format!("listeners=PLAINTEXT://{}", broker.address());
    let error = Broker::start(options(None, &[], &[&listeners])).await.err().expect("refused");
    assert!(error.to_string().contains("already in use"), "{error}");
    let error = Broker::start(options(None, &[], &["listeners=PLAINTEXT://no.such.host.invalid:0"])).await;
    assert!(error.err().expect("refused").to_string().contains("no.such.host.invalid has no address"));
    broker.shutdown().await.expect("stopped");
}

/// KAFKA-10101 and its kin: a start that fails late has not used up the marker of the clean stop before it.
#[tokio::test]
async fn kafka_10101_a_start_that_fails_leaves_the_marker_of_the_clean_stop() {
    let data = tempfile::tempdir().expect("a directory");
    let marker = data.path().join(".kafka_cleanshutdown");
    let broker = start(Some(data.path()), &["t", "a.b"]).await;
    assert!(!marker.exists());
    assert_eq!(produce(&mut connect(&broker).await, "t", &["a"]).await, (0, 0));
    broker.shutdown().await.expect("stopped");
    let before = std::fs::read(&marker).expect("a marker");
    let other = start(None, &[]).await;
    let taken = format!("listeners=PLAINTEXT://{}", other.address());
    // Its metrics would be those of the other.
    let bad_topic = ["a_b"];
    for options in [options(Some(data.path()), &[], &[&taken]), options(Some(data.path()), &bad_topic, &[])] {
        assert!(Broker::start(options).await.is_err());
        assert_eq!(std::fs::read(&marker).expect("a marker"), before);
    }
    other.shutdown().await.expect("stopped");
    let broker = start(Some(data.path()), &[]).await;
    assert_eq!(fetch(&mut connect(&broker).await, "t", 0).await, (0, 1, vec![0]));
    broker.shutdown().await.expect("stopped");
}

/// `ReplicaManager.handleLogDirFailure`: a log directory that fails takes its partitions along, the metadata's ends the process.
#[tokio::test]
async fn a_failed_log_directory_leaves_the_others_and_the_last_one_ends_the_broker() {
    let handle = tokio::runtime::Handle::current();
    let real = Env::real(handle);
    let disk = crate::env::MemoryDisk::new(real.clock.clone());
    let env = Env { disk: Arc::new(disk.clone()), ..real };
    let directories = "log.dirs=/a,/b";
    let broker = Broker::start_in(env, options(None, &["t:2"], &[directories])).await.expect("started");
    let mut client = connect(&broker).await;
    let first = broker.logs.directories().next().expect("a directory").path().to_owned();
    let lost: Vec<i32> = (broker.logs.logs().iter())
        .filter(|log| log.log_directory().path() != first)
        .map(|log| log.topic_partition().partition)
        .collect();
    let [lost] = lost[..] else { panic!("one partition each: {lost:?}") };
    let in_lost = broker.logs.log(&crate::types::TopicPartition::new("t", lost)).expect("its log");
    let write = |log: &Arc<crate::storage::Log>| {
        disk.set_fault(Some(crate::env::Fault::Write));
        let append = log.append_records(batch(&["x"]), 0, crate::storage::AppendOrigin::Client, 0);
        disk.set_fault(None);
        append.expect_err("the disk fails")
    };
    write(&in_lost);
    assert!(broker.failed().now_or_never().is_none());
    let response = client.call(12, &MetadataRequest::default().with_topics(None)).await.expect("an answer");
    for partition in &response.topics[0].partitions {
        let described = (partition.error_code, partition.leader_id.0, partition.offline_replicas.len());
        let expected = if partition.partition_index == lost { (5, -1, 1) } else { (0, 1, 0) };
        assert_eq!(described, expected, "partition {}", partition.partition_index);
    }
    let in_first = broker.logs.log(&crate::types::TopicPartition::new("t", 1 - lost)).expect("its log");
    write(&in_first);
    let error = broker.failed().await.to_string();
    assert!(error.contains("all log dirs in /a, /b have failed"), "{error}");
}

#[test]
fn a_stopped_broker_leaves_nothing_running() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let weak = runtime.block_on(async {
        let broker = start(None, &["t"]).await;
        let mut client = connect(&broker).await;
        assert_eq!(produce(&mut client, "t", &["a"]).await, (0, 0));
        let weak = Arc::downgrade(&broker.logs);
        broker.shutdown().await.expect("stopped");
        weak
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    assert!(weak.upgrade().is_none(), "somebody keeps the logs");
}

#[tokio::test]
async fn clients_are_told_the_address_that_they_reached_or_the_advertised_one() {
    async fn told(broker: &Broker) -> (String, i32) {
        let response = connect(broker).await.call(9, &MetadataRequest::default()).await.expect("an answer");
        let node = response.brokers.first().expect("a broker");
        assert_eq!((response.brokers.len(), node.node_id), (1, response.controller_id));
        (node.host.to_string(), node.port)
    }
    let broker = start(None, &[]).await;
    assert_eq!(told(&broker).await, ("127.0.0.1".to_owned(), i32::from(broker.address().port())));
    broker.shutdown().await.expect("stopped");

    let advertised = "advertised.listeners=PLAINTEXT://broker.example:29092";
    let broker = Broker::start(options(None, &[], &[advertised])).await.expect("started");
    assert_eq!(told(&broker).await, ("broker.example".to_owned(), 29092));
    broker.shutdown().await.expect("stopped");

    // Everywhere, both families: each client gets what it can use.
    let broker = Broker::start(options(None, &[], &["listeners=PLAINTEXT://:0"])).await.expect("started");
    let port = broker.address().port();
    let mut client = Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.expect("connected");
    let response = client.call(9, &MetadataRequest::default()).await.expect("an answer");
    assert_eq!(response.brokers[0].host.as_str(), "127.0.0.1");
    broker.shutdown().await.expect("stopped");
}
