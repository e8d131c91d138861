//! No wake-up is lost: producers and waiting consumers on several threads, under a clock that stands still.
#![allow(clippy::disallowed_methods)]

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};

use super::*;
use crate::api::test_services::{TestBroker, batch, context, decode};
use crate::record::{BatchIterator, BatchProperties};
use crate::replica::ACKS_ALL;
use crate::storage::AppendOrigin;
use crate::types::VerificationGuard;

const PARTITIONS: i32 = 3;
const PRODUCERS: i64 = 4;
const BATCHES: i64 = 150;

struct Consumer {
    services: Arc<Services>,
    topic_id: Uuid,
    uses_session: bool,
    session_id: i32,
    epoch: i32,
    offsets: Vec<i64>,
}

impl Consumer {
    /// One fetch that names every partition the first time, and in a session only those it got records of after that.
    async fn poll(&mut self, moved: &[i32]) -> Vec<i32> {
        let names_all = !self.uses_session || self.epoch == 0;
        let named = (0..PARTITIONS).filter(|index| names_all || moved.contains(index)).map(|index| {
            FetchPartition::default()
                .with_partition(index)
                .with_fetch_offset(self.offsets[index as usize])
                .with_partition_max_bytes(500)
        });
        let topic = FetchTopic::default().with_topic_id(self.topic_id).with_partitions(named.collect());
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(3_600_000)
            .with_min_bytes(1)
            .with_max_bytes(1_000)
            .with_session_id(self.session_id)
            .with_session_epoch(if self.uses_session { self.epoch } else { -1 })
            .with_topics(vec![topic]);
        let response = match handle(&self.services, &context(1, 13), request) {
            Answer::Raw(response) => response,
            Answer::RawLater(response) => response.await,
            _ => panic!("another kind of answer"),
        };
        let response: FetchResponse = decode(&response, 13);
        assert_eq!(response.error_code, 0);
        (self.session_id, self.epoch) = (response.session_id, session::next_epoch(self.epoch));
        let mut moved = Vec::new();
        for data in response.responses.iter().flat_map(|topic| &topic.partitions) {
            assert_eq!(data.error_code, 0);
            // The last batch may be cut.
            for (header, _) in BatchIterator::new(data.records.as_deref().unwrap_or_default()).map_while(Result::ok) {
                let offset = &mut self.offsets[data.partition_index as usize];
                assert_eq!(header.base_offset, *offset, "in order, without gaps");
                *offset = header.last_offset() + 1;
                moved.push(data.partition_index);
            }
        }
        moved
    }

    async fn consume_all(mut self) {
        let mut moved = Vec::new();
        while self.offsets.iter().sum::<i64>() < PRODUCERS * BATCHES {
            moved = self.poll(&moved).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_append_reaches_every_waiting_consumer() {
    let broker = TestBroker::new();
    let topic_id = broker.create_topic("t", PARTITIONS, &[]);
    let mut tasks = Vec::new();
    for number in 0..6 {
        let consumer = Consumer {
            services: broker.services.clone(),
            topic_id,
            uses_session: number % 2 == 0,
            session_id: 0,
            epoch: 0,
            offsets: vec![0; PARTITIONS as usize],
        };
        tasks.push(tokio::spawn(consumer.consume_all()));
    }
    for producer in 0..PRODUCERS {
        let replicas = broker.services.replicas.clone();
        tasks.push(tokio::spawn(async move {
            for number in 0..BATCHES {
                let index = ((producer + number) % i64::from(PARTITIONS)) as i32;
                let partition = replicas.partition_by_name("t", index).unwrap();
                let records = batch(BatchProperties::default(), 1_700_000_000_000, &["x"]);
                partition
                    .append_records_to_leader(
                        records,
                        ACKS_ALL,
                        AppendOrigin::Client,
                        VerificationGuard::NONE,
                        1_700_000_000_000,
                    )
                    .unwrap();
                tokio::task::yield_now().await;
            }
        }));
    }
    let all = async {
        for task in tasks {
            task.await.unwrap();
        }
    };
    // The broker's clock stands still: without its wake-up a fetch would wait for ever.
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("a wake-up was lost");
    assert_eq!(broker.services.replicas.delayed_fetches().waiting(), 0);
}
