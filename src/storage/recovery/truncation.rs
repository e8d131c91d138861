//! Cutting an open log at its end.

use super::Loader;
use crate::storage::file_names::{SNAPSHOT_SUFFIX, offset_file};
use crate::storage::log::{Log, LogOptions, LogState, SearchPlan};
use crate::storage::producer_state::ProducerState;
use crate::storage::segment::SealedSegment;
use crate::storage::segment_files::SegmentFileKind;
use crate::storage::{StorageError, StorageResult};

/// Cuts a log inside its segments (see [`Log::truncate_to`]).
pub(in crate::storage) fn truncate(log: &Log, state: &mut LogState, offset: i64) -> StorageResult<()> {
    let options = options_of(log, state);
    let mut loader = Loader::new(&options, log.path.clone());
    let plan = log.plan_search(state, offset)?;
    let position = plan.locate(offset)?.map_or(plan.size, |(position, _)| position);
    cut(log, state, &mut loader, plan, position, offset).map_err(|error| half_cut(log, &error))
}

/// A log whose truncation failed on the way is served no more.
fn half_cut(log: &Log, error: &StorageError) -> StorageError {
    log.directory.take_offline(format!("truncating {}: {error}", log.topic_partition()))
}

fn cut(
    log: &Log,
    state: &mut LogState,
    loader: &mut Loader<'_>,
    plan: SearchPlan,
    position: u64,
    offset: i64,
) -> StorageResult<()> {
    let files = plan.files;
    let kept = state.sealed.partition_point(|segment| segment.base_offset() < files.base_offset());
    let bases: Vec<i64> =
        state.sealed[kept..].iter().map(SealedSegment::base_offset).chain([state.active.base_offset()]).collect();
    if state.sealed[kept..].iter().any(SealedSegment::has_aborted) || state.active.aborted_entries > 0 {
        loader.transactions_from = Some(files.base_offset());
    }
    state.active.files.close();
    // The newest first and the cut last: whenever a crash comes, what is left is a log without a hole. All of it is durable before
    // anything else is appended: what was cut off must not come back behind it.
    for base_offset in bases.into_iter().rev().filter(|base_offset| *base_offset != files.base_offset()) {
        loader.remove_segment(base_offset)?;
    }
    let cut = plan.log.set_len(position).and_then(|()| plan.log.sync_data());
    cut.map_err(|error| files.write_error(SegmentFileKind::Log, &error))?;
    loader.sync_names()?;
    state.sealed.truncate(kept);
    state.note_truncation(offset);
    let scan = loader.scan_segment(files, None)?;
    let end_offset;
    (state.active, end_offset) = loader.finish_segment(scan)?;
    state.log_end_offset = offset;
    state.flush.truncated = Some((offset, end_offset));
    state.recovery_point = state.recovery_point.min(offset);
    state.log_start_offset = state.log_start_offset.min(offset);
    state.set_high_watermark(state.high_watermark.offset.min(offset));
    state.flush.directory_unsynced = true;
    if state.epochs.truncate_from_end(offset) {
        log.write_epochs(state)?;
    }
    state.producers = ProducerState::default();
    let listing = loader.list()?;
    loader.load_producers(state, &listing)
}

/// Empties a log (see [`Log::truncate_fully_and_start_at`]).
pub(in crate::storage) fn restart(log: &Log, state: &mut LogState, offset: i64) -> StorageResult<()> {
    empty(log, state, offset).map_err(|error| half_cut(log, &error))
}

fn empty(log: &Log, state: &mut LogState, offset: i64) -> StorageResult<()> {
    let options = options_of(log, state);
    let mut loader = Loader::new(&options, log.path.clone());
    state.active.files.close();
    state.note_truncation(offset);
    state.log_start_offset = offset;
    loader.restart_at_log_start(state)?;
    for snapshot in loader.list()?.snapshots {
        loader.remove(&offset_file(&loader.at, snapshot, SNAPSHOT_SUFFIX))?;
    }
    loader.sync_names()?;
    state.snapshot_offset = offset;
    state.producers = ProducerState::default();
    state.epochs.clear();
    state.set_high_watermark(offset);
    state.flush.directory_unsynced = true;
    log.write_epochs(state)
}

pub(super) fn options_of(log: &Log, state: &LogState) -> LogOptions {
    LogOptions {
        producer_state: log.producer_state.clone(),
        ..LogOptions::new(log.directory.clone(), log.topic_partition().clone(), state.config.clone())
    }
}
