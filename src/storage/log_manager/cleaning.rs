//! The threads of the cleaner (`LogCleaner.startup`, `LogCleaner.reconfigure`): tasks that look for work on the blocking pool and sleep when
//! there is none.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::LogManager;

/// A thread whose work panics so often in a row ends.
const PANICS_MAX: u32 = 3;

impl LogManager {
    /// Starts the cleaner, unless `log.cleaner.enable` is false.
    pub(super) fn start_cleaner(self: &Arc<Self>) {
        if self.cleaner.config().enabled {
            self.cleaner.set_started();
            self.start_cleaner_thread(0);
        }
    }

    /// Cleans the dirtiest log, and deletes old segments of compacted logs. Blocks the thread. False if there was nothing to clean.
    pub fn clean_filthiest_log(self: &Arc<Self>, thread: usize) -> bool {
        let is_stopping = || self.stopping.load(Ordering::Acquire);
        self.cleaner.run_once(thread, &self.logs(), &is_stopping)
    }

    /// Thread 0 is always there and starts the others, which end when `log.cleaner.threads` falls below their number.
    fn start_cleaner_thread(self: &Arc<Self>, thread: usize) {
        if !self.cleaner_threads.lock().insert(thread) {
            return;
        }
        let env = self.env.clone();
        let manager = Arc::downgrade(self);
        let task = async move {
            let mut panics = 0;
            while let Some(wait) = clean_round(&manager, thread, &mut panics).await {
                env.clock.sleep_until(env.clock.monotonic() + wait).await;
            }
            if let Some(manager) = manager.upgrade() {
                manager.cleaner_threads.lock().remove(&thread);
            }
        };
        self.env.spawn.spawn("kafka-log-cleaner", Box::pin(task));
    }
}

/// One round of a thread: how long to wait before the next; `None` ends it.
async fn clean_round(manager: &Weak<LogManager>, thread: usize, panics: &mut u32) -> Option<Duration> {
    let manager = manager.upgrade().filter(|manager| !manager.stopping.load(Ordering::Acquire))?;
    let config = manager.cleaner.config();
    let backoff = Duration::from_millis(u64::try_from(config.backoff_ms).unwrap_or(0));
    if thread >= config.threads {
        return (thread == 0).then_some(backoff);
    }
    if thread == 0 {
        (1..config.threads).for_each(|other| manager.start_cleaner_thread(other));
    }
    let (done, finished) = tokio::sync::oneshot::channel();
    let spawn = manager.env.spawn.clone();
    let cleaner = Arc::downgrade(&manager);
    spawn.spawn_blocking(
        "kafka-log-cleaner",
        Box::new(move || {
            let cleaned = manager.clean_filthiest_log(thread);
            drop(manager);
            let _ = done.send(cleaned);
        }),
    );
    match finished.await {
        Ok(cleaned) => {
            *panics = 0;
            Some(if cleaned { Duration::ZERO } else { backoff })
        }
        Err(_) => {
            *panics += 1;
            tracing::error!("[LogCleaner] thread {thread} panicked");
            if *panics < PANICS_MAX {
                return Some(backoff);
            }
            cleaner.upgrade()?.cleaner.note_dead_thread();
            None
        }
    }
}
