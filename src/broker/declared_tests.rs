//! Declared topics and seeds in a whole broker.
#![allow(clippy::disallowed_methods, reason = "tests of the real disk")]

use std::path::Path;

use super::*;
use crate::broker::Broker;
use crate::config::{StartInput, StartOptions};
use crate::record::{BatchIterator, records};
use crate::replica::ReadRequest;
use crate::storage::FetchIsolation;

/// Starts with these topics and this seed file.
async fn start(data: &Path, topics: &[&str], seeds: &str) -> Result<Broker, BrokerError> {
    let input = StartInput {
        data: Some(data.display().to_string()),
        overrides: vec!["listeners=PLAINTEXT://127.0.0.1:0".to_owned()],
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..StartInput::default()
    };
    let mut options = StartOptions::read(&input).expect("options");
    options.add_seeds(&[("seeds".to_owned(), seeds.to_owned())]).expect("seeds");
    Broker::start(options).await
}

/// Key, value and timestamp of all records of a partition.
fn content(broker: &Broker, topic: &str, partition: i32) -> Vec<(Option<String>, Option<String>, i64)> {
    let partition = broker.services.replicas.partition_by_name(topic, partition).expect("a partition");
    let request = ReadRequest {
        fetch_offset: 0,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        max_bytes: 1 << 20,
        isolation: FetchIsolation::HighWatermark,
        min_one_message: true,
    };
    let read = partition.read(&request).expect("read");
    let bytes = read.records.map(|slice| slice.read().expect("bytes")).unwrap_or_default();
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let mut found = Vec::new();
    for batch in BatchIterator::new(&bytes) {
        for record in records(batch.expect("a batch").1, 1 << 20).expect("records").iter() {
            let record = record.expect("a record");
            found.push((text(record.key), text(record.value), record.timestamp));
        }
    }
    found
}

const SEEDS: &str = concat!(
    r#"{"topic":"orders","key":"a","value":{"n":1},"timestamp":5}"#,
    "\n",
    r#"{"topic":"orders","partition":2,"value":null,"key":"gone","timestamp":6}"#,
    "\n",
    r#"{"topic":"loose","value":"1","timestamp":7}"#,
    "\n",
    r#"{"topic":"loose","value":"2","timestamp":8}"#,
);

#[tokio::test]
async fn seeds_are_there_once() {
    let data = tempfile::tempdir().expect("a directory");
    for _ in 0..2 {
        let broker = start(data.path(), &["orders:3:cleanup.policy=compact"], SEEDS).await.expect("started");
        let some = |text: &str| Some(text.to_owned());
        // Java's producer sends the key "a" to partition 0 of 3.
        let of_a = i32::try_from(partition_for_key(b"a", 3)).expect("small");
        assert_eq!(content(&broker, "orders", of_a)[0], (some("a"), some(r#"{"n":1}"#), 5));
        assert_eq!(content(&broker, "orders", 2).last(), Some(&(some("gone"), None, 6)));
        let all: usize = (0..3).map(|partition| content(&broker, "orders", partition).len()).sum();
        assert_eq!(all, 2);
        assert_eq!(content(&broker, "loose", 0), [(None, some("1"), 7), (None, some("2"), 8)]);
        broker.shutdown().await.expect("stopped");
    }
}

#[tokio::test]
async fn seeds_that_cannot_be_written_leave_no_topic() {
    let data = tempfile::tempdir().expect("a directory");
    let topics = ["small:1:max.message.bytes=200", "other:1"];
    let line = |size: usize| format!("{{\"topic\":\"small\",\"value\":\"{}\"}}\n", "x".repeat(size));
    let seeds = (0..10).map(|_| line(50)).collect::<String>();
    let error = start(data.path(), &topics, &format!("{seeds}{}", line(300))).await.err().expect("refused").to_string();
    assert!(error.starts_with("seeds:11: this record"), "{error}");
    let broker = start(data.path(), &topics, &seeds).await.expect("started");
    assert_eq!(content(&broker, "small", 0).len(), 10);
    broker.shutdown().await.expect("stopped");
}

#[tokio::test]
async fn records_without_a_key_go_round() {
    let data = tempfile::tempdir().expect("a directory");
    let seeds: String = (0..7).map(|value| format!("{{\"topic\":\"t\",\"value\":{value}}}\n")).collect();
    let broker = start(data.path(), &["t:3"], &seeds).await.expect("started");
    let counts: Vec<usize> = (0..3).map(|partition| content(&broker, "t", partition).len()).collect();
    assert_eq!(counts, [3, 2, 2]);
    broker.shutdown().await.expect("stopped");
}

#[test]
fn a_difference_names_both() {
    let declared = DeclaredTopic {
        name: "t".to_owned(),
        partitions: Some(12),
        configs: [("retention.ms", "7"), ("cleanup.policy", "compact"), ("segment.ms", "1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        place: "--topic t".to_owned(),
        is_implied: false,
    };
    let has: BTreeMap<String, String> = [("retention.ms", "5"), ("cleanup.policy", "compact"), ("flush.ms", "9")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let topic = TopicImage { name: "t".into(), id: crate::types::Uuid::nil(), partitions: Vec::new() };
    assert_eq!(
        differences(&declared, &topic, &has),
        [
            "it has 0 partitions, declared are 12",
            "retention.ms is 5, declared is 7",
            "segment.ms is not set, declared is 1",
            "flush.ms is 9, declared is nothing",
        ]
    );
    let implied = DeclaredTopic { is_implied: true, partitions: None, configs: BTreeMap::new(), ..declared };
    assert!(differences(&implied, &topic, &has).is_empty());
}

#[test]
fn many_topics_are_more_than_one_request() {
    let sizes = |partitions: Option<i32>, num_partitions: i32| -> Vec<usize> {
        let topic = |number: usize| DeclaredTopic::new(&format!("t{number}"), partitions, "x").expect("a topic");
        let topics: Vec<DeclaredTopic> = (0..5).map(topic).collect();
        let requests = requests(&topics.iter().collect::<Vec<_>>(), num_partitions);
        requests.iter().map(|request| request.topics.len()).collect()
    };
    assert_eq!(sizes(Some(2_000), 1), [2, 2, 1]);
    assert_eq!(sizes(None, 2_000), [2, 2, 1], "num.partitions counts where none are declared");
    assert_eq!(sizes(None, 1), [5]);
}

/// The controller takes 10,000 in one request.
#[tokio::test]
async fn more_partitions_are_declared_than_one_request_may_create() {
    let input = StartInput {
        ephemeral: true,
        overrides: ["listeners=PLAINTEXT://127.0.0.1:0", "num.partitions=1700"].map(str::to_owned).into(),
        topics: (0..6).map(|number| format!("t{number}")).collect(),
        ..StartInput::default()
    };
    let broker = Broker::start(StartOptions::read(&input).expect("options")).await.expect("started");
    let image = broker.services.controller.image();
    for topic in input.topics {
        assert_eq!(image.topics.topic(&topic).expect("created").partitions.len(), 1_700, "{topic}");
    }
    broker.shutdown().await.expect("stopped");
}
