//! A whole server over loopback, with scripted APIs.
#![allow(clippy::disallowed_methods, reason = "tests of real sockets wait in real time")]

use std::path::Path;

use bytes::Bytes;
use kafka_protocol::messages::{ApiVersionsRequest, ProduceRequest};
use kafka_protocol::protocol::{Message, VersionRange};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::*;
use crate::api::registry::{ApiEntry, Lookup};
use crate::api::{Chunk, CloseReason, Outcome, RequestContext, Response};
use crate::client::{Client, ClientError};
use crate::config::SecurityProtocol;
use crate::env::{DiskFile, MemoryBudget, OpenMode};

const MEBIBYTE: usize = 1024 * 1024;
const SOON: Duration = Duration::from_secs(10);

const fn row(key: i16, runs_ahead: bool) -> ApiEntry {
    ApiEntry {
        key,
        name: "Scripted",
        min_version: 0,
        advertised_min_version: 0,
        max_version: 3,
        flexible_from: None,
        runs_ahead,
        codec_versions: VersionRange { min: 0, max: 3 },
        codec_request_header: |_| 1,
        notes: "",
        handler: |_, _, _, _| Outcome::Nothing,
    }
}

/// Runs ahead, as Produce; any frame length.
const AHEAD: i16 = 0;
/// Does not.
const PLAIN: i16 = 1;
static ROWS: [ApiEntry; 2] = [row(AHEAD, true), row(PLAIN, false)];

type Script = dyn Fn(&RequestContext, &[u8]) -> Outcome + Send + Sync;
struct Scripted(Box<Script>);

impl Dispatch for Scripted {
    fn lookup(&self, key: i16, version: i16) -> Lookup {
        match ROWS.iter().find(|row| row.key == key && row.accepts(version)) {
            Some(row) => Lookup::Entry(row),
            None => Lookup::Unsupported,
        }
    }

    fn call(&self, _: &'static ApiEntry, context: &RequestContext, body: Bytes) -> Outcome {
        (self.0)(context, &body)
    }
}

struct Fixture {
    server: Server,
    metrics: Arc<Metrics>,
}

impl Fixture {
    fn start(
        options: &ServerOptions,
        script: impl Fn(&RequestContext, &[u8]) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        Self::start_in(&Env::real(tokio::runtime::Handle::current()), options, script)
    }

    fn start_in(
        env: &Env,
        options: &ServerOptions,
        script: impl Fn(&RequestContext, &[u8]) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        let listener = ListenerOptions {
            name: "PLAINTEXT".to_owned(),
            protocol: SecurityProtocol::Plaintext,
            address: "127.0.0.1:0".parse().expect("an address"),
        };
        let bound = BoundListener::bind(&listener, options.backlog).expect("a free port");
        let metrics = Arc::new(Metrics::default());
        let dispatch = Arc::new(Scripted(Box::new(script)));
        let server = Server::start(env, options, vec![bound], dispatch, Arc::clone(&metrics));
        Self { server, metrics }
    }

    async fn connect(&self) -> Client {
        Client::connect(self.server.addresses()[0].1).await.expect("connected")
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let poll = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, poll).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

/// A frame with the correlation id and the text.
fn answer(context: &RequestContext, text: &[u8]) -> Response {
    let length = i32::try_from(4 + text.len()).expect("short");
    Response::from_bytes([&length.to_be_bytes(), &context.correlation_id.to_be_bytes(), text].concat().into())
}

fn echo(context: &RequestContext, body: &[u8]) -> Outcome {
    Outcome::Now(answer(context, body))
}

async fn next(client: &mut Client) -> (i32, Vec<u8>) {
    let frame = timeout(SOON, client.receive_frame()).await.expect("in time").expect("an answer");
    let (head, text) = frame.split_first_chunk().expect("a correlation id");
    (i32::from_be_bytes(*head), text.to_vec())
}

async fn assert_closed(client: &mut Client) {
    let result = timeout(SOON, client.receive_frame()).await.expect("closed in time");
    assert!(matches!(result, Err(ClientError::Io(_))), "{result:?}");
}

async fn ask(client: &mut Client, key: i16, text: &str) -> Vec<u8> {
    let id = client.send_raw(key, 0, 1, text.as_bytes()).await.expect("sent");
    let (answered, text) = next(client).await;
    assert_eq!(answered, id);
    text
}

#[tokio::test]
async fn context_names_the_connection() {
    let fixture = Fixture::start(&ServerOptions::default(), |context, _| {
        let text = format!("{} {:?} {} {}", context.listener, context.client_id, context.local.ip(), context.peer.ip());
        Outcome::Now(answer(context, text.as_bytes()))
    });
    let mut client = fixture.connect().await;
    assert_eq!(ask(&mut client, PLAIN, "").await, b"PLAINTEXT None 127.0.0.1 127.0.0.1");
    client.set_client_id(Some("me"));
    assert_eq!(ask(&mut client, PLAIN, "").await, b"PLAINTEXT Some(\"me\") 127.0.0.1 127.0.0.1");
    assert_eq!(fixture.metrics.connections_active.get(), 1);
    fixture.server.shutdown(SOON).await;
    assert_eq!(fixture.metrics.connections_active.get(), 0);
}

#[tokio::test]
async fn many_requests_in_one_segment_are_answered_in_order() {
    let fixture = Fixture::start(&ServerOptions::default(), echo);
    let mut client = fixture.connect().await;
    let mut bytes = Vec::new();
    for id in 0..5000_i32 {
        let body = vec![b'x'; usize::try_from(id % 97).expect("small")];
        bytes.extend(i32::try_from(10 + body.len()).expect("short").to_be_bytes());
        bytes.extend(PLAIN.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(id.to_be_bytes());
        bytes.extend([255, 255]);
        bytes.extend(body);
    }
    let (mut read, mut write) = client.stream().split();
    let sent = async { write.write_all(&bytes).await.expect("sent") };
    let received = async {
        for id in 0..5000_i32 {
            let length = read.read_i32().await.expect("a length");
            assert_eq!(read.read_i32().await.expect("an id"), id);
            let mut body = vec![0; usize::try_from(length - 4).expect("a length")];
            read.read_exact(&mut body).await.expect("a body");
            assert_eq!(body.len(), usize::try_from(id % 97).expect("small"));
        }
    };
    timeout(SOON, async { tokio::join!(sent, received) }).await.expect("in time");
}

#[tokio::test]
async fn an_answer_does_not_wait_for_a_request_behind_it_that_is_not_let_in() {
    let env = Env { memory: MemoryBudget::of(16 * MEBIBYTE), ..Env::real(tokio::runtime::Handle::current()) };
    let held = Arc::new(Mutex::new(None));
    let (budget, taken) = (Arc::clone(&env.memory), Arc::clone(&held));
    let fixture = Fixture::start_in(&env, &ServerOptions::default(), move |context, body| {
        // Work on the first request takes the memory.
        taken.lock().get_or_insert_with(|| budget.hold_work(8 * MEBIBYTE));
        echo(context, body)
    });
    let mut client = fixture.connect().await;
    let frame = |id: u8| [0, 0, 0, 10, 0, PLAIN as u8, 0, 0, 0, 0, 0, id, 255, 255];
    client.stream().write_all(&[frame(1), frame(2)].concat()).await.expect("sent");
    assert_eq!(next(&mut client).await.0, 1);
    drop(held.lock().take());
    assert_eq!(next(&mut client).await.0, 2);
}

/// Requests whose body is `wait NAME` are answered when the test says so.
#[derive(Default)]
struct Gates {
    open: Mutex<HashMap<String, oneshot::Sender<()>>>,
    started: Mutex<Vec<String>>,
    changed: Notify,
}

impl Gates {
    fn gate(&self, name: &str) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.open.lock().insert(name.to_owned(), sender);
        receiver
    }

    fn handle(self: &Arc<Self>, context: &RequestContext, body: &[u8]) -> Outcome {
        let text = String::from_utf8_lossy(body).into_owned();
        self.started.lock().push(text.clone());
        self.changed.notify_one();
        if let Some(rest) = text.strip_prefix("first ") {
            // Once its gate is open, the rest is handled.
            let (name, then) = rest.split_once(' ').unwrap_or((rest, ""));
            let gate = self.gate(name);
            let (handled, then) = (Arc::clone(self), then.to_owned());
            let context = context.clone();
            return Outcome::First(Box::pin(async move {
                let _ = gate.await;
                handled.handle(&context, then.as_bytes())
            }));
        }
        match text.as_str() {
            "nothing" => return Outcome::Nothing,
            "close" => return Outcome::Close(CloseReason::Refused("asked to".to_owned())),
            "panic" => panic!("as asked"),
            _ => {}
        }
        let Some(name) = text.strip_prefix("wait ") else { return Outcome::Now(answer(context, body)) };
        let receiver = self.gate(name);
        let response = answer(context, body);
        Outcome::Later(Box::pin(async move {
            receiver.await.map_err(|_| CloseReason::Refused("the gate is gone".to_owned()))?;
            Ok(response)
        }))
    }

    fn open(&self, name: &str) {
        let sender = self.open.lock().remove(name).expect("a gate");
        let _ = sender.send(());
    }

    async fn until_started(&self, count: usize) {
        timeout(SOON, async {
            while self.started.lock().len() < count {
                self.changed.notified().await;
            }
        })
        .await
        .expect("started in time");
    }
}

fn gated(options: &ServerOptions) -> (Fixture, Arc<Gates>) {
    let gates = Arc::new(Gates::default());
    let handler = Arc::clone(&gates);
    (Fixture::start(options, move |context, body| handler.handle(context, body)), gates)
}

#[tokio::test]
async fn only_what_runs_ahead_starts_before_earlier_answers_and_all_leave_in_order() {
    let (fixture, gates) = gated(&ServerOptions::default());
    let mut client = fixture.connect().await;
    for (key, text) in [(AHEAD, "wait a"), (AHEAD, "wait b"), (AHEAD, "c"), (PLAIN, "d"), (AHEAD, "e")] {
        client.send_raw(key, 0, 1, text.as_bytes()).await.expect("sent");
    }
    gates.until_started(3).await;
    gates.open("b");
    // Another connection's round trip: this one had every chance to go too far.
    let mut other = fixture.connect().await;
    ask(&mut other, PLAIN, "other").await;
    assert_eq!(*gates.started.lock(), ["wait a", "wait b", "c", "other"]);
    gates.open("a");
    for (id, text) in [(0, "wait a"), (1, "wait b"), (2, "c"), (3, "d"), (4, "e")] {
        assert_eq!(next(&mut client).await, (id, text.as_bytes().to_vec()));
    }
    assert_eq!(*gates.started.lock(), ["wait a", "wait b", "c", "other", "d", "e"]);
}

/// A Produce that has to ask the transaction coordinator before it may append must not be overtaken by the one behind it.
#[tokio::test]
async fn what_is_not_handled_yet_is_overtaken_by_nothing() {
    let (fixture, gates) = gated(&ServerOptions::default());
    let mut client = fixture.connect().await;
    for text in ["wait a", "first b wait c", "d", "first e nothing", "f"] {
        client.send_raw(AHEAD, 0, 1, text.as_bytes()).await.expect("sent");
    }
    gates.until_started(2).await;
    let mut other = fixture.connect().await;
    ask(&mut other, PLAIN, "other").await;
    assert_eq!(*gates.started.lock(), ["wait a", "first b wait c", "other"]);
    gates.open("b");
    // It has been handled, and only its answer is waited for: the next ones may start.
    gates.until_started(6).await;
    gates.open("e");
    gates.until_started(8).await;
    gates.open("c");
    gates.open("a");
    for text in ["wait a", "wait c", "d", "f"] {
        assert_eq!(next(&mut client).await.1, text.as_bytes());
    }
    let order = ["wait a", "first b wait c", "other", "wait c", "d", "first e nothing", "nothing", "f"];
    assert_eq!(*gates.started.lock(), order);
}

#[tokio::test]
async fn what_was_handled_late_may_end_the_connection() {
    for (text, panics) in [("first a close", 0), ("first a panic", 1)] {
        let (fixture, gates) = gated(&ServerOptions::default());
        let mut client = fixture.connect().await;
        client.send_raw(AHEAD, 0, 1, text.as_bytes()).await.expect("sent");
        client.send_raw(AHEAD, 0, 1, b"never").await.expect("sent");
        gates.until_started(1).await;
        gates.open("a");
        assert_closed(&mut client).await;
        assert_eq!(gates.started.lock().len(), 2);
        assert_eq!(fixture.metrics.request_panics_total.get(), panics);
    }
}

#[tokio::test]
async fn answers_come_after_the_peer_has_closed_its_half() {
    let (fixture, gates) = gated(&ServerOptions::default());
    let mut client = fixture.connect().await;
    client.send_raw(PLAIN, 0, 1, b"wait a").await.expect("sent");
    client.send_raw(PLAIN, 0, 1, b"b").await.expect("sent");
    client.stream().shutdown().await.expect("half closed");
    gates.until_started(1).await;
    gates.open("a");
    assert_eq!(next(&mut client).await.1, b"wait a");
    assert_eq!(next(&mut client).await.1, b"b");
    assert_closed(&mut client).await;
}

#[tokio::test]
async fn unknown_api_closes_after_the_answers_before_it() {
    let (fixture, gates) = gated(&ServerOptions::default());
    let mut client = fixture.connect().await;
    client.send_raw(AHEAD, 0, 1, b"wait a").await.expect("sent");
    client.send_raw(77, 0, 1, b"").await.expect("sent");
    client.send_raw(PLAIN, 0, 1, b"never").await.expect("sent");
    gates.until_started(1).await;
    gates.open("a");
    assert_eq!(next(&mut client).await.1, b"wait a");
    assert_closed(&mut client).await;
    assert_eq!(*gates.started.lock(), ["wait a"]);
    for frame in [&[][..], &[0], &[0, 1, 0, 9, 0, 0, 0, 0, 255, 255], &[0, 1, 0, 0, 0, 0, 0, 0, 127, 255][..]] {
        let mut client = fixture.connect().await;
        client.send_frame(frame).await.expect("sent");
        assert_closed(&mut client).await;
    }
    assert_eq!(fixture.metrics.request_errors_total.get(), 5);
}

#[tokio::test]
async fn acks_zero_and_refusals() {
    let fixture = Fixture::start(&ServerOptions::default(), |context, body| match body {
        b"nothing" => Outcome::Nothing,
        b"close" => Outcome::Close(CloseReason::Refused("asked to".to_owned())),
        _ => echo(context, body),
    });
    let mut client = fixture.connect().await;
    client.send_raw(AHEAD, 0, 1, b"nothing").await.expect("sent");
    assert_eq!(ask(&mut client, PLAIN, "x").await, b"x");
    client.send_raw(AHEAD, 0, 1, b"close").await.expect("sent");
    assert_closed(&mut client).await;
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    let fixture = Fixture::start(&ServerOptions::default(), |context, body| match body {
        b"now" => panic!("as asked"),
        b"later" => Outcome::Later(Box::pin(async { panic!("as asked, later") })),
        _ => echo(context, body),
    });
    let mut other = fixture.connect().await;
    for text in ["now", "later"] {
        let mut client = fixture.connect().await;
        client.send_raw(PLAIN, 0, 1, text.as_bytes()).await.expect("sent");
        assert_closed(&mut client).await;
        assert_eq!(ask(&mut other, PLAIN, "still here").await, b"still here");
    }
    assert_eq!(fixture.metrics.request_panics_total.get(), 2);
}

#[tokio::test]
async fn lengths_are_checked_before_anything_is_allocated() {
    let fixture = Fixture::start(&ServerOptions::default(), echo);
    for (length, beginning) in [
        (-1, &[][..]),
        (i32::MIN, &[]),
        (i32::MAX, &[]),
        (100 * 1024 * 1024 + 1, &[]),
        // Only Produce may be this long.
        (17 * 1024 * 1024, &[0, 1, 0, 0]),
    ] {
        let mut client = fixture.connect().await;
        client.stream().write_all(&i32::to_be_bytes(length)).await.expect("sent");
        client.stream().write_all(beginning).await.expect("sent");
        assert_closed(&mut client).await;
    }
    let mut client = fixture.connect().await;
    let body = vec![7; 20 * MEBIBYTE];
    client.send_raw(AHEAD, 0, 1, &body).await.expect("sent");
    assert_eq!(next(&mut client).await.1, body);
}

#[tokio::test]
async fn stalled_senders_take_no_more_than_the_budget_and_honest_ones_pass() {
    let options = ServerOptions { frame_memory: 32 * MEBIBYTE, ..ServerOptions::default() };
    let fixture = Fixture::start(&options, echo);
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let mut client = fixture.connect().await;
        client.stream().write_all(&(99 * 1024 * 1024_i32).to_be_bytes()).await.expect("sent");
        client.stream().write_all(&[0; 10]).await.expect("sent");
        // What the broker does not take stays in the kernel's buffers.
        let _ = client.stream().try_write(&vec![0; MEBIBYTE]);
        stalled.push(client);
    }
    let mut honest = fixture.connect().await;
    for _ in 0..20 {
        let text = "x".repeat(MEBIBYTE);
        assert_eq!(ask(&mut honest, AHEAD, &text).await.len(), MEBIBYTE);
        assert!(fixture.server.frame_memory_used() <= 40 * MEBIBYTE, "{}", fixture.server.frame_memory_used());
    }
    // Large frames get their turn too: those that stand still give way.
    stalled.truncate(10);
    let body = vec![1; 30 * MEBIBYTE];
    honest.send_raw(AHEAD, 0, 1, &body).await.expect("sent");
    assert_eq!(next(&mut honest).await.1.len(), body.len());
    drop(stalled);
    fixture.until("memory is given back", |fixture| fixture.server.frame_memory_used() == 0).await;
}

#[tokio::test]
async fn a_frame_has_its_time_and_an_idle_connection_too() {
    let mut options = ServerOptions { max_idle: Duration::from_millis(150), ..ServerOptions::default() };
    options.frame_limits.base_time = Duration::from_millis(50);
    let (fixture, gates) = gated(&options);
    let mut slow = fixture.connect().await;
    slow.stream().write_all(&[0, 0]).await.expect("sent");
    assert_closed(&mut slow).await;
    assert_eq!(fixture.metrics.request_errors_total.get(), 1);
    let mut idle = fixture.connect().await;
    ask(&mut idle, PLAIN, "x").await;
    assert_closed(&mut idle).await;
    assert_eq!(fixture.metrics.request_errors_total.get(), 1);
    // Who waits for an answer is not idle.
    let mut waiting = fixture.connect().await;
    waiting.send_raw(PLAIN, 0, 1, b"wait a").await.expect("sent");
    tokio::time::sleep(Duration::from_millis(400)).await;
    gates.open("a");
    assert_eq!(next(&mut waiting).await.1, b"wait a");
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_costs_little() {
    let options = ServerOptions { write_stall: Duration::from_millis(200), ..ServerOptions::default() };
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let fixture = Fixture::start(&options, move |context, _| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Outcome::Now(answer(context, &vec![1; 4 * MEBIBYTE]))
    });
    let mut client = fixture.connect().await;
    for _ in 0..100 {
        client.send_raw(PLAIN, 0, 1, b"").await.expect("sent");
    }
    fixture.until("the connection is closed", |fixture| fixture.server.connections() == 0).await;
    assert!(calls.load(std::sync::atomic::Ordering::Relaxed) < 10);
}

#[tokio::test]
async fn answers_that_nobody_takes_give_way_when_others_need_the_memory() {
    let env = Env::real(tokio::runtime::Handle::current());
    env.memory.set_process_bytes(64 * MEBIBYTE);
    let fixture = Fixture::start_in(&env, &ServerOptions::default(), |context, _| {
        Outcome::Now(answer(context, &vec![1; 16 * MEBIBYTE]))
    });
    let mut deaf = fixture.connect().await;
    deaf.send_raw(PLAIN, 0, 1, b"").await.expect("sent");
    fixture.until("its answer is counted", |_| env.memory.work() > 4 * MEBIBYTE).await;
    // It alone may take long: nobody needs the memory of its answer until another one takes more than the share.
    let mut second = fixture.connect().await;
    second.send_raw(PLAIN, 0, 1, b"").await.expect("sent");
    fixture.until("who does not read is closed", |fixture| fixture.server.connections() < 2).await;
    let mut honest = fixture.connect().await;
    assert_eq!(ask(&mut honest, PLAIN, "").await.len(), 16 * MEBIBYTE);
    drop((deaf, second));
    fixture.until("memory is given back", |_| env.memory.work() == 0).await;
}

#[tokio::test]
async fn files_are_sent_and_a_short_one_ends_the_connection() {
    let env = Env::real(tokio::runtime::Handle::current());
    let directory = tempfile::tempdir().expect("a directory");
    let real = env.disk.open(&directory.path().join("real"), OpenMode::Truncate).expect("a file");
    let memory = Env::simulated(crate::env::ManualClock::new(0), 1).disk;
    memory.create_dir_all(Path::new("/data")).expect("a directory");
    let simulated = memory.open(Path::new("/data/simulated"), OpenMode::Truncate).expect("a file");
    let content: Vec<u8> = (0..3 * MEBIBYTE).map(|index| (index % 251) as u8).collect();
    for file in [&real, &simulated] {
        file.write_all_at(&content, 0).expect("written");
    }
    let fixture = Fixture::start(&ServerOptions::default(), move |context, body| {
        let file: &Arc<dyn DiskFile> = if body[0] == b'r' { &real } else { &simulated };
        let range = |position: u64, length: usize| Chunk::File { file: Arc::clone(file), position, length };
        let mut response = Response::default();
        let ranges = match &body[1..] {
            b"short" => vec![range(3 * MEBIBYTE as u64 - 10, 100_000)],
            b"small and short" => vec![range(3 * MEBIBYTE as u64 - 10, 100)],
            _ => vec![range(5, 2 * MEBIBYTE), range(1, 100), range(2, 0), range(3, 8192), range(7, 8193)],
        };
        let length = ranges.iter().map(Chunk::len).sum::<usize>() + 4;
        let head = [(length as i32).to_be_bytes(), context.correlation_id.to_be_bytes()].concat();
        response.chunks.push(Chunk::Bytes(head.into()));
        response.chunks.extend(ranges);
        Outcome::Now(response)
    });
    let mut wanted = content[5..5 + 2 * MEBIBYTE].to_vec();
    wanted.extend(&content[1..101]);
    wanted.extend(&content[3..3 + 8192]);
    wanted.extend(&content[7..7 + 8193]);
    for disk in ["r", "s"] {
        let mut client = fixture.connect().await;
        assert!(ask(&mut client, PLAIN, disk).await == wanted, "the bytes differ");
        assert!(ask(&mut client, PLAIN, disk).await == wanted, "the bytes differ");
        for short in ["short", "small and short"] {
            let mut client = fixture.connect().await;
            client.send_raw(PLAIN, 0, 1, format!("{disk}{short}").as_bytes()).await.expect("sent");
            assert_closed(&mut client).await;
        }
    }
}

#[tokio::test]
async fn connection_limits_hold() {
    let connection_limits = ConnectionLimits { total: 3, per_address: 2, overrides: HashMap::new() };
    let options = ServerOptions { connection_limits, ..ServerOptions::default() };
    let fixture = Fixture::start(&options, echo);
    let mut first = fixture.connect().await;
    let mut second = fixture.connect().await;
    ask(&mut first, PLAIN, "x").await;
    ask(&mut second, PLAIN, "x").await;
    let mut third = fixture.connect().await;
    assert_closed(&mut third).await;
    assert_eq!(fixture.metrics.connections_refused_total.get(), 1);
    drop(first);
    fixture.until("a place is free", |fixture| fixture.server.connections() == 1).await;
    let mut fourth = fixture.connect().await;
    ask(&mut fourth, PLAIN, "x").await;
}

#[tokio::test]
async fn connections_beyond_the_total_wait_for_a_place() {
    let connection_limits = ConnectionLimits { total: 1, ..ServerOptions::default().connection_limits };
    let options = ServerOptions { connection_limits, ..ServerOptions::default() };
    let fixture = Fixture::start(&options, echo);
    let mut first = fixture.connect().await;
    ask(&mut first, PLAIN, "x").await;
    let mut second = fixture.connect().await;
    let id = second.send_raw(PLAIN, 0, 1, b"y").await.expect("sent");
    ask(&mut first, PLAIN, "x").await;
    drop(first);
    assert_eq!(next(&mut second).await, (id, b"y".to_vec()));
}

#[tokio::test]
async fn stopping_answers_what_has_begun_and_waits_no_longer_than_its_grace() {
    let (fixture, gates) = gated(&ServerOptions::default());
    let address = fixture.server.addresses()[0].1;
    let mut client = fixture.connect().await;
    let mut idle = fixture.connect().await;
    ask(&mut idle, PLAIN, "x").await;
    client.send_raw(PLAIN, 0, 1, b"wait a").await.expect("sent");
    gates.until_started(2).await;
    let opener = async {
        assert_closed(&mut idle).await;
        gates.open("a");
    };
    let ((), ()) = timeout(SOON, async { tokio::join!(fixture.server.shutdown(SOON), opener) }).await.expect("stopped");
    assert_eq!(next(&mut client).await.1, b"wait a");
    assert_closed(&mut client).await;
    assert!(Client::connect(address).await.is_err());

    let (fixture, gates) = gated(&ServerOptions::default());
    let mut client = fixture.connect().await;
    client.send_raw(PLAIN, 0, 1, b"wait for ever").await.expect("sent");
    gates.until_started(1).await;
    timeout(SOON, fixture.server.shutdown(Duration::from_millis(50))).await.expect("stopped");
    assert_closed(&mut client).await;
}

#[tokio::test]
async fn a_port_in_use_is_told_clearly() {
    let fixture = Fixture::start(&ServerOptions::default(), echo);
    let options = ListenerOptions {
        name: "PLAINTEXT".to_owned(),
        protocol: SecurityProtocol::Plaintext,
        address: fixture.server.addresses()[0].1,
    };
    let error = BoundListener::bind(&options, 50).err().expect("in use");
    assert!(error.to_string().contains("already in use"), "{error}");
    let options = ListenerOptions { protocol: SecurityProtocol::Ssl, ..options };
    let error = BoundListener::bind(&options, 50).err().expect("not yet");
    assert!(error.to_string().contains("SSL is not supported yet"), "{error}");
}

#[test]
fn test_keys_are_the_real_ones() {
    assert_eq!(<ProduceRequest as kafka_protocol::protocol::Request>::KEY, AHEAD);
    assert_eq!(ApiVersionsRequest::VERSIONS.min, 0);
}
