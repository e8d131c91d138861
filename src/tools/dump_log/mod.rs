//! `ottla dump-log`: options, output and exit code of `kafka-dump-log.sh` (`DumpLogSegments`).
//!
//! What differs: nothing is created when an index is missing; batches of message formats 0 and 1 are told and not printed; decoder
//! classes cannot be loaded; of group records, those of the classic protocol are decoded.

mod index_files;
mod log_file;
mod message_parser;
mod side_files;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::env::{Disk, DiskFile, OpenMode};
use message_parser::MessageParser;

/// What to print of which files.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DumpLogOptions {
    /// The comma separated list of data and index log files to be dumped
    #[arg(long, value_name = "file1, file2, ...", required = true, value_delimiter = ',')]
    pub files: Vec<PathBuf>,
    /// Print the messages' content when dumping data logs. Set by any decoder option
    #[arg(long)]
    pub print_data_log: bool,
    /// Iterate over records, not only batches. Set by --print-data-log
    #[arg(long)]
    pub deep_iteration: bool,
    /// Just verify the index log without printing its content
    #[arg(long)]
    pub verify_index_only: bool,
    /// Just check the index sanity without printing its content: the check that decides at start whether an index is rebuilt
    #[arg(long)]
    pub index_sanity_check: bool,
    /// Size of largest message
    #[arg(long, value_name = "size", default_value_t = 5 * 1024 * 1024)]
    pub max_message_size: i32,
    /// Limit the amount of total batches read in bytes avoiding reading the whole .log file(s)
    #[arg(long, value_name = "size", default_value_t = i32::MAX)]
    pub max_bytes: i32,
    /// Parse log data as offset data from the __consumer_offsets topic
    #[arg(long)]
    pub offsets_decoder: bool,
    /// Parse log data as transaction metadata from the __transaction_state topic
    #[arg(long)]
    pub transaction_log_decoder: bool,
    /// Parse log data as cluster metadata records
    #[arg(long)]
    pub cluster_metadata_decoder: bool,
    /// Skip metadata when printing records. This flag also skips control records
    #[arg(long)]
    pub skip_record_metadata: bool,
}

impl DumpLogOptions {
    fn parser(&self) -> MessageParser {
        if self.offsets_decoder {
            MessageParser::Offsets
        } else if self.transaction_log_decoder {
            MessageParser::TransactionLog
        } else if self.cluster_metadata_decoder {
            MessageParser::ClusterMetadata
        } else {
            MessageParser::Text
        }
    }

    fn prints_contents(&self) -> bool {
        self.print_data_log || self.parser() != MessageParser::Text
    }
}

/// Why a dump ended early.
#[derive(Debug, thiserror::Error)]
pub enum DumpLogError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// A file's content cannot be understood any further.
    #[error("{}: {reason}", path.display())]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// Why, with the position.
        reason: String,
    },
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Where lines go: the content, and what does not fit together.
struct Output<'a> {
    out: &'a mut dyn Write,
    /// Printed behind everything else, as Kafka does.
    mismatches: Vec<String>,
}

/// Prints files; what does not fit together goes to `errors` at the end. Fails at the first file that cannot be read on.
///
/// # Errors
/// See [`DumpLogError`]. What was printed until then stays printed.
pub fn dump_log(
    disk: &dyn Disk,
    options: &DumpLogOptions,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<(), DumpLogError> {
    let mut output = Output { out, mismatches: Vec::new() };
    for path in &options.files {
        writeln!(output.out, "Dumping {}", path.display())?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name.rsplit_once('.').map_or("", |(_, suffix)| suffix) {
            "log" | "checkpoint" => log_file::dump(disk, path, options, &mut output)?,
            "index" => index_files::dump_offset_index(disk, path, options, &mut output)?,
            "timeindex" => index_files::dump_time_index(disk, path, options, &mut output)?,
            "snapshot" => side_files::dump_producer_snapshot(disk, path, &mut output)?,
            "txnindex" => side_files::dump_transaction_index(disk, path, &mut output)?,
            _ => output.mismatches.push(format!("Ignoring unknown file {}", path.display())),
        }
    }
    output.out.flush()?;
    for line in &output.mismatches {
        writeln!(errors, "{line}")?;
    }
    Ok(())
}

fn open(disk: &dyn Disk, path: &Path) -> Result<std::sync::Arc<dyn DiskFile>, DumpLogError> {
    disk.open(path, OpenMode::Read).map_err(|error| DumpLogError::Read { path: path.to_owned(), error })
}

fn corrupt(path: &Path, reason: impl Into<String>) -> DumpLogError {
    DumpLogError::Corrupt { path: path.to_owned(), reason: reason.into() }
}

/// The offset in the name of a segment's file.
fn base_offset_of(path: &Path) -> Result<i64, DumpLogError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let digits = name.split('.').next().unwrap_or_default();
    digits.parse().map_err(|_| corrupt(path, "the name does not start with an offset"))
}

#[cfg(test)]
mod tests;
