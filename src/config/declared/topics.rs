//! A declared topic, and its short form `name[:partitions[:key=value,…]]`.

use std::collections::BTreeMap;

use crate::config::ConfigError;

/// A topic that exists when the port opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredTopic {
    /// Its name.
    pub name: String,
    /// Its partitions; `None` for `num.partitions`.
    pub partitions: Option<i32>,
    /// Its own configurations.
    pub configs: BTreeMap<String, String>,
    /// Where it is declared, for people.
    pub place: String,
    /// Nobody declared it: it has seed records.
    pub is_implied: bool,
}

impl DeclaredTopic {
    /// A topic with its name checked.
    ///
    /// # Errors
    /// No topic may be called that.
    pub fn new(name: &str, partitions: Option<i32>, place: impl Into<String>) -> Result<Self, ConfigError> {
        let place = place.into();
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.bytes().all(is_legal) {
            return Err(ConfigError::Invalid(format!(
                "{place}: '{name}' is no topic name: 1 to 249 ASCII letters, digits, '.', '_' and '-' (not '.' or '..')"
            )));
        }
        Ok(Self { name: name.to_owned(), partitions, configs: BTreeMap::new(), place, is_implied: false })
    }

    /// The topic of a seed record that nothing else declares.
    pub(super) fn implied(name: &str, place: String) -> Result<Self, ConfigError> {
        Ok(Self { is_implied: true, ..Self::new(name, None, place)? })
    }
}

/// Reads `name[:partitions[:key=value,…]]`; `place` is where the text stands, and is told with it.
pub(super) fn parse_topic(text: &str, place: &str) -> Result<DeclaredTopic, ConfigError> {
    let place = format!("{place} {text}");
    let refuse = |reason: String| ConfigError::Invalid(format!("{place}: {reason}"));
    let mut parts = text.splitn(3, ':');
    let name = parts.next().unwrap_or_default();
    let partitions = match parts.next().filter(|count| !count.is_empty()) {
        None => None,
        Some(count) => match count.parse::<i32>() {
            Ok(count) if count > 0 => Some(count),
            _ => {
                return Err(refuse(format!(
                    "'{count}' is no number of partitions; expected name:partitions[:key=value,…]"
                )));
            }
        },
    };
    let mut topic = DeclaredTopic::new(name, partitions, place.as_str())?;
    let mut last: Option<String> = None;
    for item in parts.next().filter(|items| !items.is_empty()).map(|items| items.split(',')).into_iter().flatten() {
        // A comma may also stand within a value: cleanup.policy=compact,delete.
        match (item.split_once('='), &last) {
            (Some((key, value)), _) => {
                topic.configs.insert(key.trim().to_owned(), value.to_owned());
                last = Some(key.trim().to_owned());
            }
            (None, Some(key)) => {
                if let Some(value) = topic.configs.get_mut(key) {
                    value.push(',');
                    value.push_str(item);
                }
            }
            (None, None) => return Err(refuse(format!("'{item}' is no configuration; expected key=value"))),
        }
    }
    Ok(topic)
}
