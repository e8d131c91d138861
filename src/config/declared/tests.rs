//! What is declared, well and badly.

use super::*;

fn read(lists: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Declarations, String> {
    let config = BrokerConfig::default();
    let mut declarations = Declarations::default();
    let result = (|| {
        for (place, list) in lists {
            declarations.add_topic_list(list, place, &config)?;
        }
        for (file, text) in files {
            declarations.add_seed_file(file, text, &config)?;
        }
        declarations.check(&config)
    })();
    result.map(|()| declarations).map_err(|error: ConfigError| error.to_string())
}

fn records(text: &str) -> Vec<SeedRecord> {
    read(&[], &[("f", text)]).expect("a file").seeds
}

#[test]
fn a_list_has_many_topics() {
    let list = "orders:12:cleanup.policy=compact,delete,retention.ms=-1; payments:3;\n audit\n";
    let topics = read(&[("OTTLA_TOPICS", list)], &[]).expect("a list").topics;
    let shown: Vec<(&str, Option<i32>, usize)> =
        topics.iter().map(|topic| (topic.name.as_str(), topic.partitions, topic.configs.len())).collect();
    assert_eq!(shown, [("orders", Some(12), 2), ("payments", Some(3), 0), ("audit", None, 0)]);
    assert_eq!(topics[0].configs["cleanup.policy"], "compact,delete");
    assert_eq!(topics[1].place, "OTTLA_TOPICS payments:3");
}

#[test]
fn a_file_has_topics_and_records() {
    let file = concat!(
        "\u{feff}# fixtures\n",
        r#"{"topic":"orders","partitions":2,"configs":{"retention.ms":-1,"cleanup.policy":"compact","preallocate":false}}"#,
        "\n\n  // records\n",
        r#"{"topic":"orders","key":"k","value":"text","partition":1,"timestamp":5,"headers":{"z":"1","a":null}}"#,
        "\r\n",
        r#"{"topic":"other","value":{"b": 1,"a":[true]}}"#,
    );
    let declared = read(&[], &[("f", file)]).expect("a file");
    assert_eq!(declared.topics.len(), 2);
    let orders = &declared.topics[0];
    let configs: Vec<(&str, &str)> = orders.configs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(configs, [("cleanup.policy", "compact"), ("preallocate", "false"), ("retention.ms", "-1")]);
    assert!((declared.topics[1].name.as_str(), declared.topics[1].is_implied) == ("other", true));
    let [first, second] = &declared.seeds[..] else { panic!("two records") };
    assert_eq!((first.partition, first.timestamp, first.place().as_str()), (Some(1), Some(5), "f:5"));
    assert_eq!((first.key.as_deref(), first.value.as_deref()), (Some(&b"k"[..]), Some(&b"text"[..])));
    assert_eq!(first.headers, [("z".to_owned(), Some(b"1".to_vec())), ("a".to_owned(), None)]);
    assert_eq!(second.value.as_deref(), Some(&br#"{"b": 1,"a":[true]}"#[..]));
}

#[test]
fn bytes_nothing_and_json_are_told_apart() {
    let value = |text: &str| records(&format!(r#"{{"topic":"t",{text}}}"#)).remove(0);
    assert_eq!(value(r#""value":null"#).value, None);
    assert_eq!(value(r#""value":"null""#).value.as_deref(), Some(&b"null"[..]));
    assert_eq!(value(r#""value":"""#).value.as_deref(), Some(&b""[..]));
    assert_eq!(value(r#""value":17"#).value.as_deref(), Some(&b"17"[..]));
    assert_eq!(value(r#""value":"\u00e9\n""#).value.as_deref(), Some("é\n".as_bytes()));
    assert_eq!(value(r#""valueBase64":"AP8=""#).value.as_deref(), Some(&[0, 255][..]));
    assert_eq!(value(r#""keyBase64":"","value":1"#).key.as_deref(), Some(&b""[..]));
    let headers = value(r#""value":1,"headers":[{"key":"h","value":"a"},{"key":"h","valueBase64":"AA=="}]"#).headers;
    assert_eq!(headers, [("h".to_owned(), Some(b"a".to_vec())), ("h".to_owned(), Some(vec![0]))]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases = [
        (r#"{"topic":"t","valu":1}"#, "f:1: unknown field `valu`"),
        (r#"{"value":1}"#, "f:1: missing field `topic`"),
        ("{\"topic\":\"t\"}\n{\"topic\":", "f:2: EOF"),
        (r#"{"topic":"a b"}"#, "f:1: 'a b' is no topic name"),
        (r#"{"topic":"a b","value":1}"#, "f:1: 'a b' is no topic name"),
        (r#"{"topic":"t","partitions":0}"#, "f:1: 0 is no number of partitions"),
        (r#"{"topic":"t","configs":{"retention.ms":"x"}}"#, "f:1: Invalid value x for configuration retention.ms"),
        (r#"{"topic":"t","configs":{"retention.ms":null}}"#, "f:1: retention.ms: a value is a text"),
        (r#"{"topic":"t","configs":{"foo":1}}"#, "f:1: Unknown topic config name: foo"),
        (r#"{"topic":"t","key":"k"}"#, "f:1: a record needs \"value\""),
        (r#"{"topic":"t","value":1,"partitions":3}"#, "f:1: \"partitions\" and \"configs\" declare a topic"),
        (r#"{"topic":"t","value":1,"valueBase64":""}"#, "f:1: \"value\" and \"valueBase64\" exclude each other"),
        (r#"{"topic":"t","valueBase64":"%"}"#, "f:1: \"valueBase64\" is no base64"),
        (r#"{"topic":"t","value":1,"timestamp":-5}"#, "f:1: -5 is no timestamp"),
        (r#"{"topic":"t","value":1,"headers":"x"}"#, "f:1: invalid type: string"),
        (r#"{"topic":"t","value":1,"partition":1}"#, "f:1: topic t has no partition 1: it is declared with 1"),
        (r#"{"topic":"t","value":1,"partition":-1}"#, "f:1: topic t has no partition -1"),
        (r#"{"topic":"__consumer_offsets","value":1}"#, "f:1: topic __consumer_offsets is the broker's own"),
    ];
    for (text, expected) in cases {
        let error = read(&[], &[("f", text)]).expect_err(text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn two_declarations_must_be_equal() {
    let declared = |second: &str| read(&[("--topic", "t:3"), ("OTTLA_TOPICS", second)], &[]);
    assert_eq!(declared("t:3").expect("equal").topics.len(), 1);
    let error = declared("t:4").expect_err("different");
    assert_eq!(
        error,
        "OTTLA_TOPICS t:4: topic t is declared differently by --topic t:3: keep one of them, or make them equal"
    );
    // A record declares nothing that a declaration could differ from, before it or behind it.
    let record = r#"{"topic":"t","value":1,"partition":2}"#;
    let declared = read(&[("--topic", "t:3")], &[("f", record)]).expect("declared before");
    assert_eq!(declared.topics[0].partitions, Some(3));
    let behind = format!("{record}\n{}", r#"{"topic":"t","partitions":3}"#);
    let declared = read(&[], &[("f", &behind)]).expect("declared behind");
    assert_eq!((declared.topics.len(), declared.topics[0].partitions), (1, Some(3)));
}
