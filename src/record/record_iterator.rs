//! The records in a batch (`DefaultRecord`), with Kafka's checks and words.

use std::borrow::Cow;

use super::batch_header::BATCH_HEADER_SIZE;
use super::compression::decompress;
use super::varint::{Cursor, short_varint, size_of_varint, underflow};
use super::{BatchHeader, CompressionType, RecordError, TimestampType};

/// A header of a record. Keys may repeat and need not be UTF-8: both are the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key, possibly empty.
    pub key: &'a [u8],
    /// The value, or null.
    pub value: Option<&'a [u8]>,
}

/// A record; its bytes are those of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The offset in the log.
    pub offset: i64,
    /// Milliseconds since 1970, or -1; the time of the append if the batch has LogAppendTime.
    pub timestamp: i64,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null, which compaction takes for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in the order they were written.
    pub headers: Vec<Header<'a>>,
}

/// The records of one batch, decompressed: what [`RecordIterator`] borrows from.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    payload: Cow<'a, [u8]>,
}

impl Records<'_> {
    /// The header of the batch.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records in order. The iteration ends after the first error.
    pub fn iter(&self) -> RecordIterator<'_> {
        RecordIterator::new(&self.header, &self.payload)
    }
}

impl<'a> IntoIterator for &'a Records<'_> {
    type Item = Result<Record<'a>, RecordError>;
    type IntoIter = RecordIterator<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Opens one whole batch (as [`super::BatchIterator`] gives it) for reading; `limit` bounds the decompressed records in bytes and is
/// not applied to uncompressed ones, which are borrowed. The checksum is not looked at.
pub fn records(batch: &[u8], limit: usize) -> Result<Records<'_>, RecordError> {
    let header = BatchHeader::parse(batch)?;
    let body = batch.get(BATCH_HEADER_SIZE..header.size_in_bytes()).ok_or_else(underflow)?;
    let payload = match header.compression()? {
        CompressionType::None => Cow::Borrowed(body),
        codec => Cow::Owned(decompress(codec, body, limit)?),
    };
    Ok(Records { header, payload })
}

/// Iterates over uncompressed records.
#[derive(Clone, Debug)]
pub struct RecordIterator<'a> {
    frame: RecordFrame,
    cursor: Cursor<'a>,
    left: i32,
    finished: bool,
}

impl<'a> RecordIterator<'a> {
    /// Starts at the first record; `payload` is what follows the header, decompressed.
    pub fn new(header: &BatchHeader, payload: &'a [u8]) -> Self {
        Self {
            frame: RecordFrame::new(header),
            cursor: Cursor::new(payload),
            left: header.record_count,
            finished: false,
        }
    }

    fn read_next(&mut self) -> Result<Option<Record<'a>>, RecordError> {
        if self.left < 0 {
            return Err(RecordError::Invalid(format!("Found invalid record count {} in magic v2 batch", self.left)));
        }
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let record = self.frame.read(&mut self.cursor)?;
        if self.left == 0 && self.cursor.remaining() > 0 {
            return Err(RecordError::Invalid(
                "Incorrect declared batch size, records still remaining in file".to_owned(),
            ));
        }
        Ok(Some(record))
    }
}

impl<'a> Iterator for RecordIterator<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let next = self.read_next().transpose();
        self.finished = !matches!(next, Some(Ok(_)));
        next
    }
}

/// What a record borrows from its batch: the values its deltas count from.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordFrame {
    base_offset: i64,
    base_timestamp: i64,
    log_append_time: Option<i64>,
}

/// What validation needs of a record; reading it allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordShape {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    /// -1 for null.
    pub(super) key_size: i32,
    /// -1 for null.
    pub(super) value_size: i32,
}

impl RecordFrame {
    pub(super) fn new(header: &BatchHeader) -> Self {
        let log_append_time = match header.timestamp_type() {
            TimestampType::LogAppendTime => Some(header.max_timestamp),
            TimestampType::CreateTime => None,
        };
        Self { base_offset: header.base_offset, base_timestamp: header.base_timestamp, log_append_time }
    }

    fn read<'a>(&self, cursor: &mut Cursor<'a>) -> Result<Record<'a>, RecordError> {
        let mut headers = Vec::new();
        let parts = self.walk(cursor, |count, remaining, header| {
            if headers.capacity() == 0 {
                // A header takes at least two bytes, so the count cannot make this larger than the batch.
                headers.reserve_exact(count.min(remaining / 2 + 1));
            }
            headers.push(header);
        })?;
        Ok(Record { offset: parts.offset, timestamp: parts.timestamp, key: parts.key, value: parts.value, headers })
    }

    /// Steps over the next record, with every check of [`RecordIterator`].
    #[inline]
    pub(super) fn shape(&self, cursor: &mut Cursor<'_>) -> Result<RecordShape, RecordError> {
        match self.usual_shape(cursor) {
            Some(shape) => Ok(shape),
            None => self.any_shape(cursor),
        }
    }

    /// A sound record without headers whose numbers take three bytes at most; nothing for all others, and nothing is taken then. It
    /// costs about half of [`Self::any_shape`] (callgrind: 310 → 169 instructions a record, and less since four bytes are read at a time).
    #[inline(always)]
    fn usual_shape(&self, cursor: &mut Cursor<'_>) -> Option<RecordShape> {
        let bytes = cursor.rest();
        let (size, start) = short_varint(bytes, 0)?;
        let end = start + usize::try_from(size).ok()?;
        let attributes = 1;
        let (timestamp_delta, at) = short_varint(bytes, start + attributes)?;
        let (offset_delta, at) = short_varint(bytes, at)?;
        let (key_size, at) = short_varint(bytes, at)?;
        let (value_size, at) = short_varint(bytes, at + key_size.max(0) as usize)?;
        let headers = at + value_size.max(0) as usize;
        // What was read lies in front of this byte, so that all of it belongs to the record if this is its last one.
        if bytes.get(headers) != Some(&0) || headers + 1 != end {
            return None;
        }
        cursor.skip(end)?;
        Some(RecordShape {
            offset: self.base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp: self.log_append_time.unwrap_or(self.base_timestamp.wrapping_add(i64::from(timestamp_delta))),
            key_size: key_size.max(-1),
            value_size: value_size.max(-1),
        })
    }

    #[inline(never)]
    fn any_shape(&self, cursor: &mut Cursor<'_>) -> Result<RecordShape, RecordError> {
        let parts = self.walk(cursor, |_, _, _| {})?;
        let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i32);
        Ok(RecordShape {
            offset: parts.offset,
            timestamp: parts.timestamp,
            key_size: size(parts.key),
            value_size: size(parts.value),
        })
    }

    #[inline]
    fn walk<'a>(
        &self,
        cursor: &mut Cursor<'a>,
        mut on_header: impl FnMut(usize, usize, Header<'a>),
    ) -> Result<RecordParts<'a>, RecordError> {
        let size = cursor.varint()?;
        let body = usize::try_from(size).ok().and_then(|size| cursor.take(size)).ok_or_else(|| {
            RecordError::Invalid(format!(
                "Invalid record size: expected {size} bytes in record payload, but instead the buffer has only {} remaining bytes.",
                cursor.remaining()
            ))
        })?;
        let mut body = Cursor::new(body);
        let _attributes = body.byte().ok_or_else(broken_structure)?;
        let timestamp_delta = body.varlong().map_err(structure)?;
        let offset_delta = body.varint().map_err(structure)?;
        let key = nullable(&mut body)?;
        let value = nullable(&mut body)?;
        let count = body.varint().map_err(structure)?;
        let headers = usize::try_from(count)
            .map_err(|_| RecordError::Invalid(format!("Found invalid number of record headers {count}")))?;
        if headers > body.remaining() {
            return Err(RecordError::Invalid(format!(
                "Found invalid number of record headers. {count} is larger than the remaining size of the buffer"
            )));
        }
        for _ in 0..headers {
            let remaining = body.remaining();
            let key_size = body.varint().map_err(structure)?;
            let key_size = usize::try_from(key_size)
                .map_err(|_| RecordError::Invalid(format!("Invalid negative header key size {key_size}")))?;
            let key = body.take(key_size).ok_or_else(broken_structure)?;
            on_header(headers, remaining, Header { key, value: nullable(&mut body)? });
        }
        if body.remaining() > 0 {
            return Err(RecordError::Invalid(format!(
                "Invalid record size: expected to read {size} bytes in record payload, but instead read {}",
                body.position()
            )));
        }
        Ok(RecordParts {
            offset: self.base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp: self.log_append_time.unwrap_or(self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
        })
    }
}

struct RecordParts<'a> {
    offset: i64,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

/// Bytes behind a varint length; any negative length is null, as in Kafka.
#[inline]
fn nullable<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, RecordError> {
    let length = cursor.varint().map_err(structure)?;
    match usize::try_from(length) {
        Ok(length) => cursor.take(length).map(Some).ok_or_else(broken_structure),
        Err(_) => Ok(None),
    }
}

fn broken_structure() -> RecordError {
    RecordError::Invalid("Found invalid record structure".to_owned())
}

fn structure(_: RecordError) -> RecordError {
    broken_structure()
}

/// The encoded size of a record in bytes, its length varint included.
pub(super) fn encoded_size(body_size: usize) -> usize {
    size_of_varint(body_size as i32) + body_size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BATCH_HEADER_SIZE, BatchBuilder, BatchProperties};
    use proptest::prelude::*;

    fn header() -> BatchHeader {
        let mut builder = BatchBuilder::new(BatchProperties::default());
        builder.append(1_700_000_000_000, None, None, &[]).expect("fits");
        BatchHeader::parse(&builder.build()).expect("a header")
    }

    /// The short cut says what the long way says, and both leave off at the same byte.
    fn compare(bytes: &[u8]) {
        let frame = RecordFrame::new(&header());
        let (mut long, mut short) = (Cursor::new(bytes), Cursor::new(bytes));
        let shape = frame.any_shape(&mut long);
        match frame.usual_shape(&mut short) {
            Some(usual) => assert_eq!((Ok(usual), long.position()), (shape, short.position())),
            None => assert_eq!(short.position(), 0),
        }
    }

    proptest! {
        #[test]
        fn the_short_cut_is_no_other_way(
            timestamps in prop::collection::vec(-3_000_000..3_000_000_i64, 1..20),
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..9000)),
            has_headers: bool,
            flips in prop::collection::vec((0..64_usize, any::<u8>()), 0..3),
        ) {
            let mut builder = BatchBuilder::new(BatchProperties::default());
            let headers = [Header { key: b"k", value: None }];
            for timestamp in timestamps {
                let headers = if has_headers { &headers[..] } else { &[] };
                builder.append(1_700_000_000_000 + timestamp, key.as_deref(), value.as_deref(), headers).expect("fits");
            }
            let mut records = builder.build()[BATCH_HEADER_SIZE..].to_vec();
            compare(&records);
            for (position, byte) in flips {
                let position = position % records.len();
                records[position] = byte;
            }
            compare(&records);
        }

        #[test]
        fn the_short_cut_refuses_what_is_no_record(bytes in prop::collection::vec(0..12_u8, 0..24)) {
            compare(&bytes);
        }
    }

    #[test]
    fn usual_records_take_the_short_cut() {
        let mut builder = BatchBuilder::new(BatchProperties::default());
        for index in 0..300 {
            builder.append(1_700_000_000_000 + index * 100, None, Some(&[7; 1024]), &[]).expect("fits");
        }
        let batch = builder.build();
        let frame = RecordFrame::new(&BatchHeader::parse(&batch).expect("a header"));
        let mut cursor = Cursor::new(&batch[BATCH_HEADER_SIZE..]);
        for _ in 0..300 {
            assert!(frame.usual_shape(&mut cursor).is_some());
        }
        assert_eq!(cursor.remaining(), 0);
    }
}
