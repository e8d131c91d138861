//! Sessions that read partitions with news only, against the rule itself: look at every partition at every fetch.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use proptest::prelude::*;

use super::*;
use crate::api::test_services::{TestBroker, batch, context, decode};
use crate::record::BatchProperties;
use crate::replica::ACKS_ALL;
use crate::storage::AppendOrigin;
use crate::types::VerificationGuard;

const PARTITIONS: i32 = 5;
const VERSION: i16 = 13;

#[derive(Clone, Debug)]
enum Step {
    Append(i32),
    DeleteRecords(i32),
    /// The next incremental fetch: partitions to (re)name with an offset behind the start, partitions to forget.
    Fetch {
        named: Vec<(i32, i64)>,
        forgotten: Vec<i32>,
    },
}

/// What the client knows, and so what it must be told.
struct Known {
    fetch_offset: i64,
    high_watermark: i64,
    log_start_offset: i64,
}

struct Model {
    broker: TestBroker,
    topic_id: Uuid,
    session_id: i32,
    epoch: i32,
    known: BTreeMap<i32, Known>,
}

impl Model {
    fn new() -> Self {
        let broker = TestBroker::new();
        let topic_id = broker.create_topic("t", PARTITIONS, &[]);
        let mut model = Self { broker, topic_id, session_id: 0, epoch: 0, known: BTreeMap::new() };
        model.step(Step::Fetch { named: (0..PARTITIONS).map(|partition| (partition, 0)).collect(), forgotten: vec![] });
        model
    }

    fn partition(&self, index: i32) -> Arc<crate::replica::Partition> {
        self.broker.services.replicas.partition_by_name("t", index).unwrap()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(index) => {
                let records = batch(BatchProperties::default(), 1_700_000_000_000, &["x"]);
                self.partition(index)
                    .append_records_to_leader(
                        records,
                        ACKS_ALL,
                        AppendOrigin::Client,
                        VerificationGuard::NONE,
                        1_700_000_000_000,
                    )
                    .unwrap();
            }
            Step::DeleteRecords(index) => {
                self.partition(index).delete_records(-1).unwrap();
            }
            Step::Fetch { named, forgotten } => self.fetch(named, forgotten),
        }
    }

    fn request(&self, named: &[(i32, i64)], forgotten: &[i32]) -> FetchRequest {
        let partitions = named.iter().map(|(index, offset)| {
            FetchPartition::default()
                .with_partition(*index)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(1 << 20)
        });
        let topic = FetchTopic::default().with_topic_id(self.topic_id).with_partitions(partitions.collect());
        let forgotten = ForgottenTopic::default().with_topic_id(self.topic_id).with_partitions(forgotten.to_vec());
        FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_bytes(1 << 30)
            .with_session_id(self.session_id)
            .with_session_epoch(self.epoch)
            .with_topics(vec![topic])
            .with_forgotten_topics_data(vec![forgotten])
    }

    fn fetch(&mut self, named: Vec<(i32, i64)>, forgotten: Vec<i32>) {
        let request = self.request(&named, &forgotten);
        let Answer::Raw(response) = handle(&self.broker.services, &context(1, VERSION), request) else {
            panic!("the fetch waits")
        };
        let response: FetchResponse = decode(&response, VERSION);
        assert_eq!(response.error_code, 0);
        let is_first = self.epoch == 0;
        let named_now: Vec<i32> = named.iter().map(|(index, _)| *index).collect();
        for (index, fetch_offset) in named {
            let known =
                self.known.entry(index).or_insert(Known { fetch_offset, high_watermark: -1, log_start_offset: -1 });
            known.fetch_offset = fetch_offset;
        }
        // A full fetch forgets nothing; a session that forgets everything is closed, and the request is all there is.
        let remain = self.known.keys().filter(|index| is_first || !forgotten.contains(index)).count();
        let is_closed = remain == 0;
        if is_closed {
            self.known.retain(|index, _| named_now.contains(index));
        } else if !is_first {
            self.known.retain(|index, _| !forgotten.contains(index));
        }
        let told: BTreeMap<i32, (i16, bool)> = (response.responses.iter().flat_map(|topic| &topic.partitions))
            .map(|data| (data.partition_index, (data.error_code, data.records.as_ref().is_some_and(|r| !r.is_empty()))))
            .collect();
        assert_eq!(told, self.wanted(is_first || is_closed));
        // A full cache declines: then the next request is a full one too.
        let has_session = !is_closed && response.session_id != 0;
        if !has_session {
            self.known.clear();
        }
        (self.session_id, self.epoch) =
            if !has_session { (0, 0) } else { (response.session_id, session::next_epoch(self.epoch)) };
    }

    /// Looks at every partition, as Kafka does.
    fn wanted(&mut self, is_first: bool) -> BTreeMap<i32, (i16, bool)> {
        let partitions: Vec<_> = self.known.keys().map(|index| self.partition(*index)).collect();
        let mut wanted = BTreeMap::new();
        for ((index, known), partition) in self.known.iter_mut().zip(partitions) {
            let (start, end) = (partition.log().log_start_offset(), partition.high_watermark());
            let is_out_of_range = known.fetch_offset < start || known.fetch_offset > end;
            let (code, high_watermark, log_start_offset) =
                if is_out_of_range { (ResponseError::OffsetOutOfRange.code(), -1, -1) } else { (0, end, start) };
            let has_records = !is_out_of_range && known.fetch_offset < end;
            let is_news = (known.high_watermark, known.log_start_offset) != (high_watermark, log_start_offset);
            if is_first || has_records || is_news || code != 0 {
                wanted.insert(*index, (code, has_records));
            }
            (known.high_watermark, known.log_start_offset) = (high_watermark, log_start_offset);
        }
        wanted
    }
}

fn step() -> impl Strategy<Value = Step> {
    let named = proptest::collection::vec((0..PARTITIONS, 0..6_i64), 0..3);
    let forgotten = proptest::collection::vec(0..PARTITIONS, 0..2);
    prop_oneof![
        3 => (0..PARTITIONS).prop_map(Step::Append),
        1 => (0..PARTITIONS).prop_map(Step::DeleteRecords),
        4 => (named, forgotten).prop_map(|(named, forgotten)| Step::Fetch { named, forgotten }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_session_tells_what_a_look_at_everything_would_tell(steps in proptest::collection::vec(step(), 1..60)) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
    }
}
