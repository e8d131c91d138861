//! Files that anybody may have changed: opening a log must end, without a panic, with a log that works or an error.
#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::log_tests::{World, append, batch, fill, read_all, sequenced};
use crate::env::Disk;
use crate::record::BatchProperties;
use crate::storage::checkpoint::{parse_epochs, parse_offsets};
use crate::storage::file_names::classify_directory;
use crate::storage::property_files::{parse_clean_shutdown, parse_partition_metadata};
use crate::storage::*;

#[derive(Clone, Debug)]
enum Damage {
    Flip(usize, u8),
    Cut(usize),
    Grow(Vec<u8>),
    Replace(Vec<u8>),
    Copy(usize, usize, usize),
    Remove,
}

fn damage() -> impl Strategy<Value = (usize, Damage)> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    let damage = prop_oneof![
        6 => (any::<usize>(), 1..=255u8).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        2 => any::<usize>().prop_map(Damage::Cut),
        1 => bytes().prop_map(Damage::Grow),
        1 => bytes().prop_map(Damage::Replace),
        2 => (any::<usize>(), any::<usize>(), 1..64usize).prop_map(|(from, to, count)| Damage::Copy(from, to, count)),
        1 => Just(Damage::Remove),
    ];
    (any::<usize>(), damage)
}

fn inflict(world: &World, path: &Path, damage: Damage) {
    if world.disk.metadata(path).is_err() {
        return;
    }
    let mut bytes = world.bytes(path);
    let len = bytes.len().max(1);
    match damage {
        Damage::Flip(at, mask) if !bytes.is_empty() => bytes[at % len] ^= mask,
        Damage::Cut(at) => bytes.truncate(at % len),
        Damage::Grow(more) => bytes.extend(more),
        Damage::Replace(other) => bytes = other,
        Damage::Copy(from, to, count) if !bytes.is_empty() => {
            let part: Vec<u8> = bytes[from % len..].iter().take(count).copied().collect();
            let to = to % len;
            let end = (to + part.len()).min(len);
            bytes[to..end].copy_from_slice(&part[..end - to]);
        }
        Damage::Remove => return world.disk.remove_file(path).unwrap(),
        Damage::Flip(..) | Damage::Copy(..) => {}
    }
    world.overwrite(path, &bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_directory_opens_or_is_refused(
        damages in prop::collection::vec(damage(), 1..12),
        clean in any::<bool>(),
        recovery_point in 0..400i64,
    ) {
        let world = World::new();
        let log = world.open();
        for number in 0..40 {
            append(&log, sequenced(3, 0, number, 1));
            fill(&log, 2);
        }
        log.close().unwrap();
        let world = world.killed();
        let files: Vec<PathBuf> = world.disk.read_dir(Path::new("/data/t-0")).unwrap();
        for (file, damage) in damages {
            inflict(&world, &files[file % files.len()], damage);
        }
        let options = LogOptions { clean_shutdown: clean, recovery_point, ..world.options() };
        let Ok(log) = Log::open(options) else { return Ok(()) };
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        prop_assert!(start <= end);
        for offset in (start..end).step_by(13).take(50) {
            // Damage may be found late; it is an error then.
            let _ = log.read(offset, 1 << 16, FetchIsolation::LogEnd, true);
        }
        for timestamp in [0, 1000, 1020, 5000] {
            let _ = log.offset_for_timestamp(timestamp);
        }
        let _ = (log.max_timestamp_offset(), log.active_producers(), log.end_offset_for_epoch(0));
        if end >= i64::from(i32::MAX) {
            // A flipped base offset, which no checksum covers, may have moved the end far away.
            return Ok(());
        }
        let first = log.append_records(batch(BatchProperties::default(), 2, 1), 7, AppendOrigin::Client, 0);
        prop_assert_eq!(first.unwrap().first_offset, end);
        let last = read_all(&log, end);
        prop_assert_eq!(last.len(), 1);
        log.update_high_watermark(end + 2);
        let _ = log.delete_old_segments(i64::MAX);
        log.close().unwrap();
        let again = world.open_clean();
        prop_assert_eq!(again.log_end_offset(), end + 2);
    }

    #[test]
    fn readers_of_small_files_take_anything(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[0-9a-z=:\\-\\. \n]{0,80}") {
        for bytes in [&bytes[..], text.as_bytes()] {
            let _ = (parse_offsets(bytes), parse_epochs(bytes), parse_partition_metadata(bytes), parse_clean_shutdown(bytes));
            let _ = (MetaProperties::parse(Path::new("/d"), bytes), producer_snapshot::decode(bytes));
        }
        let _ = (classify_directory(Path::new(&text)), parse_uuid(&text));
    }
}
