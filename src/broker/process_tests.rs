//! A broker that starts beside those that serve.
#![allow(clippy::disallowed_methods, reason = "tests of real sockets wait in real time")]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::client::http_get;
use crate::config::StartInput;
use crate::env::{Clock, Disk, DiskFile, Env, FileMetadata, MemoryDisk, OpenMode, SystemClock};

/// Longer than any of this takes: a start that held the only thread would hold it for good.
const PATIENCE: Duration = Duration::from_secs(60);

/// A disk on which whoever opens the first segment of a partition stands still until it is let go.
struct SlowDisk {
    disk: MemoryDisk,
    reached: SyncSender<()>,
    let_go: Mutex<Receiver<()>>,
}

impl Disk for SlowDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if path.ends_with("t-0/00000000000000000000.log") {
            let _ = self.reached.try_send(());
            let _ = self.let_go.lock().recv();
        }
        self.disk.open(path, mode)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMetadata> {
        self.disk.metadata(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(path)
    }
}

fn options(http: SocketAddr) -> StartOptions {
    let overrides = ["listeners=PLAINTEXT://127.0.0.1:0".to_owned(), format!("ottla.http.listeners=http://{http}")];
    let input = StartInput {
        data: Some("/data".to_owned()),
        overrides: overrides.into(),
        topics: vec!["t".to_owned()],
        ..StartInput::default()
    };
    StartOptions::read(&input).expect("options")
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.local_addr().expect("an address")
}

/// On a machine with one core there is one thread for tasks.
#[test]
fn health_answers_while_a_recovery_stands_still_on_one_core() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let disk = MemoryDisk::new(clock);
    let env = Env { disk: Arc::new(disk.clone()), ..Env::real(runtime.handle().clone()) };
    let killed = runtime.block_on(async {
        let broker = Broker::start_in(env.clone(), options(free_address())).await.expect("started");
        let killed = disk.process_crash();
        broker.shutdown().await.expect("stopped");
        killed
    });
    let (reached, is_reached) = sync_channel(1);
    let (let_go, is_let_go) = sync_channel::<()>(1);
    let slow = SlowDisk { disk: killed, reached, let_go: Mutex::new(is_let_go) };
    let env = Env { disk: Arc::new(slow), ..env };
    let http = free_address();
    runtime.block_on(async move {
        // A task as the process's own, on the one thread there is.
        let starting = tokio::spawn(start_aside(move || Broker::start_in(env, options(http))));
        let wait = move || is_reached.recv_timeout(PATIENCE);
        tokio::task::spawn_blocking(wait).await.expect("no panic").expect("the recovery has begun");
        let asked = |path: &'static str| tokio::time::timeout(PATIENCE, http_get(http, "localhost", path));
        let (code, _) = asked("/health/live").await.expect("an answer in time").expect("an answer");
        assert_eq!(code, 200);
        let (code, body) = asked("/health/ready").await.expect("an answer in time").expect("an answer");
        assert_eq!((code, body.contains("\"starting\"")), (503, true), "{body}");
        // Whoever opens the file from now on finds the door open.
        drop(let_go);
        let broker = starting.await.expect("no panic").expect("started");
        let (code, _) = asked("/health/ready").await.expect("an answer in time").expect("an answer");
        assert_eq!(code, 200);
        broker.shutdown().await.expect("stopped");
    });
}
