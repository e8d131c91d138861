//! Keeps the cleaner's reads and writes below `log.cleaner.io.max.bytes.per.second` (`Throttler`).

use std::time::Duration;

use parking_lot::Mutex;

/// Longest wait between two looks at whether there is still something to wait for.
pub(super) const WAIT_SLICE: Duration = Duration::from_millis(100);

/// Bytes that all cleaner threads share. Time is the monotonic clock's.
#[derive(Default)]
pub(super) struct Throttle {
    /// When what was read and written so far is paid for.
    paid_until: Mutex<Duration>,
}

impl Throttle {
    /// Counts bytes; how long to wait before the next ones. Small debts are carried on.
    pub(super) fn spend(&self, bytes: u64, bytes_per_second: f64, now: Duration) -> Duration {
        let cost = bytes as f64 / bytes_per_second.max(1.0);
        // A rate without a limit costs nothing, and an absurdly small one no more than a day.
        let cost = Duration::from_secs_f64(cost.clamp(0.0, 86_400.0));
        let mut paid_until = self.paid_until.lock();
        *paid_until = (*paid_until).max(now) + cost;
        paid_until.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_rate_on_average() {
        let throttle = Throttle::default();
        let seconds = Duration::from_secs;
        assert_eq!(throttle.spend(1000, 1000.0, seconds(10)), seconds(1));
        assert_eq!(throttle.spend(1000, 1000.0, seconds(10)), seconds(2), "threads share it");
        assert_eq!(throttle.spend(500, 1000.0, seconds(12)), Duration::from_millis(500));
        assert_eq!(throttle.spend(1, f64::MAX, seconds(20)), Duration::ZERO);
        assert_eq!(throttle.spend(u64::MAX, 0.0, seconds(30)), seconds(86_400));
        assert_eq!(throttle.spend(0, f64::NAN, seconds(200_000)), Duration::ZERO);
    }
}
