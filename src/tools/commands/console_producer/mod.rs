//! `kafka-console-producer.sh` (`ConsoleProducer`): a record for each line of the standard input.

mod command_line;
mod line_reader;
mod lines;

use std::io::{self, IsTerminal};
use std::time::Duration;

use tokio::sync::mpsc;

use self::command_line::CommandLine;
use self::line_reader::LineReader;
use self::lines::Lines;
use super::java_error::java_error;
use super::stop_signal::StopSignal;
use super::{CommandError, Console};
use crate::client::{
    ClientConfig, ClientError, ClusterClient, Producer, ProducerRecord, ProducerSettings, Undelivered,
};

/// Longest wait for a batch to fill, whatever `linger.ms` says.
const LINGER_MAX: Duration = Duration::from_secs(60 * 60);
/// Lines that were read and are not yet looked at.
const LINES_AHEAD: usize = 1_000;

/// Runs the command.
///
/// # Errors
/// What makes Kafka's command end with another code than 0.
pub async fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), CommandError> {
    let line = command_line::read(arguments, console).map_err(|error| match error {
        CommandError::NoSuchFile(path) => CommandError::Message(format!("java.nio.file.NoSuchFileException: {path}")),
        error => error,
    })?;
    let reader = LineReader::new(&line.reader_properties).map_err(exception)?;
    let failed = |error: ClientError| {
        CommandError::Message(format!(
            "org.apache.kafka.common.KafkaException: Failed to construct kafka producer\nCaused by: {}",
            java_error(&error)
        ))
    };
    let config = ClientConfig::from_properties(line.producer_properties.clone(), "console-producer").map_err(failed)?;
    let settings = ProducerSettings::read(&config).map_err(|error| CommandError::Message(java_error(&error)))?;
    let cluster = ClusterClient::open(config, console.env.clock.clone()).await.map_err(failed)?;
    let mut producer = Producer::new(cluster, settings, &line.topic);
    let stop = StopSignal::listen(console.env);
    let result = send_lines(&mut producer, reader, &line, &stop, console).await;
    // What was accepted is sent, whatever ended the input.
    let undelivered = producer.flush().await;
    producer.close().await;
    log(&line.topic, &undelivered, console)?;
    result
}

/// An exception that ends the command.
fn exception(message: String) -> CommandError {
    CommandError::Message(format!("org.apache.kafka.common.KafkaException: {message}"))
}

async fn send_lines(
    producer: &mut Producer,
    mut reader: LineReader,
    line: &CommandLine,
    stop: &StopSignal,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let clock = console.env.clock.clone();
    let prompts = io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut lines = read_ahead(console);
    let mut flush_due = clock.monotonic();
    loop {
        if prompts {
            write!(console.out, ">")?;
            console.out.flush()?;
        }
        let text = loop {
            tokio::select! {
                text = lines.recv() => break text,
                () = clock.sleep_until(flush_due), if !producer.is_empty() => {
                    log(&line.topic, &producer.flush().await, console)?;
                }
                code = stop.wait() => return Err(CommandError::Exit(code)),
            }
        };
        let Some(text) = text else { return Ok(()) };
        let read = reader.read(&text?).map_err(exception)?;
        let timestamp = clock.wall_millis();
        let record = ProducerRecord { timestamp, key: read.key, value: read.value, headers: read.headers };
        if producer.is_empty() {
            flush_due = clock.monotonic() + producer.settings().linger.min(LINGER_MAX);
        }
        let is_full = match producer.append(record, &*console.env.random).await {
            Ok(is_full) => is_full,
            Err(undelivered) => {
                give_up_if(line.is_sync, std::slice::from_ref(&undelivered))?;
                log(&line.topic, &[undelivered], console)?;
                continue;
            }
        };
        if is_full || line.is_sync {
            let undelivered = producer.flush().await;
            give_up_if(line.is_sync, &undelivered)?;
            log(&line.topic, &undelivered, console)?;
        }
    }
}

/// With `--sync` the first record that is not written ends the command.
fn give_up_if(is_sync: bool, undelivered: &[Undelivered]) -> Result<(), CommandError> {
    match undelivered.first() {
        Some(first) if is_sync => {
            Err(CommandError::Message(format!("java.util.concurrent.ExecutionException: {}", java_error(&first.error))))
        }
        _ => Ok(()),
    }
}

/// Without `--sync` what is not written is told and forgotten (`ErrorLoggingCallback`).
fn log(topic: &str, undelivered: &[Undelivered], console: &mut Console<'_>) -> Result<(), CommandError> {
    let size = |bytes: &Option<Vec<u8>>| match bytes {
        None => "null".to_owned(),
        Some(bytes) => format!("{} bytes", bytes.len()),
    };
    for Undelivered { record, error } in undelivered {
        let (key, value) = (size(&record.key), size(&record.value));
        tracing::error!("Error when sending message to topic {topic} with key: {key}, value: {value} with error:");
        writeln!(console.err, "{}", java_error(error))?;
    }
    Ok(())
}

/// Reads lines on a thread of its own: a read cannot be given up.
fn read_ahead(console: &mut Console<'_>) -> mpsc::Receiver<io::Result<String>> {
    let input = std::mem::replace(&mut console.input, Box::new(io::empty()));
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    let read = move || {
        for line in Lines::new(input) {
            let is_over = line.is_err();
            if sender.blocking_send(line).is_err() || is_over {
                return;
            }
        }
    };
    console.env.spawn.spawn_blocking("standard input", Box::new(read));
    receiver
}
