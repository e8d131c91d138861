//! When a new segment begins, and what its files are.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::log_tests::{World, append, batch, fill, read_all};
use crate::config::LogConfig;
use crate::env::{Disk, OpenMode};
use crate::record::BatchProperties;
use crate::storage::segment_files::SegmentFileKind;
use crate::storage::*;

/// A batch of one record that spans so many offsets, as compaction leaves them.
fn sparse(span: i32) -> Bytes {
    let mut bytes = batch(BatchProperties::default(), 1, 1000).to_vec();
    bytes[23..27].copy_from_slice(&(span - 1).to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// KAFKA-2024, KAFKA-4451, KAFKA-5413, KAFKA-6264: offsets relative to the segment's base do not fit into 32 bits.
#[test]
fn a_segment_spans_no_more_offsets_than_an_index_can_name() {
    let mut world = World::new();
    world.config.index_interval_bytes = 0;
    world.config.segment_bytes = 1 << 20;
    let log = world.open();
    let spans = [10, i32::MAX - 20, 9, 1, 1, 1, i32::MAX, 1, 1, i32::MAX - 1, 1, 1];
    let mut end = 0;
    for span in spans {
        let info = log.append_records(sparse(span), 0, AppendOrigin::Replication, 0).unwrap();
        assert_eq!((info.first_offset, info.log_end_offset), (end, end + i64::from(span)));
        end = info.log_end_offset;
    }
    assert_eq!(log.segment_count(), 4);
    let check = |log: &Log| {
        for view in log.segments().unwrap() {
            assert!(view.next_base_offset - view.base_offset <= i64::from(i32::MAX) + 1);
        }
        assert_eq!(read_all(log, 0).len(), spans.len());
        let mut offset = 0;
        for span in spans {
            for within in [0, i64::from(span) / 2, i64::from(span) - 1] {
                let info = log.read(offset + within, 1, FetchIsolation::LogEnd, true).unwrap();
                let bytes = info.records.unwrap().read().unwrap();
                assert_eq!(i64::from_be_bytes(bytes[..8].try_into().unwrap()), offset);
            }
            offset += i64::from(span);
        }
    };
    check(&log);
    check(&world.killed().open());
    log.close().unwrap();
    check(&world.open_clean());
    // Indexes that are built again say the same.
    let without = world.killed();
    without.files("index").iter().for_each(|path| without.disk_remove(path));
    check(&without.open_clean());
}

/// KAFKA-6388, KAFKA-6324: files lie where the next segment goes.
#[test]
fn rolling_onto_files_that_exist_begins_an_empty_segment() {
    let world = World::new();
    let log = world.open();
    fill(&log, 3);
    let left = Path::new("/data/t-0");
    for suffix in ["log", "index", "timeindex", "txnindex"] {
        let path = left.join(format!("{:020}.{suffix}", 9));
        let file = world.disk.open(&path, OpenMode::CreateReadWrite).unwrap();
        file.write_all_at(&batch(BatchProperties::default(), 50, 9), 0).unwrap();
    }
    log.update_config(Arc::new(LogConfig { segment_bytes: 400, ..world.config.clone() }));
    append(&log, batch(BatchProperties::default(), 1, 5));
    assert_eq!(log.segments().unwrap().last().unwrap().base_offset, 9);
    assert!(world.files(".txnindex").is_empty());
    for log in [log.clone(), world.killed().open()] {
        assert_eq!((log.log_end_offset(), read_all(&log, 0).len()), (10, 4));
    }
    // A full segment that is empty, by its settings, is not rolled onto itself.
    log.update_config(Arc::new(LogConfig { segment_index_bytes: 12, ..world.config.clone() }));
    fill(&log, 5);
    assert_eq!((log.log_end_offset(), read_all(&log, 0).len()), (25, 9));
}

/// KAFKA-13603: an empty segment without indexes is no damage.
#[test]
fn an_empty_segment_needs_no_indexes() {
    for clean in [true, false] {
        let world = World::new();
        let log = world.open();
        fill(&log, 20);
        log.update_high_watermark(60);
        log.update_config(Arc::new(LogConfig { retention_ms: 0, ..world.config.clone() }));
        assert!(log.delete_old_segments(i64::MAX).unwrap() > 0);
        log.close().unwrap();
        world.files("index").iter().for_each(|path| world.disk_remove(path));
        let log = if clean { world.open_clean() } else { world.open() };
        assert_eq!((log.log_start_offset(), log.log_end_offset(), log.size()), (60, 60, 0));
        assert_eq!(append(&log, batch(BatchProperties::default(), 1, 5)).first_offset, 60);
        assert_eq!(log.offset_for_timestamp(5).unwrap().unwrap().offset, 60);
    }
}

/// KAFKA-4614, KAFKA-7283: mapped index files stalled brokers, and looking at all of them slowed the start. (That the start looks at
/// none is `opening_costs_the_same_for_one_segment_and_for_many`.)
#[test]
fn no_file_is_mapped() {
    assert!(!include_str!("../../../Cargo.lock").contains("name = \"memmap"));
    assert!(!include_str!("../../../Cargo.toml").contains("\"mm\""), "rustix can map files");
}

#[test]
fn preallocated_segments_are_trimmed_when_they_end() {
    let mut world = World::new();
    world.config.preallocate = true;
    let log = world.open();
    let length = |path: &Path| world.disk.metadata(path).unwrap().len;
    let active = || world.files(".log").pop().unwrap();
    assert_eq!(length(&active()), 2048);
    fill(&log, 50);
    assert_eq!(length(&active()), 2048, "every segment");
    let views = log.segments().unwrap();
    assert!(views.len() > 2);
    for view in &views[..views.len() - 1] {
        assert_eq!(length(&view.path(SegmentFileKind::Log)), view.size);
    }
    assert_eq!(read_all(&log, 0).len(), 50);
    // After a crash the rest is cut away, and the segment goes on.
    let killed = world.killed();
    let after = killed.open();
    assert_eq!((after.log_end_offset(), read_all(&after, 0).len()), (150, 50));
    fill(&after, 3);
    assert_eq!(read_all(&killed.killed().open(), 0).len(), 53);
    // A clean stop leaves no hole.
    let size = log.size();
    log.close().unwrap();
    let total: u64 = world.files(".log").iter().map(|path| length(path)).sum();
    assert_eq!(total, size);
    let reopened = world.open_clean();
    fill(&reopened, 1);
    assert_eq!(read_all(&reopened, 0).len(), 51);
}
