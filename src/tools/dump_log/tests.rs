//! Tests of the dump on the simulated disk; that the lines are Kafka's is checked beside Kafka's own tool (`compat-tests`).

use std::sync::Arc;

use super::*;
use crate::env::{ManualClock, MemoryDisk};
use crate::record::{BatchBuilder, BatchProperties, end_transaction_marker, patch_offset_and_epoch};

fn disk_with(files: &[(&str, &[u8])]) -> MemoryDisk {
    let disk = MemoryDisk::new(Arc::new(ManualClock::new(0)));
    disk.create_dir_all(Path::new("/d")).unwrap();
    for (name, content) in files {
        let file = disk.open(&Path::new("/d").join(name), OpenMode::Truncate).unwrap();
        file.write_all_at(content, 0).unwrap();
    }
    disk
}

fn batch(base_offset: i64, records: i64) -> Vec<u8> {
    let properties = BatchProperties { base_offset, ..BatchProperties::default() };
    let mut builder = BatchBuilder::new(properties);
    for number in 0..records {
        let value = format!("v{number}");
        builder.append(100 + number, Some(b"k"), Some(value.as_bytes()), &[]).unwrap();
    }
    builder.build().to_vec()
}

fn run(disk: &MemoryDisk, options: &DumpLogOptions) -> (Result<(), DumpLogError>, String, String) {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let result = dump_log(disk, options, &mut out, &mut errors);
    (result, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
}

fn options(name: &str) -> DumpLogOptions {
    DumpLogOptions {
        files: vec![Path::new("/d").join(name)],
        max_message_size: 5 << 20,
        max_bytes: i32::MAX,
        ..DumpLogOptions::default()
    }
}

#[test]
fn a_log_is_printed_to_its_torn_end() {
    let mut bytes = batch(5, 2);
    let size = bytes.len();
    let mut marker = end_transaction_marker(true, 7, 4, 1, 9).to_vec();
    patch_offset_and_epoch(&mut marker, 9, 3);
    let epoch_byte = marker.len() - 2;
    marker[epoch_byte] ^= 1;
    bytes.extend_from_slice(&marker);
    bytes.extend_from_slice(&batch(10, 1)[..70]);
    let disk = disk_with(&[("00000000000000000005.log", &bytes)]);
    let options = DumpLogOptions { print_data_log: true, ..options("00000000000000000005.log") };
    let (result, out, errors) = run(&disk, &options);
    result.unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["Dumping /d/00000000000000000005.log", "Log starting offset: 5"]);
    assert!(lines[2].starts_with("baseOffset: 5 lastOffset: 6 count: 2 baseSequence: -1"), "{out}");
    assert!(lines[2].contains(" position: 0 CreateTime: 101 size: ") && lines[2].ends_with("isvalid: true"), "{out}");
    assert_eq!(
        lines[3],
        "| offset: 5 CreateTime: 100 keySize: 1 valueSize: 2 sequence: -1 headerKeys: [] key: k payload: v0"
    );
    assert!(lines[5].contains(&format!("isControl: true deleteHorizonMs: OptionalLong.empty position: {size}")));
    assert!(lines[5].ends_with("isvalid: false"), "{out}");
    assert!(lines[6].contains(" endTxnMarker: COMMIT coordinatorEpoch: "), "{out}");
    assert_eq!(lines[7], "Found 70 invalid bytes at the end of 00000000000000000005.log");
    assert_eq!(
        errors,
        "Non-consecutive offsets in /d/00000000000000000005.log\n  -1 is followed by 5\n  6 is followed by 9\n"
    );
}

#[test]
fn an_index_is_compared_with_its_log() {
    let mut log = batch(0, 2);
    let second = log.len() as i32;
    log.extend_from_slice(&batch(2, 3));
    let entry = |offset: i32, position: i32| [offset.to_be_bytes(), position.to_be_bytes()].concat();
    let time_entry = |timestamp: i64, offset: i32| [&timestamp.to_be_bytes()[..], &offset.to_be_bytes()[..]].concat();
    let (log_name, index_name) = ("00000000000000000000.log", "00000000000000000000.index");
    let time_name = "00000000000000000000.timeindex";
    let good = [entry(4, second), vec![0; 16]].concat();
    let good_times = [time_entry(101, 1), time_entry(102, 4)].concat();
    let disk = disk_with(&[(log_name, &log), (index_name, &good), (time_name, &good_times)]);
    let (result, out, errors) = run(&disk, &options(index_name));
    result.unwrap();
    assert_eq!(out, format!("Dumping /d/{index_name}\noffset: 4 position: {second}\n"));
    assert_eq!(errors, "");
    let (result, out, errors) = run(&disk, &options(time_name));
    result.unwrap();
    assert_eq!((&*errors, out.lines().count()), ("", 3), "{out}");

    let bad_times = [time_entry(109, 1), time_entry(102, 4), time_entry(110, 3)].concat();
    let disk = disk_with(&[(log_name, &log), (index_name, &entry(3, second)), (time_name, &bad_times)]);
    let (_, _, errors) = run(&disk, &options(index_name));
    assert_eq!(errors, format!("Mismatches in :/d/{index_name}\n  Index offset: 3, log offset: 4\n"));
    let (_, out, errors) = run(&disk, &DumpLogOptions { verify_index_only: true, ..options(time_name) });
    assert_eq!(out, format!("Dumping /d/{time_name}\n"));
    let expected = [
        "Found timestamp mismatch in :/d/00000000000000000000.timeindex",
        "  Index timestamp: 109, log timestamp: 101",
        "Found out of order timestamp in :/d/00000000000000000000.timeindex",
        "  Index timestamp: 102, Previously indexed timestamp: 109",
        "The following indexed offsets are not found in the log.",
        "Indexed offset: 3, found log offset: 4",
    ];
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);

    let sanity = DumpLogOptions { index_sanity_check: true, ..options(index_name) };
    assert!(run(&disk, &sanity).1.ends_with("passed sanity check.\n"));
    let disk = disk_with(&[(log_name, &log), (index_name, &[0; 11])]);
    assert!(matches!(run(&disk, &sanity).0, Err(DumpLogError::Corrupt { .. })));
    let disk = disk_with(&[(log_name, &log), (index_name, &entry(4, second + 500))]);
    assert!(matches!(run(&disk, &options(index_name)).0, Err(DumpLogError::Corrupt { .. })));
}

#[test]
fn a_missing_file_is_an_error_and_nothing_is_created() {
    let disk = disk_with(&[]);
    for name in ["00000000000000000000.log", "00000000000000000000.index", "00000000000000000000.timeindex"] {
        assert!(matches!(run(&disk, &options(name)).0, Err(DumpLogError::Read { .. })));
    }
    assert!(disk.read_dir(Path::new("/d")).unwrap().is_empty());
}
