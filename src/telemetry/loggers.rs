//! Loggers by Kafka's names, and their levels, which can change while the broker runs.
//!
//! Contract: every log line has a logger: its target where it names one of Kafka's, or what [`CLASSES`] says of the module that
//! writes it. A level holds for a logger and for everything below its name, as in log4j: `kafka` is above `kafka.server.KafkaApis`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use parking_lot::RwLock;
use tracing::level_filters::LevelFilter;

/// The name of the logger above all others.
pub const ROOT_LOGGER: &str = "root";

/// The levels that Kafka's tools may set (`LogLevelConfig.VALID_LOG_LEVELS`).
pub const LOG_LEVELS: [&str; 6] = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];

/// Modules of Ottla and the class of Kafka that does their work; the longest that matches wins.
const CLASSES: &[(&str, &str)] = &[
    ("ottla", "kafka.Kafka$"),
    ("ottla::api", "kafka.server.KafkaApis"),
    ("ottla::broker", "kafka.server.BrokerServer"),
    ("ottla::broker::process", "kafka.server.KafkaRaftServer"),
    ("ottla::client", "org.apache.kafka.clients.NetworkClient"),
    ("ottla::config", "kafka.server.KafkaConfig"),
    ("ottla::coordinator::group", "org.apache.kafka.coordinator.group.GroupMetadataManager"),
    ("ottla::coordinator::group::coordinator", "org.apache.kafka.coordinator.group.GroupCoordinatorService"),
    ("ottla::coordinator::runtime", "org.apache.kafka.coordinator.common.runtime.CoordinatorRuntime"),
    ("ottla::coordinator::transaction", "kafka.coordinator.transaction.TransactionCoordinator"),
    ("ottla::coordinator::transaction::end", "kafka.coordinator.transaction.TransactionStateManager"),
    ("ottla::coordinator::transaction::markers", "kafka.coordinator.transaction.TransactionMarkerChannelManager"),
    ("ottla::coordinator::transaction::producer_ids", "org.apache.kafka.coordinator.transaction.RPCProducerIdManager"),
    ("ottla::coordinator::transaction::shard", "kafka.coordinator.transaction.TransactionStateManager"),
    ("ottla::metadata", "org.apache.kafka.controller.QuorumController"),
    ("ottla::quota", "kafka.network.ConnectionQuotas"),
    ("ottla::replica", "kafka.server.ReplicaManager"),
    ("ottla::replica::partition", "kafka.cluster.Partition"),
    ("ottla::server", "kafka.network.SocketServer"),
    ("ottla::server::connection", "kafka.network.Processor"),
    ("ottla::server::listener", "kafka.network.DataPlaneAcceptor"),
    ("ottla::storage", "org.apache.kafka.storage.internals.log.LogManager"),
    ("ottla::storage::cleaner", "org.apache.kafka.storage.internals.log.LogCleaner"),
    ("ottla::storage::log", "org.apache.kafka.storage.internals.log.UnifiedLog"),
    ("ottla::storage::log_manager", "org.apache.kafka.storage.internals.log.LogManager"),
    ("ottla::storage::producer_state", "org.apache.kafka.storage.internals.log.ProducerStateManager"),
    ("ottla::storage::recovery", "org.apache.kafka.storage.internals.log.LogLoader"),
];

/// Loggers that log lines name themselves, and what stands above all of a kind.
const NAMED: &[&str] = &[
    "kafka",
    "kafka.server.DynamicBrokerConfig",
    "kafka.server.KafkaServer",
    "org.apache.kafka",
    "org.apache.kafka.common.utils.LoggingSignalHandler",
    "org.apache.kafka.server.BrokerLifecycleManager",
];

/// The logger that a log line with this target belongs to.
pub fn logger_of(target: &str) -> Cow<'_, str> {
    let is_within =
        |module: &str| target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let class = CLASSES.iter().filter(|(module, _)| is_within(module)).max_by_key(|(module, _)| module.len());
    match class {
        Some((_, class)) => Cow::Borrowed(class),
        None if target.contains("::") => Cow::Owned(target.replace("::", ".")),
        None => Cow::Borrowed(target),
    }
}

/// The level of a name; `None` for what is none.
fn level(name: &str) -> Option<LevelFilter> {
    Some(match name.to_ascii_uppercase().as_str() {
        "OFF" => LevelFilter::OFF,
        "FATAL" | "ERROR" => LevelFilter::ERROR,
        "WARN" => LevelFilter::WARN,
        "INFO" => LevelFilter::INFO,
        "DEBUG" => LevelFilter::DEBUG,
        "TRACE" | "ALL" => LevelFilter::TRACE,
        _ => return None,
    })
}

fn level_name(level: LevelFilter) -> &'static str {
    match level.into_level() {
        None => "OFF",
        Some(level) => level.as_str(),
    }
}

#[derive(Debug)]
struct Levels {
    root: LevelFilter,
    by_logger: BTreeMap<String, LevelFilter>,
    /// From `RUST_LOG`; stronger.
    by_module: BTreeMap<String, LevelFilter>,
}

/// Which log lines are written.
#[derive(Debug)]
pub struct LogLevels(RwLock<Levels>);

impl Default for LogLevels {
    fn default() -> Self {
        Self(RwLock::new(Levels { root: LevelFilter::INFO, by_logger: BTreeMap::new(), by_module: BTreeMap::new() }))
    }
}

/// The levels of this process.
pub fn log_levels() -> &'static LogLevels {
    static LEVELS: LazyLock<LogLevels> = LazyLock::new(LogLevels::default);
    &LEVELS
}

impl LogLevels {
    /// Gives a logger a level, whether or not one of that name exists; nothing happens for what is no level.
    pub fn configure(&self, logger: &str, name: &str) {
        let Some(level) = level(name) else { return };
        let mut levels = self.0.write();
        match logger {
            ROOT_LOGGER | "" => levels.root = level,
            _ => {
                levels.by_logger.insert(logger.to_owned(), level);
            }
        }
        drop(levels);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Takes a logger's own level away: the one above it counts.
    pub fn unset(&self, logger: &str) {
        self.0.write().by_logger.remove(logger);
        tracing::callsite::rebuild_interest_cache();
    }

    /// What `RUST_LOG` says: levels of modules between commas, one without a module for all others. What cannot be read is left out.
    pub fn configure_modules(&self, directives: &str) {
        for directive in directives.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            match directive.split_once('=') {
                None => self.configure(ROOT_LOGGER, directive),
                Some((module, name)) => {
                    if let Some(level) = level(name.trim()) {
                        self.0.write().by_module.insert(module.trim().to_owned(), level);
                    }
                }
            }
        }
        tracing::callsite::rebuild_interest_cache();
    }

    /// Whether a logger of this name exists: a level can be set for it.
    pub fn exists(&self, logger: &str) -> bool {
        logger == ROOT_LOGGER
            || known_loggers().any(|known| known == logger)
            || self.0.read().by_logger.contains_key(logger)
    }

    /// Every logger with the level in force.
    pub fn loggers(&self) -> BTreeMap<String, &'static str> {
        let levels = self.0.read();
        let names = known_loggers().map(str::to_owned).chain(levels.by_logger.keys().cloned());
        let mut loggers: BTreeMap<String, &'static str> = names
            .map(|logger| {
                let level = level_name(levels.of_logger(&logger));
                (logger, level)
            })
            .collect();
        loggers.insert(ROOT_LOGGER.to_owned(), level_name(levels.root));
        loggers
    }

    /// The level in force for log lines with this target.
    pub(super) fn of_target(&self, target: &str) -> LevelFilter {
        let levels = self.0.read();
        let is_within =
            |module: &str| target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let module = levels.by_module.iter().filter(|(module, _)| is_within(module)).max_by_key(|(name, _)| name.len());
        module.map_or_else(|| levels.of_logger(&logger_of(target)), |(_, level)| *level)
    }

    /// The most that any logger writes.
    pub(super) fn most(&self) -> LevelFilter {
        let levels = self.0.read();
        let others = levels.by_logger.values().chain(levels.by_module.values());
        others.copied().chain([levels.root]).max().unwrap_or(LevelFilter::INFO)
    }
}

impl Levels {
    /// The level of the logger, or of the nearest above it that has one.
    fn of_logger(&self, logger: &str) -> LevelFilter {
        let mut name = logger;
        loop {
            if let Some(level) = self.by_logger.get(name) {
                return *level;
            }
            match name.rsplit_once('.') {
                Some((above, _)) => name = above,
                None => return self.root,
            }
        }
    }
}

fn known_loggers() -> impl Iterator<Item = &'static str> {
    CLASSES.iter().map(|(_, class)| *class).chain(NAMED.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_have_kafkas_names() {
        let cases = [
            ("ottla::storage::log::append", "org.apache.kafka.storage.internals.log.UnifiedLog"),
            ("ottla::storage::log_manager::load", "org.apache.kafka.storage.internals.log.LogManager"),
            ("ottla::storage::disk_full", "org.apache.kafka.storage.internals.log.LogManager"),
            ("ottla::coordinator::group::classic::leave", "org.apache.kafka.coordinator.group.GroupMetadataManager"),
            ("ottla::server::connection", "kafka.network.Processor"),
            ("kafka.server.KafkaRaftServer", "kafka.server.KafkaRaftServer"),
            ("hyper::server", "hyper.server"),
            ("ottla", "kafka.Kafka$"),
        ];
        for (target, logger) in cases {
            assert_eq!(logger_of(target), logger);
        }
    }

    #[test]
    fn levels_hold_for_what_is_below() {
        let levels = LogLevels::default();
        let of = |target: &str| level_name(levels.of_target(target));
        assert_eq!(of("ottla::api::metadata"), "INFO");
        levels.configure("kafka", "warn");
        levels.configure("kafka.server.KafkaApis", "TRACE");
        assert_eq!((of("ottla::api::metadata"), of("ottla::server"), of("ottla::storage")), ("TRACE", "WARN", "INFO"));
        assert_eq!(levels.most(), LevelFilter::TRACE);
        levels.configure(ROOT_LOGGER, "OFF");
        assert_eq!(of("ottla::storage"), "OFF");
        levels.unset("kafka.server.KafkaApis");
        assert_eq!(of("ottla::api::metadata"), "WARN");
        levels.configure("kafka", "nonsense");
        assert_eq!(of("ottla::api::metadata"), "WARN");
    }

    #[test]
    fn rust_log_is_read() {
        let levels = LogLevels::default();
        levels.configure_modules("warn, ottla::storage=debug,ottla::storage::log=error,x=y");
        let of = |target: &str| level_name(levels.of_target(target));
        assert_eq!(of("ottla::api"), "WARN");
        assert_eq!(of("ottla::storage::disk_full"), "DEBUG");
        assert_eq!(of("ottla::storage::log::append"), "ERROR");
        assert_eq!(of("ottla::storage::log_manager"), "DEBUG");
    }

    #[test]
    fn loggers_are_listed_with_their_levels() {
        let levels = LogLevels::default();
        levels.configure("org.example", "DEBUG");
        let loggers = levels.loggers();
        assert_eq!(loggers.get(ROOT_LOGGER), Some(&"INFO"));
        assert_eq!(loggers.get("org.example"), Some(&"DEBUG"));
        assert_eq!(loggers.get("kafka.server.KafkaApis"), Some(&"INFO"));
        assert!(levels.exists("org.example") && levels.exists(ROOT_LOGGER) && !levels.exists("nobody"));
    }

    /// A logger that log lines name must be one that can be given a level.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "reads the sources, not the broker's data")]
    fn every_target_is_a_known_logger() {
        let mut directories = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut seen = 0;
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).expect("src is readable") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                for after in text.split(concat!("target", ": \"")).skip(1) {
                    let target = after.split('"').next().unwrap_or_default();
                    assert!(known_loggers().any(|known| known == target), "{}: {target}", path.display());
                    seen += 1;
                }
            }
        }
        assert!(seen > 3, "no target found");
    }
}
