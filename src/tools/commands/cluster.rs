//! `kafka-cluster`: the cluster's id, its brokers' endpoints, forgetting a broker (`ClusterTool`).

use std::collections::BTreeMap;

use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse, UnregisterBrokerRequest};

use super::{CommandError, Console, load_properties};
use crate::client::{ClientConfig, ClientError, ClusterClient, Destination};
use crate::tools::options::{Argument, ArgumentKind, Namespace, Subcommand, SubcommandParser};

/// `EndpointType.BROKER`.
const BROKERS: i8 = 1;
/// The width of a column without a value to go by.
const RACK_WIDTH: usize = 10;

fn parser() -> SubcommandParser {
    let with = |name, help, more: Vec<Argument>| {
        let mut arguments = vec![
            Argument::new(
                &["--bootstrap-server", "-b"],
                ArgumentKind::Text,
                "A list of host/port pairs to use for establishing the connection to the Kafka cluster.",
            )
            .exclusive(),
            Argument::new(
                &["--bootstrap-controller", "-C"],
                ArgumentKind::Text,
                "A list of host/port pairs to use for establishing the connection to the KRaft controllers.",
            )
            .exclusive(),
            Argument::new(
                &["--config"],
                ArgumentKind::Text,
                "(DEPRECATED) A property file containing configurations for the Admin client. This option will be removed \
                 in a future version. Use --command-config instead.",
            ),
            Argument::new(
                &["--command-config", "-c"],
                ArgumentKind::Text,
                "Config properties file for the Admin client.",
            ),
        ];
        arguments.extend(more);
        Subcommand { name, help, arguments, needs_exclusive: true }
    };
    let id = Argument::new(&["--id", "-i"], ArgumentKind::Integer, "The ID of the broker to unregister.").required();
    let fenced = Argument::new(
        &["--include-fenced-brokers"],
        ArgumentKind::Flag,
        "Whether to include fenced brokers when listing broker endpoints",
    );
    SubcommandParser {
        program: "kafka-cluster",
        description: "The Kafka cluster tool.",
        subcommands: vec![
            with("cluster-id", "Get information about the ID of a cluster.", Vec::new()),
            with("unregister", "Unregister a broker.", vec![id]),
            with("list-endpoints", "List endpoints", vec![fenced]),
        ],
        // So does Kafka's.
        help_code: 1,
    }
}

/// Runs the command.
///
/// # Errors
/// See [`CommandError`].
pub(super) async fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), CommandError> {
    let parser = parser();
    let namespace = parser.parse(arguments)?;
    let mut client = open(&namespace, console).await?;
    let done = match namespace.command {
        "cluster-id" => cluster_id(&mut client, console).await,
        "unregister" => unregister(&mut client, &namespace, console).await,
        _ => list_endpoints(&mut client, &namespace, console).await,
    };
    done.map_err(|error| match error {
        // As an exception tells of its cause.
        CommandError::Client(error) => {
            CommandError::Message(format!("org.apache.kafka.common.errors.{}: {error}", error.class()))
        }
        error => error,
    })
}

async fn open(namespace: &Namespace, console: &mut Console<'_>) -> Result<ClusterClient, CommandError> {
    let (old, new) = (namespace.value("config"), namespace.value("command-config"));
    if old.is_some() && new.is_some() {
        let text = "--config and --command-config cannot be specified together.";
        return Err(CommandError::Message(text.to_owned()));
    }
    if old.is_some() {
        writeln!(
            console.out,
            "Option --config has been deprecated and will be removed in a future version. Use --command-config instead."
        )?;
    }
    let mut properties = match new.or(old) {
        Some(path) => load_properties(&*console.env.disk, path)?,
        None => BTreeMap::new(),
    };
    match namespace.value("bootstrap-server") {
        Some(servers) => properties.insert("bootstrap.servers".to_owned(), servers.to_owned()),
        None => {
            let text = "--bootstrap-controller: only brokers can be asked by this tool; use --bootstrap-server";
            return Err(CommandError::Message(text.to_owned()));
        }
    };
    let config = ClientConfig::from_properties(properties, "adminclient-1")?;
    Ok(ClusterClient::open(config, console.env.clock.clone()).await?)
}

async fn describe(client: &mut ClusterClient, includes_fenced: bool) -> Result<DescribeClusterResponse, CommandError> {
    let build = |version: i16| {
        let mut request = DescribeClusterRequest::default();
        if version >= 1 {
            request.endpoint_type = BROKERS;
        }
        if version >= 2 {
            request.include_fenced_brokers = includes_fenced;
        }
        request
    };
    let response = client.call("listNodes", &Destination::Any, None, build).await?;
    ClientError::answer(response.error_code, response.error_message.as_deref())?;
    Ok(response)
}

async fn cluster_id(client: &mut ClusterClient, console: &mut Console<'_>) -> Result<(), CommandError> {
    let response = describe(client, false).await?;
    writeln!(console.out, "Cluster ID: {}", &*response.cluster_id)?;
    Ok(())
}

async fn unregister(
    client: &mut ClusterClient,
    namespace: &Namespace,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let id = namespace.value("id").and_then(|id| id.parse().ok()).unwrap_or_default();
    let build = |_: i16| UnregisterBrokerRequest::default().with_broker_id(BrokerId(id));
    match client.call("unregisterBroker", &Destination::Any, None, build).await {
        Err(ClientError::Unsupported(_)) => {
            writeln!(console.out, "The target cluster does not support the broker unregistration API.")?;
        }
        response => {
            let response = response?;
            ClientError::answer(response.error_code, response.error_message.as_deref())?;
            writeln!(console.out, "Broker {id} is no longer registered.")?;
        }
    }
    Ok(())
}

async fn list_endpoints(
    client: &mut ClusterClient,
    namespace: &Namespace,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let response = describe(client, namespace.has("include-fenced-brokers")).await?;
    let mut brokers = response.brokers;
    brokers.sort_by_key(|broker| broker.broker_id.0);
    let host_width = brokers.iter().map(|broker| broker.host.len()).max().unwrap_or(100);
    let racks = brokers.iter().filter_map(|broker| broker.rack.as_ref().map(|rack| rack.len()));
    let rack_width = racks.max().unwrap_or(RACK_WIDTH);
    let mut row = |columns: [&str; 5]| {
        let [id, host, port, rack, state] = columns;
        let kind = if id == "ID" { "ENDPOINT_TYPE" } else { "broker" };
        writeln!(console.out, "{id:<10} {host:<host_width$} {port:<10} {rack:<rack_width$} {state:<10} {kind:<15}")
    };
    row(["ID", "HOST", "PORT", "RACK", "STATE"])?;
    for broker in &brokers {
        let (id, port) = (broker.broker_id.0.to_string(), broker.port.to_string());
        let state = if broker.is_fenced { "fenced" } else { "unfenced" };
        row([&id, &broker.host, &port, broker.rack.as_deref().unwrap_or("null"), state])?;
    }
    Ok(())
}
