//! The options of `kafka-topics` and what may stand together (`TopicCommandOptions`).

use super::super::{CommandError, Console};
use crate::config::kafka_configs;
use crate::tools::options::{OptionParser, OptionSpec, Options};

const ACTIONS: [&str; 5] = ["alter", "create", "describe", "list", "delete"];
const REPLICATION_REPORTS: [&str; 4] =
    ["under-replicated-partitions", "under-min-isr-partitions", "at-min-isr-partitions", "unavailable-partitions"];
const CONFIGS_TOOL: &str = " (To alter topic configurations, the kafka-configs tool can be used.)";

fn parser() -> OptionParser {
    let mut specs = connection_and_actions();
    specs.extend(topic_options());
    specs.extend(report_options());
    OptionParser::new(specs)
}

fn connection_and_actions() -> Vec<OptionSpec> {
    vec![
        OptionSpec::required("bootstrap-server", "server to connect to", "REQUIRED: The Kafka server to connect to."),
        OptionSpec::required(
            "command-config",
            "command config property file",
            "Property file containing configs to be passed to Admin Client.",
        ),
        OptionSpec::flag("list", "List all available topics."),
        OptionSpec::flag("create", "Create a new topic."),
        OptionSpec::flag("delete", "Delete a topic."),
        OptionSpec::flag("alter", &format!("Alter the number of partitions and replica assignment.{CONFIGS_TOOL}")),
        OptionSpec::flag("describe", "List details for the given topics."),
    ]
}

fn topic_options() -> Vec<OptionSpec> {
    let configs = kafka_configs().filter(|config| config.scope == "topic" && !config.internal);
    let mut names: Vec<String> = configs.map(|config| format!("\t{}", config.name)).collect();
    names.sort_unstable();
    let names = names.join("\n");
    vec![
        OptionSpec::required(
            "topic",
            "topic",
            "The topic to create, alter, describe or delete. It also accepts a regular expression, except for --create \
             option.",
        ),
        OptionSpec::required("topic-id", "topic-id", "The topic-id to describe."),
        OptionSpec::required(
            "config",
            "name=value",
            &format!(
                "A topic configuration override for the topic being created. The following is a list of valid \
                 configurations: \n{names}\nSee the Kafka documentation for full details on the topic configs. It is \
                 supported only in combination with --create.{CONFIGS_TOOL}"
            ),
        ),
        OptionSpec::required(
            "delete-config",
            "name",
            "This option is no longer supported and has been deprecated since 4.0",
        ),
        OptionSpec::required(
            "partitions",
            "# of partitions",
            "The number of partitions for the topic being created or altered. If not supplied with --create, the topic \
             uses the cluster default. (WARNING: If partitions are increased for a topic that has a key, the partition \
             logic or ordering of the messages will be affected).",
        )
        .integer(),
        OptionSpec::required(
            "replication-factor",
            "replication factor",
            "The replication factor for each partition in the topic being created. If not supplied, the topic uses the \
             cluster default.",
        )
        .integer(),
        OptionSpec::required(
            "replica-assignment",
            "broker_id_for_part1_replica1 : broker_id_for_part1_replica2 , broker_id_for_part2_replica1 : \
             broker_id_for_part2_replica2 , ...",
            "A list of manual partition-to-broker assignments for the topic being created or altered.",
        ),
    ]
}

fn report_options() -> Vec<OptionSpec> {
    vec![
        OptionSpec::flag(
            "under-replicated-partitions",
            "If set when describing topics, only show under-replicated partitions.",
        ),
        OptionSpec::flag(
            "unavailable-partitions",
            "If set when describing topics, only show partitions whose leader is not available.",
        ),
        OptionSpec::flag(
            "under-min-isr-partitions",
            "If set when describing topics, only show partitions whose isr count is less than the configured minimum.",
        ),
        OptionSpec::flag(
            "at-min-isr-partitions",
            "If set when describing topics, only show partitions whose isr count is equal to the configured minimum.",
        ),
        OptionSpec::flag(
            "topics-with-overrides",
            "If set when describing topics, only show topics that have overridden configs.",
        ),
        OptionSpec::flag(
            "if-exists",
            "If set when altering or deleting or describing topics, the action will only execute if the topic exists.",
        ),
        OptionSpec::flag(
            "if-not-exists",
            "If set when creating topics, the create request will not fail if the topic already exists, but the request \
             will still be sent.",
        ),
        OptionSpec::flag(
            "exclude-internal",
            "Exclude internal topics when listing or describing topics. By default, the internal topics are included.",
        ),
        OptionSpec::required(
            "partition-size-limit-per-response",
            "maximum number of partitions per response",
            "The maximum partition size to be included in one DescribeTopicPartitions response.",
        )
        .integer(),
    ]
}

/// Reads and checks the command line.
pub(super) fn read(arguments: &[String], console: &mut Console<'_>) -> Result<Options, CommandError> {
    let parser = parser();
    let options = parser.parse(arguments)?;
    if options.is_empty() {
        return Err(parser.usage("Create, delete, describe, or change a topic."));
    }
    parser.help_or_version(&options, "This tool helps to create, delete, describe, or change a topic.")?;
    if ACTIONS.iter().filter(|action| options.has(action)).count() != 1 {
        return Err(
            parser.usage("Command must include exactly one action: --list, --describe, --create, --alter or --delete")
        );
    }
    if options.has("delete-config") {
        writeln!(
            console.err,
            "delete-config option is no longer supported and deprecated since version 4.0. The config will be fully \
             removed in future releases."
        )?;
    }
    check_required(&parser, &options, console)?;
    check_invalid(&parser, &options)?;
    Ok(options)
}

fn check_required(parser: &OptionParser, options: &Options, console: &mut Console<'_>) -> Result<(), CommandError> {
    if !options.has("bootstrap-server") {
        return Err(CommandError::Message("--bootstrap-server must be specified".to_owned()));
    }
    if options.has("describe") && options.has("if-exists") {
        if !options.has("topic") && !options.has("topic-id") {
            return Err(parser.usage("--topic or --topic-id is required to describe a topic"));
        }
        if options.has("topic") && options.has("topic-id") {
            writeln!(
                console.out,
                "Only topic id will be used when both --topic and --topic-id are specified and topicId is not \
                 Uuid.ZERO_UUID"
            )?;
        }
    }
    if !options.has("list") && !options.has("describe") {
        parser.required(options, &["topic"])?;
    }
    if options.has("alter") {
        if options.has("config") {
            let (used, other) = ("[[bootstrap-server], [config]]", parser.listed("alter"));
            return Err(parser
                .usage(format!("Option combination \"{used}\" can't be used with option \"{other}\"{CONFIGS_TOOL}")));
        }
        parser.required(options, &["partitions"])?;
    }
    Ok(())
}

fn check_invalid(parser: &OptionParser, options: &Options) -> Result<(), CommandError> {
    let not_for = |used: &str, allowed: &[&str], others: &[&str]| {
        let mut invalid: Vec<&str> = ACTIONS.into_iter().filter(|action| !allowed.contains(action)).collect();
        invalid.extend(others);
        parser.not_with(options, used, &invalid)
    };
    not_for("config", &["alter", "create"], &[])?;
    not_for("partitions", &["alter", "create"], &[])?;
    not_for("replication-factor", &["create"], &[])?;
    not_for("replica-assignment", &["alter", "create"], &[])?;
    if options.has("create") {
        parser.not_with(options, "replica-assignment", &["partitions", "replication-factor"])?;
    }
    for report in REPLICATION_REPORTS {
        not_for(report, &["describe"], &["topics-with-overrides"])?;
    }
    not_for("topics-with-overrides", &["describe"], &REPLICATION_REPORTS)?;
    not_for("if-exists", &["alter", "delete", "describe"], &[])?;
    not_for("if-not-exists", &["create"], &[])?;
    not_for("exclude-internal", &["list", "describe"], &[])
}
