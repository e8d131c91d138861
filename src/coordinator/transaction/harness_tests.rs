//! Shards in a given state, for the tests of the rules.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::config::TransactionConfig;
use super::metadata::TransactionMetadata;
use super::record::{TransactionRecord, TransactionValue};
use super::shard::{MarkerWork, Shared, TransactionOutput, TransactionShard};
use super::state::TransactionState;
use crate::coordinator::runtime::{Decision, Effect, StateMachine};
use crate::types::{TopicPartition, TransactionVersion};

/// When the tests begin, milliseconds since the epoch.
pub const START_MS: i64 = 1_700_000_000_000;
/// The transactional id of the tests.
pub const ID: &str = "app";
/// Its producer id.
pub const PRODUCER_ID: i64 = 4000;
/// A producer id that the coordinator gets when it asks.
pub const NEW_PRODUCER_ID: i64 = 5000;
/// The leader epoch of the shards.
pub const COORDINATOR_EPOCH: i32 = 3;

pub fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("t", number)
}

/// A shard without ids, of a cluster that has finalized `version`.
pub fn shard(version: TransactionVersion) -> TransactionShard {
    let shared = Shared::new(TransactionConfig::default());
    shared.set_transaction_version(version);
    TransactionShard::new(Arc::new(shared), COORDINATOR_EPOCH)
}

/// What is known of a transactional id of `PRODUCER_ID` in `state`; a transaction is one minute old.
pub fn metadata(state: TransactionState, epoch: i16) -> TransactionMetadata {
    let has_partitions = state == TransactionState::Ongoing || state.is_prepared();
    TransactionMetadata {
        previous_producer_id: PRODUCER_ID,
        producer_epoch: epoch,
        state,
        partitions: Arc::new(if has_partitions { BTreeSet::from([partition(0)]) } else { BTreeSet::new() }),
        start_ms: if state == TransactionState::Empty { -1 } else { START_MS - 60_000 },
        client_version: TransactionVersion::Tv2,
        ..TransactionMetadata::new(PRODUCER_ID, 60_000, START_MS - 60_000)
    }
}

pub fn record(metadata: TransactionMetadata) -> TransactionRecord {
    let value = TransactionValue { metadata, value_version: 1, completion: 0 };
    TransactionRecord { transactional_id: Arc::from(ID), value: Some(value) }
}

/// A shard with one id.
pub fn shard_with(version: TransactionVersion, metadata: TransactionMetadata) -> TransactionShard {
    let mut shard = shard(version);
    shard.replay(0, record(metadata));
    shard
}

/// Makes a decision's records part of the state, as a runtime does; gives the response and the markers to be written.
pub fn apply<R>(shard: &mut TransactionShard, decision: Decision<TransactionShard, R>) -> (R, Vec<MarkerWork>) {
    for record in decision.records {
        if let (Some(value), Some(current)) = (&record.value, shard.transaction(&record.transactional_id)) {
            let (from, to) = (current.state, value.metadata.state);
            assert!(to.may_follow(from), "{from:?} to {to:?}");
        }
        shard.replay(0, record);
    }
    (decision.response, marker_work(&decision.effects))
}

pub fn marker_work(effects: &[Effect<TransactionShard>]) -> Vec<MarkerWork> {
    let work = effects.iter().filter_map(|effect| match effect {
        Effect::Emit(TransactionOutput::WriteMarkers(work)) => Some(work.clone()),
        _ => None,
    });
    work.collect()
}
