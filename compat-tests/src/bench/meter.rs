//! What the broker used between two moments, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Linux counts `utime` in these, whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// The clock runs.
pub struct Meter {
    broker: Option<u32>,
    before: Snapshot,
    started: Instant,
}

/// What was used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Wall time.
    pub wall: Duration,
    /// On-CPU time of the broker's threads.
    pub broker_cpu: Option<f64>,
    /// The same by `/proc/PID/stat`, which has the threads that ended, in steps of 10 ms.
    pub broker_cpu_by_stat: Option<f64>,
    /// The broker's voluntary context switches.
    pub voluntary: Option<u64>,
    /// The broker's involuntary context switches.
    pub involuntary: Option<u64>,
    /// Resident set at the end, bytes.
    pub rss: Option<u64>,
    /// Peak of the resident set since the broker's start, bytes.
    pub peak_rss: Option<u64>,
    /// CPU seconds of this process.
    pub driver_cpu: f64,
    /// CPU seconds of all, kernel threads and interrupts too, in steps of 10 ms.
    pub machine_cpu: f64,
}

#[derive(Default)]
struct Snapshot {
    threads: BTreeMap<u32, Thread>,
    broker_ticks: u64,
    driver_ticks: u64,
    machine_ticks: u64,
}

#[derive(Clone, Copy, Default)]
struct Thread {
    cpu_nanos: u64,
    voluntary: u64,
    involuntary: u64,
}

impl Meter {
    /// Starts the clock.
    pub fn start(broker: Option<u32>) -> Result<Self> {
        let before = Snapshot::take(broker)?;
        Ok(Self { broker, before, started: Instant::now() })
    }

    /// What was used since the start.
    pub fn read(&self) -> Result<Usage> {
        let wall = self.started.elapsed();
        let after = Snapshot::take(self.broker)?;
        let mut usage = Usage {
            wall,
            driver_cpu: ticks(after.driver_ticks - self.before.driver_ticks),
            machine_cpu: ticks(after.machine_ticks.saturating_sub(self.before.machine_ticks)),
            ..Usage::default()
        };
        let Some(pid) = self.broker else { return Ok(usage) };
        let mut spent = Thread::default();
        for (id, now) in &after.threads {
            let before = self.before.threads.get(id).copied().unwrap_or_default();
            spent.cpu_nanos += now.cpu_nanos.saturating_sub(before.cpu_nanos);
            spent.voluntary += now.voluntary.saturating_sub(before.voluntary);
            spent.involuntary += now.involuntary.saturating_sub(before.involuntary);
        }
        let by_threads = spent.cpu_nanos as f64 / 1e9;
        let by_stat = ticks(after.broker_ticks - self.before.broker_ticks);
        // Threads that ended took their time with them: then the coarse figure is the true one. It is cut to whole ticks twice.
        let ended = by_stat > by_threads + 2.5 / TICKS_PER_SECOND;
        usage.broker_cpu = Some(if ended { by_stat } else { by_threads });
        usage.broker_cpu_by_stat = Some(by_stat);
        usage.voluntary = Some(spent.voluntary);
        usage.involuntary = Some(spent.involuntary);
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        usage.rss = field(&status, "VmRSS:").map(|kib| kib * 1024);
        usage.peak_rss = field(&status, "VmHWM:").map(|kib| kib * 1024);
        Ok(usage)
    }
}

impl Snapshot {
    fn take(broker: Option<u32>) -> Result<Self> {
        let mut snapshot = Self { driver_ticks: process_ticks("self")?, ..Self::default() };
        snapshot.machine_ticks = machine_ticks()?;
        let Some(pid) = broker else { return Ok(snapshot) };
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("no process {pid}"))?;
        for task in tasks {
            let path = task?.path();
            let Some(id) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
            // A thread may end between the listing and the reading.
            let (Ok(schedstat), Ok(status)) =
                (fs::read_to_string(path.join("schedstat")), fs::read_to_string(path.join("status")))
            else {
                continue;
            };
            let cpu_nanos = schedstat.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
            let voluntary = field(&status, "\nvoluntary_ctxt_switches:").unwrap_or(0);
            let involuntary = field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
            snapshot.threads.insert(id, Thread { cpu_nanos, voluntary, involuntary });
        }
        snapshot.broker_ticks = process_ticks(&pid.to_string())?;
        Ok(snapshot)
    }
}

fn ticks(count: u64) -> f64 {
    count as f64 / TICKS_PER_SECOND
}

/// User and system time of a process with the threads that ended.
fn process_ticks(pid: &str) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind_name = stat.rsplit(')').next().context("a process without a name")?;
    Ok(behind_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
}

/// All but idle, waiting for the disk, and stolen.
fn machine_ticks() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("an empty /proc/stat")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    Ok([0, 1, 2, 5, 6].iter().filter_map(|at| fields.get(*at)).sum())
}

fn field(status: &str, name: &str) -> Option<u64> {
    let rest = &status[status.find(name)? + name.len()..];
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_what_it_uses() {
        let meter = Meter::start(Some(std::process::id())).expect("a snapshot");
        let until = Instant::now() + Duration::from_millis(60);
        while Instant::now() < until {
            std::hint::black_box(crc32c::crc32c(&[7; 4096]));
        }
        let usage = meter.read().expect("a snapshot");
        assert!(usage.broker_cpu.expect("measured") > 0.0, "{usage:?}");
        assert!(usage.wall >= Duration::from_millis(60) && usage.peak_rss >= usage.rss, "{usage:?}");
    }
}
