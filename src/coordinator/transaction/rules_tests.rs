//! The whole table: state × request × protocol × how the request's identity relates to the current one. What is expected is
//! written down as text, from the rules of Kafka (`TransactionCoordinator.scala`, the table at `endTransaction`), cell by cell;
//! none of it is computed.
//!
//! Identities: `now` is the current epoch, `last` the one before, `old` two before, `next` one more, `else` another producer
//! id. Answers: IPM INVALID_PRODUCER_ID_MAPPING, PF PRODUCER_FENCED, CT CONCURRENT_TRANSACTIONS, ITS INVALID_TXN_STATE,
//! TA TRANSACTION_ABORTABLE; `same` is success that writes nothing; other words are success and say what is written.

use kafka_protocol::ResponseError as E;

use super::end::NO_IDENTITY;
use super::harness_tests::{
    COORDINATOR_EPOCH, ID, NEW_PRODUCER_ID, PRODUCER_ID, START_MS, apply, marker_work, metadata, partition, shard,
    shard_with,
};
use super::metadata::{Attempt, Initialization, TransactionMetadata};
use super::shard::{ProducerIdentity, ProducerRequest, TransactionShard};
use super::state::TransactionState as S;
use crate::coordinator::runtime::Decision;
use crate::types::{TransactionResult, TransactionVersion};

const EPOCH: i16 = 7;

/// EndTxn 0 to 4.
const END_TXN_0_TO_4: &str = "
               | commit: now  last old  next else | abort: now  last old  next else
Empty          |         ITS  PF   PF   PF   IPM  |        ITS  PF   PF   PF   IPM
Ongoing        |         end  PF   PF   PF   IPM  |        end  PF   PF   PF   IPM
PrepareCommit  |         CT   PF   PF   PF   IPM  |        CT   PF   PF   PF   IPM
PrepareAbort   |         CT   PF   PF   PF   IPM  |        CT   PF   PF   PF   IPM
CompleteCommit |         same PF   PF   PF   IPM  |        ITS  PF   PF   PF   IPM
CompleteAbort  |         ITS  PF   PF   PF   IPM  |        same PF   PF   PF   IPM
";

/// EndTxn 5. A commit after an abort of the coordinator's own is PF as in Kafka since KAFKA-20785; 4.3 has ITS there.
const END_TXN_5: &str = "
               | commit: now  last old  next else | abort: now  last old  next else
Empty          |         ITS  PF   PF   PF   IPM  |        end  PF   PF   PF   IPM
Ongoing        |         end  PF   PF   PF   IPM  |        end  PF   PF   PF   IPM
PrepareCommit  |         CT   CT   CT   CT   CT   |        CT   CT   CT   CT   CT
PrepareAbort   |         CT   CT   CT   CT   CT   |        CT   CT   CT   CT   CT
CompleteCommit |         ITS  same PF   PF   IPM  |        end  ITS  PF   PF   IPM
CompleteAbort  |         ITS  PF   PF   PF   IPM  |        end  same PF   PF   IPM
";

/// AddPartitionsToTxn that adds, with a partition that is in the open transaction and with one that is not.
const ADD_PARTITIONS: &str = "
               | known: now  last old  next else | other: now  last old  next else
Empty          |        open PF   PF   PF   IPM  |        open PF   PF   PF   IPM
Ongoing        |        same PF   PF   PF   IPM  |        add  PF   PF   PF   IPM
PrepareCommit  |        CT   CT   CT   CT   CT   |        CT   CT   CT   CT   CT
PrepareAbort   |        CT   CT   CT   CT   CT   |        CT   CT   CT   CT   CT
CompleteCommit |        open PF   PF   PF   IPM  |        open PF   PF   PF   IPM
CompleteAbort  |        open PF   PF   PF   IPM  |        open PF   PF   PF   IPM
";

/// AddPartitionsToTxn that only asks.
const VERIFY_PARTITIONS: &str = "
               | known: now  last old  next else | other: now  last old  next else
Empty          |        TA   PF   PF   PF   IPM  |        TA   PF   PF   PF   IPM
Ongoing        |        same PF   PF   PF   IPM  |        TA   PF   PF   PF   IPM
PrepareCommit  |        CT   PF   PF   PF   IPM  |        CT   PF   PF   PF   IPM
PrepareAbort   |        CT   PF   PF   PF   IPM  |        CT   PF   PF   PF   IPM
CompleteCommit |        TA   PF   PF   PF   IPM  |        TA   PF   PF   PF   IPM
CompleteAbort  |        TA   PF   PF   PF   IPM  |        TA   PF   PF   PF   IPM
";

/// InitProducerId, with no identity and with one; `bump` is the next epoch, `fence` an abort by the coordinator and CT. In
/// the first half the current epoch came of a request with the last one, so that it may be repeated; in the second of one
/// without an identity, so that it may not.
const INIT_PRODUCER_ID: &str = "
               | repeatable: none  now   last  old   next  else | not: none  now   last  old   next  else
Empty          |             bump  bump  again PF    PF    PF   |      bump  bump  PF    PF    PF    PF
Ongoing        |             fence fence fence fence fence PF   |      fence fence fence fence fence PF
PrepareCommit  |             CT    CT    CT    CT    CT    CT   |      CT    CT    CT    CT    CT    CT
PrepareAbort   |             CT    CT    CT    CT    CT    CT   |      CT    CT    CT    CT    CT    CT
CompleteCommit |             bump  bump  again PF    PF    PF   |      bump  bump  PF    PF    PF    PF
CompleteAbort  |             bump  bump  again PF    PF    PF   |      bump  bump  PF    PF    PF    PF
";

struct Cell<'a> {
    state: S,
    /// The heading of the half of the table.
    half: &'a str,
    identity: &'a str,
    expected: &'a str,
}

/// The cells of a table.
fn cells(table: &str) -> Vec<Cell<'_>> {
    let mut rows = table
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.split('|').map(|part| part.split_whitespace().collect::<Vec<_>>()).collect::<Vec<_>>());
    let heading = rows.next().expect("a heading");
    let mut cells = Vec::new();
    for row in rows {
        let state = S::ALL.into_iter().find(|state| state.name() == row[0][0]).expect("a state");
        for (names, answers) in heading.iter().zip(&row).skip(1) {
            assert_eq!(names.len(), answers.len() + 1, "{state:?}");
            for (identity, expected) in names[1..].iter().zip(answers) {
                cells.push(Cell { state, half: names[0].trim_end_matches(':'), identity, expected });
            }
        }
    }
    cells
}

fn identity(name: &str) -> ProducerIdentity {
    match name {
        "now" => (PRODUCER_ID, EPOCH),
        "last" => (PRODUCER_ID, EPOCH - 1),
        "old" => (PRODUCER_ID, EPOCH - 2),
        "next" => (PRODUCER_ID, EPOCH + 1),
        "else" => (PRODUCER_ID + 1, EPOCH),
        _ => panic!("{name}"),
    }
}

fn request(name: &str) -> ProducerRequest<'static> {
    let (producer_id, producer_epoch) = identity(name);
    ProducerRequest { transactional_id: ID, producer_id, producer_epoch }
}

fn error(name: &str) -> Option<E> {
    Some(match name {
        "IPM" => E::InvalidProducerIdMapping,
        "PF" => E::ProducerFenced,
        "CT" => E::ConcurrentTransactions,
        "ITS" => E::InvalidTxnState,
        "TA" => E::TransactionAbortable,
        _ => return None,
    })
}

/// An error writes nothing and asks for nothing.
fn assert_nothing_follows<R>(decision: &Decision<TransactionShard, R>, cell: &Cell<'_>) {
    let Cell { state, half, identity, expected } = cell;
    assert!(decision.records.is_empty(), "{state:?} {half} {identity}: {expected}");
    assert!(decision.effects.is_empty(), "{state:?} {half} {identity}: {expected}");
}

fn done<T>(attempt: Attempt<T>) -> T {
    match attempt {
        Attempt::Done(done) => done,
        Attempt::NeedsProducerId => panic!("needs a producer id"),
    }
}

fn check_end(table: &str, version: TransactionVersion) {
    let cells = cells(table);
    assert_eq!(cells.len(), 60);
    for cell in cells {
        let context = format!("{:?} {} {} {:?}", cell.state, cell.half, cell.identity, version);
        let result = TransactionResult::from_committed(cell.half == "commit");
        let mut shard = shard_with(version, metadata(cell.state, EPOCH));
        let decision = shard.end_transaction(request(cell.identity), result, version, None, START_MS);
        if let Some(error) = error(cell.expected) {
            assert_eq!(decision.response, Attempt::Done(Err(error)), "{context}");
            assert_nothing_follows(&decision, &cell);
            continue;
        }
        let bumps = version.supports_epoch_bump();
        if cell.expected == "same" {
            assert_nothing_follows(&decision, &cell);
            let answer = if bumps { (PRODUCER_ID, EPOCH) } else { NO_IDENTITY };
            assert_eq!(decision.response, Attempt::Done(Ok(answer)), "{context}");
            continue;
        }
        assert_eq!(cell.expected, "end");
        let ended = if bumps { EPOCH + 1 } else { EPOCH };
        let (response, work) = apply(&mut shard, decision);
        assert_eq!(done(response), Ok(if bumps { (PRODUCER_ID, ended) } else { NO_IDENTITY }), "{context}");
        let prepared = shard.transaction(ID).expect("there").clone();
        let expected_state = if result.is_commit() { S::PrepareCommit } else { S::PrepareAbort };
        assert_eq!((prepared.state, prepared.producer_epoch), (expected_state, ended), "{context}");
        assert_eq!(work.len(), 1, "{context}");
        let marker = work[0].marker;
        assert_eq!((marker.producer_id, marker.producer_epoch), (PRODUCER_ID, ended), "{context}");
        assert_eq!((marker.coordinator_epoch, marker.result), (COORDINATOR_EPOCH, result), "{context}");
        assert_eq!(marker.transaction_version, version, "{context}");
        let marked = if cell.state == S::Ongoing { vec![partition(0)] } else { Vec::new() };
        assert_eq!(work[0].partitions, marked, "{context}");
    }
}

#[test]
fn end_txn_of_every_state_and_identity() {
    check_end(END_TXN_0_TO_4, TransactionVersion::Tv0);
    check_end(END_TXN_5, TransactionVersion::Tv2);
}

#[test]
fn add_partitions_of_every_state_and_identity() {
    for version in [TransactionVersion::Tv0, TransactionVersion::Tv2] {
        for cell in cells(ADD_PARTITIONS) {
            let context = format!("{:?} {} {} {version:?}", cell.state, cell.half, cell.identity);
            let added = partition(if cell.half == "known" { 0 } else { 1 });
            let mut shard = shard_with(version, metadata(cell.state, EPOCH));
            let before = shard.transaction(ID).expect("there").clone();
            let decision =
                shard.add_partitions(request(cell.identity), std::slice::from_ref(&added), version, START_MS);
            if let Some(error) = error(cell.expected) {
                assert_eq!(decision.response, Err(error), "{context}");
                assert_nothing_follows(&decision, &cell);
                continue;
            }
            if cell.expected == "same" {
                assert_eq!(decision.response, Ok(()), "{context}");
                assert_nothing_follows(&decision, &cell);
                continue;
            }
            let (response, work) = apply(&mut shard, decision);
            assert_eq!((response, work.len()), (Ok(()), 0), "{context}");
            let after = shard.transaction(ID).expect("there");
            assert_eq!((after.state, after.producer_epoch), (S::Ongoing, EPOCH), "{context}");
            assert!(after.partitions.contains(&added), "{context}");
            assert!(after.partitions.is_superset(&before.partitions), "{context}");
            let start_ms = if cell.expected == "open" { START_MS } else { before.start_ms };
            assert_eq!((after.start_ms, after.client_version), (start_ms, version), "{context}");
        }
    }
}

#[test]
fn verification_of_every_state_and_identity() {
    for cell in cells(VERIFY_PARTITIONS) {
        let context = format!("{:?} {} {}", cell.state, cell.half, cell.identity);
        let asked = partition(if cell.half == "known" { 0 } else { 1 });
        let shard = shard_with(TransactionVersion::Tv2, metadata(cell.state, EPOCH));
        let answer = shard.verify_partitions(request(cell.identity), std::slice::from_ref(&asked));
        let expected = match cell.expected {
            "same" => Ok(vec![Ok(())]),
            // Of a partition, not of the transaction.
            "TA" => Ok(vec![Err(E::TransactionAbortable)]),
            name => Err(error(name).expect("an error")),
        };
        assert_eq!(answer, expected, "{context}");
    }
}

#[test]
fn init_producer_id_of_every_state_and_identity() {
    for version in [TransactionVersion::Tv0, TransactionVersion::Tv1, TransactionVersion::Tv2] {
        for cell in cells(INIT_PRODUCER_ID) {
            let context = format!("{:?} {} {} {version:?}", cell.state, cell.half, cell.identity);
            let last_producer_epoch = if cell.half == "repeatable" { EPOCH - 1 } else { -1 };
            let before = TransactionMetadata { last_producer_epoch, ..metadata(cell.state, EPOCH) };
            let mut shard = shard_with(version, before.clone());
            let expected = (cell.identity != "none").then(|| identity(cell.identity));
            let initialization = Initialization { timeout_ms: 1_000, expected };
            let decision = shard.init_producer_id(ID, &initialization, None, START_MS);
            if let Some(error) = error(cell.expected) {
                assert_eq!(decision.response, Attempt::Done(Err(error)), "{context}");
                assert_nothing_follows(&decision, &cell);
                continue;
            }
            let (response, work) = apply(&mut shard, decision);
            let after = shard.transaction(ID).expect("there");
            if cell.expected == "fence" {
                assert_eq!(done(response), Err(E::ConcurrentTransactions), "{context}");
                assert_eq!((after.state, after.producer_epoch), (S::PrepareAbort, EPOCH + 1), "{context}");
                assert_eq!((work.len(), work[0].marker.producer_epoch), (1, EPOCH + 1), "{context}");
                assert_eq!(after.timeout_ms, before.timeout_ms, "{context}");
                continue;
            }
            let epoch = if cell.expected == "again" { EPOCH } else { EPOCH + 1 };
            assert_eq!(done(response), Ok((PRODUCER_ID, epoch)), "{context}");
            assert_eq!((after.state, after.producer_epoch, after.timeout_ms), (S::Empty, epoch, 1_000), "{context}");
            assert_eq!((after.start_ms, after.partitions.len(), work.len()), (-1, 0, 0), "{context}");
        }
    }
}

#[test]
fn an_id_that_nobody_knows_has_no_transaction() {
    let mut shard = shard(TransactionVersion::Tv2);
    let unknown = E::InvalidProducerIdMapping;
    for version in [TransactionVersion::Tv0, TransactionVersion::Tv2] {
        let ended = shard.end_transaction(request("now"), TransactionResult::Abort, version, None, START_MS);
        assert_eq!(ended.response, Attempt::Done(Err(unknown)));
        let added = shard.add_partitions(request("now"), &[partition(0)], version, START_MS);
        assert_eq!(added.response, Err(unknown));
    }
    assert_eq!(shard.verify_partitions(request("now"), &[partition(0)]), Err(unknown));
}

/// Found by the state table against Apache Kafka: the records of level 0 cannot tell what a client of the second generation needs.
#[test]
fn at_level_0_clients_of_the_second_generation_are_refused() {
    for (level, expected) in [(TransactionVersion::Tv0, Err(E::UnsupportedVersion)), (TransactionVersion::Tv1, Ok(()))]
    {
        for state in [S::Ongoing, S::CompleteCommit] {
            let metadata = TransactionMetadata { client_version: TransactionVersion::Tv0, ..metadata(state, EPOCH) };
            let client = TransactionVersion::Tv2;
            let mut shard = shard_with(level, metadata);
            let added = shard.add_partitions(request("now"), &[partition(9)], client, START_MS);
            assert_eq!(added.response, expected, "{level:?} {state:?}");
            let ended = shard.end_transaction(request("now"), TransactionResult::Abort, client, None, START_MS);
            assert_eq!(done(ended.response).map(|_| ()), expected, "{level:?} {state:?}");
            assert_eq!((added.records.is_empty(), ended.records.is_empty()), (expected.is_err(), expected.is_err()));
        }
    }
}

#[test]
fn a_new_id_takes_a_new_producer_id_whatever_identity_is_claimed() {
    for expected in [None, Some((77, 5))] {
        let mut shard = shard(TransactionVersion::Tv2);
        let initialization = Initialization { timeout_ms: 1_000, expected };
        let decision = shard.init_producer_id(ID, &initialization, None, START_MS);
        assert_eq!(decision.response, Attempt::NeedsProducerId);
        assert!(decision.records.is_empty());
        let decision = shard.init_producer_id(ID, &initialization, Some(NEW_PRODUCER_ID), START_MS);
        assert!(marker_work(&decision.effects).is_empty());
        let (response, _) = apply(&mut shard, decision);
        assert_eq!(done(response), Ok((NEW_PRODUCER_ID, 0)));
        assert_eq!(shard.transaction(ID).expect("there").state, S::Empty);
    }
}
