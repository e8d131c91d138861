//! What a client is configured with: Java's properties, as `--command-config` files have them.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::error::ClientError;

const BOOTSTRAP_SERVERS: &str = "bootstrap.servers";

/// How a client reaches its cluster. Properties that this client does not read are kept and have no effect.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where to begin: hosts and ports, in the order given.
    pub bootstrap: Vec<(String, u16)>,
    /// Goes with every request (`client.id`).
    pub client_id: String,
    /// Longest wait for one answer (`request.timeout.ms`).
    pub request_timeout: Duration,
    /// Longest wait for an operation with all its retries (`default.api.timeout.ms`).
    pub api_timeout: Duration,
    /// Before something is tried again (`retry.backoff.ms`).
    pub retry_backoff: Duration,
    /// Everything as it was given.
    pub properties: BTreeMap<String, String>,
}

impl ClientConfig {
    /// Reads Java's properties.
    ///
    /// # Errors
    /// Values that cannot be used, and a security protocol that this client does not speak.
    pub fn from_properties(properties: BTreeMap<String, String>, default_client_id: &str) -> Result<Self, ClientError> {
        let mut config = Self {
            bootstrap: Vec::new(),
            client_id: String::new(),
            request_timeout: Duration::ZERO,
            api_timeout: Duration::ZERO,
            retry_backoff: Duration::ZERO,
            properties,
        };
        let protocol = config.text("security.protocol", "PLAINTEXT");
        if !protocol.eq_ignore_ascii_case("PLAINTEXT") {
            let text = format!("security.protocol={protocol} is not implemented by this tool yet: only PLAINTEXT is");
            return Err(ClientError::Config(text));
        }
        config.client_id = config.text("client.id", default_client_id).to_owned();
        config.request_timeout = config.milliseconds("request.timeout.ms", 30_000)?;
        config.api_timeout = config.milliseconds("default.api.timeout.ms", 60_000)?;
        config.retry_backoff = config.milliseconds("retry.backoff.ms", 100)?;
        let Some(servers) = config.properties.get(BOOTSTRAP_SERVERS) else {
            let text = "Missing required configuration \"bootstrap.servers\" which has no default value.";
            return Err(ClientError::Config(text.to_owned()));
        };
        config.bootstrap = parse_servers(servers)?;
        Ok(config)
    }

    /// A number among the properties.
    ///
    /// # Errors
    /// A value that is none.
    pub fn number<T: FromStr>(&self, key: &str, default: T) -> Result<T, ClientError> {
        let Some(text) = self.properties.get(key) else { return Ok(default) };
        text.trim().parse().map_err(|_| {
            let kind = if std::mem::size_of::<T>() == 8 { "LONG" } else { "INT" };
            let reason = format!("Not a number of type {kind}");
            ClientError::Config(format!("Invalid value {text} for configuration {key}: {reason}"))
        })
    }

    /// A text among the properties.
    pub fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.properties.get(key).map_or(default, |value| value.trim())
    }

    fn milliseconds(&self, key: &str, default: u64) -> Result<Duration, ClientError> {
        let millis: i64 = self.number(key, default as i64)?;
        u64::try_from(millis).map(Duration::from_millis).map_err(|_| {
            ClientError::Config(format!("Invalid value {millis} for configuration {key}: Value must be at least 0"))
        })
    }
}

/// `host:port,host:port`, each with a scheme or brackets around the host perhaps (`ClientUtils.parseAndValidateAddresses`).
fn parse_servers(servers: &str) -> Result<Vec<(String, u16)>, ClientError> {
    let mut parsed = Vec::new();
    for url in servers.split(',').map(str::trim).filter(|url| !url.is_empty()) {
        let address = url.split_once("://").map_or(url, |(_, address)| address);
        let invalid = || ClientError::Config(format!("Invalid url in {BOOTSTRAP_SERVERS}: {url}"));
        let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-%._:".contains(c);
        if !host.chars().all(is_host) || port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        let port =
            port.parse().map_err(|_| ClientError::Config(format!("Invalid port in {BOOTSTRAP_SERVERS}: {url}")))?;
        // Java takes a missing host to be this one.
        parsed.push((if host.is_empty() { "localhost".to_owned() } else { host.to_owned() }, port));
    }
    match parsed.is_empty() {
        true => Err(ClientError::Config(format!("No resolvable bootstrap urls given in {BOOTSTRAP_SERVERS}"))),
        false => Ok(parsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(properties: &[(&str, &str)]) -> Result<ClientConfig, ClientError> {
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ClientConfig::from_properties(properties, "me")
    }

    #[test]
    fn properties_are_java_s() {
        let read = config(&[("bootstrap.servers", "a:1, PLAINTEXT://b.c:2,[::1]:3"), ("request.timeout.ms", "5")]);
        let read = read.expect("a configuration");
        let expected = [("a", 1), ("b.c", 2), ("::1", 3)].map(|(host, port)| (host.to_owned(), port));
        assert_eq!((read.bootstrap.as_slice(), read.client_id.as_str()), (expected.as_slice(), "me"));
        assert_eq!((read.request_timeout, read.api_timeout), (Duration::from_millis(5), Duration::from_secs(60)));
        assert_eq!(read.number("x", 7).expect("the default"), 7);
    }

    #[test]
    fn what_cannot_be_used_is_said_as_java_says_it() {
        for (properties, message) in [
            (&[("bootstrap.servers", "a")][..], "Invalid url in bootstrap.servers: a"),
            (&[("bootstrap.servers", "a:x")], "Invalid url in bootstrap.servers: a:x"),
            (&[("bootstrap.servers", "a:99999")], "Invalid port in bootstrap.servers: a:99999"),
            (&[("bootstrap.servers", " ,")], "No resolvable bootstrap urls given in bootstrap.servers"),
            (&[], "Missing required configuration \"bootstrap.servers\" which has no default value."),
            (
                &[("bootstrap.servers", "a:1"), ("request.timeout.ms", "soon")],
                "Invalid value soon for configuration request.timeout.ms: Not a number of type LONG",
            ),
            (
                &[("bootstrap.servers", "a:1"), ("security.protocol", "SSL")],
                "security.protocol=SSL is not implemented by this tool yet: only PLAINTEXT is",
            ),
        ] {
            assert_eq!(config(properties).expect_err("no configuration").to_string(), message);
        }
    }
}
