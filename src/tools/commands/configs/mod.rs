//! `kafka-configs`: describes and alters the configurations of topics, brokers, loggers, clients, groups (`ConfigCommand`).

mod alter;
mod command_line;
mod describe;
mod quotas;

use super::{CommandError, Console, admin_client};
use crate::client::ClientError;
use command_line::Request;

/// Runs the command.
///
/// # Errors
/// See [`CommandError`].
pub(super) async fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), CommandError> {
    let request = command_line::read(arguments)?;
    match act(&request, console).await {
        // What the command line asks for cannot be.
        Err(error @ (CommandError::Message(_) | CommandError::Client(ClientError::Unsupported(_)))) => {
            Err(CommandError::Message(error.to_string()))
        }
        Err(error @ (CommandError::Client(_) | CommandError::NoSuchFile(_))) => {
            let arguments = arguments.join(" ");
            writeln!(console.err, "Error while executing config command with args '{arguments}'")?;
            writeln!(console.err, "{}", thrown(&error))?;
            Err(CommandError::Exit(1))
        }
        result => result,
    }
}

async fn act(request: &Request, console: &mut Console<'_>) -> Result<(), CommandError> {
    let options = &request.options;
    if options.has("bootstrap-controller") {
        let text = "--bootstrap-controller: a client cannot reach Ottla's controller by itself; use --bootstrap-server";
        return Err(CommandError::Message(text.to_owned()));
    }
    if options.has("alter") && request.types.len() != request.names.len() {
        return Err(CommandError::Message("An entity name must be specified for every entity type".to_owned()));
    }
    let mut client = admin_client(options, "bootstrap-server", "command-config", console).await?;
    match options.has("alter") {
        true => alter::alter(&mut client, request, console).await,
        false => describe::describe(&mut client, request, console).await,
    }
}

/// The first line of Java's stack trace, which says what happened.
fn thrown(error: &CommandError) -> String {
    match error {
        CommandError::Client(ClientError::Config(reason)) => {
            format!(
                "org.apache.kafka.common.KafkaException: Failed to create new KafkaAdminClient\nCaused by: {reason}"
            )
        }
        CommandError::Client(error) => {
            let class = error.class();
            format!("java.util.concurrent.ExecutionException: org.apache.kafka.common.errors.{class}: {error}")
        }
        CommandError::NoSuchFile(path) => format!("java.nio.file.NoSuchFileException: {path}"),
        error => error.to_string(),
    }
}
