//! `kafka-server-start`: a properties file and overrides (`kafka.Kafka`), as arguments of `ottla`; with `-daemon` in the background.

use std::path::{Path, PathBuf};

use super::CommandError;
use crate::tools::options::{OptionParser, OptionSpec};

/// What the script says that is called without arguments.
const SCRIPT_USAGE: &str = "USAGE: kafka-server-start [-daemon] server.properties [--override property=value]*";
/// What Kafka's class says.
const USAGE: &str = "USAGE: java [options] kafka.Kafka server.properties [--override property=value]*";

/// The name of the file that has the output of a broker in the background.
const CONSOLE_OUTPUT_FILE: &str = "kafkaServer.out";

/// What a start in the background is called with, and where its output goes; `None` for one in the foreground. As Kafka's scripts do
/// it: what the arguments are worth shows in that file, in `LOG_DIR` or else in `logs` beside the directory of the `program`.
pub fn in_background(program: &str, arguments: &[String], log_dir: Option<&str>) -> Option<(Vec<String>, PathBuf)> {
    let rest = arguments.strip_prefix(&["-daemon".to_owned()])?;
    let directory = match log_dir.filter(|directory| !directory.is_empty()) {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(program).parent().unwrap_or(Path::new("")).join("../logs"),
    };
    let words = std::iter::once("kafka-server-start".to_owned()).chain(rest.iter().cloned());
    Some((words.collect(), directory.join(CONSOLE_OUTPUT_FILE)))
}

/// The same start in the words of `ottla`, the program's name first.
///
/// # Errors
/// Help, the version, arguments that Kafka refuses.
pub fn read(arguments: &[String]) -> Result<Vec<String>, CommandError> {
    let Some((first, rest)) = arguments.split_first() else {
        return Err(CommandError::Message(SCRIPT_USAGE.to_owned()));
    };
    let parser = OptionParser::plain(vec![
        OptionSpec::required(
            "override",
            "",
            "Optional property that should override values set in server.properties file (e.g. Key=value)",
        ),
        OptionSpec::flag("version", "Print version information and exit."),
    ]);
    if arguments.iter().any(|argument| argument == "--help") {
        return Err(parser.usage(USAGE));
    }
    if arguments.iter().any(|argument| argument == "--version") {
        return Err(CommandError::Version);
    }
    let options = parser.parse(rest)?;
    if !options.arguments().is_empty() {
        let others = options.arguments().join(",");
        return Err(parser.usage(format!("Found non argument parameters: {others}")));
    }
    let mut words = vec!["ottla".to_owned(), first.clone()];
    for value in options.values("override") {
        words.extend(["--override".to_owned(), value.to_owned()]);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        read(&words).expect_err("refused").to_string()
    }

    #[test]
    fn what_kafka_refuses_is_refused() {
        assert_eq!(refused(&[]), SCRIPT_USAGE);
        assert_eq!(refused(&["--help"]), USAGE);
        assert_eq!(refused(&["x", "y", "z"]), "Found non argument parameters: y,z");
        assert_eq!(refused(&["x", "--daemon"]), "daemon is not a recognized option");
    }

    #[test]
    fn the_background_is_where_kafka_s_scripts_put_it() {
        let words = ["-daemon", "a.properties", "--override", "b=c"].map(str::to_owned);
        let (arguments, output) =
            in_background("/opt/kafka/bin/kafka-server-start.sh", &words, None).expect("background");
        assert_eq!(arguments, ["kafka-server-start", "a.properties", "--override", "b=c"]);
        assert_eq!(output, Path::new("/opt/kafka/bin/../logs/kafkaServer.out"));
        let (_, output) = in_background("kafka-server-start", &words, Some("/var/log/kafka")).expect("background");
        assert_eq!(output, Path::new("/var/log/kafka/kafkaServer.out"));
        assert_eq!(in_background("x", &words[1..], None), None);
    }
}
