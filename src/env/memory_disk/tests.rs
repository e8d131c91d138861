//! Tests of the simulated disk itself.

use super::contents::CHUNK_SIZE;
use super::*;
use crate::env::ManualClock;

fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new(Arc::new(ManualClock::new(5)));
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

#[test]
fn reads_what_was_written_across_chunks() {
    let disk = disk();
    let file = disk.open(Path::new("/data/a"), OpenMode::CreateReadWrite).unwrap();
    let bytes: Vec<u8> = (0..3 * CHUNK_SIZE + 7).map(|index| (index % 251) as u8).collect();
    for (index, part) in bytes.chunks(10_007).enumerate() {
        file.write_all_at(part, index as u64 * 10_007).unwrap();
    }
    assert_eq!(disk.read(Path::new("/data/a"), usize::MAX).unwrap(), bytes);
    file.set_len(CHUNK_SIZE as u64 + 1).unwrap();
    file.set_len(2 * CHUNK_SIZE as u64).unwrap();
    let cut = disk.read(Path::new("/data/a"), usize::MAX).unwrap();
    assert_eq!(cut[..=CHUNK_SIZE], bytes[..=CHUNK_SIZE]);
    assert!(cut[CHUNK_SIZE + 1..].iter().all(|byte| *byte == 0));
    assert_eq!(disk.metadata(Path::new("/data/a")).unwrap().modified_millis, 5);
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    let disk = disk();
    let synced = disk.open(Path::new("/data/synced"), OpenMode::CreateReadWrite).unwrap();
    synced.write_all_at(b"kept", 0).unwrap();
    synced.sync_data().unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    synced.write_all_at(b"lost", 4).unwrap();
    let orphan = disk.open(Path::new("/data/orphan"), OpenMode::CreateReadWrite).unwrap();
    orphan.sync_data().unwrap();
    let after = disk.power_cut();
    assert_eq!(after.read(Path::new("/data/synced"), 100).unwrap(), b"kept");
    assert_eq!(after.read_dir(Path::new("/data")).unwrap(), [Path::new("/data/synced")]);
    let crashed = disk.process_crash();
    assert_eq!(crashed.read(Path::new("/data/synced"), 100).unwrap(), b"keptlost");
    assert_eq!(crashed.read_dir(Path::new("/data")).unwrap().len(), 2);
}

#[test]
fn a_rename_is_durable_only_with_its_directory() {
    let disk = disk();
    let path = Path::new("/data/a");
    disk.write_atomically(path, b"one").unwrap();
    let file = disk.open(Path::new("/data/b"), OpenMode::CreateReadWrite).unwrap();
    file.write_all_at(b"two", 0).unwrap();
    file.sync_data().unwrap();
    disk.rename(Path::new("/data/b"), path).unwrap();
    assert_eq!(disk.power_cut().read(path, 100).unwrap(), b"one");
    disk.sync_dir(Path::new("/data")).unwrap();
    assert_eq!(disk.power_cut().read(path, 100).unwrap(), b"two");
}

#[test]
fn planned_faults_strike_writes_and_syncs() {
    let disk = disk();
    let file = disk.open(Path::new("/data/a"), OpenMode::CreateReadWrite).unwrap();
    disk.set_fault(Some(Fault::Full));
    assert_eq!(file.write_all_at(b"x", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.set_fault(Some(Fault::Sync));
    file.write_all_at(b"x", 0).unwrap();
    assert!(file.sync_data().is_err());
    disk.set_fault(None);
    file.sync_data().unwrap();
}

#[test]
fn a_lock_is_held_once() {
    let disk = disk();
    let guard = disk.lock(Path::new("/data/.lock")).unwrap();
    assert!(disk.lock(Path::new("/data/.lock")).is_err());
    drop(guard);
    disk.lock(Path::new("/data/.lock")).unwrap();
}

#[test]
fn a_disk_is_freed_with_its_files() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
    let disk = MemoryDisk::new(clock.clone());
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = disk.open(Path::new("/d/f"), OpenMode::CreateReadWrite).unwrap();
    drop((disk, file));
    assert_eq!(Arc::strong_count(&clock), 1);
}

#[test]
fn syncing_the_file_system_keeps_everything_as_it_is() {
    let disk = disk();
    disk.write_atomically(Path::new("/data/gone"), b"x").unwrap();
    disk.create_dir_all(Path::new("/data/t-0")).unwrap();
    let file = write(&disk, "/data/t-0/a", b"one", 0);
    disk.remove_file(Path::new("/data/gone")).unwrap();
    disk.file_system(Path::new("/data")).unwrap().expect("there is one").sync().unwrap();
    file.write_all_at(b"two", 3).unwrap();
    let after = disk.power_cut();
    assert_eq!(after.read(Path::new("/data/t-0/a"), 100).unwrap(), b"one");
    assert!(after.metadata(Path::new("/data/gone")).is_err());
    disk.set_fault(Some(Fault::Sync));
    assert!(disk.file_system(Path::new("/data")).unwrap().expect("there is one").sync().is_err());
}

fn write(disk: &MemoryDisk, path: &str, bytes: &[u8], offset: u64) -> Arc<dyn DiskFile> {
    let file = disk.open(Path::new(path), OpenMode::CreateReadWrite).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    file
}

/// The paths below /data and their bytes, of every disk that a power cut may leave.
fn outcomes(disk: &MemoryDisk) -> BTreeSet<Vec<(String, Vec<u8>)>> {
    let cuts = disk.power_cuts();
    let disks: Vec<PowerCut> = cuts.take(5000, 1).collect();
    assert_eq!(disks.len() as u128, cuts.count());
    let listing = |cut: PowerCut| {
        let paths = cut.disk.read_dir(Path::new("/data")).unwrap().into_iter();
        paths.map(|path| (path.display().to_string(), cut.disk.read(&path, 1 << 20).unwrap())).collect()
    };
    disks.into_iter().map(listing).collect()
}

#[test]
fn a_written_file_is_torn_at_sectors() {
    let disk = disk();
    write(&disk, "/data/a", &[1; 512], 0).sync_data().unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    let file = write(&disk, "/data/a", &[2; 600], 400);
    let found = outcomes(&disk);
    // Two lengths; the first sector old or new; the second, if it is there, zero or new.
    let expected: BTreeSet<Vec<(String, Vec<u8>)>> = [(512, false, false), (512, true, false)]
        .into_iter()
        .chain([false, true].into_iter().flat_map(|first| [(1000, first, false), (1000, first, true)]))
        .map(|(len, first, second)| {
            let mut bytes = vec![1; 512];
            bytes.resize(len, 0);
            bytes[400..512].fill(if first { 2 } else { 1 });
            bytes[512..].fill(if second { 2 } else { 0 });
            vec![("/data/a".to_owned(), bytes)]
        })
        .collect();
    assert_eq!(found, expected);
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk).len(), 1);
}

#[test]
fn a_sector_written_twice_has_three_states() {
    let disk = disk();
    write(&disk, "/data/a", b"0000", 0).sync_data().unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    write(&disk, "/data/a", b"1", 0);
    write(&disk, "/data/a", b"2", 1);
    let bytes: Vec<Vec<u8>> = outcomes(&disk).into_iter().map(|paths| paths[0].1.clone()).collect();
    assert_eq!(bytes, [b"0000".to_vec(), b"1000".to_vec(), b"1200".to_vec()]);
}

#[test]
fn a_cut_that_reached_the_platter_leaves_zeros_behind_it() {
    let disk = disk();
    let file = write(&disk, "/data/a", b"abcdef", 0);
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    file.set_len(2).unwrap();
    file.write_all_at(b"XYZ", 3).unwrap();
    let bytes: BTreeSet<Vec<u8>> = outcomes(&disk).into_iter().map(|paths| paths[0].1.clone()).collect();
    // The old end, the cut, the new end; with and without the write that came last.
    let expected = [&b"abcdef"[..], b"ab\0XYZ", b"ab", b"ab\0\0\0\0"];
    assert_eq!(bytes, expected.into_iter().map(<[u8]>::to_vec).collect());
}

#[test]
fn a_rename_may_be_there_before_the_bytes() {
    let disk = disk();
    disk.write_atomically(Path::new("/data/a"), b"old").unwrap();
    write(&disk, "/data/b", b"new", 0);
    disk.rename(Path::new("/data/b"), Path::new("/data/a")).unwrap();
    let found = outcomes(&disk);
    let one = |name: &str, bytes: &[u8]| (format!("/data/{name}"), bytes.to_vec());
    for expected in [
        vec![one("a", b"old")],
        vec![one("a", b"")],
        vec![one("a", b"\0\0\0")],
        vec![one("a", b"new")],
        vec![one("a", b"old"), one("b", b"")],
        vec![one("a", b"old"), one("b", b"new")],
    ] {
        assert!(found.contains(&expected), "{expected:?}");
    }
    assert_eq!(found.len(), 7, "{found:?}");
    disk.sync_dir(Path::new("/data")).unwrap();
    assert_eq!(outcomes(&disk).len(), 3, "the name is certain, the bytes are not");
}

#[test]
fn a_directory_needs_a_sync_of_its_parent() {
    let disk = disk();
    disk.create_dir_all(Path::new("/data/t-0")).unwrap();
    write(&disk, "/data/t-0/log", b"x", 0).sync_data().unwrap();
    disk.sync_dir(Path::new("/data/t-0")).unwrap();
    assert!(disk.power_cut().metadata(Path::new("/data/t-0")).is_err());
    disk.sync_dir(Path::new("/data")).unwrap();
    assert_eq!(disk.power_cut().read(Path::new("/data/t-0/log"), 9).unwrap(), b"x");
    disk.rename(Path::new("/data/t-0"), Path::new("/data/t-0-delete")).unwrap();
    assert_eq!(disk.power_cut().read(Path::new("/data/t-0/log"), 9).unwrap(), b"x");
    disk.sync_dir(Path::new("/data")).unwrap();
    let after = disk.power_cut();
    assert_eq!(after.read_dir(Path::new("/data")).unwrap(), [Path::new("/data/t-0-delete")]);
    assert_eq!(after.read(Path::new("/data/t-0-delete/log"), 9).unwrap(), b"x");
    disk.remove_dir_all(Path::new("/data/t-0-delete")).unwrap();
    assert!(disk.read_dir(Path::new("/data")).unwrap().is_empty());
    assert_eq!(disk.power_cut().fingerprint(), after.fingerprint());
}

#[test]
fn samples_repeat_with_their_seed() {
    let disk = disk();
    for number in 0..20 {
        write(&disk, &format!("/data/{number}"), b"x", 0);
    }
    let cuts = disk.power_cuts();
    assert_eq!(cuts.count(), 1 << 60);
    let sample = |seed| cuts.take(300, seed).map(|cut| cut.choice).collect::<Vec<_>>();
    assert_eq!(sample(1), sample(1));
    assert_ne!(sample(1), sample(2));
    let first = cuts.take(300, 1).nth(200).unwrap();
    assert_eq!(cuts.disk_of(&first.choice).fingerprint(), first.disk.fingerprint());
    assert!(cuts.describe(&first.choice).contains("create 7"));
}

#[test]
fn chosen_calls_fail() {
    let disk = disk();
    let file = write(&disk, "/data/a", b"0123456789", 0);
    let plan = |call, nth, failure| {
        let calls: &'static [Call] = match call {
            Call::Read => &[Call::Read],
            Call::Write => &[Call::Write],
            _ => &[Call::Create],
        };
        disk.fail(PlannedFault { calls, nth, times: 1, failure });
    };
    plan(Call::Read, 2, Failure::Short);
    let mut buffer = [0; 10];
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 10);
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 5);
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 10);
    plan(Call::Write, 1, Failure::Full);
    assert_eq!(file.write_all_at(b"abcd", 10).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.read(Path::new("/data/a"), 99).unwrap(), b"0123456789ab", "a part was written");
    plan(Call::Create, 1, Failure::TooManyFiles);
    assert!(disk.open(Path::new("/data/b"), OpenMode::Truncate).is_err());
    disk.open(Path::new("/data/b"), OpenMode::Truncate).unwrap();
}

#[test]
fn a_halted_disk_does_nothing_more() {
    let disk = disk();
    let file = write(&disk, "/data/a", b"0123", 0);
    let before = disk.fingerprint();
    disk.halt_at(1);
    assert!(file.write_all_at(b"abcd", 4).is_err());
    assert!(disk.rename(Path::new("/data/a"), Path::new("/data/b")).is_err());
    assert!(disk.metadata(Path::new("/data/a")).is_err());
    assert_eq!(disk.fingerprint(), before);
    assert_eq!(disk.process_crash().read(Path::new("/data/a"), 9).unwrap(), b"0123");
}

#[test]
fn a_watched_disk_keeps_its_moments() {
    let disk = disk();
    disk.watch();
    disk.mark(7);
    let file = write(&disk, "/data/a", b"0123", 0);
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    let moments = disk.moments();
    let what: Vec<&str> = moments.iter().map(|moment| &*moment.what).collect();
    assert_eq!(
        what,
        ["Create /data/a", "half of Write /data/a", "Write  /data/a", "Sync  /data/a", "SyncDirectory /data"]
    );
    let bytes = |moment: &Moment| moment.disk.process_crash().read(Path::new("/data/a"), 9).unwrap();
    assert_eq!(moments.iter().map(bytes).collect::<Vec<_>>(), [&b""[..], b"01", b"0123", b"0123", b"0123"]);
    assert!(moments[3].disk.power_cut().metadata(Path::new("/data/a")).is_err());
    assert_eq!(moments[4].disk.power_cut().read(Path::new("/data/a"), 9).unwrap(), b"0123");
    assert!(moments.iter().all(|moment| moment.mark == 7));
}

#[test]
fn what_a_failed_sync_was_for_is_never_durable() {
    let disk = disk();
    let file = write(&disk, "/data/a", b"0123", 0);
    disk.sync_dir(Path::new("/data")).unwrap();
    disk.fail(PlannedFault { calls: &[Call::Sync], nth: 1, times: 1, failure: Failure::Io });
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    file.write_all_at(b"45", 4).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.process_crash().read(Path::new("/data/a"), 9).unwrap(), b"012345", "it is still in memory");
    assert_eq!(disk.power_cut().read(Path::new("/data/a"), 9).unwrap(), b"\0\0\0\x0045");
}
