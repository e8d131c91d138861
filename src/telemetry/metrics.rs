//! The registry: one table of every metric, its kind and its documentation.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::listener_traffic::ListenerTraffics;
use super::request_metrics::RequestMetrics;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `count`, which may be negative.
    pub fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Replaces the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one until the guard is dropped.
    pub fn hold(&self) -> GaugeGuard<'_> {
        self.add(1);
        GaugeGuard(self)
    }
}

/// Counts one in a gauge as long as it lives.
pub struct GaugeGuard<'a>(&'a Gauge);

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// One metric at one moment.
#[derive(Clone, Debug)]
pub struct MetricSample {
    /// The metric's name.
    pub name: &'static str,
    /// How it moves.
    pub kind: MetricKind,
    /// What it counts.
    pub documentation: &'static str,
    /// The value.
    pub value: i64,
}

trait Sampled {
    const KIND: MetricKind;
    fn sample(&self) -> i64;
}

impl Sampled for Counter {
    const KIND: MetricKind = MetricKind::Counter;
    fn sample(&self) -> i64 {
        i64::try_from(self.get()).unwrap_or(i64::MAX)
    }
}

impl Sampled for Gauge {
    const KIND: MetricKind = MetricKind::Gauge;
    fn sample(&self) -> i64 {
        self.get()
    }
}

macro_rules! metrics {
    ($($name:ident: $kind:ident, $documentation:literal;)*) => {
        /// Every metric of the broker.
        #[derive(Debug, Default)]
        pub struct Metrics {
            /// Requests by API: how many, and how long they took.
            pub requests: RequestMetrics,
            /// Connections by listener.
            pub listeners: ListenerTraffics,
            $(#[doc = $documentation] pub $name: $kind,)*
        }

        impl Metrics {
            /// Every metric with its value now, in the table's order.
            pub fn samples(&self) -> Vec<MetricSample> {
                vec![$(MetricSample {
                    name: stringify!($name),
                    kind: <$kind as Sampled>::KIND,
                    documentation: $documentation,
                    value: self.$name.sample(),
                },)*]
            }
        }
    };
}

metrics! {
    connections_active: Gauge, "Connections that are open now.";
    connections_accepted_total: Counter, "Connections accepted since the start.";
    connections_refused_total: Counter, "Connections closed at once because a connection limit was reached.";
    accept_errors_total: Counter, "Accepts that failed, file descriptors running out among them.";
    requests_total: Counter, "Requests answered or refused since the start.";
    request_errors_total: Counter, "Requests that closed their connection because they could not be read.";
    request_panics_total: Counter, "Requests whose handler panicked; each closed its connection.";
    request_bytes_in_flight: Gauge, "Bytes of request frames read and not yet answered.";
    request_bytes_total: Counter, "Bytes of request frames read since the start.";
    response_bytes_total: Counter, "Bytes of responses written since the start.";
    record_batches_in_total: Counter, "Record batches appended for producers since the start.";
    record_bytes_in_total: Counter, "Bytes of record batches appended for producers since the start.";
    record_bytes_out_total: Counter, "Bytes of record batches sent to consumers since the start.";
    records_in_total: Counter, "Records appended for producers since the start.";
    produced_partitions_total: Counter, "Partitions of produce requests since the start, refused ones too.";
    fetched_partitions_total: Counter, "Reads of a partition for consumers since the start, repeated ones while a fetch waits too.";
    produce_errors_total: Counter, "Batches of producers that were refused since the start.";
    fetch_errors_total: Counter, "Reads of a partition that were refused since the start.";
    transaction_verification_failures_total: Counter, "Partitions that the transaction coordinator did not find in the transaction that was written to them (VerificationFailureRate).";
    partitions_with_late_transactions: Gauge, "Partitions with a transaction that has been open for five minutes more than transaction.max.timeout.ms (PartitionsWithLateTransactionsCount).";
    producer_ids: Gauge, "Producers that the partitions remember, as of the last look (ProducerIdCount).";
    produces_waiting: Gauge, "Produce requests that wait for their acknowledgements.";
    fetches_waiting: Gauge, "Fetch requests that wait for records.";
    fetch_sessions: Gauge, "Incremental fetch sessions that are open.";
    log_cleaner_max_dirty_percent: Gauge, "How dirty the dirtiest compacted log is (max-dirty-percent).";
    log_cleaner_uncleanable_partitions: Gauge, "Partitions that could not be compacted and are left alone (uncleanable-partitions-count).";
    log_cleaner_uncleanable_bytes: Gauge, "Bytes to compact in those partitions (uncleanable-bytes).";
    log_cleaner_recopy_percent: Gauge, "The share of bytes that the last compactions wrote again (cleaner-recopy-percent).";
    log_cleaner_max_clean_time_seconds: Gauge, "Duration of the longest of the threads' last compactions (max-clean-time-secs).";
    log_cleaner_max_compaction_delay_seconds: Gauge, "How far max.compaction.lag.ms was exceeded (max-compaction-delay-secs).";
    log_cleaner_max_buffer_utilization_percent: Gauge, "How full the memory of keys was (max-buffer-utilization-percent).";
    log_cleaner_last_run_ms: Gauge, "When the cleaner last looked for work, in milliseconds since 1970 (now minus time-since-last-run-ms).";
    log_cleaner_dead_threads: Gauge, "Cleaner threads that ended though they should not (DeadThreadCount).";
    log_scrub_passes_total: Counter, "Passes of the scrub over all sealed segments that were finished.";
    log_scrub_bytes_total: Counter, "Bytes of sealed segments that the scrub compared with their checksums.";
    log_scrub_damages_total: Counter, "Damaged batches and segments that the scrub found; the log names file and byte.";
    log_cleaner_cleanings_total: Counter, "Compactions of a partition that were finished.";
    log_cleaner_bytes_read_total: Counter, "Bytes that the cleaner read, those for its memory of keys included.";
    log_cleaner_bytes_written_total: Counter, "Bytes that the cleaner wrote into compacted segments.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_named_once_and_documented() {
        let metrics = Metrics::default();
        metrics.requests_total.add(2);
        metrics.connections_active.add(-1);
        let samples = metrics.samples();
        let mut names: Vec<_> = samples.iter().map(|sample| sample.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), samples.len());
        for sample in &samples {
            assert!(sample.documentation.ends_with('.'), "{}", sample.name);
            assert_eq!(sample.name.ends_with("_total"), sample.kind == MetricKind::Counter, "{}", sample.name);
        }
        let value = |name| samples.iter().find(|sample| sample.name == name).unwrap().value;
        assert_eq!((value("requests_total"), value("connections_active")), (2, -1));
    }
}
