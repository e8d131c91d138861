//! Which part of which log is to be cleaned, decided from numbers only (`LogCleanerManager.cleanableOffsets`, `LogToClean`,
//! `Cleaner.groupSegmentsBySize`).

use crate::mutant;

/// A segment as far as decisions need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct SegmentRange {
    pub(in crate::storage) base_offset: i64,
    /// Base offset of the segment behind it.
    pub(in crate::storage) next_base_offset: i64,
    pub(in crate::storage) size: u64,
}

/// A log as far as decisions need it. Times are milliseconds since 1970.
#[derive(Clone, Debug)]
pub(in crate::storage) struct LogView {
    /// All but the active one, ascending.
    pub(in crate::storage) sealed: Vec<SegmentRange>,
    pub(in crate::storage) active_base_offset: i64,
    pub(in crate::storage) log_start_offset: i64,
    pub(in crate::storage) log_end_offset: i64,
    /// At most the high watermark.
    pub(in crate::storage) last_stable_offset: i64,
}

impl LogView {
    /// The sealed segments of which something lies in `from..to` (`LogSegments.values`): the one that holds `from` counts.
    pub(super) fn segments(&self, from: i64, to: i64) -> &[SegmentRange] {
        if from >= to {
            return &[];
        }
        let first = self.sealed.partition_point(|segment| segment.base_offset <= from).saturating_sub(1);
        let end = self.sealed.partition_point(|segment| segment.base_offset < to);
        self.sealed.get(first..end).unwrap_or_default()
    }

    /// The sealed segments from the one that holds `from` on.
    pub(super) fn sealed_from(&self, from: i64) -> &[SegmentRange] {
        if from >= self.active_base_offset { &[] } else { self.segments(from, self.active_base_offset) }
    }
}

/// Where cleaning begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FirstDirty {
    pub(super) offset: i64,
    /// The checkpoint was of no use and is to be written anew.
    pub(super) checkpoint_is_invalid: bool,
}

/// Where the dirty part begins: at the checkpoint, unless the log has moved away from it.
pub(super) fn first_dirty_offset(view: &LogView, checkpoint: Option<i64>) -> FirstDirty {
    match checkpoint {
        Some(offset) if offset < view.log_start_offset || offset > view.log_end_offset => {
            FirstDirty { offset: view.log_start_offset, checkpoint_is_invalid: true }
        }
        Some(offset) => FirstDirty { offset, checkpoint_is_invalid: false },
        None => FirstDirty { offset: view.log_start_offset, checkpoint_is_invalid: false },
    }
}

/// What can be cleaned of a log, and how urgent it is (`LogToClean`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cleanable {
    pub(super) first_dirty_offset: i64,
    /// The base offset of the first segment that may not be cleaned.
    pub(super) first_uncleanable_offset: i64,
    pub(super) clean_bytes: u64,
    pub(super) cleanable_bytes: u64,
    /// How long ago `max.compaction.lag.ms` ended; 0 if it did not.
    pub(super) compaction_delay_ms: i64,
}

impl Cleanable {
    /// `min_lag_bound` is the base offset of the first dirty segment within `min.compaction.lag.ms`.
    pub(super) fn new(
        view: &LogView,
        first_dirty_offset: i64,
        min_lag_bound: Option<i64>,
        compaction_delay_ms: i64,
    ) -> Self {
        let stable =
            if mutant::is_active("clean-above-the-high-watermark") { i64::MAX } else { view.last_stable_offset };
        let bound = stable.min(view.active_base_offset).min(min_lag_bound.unwrap_or(i64::MAX));
        let uncleanable = bound.max(first_dirty_offset);
        // Whole segments only: that of the bound stays as it is.
        let first_uncleanable_offset =
            view.sealed_from(uncleanable).first().map_or(view.active_base_offset, |segment| segment.base_offset);
        let from = first_dirty_offset.min(first_uncleanable_offset);
        let size = |segments: &[SegmentRange]| segments.iter().map(|segment| segment.size).sum();
        Self {
            first_dirty_offset,
            first_uncleanable_offset,
            clean_bytes: size(view.segments(-1, first_dirty_offset)),
            cleanable_bytes: size(view.segments(from, first_uncleanable_offset)),
            compaction_delay_ms,
        }
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.clean_bytes + self.cleanable_bytes
    }

    /// The dirty share of what can be cleaned.
    pub(super) fn cleanable_ratio(&self) -> f64 {
        match self.total_bytes() {
            0 => 0.0,
            total => self.cleanable_bytes as f64 / total as f64,
        }
    }

    /// Whether the log is to be cleaned now: it is dirty enough, or a record waited too long.
    pub(super) fn is_due(&self, min_cleanable_dirty_ratio: f64) -> bool {
        (self.compaction_delay_ms > 0 && self.cleanable_bytes > 0) || self.cleanable_ratio() > min_cleanable_dirty_ratio
    }
}

/// Since when (in milliseconds) the oldest dirty record should have been compacted; 0 if none should. `first_timestamps` are those of the
/// first batches of the dirty segments.
pub(super) fn compaction_delay_ms(
    first_timestamps: impl Iterator<Item = i64>,
    max_compaction_lag_ms: i64,
    now_ms: i64,
) -> i64 {
    let clean_until = now_ms.saturating_sub(max_compaction_lag_ms.max(0));
    match first_timestamps.filter(|timestamp| *timestamp > 0).min() {
        Some(earliest) if earliest < clean_until => clean_until - earliest,
        _ => 0,
    }
}

/// A segment with the sizes of its indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentSizes {
    pub(super) segment: SegmentRange,
    pub(super) offset_index: u64,
    pub(super) time_index: u64,
}

/// Puts neighbours together that fit into one segment: by bytes, by index entries, and by the distance of their offsets, which an index
/// keeps in 31 bits. The numbers of segments in each group.
pub(super) fn group_segments(
    segments: &[SegmentSizes],
    size_max: u64,
    index_size_max: u64,
    first_uncleanable_offset: i64,
) -> Vec<usize> {
    let mut groups = Vec::new();
    let mut rest = segments;
    while let Some((first, mut following)) = rest.split_first() {
        let (mut size, mut offset_index, mut time_index) = (first.segment.size, first.offset_index, first.time_index);
        let mut count = 1;
        while let Some((next, behind)) = following.split_first() {
            // The base offset behind a segment bounds its last offset without a look into it.
            let end = behind.first().map_or(first_uncleanable_offset, |behind| behind.segment.base_offset);
            let fits = size + next.segment.size <= size_max
                && offset_index + next.offset_index <= index_size_max
                && time_index + next.time_index <= index_size_max
                && (next.segment.size == 0 || end - 1 - first.segment.base_offset <= i64::from(i32::MAX));
            if !fits {
                break;
            }
            size += next.segment.size;
            offset_index += next.offset_index;
            time_index += next.time_index;
            count += 1;
            following = behind;
        }
        groups.push(count);
        rest = following;
    }
    groups
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
