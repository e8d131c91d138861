//! Fetch, ListOffsets and OffsetFetch of the raw client.

use anyhow::{Context, Result, bail};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;

use super::batches::{self, Batch};
use super::raw::Raw;
use super::workload::{Place, Setting};
use crate::campaign::Random;

const UNSTABLE_OFFSET_COMMIT: i16 = 88;

/// What one fetch of one partition gave.
pub struct Fetched {
    /// Whole batches, from the one that holds the asked offset.
    pub batches: Vec<Batch>,
    /// What is committed of them and not below the asked offset, by the list of aborted transactions.
    pub committed: Vec<(i64, u64)>,
    /// Where to go on.
    pub next: i64,
    /// High watermark.
    pub high: i64,
    /// Last stable offset.
    pub stable: i64,
    /// Log start offset.
    pub start: i64,
}

/// Fetches one partition at one isolation level.
pub fn fetch(
    raw: &mut Raw,
    setting: &Setting,
    place: Place,
    offset: i64,
    committed: bool,
    random: &mut Random,
) -> Result<Fetched> {
    let version = [4, 5, 6, 10, 11, 12, 13, 16, 17][random.below(9) as usize];
    let mut partition = FetchPartition::default()
        .with_partition(place.partition)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(200 + random.below(60_000) as i32);
    partition.last_fetched_epoch = -1;
    let mut topic = FetchTopic::default().with_partitions(vec![partition]);
    if version >= 13 {
        topic.topic_id = setting.topic_ids[place.topic];
    } else {
        topic.topic = place.topic_name();
    }
    // Now and then it waits for more, which answers from a waiter: a code path of its own for the aborted list.
    let waits = random.percent(30);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(if waits { 300 } else { 0 })
        .with_min_bytes(if waits { 1 + random.below(2000) as i32 } else { 0 })
        .with_max_bytes(1_000_000)
        .with_isolation_level(i8::from(committed))
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let response = raw.call(version, &request)?;
    if response.error_code != 0 {
        bail!("fetch: {}", response.error_code);
    }
    let mut partitions = response.responses.into_iter().flat_map(|topic| topic.partitions);
    read(partitions.next().context("an empty answer")?, offset)
}

fn read(data: PartitionData, offset: i64) -> Result<Fetched> {
    if data.error_code != 0 {
        bail!("fetch: {}", data.error_code);
    }
    let batches = batches::decode(data.records.unwrap_or_default())?;
    let aborted = data.aborted_transactions.unwrap_or_default();
    let mut committed = batches::committed(&batches, &aborted);
    committed.retain(|(at, _)| *at >= offset);
    Ok(Fetched {
        next: batches.last().map_or(offset, |batch| batch.next_offset),
        batches,
        committed,
        high: data.high_watermark,
        stable: data.last_stable_offset,
        start: data.log_start_offset,
    })
}

/// What ListOffsets is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Log start offset.
    Start,
    /// Last stable offset.
    Stable,
    /// High watermark.
    High,
    /// Log end offset, as a debugging replica sees it.
    End,
}

/// One offset of a partition.
pub fn list_offset(raw: &mut Raw, place: Place, mark: Mark) -> Result<i64> {
    let timestamp = if mark == Mark::Start { -2 } else { -1 };
    let partition = ListOffsetsPartition::default()
        .with_partition_index(place.partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(place.topic_name()).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(if mark == Mark::End { -2 } else { -1 }))
        .with_isolation_level(i8::from(mark == Mark::Stable))
        .with_topics(vec![topic]);
    let response = raw.call(7, &request)?;
    let partition = response.topics.iter().flat_map(|topic| &topic.partitions).next().context("an empty answer")?;
    if partition.error_code != 0 {
        bail!("ListOffsets: {}", partition.error_code);
    }
    Ok(partition.offset)
}

/// A group's committed offset, stable: while a transaction may change it there is none.
pub fn committed_offset(raw: &mut Raw, group: &str, place: Place, random: &mut Random) -> Result<Option<i64>> {
    let version = [7, 8, 9][random.below(3) as usize];
    let group_id = StrBytes::from_string(group.to_owned());
    let mut request = OffsetFetchRequest::default().with_require_stable(true);
    if version >= 8 {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(place.topic_name())
            .with_partition_indexes(vec![place.partition]);
        let mut group = OffsetFetchRequestGroup::default().with_group_id(group_id.into());
        group.member_epoch = -1;
        request.groups = vec![group.with_topics(Some(vec![topic]))];
    } else {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(place.topic_name())
            .with_partition_indexes(vec![place.partition]);
        request = request.with_group_id(group_id.into()).with_topics(Some(vec![topic]));
    }
    let response = raw.call(version, &request)?;
    let (error, offset) = if version >= 8 {
        let group = response.groups.first().context("an empty answer")?;
        let partition = group.topics.iter().flat_map(|topic| &topic.partitions).next();
        let code = partition.map_or(0, |partition| partition.error_code);
        (if group.error_code == 0 { code } else { group.error_code }, partition.map(|found| found.committed_offset))
    } else {
        let partition = response.topics.iter().flat_map(|topic| &topic.partitions).next();
        let code = partition.map_or(0, |partition| partition.error_code);
        let error = if response.error_code == 0 { code } else { response.error_code };
        (error, partition.map(|found| found.committed_offset))
    };
    match error {
        0 => Ok(offset.filter(|offset| *offset >= 0)),
        UNSTABLE_OFFSET_COMMIT => bail!("unstable"),
        code => bail!("OffsetFetch: {code}"),
    }
}
