//! `kafka-server-start`: a properties file and overrides (`kafka.Kafka`), as arguments of `ottla`.

use super::CommandError;
use crate::tools::options::{OptionParser, OptionSpec};

/// What the script says that is called without arguments.
const SCRIPT_USAGE: &str = "USAGE: kafka-server-start [-daemon] server.properties [--override property=value]*";
/// What Kafka's class says.
const USAGE: &str = "USAGE: java [options] kafka.Kafka server.properties [--override property=value]*";

/// The same start in the words of `ottla`, the program's name first.
///
/// # Errors
/// Help, the version, arguments that Kafka refuses, and `-daemon`.
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
    if first == "-daemon" {
        let text = "-daemon: Ottla stays in the foreground; leave the background to the service manager, or end the line with &";
        return Err(CommandError::Message(text.to_owned()));
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
        assert!(refused(&["-daemon", "x"]).starts_with("-daemon: "));
    }
}
