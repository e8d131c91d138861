//! The options of `kafka-console-producer.sh` (`ConsoleProducerOptions`).

use std::collections::BTreeMap;

use super::super::bootstrap_server::validate_bootstrap_server;
use super::super::{CommandError, Console, load_properties};
use crate::tools::commands::known_options::option_parser;
use crate::tools::options::{Options, parse_key_values};

const LINE_READER: &str = "org.apache.kafka.tools.LineMessageReader";

/// What the command line asks for.
#[derive(Debug)]
pub struct CommandLine {
    /// Where records go.
    pub topic: String,
    /// Whether each record is waited for.
    pub is_sync: bool,
    /// How lines are read.
    pub reader_properties: BTreeMap<String, String>,
    /// How the producer is configured.
    pub producer_properties: BTreeMap<String, String>,
}

/// Options that give one of the producer's configurations, with the default that comes after a file's.
const MERGED: [(&str, &str); 10] = [
    ("linger.ms", "timeout"),
    ("acks", "request-required-acks"),
    ("request.timeout.ms", "request-timeout-ms"),
    ("retries", "message-send-max-retries"),
    ("retry.backoff.ms", "retry-backoff-ms"),
    ("send.buffer.bytes", "socket-buffer-size"),
    ("buffer.memory", "max-memory-bytes"),
    ("batch.size", "batch-size"),
    ("metadata.max.age.ms", "metadata-expiry-ms"),
    ("max.block.ms", "max-block-ms"),
];

/// Reads the command line and the files that it names.
///
/// # Errors
/// What Kafka refuses, in its words.
pub fn read(arguments: &[String], console: &mut Console<'_>) -> Result<CommandLine, CommandError> {
    let parser = option_parser("kafka-console-producer");
    let options = parser.parse(arguments).map_err(|error| parser.usage(error.to_string()))?;
    parser.help_or_version(&options, "This tool helps to read data from standard input and publish it to Kafka.")?;
    parser.required(&options, &["topic"])?;
    for (new, old) in [
        ("command-config", "producer.config"),
        ("command-property", "producer-property"),
        ("reader-property", "property"),
    ] {
        if options.has(new) && options.has(old) {
            return Err(parser.usage(format!("Options --{new} and --{old} cannot be specified together.")));
        }
    }
    for (new, old) in [
        ("command-property", "producer-property"),
        ("command-config", "producer.config"),
        ("reader-property", "property"),
    ] {
        if options.has(old) {
            writeln!(
                console.out,
                "Warning: --{old} is deprecated and will be removed in a future version. Use --{new} instead."
            )?;
        }
    }
    if options.has("max-partition-memory-bytes") {
        writeln!(
            console.out,
            "Warning: --max-partition-memory-bytes is deprecated and will be removed in Apache Kafka 5.0. Use --batch-size instead."
        )?;
    }
    validate_bootstrap_server(options.value("bootstrap-server")?).map_err(|message| parser.usage(message))?;
    check_numbers(&options)?;
    let reader = options.value("line-reader")?.unwrap_or(LINE_READER);
    if reader != LINE_READER {
        return Err(CommandError::Message(format!("java.lang.ClassNotFoundException: {reader}")));
    }
    Ok(CommandLine {
        topic: options.value("topic")?.unwrap_or_default().to_owned(),
        is_sync: options.has("sync"),
        reader_properties: reader_properties(&options, console)?,
        producer_properties: producer_properties(&options, console)?,
    })
}

/// The name of an option that has an old name.
fn current<'a>(options: &Options, new: &'a str, old: &'a str) -> &'a str {
    if options.has(old) { old } else { new }
}

fn reader_properties(options: &Options, console: &Console<'_>) -> Result<BTreeMap<String, String>, CommandError> {
    let mut properties = match options.value("reader-config")? {
        Some(path) => load_properties(&*console.env.disk, path)?,
        None => BTreeMap::new(),
    };
    properties.extend(parse_key_values(&options.values(current(options, "reader-property", "property"))));
    Ok(properties)
}

fn producer_properties(options: &Options, console: &Console<'_>) -> Result<BTreeMap<String, String>, CommandError> {
    let file = current(options, "command-config", "producer.config");
    let mut properties = match options.value(file)? {
        Some(path) => load_properties(&*console.env.disk, path)?,
        None => BTreeMap::new(),
    };
    properties.extend(parse_key_values(&options.values(current(options, "command-property", "producer-property"))));
    let mut put = |key: &str, value: &str| properties.insert(key.to_owned(), value.to_owned());
    if let Some(servers) = options.value("bootstrap-server")? {
        put("bootstrap.servers", servers);
    }
    // Without a value the codec is gzip.
    let codec = options.value("compression-codec")?.filter(|codec| !codec.is_empty());
    put("compression.type", if options.has("compression-codec") { codec.unwrap_or("gzip") } else { "none" });
    properties.entry("client.id".to_owned()).or_insert_with(|| "console-producer".to_owned());
    for (key, option) in MERGED {
        if let Some(value) = options.value(option)?
            && (options.has(option) || !properties.contains_key(key))
        {
            properties.insert(key.to_owned(), value.to_owned());
        }
    }
    if options.has("max-partition-memory-bytes")
        && let Some(value) = options.value("max-partition-memory-bytes")?
    {
        properties.insert("batch.size".to_owned(), value.to_owned());
    }
    Ok(properties)
}

/// Numbers that joptsimple does not take.
fn check_numbers(options: &Options) -> Result<(), CommandError> {
    for option in [
        "batch-size",
        "message-send-max-retries",
        "request-timeout-ms",
        "max-partition-memory-bytes",
        "socket-buffer-size",
    ] {
        options.number::<i32>(option)?;
    }
    for option in ["retry-backoff-ms", "timeout", "metadata-expiry-ms", "max-block-ms", "max-memory-bytes"] {
        options.number::<i64>(option)?;
    }
    Ok(())
}
