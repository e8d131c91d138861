//! What can be said at the start, and what is answered.

use super::*;
use crate::config::SecurityProtocol;

fn file(text: &str) -> StartInput {
    StartInput { file: Some(("server.properties".to_owned(), text.to_owned())), ..StartInput::default() }
}

fn variables(pairs: &[(&str, &str)]) -> StartInput {
    let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    StartInput { environment, ..StartInput::default() }
}

fn read(input: &StartInput) -> StartOptions {
    StartOptions::read(input).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(input: &StartInput) -> String {
    StartOptions::read(input).err().expect("refused").to_string()
}

#[test]
fn nothing_is_needed() {
    let options = read(&StartInput::default());
    assert_eq!(options.config.node_id(), 1);
    assert_eq!(options.config.log_dirs(), [std::path::PathBuf::from("./ottla-data")]);
    let listener = &options.config.listeners()[0];
    assert_eq!((listener.name.as_str(), listener.host.as_str(), listener.port), ("PLAINTEXT", "", 9092));
    assert!(options.config.advertised_listeners().is_empty());
    assert!(options.warnings.is_empty() && options.declared.topics.is_empty() && !options.ephemeral);
}

#[test]
fn later_places_win() {
    let mut input = file("num.partitions=2\nnum.partitions = 3\nlog.dir=/a\nmessage.max.bytes=100");
    input.environment = vec![("KAFKA_NUM_PARTITIONS".to_owned(), "4".to_owned())];
    assert_eq!(read(&input).config.num_partitions(), 4);
    input.overrides = vec!["num.partitions=5".to_owned(), "num.partitions=6".to_owned()];
    input.data = Some("/b".to_owned());
    let options = read(&input);
    assert_eq!(options.config.num_partitions(), 6);
    assert_eq!(options.config.log_dirs(), [std::path::PathBuf::from("/b")]);
    input.overrides.push("log.dirs=/c,/d".to_owned());
    assert_eq!(read(&input).config.log_dirs().len(), 2);
}

#[test]
fn the_file_of_a_stock_kafka_is_taken() {
    let options = read(&file(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
         listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
         advertised.listeners=PLAINTEXT://localhost:9092\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL\n\
         num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\nlog.dirs=/tmp/kraft-combined-logs\n\
         offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\nlog.retention.hours=168\n",
    ));
    assert_eq!(options.config.listeners().len(), 1);
    assert_eq!(options.config.advertised_listeners()[0].host, "localhost");
    assert!(options.warnings.is_empty(), "{:?}", options.warnings);
}

#[test]
fn variables_advertise_and_open() {
    let options = read(&variables(&[
        ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://broker:29092,HOST://localhost:9092"),
        ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "PLAINTEXT:PLAINTEXT,HOST:PLAINTEXT"),
        ("CLUSTER_ID", "5L6g3nShT-eMCtK--X86sw"),
        ("KAFKA_HEAP_OPTS", "-Xmx1G"),
        ("PATH", "/bin"),
    ]));
    let ports: Vec<(&str, u16)> =
        options.config.listeners().iter().map(|listener| (listener.host.as_str(), listener.port)).collect();
    assert_eq!(ports, [("", 29092), ("", 9092)]);
    assert_eq!(options.config.listeners()[1].protocol, SecurityProtocol::Plaintext);
    assert_eq!(options.cluster_id.as_deref(), Some("5L6g3nShT-eMCtK--X86sw"));
    assert!(options.warnings.is_empty());
    // A file that advertises another port than the default one says so on purpose.
    let options = read(&file("advertised.listeners=PLAINTEXT://broker:29092"));
    assert_eq!(options.config.listeners()[0].port, 9092);
}

#[test]
fn errors_say_where() {
    assert_eq!(
        refused(&file("# one\nnum.partitions=many")),
        "server.properties:2: Invalid value many for configuration num.partitions: Not a number of type INT"
    );
    assert_eq!(
        refused(&variables(&[("KAFKA_LOG_SEGMENT_BYTES", "5")])),
        "environment variable KAFKA_LOG_SEGMENT_BYTES: Invalid value 5 for configuration log.segment.bytes: Value must be at \
         least 1048576"
    );
    assert_eq!(
        refused(&file("num.io.threads=none")),
        "server.properties:1: Invalid value none for configuration num.io.threads: Not a number of type INT"
    );
    let input = StartInput { overrides: vec!["num.partitions".to_owned()], ..StartInput::default() };
    assert!(refused(&input).starts_with("--override num.partitions: expected key=value"));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let cases = [
        ("listeners=PLAINTEXT://:9092,PLAINTEXT://:9093", "different name"),
        (
            "listeners=A://:9092\nlistener.security.protocol.map=B:PLAINTEXT",
            "No security protocol defined for listener A",
        ),
        ("listeners=SSL://:9092", "not implemented yet"),
        ("listeners=PLAINTEXT://host", "a listener is NAME://host:port"),
        ("listeners=PLAINTEXT://host:99999", "99999 is not a port"),
        ("listeners=", "must not be empty"),
        ("listeners=PLAINTEXT://:9092\ncontroller.listener.names=PLAINTEXT", "no listener for clients"),
        ("advertised.listeners=PLAINTEXT://0.0.0.0:9092", "nonroutable meta-address"),
        (
            "advertised.listeners=OTHER://h:1\nlistener.security.protocol.map=OTHER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "not in listeners",
        ),
        ("inter.broker.listener.name=OTHER", "valid options based on currently configured listeners are PLAINTEXT"),
        ("security.inter.broker.protocol=SSL", "only PLAINTEXT"),
        ("node.id=1\nbroker.id=2", "same value as `broker.id`"),
        ("process.roles=broker", "broker and controller in one process"),
        ("controller.quorum.voters=1@a:9093,2@b:9093", "this process"),
        ("controller.quorum.bootstrap.servers=a:1,b:2", "this process"),
        ("log.retention.ms=0", "must be unlimited"),
        ("log.roll.ms=0", "greater than or equal to 1"),
        ("group.min.session.timeout.ms=2000000", "must not be greater"),
        ("log.cleaner.min.compaction.lag.ms=9\nlog.cleaner.max.compaction.lag.ms=8", "conflict topic config"),
        ("max.connections.per.ip.overrides=zz", "address:number"),
        ("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "not implemented yet"),
    ];
    for (text, expected) in cases {
        let error = refused(&file(text));
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn units_are_converted() {
    use crate::config::LogConfig;
    let retention = |text: &str| {
        LogConfig::from_overrides(&read(&file(text)).config, &BTreeMap::new()).expect("a configuration").retention_ms
    };
    assert_eq!(retention("log.retention.hours=2"), 2 * 60 * 60 * 1000);
    assert_eq!(retention("log.retention.hours=2\nlog.retention.minutes=3"), 3 * 60 * 1000);
    assert_eq!(retention("log.retention.minutes=3\nlog.retention.ms=4"), 4);
    assert_eq!(retention("log.retention.hours=-1"), -1);
}

#[test]
fn mistakes_are_named() {
    let options = read(&file(
        "listners=PLAINTEXT://:1\nretention.ms=1\nzookeeper.connect=localhost:2181\nconfluent.license.topic=x\nssl.client.auth=none\n\
         ssl.keystore.location=/x\nsuper.users=User:a\nlistener.name.a.max.connections=5\nlog.preallocate=false",
    ));
    assert_eq!(
        options.warnings,
        [
            "server.properties:1: unknown configuration listners is ignored; did you mean listeners?",
            "server.properties:2: unknown configuration retention.ms is ignored; it is a topic configuration; the broker's \
             default for all topics is log.retention.ms",
            "these Kafka configurations are not implemented yet and have no effect: listener.name.a.max.connections, \
             log.preallocate, ssl.keystore.location, super.users",
            "these configurations are of older releases or other distributions and not needed: confluent.license.topic, \
             zookeeper.connect",
        ]
    );
}

#[test]
fn variables_declare_topics_and_levels() {
    let options = read(&variables(&[
        ("KAFKA_CREATE_TOPICS", "a:3:1,b:1:1:compact"),
        ("KAFKA_LOG4J_ROOT_LOGLEVEL", "WARN"),
        ("KAFKA_CFG_NUM_PARTITIONS", "4"),
    ]));
    let topics: Vec<(&str, Option<i32>)> =
        options.declared.topics.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect();
    assert_eq!(topics, [("a", Some(3)), ("b", Some(1))]);
    assert_eq!(options.log_levels, [("root".to_owned(), "WARN".to_owned())]);
    assert_eq!(options.config.num_partitions(), 4);
    for (text, expected) in [("a b:1:1", "no topic name"), ("a:1:1:never", "String must be one of: compact, delete")] {
        let error = refused(&variables(&[("KAFKA_CREATE_TOPICS", text)]));
        assert!(error.starts_with("environment variable KAFKA_CREATE_TOPICS") && error.contains(expected), "{error}");
    }
}

#[test]
fn topics_are_declared() {
    let topic = |text: &str| {
        let input = StartInput { topics: vec![text.to_owned()], ..StartInput::default() };
        StartOptions::read(&input)
            .map(|mut options| options.declared.topics.remove(0))
            .map_err(|error| error.to_string())
    };
    let plain = topic("orders").expect("a topic");
    assert_eq!((plain.name.as_str(), plain.partitions), ("orders", None));
    let full = topic("orders:12:cleanup.policy=compact,delete,retention.ms=5").expect("a topic");
    assert_eq!(full.partitions, Some(12));
    let configs: Vec<(&str, &str)> = full.configs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(configs, [("cleanup.policy", "compact,delete"), ("retention.ms", "5")]);
    let cases = [
        ("", "no topic name"),
        ("a b:1", "no topic name"),
        ("a:0", "'0' is no number of partitions"),
        ("a:x", "'x' is no number of partitions"),
        ("a:1:b", "'b' is no configuration"),
        ("a:1:segment.bytes=1", "Value must be at least 1048576"),
        ("a:1:foo=1", "Unknown topic config name: foo"),
    ];
    for (text, expected) in cases {
        let error = topic(text).expect_err("refused");
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn two_phase_commit_is_refused_at_the_start() {
    let refused =
        StartOptions::read(&file("transaction.two.phase.commit.enable=true\n")).err().map(|error| error.to_string());
    assert!(refused.is_some_and(|error| error.contains("transaction.two.phase.commit.enable")));
    assert!(StartOptions::read(&file("transaction.two.phase.commit.enable=false\n")).is_ok());
}
