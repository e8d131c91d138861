//! Produce and Fetch as clients of today send them: read in one pass that trusts no length, where every other request is
//! walked by its shape and then decoded.
//!
//! What these readers give is what the codec crate would (tests compare the two). Whatever is unusual, a tagged field, an old
//! version, a topic to forget, many partitions, a length that lies, is `None`: the walk and the codec then decide.

use std::any::Any;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{FetchRequest, ProduceRequest, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// Topics and partitions of one request at most: what is decoded takes no more memory than a walked request may.
const ELEMENTS_MAX: usize = 4096;

/// First version of Produce with compact lengths.
const PRODUCE_FLEXIBLE: i16 = 9;
/// First version of Produce with topic ids.
const PRODUCE_TOPIC_IDS: i16 = 13;
/// First version of Fetch with compact lengths.
const FETCH_FLEXIBLE: i16 = 12;
/// First version of Fetch with topic ids.
const FETCH_TOPIC_IDS: i16 = 13;
/// First version of Fetch that has the replica's id in a tagged field.
const FETCH_REPLICA_STATE: i16 = 15;
/// Last version of Fetch that is known: 18, which Java's consumers speak, has only another tagged field, for followers.
const FETCH_LAST: i16 = 18;

/// The request, if it is one of these and nothing about it is unusual. What it holds are slices of `body`.
pub(super) fn decode_usual<T: Any>(body: &Bytes, version: i16) -> Option<T> {
    let mut decoded: Option<T> = None;
    let slot: &mut dyn Any = &mut decoded;
    if let Some(slot) = slot.downcast_mut::<Option<ProduceRequest>>() {
        *slot = Reader::new(body).produce(version);
    } else if let Some(slot) = slot.downcast_mut::<Option<FetchRequest>>() {
        *slot = Reader::new(body).fetch(version);
    }
    decoded
}

/// Reads compact forms; `None` where the bytes do not hold what is asked for.
struct Reader<'a> {
    body: &'a Bytes,
    position: usize,
    elements_left: usize,
}

impl<'a> Reader<'a> {
    fn new(body: &'a Bytes) -> Self {
        Self { body, position: 0, elements_left: ELEMENTS_MAX }
    }

    fn produce(&mut self, version: i16) -> Option<ProduceRequest> {
        if !(PRODUCE_FLEXIBLE..=PRODUCE_TOPIC_IDS).contains(&version) {
            return None;
        }
        let mut request = ProduceRequest::default();
        request.transactional_id = match self.length()? {
            None => None,
            Some(length) => Some(TransactionalId(self.text(length)?)),
        };
        request.acks = i16::from_be_bytes(self.array()?);
        request.timeout_ms = self.int()?;
        request.topic_data = self.elements(|reader| reader.produce_topic(version))?;
        self.no_tags()?;
        Some(request)
    }

    fn produce_topic(&mut self, version: i16) -> Option<TopicProduceData> {
        let mut topic = TopicProduceData::default();
        match version >= PRODUCE_TOPIC_IDS {
            true => topic.topic_id = self.id()?,
            false => topic.name = self.name()?,
        }
        topic.partition_data = self.elements(|reader| {
            let mut partition = PartitionProduceData::default();
            partition.index = reader.int()?;
            partition.records = match reader.length()? {
                None => None,
                Some(length) => Some(reader.slice(length)?),
            };
            reader.no_tags()?;
            Some(partition)
        })?;
        self.no_tags()?;
        Some(topic)
    }

    fn fetch(&mut self, version: i16) -> Option<FetchRequest> {
        if !(FETCH_FLEXIBLE..=FETCH_LAST).contains(&version) {
            return None;
        }
        let mut request = FetchRequest::default();
        if version < FETCH_REPLICA_STATE {
            request.replica_id = self.int()?.into();
        }
        request.max_wait_ms = self.int()?;
        request.min_bytes = self.int()?;
        request.max_bytes = self.int()?;
        request.isolation_level = i8::from_be_bytes(self.array()?);
        request.session_id = self.int()?;
        request.session_epoch = self.int()?;
        request.topics = self.elements(|reader| {
            let mut topic = FetchTopic::default();
            match version >= FETCH_TOPIC_IDS {
                true => topic.topic_id = reader.id()?,
                false => topic.topic = reader.name()?,
            }
            topic.partitions = reader.elements(Self::fetch_partition)?;
            reader.no_tags()?;
            Some(topic)
        })?;
        let forgotten = self.length()??;
        if forgotten > 0 {
            return None;
        }
        let rack = self.length()??;
        request.rack_id = self.text(rack)?;
        self.no_tags()?;
        Some(request)
    }

    fn fetch_partition(&mut self) -> Option<FetchPartition> {
        let mut partition = FetchPartition::default();
        partition.partition = self.int()?;
        partition.current_leader_epoch = self.int()?;
        partition.fetch_offset = i64::from_be_bytes(self.array()?);
        partition.last_fetched_epoch = self.int()?;
        partition.log_start_offset = i64::from_be_bytes(self.array()?);
        partition.partition_max_bytes = self.int()?;
        self.no_tags()?;
        Some(partition)
    }

    /// An array that may not be null.
    fn elements<E>(&mut self, mut element: impl FnMut(&mut Self) -> Option<E>) -> Option<Vec<E>> {
        let count = self.length()??;
        self.elements_left = self.elements_left.checked_sub(count)?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Some(elements)
    }

    fn array<const SIZE: usize>(&mut self) -> Option<[u8; SIZE]> {
        let bytes = self.body.get(self.position..)?.first_chunk()?;
        self.position += SIZE;
        Some(*bytes)
    }

    fn int(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn id(&mut self) -> Option<Uuid> {
        self.array().map(Uuid::from_bytes)
    }

    fn name(&mut self) -> Option<TopicName> {
        let length = self.length()??;
        self.text(length).map(TopicName)
    }

    fn text(&mut self, length: usize) -> Option<StrBytes> {
        if length == 0 {
            return Some(StrBytes::default());
        }
        StrBytes::from_utf8(self.slice(length)?).ok()
    }

    fn slice(&mut self, length: usize) -> Option<Bytes> {
        let end = self.position.checked_add(length)?;
        if end > self.body.len() {
            return None;
        }
        let slice = self.body.slice(self.position..end);
        self.position = end;
        Some(slice)
    }

    /// No tagged field.
    fn no_tags(&mut self) -> Option<()> {
        let [count] = self.array()?;
        (count == 0).then_some(())
    }

    /// A compact length; `Some(None)` is null.
    fn length(&mut self) -> Option<Option<usize>> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((value as usize).checked_sub(1));
            }
        }
        // 256 MiB or more is nothing usual.
        None
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::protocol::{Decodable, Encodable};
    use proptest::prelude::*;

    use super::*;

    fn body(request: &impl Encodable, version: i16) -> Bytes {
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes, version).expect("a request");
        bytes.freeze()
    }

    fn produce(version: i16, transactional_id: Option<String>, topics: Vec<(String, Vec<Option<Vec<u8>>>)>) -> Bytes {
        let topics = topics.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().enumerate().map(|(index, records)| {
                PartitionProduceData::default().with_index(index as i32).with_records(records.map(Bytes::from))
            });
            let topic = TopicProduceData::default().with_partition_data(partitions.collect());
            match version >= PRODUCE_TOPIC_IDS {
                true => topic.with_topic_id(Uuid::from_u128(name.len() as u128)),
                false => topic.with_name(TopicName(StrBytes::from_string(name))),
            }
        });
        let request = ProduceRequest::default()
            .with_transactional_id(transactional_id.map(|id| TransactionalId(StrBytes::from_string(id))))
            .with_acks(-1)
            .with_timeout_ms(1234)
            .with_topic_data(topics.collect());
        body(&request, version)
    }

    fn fetch(version: i16, rack: String, topics: Vec<(String, Vec<(i32, i64)>)>) -> Bytes {
        let topics = topics.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(number, offset)| {
                FetchPartition::default()
                    .with_partition(number)
                    .with_current_leader_epoch(number.wrapping_add(1))
                    .with_fetch_offset(offset)
                    .with_last_fetched_epoch(number.wrapping_sub(1))
                    .with_log_start_offset(offset.wrapping_sub(7))
                    .with_partition_max_bytes(number)
            });
            let topic = FetchTopic::default().with_partitions(partitions.collect());
            match version >= FETCH_TOPIC_IDS {
                true => topic.with_topic_id(Uuid::from_u128(name.len() as u128)),
                false => topic.with_topic(TopicName(StrBytes::from_string(name))),
            }
        });
        let mut request = FetchRequest::default()
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(50 << 20)
            .with_isolation_level(1)
            .with_session_id(77)
            .with_session_epoch(3)
            .with_topics(topics.collect())
            .with_rack_id(StrBytes::from_string(rack));
        if version < FETCH_REPLICA_STATE {
            request.replica_id = (-1).into();
        }
        body(&request, version)
    }

    /// What the codec makes of it, if it can.
    fn codec<T: Decodable>(body: &Bytes, version: i16) -> Option<T> {
        T::decode(&mut body.clone(), version).ok()
    }

    proptest! {
        #[test]
        fn a_produce_is_what_the_codec_says(
            version in 9_i16..=13,
            id in proptest::option::of(".{0,20}"),
            topics in prop::collection::vec(
                (".{0,9}", prop::collection::vec(proptest::option::of(prop::collection::vec(any::<u8>(), 0..300)), 0..4)), 0..4),
        ) {
            let body = produce(version, id, topics);
            let usual: Option<ProduceRequest> = decode_usual(&body, version);
            prop_assert!(usual.is_some());
            prop_assert_eq!(usual, codec(&body, version));
        }

        #[test]
        fn a_fetch_is_what_the_codec_says(
            version in 12_i16..=18,
            rack in ".{0,9}",
            topics in prop::collection::vec((".{0,9}", prop::collection::vec(any::<(i32, i64)>(), 0..4)), 0..4),
        ) {
            let body = fetch(version, rack, topics);
            let usual: Option<FetchRequest> = decode_usual(&body, version);
            prop_assert!(usual.is_some());
            prop_assert_eq!(usual, codec(&body, version));
        }

        /// Whatever is changed or cut: it is unusual, or the codec says the same.
        #[test]
        fn what_is_garbled_is_never_read_otherwise_than_by_the_codec(
            version in 9_i16..=18,
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in prop::bool::ANY,
        ) {
            let topics = vec![("one".to_owned(), vec![Some(vec![7; 130]), None]), ("two".to_owned(), vec![])];
            let garble = |body: Bytes| {
                let mut bytes = body.to_vec();
                let place = place.index(bytes.len());
                if cut { bytes.truncate(place) } else { bytes[place] = byte }
                Bytes::from(bytes)
            };
            if version <= PRODUCE_TOPIC_IDS {
                let body = garble(produce(version, Some("id".to_owned()), topics));
                if let Some(usual) = decode_usual::<ProduceRequest>(&body, version) {
                    prop_assert_eq!(Some(usual), codec(&body, version));
                }
            }
            if version >= FETCH_FLEXIBLE {
                let body = garble(fetch(version, "rack".to_owned(), vec![("one".to_owned(), vec![(0, 1), (2, 3)])]));
                if let Some(usual) = decode_usual::<FetchRequest>(&body, version) {
                    prop_assert_eq!(Some(usual), codec(&body, version));
                }
            }
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_codec() {
        let plain = produce(13, None, Vec::new());
        assert!(decode_usual::<ProduceRequest>(&plain, 8).is_none(), "a version without compact lengths");
        let tagged = ProduceRequest::default().with_unknown_tagged_field(9, Bytes::from_static(b"x"));
        assert!(decode_usual::<ProduceRequest>(&body(&tagged, 13), 13).is_none(), "a tagged field");
        let many = (0..=ELEMENTS_MAX as i32).map(|index| PartitionProduceData::default().with_index(index));
        let many = TopicProduceData::default().with_partition_data(many.collect());
        let many = ProduceRequest::default().with_topic_data(vec![many]);
        assert!(decode_usual::<ProduceRequest>(&body(&many, 13), 13).is_none(), "many partitions");
        assert!(decode_usual::<kafka_protocol::messages::HeartbeatRequest>(&plain, 4).is_none(), "another request");
    }
}
