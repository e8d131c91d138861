//! What goes wrong on a simulated disk, and when.

use std::io;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::io::Errno;

use super::{DiskState, MemoryDisk};
use crate::env::Clock;

/// A failure that a test plans for all later calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every write fails with EIO.
    Write,
    /// Every sync fails with EIO.
    Sync,
    /// Every write fails with ENOSPC.
    Full,
}

/// What a disk is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Opening a file that exists.
    Open,
    /// Opening a file that does not.
    Create,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Cutting or extending a file, also by opening it truncated.
    SetLen,
    /// Syncing a file.
    Sync,
    /// Syncing a directory.
    SyncDirectory,
    /// Creating a directory.
    CreateDirectory,
    /// Renaming.
    Rename,
    /// Removing a file or a directory.
    Remove,
    /// Asking for metadata, sizes or a directory's entries.
    Look,
}

impl Call {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Open,
        Self::Create,
        Self::Read,
        Self::Write,
        Self::SetLen,
        Self::Sync,
        Self::SyncDirectory,
        Self::CreateDirectory,
        Self::Rename,
        Self::Remove,
        Self::Look,
    ];
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// EIO; a write has written its first half.
    Io,
    /// ENOSPC; a write has written its first half, as far as there was room.
    Full,
    /// EMFILE.
    TooManyFiles,
    /// EINTR.
    Interrupted,
    /// No error: a read gives half of what was asked for, at least one byte. Other calls are not touched.
    Short,
}

impl Failure {
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Full => io::ErrorKind::StorageFull.into(),
            Self::TooManyFiles => Errno::MFILE.into(),
            Self::Interrupted => io::ErrorKind::Interrupted.into(),
            Self::Io | Self::Short => Errno::IO.into(),
        }
    }
}

/// A failure of the n-th call of some kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedFault {
    /// The kinds of calls that count.
    pub calls: &'static [Call],
    /// The first call that fails, from 1 on, counted from now.
    pub nth: u64,
    /// How many fail; `u64::MAX`: all from then on.
    pub times: u64,
    /// How.
    pub failure: Failure,
}

/// The disk right after a call that may have changed it.
pub struct Moment {
    /// The call and its path.
    pub what: String,
    /// What the test last gave to [`MemoryDisk::mark`].
    pub mark: u64,
    /// A copy; what was not synced is not synced in it either.
    pub disk: MemoryDisk,
}

/// What files know of their disk. Not the disk itself, which knows its files: neither would ever be freed.
pub(super) struct Device {
    pub(super) clock: Arc<dyn Clock>,
    /// `None` for `--ephemeral`: no durable contents are kept beside the written ones, nothing is counted.
    pub(super) simulation: Option<Mutex<Simulation>>,
}

#[derive(Default)]
pub(super) struct Simulation {
    pub(super) fault: Option<Fault>,
    pub(super) planned: Vec<(PlannedFault, u64)>,
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) halt_at: u64,
    pub(super) watch: Option<Watch>,
}

pub(super) struct Watch {
    pub(super) disk: Weak<Mutex<DiskState>>,
    pub(super) mark: u64,
    pub(super) moments: Vec<Moment>,
}

impl Device {
    pub(super) fn simulated(clock: Arc<dyn Clock>) -> Self {
        let simulation = Simulation { halt_at: u64::MAX, ..Simulation::default() };
        Self { clock, simulation: Some(Mutex::new(simulation)) }
    }

    /// Counts a call; gives the failure that is planned for it.
    pub(super) fn on_call(&self, call: Call) -> Option<Failure> {
        let mut simulation = self.simulation.as_ref()?.lock();
        simulation.calls += 1;
        if simulation.calls >= simulation.halt_at {
            return Some(Failure::Io);
        }
        let mut failure = None;
        for (fault, seen) in simulation.planned.iter_mut().filter(|(fault, _)| fault.calls.contains(&call)) {
            *seen += 1;
            if *seen >= fault.nth && *seen - fault.nth < fault.times {
                failure = failure.or(Some(fault.failure));
            }
        }
        simulation.failures += u64::from(failure.is_some());
        failure
    }

    /// Whether a halted disk takes no part of a write either.
    pub(super) fn is_halted(&self) -> bool {
        self.simulation.as_ref().is_some_and(|simulation| {
            let simulation = simulation.lock();
            simulation.calls >= simulation.halt_at
        })
    }

    /// The failure of all calls of a kind, if one is set.
    pub(super) fn lasting_fault(&self, call: Call) -> io::Result<()> {
        let Some(simulation) = &self.simulation else { return Ok(()) };
        let fault = simulation.lock().fault;
        match (fault, call) {
            (Some(Fault::Full), Call::Write) => Err(Failure::Full.error()),
            (Some(Fault::Write), Call::Write | Call::SetLen)
            | (Some(Fault::Sync), Call::Sync | Call::SyncDirectory) => Err(Failure::Io.error()),
            _ => Ok(()),
        }
    }

    /// Counts a call that fails as a whole if it fails.
    pub(super) fn begin(&self, call: Call) -> io::Result<()> {
        match self.on_call(call) {
            Some(Failure::Short) | None => self.lasting_fault(call),
            Some(failure) => Err(failure.error()),
        }
    }
}
