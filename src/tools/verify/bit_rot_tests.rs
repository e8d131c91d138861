//! Every single bit of every file of a small data directory, flipped one at a time: who notices, and that no reader is ever handed
//! something else than what was written as if it were good.
//!
//! A flip is judged by what an application sees: each offset read as a client reads (fetch, checksum, decode), by time, through the
//! transactions' filter, and by what a new record and a repeated one are told. The tests print one line a kind of file. Every seventh
//! bit is flipped, or with `OTTLA_EVERY_BIT=1` (`compat-tests/run bit-rot`) every one.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::config::LogConfig;
use crate::env::{Disk, Env, FileKind, ManualClock, MemoryDisk, OpenMode};
use crate::record::{
    BatchBuilder, BatchIterator, BatchProperties, Compression, CompressionType, Header, check_crc,
    end_transaction_marker, records,
};
use crate::storage::{
    AppendOrigin, FetchIsolation, Log, LogManager, LogManagerOptions, Severity, StorageError, verify_directory,
    verify_log,
};
use crate::types::{TopicPartition, Uuid};

const ROOT: &str = "/data";
const PRODUCER: i64 = 77;
const LIMIT: usize = 1 << 20;

/// A record as an application has it: everything but its bytes in the log.
type Told = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

/// What is right.
struct Truth {
    records: BTreeMap<i64, Told>,
    log_start_offset: i64,
    end_offset: i64,
    by_time: Vec<(i64, Option<i64>)>,
    aborted: Vec<(i64, i64)>,
    epochs: Vec<(i32, i64)>,
}

/// How a flip came out, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// An application got something else, or nothing, and was not told.
    Wrong,
    /// The start was refused, with the reason.
    RefusedStart,
    /// The partition is not served, with the reason.
    Offline,
    /// A read was refused.
    RefusedRead,
    /// The client's checksum.
    ClientChecksum,
    /// All answers are right: the file was rebuilt or not needed. `ottla verify` told.
    VerifyOnly,
    /// All answers are right, and nobody told: the byte means nothing, or the value is taken from elsewhere.
    Harmless,
}

fn name() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn config() -> Arc<LogConfig> {
    Arc::new(LogConfig { segment_bytes: 750, index_interval_bytes: 150, ..LogConfig::default() })
}

fn env_of(disk: MemoryDisk) -> Env {
    let env = Env::simulated(ManualClock::new(1_000_000), 7);
    Env { disk: Arc::new(disk), ..env }
}

fn open(env: &Env) -> Result<Arc<LogManager>, StorageError> {
    let options = LogManagerOptions { default_config: config(), ..LogManagerOptions::new(vec![ROOT.into()], 1) };
    LogManager::open(env.clone(), options)
}

fn log_of(manager: &LogManager) -> Result<Arc<Log>, StorageError> {
    manager.get_or_create(&name(), Uuid::from_u128(9), config())
}

fn batch(number: i64, properties: BatchProperties) -> Bytes {
    let codec = if number % 4 == 0 { CompressionType::Lz4 } else { CompressionType::None };
    let mut builder = BatchBuilder::new(BatchProperties { compression: Compression::from(codec), ..properties });
    for record in 0..2 {
        let (key, value) = (format!("key {number}"), format!("value {number}.{record}"));
        let headers = [Header { key: b"h", value: Some(b"x") }];
        let headers = if record == 0 { &headers[..] } else { &[] };
        builder.append(1000 + 10 * number, Some(key.as_bytes()), Some(value.as_bytes()), headers).unwrap();
    }
    builder.build()
}

fn sequenced(number: i64, base_sequence: i32) -> Bytes {
    let properties = BatchProperties { producer_id: PRODUCER, producer_epoch: 1, base_sequence, ..Default::default() };
    batch(number, properties)
}

/// Writes the directory: two sealed segments and an active one, two epochs, an idempotent and a transactional producer.
fn write(clean: bool) -> MemoryDisk {
    let disk = MemoryDisk::new(Arc::new(ManualClock::new(1_000_000)));
    let env = env_of(disk.clone());
    let manager = open(&env).unwrap();
    let log = log_of(&manager).unwrap();
    for number in 0..15 {
        let epoch = if number < 8 { 2 } else { 5 };
        match number {
            2 | 10 => {
                let transactional =
                    BatchProperties { producer_id: 5, producer_epoch: 0, is_transactional: true, ..Default::default() };
                let transactional = BatchProperties { base_sequence: if number == 2 { 0 } else { 2 }, ..transactional };
                log.append_verified(batch(number, transactional), epoch, 0).unwrap();
            }
            4 | 11 => {
                let marker = end_transaction_marker(false, 1000 + 10 * number, 5, 0, 1);
                log.append_records(marker, epoch, AppendOrigin::Coordinator, 0).unwrap();
            }
            _ if number % 3 == 0 => {
                let sequence = (number / 3 * 2) as i32;
                log.append_records(sequenced(number, sequence), epoch, AppendOrigin::Client, 0).unwrap();
            }
            _ => {
                let plain = batch(number, BatchProperties::default());
                log.append_records(plain, epoch, AppendOrigin::Client, 0).unwrap();
            }
        }
    }
    log.flush().unwrap();
    log.update_high_watermark(log.log_end_offset());
    log.delete_records_before(3).unwrap();
    assert!(log.segment_count() >= 3, "{}", log.segment_count());
    manager.shutdown(4).unwrap();
    if !clean {
        disk.remove_file(&Path::new(ROOT).join(".kafka_cleanshutdown")).unwrap();
    }
    drop((manager, log));
    disk.process_crash()
}

/// What the client saw of one offset range.
struct Seen {
    records: BTreeMap<i64, Told>,
    refused: bool,
    bad_checksum: bool,
    /// Offsets at which a read failed or a checksum was wrong.
    errors: Vec<i64>,
}

/// Reads every offset as a consumer that goes on behind what it cannot have.
fn read(log: &Log, from: i64, end: i64) -> Seen {
    let mut seen = Seen { records: BTreeMap::new(), refused: false, bad_checksum: false, errors: Vec::new() };
    let mut next = from;
    while next < end {
        let before = next;
        match log.read(next, 400, FetchIsolation::HighWatermark, true) {
            Err(_) => seen.refused = true,
            Ok(info) => {
                let Some(slice) = info.records else { break };
                let bytes = slice.read().expect("the disk works");
                let mut batches = BatchIterator::new(&bytes);
                for item in &mut batches {
                    let whole = item.ok().filter(|(_, batch)| check_crc(batch).is_ok());
                    let Some((header, batch)) = whole else {
                        seen.bad_checksum = true;
                        break;
                    };
                    for record in records(batch, LIMIT).expect("a good batch").iter() {
                        let record = record.expect("a good record");
                        if record.offset >= next && !header.is_control() {
                            let headers = record.headers.iter();
                            let headers = headers.map(|one| (one.key.to_vec(), one.value.map(<[u8]>::to_vec)));
                            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
                            seen.records.insert(record.offset, (record.timestamp, key, value, headers.collect()));
                        }
                    }
                    next = next.max(header.next_offset());
                }
            }
        }
        if next == before {
            seen.errors.push(next);
            next += 1;
        }
    }
    seen
}

fn truth(disk: &MemoryDisk) -> Truth {
    let manager = open(&env_of(disk.process_crash())).unwrap();
    let log = log_of(&manager).unwrap();
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let seen = read(&log, start, end);
    assert!(!seen.refused && !seen.bad_checksum && seen.records.len() >= 24 - 3, "{}", seen.records.len());
    let times = [0, 1001, 1031, 1051, 1075, 1091, 1121, 1140, i64::MAX].into_iter();
    let by_time = times.map(|time| (time, by_time(&log, time).unwrap())).collect();
    Truth {
        records: seen.records,
        log_start_offset: start,
        end_offset: end,
        by_time,
        aborted: aborted(&log, start, end).unwrap(),
        epochs: (0..7).map(|epoch| log.end_offset_for_epoch(epoch)).collect(),
    }
}

fn by_time(log: &Log, timestamp: i64) -> Result<Option<i64>, StorageError> {
    Ok(log.offset_for_timestamp(timestamp)?.map(|found| found.offset))
}

fn aborted(log: &Log, start: i64, end: i64) -> Result<Vec<(i64, i64)>, StorageError> {
    let mut found = Vec::new();
    for offset in (start..end).step_by(4) {
        let info = log.read(offset, 300, FetchIsolation::TransactionCommitted, true)?;
        found.extend(info.aborted_transactions.iter().map(|aborted| (aborted.producer_id, aborted.first_offset)));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Opens the damaged directory and asks everything; why it is wrong goes to `why`.
fn judge(disk: &MemoryDisk, truth: &Truth, why: &mut String) -> Outcome {
    let told = verify_tells(disk);
    let env = env_of(disk.process_crash());
    let manager = match open(&env) {
        Ok(manager) => manager,
        Err(_) => return Outcome::RefusedStart,
    };
    let log = match log_of(&manager) {
        Ok(log) => log,
        Err(_) => return Outcome::Offline,
    };
    log.update_high_watermark(log.log_end_offset());
    let seen = read(&log, truth.log_start_offset, truth.end_offset);
    let mut wrong = |what: String| {
        *why = what;
        Outcome::Wrong
    };
    for (offset, told) in &seen.records {
        if truth.records.get(offset) != Some(told) {
            return wrong(format!("offset {offset} is {told:?}"));
        }
    }
    for offset in truth.records.keys() {
        if !seen.records.contains_key(offset) && !seen.errors.contains(offset) {
            return wrong(format!("offset {offset} is not there and only {:?} were refused", seen.errors));
        }
    }
    // Below the start nothing may come back, and nothing may be called gone that is not.
    if log.log_start_offset() != truth.log_start_offset {
        return wrong(format!("the log starts at {}", log.log_start_offset()));
    }
    if log.log_end_offset() != truth.end_offset {
        return wrong(format!("the log ends at {}", log.log_end_offset()));
    }
    for (timestamp, expected) in &truth.by_time {
        if let Ok(found) = by_time(&log, *timestamp)
            && found != *expected
        {
            return wrong(format!("time {timestamp} is at {found:?}, not {expected:?}"));
        }
    }
    if let Ok(found) = aborted(&log, truth.log_start_offset, truth.end_offset)
        && found != truth.aborted
    {
        return wrong(format!("aborted: {found:?}"));
    }
    let epochs: Vec<_> = (0..7).map(|epoch| log.end_offset_for_epoch(epoch)).collect();
    if let Some(what) = wrong_to_producers(&log, truth) {
        return wrong(what);
    }
    if seen.refused {
        Outcome::RefusedRead
    } else if seen.bad_checksum {
        Outcome::ClientChecksum
    } else if epochs != truth.epochs {
        wrong(format!("epochs: {epochs:?}"))
    } else if told {
        Outcome::VerifyOnly
    } else {
        Outcome::Harmless
    }
}

/// A repeated batch must not be appended again, a new one comes behind the old ones.
fn wrong_to_producers(log: &Arc<Log>, truth: &Truth) -> Option<String> {
    match log.append_records(sequenced(12, 8), 6, AppendOrigin::Client, 0) {
        Ok(info) if !info.duplicate => return Some("a repeated batch was appended again".to_owned()),
        _ => {}
    }
    match log.append_records(batch(40, BatchProperties::default()), 6, AppendOrigin::Client, 0) {
        Ok(info) if info.first_offset != truth.end_offset => Some(format!("a new record is at {}", info.first_offset)),
        _ => None,
    }
}

/// Whether `ottla verify` calls something damaged or a cache wrong.
fn verify_tells(disk: &MemoryDisk) -> bool {
    let Ok(directory) = verify_directory(disk, Path::new(ROOT)) else { return true };
    let tells = |problems: &crate::storage::Problems| {
        problems.list.iter().any(|problem| problem.severity != Severity::Unfinished)
    };
    tells(&directory.problems)
        || directory.logs.iter().any(|(_, path, expectations)| {
            let expectations =
                crate::storage::LogExpectations { topic_id: Some(Uuid::from_u128(9)), ..expectations.clone() };
            verify_log(disk, path, &expectations).is_ok_and(|log| tells(&log.problems))
        })
}

fn files(disk: &MemoryDisk, directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in disk.read_dir(directory).unwrap() {
        match disk.metadata(&path).unwrap().kind {
            FileKind::File => found.push(path),
            FileKind::Directory => found.append(&mut files(disk, &path)),
        }
    }
    found
}

/// The kind of a file, as the table names it.
fn kind(path: &Path, last_segment: &str) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    match name.split_once('.') {
        Some((base, "log")) if base == last_segment => "log (active)".to_owned(),
        Some((base, suffix)) if base.len() == 20 && base == last_segment => format!("{suffix} (active)"),
        Some((base, suffix)) if base.len() == 20 => suffix.to_owned(),
        _ => name.to_owned(),
    }
}

fn flip_everything(clean: bool) {
    let disk = write(clean);
    let truth = truth(&disk);
    let paths = files(&disk, Path::new(ROOT));
    let logs = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let last_segment = logs.max().unwrap().file_stem().unwrap().to_str().unwrap().to_owned();
    let mut table: BTreeMap<String, BTreeMap<Outcome, u64>> = BTreeMap::new();
    let mut failures = Vec::new();
    for path in paths {
        let bytes = disk.read(&path, LIMIT).unwrap();
        let row = table.entry(kind(&path, &last_segment)).or_default();
        // Every seventh bit meets every bit of a byte; all of them take minutes.
        let stride = if std::env::var_os("OTTLA_EVERY_BIT").is_some() { 1 } else { 7 };
        for bit in (0..bytes.len() * 8).step_by(stride) {
            let damaged = disk.process_crash();
            let file = damaged.open(&path, OpenMode::ReadWrite).unwrap();
            file.write_all_at(&[bytes[bit / 8] ^ 1 << (bit % 8)], (bit / 8) as u64).unwrap();
            let mut why = String::new();
            let outcome = judge(&damaged, &truth, &mut why);
            *row.entry(outcome).or_default() += 1;
            if outcome == Outcome::Wrong {
                let name = path.strip_prefix(ROOT).unwrap().display();
                failures.push(format!("{name} bit {} of byte {}: {why}", bit % 8, bit / 8));
            }
        }
    }
    print(clean, &table);
    assert!(
        failures.is_empty(),
        "{} flips were believed:\n{}",
        failures.len(),
        failures[..failures.len().min(60)].join("\n")
    );
}

fn print(clean: bool, table: &BTreeMap<String, BTreeMap<Outcome, u64>>) {
    let columns = [
        (Outcome::RefusedStart, "start"),
        (Outcome::Offline, "offline"),
        (Outcome::RefusedRead, "read"),
        (Outcome::ClientChecksum, "client crc"),
        (Outcome::VerifyOnly, "rebuilt*"),
        (Outcome::Harmless, "harmless"),
        (Outcome::Wrong, "WRONG"),
    ];
    println!("bits flipped one at a time, {} stop", if clean { "clean" } else { "unclean" });
    print!("{:34}{:>8}", "kind", "bits");
    columns.iter().for_each(|(_, title)| print!("{title:>12}"));
    println!();
    for (kind, row) in table {
        print!("{kind:34}{:>8}", row.values().sum::<u64>());
        columns.iter().for_each(|(outcome, _)| print!("{:>12}", row.get(outcome).copied().unwrap_or(0)));
        println!();
    }
    println!("* all answers right, and `ottla verify` names the file");
}

#[test]
fn no_flipped_bit_is_believed_after_a_clean_stop() {
    flip_everything(true);
}

#[test]
fn no_flipped_bit_is_believed_after_an_unclean_stop() {
    flip_everything(false);
}
