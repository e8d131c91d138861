//! Tasks and threads.

use std::future::Future;
use std::pin::Pin;

/// A future on the heap that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Starts tasks and blocking work.
pub trait Spawn: Send + Sync {
    /// Runs a future in the background; `name` appears in logs.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>);
    /// Runs blocking work on a bounded pool.
    fn spawn_blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send>);
}
