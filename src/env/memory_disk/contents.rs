//! The bytes of a file in memory, and what of them a power cut may take.

use std::sync::Arc;

/// A file is a list of chunks of this size, the last one shorter; a growing file moves at most its last chunk. Copies of a file
/// share chunks until one of them writes.
pub(super) const CHUNK_SIZE: usize = 64 * 1024;

/// The bytes of a file.
#[derive(Clone, Default)]
pub(super) struct Contents {
    chunks: Vec<Arc<Vec<u8>>>,
    len: usize,
    pub(super) modified_millis: i64,
}

impl Contents {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut contents = Self::default();
        contents.write(bytes, 0);
        contents
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: usize) -> usize {
        let count = buffer.len().min(self.len.saturating_sub(offset));
        let mut done = 0;
        while done < count {
            let position = offset + done;
            let chunk = &self.chunks[position / CHUNK_SIZE][position % CHUNK_SIZE..];
            let part = chunk.len().min(count - done);
            buffer[done..done + part].copy_from_slice(&chunk[..part]);
            done += part;
        }
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        if offset + bytes.len() > self.len {
            self.set_len(offset + bytes.len());
        }
        let mut done = 0;
        while done < bytes.len() {
            let position = offset + done;
            let chunk = Arc::make_mut(&mut self.chunks[position / CHUNK_SIZE]);
            let chunk = &mut chunk[position % CHUNK_SIZE..];
            let part = chunk.len().min(bytes.len() - done);
            chunk[..part].copy_from_slice(&bytes[done..done + part]);
            done += part;
        }
    }

    pub(super) fn set_len(&mut self, len: usize) {
        let full = len / CHUNK_SIZE;
        self.chunks.truncate(len.div_ceil(CHUNK_SIZE));
        for index in self.chunks.len().saturating_sub(1)..len.div_ceil(CHUNK_SIZE) {
            if index == self.chunks.len() {
                self.chunks.push(Arc::default());
            }
            let size = if index < full { CHUNK_SIZE } else { len % CHUNK_SIZE };
            Arc::make_mut(&mut self.chunks[index]).resize(size, 0);
        }
        self.len = len;
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.read(&mut bytes, 0);
        bytes
    }
}

/// One change that no sync has covered.
#[derive(Clone)]
pub(super) enum FileChange {
    Write { offset: usize, bytes: Arc<[u8]> },
    SetLen(usize),
}

/// What a disk with a memory of syncs keeps beside the written bytes.
#[derive(Clone, Default)]
pub(super) struct Unsynced {
    /// As of the last sync.
    pub(super) durable: Contents,
    /// Since then, in order.
    pub(super) changes: Vec<FileChange>,
    /// A sync failed: the system has dropped what it was for, and says so once. Later syncs cover later changes only.
    pub(super) diverged: bool,
}

impl Unsynced {
    fn sync(&mut self, contents: &Contents) {
        if !self.diverged {
            self.durable = contents.clone();
            self.changes.clear();
        }
        for change in self.changes.drain(..) {
            match change {
                FileChange::Write { offset, bytes } => self.durable.write(&bytes, offset),
                FileChange::SetLen(len) => self.durable.set_len(len),
            }
        }
    }
}

/// A file as it is read, and as it is on the platter.
#[derive(Clone, Default)]
pub(super) struct FileState {
    pub(super) contents: Contents,
    /// `None` on an ephemeral disk.
    pub(super) unsynced: Option<Unsynced>,
}

impl FileState {
    /// A file whose bytes are all durable.
    pub(super) fn durable(contents: Contents) -> Self {
        let unsynced = Some(Unsynced { durable: contents.clone(), ..Unsynced::default() });
        Self { contents, unsynced }
    }

    /// Writes slices one behind the other: one change.
    pub(super) fn write(&mut self, slices: &[&[u8]], offset: usize) {
        let mut position = offset;
        for slice in slices {
            self.contents.write(slice, position);
            position += slice.len();
        }
        if let Some(unsynced) = &mut self.unsynced
            && position > offset
        {
            unsynced.changes.push(FileChange::Write { offset, bytes: slices.concat().into() });
        }
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len == self.contents.len() {
            return;
        }
        self.contents.set_len(len);
        if let Some(unsynced) = &mut self.unsynced {
            unsynced.changes.push(FileChange::SetLen(len));
        }
    }

    pub(super) fn sync(&mut self) {
        if let Some(unsynced) = &mut self.unsynced
            && !unsynced.changes.is_empty()
        {
            unsynced.sync(&self.contents);
        }
    }

    /// A sync that failed.
    pub(super) fn fail_sync(&mut self) {
        if let Some(unsynced) = &mut self.unsynced
            && !unsynced.changes.is_empty()
        {
            unsynced.changes.clear();
            unsynced.diverged = true;
        }
    }
}
