//! The same work for many logs on a bounded number of threads.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use parking_lot::Mutex;

use crate::env::Env;

/// Below this many items, of little work each, more threads cost more than they bring.
pub(super) const ITEMS_PER_THREAD_MIN: usize = 16;

/// Runs `work` on every item, on the caller's thread and up to `threads` - 1 of the blocking pool; returns when all is done.
pub(super) fn for_each<T: Send + 'static>(
    env: &Env,
    threads: usize,
    items_per_thread: usize,
    items: Vec<T>,
    work: impl Fn(T) + Send + Sync + 'static,
) {
    let helpers = threads.saturating_sub(1).min(items.len() / items_per_thread.max(1));
    let queue = Arc::new(Mutex::new(items));
    let work = Arc::new(work);
    let (done, finished) = sync_channel::<()>(helpers.max(1));
    for _ in 0..helpers {
        let (queue, work, done) = (queue.clone(), work.clone(), done.clone());
        env.spawn.spawn_blocking(
            "logs",
            Box::new(move || {
                drain(&queue, &*work);
                let _ = done.send(());
            }),
        );
    }
    drop(done);
    drain(&queue, &*work);
    // Ends when every helper has reported or is gone.
    while finished.recv().is_ok() {}
}

fn drain<T>(queue: &Mutex<Vec<T>>, work: &(dyn Fn(T) + Send + Sync)) {
    loop {
        let item = queue.lock().pop();
        match item {
            Some(item) => work(item),
            None => return,
        }
    }
}
