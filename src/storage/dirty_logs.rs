//! Which logs of a directory hold what no sync covers, and how long that may stay so.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::log::Log;

/// Most bytes of a log that are synced before the file with the recovery points is written again. With what may be unflushed
/// and what a sync takes up meanwhile, a recovery reads less than 64 MiB of a partition again.
pub(super) const CHECKPOINT_BYTES: u64 = 24 << 20;

/// What a power cut may take of a log when its topic asks for nothing stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushLimits {
    /// `ottla.flush.max.unflushed.bytes`: a background flush begins at half of it; beyond it answers wait for the disk.
    pub max_unflushed_bytes: u64,
    /// `ottla.flush.max.unflushed.ms`: a background flush begins at the latest so long after an append; `i64::MAX`: never.
    pub max_unflushed_ms: i64,
}

impl Default for FlushLimits {
    fn default() -> Self {
        Self { max_unflushed_bytes: 16 << 20, max_unflushed_ms: 1000 }
    }
}

/// The logs of a directory that wait for the next background flush; each is in the list once.
#[derive(Default)]
pub(super) struct DirtyLogs {
    list: Mutex<Vec<Weak<Log>>>,
    /// Wakes the task that flushes, which sleeps while the list is empty.
    pub(super) wake: Notify,
}

impl DirtyLogs {
    /// Adds a log that is not in the list.
    pub(super) fn add(&self, log: Weak<Log>) {
        let mut list = self.list.lock();
        list.push(log);
        if list.len() == 1 {
            self.wake.notify_one();
        }
    }

    /// Empties the list; gives the logs that still exist.
    pub(super) fn take(&self) -> Vec<Arc<Log>> {
        let list = std::mem::take(&mut *self.list.lock());
        list.into_iter().filter_map(|log| log.upgrade()).collect()
    }
}
