//! A broker to test against: started, killed, restarted and stopped here, or somebody else's.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

const READY_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// A running broker. Dropping it kills the process and removes its data.
pub struct Broker {
    bootstrap: String,
    own: Option<Own>,
}

struct Own {
    child: Option<Child>,
    data: TempDir,
    port: u16,
    overrides: Vec<String>,
}

impl Broker {
    /// Starts a broker with its defaults, or connects to the external one.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a broker with `key=value` settings of `server.properties`; an external broker keeps the settings it has.
    pub fn start_with(overrides: &[&str]) -> Result<Self> {
        if let Ok(bootstrap) = std::env::var("OTTLA_BOOTSTRAP") {
            return Ok(Self { bootstrap, own: None });
        }
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut own = Own {
            child: None,
            data: tempfile::Builder::new().prefix("ottla-test-").tempdir()?,
            port,
            overrides: overrides.iter().map(ToString::to_string).collect(),
        };
        own.spawn()?;
        Ok(Self { bootstrap: format!("127.0.0.1:{port}"), own: Some(own) })
    }

    /// `host:port` for `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Whether the broker is somebody else's.
    pub fn is_external(&self) -> bool {
        self.own.is_none()
    }

    /// The process id, of a broker that was started here and runs.
    pub fn process_id(&self) -> Option<u32> {
        Some(self.own.as_ref()?.child.as_ref()?.id())
    }

    /// The data directory of a broker that was started here.
    pub fn data_directory(&self) -> Option<PathBuf> {
        Some(self.own.as_ref()?.data.path().to_owned())
    }

    /// Ends the process at once, as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        let own = self.own.as_mut().context("an external broker is not killed")?;
        own.kill();
        Ok(())
    }

    /// Starts the broker again on the same port and data after [`Broker::kill`] or [`Broker::stop`].
    pub fn start_again(&mut self) -> Result<()> {
        self.own.as_mut().context("an external broker is not started")?.spawn()
    }

    /// Asks the process to stop (SIGTERM) and waits; returns how long it took.
    pub fn stop(&mut self) -> Result<Duration> {
        let own = self.own.as_mut().context("an external broker is not stopped")?;
        let mut child = own.child.take().context("the broker does not run")?;
        let started = Instant::now();
        ensure!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?.success(), "no SIGTERM");
        loop {
            if let Some(status) = child.try_wait()? {
                ensure!(status.success(), "the broker stopped with {status}");
                return Ok(started.elapsed());
            }
            if started.elapsed() > STOPPED_WITHIN {
                child.kill()?;
                child.wait()?;
                bail!("the broker did not stop within {STOPPED_WITHIN:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops and starts the broker, cleanly. Returns false if nobody said how to restart the external one.
    pub fn restart(&mut self) -> Result<bool> {
        if self.own.is_some() {
            self.stop()?;
            self.start_again()?;
            return Ok(true);
        }
        let Ok(command) = std::env::var("OTTLA_RESTART") else {
            eprintln!("left out: no OTTLA_RESTART to restart {}", self.bootstrap);
            return Ok(false);
        };
        ensure!(
            Command::new("sh").args(["-c", &command]).stdout(Stdio::null()).status()?.success(),
            "{command} failed"
        );
        wait_until_ready(&self.bootstrap, || Ok(()))?;
        Ok(true)
    }
}

impl Own {
    fn spawn(&mut self) -> Result<()> {
        self.kill();
        let binary = binary();
        let mut command = Command::new(&binary);
        command.arg("--data").arg(self.data.path());
        command.arg("--override").arg(format!("listeners=PLAINTEXT://127.0.0.1:{}", self.port));
        for entry in &self.overrides {
            command.arg("--override").arg(entry);
        }
        let output = if std::env::var_os("OTTLA_LOG").is_some() { Stdio::inherit } else { Stdio::null };
        command.stdin(Stdio::null()).stdout(output()).stderr(Stdio::inherit());
        let child = command
            .spawn()
            .with_context(|| format!("{} does not start; build it, or set OTTLA_BIN", binary.display()))?;
        let child = self.child.insert(child);
        wait_until_ready(&format!("127.0.0.1:{}", self.port), || match child.try_wait()? {
            Some(status) => bail!("the broker ended with {status}"),
            None => Ok(()),
        })
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The `ottla` to test: `OTTLA_BIN`, or the release build of this workspace.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("OTTLA_BIN") {
        return path.into();
    }
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    target.join("release/ottla")
}

/// Waits until the broker answers an ApiVersions request; `check` may give up earlier.
pub fn wait_until_ready(address: &str, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    loop {
        check()?;
        match ask_api_versions(address) {
            Ok(()) => return Ok(()),
            Err(error) if started.elapsed() > READY_WITHIN => {
                return Err(error.context(format!("no answer from {address} within {READY_WITHIN:?}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn ask_api_versions(address: &str) -> Result<()> {
    // Size 14: ApiVersions (18) version 0, correlation id 7, client id "wait" without a body.
    const REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 18, 0, 0, 0, 0, 0, 7, 0, 4, b'w', b'a', b'i', b't'];
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(&REQUEST)?;
    let mut start = [0; 8];
    stream.read_exact(&mut start)?;
    ensure!(start[4..] == [0, 0, 0, 7], "somebody else answers");
    Ok(())
}

/// A name that no other test and no earlier run has used.
pub fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{prefix}-{:x}-{}", since.as_micros(), COUNTER.fetch_add(1, Ordering::Relaxed))
}
