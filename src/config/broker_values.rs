//! The values of the broker configurations, typed.

use super::definition::ConfigValue;
use super::state::Layers;

/// A type that a configuration's value is read into.
pub(super) trait FromValue: Sized {
    /// Reads a value whose definition has accepted it; the meta-test proves that every row has the right type.
    fn from_value(value: ConfigValue) -> Self;
}

impl FromValue for bool {
    fn from_value(value: ConfigValue) -> Self {
        matches!(value, ConfigValue::Boolean(true))
    }
}

impl FromValue for i64 {
    fn from_value(value: ConfigValue) -> Self {
        match value {
            ConfigValue::Integer(value) => value,
            _ => 0,
        }
    }
}

impl FromValue for i32 {
    fn from_value(value: ConfigValue) -> Self {
        i32::try_from(i64::from_value(value)).unwrap_or(i32::MAX)
    }
}

impl FromValue for i16 {
    fn from_value(value: ConfigValue) -> Self {
        i16::try_from(i64::from_value(value)).unwrap_or(i16::MAX)
    }
}

impl FromValue for f64 {
    fn from_value(value: ConfigValue) -> Self {
        match value {
            ConfigValue::Double(value) => value,
            _ => 0.0,
        }
    }
}

impl FromValue for String {
    fn from_value(value: ConfigValue) -> Self {
        value.text().unwrap_or_default()
    }
}

impl FromValue for Vec<String> {
    fn from_value(value: ConfigValue) -> Self {
        match value {
            ConfigValue::List(values) => values,
            _ => Vec::new(),
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: ConfigValue) -> Self {
        (value != ConfigValue::Null).then(|| T::from_value(value))
    }
}

macro_rules! broker_values {
    ($($(#[$documentation:meta])* $field:ident: $type:ty = $name:literal;)*) => {
        /// Every value that a room reads by itself; what is only a topic's default is read by `LogConfig`.
        #[derive(Clone, Debug)]
        pub(super) struct BrokerValues {
            $(pub(super) $field: $type,)*
        }

        impl BrokerValues {
            /// Kafka's names of the fields.
            #[cfg(test)]
            pub(super) const NAMES: &'static [&'static str] = &[$($name,)*];

            pub(super) fn read(layers: &Layers) -> Self {
                Self { $($field: FromValue::from_value(layers.value($name)),)* }
            }
        }

        impl super::BrokerConfig {
            $(
                $(#[$documentation])*
                pub fn $field(&self) -> $type {
                    Clone::clone(&self.state().values.$field)
                }
            )*
        }
    };
}

broker_values! {
    /// `add.partitions.to.txn.retry.backoff.max.ms`: milliseconds that the first write of a transaction waits for the end of the
    /// producer's last one.
    add_partitions_to_txn_retry_backoff_max_ms: i32 = "add.partitions.to.txn.retry.backoff.max.ms";
    /// `add.partitions.to.txn.retry.backoff.ms`: milliseconds between its looks.
    add_partitions_to_txn_retry_backoff_ms: i32 = "add.partitions.to.txn.retry.backoff.ms";
    /// `auto.create.topics.enable`: whether a client that asks for a topic which does not exist creates it.
    auto_create_topics_enable: bool = "auto.create.topics.enable";
    /// `broker.rack`: the rack that the broker reports of itself.
    broker_rack: Option<String> = "broker.rack";
    /// `connections.max.idle.ms`: milliseconds after which a connection without traffic is closed.
    connections_max_idle_ms: i64 = "connections.max.idle.ms";
    /// `default.replication.factor`: replicas of a topic that is created without a number; never more than there are brokers.
    default_replication_factor: i32 = "default.replication.factor";
    /// `delete.topic.enable`: whether topics can be deleted.
    delete_topic_enable: bool = "delete.topic.enable";
    /// `fetch.max.bytes`: the largest answer to a fetch request in bytes; one whole batch is always sent.
    fetch_max_bytes: i32 = "fetch.max.bytes";
    /// `group.initial.rebalance.delay.ms`: milliseconds that the first rebalance of an empty group waits for more members.
    group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms";
    /// `group.max.session.timeout.ms`: the longest session timeout, in milliseconds, that a member may ask for.
    group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms";
    /// `group.max.size`: members that one group may have.
    group_max_size: i32 = "group.max.size";
    /// `group.min.session.timeout.ms`: the shortest session timeout, in milliseconds, that a member may ask for.
    group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms";
    /// `log.cleaner.backoff.ms`: milliseconds that the cleaner waits when there is nothing to compact.
    log_cleaner_backoff_ms: i64 = "log.cleaner.backoff.ms";
    /// `log.cleaner.dedupe.buffer.size`: most bytes that the cleaner uses to remember keys.
    log_cleaner_dedupe_buffer_size: i64 = "log.cleaner.dedupe.buffer.size";
    /// `log.cleaner.enable`: whether logs are compacted.
    log_cleaner_enable: bool = "log.cleaner.enable";
    /// `log.cleaner.io.buffer.load.factor`: how full the cleaner's memory of keys may become.
    log_cleaner_io_buffer_load_factor: f64 = "log.cleaner.io.buffer.load.factor";
    /// `log.cleaner.io.buffer.size`: bytes of the cleaner's buffers.
    log_cleaner_io_buffer_size: i32 = "log.cleaner.io.buffer.size";
    /// `log.cleaner.io.max.bytes.per.second`: bytes that the cleaner reads and writes in a second.
    log_cleaner_io_max_bytes_per_second: f64 = "log.cleaner.io.max.bytes.per.second";
    /// `log.cleaner.threads`: threads that compact logs.
    log_cleaner_threads: i32 = "log.cleaner.threads";
    /// `log.flush.offset.checkpoint.interval.ms`: milliseconds between writings of the recovery points.
    log_flush_offset_checkpoint_interval_ms: i32 = "log.flush.offset.checkpoint.interval.ms";
    /// `log.flush.scheduler.interval.ms`: milliseconds between looks for logs that `flush.ms` wants on the disk.
    log_flush_scheduler_interval_ms: i64 = "log.flush.scheduler.interval.ms";
    /// `log.initial.task.delay.ms`: milliseconds until background work on the logs begins.
    log_initial_task_delay_ms: i64 = "log.initial.task.delay.ms";
    /// `log.retention.check.interval.ms`: milliseconds between looks for segments that retention deletes.
    log_retention_check_interval_ms: i64 = "log.retention.check.interval.ms";
    /// `max.connections`: connections that may be open.
    max_connections: i32 = "max.connections";
    /// `max.connections.per.ip`: connections that may be open from one address.
    max_connections_per_ip: i32 = "max.connections.per.ip";
    /// `max.incremental.fetch.session.cache.slots`: incremental fetch sessions that are remembered.
    max_incremental_fetch_session_cache_slots: i32 = "max.incremental.fetch.session.cache.slots";
    /// `max.request.partition.size.limit`: partitions in one answer to DescribeTopicPartitions.
    max_request_partition_size_limit: i32 = "max.request.partition.size.limit";
    /// `metadata.log.max.record.bytes.between.snapshots`: bytes of metadata records after which a snapshot is written.
    metadata_log_max_record_bytes_between_snapshots: i64 = "metadata.log.max.record.bytes.between.snapshots";
    /// `metadata.log.max.snapshot.interval.ms`: milliseconds after which a change of the metadata is in a snapshot; 0 never.
    metadata_log_max_snapshot_interval_ms: i64 = "metadata.log.max.snapshot.interval.ms";
    /// `metadata.max.retention.bytes`: bytes of metadata log and snapshots above which the oldest snapshots go.
    metadata_max_retention_bytes: i64 = "metadata.max.retention.bytes";
    /// `metadata.max.retention.ms`: milliseconds that a snapshot of the metadata stays.
    metadata_max_retention_ms: i64 = "metadata.max.retention.ms";
    /// `node.id`: the number of this broker.
    node_id: i32 = "node.id";
    /// `num.partitions`: partitions of a topic that is created without a number.
    num_partitions: i32 = "num.partitions";
    /// `num.recovery.threads.per.data.dir`: threads of each data directory that recover logs at the start.
    num_recovery_threads_per_data_dir: i32 = "num.recovery.threads.per.data.dir";
    /// `offset.metadata.max.bytes`: the longest text that a consumer may commit beside an offset.
    offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes";
    /// `offsets.retention.check.interval.ms`: milliseconds between looks for expired offsets.
    offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms";
    /// `offsets.topic.num.partitions`: partitions of `__consumer_offsets` when it is created.
    offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions";
    /// `offsets.topic.replication.factor`: replicas of `__consumer_offsets` when it is created; never more than there are brokers.
    offsets_topic_replication_factor: i16 = "offsets.topic.replication.factor";
    /// `offsets.topic.segment.bytes`: `segment.bytes` of `__consumer_offsets` when it is created.
    offsets_topic_segment_bytes: i32 = "offsets.topic.segment.bytes";
    /// `ottla.advertised.listeners`: how listeners are advertised that `advertised.listeners` does not name.
    ottla_advertised_listeners: String = "ottla.advertised.listeners";
    /// `ottla.ballast.bytes`: bytes of each volume that are kept for the time when it is full.
    ottla_ballast_bytes: i64 = "ottla.ballast.bytes";
    /// `ottla.flush.max.unflushed.bytes`: most acknowledged bytes of a partition that only memory holds.
    ottla_flush_max_unflushed_bytes: i64 = "ottla.flush.max.unflushed.bytes";
    /// `ottla.flush.max.unflushed.ms`: milliseconds after which what was appended is flushed.
    ottla_flush_max_unflushed_ms: i64 = "ottla.flush.max.unflushed.ms";
    /// `ottla.log.format`: `kafka` or `json`.
    ottla_log_format: String = "ottla.log.format";
    /// `ottla.scrub.interval.ms`: milliseconds between passes of the scrub.
    ottla_scrub_interval_ms: i64 = "ottla.scrub.interval.ms";
    /// `ottla.scrub.max.bytes.per.second`: most bytes a second that the scrub reads; 0 for no scrub.
    ottla_scrub_max_bytes_per_second: i64 = "ottla.scrub.max.bytes.per.second";
    /// `producer.id.expiration.check.interval.ms`: milliseconds between looks for producers that are no longer remembered.
    producer_id_expiration_check_interval_ms: i32 = "producer.id.expiration.check.interval.ms";
    /// `producer.id.expiration.ms`: milliseconds that a partition remembers an idempotent producer after its last write.
    producer_id_expiration_ms: i32 = "producer.id.expiration.ms";
    /// `replica.high.watermark.checkpoint.interval.ms`: milliseconds between writings of the high watermarks.
    replica_high_watermark_checkpoint_interval_ms: i64 = "replica.high.watermark.checkpoint.interval.ms";
    /// `request.timeout.ms`: milliseconds that transaction markers wait for their acknowledgement.
    request_timeout_ms: i32 = "request.timeout.ms";
    /// `socket.listen.backlog.size`: connections that the system keeps waiting to be accepted.
    socket_listen_backlog_size: i32 = "socket.listen.backlog.size";
    /// `socket.receive.buffer.bytes`: the receive buffer of a socket in bytes; -1 leaves it to the system.
    socket_receive_buffer_bytes: i32 = "socket.receive.buffer.bytes";
    /// `socket.request.max.bytes`: the largest request in bytes.
    socket_request_max_bytes: i32 = "socket.request.max.bytes";
    /// `socket.send.buffer.bytes`: the send buffer of a socket in bytes; -1 leaves it to the system.
    socket_send_buffer_bytes: i32 = "socket.send.buffer.bytes";
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`: milliseconds between looks for transactions that have
    /// timed out.
    transaction_abort_timed_out_transaction_cleanup_interval_ms: i32 =
        "transaction.abort.timed.out.transaction.cleanup.interval.ms";
    /// `transaction.max.timeout.ms`: the longest transaction timeout, in milliseconds, that a producer may ask for.
    transaction_max_timeout_ms: i32 = "transaction.max.timeout.ms";
    /// `transaction.partition.verification.enable`: whether a partition is looked up in its transaction before the first
    /// records of that transaction are written to it.
    transaction_partition_verification_enable: bool = "transaction.partition.verification.enable";
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`: milliseconds between looks for expired transactional ids.
    transaction_remove_expired_transaction_cleanup_interval_ms: i32 =
        "transaction.remove.expired.transaction.cleanup.interval.ms";
    /// `transaction.state.log.min.isr`: `min.insync.replicas` of `__transaction_state` when it is created.
    transaction_state_log_min_isr: i32 = "transaction.state.log.min.isr";
    /// `transaction.state.log.num.partitions`: partitions of `__transaction_state` when it is created.
    transaction_state_log_num_partitions: i32 = "transaction.state.log.num.partitions";
    /// `transaction.state.log.replication.factor`: replicas of `__transaction_state` when it is created; never more than
    /// there are brokers.
    transaction_state_log_replication_factor: i16 = "transaction.state.log.replication.factor";
    /// `transaction.state.log.segment.bytes`: `segment.bytes` of `__transaction_state` when it is created.
    transaction_state_log_segment_bytes: i32 = "transaction.state.log.segment.bytes";
    /// `transactional.id.expiration.ms`: milliseconds after its last change when a transactional id is forgotten.
    transactional_id_expiration_ms: i32 = "transactional.id.expiration.ms";
}
