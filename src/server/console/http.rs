//! Connections and routes.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::exposition::Page;
use super::stream::{HttpStream, HttpTimer};
use super::{ACCEPT_BACKOFF, HEAD_TIME, MAX_HEAD_BYTES, Shared, health, status};
use crate::env::Spawn;
use crate::env::net::{Listener, Stream};

const INDEX: &str = "Ottla\n\n/health/live   the process answers\n/health/ready  clients are served\n/metrics       for Prometheus\n\
                     /status        JSON\n";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Accepts until `stop`.
pub(super) async fn accept(
    shared: Arc<Shared>,
    mut listener: Listener,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    let stopped = stop.clone();
    let mut stopping = pin!(stop.wait_for(|stop| *stop));
    loop {
        let connect = async {
            // Closed only with the console.
            let permit = Arc::clone(&shared.connections).acquire_owned().await.ok();
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            biased;
            _ = &mut stopping => return,
            accepted = connect => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = serve(Arc::clone(&shared), stream, stopped.clone(), (permit, alive.clone()));
                shared.env.spawn.spawn("console-connection", Box::pin(connection));
            }
            Err(error) => {
                tracing::debug!("Error while accepting an HTTP connection: {error}");
                let until = shared.env.clock.monotonic() + ACCEPT_BACKOFF;
                tokio::select! {
                    biased;
                    _ = &mut stopping => return,
                    () = shared.env.clock.sleep_until(until) => {}
                }
            }
        }
    }
}

/// One connection, until it ends or `stop`. The guards are kept meanwhile.
async fn serve<G>(shared: Arc<Shared>, stream: Stream, mut stop: watch::Receiver<bool>, guards: G) {
    let clock = Arc::clone(&shared.env.clock);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&shared, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(HttpTimer(Arc::clone(&clock)))
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(HttpStream::new(stream, clock), service);
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!("HTTP connection ended: {error}");
            }
        }
    }
    drop(guards);
}

pub(super) fn answer(shared: &Arc<Shared>, method: &Method, path: &str) -> Response<Answer> {
    if method != Method::GET && method != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are served\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/" => text(StatusCode::OK, TEXT, INDEX),
        "/health/live" | "/health/ready" | "/health" => {
            let (is_well, body) = health::answer(shared, path == "/health/live");
            let code = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            text(code, JSON, body)
        }
        "/status" => text(StatusCode::OK, JSON, status::answer(shared)),
        "/metrics" => metrics(shared),
        _ => text(StatusCode::NOT_FOUND, TEXT, format!("there is no {path} here\n\n{INDEX}")),
    }
}

fn metrics(shared: &Arc<Shared>) -> Response<Answer> {
    let Some(services) = shared.services.get() else {
        return later("the broker is starting\n");
    };
    let Ok(permit) = Arc::clone(&shared.scrapes).try_acquire_owned() else {
        return later("enough scrapes are running\n");
    };
    let page = Page::new(Arc::clone(services), Arc::clone(shared));
    let pieces = Pieces { spawn: Arc::clone(&shared.env.spawn), next: Next::Page(Box::new(page)), _permit: permit };
    response(StatusCode::OK, EXPOSITION, Answer::Pieces(pieces))
}

fn later(reason: &'static str) -> Response<Answer> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, TEXT, reason);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn text(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Answer> {
    response(code, kind, Answer::Text(Some(body.into())))
}

fn response(code: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The body of an answer.
pub(super) enum Answer {
    /// All of it.
    Text(Option<Bytes>),
    /// A scrape.
    Pieces(Pieces),
}

/// A scrape that is made while it is sent.
pub(super) struct Pieces {
    spawn: Arc<dyn Spawn>,
    next: Next,
    _permit: OwnedSemaphorePermit,
}

enum Next {
    /// Nobody works on it.
    Page(Box<Page>),
    /// The blocking pool does.
    Piece(oneshot::Receiver<(Box<Page>, Option<Bytes>)>),
    End,
}

impl Pieces {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match std::mem::replace(&mut self.next, Next::End) {
                Next::End => return Poll::Ready(None),
                Next::Page(mut page) => {
                    let (sender, receiver) = oneshot::channel();
                    let work = move || {
                        let piece = page.next_piece();
                        // Who has gone wants no more pieces.
                        let _ = sender.send((page, piece));
                    };
                    self.spawn.spawn_blocking("scrape", Box::new(work));
                    self.next = Next::Piece(receiver);
                }
                Next::Piece(mut receiver) => match Pin::new(&mut receiver).poll(context) {
                    Poll::Pending => {
                        self.next = Next::Piece(receiver);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((page, Some(piece)))) => {
                        self.next = Next::Page(page);
                        return Poll::Ready(Some(piece));
                    }
                    Poll::Ready(_) => return Poll::Ready(None),
                },
            }
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let piece = match self.get_mut() {
            Self::Text(text) => Poll::Ready(text.take()),
            Self::Pieces(pieces) => pieces.poll_piece(context),
        };
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}
