//! The order of Kafka's rows: that of a `java.util.HashMap`. Java's tools print them in an order that follows from it.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::describe::DescribedConfig;
use super::known::{DYNAMIC_ONLY, kafka_configs};
use crate::types::java_map::sort_like_hash_map;

/// Where Kafka defines each configuration that it always shows.
static DEFINED: LazyLock<HashMap<(&'static str, &'static str), usize>> = LazyLock::new(|| {
    let shown = kafka_configs().filter(|key| !key.internal && key.update_mode != DYNAMIC_ONLY);
    shown.enumerate().map(|(position, key)| ((key.scope, key.name), position)).collect()
});

/// Puts the rows of a scope (`broker` or `topic`) into Kafka's order. What is shown because it was given comes first, by name.
pub(super) fn sort_as_kafka(scope: &'static str, rows: &mut [DescribedConfig]) {
    let defined = |row: &DescribedConfig| DEFINED.get(&(scope, row.name.as_str())).copied();
    rows.sort_by_cached_key(|row| (defined(row), row.name.clone()));
    let given = rows.partition_point(|row| defined(row).is_none());
    sort_like_hash_map(&mut rows[given..], None, |row| &row.name);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{BrokerConfig, describe_topic};

    #[test]
    fn topic_rows_come_in_kafkas_order() {
        let rows = describe_topic(&BrokerConfig::default(), &BTreeMap::new());
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        // As Apache Kafka 4.3 was seen to answer.
        let first = [
            "compression.type",
            "remote.log.delete.on.disable",
            "leader.replication.throttled.replicas",
            "remote.storage.enable",
        ];
        assert_eq!(names[..4], first);
    }
}
