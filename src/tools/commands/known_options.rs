//! The options of commands, from a table that was asked of Kafka's own classes.

use crate::tools::options::{OptionParser, OptionSpec};

const TABLE: &str = include_str!("known_options.tsv");

/// The options of a command; none for one that is not in the table.
pub fn option_parser(command: &str) -> OptionParser {
    OptionParser::new(TABLE.lines().filter_map(|row| option(row, command)).collect())
}

fn option(row: &'static str, command: &str) -> Option<OptionSpec> {
    let cells: Vec<&'static str> = row.split('\t').collect();
    let [of, name, argument, described_as, class, default, text] = cells.as_slice() else { return None };
    if *of != command {
        return None;
    }
    let text = text.replace("\\n", "\n");
    let spec = match *argument {
        "required" => OptionSpec::required(name, described_as, &text).of_class(class),
        "optional" => OptionSpec::optional(name, described_as, &text).of_class(class),
        _ => OptionSpec::flag(name, &text),
    };
    Some(if default.is_empty() { spec } else { spec.default(default) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        let rows = TABLE.lines().filter(|row| !row.starts_with('#'));
        for row in rows {
            let command = row.split('\t').next().expect("a command");
            assert!(option(row, command).is_some(), "{row}");
        }
        let parser = option_parser("kafka-get-offsets");
        let options = parser.parse(&[]).expect("options");
        assert_eq!(options.value("time").expect("a value"), Some("latest"));
        assert!(parser.help().contains("--exclude-internal-topics"));
    }
}
