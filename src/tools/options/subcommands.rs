//! Command lines with subcommands (`kafka-cluster cluster-id -b …`): argparse4j's rules and messages. Its texts are filled with
//! blanks to even right margins; these are not.

use std::collections::BTreeMap;

use crate::tools::commands::CommandError;

/// Lines of help are at most this long, where words allow.
const WIDTH: usize = 75;
/// Where descriptions begin.
const DESCRIPTION_COLUMN: usize = 25;

/// What an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
    /// One value; the last counts.
    Text,
    /// One value each time.
    Texts,
    /// A number.
    Integer,
    /// Nothing.
    Flag,
}

/// An argument of a subcommand: `--config`, `-c`.
#[derive(Clone, Debug)]
pub struct Argument {
    names: Vec<&'static str>,
    kind: ArgumentKind,
    is_required: bool,
    is_exclusive: bool,
    help: &'static str,
}

impl Argument {
    /// An argument by its long name, and its short one where it has one.
    pub fn new(names: &[&'static str], kind: ArgumentKind, help: &'static str) -> Self {
        Self { names: names.to_vec(), kind, is_required: false, is_exclusive: false, help }
    }

    /// It must be given.
    pub fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// At most one of those that are exclusive may be given.
    pub fn exclusive(mut self) -> Self {
        self.is_exclusive = true;
        self
    }

    fn key(&self) -> &'static str {
        self.names[0].trim_start_matches('-')
    }

    /// `--config/-c`.
    fn shown(&self) -> String {
        self.names.join("/")
    }

    fn metavar(&self) -> String {
        self.key().to_uppercase().replace('-', "_")
    }

    /// `--config CONFIG`.
    fn with_value(&self, name: &str) -> String {
        match self.kind {
            ArgumentKind::Flag => name.to_owned(),
            _ => format!("{name} {}", self.metavar()),
        }
    }
}

/// A subcommand.
#[derive(Clone, Debug)]
pub struct Subcommand {
    /// What it is called by.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// Whether one of the exclusive arguments must be given.
    pub needs_exclusive: bool,
}

/// A tool with subcommands.
#[derive(Clone, Debug)]
pub struct SubcommandParser {
    /// `kafka-cluster`.
    pub program: &'static str,
    /// What it is.
    pub description: &'static str,
    /// In the order of the help.
    pub subcommands: Vec<Subcommand>,
    /// The exit code of `-h`.
    pub help_code: i32,
}

/// What a command line said.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// The subcommand.
    pub command: &'static str,
    values: BTreeMap<&'static str, Vec<String>>,
}

impl Namespace {
    /// The value of an argument, by its long name without dashes.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.last().map(String::as_str)
    }

    /// All its values.
    pub fn values(&self, key: &str) -> &[String] {
        self.values.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether it was given.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }
}

impl SubcommandParser {
    /// Reads a command line.
    ///
    /// # Errors
    /// Help, and what argparse4j refuses.
    pub fn parse(&self, words: &[String]) -> Result<Namespace, CommandError> {
        let Some((first, rest)) = words.split_first() else { return Err(self.refuse(None, "too few arguments")) };
        if is_help(first) {
            return Err(CommandError::Help { text: self.help(), code: self.help_code });
        }
        if first.starts_with('-') && first.len() > 1 {
            return Err(self.refuse(None, &format!("unrecognized arguments: '{first}'")));
        }
        let Some(subcommand) = self.subcommands.iter().find(|subcommand| subcommand.name == first) else {
            let names: Vec<String> = self.subcommands.iter().map(|each| format!("'{}'", each.name)).collect();
            let text = format!("invalid choice: '{first}' (choose from {})", names.join(", "));
            return Err(self.refuse(None, &text));
        };
        let mut namespace = Namespace { command: subcommand.name, values: BTreeMap::new() };
        let mut exclusive: Option<&Argument> = None;
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            if is_help(word) {
                return Err(CommandError::Help { text: self.subcommand_help(subcommand), code: self.help_code });
            }
            let Some((argument, inline)) = find(subcommand, word) else {
                return Err(self.refuse(Some(subcommand), &format!("unrecognized arguments: '{word}'")));
            };
            if argument.is_exclusive {
                if let Some(other) = exclusive.filter(|other| other.key() != argument.key()) {
                    let text = format!("argument {}: not allowed with argument {}", argument.shown(), other.shown());
                    return Err(self.refuse(Some(subcommand), &text));
                }
                exclusive = Some(argument);
            }
            let values = namespace.values.entry(argument.key()).or_default();
            if argument.kind == ArgumentKind::Flag {
                continue;
            }
            let value = inline.or_else(|| rest.next().filter(|next| !is_flag(next)).map(String::as_str));
            let Some(value) = value else {
                let text = format!("argument {}: expected one argument", argument.shown());
                return Err(self.refuse(Some(subcommand), &text));
            };
            if argument.kind == ArgumentKind::Integer && value.parse::<i32>().is_err() {
                let text = format!(
                    "argument {}: could not convert '{value}' to Integer (For input string: \"{value}\")",
                    argument.shown()
                );
                return Err(self.refuse(Some(subcommand), &text));
            }
            values.push(value.to_owned());
        }
        self.check(subcommand, &namespace)?;
        Ok(namespace)
    }

    fn check(&self, subcommand: &Subcommand, namespace: &Namespace) -> Result<(), CommandError> {
        let is_missing = |argument: &&Argument| argument.is_required && !namespace.has(argument.key());
        if let Some(missing) = subcommand.arguments.iter().find(is_missing) {
            return Err(self.refuse(Some(subcommand), &format!("argument {} is required", missing.shown())));
        }
        let exclusive: Vec<&Argument> = subcommand.arguments.iter().filter(|argument| argument.is_exclusive).collect();
        if subcommand.needs_exclusive && !exclusive.iter().any(|argument| namespace.has(argument.key())) {
            let names: Vec<String> = exclusive.iter().map(|argument| argument.shown()).collect();
            let text = format!("one of the arguments {} is required", names.join(" "));
            return Err(self.refuse(Some(subcommand), &text));
        }
        Ok(())
    }

    fn refuse(&self, subcommand: Option<&Subcommand>, text: &str) -> CommandError {
        let usage = subcommand.map_or_else(|| self.usage(), |subcommand| self.subcommand_usage(subcommand));
        let error = filled(&format!("{}: error: {text}", self.program), 0, 0);
        CommandError::Message(format!("{usage}{}", error.trim_end()))
    }

    fn choices(&self) -> String {
        let names: Vec<&str> = self.subcommands.iter().map(|subcommand| subcommand.name).collect();
        format!("{{{}}}", names.join(","))
    }

    fn usage(&self) -> String {
        let program = self.program;
        wrapped(&format!("usage: {program}"), &["[-h]".to_owned(), self.choices(), "...".to_owned()])
    }

    fn help(&self) -> String {
        let mut text =
            format!("{}\n{}\n\npositional arguments:\n  {}\n", self.usage(), self.description, self.choices());
        for subcommand in &self.subcommands {
            text.push_str(&described(&format!("    {}", subcommand.name), subcommand.help));
        }
        text.push_str("\noptional arguments:\n");
        text.push_str(&described("  -h, --help", "show this help message and exit"));
        text
    }

    fn subcommand_usage(&self, subcommand: &Subcommand) -> String {
        let mut words = vec!["[-h]".to_owned()];
        for argument in subcommand.arguments.iter().filter(|argument| !argument.is_exclusive) {
            let word = argument.with_value(argument.names[0]);
            words.push(if argument.is_required { word } else { format!("[{word}]") });
        }
        let exclusive: Vec<String> = subcommand
            .arguments
            .iter()
            .filter(|argument| argument.is_exclusive)
            .map(|argument| argument.with_value(argument.names[0]))
            .collect();
        if !exclusive.is_empty() {
            let (open, close) = if subcommand.needs_exclusive { ('(', ')') } else { ('[', ']') };
            let last = exclusive.len() - 1;
            for (index, word) in exclusive.into_iter().enumerate() {
                let start = if index == 0 { open.to_string() } else { String::new() };
                let end = if index == last { close.to_string() } else { " |".to_owned() };
                words.push(format!("{start}{word}{end}"));
            }
        }
        wrapped(&format!("usage: {} {}", self.program, subcommand.name), &words)
    }

    fn subcommand_help(&self, subcommand: &Subcommand) -> String {
        let mut text = format!("{}\noptional arguments:\n", self.subcommand_usage(subcommand));
        text.push_str(&described("  -h, --help", "show this help message and exit"));
        for argument in &subcommand.arguments {
            let names: Vec<String> = argument.names.iter().map(|name| argument.with_value(name)).collect();
            text.push_str(&described(&format!("  {}", names.join(", ")), argument.help));
        }
        text
    }
}

fn is_help(word: &str) -> bool {
    word == "-h" || word == "--help"
}

fn is_flag(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

/// The argument that a word names, and the value that it brings: `--id=1`, `-i1`.
fn find<'a, 'w>(subcommand: &'a Subcommand, word: &'w str) -> Option<(&'a Argument, Option<&'w str>)> {
    for argument in &subcommand.arguments {
        for name in &argument.names {
            let Some(rest) = word.strip_prefix(name) else { continue };
            let is_long = name.starts_with("--");
            match rest {
                "" => return Some((argument, None)),
                rest if is_long && rest.starts_with('=') => return Some((argument, Some(&rest[1..]))),
                rest if !is_long && argument.kind != ArgumentKind::Flag => return Some((argument, Some(rest))),
                _ => {}
            }
        }
    }
    None
}

/// Words behind a start, on lines of their own where they do not fit.
fn wrapped(start: &str, words: &[String]) -> String {
    let indent = "                     ";
    let (mut text, mut line) = (String::new(), start.to_owned());
    for word in words {
        if line.len() + 1 + word.len() > WIDTH && !line.trim().is_empty() {
            text.push_str(&line);
            text.push('\n');
            line = indent.to_owned();
            line.push_str(word);
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    format!("{text}{line}\n")
}

/// A name with its description in a column of its own.
fn described(name: &str, description: &str) -> String {
    let mut text = name.to_owned();
    let column = match name.len() + 2 > DESCRIPTION_COLUMN {
        true => {
            text.push('\n');
            0
        }
        false => name.len(),
    };
    text.push_str(&filled(description, DESCRIPTION_COLUMN, column));
    text
}

/// A text in lines that begin at a column; the first line is there already up to `position`.
fn filled(text: &str, column: usize, position: usize) -> String {
    let mut lines = String::new();
    let mut line = " ".repeat(column - position);
    let mut length = column;
    for paragraph in text.split('\n') {
        for word in paragraph.split_whitespace() {
            if length > column && length + 1 + word.len() > WIDTH {
                lines.push_str(&line);
                lines.push('\n');
                line = " ".repeat(column);
                length = column;
            } else if length > column {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += word.len();
        }
        lines.push_str(&line);
        lines.push('\n');
        line = " ".repeat(column);
        length = column;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parser() -> SubcommandParser {
        let arguments = vec![
            Argument::new(&["--server", "-b"], ArgumentKind::Text, "Where.").exclusive(),
            Argument::new(&["--controller", "-C"], ArgumentKind::Text, "Where else.").exclusive(),
            Argument::new(&["--id", "-i"], ArgumentKind::Integer, "Which.").required(),
            Argument::new(&["--force"], ArgumentKind::Flag, "Even so."),
            Argument::new(&["--feature", "-f"], ArgumentKind::Texts, "Several."),
        ];
        let one = Subcommand { name: "remove", help: "Remove it.", arguments, needs_exclusive: true };
        SubcommandParser { program: "tool", description: "A tool.", subcommands: vec![one], help_code: 0 }
    }

    fn parse(line: &str) -> Result<Namespace, CommandError> {
        parser().parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read() {
        let namespace = parse("remove -b h:1 --id=7 --force -fa -f b").expect("a command line");
        assert_eq!(
            (namespace.command, namespace.value("server"), namespace.value("id")),
            ("remove", Some("h:1"), Some("7"))
        );
        assert!(namespace.has("force") && !namespace.has("controller"));
        assert_eq!(namespace.values("feature"), ["a", "b"]);
    }

    #[test]
    fn what_argparse4j_refuses_is_refused_in_its_words() {
        for (line, message) in [
            ("", "tool: error: too few arguments"),
            ("x", "tool: error: invalid choice: 'x' (choose from 'remove')"),
            ("remove -b h", "tool: error: argument --id/-i is required"),
            ("remove -i 1", "tool: error: one of the arguments --server/-b --controller/-C is required"),
            ("remove -i x", "tool: error: argument --id/-i: could not convert 'x' to Integer"),
            ("remove -b", "tool: error: argument --server/-b: expected one argument"),
            ("remove -b h -C h", "tool: error: argument --controller/-C: not allowed with argument --server/-b"),
            ("remove --nonsense", "tool: error: unrecognized arguments: '--nonsense'"),
            ("remove extra", "tool: error: unrecognized arguments: 'extra'"),
        ] {
            let text = parse(line).expect_err(line).to_string();
            // Lines break where they are long.
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.starts_with("usage: tool") && text.contains(message), "{line}: {text}");
        }
        let usage = parse("remove").expect_err("refused").to_string();
        assert!(usage.starts_with("usage: tool remove [-h] --id ID [--force] [--feature FEATURE]\n"), "{usage}");
        assert!(usage.contains("(--server SERVER | --controller CONTROLLER)\n"), "{usage}");
    }

    #[test]
    fn help_goes_to_the_standard_output() {
        let Err(CommandError::Help { text, code: 0 }) = parse("-h") else { panic!("no help") };
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "usage: tool [-h] {remove} ...");
        assert!(
            lines.contains(&"    remove               Remove it.") && lines.contains(&"optional arguments:"),
            "{text}"
        );
        let Err(CommandError::Help { text, .. }) = parse("remove -h") else { panic!("no help") };
        assert!(text.contains("\n  --id ID, -i ID         Which.\n"), "{text}");
        assert!(
            text.contains("\n  --controller CONTROLLER, -C CONTROLLER\n                         Where else.\n"),
            "{text}"
        );
    }
}
