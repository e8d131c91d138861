//! What can go wrong with the metadata log itself. Errors of single topics or configs are in the responses.

use std::io;
use std::path::PathBuf;

/// The metadata log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Reading or writing a file failed.
    #[error("{what} {path}: {source}", path = path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The log or a snapshot holds what no metadata log holds.
    #[error("{path} is corrupt at {position}: {reason}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The byte position of the batch.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// An earlier write failed: what is on disk is unknown, so nothing more is written.
    #[error("the metadata log is offline after a failed write")]
    Offline,
}
