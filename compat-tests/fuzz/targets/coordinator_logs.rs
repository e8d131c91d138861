//! A coordinator's topic as it is loaded: first byte 0 transactions, otherwise groups. Then one after the other: a byte of flags (1
//! a transaction's batch, 2 a marker, 4 a key of the right kind, 8 a tombstone; the rest is the producer), the lengths of key and
//! value, key, value. Whatever the log says, loading ends, twice in the same state, and what was loaded takes requests.
#![no_main]

mod memory;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    GroupId, InitProducerIdRequest, ListGroupsRequest, ListTransactionsRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use libfuzzer_sys::fuzz_target;
use ottla::coordinator::runtime::Producer;
use ottla::coordinator::transaction::{MarkerOutcome, MarkerWriter, ProducerIdBlock, ProducerIdSource};
use ottla::coordinator::{CoordinatorError, CoordinatorLog, GroupCoordinator, GroupCoordinatorConfig};
use ottla::coordinator::{TransactionConfig, TransactionCoordinator};
use ottla::env::{BoxFuture, Env, ManualClock};
use ottla::record::{BatchBuilder, BatchHeader, BatchProperties, end_transaction_marker, patch_offset_and_epoch};
use ottla::types::{EndTransactionMarker, TopicPartition, TransactionVersion, VerificationGuard};

const NOW: i64 = 1_700_000_000_000;

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    let log = Arc::new(written(*choice == 0, rest));
    if *choice == 0 {
        assert_eq!(transactions(&log), transactions(&log));
    } else {
        assert_eq!(groups(&log), groups(&log));
    }
});

/// What was in the log at first; what is appended is taken and forgotten.
struct FuzzedLog {
    bytes: Bytes,
    end: i64,
}

impl CoordinatorLog for FuzzedLog {
    fn append(&self, batch: Bytes, _: VerificationGuard) -> Result<i64, CoordinatorError> {
        Ok(self.end + batch.len() as i64)
    }

    fn append_end_transaction_marker(&self, _: &EndTransactionMarker) -> Result<i64, CoordinatorError> {
        Ok(self.end)
    }

    fn start_transaction_verification(&self, _: Producer, _: bool) -> Result<VerificationGuard, CoordinatorError> {
        Ok(VerificationGuard::NONE)
    }

    fn read(&self, offset: i64, _: usize) -> Result<Bytes, CoordinatorError> {
        Ok(if offset == 0 { self.bytes.clone() } else { Bytes::new() })
    }

    fn start_offset(&self) -> i64 {
        0
    }

    fn end_offset(&self) -> i64 {
        self.end
    }

    fn is_committed(&self, _: i64) -> bool {
        true
    }

    fn wait_committed(&self, _: i64) -> BoxFuture<'static, bool> {
        Box::pin(std::future::ready(true))
    }

    fn max_batch_bytes(&self) -> usize {
        1 << 20
    }
}

fn written(is_transactions: bool, mut input: &[u8]) -> FuzzedLog {
    let (mut bytes, mut end) = (BytesMut::new(), 0);
    while let [flags, key_length, value_length, rest @ ..] = input {
        let (key, rest) = rest.split_at(usize::from(*key_length).min(rest.len()));
        let (value, rest) = rest.split_at(usize::from(*value_length).min(rest.len()));
        input = rest;
        let producer_id = i64::from(flags >> 4);
        let batch = if flags & 2 != 0 {
            end_transaction_marker(flags & 1 != 0, NOW, producer_id, 0, 0)
        } else {
            let is_transactional = flags & 1 != 0;
            let mut properties = BatchProperties { is_transactional, ..BatchProperties::default() };
            if is_transactional {
                (properties.producer_id, properties.producer_epoch) = (producer_id, 0);
            }
            // Type and version in front: 0 of a transactional id, 1 of an offset, 2 of a group.
            let kind = if is_transactions { 0 } else { 1 + (flags >> 4 & 1) };
            let key = if flags & 4 != 0 { [&[0, kind], key].concat() } else { key.to_vec() };
            let mut builder = BatchBuilder::new(properties);
            builder.append(NOW, Some(&key), Some(value).filter(|_| flags & 8 == 0), &[]).expect("a record");
            builder.build()
        };
        let mut batch = batch.to_vec();
        patch_offset_and_epoch(&mut batch, end, 0);
        end = BatchHeader::parse(&batch).expect("a batch").next_offset();
        bytes.extend_from_slice(&batch);
    }
    FuzzedLog { bytes: bytes.freeze(), end }
}

struct Nowhere;

impl MarkerWriter for Nowhere {
    fn write(&self, _: &TopicPartition, _: &EndTransactionMarker) -> BoxFuture<'static, MarkerOutcome> {
        Box::pin(std::future::ready(MarkerOutcome::Written))
    }
}

impl ProducerIdSource for Nowhere {
    fn allocate(&self) -> BoxFuture<'static, Result<ProducerIdBlock, CoordinatorError>> {
        Box::pin(std::future::ready(Err(CoordinatorError::NotAvailable)))
    }
}

fn transactions(log: &Arc<FuzzedLog>) -> String {
    let env = Env::simulated(ManualClock::new(NOW), 7);
    let config = TransactionConfig { state_topic_partitions: 1, ..TransactionConfig::default() };
    let coordinator = TransactionCoordinator::new(env, config, Arc::new(Nowhere), Arc::new(Nowhere));
    coordinator.set_transaction_version(TransactionVersion::Tv2);
    coordinator.on_elected(0, 1, log.clone());
    let list = coordinator.list(&ListTransactionsRequest::default()).now_or_never().expect("an answer");
    let mut seen = format!("{list:?}");
    for state in list.transaction_states.iter().take(4) {
        let id = state.transactional_id.clone();
        seen += &format!("{:?}", coordinator.describe(id.clone()).now_or_never());
        let request =
            InitProducerIdRequest::default().with_transactional_id(Some(id)).with_transaction_timeout_ms(1000);
        drop(coordinator.init_producer_id(&request, 5).now_or_never());
    }
    drop(coordinator.describe(TransactionalId(StrBytes::from_static_str("a"))).now_or_never());
    coordinator.run_due_timers();
    seen
}

fn groups(log: &Arc<FuzzedLog>) -> String {
    let env = Env::simulated(ManualClock::new(NOW), 7);
    let config = GroupCoordinatorConfig { offsets_topic_partitions: 1, ..GroupCoordinatorConfig::default() };
    let coordinator = GroupCoordinator::new(env, config);
    coordinator.on_elected(0, 1, log.clone());
    let list = coordinator.list_groups(ListGroupsRequest::default()).now_or_never().expect("an answer");
    let mut seen = format!("{list:?}");
    let unknown = GroupId(StrBytes::from_static_str("a"));
    for id in list.groups.iter().take(4).map(|group| group.group_id.clone()).chain([unknown]) {
        for require_stable in [false, true] {
            let group = OffsetFetchRequestGroup::default().with_group_id(id.clone()).with_topics(None);
            seen += &format!("{:?}", coordinator.fetch_offsets(9, group, require_stable).now_or_never());
        }
        drop(coordinator.delete_groups(vec![id]).now_or_never());
    }
    seen
}
