//! The options of `kafka-console-consumer.sh` (`ConsoleConsumerOptions`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::{CommandError, Console, load_properties};
use super::formatter::Formatter;
use crate::client::{EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, StartAt};
use crate::tools::commands::known_options::option_parser;
use crate::tools::options::{OptionParser, Options, parse_key_values};

const DEFAULT_FORMATTER: &str = "org.apache.kafka.tools.consumer.DefaultMessageFormatter";
/// Groups that nobody names are told apart by a number below this.
const RANDOM_GROUPS: u64 = 100_000;

/// What is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A topic, as a member of a group.
    Topic(String),
    /// The topics that match a regular expression, as a member of a group.
    Include(String),
    /// One partition.
    Partition(String, i32, StartAt),
}

/// What the command line asks for.
#[derive(Debug)]
pub struct CommandLine {
    /// What is to be read.
    pub source: Source,
    /// How many records, if not all.
    pub max_messages: Option<i64>,
    /// How long nothing may come.
    pub timeout: Option<Duration>,
    /// Whether a record that cannot be written is left out.
    pub skips_errors: bool,
    /// Whether the end is told (`--enable-systest-events`).
    pub tells_events: bool,
    /// How the consumer is configured.
    pub properties: BTreeMap<String, String>,
    /// How records are written.
    pub formatter: Formatter,
}

/// Reads the command line and the files that it names.
///
/// # Errors
/// What Kafka refuses, in its words.
pub fn read(arguments: &[String], console: &mut Console<'_>) -> Result<CommandLine, CommandError> {
    let parser = option_parser("kafka-console-consumer");
    let options = parser.parse(arguments).map_err(|error| parser.usage(error.to_string()))?;
    parser.help_or_version(
        &options,
        "This tool helps to read data from Kafka topics and outputs it to standard output.",
    )?;
    check_source(&parser, &options)?;
    for (new, old) in [("command-property", "consumer-property"), ("command-config", "consumer.config")] {
        if options.has(new) && options.has(old) {
            return Err(parser.usage(format!("Options --{old} and --{new} cannot be specified together.")));
        }
    }
    for (new, old) in [("command-property", "consumer-property"), ("command-config", "consumer.config")] {
        if options.has(old) {
            warn_of_old(old, new, console)?;
        }
    }
    let properties = consumer_properties(&parser, &options, console)?;
    let source = source(&parser, &options)?;
    let timeout = options.number::<i64>("timeout-ms")?.and_then(|millis| u64::try_from(millis).ok());
    let formatter = formatter(&parser, &options, console)?;
    let max_messages = options.number::<i32>("max-messages")?;
    Ok(CommandLine {
        source,
        // As in Kafka -1 is no limit, and another number below 1 is nothing.
        max_messages: max_messages.filter(|count| *count != -1).map(i64::from),
        timeout: timeout.map(Duration::from_millis),
        skips_errors: options.has("skip-message-on-error"),
        tells_events: options.has("enable-systest-events"),
        properties,
        formatter,
    })
}

fn warn_of_old(old: &str, new: &str, console: &mut Console<'_>) -> Result<(), CommandError> {
    Ok(writeln!(
        console.out,
        "Option --{old} is deprecated and will be removed in a future version. Use --{new} instead."
    )?)
}

fn check_source(parser: &OptionParser, options: &Options) -> Result<(), CommandError> {
    parser.one_of(options, &["topic", "include"])?;
    let refuse = |message: &str| Err(parser.usage(message));
    if options.has("partition") {
        if !options.has("topic") {
            return refuse("The topic is required when partition is specified.");
        }
        if options.has("from-beginning") && options.has("offset") {
            return refuse("Options from-beginning and offset cannot be specified together.");
        }
    } else if options.has("offset") {
        return refuse("The partition is required when offset is specified.");
    }
    parser.required(options, &["bootstrap-server"])
}

fn source(parser: &OptionParser, options: &Options) -> Result<Source, CommandError> {
    let start = match options.value("offset")? {
        Some(offset) if options.has("offset") => match offset.to_lowercase().as_str() {
            "earliest" => StartAt::Timestamp(EARLIEST_TIMESTAMP),
            "latest" => StartAt::Timestamp(LATEST_TIMESTAMP),
            _ => match offset.parse::<i64>() {
                Ok(number) if number >= 0 => StartAt::Offset(number),
                _ => {
                    return Err(parser.usage(format!(
                        "The provided offset value '{offset}' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long."
                    )));
                }
            },
        },
        _ if options.has("from-beginning") => StartAt::Timestamp(EARLIEST_TIMESTAMP),
        _ => StartAt::Timestamp(LATEST_TIMESTAMP),
    };
    let topic = options.value("topic")?.map(str::to_owned);
    Ok(match (topic, options.number::<i32>("partition")?) {
        (Some(topic), Some(partition)) => Source::Partition(topic, partition, start),
        (Some(topic), None) => Source::Topic(topic),
        (None, _) => Source::Include(options.value("include")?.unwrap_or_default().to_owned()),
    })
}

fn consumer_properties(
    parser: &OptionParser,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<BTreeMap<String, String>, CommandError> {
    let current = |new: &'static str, old: &'static str| if options.has(old) { old } else { new };
    let mut properties = match options.value(current("command-config", "consumer.config"))? {
        Some(path) => load_properties(&*console.env.disk, path)?,
        None => BTreeMap::new(),
    };
    let more = parse_key_values(&options.values(current("command-property", "consumer-property")));
    let group = group_id(parser, options, &properties, &more)?;
    properties.extend(more);
    let from_beginning = options.has("from-beginning");
    match properties.get("auto.offset.reset") {
        Some(reset) if from_beginning && reset != "earliest" => {
            return Err(CommandError::Message(format!(
                "Can't simultaneously specify --from-beginning and 'auto.offset.reset={reset}', please remove one option"
            )));
        }
        Some(_) => {}
        None => {
            let reset = if from_beginning { "earliest" } else { "latest" };
            properties.insert("auto.offset.reset".to_owned(), reset.to_owned());
        }
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        properties.insert("bootstrap.servers".to_owned(), servers.to_owned());
    }
    properties.entry("client.id".to_owned()).or_insert_with(|| "console-consumer".to_owned());
    if let Some(level) = options.value("isolation-level")?
        && (options.has("isolation-level") || !properties.contains_key("isolation.level"))
    {
        properties.insert("isolation.level".to_owned(), level.to_owned());
    }
    let group = group.unwrap_or_else(|| {
        // A group that is not used again needs no offsets.
        properties.entry("enable.auto.commit".to_owned()).or_insert_with(|| "false".to_owned());
        format!("console-consumer-{}", console.env.random.next_u64() % RANDOM_GROUPS)
    });
    properties.insert("group.id".to_owned(), group);
    Ok(properties)
}

/// The group that was named, in up to three places.
fn group_id(
    parser: &OptionParser,
    options: &Options,
    file: &BTreeMap<String, String>,
    more: &BTreeMap<String, String>,
) -> Result<Option<String>, CommandError> {
    let named =
        [options.value("group")?, file.get("group.id").map(String::as_str), more.get("group.id").map(String::as_str)];
    let groups: BTreeSet<&str> = named.into_iter().flatten().collect();
    if groups.len() > 1 {
        let groups: Vec<String> = groups.iter().map(|group| format!("'{group}'")).collect();
        return Err(parser.usage(format!(
            "The group ids provided in different places (directly using '--group', via '--consumer-property', or via '--consumer.config') do not match. Detected group ids: {}",
            groups.join(", ")
        )));
    }
    if !groups.is_empty() && options.has("partition") {
        return Err(parser.usage("Options group and partition cannot be specified together."));
    }
    Ok(groups.into_iter().next().map(str::to_owned))
}

fn formatter(parser: &OptionParser, options: &Options, console: &mut Console<'_>) -> Result<Formatter, CommandError> {
    let class = options.value("formatter")?.unwrap_or(DEFAULT_FORMATTER);
    if Formatter::by_class(class, &BTreeMap::new()).is_none() {
        // What Java says of a class that is not there is its name.
        return Err(parser.usage(class));
    }
    if options.has("formatter-property") && options.has("property") {
        return Err(parser.usage("Options --property and --formatter-property cannot be specified together."));
    }
    let mut property = "formatter-property";
    if options.has("property") {
        warn_of_old("property", "formatter-property", console)?;
        property = "property";
    }
    let mut properties = match options.value("formatter-config")? {
        Some(path) => load_properties(&*console.env.disk, path).map_err(|error| parser.usage(error.to_string()))?,
        None => BTreeMap::new(),
    };
    for (key, option) in [("key.deserializer", "key-deserializer"), ("value.deserializer", "value-deserializer")] {
        if let Some(class) = options.value(option)?.filter(|class| !class.is_empty()) {
            properties.insert(key.to_owned(), class.to_owned());
        }
    }
    properties.extend(parse_key_values(&options.values(property)));
    let (formatter, warnings) = Formatter::by_class(class, &properties).ok_or_else(|| parser.usage(class))?;
    for warning in warnings {
        tracing::error!("{warning}");
    }
    Ok(formatter)
}
