//! Reading a log file from front to back through one window of memory, whatever the lengths in it claim.

use std::io;

use crate::env::DiskFile;
use crate::record::{BATCH_HEADER_SIZE, BatchHeader, LOG_OVERHEAD};

/// Bytes read at once.
pub(in crate::storage) const WINDOW_BYTES: usize = 1 << 20;
/// The checksum covers everything from the attributes on.
const CRC_COVERS_FROM: u64 = 21;

/// Told how many bytes were read from the disk; a scrub waits in it.
pub(in crate::storage) type OnRead<'a> = &'a mut dyn FnMut(usize);

/// A window on a file.
pub(in crate::storage) struct Walker<'a> {
    file: &'a dyn DiskFile,
    end: u64,
    window: Vec<u8>,
    window_start: u64,
    window_bytes: usize,
    on_read: OnRead<'a>,
}

impl<'a> Walker<'a> {
    /// Looks at the first `end` bytes of a file, `window_bytes` at once.
    pub(in crate::storage) fn new(file: &'a dyn DiskFile, end: u64, window_bytes: usize, on_read: OnRead<'a>) -> Self {
        let window_bytes = window_bytes.max(BATCH_HEADER_SIZE);
        Self { file, end, window: Vec::new(), window_start: 0, window_bytes, on_read }
    }

    /// What stands between the two positions, at most a window of it.
    fn bytes(&mut self, from: u64, to: u64) -> io::Result<&[u8]> {
        let to = to.min(self.end).min(from + self.window_bytes as u64);
        let window_end = self.window_start + self.window.len() as u64;
        if from < self.window_start || to > window_end {
            let length = (self.end - from).min(self.window_bytes as u64) as usize;
            self.window.clear();
            self.window.resize(length, 0);
            self.window_start = from;
            if let Err(error) = self.file.read_exact_at(&mut self.window, from) {
                self.window.clear();
                return Err(error);
            }
            (self.on_read)(length);
        }
        let start = (from - self.window_start) as usize;
        Ok(&self.window[start..start + (to - from) as usize])
    }

    /// The header at a position; the inner error says why there is none, or why its batch cannot be whole.
    pub(in crate::storage) fn header(&mut self, position: u64) -> io::Result<Result<BatchHeader, String>> {
        let left = self.end - position;
        if left < BATCH_HEADER_SIZE as u64 {
            return Ok(Err(format!("{left} bytes are no batch")));
        }
        let header = match BatchHeader::parse(self.bytes(position, position + BATCH_HEADER_SIZE as u64)?) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let size = header.size_in_bytes() as u64;
        if size > left {
            return Ok(Err(format!("a batch of {size} bytes does not fit into the last {left}")));
        }
        if header.base_offset < 0 || header.last_offset_delta < 0 || header.last_offset() < header.base_offset {
            return Ok(Err("the batch has impossible offsets".to_owned()));
        }
        Ok(Ok(header))
    }

    /// Whether the batch's bytes have the checksum in its header.
    pub(in crate::storage) fn checksum_matches(&mut self, position: u64, header: &BatchHeader) -> io::Result<bool> {
        let end = position + header.size_in_bytes() as u64;
        let (mut crc, mut at) = (0, position + CRC_COVERS_FROM);
        while at < end {
            let bytes = self.bytes(at, end)?;
            let length = bytes.len() as u64;
            crc = crc32c::crc32c_append(crc, bytes);
            at += length;
        }
        Ok(crc == header.crc)
    }

    /// A whole batch, if it is not larger than a window.
    pub(in crate::storage) fn batch(&mut self, position: u64, header: &BatchHeader) -> io::Result<Option<&[u8]>> {
        let size = header.size_in_bytes();
        if size > self.window_bytes || size <= LOG_OVERHEAD {
            return Ok(None);
        }
        self.bytes(position, position + size as u64).map(Some)
    }
}
