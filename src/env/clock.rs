//! Time: the system's, or one that a test moves by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::spawn::BoxFuture;

/// Time, wall and monotonic.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch; may jump.
    fn wall_millis(&self) -> i64;
    /// Time since some fixed point; never goes back.
    fn monotonic(&self) -> Duration;
    /// Completes once `monotonic` has reached `deadline`.
    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()>;
}

/// The system's clocks.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn wall_millis(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until((self.start + deadline).into()))
    }
}

/// A clock that stands still until a test moves it. Cheap to clone; clones are one clock.
#[derive(Clone)]
pub struct ManualClock {
    state: Arc<Mutex<ManualClockState>>,
}

struct ManualClockState {
    wall_start_millis: i64,
    elapsed: Duration,
    sleepers: BTreeMap<Duration, Vec<oneshot::Sender<()>>>,
}

impl ManualClock {
    /// A clock that shows `wall_millis` and a monotonic time of zero.
    pub fn new(wall_millis: i64) -> Self {
        let state =
            ManualClockState { wall_start_millis: wall_millis, elapsed: Duration::ZERO, sleepers: BTreeMap::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Moves the clock and wakes whoever slept until then.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock();
        state.elapsed += by;
        let elapsed = state.elapsed;
        let later = state.sleepers.split_off(&(elapsed + Duration::from_nanos(1)));
        let due = std::mem::replace(&mut state.sleepers, later);
        drop(state);
        for sender in due.into_values().flatten() {
            // A sleeper that was dropped needs no waking.
            let _ = sender.send(());
        }
    }

    /// How many sleeps wait for the clock to move.
    pub fn sleepers(&self) -> usize {
        let state = self.state.lock();
        state.sleepers.values().flatten().filter(|sender| !sender.is_closed()).count()
    }
}

impl Clock for ManualClock {
    fn wall_millis(&self) -> i64 {
        let state = self.state.lock();
        state.wall_start_millis + i64::try_from(state.elapsed.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().elapsed
    }

    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        let mut state = self.state.lock();
        if deadline <= state.elapsed {
            return Box::pin(std::future::ready(()));
        }
        let (sender, receiver) = oneshot::channel();
        state.sleepers.entry(deadline).or_default().push(sender);
        Box::pin(async move {
            if receiver.await.is_err() {
                // The clock is gone: time never comes.
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn manual_clock_wakes_sleepers_in_their_time() {
        let clock = ManualClock::new(1_000);
        let early = clock.sleep_until(Duration::from_millis(5));
        let late = clock.sleep_until(Duration::from_millis(6));
        assert_eq!(clock.sleepers(), 2);
        clock.advance(Duration::from_millis(5));
        early.await;
        assert_eq!(clock.sleepers(), 1);
        assert_eq!(clock.wall_millis(), 1_005);
        clock.advance(Duration::from_secs(1));
        late.await;
    }

    #[test]
    fn system_clock_does_not_go_back() {
        let clock = SystemClock::new();
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
        assert!(clock.wall_millis() > 1_600_000_000_000);
    }
}
