//! The one door to the world: clock, randomness, disk, network and spawning, real and simulated.
//!
//! Contract: no other room calls the operating system (`.clippy.toml` bans the originals). `Disk` tells written from
//! synced. No lock of another room is taken in here.

mod clock;
mod container;
mod disk;
mod memory;
mod memory_disk;
pub mod net;
mod process;
mod process_statistics;
mod random;
mod real_disk;
mod socket;
mod spawn;

use std::sync::Arc;

pub use clock::{Clock, ManualClock, SystemClock};
pub use container::{container_gateway, host_name};
pub use disk::{Disk, DiskFile, DiskSpace, FileKind, FileMetadata, FileSystem, OpenMode};
pub use memory::{HeldMemory, MemoryBudget, MemoryWaiter, default_memory_budget};
pub use memory_disk::{Call, Failure, Fault, MemoryDisk, Moment, PlannedFault, PowerCut, PowerCuts};
pub use process::{available_parallelism, open_files_limit, raise_open_files_limit, start_in_background};
pub use process_statistics::{ProcessStatistics, process_statistics};
pub use random::{Random, SeededRandom, SystemRandom};
pub use real_disk::RealDisk;
pub use spawn::{BoxFuture, InlineSpawn, NamedFuture, Spawn, TokioSpawn, block_on, ready};

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
    /// What memory may be used for data on its way; without a limit until the broker sets one.
    pub memory: Arc<MemoryBudget>,
}

impl Env {
    /// The real world; tasks run on the runtime of `handle`.
    pub fn real(handle: tokio::runtime::Handle) -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
            disk: Arc::new(RealDisk),
            spawn: Arc::new(TokioSpawn::new(handle)),
            memory: MemoryBudget::unlimited(),
        }
    }

    /// The real world with a disk in memory: what `--ephemeral` runs on.
    pub fn ephemeral(handle: tokio::runtime::Handle) -> Self {
        let real = Self::real(handle);
        Self { disk: Arc::new(MemoryDisk::ephemeral(real.clock.clone())), ..real }
    }

    /// A world that stands still: a clock moved by hand, seeded randomness, a disk in memory, blocking work done at once.
    pub fn simulated(clock: ManualClock, seed: u64) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock);
        Self {
            random: Arc::new(SeededRandom::new(seed)),
            disk: Arc::new(MemoryDisk::new(clock.clone())),
            spawn: Arc::new(InlineSpawn::default()),
            memory: MemoryBudget::unlimited(),
            clock,
        }
    }
}
