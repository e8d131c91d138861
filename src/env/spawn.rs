//! Tasks and threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

/// A future on the heap that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Starts tasks and blocking work.
pub trait Spawn: Send + Sync {
    /// Runs a future in the background; `name` appears in logs.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>);
    /// Runs blocking work on a bounded pool.
    fn spawn_blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send>);
    /// How long the threads that run tasks have been busy since the start, all together, and how many there are; `None` where
    /// nobody counts.
    fn busy(&self) -> Option<(Duration, usize)> {
        None
    }
}

/// Tasks on a tokio runtime; its `max_blocking_threads` bounds the pool.
pub struct TokioSpawn {
    handle: Handle,
}

impl TokioSpawn {
    /// Spawns on the runtime of `handle`.
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

impl Spawn for TokioSpawn {
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) {
        self.handle.spawn(future);
    }

    fn spawn_blocking(&self, _name: &'static str, work: Box<dyn FnOnce() + Send>) {
        self.handle.spawn_blocking(work);
    }

    fn busy(&self) -> Option<(Duration, usize)> {
        let metrics = self.handle.metrics();
        let workers = metrics.num_workers();
        Some(((0..workers).map(|worker| metrics.worker_total_busy_duration(worker)).sum(), workers))
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A future that is done.
pub fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

/// Waits for a future on this thread, which must be one of the blocking pool (or of a test).
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}

/// A spawned future and the name it was spawned by.
pub type NamedFuture = (&'static str, BoxFuture<'static, ()>);

/// Runs blocking work at once on the caller's thread and keeps futures until a test takes them.
#[derive(Clone, Default)]
pub struct InlineSpawn {
    futures: Arc<Mutex<Vec<NamedFuture>>>,
}

impl InlineSpawn {
    /// The futures spawned since the last call, by name.
    pub fn take(&self) -> Vec<NamedFuture> {
        std::mem::take(&mut self.futures.lock())
    }
}

impl Spawn for InlineSpawn {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        self.futures.lock().push((name, future));
    }

    fn spawn_blocking(&self, _name: &'static str, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}
