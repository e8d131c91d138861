//! Requests changed on their way, so that a broker that is right looks wrong: the proof that the checker works in a live run.

/// A change to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// EndTxn: the other result. What a client was told is committed is aborted, and the other way round.
    OtherResult,
    /// Fetch: read_uncommitted instead of read_committed.
    Uncommitted,
    /// TxnOffsetCommit: another group.
    OtherGroup,
}

impl Lie {
    /// The API that it changes.
    pub fn api(self) -> i16 {
        match self {
            Self::OtherResult => 26,
            Self::Uncommitted => 1,
            Self::OtherGroup => 28,
        }
    }

    /// Changes a frame (with its length); whether it could.
    pub fn change(self, frame: &mut [u8]) -> bool {
        self.place(frame).is_some_and(|at| match self {
            Self::OtherResult => flip(frame, at, 1),
            Self::Uncommitted => frame.get(at) == Some(&1) && flip(frame, at, 1),
            Self::OtherGroup => flip(frame, at, 1),
        })
    }

    fn place(self, frame: &[u8]) -> Option<usize> {
        let version = version(frame)?;
        match self {
            // The last byte, and behind it from version 3 on the empty list of tagged fields.
            Self::OtherResult => frame.len().checked_sub(if version >= 3 { 2 } else { 1 }),
            // Behind max wait, min bytes and max bytes; up to version 14 the replica id is in front of them.
            Self::Uncommitted => Some(body(frame, version >= 12)? + if version <= 14 { 16 } else { 12 }),
            Self::OtherGroup => {
                let transactional_id = body(frame, version >= 3)?;
                let group = after_string(frame, transactional_id, version >= 3)?;
                // The last letter of the group.
                Some(after_string(frame, group, version >= 3)? - 1)
            }
        }
    }
}

fn flip(frame: &mut [u8], at: usize, bit: u8) -> bool {
    frame.get_mut(at).map(|byte| *byte ^= bit).is_some()
}

fn version(frame: &[u8]) -> Option<i16> {
    Some(i16::from_be_bytes(frame.get(6..8)?.try_into().ok()?))
}

/// Where the body begins: behind length, key, version, correlation id, client id and, in a flexible header, its tagged fields.
fn body(frame: &[u8], flexible: bool) -> Option<usize> {
    let client_id = i16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    Some(14 + usize::try_from(client_id).unwrap_or(0) + usize::from(flexible))
}

fn after_string(frame: &[u8], at: usize, compact: bool) -> Option<usize> {
    if compact {
        // Names of the workload are shorter than 127 bytes.
        Some(at + usize::from(*frame.get(at)?).max(1))
    } else {
        let length = i16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?);
        Some(at + 2 + usize::try_from(length).unwrap_or(0))
    }
}

/// The acks of a Produce request.
pub fn produce_acks(frame: &[u8]) -> Option<i16> {
    let flexible = version(frame)? >= 9;
    let at = after_string(frame, body(frame, flexible)?, flexible)?;
    Some(i16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::{
        EndTxnRequest, FetchRequest, ProduceRequest, RequestHeader, TxnOffsetCommitRequest,
    };
    use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

    use super::*;

    fn frame<T: Request>(request: &T, version: i16) -> Vec<u8> {
        let mut body = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(T::KEY)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("client")));
        header.encode(&mut body, T::header_version(version)).expect("a header");
        request.encode(&mut body, version).expect("a request");
        [&(body.len() as u32).to_be_bytes(), &body[..]].concat()
    }

    fn changed<T: Request + HeaderVersion>(lie: Lie, request: &T, version: i16) -> T {
        let mut frame = frame(request, version);
        assert!(lie.change(&mut frame));
        let mut body = Bytes::from(frame).slice(4..);
        RequestHeader::decode(&mut body, T::header_version(version)).expect("a header");
        T::decode(&mut body, version).expect("a request")
    }

    #[test]
    fn only_what_the_lie_is_about_changes() {
        for version in 0..=5 {
            let id = StrBytes::from_static_str("some-id");
            let request = EndTxnRequest::default().with_transactional_id(id.clone().into()).with_committed(true);
            let expected = request.clone().with_committed(false);
            assert_eq!(changed(Lie::OtherResult, &request, version), expected, "EndTxn {version}");
            let request = TxnOffsetCommitRequest::default()
                .with_transactional_id(id.into())
                .with_group_id(StrBytes::from_static_str("group-a").into());
            let expected = request.clone().with_group_id(StrBytes::from_static_str("group-`").into());
            assert_eq!(changed(Lie::OtherGroup, &request, version), expected, "TxnOffsetCommit {version}");
        }
        for version in 4..=17 {
            let request = FetchRequest::default().with_isolation_level(1).with_max_wait_ms(77);
            let expected = request.clone().with_isolation_level(0);
            assert_eq!(changed(Lie::Uncommitted, &request, version), expected, "Fetch {version}");
        }
        for version in 3..=13 {
            let id = StrBytes::from_static_str("some-id");
            let request = ProduceRequest::default().with_acks(-1).with_transactional_id(Some(id.into()));
            assert_eq!(produce_acks(&frame(&request, version)), Some(-1), "Produce {version}");
            let request = ProduceRequest::default().with_acks(0);
            assert_eq!(produce_acks(&frame(&request, version)), Some(0), "Produce {version}");
        }
    }
}
