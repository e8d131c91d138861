//! Any requests in any order, time-outs, markers late or twice, appends that fail and restarts, against a reference that
//! knows identities where the coordinator counts epochs. After every step: the state is the fold of the log, and every
//! transition is legal.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError as E;
use proptest::prelude::*;

use super::end::NO_IDENTITY;
use super::harness_tests::{ID, PRODUCER_ID, START_MS, apply, metadata, partition, record, shard};
use super::metadata::{Attempt, Initialization, TransactionMetadata};
use super::record::{self as records, TransactionRecord, TransactionValue};
use super::shard::{
    AttemptDecision, MarkerWork, Outcome, ProducerIdentity, ProducerRequest, TransactionOutput, TransactionShard,
    TransactionTimer,
};
use super::state::TransactionState as S;
use crate::coordinator::runtime::{Decision, Effect, KeyValue, StateMachine};
use crate::types::{TopicPartition, TransactionResult, TransactionVersion};

const TIMEOUT_MS: i32 = 60_000;

#[derive(Clone, Debug)]
enum Step {
    /// InitProducerId, with one of the identities that were ever given, or none.
    Init(Option<usize>),
    Add(usize, Vec<i32>),
    Verify(usize, i32),
    End(usize, bool),
    /// Markers of one of the works that were ever asked for; of so many of its partitions.
    Markers(usize, usize),
    /// Time goes by, and the coordinator looks for what has timed out.
    Wait(i64),
    /// The append of the next request fails.
    Fail(Box<Step>),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // High numbers are recent ones: most requests come from the producer that is there.
    let who = prop_oneof![4 => Just(0usize), 2 => Just(1), 1 => 2..40usize];
    let simple = prop_oneof![
        1 => prop::option::of(who.clone()).prop_map(Step::Init),
        4 => (who.clone(), prop::collection::vec(0..4i32, 0..3)).prop_map(|(who, added)| Step::Add(who, added)),
        1 => (who.clone(), 0..4i32).prop_map(|(who, asked)| Step::Verify(who, asked)),
        4 => (who, any::<bool>()).prop_map(|(who, commit)| Step::End(who, commit)),
        5 => (prop_oneof![3 => Just(0usize), 1 => 0..10usize], 0..5usize).prop_map(|(work, count)| Step::Markers(work, count)),
        1 => (0..100_000i64).prop_map(Step::Wait),
    ];
    let step = prop_oneof![
        12 => simple.clone(),
        1 => simple.prop_map(|step| Step::Fail(Box::new(step))),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

/// What ought to be, in terms of who did what.
#[derive(Clone, Debug)]
struct Reference {
    current: ProducerIdentity,
    /// Who may repeat the request that made `current`.
    previous: Option<ProducerIdentity>,
    open: Option<BTreeSet<TopicPartition>>,
    open_since: i64,
    /// Decided; and who goes on when it is complete.
    decided: Option<(TransactionResult, BTreeSet<TopicPartition>, ProducerIdentity)>,
    /// The last end of a transaction, unless InitProducerId came since: whose it was, by whom, how.
    ended: Option<(ProducerIdentity, TransactionResult)>,
}

struct Run {
    version: TransactionVersion,
    shard: TransactionShard,
    log: Vec<KeyValue>,
    reference: Reference,
    identities: Vec<ProducerIdentity>,
    works: Vec<MarkerWork>,
    next_id: i64,
    now_ms: i64,
    fails: bool,
}

fn successor((id, epoch): ProducerIdentity, new_id: i64) -> ProducerIdentity {
    if epoch >= i16::MAX - 1 { (new_id, 0) } else { (id, epoch + 1) }
}

impl Run {
    fn new(version: TransactionVersion, epoch: i16) -> Self {
        let mut run = Self {
            version,
            shard: shard(version),
            log: Vec::new(),
            reference: Reference {
                current: (PRODUCER_ID, epoch),
                previous: None,
                open: None,
                open_since: -1,
                decided: None,
                ended: None,
            },
            identities: vec![(PRODUCER_ID + 1, 3), (PRODUCER_ID, epoch)],
            works: Vec::new(),
            next_id: 10_000,
            now_ms: START_MS,
            fails: false,
        };
        let first = TransactionMetadata { timeout_ms: TIMEOUT_MS, ..metadata(S::Empty, epoch) };
        let mut first = record(first);
        if let Some(value) = &mut first.value {
            value.value_version = i16::from(version.uses_flexible_records());
        }
        run.carry_out(Decision::write((), vec![first]));
        run
    }

    /// From the most recent one back.
    fn identity(&self, back: usize) -> ProducerIdentity {
        self.identities[self.identities.len() - 1 - back % self.identities.len()]
    }

    /// Appends and replays as the runtime does; when the append fails the state is read from the log. `None` then.
    fn carry_out<R>(&mut self, decision: Decision<TransactionShard, R>) -> Option<R> {
        if self.fails && !decision.records.is_empty() {
            self.fails = false;
            self.restart();
            return None;
        }
        self.log.extend(decision.records.iter().map(|record| records::encode(record).expect("encodes")));
        let timed_out = decision.effects.iter().find_map(|effect| match effect {
            Effect::Emit(TransactionOutput::AbortTimedOut { producer, .. }) => Some(*producer),
            _ => None,
        });
        let (response, work) = apply(&mut self.shard, decision);
        self.works.extend(work);
        if let Some(producer) = timed_out {
            self.next_id += 1;
            let aborted = self.shard.abort_timed_out(ID, producer, Some(self.next_id), self.now_ms);
            self.carry_out(aborted)?;
        }
        self.check_fold();
        Some(response)
    }

    fn attempt<T>(
        &mut self,
        decide: impl Fn(&mut TransactionShard, Option<i64>, i64) -> AttemptDecision<T>,
    ) -> Option<Outcome<T>> {
        let first = decide(&mut self.shard, None, self.now_ms);
        match self.carry_out(first)? {
            Attempt::Done(outcome) => Some(outcome),
            Attempt::NeedsProducerId => {
                self.next_id += 1;
                let second = decide(&mut self.shard, Some(self.next_id), self.now_ms);
                match self.carry_out(second)? {
                    Attempt::Done(outcome) => Some(outcome),
                    Attempt::NeedsProducerId => panic!("has one"),
                }
            }
        }
    }

    fn fold(&self) -> TransactionShard {
        let mut loaded = shard(self.version);
        for KeyValue { key, value } in &self.log {
            let record = records::decode(key, value.as_ref()).expect("decodes").expect("known");
            loaded.replay(0, record);
        }
        loaded
    }

    /// The state is what the log says, but for what no version of the record has.
    fn check_fold(&self) {
        let logged = self.fold().transaction(ID).expect("there").clone();
        let live = self.shard.transaction(ID).expect("there").clone();
        let value_version = i16::from(self.version.uses_flexible_records());
        let value = TransactionValue { metadata: live, value_version, completion: 0 };
        let KeyValue { key, value } =
            records::encode(&TransactionRecord { transactional_id: Arc::from(ID), value: Some(value) })
                .expect("encodes");
        let live = records::decode(&key, value.as_ref()).expect("decodes").expect("known").value.expect("a value");
        assert_eq!(live.metadata, logged);
    }

    fn restart(&mut self) {
        self.shard = self.fold();
        // Not in the log: who may repeat InitProducerId, and in value v0 who had the id before.
        self.reference.previous = None;
        let loaded = self.shard.loaded(self.now_ms);
        self.carry_out(loaded);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Init(who) => self.init(who.map(|back| self.identity(back))),
            Step::Add(who, added) => self.add(self.identity(*who), added),
            Step::Verify(who, asked) => self.verify(self.identity(*who), *asked),
            Step::End(who, commit) => self.end(self.identity(*who), TransactionResult::from_committed(*commit)),
            Step::Markers(work, count) => self.markers(*work, *count),
            Step::Wait(milliseconds) => self.wait(*milliseconds),
            Step::Fail(step) => {
                self.fails = true;
                self.step(step);
                self.fails = false;
            }
            Step::Restart => self.restart(),
        }
        self.check_reference();
    }

    fn init(&mut self, expected: Option<ProducerIdentity>) {
        let request = Initialization { timeout_ms: TIMEOUT_MS, expected };
        let before = self.reference.clone();
        let Some(outcome) = self.attempt(|shard, new_id, now| shard.init_producer_id(ID, &request, new_id, now)) else {
            return;
        };
        let reference = &mut self.reference;
        let is_own = |who: ProducerIdentity| who.0 == before.current.0 || Some(who) == before.previous;
        if before.decided.is_some() {
            return assert_eq!(outcome, Err(E::ConcurrentTransactions));
        }
        if before.open.is_some() {
            if expected.is_some_and(|who| who.0 != before.current.0) {
                return assert_eq!(outcome, Err(E::ProducerFenced));
            }
            assert_eq!(outcome, Err(E::ConcurrentTransactions));
            return self.coordinator_aborts();
        }
        match expected {
            Some(who) if !is_own(who) => assert_eq!(outcome, Err(E::ProducerFenced)),
            Some(who) if who != before.current && Some(who) != before.previous => {
                assert_eq!(outcome, Err(E::ProducerFenced));
            }
            Some(who) if who != before.current => {
                assert_eq!(outcome, Ok(before.current));
                reference.ended = None;
            }
            _ => {
                reference.current = successor(before.current, self.next_id);
                reference.previous = expected;
                reference.ended = None;
                assert_eq!(outcome, Ok(reference.current));
                self.identities.push(reference.current);
            }
        }
    }

    /// The coordinator ends the open transaction, by the cluster's version.
    fn coordinator_aborts(&mut self) {
        let reference = &mut self.reference;
        let open = reference.open.take().expect("open");
        let fenced = reference.current;
        let bumps = self.version.supports_epoch_bump();
        // Before transaction.version 2 the identity of the fencing may be the one that nobody is given.
        let next = if bumps { successor(fenced, self.next_id) } else { (fenced.0, fenced.1.saturating_add(1)) };
        reference.previous = bumps.then_some(fenced);
        reference.decided = Some((TransactionResult::Abort, open, next));
        reference.ended = Some((fenced, TransactionResult::Abort));
        self.identities.push(next);
    }

    fn check_identity(&self, (id, epoch): ProducerIdentity) -> Result<(), E> {
        let current = self.reference.current;
        if id != current.0 {
            return Err(E::InvalidProducerIdMapping);
        }
        if epoch != current.1 { Err(E::ProducerFenced) } else { Ok(()) }
    }

    fn add(&mut self, who: ProducerIdentity, added: &[i32]) {
        let request = ProducerRequest { transactional_id: ID, producer_id: who.0, producer_epoch: who.1 };
        let added: Vec<_> = added.iter().copied().map(partition).collect();
        let expected = match self.reference.decided {
            Some(_) => Err(E::ConcurrentTransactions),
            None => self.check_identity(who),
        };
        let decision = self.shard.add_partitions(request, &added, self.version, self.now_ms);
        let Some(outcome) = self.carry_out(decision) else { return };
        assert_eq!(outcome, expected);
        if outcome.is_ok() {
            let now_ms = self.now_ms;
            let reference = &mut self.reference;
            if reference.open.is_none() {
                reference.open_since = now_ms;
            }
            reference.open.get_or_insert_default().extend(added);
            // A producer that has written as the one it is now repeats nothing.
            reference.previous = reference.previous.filter(|previous| previous.0 == reference.current.0);
        }
    }

    fn verify(&mut self, who: ProducerIdentity, asked: i32) {
        let request = ProducerRequest { transactional_id: ID, producer_id: who.0, producer_epoch: who.1 };
        let asked = partition(asked);
        let outcome = self.shard.verify_partitions(request, std::slice::from_ref(&asked));
        if self.reference.decided.is_some() {
            // The identity of a decided transaction is not the reference's business.
            return assert!(outcome.is_err());
        }
        let is_in = self.reference.open.as_ref().is_some_and(|open| open.contains(&asked));
        let expected = if is_in { Ok(()) } else { Err(E::TransactionAbortable) };
        assert_eq!(outcome, self.check_identity(who).map(|()| vec![expected]));
    }

    fn end(&mut self, who: ProducerIdentity, result: TransactionResult) {
        let request = ProducerRequest { transactional_id: ID, producer_id: who.0, producer_epoch: who.1 };
        let version = self.version;
        let before = self.reference.clone();
        let Some(outcome) =
            self.attempt(|shard, new_id, now| shard.end_transaction(request, result, version, new_id, now))
        else {
            return;
        };
        let bumps = version.supports_epoch_bump();
        if before.decided.is_some() {
            // Before transaction.version 2 the identity is looked at first.
            return assert!(if bumps { outcome == Err(E::ConcurrentTransactions) } else { outcome.is_err() });
        }
        let (repeats, fenced_by_coordinator) = match before.ended {
            // Everybody who ended has another identity since.
            Some((by, how)) if bumps => {
                (by == who && how == result, by == who && !how.is_commit() && result.is_commit())
            }
            Some((_, how)) => (who == before.current && how == result, false),
            None => (false, false),
        };
        let answer = if bumps { before.current } else { NO_IDENTITY };
        let ended_by_who = bumps && before.ended.is_some_and(|(by, _)| by == who);
        if repeats && before.open.is_none() {
            return assert_eq!(outcome, Ok(answer));
        }
        if before.open.is_none() && fenced_by_coordinator {
            return assert_eq!(outcome, Err(E::ProducerFenced));
        }
        if before.open.is_none() && ended_by_who && who != before.current {
            return assert_eq!(outcome, Err(E::InvalidTxnState));
        }
        if let Err(error) = self.check_identity(who) {
            // Whose id was just rotated away is known as one that was: fenced, and not unknown.
            let is_rotated = who.1 == i16::MAX - 1 && before.current.1 == 0 && outcome == Err(E::ProducerFenced);
            assert!(is_rotated || outcome == Err(error), "{outcome:?}");
            return;
        }
        if before.open.is_none() && (result.is_commit() || !bumps) {
            return assert_eq!(outcome, Err(E::InvalidTxnState));
        }
        let next = if bumps { successor(who, self.next_id) } else { who };
        assert_eq!(outcome, Ok(if bumps { next } else { NO_IDENTITY }));
        let reference = &mut self.reference;
        reference.decided = Some((result, reference.open.take().unwrap_or_default(), next));
        reference.ended = Some((who, result));
        if bumps {
            reference.previous = Some(who);
            self.identities.push(next);
        }
    }

    fn markers(&mut self, work: usize, count: usize) {
        let Some(work) = self.works.len().checked_sub(1 + work).map(|index| self.works[index].clone()) else { return };
        let written: Vec<_> = work.partitions.iter().take(count).cloned().collect();
        let decision = self.shard.markers_written(ID, work.completion, &written, self.now_ms);
        if self.carry_out(decision).is_none() {
            return;
        }
        let state = self.shard.transaction(ID).expect("there").state;
        if !state.is_prepared()
            && let Some((_, _, next)) = self.reference.decided.take()
        {
            self.reference.current = next;
        }
    }

    fn wait(&mut self, milliseconds: i64) {
        self.now_ms += milliseconds;
        let is_over = self.reference.open_since + i64::from(TIMEOUT_MS) < self.now_ms;
        let expired = self.shard.expired(TransactionTimer::AbortTimedOut, self.now_ms);
        if self.carry_out(expired).is_some() && self.reference.open.is_some() && is_over {
            self.coordinator_aborts();
        }
    }

    fn check_reference(&self) {
        let live = self.shard.transaction(ID).expect("there");
        let reference = &self.reference;
        match (&reference.open, &reference.decided) {
            (Some(open), None) => assert_eq!((live.state, &*live.partitions), (S::Ongoing, open)),
            (None, Some((result, partitions, next))) => {
                let state = if result.is_commit() { S::PrepareCommit } else { S::PrepareAbort };
                assert_eq!((live.state, &*live.partitions), (state, partitions));
                assert_eq!(live.identity_after(), *next);
                assert!(self.works.last().is_some_and(|work| work.partitions.iter().eq(partitions)), "all are marked");
            }
            (None, None) => {
                let state = match reference.ended {
                    None => S::Empty,
                    Some((_, TransactionResult::Commit)) => S::CompleteCommit,
                    Some((_, TransactionResult::Abort)) => S::CompleteAbort,
                };
                assert_eq!((live.state, live.partitions.len()), (state, 0));
                assert_eq!((live.producer_id, live.producer_epoch), reference.current);
            }
            (Some(_), Some(_)) => panic!("open and decided"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_the_reference_s_and_the_log_s(
        version in prop_oneof![
            Just(TransactionVersion::Tv0), Just(TransactionVersion::Tv1), Just(TransactionVersion::Tv2)
        ],
        epoch in prop_oneof![Just(0i16), (i16::MAX - 6)..(i16::MAX)],
        steps in steps(),
    ) {
        let mut run = Run::new(version, epoch);
        for step in &steps {
            run.step(step);
        }
    }
}
