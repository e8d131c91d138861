//! One segment's log file: every batch, with its checksum and with what its neighbours say of it.

use std::io;

use crate::env::DiskFile;
use crate::record::BatchHeader;
use crate::storage::leader_epoch_cache::LeaderEpochCache;
use crate::storage::verification::walk::{OnRead, Walker};

/// Where a walk stands: what the next batch is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct Chain {
    /// No batch may begin before it.
    pub(in crate::storage) next_offset: i64,
    /// The epoch of the batch before; no later one is smaller.
    pub(in crate::storage) epoch: i32,
}

/// What a segment is measured by.
#[derive(Clone, Copy)]
pub(in crate::storage) struct SegmentBounds<'a> {
    /// First offset behind the segment: where the next one begins.
    pub(in crate::storage) next_base_offset: Option<i64>,
    /// The epochs of the log, if known.
    pub(in crate::storage) epochs: Option<&'a LeaderEpochCache>,
}

/// Looks at a segment.
pub(in crate::storage) trait SegmentVisitor {
    /// A batch whose checksum and place are right.
    fn batch(&mut self, position: u64, header: &BatchHeader, whole: Option<&[u8]>);
    /// Something that is not.
    fn damage(&mut self, position: u64, what: String);
    /// Where a batch begins behind a damaged position, as an index tells it.
    fn resume_after(&self, position: u64) -> Option<u64>;
}

/// What a walk saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct SegmentTotals {
    pub(in crate::storage) batches: u64,
    pub(in crate::storage) records: u64,
    /// Offsets that no batch has, between the batches.
    pub(in crate::storage) missing_offsets: u64,
    /// Behind the last good batch.
    pub(in crate::storage) good_end: u64,
}

/// Walks over `size` bytes of a log file. Errors are those of reading; everything else is told to `visitor`.
pub(in crate::storage) fn verify_segment(
    file: &dyn DiskFile,
    size: u64,
    window_bytes: usize,
    chain: &mut Chain,
    bounds: SegmentBounds<'_>,
    visitor: &mut dyn SegmentVisitor,
    on_read: OnRead<'_>,
) -> io::Result<SegmentTotals> {
    let mut walker = Walker::new(file, size, window_bytes, on_read);
    let mut totals = SegmentTotals::default();
    let mut position = 0;
    while position < size {
        let damage = match walker.header(position)? {
            Err(reason) => Err(reason),
            Ok(header) => match misplaced(&header, *chain, bounds) {
                // The bytes may be whole; what does not fit is told, and the walk goes on behind it.
                Some(reason) if fits_behind(&mut walker, position, &header, size)? => {
                    visitor.damage(position, reason);
                    position += header.size_in_bytes() as u64;
                    continue;
                }
                Some(reason) => Err(reason),
                None if walker.checksum_matches(position, &header)? => Ok(header),
                None if fits_behind(&mut walker, position, &header, size)? => {
                    visitor.damage(position, wrong_checksum(&header));
                    chain.next_offset = chain.next_offset.max(header.next_offset());
                    position += header.size_in_bytes() as u64;
                    continue;
                }
                None => Err(wrong_checksum(&header)),
            },
        };
        match damage {
            Ok(header) => {
                totals.batches += 1;
                totals.records += u64::try_from(header.record_count).unwrap_or(0);
                totals.missing_offsets += header.base_offset.saturating_sub(chain.next_offset).max(0) as u64;
                *chain = Chain { next_offset: header.next_offset(), epoch: header.partition_leader_epoch };
                let whole = if header.is_control() { walker.batch(position, &header)? } else { None };
                visitor.batch(position, &header, whole);
                position += header.size_in_bytes() as u64;
                totals.good_end = position;
            }
            Err(reason) => {
                visitor.damage(position, reason);
                let Some(resumed) = visitor.resume_after(position).filter(|resumed| *resumed < size) else { break };
                position = resumed;
            }
        }
    }
    Ok(totals)
}

fn wrong_checksum(header: &BatchHeader) -> String {
    format!(
        "the checksum of the batch with offsets {} to {} is wrong (stored crc = {})",
        header.base_offset,
        header.last_offset(),
        header.crc
    )
}

/// Why a header cannot stand where it does; the checksum covers none of what is looked at here.
pub(in crate::storage) fn misplaced(header: &BatchHeader, chain: Chain, bounds: SegmentBounds<'_>) -> Option<String> {
    let Chain { next_offset, epoch } = chain;
    if header.base_offset < next_offset {
        return Some(format!("base offset {} is below {next_offset}, where the batch before ends", header.base_offset));
    }
    if bounds.next_base_offset.is_some_and(|next| header.next_offset() > next) {
        let next = bounds.next_base_offset.unwrap_or_default();
        return Some(format!("last offset {} is not below {next}, the next segment's first", header.last_offset()));
    }
    let found = header.partition_leader_epoch;
    if found < epoch {
        return Some(format!("leader epoch {found} is below {epoch}, that of the batch before"));
    }
    let expected = bounds.epochs.and_then(|epochs| epochs.epoch_for_offset(header.base_offset));
    match expected {
        Some(expected) if expected != found => {
            Some(format!("leader epoch {found} is not {expected}, that of offset {}", header.base_offset))
        }
        _ => None,
    }
}

/// Whether the batch's length leads to another header, or to the end: then only this batch is wrong.
fn fits_behind(walker: &mut Walker<'_>, position: u64, header: &BatchHeader, size: u64) -> io::Result<bool> {
    let next = position + header.size_in_bytes() as u64;
    Ok(next == size || walker.header(next)?.is_ok_and(|after| after.base_offset >= header.base_offset))
}
