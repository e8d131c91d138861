//! The broker under test: Ottla, or Apache Kafka to prove that the tests are right.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::campaign::Process;

/// A broker that advertises the proxy's address.
pub enum Target {
    /// A process of ours.
    Ottla(Process),
    /// Started by `tools/apache-kafka`.
    Apache(Apache),
}

/// Apache Kafka in a directory.
pub struct Apache {
    directory: PathBuf,
    port: u16,
    settings: Vec<String>,
}

/// Few partitions of the internal topics start sooner; time-outs are looked for often.
const SETTINGS: [&str; 7] = [
    "transaction.state.log.num.partitions=4",
    "offsets.topic.num.partitions=4",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=500",
    "group.initial.rebalance.delay.ms=0",
    "auto.create.topics.enable=false",
    "offsets.topic.replication.factor=1",
    "transaction.state.log.replication.factor=1",
];

impl Target {
    /// Starts a broker on `port` whose clients go to `advertised`.
    pub fn start(apache: bool, directory: &Path, port: u16, advertised: u16) -> Result<Self> {
        let mut settings: Vec<String> = SETTINGS.map(str::to_owned).to_vec();
        let own = format!("advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}");
        if apache {
            // It talks to itself about transactions, over the network: not through the proxy.
            let (controller, internal) = (port + 1, port + 3);
            settings.extend([
                "transaction.state.log.min.isr=1".into(),
                format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},INTERNAL://127.0.0.1:{internal}"),
                format!("{own},INTERNAL://127.0.0.1:{internal}"),
                "inter.broker.listener.name=INTERNAL".into(),
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT".into(),
            ]);
            let apache = Apache { directory: directory.join("kafka"), port, settings };
            apache.start()?;
            return Ok(Self::Apache(apache));
        }
        settings.push(own);
        let mut process = Process::new(&directory.join("data"), &directory.join("log"), port, &settings);
        process.start()?;
        Ok(Self::Ottla(process))
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        match self {
            Self::Ottla(process) => process.kill(),
            Self::Apache(apache) => apache.kill(),
        }
        Ok(())
    }

    /// Starts it again, and waits until it answers.
    pub fn start_again(&mut self) -> Result<()> {
        match self {
            Self::Ottla(process) => process.start().map(drop),
            Self::Apache(apache) => apache.start(),
        }
    }

    /// SIGTERM and start, in order.
    pub fn restart(&mut self) -> Result<()> {
        match self {
            Self::Ottla(process) => {
                process.stop()?;
                process.start().map(drop)
            }
            Self::Apache(apache) => {
                apache.tool("stop", &[])?;
                apache.start()
            }
        }
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, name: &str) -> Result<()> {
        let id = match self {
            Self::Ottla(process) => process.id().context("the broker does not run")?,
            Self::Apache(apache) => apache.id()?,
        };
        ensure!(Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status()?.success(), "no {name}");
        Ok(())
    }

    /// What is wrong in what the broker has printed: a panic.
    pub fn complaint(&mut self) -> Result<Option<String>> {
        let Self::Ottla(process) = self else { return Ok(None) };
        let output = process.new_output()?;
        Ok(output.contains("panicked").then_some(output))
    }
}

impl Apache {
    fn tool(&self, command: &str, more: &[String]) -> Result<()> {
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/apache-kafka");
        let mut tool = Command::new(tool);
        tool.arg(command).arg(&self.directory).args(more);
        tool.env("KAFKA_HEAP_OPTS", std::env::var("KAFKA_HEAP_OPTS").unwrap_or_else(|_| "-Xms400M -Xmx400M".into()));
        ensure!(tool.stdin(Stdio::null()).stdout(Stdio::null()).status()?.success(), "apache-kafka {command} fails");
        Ok(())
    }

    fn start(&self) -> Result<()> {
        let mut more = vec![self.port.to_string()];
        more.extend(self.settings.clone());
        self.tool("start", &more)?;
        crate::broker::wait_until_ready(&format!("127.0.0.1:{}", self.port), || Ok(()))
    }

    fn id(&self) -> Result<u32> {
        let pid = std::fs::read_to_string(self.directory.join("pid")).context("no pid of Apache Kafka")?;
        Ok(pid.trim().parse()?)
    }

    fn kill(&self) {
        if let Ok(id) = self.id() {
            // It may have ended already.
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).stderr(Stdio::null()).status();
            while Path::new(&format!("/proc/{id}/exe")).exists() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        self.kill();
    }
}
