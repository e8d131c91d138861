//! A shard of groups with a clock, a log and timers, all in memory: what the runtime does, without its threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponsePartitions;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, ProducerId,
    SyncGroupRequest, SyncGroupResponse, TopicName, TransactionalId, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::classic::{Join, MemberMemory};
use super::config::GroupCoordinatorConfig;
use super::context::GroupRequestContext;
use super::record::GroupRecord;
use super::shard::GroupShard;
use super::step::{GroupTimer, Parked};
use crate::coordinator::runtime::{Decision, Effect, StateMachine, Ticket, Timers};
use crate::types::{TransactionResult, Uuid};

/// The wall clock's first millisecond.
pub const START_MS: i64 = 1_700_000_000_000;

pub fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

pub fn group(value: &str) -> GroupId {
    GroupId(text(value))
}

/// What stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Record(GroupRecord),
    /// A record of this producer's transaction.
    Pending(i64, GroupRecord),
    Marker(i64, TransactionResult),
}

pub struct Harness {
    pub shard: GroupShard,
    pub config: Arc<GroupCoordinatorConfig>,
    pub now: Duration,
    pub timers: Timers<GroupTimer>,
    pub log: Vec<Entry>,
    pub answers: BTreeMap<u64, Parked>,
    pub tickets: u64,
    /// Records written since the last look.
    seen: usize,
}

impl Default for Harness {
    fn default() -> Self {
        Self::new(GroupCoordinatorConfig::default())
    }
}

impl Harness {
    pub fn new(config: GroupCoordinatorConfig) -> Self {
        let config = Arc::new(config);
        let mut harness = Self {
            shard: GroupShard::new(config.clone(), 1_000_000),
            config,
            now: Duration::ZERO,
            timers: Timers::default(),
            log: Vec::new(),
            answers: BTreeMap::new(),
            tickets: 0,
            seen: 0,
        };
        let now_ms = harness.now_ms();
        let decision = harness.shard.loaded(now_ms);
        harness.carry_out(decision);
        harness
    }

    pub fn now_ms(&self) -> i64 {
        START_MS + i64::try_from(self.now.as_millis()).expect("fits")
    }

    /// A shard with what the log says and nothing else.
    pub fn reloaded(&self) -> GroupShard {
        self.load((0..).zip(&self.log))
    }

    /// As `reloaded`, of what the cleaner leaves: below the first undecided record, the newest of each key that is not of an aborted
    /// transaction, and in the end no tombstones.
    pub fn reloaded_compacted(&self) -> GroupShard {
        let end_of = |position: usize, producer: i64| {
            self.log[position..].iter().find_map(|entry| match entry {
                Entry::Marker(ended, result) if *ended == producer => Some(*result),
                _ => None,
            })
        };
        let is_open = |(position, entry): &(usize, &Entry)| matches!(entry, Entry::Pending(producer, _) if end_of(*position, *producer).is_none());
        let stable = self.log.iter().enumerate().find(is_open).map_or(self.log.len(), |(position, _)| position);
        let mut newest = BTreeMap::new();
        for (position, entry) in self.log[..stable].iter().enumerate() {
            let record = match entry {
                Entry::Record(record) => record,
                Entry::Pending(producer, record) if end_of(position, *producer) == Some(TransactionResult::Commit) => {
                    record
                }
                Entry::Pending(..) | Entry::Marker(..) => continue,
            };
            newest.insert(GroupShard::encode(record).expect("encodes").key, position);
        }
        let stays = |position: usize, entry: &Entry| match entry {
            Entry::Record(GroupRecord::Offset { value: None, .. } | GroupRecord::Group { value: None, .. }) => false,
            Entry::Record(record) | Entry::Pending(_, record) => {
                newest.get(&GroupShard::encode(record).expect("encodes").key) == Some(&position)
            }
            Entry::Marker(..) => true,
        };
        let log =
            self.log.iter().enumerate().filter(|(position, entry)| *position >= stable || stays(*position, entry));
        self.load(log.map(|(position, entry)| (position as i64, entry)))
    }

    fn load<'e>(&self, log: impl Iterator<Item = (i64, &'e Entry)>) -> GroupShard {
        let mut shard = GroupShard::new(self.config.clone(), 1_000_000);
        let through_the_log = |record: &GroupRecord| {
            let encoded = GroupShard::encode(record).expect("encodes");
            let decoded = GroupShard::decode(&encoded.key, encoded.value.as_ref()).expect("decodes").expect("known");
            assert_eq!(&decoded, record, "a record must survive its encoding");
            decoded
        };
        for (offset, entry) in log {
            match entry {
                Entry::Record(record) => shard.replay(offset, through_the_log(record)),
                Entry::Pending(producer, record) => {
                    shard.replay_transactional(offset, *producer, through_the_log(record));
                }
                Entry::Marker(producer, result) => shard.replay_end_transaction_marker(*producer, *result),
            }
        }
        shard
    }

    /// Restarts: memory is gone, sessions begin anew.
    pub fn restart(&mut self) {
        self.shard = self.reloaded();
        self.timers = Timers::default();
        let now_ms = self.now_ms();
        let decision = self.shard.loaded(now_ms);
        self.carry_out(decision);
    }

    pub fn carry_out<R>(&mut self, decision: Decision<GroupShard, R>) -> R {
        self.carry_out_for(None, decision)
    }

    /// As the runtime does for a decision of this producer's transaction.
    fn carry_out_for<R>(&mut self, producer: Option<i64>, decision: Decision<GroupShard, R>) -> R {
        for record in decision.records {
            let offset = self.log.len() as i64;
            match producer {
                None => {
                    self.log.push(Entry::Record(record.clone()));
                    self.shard.replay(offset, record);
                }
                Some(producer) => {
                    self.log.push(Entry::Pending(producer, record.clone()));
                    self.shard.replay_transactional(offset, producer, record);
                }
            }
        }
        for effect in decision.effects {
            match effect {
                Effect::Answer(ticket, answer) => {
                    assert!(ticket.0 < self.tickets, "an answer to nobody");
                    assert!(self.answers.insert(ticket.0, answer).is_none(), "answered twice");
                }
                Effect::Schedule(key, delay) => self.timers.schedule(key, self.now + delay),
                Effect::Emit(output) => match output {},
                Effect::Cancel(key) => {
                    self.timers.cancel(&key);
                }
            }
        }
        decision.response
    }

    /// Lets time pass, timer by timer.
    pub fn advance(&mut self, milliseconds: u64) {
        let until = self.now + Duration::from_millis(milliseconds);
        while let Some(deadline) = self.timers.next_deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            let key = self.timers.pop_due(deadline).expect("due");
            let now_ms = self.now_ms();
            let decision = self.shard.expired(key, now_ms);
            self.carry_out(decision);
        }
        self.now = until;
    }

    /// The records written since the last call, whosever they are.
    pub fn new_records(&mut self) -> Vec<GroupRecord> {
        let new = self.log[self.seen..].iter().filter_map(|entry| match entry {
            Entry::Record(record) | Entry::Pending(_, record) => Some(record.clone()),
            Entry::Marker(..) => None,
        });
        let records = new.collect();
        self.seen = self.log.len();
        records
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets - 1)
    }

    /// Sends JoinGroup; gives the ticket.
    pub fn send_join(&mut self, api_version: i16, request: &JoinGroupRequest) -> u64 {
        let ticket = self.ticket();
        let context =
            GroupRequestContext { api_version, client_id: Arc::from("client"), client_host: Arc::from("/127.0.0.1") };
        let suffix = format!("id{}", ticket.0);
        let protocols = MemberMemory::new(usize::MAX).copy(&request.protocols).expect("room");
        loop {
            let now_ms = self.now_ms();
            let join = Join { context: &context, request, protocols: &protocols, member_suffix: &suffix, ticket };
            let decision = self.shard.join_group(join, now_ms);
            let again = decision.again;
            self.carry_out(decision);
            if !again {
                return ticket.0;
            }
        }
    }

    pub fn join_answer(&mut self, ticket: u64) -> Option<JoinGroupResponse> {
        match self.answers.remove(&ticket) {
            Some(Parked::Join(response)) => Some(response),
            Some(Parked::Sync(_)) => panic!("a join was answered as a sync"),
            None => None,
        }
    }

    /// Sends JoinGroup and expects an answer at once.
    pub fn join_now(&mut self, api_version: i16, request: &JoinGroupRequest) -> JoinGroupResponse {
        let ticket = self.send_join(api_version, request);
        self.join_answer(ticket).expect("answered at once")
    }

    pub fn send_sync(&mut self, request: &SyncGroupRequest) -> u64 {
        let ticket = self.ticket();
        let now_ms = self.now_ms();
        let decision = self.shard.sync_group(request, ticket, now_ms);
        self.carry_out(decision);
        ticket.0
    }

    pub fn sync_answer(&mut self, ticket: u64) -> Option<SyncGroupResponse> {
        match self.answers.remove(&ticket) {
            Some(Parked::Sync(response)) => Some(response),
            Some(Parked::Join(_)) => panic!("a sync was answered as a join"),
            None => None,
        }
    }

    pub fn sync_now(&mut self, request: &SyncGroupRequest) -> SyncGroupResponse {
        let ticket = self.send_sync(request);
        self.sync_answer(ticket).expect("answered at once")
    }

    pub fn heartbeat(&mut self, member_id: &str, generation: i32) -> i16 {
        self.heartbeat_as(member_id, None, generation)
    }

    pub fn heartbeat_as(&mut self, member_id: &str, instance_id: Option<&str>, generation: i32) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group("g"))
            .with_member_id(text(member_id))
            .with_group_instance_id(instance_id.map(text))
            .with_generation_id(generation);
        let now_ms = self.now_ms();
        let decision = self.shard.heartbeat(&request, now_ms);
        self.carry_out(decision).map_or_else(|error| error.code(), |()| 0)
    }

    /// Sends LeaveGroup; gives the error codes by member.
    pub fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<i16> {
        let identities = members.iter().map(|(member_id, instance_id)| {
            MemberIdentity::default().with_member_id(text(member_id)).with_group_instance_id(instance_id.map(text))
        });
        let request = LeaveGroupRequest::default().with_group_id(group("g")).with_members(identities.collect());
        let now_ms = self.now_ms();
        let decision = self.shard.leave_group(&request, now_ms);
        self.carry_out(decision).into_iter().map(|member| member.error_code).collect()
    }

    /// Commits partition 0 of a topic; gives the error code.
    pub fn commit(&mut self, member_id: &str, generation: i32, topic: &str, offset: i64) -> i16 {
        self.commit_request(9, &commit_request(member_id, generation, topic, offset))
    }

    pub fn commit_request(&mut self, api_version: i16, request: &OffsetCommitRequest) -> i16 {
        let now_ms = self.now_ms();
        let decision = self.shard.commit_offsets(api_version, request, now_ms);
        match self.carry_out(decision) {
            Ok(response) => response.topics[0].partitions[0].error_code,
            Err(error) => error.code(),
        }
    }

    /// Commits partition 0 of a topic in the producer's transaction; gives the error code.
    pub fn commit_in_transaction(&mut self, producer: i64, topic: &str, offset: i64) -> i16 {
        self.transactional_request(&transactional_request(producer, topic, offset))
    }

    pub fn transactional_request(&mut self, request: &TxnOffsetCommitRequest) -> i16 {
        let now_ms = self.now_ms();
        let topic_ids = vec![Uuid::nil(); request.topics.len()];
        let decision = self.shard.commit_transactional_offsets(request, &topic_ids, now_ms);
        match self.carry_out_for(Some(*request.producer_id), decision) {
            Ok(response) => response.topics[0].partitions[0].error_code,
            Err(error) => error.code(),
        }
    }

    /// Writes the marker of the producer's transaction.
    pub fn end_transaction(&mut self, producer: i64, result: TransactionResult) {
        self.log.push(Entry::Marker(producer, result));
        self.shard.replay_end_transaction_marker(producer, result);
    }

    /// The committed offset of partition 0 of a topic; -1 when there is none.
    pub fn committed(&self, topic: &str) -> i64 {
        self.fetched(topic, false).committed_offset
    }

    /// Partition 0 of a topic as OffsetFetch gives it to a client that requires stable offsets: offset and error code.
    pub fn stable(&self, topic: &str) -> (i64, i16) {
        let fetched = self.fetched(topic, true);
        (fetched.committed_offset, fetched.error_code)
    }

    fn fetched(&self, topic: &str, require_stable: bool) -> OffsetFetchResponsePartitions {
        let topics = kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopics::default()
            .with_name(TopicName(text(topic)))
            .with_partition_indexes(vec![0]);
        let request = OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(Some(vec![topics]));
        self.shard.fetch_offsets(&request, require_stable).topics[0].partitions[0].clone()
    }

    /// One dynamic member joins the empty group, takes the whole of it and syncs; gives its id.
    pub fn stable_with_one(&mut self) -> String {
        let response = self.join_now(4, &join_request("", None));
        let member_id = response.member_id.as_str().to_owned();
        let ticket = self.send_join(4, &join_request(&member_id, None));
        self.advance(3_000);
        let response = self.join_answer(ticket).expect("the first rebalance is over");
        assert_eq!((response.error_code, response.generation_id), (0, 1));
        let response = self.sync_now(&sync_request(&member_id, 1, &[(&member_id, b"all")]));
        assert_eq!((response.error_code, &response.assignment[..]), (0, &b"all"[..]));
        member_id
    }

    /// A stable group of static members `i1`, `i2`, … in generation 1; gives their ids.
    pub fn stable_with_static(&mut self, instances: &[&str]) -> Vec<String> {
        let tickets: Vec<u64> =
            instances.iter().map(|instance| self.send_join(9, &join_request("", Some(instance)))).collect();
        self.advance(if instances.len() == 1 { 3_000 } else { 6_000 });
        let joined: Vec<JoinGroupResponse> =
            tickets.into_iter().map(|ticket| self.join_answer(ticket).expect("joined")).collect();
        let members: Vec<String> = joined.iter().map(|response| response.member_id.as_str().to_owned()).collect();
        let assignments: Vec<(&str, &[u8])> =
            members.iter().map(|member_id| (member_id.as_str(), member_id.as_bytes())).collect();
        let leader = joined[0].leader.as_str();
        let generation = joined[0].generation_id;
        self.sync_now(&sync_request(leader, generation, &assignments));
        for member_id in &members {
            let response = self.sync_now(&sync_request(member_id, generation, &[]));
            assert_eq!(&response.assignment[..], member_id.as_bytes());
        }
        members
    }
}

/// A consumer's subscription to these topics.
pub fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend_from_slice(&(topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend_from_slice(&(topic.len() as i16).to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
    }
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    Bytes::from(bytes)
}

pub fn protocol(name: &str, metadata: Bytes) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(metadata)
}

/// A consumer of topic `t` with a 10 s session and a 60 s rebalance timeout, by `range`.
pub fn join_request(member_id: &str, instance_id: Option<&str>) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(text(member_id))
        .with_group_instance_id(instance_id.map(text))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol("range", subscription(&["t"]))])
}

pub fn sync_request(member_id: &str, generation: i32, assignments: &[(&str, &[u8])]) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(member_id, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member_id))
            .with_assignment(Bytes::copy_from_slice(assignment))
    });
    SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(generation)
        .with_member_id(text(member_id))
        .with_assignments(assignments.collect())
}

pub fn commit_request(member_id: &str, generation: i32, topic: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_leader_epoch(3)
        .with_committed_metadata(Some(text("m")));
    let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member_id))
        .with_retention_time_ms(-1)
        .with_topics(vec![topic])
}

/// A producer of no group's member commits partition 0 of a topic.
pub fn transactional_request(producer: i64, topic: &str, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_leader_epoch(3)
        .with_committed_metadata(Some(text("m")));
    let topic =
        TxnOffsetCommitRequestTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![partition]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(TransactionalId(text("x")))
        .with_group_id(group("g"))
        .with_producer_id(ProducerId(producer))
        .with_generation_id(-1)
        .with_topics(vec![topic])
}
