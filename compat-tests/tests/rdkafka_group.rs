//! librdkafka in classic consumer groups: who gets what, what is committed, what happens when members come, go and return.
#![allow(clippy::disallowed_methods, reason = "the ban is the broker's")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::{
    Broker, Ledger, Member, Message, Producing, consumer_config, create_topic, drain, produce, unique, wait_for,
};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(10);

fn broker() -> Result<Broker> {
    Broker::start_with(&["group.initial.rebalance.delay.ms=200"])
}

fn member_config(bootstrap: &str, group: &str, strategy: &str) -> ClientConfig {
    let mut config = consumer_config(bootstrap, group);
    config.set("partition.assignment.strategy", strategy);
    config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "200");
    config
}

fn records(partitions: i32, count: i32) -> Vec<Message> {
    (0..count)
        .map(|index| Message::new(format!("{index}"), format!("value {index}")).to_partition(index % partitions))
        .collect()
}

/// Waits until `members` share `partitions` partitions between them.
fn settle(ledger: &Ledger, members: usize, partitions: usize) -> Result<()> {
    wait_for("the assignment", || {
        let counts = ledger.counts();
        Ok(counts.len() == members && counts.iter().sum::<usize>() == partitions)
    })
}

#[test]
fn every_strategy_shares_all_partitions() -> Result<()> {
    let broker = broker()?;
    let bootstrap = broker.bootstrap();
    for strategy in ["range", "roundrobin", "cooperative-sticky", "range,roundrobin"] {
        let (one, two) = (unique("one"), unique("two"));
        create_topic(bootstrap, &one, 6, &[])?;
        create_topic(bootstrap, &two, 4, &[])?;
        let config = member_config(bootstrap, &unique("strategy"), strategy);
        let ledger = Ledger::default();
        let topics = [one.as_str(), two.as_str()];
        let mut members = vec![Member::start("a", &config, &topics, &ledger)?];
        settle(&ledger, 1, 10)?;
        members.push(Member::start("b", &config, &topics, &ledger)?);
        settle(&ledger, 2, 10)?;
        members.push(Member::start("c", &config, &topics, &ledger)?);
        settle(&ledger, 3, 10)?;
        let assignment = ledger.assignment();
        match strategy {
            // Per topic: 2, 2, 2 of six and 2, 1, 1 of four.
            "range" | "range,roundrobin" => assert_eq!(sorted(ledger.counts()), [3, 3, 4], "{assignment:?}"),
            _ => assert!(ledger.counts().iter().all(|count| (3..=4).contains(count)), "{assignment:?}"),
        }
        produce(bootstrap, &[], &one, &records(6, 600))?;
        produce(bootstrap, &[], &two, &records(4, 400))?;
        wait_for("all records", || Ok(ledger.read().len() >= 1000))?;
        members.remove(0).stop();
        settle(&ledger, 2, 10)?;
        drop(members);
        assert_eq!(ledger.violations(), Vec::<String>::new(), "{strategy}");
        assert_eq!(ledger.read().len(), 1000, "{strategy}");
    }
    Ok(())
}

fn sorted(mut counts: Vec<usize>) -> Vec<usize> {
    counts.sort_unstable();
    counts
}

#[test]
fn rebalances_under_load_lose_nothing() -> Result<()> {
    let broker = broker()?;
    let bootstrap = broker.bootstrap();
    for strategy in ["range", "cooperative-sticky"] {
        let topic = unique("load");
        create_topic(bootstrap, &topic, 8, &[])?;
        let config = member_config(bootstrap, &unique("load"), strategy);
        let ledger = Ledger::default();
        let producing = Producing::new(bootstrap, &[("enable.idempotence", "true")])?;
        let mut sent = 0;
        let mut send = |count: i32| -> Result<()> {
            for index in sent..sent + count {
                producing.send(&topic, &Message::new(format!("{index}"), "load").to_partition(index % 8))?;
                if index % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            sent += count;
            Ok(())
        };
        let mut members = BTreeMap::new();
        for step in ["+a", "+b", "+c", "-a", "+d", "-b", "-c", "+e"] {
            let (change, name) = step.split_at(1);
            if change == "+" {
                members.insert(name, Member::start(name, &config, &[&topic], &ledger)?);
            } else {
                members.remove(name);
            }
            send(1500)?;
            settle(&ledger, members.len(), 8)?;
        }
        assert!(producing.flush()?.iter().all(Result::is_ok));
        let keys =
            || -> BTreeSet<Vec<u8>> { ledger.read().into_iter().filter_map(|(_, message)| message.key).collect() };
        wait_for("all records", || Ok(keys().len() == sent as usize))?;
        drop(members);
        assert_eq!(ledger.violations(), Vec::<String>::new(), "{strategy}");
        let read = ledger.read().len();
        ensure!(read < sent as usize + 2000, "{strategy}: {read} records read of {sent}");
        in_order(&ledger)?;
    }
    Ok(())
}

/// Each member reads each partition forward, but for what was read and not committed when it was given away.
fn in_order(ledger: &Ledger) -> Result<()> {
    let mut next = BTreeMap::<i32, i64>::new();
    for (member, message) in ledger.read() {
        let expected = next.entry(message.partition).or_insert(0);
        ensure!(message.offset <= *expected, "{member} skipped {} to {}", expected, message.offset);
        *expected = (*expected).max(message.offset + 1);
    }
    Ok(())
}

#[test]
fn a_cooperative_rebalance_leaves_the_others_alone() -> Result<()> {
    let broker = broker()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("sticky");
    create_topic(bootstrap, &topic, 9, &[])?;
    let config = member_config(bootstrap, &unique("sticky"), "cooperative-sticky");
    let ledger = Ledger::default();
    let _a = Member::start("a", &config, &[&topic], &ledger)?;
    settle(&ledger, 1, 9)?;
    let _b = Member::start("b", &config, &[&topic], &ledger)?;
    settle(&ledger, 2, 9)?;
    let before = ledger.assignment();
    let c = Member::start("c", &config, &[&topic], &ledger)?;
    settle(&ledger, 3, 9)?;
    let after = ledger.assignment();
    for name in ["a", "b"] {
        let kept = after[name].iter().filter(|partition| before[name].contains(partition)).count();
        assert_eq!(kept, 3, "{name} keeps what it does not give away: {before:?} {after:?}");
    }
    c.stop();
    settle(&ledger, 2, 9)?;
    let last = ledger.assignment();
    assert!(["a", "b"].iter().all(|name| after[*name].iter().all(|partition| last[*name].contains(partition))));
    assert_eq!(ledger.violations(), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_static_member_returns_without_a_rebalance() -> Result<()> {
    let broker = broker()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("static");
    create_topic(bootstrap, &topic, 4, &[])?;
    let group = unique("static");
    let config = |name: &str| {
        let mut config = member_config(bootstrap, &group, "range");
        config.set("group.instance.id", name).set("session.timeout.ms", "20000");
        config
    };
    let ledger = Ledger::default();
    let a = Member::start("a", &config("a"), &[&topic], &ledger)?;
    let b = Member::start("b", &config("b"), &[&topic], &ledger)?;
    settle(&ledger, 2, 4)?;
    let (before, rebalances) = (ledger.assignment(), a.rebalances());
    b.stop();
    let b = Member::start("b", &config("b"), &[&topic], &ledger)?;
    settle(&ledger, 2, 4)?;
    assert_eq!(ledger.assignment(), before);
    assert_eq!(a.rebalances(), rebalances, "the other member did not notice");
    produce(bootstrap, &[], &topic, &records(4, 100))?;
    wait_for("all records", || Ok(ledger.read().len() == 100))?;
    drop((a, b));
    Ok(())
}

#[test]
fn a_second_static_member_of_one_name_fences_the_first() -> Result<()> {
    let broker = broker()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("fenced");
    create_topic(bootstrap, &topic, 2, &[])?;
    let mut config = member_config(bootstrap, &unique("fenced"), "range");
    config.set("group.instance.id", "twin");
    let first: BaseConsumer = config.create()?;
    first.subscribe(&[&topic])?;
    produce(bootstrap, &[], &topic, &records(2, 2))?;
    drain(&first, 2)?;
    let second: BaseConsumer = config.create()?;
    second.subscribe(&[&topic])?;
    let started = Instant::now();
    loop {
        ensure!(started.elapsed() < Duration::from_secs(20), "the first member was not fenced");
        let _ = second.poll(Duration::from_millis(20));
        match first.poll(Duration::from_millis(20)) {
            Some(Err(KafkaError::MessageConsumptionFatal(code) | KafkaError::MessageConsumption(code))) => {
                assert_eq!(code, RDKafkaErrorCode::FencedInstanceId);
                break;
            }
            Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId) => break,
            _ => {}
        }
    }
    wait_for("the second member's records", || {
        let _ = second.poll(Duration::from_millis(20));
        Ok(second.assignment()?.count() == 2)
    })
}

#[test]
fn a_member_that_does_not_poll_loses_its_place() -> Result<()> {
    let broker = broker()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("silent");
    create_topic(bootstrap, &topic, 2, &[])?;
    let mut config = member_config(bootstrap, &unique("silent"), "range");
    config.set("max.poll.interval.ms", "6000");
    let silent: BaseConsumer = config.create()?;
    silent.subscribe(&[&topic])?;
    produce(bootstrap, &[], &topic, &records(2, 10))?;
    assert_eq!(drain(&silent, 10)?.len(), 10);
    // Nothing was committed, so the other one reads all of it again.
    let ledger = Ledger::default();
    let _other = Member::start("other", &config, &[&topic], &ledger)?;
    wait_for("the other member to take over", || Ok(ledger.counts() == [2]))?;
    wait_for("the records", || Ok(ledger.read().len() == 10))?;
    Ok(())
}

fn committed(bootstrap: &str, group: &str, topic: &str, partitions: i32) -> Result<Vec<(Offset, String)>> {
    let consumer: BaseConsumer = consumer_config(bootstrap, group).create()?;
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, partitions - 1);
    let found = consumer.committed_offsets(asked, TIMEOUT)?;
    found
        .elements()
        .iter()
        .map(|element| {
            element.error()?;
            Ok((element.offset(), element.metadata().to_owned()))
        })
        .collect()
}

#[test]
fn commits_are_kept_across_restarts() -> Result<()> {
    let mut broker = broker()?;
    let bootstrap = broker.bootstrap().to_owned();
    let topic = unique("commit");
    create_topic(&bootstrap, &topic, 3, &[])?;
    let group = unique("commit");
    produce(&bootstrap, &[], &topic, &records(3, 30))?;
    assert_eq!(committed(&bootstrap, &group, &topic, 3)?, vec![(Offset::Invalid, String::new()); 3]);

    // By a consumer that is no member: a simple group.
    let consumer: BaseConsumer = consumer_config(&bootstrap, &group).create()?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&topic, 0, Offset::Offset(4))?;
    offsets.add_partition_offset(&topic, 2, Offset::Offset(0))?;
    offsets.find_partition(&topic, 0).context("added")?.set_metadata("as far as that");
    consumer.commit(&offsets, CommitMode::Sync)?;
    let wanted = vec![
        (Offset::Offset(4), "as far as that".to_owned()),
        (Offset::Invalid, String::new()),
        (Offset::Offset(0), String::new()),
    ];
    assert_eq!(committed(&bootstrap, &group, &topic, 3)?, wanted);
    drop(consumer);

    for kill in [false, true] {
        if kill && !broker.is_external() {
            broker.kill()?;
            broker.start_again()?;
        } else if !broker.restart()? {
            break;
        }
        wait_for("the group's offsets", || {
            Ok(committed(&bootstrap, &group, &topic, 3).is_ok_and(|found| found == wanted))
        })?;
    }

    // A member starts where the commits say.
    let member: BaseConsumer = member_config(&bootstrap, &group, "range").create()?;
    member.subscribe(&[&topic])?;
    let read = drain(&member, 26)?;
    assert_eq!(read.iter().filter(|message| message.partition == 0).map(|message| message.offset).min(), Some(4));
    member.commit_consumer_state(CommitMode::Sync)?;
    let offsets: Vec<Offset> =
        committed(&bootstrap, &group, &topic, 3)?.into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, [Offset::Offset(10); 3]);
    Ok(())
}

#[test]
fn automatic_commits_resume_where_reading_ended() -> Result<()> {
    let broker = broker()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("auto");
    create_topic(bootstrap, &topic, 1, &[])?;
    produce(bootstrap, &[], &topic, &records(1, 100))?;
    let mut config = member_config(bootstrap, &unique("auto"), "range");
    config.set("enable.auto.commit", "true").set("auto.commit.interval.ms", "100");
    // rdkafka polls while it closes a consumer: what it throws away there must not count as read.
    config.set("enable.auto.offset.store", "false");
    let mut next = 0;
    for count in [30, 50, 20] {
        let consumer: BaseConsumer = config.create()?;
        consumer.subscribe(&[&topic])?;
        let read = drain(&consumer, count)?;
        assert_eq!(read[0].offset, next);
        next += count as i64;
        consumer.store_offset(&topic, 0, next - 1)?;
    }
    Ok(())
}

#[test]
fn commits_of_strangers_are_refused() -> Result<()> {
    let broker = broker()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("stranger");
    create_topic(bootstrap, &topic, 1, &[])?;
    let group = unique("stranger");
    produce(bootstrap, &[], &topic, &records(1, 10))?;
    let ledger = Ledger::default();
    let _member = Member::start("a", &member_config(bootstrap, &group, "range"), &[&topic], &ledger)?;
    settle(&ledger, 1, 1)?;
    let stranger: BaseConsumer = consumer_config(bootstrap, &group).create()?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&topic, 0, Offset::Offset(1))?;
    let error = stranger.commit(&offsets, CommitMode::Sync).expect_err("the group has members");
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::UnknownMemberId), "{error}");

    // And metadata has its limit (offset.metadata.max.bytes).
    let alone: BaseConsumer = consumer_config(bootstrap, &unique("alone")).create()?;
    offsets.find_partition(&topic, 0).context("added")?.set_metadata("x".repeat(4097));
    let error = alone.commit(&offsets, CommitMode::Sync).expect_err("too much metadata");
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::OffsetMetadataTooLarge), "{error}");
    offsets.find_partition(&topic, 0).context("added")?.set_metadata("x".repeat(4096));
    alone.commit(&offsets, CommitMode::Sync)?;
    Ok(())
}

#[test]
fn groups_are_listed_and_described() -> Result<()> {
    let broker = broker()?;
    let bootstrap = broker.bootstrap();
    let topic = unique("list");
    create_topic(bootstrap, &topic, 2, &[])?;
    let group = unique("list");
    let mut config = member_config(bootstrap, &group, "roundrobin");
    config.set("client.id", "lister");
    let ledger = Ledger::default();
    let members = [Member::start("a", &config, &[&topic], &ledger)?, Member::start("b", &config, &[&topic], &ledger)?];
    settle(&ledger, 2, 2)?;
    let consumer: BaseConsumer = consumer_config(bootstrap, &unique("asking")).create()?;
    wait_for("a stable group", || {
        let groups = consumer.fetch_group_list(Some(&group), TIMEOUT)?;
        let found = groups.groups().first().context("described")?;
        Ok(found.state() == "Stable" && found.members().len() == 2)
    })?;
    let groups = consumer.fetch_group_list(Some(&group), TIMEOUT)?;
    let found = &groups.groups()[0];
    assert_eq!((found.name(), found.protocol_type(), found.protocol()), (group.as_str(), "consumer", "roundrobin"));
    for member in found.members() {
        assert!(member.id().starts_with("lister-"), "{}", member.id());
        assert_eq!((member.client_id(), member.client_host().contains("127.0.0.1")), ("lister", true));
        assert!(member.metadata().is_some_and(|bytes| !bytes.is_empty()));
        assert!(member.assignment().is_some_and(|bytes| !bytes.is_empty()));
    }
    let all = consumer.fetch_group_list(None, TIMEOUT)?;
    assert!(all.groups().iter().any(|listed| listed.name() == group));
    drop(members);
    wait_for("an empty group", || Ok(consumer.fetch_group_list(Some(&group), TIMEOUT)?.groups()[0].state() == "Empty"))
}

#[test]
fn a_group_sees_new_partitions_and_topics_by_pattern() -> Result<()> {
    let broker = broker()?;
    let bootstrap = broker.bootstrap();
    let prefix = unique("pattern");
    let name = |suffix: &str| format!("{prefix}.{suffix}");
    create_topic(bootstrap, &name("one"), 2, &[])?;
    let mut config = member_config(bootstrap, &unique("pattern"), "cooperative-sticky");
    config.set("topic.metadata.refresh.interval.ms", "200");
    let ledger = Ledger::default();
    let pattern = format!("^{prefix}\\..*");
    let _a = Member::start("a", &config, &[&pattern], &ledger)?;
    let _b = Member::start("b", &config, &[&pattern], &ledger)?;
    settle(&ledger, 2, 2)?;
    create_topic(bootstrap, &name("two"), 4, &[])?;
    settle(&ledger, 2, 6)?;
    let (admin, options) = ottla_compat_tests::admin(bootstrap)?;
    let wider = name("one");
    let partitions = rdkafka::admin::NewPartitions::new(&wider, 5);
    ottla_compat_tests::block_on(admin.create_partitions([&partitions], &options))?;
    settle(&ledger, 2, 9)?;
    assert_eq!(ledger.violations(), Vec::<String>::new());
    Ok(())
}
