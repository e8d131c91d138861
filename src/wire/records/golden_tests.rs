//! Our records against bytes that Apache Kafka 4.3.0's own classes wrote: `golden.txt`, a line a record (name, version,
//! bytes in hexadecimal), from `MetadataRecordSerde`, `MessageUtil.toCoordinatorTypePrefixedByteBuffer` (keys) and
//! `MessageUtil.toVersionPrefixedByteBuffer` (values).

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::protocol::{Decodable, Encodable};
use uuid::Uuid;

use super::group::*;
use super::metadata::*;
use super::transaction::{
    PartitionsSchema, TransactionLogKey, TransactionLogValue, decode_transaction_key, encode_key as transaction_key,
};
use crate::wire::WireError;

const GOLDEN: &str = include_str!("golden.txt");

fn golden(name: &str, version: i16) -> Vec<u8> {
    let prefix = format!("{name} {version} ");
    let hex = GOLDEN.lines().find_map(|line| line.strip_prefix(&prefix)).expect("a line in golden.txt").trim();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn id(low: u64) -> Uuid {
    Uuid::from_u64_pair(0x0102_0304_0506_0708, low)
}

fn is_golden(name: &str, version: i16, record: impl Into<MetadataRecord>) {
    let record = record.into();
    let expected = golden(name, version);
    assert_eq!(&record.encode(version).expect("encodes")[..], &expected[..], "{name} v{version}");
    assert_eq!(MetadataRecord::decode(&expected).expect("decodes"), (record.clone(), version), "{name} v{version}");
    assert!(name.starts_with(record.name().trim_end_matches("Record")), "{name} is a {}", record.name());
    for length in 0..expected.len() {
        assert!(MetadataRecord::decode(&expected[..length]).is_err(), "{name} v{version} cut at {length}");
    }
}

#[test]
fn register_broker() {
    for version in 0..=4 {
        let record = RegisterBrokerRecord {
            broker_id: 1,
            is_migrating_zk_broker: version >= 2,
            incarnation_id: id(1),
            broker_epoch: 77,
            end_points: vec![BrokerEndpoint {
                name: "PLAINTEXT".into(),
                host: "localhost".into(),
                port: 59092,
                security_protocol: 0,
            }],
            features: vec![BrokerFeature {
                name: "metadata.version".into(),
                min_supported_version: 7,
                max_supported_version: 29,
            }],
            rack: Some("r1".into()),
            fenced: false,
            in_controlled_shutdown: version >= 1,
            log_dirs: if version >= 3 { vec![id(2), id(3)] } else { vec![] },
            cordoned_log_dirs: (version >= 4).then(|| vec![id(3)]),
        };
        is_golden("RegisterBroker", version, record);
    }
    is_golden("RegisterBrokerNulls", 3, RegisterBrokerRecord { broker_id: 1, ..Default::default() });
}

#[test]
fn partitions() {
    for version in 0..=2 {
        let record = PartitionRecord {
            partition_id: 2,
            topic_id: id(9),
            replicas: vec![1, 2],
            isr: vec![1],
            removing_replicas: vec![2],
            adding_replicas: vec![3],
            leader: 1,
            leader_recovery_state: 1,
            leader_epoch: 4,
            partition_epoch: 300,
            directories: if version >= 1 { vec![id(2), id(3)] } else { vec![] },
            eligible_leader_replicas: (version >= 2).then(|| vec![2]),
            last_known_elr: (version >= 2).then(|| vec![3]),
        };
        is_golden("Partition", version, record);
        let change = PartitionChangeRecord {
            partition_id: 2,
            topic_id: id(9),
            isr: Some(vec![1, 2]),
            leader: 2,
            replicas: Some(vec![2, 1]),
            removing_replicas: Some(vec![]),
            adding_replicas: Some(vec![5]),
            leader_recovery_state: 0,
            directories: (version >= 1).then(|| vec![id(2)]),
            eligible_leader_replicas: (version >= 2).then(|| vec![7]),
            last_known_elr: (version >= 2).then(Vec::new),
        };
        is_golden("PartitionChange", version, change);
    }
    let plain = PartitionRecord {
        partition_id: 0,
        topic_id: id(9),
        replicas: vec![1],
        isr: vec![1],
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![id(2)],
        ..Default::default()
    };
    is_golden("PartitionPlain", 1, plain);
    let empty = PartitionChangeRecord { partition_id: 2, topic_id: id(9), ..Default::default() };
    is_golden("PartitionChangeEmpty", 0, empty);
}

#[test]
fn broker_registration_change() {
    for version in 0..=3 {
        let record = BrokerRegistrationChangeRecord {
            broker_id: 1,
            broker_epoch: 77,
            fenced: -1,
            in_controlled_shutdown: i8::from(version >= 1),
            log_dirs: if version >= 2 { vec![id(2)] } else { vec![] },
            cordoned_log_dirs: (version >= 3).then(Vec::new),
        };
        is_golden("BrokerRegistrationChange", version, record);
    }
}

#[test]
fn topics_configurations_and_features() {
    is_golden("Topic", 0, TopicRecord { name: "orders".into(), topic_id: id(9) });
    is_golden("RemoveTopic", 0, RemoveTopicRecord { topic_id: id(9) });
    is_golden("ClearElr", 0, ClearElrRecord { topic_name: "orders".into() });
    let config = ConfigRecord {
        resource_type: 2,
        resource_name: "orders".into(),
        name: "retention.ms".into(),
        value: Some("1000".into()),
    };
    is_golden("Config", 0, config);
    let config = ConfigRecord { resource_type: 4, name: "log.retention.ms".into(), ..Default::default() };
    is_golden("ConfigNull", 0, config);
    is_golden("FeatureLevel", 0, FeatureLevelRecord { name: "metadata.version".into(), feature_level: 29 });
    is_golden("ProducerIds", 0, ProducerIdsRecord { broker_id: 1, broker_epoch: 77, next_producer_id: 2000 });
}

#[test]
fn brokers_controllers_and_transactions() {
    is_golden("UnregisterBroker", 0, UnregisterBrokerRecord { broker_id: 3, broker_epoch: 5 });
    is_golden("FenceBroker", 0, FenceBrokerRecord { id: 1, epoch: 2 });
    is_golden("UnfenceBroker", 0, UnfenceBrokerRecord { id: 1, epoch: 2 });
    is_golden("NoOp", 0, NoOpRecord {});
    is_golden("ZkMigrationState", 0, ZkMigrationStateRecord { zk_migration_state: 3 });
    is_golden("BeginTransaction", 0, BeginTransactionRecord { name: Some("bootstrap".into()) });
    is_golden("BeginTransactionNull", 0, BeginTransactionRecord { name: None });
    is_golden("EndTransaction", 0, EndTransactionRecord {});
    is_golden("AbortTransaction", 0, AbortTransactionRecord { reason: Some("no".into()) });
    let controller = RegisterControllerRecord {
        controller_id: 3,
        incarnation_id: id(8),
        zk_migration_ready: true,
        end_points: vec![ControllerEndpoint {
            name: "CONTROLLER".into(),
            host: "h".into(),
            port: 9093,
            security_protocol: 1,
        }],
        features: vec![ControllerFeature {
            name: "kraft.version".into(),
            min_supported_version: 0,
            max_supported_version: 1,
        }],
    };
    is_golden("RegisterController", 0, controller);
}

#[test]
fn security() {
    let token = DelegationTokenRecord {
        owner: "User:a".into(),
        requester: "User:b".into(),
        renewers: vec!["User:c".into(), "User:d".into()],
        issue_timestamp: 1,
        max_timestamp: 2,
        expiration_timestamp: 3,
        token_id: "t".into(),
    };
    is_golden("DelegationToken", 0, token);
    is_golden("RemoveDelegationToken", 0, RemoveDelegationTokenRecord { token_id: "t".into() });
    let credential = UserScramCredentialRecord {
        name: "alice".into(),
        mechanism: 1,
        salt: Bytes::from_static(&[1, 2]),
        stored_key: Bytes::from_static(&[3]),
        server_key: Bytes::from_static(&[4, 5, 6]),
        iterations: 4096,
    };
    is_golden("UserScramCredential", 0, credential);
    is_golden("RemoveUserScramCredential", 0, RemoveUserScramCredentialRecord { name: "alice".into(), mechanism: 2 });
    let quota = ClientQuotaRecord {
        entity: vec![
            EntityData { entity_type: "user".into(), entity_name: Some("alice".into()) },
            EntityData { entity_type: "client-id".into(), entity_name: None },
        ],
        key: "producer_byte_rate".into(),
        value: 1024.5,
        remove: true,
    };
    is_golden("ClientQuota", 0, quota);
    let acl = AccessControlEntryRecord {
        id: id(4),
        resource_type: 2,
        resource_name: "t".into(),
        pattern_type: 3,
        principal: "User:a".into(),
        host: "*".into(),
        operation: 3,
        permission_type: 3,
    };
    is_golden("AccessControlEntry", 0, acl);
    is_golden("RemoveAccessControlEntry", 0, RemoveAccessControlEntryRecord { id: id(4) });
}

#[test]
fn metadata_records_that_kafka_refuses() {
    let refusal = |bytes: &[u8]| MetadataRecord::decode(bytes).expect_err("refused");
    assert_eq!(refusal(&[1, 6, 0]), WireError::UnknownRecordType(6));
    assert_eq!(refusal(&[1, 20, 0, 0, 9]), WireError::TrailingBytes(1));
    assert!(matches!(refusal(&[0, 20, 0, 0]), WireError::Undecodable(_)), "frame version 0");
    assert!(matches!(refusal(&[2, 20, 0, 0]), WireError::Undecodable(_)), "frame version 2");
    assert!(matches!(refusal(&[1, 20, 1, 0]), WireError::Undecodable(_)), "version 1 of NoOpRecord");
    let record = MetadataRecord::from(PartitionRecord { directories: vec![id(1)], ..Default::default() });
    assert!(matches!(record.encode(0), Err(WireError::Unencodable(_))), "v0 has no directories");
    assert!(matches!(record.encode(3), Err(WireError::Unencodable(_))), "there is no v3");
    // A tag that we do not know is skipped.
    assert_eq!(MetadataRecord::decode(&[1, 20, 0, 1, 100, 2, 7, 7]).expect("decodes").0, NoOpRecord {}.into());
}

fn value_is_golden<V: Encodable + Decodable + PartialEq + std::fmt::Debug>(
    name: &str,
    version: i16,
    written: &V,
    read: &V,
) {
    let expected = golden(name, version);
    assert_eq!(&encode_value(written, version).expect("encodes")[..], &expected[..], "{name} v{version}");
    let (decoded, decoded_version) = decode_value::<V>(&expected).expect("decodes");
    assert_eq!((&decoded, decoded_version), (read, version), "{name} v{version}");
    for length in 0..expected.len() {
        assert!(decode_value::<V>(&expected[..length]).is_err(), "{name} v{version} cut at {length}");
    }
}

#[test]
fn group_keys() {
    let legacy = LegacyOffsetCommitKey { group: "g".into(), topic: "orders".into(), partition: 3 };
    assert_eq!(&encode_key(&legacy).expect("encodes")[..], golden("LegacyOffsetCommitKey", 0));
    let offset = OffsetCommitKey { group: "g".into(), topic: "orders".into(), partition: 3 };
    assert_eq!(&encode_key(&offset).expect("encodes")[..], golden("OffsetCommitKey", 0));
    let group = GroupMetadataKey { group: "g".into() };
    assert_eq!(&encode_key(&group).expect("encodes")[..], golden("GroupMetadataKey", 0));

    let decode = |name| GroupRecordKey::decode(&golden(name, 0)).expect("decodes");
    assert_eq!(decode("LegacyOffsetCommitKey"), GroupRecordKey::LegacyOffsetCommit(legacy));
    assert_eq!(decode("OffsetCommitKey"), GroupRecordKey::OffsetCommit(offset));
    assert_eq!(decode("GroupMetadataKey"), GroupRecordKey::GroupMetadata(group));
    assert_eq!(GroupRecordKey::decode(&[0, 3, 0, 1, b'g']), Ok(GroupRecordKey::Unknown(3)));
    assert!(GroupRecordKey::decode(&[0]).is_err());
}

#[test]
fn offset_commit_values() {
    let legacy = LegacyOffsetCommitValue { offset: 5, metadata: "m".into(), commit_timestamp: 6 };
    value_is_golden("LegacyOffsetCommitValue", 0, &legacy, &legacy);
    for version in 0..=4 {
        let written = OffsetCommitValue {
            offset: 42,
            leader_epoch: 7,
            metadata: "me".into(),
            commit_timestamp: 1000,
            expire_timestamp: 2000,
            topic_id: id(9),
        };
        let read = OffsetCommitValue {
            leader_epoch: if version >= 3 { 7 } else { -1 },
            expire_timestamp: if version == 1 { 2000 } else { -1 },
            topic_id: if version >= 4 { id(9) } else { Uuid::nil() },
            ..written.clone()
        };
        value_is_golden("OffsetCommitValue", version, &written, &read);
    }
    let plain = OffsetCommitValue { offset: 42, commit_timestamp: 1000, ..Default::default() };
    value_is_golden("OffsetCommitValueNoId", 4, &plain, &plain);
}

#[test]
fn group_metadata_values() {
    let member = |member_id: &str| MemberMetadata {
        member_id: member_id.into(),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: 45000,
        ..Default::default()
    };
    for version in 0..=4 {
        let first = MemberMetadata {
            group_instance_id: Some("i".into()),
            rebalance_timeout: 300_000,
            subscription: Bytes::from_static(&[0, 1]),
            assignment: Bytes::from_static(&[2]),
            ..member("m-1")
        };
        let written = GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 3,
            protocol: Some("range".into()),
            leader: Some("m-1".into()),
            current_state_timestamp: 1234,
            members: vec![first, member("m-2")],
        };
        let mut read = written.clone();
        if version < 3 {
            read.members[0].group_instance_id = None;
        }
        if version < 2 {
            read.current_state_timestamp = -1;
        }
        if version < 1 {
            read.members[0].rebalance_timeout = -1;
        }
        value_is_golden("GroupMetadataValue", version, &written, &read);
    }
    let empty = GroupMetadataValue::default();
    value_is_golden("GroupMetadataValueEmpty", 3, &empty, &empty);
}

#[test]
fn transactions() {
    let key = TransactionLogKey { transactional_id: "tx".into() };
    assert_eq!(&transaction_key(&key).expect("encodes")[..], golden("TransactionLogKey", 0));
    assert_eq!(decode_transaction_key(&golden("TransactionLogKey", 0)), Ok(Some(key)));
    assert_eq!(decode_transaction_key(&[0, 1, 0, 0]), Ok(None));
    for version in 0..=1 {
        let mut value = TransactionLogValue {
            producer_id: 9,
            producer_epoch: 2,
            transaction_timeout_ms: 60000,
            transaction_status: 1,
            transaction_partitions: Some(vec![PartitionsSchema { topic: "orders".into(), partition_ids: vec![0, 2] }]),
            transaction_last_update_timestamp_ms: 100,
            transaction_start_timestamp_ms: 50,
            ..Default::default()
        };
        if version >= 1 {
            value.previous_producer_id = 8;
            value.next_producer_id = 10;
            value.client_transaction_version = 2;
            value.next_producer_epoch = 1;
        }
        value_is_golden("TransactionLogValue", version, &value, &value);
    }
    let empty = TransactionLogValue { producer_id: 9, ..Default::default() };
    value_is_golden("TransactionLogValueNull", 1, &empty, &empty);
}

#[test]
fn every_golden_record_is_tested() {
    let source = include_str!("golden_tests.rs");
    let names: BTreeSet<&str> = GOLDEN.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() > 40);
    for name in names {
        assert!(source.contains(&format!("\"{name}\"")), "{name} of golden.txt is not tested");
    }
}
