//! `kafka-storage`: formats log directories, tells of them, makes ids (`StorageTool`).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::storage_features::{LATEST_PRODUCTION, feature_dependencies, version_mapping};
use super::{CommandError, Console, load_properties};
use crate::config::BrokerConfig;
use crate::env::{Disk, FileKind};
use crate::metadata::{METADATA_VERSION, METADATA_VERSION_LEVEL, supported_features};
use crate::storage::{MetaProperties, encode_uuid};
use crate::tools::options::{Argument, ArgumentKind, Namespace, Subcommand, SubcommandParser};

fn parser() -> SubcommandParser {
    let config =
        || Argument::new(&["--config", "-c"], ArgumentKind::Text, "The Kafka configuration file to use.").required();
    SubcommandParser {
        program: "kafka-storage",
        description: "The Kafka storage tool.",
        subcommands: vec![
            Subcommand {
                name: "info",
                help: "Get information about the Kafka log directories on this node.",
                arguments: vec![config()],
                needs_exclusive: false,
            },
            Subcommand {
                name: "format",
                help: "Format the Kafka log directories on this node.",
                arguments: [vec![config()], format_arguments()].concat(),
                needs_exclusive: false,
            },
            Subcommand {
                name: "version-mapping",
                help: "Look up the corresponding features for a given metadata version. Using the command with no \
                       --release-version  argument will return the mapping for the latest stable metadata version",
                arguments: vec![Argument::new(
                    &["--release-version", "-r"],
                    ArgumentKind::Text,
                    "The release version to use for the corresponding feature mapping. The minimum is 3.3-IV3; the \
                     default is 4.3-IV0",
                )],
                needs_exclusive: false,
            },
            Subcommand {
                name: "feature-dependencies",
                help: "Look up dependencies for a given feature version. If the feature is not known or the version not \
                       yet defined, an error is thrown. Multiple features can be specified.",
                arguments: vec![
                    Argument::new(
                        &["--feature", "-f"],
                        ArgumentKind::Texts,
                        "The features and their versions to look up dependencies for, in feature=version format. For \
                         example: `metadata.version=5`.",
                    )
                    .required(),
                ],
                needs_exclusive: false,
            },
            Subcommand {
                name: "random-uuid",
                help: "Print a random UUID.",
                arguments: Vec::new(),
                needs_exclusive: false,
            },
        ],
        help_code: 0,
    }
}

fn format_arguments() -> Vec<Argument> {
    vec![
        Argument::new(&["--cluster-id", "-t"], ArgumentKind::Text, "The cluster ID to use.").required(),
        Argument::new(&["--add-scram", "-S"], ArgumentKind::Texts, "SCRAM credentials are not implemented yet."),
        Argument::new(
            &["--ignore-formatted", "-g"],
            ArgumentKind::Flag,
            "When this option is passed, the format command will skip over already formatted directories rather than \
             failing.",
        ),
        Argument::new(
            &["--release-version", "-r"],
            ArgumentKind::Text,
            "The release version to use for the initial feature settings: 4.3-IV0, which is the default.",
        ),
        Argument::new(
            &["--feature", "-f"],
            ArgumentKind::Texts,
            "The setting to use for a specific feature, in feature=level format; the level that a new cluster has.",
        ),
        Argument::new(
            &["--standalone", "-s"],
            ArgumentKind::Flag,
            "Used to initialize a controller as a single-node dynamic quorum.",
        )
        .exclusive(),
        Argument::new(
            &["--no-initial-controllers", "-N"],
            ArgumentKind::Flag,
            "Used to initialize a server without specifying a dynamic quorum.",
        )
        .exclusive(),
        Argument::new(
            &["--initial-controllers", "-I"],
            ArgumentKind::Text,
            "Used to initialize a server with the specified dynamic quorum, of one controller.",
        )
        .exclusive(),
    ]
}

/// Runs the command.
///
/// # Errors
/// See [`CommandError`].
pub(super) fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), CommandError> {
    let namespace = parser().parse(arguments)?;
    match namespace.command {
        "random-uuid" => {
            writeln!(console.out, "{}", random_uuid(console))?;
            return Ok(());
        }
        "version-mapping" => return version_mapping(&namespace, console),
        "feature-dependencies" => return feature_dependencies(&namespace, console),
        _ => {}
    }
    let path = namespace.value("config").unwrap_or_default();
    let properties = load_properties(&*console.env.disk, path)?;
    let config = BrokerConfig::new(properties.clone()).map_err(|error| CommandError::Message(error.to_string()))?;
    let mut directories = config.log_dirs();
    directories.sort();
    directories.dedup();
    match namespace.command {
        "info" => info(&directories, console),
        _ => format(&namespace, &properties, &config, &directories, console),
    }
}

/// An id that no option is taken for (`Uuid.randomUuid`).
fn random_uuid(console: &Console<'_>) -> String {
    loop {
        let text = encode_uuid(console.env.random.uuid());
        if !text.starts_with('-') {
            return text;
        }
    }
}

fn listed(directories: &[&PathBuf]) -> String {
    directories.iter().map(|directory| format!("  {}\n", directory.display())).collect()
}

fn info(directories: &[PathBuf], console: &mut Console<'_>) -> Result<(), CommandError> {
    let disk = console.env.disk.clone();
    let (mut problems, mut found) = (Vec::new(), Vec::new());
    let mut first: Option<MetaProperties> = None;
    for directory in directories {
        match disk.metadata(directory).map(|metadata| metadata.kind) {
            Err(_) => problems.push(format!("{} does not exist", directory.display())),
            Ok(FileKind::File) => problems.push(format!("{} is not a directory", directory.display())),
            Ok(FileKind::Directory) => {
                found.push(directory);
                match (MetaProperties::read(&*disk, directory), &first) {
                    (Ok(None), _) => problems.push(format!("{} is not formatted.", directory.display())),
                    (Ok(Some(properties)), None) => first = Some(properties),
                    (Ok(Some(properties)), Some(first)) if properties.cluster_id != first.cluster_id => {
                        problems.push("Mismatched cluster IDs between storage directories.".to_owned());
                    }
                    (Ok(Some(properties)), Some(first)) if properties.node_id != first.node_id => {
                        problems.push("Mismatched node IDs between storage directories.".to_owned());
                    }
                    (Ok(Some(_)), Some(_)) => {}
                    (Err(error), _) => {
                        let file = directory.join("meta.properties");
                        problems.push(format!("Error loading {}: {error}", file.display()));
                    }
                }
            }
        }
    }
    let word = |many: bool, one: &'static str, several: &'static str| if many { several } else { one };
    if !found.is_empty() {
        let directories = word(found.len() > 1, "directory", "directories");
        writeln!(console.out, "Found log {directories}:\n{}", listed(&found))?;
    }
    if let Some(properties) = first {
        writeln!(console.out, "Found metadata: {{{}}}\n", shown(&properties))?;
    }
    if problems.is_empty() {
        return Ok(());
    }
    writeln!(console.out, "Found {}:", word(problems.len() > 1, "problem", "problems"))?;
    for problem in &problems {
        writeln!(console.out, "  {problem}")?;
    }
    writeln!(console.out)?;
    Err(CommandError::Exit(1))
}

fn shown(properties: &MetaProperties) -> String {
    let directory = properties.directory_id.map(|id| format!("directory.id={}, ", encode_uuid(id)));
    let directory = directory.unwrap_or_default();
    format!("cluster.id={}, {directory}node.id={}, version=1", properties.cluster_id, properties.node_id)
}

fn refuse(text: impl Into<String>) -> CommandError {
    CommandError::Message(text.into())
}

fn format(
    namespace: &Namespace,
    properties: &BTreeMap<String, String>,
    config: &BrokerConfig,
    directories: &[PathBuf],
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    check_quorum(namespace, properties)?;
    check_features(namespace)?;
    let disk = console.env.disk.clone();
    let cluster_id = namespace.value("cluster-id").unwrap_or_default();
    let node_id = config.node_id();
    let mut empty = Vec::new();
    let mut formatted = Vec::new();
    for directory in directories {
        match MetaProperties::read(&*disk, directory).map_err(|error| refuse(error.to_string()))? {
            None => empty.push(directory),
            Some(properties) => {
                check_same(directory, &properties, cluster_id, node_id)?;
                formatted.push(directory);
            }
        }
    }
    if let (Some(first), false) = (formatted.first(), namespace.has("ignore-formatted")) {
        return Err(refuse(format!(
            "Log directory {} is already formatted. Use --ignore-formatted to ignore this directory and format the others.",
            first.display()
        )));
    }
    if empty.is_empty() {
        writeln!(console.out, "All of the log directories are already formatted.")?;
        return Ok(());
    }
    writeln!(console.out, "Bootstrap metadata: {}", bootstrap_metadata())?;
    let metadata_directory = config.log_dirs().into_iter().next().unwrap_or_default();
    let is_voter = namespace.has("standalone") || namespace.has("initial-controllers");
    for directory in empty {
        let kind = match (*directory == metadata_directory, is_voter) {
            (false, _) => "data directory",
            (true, false) => "metadata directory",
            (true, true) => "dynamic metadata voter directory",
        };
        writeln!(
            console.out,
            "Formatting {kind} {} with {METADATA_VERSION} {LATEST_PRODUCTION}.",
            directory.display()
        )?;
        let properties = MetaProperties {
            cluster_id: cluster_id.to_owned(),
            node_id,
            directory_id: Some(console.env.random.uuid()),
        };
        write(&*disk, directory, &properties).map_err(|error| {
            let file = directory.join("meta.properties");
            refuse(format!("Error while writing meta.properties file {}: {error}", file.display()))
        })?;
    }
    Ok(())
}

/// Creates the directory and makes its name durable, with those of its new parents.
fn write(disk: &dyn Disk, directory: &Path, properties: &MetaProperties) -> io::Result<()> {
    let is_new = |path: &&Path| !path.as_os_str().is_empty() && disk.metadata(path).is_err();
    let new: Vec<&Path> = directory.ancestors().take_while(is_new).collect();
    disk.create_dir_all(directory)?;
    for created in new {
        let parent = created.parent().filter(|parent| !parent.as_os_str().is_empty());
        disk.sync_dir(parent.unwrap_or(Path::new(".")))?;
    }
    properties.write(disk, directory)
}

fn check_same(
    directory: &Path,
    properties: &MetaProperties,
    cluster_id: &str,
    node_id: i32,
) -> Result<(), CommandError> {
    let file = directory.join("meta.properties");
    let file = file.display();
    if properties.cluster_id != cluster_id {
        let read = &properties.cluster_id;
        return Err(refuse(format!("Invalid cluster.id in: {file}. Expected {cluster_id}, but read {read}")));
    }
    if properties.node_id != node_id {
        let read = properties.node_id;
        return Err(refuse(format!("Invalid node.id in: {file}. Expected {node_id}, but read {read}")));
    }
    Ok(())
}

/// What a quorum of one node may be called.
fn check_quorum(namespace: &Namespace, properties: &BTreeMap<String, String>) -> Result<(), CommandError> {
    let given = |key: &str| properties.get(key).is_some_and(|value| !value.trim().is_empty());
    let is_controller = properties.get("process.roles").is_some_and(|roles| roles.contains("controller"));
    let has_voters = given("controller.quorum.voters");
    let is_initial = namespace.has("standalone") || namespace.has("initial-controllers");
    if has_voters && is_initial {
        return Err(refuse(
            "You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone. \
             If you want to use dynamic quorum, please remove controller.quorum.voters and specify \
             controller.quorum.bootstrap.servers instead.",
        ));
    }
    if let Some(controllers) = namespace.value("initial-controllers").filter(|list| list.contains(',')) {
        return Err(refuse(format!("--initial-controllers {controllers}: Ottla is one node; name one controller")));
    }
    let must_say = is_controller && given("controller.quorum.bootstrap.servers") && !has_voters;
    if must_say && !is_initial && !namespace.has("no-initial-controllers") {
        return Err(refuse(
            "Because controller.quorum.voters is not set on this controller, you must specify one of the following: \
             --standalone, --initial-controllers, or --no-initial-controllers.",
        ));
    }
    Ok(())
}

/// A new cluster has the levels of this release; other ones are refused, not ignored.
fn check_features(namespace: &Namespace) -> Result<(), CommandError> {
    if let Some(scram) = namespace.values("add-scram").first() {
        return Err(refuse(format!("--add-scram {scram}: SCRAM credentials are not implemented yet")));
    }
    if let Some(release) =
        namespace.value("release-version").filter(|release| !["4.3", LATEST_PRODUCTION].contains(release))
    {
        return Err(refuse(format!(
            "--release-version {release}: Ottla formats with {METADATA_VERSION} {LATEST_PRODUCTION}; kafka-features downgrades it later"
        )));
    }
    let features = supported_features();
    for text in namespace.values("feature") {
        let Some((name, level)) = text.split_once('=') else {
            return Err(refuse(format!("Can't parse feature=level string {text}: equals sign not found.")));
        };
        let Ok(level) = level.trim().parse::<i16>() else {
            let text = format!("Can't parse feature=level string {text}: unable to parse {level} as a short.");
            return Err(refuse(text));
        };
        // The quorum of one node is what it is at any of its levels.
        if name.trim() == "kraft.version" {
            continue;
        }
        match features.iter().find(|feature| feature.name == name.trim()) {
            Some(feature) if feature.max == level => {}
            Some(feature) => {
                let max = feature.max;
                return Err(refuse(format!(
                    "--feature {name}={level}: Ottla formats with {name}={max}; kafka-features changes it later"
                )));
            }
            None => {
                let names: Vec<&str> = features.iter().map(|feature| feature.name.as_str()).collect();
                let names = names.join(", ");
                return Err(refuse(format!("Unsupported feature: {name}. Supported features are: {names}")));
            }
        }
    }
    Ok(())
}

fn bootstrap_metadata() -> String {
    let record = |feature: &crate::metadata::SupportedFeature| {
        let (name, level) = (&feature.name, feature.max);
        format!("ApiMessageAndVersion(FeatureLevelRecord(name='{name}', featureLevel={level}) at version 0)")
    };
    let records: Vec<String> = supported_features().iter().map(record).collect();
    let records = records.join(", ");
    format!(
        "BootstrapMetadata(records=[{records}], metadataVersionLevel={METADATA_VERSION_LEVEL}, source=format command)"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::env::{Env, ManualClock, OpenMode};

    /// Exit code or message, and the output.
    fn storage(env: &Env, line: &str) -> (Result<(), String>, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console { out: &mut out, err: &mut err, input: Box::new(io::empty()), env };
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let result = run(&words, &mut console).map_err(|error| error.to_string());
        (result, String::from_utf8(out).expect("text"))
    }

    fn world(properties: &str) -> Env {
        let env = Env::simulated(ManualClock::new(0), 1);
        let disk = Arc::clone(&env.disk);
        disk.create_dir_all(Path::new("/etc")).expect("a directory");
        let file = disk.open(Path::new("/etc/s"), OpenMode::Truncate).expect("a file");
        file.write_all_at(properties.as_bytes(), 0).expect("written");
        env
    }

    #[test]
    fn directories_are_formatted_once() {
        let env = world("node.id=3\nlog.dirs=/data/b,/data/a\n");
        let (result, out) = storage(&env, "info -c /etc/s");
        assert_eq!(result, Err("exit code 1".to_owned()));
        assert_eq!(out, "Found problems:\n  /data/a does not exist\n  /data/b does not exist\n\n");
        let (result, out) = storage(&env, "format -c /etc/s -t MkU3OEVBNTcwNTJENDM2Qg");
        assert_eq!(result, Ok(()));
        let lines: Vec<&str> = out.lines().skip(1).collect();
        let expected = [
            "Formatting data directory /data/a with metadata.version 4.3-IV0.",
            "Formatting metadata directory /data/b with metadata.version 4.3-IV0.",
        ];
        assert_eq!(lines, expected);
        let read = MetaProperties::read(&*env.disk, Path::new("/data/b")).expect("readable").expect("formatted");
        assert_eq!((read.cluster_id.as_str(), read.node_id), ("MkU3OEVBNTcwNTJENDM2Qg", 3));
        let (result, out) = storage(&env, "info -c /etc/s");
        assert!(result.is_ok() && out.contains("Found log directories:\n  /data/a\n  /data/b\n\nFound metadata: {"));
        let (result, _) = storage(&env, "format -c /etc/s -t MkU3OEVBNTcwNTJENDM2Qg");
        assert!(result.expect_err("refused").starts_with("Log directory /data/a is already formatted."));
        let (result, out) = storage(&env, "format -g -c /etc/s -t MkU3OEVBNTcwNTJENDM2Qg");
        assert_eq!((result, out.as_str()), (Ok(()), "All of the log directories are already formatted.\n"));
        let (result, _) = storage(&env, "format -g -c /etc/s -t another");
        assert_eq!(
            result.expect_err("refused"),
            "Invalid cluster.id in: /data/a/meta.properties. Expected another, but read MkU3OEVBNTcwNTJENDM2Qg"
        );
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        let env = world("node.id=1\nlog.dirs=/d\n");
        let refused = |more: &str| storage(&env, &format!("format -c /etc/s -t x {more}")).0.expect_err(more);
        assert!(refused("-S SCRAM-SHA-256=[name=a,password=b]").contains("SCRAM credentials are not implemented"));
        assert!(refused("-r 3.9").contains("formats with metadata.version 4.3-IV0"));
        assert!(refused("-f transaction.version=1").contains("transaction.version=2"));
        assert!(refused("-f nonsense=1").starts_with("Unsupported feature: nonsense."));
        assert!(MetaProperties::read(&*env.disk, Path::new("/d")).expect("readable").is_none(), "nothing was written");
        let (result, _) = storage(&env, "format -c /etc/s -t x -r 4.3 -f transaction.version=2 --standalone");
        assert_eq!(result, Ok(()));
        let (_, id) = storage(&env, "random-uuid");
        assert_eq!(id.trim().len(), 22);
    }
}
