//! `bench micro`: the pieces of the request path, without a socket. Times by divan; `micro --count` is for `bench/micro/run`, which counts
//! instructions: for each line `CASE NUMBER` on standard input it runs a case so many times, and answers with a line.
//!
//! Handlers are called as a connection calls them: a body in, an encoded frame out, on a real disk.

use std::collections::HashMap;
use std::io::BufRead;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use clap::Parser;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, FetchRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, MetadataRequest, OffsetCommitRequest, ProduceRequest, ProduceResponse,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use ottla::Broker;
use ottla::api::registry::{self, Lookup};
use ottla::api::{Chunk, Outcome, RequestContext, Response};
use ottla::cli::Arguments;
use ottla::env::RealDisk;
use ottla::record::{BatchBuilder, BatchProperties, ValidationRules, validate_produce};
use ottla::security::Principal;
use ottla::storage::FetchIsolation;
use ottla::types::{TopicPartition, Uuid};
use ottla::wire;
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PRODUCE: i16 = 13;
const FETCH: i16 = 17;
const METADATA: i16 = 12;
const OFFSET_COMMIT: i16 = 9;
const HEARTBEAT: i16 = 4;

/// Batches of the topic in which offsets are looked up: of 4 KiB each, so that every one has an entry in the index.
const LOOKUP_BATCHES: i64 = 20_000;

type Case = Box<dyn FnMut()>;

const CASES: [&str; 17] = [
    "decode_produce",
    "decode_fetch",
    "decode_offset_commit",
    "encode_produce",
    "validate_1x100",
    "validate_120x1024",
    "validate_1200x100",
    "offset_lookup",
    "produce_1x100",
    "fetch_hit_of_1",
    "fetch_hit_of_1000",
    "fetch_hit_of_10000",
    "fetch_miss_of_1",
    "fetch_miss_of_10000",
    "heartbeat",
    "offset_commit",
    "metadata",
];

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// A broker, its runtime, and the topics of all cases.
struct World {
    runtime: tokio::runtime::Runtime,
    broker: Broker,
    _directory: TempDir,
}

impl World {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let topics = ["written", "read", "idle", "long"].map(|topic| format!("--topic={topic}:1"));
        let settings = [
            "listeners=PLAINTEXT://127.0.0.1:0",
            "group.initial.rebalance.delay.ms=0",
            "replica.high.watermark.checkpoint.interval.ms=100000000",
            "log.flush.offset.checkpoint.interval.ms=100000000",
        ];
        let settings = settings.map(|setting| format!("--override={setting}"));
        let directory = tempfile::tempdir().expect("a directory");
        let data = format!("--data={}", directory.path().join("data").display());
        let arguments = ["ottla".to_owned(), data].into_iter().chain(settings).chain(topics);
        let options = Arguments::parse_from(arguments).start_options(&RealDisk, Vec::new()).expect("options");
        let broker = runtime.block_on(Broker::start(options)).expect("a broker");
        let world = Self { runtime, broker, _directory: directory };
        (0..10).for_each(|index| world.create_topic(format!("many-{index}"), 1000));
        world
    }

    fn create_topic(&self, name: String, partitions: i32) {
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
        let answer: CreateTopicsResponse = self.ask(19, 7, &request);
        assert_eq!(answer.topics[0].error_code, 0, "CreateTopics");
    }

    fn topic_id(&self, topic: &str) -> Uuid {
        self.broker.services().replicas.image().topics.topic(topic).expect("the topic").id
    }

    fn call(&self, key: i16, version: i16, body: Bytes) -> Response {
        let Lookup::Entry(entry) = registry::lookup(key, version) else { panic!("API {key} v{version}") };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
        let context = RequestContext {
            api_key: key,
            api_version: version,
            correlation_id: 1,
            client_id: None,
            listener: "PLAINTEXT".into(),
            peer: address,
            local: address,
            connection_id: 1,
            principal: Principal::anonymous(),
        };
        match entry.call(self.broker.services(), &context, body) {
            Outcome::Now(response) => response,
            Outcome::Later(response) => self.runtime.block_on(response).unwrap_or_else(|error| panic!("{error}")),
            _ => panic!("no answer of API {key}"),
        }
    }

    /// As `call`, with the answer decoded.
    fn ask<R: Decodable>(&self, key: i16, version: i16, request: &impl Encodable) -> R {
        let response = self.call(key, version, body(request, version));
        let Some(Chunk::Bytes(frame)) = response.chunks.first() else { panic!("an answer from memory") };
        // Length, correlation id, tags.
        R::decode(&mut frame.slice(9..), version).expect("an answer")
    }
}

fn body(request: &impl Encodable, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, version).expect("a request");
    bytes.freeze()
}

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

fn batch(records: usize, size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchProperties::default());
    let value = vec![b'v'; size];
    for _ in 0..records {
        builder.append(1_700_000_000_000, None, Some(&value), &[]).expect("a record");
    }
    builder.build()
}

fn produce(topic_id: Uuid, records: Bytes) -> Bytes {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let topic = TopicProduceData::default().with_topic_id(topic_id).with_partition_data(vec![partition]);
    body(&ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]), PRODUCE)
}

fn fetch(topics: &[(Uuid, i32)], session: i32, epoch: i32) -> FetchRequest {
    let topics = topics.iter().map(|(id, partitions)| {
        let partitions = (0..*partitions)
            .map(|index| FetchPartition::default().with_partition(index).with_partition_max_bytes(1 << 20));
        FetchTopic::default().with_topic_id(*id).with_partitions(partitions.collect())
    });
    FetchRequest::default()
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_id(session)
        .with_session_epoch(epoch)
        .with_topics(topics.collect())
}

/// A session over so many partitions; with news, and one that has a record each time it is asked for.
fn fetching(partitions: i32, with_news: bool) -> Case {
    let read = WORLD.topic_id("read");
    let mut topics: Vec<(Uuid, i32)> = match partitions {
        1 => vec![(WORLD.topic_id("idle"), 1)],
        _ => (0..partitions / 1000).map(|index| (WORLD.topic_id(&format!("many-{index}")), 1000)).collect(),
    };
    if with_news {
        WORLD.call(0, PRODUCE, produce(read, batch(1, 100)));
        topics.push((read, 1));
    }
    let response = WORLD.call(1, FETCH, body(&fetch(&topics, 0, 0), FETCH));
    let memory = response.chunks.iter().map_while(|chunk| match chunk {
        Chunk::Bytes(bytes) => Some(&bytes[..]),
        Chunk::File { .. } => None,
    });
    // Behind length, correlation id, tags, throttle time and error code.
    let session = i32::from_be_bytes(memory.collect::<Vec<_>>().concat()[15..19].try_into().expect("an id"));
    assert_ne!(session, 0, "a session");
    let changed = if with_news { vec![(read, 1)] } else { Vec::new() };
    let mut epoch = 0;
    Box::new(move || {
        epoch += 1;
        let answer = WORLD.call(1, FETCH, body(&fetch(&changed, session, epoch), FETCH));
        assert_eq!(answer.chunks.iter().any(|chunk| matches!(chunk, Chunk::File { .. })), with_news);
    })
}

/// A group with one member.
fn member(group: &str) -> (GroupId, i32, StrBytes) {
    let group = GroupId(text(group));
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let mut join = JoinGroupRequest::default()
        .with_group_id(group.clone())
        .with_session_timeout_ms(600_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    // Creates the topic of the offsets, whose partitions are then loaded.
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![group.0.clone()]);
    WORLD.call(10, 4, body(&find, 4));
    let joined = loop {
        let joined: JoinGroupResponse = WORLD.ask(11, 9, &join);
        match ResponseError::try_from_code(joined.error_code) {
            None => break joined,
            Some(ResponseError::MemberIdRequired) => join.member_id = joined.member_id,
            Some(ResponseError::NotCoordinator | ResponseError::CoordinatorLoadInProgress) => std::thread::yield_now(),
            Some(error) => panic!("JoinGroup: {error}"),
        }
    };
    let assignment = SyncGroupRequestAssignment::default().with_member_id(joined.member_id.clone());
    let sync = SyncGroupRequest::default()
        .with_group_id(group.clone())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(vec![assignment]);
    WORLD.call(14, 5, body(&sync, 5));
    (group, joined.generation_id, joined.member_id)
}

fn offset_commit(group: (GroupId, i32, StrBytes)) -> Bytes {
    let partition = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(1);
    let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text("read"))).with_partitions(vec![partition]);
    let (group, generation, member) = group;
    let request = OffsetCommitRequest::default()
        .with_group_id(group)
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(member)
        .with_topics(vec![topic]);
    body(&request, OFFSET_COMMIT)
}

fn decoding<T: kafka_protocol::protocol::Request + 'static>(body: Bytes, version: i16) -> Case {
    Box::new(move || drop(divan::black_box(wire::decode_request::<T>(body.clone(), version).expect("a request"))))
}

fn calling(key: i16, version: i16, body: Bytes) -> Case {
    Box::new(move || drop(divan::black_box(WORLD.call(key, version, body.clone()))))
}

fn validating(records: usize, size: usize) -> Case {
    let rules = ValidationRules::new(TopicPartition::new("one", 0));
    let batch = batch(records, size);
    Box::new(move || drop(divan::black_box(validate_produce(batch.clone(), &rules, 1_700_000_000_000).expect("valid"))))
}

fn encoding_produce() -> Case {
    let partition = PartitionProduceResponse::default().with_base_offset(7).with_log_append_time_ms(-1);
    let topic =
        TopicProduceResponse::default().with_topic_id(Uuid::from_u128(7)).with_partition_responses(vec![partition]);
    let response = ProduceResponse::default().with_responses(vec![topic]);
    Box::new(move || drop(divan::black_box(wire::encode_response(&response, PRODUCE, 1).expect("an answer"))))
}

fn looking_up() -> Case {
    let id = WORLD.topic_id("long");
    let request = produce(id, batch(1, 4096));
    for _ in 0..LOOKUP_BATCHES {
        WORLD.call(0, PRODUCE, request.clone());
    }
    let partition = WORLD.broker.services().replicas.partition_by_name("long", 0).expect("a partition");
    let mut offset = 1;
    Box::new(move || {
        // Steps of a prime go everywhere.
        offset = (offset + 7_919) % LOOKUP_BATCHES;
        let found = partition.log().read(offset, 1, FetchIsolation::LogEnd, true).expect("a range");
        assert!(divan::black_box(found).records.is_some());
    })
}

fn case(name: &str) -> Case {
    match name {
        "decode_produce" => decoding::<ProduceRequest>(produce(Uuid::from_u128(7), batch(1, 100)), PRODUCE),
        "decode_fetch" => decoding::<FetchRequest>(body(&fetch(&[(Uuid::from_u128(7), 1)], 1, 1), FETCH), FETCH),
        "decode_offset_commit" => {
            let group = (GroupId(text("group")), 1, text("member-00000000-0000-0000-0000-000000000000"));
            decoding::<OffsetCommitRequest>(offset_commit(group), OFFSET_COMMIT)
        }
        "encode_produce" => encoding_produce(),
        "validate_1x100" => validating(1, 100),
        "validate_120x1024" => validating(120, 1024),
        "validate_1200x100" => validating(1200, 100),
        "offset_lookup" => looking_up(),
        "produce_1x100" => calling(0, PRODUCE, produce(WORLD.topic_id("written"), batch(1, 100))),
        "fetch_hit_of_1" => fetching(1, true),
        "fetch_hit_of_1000" => fetching(1000, true),
        "fetch_hit_of_10000" => fetching(10_000, true),
        "fetch_miss_of_1" => fetching(1, false),
        "fetch_miss_of_10000" => fetching(10_000, false),
        "heartbeat" => {
            let (group, generation, member) = member("beating");
            let request =
                HeartbeatRequest::default().with_group_id(group).with_generation_id(generation).with_member_id(member);
            calling(12, HEARTBEAT, body(&request, HEARTBEAT))
        }
        "offset_commit" => calling(8, OFFSET_COMMIT, offset_commit(member("committing"))),
        "metadata" => {
            let topic = MetadataRequestTopic::default().with_name(Some(TopicName(text("read"))));
            calling(3, METADATA, body(&MetadataRequest::default().with_topics(Some(vec![topic])), METADATA))
        }
        _ => panic!("no such case: {name}"),
    }
}

#[divan::bench(args = CASES)]
fn micro(bencher: divan::Bencher<'_, '_>, name: &str) {
    bencher.bench_local(case(name));
}

fn count() {
    let mut cases: HashMap<String, Case> = HashMap::new();
    println!("{}", CASES.join(" "));
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let (name, number) = line.split_once(' ').expect("CASE NUMBER");
        let case = cases.entry(name.to_owned()).or_insert_with(|| case(name));
        (0..number.parse::<u64>().expect("a number")).for_each(|_| case());
        println!("done");
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "--count") {
        return count();
    }
    divan::main();
}
