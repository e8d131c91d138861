//! The compatibility suite: real clients against a running broker.
//!
//! Each test starts its own broker ([`Broker::start`]): the `ottla` binary that `OTTLA_BIN` names (default `target/release/ottla` of the
//! workspace) on a free port with a data directory of its own, killed when the test is over. With `OTTLA_BOOTSTRAP=HOST:PORT` the same
//! tests run against that broker instead, Apache Kafka for instance, which is how they are kept honest; a step that needs a restart then
//! runs the shell command in `OTTLA_RESTART`, and is left out, saying so, when there is none.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the ban is the broker's: tests see the world as it is"
)]

pub mod bench;
mod broker;
pub mod campaign;
mod clients;
pub mod eos;
mod members;

pub use broker::{Broker, unique};
pub use clients::{
    Collector, Message, Producing, Report, admin, block_on, client_config, consume, consumer_config, create_topic,
    drain, produce, wait_for,
};
pub use members::{Ledger, Member};
