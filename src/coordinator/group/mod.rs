//! Consumer groups: Kafka's classic protocol, and the offsets that groups commit.

mod config;

pub use config::GroupCoordinatorConfig;
