//! W12b and W12c: what members of groups send all the time, offset commits and heartbeats.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, JoinGroupRequest, JoinGroupResponse, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;

use super::connection::{Connection, decode, encode};
use super::exchange::{closed_loop, correlate, error_at};
use super::histogram::Histogram;
use super::members;
use super::meter::Meter;
use super::options::Options;
use super::report::Report;
use super::topics::{self, Topic};

const COMMIT_VERSION: i16 = 8;
/// Stands where the committed offset goes, to be found again.
const MARK: i64 = 0x1337_c0de_7e57_0ff5;
const MEMBER_ID_REQUIRED: i16 = 79;

/// W12b: each connection commits the offset of one partition in a group of its own, one after the other.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let connections = report.parameter("connections", options.connections.unwrap_or(1));
    let seconds = report.parameter("seconds", options.seconds.unwrap_or(5.0));
    let warmup = report.parameter("warmup_seconds", options.warmup_seconds.unwrap_or(0.5));
    let mut control = Connection::open(&options.bootstrap)?;
    let topic = topics::create_serving(&mut control, &report.workload, 1, &options.configs)?;
    let groups: Vec<String> = (0..connections).map(|number| format!("{}-{number}", topic.name)).collect();
    let (mut lanes, mut frames) = (Vec::new(), Vec::new());
    for group in &groups {
        let mut connection = Connection::open(&options.bootstrap)?;
        topics::wait_for_coordinator(&mut connection, group)?;
        frames.push(commit_frame(group, &topic)?);
        lanes.push(connection);
    }
    let error = 4 + 1 + 4 + 1 + 1 + topic.name.len() + 1 + 4;
    let mut committed = vec![0i64; connections];
    let mut commits = |lanes: &mut [Connection], seconds: f64| -> Result<Histogram> {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let frame = |number: usize, id, buffer: &mut Vec<u8>| {
            let (frame, offset_at) = &frames[number];
            buffer.clear();
            buffer.extend(frame);
            correlate(buffer, id);
            committed[number] += 1;
            buffer[*offset_at..*offset_at + 8].copy_from_slice(&committed[number].to_be_bytes());
        };
        closed_loop(lanes, until, frame, |_, answer| {
            let error = error_at(answer, error)?;
            ensure!(error == 0, "a commit was refused with error {error}");
            Ok(())
        })
    };
    commits(&mut lanes, warmup)?;
    let meter = Meter::start(options.broker_pid)?;
    let histogram = commits(&mut lanes, seconds)?;
    report.usage(&meter.read()?);
    report.latency(&histogram);
    report.requests = histogram.latency().map_or(0, |latency| latency.samples);
    report.records = report.requests;
    for (group, wanted) in groups.iter().zip(&committed) {
        let found = committed_offset(&mut control, group, &topic)?;
        ensure!(found == *wanted, "group {group} has offset {found}, {wanted} was acknowledged");
    }
    report.check("last_committed_offsets", committed);
    Ok(report)
}

/// A commit and where its offset is.
fn commit_frame(group: &str, topic: &Topic) -> Result<(Vec<u8>, usize)> {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(MARK)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(StrBytes::from_static_str("")));
    let asked =
        OffsetCommitRequestTopic::default().with_name(topics::topic_name(&topic.name)).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![asked]);
    let frame = encode(COMMIT_VERSION, 0, &request)?;
    let at = frame.windows(8).position(|window| window == MARK.to_be_bytes()).context("no offset in the frame")?;
    Ok((frame, at))
}

fn committed_offset(connection: &mut Connection, group: &str, topic: &Topic) -> Result<i64> {
    let asked =
        OffsetFetchRequestTopics::default().with_name(topics::topic_name(&topic.name)).with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_topics(Some(vec![asked]));
    let response = connection.call(8, &OffsetFetchRequest::default().with_groups(vec![group]))?;
    let group = response.groups.first().context("no group in the answer")?;
    let found = group.topics.iter().flat_map(|topic| &topic.partitions).next().context("no offset in the answer")?;
    ensure!(group.error_code == 0 && found.error_code == 0, "OffsetFetch: {} {}", group.error_code, found.error_code);
    Ok(found.committed_offset)
}

/// W12c: groups of one member each, on a connection each; one heartbeat in flight, from group to group.
pub fn run_heartbeats(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let groups = report.parameter("groups", options.groups.unwrap_or(1_000));
    let seconds = report.parameter("seconds", options.seconds.unwrap_or(5.0));
    let mut control = Connection::open(&options.bootstrap)?;
    let topic = topics::create_serving(&mut control, &report.workload, 1, &options.configs)?;
    let joined = Instant::now();
    let mut members = join_all(options, &topic, groups)?;
    report.measure("join_seconds", joined.elapsed().as_secs_f64());
    beat(&mut members, Instant::now() + Duration::from_secs_f64(options.warmup_seconds.unwrap_or(0.5)))?;
    let meter = Meter::start(options.broker_pid)?;
    let histogram = beat(&mut members, Instant::now() + Duration::from_secs_f64(seconds))?;
    report.usage(&meter.read()?);
    report.latency(&histogram);
    report.requests = histogram.latency().map_or(0, |latency| latency.samples);
    report.records = report.requests;
    report.check("members_in_their_groups", members.len());
    Ok(report)
}

/// A connection of a member and its heartbeat.
type Beating = (Connection, Vec<u8>);

fn beat(members: &mut [Beating], until: Instant) -> Result<Histogram> {
    let mut histogram = Histogram::default();
    for number in (0..members.len()).cycle() {
        let now = Instant::now();
        if now >= until {
            break;
        }
        let (connection, frame) = &mut members[number];
        correlate(frame, connection.correlate());
        connection.send(frame)?;
        let error = error_at(connection.receive()?, 4 + 1 + 4)?;
        ensure!(error == 0, "a heartbeat was refused with error {error}");
        histogram.record(now.elapsed());
    }
    Ok(histogram)
}

/// All groups join side by side: each may have to wait for its initial delay.
fn join_all(options: &Options, topic: &Topic, groups: usize) -> Result<Vec<Beating>> {
    let name = |number: usize| format!("{}-{number}", topic.name);
    topics::wait_for_coordinator(&mut Connection::open(&options.bootstrap)?, &name(0))?;
    let mut connections: Vec<Connection> =
        (0..groups).map(|_| Connection::open(&options.bootstrap)).collect::<Result<_>>()?;
    let mut ids = vec![StrBytes::default(); groups];
    // The first round brings the ids, the second one joins.
    for round in 0..2 {
        for (number, connection) in connections.iter_mut().enumerate() {
            let id = connection.correlate();
            connection.send(&encode(members::JOIN, id, &members::join(&name(number), &ids[number], &topic.name))?)?;
        }
        for (number, connection) in connections.iter_mut().enumerate() {
            let (_, joined): (_, JoinGroupResponse) = decode::<JoinGroupRequest>(members::JOIN, connection.receive()?)?;
            let wanted = if round == 0 { MEMBER_ID_REQUIRED } else { 0 };
            ensure!(joined.error_code == wanted, "group {number} cannot be joined: error {}", joined.error_code);
            ids[number] = joined.member_id.clone();
        }
    }
    let mut beating = Vec::with_capacity(groups);
    for (number, mut connection) in connections.into_iter().enumerate() {
        let synced = connection.call(members::SYNC, &members::sync(&name(number), &ids[number], 1, Vec::new()))?;
        ensure!(synced.error_code == 0, "group {number} cannot be synced: error {}", synced.error_code);
        let frame = encode(members::HEARTBEAT, 0, &members::heartbeat(&name(number), &ids[number], 1))?;
        beating.push((connection, frame));
    }
    Ok(beating)
}
