//! Where each client is told to connect: what `advertised.listeners` says, or an address that this client can reach.
//!
//! Rules for a listener that `advertised.listeners` does not name (`ottla.advertised.listeners=auto`):
//! 1. A client behind the container's gateway (on the host, through a published port) is told `localhost` and the listener's
//!    port, if that port of the host leads here: a probe finds out at the start, by connecting to itself through the gateway.
//! 2. Every other client is told our end of its connection: whatever network it is on, it has just reached us there. Apache
//!    Kafka advertises the canonical host name instead, which fails from containers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use super::handler::RequestContext;
use super::services::Endpoint;

/// Beginning of the client id of a probe.
const PROBE_PREFIX: &str = "ottla-reach-";

/// What `advertised.listeners` says, and the rules for the others.
#[derive(Debug, Default)]
pub struct AdvertisedListeners {
    explicit: BTreeMap<String, Explicit>,
    automatic: BTreeMap<String, Automatic>,
    /// Through which published ports are reached.
    gateway: Option<IpAddr>,
    /// Unique to this process.
    probe_id: String,
}

#[derive(Debug)]
struct Explicit {
    endpoint: Endpoint,
    /// Who cannot reach it.
    suspicion: Option<Suspicion>,
    was_told: AtomicBool,
}

/// Why an explicit address may be wrong for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    /// It is every machine's own.
    Loopback,
    /// A name without a domain, such as a container's: the host does not know it.
    BareName,
}

/// A listener that `advertised.listeners` does not name.
#[derive(Debug, Default)]
struct Automatic {
    /// `ottla.advertised.listeners=hostname`.
    host_name: Option<String>,
    /// The same port of the container's host leads to this listener.
    is_published: AtomicBool,
}

impl AdvertisedListeners {
    /// The endpoints of `advertised.listeners` by listener. `probe_id` is unique to this process.
    pub fn new(
        explicit: impl IntoIterator<Item = (String, Endpoint)>,
        gateway: Option<IpAddr>,
        probe_id: String,
    ) -> Self {
        let explicit = explicit.into_iter().map(|(listener, endpoint)| {
            let suspicion = suspicion_of(&endpoint.host);
            (listener, Explicit { endpoint, suspicion, was_told: AtomicBool::new(false) })
        });
        Self { explicit: explicit.collect(), automatic: BTreeMap::new(), gateway, probe_id }
    }

    /// A listener of the broker. With a host name all its clients are told that, unless `advertised.listeners` names it.
    pub fn add_listener(&mut self, listener: &str, host_name: Option<String>) {
        if !self.explicit.contains_key(listener) {
            let automatic = Automatic { host_name, is_published: AtomicBool::new(false) };
            self.automatic.insert(listener.to_owned(), automatic);
        }
    }

    /// The endpoint for the client `peer`, whose connection `listener` accepted on `local`.
    pub fn endpoint(&self, listener: &str, local: SocketAddr, peer: SocketAddr) -> Endpoint {
        if let Some(explicit) = self.explicit.get(listener) {
            if let Some(suspicion) = explicit.suspicion {
                self.doubt(listener, explicit, suspicion, local.ip().to_canonical(), peer.ip().to_canonical());
            }
            return explicit.endpoint.clone();
        }
        let port = local.port();
        if let Some(automatic) = self.automatic.get(listener) {
            if let Some(host) = &automatic.host_name {
                return Endpoint { host: host.clone(), port };
            }
            if Some(peer.ip().to_canonical()) == self.gateway && automatic.is_published.load(Ordering::Relaxed) {
                return Endpoint { host: "localhost".to_owned(), port };
            }
        }
        let host = match local.ip().to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            // Clients join host and port with a colon; not all of them put an IPv6 literal into brackets first.
            IpAddr::V6(address) if address.is_loopback() => "localhost".to_owned(),
            IpAddr::V6(address) => address.to_string(),
        };
        Endpoint { host, port }
    }

    /// Says, once for a listener, that a client was given an address that it cannot reach, and how to mend it.
    fn doubt(&self, listener: &str, explicit: &Explicit, suspicion: Suspicion, local: IpAddr, peer: IpAddr) {
        let is_behind_gateway = Some(peer) == self.gateway;
        let cannot_reach = match suspicion {
            Suspicion::Loopback => !peer.is_loopback() && peer != local && !is_behind_gateway,
            Suspicion::BareName => is_behind_gateway,
        };
        if !cannot_reach || explicit.was_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let Endpoint { host, port } = &explicit.endpoint;
        let why = match suspicion {
            Suspicion::Loopback => {
                format!("for the client at {peer}, which is elsewhere, that is its own machine or container")
            }
            Suspicion::BareName => {
                format!(
                    "the client at {peer} comes from the container's host, which does not know the name {host} unless it was taught"
                )
            }
        };
        tracing::warn!(
            "advertised.listeners tells clients of listener {listener} to connect to {host}:{port}, but {why}: it will probably \
             fail after its first request. Remove {listener} from advertised.listeners, so that every client is told the address \
             that it has reached, or give each network a listener of its own, such as \
             listeners=INTERNAL://:29092,EXTERNAL://:{port} with \
             advertised.listeners=INTERNAL://<name in the containers' network>:29092,EXTERNAL://localhost:{port}"
        );
    }

    /// What a connection through the gateway that is to find this listener again calls itself, and the gateway; `None` where
    /// there is nothing to find out.
    pub fn probe(&self, listener: &str) -> Option<(IpAddr, String)> {
        let automatic = self.automatic.get(listener).filter(|automatic| automatic.host_name.is_none());
        automatic.and(self.gateway).map(|gateway| (gateway, self.probe_name(listener)))
    }

    fn probe_name(&self, listener: &str) -> String {
        format!("{PROBE_PREFIX}{}-{listener}", self.probe_id)
    }

    /// Hears of every client that introduces itself: a probe that came back says that the port is published.
    pub fn hear(&self, context: &RequestContext) {
        let is_probe = context.client_id.as_deref().is_some_and(|client| client.starts_with(PROBE_PREFIX));
        if !is_probe || context.client_id.as_deref() != Some(&self.probe_name(&context.listener)) {
            return;
        }
        if let Some(automatic) = self.automatic.get(&*context.listener) {
            automatic.is_published.store(true, Ordering::Relaxed);
            tracing::info!(
                "Port {} of the host leads to listener {}: its clients are told localhost:{}",
                context.local.port(),
                context.listener,
                context.local.port()
            );
        }
    }
}

fn suspicion_of(host: &str) -> Option<Suspicion> {
    match host.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() => Some(Suspicion::Loopback),
        Ok(_) => None,
        Err(_) if host.eq_ignore_ascii_case("localhost") => Some(Suspicion::Loopback),
        Err(_) if !host.contains('.') => Some(Suspicion::BareName),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::Principal;

    const GATEWAY: &str = "172.17.0.1";

    fn address(text: &str) -> SocketAddr {
        format!("{text}:9092").parse().expect("an address")
    }

    fn listeners(explicit: &[(&str, &str)]) -> AdvertisedListeners {
        let explicit = explicit.iter().map(|(listener, host)| {
            let endpoint = Endpoint { host: (*host).to_owned(), port: 9092 };
            ((*listener).to_owned(), endpoint)
        });
        let mut listeners = AdvertisedListeners::new(explicit, GATEWAY.parse().ok(), "7".to_owned());
        listeners.add_listener("AUTO", None);
        listeners
    }

    fn told(listeners: &AdvertisedListeners, listener: &str, local: &str, peer: &str) -> String {
        let endpoint = listeners.endpoint(listener, address(local), address(peer));
        assert_eq!(endpoint.port, 9092);
        endpoint.host
    }

    #[test]
    fn without_advertised_listeners_every_client_is_told_what_it_reached() {
        let listeners = AdvertisedListeners::default();
        let told = |address: &str| {
            let address: SocketAddr = address.parse().expect("an address");
            listeners.endpoint("PLAINTEXT", address, address).host
        };
        assert_eq!(told("192.168.1.5:9092"), "192.168.1.5");
        assert_eq!(told("[::ffff:10.0.0.1]:9092"), "10.0.0.1");
        assert_eq!(told("[::1]:9092"), "localhost");
        assert_eq!(told("[fd00::1]:9092"), "fd00::1");
    }

    fn introduce(listeners: &AdvertisedListeners, listener: &str, client: &str) {
        let context = RequestContext {
            api_key: 18,
            api_version: 0,
            correlation_id: 0,
            client_id: Some(client.into()),
            listener: listener.into(),
            peer: address(GATEWAY),
            local: address("172.17.0.2"),
            connection_id: 0,
            principal: Principal::anonymous(),
        };
        listeners.hear(&context);
    }

    #[test]
    fn a_client_behind_the_gateway_is_told_localhost_once_the_probe_came_back() {
        let listeners = listeners(&[("SET", "localhost")]);
        let container = "172.17.0.2";
        assert_eq!(told(&listeners, "AUTO", container, GATEWAY), container);
        let (gateway, name) = listeners.probe("AUTO").expect("a probe");
        assert_eq!(gateway.to_string(), GATEWAY);
        assert!(listeners.probe("SET").is_none() && listeners.probe("OTHER").is_none());
        // Another listener's port, another process's probe, a client of that name.
        introduce(&listeners, "SET", &name);
        introduce(&listeners, "AUTO", "ottla-reach-8-AUTO");
        introduce(&listeners, "AUTO", "AUTO");
        assert_eq!(told(&listeners, "AUTO", container, GATEWAY), container);
        introduce(&listeners, "AUTO", &name);
        assert_eq!(told(&listeners, "AUTO", container, GATEWAY), "localhost");
        assert_eq!(told(&listeners, "AUTO", container, "172.17.0.9"), container);
        assert_eq!(told(&listeners, "SET", container, "172.17.0.9"), "localhost");
    }

    #[test]
    fn a_host_name_is_told_to_all_where_it_is_wanted() {
        let mut listeners = listeners(&[("SET", "kafka.example")]);
        listeners.add_listener("NAMED", Some("box".to_owned()));
        listeners.add_listener("SET", Some("box".to_owned()));
        assert_eq!(told(&listeners, "NAMED", "172.17.0.2", GATEWAY), "box");
        assert_eq!(told(&listeners, "SET", "172.17.0.2", GATEWAY), "kafka.example");
        assert!(listeners.probe("NAMED").is_none());
    }

    #[test]
    fn who_cannot_reach_an_explicit_address_is_noticed_once() {
        let was_told = |listeners: &AdvertisedListeners, listener: &str| {
            listeners.explicit[listener].was_told.load(Ordering::Relaxed)
        };
        for (host, local, peer, expected) in [
            ("localhost", "172.17.0.2", "172.17.0.9", true),
            ("127.0.0.1", "192.168.1.5", "192.168.1.6", true),
            ("localhost", "172.17.0.2", GATEWAY, false),
            ("localhost", "192.168.1.5", "192.168.1.5", false),
            ("localhost", "127.0.0.1", "127.0.0.1", false),
            ("kafka", "172.17.0.2", GATEWAY, true),
            ("kafka", "172.17.0.2", "172.17.0.9", false),
            ("kafka.example.org", "172.17.0.2", GATEWAY, false),
            ("10.0.0.7", "172.17.0.2", GATEWAY, false),
        ] {
            let listeners = listeners(&[("SET", host)]);
            assert_eq!(told(&listeners, "SET", local, peer), host);
            assert_eq!(was_told(&listeners, "SET"), expected, "{host} to {peer}");
        }
    }
}
