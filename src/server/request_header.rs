//! The head of a request (Kafka: `RequestHeader`), read without allocating for what it announces.

use std::sync::Arc;

use bytes::{Buf, Bytes};

/// API key and version, which decide how the rest of the header looks; `None` when the frame is shorter.
pub fn api_key_and_version(frame: &[u8]) -> Option<(i16, i16)> {
    let (head, _) = frame.split_first_chunk::<4>()?;
    Some((i16::from_be_bytes([head[0], head[1]]), i16::from_be_bytes([head[2], head[3]])))
}

/// The rest of a request's header.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Returned unchanged in the answer.
    pub correlation_id: i32,
    /// The client's name for itself, owned.
    pub client_id: Option<Arc<str>>,
}

/// Takes the header off the frame; `None` when it is not one. `known` is the last client id of this connection, reused
/// when it is the same.
pub fn take(frame: &mut Bytes, header_version: i16, known: Option<&Arc<str>>) -> Option<RequestHeader> {
    frame.try_get_i32().ok()?;
    let correlation_id = frame.try_get_i32().ok()?;
    let client_id = match frame.try_get_i16().ok()? {
        -1 => None,
        length => {
            let length = usize::try_from(length).ok()?;
            let text = std::str::from_utf8(frame.get(..length)?).ok()?;
            let client_id = match known {
                Some(known) if known.as_ref() == text => Arc::clone(known),
                _ => Arc::from(text),
            };
            frame.advance(length);
            Some(client_id)
        }
    };
    if header_version >= 2 {
        skip_tagged_fields(frame)?;
    }
    Some(RequestHeader { correlation_id, client_id })
}

fn skip_tagged_fields(frame: &mut Bytes) -> Option<()> {
    for _ in 0..take_varint(frame)? {
        take_varint(frame)?;
        let length = usize::try_from(take_varint(frame)?).ok()?;
        if frame.len() < length {
            return None;
        }
        frame.advance(length);
    }
    Some(())
}

fn take_varint(frame: &mut Bytes) -> Option<u32> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = frame.try_get_u8().ok()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(rest: &[u8]) -> Bytes {
        Bytes::from([&[0, 3, 0, 9, 0, 0, 0, 7], rest].concat())
    }

    #[test]
    fn both_versions_are_read() {
        let mut first = frame(&[0, 2, b'm', b'e', 1, 2]);
        assert_eq!(api_key_and_version(&first), Some((3, 9)));
        let header = take(&mut first, 1, None).expect("a header");
        assert_eq!((header.correlation_id, header.client_id.as_deref()), (7, Some("me")));
        assert_eq!(&first[..], [1, 2]);
        let mut second = frame(&[255, 255, 1, 5, 2, 9, 9, 1]);
        let header = take(&mut second, 2, None).expect("a header");
        assert_eq!(header, RequestHeader { correlation_id: 7, client_id: None });
        assert_eq!(&second[..], [1]);
    }

    #[test]
    fn lies_are_no_headers() {
        assert!(api_key_and_version(&[0, 3, 0]).is_none());
        for rest in [&[][..], &[0], &[0, 9, b'm'], &[255, 254], &[0, 1, 0xff]] {
            assert!(take(&mut frame(rest), 1, None).is_none(), "{rest:?}");
        }
        for tagged in [&[][..], &[255, 255, 255, 255, 255, 1], &[255, 255, 255, 255, 15], &[1, 0, 5, 1]] {
            assert!(take(&mut frame(&[&[255, 255], tagged].concat()), 2, None).is_none(), "{tagged:?}");
        }
    }
}
