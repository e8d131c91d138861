//! Records of brokers, topics, partitions, configurations and features.
//!
//! Tables of Kafka's `metadata/src/main/resources/common/metadata/*.json`, release 4.3.

use uuid::Uuid;

use crate::wire::message::message;

message! {
    /// A listener of a broker.
    BrokerEndpoint, versions 0..=4, flexible from 0 {
        /// Name of the listener.
        name: String = String::new(), 0;
        /// Advertised host.
        host: String = String::new(), 0;
        /// Advertised port.
        port: u16 = 0, 0;
        /// Code of the security protocol.
        security_protocol: i16 = 0, 0;
    }
}

message! {
    /// A range of feature levels of a broker.
    BrokerFeature, versions 0..=4, flexible from 0 {
        /// The feature.
        name: String = String::new(), 0;
        /// Lowest level.
        min_supported_version: i16 = 0, 0;
        /// Highest level.
        max_supported_version: i16 = 0, 0;
    }
}

message! {
    /// A broker registered.
    RegisterBrokerRecord, versions 0..=4, flexible from 0 {
        /// The broker.
        broker_id: i32 = 0, 0;
        /// Always false since Kafka 4.0.
        is_migrating_zk_broker: bool = false, 2;
        /// Made anew at every start of the process.
        incarnation_id: Uuid = Uuid::nil(), 0;
        /// Epoch of its registration.
        broker_epoch: i64 = 0, 0;
        /// Its listeners.
        end_points: Vec<BrokerEndpoint> = Vec::new(), 0;
        /// The feature levels that it supports.
        features: Vec<BrokerFeature> = Vec::new(), 0;
        /// Its rack.
        rack: Option<String> = None, 0;
        /// Whether clients must not see it yet.
        fenced: bool = true, 0;
        /// Whether it is shutting down.
        in_controlled_shutdown: bool = false, 1;
        /// Ids of its log directories that work.
        log_dirs: Vec<Uuid> = Vec::new(), 3, tag 0;
        /// Ids of log directories that take no new partitions; null when not told yet.
        cordoned_log_dirs: Option<Vec<Uuid>> = None, 4, tag 1;
    }
}

message! {
    /// A broker is no longer part of the cluster.
    UnregisterBrokerRecord, versions 0..=0, flexible from 0 {
        /// The broker.
        broker_id: i32 = 0, 0;
        /// Epoch of its registration.
        broker_epoch: i64 = 0, 0;
    }
}

message! {
    /// A topic was created.
    TopicRecord, versions 0..=0, flexible from 0 {
        /// The name.
        name: String = String::new(), 0;
        /// The id, never used again.
        topic_id: Uuid = Uuid::nil(), 0;
    }
}

message! {
    /// A partition was created, or, in a snapshot, exists.
    PartitionRecord, versions 0..=2, flexible from 0 {
        /// Number of the partition.
        partition_id: i32 = -1, 0;
        /// The topic.
        topic_id: Uuid = Uuid::nil(), 0;
        /// The replicas, preferred leader first.
        replicas: Vec<i32> = Vec::new(), 0;
        /// The in-sync replicas.
        isr: Vec<i32> = Vec::new(), 0;
        /// Replicas that a reassignment takes away.
        removing_replicas: Vec<i32> = Vec::new(), 0;
        /// Replicas that a reassignment adds.
        adding_replicas: Vec<i32> = Vec::new(), 0;
        /// The leader, or -1.
        leader: i32 = -1, 0;
        /// Grows with every change of leader.
        leader_epoch: i32 = -1, 0;
        /// Grows with every change of the partition.
        partition_epoch: i32 = -1, 0;
        /// Log directory of each replica, in the order of the replicas.
        directories: Vec<Uuid> = Vec::new(), 1;
        /// 1 while the leader recovers from an unclean election.
        leader_recovery_state: i8 = 0, 0, tag 0;
        /// Replicas outside the ISR that hold every committed record (KIP-966).
        eligible_leader_replicas: Option<Vec<i32>> = None, 2, tag 1;
        /// The last of them that were known.
        last_known_elr: Option<Vec<i32>> = None, 2, tag 2;
    }
}

message! {
    /// A configuration of a resource was set or deleted.
    ConfigRecord, versions 0..=0, flexible from 0 {
        /// Code of the kind of resource.
        resource_type: i8 = 0, 0;
        /// The resource.
        resource_name: String = String::new(), 0;
        /// The key.
        name: String = String::new(), 0;
        /// The value; null deletes it.
        value: Option<String> = None, 0;
    }
}

message! {
    /// A partition changed; what is not mentioned stays as before.
    PartitionChangeRecord, versions 0..=2, flexible from 0 {
        /// Number of the partition.
        partition_id: i32 = -1, 0;
        /// The topic.
        topic_id: Uuid = Uuid::nil(), 0;
        /// The in-sync replicas; null as before.
        isr: Option<Vec<i32>> = None, 0, tag 0;
        /// -1 none, -2 as before.
        leader: i32 = -2, 0, tag 1;
        /// The replicas; null as before.
        replicas: Option<Vec<i32>> = None, 0, tag 2;
        /// Replicas that are going; null as before.
        removing_replicas: Option<Vec<i32>> = None, 0, tag 3;
        /// Replicas that are coming; null as before.
        adding_replicas: Option<Vec<i32>> = None, 0, tag 4;
        /// 0 recovered, 1 recovering from an unclean election, -1 as before.
        leader_recovery_state: i8 = -1, 0, tag 5;
        /// Replicas outside the ISR that hold every committed record; null as before.
        eligible_leader_replicas: Option<Vec<i32>> = None, 2, tag 6;
        /// The last of them that were known; null as before.
        last_known_elr: Option<Vec<i32>> = None, 2, tag 7;
        /// Log directory of each replica; null as before.
        directories: Option<Vec<Uuid>> = None, 1, tag 8;
    }
}

message! {
    /// A broker was fenced; newer releases write `BrokerRegistrationChangeRecord`.
    FenceBrokerRecord, versions 0..=0, flexible from 0 {
        /// The broker.
        id: i32 = 0, 0;
        /// Epoch of its registration.
        epoch: i64 = 0, 0;
    }
}

message! {
    /// A broker was unfenced; newer releases write `BrokerRegistrationChangeRecord`.
    UnfenceBrokerRecord, versions 0..=0, flexible from 0 {
        /// The broker.
        id: i32 = 0, 0;
        /// Epoch of its registration.
        epoch: i64 = 0, 0;
    }
}

message! {
    /// A topic was deleted.
    RemoveTopicRecord, versions 0..=0, flexible from 0 {
        /// The topic, with all its partitions.
        topic_id: Uuid = Uuid::nil(), 0;
    }
}

message! {
    /// A feature was finalized at a level. The first record of a log names the metadata version.
    FeatureLevelRecord, versions 0..=0, flexible from 0 {
        /// The feature, such as `metadata.version`.
        name: String = String::new(), 0;
        /// The finalized level; 0 removes it.
        feature_level: i16 = 0, 0;
    }
}

message! {
    /// A block of producer ids was given away.
    ProducerIdsRecord, versions 0..=0, flexible from 0 {
        /// The broker that got the block.
        broker_id: i32 = 0, 0;
        /// Epoch of its registration.
        broker_epoch: i64 = -1, 0;
        /// First id of the block after it.
        next_producer_id: i64 = 0, 0;
    }
}

message! {
    /// A registered broker changed.
    BrokerRegistrationChangeRecord, versions 0..=3, flexible from 0 {
        /// The broker.
        broker_id: i32 = 0, 0;
        /// Epoch of its registration.
        broker_epoch: i64 = 0, 0;
        /// -1 unfenced, 1 fenced, 0 as before.
        fenced: i8 = 0, 0, tag 0;
        /// 1 when it began to shut down, 0 as before.
        in_controlled_shutdown: i8 = 0, 1, tag 1;
        /// Ids of its log directories that work.
        log_dirs: Vec<Uuid> = Vec::new(), 2, tag 2;
        /// Ids of log directories that take no new partitions; null as before.
        cordoned_log_dirs: Option<Vec<Uuid>> = None, 3, tag 3;
    }
}

message! {
    /// Nothing: written now and then so that the log end moves.
    NoOpRecord, versions 0..=0, flexible from 0 {
    }
}

message! {
    /// Where a migration from ZooKeeper stands; old logs have it.
    ZkMigrationStateRecord, versions 0..=0, flexible from 0 {
        /// Code of the state.
        zk_migration_state: i8 = 0, 0;
    }
}

message! {
    /// The records up to `EndTransactionRecord` take effect together (KIP-868).
    BeginTransactionRecord, versions 0..=0, flexible from 0 {
        /// What for, for people.
        name: Option<String> = None, 0, tag 0;
    }
}

message! {
    /// The records since `BeginTransactionRecord` take effect.
    EndTransactionRecord, versions 0..=0, flexible from 0 {
    }
}

message! {
    /// The records since `BeginTransactionRecord` have no effect.
    AbortTransactionRecord, versions 0..=0, flexible from 0 {
        /// Why, for people.
        reason: Option<String> = None, 0, tag 0;
    }
}

message! {
    /// A listener of a controller.
    ControllerEndpoint, versions 0..=0, flexible from 0 {
        /// Name of the listener.
        name: String = String::new(), 0;
        /// Advertised host.
        host: String = String::new(), 0;
        /// Advertised port.
        port: u16 = 0, 0;
        /// Code of the security protocol.
        security_protocol: i16 = 0, 0;
    }
}

message! {
    /// A range of feature levels of a controller.
    ControllerFeature, versions 0..=0, flexible from 0 {
        /// The feature.
        name: String = String::new(), 0;
        /// Lowest level.
        min_supported_version: i16 = 0, 0;
        /// Highest level.
        max_supported_version: i16 = 0, 0;
    }
}

message! {
    /// A controller registered.
    RegisterControllerRecord, versions 0..=0, flexible from 0 {
        /// The controller.
        controller_id: i32 = 0, 0;
        /// Made anew at every start of the process.
        incarnation_id: Uuid = Uuid::nil(), 0;
        /// Whether it could take part in a migration from ZooKeeper.
        zk_migration_ready: bool = false, 0;
        /// Its listeners.
        end_points: Vec<ControllerEndpoint> = Vec::new(), 0;
        /// The feature levels that it supports.
        features: Vec<ControllerFeature> = Vec::new(), 0;
    }
}

message! {
    /// The eligible leader replicas of one topic or of all were forgotten.
    ClearElrRecord, versions 0..=0, flexible from 0 {
        /// The topic; empty means all.
        topic_name: String = String::new(), 0;
    }
}
