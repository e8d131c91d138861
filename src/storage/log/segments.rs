//! The segments of a log as the scrub sees them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Log;
use crate::env::DiskFile;
use crate::storage::StorageResult;
use crate::storage::segment_files::{SegmentFileKind, SegmentFiles};

/// A segment at one moment. It may be gone when its files are opened: then they are not found, and the log has gone on without them.
#[derive(Clone)]
pub(in crate::storage) struct SegmentView {
    /// Its first offset, and its name.
    pub(in crate::storage) base_offset: i64,
    /// Bytes of its log file; of the active segment, those that were written.
    pub(in crate::storage) size: u64,
    /// Where the next segment begins; for the active segment, the end of the log.
    pub(in crate::storage) next_base_offset: i64,
    /// Whether it is the one that is written.
    pub(in crate::storage) is_active: bool,
    files: SegmentFiles,
}

impl SegmentView {
    /// Opens one of its files for reading, apart from the handles that readers share.
    pub(in crate::storage) fn open(&self, kind: SegmentFileKind) -> io::Result<Arc<dyn DiskFile>> {
        self.files.open_apart(kind)
    }

    /// The path of one of its files.
    pub(in crate::storage) fn path(&self, kind: SegmentFileKind) -> PathBuf {
        self.files.path_of(kind)
    }
}

impl Log {
    /// All segments, oldest first; the last one is the active one.
    pub(in crate::storage) fn segments(&self) -> StorageResult<Vec<SegmentView>> {
        let state = self.lock();
        self.check_usable(&state)?;
        let sealed = (0..state.sealed.len()).map(|index| {
            Ok(SegmentView {
                base_offset: state.sealed[index].base_offset(),
                size: state.sealed_size(index)?,
                next_base_offset: state.next_base_offset(index),
                is_active: false,
                files: state.sealed_files(index),
            })
        });
        let active = SegmentView {
            base_offset: state.active.base_offset(),
            size: state.active.size,
            next_base_offset: state.log_end_offset,
            is_active: true,
            files: state.active.files.clone(),
        };
        sealed.chain([Ok(active)]).collect()
    }
}
