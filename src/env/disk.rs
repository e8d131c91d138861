//! Files and directories. Written and synced are different things: what is only written may be gone after a power cut.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mutant;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist; reads only.
    Read,
    /// It must exist; reads and writes.
    ReadWrite,
    /// Created when missing; reads and writes; existing bytes stay.
    CreateReadWrite,
    /// Created when missing, emptied when not; reads and writes.
    Truncate,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// What is known of a path without opening it.
#[derive(Clone, Copy, Debug)]
pub struct FileMetadata {
    /// File or directory.
    pub kind: FileKind,
    /// Bytes, of a file.
    pub len: u64,
    /// Milliseconds since the Unix epoch of the last change.
    pub modified_millis: i64,
}

/// The room on a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// All bytes.
    pub total: u64,
    /// Bytes that this process may still write.
    pub usable: u64,
}

/// An open file; positions are explicit, so that readers and the writer share one handle.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all slices at `offset`, in one call where the system allows.
    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Makes all written bytes durable (`fdatasync`). An error is final: never call it again for this file.
    fn sync_data(&self) -> io::Result<()>;
    /// The file's length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Sets when the file was changed last, in milliseconds since the Unix epoch; a hint, which a simulated file does not take.
    fn set_modified(&self, _millis: i64) -> io::Result<()> {
        Ok(())
    }
    /// The descriptor for `sendfile`; `None` for a simulated file.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// As [`DiskFile::read_at`], of what is in memory: fewer bytes than are there, or `WouldBlock`, where the disk would have to be
    /// waited for.
    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }

    /// Whether a range is in memory, as far as some of its pages tell; also where nothing can tell.
    fn is_cached(&self, _offset: u64, _length: usize) -> bool {
        true
    }

    /// Waits until a range is in memory, and begins to read the `ahead` bytes behind it.
    fn load(&self, _offset: u64, _length: usize, _ahead: usize) -> io::Result<()> {
        Ok(())
    }

    /// Fills `buffer` from `offset`; `UnexpectedEof` when the file is shorter.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
            }
        }
        Ok(())
    }

    /// Writes one slice at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_vectored_at(&[IoSlice::new(bytes)], offset)
    }
}

/// A whole file system that is kept open.
pub trait FileSystem: Send + Sync {
    /// Makes everything durable that any process wrote, created, renamed or removed on it (`syncfs`), which for many files is
    /// cheaper than each alone. An error is final, as that of [`DiskFile::sync_data`], and reports what failed since it was opened.
    fn sync(&self) -> io::Result<()>;
}

/// The error of [`Disk::read`] for a file that is too long.
pub(super) fn too_long(path: &Path, limit: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is longer than {limit} bytes", path.display()))
}

/// A file system.
pub trait Disk: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a directory and its parents.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// What the path names; `NotFound` when nothing.
    fn metadata(&self, path: &Path) -> io::Result<FileMetadata>;
    /// The entries of a directory, full paths, sorted.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Calls `visit` with the names in a directory, in any order and without keeping them: directories may be large.
    fn visit_names(&self, path: &Path, visit: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        self.read_dir(path)?.iter().filter_map(|entry| entry.file_name()).for_each(visit);
        Ok(())
    }
    /// Renames, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all below it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes an exclusive lock on a file (created when missing) until the guard is dropped; `WouldBlock` when another
    /// process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// The volume that a path is on; `None` when the disk has no such thing.
    fn space(&self, _path: &Path) -> io::Result<Option<DiskSpace>> {
        Ok(None)
    }

    /// The file system that a directory is on, to sync it as a whole; `None` where that cannot be relied on.
    fn file_system(&self, _path: &Path) -> io::Result<Option<Arc<dyn FileSystem>>> {
        Ok(None)
    }

    /// Reads a whole file of at most `limit` bytes; `InvalidData` when it is longer.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let len = usize::try_from(file.size()?).unwrap_or(usize::MAX);
        if len > limit {
            return Err(too_long(path, limit));
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Replaces a file as a whole, durably: temporary file, sync, rename, sync of the directory.
    fn write_atomically(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let sync =
            |file: &dyn DiskFile| if mutant::is_active("rename-before-sync") { Ok(()) } else { file.sync_data() };
        let written = (self.open(&temporary, OpenMode::Truncate))
            .and_then(|file| file.write_all_at(bytes, 0).and_then(|()| sync(&*file)))
            .and_then(|()| self.rename(&temporary, path));
        if written.is_err() {
            // On a full disk it would only be in the way.
            let _ = self.remove_file(&temporary);
            return written;
        }
        match path.parent() {
            Some(parent) => self.sync_dir(parent),
            None => Ok(()),
        }
    }
}
