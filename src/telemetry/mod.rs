//! What the broker says of itself: log lines in Kafka's layout and a registry of metrics.
//!
//! Contract: every metric is a row of one table (`metrics.rs`) with its documentation; whoever counts holds a reference
//! to the registry and pays one relaxed atomic operation. Log lines go to standard output, as the official image's, under the
//! names of Kafka's loggers, whose levels can change at any time (`loggers.rs`).

mod listener_traffic;
mod log_format;
mod log_queue;
mod loggers;
mod metrics;
mod request_metrics;
mod subscriber;
mod topic_traffic;

pub use listener_traffic::{ListenerTraffic, ListenerTraffics};
pub use log_format::LogFormat;
pub use loggers::{LOG_LEVELS, LogLevels, ROOT_LOGGER, log_levels, logger_of};
pub use metrics::{Counter, Gauge, GaugeGuard, MetricKind, MetricSample, Metrics};
pub use request_metrics::{ApiRequests, DurationCounts, RequestMetrics};
pub use subscriber::{LogEnd, init_command_logging, init_logging, print_line};
pub use topic_traffic::TopicTraffic;
