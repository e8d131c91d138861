//! Every request that the codec knows, for tests and fuzzing: decodes by key and version alone.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Message, Request, VersionRange};

use super::WireError;
use super::guard::{Guard, decode_request};

/// What can be done with a request of any type.
pub struct AnyRequest {
    /// API key.
    pub key: i16,
    /// Versions that the codec knows.
    pub versions: VersionRange,
    /// Decodes as a handler's request is decoded.
    pub decode: fn(Bytes, i16) -> Result<(), WireError>,
    /// Decodes, and encodes what was decoded.
    pub recode: fn(Bytes, i16) -> Result<Bytes, WireError>,
    /// Decodes through the clamping buffer alone: the number of bytes that the message took.
    pub decode_clamped: fn(Bytes, i16) -> Result<usize, WireError>,
    /// The encoded default of a version; `None` where the codec has no default that it can encode.
    pub default: fn(i16) -> Option<Bytes>,
}

fn any<T: Request + Default>() -> AnyRequest {
    AnyRequest {
        key: T::KEY,
        versions: <T as Message>::VERSIONS,
        decode: |body, version| decode_request::<T>(body, version).map(|_| ()),
        recode: |body, version| {
            let request = decode_request::<T>(body, version)?;
            super::encode_message(&request, version)
        },
        decode_clamped: |body, version| {
            let length = body.len();
            let mut guard = Guard(body);
            T::decode(&mut guard, version).map_err(|error| WireError::Undecodable(error.to_string()))?;
            Ok(length - guard.0.len())
        },
        default: |version| {
            let mut buffer = BytesMut::new();
            T::default().encode(&mut buffer, version).ok()?;
            Some(buffer.freeze())
        },
    }
}

macro_rules! every_request {
    ($($request:ident,)*) => {
        /// All of them, by ascending key.
        pub fn every_request() -> Vec<AnyRequest> {
            vec![$(any::<m::$request>(),)*]
        }
    };
}

every_request! {
    ProduceRequest,
    FetchRequest,
    ListOffsetsRequest,
    MetadataRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
    FindCoordinatorRequest,
    JoinGroupRequest,
    HeartbeatRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
    DescribeGroupsRequest,
    ListGroupsRequest,
    SaslHandshakeRequest,
    ApiVersionsRequest,
    CreateTopicsRequest,
    DeleteTopicsRequest,
    DeleteRecordsRequest,
    InitProducerIdRequest,
    OffsetForLeaderEpochRequest,
    AddPartitionsToTxnRequest,
    AddOffsetsToTxnRequest,
    EndTxnRequest,
    WriteTxnMarkersRequest,
    TxnOffsetCommitRequest,
    DescribeAclsRequest,
    CreateAclsRequest,
    DeleteAclsRequest,
    DescribeConfigsRequest,
    AlterConfigsRequest,
    AlterReplicaLogDirsRequest,
    DescribeLogDirsRequest,
    SaslAuthenticateRequest,
    CreatePartitionsRequest,
    CreateDelegationTokenRequest,
    RenewDelegationTokenRequest,
    ExpireDelegationTokenRequest,
    DescribeDelegationTokenRequest,
    DeleteGroupsRequest,
    ElectLeadersRequest,
    IncrementalAlterConfigsRequest,
    AlterPartitionReassignmentsRequest,
    ListPartitionReassignmentsRequest,
    OffsetDeleteRequest,
    DescribeClientQuotasRequest,
    AlterClientQuotasRequest,
    DescribeUserScramCredentialsRequest,
    AlterUserScramCredentialsRequest,
    VoteRequest,
    BeginQuorumEpochRequest,
    EndQuorumEpochRequest,
    DescribeQuorumRequest,
    AlterPartitionRequest,
    UpdateFeaturesRequest,
    EnvelopeRequest,
    FetchSnapshotRequest,
    DescribeClusterRequest,
    DescribeProducersRequest,
    BrokerRegistrationRequest,
    BrokerHeartbeatRequest,
    UnregisterBrokerRequest,
    DescribeTransactionsRequest,
    ListTransactionsRequest,
    AllocateProducerIdsRequest,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupDescribeRequest,
    ControllerRegistrationRequest,
    GetTelemetrySubscriptionsRequest,
    PushTelemetryRequest,
    AssignReplicasToDirsRequest,
    ListConfigResourcesRequest,
    DescribeTopicPartitionsRequest,
    ShareGroupHeartbeatRequest,
    ShareGroupDescribeRequest,
    ShareFetchRequest,
    ShareAcknowledgeRequest,
    AddRaftVoterRequest,
    RemoveRaftVoterRequest,
    UpdateRaftVoterRequest,
    InitializeShareGroupStateRequest,
    ReadShareGroupStateRequest,
    WriteShareGroupStateRequest,
    DeleteShareGroupStateRequest,
    ReadShareGroupStateSummaryRequest,
    DescribeShareGroupOffsetsRequest,
    AlterShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsRequest,
}
