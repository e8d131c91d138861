//! Apache Kafka's commands: `kafka-topics` and others, by the name that the program was called by or by its first argument.
//!
//! Contract: command line, output and exit code are those of Apache Kafka 4.3; Java's stack traces are left out. One thread, which
//! waits for the network.

mod api_versions_text;
mod bootstrap_server;
mod broker_api_versions;
mod cluster;
mod config_resources;
mod configs;
mod console_consumer;
mod console_producer;
mod consumer_groups;
mod error;
mod get_offsets;
mod java_error;
mod java_time;
mod known_options;
pub mod server_start;
mod stop_signal;
mod storage;
mod storage_features;
mod topics;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::path::Path;

pub use error::CommandError;

use crate::client::{ClientConfig, ClientError, ClusterClient};
use crate::config::parse_properties;
use crate::env::{Disk, Env};
use crate::telemetry::{ROOT_LOGGER, init_command_logging, log_levels};
use crate::tools::options::Options;

/// The release of Kafka that the commands follow.
pub const KAFKA_VERSION: &str = "4.3.0";
/// A properties file larger than this is none.
const PROPERTIES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of output that are collected before they are written.
const OUTPUT_BUFFER_SIZE: usize = 64 << 10;

/// The names of the commands. `kafka-dump-log` and `kafka-server-start` are run by the caller of [`run`].
pub const COMMANDS: &[&str] = &[
    "kafka-broker-api-versions",
    "kafka-cluster",
    "kafka-configs",
    "kafka-console-consumer",
    "kafka-console-producer",
    "kafka-consumer-groups",
    "kafka-dump-log",
    "kafka-get-offsets",
    "kafka-server-start",
    "kafka-storage",
    "kafka-topics",
];

/// What a command works with.
pub struct Console<'a> {
    /// The standard output, buffered; flushed when the command ends.
    pub out: &'a mut dyn Write,
    /// The standard error.
    pub err: &'a mut dyn Write,
    /// The standard input; may be taken and moved to a thread.
    pub input: Box<dyn BufRead + Send>,
    /// Clock, disk, randomness, threads.
    pub env: &'a Env,
}

/// The command that a path or word names, with or without `.sh`.
pub fn named(word: &str) -> Option<&'static str> {
    let name = Path::new(word).file_name()?.to_str()?;
    let name = name.strip_suffix(".sh").unwrap_or(name);
    COMMANDS.iter().copied().find(|command| *command == name)
}

/// Runs a command with the standard streams of this process; the exit code.
pub fn run(command: &str, arguments: &[String]) -> i32 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            return 1;
        }
    };
    set_up_logging();
    let env = Env::real(runtime.handle().clone());
    let mut out = io::BufWriter::with_capacity(OUTPUT_BUFFER_SIZE, io::stdout());
    let mut err = io::stderr();
    let mut console =
        Console { out: &mut out, err: &mut err, input: Box::new(io::BufReader::new(io::stdin())), env: &env };
    let result = runtime.block_on(dispatch(command, arguments, &mut console));
    let code = finish(result, console.out, console.err);
    // A thread may still wait for input.
    runtime.shutdown_background();
    code
}

/// Prints how a command ended that was not run; the exit code.
pub fn report(error: CommandError) -> i32 {
    finish(Err(error), &mut io::stdout(), &mut io::stderr())
}

/// Warnings; `RUST_LOG` asks for more.
fn set_up_logging() {
    log_levels().configure(ROOT_LOGGER, "WARN");
    if let Ok(directives) = std::env::var("RUST_LOG") {
        log_levels().configure_modules(&directives);
    }
    init_command_logging();
}

/// Runs a command with these streams.
///
/// # Errors
/// What makes Kafka's command end with another code than 0.
pub async fn dispatch(command: &str, arguments: &[String], console: &mut Console<'_>) -> Result<(), CommandError> {
    match command {
        "kafka-broker-api-versions" => broker_api_versions::run(arguments, console).await,
        "kafka-cluster" => cluster::run(arguments, console).await,
        "kafka-configs" => configs::run(arguments, console).await,
        "kafka-console-consumer" => console_consumer::run(arguments, console).await,
        "kafka-console-producer" => console_producer::run(arguments, console).await,
        "kafka-consumer-groups" => consumer_groups::run(arguments, console).await,
        "kafka-get-offsets" => get_offsets::run(arguments, console).await,
        "kafka-storage" => storage::run(arguments, console),
        "kafka-topics" => topics::run(arguments, console).await,
        _ => Err(CommandError::Message(format!("there is no command {command}"))),
    }
}

/// Prints how a command ended; the exit code.
fn finish(result: Result<(), CommandError>, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    match tell(result, out, err) {
        Ok(code) => code,
        // Who read went away.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(_) => 1,
    }
}

fn tell(result: Result<(), CommandError>, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<i32> {
    if let Err(CommandError::Version) = result {
        writeln!(out, "{KAFKA_VERSION}")?;
    }
    // What was printed comes before what went wrong.
    out.flush()?;
    match result {
        Ok(()) | Err(CommandError::Version) => return Ok(0),
        Err(CommandError::Exit(code)) => return Ok(code),
        Err(CommandError::Help { text, code }) => {
            write!(out, "{text}")?;
            out.flush()?;
            return Ok(code);
        }
        Err(CommandError::Io(error)) => return Err(error),
        Err(CommandError::Usage { message, usage }) => write!(err, "{message}\n{usage}")?,
        Err(CommandError::Client(ClientError::Config(reason))) => {
            writeln!(err, "Failed to create new KafkaAdminClient\nCaused by: {reason}")?;
        }
        Err(error) => writeln!(err, "{error}")?,
    }
    Ok(1)
}

/// A file of Java's properties (`Utils.loadProps`); the later of two with the same key wins.
///
/// # Errors
/// A file that cannot be read, in Java's words.
pub fn load_properties(disk: &dyn Disk, path: &str) -> Result<BTreeMap<String, String>, CommandError> {
    let text = read_text(disk, Path::new(path)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CommandError::NoSuchFile(path.to_owned()),
        _ => CommandError::Message(format!("{path}: {error}")),
    })?;
    let properties = parse_properties(path, &text).map_err(|error| CommandError::Message(error.to_string()))?;
    Ok(properties.into_iter().map(|property| (property.key, property.value)).collect())
}

/// A file of properties or of lines: Latin-1, in which Java's tools write, where it is not UTF-8, which is what people write.
///
/// # Errors
/// A file that cannot be read, or that is too large for one of properties.
pub fn read_text(disk: &dyn Disk, path: &Path) -> io::Result<String> {
    Ok(String::from_utf8(disk.read(path, PROPERTIES_BYTES_MAX)?)
        .unwrap_or_else(|error| error.into_bytes().iter().map(|byte| char::from(*byte)).collect()))
}

/// What the client is configured with: the file of one option, the bootstrap servers of another.
///
/// # Errors
/// A file that cannot be read, values that cannot be used.
pub fn client_config(
    options: &Options,
    bootstrap_option: &str,
    file_option: &str,
    client_id: &str,
    console: &Console<'_>,
) -> Result<ClientConfig, CommandError> {
    let mut properties = match options.value(file_option)? {
        Some(path) => load_properties(&*console.env.disk, path)?,
        None => BTreeMap::new(),
    };
    if let Some(servers) = options.value(bootstrap_option)? {
        properties.insert("bootstrap.servers".to_owned(), servers.to_owned());
    }
    Ok(ClientConfig::from_properties(properties, client_id)?)
}

/// The client of an administrator's command (`Admin.create`).
///
/// # Errors
/// As [`client_config`]; no bootstrap server has an address.
pub async fn admin_client(
    options: &Options,
    bootstrap_option: &str,
    file_option: &str,
    console: &Console<'_>,
) -> Result<ClusterClient, CommandError> {
    let config = client_config(options, bootstrap_option, file_option, "adminclient-1", console)?;
    Ok(ClusterClient::open(config, console.env.clock.clone()).await?)
}

/// Waits in a request for what the broker does, milliseconds.
pub(crate) fn request_timeout_ms(client: &ClusterClient) -> i32 {
    i32::try_from(client.config().request_timeout.as_millis()).unwrap_or(i32::MAX)
}
