//! Produce requests of one batch that are encoded once and then only stamped.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::batch::Template;
use super::connection::encode;

/// What librdkafka 2.12 speaks; names topics, not their ids.
const VERSION: i16 = 10;
/// Tags of the partition, of the topic and of the request.
const BEHIND_BATCH: usize = 3;
const CORRELATION_ID: usize = 8;

/// A whole request frame around a batch.
#[derive(Clone)]
pub struct ProduceFrame {
    bytes: Vec<u8>,
    template: Template,
    partition_at: usize,
    batch_at: usize,
    answer: AnswerShape,
}

/// Where the answer to a request of one partition has what.
#[derive(Clone, Copy, Debug)]
pub struct AnswerShape {
    partition_at: usize,
}

/// The answer to a request of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which request.
    pub correlation_id: i32,
    /// Which partition.
    pub partition: i32,
    /// 0 is none.
    pub error: i16,
    /// Offset of the first record.
    pub base_offset: i64,
}

impl ProduceFrame {
    /// A frame for a topic. The batch goes to partition 0 until it is stamped.
    pub fn new(topic: &str, acks: i16, template: Template) -> Result<Self> {
        ensure!(topic.len() < 127, "a topic name of {} bytes", topic.len());
        ensure!(acks == 1 || acks == -1, "acks is 1 or -1");
        let partition =
            PartitionProduceData::default().with_index(0).with_records(Some(Bytes::copy_from_slice(template.bytes())));
        let data = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![data]);
        let bytes = encode(VERSION, 0, &request)?;
        let batch_at = bytes.len() - BEHIND_BATCH - template.bytes().len();
        ensure!(&bytes[batch_at..bytes.len() - BEHIND_BATCH] == template.bytes(), "the batch is elsewhere");
        // The length of a compact field is one more, seven bits a byte.
        let length_bytes = (64 - (template.bytes().len() as u64 + 1).leading_zeros() as usize).div_ceil(7);
        let partition_at = batch_at - length_bytes - 4;
        // Correlation id, header tags, length of the topics; the name with its length; length of the partitions.
        let answer = AnswerShape { partition_at: 4 + 1 + 1 + 1 + topic.len() + 1 };
        Ok(Self { bytes, template, partition_at, batch_at, answer })
    }

    /// The frame with this stamp, to be sent.
    pub fn stamp(&mut self, correlation_id: i32, partition: i32, timestamp: i64, sequence: i32) -> &[u8] {
        self.bytes[CORRELATION_ID..CORRELATION_ID + 4].copy_from_slice(&correlation_id.to_be_bytes());
        self.bytes[self.partition_at..self.partition_at + 4].copy_from_slice(&partition.to_be_bytes());
        let end = self.bytes.len() - BEHIND_BATCH;
        self.template.stamp(&mut self.bytes[self.batch_at..end], timestamp, sequence);
        &self.bytes
    }

    /// Its batch.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The shape of its answer.
    pub fn answer(&self) -> AnswerShape {
        self.answer
    }
}

impl AnswerShape {
    /// Reads an answer.
    ///
    /// # Errors
    /// The answer is short or says that the batch was refused.
    pub fn read(&self, answer: &[u8]) -> Result<Answer> {
        let word = |at: usize| answer.get(at..).and_then(|rest| rest.first_chunk()).copied().context("a short answer");
        let partition = i32::from_be_bytes(word(self.partition_at)?);
        let correlation_id = i32::from_be_bytes(word(0)?);
        let [high, low, ..] = word(self.partition_at + 4)?;
        let error = i16::from_be_bytes([high, low]);
        ensure!(error == 0, "partition {partition}: produce was refused with error {error}");
        let offset =
            answer.get(self.partition_at + 6..).and_then(|rest| rest.first_chunk()).context("a short answer")?;
        Ok(Answer { correlation_id, partition, error, base_offset: i64::from_be_bytes(*offset) })
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, BytesMut};
    use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
    use kafka_protocol::messages::{ProduceResponse, RequestHeader, ResponseHeader};
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;
    use crate::bench::batch::{NOBODY, Seen};

    #[test]
    fn a_stamped_frame_decodes_to_what_it_was_stamped_with() {
        for value in [&[7u8; 100][..], &[7; 20_000]] {
            let template = Template::new(NOBODY, &[value]).expect("a batch");
            let mut frame = ProduceFrame::new("some-topic", -1, template).expect("a frame");
            let mut bytes = Bytes::copy_from_slice(frame.stamp(99, 5, 1234, 0));
            assert_eq!(bytes.get_i32() as usize, bytes.len());
            let header = RequestHeader::decode(&mut bytes, 2).expect("a header");
            assert_eq!(header.correlation_id, 99);
            let request = ProduceRequest::decode(&mut bytes, VERSION).expect("a request");
            assert!(bytes.is_empty());
            let partition = &request.topic_data[0].partition_data[0];
            assert_eq!(partition.index, 5);
            let records = partition.records.clone().expect("records");
            let seen = Seen::all(&records).next().expect("a batch");
            assert!(seen.intact() && seen.base_timestamp() == 1234);
        }
    }

    #[test]
    fn an_answer_is_read_at_its_place() {
        let frame =
            ProduceFrame::new("some-topic", 1, Template::new(NOBODY, &[b"x"]).expect("a batch")).expect("a frame");
        let answer = |error| {
            let partition =
                PartitionProduceResponse::default().with_index(4).with_error_code(error).with_base_offset(77);
            let topic = TopicProduceResponse::default()
                .with_name(TopicName(StrBytes::from_static_str("some-topic")))
                .with_partition_responses(vec![partition]);
            let mut bytes = BytesMut::new();
            ResponseHeader::default().with_correlation_id(6).encode(&mut bytes, 1).expect("a header");
            ProduceResponse::default().with_responses(vec![topic]).encode(&mut bytes, VERSION).expect("an answer");
            bytes
        };
        let read = frame.answer().read(&answer(0)).expect("an answer");
        assert_eq!(read, Answer { correlation_id: 6, partition: 4, error: 0, base_offset: 77 });
        assert!(frame.answer().read(&answer(3)).is_err());
    }
}
