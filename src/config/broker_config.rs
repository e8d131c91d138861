//! The broker's configuration as the rooms read it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::ConfigError;
use super::alter::{DynamicValue, dynamic_value};
use super::definition::{ConfigValue, split_list};
use super::known::prefixed_definition;
use super::listeners::{
    HttpListener, ListenerEndpoint, SecurityProtocol, parse_endpoints, parse_http_listeners, parse_protocol_map,
};
use super::log_config::LogConfig;
use super::state::{Layers, State};
use super::table;

/// The broker's configuration: what was given at the start, and over it what changes while the broker runs.
///
/// Every getter reads the value in force. A room that must react to a change asks again; nothing is pushed.
pub struct BrokerConfig {
    state: ArcSwap<State>,
    listeners: Vec<ListenerEndpoint>,
    advertised_listeners: Vec<ListenerEndpoint>,
}

impl Default for BrokerConfig {
    /// The configuration of a broker that is given none.
    fn default() -> Self {
        let listeners = vec![ListenerEndpoint {
            name: "PLAINTEXT".to_owned(),
            protocol: SecurityProtocol::Plaintext,
            host: String::new(),
            port: 9092,
        }];
        let state = ArcSwap::from_pointee(State::new(Layers::default()));
        Self { state, listeners, advertised_listeners: Vec::new() }
    }
}

impl BrokerConfig {
    /// Reads and checks what was given at the start. Keys that Kafka does not have are left aside.
    ///
    /// # Errors
    /// The first value that its definition refuses, or values that contradict each other (`KafkaConfig.validateValues`).
    pub fn new(mut properties: BTreeMap<String, String>) -> Result<Self, ConfigError> {
        unify_node_id(&mut properties)?;
        for (name, text) in &properties {
            if let Some(definition) = prefixed_definition(name) {
                definition.parse(text)?;
            }
        }
        let layers = Layers { fixed: Arc::new(properties), ..Layers::default() };
        check_times(&layers)?;
        check_roles(&layers)?;
        check_two_phase_commit(&layers)?;
        let (listeners, advertised_listeners) = check_listeners(&layers)?;
        parse_connection_overrides(&layers.value("max.connections.per.ip.overrides").text().unwrap_or_default())?;
        parse_http_listeners(&list_of(&layers, "ottla.http.listeners"))?;
        let config = Self { state: ArcSwap::from_pointee(State::new(layers)), listeners, advertised_listeners };
        LogConfig::from_overrides(&config, &BTreeMap::new())?;
        Ok(config)
    }

    pub(super) fn state(&self) -> arc_swap::Guard<Arc<State>> {
        self.state.load()
    }

    /// Takes over the dynamic values of the metadata image: the cluster's defaults and this broker's own. A value that
    /// cannot be used is left out, as Kafka does; the texts say which.
    pub fn update_dynamic(
        &self,
        mut cluster: BTreeMap<String, String>,
        mut broker: BTreeMap<String, String>,
    ) -> Vec<String> {
        let mut ignored = Vec::new();
        for layer in [&mut cluster, &mut broker] {
            layer.retain(|name, text| {
                let (reason, stays) = match dynamic_value(name, text) {
                    DynamicValue::InForce => return true,
                    DynamicValue::Kept(reason) => (reason, true),
                    DynamicValue::Ignored(reason) => (reason, false),
                };
                ignored.push(format!("dynamic configuration {name}: {reason}"));
                stays
            });
        }
        let fixed = Arc::clone(&self.state().layers.fixed);
        self.state.store(Arc::new(State::new(Layers { fixed, cluster, broker })));
        ignored
    }

    /// What was given at the start, by key, as text.
    pub fn given(&self) -> Arc<BTreeMap<String, String>> {
        Arc::clone(&self.state().layers.fixed)
    }

    /// The value in force as DescribeConfigs prints it; `None` for no value and for unknown names.
    pub fn text(&self, name: &str) -> Option<String> {
        self.state().layers.value(name).text()
    }

    /// `listeners` without those that belong to controllers: what to open.
    pub fn listeners(&self) -> &[ListenerEndpoint] {
        &self.listeners
    }

    /// `advertised.listeners`; a listener that is not in it advertises the address at which the client reached it.
    pub fn advertised_listeners(&self) -> &[ListenerEndpoint] {
        &self.advertised_listeners
    }

    /// `ottla.http.listeners`: where health, metrics and status are served.
    pub fn http_listeners(&self) -> Vec<HttpListener> {
        // The start has read them before.
        parse_http_listeners(&list_of(&self.state().layers, "ottla.http.listeners")).unwrap_or_default()
    }

    /// Whether somebody asked for `ottla.http.listeners`, so that they must be opened.
    pub fn http_listeners_are_set(&self) -> bool {
        self.state().layers.fixed.contains_key("ottla.http.listeners")
    }

    /// `log.dirs`, or `log.dir`: the data directories, at least one.
    pub fn log_dirs(&self) -> Vec<PathBuf> {
        let state = self.state();
        let directories = match state.layers.value("log.dirs") {
            ConfigValue::List(directories) if !directories.is_empty() => directories,
            _ => match state.layers.value("log.dir") {
                ConfigValue::List(directories) => directories,
                _ => Vec::new(),
            },
        };
        directories.into_iter().map(PathBuf::from).collect()
    }

    /// `offsets.retention.minutes` in milliseconds: how long offsets outlive their group.
    pub fn offsets_retention_ms(&self) -> i64 {
        match self.state().layers.value("offsets.retention.minutes") {
            ConfigValue::Integer(minutes) => minutes.saturating_mul(60 * 1000),
            _ => i64::MAX,
        }
    }

    /// `max.connections.per.ip.overrides`: connections that may be open from single addresses.
    pub fn max_connections_per_ip_overrides(&self) -> HashMap<IpAddr, i32> {
        let text = self.text("max.connections.per.ip.overrides").unwrap_or_default();
        parse_connection_overrides(&text).unwrap_or_default()
    }

    /// `queued.max.request.bytes`: bytes of requests in memory at a time; `None` where only the budget limits them.
    pub fn request_memory_bytes(&self) -> Option<u64> {
        self.positive("queued.max.request.bytes")
    }

    /// `ottla.memory.bytes`: the budget of memory; `None` leaves it to what the machine has.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.positive("ottla.memory.bytes")
    }

    fn positive(&self, name: &str) -> Option<u64> {
        match self.state().layers.value(name) {
            ConfigValue::Integer(number) => u64::try_from(number).ok().filter(|number| *number > 0),
            _ => None,
        }
    }
}

fn list_of(layers: &Layers, name: &str) -> Vec<String> {
    match layers.value(name) {
        ConfigValue::List(items) => items,
        _ => Vec::new(),
    }
}

/// `node.id` and `broker.id` are one thing with two names.
fn unify_node_id(properties: &mut BTreeMap<String, String>) -> Result<(), ConfigError> {
    match (properties.get("node.id").cloned(), properties.get("broker.id").cloned()) {
        (Some(node), Some(broker)) if node.trim() != broker.trim() && broker.trim() != "-1" => {
            Err(ConfigError::invalid_value(
                "node.id",
                &node,
                format!("You must set `node.id` to the same value as `broker.id`, which is {broker}."),
            ))
        }
        (Some(node), _) => {
            properties.insert("broker.id".to_owned(), node);
            Ok(())
        }
        (None, Some(broker)) if broker.trim() != "-1" => {
            properties.insert("node.id".to_owned(), broker);
            Ok(())
        }
        (None, _) => {
            let default = table::broker_config("node.id").and_then(|definition| definition.default).unwrap_or_default();
            properties.insert("broker.id".to_owned(), default.to_owned());
            Ok(())
        }
    }
}

pub(super) fn check_times(layers: &Layers) -> Result<(), ConfigError> {
    let number = |name: &str| match layers.value(name) {
        ConfigValue::Integer(value) => Some(value),
        _ => None,
    };
    let require = |holds: bool, reason: &str| match holds {
        true => Ok(()),
        false => Err(ConfigError::Invalid(reason.to_owned())),
    };
    require(number("log.roll.ms").is_none_or(|value| value >= 1), "log.roll.ms must be greater than or equal to 1")?;
    require(
        number("log.roll.jitter.ms").is_none_or(|value| value >= 0),
        "log.roll.jitter.ms must be greater than or equal to 0",
    )?;
    let retention = ["log.retention.ms", "log.retention.minutes", "log.retention.hours"];
    let retention = retention.into_iter().find_map(number).unwrap_or(-1);
    require(retention != 0, "log.retention.ms must be unlimited (-1) or, greater than or equal to 1")?;
    require(
        number("group.min.session.timeout.ms") <= number("group.max.session.timeout.ms"),
        "group.min.session.timeout.ms must not be greater than group.max.session.timeout.ms",
    )?;
    require(
        number("offsets.topic.replication.factor") >= Some(1),
        "offsets.topic.replication.factor must be at least 1",
    )
}

/// One process is broker and controller; it cannot be a part of a larger quorum yet.
fn check_roles(layers: &Layers) -> Result<(), ConfigError> {
    let list = |name: &str| match layers.value(name) {
        ConfigValue::List(items) => items,
        _ => Vec::new(),
    };
    let roles = list("process.roles");
    if !roles.is_empty() && roles.len() != 2 {
        return Err(ConfigError::invalid_value(
            "process.roles",
            &roles.join(","),
            "Ottla is broker and controller in one process for now; set process.roles=broker,controller or leave it out",
        ));
    }
    let node = layers.value("node.id").text().unwrap_or_default();
    let voters = list("controller.quorum.voters");
    let is_own = |voter: &String| voter.split_once('@').is_some_and(|(id, _)| id.trim() == node);
    if !voters.iter().all(is_own) {
        return Err(ConfigError::invalid_value(
            "controller.quorum.voters",
            &voters.join(","),
            format!("Ottla's controller is this process for now; name {node}@host:port only or leave it out"),
        ));
    }
    let servers = list("controller.quorum.bootstrap.servers");
    if servers.len() > 1 {
        return Err(ConfigError::invalid_value(
            "controller.quorum.bootstrap.servers",
            &servers.join(","),
            "Ottla's controller is this process for now; name one server or leave it out",
        ));
    }
    Ok(())
}

/// A broker that took it and refused the producers later would break them in the middle of their work.
fn check_two_phase_commit(layers: &Layers) -> Result<(), ConfigError> {
    const TWO_PHASE_COMMIT: &str = "transaction.two.phase.commit.enable";
    if layers.value(TWO_PHASE_COMMIT) == ConfigValue::Boolean(true) {
        let reason = "two-phase commit with an outside coordinator (KIP-939) is not implemented; set it to false";
        return Err(ConfigError::invalid_value(TWO_PHASE_COMMIT, "true", reason));
    }
    Ok(())
}

type Endpoints = Vec<ListenerEndpoint>;

/// `KafkaConfig.validateValues`, the part about listeners.
fn check_listeners(layers: &Layers) -> Result<(Endpoints, Endpoints), ConfigError> {
    let list = |name: &str| match layers.value(name) {
        ConfigValue::List(items) => items,
        _ => Vec::new(),
    };
    let mut protocols = parse_protocol_map(&layers.value("listener.security.protocol.map").text().unwrap_or_default())?;
    let controllers: Vec<String> =
        list("controller.listener.names").iter().map(|name| name.to_ascii_uppercase()).collect();
    for name in &controllers {
        // Nothing is opened for it, so it needs no entry in the map.
        protocols.entry(name.clone()).or_insert(SecurityProtocol::Plaintext);
    }
    let mut listeners = parse_endpoints("listeners", &list("listeners"), &protocols)?;
    listeners.retain(|listener| !controllers.contains(&listener.name));
    if listeners.is_empty() {
        return Err(ConfigError::Invalid(
            "listeners names no listener for clients: all of them are in controller.listener.names".to_owned(),
        ));
    }
    if let Some(secured) = listeners.iter().find(|listener| listener.protocol != SecurityProtocol::Plaintext) {
        return Err(ConfigError::Invalid(format!(
            "listener {} wants {}, which is not implemented yet: map it to PLAINTEXT in listener.security.protocol.map or \
             remove it from listeners",
            secured.name,
            secured.protocol.name()
        )));
    }
    let inter_broker = layers.value("security.inter.broker.protocol").text().unwrap_or_default();
    if inter_broker != SecurityProtocol::Plaintext.name() {
        let reason = "only PLAINTEXT is implemented yet";
        return Err(ConfigError::invalid_value("security.inter.broker.protocol", &inter_broker, reason));
    }
    let mut advertised = parse_endpoints("advertised.listeners", &list("advertised.listeners"), &protocols)?;
    // The server.properties that Apache Kafka comes with names it too, for the other controllers (KIP-853).
    advertised.retain(|endpoint| !controllers.contains(&endpoint.name));
    for endpoint in &advertised {
        if endpoint.host == "0.0.0.0" || endpoint.host == "::" {
            return Err(ConfigError::Invalid(
                "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address."
                    .to_owned(),
            ));
        }
        if !listeners.iter().any(|listener| listener.name == endpoint.name) {
            return Err(ConfigError::Invalid(format!(
                "advertised.listeners names {}, which is not in listeners",
                endpoint.name
            )));
        }
    }
    if let ConfigValue::Text(name) = layers.value("inter.broker.listener.name") {
        let names: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
        if !names.iter().any(|listener| listener.eq_ignore_ascii_case(&name)) {
            return Err(ConfigError::Invalid(format!(
                "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options based \
                 on currently configured listeners are {}",
                names.join(",")
            )));
        }
    }
    Ok((listeners, advertised))
}

/// Reads `max.connections.per.ip.overrides`.
pub(super) fn parse_connection_overrides(text: &str) -> Result<HashMap<IpAddr, i32>, ConfigError> {
    let refuse = |reason: &str| ConfigError::invalid_value("max.connections.per.ip.overrides", text, reason.to_owned());
    let mut overrides = HashMap::new();
    for entry in split_list(text) {
        let (address, count) = entry.rsplit_once(':').ok_or_else(|| refuse("an entry must be address:number"))?;
        let address = address.trim().trim_start_matches('[').trim_end_matches(']');
        let address = address.parse().map_err(|_| refuse("an entry must begin with an IP address"))?;
        let count = count.trim().parse().map_err(|_| refuse("an entry must end with a number"))?;
        overrides.insert(address, count);
    }
    Ok(overrides)
}
