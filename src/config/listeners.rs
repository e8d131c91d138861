//! `listeners`, `advertised.listeners` and the security protocol of each (`EndPoint`, `SocketServerConfigs`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::ConfigError;
use super::definition::split_list;

/// How a listener is secured (`SecurityProtocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Nothing.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without TLS.
    SaslPlaintext,
    /// SASL within TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's name of the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    /// Kafka's number of the protocol, as `RegisterBrokerRecord` and DescribeCluster carry it.
    pub fn id(self) -> i16 {
        match self {
            Self::Plaintext => 0,
            Self::Ssl => 1,
            Self::SaslPlaintext => 2,
            Self::SaslSsl => 3,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl]
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }
}

/// One entry of `listeners` or `advertised.listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerEndpoint {
    /// The listener's name, in upper case.
    pub name: String,
    /// How it is secured.
    pub protocol: SecurityProtocol,
    /// Host name or address without brackets; empty for every address.
    pub host: String,
    /// Port; 0 in `listeners` lets the system choose.
    pub port: u16,
}

/// Reads `listener.security.protocol.map`.
///
/// # Errors
/// An entry that is no `NAME:PROTOCOL`, or names a protocol that Kafka does not have.
pub(super) fn parse_protocol_map(text: &str) -> Result<BTreeMap<String, SecurityProtocol>, ConfigError> {
    const NAME: &str = "listener.security.protocol.map";
    let mut map = BTreeMap::new();
    for entry in split_list(text) {
        let refuse = |reason: &str| ConfigError::invalid_value(NAME, text, reason.to_owned());
        let (name, protocol) = entry.rsplit_once(':').ok_or_else(|| refuse("an entry must be NAME:PROTOCOL"))?;
        let protocol = SecurityProtocol::parse(protocol.trim())
            .ok_or_else(|| refuse("the protocol must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"))?;
        map.insert(name.trim().to_ascii_uppercase(), protocol);
    }
    Ok(map)
}

/// Reads the entries of `listeners` or `advertised.listeners`.
///
/// # Errors
/// An entry that is no `NAME://host:port`, a name without a security protocol, a name or a port used twice.
pub(super) fn parse_endpoints(
    config_name: &str,
    entries: &[String],
    protocols: &BTreeMap<String, SecurityProtocol>,
) -> Result<Vec<ListenerEndpoint>, ConfigError> {
    let mut endpoints: Vec<ListenerEndpoint> = Vec::new();
    let all = entries.join(",");
    for entry in entries {
        let endpoint = parse_endpoint(config_name, entry, protocols)?;
        if endpoints.iter().any(|other| other.name == endpoint.name) {
            return Err(ConfigError::Invalid(format!(
                "Each listener must have a different name, {config_name}: {all}"
            )));
        }
        if config_name == "listeners"
            && endpoint.port != 0
            && endpoints.iter().any(|other| share_port(other, &endpoint))
        {
            return Err(ConfigError::Invalid(format!(
                "Each listener must have a different port unless one listener has an IPv4 address and the other IPv6 address, \
                 {config_name}: {all}"
            )));
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}

/// KIP-797: one port may be used twice when one address is IPv4 and the other IPv6.
fn share_port(left: &ListenerEndpoint, right: &ListenerEndpoint) -> bool {
    let is_other_family = match (left.host.parse::<IpAddr>(), right.host.parse::<IpAddr>()) {
        (Ok(left), Ok(right)) => left.is_ipv4() != right.is_ipv4(),
        _ => false,
    };
    left.port == right.port && !is_other_family
}

fn parse_endpoint(
    config_name: &str,
    entry: &str,
    protocols: &BTreeMap<String, SecurityProtocol>,
) -> Result<ListenerEndpoint, ConfigError> {
    let refuse = |reason: String| ConfigError::invalid_value(config_name, entry, reason);
    let shape = || refuse("a listener is NAME://host:port, such as PLAINTEXT://localhost:9092".to_owned());
    let (name, address) = entry.split_once("://").ok_or_else(shape)?;
    let name = name.trim().to_ascii_uppercase();
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(shape());
    }
    let (host, port) = address.rsplit_once(':').ok_or_else(shape)?;
    let port = port.trim().parse().map_err(|_| refuse(format!("{port} is not a port (0 to 65535)")))?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(shape)?,
        None if host.contains(':') => return Err(refuse("put an IPv6 address into brackets".to_owned())),
        None => host,
    };
    let protocol = protocols.get(&name).copied().or_else(|| SecurityProtocol::parse(&name)).ok_or_else(|| {
        refuse(format!(
            "No security protocol defined for listener {name}: add {name}:PLAINTEXT to listener.security.protocol.map"
        ))
    })?;
    Ok(ListenerEndpoint { name, protocol, host: host.to_owned(), port })
}

/// One entry of `ottla.http.listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpListener {
    /// Host name or address without brackets; empty for every address.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

/// Reads the entries of `ottla.http.listeners`.
///
/// # Errors
/// An entry that is no `http://host:port`.
pub(super) fn parse_http_listeners(entries: &[String]) -> Result<Vec<HttpListener>, ConfigError> {
    let parse = |entry: &String| {
        let refuse = |reason: &str| ConfigError::invalid_value("ottla.http.listeners", entry, reason.to_owned());
        let shape = || refuse("a listener is http://host:port, such as http://127.0.0.1:9404 or http://:9404");
        let address =
            entry.trim_end_matches('/').strip_prefix("http://").ok_or_else(|| match entry.contains("://") {
                true => refuse("only http is served; put a proxy in front for anything else"),
                false => shape(),
            })?;
        let (host, port) = address.rsplit_once(':').ok_or_else(shape)?;
        let port = port.parse().map_err(|_| shape())?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(shape)?,
            None if host.contains([':', '/', ' ']) => return Err(shape()),
            None => host,
        };
        Ok(HttpListener { host: host.to_owned(), port })
    };
    entries.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_listeners_are_read() {
        let read = |entry: &str| parse_http_listeners(&[entry.to_owned()]).map(|mut all| all.remove(0));
        for (entry, host, port) in [
            ("http://127.0.0.1:9404", "127.0.0.1", 9404),
            ("http://:0/", "", 0),
            ("http://[::1]:1", "::1", 1),
            ("http://metrics.local:65535", "metrics.local", 65535),
        ] {
            assert_eq!(read(entry), Ok(HttpListener { host: host.to_owned(), port }));
        }
        for entry in
            ["9404", ":9404", "http://x", "http://x:y", "http://::1:9", "http://[::1:9", "https://:1", "http://a/b:1"]
        {
            let error = read(entry).expect_err(entry).to_string();
            assert!(error.contains("ottla.http.listeners") && error.contains("http"), "{error}");
        }
    }
}
