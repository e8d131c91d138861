//! Every API that Kafka 4.3 has a number for: its name and the first flexible version, which decides the request header.
//! What this broker serves is another matter: see the registry.

use super::WireError;

/// An API (`ApiKeys`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The number on the wire.
    pub key: i16,
    /// Kafka's name (`ApiKeys.name`).
    pub name: &'static str,
    /// First version with compact lengths and tagged fields, and so with request header v2; `None` when there is none.
    pub flexible_from: Option<i16>,
}

impl ApiKey {
    /// Version of the request header that belongs to a version of the body (`ApiKeys.requestHeaderVersion`).
    pub fn request_header_version(&self, api_version: i16) -> i16 {
        if self.flexible_from.is_some_and(|from| api_version >= from) { 2 } else { 1 }
    }
}

const fn api(key: i16, name: &'static str, flexible_from: Option<i16>) -> ApiKey {
    ApiKey { key, name, flexible_from }
}

/// By ascending key; the gaps are retired.
pub static API_KEYS: &[ApiKey] = &[
    api(0, "Produce", Some(9)),
    api(1, "Fetch", Some(12)),
    api(2, "ListOffsets", Some(6)),
    api(3, "Metadata", Some(9)),
    api(8, "OffsetCommit", Some(8)),
    api(9, "OffsetFetch", Some(6)),
    api(10, "FindCoordinator", Some(3)),
    api(11, "JoinGroup", Some(6)),
    api(12, "Heartbeat", Some(4)),
    api(13, "LeaveGroup", Some(4)),
    api(14, "SyncGroup", Some(4)),
    api(15, "DescribeGroups", Some(5)),
    api(16, "ListGroups", Some(3)),
    api(17, "SaslHandshake", None),
    api(18, "ApiVersions", Some(3)),
    api(19, "CreateTopics", Some(5)),
    api(20, "DeleteTopics", Some(4)),
    api(21, "DeleteRecords", Some(2)),
    api(22, "InitProducerId", Some(2)),
    api(23, "OffsetForLeaderEpoch", Some(4)),
    api(24, "AddPartitionsToTxn", Some(3)),
    api(25, "AddOffsetsToTxn", Some(3)),
    api(26, "EndTxn", Some(3)),
    api(27, "WriteTxnMarkers", Some(1)),
    api(28, "TxnOffsetCommit", Some(3)),
    api(29, "DescribeAcls", Some(2)),
    api(30, "CreateAcls", Some(2)),
    api(31, "DeleteAcls", Some(2)),
    api(32, "DescribeConfigs", Some(4)),
    api(33, "AlterConfigs", Some(2)),
    api(34, "AlterReplicaLogDirs", Some(2)),
    api(35, "DescribeLogDirs", Some(2)),
    api(36, "SaslAuthenticate", Some(2)),
    api(37, "CreatePartitions", Some(2)),
    api(38, "CreateDelegationToken", Some(2)),
    api(39, "RenewDelegationToken", Some(2)),
    api(40, "ExpireDelegationToken", Some(2)),
    api(41, "DescribeDelegationToken", Some(2)),
    api(42, "DeleteGroups", Some(2)),
    api(43, "ElectLeaders", Some(2)),
    api(44, "IncrementalAlterConfigs", Some(1)),
    api(45, "AlterPartitionReassignments", Some(0)),
    api(46, "ListPartitionReassignments", Some(0)),
    api(47, "OffsetDelete", None),
    api(48, "DescribeClientQuotas", Some(1)),
    api(49, "AlterClientQuotas", Some(1)),
    api(50, "DescribeUserScramCredentials", Some(0)),
    api(51, "AlterUserScramCredentials", Some(0)),
    api(52, "Vote", Some(0)),
    api(53, "BeginQuorumEpoch", Some(1)),
    api(54, "EndQuorumEpoch", Some(1)),
    api(55, "DescribeQuorum", Some(0)),
    api(56, "AlterPartition", Some(0)),
    api(57, "UpdateFeatures", Some(0)),
    api(58, "Envelope", Some(0)),
    api(59, "FetchSnapshot", Some(0)),
    api(60, "DescribeCluster", Some(0)),
    api(61, "DescribeProducers", Some(0)),
    api(62, "BrokerRegistration", Some(0)),
    api(63, "BrokerHeartbeat", Some(0)),
    api(64, "UnregisterBroker", Some(0)),
    api(65, "DescribeTransactions", Some(0)),
    api(66, "ListTransactions", Some(0)),
    api(67, "AllocateProducerIds", Some(0)),
    api(68, "ConsumerGroupHeartbeat", Some(0)),
    api(69, "ConsumerGroupDescribe", Some(0)),
    api(70, "ControllerRegistration", Some(0)),
    api(71, "GetTelemetrySubscriptions", Some(0)),
    api(72, "PushTelemetry", Some(0)),
    api(73, "AssignReplicasToDirs", Some(0)),
    api(74, "ListConfigResources", Some(0)),
    api(75, "DescribeTopicPartitions", Some(0)),
    api(76, "ShareGroupHeartbeat", Some(0)),
    api(77, "ShareGroupDescribe", Some(0)),
    api(78, "ShareFetch", Some(0)),
    api(79, "ShareAcknowledge", Some(0)),
    api(80, "AddRaftVoter", Some(0)),
    api(81, "RemoveRaftVoter", Some(0)),
    api(82, "UpdateRaftVoter", Some(0)),
    api(83, "InitializeShareGroupState", Some(0)),
    api(84, "ReadShareGroupState", Some(0)),
    api(85, "WriteShareGroupState", Some(0)),
    api(86, "DeleteShareGroupState", Some(0)),
    api(87, "ReadShareGroupStateSummary", Some(0)),
    api(88, "StreamsGroupHeartbeat", Some(0)),
    api(89, "StreamsGroupDescribe", Some(0)),
    api(90, "DescribeShareGroupOffsets", Some(0)),
    api(91, "AlterShareGroupOffsets", Some(0)),
    api(92, "DeleteShareGroupOffsets", Some(0)),
];

/// Finds an API.
pub fn find(key: i16) -> Option<&'static ApiKey> {
    API_KEYS.binary_search_by_key(&key, |api| api.key).ok().map(|index| &API_KEYS[index])
}

/// Kafka's name of an API.
pub fn name(key: i16) -> Option<&'static str> {
    find(key).map(|api| api.name)
}

/// Version of the header of a request.
pub fn request_header_version(key: i16, api_version: i16) -> Result<i16, WireError> {
    find(key).map(|api| api.request_header_version(api_version)).ok_or(WireError::UnknownApiKey(key))
}
