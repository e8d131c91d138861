//! What runs now and then: retention, flushing by time, checkpoints, forgetting producers. Tasks sleep on the clock, do their work
//! on the blocking pool, and end with the manager.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::LogManager;
use crate::storage::log::{flush_dirty, run_later};

type Work = fn(&Arc<LogManager>);

/// Longest wait of a background flush; a longer `ottla.flush.max.unflushed.ms` means none at all.
const MAX_FLUSH_WAIT_MS: i64 = i64::MAX / 2;

impl LogManager {
    /// Starts the background tasks.
    pub fn start(self: &Arc<Self>) {
        let options = &self.options;
        let initial = options.initial_task_delay_ms;
        self.every("kafka-log-retention", initial, options.retention_check_interval_ms, Self::delete_expired);
        self.every("kafka-log-flusher", initial, options.flush_scheduler_interval_ms, Self::flush_dirty_logs);
        let interval = options.flush_offset_checkpoint_interval_ms;
        self.every("kafka-recovery-point-checkpoint", initial, interval, Self::checkpoint_all);
        let interval = options.high_watermark_checkpoint_interval_ms;
        self.every("highwatermark-checkpoint", interval, interval, Self::checkpoint_high_watermarks);
        let interval = options.producer_id_expiration_check_interval_ms;
        self.every("producer-expiration", interval, interval, Self::expire_producers);
        for index in 0..self.directories.len() {
            self.flush_in_rounds(index);
        }
        self.keep_ballasts(initial);
        self.start_cleaner();
        self.scrub_in_rounds();
    }

    /// Flushes the dirty logs of a directory, `ottla.flush.max.unflushed.ms` after the first became so. Sleeps while there are none.
    fn flush_in_rounds(self: &Arc<Self>, index: usize) {
        let directory = self.directories[index].directory.clone();
        let wait_ms = directory.flush_limits().max_unflushed_ms;
        if wait_ms >= MAX_FLUSH_WAIT_MS {
            return;
        }
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
        let env = self.env.clone();
        let manager = Arc::downgrade(self);
        let name = "background-flush";
        let task = async move {
            loop {
                directory.dirty.wake.notified().await;
                if is_over(&manager) {
                    return;
                }
                env.clock.sleep_until(env.clock.monotonic() + wait).await;
                if !run(&manager, name, move |manager| manager.flush_dirty_logs_in(index)).await {
                    return;
                }
            }
        };
        self.env.spawn.spawn(name, Box::pin(task));
    }

    /// Writes the ballast of every directory once, when the start is over; what gives it up takes care of it from then on.
    fn keep_ballasts(self: &Arc<Self>, initial_ms: i64) {
        for directory in self.directories() {
            let owner = directory.clone();
            run_later(&self.env, "ballast", initial_ms, Box::new(move || owner.keep_ballast()));
        }
    }

    /// Makes durable what was appended in a directory.
    pub(super) fn flush_dirty_logs_in(self: &Arc<Self>, index: usize) {
        let directory = &self.directories[index].directory;
        if let Err(error) = flush_dirty(directory) {
            tracing::error!("background flush of {}: {error}", directory.path().display());
        }
    }

    fn every(self: &Arc<Self>, name: &'static str, initial_ms: i64, interval_ms: i64, work: Work) {
        if interval_ms == i64::MAX || interval_ms <= 0 {
            return;
        }
        let env = self.env.clone();
        let manager = Arc::downgrade(self);
        let task = async move {
            let mut wait_ms = initial_ms;
            loop {
                let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
                env.clock.sleep_until(env.clock.monotonic() + wait).await;
                wait_ms = interval_ms;
                if !run(&manager, name, work).await {
                    return;
                }
            }
        };
        self.env.spawn.spawn(name, Box::pin(task));
    }

    /// Deletes what retention no longer holds, in all logs.
    pub fn delete_expired(self: &Arc<Self>) {
        let now_ms = self.env.clock.wall_millis();
        self.finish_all_detaching();
        let (mut producers, mut late) = (0, 0);
        for log in self.logs() {
            let (count, is_late) = log.producer_health(now_ms);
            producers += count as i64;
            late += i64::from(is_late);
            if self.cleaner.is_started() && log.config().compact {
                // The cleaner's threads do it, so that it does not meet a cleaning.
                continue;
            }
            if let Err(error) = log.delete_old_segments(now_ms) {
                tracing::warn!("retention of {}: {error}", log.topic_partition());
            }
        }
        self.options.metrics.producer_ids.set(producers);
        self.options.metrics.partitions_with_late_transactions.set(late);
    }

    /// Flushes logs whose last flush is `flush.ms` ago.
    fn flush_dirty_logs(self: &Arc<Self>) {
        let now = self.env.clock.monotonic();
        for log in self.logs() {
            log.flush_if_due(now);
        }
    }

    fn checkpoint_all(self: &Arc<Self>) {
        for managed in self.directories.iter().filter(|managed| !managed.directory.is_offline()) {
            if let Err(error) = self.write_checkpoints(managed) {
                tracing::error!("checkpoint: {error}");
            }
        }
    }

    fn checkpoint_high_watermarks(self: &Arc<Self>) {
        for managed in self.directories.iter().filter(|managed| !managed.directory.is_offline()) {
            if let Err(error) = self.write_high_watermarks(managed) {
                tracing::error!("checkpoint: {error}");
            }
        }
    }

    fn expire_producers(self: &Arc<Self>) {
        let now_ms = self.env.clock.wall_millis();
        for log in self.logs() {
            log.remove_expired_producers(now_ms);
        }
    }
}

/// Runs one round on the blocking pool; false when the manager is gone or stopping.
pub(super) async fn run(
    manager: &Weak<LogManager>,
    name: &'static str,
    work: impl FnOnce(&Arc<LogManager>) + Send + 'static,
) -> bool {
    let Some(manager) = manager.upgrade().filter(|_| !is_over(manager)) else {
        return false;
    };
    let (done, finished) = tokio::sync::oneshot::channel::<()>();
    let spawn = manager.env.spawn.clone();
    spawn.spawn_blocking(
        name,
        Box::new(move || {
            work(&manager);
            drop(manager);
            let _ = done.send(());
        }),
    );
    finished.await.is_ok()
}

pub(super) fn is_over(manager: &Weak<LogManager>) -> bool {
    manager.upgrade().is_none_or(|manager| manager.stopping.load(Ordering::Acquire))
}
