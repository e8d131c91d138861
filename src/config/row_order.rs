//! The order of Kafka's rows: that of a `java.util.HashMap`. Java's tools print them in an order that follows from it.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::describe::DescribedConfig;
use super::known::{DYNAMIC_ONLY, kafka_configs};

/// Where Kafka defines each configuration that it always shows.
static DEFINED: LazyLock<HashMap<(&'static str, &'static str), usize>> = LazyLock::new(|| {
    let shown = kafka_configs().filter(|key| !key.internal && key.update_mode != DYNAMIC_ONLY);
    shown.enumerate().map(|(position, key)| ((key.scope, key.name), position)).collect()
});

/// Puts the rows of a scope (`broker` or `topic`) into Kafka's order. What is shown because it was given comes first, by name.
pub(super) fn sort_as_kafka(scope: &'static str, rows: &mut [DescribedConfig]) {
    let defined = |row: &DescribedConfig| DEFINED.get(&(scope, row.name.as_str())).copied();
    let capacity = table_capacity(rows.iter().filter(|row| defined(row).is_some()).count());
    rows.sort_by_cached_key(|row| match defined(row) {
        Some(position) => (Some(java_hash(&row.name) & (capacity - 1)), position, String::new()),
        None => (None, 0, row.name.clone()),
    });
}

/// The buckets of a table that has grown to this many entries: at most three quarters are in use.
fn table_capacity(entries: usize) -> u32 {
    let mut capacity: u32 = 16;
    while entries > capacity as usize / 4 * 3 && capacity < 1 << 30 {
        capacity *= 2;
    }
    capacity
}

/// `HashMap.hash` of `String.hashCode`.
fn java_hash(text: &str) -> u32 {
    let code = text.encode_utf16().fold(0_u32, |code, unit| code.wrapping_mul(31).wrapping_add(unit.into()));
    code ^ (code >> 16)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{BrokerConfig, describe_topic};
    use super::*;

    #[test]
    fn hashes_are_javas() {
        assert_eq!(java_hash(""), 0);
        // "hello".hashCode() is 99162322.
        assert_eq!(java_hash("hello"), 99_162_322 ^ (99_162_322 >> 16));
        assert_eq!([0, 12, 13, 24, 25, 33, 345].map(table_capacity), [16, 16, 32, 32, 64, 64, 512]);
    }

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
