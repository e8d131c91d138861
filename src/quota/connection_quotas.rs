//! How many connections there may be, in total and from one address (`ConnectionQuotas`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Why a connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
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

    /// A place for a connection from `address`, as soon as there is one; `None` when there are too many from there.
    pub async fn place(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let mut has_waited = false;
        loop {
            match self.acquire(address) {
                Err(Refusal::Total) => self.freed.notified().await,
                taken => {
                    if has_waited {
                        // There may be another place, or this one is left: the next who waits has to look.
                        self.freed.notify_one();
                    }
                    return taken.ok();
                }
            }
            has_waited = true;
        }
    }

    fn acquire(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionPermit, Refusal> {
        let address = address.to_canonical();
        let mut counts = self.counts.lock();
        let counts = &mut *counts;
        if counts.total >= counts.limits.total {
            return Err(Refusal::Total);
        }
        let allowed = counts.limits.overrides.get(&address).copied().unwrap_or(counts.limits.per_address);
        let count = counts.by_address.entry(address).or_default();
        if *count >= allowed {
            if *count == 0 {
                counts.by_address.remove(&address);
            }
            return Err(Refusal::PerAddress);
        }
        *count += 1;
        counts.total += 1;
        Ok(ConnectionPermit { quotas: Arc::clone(self), address })
    }

    /// Connections now.
    pub fn total(&self) -> usize {
        self.counts.lock().total
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
    use futures_util::FutureExt;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn everybody_who_waits_looks_when_there_is_room() {
        let limits = |total| ConnectionLimits { total, per_address: 1, overrides: HashMap::new() };
        let quotas = ConnectionQuotas::new(limits(2));
        let (first, _second) = (quotas.acquire(address("10.0.0.1")), quotas.acquire(address("10.0.0.2")));
        let waiting = ["10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|text| Box::pin(quotas.place(address(text))));
        let [mut refused, mut next, mut last] = waiting;
        assert!((&mut refused).now_or_never().is_none());
        assert!((&mut next).now_or_never().is_none());
        assert!((&mut last).now_or_never().is_none());
        drop(first);
        assert!((&mut refused).now_or_never().expect("woken").is_none(), "a second one from there");
        let _third = (&mut next).now_or_never().expect("woken").expect("a place");
        assert!((&mut last).now_or_never().is_none(), "there is no other");
        let mut another = Box::pin(quotas.place(address("10.0.0.5")));
        assert!((&mut another).now_or_never().is_none());
        quotas.set_limits(limits(4));
        let _fourth = (&mut last).now_or_never().expect("woken").expect("a place");
        assert!((&mut another).now_or_never().expect("woken").is_some());
    }

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
        assert_eq!(quotas.acquire(home).err(), Some(Refusal::PerAddress));
        let _third = quotas.acquire(other).expect("a place");
        assert_eq!(quotas.acquire(other).err(), Some(Refusal::PerAddress));
        assert_eq!(quotas.acquire(third).err(), Some(Refusal::PerAddress));
        drop(first);
        let _fourth = quotas.acquire(home).expect("a place");
        let _fifth = quotas.acquire("10.0.0.3".parse().expect("an address")).expect("a place");
        assert_eq!(quotas.acquire("10.0.0.4".parse().expect("an address")).err(), Some(Refusal::Total));
        assert_eq!(quotas.total(), 4);
        assert!(!quotas.counts.lock().by_address.contains_key(&third));
        quotas.set_limits(ConnectionLimits { total: 5, per_address: 1, overrides: HashMap::new() });
        assert_eq!(quotas.acquire(home).err(), Some(Refusal::PerAddress));
        let _sixth = quotas.acquire(third).expect("a place");
    }
}
