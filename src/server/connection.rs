//! One connection: frames in, handlers called, answers out in the order of the requests.
//!
//! Kafka runs one request of a connection at a time (`SocketServer` mutes the channel). What a client can observe here is
//! the same: a request starts when the answers before it are done, except that requests whose row says `runs_ahead`
//! (Produce) may start while answers of such requests are waited for: their effect has happened already, only the
//! acknowledgement is missing, and several of them then share one flush. A request that could not be handled at once
//! (`Outcome::First`) is overtaken by none.

use std::any::Any;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::cold_reads::ColdReads;
use super::dispatch::Dispatch;
use super::frame_reader::{FrameLimits, FrameReader, ReadError};
use super::memory::{Admission, FrameMemory, STALL_BEYOND_LIMIT};
use super::response_writer::ResponseWriter;
use super::transport::Transport;
use crate::api::registry::{ApiEntry, Lookup};
use crate::api::{CloseReason, Outcome, RequestContext, Response};
use crate::env::{BoxFuture, Clock};
use crate::security::Principal;
use crate::telemetry::Metrics;
use crate::wire::{self, RequestHeader};

/// Answers that may be waited for on one connection.
const MAX_PENDING_ANSWERS: usize = 64;
/// Bytes of frames whose answers are waited for on one connection; one frame may exceed it.
const MAX_PENDING_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of answers that are gathered before they are written although another request is there already.
const GATHERED_ANSWER_BYTES: usize = 64 * 1024;

/// How far the server has gone towards its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// No new requests; those that have begun are answered.
    Draining,
    /// Connections are dropped.
    Closing,
}

/// What all connections of a server share.
pub struct Shared {
    /// The APIs.
    pub dispatch: Arc<dyn Dispatch>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Memory of all frames.
    pub memory: Arc<FrameMemory>,
    /// Limits of one frame.
    pub frame_limits: FrameLimits,
    /// `connections.max.idle.ms`.
    pub max_idle: Duration,
    /// How long a peer may take nothing of its answers.
    pub write_stall: Duration,
    /// Reads of what is not in memory.
    pub cold_reads: ColdReads,
    /// The server's end.
    pub phase: watch::Receiver<Phase>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("writing failed: {0}")]
    Write(#[from] io::Error),
    #[error(transparent)]
    Refused(#[from] CloseReason),
    #[error("idle")]
    Idle,
    #[error("the broker stops")]
    Stopping,
    #[error("a handler panicked: {0}")]
    Panicked(String),
}

struct PendingAnswer {
    answer: PendingState,
    runs_ahead: bool,
    frame_bytes: usize,
    begun: Begun,
}

/// When a request was taken, for its metrics.
#[derive(Clone, Copy)]
struct Begun {
    at: Duration,
    api_key: i16,
    api_version: i16,
}

enum PendingState {
    Ready(Response),
    Waiting(BoxFuture<'static, Result<Response, CloseReason>>),
    /// Not handled yet. `runs_ahead` is the request's once it is.
    First {
        outcome: BoxFuture<'static, Outcome>,
        runs_ahead: bool,
    },
    /// Done, without an answer.
    Silent,
    End(End),
}

impl PendingState {
    fn is_done(&self) -> bool {
        !matches!(self, Self::Waiting(_) | Self::First { .. })
    }
}

enum Event {
    Frame(Bytes),
    Answered,
    ReadEnded(ReadError),
    Timer,
    Draining,
}

/// One accepted connection.
pub struct Connection {
    shared: Arc<Shared>,
    transport: Transport,
    admission: Admission,
    reader: FrameReader,
    writer: ResponseWriter,
    pending: VecDeque<PendingAnswer>,
    pending_bytes: usize,
    /// A frame that may not start yet.
    parked: Option<(Bytes, &'static ApiEntry)>,
    /// Set when no more frames are read; the reason is told when the answers are out.
    ended: Option<End>,
    timer: Option<(Duration, BoxFuture<'static, ()>)>,
    last_activity: Duration,
    /// Whether something happened since `last_activity`, which is set when the connection begins to wait.
    active: bool,
    /// What every request's context starts from.
    context: RequestContext,
}

impl Connection {
    /// A connection that `listener` accepted.
    pub fn new(shared: Arc<Shared>, transport: Transport, listener: Arc<str>, peer: SocketAddr, id: u64) -> Self {
        let local = canonical(transport.local_address().unwrap_or(peer));
        let peer = canonical(peer);
        let context = RequestContext {
            api_key: 0,
            api_version: 0,
            correlation_id: 0,
            client_id: None,
            listener,
            peer,
            local,
            connection_id: id,
            principal: Principal::anonymous(),
        };
        Self {
            reader: FrameReader::new(shared.frame_limits, Arc::clone(&shared.memory), Arc::clone(&shared.clock)),
            writer: ResponseWriter::new(
                shared.write_stall,
                Arc::clone(&shared.clock),
                Arc::clone(shared.memory.budget()),
                shared.cold_reads.clone(),
            ),
            admission: shared.memory.admission(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            parked: None,
            ended: None,
            timer: None,
            last_activity: Duration::ZERO,
            active: true,
            context,
            transport,
            shared,
        }
    }

    /// Serves until the peer leaves, misbehaves or the server stops.
    pub async fn run(mut self: Box<Self>) {
        let mut phase = self.shared.phase.clone();
        let peer = self.context.peer;
        let end = {
            let mut closing = pin!(async move {
                // An error means that the server is gone.
                let _ = phase.wait_for(|phase| *phase >= Phase::Closing).await;
            });
            let mut serve = pin!(self.serve());
            poll_fn(|context| match serve.as_mut().poll(context) {
                Poll::Ready(end) => Poll::Ready(end),
                Poll::Pending => closing.as_mut().poll(context).map(|()| End::Stopping),
            })
            .await
        };
        self.shared.metrics.request_bytes_in_flight.add(-(self.pending_bytes as i64));
        self.report(peer, &end);
        // Tell the peer that nothing comes any more; what it does about it does not matter.
        let transport = &mut self.transport;
        let _ = poll_fn(|context| match transport.poll_shutdown(context) {
            Poll::Pending => Poll::Ready(Ok(())),
            ready => ready,
        })
        .await;
    }

    fn report(&self, peer: SocketAddr, end: &End) {
        match end {
            End::Read(ReadError::Closed | ReadError::Io(_)) | End::Idle | End::Stopping => {
                tracing::debug!("Connection from {peer} ended: {end}");
            }
            End::Panicked(_) => tracing::error!("Closing connection from {peer}: {end}"),
            End::Refused(_) | End::Read(_) => {
                self.shared.metrics.request_errors_total.increment();
                tracing::warn!("Closing connection from {peer}: {end}");
            }
            End::Write(_) => tracing::info!("Connection from {peer} ended: {end}"),
        }
    }

    async fn serve(&mut self) -> End {
        let mut phase = self.shared.phase.clone();
        let mut draining = pin!(async move {
            let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
        });
        loop {
            if let Some(end) = self.collect_answers() {
                // The answers before the one that ends the connection still go out.
                return match self.flush().await {
                    Ok(()) => end,
                    Err(error) => End::Write(error),
                };
            }
            if !self.may_gather_more()
                && let Err(error) = self.flush().await
            {
                return End::Write(error);
            }
            if self.pending.is_empty()
                && self.parked.is_none()
                && let Some(end) = self.ended.take()
            {
                return end;
            }
            if let Some((frame, entry)) = self.parked.take() {
                if self.may_start(entry) {
                    self.start(frame, entry);
                    continue;
                }
                self.parked = Some((frame, entry));
            }
            match poll_fn(|context| self.poll_event(context, draining.as_mut())).await {
                Event::Frame(frame) => self.take_frame(frame),
                Event::Answered => {}
                // Nobody is there any more to take an answer.
                Event::ReadEnded(ReadError::Io(error)) => return End::Read(error.into()),
                Event::ReadEnded(error) => self.ended = Some(error.into()),
                Event::Timer => {
                    if let Some(end) = self.check_deadlines() {
                        return end;
                    }
                }
                Event::Draining => self.ended = Some(End::Stopping),
            }
        }
    }

    /// Moves finished answers at the front to the writer; the end of the connection when that comes first.
    fn collect_answers(&mut self) -> Option<End> {
        while let Some(front) = self.pending.front()
            && front.answer.is_done()
        {
            let answer = self.pending.pop_front()?;
            self.pending_bytes -= answer.frame_bytes;
            self.shared.metrics.request_bytes_in_flight.add(-(answer.frame_bytes as i64));
            match answer.answer {
                PendingState::Ready(response) => {
                    self.count_answered(answer.begun);
                    self.writer.push(response);
                }
                PendingState::End(end) => return Some(end),
                PendingState::Silent | PendingState::Waiting(_) | PendingState::First { .. } => {}
            }
        }
        None
    }

    /// Kafka's TotalTimeMs without the time that the socket takes.
    fn count_answered(&self, begun: Begun) {
        let duration = self.shared.clock.monotonic().saturating_sub(begun.at);
        self.shared.metrics.requests.record(begun.api_key, begun.api_version, duration);
    }

    /// Whether the next request is here already and its answer can leave together with those before.
    fn may_gather_more(&self) -> bool {
        self.pending.is_empty()
            && self.parked.is_none()
            && self.ended.is_none()
            && self.writer.memory_bytes() < GATHERED_ANSWER_BYTES
            && self.reader.has_buffered_frame()
            && self.shared.memory.budget().admits()
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.writer.is_empty() {
            return Ok(());
        }
        let sent = self.writer.flush(&mut self.transport).await?;
        self.shared.metrics.response_bytes_total.add(sent);
        self.active = true;
        Ok(())
    }

    /// Whether a request may run before the answers that are waited for.
    fn may_start(&self, entry: &ApiEntry) -> bool {
        self.pending.is_empty()
            || (entry.runs_ahead
                && self.pending.len() < MAX_PENDING_ANSWERS
                && self.pending_bytes < MAX_PENDING_FRAME_BYTES
                && self.pending.iter().all(|answer| answer.runs_ahead))
    }

    fn poll_event(&mut self, context: &mut Context<'_>, draining: std::pin::Pin<&mut impl Future>) -> Poll<Event> {
        // The last one, which nothing overtakes, need not wait for the acknowledgements before it.
        let last = self.pending.len().saturating_sub(1);
        for index in [0, last].into_iter().take(self.pending.len()) {
            if let Some(answer) = self.pending.get_mut(index)
                && (index == 0 || matches!(answer.answer, PendingState::First { .. }))
                && answer.poll(context).is_ready()
            {
                if matches!(answer.answer, PendingState::End(End::Panicked(_))) {
                    self.shared.metrics.request_panics_total.increment();
                }
                return Poll::Ready(Event::Answered);
            }
        }
        // A frame that has begun is read on: its sender's time runs.
        let reads = self.ended.is_none()
            && self.parked.is_none()
            && (self.reader.in_frame() || self.admission.poll(context).is_ready());
        if !reads && !self.writer.is_empty() {
            // Gathered for a request that is not let in now.
            return Poll::Ready(Event::Answered);
        }
        if reads && let Poll::Ready(result) = self.reader.poll_frame(context, &mut self.transport) {
            return Poll::Ready(match result {
                Ok(frame) => Event::Frame(frame),
                Err(error) => Event::ReadEnded(error),
            });
        }
        if self.ended.is_none() && draining.poll(context).is_ready() {
            return Poll::Ready(Event::Draining);
        }
        self.poll_timer(context).map(|()| Event::Timer)
    }

    /// The moment that something must have happened by.
    fn deadline(&mut self) -> Option<Duration> {
        if self.parked.is_some() || self.ended.is_some() {
            return None;
        }
        if self.reader.waits_for_memory() {
            return Some(self.shared.clock.monotonic() + STALL_BEYOND_LIMIT);
        }
        match self.reader.deadline() {
            Some(deadline) => Some(deadline),
            None if self.pending.is_empty() => {
                if std::mem::take(&mut self.active) {
                    self.last_activity = self.shared.clock.monotonic();
                }
                Some(self.last_activity + self.shared.max_idle)
            }
            None => None,
        }
    }

    /// One timer for all deadlines, set anew only when one comes earlier than it: a busy connection never touches it.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline() else { return Poll::Pending };
        if self.timer.as_ref().is_none_or(|(at, _)| *at > deadline) {
            self.timer = Some((deadline, self.shared.clock.sleep_until(deadline)));
        }
        match &mut self.timer {
            Some((_, sleep)) => sleep.as_mut().poll(context),
            None => Poll::Pending,
        }
    }

    fn check_deadlines(&mut self) -> Option<End> {
        self.timer = None;
        if self.reader.waits_for_memory() || self.deadline()? > self.shared.clock.monotonic() {
            return None;
        }
        Some(if self.reader.in_frame() {
            End::Read(ReadError::TooSlow { received: self.reader.received() })
        } else {
            End::Idle
        })
    }

    /// Looks the request up, and starts it or lets it wait for the answers before it.
    fn take_frame(&mut self, frame: Bytes) {
        let metrics = &self.shared.metrics;
        self.active = true;
        metrics.requests_total.increment();
        metrics.request_bytes_total.add(frame.len() as u64);
        let Some(start) = frame.first_chunk() else {
            return self.end_after_answers(CloseReason::Refused("a frame without a request header".to_owned()).into());
        };
        let (key, version) = wire::peek_api(*start);
        match self.shared.dispatch.lookup(key, version) {
            Lookup::Entry(entry) | Lookup::UnknownApiVersionsVersion(entry) if self.may_start(entry) => {
                self.start(frame, entry);
            }
            Lookup::Entry(entry) | Lookup::UnknownApiVersionsVersion(entry) => self.parked = Some((frame, entry)),
            Lookup::Unsupported => {
                let reason = format!("received request with api key {key} and version {version}, which is not enabled");
                self.end_after_answers(CloseReason::Refused(reason).into());
            }
        }
    }

    fn end_after_answers(&mut self, end: End) {
        self.ended.get_or_insert(End::Stopping);
        let (answer, begun) = (PendingState::End(end), Begun { at: Duration::ZERO, api_key: -1, api_version: -1 });
        self.pending.push_back(PendingAnswer { answer, runs_ahead: false, frame_bytes: 0, begun });
    }

    /// Calls the handler.
    fn start(&mut self, mut frame: Bytes, entry: &'static ApiEntry) {
        let frame_bytes = frame.len();
        let header = match RequestHeader::decode_reusing(&mut frame, self.context.client_id.as_ref()) {
            Ok(header) => header,
            Err(error) => return self.end_after_answers(CloseReason::Refused(error.to_string()).into()),
        };
        self.context.api_key = header.api_key;
        self.context.api_version = header.api_version;
        self.context.correlation_id = header.correlation_id;
        self.context.client_id = header.client_id;
        let (at, api_key, api_version) = (self.shared.clock.monotonic(), header.api_key, header.api_version);
        let begun = Begun { at, api_key, api_version };
        let call = AssertUnwindSafe(|| self.shared.dispatch.call(entry, &self.context, frame));
        let outcome = match catch_unwind(call) {
            Ok(outcome) => outcome,
            Err(panic) => {
                self.shared.metrics.request_panics_total.increment();
                return self.end_after_answers(End::Panicked(panic_message(panic.as_ref())));
            }
        };
        match outcome {
            Outcome::Nothing => return self.count_answered(begun),
            Outcome::Close(reason) => return self.end_after_answers(reason.into()),
            Outcome::Now(_) | Outcome::Later(_) | Outcome::First(_) => {}
        }
        self.pending_bytes += frame_bytes;
        self.shared.metrics.request_bytes_in_flight.add(frame_bytes as i64);
        self.pending.push_back(PendingAnswer::of(outcome, entry.runs_ahead, frame_bytes, begun));
    }
}

impl PendingAnswer {
    fn of(outcome: Outcome, runs_ahead: bool, frame_bytes: usize, begun: Begun) -> Self {
        let may_be_overtaken = !matches!(outcome, Outcome::First(_));
        let answer = match outcome {
            Outcome::Now(response) => PendingState::Ready(response),
            Outcome::Later(future) => PendingState::Waiting(future),
            Outcome::First(outcome) => PendingState::First { outcome, runs_ahead },
            Outcome::Nothing => PendingState::Silent,
            Outcome::Close(reason) => PendingState::End(reason.into()),
        };
        Self { answer, runs_ahead: runs_ahead && may_be_overtaken, frame_bytes, begun }
    }

    /// Goes on with what is waited for; ready when that has brought it further.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let ended = match &mut self.answer {
            PendingState::Waiting(future) => match poll_caught(future, context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Ok(response))) => Ok(PendingState::Ready(response)),
                Poll::Ready(Ok(Err(reason))) => Err(reason.into()),
                Poll::Ready(Err(end)) => Err(end),
            },
            PendingState::First { outcome, runs_ahead } => match poll_caught(outcome, context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(outcome)) => {
                    *self = Self::of(outcome, *runs_ahead, self.frame_bytes, self.begun);
                    return Poll::Ready(());
                }
                Poll::Ready(Err(end)) => Err(end),
            },
            PendingState::Ready(_) | PendingState::Silent | PendingState::End(_) => return Poll::Pending,
        };
        self.answer = ended.unwrap_or_else(PendingState::End);
        Poll::Ready(())
    }
}

/// An IPv4 client of a socket that serves both families is shown as what it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn poll_caught<T>(future: &mut BoxFuture<'static, T>, context: &mut Context<'_>) -> Poll<Result<T, End>> {
    match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(End::Panicked(panic_message(panic.as_ref())))),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
