//! What can be wrong with a configuration.

use thiserror::Error;

/// A configuration that cannot be used. The texts are Kafka's where a client can see them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A value that its type or validator refuses (`ConfigException`).
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    InvalidValue {
        /// Kafka's name of the key.
        name: String,
        /// The value as it was given; `null` when there is none.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A topic configuration that Kafka does not have.
    #[error("Unknown topic config name: {0}")]
    UnknownTopicConfig(String),
    /// Values that are each right and contradict each other, or a change that may not be made.
    #[error("{0}")]
    Invalid(String),
    /// A change that asks for something which is no change at all (`InvalidRequestException`).
    #[error("{0}")]
    InvalidRequest(String),
    /// An error and where its cause was given.
    #[error("{place}: {error}")]
    At {
        /// A line of a file, a variable or an option.
        place: String,
        /// What is wrong there.
        error: Box<ConfigError>,
    },
    /// A line of a properties file that cannot be read.
    #[error("{file}:{line}: {reason}")]
    Syntax {
        /// The file as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl ConfigError {
    /// The error with the place where its cause was given.
    pub(super) fn at(self, place: impl Into<String>) -> Self {
        Self::At { place: place.into(), error: Box::new(self) }
    }

    /// A value that its type or validator refuses.
    pub(super) fn invalid_value(name: &str, value: &str, reason: impl Into<String>) -> Self {
        Self::InvalidValue { name: name.to_owned(), value: value.to_owned(), reason: reason.into() }
    }
}
