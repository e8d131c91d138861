//! The one batch that a Produce request may have for a partition, framed and parsed once (`ProduceRequest.validateRecords`).

use bytes::Bytes;

use super::{BatchHeader, BatchIterator, CompressionType, MAGIC_V2, RecordError, ValidationError};

/// The batch of one partition of a Produce request: what Kafka looks at while it reads the request has been checked, and its header is
/// parsed for everyone who comes after.
#[derive(Clone, Debug)]
pub struct ProduceBatch {
    /// The error of a batch shorter than a header comes in its turn ([`super::validate_batch`]).
    header: Result<BatchHeader, RecordError>,
    bytes: Bytes,
}

impl ProduceBatch {
    /// Makes the checks that Kafka makes before it looks at the partition at all: exactly one batch, magic 2, and no zstd before
    /// version 7. A cut batch behind it is not looked at, and is no part of the result, whose bytes are a slice of `records`.
    pub fn parse(records: &Bytes, api_version: i16) -> Result<Self, ValidationError> {
        let mut frames = BatchIterator::new(records);
        let first = frames.next_frame().map_err(|error| ValidationError::CorruptFraming(error.to_string()))?;
        let Some((magic, batch)) = first else {
            return Err(ValidationError::InvalidRecord(format!(
                "Produce requests with version {api_version} must have at least one record batch per partition"
            )));
        };
        if magic != MAGIC_V2 {
            return Err(ValidationError::InvalidRecord(format!(
                "Produce requests with version {api_version} are only allowed to contain record batches with magic version 2"
            )));
        }
        let header = BatchHeader::parse(batch);
        if api_version < 7 && header.clone()?.compression()? == CompressionType::Zstd {
            return Err(ValidationError::UnsupportedCompression(format!(
                "Produce requests with version {api_version} are not allowed to use ZStandard compression"
            )));
        }
        let size = batch.len();
        if frames.next_frame()?.is_some() {
            return Err(ValidationError::InvalidRecord(format!(
                "Produce requests with version {api_version} must contain exactly one record batch per partition"
            )));
        }
        Ok(Self { header, bytes: records.slice(..size) })
    }

    /// The header; `None` if the batch is too short to have one.
    pub fn header(&self) -> Option<&BatchHeader> {
        self.header.as_ref().ok()
    }

    /// Bytes of the batch, header included.
    pub fn size_in_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The header, and the whole batch.
    pub(super) fn into_parts(self) -> Result<(BatchHeader, Bytes), RecordError> {
        Ok((self.header?, self.bytes))
    }
}
