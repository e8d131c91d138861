//! What can be wrong with bytes that should be record batches.

use thiserror::Error;

/// A batch or record that cannot be read. The Kafka exception each one stands for is named, because `api/error_mapping.rs` needs it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The framing or the checksum is wrong (`CorruptRecordException`).
    #[error("{0}")]
    Corrupt(String),
    /// The framing is right and the content breaks a rule (`InvalidRecordException`).
    #[error("{0}")]
    Invalid(String),
    /// A number is longer than its type allows (`IllegalArgumentException` in Kafka, which then answers UNKNOWN_SERVER_ERROR).
    #[error("{0}")]
    Unreadable(String),
    /// The attributes name a codec that does not exist (`IllegalArgumentException` in Kafka).
    #[error("Unknown compression type id: {0}")]
    UnknownCompression(i16),
    /// The records decompress to more bytes than the caller allows.
    #[error("the records of the batch take more than {limit} bytes when decompressed")]
    DecompressedTooLarge {
        /// The bound that was passed, in bytes.
        limit: usize,
    },
    /// The compressed bytes are not what their codec writes (`InvalidRecordException` or `KafkaException` in Kafka).
    #[error("failed to decompress {codec} records: {reason}")]
    Decompression {
        /// Kafka's name of the codec.
        codec: &'static str,
        /// What the decoder says.
        reason: String,
    },
}
