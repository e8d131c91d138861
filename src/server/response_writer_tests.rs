//! What reaches the peer, from memory, from files and from files that are not in memory.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::AsyncReadExt;

use super::*;
use crate::env::net::Listener;
use crate::env::{Disk, DiskFile, InlineSpawn, ManualClock, MemoryBudget, MemoryDisk, OpenMode};

/// A file that is not in memory until the disk was waited for.
struct ColdFile {
    file: Arc<dyn DiskFile>,
    is_loaded: AtomicBool,
    waits: AtomicUsize,
}

impl DiskFile for ColdFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if !self.is_loaded.load(Ordering::Relaxed) {
            self.waits.fetch_add(1, Ordering::Relaxed);
        }
        self.file.read_at(buffer, offset)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if !self.is_loaded.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.file.read_at(buffer, offset)
    }

    fn is_cached(&self, _offset: u64, _length: usize) -> bool {
        self.is_loaded.load(Ordering::Relaxed)
    }

    fn load(&self, _offset: u64, _length: usize, _ahead: usize) -> io::Result<()> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.is_loaded.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.file.write_all_vectored_at(slices, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn descriptor(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

fn cold_file(length: usize) -> Arc<ColdFile> {
    let disk = MemoryDisk::new(Arc::new(ManualClock::new(0)));
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = disk.open(Path::new("/d/f"), OpenMode::CreateReadWrite).unwrap();
    let bytes: Vec<u8> = (0..length).map(|index| (index / 7) as u8).collect();
    file.write_all_at(&bytes, 0).unwrap();
    Arc::new(ColdFile { file, is_loaded: AtomicBool::new(false), waits: AtomicUsize::new(0) })
}

async fn sent(chunks: Vec<Chunk>) -> Vec<u8> {
    let (mut listener, connector) = Listener::simulated("10.0.0.1:9092".parse().unwrap());
    let mut client = connector.connect("10.0.0.2:1".parse().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut transport = Transport::Plaintext(stream);
    let clock = Arc::new(ManualClock::new(0));
    let cold_reads = ColdReads::new(Arc::new(InlineSpawn::default()));
    let mut writer = ResponseWriter::new(Duration::from_secs(1), clock, MemoryBudget::unlimited(), cold_reads);
    writer.push(Response { chunks: chunks.into() });
    let write = async move { writer.flush(&mut transport).await.unwrap() };
    let mut received = Vec::new();
    let (count, read) = tokio::join!(write, client.read_to_end(&mut received));
    read.unwrap();
    assert_eq!(count, received.len() as u64);
    received
}

#[tokio::test]
async fn what_is_not_in_memory_is_waited_for_once_and_sent_whole() {
    for length in [100, GATHERED_FILE_SIZE, GATHERED_FILE_SIZE + 1, 3 * 1024 * 1024] {
        let file = cold_file(length + 10);
        let chunks = vec![
            Chunk::Bytes(Bytes::from_static(b"head")),
            Chunk::File { file: file.clone(), position: 10, length },
            Chunk::Bytes(Bytes::from_static(b"tail")),
        ];
        let mut expected = b"head".to_vec();
        let mut records = vec![0; length];
        file.file.read_exact_at(&mut records, 10).unwrap();
        expected.extend(records);
        expected.extend(b"tail");
        assert!(sent(chunks).await == expected, "{length}");
        assert_eq!(file.waits.load(Ordering::Relaxed), 1, "{length}");
    }
}
