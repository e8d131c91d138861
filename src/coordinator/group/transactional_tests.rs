//! Offsets of transactions: pending, decided, lost and found.

use std::sync::Arc;

use futures_util::FutureExt;
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;

use super::super::GroupCoordinatorConfig;
use super::super::harness_tests::*;
use super::*;
use crate::coordinator::runtime::memory_log_tests::MemoryLog;
use crate::env::{Env, ManualClock};
use crate::types::{TransactionResult, TransactionVersion};

const COMMIT: TransactionResult = TransactionResult::Commit;
const ABORT: TransactionResult = TransactionResult::Abort;
const UNSTABLE: (i64, i16) = (-1, 88);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[test]
fn pending_offsets_are_visible_once_they_are_committed() {
    let mut harness = Harness::default();
    assert_eq!(harness.commit("", -1, "t", 1), 0);
    assert_eq!(harness.commit_in_transaction(7, "t", 2), 0);
    assert_eq!((harness.committed("t"), harness.stable("t")), (1, UNSTABLE));
    harness.end_transaction(7, COMMIT);
    assert_eq!((harness.committed("t"), harness.stable("t")), (2, (2, 0)));
}

#[test]
fn pending_offsets_go_with_an_abort() {
    let mut harness = Harness::default();
    harness.commit("", -1, "t", 1);
    harness.commit_in_transaction(7, "t", 2);
    harness.commit_in_transaction(7, "u", 3);
    harness.end_transaction(7, ABORT);
    assert_eq!((harness.stable("t"), harness.stable("u")), ((1, 0), (-1, 0)));
    // A marker that comes again finds nothing.
    harness.end_transaction(7, COMMIT);
    assert_eq!((harness.stable("t"), harness.stable("u")), ((1, 0), (-1, 0)));
}

/// Redpanda 9571: the producer is told that its commit failed and goes on from the old offset, while the transaction is still to
/// be committed: the records between are processed twice.
#[test]
fn redpanda_9571_a_reader_waits_for_an_undecided_transaction() {
    let mut harness = Harness::default();
    harness.commit("", -1, "t", 1);
    harness.commit_in_transaction(7, "t", 9);
    harness.restart();
    assert_eq!(harness.stable("t"), UNSTABLE, "also after the coordinator moved");
    harness.end_transaction(7, COMMIT);
    assert_eq!(harness.stable("t"), (9, 0));
}

#[test]
fn every_producer_decides_its_own_offsets() {
    let mut harness = Harness::default();
    harness.commit_in_transaction(7, "t", 1);
    harness.commit_in_transaction(8, "t", 2);
    harness.end_transaction(8, COMMIT);
    assert_eq!((harness.committed("t"), harness.stable("t")), (2, UNSTABLE));
    // Its record is older than that of producer 8, whenever it was decided.
    harness.end_transaction(7, COMMIT);
    assert_eq!(harness.stable("t"), (2, 0));
    harness.commit_in_transaction(7, "t", 3);
    assert_eq!(harness.commit("", -1, "t", 4), 0);
    harness.end_transaction(7, COMMIT);
    assert_eq!(harness.stable("t"), (4, 0), "what was written later counts");
}

#[test]
fn all_offsets_are_listed_but_those_that_are_only_pending() {
    let mut harness = Harness::default();
    harness.commit("", -1, "t", 1);
    harness.commit_in_transaction(7, "t", 2);
    harness.commit_in_transaction(7, "u", 3);
    let request = OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(None);
    let all = |require_stable: bool| {
        let fetched = harness.shard.fetch_offsets(&request, require_stable).topics;
        fetched
            .iter()
            .map(|topic| (topic.name.to_string(), topic.partitions[0].committed_offset, topic.partitions[0].error_code))
            .collect::<Vec<_>>()
    };
    assert_eq!(all(false), [("t".to_owned(), 1, 0)]);
    assert_eq!(all(true), [("t".to_owned(), -1, UNSTABLE.1)]);
}

#[test]
fn a_transaction_makes_a_simple_group_which_lives_as_long() {
    let mut harness = Harness::default();
    harness.commit_in_transaction(7, "t", 1);
    assert_eq!(harness.shard.list_groups(&[], &[])[0].group_state.as_str(), "Empty");
    harness.advance(20 * DAY_MS);
    assert!(harness.shard.group("g").is_some(), "a transaction is open in it");
    harness.end_transaction(7, ABORT);
    harness.advance(DAY_MS);
    assert!(harness.shard.group("g").is_none());
}

#[test]
fn what_a_transaction_is_about_to_replace_does_not_expire() {
    let mut harness = Harness::default();
    harness.commit("", -1, "t", 1);
    harness.commit("", -1, "u", 1);
    harness.commit_in_transaction(7, "t", 2);
    harness.advance(8 * DAY_MS);
    assert_eq!((harness.committed("t"), harness.committed("u")), (1, -1));
    harness.end_transaction(7, ABORT);
    harness.advance(DAY_MS);
    assert_eq!(harness.committed("t"), -1);
    assert!(harness.shard.group("g").is_none());
}

#[test]
fn a_deleted_group_takes_pending_offsets_along() {
    let mut harness = Harness::default();
    harness.commit("", -1, "t", 1);
    harness.commit_in_transaction(7, "t", 2);
    harness.commit_in_transaction(7, "u", 3);
    harness.new_records();
    let now_ms = harness.now_ms();
    let decision = harness.shard.delete_groups(&[group("g")], now_ms);
    assert_eq!(harness.carry_out(decision), [Ok(())]);
    assert_eq!(harness.new_records().len(), 3, "a tombstone for t, for u and for the group");
    harness.end_transaction(7, COMMIT);
    assert_eq!((harness.committed("t"), harness.committed("u")), (-1, -1));
    assert!(harness.shard.group("g").is_none());
}

#[test]
fn a_deleted_topic_takes_pending_offsets_along() {
    let mut harness = Harness::default();
    harness.commit_in_transaction(7, "t", 2);
    harness.commit_in_transaction(8, "t", 3);
    harness.new_records();
    let now_ms = harness.now_ms();
    let decision = harness.shard.topics_deleted(&[(Uuid::from_u128(1), Arc::from("t"))], now_ms);
    harness.carry_out(decision);
    assert_eq!(harness.new_records().len(), 1, "one tombstone for both producers");
    harness.end_transaction(7, COMMIT);
    harness.end_transaction(8, COMMIT);
    assert_eq!(harness.stable("t"), (-1, 0));
}

/// KIP-447: who the committing consumer is counts, as soon as it says so.
#[test]
fn kip_447_a_transaction_of_a_fenced_consumer_is_refused() {
    let mut harness = Harness::default();
    let member_id = harness.stable_with_one();
    let as_member = |member_id: &str, instance: Option<&str>, generation: i32| {
        let mut request = transactional_request(7, "t", 1);
        (request.member_id, request.generation_id) = (text(member_id), generation);
        request.group_instance_id = instance.map(text);
        request
    };
    assert_eq!(harness.transactional_request(&as_member("", None, -1)), 0, "clients before version 3 do not say");
    assert_eq!(harness.transactional_request(&as_member(&member_id, None, 1)), 0);
    assert_eq!(harness.transactional_request(&as_member(&member_id, None, 0)), E::IllegalGeneration.code());
    assert_eq!(harness.transactional_request(&as_member(&member_id, None, 2)), E::IllegalGeneration.code());
    assert_eq!(harness.transactional_request(&as_member(&member_id, None, -1)), E::IllegalGeneration.code());
    assert_eq!(harness.transactional_request(&as_member("zombie", None, 1)), E::UnknownMemberId.code());
    assert_eq!(harness.transactional_request(&as_member("", None, 1)), E::UnknownMemberId.code());
    assert_eq!(harness.transactional_request(&as_member(&member_id, Some("i"), 1)), E::UnknownMemberId.code());
    // In a rebalance the old generation may still commit, in every state.
    harness.send_join(5, &join_request("", Some("i")));
    assert_eq!(harness.transactional_request(&as_member(&member_id, None, 1)), 0);
}

#[test]
fn kip_447_a_static_member_that_was_replaced_is_fenced() {
    let mut harness = Harness::default();
    let members = harness.stable_with_static(&["i1"]);
    harness.join_now(9, &join_request("", Some("i1")));
    let mut request = transactional_request(7, "t", 1);
    (request.member_id, request.generation_id) = (text(&members[0]), 1);
    request.group_instance_id = Some(text("i1"));
    assert_eq!(harness.transactional_request(&request), E::FencedInstanceId.code());
}

#[test]
fn a_generation_needs_the_group() {
    let mut harness = Harness::default();
    let request = transactional_request(7, "t", 1).with_generation_id(1).with_member_id(text("m"));
    assert_eq!(harness.transactional_request(&request), E::IllegalGeneration.code());
    assert!(harness.new_records().is_empty() && harness.shard.group("g").is_none());
}

#[test]
fn long_metadata_of_a_transaction_is_refused_by_partition() {
    let mut harness = Harness::default();
    let mut request = transactional_request(7, "t", 1);
    request.topics[0].partitions[0].committed_metadata = Some(text(&"é".repeat(4097)));
    assert_eq!(harness.transactional_request(&request), E::OffsetMetadataTooLarge.code());
    assert!(harness.new_records().is_empty());
    request.topics[0].partitions[0].committed_metadata = None;
    assert_eq!(harness.transactional_request(&request), 0);
}

struct World {
    groups: Arc<GroupCoordinator>,
    log: Arc<MemoryLog>,
}

fn world() -> World {
    let config = GroupCoordinatorConfig { offsets_topic_partitions: 1, ..GroupCoordinatorConfig::default() };
    let groups = GroupCoordinator::new(Env::simulated(ManualClock::new(START_MS), 1), config);
    let log = Arc::<MemoryLog>::default();
    groups.on_elected(0, 0, log.clone());
    World { groups, log }
}

fn marker(producer_id: i64, result: TransactionResult) -> EndTransactionMarker {
    let transaction_version = TransactionVersion::Tv2;
    EndTransactionMarker { producer_id, producer_epoch: 1, coordinator_epoch: 0, result, transaction_version }
}

fn commit(offset: i64) -> TransactionalOffsetCommit {
    TransactionalOffsetCommit { request: transactional_request(7, "t", offset), topic_ids: vec![Uuid::nil()] }
}

impl World {
    fn write(&self, offset: i64, guard: VerificationGuard) -> i16 {
        let written = self.groups.commit_transactional_offsets(commit(offset), guard);
        written.now_or_never().expect("answered at once").topics[0].partitions[0].error_code
    }

    fn guard(&self) -> VerificationGuard {
        commit(0).start(&self.groups, true).expect("serving").1
    }

    fn end(&self, result: TransactionResult) -> Result<(), CoordinatorError> {
        let answered = self.groups.complete_transaction(0, &marker(7, result))?;
        answered.committed().now_or_never().expect("committed at once")
    }

    fn stable(&self) -> (i64, i16) {
        let topic = kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopics::default()
            .with_name(transactional_request(7, "t", 0).topics[0].name.clone())
            .with_partition_indexes(vec![0]);
        let request = OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(Some(vec![topic]));
        let response = self.groups.fetch_offsets(9, request, true).now_or_never().expect("answered at once");
        let partition = response.topics.first().map(|topic| topic.partitions[0].clone()).unwrap_or_default();
        (partition.committed_offset, if response.error_code == 0 { partition.error_code } else { response.error_code })
    }

    fn reload(&self, leader_epoch: i32) {
        self.groups.on_elected(0, leader_epoch, self.log.clone());
    }
}

#[test]
fn the_batch_is_the_producer_s_and_has_no_sequence() {
    let world = world();
    assert_eq!(world.write(5, world.guard()), 0);
    let header = world.log.last_batch();
    assert!(header.is_transactional() && !header.is_control());
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 0, -1));
}

#[test]
fn pending_offsets_and_markers_survive_the_move_of_the_coordinator() {
    let world = world();
    world.write(5, world.guard());
    world.reload(1);
    assert_eq!(world.stable(), UNSTABLE);
    assert_eq!(world.end(COMMIT), Ok(()));
    assert_eq!(world.stable(), (5, 0));
    world.reload(2);
    assert_eq!(world.stable(), (5, 0));
    assert_eq!(world.write(6, world.guard()), 0);
    assert_eq!(world.end(ABORT), Ok(()));
    world.reload(3);
    assert_eq!(world.stable(), (5, 0));
}

#[test]
fn the_first_write_of_a_transaction_needs_its_own_verification() {
    let world = world();
    let earlier = world.guard();
    assert_eq!(world.write(5, VerificationGuard::NONE), E::InvalidTxnState.code());
    assert_eq!(world.stable(), (-1, 0), "refused, and the group serves on");
    assert_eq!(world.write(5, earlier), 0);
    assert!(world.guard().is_none(), "the transaction is open here");
    assert_eq!(world.write(6, VerificationGuard::NONE), 0);
    assert_eq!(world.end(COMMIT), Ok(()));
    assert!(!world.guard().is_none());
    assert_eq!(world.write(7, earlier), E::InvalidTxnState.code(), "that was for another transaction");
    assert_eq!(world.stable(), (6, 0));
}

#[test]
fn a_marker_that_the_log_refuses_changes_nothing() {
    let world = world();
    world.write(5, world.guard());
    let fenced = CoordinatorError::Refused(E::TransactionCoordinatorFenced);
    world.log.fail_next_append(fenced.clone());
    assert_eq!(world.end(COMMIT), Err(fenced));
    assert_eq!(world.stable(), UNSTABLE);
    // A disk that fails is another thing: memory is read from the log again.
    world.log.fail_next_append(CoordinatorError::Storage("EIO".to_owned()));
    assert!(world.end(COMMIT).is_err());
    assert_eq!(world.stable(), UNSTABLE);
    assert_eq!(world.end(COMMIT), Ok(()));
    assert_eq!(world.stable(), (5, 0));
}

#[test]
fn a_marker_s_answer_waits_for_its_commit() {
    let world = world();
    world.write(5, world.guard());
    world.log.hold_commits();
    let answered = world.groups.complete_transaction(0, &marker(7, COMMIT)).expect("appended");
    let mut answered = Box::pin(answered.committed());
    assert_eq!(answered.as_mut().now_or_never(), None);
    world.log.commit_all();
    assert_eq!(answered.now_or_never(), Some(Ok(())));
}

#[test]
fn what_is_checked_before_the_log_is_asked() {
    let world = world();
    let mut nameless = commit(1);
    nameless.request.group_id = group("");
    assert_eq!(nameless.start(&world.groups, true), Err(E::InvalidGroupId));
    let refused = world.groups.commit_transactional_offsets(nameless, VerificationGuard::NONE).now_or_never();
    assert_eq!(refused.expect("at once").topics[0].partitions[0].error_code, E::InvalidGroupId.code());
    world.groups.on_resigned(0, None);
    assert_eq!(commit(1).start(&world.groups, true), Err(E::NotCoordinator));
    assert_eq!(world.end(COMMIT), Err(CoordinatorError::NotCoordinator));
    world.groups.shutdown();
    assert_eq!(commit(1).start(&world.groups, true), Err(E::CoordinatorNotAvailable));
    assert_eq!(world.end(COMMIT), Err(CoordinatorError::NotAvailable));
}
