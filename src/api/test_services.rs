//! A broker without sockets, for tests of handlers: simulated clock and disk, real logs, real partitions, the real
//! controller over a metadata log in memory.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::{Decodable, StrBytes};
use parking_lot::Mutex;

use super::advertised::AdvertisedListeners;
use super::fetch::FetchSessionCache;
use super::handler::{Answer, Chunk, RequestContext, Response};
use super::services::Services;
use crate::config::BrokerConfig;
use crate::coordinator::transaction::{ControllerProducerIds, LocalMarkers};
use crate::coordinator::{
    GroupCoordinator, GroupCoordinatorConfig, GroupMetadataPublisher, TransactionConfig, TransactionCoordinator,
    TransactionMetadataPublisher,
};
use crate::env::{BoxFuture, Env, InlineSpawn, ManualClock, MemoryDisk, NamedFuture};
use crate::metadata::{
    BatchVisitor, BrokerRegistrationData, Controller, ControllerOptions, Endpoint, MetadataError, MetadataLog,
    MetadataLogReader, supported_features,
};
use crate::record::{BatchBuilder, BatchHeader, BatchProperties};
use crate::replica::{LeadershipListener, ReplicaManager};
use crate::security::Principal;
use crate::storage::{LogManager, LogManagerOptions};
use crate::telemetry::Metrics;
use crate::types::{Uuid, is_internal_topic};

const NODE_ID: i32 = 1;
const DIRECTORY: &str = "/data";

#[derive(Default)]
struct MemoryMetadataLog {
    batches: Vec<(BatchHeader, Bytes)>,
}

impl MetadataLogReader for MemoryMetadataLog {
    fn start_offset(&self) -> i64 {
        0
    }

    fn end_offset(&self) -> i64 {
        self.batches.last().map_or(0, |(header, _)| header.last_offset() + 1)
    }

    fn read_from(&self, offset: i64, visit: &mut BatchVisitor<'_>) -> Result<(), MetadataError> {
        let batches = self.batches.iter().filter(|(header, _)| header.last_offset() >= offset);
        batches.into_iter().try_for_each(|(header, batch)| visit(header, batch))
    }
}

impl MetadataLog for MemoryMetadataLog {
    fn size_in_bytes(&self) -> u64 {
        0
    }

    fn append(&mut self, batch: Bytes, _: i32) -> Result<(), MetadataError> {
        let header = BatchHeader::parse(&batch).expect("a batch");
        self.batches.push((header, batch));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MetadataError> {
        Ok(())
    }

    fn trim_before(&mut self, _: i64) -> Result<(), MetadataError> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), MetadataError> {
        Ok(())
    }
}

/// The broker and its clock.
pub(crate) struct TestBroker {
    pub(crate) services: Arc<Services>,
    pub(crate) clock: ManualClock,
    pub(crate) disk: MemoryDisk,
    spawn: InlineSpawn,
    /// Tasks that wait for something.
    tasks: Mutex<Vec<NamedFuture>>,
}

impl TestBroker {
    /// A broker without topics.
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new(1_700_000_000_000);
        let spawn = InlineSpawn::default();
        let disk = MemoryDisk::new(Arc::new(clock.clone()));
        let env =
            Env { spawn: Arc::new(spawn.clone()), disk: Arc::new(disk.clone()), ..Env::simulated(clock.clone(), 7) };
        env.disk.create_dir_all(DIRECTORY.as_ref()).expect("a directory");
        let config = Arc::new(BrokerConfig::new(BTreeMap::new()).expect("defaults"));
        let logs = LogManager::open(env.clone(), LogManagerOptions::new(vec![DIRECTORY.into()], NODE_ID))
            .expect("a log directory");
        env.disk.create_dir_all("/data/metadata".as_ref()).expect("a directory");
        let options = ControllerOptions::new(NODE_ID, "/data/metadata".into());
        let log = Box::<MemoryMetadataLog>::default();
        let controller = Controller::open(env.clone(), options, log, config.clone()).expect("a controller");
        let registration = BrokerRegistrationData {
            broker_id: NODE_ID,
            incarnation_id: env.random.uuid(),
            endpoints: vec![Endpoint {
                listener: "PLAINTEXT".into(),
                host: "broker-1".into(),
                port: 9092,
                security_protocol: 0,
            }],
            features: supported_features(),
            rack: None,
            directories: logs.directories().map(|directory| directory.id()).collect(),
        };
        let epoch = controller.register_broker(&registration).expect("metadata").expect("registered");
        controller.unfence_broker(NODE_ID, epoch).expect("metadata").expect("unfenced");
        let replicas = ReplicaManager::new(NODE_ID, logs, config.clone());
        let groups = GroupCoordinator::new(env.clone(), GroupCoordinatorConfig::from_broker(&config));
        replicas.add_listener(groups.clone());
        controller.subscribe(Arc::new(GroupMetadataPublisher(groups.clone())));
        let producer_ids = Arc::new(ControllerProducerIds::new(controller.clone(), NODE_ID));
        let markers = LocalMarkers::new(env.clone(), &replicas, groups.clone());
        let transactions =
            TransactionCoordinator::new(env.clone(), TransactionConfig::from_broker(&config), producer_ids, markers);
        controller.subscribe(Arc::new(TransactionMetadataPublisher(transactions.clone())));
        replicas.add_listener(transactions.clone());
        controller.subscribe(replicas.clone());
        let services = Arc::new(Services {
            env,
            config,
            advertised: AdvertisedListeners::default(),
            metrics: Arc::new(Metrics::default()),
            controller,
            replicas,
            fetch_sessions: FetchSessionCache::new(10, usize::MAX),
            groups,
            transactions,
        });
        Self { services, clock, disk, spawn, tasks: Mutex::default() }
    }

    /// Polls every task, until none is left that was spawned meanwhile.
    pub(crate) fn run_tasks(&self) {
        loop {
            let spawned = self.spawn.take();
            let is_last = spawned.is_empty();
            let mut tasks = self.tasks.lock();
            tasks.extend(spawned);
            tasks.retain_mut(|(_, task)| task.now_or_never().is_none());
            if is_last {
                return;
            }
        }
    }

    /// The coordinators lose their memory, and read their topics again.
    pub(crate) fn reload_coordinators(&self) {
        for partition in self.services.replicas.online_partitions() {
            let (name, epoch) = (partition.topic_partition(), partition.leader_epoch());
            if !is_internal_topic(&name.topic) {
                continue;
            }
            let listeners: [&dyn LeadershipListener; 2] = [&*self.services.groups, &*self.services.transactions];
            for listener in listeners {
                listener.on_resigned(name);
                listener.on_elected(&partition, epoch);
            }
        }
        self.run_tasks();
    }

    /// What another broker of the cluster has, which leads nothing.
    pub(crate) fn services_of_another_broker(&self) -> Arc<Services> {
        let services = &self.services;
        let replicas = ReplicaManager::new(NODE_ID + 1, services.replicas.logs().clone(), services.config.clone());
        // Not through `subscribe`: the logs are not its own.
        replicas.image_for_tests(services.controller.image());
        Arc::new(Services {
            env: services.env.clone(),
            config: services.config.clone(),
            advertised: AdvertisedListeners::default(),
            metrics: Arc::new(Metrics::default()),
            controller: services.controller.clone(),
            replicas,
            fetch_sessions: FetchSessionCache::new(10, usize::MAX),
            groups: services.groups.clone(),
            transactions: services.transactions.clone(),
        })
    }

    /// Creates a topic; its id.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value))));
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1_000);
        let response = self.services.controller.create_topics(&request).expect("metadata");
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
        response.topics[0].topic_id
    }
}

/// A request of a client on the loopback address.
pub(crate) fn context(api_key: i16, api_version: i16) -> RequestContext {
    RequestContext {
        api_key,
        api_version,
        correlation_id: 1,
        client_id: Some("test".into()),
        listener: "PLAINTEXT".into(),
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)),
        local: SocketAddr::from((Ipv4Addr::LOCALHOST, 9_092)),
        connection_id: 1,
        principal: Principal::anonymous(),
    }
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// One batch of records with these values and timestamps from `timestamp` on.
pub(crate) fn batch(properties: BatchProperties, timestamp: i64, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(properties);
    for (number, value) in (0..).zip(values) {
        builder.append(timestamp + number, Some(b"key"), Some(value.as_bytes()), &[]).expect("room");
    }
    builder.build()
}

/// The answer that is there already.
pub(crate) fn now<R>(answer: Answer<R>) -> R {
    match answer {
        Answer::Now(response) => response,
        Answer::Later(_) | Answer::RawLater(_) => panic!("the answer waits"),
        _ => panic!("another kind of answer"),
    }
}

/// The future of an answer that is not there yet.
pub(crate) fn later<R>(answer: Answer<R>) -> BoxFuture<'static, R> {
    match answer {
        Answer::Later(future) => future,
        _ => panic!("the answer does not wait"),
    }
}

/// The future of an encoded answer that is not there yet.
pub(crate) fn raw_later<R>(answer: Answer<R>) -> BoxFuture<'static, Response> {
    match answer {
        Answer::RawLater(future) => future,
        _ => panic!("the answer does not wait"),
    }
}

/// Whether the future still waits; it is polled once.
pub(crate) fn waits<T>(future: &mut BoxFuture<'static, T>) -> bool {
    future.now_or_never().is_none()
}

/// Decodes an encoded body.
pub(crate) fn decode<R: Decodable>(response: &Response, version: i16) -> R {
    let mut bytes = Vec::new();
    for chunk in &response.chunks {
        match chunk {
            Chunk::Bytes(chunk) => bytes.extend_from_slice(chunk),
            Chunk::File { file, position, length } => {
                let mut part = vec![0; *length];
                file.read_exact_at(&mut part, *position).expect("the range is there");
                bytes.extend(part);
            }
        }
    }
    let mut bytes = Bytes::from(bytes);
    let response = R::decode(&mut bytes, version).expect("decodes");
    assert!(bytes.is_empty(), "bytes are left over");
    response
}
