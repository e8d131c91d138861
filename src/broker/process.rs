//! A broker as a process: its runtime, its banner, its signals.

use tokio::signal::unix::{SignalKind, signal};

use super::Broker;
use super::error::BrokerError;
use crate::config::StartOptions;
use crate::env::raise_open_files_limit;
use crate::telemetry::print_line;

/// Exit code after a second signal, as of a process that the signal killed.
const INTERRUPTED: i32 = 130;

/// Runs a broker until SIGTERM or SIGINT; a second signal ends the process at once.
///
/// # Errors
/// What keeps the broker from starting or from stopping in order.
pub fn run(options: StartOptions) -> Result<(), BrokerError> {
    match raise_open_files_limit() {
        Some(files) => tracing::debug!("{files} files and sockets may be open"),
        None => tracing::debug!("any number of files and sockets may be open"),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("ottla").enable_all().build()?;
    let result = runtime.block_on(serve(options));
    runtime.shutdown_background();
    result
}

async fn serve(options: StartOptions) -> Result<(), BrokerError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let place = match options.ephemeral {
        true => "in memory".to_owned(),
        false => {
            let directories: Vec<String> =
                options.config.log_dirs().iter().map(|directory| directory.display().to_string()).collect();
            directories.join(", ")
        }
    };
    let broker = tokio::select! {
        started = start_aside(move || Broker::start(options)) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let node_id = broker.config().node_id();
    say_started(node_id);
    print_banner(&broker, &place);
    let signal = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        // Nothing is stopped in order: nothing could be made durable (`Exit.halt(1)` in Kafka).
        failure = broker.failed() => return Err(failure),
    };
    tracing::info!(
        target: "org.apache.kafka.common.utils.LoggingSignalHandler", "Terminating process due to signal {signal}"
    );
    tracing::info!(target: "kafka.server.BrokerServer", "[BrokerServer id={node_id}] shutting down");
    tokio::select! {
        result = broker.shutdown() => {
            if result.is_ok() {
                tracing::info!(target: "kafka.server.BrokerServer", "[BrokerServer id={node_id}] shut down completed");
            }
            result
        }
        _ = terminate.recv() => std::process::exit(INTERRUPTED),
        _ = interrupt.recv() => std::process::exit(INTERRUPTED),
    }
}

/// Starts on a thread of its own, and none of those that serve: recovery may take long, and whoever waits for it must be able to end it
/// and to ask for the broker's health, on a machine with one core too.
async fn start_aside<F>(start: impl FnOnce() -> F + Send + 'static) -> Result<Broker, BrokerError>
where
    F: Future<Output = Result<Broker, BrokerError>>,
{
    let runtime = tokio::runtime::Handle::current();
    #[expect(clippy::disallowed_methods, reason = "there is no env before the broker makes one")]
    let starting = tokio::task::spawn_blocking(move || runtime.block_on(start()));
    starting.await.map_err(std::io::Error::other)?
}

/// What scripts and test containers wait for in Kafka's log: clients are served now.
fn say_started(node_id: i32) {
    tracing::info!(
        target: "org.apache.kafka.server.BrokerLifecycleManager",
        "[BrokerLifecycleManager id={node_id}] The broker has been unfenced. Transitioning from RECOVERY to RUNNING."
    );
    // As a broker of the ZooKeeper days says it, for what still waits for that.
    tracing::info!(target: "kafka.server.KafkaServer", "[KafkaServer id={node_id}] started");
    tracing::info!(target: "kafka.server.KafkaRaftServer", "[KafkaRaftServer nodeId={node_id}] Kafka Server started");
}

/// One line: where clients connect, where the data is.
fn print_banner(broker: &Broker, place: &str) {
    let listeners: Vec<String> =
        broker.addresses().iter().map(|(name, address)| format!("{name}://{}", shown(*address))).collect();
    let version = env!("CARGO_PKG_VERSION");
    let line = format!("Ottla {version} is ready: {} · data: {place}\n", listeners.join(", "));
    if broker.config().ottla_log_format() == "json" {
        // A line that is no object would be one too many.
        tracing::info!(target: "kafka.server.KafkaServer", "{}", line.trim_end());
        return;
    }
    print_line(&line);
}

fn shown(address: std::net::SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("localhost:{}", address.port()),
        false => address.to_string(),
    }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
