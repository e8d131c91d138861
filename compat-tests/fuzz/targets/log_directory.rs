//! A log directory with one damaged file: opened, read, appended to, stopped and opened again. First byte: which file; second:
//! how it is damaged, and whether the directory was stopped cleanly; then the position and the bytes.
#![no_main]

mod memory;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use ottla::config::LogConfig;
use ottla::env::{Disk, Env, FileKind, ManualClock, OpenMode};
use ottla::record::{BatchBuilder, BatchProperties};
use ottla::storage::{AppendOrigin, FetchIsolation, Log, LogManager, LogManagerOptions};
use ottla::types::{TopicPartition, Uuid};

const ROOT: &str = "/data";
const NOW: i64 = 1_000_000;

fuzz_target!(|data: &[u8]| {
    let [file, mode, position_high, position_low, bytes @ ..] = data else { return };
    let env = Env::simulated(ManualClock::new(NOW), 7);
    build(&env, mode & 0x80 != 0);
    let files = files(&*env.disk, Path::new(ROOT));
    let position = usize::from(u16::from_be_bytes([*position_high, *position_low]));
    damage(&*env.disk, &files[usize::from(*file) % files.len()], mode & 0x7f, position, bytes);
    if survive(&env).is_some() {
        survive(&env).expect("what was opened and stopped can be opened again");
    }
});

fn options() -> LogManagerOptions {
    LogManagerOptions::new(vec![ROOT.into()], 1)
}

fn append(log: &Arc<Log>, base_sequence: i32, count: i64) -> bool {
    let properties = BatchProperties { producer_id: 5, producer_epoch: 0, base_sequence, ..Default::default() };
    let mut batch = BatchBuilder::new(properties);
    for record in 0..count {
        batch.append(NOW + record, Some(b"key"), Some(&[7; 40]), &[]).expect("a record");
    }
    log.append_records(batch.build(), 3, AppendOrigin::Coordinator, NOW).is_ok()
}

/// Segments, indexes, snapshots, checkpoints: one of everything.
fn build(env: &Env, clean: bool) {
    let manager = LogManager::open(env.clone(), options()).expect("opens");
    let config = LogConfig { segment_bytes: 600, index_interval_bytes: 100, ..LogConfig::default() };
    let log = manager.get_or_create(&TopicPartition::new("t", 0), Uuid::from_u128(9), Arc::new(config)).expect("a log");
    for batch in 0..6 {
        assert!(append(&log, batch * 4, 4));
    }
    log.update_high_watermark(20);
    log.delete_records_before(2).expect("deletes");
    if clean {
        manager.shutdown(1).expect("stops");
    } else {
        log.flush().expect("flushes");
        assert!(append(&log, 24, 4));
    }
}

fn files(disk: &dyn Disk, directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in disk.read_dir(directory).expect("a directory") {
        match disk.metadata(&path).expect("metadata").kind {
            FileKind::Directory => found.extend(files(disk, &path)),
            _ => found.push(path),
        }
    }
    found
}

fn damage(disk: &dyn Disk, path: &Path, mode: u8, position: usize, bytes: &[u8]) {
    let mut contents = disk.read(path, usize::MAX).expect("readable");
    let position = position.min(contents.len());
    match mode % 4 {
        0 => contents = bytes.to_vec(),
        1 => {
            let end = (position + bytes.len()).min(contents.len());
            contents[position..end].copy_from_slice(&bytes[..end - position]);
        }
        2 => contents.truncate(position),
        _ => contents.extend_from_slice(bytes),
    }
    let file = disk.open(path, OpenMode::Truncate).expect("opens");
    file.write_all_at(&contents, 0).expect("writes");
}

/// Opens, uses and stops the directory; `None` when it is refused, which is an answer too.
fn survive(env: &Env) -> Option<()> {
    let manager = LogManager::open(env.clone(), options()).ok()?;
    for log in manager.logs() {
        let mut offset = log.log_start_offset();
        while let Ok(info) = log.read(offset, 300, FetchIsolation::LogEnd, true) {
            let Some(slice) = info.records else { break };
            let Ok(bytes) = slice.read() else { break };
            let mut next = offset;
            for batch in ottla::record::BatchIterator::new(&bytes) {
                let Ok((header, _)) = batch else { break };
                next = next.max(header.last_offset().saturating_add(1));
            }
            if next == offset {
                break;
            }
            offset = next;
        }
        let _ = log.offset_for_timestamp(NOW);
        let _ = log.max_timestamp_offset();
        let _ = log.end_offset_for_epoch(3);
        let before = log.log_end_offset();
        if append(&log, 28, 2) {
            assert!(log.log_end_offset() > before);
        }
    }
    manager.shutdown(2).ok()
}
