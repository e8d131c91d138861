//! Every request that the codec knows, for tests and fuzzing: decodes by key and version alone, and makes samples.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Message, Request, VersionRange};

use super::WireError;
use super::guard::{Guard, decode_request};
use super::shape::request_shape;

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
    /// Walks by the request's shape: the number of bytes that the message takes.
    pub walk: fn(&[u8], i16) -> Result<usize, WireError>,
    /// Decodes through the clamping buffer alone: the number of bytes that the message took.
    pub decode_clamped: fn(Bytes, i16) -> Result<usize, WireError>,
    /// Decodes with the codec alone, which trusts lengths, and encodes what was decoded: for bodies that were walked.
    pub recode_walked: fn(Bytes, i16) -> Result<Bytes, WireError>,
    /// The encoded default of a version; `None` where the codec has no default that it can encode.
    pub default: fn(i16) -> Option<Bytes>,
}

fn any<T: Request + Default + 'static>() -> AnyRequest {
    AnyRequest {
        key: T::KEY,
        versions: <T as Message>::VERSIONS,
        decode: |body, version| decode_request::<T>(body, version).map(|_| ()),
        recode: |body, version| {
            let request = decode_request::<T>(body, version)?;
            super::encode_message(&request, version)
        },
        walk: |body, version| match request_shape(T::KEY) {
            Some(shape) => shape.walk(body, version),
            None => Err(WireError::UnknownApiKey(T::KEY)),
        },
        decode_clamped: |body, version| {
            let length = body.len();
            let mut guard = Guard(body);
            T::decode(&mut guard, version).map_err(|error| WireError::Undecodable(error.to_string()))?;
            Ok(length - guard.0.len())
        },
        recode_walked: |mut body, version| {
            let request = T::decode(&mut body, version);
            super::encode_message(&request.map_err(|error| WireError::Undecodable(error.to_string()))?, version)
        },
        default: |version| {
            let mut buffer = BytesMut::new();
            T::default().encode(&mut buffer, version).ok()?;
            Some(buffer.freeze())
        },
    }
}

impl AnyRequest {
    /// Kafka's name of the API.
    pub fn name(&self) -> &'static str {
        super::api_keys::name(self.key).unwrap_or("unknown")
    }

    /// An honest body with every field that is not tagged; the same seed gives the same body.
    pub fn sample(&self, version: i16, seed: u64) -> Bytes {
        let mut state = seed | 1;
        let mut choose = |limit: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % limit
        };
        request_shape(self.key).map(|shape| shape.write(version, &mut choose)).unwrap_or_default()
    }

    /// The walk and the codec must read the same message out of the same bytes: else a length that the walk has seen is
    /// not the one that the codec reserves memory for. Panics when they do not.
    pub fn check(&self, version: i16, body: &Bytes) {
        if let Ok(length) = (self.walk)(body, version) {
            match (self.decode_clamped)(body.clone(), version) {
                Ok(clamped) => assert_eq!(length, clamped, "{} v{version}: {body:02x?}", self.name()),
                // The codec also refuses what is not UTF-8, null where it must not be, and tags in other versions; but
                // never for a length, which is handed out as -2 when it lies.
                Err(error) => assert!(!error.to_string().contains("(-2)"), "{} v{version}: {error}", self.name()),
            }
        }
        // Must not panic; some of what decodes, such as very long strings, cannot be encoded. The readers of Produce and Fetch that
        // trust no length read what the codec reads.
        let recoded = (self.recode)(body.clone(), version);
        if let Ok(recoded) = recoded
            && (self.walk)(body, version).is_ok()
            && let Ok(by_codec) = (self.recode_walked)(body.clone(), version)
        {
            assert!(recoded == by_codec, "{} v{version} is read otherwise: {body:02x?}", self.name());
        }
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
