//! The background scrub: every sealed segment is read and compared with its checksums and its neighbours once in
//! `ottla.scrub.interval.ms`, at most `ottla.scrub.max.bytes.per.second`, so that damage is known while there still is a backup.
//!
//! What is found is told (one error line for each place, and a counter), nothing is changed: reads of other batches go on, and the
//! damaged one is refused when a read needs it, or fails the client's checksum. Between passes nothing runs and nothing is read.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::LogManager;
use super::background::{is_over, run};
use crate::storage::log::{Log, SegmentView};
use crate::storage::segment_files::{SegmentFileKind, is_not_found};
use crate::storage::verification::{Chain, SegmentBounds, Walker, misplaced};
use crate::telemetry::Metrics;

/// After the start the first pass waits this long, if the interval is not shorter.
const FIRST_PASS_MS: i64 = 3_600_000;
/// Bytes read at once.
const WINDOW_BYTES: usize = 256 << 10;
/// What opening a segment counts for, so that very many small ones are no burst.
const SEGMENT_COST_BYTES: u64 = 4096;

/// Where a pass stands.
#[derive(Default)]
pub(in crate::storage) struct Scrub {
    logs: VecDeque<Weak<Log>>,
    segments: VecDeque<SegmentView>,
    log: Weak<Log>,
    /// Where the first of `segments` was left.
    place: Option<(u64, Chain)>,
}

impl LogManager {
    /// Starts the scrub, unless it is switched off.
    pub(super) fn scrub_in_rounds(self: &Arc<Self>) {
        let (interval_ms, rate) = (self.options.scrub_interval_ms, self.options.scrub_max_bytes_per_second);
        if interval_ms == i64::MAX || rate == 0 {
            return;
        }
        let name = "log-scrub";
        let env = self.env.clone();
        let manager = Arc::downgrade(self);
        let task = async move {
            let mut wait_ms = interval_ms.min(FIRST_PASS_MS);
            loop {
                let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
                env.clock.sleep_until(env.clock.monotonic() + wait).await;
                wait_ms = interval_ms;
                let Some(logs) = manager.upgrade().map(|manager| manager.logs()) else { return };
                let scrub = Arc::new(Mutex::new(Scrub::begin(&logs)));
                drop(logs);
                loop {
                    let next = env.clock.monotonic() + Duration::from_secs(1);
                    let (done, finished) = tokio::sync::oneshot::channel();
                    let pass = scrub.clone();
                    let work = move |manager: &Arc<LogManager>| {
                        let _ = done.send(!pass.lock().step(rate, manager.metrics()));
                    };
                    if is_over(&manager) || !run(&manager, name, work).await {
                        return;
                    }
                    if finished.await.unwrap_or(true) {
                        break;
                    }
                    env.clock.sleep_until(next).await;
                }
            }
        };
        self.env.spawn.spawn(name, Box::pin(task));
    }
}

impl Scrub {
    /// A pass over all logs.
    pub(in crate::storage) fn begin(logs: &[Arc<Log>]) -> Self {
        Self { logs: logs.iter().map(Arc::downgrade).collect(), ..Self::default() }
    }

    /// Reads about `budget` bytes; false when the pass is over. Blocks on the disk.
    pub(in crate::storage) fn step(&mut self, budget: u64, metrics: &Metrics) -> bool {
        let mut spent = 0;
        while spent < budget {
            let Some(segment) = self.segments.front().cloned() else {
                if !self.next_log() {
                    metrics.log_scrub_passes_total.increment();
                    return false;
                }
                continue;
            };
            let Some(log) = self.log.upgrade() else {
                self.segments.clear();
                continue;
            };
            let read = match self.scrub(&log, &segment, budget - spent, metrics) {
                Ok(read) => read,
                // Deleted, or replaced by a shorter one.
                Err(error) if is_not_found(&error) || !is_there(&log, &segment) => {
                    self.place = None;
                    0
                }
                Err(error) => {
                    log.tell_of_damage(&segment, 0, &format!("cannot be read: {error}"));
                    metrics.log_scrub_damages_total.increment();
                    self.place = None;
                    0
                }
            };
            metrics.log_scrub_bytes_total.add(read);
            spent += read.max(SEGMENT_COST_BYTES);
            if self.place.is_none() {
                self.segments.pop_front();
            }
        }
        true
    }

    /// Takes up the next log's sealed segments; false when there is none.
    fn next_log(&mut self) -> bool {
        let Some(log) = self.logs.pop_front() else { return false };
        // A log that is closed or offline has nothing to scrub.
        let segments = log.upgrade().and_then(|log| log.segments().ok()).unwrap_or_default();
        self.segments = segments.into_iter().filter(|segment| !segment.is_active).collect();
        self.log = log;
        true
    }

    /// Reads a part of a segment and notes where it stopped; `place` is none when it is done.
    fn scrub(&mut self, log: &Log, segment: &SegmentView, budget: u64, metrics: &Metrics) -> io::Result<u64> {
        let epochs = log.lock().epochs.clone();
        let bounds = SegmentBounds { next_base_offset: Some(segment.next_base_offset), epochs: Some(&epochs) };
        let begin = (0, Chain { next_offset: segment.base_offset, epoch: -1 });
        let (mut position, mut chain) = self.place.take().unwrap_or(begin);
        let file = segment.open(SegmentFileKind::Log)?;
        let read = std::cell::Cell::new(0);
        let mut on_read = |bytes: usize| read.set(read.get() + bytes as u64);
        let mut walker = Walker::new(&*file, segment.size, WINDOW_BYTES, &mut on_read);
        while position < segment.size {
            if read.get() >= budget {
                self.place = Some((position, chain));
                break;
            }
            let (damage, header) = match walker.header(position)? {
                Err(reason) => (Some(reason), None),
                Ok(header) => match misplaced(&header, chain, bounds) {
                    Some(reason) => (Some(reason), Some(header)),
                    None if walker.checksum_matches(position, &header)? => (None, Some(header)),
                    None => (Some(format!("wrong checksum (stored crc = {})", header.crc)), Some(header)),
                },
            };
            let Some(header) = header else {
                self.found(log, segment, position, damage.as_deref().unwrap_or_default(), metrics);
                break;
            };
            match damage {
                None => chain = Chain { next_offset: header.next_offset(), epoch: header.partition_leader_epoch },
                Some(reason) => self.found(log, segment, position, &reason, metrics),
            }
            position += header.size_in_bytes() as u64;
        }
        Ok(read.get())
    }

    fn found(&self, log: &Log, segment: &SegmentView, position: u64, reason: &str, metrics: &Metrics) {
        if is_there(log, segment) {
            log.tell_of_damage(segment, position, reason);
            metrics.log_scrub_damages_total.increment();
        }
    }
}

/// Whether the segment is still the one that is read.
fn is_there(log: &Log, segment: &SegmentView) -> bool {
    let same = |other: &SegmentView| {
        (other.base_offset, other.size, other.next_base_offset)
            == (segment.base_offset, segment.size, segment.next_base_offset)
    };
    log.segments().is_ok_and(|segments| segments.iter().any(same))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::config::LogConfig;
    use crate::env::{Env, ManualClock, OpenMode};
    use crate::record::BatchProperties;
    use crate::storage::log::log_tests::batch;
    use crate::storage::{AppendOrigin, LogManagerOptions};
    use crate::types::TopicPartition;

    fn manager(env: &Env) -> Arc<LogManager> {
        LogManager::open(env.clone(), LogManagerOptions::new(vec!["/data".into()], 1)).unwrap()
    }

    #[test]
    fn a_pass_reads_every_sealed_segment_in_small_steps_and_finds_what_rotted() {
        let env = Env::simulated(ManualClock::new(1_000_000), 7);
        let manager = manager(&env);
        let config = Arc::new(LogConfig { segment_bytes: 2000, ..LogConfig::default() });
        for number in 0..3 {
            let name = TopicPartition::new("t", number);
            let log = manager.get_or_create(&name, Uuid::from_u128(9), config.clone()).unwrap();
            for _ in 0..60 {
                let batch = batch(BatchProperties::default(), 2, 500);
                log.append_records(batch, 0, AppendOrigin::Coordinator, 500).unwrap();
            }
        }
        let sealed: u64 = manager.logs().iter().flat_map(|log| log.segments().unwrap()).map(|one| one.size).sum();
        let metrics = Metrics::default();
        let mut steps = 0;
        let mut scrub = Scrub::begin(&manager.logs());
        while scrub.step(SEGMENT_COST_BYTES, &metrics) {
            steps += 1;
        }
        let read = metrics.log_scrub_bytes_total.get();
        assert!(steps >= 6 && read > sealed / 2 && read <= sealed, "{steps} {read} of {sealed}");
        assert_eq!((metrics.log_scrub_passes_total.get(), metrics.log_scrub_damages_total.get()), (1, 0));

        let log = manager.log(&TopicPartition::new("t", 1)).unwrap();
        let file = env.disk.open(&log.path().join("00000000000000000000.log"), OpenMode::ReadWrite).unwrap();
        for position in [7, 700] {
            let mut byte = [0];
            file.read_exact_at(&mut byte, position).unwrap();
            file.write_all_at(&[byte[0] ^ 1], position).unwrap();
        }
        let mut scrub = Scrub::begin(&manager.logs());
        while scrub.step(1 << 20, &metrics) {}
        assert_eq!(metrics.log_scrub_damages_total.get(), 2);

        // A log that goes while it is read is no damage.
        let mut scrub = Scrub::begin(&manager.logs());
        scrub.step(1, &metrics);
        log.truncate_fully_and_start_at(0).unwrap();
        while scrub.step(1 << 20, &metrics) {}
        assert_eq!(metrics.log_scrub_damages_total.get(), 2);
    }
}
