//! Walking over the batches of a segment file, headers only (`FileLogInputStream`).

use std::io;
use std::sync::Arc;

use crate::env::DiskFile;
use crate::mutant;
use crate::record::{BATCH_HEADER_SIZE, BatchHeader, check_crc};

/// Bytes read at once: about the distance of two index entries.
const READ_AHEAD_BYTES: usize = 4096 + BATCH_HEADER_SIZE;

/// What stands at the scanner's position.
#[derive(Clone, Debug)]
pub(super) enum Scanned {
    /// A whole batch, by its length; its checksum was not looked at.
    Batch { position: u64, header: BatchHeader },
    /// The end of the range.
    End,
    /// No batch, or one that does not end within the range.
    Broken { position: u64, reason: String },
}

/// Steps from header to header.
pub(super) struct BatchScanner {
    file: Arc<dyn DiskFile>,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
}

impl BatchScanner {
    /// Scans `position..end` of a file; a batch must start at `position`.
    pub(super) fn new(file: Arc<dyn DiskFile>, position: u64, end: u64) -> Self {
        Self { file, position, end, buffer: Vec::new(), buffer_start: 0 }
    }

    pub(super) fn next(&mut self) -> io::Result<Scanned> {
        let position = self.position;
        if position >= self.end {
            return Ok(Scanned::End);
        }
        let broken = |reason: String| Ok(Scanned::Broken { position, reason });
        if self.end - position < BATCH_HEADER_SIZE as u64 {
            return broken(format!("{} bytes are no batch", self.end - position));
        }
        self.fill()?;
        let start = (position - self.buffer_start) as usize;
        let header = match BatchHeader::parse(&self.buffer[start..]) {
            Ok(header) => header,
            Err(error) => return broken(error.to_string()),
        };
        let size = header.size_in_bytes() as u64;
        if size > self.end - position {
            return broken(format!("a batch of {size} bytes does not fit into the last {}", self.end - position));
        }
        if header.last_offset_delta < 0 || header.base_offset < 0 || header.last_offset() < header.base_offset {
            return broken("the batch has impossible offsets".to_owned());
        }
        self.position += size;
        Ok(Scanned::Batch { position, header })
    }

    fn fill(&mut self) -> io::Result<()> {
        let buffered = self.position >= self.buffer_start
            && self.position + BATCH_HEADER_SIZE as u64 <= self.buffer_start + self.buffer.len() as u64;
        if !buffered {
            let wanted = (self.end - self.position).min(READ_AHEAD_BYTES as u64) as usize;
            self.buffer.resize(wanted, 0);
            self.buffer_start = self.position;
            if let Err(error) = self.file.read_exact_at(&mut self.buffer, self.position) {
                self.buffer.clear();
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Steps from batch to batch with their bytes, checking the checksums.
pub(super) struct WholeBatchScanner {
    file: Arc<dyn DiskFile>,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
    read_bytes: u64,
}

/// Bytes read at once by [`WholeBatchScanner`].
const WHOLE_READ_BYTES: u64 = 1 << 20;

impl WholeBatchScanner {
    /// Scans `position..end` of a file; a batch must start at `position`.
    pub(super) fn new(file: Arc<dyn DiskFile>, position: u64, end: u64) -> Self {
        Self::with_buffer(file, position, end, WHOLE_READ_BYTES)
    }

    /// As [`WholeBatchScanner::new`], reading so many bytes at once; a larger batch makes the buffer larger as long as it is there.
    pub(super) fn with_buffer(file: Arc<dyn DiskFile>, position: u64, end: u64, read_bytes: u64) -> Self {
        Self { file, position, end, buffer: Vec::new(), buffer_start: position, read_bytes }
    }

    /// The next batch: its position, header and bytes. `Ok(Err(reason))`: no valid batch stands here.
    #[expect(clippy::type_complexity, reason = "an outcome with two kinds of failure")]
    pub(super) fn next(&mut self) -> io::Result<Result<Option<(u64, BatchHeader, &[u8])>, String>> {
        let position = self.position;
        let left = self.end - position;
        if left == 0 {
            return Ok(Ok(None));
        }
        if left < BATCH_HEADER_SIZE as u64 {
            return Ok(Err(format!("{left} bytes are no batch")));
        }
        self.fill(BATCH_HEADER_SIZE as u64)?;
        let header = match BatchHeader::parse(&self.buffer[(position - self.buffer_start) as usize..]) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let size = header.size_in_bytes() as u64;
        if size > left {
            return Ok(Err(format!("a batch of {size} bytes does not fit into the last {left}")));
        }
        if header.last_offset_delta < 0 || header.base_offset < 0 || header.last_offset() < header.base_offset {
            return Ok(Err("the batch has impossible offsets".to_owned()));
        }
        self.fill(size)?;
        let start = (position - self.buffer_start) as usize;
        let batch = &self.buffer[start..start + size as usize];
        if let Err(error) = check_crc(batch)
            && !mutant::is_active("recover-without-checksums")
        {
            return Ok(Err(error.to_string()));
        }
        self.position += size;
        Ok(Ok(Some((position, header, batch))))
    }

    /// Makes `wanted` bytes from the position on available in the buffer.
    fn fill(&mut self, wanted: u64) -> io::Result<()> {
        let buffered_end = self.buffer_start + self.buffer.len() as u64;
        if self.position + wanted <= buffered_end {
            return Ok(());
        }
        let length = wanted.max(self.read_bytes.min(self.end - self.position));
        self.buffer.resize(length as usize, 0);
        self.buffer.shrink_to(self.read_bytes as usize);
        self.buffer_start = self.position;
        if let Err(error) = self.file.read_exact_at(&mut self.buffer, self.position) {
            self.buffer.clear();
            return Err(error);
        }
        Ok(())
    }
}
