//! One shard: a state machine, its log, its timers and the requests that wait.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::decision::{Decision, Effect, Producer, StateMachine, Ticket};
use super::log::CoordinatorLog;
use super::timer::Timers;
use super::{batch, loader};
use crate::coordinator::CoordinatorError;
use crate::env::{BoxFuture, Env};
use crate::mutant;
use crate::types::{EndTransactionMarker, TopicPartition, VerificationGuard};

/// An answer that may leave once everything that it was computed from is committed.
pub struct Answered<R> {
    response: R,
    commit: Option<BoxFuture<'static, bool>>,
}

impl<R> Answered<R> {
    /// The answer, for who decides nothing by it that must hold.
    pub fn uncommitted(&self) -> &R {
        &self.response
    }

    /// As `uncommitted`, without the way to wait.
    pub fn into_uncommitted(self) -> R {
        self.response
    }

    /// Waits for the commit. `NotCoordinator` when leadership went first: then nobody knows what became of the write.
    pub async fn committed(self) -> Result<R, CoordinatorError> {
        let is_committed = match self.commit {
            None => true,
            Some(commit) => commit.await,
        };
        if is_committed { Ok(self.response) } else { Err(CoordinatorError::NotCoordinator) }
    }
}

/// Waits for the commit of an answer, if there is one.
pub async fn committed<R>(answered: Result<Answered<R>, CoordinatorError>) -> Result<R, CoordinatorError> {
    answered?.committed().await
}

/// The answer to a parked request, when it comes.
pub struct Waiting<P> {
    receiver: oneshot::Receiver<Result<Answered<P>, CoordinatorError>>,
}

impl<P> Waiting<P> {
    /// Waits for the answer and its commit.
    pub async fn committed(self) -> Result<P, CoordinatorError> {
        match self.receiver.await {
            Ok(answer) => answer?.committed().await,
            // The shard was given up with everything that waited in it.
            Err(_) => Err(CoordinatorError::NotCoordinator),
        }
    }
}

/// How long after a failure that left the state as it was a timer fires again.
const TIMER_RETRY_BACKOFF: Duration = Duration::from_secs(10);

type Sender<P> = oneshot::Sender<Result<Answered<P>, CoordinatorError>>;
/// Takes what a shard emits. Called without the shard's lock, on the thread of the decision if its records are committed at once,
/// so that what follows from a request has happened when its answer leaves.
pub type Outlet<S> = Arc<dyn Fn(&Arc<Shard<S>>, <S as StateMachine>::Output) + Send + Sync>;

type Delivery<P> = (Sender<P>, Answered<P>);

/// What to hand over when the lock is released.
struct Deliveries<S: StateMachine> {
    answers: Vec<Delivery<S::Parked>>,
    outputs: Vec<Answered<S::Output>>,
}

struct Active<S: StateMachine> {
    state: S,
    timers: Timers<S::TimerKey>,
    parked: HashMap<Ticket, Sender<S::Parked>>,
    next_ticket: u64,
    /// The offset after the last record that the state contains.
    last_written: i64,
    /// When the timer task will wake up.
    armed: Option<Duration>,
}

enum Phase<S: StateMachine> {
    /// The log is being read.
    Loading,
    /// Serving.
    Active(Box<Active<S>>),
    /// The log could not be read, or leadership went.
    Failed,
    /// A decision panicked: what it left behind is not served, but loaded anew.
    Poisoned,
    /// Resigned for good.
    Closed,
}

/// A shard, from one election to the resignation that ends it.
pub struct Shard<S: StateMachine> {
    env: Env,
    partition: TopicPartition,
    leader_epoch: i32,
    log: Arc<dyn CoordinatorLog>,
    empty: Box<dyn Fn() -> S + Send + Sync>,
    outlet: Outlet<S>,
    phase: Mutex<Phase<S>>,
    timer_moved: Arc<Notify>,
}

impl<S: StateMachine> Shard<S> {
    /// Starts to load the shard, in the background if there is anything to load, and its timers. `empty` makes the state
    /// before the first record, `outlet` takes what the state machine emits.
    pub fn start(
        env: Env,
        partition: TopicPartition,
        leader_epoch: i32,
        log: Arc<dyn CoordinatorLog>,
        empty: impl Fn() -> S + Send + Sync + 'static,
        outlet: Outlet<S>,
    ) -> Arc<Self> {
        let shard = Arc::new(Self {
            env,
            partition,
            leader_epoch,
            log,
            empty: Box::new(empty),
            outlet,
            phase: Mutex::new(Phase::Loading),
            timer_moved: Arc::default(),
        });
        let task = run_timers(Arc::downgrade(&shard), shard.env.clone(), shard.timer_moved.clone());
        shard.env.spawn.spawn("coordinator-timers", Box::pin(task));
        if shard.log.end_offset() == shard.log.start_offset() {
            // Nothing to read: clients that have just had the topic made need not be told to wait.
            shard.load();
        } else {
            shard.load_in_background();
        }
        shard
    }

    /// The leader epoch of the election that made this shard.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// The largest batch of its log, bytes.
    pub fn max_batch_bytes(&self) -> usize {
        self.log.max_batch_bytes()
    }

    /// Gives the shard up: whoever waits is told NOT_COORDINATOR.
    pub fn close(&self) {
        let previous = std::mem::replace(&mut *self.phase.lock(), Phase::Closed);
        drop(previous);
        self.timer_moved.notify_one();
    }

    /// Decides, appends, replays. What `decide` is given is the state and the time in milliseconds since the epoch.
    pub fn write<R>(
        self: &Arc<Self>,
        mut decide: impl FnMut(&mut S, i64) -> Decision<S, R>,
    ) -> Result<Answered<R>, CoordinatorError> {
        self.with_active(|shard, active, deliveries| {
            let response = shard.commit(active, deliveries, &mut decide)?;
            Ok(shard.answer(active, response))
        })
    }

    /// As `write`; the records are those of the producer's transaction, and the guard is that of its verification.
    pub fn write_transactional<R>(
        self: &Arc<Self>,
        producer: Producer,
        guard: VerificationGuard,
        decide: impl FnOnce(&mut S, i64) -> Decision<S, R>,
    ) -> Result<Answered<R>, CoordinatorError> {
        self.with_active(|shard, active, deliveries| {
            let now_ms = shard.env.clock.wall_millis();
            let decision = decide(&mut active.state, now_ms);
            shard.append(active, decision.records, Some((producer, guard)), decision.divisible, now_ms)?;
            for effect in decision.effects {
                shard.carry_out(active, deliveries, effect);
            }
            shard.arm(active);
            Ok(shard.answer(active, decision.response))
        })
    }

    /// Writes the marker that ends a producer's transaction in this shard's log, and replays it.
    pub fn complete_transaction(
        self: &Arc<Self>,
        marker: &EndTransactionMarker,
    ) -> Result<Answered<()>, CoordinatorError> {
        self.with_active(|shard, active, _| {
            active.last_written = shard.log.append_end_transaction_marker(marker)?;
            active.state.replay_end_transaction_marker(marker.producer_id, marker.result);
            Ok(shard.answer(active, ()))
        })
    }

    /// The guard that the next batch of the producer's transaction must bring; asks the log, not the state.
    pub fn start_transaction_verification(
        &self,
        producer: Producer,
        supports_epoch_bump: bool,
    ) -> Result<VerificationGuard, CoordinatorError> {
        self.log.start_transaction_verification(producer, supports_epoch_bump)
    }

    /// As `write`, for a request whose answer comes as `Effect::Answer` to the ticket, now or later.
    pub fn park(
        self: &Arc<Self>,
        mut decide: impl FnMut(&mut S, i64, Ticket) -> Decision<S, ()>,
    ) -> Result<Waiting<S::Parked>, CoordinatorError> {
        self.with_active(|shard, active, deliveries| {
            let (sender, receiver) = oneshot::channel();
            let ticket = Ticket(active.next_ticket);
            active.next_ticket += 1;
            active.parked.insert(ticket, sender);
            let result = shard.commit(active, deliveries, &mut |state: &mut S, now| decide(state, now, ticket));
            if let Err(error) = result {
                active.parked.remove(&ticket);
                return Err(error);
            }
            Ok(Waiting { receiver })
        })
    }

    /// Reads. The answer waits until all that was read is committed.
    pub fn read<R>(self: &Arc<Self>, read: impl FnOnce(&S) -> R) -> Result<Answered<R>, CoordinatorError> {
        self.with_active(|shard, active, _| {
            let response = read(&active.state);
            Ok(shard.answer(active, response))
        })
    }

    /// Runs every timer that is due.
    pub fn run_due_timers(self: &Arc<Self>) {
        let now = self.env.clock.monotonic();
        loop {
            let more = self.with_active(|shard, active, deliveries| {
                let Some(key) = active.timers.pop_due(now) else { return Ok(false) };
                let decided =
                    shard.commit(active, deliveries, &mut |state: &mut S, now_ms| state.expired(key.clone(), now_ms));
                if let Err(error @ CoordinatorError::RecordsTooLarge { .. }) = &decided {
                    // The state stays, and so must its timer, or nothing would ever time out again.
                    tracing::error!(partition = %shard.partition, %error, ?key, "a timer could not write its records");
                    active.timers.schedule(key, now + TIMER_RETRY_BACKOFF);
                    return Ok(true);
                }
                decided.map(|()| true)
            });
            match more {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(partition = %self.partition, %error, "timers stopped");
                    return;
                }
            }
        }
    }

    /// Lends the active state out. It is put back only when the work is done and the log has everything; otherwise it
    /// is dropped (with its parked requests) and loaded again.
    fn with_active<R>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &mut Active<S>, &mut Deliveries<S>) -> Result<R, CoordinatorError>,
    ) -> Result<R, CoordinatorError> {
        let mut deliveries = Deliveries { answers: Vec::new(), outputs: Vec::new() };
        let (result, dropped) = {
            let mut phase = self.phase.lock();
            let mut active = match std::mem::replace(&mut *phase, Phase::Poisoned) {
                Phase::Active(active) => active,
                Phase::Poisoned => {
                    *phase = Phase::Loading;
                    drop(phase);
                    self.load_in_background();
                    return Err(CoordinatorError::LoadInProgress);
                }
                other => {
                    let error = match &other {
                        Phase::Loading => CoordinatorError::LoadInProgress,
                        _ => CoordinatorError::NotCoordinator,
                    };
                    *phase = other;
                    return Err(error);
                }
            };
            let result = work(self, &mut active, &mut deliveries);
            match &result {
                // Nothing of it reached the log, and nothing that matters was changed (see `Decision`).
                Ok(_) | Err(CoordinatorError::RecordsTooLarge { .. } | CoordinatorError::Refused(_)) => {
                    *phase = Phase::Active(active);
                    (result, None)
                }
                Err(CoordinatorError::NotCoordinator) => {
                    *phase = Phase::Failed;
                    (result, Some((active, false)))
                }
                Err(_) => {
                    *phase = Phase::Loading;
                    (result, Some((active, true)))
                }
            }
        };
        for output in deliveries.outputs {
            self.emit(output);
        }
        for (sender, answer) in deliveries.answers {
            // Who no longer waits needs no answer.
            let _ = sender.send(Ok(answer));
        }
        if let Some((active, reload)) = dropped {
            tracing::warn!(partition = %self.partition, reload, "the coordinator's append failed, dropping its state");
            drop(active);
            if reload {
                self.load_in_background();
            }
        }
        result
    }

    fn commit<R>(
        &self,
        active: &mut Active<S>,
        deliveries: &mut Deliveries<S>,
        decide: &mut dyn FnMut(&mut S, i64) -> Decision<S, R>,
    ) -> Result<R, CoordinatorError> {
        loop {
            let now_ms = self.env.clock.wall_millis();
            let decision = decide(&mut active.state, now_ms);
            self.append(active, decision.records, None, decision.divisible, now_ms)?;
            for effect in decision.effects {
                self.carry_out(active, deliveries, effect);
            }
            self.arm(active);
            if !decision.again {
                return Ok(decision.response);
            }
        }
    }

    fn append(
        &self,
        active: &mut Active<S>,
        written: Vec<S::Record>,
        transaction: Option<(Producer, VerificationGuard)>,
        divisible: bool,
        now_ms: i64,
    ) -> Result<(), CoordinatorError> {
        if written.is_empty() {
            return Ok(());
        }
        let (producer, guard) =
            transaction.map_or((None, VerificationGuard::NONE), |(producer, guard)| (Some(producer), guard));
        let batches = batch::encode::<S>(&written, producer, divisible, self.log.max_batch_bytes(), now_ms)?;
        for (index, batch) in batches.into_iter().enumerate() {
            active.last_written = self.log.append(batch, guard).map_err(|error| match error {
                // The batches before it are in the log: the state must be read from there again (KAFKA-6683).
                CoordinatorError::RecordsTooLarge { .. } | CoordinatorError::Refused(_) if index > 0 => {
                    CoordinatorError::Unexpected(error.to_string())
                }
                error => error,
            })?;
        }
        // The last batch ends at `last_written`, and nobody else writes to this log.
        let first = active.last_written - written.len() as i64;
        for (offset, record) in (first..).zip(written) {
            match producer {
                None => active.state.replay(offset, record),
                Some(producer) => active.state.replay_transactional(offset, producer.id, record),
            }
        }
        Ok(())
    }

    fn carry_out(&self, active: &mut Active<S>, deliveries: &mut Deliveries<S>, effect: Effect<S>) {
        match effect {
            Effect::Answer(ticket, response) => {
                if let Some(sender) = active.parked.remove(&ticket) {
                    let answer = self.answer(active, response);
                    deliveries.answers.push((sender, answer));
                }
            }
            Effect::Schedule(key, delay) => active.timers.schedule(key, self.env.clock.monotonic() + delay),
            Effect::Cancel(key) => {
                active.timers.cancel(&key);
            }
            Effect::Emit(output) => {
                let output = self.answer(active, output);
                deliveries.outputs.push(output);
            }
        }
    }

    /// Gives an output to the outlet when what it follows from is committed; never, when leadership goes first.
    fn emit(self: &Arc<Self>, output: Answered<S::Output>) {
        let Answered { response, commit: Some(commit) } = output else {
            return (self.outlet)(self, output.response);
        };
        let shard = self.clone();
        let task = async move {
            if commit.await {
                (shard.outlet)(&shard, response);
            }
        };
        self.env.spawn.spawn("coordinator-outlet", Box::pin(task));
    }

    fn answer<R>(&self, active: &Active<S>, response: R) -> Answered<R> {
        let offset = active.last_written;
        let is_committed = self.log.is_committed(offset) || mutant::is_active("answered-before-the-commit");
        Answered { response, commit: (!is_committed).then(|| self.log.wait_committed(offset)) }
    }

    /// Wakes the timer task when it would sleep too long.
    fn arm(&self, active: &mut Active<S>) {
        let Some(next) = active.timers.next_deadline() else { return };
        if active.armed.is_none_or(|armed| next < armed) {
            active.armed = Some(next);
            self.timer_moved.notify_one();
        }
    }

    fn load_in_background(self: &Arc<Self>) {
        let shard = self.clone();
        self.env.spawn.spawn_blocking("coordinator-load", Box::new(move || shard.load()));
    }

    fn load(self: &Arc<Self>) {
        let mut state = (self.empty)();
        let loaded = loader::load(&*self.log, &mut state);
        let mut phase = self.phase.lock();
        if !matches!(*phase, Phase::Loading) {
            return;
        }
        let last_written = match loaded {
            Ok(end) => end,
            Err(error) => {
                tracing::error!(partition = %self.partition, %error, "cannot load the coordinator");
                *phase = Phase::Failed;
                return;
            }
        };
        let active = Active {
            state,
            timers: Timers::default(),
            parked: HashMap::new(),
            next_ticket: 0,
            last_written,
            armed: None,
        };
        *phase = Phase::Active(Box::new(active));
        drop(phase);
        let started = self.with_active(|shard, active, deliveries| {
            shard.commit(active, deliveries, &mut |state: &mut S, now_ms| state.loaded(now_ms))
        });
        match started {
            Ok(()) => tracing::debug!(partition = %self.partition, offset = last_written, "loaded the coordinator"),
            Err(error) => tracing::error!(partition = %self.partition, %error, "cannot start the coordinator"),
        }
    }

    /// The next deadline, noted as the one that the timer task sleeps for; `Err` when the shard is closed.
    fn next_deadline(&self) -> Result<Option<Duration>, ()> {
        match &mut *self.phase.lock() {
            Phase::Closed => Err(()),
            Phase::Active(active) => {
                active.armed = active.timers.next_deadline();
                Ok(active.armed)
            }
            _ => Ok(None),
        }
    }
}

/// Sleeps until the earliest timer, runs it, and again, while the shard lives.
async fn run_timers<S: StateMachine>(shard: Weak<Shard<S>>, env: Env, moved: Arc<Notify>) {
    loop {
        let deadline = match shard.upgrade() {
            Some(shard) => {
                shard.run_due_timers();
                shard.next_deadline()
            }
            None => return,
        };
        match deadline {
            Err(()) => return,
            Ok(None) => moved.notified().await,
            Ok(Some(deadline)) => {
                tokio::select! {
                    () = env.clock.sleep_until(deadline) => {}
                    () = moved.notified() => {}
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
