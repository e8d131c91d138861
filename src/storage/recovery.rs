//! Opening a log: finding its files, recovering what was not stopped cleanly, rebuilding what is missing (`LogLoader`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::batch_scan::{BatchScanner, Scanned, WholeBatchScanner};
use super::checkpoint::{EpochEntry, MAX_CHECKPOINT_BYTES, encode_epochs, parse_epochs};
use super::directory::LogDirectory;
use super::file_names::{
    CLEANED_SUFFIX, DELETED_SUFFIX, INDEX_SUFFIX, LEADER_EPOCH_CHECKPOINT, LOG_SUFFIX, PARTITION_METADATA,
    SNAPSHOT_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX, offset_file, parse_offset_file,
};
use super::leader_epoch_cache::LeaderEpochCache;
use super::log::{AppendOrigin, Log, LogOptions, LogState, OffsetPosition, index_interval_bytes, parse_marker};
use super::producer_snapshot::{self, MAX_SNAPSHOT_BYTES};
use super::producer_state::ProducerState;
use super::property_files::{MAX_PROPERTY_FILE_BYTES, encode_partition_metadata, parse_partition_metadata};
use super::segment::{ActiveSegment, SealedSegment, TimestampOffset};
use super::segment_files::{LogPath, SegmentFileKind, SegmentFiles, is_not_found};
use super::sparse_index::{OffsetEntry, SparseIndex, TimeEntry, read_entry};
use super::{StorageError, StorageResult};
use crate::env::OpenMode;
use crate::record::BatchHeader;

/// A log while it is opened.
struct Loader<'a> {
    options: &'a LogOptions,
    directory: &'a Arc<LogDirectory>,
    path: Arc<LogPath>,
    /// The log's own directory, now.
    at: PathBuf,
    now_ms: i64,
    /// Epochs found in batches while scanning.
    found_epochs: Vec<EpochEntry>,
    /// Whether files were cut, removed or rebuilt.
    changed: bool,
}

/// What the log's directory holds.
#[derive(Default)]
struct Listing {
    segments: Vec<i64>,
    offset_indexes: Vec<i64>,
    time_indexes: Vec<i64>,
    snapshots: Vec<i64>,
}

/// Opens a log (see [`Log::open`]).
pub(super) fn open(options: LogOptions) -> StorageResult<Log> {
    let at = options.directory.path().join(options.topic_partition.to_string());
    let mut loader = Loader::new(&options, Arc::new(LogPath::new(at)));
    loader.load()
}

/// Replaces `leader-epoch-checkpoint` without syncing it.
pub(super) fn write_epochs(directory: &LogDirectory, at: &Path, entries: &[EpochEntry]) -> StorageResult<()> {
    let path = at.join(LEADER_EPOCH_CHECKPOINT);
    let temporary = at.join("leader-epoch-checkpoint.tmp");
    let disk = &directory.env.disk;
    let written = disk
        .open(&temporary, OpenMode::Truncate)
        .and_then(|file| file.write_all_at(encode_epochs(entries).as_bytes(), 0))
        .and_then(|()| disk.rename(&temporary, &path));
    written.map_err(|error| directory.fail("writing", &path, &error))
}

/// Writes `partition.metadata`; it is synced with the first flush.
pub(super) fn write_topic_id(directory: &LogDirectory, at: &Path, topic_id: Uuid) -> StorageResult<()> {
    let path = at.join(PARTITION_METADATA);
    let text = encode_partition_metadata(topic_id);
    let file = directory.env.disk.open(&path, OpenMode::Truncate);
    let written = file.and_then(|file| file.write_all_at(text.as_bytes(), 0));
    written.map_err(|error| directory.fail("writing", &path, &error))
}

/// Cuts a log inside its segments (see [`Log::truncate_to`]).
pub(super) fn truncate(log: &Log, state: &mut LogState, offset: i64) -> StorageResult<()> {
    let options = options_of(log, state);
    let mut loader = Loader::new(&options, log.path.clone());
    let plan = log.plan_search(state, offset)?;
    let position = plan.locate(offset)?.map_or(plan.size, |(position, _)| position);
    let files = plan.files;
    plan.log.set_len(position).map_err(|error| files.write_error(SegmentFileKind::Log, &error))?;
    let kept = state.sealed.partition_point(|segment| segment.base_offset() < files.base_offset());
    let bases: Vec<i64> =
        state.sealed[kept..].iter().map(SealedSegment::base_offset).chain([state.active.base_offset()]).collect();
    state.active.files.close();
    for base_offset in bases.into_iter().filter(|base_offset| *base_offset != files.base_offset()) {
        loader.remove_segment(base_offset)?;
    }
    state.sealed.truncate(kept);
    (state.active, _, _) = loader.recover_segment(files, false, true)?;
    state.log_end_offset = offset;
    state.recovery_point = state.recovery_point.min(offset);
    state.log_start_offset = state.log_start_offset.min(offset);
    state.set_high_watermark(state.high_watermark.offset.min(offset));
    state.flush.directory_unsynced = true;
    if state.epochs.truncate_from_end(offset) {
        log.write_epochs(state)?;
    }
    state.producers = ProducerState::default();
    let listing = loader.list()?;
    loader.load_producers(state, &listing.snapshots)
}

/// Empties a log (see [`Log::truncate_fully_and_start_at`]).
pub(super) fn restart(log: &Log, state: &mut LogState, offset: i64) -> StorageResult<()> {
    let options = options_of(log, state);
    let mut loader = Loader::new(&options, log.path.clone());
    state.active.files.close();
    state.log_start_offset = offset;
    loader.restart_at_log_start(state)?;
    for snapshot in loader.list()?.snapshots {
        loader.remove(&offset_file(&loader.at, snapshot, SNAPSHOT_SUFFIX))?;
    }
    state.snapshot_offset = offset;
    state.producers = ProducerState::default();
    state.epochs.clear();
    state.set_high_watermark(offset);
    state.flush.directory_unsynced = true;
    log.write_epochs(state)
}

fn options_of(log: &Log, state: &LogState) -> LogOptions {
    LogOptions::new(log.directory.clone(), log.topic_partition().clone(), state.config.clone())
}

impl<'a> Loader<'a> {
    fn new(options: &'a LogOptions, path: Arc<LogPath>) -> Self {
        Self {
            options,
            directory: &options.directory,
            at: path.get(),
            path,
            now_ms: options.directory.env.clock.wall_millis(),
            found_epochs: Vec::new(),
            changed: false,
        }
    }
}

impl Loader<'_> {
    fn load(&mut self) -> StorageResult<Log> {
        self.directory.check_online()?;
        let is_new = match self.directory.env.disk.metadata(&self.at) {
            Ok(_) => false,
            Err(error) if is_not_found(&error) => true,
            Err(error) => return Err(StorageError::io("opening", &self.at, &error)),
        };
        if is_new {
            self.write_failure(self.directory.env.disk.create_dir_all(&self.at), &self.at)?;
        }
        let topic_id = self.load_topic_id(is_new)?;
        let mut listing = if is_new { Listing::default() } else { self.list()? };
        let (sealed, active, end_offset) = self.load_segments(&mut listing)?;
        let mut state = self.new_state(topic_id, sealed, active, end_offset);
        if state.log_start_offset > state.log_end_offset {
            tracing::warn!(
                "{}: log end offset {} is smaller than log start offset {}; starting an empty log there",
                self.at.display(),
                state.log_end_offset,
                state.log_start_offset
            );
            self.restart_at_log_start(&mut state)?;
        }
        state.set_high_watermark(self.options.high_watermark);
        self.load_epochs(&mut state, is_new)?;
        if !is_new {
            self.load_producers(&mut state, &listing.snapshots)?;
        }
        // What an unclean stop left may be in the page cache only: files, names and epochs. The first flush makes it durable;
        // until then the recovery point stays.
        let unsynced = is_new || self.changed || !self.options.clean_shutdown;
        state.flush.directory_unsynced = unsynced;
        state.flush.parent_unsynced = unsynced;
        state.epochs_unsynced |= unsynced && !is_new;
        Ok(Log::from_parts(self.options, self.path.clone(), state))
    }

    fn new_state(
        &self,
        topic_id: Uuid,
        sealed: Vec<SealedSegment>,
        active: ActiveSegment,
        log_end_offset: i64,
    ) -> LogState {
        let first = sealed.first().map_or(active.base_offset(), SealedSegment::base_offset);
        let log_start_offset = self.options.log_start_offset.max(first);
        let recovery_point = if self.options.clean_shutdown && !self.changed {
            log_end_offset
        } else {
            self.options.recovery_point.clamp(0, log_end_offset)
        };
        LogState {
            topic_id,
            config: self.options.config.clone(),
            sealed,
            active,
            log_start_offset,
            log_end_offset,
            high_watermark: OffsetPosition { offset: log_start_offset, position: None },
            recovery_point,
            epochs: LeaderEpochCache::default(),
            epochs_unsynced: false,
            producers: ProducerState::default(),
            snapshot_offset: log_start_offset,
            flush: Default::default(),
            closed: false,
        }
    }

    fn write_failure<T>(&self, result: io::Result<T>, path: &Path) -> StorageResult<T> {
        result.map_err(|error| self.directory.fail("writing", path, &error))
    }

    fn files(&self, base_offset: i64) -> Arc<SegmentFiles> {
        SegmentFiles::new(self.directory.clone(), self.path.clone(), base_offset)
    }

    /// `partition.metadata`: written for a new log, compared for an old one.
    fn load_topic_id(&self, is_new: bool) -> StorageResult<Uuid> {
        let path = self.at.join(PARTITION_METADATA);
        let requested = self.options.topic_id;
        let disk = &self.directory.env.disk;
        let on_disk = if is_new { None } else { disk.read(&path, MAX_PROPERTY_FILE_BYTES).ok() };
        match on_disk.as_deref().and_then(parse_partition_metadata) {
            Some(on_disk) if requested.is_nil() || on_disk == requested => Ok(on_disk),
            Some(on_disk) => Err(StorageError::InconsistentTopicId {
                topic_partition: self.options.topic_partition.clone(),
                on_disk,
                requested,
            }),
            None => {
                if !requested.is_nil() {
                    write_topic_id(self.directory, &self.at, requested)?;
                }
                Ok(requested)
            }
        }
    }

    /// Sorts the directory's files by kind and removes what an interrupted deletion, cleaning or replacement left.
    fn list(&mut self) -> StorageResult<Listing> {
        let disk = &self.directory.env.disk;
        let mut listing = Listing::default();
        let entries = disk.read_dir(&self.at).map_err(|error| StorageError::io("listing", &self.at, &error))?;
        let mut leftovers = Vec::new();
        for entry in entries {
            let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if [DELETED_SUFFIX, CLEANED_SUFFIX, ".tmp"].iter().any(|suffix| name.ends_with(suffix)) {
                leftovers.push(entry);
            } else if let Some(offset) = parse_offset_file(&entry, LOG_SUFFIX) {
                listing.segments.push(offset);
            } else if let Some(offset) = parse_offset_file(&entry, INDEX_SUFFIX) {
                listing.offset_indexes.push(offset);
            } else if let Some(offset) = parse_offset_file(&entry, TIME_INDEX_SUFFIX) {
                listing.time_indexes.push(offset);
            } else if let Some(offset) = parse_offset_file(&entry, SNAPSHOT_SUFFIX) {
                listing.snapshots.push(offset);
            }
        }
        for list in
            [&mut listing.segments, &mut listing.offset_indexes, &mut listing.time_indexes, &mut listing.snapshots]
        {
            list.sort_unstable();
        }
        for (offsets, suffix) in [(&listing.offset_indexes, INDEX_SUFFIX), (&listing.time_indexes, TIME_INDEX_SUFFIX)] {
            let orphans = offsets.iter().filter(|offset| listing.segments.binary_search(offset).is_err());
            leftovers.extend(orphans.map(|offset| offset_file(&self.at, *offset, suffix)));
        }
        for path in leftovers {
            self.remove(&path)?;
        }
        Ok(listing)
    }

    fn remove(&self, path: &Path) -> StorageResult<()> {
        match self.directory.env.disk.remove_file(path) {
            Err(error) if !is_not_found(&error) => Err(self.directory.fail("removing", path, &error)),
            _ => Ok(()),
        }
    }

    fn remove_segment(&mut self, base_offset: i64) -> StorageResult<()> {
        self.changed = true;
        for suffix in [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX] {
            self.remove(&offset_file(&self.at, base_offset, suffix))?;
        }
        Ok(())
    }

    /// Opens all segments, recovering those at and behind the recovery point; gives them and the log end offset.
    fn load_segments(&mut self, listing: &mut Listing) -> StorageResult<(Vec<SealedSegment>, ActiveSegment, i64)> {
        let Some(last) = listing.segments.last().copied() else {
            return self.first_segment(self.options.log_start_offset.max(0));
        };
        let recover_from = if self.options.clean_shutdown {
            listing.segments.len()
        } else {
            let above = listing.segments.partition_point(|base| *base <= self.options.recovery_point);
            above.saturating_sub(1)
        };
        let mut sealed = Vec::new();
        for (index, base_offset) in listing.segments.iter().copied().enumerate() {
            let files = self.files(base_offset);
            let next = listing.segments.get(index + 1).copied();
            if index < recover_from && next.is_some() {
                sealed.push(self.open_sealed(files, listing)?);
                continue;
            }
            if index < recover_from
                && let Some((active, end_offset)) = self.open_active(&files, listing)?
            {
                return Ok((sealed, active, end_offset));
            }
            let (mut active, end_offset, cut) = self.recover_segment(files, next.is_some(), true)?;
            if !cut && next.is_some() {
                let segment = active.seal();
                sealed.push(segment.map_err(|error| active.files.write_error(SegmentFileKind::OffsetIndex, &error))?);
                continue;
            }
            for later in &listing.segments[index + 1..] {
                tracing::warn!("{}: removing segment {later} behind a damaged one", self.at.display());
                self.remove_segment(*later)?;
            }
            return Ok((sealed, active, end_offset));
        }
        // Not reached: the last segment always returns.
        self.first_segment(last)
    }

    fn first_segment(&mut self, offset: i64) -> StorageResult<(Vec<SealedSegment>, ActiveSegment, i64)> {
        let files = self.files(offset);
        let created = files.handle(SegmentFileKind::Log);
        files.close();
        created.map_err(|error| files.write_error(SegmentFileKind::Log, &error))?;
        Ok((Vec::new(), ActiveSegment::empty(files, self.now_ms), offset))
    }

    fn size_of(&self, files: &SegmentFiles, kind: SegmentFileKind) -> StorageResult<u64> {
        let path = files.path_of(kind);
        match self.directory.env.disk.metadata(&path) {
            Ok(metadata) => Ok(metadata.len),
            Err(error) => Err(StorageError::io("opening", &path, &error)),
        }
    }

    /// A segment before the recovery point: its log is trusted, its indexes are looked at.
    fn open_sealed(&mut self, files: Arc<SegmentFiles>, listing: &Listing) -> StorageResult<SealedSegment> {
        let size = self.size_of(&files, SegmentFileKind::Log)?;
        if self.indexes_are_sane(&files, size, listing)?.is_some() {
            return Ok(SealedSegment { files, size, largest_timestamp: None });
        }
        let (mut active, _, damaged) = self.recover_segment(files, true, false)?;
        if damaged {
            tracing::error!(
                "{}: damaged before the recovery point",
                active.files.path_of(SegmentFileKind::Log).display()
            );
        }
        active.seal().map_err(|error| active.files.write_error(SegmentFileKind::OffsetIndex, &error))
    }

    /// The numbers of entries of both indexes, unless one is missing or cannot be right (`OffsetIndex.sanityCheck`).
    fn indexes_are_sane(
        &self,
        files: &Arc<SegmentFiles>,
        size: u64,
        listing: &Listing,
    ) -> StorageResult<Option<(usize, usize)>> {
        let base_offset = files.base_offset();
        let has_both = listing.offset_indexes.binary_search(&base_offset).is_ok()
            && listing.time_indexes.binary_search(&base_offset).is_ok();
        if !has_both {
            return Ok((size == 0).then_some((0, 0)));
        }
        let offset_bytes = self.size_of(files, SegmentFileKind::OffsetIndex)?;
        let time_bytes = self.size_of(files, SegmentFileKind::TimeIndex)?;
        if offset_bytes % 8 != 0 || time_bytes % 12 != 0 {
            return Ok(None);
        }
        let counts = ((offset_bytes / 8) as usize, (time_bytes / 12) as usize);
        let sane = self.last_offset_entry(files, counts.0)?.is_none_or(|entry| {
            entry.relative_offset >= 0 && u64::from(entry.position) < size && (entry.position > 0 || counts.0 == 1)
        }) && self
            .last_time_entry(files, counts.1)?
            .is_none_or(|entry| entry.timestamp >= 0 && entry.relative_offset >= 0);
        Ok(sane.then_some(counts))
    }

    fn last_offset_entry(&self, files: &Arc<SegmentFiles>, count: usize) -> StorageResult<Option<OffsetEntry>> {
        let Some(last) = count.checked_sub(1) else { return Ok(None) };
        let kind = SegmentFileKind::OffsetIndex;
        let entry = files.existing(kind).and_then(|file| read_entry(&*file, last));
        entry.map(Some).map_err(|error| files.read_error(kind, &error))
    }

    fn last_time_entry(&self, files: &Arc<SegmentFiles>, count: usize) -> StorageResult<Option<TimeEntry>> {
        let Some(last) = count.checked_sub(1) else { return Ok(None) };
        let kind = SegmentFileKind::TimeIndex;
        let entry = files.existing(kind).and_then(|file| read_entry(&*file, last));
        entry.map(Some).map_err(|error| files.read_error(kind, &error))
    }

    /// The last segment after a clean stop: only what stands behind its last index entry is read. `None`: it needs recovery.
    fn open_active(
        &mut self,
        files: &Arc<SegmentFiles>,
        listing: &Listing,
    ) -> StorageResult<Option<(ActiveSegment, i64)>> {
        let size = self.size_of(files, SegmentFileKind::Log)?;
        let base_offset = files.base_offset();
        let mut active = ActiveSegment::empty(files.clone(), self.now_ms);
        if size == 0 {
            return Ok(Some((active, base_offset)));
        }
        let Some((offset_entries, time_entries)) = self.indexes_are_sane(files, size, listing)? else {
            return Ok(None);
        };
        let last_offset = self.last_offset_entry(files, offset_entries)?;
        let last_time = self.last_time_entry(files, time_entries)?;
        active.offset_index = SparseIndex::reopened(offset_entries, last_offset);
        active.time_index = SparseIndex::reopened(time_entries, last_time);
        if let Some(entry) = last_time {
            let offset = base_offset + i64::from(entry.relative_offset);
            active.largest_timestamp = TimestampOffset { timestamp: entry.timestamp, offset };
        }
        let read_failure = |error: io::Error| files.read_error(SegmentFileKind::Log, &error);
        let log = files.existing(SegmentFileKind::Log).map_err(read_failure)?;
        let start = last_offset.map_or(0, |entry| u64::from(entry.position));
        let mut scanner = BatchScanner::new(log, start, size);
        let mut end_offset = base_offset;
        loop {
            match scanner.next().map_err(read_failure)? {
                Scanned::Batch { header, .. } => {
                    end_offset = header.next_offset();
                    if header.max_timestamp > active.largest_timestamp.timestamp {
                        active.largest_timestamp =
                            TimestampOffset { timestamp: header.max_timestamp, offset: header.last_offset() };
                    }
                }
                Scanned::End => break,
                Scanned::Broken { .. } => return Ok(None),
            }
        }
        active.size = size;
        files.close();
        Ok(Some((active, end_offset)))
    }

    /// Reads a whole segment with checksums, rebuilds its indexes and, if it may, cuts it at the first invalid batch. Gives the
    /// segment, the offset after it, and whether it is damaged.
    fn recover_segment(
        &mut self,
        files: Arc<SegmentFiles>,
        is_sealed: bool,
        may_cut: bool,
    ) -> StorageResult<(ActiveSegment, i64, bool)> {
        let kind = SegmentFileKind::Log;
        let size = self.size_of(&files, kind)?;
        let interval = index_interval_bytes(&self.options.config);
        let log = files.existing(kind).map_err(|error| files.read_error(kind, &error))?;
        let mut active = ActiveSegment::empty(files.clone(), self.now_ms);
        let mut end_offset = files.base_offset();
        let mut scanner = WholeBatchScanner::new(log.clone(), 0, size);
        let broken = loop {
            match scanner.next().map_err(|error| files.read_error(kind, &error))? {
                Ok(None) => break None,
                Ok(Some((_, header, _)))
                    if header.base_offset < end_offset || !active.can_hold(header.last_offset()) =>
                {
                    break Some(format!("offset {} after offset {}", header.base_offset, end_offset - 1));
                }
                Ok(Some((position, header, _))) => {
                    active.note(&header, position, interval);
                    active.size = position + header.size_in_bytes() as u64;
                    end_offset = header.next_offset();
                    self.note_epoch(&header);
                }
                Err(reason) => break Some(reason),
            }
        };
        if let Some(reason) = &broken {
            let path = files.path_of(kind);
            if may_cut {
                tracing::warn!("{}: {reason}; cutting {} of {size} bytes", path.display(), size - active.size);
                log.set_len(active.size).map_err(|error| files.write_error(kind, &error))?;
                self.changed = true;
            } else {
                // Durable data that rotted: what follows the damage may still be good and is not ours to drop.
                tracing::error!("{}: {reason}; {} bytes cannot be read", path.display(), size - active.size);
                active.size = size;
            }
        }
        for kind in [SegmentFileKind::OffsetIndex, SegmentFileKind::TimeIndex] {
            match files.existing(kind) {
                Ok(index) => index.set_len(0).map_err(|error| files.write_error(kind, &error))?,
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(files.read_error(kind, &error)),
            }
        }
        self.changed |= is_sealed;
        Ok((active, end_offset, broken.is_some()))
    }

    fn note_epoch(&mut self, header: &BatchHeader) {
        let epoch = header.partition_leader_epoch;
        if epoch > self.found_epochs.last().map_or(-1, |entry| entry.epoch) {
            self.found_epochs.push(EpochEntry { epoch, start_offset: header.base_offset });
        }
    }

    /// Removes all segments and begins an empty one at the log's start.
    fn restart_at_log_start(&mut self, state: &mut LogState) -> StorageResult<()> {
        let bases: Vec<i64> =
            state.sealed.iter().map(SealedSegment::base_offset).chain([state.active.base_offset()]).collect();
        for base_offset in bases {
            self.remove_segment(base_offset)?;
        }
        let (sealed, active, end_offset) = self.first_segment(state.log_start_offset)?;
        state.sealed = sealed;
        state.active = active;
        state.log_end_offset = end_offset;
        state.recovery_point = end_offset;
        self.found_epochs.clear();
        Ok(())
    }

    fn load_epochs(&mut self, state: &mut LogState, is_new: bool) -> StorageResult<()> {
        if is_new {
            return Ok(());
        }
        let path = self.at.join(LEADER_EPOCH_CHECKPOINT);
        let on_disk = match self.directory.env.disk.read(&path, MAX_CHECKPOINT_BYTES) {
            Ok(bytes) => parse_epochs(&bytes),
            Err(error) if is_not_found(&error) => None,
            Err(error) => return Err(StorageError::io("reading", &path, &error)),
        };
        let was_read = on_disk.clone();
        match on_disk {
            Some(entries) => state.epochs = LeaderEpochCache::new(entries),
            None if state.log_end_offset > state.first_base_offset() => {
                // The file is a cache of the log: read the epochs out of all batches.
                self.found_epochs.clear();
                let start = state.first_base_offset();
                let mut found = Vec::new();
                self.scan_headers(state, start, |header, _, _| {
                    if header.partition_leader_epoch > found.last().map_or(-1, |entry: &EpochEntry| entry.epoch) {
                        found.push(EpochEntry {
                            epoch: header.partition_leader_epoch,
                            start_offset: header.base_offset,
                        });
                    }
                    Ok(())
                })?;
                self.found_epochs = found;
            }
            None => {}
        }
        for entry in std::mem::take(&mut self.found_epochs) {
            if state.epochs.latest_epoch().is_none_or(|latest| entry.epoch > latest) {
                state.epochs.assign(entry.epoch, entry.start_offset);
            }
        }
        state.epochs.truncate_from_end(state.log_end_offset.max(1));
        state.epochs.truncate_from_start(state.log_start_offset);
        if was_read.as_deref().unwrap_or_default() != state.epochs.entries() {
            state.epochs_unsynced = true;
            write_epochs(self.directory, &self.at, state.epochs.entries())?;
        }
        Ok(())
    }

    /// Calls `visit` with header, file and position of every batch that ends behind `from`.
    fn scan_headers(
        &self,
        state: &LogState,
        from: i64,
        mut visit: impl FnMut(&BatchHeader, &Arc<dyn crate::env::DiskFile>, u64) -> StorageResult<()>,
    ) -> StorageResult<()> {
        let first = state.sealed_index_for(from).unwrap_or(state.sealed.len());
        let first = if from < state.first_base_offset() { 0 } else { first };
        let sealed = state.sealed[first..].iter().map(|segment| (&segment.files, segment.size));
        for (files, size) in sealed.chain([(&state.active.files, state.active.size)]) {
            if size == 0 {
                continue;
            }
            let failure = |error: io::Error| files.read_error(SegmentFileKind::Log, &error);
            let log = files.existing(SegmentFileKind::Log).map_err(failure)?;
            let mut scanner = BatchScanner::new(log.clone(), 0, size);
            loop {
                match scanner.next().map_err(failure)? {
                    Scanned::Batch { position, header } if header.last_offset() >= from => {
                        visit(&header, &log, position)?
                    }
                    Scanned::Batch { .. } => {}
                    Scanned::End => break,
                    Scanned::Broken { position, reason } => {
                        return Err(StorageError::Corrupt {
                            topic_partition: self.options.topic_partition.clone(),
                            message: format!(
                                "{} at {position}: {reason}",
                                files.path_of(SegmentFileKind::Log).display()
                            ),
                        });
                    }
                }
            }
            files.close();
        }
        Ok(())
    }

    /// Loads the newest usable snapshot and replays what follows (`rebuildProducerState`).
    fn load_producers(&mut self, state: &mut LogState, snapshots: &[i64]) -> StorageResult<()> {
        let mut loaded = None;
        for offset in snapshots.iter().rev().copied() {
            let path = offset_file(&self.at, offset, SNAPSHOT_SUFFIX);
            let usable = offset <= state.log_end_offset && offset >= state.log_start_offset;
            if loaded.is_none() && usable {
                match self.directory.env.disk.read(&path, MAX_SNAPSHOT_BYTES) {
                    Ok(bytes) => match producer_snapshot::decode(&bytes) {
                        Ok(producers) => {
                            state.producers = producers;
                            loaded = Some(offset);
                            continue;
                        }
                        Err(reason) => tracing::warn!("{}: {reason}; removing it", path.display()),
                    },
                    Err(error) => return Err(StorageError::io("reading", &path, &error)),
                }
                self.remove(&path)?;
            } else if !usable || !state.sealed.iter().any(|segment| segment.base_offset() == offset) {
                // Kafka keeps those of segment boundaries and the newest.
                self.remove(&path)?;
            }
        }
        let replay_from = loaded.unwrap_or(state.log_start_offset);
        state.snapshot_offset = loaded.unwrap_or(state.log_start_offset);
        if replay_from < state.log_end_offset {
            let mut producers = std::mem::take(&mut state.producers);
            self.replay_producers(state, &mut producers, replay_from)?;
            state.producers = producers;
        }
        let expiration_ms = self.options.producer_id_expiration_ms;
        state.producers.remove_expired(self.now_ms, expiration_ms);
        state.producers.on_high_watermark(state.high_watermark.offset);
        Ok(())
    }

    fn replay_producers(&self, state: &LogState, producers: &mut ProducerState, from: i64) -> StorageResult<()> {
        let topic_partition = &self.options.topic_partition;
        self.scan_headers(state, from, |header, log, position| {
            if !header.has_producer_id() || header.base_offset < from {
                return Ok(());
            }
            let marker = if header.is_control() {
                let mut batch = vec![0; header.size_in_bytes()];
                log.read_exact_at(&mut batch, position)
                    .map_err(|error| StorageError::io("reading", &self.at, &error))?;
                parse_marker(&batch).unwrap_or_else(|reason| {
                    tracing::warn!("{}: control batch at {position}: {reason}", self.at.display());
                    None
                })
            } else {
                None
            };
            let update = producers.check(topic_partition, header, marker, AppendOrigin::Replication)?;
            producers.apply(header, update);
            Ok(())
        })
    }
}
