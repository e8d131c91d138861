//! The one door to the world: clock, randomness, disk, network and spawning, real and simulated.
//!
//! Contract: no other room calls the operating system (`.clippy.toml` bans the originals). `Disk` tells written from
//! synced. No lock of another room is taken in here.

mod clock;
mod disk;
mod random;
mod spawn;

use std::sync::Arc;

pub use clock::Clock;
pub use disk::{Disk, DiskFile, FileKind, FileMetadata, OpenMode};
pub use random::Random;
pub use spawn::{BoxFuture, Spawn};

/// The world as one value; cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Files and directories.
    pub disk: Arc<dyn Disk>,
    /// Tasks and threads.
    pub spawn: Arc<dyn Spawn>,
}
