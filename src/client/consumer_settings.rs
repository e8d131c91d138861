//! What a consumer is configured with.

use std::time::Duration;

use super::assignor::Assignor;
use super::client_config::ClientConfig;
use super::error::ClientError;
use super::offsets::{EARLIEST_TIMESTAMP, IsolationLevel, LATEST_TIMESTAMP};

/// Where reading begins when nothing is committed, or what was is gone (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the first record that is as late as this, or at one of the special timestamps.
    Timestamp(i64),
    /// Nowhere: it is an error.
    None,
}

impl OffsetReset {
    /// `earliest`, `latest` or `none`; `by_duration:` is the caller's, who has the time.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "earliest" => Self::Timestamp(EARLIEST_TIMESTAMP),
            "latest" => Self::Timestamp(LATEST_TIMESTAMP),
            "none" => Self::None,
            _ => return None,
        })
    }
}

/// The consumer's configurations, by Kafka's names and defaults (`ConsumerConfig`).
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// `group.id`.
    pub group_id: String,
    /// `group.instance.id`.
    pub group_instance_id: Option<String>,
    /// `auto.offset.reset`.
    pub offset_reset: OffsetReset,
    /// `auto.commit.interval.ms`; `None` without `enable.auto.commit`.
    pub auto_commit_interval: Option<Duration>,
    /// `isolation.level`.
    pub isolation_level: IsolationLevel,
    /// `fetch.max.wait.ms`.
    pub fetch_max_wait_ms: i32,
    /// `fetch.min.bytes`.
    pub fetch_min_bytes: i32,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: i32,
    /// `max.partition.fetch.bytes`.
    pub max_partition_fetch_bytes: i32,
    /// `check.crcs`.
    pub check_crcs: bool,
    /// `client.rack`.
    pub client_rack: String,
    /// `session.timeout.ms`.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`, which members have to join again.
    pub rebalance_timeout: Duration,
    /// `metadata.max.age.ms`.
    pub metadata_max_age: Duration,
    /// `allow.auto.create.topics`.
    pub allow_auto_create_topics: bool,
    /// `exclude.internal.topics`.
    pub exclude_internal_topics: bool,
    /// `partition.assignment.strategy`.
    pub assignors: Vec<Assignor>,
}

impl ConsumerSettings {
    /// Reads the properties of a client.
    ///
    /// # Errors
    /// Values that cannot be used, and what this consumer does not have: other assignors than `range` and `roundrobin`, and
    /// `group.protocol=consumer`.
    pub fn read(config: &ClientConfig, offset_reset: OffsetReset) -> Result<Self, ClientError> {
        let invalid = |key: &str, value: &str, reason: &str| {
            ClientError::Config(format!("Invalid value {value} for configuration {key}: {reason}"))
        };
        let flag = |key: &str, default: bool| match config.text(key, "") {
            "" => Ok(default),
            value if value.eq_ignore_ascii_case("true") => Ok(true),
            value if value.eq_ignore_ascii_case("false") => Ok(false),
            value => Err(invalid(key, value, "Expected value to be either true or false")),
        };
        let millis = |key: &str, default: u64| {
            let value: i64 = config.number(key, default as i64)?;
            u64::try_from(value)
                .map(Duration::from_millis)
                .map_err(|_| invalid(key, &value.to_string(), "Value must be at least 0"))
        };
        let protocol = config.text("group.protocol", "classic");
        if !protocol.eq_ignore_ascii_case("classic") {
            let text = format!("group.protocol={protocol} is not implemented by this tool: only classic is");
            return Err(ClientError::Config(text));
        }
        let isolation_level = match config.text("isolation.level", "read_uncommitted") {
            "read_uncommitted" => IsolationLevel::ReadUncommitted,
            "read_committed" => IsolationLevel::ReadCommitted,
            value => {
                let reason = "String must be one of: read_committed, read_uncommitted";
                return Err(invalid("isolation.level", value, reason));
            }
        };
        let interval = millis("auto.commit.interval.ms", 5_000)?;
        Ok(Self {
            group_id: config.text("group.id", "").to_owned(),
            group_instance_id: config.properties.get("group.instance.id").cloned(),
            offset_reset,
            auto_commit_interval: flag("enable.auto.commit", true)?.then_some(interval),
            isolation_level,
            fetch_max_wait_ms: config.number("fetch.max.wait.ms", 500)?,
            fetch_min_bytes: config.number("fetch.min.bytes", 1)?,
            fetch_max_bytes: config.number("fetch.max.bytes", 50 * 1024 * 1024)?,
            max_partition_fetch_bytes: config.number("max.partition.fetch.bytes", 1024 * 1024)?,
            check_crcs: flag("check.crcs", true)?,
            client_rack: config.text("client.rack", "").to_owned(),
            session_timeout: millis("session.timeout.ms", 45_000)?,
            heartbeat_interval: millis("heartbeat.interval.ms", 3_000)?,
            rebalance_timeout: millis("max.poll.interval.ms", 300_000)?,
            metadata_max_age: millis("metadata.max.age.ms", 300_000)?,
            allow_auto_create_topics: flag("allow.auto.create.topics", true)?,
            exclude_internal_topics: flag("exclude.internal.topics", true)?,
            assignors: assignors(config)?,
        })
    }
}

fn assignors(config: &ClientConfig) -> Result<Vec<Assignor>, ClientError> {
    let names = config.text("partition.assignment.strategy", "range");
    let assignor = |name: &str| {
        Assignor::by_name(name.trim()).ok_or_else(|| {
            ClientError::Config(format!(
                "partition.assignment.strategy: this tool does not have {}: it has range and roundrobin",
                name.trim()
            ))
        })
    };
    names.split(',').map(assignor).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn settings(properties: &[(&str, &str)]) -> Result<ConsumerSettings, ClientError> {
        let mut all = BTreeMap::from([("bootstrap.servers".to_owned(), "localhost:1".to_owned())]);
        all.extend(properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let config = ClientConfig::from_properties(all, "test")?;
        ConsumerSettings::read(&config, OffsetReset::None)
    }

    #[test]
    fn properties_are_read() {
        let read = settings(&[
            ("group.id", "g"),
            ("enable.auto.commit", "false"),
            ("isolation.level", "read_committed"),
            ("session.timeout.ms", "6000"),
            ("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RoundRobinAssignor, range"),
        ])
        .expect("settings");
        assert_eq!((read.group_id.as_str(), read.auto_commit_interval), ("g", None));
        assert_eq!((read.isolation_level, read.session_timeout.as_secs()), (IsolationLevel::ReadCommitted, 6));
        assert_eq!(read.assignors, [Assignor::RoundRobin, Assignor::Range]);
        assert_eq!(settings(&[]).expect("settings").auto_commit_interval, Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (key, value) in [
            ("group.protocol", "consumer"),
            ("isolation.level", "x"),
            ("session.timeout.ms", "x"),
            ("enable.auto.commit", "x"),
            ("partition.assignment.strategy", "org.apache.kafka.clients.consumer.StickyAssignor"),
        ] {
            let error = settings(&[(key, value)]).expect_err("refused").to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
