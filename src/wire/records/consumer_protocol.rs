//! What members of protocol type `consumer` say of themselves, as records of `__consumer_offsets` hold it and tools print it.
//!
//! Tables of Kafka's `clients/src/main/resources/common/message/ConsumerProtocol*.json`, release 4.3.

use bytes::Bytes;

use crate::wire::message::message;

message! {
    /// Partitions of a topic.
    ConsumerProtocolPartitions, versions 0..=3, flexible from 4 {
        /// Name of the topic.
        topic: String = String::new(), 0;
        /// Numbers of the partitions.
        partitions: Vec<i32> = Vec::new(), 0;
    }
}

message! {
    /// What a member subscribes to.
    ConsumerProtocolSubscription, versions 0..=3, flexible from 4 {
        /// The topics.
        topics: Vec<String> = Vec::new(), 0;
        /// The assignor's own.
        user_data: Option<Bytes> = None, 0;
        /// What the member still owns (KIP-429).
        owned_partitions: Vec<ConsumerProtocolPartitions> = Vec::new(), 1 as ignorable;
        /// The generation it owned that in.
        generation_id: i32 = -1, 2 as ignorable;
        /// The member's rack.
        rack_id: Option<String> = None, 3 as ignorable;
    }
}

message! {
    /// What the leader assigned to a member.
    ConsumerProtocolAssignment, versions 0..=3, flexible from 4 {
        /// The partitions.
        assigned_partitions: Vec<ConsumerProtocolPartitions> = Vec::new(), 0;
        /// The assignor's own.
        user_data: Option<Bytes> = None, 0;
    }
}
