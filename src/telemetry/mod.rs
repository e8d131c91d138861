//! What the broker says of itself: log lines in Kafka's layout and a registry of metrics.
//!
//! Contract: every metric is a row of one table (`metrics.rs`) with its documentation; whoever counts holds a reference
//! to the registry and pays one relaxed atomic operation. Log lines go to standard output, as the official image's.

mod log_format;
mod metrics;

pub use log_format::KafkaFormat;
pub use metrics::{Counter, Gauge, GaugeGuard, MetricKind, MetricSample, Metrics};

/// Sends log lines to standard output; `filter` as `RUST_LOG`, `info` when it is not given or cannot be read.
pub fn init_logging(filter: Option<&str>) {
    let filter = filter.and_then(|text| tracing_subscriber::EnvFilter::try_new(text).ok());
    let filter = filter.unwrap_or_else(|| tracing_subscriber::EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).event_format(KafkaFormat).finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!("logging was set up before");
    }
}
