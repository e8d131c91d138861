//! The broker with an allocator that counts: `bench/limits/run` drives it. Takes the broker's arguments. For each line on its
//! standard input it prints a line `counts NUMBER BYTES`: the allocations so far, those that grew among them, and their bytes.
#![allow(clippy::disallowed_methods, reason = "the ban is the broker's")]

use std::alloc::System;
use std::io::BufRead;

use clap::Parser;
use ottla::cli::Arguments;
use ottla::env::RealDisk;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> anyhow::Result<()> {
    // Cargo's own argument for benchmarks.
    let arguments = Arguments::parse_from(std::env::args().filter(|argument| argument != "--bench"));
    // Its output is for the counts.
    ottla::telemetry::log_levels().configure(ottla::telemetry::ROOT_LOGGER, "WARN");
    let _log_end = ottla::telemetry::init_logging(ottla::telemetry::LogFormat::Kafka)?;
    let options = arguments.start_options(&RealDisk, Default::default())?;
    std::thread::spawn(|| {
        for _ in std::io::stdin().lock().lines() {
            let counts = ALLOCATOR.stats();
            let number = counts.allocations + counts.reallocations;
            println!("counts {number} {}", counts.bytes_allocated);
        }
    });
    Ok(ottla::broker::run(options)?)
}
