//! What variables stand for, as the images map them.

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let settings = read_environment(&environment(pairs));
    settings.properties.into_iter().map(|property| (property.key, property.value)).collect()
}

#[test]
fn variables_are_mapped_as_by_the_official_image() {
    let cases = [
        ("KAFKA_NODE_ID", "node.id"),
        ("KAFKA_ADVERTISED_LISTENERS", "advertised.listeners"),
        (
            "KAFKA_LISTENER_NAME_SASL_SCRAM___SHA___256_SASL_JAAS_CONFIG",
            "listener.name.sasl.scram-sha-256.sasl.jaas.config",
        ),
        ("KAFKA_LISTENER_NAME_MY__ONE_MAX_CONNECTIONS", "listener.name.my_one.max.connections"),
        ("KAFKA_OTTLA_MEMORY_BYTES", "ottla.memory.bytes"),
        ("OTTLA_MEMORY_BYTES", "ottla.memory.bytes"),
        ("KAFKA_LOG_DIRS", "log.dirs"),
        ("KAFKA_CFG_NUM_PARTITIONS", "num.partitions"),
    ];
    for (variable, property) in cases {
        assert_eq!(property_of_variable(variable).as_deref(), Some(property));
    }
}

#[test]
fn variables_of_the_scripts_are_left_alone() {
    for variable in [
        "KAFKA_HEAP_OPTS",
        "KAFKA_OPTS",
        "KAFKA_LOG4J_LOGGERS",
        "KAFKA_JMX_PORT",
        "KAFKA_VERSION",
        "KAFKA_ENABLE_KRAFT",
        "KAFKA_PORT_9092_TCP_ADDR",
        "KAFKA_SERVICE_HOST",
        "KAFKA_",
        "PATH",
        "MY_KAFKA_NODE_ID",
        "OTTLA_BIN",
    ] {
        assert_eq!(property_of_variable(variable), None, "{variable}");
    }
    let of_others = [
        ("KAFKA_UI_SERVICE_HOST", "10.0.0.1"),
        ("KAFKA_UI_SERVICE_PORT_HTTP", "80"),
        ("KAFKA_UI_PORT", "tcp://10.0.0.1:80"),
        ("KAFKA_UI_PORT_80_TCP_PROTO", "tcp"),
        ("KAFKA_ENV_PATH", "/bin"),
        ("KAFKA_CLUSTER_ID", "x"),
        ("HOME", "/root"),
    ];
    assert_eq!(read_environment(&environment(&of_others)), EnvironmentSettings::default());
}

#[test]
fn the_more_special_variable_wins() {
    let pairs = [
        ("OTTLA_MEMORY_BYTES", "3000000"),
        ("KAFKA_CFG_OTTLA_MEMORY_BYTES", "2000000"),
        ("KAFKA_OTTLA_MEMORY_BYTES", "1000000"),
        ("KAFKA_CFG_NUM_PARTITIONS", "2"),
        ("KAFKA_NUM_PARTITIONS", "1"),
    ];
    let given = given(&pairs);
    assert_eq!(given.get("ottla.memory.bytes").map(String::as_str), Some("3000000"));
    assert_eq!(given.get("num.partitions").map(String::as_str), Some("2"));
    assert_eq!(given.len(), 2);
}

#[test]
fn clusters_and_addresses_have_older_names() {
    let settings = read_environment(&environment(&[("KAFKA_KRAFT_CLUSTER_ID", "abc"), ("CLUSTER_ID", "")]));
    assert_eq!(settings.cluster_id.as_deref(), Some("abc"));
    let advertised = |pairs: &[(&str, &str)]| given(pairs).remove("advertised.listeners").unwrap_or_default();
    assert_eq!(advertised(&[("KAFKA_ADVERTISED_HOST_NAME", "kafka")]), "PLAINTEXT://kafka:9092");
    let both = [("KAFKA_ADVERTISED_HOST_NAME", "kafka"), ("KAFKA_ADVERTISED_PORT", "9093")];
    assert_eq!(advertised(&both), "PLAINTEXT://kafka:9093");
    let newer = [("KAFKA_ADVERTISED_HOST_NAME", "kafka"), ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://b:1")];
    assert_eq!(advertised(&newer), "PLAINTEXT://b:1");
}

#[test]
fn values_may_stand_in_files() {
    let found = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let files = variables_in_files(&environment(pairs)).into_iter();
        files.map(|file| (file.stands_for, file.path)).collect()
    };
    let expect = |stands_for: &str, path: &str| vec![(stands_for.to_owned(), path.to_owned())];
    assert_eq!(found(&[("KAFKA_NODE_ID_FILE", "/run/id")]), expect("KAFKA_NODE_ID", "/run/id"));
    assert_eq!(found(&[("KAFKA_CFG_NODE_ID_FILE", "/run/id")]), expect("KAFKA_CFG_NODE_ID", "/run/id"));
    assert_eq!(found(&[("CLUSTER_ID_FILE", "/run/id")]), expect("CLUSTER_ID", "/run/id"));
    assert_eq!(
        found(&[("KAFKA_SSL_KEYSTORE_CREDENTIALS", "keystore")]),
        expect("KAFKA_SSL_KEYSTORE_PASSWORD", "/etc/kafka/secrets/keystore")
    );
    // A configuration of that name, no configuration at all, nothing.
    let none = [("KAFKA_SASL_OAUTHBEARER_ASSERTION_FILE", "/x"), ("KAFKA_FOO_FILE", "/x"), ("KAFKA_NODE_ID_FILE", "")];
    assert!(found(&none).is_empty());
    assert!(given(&[("KAFKA_NODE_ID_FILE", "/run/id")]).is_empty());
    let keystore = given(&[("KAFKA_SSL_KEYSTORE_FILENAME", "k.jks"), ("KAFKA_SSL_KEYSTORE_CREDENTIALS", "c")]);
    assert_eq!(keystore.get("ssl.keystore.location").map(String::as_str), Some("/etc/kafka/secrets/k.jks"));
    assert_eq!(keystore.len(), 1);
}

#[test]
fn loggers_have_levels() {
    let settings = read_environment(&environment(&[
        ("KAFKA_LOG4J_ROOT_LOGLEVEL", "warn"),
        ("KAFKA_LOG4J_LOGGERS", "kafka.server.KafkaApis=DEBUG, kafka.log=oops,stdout,root=ERROR"),
    ]));
    let levels: Vec<(&str, &str)> =
        settings.log_levels.iter().map(|(logger, level)| (logger.as_str(), level.as_str())).collect();
    assert_eq!(levels, [("root", "WARN"), ("kafka.server.KafkaApis", "DEBUG"), ("root", "ERROR")]);
    assert_eq!(settings.warnings.len(), 1);
    assert!(settings.warnings[0].contains("KAFKA_LOG4J_LOGGERS: OOPS is no level"), "{:?}", settings.warnings);
}

#[test]
fn topics_are_created_as_by_older_images() {
    let topics = |pairs: &[(&str, &str)]| {
        topics_of_environment(&environment(pairs)).map_err(|error| error.to_string()).map(|topics| {
            let text = topics.into_iter().map(|topic| {
                format!("{}:{:?}:{:?}", topic.name, topic.partitions, topic.configs.get("cleanup.policy"))
            });
            text.collect::<Vec<_>>()
        })
    };
    let expected =
        vec!["a:Some(3):None".to_owned(), "b:Some(1):Some(\"compact\")".to_owned(), "c:None:None".to_owned()];
    assert_eq!(topics(&[("KAFKA_CREATE_TOPICS", "a:3:1, b:1:1:compact,c")]), Ok(expected.clone()));
    assert_eq!(topics(&[("KAFKA_CREATE_TOPICS", "a:3:2\n b:1:1:compact\n\nc:\n")]), Ok(expected.clone()));
    let separated = [("KAFKA_CREATE_TOPICS", "a:3:1;b:1:1:compact;c"), ("KAFKA_CREATE_TOPICS_SEPARATOR", ";")];
    assert_eq!(topics(&separated), Ok(expected));
    let both = [("KAFKA_CREATE_TOPICS", "a:1:1:compact,delete"), ("KAFKA_CREATE_TOPICS_SEPARATOR", "$'\\n'")];
    assert_eq!(topics(&both), Ok(vec!["a:Some(1):Some(\"compact,delete\")".to_owned()]));
    assert_eq!(topics(&[]), Ok(Vec::new()));
    for (text, reason) in [("a:0:1", "one partition"), ("a:x:1", "one partition"), ("a:1:0", "one replica")] {
        let error = topics(&[("KAFKA_CREATE_TOPICS", text)]).expect_err("refused");
        assert!(error.contains(reason) && error.contains("KAFKA_CREATE_TOPICS"), "{error}");
    }
}

#[test]
fn mistakes_in_our_own_names_are_told() {
    let settings = read_environment(&environment(&[("OTTLA_MEMORY_BYTE", "1"), ("OTTLA_BIN", "/bin/ottla")]));
    assert_eq!(
        settings.warnings,
        ["environment variable OTTLA_MEMORY_BYTE is ignored; did you mean ottla.memory.bytes?"]
    );
}
