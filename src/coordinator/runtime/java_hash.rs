//! Which partition of an internal topic a key belongs to.

/// `abs(key.hashCode()) % partitions`, with Java's hash (over UTF-16 units) and Kafka's `Utils.abs`, which takes the
/// smallest integer to 0. `partitions` is at least 1.
pub fn partition_for(key: &str, partitions: i32) -> i32 {
    let hash = key.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_java_does() {
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE.
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        // "hello".hashCode() is 99162322.
        assert_eq!(partition_for("hello", 50), 22);
        assert_eq!(partition_for("", 50), 0);
        // One character outside the basic plane is two units: 0xD83D * 31 + 0xDE00.
        assert_eq!(partition_for("\u{1f600}", i32::MAX), 0xD83D * 31 + 0xDE00);
    }
}
