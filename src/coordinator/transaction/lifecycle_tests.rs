//! What happens without a request: time-outs, expiry, loading, and markers whose work is over.

use std::time::Duration;

use kafka_protocol::ResponseError as E;

use super::config::TransactionConfig;
use super::harness_tests::{
    ID, NEW_PRODUCER_ID, PRODUCER_ID, START_MS, apply, marker_work, metadata, partition, record, shard_with,
};
use super::metadata::{Attempt, LAST_USABLE_EPOCH, TransactionMetadata};
use super::shard::{ProducerRequest, Progress, TransactionOutput, TransactionShard, TransactionTimer as Timer};
use super::state::TransactionState as S;
use crate::coordinator::runtime::{Effect, StateMachine};
use crate::types::{TransactionResult, TransactionVersion};

const TV0: TransactionVersion = TransactionVersion::Tv0;
const TV2: TransactionVersion = TransactionVersion::Tv2;
const EPOCH: i16 = 7;

fn request(producer_epoch: i16) -> ProducerRequest<'static> {
    ProducerRequest { transactional_id: ID, producer_id: PRODUCER_ID, producer_epoch }
}

fn state(shard: &TransactionShard) -> (S, i16) {
    let metadata = shard.transaction(ID).expect("there");
    (metadata.state, metadata.producer_epoch)
}

fn timers(effects: &[Effect<TransactionShard>]) -> Vec<(Timer, Duration)> {
    let set = effects.iter().filter_map(|effect| match effect {
        Effect::Schedule(timer, delay) => Some((*timer, *delay)),
        _ => None,
    });
    set.collect()
}

#[test]
fn a_transaction_is_aborted_when_it_is_older_than_its_timeout() {
    // Its timeout is a minute, and it is a minute old at `START_MS`.
    for version in [TV0, TransactionVersion::Tv1, TV2] {
        let mut shard = shard_with(version, metadata(S::Ongoing, EPOCH));
        let early = shard.expired(Timer::AbortTimedOut, START_MS);
        assert!(early.records.is_empty());
        assert_eq!(timers(&early.effects), [(Timer::AbortTimedOut, Duration::from_secs(10))]);
        let late = shard.expired(Timer::AbortTimedOut, START_MS + 1);
        assert_eq!(timers(&late.effects), [(Timer::AbortTimedOut, Duration::from_secs(10))]);
        let ((), work) = apply(&mut shard, late);
        assert_eq!(state(&shard), (S::PrepareAbort, EPOCH + 1), "{version:?}");
        assert_eq!((work.len(), work[0].marker.producer_epoch), (1, EPOCH + 1), "{version:?}");
        assert_eq!(work[0].marker.result, TransactionResult::Abort);
        let again = shard.expired(Timer::AbortTimedOut, START_MS + 60_000);
        assert!(again.records.is_empty(), "once is enough");
    }
}

#[test]
fn only_open_transactions_time_out_and_two_phase_commits_never() {
    for idle in S::ALL.into_iter().filter(|state| *state != S::Ongoing) {
        let mut shard = shard_with(TV2, metadata(idle, EPOCH));
        assert!(shard.expired(Timer::AbortTimedOut, i64::MAX).records.is_empty(), "{idle:?}");
    }
    let forever = TransactionMetadata { timeout_ms: i32::MAX, ..metadata(S::Ongoing, EPOCH) };
    let mut shard = shard_with(TV2, forever);
    assert!(shard.expired(Timer::AbortTimedOut, i64::MAX).records.is_empty());
}

/// KAFKA-20785: the producer was told INVALID_TXN_STATE, which is the end of an application that could have gone on.
#[test]
fn end_txn_that_races_with_a_timeout_is_fenced() {
    for (version, while_aborting) in [(TV0, E::ProducerFenced), (TV2, E::ConcurrentTransactions)] {
        for result in [TransactionResult::Commit, TransactionResult::Abort] {
            let mut shard = shard_with(version, metadata(S::Ongoing, EPOCH));
            let aborted = shard.expired(Timer::AbortTimedOut, START_MS + 1);
            let ((), work) = apply(&mut shard, aborted);
            let ended = shard.end_transaction(request(EPOCH), result, version, None, START_MS + 2);
            assert_eq!(ended.response, Attempt::Done(Err(while_aborting)), "{version:?} {result:?}");
            let written = shard.markers_written(ID, work[0].completion, &work[0].partitions, START_MS + 3);
            assert_eq!(apply(&mut shard, written).0, Progress::Complete);
            let ended = shard.end_transaction(request(EPOCH), result, version, None, START_MS + 4);
            // An abort has happened as it was meant to, and since transaction.version 2 can be told from another's.
            let expected = match (version, result) {
                (TV2, TransactionResult::Abort) => Ok((PRODUCER_ID, EPOCH + 1)),
                _ => Err(E::ProducerFenced),
            };
            assert_eq!(ended.response, Attempt::Done(expected), "{version:?} {result:?}");
            let added = shard.add_partitions(request(EPOCH), &[partition(0)], version, START_MS + 5);
            assert_eq!(added.response, Err(E::ProducerFenced));
        }
    }
}

#[test]
fn a_timeout_with_used_up_epochs_asks_for_a_producer_id_first() {
    let mut shard = shard_with(TV2, metadata(S::Ongoing, LAST_USABLE_EPOCH));
    let asked = shard.expired(Timer::AbortTimedOut, START_MS + 1);
    assert!(asked.records.is_empty());
    let expected =
        TransactionOutput::AbortTimedOut { transactional_id: ID.into(), producer: (PRODUCER_ID, LAST_USABLE_EPOCH) };
    assert!(matches!(&asked.effects[0], Effect::Emit(output) if *output == expected));
    // What was timed out then is not what is there now.
    let stale = shard.abort_timed_out(ID, (PRODUCER_ID, LAST_USABLE_EPOCH - 1), Some(NEW_PRODUCER_ID), START_MS + 1);
    assert!(stale.records.is_empty() && stale.effects.is_empty());
    let aborted = shard.abort_timed_out(ID, (PRODUCER_ID, LAST_USABLE_EPOCH), Some(NEW_PRODUCER_ID), START_MS + 1);
    let ((), work) = apply(&mut shard, aborted);
    let written = shard.markers_written(ID, work[0].completion, &work[0].partitions, START_MS + 2);
    apply(&mut shard, written);
    let after = shard.transaction(ID).expect("there");
    assert_eq!((after.state, after.producer_id, after.producer_epoch), (S::CompleteAbort, NEW_PRODUCER_ID, 0));
}

#[test]
fn ids_without_a_transaction_expire() {
    let config = TransactionConfig::default();
    for state in S::ALL {
        let mut shard = shard_with(TV2, TransactionMetadata { last_update_ms: START_MS, ..metadata(state, EPOCH) });
        let expiry = START_MS + config.transactional_id_expiration_ms;
        let early = shard.expired(Timer::RemoveExpired, expiry - 1);
        assert!(early.records.is_empty());
        assert_eq!(timers(&early.effects), [(Timer::RemoveExpired, Duration::from_secs(3600))]);
        let late = shard.expired(Timer::RemoveExpired, expiry);
        assert!(late.divisible, "more tombstones than fit in a batch");
        let expected = usize::from(matches!(state, S::Empty | S::CompleteCommit | S::CompleteAbort));
        assert_eq!(late.records.len(), expected, "{state:?}");
        apply(&mut shard, late);
        assert_eq!(shard.transaction(ID).is_none(), expected == 1);
        if expected == 1 {
            let added = shard.add_partitions(request(EPOCH), &[partition(0)], TV2, expiry);
            assert_eq!(added.response, Err(E::InvalidProducerIdMapping));
        }
    }
}

/// RP#6018, and Kafka's own promise: what is decided is carried out by whoever loads it.
#[test]
fn loading_goes_on_with_decided_transactions() {
    for (state, result) in [(S::PrepareCommit, TransactionResult::Commit), (S::PrepareAbort, TransactionResult::Abort)]
    {
        let mut shard = shard_with(TV2, metadata(state, EPOCH));
        let loaded = shard.loaded(START_MS);
        assert_eq!(timers(&loaded.effects).len(), 2);
        let ((), work) = apply(&mut shard, loaded);
        assert_eq!((work.len(), &work[0].partitions[..]), (1, &[partition(0)][..]));
        assert_eq!((work[0].marker.producer_epoch, work[0].marker.result), (EPOCH, result));
        let written = shard.markers_written(ID, work[0].completion, &work[0].partitions, START_MS);
        assert_eq!(apply(&mut shard, written).0, Progress::Complete);
    }
    for state in [S::Empty, S::Ongoing, S::CompleteCommit, S::CompleteAbort] {
        let mut shard = shard_with(TV2, metadata(state, EPOCH));
        assert!(marker_work(&shard.loaded(START_MS).effects).is_empty(), "{state:?}");
    }
}

/// KAFKA-16352: markers of an earlier transaction, written late, ended a later one before its own were written. With
/// transaction.version 0 both have the same producer id and epoch.
#[test]
fn late_markers_do_not_end_the_next_transaction() {
    for version in [TV0, TV2] {
        let mut shard = shard_with(version, metadata(S::Ongoing, EPOCH));
        let mut epoch = EPOCH;
        let ended = shard.end_transaction(request(epoch), TransactionResult::Commit, version, None, START_MS);
        let (_, first) = apply(&mut shard, ended);
        let partitions = first[0].partitions.clone();
        let written = shard.markers_written(ID, first[0].completion, &partitions, START_MS);
        assert_eq!(apply(&mut shard, written).0, Progress::Complete);
        epoch += i16::from(version.supports_epoch_bump());
        let added = shard.add_partitions(request(epoch), &partitions, version, START_MS);
        assert_eq!(apply(&mut shard, added).0, Ok(()));
        let ended = shard.end_transaction(request(epoch), TransactionResult::Commit, version, None, START_MS);
        let (_, second) = apply(&mut shard, ended);
        assert_ne!(first[0].completion, second[0].completion);
        let late = shard.markers_written(ID, first[0].completion, &partitions, START_MS);
        assert_eq!(late.response, Progress::NotWanted);
        assert!(late.records.is_empty());
        assert_eq!(state(&shard).0, S::PrepareCommit);
        let written = shard.markers_written(ID, second[0].completion, &partitions, START_MS);
        assert_eq!(apply(&mut shard, written).0, Progress::Complete);
    }
}

#[test]
fn the_last_marker_completes_and_not_the_first() {
    let three = TransactionMetadata {
        partitions: std::sync::Arc::new((0..3).map(partition).collect()),
        ..metadata(S::Ongoing, EPOCH)
    };
    let mut shard = shard_with(TV2, three);
    let ended = shard.end_transaction(request(EPOCH), TransactionResult::Commit, TV2, None, START_MS);
    let (_, work) = apply(&mut shard, ended);
    let completion = work[0].completion;
    for number in [2, 0] {
        let written = shard.markers_written(ID, completion, &[partition(number)], START_MS);
        assert!(written.records.is_empty());
        assert_eq!(written.response, Progress::Remaining);
    }
    assert_eq!(shard.partitions(ID).into_iter().collect::<Vec<_>>(), [partition(1)], "what is described");
    let written = shard.markers_written(ID, completion, &[partition(1)], START_MS);
    assert_eq!(apply(&mut shard, written).0, Progress::Complete);
    assert_eq!(state(&shard), (S::CompleteCommit, EPOCH + 1));
    assert!(shard.partitions(ID).is_empty());
}

/// KAFKA-18464: the abort that a client sends to be sure, right after a commit, fenced the client itself.
#[test]
fn an_abort_right_after_a_commit_waits_for_the_markers() {
    let mut shard = shard_with(TV2, metadata(S::Ongoing, EPOCH));
    let ended = shard.end_transaction(request(EPOCH), TransactionResult::Commit, TV2, None, START_MS);
    let (_, work) = apply(&mut shard, ended);
    let abort = shard.end_transaction(request(EPOCH + 1), TransactionResult::Abort, TV2, None, START_MS);
    assert_eq!(abort.response, Attempt::Done(Err(E::ConcurrentTransactions)));
    let written = shard.markers_written(ID, work[0].completion, &work[0].partitions, START_MS);
    apply(&mut shard, written);
    let abort = shard.end_transaction(request(EPOCH + 1), TransactionResult::Abort, TV2, None, START_MS);
    assert_eq!(apply(&mut shard, abort).0, Attempt::Done(Ok((PRODUCER_ID, EPOCH + 2))));
}

#[test]
fn a_tombstone_takes_everything_along() {
    let mut shard = shard_with(TV2, metadata(S::PrepareCommit, EPOCH));
    let mut tombstone = record(metadata(S::Empty, 0));
    tombstone.value = None;
    shard.replay(1, tombstone);
    assert!(shard.transaction(ID).is_none());
    assert!(marker_work(&shard.loaded(START_MS).effects).is_empty());
}
