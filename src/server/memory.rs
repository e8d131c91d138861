//! The memory that frames may take while they arrive and are handled: a share of the one budget ([`MemoryBudget`]).
//!
//! A frame is charged for the bytes that have come, not for the length it announces, so that a lie costs nothing. There
//! are two pools, by announced length, so that large frames cannot keep small ones out. When a pool is full:
//! - the sender waits (its socket is not read: backpressure);
//! - one frame, the first that asks, may go on beyond the limit, so that frames which together exceed the pool still
//!   finish one after the other;
//! - frames in arrival that stand still give way: their connections are closed, if nothing came for
//!   `STALL_UNDER_PRESSURE` (`STALL_BEYOND_LIMIT` for the one that goes beyond);
//! - who has waited for `MAX_WAIT` is closed too: the load is more than there is memory for.
//!
//! A frame also waits while answers and other work take the budget, and while these take more than their share no
//! connection begins to read another request ([`Admission`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::env::{HeldMemory, MemoryBudget, MemoryWaiter};

/// Frames up to this length are counted in the pool of the small ones.
pub const SMALL_FRAME_BYTES: usize = 2 * 1024 * 1024;
/// How long a frame may stand still while others wait for its memory.
pub const STALL_UNDER_PRESSURE: Duration = Duration::from_secs(1);
/// The same for the frame that may go beyond the limit: all others wait for it alone.
pub const STALL_BEYOND_LIMIT: Duration = Duration::from_millis(250);
/// How long a frame may wait for memory.
pub const MAX_WAIT: Duration = Duration::from_secs(10);
/// The part of the memory that only small frames may use.
const SMALL_POOL_SHARE: usize = 4;

/// The frame lost its memory to others because its sender stood still.
#[derive(Debug, PartialEq, Eq)]
pub struct Evicted;

/// All frames' memory.
pub struct FrameMemory {
    budget: Arc<MemoryBudget>,
    small: Pool,
    large: Pool,
    next_id: AtomicU64,
}

struct Pool {
    limit: usize,
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    used: usize,
    /// The frame that may go beyond the limit.
    beyond_limit: Option<u64>,
    frames: HashMap<u64, FrameState>,
    /// Whether a frame may wait for the pool, so that giving back costs no search where none does.
    has_waiting: bool,
}

struct FrameState {
    charged: usize,
    last_progress: Duration,
    /// All bytes are here: it is being handled and never evicted.
    complete: bool,
    evicted: bool,
    /// The connection, while it waits for memory.
    waiting: Option<Waker>,
    /// The connection, to tell it of its eviction.
    reader: Option<Waker>,
}

/// One frame's memory; given back when dropped.
pub struct Lease {
    memory: Arc<FrameMemory>,
    id: u64,
    large: bool,
    held: HeldMemory,
    waiter: MemoryWaiter,
}

impl FrameMemory {
    /// `limit` bytes of the budget for all frames together; one frame may exceed it at a time in each pool.
    pub fn new(budget: Arc<MemoryBudget>, limit: usize) -> Arc<Self> {
        let small = limit / SMALL_POOL_SHARE;
        let (small, large) = (Pool::new(small), Pool::new(limit - small));
        Arc::new(Self { budget, small, large, next_id: AtomicU64::new(0) })
    }

    /// The budget that all draw from.
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// A connection's place among those who wait to be let in.
    pub fn admission(&self) -> Admission {
        Admission { waiter: self.budget.waiter() }
    }

    /// Bytes charged now.
    pub fn used(&self) -> usize {
        self.small.state.lock().used + self.large.state.lock().used
    }

    /// Begins a frame of the announced length; nothing is charged yet.
    pub fn lease(self: &Arc<Self>, announced: usize, now: Duration) -> Lease {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (held, waiter) = (self.budget.hold_request(0), self.budget.waiter());
        let lease = Lease { memory: Arc::clone(self), id, large: announced > SMALL_FRAME_BYTES, held, waiter };
        let frame =
            FrameState { charged: 0, last_progress: now, complete: false, evicted: false, waiting: None, reader: None };
        lease.pool().state.lock().frames.insert(id, frame);
        lease
    }
}

/// Whether a connection may begin to read a request.
pub struct Admission {
    waiter: MemoryWaiter,
}

impl Admission {
    /// Ready unless answers and other work take more than their share of the budget; then the task is woken when some of
    /// it is given back.
    pub fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.waiter.budget().admits() {
            return Poll::Ready(());
        }
        self.waiter.register(context);
        if self.waiter.budget().admits() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Pool {
    fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::new(PoolState::default()) }
    }

    /// Whether the pool and the budget let a frame have `more` bytes.
    fn has_room(&self, state: &mut PoolState, budget: &MemoryBudget, id: u64, more: usize) -> bool {
        if state.used + more <= self.limit && budget.has_room(more) {
            return true;
        }
        // A frame that is longer than the whole budget gets it when nothing but frames takes any.
        *state.beyond_limit.get_or_insert(id) == id && (budget.has_room(more) || budget.work() == 0)
    }
}

impl PoolState {
    /// Takes the memory of the frames in arrival that stand still.
    fn evict_stalled(&mut self, except: u64, now: Duration) {
        let beyond_limit = self.beyond_limit;
        let stalled = self.frames.iter_mut().filter(|(id, frame)| {
            let limit = if beyond_limit == Some(**id) { STALL_BEYOND_LIMIT } else { STALL_UNDER_PRESSURE };
            **id != except
                && !frame.complete
                && frame.waiting.is_none()
                && frame.charged > 0
                && now.saturating_sub(frame.last_progress) >= limit
        });
        for (_, frame) in stalled {
            frame.evicted = true;
            if let Some(reader) = frame.reader.take() {
                reader.wake();
            }
        }
    }
}

impl Lease {
    fn pool(&self) -> &Pool {
        if self.large { &self.memory.large } else { &self.memory.small }
    }

    /// Bytes charged to this frame.
    pub fn charged(&self) -> usize {
        self.held.bytes()
    }

    /// Charges for `total` bytes of this frame; waits when there is no room.
    pub fn poll_charge(&mut self, context: &Context<'_>, total: usize, now: Duration) -> Poll<Result<(), Evicted>> {
        let more = total.saturating_sub(self.charged());
        let (memory, id) = (Arc::clone(&self.memory), self.id);
        let pool = if self.large { &memory.large } else { &memory.small };
        let mut state = pool.state.lock();
        if state.frames.get(&id).is_none_or(|frame| frame.evicted) {
            return Poll::Ready(Err(Evicted));
        }
        let mut room = pool.has_room(&mut state, &memory.budget, id, more);
        if !room {
            self.waiter.register(context);
            room = pool.has_room(&mut state, &memory.budget, id, more);
        }
        if room {
            state.used += more;
            self.held.resize(total.max(self.held.bytes()));
        } else {
            state.evict_stalled(id, now);
            state.has_waiting = true;
        }
        let Some(frame) = state.frames.get_mut(&id) else { return Poll::Ready(Err(Evicted)) };
        if !room {
            frame.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        frame.waiting = None;
        frame.charged += more;
        frame.last_progress = now;
        Poll::Ready(Ok(()))
    }

    /// Says that bytes came.
    pub fn progress(&self, now: Duration) {
        if let Some(frame) = self.pool().state.lock().frames.get_mut(&self.id) {
            frame.last_progress = now;
        }
    }

    /// Says that the reader waits for bytes and wants to be woken when it is evicted; `Err` when it already is.
    pub fn stalled(&self, context: &Context<'_>) -> Result<(), Evicted> {
        match self.pool().state.lock().frames.get_mut(&self.id) {
            Some(frame) if !frame.evicted => {
                match &mut frame.reader {
                    Some(reader) => reader.clone_from(context.waker()),
                    empty => *empty = Some(context.waker().clone()),
                }
                Ok(())
            }
            _ => Err(Evicted),
        }
    }

    /// All bytes are here; the buffer keeps its memory until its last slice is dropped.
    pub fn complete(self, bytes: Bytes) -> Bytes {
        if let Some(frame) = self.pool().state.lock().frames.get_mut(&self.id) {
            frame.complete = true;
            frame.reader = None;
        }
        Bytes::from_owner(Leased { bytes, _lease: self })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.pool().state.lock();
        state.frames.remove(&self.id);
        state.used -= self.held.bytes();
        if state.beyond_limit == Some(self.id) {
            state.beyond_limit = None;
        }
        if !std::mem::take(&mut state.has_waiting) {
            return;
        }
        let waiting: Vec<Waker> = state.frames.values_mut().filter_map(|frame| frame.waiting.take()).collect();
        drop(state);
        // Before those are woken who look for the room.
        self.held.resize(0);
        waiting.into_iter().for_each(Waker::wake);
    }
}

struct Leased {
    bytes: Bytes,
    _lease: Lease,
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(limit: usize) -> Arc<FrameMemory> {
        FrameMemory::new(MemoryBudget::unlimited(), limit)
    }

    const MEBIBYTE: usize = 1024 * 1024;

    fn charge(lease: &mut Lease, total: usize, now_ms: u64) -> Poll<Result<(), Evicted>> {
        let context = Context::from_waker(Waker::noop());
        lease.poll_charge(&context, total, Duration::from_millis(now_ms))
    }

    #[test]
    fn bytes_are_given_back_with_the_last_slice() {
        let memory = of(8 * MEBIBYTE);
        let mut lease = memory.lease(100, Duration::ZERO);
        assert_eq!(charge(&mut lease, 100, 0), Poll::Ready(Ok(())));
        let frame = lease.complete(Bytes::from(vec![1; 100]));
        let slice = frame.slice(10..20);
        drop(frame);
        assert_eq!(memory.used(), 100);
        drop(slice);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn large_frames_cannot_keep_small_ones_out() {
        let memory = of(8 * MEBIBYTE);
        let mut large: Vec<Lease> = (0..10).map(|_| memory.lease(50 * MEBIBYTE, Duration::ZERO)).collect();
        let granted = large.iter_mut().map(|lease| charge(lease, MEBIBYTE, 0)).filter(Poll::is_ready).count();
        // 6 MiB for the large ones, and the one that may go beyond.
        assert_eq!(granted, 7);
        let mut small = memory.lease(MEBIBYTE, Duration::ZERO);
        assert_eq!(charge(&mut small, MEBIBYTE, 0), Poll::Ready(Ok(())));
    }

    #[test]
    fn one_frame_may_finish_beyond_the_limit_and_then_the_next() {
        let memory = of(8 * MEBIBYTE);
        let mut first = memory.lease(50 * MEBIBYTE, Duration::ZERO);
        let mut second = memory.lease(50 * MEBIBYTE, Duration::ZERO);
        assert_eq!(charge(&mut first, 50 * MEBIBYTE, 0), Poll::Ready(Ok(())));
        assert_eq!(charge(&mut second, 50 * MEBIBYTE, 0), Poll::Pending);
        drop(first);
        assert_eq!(charge(&mut second, 50 * MEBIBYTE, 0), Poll::Ready(Ok(())));
    }

    #[test]
    fn who_stands_still_gives_way() {
        let memory = of(8 * MEBIBYTE);
        let mut idle = memory.lease(50 * MEBIBYTE, Duration::ZERO);
        let mut busy = memory.lease(50 * MEBIBYTE, Duration::ZERO);
        assert_eq!(charge(&mut idle, 6 * MEBIBYTE, 0), Poll::Ready(Ok(())));
        let mut beyond = memory.lease(50 * MEBIBYTE, Duration::ZERO);
        assert_eq!(charge(&mut beyond, MEBIBYTE, 700), Poll::Ready(Ok(())));
        assert_eq!(charge(&mut busy, MEBIBYTE, 900), Poll::Pending);
        let context = Context::from_waker(Waker::noop());
        assert_eq!(idle.stalled(&context), Ok(()));
        assert_eq!(beyond.stalled(&context), Ok(()));
        assert_eq!(charge(&mut busy, MEBIBYTE, 950), Poll::Pending);
        assert_eq!(idle.stalled(&context), Ok(()));
        assert_eq!(beyond.stalled(&context), Err(Evicted));
        assert_eq!(charge(&mut busy, MEBIBYTE, 1000), Poll::Pending);
        assert_eq!(idle.stalled(&context), Err(Evicted));
        drop(idle);
        assert_eq!(charge(&mut busy, MEBIBYTE, 1001), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_complete_frame_is_never_evicted() {
        let memory = of(8 * MEBIBYTE);
        let mut handled = memory.lease(50 * MEBIBYTE, Duration::ZERO);
        assert_eq!(charge(&mut handled, 10 * MEBIBYTE, 0), Poll::Ready(Ok(())));
        let frame = handled.complete(Bytes::new());
        let mut other = memory.lease(50 * MEBIBYTE, Duration::ZERO);
        assert_eq!(charge(&mut other, MEBIBYTE, 60_000), Poll::Pending);
        drop(frame);
        assert_eq!(charge(&mut other, MEBIBYTE, 60_000), Poll::Ready(Ok(())));
    }

    #[test]
    fn frames_wait_while_answers_take_the_budget() {
        let memory = FrameMemory::new(MemoryBudget::of(16 * MEBIBYTE), 8 * MEBIBYTE);
        let budget = Arc::clone(memory.budget());
        let answers = budget.hold_work(budget.limit() - MEBIBYTE);
        let mut frame = memory.lease(4 * MEBIBYTE, Duration::ZERO);
        assert_eq!(charge(&mut frame, MEBIBYTE, 0), Poll::Ready(Ok(())));
        assert_eq!(charge(&mut frame, 2 * MEBIBYTE, 0), Poll::Pending);
        assert!(budget.is_wanted());
        drop(answers);
        assert!(!budget.is_wanted());
        assert_eq!(charge(&mut frame, 2 * MEBIBYTE, 0), Poll::Ready(Ok(())));
        assert_eq!((budget.requests(), memory.used()), (2 * MEBIBYTE, 2 * MEBIBYTE));
        drop(frame);
        assert_eq!((budget.requests(), memory.used()), (0, 0));
    }

    #[test]
    fn a_frame_longer_than_the_budget_gets_it_when_nothing_else_does() {
        let memory = FrameMemory::new(MemoryBudget::of(16 * MEBIBYTE), 8 * MEBIBYTE);
        let mut frame = memory.lease(50 * MEBIBYTE, Duration::ZERO);
        let answers = memory.budget().hold_work(1);
        assert_eq!(charge(&mut frame, 50 * MEBIBYTE, 0), Poll::Pending);
        drop(answers);
        assert_eq!(charge(&mut frame, 50 * MEBIBYTE, 0), Poll::Ready(Ok(())));
    }

    #[test]
    fn nobody_is_let_in_while_answers_take_more_than_their_share() {
        let memory = FrameMemory::new(MemoryBudget::of(16 * MEBIBYTE), 8 * MEBIBYTE);
        let mut admission = memory.admission();
        let context = Context::from_waker(Waker::noop());
        assert_eq!(admission.poll(&context), Poll::Ready(()));
        let answers = memory.budget().hold_work(4 * MEBIBYTE);
        assert_eq!(admission.poll(&context), Poll::Pending);
        drop(answers);
        assert_eq!(admission.poll(&context), Poll::Ready(()));
    }
}
