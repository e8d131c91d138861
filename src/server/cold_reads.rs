//! File ranges that are not in memory: the disk is waited for on the blocking pool, never on a thread that serves connections, so that
//! a reader of old records holds up nobody's append.

use std::io;
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use crate::env::{DiskFile, Spawn};

/// Cold reads that run at one time; the others wait their turn.
const COLD_READS_MAX: usize = 16;
/// Bytes looked at, and brought into memory, at a time.
const WINDOW_SIZE: usize = 1024 * 1024;
/// Bytes behind a cold range whose reading is begun: a reader of old records asks for them next.
const READ_AHEAD_SIZE: usize = 1024 * 1024;

/// Cold reads of a server. Cheap to clone.
#[derive(Clone)]
pub struct ColdReads {
    spawn: Arc<dyn Spawn>,
    places: Arc<Semaphore>,
}

impl ColdReads {
    /// Reads on the blocking pool of `spawn`.
    pub fn new(spawn: Arc<dyn Spawn>) -> Self {
        Self { spawn, places: Arc::new(Semaphore::new(COLD_READS_MAX)) }
    }

    /// Has the beginning of a range in memory; returns how many bytes that are. At no cost but a look when they are there.
    pub async fn bring(&self, file: &Arc<dyn DiskFile>, position: u64, length: usize) -> io::Result<usize> {
        let length = length.min(WINDOW_SIZE);
        if !file.is_cached(position, length) {
            let file = Arc::clone(file);
            self.run(move || file.load(position, length, READ_AHEAD_SIZE)).await?;
        }
        Ok(length)
    }

    /// Reads a range.
    pub async fn read(&self, file: &Arc<dyn DiskFile>, position: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        match file.read_cached_at(&mut bytes, position) {
            Ok(count) if count == length => return Ok(bytes),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let file = Arc::clone(file);
        self.run(move || {
            file.read_exact_at(&mut bytes, position)?;
            Ok(bytes)
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        // Never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let (sender, receiver) = oneshot::channel();
        let work = Box::new(move || {
            // Who gave up needs no answer.
            let _ = sender.send(work());
            drop(place);
        });
        self.spawn.spawn_blocking("cold read", work);
        receiver.await.map_err(io::Error::other)?
    }
}
