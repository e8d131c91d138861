//! What the lock of a log guards.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::flush::FlushState;
use super::timestamps::LargestUpTo;
use crate::config::LogConfig;
use crate::mutant;
use crate::storage::StorageResult;
use crate::storage::leader_epoch_cache::LeaderEpochCache;
use crate::storage::producer_state::ProducerState;
use crate::storage::segment::{ActiveSegment, SealedSegment};
use crate::storage::segment_files::SegmentFiles;

/// An offset and, if known, where it stands: a read up to it needs no search (`LogOffsetMetadata`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct OffsetPosition {
    pub(in crate::storage) offset: i64,
    /// Base offset of the segment and position in its file.
    pub(in crate::storage) position: Option<(i64, u64)>,
}

/// The state of a log.
pub(in crate::storage) struct LogState {
    pub(in crate::storage) topic_id: Uuid,
    pub(in crate::storage) config: Arc<LogConfig>,
    /// Ascending by base offset.
    pub(in crate::storage) sealed: Vec<SealedSegment>,
    pub(in crate::storage) active: ActiveSegment,
    /// How often segments got other contents under their old names: whoever looked at one without the lock compares it.
    pub(in crate::storage) replacements: u64,
    /// The lowest offset that the log was truncated to since the cleaner asked last.
    pub(in crate::storage) truncated_to: Option<i64>,
    pub(in crate::storage) log_start_offset: i64,
    pub(in crate::storage) log_end_offset: i64,
    pub(in crate::storage) high_watermark: OffsetPosition,
    pub(in crate::storage) recovery_point: i64,
    pub(in crate::storage) epochs: LeaderEpochCache,
    pub(in crate::storage) epochs_unsynced: bool,
    /// The newest epoch has no record yet, and is not in the file.
    pub(in crate::storage) epochs_unwritten: bool,
    pub(in crate::storage) producers: ProducerState,
    /// Offset of the newest producer snapshot on disk.
    pub(in crate::storage) snapshot_offset: i64,
    pub(in crate::storage) flush: FlushState,
    pub(in crate::storage) closed: bool,
    /// For offsets by timestamp.
    pub(in crate::storage) largest_up_to: LargestUpTo,
}

impl LogState {
    /// Bytes of all segments.
    pub(in crate::storage) fn size(&self) -> StorageResult<u64> {
        let mut size = self.active.size;
        for index in 0..self.sealed.len() {
            size += self.sealed_size(index)?;
        }
        Ok(size)
    }

    /// The files of a sealed segment, by its number.
    pub(in crate::storage) fn sealed_files(&self, index: usize) -> SegmentFiles {
        self.active.files.sibling(self.sealed[index].base_offset())
    }

    /// Bytes of a sealed segment, by its number.
    pub(in crate::storage) fn sealed_size(&self, index: usize) -> StorageResult<u64> {
        let segment = &self.sealed[index];
        match segment.known_size() {
            Some(size) => Ok(size),
            None => segment.size(&self.sealed_files(index)),
        }
    }

    /// The first offset behind a sealed segment, by its number: where the next one begins.
    pub(in crate::storage) fn next_base_offset(&self, index: usize) -> i64 {
        self.sealed.get(index + 1).map_or(self.active.base_offset(), SealedSegment::base_offset)
    }

    /// The number of the sealed segment that begins at an offset.
    pub(in crate::storage) fn sealed_at(&self, base_offset: i64) -> Option<usize> {
        self.sealed.binary_search_by_key(&base_offset, SealedSegment::base_offset).ok()
    }

    pub(in crate::storage) fn first_base_offset(&self) -> i64 {
        self.sealed.first().map_or(self.active.base_offset(), SealedSegment::base_offset)
    }

    pub(in crate::storage) fn begins_segment(&self, offset: i64) -> bool {
        offset == self.active.base_offset() || self.sealed_at(offset).is_some()
    }

    pub(in crate::storage) fn end_position(&self) -> OffsetPosition {
        OffsetPosition { offset: self.log_end_offset, position: Some((self.active.base_offset(), self.active.size)) }
    }

    /// The log was cut at an offset: segments have other contents, and what the cleaner knows of the rest is void.
    pub(in crate::storage) fn note_truncation(&mut self, offset: i64) {
        self.replacements += 1;
        self.truncated_to = Some(self.truncated_to.map_or(offset, |before| before.min(offset)));
    }

    /// Moves the high watermark to an offset within the log.
    pub(in crate::storage) fn set_high_watermark(&mut self, offset: i64) {
        let offset = offset.clamp(self.log_start_offset, self.log_end_offset);
        self.high_watermark = self.locate(offset);
        self.producers.on_high_watermark(offset);
    }

    /// An offset with its position, if that is known without a search.
    pub(in crate::storage) fn locate(&self, offset: i64) -> OffsetPosition {
        if offset == self.log_end_offset {
            return self.end_position();
        }
        if offset == self.high_watermark.offset {
            return self.high_watermark;
        }
        let position = self.active.recent_batch(offset).map(|(position, _)| (self.active.base_offset(), position));
        OffsetPosition { offset, position }
    }

    pub(in crate::storage) fn last_stable_offset(&self) -> i64 {
        let unstable = self.producers.first_unstable_offset().unwrap_or(i64::MAX);
        let unstable = unstable.saturating_add(i64::from(mutant::is_active("last-stable-offset-too-high")));
        unstable.max(self.log_start_offset).min(self.high_watermark.offset)
    }

    /// Index into `sealed` of the segment that holds an offset; `None`: the active one (or none, before the first).
    pub(in crate::storage) fn sealed_index_for(&self, offset: i64) -> Option<usize> {
        if offset >= self.active.base_offset() {
            return None;
        }
        self.sealed.partition_point(|segment| segment.base_offset() <= offset).checked_sub(1)
    }

    /// Ends the active segment and begins the next one at the end of the log.
    pub(in crate::storage) fn roll(&mut self, next: ActiveSegment) -> io::Result<()> {
        let sealed = self.active.seal()?;
        self.sealed.push(sealed);
        self.active = next;
        if self.high_watermark.offset == self.log_end_offset {
            self.high_watermark = self.end_position();
        }
        Ok(())
    }
}
