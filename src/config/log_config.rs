//! A topic's configuration as storage and replica read it (`LogConfig`).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::record::{Compression, CompressionType, TimestampType};

use super::broker_values::FromValue;
use super::definition::{ConfigDefinition, ConfigValue};
use super::state::Layers;
use super::{BrokerConfig, ConfigError, table};

/// The values in force for one topic: its own, or the broker's default. Sizes are bytes, times milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`.
    pub segment_bytes: i32,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`.
    pub segment_index_bytes: i32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: i32,
    /// `flush.messages`: after how many records to flush.
    pub flush_messages: i64,
    /// `flush.ms`.
    pub flush_ms: i64,
    /// `retention.ms`; -1 for ever.
    pub retention_ms: i64,
    /// `retention.bytes`; -1 for no limit.
    pub retention_bytes: i64,
    /// `max.message.bytes`: the largest batch.
    pub max_message_bytes: i32,
    /// `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub compact: bool,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `compression.type` with its level; nothing for `producer`.
    pub compression: Option<Compression>,
    /// `message.timestamp.type`.
    pub message_timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub message_timestamp_after_max_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `preallocate`.
    pub preallocate: bool,
    /// `unclean.leader.election.enable`.
    pub unclean_leader_election_enable: bool,
    /// The topic's own values, as text.
    pub overrides: Arc<BTreeMap<String, String>>,
    /// `ottla.validate.compressed.batches`, of which topics have no value of their own.
    pub validate_compressed_batches: bool,
}

impl Default for LogConfig {
    /// The defaults of a broker that is given none.
    fn default() -> Self {
        Values::new(&Layers::default(), &BTreeMap::new()).log_config()
    }
}

impl LogConfig {
    /// The configuration of a topic with these values of its own.
    ///
    /// # Errors
    /// An unknown name, a value that its definition refuses, values that contradict each other.
    pub fn from_overrides(broker: &BrokerConfig, overrides: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        for (name, text) in overrides {
            let definition = table::topic_config(name).ok_or_else(|| ConfigError::UnknownTopicConfig(name.clone()))?;
            definition.parse(text)?;
        }
        let state = broker.state();
        let values = Values::new(&state.layers, overrides);
        values.check()?;
        Ok(values.log_config())
    }

    /// The configuration of a topic whose values were written earlier: what this release refuses counts as not given,
    /// so that a log that exists can always be opened.
    pub fn from_stored_overrides(broker: &BrokerConfig, overrides: &BTreeMap<String, String>) -> Self {
        let state = broker.state();
        Values::new(&state.layers, overrides).log_config()
    }
}

/// Looks values up: the topic's, the broker's, the default.
struct Values<'a> {
    layers: &'a Layers,
    overrides: &'a BTreeMap<String, String>,
}

impl<'a> Values<'a> {
    fn new(layers: &'a Layers, overrides: &'a BTreeMap<String, String>) -> Self {
        Self { layers, overrides }
    }

    fn value(&self, name: &str) -> ConfigValue {
        table::topic_config(name)
            .map_or(ConfigValue::Null, |definition| topic_value(self.layers, self.overrides, definition))
    }

    fn read<T: FromValue>(&self, name: &str) -> T {
        T::from_value(self.value(name))
    }

    /// `LogConfig.validateValues` and the check of tiered storage, which the broker does not have.
    fn check(&self) -> Result<(), ConfigError> {
        let (min, max): (i64, i64) = (self.read("min.compaction.lag.ms"), self.read("max.compaction.lag.ms"));
        if min > max {
            return Err(ConfigError::Invalid(format!(
                "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
            )));
        }
        if self.read::<bool>("remote.storage.enable") {
            return Err(ConfigError::Invalid(
                "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn compression(&self) -> Option<Compression> {
        let codec = CompressionType::from_name(&self.read::<String>("compression.type"))?;
        let level = match codec {
            CompressionType::Gzip => self.read("compression.gzip.level"),
            CompressionType::Lz4 => self.read("compression.lz4.level"),
            CompressionType::Zstd => self.read("compression.zstd.level"),
            CompressionType::None | CompressionType::Snappy => 0,
        };
        Some(Compression { codec, level })
    }

    fn log_config(&self) -> LogConfig {
        let policies: Vec<String> = self.read("cleanup.policy");
        let timestamp_type = match self.read::<String>("message.timestamp.type").as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        };
        LogConfig {
            overrides: Arc::new(self.overrides.clone()),
            segment_bytes: self.read("segment.bytes"),
            segment_ms: self.read("segment.ms"),
            segment_jitter_ms: self.read("segment.jitter.ms"),
            segment_index_bytes: self.read("segment.index.bytes"),
            index_interval_bytes: self.read("index.interval.bytes"),
            flush_messages: self.read("flush.messages"),
            flush_ms: self.read("flush.ms"),
            retention_ms: self.read("retention.ms"),
            retention_bytes: self.read("retention.bytes"),
            max_message_bytes: self.read("max.message.bytes"),
            delete: policies.iter().any(|policy| policy == "delete"),
            compact: policies.iter().any(|policy| policy == "compact"),
            delete_retention_ms: self.read("delete.retention.ms"),
            file_delete_delay_ms: self.read("file.delete.delay.ms"),
            min_compaction_lag_ms: self.read("min.compaction.lag.ms"),
            max_compaction_lag_ms: self.read("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: self.read("min.cleanable.dirty.ratio"),
            compression: self.compression(),
            message_timestamp_type: timestamp_type,
            message_timestamp_before_max_ms: self.read("message.timestamp.before.max.ms"),
            message_timestamp_after_max_ms: self.read("message.timestamp.after.max.ms"),
            min_insync_replicas: self.read("min.insync.replicas"),
            preallocate: self.read("preallocate"),
            unclean_leader_election_enable: self.read("unclean.leader.election.enable"),
            validate_compressed_batches: bool::from_value(self.layers.value("ottla.validate.compressed.batches")),
        }
    }
}

/// The value in force of one topic configuration.
pub(super) fn topic_value(
    layers: &Layers,
    overrides: &BTreeMap<String, String>,
    definition: &ConfigDefinition,
) -> ConfigValue {
    overrides
        .get(definition.name)
        .and_then(|text| definition.parse(text).ok())
        .unwrap_or_else(|| layers.topic_default(definition))
}
