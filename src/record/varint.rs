//! Kafka's zig-zag variable-length integers (`ByteUtils.readVarint`, `readVarlong`).

use super::RecordError;

/// Appends a zig-zag varint.
pub(super) fn write_varint(buffer: &mut Vec<u8>, value: i32) {
    write_unsigned(buffer, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

/// Appends a zig-zag varlong.
pub(super) fn write_varlong(buffer: &mut Vec<u8>, value: i64) {
    write_unsigned(buffer, ((value << 1) ^ (value >> 63)) as u64);
}

/// The encoded size of a varint in bytes.
pub(super) fn size_of_varint(value: i32) -> usize {
    size_of_unsigned(u64::from(((value << 1) ^ (value >> 31)) as u32))
}

/// The encoded size of a varlong in bytes.
pub(super) fn size_of_varlong(value: i64) -> usize {
    size_of_unsigned(((value << 1) ^ (value >> 63)) as u64)
}

fn size_of_unsigned(value: u64) -> usize {
    (70 - value.leading_zeros() as usize - usize::from(value == 0)) / 7 + usize::from(value == 0)
}

fn write_unsigned(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

/// A position in the records of a batch. Every read checks the bytes that are left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next byte, or nothing at the end.
    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.position)?;
        self.position += 1;
        Some(byte)
    }

    /// The next `length` bytes, or nothing if there are fewer.
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(length)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    /// A varint of at most 5 bytes; bits beyond the 32nd are dropped, as Kafka does.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<i32, RecordError> {
        if let Some(byte) = self.bytes.get(self.position).filter(|byte| **byte < 0x80) {
            self.position += 1;
            return Ok(unzigzag(u32::from(*byte)));
        }
        let mut value: u32 = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte().ok_or_else(underflow)?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(unzigzag(value));
            }
        }
        Err(RecordError::Unreadable("Varint is too long, the most significant bit in the 5th byte is set".to_owned()))
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    /// Steps over `length` bytes; nothing if there are fewer.
    pub(super) fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(drop)
    }

    /// A varlong of at most 10 bytes.
    #[inline]
    pub(super) fn varlong(&mut self) -> Result<i64, RecordError> {
        let mut value: u64 = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte().ok_or_else(underflow)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(RecordError::Unreadable("Varlong is too long, most significant bit in the 10th byte is set".to_owned()))
    }
}

/// A varint of at most 3 bytes and the position behind it; nothing for a longer one, and within 4 bytes of the end.
#[inline(always)]
pub(super) fn short_varint(bytes: &[u8], at: usize) -> Option<(i32, usize)> {
    let word = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
    if word & 0x80 == 0 {
        Some((unzigzag(word & 0x7f), at + 1))
    } else if word & 0x8000 == 0 {
        Some((unzigzag(word & 0x7f | word >> 1 & 0x3f80), at + 2))
    } else if word & 0x80_0000 == 0 {
        Some((unzigzag(word & 0x7f | word >> 1 & 0x3f80 | word >> 2 & 0x1f_c000), at + 3))
    } else {
        None
    }
}

#[inline]
fn unzigzag(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

pub(super) fn underflow() -> RecordError {
    RecordError::Invalid("Incorrect declared batch size, premature EOF reached".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_at_the_edges() {
        for value in [0, -1, 1, 63, -64, 64, -65, 8191, 8192, i32::MAX, i32::MIN] {
            let mut buffer = Vec::new();
            write_varint(&mut buffer, value);
            assert_eq!(buffer.len(), size_of_varint(value), "{value}");
        }
        assert_eq!(size_of_varlong(i64::MIN), 10);
    }

    #[test]
    fn a_sixth_byte_is_refused() {
        assert!(Cursor::new(&[0xff; 6]).varint().is_err());
        assert!(Cursor::new(&[0xff; 11]).varlong().is_err());
        assert!(Cursor::new(&[0xff, 0xff]).varint().is_err());
    }

    proptest! {
        #[test]
        fn varints_come_back(value: i32, long: i64) {
            let mut buffer = Vec::new();
            write_varint(&mut buffer, value);
            write_varlong(&mut buffer, long);
            prop_assert_eq!(buffer.len(), size_of_varint(value) + size_of_varlong(long));
            let mut cursor = Cursor::new(&buffer);
            prop_assert_eq!(cursor.varint(), Ok(value));
            prop_assert_eq!(cursor.varlong(), Ok(long));
            prop_assert_eq!(cursor.remaining(), 0);
        }
    }
}
