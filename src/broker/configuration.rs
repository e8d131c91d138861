//! From the configuration to the options of each room, and from the metadata back into the configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};

use super::error::BrokerError;
use crate::api::fetch::FetchSessionCache;
use crate::api::{AdvertisedListeners, Endpoint};
use crate::config::{BrokerConfig, DeclaredTopic, HttpListener};
use crate::env::net::Listener;
use crate::env::{Env, MemoryBudget, container_gateway, default_memory_budget, host_name};
use crate::metadata::{
    self, ConfigResourceType, ControllerOptions, MetadataDelta, MetadataImage, MetadataPublisher, SnapshotOptions,
    SnapshotRetention,
};
use crate::quota::{ConnectionLimits, ConnectionQuotas};
use crate::server::{ListenerOptions, ServerOptions};
use crate::storage::{CleanerConfig, FlushLimits, Inspection, LogManagerOptions, ProducerStateConfig};
use crate::telemetry::Metrics;
use crate::wire::{FrameLimits, str_bytes};

/// How the files that may be open are shared out: a crowd of connections must not keep a log from its segments, which
/// would look like a broken disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileShares {
    /// Connections that may be open.
    pub(super) connections: usize,
    /// Files that the logs of one directory may keep open.
    pub(super) logs_of_directory: usize,
}

impl FileShares {
    /// Shares out `limit` files; the logs get up to half.
    pub(super) fn new(limit: Option<u64>, directories: usize) -> Self {
        let directories = directories.max(1);
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else {
            return Self { connections: usize::MAX, logs_of_directory: MAX_FILES_OF_DIRECTORY };
        };
        let logs_of_directory = (limit / 2 / directories).clamp(1, MAX_FILES_OF_DIRECTORY);
        // Recovery, checkpoints, listeners and the runtime open a few for themselves.
        let others = (limit / 8).min(256);
        let connections = limit.saturating_sub(logs_of_directory * directories + others).max(1);
        Self { connections, logs_of_directory }
    }
}

/// Files that the logs of one directory keep open where there is no shortage.
const MAX_FILES_OF_DIRECTORY: usize = 4096;

/// What a partition of a fetch session takes, measured with 400 sessions of 5,000 partitions.
const FETCH_SESSION_PARTITION_BYTES: usize = 224;

/// Options of the logs.
pub(super) fn log_manager_options(
    config: &Arc<BrokerConfig>,
    cluster_id: Option<String>,
    files: FileShares,
    metrics: &Arc<Metrics>,
    memory: &MemoryBudget,
) -> LogManagerOptions {
    let check = |milliseconds: i64| if milliseconds > 0 { milliseconds } else { i64::MAX };
    let (source, producers) = (Arc::clone(config), Arc::clone(config));
    let map_bytes = memory.cache_limit() / 2;
    LogManagerOptions {
        cleaner: Arc::new(move || cleaner_config(&source, map_bytes)),
        metrics: Arc::clone(metrics),
        cluster_id,
        max_open_files: files.logs_of_directory,
        recovery_threads: usize::try_from(config.num_recovery_threads_per_data_dir()).unwrap_or(1).max(1),
        initial_task_delay_ms: config.log_initial_task_delay_ms(),
        retention_check_interval_ms: check(config.log_retention_check_interval_ms()),
        flush_scheduler_interval_ms: check(config.log_flush_scheduler_interval_ms()),
        flush_offset_checkpoint_interval_ms: check(config.log_flush_offset_checkpoint_interval_ms().into()),
        high_watermark_checkpoint_interval_ms: check(config.replica_high_watermark_checkpoint_interval_ms()),
        producer_state: Arc::new(move || producer_state_config(&producers)),
        producer_id_expiration_check_interval_ms: check(config.producer_id_expiration_check_interval_ms().into()),
        flush_limits: FlushLimits {
            max_unflushed_bytes: u64::try_from(config.ottla_flush_max_unflushed_bytes()).unwrap_or(u64::MAX),
            max_unflushed_ms: config.ottla_flush_max_unflushed_ms(),
        },
        ballast_bytes: u64::try_from(config.ottla_ballast_bytes()).unwrap_or(0),
        scrub_interval_ms: config.ottla_scrub_interval_ms(),
        scrub_max_bytes_per_second: u64::try_from(config.ottla_scrub_max_bytes_per_second()).unwrap_or(0),
        ..LogManagerOptions::new(config.log_dirs(), config.node_id())
    }
}

/// How producers are kept, as it is now.
pub(super) fn producer_state_config(config: &BrokerConfig) -> ProducerStateConfig {
    ProducerStateConfig {
        expiration_ms: config.producer_id_expiration_ms().into(),
        transaction_verification: config.transaction_partition_verification_enable(),
        max_transaction_timeout_ms: config.transaction_max_timeout_ms().into(),
    }
}

/// Settings of the cleaner, as they are now; its memory of keys is at most `map_bytes`.
pub(super) fn cleaner_config(config: &BrokerConfig, map_bytes: usize) -> CleanerConfig {
    let size = |bytes: i64| usize::try_from(bytes).unwrap_or(0);
    CleanerConfig {
        enabled: config.log_cleaner_enable(),
        threads: size(config.log_cleaner_threads().into()),
        dedupe_buffer_bytes: size(config.log_cleaner_dedupe_buffer_size()).min(map_bytes),
        io_buffer_bytes: size(config.log_cleaner_io_buffer_size().into()),
        load_factor: config.log_cleaner_io_buffer_load_factor(),
        max_bytes_per_second: config.log_cleaner_io_max_bytes_per_second(),
        backoff_ms: config.log_cleaner_backoff_ms(),
    }
}

/// What is looked at before a data directory is opened.
pub(super) fn inspection(env: &Env, config: &BrokerConfig) -> Inspection {
    let (disk, node_id) = (Arc::clone(&env.disk), config.node_id());
    let first = config.log_dirs().into_iter().next().unwrap_or_default();
    Arc::new(move |directories| {
        if metadata::inspect(&*disk, &first, directories, node_id)?.was_kafkas {
            tracing::info!("Apache Kafka was the last to run in {}", first.display());
        }
        Ok(())
    })
}

/// Options of the controller.
pub(super) fn controller_options(config: &BrokerConfig, directory: PathBuf) -> ControllerOptions {
    let snapshots = SnapshotOptions {
        bytes: u64::try_from(config.metadata_log_max_record_bytes_between_snapshots()).unwrap_or(u64::MAX),
        interval_millis: config.metadata_log_max_snapshot_interval_ms(),
        retention: SnapshotRetention {
            bytes: config.metadata_max_retention_bytes(),
            milliseconds: config.metadata_max_retention_ms(),
        },
    };
    ControllerOptions { snapshots, ..ControllerOptions::new(config.node_id(), directory) }
}

/// `socket.listen.backlog.size`; the kernel caps it.
pub(super) fn backlog(config: &BrokerConfig) -> u32 {
    u32::try_from(config.socket_listen_backlog_size()).unwrap_or(1)
}

/// Where to listen. A name is resolved; an empty one means every address.
pub(super) fn listener_options(config: &BrokerConfig) -> Result<Vec<ListenerOptions>, BrokerError> {
    let mut options = Vec::new();
    for listener in config.listeners() {
        let failed =
            |reason: String| BrokerError::Host { listener: listener.name.clone(), host: listener.host.clone(), reason };
        let address = if listener.host.is_empty() {
            every_address(listener.port)
        } else {
            let mut addresses =
                (listener.host.as_str(), listener.port).to_socket_addrs().map_err(|error| failed(error.to_string()))?;
            addresses.next().ok_or_else(|| failed("the name is known but has none".to_owned()))?
        };
        options.push(ListenerOptions { name: listener.name.clone(), protocol: listener.protocol, address });
    }
    Ok(options)
}

/// The ports of health and metrics. Where the default's is taken the broker does without: another one may run beside it.
pub(super) fn console_listeners(config: &BrokerConfig) -> Result<Vec<Listener>, BrokerError> {
    let mut bound = Vec::new();
    for HttpListener { host, port } in config.http_listeners() {
        let failed = |error: &dyn std::fmt::Display| BrokerError::Http {
            address: format!("http://{host}:{port}"),
            reason: error.to_string(),
        };
        let address = match host.as_str() {
            "" => Some(every_address(port)),
            name => (name, port).to_socket_addrs().map_err(|error| failed(&error))?.next(),
        };
        let address = address.ok_or_else(|| failed(&"the name is known but has no address"))?;
        match Listener::bind(address, CONSOLE_BACKLOG) {
            Ok(listener) => bound.push(listener),
            Err(error) if config.http_listeners_are_set() => return Err(failed(&error)),
            Err(error) => tracing::warn!(
                "No health and metrics over HTTP: cannot listen on {address}: {error}. Choose another port with \
                 ottla.http.listeners=http://127.0.0.1:PORT, or none with ottla.http.listeners="
            ),
        }
    }
    Ok(bound)
}

/// HTTP connections that wait to be accepted.
const CONSOLE_BACKLOG: u32 = 64;

/// Both families where the system has IPv6, as Java does.
fn every_address(port: u16) -> SocketAddr {
    let both = SocketAddr::from(([0_u16; 8], port));
    let probe = SocketAddr::from(([0_u16; 8], 0));
    match crate::env::net::Listener::bind(probe, 1) {
        Ok(_) => both,
        Err(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
    }
}

/// `advertised.listeners` and `ottla.advertised.listeners`.
pub(super) fn advertised_listeners(config: &BrokerConfig, env: &Env) -> AdvertisedListeners {
    let explicit = config
        .advertised_listeners()
        .iter()
        .map(|listener| (listener.name.clone(), Endpoint { host: listener.host.clone(), port: listener.port }));
    let mut advertised = AdvertisedListeners::new(explicit, container_gateway(), env.random.uuid().to_string());
    let by_name = config.ottla_advertised_listeners() == "hostname";
    for listener in config.listeners() {
        let host = || if listener.host.is_empty() { host_name() } else { listener.host.clone() };
        advertised.add_listener(&listener.name, by_name.then(host));
    }
    advertised
}

/// The address that this machine reaches itself by: what a broker that listens everywhere is registered with.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        _ => address,
    }
}

/// The cache of fetch sessions: `max.incremental.fetch.session.cache.slots`, and what the memory has room for.
pub(super) fn fetch_sessions(config: &BrokerConfig, memory: &MemoryBudget) -> FetchSessionCache {
    let slots = usize::try_from(config.max_incremental_fetch_session_cache_slots()).unwrap_or(0);
    FetchSessionCache::new(slots, memory.cache_limit() / 2 / FETCH_SESSION_PARTITION_BYTES)
}

/// The request that creates declared topics.
pub(super) fn create_topics_request(topics: &[DeclaredTopic]) -> CreateTopicsRequest {
    let config = |(name, value): (&String, &String)| {
        CreatableTopicConfig::default().with_name(str_bytes(name)).with_value(Some(str_bytes(value)))
    };
    let topic = |topic: &DeclaredTopic| {
        CreatableTopic::default()
            .with_name(str_bytes(&topic.name).into())
            .with_num_partitions(topic.partitions.unwrap_or(-1))
            .with_replication_factor(-1)
            .with_configs(topic.configs.iter().map(config).collect())
    };
    CreateTopicsRequest::default().with_topics(topics.iter().map(topic).collect())
}

/// The budget of memory in bytes.
pub(super) fn memory_bytes(config: &BrokerConfig) -> usize {
    usize::try_from(config.memory_bytes().unwrap_or_else(default_memory_budget)).unwrap_or(usize::MAX)
}

/// Bytes of requests together. One of the longest may come on top of it, so that it finishes when all stand still, and the
/// copy that its buffer's growth makes.
fn request_memory(config: &BrokerConfig, memory: &MemoryBudget) -> usize {
    let configured = config.request_memory_bytes().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
    let longest = usize::try_from(config.socket_request_max_bytes()).unwrap_or(0);
    let limit = memory.limit();
    configured.min(limit - longest.saturating_mul(2).min(limit / 4 * 3))
}

/// Options of the server.
pub(super) fn server_options(config: &BrokerConfig, files: FileShares, memory: &MemoryBudget) -> ServerOptions {
    let defaults = ServerOptions::default();
    let size = |bytes: i32| usize::try_from(bytes).ok();
    let count = |number: i32| usize::try_from(number).unwrap_or(0);
    let mut frame_limits = defaults.frame_limits;
    frame_limits.lengths = FrameLimits::with_request_max(count(config.socket_request_max_bytes()));
    ServerOptions {
        frame_limits,
        frame_memory: request_memory(config, memory),
        connection_limits: connection_limits(config, files),
        max_idle: match u64::try_from(config.connections_max_idle_ms()) {
            Ok(milliseconds) => Duration::from_millis(milliseconds),
            Err(_) => FOREVER,
        },
        backlog: backlog(config),
        send_buffer: size(config.socket_send_buffer_bytes()),
        receive_buffer: size(config.socket_receive_buffer_bytes()),
        ..defaults
    }
}

/// How many connections there may be now.
pub(super) fn connection_limits(config: &BrokerConfig, files: FileShares) -> ConnectionLimits {
    let count = |number: i32| usize::try_from(number).unwrap_or(0);
    let overrides = config.max_connections_per_ip_overrides().into_iter();
    ConnectionLimits {
        total: count(config.max_connections()).min(files.connections),
        per_address: count(config.max_connections_per_ip()),
        overrides: overrides.map(|(address, number)| (address, count(number))).collect(),
    }
}

/// Longer than any connection lives.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Brings the dynamic configurations of the metadata into the configuration in force (`DynamicBrokerConfig`).
pub(super) struct DynamicConfiguration {
    config: Arc<BrokerConfig>,
}

impl DynamicConfiguration {
    pub(super) fn new(config: Arc<BrokerConfig>) -> Arc<Self> {
        Arc::new(Self { config })
    }
}

impl MetadataPublisher for DynamicConfiguration {
    fn on_metadata_update(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        if !changes_broker(delta) {
            return;
        }
        let layer = |name: &str| image.configs.resource(ConfigResourceType::Broker, name).as_ref().clone();
        for ignored in self.config.update_dynamic(layer(""), layer(&self.config.node_id().to_string())) {
            tracing::warn!(target: "kafka.server.DynamicBrokerConfig", "{ignored}");
        }
    }
}

fn changes_broker(delta: &MetadataDelta) -> bool {
    delta.changed_configs().iter().any(|resource| resource.kind == ConfigResourceType::Broker)
}

/// Brings changed limits to the server; it follows the metadata behind [`DynamicConfiguration`].
pub(super) struct DynamicConnectionLimits {
    pub(super) config: Arc<BrokerConfig>,
    pub(super) files: FileShares,
    pub(super) quotas: Arc<ConnectionQuotas>,
}

impl MetadataPublisher for DynamicConnectionLimits {
    fn on_metadata_update(&self, delta: &MetadataDelta, _image: &Arc<MetadataImage>) {
        if changes_broker(delta) {
            self.quotas.set_limits(connection_limits(&self.config, self.files));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_shared_out() {
        let shares = |limit, directories| {
            let FileShares { connections, logs_of_directory } = FileShares::new(limit, directories);
            (connections, logs_of_directory)
        };
        assert_eq!(shares(None, 1), (usize::MAX, 4096));
        assert_eq!(shares(Some(1_048_576), 1), (1_048_576 - 4096 - 256, 4096));
        assert_eq!(shares(Some(1024), 1), (384, 512));
        assert_eq!(shares(Some(1024), 2), (384, 256));
        assert_eq!(shares(Some(10), 30), (1, 1));
    }
}
