//! What can be configured of groups.

use crate::config::BrokerConfig;

/// The group coordinator's configuration; Kafka's keys and defaults (`GroupCoordinatorConfig`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCoordinatorConfig {
    /// `group.min.session.timeout.ms`: the shortest session a member may ask for.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`: the longest session a member may ask for.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of an empty group waits for more members.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`: members of one group.
    pub max_size: usize,
    /// `offset.metadata.max.bytes`: longest metadata of a committed offset (counted as Java counts, UTF-16 units).
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes` in milliseconds: how long offsets outlive their group.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`: how often expired offsets are looked for.
    pub offsets_retention_check_interval_ms: i64,
    /// `offsets.topic.num.partitions`: partitions of `__consumer_offsets` when it is created.
    pub offsets_topic_partitions: i32,
    /// How long a new member may wait in JoinGroup before it is forgotten; five minutes in Kafka, not configurable.
    pub new_member_join_timeout_ms: i32,
}

impl GroupCoordinatorConfig {
    /// What the broker is configured to.
    pub fn from_broker(broker: &BrokerConfig) -> Self {
        let size = |value: i32| usize::try_from(value).unwrap_or(0);
        Self {
            min_session_timeout_ms: broker.group_min_session_timeout_ms(),
            max_session_timeout_ms: broker.group_max_session_timeout_ms(),
            initial_rebalance_delay_ms: broker.group_initial_rebalance_delay_ms(),
            max_size: size(broker.group_max_size()),
            offset_metadata_max_bytes: size(broker.offset_metadata_max_bytes()),
            offsets_retention_ms: broker.offsets_retention_ms(),
            offsets_retention_check_interval_ms: broker.offsets_retention_check_interval_ms(),
            offsets_topic_partitions: broker.offsets_topic_num_partitions(),
            ..Self::default()
        }
    }
}

impl Default for GroupCoordinatorConfig {
    fn default() -> Self {
        Self {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: i32::MAX as usize,
            offset_metadata_max_bytes: 4096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            offsets_retention_check_interval_ms: 600_000,
            offsets_topic_partitions: 50,
            new_member_join_timeout_ms: 5 * 60 * 1000,
        }
    }
}
