//! Drives one workload against one broker and prints one JSON object; see `compat-tests/bench/run`.
//!
//! `bench_driver WORKLOAD --bootstrap HOST:PORT --broker-pid PID [parameters]`

use std::process::ExitCode;

use clap::Parser;
use ottla_compat_tests::bench::{Options, run};

fn main() -> ExitCode {
    let report = run(&Options::parse());
    match report.and_then(|report| Ok(serde_json::to_string(&report)?)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench_driver: {error:#}");
            ExitCode::FAILURE
        }
    }
}
