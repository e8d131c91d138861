//! A proxy that knows Kafka's frames: it drops, cuts, delays and repeats by API key, and can lie.
//!
//! Clients reach it because the broker advertises its address. A fault is armed for the n-th request of an API that comes
//! from then on, and happens once. A repeated request is answered to nobody and *before* the original is forwarded: a client
//! may have sent the first one, lost the answer and tried again, but never in the other order.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::lies::Lie;

/// Longest frame; the workload's are far smaller.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Requests without an answer on one connection; librdkafka keeps to 1,000,000, the workload to a handful.
const IN_FLIGHT_MAX: usize = 10_000;
/// A repeated request that is not answered so soon ends the connection, as if it had been the only one.
const REPEAT_WITHIN: Duration = Duration::from_secs(3);

/// What happens to a request or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The broker answers; the client gets nothing and the connection is closed.
    DropAnswer,
    /// The client gets so many bytes of the answer, then the connection is closed.
    CutAnswer(usize),
    /// The broker gets so many bytes of the request, then the connection is closed.
    CutRequest(usize),
    /// The answer comes later, and everything behind it.
    DelayAnswer(Duration),
    /// The request comes later, and everything behind it.
    DelayRequest(Duration),
    /// The broker gets the request twice.
    Repeat,
    /// The request is changed on its way: the checker must notice what comes of it.
    Lie(Lie),
}

/// A fault that waits for its request.
#[derive(Clone, Copy, Debug)]
struct Armed {
    api: i16,
    /// So many requests of the API go unharmed first.
    skip: u64,
    fault: Fault,
}

/// What the proxy did.
#[derive(Default)]
pub struct Tally {
    /// Connections that it closed.
    pub cuts: AtomicU64,
    /// Answers that it dropped, whole or in part.
    pub dropped: AtomicU64,
    /// Requests or answers that it delayed.
    pub delayed: AtomicU64,
    /// Requests that it sent twice.
    pub repeated: AtomicU64,
    /// Requests that it changed.
    pub lies: AtomicU64,
}

struct Shared {
    broker: SocketAddr,
    armed: Mutex<Vec<Armed>>,
    refusing_until: Mutex<Option<Instant>>,
    cut_all: Notify,
    stopped: AtomicBool,
    tally: Tally,
}

/// A running proxy; it stops when it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Listens on `port` for connections to the broker.
    pub async fn start(port: u16, broker: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let shared = Arc::new(Shared {
            broker,
            armed: Mutex::default(),
            refusing_until: Mutex::default(),
            cut_all: Notify::new(),
            stopped: AtomicBool::new(false),
            tally: Tally::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { shared, accepting })
    }

    /// Arms a fault for the request of this API that comes after `skip` others.
    pub fn arm(&self, api: i16, skip: u64, fault: Fault) {
        self.shared.armed.lock().expect("not poisoned").push(Armed { api, skip, fault });
    }

    /// Closes every connection.
    pub fn cut_all(&self) {
        self.shared.cut_all.notify_waiters();
    }

    /// Closes new connections at once, for a time.
    pub fn refuse(&self, time: Duration) {
        *self.shared.refusing_until.lock().expect("not poisoned") = Some(Instant::now() + time);
    }

    /// No faults any more.
    pub fn heal(&self) {
        self.shared.armed.lock().expect("not poisoned").clear();
        *self.shared.refusing_until.lock().expect("not poisoned") = None;
    }

    /// What it did.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.cut_all.notify_waiters();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while !shared.stopped.load(Ordering::SeqCst) {
        let Ok((client, _)) = listener.accept().await else { continue };
        let refusing = shared.refusing_until.lock().expect("not poisoned").is_some_and(|until| Instant::now() < until);
        if refusing {
            shared.tally.cuts.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        tokio::spawn(connection(client, Arc::clone(&shared)));
    }
}

/// What the answer to a request goes through; requests are answered in order.
struct Expected {
    fault: Option<Fault>,
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let Ok(broker) = TcpStream::connect(shared.broker).await else { return };
    // Without these a delay would be the kernel's.
    let _ = (client.set_nodelay(true), broker.set_nodelay(true));
    let (client_in, client_out) = client.into_split();
    let (broker_in, broker_out) = broker.into_split();
    let (expect, expected) = tokio::sync::mpsc::channel(IN_FLIGHT_MAX);
    // Whichever direction ends first ends the connection.
    tokio::select! {
        _ = requests(client_in, broker_out, expect, &shared) => {}
        _ = answers(broker_in, client_out, expected, &shared) => {}
        () = shared.cut_all.notified() => { shared.tally.cuts.fetch_add(1, Ordering::Relaxed); }
    }
}

async fn requests(
    mut client: OwnedReadHalf,
    mut broker: OwnedWriteHalf,
    expect: tokio::sync::mpsc::Sender<Expected>,
    shared: &Shared,
) -> std::io::Result<()> {
    loop {
        let mut frame = read_frame(&mut client).await?;
        let api = frame.get(4..6).map_or(-1, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
        let fault = shared.take(api);
        match fault {
            Some(Fault::CutRequest(bytes)) => {
                let bytes = bytes.min(frame.len() - 1);
                broker.write_all(&frame[..bytes]).await?;
                shared.tally.cuts.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Some(Fault::DelayRequest(time)) => {
                shared.tally.delayed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(time).await;
                if has_gone(&mut client).await {
                    return Ok(());
                }
            }
            Some(Fault::Repeat) => {
                shared.tally.repeated.fetch_add(1, Ordering::Relaxed);
                let answered = tokio::time::timeout(REPEAT_WITHIN, repeat(shared.broker, &frame)).await;
                if !matches!(answered, Ok(Ok(()))) || has_gone(&mut client).await {
                    return Ok(());
                }
            }
            Some(Fault::Lie(lie)) if lie.change(&mut frame) => {
                shared.tally.lies.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        if !has_no_answer(api, &frame) && expect.send(Expected { fault }).await.is_err() {
            return Ok(());
        }
        broker.write_all(&frame).await?;
    }
}

/// A client that has gone has tried again elsewhere by now. A request that comes behind its own retry is what Kafka before
/// KIP-890 cannot tell from a new one.
async fn has_gone(client: &mut OwnedReadHalf) -> bool {
    let mut byte = [0];
    matches!(tokio::time::timeout(Duration::ZERO, client.peek(&mut byte)).await, Ok(Ok(0) | Err(_)))
}

/// Produce with acks=0, which the workload does not send: nothing may be expected for it.
fn has_no_answer(api: i16, frame: &[u8]) -> bool {
    const PRODUCE: i16 = 0;
    api == PRODUCE && super::lies::produce_acks(frame) == Some(0)
}

async fn repeat(broker: SocketAddr, frame: &[u8]) -> std::io::Result<()> {
    let stream = TcpStream::connect(broker).await?;
    stream.set_nodelay(true)?;
    let (mut input, mut output) = stream.into_split();
    output.write_all(frame).await?;
    read_frame(&mut input).await.map(drop)
}

async fn answers(
    mut broker: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    mut expected: tokio::sync::mpsc::Receiver<Expected>,
    shared: &Shared,
) -> std::io::Result<()> {
    loop {
        let frame = read_frame(&mut broker).await?;
        let fault = expected.try_recv().ok().and_then(|expected| expected.fault);
        let tally = &shared.tally;
        match fault {
            Some(Fault::DropAnswer) => {
                tally.dropped.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Some(Fault::CutAnswer(bytes)) => {
                let bytes = bytes.min(frame.len() - 1);
                client.write_all(&frame[..bytes]).await?;
                tally.dropped.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Some(Fault::DelayAnswer(time)) => {
                tally.delayed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(time).await;
            }
            _ => {}
        }
        client.write_all(&frame).await?;
    }
}

impl Shared {
    /// The fault for the next request of this API.
    fn take(&self, api: i16) -> Option<Fault> {
        let mut armed = self.armed.lock().expect("not poisoned");
        let mut due = None;
        for (number, entry) in armed.iter_mut().enumerate().filter(|(_, entry)| entry.api == api) {
            if entry.skip == 0 && due.is_none() {
                due = Some(number);
            } else {
                entry.skip = entry.skip.saturating_sub(1);
            }
        }
        due.map(|number| armed.remove(number).fault)
    }
}

/// A frame with its length.
async fn read_frame(stream: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    if length as usize > FRAME_BYTES_MAX {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; 4 + length as usize];
    frame[..4].copy_from_slice(&length.to_be_bytes());
    stream.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each frame with its correlation id, and counts what it got.
    async fn echo() -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let frames = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&frames);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    let (mut input, mut output) = stream.into_split();
                    while let Ok(frame) = read_frame(&mut input).await {
                        counter.fetch_add(1, Ordering::SeqCst);
                        let answer = [&[0, 0, 0, 8], &frame[8..12], b"done"].concat();
                        let _ = output.write_all(&answer).await;
                    }
                });
            }
        });
        (address, frames)
    }

    async fn proxied() -> (Proxy, u16, Arc<AtomicU64>) {
        let (address, frames) = echo().await;
        let free = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port").local_addr().expect("an address").port();
        (Proxy::start(free, address).await.expect("a proxy"), free, frames)
    }

    /// What a client reads until the end or the first answer.
    async fn ask(port: u16, api: u8, correlation: u8) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
        let request = [0, 0, 0, 9, 0, api, 0, 0, 0, 0, 0, correlation, 0];
        stream.write_all(&request).await.expect("written");
        let mut answer = Vec::new();
        while answer.len() < 12 {
            match stream.read_buf(&mut answer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        answer
    }

    #[tokio::test]
    async fn faults_happen_once_to_the_request_they_wait_for() {
        let (proxy, port, frames) = proxied().await;
        let whole = [0, 0, 0, 8, 0, 0, 0, 7, b'd', b'o', b'n', b'e'];
        proxy.arm(26, 1, Fault::DropAnswer);
        assert_eq!(ask(port, 26, 7).await, whole);
        assert_eq!(ask(port, 24, 7).await, whole, "another API is not harmed");
        assert_eq!(ask(port, 26, 7).await, [0; 0]);
        assert_eq!(ask(port, 26, 7).await, whole);
        proxy.arm(26, 0, Fault::CutAnswer(5));
        assert_eq!(ask(port, 26, 7).await, whole[..5]);
        let before = frames.load(Ordering::SeqCst);
        proxy.arm(26, 0, Fault::CutRequest(6));
        assert_eq!(ask(port, 26, 7).await, [0; 0]);
        assert_eq!(frames.load(Ordering::SeqCst), before, "the broker got no whole request");
        proxy.arm(26, 0, Fault::Repeat);
        assert_eq!(ask(port, 26, 7).await, whole);
        assert_eq!(frames.load(Ordering::SeqCst), before + 2);
        proxy.refuse(Duration::from_secs(60));
        assert_eq!(ask(port, 26, 7).await, [0; 0]);
        proxy.arm(26, 0, Fault::DropAnswer);
        proxy.heal();
        assert_eq!(ask(port, 26, 7).await, whole);
        let tally = proxy.tally();
        assert_eq!((tally.dropped.load(Ordering::SeqCst), tally.repeated.load(Ordering::SeqCst)), (2, 1));
    }
}
