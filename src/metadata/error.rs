//! What can go wrong with the metadata log itself. Errors of single topics or configurations are in the responses.

use std::io;
use std::path::{Path, PathBuf};

/// The metadata log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Reading or writing a file failed.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The log below the metadata failed.
    #[error("the metadata log failed: {0}")]
    Log(String),
    /// The log or a snapshot holds what no metadata log holds.
    #[error("{path} is corrupt at {position}: {reason}", path = path.display())]
    Corrupt {
        /// The file or directory.
        path: PathBuf,
        /// The byte position in a file, the offset in a log.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// A record does not fit its schema: a defect of ours.
    #[error("a metadata record cannot be encoded: {0}")]
    Unencodable(String),
    /// The command would write more records or bytes than one batch may have; nothing was written.
    #[error("Unable to perform excessively large batch operation.")]
    TooLarge,
    /// The volume of the metadata log has no room; nothing was written, and trying again later is right.
    #[error("the metadata log has no room: {0}")]
    DiskFull(String),
    /// An earlier write failed: what is on disk is unknown, so nothing more is written.
    #[error("the metadata log is offline after a failed write")]
    Offline,
    /// Too many commands are waiting.
    #[error("the metadata queue is full")]
    Busy,
    /// The command waited longer than its request allows.
    #[error("the request timed out before the controller could handle it")]
    TimedOut,
}

impl MetadataError {
    pub(super) fn disk(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Disk { what, path: path.to_owned(), source }
    }
}
