//! Answers to a socket: small pieces gathered into one call, large file ranges by `sendfile`.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::cold_reads::ColdReads;
use super::memory::STALL_UNDER_PRESSURE;
use super::transport::Transport;
use crate::api::{Chunk, Response};
use crate::env::{Clock, HeldMemory, MemoryBudget};

/// File ranges up to this size are read and gathered: one packet and one wake-up of the peer, for which `sendfile` needs three, with what
/// stands in front of the records and behind them. Eight tailing groups at 20 MB/s cost 31.5 instead of 36.4 µs an answer than with 8 KiB;
/// `TCP_CORK` around `sendfile` gained nothing.
const GATHERED_FILE_SIZE: usize = 32 * 1024;
/// Bytes of file ranges that are read for one call.
const GATHERED_SIZE_MAX: usize = 256 * 1024;
/// Pieces in one call.
const MAX_SLICES: usize = 64;
/// Answers above this size are counted in the budget of memory before they are sent; others when the peer does not take them at once.
const COUNTED_ANSWER_BYTES: usize = 256 * 1024;

/// What is left to be sent on one connection.
pub struct ResponseWriter {
    chunks: VecDeque<Chunk>,
    /// Bytes in memory among them; those of a piece count until all of it is sent, since its buffer stays as long.
    memory_bytes: usize,
    /// Bytes of the piece in front that are sent already.
    front_sent: usize,
    stall: StallLimit,
    cold_reads: ColdReads,
}

/// How long a peer may take nothing.
struct StallLimit {
    limit: Duration,
    clock: Arc<dyn Clock>,
    budget: Arc<MemoryBudget>,
}

impl ResponseWriter {
    /// A writer that fails when the peer takes nothing for `stall_limit`, or for a second while others need the memory
    /// that its answers take.
    pub fn new(stall_limit: Duration, clock: Arc<dyn Clock>, budget: Arc<MemoryBudget>, cold_reads: ColdReads) -> Self {
        let stall = StallLimit { limit: stall_limit, clock, budget };
        Self { chunks: VecDeque::new(), memory_bytes: 0, front_sent: 0, stall, cold_reads }
    }

    /// Adds an answer behind those that are there.
    pub fn push(&mut self, response: Response) {
        for chunk in response.chunks {
            match &chunk {
                _ if chunk.is_empty() => continue,
                Chunk::Bytes(bytes) => self.memory_bytes += bytes.len(),
                Chunk::File { .. } => {}
            }
            self.chunks.push_back(chunk);
        }
    }

    /// Bytes in memory that wait to be sent.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Whether everything is sent.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Sends everything; returns the number of bytes. A file that ends early is `UnexpectedEof`, a peer that takes
    /// nothing for too long `TimedOut`: the connection cannot go on after either.
    pub async fn flush(&mut self, transport: &mut Transport) -> io::Result<u64> {
        let mut sent = 0;
        let mut held =
            (self.memory_bytes > COUNTED_ANSWER_BYTES).then(|| self.stall.budget.hold_work(self.memory_bytes));
        // Of the large range in front, how much is in memory.
        let mut in_memory = 0;
        while let Some(front) = self.chunks.front() {
            let count = match front {
                Chunk::File { file, position, length } if is_large_file(front) => {
                    let (file, position, length) = (Arc::clone(file), *position, *length);
                    if in_memory == 0 {
                        in_memory = self.cold_reads.bring(&file, position, length).await?;
                    }
                    let send = transport.send_file(file.as_ref(), position, in_memory);
                    let count = self.stall.apply(send, &mut held, self.memory_bytes).await?;
                    in_memory -= count.min(in_memory);
                    count
                }
                _ => {
                    in_memory = 0;
                    self.read_small_files().await?;
                    let write = self.write_gathered(transport);
                    self.stall.apply(write, &mut held, self.memory_bytes).await?
                }
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.consume(count);
            if let Some(held) = &mut held {
                held.resize(self.memory_bytes);
            }
            sent += count as u64;
        }
        Ok(sent)
    }

    /// Turns the small file ranges at the front into bytes.
    async fn read_small_files(&mut self) -> io::Result<()> {
        let mut gathered = 0;
        for chunk in self.chunks.iter_mut().take(MAX_SLICES) {
            gathered += chunk.len();
            if is_large_file(chunk) || gathered > GATHERED_SIZE_MAX {
                break;
            }
            let Chunk::File { file, position, length } = chunk else { continue };
            let bytes = self.cold_reads.read(file, *position, *length).await?;
            self.memory_bytes += bytes.len();
            *chunk = Chunk::Bytes(Bytes::from(bytes));
        }
        Ok(())
    }

    async fn write_gathered(&self, transport: &mut Transport) -> io::Result<usize> {
        poll_fn(|context| {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
                let Chunk::Bytes(bytes) = chunk else { break };
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            transport.poll_write(context, &slices[..count])
        })
        .await
    }

    fn consume(&mut self, mut count: usize) {
        while let Some(front) = self.chunks.front_mut() {
            let taken = count.min(front.len());
            match front {
                Chunk::Bytes(bytes) => {
                    bytes.advance(taken);
                    self.front_sent += taken;
                }
                Chunk::File { position, length, .. } => {
                    *position += taken as u64;
                    *length -= taken;
                }
            }
            count -= taken;
            if !front.is_empty() {
                return;
            }
            self.memory_bytes -= std::mem::take(&mut self.front_sent);
            self.chunks.pop_front();
        }
    }
}

/// Whether a range is sent from its file, and not read.
fn is_large_file(chunk: &Chunk) -> bool {
    matches!(chunk, Chunk::File { length, .. } if *length > GATHERED_FILE_SIZE)
}

impl StallLimit {
    /// The future's result, or `TimedOut`; costs no timer when the future is ready at once. The memory of answers that
    /// the peer does not take is counted.
    async fn apply<T>(
        &self,
        future: impl Future<Output = io::Result<T>>,
        held: &mut Option<HeldMemory>,
        memory_bytes: usize,
    ) -> io::Result<T> {
        let mut future = pin!(future);
        let mut timer = None;
        let mut stalled = Duration::ZERO;
        poll_fn(|context| {
            loop {
                if let Poll::Ready(result) = future.as_mut().poll(context) {
                    return Poll::Ready(result);
                }
                held.get_or_insert_with(|| self.budget.hold_work(memory_bytes));
                let step = STALL_UNDER_PRESSURE.min(self.limit - stalled);
                let timer = timer.get_or_insert_with(|| self.clock.sleep_until(self.clock.monotonic() + step));
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                stalled += step;
                let is_wanted = memory_bytes > 0 && (self.budget.is_wanted() || !self.budget.admits());
                if is_wanted || stalled >= self.limit {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                *timer =
                    self.clock.sleep_until(self.clock.monotonic() + STALL_UNDER_PRESSURE.min(self.limit - stalled));
            }
        })
        .await
    }
}

#[cfg(test)]
#[path = "response_writer_tests.rs"]
mod tests;
