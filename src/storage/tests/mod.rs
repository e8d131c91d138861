//! The storage room as a whole on a simulated disk: crashes after every call, power cuts in every way that POSIX allows, failing
//! calls, crashes during recovery.
//!
//! `cargo test` runs short stories and samples. `OTTLA_STORIES` sets how many random stories are told, `OTTLA_DISKS` how many
//! disks are looked at after each call (4096 holds every disk of up to 12 pending changes), `OTTLA_EVERY` that only every so many
//! calls fail or crash, `OTTLA_SEED` the first seed.
#![allow(clippy::disallowed_methods)]

mod crash_points;
mod failing_calls;
mod found_bugs;
mod ledger;
mod model;
mod read_committed;
mod recovery_crashes;
mod story;

/// A number that the environment may set.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
