//! How many connections there may be, in total and from one address (`ConnectionQuotas`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// `max.connections` is reached: the acceptor waits for a place.
    Total,
    /// `max.connections.per.ip` is reached: the connection is closed.
    PerAddress,
}

/// How many connections there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// `max.connections`.
    pub total: usize,
    /// `max.connections.per.ip`.
    pub per_address: usize,
    /// `max.connections.per.ip.overrides`.
    pub overrides: HashMap<IpAddr, usize>,
}

/// Counts connections.
pub struct ConnectionQuotas {
    counts: Mutex<Counts>,
    freed: Notify,
}

struct Counts {
    limits: ConnectionLimits,
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place; given back when dropped.
pub struct ConnectionPermit {
    quotas: Arc<ConnectionQuotas>,
    address: IpAddr,
}

impl ConnectionQuotas {
    /// With these limits.
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        let counts = Counts { limits, total: 0, by_address: HashMap::new() };
        Arc::new(Self { counts: Mutex::new(counts), freed: Notify::new() })
    }

    /// Other limits from now on. Connections that are too many for them stay until they end.
    pub fn set_limits(&self, limits: ConnectionLimits) {
        self.counts.lock().limits = limits;
        // There may be room now for who waits.
        self.freed.notify_one();
    }

    /// Takes a place for a connection from `address`.
    pub fn acquire(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionPermit, ConnectionRefusal> {
        let address = address.to_canonical();
        let mut counts = self.counts.lock();
        let counts = &mut *counts;
        if counts.total >= counts.limits.total {
            return Err(ConnectionRefusal::Total);
        }
        let allowed = counts.limits.overrides.get(&address).copied().unwrap_or(counts.limits.per_address);
        let count = counts.by_address.entry(address).or_default();
        if *count >= allowed {
            if *count == 0 {
                counts.by_address.remove(&address);
            }
            return Err(ConnectionRefusal::PerAddress);
        }
        *count += 1;
        counts.total += 1;
        Ok(ConnectionPermit { quotas: Arc::clone(self), address })
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

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.quotas.counts.lock();
        counts.total -= 1;
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
        drop(counts);
        self.quotas.freed.notify_one();
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
        let overrides = HashMap::from([(other, 1), (third, 0)]);
        let quotas = ConnectionQuotas::new(ConnectionLimits { total: 4, per_address: 2, overrides });
        let first = quotas.acquire(home).expect("a place");
        let _second = quotas.acquire(mapped).expect("a place");
        assert_eq!(quotas.acquire(home).err(), Some(ConnectionRefusal::PerAddress));
        let _third = quotas.acquire(other).expect("a place");
        assert_eq!(quotas.acquire(other).err(), Some(ConnectionRefusal::PerAddress));
        assert_eq!(quotas.acquire(third).err(), Some(ConnectionRefusal::PerAddress));
        drop(first);
        let _fourth = quotas.acquire(home).expect("a place");
        let _fifth = quotas.acquire("10.0.0.3".parse().expect("an address")).expect("a place");
        assert_eq!(quotas.acquire("10.0.0.4".parse().expect("an address")).err(), Some(ConnectionRefusal::Total));
        assert_eq!(quotas.total(), 4);
        assert!(!quotas.counts.lock().by_address.contains_key(&third));
        quotas.set_limits(ConnectionLimits { total: 5, per_address: 1, overrides: HashMap::new() });
        assert_eq!(quotas.acquire(home).err(), Some(ConnectionRefusal::PerAddress));
        let _sixth = quotas.acquire(third).expect("a place");
    }
}
