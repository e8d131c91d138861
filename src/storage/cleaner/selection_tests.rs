//! Decisions about logs that exist on paper.

use proptest::prelude::*;

use super::*;

/// Segments of 100 bytes at these base offsets, the last one active.
fn view(bases: &[i64], log_end_offset: i64) -> LogView {
    let (active, sealed) = bases.split_last().unwrap();
    let segment = |(index, base): (usize, &i64)| SegmentRange {
        base_offset: *base,
        next_base_offset: bases[index + 1],
        size: 100,
    };
    LogView {
        sealed: sealed.iter().enumerate().map(segment).collect(),
        active_base_offset: *active,
        log_start_offset: bases[0],
        log_end_offset,
        last_stable_offset: log_end_offset,
    }
}

fn cleanable(view: &LogView, checkpoint: Option<i64>) -> Cleanable {
    Cleanable::new(view, first_dirty_offset(view, checkpoint).offset, None, 0)
}

#[test]
fn all_but_the_active_segment_is_dirty_at_first() {
    let log = view(&[0, 10, 20, 30], 35);
    let found = cleanable(&log, None);
    assert_eq!((found.first_dirty_offset, found.first_uncleanable_offset), (0, 30));
    assert_eq!((found.clean_bytes, found.cleanable_bytes), (0, 300));
    assert_eq!(found.cleanable_ratio(), 1.0);
    assert!(found.is_due(0.99));
    let half = cleanable(&log, Some(20));
    assert_eq!((half.clean_bytes, half.cleanable_bytes), (200, 100));
    assert!(half.is_due(0.3) && !half.is_due(0.34));
    let none = cleanable(&log, Some(30));
    assert_eq!((none.clean_bytes, none.cleanable_bytes), (300, 0));
    assert!(!none.is_due(0.0), "a ratio of 0 is not above 0");
    assert_eq!(cleanable(&view(&[0], 5), None).total_bytes(), 0);
}

/// KAFKA-13194: nothing beyond the high watermark or an open transaction is cleaned, not even the rest of that segment.
#[test]
fn k_13194_never_beyond_the_last_stable_offset() {
    let mut log = view(&[0, 10, 20, 30], 35);
    log.last_stable_offset = 20;
    assert_eq!(cleanable(&log, None).first_uncleanable_offset, 20);
    log.last_stable_offset = 15;
    assert_eq!(cleanable(&log, None).first_uncleanable_offset, 10);
    log.last_stable_offset = 5;
    let found = cleanable(&log, None);
    assert_eq!((found.first_uncleanable_offset, found.cleanable_bytes), (0, 0));
    assert!(!found.is_due(0.0));
}

/// KAFKA-9826: a checkpoint inside the active segment leaves nothing to clean, again and again.
#[test]
fn k_9826_a_dirty_offset_in_the_active_segment_is_no_work() {
    let log = view(&[0, 10, 20], 29);
    let found = cleanable(&log, Some(25));
    assert_eq!((found.first_dirty_offset, found.first_uncleanable_offset, found.cleanable_bytes), (25, 20, 0));
    assert!(!found.is_due(0.0));
}

/// KAFKA-8764: a checkpoint in a gap, between the last offset of a segment and the next one's base, is behind that segment.
#[test]
fn k_8764_a_checkpoint_in_a_gap_is_progress() {
    let log = view(&[0, 100, 200], 210);
    let found = cleanable(&log, Some(200));
    assert_eq!((found.clean_bytes, found.cleanable_bytes), (200, 0));
}

#[test]
fn a_checkpoint_outside_the_log_is_dropped() {
    let mut log = view(&[10, 20, 30], 35);
    assert_eq!(first_dirty_offset(&log, Some(5)), FirstDirty { offset: 10, checkpoint_is_invalid: true });
    assert_eq!(first_dirty_offset(&log, Some(36)), FirstDirty { offset: 10, checkpoint_is_invalid: true });
    assert_eq!(first_dirty_offset(&log, Some(35)), FirstDirty { offset: 35, checkpoint_is_invalid: false });
    log.log_start_offset = 15;
    assert_eq!(first_dirty_offset(&log, None), FirstDirty { offset: 15, checkpoint_is_invalid: false });
}

#[test]
fn the_minimum_lag_holds_segments_back() {
    let log = view(&[0, 10, 20, 30], 35);
    let found = Cleanable::new(&log, 0, Some(20), 0);
    assert_eq!((found.first_uncleanable_offset, found.cleanable_bytes), (20, 200));
    // A bound before the dirty part means that nothing of it can be cleaned.
    let none = Cleanable::new(&log, 20, Some(10), 0);
    assert_eq!((none.first_uncleanable_offset, none.cleanable_bytes), (20, 0));
}

#[test]
fn the_maximum_lag_makes_a_log_due() {
    assert_eq!(compaction_delay_ms([5_000, 2_000, -1, 0].into_iter(), 1_000, 10_000), 7_000);
    assert_eq!(compaction_delay_ms([9_500].into_iter(), 1_000, 10_000), 0);
    assert_eq!(compaction_delay_ms([1].into_iter(), i64::MAX, 10_000), 0);
    assert_eq!(compaction_delay_ms(std::iter::empty(), 0, 10_000), 0);
    let log = view(&[0, 10, 20], 25);
    assert!(Cleanable::new(&log, 10, None, 1).is_due(0.9));
    assert!(!Cleanable::new(&log, 20, None, 1).is_due(0.9), "nothing to clean");
}

fn sizes(bases: &[i64], size: u64) -> Vec<SegmentSizes> {
    let segment = |pair: &[i64]| SegmentSizes {
        segment: SegmentRange { base_offset: pair[0], next_base_offset: pair[1], size },
        offset_index: 8,
        time_index: 12,
    };
    bases.windows(2).map(segment).collect()
}

#[test]
fn neighbours_are_put_together_while_they_fit() {
    let segments = sizes(&[0, 10, 20, 30, 40, 50], 100);
    assert_eq!(group_segments(&segments, 1000, 1000, 50), [5]);
    assert_eq!(group_segments(&segments, 250, 1000, 50), [2, 2, 1]);
    assert_eq!(group_segments(&segments, 99, 1000, 50), [1; 5], "one that is too large stays alone");
    assert_eq!(group_segments(&segments, 1000, 36, 50), [3, 2], "the time index is full before the offset index");
    assert_eq!(group_segments(&[], 1000, 1000, 0), [0; 0]);
}

/// KAFKA-2024 and its family: cleaned segments keep their offsets within 31 bits of their base.
#[test]
fn k_2024_offsets_of_a_group_stay_indexable() {
    let far = i64::from(i32::MAX);
    let segments = sizes(&[0, 10, far, far + 1, far + 2], 100);
    // The segment from 10 on may hold far - 1, the next far, the one behind it far + 1.
    assert_eq!(group_segments(&segments, 1000, 1000, far + 2), [3, 1]);
    let sparse = sizes(&[0, far, 2 * far, 3 * far], 100);
    assert_eq!(group_segments(&sparse, 1000, 1000, 3 * far), [1, 1, 1]);
}

/// Empty segments would be left over every 2^31 offsets if their offsets counted.
#[test]
fn empty_segments_join_whatever_their_offsets() {
    let far = i64::from(i32::MAX);
    let mut segments = sizes(&[0, 10, 3 * far, 4 * far], 100);
    segments[1].segment.size = 0;
    segments[2].segment.size = 0;
    assert_eq!(group_segments(&segments, 1000, 1000, 5 * far), [3]);
}

proptest! {
    #[test]
    fn groups_cover_all_and_hold_the_limits(
        steps in prop::collection::vec((1i64..2_000_000_000, 0u64..300), 1..30),
        size_max in 1u64..1000,
    ) {
        let mut base = 0;
        let mut segments = Vec::new();
        for (step, size) in &steps {
            segments.push(SegmentSizes {
                segment: SegmentRange { base_offset: base, next_base_offset: base + step, size: *size },
                offset_index: size / 8,
                time_index: size / 12,
            });
            base += step;
        }
        let groups = group_segments(&segments, size_max, 40, base);
        prop_assert_eq!(groups.iter().sum::<usize>(), segments.len());
        let mut rest = &segments[..];
        for count in groups {
            let (group, others) = rest.split_at(count);
            rest = others;
            if count > 1 {
                prop_assert!(group.iter().map(|one| one.segment.size).sum::<u64>() <= size_max);
                prop_assert!(group.iter().map(|one| one.offset_index).sum::<u64>() <= 40);
            }
            let last = group.iter().rfind(|one| one.segment.size > 0);
            if count > 1 && let Some(last) = last {
                let reach = last.segment.next_base_offset - 1 - group[0].segment.base_offset;
                prop_assert!(reach <= i64::from(i32::MAX) || last.segment.base_offset == group[0].segment.base_offset);
            }
        }
    }

    #[test]
    fn what_can_be_cleaned_is_sealed_and_stable(
        steps in prop::collection::vec(1i64..50, 1..12),
        stable in 0i64..700,
        checkpoint in prop::option::of(0i64..700),
        lag in prop::option::of(0i64..700),
    ) {
        let mut bases = vec![0];
        for step in &steps {
            bases.push(bases[bases.len() - 1] + step);
        }
        let end = bases[bases.len() - 1] + 5;
        let mut log = view(&bases, end);
        log.last_stable_offset = stable.min(end);
        let dirty = first_dirty_offset(&log, checkpoint);
        let found = Cleanable::new(&log, dirty.offset, lag, 0);
        prop_assert!(found.first_uncleanable_offset <= log.active_base_offset);
        if found.cleanable_bytes > 0 {
            prop_assert!(found.first_uncleanable_offset <= log.last_stable_offset);
            prop_assert!(found.first_uncleanable_offset <= lag.unwrap_or(i64::MAX));
            prop_assert!(found.first_dirty_offset < found.first_uncleanable_offset);
        }
        prop_assert!(bases.contains(&found.first_uncleanable_offset));
        prop_assert!((0.0..=1.0).contains(&found.cleanable_ratio()));
    }
}
