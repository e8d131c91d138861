//! Iteration over the batches in a run of bytes (`ByteBufferLogInputStream`).

use super::batch_header::{LOG_OVERHEAD, MAGIC_OFFSET};
use super::{BatchHeader, RecordError};

/// The only message format that is written; 0 and 1 are recognised to refuse them.
pub const MAGIC_V2: i8 = 2;
/// The smallest record of any format, without the log overhead (`LegacyRecord.RECORD_OVERHEAD_V0`).
const RECORD_OVERHEAD_V0: i32 = 14;
const HEADER_SIZE_UP_TO_MAGIC: usize = MAGIC_OFFSET + 1;

/// The batches in a run of bytes, in order. A cut batch at the end ends the iteration, as in a fetch response, and
/// [`BatchIterator::remaining`] tells how many bytes it has; broken framing is an error, after which the iteration ends.
/// Checksums are not looked at: [`super::check_crc`].
#[derive(Clone, Debug)]
pub struct BatchIterator<'a> {
    bytes: &'a [u8],
    failed: bool,
}

impl<'a> BatchIterator<'a> {
    /// Starts at the first byte, which must be the first of a batch.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, failed: false }
    }

    /// Bytes that no returned batch covers.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the next frame, whatever its message format: its magic and its bytes.
    pub(super) fn next_frame(&mut self) -> Result<Option<(i8, &'a [u8])>, RecordError> {
        let frame = next_frame_size(self.bytes);
        match frame {
            Ok(Some(size)) if size <= self.bytes.len() => {
                let (batch, rest) = self.bytes.split_at(size);
                self.bytes = rest;
                Ok(Some((batch[MAGIC_OFFSET] as i8, batch)))
            }
            Ok(_) => Ok(None),
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        }
    }
}

impl<'a> Iterator for BatchIterator<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.next_frame() {
            Ok(Some((_, batch))) => match BatchHeader::parse(batch) {
                Ok(header) => Some(Ok((header, batch))),
                Err(error) => {
                    self.failed = true;
                    Some(Err(error))
                }
            },
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

fn next_frame_size(bytes: &[u8]) -> Result<Option<usize>, RecordError> {
    let Some(length) = bytes.get(8..LOG_OVERHEAD).and_then(|length| length.try_into().ok()).map(i32::from_be_bytes)
    else {
        return Ok(None);
    };
    if length < RECORD_OVERHEAD_V0 {
        return Err(RecordError::Corrupt(format!(
            "Record size {length} is less than the minimum record overhead ({RECORD_OVERHEAD_V0})"
        )));
    }
    if bytes.len() < HEADER_SIZE_UP_TO_MAGIC {
        return Ok(None);
    }
    let magic = bytes[MAGIC_OFFSET] as i8;
    if !(0..=MAGIC_V2).contains(&magic) {
        return Err(RecordError::Corrupt(format!("Invalid magic found in record: {magic}")));
    }
    Ok(Some(LOG_OVERHEAD + length as usize))
}
