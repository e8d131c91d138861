//! Time: the system's, or one that a test moves by hand.

use std::time::Duration;

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
