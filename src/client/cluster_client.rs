//! A client of a whole cluster: where to begin, who leads, who coordinates, and trying again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{FindCoordinatorRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};

use super::client_config::ClientConfig;
use super::cluster_metadata::{ClusterMetadata, Node};
use super::error::ClientError;
use super::node_connection::NodeConnection;
use crate::env::Clock;

/// Waits between tries grow to this.
const RETRY_BACKOFF_MAX: Duration = Duration::from_millis(1_000);
/// Longest wait for a connection to be made (`socket.connection.setup.timeout.ms`).
const CONNECTION_SETUP_TIMEOUT: Duration = Duration::from_secs(10);
/// The key of a connection to a bootstrap address.
const BOOTSTRAP: i32 = -1;

/// Who should get a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Any broker.
    Any,
    /// Who takes requests to the controller.
    Controller,
    /// A broker by its id.
    Node(i32),
    /// The coordinator of a group.
    Group(String),
    /// The coordinator of a transactional id.
    Transaction(String),
}

/// A moment until which something is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Duration);

impl Deadline {
    /// After some time from now.
    pub fn after(clock: &dyn Clock, wait: Duration) -> Self {
        Self(clock.monotonic().saturating_add(wait))
    }

    /// What is left.
    pub fn remaining(self, clock: &dyn Clock) -> Duration {
        self.0.saturating_sub(clock.monotonic())
    }

    /// Whether nothing is left.
    pub fn is_over(self, clock: &dyn Clock) -> bool {
        self.remaining(clock).is_zero()
    }

    /// The moment, as [`Clock::sleep_until`] takes it.
    pub fn moment(self) -> Duration {
        self.0
    }
}

/// A client of a cluster: at most one connection a node, made when it is needed, made again when it broke.
pub struct ClusterClient {
    config: ClientConfig,
    clock: Arc<dyn Clock>,
    nodes: Vec<Node>,
    controller: Option<i32>,
    coordinators: HashMap<Destination, i32>,
    connections: HashMap<i32, NodeConnection>,
}

impl ClusterClient {
    /// Looks the bootstrap servers up; connects to nobody yet.
    ///
    /// # Errors
    /// None of the names has an address.
    pub async fn open(config: ClientConfig, clock: Arc<dyn Clock>) -> Result<Self, ClientError> {
        let mut is_resolved = false;
        for (host, port) in &config.bootstrap {
            let found = tokio::net::lookup_host((host.as_str(), *port)).await;
            if found.is_ok_and(|mut addresses| addresses.next().is_some()) {
                is_resolved = true;
                continue;
            }
            tracing::warn!(
                "Couldn't resolve server {host}:{port} from bootstrap.servers as DNS resolution failed for {host}"
            );
        }
        if !is_resolved {
            let text = "No resolvable bootstrap urls given in bootstrap.servers";
            return Err(ClientError::Config(text.to_owned()));
        }
        Ok(Self {
            config,
            clock,
            nodes: Vec::new(),
            controller: None,
            coordinators: HashMap::new(),
            connections: HashMap::new(),
        })
    }

    /// How it was configured.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The clock by which it waits.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Sends a request and waits for its answer; connections, controller and coordinators are looked up, and again when that
    /// fails, until `default.api.timeout.ms`. Errors that the answer itself tells are the caller's to look at. `name` is what
    /// Java calls the call: `listTopics`.
    ///
    /// # Errors
    /// [`ClientError::Timeout`]; APIs that the broker does not have; refused lookups.
    pub async fn call<T: Request>(
        &mut self,
        name: &str,
        to: &Destination,
        max: Option<i16>,
        build: impl Fn(i16) -> T,
    ) -> Result<T::Response, ClientError> {
        let deadline = Deadline::after(&*self.clock, self.config.api_timeout);
        let mut backoff = self.config.retry_backoff;
        let mut is_assigned = false;
        loop {
            let error = match self.try_call(to, max, deadline, &mut is_assigned, &build).await {
                Ok(response) => return Ok(response),
                Err(error) if !error.is_retriable() => return Err(error),
                Err(error) => error,
            };
            tracing::debug!("{name}: {error}");
            if deadline.remaining(&*self.clock) <= backoff {
                return Err(ClientError::Timeout(match is_assigned {
                    false => format!("Timed out waiting for a node assignment. Call: {name}"),
                    true => format!("Call {name} timed out: {error}"),
                }));
            }
            self.clock.sleep_until(self.clock.monotonic() + backoff).await;
            backoff = (backoff * 2).min(RETRY_BACKOFF_MAX.max(self.config.retry_backoff));
        }
    }

    async fn try_call<T: Request>(
        &mut self,
        to: &Destination,
        max: Option<i16>,
        deadline: Deadline,
        is_assigned: &mut bool,
        build: &impl Fn(i16) -> T,
    ) -> Result<T::Response, ClientError> {
        let timeout = self.config.request_timeout.min(deadline.remaining(&*self.clock));
        let key = self.find_connection(to, deadline).await?;
        *is_assigned = true;
        let Some(connection) = self.connections.get_mut(&key) else {
            return Err(ClientError::Disconnected("the connection is gone".to_owned()));
        };
        let result = connection.call(max, timeout, build).await;
        if result.as_ref().is_err_and(ClientError::is_of_connection) {
            self.connections.remove(&key);
            self.forget(to);
        }
        result
    }

    /// A connection of the caller's own: for long polls, and heartbeats beside them.
    ///
    /// # Errors
    /// As [`ClusterClient::call`].
    pub async fn dedicated(&mut self, to: &Destination) -> Result<NodeConnection, ClientError> {
        let deadline = Deadline::after(&*self.clock, self.config.api_timeout);
        let mut backoff = self.config.retry_backoff;
        loop {
            let error = match self.try_dedicated(to, deadline).await {
                Ok(connection) => return Ok(connection),
                Err(error) if !error.is_retriable() => return Err(error),
                Err(error) => error,
            };
            if deadline.remaining(&*self.clock) <= backoff {
                return Err(ClientError::Timeout(format!("Timed out waiting for a node assignment: {error}")));
            }
            self.forget(to);
            self.clock.sleep_until(self.clock.monotonic() + backoff).await;
            backoff = (backoff * 2).min(RETRY_BACKOFF_MAX.max(self.config.retry_backoff));
        }
    }

    async fn try_dedicated(&mut self, to: &Destination, deadline: Deadline) -> Result<NodeConnection, ClientError> {
        match self.find_node(to, deadline).await? {
            None => self.connect_to_bootstrap(deadline).await,
            Some(id) => self.connect_to_node(id, deadline).await,
        }
    }

    /// What the cluster looks like now; `None` asks for all topics. Errors of topics and partitions stand with them.
    ///
    /// # Errors
    /// As [`ClusterClient::call`].
    pub async fn metadata(
        &mut self,
        topics: Option<&[&str]>,
        allow_auto_creation: bool,
    ) -> Result<ClusterMetadata, ClientError> {
        let name = match topics {
            None => "listTopics",
            Some([]) => "listNodes",
            Some(_) => "describeTopics",
        };
        let response =
            self.call(name, &Destination::Any, None, |version| metadata_request(topics, allow_auto_creation, version));
        let metadata = ClusterMetadata::from(response.await?);
        self.learn(&metadata);
        Ok(metadata)
    }

    /// Forgets who a coordinator or the controller is: the answer said that it is another.
    pub fn forget(&mut self, to: &Destination) {
        match to {
            Destination::Controller => self.controller = None,
            Destination::Any => {}
            Destination::Node(_) => self.nodes.clear(),
            Destination::Group(_) | Destination::Transaction(_) => {
                self.coordinators.remove(to);
            }
        }
    }

    fn learn(&mut self, metadata: &ClusterMetadata) {
        self.nodes.clone_from(&metadata.nodes);
        self.controller = Some(metadata.controller_id).filter(|id| *id >= 0);
    }

    /// The key of a connection that is open.
    async fn find_connection(&mut self, to: &Destination, deadline: Deadline) -> Result<i32, ClientError> {
        let Some(id) = self.find_node(to, deadline).await? else {
            if let Some(key) = self.connections.keys().next() {
                return Ok(*key);
            }
            let connection = self.connect_to_bootstrap(deadline).await?;
            self.connections.insert(BOOTSTRAP, connection);
            return Ok(BOOTSTRAP);
        };
        if self.connections.contains_key(&id) {
            return Ok(id);
        }
        // The bootstrap address is often the node's own.
        let is_bootstrap = |connection: &NodeConnection| {
            self.nodes
                .iter()
                .any(|node| node.id == id && format!("{}:{}", node.host, node.port) == connection.address())
        };
        let connection = match self.connections.get(&BOOTSTRAP).is_some_and(is_bootstrap) {
            true => self.connections.remove(&BOOTSTRAP),
            false => None,
        };
        let connection = match connection {
            Some(connection) => connection,
            None => self.connect_to_node(id, deadline).await?,
        };
        self.connections.insert(id, connection);
        Ok(id)
    }

    /// The id of the node that should get a request; `None` is any.
    async fn find_node(&mut self, to: &Destination, deadline: Deadline) -> Result<Option<i32>, ClientError> {
        let (key, key_type) = match to {
            Destination::Any => return Ok(None),
            Destination::Node(id) => {
                if !self.nodes.iter().any(|node| node.id == *id) {
                    self.refresh(deadline).await?;
                }
                return Ok(Some(*id));
            }
            Destination::Controller => {
                if self.controller.is_none() {
                    self.refresh(deadline).await?;
                }
                // Without one any broker says so.
                return Ok(self.controller);
            }
            Destination::Group(group) => (group, 0),
            Destination::Transaction(id) => (id, 1),
        };
        if let Some(id) = self.coordinators.get(to) {
            return Ok(Some(*id));
        }
        let node = self.find_coordinator(key, key_type, deadline).await?;
        let id = node.id;
        self.nodes.retain(|known| known.id != id);
        self.nodes.push(node);
        self.coordinators.insert(to.clone(), id);
        Ok(Some(id))
    }

    async fn find_coordinator(&mut self, key: &str, key_type: i8, deadline: Deadline) -> Result<Node, ClientError> {
        let key = StrBytes::from_string(key.to_owned());
        let build = |version: i16| match version {
            0..=3 => FindCoordinatorRequest::default().with_key(key.clone()).with_key_type(key_type),
            _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![key.clone()]).with_key_type(key_type),
        };
        let response = self.ask_anyone(deadline, build).await?;
        if let Some(coordinator) = response.coordinators.first() {
            ClientError::answer(coordinator.error_code, coordinator.error_message.as_deref())?;
            let (id, host, port) = (coordinator.node_id.0, coordinator.host.to_string(), coordinator.port);
            return Ok(Node { id, host, port, rack: None });
        }
        ClientError::answer(response.error_code, response.error_message.as_deref())?;
        Ok(Node { id: response.node_id.0, host: response.host.to_string(), port: response.port, rack: None })
    }

    async fn refresh(&mut self, deadline: Deadline) -> Result<(), ClientError> {
        // Only the nodes: no topics.
        let response = self.ask_anyone(deadline, |version| metadata_request(Some(&[]), false, version)).await?;
        self.learn(&response.into());
        Ok(())
    }

    /// One try at any node: what lookups use.
    async fn ask_anyone<T: Request>(
        &mut self,
        deadline: Deadline,
        build: impl Fn(i16) -> T,
    ) -> Result<T::Response, ClientError> {
        let key = match self.connections.keys().next() {
            Some(key) => *key,
            None => {
                let connection = self.connect_to_bootstrap(deadline).await?;
                self.connections.insert(BOOTSTRAP, connection);
                BOOTSTRAP
            }
        };
        let timeout = self.config.request_timeout.min(deadline.remaining(&*self.clock));
        let Some(connection) = self.connections.get_mut(&key) else {
            return Err(ClientError::Disconnected("the connection is gone".to_owned()));
        };
        let result = connection.call(None, timeout, build).await;
        if result.as_ref().is_err_and(ClientError::is_of_connection) {
            self.connections.remove(&key);
        }
        result
    }

    /// To the first bootstrap address, or a known node, that takes it.
    async fn connect_to_bootstrap(&self, deadline: Deadline) -> Result<NodeConnection, ClientError> {
        let mut last = ClientError::Disconnected("there is no node to connect to".to_owned());
        let known = self.nodes.iter().filter_map(|node| Some((node.host.clone(), u16::try_from(node.port).ok()?)));
        for (index, (host, port)) in self.config.bootstrap.iter().cloned().chain(known).enumerate() {
            match self.connect(BOOTSTRAP, &host, port, deadline).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    let id = -1 - i64::try_from(index).unwrap_or_default();
                    self.warn(&format!(
                        "Connection to node {id} ({host}:{port}) could not be established. Node may not be available."
                    ));
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn connect_to_node(&mut self, id: i32, deadline: Deadline) -> Result<NodeConnection, ClientError> {
        let Some(node) = self.nodes.iter().find(|node| node.id == id) else {
            return Err(ClientError::Disconnected(format!("the cluster has no node {id}")));
        };
        let port = u16::try_from(node.port).unwrap_or_default();
        let connected = self.connect(id, &node.host, port, deadline).await;
        if connected.is_err() {
            self.warn(&format!(
                "Connection to node {id} ({}:{port}) could not be established. Node may not be available.",
                node.host
            ));
        }
        connected
    }

    async fn connect(&self, id: i32, host: &str, port: u16, deadline: Deadline) -> Result<NodeConnection, ClientError> {
        let timeout = CONNECTION_SETUP_TIMEOUT.min(deadline.remaining(&*self.clock));
        NodeConnection::open(id, host, port, &self.config.client_id, timeout, self.clock.clone()).await
    }

    fn warn(&self, text: &str) {
        tracing::warn!("[clientId={}] {text}", self.config.client_id);
    }
}

fn metadata_request(topics: Option<&[&str]>, allow_auto_creation: bool, version: i16) -> MetadataRequest {
    let topics = topics.map(|names| {
        let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(TopicName((*name).to_owned().into())));
        names.iter().map(topic).collect()
    });
    let mut request = MetadataRequest::default().with_topics(topics);
    // Before version 4 a broker does as it is configured.
    if version >= 4 {
        request.allow_auto_topic_creation = allow_auto_creation;
    }
    request
}

#[cfg(test)]
#[path = "cluster_client_tests.rs"]
mod tests;
