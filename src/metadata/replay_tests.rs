//! Whatever was done, a restart finds what was there: from the log alone, from a snapshot and the log behind it, from an
//! older snapshot when the newest is damaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{CreatePartitionsRequest, DeleteTopicsRequest, IncrementalAlterConfigsRequest};
use proptest::prelude::*;

use super::controller_tests::{Cluster, create, name, new_topic, text};
use super::delta::MetadataDelta;
use super::*;
use crate::env::OpenMode;

const DIRECTORY: &str = "/data/__cluster_metadata-0";

#[derive(Clone, Debug)]
enum Command {
    Create(u8, i32),
    Delete(u8),
    Grow(u8, i32),
    Configure(u8, u8, Option<u16>),
    ProducerIds,
    Restart,
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let command = prop_oneof![
        4 => (0..8_u8, 1..5_i32).prop_map(|(topic, partitions)| Command::Create(topic, partitions)),
        2 => (0..8_u8).prop_map(Command::Delete),
        2 => (0..8_u8, 1..9_i32).prop_map(|(topic, partitions)| Command::Grow(topic, partitions)),
        3 => (0..8_u8, 0..3_u8, any::<Option<u16>>()).prop_map(|(topic, key, value)| Command::Configure(topic, key, value)),
        1 => Just(Command::ProducerIds),
        1 => Just(Command::Restart),
    ];
    proptest::collection::vec(command, 1..60)
}

fn topic_name(topic: u8) -> String {
    format!("topic-{topic}")
}

fn run(cluster: &Cluster, controller: &mut Arc<Controller>, command: &Command) {
    match command {
        Command::Create(topic, partitions) => {
            let topic = new_topic(&topic_name(*topic), *partitions, -1);
            controller.create_topics(&create(vec![topic])).expect("durable");
        }
        Command::Delete(topic) => {
            let request = DeleteTopicsRequest::default().with_topic_names(vec![name(&topic_name(*topic))]);
            controller.delete_topics(&request, 5).expect("durable");
        }
        Command::Grow(topic, count) => {
            let topic = CreatePartitionsTopic::default()
                .with_name(name(&topic_name(*topic)))
                .with_count(*count)
                .with_assignments(None);
            controller
                .create_partitions(&CreatePartitionsRequest::default().with_topics(vec![topic]))
                .expect("durable");
        }
        Command::Configure(topic, key, value) => {
            let config = AlterableConfig::default()
                .with_name(text(["retention.ms", "segment.ms", "delete.retention.ms"][usize::from(*key)]))
                .with_config_operation(i8::from(value.is_none()))
                .with_value(value.map(|value| text(&(u32::from(value) + 1).to_string())));
            let resource = AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(&topic_name(*topic)))
                .with_configs(vec![config]);
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
            controller.incremental_alter_configs(&request).expect("durable");
        }
        Command::ProducerIds => {
            let epoch = controller.image().cluster.broker(1).expect("registered").epoch;
            controller.allocate_producer_ids(1, epoch).expect("durable").expect("a block");
        }
        Command::Restart => *controller = cluster.start(),
    }
}

/// The image without where it came from: a start appends a control batch.
fn content(image: &MetadataImage) -> MetadataImage {
    MetadataImage { provenance: Provenance::default(), ..image.clone() }
}

fn check_indexes(image: &MetadataImage) {
    let topics = &image.topics;
    assert_eq!(topics.by_name().len(), topics.by_id().len());
    for topic in topics.by_name().values() {
        assert!(Arc::ptr_eq(topic, topics.topic_by_id(topic.id).expect("by id")));
        assert!(!topic.partitions.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_finds_the_live_state(commands in commands(), snapshot_bytes in prop_oneof![Just(u64::MAX), 200..5000_u64]) {
        let mut cluster = Cluster::new();
        cluster.snapshot_bytes = snapshot_bytes;
        let mut controller = cluster.start();
        for command in &commands {
            let before = controller.image();
            run(&cluster, &mut controller, command);
            let after = controller.image();
            for (id, topic) in before.topics.by_id() {
                let Some(now) = after.topics.topic_by_id(*id) else { continue };
                for (old, new) in topic.partitions.iter().zip(&now.partitions) {
                    prop_assert!(old.leader_epoch <= new.leader_epoch && old.partition_epoch <= new.partition_epoch);
                }
            }
        }
        let live = controller.image();
        check_indexes(&live);
        drop(controller);
        let reopened = cluster.open().expect("opens").image();
        check_indexes(&reopened);
        prop_assert_eq!(content(&live), content(&reopened));
    }

    #[test]
    fn an_image_s_own_records_make_the_image(commands in commands()) {
        let cluster = Cluster::new();
        let mut controller = cluster.start();
        commands.iter().for_each(|command| run(&cluster, &mut controller, command));
        let image = controller.image();
        let mut delta = MetadataDelta::new(Arc::default());
        for record in super::records::of_image(&image) {
            let bytes = super::records::encode(&record).expect("encodes");
            delta.replay(&super::records::decode(&bytes).expect("decodes")).expect("replays");
        }
        prop_assert_eq!(&delta.apply(image.provenance), &*image);
        prop_assert_eq!(&MetadataDelta::from_nothing(&image).apply(image.provenance), &*image);
    }
}

fn snapshots(cluster: &Cluster) -> Vec<PathBuf> {
    let entries = cluster.env.disk.read_dir(Path::new(DIRECTORY)).expect("a directory");
    entries.into_iter().filter(|path| path.extension().is_some_and(|suffix| suffix == "checkpoint")).collect()
}

fn cluster_with_snapshots() -> (Cluster, MetadataImage) {
    let mut cluster = Cluster::new();
    cluster.snapshot_bytes = 500;
    let controller = cluster.start();
    for topic in 0..20 {
        controller.create_topics(&create(vec![new_topic(&format!("t{topic}"), 3, 1)])).expect("durable");
    }
    let image = content(&controller.image());
    (cluster, image)
}

#[test]
fn two_snapshots_are_kept_and_the_log_before_them_goes() {
    let (cluster, image) = cluster_with_snapshots();
    let paths = snapshots(&cluster);
    assert_eq!(paths.len(), 2, "{paths:?}");
    let file_name = paths[0].file_name().expect("a name").to_str().expect("text");
    assert_eq!(file_name.len(), "00000000000000000000-0000000000.checkpoint".len());
    let oldest: i64 = file_name[..20].parse().expect("an offset");
    assert!(cluster.log.start_offset() <= oldest && cluster.log.start_offset() > 0);
    assert_eq!(content(&cluster.open().expect("opens").image()), image);
}

#[test]
fn a_change_is_in_a_snapshot_after_the_interval() {
    let mut cluster = Cluster::new();
    cluster.snapshot_interval_ms = 10_000;
    let controller = cluster.start();
    controller.create_topics(&create(vec![new_topic("a", 1, 1)])).expect("durable");
    controller.snapshot_if_due();
    assert_eq!(snapshots(&cluster).len(), 0);
    cluster.clock.advance(Duration::from_secs(10));
    controller.snapshot_if_due();
    assert_eq!(snapshots(&cluster).len(), 1);
    // Nothing new: nothing to write, however long it takes.
    cluster.clock.advance(Duration::from_secs(100));
    controller.snapshot_if_due();
    assert_eq!(snapshots(&cluster).len(), 1);
}

#[test]
fn old_snapshots_go_by_age_and_two_stay() {
    let mut cluster = Cluster::new();
    cluster.snapshot_bytes = 500;
    cluster.retention = SnapshotRetention { bytes: -1, milliseconds: 60_000 };
    let controller = cluster.start();
    for topic in 0..20 {
        controller.create_topics(&create(vec![new_topic(&format!("t{topic}"), 3, 1)])).expect("durable");
    }
    let before = snapshots(&cluster);
    assert!(before.len() > 3, "{before:?}");
    cluster.clock.advance(Duration::from_secs(61));
    for topic in 0..60 {
        controller.create_topics(&create(vec![new_topic(&format!("u{topic}"), 3, 1)])).expect("durable");
    }
    let after = snapshots(&cluster);
    assert!(after.len() >= 2 && after.iter().filter(|path| before.contains(path)).count() <= 1, "{after:?}");
    assert_eq!(content(&cluster.open().expect("opens").image()), content(&controller.image()));
}

fn damage(cluster: &Cluster, path: &Path, position: u64) {
    let file = cluster.env.disk.open(path, OpenMode::ReadWrite).expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).expect("reads");
    file.write_all_at(&[byte[0] ^ 0x40], position).expect("writes");
}

#[test]
fn a_damaged_or_torn_snapshot_is_passed_over() {
    for cut in [false, true] {
        let (cluster, image) = cluster_with_snapshots();
        let newest = snapshots(&cluster).pop().expect("a snapshot");
        let length = cluster.env.disk.metadata(&newest).expect("is there").len;
        if cut {
            // Without its footer a snapshot is not whole, even when all its batches are.
            let file = cluster.env.disk.open(&newest, OpenMode::ReadWrite).expect("opens");
            file.set_len(length - 75).expect("cuts");
        } else {
            damage(&cluster, &newest, length / 2);
        }
        assert_eq!(content(&cluster.open().expect("opens").image()), image);
    }
}

#[test]
fn without_a_readable_snapshot_a_trimmed_log_is_refused() {
    let (cluster, _) = cluster_with_snapshots();
    for path in snapshots(&cluster) {
        damage(&cluster, &path, 100);
    }
    let Err(MetadataError::Corrupt { reason, .. }) = cluster.open() else { panic!("refused") };
    assert!(reason.contains("the newest readable snapshot ends at 0"), "{reason}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever a disk gives back, reading it ends with an image or an error.
    #[test]
    fn damaged_snapshots_never_panic(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..20), cut in any::<Option<u16>>(), mend in any::<bool>()) {
        let (cluster, _) = cluster_with_snapshots();
        for path in snapshots(&cluster) {
            let mut bytes = cluster.env.disk.read(&path, 1 << 20).expect("reads");
            for (position, byte) in &changes {
                let position = usize::from(*position) % bytes.len();
                bytes[position] = *byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(usize::from(cut) % bytes.len());
            }
            if mend {
                mend_checksums(&mut bytes);
            }
            cluster.env.disk.write_atomically(&path, &bytes).expect("writes");
        }
        let _ = cluster.open();
    }
}

/// Makes the checksums right again, so that what is behind them is reached.
fn mend_checksums(bytes: &mut [u8]) {
    let mut position = 0;
    while let Some(header) = bytes.get(position..).and_then(|rest| crate::record::BatchHeader::parse(rest).ok()) {
        let end = position + header.size_in_bytes();
        if end > bytes.len() || header.size_in_bytes() < 61 {
            return;
        }
        let checksum = crc32c::crc32c(&bytes[position + 21..end]);
        bytes[position + 17..position + 21].copy_from_slice(&checksum.to_be_bytes());
        position = end;
    }
}
