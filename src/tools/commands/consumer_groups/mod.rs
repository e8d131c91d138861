//! `kafka-consumer-groups.sh` (`ConsumerGroupCommand`).

mod command_line;
mod csv;
mod delete;
mod describe;
mod list;
mod reset;
mod table;

use std::time::Duration;

use super::java_error::java_error;
use super::{CommandError, Console, client_config};
use crate::client::{ClientError, ClusterClient};
use crate::tools::PATTERN_BYTES_MAX;
use crate::tools::options::{OptionParser, Options};
use crate::types::java_pattern::{JavaPattern, PatternError};

/// Runs the command.
///
/// # Errors
/// What makes Kafka's command end with another code than 0: what brokers refuse does not.
pub async fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), CommandError> {
    let (parser, options) = command_line::read(arguments, console)?;
    if options.has("validate-regex") {
        return validate_regex(options.value("validate-regex")?.unwrap_or_default(), console);
    }
    let reason = match act(&parser, &options, console).await {
        Ok(()) => return Ok(()),
        Err(CommandError::Message(reason)) => reason,
        Err(CommandError::NoSuchFile(path)) => format!("java.nio.file.NoSuchFileException: {path}"),
        Err(CommandError::Client(ClientError::Config(_))) => "Failed to create new KafkaAdminClient".to_owned(),
        Err(CommandError::Client(error)) => error.to_string(),
        Err(error) => return Err(error),
    };
    print_error(&format!("Executing consumer group command failed due to {reason}"), console)
}

async fn act(parser: &OptionParser, options: &Options, console: &mut Console<'_>) -> Result<(), CommandError> {
    let mut config = client_config(options, "bootstrap-server", "command-config", "adminclient-1", console)?;
    if let Some(timeout) = options.number::<i64>("timeout")?.and_then(|millis| u64::try_from(millis).ok()) {
        config.api_timeout = Duration::from_millis(timeout);
    }
    let mut cluster = ClusterClient::open(config, console.env.clock.clone()).await?;
    if options.has("list") {
        list::list(&mut cluster, parser, options, console).await
    } else if options.has("describe") {
        describe::describe(&mut cluster, options, console).await
    } else if options.has("delete") {
        delete::delete_groups(&mut cluster, options, console).await
    } else if options.has("delete-offsets") {
        delete::delete_offsets(&mut cluster, parser, options, console).await
    } else {
        reset::reset(&mut cluster, parser, options, console).await
    }
}

/// The groups that the command line names, or all.
async fn groups_of(cluster: &mut ClusterClient, options: &Options) -> Result<Vec<String>, CommandError> {
    if options.has("all-groups") {
        let groups = crate::client::list_consumer_groups(cluster, &[], &[]).await.map_err(runtime_exception)?;
        return Ok(groups.into_iter().map(|group| group.group_id).collect());
    }
    Ok(options.values("group").into_iter().map(str::to_owned).collect())
}

/// What a `RuntimeException` around an `ExecutionException` says.
fn runtime_exception(error: ClientError) -> CommandError {
    CommandError::Message(format!("java.util.concurrent.ExecutionException: {}", java_error(&error)))
}

/// What an `ExecutionException` says.
fn execution_exception(error: ClientError) -> CommandError {
    CommandError::Message(java_error(&error))
}

/// An error as Kafka's command prints it: to the standard output.
fn print_error(message: &str, console: &mut Console<'_>) -> Result<(), CommandError> {
    Ok(writeln!(console.out, "\nError: {message}")?)
}

fn validate_regex(pattern: &str, console: &mut Console<'_>) -> Result<(), CommandError> {
    match JavaPattern::new(pattern, PATTERN_BYTES_MAX) {
        Ok(_) => writeln!(console.out, "The regular expression `{pattern}` is valid.")?,
        Err(error) => {
            writeln!(console.out, "The regular expression `{pattern}` is invalid: {}.", in_words_of_re2(&error))?;
        }
    }
    Ok(())
}

/// What RE2, which Kafka's groups use, says of the same mistake, where it is a usual one.
fn in_words_of_re2(error: &PatternError) -> String {
    let words = [
        ("unclosed group", "missing closing )"),
        ("unopened group", "regexp/syntax: internal error"),
        ("unclosed character class", "missing closing ]"),
        ("repetition operator missing expression", "missing argument to repetition operator"),
        ("incomplete escape sequence", "trailing backslash at end of expression"),
        ("unrecognized escape sequence", "invalid escape sequence"),
        ("invalid character class range", "invalid character class range"),
        ("invalid repetition count range", "invalid repeat count"),
        ("look-around", "invalid or unsupported Perl syntax"),
        ("backreferences are not supported", "invalid escape sequence"),
    ];
    let reason = error.to_string();
    words.iter().find(|(ours, _)| reason.contains(ours)).map_or(reason, |(_, theirs)| (*theirs).to_owned())
}
