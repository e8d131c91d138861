//! The command line: arguments, environment and properties file become `config::StartOptions`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use crate::config::{ConfigError, FileVariable, SEED_FILE_BYTES_MAX, StartInput, StartOptions, variables_in_files};
use crate::env::{Disk, FileKind};
use crate::tools::commands::{self, CommandError, read_text, server_start};
use crate::tools::dump_log::DumpLogOptions;
use crate::tools::health::HealthOptions;
use crate::tools::verify::VerifyOptions;

/// The variable that names directories, between colons, where a `server.properties` may be mounted.
const CONFIG_DIRECTORIES: &str = "OTTLA_CONFIG_DIRS";

/// A Kafka-compatible broker. Without arguments it keeps its data in ./ottla-data and listens on port 9092.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "ottla", version, args_conflicts_with_subcommands = true)]
#[command(
    after_help = "KAFKA_* environment variables are read as by the official Apache Kafka image: KAFKA_NUM_PARTITIONS=3 \
                        is num.partitions=3; KAFKA_CFG_* as by Bitnami's; OTTLA_MEMORY_BYTES is ottla.memory.bytes; with _FILE \
                        behind the name the value stands in a file.\nFrom the weakest to the strongest: properties file, environment, --data, --override.\n\
                        Apache Kafka's commands are in here too, by links with their names or as first argument: ottla kafka-topics --list ..."
)]
pub struct Arguments {
    /// Kafka's server.properties
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Kafka's server.properties, as for kafka-server-start.sh
    #[arg(value_name = "server.properties", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The data directory (log.dirs)
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    data: Option<String>,
    /// Keep everything in memory; nothing is left when the broker stops
    #[arg(long)]
    ephemeral: bool,
    /// Set one configuration; may be given several times
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Create a topic that does not exist before clients are served; may be given several times
    #[arg(long = "topic", value_name = "NAME[:PARTITIONS[:KEY=VALUE,...]]")]
    topics: Vec<String>,
    /// JSON lines, or a directory of such files: topics, and records that topics begin with which are created now
    #[arg(long = "seed", value_name = "FILE")]
    seed_files: Vec<String>,
    /// Print every configuration that Ottla implements, as Markdown, and end
    #[arg(long)]
    pub list_configs: bool,
    /// Print what was given, by file, variables and options, as a properties file, and end
    #[arg(long)]
    pub print_properties: bool,
    /// Print every metric of /metrics, as Markdown, and end
    #[arg(long)]
    pub list_metrics: bool,
    /// Something else than a broker
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `ottla` does beside being a broker.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print log segments, indexes and snapshots, as kafka-dump-log.sh does
    DumpLog(DumpLogOptions),
    /// Check a whole data directory, offline and without changing it: exit code 0 when all is good
    Verify(VerifyOptions),
    /// Ask whether the broker on this machine is ready: exit code 0 when it is, in milliseconds
    Health(HealthOptions),
}

/// As what the program was called: by its own name, or by that of one of Apache Kafka's commands.
#[derive(Debug)]
pub enum Invocation {
    /// As `ottla`, with these arguments, the program's name first.
    Ottla(Vec<OsString>),
    /// As `kafka-server-start`, in the words of `ottla`.
    ServerStart(Vec<String>),
    /// As `kafka-server-start -daemon`: this program again, in the background.
    Background {
        /// Without the program's name.
        arguments: Vec<String>,
        /// Where its output goes.
        output: PathBuf,
    },
    /// As one of Kafka's commands, with the arguments behind its name.
    KafkaCommand {
        /// `kafka-topics`.
        name: &'static str,
        /// Behind the name.
        arguments: Vec<String>,
    },
    /// Nothing to run: help, a version, a command line that is none.
    Refused(CommandError),
}

impl Invocation {
    /// By the name of the program (a link), or by its first argument; `log_dir` is the environment's `LOG_DIR`.
    pub fn read(arguments: impl IntoIterator<Item = OsString>, log_dir: Option<&str>) -> Self {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let text = |argument: &OsString| argument.to_string_lossy().into_owned();
        let named = |index: usize| arguments.get(index).and_then(|word| commands::named(&text(word)));
        let (name, rest) = match (named(0), named(1)) {
            (Some(name), _) => (name, &arguments[1..]),
            (None, Some(name)) => (name, &arguments[2..]),
            (None, None) => return Self::Ottla(arguments),
        };
        match name {
            "kafka-dump-log" => {
                let tool = ["ottla", "dump-log"].map(OsString::from);
                Self::Ottla(tool.into_iter().chain(rest.iter().cloned()).collect())
            }
            "kafka-server-start" => {
                let rest: Vec<String> = rest.iter().map(text).collect();
                let program = arguments.first().map(text).unwrap_or_default();
                match server_start::in_background(&program, &rest, log_dir) {
                    Some((arguments, output)) => Self::Background { arguments, output },
                    None => match server_start::read(&rest) {
                        Ok(arguments) => Self::ServerStart(arguments),
                        Err(error) => Self::Refused(error),
                    },
                }
            }
            name => Self::KafkaCommand { name, arguments: rest.iter().map(text).collect() },
        }
    }
}

/// What the command line cannot be turned into.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The properties file cannot be read.
    #[error("cannot read the configuration file {path}: {error}")]
    File {
        /// As given.
        path: String,
        /// The system's words.
        error: io::Error,
    },
    /// The file that a variable names cannot be read.
    #[error("environment variable {variable}: cannot read {path}: {error}")]
    Variable {
        /// The variable.
        variable: String,
        /// The file.
        path: String,
        /// The system's words.
        error: io::Error,
    },
    /// A seed file cannot be read.
    #[error("cannot read the seed file {path}: {error}; it is named by --seed or ottla.seed.files")]
    SeedFile {
        /// As given, or found in a directory that was.
        path: String,
        /// The system's words.
        error: io::Error,
    },
    /// A value that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Arguments {
    /// Those of a broker that is given a properties file and nothing else.
    pub fn of_file(config: Option<PathBuf>) -> Self {
        Self { config, ..Self::default() }
    }

    /// Reads the properties file and the files that variables name, and puts everything together.
    ///
    /// # Errors
    /// A file that cannot be read, a value that cannot be used.
    pub fn start_options(
        self,
        disk: &dyn Disk,
        mut environment: Vec<(String, String)>,
    ) -> Result<StartOptions, CliError> {
        let file = match self.config.or(self.file).or_else(|| mounted_file(disk, &environment)) {
            None => None,
            Some(path) => {
                let name = path.display().to_string();
                let text = read_text(disk, &path).map_err(|error| CliError::File { path: name.clone(), error })?;
                Some((name, text))
            }
        };
        for FileVariable { variable, stands_for, path } in variables_in_files(&environment) {
            let text = read_text(disk, Path::new(&path)).map_err(|error| CliError::Variable {
                variable,
                path: path.clone(),
                error,
            })?;
            // The later wins: what stands in a file is stronger than the variable itself.
            environment.push((stands_for, text.trim_end_matches(['\r', '\n']).to_owned()));
        }
        let (data, ephemeral, overrides) = (self.data, self.ephemeral, self.overrides);
        let (topics, seed_files) = (self.topics, self.seed_files);
        let input = StartInput { file, environment, data, ephemeral, overrides, topics, seed_files };
        let mut options = StartOptions::read(&input)?;
        let seeds = read_seed_files(disk, &options.seed_files)?;
        options.add_seeds(&seeds)?;
        Ok(options)
    }
}

/// The first `server.properties` in the directories of [`CONFIG_DIRECTORIES`], which the image names: what is mounted there
/// counts where the command line names no file.
fn mounted_file(disk: &dyn Disk, environment: &[(String, String)]) -> Option<PathBuf> {
    let (_, directories) = environment.iter().find(|(variable, _)| variable == CONFIG_DIRECTORIES)?;
    let files = directories.split(':').filter(|directory| !directory.is_empty());
    files.map(|directory| Path::new(directory).join("server.properties")).find(|path| disk.metadata(path).is_ok())
}

/// Names and contents of the seed files, those of a directory by their names.
fn read_seed_files(disk: &dyn Disk, paths: &[String]) -> Result<Vec<(String, String)>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |error| CliError::SeedFile { path: path.clone(), error };
        match disk.metadata(Path::new(path)).map_err(failed)?.kind {
            FileKind::Directory => {
                let names = disk.read_dir(Path::new(path)).map_err(failed)?.into_iter();
                files.extend(names.filter(|name| SEED_FILE_ENDINGS.iter().any(|ending| has_ending(name, ending))));
            }
            FileKind::File => files.push(PathBuf::from(path)),
        }
    }
    files
        .into_iter()
        .map(|file| {
            let name = file.display().to_string();
            let failed = |error| CliError::SeedFile { path: name.clone(), error };
            let bytes = disk.read(&file, SEED_FILE_BYTES_MAX).map_err(failed)?;
            let text = String::from_utf8(bytes)
                .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())))?;
            Ok((name, text))
        })
        .collect()
}

/// What a file of a directory is called that holds seeds; others, a README say, are passed over.
const SEED_FILE_ENDINGS: [&str; 3] = ["json", "jsonl", "ndjson"];

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::env::{Clock, ManualClock, MemoryDisk, OpenMode};

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once(&"ottla").chain(arguments))
    }

    fn options(disk: &dyn Disk, arguments: &[&str]) -> Result<StartOptions, CliError> {
        parse(arguments).expect("arguments").start_options(disk, Vec::new())
    }

    fn disk_with(path: &str, content: &[u8]) -> MemoryDisk {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
        let disk = MemoryDisk::new(clock);
        disk.create_dir_all(Path::new("/etc")).expect("a directory");
        let file = disk.open(Path::new(path), OpenMode::CreateReadWrite).expect("a file");
        file.write_all_at(content, 0).expect("written");
        disk
    }

    #[test]
    fn the_file_is_named_in_three_ways() {
        let disk = disk_with("/etc/server.properties", b"num.partitions=7\nbroker.rack=caf\xe9");
        for arguments in [
            &["-c", "/etc/server.properties"][..],
            &["--config", "/etc/server.properties"],
            &["/etc/server.properties", "--override", "node.id=3"],
        ] {
            let options = options(&disk, arguments).expect("options");
            assert_eq!(options.config.num_partitions(), 7);
            assert_eq!(options.config.broker_rack().as_deref(), Some("café"));
        }
        assert!(parse(&["-c", "a", "b"]).is_err());
    }

    #[test]
    fn files_are_mounted_and_named_by_variables() {
        let disk = disk_with("/etc/server.properties", b"num.partitions=7");
        let secret = disk.open(Path::new("/etc/id"), OpenMode::CreateReadWrite).expect("a file");
        secret.write_all_at(b"4\n", 0).expect("written");
        let given = |arguments: &[&str], pairs: &[(&str, &str)]| {
            let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            parse(arguments).expect("arguments").start_options(&disk, environment)
        };
        let options = given(&[], &[("OTTLA_CONFIG_DIRS", "/nowhere:/etc"), ("KAFKA_NODE_ID_FILE", "/etc/id")]);
        let config = options.expect("options").config;
        assert_eq!((config.num_partitions(), config.node_id()), (7, 4));
        assert_eq!(given(&[], &[("OTTLA_CONFIG_DIRS", "/nowhere")]).expect("options").config.num_partitions(), 1);
        let error = given(&[], &[("KAFKA_NODE_ID_FILE", "/etc/none")]).err().expect("refused").to_string();
        assert!(error.starts_with("environment variable KAFKA_NODE_ID_FILE: cannot read /etc/none: "), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let disk = disk_with("/etc/server.properties", b"\n\nnum.partitions=x");
        let error = |arguments: &[&str]| options(&disk, arguments).err().expect("refused").to_string();
        assert!(error(&["/etc/nothing"]).starts_with("cannot read the configuration file /etc/nothing: "));
        assert!(error(&["/etc/server.properties"]).starts_with("/etc/server.properties:3: Invalid value x"));
        assert!(parse(&["--ephemeral", "--data", "x"]).is_err());
        assert!(parse(&["--nonsense"]).is_err());
    }

    #[test]
    fn kafka_s_commands_go_by_their_names() {
        let read = |words: &[&str]| Invocation::read(words.iter().map(OsString::from), None);
        for words in [
            &["/opt/kafka/bin/kafka-topics.sh", "--list"][..],
            &["kafka-topics", "--list"],
            &["./ottla", "kafka-topics", "--list"],
            &["ottla", "kafka-topics.sh", "--list"],
        ] {
            let Invocation::KafkaCommand { name, arguments } = read(words) else { panic!("{words:?}") };
            assert_eq!((name, arguments.as_slice()), ("kafka-topics", &["--list".to_owned()][..]));
        }
        assert!(matches!(read(&["ottla", "--list", "kafka-topics"]), Invocation::Ottla(words) if words.len() == 3));
        assert!(matches!(read(&["ottla"]), Invocation::Ottla(_)));
        assert!(
            matches!(read(&["kafka-dump-log.sh", "--files", "x"]), Invocation::Ottla(words) if words[1] == "dump-log")
        );
        let Invocation::ServerStart(words) = read(&["kafka-server-start", "/etc/x", "--override", "a=b"]) else {
            panic!()
        };
        assert_eq!(words, ["ottla", "/etc/x", "--override", "a=b"]);
        assert!(matches!(read(&["kafka-server-start"]), Invocation::Refused(_)));
    }

    #[test]
    fn everything_arrives() {
        let disk = disk_with("/etc/x", b"");
        let arguments = ["--data", "/d", "--override", "num.partitions=2", "--topic", "a:3", "--topic", "b"];
        let options = options(&disk, &arguments).expect("options");
        assert_eq!(options.config.log_dirs(), [PathBuf::from("/d")]);
        assert_eq!(options.config.num_partitions(), 2);
        let names: Vec<&str> = options.declared.topics.iter().map(|topic| topic.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn seeds_are_files_and_directories_of_files() {
        let disk = disk_with("/etc/one.jsonl", br#"{"topic":"one","value":1}"#);
        let write = |path: &str, content: &[u8]| {
            let file = disk.open(Path::new(path), OpenMode::CreateReadWrite).expect("a file");
            file.write_all_at(content, 0).expect("written");
        };
        disk.create_dir_all(Path::new("/seeds")).expect("a directory");
        write("/seeds/b.JSONL", br#"{"topic":"b","value":1}"#);
        write("/seeds/a.json", br#"{"topic":"a","value":1}"#);
        write("/seeds/README.md", b"no JSON");
        let arguments =
            ["--seed", "/etc/one.jsonl", "--override", "ottla.seed.files=/seeds", "--override", "ottla.topics=z:2;y"];
        let given = options(&disk, &arguments).expect("options");
        let names: Vec<&str> = given.declared.topics.iter().map(|topic| topic.name.as_str()).collect();
        assert_eq!(names, ["z", "y", "a", "b", "one"]);
        assert_eq!(given.declared.seeds.len(), 3);
        let error = |arguments: &[&str]| options(&disk, arguments).err().expect("refused").to_string();
        assert!(error(&["--seed", "/nothing"]).starts_with("cannot read the seed file /nothing: "));
        write("/etc/bad", b"\xff");
        assert!(error(&["--seed", "/etc/bad"]).contains("/etc/bad: invalid utf-8"));
        assert!(error(&["--seed", "/seeds/README.md"]).starts_with("/seeds/README.md:1: "));
        let error = error(&["--override", "ottla.topics=a:x"]);
        assert!(error.starts_with("--override ottla.topics=a:x a:x: 'x' is no number"), "{error}");
    }
}
