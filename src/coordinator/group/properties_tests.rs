//! Whatever happens, in whatever order: nobody who waits is forgotten, and the log says what memory says.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, TopicName};
use proptest::prelude::*;

use super::classic::ClassicGroupState;
use super::config::GroupCoordinatorConfig;
use super::harness_tests::*;
use super::record::GroupRecord;
use crate::coordinator::runtime::StateMachine;
use crate::types::{TransactionResult, Uuid};

#[derive(Clone, Debug)]
enum Action {
    Join { instance: Option<u8>, member: Option<usize>, version: i16, protocols: u8 },
    Sync { member: usize, stale: bool },
    SyncLeader,
    Heartbeat { member: usize, stale: bool },
    Leave { members: Vec<usize>, instance: Option<u8> },
    Commit { member: Option<usize>, topic: u8, retention: bool },
    CommitInTransaction { producer: i64, topic: u8, has_generation: bool },
    EndTransaction { producer: i64, result: TransactionResult },
    DeleteOffset { topic: u8 },
    DeleteTopic { topic: u8 },
    Delete,
    Wait(u64),
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (proptest::option::of(0..3u8), proptest::option::of(0..8usize), 3..=9i16, 0..4u8)
            .prop_map(|(instance, member, version, protocols)| Action::Join { instance, member, version, protocols }),
        4 => (0..8usize, any::<bool>()).prop_map(|(member, stale)| Action::Sync { member, stale }),
        4 => Just(Action::SyncLeader),
        3 => (0..8usize, proptest::bool::weighted(0.1)).prop_map(|(member, stale)| Action::Heartbeat { member, stale }),
        2 => (proptest::collection::vec(0..8usize, 0..3), proptest::option::of(0..3u8))
            .prop_map(|(members, instance)| Action::Leave { members, instance }),
        3 => (proptest::option::of(0..8usize), 0..3u8, any::<bool>())
            .prop_map(|(member, topic, retention)| Action::Commit { member, topic, retention }),
        4 => (0..3i64, 0..3u8, proptest::bool::weighted(0.2)).prop_map(|(producer, topic, has_generation)| {
            Action::CommitInTransaction { producer, topic, has_generation }
        }),
        3 => (0..4i64, any::<bool>()).prop_map(|(producer, commit)| {
            Action::EndTransaction { producer, result: TransactionResult::from_committed(commit) }
        }),
        1 => (0..3u8).prop_map(|topic| Action::DeleteOffset { topic }),
        1 => (0..3u8).prop_map(|topic| Action::DeleteTopic { topic }),
        1 => Just(Action::Delete),
        6 => prop_oneof![0..3_000u64, 3_000..12_000u64, 60_000..700_000u64].prop_map(Action::Wait),
        1 => Just(Action::Restart),
    ]
}

struct World {
    harness: Harness,
    /// Every member id ever given out.
    ids: Vec<String>,
    /// Tickets that were answered, or lost in a restart, where the runtime answers them.
    done: BTreeSet<u64>,
}

impl World {
    fn id(&self, index: usize) -> String {
        // Mostly recent ones.
        self.ids.iter().rev().nth(index).cloned().unwrap_or_else(|| "nobody".to_owned())
    }

    fn generation(&self) -> i32 {
        self.harness.shard.group("g").map_or(0, |group| group.durable().generation)
    }

    fn collect(&mut self) {
        for (ticket, answer) in std::mem::take(&mut self.harness.answers) {
            self.done.insert(ticket);
            if let super::step::Parked::Join(response) = answer {
                let id = response.member_id.as_str().to_owned();
                if !id.is_empty() && !self.ids.contains(&id) {
                    self.ids.push(id);
                }
            }
        }
    }

    fn join(&mut self, instance: Option<u8>, member: Option<usize>, version: i16, protocols: u8) {
        let names: &[&str] = match protocols {
            0 => &["range"],
            1 => &["range", "sticky"],
            2 => &["sticky", "range"],
            _ => &["sticky"],
        };
        let instance = instance.filter(|_| version >= 5).map(|number| format!("i{number}"));
        let member_id = member.map(|index| self.id(index)).unwrap_or_default();
        let mut request = join_request(&member_id, instance.as_deref());
        request.protocols = names.iter().map(|name| protocol(name, subscription(&["t0"]))).collect();
        self.harness.send_join(version, &request);
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Join { instance, member, version, protocols } => self.join(instance, member, version, protocols),
            Action::Sync { member, stale } => {
                let generation = self.generation() - i32::from(stale);
                self.harness.send_sync(&sync_request(&self.id(member), generation, &[]));
            }
            Action::SyncLeader => {
                let Some(group) = self.harness.shard.group("g").map(|group| group.durable()) else { return };
                let Some(leader) = group.leader else { return };
                let assignments: Vec<(&str, &[u8])> =
                    group.members.iter().map(|member| (&*member.member_id, member.member_id.as_bytes())).collect();
                self.harness.send_sync(&sync_request(&leader, group.generation, &assignments));
            }
            Action::Heartbeat { member, stale } => {
                let generation = self.generation() - i32::from(stale);
                self.harness.heartbeat(&self.id(member), generation);
            }
            Action::Leave { members, instance } => {
                let ids: Vec<String> = members.into_iter().map(|index| self.id(index)).collect();
                let instance = instance.map(|number| format!("i{number}"));
                let mut leaving: Vec<(&str, Option<&str>)> = ids.iter().map(|id| (id.as_str(), None)).collect();
                leaving.extend(instance.as_deref().map(|instance| ("", Some(instance))));
                self.harness.leave(&leaving);
            }
            Action::Commit { member, topic, retention } => {
                let (member_id, generation) = match member {
                    Some(index) => (self.id(index), self.generation()),
                    None => (String::new(), -1),
                };
                let offset = self.harness.now_ms() - START_MS;
                let request = commit_request(&member_id, generation, &format!("t{topic}"), offset)
                    .with_retention_time_ms(if retention { 300_000 } else { -1 });
                self.harness.commit_request(9, &request);
            }
            Action::CommitInTransaction { producer, topic, has_generation } => {
                let offset = self.harness.now_ms() - START_MS;
                let mut request = transactional_request(producer, &format!("t{topic}"), offset);
                if has_generation {
                    request.generation_id = self.generation();
                    request.member_id = text(&self.id(0));
                }
                self.harness.transactional_request(&request);
            }
            Action::EndTransaction { producer, result } => self.harness.end_transaction(producer, result),
            Action::DeleteOffset { topic } => {
                let topic = OffsetDeleteRequestTopic::default()
                    .with_name(TopicName(text(&format!("t{topic}"))))
                    .with_partitions(vec![OffsetDeleteRequestPartition::default()]);
                let request = OffsetDeleteRequest::default().with_group_id(group("g")).with_topics(vec![topic]);
                let now_ms = self.harness.now_ms();
                let decision = self.harness.shard.delete_offsets(&request, now_ms);
                let _ = self.harness.carry_out(decision);
            }
            Action::DeleteTopic { topic } => {
                let now_ms = self.harness.now_ms();
                let deleted = (Uuid::from_u128(1), format!("t{topic}").into());
                let decision = self.harness.shard.topics_deleted(&[deleted], now_ms);
                self.harness.carry_out(decision);
            }
            Action::Delete => {
                let now_ms = self.harness.now_ms();
                let decision = self.harness.shard.delete_groups(&[group("g")], now_ms);
                self.harness.carry_out(decision);
            }
            Action::Wait(milliseconds) => self.harness.advance(milliseconds),
            Action::Restart => {
                self.harness.restart();
                self.done = (0..self.harness.tickets).collect();
            }
        }
        self.collect();
    }

    fn check(&self) {
        let shard = &self.harness.shard;
        let waiting: Vec<u64> = shard.groups().flat_map(|(_, group)| group.tickets()).map(|ticket| ticket.0).collect();
        let waiting_set: BTreeSet<u64> = waiting.iter().copied().collect();
        assert_eq!(waiting.len(), waiting_set.len(), "a ticket waits twice");
        let open: BTreeSet<u64> = (0..self.harness.tickets).filter(|ticket| !self.done.contains(ticket)).collect();
        assert_eq!(waiting_set, open, "who waits must be known to the group");
        let reloaded = self.harness.reloaded();
        assert_eq!(shard.offsets(), reloaded.offsets());
        let names = |groups: &super::shard::GroupShard| -> Vec<_> {
            groups.groups().map(|(group_id, _)| group_id.clone()).collect()
        };
        assert_eq!(names(shard), names(&reloaded));
        self.check_compacted(&reloaded);
        for topic in ["t0", "t1", "t2"] {
            let (offset, is_unstable) = defined_offset(&self.harness.log, topic);
            assert_eq!(self.harness.committed(topic), offset.unwrap_or(-1), "{topic}");
            let unstable = ResponseError::UnstableOffsetCommit.code();
            let stable = if is_unstable { (-1, unstable) } else { (offset.unwrap_or(-1), 0) };
            assert_eq!(self.harness.stable(topic), stable, "{topic}");
            let has_group = shard.group("g").is_some();
            assert!(has_group || (offset.is_none() && !is_unstable), "what the group has keeps it");
        }
        for (group_id, group) in shard.groups() {
            group.check_invariants();
            if matches!(group.state(), ClassicGroupState::Empty | ClassicGroupState::Stable) {
                let loaded = reloaded.group(group_id).expect("in the log");
                assert_eq!(group.durable(), loaded.durable());
                assert_eq!(group.state(), loaded.state());
            }
        }
    }
}

impl World {
    /// KAFKA-17306, KAFKA-4704: what the cleaner leaves of the log loads, and to the same offsets and members. Only groups of which
    /// nothing but an aborted transaction was ever known are gone.
    fn check_compacted(&self, reloaded: &super::shard::GroupShard) {
        let compacted = self.harness.reloaded_compacted();
        assert_eq!(compacted.offsets(), reloaded.offsets());
        for (group_id, group) in reloaded.groups() {
            match compacted.group(group_id) {
                Some(loaded) => assert_eq!(loaded, group),
                None => assert!(
                    group.is_empty()
                        && group.protocol_type().is_none()
                        && reloaded.offsets().of_group(group_id).next().is_none()
                ),
            }
        }
    }
}

/// What the log says of partition 0 of a topic, by definition: the last commit after the last tombstone that is no transaction's
/// or whose transaction was committed; and whether there is one of an undecided transaction.
fn defined_offset(log: &[Entry], topic: &str) -> (Option<i64>, bool) {
    let of_topic = |record: &GroupRecord| match record {
        GroupRecord::Offset { topic: name, value, .. } if &**name == topic => {
            Some(value.as_ref().map(|value| value.offset))
        }
        _ => None,
    };
    let mut offset = None;
    let mut is_unstable = false;
    for (position, entry) in log.iter().enumerate() {
        let (producer, record) = match entry {
            Entry::Record(record) => (None, record),
            Entry::Pending(producer, record) => (Some(*producer), record),
            Entry::Marker(..) => continue,
        };
        let end = log[position..].iter().find_map(|later| match later {
            Entry::Marker(ended, result) if Some(*ended) == producer => Some(*result),
            _ => None,
        });
        match of_topic(record) {
            None => {}
            Some(None) => (offset, is_unstable) = (None, false),
            Some(committed) if producer.is_none() || end == Some(TransactionResult::Commit) => offset = committed,
            Some(_) => is_unstable |= end.is_none(),
        }
    }
    (offset, is_unstable)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn live_state_is_what_the_log_says(
        actions in proptest::collection::vec(action(), 1..60),
        max_size in 1..5usize,
    ) {
        let config = GroupCoordinatorConfig { max_size, ..GroupCoordinatorConfig::default() };
        let mut world = World { harness: Harness::new(config), ids: Vec::new(), done: BTreeSet::new() };
        for action in actions {
            world.apply(action);
            world.check();
        }
        for producer in 0..4 {
            world.harness.end_transaction(producer, TransactionResult::Abort);
        }
        world.check();
        prop_assert!(world.harness.shard.offsets().pending().producers().next().is_none());
        // Left alone, every group comes to rest and nobody waits.
        world.harness.advance(3_600_000);
        world.collect();
        world.check();
        prop_assert!(world.harness.shard.groups().all(|(_, group)| group.tickets().next().is_none()));
    }

    #[test]
    fn whatever_stands_in_the_log_is_a_record_or_an_error(
        record_type in -1..25i16,
        key in proptest::collection::vec(any::<u8>(), 0..40),
        version in -1..6i16,
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..80)),
    ) {
        let key = [&record_type.to_be_bytes()[..], &key].concat().into();
        let value = value.map(|value| [&version.to_be_bytes()[..], &value].concat().into());
        if let Ok(Some(record)) = super::shard::GroupShard::decode(&key, value.as_ref()) {
            let config = std::sync::Arc::new(GroupCoordinatorConfig::default());
            let mut shard = super::shard::GroupShard::new(config, 1_000_000);
            shard.replay_transactional(0, 1, record.clone());
            shard.replay_end_transaction_marker(1, TransactionResult::Commit);
            shard.replay_end_transaction_marker(1, TransactionResult::Abort);
            shard.replay(1, record);
        }
    }
}
