//! What a command line said.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use super::spec::OptionSpec;
use crate::tools::commands::CommandError;

/// The options and arguments of a command line (joptsimple's `OptionSet`).
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) specs: Arc<Vec<OptionSpec>>,
    /// The values of each option that was given, by its place among the specs.
    pub(super) given: BTreeMap<usize, Vec<String>>,
    /// The places of the options as they stood, one for each time.
    pub(super) order: Vec<usize>,
    pub(super) arguments: Vec<String>,
    pub(super) is_empty: bool,
}

impl Options {
    /// Whether the option stands on the command line; a default does not count.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some_and(|(index, _)| self.given.contains_key(&index))
    }

    /// The value of an option, or its default.
    ///
    /// # Errors
    /// The option was given several times.
    pub fn value(&self, name: &str) -> Result<Option<&str>, CommandError> {
        match self.values(name).as_slice() {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(CommandError::Message(format!(
                "Found multiple arguments for option {}, but you asked for only one",
                self.find(name).map(|(_, spec)| spec.joined_names()).unwrap_or_default()
            ))),
        }
    }

    /// All values of an option, or its defaults.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let Some((index, spec)) = self.find(name) else { return Vec::new() };
        let given = self.given.get(&index).filter(|values| !values.is_empty()).unwrap_or(&spec.defaults);
        given.iter().map(String::as_str).collect()
    }

    /// The value of an option as a number.
    ///
    /// # Errors
    /// It is none, or was given several times.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, CommandError> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        let refused = || {
            let option = self.find(name).map(|(_, spec)| spec.joined_names()).unwrap_or_default();
            CommandError::Message(format!("Cannot parse argument '{value}' of option {option}"))
        };
        value.parse().map(Some).map_err(|_| refused())
    }

    /// The (last) names of the options in the order in which they stood, one for each time.
    pub fn in_order(&self) -> impl Iterator<Item = &str> {
        self.order.iter().filter_map(|index| self.specs.get(*index)?.names.last().map(String::as_str))
    }

    /// What is no option.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// Whether the command line was empty.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    pub(super) fn find(&self, name: &str) -> Option<(usize, &OptionSpec)> {
        let found = self.specs.iter().enumerate().find(|(_, spec)| spec.names.iter().any(|known| known == name));
        debug_assert!(found.is_some(), "the tool has no option {name}");
        found
    }
}
