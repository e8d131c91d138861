//! Writes log lines to standard output, as the official image does; those of commands to the standard error.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use super::log_format::{LogFormat, LogLine};
use super::loggers::{LogLevels, log_levels};

/// Sends log lines to standard output from now on; which ones says [`log_levels`].
pub fn init_logging(format: LogFormat) {
    init(StandardStream { levels: log_levels(), format, is_error: false });
}

/// Sends log lines to the standard error from now on, as Kafka's commands do, whose output is on the other stream.
pub fn init_command_logging() {
    init(StandardStream { levels: log_levels(), format: LogFormat::Kafka, is_error: true });
}

fn init(subscriber: StandardStream) {
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!("logging was set up before");
    }
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
        // Log lines show real time even where a test simulates the broker's.
        #[expect(clippy::disallowed_methods, reason = "the time of a log line steers nothing")]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let metadata = event.metadata();
        let millis = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        let line = LogLine::of(event).format(self.format, millis, *metadata.level(), metadata.target());
        // A closed stream is no reason not to serve.
        let _ = match self.is_error {
            true => std::io::stderr().lock().write_all(line.as_bytes()),
            false => std::io::stdout().lock().write_all(line.as_bytes()),
        };
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
