//! A shard with a state machine of one number: what the runtime promises to any coordinator.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use kafka_protocol::ResponseError;

use super::*;
use crate::coordinator::runtime::KeyValue;
use crate::coordinator::runtime::memory_log_tests::MemoryLog;
use crate::env::{InlineSpawn, ManualClock};

/// A sum; adding is durable, and a timer adds one.
#[derive(Default)]
struct Sum {
    total: i64,
    waiting: Vec<Ticket>,
}

type SumDecision<R> = Decision<Sum, R>;

impl Sum {
    fn add(&mut self, number: i64) -> SumDecision<i64> {
        let effects = self.waiting.drain(..).map(|ticket| Effect::Answer(ticket, number)).collect();
        Decision::write(self.total + number, vec![number]).with_effects(effects)
    }

    fn wait(&mut self, ticket: Ticket) -> SumDecision<()> {
        self.waiting.push(ticket);
        Decision::respond(())
    }
}

impl StateMachine for Sum {
    type Record = i64;
    type TimerKey = &'static str;
    type Parked = i64;
    type Output = i64;

    fn encode(record: &i64) -> Result<KeyValue, CoordinatorError> {
        let key = Bytes::from_static(b"add");
        Ok(KeyValue { key, value: Some(Bytes::copy_from_slice(&record.to_be_bytes())) })
    }

    fn decode(_key: &Bytes, value: Option<&Bytes>) -> Result<Option<i64>, CoordinatorError> {
        let corrupt = || CoordinatorError::CorruptRecord("not a number".to_owned());
        let value = value.ok_or_else(corrupt)?;
        Ok(Some(i64::from_be_bytes(value[..].try_into().map_err(|_| corrupt())?)))
    }

    fn replay(&mut self, _offset: i64, record: i64) {
        self.total += record;
    }

    fn loaded(&mut self, _now_ms: i64) -> SumDecision<()> {
        Decision::respond(()).with_effects(vec![Effect::Schedule("tick", Duration::from_secs(10))])
    }

    fn expired(&mut self, _key: &'static str, _now_ms: i64) -> SumDecision<()> {
        Decision::write((), vec![1])
    }
}

struct World {
    clock: ManualClock,
    log: Arc<MemoryLog>,
    shard: Arc<Shard<Sum>>,
}

fn world() -> World {
    let clock = ManualClock::new(1_700_000_000_000);
    let log = Arc::new(MemoryLog::default());
    let shard = start(&clock, &log);
    World { clock, log, shard }
}

fn start(clock: &ManualClock, log: &Arc<MemoryLog>) -> Arc<Shard<Sum>> {
    start_with_outlet(clock, log, Arc::new(|_, _| {}))
}

fn start_with_outlet(clock: &ManualClock, log: &Arc<MemoryLog>, outlet: Outlet<Sum>) -> Arc<Shard<Sum>> {
    let env = Env::simulated(clock.clone(), 1);
    Shard::start(env, TopicPartition::new("sums", 0), 0, log.clone(), Sum::default, outlet)
}

fn add(shard: &Arc<Shard<Sum>>, number: i64) -> Result<i64, CoordinatorError> {
    let answered = shard.write(|state, _| state.add(number))?;
    answered.committed().now_or_never().expect("committed at once")
}

fn total(shard: &Arc<Shard<Sum>>) -> Result<i64, CoordinatorError> {
    shard.read(|state| state.total)?.committed().now_or_never().expect("committed at once")
}

#[test]
fn what_was_written_is_there_after_loading() {
    let world = world();
    assert_eq!(add(&world.shard, 2), Ok(2));
    assert_eq!(add(&world.shard, 3), Ok(5));
    assert_eq!(total(&world.shard), Ok(5));
    assert_eq!(total(&start(&world.clock, &world.log)), Ok(5));
}

#[test]
fn an_answer_waits_for_the_commit_of_all_it_is_made_of() {
    let world = world();
    world.log.hold_commits();
    let written = world.shard.write(|state, _| state.add(2)).expect("appended");
    let read = world.shard.read(|state| state.total).expect("serving");
    let (mut written, mut read) = (Box::pin(written.committed()), Box::pin(read.committed()));
    assert_eq!(written.as_mut().now_or_never(), None);
    assert_eq!(read.as_mut().now_or_never(), None, "a read must not show what may still be lost");
    world.log.commit_all();
    assert_eq!(written.now_or_never(), Some(Ok(2)));
    assert_eq!(read.now_or_never(), Some(Ok(2)));
}

#[test]
fn an_answer_whose_commit_fails_is_no_answer() {
    let world = world();
    world.log.hold_commits();
    let written = world.shard.write(|state, _| state.add(2)).expect("appended");
    world.log.lose_leadership();
    assert_eq!(written.committed().now_or_never(), Some(Err(CoordinatorError::NotCoordinator)));
}

#[test]
fn a_parked_request_is_answered_by_another_one() {
    let world = world();
    let waiting = world.shard.park(|state, _, ticket| state.wait(ticket)).expect("serving");
    let mut waiting = Box::pin(waiting.committed());
    assert_eq!(waiting.as_mut().now_or_never(), None);
    add(&world.shard, 7).expect("serving");
    assert_eq!(waiting.now_or_never(), Some(Ok(7)));
}

#[test]
fn a_failed_append_drops_the_state_and_loads_it_again() {
    let world = world();
    add(&world.shard, 2).expect("serving");
    let waiting = world.shard.park(|state, _, ticket| state.wait(ticket)).expect("serving");
    let storage = CoordinatorError::Storage("EIO".to_owned());
    world.log.fail_next_append(storage.clone());
    assert_eq!(add(&world.shard, 3), Err(storage));
    assert_eq!(waiting.committed().now_or_never(), Some(Err(CoordinatorError::NotCoordinator)));
    assert_eq!(total(&world.shard), Ok(2), "memory says what the log says");
}

#[test]
fn lost_leadership_ends_the_shard() {
    let world = world();
    world.log.fail_next_append(CoordinatorError::NotCoordinator);
    assert_eq!(add(&world.shard, 3), Err(CoordinatorError::NotCoordinator));
    assert_eq!(total(&world.shard), Err(CoordinatorError::NotCoordinator));
}

#[test]
fn records_that_do_not_fit_change_nothing() {
    let world = world();
    world.log.set_max_batch_bytes(100);
    let too_much = world.shard.write(|_, _| Decision::<Sum, ()>::write((), vec![1; 50]));
    assert!(matches!(too_much, Err(CoordinatorError::RecordsTooLarge { limit: 100, .. })));
    assert_eq!(total(&world.shard), Ok(0));
    // What may be divided is.
    let divided = world.shard.write(|_, _| Decision::<Sum, ()> { divisible: true, ..Decision::write((), vec![1; 50]) });
    assert!(divided.is_ok());
    assert_eq!(total(&world.shard), Ok(50));
    assert!(world.log.batches() > 10);
    assert_eq!(total(&start(&world.clock, &world.log)), Ok(50));
}

#[test]
fn a_timer_whose_records_do_not_fit_fires_again() {
    let world = world();
    world.log.set_max_batch_bytes(10);
    world.clock.advance(Duration::from_secs(10));
    world.shard.run_due_timers();
    assert_eq!(total(&world.shard), Ok(0));
    world.log.set_max_batch_bytes(1_000);
    world.shard.run_due_timers();
    assert_eq!(total(&world.shard), Ok(0), "not at once");
    world.clock.advance(TIMER_RETRY_BACKOFF);
    world.shard.run_due_timers();
    assert_eq!(total(&world.shard), Ok(1));
}

/// KAFKA-6683: what a failed write left in the log is not what memory says. Here the second of several batches fails.
#[test]
fn kafka_6683_a_write_that_fails_half_way_is_read_from_the_log_again() {
    for failure in
        [CoordinatorError::Storage("ENOSPC".to_owned()), CoordinatorError::Refused(ResponseError::InvalidTxnState)]
    {
        let world = world();
        world.log.set_max_batch_bytes(100);
        world.log.fail_append_after(2, failure);
        let decision = || Decision::<Sum, ()> { divisible: true, ..Decision::write((), vec![1; 50]) };
        assert!(world.shard.write(|_, _| decision()).is_err());
        let in_the_log = total(&start(&world.clock, &world.log));
        assert!(in_the_log.as_ref().is_ok_and(|total| (1..50).contains(total)), "two batches are there");
        assert_eq!(total(&world.shard), in_the_log);
    }
}

#[test]
fn what_the_log_refuses_changes_nothing() {
    let world = world();
    let waiting = world.shard.park(|state, _, ticket| state.wait(ticket)).expect("serving");
    let refused = CoordinatorError::Refused(ResponseError::InvalidProducerEpoch);
    world.log.fail_next_append(refused.clone());
    let producer = Producer { id: 7, epoch: 0 };
    let written =
        world.shard.write_transactional(producer, VerificationGuard::NONE, |_, _| Decision::write((), vec![3]));
    assert_eq!(written.map(|_| ()), Err(refused));
    add(&world.shard, 1).expect("serving");
    assert_eq!(waiting.committed().now_or_never(), Some(Ok(1)), "who waited waits on");
}

#[test]
fn a_panic_leaves_nothing_half_done_behind() {
    let world = world();
    add(&world.shard, 2).expect("serving");
    let shard = world.shard.clone();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = shard.write(|state: &mut Sum, _| -> SumDecision<()> {
            state.total = 99;
            panic!("half way")
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(total(&world.shard), Err(CoordinatorError::LoadInProgress));
    assert_eq!(total(&world.shard), Ok(2));
}

#[test]
fn closing_tells_who_waits() {
    let world = world();
    let waiting = world.shard.park(|state, _, ticket| state.wait(ticket)).expect("serving");
    world.shard.close();
    assert_eq!(waiting.committed().now_or_never(), Some(Err(CoordinatorError::NotCoordinator)));
    assert_eq!(total(&world.shard), Err(CoordinatorError::NotCoordinator));
}

#[test]
fn a_log_that_cannot_be_read_has_no_coordinator() {
    let clock = ManualClock::new(0);
    let log = Arc::new(MemoryLog::default());
    add(&start(&clock, &log), 1).expect("serving");
    log.damage();
    assert_eq!(total(&start(&clock, &log)), Err(CoordinatorError::NotCoordinator));
}

#[test]
fn timers_run_when_they_are_due() {
    let world = world();
    world.clock.advance(Duration::from_millis(9_999));
    world.shard.run_due_timers();
    assert_eq!(total(&world.shard), Ok(0));
    world.clock.advance(Duration::from_millis(1));
    world.shard.run_due_timers();
    assert_eq!(total(&world.shard), Ok(1));
}

#[test]
fn the_timer_task_sleeps_until_the_earliest_timer_and_ends_with_the_shard() {
    let clock = ManualClock::new(0);
    let log = Arc::new(MemoryLog::default());
    let inline = crate::env::InlineSpawn::default();
    let env = Env { spawn: Arc::new(inline.clone()), ..Env::simulated(clock.clone(), 1) };
    let shard = Shard::start(env, TopicPartition::new("sums", 0), 0, log, Sum::default, Arc::new(|_, _| {}));
    let (_, mut task) = inline.take().into_iter().next().expect("the timer task");
    assert!(task.as_mut().now_or_never().is_none());
    let has_moved = AtomicBool::new(false);
    shard
        .write(|_, _| {
            has_moved.store(true, Ordering::Relaxed);
            Decision::<Sum, ()>::respond(()).with_effects(vec![Effect::Schedule("soon", Duration::from_secs(1))])
        })
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(has_moved.load(Ordering::Relaxed));
    assert!(task.as_mut().now_or_never().is_none());
    clock.advance(Duration::from_secs(1));
    assert!(task.as_mut().now_or_never().is_none());
    assert_eq!(total(&shard), Ok(1), "the earlier timer woke the task");
    shard.close();
    assert!(task.as_mut().now_or_never().is_some());
}

/// Adds, and emits what was added; the outlet adds a hundred to it once.
fn emit(shard: &Arc<Shard<Sum>>, number: i64) -> Answered<i64> {
    let decide = |state: &mut Sum, _| {
        let decision = state.add(number);
        Decision { effects: vec![Effect::Emit(number)], ..decision }
    };
    shard.write(decide).expect("appended")
}

fn adding_outlet() -> Outlet<Sum> {
    Arc::new(|shard, number| {
        add(shard, number + 100).expect("the lock is free");
    })
}

#[test]
fn an_output_of_what_is_committed_at_once_has_left_when_the_write_returns() {
    let World { clock, log, .. } = world();
    let shard = start_with_outlet(&clock, &log, adding_outlet());
    let _answer = emit(&shard, 1);
    assert_eq!(total(&shard), Ok(102));
}

#[test]
fn an_output_waits_for_the_commit() {
    let World { clock, log, .. } = world();
    let spawn = InlineSpawn::default();
    let env = Env { spawn: Arc::new(spawn.clone()), ..Env::simulated(clock, 1) };
    let shard = Shard::start(env, TopicPartition::new("sums", 0), 0, log.clone(), Sum::default, adding_outlet());
    log.hold_commits();
    let _answer = emit(&shard, 1);
    let mut tasks = spawn.take().into_iter().filter(|(name, _)| *name == "coordinator-outlet");
    let (_, mut task) = tasks.next().expect("the output waits in a task");
    assert_eq!(task.as_mut().now_or_never(), None, "what may be lost must not be acted upon");
    log.commit_all();
    assert_eq!(task.now_or_never(), Some(()));
    assert_eq!(total(&shard), Ok(102));
}
