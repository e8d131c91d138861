//! Principals (`KafkaPrincipal`).

use std::fmt;
use std::sync::Arc;

/// Who sent a request (`KafkaPrincipal`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// `User` for everything that Kafka itself authenticates.
    pub principal_type: Arc<str>,
    /// The name that authentication gave; `ANONYMOUS` without authentication.
    pub name: Arc<str>,
}

impl Principal {
    /// The principal of a connection without authentication.
    pub fn anonymous() -> Self {
        Self { principal_type: "User".into(), name: "ANONYMOUS".into() }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.principal_type, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_in_particular_is_kafka_s_anonymous_user() {
        assert_eq!(Principal::anonymous().to_string(), "User:ANONYMOUS");
    }
}
