//! Connections by listener (`socket-server-metrics`).

use std::sync::Arc;

use parking_lot::Mutex;

use super::Counter;

/// Connections of one listener.
#[derive(Debug)]
pub struct ListenerTraffic {
    /// Name and port, as Kafka labels them: `PLAINTEXT-9092`.
    pub name: String,
    /// Connections accepted since the start.
    pub accepted: Counter,
    /// Connections that ended since the start.
    pub closed: Counter,
}

impl ListenerTraffic {
    /// Connections that are open now.
    pub fn connections(&self) -> u64 {
        // Read first, so that it is never the greater.
        let closed = self.closed.get();
        self.accepted.get().saturating_sub(closed)
    }
}

/// Every listener that was opened.
#[derive(Debug, Default)]
pub struct ListenerTraffics(Mutex<Vec<Arc<ListenerTraffic>>>);

impl ListenerTraffics {
    /// The counters of a listener, made when it is named for the first time.
    pub fn of(&self, listener: &str, port: u16) -> Arc<ListenerTraffic> {
        let name = format!("{listener}-{port}");
        let mut all = self.0.lock();
        if let Some(known) = all.iter().find(|known| known.name == name) {
            return Arc::clone(known);
        }
        let traffic = Arc::new(ListenerTraffic { name, accepted: Counter::default(), closed: Counter::default() });
        all.push(Arc::clone(&traffic));
        traffic
    }

    /// All of them, in the order in which they were opened.
    pub fn all(&self) -> Vec<Arc<ListenerTraffic>> {
        self.0.lock().clone()
    }
}
