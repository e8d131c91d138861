//! Which topic names are legal (`org.apache.kafka.common.internals.Topic`).

/// The longest name, in characters: names become directory names.
pub const MAX_TOPIC_NAME_LENGTH: usize = 249;

/// Checks a name; the error is Kafka's message.
pub fn validate_topic_name(name: &str) -> Result<(), String> {
    let reason = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.encode_utf16().count() > MAX_TOPIC_NAME_LENGTH {
        format!("the length of '{name}' is longer than the max allowed length {MAX_TOPIC_NAME_LENGTH}")
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(format!("Topic name is invalid: {reason}"))
}

/// Whether the name holds a character that metric names do not tell apart.
pub fn has_collision_characters(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// The name as metrics see it: two topics collide when theirs are the same.
pub fn unify_collision_characters(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafka_s_rules() {
        for good in ["a", "A-b_c.9", "...", "__consumer_offsets", &"x".repeat(249)] {
            assert_eq!(validate_topic_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a\u{0}", &"x".repeat(250)] {
            assert!(validate_topic_name(bad).is_err(), "{bad}");
        }
        assert_eq!(validate_topic_name("."), Err("Topic name is invalid: '.' is not allowed".to_owned()));
    }

    #[test]
    fn names_that_differ_in_dot_and_underscore_collide() {
        assert_eq!(unify_collision_characters("a.b_c"), unify_collision_characters("a_b.c"));
        assert_ne!(unify_collision_characters("a.b"), unify_collision_characters("a.c"));
        assert!(has_collision_characters("a.b") && !has_collision_characters("a-b"));
    }
}
