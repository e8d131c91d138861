//! Headers, frames, answers and consumer protocol, at their edges.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as m;
use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition;
use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

use super::api_keys::{API_KEYS, find, name, request_header_version};
use super::consumer_protocol::*;
use super::*;

fn header(bytes: &[u8]) -> Result<(RequestHeader, Bytes), WireError> {
    let mut frame = Bytes::copy_from_slice(bytes);
    RequestHeader::decode(&mut frame).map(|header| (header, frame))
}

#[test]
fn request_header_v1_and_v2() {
    let (first, body) = header(b"\x00\x03\x00\x08\x00\x00\x00\x07\x00\x02mebody").expect("v1");
    let expected = RequestHeader { api_key: 3, api_version: 8, correlation_id: 7, client_id: Some(Arc::from("me")) };
    assert_eq!((first, &body[..]), (expected, &b"body"[..]));
    let (second, body) = header(b"\x00\x03\x00\x09\xff\xff\xff\xff\xff\xff\x00body").expect("v2");
    assert_eq!((second.correlation_id, second.client_id, &body[..]), (-1, None, &b"body"[..]));
    // A tagged field that nobody knows: tag 5, two bytes.
    let (_, body) = header(b"\x00\x03\x00\x09\x00\x00\x00\x00\x00\x00\x01\x05\x02zzbody").expect("v2 with a tag");
    assert_eq!(&body[..], b"body");
    // ApiVersions in a version that does not exist has header v2 all the same.
    let (_, body) = header(b"\x00\x12\x00\x63\x00\x00\x00\x00\xff\xff\x00body").expect("v99");
    assert_eq!(&body[..], b"body");
    assert_eq!(peek_api([0, 18, 0, 99]), (18, 99));
}

#[test]
fn request_headers_like_the_codec_writes_them() {
    for api in API_KEYS {
        for version in [0, api.flexible_from.unwrap_or(0)] {
            let header_version = api.request_header_version(version);
            let written = m::RequestHeader::default()
                .with_request_api_key(api.key)
                .with_request_api_version(version)
                .with_correlation_id(42)
                .with_client_id(Some("rdkafka".into()));
            let mut frame = encode_message(&written, header_version).expect("encodes");
            let read = RequestHeader::decode(&mut frame).expect("decodes");
            assert_eq!((read.api_key, read.api_version, read.correlation_id), (api.key, version, 42));
            assert_eq!((read.client_id.as_deref(), frame.len()), (Some("rdkafka"), 0), "{}", api.name);
        }
    }
}

#[test]
fn headers_that_are_none() {
    let honest = b"\x00\x03\x00\x09\x00\x00\x00\x07\x00\x02me\x01\x05\x02zz";
    for length in 0..honest.len() {
        assert!(matches!(header(&honest[..length]), Err(WireError::Header(_))), "cut at {length}");
    }
    assert_eq!(header(b"\x00\x5f\x00\x00\x00\x00\x00\x00\xff\xff"), Err(WireError::UnknownApiKey(95)));
    assert_eq!(header(b"\xff\xff\x00\x00\x00\x00\x00\x00\xff\xff"), Err(WireError::UnknownApiKey(-1)));
    assert!(header(b"\x00\x03\x00\x00\x00\x00\x00\x00\xff\xfe").is_err(), "length -2");
    assert!(header(b"\x00\x03\x00\x00\x00\x00\x00\x00\x7f\xff").is_err(), "a lying length");
    assert!(header(b"\x00\x03\x00\x09\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\x0f").is_err(), "lying tags");
    assert!(header(b"\x00\x03\x00\x09\x00\x00\x00\x00\xff\xff\x01\x05\xff\xff\xff\xff\x07").is_err(), "a lying tag");
}

#[test]
fn the_client_id_of_the_request_before_is_reused() {
    let known = Arc::from("me");
    let mut frame = Bytes::from_static(b"\x00\x03\x00\x08\x00\x00\x00\x07\x00\x02me");
    let header = RequestHeader::decode_reusing(&mut frame.clone(), Some(&known)).expect("decodes");
    assert!(header.client_id.is_some_and(|client_id| Arc::ptr_eq(&client_id, &known)));
    let other = Arc::from("you");
    let header = RequestHeader::decode_reusing(&mut frame, Some(&other)).expect("decodes");
    assert_eq!(header.client_id, Some(known));
}

#[test]
fn keys_are_known_and_sorted() {
    assert!(API_KEYS.windows(2).all(|pair| pair[0].key < pair[1].key));
    assert_eq!(
        (name(0), name(18), name(75), name(5)),
        (Some("Produce"), Some("ApiVersions"), Some("DescribeTopicPartitions"), None)
    );
    assert_eq!(find(47).expect("OffsetDelete").flexible_from, None);
    assert_eq!((request_header_version(17, 1), request_header_version(18, 3)), (Ok(1), Ok(2)));
}

#[test]
fn frame_lengths() {
    let limits = FrameLimits::with_request_max(1000);
    assert_eq!(limits.length(1000_i32.to_be_bytes(), true), Ok(1000));
    assert_eq!(limits.length(0_i32.to_be_bytes(), true), Ok(0));
    let refused = |length: i64, limit| Err(WireError::FrameTooLarge { length, limit });
    assert_eq!(limits.length(1001_i32.to_be_bytes(), true), refused(1001, 1000));
    assert_eq!(limits.length((-1_i32).to_be_bytes(), true), refused(-1, 1000));
    assert_eq!(limits.length(i32::MIN.to_be_bytes(), true), refused(i64::from(i32::MIN), 1000));

    let limits = FrameLimits::default();
    let mebibyte = 1024 * 1024;
    assert_eq!((limits.produce, limits.other, limits.unauthenticated), (100 * mebibyte, 16 * mebibyte, mebibyte / 2));
    assert_eq!(limits.check(100 * mebibyte, 0, true), Ok(100 * mebibyte));
    assert_eq!(limits.check(100 * mebibyte, 3, true), refused(100 * 1024 * 1024, 16 * mebibyte));
    assert_eq!(limits.check(16 * mebibyte, 3, true), Ok(16 * mebibyte));
    assert_eq!(limits.check(mebibyte, 0, false), refused(1024 * 1024, mebibyte / 2));
    assert!(limits.length((mebibyte as i32).to_be_bytes(), false).is_err());
}

fn answer_is_framed<R: Encodable + Decodable + HeaderVersion + Default + PartialEq + std::fmt::Debug + 'static>(
    version: i16,
) {
    let response = R::default();
    let frame = encode_response(&response, version, 0x0102_0304).expect("encodes");
    let length = i32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
    assert_eq!(length as usize, frame.len() - 4);
    assert_eq!(frame[4..8], [1, 2, 3, 4]);
    let header_version = R::header_version(version);
    let body = frame.slice(4 + response_header_size(header_version)..);
    let started = start_response::<R>(version, 0x0102_0304, body.len(), 0).expect("starts");
    assert_eq!(started, frame[..frame.len() - body.len()]);
    assert_eq!(decode_guarded::<R>(body, version).expect("decodes"), response);
}

#[test]
fn answers_are_framed() {
    answer_is_framed::<m::MetadataResponse>(8);
    answer_is_framed::<m::MetadataResponse>(9);
    answer_is_framed::<m::FetchResponse>(12);
    answer_is_framed::<m::OffsetDeleteResponse>(0);
    // ApiVersions has response header v0 in every version.
    for version in 0..=4 {
        answer_is_framed::<m::ApiVersionsResponse>(version);
        assert_eq!(m::ApiVersionsResponse::header_version(version), 0);
    }
    let refused = encode_response(&m::MetadataResponse::default(), 99, 1);
    assert!(matches!(refused, Err(WireError::Unencodable(_))));
    assert!(start_response::<m::FetchResponse>(12, 1, usize::MAX / 2, 0).is_err());
    let mut buffer = BytesMut::new();
    put_response_header(&mut buffer, 1, 5);
    assert_eq!(&buffer[..], [0, 0, 0, 5, 0]);
}

#[test]
fn subscriptions_of_all_versions_and_of_the_future() {
    let owned = TopicPartition::default().with_topic(TopicName("a".into())).with_partitions(vec![0, 1]);
    for version in 0..=3 {
        let mut subscription = ConsumerProtocolSubscription::default().with_topics(vec!["a".into(), "b".into()]);
        if version >= 1 {
            subscription.owned_partitions = vec![owned.clone()];
        }
        let bytes = encode_subscription(&subscription, version).expect("encodes");
        assert_eq!(decode_subscription(&bytes), Ok(subscription));
    }
    // Version 9 is read as 3; what it adds at the end is ignored.
    let subscription = ConsumerProtocolSubscription::default().with_topics(vec!["a".into()]);
    let bytes = encode_subscription(&subscription, 3).expect("encodes");
    let future = Bytes::from([&[0, 9], &bytes[2..], &[1, 2, 3]].concat());
    assert_eq!(decode_subscription(&future), Ok(subscription));
    for bad in
        [&b""[..], b"\x00", b"\xff\xff\x00\x00\x00\x00", b"\x00\x00\x7f\xff\xff\xff", b"\x00\x00\x00\x00\x00\x01"]
    {
        assert!(decode_subscription(&Bytes::copy_from_slice(bad)).is_err(), "{bad:02x?}");
    }
    let assignment = ConsumerProtocolAssignment::default().with_user_data(Some(Bytes::from_static(b"x")));
    let bytes = encode_assignment(&assignment, 3).expect("encodes");
    assert_eq!(decode_assignment(&bytes), Ok(assignment));
}

#[test]
fn owned_text_does_not_pin_the_frame() {
    let frame = Bytes::from_static(b"orders");
    let name = TopicName(frame.try_into().expect("text"));
    let kept: Arc<str> = owned(&name);
    assert_eq!((&*kept, owned_option(None)), ("orders", None));
    assert_eq!(owned_option(Some(&name)).as_deref(), Some("orders"));
    assert_eq!(&*str_bytes(&kept), "orders");
}
