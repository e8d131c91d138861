//! The answer to Produce as it nearly always is, everything appended, in versions with compact lengths: written without the
//! codec, which makes, compares and drops a map for each tagged field that is not there.
//!
//! What is written is what the codec would write (a test compares the two). Anything else is the codec's.

use std::any::Any;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::ProduceResponse;
use kafka_protocol::messages::produce_response::{LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse};

/// Versions that are written here.
const VERSIONS: std::ops::RangeInclusive<i16> = 9..=13;
/// First version with topic ids instead of names.
const TOPIC_IDS: i16 = 13;
/// More elements need more than one byte of length.
const ELEMENTS_MAX: usize = 126;
/// Bytes of a partition's answer: index, error, three offsets and times, no record errors, no message, no tags.
const PARTITION_SIZE: usize = 4 + 2 + 3 * 8 + 3;

/// Writes the body, if it is the answer to a Produce and nothing about it is unusual; says whether it did.
pub(super) fn encode_usual<R: Any>(response: &R, buffer: &mut BytesMut, version: i16) -> bool {
    match (response as &dyn Any).downcast_ref::<ProduceResponse>() {
        Some(response) if VERSIONS.contains(&version) && is_usual(response) => {
            put_produce(response, buffer, version);
            true
        }
        _ => false,
    }
}

fn is_usual(response: &ProduceResponse) -> bool {
    response.responses.len() <= ELEMENTS_MAX
        && response.node_endpoints.is_empty()
        && response.unknown_tagged_fields.is_empty()
        && response.responses.iter().all(|topic| {
            topic.partition_responses.len() <= ELEMENTS_MAX
                && topic.name.len() <= ELEMENTS_MAX
                && topic.unknown_tagged_fields.is_empty()
                && topic.partition_responses.iter().all(is_usual_partition)
        })
}

fn is_usual_partition(partition: &PartitionProduceResponse) -> bool {
    let LeaderIdAndEpoch { leader_id, leader_epoch, unknown_tagged_fields, .. } = &partition.current_leader;
    partition.record_errors.is_empty()
        && partition.error_message.is_none()
        && partition.unknown_tagged_fields.is_empty()
        && (leader_id.0, *leader_epoch) == (-1, -1)
        && unknown_tagged_fields.is_empty()
}

fn put_produce(response: &ProduceResponse, buffer: &mut BytesMut, version: i16) {
    put_length(buffer, response.responses.len());
    for topic in &response.responses {
        put_topic(topic, buffer, version);
    }
    buffer.put_i32(response.throttle_time_ms);
    put_no_tags(buffer);
}

fn put_topic(topic: &TopicProduceResponse, buffer: &mut BytesMut, version: i16) {
    if version >= TOPIC_IDS {
        buffer.put_slice(topic.topic_id.as_bytes());
    } else {
        put_length(buffer, topic.name.len());
        buffer.put_slice(topic.name.as_bytes());
    }
    put_length(buffer, topic.partition_responses.len());
    for partition in &topic.partition_responses {
        let mut bytes = [0; PARTITION_SIZE];
        bytes[..4].copy_from_slice(&partition.index.to_be_bytes());
        bytes[4..6].copy_from_slice(&partition.error_code.to_be_bytes());
        bytes[6..14].copy_from_slice(&partition.base_offset.to_be_bytes());
        bytes[14..22].copy_from_slice(&partition.log_append_time_ms.to_be_bytes());
        bytes[22..30].copy_from_slice(&partition.log_start_offset.to_be_bytes());
        // No record errors: an array of none. No message, no tags: zeros.
        bytes[30] = 1;
        buffer.put_slice(&bytes);
    }
    put_no_tags(buffer);
}

/// A compact length of at most `ELEMENTS_MAX`.
fn put_length(buffer: &mut BytesMut, length: usize) {
    buffer.put_u8(length as u8 + 1);
}

fn put_no_tags(buffer: &mut BytesMut) {
    buffer.put_u8(0);
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::produce_response::{BatchIndexAndErrorMessage, NodeEndpoint};
    use kafka_protocol::protocol::{Encodable, StrBytes};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn topic(name: &str, partitions: Vec<PartitionProduceResponse>) -> TopicProduceResponse {
        TopicProduceResponse::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_topic_id(Uuid::from_u128(name.len() as u128))
            .with_partition_responses(partitions)
    }

    proptest! {
        #[test]
        fn the_answer_is_what_the_codec_writes(
            version in VERSIONS,
            throttle in any::<i32>(),
            topics in prop::collection::vec(
                ("[a-z]{0,200}", prop::collection::vec(any::<(i32, i16, i64, i64, i64)>(), 0..130)), 0..3),
        ) {
            let topics = topics.into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(index, error, base_offset, time, start)| {
                    PartitionProduceResponse::default()
                        .with_index(index)
                        .with_error_code(error)
                        .with_base_offset(base_offset)
                        .with_log_append_time_ms(time)
                        .with_log_start_offset(start)
                });
                topic(&name, partitions.collect())
            });
            let response = ProduceResponse::default().with_responses(topics.collect()).with_throttle_time_ms(throttle);
            let (mut usual, mut codec) = (BytesMut::new(), BytesMut::new());
            let long = response.responses.iter().any(|topic| topic.name.len() > 126 || topic.partition_responses.len() > 126);
            prop_assert_eq!(encode_usual(&response, &mut usual, version), !long);
            response.encode(&mut codec, version).expect("an answer");
            prop_assert!(long || usual == codec);
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_codec() {
        let plain = PartitionProduceResponse::default;
        let leader = LeaderIdAndEpoch::default().with_leader_id(1.into());
        let unusual = [
            plain().with_current_leader(leader),
            plain().with_error_message(Some(StrBytes::from_static_str("message"))),
            plain().with_record_errors(vec![BatchIndexAndErrorMessage::default()]),
        ];
        let mut answers: Vec<ProduceResponse> = unusual
            .into_iter()
            .map(|partition| ProduceResponse::default().with_responses(vec![topic("name", vec![partition])]))
            .collect();
        answers.push(ProduceResponse::default().with_node_endpoints(vec![NodeEndpoint::default()]));
        for answer in answers {
            let mut buffer = BytesMut::new();
            assert!(!encode_usual(&answer, &mut buffer, 13), "{answer:?}");
            assert!(buffer.is_empty());
        }
        assert!(!encode_usual(&ProduceResponse::default(), &mut BytesMut::new(), 8), "lengths are not compact");
    }
}
