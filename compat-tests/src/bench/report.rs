//! The one JSON object that a run prints.

use serde::Serialize;
use serde_json::{Map, Value};

use super::histogram::{Histogram, Latency};
use super::meter::Usage;
use super::options::{Options, Workload};

/// What a run measured. CPU and switches are the broker's, over the timed part.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub workload: String,
    /// The parameters as they were used.
    pub parameters: Map<String, Value>,
    /// The timed part.
    pub wall_seconds: f64,
    /// Requests answered in it.
    pub requests: u64,
    /// Records acknowledged or read in it.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// On-CPU seconds of the broker.
    pub broker_cpu_seconds: Option<f64>,
    /// The same by `/proc/PID/stat`, a check.
    pub broker_cpu_seconds_by_stat: Option<f64>,
    /// Voluntary context switches.
    pub voluntary_switches: Option<u64>,
    /// Involuntary ones.
    pub involuntary_switches: Option<u64>,
    /// Resident set at the end.
    pub rss_bytes: Option<u64>,
    /// Its peak since the broker's start.
    pub peak_rss_bytes: Option<u64>,
    /// CPU seconds of the driver.
    pub driver_cpu_seconds: f64,
    /// CPU seconds of the whole machine: what neither the broker nor the driver used is noise and kernel threads.
    pub machine_cpu_seconds: f64,
    /// Latencies.
    pub latency_us: Option<Latency>,
    /// Figures that only this workload has.
    pub measures: Map<String, Value>,
    /// What was read back and found true.
    pub checked: Map<String, Value>,
}

impl Report {
    /// A report of nothing yet.
    pub fn new(workload: Workload) -> Self {
        use clap::ValueEnum;
        let name = workload.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        Self {
            workload: name,
            parameters: Map::new(),
            wall_seconds: 0.0,
            requests: 0,
            records: 0,
            bytes: 0,
            broker_cpu_seconds: None,
            broker_cpu_seconds_by_stat: None,
            voluntary_switches: None,
            involuntary_switches: None,
            rss_bytes: None,
            peak_rss_bytes: None,
            driver_cpu_seconds: 0.0,
            machine_cpu_seconds: 0.0,
            latency_us: None,
            measures: Map::new(),
            checked: Map::new(),
        }
    }

    /// A report of a run with these options: the topic configurations are named in every one.
    pub fn of(options: &Options) -> Self {
        let mut report = Self::new(options.workload);
        if !options.configs.is_empty() {
            report.parameter("config", options.configs.join(" "));
        }
        report
    }

    /// Names a parameter and gives it back.
    pub fn parameter<T: Clone + Into<Value>>(&mut self, name: &str, value: T) -> T {
        self.parameters.insert(name.to_owned(), value.clone().into());
        value
    }

    /// Notes a figure.
    pub fn measure(&mut self, name: &str, value: impl Into<Value>) {
        self.measures.insert(name.to_owned(), value.into());
    }

    /// Notes a truth.
    pub fn check(&mut self, name: &str, value: impl Into<Value>) {
        self.checked.insert(name.to_owned(), value.into());
    }

    /// Notes what the timed part used.
    pub fn usage(&mut self, usage: &Usage) {
        self.wall_seconds = usage.wall.as_secs_f64();
        self.broker_cpu_seconds = usage.broker_cpu;
        self.broker_cpu_seconds_by_stat = usage.broker_cpu_by_stat;
        self.voluntary_switches = usage.voluntary;
        self.involuntary_switches = usage.involuntary;
        self.rss_bytes = usage.rss;
        self.peak_rss_bytes = usage.peak_rss;
        self.driver_cpu_seconds = usage.driver_cpu;
        self.machine_cpu_seconds = usage.machine_cpu;
    }

    /// Notes how long requests took.
    pub fn latency(&mut self, histogram: &Histogram) {
        self.latency_us = histogram.latency();
    }
}
