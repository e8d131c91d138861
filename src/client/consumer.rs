//! A consumer (`KafkaConsumer`): topics of a group, or partitions that were chosen; records one at a time.
//!
//! One task does everything in turn: heartbeats go between fetches, whose wait they bound. A caller that does not ask for records for
//! as long as the session's timeout falls out of its group and joins again. What is fetched and not yet read is at most one answer of
//! each leader.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};

use super::cluster_client::{ClusterClient, Deadline, Destination};
use super::cluster_metadata::ClusterMetadata;
use super::consumer_group::Membership;
use super::consumer_settings::{ConsumerSettings, OffsetReset};
use super::error::ClientError;
use super::fetched_partition::{ConsumerRecord, FetchedPartition};
use super::groups::{alter_group_offsets, committed_offsets};
use super::node_connection::NodeConnection;
use super::offsets::{LATEST_TIMESTAMP, PartitionOffset, list_offsets};
use crate::types::{TopicPartition, is_internal_topic};
use crate::wire::str_bytes;

/// Newest version of Fetch that names topics instead of giving their ids.
const FETCH_BY_NAME: Option<i16> = Some(12);
/// Wait of a fetch when several leaders are asked, whose answers are awaited together.
const SHARED_FETCH_WAIT_MS: i32 = 100;
/// Between looks for topics that are not there yet.
const MISSING_TOPIC_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait without partitions.
const IDLE_WAIT: Duration = Duration::from_millis(100);

const OFFSET_OUT_OF_RANGE: i16 = 1;

/// What is read.
pub enum Subscription {
    /// Topics, shared with the other members of the group.
    Topics(BTreeSet<String>),
    /// The topics that this is true for, shared with the other members of the group.
    Pattern(Box<dyn Fn(&str) -> bool + Send>),
    /// Partitions, of which no group knows.
    Partitions(BTreeMap<TopicPartition, StartAt>),
}

/// Where reading a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At an offset.
    Offset(i64),
    /// At the first record that is as late, or at one of the special timestamps.
    Timestamp(i64),
    /// Where the group left off, else as configured.
    Committed,
}

/// Where a partition is read.
#[derive(Clone, Copy, Debug)]
enum Position {
    /// Still to be found out.
    Wanted(StartAt),
    /// Every record before `consumed` was handed out; `fetched` is what comes next.
    At { consumed: PartitionOffset, fetched: i64 },
}

impl Position {
    fn at(offset: PartitionOffset) -> Self {
        Self::At { consumed: offset, fetched: offset.offset }
    }
}

/// Reads records.
pub struct Consumer {
    cluster: ClusterClient,
    settings: ConsumerSettings,
    subscription: Subscription,
    membership: Option<Membership>,
    /// The topics of the subscription, as far as they exist.
    topics: BTreeSet<String>,
    partitions: BTreeMap<TopicPartition, Position>,
    metadata: Option<ClusterMetadata>,
    /// Moments of the clock's monotonic time.
    metadata_due: Duration,
    commit_due: Duration,
    sources: BTreeMap<i32, NodeConnection>,
    fetched: VecDeque<FetchedPartition>,
    records: VecDeque<ConsumerRecord>,
    warned_topics: BTreeSet<String>,
}

impl Consumer {
    /// A consumer that has not begun yet.
    pub fn new(cluster: ClusterClient, settings: ConsumerSettings, subscription: Subscription) -> Self {
        let (mut membership, mut partitions) = (None, BTreeMap::new());
        match &subscription {
            Subscription::Partitions(starts) => {
                partitions = starts.iter().map(|(key, start)| (key.clone(), Position::Wanted(*start))).collect();
            }
            Subscription::Topics(_) | Subscription::Pattern(_) => membership = Some(Membership::new(&settings)),
        }
        let commit_due = cluster.clock().monotonic() + settings.auto_commit_interval.unwrap_or(Duration::MAX / 4);
        Self {
            cluster,
            settings,
            subscription,
            membership,
            topics: BTreeSet::new(),
            partitions,
            metadata: None,
            metadata_due: Duration::ZERO,
            commit_due,
            sources: BTreeMap::new(),
            fetched: VecDeque::new(),
            records: VecDeque::new(),
            warned_topics: BTreeSet::new(),
        }
    }

    /// The next record; `None` when there is none for `wait`, or when `stop` is set.
    ///
    /// # Errors
    /// What trying again does not help against, in the words of Java's consumer.
    pub async fn next(&mut self, wait: Duration, stop: &AtomicBool) -> Result<Option<ConsumerRecord>, ClientError> {
        let deadline = Deadline::after(&**self.cluster.clock(), wait);
        loop {
            if let Some(record) = self.buffered()? {
                return Ok(Some(record));
            }
            if stop.load(Ordering::Relaxed) || deadline.is_over(&**self.cluster.clock()) {
                return Ok(None);
            }
            self.round(deadline).await?;
        }
    }

    /// A record that is here already; `None` when a broker has to be asked.
    ///
    /// # Errors
    /// Bytes that are no batch, wrong checksums.
    pub fn buffered(&mut self) -> Result<Option<ConsumerRecord>, ClientError> {
        loop {
            if let Some(record) = self.records.pop_front() {
                let partition = TopicPartition { topic: record.topic.clone(), partition: record.partition };
                if let Some(Position::At { consumed, .. }) = self.partitions.get_mut(&partition) {
                    *consumed = PartitionOffset::new(record.offset + 1, record.leader_epoch);
                }
                return Ok(Some(record));
            }
            let Some(source) = self.fetched.front_mut() else { return Ok(None) };
            let Some(Position::At { consumed, fetched }) = self.partitions.get_mut(&source.partition) else {
                self.fetched.pop_front();
                continue;
            };
            match source.next_batch(*fetched)? {
                None => {
                    self.fetched.pop_front();
                }
                Some(batch) => {
                    *fetched = batch.next_offset.max(*fetched);
                    if batch.records.is_empty() {
                        consumed.offset = *fetched;
                    }
                    self.records.extend(batch.records);
                }
            }
        }
    }

    /// Whatever comes next: a heartbeat, a commit, a look at the cluster, and one fetch.
    async fn round(&mut self, deadline: Deadline) -> Result<(), ClientError> {
        let clock = self.cluster.clock().clone();
        if clock.monotonic() >= self.commit_due {
            self.commit_if_told().await;
        }
        if clock.monotonic() >= self.metadata_due {
            self.look_around().await?;
        }
        self.keep_membership().await?;
        self.find_positions().await?;
        let mut until = deadline.moment().min(self.commit_due).min(self.metadata_due);
        if let Some(membership) = &self.membership {
            until = until.min(membership.heartbeat_due());
        }
        let wait = until.saturating_sub(clock.monotonic());
        let requests = self.fetch_requests(wait);
        if requests.is_empty() {
            clock.sleep_until(clock.monotonic() + wait.min(IDLE_WAIT)).await;
            return Ok(());
        }
        self.fetch(requests).await
    }

    /// Asks for the topics of the subscription; has the group dealt out anew if there are others now.
    async fn look_around(&mut self) -> Result<(), ClientError> {
        let names: Option<BTreeSet<String>> = match &self.subscription {
            Subscription::Topics(topics) => Some(topics.clone()),
            Subscription::Pattern(_) => None,
            Subscription::Partitions(partitions) => {
                Some(partitions.keys().map(|partition| partition.topic.to_string()).collect())
            }
        };
        let names: Option<Vec<&str>> = names.as_ref().map(|names| names.iter().map(String::as_str).collect());
        let auto_create = self.settings.allow_auto_create_topics;
        let metadata = self.cluster.metadata(names.as_deref(), auto_create).await?;
        let mut are_missing = false;
        for topic in metadata.topics.iter().filter(|topic| topic.error_code != 0) {
            let error = ClientError::Answer { code: topic.error_code, message: None };
            if !error.is_retriable() {
                let message = match topic.error_code {
                    17 => format!("Invalid topics: [{}]", topic.name),
                    29 => format!("Not authorized to access topics: [{}]", topic.name),
                    _ => return Err(error),
                };
                return Err(ClientError::Answer { code: topic.error_code, message: Some(message) });
            }
            are_missing = true;
            if self.warned_topics.insert(topic.name.clone()) {
                let kind = super::kafka_error(topic.error_code).name;
                tracing::warn!(
                    "[Consumer clientId={}, groupId={}] The metadata response from the cluster reported a recoverable issue: {{{}={kind}}}",
                    self.cluster.config().client_id,
                    self.settings.group_id,
                    topic.name
                );
            }
        }
        let is_wanted = |name: &str| match &self.subscription {
            Subscription::Topics(_) | Subscription::Partitions(_) => true,
            Subscription::Pattern(pattern) => {
                pattern(name) && !(self.settings.exclude_internal_topics && is_internal_topic(name))
            }
        };
        let there = metadata.topics.iter().filter(|topic| topic.error_code == 0 && is_wanted(&topic.name));
        let there: BTreeMap<String, usize> = there.map(|topic| (topic.name.clone(), topic.partitions.len())).collect();
        if let Some(membership) = &mut self.membership {
            // Only who deals out looks at numbers of partitions.
            let is_new = |(name, count): (&String, &usize)| {
                membership.dealt_out().is_some_and(|dealt| dealt.get(name) != Some(count))
            };
            let matched: BTreeSet<String> = there.keys().cloned().collect();
            let subscribes_to_others = matches!(self.subscription, Subscription::Pattern(_)) && matched != self.topics;
            if there.iter().any(is_new) || subscribes_to_others {
                membership.request_join();
            }
            self.topics = match &self.subscription {
                Subscription::Topics(topics) => topics.clone(),
                _ => matched,
            };
        }
        self.metadata = Some(metadata);
        let age = if are_missing { MISSING_TOPIC_INTERVAL } else { self.settings.metadata_max_age };
        self.metadata_due = self.cluster.clock().monotonic() + age;
        Ok(())
    }

    /// Joins the group, or tells it that this member is alive.
    async fn keep_membership(&mut self) -> Result<(), ClientError> {
        let Some(membership) = &mut self.membership else { return Ok(()) };
        if !membership.needs_join() {
            membership.heartbeat(&mut self.cluster).await?;
        }
        if !membership.needs_join() {
            return Ok(());
        }
        self.commit_if_told().await;
        // What was fetched and not read may now be another member's.
        self.fetched.clear();
        self.records.clear();
        self.partitions.clear();
        let Some(membership) = &mut self.membership else { return Ok(()) };
        let assigned = membership.join(&mut self.cluster, &self.topics).await?;
        self.partitions =
            assigned.into_iter().map(|partition| (partition, Position::Wanted(StartAt::Committed))).collect();
        let known = self.metadata.as_ref();
        let is_known = |partition: &TopicPartition| {
            known.is_some_and(|known| known.leader_of(&partition.topic, partition.partition).is_some())
        };
        if !self.partitions.keys().all(is_known) {
            self.metadata_due = Duration::ZERO;
        }
        Ok(())
    }

    /// Finds out where partitions are to be read.
    async fn find_positions(&mut self) -> Result<(), ClientError> {
        let wanted: BTreeMap<TopicPartition, StartAt> = self
            .partitions
            .iter()
            .filter_map(|(partition, position)| match position {
                Position::Wanted(start) => Some((partition.clone(), *start)),
                Position::At { .. } => None,
            })
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let of_group: BTreeSet<TopicPartition> = wanted
            .iter()
            .filter(|(_, start)| **start == StartAt::Committed)
            .map(|(partition, _)| partition.clone())
            .collect();
        let committed = match of_group.is_empty() {
            true => BTreeMap::new(),
            false => committed_offsets(&mut self.cluster, &self.settings.group_id, Some(&of_group), true).await?,
        };
        let mut times = BTreeMap::new();
        let mut lost = Vec::new();
        for (partition, start) in wanted {
            let start = match (start, committed.get(&partition), self.settings.offset_reset) {
                (StartAt::Committed, Some(committed), _) => {
                    self.partitions.insert(partition, Position::at(*committed));
                    continue;
                }
                (StartAt::Committed, None, OffsetReset::Timestamp(timestamp)) => StartAt::Timestamp(timestamp),
                (StartAt::Committed, None, OffsetReset::None) => {
                    lost.push(partition.to_string());
                    continue;
                }
                (start, _, _) => start,
            };
            match start {
                StartAt::Offset(offset) => {
                    self.partitions.insert(partition, Position::at(PartitionOffset::new(offset, -1)));
                }
                StartAt::Timestamp(timestamp) => {
                    times.insert(partition, timestamp);
                }
                StartAt::Committed => {}
            }
        }
        if !lost.is_empty() {
            let lost = lost.join(", ");
            return Err(ClientError::Config(format!("Undefined offset with no reset policy for partitions: [{lost}]")));
        }
        self.reset(&times).await
    }

    /// Sets partitions to where their logs are at a timestamp; at their ends where nothing is as late.
    async fn reset(&mut self, times: &BTreeMap<TopicPartition, i64>) -> Result<(), ClientError> {
        let known = self.metadata.as_ref();
        let has_leader = |partition: &TopicPartition| {
            known.is_some_and(|known| known.leader_of(&partition.topic, partition.partition).is_some())
        };
        // The others are waited for without holding up these.
        let ready: BTreeMap<TopicPartition, i64> =
            times.iter().filter(|(key, _)| has_leader(key)).map(|(key, time)| (key.clone(), *time)).collect();
        if ready.len() < times.len() {
            let soon = self.cluster.clock().monotonic() + self.cluster.config().retry_backoff;
            self.metadata_due = self.metadata_due.min(soon);
        }
        if ready.is_empty() {
            return Ok(());
        }
        let isolation_level = self.settings.isolation_level;
        let mut late = BTreeMap::new();
        for (partition, offset) in list_offsets(&mut self.cluster, &ready, isolation_level).await? {
            let offset = offset?;
            if offset.offset == -1 {
                late.insert(partition, LATEST_TIMESTAMP);
            } else {
                self.partitions.insert(partition, Position::at(offset));
            }
        }
        for (partition, offset) in list_offsets(&mut self.cluster, &late, isolation_level).await? {
            self.partitions.insert(partition, Position::at(offset?));
        }
        Ok(())
    }

    /// A request for each leader of partitions that are to be read.
    fn fetch_requests(&mut self, wait: Duration) -> BTreeMap<i32, FetchRequest> {
        let mut topics: BTreeMap<i32, BTreeMap<&str, Vec<FetchPartition>>> = BTreeMap::new();
        let mut is_leaderless = false;
        for (partition, position) in &self.partitions {
            let Position::At { fetched, .. } = position else { continue };
            let known = self.metadata.as_ref();
            let Some(leader) = known.and_then(|known| known.leader_of(&partition.topic, partition.partition)) else {
                is_leaderless = true;
                continue;
            };
            let wanted = FetchPartition::default()
                .with_partition(partition.partition)
                .with_fetch_offset(*fetched)
                .with_partition_max_bytes(self.settings.max_partition_fetch_bytes);
            topics.entry(leader).or_default().entry(&partition.topic).or_default().push(wanted);
        }
        if is_leaderless {
            let soon = self.cluster.clock().monotonic() + self.cluster.config().retry_backoff;
            self.metadata_due = self.metadata_due.min(soon);
        }
        let longest = if topics.len() > 1 { SHARED_FETCH_WAIT_MS } else { self.settings.fetch_max_wait_ms };
        let wait =
            i32::try_from(wait.as_millis()).unwrap_or(i32::MAX).min(longest.min(self.settings.fetch_max_wait_ms));
        let topic = |(name, partitions): (&str, Vec<FetchPartition>)| {
            FetchTopic::default().with_topic(TopicName(str_bytes(name))).with_partitions(partitions)
        };
        let request = |topics: BTreeMap<&str, Vec<FetchPartition>>| {
            FetchRequest::default()
                .with_replica_id((-1).into())
                .with_max_wait_ms(wait)
                .with_min_bytes(self.settings.fetch_min_bytes)
                .with_max_bytes(self.settings.fetch_max_bytes)
                .with_isolation_level(self.settings.isolation_level.id())
                .with_session_epoch(-1)
                .with_topics(topics.into_iter().map(topic).collect())
        };
        topics.into_iter().map(|(leader, topics)| (leader, request(topics))).collect()
    }

    /// Asks every leader at once and keeps what they answer.
    async fn fetch(&mut self, mut requests: BTreeMap<i32, FetchRequest>) -> Result<(), ClientError> {
        self.sources.retain(|leader, _| requests.contains_key(leader));
        for leader in requests.keys().copied().collect::<Vec<_>>() {
            if !self.sources.contains_key(&leader) {
                let source = self.cluster.dedicated(&Destination::Node(leader)).await?;
                self.sources.insert(leader, source);
            }
        }
        let timeout = self.cluster.config().request_timeout;
        let rack = str_bytes(&self.settings.client_rack);
        let calls = self.sources.iter_mut().filter_map(|(leader, source)| {
            let (leader, mut request, rack) = (*leader, requests.remove(leader)?, rack.clone());
            Some(async move {
                let build = |version: i16| {
                    if version >= 11 {
                        request.rack_id = rack;
                    }
                    request
                };
                (leader, source.call(FETCH_BY_NAME, timeout, build).await)
            })
        });
        for (leader, answer) in join_all(calls).await {
            match answer {
                Ok(response) => self.keep(response)?,
                Err(error) if error.is_of_connection() => {
                    tracing::debug!("fetch from node {leader}: {error}");
                    self.sources.remove(&leader);
                    self.wait_for_leaders().await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Before the cluster is asked again who leads.
    async fn wait_for_leaders(&mut self) {
        let clock = self.cluster.clock().clone();
        clock.sleep_until(clock.monotonic() + self.cluster.config().retry_backoff).await;
        self.metadata_due = Duration::ZERO;
    }

    fn keep(&mut self, response: FetchResponse) -> Result<(), ClientError> {
        ClientError::answer(response.error_code, None)?;
        for topic in response.responses {
            for data in topic.partitions {
                let partition = TopicPartition::new(topic.topic.as_str(), data.partition_index);
                self.keep_partition(partition, data)?;
            }
        }
        Ok(())
    }

    fn keep_partition(&mut self, partition: TopicPartition, data: PartitionData) -> Result<(), ClientError> {
        let error = ClientError::Answer { code: data.error_code, message: None };
        match (data.error_code, self.settings.offset_reset) {
            (0, _) => {}
            (OFFSET_OUT_OF_RANGE, OffsetReset::Timestamp(timestamp)) => {
                tracing::info!("Fetch offset of {partition} is out of range, resetting offset");
                self.partitions.insert(partition, Position::Wanted(StartAt::Timestamp(timestamp)));
                return Ok(());
            }
            (OFFSET_OUT_OF_RANGE, OffsetReset::None) => {
                let text = format!("Fetch position of {partition} is out of range, and there is no reset policy");
                return Err(ClientError::Answer { code: OFFSET_OUT_OF_RANGE, message: Some(text) });
            }
            _ if error.is_retriable() => {
                let soon = self.cluster.clock().monotonic() + self.cluster.config().retry_backoff;
                self.metadata_due = self.metadata_due.min(soon);
                return Ok(());
            }
            _ => return Err(error),
        }
        let Some(bytes) = data.records.filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        let aborted = data.aborted_transactions.unwrap_or_default();
        let aborted = aborted.iter().map(|aborted| (aborted.first_offset, aborted.producer_id.0)).collect();
        let (isolation_level, check_crcs) = (self.settings.isolation_level, self.settings.check_crcs);
        self.fetched.push_back(FetchedPartition::new(partition, bytes, aborted, isolation_level, check_crcs));
        Ok(())
    }

    /// Commits what was handed out, where `enable.auto.commit` says so; what fails is told in the log and tried again later.
    async fn commit_if_told(&mut self) {
        let Some(interval) = self.settings.auto_commit_interval else { return };
        self.commit_due = self.cluster.clock().monotonic() + interval;
        let offsets: BTreeMap<TopicPartition, PartitionOffset> = self
            .partitions
            .iter()
            .filter_map(|(partition, position)| match position {
                Position::At { consumed, .. } => Some((partition.clone(), *consumed)),
                Position::Wanted(_) => None,
            })
            .collect();
        let result = match &mut self.membership {
            Some(membership) => membership.commit(&mut self.cluster, &offsets).await,
            None if offsets.is_empty() => Ok(()),
            None => alter_group_offsets(&mut self.cluster, &self.settings.group_id, &offsets).await.map(drop),
        };
        if let Err(error) = result {
            let group = &self.settings.group_id;
            tracing::warn!("[Consumer groupId={group}] Asynchronous auto-commit of offsets failed: {error}");
        }
    }

    /// Commits what was handed out, and leaves the group.
    pub async fn close(mut self) {
        // Java's console consumer goes back to where it stopped within what it has, and a place that was gone to has no epoch.
        let unread = self.records.iter().map(|record| (record.topic.clone(), record.partition));
        let unopened = self.fetched.iter().map(|source| (source.partition.topic.clone(), source.partition.partition));
        for (topic, partition) in unread.chain(unopened).collect::<BTreeSet<_>>() {
            if let Some(Position::At { consumed, .. }) = self.partitions.get_mut(&TopicPartition { topic, partition }) {
                consumed.leader_epoch = None;
            }
        }
        self.commit_if_told().await;
        if let Some(membership) = &mut self.membership
            && let Err(error) = membership.leave(&mut self.cluster).await
        {
            tracing::debug!("leaving the group: {error}");
        }
    }
}
