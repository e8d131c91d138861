//! `kafka-topics`: creates, lists, describes, alters and deletes topics (`TopicCommand`).

mod change;
mod command_line;
mod describe;
mod list;

use super::{CommandError, Console, admin_client};
use crate::client::ClusterClient;
use crate::tools::options::Options;

/// Runs the command.
///
/// # Errors
/// See [`CommandError`].
pub(super) async fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), CommandError> {
    let options = command_line::read(arguments, console)?;
    let mut client = admin_client(&options, "bootstrap-server", "command-config", console).await?;
    match act(&mut client, &options, console).await {
        Err(error) if !error.is_of_command_line() => {
            writeln!(console.out, "Error while executing topic command : {error}")?;
            Err(CommandError::Exit(1))
        }
        result => result,
    }
}

async fn act(client: &mut ClusterClient, options: &Options, console: &mut Console<'_>) -> Result<(), CommandError> {
    if options.has("create") {
        change::create(client, options, console).await
    } else if options.has("alter") {
        change::alter(client, options).await
    } else if options.has("list") {
        list::list(client, options, console).await
    } else if options.has("describe") {
        describe::describe(client, options, console).await
    } else {
        change::delete(client, options).await
    }
}
