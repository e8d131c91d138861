//! What operators ask over HTTP, on ports of its own (`ottla.http.listeners`): health, metrics, status.
//!
//! Contract:
//! - `GET /health/live`: the process answers. `GET /health/ready`: clients are served, from the moment they are until the stop
//!   begins. `GET /metrics`: every row of `families.rs` and of `telemetry::Metrics`. `GET /status`: the same in words, as JSON.
//! - It is open before the broker is: who waits for a recovery is told so.
//! - Nothing here takes time of the request path: a scrape is collected and written in pieces of `PIECE_BYTES` by the blocking
//!   pool, the next piece when the socket has taken the one before; locks of logs and groups are held for one log, one group.
//! - Limits: `MAX_CONNECTIONS`, `MAX_SCRAPES` at a time, `MAX_HEAD_BYTES`, `HEAD_TIME`, `WRITE_STALL`.

mod exposition;
mod families;
mod health;
mod http;
mod recent;
mod snapshot;
mod status;
mod stream;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::api::Services;
use crate::env::Env;
use crate::env::net::Listener;
use recent::Recent;

pub use families::render_markdown;
pub use health::BrokerPhase;

/// Connections that may be open.
const MAX_CONNECTIONS: usize = 64;
/// Scrapes that may run at a time; more are told to come back.
const MAX_SCRAPES: usize = 2;
/// The longest request line with its headers, bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long a request's head may take, and how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(75);
/// How long a peer may take nothing of an answer.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// A scrape is made and sent in pieces of about this many bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// First wait after an accept that failed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(500);

/// The console of one broker, from before its start to after its end.
pub struct Console {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    /// Yields `None` when the last task has ended.
    alive: mpsc::Receiver<()>,
}

/// What connections see.
struct Shared {
    env: Env,
    /// Monotonic time of the start.
    started: Duration,
    phase: Mutex<BrokerPhase>,
    /// The broker's rooms, once clients are served.
    services: OnceLock<Arc<Services>>,
    connections: Arc<Semaphore>,
    scrapes: Arc<Semaphore>,
    recent: Mutex<Recent>,
}

impl Console {
    /// Answers on listeners that are bound already; the broker is starting.
    pub fn start(env: &Env, listeners: Vec<Listener>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (alive_guard, alive) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            env: env.clone(),
            started: env.clock.monotonic(),
            phase: Mutex::new(BrokerPhase::Starting),
            services: OnceLock::new(),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            scrapes: Arc::new(Semaphore::new(MAX_SCRAPES)),
            recent: Mutex::default(),
        });
        let addresses = listeners.iter().filter_map(|listener| listener.local_address().ok()).collect();
        for listener in listeners {
            let accepting = http::accept(Arc::clone(&shared), listener, stopped.clone(), alive_guard.clone());
            env.spawn.spawn("console", Box::pin(accepting));
        }
        Self { shared, addresses, stop, alive }
    }

    /// Where it listens, with the real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Clients are served from now on.
    pub fn ready(&self, services: Arc<Services>) {
        if self.shared.services.set(services).is_ok() {
            *self.shared.phase.lock() = BrokerPhase::Running;
        }
    }

    /// The broker has begun to stop: no longer ready.
    pub fn stopping(&self) {
        *self.shared.phase.lock() = BrokerPhase::Stopping;
    }

    /// Closes the ports; answers that are under way are cut off.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        self.alive.recv().await;
    }
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
