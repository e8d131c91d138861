//! Incremental fetch sessions (KIP-227; Kafka's `FetchSession`): what a client fetches is remembered, a request names only
//! what changed, an answer holds only what has news.
//!
//! Better than the original in one way: a session watches its partitions ([`FetchWatcher`]), so that a fetch reads those
//! with news and not all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use parking_lot::{Mutex, MutexGuard};

use super::response::PartitionAnswer;
use crate::replica::{FetchWatcher, Partition, PartitionWatch, WatchToken};
use crate::types::Uuid;

/// The epoch that closes a session or asks for none (`FetchMetadata.FINAL_EPOCH`).
pub const FINAL_EPOCH: i32 = -1;
/// The epoch that opens a session (`FetchMetadata.INITIAL_EPOCH`).
pub const INITIAL_EPOCH: i32 = 0;
/// The id of no session (`FetchMetadata.INVALID_SESSION_ID`).
pub const NO_SESSION: i32 = 0;

/// The epoch that follows (`FetchMetadata.nextEpoch`): 0 never comes back.
pub fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        FINAL_EPOCH => FINAL_EPOCH,
        i32::MAX => 1,
        _ => epoch.wrapping_add(1),
    }
}

/// A topic as requests of one version name it: by id from v13, by name before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicKey {
    /// By id.
    Id(Uuid),
    /// By name.
    Name(Arc<str>),
}

/// A partition as requests of one version name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionKey {
    /// The topic.
    pub topic: TopicKey,
    /// The partition's number.
    pub partition: i32,
}

/// What a request asks of one partition (`FetchRequest.PartitionData`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionRequest {
    /// First offset wanted.
    pub fetch_offset: i64,
    /// Most bytes wanted.
    pub max_bytes: i32,
    /// The leader epoch that the client knows; -1 when it does not say.
    pub current_leader_epoch: i32,
    /// The epoch of the last record it has; -1 when it does not say.
    pub last_fetched_epoch: i32,
}

/// A partition of a session.
pub struct CachedPartition {
    /// How the client names it.
    pub key: PartitionKey,
    /// The topic's name; `None` as long as its id is unknown.
    pub name: Option<Arc<str>>,
    /// The latest request.
    pub request: PartitionRequest,
    /// The high watermark that the client was told last; -1 to tell it again.
    high_watermark: i64,
    /// The log start offset that the client was told last.
    log_start_offset: i64,
    /// Keeps the session informed; `None` while the partition cannot be found here.
    watch: Option<PartitionWatch>,
}

impl CachedPartition {
    /// The topic's id; zero when the client uses names.
    pub fn topic_id(&self) -> Uuid {
        match self.key.topic {
            TopicKey::Id(id) => id,
            TopicKey::Name(_) => Uuid::nil(),
        }
    }

    /// The partition that is watched, unless it is gone.
    pub fn watched(&self) -> Option<&Arc<Partition>> {
        self.watch.as_ref().map(PartitionWatch::partition).filter(|partition| !partition.is_stopped())
    }

    /// Whether the answer has to contain the partition; remembers what the client is told
    /// (`CachedPartition.maybeUpdateResponseData`).
    pub fn update_response(&mut self, answer: &PartitionAnswer) -> bool {
        let mut must_respond = answer.records_len() > 0 || answer.diverging_epoch.is_some();
        if self.high_watermark != answer.high_watermark {
            must_respond = true;
            self.high_watermark = answer.high_watermark;
        }
        if self.log_start_offset != answer.log_start_offset {
            must_respond = true;
            self.log_start_offset = answer.log_start_offset;
        }
        if answer.error_code != 0 {
            // So that the partition is sent again when the error is gone.
            self.high_watermark = -1;
            must_respond = true;
        }
        must_respond
    }
}

/// The partitions of a session and its epoch.
pub struct SessionState {
    /// The epoch that the next request must have.
    pub epoch: i32,
    slots: Vec<Option<CachedPartition>>,
    free: Vec<WatchToken>,
    by_key: HashMap<PartitionKey, WatchToken>,
    /// The partitions that the last fetch found with news; kept for its memory.
    pub news: Vec<WatchToken>,
}

/// One session.
pub struct FetchSession {
    /// Its id, above 0.
    pub id: i32,
    /// Whether its requests name topics by id.
    pub uses_topic_ids: bool,
    /// Hears of news in the session's partitions.
    pub watcher: Arc<FetchWatcher>,
    state: Mutex<SessionState>,
}

/// A partition of the first answer, from which a session is made.
pub struct FirstAnswer {
    /// How the client names it.
    pub key: PartitionKey,
    /// The topic's name, when known.
    pub name: Option<Arc<str>>,
    /// What was asked.
    pub request: PartitionRequest,
    /// The high watermark in the answer; -1 with an error.
    pub high_watermark: i64,
    /// The log start offset in the answer.
    pub log_start_offset: i64,
}

impl FetchSession {
    /// A session of the partitions of a full fetch. All of them count as having news, because none was watched while the
    /// answer was made.
    pub fn new(id: i32, uses_topic_ids: bool, partitions: Vec<FirstAnswer>) -> Self {
        let mut state = SessionState {
            epoch: next_epoch(INITIAL_EPOCH),
            slots: Vec::with_capacity(partitions.len()),
            free: Vec::new(),
            by_key: HashMap::with_capacity(partitions.len()),
            news: Vec::new(),
        };
        let watcher = FetchWatcher::new();
        for FirstAnswer { key, name, request, high_watermark, log_start_offset } in partitions {
            let cached = CachedPartition { key, name, request, high_watermark, log_start_offset, watch: None };
            watcher.mark_dirty(state.insert(cached));
        }
        Self { id, uses_topic_ids, watcher, state: Mutex::new(state) }
    }

    /// The state; held only while a request or an answer is worked on.
    pub fn lock(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock()
    }

    /// Number of partitions.
    pub fn size(&self) -> usize {
        self.state.lock().len()
    }
}

impl SessionState {
    /// Number of partitions.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no partition is left.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Takes over what a request says (`FetchSession.update`): adds and changes partitions, then removes the forgotten.
    pub fn update(
        &mut self,
        watcher: &FetchWatcher,
        wanted: &[(PartitionKey, Option<Arc<str>>, PartitionRequest)],
        forgotten: &[PartitionKey],
    ) {
        for (key, name, request) in wanted {
            let token = match self.by_key.get(key) {
                Some(token) => *token,
                None => self.insert(CachedPartition {
                    key: key.clone(),
                    name: name.clone(),
                    request: *request,
                    high_watermark: -1,
                    log_start_offset: -1,
                    watch: None,
                }),
            };
            if let Some(cached) = self.get_mut(token) {
                cached.request = *request;
                // A client may have learned of a topic's name only now.
                cached.name = name.clone().or_else(|| cached.name.take());
            }
            watcher.mark_dirty(token);
        }
        for key in forgotten {
            if let Some(token) = self.by_key.remove(key) {
                self.slots[token as usize] = None;
                self.free.push(token);
            }
        }
    }

    /// A partition by its token; `None` when it was forgotten since.
    pub fn get_mut(&mut self, token: WatchToken) -> Option<&mut CachedPartition> {
        self.slots.get_mut(token as usize)?.as_mut()
    }

    /// Watches a partition from now on. The caller reads it afterwards, never before.
    pub fn watch(&mut self, token: WatchToken, watcher: &Arc<FetchWatcher>, partition: &Arc<Partition>) {
        if let Some(cached) = self.get_mut(token) {
            cached.watch = Some(partition.watch(watcher, token));
        }
    }

    fn insert(&mut self, cached: CachedPartition) -> WatchToken {
        let token = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as WatchToken
        });
        self.by_key.insert(cached.key.clone(), token);
        self.slots[token as usize] = Some(cached);
        token
    }
}

/// What a request's session fields and partitions amount to (`FetchContext`).
pub enum FetchContext {
    /// The session is not what the client thinks it is.
    Error(ResponseError),
    /// Just this once.
    Sessionless,
    /// All partitions are in the request; a session may be opened for them.
    Full,
    /// What the session holds.
    Incremental {
        /// The session, already changed as the request says.
        session: Arc<FetchSession>,
        /// The epoch that it must still have when the answer is made.
        epoch: i32,
    },
}

/// The session fields of a request.
#[derive(Clone, Copy, Debug)]
pub struct FetchMetadata {
    /// The session's id.
    pub session_id: i32,
    /// The request's epoch in it.
    pub epoch: i32,
}

/// A partition as the request names it, with the topic's name when it is known.
pub type WantedPartition = (PartitionKey, Option<Arc<str>>, PartitionRequest);

/// All sessions, at most `max.incremental.fetch.session.cache.slots` (`FetchSessionCache`), and as many as their share of the
/// memory has room for: who gets none fetches as if it had asked for none.
pub struct FetchSessionCache {
    slots: usize,
    partitions_max: usize,
    inner: Mutex<super::session_cache::Inner>,
}

impl FetchSessionCache {
    /// A cache of `slots` sessions with `partitions_max` partitions together; with 0 no session is ever opened.
    pub fn new(slots: usize, partitions_max: usize) -> Self {
        Self { slots, partitions_max, inner: Mutex::default() }
    }

    /// Number of open sessions.
    pub fn len(&self) -> usize {
        self.inner.lock().len()
    }

    /// Whether no session is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sorts a request into one of the four kinds and applies it to its session (`FetchManager.newContext`). `now` is
    /// monotonic.
    pub fn context(
        &self,
        metadata: FetchMetadata,
        uses_topic_ids: bool,
        wanted: &[WantedPartition],
        forgotten: &[PartitionKey],
        now: Duration,
    ) -> FetchContext {
        let FetchMetadata { session_id, epoch } = metadata;
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            if session_id != NO_SESSION {
                self.remove(session_id);
            }
            return if epoch == FINAL_EPOCH { FetchContext::Sessionless } else { FetchContext::Full };
        }
        let Some(session) = self.inner.lock().get(session_id) else {
            return FetchContext::Error(ResponseError::FetchSessionIdNotFound);
        };
        let mut state = session.lock();
        if state.epoch != epoch {
            return FetchContext::Error(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return FetchContext::Error(ResponseError::FetchSessionTopicIdError);
        }
        state.update(&session.watcher, wanted, forgotten);
        if state.is_empty() {
            drop(state);
            self.remove(session_id);
            return FetchContext::Sessionless;
        }
        state.epoch = next_epoch(epoch);
        let (epoch, size) = (state.epoch, state.len());
        drop(state);
        let mut inner = self.inner.lock();
        inner.touch(session_id, size, now);
        // It has grown beyond what is left: the client opens another one, which is refused.
        let removed = if inner.partitions() > self.partitions_max { inner.remove(session_id) } else { None };
        drop(inner);
        drop(removed);
        FetchContext::Incremental { session, epoch }
    }

    /// Opens a session for the partitions of a full answer, when there is room or room can be made
    /// (`FetchSessionCacheShard.maybeCreateSession`); returns its id, or 0. `random` gives candidates for the id.
    pub fn open(
        &self,
        uses_topic_ids: bool,
        partitions: Vec<FirstAnswer>,
        now: Duration,
        mut random: impl FnMut() -> u64,
    ) -> i32 {
        let size = partitions.len();
        let mut inner = self.inner.lock();
        // The evicted session is dropped after the lock: it takes its watches out of every partition.
        let has_room = |inner: &super::session_cache::Inner| {
            inner.len() < self.slots && inner.partitions() + size <= self.partitions_max
        };
        let mut evicted = Vec::new();
        while !has_room(&inner) && size <= self.partitions_max {
            let Some(session) = inner.evict(size, now) else { break };
            evicted.push(session);
        }
        let id = if has_room(&inner) {
            let id = loop {
                let id = (random() & 0x7fff_ffff) as i32;
                if id != NO_SESSION && !inner.contains(id) {
                    break id;
                }
            };
            inner.insert(Arc::new(FetchSession::new(id, uses_topic_ids, partitions)), size, now);
            id
        } else {
            NO_SESSION
        };
        drop(inner);
        drop(evicted);
        id
    }

    fn remove(&self, id: i32) {
        let removed = self.inner.lock().remove(id);
        drop(removed);
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
