//! What the numbers were some minutes ago, so that a scrape can tell of the time since.

use std::collections::VecDeque;
use std::time::Duration;

use crate::telemetry::{DurationCounts, RequestMetrics};

/// Quantiles and shares are those of at least this time, where there was a scrape before it.
const WINDOW: Duration = Duration::from_secs(300);
/// Copies are kept this far apart, so that there are `WINDOW / SPACING` and two more at most.
const SPACING: Duration = Duration::from_secs(60);

/// The numbers at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment {
    /// Monotonic time.
    pub(super) at: Duration,
    /// The last metadata record.
    pub(super) metadata_offset: i64,
    /// How long the threads were busy, all together.
    pub(super) busy: Duration,
    /// Durations by API key.
    pub(super) requests: Vec<(i16, DurationCounts)>,
}

impl Moment {
    pub(super) fn new(at: Duration, busy: Duration, metadata_offset: i64, requests: &RequestMetrics) -> Self {
        Self { at, busy, metadata_offset, requests: requests.used().map(|(key, api)| (key, api.durations())).collect() }
    }

    /// The durations of an API since `self`.
    pub(super) fn since(&self, key: i16, now: &DurationCounts) -> DurationCounts {
        match self.requests.iter().find(|(known, _)| *known == key) {
            Some((_, before)) => now.since(before),
            None => now.clone(),
        }
    }
}

/// Copies of the last minutes, the oldest first.
#[derive(Default)]
pub(super) struct Recent(VecDeque<Moment>);

impl Recent {
    /// The moment to compare with: the latest that is `WINDOW` ago, else the first; keeps this one for later.
    pub(super) fn compare(&mut self, now: &Moment, start: Duration) -> Moment {
        if self.0.is_empty() {
            let metadata_offset = now.metadata_offset;
            self.0.push_back(Moment { at: start, metadata_offset, ..Moment::default() });
        }
        while self.0.get(1).is_some_and(|second| second.at + WINDOW <= now.at) {
            self.0.pop_front();
        }
        if self.0.back().is_some_and(|last| last.at + SPACING <= now.at) {
            self.0.push_back(now.clone());
        }
        self.0.front().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_compared_with_one_of_five_minutes_ago() {
        let mut recent = Recent::default();
        let mut compared = |seconds: u64| {
            let now = Moment { at: Duration::from_secs(seconds), ..Moment::default() };
            recent.compare(&now, Duration::from_secs(5)).at.as_secs()
        };
        // 65 is the first that is kept.
        for seconds in [6, 20, 65, 80, 300] {
            assert_eq!(compared(seconds), 5, "{seconds}");
        }
        assert_eq!((compared(364), compared(365), compared(600), compared(10_000)), (5, 65, 300, 600));
        for seconds in (10_000..20_000).step_by(7) {
            compared(seconds);
        }
        assert!(recent.0.len() <= 7, "{}", recent.0.len());
    }
}
