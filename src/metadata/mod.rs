//! The cluster's metadata: a log of KRaft's own records in `__cluster_metadata-0`, a controller that decides what is
//! written there, and the immutable image that every other room reads.
//!
//! Contract: a command is a pure function of (image, request, now) to (response, records). The records are appended and
//! flushed, replayed through a [`MetadataDelta`] into the next [`MetadataImage`], published to every
//! [`MetadataPublisher`], and only then the command answers. Replay is the only way state changes, live and at start.
//! Commands run one at a time. Leader epochs, partition epochs and broker epochs never go back; topic ids are stable.

mod api_error;
mod batches;
mod bootstrap;
mod controller;
mod delta;
mod error;
mod image;
mod inspection;
mod kraft;
mod load;
mod log;
mod publisher;
mod quorum_state;
mod records;
mod replay;
mod snapshot;
mod storage_log;
mod topic_name;
mod verification;

pub use api_error::ApiError;
pub use controller::{
    BrokerRegistrationData, Controller, ControllerOptions, METADATA_VERSION, METADATA_VERSION_LEVEL,
    METADATA_VERSION_MINIMUM, ProducerIdsBlock, SnapshotOptions, TRANSACTION_VERSION, check_own_node_id,
    create_partitions_failure, create_topics_failure, delete_topics_failure, elect_leaders_failure, supported_features,
    update_features_failure,
};
pub use delta::{LocalPartition, LocalReplicaChanges, MetadataDelta, TopicDelta};
pub use error::MetadataError;
pub use image::{
    BrokerIds, BrokerRegistration, CarriedImage, CarriedKind, ClusterImage, ConfigResource, ConfigResourceType,
    ConfigurationsImage, Endpoint, FeaturesImage, LeaderRecoveryState, MetadataImage, NO_LEADER,
    PRODUCER_ID_BLOCK_SIZE, PartitionRegistration, ProducerIdsImage, Provenance, SupportedFeature, TopicImage,
    TopicsImage,
};
pub use inspection::{Inspected, inspect};
pub use log::{BatchVisitor, MetadataLog, MetadataLogReader};
pub use publisher::MetadataPublisher;
pub use snapshot::SnapshotRetention;
pub use storage_log::StorageMetadataLog;
pub use topic_name::{MAX_TOPIC_NAME_LENGTH, validate_topic_name};
pub use verification::{VerifiedMetadata, verify_metadata};

#[cfg(test)]
mod controller_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod feature_tests;
#[cfg(test)]
mod replay_tests;
