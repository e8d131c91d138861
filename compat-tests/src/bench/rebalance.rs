//! W12a: a classic group of many members. All join at once, one leaves, one joins: how long until all are stable again.
//!
//! Members hear of a rebalance by their next heartbeat. Were it to come whenever it comes, its interval would be most of what is
//! measured, and the same for every broker; so the heartbeats of all members fall on the moment of the change.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::{Request, StrBytes};
use serde_json::json;

use super::connection::{Connection, decode, encode};
use super::members;
use super::meter::{Meter, Usage};
use super::options::Options;
use super::poll::Poll;
use super::report::Report;
use super::topics::{self, Topic};

const MEMBER_ID_REQUIRED: i16 = 79;
const REBALANCE_IN_PROGRESS: i16 = 27;
const ILLEGAL_GENERATION: i16 = 22;
const STABLE_WITHIN: Duration = Duration::from_secs(90);
/// Real clients beat every three seconds.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Joining,
    Syncing,
    /// Has its partitions; the next heartbeat is due then.
    Member {
        beat_at: Instant,
    },
    Beating,
    Gone,
}

struct Member {
    connection: Connection,
    id: StrBytes,
    generation: i32,
    state: State,
    partitions: Vec<i32>,
}

struct Group {
    name: String,
    topic: Topic,
    members: Vec<Member>,
    poll: Poll,
    requests: u64,
    /// Members of the last generation that a leader saw.
    seen_by_leader: usize,
}

/// W12a. The figures of the report are those of the joining; the others are measures.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let count = report.parameter("members", options.members.unwrap_or(500));
    let partitions = report.parameter("partitions", options.partitions.unwrap_or(1_000));
    report.parameter("heartbeat_ms", HEARTBEAT_EVERY.as_millis() as u64);
    let mut control = Connection::open(&options.bootstrap)?;
    let topic = topics::create_serving(&mut control, &report.workload, partitions, &options.configs)?;
    let name = format!("{}-group", topic.name);
    topics::wait_for_coordinator(&mut control, &name)?;
    let mut group = Group { name, topic, members: Vec::new(), poll: Poll::new()?, requests: 0, seen_by_leader: 0 };
    for _ in 0..count {
        group.add(&options.bootstrap)?;
    }
    let meter = Meter::start(options.broker_pid)?;
    for number in 0..count {
        group.join(number)?;
    }
    group.until_stable(count)?;
    let usage = meter.read()?;
    report.usage(&usage);
    report.requests = group.requests;
    group.check(&mut control, count)?;
    report.measure("all_join", phase(&usage, group.requests));

    // The second: the leader is most likely the first.
    group.settle()?;
    let (meter, before) = (Meter::start(options.broker_pid)?, group.requests);
    group.leave(1)?;
    group.beat_now(&mut control)?;
    group.until_stable(count - 1)?;
    report.measure("one_leaves", phase(&meter.read()?, group.requests - before));
    group.check(&mut control, count - 1)?;

    let newcomer = group.add(&options.bootstrap)?;
    group.settle()?;
    let (meter, before) = (Meter::start(options.broker_pid)?, group.requests);
    group.join(newcomer)?;
    group.beat_now(&mut control)?;
    group.until_stable(count)?;
    report.measure("one_joins", phase(&meter.read()?, group.requests - before));
    group.check(&mut control, count)?;
    report.records = count as u64;
    report.check("stable_members_with_every_partition_once", count);
    Ok(report)
}

fn phase(usage: &Usage, requests: u64) -> serde_json::Value {
    json!({ "seconds": usage.wall.as_secs_f64(), "broker_cpu_seconds": usage.broker_cpu, "requests": requests })
}

impl Group {
    fn add(&mut self, address: &str) -> Result<usize> {
        let number = self.members.len();
        let connection = Connection::open(address)?;
        self.poll.add(number, &connection)?;
        let id = StrBytes::default();
        self.members.push(Member { connection, id, generation: -1, state: State::Gone, partitions: Vec::new() });
        Ok(number)
    }

    fn send<T: Request>(&mut self, number: usize, version: i16, request: &T) -> Result<()> {
        let connection = &mut self.members[number].connection;
        let id = connection.correlate();
        connection.send(&encode(version, id, request)?)?;
        self.requests += 1;
        Ok(())
    }

    fn join(&mut self, number: usize) -> Result<()> {
        let request = members::join(&self.name, &self.members[number].id, &self.topic.name);
        self.members[number].state = State::Joining;
        self.members[number].partitions.clear();
        self.send(number, members::JOIN, &request)
    }

    fn leave(&mut self, number: usize) -> Result<()> {
        self.requests += 1;
        let (name, member) = (&self.name, &mut self.members[number]);
        // A heartbeat may be on its way: its answer comes first.
        if member.state == State::Beating {
            member.connection.receive()?;
        }
        member.state = State::Gone;
        member.partitions.clear();
        let left = member.connection.call(members::LEAVE, &members::leave(name, &member.id))?;
        ensure!(left.error_code == 0, "cannot leave: error {}", left.error_code);
        Ok(())
    }

    /// Until no heartbeat is on its way.
    fn settle(&mut self) -> Result<()> {
        let mut ready = Vec::new();
        while self.members.iter().any(|member| member.state == State::Beating) {
            ready.extend(self.poll.wait(Some(HEARTBEAT_EVERY))?);
            for number in ready.drain(..) {
                self.read(number)?;
            }
        }
        Ok(())
    }

    /// Every member's heartbeat is due as soon as the broker rebalances.
    fn beat_now(&mut self, control: &mut Connection) -> Result<()> {
        let give_up = Instant::now() + STABLE_WITHIN;
        let mut ready = Vec::new();
        while self.described(control)?.group_state.as_str() == "Stable" {
            ensure!(Instant::now() < give_up, "no rebalance begins");
            // The newcomer gets its id, and joins with it.
            ready.extend(self.poll.wait(Some(Duration::ZERO))?);
            for number in ready.drain(..) {
                self.read(number)?;
            }
        }
        let now = Instant::now();
        for member in &mut self.members {
            if let State::Member { beat_at } = &mut member.state {
                *beat_at = now;
            }
        }
        Ok(())
    }

    fn described(&self, control: &mut Connection) -> Result<DescribedGroup> {
        let group = GroupId(StrBytes::from_string(self.name.clone()));
        let described = control.call(5, &DescribeGroupsRequest::default().with_groups(vec![group]))?;
        described.groups.into_iter().next().context("no group described")
    }

    /// Until so many have their partitions in one generation.
    fn until_stable(&mut self, count: usize) -> Result<()> {
        let give_up = Instant::now() + STABLE_WITHIN;
        let mut ready = Vec::new();
        while !self.is_stable(count) {
            let now = Instant::now();
            ensure!(now < give_up, "not stable: {:?}", self.members.iter().map(|m| m.state).collect::<Vec<_>>());
            let mut next = now + HEARTBEAT_EVERY;
            for number in 0..self.members.len() {
                let State::Member { beat_at } = self.members[number].state else { continue };
                if beat_at <= now {
                    let member = &self.members[number];
                    let request = members::heartbeat(&self.name, &member.id, member.generation);
                    self.send(number, members::HEARTBEAT, &request)?;
                    self.members[number].state = State::Beating;
                } else {
                    next = next.min(beat_at);
                }
            }
            ready.extend(self.poll.wait(Some(next.saturating_duration_since(Instant::now())))?);
            for number in ready.drain(..) {
                self.read(number)?;
            }
        }
        Ok(())
    }

    fn is_stable(&self, count: usize) -> bool {
        let mut members = self.members.iter().filter(|member| member.state != State::Gone);
        let generation = self.members.iter().map(|member| member.generation).max();
        self.seen_by_leader == count
            && members.all(|member| {
                Some(member.generation) == generation && matches!(member.state, State::Member { .. } | State::Beating)
            })
    }

    fn read(&mut self, number: usize) -> Result<()> {
        let member = &mut self.members[number];
        member.connection.fill()?;
        let Some(frame) = member.connection.buffered()? else { return Ok(()) };
        match member.state {
            State::Joining => self.joined(number, frame),
            State::Syncing => self.synced(number, frame),
            State::Beating => {
                let (_, beat) = decode::<HeartbeatRequest>(members::HEARTBEAT, member.connection.bytes(frame))?;
                member.state = State::Member { beat_at: Instant::now() + HEARTBEAT_EVERY };
                match beat.error_code {
                    0 => Ok(()),
                    REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION => self.join(number),
                    error => anyhow::bail!("member {number}: heartbeat error {error}"),
                }
            }
            State::Member { .. } | State::Gone => anyhow::bail!("member {number}: an answer to nothing"),
        }
    }

    fn joined(&mut self, number: usize, frame: std::ops::Range<usize>) -> Result<()> {
        let member = &mut self.members[number];
        let (_, joined) = decode::<JoinGroupRequest>(members::JOIN, member.connection.bytes(frame))?;
        member.id = joined.member_id.clone();
        if [MEMBER_ID_REQUIRED, REBALANCE_IN_PROGRESS].contains(&joined.error_code) {
            return self.join(number);
        }
        ensure!(joined.error_code == 0, "member {number}: join error {}", joined.error_code);
        member.generation = joined.generation_id;
        member.state = State::Syncing;
        let mut assignments = Vec::new();
        if joined.leader == joined.member_id {
            self.seen_by_leader = joined.members.len();
            assignments = members::assign(&joined.members, &self.topic.name, self.topic.partitions);
        }
        let request = members::sync(&self.name, &joined.member_id, joined.generation_id, assignments);
        self.send(number, members::SYNC, &request)
    }

    fn synced(&mut self, number: usize, frame: std::ops::Range<usize>) -> Result<()> {
        let member = &mut self.members[number];
        let (_, synced) = decode::<SyncGroupRequest>(members::SYNC, member.connection.bytes(frame))?;
        if [REBALANCE_IN_PROGRESS, ILLEGAL_GENERATION].contains(&synced.error_code) {
            return self.join(number);
        }
        ensure!(synced.error_code == 0, "member {number}: sync error {}", synced.error_code);
        member.partitions = members::assigned(&synced.assignment)?;
        // Spread, as those of real clients are.
        let spread = HEARTBEAT_EVERY * (number as u32 % 100) / 100;
        member.state = State::Member { beat_at: Instant::now() + spread };
        Ok(())
    }

    /// The broker says the same, and every partition has one owner.
    fn check(&self, control: &mut Connection, count: usize) -> Result<()> {
        let described = self.described(control)?;
        ensure!(
            &*described.group_state == "Stable" && described.members.len() == count,
            "the broker says {} with {} members, not {count}",
            described.group_state,
            described.members.len()
        );
        let mut owned: Vec<i32> = self.members.iter().flat_map(|member| member.partitions.iter().copied()).collect();
        owned.sort_unstable();
        ensure!(owned.iter().copied().eq(0..self.topic.partitions), "not every partition has one owner");
        Ok(())
    }
}
