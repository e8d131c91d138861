//! Everything that a scrape tells, collected from the rooms below.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::recent::Moment;
use crate::api::{Services, registry};
use crate::env::{ProcessStatistics, open_files_limit, process_statistics};
use crate::metadata::{MetadataImage, PartitionRegistration, TopicImage};
use crate::replica::Partition;
use crate::telemetry::{DurationCounts, ListenerTraffic, MetricSample, TopicTraffic};

/// All numbers of one scrape.
pub(super) struct Snapshot {
    pub(super) node_id: i32,
    pub(super) cluster_id: String,
    pub(super) wall_millis: i64,
    pub(super) image: Arc<MetadataImage>,
    /// Of `telemetry::Metrics`.
    pub(super) samples: Vec<MetricSample>,
    pub(super) topics: Vec<TopicRow>,
    pub(super) partitions: Vec<PartitionRow>,
    pub(super) totals: PartitionTotals,
    pub(super) groups: Vec<GroupRow>,
    pub(super) group_topics: Vec<GroupTopicRow>,
    pub(super) group_partitions: Vec<GroupPartitionRow>,
    pub(super) listeners: Vec<Arc<ListenerTraffic>>,
    pub(super) requests: Vec<RequestRow>,
    pub(super) request_versions: Vec<(&'static str, usize, u64)>,
    pub(super) log_directories: Vec<(String, bool)>,
    /// The share of time that the threads had nothing to do.
    pub(super) idle: Option<f64>,
    /// Metadata records a second, of the last minutes.
    pub(super) metadata_rate: f64,
    /// How long a change of the metadata takes.
    pub(super) commit_time: Option<Duration>,
    pub(super) fetch_sessions: usize,
    /// The budget of memory, and what requests and work take of it, bytes.
    pub(super) memory: (usize, usize),
    pub(super) process: Option<ProcessStatistics>,
    pub(super) max_open_files: Option<u64>,
    pub(super) uptime: Duration,
}

/// A topic.
pub(super) struct TopicRow {
    pub(super) name: Arc<str>,
    pub(super) partitions: usize,
    pub(super) replication_factor: usize,
    pub(super) bytes: u64,
    pub(super) cleanup_policy: String,
    /// `None` where no partition is here.
    pub(super) traffic: Option<Arc<TopicTraffic>>,
}

/// A partition.
pub(super) struct PartitionRow {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) leader: i32,
    pub(super) is_preferred: bool,
    pub(super) replicas: usize,
    pub(super) in_sync: usize,
    /// What the log here says; `None` where it is not here, or offline.
    pub(super) log: Option<LogRow>,
}

impl PartitionRow {
    pub(super) fn is_under_replicated(&self) -> bool {
        self.in_sync < self.replicas
    }
}

/// A log.
pub(super) struct LogRow {
    pub(super) start_offset: i64,
    pub(super) end_offset: i64,
    pub(super) high_watermark: i64,
    pub(super) last_stable_offset: i64,
    pub(super) bytes: u64,
    pub(super) segments: usize,
    pub(super) min_in_sync: usize,
}

impl LogRow {
    fn of(partition: &Partition) -> Self {
        let log = partition.log();
        // In this order no offset is beyond the next.
        let (start_offset, last_stable_offset) = (log.log_start_offset(), log.last_stable_offset());
        let high_watermark = log.high_watermark();
        Self {
            start_offset,
            last_stable_offset,
            high_watermark,
            end_offset: log.log_end_offset(),
            bytes: log.size(),
            segments: log.segment_count(),
            min_in_sync: partition.effective_min_in_sync_replicas(),
        }
    }
}

/// Partitions counted.
#[derive(Default)]
pub(super) struct PartitionTotals {
    pub(super) leaders: usize,
    pub(super) local: usize,
    pub(super) under_replicated: usize,
    pub(super) under_min_in_sync: usize,
    pub(super) at_min_in_sync: usize,
    pub(super) without_leader: usize,
    pub(super) offline: usize,
    pub(super) not_preferred: usize,
}

/// A group.
pub(super) struct GroupRow {
    pub(super) id: Arc<str>,
    pub(super) state: &'static str,
    pub(super) members: usize,
    pub(super) protocol: Option<Arc<str>>,
    pub(super) coordinator: i32,
}

/// A group's offsets in a topic, added up.
pub(super) struct GroupTopicRow {
    pub(super) group: Arc<str>,
    pub(super) topic: Arc<str>,
    pub(super) offset_sum: i64,
    pub(super) lag_sum: i64,
}

/// A group's offset in a partition.
pub(super) struct GroupPartitionRow {
    pub(super) group: Arc<str>,
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Records behind it; `None` where the partition is not here.
    pub(super) lag: Option<i64>,
}

/// Requests of one API.
pub(super) struct RequestRow {
    pub(super) name: &'static str,
    /// Since the start.
    pub(super) all: DurationCounts,
    /// Of the last minutes.
    pub(super) recent: DurationCounts,
}

/// Requests that Kafka counts once more, by who sent them.
const FETCH_CONSUMER: &str = "FetchConsumer";

impl Snapshot {
    /// Collects; blocks the thread for some microseconds a partition and a group.
    pub(super) fn collect(services: &Services, shared: &Shared) -> Self {
        let image = services.controller.image();
        let metrics = &services.metrics;
        let monotonic = shared.env.clock.monotonic();
        let (busy, workers) = shared.env.spawn.busy().unwrap_or_default();
        let now = Moment::new(monotonic, busy, image.provenance.last_contained_offset, &metrics.requests);
        let before = shared.recent.lock().compare(&now, shared.started);
        let (topics, partitions) = topics(services, &image);
        let mut snapshot = Self {
            node_id: services.config.node_id(),
            cluster_id: services.replicas.logs().cluster_id().to_owned(),
            wall_millis: shared.env.clock.wall_millis(),
            samples: metrics.samples(),
            totals: totals(&image, &partitions, services.config.node_id()),
            topics,
            partitions,
            groups: Vec::new(),
            group_topics: Vec::new(),
            group_partitions: Vec::new(),
            listeners: metrics.listeners.all(),
            requests: requests(&now, &before),
            request_versions: request_versions(services),
            log_directories: services
                .replicas
                .logs()
                .directories()
                .map(|directory| (directory.path().display().to_string(), directory.is_offline()))
                .collect(),
            idle: idle(&now, &before, workers),
            metadata_rate: metadata_rate(&now, &before),
            commit_time: services.controller.average_commit_time(),
            fetch_sessions: services.fetch_sessions.len(),
            memory: (shared.env.memory.limit(), shared.env.memory.requests() + shared.env.memory.work()),
            process: process_statistics(),
            max_open_files: open_files_limit(),
            uptime: monotonic.saturating_sub(shared.started),
            image,
        };
        snapshot.collect_groups(services);
        snapshot
    }

    fn collect_groups(&mut self, services: &Services) {
        services.groups.for_each_group(|group| {
            let mut sums: BTreeMap<Arc<str>, (i64, i64)> = BTreeMap::new();
            for (topic, partition, offset) in group.offsets {
                // Read after the commit, so that it is not behind it.
                let here = services.replicas.partition_by_name(&topic, partition).ok();
                let lag = here.map(|here| here.high_watermark().saturating_sub(offset).max(0));
                let sum = sums.entry(topic.clone()).or_default();
                *sum = (sum.0.saturating_add(offset), sum.1.saturating_add(lag.unwrap_or(0)));
                let group = group.group_id.clone();
                self.group_partitions.push(GroupPartitionRow { group, topic, partition, offset, lag });
            }
            let row = |(topic, (offset_sum, lag_sum))| {
                let group = group.group_id.clone();
                GroupTopicRow { group, topic, offset_sum, lag_sum }
            };
            self.group_topics.extend(sums.into_iter().map(row));
            let (members, protocol) = (group.members, group.protocol);
            let coordinator = self.node_id;
            self.groups.push(GroupRow { id: group.group_id, state: group.state, members, protocol, coordinator });
        });
    }

    pub(super) fn groups_in(&self, state: &str) -> usize {
        self.groups.iter().filter(|group| group.state == state).count()
    }

    /// A metric of `telemetry::Metrics`.
    pub(super) fn sample(&self, name: &str) -> i64 {
        self.samples.iter().find(|sample| sample.name == name).map_or(0, |sample| sample.value)
    }
}

fn topics(services: &Services, image: &MetadataImage) -> (Vec<TopicRow>, Vec<PartitionRow>) {
    let mut topics = Vec::with_capacity(image.topics.by_name().len());
    let mut partitions = Vec::new();
    for topic in image.topics.by_name().values() {
        topics.push(topic_row(services, topic, &mut partitions));
    }
    (topics, partitions)
}

fn topic_row(services: &Services, topic: &TopicImage, partitions: &mut Vec<PartitionRow>) -> TopicRow {
    let mut row = TopicRow {
        name: topic.name.clone(),
        partitions: topic.partitions.len(),
        replication_factor: topic.partitions.first().map_or(0, |first| first.replicas.len()),
        bytes: 0,
        cleanup_policy: String::new(),
        traffic: None,
    };
    for (number, registration) in topic.partitions() {
        let here = services.replicas.partition_by_name(&topic.name, number).ok();
        let here = here.filter(|here| here.topic_id() == topic.id);
        if let (Some(here), None) = (&here, &row.traffic) {
            row.traffic = Some(Arc::clone(here.traffic()));
            row.cleanup_policy = cleanup_policy(here);
        }
        let log = here.as_deref().map(LogRow::of);
        row.bytes += log.as_ref().map_or(0, |log| log.bytes);
        partitions.push(PartitionRow {
            topic: topic.name.clone(),
            partition: number,
            leader: registration.leader,
            is_preferred: registration.has_leader() && registration.leader == registration.preferred_replica(),
            replicas: registration.replicas.len(),
            in_sync: registration.isr.len(),
            log,
        });
    }
    row
}

fn cleanup_policy(partition: &Partition) -> String {
    let config = partition.log().config();
    let policies = [(config.compact, "compact"), (config.delete, "delete")];
    policies.iter().filter_map(|(holds, name)| holds.then_some(*name)).collect::<Vec<_>>().join(",")
}

fn totals(image: &MetadataImage, partitions: &[PartitionRow], node_id: i32) -> PartitionTotals {
    let is_here = |registration: &PartitionRegistration| registration.replicas.contains(&node_id);
    let registered = image.topics.by_name().values().flat_map(|topic| &topic.partitions);
    let count = |predicate: &dyn Fn(&PartitionRow) -> bool| partitions.iter().filter(|row| predicate(row)).count();
    let local = registered.filter(|registration| is_here(registration)).count();
    PartitionTotals {
        leaders: count(&|row| row.leader == node_id && row.log.is_some()),
        local,
        under_replicated: count(&|row| row.leader == node_id && row.is_under_replicated()),
        under_min_in_sync: count(&|row| row.log.as_ref().is_some_and(|log| row.in_sync < log.min_in_sync)),
        at_min_in_sync: count(&|row| row.log.as_ref().is_some_and(|log| row.in_sync == log.min_in_sync)),
        without_leader: count(&|row| row.leader < 0),
        offline: local - count(&|row| row.log.is_some()).min(local),
        not_preferred: count(&|row| row.leader >= 0 && !row.is_preferred),
    }
}

fn requests(now: &Moment, before: &Moment) -> Vec<RequestRow> {
    let mut rows = Vec::new();
    for (key, all) in &now.requests {
        let Some(entry) = registry::APIS.iter().find(|entry| entry.key == *key) else { continue };
        let recent = before.since(*key, all);
        // Followers would be the others; there are none.
        let names = if entry.name == "Fetch" { &[entry.name, FETCH_CONSUMER][..] } else { &[entry.name][..] };
        rows.extend(names.iter().map(|name| RequestRow { name, all: all.clone(), recent: recent.clone() }));
    }
    rows
}

fn request_versions(services: &Services) -> Vec<(&'static str, usize, u64)> {
    let mut rows = Vec::new();
    for (key, api) in services.metrics.requests.used() {
        let Some(entry) = registry::APIS.iter().find(|entry| entry.key == key) else { continue };
        rows.extend(api.versions().map(|(version, count)| (entry.name, version, count)));
        if entry.name == "Fetch" {
            rows.extend(api.versions().map(|(version, count)| (FETCH_CONSUMER, version, count)));
        }
    }
    rows
}

fn metadata_rate(now: &Moment, before: &Moment) -> f64 {
    let seconds = now.at.saturating_sub(before.at).as_secs_f64();
    (now.metadata_offset - before.metadata_offset).max(0) as f64 / seconds.max(1.0)
}

fn idle(now: &Moment, before: &Moment, workers: usize) -> Option<f64> {
    let available = now.at.saturating_sub(before.at).as_secs_f64() * workers as f64;
    let busy = now.busy.saturating_sub(before.busy).as_secs_f64();
    (available > 0.0).then(|| (1.0 - busy / available).clamp(0.0, 1.0))
}
