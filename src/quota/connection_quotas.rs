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

/// Counts connections.
pub struct ConnectionQuotas {
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
pub struct ConnectionPermit {
    quotas: Arc<ConnectionQuotas>,
    address: IpAddr,
}

impl ConnectionQuotas {
    /// `max.connections`, `max.connections.per.ip` and `max.connections.per.ip.overrides`.
    pub fn new(max_total: usize, max_per_address: usize, overrides: HashMap<IpAddr, usize>) -> Arc<Self> {
        Arc::new(Self { max_total, max_per_address, overrides, counts: Mutex::default(), freed: Notify::new() })
    }

    /// Takes a place for a connection from `address`.
    pub fn acquire(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionPermit, ConnectionRefusal> {
        let address = address.to_canonical();
        let mut counts = self.counts.lock();
        if counts.total >= self.max_total {
            return Err(ConnectionRefusal::Total);
        }
        let allowed = self.overrides.get(&address).copied().unwrap_or(self.max_per_address);
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
        let quotas = ConnectionQuotas::new(4, 2, HashMap::from([(other, 1), (third, 0)]));
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
    }
}
