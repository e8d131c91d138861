//! The waiting side of a long poll: what Kafka's `DelayedFetch` and its purgatory keys do, without scanning.
//!
//! A fetch (or a fetch session) owns one [`FetchWatcher`] and puts it into the list of every partition it reads. An
//! append notes, in each watcher of *its* partition, which of the fetch's partitions has news and how many bytes they
//! are; the fetch is woken when the sum reaches what it wants. Nobody polls, and nobody looks at partitions without news.

use std::sync::Arc;

use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The place of one partition within a fetch or fetch session; chosen by the owner of the watcher.
pub type WatchToken = u32;

/// What woke or will wake one fetch; also remembers which of its partitions have news.
#[derive(Default)]
pub struct FetchWatcher {
    state: Mutex<WatcherState>,
    notify: Notify,
}

#[derive(Default)]
struct WatcherState {
    /// Partitions with news, in the order in which the news came, each once.
    dirty: Vec<WatchToken>,
    /// Membership of `dirty`, one bit a token.
    marks: Vec<u64>,
    /// Bytes that became readable since the last `take_dirty`.
    bytes: u64,
    /// A change that must be answered at once, whatever the bytes: leadership, log start, deletion.
    urgent: bool,
    /// Bytes still wanted; `None` while nobody waits.
    wanted: Option<u64>,
}

impl WatcherState {
    fn mark(&mut self, token: WatchToken) {
        let (word, bit) = (token as usize / 64, 1_u64 << (token % 64));
        if word >= self.marks.len() {
            self.marks.resize(word + 1, 0);
        }
        if self.marks[word] & bit == 0 {
            self.marks[word] |= bit;
            self.dirty.push(token);
        }
    }

    fn is_ready(&self) -> bool {
        self.urgent || self.wanted.is_some_and(|wanted| self.bytes >= wanted)
    }
}

impl FetchWatcher {
    /// A watcher without news.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Notes that `bytes` more can be read from the partition; wakes the fetch when that is enough for it.
    pub fn on_bytes(&self, token: WatchToken, bytes: u64) {
        self.note(token, bytes, false);
    }

    /// Notes a change that the fetch must see at once: an error, a new leader epoch, a new log start offset.
    pub fn on_change(&self, token: WatchToken) {
        self.note(token, 0, true);
    }

    fn note(&self, token: WatchToken, bytes: u64, urgent: bool) {
        let wake = {
            let mut state = self.state.lock();
            state.mark(token);
            state.bytes = state.bytes.saturating_add(bytes);
            state.urgent |= urgent;
            state.wanted.is_some() && state.is_ready()
        };
        if wake {
            self.notify.notify_one();
        }
    }

    /// Marks a partition as worth a read at the next fetch, without waking anyone.
    pub fn mark_dirty(&self, token: WatchToken) {
        self.state.lock().mark(token);
    }

    /// Moves the partitions with news to `into` (which is emptied first) and starts counting afresh.
    pub fn take_dirty(&self, into: &mut Vec<WatchToken>) {
        into.clear();
        let mut state = self.state.lock();
        let state = &mut *state;
        for token in &state.dirty {
            state.marks[*token as usize / 64] = 0;
        }
        std::mem::swap(into, &mut state.dirty);
        state.bytes = 0;
        state.urgent = false;
        state.wanted = None;
    }

    /// Starts waiting for `wanted` bytes beyond what the caller has read since `take_dirty`; `false` when they, or an
    /// urgent change, are there already, so that the caller reads again instead of waiting.
    pub fn arm(&self, wanted: u64) -> bool {
        let mut state = self.state.lock();
        state.wanted = Some(wanted.max(1));
        !state.is_ready()
    }

    /// Completes when what `arm` asked for is there.
    pub async fn ready(&self) {
        while !self.state.lock().is_ready() {
            self.notify.notified().await;
        }
    }
}

/// The watchers of one partition.
#[derive(Default)]
pub(super) struct WatcherList {
    entries: IndexMap<u64, (Arc<FetchWatcher>, WatchToken)>,
    next_id: u64,
}

impl WatcherList {
    /// Adds a watcher and returns the id under which it is removed.
    pub(super) fn add(&mut self, watcher: Arc<FetchWatcher>, token: WatchToken) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.entries.insert(id, (watcher, token));
        id
    }

    /// Removes a watcher; O(1). A list that was large gives its memory back when it becomes empty.
    pub(super) fn remove(&mut self, id: u64) {
        self.entries.swap_remove(&id);
        if self.entries.is_empty() {
            self.entries = IndexMap::new();
        }
    }

    /// Tells every watcher about new bytes.
    pub(super) fn on_bytes(&self, bytes: u64) {
        for (watcher, token) in self.entries.values() {
            watcher.on_bytes(*token, bytes);
        }
    }

    /// Tells every watcher about a change it must see at once.
    pub(super) fn on_change(&self) {
        for (watcher, token) in self.entries.values() {
            watcher.on_change(*token);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn dirty(watcher: &FetchWatcher) -> Vec<WatchToken> {
        let mut tokens = Vec::new();
        watcher.take_dirty(&mut tokens);
        tokens
    }

    #[test]
    fn news_are_noted_once_and_in_order() {
        let watcher = FetchWatcher::new();
        for token in [70, 3, 70, 3, 0] {
            watcher.on_bytes(token, 10);
        }
        assert_eq!(dirty(&watcher), [70, 3, 0]);
        assert!(dirty(&watcher).is_empty());
        watcher.on_bytes(70, 1);
        assert_eq!(dirty(&watcher), [70]);
    }

    #[test]
    fn arming_sees_what_came_since_the_read() {
        let watcher = FetchWatcher::new();
        dirty(&watcher);
        watcher.on_bytes(1, 99);
        assert!(watcher.arm(100), "one byte is missing");
        watcher.on_bytes(1, 1);
        assert!(!watcher.arm(100));
        dirty(&watcher);
        assert!(watcher.arm(100), "taking the news starts afresh");
        watcher.on_change(2);
        assert!(!watcher.arm(100), "a change is urgent");
    }

    #[tokio::test]
    async fn the_fetch_is_woken_when_the_bytes_are_there_and_not_before() {
        let watcher = FetchWatcher::new();
        assert!(watcher.arm(20));
        let mut waiting = Box::pin(watcher.ready());
        assert!((&mut waiting).now_or_never().is_none());
        watcher.on_bytes(0, 19);
        assert!((&mut waiting).now_or_never().is_none());
        watcher.on_bytes(0, 1);
        assert!((&mut waiting).now_or_never().is_some());
    }

    #[test]
    fn a_removed_watcher_hears_nothing_more() {
        let mut list = WatcherList::default();
        let watchers = [FetchWatcher::new(), FetchWatcher::new(), FetchWatcher::new()];
        let ids: Vec<u64> = watchers.iter().map(|watcher| list.add(watcher.clone(), 7)).collect();
        list.remove(ids[1]);
        list.on_bytes(5);
        assert_eq!(list.len(), 2);
        assert_eq!(dirty(&watchers[0]), [7]);
        assert!(dirty(&watchers[1]).is_empty());
        assert_eq!(dirty(&watchers[2]), [7]);
    }
}
