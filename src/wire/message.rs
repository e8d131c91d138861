//! Messages that the codec crate lacks, each described by one table: [`message!`] makes the struct, its default, and the
//! crate's `Encodable` and `Decodable` from it, as Kafka's generator does from its JSON schemas (`MessageDataGenerator`).
//!
//! Unlike the crate's, these messages own their strings and bytes, since records outlive the buffer they are read from.
//! Unknown tagged fields are skipped, which is what Kafka's images and coordinators do with them.

use anyhow::{Result, bail};
use bytes::{Buf, BufMut, Bytes};
use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
use uuid::Uuid;

use super::json::{put_double, put_json_bytes, put_json_text, put_uuid};

/// The version that a field is read or written in.
#[derive(Clone, Copy)]
pub(super) struct Format {
    pub(super) version: i16,
    /// Compact lengths and tagged fields (KIP-482).
    pub(super) flexible: bool,
}

/// A type that a field can have.
pub(super) trait Field: Sized {
    fn put<B: ByteBufMut>(&self, buffer: &mut B, format: Format) -> Result<()>;
    fn size(&self, format: Format) -> Result<usize>;
    fn get<B: ByteBuf>(buffer: &mut B, format: Format) -> Result<Self>;
    /// Appends it as Kafka's tools print it.
    fn json(&self, out: &mut String, version: i16);
}

macro_rules! fixed_field {
    ($($type:ty: $put:ident $take:ident $json:ident,)*) => {$(
        impl Field for $type {
            fn put<B: ByteBufMut>(&self, buffer: &mut B, _format: Format) -> Result<()> {
                buffer.$put(*self);
                Ok(())
            }
            fn size(&self, _format: Format) -> Result<usize> {
                Ok(size_of::<$type>())
            }
            fn get<B: ByteBuf>(buffer: &mut B, _format: Format) -> Result<Self> {
                Ok(buffer.$take()?)
            }
            fn json(&self, out: &mut String, _version: i16) {
                $json(out, *self);
            }
        }
    )*};
}

fn put_number(out: &mut String, number: impl ToString) {
    out.push_str(&number.to_string());
}

fixed_field! {
    i8: put_i8 try_get_i8 put_number,
    i16: put_i16 try_get_i16 put_number,
    u16: put_u16 try_get_u16 put_number,
    i32: put_i32 try_get_i32 put_number,
    i64: put_i64 try_get_i64 put_number,
    f64: put_f64 try_get_f64 put_double,
}

impl Field for bool {
    fn put<B: ByteBufMut>(&self, buffer: &mut B, _format: Format) -> Result<()> {
        buffer.put_u8(u8::from(*self));
        Ok(())
    }
    fn size(&self, _format: Format) -> Result<usize> {
        Ok(1)
    }
    fn get<B: ByteBuf>(buffer: &mut B, _format: Format) -> Result<Self> {
        Ok(buffer.try_get_u8()? != 0)
    }
    fn json(&self, out: &mut String, _version: i16) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

impl Field for Uuid {
    fn put<B: ByteBufMut>(&self, buffer: &mut B, _format: Format) -> Result<()> {
        buffer.put_slice(self.as_bytes());
        Ok(())
    }
    fn size(&self, _format: Format) -> Result<usize> {
        Ok(16)
    }
    fn get<B: ByteBuf>(buffer: &mut B, _format: Format) -> Result<Self> {
        let mut bytes = [0; 16];
        buffer.try_copy_to_slice(&mut bytes)?;
        Ok(Self::from_bytes(bytes))
    }
    fn json(&self, out: &mut String, _version: i16) {
        put_uuid(out, *self);
    }
}

/// How the length of a string, of bytes or of an array is written in a version without compact lengths.
#[derive(Clone, Copy)]
enum LengthPrefix {
    /// Strings.
    Short,
    /// Bytes and arrays.
    Int,
}

fn put_length<B: ByteBufMut>(
    buffer: &mut B,
    length: Option<usize>,
    prefix: LengthPrefix,
    format: Format,
) -> Result<()> {
    if format.flexible {
        put_unsigned_varint(buffer, compact_length(length)?);
        return Ok(());
    }
    match (prefix, length) {
        (LengthPrefix::Short, None) => buffer.put_i16(-1),
        (LengthPrefix::Short, Some(length)) => buffer.put_i16(i16::try_from(length)?),
        (LengthPrefix::Int, None) => buffer.put_i32(-1),
        (LengthPrefix::Int, Some(length)) => buffer.put_i32(i32::try_from(length)?),
    }
    Ok(())
}

fn length_size(length: Option<usize>, prefix: LengthPrefix, format: Format) -> Result<usize> {
    Ok(match prefix {
        _ if format.flexible => unsigned_varint_size(compact_length(length)?),
        LengthPrefix::Short => 2,
        LengthPrefix::Int => 4,
    })
}

/// Takes a length that the remaining bytes can satisfy: an element of an array is at least one byte long.
fn take_length<B: ByteBuf>(buffer: &mut B, prefix: LengthPrefix, format: Format) -> Result<Option<usize>> {
    let length = match prefix {
        _ if format.flexible => i64::from(take_unsigned_varint(buffer)?) - 1,
        LengthPrefix::Short => i64::from(buffer.try_get_i16()?),
        LengthPrefix::Int => i64::from(buffer.try_get_i32()?),
    };
    match usize::try_from(length) {
        Ok(length) if length > buffer.remaining() => {
            bail!("a length of {length} with {} bytes remaining", buffer.remaining())
        }
        Ok(length) => Ok(Some(length)),
        Err(_) if length == -1 => Ok(None),
        Err(_) => bail!("a length of {length}"),
    }
}

fn compact_length(length: Option<usize>) -> Result<u32> {
    Ok(match length {
        None => 0,
        Some(length) => u32::try_from(length + 1)?,
    })
}

pub(super) fn put_unsigned_varint<B: BufMut>(buffer: &mut B, mut value: u32) {
    while value >= 0x80 {
        buffer.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

pub(super) fn unsigned_varint_size(value: u32) -> usize {
    (38 - value.leading_zeros() as usize) / 7 + usize::from(value == 0)
}

pub(super) fn take_unsigned_varint<B: Buf>(buffer: &mut B) -> Result<u32> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = u32::from(buffer.try_get_u8()?);
        value |= (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a variable length integer of more than five bytes")
}

fn put_nullable<T: Field>(value: Option<&T>, out: &mut String, version: i16) {
    match value {
        Some(value) => value.json(out, version),
        None => out.push_str("null"),
    }
}

fn non_null<T>(value: Option<T>) -> Result<T> {
    match value {
        Some(value) => Ok(value),
        None => bail!("null where a value is needed"),
    }
}

impl Field for Option<String> {
    fn put<B: ByteBufMut>(&self, buffer: &mut B, format: Format) -> Result<()> {
        put_length(buffer, self.as_ref().map(String::len), LengthPrefix::Short, format)?;
        buffer.put_slice(self.as_deref().unwrap_or_default().as_bytes());
        Ok(())
    }
    fn size(&self, format: Format) -> Result<usize> {
        let length = self.as_ref().map(String::len);
        Ok(length_size(length, LengthPrefix::Short, format)? + length.unwrap_or(0))
    }
    fn get<B: ByteBuf>(buffer: &mut B, format: Format) -> Result<Self> {
        let Some(length) = take_length(buffer, LengthPrefix::Short, format)? else { return Ok(None) };
        if format.flexible && length > i16::MAX as usize {
            bail!("a string of {length} bytes");
        }
        let mut bytes = vec![0; length];
        buffer.try_copy_to_slice(&mut bytes)?;
        Ok(Some(String::from_utf8(bytes)?))
    }
    fn json(&self, out: &mut String, version: i16) {
        put_nullable(self.as_ref(), out, version);
    }
}

impl Field for String {
    fn put<B: ByteBufMut>(&self, buffer: &mut B, format: Format) -> Result<()> {
        put_length(buffer, Some(self.len()), LengthPrefix::Short, format)?;
        buffer.put_slice(self.as_bytes());
        Ok(())
    }
    fn size(&self, format: Format) -> Result<usize> {
        Ok(length_size(Some(self.len()), LengthPrefix::Short, format)? + self.len())
    }
    fn get<B: ByteBuf>(buffer: &mut B, format: Format) -> Result<Self> {
        non_null(<Option<String>>::get(buffer, format)?)
    }
    fn json(&self, out: &mut String, _version: i16) {
        put_json_text(out, self);
    }
}

impl Field for Bytes {
    fn put<B: ByteBufMut>(&self, buffer: &mut B, format: Format) -> Result<()> {
        put_length(buffer, Some(self.len()), LengthPrefix::Int, format)?;
        buffer.put_slice(self);
        Ok(())
    }
    fn size(&self, format: Format) -> Result<usize> {
        Ok(length_size(Some(self.len()), LengthPrefix::Int, format)? + self.len())
    }
    fn get<B: ByteBuf>(buffer: &mut B, format: Format) -> Result<Self> {
        let length = non_null(take_length(buffer, LengthPrefix::Int, format)?)?;
        let mut bytes = vec![0; length];
        buffer.try_copy_to_slice(&mut bytes)?;
        Ok(bytes.into())
    }
    fn json(&self, out: &mut String, _version: i16) {
        put_json_bytes(out, self);
    }
}

impl Field for Option<Bytes> {
    fn put<B: ByteBufMut>(&self, buffer: &mut B, format: Format) -> Result<()> {
        put_length(buffer, self.as_ref().map(Bytes::len), LengthPrefix::Int, format)?;
        buffer.put_slice(self.as_deref().unwrap_or_default());
        Ok(())
    }
    fn size(&self, format: Format) -> Result<usize> {
        let length = self.as_ref().map(Bytes::len);
        Ok(length_size(length, LengthPrefix::Int, format)? + length.unwrap_or(0))
    }
    fn get<B: ByteBuf>(buffer: &mut B, format: Format) -> Result<Self> {
        let Some(length) = take_length(buffer, LengthPrefix::Int, format)? else { return Ok(None) };
        let mut bytes = vec![0; length];
        buffer.try_copy_to_slice(&mut bytes)?;
        Ok(Some(bytes.into()))
    }
    fn json(&self, out: &mut String, version: i16) {
        put_nullable(self.as_ref(), out, version);
    }
}

fn put_array<T: Field, B: ByteBufMut>(buffer: &mut B, items: Option<&[T]>, format: Format) -> Result<()> {
    put_length(buffer, items.map(<[T]>::len), LengthPrefix::Int, format)?;
    items.unwrap_or_default().iter().try_for_each(|item| item.put(buffer, format))
}

fn array_size<T: Field>(items: Option<&[T]>, format: Format) -> Result<usize> {
    let length = length_size(items.map(<[T]>::len), LengthPrefix::Int, format)?;
    items.unwrap_or_default().iter().try_fold(length, |size, item| Ok(size + item.size(format)?))
}

impl<T: Field> Field for Option<Vec<T>> {
    fn put<B: ByteBufMut>(&self, buffer: &mut B, format: Format) -> Result<()> {
        put_array(buffer, self.as_deref(), format)
    }
    fn size(&self, format: Format) -> Result<usize> {
        array_size(self.as_deref(), format)
    }
    fn get<B: ByteBuf>(buffer: &mut B, format: Format) -> Result<Self> {
        let Some(length) = take_length(buffer, LengthPrefix::Int, format)? else { return Ok(None) };
        // Grows with what is really there: a lying length reserves little.
        let mut items = Vec::with_capacity(length.min(16));
        for _ in 0..length {
            items.push(T::get(buffer, format)?);
        }
        Ok(Some(items))
    }
    fn json(&self, out: &mut String, version: i16) {
        put_nullable(self.as_ref(), out, version);
    }
}

impl<T: Field> Field for Vec<T> {
    fn put<B: ByteBufMut>(&self, buffer: &mut B, format: Format) -> Result<()> {
        put_array(buffer, Some(self), format)
    }
    fn size(&self, format: Format) -> Result<usize> {
        array_size(Some(self), format)
    }
    fn get<B: ByteBuf>(buffer: &mut B, format: Format) -> Result<Self> {
        non_null(<Option<Vec<T>>>::get(buffer, format)?)
    }
    fn json(&self, out: &mut String, version: i16) {
        for (number, item) in self.iter().enumerate() {
            out.push(if number == 0 { '[' } else { ',' });
            item.json(out, version);
        }
        out.push_str(if self.is_empty() { "[]" } else { "]" });
    }
}

/// Whether a field exists in a version.
pub(super) fn exists(version: i16, since: i16, until: Option<i16>) -> bool {
    version >= since && until.is_none_or(|until| version <= until)
}

/// Skips a tagged field that we do not know.
pub(super) fn skip<B: Buf>(buffer: &mut B, size: u32) -> Result<()> {
    if size as usize > buffer.remaining() {
        bail!("a tagged field of {size} bytes with {} remaining", buffer.remaining());
    }
    buffer.advance(size as usize);
    Ok(())
}

/// Makes a message of a table. A field is `name: Type = default, since[..=until] [as ignorable][, tag N]` (a tagged field
/// has no `until`); fields are in the order of the wire, tagged fields in the order of their tags. A field that does not exist in the version written
/// must have its default, unless it is ignorable.
macro_rules! message {
    (
        $(#[$struct_meta:meta])*
        $name:ident, versions $min:literal..=$max:literal, flexible from $flexible:literal {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $type:ty = $default:expr, $since:literal $(..=$until:literal)? $(as $ignorable:ident)?
                $(, tag $tag:literal)?;
            )*
        }
    ) => {
        $(#[$struct_meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl kafka_protocol::protocol::Message for $name {
            const VERSIONS: kafka_protocol::protocol::VersionRange =
                kafka_protocol::protocol::VersionRange { min: $min, max: $max };
            const DEPRECATED_VERSIONS: Option<kafka_protocol::protocol::VersionRange> = None;
        }

        impl kafka_protocol::protocol::Encodable for $name {
            fn encode<B: kafka_protocol::protocol::buf::ByteBufMut>(
                &self,
                buffer: &mut B,
                version: i16,
            ) -> anyhow::Result<()> {
                crate::wire::message::Field::put(self, buffer, Self::format(version))
            }
            fn compute_size(&self, version: i16) -> anyhow::Result<usize> {
                crate::wire::message::Field::size(self, Self::format(version))
            }
        }

        impl kafka_protocol::protocol::Decodable for $name {
            fn decode<B: kafka_protocol::protocol::buf::ByteBuf>(
                buffer: &mut B,
                version: i16,
            ) -> anyhow::Result<Self> {
                crate::wire::message::Field::get(buffer, Self::format(version))
            }
        }

        #[allow(unused, clippy::float_cmp)]
        impl $name {
            fn format(version: i16) -> crate::wire::message::Format {
                crate::wire::message::Format { version, flexible: version >= $flexible }
            }

            /// The message in `version` as Kafka's tools print it (`JsonConverter`).
            pub fn to_json(&self, version: i16) -> String {
                let mut out = String::new();
                crate::wire::message::Field::json(self, &mut out, version);
                out
            }

            /// Refuses versions that do not exist, and values that the version has no place for.
            fn check(&self, version: i16) -> anyhow::Result<()> {
                if !($min..=$max).contains(&version) {
                    anyhow::bail!(concat!(stringify!($name), " has no version {}"), version);
                }
                $({
                    let until: Option<i16> = None$(.or(Some($until)))?;
                    let ignorable = message!(@ignorable $($ignorable)?);
                    if !ignorable && !crate::wire::message::exists(version, $since, until) {
                        let default: $type = $default;
                        if self.$field != default {
                            anyhow::bail!(
                                concat!(stringify!($name), " v{} has no ", stringify!($field)),
                                version
                            );
                        }
                    }
                })*
                Ok(())
            }
        }

        #[allow(unused, clippy::float_cmp, clippy::absurd_extreme_comparisons)]
        impl crate::wire::message::Field for $name {
            fn put<B: kafka_protocol::protocol::buf::ByteBufMut>(
                &self,
                buffer: &mut B,
                format: crate::wire::message::Format,
            ) -> anyhow::Result<()> {
                use crate::wire::message::{Field, exists, put_unsigned_varint};
                let version = format.version;
                self.check(version)?;
                let mut tagged = 0_u32;
                $({
                    let until: Option<i16> = None$(.or(Some($until)))?;
                    let tag: Option<u32> = None$(.or(Some($tag)))?;
                    if exists(version, $since, until) {
                        if tag.is_none() {
                            self.$field.put(buffer, format)?;
                        } else {
                            let default: $type = $default;
                            tagged += u32::from(self.$field != default);
                        }
                    }
                })*
                if format.flexible {
                    put_unsigned_varint(buffer, tagged);
                    $($({
                        let default: $type = $default;
                        if exists(version, $since, None) && self.$field != default {
                            put_unsigned_varint(buffer, $tag);
                            put_unsigned_varint(buffer, u32::try_from(self.$field.size(format)?)?);
                            self.$field.put(buffer, format)?;
                        }
                    })?)*
                }
                Ok(())
            }

            fn size(&self, format: crate::wire::message::Format) -> anyhow::Result<usize> {
                use crate::wire::message::{Field, exists, unsigned_varint_size};
                let version = format.version;
                self.check(version)?;
                let mut size = 0;
                let mut tagged = 0_u32;
                $({
                    let until: Option<i16> = None$(.or(Some($until)))?;
                    let tag: Option<u32> = None$(.or(Some($tag)))?;
                    let default: $type = $default;
                    match tag {
                        _ if !exists(version, $since, until) => {}
                        None => size += self.$field.size(format)?,
                        Some(tag) if self.$field != default => {
                            let length = self.$field.size(format)?;
                            tagged += 1;
                            size += unsigned_varint_size(tag) + unsigned_varint_size(u32::try_from(length)?) + length;
                        }
                        Some(_) => {}
                    }
                })*
                Ok(size + if format.flexible { unsigned_varint_size(tagged) } else { 0 })
            }

            fn get<B: kafka_protocol::protocol::buf::ByteBuf>(
                buffer: &mut B,
                format: crate::wire::message::Format,
            ) -> anyhow::Result<Self> {
                use crate::wire::message::{Field, exists, skip, take_unsigned_varint};
                let version = format.version;
                let mut message = Self::default();
                if !($min..=$max).contains(&version) {
                    anyhow::bail!(concat!(stringify!($name), " has no version {}"), version);
                }
                $({
                    let until: Option<i16> = None$(.or(Some($until)))?;
                    let tag: Option<u32> = None$(.or(Some($tag)))?;
                    if tag.is_none() && exists(version, $since, until) {
                        message.$field = Field::get(buffer, format)?;
                    }
                })*
                if format.flexible {
                    for _ in 0..take_unsigned_varint(buffer)? {
                        let tag = take_unsigned_varint(buffer)?;
                        let size = take_unsigned_varint(buffer)?;
                        match tag {
                            $($(
                                $tag if exists(version, $since, None) => {
                                    message.$field = Field::get(buffer, format)?;
                                }
                            )?)*
                            _ => skip(buffer, size)?,
                        }
                    }
                }
                Ok(message)
            }

            fn json(&self, out: &mut String, version: i16) {
                use crate::wire::message::{Field, exists};
                let mut is_first = true;
                out.push('{');
                $({
                    let until: Option<i16> = None$(.or(Some($until)))?;
                    let tag: Option<u32> = None$(.or(Some($tag)))?;
                    let default: $type = $default;
                    if exists(version, $since, until) && (tag.is_none() || self.$field != default) {
                        crate::wire::json::put_name(out, &mut is_first, stringify!($field));
                        self.$field.json(out, version);
                    }
                })*
                out.push('}');
            }
        }
    };
    (@ignorable) => { false };
    (@ignorable ignorable) => { true };
}

pub(super) use message;
