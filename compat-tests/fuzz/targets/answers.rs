//! What brokers and members wrote, read through the clamping buffer: answers, subscriptions, assignments.
//! The first byte chooses which, the second the version.
#![no_main]

mod memory;

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Decodable, Message};
use libfuzzer_sys::fuzz_target;
use ottla::wire::consumer_protocol::{decode_assignment, decode_subscription};
use ottla::wire::decode_guarded;

fn answer<T: Message + Decodable>(bytes: Bytes, version: u8) {
    let count = T::VERSIONS.max - T::VERSIONS.min + 1;
    let _ = decode_guarded::<T>(bytes, T::VERSIONS.min + i16::from(version) % count);
}

fuzz_target!(|data: &[u8]| {
    let [choice, version, rest @ ..] = data else { return };
    let bytes = Bytes::copy_from_slice(rest);
    match choice % 16 {
        0 => drop(decode_subscription(&bytes)),
        1 => drop(decode_assignment(&bytes)),
        2 => answer::<m::ApiVersionsResponse>(bytes, *version),
        3 => answer::<m::MetadataResponse>(bytes, *version),
        4 => answer::<m::FetchResponse>(bytes, *version),
        5 => answer::<m::ProduceResponse>(bytes, *version),
        6 => answer::<m::ListOffsetsResponse>(bytes, *version),
        7 => answer::<m::JoinGroupResponse>(bytes, *version),
        8 => answer::<m::DescribeGroupsResponse>(bytes, *version),
        9 => answer::<m::CreateTopicsResponse>(bytes, *version),
        10 => answer::<m::DescribeConfigsResponse>(bytes, *version),
        11 => answer::<m::OffsetForLeaderEpochResponse>(bytes, *version),
        12 => answer::<m::FetchSnapshotResponse>(bytes, *version),
        13 => answer::<m::BrokerRegistrationResponse>(bytes, *version),
        14 => answer::<m::AllocateProducerIdsResponse>(bytes, *version),
        _ => answer::<m::DescribeClusterResponse>(bytes, *version),
    }
});
