//! The load driver of the benchmarks: one workload against one broker, measured, read back and printed as one JSON object.
//!
//! Contract: the same requests go to every broker, byte for byte but for ids and time. What is sent is encoded before the clock starts
//! and only patched behind it (correlation id, partition, timestamp, sequence, and the checksum by linearity); answers are read at
//! fixed places. Sockets block, a lane is a connection, and many lanes share one thread behind `epoll`: the driver takes as little of
//! the machine as it can and no lock. What a broker used is read from `/proc` around the timed part only. After it, what was
//! acknowledged is read back: count, order and checksums; a workload whose gate fails is an error and prints no figure.

mod admin;
mod batch;
mod bulk;
mod catch_up;
mod commits;
mod compressed;
mod connection;
mod connections;
mod exchange;
mod fan_out;
mod fetch;
mod floor;
mod histogram;
mod lanes;
mod members;
mod meter;
mod options;
mod paced;
mod partitions;
mod poll;
mod produce;
mod read_back;
mod rebalance;
mod report;
mod topics;

use anyhow::Result;

pub use options::{Options, Workload};
pub use report::Report;

/// Runs the workload that the options name.
///
/// # Errors
/// The broker does not answer, refuses a request, or gives back something else than it acknowledged.
pub fn run(options: &Options) -> Result<Report> {
    // Sleeps end when they should: this thread's slack is inherited by all that it starts.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1_000))?;
    match options.workload {
        Workload::W1 => bulk::run(options),
        Workload::W3 => lanes::run(options),
        Workload::W4 => compressed::run(options),
        Workload::W5 => catch_up::run(options),
        Workload::W6 => fan_out::run(options),
        Workload::W7 => paced::run(options),
        Workload::W8 => lanes::run_durable(options),
        Workload::W10 => partitions::run(options),
        Workload::W11 => connections::run(options),
        Workload::W12a => rebalance::run(options),
        Workload::W12b => commits::run(options),
        Workload::W12c => commits::run_heartbeats(options),
        Workload::W15 => admin::run(options),
        Workload::W16 => paced::run_isolation(options),
        Workload::Floor => floor::run(options),
        Workload::Touch => floor::touch(options),
    }
}
