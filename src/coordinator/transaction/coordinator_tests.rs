//! The facade over a log in memory and partitions that a test rules: whole transactions, crashes between any two steps, and
//! appends and markers that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::ResponseError as E;
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;

use super::super::harness_tests::partition;
use super::super::markers::{MARKER_RETRY_BACKOFF, MarkerOutcome};
use super::super::producer_ids::ProducerIdBlock;
use super::*;
use crate::coordinator::runtime::memory_log_tests::MemoryLog;
use crate::env::{InlineSpawn, ManualClock};
use crate::types::EndTransactionMarker;

const TV0: TransactionVersion = TransactionVersion::Tv0;
const TV2: TransactionVersion = TransactionVersion::Tv2;
const COMMIT: TransactionResult = TransactionResult::Commit;
const ABORT: TransactionResult = TransactionResult::Abort;

#[derive(Default)]
struct Blocks(Mutex<i64>);

impl ProducerIdSource for Blocks {
    fn allocate(&self) -> BoxFuture<'static, Result<ProducerIdBlock, CoordinatorError>> {
        let mut next = self.0.lock();
        let first = *next;
        *next += 1000;
        Box::pin(std::future::ready(Ok(ProducerIdBlock { first, size: 1000 })))
    }
}

/// Partitions that remember their markers.
#[derive(Default)]
struct Partitions {
    markers: Mutex<Vec<(TopicPartition, EndTransactionMarker)>>,
    /// What a partition answers instead of taking the marker.
    outcomes: Mutex<BTreeMap<TopicPartition, MarkerOutcome>>,
}

impl MarkerWriter for Partitions {
    fn write(&self, name: &TopicPartition, marker: &EndTransactionMarker) -> BoxFuture<'static, MarkerOutcome> {
        let outcome = self.outcomes.lock().get(name).cloned().unwrap_or(MarkerOutcome::Written);
        if outcome == MarkerOutcome::Written {
            self.markers.lock().push((name.clone(), *marker));
        }
        ready(outcome)
    }
}

impl Partitions {
    fn set(&self, number: i32, outcome: Option<MarkerOutcome>) {
        match outcome {
            Some(outcome) => self.outcomes.lock().insert(partition(number), outcome),
            None => self.outcomes.lock().remove(&partition(number)),
        };
    }

    fn take(&self) -> Vec<(i32, bool, i16)> {
        let taken = std::mem::take(&mut *self.markers.lock());
        taken
            .into_iter()
            .map(|(name, marker)| (name.partition, marker.result.is_commit(), marker.producer_epoch))
            .collect()
    }
}

struct World {
    clock: ManualClock,
    spawn: InlineSpawn,
    log: Arc<MemoryLog>,
    partitions: Arc<Partitions>,
    coordinator: Arc<TransactionCoordinator>,
    tasks: Mutex<Vec<BoxFuture<'static, ()>>>,
}

fn world(version: TransactionVersion) -> World {
    let world = World::over(Arc::default(), Arc::default(), version, 0);
    world.coordinator.on_elected(0, 0, world.log.clone());
    world
}

impl World {
    fn over(log: Arc<MemoryLog>, partitions: Arc<Partitions>, version: TransactionVersion, first_id: i64) -> Self {
        let clock = ManualClock::new(1_700_000_000_000);
        let spawn = InlineSpawn::default();
        let env = Env { spawn: Arc::new(spawn.clone()), ..Env::simulated(clock.clone(), 1) };
        let config = TransactionConfig { state_topic_partitions: 1, ..TransactionConfig::default() };
        let source = Arc::new(Blocks(Mutex::new(first_id)));
        let coordinator = TransactionCoordinator::new(env, config, source, partitions.clone());
        coordinator.set_transaction_version(version);
        World { clock, spawn, log, partitions, coordinator, tasks: Mutex::default() }
    }

    /// The process is killed and started again: what is not in the log is gone.
    fn restart(&self, leader_epoch: i32) -> Self {
        let version = self.coordinator.transaction_version();
        let next = Self::over(self.log.clone(), self.partitions.clone(), version, 1_000_000);
        self.coordinator.shutdown();
        next.coordinator.on_elected(0, leader_epoch, next.log.clone());
        next.run_tasks();
        next
    }

    /// Polls every task once, those that were spawned meanwhile too.
    fn run_tasks(&self) {
        loop {
            let spawned = self.spawn.take();
            let is_last = spawned.is_empty();
            let mut tasks = self.tasks.lock();
            tasks.extend(spawned.into_iter().map(|(_, task)| task));
            let waiting: Vec<_> = std::mem::take(&mut *tasks)
                .into_iter()
                .filter_map(|mut task| (&mut task).now_or_never().is_none().then_some(task))
                .collect();
            *tasks = waiting;
            if is_last {
                return;
            }
        }
    }

    fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
        self.coordinator.run_due_timers();
        self.run_tasks();
    }

    fn now<R>(&self, mut future: BoxFuture<'static, R>) -> R {
        if let Some(response) = (&mut future).now_or_never() {
            return response;
        }
        self.run_tasks();
        future.now_or_never().expect("answered")
    }

    fn init(&self) -> Result<ProducerIdentity, E> {
        self.init_as(None)
    }

    fn init_as(&self, expected: Option<ProducerIdentity>) -> Result<ProducerIdentity, E> {
        let (producer_id, epoch) = expected.unwrap_or((-1, -1));
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str("app"))))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(producer_id))
            .with_producer_epoch(epoch);
        let response = self.now(self.coordinator.init_producer_id(&request, 5));
        match ResponseError::try_from_code(response.error_code) {
            None => Ok((*response.producer_id, response.producer_epoch)),
            Some(error) => Err(error),
        }
    }

    fn add(
        &self,
        (producer_id, epoch): ProducerIdentity,
        partitions: &[i32],
        version: TransactionVersion,
    ) -> Result<(), E> {
        let partitions: Vec<_> = partitions.iter().copied().map(partition).collect();
        self.now(self.coordinator.add_partitions("app", producer_id, epoch, &partitions, version))
    }

    fn end(
        &self,
        (producer_id, epoch): ProducerIdentity,
        result: TransactionResult,
        version: TransactionVersion,
    ) -> Result<ProducerIdentity, E> {
        self.now(self.coordinator.end_transaction("app", producer_id, epoch, result, version))
    }

    fn state(&self) -> String {
        self.described().transaction_state.to_string()
    }

    fn described(&self) -> DescribedTransaction {
        self.now(self.coordinator.describe(TransactionalId(StrBytes::from_static_str("app"))))
    }
}

#[test]
fn a_transaction_is_complete_when_its_end_is_answered() {
    for version in [TV0, TV2] {
        let world = world(version);
        let mut identity = world.init().expect("initialized");
        assert_eq!(identity.1, 0);
        for result in [COMMIT, ABORT, COMMIT] {
            world.add(identity, &[0, 1], version).expect("added");
            assert_eq!(world.state(), "Ongoing");
            let answer = world.end(identity, result, version).expect("ended");
            if version == TV2 {
                assert_eq!(answer, (identity.0, identity.1 + 1));
                identity = answer;
            } else {
                assert_eq!(answer, (-1, -1));
            }
            let expected = [0, 1].map(|number| (number, result.is_commit(), identity.1));
            assert_eq!(world.partitions.take(), expected);
            assert_eq!(world.state(), if result.is_commit() { "CompleteCommit" } else { "CompleteAbort" });
        }
        assert!(world.spawn.take().iter().all(|(name, _)| *name != "transaction-markers"), "nothing had to wait");
    }
}

#[test]
fn a_newer_producer_fences_the_older_one_and_aborts_its_transaction() {
    for version in [TV0, TV2] {
        let world = world(version);
        let zombie = world.init().expect("initialized");
        world.add(zombie, &[3], version).expect("added");
        assert_eq!(world.init(), Err(E::ConcurrentTransactions));
        assert_eq!(world.partitions.take(), [(3, false, 1)]);
        assert_eq!(world.init(), Ok((zombie.0, 2)), "the epoch of the fencing was given to nobody");
        assert_eq!(world.add(zombie, &[3], version), Err(E::ProducerFenced));
        assert_eq!(world.end(zombie, COMMIT, version), Err(E::ProducerFenced));
        assert_eq!(world.init_as(Some(zombie)), Err(E::ProducerFenced));
    }
}

/// A crash at every step of a transaction: what was answered holds, what was decided happens, what was open can be ended.
#[test]
fn a_crash_at_any_step_loses_nothing_and_finishes_what_was_decided() {
    for version in [TV0, TV2] {
        for result in [COMMIT, ABORT] {
            // Initialized.
            let world = world(version).restart(1);
            let identity = world.init().expect("initialized");
            let world = world.restart(2);
            // Open.
            world.add(identity, &[0, 1, 2], version).expect("the identity is still the one");
            let world = world.restart(3);
            assert_eq!(world.state(), "Ongoing");
            // Decided, and one of three markers written.
            for number in [1, 2] {
                world.partitions.set(number, Some(MarkerOutcome::Retry("not now".to_owned())));
            }
            let answer = world.end(identity, result, version).expect("decided");
            assert_eq!(world.partitions.take().len(), 1);
            assert_eq!(world.state(), if result.is_commit() { "PrepareCommit" } else { "PrepareAbort" });
            let next = if version == TV2 { answer } else { identity };
            let world = world.restart(4);
            world.run_tasks();
            // Loaded; one more marker can be written.
            assert_eq!(world.partitions.take(), [(0, result.is_commit(), next.1)], "again, as nobody wrote down which");
            world.partitions.set(1, None);
            world.advance(MARKER_RETRY_BACKOFF);
            assert_eq!(world.partitions.take(), [(1, result.is_commit(), next.1)]);
            let world = world.restart(5);
            world.partitions.set(2, None);
            world.advance(MARKER_RETRY_BACKOFF);
            let written: BTreeSet<_> = world.partitions.take().into_iter().map(|(number, ..)| number).collect();
            assert!(written.contains(&2));
            let complete = if result.is_commit() { "CompleteCommit" } else { "CompleteAbort" };
            assert_eq!(world.state(), complete);
            // Complete: the answer may have been lost.
            let world = world.restart(6);
            assert_eq!(world.state(), complete);
            let again = world.end(identity, result, version).expect("decided once");
            assert_eq!(again, answer);
            assert!(world.partitions.take().is_empty());
            assert_eq!(world.add(next, &[0], version), Ok(()));
        }
    }
}

/// KAFKA-6683, KAFKA-9666, KAFKA-15784: memory went on although the log had not.
#[test]
fn an_append_that_fails_changes_nothing() {
    for version in [TV0, TV2] {
        let world = world(version);
        let fail = || world.log.fail_next_append(CoordinatorError::NotEnoughReplicas);
        let settle = || world.run_tasks();
        fail();
        assert_eq!(world.init(), Err(E::CoordinatorNotAvailable));
        settle();
        assert_eq!(world.described().error_code, E::TransactionalIdNotFound.code());
        let identity = world.init().expect("initialized");
        fail();
        assert_eq!(world.init(), Err(E::CoordinatorNotAvailable));
        settle();
        assert_eq!(world.described().producer_epoch, identity.1, "no epoch is burnt");
        fail();
        assert_eq!(world.add(identity, &[0], version), Err(E::CoordinatorNotAvailable));
        settle();
        assert_eq!((world.state(), world.described().topics.len()), ("Empty".to_owned(), 0));
        world.add(identity, &[0], version).expect("added");
        fail();
        assert_eq!(world.end(identity, COMMIT, version), Err(E::CoordinatorNotAvailable));
        settle();
        assert_eq!(world.state(), "Ongoing");
        assert!(world.partitions.take().is_empty(), "no marker of what was not decided");
        // The fencing of a producer: Kafka keeps the bumped epoch in memory, and bumps it again.
        fail();
        assert_eq!(world.init(), Err(E::CoordinatorNotAvailable));
        settle();
        assert_eq!((world.state(), world.described().producer_epoch), ("Ongoing".to_owned(), identity.1));
        assert!(world.end(identity, COMMIT, version).is_ok(), "the producer was not fenced");
    }
}

/// The record that the transaction is complete: the markers are written again, and it once more.
#[test]
fn a_completion_that_cannot_be_written_is_repeated() {
    let world = world(TV2);
    let identity = world.init().expect("initialized");
    world.add(identity, &[0], TV2).expect("added");
    world.partitions.set(0, Some(MarkerOutcome::Retry("not now".to_owned())));
    let next = world.end(identity, COMMIT, TV2).expect("decided");
    world.run_tasks();
    world.partitions.set(0, None);
    world.log.fail_next_append(CoordinatorError::NotEnoughReplicas);
    world.advance(MARKER_RETRY_BACKOFF);
    world.run_tasks();
    assert_eq!(world.partitions.take(), [(0, true, next.1), (0, true, next.1)]);
    assert_eq!(world.state(), "CompleteCommit");
}

#[test]
fn markers_are_not_written_before_the_decision_is_committed() {
    let world = world(TV2);
    let identity = world.init().expect("initialized");
    world.add(identity, &[0], TV2).expect("added");
    world.log.hold_commits();
    let mut ending = world.coordinator.end_transaction("app", identity.0, identity.1, COMMIT, TV2);
    world.run_tasks();
    assert!((&mut ending).now_or_never().is_none());
    assert!(world.partitions.take().is_empty());
    world.log.commit_all();
    world.run_tasks();
    assert_eq!(ending.now_or_never(), Some(Ok((identity.0, 1))));
    assert_eq!(world.partitions.take(), [(0, true, 1)]);
    assert_eq!(world.state(), "CompleteCommit");
}

#[test]
fn a_decision_whose_commit_is_lost_writes_no_marker() {
    let world = world(TV2);
    let identity = world.init().expect("initialized");
    world.add(identity, &[0], TV2).expect("added");
    world.log.hold_commits();
    let ending = world.coordinator.end_transaction("app", identity.0, identity.1, COMMIT, TV2);
    world.log.lose_leadership();
    world.run_tasks();
    assert_eq!(ending.now_or_never(), Some(Err(E::NotCoordinator)));
    assert!(world.partitions.take().is_empty());
}

#[test]
fn deleted_partitions_need_no_marker() {
    let world = world(TV2);
    let identity = world.init().expect("initialized");
    world.add(identity, &[0, 1], TV2).expect("added");
    world.partitions.set(0, Some(MarkerOutcome::Gone));
    world.end(identity, ABORT, TV2).expect("ended");
    assert_eq!(world.partitions.take(), [(1, false, 1)]);
    assert_eq!(world.state(), "CompleteAbort");
}

#[test]
fn a_marker_that_fails_is_tried_again_and_the_others_are_not() {
    let world = world(TV2);
    let identity = world.init().expect("initialized");
    world.add(identity, &[0, 1], TV2).expect("added");
    world.partitions.set(1, Some(MarkerOutcome::Retry("not now".to_owned())));
    let next = world.end(identity, COMMIT, TV2).expect("decided");
    assert_eq!(world.add(next, &[0], TV2), Err(E::ConcurrentTransactions));
    let described = world.described();
    assert_eq!(described.topics[0].partitions, [1], "the markers that are missing");
    for _ in 0..3 {
        world.advance(MARKER_RETRY_BACKOFF);
        assert_eq!(world.state(), "PrepareCommit");
    }
    assert_eq!(world.partitions.take(), [(0, true, 1)]);
    world.partitions.set(1, None);
    world.advance(MARKER_RETRY_BACKOFF);
    assert_eq!(world.partitions.take(), [(1, true, 1)]);
    assert_eq!(world.state(), "CompleteCommit");
    assert_eq!(world.tasks.lock().len(), 1, "the timers' task is left");
}

#[test]
fn a_coordinator_that_is_fenced_gives_up() {
    let world = world(TV2);
    let identity = world.init().expect("initialized");
    world.add(identity, &[0], TV2).expect("added");
    world.partitions.set(0, Some(MarkerOutcome::Fenced("a later coordinator".to_owned())));
    world.end(identity, COMMIT, TV2).expect("decided");
    world.partitions.set(0, None);
    world.advance(MARKER_RETRY_BACKOFF * 10);
    assert!(world.partitions.take().is_empty());
    assert_eq!(world.state(), "PrepareCommit");
}

#[test]
fn time_outs_are_found_by_the_timer_with_used_up_epochs_too() {
    for version in [TV0, TV2] {
        let world = world(version);
        let identity = world.init().expect("initialized");
        world.add(identity, &[0], version).expect("added");
        world.advance(Duration::from_secs(60));
        assert_eq!(world.state(), "Ongoing", "not more than the timeout");
        world.advance(Duration::from_secs(10));
        assert_eq!(world.state(), "CompleteAbort");
        assert_eq!(world.partitions.take(), [(0, false, 1)]);
        assert_eq!(world.end(identity, COMMIT, version), Err(E::ProducerFenced));
    }
    let world = world(TV2);
    let mut identity = world.init().expect("initialized");
    while identity.1 < i16::MAX - 1 {
        identity = world.end(identity, ABORT, TV2).expect("an abort of nothing");
    }
    world.add(identity, &[0], TV2).expect("added");
    world.advance(Duration::from_secs(70));
    assert_eq!(world.partitions.take(), [(0, false, i16::MAX)]);
    let described = world.described();
    assert_eq!((described.transaction_state.as_str(), described.producer_epoch), ("CompleteAbort", 0));
    assert_ne!(*described.producer_id, identity.0);
}

#[test]
fn expired_ids_are_forgotten_for_good() {
    let world = world(TV2);
    let identity = world.init().expect("initialized");
    world.advance(Duration::from_secs(7 * 24 * 60 * 60));
    world.advance(Duration::from_secs(60 * 60));
    assert_eq!(world.described().error_code, E::TransactionalIdNotFound.code());
    assert_eq!(world.add(identity, &[0], TV2), Err(E::InvalidProducerIdMapping));
    let world = world.restart(1);
    assert_eq!(world.end(identity, ABORT, TV2), Err(E::InvalidProducerIdMapping));
}

#[test]
fn requests_are_checked_before_the_transaction() {
    let world = world(TV2);
    let request = |id: &'static str, timeout_ms| {
        InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str(id))))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    let init = |id, timeout_ms| world.now(world.coordinator.init_producer_id(&request(id, timeout_ms), 5)).error_code;
    assert_eq!(init("", 1_000), E::InvalidRequest.code());
    for timeout_ms in [i32::MIN, 0, 900_001, i32::MAX] {
        assert_eq!(init("app", timeout_ms), E::InvalidTransactionTimeout.code());
    }
    assert_eq!(init("app", 900_000), 0);
    let named = partition(0);
    assert_eq!(
        world.now(world.coordinator.add_partitions("", 0, 0, std::slice::from_ref(&named), TV2)),
        Err(E::InvalidRequest)
    );
    let verified = world.now(world.coordinator.verify_partitions("", 0, 0, vec![named.clone()]));
    assert_eq!(verified, [(named, Err(E::InvalidRequest))]);
    assert_eq!(world.now(world.coordinator.end_transaction("", 0, 0, ABORT, TV2)), Err(E::InvalidRequest));
    assert_eq!(world.now(world.coordinator.describe(TransactionalId::default())).error_code, E::InvalidRequest.code());
}

#[test]
fn without_the_partition_it_is_not_the_coordinator() {
    let world = world(TV2);
    let identity = world.init().expect("initialized");
    world.coordinator.on_resigned(0, Some(0));
    assert_eq!(world.init(), Err(E::NotCoordinator));
    assert_eq!(world.add(identity, &[0], TV2), Err(E::NotCoordinator));
    assert_eq!(world.end(identity, ABORT, TV2), Err(E::NotCoordinator));
    assert_eq!(world.described().error_code, E::NotCoordinator.code());
    let verified = world.now(world.coordinator.verify_partitions("app", identity.0, identity.1, vec![partition(0)]));
    assert_eq!(verified, [(partition(0), Err(E::NotCoordinator))]);
    world.coordinator.shutdown();
    assert_eq!(world.described().error_code, E::CoordinatorNotAvailable.code());
    let listed = world.now(world.coordinator.list(&ListTransactionsRequest::default()));
    assert_eq!(listed.error_code, E::CoordinatorNotAvailable.code());
}

#[test]
fn lists_what_passes_the_filters() {
    let world = world(TV2);
    let names = |request: ListTransactionsRequest| {
        let response = world.now(world.coordinator.list(&request));
        assert_eq!(response.error_code, 0);
        let found = response.transaction_states.iter().map(|state| state.transactional_id.to_string());
        (found.collect::<Vec<_>>(), response.unknown_state_filters)
    };
    let all = || ListTransactionsRequest::default().with_duration_filter(-1);
    assert_eq!(names(all()).0, Vec::<String>::new());
    let identity = world.init().expect("initialized");
    assert_eq!(names(all()).0, ["app"]);
    let text = StrBytes::from_static_str;
    assert_eq!(names(all().with_state_filters(vec![text("Ongoing")])).0, Vec::<String>::new());
    assert_eq!(names(all().with_duration_filter(i64::MAX / 2)).0, Vec::<String>::new());
    // Without a transaction it has had one since the beginning of time.
    assert_eq!(names(all().with_duration_filter(1_000)).0, ["app"]);
    world.add(identity, &[0], TV2).expect("added");
    world.clock.advance(Duration::from_millis(1_000));
    assert_eq!(names(all().with_duration_filter(1_000)).0, Vec::<String>::new());
    assert_eq!(names(all().with_duration_filter(999)).0, ["app"]);
    let states = vec![text("Ongoing"), text("Dead"), text("nonsense")];
    assert_eq!(names(all().with_state_filters(states)), (vec!["app".to_owned()], vec![text("nonsense")]));
    assert_eq!(names(all().with_producer_id_filters(vec![ProducerId(identity.0 + 1)])).0, Vec::<String>::new());
    assert_eq!(names(all().with_producer_id_filters(vec![ProducerId(identity.0)])).0, ["app"]);
    assert_eq!(names(all().with_transactional_id_pattern(Some(text("a.*")))).0, ["app"]);
    assert_eq!(names(all().with_transactional_id_pattern(Some(text("a")))).0, Vec::<String>::new());
    assert_eq!(names(all().with_transactional_id_pattern(Some(text("")))).0, ["app"]);
    let refused = world.now(world.coordinator.list(&all().with_transactional_id_pattern(Some(text("(")))));
    assert_eq!(refused.error_code, E::InvalidRegularExpression.code());
}

#[test]
fn old_clients_are_told_what_they_know() {
    let world = world(TV2);
    let identity = world.init().expect("initialized");
    world.init().expect("initialized again");
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str("app"))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(identity.0))
        .with_producer_epoch(identity.1);
    for (version, error) in [(3, E::InvalidProducerEpoch), (4, E::ProducerFenced), (5, E::ProducerFenced)] {
        assert_eq!(world.now(world.coordinator.init_producer_id(&request, version)).error_code, error.code());
    }
}
