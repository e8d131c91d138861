//! Where the records are: a log of record batches, appended and flushed by one writer.

use bytes::Bytes;

use super::error::MetadataError;
use crate::record::BatchHeader;

/// What a start reads.
pub trait MetadataLogReader {
    /// The offset of the first record that is still there.
    fn start_offset(&self) -> i64;
    /// The offset that the next record gets.
    fn end_offset(&self) -> i64;
    /// Shows every batch that ends at or after `offset`, in order.
    fn read_from(&self, offset: i64, visit: &mut BatchVisitor<'_>) -> Result<(), MetadataError>;
}

/// What the metadata room needs of a log. One node's log is the truth; several nodes will agree on it through the same
/// trait (design 3.9).
pub trait MetadataLog: MetadataLogReader + Send {
    /// Appends one batch whose base offset is `end_offset`. After an error nobody knows what is on disk: the caller
    /// writes nothing more.
    fn append(&mut self, batch: Bytes, leader_epoch: i32) -> Result<(), MetadataError>;
    /// Makes everything appended durable before it returns; errors as for `append`.
    fn flush(&mut self) -> Result<(), MetadataError>;
    /// Bytes of all batches.
    fn size_in_bytes(&self) -> u64;
    /// Allows everything before `offset` to be deleted.
    fn trim_before(&mut self, offset: i64) -> Result<(), MetadataError>;
    /// Ends in order, so that the next start need not scan.
    fn close(&mut self) -> Result<(), MetadataError>;
}

/// Sees one batch: its header and all its bytes.
pub type BatchVisitor<'a> = dyn FnMut(&BatchHeader, &[u8]) -> Result<(), MetadataError> + 'a;
