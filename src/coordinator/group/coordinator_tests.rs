//! The facade: what is answered before any group is asked, and whole rebalances through it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use kafka_protocol::ResponseError as E;

use super::super::harness_tests::{commit_request, group, join_request, protocol, sync_request, text};
use super::*;
use crate::coordinator::runtime::memory_log_tests::MemoryLog;
use crate::env::{InlineSpawn, ManualClock, MemoryBudget};

struct World {
    clock: ManualClock,
    coordinator: Arc<GroupCoordinator>,
    log: Arc<MemoryLog>,
}

fn world() -> World {
    let clock = ManualClock::new(1_700_000_000_000);
    let config = GroupCoordinatorConfig { offsets_topic_partitions: 1, ..GroupCoordinatorConfig::default() };
    let coordinator = GroupCoordinator::new(Env::simulated(clock.clone(), 1), config);
    World { clock, coordinator, log: Arc::default() }
}

fn elected() -> World {
    let world = world();
    world.coordinator.on_elected(0, 0, world.log.clone());
    world
}

fn context() -> GroupRequestContext {
    GroupRequestContext { api_version: 9, client_id: Arc::from("client"), client_host: Arc::from("/127.0.0.1") }
}

fn now<R>(future: BoxFuture<'static, R>) -> R {
    future.now_or_never().expect("answered at once")
}

impl World {
    fn advance(&self, milliseconds: u64) {
        self.clock.advance(Duration::from_millis(milliseconds));
        self.coordinator.run_due_timers();
    }

    fn join(&self, member_id: &str) -> BoxFuture<'static, JoinGroupResponse> {
        self.coordinator.join_group(&context(), join_request(member_id, None))
    }

    fn heartbeat(&self, member_id: &str) -> i16 {
        let request =
            HeartbeatRequest::default().with_group_id(group("g")).with_member_id(text(member_id)).with_generation_id(1);
        now(self.coordinator.heartbeat(request)).error_code
    }

    fn committed(&self, topic: &str) -> i64 {
        let request = OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(None);
        let response = now(self.coordinator.fetch_offsets(9, request, false));
        let found = response.topics.iter().find(|found| found.name.as_str() == topic);
        found.map_or(-1, |found| found.partitions[0].committed_offset)
    }
}

#[test]
fn without_the_partition_it_is_not_the_coordinator() {
    let world = world();
    let not_coordinator = E::NotCoordinator.code();
    assert_eq!(now(world.join("")).error_code, not_coordinator);
    assert_eq!(now(world.coordinator.sync_group(sync_request("m", 1, &[]))).error_code, not_coordinator);
    assert_eq!(world.heartbeat("m"), not_coordinator);
    let committed = now(world.coordinator.commit_offsets(9, commit_request("", -1, "t", 1)));
    assert_eq!(committed.topics[0].partitions[0].error_code, not_coordinator);
    let request = OffsetFetchRequestGroup::default().with_group_id(group("g"));
    assert_eq!(now(world.coordinator.fetch_offsets(2, request, false)).error_code, not_coordinator);
    let described = now(world.coordinator.describe_groups(6, vec![group("g")]));
    assert_eq!((described[0].error_code, described[0].group_id.as_str()), (not_coordinator, "g"));
    assert_eq!(now(world.coordinator.delete_groups(vec![group("g")]))[0].error_code, not_coordinator);
    // Listing asks only for what is here.
    assert_eq!(now(world.coordinator.list_groups(ListGroupsRequest::default())).error_code, 0);
}

#[test]
fn requests_are_checked_before_the_group() {
    let world = elected();
    let nameless = join_request("", None).with_group_id(group(""));
    let response = now(world.coordinator.join_group(&context(), nameless));
    assert_eq!(response.error_code, E::InvalidGroupId.code());
    for timeout in [5_999, 1_800_001] {
        let request = join_request("me", None).with_session_timeout_ms(timeout);
        let response = now(world.coordinator.join_group(&context(), request));
        assert_eq!((response.error_code, response.member_id), (E::InvalidSessionTimeout.code(), text("me")));
    }
    // Offsets may be kept under the empty name.
    let commit = commit_request("", -1, "t", 1).with_group_id(group(""));
    assert_eq!(now(world.coordinator.commit_offsets(9, commit)).topics[0].partitions[0].error_code, 0);
}

#[test]
fn who_waits_in_a_join_keeps_nothing_of_its_frame() {
    let world = elected();
    let member_id = now(world.join("")).member_id.as_str().to_owned();
    let frame = Bytes::from(member_id.into_bytes());
    let id = StrBytes::from_utf8(frame.clone()).expect("text");
    let mut joining = world.coordinator.join_group(&context(), join_request("", None).with_member_id(id));
    assert!((&mut joining).now_or_never().is_none());
    assert!(frame.is_unique());
}

#[test]
fn a_member_that_says_too_much_of_itself_has_to_come_again() {
    let env = Env { memory: MemoryBudget::of(1 << 20), ..Env::simulated(ManualClock::new(1_700_000_000_000), 1) };
    let config = GroupCoordinatorConfig { offsets_topic_partitions: 1, ..GroupCoordinatorConfig::default() };
    let coordinator = GroupCoordinator::new(env, config);
    coordinator.on_elected(0, 0, Arc::<MemoryLog>::default());
    let join = |length: usize| {
        let request = join_request("", None).with_protocols(vec![protocol("range", vec![0; length].into())]);
        now(coordinator.join_group(&context(), request)).error_code
    };
    assert_eq!(join(80_000), E::MemberIdRequired.code());
    assert_eq!(join(100_000), E::CoordinatorNotAvailable.code());
}

#[test]
fn a_whole_rebalance_and_a_restart() {
    let world = elected();
    let member_id = now(world.join("")).member_id.as_str().to_owned();
    let mut joining = world.join(&member_id);
    assert!((&mut joining).now_or_never().is_none());
    world.advance(3_000);
    assert_eq!(now(joining).generation_id, 1);
    let synced = now(world.coordinator.sync_group(sync_request(&member_id, 1, &[(&member_id, b"a")])));
    assert_eq!(&synced.assignment[..], b"a");
    now(world.coordinator.commit_offsets(9, commit_request(&member_id, 1, "t", 42)));
    // The same log under another leader epoch.
    world.coordinator.on_elected(0, 1, world.log.clone());
    assert_eq!(world.committed("t"), 42);
    assert_eq!(world.heartbeat(&member_id), 0);
    world.advance(10_000);
    assert_eq!(world.heartbeat(&member_id), E::UnknownMemberId.code());
}

#[test]
fn a_failed_append_is_not_the_coordinator_and_forgets_what_was_not_written() {
    let world = elected();
    now(world.coordinator.commit_offsets(9, commit_request("", -1, "t", 1)));
    let member_id = now(world.join("")).member_id.as_str().to_owned();
    let joining = world.join(&member_id);
    world.log.fail_next_append(CoordinatorError::Storage("EIO".to_owned()));
    let response = now(world.coordinator.commit_offsets(9, commit_request("", -1, "x", 1)));
    assert_eq!(response.topics[0].partitions[0].error_code, E::UnknownMemberId.code(), "refused before the append");
    let other = commit_request("", -1, "x", 1).with_group_id(group("other"));
    let response = now(world.coordinator.commit_offsets(9, other));
    assert_eq!(response.topics[0].partitions[0].error_code, E::NotCoordinator.code());
    assert_eq!(now(joining).error_code, E::NotCoordinator.code());
    assert_eq!(world.committed("t"), 1);
    assert_eq!(now(world.join(&member_id)).error_code, E::UnknownMemberId.code());
}

#[test]
fn resigning_tells_who_waits_and_old_epochs_change_nothing() {
    let world = elected();
    world.coordinator.on_elected(0, 5, world.log.clone());
    let member_id = now(world.join("")).member_id.as_str().to_owned();
    let mut joining = world.join(&member_id);
    world.coordinator.on_resigned(0, Some(4));
    world.coordinator.on_elected(0, 5, world.log.clone());
    world.coordinator.on_elected(0, 3, world.log.clone());
    assert!((&mut joining).now_or_never().is_none());
    world.coordinator.on_resigned(0, Some(6));
    assert_eq!(now(joining).error_code, E::NotCoordinator.code());
}

#[test]
fn while_loading_requests_are_told_so_and_heartbeats_are_fine() {
    /// Keeps blocking work instead of doing it.
    #[derive(Clone, Default)]
    struct Held(Arc<parking_lot::Mutex<Vec<Work>>>, InlineSpawn);
    type Work = Box<dyn FnOnce() + Send>;
    impl crate::env::Spawn for Held {
        fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
            self.1.spawn(name, future);
        }
        fn spawn_blocking(&self, _name: &'static str, work: Box<dyn FnOnce() + Send>) {
            self.0.lock().push(work);
        }
    }
    let held = Held::default();
    let env = Env { spawn: Arc::new(held.clone()), ..Env::simulated(ManualClock::new(0), 1) };
    let config = GroupCoordinatorConfig { offsets_topic_partitions: 1, ..GroupCoordinatorConfig::default() };
    let coordinator = GroupCoordinator::new(env, config);
    let world = World { clock: ManualClock::new(0), coordinator, log: Arc::default() };
    world.coordinator.on_elected(0, 0, world.log.clone());
    let id_required = E::MemberIdRequired.code();
    assert_eq!(now(world.join("")).error_code, id_required, "an empty log is loaded at once");
    world.coordinator.on_elected(0, 1, world.log.clone());
    let loading = E::CoordinatorLoadInProgress.code();
    assert_eq!(now(world.join("")).error_code, loading);
    assert_eq!(world.heartbeat("m"), 0);
    assert_eq!(now(world.coordinator.list_groups(ListGroupsRequest::default())).error_code, loading);
    let work = held.0.lock().pop().expect("the load");
    work();
    assert_eq!(now(world.join("")).error_code, id_required);
}

#[test]
fn after_shutdown_nothing_is_available() {
    let world = elected();
    let member_id = now(world.join("")).member_id.as_str().to_owned();
    let joining = world.join(&member_id);
    world.coordinator.shutdown();
    assert_eq!(now(joining).error_code, E::NotCoordinator.code());
    assert_eq!(now(world.join("")).error_code, E::CoordinatorNotAvailable.code());
    assert_eq!(world.heartbeat("m"), E::CoordinatorNotAvailable.code());
    world.coordinator.on_elected(0, 9, world.log.clone());
    assert_eq!(world.heartbeat("m"), E::CoordinatorNotAvailable.code());
}

#[test]
fn topics_that_are_deleted_take_their_offsets_along() {
    let world = elected();
    now(world.coordinator.commit_offsets(9, commit_request("", -1, "t", 1)));
    world.coordinator.on_topics_deleted(&[(Uuid::from_u128(9), Arc::from("t"))]);
    assert_eq!(world.committed("t"), -1);
}
