//! What can go wrong before a connection exists.

use std::io;
use std::net::SocketAddr;

/// Errors of the server room.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another process listens there.
    #[error(
        "listener {listener}: {address} is already in use: stop the process that holds the port, or choose another \
         with --override listeners={listener}://:PORT"
    )]
    AddressInUse {
        /// Name of the listener.
        listener: String,
        /// Where it should listen.
        address: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("listener {listener}: cannot listen on {address}: {source}")]
    Bind {
        /// Name of the listener.
        listener: String,
        /// Where it should listen.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// The protocol is known but not served yet.
    #[error("listener {listener}: security protocol {protocol} is not supported yet: use PLAINTEXT")]
    UnsupportedProtocol {
        /// Name of the listener.
        listener: String,
        /// Kafka's name of the protocol.
        protocol: &'static str,
    },
}
