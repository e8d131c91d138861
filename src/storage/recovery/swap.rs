//! Segments that a cleaner was putting in place when the broker stopped (`LogLoader.removeTempFilesAndCollectSwapFiles` and its passes).
//!
//! A swap counts as soon as its log file is named `.swap`: everything in it was synced before. It is completed: the segments that it stands
//! for are removed, its files get their final names. Whatever stops before that, or again in here, the next start does the rest. The
//! producers' snapshots and the indexes are as good as before, so that nothing is rebuilt (KAFKA-12520).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::env::OpenMode;
use crate::storage::batch_scan::{BatchScanner, Scanned};
use crate::storage::directory::LogDirectory;
use crate::storage::file_names::{
    CLEANED_SUFFIX, SNAPSHOT_SUFFIX, SWAP_EXTENT_SUFFIX, SWAP_SUFFIX, offset_file, parse_offset_file,
};
use crate::storage::log::{rename_segment, swap_file};
use crate::storage::segment_files::{SegmentFileKind, is_not_found};
use crate::storage::{StorageError, StorageResult};

/// What an interrupted swap left.
#[derive(Default)]
struct Leftovers<'a> {
    /// Base offsets of `.log.swap` files.
    swaps: BTreeSet<i64>,
    /// Base offsets of other `.swap` files.
    others: BTreeSet<i64>,
    extents: BTreeSet<i64>,
    /// The smallest base offset of a `.cleaned` file.
    first_cleaned: Option<i64>,
    entries: &'a [PathBuf],
}

/// Completes or drops what was being swapped in, according to the entries of the log's directory; whether these have changed. Call it
/// before files are removed or opened.
pub(super) fn complete(directory: &LogDirectory, at: &Path, entries: &[PathBuf]) -> StorageResult<bool> {
    let leftovers = find(entries);
    if leftovers.swaps.is_empty() && leftovers.others.is_empty() && leftovers.extents.is_empty() {
        return Ok(false);
    }
    let (mut dropped, mut valid) = (Vec::new(), Vec::new());
    for base_offset in leftovers.swaps.union(&leftovers.others).copied() {
        // A cleaned file at or before it: its rename had not come to an end, and the old segments are there.
        let incomplete = leftovers.first_cleaned.is_some_and(|cleaned| cleaned <= base_offset);
        if incomplete { dropped.push(base_offset) } else { valid.push(base_offset) }
    }
    for base_offset in dropped {
        tracing::warn!("{}: dropping an unfinished swap at {base_offset}", at.display());
        // The log file first: without it the others mean nothing.
        remove(directory, &swap_file(at, base_offset, SegmentFileKind::Log))?;
        for kind in SegmentFileKind::ALL {
            remove(directory, &swap_file(at, base_offset, kind))?;
        }
    }
    // What a killed process renamed is seen here, and may still be undone by a power cut: nothing is removed for its sake before.
    sync(directory, at)?;
    for base_offset in valid {
        if leftovers.swaps.contains(&base_offset) {
            finish(directory, at, base_offset, &leftovers)?;
        } else {
            adopt_indexes(directory, at, base_offset)?;
        }
    }
    sync(directory, at)?;
    for base_offset in &leftovers.extents {
        remove(directory, &offset_file(at, *base_offset, SWAP_EXTENT_SUFFIX))?;
    }
    Ok(true)
}

fn find(entries: &[PathBuf]) -> Leftovers<'_> {
    let mut found = Leftovers { entries, ..Leftovers::default() };
    let has_suffix = |entry: &Path| {
        let name = entry.as_os_str().as_encoded_bytes();
        name.ends_with(SWAP_SUFFIX.as_bytes()) || name.ends_with(CLEANED_SUFFIX.as_bytes())
    };
    for entry in entries.iter().filter(|entry| has_suffix(entry)) {
        for kind in SegmentFileKind::ALL {
            if let Some(offset) = parse_offset_file(entry, &format!("{}{SWAP_SUFFIX}", kind.suffix())) {
                if kind == SegmentFileKind::Log { &mut found.swaps } else { &mut found.others }.insert(offset);
            }
            if let Some(offset) = parse_offset_file(entry, &format!("{}{CLEANED_SUFFIX}", kind.suffix())) {
                found.first_cleaned = Some(found.first_cleaned.map_or(offset, |first| first.min(offset)));
            }
        }
        found.extents.extend(parse_offset_file(entry, SWAP_EXTENT_SUFFIX));
    }
    found
}

/// Removes the segments that a swap stands for, and gives its files their names.
fn finish(directory: &LogDirectory, at: &Path, base_offset: i64, leftovers: &Leftovers<'_>) -> StorageResult<()> {
    let end_offset = match read_extent(directory, at, base_offset) {
        Some(end_offset) => end_offset,
        None => end_of(directory, &swap_file(at, base_offset, SegmentFileKind::Log))?.unwrap_or(base_offset),
    };
    tracing::info!("{}: completing the swap of {base_offset} to {end_offset}", at.display());
    let within = |path: &Path, suffix: &str| {
        parse_offset_file(path, suffix).filter(|offset| (base_offset..end_offset.max(base_offset + 1)).contains(offset))
    };
    for path in leftovers.entries {
        let kind = SegmentFileKind::ALL.into_iter().find(|kind| within(path, kind.suffix()).is_some());
        let is_old = match kind.map(|kind| (kind, within(path, kind.suffix()))) {
            // The last rename replaces it: a log with this base offset is never missing.
            Some((SegmentFileKind::Log, Some(offset))) => offset != base_offset,
            // One that has its final name already is new.
            Some((kind, Some(offset))) => {
                offset != base_offset || leftovers.entries.contains(&swap_file(at, base_offset, kind))
            }
            // The producers as of the beginning are still as they were.
            _ => within(path, SNAPSHOT_SUFFIX).is_some_and(|offset| offset != base_offset),
        };
        if is_old {
            remove(directory, path)?;
        }
    }
    // Before the swap ends: an old segment that came back would repeat what the new one has.
    sync(directory, at)?;
    rename_segment(directory, at, base_offset, SWAP_SUFFIX, "")
}

/// Index files whose log has its final name already, as Kafka's order of renames can leave them.
fn adopt_indexes(directory: &LogDirectory, at: &Path, base_offset: i64) -> StorageResult<()> {
    for kind in SegmentFileKind::ALL.into_iter().filter(|kind| *kind != SegmentFileKind::Log) {
        let path = offset_file(at, base_offset, kind.suffix());
        let swap = swap_file(at, base_offset, kind);
        // Where there is an index, it belongs to the log that is there, and the other to a swap that never began.
        let replaces = directory.env.disk.metadata(&path).is_err_and(|error| is_not_found(&error));
        if replaces {
            match directory.env.disk.rename(&swap, &path) {
                Err(error) if !is_not_found(&error) => return Err(directory.fail("renaming", &swap, &error)),
                _ => {}
            }
        } else {
            remove(directory, &swap)?;
        }
    }
    Ok(())
}

/// Where the segment behind a swap begins, as the cleaner noted it.
fn read_extent(directory: &LogDirectory, at: &Path, base_offset: i64) -> Option<i64> {
    let bytes = directory.env.disk.read(&offset_file(at, base_offset, SWAP_EXTENT_SUFFIX), 64).ok()?;
    let end_offset = std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?.parse().ok()?;
    (end_offset >= base_offset).then_some(end_offset)
}

/// The offset behind the last batch of a file; what a swap of Apache Kafka's stands for.
fn end_of(directory: &LogDirectory, path: &Path) -> StorageResult<Option<i64>> {
    let failure = |error: std::io::Error| StorageError::io("reading", path, &error);
    let file = directory.env.disk.open(path, OpenMode::Read).map_err(failure)?;
    let mut scanner = BatchScanner::new(file.clone(), 0, file.size().map_err(failure)?);
    let mut end_offset = None;
    while let Scanned::Batch { header, .. } = scanner.next().map_err(failure)? {
        end_offset = Some(header.next_offset());
    }
    Ok(end_offset)
}

fn remove(directory: &LogDirectory, path: &Path) -> StorageResult<()> {
    match directory.env.disk.remove_file(path) {
        Err(error) if !is_not_found(&error) => Err(directory.fail("removing", path, &error)),
        _ => Ok(()),
    }
}

fn sync(directory: &LogDirectory, at: &Path) -> StorageResult<()> {
    directory.env.disk.sync_dir(at).map_err(|error| directory.fail_sync(at, &error))
}

#[cfg(test)]
#[path = "swap_tests.rs"]
mod tests;
