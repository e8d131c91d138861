//! Writes log lines to standard output, as the official image does; those of commands to the standard error.
//!
//! Contract: a broker does not wait for whoever reads its standard output (`log_queue`); [`LogEnd`] sees to it that the last lines are
//! there when it ends. A command waits: its lines are few, and it is over at once.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use super::log_format::{LogFormat, LogLine};
use super::log_queue::LogQueue;
use super::loggers::{LogLevels, log_levels};

/// How long the end of the process waits for lines that nobody reads.
const LAST_LINES_TIME_MAX: Duration = Duration::from_secs(2);

/// The lines of a broker.
static QUEUE: OnceLock<LogQueue> = OnceLock::new();

/// Waits, when it is dropped, until the log lines are written, for two seconds at most.
#[derive(Debug)]
#[must_use = "the last lines are written when it is dropped"]
pub struct LogEnd(());

impl Drop for LogEnd {
    fn drop(&mut self) {
        if let Some(queue) = QUEUE.get() {
            queue.flush(LAST_LINES_TIME_MAX);
        }
    }
}

/// Sends log lines to standard output from now on; which ones says [`log_levels`].
///
/// # Errors
/// The system has no room for the thread that writes them.
pub fn init_logging(format: LogFormat) -> io::Result<LogEnd> {
    let note = match format {
        LogFormat::Kafka => |count| note_of_dropped(LogFormat::Kafka, count),
        LogFormat::Json => |count| note_of_dropped(LogFormat::Json, count),
    };
    let queue = LogQueue::start(io::stdout(), note)?;
    if QUEUE.set(queue).is_ok() {
        init(StandardStream { levels: log_levels(), format, is_error: false });
    }
    Ok(LogEnd(()))
}

/// Sends log lines to the standard error from now on, as Kafka's commands do, whose output is on the other stream.
pub fn init_command_logging() {
    init(StandardStream { levels: log_levels(), format: LogFormat::Kafka, is_error: true });
}

/// Prints a line with its end to the standard output, behind the log lines before it.
pub fn print_line(line: &str) {
    match QUEUE.get() {
        Some(queue) => queue.push(line),
        // A closed standard output is no reason not to serve.
        None => drop(io::stdout().lock().write_all(line.as_bytes())),
    }
}

fn init(subscriber: StandardStream) {
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!("logging was set up before");
    }
}

fn note_of_dropped(format: LogFormat, count: u64) -> String {
    let text = format!("{count} log lines dropped here: they were not read in time");
    LogLine::from(text).format(format, wall_millis(), tracing::Level::WARN, module_path!())
}

fn wall_millis() -> u64 {
    // Log lines show real time even where a test simulates the broker's.
    #[expect(clippy::disallowed_methods, reason = "the time of a log line steers nothing")]
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

struct StandardStream {
    levels: &'static LogLevels,
    format: LogFormat,
    is_error: bool,
}

impl Subscriber for StandardStream {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Asked again whenever a level changes, so that a line that is not written costs one load.
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.levels.of_target(metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.levels.most())
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        // Nothing uses spans.
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let line = LogLine::of(event).format(self.format, wall_millis(), *metadata.level(), metadata.target());
        match self.is_error {
            // A closed stream is no reason not to go on.
            true => drop(io::stderr().lock().write_all(line.as_bytes())),
            false => print_line(&line),
        }
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
