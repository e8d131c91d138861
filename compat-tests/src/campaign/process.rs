//! The broker as a process that can be killed at any moment and started again on the same port and directories.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::broker::{binary, wait_until_ready};

/// Ports below those that the kernel gives to clients: nobody else takes one while the broker is down.
const PORTS: std::ops::Range<u16> = 21_000..32_000;
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// A broker process; dropping it kills it and leaves its directories.
pub struct Process {
    data: PathBuf,
    log: PathBuf,
    log_read: u64,
    port: u16,
    overrides: Vec<String>,
    child: Option<Child>,
}

impl Process {
    /// Nothing runs yet. `data` is `--data`; what the process prints is appended to `log`.
    pub fn new(data: &Path, log: &Path, port: u16, overrides: &[String]) -> Self {
        let (data, log) = (data.to_owned(), log.to_owned());
        Self { data, log, log_read: 0, port, overrides: overrides.to_vec(), child: None }
    }

    /// A port that is free now; the search starts at `from`, or anywhere.
    pub fn free_port(from: Option<u16>) -> Result<u16> {
        // Lanes of one process ask at the same time, before any of them listens.
        static CALLS: AtomicU16 = AtomicU16::new(0);
        let anywhere = || PORTS.start + (u64::from(std::process::id()) * 37 % (PORTS.len() as u64 - 400)) as u16;
        let start = from.unwrap_or_else(|| anywhere() + 20 * (CALLS.fetch_add(1, Ordering::Relaxed) % 10));
        (start..start + 200)
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .with_context(|| format!("no free port from {start} on"))
    }

    /// `host:port`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Starts the process and returns at once.
    pub fn spawn(&mut self) -> Result<()> {
        self.kill();
        let output = OpenOptions::new().create(true).append(true).open(&self.log)?;
        // The broker goes when the campaign goes.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(binary()).arg("--data").arg(&self.data);
        command.arg("--override").arg(format!("listeners=PLAINTEXT://127.0.0.1:{}", self.port));
        for entry in &self.overrides {
            command.arg("--override").arg(entry);
        }
        let child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn();
        self.child = Some(child.context("setpriv does not start")?);
        Ok(())
    }

    /// Waits until it answers; returns how long that took.
    pub fn ready(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let child = self.child.as_mut().context("the broker does not run")?;
        wait_until_ready(&format!("127.0.0.1:{}", self.port), || match child.try_wait()? {
            Some(status) => bail!("the broker ended at its start with {status}; see {}", self.log.display()),
            None => Ok(()),
        })?;
        Ok(started.elapsed())
    }

    /// Starts it and waits until it answers.
    pub fn start(&mut self) -> Result<Duration> {
        self.spawn()?;
        self.ready()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) -> Result<()> {
        let id = self.child.as_ref().context("the broker does not run")?.id();
        ensure!(Command::new("kill").args(["-TERM", &id.to_string()]).status()?.success(), "no SIGTERM");
        Ok(())
    }

    /// SIGTERM, and waits for the end, which must be a good one.
    pub fn stop(&mut self) -> Result<()> {
        self.terminate()?;
        let status = self.wait(STOPPED_WITHIN)?;
        ensure!(status.success(), "the broker stopped with {status}; see {}", self.log.display());
        Ok(())
    }

    /// Waits until the process has ended by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        let child = self.child.as_mut().context("the broker does not run")?;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            ensure!(started.elapsed() < limit, "the broker did not end within {limit:?}; see {}", self.log.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the broker has printed since the last call.
    pub fn new_output(&mut self) -> Result<String> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.log_read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.log_read += bytes.len() as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
