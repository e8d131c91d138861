//! What can go wrong on a client's connection, in the words of Java's client (`getMessage`).

use super::kafka_error::kafka_error;

/// Errors of the client room.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket failed, or was closed: `UnexpectedEof`.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A message does not encode or decode.
    #[error("{0}")]
    Codec(String),
    /// The answer belongs to another request.
    #[error("answer to request {actual} where {expected} was next")]
    CorrelationId {
        /// Of the oldest request without an answer.
        expected: i32,
        /// Of the answer.
        actual: i32,
    },
    /// The broker announces an answer that is too long.
    #[error("an answer of {0} bytes")]
    TooLong(i32),
    /// It took longer than the caller waits (`TimeoutException`).
    #[error("{0}")]
    Timeout(String),
    /// The broker refused (`ApiException`).
    #[error("{}", answer_text(*.code, .message.as_deref()))]
    Answer {
        /// Kafka's number of the error.
        code: i16,
        /// The broker's words, where the answer has some.
        message: Option<String>,
    },
    /// The broker does not know the request, or not in a version that this client speaks (`UnsupportedVersionException`).
    #[error("{0}")]
    Unsupported(String),
    /// A configuration that the client cannot be made with (`ConfigException`).
    #[error("{0}")]
    Config(String),
    /// Nobody listens, or the connection ended (`DisconnectException`).
    #[error("{0}")]
    Disconnected(String),
}

impl ClientError {
    /// `Ok` for no error, else [`ClientError::Answer`].
    ///
    /// # Errors
    /// Every code but 0.
    pub fn answer(code: i16, message: Option<&str>) -> Result<(), Self> {
        match code {
            0 => Ok(()),
            _ => Err(Self::Answer { code, message: message.map(str::to_owned) }),
        }
    }

    /// Kafka's number of the error, where the broker gave one.
    pub fn code(&self) -> Option<i16> {
        match self {
            Self::Answer { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the connection cannot be used any more.
    pub fn is_of_connection(&self) -> bool {
        matches!(
            self,
            Self::Io(_) | Self::Disconnected(_) | Self::Timeout(_) | Self::CorrelationId { .. } | Self::TooLong(_)
        )
    }

    /// Whether trying again may help.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Answer { code, .. } => kafka_error(*code).is_retriable,
            _ => self.is_of_connection(),
        }
    }

    /// Java's exception: `UnknownTopicOrPartitionException`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Answer { code, .. } => kafka_error(*code).class,
            Self::Timeout(_) => "TimeoutException",
            Self::Unsupported(_) => "UnsupportedVersionException",
            Self::Config(_) => "ConfigException",
            Self::Disconnected(_) | Self::Io(_) => "DisconnectException",
            Self::Codec(_) | Self::CorrelationId { .. } | Self::TooLong(_) => "SchemaException",
        }
    }
}

fn answer_text(code: i16, message: Option<&str>) -> &str {
    message.unwrap_or_else(|| kafka_error(code).message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_speaks_for_itself_or_by_the_table() {
        assert!(ClientError::answer(0, None).is_ok());
        let error = ClientError::answer(36, Some("Topic 'a' already exists.")).expect_err("an error");
        assert_eq!((error.to_string().as_str(), error.class()), ("Topic 'a' already exists.", "TopicExistsException"));
        let error = ClientError::answer(3, None).expect_err("an error");
        assert_eq!(error.to_string(), "This server does not host this topic-partition.");
        assert!(error.is_retriable() && !error.is_of_connection());
        assert!(ClientError::Io(std::io::ErrorKind::UnexpectedEof.into()).is_of_connection());
    }
}
