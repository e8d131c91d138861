//! The chunks against the codec's bytes, for every version.

use bytes::Bytes;
use kafka_protocol::messages::fetch_response as codec;
use kafka_protocol::messages::{FetchResponse, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;

use super::*;
use crate::env::{Env, ManualClock, OpenMode};

const FILE_LEN: usize = 64 << 10;

fn file() -> Arc<dyn crate::env::DiskFile> {
    let env = Env::simulated(ManualClock::new(0), 1);
    env.disk.create_dir_all("/d".as_ref()).unwrap();
    let file = env.disk.open("/d/f".as_ref(), OpenMode::Truncate).unwrap();
    let bytes: Vec<u8> = (0..FILE_LEN).map(|index| (index * 31 % 251) as u8).collect();
    file.write_all_at(&bytes, 0).unwrap();
    file
}

fn bytes_of(response: &Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in &response.chunks {
        assert!(!chunk.is_empty(), "no empty chunks");
        match chunk {
            Chunk::Bytes(chunk) => bytes.extend_from_slice(chunk),
            Chunk::File { file, position, length } => {
                let mut part = vec![0; *length];
                file.read_exact_at(&mut part, *position).unwrap();
                bytes.extend(part);
            }
        }
    }
    bytes
}

fn codec_aborted(transactions: &AbortedTransactions) -> Option<Vec<codec::AbortedTransaction>> {
    let AbortedTransactions::List(transactions) = transactions else { return None };
    let transaction = |transaction: &AbortedTransaction| {
        codec::AbortedTransaction::default()
            .with_producer_id(transaction.producer_id.into())
            .with_first_offset(transaction.first_offset)
    };
    Some(transactions.iter().map(transaction).collect())
}

fn codec_partition(partition: &PartitionAnswer) -> codec::PartitionData {
    let records = partition.records.as_ref().map(|records| records.read().unwrap()).unwrap_or_default();
    let mut data = codec::PartitionData::default()
        .with_partition_index(partition.index)
        .with_error_code(partition.error_code)
        .with_high_watermark(partition.high_watermark)
        .with_last_stable_offset(partition.last_stable_offset)
        .with_log_start_offset(partition.log_start_offset)
        .with_aborted_transactions(codec_aborted(&partition.aborted_transactions))
        .with_preferred_read_replica((-1).into())
        .with_records(Some(Bytes::from(records)));
    if let Some((epoch, end_offset)) = partition.diverging_epoch {
        data.diverging_epoch = codec::EpochEndOffset::default().with_epoch(epoch).with_end_offset(end_offset);
    }
    if let Some((id, epoch)) = partition.current_leader {
        data.current_leader = codec::LeaderIdAndEpoch::default().with_leader_id(id.into()).with_leader_epoch(epoch);
    }
    data
}

fn codec_bytes(answer: &FetchAnswer, version: i16) -> Vec<u8> {
    let topics = answer.topics.iter().map(|topic| {
        codec::FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_string(topic.name.to_string())))
            .with_topic_id(topic.id)
            .with_partitions(topic.partitions.iter().map(codec_partition).collect())
    });
    let endpoints = answer.node_endpoints.iter().map(|endpoint| {
        codec::NodeEndpoint::default()
            .with_node_id(endpoint.id.into())
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.clone().map(StrBytes::from_string))
    });
    let response = FetchResponse::default()
        .with_error_code(answer.error_code)
        .with_session_id(if version >= 7 { answer.session_id } else { 0 })
        .with_responses(topics.collect())
        .with_node_endpoints(endpoints.collect());
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

fn aborted_strategy() -> impl Strategy<Value = AbortedTransactions> {
    let transaction =
        any::<(i64, i64)>().prop_map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset });
    proptest::option::of(proptest::collection::vec(transaction, 0..200))
        .prop_map(|list| list.map_or(AbortedTransactions::Null, AbortedTransactions::List))
}

fn partition_strategy() -> impl Strategy<Value = PartitionAnswer> {
    let records = proptest::option::of((0..FILE_LEN / 2, 0..FILE_LEN / 2));
    let tags = (proptest::option::of((0..9_i32, 0..99_i64)), proptest::option::of((0..9_i32, 0..9_i32)));
    (any::<i32>(), any::<i16>(), any::<[i64; 3]>(), tags, aborted_strategy(), records).prop_map(
        |(index, error_code, offsets, (diverging_epoch, current_leader), aborted_transactions, records)| {
            PartitionAnswer {
                index,
                error_code,
                high_watermark: offsets[0],
                last_stable_offset: offsets[1],
                log_start_offset: offsets[2],
                diverging_epoch,
                current_leader,
                aborted_transactions,
                records: records.map(|(position, length)| FileSlice {
                    file: file(),
                    position: position as u64,
                    length,
                }),
            }
        },
    )
}

fn answer_strategy() -> impl Strategy<Value = FetchAnswer> {
    let topic = ("[a-z]{1,200}", any::<u128>(), proptest::collection::vec(partition_strategy(), 0..5));
    let endpoint = (any::<i32>(), "[a-z.]{0,20}", any::<i32>(), proptest::option::of("[a-z]{0,9}"));
    let endpoints = proptest::collection::vec(endpoint, 0..3);
    (any::<i16>(), any::<i32>(), proptest::collection::vec(topic, 0..4), endpoints).prop_map(
        |(error_code, session_id, topics, endpoints)| FetchAnswer {
            error_code,
            session_id,
            topics: topics
                .into_iter()
                .map(|(name, id, partitions)| {
                    let (name, id, partitions) = (name.into(), Uuid::from_u128(id), partitions.into());
                    TopicAnswer { name, id, partitions }
                })
                .collect(),
            node_endpoints: endpoints
                .into_iter()
                .map(|(id, host, port, rack)| NodeEndpoint { id, host, port, rack })
                .collect(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn chunks_are_the_codec_s_bytes(answer in answer_strategy(), version in 4_i16..=18) {
        let wanted = codec_bytes(&answer, version);
        let response = answer.encode(version);
        prop_assert_eq!(response.len(), wanted.len());
        prop_assert_eq!(bytes_of(&response), wanted);
    }
}

#[test]
fn every_version_of_a_typical_answer() {
    for version in 4..=18 {
        let mut answer = FetchAnswer { session_id: 9, ..FetchAnswer::default() };
        let records = FileSlice { file: file(), position: 7, length: 20_000 };
        let good = PartitionAnswer { records: Some(records), ..PartitionAnswer::error(1, 0) };
        answer.push(&"t".into(), Uuid::from_u128(3), good);
        answer.push(&"t".into(), Uuid::from_u128(3), PartitionAnswer::error(2, 6));
        answer.push(&"u".into(), Uuid::from_u128(4), PartitionAnswer::error(0, 3));
        assert_eq!(answer.topics.len(), 2);
        let wanted = codec_bytes(&answer, version);
        let response = answer.encode(version);
        assert_eq!(response.chunks.len(), 3, "headers, records, headers");
        assert_eq!(bytes_of(&response), wanted, "v{version}");
    }
}
