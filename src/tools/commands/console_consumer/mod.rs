//! `kafka-console-consumer.sh` (`ConsoleConsumer`): records to the standard output.

mod command_line;
mod deserializer;
mod formatter;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::command_line::{CommandLine, Source};
use self::formatter::FormatError;
use super::java_error::java_error;
use super::java_time::{before, parse_duration};
use super::stop_signal::StopSignal;
use super::{CommandError, Console};
use crate::client::{ClientConfig, ClientError, ClusterClient, Consumer, ConsumerSettings, OffsetReset, Subscription};
use crate::env::Clock;
use crate::tools::PATTERN_BYTES_MAX;
use crate::types::TopicPartition;
use crate::types::java_pattern::JavaPattern;

/// How long what is going on may go on after a signal.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// As good as for ever.
const FOR_EVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 100);

/// How reading ended.
enum End {
    /// As many records as were wanted, or a reader that went away.
    Done,
    /// By a signal; the consumer may be in the middle of something.
    Stopped { is_in_order: bool },
    /// A record that cannot be written.
    Failed(String),
}

/// Runs the command.
///
/// # Errors
/// What makes Kafka's command end with another code than 0.
pub async fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), CommandError> {
    let line = command_line::read(arguments, console)?;
    let mut consumer = match consumer(&line, console).await {
        Ok(consumer) => consumer,
        Err(message) => {
            log("Unknown error when running consumer: ", &message, console)?;
            return Err(CommandError::Exit(1));
        }
    };
    let stop = StopSignal::listen(console.env);
    let mut count = 0;
    let end = read(&mut consumer, &line, &stop, &mut count, console).await;
    if !matches!(end, End::Stopped { is_in_order: false }) {
        consumer.close().await;
    }
    let flushed = console.out.flush();
    writeln!(console.err, "Processed a total of {count} messages")?;
    if line.tells_events && flushed.is_ok() {
        writeln!(console.out, "shutdown_complete")?;
    }
    match end {
        End::Done => Ok(()),
        End::Stopped { .. } => Err(CommandError::Exit(stop.code().unwrap_or_default())),
        End::Failed(message) => {
            log("Unknown error when running consumer: ", &message, console)?;
            Err(CommandError::Exit(1))
        }
    }
}

/// A line of the log, and the exception below it.
fn log(line: &str, exception: &str, console: &mut Console<'_>) -> Result<(), CommandError> {
    tracing::error!("{line}");
    Ok(writeln!(console.err, "{exception}")?)
}

/// The consumer that the command line asks for. Errors as Java prints them.
async fn consumer(line: &CommandLine, console: &Console<'_>) -> Result<Consumer, String> {
    let failed = |error: ClientError| match error {
        ClientError::Config(_) => java_error(&error),
        error => format!(
            "org.apache.kafka.common.KafkaException: Failed to construct kafka consumer\nCaused by: {}",
            java_error(&error)
        ),
    };
    let config = ClientConfig::from_properties(line.properties.clone(), "console-consumer").map_err(failed)?;
    let reset = offset_reset(config.text("auto.offset.reset", "latest"), &*console.env.clock)?;
    let settings = ConsumerSettings::read(&config, reset).map_err(failed)?;
    let subscription = match &line.source {
        Source::Topic(topic) => Subscription::Topics(BTreeSet::from([topic.clone()])),
        Source::Include(pattern) => {
            let compiled = JavaPattern::new(pattern, PATTERN_BYTES_MAX)
                .map_err(|error| format!("java.util.regex.PatternSyntaxException: {error} in {pattern}"))?;
            Subscription::Pattern(Box::new(move |topic| compiled.matches(topic)))
        }
        Source::Partition(topic, partition, start) => {
            Subscription::Partitions(BTreeMap::from([(TopicPartition::new(topic.as_str(), *partition), *start)]))
        }
    };
    let cluster = ClusterClient::open(config, console.env.clock.clone()).await.map_err(failed)?;
    Ok(Consumer::new(cluster, settings, subscription))
}

/// `auto.offset.reset`, with `by_duration:` counted from now.
fn offset_reset(value: &str, clock: &dyn Clock) -> Result<OffsetReset, String> {
    if let Some(reset) = OffsetReset::by_name(value) {
        return Ok(reset);
    }
    let duration = value.strip_prefix("by_duration:").and_then(|text| parse_duration(text).ok());
    let timestamp = duration.filter(|nanos| *nanos >= 0).map(|nanos| before(clock.wall_millis(), nanos));
    timestamp.map(OffsetReset::Timestamp).ok_or_else(|| {
        format!(
            "org.apache.kafka.common.config.ConfigException: Invalid value {value} for configuration auto.offset.reset: Invalid value \
             `{value}` for configuration auto.offset.reset. The value must be either 'earliest', 'latest', 'none' or of the format \
             'by_duration:<PnDTnHnMn.nS.>'."
        )
    })
}

async fn read(
    consumer: &mut Consumer,
    line: &CommandLine,
    stop: &StopSignal,
    count: &mut i64,
    console: &mut Console<'_>,
) -> End {
    let clock = console.env.clock.clone();
    while line.max_messages.is_none_or(|max| *count < max) {
        let next = match consumer.buffered() {
            // Before anything is waited for, what is there is shown.
            Ok(None) if console.out.flush().is_err() => return gone(console),
            Ok(None) => {
                let stopped = async {
                    stop.wait().await;
                    clock.sleep_until(clock.monotonic() + STOP_GRACE).await;
                };
                tokio::select! {
                    next = consumer.next(line.timeout.unwrap_or(FOR_EVER), stop.flag()) => next,
                    () = stopped => return End::Stopped { is_in_order: false },
                }
            }
            there => there,
        };
        let record = match next {
            Ok(Some(record)) => record,
            Ok(None) if stop.code().is_some() => return End::Stopped { is_in_order: true },
            Ok(None) => return interrupted("org.apache.kafka.common.errors.TimeoutException", console),
            Err(error) => return interrupted(&java_error(&error), console),
        };
        *count += 1;
        match line.formatter.write(&record, console.out) {
            Ok(()) => {}
            Err(FormatError::Io(_)) => return gone(console),
            Err(FormatError::Record(message)) if line.skips_errors => {
                if log("Error processing message, skipping this message: ", &message, console).is_err() {
                    return End::Done;
                }
            }
            Err(FormatError::Record(message)) => return End::Failed(message),
        }
    }
    End::Done
}

/// Nothing more can be read, which is no failure of the command.
fn interrupted(exception: &str, console: &mut Console<'_>) -> End {
    // If nobody reads this, there is nobody to tell.
    let _ = log("Error processing message, terminating consumer process: ", exception, console);
    End::Done
}

/// Nobody reads the output any more.
fn gone(console: &mut Console<'_>) -> End {
    // If nobody reads this either, there is nobody to tell.
    let _ = writeln!(console.err, "Unable to write to standard out, closing consumer.");
    End::Done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::ManualClock;

    #[test]
    fn resets_have_names_and_durations() {
        let clock = ManualClock::new(100_000);
        assert_eq!(offset_reset("earliest", &clock), Ok(OffsetReset::Timestamp(-2)));
        assert_eq!(offset_reset("by_duration:PT10S", &clock), Ok(OffsetReset::Timestamp(90_000)));
        assert_eq!(offset_reset("none", &clock), Ok(OffsetReset::None));
        for wrong in ["first", "by_duration:", "by_duration:PT-1S"] {
            let error = offset_reset(wrong, &clock).expect_err("refused");
            assert!(error.contains("auto.offset.reset") && error.contains(wrong), "{error}");
        }
    }
}
