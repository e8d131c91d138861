//! Why a broker does not start or does not stop in order.

use crate::config::ConfigError;
use crate::metadata::MetadataError;
use crate::server::ServerError;
use crate::storage::StorageError;

/// Errors of the composition root; each text is meant for the person who started the broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A value that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A data directory that cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The metadata cannot be read or written.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A port that cannot be listened on.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A host name in `listeners` has no address.
    #[error("listener {listener}: {host} has no address here: {reason}")]
    Host {
        /// Name of the listener.
        listener: String,
        /// As configured.
        host: String,
        /// The resolver's words.
        reason: String,
    },
    /// A port for health and metrics that cannot be listened on.
    #[error(
        "ottla.http.listeners: cannot listen on {address}: {reason}: choose another address, or none with ottla.http.listeners="
    )]
    Http {
        /// As configured.
        address: String,
        /// The system's words.
        reason: String,
    },
    /// The controller refuses this broker.
    #[error("cannot register this broker: {0}")]
    Registration(String),
    /// A declared topic cannot be created.
    #[error("cannot create topic {name}: {reason}")]
    Topic {
        /// Its name.
        name: String,
        /// The controller's words.
        reason: String,
    },
    /// A seed record cannot be written.
    #[error("{place}: this record, or one that is written with it, cannot be written: {reason}")]
    Seed {
        /// File and line.
        place: String,
        /// The log's words.
        reason: String,
    },
    /// There is no log directory left to serve from.
    #[error("{0}")]
    LogDirectories(String),
    /// The runtime or the signal handlers cannot be set up.
    #[error("cannot start: {0}")]
    Process(#[from] std::io::Error),
}
