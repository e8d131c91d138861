//! How a command ends.

use std::io;

use crate::client::ClientError;

/// The end of a command that is not simply done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Everything is printed; this is the exit code.
    #[error("exit code {0}")]
    Exit(i32),
    /// To the standard error: what is wrong, and the help text. Exit code 1.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// The help text.
        usage: String,
    },
    /// To the standard output: help that was asked for.
    #[error("help was asked for")]
    Help {
        /// The help text.
        text: String,
        /// The exit code, which is not 0 with every tool.
        code: i32,
    },
    /// The version was asked for.
    #[error("the version was asked for")]
    Version,
    /// To the standard error. Exit code 1.
    #[error("{0}")]
    Message(String),
    /// A file that does not exist (`NoSuchFileException`). Exit code 1.
    #[error("{0}")]
    NoSuchFile(String),
    /// The client's error. Exit code 1.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Input or output. Exit code 1; a reader that went away is nobody's error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl CommandError {
    /// Kafka's number of the error, where the broker gave one.
    pub fn code(&self) -> Option<i16> {
        match self {
            Self::Client(error) => error.code(),
            _ => None,
        }
    }

    /// Whether it is about the command line and its end, not about what the command did.
    pub fn is_of_command_line(&self) -> bool {
        matches!(self, Self::Exit(_) | Self::Usage { .. } | Self::Help { .. } | Self::Version)
    }
}
