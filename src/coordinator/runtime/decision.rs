//! What a state machine is, and what it decides.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use bytes::Bytes;

use crate::coordinator::CoordinatorError;
use crate::types::TransactionResult;

/// Names a parked request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Whose transaction a batch of records belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The producer id.
    pub id: i64,
    /// The producer's epoch.
    pub epoch: i16,
}

/// One record as the log holds it; no value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, with its leading type.
    pub key: Bytes,
    /// The value, with its leading version.
    pub value: Option<Bytes>,
}

/// What follows from a decision besides its response and records; carried out after the records are replayed.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect<S: StateMachine> {
    /// Answers a parked request.
    Answer(Ticket, S::Parked),
    /// Sets a timer, replacing one with the same key.
    Schedule(S::TimerKey, Duration),
    /// Removes a timer, if there.
    Cancel(S::TimerKey),
    /// Hands something to the shard's outlet, once everything decided so far is committed.
    Emit(S::Output),
}

/// What a state machine decides on one request or timer.
#[derive(Debug, PartialEq)]
pub struct Decision<S: StateMachine, R> {
    /// The answer to the request itself.
    pub response: R,
    /// What becomes durable; replayed once appended.
    pub records: Vec<S::Record>,
    /// Timers and answers to parked requests.
    pub effects: Vec<Effect<S>>,
    /// The records may be spread over several batches; otherwise they are appended as one or not at all.
    pub divisible: bool,
    /// Decide once more after the records were replayed; the response is dropped.
    pub again: bool,
}

impl<S: StateMachine, R> Decision<S, R> {
    /// A response and nothing else.
    pub fn respond(response: R) -> Self {
        Self { response, records: Vec::new(), effects: Vec::new(), divisible: false, again: false }
    }

    /// A response once the records are written.
    pub fn write(response: R, records: Vec<S::Record>) -> Self {
        Self { records, ..Self::respond(response) }
    }

    /// The same with effects.
    pub fn with_effects(mut self, effects: Vec<Effect<S>>) -> Self {
        self.effects = effects;
        self
    }
}

/// The state of one shard, and its rules. Knows no clock, no disk and no randomness: time and ids come in as arguments.
pub trait StateMachine: Send + Sized + 'static {
    /// A durable change.
    type Record: Send + Clone + Debug + PartialEq;
    /// Names a timer.
    type TimerKey: Send + Clone + Debug + Eq + Hash + Ord;
    /// An answer to a parked request.
    type Parked: Send + Debug + Clone + PartialEq;
    /// What leaves the shard for other rooms, by [`Effect::Emit`]; `Infallible` for a machine that sends nothing.
    type Output: Send + Debug + Clone + PartialEq;

    /// A record's bytes.
    fn encode(record: &Self::Record) -> Result<KeyValue, CoordinatorError>;

    /// Reads a record; `None` for a type or version that this broker does not know and may skip.
    fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Self::Record>, CoordinatorError>;

    /// Makes a written record part of the state.
    fn replay(&mut self, offset: i64, record: Self::Record);

    /// As `replay`, for a record that a transaction wrote (`Shard::write_transactional`): undecided until the marker of its
    /// producer is replayed. Must take any record of any producer in any order.
    fn replay_transactional(&mut self, offset: i64, _producer_id: i64, record: Self::Record) {
        self.replay(offset, record);
    }

    /// The marker that ends the producer's transaction in this log was written. Must take markers of producers that wrote nothing.
    fn replay_end_transaction_marker(&mut self, _producer_id: i64, _result: TransactionResult) {}

    /// The whole log was replayed: sets the timers.
    fn loaded(&mut self, now_ms: i64) -> Decision<Self, ()>;

    /// A timer fired.
    fn expired(&mut self, key: Self::TimerKey, now_ms: i64) -> Decision<Self, ()>;
}
