//! Snappy as Kafka's clients write it: Java in xerial's stream format (`SnappyOutputStream`), librdkafka as one raw block.

use super::compression::decompression_error;
use super::{CompressionType, RecordError};

/// What a xerial stream starts with.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version and lowest compatible version.
const XERIAL_HEADER_SIZE: usize = 16;
const XERIAL_VERSION: u32 = 1;
/// Uncompressed size of the blocks that Java writes.
const XERIAL_BLOCK_SIZE: usize = 32 * 1024;
/// No snappy element makes more than 64 bytes out of 3.
const MAX_EXPANSION: usize = 22;

/// Appends a xerial stream.
pub(super) fn compress(records: &[u8], output: &mut Vec<u8>) -> Result<(), snap::Error> {
    output.extend_from_slice(&XERIAL_MAGIC);
    output.extend_from_slice(&XERIAL_VERSION.to_be_bytes());
    output.extend_from_slice(&XERIAL_VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in records.chunks(XERIAL_BLOCK_SIZE) {
        let length_at = output.len();
        output.resize(length_at + 4 + snap::raw::max_compress_len(block.len()), 0);
        let length = encoder.compress(block, &mut output[length_at + 4..])?;
        output[length_at..length_at + 4].copy_from_slice(&(length as u32).to_be_bytes());
        output.truncate(length_at + 4 + length);
    }
    Ok(())
}

/// Reads a xerial stream, or a raw block if there is no xerial header.
pub(super) fn decompress(compressed: &[u8], limit: usize) -> Result<Vec<u8>, RecordError> {
    let mut output = Vec::new();
    if !compressed.starts_with(&XERIAL_MAGIC) {
        append_block(compressed, limit, &mut output)?;
        return Ok(output);
    }
    let mut rest = compressed.get(XERIAL_HEADER_SIZE..).ok_or_else(|| broken("the stream header is cut"))?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(|| broken("a block length is cut"))?;
        // A stream that was appended to another one brings its header along.
        if *length == XERIAL_MAGIC[..4] && rest.starts_with(&XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER_SIZE..).ok_or_else(|| broken("the stream header is cut"))?;
            continue;
        }
        let length = u32::from_be_bytes(*length) as usize;
        let block = after.get(..length).ok_or_else(|| broken("a block is cut"))?;
        append_block(block, limit, &mut output)?;
        rest = &after[length..];
    }
    Ok(output)
}

fn append_block(block: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<(), RecordError> {
    let length =
        snap::raw::decompress_len(block).map_err(|error| decompression_error(CompressionType::Snappy, &error))?;
    if length > block.len().saturating_mul(MAX_EXPANSION) {
        return Err(broken("a block claims more bytes than it can hold"));
    }
    let start = output.len();
    if length > limit.saturating_sub(start) {
        return Err(RecordError::DecompressedTooLarge { limit });
    }
    output.resize(start + length, 0);
    snap::raw::Decoder::new()
        .decompress(block, &mut output[start..])
        .map_err(|error| decompression_error(CompressionType::Snappy, &error))?;
    Ok(())
}

fn broken(reason: &'static str) -> RecordError {
    decompression_error(CompressionType::Snappy, &reason)
}
