//! The rules of committed offsets, of listing, describing and deleting groups.

use std::sync::Arc;

use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{OffsetDeleteRequest, TopicName};

use super::harness_tests::*;
use super::record::{GroupRecord, OffsetAndMetadata};
use crate::coordinator::runtime::StateMachine;
use crate::types::Uuid;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn tombstone(topic: &str) -> GroupRecord {
    GroupRecord::Offset { group_id: Arc::from("g"), topic: Arc::from(topic), partition: 0, value: None }
}

fn group_tombstone() -> GroupRecord {
    GroupRecord::Group { group_id: Arc::from("g"), value: None }
}

fn delete_offset(harness: &mut Harness, topic: &str) -> Result<i16, i16> {
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![OffsetDeleteRequestPartition::default()]);
    let request = OffsetDeleteRequest::default().with_group_id(group("g")).with_topics(vec![topic]);
    let now_ms = harness.now_ms();
    let decision = harness.shard.delete_offsets(&request, now_ms);
    match harness.carry_out(decision) {
        Ok(response) => Ok(response.topics[0].partitions[0].error_code),
        Err(error) => Err(error.code()),
    }
}

fn delete_group(harness: &mut Harness) -> i16 {
    let now_ms = harness.now_ms();
    let decision = harness.shard.delete_groups(&[group("g")], now_ms);
    harness.carry_out(decision)[0].map_or_else(|error| error.code(), |()| 0)
}

#[test]
fn a_commit_without_membership_makes_a_simple_group() {
    let mut harness = Harness::default();
    assert_eq!(harness.commit("", -1, "t", 7), 0);
    let value = OffsetAndMetadata {
        offset: 7,
        leader_epoch: 3,
        metadata: Box::from("m"),
        commit_timestamp_ms: START_MS,
        expire_timestamp_ms: None,
        topic_id: Uuid::nil(),
    };
    let record =
        GroupRecord::Offset { group_id: Arc::from("g"), topic: Arc::from("t"), partition: 0, value: Some(value) };
    assert_eq!(harness.new_records(), vec![record]);
    assert_eq!(harness.committed("t"), 7);
    let listed = harness.shard.list_groups(&[], &[]);
    assert_eq!((listed[0].protocol_type.as_str(), listed[0].group_state.as_str()), ("", "Empty"));
    assert_eq!(listed[0].group_type.as_str(), "classic");
}

#[test]
fn the_value_has_kafka_s_version() {
    let mut harness = Harness::default();
    harness.commit("", -1, "t", 7);
    let retained = commit_request("", -1, "u", 8).with_retention_time_ms(1_000);
    harness.commit_request(2, &retained);
    let versions: Vec<i16> = harness
        .new_records()
        .iter()
        .map(|record| super::shard::GroupShard::encode(record).expect("encodes").value.expect("a value"))
        .map(|value| i16::from_be_bytes([value[0], value[1]]))
        .collect();
    assert_eq!(versions, [4, 1]);
}

#[test]
fn a_commit_with_a_generation_needs_the_group() {
    let mut harness = Harness::default();
    assert_eq!(harness.commit_request(9, &commit_request("m", 1, "t", 1)), E::GroupIdNotFound.code());
    assert_eq!(harness.commit_request(8, &commit_request("m", 1, "t", 1)), E::IllegalGeneration.code());
    assert!(harness.new_records().is_empty());
}

#[test]
fn commits_of_a_group_with_members_are_checked() {
    let mut harness = Harness::default();
    let member_id = harness.stable_with_one();
    assert_eq!(harness.commit("", -1, "t", 1), E::UnknownMemberId.code());
    assert_eq!(harness.commit("other", 1, "t", 1), E::UnknownMemberId.code());
    assert_eq!(harness.commit(&member_id, 2, "t", 1), E::IllegalGeneration.code());
    assert_eq!(harness.commit(&member_id, 1, "t", 1), 0);
    let instance = commit_request(&member_id, 1, "t", 1).with_group_instance_id(Some(text("i")));
    assert_eq!(harness.commit_request(9, &instance), E::UnknownMemberId.code());
    // A commit keeps the session alive, also in a rebalance, where the old generation may still commit.
    harness.advance(9_000);
    assert_eq!(harness.commit(&member_id, 1, "t", 2), 0);
    harness.advance(9_000);
    harness.send_join(5, &join_request("", Some("i")));
    assert_eq!(harness.commit(&member_id, 1, "t", 3), 0);
    harness.advance(9_000);
    assert_eq!(harness.heartbeat(&member_id, 1), E::RebalanceInProgress.code());
}

#[test]
fn long_metadata_is_refused_by_partition() {
    let mut harness = Harness::default();
    let mut request = commit_request("", -1, "t", 1);
    request.topics[0].partitions[0].committed_metadata = Some(text(&"é".repeat(4096)));
    assert_eq!(harness.commit_request(9, &request), 0, "4096 characters, as Java counts");
    request.topics[0].partitions[0].committed_metadata = Some(text(&"é".repeat(4097)));
    assert_eq!(harness.commit_request(9, &request), E::OffsetMetadataTooLarge.code());
    assert_eq!(harness.new_records().len(), 1);
}

#[test]
fn fetching_what_is_not_there() {
    let mut harness = Harness::default();
    assert_eq!(harness.committed("t"), -1);
    harness.commit("", -1, "t", 5);
    let topics = OffsetFetchRequestTopics::default().with_name(TopicName(text("t"))).with_partition_indexes(vec![0, 9]);
    let request = OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(Some(vec![topics]));
    let response = harness.shard.fetch_offsets(&request, false);
    let [found, missing] = &response.topics[0].partitions[..] else { panic!("two partitions") };
    assert_eq!((found.committed_offset, found.committed_leader_epoch, &found.metadata), (5, 3, &Some(text("m"))));
    assert_eq!((missing.committed_offset, missing.committed_leader_epoch), (-1, -1));
    assert_eq!((missing.error_code, &missing.metadata), (0, &Some(text(""))));
    let all = harness.shard.fetch_offsets(&request.with_topics(None), false);
    assert_eq!((all.topics.len(), all.topics[0].partitions.len()), (1, 1));
    let nothing = harness.shard.fetch_offsets(&OffsetFetchRequestGroup::default().with_group_id(group("x")), false);
    assert_eq!((nothing.error_code, nothing.topics.len()), (0, 0));
}

#[test]
fn offsets_of_a_simple_group_expire_seven_days_after_the_commit() {
    let mut harness = Harness::default();
    harness.commit("", -1, "t", 1);
    harness.advance(DAY_MS);
    harness.commit("", -1, "u", 1);
    harness.new_records();
    harness.advance(6 * DAY_MS - 1);
    assert!(harness.new_records().is_empty());
    harness.advance(600_000);
    assert_eq!(harness.new_records(), vec![tombstone("t")]);
    harness.advance(DAY_MS);
    assert_eq!(harness.new_records(), vec![tombstone("u"), group_tombstone()]);
    assert!(harness.shard.group("g").is_none());
}

#[test]
fn offsets_of_a_consumer_group_expire_seven_days_after_the_last_member() {
    let mut harness = Harness::default();
    let member_id = harness.stable_with_one();
    harness.commit(&member_id, 1, "t", 1);
    for _ in 0..(8 * DAY_MS / 9_000) {
        harness.advance(9_000);
        harness.heartbeat(&member_id, 1);
    }
    assert_eq!(harness.committed("t"), 1, "a member reads the topic");
    assert_eq!(harness.leave(&[(&member_id, None)]), [0]);
    harness.new_records();
    harness.advance(7 * DAY_MS - 600_001);
    assert!(harness.new_records().is_empty());
    harness.advance(2 * 600_000);
    assert_eq!(harness.new_records(), vec![tombstone("t"), group_tombstone()]);
}

#[test]
fn offsets_of_topics_that_nobody_reads_expire_in_a_stable_group() {
    let mut harness = Harness::default();
    let member_id = harness.stable_with_one();
    harness.commit(&member_id, 1, "t", 1);
    harness.commit(&member_id, 1, "old", 1);
    harness.new_records();
    for _ in 0..(7 * DAY_MS / 9_000 + 70) {
        harness.advance(9_000);
        harness.heartbeat(&member_id, 1);
    }
    assert_eq!(harness.new_records(), vec![tombstone("old")]);
}

#[test]
fn a_retention_of_its_own_survives_a_restart() {
    let mut harness = Harness::default();
    let request = commit_request("", -1, "t", 1).with_retention_time_ms(900_000);
    assert_eq!(harness.commit_request(4, &request), 0);
    harness.restart();
    harness.new_records();
    harness.advance(600_000);
    assert!(harness.new_records().is_empty());
    harness.advance(600_000);
    assert_eq!(harness.new_records(), vec![tombstone("t"), group_tombstone()]);
}

#[test]
fn an_empty_group_without_offsets_goes_at_the_next_look() {
    let mut harness = Harness::default();
    let member_id = harness.stable_with_one();
    harness.leave(&[(&member_id, None)]);
    harness.new_records();
    harness.advance(600_000);
    assert_eq!(harness.new_records(), vec![group_tombstone()]);
}

#[test]
fn groups_are_deleted_with_their_offsets_once_they_are_empty() {
    let mut harness = Harness::default();
    assert_eq!(delete_group(&mut harness), E::GroupIdNotFound.code());
    let member_id = harness.stable_with_one();
    harness.commit(&member_id, 1, "t", 1);
    assert_eq!(delete_group(&mut harness), E::NonEmptyGroup.code());
    harness.leave(&[(&member_id, None)]);
    harness.new_records();
    assert_eq!(delete_group(&mut harness), 0);
    assert_eq!(harness.new_records(), vec![tombstone("t"), group_tombstone()]);
    assert_eq!(harness.committed("t"), -1);
    assert_eq!(delete_group(&mut harness), E::GroupIdNotFound.code());
}

#[test]
fn single_offsets_are_deleted_unless_a_member_reads_the_topic() {
    let mut harness = Harness::default();
    assert_eq!(delete_offset(&mut harness, "t"), Err(E::GroupIdNotFound.code()));
    let member_id = harness.stable_with_one();
    harness.commit(&member_id, 1, "t", 1);
    harness.commit(&member_id, 1, "old", 1);
    harness.new_records();
    assert_eq!(delete_offset(&mut harness, "t"), Ok(E::GroupSubscribedToTopic.code()));
    assert_eq!(delete_offset(&mut harness, "old"), Ok(0));
    assert_eq!(delete_offset(&mut harness, "never"), Ok(0));
    assert_eq!(harness.new_records(), vec![tombstone("old")]);
}

#[test]
fn offsets_of_members_that_are_not_consumers_are_not_deleted_singly() {
    let mut harness = Harness::default();
    let request = join_request("", Some("i")).with_protocol_type(text("connect"));
    harness.send_join(5, &request);
    assert_eq!(delete_offset(&mut harness, "t"), Err(E::NonEmptyGroup.code()));
}

#[test]
fn deleted_topics_take_their_offsets_along() {
    let mut harness = Harness::default();
    let (deleted, recreated) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for (topic, topic_id) in [("a", deleted), ("b", recreated), ("c", Uuid::nil())] {
        let mut request = commit_request("", -1, topic, 1);
        request.topics[0].topic_id = topic_id;
        harness.commit_request(9, &request);
    }
    harness.new_records();
    let topics = ["a", "b", "c"].map(|name| (deleted, Arc::from(name)));
    let now_ms = harness.now_ms();
    let decision = harness.shard.topics_deleted(&topics, now_ms);
    harness.carry_out(decision);
    assert_eq!(harness.new_records(), vec![tombstone("a"), tombstone("c")]);
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut harness = Harness::default();
    harness.stable_with_one();
    let list = |states: &[&str], types: &[&str]| {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        harness.shard.list_groups(&own(states), &own(types)).len()
    };
    assert_eq!((list(&[], &[]), list(&["stable"], &["classic"]), list(&[" STABLE "], &["Classic"])), (1, 1, 1));
    assert_eq!((list(&["Empty"], &[]), list(&[], &["consumer"]), list(&["nonsense"], &[])), (0, 0, 0));
    assert_eq!(list(&["Empty", "Stable"], &["consumer", "classic"]), 1);
    // Kafka takes blanks off states, not off types.
    assert_eq!(list(&[], &[" classic"]), 0);
}

#[test]
fn groups_are_described() {
    let mut harness = Harness::default();
    let missing = harness.shard.describe_group(&group("g"), 6);
    assert_eq!((missing.error_code, missing.group_state.as_str()), (E::GroupIdNotFound.code(), "Dead"));
    assert_eq!(missing.error_message, Some(text("Group g not found.")));
    let missing = harness.shard.describe_group(&group("g"), 5);
    assert_eq!((missing.error_code, missing.group_state.as_str()), (0, "Dead"));
    let member_id = harness.stable_with_one();
    let stable = harness.shard.describe_group(&group("g"), 6);
    assert_eq!(
        (stable.group_state.as_str(), stable.protocol_type.as_str(), stable.protocol_data.as_str()),
        ("Stable", "consumer", "range")
    );
    let member = &stable.members[0];
    assert_eq!((member.member_id.as_str(), member.client_host.as_str()), (member_id.as_str(), "/127.0.0.1"));
    assert_eq!((&member.member_metadata, &member.member_assignment[..]), (&subscription(&["t"]), &b"all"[..]));
    harness.send_join(5, &join_request("", Some("i")));
    let rebalancing = harness.shard.describe_group(&group("g"), 6);
    assert_eq!((rebalancing.group_state.as_str(), rebalancing.protocol_data.as_str()), ("PreparingRebalance", ""));
    assert!(rebalancing.members.iter().all(|member| member.member_metadata.is_empty()));
}
