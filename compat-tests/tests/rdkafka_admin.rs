//! librdkafka's AdminClient: topics, partitions, configurations, groups and records.
#![allow(clippy::disallowed_methods, reason = "the ban is the broker's")]

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ottla_compat_tests::{
    Broker, Message, admin, block_on, consume, consumer_config, create_topic, drain, produce, unique, wait_for,
};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(10);

type Admin = AdminClient<DefaultClientContext>;

fn create(admin: &Admin, options: &AdminOptions, topic: &NewTopic<'_>) -> Result<(), RDKafkaErrorCode> {
    let mut results = block_on(admin.create_topics([topic], options)).expect("an answer");
    results.remove(0).map(|_| ()).map_err(|(_, code)| code)
}

fn partitions(admin: &Admin, topic: &str) -> Result<usize> {
    let metadata = admin.inner().fetch_metadata(Some(topic), TIMEOUT)?;
    Ok(metadata.topics()[0].partitions().len())
}

fn listed(admin: &Admin, topic: &str) -> Result<bool> {
    Ok(admin.inner().fetch_metadata(None, TIMEOUT)?.topics().iter().any(|found| found.name() == topic))
}

fn describe(
    admin: &Admin,
    options: &AdminOptions,
    resource: ResourceSpecifier<'_>,
) -> Result<HashMap<String, ConfigEntry>> {
    let described = block_on(admin.describe_configs([&resource], options))?.remove(0).context("described")?;
    Ok(described.entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect())
}

#[test]
fn topics_come_and_go() -> Result<()> {
    let broker = Broker::start()?;
    let (admin, options) = admin(broker.bootstrap())?;
    let topic = unique("topic");
    create(&admin, &options, &NewTopic::new(&topic, 3, TopicReplication::Fixed(1)))?;
    wait_for("the topic", || Ok(partitions(&admin, &topic)? == 3))?;
    let again = create(&admin, &options, &NewTopic::new(&topic, 3, TopicReplication::Fixed(1)));
    assert_eq!(again, Err(RDKafkaErrorCode::TopicAlreadyExists));
    produce(broker.bootstrap(), &[], &topic, &[Message::new("k", "v").to_partition(2)])?;

    assert_eq!(block_on(admin.delete_topics(&[&topic], &options))?, [Ok(topic.clone())]);
    wait_for("the deletion", || Ok(!listed(&admin, &topic)?))?;
    let gone = block_on(admin.delete_topics(&[&topic], &options))?;
    assert_eq!(gone, [Err((topic.clone(), RDKafkaErrorCode::UnknownTopicOrPartition))]);

    // The name may be used again, and nothing of the old topic is left.
    create_topic(broker.bootstrap(), &topic, 1, &[])?;
    produce(broker.bootstrap(), &[], &topic, &[Message::new("new", "new")])?;
    let read = consume(broker.bootstrap(), &[], &topic, 1, 1)?;
    assert_eq!((read[0].offset, read[0].key.as_deref()), (0, Some(b"new".as_slice())));
    Ok(())
}

#[test]
fn bad_topics_are_refused_by_name() -> Result<()> {
    let broker = Broker::start()?;
    let (admin, options) = admin(broker.bootstrap())?;
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a/b", "grüße", "a b", &long] {
        let refused = create(&admin, &options, &NewTopic::new(name, 1, TopicReplication::Fixed(1)));
        let expected = [Err(RDKafkaErrorCode::InvalidTopic), Err(RDKafkaErrorCode::InvalidArgument)];
        assert!(expected.contains(&refused), "{name:?}: {refused:?}");
    }
    let (dotted, scored) = (unique("col.lide"), String::new());
    create_topic(broker.bootstrap(), &dotted, 1, &[])?;
    let scored = scored + &dotted.replace('.', "_");
    let refused = create(&admin, &options, &NewTopic::new(&scored, 1, TopicReplication::Fixed(1)));
    assert_eq!(refused, Err(RDKafkaErrorCode::InvalidTopic), "{scored} collides");
    let longest = format!("{:x<249}", unique("longest"));
    create(&admin, &options, &NewTopic::new(&longest, 1, TopicReplication::Fixed(1)))?;
    Ok(())
}

#[test]
fn bad_settings_are_refused_by_kind() -> Result<()> {
    let broker = Broker::start()?;
    let (admin, options) = admin(broker.bootstrap())?;
    let topic = unique("bad");
    let plain = || NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
    let cases = [
        (NewTopic::new(&topic, 1, TopicReplication::Fixed(5)), RDKafkaErrorCode::InvalidReplicationFactor),
        (plain().set("retention.ms", "soon"), RDKafkaErrorCode::InvalidConfig),
        (plain().set("no.such.key", "1"), RDKafkaErrorCode::InvalidConfig),
        (plain().set("cleanup.policy", "burn"), RDKafkaErrorCode::InvalidConfig),
        (plain().set("compression.type", "rar"), RDKafkaErrorCode::InvalidConfig),
        (plain().set("max.message.bytes", "-1"), RDKafkaErrorCode::InvalidConfig),
    ];
    for (new, code) in cases {
        assert_eq!(create(&admin, &options, &new), Err(code));
    }
    // Manual placement names brokers that exist, and one list per partition.
    let elsewhere: &[&[i32]] = &[&[4711]];
    let refused = create(&admin, &options, &NewTopic::new(&topic, 1, TopicReplication::Variable(elsewhere)));
    assert_eq!(refused, Err(RDKafkaErrorCode::InvalidReplicaAssignment));
    assert!(!listed(&admin, &topic)?);

    let validate = AdminOptions::new().validate_only(true);
    create(&admin, &validate, &plain())?;
    assert!(!listed(&admin, &topic)?, "validated only");
    Ok(())
}

#[test]
fn defaults_are_the_broker_s() -> Result<()> {
    let broker = Broker::start()?;
    let (admin, options) = admin(broker.bootstrap())?;
    let topic = unique("default");
    create(&admin, &options, &NewTopic::new(&topic, -1, TopicReplication::Fixed(-1)))?;
    wait_for("the topic", || Ok(partitions(&admin, &topic)? >= 1))?;
    let metadata = admin.inner().fetch_metadata(Some(&topic), TIMEOUT)?;
    assert_eq!(metadata.topics()[0].partitions()[0].replicas().len(), 1);
    Ok(())
}

#[test]
fn placement_by_hand() -> Result<()> {
    let broker = Broker::start()?;
    let (admin, options) = admin(broker.bootstrap())?;
    let id = admin.inner().fetch_metadata(None, TIMEOUT)?.brokers()[0].id();
    let topic = unique("placed");
    let replicas = [id];
    let placement: &[&[i32]] = &[&replicas, &replicas, &replicas, &replicas];
    create(&admin, &options, &NewTopic::new(&topic, 4, TopicReplication::Variable(placement)))?;
    wait_for("the topic", || Ok(partitions(&admin, &topic)? == 4))
}

#[test]
fn partitions_are_added() -> Result<()> {
    let broker = Broker::start()?;
    let (admin, options) = admin(broker.bootstrap())?;
    let topic = unique("wider");
    create_topic(broker.bootstrap(), &topic, 2, &[])?;
    let first = produce(broker.bootstrap(), &[], &topic, &[Message::new("k", "v").to_partition(1)])?;
    let widen = |count| -> Result<Result<String, (String, RDKafkaErrorCode)>> {
        Ok(block_on(admin.create_partitions([&NewPartitions::new(&topic, count)], &options))?.remove(0))
    };
    assert_eq!(widen(5)?, Ok(topic.clone()));
    wait_for("the partitions", || Ok(partitions(&admin, &topic)? == 5))?;
    for count in [5, 4] {
        assert_eq!(widen(count)?, Err((topic.clone(), RDKafkaErrorCode::InvalidPartitions)));
    }
    let unknown = unique("unknown");
    let refused = block_on(admin.create_partitions([&NewPartitions::new(&unknown, 3)], &options))?;
    assert_eq!(refused, [Err((unknown.clone(), RDKafkaErrorCode::UnknownTopicOrPartition))]);
    wait_for("a leader", || {
        let metadata = admin.inner().fetch_metadata(Some(&topic), TIMEOUT)?;
        Ok(metadata.topics()[0].partitions().iter().all(|partition| partition.leader() >= 0))
    })?;
    let second = produce(broker.bootstrap(), &[], &topic, &[Message::new("k", "v").to_partition(4)])?;
    assert_eq!(consume(broker.bootstrap(), &[], &topic, 5, 2)?, [first, second].concat());
    Ok(())
}

#[test]
fn topic_configurations_are_described_and_altered() -> Result<()> {
    let broker = Broker::start()?;
    let (admin, options) = admin(broker.bootstrap())?;
    let topic = unique("config");
    create_topic(broker.bootstrap(), &topic, 1, &[("retention.ms", "7200000"), ("cleanup.policy", "compact,delete")])?;
    let resource = ResourceSpecifier::Topic(&topic);
    let configs = describe(&admin, &options, resource)?;
    let entry = |configs: &HashMap<String, ConfigEntry>, name: &str| -> Result<(Option<String>, bool)> {
        let entry = configs.get(name).with_context(|| name.to_owned())?;
        Ok((entry.value.clone(), entry.source == ConfigSource::DynamicTopic))
    };
    assert_eq!(entry(&configs, "retention.ms")?, (Some("7200000".into()), true));
    assert_eq!(entry(&configs, "cleanup.policy")?, (Some("compact,delete".into()), true));
    for (name, value) in [
        ("max.message.bytes", "1048588"),
        ("compression.type", "producer"),
        ("segment.ms", "604800000"),
        ("min.insync.replicas", "1"),
        ("message.timestamp.type", "CreateTime"),
        ("retention.bytes", "-1"),
        ("message.timestamp.after.max.ms", "3600000"),
        ("unclean.leader.election.enable", "false"),
    ] {
        assert_eq!(entry(&configs, name)?, (Some(value.into()), false), "{name}");
    }
    assert!(configs.values().all(|entry| !entry.is_read_only && !entry.is_sensitive));

    // AlterConfigs replaces the whole set.
    let alter = |key, value| AlterConfig::new(resource).set(key, value);
    let result = block_on(admin.alter_configs([&alter("max.message.bytes", "2000")], &options))?.remove(0);
    assert!(result.is_ok(), "{result:?}");
    wait_for("the change", || {
        let configs = describe(&admin, &options, resource)?;
        Ok(entry(&configs, "max.message.bytes")? == (Some("2000".into()), true)
            && entry(&configs, "retention.ms")? == (Some("604800000".into()), false))
    })?;
    // And it holds for the next produce.
    let oversize = Message::new("k", (0..3000).map(|index| (index * index / 7) as u8).collect::<Vec<_>>());
    wait_for("the new limit", || {
        Ok(produce(broker.bootstrap(), &[], &topic, std::slice::from_ref(&oversize)).is_err())
    })?;

    // A bad value changes nothing (rdkafka does not hand out the error).
    block_on(admin.alter_configs([&alter("max.message.bytes", "many")], &options))?;
    let configs = describe(&admin, &options, resource)?;
    assert_eq!(entry(&configs, "max.message.bytes")?, (Some("2000".into()), true));
    let unknown = unique("unknown");
    assert!(describe(&admin, &options, ResourceSpecifier::Topic(&unknown))?.is_empty(), "nor that error");
    Ok(())
}

#[test]
fn broker_configurations_are_described() -> Result<()> {
    let broker = Broker::start()?;
    let (admin, options) = admin(broker.bootstrap())?;
    let id = admin.inner().fetch_metadata(None, TIMEOUT)?.brokers()[0].id();
    let configs = describe(&admin, &options, ResourceSpecifier::Broker(id))?;
    let value = |name: &str| configs.get(name).and_then(|entry| entry.value.clone());
    for (name, expected) in [
        ("num.partitions", "1"),
        ("message.max.bytes", "1048588"),
        ("log.retention.hours", "168"),
        ("auto.create.topics.enable", "true"),
        ("log.segment.bytes", "1073741824"),
    ] {
        assert_eq!(value(name).as_deref(), Some(expected), "{name}");
    }
    assert!(value("listeners").is_some());
    assert!(configs["listeners"].source != ConfigSource::Default);
    Ok(())
}

#[test]
fn records_are_deleted_up_to_an_offset() -> Result<()> {
    let broker = Broker::start()?;
    let bootstrap = broker.bootstrap();
    let (admin, options) = admin(bootstrap)?;
    let topic = unique("records");
    create_topic(bootstrap, &topic, 2, &[])?;
    let messages: Vec<Message> =
        (0..40).map(|index| Message::new(format!("{index}"), "v").to_partition(index % 2)).collect();
    let sent = produce(bootstrap, &[], &topic, &messages)?;
    let delete = |partition: i32, offset: Offset| -> Result<TopicPartitionList> {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(&topic, partition, offset)?;
        Ok(block_on(admin.delete_records(&before, &options))?)
    };
    let low = |result: &TopicPartitionList, partition| -> Result<Offset> {
        let found = result.find_partition(&topic, partition).context("answered")?;
        found.error()?;
        Ok(found.offset())
    };
    assert_eq!(low(&delete(0, Offset::Offset(7))?, 0)?, Offset::Offset(7));
    assert_eq!(low(&delete(0, Offset::Offset(3))?, 0)?, Offset::Offset(7), "it only grows");
    assert_eq!(low(&delete(1, Offset::End)?, 1)?, Offset::Offset(20));
    let refused = delete(0, Offset::Offset(21))?;
    let error = low(&refused, 0).expect_err("beyond the end");
    assert!(format!("{error:?}").contains("OffsetOutOfRange"), "{error:?}");
    assert_eq!(consume(bootstrap, &[], &topic, 2, 13)?, sent[7..20]);

    let compacted = unique("compacted");
    create_topic(bootstrap, &compacted, 1, &[("cleanup.policy", "compact")])?;
    produce(bootstrap, &[], &compacted, &[Message::new("k", "v")])?;
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&compacted, 0, Offset::Offset(1))?;
    let refused = block_on(admin.delete_records(&before, &options))?;
    let error = refused.find_partition(&compacted, 0).context("answered")?.error().expect_err("compact only");
    assert!(format!("{error:?}").contains("PolicyViolation"), "{error:?}");
    Ok(())
}

#[test]
fn groups_are_deleted_when_they_are_empty() -> Result<()> {
    let broker = Broker::start_with(&["group.initial.rebalance.delay.ms=100"])?;
    let bootstrap = broker.bootstrap();
    let (admin, options) = admin(bootstrap)?;
    let topic = unique("groups");
    create_topic(bootstrap, &topic, 1, &[])?;
    produce(bootstrap, &[], &topic, &[Message::new("k", "v")])?;
    let group = unique("group");
    let consumer: BaseConsumer = consumer_config(bootstrap, &group).create()?;
    consumer.subscribe(&[&topic])?;
    drain(&consumer, 1)?;
    consumer.commit_consumer_state(CommitMode::Sync)?;
    let delete = || -> Result<Result<String, RDKafkaErrorCode>> {
        Ok(block_on(admin.delete_groups(&[&group], &options))?.remove(0).map_err(|(_, code)| code))
    };
    assert_eq!(delete()?, Err(RDKafkaErrorCode::NonEmptyGroup));
    drop(consumer);
    wait_for("the deletion", || match delete()? {
        Ok(_) => Ok(true),
        Err(RDKafkaErrorCode::NonEmptyGroup) => Ok(false),
        Err(code) => bail!("{code}"),
    })?;
    assert_eq!(delete()?, Err(RDKafkaErrorCode::GroupIdNotFound));
    // Its offsets went with it.
    let consumer: BaseConsumer = consumer_config(bootstrap, &group).create()?;
    consumer.subscribe(&[&topic])?;
    assert_eq!(drain(&consumer, 1)?[0].offset, 0);
    Ok(())
}

#[test]
fn many_topics_at_once() -> Result<()> {
    let broker = Broker::start()?;
    let (admin, options) = admin(broker.bootstrap())?;
    let names: Vec<String> = (0..50).map(|index| unique(&format!("many{index}"))).collect();
    let topics: Vec<NewTopic<'_>> =
        names.iter().map(|name| NewTopic::new(name, 4, TopicReplication::Fixed(1))).collect();
    let created = block_on(admin.create_topics(&topics, &options))?;
    assert!(created.len() == 50 && created.iter().all(Result::is_ok));
    wait_for("the topics", || {
        let metadata = admin.inner().fetch_metadata(None, TIMEOUT)?;
        Ok(names
            .iter()
            .all(|name| metadata.topics().iter().any(|topic| topic.name() == name && topic.partitions().len() == 4)))
    })?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let deleted = block_on(admin.delete_topics(&names, &options))?;
    assert!(deleted.len() == 50 && deleted.iter().all(Result::is_ok));
    wait_for("the deletions", || {
        let metadata = admin.inner().fetch_metadata(None, TIMEOUT)?;
        Ok(!metadata.topics().iter().any(|topic| names.contains(&topic.name())))
    })
}

#[test]
fn topics_and_configurations_survive_a_restart() -> Result<()> {
    let mut broker = Broker::start()?;
    let bootstrap = broker.bootstrap().to_owned();
    let topic = unique("kept");
    create_topic(&bootstrap, &topic, 3, &[("retention.ms", "123456789")])?;
    let gone = unique("gone");
    create_topic(&bootstrap, &gone, 1, &[])?;
    let (admin, options) = admin(&bootstrap)?;
    block_on(admin.delete_topics(&[&gone], &options))?.remove(0).map_err(|(_, code)| code)?;
    wait_for("the deletion", || Ok(!listed(&admin, &gone)?))?;
    for _ in 0..2 {
        if !broker.restart()? {
            return Ok(());
        }
        let (admin, options) = ottla_compat_tests::admin(&bootstrap)?;
        wait_for("the topic", || Ok(partitions(&admin, &topic).is_ok_and(|count| count == 3)))?;
        let configs = describe(&admin, &options, ResourceSpecifier::Topic(&topic))?;
        assert_eq!(configs["retention.ms"].value.as_deref(), Some("123456789"));
        assert!(!listed(&admin, &gone)?);
    }
    Ok(())
}
