//! Whether what a client produced may be appended (`ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords`,
//! `LogValidator`). The room's contract says when a compressed batch is opened.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::batch_header::{ATTRIBUTES_OFFSET, BATCH_HEADER_SIZE};
use super::checksum;
use super::compression::decompress;
use super::record_iterator::{RecordFrame, RecordShape};
use super::varint::Cursor;
use super::{
    BatchBuilder, BatchHeader, BatchProperties, Compression, CompressionType, ProduceBatch, RecordError,
    RecordIterator, TimestampType,
};
use crate::types::{NO_TIMESTAMP, TopicPartition};

/// The least bound on decompressed records in bytes, whatever `max.message.bytes` is.
pub const DEFAULT_DECOMPRESSED_LIMIT: usize = 16 * 1024 * 1024;
/// How often the largest batch may grow when it is decompressed.
const DECOMPRESSED_FACTOR: usize = 20;
/// What a batch is counted as while it is decompressed, at most: lz4 cannot do more, and others seldom do.
const DECOMPRESSED_RATIO: usize = 255;
/// Rejected records that the message in the answer names (`LogValidator.processRecordErrors`).
const RECORD_ERRORS_IN_MESSAGE: usize = 3;
/// Rejected records that an answer lists. Kafka lists all: a small compressed batch can hold millions.
const RECORD_ERRORS_MAX: usize = 10_000;

/// What a partition's configuration demands of a batch. Build it once per configuration and keep it.
#[derive(Clone, Debug)]
pub struct ValidationRules {
    /// The partition, for the words of errors.
    pub topic_partition: TopicPartition,
    /// The codec of `compression.type` at its configured level; nothing for `producer`, which keeps the batch as it came.
    pub compression: Option<Compression>,
    /// Whether `cleanup.policy` contains `compact`, so that every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub after_max_ms: i64,
    /// `max.message.bytes`: the largest batch, compressed, header included.
    pub max_message_bytes: usize,
    /// Bound on the decompressed records of a batch in bytes.
    pub decompressed_limit: usize,
    /// Open every compressed batch, as Kafka does.
    pub strict: bool,
}

impl ValidationRules {
    /// Kafka's defaults for a partition: `compression.type=producer`, not compacted, CreateTime, any past, one hour of future, 1,048,588 bytes.
    pub fn new(topic_partition: TopicPartition) -> Self {
        Self {
            topic_partition,
            compression: None,
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
            max_message_bytes: 1_048_588,
            decompressed_limit: DEFAULT_DECOMPRESSED_LIMIT,
            strict: false,
        }
    }

    /// Bytes that [`validate_batch`] may take for the decompressed records of this batch; 0 when it does not open it.
    pub fn decompressed_bytes(&self, batch: &ProduceBatch, now_ms: i64) -> usize {
        let Some(header) = batch.header() else { return 0 };
        let Ok(source) = header.compression() else { return 0 };
        let opens = source != CompressionType::None && opens_batch(header, source, self, now_ms);
        if opens { decompressed_estimate(batch.size_in_bytes(), self.decompressed_limit) } else { 0 }
    }

    /// What the topic wants a batch compressed with that comes otherwise.
    fn other_compression(&self, source: CompressionType) -> Option<Compression> {
        self.compression.filter(|target| target.codec != source)
    }

    /// Sets `max.message.bytes`, and the bound on decompressed records that goes with it.
    pub fn with_max_message_bytes(mut self, max_message_bytes: usize) -> Self {
        self.max_message_bytes = max_message_bytes;
        self.decompressed_limit = decompressed_limit(max_message_bytes);
        self
    }
}

/// What the decompressed records of a compressed batch of `size` bytes are counted as, in bytes.
pub fn decompressed_estimate(size: usize, limit: usize) -> usize {
    limit.min(size.saturating_mul(DECOMPRESSED_RATIO))
}

/// The bound on the decompressed records of a batch in bytes, where the largest batch has `max_message_bytes`.
pub fn decompressed_limit(max_message_bytes: usize) -> usize {
    max_message_bytes.saturating_mul(DECOMPRESSED_FACTOR).max(DEFAULT_DECOMPRESSED_LIMIT)
}

/// A batch that may be appended. Timestamps, compression and checksum are final; base offset and leader epoch are the log's to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedBatch {
    /// The header as it is to be written, but for base offset and leader epoch.
    pub header: BatchHeader,
    /// What follows the header: the records, compressed or not.
    pub body: Bytes,
}

impl ValidatedBatch {
    /// Takes apart the one batch that this broker built or another replica sent; checks framing and checksum, and nothing else.
    pub fn from_trusted(batch: Bytes) -> Result<Self, RecordError> {
        super::check_crc(&batch)?;
        let header = BatchHeader::parse(&batch)?;
        Ok(Self { header, body: batch.slice(BATCH_HEADER_SIZE..) })
    }

    /// The size on disk in bytes.
    pub fn size_in_bytes(&self) -> usize {
        BATCH_HEADER_SIZE + self.body.len()
    }

    /// The whole batch in one buffer (a copy).
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.size_in_bytes());
        bytes.extend_from_slice(&self.header.encode());
        bytes.extend_from_slice(&self.body);
        bytes.freeze()
    }
}

/// A record that a batch was refused for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordProblem {
    /// The position of the record in its batch, from 0.
    pub batch_index: i32,
    /// What is wrong with it, in Kafka's words.
    pub message: String,
}

/// Why a produce request's records are refused. Each variant is one error of the protocol, and the text is for the log;
/// [`ValidationError::client_message`] is what the answer carries.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValidationError {
    /// `CORRUPT_MESSAGE`
    #[error("{0}")]
    CorruptMessage(String),
    /// `CORRUPT_MESSAGE`, before the end of the first batch was found: the one such error whose text Kafka sends.
    #[error("{0}")]
    CorruptFraming(String),
    /// `INVALID_RECORD`
    #[error("{0}")]
    InvalidRecord(String),
    /// `MESSAGE_TOO_LARGE`
    #[error("{0}")]
    MessageTooLarge(String),
    /// `UNSUPPORTED_COMPRESSION_TYPE`
    #[error("{0}")]
    UnsupportedCompression(String),
    /// `UNKNOWN_SERVER_ERROR`: what Kafka stumbles over.
    #[error("{0}")]
    Unexpected(String),
    /// `INVALID_RECORD` for single records (`RecordValidationException`)
    #[error("{message}")]
    InvalidRecords {
        /// For the answer.
        message: String,
        /// The records that were refused, 10,000 at most.
        records: Vec<RecordProblem>,
    },
    /// `INVALID_TIMESTAMP` for single records (`RecordValidationException`)
    #[error("{message}")]
    InvalidTimestamps {
        /// For the answer.
        message: String,
        /// The records that were refused, 10,000 at most.
        records: Vec<RecordProblem>,
    },
}

impl ValidationError {
    /// The refused records, for Produce 8 and later; empty if the batch as such was refused.
    pub fn record_errors(&self) -> &[RecordProblem] {
        match self {
            Self::InvalidRecords { records, .. } | Self::InvalidTimestamps { records, .. } => records,
            _ => &[],
        }
    }

    /// The error message of the answer; Kafka sends one with record errors and broken framing, and else none.
    pub fn client_message(&self) -> Option<&str> {
        match self {
            Self::InvalidRecords { message, .. } | Self::InvalidTimestamps { message, .. } => Some(message),
            Self::CorruptFraming(message) => Some(message),
            _ => None,
        }
    }
}

impl From<RecordError> for ValidationError {
    fn from(error: RecordError) -> Self {
        let message = error.to_string();
        match error {
            RecordError::Corrupt(_) => Self::CorruptMessage(message),
            RecordError::Invalid(_) => Self::InvalidRecord(message),
            RecordError::DecompressedTooLarge { .. } => Self::MessageTooLarge(message),
            RecordError::UnknownCompression(_) | RecordError::Decompression { .. } | RecordError::Unreadable(_) => {
                Self::Unexpected(message)
            }
        }
    }
}

/// Decides whether the records of one partition of a Produce request may be appended, and applies what the topic's configuration
/// changes in them: LogAppendTime, the maximum timestamp, another codec. `now_ms` is the broker's clock in milliseconds.
/// Takes no lock, waits for nothing, and copies nothing that need not change: the body is a slice of the batch.
pub fn validate_batch(
    batch: ProduceBatch,
    rules: &ValidationRules,
    now_ms: i64,
) -> Result<ValidatedBatch, ValidationError> {
    let (header, bytes) = batch.into_parts()?;
    check_batch(&header, &bytes, rules)?;
    let mut body = bytes;
    body.advance(BATCH_HEADER_SIZE);
    let source = header.compression()?;
    let target = rules.other_compression(source);
    check_client_header(&header)?;

    let mut max_timestamp = header.max_timestamp;
    if opens_batch(&header, source, rules, now_ms) {
        let decompressed;
        let payload: &[u8] = if source == CompressionType::None {
            &body
        } else {
            decompressed = decompress(source, &body, rules.decompressed_limit)?;
            &decompressed
        };
        let walk = walk_records(&header, source, payload, rules, now_ms)?;
        max_timestamp = walk.max_timestamp;
        if let Some(compression) = target {
            return rebuild(&header, payload, compression, rules, now_ms);
        }
        if source != CompressionType::None && !walk.consecutive {
            // Kafka sets out to rebuild the batch, having skipped keys and values, and fails with UnsupportedOperationException.
            // In uncompressed batches it takes the offsets as they are.
            return Err(ValidationError::Unexpected(
                "the offsets in a compressed batch are not consecutive".to_owned(),
            ));
        }
    }
    if rules.timestamp_type == TimestampType::LogAppendTime {
        max_timestamp = now_ms;
    }
    let header = with_timestamps(header, rules.timestamp_type, max_timestamp, body.len());
    Ok(ValidatedBatch { header, body })
}

/// [`ProduceBatch::parse`] of the latest version and [`validate_batch`] in one, for records that nobody has looked at.
pub fn validate_produce(
    records: Bytes,
    rules: &ValidationRules,
    now_ms: i64,
) -> Result<ValidatedBatch, ValidationError> {
    validate_batch(ProduceBatch::parse(&records, i16::MAX)?, rules, now_ms)
}

/// What `UnifiedLog.analyzeAndValidateRecords` checks, in its order.
fn check_batch(header: &BatchHeader, batch: &[u8], rules: &ValidationRules) -> Result<(), ValidationError> {
    if header.base_offset != 0 {
        return Err(ValidationError::InvalidRecord(format!(
            "The baseOffset of the record batch in the append to {} should be 0, but it is {}",
            rules.topic_partition, header.base_offset
        )));
    }
    if batch.len() > rules.max_message_bytes {
        return Err(too_large(batch.len(), rules));
    }
    if crc32c::crc32c(&batch[ATTRIBUTES_OFFSET..]) != header.crc {
        return Err(ValidationError::CorruptMessage(format!(
            "Record is corrupt (stored crc = {}) in topic partition {}.",
            header.crc, rules.topic_partition
        )));
    }
    Ok(())
}

/// What `LogValidator.validateBatch` checks for clients, in its order.
fn check_client_header(header: &BatchHeader) -> Result<(), ValidationError> {
    let problem = if header.last_offset_delta < 0 {
        format!("Batch has an invalid offset range: [{}, {}]", header.base_offset, header.last_offset())
    } else if header.record_count <= 0 {
        format!("Invalid reported count for record batch: {}", header.record_count)
    } else if i64::from(header.last_offset_delta) + 1 != i64::from(header.record_count) {
        format!(
            "Inconsistent batch offset range [{}, {}] and count of records {}",
            header.base_offset,
            header.last_offset(),
            header.record_count
        )
    } else if header.is_control() {
        "Clients are not allowed to write control records".to_owned()
    } else if header.has_producer_id() && header.base_sequence < 0 {
        format!(
            "Invalid sequence number {} in record batch with producerId {}",
            header.base_sequence, header.producer_id
        )
    } else {
        return Ok(());
    };
    Err(ValidationError::InvalidRecord(problem))
}

/// Whether the records themselves are looked at: those of a compressed batch only where the answer depends on them.
fn opens_batch(header: &BatchHeader, source: CompressionType, rules: &ValidationRules, now_ms: i64) -> bool {
    if source == CompressionType::None || rules.other_compression(source).is_some() {
        return true;
    }
    let checks_timestamps = rules.timestamp_type == TimestampType::CreateTime
        && (rules.before_max_ms != i64::MAX || is_out_of_range(header.max_timestamp, rules, now_ms));
    rules.strict || rules.compacted || checks_timestamps || header.timestamp_type() == TimestampType::LogAppendTime
}

/// Wraps at the ends of the range, as Java does: a time before all others is refused as a time after all others.
fn is_out_of_range(timestamp: i64, rules: &ValidationRules, now_ms: i64) -> bool {
    let age = now_ms.wrapping_sub(timestamp);
    timestamp != NO_TIMESTAMP && (age > rules.before_max_ms || age.wrapping_neg() > rules.after_max_ms)
}

struct Walk {
    max_timestamp: i64,
    /// Whether the offsets are 0, 1, 2 …
    consecutive: bool,
}

/// Steps over every record (`LogValidator.validateRecord`); collects all refusals, which are rare.
fn walk_records(
    header: &BatchHeader,
    source: CompressionType,
    payload: &[u8],
    rules: &ValidationRules,
    now_ms: i64,
) -> Result<Walk, ValidationError> {
    let frame = RecordFrame::new(header);
    let mut cursor = Cursor::new(payload);
    let mut walk = Walk { max_timestamp: NO_TIMESTAMP, consecutive: true };
    let mut problems = Problems::default();
    let in_place = source != CompressionType::None && rules.compression.is_none_or(|target| target.codec == source);
    let client_sets_append_time = header.timestamp_type() == TimestampType::LogAppendTime;
    for index in 0..header.record_count {
        let record = frame.shape(&mut cursor)?;
        if rules.compacted && record.key_size < 0 {
            problems.add(index, false, || {
                format!(
                    "Compacted topic cannot accept message without key in topic partition {}",
                    rules.topic_partition
                )
            });
        } else if rules.timestamp_type == TimestampType::CreateTime && record.timestamp != NO_TIMESTAMP {
            if is_out_of_range(record.timestamp, rules, now_ms) {
                problems.add(index, true, || out_of_range_message(record.timestamp, record.offset, rules, now_ms));
            }
        } else if client_sets_append_time {
            problems.add(index, true, || {
                format!(
                    "Invalid timestamp type in message {}. Producer should not set timestamp type to LogAppendTime.",
                    describe(&record, in_place)
                )
            });
        }
        walk.max_timestamp = walk.max_timestamp.max(record.timestamp);
        walk.consecutive &= record.offset == i64::from(index);
    }
    if cursor.remaining() > 0 {
        return Err(ValidationError::InvalidRecord(
            "Incorrect declared batch size, records still remaining in file".to_owned(),
        ));
    }
    problems.into_result().map(|()| walk)
}

/// A record as Kafka prints it; it has two classes of records, which print a null key differently.
fn describe(record: &RecordShape, in_place: bool) -> String {
    let (class, key, value) = match in_place {
        true => ("PartialDefaultRecord", record.key_size, record.value_size),
        false => ("DefaultRecord", record.key_size.max(0), record.value_size.max(0)),
    };
    format!("{class}(offset={}, timestamp={}, key={key} bytes, value={value} bytes)", record.offset, record.timestamp)
}

fn out_of_range_message(timestamp: i64, offset: i64, rules: &ValidationRules, now_ms: i64) -> String {
    format!(
        "Timestamp {timestamp} of message with offset {offset} is out of range. The timestamp should be within [{}, {}]",
        now_ms.wrapping_sub(rules.before_max_ms),
        now_ms.wrapping_add(rules.after_max_ms)
    )
}

#[derive(Default)]
struct Problems {
    records: Vec<RecordProblem>,
    count: usize,
    invalid_timestamp: bool,
}

impl Problems {
    #[cold]
    fn add(&mut self, batch_index: i32, is_timestamp: bool, message: impl FnOnce() -> String) {
        self.invalid_timestamp |= is_timestamp;
        self.count += 1;
        if self.records.len() < RECORD_ERRORS_MAX {
            self.records.push(RecordProblem { batch_index, message: message() });
        }
    }

    fn into_result(self) -> Result<(), ValidationError> {
        if self.records.is_empty() {
            return Ok(());
        }
        if self.invalid_timestamp {
            return Err(ValidationError::InvalidTimestamps {
                message: "One or more records have been rejected due to invalid timestamp".to_owned(),
                records: self.records,
            });
        }
        let shown: Vec<String> = self
            .records
            .iter()
            .take(RECORD_ERRORS_IN_MESSAGE)
            .map(|problem| format!("RecordError(batchIndex={}, message='{}')", problem.batch_index, problem.message))
            .collect();
        Err(ValidationError::InvalidRecords {
            message: format!(
                "One or more records have been rejected due to {} record errors in total, and only showing the first three errors at most: [{}]",
                self.count,
                shown.join(", ")
            ),
            records: self.records,
        })
    }
}

/// Writes the batch anew with another codec (`LogValidator.buildRecordsAndAssignOffsets`).
fn rebuild(
    header: &BatchHeader,
    payload: &[u8],
    compression: Compression,
    rules: &ValidationRules,
    now_ms: i64,
) -> Result<ValidatedBatch, ValidationError> {
    let mut builder = BatchBuilder::new(BatchProperties {
        compression,
        timestamp_type: rules.timestamp_type,
        log_append_time: now_ms,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        is_transactional: header.is_transactional(),
        ..BatchProperties::default()
    });
    for record in RecordIterator::new(header, payload) {
        let record = record?;
        builder.append(record.timestamp, record.key, record.value, &record.headers)?;
    }
    let batch = builder.build();
    if batch.len() > rules.max_message_bytes {
        return Err(ValidationError::MessageTooLarge(format!(
            "Message batch size is {} bytes in append to partition {} which exceeds the maximum configured size of {}.",
            batch.len(),
            rules.topic_partition,
            rules.max_message_bytes
        )));
    }
    let header = BatchHeader::parse(&batch)?;
    Ok(ValidatedBatch { header, body: batch.slice(BATCH_HEADER_SIZE..) })
}

/// Sets timestamp type and maximum timestamp (`DefaultRecordBatch.setMaxTimestamp`). The checksum is corrected for the header bytes
/// that changed, without another pass over the records: CRCs are linear.
fn with_timestamps(
    mut header: BatchHeader,
    timestamp_type: TimestampType,
    max_timestamp: i64,
    body_length: usize,
) -> BatchHeader {
    if header.timestamp_type() == timestamp_type && header.max_timestamp == max_timestamp {
        return header;
    }
    let before = crc32c::crc32c(&header.encode()[ATTRIBUTES_OFFSET..]);
    header.set_timestamp_type(timestamp_type);
    header.max_timestamp = max_timestamp;
    let after = crc32c::crc32c(&header.encode()[ATTRIBUTES_OFFSET..]);
    header.crc ^= checksum::after_bytes(before ^ after, body_length);
    header
}

fn too_large(size: usize, rules: &ValidationRules) -> ValidationError {
    ValidationError::MessageTooLarge(format!(
        "The record batch size in the append to {} is {size} bytes which exceeds the maximum configured value of {}.",
        rules.topic_partition, rules.max_message_bytes
    ))
}
