//! The operating system's files.
#![expect(clippy::disallowed_methods, reason = "this is the door")]

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
#[cfg(target_os = "linux")]
use std::io::IoSliceMut;
use std::io::{self, IoSlice, Read};
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::FlockOperation;
#[cfg(target_os = "linux")]
use rustix::{
    fs::Advice,
    io::{Errno, ReadWriteFlags},
};

use super::disk::{Disk, DiskFile, DiskSpace, FileKind, FileMetadata, FileSystem, OpenMode, too_long};

/// The operating system's file system.
#[derive(Default)]
pub struct RealDisk;

struct RealFile(File);

/// Bytes between two looks at what is in memory: the system reads and forgets neighbouring pages together.
#[cfg(target_os = "linux")]
const PROBE_DISTANCE: usize = 256 * 1024;
/// Bytes asked for in one call: more may be cut to the device's size of one transfer.
#[cfg(target_os = "linux")]
const LOAD_SIZE: usize = 512 * 1024;
/// Bytes between two pages that are waited for.
#[cfg(target_os = "linux")]
const LOAD_WAIT_DISTANCE: usize = 128 * 1024;

/// File systems and systems that cannot read without waiting.
#[cfg(target_os = "linux")]
fn cannot_tell(error: Errno) -> bool {
    [Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL].contains(&error)
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut slices = [IoSliceMut::new(buffer)];
        loop {
            match rustix::io::preadv2(&self.0, &mut slices, offset, ReadWriteFlags::NOWAIT) {
                Err(Errno::INTR) => {}
                Err(error) if cannot_tell(error) => return self.read_at(buffer, offset),
                result => return Ok(result?),
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn is_cached(&self, offset: u64, length: usize) -> bool {
        let last = length.saturating_sub(1);
        let probes = (0..last).step_by(PROBE_DISTANCE).chain([last]);
        probes.into_iter().all(|probe| {
            let mut byte = [0];
            let mut slices = [IoSliceMut::new(&mut byte)];
            let read = rustix::io::preadv2(&self.0, &mut slices, offset + probe as u64, ReadWriteFlags::NOWAIT);
            // Other errors, and the file's end, are told to the one who reads.
            read != Err(Errno::AGAIN)
        })
    }

    #[cfg(target_os = "linux")]
    fn load(&self, offset: u64, length: usize, ahead: usize) -> io::Result<()> {
        for part in (0..length + ahead).step_by(LOAD_SIZE) {
            let size = NonZeroU64::new(LOAD_SIZE.min(length + ahead - part) as u64);
            // Advice: who reads learns of errors.
            let _ = rustix::fs::fadvise(&self.0, offset + part as u64, size, Advice::WillNeed);
        }
        let last = length.saturating_sub(1);
        for part in (0..last).step_by(LOAD_WAIT_DISTANCE).chain([last]) {
            self.read_at(&mut [0], offset + part as u64)?;
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        let mut owned: smallvec::SmallVec<[IoSlice<'_>; 4]> = slices.iter().copied().collect();
        let mut rest = &mut owned[..];
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match rustix::io::pwritev(&self.0, rest, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    IoSlice::advance_slices(&mut rest, count);
                    offset += count as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        for slice in slices {
            self.0.write_all_at(slice, offset)?;
            offset += slice.len() as u64;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn set_modified(&self, millis: i64) -> io::Result<()> {
        self.0.set_modified(UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::ReadWrite => options.write(true),
            OpenMode::CreateReadWrite => options.write(true).create(true),
            OpenMode::Truncate => options.write(true).create(true).truncate(true),
        };
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    /// To the end, whatever the system says of the size: a pipe (`/dev/stdin`, `<(…)`) has none.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit_and_one = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        File::open(path)?.take(limit_and_one).read_to_end(&mut bytes)?;
        if bytes.len() > limit { Err(too_long(path, limit)) } else { Ok(bytes) }
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMetadata> {
        let metadata = fs::metadata(path)?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(FileMetadata {
            kind: if metadata.is_dir() { FileKind::Directory } else { FileKind::File },
            len: metadata.len(),
            modified_millis: i64::try_from(modified.as_millis()).unwrap_or(i64::MAX),
        })
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        Ok(entries)
    }

    fn visit_names(&self, path: &Path, visit: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            visit(&entry?.file_name());
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<Option<DiskSpace>> {
        let volume = rustix::fs::statvfs(path)?;
        let total = volume.f_blocks.saturating_mul(volume.f_frsize);
        Ok(Some(DiskSpace { total, usable: volume.f_bavail.saturating_mul(volume.f_frsize) }))
    }

    #[cfg(target_os = "linux")]
    fn file_system(&self, path: &Path) -> io::Result<Option<Arc<dyn FileSystem>>> {
        /// `OVERLAYFS_SUPER_MAGIC`: it passes on the errors of some of its layers only.
        const OVERLAY: u64 = 0x794c_7630;
        let directory = File::open(path)?;
        let is_overlay = rustix::fs::fstatfs(&directory)?.f_type as u64 == OVERLAY;
        if is_overlay || !syncfs_reports_errors(rustix::system::uname().release().to_str().unwrap_or_default()) {
            return Ok(None);
        }
        Ok(Some(Arc::new(RealFileSystem(directory))))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }
}

#[cfg(target_os = "linux")]
struct RealFileSystem(File);

#[cfg(target_os = "linux")]
impl FileSystem for RealFileSystem {
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

/// Before Linux 5.8 `syncfs` said nothing of writes that failed.
#[cfg(target_os = "linux")]
fn syncfs_reports_errors(release: &str) -> bool {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 8),
        _ => false,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_kernels_that_report_errors_sync_whole_file_systems() {
        for (release, reports) in
            [("6.18.44-fc-v669", true), ("5.8.0", true), ("5.7.19", false), ("4.19", false), ("", false)]
        {
            assert_eq!(syncfs_reports_errors(release), reports, "{release}");
        }
    }

    #[test]
    fn what_a_pipe_brings_is_read_to_its_end() {
        use std::io::Write;
        use std::os::fd::AsRawFd;

        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let path = std::path::PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
        writer.write_all(b"num.partitions=3").expect("written");
        drop(writer);
        assert_eq!(RealDisk.read(&path, 100).expect("read"), b"num.partitions=3");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, b"12345").expect("written");
        assert_eq!(RealDisk.read(&path, 5).expect("read"), b"12345");
        assert_eq!(RealDisk.read(&path, 4).map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData));
    }

    #[test]
    fn files_can_be_older_than_they_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let file = RealDisk.open(&path, OpenMode::CreateReadWrite).expect("a file");
        file.write_all_at(b"x", 0).expect("written");
        file.set_modified(1_234_567).expect("set");
        assert_eq!(RealDisk.metadata(&path).expect("metadata").modified_millis, 1_234_567);
    }

    #[test]
    fn what_was_just_written_is_in_memory() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = RealDisk.open(&directory.path().join("file"), OpenMode::CreateReadWrite).expect("a file");
        let bytes = vec![7; 600_000];
        file.write_all_at(&bytes, 0).expect("written");
        assert!(file.is_cached(0, bytes.len()));
        assert!(file.is_cached(1, 0));
        let mut read = vec![0; 10];
        assert_eq!(file.read_cached_at(&mut read, 599_995).expect("in memory"), 5);
        assert_eq!(read, [7, 7, 7, 7, 7, 0, 0, 0, 0, 0]);
        assert_eq!(file.read_cached_at(&mut read, 600_000).expect("the end"), 0);
        file.load(100, 500_000, 1_000_000).expect("loaded, also beyond the end");
    }
}
