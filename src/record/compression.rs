//! The five codecs of record batches (`CompressionType`, `Compression`, KIP-390 levels), in Java's framing.
//!
//! Written as Apache Kafka's Java client writes them: gzip members, xerial blocks of 32 KiB for snappy, lz4 frames of independent
//! 64 KiB blocks (Java refuses dependent ones), zstd frames. Read as every client writes them: concatenated gzip members, lz4 and zstd
//! frames, and snappy with or without xerial framing (librdkafka writes none).
//!
//! Memory: [`decompress`] never returns more than its limit and never sizes a buffer from a number in the stream that the stream's own
//! length does not bear out. Beside the result it uses the codec's window: at most about 8 MiB for lz4; zstd touches what it has
//! decompressed, so at most the limit again.

use std::io::{Read, Write};

use super::{RecordError, snappy};

/// Default of `compression.gzip.level`.
pub const GZIP_DEFAULT_LEVEL: i32 = -1;
/// Default of `compression.lz4.level`.
pub const LZ4_DEFAULT_LEVEL: i32 = 9;
/// Default of `compression.zstd.level`.
pub const ZSTD_DEFAULT_LEVEL: i32 = 3;

/// Bytes by which the output buffer grows at first.
const FIRST_GROWTH: usize = 64 * 1024;

/// A codec, by its id in the batch attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CompressionType {
    /// The records as they are.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks, xerial-framed or raw.
    Snappy,
    /// The lz4 frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl CompressionType {
    /// The codec of an id in the attributes; fails for ids without one.
    pub fn from_id(id: i16) -> Result<Self, RecordError> {
        Ok(match id {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return Err(RecordError::UnknownCompression(id)),
        })
    }

    /// The codec of a name in Kafka's configuration; `producer` is not a codec, `uncompressed` is `none`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" | "uncompressed" => Self::None,
            "gzip" => Self::Gzip,
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }

    /// The id in the attributes.
    pub fn id(self) -> i16 {
        self as i16
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// A codec and how hard it tries (KIP-390).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Compression {
    /// The codec.
    pub codec: CompressionType,
    /// The codec's own scale: gzip 1 to 9 or -1, zstd -131072 to 22. For lz4 (1 to 17) it is accepted and makes no difference: the
    /// encoder has one strength. Without meaning for the others.
    pub level: i32,
}

impl Compression {
    /// No compression.
    pub const NONE: Self = Self { codec: CompressionType::None, level: 0 };
}

impl From<CompressionType> for Compression {
    /// The codec at Kafka's default level.
    fn from(codec: CompressionType) -> Self {
        let level = match codec {
            CompressionType::Gzip => GZIP_DEFAULT_LEVEL,
            CompressionType::Lz4 => LZ4_DEFAULT_LEVEL,
            CompressionType::Zstd => ZSTD_DEFAULT_LEVEL,
            CompressionType::None | CompressionType::Snappy => 0,
        };
        Self { codec, level }
    }
}

/// Appends the compressed `records` to `output`. Fails only if the codec itself does; `output` may then have been added to.
pub fn compress(compression: Compression, records: &[u8], output: &mut Vec<u8>) -> Result<(), RecordError> {
    let codec = compression.codec;
    let result = match codec {
        CompressionType::None => {
            output.extend_from_slice(records);
            Ok(())
        }
        CompressionType::Gzip => compress_gzip(compression.level, records, output),
        CompressionType::Snappy => snappy::compress(records, output).map_err(std::io::Error::other),
        CompressionType::Lz4 => compress_lz4(records, output),
        CompressionType::Zstd => zstd::stream::copy_encode(records, output, compression.level),
    };
    result.map_err(|error| decompression_error(codec, &error))
}

fn compress_gzip(level: i32, records: &[u8], output: &mut Vec<u8>) -> std::io::Result<()> {
    let level = match u32::try_from(level) {
        Ok(level) => flate2::Compression::new(level.min(9)),
        Err(_) => flate2::Compression::default(),
    };
    let mut encoder = flate2::write::GzEncoder::new(output, level);
    encoder.write_all(records)?;
    encoder.finish()?;
    Ok(())
}

fn compress_lz4(records: &[u8], output: &mut Vec<u8>) -> std::io::Result<()> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let frame = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(frame, output);
    encoder.write_all(records)?;
    encoder.finish().map_err(std::io::Error::other)?;
    Ok(())
}

/// Decompresses the records of one batch. `limit` bounds the result in bytes: one byte more is
/// [`RecordError::DecompressedTooLarge`], and no more than that is ever produced.
pub fn decompress(codec: CompressionType, compressed: &[u8], limit: usize) -> Result<Vec<u8>, RecordError> {
    match codec {
        CompressionType::None if compressed.len() > limit => Err(RecordError::DecompressedTooLarge { limit }),
        CompressionType::None => Ok(compressed.to_vec()),
        // No bytes are no stream, except for zstd: as in Java.
        CompressionType::Gzip | CompressionType::Lz4 if compressed.is_empty() => {
            Err(decompression_error(codec, &"the stream is empty"))
        }
        CompressionType::Zstd if compressed.is_empty() => Ok(Vec::new()),
        CompressionType::Gzip => read_bounded(codec, flate2::bufread::MultiGzDecoder::new(compressed), limit),
        CompressionType::Snappy => snappy::decompress(compressed, limit),
        CompressionType::Lz4 => decompress_lz4(compressed, limit),
        CompressionType::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(compressed)
                .map_err(|error| decompression_error(codec, &error))?;
            read_bounded(codec, decoder, limit)
        }
    }
}

fn decompress_lz4(compressed: &[u8], limit: usize) -> Result<Vec<u8>, RecordError> {
    const FRAME_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
    let mut output = Vec::new();
    let mut rest = compressed;
    // Skippable and legacy frames are not Kafka's: Java refuses both. One decoder reads one frame.
    while !rest.is_empty() {
        if !rest.starts_with(&FRAME_MAGIC) {
            return Err(RecordError::Decompression {
                codec: CompressionType::Lz4.name(),
                reason: "Invalid magic number of an lz4 frame".to_owned(),
            });
        }
        let before = rest.len();
        let mut decoder = lz4_flex::frame::FrameDecoder::new(rest);
        append_bounded(CompressionType::Lz4, &mut decoder, limit, &mut output)?;
        rest = decoder.into_inner();
        if rest.len() == before {
            break;
        }
    }
    Ok(output)
}

fn read_bounded(codec: CompressionType, mut reader: impl Read, limit: usize) -> Result<Vec<u8>, RecordError> {
    let mut output = Vec::new();
    append_bounded(codec, &mut reader, limit, &mut output)?;
    Ok(output)
}

/// Reads to the end, growing the buffer by what has been produced so far and never beyond the limit.
fn append_bounded(
    codec: CompressionType,
    reader: &mut impl Read,
    limit: usize,
    output: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let mut filled = output.len();
    loop {
        if filled == output.len() {
            let room = limit.saturating_sub(filled);
            if room == 0 {
                // Exactly the limit is allowed: only a byte more is too many.
                output.truncate(filled);
                let mut probe = [0];
                let more = reader.read(&mut probe).map_err(|error| decompression_error(codec, &error))?;
                return if more == 0 { Ok(()) } else { Err(RecordError::DecompressedTooLarge { limit }) };
            }
            let growth = filled.max(FIRST_GROWTH).min(room);
            output.reserve_exact(growth);
            output.resize(filled + growth, 0);
        }
        match reader.read(&mut output[filled..]) {
            Ok(0) => {
                output.truncate(filled);
                return Ok(());
            }
            Ok(count) => filled += count,
            Err(error) => return Err(decompression_error(codec, &error)),
        }
    }
}

pub(super) fn decompression_error(codec: CompressionType, error: &dyn std::fmt::Display) -> RecordError {
    RecordError::Decompression { codec: codec.name(), reason: error.to_string() }
}
