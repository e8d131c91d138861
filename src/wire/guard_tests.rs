//! Honest requests of every API and version pass the guard unchanged; lying ones never make the codec reserve memory.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages as m;
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;

use super::every_request::{AnyRequest, every_request};
use super::shape::request_shape;
use super::{api_keys, decode_guarded, decode_request, encode_message};

fn every_version() -> impl Iterator<Item = (AnyRequest, i16)> {
    every_request().into_iter().flat_map(|request| {
        let (min, max) = (request.versions.min, request.versions.max);
        (min..=max).map(move |version| (AnyRequest { ..request }, version))
    })
}

#[test]
fn table_agrees_with_the_codec_and_the_keys() {
    let requests = every_request();
    assert!(requests.is_sorted_by_key(|request| request.key), "ascending keys");
    assert!(requests.len() > 80);
    for request in &requests {
        let api = api_keys::find(request.key).expect("a key");
        let shape = request_shape(request.key).expect("a shape");
        assert_eq!((shape.key, shape.name.as_str()), (api.key, api.name));
        assert_eq!(shape.flexible_from, api.flexible_from.unwrap_or(i16::MAX), "{}", api.name);
    }
}

#[test]
fn defaults_pass_in_every_version() {
    let mut seen = 0;
    for (request, version) in every_version() {
        let Some(body) = (request.default)(version) else { continue };
        let name = request.name();
        assert_eq!((request.recode)(body.clone(), version).as_ref(), Ok(&body), "{name} v{version}");
        assert_eq!((request.walk)(&body, version), Ok(body.len()), "{name} v{version}");
        assert_eq!((request.decode_clamped)(body.clone(), version), Ok(body.len()), "{name} v{version}");
        seen += 1;
    }
    assert!(seen > 200, "{seen} defaults");
}

#[test]
fn filled_requests_pass_in_every_version() {
    for (request, version) in every_version() {
        for seed in 0..20 {
            let body = request.sample(version, 0x5eed + 2 * seed);
            let context = format!("{} v{version}: {body:02x?}", request.name());
            assert_eq!((request.walk)(&body, version), Ok(body.len()), "{context}");
            assert_eq!((request.recode)(body.clone(), version).as_ref(), Ok(&body), "{context}");
            assert_eq!((request.decode_clamped)(body.clone(), version), Ok(body.len()), "{context}");
            // What follows is ignored, as Kafka does.
            let longer = Bytes::from([&body[..], &[1, 2, 3]].concat());
            assert_eq!((request.recode)(longer, version).as_ref(), Ok(&body), "{context}");
        }
    }
}

#[test]
fn cut_requests_are_refused_in_every_version() {
    for (request, version) in every_version() {
        let body = request.sample(version, 0xc07);
        for length in 0..body.len() {
            let cut = body.slice(..length);
            assert!((request.decode)(cut.clone(), version).is_err(), "{} v{version} cut at {length}", request.name());
            assert!((request.decode_clamped)(cut, version).is_err(), "{} v{version} cut at {length}", request.name());
        }
    }
}

/// Bytes that are likely to be taken for a length that lies.
const LIES: [&[u8]; 9] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0x7f, 0xff],
    &[0x7f],
    &[0, 1, 0, 0],
    &[0xff, 0xff, 0x03],
];

#[test]
fn metadata_v0_body_7fffffff() {
    let body = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    assert!(decode_request::<m::MetadataRequest>(body.clone(), 0).is_err());
    assert!(decode_guarded::<m::MetadataRequest>(body, 0).is_err());
}

#[test]
fn bodies_that_are_all_lie_in_every_version() {
    for (request, version) in every_version() {
        for lie in LIES {
            for padding in [0, 1, 2, 5, 40] {
                let body = Bytes::from([lie, &vec![0; padding]].concat());
                request.check(version, &body);
                let body = Bytes::from([&vec![0; padding], lie, lie].concat());
                request.check(version, &body);
            }
        }
    }
}

#[test]
fn lies_at_every_position_in_every_version() {
    for (request, version) in every_version() {
        let body = request.sample(version, 0x11e);
        for position in 0..body.len() {
            for lie in LIES {
                let mut lying = body.to_vec();
                let end = (position + lie.len()).min(lying.len());
                lying[position..end].copy_from_slice(&lie[..end - position]);
                request.check(version, &Bytes::from(lying));
            }
        }
    }
}

/// A Produce of the largest size whose count of topics is true by the byte but not by the element.
#[test]
fn as_many_elements_as_bytes_are_refused_before_memory_is_reserved() {
    let mut body = BytesMut::new();
    body.put_i16(-1);
    body.put_i16(1);
    body.put_i32(1000);
    let elements = 64 * 1024 * 1024;
    body.put_i32(elements);
    body.put_bytes(0, elements as usize);
    let error = decode_request::<m::ProduceRequest>(body.freeze(), 3).expect_err("refused");
    assert!(error.to_string().contains("more elements"), "{error}");
}

/// Unknown tagged fields go into a map: two bytes each on the wire.
#[test]
fn unknown_tagged_fields_are_counted() {
    let decode = |tags: u32| {
        // Metadata v12: no topics, two truth values, tagged fields.
        let mut body = BytesMut::from(&[1, 1, 0][..]);
        super::message::put_unsigned_varint(&mut body, tags);
        (0..tags).for_each(|tag| body.put_slice(&[(tag % 100) as u8 + 20, 0]));
        decode_request::<m::MetadataRequest>(body.freeze(), 12)
    };
    assert_eq!(decode(100).expect("decodes").unknown_tagged_fields.len(), 100);
    let error = decode(1_000_000).expect_err("refused");
    assert!(error.to_string().contains("more elements"), "{error}");
}

#[test]
fn honest_large_requests_pass() {
    let topics = |count: usize| {
        let topic = |index: usize| {
            let name = StrBytes::from_string(format!("t{index}"));
            m::metadata_request::MetadataRequestTopic::default().with_name(Some(TopicName(name)))
        };
        m::MetadataRequest::default().with_topics(Some((0..count).map(topic).collect()))
    };
    for (count, version) in [(100_000, 1), (100_000, 12)] {
        let request = topics(count);
        let body = encode_message(&request, version).expect("encodes");
        assert_eq!(decode_request::<m::MetadataRequest>(body, version), Ok(request));
    }
    let members = (0..50_000).map(|index| GroupId(StrBytes::from_string(format!("g{index}")))).collect();
    let request = m::DeleteGroupsRequest::default().with_groups_names(members);
    let body = encode_message(&request, 2).expect("encodes");
    assert_eq!(decode_request::<m::DeleteGroupsRequest>(body, 2), Ok(request));
}

#[test]
fn decoded_bytes_are_slices_of_the_frame() {
    let records = Bytes::from(vec![7; 4096]);
    let partition = m::produce_request::PartitionProduceData::default().with_records(Some(records));
    let topic = m::produce_request::TopicProduceData::default().with_partition_data(vec![partition]);
    let request = m::ProduceRequest::default().with_topic_data(vec![topic]);
    let body = encode_message(&request, 9).expect("encodes");
    let decoded = decode_request::<m::ProduceRequest>(body.clone(), 9).expect("decodes");
    let records = decoded.topic_data[0].partition_data[0].records.as_ref().expect("records");
    let frame = body.as_ptr_range();
    assert!(frame.contains(&records.as_ptr()), "not copied");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn mutated_requests_never_panic(seed in 1_u64.., flips in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..6)) {
        for (request, version) in every_version() {
            let mut body = request.sample(version, seed).to_vec();
            for (position, value) in &flips {
                let length = body.len();
                if length > 0 {
                    body[usize::from(*position) % length] = *value;
                }
            }
            request.check(version, &Bytes::from(body));
        }
    }

    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..64)) {
        let body = Bytes::from(body);
        for (request, version) in every_version() {
            request.check(version, &body);
        }
    }
}
