//! What is refused, and that looking changes nothing.
#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::batches::encode_batch;
use super::super::controller_tests::{create, new_topic, registration};
use super::super::records::{self, MetadataRecord};
use super::super::{Controller, ControllerOptions, SnapshotOptions, StorageMetadataLog};
use super::*;
use crate::config::BrokerConfig;
use crate::env::{Env, ManualClock, OpenMode};
use crate::record::{BatchBuilder, BatchProperties};
use crate::storage::{LogDirectory, LogOptions, scan_partition};
use crate::types::{TopicPartition, Uuid};
use crate::wire::records::metadata::{
    AccessControlEntryRecord, BeginTransactionRecord, ClientQuotaRecord, ConfigRecord, EntityData, FeatureLevelRecord,
    PartitionRecord, RegisterBrokerRecord, RemoveAccessControlEntryRecord, UserScramCredentialRecord,
};
use crate::wire::records::transaction::{TransactionLogKey, TransactionLogValue, encode_key, encode_value};

const DIRECTORY: &str = "/data";
const MARKER: &str = ".kafka_cleanshutdown";

/// A data directory on a disk of its own.
struct Place {
    env: Env,
}

impl Place {
    fn new() -> Self {
        let env = Env::simulated(ManualClock::new(1_000_000), 1);
        env.disk.create_dir_all(Path::new(DIRECTORY)).expect("a directory");
        Self { env }
    }

    fn log(&self) -> StorageMetadataLog {
        let directory = LogDirectory::new(self.env.clone(), DIRECTORY, Uuid::from_u128(1001), 100);
        let name = TopicPartition::new(CLUSTER_METADATA_TOPIC_NAME, 0);
        let mut options = LogOptions::new(directory, name, Arc::new(StorageMetadataLog::config()));
        options.topic_id = Uuid::from_u128(1);
        options.clean_shutdown = false;
        StorageMetadataLog::open(options, self.env.clock.clone()).expect("opens")
    }

    fn start(&self) -> Arc<Controller> {
        let options = ControllerOptions::new(1, self.path("__cluster_metadata-0"));
        let config = Arc::new(BrokerConfig::default());
        let controller = Controller::open(self.env.clone(), options, Box::new(self.log()), config).expect("opens");
        let epoch = controller.register_broker(&registration(&self.env, 1)).expect("durable").expect("registered");
        controller.unfence_broker(1, epoch).expect("durable").expect("unfenced");
        controller
    }

    /// One life: topics are created, and it ends in order.
    fn live(&self, topics: &[&str]) {
        let controller = self.start();
        for topic in topics {
            let response = controller.create_topics(&create(vec![new_topic(topic, 2, 1)])).expect("durable");
            assert_eq!(response.topics[0].error_code, 0);
        }
        controller.shutdown().expect("closes");
        self.close();
    }

    fn close(&self) {
        self.env.disk.write_atomically(&self.path(MARKER), b"{}").expect("writes");
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(DIRECTORY).join(name)
    }

    fn segment(&self) -> PathBuf {
        self.path("__cluster_metadata-0/00000000000000000000.log")
    }

    /// Somebody else adds records to the closed log.
    fn add(&self, added: &[MetadataRecord]) {
        let file = self.env.disk.open(&self.segment(), OpenMode::ReadWrite).expect("opens");
        let scan = scan_partition(&*self.env.disk, &self.path("__cluster_metadata-0"), &mut |_, _| Ok(()));
        let batch = encode_batch(added, scan.expect("reads").end_offset, 9, 0).expect("encodes");
        file.write_all_at(&batch, file.size().expect("a size")).expect("writes");
    }

    /// `__transaction_state-0` with these states of transactional ids, in order.
    fn transaction_state(&self, states: &[(&str, Option<i8>)]) {
        let directory = self.path("__transaction_state-0");
        self.env.disk.create_dir_all(&directory).expect("a directory");
        let mut batch = BatchBuilder::new(BatchProperties::default());
        for (transactional_id, state) in states {
            let key = TransactionLogKey { transactional_id: (*transactional_id).to_owned() };
            let value = state.map(|transaction_status| {
                let value = TransactionLogValue { transaction_status, ..TransactionLogValue::default() };
                encode_value(&value, 1).expect("encodes")
            });
            batch.append(0, Some(&encode_key(&key).expect("encodes")), value.as_deref(), &[]).expect("room");
        }
        let bytes = if states.is_empty() { bytes::Bytes::new() } else { batch.build() };
        self.env.disk.write_atomically(&directory.join("00000000000000000000.log"), &bytes).expect("writes");
    }

    fn inspect(&self) -> Result<Inspected, String> {
        let directories = [ClaimedDirectory { path: DIRECTORY.into(), id: Some(Uuid::from_u128(1001)) }];
        inspect(&*self.env.disk, Path::new(DIRECTORY), &directories, 1).map_err(|refusal| refusal.message)
    }

    fn refused(&self, because: &str) {
        let refused = self.inspect().expect_err(because);
        assert!(refused.contains(because), "{refused}");
    }
}

fn kafkas_broker(id: i32) -> MetadataRecord {
    let feature = crate::wire::records::metadata::BrokerFeature {
        name: KAFKAS_OWN_FEATURE.to_owned(),
        min_supported_version: 0,
        max_supported_version: 1,
    };
    RegisterBrokerRecord {
        broker_id: id,
        broker_epoch: 77,
        features: vec![feature],
        log_dirs: vec![Uuid::from_u128(1001)],
        ..RegisterBrokerRecord::default()
    }
    .into()
}

#[test]
fn our_own_directory_is_opened_in_every_state() {
    let place = Place::new();
    assert_eq!(place.inspect(), Ok(Inspected::default()));
    place.live(&["a"]);
    assert_eq!(place.inspect(), Ok(Inspected::default()));
    place.env.disk.remove_file(&place.path(MARKER)).expect("removed");
    assert_eq!(place.inspect(), Ok(Inspected::default()));
}

#[test]
fn what_cannot_be_carried_is_refused_by_name() {
    let acl = AccessControlEntryRecord { id: Uuid::from_u128(5), ..AccessControlEntryRecord::default() };
    let user = UserScramCredentialRecord { name: "alice".into(), ..UserScramCredentialRecord::default() };
    let quota = ClientQuotaRecord {
        entity: vec![EntityData { entity_type: "user".into(), entity_name: None }],
        key: "producer_byte_rate".into(),
        ..ClientQuotaRecord::default()
    };
    let feature = |name: &str, feature_level| FeatureLevelRecord { name: name.into(), feature_level };
    let tiered = ConfigRecord {
        resource_type: 2,
        resource_name: "a".into(),
        name: "remote.storage.enable".into(),
        value: Some("true".into()),
    };
    let cases: [(MetadataRecord, &str); 7] = [
        (acl.into(), "the metadata holds ACLs: 00000000-0000-0000-0000-000000000005"),
        (user.into(), "SCRAM credentials: alice"),
        (quota.into(), "client quotas: producer_byte_rate of user=<default>"),
        (feature("metadata.version", 31).into(), "metadata.version is 31; levels from 7 to 30 are known"),
        (feature("moon.phase", 1).into(), "the feature moon.phase (at level 1) is not known"),
        (kafkas_broker(2), "other brokers: 2"),
        (tiered.into(), "remote.storage.enable=true: a"),
    ];
    for (record, because) in cases {
        let place = Place::new();
        place.live(&["a"]);
        place.add(&[record]);
        place.refused(because);
    }
}

#[test]
fn replicas_elsewhere_are_refused() {
    let place = Place::new();
    place.live(&[]);
    let partition = PartitionRecord {
        topic_id: Uuid::from_u128(4),
        partition_id: 0,
        replicas: vec![1, 2],
        isr: vec![1],
        leader: 1,
        ..PartitionRecord::default()
    };
    place.add(&[records::topic("t", Uuid::from_u128(4)), partition.into()]);
    place.refused("the replicas of t-0 are [1, 2]");
}

#[test]
fn what_was_removed_again_is_no_reason() {
    let place = Place::new();
    place.live(&["a"]);
    let id = Uuid::from_u128(5);
    place.add(&[
        AccessControlEntryRecord { id, ..AccessControlEntryRecord::default() }.into(),
        RemoveAccessControlEntryRecord { id }.into(),
        FeatureLevelRecord { name: "transaction.version".into(), feature_level: 2 }.into(),
    ]);
    assert_eq!(place.inspect(), Ok(Inspected::default()));
}

#[test]
fn an_unfinished_transaction_has_no_effect_and_is_ended() {
    let place = Place::new();
    place.live(&["a"]);
    let begin: MetadataRecord = BeginTransactionRecord { name: Some("big".into()) }.into();
    place.add(&[begin, records::topic("never", Uuid::from_u128(4))]);
    assert!(place.inspect().is_ok());
    place.live(&["b"]);
    let controller = place.start();
    let image = controller.image();
    assert_eq!(image.topics.by_name().keys().map(|name| &**name).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn kafkas_directory_is_known_by_its_registration() {
    let place = Place::new();
    place.live(&["a"]);
    place.add(&[kafkas_broker(1)]);
    assert_eq!(place.inspect(), Ok(Inspected { was_kafkas: true }));
    place.live(&["b"]);
    assert_eq!(place.inspect(), Ok(Inspected { was_kafkas: false }));
}

/// Transactions go on where Kafka left them, unless nobody can know what they are.
#[test]
fn transactions_of_a_known_state_are_carried_and_others_refused_by_name() {
    let place = Place::new();
    place.live(&["a"]);
    place.add(&[kafkas_broker(1)]);
    place.transaction_state(&[]);
    // From Empty to PrepareEpochFence: open and prepared ones too.
    for state in 0..=7 {
        place.transaction_state(&[("known", Some(state))]);
        assert_eq!(place.inspect(), Ok(Inspected { was_kafkas: true }), "state {state}");
    }
    place.transaction_state(&[("known", Some(1)), ("strange", Some(8)), ("odd", Some(-1))]);
    place.refused("in a state that Apache Kafka 4.3 does not know, of the transactional ids odd, strange");
    place.transaction_state(&[("strange", Some(8)), ("strange", None), ("odd", Some(-1)), ("odd", Some(4))]);
    assert!(place.inspect().is_ok());
}

#[test]
fn partitions_without_metadata_are_no_new_cluster() {
    let place = Place::new();
    place.env.disk.create_dir_all(&place.path("orders-0")).expect("a directory");
    place.refused("there is no metadata, but /data holds the partition orders-0");
    let place = Place::new();
    place.close();
    place.refused("the directory was in use and closed in order");
}

#[test]
fn several_voters_are_refused() {
    let place = Place::new();
    place.live(&["a"]);
    let state = br#"{"clusterId":"","leaderId":1,"leaderEpoch":4,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1},{"voterId":2}],"data_version":0}"#;
    place.env.disk.write_atomically(&place.path("__cluster_metadata-0/quorum-state"), state).expect("writes");
    place.refused("the metadata quorum has the voters 2 too");
}

/// Every byte of a log that was closed in order, changed one at a time: refused, or (in the fields that no checksum
/// covers) without effect on what the log says.
#[test]
fn no_changed_byte_after_an_end_in_order_makes_another_cluster() {
    let place = Place::new();
    place.live(&["a", "b"]);
    let file = place.env.disk.open(&place.segment(), OpenMode::ReadWrite).expect("opens");
    let whole = place.env.disk.read(&place.segment(), 1 << 20).expect("reads");
    let topics = || {
        let directory = place.path("__cluster_metadata-0");
        let log = FileMetadataLog::open(&*place.env.disk, &directory, true).expect("whole");
        load(&*place.env.disk, &directory, &log).expect("loads").image.topics
    };
    let before = topics();
    let mut refused = 0;
    for (position, byte) in (0_u64..).zip(&whole) {
        file.write_all_at(&[byte ^ 0x10], position).expect("writes");
        match place.inspect() {
            Err(_) => refused += 1,
            Ok(_) => assert_eq!(topics(), before, "{position}"),
        }
        file.write_all_at(&[*byte], position).expect("writes");
    }
    assert!(refused * 10 > whole.len() * 9, "{refused} of {}", whole.len());
}

/// A crash may leave any prefix of the log; it may not leave a hole in what was synced before.
#[test]
fn a_torn_end_is_recoverys_and_a_hole_is_refused() {
    let place = Place::new();
    let controller = place.start();
    for topic in ["a", "b", "c"] {
        controller.create_topics(&create(vec![new_topic(topic, 1, 1)])).expect("durable");
    }
    drop(controller);
    let whole = place.env.disk.read(&place.segment(), 1 << 20).expect("reads");
    let mut ends = Vec::new();
    let mut bytes = 0;
    scan_partition(&*place.env.disk, &place.path("__cluster_metadata-0"), &mut |_, batch| {
        bytes += batch.len();
        ends.push(bytes);
        Ok(())
    })
    .expect("reads");
    let file = place.env.disk.open(&place.segment(), OpenMode::ReadWrite).expect("opens");
    for length in 0..=whole.len() {
        file.set_len(length as u64).expect("cuts");
        assert!(place.inspect().is_ok(), "cut at {length}: {:?}", place.inspect());
        file.set_len(0).expect("cuts");
        file.write_all_at(&whole, 0).expect("writes");
    }
    // Batches: leader change, bootstrap, registration, unfencing; then one for each topic.
    assert_eq!(ends.len(), 7);
    for (number, end) in ends.iter().enumerate() {
        let start = number.checked_sub(1).map_or(0, |before| ends[before]);
        let hole = vec![0; end - start];
        file.write_all_at(&hole, start as u64).expect("writes");
        let is_last = number == 6;
        assert_eq!(place.inspect().is_ok(), is_last, "batch {number}: {:?}", place.inspect());
        // Before the first topic, only the first life's own beginning stands behind the hole: a power cut may leave that.
        file.set_len(ends[3] as u64).expect("cuts");
        if number < 4 {
            assert!(place.inspect().is_ok(), "batch {number}: {:?}", place.inspect());
        }
        file.write_all_at(&whole, 0).expect("writes");
    }
}

#[test]
fn a_snapshot_that_is_broken_and_needed_is_refused() {
    let place = Place::new();
    let mut options = ControllerOptions::new(1, place.path("__cluster_metadata-0"));
    options.snapshots = SnapshotOptions { bytes: 1, ..SnapshotOptions::default() };
    let config = Arc::new(BrokerConfig::default());
    let controller = Controller::open(place.env.clone(), options, Box::new(place.log()), config).expect("opens");
    let epoch = controller.register_broker(&registration(&place.env, 1)).expect("durable").expect("registered");
    controller.unfence_broker(1, epoch).expect("durable").expect("unfenced");
    controller.create_topics(&create(vec![new_topic("a", 1, 1)])).expect("durable");
    controller.shutdown().expect("closes");
    place.close();
    assert!(place.inspect().is_ok());
    // The log behind it is cut off to where the snapshot is needed.
    let disk = &place.env.disk;
    disk.remove_file(&place.segment()).expect("removed");
    place.refused("but the newest readable snapshot ends at");
    for (_, path) in super::super::snapshot::list(&**disk, &place.path("__cluster_metadata-0")).expect("listed") {
        disk.open(&path, OpenMode::ReadWrite).expect("opens").write_all_at(b"x", 70).expect("writes");
    }
    place.refused("closed in order");
}
