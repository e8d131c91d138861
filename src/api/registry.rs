//! The table of APIs: what is served, in which versions, by which function.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Message, Request, VersionRange};

use super::handler::{self, HandlerFunction, Outcome, RequestContext};
use super::services::Services;

/// Key of ApiVersions, the one API that is answered even for a version that we do not know (KIP-511).
pub const API_VERSIONS_KEY: i16 = 18;

/// Key of Produce.
pub const PRODUCE_KEY: i16 = 0;

/// One row.
pub struct ApiEntry {
    /// Kafka's API key.
    pub key: i16,
    /// Kafka's name of the API (`ApiKeys.name`).
    pub name: &'static str,
    /// Lowest version that is answered.
    pub min_version: i16,
    /// Lowest version that ApiVersions shows. Only Produce differs: old librdkafka turns compression off unless the
    /// range contains 0 (KAFKA-18659).
    pub advertised_min_version: i16,
    /// Highest version that is answered.
    pub max_version: i16,
    /// First version with compact types and tagged fields, and so with request header v2; `None` when there is none.
    pub flexible_from: Option<i16>,
    /// Whether it may start while answers of other such requests are waited for: everything it changes has happened when
    /// its handler returns, and it reads nothing that the others' waiting could change. Produce only.
    pub runs_ahead: bool,
    /// Versions that the codec knows; checked by a meta-test.
    pub codec_versions: VersionRange,
    /// Request header version by API version, from the codec; checked by a meta-test.
    pub codec_request_header: fn(i16) -> i16,
    /// Restrictions and remarks, for `PROTOCOL.md`.
    pub notes: &'static str,
    /// Decodes, handles, encodes.
    pub handler: HandlerFunction,
}

impl ApiEntry {
    /// Whether requests of this version are answered.
    pub fn accepts(&self, version: i16) -> bool {
        (self.min_version..=self.max_version).contains(&version)
    }

    /// Version of the request header (1 or 2).
    pub fn request_header_version(&self, version: i16) -> i16 {
        if self.flexible_from.is_some_and(|from| version >= from) { 2 } else { 1 }
    }

    /// Handles one request.
    pub fn call(&self, services: &Arc<Services>, context: &RequestContext, body: Bytes) -> Outcome {
        (self.handler)(self.name, services, context, body)
    }
}

/// A row: `api!(key Name, RequestType, handler path, min..=max, flexible from[, advertise min][, notes "..."])`.
macro_rules! api {
    ($key:literal $name:ident, $request:ty, $handle:path, $min:literal..=$max:literal, flexible $flexible:expr
     $(, advertise $advertised:literal)? $(, notes $notes:literal)?) => {{
        #[allow(unused_mut, unused_assignments)]
        {
            let mut entry = ApiEntry {
                key: $key,
                name: stringify!($name),
                min_version: $min,
                advertised_min_version: $min,
                max_version: $max,
                flexible_from: $flexible,
                runs_ahead: $key == PRODUCE_KEY,
                codec_versions: <$request as Message>::VERSIONS,
                codec_request_header: <$request as kafka_protocol::protocol::HeaderVersion>::header_version,
                notes: "",
                handler: |api, services, context, body| handler::run::<$request>(api, services, context, body, $handle),
            };
            const { assert!(<$request as Request>::KEY == $key) };
            $(entry.advertised_min_version = $advertised;)?
            $(entry.notes = $notes;)?
            entry
        }
    }};
}

/// All APIs, by key. Versions are the ranges of Kafka 4.1, one consistent release, lowered where a later version means
/// something that is not there yet.
pub static APIS: &[ApiEntry] = &[
    // One line per API, ascending keys.
    api!(0 Produce, m::ProduceRequest, super::produce::handle, 3..=13, flexible Some(9), advertise 0),
    api!(1 Fetch, m::FetchRequest, super::fetch::handle, 4..=18, flexible Some(12)),
    api!(2 ListOffsets, m::ListOffsetsRequest, super::list_offsets::handle, 1..=10, flexible Some(6)),
    api!(3 Metadata, m::MetadataRequest, super::metadata::handle, 0..=13, flexible Some(9)),
    api!(8 OffsetCommit, m::OffsetCommitRequest, super::offset_commit::handle, 2..=9, flexible Some(8)),
    api!(9 OffsetFetch, m::OffsetFetchRequest, super::offset_fetch::handle, 1..=9, flexible Some(6)),
    api!(10 FindCoordinator, m::FindCoordinatorRequest, super::find_coordinator::handle, 0..=5, flexible Some(3),
        notes "6 adds share groups."),
    api!(11 JoinGroup, m::JoinGroupRequest, super::join_group::handle, 0..=9, flexible Some(6)),
    api!(12 Heartbeat, m::HeartbeatRequest, super::heartbeat::handle, 0..=4, flexible Some(4)),
    api!(13 LeaveGroup, m::LeaveGroupRequest, super::leave_group::handle, 0..=5, flexible Some(4)),
    api!(14 SyncGroup, m::SyncGroupRequest, super::sync_group::handle, 0..=5, flexible Some(4)),
    api!(15 DescribeGroups, m::DescribeGroupsRequest, super::describe_groups::handle, 0..=6, flexible Some(5)),
    api!(16 ListGroups, m::ListGroupsRequest, super::list_groups::handle, 0..=5, flexible Some(3)),
    api!(18 ApiVersions, m::ApiVersionsRequest, super::api_versions::handle, 0..=4, flexible Some(3)),
    api!(19 CreateTopics, m::CreateTopicsRequest, super::create_topics::handle, 2..=7, flexible Some(5)),
    api!(20 DeleteTopics, m::DeleteTopicsRequest, super::delete_topics::handle, 1..=6, flexible Some(4)),
    api!(21 DeleteRecords, m::DeleteRecordsRequest, super::delete_records::handle, 0..=2, flexible Some(2)),
    api!(22 InitProducerId, m::InitProducerIdRequest, super::init_producer_id::handle, 0..=5, flexible Some(2)),
    api!(23 OffsetForLeaderEpoch, m::OffsetForLeaderEpochRequest, super::offset_for_leader_epoch::handle, 2..=4,
        flexible Some(4)),
    api!(24 AddPartitionsToTxn, m::AddPartitionsToTxnRequest, super::add_partitions_to_txn::handle, 0..=5,
        flexible Some(3)),
    api!(25 AddOffsetsToTxn, m::AddOffsetsToTxnRequest, super::add_offsets_to_txn::handle, 0..=4, flexible Some(3)),
    api!(26 EndTxn, m::EndTxnRequest, super::end_txn::handle, 0..=5, flexible Some(3)),
    api!(27 WriteTxnMarkers, m::WriteTxnMarkersRequest, super::write_txn_markers::handle, 1..=1, flexible Some(1)),
    api!(28 TxnOffsetCommit, m::TxnOffsetCommitRequest, super::txn_offset_commit::handle, 0..=5, flexible Some(3)),
    api!(32 DescribeConfigs, m::DescribeConfigsRequest, super::describe_configs::handle, 1..=4, flexible Some(4),
        notes "Topics, brokers and loggers; groups and client metrics have no configurations yet."),
    api!(33 AlterConfigs, m::AlterConfigsRequest, super::alter_configs::handle, 0..=2, flexible Some(2)),
    api!(35 DescribeLogDirs, m::DescribeLogDirsRequest, super::describe_log_dirs::handle, 1..=4, flexible Some(2)),
    api!(37 CreatePartitions, m::CreatePartitionsRequest, super::create_partitions::handle, 0..=3, flexible Some(2)),
    api!(42 DeleteGroups, m::DeleteGroupsRequest, super::delete_groups::handle, 0..=2, flexible Some(2)),
    api!(43 ElectLeaders, m::ElectLeadersRequest, super::elect_leaders::handle, 0..=2, flexible Some(2)),
    api!(44 IncrementalAlterConfigs, m::IncrementalAlterConfigsRequest, super::incremental_alter_configs::handle, 0..=1,
        flexible Some(1), notes "Topics and brokers only."),
    api!(46 ListPartitionReassignments, m::ListPartitionReassignmentsRequest,
        super::list_partition_reassignments::handle, 0..=0, flexible Some(0)),
    api!(47 OffsetDelete, m::OffsetDeleteRequest, super::offset_delete::handle, 0..=0, flexible None),
    api!(57 UpdateFeatures, m::UpdateFeaturesRequest, super::update_features::handle, 0..=2, flexible Some(0)),
    api!(60 DescribeCluster, m::DescribeClusterRequest, super::describe_cluster::handle, 0..=2, flexible Some(0)),
    api!(61 DescribeProducers, m::DescribeProducersRequest, super::describe_producers::handle, 0..=0, flexible Some(0)),
    api!(65 DescribeTransactions, m::DescribeTransactionsRequest, super::describe_transactions::handle, 0..=0,
        flexible Some(0)),
    api!(66 ListTransactions, m::ListTransactionsRequest, super::list_transactions::handle, 0..=2, flexible Some(0)),
    api!(74 ListConfigResources, m::ListConfigResourcesRequest, super::list_config_resources::handle, 0..=1,
        flexible Some(0)),
    api!(75 DescribeTopicPartitions, m::DescribeTopicPartitionsRequest, super::describe_topic_partitions::handle,
        0..=0, flexible Some(0)),
];

/// What to do with a request, from its key and version alone.
pub enum Lookup {
    /// Served.
    Entry(&'static ApiEntry),
    /// ApiVersions in a version we do not know: answered without reading the body (KIP-511).
    UnknownApiVersionsVersion(&'static ApiEntry),
    /// Kafka closes the connection (`Processor.parseRequestHeader`).
    Unsupported,
}

/// Finds the row for a request on a broker listener.
pub fn lookup(key: i16, version: i16) -> Lookup {
    match find(key) {
        Some(entry) if entry.accepts(version) => Lookup::Entry(entry),
        Some(entry) if key == API_VERSIONS_KEY => Lookup::UnknownApiVersionsVersion(entry),
        _ => Lookup::Unsupported,
    }
}

/// The row of a key.
pub fn find(key: i16) -> Option<&'static ApiEntry> {
    APIS.binary_search_by_key(&key, |entry| entry.key).ok().map(|index| &APIS[index])
}

/// `PROTOCOL.md`'s table.
pub fn markdown_table() -> String {
    let mut table = String::from("| Key | API | Versions | Flexible from | Notes |\n|---:|---|---|---|---|\n");
    for entry in APIS {
        let versions = if entry.advertised_min_version == entry.min_version {
            format!("{}–{}", entry.min_version, entry.max_version)
        } else {
            format!("{}–{} (advertised from {})", entry.min_version, entry.max_version, entry.advertised_min_version)
        };
        let flexible = entry.flexible_from.map_or_else(|| "never".to_owned(), |version| version.to_string());
        table.push_str(&format!("| {} | {} | {versions} | {flexible} | {} |\n", entry.key, entry.name, entry.notes));
    }
    table
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
