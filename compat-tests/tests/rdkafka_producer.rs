//! librdkafka's producer: what is sent is what is read, byte for byte; what must be refused is refused.
#![allow(clippy::disallowed_methods, reason = "the ban is the broker's")]

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use ottla_compat_tests::{Broker, Message, Producing, client_config, consume, create_topic, produce, unique, wait_for};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

/// Records of every shape: null and empty keys and values, repeated header keys, bytes that are no text, sizes from nothing to 20 KB.
fn shapes(count: usize) -> Vec<Message> {
    let start = now();
    let mut state = 0x9e37_79b9_u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    (0..count)
        .map(|index| {
            let mut bytes = |limit: usize| -> Vec<u8> {
                let (length, narrow) = (random() % limit, random() % 2 == 0);
                (0..length).map(|_| if narrow { b'a' + (random() % 4) as u8 } else { random() as u8 }).collect()
            };
            let mut message = Message::new(bytes(30), bytes(if index % 50 == 0 { 20_000 } else { 300 }));
            match index % 7 {
                0 => message.key = None,
                1 => message.value = None,
                2 => (message.key, message.value) = (Some(Vec::new()), Some(Vec::new())),
                3 => {
                    message.headers = vec![
                        ("trace".into(), Some(bytes(20))),
                        ("trace".into(), None),
                        ("trace".into(), Some(Vec::new())),
                        ("größe".into(), Some(vec![0xff, 0, 0xfe])),
                    ];
                }
                _ => {}
            }
            message.at(start - count as i64 + index as i64)
        })
        .collect()
}

fn contents(messages: &[Message]) -> Vec<(i64, Message)> {
    let plain = |message: &Message| Message { partition: 0, offset: 0, timestamp: 0, ..message.clone() };
    messages.iter().map(|message| (message.timestamp, plain(message))).collect()
}

#[test]
fn every_codec_and_acks_round_trip() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    for codec in CODECS {
        let topic = unique("codec");
        create_topic(bootstrap, &topic, 1, &[])?;
        let mut sent = Vec::new();
        for acks in ["0", "1", "all"] {
            let messages: Vec<Message> = shapes(210).into_iter().map(|message| message.to_partition(0)).collect();
            let delivered = produce(bootstrap, &[("compression.type", codec), ("acks", acks)], &topic, &messages)?;
            if acks != "0" {
                let offsets: Vec<i64> = delivered.iter().map(|message| message.offset).collect();
                let first = sent.len() as i64;
                assert_eq!(offsets, (first..first + 210).collect::<Vec<_>>(), "{codec}, acks={acks}");
            }
            sent.extend(messages);
        }
        let read = consume(bootstrap, &[("check.crcs", "true")], &topic, 1, sent.len())?;
        assert_eq!(contents(&read), contents(&sent), "{codec}");
        assert_eq!(read.iter().map(|message| message.offset).collect::<Vec<_>>(), (0..630).collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn the_broker_recompresses_as_the_topic_says() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    for target in ["uncompressed", "gzip", "snappy", "lz4", "zstd"] {
        let topic = unique("recompress");
        create_topic(bootstrap, &topic, 1, &[("compression.type", target)])?;
        let mut sent = Vec::new();
        for codec in CODECS {
            let messages = shapes(60);
            produce(bootstrap, &[("compression.type", codec)], &topic, &messages)?;
            sent.extend(messages);
        }
        assert_eq!(
            contents(&consume(bootstrap, &[("check.crcs", "true")], &topic, 1, sent.len())?),
            contents(&sent),
            "{target}"
        );
    }
    Ok(())
}

#[test]
fn timestamps_are_the_producer_s_or_the_broker_s() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let (created, appended, bounded) = (unique("created"), unique("appended"), unique("bounded"));
    create_topic(bootstrap, &created, 1, &[])?;
    create_topic(bootstrap, &appended, 1, &[("message.timestamp.type", "LogAppendTime")])?;
    create_topic(bootstrap, &bounded, 1, &[("message.timestamp.before.max.ms", "60000")])?;
    let long_ago = Message::new("k", "v").at(1_234_567_890_123);
    for codec in CODECS {
        let settings = [("compression.type", codec)];
        let delivered = produce(bootstrap, &settings, &created, std::slice::from_ref(&long_ago))?;
        assert_eq!(delivered[0].timestamp, 1_234_567_890_123);
        let before = now();
        let delivered = produce(bootstrap, &settings, &appended, std::slice::from_ref(&long_ago))?;
        assert!((before..=now()).contains(&delivered[0].timestamp), "{codec}: {}", delivered[0].timestamp);
        for (topic, timestamp) in [(&bounded, now() - 120_000), (&created, now() + 2 * 3_600_000)] {
            let producing = Producing::new(bootstrap, &settings)?;
            producing.send(topic, &Message::new("k", "v").at(timestamp))?;
            assert_eq!(producing.flush()?, [Err(RDKafkaErrorCode::InvalidTimestamp)], "{codec}");
        }
    }
    let stamps: BTreeSet<i64> =
        consume(bootstrap, &[], &created, 1, 5)?.iter().map(|message| message.timestamp).collect();
    assert_eq!(stamps, BTreeSet::from([1_234_567_890_123]));
    let read = consume(bootstrap, &[], &appended, 1, 5)?;
    assert!(read.iter().all(|message| message.timestamp > now() - 60_000));
    Ok(())
}

#[test]
fn keys_choose_the_partition() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    for partitioner in
        ["consistent", "consistent_random", "murmur2", "murmur2_random", "fnv1a", "fnv1a_random", "random"]
    {
        let topic = unique("partitioner");
        create_topic(bootstrap, &topic, 7, &[])?;
        let messages: Vec<Message> =
            (0..300).map(|index| Message::new(format!("key-{}", index % 20), format!("{index}"))).collect();
        let delivered = produce(bootstrap, &[("partitioner", partitioner)], &topic, &messages)?;
        assert_eq!(consume(bootstrap, &[], &topic, 7, 300)?, delivered, "{partitioner}");
        let places: BTreeSet<_> = delivered.iter().map(|message| (message.key.clone(), message.partition)).collect();
        assert!(partitioner == "random" || places.len() == 20, "{partitioner}: a key in several partitions");
        if partitioner == "murmur2" {
            // Java's DefaultPartitioner puts these keys there, of seven partitions.
            for (key, partition) in
                [("key-0", murmur2_partition(b"key-0", 7)), ("key-13", murmur2_partition(b"key-13", 7))]
            {
                assert!(places.contains(&(Some(key.as_bytes().to_vec()), partition)));
            }
        }
    }
    Ok(())
}

/// Kafka's partition of a key (`BuiltInPartitioner.partitionForKey`).
fn murmur2_partition(key: &[u8], partitions: i32) -> i32 {
    const MULTIPLIER: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ key.len() as u32;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(MULTIPLIER);
        word = (word ^ (word >> 24)).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ word;
    }
    let rest = chunks.remainder();
    for (index, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^= hash >> 15;
    (hash & 0x7fff_ffff) as i32 % partitions
}

#[test]
fn an_idempotent_producer_leaves_no_gap_and_no_duplicate() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    for codec in ["none", "lz4"] {
        let topic = unique("idempotent");
        create_topic(bootstrap, &topic, 3, &[])?;
        let settings = [
            ("enable.idempotence", "true"),
            ("compression.type", codec),
            ("batch.num.messages", "50"),
            ("linger.ms", "0"),
            ("max.in.flight.requests.per.connection", "5"),
        ];
        let messages: Vec<Message> = (0..6000)
            .map(|index| Message::new(format!("{index}"), format!("value {index}")).to_partition(index % 3))
            .collect();
        let delivered = produce(bootstrap, &settings, &topic, &messages)?;
        for partition in 0..3 {
            let of: Vec<&Message> = delivered.iter().filter(|message| message.partition == partition).collect();
            assert!(
                of.iter().enumerate().all(|(index, message)| message.offset == index as i64),
                "offsets are 0, 1, 2 …"
            );
            let wanted = messages.iter().filter(|message| message.partition == partition);
            assert!(of.iter().map(|message| &message.key).eq(wanted.map(|message| &message.key)), "in order");
        }
        assert_eq!(consume(bootstrap, &[], &topic, 3, 6000)?, delivered);
    }
    Ok(())
}

#[test]
fn an_idempotent_producer_may_start_as_soon_as_its_topic_exists() -> Result<()> {
    let broker = Broker::start()?;
    if broker.is_external() {
        // Apache Kafka answers CreateTopics before the leader serves, and loses the place of the first batch now and then.
        return Ok(());
    }
    for _ in 0..10 {
        let topic = unique("at-once");
        create_topic(broker.bootstrap(), &topic, 1, &[])?;
        let messages: Vec<Message> = (0..20).map(|index| Message::new(format!("{index}"), "v")).collect();
        let settings = [("enable.idempotence", "true"), ("batch.num.messages", "1"), ("linger.ms", "0")];
        produce(broker.bootstrap(), &settings, &topic, &messages)?;
    }
    Ok(())
}

#[test]
fn large_messages_pass_and_oversize_is_refused() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("large");
    create_topic(bootstrap, &topic, 1, &[("max.message.bytes", "1500000")])?;
    let settings = [("message.max.bytes", "20000000"), ("batch.size", "1"), ("linger.ms", "0")];
    let noise = |length: usize| -> Vec<u8> {
        let mut state = 1u32;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect()
    };
    let producing = Producing::new(bootstrap, &settings)?;
    for length in [1_400_000, 1_600_000, 10_000_000, 10] {
        producing.send(&topic, &Message::new("k", noise(length)))?;
        producing.flush()?.pop().map_or_else(
            || panic!("no report"),
            |report| match length {
                1_600_000 | 10_000_000 => assert_eq!(report, Err(RDKafkaErrorCode::MessageSizeTooLarge), "{length}"),
                _ => assert!(report.is_ok(), "{length}: {report:?}"),
            },
        );
    }
    let read = consume(bootstrap, &[("receive.message.max.bytes", "100000000")], &topic, 1, 2)?;
    assert_eq!(read[0].value, Some(noise(1_400_000)));
    assert_eq!(read[1].value, Some(noise(10)));

    // The limit is one of the compressed batch: what compresses well passes.
    let delivered = produce(
        bootstrap,
        &[("message.max.bytes", "20000000"), ("compression.type", "zstd")],
        &topic,
        &[Message::new("k", vec![7; 8_000_000])],
    )?;
    assert_eq!(delivered[0].offset, 2);
    Ok(())
}

#[test]
fn producing_creates_the_topic() -> Result<()> {
    let broker = Broker::start()?;
    let topic = unique("auto");
    let messages: Vec<Message> = (0..100).map(|index| Message::new(format!("{index}"), "v")).collect();
    let delivered = produce(broker.bootstrap(), &[("enable.idempotence", "true")], &topic, &messages)?;
    assert_eq!(delivered.len(), 100);
    assert_eq!(consume(broker.bootstrap(), &[], &topic, 1, 100)?, delivered);
    Ok(())
}

#[test]
fn places_that_do_not_exist_are_refused() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("narrow");
    create_topic(bootstrap, &topic, 2, &[])?;
    let producing = Producing::new(bootstrap, &[("message.timeout.ms", "3000")])?;
    // Once the client knows the topic, it refuses by itself.
    producing.send(&topic, &Message::new("k", "v").to_partition(0))?;
    assert!(producing.flush()?[0].is_ok());
    assert!(producing.send(&topic, &Message::new("k", "v").to_partition(9)).is_err());
    // An illegal name is refused by the broker.
    // If the client has its answer already, it refuses by itself.
    if producing.send("not/a/topic", &Message::new("k", "v")).is_ok() {
        let report = producing.flush()?.pop().context("a report")?;
        assert!(
            matches!(report, Err(RDKafkaErrorCode::InvalidTopic | RDKafkaErrorCode::MessageTimedOut)),
            "{report:?}"
        );
    }
    Ok(())
}

#[test]
fn a_compacted_topic_wants_keys() -> Result<()> {
    let broker = Broker::start()?;
    let topic = unique("compacted");
    create_topic(broker.bootstrap(), &topic, 1, &[("cleanup.policy", "compact")])?;
    for codec in CODECS {
        let producing = Producing::new(broker.bootstrap(), &[("compression.type", codec)])?;
        producing.send(&topic, &Message { key: None, ..Message::new("", "v") })?;
        assert_eq!(producing.flush()?, [Err(RDKafkaErrorCode::InvalidRecord)], "{codec}");
        producing.send(&topic, &Message { value: None, ..Message::new("k", "") })?;
        assert!(producing.flush()?[0].is_ok());
    }
    Ok(())
}

#[test]
fn more_in_sync_replicas_than_replicas_are_not_asked_for() -> Result<()> {
    // Partition.effectiveMinIsr: what the topic has is enough.
    let broker = Broker::start()?;
    let topic = unique("isr");
    create_topic(broker.bootstrap(), &topic, 1, &[("min.insync.replicas", "2")])?;
    for acks in ["all", "1"] {
        produce(broker.bootstrap(), &[("acks", acks)], &topic, &[Message::new("k", "v")])?;
    }
    Ok(())
}

#[test]
fn many_producers_write_one_partition_without_gaps() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("shared");
    create_topic(bootstrap, &topic, 1, &[])?;
    let delivered = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|producer| {
                let topic = &topic;
                scope.spawn(move || {
                    let messages: Vec<Message> =
                        (0..500).map(|index| Message::new(format!("{producer}"), format!("{index}"))).collect();
                    let settings = [
                        ("batch.num.messages", "20"),
                        ("enable.idempotence", if producer % 2 == 0 { "true" } else { "false" }),
                    ];
                    produce(bootstrap, &settings, topic, &messages)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;
    let mut delivered = delivered.concat();
    delivered.sort_by_key(|message| message.offset);
    assert!(delivered.iter().enumerate().all(|(index, message)| message.offset == index as i64));
    assert_eq!(consume(bootstrap, &[], &topic, 1, 4000)?, delivered);
    Ok(())
}

#[test]
fn acked_records_survive_a_restart() -> Result<()> {
    let mut broker = Broker::start()?;
    let bootstrap = broker.bootstrap().to_owned();
    let topic = unique("durable");
    create_topic(&bootstrap, &topic, 4, &[])?;
    let mut wanted = Vec::new();
    for round in 0..3 {
        let messages = shapes(200);
        produce(&bootstrap, &[("enable.idempotence", "true"), ("compression.type", "zstd")], &topic, &messages)?;
        wanted.extend(contents(&messages));
        if round == 1 && !broker.is_external() {
            broker.kill()?;
            broker.start_again()?;
        } else if !broker.restart()? {
            break;
        }
    }
    let read = consume(&bootstrap, &[], &topic, 4, wanted.len())?;
    let mut read = contents(&read);
    read.sort();
    wanted.sort();
    assert_eq!(read, wanted);
    Ok(())
}

#[test]
fn a_producer_outlives_the_broker_s_restart() -> Result<()> {
    let mut broker = Broker::start()?;
    let topic = unique("outlive");
    create_topic(broker.bootstrap(), &topic, 1, &[])?;
    let settings = [("enable.idempotence", "true"), ("message.timeout.ms", "60000")];
    let producing = Producing::new(broker.bootstrap(), &settings)?;
    let messages: Vec<Message> = (0..2000).map(|index| Message::new(format!("{index:05}"), vec![1; 100])).collect();
    for message in &messages[..1000] {
        producing.send(&topic, message)?;
    }
    wait_for("the first reports", || Ok(!producing.reports().is_empty()))?;
    if !broker.restart()? {
        return Ok(());
    }
    for message in &messages[1000..] {
        producing.send(&topic, message)?;
    }
    let reports = producing.flush()?;
    assert_eq!(reports.len(), 2000);
    assert!(reports.iter().all(Result::is_ok), "{:?}", reports.iter().find(|report| report.is_err()));
    let read = consume(broker.bootstrap(), &[], &topic, 1, 2000)?;
    assert!(
        read.iter().map(|message| &message.key).eq(messages.iter().map(|message| &message.key)),
        "each once and in order"
    );
    Ok(())
}

#[test]
fn watermarks_follow_what_is_produced() -> Result<()> {
    let broker = Broker::start()?;
    let topic = unique("watermarks");
    create_topic(broker.bootstrap(), &topic, 1, &[])?;
    let consumer: BaseConsumer = client_config(broker.bootstrap()).set("group.id", "w").create()?;
    for round in 0..5 {
        let marks = consumer.fetch_watermarks(&topic, 0, std::time::Duration::from_secs(10))?;
        assert_eq!(marks, (0, round * 10));
        let messages: Vec<Message> = (0..10).map(|index| Message::new(format!("{index}"), "v")).collect();
        produce(broker.bootstrap(), &[], &topic, &messages)?;
    }
    Ok(())
}
