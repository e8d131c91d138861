//! Tasks and threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

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
