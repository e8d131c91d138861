//! Exactly once, checked: a workload, faults, and a checker after Jepsen's Kafka workload.
//!
//! [`history`] is what happened, one line of JSON an event; [`checker`] says what of it must not happen.
//! [`proxy`] stands between clients and broker, does harm, and can lie ([`lies`]), which proves the checker in a live run.

pub mod batches;
pub mod checker;
pub mod history;
pub mod lies;
pub mod nemesis;
pub mod proxy;
pub mod raw;
pub mod raw_clients;
pub mod raw_reader;
pub mod rdkafka_clients;
pub mod run;
pub mod session;
pub mod target;
pub mod workload;
