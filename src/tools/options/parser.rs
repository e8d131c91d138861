//! From arguments to options, by joptsimple's rules, and the checks that Kafka's tools make (`CommandLineUtils`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::help;
use super::parsed::Options;
use super::spec::{ArgumentRule, OptionSpec};
use crate::tools::commands::CommandError;

/// The options that a tool has.
#[derive(Clone, Debug)]
pub struct OptionParser {
    specs: Arc<Vec<OptionSpec>>,
}

impl OptionParser {
    /// These options, and `--help` and `--version` (`CommandDefaultOptions`).
    pub fn new(mut specs: Vec<OptionSpec>) -> Self {
        specs.push(OptionSpec::flag("help", "Print usage information."));
        specs.push(OptionSpec::flag("version", "Display Kafka version."));
        Self::plain(specs)
    }

    /// Only these options.
    pub fn plain(specs: Vec<OptionSpec>) -> Self {
        Self { specs: Arc::new(specs) }
    }

    /// Reads a command line.
    ///
    /// # Errors
    /// Options that the tool does not have, arguments that are missing.
    pub fn parse(&self, arguments: &[String]) -> Result<Options, CommandError> {
        let mut reading =
            Reading { parser: self, given: BTreeMap::new(), order: Vec::new(), rest: arguments, others: Vec::new() };
        reading.read()?;
        Ok(Options {
            specs: self.specs.clone(),
            given: reading.given,
            order: reading.order,
            arguments: reading.others,
            is_empty: arguments.is_empty(),
        })
    }

    /// The help text.
    pub fn help(&self) -> String {
        help::format(&self.specs)
    }

    /// The end with a message and the help text (`printUsageAndExit`).
    pub fn usage(&self, message: impl Into<String>) -> CommandError {
        CommandError::Usage { message: message.into(), usage: self.help() }
    }

    /// Ends with the help where it was asked for or nothing was, with the version where that was (`maybePrintHelpOrVersion`).
    ///
    /// # Errors
    /// In these cases.
    pub fn help_or_version(&self, options: &Options, message: &str) -> Result<(), CommandError> {
        if options.is_empty() || options.has("help") {
            return Err(self.usage(message));
        }
        match options.has("version") {
            true => Err(CommandError::Version),
            false => Ok(()),
        }
    }

    /// All of these must be given (`checkRequiredArgs`).
    ///
    /// # Errors
    /// One is not.
    pub fn required(&self, options: &Options, names: &[&str]) -> Result<(), CommandError> {
        match names.iter().find(|name| !options.has(name)) {
            None => Ok(()),
            Some(name) => Err(self.usage(format!("Missing required argument \"{}\"", self.listed(name)))),
        }
    }

    /// None of `others` together with `used` (`checkInvalidArgs`).
    ///
    /// # Errors
    /// One of them is given too.
    pub fn not_with(&self, options: &Options, used: &str, others: &[&str]) -> Result<(), CommandError> {
        if !options.has(used) {
            return Ok(());
        }
        match others.iter().find(|name| options.has(name)) {
            None => Ok(()),
            Some(other) => {
                let (used, other) = (self.listed(used), self.listed(other));
                Err(self.usage(format!("Option \"{used}\" can't be used with option \"{other}\"")))
            }
        }
    }

    /// Exactly one of these (`checkOneOfArgs`).
    ///
    /// # Errors
    /// None or several.
    pub fn one_of(&self, options: &Options, names: &[&str]) -> Result<(), CommandError> {
        if names.iter().filter(|name| options.has(name)).count() == 1 {
            return Ok(());
        }
        let names: Vec<String> = names.iter().map(|name| self.listed(name)).collect();
        let names = names.join(", ");
        Err(self.usage(format!("Exactly one of the following arguments is required: {names}")))
    }

    /// How messages write an option: `[topic]`.
    pub fn listed(&self, name: &str) -> String {
        self.find(name).map_or_else(|| format!("[{name}]"), |index| self.specs[index].listed_names())
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.specs.iter().position(|spec| spec.names.iter().any(|known| known == name))
    }
}

/// `key=value` arguments as properties (`parseKeyValueArgs`); without a value it is empty.
pub fn parse_key_values(values: &[&str]) -> BTreeMap<String, String> {
    let split = values.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
    split.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A command line on its way (`OptionParserState`).
struct Reading<'a> {
    parser: &'a OptionParser,
    given: BTreeMap<usize, Vec<String>>,
    order: Vec<usize>,
    rest: &'a [String],
    others: Vec<String>,
}

impl<'a> Reading<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn read(&mut self) -> Result<(), CommandError> {
        while let Some(token) = self.next() {
            if token == "--" {
                self.others.extend_from_slice(self.rest);
                self.rest = &[];
            } else if let Some(long) = token.strip_prefix("--") {
                self.long(long)?;
            } else if token.len() > 1 && token.starts_with('-') {
                self.short(&token[1..])?;
            } else {
                self.others.push(token.to_owned());
            }
        }
        Ok(())
    }

    fn long(&mut self, token: &str) -> Result<(), CommandError> {
        let (name, value) = token.split_once('=').map_or((token, None), |(name, value)| (name, Some(value)));
        let index = self.parser.find(name).ok_or_else(|| unrecognized(name))?;
        self.option(index, value)
    }

    /// A long option with one dash, or a cluster of short ones.
    fn short(&mut self, token: &str) -> Result<(), CommandError> {
        let (name, value) = token.split_once('=').map_or((token, None), |(name, value)| (name, Some(value)));
        if let Some(index) = self.parser.find(name) {
            return self.option(index, value);
        }
        for (position, letter) in token.char_indices() {
            let name = &token[position..position + letter.len_utf8()];
            let index = self.parser.find(name).ok_or_else(|| unrecognized(name))?;
            if self.parser.specs[index].rule != ArgumentRule::None {
                let rest = &token[position + letter.len_utf8()..];
                return self.option(index, Some(rest).filter(|rest| !rest.is_empty()));
            }
            self.option(index, None)?;
        }
        Ok(())
    }

    fn option(&mut self, index: usize, value: Option<&str>) -> Result<(), CommandError> {
        let spec = &self.parser.specs[index];
        let value = value.filter(|value| !value.is_empty());
        let value = match (spec.rule, value) {
            (ArgumentRule::None, _) => None,
            (_, Some(value)) => Some(value),
            (ArgumentRule::Required, None) => {
                let missing = || CommandError::Message(format!("Option {} requires an argument", spec.joined_names()));
                Some(self.next().ok_or_else(missing)?)
            }
            (ArgumentRule::Optional, None) => {
                let is_value = self.rest.first().is_some_and(|next| !next.starts_with('-') || next == "-");
                if is_value { self.next() } else { None }
            }
        };
        self.order.push(index);
        let values = self.given.entry(index).or_default();
        match (value, spec.separator) {
            (None, _) => {}
            (Some(value), None) => values.push(value.to_owned()),
            (Some(value), Some(separator)) => {
                let pieces = value.split(separator).filter(|piece| !piece.is_empty());
                let before = values.len();
                values.extend(pieces.map(str::to_owned));
                if values.len() == before {
                    values.push(String::new());
                }
            }
        }
        Ok(())
    }
}

fn unrecognized(name: &str) -> CommandError {
    CommandError::Message(format!("{name} is not a recognized option"))
}
