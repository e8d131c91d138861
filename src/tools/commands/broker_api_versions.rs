//! `kafka-broker-api-versions`: what every broker of a cluster speaks (`BrokerApiVersionsCommand`).

use super::api_versions_text::api_versions_text;
use super::{CommandError, Console, client_config};
use crate::client::{ClusterClient, ClusterMetadata, Destination, Node};
use crate::tools::options::{OptionParser, OptionSpec};

/// `request.timeout.ms` of this command.
const REQUEST_TIMEOUT_MS: &str = "5000";

/// Runs the command.
///
/// # Errors
/// See [`CommandError`].
pub(super) async fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), CommandError> {
    let parser = OptionParser::new(vec![
        OptionSpec::required(
            "command-config",
            "command config property file",
            "A property file containing configs to be passed to Admin Client.",
        ),
        OptionSpec::required(
            "bootstrap-server",
            "server(s) to use for bootstrapping",
            "REQUIRED: The server to connect to.",
        ),
    ]);
    let options = parser.parse(arguments)?;
    parser.help_or_version(&options, "This tool helps to retrieve broker version information.")?;
    parser.required(&options, &["bootstrap-server"])?;
    let mut config = client_config(&options, "bootstrap-server", "command-config", "admin-1", console)?;
    if !config.properties.contains_key("request.timeout.ms") {
        config.properties.insert("request.timeout.ms".to_owned(), REQUEST_TIMEOUT_MS.to_owned());
        config = crate::client::ClientConfig::from_properties(config.properties, "admin-1")?;
    }
    // One round of the bootstrap servers and no more: health checks wait for this.
    config.api_timeout = config.request_timeout.min(config.api_timeout);
    config.retry_backoff = config.api_timeout;
    let servers = shown_servers(&config.bootstrap);
    let mut client = ClusterClient::open(config, console.env.clock.clone()).await?;
    let metadata = first_metadata(&mut client, &servers).await?;
    for node in &metadata.nodes {
        match client.dedicated(&Destination::Node(node.id)).await {
            Ok(connection) => {
                writeln!(
                    console.out,
                    "{} -> {}",
                    shown_node(node, false),
                    api_versions_text(connection.api_versions())
                )?;
            }
            Err(error) => writeln!(console.out, "{} -> ERROR: {error}", shown_node(node, false))?,
        }
    }
    Ok(())
}

async fn first_metadata(client: &mut ClusterClient, servers: &str) -> Result<ClusterMetadata, CommandError> {
    match client.metadata(None, false).await {
        Err(error) if error.is_of_connection() => {
            Err(CommandError::Message(format!("Request METADATA failed on brokers [{servers}]")))
        }
        result => Ok(result?),
    }
}

fn shown_servers(bootstrap: &[(String, u16)]) -> String {
    let shown = |(index, (host, port)): (i64, &(String, u16))| {
        format!("{host}:{port} (id: {} rack: null isFenced: false)", -1 - index)
    };
    (0..).zip(bootstrap).map(shown).collect::<Vec<_>>().join(", ")
}

/// `Node.toString`.
pub(super) fn shown_node(node: &Node, is_fenced: bool) -> String {
    let rack = node.rack.as_deref().unwrap_or("null");
    format!("{}:{} (id: {} rack: {rack} isFenced: {is_fenced})", node.host, node.port, node.id)
}
