//! The order in which Java's `HashMap` gives its entries: Kafka answers, and its tools print, some of them as they come.

/// Smallest table, and load at which it doubles.
const DEFAULT_CAPACITY: usize = 16;

/// Sorts entries as a `HashMap` with these keys, put in this order, iterates: `new HashMap<>()`, or with an initial capacity.
pub fn sort_like_hash_map<T>(entries: &mut [T], initial_capacity: Option<usize>, key: impl Fn(&T) -> &str) {
    let mut capacity = initial_capacity.map_or(DEFAULT_CAPACITY, |capacity| capacity.max(1).next_power_of_two());
    while entries.len() > capacity * 3 / 4 {
        capacity *= 2;
    }
    // Within a bucket they stay in the order in which they came.
    entries.sort_by_key(|entry| {
        let hash = java_hash(key(entry));
        (hash ^ (hash >> 16)) as usize & (capacity - 1)
    });
}

/// `String.hashCode`, as its bits.
fn java_hash(text: &str) -> u32 {
    text.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_java_s() {
        // jshell: new HashMap<>(Map.of(...)).keySet() of these.
        let mut keys = ["retention.ms", "cleanup.policy", "segment.bytes", "a", "q"];
        sort_like_hash_map(&mut keys, None, |key| key);
        let buckets: Vec<u32> = keys.iter().map(|key| java_hash(key)).map(|hash| (hash ^ (hash >> 16)) & 15).collect();
        assert!(buckets.is_sorted(), "{buckets:?}");
        assert_eq!(java_hash("hello"), 99_162_322);
        // "a" (97) and "q" (113) share a bucket of 16 and keep their order.
        let position = |key| keys.iter().position(|candidate| *candidate == key);
        assert!(position("a") < position("q"));
    }
}
