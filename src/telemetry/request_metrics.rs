//! Requests by API: how many of each version, and how long they took (`RequestMetrics`).
//!
//! Whoever counts pays three relaxed additions. What a scrape wants of it (quantiles of the last minutes) it works out from copies.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// API keys that are counted; Kafka 4.3 ends at 92.
const API_KEYS: usize = 128;
/// Versions that are told apart; Kafka 4.3 ends at 18.
const VERSIONS: usize = 32;
/// Each power of two of microseconds is cut into this many parts, so that a quantile is at most an eighth too high.
const PARTS: usize = 8;
const PART_BITS: u32 = PARTS.trailing_zeros();
/// Powers of two that are told apart: up to 2^37 microseconds, 38 hours.
const POWERS: usize = 35;
const BUCKETS: usize = PARTS * POWERS;

/// Requests of all APIs. What no client asks for takes no memory.
#[derive(Debug)]
pub struct RequestMetrics {
    apis: [OnceLock<Box<ApiRequests>>; API_KEYS],
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self { apis: [const { OnceLock::new() }; API_KEYS] }
    }
}

impl RequestMetrics {
    /// Counts a request that was answered after `duration`.
    pub fn record(&self, api_key: i16, version: i16, duration: Duration) {
        let Some(api) = usize::try_from(api_key).ok().and_then(|key| self.apis.get(key)) else { return };
        api.get_or_init(Box::default).record(version, duration);
    }

    /// The APIs that were asked for, each with its key.
    pub fn used(&self) -> impl Iterator<Item = (i16, &ApiRequests)> {
        let with_key = self.apis.iter().zip(0_i16..);
        with_key.filter_map(|(api, key)| api.get().map(|api| (key, &**api)))
    }
}

/// Requests of one API.
#[derive(Debug)]
pub struct ApiRequests {
    versions: [AtomicU64; VERSIONS],
    microseconds: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Default for ApiRequests {
    fn default() -> Self {
        Self {
            versions: [const { AtomicU64::new(0) }; VERSIONS],
            microseconds: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

impl ApiRequests {
    fn record(&self, version: i16, duration: Duration) {
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = usize::try_from(version).ok().and_then(|version| self.versions.get(version)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
        self.buckets[bucket_of(microseconds)].fetch_add(1, Ordering::Relaxed);
    }

    /// The versions that were asked for, each with the number of its requests.
    pub fn versions(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.versions.iter().map(|count| count.load(Ordering::Relaxed)).enumerate();
        counts.filter(|(_, count)| *count > 0)
    }

    /// All durations so far.
    pub fn durations(&self) -> DurationCounts {
        DurationCounts {
            microseconds: self.microseconds.load(Ordering::Relaxed),
            buckets: self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect(),
        }
    }
}

/// A copy of durations, or what came between two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationCounts {
    microseconds: u64,
    buckets: Box<[u64]>,
}

impl DurationCounts {
    /// Number of requests.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How long they took together, seconds.
    pub fn seconds(&self) -> f64 {
        self.microseconds as f64 / 1e6
    }

    /// What came since an earlier copy.
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.buckets.iter().zip(&earlier.buckets);
        Self {
            microseconds: self.microseconds.saturating_sub(earlier.microseconds),
            buckets: pairs.map(|(now, before)| now.saturating_sub(*before)).collect(),
        }
    }

    /// The duration that this share of the requests did not exceed, in milliseconds; 0 without requests.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(bucket) as f64 / 1e3;
            }
        }
        0.0
    }

    /// Requests that took at most this many microseconds, as exactly as the buckets tell.
    pub fn at_most(&self, microseconds: u64) -> u64 {
        let whole = (0..BUCKETS).take_while(|bucket| upper_bound(*bucket) <= microseconds).count();
        self.buckets[..whole].iter().sum()
    }
}

fn bucket_of(microseconds: u64) -> usize {
    let Some(power) = microseconds.checked_ilog2() else { return 0 };
    if power < PART_BITS {
        return microseconds as usize;
    }
    let part = (microseconds >> (power - PART_BITS)) as usize & (PARTS - 1);
    ((power - PART_BITS + 1) as usize * PARTS + part).min(BUCKETS - 1)
}

/// The largest duration of a bucket, microseconds.
fn upper_bound(bucket: usize) -> u64 {
    if bucket < PARTS {
        return bucket as u64;
    }
    let shift = bucket / PARTS - 1;
    (((PARTS + bucket % PARTS + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_the_bucket_that_ends_behind_it() {
        let mut last = 0;
        for microseconds in (0..5_000).chain([1 << 20, (1 << 20) + 1, 3_600_000_000]) {
            let bucket = bucket_of(microseconds);
            assert!(bucket >= last && microseconds <= upper_bound(bucket), "{microseconds}");
            assert!(bucket == 0 || microseconds > upper_bound(bucket - 1), "{microseconds}");
            assert!(upper_bound(bucket) as f64 <= microseconds as f64 * 1.126, "{microseconds}");
            last = bucket;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_time_between_two_copies() {
        let metrics = RequestMetrics::default();
        metrics.record(0, 13, Duration::from_secs(1));
        metrics.record(-1, 0, Duration::ZERO);
        metrics.record(i16::MAX, 0, Duration::ZERO);
        let durations = || metrics.used().next().expect("Produce").1.durations();
        let before = durations();
        for milliseconds in 1..=100 {
            metrics.record(0, 12, Duration::from_millis(milliseconds));
        }
        let (now, recent) = (durations(), durations().since(&before));
        assert_eq!((now.count(), recent.count()), (101, 100));
        assert!((recent.seconds() - 5.05).abs() < 1e-6);
        for (share, milliseconds) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let quantile = recent.quantile(share);
            assert!(quantile >= milliseconds && quantile <= milliseconds * 1.126, "{share}: {quantile}");
        }
        assert!(now.quantile(1.0) >= 1000.0 && now.since(&now).quantile(0.5) == 0.0);
        assert_eq!(recent.at_most(1_000_000), 100);
        assert!((44..=50).contains(&recent.at_most(50_000)));
        let versions: Vec<_> = metrics.used().flat_map(|(_, api)| api.versions()).collect();
        assert_eq!((versions, metrics.used().count()), (vec![(12, 100), (13, 1)], 1));
    }
}
