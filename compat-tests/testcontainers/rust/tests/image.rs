//! Our image under testcontainers-modules' `apache::Kafka`.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message};
use testcontainers_modules::kafka::apache::{KAFKA_PORT, Kafka};
use testcontainers_modules::testcontainers::ImageExt;
use testcontainers_modules::testcontainers::runners::SyncRunner;

const TIMEOUT: Duration = Duration::from_secs(20);

fn client(bootstrap: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config
}

fn read(bootstrap: &str, topic: &str, count: usize) -> Vec<String> {
    let group = format!("readers-of-{topic}");
    let settings = [("group.id", group.as_str()), ("auto.offset.reset", "earliest"), ("isolation.level", "read_committed")];
    let consumer: BaseConsumer = client(bootstrap, &settings).create().expect("a consumer");
    consumer.subscribe(&[topic]).expect("subscribed");
    let (mut values, end) = (Vec::new(), Instant::now() + TIMEOUT);
    while values.len() < count {
        assert!(Instant::now() < end, "{} of {count} records within {TIMEOUT:?}", values.len());
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            let message = message.expect("a record");
            values.push(String::from_utf8(message.payload().expect("a value").to_vec()).expect("text"));
        }
    }
    consumer.commit_consumer_state(CommitMode::Sync).expect("committed");
    values
}

fn send(producer: &BaseProducer, topic: &str, values: &[String]) {
    for value in values {
        producer.send(BaseRecord::<(), str>::to(topic).payload(value)).map_err(|(error, _)| error).expect("queued");
    }
    producer.flush(TIMEOUT).expect("acknowledged");
}

#[test]
fn the_image_takes_the_place_of_apache_kafka() {
    let image = std::env::var("OTTLA_IMAGE").expect("OTTLA_IMAGE");
    let (name, tag) = image.split_once(':').expect("name:tag");
    let kafka = Kafka::default().with_name(name).with_tag(tag).start().expect("started");
    let bootstrap = format!("127.0.0.1:{}", kafka.get_host_port_ipv4(KAFKA_PORT).expect("a port"));

    let numbers: Vec<String> = (0..1000).map(|number| format!("{number:03}")).collect();
    send(&client(&bootstrap, &[]).create().expect("a producer"), "numbers", &numbers);
    let mut seen = read(&bootstrap, "numbers", numbers.len());
    seen.sort();
    assert_eq!(seen, numbers);

    // What is aborted comes first: a reader that saw it would count it among the ten.
    let producer: BaseProducer = client(&bootstrap, &[("transactional.id", "one")]).create().expect("a producer");
    producer.init_transactions(TIMEOUT).expect("initialized");
    for decision in ["abort", "commit"] {
        producer.begin_transaction().expect("begun");
        send(&producer, "transactions", &vec![decision.to_owned(); 10]);
        match decision {
            "commit" => producer.commit_transaction(TIMEOUT).expect("committed"),
            _ => producer.abort_transaction(TIMEOUT).expect("aborted"),
        }
    }
    assert_eq!(read(&bootstrap, "transactions", 10), vec!["commit".to_owned(); 10]);
}
