//! A transactional producer of the raw client: every transaction API in the shapes of both generations, each request lost,
//! repeated or sent twice now and then, with what must be answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest,
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, TransactionalId,
    TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};

use super::batches::{self, Writer};
use super::history::{Function, Outcome};
use super::raw::{Manner, Raw};
use super::workload::{Place, Setting};
use crate::campaign::Random;

/// How long a request is tried again.
const PATIENCE: Duration = Duration::from_secs(8);

/// Error codes that ask for another try.
const RETRIABLE: [i16; 12] = [3, 5, 6, 7, 13, 14, 15, 16, 19, 51, 56, 88];
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
pub(super) const INVALID_PRODUCER_EPOCH: i16 = 47;
pub(super) const INVALID_TXN_STATE: i16 = 48;
pub(super) const PRODUCER_FENCED: i16 = 90;
pub(super) const TRANSACTION_ABORTABLE: i16 = 120;

/// The generation of the transaction protocol that a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Partitions are added by the client.
    One,
    /// KIP-890: partitions are added by the first Produce, and each end raises the epoch.
    Two,
}

/// Why a request came to nothing.
#[derive(Clone, Debug)]
pub enum Ended {
    /// Nobody knows whether it happened.
    Lost,
    /// It was refused with this code. `uncertain`: an earlier try may have happened.
    Refused {
        /// The error code.
        code: i16,
        /// Whether an earlier try had no answer.
        uncertain: bool,
    },
}

/// The final answer to a request.
pub(super) struct Answered<R> {
    first: R,
    /// To the same request once more, when the manner was to send it twice.
    second: Option<R>,
    /// Whether an earlier try had no answer.
    uncertain: bool,
}

/// Asks until there is an answer that is not "try again".
pub(super) fn ask<T: Request>(
    raw: &mut Raw,
    random: &mut Random,
    manner: Manner,
    (version, request): (i16, &T),
    code: impl Fn(&T::Response) -> i16,
) -> Result<Answered<T::Response>, Ended> {
    let started = Instant::now();
    let mut uncertain = false;
    if manner == Manner::LoseAndRepeat {
        uncertain = true;
        // Whether it was sent is as unknown as what came of it.
        let _ = raw.lose(version, request, random);
    }
    let mut first = None;
    while started.elapsed() < PATIENCE {
        match raw.call(version, request) {
            Err(_) => uncertain = true,
            Ok(response) if RETRIABLE.contains(&code(&response)) => {}
            Ok(response) => {
                let failed = code(&response) != 0;
                if failed && first.is_none() {
                    return Err(Ended::Refused { code: code(&response), uncertain });
                }
                match first.take() {
                    None if manner == Manner::Twice => {
                        first = Some(response);
                        raw.disconnect();
                        continue;
                    }
                    None => return Ok(Answered { first: response, second: None, uncertain }),
                    Some(first) => return Ok(Answered { first, second: Some(response), uncertain }),
                }
            }
        }
        std::thread::sleep(random.between(Duration::from_millis(10), Duration::from_millis(60)));
    }
    first.map(|first| Answered { first, second: None, uncertain: true }).ok_or(Ended::Lost)
}

/// One life of a transactional producer.
pub struct Session {
    /// Name in the history.
    pub process: String,
    /// The generation that it speaks.
    pub generation: Generation,
    /// Its transaction time-out.
    pub timeout: Duration,
    /// Records are refused when the transaction is older: what is refused then is as it should be.
    began: Instant,
    /// Somebody else has its transactional id: everything must be refused.
    pub fenced: bool,
    /// An InitProducerId of its own had no answer: coming late, it fences this producer.
    suspect: bool,
    /// A Produce of the first generation had no answer. Coming late, between two transactions, it leaves its sequence number
    /// with the partition's verification (`VerificationStateEntry.lowestSequence`), and the next batch is out of order.
    stray: bool,
    setting: Arc<Setting>,
    raw: Raw,
    random: Random,
    transactional_id: StrBytes,
    producer_id: i64,
    epoch: i16,
    /// Of the transaction before, while it has the same producer id.
    stale_epoch: Option<i16>,
    sequences: HashMap<Place, i32>,
    added: Vec<Place>,
}

impl Session {
    /// Nothing is sent yet.
    pub fn new(setting: &Arc<Setting>, process: String, transactional_id: &str, mut random: Random) -> Self {
        let generation = if random.percent(50) { Generation::One } else { Generation::Two };
        Self {
            generation,
            timeout: random.between(Duration::from_secs(3), Duration::from_secs(6)),
            began: Instant::now(),
            fenced: false,
            suspect: false,
            stray: false,
            setting: Arc::clone(setting),
            raw: Raw::new(&setting.address, &process),
            process,
            random,
            transactional_id: StrBytes::from_string(transactional_id.to_owned()),
            producer_id: -1,
            epoch: -1,
            stale_epoch: None,
            sequences: HashMap::new(),
            added: Vec::new(),
        }
    }

    fn ask<T: Request>(
        &mut self,
        manner: Manner,
        version: i16,
        request: &T,
        code: impl Fn(&T::Response) -> i16,
    ) -> Result<Answered<T::Response>, Ended> {
        let result = ask(&mut self.raw, &mut self.random, manner, (version, request), code);
        if let Err(Ended::Refused { code, .. }) = &result {
            self.refused(T::KEY, version, *code);
        }
        result
    }

    fn any<const N: usize>(&mut self, versions: [i16; N]) -> i16 {
        versions[self.random.below(N as u64) as usize]
    }

    fn id(&self) -> TransactionalId {
        self.transactional_id.clone().into()
    }

    /// Writes down an answer that is not one of the right ones.
    pub fn unexpected(&self, text: impl std::fmt::Display) {
        let Self { process, transactional_id, producer_id, epoch, generation, .. } = self;
        let text = format!("{transactional_id} {producer_id}:{epoch} generation {generation:?}: {text}");
        self.setting.recorder.note(process, Function::Answer, Outcome::Fail, Vec::new(), text);
    }

    fn may_be_fenced(&self) -> bool {
        self.fenced || self.suspect || self.began.elapsed() > self.timeout.mul_f64(0.7)
    }

    /// A refusal is right only for a producer that was fenced, by somebody or by its transaction's age.
    fn refused(&self, key: i16, version: i16, code: i16) {
        let fencing = [INVALID_PRODUCER_EPOCH, PRODUCER_FENCED, INVALID_TXN_STATE, TRANSACTION_ABORTABLE];
        let known = fencing.contains(&code) && self.may_be_fenced();
        let is_stray = self.stray && code == OUT_OF_ORDER_SEQUENCE_NUMBER;
        if !known && !is_stray {
            self.unexpected(format!("API {key} version {version}: error {code}"));
        }
    }

    /// InitProducerId: the epoch rises, or the producer id is another.
    pub fn initialize(&mut self) -> Result<(), Ended> {
        let manner = Manner::any(&mut self.random);
        let version = self.any([2, 3, 4, 5]);
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.id()))
            .with_transaction_timeout_ms(self.timeout.as_millis() as i32)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answered = self.ask(manner, version, &request, |response| response.error_code)?;
        self.suspect = answered.uncertain;
        let mut identities = self.setting.identities.lock().expect("not poisoned");
        for response in [Some(answered.first), answered.second].into_iter().flatten() {
            if response.error_code != 0 {
                drop(identities);
                self.unexpected(format!("InitProducerId again: error {}", response.error_code));
                return Err(Ended::Lost);
            }
            let now = (i64::from(response.producer_id), response.producer_epoch);
            let before = identities.insert(self.transactional_id.to_string(), now);
            if before.is_some_and(|before| before.0 == now.0 && before.1 >= now.1) {
                self.unexpected(format!("InitProducerId: {now:?} after {before:?}"));
            }
            (self.producer_id, self.epoch) = now;
        }
        self.sequences.clear();
        Ok(())
    }

    /// KIP-360: between transactions a producer raises its own epoch; the repeated request gets the same answer.
    pub fn raise_epoch(&mut self) -> Result<(), Ended> {
        let manner = Manner::any(&mut self.random);
        let version = self.any([3, 4, 5]);
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.id()))
            .with_transaction_timeout_ms(self.timeout.as_millis() as i32)
            .with_producer_id(self.producer_id.into())
            .with_producer_epoch(self.epoch);
        self.began = Instant::now();
        let code = |response: &InitProducerIdResponse| response.error_code;
        let answered = match ask(&mut self.raw, &mut self.random, manner, (version, &request), code) {
            Ok(answered) => answered,
            Err(ended) => {
                // A restarted coordinator does not know the epoch before the last: the log has no place for it.
                if let Ended::Refused { code, uncertain } = &ended
                    && !(*uncertain && [INVALID_PRODUCER_EPOCH, PRODUCER_FENCED].contains(code))
                {
                    self.refused(InitProducerIdRequest::KEY, version, *code);
                }
                return Err(ended);
            }
        };
        let identity = |response: &InitProducerIdResponse| {
            (response.error_code, i64::from(response.producer_id), response.producer_epoch)
        };
        let (_, producer_id, epoch) = identity(&answered.first);
        if let Some(second) = &answered.second
            && identity(second) != (0, producer_id, epoch)
            && !(answered.uncertain && second.error_code != 0)
        {
            self.unexpected(format!("a repeated bump: {:?} after {producer_id}:{epoch}", identity(second)));
        }
        if producer_id == self.producer_id && epoch <= self.epoch {
            self.unexpected(format!("a bump: {producer_id}:{epoch}"));
        }
        (self.producer_id, self.epoch) = (producer_id, epoch);
        self.setting
            .identities
            .lock()
            .expect("not poisoned")
            .insert(self.transactional_id.to_string(), (producer_id, epoch));
        self.sequences.clear();
        Ok(())
    }

    /// A transaction begins, here: nothing is sent.
    pub fn begin(&mut self) {
        self.began = Instant::now();
        self.added.clear();
    }

    fn added_topics(places: &[Place]) -> Vec<AddPartitionsToTxnTopic> {
        let topic = |place: &Place| {
            AddPartitionsToTxnTopic::default().with_name(place.topic_name()).with_partitions(vec![place.partition])
        };
        places.iter().map(topic).collect()
    }

    /// AddPartitionsToTxn, as clients send it (0–3) or as brokers do (4, 5).
    fn add_partition(&mut self, place: Place) -> Result<(), Ended> {
        let manner = Manner::any(&mut self.random);
        let version = self.any([0, 1, 2, 3, 3, 3, 4, 5]);
        let topics = Self::added_topics(&[place]);
        let request = if version >= 4 {
            AddPartitionsToTxnRequest::default().with_transactions(vec![self.transaction(topics, false)])
        } else {
            AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(self.id())
                .with_v3_and_below_producer_id(self.producer_id.into())
                .with_v3_and_below_producer_epoch(self.epoch)
                .with_v3_and_below_topics(topics)
        };
        let answered = self.ask(manner, version, &request, added_code)?;
        if let Some(code) = answered.second.as_ref().map(added_code).filter(|code| *code != 0) {
            self.unexpected_repeat("AddPartitionsToTxn", code);
        }
        Ok(())
    }

    fn transaction(&self, topics: Vec<AddPartitionsToTxnTopic>, verify_only: bool) -> AddPartitionsToTxnTransaction {
        AddPartitionsToTxnTransaction::default()
            .with_transactional_id(self.id())
            .with_producer_id(self.producer_id.into())
            .with_producer_epoch(self.epoch)
            .with_verify_only(verify_only)
            .with_topics(topics)
    }

    /// What brokers ask before the first append: whether a partition is in the transaction. Nothing changes.
    pub fn verify(&mut self, place: Place) -> Result<(), Ended> {
        let version = self.any([4, 5]);
        let transaction = self.transaction(Self::added_topics(&[place]), true);
        let request = AddPartitionsToTxnRequest::default().with_transactions(vec![transaction]);
        let expected = self.added.contains(&place);
        let result = ask(&mut self.raw, &mut self.random, Manner::Once, (version, &request), added_code);
        let code = match result {
            Ok(_) => 0,
            Err(Ended::Refused { code, .. }) => code,
            Err(Ended::Lost) => return Err(Ended::Lost),
        };
        let aged = self.may_be_fenced();
        let refusals = [INVALID_TXN_STATE, TRANSACTION_ABORTABLE];
        if !aged && (expected != (code == 0) || !(code == 0 || refusals.contains(&code))) {
            self.unexpected(format!("{place:?} (added: {expected}) is verified with {code}"));
        }
        Ok(())
    }

    /// Writes records; the offset of the first. In the first generation the partition is added before.
    pub fn produce(&mut self, place: Place, values: &[u64]) -> Result<i64, Ended> {
        if self.generation == Generation::One && !self.added.contains(&place) {
            self.add_partition(place)?;
            self.added.push(place);
        }
        let manner = Manner::any(&mut self.random);
        let (version, request) = self.produce_request(place, values);
        let answered = self.ask(manner, version, &request, |response| produced(response).0)?;
        let offset = produced(&answered.first).1;
        self.stray |= answered.uncertain && self.generation == Generation::One;
        if let Some(second) = answered.second.as_ref().map(produced)
            && second != (0, offset)
        {
            if second.0 == 0 {
                self.unexpected(format!("Produce again: offset {} after {offset}", second.1));
            } else {
                self.unexpected_repeat("Produce", second.0);
            }
        }
        if !self.added.contains(&place) {
            self.added.push(place);
        }
        *self.sequences.entry(place).or_default() += values.len() as i32;
        Ok(offset)
    }

    fn produce_request(&mut self, place: Place, values: &[u64]) -> (i16, ProduceRequest) {
        let version = match self.generation {
            Generation::One => self.any([3, 7, 8, 9, 10, 11, 11]),
            Generation::Two => self.any([12, 13]),
        };
        let writer = Writer {
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            sequence: self.sequences.get(&place).copied().unwrap_or(0),
            transactional: true,
        };
        let records = batches::batch(writer, values, wall_millis()).expect("a batch encodes");
        let data = PartitionProduceData::default().with_index(place.partition).with_records(Some(records));
        let mut topic = TopicProduceData::default().with_partition_data(vec![data]);
        if version >= 13 {
            topic.topic_id = self.setting.topic_ids[place.topic];
        } else {
            topic.name = place.topic_name();
        }
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.id()))
            .with_acks(-1)
            .with_timeout_ms(5000)
            .with_topic_data(vec![topic]);
        (version, request)
    }

    /// Commits an offset of a group with the transaction.
    pub fn commit_offset(&mut self, group: &str, place: Place, offset: i64) -> Result<(), Ended> {
        let group_id = || StrBytes::from_string(group.to_owned()).into();
        if self.generation == Generation::One {
            let manner = Manner::any(&mut self.random);
            let version = self.any([0, 1, 2, 3, 4]);
            let request = AddOffsetsToTxnRequest::default()
                .with_transactional_id(self.id())
                .with_producer_id(self.producer_id.into())
                .with_producer_epoch(self.epoch)
                .with_group_id(group_id());
            let answered = self.ask(manner, version, &request, |response| response.error_code)?;
            if let Some(code) = answered.second.map(|second| second.error_code).filter(|code| *code != 0) {
                self.unexpected_repeat("AddOffsetsToTxn", code);
            }
        }
        let manner = Manner::any(&mut self.random);
        let version = if self.generation == Generation::One { self.any([0, 2, 3, 3, 4, 4]) } else { 5 };
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(place.partition)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(StrBytes::default()));
        let topic =
            TxnOffsetCommitRequestTopic::default().with_name(place.topic_name()).with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.id())
            .with_group_id(group_id())
            .with_producer_id(self.producer_id.into())
            .with_producer_epoch(self.epoch)
            .with_topics(vec![topic]);
        let code = |response: &kafka_protocol::messages::TxnOffsetCommitResponse| {
            let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).find(|code| *code != 0).unwrap_or(0)
        };
        let answered = self.ask(manner, version, &request, code)?;
        if let Some(code) = answered.second.as_ref().map(code).filter(|code| *code != 0) {
            self.unexpected_repeat("TxnOffsetCommit", code);
        }
        Ok(())
    }

    /// EndTxn; in the second generation with what must be answered to the same request once more.
    pub fn end(&mut self, commit: bool) -> Result<(), Ended> {
        let manner = Manner::any(&mut self.random);
        let version = if self.generation == Generation::One { self.any([0, 1, 2, 3, 4]) } else { 5 };
        let request = self.end_request(commit);
        let answered = self.ask(manner, version, &request, |response| response.error_code)?;
        if let Some(second) = &answered.second {
            let same = second.producer_id == answered.first.producer_id
                && second.producer_epoch == answered.first.producer_epoch;
            if second.error_code != 0 || !same {
                self.unexpected_repeat("EndTxn", second.error_code);
            }
        }
        if self.random.percent(10) {
            self.contradict(version, commit);
        }
        if self.generation == Generation::Two {
            let old = (self.producer_id, self.epoch);
            let now = (i64::from(answered.first.producer_id), answered.first.producer_epoch);
            if now.0 == old.0 && now.1 <= old.1 {
                self.unexpected(format!("EndTxn 5: {now:?} after {old:?}"));
            }
            self.stale_epoch = (now.0 == old.0).then_some(old.1);
            (self.producer_id, self.epoch) = now;
            self.setting.identities.lock().expect("not poisoned").insert(self.transactional_id.to_string(), now);
            self.sequences.clear();
        }
        Ok(())
    }

    fn end_request(&self, commit: bool) -> EndTxnRequest {
        EndTxnRequest::default()
            .with_transactional_id(self.id())
            .with_producer_id(self.producer_id.into())
            .with_producer_epoch(self.epoch)
            .with_committed(commit)
    }

    /// The other result for a transaction that is over: INVALID_TXN_STATE. A commit that finds an abort may also be that of
    /// a producer whose time was up, which is fenced (KAFKA-20785; Apache Kafka after 4.3).
    fn contradict(&mut self, version: i16, commit: bool) {
        let request = self.end_request(!commit);
        let code = |response: &kafka_protocol::messages::EndTxnResponse| response.error_code;
        match ask(&mut self.raw, &mut self.random, Manner::Once, (version, &request), code) {
            Err(Ended::Lost) => {}
            Err(Ended::Refused { code: INVALID_TXN_STATE, .. }) => {}
            Err(Ended::Refused { code: PRODUCER_FENCED, .. }) if version >= 5 && !commit => {}
            Err(Ended::Refused { code, .. }) => {
                if !self.may_be_fenced() {
                    self.unexpected(format!("EndTxn {version}, the other result: {code}"));
                }
            }
            Ok(_) => self.unexpected(format!("EndTxn {version}, the other result: done")),
        }
    }

    /// Second generation, nothing in the transaction: a commit is refused, an abort raises the epoch.
    pub fn end_empty(&mut self) -> Result<(), Ended> {
        let request = self.end_request(true);
        let code = |response: &kafka_protocol::messages::EndTxnResponse| response.error_code;
        match ask(&mut self.raw, &mut self.random, Manner::Once, (5, &request), code) {
            Err(Ended::Lost) => return Err(Ended::Lost),
            Err(Ended::Refused { code: INVALID_TXN_STATE, .. }) => {}
            Err(Ended::Refused { code, .. }) if !self.may_be_fenced() => {
                self.unexpected(format!("an empty commit: {code}"));
            }
            Err(Ended::Refused { .. }) => {}
            Ok(_) => self.unexpected("an empty commit: done"),
        }
        self.begin();
        self.end(false)
    }

    /// A record that comes after the end of its transaction, with the epoch of then: refused. As long as the marker is not
    /// written it may pass for a repetition of the batch that is there, at `offset`; it is never appended. In the first
    /// generation it is the next record of the producer, which nobody has added to a transaction: a hanging one without
    /// verification.
    pub fn late_produce(&mut self, place: Place, value: u64, epoch: i16, offset: Option<i64>) {
        let current = std::mem::replace(&mut self.epoch, epoch);
        let sequences = self.sequences.clone();
        if self.generation == Generation::Two {
            self.sequences.clear();
        }
        let (version, request) = self.produce_request(place, &[value]);
        (self.epoch, self.sequences) = (current, sequences);
        let code = |response: &ProduceResponse| produced(response).0;
        if let Ok(answered) = ask(&mut self.raw, &mut self.random, Manner::Once, (version, &request), code)
            && Some(produced(&answered.first).1) != offset
        {
            self.unexpected(format!("a late Produce {version} of epoch {epoch}: {:?}", produced(&answered.first)));
        }
    }

    /// The end of the transaction before, once more, while this one is open: refused.
    pub fn late_end(&mut self, commit: bool) {
        let Some(epoch) = self.stale_epoch else { return };
        let request = self.end_request(commit).with_producer_epoch(epoch);
        let code = |response: &kafka_protocol::messages::EndTxnResponse| response.error_code;
        if ask(&mut self.raw, &mut self.random, Manner::Once, (5, &request), code).is_ok() {
            self.unexpected(format!("a late EndTxn 5 of epoch {epoch}: done"));
        }
    }

    /// The epoch now.
    pub fn epoch(&self) -> i16 {
        self.epoch
    }

    /// Whether the transaction may have been aborted for its age.
    pub fn sleep_past_timeout(&mut self) {
        std::thread::sleep(self.timeout + Duration::from_millis(300));
    }

    fn unexpected_repeat(&self, api: &str, code: i16) {
        if !self.may_be_fenced() || code == 0 {
            self.unexpected(format!("{api} again: {code}"));
        }
    }
}

fn added_code(response: &AddPartitionsToTxnResponse) -> i16 {
    let of_old = &response.results_by_topic_v3_and_below;
    let topics = response.results_by_transaction.iter().flat_map(|result| &result.topic_results).chain(of_old);
    let partitions = topics.flat_map(|topic| &topic.results_by_partition);
    let mut codes = std::iter::once(response.error_code).chain(partitions.map(|result| result.partition_error_code));
    codes.find(|code| *code != 0).unwrap_or(0)
}

/// Error code and offset.
fn produced(response: &ProduceResponse) -> (i16, i64) {
    let partition = response.responses.iter().flat_map(|topic| &topic.partition_responses).next();
    partition.map_or((-1, -1), |partition| (partition.error_code, partition.base_offset))
}

fn wall_millis() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}
