//! The composition root: builds every room, starts and stops them in order. Only it knows everyone.
//!
//! Contract:
//! - Start: log directories (locked, recovered) → ports taken → controller (metadata read, this broker registered) →
//!   partitions and coordinators, which follow the metadata → declared topics and their seeds → connections accepted. A connection made
//!   early waits in the listen queue and finds everything there.
//! - A start that fails closes what it opened: log directories that had the marker of a clean stop have it again.
//! - A log directory that fails takes its partitions along; the last one, or the metadata's, ends the process.
//! - Health and metrics answer from before the log directories are opened until after they are closed.
//! - Stop: coordinators → connections drained → controller → logs, with the marker of a clean stop. Each step needs only
//!   what is stopped after it.
//! - What a user can do wrong becomes one `BrokerError` whose text says what to do.

mod configuration;
mod declared;
mod error;
mod process;
mod published_ports;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::Services;
use crate::config::{BrokerConfig, Declarations, StartOptions};
use crate::coordinator::transaction::{ControllerProducerIds, LocalMarkers};
use crate::coordinator::{
    GroupCoordinator, GroupCoordinatorConfig, GroupMetadataPublisher, TransactionConfig, TransactionCoordinator,
    TransactionMetadataPublisher,
};
use crate::env::{Env, open_files_limit};
use crate::metadata::{
    BrokerRegistrationData, Controller, Endpoint, MetadataError, StorageMetadataLog, supported_features,
};
use crate::replica::ReplicaManager;
use crate::server::console::Console;
use crate::server::{BoundListener, RegistryDispatch, Server};
use crate::storage::LogManager;
use crate::telemetry::Metrics;
use crate::types::CLUSTER_METADATA_TOPIC_NAME;
use configuration::{DynamicConfiguration, DynamicConnectionLimits, FileShares};
use declared::Declarer;

pub use error::BrokerError;
pub use process::run;

/// How long requests that have begun may take when the broker stops.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A running broker.
pub struct Broker {
    config: Arc<BrokerConfig>,
    metrics: Arc<Metrics>,
    broker_epoch: i64,
    logs: Arc<LogManager>,
    controller: Arc<Controller>,
    coordinators: Coordinators,
    server: Server,
    pub(crate) console: Console,
    services: Arc<Services>,
    failure: watch::Receiver<Option<String>>,
}

impl Broker {
    /// Starts a broker on the current tokio runtime; when it returns, clients are served.
    ///
    /// # Errors
    /// Whatever keeps it from serving: a port in use, a data directory that is not its own, a value that cannot be.
    pub async fn start(options: StartOptions) -> Result<Self, BrokerError> {
        let handle = tokio::runtime::Handle::current();
        let env = if options.ephemeral { Env::ephemeral(handle) } else { Env::real(handle) };
        Self::start_in(env, options).await
    }

    /// As [`Broker::start`], in a given world.
    pub async fn start_in(env: Env, options: StartOptions) -> Result<Self, BrokerError> {
        let config = Arc::new(options.config);
        let metrics = Arc::new(Metrics::default());
        env.memory.set_process_bytes(configuration::memory_bytes(&config));
        let console = Console::start(&env, configuration::console_listeners(&config)?);
        let files = FileShares::new(open_files_limit(), config.log_dirs().len());
        let mut log_options =
            configuration::log_manager_options(&config, options.cluster_id, files, &metrics, &env.memory);
        log_options.inspection = Some(configuration::inspection(&env, &config));
        let logs = LogManager::open(env.clone(), log_options)?;
        let failure = watch_directories(&logs);
        let started = bind(&config).and_then(|listeners| {
            let controller = open_controller(&env, &config, &logs)?;
            let started = Self::start_rooms(&env, &config, &options.declared, &logs, &controller, listeners, files);
            if started.is_err() {
                // The first error is the one to tell.
                let _ = controller.shutdown();
            }
            started.map(|(broker_epoch, coordinators, server, services)| {
                let (config, logs, metrics) = (config.clone(), logs.clone(), services.metrics.clone());
                console.ready(Arc::clone(&services));
                published_ports::find_out(&services, server.addresses());
                Self {
                    config,
                    metrics,
                    broker_epoch,
                    logs,
                    controller,
                    coordinators,
                    server,
                    console,
                    services,
                    failure,
                }
            })
        });
        if started.is_err()
            && let Err(error) = logs.abandon()
        {
            tracing::error!("closing the logs after a start that failed: {error}");
        }
        started
    }

    /// Everything between the metadata and the connections.
    fn start_rooms(
        env: &Env,
        config: &Arc<BrokerConfig>,
        declared: &Declarations,
        logs: &Arc<LogManager>,
        controller: &Arc<Controller>,
        listeners: Vec<BoundListener>,
        files: FileShares,
    ) -> Result<(i64, Coordinators, Server, Arc<Services>), BrokerError> {
        let metrics = Arc::clone(logs.metrics());
        let broker_epoch = register(env, config, logs, controller, &listeners)?;
        controller.subscribe(DynamicConfiguration::new(Arc::clone(config)));
        let replicas = ReplicaManager::new(config.node_id(), Arc::clone(logs), Arc::clone(config));
        let coordinators = Coordinators::start(env, config, controller, &replicas);
        controller.subscribe(replicas.clone());
        Declarer { env, config, controller, replicas: &replicas }.declare(declared)?;
        logs.start();
        controller.start_snapshots();
        let services = Arc::new(Services {
            env: env.clone(),
            advertised: configuration::advertised_listeners(config, env),
            config: Arc::clone(config),
            metrics: Arc::clone(&metrics),
            controller: Arc::clone(controller),
            fetch_sessions: configuration::fetch_sessions(config, &env.memory),
            replicas,
            groups: Arc::clone(&coordinators.groups),
            transactions: Arc::clone(&coordinators.transactions),
        });
        let dispatch = Arc::new(RegistryDispatch(Arc::clone(&services)));
        let server_options = configuration::server_options(config, files, &env.memory);
        let server = Server::start(env, &server_options, listeners, dispatch, metrics);
        let quotas = Arc::clone(server.connection_quotas());
        controller.subscribe(Arc::new(DynamicConnectionLimits { config: Arc::clone(config), files, quotas }));
        Ok((broker_epoch, coordinators, server, services))
    }

    /// Waits until the broker cannot go on: no log directory is left, or the metadata's has failed. Gives the reason; the process
    /// ends at once then, since nothing can be made durable any more.
    pub async fn failed(&self) -> BrokerError {
        let mut failure = self.failure.clone();
        let reason = match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The log manager is gone, which this broker holds.
            Err(_) => std::future::pending().await,
        };
        BrokerError::LogDirectories(reason)
    }

    /// Names and addresses of the listeners, with the real ports.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        self.server.addresses()
    }

    /// The address of the first listener.
    pub fn address(&self) -> SocketAddr {
        self.server.addresses()[0].1
    }

    /// Where health, metrics and status are served.
    pub fn console_addresses(&self) -> &[SocketAddr] {
        self.console.addresses()
    }

    /// The configuration in force.
    pub fn config(&self) -> &Arc<BrokerConfig> {
        &self.config
    }

    /// Counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What handlers work with: benchmarks call them without a socket.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        self.logs.cluster_id()
    }

    /// Answers what has begun, then stops in order; the next start need not recover.
    pub async fn shutdown(self) -> Result<(), BrokerError> {
        self.console.stopping();
        // First, so that members who wait for a rebalance are told and nothing is drained for their sake.
        self.coordinators.groups.shutdown();
        self.server.shutdown(DRAIN_TIME).await;
        self.coordinators.transactions.shutdown();
        let metadata = self.controller.shutdown();
        let logs = self.logs.shutdown(self.broker_epoch);
        // Last, so that who asks is told of the stop as long as it takes.
        self.console.shutdown().await;
        logs?;
        Ok(metadata?)
    }
}

/// Who keeps groups and transactions.
struct Coordinators {
    groups: Arc<GroupCoordinator>,
    transactions: Arc<TransactionCoordinator>,
}

impl Coordinators {
    /// They follow the metadata from here on, before the partitions do, which tell them what they lead.
    fn start(
        env: &Env,
        config: &Arc<BrokerConfig>,
        controller: &Arc<Controller>,
        replicas: &Arc<ReplicaManager>,
    ) -> Self {
        let groups = GroupCoordinator::new(env.clone(), GroupCoordinatorConfig::from_broker(config));
        controller.subscribe(Arc::new(GroupMetadataPublisher(Arc::clone(&groups))));
        replicas.add_listener(groups.clone());
        let producer_ids = Arc::new(ControllerProducerIds::new(Arc::clone(controller), config.node_id()));
        let markers = LocalMarkers::new(env.clone(), replicas, Arc::clone(&groups));
        let transactions =
            TransactionCoordinator::new(env.clone(), TransactionConfig::from_broker(config), producer_ids, markers);
        controller.subscribe(Arc::new(TransactionMetadataPublisher(Arc::clone(&transactions))));
        replicas.add_listener(transactions.clone());
        Self { groups, transactions }
    }
}

/// Hears of log directories that fail.
fn watch_directories(logs: &Arc<LogManager>) -> watch::Receiver<Option<String>> {
    let (sender, receiver) = watch::channel(None);
    let sender = Arc::new(sender);
    for directory in logs.directories() {
        let (sender, logs) = (sender.clone(), Arc::downgrade(logs));
        directory.on_failure(Arc::new(move |_| {
            if let Some(reason) = logs.upgrade().and_then(|logs| logs.fatal_failure()) {
                sender.send_replace(Some(reason));
            }
        }));
    }
    receiver
}

fn bind(config: &BrokerConfig) -> Result<Vec<BoundListener>, BrokerError> {
    let backlog = configuration::backlog(config);
    let mut bound = Vec::new();
    for options in configuration::listener_options(config)? {
        bound.push(BoundListener::bind(&options, backlog)?);
    }
    Ok(bound)
}

/// Registers this process and lets it lead its partitions; its epoch.
fn register(
    env: &Env,
    config: &BrokerConfig,
    logs: &LogManager,
    controller: &Controller,
    listeners: &[BoundListener],
) -> Result<i64, BrokerError> {
    let advertised = configuration::advertised_listeners(config, env);
    let endpoint = |bound: &BoundListener, security_protocol: i16| {
        let address = configuration::reachable(bound.address());
        let endpoint = advertised.endpoint(bound.name(), address, address);
        Endpoint {
            listener: bound.name().into(),
            host: endpoint.host.as_str().into(),
            port: endpoint.port,
            security_protocol,
        }
    };
    let protocols = config.listeners().iter().map(|listener| listener.protocol.id());
    let registration = BrokerRegistrationData {
        broker_id: config.node_id(),
        incarnation_id: env.random.uuid(),
        endpoints: listeners.iter().zip(protocols).map(|(bound, protocol)| endpoint(bound, protocol)).collect(),
        features: supported_features(),
        rack: config.broker_rack(),
        directories: (logs.directories().filter(|directory| !directory.is_offline()))
            .map(|directory| directory.id())
            .collect(),
    };
    let refused = |error: crate::metadata::ApiError| {
        BrokerError::Registration(error.message.unwrap_or_else(|| error.error.to_string()))
    };
    let epoch = controller.register_broker(&registration)?.map_err(refused)?;
    controller.unfence_broker(config.node_id(), epoch)?.map_err(refused)?;
    Ok(epoch)
}

/// Reads the metadata.
fn open_controller(env: &Env, config: &Arc<BrokerConfig>, logs: &LogManager) -> Result<Arc<Controller>, BrokerError> {
    let log = logs.metadata_log_options(Arc::new(StorageMetadataLog::config())).ok_or(MetadataError::Offline)?;
    let directory = log.directory.path().join(format!("{CLUSTER_METADATA_TOPIC_NAME}-0"));
    let options = configuration::controller_options(config, directory);
    let log = Box::new(StorageMetadataLog::open(log, Arc::clone(&env.clock))?);
    Ok(Controller::open(env.clone(), options, log, Arc::clone(config))?)
}

#[cfg(test)]
#[path = "broker/broker_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "broker/console_consumer_tests.rs"]
mod console_consumer_tests;
