//! `.index` and `.timeindex` files, compared with the log that they index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::log_file::{Batches, DECOMPRESSED_LIMIT};
use super::{DumpLogError, DumpLogOptions, Output, base_offset_of, corrupt, open};
use crate::env::{Disk, DiskFile};
use crate::record::records;
use crate::types::NO_TIMESTAMP;

const OFFSET_ENTRY_BYTES: u64 = 8;
const TIME_ENTRY_BYTES: u64 = 12;

/// An index file, read entry by entry.
struct Index<'a> {
    path: &'a Path,
    file: Arc<dyn DiskFile>,
    base_offset: i64,
    size: u64,
    entry_bytes: u64,
}

impl<'a> Index<'a> {
    fn open(disk: &dyn Disk, path: &'a Path, entry_bytes: u64) -> Result<Self, DumpLogError> {
        let base_offset = base_offset_of(path)?;
        let file = open(disk, path)?;
        let size = file.size().map_err(|error| DumpLogError::Read { path: path.to_owned(), error })?;
        Ok(Self { path, file, base_offset, size, entry_bytes })
    }

    fn entries(&self) -> u64 {
        self.size / self.entry_bytes
    }

    fn read<const BYTES: usize>(&self, number: u64) -> Result<[u8; BYTES], DumpLogError> {
        let mut bytes = [0; BYTES];
        let read = self.file.read_exact_at(&mut bytes, number * self.entry_bytes);
        read.map_err(|error| DumpLogError::Read { path: self.path.to_owned(), error })?;
        Ok(bytes)
    }

    /// Offset and position of an entry of an offset index.
    fn offset_entry(&self, number: u64) -> Result<(i64, i32), DumpLogError> {
        let [a, b, c, d, position @ ..] = self.read::<8>(number)?;
        Ok((self.base_offset.wrapping_add(i64::from(i32::from_be_bytes([a, b, c, d]))), i32::from_be_bytes(position)))
    }

    /// Timestamp and offset of an entry of a time index.
    fn time_entry(&self, number: u64) -> Result<(i64, i64), DumpLogError> {
        let [timestamp @ .., a, b, c, d] = self.read::<12>(number)?;
        let relative = i32::from_be_bytes([a, b, c, d]);
        Ok((i64::from_be_bytes(timestamp), self.base_offset.wrapping_add(i64::from(relative))))
    }

    /// Position of the last entry of an offset index whose offset is not above `offset` (`OffsetIndex.lookup`).
    fn floor(&self, offset: i64) -> Result<i32, DumpLogError> {
        let (mut low, mut high) = (0, self.entries());
        let mut position = 0;
        while low < high {
            let middle = low + (high - low) / 2;
            let (entry_offset, entry_position) = self.offset_entry(middle)?;
            if entry_offset <= offset {
                position = entry_position;
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(position)
    }

    fn check_whole_entries(&self) -> Result<(), DumpLogError> {
        if self.size.is_multiple_of(self.entry_bytes) {
            return Ok(());
        }
        Err(corrupt(
            self.path,
            format!(
                "Index file is corrupt, found {} bytes which is neither positive nor a multiple of {}",
                self.size, self.entry_bytes
            ),
        ))
    }
}

/// Log and log size that belong to an index file.
fn log_of(disk: &dyn Disk, index: &Path) -> Result<(PathBuf, Arc<dyn DiskFile>, u64), DumpLogError> {
    let path = index.with_extension("log");
    let file = open(disk, &path)?;
    let size = file.size().map_err(|error| DumpLogError::Read { path: path.clone(), error })?;
    Ok((path, file, size))
}

pub(super) fn dump_offset_index(
    disk: &dyn Disk,
    path: &Path,
    options: &DumpLogOptions,
    output: &mut Output<'_>,
) -> Result<(), DumpLogError> {
    let (log_path, log, log_size) = log_of(disk, path)?;
    let index = Index::open(disk, path, OFFSET_ENTRY_BYTES)?;
    if index.entries() == 0 {
        writeln!(output.out, "{} is empty.", path.display())?;
        return Ok(());
    }
    if options.index_sanity_check {
        let (last, _) = index.offset_entry(index.entries() - 1)?;
        if last < index.base_offset {
            return Err(corrupt(path, format!("the last offset {last} is below the base offset")));
        }
        index.check_whole_entries()?;
        writeln!(output.out, "{} passed sanity check.", path.display())?;
        return Ok(());
    }
    let mut mismatches = BTreeMap::new();
    for number in 0..index.entries() {
        let (offset, position) = index.offset_entry(number)?;
        // Behind the entries, files of a running broker are full of zeros.
        if offset == index.base_offset && number > 0 {
            break;
        }
        let start = u64::try_from(position).unwrap_or(u64::MAX);
        if start > log_size {
            return Err(corrupt(
                path,
                format!("entry {number}: position {position} is behind the log's end {log_size}"),
            ));
        }
        let end = log_size.min(start.saturating_add(u64::try_from(options.max_message_size).unwrap_or(0)));
        let batch = Batches::new(&log_path, log.clone(), start, end).next_header()?;
        let (_, header) = batch.ok_or_else(|| corrupt(path, format!("entry {number}: no batch at {position}")))?;
        if header.last_offset() != offset {
            mismatches.insert(std::cmp::Reverse(offset), header.last_offset());
        }
        if !options.verify_index_only {
            writeln!(output.out, "offset: {offset} position: {position}")?;
        }
    }
    if !mismatches.is_empty() {
        output.mismatches.push(format!("Mismatches in :{}", path.display()));
        output
            .mismatches
            .extend(mismatches.iter().map(|(index, log)| format!("  Index offset: {}, log offset: {log}", index.0)));
    }
    Ok(())
}

/// What does not fit in a time index, by kind, in the order in which it is told.
#[derive(Default)]
struct TimeIndexErrors {
    mismatches: Vec<String>,
    out_of_order: Vec<String>,
    not_found: Vec<String>,
}

impl TimeIndexErrors {
    fn tell(self, path: &Path, output: &mut Output<'_>) {
        let titles = [
            format!("Found timestamp mismatch in :{}", path.display()),
            format!("Found out of order timestamp in :{}", path.display()),
            "The following indexed offsets are not found in the log.".to_owned(),
        ];
        for (title, lines) in titles.into_iter().zip([self.mismatches, self.out_of_order, self.not_found]) {
            if !lines.is_empty() {
                output.mismatches.push(title);
                output.mismatches.extend(lines);
            }
        }
    }
}

pub(super) fn dump_time_index(
    disk: &dyn Disk,
    path: &Path,
    options: &DumpLogOptions,
    output: &mut Output<'_>,
) -> Result<(), DumpLogError> {
    let log = log_of(disk, path)?;
    let index_path = path.with_extension("index");
    let index = Index::open(disk, &index_path, OFFSET_ENTRY_BYTES)?;
    let time_index = Index::open(disk, path, TIME_ENTRY_BYTES)?;
    if options.index_sanity_check {
        check_time_index(&time_index)?;
        writeln!(output.out, "{} passed sanity check.", path.display())?;
        return Ok(());
    }
    let mut errors = TimeIndexErrors::default();
    let mut previous = NO_TIMESTAMP;
    for number in 0..time_index.entries() {
        let (timestamp, offset) = time_index.time_entry(number)?;
        if offset == time_index.base_offset && number > 0 {
            break;
        }
        compare_time_entry(&index, &log, timestamp, offset, previous, &mut errors)?;
        if !options.verify_index_only {
            writeln!(output.out, "timestamp: {timestamp} offset: {offset}")?;
        }
        previous = timestamp;
    }
    errors.tell(path, output);
    Ok(())
}

fn check_time_index(index: &Index<'_>) -> Result<(), DumpLogError> {
    if let Some(last) = index.entries().checked_sub(1) {
        let ((first_timestamp, _), (timestamp, offset)) = (index.time_entry(0)?, index.time_entry(last)?);
        if timestamp < first_timestamp {
            return Err(corrupt(
                index.path,
                format!("the last timestamp {timestamp} is before the first timestamp {first_timestamp}"),
            ));
        }
        if offset < index.base_offset {
            return Err(corrupt(index.path, format!("the last offset {offset} is below the base offset")));
        }
    }
    index.check_whole_entries()
}

fn compare_time_entry(
    index: &Index<'_>,
    (log_path, log, log_size): &(PathBuf, Arc<dyn DiskFile>, u64),
    timestamp: i64,
    offset: i64,
    previous: i64,
    errors: &mut TimeIndexErrors,
) -> Result<(), DumpLogError> {
    let start = u64::try_from(index.floor(offset)?).unwrap_or(u64::MAX);
    if start > *log_size {
        return Err(corrupt(index.path, format!("position {start} is behind the log's end {log_size}")));
    }
    let mut batches = Batches::new(log_path, log.clone(), start, *log_size);
    let not_found = |found: i64| format!("Indexed offset: {offset}, found log offset: {found}");
    loop {
        let Some((position, header)) = batches.next_header()? else {
            errors.not_found.push(not_found(-1));
            return Ok(());
        };
        if header.last_offset() < offset {
            continue;
        }
        if header.last_offset() != offset {
            errors.not_found.push(not_found(header.last_offset()));
            return Ok(());
        }
        let largest = largest_timestamp(&batches.read(position, &header)?)
            .map_err(|reason| corrupt(log_path, format!("the batch at {position}: {reason}")))?;
        if largest != timestamp {
            errors.mismatches.push(format!("  Index timestamp: {timestamp}, log timestamp: {largest}"));
        }
        if previous >= timestamp {
            errors
                .out_of_order
                .push(format!("  Index timestamp: {timestamp}, Previously indexed timestamp: {previous}"));
        }
        return Ok(());
    }
}

fn largest_timestamp(batch: &[u8]) -> Result<i64, String> {
    let records = records(batch, DECOMPRESSED_LIMIT).map_err(|error| error.to_string())?;
    let mut largest = NO_TIMESTAMP;
    for record in records.iter() {
        largest = largest.max(record.map_err(|error| error.to_string())?.timestamp);
    }
    Ok(largest)
}
