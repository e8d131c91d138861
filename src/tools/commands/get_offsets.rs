//! `kafka-get-offsets.sh` (`GetOffsetShell`).

use std::collections::{BTreeMap, BTreeSet};

use super::bootstrap_server::validate_bootstrap_server;
use super::java_error::{describe_topics, java_error};
use super::known_options::option_parser;
use super::{CommandError, Console, client_config};
use crate::client::{
    ClusterClient, EARLIEST_LOCAL_TIMESTAMP, EARLIEST_PENDING_UPLOAD_TIMESTAMP, EARLIEST_TIMESTAMP, IsolationLevel,
    LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, MAX_TIMESTAMP, PartitionOffset, list_offsets,
};
use crate::tools::topic_filter::TopicFilter;
use crate::types::TopicPartition;

const USAGE: &str = "An interactive shell for getting topic-partition offsets.";
const TIMES: &str = "-1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or \
                     earliest-pending-upload";

/// Runs the command.
///
/// # Errors
/// What makes Kafka's command end with another code than 0.
pub async fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), CommandError> {
    let parser = option_parser("kafka-get-offsets");
    if arguments.is_empty() {
        return Err(parser.usage(USAGE));
    }
    let options = parser.parse(arguments).map_err(|error| terse(&error.to_string()))?;
    parser.help_or_version(&options, USAGE)?;
    parser.required(&options, &["bootstrap-server"])?;
    validate_bootstrap_server(options.value("bootstrap-server")?).map_err(|message| parser.usage(message))?;
    let by_pattern = options.has("topic-partitions");
    if by_pattern && (options.has("topic") || options.has("partitions")) {
        return Err(terse("--topic-partitions cannot be used with --topic or --partitions"));
    }
    let timestamp = parse_time(options.value("time")?.unwrap_or("latest"))?;
    let filter = match options.value("topic-partitions")? {
        Some(patterns) => Filter::of_patterns(patterns)?,
        None => Filter::of_topic(options.value("topic")?, options.value("partitions")?)?,
    };
    let config = client_config(&options, "bootstrap-server", "command-config", "GetOffsetShell", console)
        .map_err(|error| terse(&error.to_string()))?;
    let mut cluster = ClusterClient::open(config, console.env.clock.clone()).await?;
    let lines = fetch(&mut cluster, &filter, timestamp, options.has("exclude-internal-topics"), console).await?;
    for line in lines {
        writeln!(console.out, "{line}")?;
    }
    Ok(())
}

/// An error as this command says it.
fn terse(message: &str) -> CommandError {
    CommandError::Message(format!("Error occurred: {message}"))
}

/// The offset of every partition that the filter lets through, as lines.
async fn fetch(
    cluster: &mut ClusterClient,
    filter: &Filter,
    timestamp: i64,
    without_internal: bool,
    console: &mut Console<'_>,
) -> Result<Vec<String>, CommandError> {
    let failed = |error: crate::client::ClientError| terse(&java_error(&error));
    let all = cluster.metadata(None, false).await.map_err(failed)?;
    let topics = all.topics.iter().filter(|topic| !(without_internal && topic.is_internal));
    let names: BTreeSet<String> =
        topics.map(|topic| topic.name.clone()).filter(|name| filter.allows_topic(name)).collect();
    let described = describe_topics(cluster, &names).await.map_err(failed)?;
    let mut wanted = BTreeMap::new();
    for topic in &described {
        for partition in &topic.partitions {
            if filter.allows(&topic.name, partition.index) {
                wanted.insert(TopicPartition::new(topic.name.as_str(), partition.index), timestamp);
            }
        }
    }
    if wanted.is_empty() {
        return Err(terse("Could not match any topic-partitions with the specified filters"));
    }
    let listed = list_offsets(cluster, &wanted, IsolationLevel::ReadUncommitted).await.map_err(failed)?;
    let mut found: Vec<(String, String)> = Vec::new();
    for (partition, offset) in &listed {
        match offset {
            Ok(found_at) if found_at.offset == -1 => {}
            Ok(PartitionOffset { offset, .. }) => {
                found.push((partition.to_string(), format!("{}:{}:{offset}", partition.topic, partition.partition)));
            }
            Err(error) => writeln!(
                console.err,
                "Skip getting offsets for topic-partition {partition} due to error: {}",
                java_error(error)
            )?,
        }
    }
    // By the text of topic and partition: 10 stands before 2.
    found.sort();
    Ok(found.into_iter().map(|(_, line)| line).collect())
}

fn parse_time(text: &str) -> Result<i64, CommandError> {
    Ok(match text {
        "latest" => LATEST_TIMESTAMP,
        "earliest" => EARLIEST_TIMESTAMP,
        "max-timestamp" => MAX_TIMESTAMP,
        "earliest-local" => EARLIEST_LOCAL_TIMESTAMP,
        "latest-tiered" => LATEST_TIERED_TIMESTAMP,
        "earliest-pending-upload" => EARLIEST_PENDING_UPLOAD_TIMESTAMP,
        number => number.parse().map_err(|_| {
            terse(&format!("Malformed time argument {text}. Please use {TIMES}, or a specified long format timestamp"))
        })?,
    })
}

/// Which partitions are wanted: those that one of the rules names.
#[derive(Debug)]
struct Filter(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    topics: TopicFilter,
    partitions: Partitions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Partitions {
    All,
    Some(BTreeSet<i32>),
    /// From the first to before the second.
    Range(i32, i32),
}

impl Filter {
    fn of_topic(topic: Option<&str>, partitions: Option<&str>) -> Result<Self, CommandError> {
        let partitions = match partitions {
            None | Some("") => Partitions::All,
            Some(text) => {
                let ids: Result<BTreeSet<i32>, _> = text.split(',').map(str::parse).collect();
                Partitions::Some(ids.map_err(|_| {
                    terse(&format!(
                        "--partitions expects a comma separated list of numeric partition ids, but received: {text}"
                    ))
                })?)
            }
        };
        let topics = TopicFilter::new(topic.unwrap_or(".*")).map_err(|error| terse(&error.to_string()))?;
        Ok(Self(vec![Rule { topics, partitions }]))
    }

    fn of_patterns(patterns: &str) -> Result<Self, CommandError> {
        // As Java splits: nothing is left of empty texts at the end.
        patterns.trim_end_matches(',').split(',').map(Rule::parse).collect::<Result<_, _>>().map(Self)
    }

    fn allows_topic(&self, topic: &str) -> bool {
        self.0.iter().any(|rule| rule.topics.allows(topic, false))
    }

    fn allows(&self, topic: &str, partition: i32) -> bool {
        self.0.iter().any(|rule| rule.partitions.allow(partition) && rule.topics.allows(topic, false))
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, CommandError> {
        let invalid = || terse(&format!("org.apache.kafka.tools.TerseException: Invalid rule specification: {text}"));
        let (topic, partitions) = text.split_once(':').map_or((text, ""), |(topic, partitions)| (topic, partitions));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let number = |text: &str, default: i32| match text {
            "" => Ok(default),
            text => text.parse().map_err(|_| terse(&format!("For input string: \"{text}\""))),
        };
        let partitions = match partitions.split_once('-') {
            Some((from, to)) if is_number(from) && is_number(to) => {
                Partitions::Range(number(from, 0)?, number(to, i32::MAX)?)
            }
            None if partitions.is_empty() => Partitions::All,
            None if is_number(partitions) => Partitions::Some(BTreeSet::from([number(partitions, 0)?])),
            _ => return Err(invalid()),
        };
        let topics = if topic.is_empty() { ".*" } else { topic };
        let topics = TopicFilter::new(topics).map_err(|error| terse(&error.to_string()))?;
        Ok(Self { topics, partitions })
    }
}

impl Partitions {
    fn allow(&self, partition: i32) -> bool {
        match self {
            Self::All => true,
            Self::Some(ids) => ids.contains(&partition),
            Self::Range(from, to) => (*from..*to).contains(&partition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_topics_and_partitions() {
        let filter = Filter::of_patterns("a.*:1,b:0-2,c:3-,d:-1,e,:7").expect("a filter");
        let allowed: Vec<String> = ["a1", "b", "c", "d", "e", "f"]
            .iter()
            .flat_map(|topic| (0..9).map(move |partition| (*topic, partition)))
            .filter(|(topic, partition)| filter.allows(topic, *partition))
            .map(|(topic, partition)| format!("{topic}{partition}"))
            .collect();
        assert_eq!(allowed.join(" "), "a11 a17 b0 b1 b7 c3 c4 c5 c6 c7 c8 d0 d7 e0 e1 e2 e3 e4 e5 e6 e7 e8 f7");
        assert!(filter.allows_topic("anything"), "the last rule is for every topic");
        assert!(!Filter::of_patterns("a,b:1").expect("a filter").allows_topic("c"));
        for wrong in ["a:b", "a:1-2-3", "a:1:2"] {
            let error = Filter::of_patterns(wrong).expect_err("refused").to_string();
            assert!(error.contains("Invalid rule specification: a:"), "{error}");
        }
    }

    #[test]
    fn a_topic_and_a_list_of_partitions() {
        let filter = Filter::of_topic(Some("t.*"), Some("0,2")).expect("a filter");
        assert!(filter.allows("t1", 2) && !filter.allows("t1", 1) && !filter.allows("u", 0));
        assert!(Filter::of_topic(None, None).expect("a filter").allows("u", 5));
        let error = Filter::of_topic(None, Some("0,x")).expect_err("refused").to_string();
        assert!(error.ends_with("but received: 0,x"), "{error}");
    }

    #[test]
    fn times_have_names_and_numbers() {
        assert_eq!(parse_time("earliest").expect("a time"), EARLIEST_TIMESTAMP);
        assert_eq!(parse_time("-3").expect("a time"), MAX_TIMESTAMP);
        assert_eq!(parse_time("1700000000000").expect("a time"), 1_700_000_000_000);
        let error = parse_time("soon").expect_err("refused").to_string();
        assert!(error.starts_with("Error occurred: Malformed time argument soon. Please use -1 or latest"), "{error}");
    }
}
