//! librdkafka's consumer without a group's help: where it starts, what it skips, when it wakes.
#![allow(clippy::disallowed_methods, reason = "the ban is the broker's")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::{
    Broker, Message, Producing, consume, consumer_config, create_topic, drain, produce, unique, wait_for,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(10);
const START: i64 = 1_700_000_000_000;

/// Records `0..count` in partition 0, ten a batch, a second apart.
fn numbered(bootstrap: &str, topic: &str, count: i64) -> Result<Vec<Message>> {
    let messages: Vec<Message> = (0..count)
        .map(|index| {
            Message::new(format!("{index}"), format!("value {index}")).to_partition(0).at(START + index * 1000)
        })
        .collect();
    produce(bootstrap, &[("batch.num.messages", "10")], topic, &messages)
}

fn assigned(bootstrap: &str, settings: &[(&str, &str)], topic: &str, offset: Offset) -> Result<BaseConsumer> {
    let mut config = consumer_config(bootstrap, &unique("assigned"));
    for (key, value) in settings {
        config.set(*key, *value);
    }
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, offset)?;
    consumer.assign(&assignment)?;
    Ok(consumer)
}

fn offsets(messages: &[Message]) -> Vec<i64> {
    messages.iter().map(|message| message.offset).collect()
}

/// The first outcome that is neither a record nor silence.
fn first_error(consumer: &BaseConsumer) -> Result<KafkaError> {
    let started = Instant::now();
    while started.elapsed() < TIMEOUT {
        match consumer.poll(Duration::from_millis(50)) {
            Some(Err(error)) => return Ok(error),
            Some(Ok(message)) => {
                anyhow::bail!("the record at {} instead of an error", rdkafka::Message::offset(&message))
            }
            None => {}
        }
    }
    anyhow::bail!("no error")
}

#[test]
fn reading_starts_where_it_is_told() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("start");
    create_topic(bootstrap, &topic, 1, &[])?;
    let sent = numbered(bootstrap, &topic, 100)?;
    assert_eq!(drain(&assigned(bootstrap, &[], &topic, Offset::Beginning)?, 100)?, sent);
    // In the middle of a batch, too.
    for start in [0, 1, 9, 10, 55, 99] {
        let read = drain(&assigned(bootstrap, &[], &topic, Offset::Offset(start))?, 100 - start as usize)?;
        assert_eq!(read, sent[start as usize..]);
    }
    let read = drain(&assigned(bootstrap, &[], &topic, Offset::OffsetTail(3))?, 3)?;
    assert_eq!(offsets(&read), [97, 98, 99]);

    let at_end = assigned(bootstrap, &[("enable.partition.eof", "true")], &topic, Offset::End)?;
    assert_eq!(first_error(&at_end)?, KafkaError::PartitionEOF(0));
    let more = produce(bootstrap, &[], &topic, &[Message::new("new", "new")])?;
    assert_eq!(drain(&at_end, 1)?, more);
    Ok(())
}

#[test]
fn seeking_goes_back_and_forth() -> Result<()> {
    let broker = Broker::start()?;
    let topic = unique("seek");
    create_topic(broker.bootstrap(), &topic, 1, &[])?;
    let sent = numbered(broker.bootstrap(), &topic, 100)?;
    let consumer = assigned(broker.bootstrap(), &[], &topic, Offset::Beginning)?;
    assert_eq!(drain(&consumer, 5)?, sent[..5]);
    for offset in [50, 3, 99, 0] {
        consumer.seek(&topic, 0, Offset::Offset(offset), TIMEOUT)?;
        assert_eq!(drain(&consumer, 1)?, [sent[offset as usize].clone()]);
    }
    consumer.seek(&topic, 0, Offset::Beginning, TIMEOUT)?;
    assert_eq!(drain(&consumer, 100)?, sent);
    let position = consumer.position()?;
    assert_eq!(position.find_partition(&topic, 0).context("assigned")?.offset(), Offset::Offset(100));
    Ok(())
}

#[test]
fn offsets_are_found_by_time() -> Result<()> {
    let broker = Broker::start()?;
    let topic = unique("times");
    create_topic(broker.bootstrap(), &topic, 1, &[])?;
    for codec in ["none", "zstd"] {
        let messages: Vec<Message> = (0..100)
            .map(|index| {
                Message::new(format!("{index}"), "v")
                    .at(START + index * 1000 + if codec == "zstd" { 100_000 } else { 0 })
            })
            .collect();
        produce(broker.bootstrap(), &[("compression.type", codec), ("batch.num.messages", "10")], &topic, &messages)?;
    }
    let consumer = assigned(broker.bootstrap(), &[], &topic, Offset::Beginning)?;
    let find = |timestamp: i64| -> Result<Offset> {
        let mut times = TopicPartitionList::new();
        times.add_partition_offset(&topic, 0, Offset::Offset(timestamp))?;
        let found = consumer.offsets_for_times(times, TIMEOUT)?;
        Ok(found.find_partition(&topic, 0).context("answered")?.offset())
    };
    for (timestamp, offset) in [
        (0, 0),
        (START, 0),
        (START + 1, 1),
        (START + 54_999, 55),
        (START + 55_000, 55),
        (START + 99_001, 100),
        (START + 170_500, 171),
        (START + 199_000, 199),
    ] {
        assert_eq!(find(timestamp)?, Offset::Offset(offset), "{timestamp}");
    }
    assert_eq!(find(START + 199_001)?, Offset::End);
    Ok(())
}

#[test]
fn an_offset_out_of_range_is_reset_or_reported() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("range");
    create_topic(bootstrap, &topic, 1, &[])?;
    let sent = numbered(bootstrap, &topic, 20)?;
    let beyond = Offset::Offset(1000);
    assert_eq!(drain(&assigned(bootstrap, &[("auto.offset.reset", "earliest")], &topic, beyond)?, 20)?, sent);

    let latest = [("auto.offset.reset", "latest"), ("enable.partition.eof", "true")];
    let consumer = assigned(bootstrap, &latest, &topic, beyond)?;
    assert_eq!(first_error(&consumer)?, KafkaError::PartitionEOF(0));
    assert_eq!(drain_after(bootstrap, &topic, &consumer)?.offset, 20);

    let consumer = assigned(bootstrap, &[("auto.offset.reset", "error")], &topic, beyond)?;
    let error = first_error(&consumer)?;
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::AutoOffsetReset), "{error}");
    Ok(())
}

fn drain_after(bootstrap: &str, topic: &str, consumer: &BaseConsumer) -> Result<Message> {
    produce(bootstrap, &[], topic, &[Message::new("later", "later")])?;
    drain(consumer, 1)?.pop().context("a record")
}

#[test]
fn small_fetches_make_progress() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("fetch");
    create_topic(bootstrap, &topic, 3, &[])?;
    // Batches of 500 KB, fetched by consumers that ask for less.
    let messages: Vec<Message> = (0..30)
        .map(|index| Message::new(format!("{index}"), vec![index as u8; 500_000]).to_partition(index % 3))
        .collect();
    let sent = produce(bootstrap, &[("batch.num.messages", "1")], &topic, &messages)?;
    for settings in [
        vec![("fetch.message.max.bytes", "1000")],
        vec![("fetch.message.max.bytes", "1"), ("fetch.max.bytes", "1000000"), ("message.max.bytes", "1000000")],
        vec![("fetch.max.bytes", "2000000"), ("message.max.bytes", "1000000")],
        vec![("fetch.min.bytes", "1000000"), ("fetch.wait.max.ms", "100")],
    ] {
        assert_eq!(consume(bootstrap, &settings, &topic, 3, 30)?, sent, "{settings:?}");
    }
    Ok(())
}

#[test]
fn paused_partitions_are_silent() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("pause");
    create_topic(bootstrap, &topic, 2, &[])?;
    let consumer: BaseConsumer = consumer_config(bootstrap, "pause").create()?;
    let mut both = TopicPartitionList::new();
    both.add_partition_offset(&topic, 0, Offset::Beginning)?;
    both.add_partition_offset(&topic, 1, Offset::Beginning)?;
    consumer.assign(&both)?;
    let mut paused = TopicPartitionList::new();
    paused.add_partition(&topic, 0);
    consumer.pause(&paused)?;
    let messages: Vec<Message> =
        (0..40).map(|index| Message::new(format!("{index}"), "v").to_partition(index % 2)).collect();
    produce(bootstrap, &[], &topic, &messages)?;
    let read = drain(&consumer, 20)?;
    assert!(read.iter().all(|message| message.partition == 1));
    ensure!(consumer.poll(Duration::from_millis(300)).is_none(), "the paused partition speaks");
    consumer.resume(&paused)?;
    assert!(drain(&consumer, 20)?.iter().all(|message| message.partition == 0));
    Ok(())
}

#[test]
fn a_waiting_fetch_is_woken_by_the_append() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("wake");
    create_topic(bootstrap, &topic, 1, &[])?;
    // The fetch would wait for 20 s by itself.
    let settings = [("fetch.wait.max.ms", "20000"), ("socket.timeout.ms", "60000")];
    let consumer = assigned(bootstrap, &settings, &topic, Offset::Beginning)?;
    ensure!(consumer.poll(Duration::from_millis(500)).is_none());
    let producing = Producing::new(bootstrap, &[("linger.ms", "0")])?;
    for index in 0..5 {
        let started = Instant::now();
        producing.send(&topic, &Message::new(format!("{index}"), "v"))?;
        assert_eq!(drain(&consumer, 1)?[0].offset, index);
        ensure!(started.elapsed() < Duration::from_secs(5), "woken after {:?}", started.elapsed());
    }
    Ok(())
}

#[test]
fn many_partitions_are_read_at_once() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("wide");
    create_topic(bootstrap, &topic, 60, &[])?;
    let messages: Vec<Message> =
        (0..3000).map(|index| Message::new(format!("{index}"), format!("{index}")).to_partition(index % 60)).collect();
    let sent = produce(bootstrap, &[("compression.type", "lz4")], &topic, &messages)?;
    assert_eq!(consume(bootstrap, &[], &topic, 60, 3000)?, sent);
    Ok(())
}

#[test]
fn read_committed_reads_what_no_transaction_touches() -> Result<()> {
    let broker = Broker::start()?;
    let topic = unique("isolation");
    create_topic(broker.bootstrap(), &topic, 1, &[])?;
    let sent = numbered(broker.bootstrap(), &topic, 50)?;
    for isolation in ["read_committed", "read_uncommitted"] {
        assert_eq!(consume(broker.bootstrap(), &[("isolation.level", isolation)], &topic, 1, 50)?, sent);
    }
    Ok(())
}

#[test]
fn a_topic_may_appear_after_its_consumer() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("later");
    let consumer: BaseConsumer = consumer_config(bootstrap, &unique("later"))
        .set("topic.metadata.refresh.interval.ms", "200")
        .set("allow.auto.create.topics", "false")
        .create()?;
    consumer.subscribe(&[&topic])?;
    let error = first_error(&consumer)?;
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::UnknownTopicOrPartition), "{error}");
    create_topic(bootstrap, &topic, 1, &[])?;
    let sent = produce(bootstrap, &[], &topic, &[Message::new("k", "v")])?;
    let mut read = Vec::new();
    wait_for("the record", || {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
            read.push(Message::of(&message));
        }
        Ok(!read.is_empty())
    })?;
    assert_eq!(read, sent);
    Ok(())
}

#[test]
fn metadata_describes_the_cluster() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let topics: BTreeMap<String, i32> = (1..=4).map(|partitions| (unique("meta"), partitions)).collect();
    for (topic, partitions) in &topics {
        create_topic(bootstrap, topic, *partitions, &[])?;
    }
    let consumer: BaseConsumer = consumer_config(bootstrap, "meta").create()?;
    let metadata = consumer.fetch_metadata(None, TIMEOUT)?;
    assert_eq!(metadata.brokers().len(), 1);
    let port: i32 = bootstrap.rsplit(':').next().context("a port")?.parse()?;
    assert_eq!(metadata.brokers()[0].port(), port);
    for (topic, partitions) in &topics {
        let found = metadata.topics().iter().find(|found| found.name() == topic).context("listed")?;
        let mut ids: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..*partitions).collect::<Vec<_>>());
        let broker = metadata.brokers()[0].id();
        assert!(found.partitions().iter().all(|partition| {
            partition.leader() == broker && partition.replicas() == [broker] && partition.isr() == [broker]
        }));
    }
    let unknown = consumer.fetch_metadata(Some("no-such-topic-and-none-made.."), TIMEOUT)?;
    assert!(unknown.topics()[0].error().is_some());
    Ok(())
}

#[test]
fn records_that_were_deleted_are_not_read() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("deleted");
    create_topic(bootstrap, &topic, 1, &[])?;
    let sent = numbered(bootstrap, &topic, 50)?;
    let (admin, options) = ottla_compat_tests::admin(bootstrap)?;
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic, 0, Offset::Offset(27))?;
    ottla_compat_tests::block_on(admin.delete_records(&before, &options))?;
    assert_eq!(drain(&assigned(bootstrap, &[], &topic, Offset::Beginning)?, 23)?, sent[27..]);
    assert_eq!(drain(&assigned(bootstrap, &[], &topic, Offset::Offset(3))?, 23)?, sent[27..], "reset to the earliest");
    let consumer: BaseConsumer = consumer_config(bootstrap, "marks").create()?;
    assert_eq!(consumer.fetch_watermarks(&topic, 0, TIMEOUT)?, (27, 50));
    Ok(())
}
