//! One configuration: its type, default, validator and documentation (`ConfigDef.ConfigKey`).

use std::collections::HashSet;

use super::ConfigError;

/// The type of a configuration's value (`ConfigDef.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`, in any case.
    Boolean,
    /// Text.
    String,
    /// 32 bits, signed.
    Int,
    /// 16 bits, signed.
    Short,
    /// 64 bits, signed.
    Long,
    /// A floating point number.
    Double,
    /// Texts between commas.
    List,
    /// The name of a class of the JVM.
    Class,
    /// A secret: never shown.
    Password,
}

impl ConfigType {
    /// The number of the type in DescribeConfigs responses (`ConfigResponse.ConfigType`).
    pub fn id(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    /// Kafka's name of the type, as its messages print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }

    /// The type of this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Boolean,
            Self::String,
            Self::Int,
            Self::Short,
            Self::Long,
            Self::Double,
            Self::List,
            Self::Class,
            Self::Password,
        ];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

/// When a broker configuration may change (`DynamicBrokerConfig.dynamicConfigUpdateModes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    /// Only by a restart.
    ReadOnly,
    /// While the broker runs, for one broker.
    PerBroker,
    /// While the broker runs, for one broker or for the whole cluster.
    ClusterWide,
}

impl UpdateMode {
    /// Kafka's name of the mode.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::PerBroker => "per-broker",
            Self::ClusterWide => "cluster-wide",
        }
    }
}

/// What a value must satisfy beyond its type (`ConfigDef.Validator`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Validator {
    /// Nothing.
    Any,
    /// A number not below the bound.
    AtLeast(i64),
    /// A number not below the bound, or -1.
    MinusOneOrAtLeast(i64),
    /// A number between the bounds, both included.
    Between(i64, i64),
    /// A fraction between 0 and 1, both included.
    Fraction,
    /// A number with a fraction between the bounds, both included.
    DoubleBetween(f64, f64),
    /// A gzip level: 1 to 9, or -1 for the library's own.
    GzipLevel,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of these words; empty where the flag says so.
    ListOf(&'static [&'static str], bool),
    /// A list; empty where the flag says so.
    Items(bool),
    /// `partition:broker` pairs, or `*` (`ThrottledReplicaListValidator`).
    ThrottledReplicas,
}

/// A value that its definition has accepted.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigValue {
    /// No value.
    Null,
    /// Of [`ConfigType::Boolean`].
    Boolean(bool),
    /// Of [`ConfigType::Int`], [`ConfigType::Short`] and [`ConfigType::Long`].
    Integer(i64),
    /// Of [`ConfigType::Double`].
    Double(f64),
    /// Of [`ConfigType::String`], [`ConfigType::Class`] and [`ConfigType::Password`].
    Text(String),
    /// Of [`ConfigType::List`].
    List(Vec<String>),
}

impl ConfigValue {
    /// The value as DescribeConfigs prints it (`ConfigDef.convertToString`); `None` for no value.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Boolean(value) => Some(value.to_string()),
            Self::Integer(value) => Some(value.to_string()),
            Self::Double(value) => Some(java_double(*value)),
            Self::Text(value) => Some(value.clone()),
            Self::List(values) => Some(values.join(",")),
        }
    }
}

/// A number as Java's `Double.toString` prints it, in the range that configurations use.
fn java_double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

/// The unit in which a broker configuration gives what a topic configuration wants in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynonymUnit {
    /// The same unit.
    Same,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

impl SynonymUnit {
    /// Milliseconds of one unit; 1 where there is nothing to convert.
    pub fn factor(self) -> i64 {
        match self {
            Self::Same => 1,
            Self::Minutes => 60 * 1000,
            Self::Hours => 60 * 60 * 1000,
        }
    }
}

/// A broker configuration that gives a topic configuration its default (`ServerTopicConfigSynonyms`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerSynonym {
    /// Name of the broker configuration.
    pub name: &'static str,
    /// Its unit.
    pub unit: SynonymUnit,
}

/// One configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigDefinition {
    /// Kafka's name.
    pub name: &'static str,
    /// The type of its values.
    pub kind: ConfigType,
    /// The default as text; `None` when there is no value unless one is given.
    pub default: Option<&'static str>,
    /// What a value must satisfy.
    pub validator: Validator,
    /// When it may change; topic configurations are always [`UpdateMode::ClusterWide`].
    pub update_mode: UpdateMode,
    /// What it does.
    pub documentation: &'static str,
    /// Of a topic configuration: the broker configurations that give its default, the first that has a value wins.
    pub synonyms: &'static [BrokerSynonym],
}

impl ConfigDefinition {
    /// Reads a value and checks it.
    ///
    /// # Errors
    /// [`ConfigError::InvalidValue`] in Kafka's words.
    pub fn parse(&self, text: &str) -> Result<ConfigValue, ConfigError> {
        let mut value = self.parse_type(text.trim())?;
        if let ConfigValue::List(items) = &mut value {
            // Kafka warns of what is named twice and goes on with the first.
            let mut seen = HashSet::new();
            items.retain(|item| seen.insert(item.clone()));
        }
        self.check(&value)?;
        Ok(value)
    }

    /// The default, read; the meta-test proves that every default can be.
    pub fn default_value(&self) -> ConfigValue {
        self.default.and_then(|text| self.parse(text).ok()).unwrap_or(ConfigValue::Null)
    }

    /// Whether values may be secrets, which nobody is shown.
    pub fn is_sensitive(&self) -> bool {
        self.kind == ConfigType::Password
    }

    /// `ConfigDef.parseType`.
    fn parse_type(&self, text: &str) -> Result<ConfigValue, ConfigError> {
        let refuse = |reason: String| ConfigError::invalid_value(self.name, text, reason);
        let not_a_number = || refuse(format!("Not a number of type {}", self.kind.name()));
        match self.kind {
            ConfigType::Boolean if text.eq_ignore_ascii_case("true") => Ok(ConfigValue::Boolean(true)),
            ConfigType::Boolean if text.eq_ignore_ascii_case("false") => Ok(ConfigValue::Boolean(false)),
            ConfigType::Boolean => Err(refuse("Expected value to be either true or false".to_owned())),
            ConfigType::Int => {
                text.parse::<i32>().map(|value| ConfigValue::Integer(value.into())).map_err(|_| not_a_number())
            }
            ConfigType::Short => {
                text.parse::<i16>().map(|value| ConfigValue::Integer(value.into())).map_err(|_| not_a_number())
            }
            ConfigType::Long => text.parse::<i64>().map(ConfigValue::Integer).map_err(|_| not_a_number()),
            ConfigType::Double => text.parse::<f64>().map(ConfigValue::Double).map_err(|_| not_a_number()),
            ConfigType::String | ConfigType::Class | ConfigType::Password => Ok(ConfigValue::Text(text.to_owned())),
            ConfigType::List => Ok(ConfigValue::List(split_list(text))),
        }
    }

    /// `Validator.ensureValid`.
    fn check(&self, value: &ConfigValue) -> Result<(), ConfigError> {
        let text = || value.text().unwrap_or_else(|| "null".to_owned());
        let refuse = |reason: String| Err(ConfigError::invalid_value(self.name, &text(), reason));
        match (self.validator, value) {
            (Validator::AtLeast(least), ConfigValue::Integer(number)) if *number < least => {
                refuse(format!("Value must be at least {least}"))
            }
            (Validator::MinusOneOrAtLeast(least), ConfigValue::Integer(number)) if *number < least && *number != -1 => {
                refuse(format!("Value must be -1 or at least {least}"))
            }
            (Validator::Between(least, _), ConfigValue::Integer(number)) if *number < least => {
                refuse(format!("Value must be at least {least}"))
            }
            (Validator::Between(_, most), ConfigValue::Integer(number)) if *number > most => {
                refuse(format!("Value must be no more than {most}"))
            }
            (Validator::Fraction, ConfigValue::Double(number)) if *number < 0.0 || number.is_nan() => {
                refuse("Value must be at least 0".to_owned())
            }
            (Validator::Fraction, ConfigValue::Double(number)) if *number > 1.0 => {
                refuse("Value must be no more than 1".to_owned())
            }
            (Validator::DoubleBetween(least, _), ConfigValue::Double(number)) if *number < least || number.is_nan() => {
                refuse(format!("Value must be at least {}", java_double(least)))
            }
            (Validator::DoubleBetween(_, most), ConfigValue::Double(number)) if *number > most => {
                refuse(format!("Value must be no more than {}", java_double(most)))
            }
            (Validator::GzipLevel, ConfigValue::Integer(number)) if *number != -1 && !(1..=9).contains(number) => {
                refuse("Value must be between 1 and 9 or equal to -1".to_owned())
            }
            (Validator::OneOf(words), ConfigValue::Text(word)) if !words.contains(&word.as_str()) => {
                refuse(format!("String must be one of: {}", words.join(", ")))
            }
            (Validator::ListOf(words, may_be_empty), ConfigValue::List(items)) => {
                self.check_items(items, may_be_empty)?;
                match items.iter().find(|item| !words.contains(&item.as_str())) {
                    Some(item) => Err(ConfigError::invalid_value(
                        self.name,
                        item,
                        format!("String must be one of: {}", words.join(", ")),
                    )),
                    None => Ok(()),
                }
            }
            (Validator::Items(may_be_empty), ConfigValue::List(items)) => self.check_items(items, may_be_empty),
            (Validator::ThrottledReplicas, ConfigValue::List(items)) if !are_throttled_replicas(items) => {
                let reason = format!(
                    "{} must be the literal '*' or a list of replicas in the following format: \
                     [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                    self.name
                );
                Err(ConfigError::invalid_value(self.name, &format!("[{}]", items.join(", ")), reason))
            }
            _ => Ok(()),
        }
    }

    /// `ConfigDef.ValidList`: no empty value, and at least one where the list must not be empty.
    fn check_items(&self, items: &[String], may_be_empty: bool) -> Result<(), ConfigError> {
        if items.is_empty() && !may_be_empty {
            let reason =
                format!("Configuration '{}' must not be empty. Valid values include: any non-empty value", self.name);
            return Err(ConfigError::Invalid(reason));
        }
        if items.iter().any(String::is_empty) {
            return Err(ConfigError::Invalid(format!("Configuration '{}' values must not be empty.", self.name)));
        }
        Ok(())
    }
}

/// The items of a list value; none for an empty text.
pub(super) fn split_list(text: &str) -> Vec<String> {
    let text = text.trim();
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|item| item.trim().to_owned()).collect()
}

fn are_throttled_replicas(items: &[String]) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    items == ["*"]
        || items
            .iter()
            .all(|item| item.split_once(':').is_some_and(|(left, right)| is_number(left) && is_number(right)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::table::{BROKER_CONFIGS, TOPIC_CONFIGS};
    use super::*;

    #[test]
    fn doubles_are_printed_as_by_java() {
        let cases = [(0.5, "0.5"), (0.0, "0.0"), (1.0, "1.0"), (f64::MAX, "1.7976931348623157E308"), (1e-5, "1.0E-5")];
        for (value, expected) in cases {
            assert_eq!(java_double(value), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_reads_the_same_again(text in "[-+]?[0-9]{1,20}|[ -~]{0,24}|(compact|delete|,| |true|zstd|1:2|\\*){0,5}") {
            for definition in BROKER_CONFIGS.iter().chain(TOPIC_CONFIGS) {
                if let Ok(value) = definition.parse(&text) {
                    let printed = value.text().expect("a value");
                    prop_assert_eq!(definition.parse(&printed), Ok(value), "{} {:?}", definition.name, text);
                }
            }
        }
    }
}
