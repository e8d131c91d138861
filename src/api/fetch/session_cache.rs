//! Which fetch session gives way to a new one (`FetchSessionCacheShard`, KIP-227): one that was not used for two minutes,
//! else a smaller one that had its two minutes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::session::FetchSession;

/// How long a session is safe (`ServerConfigs.MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
pub const EVICTION_AGE: Duration = Duration::from_secs(120);

struct Entry {
    session: Arc<FetchSession>,
    created: Duration,
    last_used: Duration,
    /// How many partitions it has.
    size: usize,
    /// Size under which it stands in `evictable`.
    evictable_size: Option<usize>,
}

/// Sessions by id, by last use and, once they are old enough, by size.
#[derive(Default)]
pub(super) struct Inner {
    sessions: HashMap<i32, Entry>,
    by_last_used: BTreeSet<(Duration, i32)>,
    evictable: BTreeSet<(usize, i32)>,
    /// Partitions of all sessions.
    partitions: usize,
}

impl Inner {
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Partitions of all sessions.
    pub(super) fn partitions(&self) -> usize {
        self.partitions
    }

    pub(super) fn contains(&self, id: i32) -> bool {
        self.sessions.contains_key(&id)
    }

    pub(super) fn get(&self, id: i32) -> Option<Arc<FetchSession>> {
        self.sessions.get(&id).map(|entry| entry.session.clone())
    }

    pub(super) fn insert(&mut self, session: Arc<FetchSession>, size: usize, now: Duration) {
        let id = session.id;
        self.by_last_used.insert((now, id));
        self.sessions.insert(id, Entry { session, created: now, last_used: now, size: 0, evictable_size: None });
        self.touch(id, size, now);
    }

    /// Notes a use and the size after it.
    pub(super) fn touch(&mut self, id: i32, size: usize, now: Duration) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        self.by_last_used.remove(&(entry.last_used, id));
        entry.last_used = now;
        self.partitions = self.partitions - entry.size + size;
        entry.size = size;
        self.by_last_used.insert((now, id));
        if let Some(size) = entry.evictable_size.take() {
            self.evictable.remove(&(size, id));
        }
        if now.saturating_sub(entry.created) > EVICTION_AGE {
            entry.evictable_size = Some(size);
            self.evictable.insert((size, id));
        }
    }

    /// Makes room for a session of `size` partitions, if one may be evicted; gives it back, so that it is dropped
    /// without the lock.
    pub(super) fn evict(&mut self, size: usize, now: Duration) -> Option<Arc<FetchSession>> {
        let (last_used, oldest) = *self.by_last_used.first()?;
        if now.saturating_sub(last_used) > EVICTION_AGE {
            return self.remove(oldest);
        }
        let (smallest_size, smallest) = *self.evictable.first()?;
        if size > smallest_size { self.remove(smallest) } else { None }
    }

    pub(super) fn remove(&mut self, id: i32) -> Option<Arc<FetchSession>> {
        let entry = self.sessions.remove(&id)?;
        self.by_last_used.remove(&(entry.last_used, id));
        self.partitions -= entry.size;
        if let Some(size) = entry.evictable_size {
            self.evictable.remove(&(size, id));
        }
        Some(entry.session)
    }
}
