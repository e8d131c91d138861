//! A volume without room: clients' records are refused, everything that makes room goes on (Redpanda's ballast file).
//!
//! While a volume has room, nothing is polled: its room is looked at after some bytes of appends. When it runs low, or a write
//! fails for want of room, the ballast is given up, so that offsets, metadata and deletions can still be written; clients' appends
//! are refused with an error that they repeat. From then on the room is looked at once a second, until there is enough for the
//! ballast and more: then the ballast is written again and clients are let in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::StorageResult;
use super::directory::LogDirectory;
use crate::env::{Disk, DiskSpace, OpenMode};

/// The file that is given up when the volume is full. Kafka looks at directories only.
pub(super) const BALLAST_FILE: &str = ".ottla-ballast";
/// The ballast takes at most this part of a volume.
const BALLAST_PART: u64 = 32;
/// Room that clients' records are kept out of: this part of the volume, at most so many bytes.
const RESERVE_PART: u64 = 64;
const RESERVE_MAX: u64 = 8 << 20;
/// Time between looks while the volume is full.
const POLL: Duration = Duration::from_secs(1);
/// Bytes of the ballast that are written at a time.
const BALLAST_CHUNK: usize = 64 << 10;

/// What is known of the room on a directory's volume.
#[derive(Default)]
pub(super) struct Room {
    full: AtomicBool,
    unchecked_bytes: AtomicU64,
    /// `ottla.ballast.bytes`.
    ballast_max: AtomicU64,
    /// Held while the ballast is written or removed.
    ballast: Mutex<()>,
}

/// Whether a write failed because the volume, or a quota, has no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn reserve(space: &DiskSpace) -> u64 {
    (space.total / RESERVE_PART).min(RESERVE_MAX)
}

impl LogDirectory {
    /// Whether clients' records are refused because the volume is full.
    pub fn is_full(&self) -> bool {
        self.room.full.load(Ordering::Acquire)
    }

    /// Whether there is room for a client's batch.
    pub(super) fn check_room(&self, bytes: u64) -> StorageResult<()> {
        if self.is_full() {
            return Err(self.full_error("no room is left for records of clients"));
        }
        let unchecked = self.room.unchecked_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unchecked < RESERVE_MAX / 16 {
            return Ok(());
        }
        let Some(space) = self.space() else { return Ok(()) };
        // On a small volume the reserve is small: look more often.
        self.room.unchecked_bytes.store((RESERVE_MAX / 16).saturating_sub(reserve(&space) / 4), Ordering::Relaxed);
        if space.usable.saturating_sub(bytes) >= reserve(&space) {
            return Ok(());
        }
        let reason = format!("{} bytes are left on its volume", space.usable);
        self.enter_full(&reason);
        Err(self.full_error(&reason))
    }

    /// Gives up the ballast and refuses clients' records until there is room again.
    pub(super) fn enter_full(&self, reason: &str) {
        if self.room.full.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::error!(
            "{} is full ({reason}): records of clients are refused until there is room",
            self.path().display()
        );
        self.release_ballast();
        let (env, owner) = (self.env.clone(), self.weak());
        let task = async move {
            loop {
                env.clock.sleep_until(env.clock.monotonic() + POLL).await;
                let Some(directory) = owner.upgrade() else { return };
                let (done, has_room) = tokio::sync::oneshot::channel();
                let look = move || {
                    // Nobody listens: the runtime ends.
                    let _ = done.send(directory.leave_full_if_room());
                };
                env.spawn.spawn_blocking("disk-full", Box::new(look));
                if !matches!(has_room.await, Ok(false)) {
                    return;
                }
            }
        };
        self.env.spawn.spawn("disk-full", Box::pin(task));
    }

    /// Lets clients in again if there is room for them and for the ballast; whether that is so, or no longer matters.
    fn leave_full_if_room(&self) -> bool {
        if self.is_offline() {
            return true;
        }
        if let Some(space) = self.space()
            && space.usable < self.ballast_bytes(&space) + 2 * reserve(&space)
        {
            return false;
        }
        if self.write_ballast().is_err() {
            return false;
        }
        tracing::info!("{} has room again", self.path().display());
        self.room.unchecked_bytes.store(0, Ordering::Relaxed);
        self.room.full.store(false, Ordering::Release);
        let listener = self.room_listener.lock().clone();
        if let Some(listener) = listener {
            listener();
        }
        true
    }

    /// Sets `ottla.ballast.bytes`.
    pub(super) fn set_ballast_max(&self, bytes: u64) {
        self.room.ballast_max.store(bytes, Ordering::Relaxed);
    }

    /// Looks at the room when the directory is opened: a full volume gives up its ballast before logs are recovered.
    pub(super) fn check_room_at_start(&self) {
        if let Some(space) = self.space()
            && space.usable < reserve(&space)
        {
            self.enter_full(&format!("{} bytes are left on its volume", space.usable));
        }
    }

    /// Writes the ballast, unless it is there.
    pub(super) fn keep_ballast(&self) {
        if !self.is_full()
            && !self.is_offline()
            && let Err(error) = self.write_ballast()
        {
            tracing::warn!("{} cannot be written: {error}", self.ballast_path().display());
            if is_full(&error) {
                self.enter_full(&error.to_string());
            }
        }
    }

    fn space(&self) -> Option<DiskSpace> {
        self.env.disk.space(self.path()).ok().flatten()
    }

    fn ballast_path(&self) -> PathBuf {
        self.path().join(BALLAST_FILE)
    }

    fn ballast_bytes(&self, space: &DiskSpace) -> u64 {
        self.room.ballast_max.load(Ordering::Relaxed).min(space.total / BALLAST_PART)
    }

    /// Nothing where the size of the volume is not known: there is no volume.
    fn write_ballast(&self) -> io::Result<()> {
        let _ballast = self.room.ballast.lock();
        let Some(space) = self.space() else { return Ok(()) };
        let bytes = self.ballast_bytes(&space);
        let path = self.ballast_path();
        let disk = &self.env.disk;
        match disk.metadata(&path) {
            Ok(found) if found.len == bytes => return Ok(()),
            Err(_) if bytes == 0 => return Ok(()),
            _ => {}
        }
        let written = match bytes {
            0 => disk.remove_file(&path),
            bytes => fill(&*self.env.disk, &path, bytes),
        };
        if written.is_err() {
            // Half a ballast would only be in the way.
            let _ = disk.remove_file(&path);
        }
        written
    }

    fn release_ballast(&self) {
        let _ballast = self.room.ballast.lock();
        match self.env.disk.remove_file(&self.ballast_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!("{} cannot be removed: {error}", self.ballast_path().display());
            }
            _ => {}
        }
    }
}

/// Fills a file with bytes that no file system can make smaller or leave out; on the disk only when the system likes: the blocks
/// are taken already.
fn fill(disk: &dyn Disk, path: &Path, bytes: u64) -> io::Result<()> {
    let file = disk.open(path, OpenMode::Truncate)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chunk = vec![0; BALLAST_CHUNK];
    let mut position = 0;
    while position < bytes {
        for word in chunk.chunks_exact_mut(8) {
            // Xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let part = usize::try_from(bytes - position).unwrap_or(usize::MAX).min(BALLAST_CHUNK);
        file.write_all_at(&chunk[..part], position)?;
        position += part as u64;
    }
    Ok(())
}
