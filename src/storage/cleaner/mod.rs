//! Compaction (`LogCleaner`, `LogCleanerManager`, `Cleaner`): of each key the newest record stays.
//!
//! What it does: now and then it chooses the dirtiest log with `cleanup.policy=compact`, reads the keys of its dirty part into a map, copies
//! what is still needed of every segment up to there into new ones, and has the log put them in the place of the old.
//!
//! What holds:
//! - Only sealed segments below the last stable offset and the high watermark are touched, and none within `min.compaction.lag.ms`.
//! - Offsets, leader epochs, and the first and last offset of every batch that stays are as they were.
//! - Nothing is copied under the log's lock. Whoever truncates, deletes or reconfigures a log waits for nobody: the cleaner notices, at the
//!   latest when it wants to put its segment in place, and gives up ([`clean::Outcome::Aborted`]).
//! - A crash at any moment leaves the old segments or the new ones (`recovery/swap.rs`).
//! - Memory: the map takes what the dirty part needs and at most `log.cleaner.dedupe.buffer.size`; a dirty part that does not fit is cleaned
//!   in rounds. Idle, the cleaner holds nothing.
//! - A partition that cannot be cleaned is left alone until the next start, and counted; the others go on.
//! - A record is copied only from a batch whose checksum is right.

mod clean;
mod cleaned_segment;
#[cfg(test)]
pub(super) mod cleaner_tests;
mod key_hash;
mod manager;
#[cfg(test)]
mod model_tests;
mod offset_map;
mod selection;
mod throttle;
mod transactions;

pub(super) use manager::LogCleaner;
pub use manager::{CleanerConfig, CleanerConfigSource};
pub(super) use selection::{LogView, SegmentRange};
