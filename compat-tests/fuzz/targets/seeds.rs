//! No target: writes honest inputs to start from, a folder a target, into the directory that `FUZZ_SEEDS` names.
#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;

use ottla::wire::api_keys;
use ottla::wire::every_request::every_request;

const RECORDS: &str = include_str!("../../../src/wire/records/golden.txt");
const BATCHES: &str = include_str!("../../../src/record/golden_batches.txt");

fuzz_target!(init: write_all(), |_input: &[u8]| {});

fn write_all() {
    let directory = std::env::var_os("FUZZ_SEEDS").expect("FUZZ_SEEDS names a directory");
    let directory = Path::new(&directory);
    requests(&directory.join("requests"));
    internal_records(&directory.join("internal_records"));
    coordinator_logs(&directory.join("coordinator_logs"));
    batches(directory);
    damages(&directory.join("log_directory"));
    metadata(&directory.join("metadata_log"));
    properties(&directory.join("properties"));
}

fn write(directory: &Path, name: &str, bytes: &[u8]) {
    fs::create_dir_all(directory).expect("a directory");
    fs::write(directory.join(name), bytes).expect("written");
}

fn hexadecimal(text: &str) -> Vec<u8> {
    let text = text.trim();
    (0..text.len()).step_by(2).filter_map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

fn requests(directory: &Path) {
    for request in every_request() {
        for version in request.versions.min..=request.versions.max {
            let mut frame = [request.key.to_be_bytes(), version.to_be_bytes()].concat();
            frame.extend([0, 0, 0, 7, 0, 1, b'c']);
            if api_keys::request_header_version(request.key, version) == Ok(2) {
                frame.push(0);
            }
            frame.extend_from_slice(&request.sample(version, 0x5eed));
            write(directory, &format!("{}-{version}", request.name()), &frame);
        }
    }
}

fn internal_records(directory: &Path) {
    for (number, line) in RECORDS.lines().enumerate() {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let kind = match name {
            "TransactionLogKey" => 2,
            _ if name.ends_with("Key") => 1,
            _ if name.starts_with("OffsetCommitValue") => 3,
            _ if name.starts_with("LegacyOffsetCommitValue") => 4,
            _ if name.starts_with("GroupMetadataValue") => 5,
            _ if name.starts_with("TransactionLogValue") => 6,
            _ => 0,
        };
        let bytes = hexadecimal(words.nth(1).unwrap_or_default());
        write(directory, &format!("{number}-{name}"), &[&[kind], &bytes[..]].concat());
    }
}

/// Every value of a coordinator's record under a key of its kind, plain and in a transaction that a marker ends.
fn coordinator_logs(directory: &Path) {
    for (number, line) in RECORDS.lines().enumerate() {
        let (name, rest) = line.split_once(' ').unwrap_or_default();
        let value = hexadecimal(rest.split_once(' ').unwrap_or_default().1);
        // Keys without their type: transactional id, offset (group, topic, partition), group.
        let (topic, flags, key): (u8, u8, &[u8]) = match name {
            _ if name.starts_with("TransactionLogValue") => (0, 4, b"\0\x01a"),
            _ if name.contains("OffsetCommitValue") => (1, 4, b"\0\x01a\0\x01t\0\0\0\0"),
            _ if name.starts_with("GroupMetadataValue") => (1, 4 | 1 << 4, b"\0\x01a"),
            _ => continue,
        };
        let Ok(value_length) = u8::try_from(value.len()) else { continue };
        let record = |flags: u8| [&[flags, key.len() as u8, value_length], key, &value].concat();
        write(directory, &format!("{number}-{name}"), &[&[topic], &record(flags)[..]].concat());
        let in_transaction =
            [&[topic], &record(flags | 1)[..], &[2 | 1, 0, 0], &record(flags | 1), &[2, 0, 0]].concat();
        write(directory, &format!("{number}-{name}-transaction"), &in_transaction);
    }
}

fn batches(directory: &Path) {
    for line in BATCHES.lines() {
        let (name, hex) = line.split_once(' ').unwrap_or_default();
        let batch = hexadecimal(hex);
        for choice in [0, 1, 3, 5, 9, 0x81, 0x91, 0xa1, 0xb1, 0xc1] {
            write(
                &directory.join("validate_produce"),
                &format!("{name}-{choice:02x}"),
                &[&[choice], &batch[..]].concat(),
            );
        }
        let records = &directory.join("record_iteration");
        write(records, name, &[&[0], &batch[..]].concat());
        if let (1..=4, Some(payload)) = (batch[22] & 7, batch.get(61..)) {
            write(records, &format!("{name}-payload"), &[&[batch[22] & 7], payload].concat());
        }
    }
}

/// A damage of each kind for each of the files of a log directory.
fn damages(directory: &Path) {
    for file in 0..32 {
        for mode in [0, 1, 2, 3, 0x80, 0x81, 0x82, 0x83] {
            write(directory, &format!("{file}-{mode:02x}"), &[file, mode, 0, 40, 0xff, 0xff, 0x7f, 0xff, b'0', b'\n']);
        }
    }
}

/// Every record alone and all of them in a row, and a damage for each file.
fn metadata(directory: &Path) {
    let mut all = vec![0];
    for (number, line) in RECORDS.lines().enumerate() {
        let (name, rest) = line.split_once(' ').unwrap_or_default();
        let value = hexadecimal(rest.split_once(' ').unwrap_or_default().1);
        if name.ends_with("Key") || name.contains("Value") || value.len() > 255 {
            continue;
        }
        let record = [&[value.len() as u8], &value[..]].concat();
        write(directory, &format!("{number}-{name}"), &[&[0], &record[..]].concat());
        all.extend(record);
    }
    write(directory, "all", &all);
    for file in 1..12 {
        write(directory, &format!("cut-{file}"), &[file, 70]);
        write(directory, &format!("damaged-{file}"), &[file, 70, 0xff, 0xff, 0xff]);
    }
}

fn properties(directory: &Path) {
    let properties: String =
        ottla::config::table::BROKER_CONFIGS.iter().map(|config| format!("{}=1\n", config.name)).collect();
    write(directory, "all", properties.as_bytes());
    write(
        directory,
        "listeners",
        b"listeners=A://:1,B://[::1]:2\nlistener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT\n",
    );
    write(directory, "escapes", b"# c\na\\:b = \\u0041\\\n  more\nlog.retention.hours:-1\r\n! x\n");
}
