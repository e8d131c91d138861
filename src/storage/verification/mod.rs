//! Checking what is on disk without using it: segments, indexes, side files and checkpoints (`ottla verify`, the scrub).
//!
//! Everything is compared with everything that says the same a second time: a batch with its checksum and its neighbours, indexes
//! with the log, epochs in headers with the epoch file, checkpoints with the ends of the logs. Nothing is written, files are read in
//! pieces of [`walk::WINDOW_BYTES`], and memory is bounded by the largest index file that is allowed.

mod directory;
mod indexes;
mod log;
mod segment;
mod side_files;
mod transactions;
mod walk;

use std::path::{Path, PathBuf};

pub use directory::{VerifiedDirectory, verify_directory};
pub use log::{LogExpectations, VerifiedLog, verify_log};
pub(in crate::storage) use segment::{Chain, SegmentBounds, misplaced};
pub(in crate::storage) use walk::Walker;

/// The most problems that are kept of one log; of more, the count is told.
const PROBLEMS_PER_LOG_MAX: usize = 100;

/// What a problem means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// What a stop without goodbye leaves: the next start completes or cuts it, and nothing that was promised is lost.
    Unfinished,
    /// A cache of the log is wrong or missing; a start or a read rebuilds it or does without.
    Cache,
    /// Data is not what was written.
    Damage,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file, or the directory that lacks one.
    pub path: PathBuf,
    /// Which byte, if one can be named.
    pub position: Option<u64>,
    /// What is wrong there, and what it means.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.position {
            Some(position) => write!(formatter, "{} at byte {position}: {}", self.path.display(), self.what),
            None => write!(formatter, "{}: {}", self.path.display(), self.what),
        }
    }
}

/// Problems found, bounded in number.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    /// The first ones.
    pub list: Vec<Problem>,
    /// How many more there are.
    pub unlisted: u64,
}

impl Problems {
    fn add(&mut self, severity: Severity, path: &Path, position: Option<u64>, what: impl Into<String>) {
        if self.list.len() < PROBLEMS_PER_LOG_MAX {
            self.list.push(Problem { severity, path: path.to_owned(), position, what: what.into() });
        } else {
            self.unlisted += 1;
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
