//! What every record of a campaign says about itself, in one header: writer, topic, partition, number in that stream, checksum.

use rdkafka::message::{BorrowedMessage, Headers, Message};

/// The key of the header.
pub const HEADER: &str = "tag";
const LENGTH: usize = 36;

/// Identity of a record. The stream of a writer in a partition is numbered from 0 without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// Which producer.
    pub writer: u32,
    /// Which topic, by number: a record in the wrong topic is noticed.
    pub topic: u32,
    /// Which partition.
    pub partition: i32,
    /// Its number in the stream of this writer in this partition.
    pub sequence: u64,
    /// When it was written, in milliseconds since the campaign began.
    pub millis: u64,
    /// Its key's number, in topics with keys: the record's key itself, in four bytes.
    pub key: Option<u32>,
}

impl Tag {
    /// The header's value for a record with this key and value.
    pub fn encode(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0..4].copy_from_slice(&self.writer.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.topic.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.partition.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.millis.to_be_bytes());
        bytes[28..32].copy_from_slice(&content_checksum(key, value).to_be_bytes());
        let own = crc32c::crc32c(&bytes[..32]);
        bytes[32..36].copy_from_slice(&own.to_be_bytes());
        bytes
    }

    /// Reads the tag of a record and compares the checksum of its content; says what is wrong otherwise.
    pub fn of(message: &BorrowedMessage<'_>) -> Result<Self, String> {
        let header = message.headers().and_then(|headers| headers.iter().find(|header| header.key == HEADER));
        let bytes = header.and_then(|header| header.value).ok_or("a record without a tag")?;
        let tag = Self::decode(bytes, message.key(), message.payload())?;
        if tag.partition != message.partition() {
            return Err(format!("{tag:?} was read from partition {}", message.partition()));
        }
        Ok(tag)
    }

    fn decode(bytes: &[u8], key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, String> {
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| format!("a tag of {} bytes", bytes.len()))?;
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| (u64::from(word(at)) << 32) | u64::from(word(at + 4));
        if crc32c::crc32c(&bytes[..32]) != word(32) {
            return Err("a tag with a wrong checksum".into());
        }
        let tag = Self {
            writer: word(0),
            topic: word(4),
            partition: word(8) as i32,
            sequence: long(12),
            millis: long(20),
            key: key.and_then(|key| key.try_into().ok()).map(u32::from_be_bytes),
        };
        if content_checksum(key, value) != word(28) {
            return Err(format!("the content of {tag:?} has a wrong checksum"));
        }
        Ok(tag)
    }
}

fn content_checksum(key: Option<&[u8]>, value: Option<&[u8]>) -> u32 {
    let nulls = [u8::from(key.is_none()), u8::from(value.is_none())];
    let checksum = crc32c::crc32c(&nulls);
    crc32c::crc32c_append(crc32c::crc32c_append(checksum, key.unwrap_or_default()), value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_and_notices_every_flipped_bit() {
        let tag = Tag { writer: 3, topic: 9, partition: 2, sequence: 1 << 40, millis: 77, key: None };
        let bytes = tag.encode(Some(b"key"), None);
        assert_eq!(Tag::decode(&bytes, Some(b"key"), None), Ok(tag));
        assert!(Tag::decode(&bytes, Some(b"key"), Some(b"")).is_err());
        assert!(Tag::decode(&bytes, Some(b"kez"), None).is_err());
        for bit in 0..LENGTH * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Tag::decode(&flipped, Some(b"key"), None).is_err(), "bit {bit}");
        }
    }
}
