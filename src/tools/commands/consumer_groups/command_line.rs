//! The options of `kafka-consumer-groups.sh` (`ConsumerGroupCommandOptions`).

use super::super::{CommandError, Console};
use crate::tools::commands::known_options::option_parser;
use crate::tools::options::{OptionParser, Options};

/// Of which exactly one must be given.
const ACTIONS: [&str; 6] = ["list", "describe", "delete", "reset-offsets", "delete-offsets", "validate-regex"];
/// Of which at most one may be given with `--reset-offsets`.
const SCENARIOS: [&str; 8] =
    ["to-offset", "shift-by", "to-datetime", "by-duration", "to-earliest", "to-latest", "to-current", "from-file"];
/// Options that only go with one of others (`availableIf`).
const CONDITIONS: [(&str, &[&str]); 5] = [
    ("members", &["describe"]),
    ("verbose", &["describe"]),
    ("offsets", &["describe"]),
    ("state", &["describe", "list"]),
    ("type", &["list"]),
];

/// Reads the command line.
///
/// # Errors
/// What Kafka refuses, in its words.
pub fn read(arguments: &[String], console: &mut Console<'_>) -> Result<(OptionParser, Options), CommandError> {
    let parser = option_parser("kafka-consumer-groups");
    let options = parser.parse(arguments).map_err(uncaught)?;
    check_conditions(&options)?;
    let about = "This tool helps to list all consumer groups, describe a consumer group, delete consumer group info, or reset \
                 consumer group offsets.";
    parser.help_or_version(&options, about)?;
    if !options.has("validate-regex") {
        parser.required(&options, &["bootstrap-server"])?;
    }
    check_describe(&parser, &options)?;
    check_delete(&parser, &options)?;
    if options.has("reset-offsets") {
        check_reset(&parser, &options, console)?;
    }
    parser.not_with(&options, "group", &["all-groups"])?;
    parser.not_with(&options, "group", &["list"])?;
    parser.not_with(&options, "topic", &["list", "describe"])?;
    if ACTIONS.iter().filter(|action| options.has(action)).count() != 1 {
        let actions: Vec<String> = ACTIONS.iter().map(|action| format!("--{action}")).collect();
        return Err(parser.usage(format!("Command must include exactly one action: {}", actions.join(", "))));
    }
    Ok((parser, options))
}

/// Kafka's command does not catch what joptsimple throws here.
fn uncaught(error: CommandError) -> CommandError {
    let message = error.to_string();
    let class = match &message {
        text if text.ends_with("requires an argument") => "OptionMissingRequiredArgumentException",
        text if text.contains("are unavailable") => "UnavailableOptionException",
        _ => "UnrecognizedOptionException",
    };
    CommandError::Message(format!("Exception in thread \"main\" joptsimple.{class}: {message}"))
}

fn check_conditions(options: &Options) -> Result<(), CommandError> {
    if options.has("help") || options.has("version") {
        return Ok(());
    }
    let is_unavailable =
        |option: &str, with: &[&str]| options.has(option) && !with.iter().any(|name| options.has(name));
    let unavailable: Vec<&str> =
        CONDITIONS.iter().filter(|(option, with)| is_unavailable(option, with)).map(|(option, _)| *option).collect();
    match unavailable.is_empty() {
        true => Ok(()),
        false => Err(uncaught(CommandError::Message(format!(
            "Option(s) [{}] are unavailable given other options on the command line",
            unavailable.join(", ")
        )))),
    }
}

fn needs_groups(parser: &OptionParser, options: &Options, action: &str) -> Result<(), CommandError> {
    if options.has("group") || options.has("all-groups") {
        return Ok(());
    }
    Err(parser.usage(format!("Option [{action}] takes one of these options: [all-groups], [group]")))
}

fn check_describe(parser: &OptionParser, options: &Options) -> Result<(), CommandError> {
    if !options.has("describe") {
        return Ok(());
    }
    needs_groups(parser, options, "describe")?;
    if ["members", "offsets", "state"].iter().filter(|option| options.has(option)).count() > 1 {
        return Err(parser.usage("Option [describe] takes at most one of these options: [members], [offsets], [state]"));
    }
    if options.value("state")?.is_some() {
        return Err(parser.usage("Option [describe] does not take a value for [state]"));
    }
    Ok(())
}

fn check_delete(parser: &OptionParser, options: &Options) -> Result<(), CommandError> {
    if options.has("delete") {
        needs_groups(parser, options, "delete")?;
        if options.has("topic") {
            return Err(
                parser.usage("The consumer does not support topic-specific offset deletion from a consumer group.")
            );
        }
    }
    if options.has("delete-offsets") && !(options.has("group") && options.has("topic")) {
        return Err(parser.usage("Option [delete-offsets] takes the following options: [group], [topic]"));
    }
    Ok(())
}

fn check_reset(parser: &OptionParser, options: &Options, console: &mut Console<'_>) -> Result<(), CommandError> {
    let (dry_run, execute) = (options.has("dry-run"), options.has("execute"));
    if dry_run && execute {
        return Err(parser.usage("Option [reset-offsets] only accepts one of [execute] and [dry-run]"));
    }
    if !dry_run && !execute {
        writeln!(
            console.err,
            "WARN: No action will be performed as the --execute option is missing. In version 5.0, this command will require \
             either --dry-run or --execute to be specified. You should add the --dry-run option explicitly if you are scripting \
             this command and want to keep the current default behavior without prompting."
        )?;
    }
    needs_groups(parser, options, "reset-offsets")?;
    for scenario in SCENARIOS {
        let others: Vec<&str> = SCENARIOS.iter().copied().filter(|other| *other != scenario).collect();
        parser.not_with(options, scenario, &others)?;
    }
    Ok(())
}

/// What is said when no scenario is given.
pub fn scenarios() -> String {
    let scenarios: Vec<String> = SCENARIOS.iter().map(|scenario| format!("[{scenario}]")).collect();
    format!("Option '[reset-offsets]' requires one of the following scenarios: [{}]", scenarios.join(", "))
}
