//! A broker as a process: its runtime, its banner, its signals.

use std::io::Write;

use tokio::signal::unix::{SignalKind, signal};

use super::Broker;
use super::error::BrokerError;
use crate::config::StartOptions;

/// Exit code after a second signal, as of a process that the signal killed.
const INTERRUPTED: i32 = 130;

/// Runs a broker until SIGTERM or SIGINT; a second signal ends the process at once.
///
/// # Errors
/// What keeps the broker from starting or from stopping in order.
pub fn run(options: StartOptions) -> Result<(), BrokerError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("ottla").enable_all().build()?;
    // On a worker, so that accepting and serving need no hop from this thread.
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
    let broker = Broker::start(options).await?;
    print_banner(&broker, &place);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("Stopping");
    tokio::select! {
        result = broker.shutdown() => result,
        _ = terminate.recv() => std::process::exit(INTERRUPTED),
        _ = interrupt.recv() => std::process::exit(INTERRUPTED),
    }
}

/// One line: where clients connect, where the data is.
fn print_banner(broker: &Broker, place: &str) {
    let listeners: Vec<String> =
        broker.addresses().iter().map(|(name, address)| format!("{name}://{}", shown(*address))).collect();
    let version = env!("CARGO_PKG_VERSION");
    let line = format!("Ottla {version} is ready: {} · data: {place}\n", listeners.join(", "));
    // A closed standard output is no reason not to serve.
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(line.as_bytes()).and_then(|()| output.flush());
}

fn shown(address: std::net::SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("localhost:{}", address.port()),
        false => address.to_string(),
    }
}
