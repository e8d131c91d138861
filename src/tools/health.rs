//! `ottla health`: whether a broker on this machine serves its clients, for HEALTHCHECK and probes. Milliseconds; exit code 0 when it
//! does, 1 when it does not.
//!
//! Asked is `/health/ready` at the first of `ottla.http.listeners`, as the same variables and file give it to the broker. Where
//! nobody listens there, the broker's first listener is asked for its API versions, which it answers once it serves clients.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use kafka_protocol::messages::ApiVersionsRequest;

use crate::client::{Client, http_get};
use crate::config::BrokerConfig;
use crate::env::Env;

/// Options of `ottla health`.
#[derive(Clone, Debug, clap::Args)]
pub struct HealthOptions {
    /// The broker's server.properties; KAFKA_* variables are read too
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ask there, such as http://127.0.0.1:9404
    #[arg(long, value_name = "URL", conflicts_with = "bootstrap_server")]
    pub url: Option<String>,
    /// Ask there by Kafka's protocol
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap_server: Option<String>,
    /// How long to wait for an answer
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2000)]
    pub timeout_ms: u64,
}

/// Asks and tells; whether the broker is ready.
///
/// # Errors
/// The answer cannot be printed.
pub async fn health(
    env: &Env,
    options: &HealthOptions,
    config: &BrokerConfig,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let until = env.clock.monotonic() + Duration::from_millis(options.timeout_ms);
    let (is_ready, text) = tokio::select! {
        answer = ask(options, config) => answer,
        () = env.clock.sleep_until(until) => (false, format!("no answer within {} ms", options.timeout_ms)),
    };
    writeln!(out, "{}", text.trim_end())?;
    Ok(is_ready)
}

async fn ask(options: &HealthOptions, config: &BrokerConfig) -> (bool, String) {
    if let Some(server) = &options.bootstrap_server {
        return ask_kafka(server).await;
    }
    if let Some(url) = &options.url {
        let address = url.trim_end_matches('/');
        return ask_http(address.strip_prefix("http://").unwrap_or(address))
            .await
            .unwrap_or_else(|refused| (false, refused));
    }
    if let Some(listener) = config.http_listeners().first()
        && let Ok(answer) = ask_http(&reachable(&listener.host, listener.port)).await
    {
        return answer;
    }
    match config.listeners().first() {
        Some(listener) => ask_kafka(&reachable(&listener.host, listener.port)).await,
        None => (false, "listeners is empty".to_owned()),
    }
}

/// An address of this machine for what listens on `host`.
fn reachable(host: &str, port: u16) -> String {
    match host {
        "" | "0.0.0.0" => format!("127.0.0.1:{port}"),
        "::" => format!("[::1]:{port}"),
        address if address.contains(':') => format!("[{address}]:{port}"),
        name => format!("{name}:{port}"),
    }
}

/// The answer, or why there is none.
async fn ask_http(address: &str) -> Result<(bool, String), String> {
    let mut reason = format!("{address}: no address");
    for socket in resolve(address)? {
        match http_get(socket, address, "/health/ready").await {
            Ok((code, body)) => return Ok((code == 200, body)),
            Err(error) => reason = format!("http://{address}/health/ready: {error}"),
        }
    }
    Err(reason)
}

async fn ask_kafka(address: &str) -> (bool, String) {
    let sockets = match resolve(address) {
        Ok(sockets) => sockets,
        Err(reason) => return (false, reason),
    };
    let mut reason = format!("{address}: no address");
    for socket in sockets {
        let answered = async { Client::connect(socket).await?.call(0, &ApiVersionsRequest::default()).await };
        match answered.await {
            Ok(response) if response.error_code == 0 => return (true, format!("{address} answers")),
            Ok(response) => reason = format!("{address}: error {}", response.error_code),
            Err(error) => reason = format!("{address}: {error}"),
        }
    }
    (false, reason)
}

fn resolve(address: &str) -> Result<Vec<SocketAddr>, String> {
    let resolved = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    Ok(resolved.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_here() {
        for (host, expected) in [
            ("", "127.0.0.1:1"),
            ("0.0.0.0", "127.0.0.1:1"),
            ("::", "[::1]:1"),
            ("fd00::1", "[fd00::1]:1"),
            ("kafka", "kafka:1"),
        ] {
            assert_eq!(reachable(host, 1), expected);
        }
    }
}
