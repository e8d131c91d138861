//! The end of the epochs: 32,766 is the last that a producer is given, 32,767 the one that can still fence it (KAFKA-18660,
//! KAFKA-19367, KAFKA-7692, KAFKA-5283).

use kafka_protocol::ResponseError as E;

use super::harness_tests::{ID, NEW_PRODUCER_ID, PRODUCER_ID, START_MS, apply, metadata, partition, shard_with};
use super::metadata::{Attempt, Initialization, LAST_USABLE_EPOCH, TransactionMetadata};
use super::shard::{MarkerWork, Outcome, ProducerIdentity, ProducerRequest, TransactionShard};
use super::state::TransactionState as S;
use crate::types::{TransactionResult, TransactionVersion};

const TV2: TransactionVersion = TransactionVersion::Tv2;

fn request(producer_id: i64, producer_epoch: i16) -> ProducerRequest<'static> {
    ProducerRequest { transactional_id: ID, producer_id, producer_epoch }
}

/// As the facade does: asks once more with a new id when one is needed. Says whether it was.
fn end(
    shard: &mut TransactionShard,
    from: ProducerIdentity,
    result: TransactionResult,
) -> (Outcome<ProducerIdentity>, Vec<MarkerWork>, bool) {
    let first = shard.end_transaction(request(from.0, from.1), result, TV2, None, START_MS);
    if let Attempt::Done(_) = first.response {
        let (response, work) = apply(shard, first);
        let Attempt::Done(outcome) = response else { panic!("matched above") };
        return (outcome, work, false);
    }
    assert!(first.records.is_empty() && first.effects.is_empty());
    let second = shard.end_transaction(request(from.0, from.1), result, TV2, Some(NEW_PRODUCER_ID), START_MS);
    let (response, work) = apply(shard, second);
    let Attempt::Done(outcome) = response else { panic!("has an id now") };
    (outcome, work, true)
}

fn init(
    shard: &mut TransactionShard,
    expected: Option<ProducerIdentity>,
    new_producer_id: Option<i64>,
) -> Attempt<Outcome<ProducerIdentity>> {
    let initialization = Initialization { timeout_ms: 60_000, expected };
    let decision = shard.init_producer_id(ID, &initialization, new_producer_id, START_MS);
    apply(shard, decision).0
}

fn write_markers(shard: &mut TransactionShard, work: &[MarkerWork]) {
    for work in work {
        let written = shard.markers_written(ID, work.completion, &work.partitions, START_MS);
        apply(shard, written);
    }
}

fn current(shard: &TransactionShard) -> (S, ProducerIdentity) {
    let metadata = shard.transaction(ID).expect("there");
    (metadata.state, (metadata.producer_id, metadata.producer_epoch))
}

#[test]
fn commits_go_through_the_last_epochs_to_a_new_producer_id() {
    let mut shard = shard_with(TV2, metadata(S::Ongoing, LAST_USABLE_EPOCH - 1));
    let commit = TransactionResult::Commit;
    let (outcome, work, needed) = end(&mut shard, (PRODUCER_ID, LAST_USABLE_EPOCH - 1), commit);
    assert_eq!((outcome, needed), (Ok((PRODUCER_ID, LAST_USABLE_EPOCH)), false));
    write_markers(&mut shard, &work);
    let added = shard.add_partitions(request(PRODUCER_ID, LAST_USABLE_EPOCH), &[partition(0)], TV2, START_MS);
    assert_eq!(apply(&mut shard, added).0, Ok(()));
    // The last one: its markers carry the epoch that no producer is given, the producer goes on as another.
    let (outcome, work, needed) = end(&mut shard, (PRODUCER_ID, LAST_USABLE_EPOCH), commit);
    assert_eq!((outcome, needed), (Ok((NEW_PRODUCER_ID, 0)), true));
    assert_eq!((work[0].marker.producer_id, work[0].marker.producer_epoch), (PRODUCER_ID, i16::MAX));
    assert_eq!(current(&shard), (S::PrepareCommit, (PRODUCER_ID, i16::MAX)));
    // It may be so quick that the markers are not written yet.
    let added = shard.add_partitions(request(NEW_PRODUCER_ID, 0), &[partition(0)], TV2, START_MS);
    assert_eq!(added.response, Err(E::ConcurrentTransactions));
    write_markers(&mut shard, &work);
    assert_eq!(current(&shard), (S::CompleteCommit, (NEW_PRODUCER_ID, 0)));
    // The answer was lost: the request comes again, and is answered as before.
    let (outcome, _, _) = end(&mut shard, (PRODUCER_ID, LAST_USABLE_EPOCH), commit);
    assert_eq!(outcome, Ok((NEW_PRODUCER_ID, 0)));
    let (outcome, _, _) = end(&mut shard, (PRODUCER_ID, LAST_USABLE_EPOCH), TransactionResult::Abort);
    assert_eq!(outcome, Err(E::InvalidTxnState));
    let (outcome, _, _) = end(&mut shard, (PRODUCER_ID, LAST_USABLE_EPOCH - 1), commit);
    assert_eq!(outcome, Err(E::InvalidProducerIdMapping));
    let added = shard.add_partitions(request(NEW_PRODUCER_ID, 0), &[partition(0)], TV2, START_MS);
    assert_eq!(apply(&mut shard, added).0, Ok(()));
    // The old identity is nobody now.
    let added = shard.add_partitions(request(PRODUCER_ID, LAST_USABLE_EPOCH), &[partition(0)], TV2, START_MS);
    assert_eq!(added.response, Err(E::InvalidProducerIdMapping));
}

#[test]
fn a_commit_that_comes_again_after_the_coordinator_aborted_with_the_last_epoch_is_fenced() {
    let mut shard = shard_with(TV2, metadata(S::Ongoing, LAST_USABLE_EPOCH));
    let attempt = init(&mut shard, None, None);
    assert_eq!(attempt, Attempt::NeedsProducerId);
    let initialization = Initialization { timeout_ms: 60_000, expected: None };
    let decision = shard.init_producer_id(ID, &initialization, Some(NEW_PRODUCER_ID), START_MS);
    let (response, work) = apply(&mut shard, decision);
    assert_eq!(response, Attempt::Done(Err(E::ConcurrentTransactions)));
    assert_eq!(current(&shard), (S::PrepareAbort, (PRODUCER_ID, i16::MAX)));
    write_markers(&mut shard, &work);
    assert_eq!(current(&shard), (S::CompleteAbort, (NEW_PRODUCER_ID, 0)));
    let (outcome, _, _) = end(&mut shard, (PRODUCER_ID, LAST_USABLE_EPOCH), TransactionResult::Commit);
    assert_eq!(outcome, Err(E::ProducerFenced));
    assert_eq!(init(&mut shard, None, None), Attempt::Done(Ok((NEW_PRODUCER_ID, 1))));
}

#[test]
fn fencing_uses_the_epoch_that_was_kept_for_it() {
    for version in [TransactionVersion::Tv0, TransactionVersion::Tv1] {
        let mut shard = shard_with(version, metadata(S::Ongoing, LAST_USABLE_EPOCH));
        let initialization = Initialization { timeout_ms: 60_000, expected: None };
        let decision = shard.init_producer_id(ID, &initialization, None, START_MS);
        let (response, work) = apply(&mut shard, decision);
        assert_eq!(response, Attempt::Done(Err(E::ConcurrentTransactions)));
        write_markers(&mut shard, &work);
        assert_eq!(current(&shard), (S::CompleteAbort, (PRODUCER_ID, i16::MAX)));
        // Kafka has UNKNOWN_SERVER_ERROR here.
        let fenced = Some((PRODUCER_ID, LAST_USABLE_EPOCH));
        assert_eq!(init(&mut shard, fenced, None), Attempt::Done(Err(E::ProducerFenced)));
        assert_eq!(init(&mut shard, None, None), Attempt::NeedsProducerId);
        assert_eq!(init(&mut shard, None, Some(NEW_PRODUCER_ID)), Attempt::Done(Ok((NEW_PRODUCER_ID, 0))));
    }
}

#[test]
fn init_producer_id_rotates_and_may_be_repeated() {
    for state in [S::Empty, S::CompleteCommit, S::CompleteAbort] {
        let mut shard = shard_with(TV2, metadata(state, LAST_USABLE_EPOCH));
        let known = Some((PRODUCER_ID, LAST_USABLE_EPOCH));
        assert_eq!(init(&mut shard, known, None), Attempt::NeedsProducerId);
        assert_eq!(init(&mut shard, known, Some(NEW_PRODUCER_ID)), Attempt::Done(Ok((NEW_PRODUCER_ID, 0))));
        for _ in 0..3 {
            assert_eq!(init(&mut shard, known, None), Attempt::Done(Ok((NEW_PRODUCER_ID, 0))));
        }
        let other = Some((PRODUCER_ID, LAST_USABLE_EPOCH - 1));
        assert_eq!(init(&mut shard, other, None), Attempt::Done(Err(E::ProducerFenced)));
        // Another producer: the repetition would take its identity now.
        assert_eq!(init(&mut shard, None, None), Attempt::Done(Ok((NEW_PRODUCER_ID, 1))));
        assert_eq!(init(&mut shard, known, None), Attempt::Done(Err(E::ProducerFenced)));
    }
}

#[test]
fn the_request_that_gave_the_last_epoch_may_be_repeated() {
    let before = metadata(S::Empty, LAST_USABLE_EPOCH - 1);
    let mut shard = shard_with(TV2, before);
    let known = Some((PRODUCER_ID, LAST_USABLE_EPOCH - 1));
    for _ in 0..2 {
        // Kafka answers the second one with UNKNOWN_SERVER_ERROR.
        assert_eq!(init(&mut shard, known, None), Attempt::Done(Ok((PRODUCER_ID, LAST_USABLE_EPOCH))));
    }
}

#[test]
fn an_abort_of_nothing_rotates_too() {
    let mut shard = shard_with(TV2, metadata(S::CompleteCommit, LAST_USABLE_EPOCH));
    let (outcome, work, needed) = end(&mut shard, (PRODUCER_ID, LAST_USABLE_EPOCH), TransactionResult::Abort);
    assert_eq!((outcome, needed, work.len()), (Ok((NEW_PRODUCER_ID, 0)), true, 1));
    write_markers(&mut shard, &work);
    assert_eq!(current(&shard), (S::CompleteAbort, (NEW_PRODUCER_ID, 0)));
}

#[test]
fn an_epoch_that_should_not_be_never_overflows() {
    // Only a defect, or a log of an earlier release of Kafka, leads here.
    let broken = TransactionMetadata { producer_epoch: i16::MAX, ..metadata(S::Ongoing, 0) };
    for version in [TransactionVersion::Tv0, TransactionVersion::Tv2] {
        let Attempt::Done(aborted) = broken.fence_and_abort(version, Some(NEW_PRODUCER_ID), START_MS) else {
            panic!("has an id");
        };
        assert_eq!(aborted.producer_epoch, i16::MAX);
    }
}
