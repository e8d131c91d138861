//! Commands off the request threads, in the order in which they came (`KafkaEventQueue`): one blocking job at a time
//! drains the queue, so that a slow disk holds one thread and no connection.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::super::error::MetadataError;
use crate::env::{BoxFuture, Spawn};

/// The most commands that wait.
pub const MAX_WAITING_COMMANDS: usize = 10_000;

type Job = Box<dyn FnOnce() + Send>;

pub(super) struct CommandQueue {
    spawn: Arc<dyn Spawn>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    is_draining: bool,
}

impl CommandQueue {
    pub(super) fn new(spawn: Arc<dyn Spawn>) -> Arc<Self> {
        Arc::new(Self { spawn, waiting: Mutex::default() })
    }

    pub(super) fn submit<R: Send + 'static>(
        self: &Arc<Self>,
        command: impl FnOnce() -> Result<R, MetadataError> + Send + 'static,
    ) -> BoxFuture<'static, Result<R, MetadataError>> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Whoever asked may be gone; the command has taken effect all the same.
            let _ = sender.send(command());
        });
        let must_start = {
            let mut waiting = self.waiting.lock();
            if waiting.jobs.len() >= MAX_WAITING_COMMANDS {
                return Box::pin(async { Err(MetadataError::Busy) });
            }
            waiting.jobs.push_back(job);
            !std::mem::replace(&mut waiting.is_draining, true)
        };
        if must_start {
            let queue = self.clone();
            self.spawn.spawn_blocking("metadata-commands", Box::new(move || queue.drain()));
        }
        // A command that panicked, or a runtime that ends, drops the sender.
        Box::pin(async { receiver.await.unwrap_or(Err(MetadataError::Offline)) })
    }

    fn drain(&self) {
        let _guard = PanicGuard { queue: self };
        loop {
            let job = {
                let mut waiting = self.waiting.lock();
                match waiting.jobs.pop_front() {
                    Some(job) => job,
                    None => {
                        waiting.is_draining = false;
                        return;
                    }
                }
            };
            job();
        }
    }
}

/// After a command that panicked, those behind it fail instead of waiting for ever.
struct PanicGuard<'a> {
    queue: &'a CommandQueue,
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let waiting = std::mem::take(&mut *self.queue.waiting.lock());
            drop(waiting);
        }
    }
}
