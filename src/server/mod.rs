//! The server: listeners, connections, the request pipeline and their end.
//!
//! Contract:
//! - A request is read, decoded, handled and answered by the task of its connection: no hop to another thread.
//! - Answers leave in the order of the requests, and a client sees what it would see if one request ran at a time.
//! - Nothing that a peer sends, announces or fails to do takes memory beyond the limits in `ServerOptions`, a task for
//!   longer than the times there, or the process down: a panic in a handler ends its connection only.
//! - An idle connection costs its task and one timer: no buffer, no tick.
//! - The place for TLS is another `Transport`, for SASL a state of `Connection` before its first request.

mod cold_reads;
mod connection;
pub mod console;
mod dispatch;
mod error;
mod frame_reader;
#[cfg(feature = "testing")]
mod frame_stream;
mod listener;
mod memory;
mod response_writer;
mod transport;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::env::{BoxFuture, Env};
use crate::quota::{ConnectionLimits, ConnectionQuotas};
use crate::telemetry::Metrics;
use crate::wire;
use cold_reads::ColdReads;
use connection::{Phase, Shared};
use listener::Acceptors;

pub use dispatch::{Dispatch, RegistryDispatch};
pub use error::ServerError;
pub use frame_reader::{FrameLimits, ReadError};
#[cfg(feature = "testing")]
pub use frame_stream::read_frames;
pub use listener::{BoundListener, ListenerOptions};
pub use memory::FrameMemory;

/// Limits and times; Kafka's defaults where Kafka has them.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Lengths and times of one frame.
    pub frame_limits: FrameLimits,
    /// Bytes that all frames together may take.
    pub frame_memory: usize,
    /// Connections that may be open at first; [`ConnectionQuotas::set_limits`] changes it.
    pub connection_limits: ConnectionLimits,
    /// `connections.max.idle.ms`.
    pub max_idle: Duration,
    /// How long a peer may take nothing of its answers.
    pub write_stall: Duration,
    /// `socket.listen.backlog.size`.
    pub backlog: u32,
    /// `socket.send.buffer.bytes`; `None` leaves it to the kernel's tuning.
    pub send_buffer: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` leaves it to the kernel's tuning.
    pub receive_buffer: Option<usize>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            frame_limits: FrameLimits {
                lengths: wire::FrameLimits::default(),
                base_time: Duration::from_secs(30),
                minimum_rate: 16 * 1024,
            },
            frame_memory: 256 * 1024 * 1024,
            connection_limits: ConnectionLimits {
                total: usize::MAX,
                per_address: usize::MAX,
                overrides: HashMap::new(),
            },
            max_idle: Duration::from_secs(600),
            write_stall: Duration::from_secs(30),
            backlog: 1024,
            send_buffer: None,
            receive_buffer: None,
        }
    }
}

/// A server that accepts connections.
pub struct Server {
    env: Env,
    phase: watch::Sender<Phase>,
    /// Yields `None` when the last task has ended.
    alive: mpsc::Receiver<()>,
    addresses: Vec<(String, SocketAddr)>,
    shared: Arc<Shared>,
    quotas: Arc<ConnectionQuotas>,
}

impl Server {
    /// Begins to accept on listeners that are bound already.
    pub fn start(
        env: &Env,
        options: &ServerOptions,
        listeners: Vec<BoundListener>,
        dispatch: Arc<dyn Dispatch>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (phase, phase_receiver) = watch::channel(Phase::Running);
        let (alive_guard, alive) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            dispatch,
            metrics,
            clock: Arc::clone(&env.clock),
            memory: FrameMemory::new(Arc::clone(&env.memory), options.frame_memory),
            frame_limits: options.frame_limits,
            max_idle: options.max_idle,
            write_stall: options.write_stall,
            cold_reads: ColdReads::new(Arc::clone(&env.spawn)),
            phase: phase_receiver,
        });
        let quotas = ConnectionQuotas::new(options.connection_limits.clone());
        let acceptors = Arc::new(Acceptors {
            shared: Arc::clone(&shared),
            quotas: Arc::clone(&quotas),
            spawn: Arc::clone(&env.spawn),
            next_connection_id: AtomicU64::new(0),
            buffer_sizes: (options.send_buffer, options.receive_buffer),
        });
        let addresses = listeners.iter().map(|bound| (bound.name().to_owned(), bound.address())).collect();
        for bound in listeners {
            let run: BoxFuture<'static, ()> = Box::pin(Arc::clone(&acceptors).run(bound, alive_guard.clone()));
            env.spawn.spawn("acceptor", run);
        }
        Self { env: env.clone(), phase, alive, addresses, shared, quotas }
    }

    /// Names and addresses of the listeners, in their order.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// What counts connections, to give it other limits.
    pub fn connection_quotas(&self) -> &Arc<ConnectionQuotas> {
        &self.quotas
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.quotas.total()
    }

    /// Bytes that frames take now.
    pub fn frame_memory_used(&self) -> usize {
        self.shared.memory.used()
    }

    /// Stops accepting, answers what has begun for up to `grace`, then drops what is left.
    pub async fn shutdown(mut self, grace: Duration) {
        self.phase.send_replace(Phase::Draining);
        let until = self.env.clock.monotonic() + grace;
        tokio::select! {
            biased;
            _ = self.alive.recv() => return,
            () = self.env.clock.sleep_until(until) => {}
        }
        self.phase.send_replace(Phase::Closing);
        // Every task ends at its next wake-up, which the phase has just caused.
        self.alive.recv().await;
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
