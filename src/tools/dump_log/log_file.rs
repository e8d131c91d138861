//! `.log` files and metadata snapshots.

use std::path::Path;
use std::sync::Arc;

use super::message_parser::MessageParser;
use super::{DumpLogError, DumpLogOptions, Output, base_offset_of, corrupt, open};
use crate::env::{Disk, DiskFile};
use crate::record::{
    BATCH_HEADER_SIZE, BatchHeader, ControlRecordType, LOG_OVERHEAD, MAGIC_OFFSET, Record, TimestampType, check_crc,
    control_record_type, end_transaction_marker_coordinator_epoch, records,
};
use crate::wire::WireError;
use crate::wire::records::control::{
    KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
    decode_control_value,
};

/// A batch that unpacks to more is not looked into.
pub(super) const DECOMPRESSED_LIMIT: usize = 1 << 30;
/// Smallest record of any message format, without the log overhead (`LegacyRecord.RECORD_OVERHEAD_V0`).
const RECORD_OVERHEAD_V0: i32 = 14;

/// Steps over the batches of a file from a position on (`FileLogInputStream`).
pub(super) struct Batches<'a> {
    path: &'a Path,
    file: Arc<dyn DiskFile>,
    pub(super) position: u64,
    end: u64,
}

impl<'a> Batches<'a> {
    pub(super) fn new(path: &'a Path, file: Arc<dyn DiskFile>, position: u64, end: u64) -> Self {
        Self { path, file, position, end }
    }

    fn fail(&self, error: std::io::Error) -> DumpLogError {
        DumpLogError::Read { path: self.path.to_owned(), error }
    }

    /// The next batch's position and header; `None` at the end, and at a batch that the end cuts.
    pub(super) fn next_header(&mut self) -> Result<Option<(u64, BatchHeader)>, DumpLogError> {
        let position = self.position;
        let left = self.end.saturating_sub(position);
        if left <= MAGIC_OFFSET as u64 {
            return Ok(None);
        }
        let mut bytes = [0; BATCH_HEADER_SIZE];
        let wanted = left.min(BATCH_HEADER_SIZE as u64) as usize;
        self.file.read_exact_at(&mut bytes[..wanted], position).map_err(|error| self.fail(error))?;
        let length = i32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if length < RECORD_OVERHEAD_V0 {
            return Err(corrupt(
                self.path,
                format!(
                    "Found record size {length} smaller than minimum record overhead ({RECORD_OVERHEAD_V0}) at \
                     position {position}"
                ),
            ));
        }
        if (LOG_OVERHEAD as u64 + length as u64) > left {
            return Ok(None);
        }
        let header = BatchHeader::parse(&bytes[..wanted])
            .map_err(|error| corrupt(self.path, format!("no batch at position {position}: {error}")))?;
        self.position += header.size_in_bytes() as u64;
        Ok(Some((position, header)))
    }

    pub(super) fn read(&self, position: u64, header: &BatchHeader) -> Result<Vec<u8>, DumpLogError> {
        let mut bytes = vec![0; header.size_in_bytes()];
        self.file.read_exact_at(&mut bytes, position).map_err(|error| self.fail(error))?;
        Ok(bytes)
    }
}

pub(super) fn dump(
    disk: &dyn Disk,
    path: &Path,
    options: &DumpLogOptions,
    output: &mut Output<'_>,
) -> Result<(), DumpLogError> {
    print_title(path, output)?;
    let file = open(disk, path)?;
    let size = file.size().map_err(|error| DumpLogError::Read { path: path.to_owned(), error })?;
    let end = size.min(u64::try_from(options.max_bytes).unwrap_or(0));
    let mut batches = Batches::new(path, file, 0, end);
    let mut previous = -1;
    let mut gaps = Vec::new();
    while let Some((position, header)) = batches.next_header()? {
        let batch = batches.read(position, &header)?;
        print_batch(position, &header, &batch, path, output)?;
        if options.deep_iteration || options.prints_contents() {
            print_records(&header, &batch, path, options, output, &mut |offset| {
                if offset != previous + 1 {
                    gaps.push((previous, offset));
                }
                previous = offset;
            })?;
        }
    }
    if batches.position < end && options.max_bytes == i32::MAX {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(output.out, "Found {} invalid bytes at the end of {name}", end - batches.position)?;
    }
    if !gaps.is_empty() {
        output.mismatches.push(format!("Non-consecutive offsets in {}", path.display()));
        // One line for each offset before a gap, the last one told of it, in their order.
        let gaps: std::collections::BTreeMap<i64, i64> = gaps.into_iter().collect();
        output.mismatches.extend(gaps.iter().map(|(before, after)| format!("  {before} is followed by {after}")));
    }
    Ok(())
}

fn print_title(path: &Path, output: &mut Output<'_>) -> Result<(), DumpLogError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some(stem) = name.strip_suffix(".checkpoint") {
        if stem == "bootstrap" {
            writeln!(output.out, "KRaft bootstrap snapshot")?;
            return Ok(());
        }
        let id = stem.split_once('-').and_then(|(offset, epoch)| Some((offset.parse().ok()?, epoch.parse().ok()?)));
        let (offset, epoch): (i64, i32) =
            id.ok_or_else(|| corrupt(path, "the name is not that of a metadata snapshot"))?;
        writeln!(output.out, "Snapshot end offset: {offset}, epoch: {epoch}")?;
    } else {
        writeln!(output.out, "Log starting offset: {}", base_offset_of(path)?)?;
    }
    Ok(())
}

fn print_batch(
    position: u64,
    header: &BatchHeader,
    batch: &[u8],
    path: &Path,
    output: &mut Output<'_>,
) -> Result<(), DumpLogError> {
    let delete_horizon = match header.delete_horizon_ms() {
        None => "OptionalLong.empty".to_owned(),
        Some(horizon) => format!("OptionalLong[{horizon}]"),
    };
    write!(
        output.out,
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} \
         partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {delete_horizon}",
        header.base_offset,
        header.last_offset(),
        header.record_count,
        header.base_sequence,
        header.last_sequence(),
        header.producer_id,
        header.producer_epoch,
        header.partition_leader_epoch,
        header.is_transactional(),
        header.is_control(),
    )?;
    let codec = header.compression().map_err(|error| corrupt(path, format!("position {position}: {error}")))?;
    writeln!(
        output.out,
        " position: {position} {}: {} size: {} magic: {} compresscodec: {} crc: {} isvalid: {}",
        timestamp_type(header),
        header.max_timestamp,
        header.size_in_bytes(),
        header.magic,
        codec.name(),
        header.crc,
        check_crc(batch).is_ok(),
    )?;
    Ok(())
}

fn timestamp_type(header: &BatchHeader) -> &'static str {
    match header.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn print_records(
    header: &BatchHeader,
    batch: &[u8],
    path: &Path,
    options: &DumpLogOptions,
    output: &mut Output<'_>,
    note: &mut dyn FnMut(i64),
) -> Result<(), DumpLogError> {
    let broken = |reason: String| corrupt(path, format!("the batch at offset {}: {reason}", header.base_offset));
    let records = records(batch, DECOMPRESSED_LIMIT).map_err(|error| broken(error.to_string()))?;
    for record in records.iter() {
        let record = record.map_err(|error| broken(error.to_string()))?;
        note(record.offset);
        if !options.skip_record_metadata {
            print_record_metadata(header, &record, output)?;
        }
        if options.prints_contents() && !header.is_control() {
            let prefix = if options.skip_record_metadata { "| " } else { " " };
            print_contents(options.parser(), &record, prefix, output).map_err(|error| match error {
                Contents::Write(error) => error.into(),
                Contents::Broken(reason) => broken(reason),
            })?;
        }
        writeln!(output.out)?;
    }
    Ok(())
}

enum Contents {
    Write(std::io::Error),
    Broken(String),
}

fn print_contents(
    parser: MessageParser,
    record: &Record<'_>,
    mut prefix: &str,
    output: &mut Output<'_>,
) -> Result<(), Contents> {
    let (key, value) = parser.parse(record).map_err(Contents::Broken)?;
    if let Some(key) = key {
        write!(output.out, "{prefix}key: {key}").map_err(Contents::Write)?;
        prefix = " ";
    }
    match value {
        Some(value) => write!(output.out, "{prefix}payload: {value}").map_err(Contents::Write),
        None => Ok(()),
    }
}

fn print_record_metadata(
    header: &BatchHeader,
    record: &Record<'_>,
    output: &mut Output<'_>,
) -> Result<(), DumpLogError> {
    let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
    let headers: Vec<_> = record.headers.iter().map(|header| String::from_utf8_lossy(header.key)).collect();
    write!(
        output.out,
        "| offset: {} {}: {} keySize: {} valueSize: {} sequence: {} headerKeys: [{}]",
        record.offset,
        timestamp_type(header),
        record.timestamp,
        size(record.key),
        size(record.value),
        header.sequence_of(record.offset),
        headers.join(","),
    )?;
    if header.is_control() {
        print_control_record(record, output)?;
    }
    Ok(())
}

/// What a control record says. One that cannot be read is said to be so; Kafka's tool ends there.
fn print_control_record(record: &Record<'_>, output: &mut Output<'_>) -> Result<(), DumpLogError> {
    let key = record.key.unwrap_or_default();
    let value = record.value.unwrap_or_default();
    let json = |text: Result<String, WireError>| text.unwrap_or_else(|error| format!("(unreadable: {error})"));
    let kind = control_record_type(key).unwrap_or(ControlRecordType::Unknown);
    match kind {
        ControlRecordType::Abort | ControlRecordType::Commit => {
            let name = if kind == ControlRecordType::Commit { "COMMIT" } else { "ABORT" };
            let epoch = end_transaction_marker_coordinator_epoch(record);
            let epoch = epoch.map_or("(unreadable)".to_owned(), |epoch| epoch.to_string());
            write!(output.out, " endTxnMarker: {name} coordinatorEpoch: {epoch}")?;
        }
        ControlRecordType::LeaderChange => {
            let text =
                decode_control_value::<LeaderChangeMessage>(value).map(|(value, version)| value.to_json(version));
            write!(output.out, " LeaderChange: {}", json(text))?;
        }
        ControlRecordType::SnapshotHeader => {
            let text = decode_control_value::<SnapshotHeaderRecord>(value);
            write!(output.out, " SnapshotHeader {}", json(text.map(|(value, version)| value.to_json(version))))?;
        }
        ControlRecordType::SnapshotFooter => {
            let text = decode_control_value::<SnapshotFooterRecord>(value);
            write!(output.out, " SnapshotFooter {}", json(text.map(|(value, version)| value.to_json(version))))?;
        }
        ControlRecordType::KRaftVersion => {
            let text = decode_control_value::<KRaftVersionRecord>(value).map(|(value, version)| value.to_json(version));
            write!(output.out, " KRaftVersion {}", json(text))?;
        }
        ControlRecordType::KRaftVoters => {
            let text = decode_control_value::<VotersRecord>(value).map(|(value, version)| value.to_json(version));
            write!(output.out, " KRaftVoters {}", json(text))?;
        }
        ControlRecordType::Unknown => {
            let number = key.get(2..4).map_or(-1, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
            write!(output.out, " controlType: UNKNOWN({number})")?;
        }
    }
    Ok(())
}
