//! How many connections there may be, in total and from one address (Kafka: `ConnectionQuotas`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `max.connections` is reached: the acceptor waits for a place.
    Total,
    /// `max.connections.per.ip` is reached: the connection is closed.
    PerAddress,
}

/// Counts connections.
pub struct ConnectionLimits {
    max_total: usize,
    max_per_address: usize,
    overrides: HashMap<IpAddr, usize>,
    counts: Mutex<Counts>,
    freed: Notify,
}

#[derive(Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place; given back when dropped.
pub struct Permit {
    limits: Arc<ConnectionLimits>,
    address: IpAddr,
}

impl ConnectionLimits {
    /// `max.connections`, `max.connections.per.ip` and `max.connections.per.ip.overrides`.
    pub fn new(max_total: usize, max_per_address: usize, overrides: HashMap<IpAddr, usize>) -> Arc<Self> {
        Arc::new(Self { max_total, max_per_address, overrides, counts: Mutex::default(), freed: Notify::new() })
    }

    /// Takes a place for a connection from `address`.
    pub fn acquire(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Refusal> {
        let address = address.to_canonical();
        let mut counts = self.counts.lock();
        if counts.total >= self.max_total {
            return Err(Refusal::Total);
        }
        let allowed = self.overrides.get(&address).copied().unwrap_or(self.max_per_address);
        let count = counts.by_address.entry(address).or_default();
        if *count >= allowed {
            if *count == 0 {
                counts.by_address.remove(&address);
            }
            return Err(Refusal::PerAddress);
        }
        *count += 1;
        counts.total += 1;
        Ok(Permit { limits: Arc::clone(self), address })
    }

    /// Connections now.
    pub fn total(&self) -> usize {
        self.counts.lock().total
    }

    /// Completes when a place was given back.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.limits.counts.lock();
        counts.total -= 1;
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
        drop(counts);
        self.limits.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let home: IpAddr = "127.0.0.1".parse().expect("an address");
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().expect("an address");
        let other: IpAddr = "10.0.0.1".parse().expect("an address");
        let third: IpAddr = "10.0.0.2".parse().expect("an address");
        let limits = ConnectionLimits::new(4, 2, HashMap::from([(other, 1), (third, 0)]));
        let first = limits.acquire(home).expect("a place");
        let _second = limits.acquire(mapped).expect("a place");
        assert_eq!(limits.acquire(home).err(), Some(Refusal::PerAddress));
        let _third = limits.acquire(other).expect("a place");
        assert_eq!(limits.acquire(other).err(), Some(Refusal::PerAddress));
        assert_eq!(limits.acquire(third).err(), Some(Refusal::PerAddress));
        drop(first);
        let _fourth = limits.acquire(home).expect("a place");
        let _fifth = limits.acquire("10.0.0.3".parse().expect("an address")).expect("a place");
        assert_eq!(limits.acquire("10.0.0.4".parse().expect("an address")).err(), Some(Refusal::Total));
        assert_eq!(limits.total(), 4);
        assert!(!limits.counts.lock().by_address.contains_key(&third));
    }
}
