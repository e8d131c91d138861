//! Dynamic values: what Apache Kafka 4.3.0 was seen to answer and to describe.

use std::collections::{BTreeMap, HashSet};

use super::describe::ConfigSource::{Default, DynamicBroker, DynamicDefaultBroker, DynamicTopic, StaticBroker};
use super::{
    BrokerConfig, ConfigSource, DescribedConfig, KafkaConfigKey, LogConfig, check_broker_overrides, describe_broker,
    describe_cluster_defaults, describe_topic, kafka_configs,
};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn broker(pairs: &[(&str, &str)]) -> BrokerConfig {
    BrokerConfig::new(map(pairs)).unwrap_or_else(|error| panic!("{error}"))
}

fn row(rows: &[DescribedConfig], name: &str) -> DescribedConfig {
    rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row {name}")).clone()
}

type Synonyms<'a> = &'a [(&'a str, &'a str, ConfigSource)];

fn assert_row(row: &DescribedConfig, value: &str, source: ConfigSource, synonyms: Synonyms<'_>) {
    assert_eq!(row.value.as_deref(), Some(value), "{}", row.name);
    assert_eq!(row.source, source, "{}", row.name);
    let seen: Vec<(&str, &str, ConfigSource)> = row
        .synonyms
        .iter()
        .map(|synonym| (synonym.name.as_str(), synonym.value.as_deref().unwrap_or("null"), synonym.source))
        .collect();
    assert_eq!(seen, synonyms, "{}", row.name);
}

#[test]
fn topic_values_tell_where_they_come_from() {
    let config = broker(&[]);
    config.update_dynamic(map(&[("message.max.bytes", "2000000")]), map(&[("message.max.bytes", "3000000")]));
    let rows = describe_topic(&config, &BTreeMap::new());
    let broker_places = [
        ("message.max.bytes", "3000000", DynamicBroker),
        ("message.max.bytes", "2000000", DynamicDefaultBroker),
        ("message.max.bytes", "1048588", Default),
    ];
    assert_row(&row(&rows, "max.message.bytes"), "3000000", DynamicBroker, &broker_places);
    let rows = describe_topic(&config, &map(&[("max.message.bytes", "4000000")]));
    let mut places = vec![("max.message.bytes", "4000000", DynamicTopic)];
    places.extend(broker_places);
    assert_row(&row(&rows, "max.message.bytes"), "4000000", DynamicTopic, &places);
    assert_eq!(rows.len(), 33);
}

#[test]
fn values_in_other_units_give_values_and_no_source() {
    let config = broker(&[("log.retention.hours", "24")]);
    let rows = describe_topic(&config, &BTreeMap::new());
    assert_row(&row(&rows, "retention.ms"), "86400000", Default, &[]);
    assert_row(&row(&rows, "flush.ms"), "9223372036854775807", Default, &[]);
    config.update_dynamic(map(&[("log.retention.ms", "100000")]), BTreeMap::new());
    let rows = describe_topic(&config, &BTreeMap::new());
    let places = [
        ("log.retention.ms", "100000", DynamicDefaultBroker),
        ("log.retention.hours", "24", StaticBroker),
        ("log.retention.hours", "168", Default),
    ];
    assert_row(&row(&rows, "retention.ms"), "100000", DynamicDefaultBroker, &places);
    let rows = describe_broker(&config, &HashSet::new());
    assert_row(&row(&rows, "log.retention.ms"), "100000", DynamicDefaultBroker, &places);
    assert_eq!(row(&rows, "log.retention.minutes").value, None);
    // Hidden by the dynamic value of its synonym.
    assert_eq!(row(&rows, "log.retention.hours").value.as_deref(), Some("168"));
    assert_eq!(row(&rows, "log.retention.minutes").source, Default);
}

#[test]
fn broker_rows_say_what_can_change() {
    let config = broker(&[("node.id", "7"), ("num.partitions", "3")]);
    let rows = describe_broker(&config, &HashSet::new());
    let id = row(&rows, "broker.id");
    assert_row(&id, "7", StaticBroker, &[("broker.id", "7", StaticBroker), ("broker.id", "-1", Default)]);
    assert!(id.read_only && !row(&rows, "message.max.bytes").read_only);
    assert_eq!(row(&rows, "num.partitions").kind_id(), 3);
    assert!(rows.iter().all(|row| row.documentation.is_some() && (!row.sensitive || row.value.is_none())));
}

#[test]
fn names_that_ottla_does_not_have_are_kept_and_hidden() {
    let config = broker(&[]);
    let warnings = config.update_dynamic(map(&[("num.network.threads", "2")]), map(&[("foo", "secret")]));
    assert_eq!(warnings, ["dynamic configuration foo: Ottla does not know it; it is kept and has no effect"]);
    let rows = describe_broker(&config, &HashSet::new());
    let foo = row(&rows, "foo");
    assert_eq!((foo.value, foo.sensitive, foo.read_only, foo.source), (None, true, true, DynamicBroker));
    assert_eq!(foo.synonyms[0].value, None);
    assert_eq!(row(&rows, "num.network.threads").value.as_deref(), Some("2"));
}

#[test]
fn the_rows_are_those_of_kafka() {
    let names = |config: &BrokerConfig, wanted: &[&str]| -> Vec<String> {
        let mut names: Vec<String> =
            describe_broker(config, &wanted.iter().copied().collect()).into_iter().map(|row| row.name).collect();
        names.sort_unstable();
        names
    };
    let is_shown = |key: &KafkaConfigKey| key.scope == "broker" && !key.internal && key.update_mode != "dynamic-only";
    let mut kafkas: Vec<&str> = kafka_configs().filter(is_shown).map(|key| key.name).collect();
    kafkas.sort_unstable();
    assert_eq!(names(&broker(&[]), &[]), kafkas);
    assert!(kafkas.len() > 300);
    // What is asked for by name is shown, and what was given.
    assert_eq!(names(&broker(&[]), &["ottla.memory.bytes", "broker.rack"]), ["broker.rack", "ottla.memory.bytes"]);
    let given = broker(&[("ottla.memory.bytes", "2000000"), ("log.initial.task.delay.ms", "5"), ("no.such", "x")]);
    assert_eq!(names(&given, &[]).len(), kafkas.len() + 3);
    let hidden = row(&describe_broker(&given, &HashSet::new()), "no.such");
    assert_eq!(
        (hidden.value.as_deref(), hidden.sensitive, hidden.kind_id(), hidden.source),
        (None, true, 0, StaticBroker)
    );
}

#[test]
fn secrets_are_not_shown() {
    let config = broker(&[("ssl.key.password", "x"), ("listener.name.a.plain.sasl.jaas.config", "y")]);
    let rows = describe_broker(&config, &HashSet::new());
    for name in ["ssl.key.password", "listener.name.a.plain.sasl.jaas.config"] {
        let row = row(&rows, name);
        assert_eq!((row.value.as_deref(), row.sensitive, row.kind_id(), row.source), (None, true, 9, StaticBroker));
        assert!(row.synonyms.iter().all(|synonym| synonym.value.is_none()));
    }
    assert!(!format!("{rows:?}").contains("\"y\""));
}

#[test]
fn numbers_of_threads_change_step_by_step() {
    let config = broker(&[("num.io.threads", "4")]);
    let check = |threads: &str| {
        check_broker_overrides(&config, false, &map(&[("num.io.threads", threads)])).map_err(|error| error.to_string())
    };
    assert_eq!(check("8"), Ok(()));
    let failed = |reason: &str| {
        let cause = format!("Dynamic thread count update validation failed for num.io.threads={reason}");
        Err(format!(
            "Invalid value org.apache.kafka.common.config.ConfigException: {cause} for configuration Invalid dynamic configuration"
        ))
    };
    assert_eq!(check("9"), failed("9, value should not be greater than double the current value 4"));
    assert_eq!(check("1"), failed("1, value should be at least half the current value 4"));
}

#[test]
fn the_cluster_shows_what_was_set_for_it() {
    let config = broker(&[("message.max.bytes", "7")]);
    config.update_dynamic(map(&[("message.max.bytes", "2000000")]), map(&[("num.partitions", "9")]));
    let rows = describe_cluster_defaults(&config);
    assert_eq!(rows.len(), 1);
    let places = [("message.max.bytes", "2000000", DynamicDefaultBroker)];
    assert_row(&rows[0], "2000000", DynamicDefaultBroker, &places);
}

#[test]
fn dynamic_values_are_in_force_and_can_go() {
    let config = broker(&[("message.max.bytes", "5")]);
    let max = |config: &BrokerConfig| LogConfig::from_stored_overrides(config, &BTreeMap::new()).max_message_bytes;
    assert_eq!(max(&config), 5);
    config.update_dynamic(map(&[("message.max.bytes", "6")]), BTreeMap::new());
    assert_eq!(max(&config), 6);
    let ignored = config.update_dynamic(BTreeMap::new(), map(&[("message.max.bytes", "-6"), ("num.partitions", "9")]));
    assert_eq!(ignored.len(), 2, "{ignored:?}");
    assert_eq!((max(&config), config.num_partitions()), (5, 1));
}

#[test]
fn broker_changes_are_checked_as_by_kafka() {
    let config = broker(&[]);
    let check = |is_cluster: bool, pairs: &[(&str, &str)]| {
        check_broker_overrides(&config, is_cluster, &map(pairs)).map_err(|error| error.to_string())
    };
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[("num.partitions", "abc")], "Cannot update these configs dynamically: [num.partitions]"),
        (&[("num.io.threads", "3"), ("broker.rack", "x")], "Cannot update these configs dynamically: [broker.rack]"),
        (
            &[("transaction.max.timeout.ms", "3")],
            "Cannot update these configs dynamically: [transaction.max.timeout.ms]",
        ),
        (
            &[("message.max.bytes", "abc")],
            "Invalid value abc for configuration message.max.bytes: Not a number of type INT",
        ),
        (
            &[("message.max.bytes", "-1")],
            "Invalid value -1 for configuration message.max.bytes: Value must be at least 0",
        ),
        (
            &[("log.retention.ms", "0")],
            "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
        ),
        (&[("log.roll.ms", "0")], "requirement failed: log.roll.ms must be greater than or equal to 1"),
        (&[("log.roll.jitter.ms", "-1")], "requirement failed: log.roll.jitter.ms must be greater than or equal to 0"),
    ];
    for (pairs, expected) in cases {
        assert_eq!(check(false, pairs), Err(expected.to_owned()));
    }
    assert_eq!(check(false, &[("foo", "1"), ("message.max.bytes", "5"), ("log.flush.interval.ms", "-5")]), Ok(()));
    assert_eq!(
        check(true, &[("principal.builder.class", "x")]),
        Err("Cannot update these configs at default cluster level, broker id must be specified: [principal.builder.class]"
            .to_owned())
    );
}

#[test]
fn topic_values_are_refused_in_kafkas_words() {
    let config = broker(&[]);
    let check = |name: &str, value: &str| {
        LogConfig::from_overrides(&config, &map(&[(name, value)])).map(drop).map_err(|error| error.to_string())
    };
    let cases = [
        ("foo", "1", "Unknown topic config name: foo"),
        ("retention.ms", "abc", "Invalid value abc for configuration retention.ms: Not a number of type LONG"),
        ("retention.ms", "", "Invalid value  for configuration retention.ms: Not a number of type LONG"),
        ("retention.ms", "-5", "Invalid value -5 for configuration retention.ms: Value must be at least -1"),
        (
            "segment.bytes",
            "3000000000",
            "Invalid value 3000000000 for configuration segment.bytes: Not a number of type INT",
        ),
        (
            "cleanup.policy",
            "bad",
            "Invalid value bad for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        ("cleanup.policy", "delete,", "Configuration 'cleanup.policy' values must not be empty."),
        (
            "compression.type",
            "bad",
            "Invalid value bad for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, \
             gzip, producer",
        ),
        (
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
        (
            "min.cleanable.dirty.ratio",
            "2",
            "Invalid value 2.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
        ),
        (
            "preallocate",
            "maybe",
            "Invalid value maybe for configuration preallocate: Expected value to be either true or false",
        ),
        (
            "leader.replication.throttled.replicas",
            "x",
            "Invalid value [x] for configuration leader.replication.throttled.replicas: \
             leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: \
             [partitionId]:[brokerId],[partitionId]:[brokerId],...",
        ),
        (
            "remote.storage.enable",
            "true",
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
        ),
    ];
    for (name, value, expected) in cases {
        assert_eq!(check(name, value), Err(expected.to_owned()));
    }
    for (name, value) in [
        ("cleanup.policy", "delete,delete"),
        ("cleanup.policy", ""),
        ("cleanup.policy", " delete , compact"),
        ("leader.replication.throttled.replicas", "*"),
        ("leader.replication.throttled.replicas", "1:2,3:4"),
        ("segment.bytes", " 2097152 "),
        ("preallocate", "TRUE"),
        ("min.insync.replicas", "5"),
    ] {
        assert_eq!(check(name, value), Ok(()), "{name}={value}");
    }
    let policies = describe_topic(&config, &map(&[("cleanup.policy", "delete,delete")]));
    assert_eq!(row(&policies, "cleanup.policy").value.as_deref(), Some("delete"));
}
