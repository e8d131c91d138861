//! One file.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use parking_lot::RwLock;

use super::MemoryDisk;
use super::contents::FileState;
use super::faults::{Call, Device, Failure};
use crate::env::DiskFile;

/// A file; it lives on while handles to it do.
pub(super) struct MemoryFile {
    pub(super) state: RwLock<FileState>,
    device: Arc<Device>,
}

impl MemoryFile {
    pub(super) fn new(state: FileState, device: &Arc<Device>) -> Arc<Self> {
        Arc::new(Self { state: RwLock::new(state), device: device.clone() })
    }

    /// An empty file, made now.
    pub(super) fn empty(device: &Arc<Device>) -> Arc<Self> {
        let mut state = FileState::default();
        state.contents.modified_millis = device.clock.wall_millis();
        state.unsynced = device.simulation.is_some().then(Default::default);
        Self::new(state, device)
    }

    fn touch(&self, state: &mut FileState) {
        state.contents.modified_millis = self.device.clock.wall_millis();
    }
}

fn to_position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The first half of what slices hold.
fn first_half<'a>(slices: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut left = slices.iter().map(|slice| slice.len()).sum::<usize>() / 2;
    let mut half = Vec::new();
    for slice in slices {
        let part = slice.len().min(left);
        half.push(&slice[..part]);
        left -= part;
    }
    half
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let length = match self.device.on_call(Call::Read) {
            None => buffer.len(),
            Some(Failure::Short) => buffer.len().div_ceil(2),
            Some(failure) => return Err(failure.error()),
        };
        Ok(self.state.read().contents.read(&mut buffer[..length], to_position(offset)?))
    }

    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let position = to_position(offset)?;
        let slices: smallvec::SmallVec<[&[u8]; 4]> = slices.iter().map(|slice| &**slice).collect();
        let failure = self.device.on_call(Call::Write);
        self.device.lasting_fault(Call::Write)?;
        match failure {
            None | Some(Failure::Short) => {}
            Some(failure) => {
                if matches!(failure, Failure::Io | Failure::Full) && !self.device.is_halted() {
                    self.state.write().write(&first_half(&slices), position);
                    MemoryDisk::note(&self.device, Call::Write, Some(self), "a part");
                }
                return Err(failure.error());
            }
        }
        MemoryDisk::note_torn_write(&self.device, self, || first_half(&slices), position);
        let mut state = self.state.write();
        state.write(&slices, position);
        self.touch(&mut state);
        drop(state);
        MemoryDisk::note(&self.device, Call::Write, Some(self), "");
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Err(error) = self.device.begin(Call::Sync) {
            if !self.device.is_halted() && error.kind() != io::ErrorKind::Interrupted {
                self.state.write().fail_sync();
            }
            return Err(error);
        }
        if self.device.simulation.is_some() {
            self.state.write().sync();
        }
        MemoryDisk::note(&self.device, Call::Sync, Some(self), "");
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        self.device.begin(Call::Look)?;
        Ok(self.state.read().contents.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = to_position(len)?;
        self.device.begin(Call::SetLen)?;
        let mut state = self.state.write();
        state.set_len(len);
        self.touch(&mut state);
        drop(state);
        MemoryDisk::note(&self.device, Call::SetLen, Some(self), "");
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
