//! Writes random bodies that a shape describes, for tests: an honest request of any API and version.

use bytes::{BufMut, Bytes, BytesMut};

use super::message::put_unsigned_varint;
use super::shape::{FieldShape, RequestShape, Shape};

/// A random number below the argument.
type Choose<'a> = &'a mut dyn FnMut(u64) -> u64;

impl RequestShape {
    /// A body with every field, arrays of up to three elements, and now and then a tagged field that nobody knows.
    pub(super) fn write(&self, version: i16, choose: Choose) -> Bytes {
        let mut writer = Writer { buffer: BytesMut::new(), version, flexible: version >= self.flexible_from, choose };
        writer.fields(&self.fields);
        writer.buffer.freeze()
    }
}

struct Writer<'a> {
    buffer: BytesMut,
    version: i16,
    flexible: bool,
    choose: Choose<'a>,
}

impl Writer<'_> {
    fn fields(&mut self, fields: &[FieldShape]) {
        let version = self.version;
        for field in fields.iter().filter(|field| field.tag.is_none() && field.exists(version)) {
            self.shape(&field.shape);
        }
        if self.flexible {
            self.tagged_fields();
        }
    }

    /// Known tagged fields are not written: the codec leaves them out again when they have their defaults.
    fn tagged_fields(&mut self) {
        let count = (self.choose)(3);
        put_unsigned_varint(&mut self.buffer, count as u32);
        for tag in 0..count {
            let size = (self.choose)(4);
            put_unsigned_varint(&mut self.buffer, 50 + tag as u32);
            put_unsigned_varint(&mut self.buffer, size as u32);
            self.buffer.put_bytes(0xab, size as usize);
        }
    }

    fn shape(&mut self, shape: &Shape) {
        match shape {
            // Of one byte are truth values and small codes.
            Shape::Fixed(1) => {
                let byte = (self.choose)(2);
                self.buffer.put_u8(byte as u8);
            }
            Shape::Fixed(size) => {
                for _ in 0..*size {
                    let byte = (self.choose)(256);
                    self.buffer.put_u8(byte as u8);
                }
            }
            Shape::Text => self.characters(2),
            Shape::Data => self.characters(4),
            Shape::Struct(fields) => self.fields(fields),
            Shape::NullableStruct(fields) => match (self.choose)(2) {
                0 => self.buffer.put_i8(-1),
                _ => {
                    self.buffer.put_i8(1);
                    self.fields(fields);
                }
            },
            Shape::Array(element) => {
                let count = (self.choose)(4) as usize;
                self.length(count, 4);
                (0..count).for_each(|_| self.shape(element));
            }
        }
    }

    fn characters(&mut self, plain_size: usize) {
        // Now and then a compact length of two bytes.
        let length = if (self.choose)(8) == 0 { 130 } else { (self.choose)(12) as usize };
        self.length(length, plain_size);
        self.buffer.put_bytes(b'x', length);
    }

    fn length(&mut self, length: usize, plain_size: usize) {
        match plain_size {
            _ if self.flexible => put_unsigned_varint(&mut self.buffer, length as u32 + 1),
            2 => self.buffer.put_i16(length as i16),
            _ => self.buffer.put_i32(length as i32),
        }
    }
}
