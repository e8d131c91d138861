//! hyper on our streams and our clock.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Read, ReadBufCursor, Sleep, Timer, Write};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::WRITE_STALL;
use crate::env::net::Stream;
use crate::env::{BoxFuture, Clock};

/// Bytes read at a time: requests are short.
const READ_BYTES: usize = 2048;

/// A stream whose peer must take what it asked for.
pub(super) struct HttpStream {
    stream: Stream,
    clock: Arc<dyn Clock>,
    /// Runs out when the peer has taken nothing for too long.
    stall: Option<BoxFuture<'static, ()>>,
}

impl HttpStream {
    pub(super) fn new(stream: Stream, clock: Arc<dyn Clock>) -> Self {
        Self { stream, clock, stall: None }
    }

    fn watch_stall<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stall = None;
            return poll;
        }
        let clock = &self.clock;
        let stall = self.stall.get_or_insert_with(|| clock.sleep_until(clock.monotonic() + WRITE_STALL));
        stall.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for HttpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ_BYTES];
        let room = READ_BYTES.min(buffer.remaining());
        let mut read = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(&mut self.get_mut().stream).poll_read(context, &mut read))?;
        buffer.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for HttpStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch_stall(context, poll)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.watch_stall(context, poll)
    }
}

/// hyper's timer on our clock.
#[derive(Clone)]
pub(super) struct HttpTimer(pub(super) Arc<dyn Clock>);

/// hyper wants it to be `Sync`; nobody but its owner polls it.
struct HttpSleep(Mutex<BoxFuture<'static, ()>>);

impl Future for HttpSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.get_mut().0.get_mut().as_mut().poll(context)
    }
}

impl Sleep for HttpSleep {}

impl Timer for HttpTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(HttpSleep(Mutex::new(self.0.sleep_until(self.0.monotonic() + duration))))
    }

    #[expect(clippy::disallowed_methods, reason = "hyper gives its deadlines in this clock's time")]
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(Instant::now()))
    }
}
