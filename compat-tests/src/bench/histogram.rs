//! Latencies in logarithmic buckets with linear steps: one part in 128 exact, no allocation while it is filled.

use std::time::Duration;

use serde::Serialize;

const STEP_BITS: u32 = 7;
const STEPS: u64 = 1 << STEP_BITS;
/// 2^40 ns, eighteen minutes: what is longer counts as that.
const BUCKETS: usize = (41 - STEP_BITS as usize) * STEPS as usize;

/// Counts of durations.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u128,
    max: u64,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Half were not longer.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1 000.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// How many were measured.
    pub samples: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanos = duration.as_nanos() as u64;
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.sum += u128::from(nanos);
        self.max = self.max.max(nanos);
    }

    /// Counts what another one counted.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// The percentiles; None if nothing was counted.
    pub fn latency(&self) -> Option<Latency> {
        (self.total > 0).then(|| Latency {
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: self.max as f64 / 1e3,
            mean: self.sum as f64 / self.total as f64 / 1e3,
            samples: self.total,
        })
    }

    /// In microseconds.
    fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (number, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_end(number).min(self.max) as f64 / 1e3;
            }
        }
        self.max as f64 / 1e3
    }
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.min((1 << 40) - 1);
    if nanos < STEPS {
        return nanos as usize;
    }
    let magnitude = 63 - nanos.leading_zeros() - STEP_BITS;
    (u64::from(magnitude) * STEPS + (nanos >> magnitude)) as usize
}

/// The largest duration that falls into a bucket.
fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let magnitude = bucket / STEPS - 1;
    ((bucket - magnitude * STEPS + 1) << magnitude) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_falls_below_the_end_of_its_bucket_and_above_the_one_before() {
        for nanos in (0..3_000).chain((0..40).map(|shift| (1u64 << shift) + 1)).chain((1..40).map(|s| (1u64 << s) - 1))
        {
            let number = bucket(nanos);
            assert!(upper_end(number) >= nanos, "{nanos}");
            assert!(number == 0 || upper_end(number - 1) < nanos, "{nanos}");
        }
    }

    #[test]
    fn percentiles_are_within_one_part_in_a_hundred() {
        let mut histogram = Histogram::default();
        (1..=100_000u64).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let latency = histogram.latency().expect("counted");
        for (found, wanted) in [(latency.p50, 5e4), (latency.p99, 9.9e4), (latency.p999, 9.99e4), (latency.max, 1e5)] {
            assert!((found / wanted - 1.0).abs() < 0.01, "{found} for {wanted}");
        }
    }
}
