//! Every error that Kafka 4.3 has a number for (`Errors`): its name, Java's exception, what it says, whether trying again may help.

/// An error of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KafkaError {
    /// The number on the wire.
    pub code: i16,
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    pub name: &'static str,
    /// `UnknownTopicOrPartitionException`; empty for no error.
    pub class: &'static str,
    /// What Java's exception says where the answer brings no message.
    pub message: &'static str,
    /// Whether trying again may help (`RetriableException`).
    pub is_retriable: bool,
}

const RETRIABLE: bool = true;
const FINAL: bool = false;

const fn error(
    code: i16,
    name: &'static str,
    class: &'static str,
    is_retriable: bool,
    message: &'static str,
) -> KafkaError {
    KafkaError { code, name, class, message, is_retriable }
}

/// The error with this number; a number that Kafka 4.3 does not have is `UNKNOWN_SERVER_ERROR` (`Errors.forCode`).
pub fn kafka_error(code: i16) -> &'static KafkaError {
    KAFKA_ERRORS.binary_search_by_key(&code, |error| error.code).map_or(&KAFKA_ERRORS[0], |index| &KAFKA_ERRORS[index])
}

/// By ascending number.
#[rustfmt::skip]
static KAFKA_ERRORS: &[KafkaError] = &[
    error(-1, "UNKNOWN_SERVER_ERROR", "UnknownServerException", FINAL, "The server experienced an unexpected error when processing the request."),
    error(0, "NONE", "", FINAL, ""),
    error(1, "OFFSET_OUT_OF_RANGE", "OffsetOutOfRangeException", FINAL, "The requested offset is not within the range of offsets maintained by the server."),
    error(2, "CORRUPT_MESSAGE", "CorruptRecordException", RETRIABLE, "This message has failed its CRC checksum, exceeds the valid size, has a null key for a compacted topic, or is otherwise corrupt."),
    error(3, "UNKNOWN_TOPIC_OR_PARTITION", "UnknownTopicOrPartitionException", RETRIABLE, "This server does not host this topic-partition."),
    error(4, "INVALID_FETCH_SIZE", "InvalidFetchSizeException", FINAL, "The requested fetch size is invalid."),
    error(5, "LEADER_NOT_AVAILABLE", "LeaderNotAvailableException", RETRIABLE, "There is no leader for this topic-partition as we are in the middle of a leadership election."),
    error(6, "NOT_LEADER_OR_FOLLOWER", "NotLeaderOrFollowerException", RETRIABLE, "For requests intended only for the leader, this error indicates that the broker is not the current leader. For requests intended for any replica, this error indicates that the broker is not a replica of the topic partition."),
    error(7, "REQUEST_TIMED_OUT", "TimeoutException", RETRIABLE, "The request timed out."),
    error(8, "BROKER_NOT_AVAILABLE", "BrokerNotAvailableException", FINAL, "The broker is not available."),
    error(9, "REPLICA_NOT_AVAILABLE", "ReplicaNotAvailableException", RETRIABLE, "The replica is not available for the requested topic-partition. Produce/Fetch requests and other requests intended only for the leader or follower return NOT_LEADER_OR_FOLLOWER if the broker is not a replica of the topic-partition."),
    error(10, "MESSAGE_TOO_LARGE", "RecordTooLargeException", FINAL, "The request included a message larger than the max message size the server will accept."),
    error(11, "STALE_CONTROLLER_EPOCH", "ControllerMovedException", FINAL, "The controller moved to another broker."),
    error(12, "OFFSET_METADATA_TOO_LARGE", "OffsetMetadataTooLarge", FINAL, "The metadata field of the offset request was too large."),
    error(13, "NETWORK_EXCEPTION", "NetworkException", RETRIABLE, "The server disconnected before a response was received."),
    error(14, "COORDINATOR_LOAD_IN_PROGRESS", "CoordinatorLoadInProgressException", RETRIABLE, "The coordinator is loading and hence can't process requests."),
    error(15, "COORDINATOR_NOT_AVAILABLE", "CoordinatorNotAvailableException", RETRIABLE, "The coordinator is not available."),
    error(16, "NOT_COORDINATOR", "NotCoordinatorException", RETRIABLE, "This is not the correct coordinator."),
    error(17, "INVALID_TOPIC_EXCEPTION", "InvalidTopicException", FINAL, "The request attempted to perform an operation on an invalid topic."),
    error(18, "RECORD_LIST_TOO_LARGE", "RecordBatchTooLargeException", FINAL, "The request included message batch larger than the configured segment size on the server."),
    error(19, "NOT_ENOUGH_REPLICAS", "NotEnoughReplicasException", RETRIABLE, "Messages are rejected since there are fewer in-sync replicas than required."),
    error(20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "NotEnoughReplicasAfterAppendException", RETRIABLE, "Messages are written to the log, but to fewer in-sync replicas than required."),
    error(21, "INVALID_REQUIRED_ACKS", "InvalidRequiredAcksException", FINAL, "Produce request specified an invalid value for required acks."),
    error(22, "ILLEGAL_GENERATION", "IllegalGenerationException", FINAL, "Specified group generation id is not valid."),
    error(23, "INCONSISTENT_GROUP_PROTOCOL", "InconsistentGroupProtocolException", FINAL, "The group member's supported protocols are incompatible with those of existing members or first group member tried to join with empty protocol type or empty protocol list."),
    error(24, "INVALID_GROUP_ID", "InvalidGroupIdException", FINAL, "The group id is invalid."),
    error(25, "UNKNOWN_MEMBER_ID", "UnknownMemberIdException", FINAL, "The coordinator is not aware of this member."),
    error(26, "INVALID_SESSION_TIMEOUT", "InvalidSessionTimeoutException", FINAL, "The session timeout is not within the range allowed by the broker (as configured by group.min.session.timeout.ms and group.max.session.timeout.ms)."),
    error(27, "REBALANCE_IN_PROGRESS", "RebalanceInProgressException", FINAL, "The group is rebalancing, so a rejoin is needed."),
    error(28, "INVALID_COMMIT_OFFSET_SIZE", "InvalidCommitOffsetSizeException", FINAL, "The committing offset data size is not valid."),
    error(29, "TOPIC_AUTHORIZATION_FAILED", "TopicAuthorizationException", FINAL, "Topic authorization failed."),
    error(30, "GROUP_AUTHORIZATION_FAILED", "GroupAuthorizationException", FINAL, "Group authorization failed."),
    error(31, "CLUSTER_AUTHORIZATION_FAILED", "ClusterAuthorizationException", FINAL, "Cluster authorization failed."),
    error(32, "INVALID_TIMESTAMP", "InvalidTimestampException", FINAL, "The timestamp of the message is out of acceptable range."),
    error(33, "UNSUPPORTED_SASL_MECHANISM", "UnsupportedSaslMechanismException", FINAL, "The broker does not support the requested SASL mechanism."),
    error(34, "ILLEGAL_SASL_STATE", "IllegalSaslStateException", FINAL, "Request is not valid given the current SASL state."),
    error(35, "UNSUPPORTED_VERSION", "UnsupportedVersionException", FINAL, "The version of API is not supported."),
    error(36, "TOPIC_ALREADY_EXISTS", "TopicExistsException", FINAL, "Topic with this name already exists."),
    error(37, "INVALID_PARTITIONS", "InvalidPartitionsException", FINAL, "Number of partitions is below 1."),
    error(38, "INVALID_REPLICATION_FACTOR", "InvalidReplicationFactorException", FINAL, "Replication factor is below 1 or larger than the number of available brokers."),
    error(39, "INVALID_REPLICA_ASSIGNMENT", "InvalidReplicaAssignmentException", FINAL, "Replica assignment is invalid."),
    error(40, "INVALID_CONFIG", "InvalidConfigurationException", FINAL, "Configuration is invalid."),
    error(41, "NOT_CONTROLLER", "NotControllerException", RETRIABLE, "This is not the correct controller for this cluster."),
    error(42, "INVALID_REQUEST", "InvalidRequestException", FINAL, "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details."),
    error(43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", "UnsupportedForMessageFormatException", FINAL, "The message format version on the broker does not support the request."),
    error(44, "POLICY_VIOLATION", "PolicyViolationException", FINAL, "Request parameters do not satisfy the configured policy."),
    error(45, "OUT_OF_ORDER_SEQUENCE_NUMBER", "OutOfOrderSequenceException", FINAL, "The broker received an out of order sequence number."),
    error(46, "DUPLICATE_SEQUENCE_NUMBER", "DuplicateSequenceException", FINAL, "The broker received a duplicate sequence number."),
    error(47, "INVALID_PRODUCER_EPOCH", "InvalidProducerEpochException", FINAL, "Producer attempted to produce with an old epoch."),
    error(48, "INVALID_TXN_STATE", "InvalidTxnStateException", FINAL, "The producer attempted a transactional operation in an invalid state."),
    error(49, "INVALID_PRODUCER_ID_MAPPING", "InvalidPidMappingException", FINAL, "The producer attempted to use a producer id which is not currently assigned to its transactional id."),
    error(50, "INVALID_TRANSACTION_TIMEOUT", "InvalidTxnTimeoutException", FINAL, "The transaction timeout is larger than the maximum value allowed by the broker (as configured by transaction.max.timeout.ms)."),
    error(51, "CONCURRENT_TRANSACTIONS", "ConcurrentTransactionsException", RETRIABLE, "The producer attempted to update a transaction while another concurrent operation on the same transaction was ongoing."),
    error(52, "TRANSACTION_COORDINATOR_FENCED", "TransactionCoordinatorFencedException", FINAL, "Indicates that the transaction coordinator sending a WriteTxnMarker is no longer the current coordinator for a given producer."),
    error(53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "TransactionalIdAuthorizationException", FINAL, "Transactional Id authorization failed."),
    error(54, "SECURITY_DISABLED", "SecurityDisabledException", FINAL, "Security features are disabled."),
    error(55, "OPERATION_NOT_ATTEMPTED", "OperationNotAttemptedException", FINAL, "The broker did not attempt to execute this operation. This may happen for batched RPCs where some operations in the batch failed, causing the broker to respond without trying the rest."),
    error(56, "KAFKA_STORAGE_ERROR", "KafkaStorageException", RETRIABLE, "Disk error when trying to access log file on the disk."),
    error(57, "LOG_DIR_NOT_FOUND", "LogDirNotFoundException", FINAL, "The user-specified log directory is not found in the broker config."),
    error(58, "SASL_AUTHENTICATION_FAILED", "SaslAuthenticationException", FINAL, "SASL Authentication failed."),
    error(59, "UNKNOWN_PRODUCER_ID", "UnknownProducerIdException", FINAL, "This exception is raised by the broker if it could not locate the producer metadata associated with the producerId in question. This could happen if, for instance, the producer's records were deleted because their retention time had elapsed. Once the last records of the producerId are removed, the producer's metadata is removed from the broker, and future appends by the producer will return this exception."),
    error(60, "REASSIGNMENT_IN_PROGRESS", "ReassignmentInProgressException", FINAL, "A partition reassignment is in progress."),
    error(61, "DELEGATION_TOKEN_AUTH_DISABLED", "DelegationTokenDisabledException", FINAL, "Delegation Token feature is not enabled."),
    error(62, "DELEGATION_TOKEN_NOT_FOUND", "DelegationTokenNotFoundException", FINAL, "Delegation Token is not found on server."),
    error(63, "DELEGATION_TOKEN_OWNER_MISMATCH", "DelegationTokenOwnerMismatchException", FINAL, "Specified Principal is not valid Owner/Renewer."),
    error(64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", "UnsupportedByAuthenticationException", FINAL, "Delegation Token requests are not allowed on PLAINTEXT/1-way SSL channels and on delegation token authenticated channels."),
    error(65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", "DelegationTokenAuthorizationException", FINAL, "Delegation Token authorization failed."),
    error(66, "DELEGATION_TOKEN_EXPIRED", "DelegationTokenExpiredException", FINAL, "Delegation Token is expired."),
    error(67, "INVALID_PRINCIPAL_TYPE", "InvalidPrincipalTypeException", FINAL, "Supplied principalType is not supported."),
    error(68, "NON_EMPTY_GROUP", "GroupNotEmptyException", FINAL, "The group is not empty."),
    error(69, "GROUP_ID_NOT_FOUND", "GroupIdNotFoundException", FINAL, "The group id does not exist."),
    error(70, "FETCH_SESSION_ID_NOT_FOUND", "FetchSessionIdNotFoundException", RETRIABLE, "The fetch session ID was not found."),
    error(71, "INVALID_FETCH_SESSION_EPOCH", "InvalidFetchSessionEpochException", RETRIABLE, "The fetch session epoch is invalid."),
    error(72, "LISTENER_NOT_FOUND", "ListenerNotFoundException", RETRIABLE, "There is no listener on the leader broker that matches the listener on which metadata request was processed."),
    error(73, "TOPIC_DELETION_DISABLED", "TopicDeletionDisabledException", FINAL, "Topic deletion is disabled."),
    error(74, "FENCED_LEADER_EPOCH", "FencedLeaderEpochException", RETRIABLE, "The leader epoch in the request is older than the epoch on the broker."),
    error(75, "UNKNOWN_LEADER_EPOCH", "UnknownLeaderEpochException", RETRIABLE, "The leader epoch in the request is newer than the epoch on the broker."),
    error(76, "UNSUPPORTED_COMPRESSION_TYPE", "UnsupportedCompressionTypeException", FINAL, "The requesting client does not support the compression type of given partition."),
    error(77, "STALE_BROKER_EPOCH", "StaleBrokerEpochException", FINAL, "Broker epoch has changed."),
    error(78, "OFFSET_NOT_AVAILABLE", "OffsetNotAvailableException", RETRIABLE, "The leader high watermark has not caught up from a recent leader election so the offsets cannot be guaranteed to be monotonically increasing."),
    error(79, "MEMBER_ID_REQUIRED", "MemberIdRequiredException", FINAL, "The group member needs to have a valid member id before actually entering a consumer group."),
    error(80, "PREFERRED_LEADER_NOT_AVAILABLE", "PreferredLeaderNotAvailableException", RETRIABLE, "The preferred leader was not available."),
    error(81, "GROUP_MAX_SIZE_REACHED", "GroupMaxSizeReachedException", FINAL, "The group has reached its maximum size."),
    error(82, "FENCED_INSTANCE_ID", "FencedInstanceIdException", FINAL, "The broker rejected this static consumer since another consumer with the same group.instance.id has registered with a different member.id."),
    error(83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", "EligibleLeadersNotAvailableException", RETRIABLE, "Eligible topic partition leaders are not available."),
    error(84, "ELECTION_NOT_NEEDED", "ElectionNotNeededException", RETRIABLE, "Leader election not needed for topic partition."),
    error(85, "NO_REASSIGNMENT_IN_PROGRESS", "NoReassignmentInProgressException", FINAL, "No partition reassignment is in progress."),
    error(86, "GROUP_SUBSCRIBED_TO_TOPIC", "GroupSubscribedToTopicException", FINAL, "Deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it."),
    error(87, "INVALID_RECORD", "InvalidRecordException", FINAL, "This record has failed the validation on broker and hence will be rejected."),
    error(88, "UNSTABLE_OFFSET_COMMIT", "UnstableOffsetCommitException", RETRIABLE, "There are unstable offsets that need to be cleared."),
    error(89, "THROTTLING_QUOTA_EXCEEDED", "ThrottlingQuotaExceededException", RETRIABLE, "The throttling quota has been exceeded."),
    error(90, "PRODUCER_FENCED", "ProducerFencedException", FINAL, "There is a newer producer with the same transactionalId which fences the current one."),
    error(91, "RESOURCE_NOT_FOUND", "ResourceNotFoundException", FINAL, "A request illegally referred to a resource that does not exist."),
    error(92, "DUPLICATE_RESOURCE", "DuplicateResourceException", FINAL, "A request illegally referred to the same resource twice."),
    error(93, "UNACCEPTABLE_CREDENTIAL", "UnacceptableCredentialException", FINAL, "Requested credential would not meet criteria for acceptability."),
    error(94, "INCONSISTENT_VOTER_SET", "InconsistentVoterSetException", FINAL, "Indicates that the either the sender or recipient of a voter-only request is not one of the expected voters."),
    error(95, "INVALID_UPDATE_VERSION", "InvalidUpdateVersionException", FINAL, "The given update version was invalid."),
    error(96, "FEATURE_UPDATE_FAILED", "FeatureUpdateFailedException", FINAL, "Unable to update finalized features due to an unexpected server error."),
    error(97, "PRINCIPAL_DESERIALIZATION_FAILURE", "PrincipalDeserializationException", FINAL, "Request principal deserialization failed during forwarding. This indicates an internal error on the broker cluster security setup."),
    error(98, "SNAPSHOT_NOT_FOUND", "SnapshotNotFoundException", FINAL, "Requested snapshot was not found."),
    error(99, "POSITION_OUT_OF_RANGE", "PositionOutOfRangeException", FINAL, "Requested position is not greater than or equal to zero, and less than the size of the snapshot."),
    error(100, "UNKNOWN_TOPIC_ID", "UnknownTopicIdException", RETRIABLE, "This server does not host this topic ID."),
    error(101, "DUPLICATE_BROKER_REGISTRATION", "DuplicateBrokerRegistrationException", FINAL, "This broker ID is already in use."),
    error(102, "BROKER_ID_NOT_REGISTERED", "BrokerIdNotRegisteredException", FINAL, "The given broker ID was not registered."),
    error(103, "INCONSISTENT_TOPIC_ID", "InconsistentTopicIdException", RETRIABLE, "The log's topic ID did not match the topic ID in the request."),
    error(104, "INCONSISTENT_CLUSTER_ID", "InconsistentClusterIdException", FINAL, "The clusterId in the request does not match that found on the server."),
    error(105, "TRANSACTIONAL_ID_NOT_FOUND", "TransactionalIdNotFoundException", FINAL, "The transactionalId could not be found."),
    error(106, "FETCH_SESSION_TOPIC_ID_ERROR", "FetchSessionTopicIdException", RETRIABLE, "The fetch session encountered inconsistent topic ID usage."),
    error(107, "INELIGIBLE_REPLICA", "IneligibleReplicaException", FINAL, "The new ISR contains at least one ineligible replica."),
    error(108, "NEW_LEADER_ELECTED", "NewLeaderElectedException", FINAL, "The AlterPartition request successfully updated the partition state but the leader has changed."),
    error(109, "OFFSET_MOVED_TO_TIERED_STORAGE", "OffsetMovedToTieredStorageException", FINAL, "The requested offset is moved to tiered storage."),
    error(110, "FENCED_MEMBER_EPOCH", "FencedMemberEpochException", FINAL, "The member epoch is fenced by the group coordinator. The member must abandon all its partitions and rejoin."),
    error(111, "UNRELEASED_INSTANCE_ID", "UnreleasedInstanceIdException", FINAL, "The instance ID is still used by another member in the consumer group. That member must leave first."),
    error(112, "UNSUPPORTED_ASSIGNOR", "UnsupportedAssignorException", FINAL, "The assignor or its version range is not supported by the consumer group."),
    error(113, "STALE_MEMBER_EPOCH", "StaleMemberEpochException", FINAL, "The member epoch is stale. The member must retry after receiving its updated member epoch via the ConsumerGroupHeartbeat API."),
    error(114, "MISMATCHED_ENDPOINT_TYPE", "MismatchedEndpointTypeException", FINAL, "The request was sent to an endpoint of the wrong type."),
    error(115, "UNSUPPORTED_ENDPOINT_TYPE", "UnsupportedEndpointTypeException", FINAL, "This endpoint type is not supported yet."),
    error(116, "UNKNOWN_CONTROLLER_ID", "UnknownControllerIdException", FINAL, "This controller ID is not known."),
    error(117, "UNKNOWN_SUBSCRIPTION_ID", "UnknownSubscriptionIdException", FINAL, "Client sent a push telemetry request with an invalid or outdated subscription ID."),
    error(118, "TELEMETRY_TOO_LARGE", "TelemetryTooLargeException", FINAL, "Client sent a push telemetry request larger than the maximum size the broker will accept."),
    error(119, "INVALID_REGISTRATION", "InvalidRegistrationException", FINAL, "The controller has considered the broker registration to be invalid."),
    error(120, "TRANSACTION_ABORTABLE", "TransactionAbortableException", FINAL, "The server encountered an error with the transaction. The client can abort the transaction to continue using this transactional ID."),
    error(121, "INVALID_RECORD_STATE", "InvalidRecordStateException", FINAL, "The record state is invalid. The acknowledgement of delivery could not be completed."),
    error(122, "SHARE_SESSION_NOT_FOUND", "ShareSessionNotFoundException", RETRIABLE, "The share session was not found."),
    error(123, "INVALID_SHARE_SESSION_EPOCH", "InvalidShareSessionEpochException", RETRIABLE, "The share session epoch is invalid."),
    error(124, "FENCED_STATE_EPOCH", "FencedStateEpochException", FINAL, "The coordinator rejected the request because the state epoch did not match."),
    error(125, "INVALID_VOTER_KEY", "InvalidVoterKeyException", FINAL, "The voter key doesn't match the receiving replica's key."),
    error(126, "DUPLICATE_VOTER", "DuplicateVoterException", FINAL, "The voter is already part of the set of voters."),
    error(127, "VOTER_NOT_FOUND", "VoterNotFoundException", FINAL, "The voter is not part of the set of voters."),
    error(128, "INVALID_REGULAR_EXPRESSION", "InvalidRegularExpression", FINAL, "The regular expression is not valid."),
    error(129, "REBOOTSTRAP_REQUIRED", "RebootstrapRequiredException", FINAL, "Client metadata is stale. The client should rebootstrap to obtain new metadata."),
    error(130, "STREAMS_INVALID_TOPOLOGY", "StreamsInvalidTopologyException", FINAL, "The supplied topology is invalid."),
    error(131, "STREAMS_INVALID_TOPOLOGY_EPOCH", "StreamsInvalidTopologyEpochException", FINAL, "The supplied topology epoch is invalid."),
    error(132, "STREAMS_TOPOLOGY_FENCED", "StreamsTopologyFencedException", FINAL, "The supplied topology epoch is outdated."),
    error(133, "SHARE_SESSION_LIMIT_REACHED", "ShareSessionLimitReachedException", RETRIABLE, "The limit of share sessions has been reached."),
    error(134, "GROUP_DELETION_FAILED", "GroupDeletionFailedException", FINAL, "DeleteGroups could not complete; see the error message on the per-group result for details."),
    error(135, "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED", "StreamsTopologyDescriptionUpdateFailedException", FINAL, "The broker could not process the topology description update; see the error message for details."),
    error(136, "CONTROLLER_ID_NOT_REGISTERED", "ControllerIdNotRegisteredException", FINAL, "The given controller ID was not registered."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_by_number() {
        assert!(KAFKA_ERRORS.windows(2).all(|pair| pair[0].code < pair[1].code));
        let unknown_topic = kafka_error(3);
        assert_eq!((unknown_topic.name, unknown_topic.is_retriable), ("UNKNOWN_TOPIC_OR_PARTITION", true));
        assert_eq!((kafka_error(36).class, kafka_error(36).is_retriable), ("TopicExistsException", false));
        assert_eq!(kafka_error(9_999).name, "UNKNOWN_SERVER_ERROR");
        assert_eq!(kafka_error(0).name, "NONE");
    }
}
