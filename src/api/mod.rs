//! The APIs: one table of what is served, one file per API key, one place that turns errors into Kafka's codes.
//!
//! Contract:
//! - `registry` is the only list of APIs. An API is added with a `mod` line here, a row in `registry::APIS` and, when it
//!   needs a room that no API has needed before, a field in `Services`.
//! - A file per API key has one entry, `handle(services, context, request) -> Answer<Response>`. What the request must do
//!   at once (validate, append, change a group) happens synchronously inside `handle`; what it has to wait for is the
//!   future in `Answer::Later`. The connection starts requests in arrival order and answers in the same order, so that a
//!   client sees what it would see from Kafka, which runs one request per connection at a time (`SocketServer`).
//! - Every request body is decoded through `wire`'s two-pass guard, never directly.
//! - The meta-tests in `registry_tests` walk the table; `PROTOCOL.md`'s table is generated from it.

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
mod advertised;
pub mod alter_configs;
pub mod api_versions;
mod authorized_operations;
mod broker_loggers;
mod by_topic;
mod cluster_view;
mod controller_error;
pub mod create_partitions;
pub mod create_topics;
mod current_leader;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_topic_partitions;
pub mod describe_transactions;
pub mod elect_leaders;
pub mod end_txn;
pub mod error_mapping;
pub mod fetch;
pub mod find_coordinator;
pub mod handler;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod list_transactions;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod registry;
mod repeats;
pub mod services;
pub mod sync_group;
pub mod txn_offset_commit;
pub mod update_features;
pub mod write_txn_markers;

pub use advertised::AdvertisedListeners;
pub use error_mapping::ToErrorCode;
pub use handler::{Answer, Chunk, CloseReason, Outcome, RequestContext, Response};
pub use registry::{ApiEntry, Lookup};
pub use services::{Endpoint, Services};

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod data_tests;
#[cfg(test)]
mod every_request_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod large_request_tests;
#[cfg(test)]
pub(crate) mod test_services;
#[cfg(test)]
mod transaction_tests;
