//! Room `record` (floor 0): Kafka's record batches as bytes.
//!
//! What it does: reads and writes the header of a magic 2 batch (`DefaultRecordBatch`), iterates over batches and over the
//! records in them (`DefaultRecord`), compresses and decompresses under a bound, builds batches (`MemoryRecordsBuilder`) and
//! control batches, and decides whether a batch that a client sent may be appended (`LogValidator`, and the part of
//! `UnifiedLog.analyzeAndValidateRecords` that looks at bytes only).
//!
//! What holds:
//! - A batch is opaque. [`BatchHeader`] is a copy of its 61 header bytes; storage patches base offset and leader epoch, which the
//!   checksum does not cover, and appends the rest as it came.
//! - Nothing read from a batch is trusted: lengths and counts are compared with the bytes that are there before anything is
//!   allocated, and no decompressor produces more than the caller's bound, whatever its frame headers claim.
//! - Uncompressed batches from clients are walked record by record, without allocating, as Kafka does.
//! - Compressed batches are decompressed only where the topic's configuration makes the answer depend on their records: a compacted
//!   topic (every record needs a key), another codec in `compression.type`, a bounded past (`message.timestamp.before.max.ms`), or a
//!   header whose maximum timestamp lies beyond the bounded future. Otherwise the header speaks for the records: Kafka
//!   decompresses every batch, and so also finds a wrong count or maximum timestamp *inside* a batch whose header is consistent and
//!   whose checksum is right. That is left to the consumer that such a producer hurts; `ottla.validate.compressed.batches` restores it.
//! - The bound is `ValidationRules::decompressed_limit`, by default the larger of 16 MiB and 20 times `max.message.bytes`; a batch that
//!   passes it is MESSAGE_TOO_LARGE, upon which Java's producer splits it. Kafka has no bound.
//! - Compaction filters records and keeps the frame ([`retain()`]): base offset, last offset delta, producer, sequence and epoch of a batch
//!   stay, whatever leaves it.
//! - Errors carry Kafka's words and come in Kafka's order, so that a client sees the same answer.

mod batch_builder;
mod batch_header;
mod batch_iterator;
mod checksum;
mod compression;
mod control;
mod error;
mod partitioner;
mod produce_batch;
mod record_iterator;
mod retain;
mod snappy;
mod validator;
mod varint;

pub use batch_builder::{BatchBuilder, BatchProperties};
pub use batch_header::{
    BATCH_HEADER_SIZE, BatchHeader, CRC_OFFSET, LAST_OFFSET_DELTA_OFFSET, LOG_OVERHEAD, MAGIC_OFFSET, TimestampType,
    check_crc, patch_offset_and_epoch,
};
pub use batch_iterator::{BatchIterator, MAGIC_V2};
pub use compression::{
    Compression, CompressionType, GZIP_DEFAULT_LEVEL, LZ4_DEFAULT_LEVEL, ZSTD_DEFAULT_LEVEL, compress, decompress,
};
pub use control::{
    ControlRecordType, control_record_type, end_transaction_marker, end_transaction_marker_coordinator_epoch,
    leader_change_batch, marker_batch, snapshot_footer_batch, snapshot_header_batch,
};
pub use error::RecordError;
pub use partitioner::partition_for_key;
pub use produce_batch::ProduceBatch;
pub use record_iterator::{Header, Record, RecordIterator, Records, records};
pub use retain::{BatchRetention, Retained, RetentionRules, retain};
pub use validator::{
    DEFAULT_DECOMPRESSED_LIMIT, RecordProblem, ValidatedBatch, ValidationError, ValidationRules, decompressed_estimate,
    decompressed_limit, validate_batch, validate_produce,
};

#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod validator_tests;
