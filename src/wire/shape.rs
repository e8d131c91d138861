//! Walks over the body of a request without decoding it: whether its lengths are true, and how much memory its decoded
//! form would take. Nothing is allocated.
//!
//! `request_shapes.txt` has a request a paragraph: key, name, first flexible version, fields. A field is `name:size` (a
//! fixed number of bytes), `name:s` (string), `name:b` (bytes), `name[fields]` or `name[:type]` (array), `name{fields}`
//! (struct), `name?{fields}` (struct that may be null); then `@versions` unless it is in all, and `#tag` when tagged. It
//! says of Kafka's `clients/src/main/resources/common/message/*Request.json` what a walk has to know.

use std::sync::LazyLock;

use super::WireError;

static SHAPES: LazyLock<Vec<Option<RequestShape>>> = LazyLock::new(|| {
    let mut shapes = Vec::new();
    for shape in parse_requests(include_str!("request_shapes.txt")).expect("request_shapes.txt is well formed") {
        let index = usize::from(shape.key.unsigned_abs());
        shapes.resize_with(shapes.len().max(index + 1), || None);
        shapes[index] = Some(shape);
    }
    shapes
});

/// What decoding may take whatever the size of the frame, in bytes.
const MEMORY_BASE: usize = 16 * 1024 * 1024;
/// What decoding may take for each byte of the frame.
const MEMORY_FACTOR: usize = 10;

// What the codec's types take in memory besides the frame, rounded up.
const STRUCT_MEMORY: usize = 128;
const TEXT_MEMORY: usize = 32;
/// The first node of the map that holds unknown tagged fields.
const UNKNOWN_TAGS_MEMORY: usize = 512;
const UNKNOWN_TAG_MEMORY: usize = 64;

/// The fields of a request, in all versions.
#[derive(Debug)]
pub(super) struct RequestShape {
    pub(super) key: i16,
    #[cfg_attr(not(test), expect(dead_code, reason = "names the request in tests"))]
    pub(super) name: String,
    /// `i16::MAX` when no version is.
    pub(super) flexible_from: i16,
    pub(super) fields: Vec<FieldShape>,
}

#[derive(Debug)]
pub(super) struct FieldShape {
    pub(super) shape: Shape,
    since: i16,
    until: i16,
    pub(super) tag: Option<u32>,
}

#[derive(Debug)]
pub(super) enum Shape {
    Fixed(usize),
    Text,
    Data,
    Array(Box<Shape>),
    Struct(Vec<FieldShape>),
    NullableStruct(Vec<FieldShape>),
}

/// The shape of an API's request; `None` when the table lacks it.
pub(super) fn request_shape(key: i16) -> Option<&'static RequestShape> {
    SHAPES.get(usize::try_from(key).ok()?)?.as_ref()
}

impl RequestShape {
    /// Walks over a body. Returns its length; what follows is nobody's. Fails where a length cannot be satisfied by the
    /// bytes that remain, and where the decoded form would take more than 16 MiB and ten times the body.
    pub(super) fn walk(&self, body: &[u8], version: i16) -> Result<usize, WireError> {
        let memory_left = MEMORY_BASE.saturating_add(body.len().saturating_mul(MEMORY_FACTOR));
        let mut walker = Walker { rest: body, version, flexible: version >= self.flexible_from, memory_left };
        walker.fields(&self.fields)?;
        Ok(body.len() - walker.rest.len())
    }
}

struct Walker<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    memory_left: usize,
}

impl Walker<'_> {
    fn fields(&mut self, fields: &[FieldShape]) -> Result<(), WireError> {
        for field in fields.iter().filter(|field| field.tag.is_none()) {
            if field.exists(self.version) {
                self.shape(&field.shape)?;
            }
        }
        if self.flexible { self.tagged_fields(fields) } else { Ok(()) }
    }

    fn tagged_fields(&mut self, fields: &[FieldShape]) -> Result<(), WireError> {
        let mut unknown = 0;
        for _ in 0..self.unsigned_varint()? {
            let tag = self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            let known = fields.iter().find(|field| field.tag == Some(tag) && field.exists(self.version));
            match known {
                // As the codec and Kafka do, without a look at the size.
                Some(field) => self.shape(&field.shape)?,
                None => {
                    self.take_memory(if unknown == 0 { UNKNOWN_TAGS_MEMORY } else { UNKNOWN_TAG_MEMORY })?;
                    unknown += 1;
                    self.skip(size)?;
                }
            }
        }
        Ok(())
    }

    fn shape(&mut self, shape: &Shape) -> Result<(), WireError> {
        match shape {
            Shape::Fixed(size) => self.skip(*size),
            Shape::Text => {
                let length = self.length(2)?.unwrap_or(0);
                self.skip(length)
            }
            Shape::Data => {
                let length = self.length(4)?.unwrap_or(0);
                self.skip(length)
            }
            Shape::Struct(fields) => self.fields(fields),
            Shape::NullableStruct(fields) => {
                let marker = self.take(1)?;
                if marker == [1] { self.fields(fields) } else { Ok(()) }
            }
            Shape::Array(element) => self.array(element),
        }
    }

    fn array(&mut self, element: &Shape) -> Result<(), WireError> {
        let Some(count) = self.length(4)? else { return Ok(()) };
        // The codec reserves for all elements before it reads the first: each takes a byte at least.
        if count > self.rest.len() {
            return Err(refused(format!("an array of {count} elements with {} bytes remaining", self.rest.len())));
        }
        if let Shape::Fixed(size) = element {
            return self.skip(count.saturating_mul(*size));
        }
        let element_memory = if matches!(element, Shape::Text) { TEXT_MEMORY } else { STRUCT_MEMORY };
        self.take_memory(count.saturating_mul(element_memory))?;
        (0..count).try_for_each(|_| self.shape(element))
    }

    /// A length; `None` is null. `plain_size` is the number of its bytes in a version that is not flexible.
    fn length(&mut self, plain_size: usize) -> Result<Option<usize>, WireError> {
        let length = if self.flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else {
            let bytes = self.take(plain_size)?;
            let negative = bytes[0] >= 0x80;
            bytes.iter().fold(if negative { -1 } else { 0 }, |value: i64, byte| (value << 8) | i64::from(*byte))
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(refused(format!("a length of {length}"))),
        }
    }

    fn unsigned_varint(&mut self) -> Result<u32, WireError> {
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u32::from(*byte));
        }
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = u32::from(self.take(1)?[0]);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(refused("a variable length integer of more than five bytes".to_owned()))
    }

    fn take(&mut self, size: usize) -> Result<&[u8], WireError> {
        match self.rest.split_at_checked(size) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(refused(format!("{size} bytes needed, {} remaining", self.rest.len()))),
        }
    }

    fn skip(&mut self, size: usize) -> Result<(), WireError> {
        self.take(size).map(|_| ())
    }

    fn take_memory(&mut self, bytes: usize) -> Result<(), WireError> {
        match self.memory_left.checked_sub(bytes) {
            Some(left) => {
                self.memory_left = left;
                Ok(())
            }
            None => Err(refused("more elements than a request of this size may have".to_owned())),
        }
    }
}

fn refused(message: String) -> WireError {
    WireError::Undecodable(message)
}

impl FieldShape {
    pub(super) fn exists(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }
}

/// Reads the table: lines that start with a blank go on with the request before.
fn parse_requests(table: &str) -> Option<Vec<RequestShape>> {
    table.replace("\n ", " ").lines().map(parse_request).collect()
}

fn parse_request(line: &str) -> Option<RequestShape> {
    let (start, fields) = line.split_once(':')?;
    let (key, start) = start.split_once(' ')?;
    let (name, flexible) = start.split_once(" flexible ")?;
    let flexible_from = if flexible == "never" { i16::MAX } else { flexible.parse().ok()? };
    let mut rest = fields;
    let fields = parse_fields(&mut rest)?;
    let complete = rest.trim().is_empty();
    complete.then_some(RequestShape { key: key.parse().ok()?, name: name.to_owned(), flexible_from, fields })
}

fn parse_fields(rest: &mut &str) -> Option<Vec<FieldShape>> {
    let mut fields = Vec::new();
    loop {
        *rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with([']', '}']) {
            return Some(fields);
        }
        let shape = parse_shape(rest)?;
        let versions = if eat(rest, "@") { word(rest) } else { "0+" };
        let (since, until) = parse_versions(versions)?;
        let tag = if eat(rest, "#") { Some(word(rest).parse().ok()?) } else { None };
        fields.push(FieldShape { shape, since, until, tag });
    }
}

fn parse_shape(rest: &mut &str) -> Option<Shape> {
    word(rest);
    let nullable = eat(rest, "?");
    if eat(rest, ":") {
        return parse_plain(rest);
    }
    if eat(rest, "{") {
        let fields = parse_fields(rest)?;
        let shape = if nullable { Shape::NullableStruct(fields) } else { Shape::Struct(fields) };
        return eat(rest, "}").then_some(shape);
    }
    if !eat(rest, "[") {
        return None;
    }
    let element = if eat(rest, ":") { parse_plain(rest)? } else { Shape::Struct(parse_fields(rest)?) };
    eat(rest, "]").then(|| Shape::Array(Box::new(element)))
}

fn parse_plain(rest: &mut &str) -> Option<Shape> {
    match word(rest) {
        "s" => Some(Shape::Text),
        "b" => Some(Shape::Data),
        size => size.parse().ok().map(Shape::Fixed),
    }
}

fn parse_versions(versions: &str) -> Option<(i16, i16)> {
    if let Some(since) = versions.strip_suffix('+') {
        return Some((since.parse().ok()?, i16::MAX));
    }
    let (since, until) = versions.split_once('-').unwrap_or((versions, versions));
    Some((since.parse().ok()?, until.parse().ok()?))
}

fn eat(rest: &mut &str, expected: &str) -> bool {
    match rest.strip_prefix(expected) {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}

fn word<'a>(rest: &mut &'a str) -> &'a str {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-');
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    word
}
