//! Listeners: where connections come from, and the loop that takes them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::connection::{Connection, Phase, Shared};
use super::error::ServerError;
use super::transport::Transport;
use crate::config::SecurityProtocol;
use crate::env::Spawn;
use crate::env::net::{Listener, Stream};
use crate::quota::{ConnectionPermit, ConnectionQuotas};
use crate::telemetry::ListenerTraffic;

/// First wait after an accept that failed; doubled up to `MAX_ACCEPT_BACKOFF` while it keeps failing.
const MIN_ACCEPT_BACKOFF: Duration = Duration::from_millis(10);
/// Longest wait after an accept that failed.
const MAX_ACCEPT_BACKOFF: Duration = Duration::from_secs(1);

/// One entry of `listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerOptions {
    /// Name, such as `PLAINTEXT` or `INTERNAL`.
    pub name: String,
    /// From `listener.security.protocol.map`.
    pub protocol: SecurityProtocol,
    /// Where to listen; port 0 picks a free one.
    pub address: SocketAddr,
}

/// A listener whose port is taken already and that accepts nothing yet.
pub struct BoundListener {
    name: Arc<str>,
    address: SocketAddr,
    listener: Listener,
}

impl BoundListener {
    /// Takes the port.
    pub fn bind(options: &ListenerOptions, backlog: u32) -> Result<Self, ServerError> {
        if options.protocol != SecurityProtocol::Plaintext {
            let protocol = options.protocol.name();
            return Err(ServerError::UnsupportedProtocol { listener: options.name.clone(), protocol });
        }
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => {
                ServerError::AddressInUse { listener: options.name.clone(), address: options.address }
            }
            _ => ServerError::Bind { listener: options.name.clone(), address: options.address, source },
        };
        let listener = Listener::bind(options.address, backlog).map_err(failed)?;
        let address = listener.local_address().map_err(failed)?;
        Ok(Self { name: options.name.as_str().into(), address, listener })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address listened on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What the acceptors of a server share.
pub(super) struct Acceptors {
    pub(super) shared: Arc<Shared>,
    pub(super) quotas: Arc<ConnectionQuotas>,
    pub(super) spawn: Arc<dyn Spawn>,
    pub(super) next_connection_id: AtomicU64,
    /// Send and receive buffer sizes of connections, in bytes.
    pub(super) buffer_sizes: (Option<usize>, Option<usize>),
}

/// Kept by every task of a server; the server has ended when the last one is dropped.
pub(super) type AliveGuard = mpsc::Sender<()>;

impl Acceptors {
    /// Accepts until the server stops.
    pub(super) async fn run(self: Arc<Self>, mut bound: BoundListener, alive: AliveGuard) {
        let mut phase = self.shared.phase.clone();
        let mut backoff = MIN_ACCEPT_BACKOFF;
        let traffic = self.shared.metrics.listeners.of(&bound.name, bound.address.port());
        loop {
            let accepted = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase > Phase::Running) => return,
                accepted = bound.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    backoff = MIN_ACCEPT_BACKOFF;
                    tokio::select! {
                        biased;
                        _ = phase.wait_for(|phase| *phase > Phase::Running) => return,
                        () = self.admit(&bound.name, &traffic, stream, peer, &alive) => {}
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.shared.metrics.accept_errors_total.increment();
                    if backoff == MIN_ACCEPT_BACKOFF {
                        tracing::error!("Error while accepting connections on listener {}: {error}", bound.name);
                    }
                    // Out of descriptors, most likely: trying again at once would only burn a core.
                    let until = self.shared.clock.monotonic() + backoff;
                    tokio::select! {
                        biased;
                        _ = phase.wait_for(|phase| *phase > Phase::Running) => return,
                        () = self.shared.clock.sleep_until(until) => {}
                    }
                    backoff = (backoff * 2).min(MAX_ACCEPT_BACKOFF);
                }
            }
        }
    }

    /// Starts the connection's task once there is a place for it.
    async fn admit(
        self: &Arc<Self>,
        name: &Arc<str>,
        traffic: &Arc<ListenerTraffic>,
        stream: Stream,
        peer: SocketAddr,
        alive: &AliveGuard,
    ) {
        // As in Kafka, nobody is accepted while there is no place.
        match self.quotas.place(peer.ip()).await {
            Some(permit) => self.start(name, traffic, stream, peer, (permit, alive.clone())),
            None => {
                self.shared.metrics.connections_refused_total.increment();
                tracing::info!("Rejected connection from {} on listener {name}: too many from there", peer.ip());
            }
        }
    }

    fn start(
        &self,
        name: &Arc<str>,
        traffic: &Arc<ListenerTraffic>,
        stream: Stream,
        peer: SocketAddr,
        guards: (ConnectionPermit, AliveGuard),
    ) {
        let (send, receive) = self.buffer_sizes;
        let id = self.next_connection_id.fetch_add(1, Ordering::Relaxed);
        let (shared, name, traffic) = (Arc::clone(&self.shared), Arc::clone(name), Arc::clone(traffic));
        let metrics = &self.shared.metrics;
        metrics.connections_accepted_total.increment();
        metrics.connections_active.add(1);
        traffic.accepted.increment();
        if let Err(error) = stream.set_buffer_sizes(send, receive) {
            tracing::debug!("Cannot set the socket's buffer sizes: {error}");
        }
        let task = async move {
            let metrics = Arc::clone(&shared.metrics);
            // On the heap: a future keeps what it is given beside what it makes of it.
            Box::new(Connection::new(shared, Transport::Plaintext(stream), name, peer, id)).run().await;
            metrics.connections_active.add(-1);
            traffic.closed.increment();
            drop(guards);
        };
        self.spawn.spawn("connection", Box::pin(task));
    }
}

/// Whether only the connection being accepted failed.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
