//! Bytes of the records.

use proptest::prelude::*;

use super::*;
use crate::coordinator::transaction::harness_tests::{ID, metadata, record as record_of};

fn round_trip(record: &TransactionRecord) -> TransactionRecord {
    let KeyValue { key, value } = encode(record).expect("encodes");
    decode(&key, value.as_ref()).expect("decodes").expect("known")
}

#[test]
fn both_versions_come_back_without_what_they_do_not_have() {
    for state in TransactionState::ALL {
        let full = TransactionMetadata { next_producer_id: 9, last_producer_epoch: 4, ..metadata(state, 5) };
        let loaded = TransactionMetadata { last_producer_epoch: NO_PRODUCER_EPOCH, ..full.clone() };
        let flexible = record_of(full.clone());
        assert_eq!(round_trip(&flexible), record_of(loaded.clone()));
        let mut first = flexible;
        let Some(value) = &mut first.value else { panic!("has a value") };
        (value.value_version, value.completion) = (0, 77);
        let Some(found) = round_trip(&first).value else { panic!("has a value") };
        assert_eq!((found.value_version, found.completion), (0, 0));
        let expected = TransactionMetadata {
            previous_producer_id: -1,
            next_producer_id: -1,
            client_version: TransactionVersion::Tv0,
            ..loaded
        };
        assert_eq!(found.metadata, expected);
    }
}

/// The bytes of Apache Kafka 4.3's `TransactionLog.valueToBytes` for the same values, by its schema.
#[test]
fn the_bytes_are_kafkas() {
    let metadata = TransactionMetadata {
        previous_producer_id: 4000,
        client_version: TransactionVersion::Tv2,
        ..metadata(TransactionState::Ongoing, 1)
    };
    let KeyValue { key, value } = encode(&record_of(metadata)).expect("encodes");
    assert_eq!(&key[..], b"\0\0\0\x03app");
    let value = value.expect("a value");
    let mut expected = Vec::new();
    expected.extend_from_slice(&1i16.to_be_bytes());
    expected.extend_from_slice(&4000i64.to_be_bytes());
    expected.extend_from_slice(&1i16.to_be_bytes());
    expected.extend_from_slice(&60_000i32.to_be_bytes());
    expected.push(1);
    // One topic `t` with one partition 0, compact.
    expected.extend_from_slice(&[2, 2, b't', 2, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&1_699_999_940_000i64.to_be_bytes());
    expected.extend_from_slice(&1_699_999_940_000i64.to_be_bytes());
    // Two tagged fields: 0, the previous producer id, and 2, the client's version.
    expected.extend_from_slice(&[2, 0, 8]);
    expected.extend_from_slice(&4000i64.to_be_bytes());
    expected.extend_from_slice(&[2, 2, 0, 2]);
    assert_eq!(&value[..], &expected[..]);
}

#[test]
fn tombstones_and_records_of_later_releases() {
    let tombstone = TransactionRecord { transactional_id: Arc::from(ID), value: None };
    assert_eq!(round_trip(&tombstone), tombstone);
    let KeyValue { key, value } = encode(&record_of(metadata(TransactionState::Empty, 0))).expect("encodes");
    assert_eq!(decode(&Bytes::from_static(&[0, 9, 1, 2]), None), Ok(None), "another type of key");
    let mut later = value.expect("a value").to_vec();
    later[1] = 2;
    assert_eq!(decode(&key, Some(&Bytes::from(later))), Ok(None), "a later version of the value");
}

#[test]
fn what_kafka_never_writes_is_corrupt() {
    let KeyValue { key, value } = encode(&record_of(metadata(TransactionState::Ongoing, 0))).expect("encodes");
    let value = value.expect("a value");
    let state_at = 2 + 8 + 2 + 4;
    for state in [-1i8, 6, 7, 100] {
        let mut bytes = value.to_vec();
        bytes[state_at] = state.to_be_bytes()[0];
        assert!(matches!(decode(&key, Some(&Bytes::from(bytes))), Err(CoordinatorError::CorruptRecord(_))), "{state}");
    }
    for length in [0, 1, 2, 20] {
        let short = value.slice(..length);
        assert!(matches!(decode(&key, Some(&short)), Err(CoordinatorError::CorruptRecord(_))), "{length}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(key in prop::collection::vec(any::<u8>(), 0..40), value in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut typed = vec![0, 0];
        typed.extend(&key);
        let _ = decode(&Bytes::from(key), Some(&Bytes::from(value.clone())));
        let _ = decode(&Bytes::from(typed), Some(&Bytes::from(value)));
    }
}
