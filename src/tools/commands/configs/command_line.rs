//! The options of `kafka-configs` and what may stand together (`ConfigCommandOptions`).

use super::super::CommandError;
use crate::config::kafka_configs;
use crate::tools::options::{OptionParser, OptionSpec, Options};

/// The types of entities, as `--entity-type` names them.
const ENTITY_TYPES: [&str; 8] =
    ["topics", "clients", "users", "brokers", "ips", "client-metrics", "groups", "broker-loggers"];

/// Options that name one entity of a type.
const ENTITY_FLAGS: [(&str, &str); 8] = [
    ("topic", "topics"),
    ("client", "clients"),
    ("user", "users"),
    ("broker", "brokers"),
    ("broker-logger", "broker-loggers"),
    ("ip", "ips"),
    ("client-metrics", "client-metrics"),
    ("group", "groups"),
];

/// Options that name the default of a type.
const DEFAULT_FLAGS: [(&str, &str); 4] = [
    ("client-defaults", "clients"),
    ("user-defaults", "users"),
    ("broker-defaults", "brokers"),
    ("ip-defaults", "ips"),
];

/// Types that have defaults.
const WITH_DEFAULTS: [&str; 4] = ["users", "clients", "brokers", "ips"];

/// What is asked for: entities, and what to do with them.
pub(super) struct Request {
    pub options: Options,
    /// `topics`; two for clients of a user.
    pub types: Vec<String>,
    /// One for each type, where any were given; empty for the default.
    pub names: Vec<String>,
}

impl Request {
    /// `topic` of `topics`.
    pub fn singular(&self) -> &str {
        let entity_type = self.types.first().map_or("", String::as_str);
        &entity_type[..entity_type.len().saturating_sub(1)]
    }
}

/// Reads and checks the command line.
pub(super) fn read(arguments: &[String]) -> Result<Request, CommandError> {
    let parser = parser();
    let options = parser.parse(arguments)?;
    parser.help_or_version(
        &options,
        "This tool helps to manipulate and describe entity config for a topic, client, user, broker, ip, client-metrics \
         or group",
    )?;
    let types = entity_types(&options);
    check_actions(&parser, &options)?;
    check_types(&options, &types)?;
    let names = entity_names(&options)?;
    check_names(&options, &types, &names)?;
    match options.has("describe") {
        true => check_describe(&options, &types, &names)?,
        false => check_alter(&options, &types, &names)?,
    }
    Ok(Request { options, types, names })
}

fn refuse(text: impl Into<String>) -> Result<(), CommandError> {
    Err(CommandError::Message(text.into()))
}

fn entity_types(options: &Options) -> Vec<String> {
    let of_flags = ENTITY_FLAGS.iter().chain(&DEFAULT_FLAGS).filter(|(flag, _)| options.has(flag));
    let of_flags = of_flags.map(|(_, entity_type)| *entity_type);
    options.values("entity-type").into_iter().chain(of_flags).map(str::to_owned).collect()
}

fn entity_names(options: &Options) -> Result<Vec<String>, CommandError> {
    let mut given = options.values("entity-name").into_iter();
    let mut names: Vec<String> = Vec::new();
    for option in options.in_order() {
        match option {
            "entity-name" => names.extend(given.next().map(str::to_owned)),
            "entity-default" => names.push(String::new()),
            _ => {}
        }
    }
    for (flag, _) in ENTITY_FLAGS.iter().filter(|(flag, _)| options.has(flag)) {
        names.extend(options.value(flag)?.map(str::to_owned));
    }
    names.extend(DEFAULT_FLAGS.iter().filter(|(flag, _)| options.has(flag)).map(|_| String::new()));
    Ok(names)
}

fn check_actions(parser: &OptionParser, options: &Options) -> Result<(), CommandError> {
    if options.has("alter") == options.has("describe") {
        return Err(parser.usage("Command must include exactly one action: --describe, --alter"));
    }
    parser.not_with(options, "alter", &["describe"])?;
    parser.not_with(options, "describe", &["alter", "add-config", "delete-config"])
}

fn check_types(options: &Options, types: &[String]) -> Result<(), CommandError> {
    let is_repeated = |(index, entity_type): (usize, &String)| types[..index].contains(entity_type);
    if let Some(index) = types.iter().enumerate().position(is_repeated) {
        return refuse(format!("Duplicate entity type(s) specified: {}", types[index]));
    }
    if !options.has("bootstrap-server") && !options.has("bootstrap-controller") {
        return refuse("Either --bootstrap-server or --bootstrap-controller must be specified.");
    }
    if let Some(unknown) = types.iter().find(|entity_type| !ENTITY_TYPES.contains(&entity_type.as_str())) {
        return refuse(format!(
            "Invalid entity type {unknown}, the entity type must be one of {} with a --bootstrap-server or \
             --bootstrap-controller argument",
            ENTITY_TYPES.join(", ")
        ));
    }
    let is_users_clients = || types.len() == 2 && types.iter().all(|t| t == "users" || t == "clients");
    match types.len() {
        0 => return refuse("At least one entity type must be specified"),
        1 => {}
        _ if is_users_clients() => {}
        _ => return refuse("Only 'users' and 'clients' entity types may be specified together"),
    }
    let generic = ["entity-name", "entity-type", "entity-default"].iter().any(|option| options.has(option));
    if generic && ENTITY_FLAGS.iter().chain(&DEFAULT_FLAGS).any(|(flag, _)| options.has(flag)) {
        return refuse("--entity-{type,name,default} should not be used in conjunction with specific entity flags");
    }
    Ok(())
}

fn check_names(options: &Options, types: &[String], names: &[String]) -> Result<(), CommandError> {
    if options.has("bootstrap-server") && options.has("bootstrap-controller") {
        return refuse("Only one of --bootstrap-server or --bootstrap-controller can be specified");
    }
    let is_of_broker = types.iter().any(|entity_type| entity_type == "brokers" || entity_type == "broker-loggers");
    if is_of_broker && names.iter().any(|name| !name.is_empty()) {
        for option in ["entity-name", "broker", "broker-logger"] {
            let Some(id) = options.value(option)? else { continue };
            if id.parse::<i32>().is_err() {
                let entity_type = &types[0];
                return refuse(format!(
                    "The entity name for {entity_type} must be a valid integer broker id, but it is: {id}"
                ));
            }
        }
    }
    Ok(())
}

fn check_describe(options: &Options, types: &[String], names: &[String]) -> Result<(), CommandError> {
    let has_defaults = types.iter().any(|entity_type| WITH_DEFAULTS.contains(&entity_type.as_str()));
    let listed = types.join(",");
    if !has_defaults && options.has("entity-default") {
        return refuse(format!("--entity-default must not be specified with --describe of {listed}"));
    }
    let is_logger = types.iter().any(|entity_type| entity_type == "broker-loggers");
    if is_logger && names.iter().all(String::is_empty) {
        return refuse(format!("An entity name must be specified with --describe of {listed}"));
    }
    Ok(())
}

fn check_alter(options: &Options, types: &[String], names: &[String]) -> Result<(), CommandError> {
    let has_name = names.iter().any(|name| !name.is_empty());
    let has_default = names.iter().any(String::is_empty);
    if types.iter().any(|entity_type| WITH_DEFAULTS.contains(&entity_type.as_str())) {
        if !has_name && !has_default {
            return refuse(
                "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips",
            );
        }
    } else if !has_name {
        return refuse(format!("An entity name must be specified with --alter of {}", types.join(",")));
    }
    let (add, file) = (options.has("add-config"), options.has("add-config-file"));
    if add && file {
        return refuse("Only one of --add-config or --add-config-file must be specified");
    }
    if !add && !file && !options.has("delete-config") {
        return refuse(
            "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter",
        );
    }
    Ok(())
}

/// Names one a line with tabs, between line breaks.
fn listed(names: impl IntoIterator<Item = &'static str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let names: Vec<String> = names.into_iter().map(|name| format!("\t{name}")).collect();
    format!("\n{}\n", names.join("\n"))
}

fn names_of(scope: &'static str) -> impl Iterator<Item = &'static str> {
    let configs = kafka_configs().filter(move |config| config.scope == scope && !config.internal);
    // Topics' configurations have no mode: all of them can be changed.
    configs.filter(move |config| scope == "topic" || config.update_mode != "read-only").map(|config| config.name)
}

/// Of brokers, and of no broker's file (`QuotaConfig.brokerQuotaConfigs`).
const BROKER_QUOTAS: [&str; 3] = [
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];
/// `GroupConfig`.
const GROUPS: [&str; 17] = [
    "consumer.assignment.interval.ms",
    "consumer.heartbeat.interval.ms",
    "consumer.session.timeout.ms",
    "share.assignment.interval.ms",
    "share.auto.offset.reset",
    "share.delivery.count.limit",
    "share.heartbeat.interval.ms",
    "share.isolation.level",
    "share.partition.max.record.locks",
    "share.record.lock.duration.ms",
    "share.renew.acknowledge.enable",
    "share.session.timeout.ms",
    "streams.assignment.interval.ms",
    "streams.heartbeat.interval.ms",
    "streams.initial.rebalance.delay.ms",
    "streams.num.standby.replicas",
    "streams.session.timeout.ms",
];

const QUOTAS: [&str; 4] =
    ["consumer_byte_rate", "controller_mutation_rate", "producer_byte_rate", "request_percentage"];
const SCRAM: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

fn add_config_description() -> String {
    let topics = listed(names_of("topic"));
    let brokers = listed(names_of("broker").chain(BROKER_QUOTAS));
    let users = listed(QUOTAS.into_iter().chain(SCRAM));
    let clients = listed(QUOTAS);
    let ips = listed(["connection_creation_rate"]);
    let metrics = listed(["interval.ms", "match", "metrics"]);
    let groups = listed(GROUPS);
    format!(
        "Key Value pairs of configs to add. Square brackets can be used to group values which contain commas: \
         'k1=v1,k2=[v1,v2,v2],k3=v3'. The following is a list of valid configurations: For entity-type 'topics': \
         {topics}For entity-type 'brokers': {brokers}For entity-type 'users': {users}For entity-type 'clients': \
         {clients}For entity-type 'ips': {ips}For entity-type 'client-metrics': {metrics}For entity-type 'groups': \
         {groups}Entity types 'users' and 'clients' may be specified together to update config for clients of a specific \
         user."
    )
}

fn parser() -> OptionParser {
    let mut specs = general_options();
    specs.extend(entity_options());
    OptionParser::new(specs)
}

fn general_options() -> Vec<OptionSpec> {
    vec![
        OptionSpec::required("bootstrap-server", "server to connect to", "The Kafka servers to connect to."),
        OptionSpec::required(
            "bootstrap-controller",
            "controller to connect to",
            "The Kafka controllers to connect to.",
        ),
        OptionSpec::required(
            "command-config",
            "command config property file",
            "Property file containing configs to be passed to Admin Client. This is used only with --bootstrap-server \
             option for describing and altering broker configs.",
        ),
        OptionSpec::flag("alter", "Alter the configuration for the entity."),
        OptionSpec::flag("describe", "List configs for the given entity."),
        OptionSpec::flag("all", "List all configs for the given entity, including static configs if available."),
        OptionSpec::required(
            "entity-type",
            "",
            "Type of entity (topics/clients/users/brokers/broker-loggers/ips/client-metrics/groups)",
        ),
        OptionSpec::required(
            "entity-name",
            "",
            "Name of entity (topic name/client id/user principal name/broker id/ip/client metrics/group id)",
        ),
        OptionSpec::flag(
            "entity-default",
            "Default entity name for clients/users/brokers/ips (applies to corresponding entity type)",
        ),
        OptionSpec::required("add-config", "", &add_config_description()),
        OptionSpec::required(
            "add-config-file",
            "",
            "Path to a properties file with configs to add. See add-config for a list of valid configurations.",
        ),
        OptionSpec::required("delete-config", "", "config keys to remove 'k1,k2'").separated_by(','),
    ]
}

fn entity_options() -> Vec<OptionSpec> {
    vec![
        OptionSpec::required("topic", "", "The topic's name."),
        OptionSpec::required("client", "", "The client's ID."),
        OptionSpec::flag("client-defaults", "The config defaults for all clients."),
        OptionSpec::required("user", "", "The user's principal name."),
        OptionSpec::flag("user-defaults", "The config defaults for all users."),
        OptionSpec::required("broker", "", "The broker's ID."),
        OptionSpec::flag("broker-defaults", "The config defaults for all brokers."),
        OptionSpec::required("broker-logger", "", "The broker's ID for its logger config."),
        OptionSpec::flag("ip-defaults", "The config defaults for all IPs."),
        OptionSpec::required("ip", "", "The IP address."),
        OptionSpec::required("group", "", "The group's ID."),
        OptionSpec::required("client-metrics", "", "The client metrics config resource name."),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> String {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        read(&arguments).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn entities_are_found_by_either_kind_of_option() {
        let read = |line: &str| {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let request = read(&arguments).expect(line);
            (request.types.clone(), request.names.clone())
        };
        let one = |entity_type: &str, name: &str| (vec![entity_type.to_owned()], vec![name.to_owned()]);
        assert_eq!(read("--bootstrap-server a:1 --describe --topic t"), one("topics", "t"));
        assert_eq!(read("--bootstrap-server a:1 --describe --entity-type topics --entity-name t"), one("topics", "t"));
        assert_eq!(read("--bootstrap-server a:1 --describe --broker-defaults"), one("brokers", ""));
        let (types, names) = read(
            "--bootstrap-server a:1 --describe --entity-type users --entity-name u --entity-type clients --entity-default",
        );
        assert_eq!(
            (types, names),
            (vec!["users".to_owned(), "clients".to_owned()], vec!["u".to_owned(), String::new()])
        );
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (line, message) in [
            ("--bootstrap-server a:1 --topic t", "Command must include exactly one action: --describe, --alter"),
            ("--describe --topic t", "Either --bootstrap-server or --bootstrap-controller must be specified."),
            ("--bootstrap-server a:1 --describe", "At least one entity type must be specified"),
            (
                "--bootstrap-server a:1 --describe --topic t --broker 1",
                "Only 'users' and 'clients' entity types may be specified together",
            ),
            (
                "--bootstrap-server a:1 --describe --entity-type brokers --entity-name x",
                "The entity name for brokers must be a valid integer broker id, but it is: x",
            ),
            (
                "--bootstrap-server a:1 --alter --topic t",
                "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter",
            ),
            (
                "--bootstrap-server a:1 --alter --entity-type topics --add-config a=b",
                "An entity name must be specified with --alter of topics",
            ),
        ] {
            assert_eq!(refused(line), message, "{line}");
        }
    }
}
