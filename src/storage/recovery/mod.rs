//! Opening a log: finding its files, recovering what was not stopped cleanly, rebuilding what is missing (`LogLoader`).

mod caches;
mod scan;
mod segments;
mod swap;
mod transactions;
mod truncation;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::checkpoint::EpochEntry;
use super::directory::LogDirectory;
use super::file_names::{
    CLEANED_SUFFIX, DELETED_SUFFIX, INDEX_SUFFIX, LOG_SUFFIX, PARTITION_METADATA, SNAPSHOT_SUFFIX, SWAP_SUFFIX,
    TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX, TRANSACTION_SEAL_SUFFIX, offset_file, parse_offset_file,
};
use super::leader_epoch_cache::LeaderEpochCache;
use super::log::{Log, LogOptions, LogState, OffsetPosition};
use super::producer_state::ProducerState;
use super::property_files::{MAX_PROPERTY_FILE_BYTES, encode_partition_metadata, parse_partition_metadata};
use super::segment::{ActiveSegment, SealedSegment};
use super::segment_files::{LogPath, SegmentFileKind, SegmentFiles, is_not_found};
use super::{StorageError, StorageResult};
use crate::env::OpenMode;
pub(super) use caches::write_epochs;
pub(super) use transactions::rebuild_transaction_index;
pub(super) use truncation::{restart, truncate};

/// A log while it is opened.
struct Loader<'a> {
    options: &'a LogOptions,
    directory: &'a Arc<LogDirectory>,
    path: Arc<LogPath>,
    /// The log's own directory, now.
    at: PathBuf,
    /// Whether the directory has just been made.
    is_new: bool,
    now_ms: i64,
    /// Epochs found in batches while scanning.
    found_epochs: Vec<EpochEntry>,
    /// Whether files were cut, removed or rebuilt.
    changed: bool,
    /// Transaction indexes of the segments from this base offset on are to be built again.
    transactions_from: Option<i64>,
    /// Where a segment ends before the next one begins, or where the first one is missing: a power cut took the rest of it, or
    /// the cleaner or retention did.
    first_hole: Option<i64>,
}

/// What the log's directory holds.
#[derive(Default)]
struct Listing {
    segments: Vec<i64>,
    offset_indexes: Vec<i64>,
    time_indexes: Vec<i64>,
    snapshots: Vec<i64>,
    transaction_indexes: Vec<i64>,
    transaction_seals: Vec<i64>,
    /// What an interrupted deletion, cleaning or replacement left; indexes without a segment.
    leftovers: Vec<PathBuf>,
}

impl Listing {
    /// Whether a segment has a transaction index, or had one: its seal stays when a power cut brings back a segment that was being
    /// deleted, without the index.
    fn has_aborted(&self, base_offset: i64) -> bool {
        [&self.transaction_indexes, &self.transaction_seals]
            .into_iter()
            .any(|list| list.binary_search(&base_offset).is_ok())
    }
}

/// Opens a log (see [`Log::open`]).
pub(super) fn open(options: LogOptions) -> StorageResult<Log> {
    let at = options.directory.path().join(options.topic_partition.to_string());
    let mut loader = Loader::new(&options, Arc::new(LogPath::new(at)));
    loader.load().inspect_err(|_| loader.take_back())
}

/// Writes `partition.metadata`; it is synced with the first flush.
pub(super) fn write_topic_id(directory: &LogDirectory, at: &Path, topic_id: Uuid) -> StorageResult<()> {
    let path = at.join(PARTITION_METADATA);
    let text = encode_partition_metadata(topic_id);
    let file = directory.env.disk.open(&path, OpenMode::Truncate);
    let written = file.and_then(|file| file.write_all_at(text.as_bytes(), 0));
    written.map_err(|error| directory.fail("writing", &path, &error))
}

impl<'a> Loader<'a> {
    fn new(options: &'a LogOptions, path: Arc<LogPath>) -> Self {
        Self {
            options,
            directory: &options.directory,
            at: path.get(),
            path,
            is_new: false,
            now_ms: options.directory.env.clock.wall_millis(),
            found_epochs: Vec::new(),
            changed: false,
            transactions_from: None,
            first_hole: None,
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
        self.is_new = is_new;
        let topic_id = self.load_topic_id(is_new)?;
        let mut listing = if is_new { Listing::default() } else { self.list()? };
        let (sealed, active, end_offset) = self.load_segments(&mut listing)?;
        let mut state = self.new_state(topic_id, sealed, active, end_offset);
        let vouched_for = self.options.recovery_point.max(self.options.log_start_offset);
        if !self.options.clean_shutdown && state.first_base_offset() > vouched_for {
            self.first_hole = Some(vouched_for);
        }
        if state.log_start_offset > state.log_end_offset {
            self.settle_log_start(&mut state)?;
        }
        state.set_high_watermark(self.options.high_watermark);
        self.load_epochs(&mut state, is_new)?;
        if !is_new {
            self.load_producers(&mut state, &listing)?;
        }
        // What an unclean stop left may be in the page cache only: files, names and epochs. The first flush makes it durable;
        // until then the recovery point stays.
        state.flush.last_flush = self.directory.env.clock.monotonic();
        state.flush.checkpointed = self.options.recovery_point;
        // A clean stop syncs nothing of an empty log.
        let is_empty = state.log_end_offset == state.log_start_offset;
        let unsynced = is_new || is_empty || self.changed || !self.options.clean_shutdown;
        state.flush.directory_unsynced = unsynced;
        state.flush.parent_unsynced = unsynced;
        state.flush.topic_id_unsynced = unsynced;
        state.epochs_unsynced |= unsynced && !is_new;
        Ok(Log::from_parts(self.options, self.path.clone(), state))
    }

    /// Removes a directory that was made for a log which could not be created: another topic of the name must not find it.
    fn take_back(&self) {
        if self.is_new && !self.directory.is_offline() {
            self.files(self.options.log_start_offset.max(0)).close();
            if let Err(error) = self.directory.env.disk.remove_dir_all(&self.at) {
                tracing::warn!("removing {}: {error}", self.at.display());
            }
        }
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
            replacements: 0,
            truncated_to: None,
            log_start_offset,
            log_end_offset,
            high_watermark: OffsetPosition { offset: log_start_offset, position: None },
            recovery_point,
            epochs: LeaderEpochCache::default(),
            epochs_unsynced: false,
            epochs_unwritten: false,
            producers: ProducerState::default(),
            snapshot_offset: log_start_offset,
            flush: Default::default(),
            closed: false,
            largest_up_to: Default::default(),
        }
    }

    fn write_failure<T>(&self, result: io::Result<T>, path: &Path) -> StorageResult<T> {
        result.map_err(|error| self.directory.fail("writing", path, &error))
    }

    fn files(&self, base_offset: i64) -> SegmentFiles {
        SegmentFiles::new(self.directory.clone(), self.path.clone(), base_offset)
    }

    /// `partition.metadata`: written for a new log, compared for an old one.
    fn load_topic_id(&self, is_new: bool) -> StorageResult<Uuid> {
        let path = self.at.join(PARTITION_METADATA);
        let requested = self.options.topic_id;
        let disk = &self.directory.env.disk;
        let on_disk = match (!is_new).then(|| disk.read(&path, MAX_PROPERTY_FILE_BYTES)).transpose() {
            Ok(bytes) => bytes,
            Err(error) if is_not_found(&error) => None,
            // Not knowing whose log it is, it must not become that of whoever asks first.
            Err(error) => return Err(StorageError::io("reading", &path, &error)),
        };
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

    /// Sorts the directory's files by kind.
    fn list(&mut self) -> StorageResult<Listing> {
        let disk = &self.directory.env.disk;
        let is_swap = |path: &PathBuf| {
            let name = path.as_os_str().as_encoded_bytes();
            name.ends_with(SWAP_SUFFIX.as_bytes()) || name.ends_with(CLEANED_SUFFIX.as_bytes())
        };
        let mut listing = self.read_names()?;
        if listing.leftovers.iter().any(is_swap) {
            let entries = disk.read_dir(&self.at).map_err(|error| StorageError::io("listing", &self.at, &error))?;
            if swap::complete(self.directory, &self.at, &entries)? {
                listing = self.read_names()?;
            }
        }
        listing.leftovers.retain(|path| !path.as_os_str().as_encoded_bytes().ends_with(SWAP_SUFFIX.as_bytes()));
        for list in [
            &mut listing.segments,
            &mut listing.offset_indexes,
            &mut listing.time_indexes,
            &mut listing.transaction_indexes,
            &mut listing.transaction_seals,
            &mut listing.snapshots,
        ] {
            list.sort_unstable();
        }
        for (offsets, suffix) in [
            (&listing.offset_indexes, INDEX_SUFFIX),
            (&listing.time_indexes, TIME_INDEX_SUFFIX),
            (&listing.transaction_indexes, TRANSACTION_INDEX_SUFFIX),
            (&listing.transaction_seals, TRANSACTION_SEAL_SUFFIX),
        ] {
            let orphans = offsets.iter().filter(|offset| listing.segments.binary_search(offset).is_err());
            listing.leftovers.extend(orphans.map(|offset| offset_file(&self.at, *offset, suffix)));
        }
        Ok(listing)
    }

    /// The segments' files by kind, and the files with names that only an unfinished change leaves.
    fn read_names(&self) -> StorageResult<Listing> {
        let mut listing = Listing::default();
        let mut visit = |name: &OsStr| {
            let bytes = name.as_encoded_bytes();
            if [DELETED_SUFFIX, CLEANED_SUFFIX, SWAP_SUFFIX, ".tmp"].iter().any(|end| bytes.ends_with(end.as_bytes())) {
                listing.leftovers.push(self.at.join(name));
                return;
            }
            let kinds = [
                (LOG_SUFFIX, &mut listing.segments),
                (INDEX_SUFFIX, &mut listing.offset_indexes),
                (TIME_INDEX_SUFFIX, &mut listing.time_indexes),
                (TRANSACTION_INDEX_SUFFIX, &mut listing.transaction_indexes),
                (TRANSACTION_SEAL_SUFFIX, &mut listing.transaction_seals),
                (SNAPSHOT_SUFFIX, &mut listing.snapshots),
            ];
            for (suffix, offsets) in kinds {
                offsets.extend(parse_offset_file(Path::new(name), suffix));
            }
        };
        let listed = self.directory.env.disk.visit_names(&self.at, &mut visit);
        listed.map_err(|error| StorageError::io("listing", &self.at, &error))?;
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
        self.files(base_offset).close();
        for suffix in [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX, TRANSACTION_SEAL_SUFFIX] {
            self.remove(&offset_file(&self.at, base_offset, suffix))?;
        }
        Ok(())
    }

    fn sync_names(&self) -> StorageResult<()> {
        let synced = self.directory.env.disk.sync_dir(&self.at);
        synced.map_err(|error| self.directory.fail_sync(&self.at, &error))
    }

    /// Cuts a segment that may have been there before.
    fn empty_segment(&mut self, files: &SegmentFiles) -> StorageResult<()> {
        self.changed = true;
        let log = files.handle(SegmentFileKind::Log).and_then(|log| log.set_len(0));
        log.map_err(|error| files.write_error(SegmentFileKind::Log, &error))?;
        files.close();
        for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX, TRANSACTION_SEAL_SUFFIX] {
            self.remove(&offset_file(&self.at, files.base_offset(), suffix))?;
        }
        Ok(())
    }

    /// The start that was written down is behind the end of the log. The high watermark, which is never behind a start, tells whether
    /// records were deleted up to there and then lost; if not, the file with the start is damaged, and nothing must go for it.
    fn settle_log_start(&mut self, state: &mut LogState) -> StorageResult<()> {
        let (start, end) = (state.log_start_offset, state.log_end_offset);
        if self.options.high_watermark >= start {
            tracing::warn!(
                "{}: the log ends at {end}, before its start {start}; starting an empty log there",
                self.at.display()
            );
            return self.restart_at_log_start(state);
        }
        tracing::error!(
            "{}: the log ends at {end}, and log-start-offset-checkpoint says that it starts at {start}, which cannot be; it is not used",
            self.at.display()
        );
        state.log_start_offset = state.first_base_offset();
        Ok(())
    }

    /// Removes all segments and begins an empty one at the log's start.
    fn restart_at_log_start(&mut self, state: &mut LogState) -> StorageResult<()> {
        let bases: Vec<i64> =
            state.sealed.iter().map(SealedSegment::base_offset).chain([state.active.base_offset()]).collect();
        // The new segment comes first: a crash must not leave a log without any, which would begin at 0 again.
        let (sealed, active, end_offset) = self.first_segment(state.log_start_offset)?;
        for base_offset in bases.into_iter().rev().filter(|base_offset| *base_offset != end_offset) {
            self.remove_segment(base_offset)?;
        }
        self.empty_segment(&active.files)?;
        state.sealed = sealed;
        state.active = active;
        state.log_end_offset = end_offset;
        state.recovery_point = end_offset;
        self.found_epochs.clear();
        Ok(())
    }
}
