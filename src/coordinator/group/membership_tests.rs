//! The rules of classic groups, one test each: request in, exact answer and records out.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError as E;

use super::classic::ClassicGroupState as State;
use super::config::GroupCoordinatorConfig;
use super::harness_tests::*;
use super::record::{GroupMetadata, GroupRecord, MemberMetadata};

fn state(harness: &Harness) -> State {
    harness.shard.group("g").expect("the group is there").state()
}

fn empty_record(generation: i32, protocol_type: Option<&str>, at_ms: i64) -> GroupRecord {
    let value = GroupMetadata {
        protocol_type: protocol_type.map(Arc::from),
        generation,
        protocol: None,
        leader: None,
        state_timestamp_ms: Some(at_ms),
        members: Vec::new(),
    };
    GroupRecord::Group { group_id: Arc::from("g"), value: Some(value) }
}

#[test]
fn a_new_dynamic_member_must_come_back_with_its_id() {
    let mut harness = Harness::default();
    let response = harness.join_now(4, &join_request("", None));
    assert_eq!(response.error_code, E::MemberIdRequired.code());
    assert_eq!(response.member_id.as_str(), "client-id0");
    assert_eq!((response.generation_id, response.leader.as_str()), (-1, ""));
    // The group is written as soon as it exists.
    assert_eq!(harness.new_records(), vec![empty_record(0, None, START_MS)]);
    assert_eq!(state(&harness), State::Empty);
    // The id is good for one session.
    harness.advance(10_000);
    let response = harness.join_now(4, &join_request("client-id0", None));
    assert_eq!(response.error_code, E::UnknownMemberId.code());
    assert_eq!(response.member_id.as_str(), "client-id0");
}

#[test]
fn old_versions_and_static_members_join_at_once() {
    let mut harness = Harness::default();
    let dynamic = harness.send_join(3, &join_request("", None));
    let named = harness.send_join(5, &join_request("", Some("i")));
    assert_eq!(harness.join_answer(dynamic), None);
    harness.advance(6_000);
    assert_eq!(harness.join_answer(dynamic).expect("joined").member_id.as_str(), "client-id0");
    assert_eq!(harness.join_answer(named).expect("joined").member_id.as_str(), "i-id1");
}

#[test]
fn a_member_of_a_missing_group_is_unknown() {
    let mut harness = Harness::default();
    let response = harness.join_now(9, &join_request("me", None));
    assert_eq!(response.error_code, E::UnknownMemberId.code());
    assert_eq!(response.member_id.as_str(), "me");
    assert_eq!(harness.sync_now(&sync_request("me", 1, &[])).error_code, E::UnknownMemberId.code());
    assert_eq!(harness.heartbeat("me", 1), E::UnknownMemberId.code());
    assert_eq!(harness.leave(&[("me", None)]), [E::UnknownMemberId.code()]);
    assert!(harness.new_records().is_empty());
}

#[test]
fn the_first_rebalance_waits_for_more_members() {
    let mut harness = Harness::default();
    let first = harness.send_join(5, &join_request("", Some("a")));
    harness.advance(2_000);
    let second = harness.send_join(5, &join_request("", Some("b")));
    harness.advance(1_000);
    // The second one has extended the wait by another three seconds.
    assert_eq!(harness.join_answer(first), None);
    harness.advance(2_999);
    assert_eq!(harness.join_answer(first), None);
    harness.advance(1);
    let (first, second) = (harness.join_answer(first).expect("done"), harness.join_answer(second).expect("done"));
    assert_eq!((first.generation_id, second.generation_id), (1, 1));
    assert_eq!(first.leader, first.member_id);
    assert_eq!(second.leader, first.member_id);
    // Only the leader learns the members.
    assert_eq!(first.members.len(), 2);
    assert_eq!(first.members[1].group_instance_id, Some(text("b")));
    assert_eq!(first.members[1].metadata, subscription(&["t"]));
    assert!(second.members.is_empty());
    assert_eq!(first.protocol_name, Some(text("range")));
    assert_eq!(first.protocol_type, Some(text("consumer")));
    assert!(!first.skip_assignment);
}

#[test]
fn the_first_rebalance_ends_with_the_rebalance_timeout_at_the_latest() {
    let mut harness = Harness::default();
    let mut request = join_request("", Some("a"));
    request.rebalance_timeout_ms = 7_000;
    let first = harness.send_join(5, &request);
    for number in 1..=6 {
        harness.advance(1_000);
        request.group_instance_id = Some(text(&format!("a{number}")));
        harness.send_join(5, &request);
        assert_eq!(harness.join_answer(first), None, "after {number} s");
    }
    harness.advance(1_000);
    assert!(harness.join_answer(first).is_some());
}

#[test]
fn a_generation_is_written_when_the_leader_syncs() {
    let mut harness = Harness::default();
    let member_id = harness.stable_with_one();
    assert_eq!(state(&harness), State::Stable);
    let records = harness.new_records();
    let value = GroupMetadata {
        protocol_type: Some(Arc::from("consumer")),
        generation: 1,
        protocol: Some(Arc::from("range")),
        leader: Some(Arc::from(&*member_id)),
        state_timestamp_ms: Some(START_MS + 3_000),
        members: vec![MemberMetadata {
            member_id: Arc::from(&*member_id),
            group_instance_id: None,
            client_id: Arc::from("client"),
            client_host: Arc::from("/127.0.0.1"),
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 10_000,
            subscription: subscription(&["t"]),
            assignment: Bytes::from_static(b"all"),
        }],
    };
    let group_id = Arc::from("g");
    assert_eq!(records, vec![empty_record(0, None, START_MS), GroupRecord::Group { group_id, value: Some(value) }]);
}

#[test]
fn followers_wait_for_the_leader_and_get_nothing_when_it_gives_nothing() {
    let mut harness = Harness::default();
    let tickets = ["a", "b"].map(|instance| harness.send_join(5, &join_request("", Some(instance))));
    harness.advance(6_000);
    let [leader, follower] = tickets.map(|ticket| harness.join_answer(ticket).expect("joined").member_id);
    let waiting = harness.send_sync(&sync_request(&follower, 1, &[]));
    assert_eq!(harness.sync_answer(waiting), None);
    assert_eq!(harness.heartbeat(&follower, 1), 0, "heartbeats are fine between join and sync");
    let response = harness.sync_now(&sync_request(&leader, 1, &[(&leader, b"mine")]));
    assert_eq!(&response.assignment[..], b"mine");
    assert_eq!(response.protocol_name, Some(text("range")));
    let response = harness.sync_answer(waiting).expect("answered with the leader");
    assert_eq!((response.error_code, &response.assignment[..]), (0, &b""[..]));
    // A stable group answers from what is stored.
    assert_eq!(&harness.sync_now(&sync_request(&leader, 1, &[])).assignment[..], b"mine");
}

#[test]
fn sync_is_checked() {
    let mut harness = Harness::default();
    let member_id = harness.stable_with_one();
    let code = |harness: &mut Harness, request| harness.sync_now(&request).error_code;
    let good = sync_request(&member_id, 1, &[]);
    assert_eq!(code(&mut harness, sync_request(&member_id, 2, &[])), E::IllegalGeneration.code());
    assert_eq!(code(&mut harness, sync_request("other", 1, &[])), E::UnknownMemberId.code());
    let wrong_type = good.clone().with_protocol_type(Some(text("connect")));
    assert_eq!(code(&mut harness, wrong_type), E::InconsistentGroupProtocol.code());
    let wrong_name = good.clone().with_protocol_name(Some(text("roundrobin")));
    assert_eq!(code(&mut harness, wrong_name), E::InconsistentGroupProtocol.code());
    let unknown_instance = good.with_group_instance_id(Some(text("i")));
    assert_eq!(code(&mut harness, unknown_instance), E::UnknownMemberId.code());
}

#[test]
fn heartbeats_say_when_to_rejoin_and_silence_ends_the_session() {
    let mut harness = Harness::default();
    let member_id = harness.stable_with_one();
    for _ in 0..5 {
        harness.advance(9_000);
        assert_eq!(harness.heartbeat(&member_id, 1), 0);
    }
    assert_eq!(harness.heartbeat(&member_id, 0), E::IllegalGeneration.code());
    let joining = harness.send_join(5, &join_request("", Some("i")));
    assert_eq!(harness.heartbeat(&member_id, 1), E::RebalanceInProgress.code());
    harness.new_records();
    harness.advance(10_000);
    // The silent member is gone, the one that waits is alone in the next generation.
    let response = harness.join_answer(joining).expect("joined");
    assert_eq!((response.generation_id, response.leader), (2, response.member_id));
    assert_eq!(harness.heartbeat(&member_id, 2), E::UnknownMemberId.code());
}

#[test]
fn a_group_whose_last_member_is_silent_becomes_empty() {
    let mut harness = Harness::default();
    harness.stable_with_one();
    harness.new_records();
    harness.advance(10_000);
    assert_eq!(state(&harness), State::Empty);
    assert_eq!(harness.new_records(), vec![empty_record(2, Some("consumer"), START_MS + 13_000)]);
}

#[test]
fn a_later_rebalance_drops_late_dynamic_members_at_the_rebalance_timeout() {
    let mut harness = Harness::default();
    let late = harness.stable_with_one();
    let joining = harness.send_join(5, &join_request("", Some("i")));
    for _ in 0..7 {
        harness.advance(8_000);
        assert_eq!(harness.heartbeat(&late, 1), E::RebalanceInProgress.code());
        assert_eq!(harness.join_answer(joining), None);
    }
    harness.advance(4_000);
    assert_eq!(harness.join_answer(joining).expect("joined").generation_id, 2);
    assert_eq!(harness.heartbeat(&late, 1), E::UnknownMemberId.code());
}

#[test]
fn late_static_members_stay_until_their_session_ends() {
    let mut harness = Harness::default();
    let members = harness.stable_with_static(&["a", "b"]);
    let joining = harness.send_join(5, &join_request("", Some("c")));
    for _ in 0..7 {
        harness.advance(8_000);
        for (member_id, instance_id) in members.iter().zip(["a", "b"]) {
            assert_eq!(harness.heartbeat_as(member_id, Some(instance_id), 1), E::RebalanceInProgress.code());
        }
    }
    harness.advance(4_000);
    let response = harness.join_answer(joining).expect("the rebalance timeout ended the join");
    assert_eq!((response.generation_id, response.leader.clone()), (2, response.member_id));
    assert_eq!(response.members.len(), 3, "the static members are still there");
    // They did not sync: they are expelled with the sync timer at the latest.
    harness.advance(60_000);
    assert!(harness.shard.group("g").expect("group").members().len() <= 1);
}

#[test]
fn rejoining_the_stable_group() {
    let mut harness = Harness::default();
    let tickets = ["a", "b"].map(|instance| harness.send_join(5, &join_request("", Some(instance))));
    harness.advance(6_000);
    let [leader, follower] = tickets.map(|ticket| harness.join_answer(ticket).expect("joined").member_id);
    harness.sync_now(&sync_request(&leader, 1, &[]));
    harness.sync_now(&sync_request(&follower, 1, &[]));
    // A follower with the same metadata is told the generation again.
    let response = harness.join_now(5, &join_request(&follower, Some("b")));
    assert_eq!((response.error_code, response.generation_id, response.members.len()), (0, 1, 0));
    assert_eq!(response.leader, leader);
    assert_eq!(state(&harness), State::Stable);
    // The leader always rebalances; so does new metadata.
    let rejoining = harness.send_join(5, &join_request(&leader, Some("a")));
    assert_eq!(state(&harness), State::PreparingRebalance);
    let mut changed = join_request(&follower, Some("b"));
    changed.protocols = vec![protocol("range", subscription(&["t", "u"]))];
    let response = harness.join_now(5, &changed);
    assert_eq!(response.generation_id, 2);
    let response = harness.join_answer(rejoining).expect("complete with the follower");
    assert_eq!(response.members[1].metadata, subscription(&["t", "u"]));
    // Between join and sync the same metadata is told the generation again, the leader with the members.
    assert_eq!(harness.join_now(5, &join_request(&leader, Some("a"))).members.len(), 2);
    assert_eq!(state(&harness), State::CompletingRebalance);
    assert_eq!(harness.commit(&leader, 2, "t", 1), E::RebalanceInProgress.code());
    harness.send_join(5, &join_request(&follower, Some("b")));
    assert_eq!(state(&harness), State::PreparingRebalance);
}

#[test]
fn a_rebalance_takes_waiting_syncs_back() {
    let mut harness = Harness::default();
    let tickets = ["a", "b"].map(|instance| harness.send_join(5, &join_request("", Some(instance))));
    harness.advance(6_000);
    let [_, follower] = tickets.map(|ticket| harness.join_answer(ticket).expect("joined").member_id);
    let waiting = harness.send_sync(&sync_request(&follower, 1, &[]));
    harness.send_join(5, &join_request("", Some("c")));
    let response = harness.sync_answer(waiting).expect("told");
    assert_eq!((response.error_code, response.protocol_name), (E::RebalanceInProgress.code(), None));
    assert_eq!(harness.sync_now(&sync_request(&follower, 1, &[])).error_code, E::RebalanceInProgress.code());
}

#[test]
fn who_does_not_sync_is_expelled() {
    let mut harness = Harness::default();
    let tickets = ["a", "b"].map(|instance| harness.send_join(5, &join_request("", Some(instance))));
    harness.advance(6_000);
    let [leader, lazy] = tickets.map(|ticket| harness.join_answer(ticket).expect("joined").member_id);
    harness.sync_now(&sync_request(&leader, 1, &[]));
    for _ in 0..7 {
        harness.advance(8_000);
        assert_eq!(harness.heartbeat_as(&leader, Some("a"), 1), 0);
        assert_eq!(harness.heartbeat_as(&lazy, Some("b"), 1), 0);
    }
    harness.advance(4_000);
    assert_eq!(harness.heartbeat_as(&lazy, Some("b"), 1), E::UnknownMemberId.code());
    assert_eq!(harness.heartbeat_as(&leader, Some("a"), 1), E::RebalanceInProgress.code());
}

#[test]
fn the_protocol_is_chosen_by_vote_among_the_common_ones() {
    let mut harness = Harness::default();
    let mut tickets = Vec::new();
    for (instance, names) in
        [("a", &["range", "roundrobin", "own"][..]), ("b", &["roundrobin", "range"]), ("c", &["roundrobin", "range"])]
    {
        let mut request = join_request("", Some(instance));
        request.protocols = names.iter().map(|name| protocol(name, Bytes::copy_from_slice(name.as_bytes()))).collect();
        tickets.push(harness.send_join(5, &request));
    }
    harness.advance(9_000);
    let response = harness.join_answer(tickets[0]).expect("joined");
    assert_eq!(response.protocol_name, Some(text("roundrobin")));
    assert!(response.members.iter().all(|member| &member.metadata[..] == b"roundrobin"));
}

#[test]
fn protocols_must_fit() {
    let mut harness = Harness::default();
    let mut request = join_request("", Some("x")).with_protocol_type(text(""));
    assert_eq!(harness.join_now(5, &request).error_code, E::InconsistentGroupProtocol.code());
    request = join_request("", Some("x")).with_protocols(Vec::new());
    assert_eq!(harness.join_now(5, &request).error_code, E::InconsistentGroupProtocol.code());
    harness.stable_with_one();
    request = join_request("", Some("x")).with_protocol_type(text("connect"));
    assert_eq!(harness.join_now(5, &request).error_code, E::InconsistentGroupProtocol.code());
    request = join_request("", Some("x")).with_protocols(vec![protocol("sticky", Bytes::new())]);
    assert_eq!(harness.join_now(5, &request).error_code, E::InconsistentGroupProtocol.code());
    assert_eq!(state(&harness), State::Stable);
}

#[test]
fn the_size_of_a_group_is_limited() {
    let mut harness = Harness::new(GroupCoordinatorConfig { max_size: 1, ..GroupCoordinatorConfig::default() });
    let member_id = harness.stable_with_one();
    let response = harness.join_now(5, &join_request("", Some("b")));
    assert_eq!((response.error_code, response.member_id.as_str()), (E::GroupMaxSizeReached.code(), ""));
    assert_eq!(harness.heartbeat(&member_id, 1), 0);
}

#[test]
fn a_group_that_is_too_large_after_loading_rebalances() {
    let mut harness = Harness::default();
    harness.stable_with_static(&["a", "b"]);
    harness.config = Arc::new(GroupCoordinatorConfig { max_size: 1, ..GroupCoordinatorConfig::default() });
    harness.restart();
    assert_eq!(state(&harness), State::PreparingRebalance);
}

#[test]
fn members_leave_together_with_one_rebalance() {
    let mut harness = Harness::default();
    let members = harness.stable_with_static(&["a", "b", "c"]);
    let codes = harness.leave(&[(&members[0], None), ("", Some("b")), ("", Some("x")), ("nobody", None)]);
    let unknown = E::UnknownMemberId.code();
    assert_eq!(codes, [0, 0, unknown, unknown]);
    assert_eq!(state(&harness), State::PreparingRebalance);
    assert_eq!(harness.leave(&[(&members[2], Some("a"))]), [unknown], "no such instance any more");
    harness.new_records();
    assert_eq!(harness.leave(&[(&members[2], Some("c"))]), [0]);
    assert_eq!(state(&harness), State::Empty);
    assert_eq!(harness.new_records(), vec![empty_record(2, Some("consumer"), START_MS + 6_000)]);
}

#[test]
fn a_pending_member_may_leave() {
    let mut harness = Harness::default();
    let member_id = harness.join_now(4, &join_request("", None)).member_id;
    assert_eq!(harness.leave(&[(&member_id, None)]), [0]);
    assert_eq!(harness.join_now(4, &join_request(&member_id, None)).error_code, E::UnknownMemberId.code());
}

#[test]
fn who_leaves_while_waiting_is_told() {
    let mut harness = Harness::default();
    let old = harness.stable_with_one();
    let joining = harness.send_join(5, &join_request("", Some("i")));
    assert_eq!(harness.leave(&[("", Some("i"))]), [0]);
    assert_eq!(harness.join_answer(joining).expect("told").error_code, E::UnknownMemberId.code());
    assert_eq!(state(&harness), State::PreparingRebalance, "the old member has still to rejoin");
    let response = harness.join_now(5, &join_request(&old, None));
    assert_eq!((response.error_code, response.generation_id), (0, 2));
}

#[test]
fn a_restarted_static_member_keeps_its_place_without_a_rebalance() {
    let mut harness = Harness::default();
    let members = harness.stable_with_static(&["a", "b"]);
    harness.new_records();
    // The follower: its old assignment is there for the new id.
    let response = harness.join_now(9, &join_request("", Some("b")));
    assert_eq!((response.error_code, response.generation_id, response.skip_assignment), (0, 1, false));
    assert_eq!(response.leader.as_str(), members[0]);
    assert_ne!(response.member_id.as_str(), members[1]);
    assert_eq!(state(&harness), State::Stable);
    let records = harness.new_records();
    let [GroupRecord::Group { value: Some(value), .. }] = &records[..] else { panic!("one record: {records:?}") };
    assert_eq!(&*value.members[1].member_id, response.member_id.as_str());
    assert_eq!(&value.members[1].assignment[..], members[1].as_bytes());
    let synced = harness.sync_now(&sync_request(&response.member_id, 1, &[]));
    assert_eq!(&synced.assignment[..], members[1].as_bytes());
    // The old id is fenced.
    assert_eq!(harness.heartbeat_as(&members[1], Some("b"), 1), E::FencedInstanceId.code());
    let fenced = harness.join_now(9, &join_request(&members[1], Some("b")));
    assert_eq!(fenced.error_code, E::FencedInstanceId.code());
    // The leader: from version 9 on it is told that it leads, and that there is nothing to assign.
    let response = harness.join_now(9, &join_request("", Some("a")));
    assert_eq!((response.skip_assignment, response.members.len()), (true, 2));
    assert_eq!(response.leader, response.member_id);
    // Before it is told that another one leads.
    let response = harness.join_now(8, &join_request("", Some("a")));
    assert_eq!((response.skip_assignment, response.members.len()), (false, 0));
    assert_ne!(response.leader, response.member_id);
}

#[test]
fn a_static_member_that_changes_the_protocol_rebalances() {
    let mut harness = Harness::default();
    harness.stable_with_static(&["a"]);
    let mut request = join_request("", Some("a"));
    request.protocols = vec![protocol("sticky", Bytes::new()), protocol("range", Bytes::new())];
    let response = harness.join_now(9, &request);
    assert_eq!((response.generation_id, response.protocol_name), (2, Some(text("sticky"))));
}

#[test]
fn a_second_instance_fences_the_one_that_waits() {
    let mut harness = Harness::default();
    let first = harness.send_join(9, &join_request("", Some("a")));
    let second = harness.send_join(9, &join_request("", Some("a")));
    assert_eq!(harness.join_answer(first).expect("fenced").error_code, E::FencedInstanceId.code());
    harness.advance(3_000);
    let response = harness.join_answer(second).expect("joined");
    let waiting = harness.send_sync(&sync_request("x", 1, &[]));
    assert_eq!(harness.sync_answer(waiting).expect("unknown").error_code, E::UnknownMemberId.code());
    // Between join and sync a new instance starts the rebalance anew.
    let third = harness.join_now(9, &join_request("", Some("a")));
    assert_eq!((response.generation_id, third.generation_id), (1, 2));
}

#[test]
fn a_join_that_is_repeated_answers_the_abandoned_one() {
    let mut harness = Harness::default();
    let old = harness.stable_with_one();
    let first = harness.send_join(5, &join_request("", Some("i")));
    harness.join_answer(first);
    let rejoining = harness.send_join(5, &join_request(&old, None));
    let response = harness.join_answer(rejoining).expect("all there");
    assert_eq!(response.generation_id, 2);
    let pending = harness.join_now(4, &join_request("", None));
    let once = harness.send_join(4, &join_request(&pending.member_id, None));
    let twice = harness.send_join(4, &join_request(&pending.member_id, None));
    assert_eq!(harness.join_answer(once).expect("superseded").error_code, E::RebalanceInProgress.code());
    assert_eq!(harness.join_answer(twice), None);
}

#[test]
fn an_assignment_that_cannot_be_written_starts_another_rebalance() {
    let mut harness = Harness::default();
    let member_id = harness.join_now(4, &join_request("", None)).member_id;
    let joining = harness.send_join(4, &join_request(&member_id, None));
    harness.advance(3_000);
    harness.join_answer(joining);
    harness.new_records();
    let huge = vec![0; 1_000_001];
    let response = harness.sync_now(&sync_request(&member_id, 1, &[(&member_id, &huge)]));
    assert_eq!(response.error_code, E::UnknownServerError.code());
    assert_eq!(state(&harness), State::PreparingRebalance);
    assert!(harness.new_records().is_empty());
}

#[test]
fn a_new_member_that_waits_is_forgotten_after_five_minutes() {
    let mut harness = Harness::default();
    let mut request = join_request("", None);
    request.rebalance_timeout_ms = 3_600_000;
    let member_id = harness.join_now(4, &request).member_id;
    request.member_id = member_id.clone();
    let ticket = harness.send_join(4, &request);
    harness.advance(3_000);
    harness.join_answer(ticket);
    harness.sync_now(&sync_request(&member_id, 1, &[]));
    request.member_id = text("");
    let waiting = harness.send_join(3, &request);
    for _ in 0..37 {
        harness.advance(8_000);
        harness.heartbeat(&member_id, 1);
    }
    assert_eq!(harness.join_answer(waiting), None);
    harness.advance(4_000);
    assert_eq!(harness.join_answer(waiting).expect("forgotten").error_code, E::UnknownMemberId.code());
}

#[test]
fn a_group_survives_a_restart() {
    let mut harness = Harness::default();
    let member_id = harness.stable_with_one();
    harness.commit(&member_id, 1, "t", 42);
    harness.restart();
    assert_eq!(state(&harness), State::Stable);
    assert_eq!(harness.committed("t"), 42);
    assert_eq!(harness.heartbeat(&member_id, 1), 0);
    assert_eq!(&harness.sync_now(&sync_request(&member_id, 1, &[])).assignment[..], b"all");
    harness.advance(10_000);
    assert_eq!(state(&harness), State::Empty, "the session began with the restart");
}

#[test]
fn loading_several_generations_keeps_the_last_subscription() {
    let mut harness = Harness::default();
    let member_id = harness.stable_with_one();
    let mut request = join_request(&member_id, None);
    request.protocols = vec![protocol("sticky", subscription(&["u"])), protocol("range", subscription(&["u"]))];
    assert_eq!(harness.join_now(4, &request).generation_id, 2);
    harness.sync_now(&sync_request(&member_id, 2, &[]));
    assert_eq!(
        harness.reloaded().group("g").expect("loaded").durable(),
        harness.shard.group("g").expect("g").durable()
    );
}
