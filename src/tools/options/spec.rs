//! One option: its names, whether it takes an argument, what help says of it.

/// Whether an option takes an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArgumentRule {
    /// `accepts`.
    None,
    /// `withRequiredArg`.
    Required,
    /// `withOptionalArg`.
    Optional,
}

/// An option of a tool (joptsimple's `OptionSpec`).
#[derive(Clone, Debug)]
pub struct OptionSpec {
    /// Names of one letter first, each kind sorted.
    pub(super) names: Vec<String>,
    pub(super) description: String,
    pub(super) rule: ArgumentRule,
    pub(super) described_as: String,
    pub(super) type_name: &'static str,
    pub(super) defaults: Vec<String>,
    pub(super) separator: Option<char>,
}

impl OptionSpec {
    fn new(name: &str, rule: ArgumentRule, described_as: &str, description: &str) -> Self {
        Self {
            names: vec![name.to_owned()],
            description: description.to_owned(),
            rule,
            described_as: described_as.to_owned(),
            type_name: "String",
            defaults: Vec::new(),
            separator: None,
        }
    }

    /// An option without an argument.
    pub fn flag(name: &str, description: &str) -> Self {
        Self::new(name, ArgumentRule::None, "", description)
    }

    /// An option that needs an argument (`withRequiredArg`); `described_as` may be empty.
    pub fn required(name: &str, described_as: &str, description: &str) -> Self {
        Self::new(name, ArgumentRule::Required, described_as, description)
    }

    /// An option that may have an argument (`withOptionalArg`).
    pub fn optional(name: &str, described_as: &str, description: &str) -> Self {
        Self::new(name, ArgumentRule::Optional, described_as, description)
    }

    /// Its argument is an `Integer`.
    pub fn integer(self) -> Self {
        self.of_class("Integer")
    }

    /// Its argument is a `Long`.
    pub fn long(self) -> Self {
        self.of_class("Long")
    }

    /// Its argument is a `Double`.
    pub fn double(self) -> Self {
        self.of_class("Double")
    }

    /// The class that help shows for its argument (`ofType`).
    pub fn of_class(mut self, name: &'static str) -> Self {
        self.type_name = name;
        self
    }

    /// The value without the option (`defaultsTo`).
    pub fn default(mut self, value: &str) -> Self {
        self.defaults.push(value.to_owned());
        self
    }

    /// One argument is several values (`withValuesSeparatedBy`).
    pub fn separated_by(mut self, separator: char) -> Self {
        self.separator = Some(separator);
        self
    }

    /// Another name.
    pub fn alias(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self.names.sort_by_key(|name| (name.chars().count() > 1, name.clone()));
        self
    }

    /// The names as messages write them: `b/bootstrap-server`.
    pub(super) fn joined_names(&self) -> String {
        self.names.join("/")
    }

    /// The names as lists write them: `[b, bootstrap-server]`.
    pub(super) fn listed_names(&self) -> String {
        format!("[{}]", self.names.join(", "))
    }
}
