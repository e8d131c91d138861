//! Fetch requests and answers by hand, with or without a session.

use anyhow::{Context, Result, ensure};

use super::connection::CLIENT_ID;

/// Names topics by their id, has no replica state.
const VERSION: i16 = 13;
const FETCH_KEY: i16 = 1;

/// What every fetch of a consumer asks for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `fetch.max.wait.ms`.
    pub max_wait_ms: i32,
    /// `fetch.min.bytes`.
    pub min_bytes: i32,
    /// `fetch.max.bytes`.
    pub max_bytes: i32,
    /// `max.partition.fetch.bytes`.
    pub partition_max_bytes: i32,
}

/// A consumer of some partitions of one topic.
pub struct Fetcher {
    topic_id: [u8; 16],
    limits: Limits,
    /// By partition: the offset to fetch next, or None where another consumer reads.
    positions: Vec<Option<i64>>,
    session: Option<Session>,
    frame: Vec<u8>,
}

#[derive(Default)]
struct Session {
    id: i32,
    epoch: i32,
    /// Partitions whose position the broker does not know.
    moved: Vec<i32>,
}

impl Fetcher {
    /// A consumer that stands at the beginning of these partitions.
    pub fn new(topic_id: [u8; 16], partitions: impl Iterator<Item = i32>, limits: Limits, session: bool) -> Self {
        let mut positions = Vec::new();
        for partition in partitions {
            let at = partition as usize;
            positions.resize(positions.len().max(at + 1), None);
            positions[at] = Some(0);
        }
        Self { topic_id, limits, positions, session: session.then(Session::default), frame: Vec::new() }
    }

    /// Where it stands.
    pub fn position(&self, partition: i32) -> Option<i64> {
        self.positions.get(partition as usize).copied().flatten()
    }

    /// Moves on.
    pub fn advance(&mut self, partition: i32, offset: i64) {
        if let Some(position) = self.positions.get_mut(partition as usize) {
            *position = Some(offset);
        }
        if let Some(session) = &mut self.session {
            session.moved.push(partition);
        }
    }

    /// The next request.
    pub fn request(&mut self, correlation_id: i32) -> &[u8] {
        let mut named: Vec<i32> = Vec::new();
        let (mut id, mut epoch) = (0, -1);
        match &mut self.session {
            Some(session) if session.id != 0 => {
                (id, epoch) = (session.id, session.epoch);
                named.append(&mut session.moved);
                session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
            }
            other => {
                if let Some(session) = other {
                    epoch = 0;
                    session.moved.clear();
                }
                named.extend((0..).zip(&self.positions).filter(|(_, at)| at.is_some()).map(|(partition, _)| partition));
            }
        }
        self.encode(correlation_id, id, epoch, &named);
        &self.frame
    }

    fn encode(&mut self, correlation_id: i32, session_id: i32, session_epoch: i32, named: &[i32]) {
        let Limits { max_wait_ms, min_bytes, max_bytes, partition_max_bytes } = self.limits;
        let frame = &mut self.frame;
        frame.clear();
        frame.extend([0; 4]);
        frame.extend(FETCH_KEY.to_be_bytes());
        frame.extend(VERSION.to_be_bytes());
        frame.extend(correlation_id.to_be_bytes());
        frame.extend((CLIENT_ID.len() as i16).to_be_bytes());
        frame.extend(CLIENT_ID.as_bytes());
        frame.push(0);
        for word in [-1, max_wait_ms, min_bytes, max_bytes] {
            frame.extend(word.to_be_bytes());
        }
        frame.push(0);
        frame.extend(session_id.to_be_bytes());
        frame.extend(session_epoch.to_be_bytes());
        if named.is_empty() {
            frame.push(1);
        } else {
            frame.push(2);
            frame.extend(self.topic_id);
            length(frame, named.len());
            for partition in named {
                let position = self.positions[*partition as usize].unwrap_or(0);
                frame.extend(partition.to_be_bytes());
                frame.extend((-1i32).to_be_bytes());
                frame.extend(position.to_be_bytes());
                frame.extend((-1i32).to_be_bytes());
                frame.extend((-1i64).to_be_bytes());
                frame.extend(partition_max_bytes.to_be_bytes());
                frame.push(0);
            }
            frame.push(0);
        }
        // No forgotten topics, no rack, no tags.
        frame.extend([1, 1, 0]);
        let size = frame.len() as u32 - 4;
        frame[..4].copy_from_slice(&size.to_be_bytes());
    }

    /// Reads an answer: each partition with the bytes of its records goes to `each`.
    ///
    /// # Errors
    /// The answer is malformed or has an error code, or `each` fails.
    pub fn answer(&mut self, answer: &[u8], mut each: impl FnMut(&mut Self, Fetched<'_>) -> Result<()>) -> Result<()> {
        let mut rest = Reader(answer);
        rest.skip(4 + 1 + 4)?;
        let error = rest.i16()?;
        ensure!(error == 0, "fetch was refused with error {error}");
        let session_id = rest.i32()?;
        if let Some(session) = &mut self.session
            && session.id != session_id
        {
            ensure!(session_id != 0 && session.id == 0, "the broker gave session {session_id} for {}", session.id);
            (session.id, session.epoch) = (session_id, 1);
        }
        for _ in 0..rest.length()? {
            rest.skip(16)?;
            for _ in 0..rest.length()? {
                let fetched = Fetched::read(&mut rest)?;
                each(self, fetched)?;
            }
            rest.tags()?;
        }
        rest.tags()
    }
}

/// What was fetched from a partition.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// Which.
    pub partition: i32,
    /// Batches; the last may be cut off.
    pub records: &'a [u8],
}

impl<'a> Fetched<'a> {
    fn read(rest: &mut Reader<'a>) -> Result<Self> {
        let partition = rest.i32()?;
        let error = rest.i16()?;
        ensure!(error == 0, "partition {partition}: fetch was refused with error {error}");
        rest.skip(8 + 8 + 8)?;
        for _ in 0..rest.length()? {
            rest.skip(8 + 8)?;
            rest.tags()?;
        }
        rest.skip(4)?;
        let bytes = rest.length()?;
        let records = rest.take(bytes)?;
        rest.tags()?;
        Ok(Self { partition, records })
    }
}

fn length(out: &mut Vec<u8>, count: usize) {
    let mut rest = count + 1;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Reads from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("a short answer")?;
        self.0 = rest;
        Ok(taken)
    }

    fn skip(&mut self, count: usize) -> Result<()> {
        self.take(count).map(drop)
    }

    fn word<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (word, rest) = self.0.split_first_chunk().context("a short answer")?;
        self.0 = rest;
        Ok(*word)
    }

    fn i16(&mut self) -> Result<i16> {
        self.word().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32> {
        self.word().map(i32::from_be_bytes)
    }

    fn varint(&mut self) -> Result<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.word()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        anyhow::bail!("a length without an end")
    }

    /// The length of a compact field; null counts as empty.
    fn length(&mut self) -> Result<usize> {
        Ok(self.varint()?.saturating_sub(1))
    }

    fn tags(&mut self) -> Result<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let size = self.varint()?;
            self.skip(size)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, Bytes, BytesMut};
    use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::{FetchRequest, FetchResponse, RequestHeader, ResponseHeader};
    use kafka_protocol::protocol::{Decodable, Encodable};
    use uuid::Uuid;

    use super::*;

    const LIMITS: Limits = Limits { max_wait_ms: 500, min_bytes: 1, max_bytes: 50, partition_max_bytes: 20 };

    fn decode(frame: &[u8]) -> FetchRequest {
        let mut bytes = Bytes::copy_from_slice(frame);
        assert_eq!(bytes.get_i32() as usize, bytes.len());
        let header = RequestHeader::decode(&mut bytes, 2).expect("a header");
        assert_eq!((header.request_api_key, header.correlation_id), (FETCH_KEY, 9));
        let request = FetchRequest::decode(&mut bytes, VERSION).expect("a request");
        assert!(bytes.is_empty());
        request
    }

    fn answer(session: i32) -> BytesMut {
        let aborted = AbortedTransaction::default().with_producer_id(1.into()).with_first_offset(2);
        let partition = PartitionData::default()
            .with_partition_index(2)
            .with_high_watermark(8)
            .with_aborted_transactions(Some(vec![aborted]))
            .with_records(Some(Bytes::from(vec![5; 300])));
        let empty = PartitionData::default().with_partition_index(0);
        let topic =
            FetchableTopicResponse::default().with_topic_id(Uuid::from_u128(3)).with_partitions(vec![partition, empty]);
        let mut bytes = BytesMut::new();
        ResponseHeader::default().with_correlation_id(9).encode(&mut bytes, 1).expect("a header");
        let response = FetchResponse::default().with_session_id(session).with_responses(vec![topic]);
        response.encode(&mut bytes, VERSION).expect("an answer");
        bytes
    }

    #[test]
    fn without_a_session_every_request_names_every_partition() {
        let mut fetcher = Fetcher::new([3; 16], [0, 2].into_iter(), LIMITS, false);
        let mut seen = Vec::new();
        for _ in 0..2 {
            let request = decode(fetcher.request(9));
            assert_eq!((request.session_id, request.session_epoch, request.max_wait_ms), (0, -1, 500));
            assert_eq!(request.topics[0].partitions.len(), 2);
            assert_eq!(request.topics[0].topic_id.into_bytes(), [3; 16]);
            let read = fetcher.answer(&answer(0), |fetcher, fetched| {
                seen.push((fetched.partition, fetched.records.len()));
                fetcher.advance(fetched.partition, 4);
                Ok(())
            });
            read.expect("an answer");
        }
        assert_eq!(seen[..2], [(2, 300), (0, 0)]);
        assert_eq!(fetcher.position(2), Some(4));
        assert_eq!(fetcher.position(1), None);
    }

    #[test]
    fn in_a_session_only_what_moved_is_named() {
        let mut fetcher = Fetcher::new([3; 16], 0..3, LIMITS, true);
        let request = decode(fetcher.request(9));
        assert_eq!((request.session_id, request.session_epoch), (0, 0));
        assert_eq!(request.topics[0].partitions.len(), 3);
        let read = fetcher.answer(&answer(7), |fetcher, fetched| {
            fetcher.advance(fetched.partition, 4);
            Ok(())
        });
        read.expect("an answer");
        let request = decode(fetcher.request(9));
        assert_eq!((request.session_id, request.session_epoch), (7, 1));
        assert_eq!(request.topics[0].partitions.len(), 2);
        assert_eq!(request.topics[0].partitions[0].fetch_offset, 4);
        fetcher.answer(&answer(7), |_, _| Ok(())).expect("an answer");
        let request = decode(fetcher.request(9));
        assert_eq!((request.session_epoch, request.topics.len()), (2, 0));
        assert!(fetcher.answer(&answer(8), |_, _| Ok(())).is_err(), "another session");
    }
}
