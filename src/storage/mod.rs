//! Room `storage` (floor 1): logs on disk, in Kafka's formats.
//!
//! What it does: finds, recovers, appends to, reads, cuts and deletes the logs of partitions ([`LogManager`], [`Log`]).
//!
//! What holds:
//! - Bytes on disk are Kafka's (design 3.1). Every index, snapshot and checkpoint is a rebuildable cache of the log.
//! - One short mutex per log. Checksums are compared before it is taken; under it offsets are assigned, base offset and leader
//!   epoch are put into a copy of the 61 header bytes, and header and body go to the file in one `pwritev`: the received
//!   buffer is never changed. A read takes file, position and length as one snapshot under the same lock and does its I/O
//!   outside.
//! - Memory never holds what the file does not: state changes after the write succeeded.
//! - The first failed write or sync takes the log directory offline; a sync is never repeated. So does a panic under a log's lock.
//! - Durable means synced: [`Log::flush_ticket`] completes when everything before an offset survives a power cut. One
//!   `fdatasync` answers all tickets that wait for it.
//! - An idle log costs a few hundred bytes and no file descriptor, a sealed segment of it 48 bytes: files are opened when needed and
//!   closed by a bounded set of open handles; indexes of sealed segments are searched on disk.
//! - Opening a log that was stopped cleanly lists its directory and looks at the active segment. What else there is to know of a
//!   sealed segment (size, largest timestamp, whether its indexes can be used) is learnt when it is first needed.
//!
//! Places that wait for their issues: moving replicas between log directories (`-future`).

mod batch_scan;
mod checkpoint;
mod cleaner;
mod directory;
mod dirty_logs;
mod disk_full;
mod error;
mod file_names;
mod leader_epoch_cache;
mod log;
mod log_manager;
mod open_files;
mod partition_scan;
mod producer_snapshot;
mod producer_state;
mod property_files;
mod recovery;
mod segment;
mod segment_files;
mod sparse_index;
#[cfg(test)]
mod tests;
mod transaction_index;
mod transaction_verification;
mod verification;

pub use checkpoint::EpochEntry;
pub use cleaner::{CleanerConfig, CleanerConfigSource};
pub use directory::{FailureListener, LogDirectory, RoomListener};
pub use dirty_logs::FlushLimits;
pub use error::{StorageError, StorageResult};
pub use log::{
    AbortedTransaction, AppendOrigin, AppendTerms, FetchDataInfo, FetchIsolation, FileSlice, FlushTicket, Log,
    LogAppendInfo, LogOptions, TimestampAndOffset,
};

pub use log_manager::{
    ClaimedDirectory, DirectoryRefusal, Inspection, LogDirDescription, LogManager, LogManagerOptions,
};
pub use partition_scan::{Damage, PartitionScan, ScanVisitor, partitions_of, scan_partition, was_closed_cleanly};
pub use producer_snapshot::{
    MAX_SNAPSHOT_BYTES as MAX_PRODUCER_SNAPSHOT_BYTES, ProducerSnapshotEntry, read_entries as read_producer_snapshot,
};
pub use producer_state::{ActiveProducer, ProducerStateConfig, ProducerStateConfigSource};
pub use property_files::{MetaProperties, encode_uuid, parse_uuid};
pub use verification::{
    LogExpectations, Problem, Problems, Severity, VerifiedDirectory, VerifiedLog, verify_directory, verify_log,
};
