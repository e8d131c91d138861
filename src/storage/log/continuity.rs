//! The header fields that no checksum covers, looked at before they are sent.
//!
//! Base offset, length, leader epoch and magic stand outside of a batch's checksum, and reads go from the file to the socket without
//! passing through this process. So the first time that a range is read which this process did not write itself, its headers are
//! walked: each length leads to the next header, no batch begins before the one in front of it ends, the last one ends where the next
//! segment begins, the first one is where the index says, epochs are those of the epoch file. In a log without gaps offsets have no
//! room to be wrong in. What was walked is remembered in 8 bytes a segment; what this process appended is not walked at all.
//!
//! Damage is not sent: batches before it are, batches behind it are, and a read that needs the damaged one is answered with
//! CORRUPT_MESSAGE, upon which Java's consumer tells its application the partition and the offset, as for a wrong checksum.

use std::cell::Cell;

use super::read::SearchPlan;
use super::{Log, LogState, SegmentView};
use crate::record::{BatchHeader, check_crc};
use crate::storage::batch_scan::{BatchScanner, Scanned};
use crate::storage::leader_epoch_cache::LeaderEpochCache;
use crate::storage::segment_files::SegmentFileKind;
use crate::storage::sparse_index::{OffsetEntry, read_entry};
use crate::storage::verification::{Chain, SegmentBounds, misplaced};
use crate::storage::{StorageError, StorageResult};

/// Positions of damage that are told once each.
const TOLD_DAMAGE_MAX: usize = 256;

/// The part of a segment whose headers are known to be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct CheckedRange {
    from: u32,
    to: u32,
}

impl CheckedRange {
    /// Everything up to a position.
    pub(in crate::storage) fn up_to(position: u64) -> Self {
        Self { from: 0, to: clamp(position) }
    }

    /// What lies between two positions.
    pub(in crate::storage) fn between(from: u64, to: u64) -> Self {
        Self { from: clamp(from), to: clamp(to) }
    }

    /// Whether everything between the positions was looked at.
    pub(in crate::storage) fn covers(self, from: u64, to: u64) -> bool {
        from >= to || u64::from(self.from) <= from && to <= u64::from(self.to)
    }

    /// Where a walk that wants to begin at `from` may begin.
    fn resume(self, from: u64) -> u64 {
        if (u64::from(self.from)..=u64::from(self.to)).contains(&from) { u64::from(self.to) } else { from }
    }

    /// This range and another one, if they touch; otherwise the other one.
    pub(in crate::storage) fn and(self, other: Self) -> Self {
        let touch = other.from <= self.to && self.from <= other.to;
        if touch { Self { from: self.from.min(other.from), to: self.to.max(other.to) } } else { other }
    }
}

/// Segments have less than 2 GiB.
fn clamp(position: u64) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// A header that is not right, or none where one must be.
#[derive(Debug)]
pub(super) struct Damage {
    position: u64,
    reason: String,
}

/// Where the wanted batch is, and how far what follows may be sent.
pub(super) struct Readable {
    /// Position of the batch.
    pub(super) position: u64,
    /// Its size in bytes.
    pub(super) batch_size: usize,
    /// Nothing from here on.
    pub(super) end: u64,
    /// The headers before it are not all right: nothing may be built from them.
    pub(super) is_damaged: bool,
}

impl Log {
    /// Looks at the headers of a range that this process did not write, unless that was done before. Gives the range that may be sent;
    /// fails with `Corrupt` if the batch that holds `offset` may not.
    pub(super) fn check_headers(
        &self,
        plan: &SearchPlan,
        offset: i64,
        start: u64,
        wanted: Readable,
    ) -> StorageResult<Readable> {
        let end = wanted.end.min(plan.inherited);
        if plan.checked.covers(start, end) {
            return Ok(wanted);
        }
        let from = plan.checked.resume(start);
        match self.walk(plan, from, end)? {
            Ok(to) => {
                self.note_checked(plan, CheckedRange::between(from, to));
                Ok(wanted)
            }
            Err(damage) => {
                self.tell_damage(plan, &damage);
                self.around_damage(plan, offset, wanted.end)
            }
        }
    }

    fn note_checked(&self, plan: &SearchPlan, range: CheckedRange) {
        let state = self.lock();
        if state.replacements != plan.replacements {
            return;
        }
        if let Some(checked) = checked_of(&state, plan.files.base_offset()) {
            checked.set(checked.get().and(range));
        }
    }

    /// Walks from a header to the first one at or behind `to`, which vouches for the one in front of it; gives its position.
    fn walk(&self, plan: &SearchPlan, from: u64, to: u64) -> StorageResult<Result<u64, Damage>> {
        let epochs = self.lock().epochs.clone();
        let bounds = SegmentBounds { next_base_offset: Some(plan.end_offset), epochs: Some(&epochs) };
        let mut chain = Chain { next_offset: if from == 0 { plan.files.base_offset() } else { 0 }, epoch: -1 };
        let mut scanner = BatchScanner::new(plan.log.clone(), from, plan.size);
        let mut before: Option<(u64, BatchHeader)> = None;
        loop {
            match scanner.next().map_err(|error| plan.files.read_error(SegmentFileKind::Log, &error))? {
                Scanned::Batch { position, header } => {
                    if let Some(reason) = misplaced(&header, chain, bounds) {
                        return Ok(Err(Damage { position, reason }));
                    }
                    let behind_gap = before.filter(|(_, before)| before.next_offset() < header.base_offset);
                    if let Some(damage) = behind_gap.and_then(|(position, before)| wrong_end(plan, position, &before)) {
                        return Ok(Err(damage));
                    }
                    before = Some((position, header));
                    if position >= to {
                        return Ok(Ok(position));
                    }
                    chain = Chain { next_offset: header.next_offset(), epoch: header.partition_leader_epoch };
                }
                Scanned::End => {
                    let behind_gap = before.filter(|(_, before)| before.next_offset() < plan.end_offset);
                    let damage = behind_gap.and_then(|(position, before)| wrong_end(plan, position, &before));
                    return Ok(damage.map_or(Ok(plan.size), Err));
                }
                Scanned::Broken { position, reason } => return Ok(Err(Damage { position, reason })),
            }
        }
    }

    /// What can be sent of a segment that is damaged: the batch that holds `offset` and those behind it up to the damage. Reads the
    /// headers from the segment's start; damaged segments are rare.
    pub(super) fn around_damage(&self, plan: &SearchPlan, offset: i64, end: u64) -> StorageResult<Readable> {
        let epochs = &self.lock().epochs.clone();
        let mut run = Run::new(plan, epochs);
        let mut found: Option<Readable> = None;
        let mut damage = None;
        while let Some(step) = run.next()? {
            match (step, &mut found) {
                (Step::Good { position, header }, Some(readable)) if position < end => {
                    readable.end = position + header.size_in_bytes() as u64;
                }
                (Step::Good { position, header }, None) if header.last_offset() >= offset => {
                    if header.base_offset > offset && damage.is_some() {
                        // The damaged batch held it.
                        break;
                    }
                    let batch_size = header.size_in_bytes();
                    let end = position + batch_size as u64;
                    found = Some(Readable { position, batch_size, end, is_damaged: true });
                }
                (Step::Good { .. }, None) => damage = None,
                (Step::Damaged(why), None) => damage = Some(why),
                (Step::Good { .. } | Step::Damaged(_), Some(_)) => break,
            }
        }
        match found {
            Some(readable) => Ok(readable),
            None => {
                let why = damage.unwrap_or(Damage { position: plan.size, reason: "no batch holds the offset".into() });
                self.tell_damage(plan, &why);
                Err(self.damaged(plan, offset, &why))
            }
        }
    }

    fn damaged(&self, plan: &SearchPlan, offset: i64, damage: &Damage) -> StorageError {
        let path = plan.files.path_of(SegmentFileKind::Log);
        self.corrupt(format!(
            "{} at byte {}: {}; offset {offset} cannot be read",
            path.display(),
            damage.position,
            damage.reason
        ))
    }

    /// One line of the log for each damaged place that the scrub finds.
    pub(in crate::storage) fn tell_of_damage(&self, segment: &SegmentView, position: u64, reason: &str) {
        let mut told = self.told_damage.lock();
        if told.len() < TOLD_DAMAGE_MAX && told.insert((segment.base_offset, position)) {
            tracing::error!("{} at byte {position}: {reason}", segment.path(SegmentFileKind::Log).display());
        }
    }

    /// One line of the log for each damaged place.
    fn tell_damage(&self, plan: &SearchPlan, damage: &Damage) {
        let mut told = self.told_damage.lock();
        if told.len() < TOLD_DAMAGE_MAX && told.insert((plan.files.base_offset(), damage.position)) {
            let path = plan.files.path_of(SegmentFileKind::Log);
            tracing::error!("{} at byte {}: {}: not sent to readers", path.display(), damage.position, damage.reason);
        }
    }
}

/// Why a batch in front of a gap cannot end where its header says. Compaction leaves gaps; a wrong last offset looks like one, and is
/// covered by the checksum.
fn wrong_end(plan: &SearchPlan, position: u64, header: &BatchHeader) -> Option<Damage> {
    let mut batch = vec![0; header.size_in_bytes()];
    let checked = plan.log.read_exact_at(&mut batch, position).map_err(|error| error.to_string());
    let checked = checked.and_then(|()| check_crc(&batch).map_err(|error| error.to_string()));
    checked.err().map(|reason| Damage { position, reason })
}

/// The cell that holds what was checked of a segment.
fn checked_of(state: &LogState, base_offset: i64) -> Option<&Cell<CheckedRange>> {
    if state.active.base_offset() == base_offset {
        return Some(&state.active.checked);
    }
    state.sealed_at(base_offset).map(|index| state.sealed[index].checked())
}

enum Step {
    Good { position: u64, header: BatchHeader },
    Damaged(Damage),
}

/// The headers of a damaged segment, each measured by both of its neighbours.
struct Run<'a> {
    plan: &'a SearchPlan,
    bounds: SegmentBounds<'a>,
    chain: Chain,
    scanner: BatchScanner,
    /// A batch whose offsets collide with those of the one in front of it: which of the two is wrong nobody can say.
    colliding: Option<u64>,
}

impl<'a> Run<'a> {
    fn new(plan: &'a SearchPlan, epochs: &'a LeaderEpochCache) -> Self {
        Self {
            plan,
            bounds: SegmentBounds { next_base_offset: Some(plan.end_offset), epochs: Some(epochs) },
            chain: Chain { next_offset: plan.files.base_offset(), epoch: -1 },
            scanner: BatchScanner::new(plan.log.clone(), 0, plan.size),
            colliding: None,
        }
    }

    fn read_error(&self, error: &std::io::Error) -> StorageError {
        self.plan.files.read_error(SegmentFileKind::Log, error)
    }

    fn next(&mut self) -> StorageResult<Option<Step>> {
        match self.scanner.next().map_err(|error| self.read_error(&error))? {
            Scanned::End => Ok(None),
            Scanned::Broken { position, reason } => self.resume_behind(Damage { position, reason }),
            Scanned::Batch { position, header } => {
                let next = position + header.size_in_bytes() as u64;
                let ahead = BatchScanner::new(self.plan.log.clone(), next, self.plan.size).next();
                let behind = match ahead.map_err(|error| self.read_error(&error))? {
                    // The length leads nowhere: it is wrong, or what it leads to is.
                    Scanned::Broken { .. } => {
                        let reason = "its length does not lead to another batch".to_owned();
                        return self.resume_behind(Damage { position, reason });
                    }
                    Scanned::End => None,
                    Scanned::Batch { header, .. } => Some(header),
                };
                let damaged = |reason: String| Ok(Some(Step::Damaged(Damage { position, reason })));
                if let Some(reason) = misplaced(&header, self.chain, self.bounds) {
                    return damaged(reason);
                }
                let collided = self.colliding.take() == Some(position);
                let collides = behind
                    .filter(|behind| (self.chain.next_offset..header.next_offset()).contains(&behind.base_offset));
                if let Some(behind) = collides {
                    self.colliding = Some(next);
                    let (first, last, begin) = (header.base_offset, header.last_offset(), behind.base_offset);
                    return damaged(format!(
                        "offsets {first} to {last} reach behind {begin}, where the next batch begins"
                    ));
                }
                let ends_at = behind.map_or(self.plan.end_offset, |behind| behind.base_offset);
                if header.next_offset() < ends_at
                    && let Some(damage) = wrong_end(self.plan, position, &header)
                {
                    return Ok(Some(Step::Damaged(damage)));
                }
                if collided {
                    return damaged("its offsets collide with those of the batch before".to_owned());
                }
                self.chain = Chain { next_offset: header.next_offset(), epoch: header.partition_leader_epoch };
                Ok(Some(Step::Good { position, header }))
            }
        }
    }

    /// Goes on at the first place behind the damage that the offset index vouches for.
    fn resume_behind(&mut self, damage: Damage) -> StorageResult<Option<Step>> {
        let behind = self.indexed_behind(damage.position)?.unwrap_or(self.plan.size);
        self.scanner = BatchScanner::new(self.plan.log.clone(), behind, self.plan.size);
        Ok(Some(Step::Damaged(damage)))
    }

    fn indexed_behind(&self, position: u64) -> StorageResult<Option<u64>> {
        let Ok(index) = self.plan.files.open_apart(SegmentFileKind::OffsetIndex) else { return Ok(None) };
        let entries = index.size().map_err(|error| self.read_error(&error))? / 8;
        for number in 0..entries {
            let entry: OffsetEntry = read_entry(&*index, number as usize).map_err(|error| self.read_error(&error))?;
            let at = u64::from(entry.position);
            if at <= position || at >= self.plan.size {
                continue;
            }
            // The entry must be right itself.
            let found = BatchScanner::new(self.plan.log.clone(), at, self.plan.size).next();
            if let Scanned::Batch { header, .. } = found.map_err(|error| self.read_error(&error))?
                && header.last_offset() == self.plan.files.base_offset() + i64::from(entry.relative_offset)
            {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}
