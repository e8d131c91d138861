//! The console over real sockets, of a broker in memory.
#![allow(clippy::disallowed_methods, reason = "tests of real sockets wait in real time")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, FindCoordinatorRequest, GroupId, OffsetCommitRequest, ProduceRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::broker::Broker;
use crate::client::{Client, http_get};
use crate::config::{StartInput, StartOptions};
use crate::record::{BatchBuilder, BatchProperties};
use crate::wire::str_bytes;

async fn broker(topics: &[&str]) -> Broker {
    let overrides = [
        "listeners=PLAINTEXT://127.0.0.1:0",
        "ottla.http.listeners=http://127.0.0.1:0",
        "offsets.topic.num.partitions=2",
    ];
    let input = StartInput {
        ephemeral: true,
        overrides: overrides.map(str::to_owned).to_vec(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..StartInput::default()
    };
    Broker::start(StartOptions::read(&input).expect("options")).await.expect("started")
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    http_get(address, "localhost", path).await.expect("an answer")
}

/// One request on a connection of its own: everything that comes back.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer
}

/// Series by name and labels, after a look at the format.
fn series(text: &str) -> BTreeMap<String, f64> {
    let mut families = BTreeSet::new();
    let mut current = String::new();
    let mut series = BTreeMap::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            current = head.split(' ').next().expect("a name").to_owned();
            assert!(families.insert(current.clone()), "{current} twice");
        } else if !line.starts_with("# HELP ") {
            let (key, value) = line.rsplit_once(' ').expect("a sample");
            let name = key.split('{').next().expect("a name");
            let is_of_family =
                ["", "_bucket", "_sum", "_count"].iter().any(|suffix| name == format!("{current}{suffix}"));
            assert!(is_of_family, "{name} below {current}");
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(series.insert(key.to_owned(), value).is_none(), "{key} twice");
        }
    }
    assert!(text.ends_with('\n'));
    series
}

#[tokio::test]
async fn before_the_broker_is_ready_it_says_so() {
    let env = Env::ephemeral(tokio::runtime::Handle::current());
    let listener = Listener::bind("127.0.0.1:0".parse().expect("an address"), 5).expect("bound");
    let console = Console::start(&env, vec![listener]);
    let address = console.addresses()[0];
    let (code, body) = get(address, "/health/live").await;
    assert_eq!((code, body.contains("\"UP\"")), (200, true), "{body}");
    let (code, body) = get(address, "/health/ready").await;
    assert_eq!((code, body.contains("\"DOWN\"") && body.contains("\"starting\"")), (503, true), "{body}");
    assert_eq!(get(address, "/metrics").await.0, 503);
    let (code, body) = get(address, "/status").await;
    assert_eq!((code, body.contains("\"starting\"")), (200, true), "{body}");
    console.shutdown().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_broker_is_ready_and_one_that_stops_is_not() {
    let broker = broker(&[]).await;
    let address = broker.console_addresses()[0];
    assert_eq!(get(address, "/health/ready").await.0, 200);
    assert_eq!(get(address, "/health").await.0, 200);
    assert_eq!(get(address, "/").await.0, 200);
    assert_eq!(get(address, "/nowhere").await.0, 404);
    let status: serde_json::Value = serde_json::from_str(&get(address, "/status").await.1).expect("JSON");
    assert_eq!((&status["phase"], &status["nodeId"]), (&"running".into(), &1.into()), "{status}");
    let head = exchange(address, "HEAD /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let refused = exchange(address, "POST /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.to_lowercase().contains("allow: get, head"), "{refused}");
    let broken = exchange(address, "\u{1}\u{2}\r\n\r\n").await;
    assert!(broken.is_empty() || broken.starts_with("HTTP/1.1 400 "), "{broken}");
    let endless = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(MAX_HEAD_BYTES));
    let refused = exchange(address, &endless).await;
    assert!(refused.starts_with("HTTP/1.1 4"), "{refused}");
    broker.console.stopping();
    let (code, body) = get(address, "/health/ready").await;
    assert_eq!((code, body.contains("stopping")), (503, true), "{body}");
    assert_eq!(get(address, "/health/live").await.0, 200);
    broker.shutdown().await.expect("stopped");
    assert!(TcpStream::connect(address).await.is_err());
}

async fn use_the_broker(broker: &Broker) {
    let mut client = Client::connect(broker.address()).await.expect("connected");
    client.call(0, &ApiVersionsRequest::default()).await.expect("versions");
    let mut batch = BatchBuilder::new(BatchProperties::default());
    for value in ["a", "b", "c"] {
        batch.append(1_700_000_000_000, None, Some(value.as_bytes()), &[]).expect("a record");
    }
    let records: Bytes = batch.build();
    let produce = |index: i32| {
        let partition = PartitionProduceData::default().with_index(index).with_records(Some(records.clone()));
        let topic =
            TopicProduceData::default().with_name(str_bytes("many").into()).with_partition_data(vec![partition]);
        ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic])
    };
    for index in [0, 0, 7, 700] {
        client.call(9, &produce(index)).await.expect("produced");
    }
    let find = FindCoordinatorRequest::default().with_key(str_bytes("g"));
    assert_eq!(client.call(2, &find).await.expect("found").error_code, 0);
    let partition = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(2);
    let topic =
        OffsetCommitRequestTopic::default().with_name(str_bytes("many").into()).with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(str_bytes("g\"1\\")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let response = client.call(8, &commit).await.expect("committed");
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_tells_of_topics_groups_requests_and_the_process() {
    let broker = broker(&["many:600"]).await;
    let address = broker.console_addresses()[0];
    use_the_broker(&broker).await;
    let (code, text) = get(address, "/metrics").await;
    assert_eq!(code, 200);
    assert!(text.len() > 4 * PIECE_BYTES, "{}", text.len());
    let series = series(&dechunked(&text));
    let value = |key: &str| *series.get(key).unwrap_or_else(|| panic!("no {key}"));
    for (key, expected) in [
        ("kafka_server_brokertopicmetrics_messagesin_total", 9.0),
        ("kafka_server_brokertopicmetrics_messagesin_total{topic=\"many\"}", 9.0),
        ("kafka_server_brokertopicmetrics_totalproducerequests_total", 4.0),
        ("kafka_server_brokertopicmetrics_totalproducerequests_total{topic=\"many\"}", 3.0),
        ("kafka_server_brokertopicmetrics_failedproducerequests_total", 1.0),
        ("kafka_server_replicamanager_partitioncount", 602.0),
        ("kafka_server_replicamanager_leadercount", 602.0),
        ("kafka_server_replicamanager_underreplicatedpartitions", 0.0),
        ("kafka_controller_kafkacontroller_offlinepartitionscount", 0.0),
        ("kafka_topic_partitions{topic=\"many\"}", 600.0),
        ("kafka_topic_partition_current_offset{topic=\"many\",partition=\"0\"}", 6.0),
        ("kafka_topic_partition_current_offset{topic=\"many\",partition=\"599\"}", 0.0),
        ("kafka_log_log_logendoffset{topic=\"many\",partition=\"7\"}", 3.0),
        ("kafka_cluster_partition_underminisr{topic=\"many\",partition=\"7\"}", 0.0),
        ("kafka_consumergroup_current_offset{consumergroup=\"g\\\"1\\\\\",topic=\"many\",partition=\"0\"}", 2.0),
        ("kafka_consumergroup_lag{consumergroup=\"g\\\"1\\\\\",topic=\"many\",partition=\"0\"}", 4.0),
        ("kafka_consumergroup_lag_sum{consumergroup=\"g\\\"1\\\\\",topic=\"many\"}", 4.0),
        ("kafka_consumergroup_members{consumergroup=\"g\\\"1\\\\\"}", 0.0),
        ("kafka_coordinator_group_groupmetadatamanager_numgroupsempty", 1.0),
        ("kafka_network_requestmetrics_requests_total{request=\"Produce\",version=\"9\"}", 4.0),
        ("kafka_network_requestmetrics_totaltimems_count{request=\"OffsetCommit\"}", 1.0),
        ("ottla_request_duration_seconds_bucket{request=\"Produce\",le=\"+Inf\"}", 4.0),
        ("ottla_requests_total", 7.0),
        ("kafka_brokers", 1.0),
    ] {
        assert!((value(key) - expected).abs() < 1e-9, "{key} is {}", value(key));
    }
    let listener = format!("{{listener=\"PLAINTEXT-{}\",networkProcessor=\"0\"}}", broker.address().port());
    assert!(value(&format!("kafka_server_socket_server_metrics_connection_creation_total{listener}")) >= 1.0);
    assert!(value("kafka_network_requestmetrics_totaltimems{request=\"Produce\",quantile=\"0.99\"}") > 0.0);
    assert!(value("kafka_log_log_size{topic=\"many\",partition=\"0\"}") > 100.0);
    let idle = value("kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent");
    assert!((0.0..=1.0).contains(&idle), "{idle}");
    #[cfg(target_os = "linux")]
    assert!(value("process_resident_memory_bytes") > 1e6 && value("process_start_time_seconds") > 1.6e9);
    broker.shutdown().await.expect("stopped");
}

/// A body without the lengths of its chunks.
fn dechunked(body: &str) -> String {
    let (mut rest, mut text) = (body, String::new());
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        text.push_str(&after[..length]);
        rest = &after[length + 2..];
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_scrapes_run_at_a_time() {
    let broker = broker(&[]).await;
    let shared = &broker.console.shared;
    let scrape = || http::answer(shared, &hyper::Method::GET, "/metrics");
    let running: Vec<_> = (0..MAX_SCRAPES).map(|_| scrape()).collect();
    assert!(running.iter().all(|answer| answer.status() == 200));
    assert_eq!(scrape().status(), 503);
    drop(running);
    assert_eq!(scrape().status(), 200);
    broker.shutdown().await.expect("stopped");
}
