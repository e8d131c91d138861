//! Fetch (key 1): reads for consumers, with incremental sessions (KIP-227) and long polls.
//!
//! A request becomes a `FetchContext`; an attempt reads what the context holds; when that is too little the fetch waits
//! as one [`FetchWatcher`] until the partitions tell it that there is enough, and reads again. Nothing is polled.

mod read;
mod response;
mod session;
mod session_cache;

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use smallvec::SmallVec;

use self::read::{Budget, PartitionRead, ReadKind};
use self::response::{FetchAnswer, TOPIC_ID_VERSION, owned_name};
use self::session::{
    FetchContext, FetchMetadata, FirstAnswer, PartitionKey, PartitionRequest, TopicKey, WantedPartition,
};
use super::handler::{Answer, RequestContext, Response};
use super::services::Services;
use crate::metadata::MetadataImage;
use crate::replica::{DelayedOperation, FetchWatcher, PartitionWatch};
use crate::storage::FetchIsolation;
use crate::types::{NO_LEADER_EPOCH, Uuid};

pub use self::session::FetchSessionCache;

/// Reads, and waits when the client wants more than there is.
pub fn handle(services: &Arc<Services>, context: &RequestContext, request: FetchRequest) -> Answer<FetchResponse> {
    let Some(isolation) = FetchIsolation::from_level(request.isolation_level) else {
        // Kafka's handler fails with it.
        return Answer::Raw(response::refusal(&request, ResponseError::UnknownServerError, context.api_version));
    };
    let started = services.env.clock.monotonic();
    let max_wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let mut fetch = Fetch::new(services.clone(), context, request, isolation, started);
    let may_wait = !max_wait.is_zero();
    match fetch.attempt(may_wait) {
        Attempt::Answer(response) => Answer::Raw(response),
        Attempt::TooLittle { bytes } => match services.replicas.delayed_fetches().start() {
            Some(delayed) => Answer::RawLater(Box::pin(fetch.wait(bytes, started + max_wait, delayed))),
            // More fetches wait already than this broker allows: this one does not.
            None => Answer::Raw(fetch.answer_now()),
        },
    }
}

/// What one attempt came to.
enum Attempt {
    /// The answer.
    Answer(Response),
    /// Fewer bytes than the client wants to wake up for, and no error.
    TooLittle { bytes: u64 },
}

struct Fetch {
    services: Arc<Services>,
    request: RequestContext,
    min_bytes: u64,
    max_bytes: usize,
    isolation: FetchIsolation,
    is_follower: bool,
    context: FetchContext,
    /// The partitions of the request; all there is to read unless the context is a session.
    wanted: Vec<WantedPartition>,
    /// Hears of news in `wanted`, while a fetch without a session waits.
    watcher: Option<Arc<FetchWatcher>>,
    watches: Vec<PartitionWatch>,
}

impl Fetch {
    fn new(
        services: Arc<Services>,
        context: &RequestContext,
        request: FetchRequest,
        isolation: FetchIsolation,
        now: Duration,
    ) -> Self {
        let version = context.api_version;
        let uses_topic_ids = version >= TOPIC_ID_VERSION;
        let image = services.replicas.image();
        let wanted = wanted_partitions(&image, uses_topic_ids, &request.topics);
        let forgotten = forgotten_partitions(uses_topic_ids, &request.forgotten_topics_data);
        let metadata = FetchMetadata { session_id: request.session_id, epoch: request.session_epoch };
        let session_context = services.fetch_sessions.context(metadata, uses_topic_ids, &wanted, &forgotten, now);
        // A session that is given partitions may become larger than there is memory for, and go.
        if !matches!(session_context, FetchContext::Incremental { .. }) || !wanted.is_empty() {
            services.metrics.fetch_sessions.set(services.fetch_sessions.len() as i64);
        }
        let max_bytes = usize::try_from(request.max_bytes.min(services.config.fetch_max_bytes())).unwrap_or(0);
        let min_bytes = u64::try_from(request.min_bytes).unwrap_or(0).min(max_bytes as u64);
        let replica_id = if version >= 15 { request.replica_state.replica_id.0 } else { request.replica_id.0 };
        Self {
            services,
            request: context.clone(),
            min_bytes,
            max_bytes,
            isolation,
            is_follower: replica_id >= 0,
            context: session_context,
            wanted,
            watcher: None,
            watches: Vec::new(),
        }
    }

    fn version(&self) -> i16 {
        self.request.api_version
    }

    /// Waits for enough bytes or the deadline, and answers.
    async fn wait(mut self, mut bytes: u64, deadline: Duration, delayed: DelayedOperation) -> Response {
        let services = self.services.clone();
        let _waiting = services.metrics.fetches_waiting.hold();
        let mut timeout = services.env.clock.sleep_until(deadline);
        loop {
            if let Some(watcher) = self.park(bytes) {
                tokio::select! {
                    biased;
                    () = watcher.ready() => {}
                    () = &mut timeout => {
                        drop(delayed);
                        return self.answer_now();
                    }
                }
            }
            match self.attempt(true) {
                Attempt::Answer(response) => return response,
                Attempt::TooLittle { bytes: read } => bytes = read,
            }
        }
    }

    /// Makes sure that news will wake this fetch; `None` when there have been news since the attempt.
    fn park(&mut self, bytes: u64) -> Option<Arc<FetchWatcher>> {
        let missing = self.min_bytes.saturating_sub(bytes);
        if let FetchContext::Incremental { session, .. } = &self.context {
            return session.watcher.arm(missing).then(|| session.watcher.clone());
        }
        match &self.watcher {
            Some(watcher) if !self.watches.is_empty() => watcher.arm(missing).then(|| watcher.clone()),
            _ => {
                // The attempt before read without being watched: the next one reads again, watched.
                self.watch_wanted();
                None
            }
        }
    }

    fn watch_wanted(&mut self) {
        let image = self.services.replicas.image();
        let watcher = self.watcher.get_or_insert_with(FetchWatcher::new);
        for (token, (key, name, _)) in (0..).zip(&self.wanted) {
            if let Ok(partition) = read::find_partition(&self.services.replicas, &image, key, name.as_ref()) {
                self.watches.push(partition.watch(watcher, token));
            }
        }
    }

    /// Answers with whatever there is.
    fn answer_now(&mut self) -> Response {
        match self.attempt(false) {
            Attempt::Answer(response) => response,
            Attempt::TooLittle { .. } => Response::default(),
        }
    }

    fn attempt(&mut self, may_wait: bool) -> Attempt {
        match &self.context {
            FetchContext::Error(error) => {
                let answer = FetchAnswer { error_code: error.code(), ..FetchAnswer::default() };
                Attempt::Answer(answer.encode(self.version()))
            }
            FetchContext::Sessionless => self.attempt_all(may_wait, false),
            FetchContext::Full => self.attempt_all(may_wait, true),
            FetchContext::Incremental { session, epoch } => {
                let (session, epoch) = (session.clone(), *epoch);
                self.attempt_incremental(may_wait, &session, epoch)
            }
        }
    }

    /// Reads all partitions of the request.
    fn attempt_all(&mut self, may_wait: bool, opens_session: bool) -> Attempt {
        if let Some(watcher) = &self.watcher {
            watcher.take_dirty(&mut Vec::new());
        }
        let image = self.services.replicas.image();
        let mut budget = Budget::new(self.max_bytes);
        let mut reads = Vec::with_capacity(self.wanted.len());
        for (token, (key, name, request)) in (0..).zip(&self.wanted) {
            let partition = read::find_partition(&self.services.replicas, &image, key, name.as_ref());
            let name = name.clone().unwrap_or_else(|| Arc::from(""));
            reads.push(self.read(token, name, key, request, partition, &mut budget));
        }
        if may_wait && let Some(bytes) = self.too_little(&reads, self.wanted.len()) {
            return Attempt::TooLittle { bytes };
        }
        let mut answer = FetchAnswer::default();
        if opens_session {
            answer.session_id = self.open_session(&reads);
        }
        self.add_node_endpoints(&image, &mut reads, &mut answer);
        read::put_in_answer_order(&mut reads);
        for read in reads {
            read.count_sent();
            answer.push(&read.name, read.topic_id, read.answer);
        }
        Attempt::Answer(self.encode(answer))
    }

    /// Reads the partitions of a session that have news.
    fn attempt_incremental(&self, may_wait: bool, session: &Arc<session::FetchSession>, epoch: i32) -> Attempt {
        let mut state = session.lock();
        if state.epoch != epoch {
            // The client has gone on: this was a duplicate.
            let error_code = ResponseError::InvalidFetchSessionEpoch.code();
            let answer = FetchAnswer { error_code, session_id: session.id, ..FetchAnswer::default() };
            return Attempt::Answer(answer.encode(self.version()));
        }
        let image = self.services.replicas.image();
        let mut tokens = std::mem::take(&mut state.news);
        session.watcher.take_dirty(&mut tokens);
        let mut budget = Budget::new(self.max_bytes);
        let mut reads = SmallVec::<[PartitionRead; 2]>::new();
        let mut looked_at = 0;
        while looked_at < tokens.len() && !budget.is_spent() {
            reads.extend(self.read_cached(&mut state, session, tokens[looked_at], &image, &mut budget));
            looked_at += 1;
        }
        // Unread news come first the next time.
        tokens[looked_at..].iter().for_each(|token| session.watcher.mark_dirty(*token));
        state.news = tokens;
        if may_wait && let Some(bytes) = self.too_little(&reads, state.len()) {
            reads.iter().for_each(|read| session.watcher.mark_dirty(read.token));
            return Attempt::TooLittle { bytes };
        }
        reads.iter().filter(|read| read.has_more()).for_each(|read| session.watcher.mark_dirty(read.token));
        let mut answer = FetchAnswer { session_id: session.id, ..FetchAnswer::default() };
        self.add_node_endpoints(&image, &mut reads, &mut answer);
        read::put_in_answer_order(&mut reads);
        for read in reads {
            if state.get_mut(read.token).is_some_and(|cached| cached.update_response(&read.answer)) {
                read.count_sent();
                answer.push(&read.name, read.topic_id, read.answer);
            }
        }
        Attempt::Answer(self.encode(answer))
    }

    fn encode(&self, answer: FetchAnswer) -> Response {
        self.services.metrics.record_bytes_out_total.add(answer.records_len() as u64);
        answer.encode(self.version())
    }

    fn read_cached(
        &self,
        state: &mut session::SessionState,
        session: &session::FetchSession,
        token: u32,
        image: &MetadataImage,
        budget: &mut Budget,
    ) -> Option<PartitionRead> {
        let cached = state.get_mut(token)?;
        let partition = match cached.watched() {
            Some(partition) => Ok(partition.clone()),
            None => {
                if let (None, TopicKey::Id(id)) = (&cached.name, &cached.key.topic) {
                    cached.name = image.topics.topic_by_id(*id).map(|topic| topic.name.clone());
                }
                let found = read::find_partition(&self.services.replicas, image, &cached.key, cached.name.as_ref());
                if let Ok(partition) = &found {
                    state.watch(token, &session.watcher, partition);
                }
                found
            }
        };
        let cached = state.get_mut(token)?;
        let name = cached.name.clone().unwrap_or_else(|| Arc::from(""));
        Some(self.read(token, name, &cached.key, &cached.request, partition, budget))
    }

    /// Whether there is too little to answer already: the bytes there are (`ReplicaManager.fetchMessages`,
    /// `DelayedFetch.tryComplete`).
    fn too_little(&self, reads: &[PartitionRead], partitions: usize) -> Option<u64> {
        let refused = reads.iter().filter(|read| read.kind == ReadKind::Refused).count();
        let is_final = reads.iter().any(|read| read.is_final);
        let bytes = reads.iter().map(|read| read.answer.records_len() as u64).sum();
        (refused < partitions && !is_final && bytes < self.min_bytes).then_some(bytes)
    }

    fn open_session(&self, reads: &[PartitionRead]) -> i32 {
        let partitions = reads.iter().map(|read| {
            let (key, name, request) = self.wanted[read.token as usize].clone();
            let (high_watermark, log_start_offset) = (read.answer.high_watermark, read.answer.log_start_offset);
            FirstAnswer { key, name, request, high_watermark, log_start_offset }
        });
        let env = &self.services.env;
        let uses_topic_ids = self.version() >= TOPIC_ID_VERSION;
        let now = env.clock.monotonic();
        let sessions = &self.services.fetch_sessions;
        let id = sessions.open(uses_topic_ids, partitions.collect(), now, || env.random.next_u64());
        self.services.metrics.fetch_sessions.set(sessions.len() as i64);
        id
    }
}

/// The partitions of a request, each once: the last mention counts, in the place of the first.
fn wanted_partitions(image: &MetadataImage, uses_topic_ids: bool, topics: &[FetchTopic]) -> Vec<WantedPartition> {
    let mut wanted = Vec::with_capacity(topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in topics {
        let (topic_key, name) = topic_key(image, uses_topic_ids, topic.topic_id, &topic.topic.0);
        for partition in &topic.partitions {
            let key = PartitionKey { topic: topic_key.clone(), partition: partition.partition };
            let request = PartitionRequest {
                fetch_offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                // Whatever is below zero is no epoch (`FetchRequest.optionalEpoch`).
                current_leader_epoch: partition.current_leader_epoch.max(NO_LEADER_EPOCH),
                last_fetched_epoch: partition.last_fetched_epoch,
            };
            wanted.push((key, name.clone(), request));
        }
    }
    if is_each_once(topics) { wanted } else { last_mentions(wanted) }
}

/// Whether no partition is named twice, as far as that can be seen without a table of all: topics that differ, and partitions that rise
/// within each or are few.
fn is_each_once(topics: &[FetchTopic]) -> bool {
    const FEW: usize = 8;
    let differ = |from: usize| topics[from + 1..].iter().all(|topic| !is_same(topic, &topics[from]));
    let rise = |topic: &FetchTopic| topic.partitions.is_sorted_by(|one, next| one.partition < next.partition);
    let few = |topic: &FetchTopic| {
        let partitions = &topic.partitions;
        let is_new = |from: usize| partitions[..from].iter().all(|one| one.partition != partitions[from].partition);
        partitions.len() <= FEW && (0..partitions.len()).all(is_new)
    };
    topics.len() <= FEW && (0..topics.len()).all(differ) && topics.iter().all(|topic| rise(topic) || few(topic))
}

fn is_same(one: &FetchTopic, other: &FetchTopic) -> bool {
    one.topic_id == other.topic_id && one.topic == other.topic
}

fn last_mentions(wanted: Vec<WantedPartition>) -> Vec<WantedPartition> {
    let mut last = IndexMap::with_capacity(wanted.len());
    for (key, name, request) in wanted {
        last.insert(key, (name, request));
    }
    last.into_iter().map(|(key, (name, request))| (key, name, request)).collect()
}

fn forgotten_partitions(uses_topic_ids: bool, topics: &[ForgottenTopic]) -> Vec<PartitionKey> {
    let keys = topics.iter().flat_map(|topic| {
        let key =
            if uses_topic_ids { TopicKey::Id(topic.topic_id) } else { TopicKey::Name(owned_name(&topic.topic.0)) };
        topic.partitions.iter().map(move |partition| PartitionKey { topic: key.clone(), partition: *partition })
    });
    keys.collect()
}

fn topic_key(
    image: &MetadataImage,
    uses_topic_ids: bool,
    id: Uuid,
    name: &kafka_protocol::protocol::StrBytes,
) -> (TopicKey, Option<Arc<str>>) {
    if uses_topic_ids {
        return (TopicKey::Id(id), image.topics.topic_by_id(id).map(|topic| topic.name.clone()));
    }
    let name = match image.topics.topic(name.as_str()) {
        Some(topic) => topic.name.clone(),
        None => owned_name(name),
    };
    (TopicKey::Name(name.clone()), Some(name))
}

#[cfg(test)]
mod isolation_tests;
#[cfg(test)]
mod read_committed_tests;
#[cfg(test)]
mod session_property_tests;
#[cfg(test)]
mod wake_up_tests;
