//! Frames from a socket: a 4-byte length and that many bytes (Kafka: `NetworkReceive`).
//!
//! The first read of a frame goes through a buffer on the stack, so that an idle connection holds no buffer and several
//! small frames cost one call; each small frame is copied once, to a buffer of its size. The rest of a longer frame is
//! read straight into a buffer of its own, which grows as bytes come; one that passes `RESERVED_FROM` gets the addresses of
//! its whole length once, so that nothing is copied any more, and memory only as bytes come. On a connection that sends long frames the first
//! read takes only the length, and what such a connection has sent before it is trusted to send again: the buffer has its
//! size at once, and the socket wakes the task when the frame is there. Every function may be left at any `Pending` and
//! called again.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::memory::{Evicted, FrameMemory, Lease, MAX_WAIT};
use super::transport::Transport;
use crate::env::Clock;
use crate::wire::{self, FRAME_LENGTH_SIZE, WireError};

/// Most that the first read of a frame takes.
const FIRST_READ_SIZE: usize = 16 * 1024;
/// Frames up to this length are not counted in the memory of all frames: connections × this is small.
const UNCOUNTED_FRAME_SIZE: usize = FIRST_READ_SIZE;
/// Most that one later read takes.
const READ_SIZE: usize = 1024 * 1024;
/// First allocation for a longer frame.
const FIRST_ALLOCATION: usize = 64 * 1024;
/// After a frame longer than this the next first read takes `LONG_FIRST_READ_SIZE` only: a second call costs less than the copy.
const LONG_FRAME_SIZE: usize = 32 * 1024;
/// The length, the key and the version of a frame.
const LONG_FIRST_READ_SIZE: usize = 8;
/// A connection's buffer is at once as long as its frame before, up to this.
const TRUSTED_SIZE_MAX: usize = READ_SIZE;
/// From this many missing bytes on the socket is told not to wake the task for fewer (Linux: `SO_RCVLOWAT`). Each early
/// read costs a wake-up, a call and a segment that announces the window.
const LOW_WATER_MIN: usize = 32 * 1024;
/// Up to here a buffer grows to four times what has come, then to twice.
const FAST_GROWTH_SIZE: usize = 1024 * 1024;
/// A buffer that grows beyond this is as long as its frame: of what is not written yet the system gives no memory, so that
/// only what has come is charged. Who lies about the length must have sent half of this.
const RESERVED_FROM: usize = 4 * 1024 * 1024;
/// Whether the peer has told who it is: nobody has to yet.
const AUTHENTICATED: bool = true;

/// Lengths and times a frame is held to.
#[derive(Clone, Copy, Debug)]
pub struct FrameLimits {
    /// Longest frames (`socket.request.max.bytes`).
    pub lengths: wire::FrameLimits,
    /// Time for a frame of no length; longer frames have more.
    pub base_time: Duration,
    /// Bytes per second that add to the time.
    pub minimum_rate: usize,
}

/// Why no frame comes.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The peer closed between frames.
    #[error("closed by the peer")]
    Closed,
    /// The peer closed within a frame.
    #[error("closed by the peer within a frame")]
    Truncated,
    /// Kafka: `InvalidReceiveException`.
    #[error(transparent)]
    InvalidLength(#[from] WireError),
    /// The frame's memory was given to others.
    #[error("a frame of {announced} bytes stood still at {received} while others waited for memory")]
    Stalled {
        /// The frame's length.
        announced: usize,
        /// What had come.
        received: usize,
    },
    /// There was no memory for the frame for too long.
    #[error("no memory for a frame of {announced} bytes")]
    NoMemory {
        /// The frame's length.
        announced: usize,
    },
    /// The frame took longer than its time.
    #[error("a frame did not arrive in time: {received} bytes came")]
    TooSlow {
        /// What had come.
        received: usize,
    },
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads one connection's frames.
pub struct FrameReader {
    limits: FrameLimits,
    memory: Arc<FrameMemory>,
    clock: Arc<dyn Clock>,
    /// Bytes read and not used yet.
    surplus: Bytes,
    length: [u8; FRAME_LENGTH_SIZE],
    length_filled: usize,
    frame: Option<PartialFrame>,
    /// When the frame in arrival began; time spent waiting for memory does not count.
    started: Duration,
    /// Since when there is no memory for the frame in arrival.
    without_memory: Option<Duration>,
    /// Length of the last frame.
    last_length: usize,
    /// What the socket has been told to wait for.
    low_water: usize,
}

struct PartialFrame {
    announced: usize,
    bytes: BytesMut,
    /// Bytes that there is memory for; the buffer may have addresses for more.
    room: usize,
    lease: Option<Lease>,
    key_checked: bool,
}

impl FrameReader {
    /// A reader at the beginning of a connection.
    pub fn new(limits: FrameLimits, memory: Arc<FrameMemory>, clock: Arc<dyn Clock>) -> Self {
        Self {
            limits,
            memory,
            clock,
            surplus: Bytes::new(),
            length: [0; FRAME_LENGTH_SIZE],
            length_filled: 0,
            frame: None,
            started: Duration::ZERO,
            without_memory: None,
            last_length: 0,
            low_water: 1,
        }
    }

    /// When the frame in arrival is late; `None` between frames.
    pub fn deadline(&self) -> Option<Duration> {
        self.in_frame().then(|| {
            let rate = self.limits.minimum_rate.max(1) as f64;
            self.started + self.limits.base_time + Duration::from_secs_f64(self.received() as f64 / rate)
        })
    }

    /// Bytes of the frame in arrival.
    pub fn received(&self) -> usize {
        self.frame.as_ref().map_or(self.length_filled, |frame| FRAME_LENGTH_SIZE + frame.bytes.len())
    }

    /// Whether the frame in arrival waits for memory and not for its sender.
    pub fn waits_for_memory(&self) -> bool {
        self.without_memory.is_some()
    }

    /// Whether a frame has begun.
    pub fn in_frame(&self) -> bool {
        self.length_filled > 0
    }

    /// Whether a whole frame has been read already, so that the next `poll_frame` will not touch the socket.
    pub fn has_buffered_frame(&self) -> bool {
        let Some((length, rest)) = self.surplus.split_at_checked(FRAME_LENGTH_SIZE) else { return false };
        if self.in_frame() {
            return false;
        }
        let announced = i32::from_be_bytes(length.try_into().unwrap_or_default());
        usize::try_from(announced).is_ok_and(|announced| rest.len() >= announced)
    }

    /// The next frame, without its length.
    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
        transport: &mut Transport,
    ) -> Poll<Result<Bytes, ReadError>> {
        loop {
            if !self.surplus.is_empty() {
                let surplus = std::mem::take(&mut self.surplus);
                let mut input = &surplus[..];
                let taken = self.poll_take(context, &mut input);
                if !input.is_empty() {
                    self.surplus = surplus.slice(surplus.len() - input.len()..);
                }
                if let Some(frame) = ready!(taken)? {
                    return Poll::Ready(Ok(frame));
                }
            }
            let (read, frame) = match &self.frame {
                // A few missing bytes come with the next frame's.
                Some(frame) if frame.announced - frame.bytes.len() > FIRST_READ_SIZE / 4 => {
                    let read = ready!(self.poll_rest(context, transport))?;
                    (read, self.take_complete())
                }
                _ => ready!(self.poll_first(context, transport))?,
            };
            if let Some(frame) = frame {
                return Poll::Ready(Ok(frame));
            }
            if read == 0 {
                return Poll::Ready(Err(if self.in_frame() { ReadError::Truncated } else { ReadError::Closed }));
            }
        }
    }

    /// Takes what it can from the input; a frame when one is complete.
    fn poll_take(&mut self, context: &Context<'_>, input: &mut &[u8]) -> Poll<Result<Option<Bytes>, ReadError>> {
        if self.frame.is_none() {
            if input.is_empty() {
                return Poll::Ready(Ok(None));
            }
            if self.length_filled == 0 {
                if let Some(frame) = self.take_whole(input)? {
                    return Poll::Ready(Ok(Some(frame)));
                }
                self.started = self.clock.monotonic();
            }
            let count = input.len().min(FRAME_LENGTH_SIZE - self.length_filled);
            input.copy_to_slice(&mut self.length[self.length_filled..self.length_filled + count]);
            self.length_filled += count;
            if self.length_filled < FRAME_LENGTH_SIZE {
                return Poll::Ready(Ok(None));
            }
            self.begin_frame()?;
        }
        let Some(frame) = &self.frame else { return Poll::Ready(Ok(None)) };
        let count = input.len().min(frame.announced - frame.bytes.len());
        if count > 0 {
            ready!(self.poll_room(context, count))?;
            let Some(frame) = &mut self.frame else { return Poll::Ready(Ok(None)) };
            frame.bytes.put_slice(&input[..count]);
            input.advance(count);
            frame.check_key(&self.limits)?;
        }
        Poll::Ready(Ok(self.take_complete()))
    }

    /// A short frame of which the input has every byte: the usual case.
    fn take_whole(&mut self, input: &mut &[u8]) -> Result<Option<Bytes>, ReadError> {
        let Some((length, behind)) = input.split_first_chunk() else { return Ok(None) };
        let length = self.limits.lengths.length(*length, AUTHENTICATED)?;
        if length > UNCOUNTED_FRAME_SIZE {
            return Ok(None);
        }
        let Some((frame, behind)) = behind.split_at_checked(length) else { return Ok(None) };
        if let Some(start) = frame.first_chunk() {
            self.limits.lengths.check(length, wire::peek_api(*start).0, AUTHENTICATED)?;
        }
        *input = behind;
        self.last_length = length;
        Ok(Some(Bytes::copy_from_slice(frame)))
    }

    fn begin_frame(&mut self) -> Result<(), ReadError> {
        let length = self.limits.lengths.length(self.length, AUTHENTICATED)?;
        let lease = (length > UNCOUNTED_FRAME_SIZE).then(|| self.memory.lease(length, self.clock.monotonic()));
        self.frame =
            Some(PartialFrame { announced: length, bytes: BytesMut::new(), room: 0, lease, key_checked: false });
        Ok(())
    }

    fn take_complete(&mut self) -> Option<Bytes> {
        let frame = self.frame.take_if(|frame| frame.bytes.len() == frame.announced)?;
        self.length_filled = 0;
        self.last_length = frame.announced;
        let bytes = frame.bytes.freeze();
        Some(match frame.lease {
            Some(lease) => lease.complete(bytes),
            None => bytes,
        })
    }

    /// Reads the beginning of frames: how many bytes came, and the first frame when it is complete.
    fn poll_first(
        &mut self,
        context: &mut Context<'_>,
        transport: &mut Transport,
    ) -> Poll<Result<(usize, Option<Bytes>), ReadError>> {
        let mut storage = [const { MaybeUninit::uninit() }; FIRST_READ_SIZE];
        let is_long = self.last_length > LONG_FRAME_SIZE && !self.in_frame();
        let size = if is_long { LONG_FIRST_READ_SIZE } else { FIRST_READ_SIZE };
        let mut buffer = ReadBuf::uninit(&mut storage[..size]);
        if Pin::new(&mut *transport).poll_read(context, &mut buffer)?.is_pending() {
            self.set_low_water(transport, 1);
            self.waiting(context)?;
            return Poll::Pending;
        }
        let mut input = buffer.filled();
        let count = input.len();
        let taken = self.poll_take(context, &mut input);
        if !input.is_empty() {
            self.surplus = Bytes::copy_from_slice(input);
        }
        Poll::Ready(Ok((count, ready!(taken)?)))
    }

    /// Reads the rest of a frame into its own buffer.
    fn poll_rest(&mut self, context: &mut Context<'_>, transport: &mut Transport) -> Poll<Result<usize, ReadError>> {
        ready!(self.poll_room(context, 1))?;
        let Some(frame) = &mut self.frame else { return Poll::Ready(Ok(0)) };
        let window = READ_SIZE.min(frame.room - frame.bytes.len());
        let mut target = (&mut frame.bytes).limit(window);
        let Poll::Ready(read) = pin!(transport.read_buf(&mut target)).poll(context)? else {
            self.set_low_water(transport, window);
            self.waiting(context)?;
            return Poll::Pending;
        };
        if let Some(lease) = &frame.lease {
            lease.progress(self.clock.monotonic());
        }
        frame.check_key(&self.limits)?;
        Poll::Ready(Ok(read))
    }

    /// Has the socket wake this task when `window` bytes are there, or no more fit.
    fn set_low_water(&mut self, transport: &Transport, window: usize) {
        let bytes = if window >= LOW_WATER_MIN { window } else { 1 };
        if self.low_water != bytes {
            self.low_water = bytes;
            transport.set_receive_low_water(bytes);
        }
    }

    /// Makes room for `more` bytes, and charges for it before there is any. The room grows with what has come: fast
    /// at first, since most frames are short and come at once.
    fn poll_room(&mut self, context: &Context<'_>, more: usize) -> Poll<Result<(), ReadError>> {
        let Some(PartialFrame { announced, bytes, room, lease, .. }) = &mut self.frame else {
            return Poll::Ready(Ok(()));
        };
        let (announced, received, held) = (*announced, bytes.len(), *room);
        let is_charged = lease.as_ref().is_none_or(|lease| lease.charged() >= held);
        if held >= received + more && is_charged {
            return Poll::Ready(Ok(()));
        }
        let factor = if received < FAST_GROWTH_SIZE { 4 } else { 2 };
        let trusted = (2 * self.last_length).min(TRUSTED_SIZE_MAX);
        let room = (received + more).max(received * factor).max(FIRST_ALLOCATION).max(trusted).min(announced);
        let room = room.max(held);
        if let Some(lease) = lease {
            let now = self.clock.monotonic();
            let charged = lease.poll_charge(context, room, now);
            ready!(self.note_charge(charged, now))?;
        }
        if let Some(frame) = &mut self.frame {
            let size = if room > RESERVED_FROM { announced } else { room };
            frame.bytes.reserve(size - received);
            frame.room = room;
        }
        Poll::Ready(Ok(()))
    }

    /// Times the wait for memory.
    fn note_charge(&mut self, charged: Poll<Result<(), Evicted>>, now: Duration) -> Poll<Result<(), ReadError>> {
        let announced = self.frame.as_ref().map_or(0, |frame| frame.announced);
        match (&charged, self.without_memory) {
            (Poll::Pending, None) => self.without_memory = Some(now),
            (Poll::Pending, Some(since)) if now.saturating_sub(since) >= MAX_WAIT => {
                return Poll::Ready(Err(ReadError::NoMemory { announced }));
            }
            (Poll::Ready(_), Some(since)) => {
                self.without_memory = None;
                self.started += now.saturating_sub(since);
            }
            _ => {}
        }
        charged.map_err(|Evicted| ReadError::Stalled { announced, received: self.received() })
    }

    /// Nothing to read: the memory may ask this frame to give way. A short frame is counted from here on.
    fn waiting(&mut self, context: &Context<'_>) -> Result<(), ReadError> {
        let Some(PartialFrame { lease, announced, bytes, room, .. }) = &mut self.frame else { return Ok(()) };
        let stalled = |Evicted| ReadError::Stalled { announced: *announced, received: bytes.len() };
        let now = self.clock.monotonic();
        let lease = lease.get_or_insert_with(|| self.memory.lease(*announced, now));
        // Where there is no room, the next bytes are not read before there is.
        if lease.charged() < *room
            && let Poll::Ready(charged) = lease.poll_charge(context, *room, now)
        {
            charged.map_err(stalled)?;
        }
        lease.stalled(context).map_err(stalled)
    }
}

impl PartialFrame {
    /// Refuses a length that only Produce may have, as soon as the API is known.
    fn check_key(&mut self, limits: &FrameLimits) -> Result<(), ReadError> {
        if self.key_checked {
            return Ok(());
        }
        if let Some(start) = self.bytes.first_chunk() {
            self.key_checked = true;
            limits.lengths.check(self.announced, wire::peek_api(*start).0, AUTHENTICATED)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "frame_reader_tests.rs"]
mod tests;
